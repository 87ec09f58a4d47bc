"""LanderLayer and the router against plain reimplementations with full matrices and masks."""

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from conftest import SIZES, random_model
from lander_helpers import LAYERS, disturb, inputs, logits, make_sets
from transformers import LlamaConfig

from lander_lite.blocks import feed_forwards
from lander_lite.neurons import NeuronSets
from lander_lite.routing import CAR, awareness_share
from lander_lite.tuner.model import LanderModel, LanderTuningConfig, get_lander_model


@pytest.fixture(params=["bloom", "llama", "llama-bias"])
def base(request):
    """Both architectures, and a gated one with biases in all three projections; norms and biases
    are random."""
    if request.param == "llama-bias":
        return random_model(
            LlamaConfig(**SIZES, intermediate_size=48, num_key_value_heads=4, mlp_bias=True)
        )
    return request.getfixturevalue(request.param)


def wrap(model, sets, routing="none", pair="en-de", **settings):
    return get_lander_model(model, LanderTuningConfig(sets, routing, **settings)).set_pair(pair)


def plain_ffn(view, x, neurons=None):
    """The block's output without its output bias, from full matrices; `neurons` (a mask over d_ff)
    keeps some."""
    h = F.linear(x, view.up.weight, view.up.bias)
    h = (
        view.act(h)
        if view.gate is None
        else view.act(F.linear(x, view.gate.weight, view.gate.bias)) * h
    )
    return F.linear(h if neurons is None else h * neurons, view.down.weight)


def mask(indices, d_ff):
    return torch.zeros(d_ff).index_fill_(0, indices, 1.0)


def replay(model, formula, sets):
    """The base model's logits with `formula(view, x, layer)`, output bias included, in the selected
    layers."""
    model = copy.deepcopy(model)
    for layer in sets.layers:
        view = feed_forwards(model)[layer]

        def forward(x, residual=None, view=view, layer=layer):
            y = formula(view, x, layer)
            return y if residual is None else y + residual

        view.module.forward = forward
    return logits(model)


def bias(view):
    return 0.0 if view.down.bias is None else view.down.bias


def shares(sets, pair):
    """r per layer, by loops over the printed sums."""
    result = {}
    for layer in sets.layers:
        mean = sum(sets.awareness[lang][layer] for lang in pair.split("-")) / 2
        own = {i for lang in pair.split("-") for i in sets.specific[lang][layer].tolist()}
        general = sum(mean[i].item() for i in sets.general[layer].tolist())
        result[layer] = general / (general + sum(mean[i].item() for i in own))
    return result


@pytest.mark.parametrize("rest", [True, False])
@pytest.mark.parametrize("routing", ["none", "learned"])
def test_untrained_model_is_the_base_model(base, routing, rest):
    sets, expected = make_sets(base, rest=rest), logits(base)
    biases = [b for v in feed_forwards(base) for b in (v.up.bias, v.down.bias) if b is not None]
    assert all(b.abs().min() > 0 for b in biases)  # else a lost or doubled bias would not show
    lander = wrap(base, sets, routing)
    for pair in ("en-de", "zh-en"):
        difference = (logits(lander.set_pair(pair)) - expected).abs().max()
        assert difference <= 1e-6 * expected.abs().max()
    assert all((len(ffn.partition.rest) > 0) == rest for ffn in lander.partitioned.values())
    # the same comparison sees a single slice that is off
    with torch.no_grad():
        lander.partitioned[1].slices["general:down"].mul_(1.01)
    assert (logits(lander) - expected).abs().max() > 1e-4


def test_parts_cover_each_neuron_once(base):
    sets = make_sets(base)
    lander = wrap(base, sets)
    for layer, ffn in lander.partitioned.items():
        grouped = torch.cat(list(ffn.partition.groups.values()))
        used = torch.cat(
            [sets.general[layer], *(sets.specific[lang][layer] for lang in sets.languages)]
        ).unique()
        assert torch.equal(grouped.sort().values, used)
        sizes = [p.shape[1] for key, p in ffn.slices.items() if key.endswith(":down")]
        assert sum(sizes) + len(ffn.partition.rest) == ffn.view.d_ff
        for i in used.tolist():
            name = next(name for name, members in ffn.partition.groups.items() if i in members)
            owners = [lang for lang in sets.languages if i in sets.specific[lang][layer]]
            assert name == ("+".join(owners) or "general")
    assert any("+" in name for name in lander.partitioned[1].partition.groups)


