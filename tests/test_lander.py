"""LanderModel: what training touches, merging, saving, switching off; each against the untouched
base model."""

import contextlib
import copy
import json
import os

import pytest
import torch
from conftest import SIZES, random_model
from lander_helpers import LAYERS, disturb, inputs, logits, make_sets, quick, same, state
from safetensors import safe_open
from transformers import BloomConfig

from lander_lite.blocks import feed_forwards, fingerprint
from lander_lite.neurons import NeuronSets, random_neurons
from lander_lite.training.loop import finetune
from lander_lite.tuner.model import LanderModel, LanderTuningConfig, get_lander_model

FILES = {"lander_model.safetensors", "lander_config.json"}


def wrap(model, sets=None, routing="none", pair="en-de", **settings):
    return get_lander_model(
        model, LanderTuningConfig(sets or make_sets(model), routing, **settings)
    ).set_pair(pair)


def neuron_tensors(model, layer):
    """Everything of a block's feed-forward network with the neurons as rows."""
    view = feed_forwards(model)[layer]
    parts = {"up": view.up.weight, "down": view.down.weight.T, "up_bias": view.up.bias}
    if view.gate is not None:
        parts |= {"gate": view.gate.weight, "gate_bias": view.gate.bias}
    return {name: tensor.detach() for name, tensor in parts.items() if tensor is not None}


def moved(after, before, layer):
    """Per tensor: which neurons differ in any bit."""
    pairs = zip(neuron_tensors(after, layer).items(), neuron_tensors(before, layer).values())
    return {name: (new != old).reshape(len(new), -1).any(1) for (name, new), old in pairs}


# ---------------------------------------------------------------- what training touches
@pytest.mark.parametrize("rest", [True, False])
def test_training_moves_the_neurons_of_the_pair_and_nothing_else(model, tokenizer, corpus, rest):
    base, sets = copy.deepcopy(model), make_sets(model, rest=rest)
    before = state(base)
    lander = wrap(model, sets)
    finetune(lander, tokenizer, corpus, ["en-de"], quick())
    merged = lander.merge_and_unload()
    for layer in LAYERS:
        expected = torch.zeros(sets.d_ff, dtype=torch.bool)
        expected[sets.trainable("en-de")[layer]] = True
        assert 0 < expected.sum() < sets.d_ff
        for name, changed in moved(merged, base, layer).items():
            assert torch.equal(changed, expected), (layer, name)
    inside = {
        f"{feed_forwards(base)[i].name}.{child}.{kind}"
        for i in LAYERS
        for kind in ("weight", "bias")
        for child in ("dense_h_to_4h", "dense_4h_to_h", "up_proj", "gate_proj", "down_proj")
    }
    outside = [name for name in before if name not in inside or name.endswith("4h_to_h.bias")]
    after = merged.state_dict()
    assert len(outside) > 10 and not [
        name for name in outside if not torch.equal(before[name], after[name])
    ]


def run_recording_optimizer(monkeypatch, *args, keep_gradients=False):
    """finetune with its AdamW caught. keep_gradients: zero the gradients instead of dropping them,
    as a gradient mask does."""
    caught = []

    class Recorded(torch.optim.AdamW):
        def __init__(self, *a, **k):
            super().__init__(*a, **k)
            caught.append(self)

        def zero_grad(self, set_to_none=True):
            super().zero_grad(set_to_none=set_to_none and not keep_gradients)

    monkeypatch.setattr(torch.optim, "AdamW", Recorded)
    finetune(*args)
    return caught[-1]


