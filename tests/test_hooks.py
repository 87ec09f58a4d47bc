"""The one hook and the one reading loop: what is seen, what is changed, and what is left behind."""

import copy

import pytest
import torch
from torch import nn
from transformers import OPTConfig, OPTForCausalLM

from lander_lite.ablation import exact_ablation
from lander_lite.awareness import score_awareness
from lander_lite.blocks import feed_forwards
from lander_lite.evaluation import perplexity, translate
from lander_lite.hooks import (
    Site,
    evaluation_mode,
    finite,
    hooked,
    observe,
    read,
    read_mean,
    sentence_losses,
    sites,
    token_weights,
)
from lander_lite.layers import detect_layers
from lander_lite.neighbours.lape import lape
from lander_lite.prompts import batches, collate, texts

EXAMPLES = [{"input_ids": list(range(3, 3 + n))} for n in (2, 7, 4, 5, 3)]
LABELLED = [example | {"labels": example["input_ids"]} for example in EXAMPLES]


@pytest.fixture
def opt():
    """A family whose neurons have batch and token in one dimension."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "word_embed_proj_dim": 32, "ffn_dim": 48, "vocab_size": 300}
    return OPTForCausalLM(
        OPTConfig(num_hidden_layers=4, num_attention_heads=4, dropout=0.0, **sizes)
    ).eval()


def hooks_of(model):
    return [m for m in model.modules() if m._forward_hooks or m._forward_pre_hooks]


def test_values_are_those_of_the_forward_pass(model, tokenizer):
    batch = collate(tokenizer, EXAMPLES)
    with torch.no_grad():
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
        streams = model(**inputs, output_hidden_states=True).hidden_states
        residual, _ = observe(model, sites(model, "residual"), batch, lambda layer, x: x)
        neurons, _ = observe(model, sites(model, "neurons", [2, 0]), batch, lambda layer, h: h)
        before, _ = observe(model, sites(model, "pre_activation"), batch, lambda layer, z: z)
    assert list(residual) == list(before) == [0, 1, 2, 3] and list(neurons) == [0, 2]
    for layer in (0, 1, 2):  # after the last block transformers applies the final norm
        assert torch.equal(residual[layer], streams[layer + 1])
    for layer, h in neurons.items():
        view = feed_forwards(model)[layer]
        assert h.shape == before[layer].shape == (*batch["input_ids"].shape, view.d_ff)
        if view.gate is None:
            assert torch.equal(view.act(before[layer]), h)


@pytest.mark.parametrize("layers", [[], [4], [-1, 2]])
def test_a_layer_that_is_not_there(bloom, layers):
    with pytest.raises(ValueError, match="at least one block in 0 … 3"):
        sites(bloom, "neurons", layers)


@pytest.mark.parametrize("at", ["neurons", "pre_activation", "residual"])
def test_a_returned_tensor_takes_the_place_of_the_value(opt, tokenizer, at):
    batch, chosen, seen = collate(tokenizer, LABELLED), sites(opt, at, [1]), []

    def double(layer, x):
        seen.append(x)
        return 2 * x

    with torch.no_grad():
        before = sentence_losses(opt, batch)
        with hooked(chosen, lambda layer, x: None):
            assert torch.equal(sentence_losses(opt, batch), before)
        with hooked(chosen, double, batch["input_ids"].shape):
            doubled = sentence_losses(opt, batch)
        assert not torch.allclose(doubled, before)
        assert seen[0].shape[:2] == batch["input_ids"].shape and seen[0].dim() == 3
        _, same = observe(opt, chosen, batch, double, sentence_losses, replace=True)
        assert torch.equal(same, doubled) and torch.equal(sentence_losses(opt, batch), before)


def test_any_module_can_be_a_site(bloom, tokenizer):
    places = {"head": Site(bloom.lm_head, True), "norm": Site(bloom.transformer.ln_f, False)}
    found, _ = observe(
        bloom, places, collate(tokenizer, LABELLED), lambda name, x: x, sentence_losses
    )
    assert list(found) == ["head", "norm"] and torch.equal(found["head"], found["norm"])


def test_no_hook_stays_after_an_error(bloom, tokenizer):
    def fail(layer, x):
        raise KeyError("stop")

    for at in ("neurons", "pre_activation", "residual"):
        with pytest.raises(KeyError, match="stop"):
            observe(bloom, sites(bloom, at), collate(tokenizer, EXAMPLES), fail)
        assert not hooks_of(bloom)


def test_blocks_that_do_not_run_on_text_are_an_error(bloom, tokenizer, corpus):
    """A picture's tower that is deeper than the text model must not give zeros."""
    bloom.tower = nn.ModuleList([*bloom.transformer.h, bloom.transformer.h[0]])
    bloom.transformer.h = nn.ModuleList(
        [type(bloom.transformer.h[0])(bloom.config, layer_idx=i) for i in range(2)]
    )
    bloom.config.num_hidden_layers = 2
    for call in (
        lambda: detect_layers(bloom, tokenizer, corpus, ["en-de"], k=1, progress=False),
        lambda: score_awareness(bloom, tokenizer, corpus, ["en"], [3], progress=False),
    ):
        with pytest.raises(RuntimeError, match="BloomForCausalLM does not run its blocks"):
            call()
        assert not hooks_of(bloom)


