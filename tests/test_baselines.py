"""Baselines: which parameters train, checked by names and by a training run."""

import copy
import warnings

import pytest
import torch
import torch.nn.functional as F
from lander_helpers import logits, make_sets, quick, same, state

from lander_lite.blocks import feed_forwards
from lander_lite.evaluation import evaluate, translate
from lander_lite.reproduction import baselines
from lander_lite.training.loop import finetune
from lander_lite.tuner.model import LanderTuningConfig, get_lander_model


def trainable(model):
    return {name for name, p in model.named_parameters() if p.requires_grad}


def of_layers(model, layers, part):
    inside = [f".{i}.{part}" for i in layers]
    return {name for name, _ in model.named_parameters() if any(x in name for x in inside)}


def test_full_trains_everything(model):
    model.requires_grad_(False)
    assert baselines.full(model) is model and trainable(model) == {
        name for name, _ in model.named_parameters()
    }
    assert baselines.count_trainable(model) == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("whole_block", [False, True])
def test_layers_trains_the_selected_layers(model, tokenizer, corpus, whole_block):
    before = state(model)
    assert baselines.layers(model, iter([1, 3]), whole_block) is model
    expected = of_layers(model, [1, 3], "" if whole_block else "mlp.")
    assert trainable(model) == expected and 0 < len(expected) < len(before) - 8
    assert baselines.count_trainable(model) == sum(before[name].numel() for name in expected)
    finetune(model, tokenizer, corpus, ["en-de"], quick(updates=2))
    assert set(same(before, state(model))) == expected


@pytest.mark.parametrize("selected, wrong", [([1, 4], 4), ([-1], -1)])
@pytest.mark.parametrize("whole_block", [False, True])
def test_layers_that_do_not_exist(bloom, selected, wrong, whole_block):
    with pytest.raises(
        ValueError, match=f"layer {wrong} does not exist: the model has layers 0 to 3"
    ):
        baselines.layers(bloom, selected, whole_block)
    assert all(p.requires_grad for p in bloom.parameters())


def test_lora_trains_its_matrices_on_every_linear_layer_of_every_block(model, tokenizer, corpus):
    base, output = state(model), logits(model)
    linears = {
        name
        for name, m in model.named_modules()
        if hasattr(m, "in_features") and "lm_head" not in name
    }
    sizes = sum(
        m.in_features + m.out_features for name, m in model.named_modules() if name in linears
    )
    tuned = baselines.lora(model, r=2)
    names = trainable(tuned)
    assert {
        name.removeprefix("base_model.model.").partition(".lora_")[0] for name in names
    } == linears and len(names) == 2 * len(linears)
    assert baselines.count_trainable(tuned) == 2 * sizes
    assert (logits(tuned) - output).abs().max() <= 1e-6  # B starts at zero
    finetune(tuned, tokenizer, corpus, ["en-de"], quick(updates=2))
    assert (logits(tuned) - output).abs().max() > 1e-3
    after = {
        name.removeprefix("base_model.model.").replace(".base_layer", ""): v
        for name, v in tuned.state_dict().items()
    }
    assert same(base, {name: v for name, v in after.items() if "lora_" not in name}) == []


# ---------------------------------------------------------------- adapter, adapter_lora, ia3
ADDED = {
    "adapter": lambda model: baselines.adapter(model, 8),
    "ia3": baselines.ia3,
    "adapter_lora": lambda model: baselines.adapter_lora(model, 8, r=2, alpha=4, dropout=0.3),
}
MARKS = {
    "adapter": (".down.", ".up."),
    "ia3": (".ia3_l.",),
    "adapter_lora": (".down.", ".up.", ".lora_A.", ".lora_B."),
}


def plain(tuned):
    """The state dict under the names of the untouched model, without what the method added."""
    return {
        name.removeprefix("base_model.model.").replace("base_layer.", ""): v
        for name, v in tuned.state_dict().items()
        if not any(mark in name for marks in MARKS.values() for mark in marks)
    }


