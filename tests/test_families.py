"""Every family of decoders in small: one view of its feed-forward networks, wrapping, merging,
scoring, tuning, counting."""

import copy

import pytest
import torch
import torch.nn.functional as F
import transformers
from lander_helpers import logits, make_sets, quick, state
from torch import nn

from lander_lite.ablation import exact_ablation
from lander_lite.awareness import score_awareness
from lander_lite.blocks import Projection, decoder_blocks, feed_forwards, fingerprint
from lander_lite.neighbours.lape import activation_counts
from lander_lite.probes.switching import sentence_activations, switched_off
from lander_lite.reproduction import baselines
from lander_lite.training.loop import finetune
from lander_lite.tuner.model import LanderTuningConfig, get_lander_model

SMALL = {
    "vocab_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "hidden_size": 32,
    "pad_token_id": 0,
    "eos_token_id": 2,
    "bos_token_id": 1,
}
GATED = {**SMALL, "intermediate_size": 48, "num_key_value_heads": 2}
SLIDING = ["sliding_attention", "full_attention"] * 2
FAMILIES = {
    "bloom": (
        transformers.BloomConfig,
        {"vocab_size": 512, "n_layer": 4, "n_head": 4, "hidden_size": 32},
        128,
        False,
    ),
    "llama": (transformers.LlamaConfig, GATED, 48, True),
    "llama with biases": (transformers.LlamaConfig, {**GATED, "mlp_bias": True}, 48, True),
    "mistral": (transformers.MistralConfig, GATED, 48, True),
    "qwen2": (transformers.Qwen2Config, GATED, 48, True),
    "qwen3": (
        transformers.Qwen3Config,
        {**GATED, "head_dim": 12},
        48,
        True,
    ),  # attention's inner width is 48, too
    "gemma": (transformers.GemmaConfig, {**GATED, "head_dim": 8}, 48, True),
    "gemma2": (transformers.Gemma2Config, {**GATED, "head_dim": 8}, 48, True),
    "gemma3": (
        transformers.Gemma3TextConfig,
        {**GATED, "head_dim": 8, "sliding_window": 4, "layer_types": SLIDING},
        48,
        True,
    ),
    "olmo2": (transformers.Olmo2Config, GATED, 48, True),
    "gpt2": (
        transformers.GPT2Config,
        {"vocab_size": 512, "n_layer": 4, "n_head": 4, "n_embd": 32, "n_positions": 128},
        128,
        False,
    ),
    "gpt-neox": (transformers.GPTNeoXConfig, {**SMALL, "intermediate_size": 48}, 48, False),
    "opt": (
        transformers.OPTConfig,
        {**SMALL, "ffn_dim": 48, "word_embed_proj_dim": 32, "max_position_embeddings": 128},
        48,
        False,
    ),
    "opt without biases": (
        transformers.OPTConfig,
        {**SMALL, "ffn_dim": 48, "word_embed_proj_dim": 32, "enable_bias": False},
        48,
        False,
    ),
    "xglm": (
        transformers.XGLMConfig,
        {"vocab_size": 512, "num_layers": 4, "attention_heads": 4, "d_model": 32, "ffn_dim": 48},
        48,
        False,
    ),
    "phi3 (fused gate and up)": (transformers.Phi3Config, GATED, 48, True),
}


@pytest.fixture(params=FAMILIES)
def family(request):
    """(model, d_ff, gated) of each family, with biases that are not zero."""
    config, sizes, d_ff, gated = FAMILIES[request.param]
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config(**sizes))
    for name, p in model.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(p, std=0.1)
    return model.eval(), d_ff, gated


def by_hand(view, x):
    """The neurons and the output of a feed-forward network, from the weights alone."""
    h = F.linear(x, view.up.weight, view.up.bias)
    h = (
        view.act(h)
        if view.gate is None
        else view.act(F.linear(x, view.gate.weight, view.gate.bias)) * h
    )
    return h, F.linear(h, view.down.weight, view.down.bias)