@pytest.mark.parametrize("routing", ["none", "learned", "corrected"])
def test_the_optimiser_holds_nothing_for_other_languages(
    model, tokenizer, corpus, monkeypatch, routing
):
    lander = wrap(model, routing=routing)
    before = {name: p.clone() for name, p in lander.named_parameters()}
    optimizer = run_recording_optimizer(monkeypatch, lander, tokenizer, corpus, ["en-de"], quick())
    held = {name for name, p in lander.named_parameters() if p in optimizer.state}
    for name, p in lander.named_parameters():
        group = name.split(".slices.")[-1].split(".")[0]
        trained = ".router." in name or (
            ".slices." in name
            and (group == "general" or bool({"en", "de"} & set(group.split("+"))))
        )
        assert (name in held) == trained and torch.equal(p, before[name]) != trained, name
    assert any(".slices.zh." in name for name in before) and any(
        ".slices.de+zh." in name for name in held
    )


@pytest.mark.parametrize("mask_instead", [False, True])
def test_pair_b_does_not_move_the_neurons_of_pair_a(
    bloom, tokenizer, corpus, monkeypatch, mask_instead
):
    """Steps alternate en-de, en-zh: in an en-zh step the neurons of de alone must stay, momentum or
    not. With zeroed instead of absent gradients (a gradient mask) AdamW's decay and moments do move
    them: this test can fail."""
    lander, history = wrap(bloom), []
    original = torch.optim.AdamW.step

    def step(self, *args, **kwargs):
        old = {name: p.clone() for name, p in lander.tuned_state_dict().items()}
        result = original(self, *args, **kwargs)
        history.append(
            (
                lander.pair,
                {
                    name
                    for name, p in lander.tuned_state_dict().items()
                    if not torch.equal(p, old[name])
                },
            )
        )
        return result

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    run_recording_optimizer(
        monkeypatch,
        lander,
        tokenizer,
        corpus,
        ["en-de", "zh-en"],
        quick(),
        keep_gradients=mask_instead,
    )
    assert [pair for pair, _ in history] == ["en-de", "zh-en"] * 2
    assert all(
        any(".slices.de." in name for name in names) for pair, names in history if pair == "en-de"
    )
    leaked = [
        name
        for pair, names in history
        if pair == "zh-en"
        for name in names
        if ".slices.de." in name
    ]
    assert bool(leaked) == mask_instead


def test_a_gradient_mask_drifts_under_adamw(bloom):
    """Why the wrapper exists: whole matrices with masked gradient rows, AdamW with weight decay,
    and the masked rows move."""
    view, sets = feed_forwards(bloom)[1], make_sets(bloom)
    before, trained = view.up.weight.clone(), sets.trainable("en-de")[1]
    keep = torch.zeros(sets.d_ff, 1).index_fill_(0, trained, 1.0)
    view.up.weight.register_hook(lambda gradient: gradient * keep)
    optimizer = torch.optim.AdamW([view.up.weight], lr=0.01, weight_decay=0.1)
    bloom(**inputs(), labels=inputs()["input_ids"]).loss.backward()
    optimizer.step()
    assert (view.up.weight != before).any(1)[keep[:, 0] == 0].all()


# ---------------------------------------------------------------- back to a plain model
@pytest.mark.parametrize("rest", [True, False])
def test_merged_is_the_tuned_model_and_a_plain_one(model, rest):
    expected_type, names, before = type(model), state(model).keys(), logits(model)
    lander = disturb(wrap(model, make_sets(model, rest=rest)))
    tuned = logits(lander)
    merged = lander.merge_and_unload()
    assert type(merged) is expected_type and merged.state_dict().keys() == names
    assert (logits(merged) - tuned).abs().max() <= 2e-5 and (
        logits(merged) - before
    ).abs().max() > 0.01
    assert all(p.requires_grad for p in merged.parameters())


@pytest.mark.parametrize(
    "routing, other",
    [("learned", None), ("literal", None), ("corrected", "keep"), ("none", "drop")],
)
def test_gates_cannot_be_merged(model, routing, other):
    lander = disturb(wrap(model, routing=routing, other_specific=other))
    tuned = logits(lander)
    what = "other_specific='drop'" if routing == "none" else f"routing='{routing}'"
    with pytest.raises(ValueError, match=f"{what} can't be merged"):
        lander.merge_and_unload()
    assert torch.equal(logits(lander), tuned)  # refusing costs nothing