@pytest.mark.parametrize("method", ADDED)
def test_added_parameters_alone_are_trained(model, tokenizer, corpus, method):
    base, output = state(model), logits(model)
    tuned = ADDED[method](model)
    assert (logits(tuned) - output).abs().max() <= 1e-6  # the identity at the start
    added = {
        name for name, _ in tuned.named_parameters() if any(mark in name for mark in MARKS[method])
    }
    assert trainable(tuned) == added and all(
        any(mark in name for name in added) for mark in MARKS[method]
    )
    before = state(tuned)
    rate = 0.1 if method == "ia3" else 0.01  # factors around 1 move by more than weights do
    log = finetune(
        tuned,
        tokenizer,
        corpus,
        ["en-de", "de-en"],
        quick(updates=20, batch_size=6, learning_rate=rate),
    )
    assert (
        set(same(before, state(tuned))) == added and same(base, plain(tuned)) == []
    )  # every one moves, the base not one bit
    assert min(log["loss"][-2:]) < 0.9 * log["loss"][0]
    trained = logits(tuned)
    assert (trained - output).abs().max() > 1e-2
    again = copy.deepcopy(tuned)
    assert torch.equal(logits(again), trained)
    with torch.no_grad():  # the copy shares nothing
        next(p for p in again.parameters() if p.requires_grad).add_(1.0)
    assert torch.equal(logits(tuned), trained) and not torch.equal(logits(again), trained)


@pytest.mark.parametrize("method", ADDED)
def test_the_key_value_cache_changes_no_output(model, tokenizer, corpus, method):
    tuned = ADDED[method](model)
    finetune(tuned, tokenizer, corpus, ["en-de"], quick(updates=3))
    ids = torch.randint(4, 300, (2, 9), generator=torch.Generator().manual_seed(0))
    settings = {
        "attention_mask": torch.ones_like(ids),
        "max_new_tokens": 6,
        "do_sample": False,
        "pad_token_id": 3,
        "eos_token_id": None,
    }
    assert torch.equal(
        tuned.generate(input_ids=ids, **settings, use_cache=True),
        tuned.generate(input_ids=ids, **settings, use_cache=False),
    )
    assert len(translate(tuned, tokenizer, ["the dog"], "en-de", max_new_tokens=3)) == 1
    assert (
        evaluate(tuned, tokenizer, corpus, ["en-de"], max_new_tokens=3, bootstrap=0)["en-de"]["n"]
        == 6
    )


def test_an_adapter_adds_its_bottleneck_to_every_feed_forward_output(model):
    seen, views = {}, feed_forwards(model)
    tuned = baselines.adapter(model, 5)
    assert tuned is model and baselines.count_trainable(model) == len(views) * (2 * 32 * 5 + 5 + 32)
    adapters = [m for m in model.modules() if isinstance(m, baselines.Adapter)]
    assert [a.base_layer for a in adapters] == [view.down for view in views]
    assert [view.d_ff for view in feed_forwards(model)] == [view.d_ff for view in views]
    for a in adapters:
        torch.nn.init.normal_(a.up.weight)
        torch.nn.init.normal_(a.up.bias)
        a.register_forward_hook(lambda a, x, y: seen.update({a: (x[0], y)}))
    logits(model)
    for a in adapters:
        x, y = seen[a]
        down = F.linear(x, a.base_layer.weight, a.base_layer.bias)
        by_hand = down + F.gelu(down @ a.down.weight.T + a.down.bias) @ a.up.weight.T + a.up.bias
        assert torch.allclose(y, by_hand, atol=1e-4) and (by_hand - down).abs().max() > 0.1


def test_an_adapter_of_a_bfloat16_model_is_float32(bloom):
    tuned = baselines.adapter(bloom.to(torch.bfloat16), 4)
    assert {p.dtype for p in tuned.parameters() if p.requires_grad} == {torch.float32} and logits(
        tuned
    ).dtype == torch.bfloat16


@pytest.mark.parametrize("budget", [1, 2_000, 30_000])
def test_bottleneck_for_a_budget(model, budget):
    width = baselines.bottleneck_for(model, budget)
    counts = [
        baselines.count_trainable(baselines.adapter(copy.deepcopy(model), width + more))
        for more in (0, 1)
    ]
    step = counts[1] - counts[0]
    assert width >= 1 and (width == 1 if budget == 1 else abs(counts[0] - budget) <= step / 2)