def test_what_the_hooks_see_is_what_the_weights_give(family):
    model, d_ff, gated = family
    views, seen = feed_forwards(model), {}
    assert len(views) == len(decoder_blocks(model)) == 4 and {
        (v.d_ff, v.d_model) for v in views
    } == {(d_ff, 32)}
    for i, view in enumerate(views):
        assert (view.gate is not None) == gated
        assert tuple(view.down.weight.shape) == (32, d_ff) and tuple(view.up.weight.shape) == (
            d_ff,
            32,
        )
        first = view.gate if gated else view.up
        first.register_forward_hook(lambda m, args, out, i=i: seen.__setitem__(("inner", i), out))
        view.up.register_forward_pre_hook(lambda m, args, i=i: seen.__setitem__(("x", i), args[0]))
        view.down.register_forward_pre_hook(
            lambda m, args, i=i: seen.__setitem__(("h", i), args[0])
        )
        (
            view.down.module if isinstance(view.down, Projection) else view.down
        ).register_forward_hook(lambda m, args, out, i=i: seen.__setitem__(("y", i), out))
    logits(model)
    for i, view in enumerate(views):
        h, y = by_hand(view, seen["x", i])
        first = view.gate if gated else view.up
        torch.testing.assert_close(
            seen["inner", i], F.linear(seen["x", i], first.weight, first.bias), atol=1e-5, rtol=1e-4
        )
        torch.testing.assert_close(seen["h", i], h, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(seen["y", i], y, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("routing", ["none", "learned"])
def test_wrapping_is_the_identity_and_leaves_no_trace(family, routing):
    model = family[0]
    before, weights, names = (
        logits(model),
        state(model),
        [name for name, _ in model.named_modules()],
    )
    lander = get_lander_model(model, LanderTuningConfig(make_sets(model), routing)).set_pair(
        "en-de"
    )
    assert (logits(lander) - before).abs().max() <= 1e-6 * before.abs().max()
    with lander.disable_adapter():
        assert torch.equal(logits(lander), before)
    plain = lander.unload()
    assert plain is model and [name for name, _ in model.named_modules()] == names
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    torch.testing.assert_close(logits(model), before, atol=0, rtol=0)


def test_tuning_moves_the_pairs_neurons_and_merging_keeps_the_logits(family, tokenizer, corpus):
    model = family[0]
    base, sets = copy.deepcopy(model), make_sets(model)
    lander = get_lander_model(model, LanderTuningConfig(sets, "none")).set_pair("en-de")
    finetune(lander, tokenizer, corpus, ["en-de"], quick())
    tuned = logits(lander.eval())
    assert not torch.allclose(tuned, logits(base), atol=1e-3)
    merged = lander.merge_and_unload()
    assert (logits(merged) - tuned).abs().max() <= 1e-6 * tuned.abs().max()
    for layer in sets.layers:
        old, new, own = (
            feed_forwards(base)[layer],
            feed_forwards(merged)[layer],
            sets.trainable("en-de")[layer].tolist(),
        )
        for name in ("up", "gate", "down"):
            a, b = getattr(old, name), getattr(new, name)
            if a is not None:
                changed = (
                    (a.weight != b.weight)
                    .any(dim=0 if name == "down" else 1)
                    .nonzero()
                    .flatten()
                    .tolist()
                )
                assert changed == own, (layer, name)
    fresh, after = base.state_dict(), merged.state_dict()
    touched = [name for name in fresh if not torch.equal(fresh[name], after[name])]
    prefix = tuple(
        feed_forwards(base)[layer].name.rpartition(".fc2")[0] or feed_forwards(base)[layer].name
        for layer in sets.layers
    )
    assert (
        touched
        and all(name.startswith(prefix) for name in touched)
        and not any("attn" in name or "norm" in name for name in touched)
    )


def test_scores_counts_and_switches_agree_with_the_forward_pass(family, tokenizer, corpus):
    model, d_ff, gated = family
    scores = score_awareness(
        model, tokenizer, corpus, ["en", "de"], [1, 3], progress=False, batch_size=2
    )
    alone = score_awareness(
        model, tokenizer, corpus, ["en", "de"], [1, 3], progress=False, batch_size=1
    )
    torch.testing.assert_close(scores.values, alone.values, rtol=1e-3, atol=1e-7)
    pre = score_awareness(
        model, tokenizer, corpus, ["en", "de"], [1, 3], pre_activation=True, progress=False
    )
    assert (
        pre.values.shape == (2, 2, d_ff) and (pre.values > 0).float().mean() > 0.4
    )  # ReLU is off at half
    exact = exact_ablation(model, tokenizer, corpus, "en", 1, range(8), signed=True)
    view, most = feed_forwards(edited := copy.deepcopy(model))[1], int(exact.abs().argmax())
    with torch.no_grad():
        view.down.weight[:, most] = 0
    sets = make_sets(model)
    again = exact_ablation(edited, tokenizer, corpus, "en", 1, [most], signed=True)
    assert abs(float(again)) < 0.01 * abs(float(exact[most]))  # it was off already
    counts = activation_counts(model, tokenizer, corpus, ["en", "de"], batch_size=3)
    assert (
        counts.counts.shape == (4, d_ff, 2)
        and (counts.counts <= counts.tokens).all()
        and 0 < counts.shares.mean() < 1
    )
    before = logits(model)
    with switched_off(model, sets, "de"):
        assert not torch.equal(logits(model), before)
    assert torch.equal(logits(model), before) and sentence_activations(
        model, tokenizer, ["the cat", "a dog eats"], 2
    ).shape == (2, d_ff)


@pytest.mark.parametrize("method", ["layers", "adapter", "lora"])
def test_baselines_start_as_the_model_and_learn(family, tokenizer, corpus, method):
    model = family[0]
    before = logits(model)
    tuned = {
        "layers": lambda: baselines.layers(model, [1, 2]),
        "adapter": lambda: baselines.adapter(model, 4),
        "lora": lambda: baselines.lora(model, r=2),
    }[method]()
    torch.testing.assert_close(logits(tuned), before, atol=1e-5, rtol=1e-4)
    assert fingerprint(tuned)["d_ff"] == family[1]
    loss = finetune(tuned, tokenizer, corpus, ["en-de"], quick(updates=6, learning_rate=0.01))[
        "loss"
    ]
    assert not torch.allclose(logits(tuned.eval()), before, atol=1e-4) and min(loss[3:]) < loss[0]


# ---------------------------------------------------------------- by structure
class Odd(nn.Module):
    """A gated network in which no name tells which layer is the gate, nor what the activation
    is."""

    def __init__(self, gate_first: bool):
        super().__init__()
        self.alpha, self.beta, self.omega, self.squash = (
            nn.Linear(16, 40),
            nn.Linear(16, 40),
            nn.Linear(40, 16),
            nn.Tanh(),
        )
        self.gate_first = gate_first

    def forward(self, x):
        a, b = (self.alpha, self.beta) if self.gate_first else (self.beta, self.alpha)
        return self.omega(self.squash(a(x)) * b(x))


@pytest.mark.parametrize("gate_first", [True, False])
def test_the_gate_is_found_by_what_the_module_computes(gate_first):
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.strange = Odd(gate_first)

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.layers = nn.Embedding(9, 16), nn.ModuleList([Block(), Block()])

        def get_input_embeddings(self):
            return self.words

    torch.manual_seed(0)
    view = feed_forwards(Model())[1]
    own = view.module
    assert (view.gate is own.alpha) == gate_first and view.act is own.squash and view.d_ff == 40
    x = torch.randn(3, 16)
    torch.testing.assert_close(by_hand(view, x)[1], own(x))


@pytest.mark.parametrize(
    "config, message",
    [
        (transformers.MixtralConfig(**GATED, num_local_experts=2), "mixture of experts"),
        (
            transformers.MambaConfig(
                vocab_size=64, hidden_size=16, num_hidden_layers=2, state_size=4
            ),
            "no feed-forward network found. Looked for",
        ),
    ],
)
def test_other_architectures_are_refused_with_what_was_looked_for(config, message):
    with pytest.raises(ValueError, match=message):
        feed_forwards(transformers.AutoModelForCausalLM.from_config(config))


MORE = {
    "bitnet": (transformers.BitNetConfig, GATED, "BitNetMLP"),  # a norm before down
    "falcon-h1": (
        transformers.FalconH1Config,
        {**GATED, "mlp_multipliers": [0.5, 3.0], "mamba_d_ssm": 32, "mamba_n_heads": 4},
        "FalconH1MLP",
    ),
    "gemma3n": (
        transformers.Gemma3nTextConfig,
        {
            **GATED,
            "intermediate_size": [48] * 4,
            "head_dim": 8,
            "vocab_size_per_layer_input": 512,
            "hidden_size_per_layer_input": 8,
            "activation_sparsity_pattern": [0.9, 0.9, 0.0, 0.0],
            "num_kv_shared_layers": 0,
            "laurel_rank": 4,
        },
        "Gemma3nTextMLP",
    ),
}


@pytest.mark.parametrize("name", MORE)
def test_networks_with_further_mathematics_are_refused_by_name(name):
    """They have the form of a gated network, and would be wrapped into another function."""
    config, sizes, kind = MORE[name]
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config(**sizes)).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)  # else a norm's weight of 1 hides little
    with pytest.raises(ValueError, match=f"\\({kind}\\) has the form, but computes another"):
        feed_forwards(model)


def test_a_dropout_inside_an_inline_network_is_refused():
    model = transformers.AutoModelForCausalLM.from_config(
        transformers.XGLMConfig(**FAMILIES["xglm"][1], activation_dropout=0.1)
    )
    with pytest.raises(ValueError, match="activation_dropout=0"):
        get_lander_model(model, LanderTuningConfig(make_sets(model)))