@pytest.mark.parametrize("routing", ["literal", "corrected"])
@pytest.mark.parametrize("other", ["drop", "keep"])
def test_literal_and_corrected_are_equations_6_to_8(base, routing, other):
    sets = make_sets(base)
    r = shares(sets, "en-de")

    def formula(view, x, layer, swap=routing == "literal", drop=other == "drop"):
        general, own = (mask(s[layer], view.d_ff) for s in (sets.general, sets.pair("en-de")))
        a, b = (1 - r[layer], r[layer]) if swap else (r[layer], 1 - r[layer])
        y = plain_ffn(view, a * x, general) + plain_ffn(view, b * x, own)
        return y + bias(view) + (0 if drop else plain_ffn(view, x, 1 - general - own))

    expected = replay(base, formula, sets)
    wrong = [
        replay(base, lambda v, x, i: formula(v, x, i, swap=routing != "literal"), sets),
        replay(base, lambda v, x, i: formula(v, x, i, drop=other != "drop"), sets),
    ]
    if feed_forwards(base)[0].down.bias is not None:
        wrong.append(replay(base, lambda v, x, i: formula(v, x, i) + bias(v), sets))
    mine = logits(wrap(base, sets, routing, other_specific=other))
    assert (mine - expected).abs().max() <= 2e-5
    assert all((mine - other).abs().max() > 1e-3 for other in wrong)


def test_default_of_other_specific_is_drop_for_the_printed_equations_only(llama):
    sets = make_sets(llama)
    for routing, drops in (
        ("none", False),
        ("learned", False),
        ("literal", True),
        ("corrected", True),
    ):
        lander = wrap(llama, sets, routing)
        assert [ffn.partition.drop for ffn in lander.partitioned.values()] == [drops] * len(LAYERS)
        lander.unload()


def test_learned_gate_is_the_formula(base):
    sets = make_sets(base)
    r = shares(sets, "de-zh")
    reference, lander = copy.deepcopy(base), wrap(base, sets, "learned", "de-zh")
    generator = torch.Generator().manual_seed(3)
    weights = {layer: (0.3 * torch.randn(32, generator=generator), 0.4) for layer in LAYERS}
    with torch.no_grad():
        for layer, (w, b) in weights.items():
            lander.partitioned[layer].router.weight.copy_(w[None])
            lander.partitioned[layer].router.bias.fill_(b)

    def formula(view, x, layer):
        prior, (w, b) = torch.tensor(r[layer]), weights[layer]
        gate = torch.sigmoid(torch.log(prior / (1 - prior)) + x @ w + b)[..., None]
        general, own = (mask(s[layer], view.d_ff) for s in (sets.general, sets.pair("de-zh")))
        return (
            gate / prior * plain_ffn(view, x, general)
            + (1 - gate) / (1 - prior) * plain_ffn(view, x, own)
            + plain_ffn(view, x, 1 - general - own)
            + bias(view)
        )

    expected = replay(reference, formula, sets)
    assert (logits(lander) - expected).abs().max() <= 5e-5
    assert (logits(reference) - expected).abs().max() > 1e-2
    x = torch.randn(2, 5, 32, generator=generator)
    router, (w, b) = lander.partitioned[1].router, weights[1]
    gate = router.gate(x)
    assert gate.shape == (2, 5, 1) and torch.allclose(
        gate[..., 0], torch.sigmoid(torch.logit(torch.tensor(r[1])) + x @ w + b), atol=1e-6
    )


def test_gate_is_constant_without_learning():
    router = CAR(8, "corrected")
    router.share = 0.7
    assert torch.equal(router.gate(torch.randn(2, 3, 8)), torch.full((2, 3, 1), 0.7)) and not list(
        router.parameters()
    )


