"""Baselines: which parameters train, checked by names and by a training run."""
import pytest
from lander_helpers import logits, make_sets, quick, same, state

from lander_lite import baselines
from lander_lite.finetune import finetune
from lander_lite.lander import LanderTuningConfig, get_lander_model


def trainable(model):
    return {name for name, p in model.named_parameters() if p.requires_grad}


def of_layers(model, layers, part):
    inside = [f".{i}.{part}" for i in layers]
    return {name for name, _ in model.named_parameters() if any(x in name for x in inside)}


def test_full_trains_everything(model):
    model.requires_grad_(False)
    assert baselines.full(model) is model and trainable(model) == {name for name, _ in model.named_parameters()}
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
    with pytest.raises(ValueError, match=f"layer {wrong} does not exist: the model has layers 0 to 3"):
        baselines.layers(bloom, selected, whole_block)
    assert all(p.requires_grad for p in bloom.parameters())


def test_lora_trains_its_matrices_on_every_linear_layer_of_every_block(model, tokenizer, corpus):
    base, output = state(model), logits(model)
    linears = {name for name, m in model.named_modules() if hasattr(m, "in_features") and "lm_head" not in name}
    sizes = sum(m.in_features + m.out_features for name, m in model.named_modules() if name in linears)
    tuned = baselines.lora(model, r=2)
    names = trainable(tuned)
    assert {name.removeprefix("base_model.model.").partition(".lora_")[0] for name in names} == linears and len(names) == 2 * len(linears)
    assert baselines.count_trainable(tuned) == 2 * sizes
    assert (logits(tuned) - output).abs().max() <= 1e-6             # B starts at zero
    finetune(tuned, tokenizer, corpus, ["en-de"], quick(updates=2))
    assert (logits(tuned) - output).abs().max() > 1e-3
    after = {name.removeprefix("base_model.model.").replace(".base_layer", ""): v for name, v in tuned.state_dict().items()}
    assert same(base, {name: v for name, v in after.items() if "lora_" not in name}) == []


def test_lora_settings_reach_peft(bloom):
    config = baselines.lora(bloom, r=3, alpha=7, dropout=.25).peft_config["default"]
    assert (config.r, config.lora_alpha, config.lora_dropout) == (3, 7, .25)


def test_count_trainable_of_a_lander_model(bloom):
    lander = get_lander_model(bloom, LanderTuningConfig(make_sets(bloom), "learned"))
    assert baselines.count_trainable(lander) == lander.get_nb_trainable_parameters()[0] > 0
