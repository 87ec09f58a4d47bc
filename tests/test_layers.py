"""detect_layers against the hidden states that transformers returns, and on models whose answer is
known."""

import json

import pytest
import torch
from torch import nn

from lander_lite.blocks import decoder_blocks, feed_forwards
from lander_lite.layers import LayerScores, detect_layers
from lander_lite.prompts import encode

PAIRS = ["en-de", "zh-en"]


def plain_scores(model, tokenizer, corpus, pair):
    """Eq. 1 and the controls, prompt by prompt, from `output_hidden_states`."""
    body = model.base_model
    name = "ln_f" if hasattr(body, "ln_f") else "norm"
    norm = getattr(body, name)
    setattr(body, name, nn.Identity())  # so that the last hidden state is the last block's output
    source, target = pair.split("-")
    streams = []
    for row in corpus["translation"]:
        ids = encode(tokenizer, row[source], row[target], pair)["input_ids"]
        assert ids[-1] == tokenizer.eos_token_id
        with torch.no_grad():
            states = model(torch.tensor([ids[:-1]]), output_hidden_states=True).hidden_states
        streams.append([state[0].double() for state in states[1:]])
    setattr(body, name, norm)
    activation = torch.tensor([[state.mean() for state in stream] for stream in streams]).mean(0)
    steps = [list(zip(stream, stream[1:])) for stream in streams]
    absolute = torch.tensor([[(b - a).abs().mean() for a, b in step] for step in steps]).mean(0)
    cosine = torch.tensor(
        [[1 - torch.cosine_similarity(a, b, dim=-1).mean() for a, b in step] for step in steps]
    ).mean(0)
    return activation, (activation[:-1] - activation[1:]).abs(), absolute, cosine


@pytest.mark.parametrize("batch_size", [1, 4, 16])
def test_scores_are_equation_1_at_any_batch_size(model, tokenizer, corpus, batch_size):
    scores = detect_layers(
        model, tokenizer, corpus, PAIRS, k=2, batch_size=batch_size, progress=False
    )
    for row, pair in enumerate(PAIRS):
        expected = plain_scores(model, tokenizer, corpus, pair)
        for name, values in zip(("activation", "delta", "absolute", "cosine"), expected):
            torch.testing.assert_close(
                getattr(scores, name)[row].double(), values.double(), rtol=1e-4, atol=1e-6
            )
    assert scores.activation.shape == (
        2,
        4,
    ) and scores.delta.shape == scores.absolute.shape == scores.cosine.shape == (2, 3)


@pytest.mark.parametrize("block", [1, 2, 3])
def test_a_block_that_shifts_the_mean_is_selected(bloom, tokenizer, corpus, block):
    feed_forwards(bloom)[block].down.bias.data.add_(2.0)
    assert detect_layers(bloom, tokenizer, corpus, PAIRS, k=1, progress=False).selected == [block]


def test_the_signed_mean_cancels_and_the_controls_do_not(bloom, tokenizer, corpus):
    plain = detect_layers(bloom, tokenizer, corpus, PAIRS, k=1, progress=False)
    signs = torch.tensor([1.0, -1.0]).repeat(16)
    feed_forwards(bloom)[2].down.bias.data.add_(
        3.0 * signs
    )  # changes the stream a lot and its mean not at all
    changed = detect_layers(bloom, tokenizer, corpus, PAIRS, k=1, progress=False)
    torch.testing.assert_close(changed.delta[:, 1], plain.delta[:, 1], rtol=1e-3, atol=1e-5)
    assert (changed.absolute[:, 1] > 2 * plain.absolute[:, 1]).all()
    for method in ("absolute", "cosine"):
        assert detect_layers(
            bloom, tokenizer, corpus, PAIRS, k=1, method=method, progress=False
        ).selected == [2]


def toy(delta):
    delta = torch.tensor(delta)
    pairs, activation = (
        [f"en-x{i}" for i in range(len(delta))],
        torch.zeros(len(delta), delta.shape[1] + 1),
    )
    return LayerScores(pairs, activation, delta, absolute=delta.flip(1), cosine=delta.flip(1) * 2)


def test_selection_pools_pairs_sorts_and_breaks_ties_low():
    scores = toy([[0.0, 5.0, 1.0, 3.0], [4.0, 0.0, 3.0, 1.0]])  # pooled 2, 2.5, 2, 2
    assert (
        scores.top(1) == [2]
        and scores.top(2) == [1, 2]
        and scores.top(3) == [1, 2, 3]
        and scores.top(4) == [1, 2, 3, 4]
    )
    assert scores.per_pair(2) == {"en-x0": [2, 4], "en-x1": [1, 3]}
    assert scores.top(1, by="absolute") == [3]
    with pytest.raises(ValueError, match="'mean' is unknown"):
        scores.top(1, by="mean")


@pytest.mark.parametrize("k", [0, 4, -1, 2.0, True])
def test_k_out_of_range(bloom, tokenizer, corpus, k):
    with pytest.raises(ValueError, match="1 … 3"):
        detect_layers(bloom, tokenizer, corpus, PAIRS, k=k)
    with pytest.raises(ValueError, match="out of range"):
        toy([[1.0, 2.0, 3.0]]).top(k)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"method": "mean"}, "'mean'"),
        ({"pairs": ["en-fr"]}, "fr"),
        ({"pairs": []}, "empty"),
        ({"max_sentences": 0}, "no sentences"),
    ],
)
def test_wrong_arguments_fail_before_the_first_forward_pass(
    bloom, tokenizer, corpus, options, message
):
    bloom.base_model.forward = lambda *a, **k: pytest.fail("ran the model")
    with pytest.raises(ValueError, match=message):
        detect_layers(
            bloom, tokenizer, corpus, **{"pairs": PAIRS, "k": 1, "progress": False, **options}
        )


def test_max_sentences_takes_the_first_rows(bloom, tokenizer, corpus):
    two = detect_layers(bloom, tokenizer, corpus, PAIRS, k=1, max_sentences=2, progress=False)
    same = detect_layers(bloom, tokenizer, corpus.select(range(2)), PAIRS, k=1, progress=False)
    assert torch.equal(two.activation, same.activation)
    assert not torch.equal(
        two.activation,
        detect_layers(bloom, tokenizer, corpus, PAIRS, k=1, progress=False).activation,
    )


def test_the_model_is_left_as_it_was(bloom, tokenizer, corpus):
    bloom.train()
    detect_layers(bloom, tokenizer, corpus, PAIRS, k=1, progress=False)
    assert bloom.training and not any(block._forward_hooks for block in decoder_blocks(bloom))


def test_save_and_load(bloom, tokenizer, corpus, tmp_path):
    scores = detect_layers(bloom, tokenizer, corpus, PAIRS, k=2, method="cosine", progress=False)
    scores.save(tmp_path / "layers.json")
    loaded = LayerScores.load(tmp_path / "layers.json")
    for name in ("activation", "delta", "absolute", "cosine"):
        assert torch.equal(getattr(loaded, name), getattr(scores, name)), name
    for name in ("pairs", "selected", "method", "settings"):
        assert getattr(loaded, name) == getattr(scores, name), name
    assert loaded.top(2) == scores.selected
    (tmp_path / "other.json").write_text(json.dumps({"kind": "something"}))
    (tmp_path / "broken.json").write_text("{")
    for name, message in (("other", "no layer scores"), ("broken", "broken.json is damaged")):
        with pytest.raises(ValueError, match=message):
            LayerScores.load(tmp_path / f"{name}.json")
