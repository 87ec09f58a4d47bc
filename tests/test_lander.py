"""LanderModel: what training touches, merging, saving, switching off; each against the untouched
base model."""

import contextlib
import copy
import json
import os
import shutil

import pytest
import torch
from conftest import SIZES, random_model
from lander_helpers import LAYERS, disturb, inputs, logits, make_sets, quick, same, state, tuned
from peft import PeftModel
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import BloomConfig

from lander_lite.blocks import feed_forwards, fingerprint
from lander_lite.io import write_tensors
from lander_lite.neurons import NeuronSets, random_neurons
from lander_lite.scale.first_edition import load_first_edition
from lander_lite.training.loop import finetune
from lander_lite.tuner.model import LanderModel, LanderTuningConfig, get_lander_model

FILES = {"adapter_model.safetensors", "adapter_config.json", "neuron_sets.safetensors", "README.md"}
BOUND = 1e-6  # of the largest logit: float32, other order of sums


def wrap(model, sets=None, routing="none", pair="en-de", **settings):
    return get_lander_model(
        model, LanderTuningConfig(sets or make_sets(model), routing, **settings)
    ).set_pair(pair)


def far(first, second):
    """The largest difference, relative to the largest logit."""
    return ((first - second).abs().max() / second.abs().max()).item()


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

    monkeypatch.setattr("lander_lite.training.optimizer.AdamW", Recorded)
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
        group = name.rpartition(".")[2].partition(":")[0]
        trained = ".lander_router." in name or (
            ".lander_slices." in name
            and (group == "general" or bool({"en", "de"} & set(group.split("+"))))
        )
        assert (name in held) == trained and torch.equal(p, before[name]) != trained, name
    assert any(".zh:" in name for name in before) and any(".de+zh:" in name for name in held)


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
        old = {name: p.clone() for name, p in tuned(lander).items()}
        result = original(self, *args, **kwargs)
        history.append(
            (
                lander.pair,
                {name for name, p in tuned(lander).items() if not torch.equal(p, old[name])},
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
    assert all(any(".de:" in name for name in names) for pair, names in history if pair == "en-de")
    leaked = [
        name for pair, names in history if pair == "zh-en" for name in names if ".de:" in name
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
    expected = logits(lander)
    merged = lander.merge_and_unload()
    assert type(merged) is expected_type and merged.state_dict().keys() == names
    assert far(logits(merged), expected) <= BOUND and far(logits(merged), before) > 0.01
    assert all(p.requires_grad for p in merged.parameters())


@pytest.mark.parametrize("rest", [True, False])
def test_merged_in_place_and_taken_out_again_bit_by_bit(model, rest):
    before, output = state(model), logits(model)
    lander = disturb(wrap(model, make_sets(model, rest=rest)))
    expected = logits(lander)
    lander.merge_adapter()
    assert far(logits(lander), expected) <= BOUND
    lander.unmerge_adapter()
    assert torch.equal(logits(lander), expected)
    with lander.disable_adapter():
        assert torch.equal(logits(lander), output)
    assert same(before, state(lander.unload())) == []


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
    assert same(before, state(plain)) == []


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
        again.active_peft_config.routing == routing
        and again.active_peft_config.neuron_sets.hash()
        == lander.active_peft_config.neuron_sets.hash()
    )


def test_the_folder_holds_slices_indices_gates_and_a_json(model, tmp_path):
    lander = wrap(model, routing="learned")
    lander.save_pretrained(tmp_path / "lander")
    folder = tmp_path / "lander"
    assert {path.name for path in folder.iterdir()} == FILES
    with safe_open(folder / "adapter_model.safetensors", "pt") as file:
        saved = {key: file.get_slice(key).get_shape() for key in file.keys()}
    shapes = {name.replace(".default", ""): list(p.shape) for name, p in tuned(lander).items()}
    assert saved == shapes and all(".lander_" in name for name in saved)
    trainable, _ = lander.get_nb_trainable_parameters()
    assert sum(torch.Size(shape).numel() for shape in saved.values()) == trainable
    whole = 4 * sum(p.numel() for p in model.parameters())
    for path in folder.glob("*.safetensors"):
        assert path.stat().st_size < 4 * trainable + 60_000 < whole + 60_000, path
    sets = NeuronSets.load(folder / "neuron_sets.safetensors")
    assert sets.hash() == make_sets(lander.unload()).hash() and sets.awareness is not None
    about = json.loads((folder / "adapter_config.json").read_text())
    assert about["routing"] == "learned" and about["peft_type"] == "LANDER"
    assert about["neuron_sets"] == sets.hash() and len(about["target_modules"]) == len(LAYERS)
    assert about["base_fingerprint"]["model_type"] == model.config.model_type


def test_files_of_others_in_the_folder_stay(bloom, tmp_path):
    (tmp_path / "lander" / "inner").mkdir(parents=True)
    (tmp_path / "lander" / "inner" / "notes.txt").write_text("mine")
    lander = wrap(bloom)
    for _ in range(2):
        lander.save_pretrained(tmp_path / "lander")
    assert (tmp_path / "lander" / "inner" / "notes.txt").read_text() == "mine"
    assert {path.name for path in (tmp_path / "lander").iterdir()} == FILES | {"inner"}
    assert [path.name for path in tmp_path.iterdir()] == ["lander"]  # nothing is left beside it


def break_write(monkeypatch, after):
    """The disk is full at the `after`-th tensor file of the save."""
    calls = {"n": 0}

    def failing(function):
        def wrapped(*args, **kwargs):
            calls["n"] += 1
            if calls["n"] > after:
                raise OSError(28, "No space left on device")
            return function(*args, **kwargs)

        return wrapped

    import peft.peft_model
    import safetensors.torch

    monkeypatch.setattr(safetensors.torch, "save_file", failing(safetensors.torch.save_file))
    monkeypatch.setattr(peft.peft_model, "safe_save_file", failing(peft.peft_model.safe_save_file))


@pytest.mark.parametrize("after", [0, 1])
def test_a_full_disk_leaves_the_saved_model_as_it_was(bloom, tmp_path, monkeypatch, after):
    """The second save has other neurons of the same sizes: a mixture of both would load without
    complaint."""
    base, second_base, folder = copy.deepcopy(bloom), copy.deepcopy(bloom), tmp_path / "lander"
    first = disturb(wrap(bloom, make_sets(bloom)))
    first.save_pretrained(folder)
    bytes_before = {path.name: path.read_bytes() for path in folder.iterdir()}
    second = disturb(wrap(second_base, random_neurons(make_sets(second_base), 5)), seed=2)
    with monkeypatch.context() as patch:
        break_write(patch, after)
        with pytest.raises(OSError, match="No space"):
            second.save_pretrained(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == bytes_before
    assert [path.name for path in tmp_path.iterdir()] == ["lander"]
    loaded = LanderModel.from_pretrained(base, folder).set_pair("en-de")
    assert torch.equal(logits(loaded), logits(first))


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_a_kill_at_any_rename_leaves_the_old_model_or_the_new_one(
    bloom, tmp_path, monkeypatch, renames
):
    base, second_base, folder = copy.deepcopy(bloom), copy.deepcopy(bloom), tmp_path / "lander"
    first = disturb(wrap(bloom, make_sets(bloom)))
    first.save_pretrained(folder)
    second = disturb(wrap(second_base, random_neurons(make_sets(second_base), 5)), seed=2)
    done, replace = [], os.replace

    def killed(source, target):
        if os.path.basename(target) in (
            "lander",
            ".lander.old",
        ):  # the old one aside, the new one in
            done.append(target)
            if len(done) > renames:
                raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
        patch.setattr(os, "replace", killed)
        second.save_pretrained(folder)
    assert len(done) == min(renames + 1, 2)
    loaded = LanderModel.from_pretrained(base, folder).set_pair("en-de")
    expected = second if renames else first  # between the two the new one is whole
    assert torch.equal(logits(loaded), logits(expected.set_pair("en-de")))


@pytest.mark.parametrize("name", sorted(FILES - {"README.md"}))
def test_a_missing_file_is_named(bloom, tmp_path, name):
    base = copy.deepcopy(bloom)
    wrap(bloom).save_pretrained(tmp_path / "lander")
    (tmp_path / "lander" / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        LanderModel.from_pretrained(base, tmp_path / "lander")
    assert all(p.requires_grad for p in base.parameters())  # nothing was wrapped or frozen


@pytest.mark.parametrize("known", [True, False])
def test_another_base_model_is_refused(bloom, tmp_path, known):
    sets = make_sets(bloom)
    if not known:  # sets made by hand carry no fingerprint; the saved folder does
        sets.model = {}
    wrap(bloom, sets).save_pretrained(tmp_path / "lander")
    for load in (LanderModel.from_pretrained, PeftModel.from_pretrained):
        other = random_model(BloomConfig(**SIZES), seed=7)
        with pytest.raises(ValueError, match="another"):
            load(other, tmp_path / "lander")
        assert all(p.requires_grad for p in other.parameters())


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "neuron_sets.safetensors"])
def test_a_damaged_file_is_named(bloom, tmp_path, name):
    base, path = copy.deepcopy(bloom), tmp_path / "lander" / name
    wrap(bloom).save_pretrained(tmp_path / "lander")
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match=f"{name} is damaged"):
        LanderModel.from_pretrained(base, tmp_path / "lander")
    assert all(p.requires_grad for p in base.parameters())


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "neuron_sets.safetensors"])
def test_files_of_two_saves_do_not_load(bloom, tmp_path, name):
    """Other sets: other indices in groups of other sizes."""
    base, second_base = copy.deepcopy(bloom), copy.deepcopy(bloom)
    wrap(bloom).save_pretrained(tmp_path / "one")
    wrap(second_base, make_sets(second_base, seed=3, rest=False)).save_pretrained(tmp_path / "two")
    shutil.copy(tmp_path / "two" / name, tmp_path / "one" / name)
    with pytest.raises(ValueError, match="another save"):
        LanderModel.from_pretrained(base, tmp_path / "one")
    assert all(p.requires_grad for p in base.parameters())
    assert type(feed_forwards(base)[1].module).__name__ == "BloomMLP"