def test_adapter_lora_is_both_and_no_more(model):
    a, b = baselines.adapter(copy.deepcopy(model), 8), baselines.lora(copy.deepcopy(model), r=2)
    both = baselines.adapter_lora(model, 8, r=2)
    assert baselines.count_trainable(both) == baselines.count_trainable(
        a
    ) + baselines.count_trainable(b)


def test_ia3_scales_keys_values_and_neurons(model):
    d_ff, n = feed_forwards(model)[0].d_ff, len(feed_forwards(model))
    keys_values = 3 * 32 if model.config.model_type == "bloom" else 2 * 32
    tuned = baselines.ia3(model)
    assert baselines.count_trainable(tuned) == n * (d_ff + keys_values)
    assert {p.shape for p in tuned.parameters() if p.requires_grad and d_ff in p.shape} == {
        (1, d_ff)
    }  # on the input: the neurons


def test_mistakes_are_refused(bloom):
    with pytest.raises(ValueError, match="bottleneck=0"):
        baselines.adapter(bloom, 0)
    for k in (0, 5):
        with pytest.raises(ValueError, match=f"k={k} random layers: the model has 4"):
            baselines.random_layers(bloom, k, 0)
    with pytest.raises(ValueError, match="has an adapter already"):
        baselines.adapter(baselines.adapter(bloom))


def test_ia3_wants_a_layer_for_keys_and_values(bloom):
    for block in bloom.transformer.h:
        block.self_attention = torch.nn.Identity()
    with pytest.raises(ValueError, match="no layer for keys and values, looked for k_proj"):
        baselines.ia3(bloom)


@pytest.mark.parametrize("whole_block", [False, True])
def test_random_layers_are_drawn_with_the_seed(model, whole_block):
    drawn = [
        frozenset(trainable(baselines.random_layers(model, 2, seed, whole_block)))
        for seed in range(6)
    ]
    again = [
        frozenset(trainable(baselines.random_layers(model, 2, seed, whole_block)))
        for seed in range(6)
    ]
    assert drawn == again and len(set(drawn)) > 1
    pairs = [
        frozenset(trainable(baselines.layers(model, [i, j], whole_block)))
        for i in range(4)
        for j in range(i)
    ]
    assert all(names in pairs for names in drawn)


def test_random_layers_can_leave_out_the_first():
    draws = [baselines.drawn_layers(8, 4, seed, first=1) for seed in range(20)]
    assert (
        all(len(set(draw)) == 4 and min(draw) >= 1 and max(draw) <= 7 for draw in draws)
        and len({*map(tuple, draws)}) > 5
    )
    assert any(0 in baselines.drawn_layers(8, 4, seed) for seed in range(20))
    assert baselines.drawn_layers(8, 7, 0, first=1) == [*range(1, 8)]
    with pytest.raises(ValueError, match="k=8 random layers: the model has 7"):
        baselines.drawn_layers(8, 8, 0, first=1)


@pytest.mark.parametrize("method", ["adapter", "lora", "ia3", "adapter_lora"])
@pytest.mark.parametrize("training", [False, True])
def test_a_model_keeps_its_mode(bloom, method, training):
    tuned = getattr(baselines, method)(bloom.train(training))
    assert {m.training for m in tuned.modules()} == {training}


@pytest.mark.parametrize("method", ["lora", "ia3", "adapter_lora"])
def test_no_warning_of_peft_reaches_the_user(bloom, method):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        getattr(baselines, method)(bloom)


def test_lora_settings_reach_peft(bloom):
    config = baselines.lora(bloom, r=3, alpha=7, dropout=0.25).peft_config["default"]
    assert (config.r, config.lora_alpha, config.lora_dropout) == (3, 7, 0.25)


def test_count_trainable_of_a_lander_model(bloom):
    lander = get_lander_model(bloom, LanderTuningConfig(make_sets(bloom), "learned"))
    assert baselines.count_trainable(lander) == lander.get_nb_trainable_parameters()[0] > 0