def test_awareness_share_by_hand():
    phi = torch.tensor([1.0, 2.0, 3.0, 4.0])
    index = torch.tensor
    assert awareness_share(phi, index([0, 2]), index([3])) == pytest.approx(4 / 8)
    assert awareness_share(phi, index([3]), index([0])) == pytest.approx(4 / 5)
    nothing = index([]).long()
    assert awareness_share(torch.zeros(4), index([0]), index([1])) == 0.5
    assert awareness_share(phi, nothing, index([1])) == 1e-4  # logit stays finite
    assert awareness_share(phi, index([1]), nothing) == 1 - 1e-4


def test_share_uses_the_mean_of_the_two_languages_and_counts_shared_neurons_once(llama):
    sets = make_sets(llama)
    lander = wrap(llama, sets, "corrected")
    for pair in ("en-de", "zh-en"):
        lander.set_pair(pair)
        expected = shares(sets, pair)
        assert {i: ffn.router.share for i, ffn in lander.partitioned.items()} == pytest.approx(
            expected, rel=1e-5
        )
    assert shares(sets, "en-de") != pytest.approx(shares(sets, "zh-en"), rel=1e-3)
    sets.awareness = None  # without scores every neuron counts 1
    lander.unload()
    ffn = wrap(llama, sets, "corrected").partitioned[1]
    general, own = len(sets.general[1]), len(sets.pair("en-de")[1])
    assert ffn.router.share == pytest.approx(general / (general + own))


def test_gradients_reach_the_pair_only(base):
    sets = make_sets(base)
    lander = wrap(base, sets, "learned", "en-de")
    lander(**inputs()).logits.square().mean().backward()
    touched = {name for name, p in lander.named_parameters() if p.grad is not None}
    assert touched and not any(p.grad is not None for p in base.parameters() if not p.requires_grad)
    for layer, ffn in lander.partitioned.items():
        for key, p in ffn.slices.items():
            name = key.partition(":")[0]
            mine = name == "general" or {"en", "de"} & set(name.split("+"))
            reached = p.grad is not None and p.grad.abs().sum() > 0
            assert reached if mine else p.grad is None, (layer, key)
        assert "zh" in ffn.partition.groups and all(
            p.grad.abs().sum() > 0 for p in ffn.router.parameters()
        )


def test_a_language_may_be_named_like_a_method_of_modules(bloom, tmp_path):
    """ "to" is Tongan, and a method of every torch module; the other languages' keys in saved files
    stay as they are."""
    sets, plain = make_sets(bloom), copy.deepcopy(bloom)
    names = {"en": "en", "de": "de", "zh": "to"}
    tongan = replace(
        sets,
        languages=[*names.values()],
        specific={names[x]: sets.specific[x] for x in names},
        awareness={names[x]: sets.awareness[x] for x in names},
    )
    lander = disturb(wrap(bloom, tongan, "learned", "en-to"))
    partition = lander.partitioned[1].partition
    assert {"de", "de+to", "general", "to"} <= partition.groups.keys()
    trained = {name for name in partition.groups if partition.active(name)}
    assert "to" in trained and "de" not in trained
    same = disturb(wrap(copy.deepcopy(plain), sets, "learned", "en-zh"))
    for ours, theirs in zip(lander.partitioned.values(), same.partitioned.values()):
        assert torch.equal(ours.partition.rest, theirs.partition.rest)
        assert ours.router.share == theirs.router.share
    lander.save_pretrained(tmp_path)
    assert torch.equal(
        logits(LanderModel.from_pretrained(plain, tmp_path).set_pair("en-to")), logits(lander)
    )


def test_a_pair_must_be_set_before_the_forward_pass(bloom):
    lander = get_lander_model(bloom, LanderTuningConfig(make_sets(bloom)))
    with pytest.raises(RuntimeError, match="set_pair"):
        logits(lander)


def test_quantised_weights_are_refused(bloom):
    view = feed_forwards(bloom)[0]
    view.up.weight = torch.nn.Parameter(torch.zeros(128, 32, dtype=torch.int8), requires_grad=False)
    sets = NeuronSets([0], ["en"], {0: torch.arange(4)}, {"en": {0: torch.arange(4, 8)}}, 128)
    with pytest.raises(ValueError, match="h.0.mlp: the weights are quantised to torch.int8"):
        get_lander_model(bloom, LanderTuningConfig(sets))