def test_a_folder_of_the_first_edition_is_refused_with_how_to_convert_it(model, tmp_path):
    """One file that held slices, gates and sets under other names."""
    base = copy.deepcopy(model)
    lander = disturb(wrap(model, routing="learned"))
    sets, config = lander.active_peft_config.neuron_sets, lander.active_peft_config
    indices, content = sets.as_tensors()
    tensors = {f"neuron_sets.{name}": tensor for name, tensor in indices.items()}
    for layer, part in lander.partitioned.items():
        for key, p in part.slices.items():
            tensors[f"{layer}.slices.{key.replace(':', '.')}"] = p
        for name, p in part.router.named_parameters():
            tensors[f"{layer}.router.linear.{name}"] = p
    about = {"routing": "learned", "other_specific": None, "dtype": None, "neuron_sets": content}
    about |= {"base_model": config.base_fingerprint}
    path = tmp_path / "lander_model.safetensors"
    write_tensors(path, "lander_lite.LanderModel/1", tensors, about)
    with pytest.raises(ValueError, match="load_first_edition and save it again"):
        LanderModel.from_pretrained(base, tmp_path)
    again = load_first_edition(base, tmp_path).set_pair("zh-en")
    assert torch.equal(logits(again), logits(lander.set_pair("zh-en")))
    again.save_pretrained(tmp_path / "new")
    assert {path.name for path in (tmp_path / "new").iterdir()} == FILES