def test_every_example_is_read_once_in_batches_of_like_length(bloom, tokenizer):
    bloom.train()

    def step(batch):
        assert not bloom.training and not torch.is_grad_enabled()
        return batch["attention_mask"].sum(dim=1).tolist()

    found = list(read(bloom, tokenizer, EXAMPLES, step, batch_size=2))
    assert [rows for rows, _ in found] == list(
        batches(EXAMPLES, 2, key=lambda example: len(example["input_ids"]))
    )
    lengths = {row: n for rows, counts in found for row, n in zip(rows, counts, strict=True)}
    assert lengths == dict(enumerate([2, 7, 4, 5, 3])) and bloom.training
    assert torch.is_grad_enabled()


def test_a_mean_over_examples_does_not_depend_on_the_batch(model, tokenizer):
    chosen = sites(model, "residual")

    def summed(batch):
        weights = token_weights(batch)
        assert torch.allclose(weights.sum(dim=1), torch.ones(len(weights)))
        found, _ = observe(model, chosen, batch, lambda _, x: torch.einsum("std,st->d", x, weights))
        return torch.stack(list(found.values()))

    one, three, every = (
        read_mean(model, tokenizer, EXAMPLES, summed, batch_size=size) for size in (1, 3, 64)
    )
    assert one.abs().min() > 0
    for other in (three, every):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-6)


def test_evaluation_mode_puts_everything_back(llama):
    llama.train()
    feed_forwards(llama)[0].up.weight.requires_grad_(False)
    flags = [p.requires_grad for p in llama.parameters()]
    for gradients in (False, True):
        with pytest.raises(KeyError), evaluation_mode(llama, gradients=gradients):
            assert not llama.training and torch.is_grad_enabled() == gradients
            assert not gradients or not any(p.requires_grad for p in llama.parameters())
            raise KeyError
        assert llama.training and torch.is_grad_enabled()
        assert [p.requires_grad for p in llama.parameters()] == flags


# ---------------------------------------------------------------- numbers that are none
def spoiled(model, block: int, value: float):
    """`value` in one number of a block's down-projection."""
    feed_forwards(model)[block].down.weight.data[0, 0] = value
    return model


READERS = {
    "detect": lambda m, t, c: detect_layers(m, t, c, ["en-de"], k=2, progress=False),
    "score": lambda m, t, c: score_awareness(m, t, c, ["en", "de"], [1, 3], progress=False),
    "lape": lambda m, t, c: lape(m, t, c, ["en", "de"]),
    "ablation": lambda m, t, c: exact_ablation(m, t, c, "en", 3, [0]),
    "perplexity": lambda m, t, c: perplexity(m, t, texts(c, "en")),
    "translate": lambda m, t, c: translate(m, t, texts(c, "en"), "en-de"),
}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("reader", READERS)
def test_numbers_that_are_not_finite_are_refused_with_the_block(
    model, tokenizer, corpus, reader, value
):
    READERS[reader](model, tokenizer, corpus)  # as it is, it reads
    with pytest.raises(FloatingPointError, match="block 2 gives numbers that are not finite"):
        READERS[reader](spoiled(model, 2, value), tokenizer, corpus)


def test_float16_that_overflows_is_refused_with_block_and_dtype(bloom, tokenizer, corpus):
    feed_forwards(bloom)[1].down.weight.data.fill_(6e4)
    feed_forwards(bloom)[1].up.weight.data.fill_(5.0)
    with pytest.raises(FloatingPointError, match="block 1 .*torch.float16.*bfloat16"):
        READERS["detect"](bloom.half(), tokenizer, corpus)
    READERS["detect"](bloom.bfloat16(), tokenizer, corpus)


def test_gradients_that_overflow_are_refused(bloom, tokenizer, corpus):
    ffn = feed_forwards(bloom)[3]
    with torch.no_grad():  # a silent neuron whose weights out of the block are large
        ffn.up.weight[0], ffn.up.bias[0] = 0, 0
        ffn.down.weight[:, 0] = 6e4 * torch.randn(32).clamp(-1, 1)
        bloom.lm_head.weight = nn.Parameter(200 * bloom.lm_head.weight)
    READERS["score"](copy.deepcopy(bloom), tokenizer, corpus)
    with pytest.raises(FloatingPointError, match="gradients overflow in torch.float16"):
        READERS["score"](bloom.half(), tokenizer, corpus)


def test_padding_may_hold_anything():
    values, mask = torch.zeros(2, 3, 4), torch.tensor([[0, 1, 1], [1, 1, 1]])
    values[0, 0] = float("nan")
    assert finite(values, mask)
    values[1, 2, 3] = float("inf")
    assert not finite(values, mask)