@pytest.mark.parametrize("routing", ["none", "learned"])
@pytest.mark.parametrize("rest", [True, False])
def test_unload_gives_the_base_model_back_bit_by_bit(model, routing, rest):
    before, output = state(model), logits(model)
    frozen = next(model.parameters()).requires_grad_(False)
    lander = disturb(wrap(model, make_sets(model, rest=rest), routing))
    plain = lander.unload()
    assert (
        plain is model and same(before, state(plain)) == [] and torch.equal(logits(plain), output)
    )
    assert not frozen.requires_grad and all(p.requires_grad for p in list(plain.parameters())[1:])
    assert same(before, state(lander.unload())) == []  # a second call does not reorder again


# ---------------------------------------------------------------- files
@pytest.mark.parametrize(
    "routing, settings", [("none", {}), ("learned", {}), ("literal", {"other_specific": "keep"})]
)
def test_saved_and_loaded_gives_the_same_logits(model, tmp_path, routing, settings):
    base, plain = copy.deepcopy(model), logits(model)
    lander = disturb(wrap(model, make_sets(model), routing, **settings))
    lander.save_pretrained(tmp_path / "lander")
    again = LanderModel.from_pretrained(base, tmp_path / "lander")
    for pair in ("en-de", "zh-en"):
        assert torch.equal(logits(again.set_pair(pair)), logits(lander.set_pair(pair)))
    assert (logits(again) - plain).abs().max() > 0.01
    assert (
        again.tuning.routing == routing
        and again.tuning.neuron_sets.hash() == lander.tuning.neuron_sets.hash()
    )


def test_the_folder_holds_slices_indices_gates_and_a_json(model, tmp_path):
    lander = wrap(model, routing="learned")
    lander.save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == FILES
    with safe_open(tmp_path / "lander_model.safetensors", "pt") as file:
        saved = {key: file.get_slice(key).get_shape() for key in file.keys()}
    tuned = {name: list(p.shape) for name, p in lander.tuned_state_dict().items()}
    indices = {name: shape for name, shape in saved.items() if name.startswith("neuron_sets.")}
    assert {name.split(".")[1] for name in indices} == {"general", "specific", "awareness"}
    saved = {name: shape for name, shape in saved.items() if name not in indices}
    assert saved == tuned and all(name.split(".")[1] in ("slices", "router") for name in saved)
    trainable, _ = lander.get_nb_trainable_parameters()
    weights = sum(torch.Size(shape).numel() for shape in saved.values())
    assert weights == trainable
    size = 4 * weights + 8 * sum(torch.Size(shape).numel() for shape in indices.values()) + 20_000
    assert (
        (tmp_path / "lander_model.safetensors").stat().st_size
        < size
        < 4 * sum(p.numel() for p in model.parameters())
    )
    about = json.loads((tmp_path / "lander_config.json").read_text())
    assert (
        about["routing"] == "learned"
        and about["layers"] == LAYERS
        and about["base_model"]["model_type"] == model.config.model_type
    )


def break_write(monkeypatch, after):
    """The disk is full at the `after`-th file of the save."""
    calls = {"n": 0}

    def failing(function):
        def wrapped(*args, **kwargs):
            calls["n"] += 1
            if calls["n"] > after:
                raise OSError(28, "No space left on device")
            return function(*args, **kwargs)

        return wrapped

    from lander_lite import io as tensorfiles

    monkeypatch.setattr(tensorfiles, "save_file", failing(tensorfiles.save_file))
    monkeypatch.setattr("pathlib.Path.write_text", failing(__import__("pathlib").Path.write_text))