# ---------------------------------------------------------------- switching off, errors, counting
@pytest.mark.parametrize("rest", [True, False])
@pytest.mark.parametrize("routing", ["none", "literal", "learned"])
def test_disabled_is_the_base_model_bit_by_bit(model, routing, rest):
    expected, weights = logits(model), state(model)
    lander = disturb(wrap(model, make_sets(model, rest=rest), routing))
    wrapped = logits(lander)
    assert (wrapped - expected).abs().max() > 0.01
    with lander.disable_adapter():
        assert torch.equal(logits(lander), expected)
        with lander.disable_adapter():
            pass
        assert torch.equal(logits(lander), expected)  # the inner exit does not switch it on
    assert torch.equal(logits(lander), wrapped)
    with pytest.raises(KeyError, match="boom"), lander.disable_adapter():
        raise KeyError("boom")
    assert torch.equal(logits(lander), wrapped)
    assert same(weights, state(lander.unload())) == []


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
    trainable = in_sets * per_neuron + gates
    total += trainable  # PEFT counts what it adds beside the base, which stays whole
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
    assert {p.dtype for p in tuned(lander).values()} == {torch.float32} and logits(
        lander
    ).dtype == torch.bfloat16
    assert disturb(lander).merge_and_unload().dtype == torch.bfloat16


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_saved_model_with_numbers_that_are_not_finite_is_refused(bloom, tmp_path, value):
    base = copy.deepcopy(bloom)
    wrap(bloom, make_sets(bloom)).save_pretrained(tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    tensors = load_file(path)
    name = next(name for name, tensor in tensors.items() if tensor.numel())
    tensors[name].flatten()[0] = value
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(ValueError, match="safetensors: .* holds numbers that are not finite"):
        LanderModel.from_pretrained(base, tmp_path)
