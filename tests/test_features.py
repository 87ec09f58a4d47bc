"""Large-magnitude features: norms against plain passes of single prompts; prompts; planted features
found, random ones not."""

import pytest
import torch

from lander_lite import decoder_blocks
from lander_lite.neighbours.features import (
    feature_magnitudes,
    monolingual_prompts,
    random_prompts,
    stand_out,
    top_overlap,
    translation_prompts,
)

PROMPTS = ["the dog sleeps", "a cat eats the fish in the red house today", "he"]


def plainly(model, tokenizer, prompts):
    """METHODS 6.1 with one unpadded pass per prompt: mean over prompts of the norm over tokens,
    [layer, d_model]."""
    total = 0
    for text in prompts:
        seen = []
        handles = [
            block.register_forward_hook(
                lambda module, args, out, seen=seen: seen.append(
                    out[0] if isinstance(out, tuple) else out
                )
            )
            for block in decoder_blocks(model)
        ]
        with torch.no_grad():
            model(tokenizer(text, return_tensors="pt")["input_ids"])
        for handle in handles:
            handle.remove()
        total = total + torch.stack([(hidden[0].double() ** 2).sum(0) ** 0.5 for hidden in seen])
    return total / len(prompts)


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_magnitudes_equal_plain_passes_at_any_batch_size(model, tokenizer, batch_size):
    found = feature_magnitudes(model, tokenizer, PROMPTS, batch_size=batch_size)
    assert found.shape == (4, 32) and found.dtype == torch.float32
    torch.testing.assert_close(
        found.double(), plainly(model, tokenizer, PROMPTS), rtol=1e-4, atol=1e-5
    )


def test_ids_are_the_same_as_their_text_and_long_prompts_are_cut(model, tokenizer):
    ids = [tokenizer(text)["input_ids"] for text in PROMPTS]
    assert torch.equal(
        feature_magnitudes(model, tokenizer, ids), feature_magnitudes(model, tokenizer, PROMPTS)
    )
    with pytest.warns(UserWarning, match="cut at max_length=5"):
        cut = feature_magnitudes(model, tokenizer, PROMPTS, max_length=5)
    assert torch.equal(
        cut, feature_magnitudes(model, tokenizer, [x[:5] for x in ids])
    ) and not torch.equal(cut, feature_magnitudes(model, tokenizer, PROMPTS))


def test_a_model_keeps_its_mode_and_no_hook_stays(bloom, tokenizer):
    bloom.train()
    feature_magnitudes(bloom, tokenizer, PROMPTS)
    assert bloom.training and not any(block._forward_hooks for block in decoder_blocks(bloom))


def test_translation_prompts_are_demonstrations_of_rows_used_once(corpus):
    prompts = translation_prompts(corpus, "en-de", shots=2, n=3, seed=1)
    lines = [line for text in prompts for line in text.split("\n")]
    wanted = [f"English: {row['en']}\nGerman: {row['de']}" for row in corpus["translation"]]
    assert sorted("\n".join(lines[i : i + 2]) for i in range(0, 12, 2)) == sorted(wanted)
    assert (
        prompts
        == translation_prompts(corpus, "en-de", shots=2, n=3, seed=1)
        != translation_prompts(corpus, "en-de", 2, 3, seed=2)
    )


def test_monolingual_prompts_have_the_rows_of_the_translations(corpus):
    mono, both = (
        monolingual_prompts(corpus, "de", 2, 2, seed=4),
        translation_prompts(corpus, "en-de", 2, 2, seed=4),
    )
    assert [text.split("\n") for text in mono] == [text.split("\n")[1::2] for text in both]
    sentences = {"de": [row["de"] for row in corpus["translation"]]}
    assert monolingual_prompts(sentences, "de", 2, 2, seed=4) == mono


def test_random_prompts_hold_no_special_token(tokenizer):
    prompts = random_prompts(tokenizer, n=20, length=30, seed=3)
    assert [len(ids) for ids in prompts] == [30] * 20 and len(
        {i for ids in prompts for i in ids}
    ) > 100
    assert not {i for ids in prompts for i in ids} & set(tokenizer.all_special_ids)
    assert (
        prompts
        == random_prompts(tokenizer, 20, 30, seed=3)
        != random_prompts(tokenizer, 20, 30, seed=4)
    )


def test_planted_features_stand_out_and_random_ones_do_not():
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.rand(3, 100, generator=generator) for _ in range(2))
    planted = {0: [7, 30], 2: [0, 99]}
    for layer, features in planted.items():
        first[layer, features], second[layer, features] = 5.0, -1.0
    found = stand_out(first, second, q=0.2)
    assert all(set(features) <= set(found[layer].tolist()) for layer, features in planted.items())
    sizes = [
        len(
            stand_out(
                torch.rand(1, 100, generator=generator),
                torch.rand(1, 100, generator=generator),
                q=0.2,
            )[0]
        )
        for _ in range(200)
    ]
    assert sum(sizes) / 200 == pytest.approx(0.2**2 * 100, abs=0.5)  # q^2 d by chance


def test_stand_out_equals_sorted_lists():
    first, second = (
        torch.tensor([[5.0, 1.0, 4.0, 2.0, 3.0, 0.0]]),
        torch.tensor([[0.0, 1.0, 5.0, 4.0, 3.0, 2.0]]),
    )
    found = stand_out(first, second, q=0.5)  # largest: 0, 2, 4; smallest: 0, 1, 5
    assert found[0].tolist() == [0] and found[0].dtype == torch.long
    assert len(stand_out(first, first, q=0.5)[0]) == 0


def test_overlap_is_one_with_itself_and_the_expectation_with_chance():
    generator = torch.Generator().manual_seed(1)
    first, second = (torch.rand(400, 50, generator=generator) for _ in range(2))
    same, expected = top_overlap(first, 3 * first, q=0.3)
    assert same.eq(1).all() and expected == pytest.approx(0.3)
    assert top_overlap(first, second, q=0.3)[0].mean().item() == pytest.approx(expected, abs=0.02)
    assert top_overlap(first, -first, q=0.3)[0].eq(0).all()


@pytest.mark.parametrize(
    "prompts, options, message",
    [
        ([], {}, "at least one text"),
        ("one text", {}, "at least one text"),
        (["a", ""], {}, "prompt 1 has no tokens"),
        (["a"], {"batch_size": 0}, "at least 1"),
        (["a"], {"max_length": 0}, "at least 1"),
    ],
)
def test_wrong_prompts_are_refused(bloom, tokenizer, prompts, options, message):
    with pytest.raises(ValueError, match=message):
        feature_magnitudes(bloom, tokenizer, prompts, **options)


def test_wrong_requests_are_refused(corpus, tokenizer):
    with pytest.raises(ValueError, match="take 400 rows, but there are 6"):
        translation_prompts(corpus, "en-de")
    with pytest.raises(ValueError, match="no 'fr'"):
        translation_prompts(corpus, "en-fr", 1, 1)
    with pytest.raises(KeyError):
        monolingual_prompts(corpus, "fr", 1, 1)
    with pytest.raises(ValueError, match="at least 1"):
        monolingual_prompts(corpus, "de", 0, 1)
    with pytest.raises(ValueError, match="at least 1"):
        random_prompts(tokenizer, n=0)
    with pytest.raises(ValueError, match="layer, d_model"):
        stand_out(torch.rand(2, 4), torch.rand(2, 5))
    for q in (0.0, 1.0, float("nan")):
        with pytest.raises(ValueError, match="between 0 and 1"):
            top_overlap(torch.rand(2, 4), torch.rand(2, 4), q)