@pytest.mark.parametrize("after", [0, 1])
def test_a_full_disk_leaves_the_saved_model_as_it_was(bloom, tmp_path, monkeypatch, after):
    """The second save has other neurons of the same sizes: a mixture of both would load without
    complaint."""
    base, second_base = copy.deepcopy(bloom), copy.deepcopy(bloom)
    first = disturb(wrap(bloom, make_sets(bloom)))
    first.save_pretrained(tmp_path)
    bytes_before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    second = disturb(wrap(second_base, random_neurons(make_sets(second_base), 5)), seed=2)
    with monkeypatch.context() as patch:
        break_write(patch, after)
        with pytest.raises(OSError, match="No space"):
            second.save_pretrained(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == bytes_before
    assert torch.equal(
        logits(LanderModel.from_pretrained(base, tmp_path).set_pair("en-de")), logits(first)
    )


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_a_kill_at_any_rename_leaves_the_old_model_or_the_new_one(
    bloom, tmp_path, monkeypatch, renames
):
    base, second_base = copy.deepcopy(bloom), copy.deepcopy(bloom)
    first = disturb(wrap(bloom, make_sets(bloom)))
    first.save_pretrained(tmp_path)
    second, done, replace = (
        disturb(wrap(second_base, random_neurons(make_sets(second_base), 5)), seed=2),
        [],
        os.replace,
    )

    def killed(source, target):
        if os.path.basename(target) in FILES:
            done.append(target)
            if len(done) > renames:
                raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
        patch.setattr(os, "replace", killed)
        second.save_pretrained(tmp_path)
    assert len(done) == min(renames + 1, 2)
    loaded = LanderModel.from_pretrained(base, tmp_path).set_pair("en-de")
    assert torch.equal(logits(loaded), logits((second if renames else first).set_pair("en-de")))


def test_a_missing_file_is_named(bloom, tmp_path):
    base = copy.deepcopy(bloom)
    wrap(bloom).save_pretrained(tmp_path)
    (tmp_path / "lander_config.json").unlink()  # for people and tools only
    LanderModel.from_pretrained(copy.deepcopy(base), tmp_path)
    (tmp_path / "lander_model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="lander_model.safetensors"):
        LanderModel.from_pretrained(base, tmp_path)
    assert all(p.requires_grad for p in base.parameters())  # nothing was wrapped or frozen


@pytest.mark.parametrize("known", [True, False])
def test_another_base_model_is_refused(bloom, tmp_path, known):
    sets = make_sets(bloom)
    if not known:  # sets made by hand carry no fingerprint; the saved folder does
        sets.model = {}
    wrap(bloom, sets).save_pretrained(tmp_path)
    other = random_model(BloomConfig(**SIZES), seed=7)
    with pytest.raises(ValueError, match="another"):
        LanderModel.from_pretrained(other, tmp_path)


def test_a_damaged_file_is_named(bloom, tmp_path):
    base, path = copy.deepcopy(bloom), tmp_path / "lander_model.safetensors"
    wrap(bloom).save_pretrained(tmp_path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(
        ValueError, match="lander_model.safetensors is not a whole safetensors file"
    ):
        LanderModel.from_pretrained(base, tmp_path)


def test_slices_of_other_sets_do_not_load(bloom):
    lander = wrap(bloom)
    state = lander.tuned_state_dict()
    name = next(iter(state))
    with pytest.raises(ValueError, match=name.replace("+", r"\+")):
        lander.load_tuned_state_dict({k: v[:-1] if k == name else v for k, v in state.items()})


# ---------------------------------------------------------------- switching off, errors, counting
@pytest.mark.parametrize("routing", ["none", "literal", "learned"])
def test_disabled_is_the_base_model(model, routing):
    expected = logits(model)
    lander = disturb(wrap(model, routing=routing))
    tuned = logits(lander)
    assert (tuned - expected).abs().max() > 0.01
    with lander.disable_adapter() as off:
        assert off is lander and (logits(lander) - expected).abs().max() <= 1e-5
        with lander.disable_adapter():
            pass
        assert (
            logits(lander) - expected
        ).abs().max() <= 1e-5  # the inner exit does not switch it on
    assert torch.equal(logits(lander), tuned)
    with pytest.raises(KeyError, match="boom"), lander.disable_adapter():
        raise KeyError("boom")
    assert torch.equal(logits(lander), tuned)


def test_errors_name_what_is_wrong(bloom, llama):
    sets = make_sets(bloom)
    with pytest.raises(ValueError, match="another model"):
        get_lander_model(random_model(BloomConfig(**SIZES), seed=7), LanderTuningConfig(sets))
    with pytest.raises(ValueError, match="another model"):
        get_lander_model(llama, LanderTuningConfig(sets))
    empty = NeuronSets([1], ["en"], {}, {}, sets.d_ff, fingerprint(bloom))
    with pytest.raises(ValueError, match="empty"):
        get_lander_model(bloom, LanderTuningConfig(empty))
    for wrong in ({"routing": "gated"}, {"other_specific": "mute"}, {"dtype": "float33"}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))}='{next(iter(wrong.values()))}'"):
            LanderTuningConfig(sets, **wrong)
    assert all(p.requires_grad for p in bloom.parameters())  # refused before anything was frozen
    lander = get_lander_model(bloom, LanderTuningConfig(sets))
    with pytest.raises(
        ValueError, match="pair 'en-fr': no neuron sets for fr; there are sets for en, de, zh"
    ):
        lander.set_pair("en-fr")
    for again in (bloom, lander):
        with pytest.raises(ValueError, match="wrapped already"):
            get_lander_model(again, LanderTuningConfig(sets))
    assert lander.set_pair("de-zh") is lander and lander.pair == "de-zh"


@pytest.mark.parametrize("routing, gates", [("none", 0), ("learned", 2 * 33)])
def test_print_trainable_parameters(bloom, capsys, routing, gates):
    sets = make_sets(bloom)
    total, per_neuron = sum(p.numel() for p in bloom.parameters()), 32 + 1 + 32  # row, bias, column
    in_sets = sum(
        len(
            torch.cat(
                [sets.general[i], *(sets.specific[lang][i] for lang in sets.languages)]
            ).unique()
        )
        for i in LAYERS
    )
    wrap(bloom, sets, routing).print_trainable_parameters()
    trainable, total = in_sets * per_neuron + gates, total + gates
    share = 100 * trainable / total
    assert (
        capsys.readouterr().out
        == f"trainable params: {trainable:,d} || all params: {total:,d} || trainable%: "
        f"{share:.4f}\n"
    )
    assert 10 < share < 40


def test_generate_copy_and_attributes(llama):
    lander = disturb(wrap(llama))
    assert lander.config is llama.config and lander.device == torch.device("cpu")
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = lander.no_such_thing
    twin = copy.deepcopy(lander)
    assert torch.equal(logits(twin), logits(lander))
    disturb(twin, seed=4)
    assert not torch.equal(logits(twin), logits(lander)) and torch.equal(
        logits(lander), logits(lander)
    )
    prompt = inputs(batch=1)["input_ids"]
    keys = {"input_ids": prompt, "attention_mask": torch.ones_like(prompt)}
    written = lander.generate(**keys, max_new_tokens=3, do_sample=False, eos_token_id=None)
    assert (
        written.shape == (1, prompt.shape[1] + 3)
        and written[0, -3] == logits(lander, **keys)[0, -1].argmax()
    )


def test_wrapping_keeps_the_mode(bloom):
    for (
        block
    ) in bloom.transformer.h:  # with dropout a wrapper left in training mode gives other logits
        block.mlp.hidden_dropout = 0.5
    expected = logits(bloom)
    lander = wrap(bloom)
    assert (
        not any(module.training for module in lander.modules())
        and (logits(lander) - expected).abs().max() <= 1e-5
    )
    lander.train()
    assert (logits(lander) - expected).abs().max() > 0.01


def test_slices_in_float32_of_a_bfloat16_model(bloom):
    lander = wrap(bloom.to(torch.bfloat16), dtype="float32")
    assert {p.dtype for p in lander.tuned_state_dict().values()} == {torch.float32} and logits(
        lander
    ).dtype == torch.bfloat16
    assert disturb(lander).merge_and_unload().dtype == torch.bfloat16
