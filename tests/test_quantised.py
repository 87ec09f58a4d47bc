"""4- and 8-bit frozen weights (bitsandbytes, on the CPU): selected layers are turned back, the
others stay small, and the slices are trained in full precision. Sizes are multiples of 64, which
bitsandbytes' 4-bit kernels want."""

import contextlib
import io

import pytest
import torch
from torch import nn

from lander_lite import (
    LanderModel,
    LanderTuningConfig,
    NeuronSets,
    detect_layers,
    feed_forwards,
    finetune,
    fingerprint,
    get_lander_model,
    load_corpus,
    load_model,
    score_awareness,
)
from lander_lite.config import FinetuneConfig, data_dir

pytestmark = pytest.mark.filterwarnings("ignore:MatMul8bitLt", "ignore:.*_register_pytree_node")
LAYERS, FORMS = [1, 3], [{"load_in_4bit": True}, {"load_in_8bit": True}]


@pytest.fixture(scope="module")
def corpus():
    return load_corpus(data_dir() / "tiny_babel" / "valid.jsonl").select(range(24))


def load(bits, name="tiny-bloom"):
    if bits:
        pytest.importorskip("bitsandbytes")
    model, tokenizer = load_model(name, **bits)
    return (
        model.train(),
        tokenizer,
    )  # in evaluation, 4-bit layers of some CPUs take a form that has no gradient


def sets(model):
    d_ff, parts = (
        feed_forwards(model)[0].d_ff,
        torch.arange(feed_forwards(model)[0].d_ff).tensor_split(4),
    )
    return NeuronSets(
        LAYERS,
        ["en", "de"],
        dict.fromkeys(LAYERS, parts[0]),
        {"en": dict.fromkeys(LAYERS, parts[1]), "de": dict.fromkeys(LAYERS, parts[2])},
        d_ff,
        fingerprint(model),
        "test",
    )


def logits(model, tokenizer):
    batch = tokenizer(["The dog sleeps.", "Der Hund schläft."], return_tensors="pt", padding=True)
    with torch.no_grad():
        return model(**batch).logits.float()


@pytest.mark.parametrize("bits", FORMS)
def test_wrapping_changes_nothing_and_what_is_frozen_stays_quantised(bits):
    model, tokenizer = load(bits)
    before, small = logits(model, tokenizer), type(feed_forwards(model)[0].up)
    full = load({})[0]
    assert small is not nn.Linear and not torch.allclose(
        before, logits(full, tokenizer), atol=1e-2
    ), "not quantised"
    lander = get_lander_model(model, LanderTuningConfig(sets(model), "none")).set_pair("en-de")
    assert torch.allclose(logits(lander, tokenizer), before, atol=1e-4)
    plain = [getattr(block.mlp, "base_layer", block.mlp) for block in model.transformer.h]
    kinds = [
        type(module) for mlp in plain for module in mlp.children() if isinstance(module, nn.Linear)
    ]
    assert kinds == [small] * 16
    slices = [p for ffn in lander.partitioned.values() for p in ffn.slices.values()]
    assert all(p.dtype == torch.float32 and p.requires_grad for p in slices)
    every = sum(p.numel() for p in full.parameters()) + sum(p.numel() for p in slices)
    assert f"all params: {every:,d}" in printed(lander)
    with lander.disable_adapter():
        assert torch.equal(logits(lander, tokenizer), before)
    assert torch.equal(logits(lander.unload(), tokenizer), before)


def printed(lander):
    with contextlib.redirect_stdout(io.StringIO()) as text:
        lander.print_trainable_parameters()
    return text.getvalue()


@pytest.mark.parametrize("bits", FORMS)
def test_only_the_slices_move_and_the_tuned_model_is_saved_and_merged(bits, corpus, tmp_path):
    model, tokenizer = load(bits)
    lander = get_lander_model(model, LanderTuningConfig(sets(model), "none"))
    frozen = {
        name: p.detach().clone() for name, p in lander.named_parameters() if not p.requires_grad
    }
    settings = FinetuneConfig(updates=12, batch_size=8, learning_rate=3e-3, progress=False)
    loss = finetune(lander, tokenizer, corpus, ["en-de"], settings)["loss"]
    assert sum(loss[-3:]) < 0.8 * sum(loss[:3])
    assert all(
        torch.equal(p, frozen[name]) for name, p in lander.named_parameters() if name in frozen
    )
    tuned = logits(lander, tokenizer)
    lander.save_pretrained(tmp_path)
    again = LanderModel.from_pretrained(load(bits)[0], tmp_path).set_pair("en-de")
    again.train()  # as `load` says; PEFT loads in evaluation mode
    assert torch.allclose(logits(again, tokenizer), tuned, atol=1e-4)
    merged = lander.merge_and_unload()
    assert (
        torch.allclose(logits(merged, tokenizer), tuned, atol=1e-4)
        and type(merged.transformer.h[1].mlp.dense_h_to_4h) is nn.Linear
    )


def test_layers_and_scores_of_eight_bits_are_those_of_the_model(corpus):
    model, tokenizer = load({"load_in_8bit": True}, "tiny-llama")
    whole, _ = load_model("tiny-llama")
    found, expected = (
        detect_layers(one, tokenizer, corpus, ["en-de"], 2, progress=False)
        for one in (model, whole)
    )
    assert torch.allclose(
        found.delta, expected.delta, rtol=0.1, atol=0.02 * expected.delta.max().item()
    )
    a, b = (
        score_awareness(
            one, tokenizer, corpus, ["en", "de"], LAYERS, progress=False
        ).values.flatten()
        for one in (model, whole)
    )
    assert torch.nn.functional.cosine_similarity(a, b, dim=0) > 0.99
