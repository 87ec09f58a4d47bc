"""LANDeRMT is a PEFT method: Trainer, several adapters, the hub, reloading, and the guide."""

import copy
import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers
from conftest import SIZES, random_model
from lander_helpers import LAYERS, disturb, inputs, logits, make_sets, quick, same, state, tuned
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from transformers import TrainingArguments

from lander_lite import load_model
from lander_lite.blocks import feed_forwards, fingerprint
from lander_lite.neurons import NeuronSets, random_neurons
from lander_lite.scale.trainer import PairTrainer, collate_pairs, pair_examples
from lander_lite.training.loop import finetune
from lander_lite.tuner.model import LanderModel, LanderTuningConfig, get_lander_model

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing")
PAIRS = ["en-de", "zh-en"]


def config(model, routing="learned", **settings):
    return LanderTuningConfig(neuron_sets=make_sets(model), routing=routing, **settings)


@pytest.fixture(params=["tiny-bloom", "tiny-llama"])
def real(request):
    """(model, tokenizer, sets of en, de and zh in blocks 1 and 3) of the committed models."""
    model, tokenizer = load_model(request.param)
    return model, tokenizer, make_sets(model)


# ---------------------------------------------------------------- Trainer
def trainer(model, tokenizer, corpus, folder, **settings):
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=2,
        max_steps=6,
        learning_rate=0.01,
        weight_decay=0.1,
        logging_steps=1,
        report_to=[],
        remove_unused_columns=False,
        disable_tqdm=True,
        use_cpu=True,
        **settings,
    )
    examples = pair_examples(tokenizer, corpus, PAIRS)
    collator = collate_pairs(tokenizer)
    return PairTrainer(model, arguments, data_collator=collator, train_dataset=examples)


@pytest.mark.parametrize("make", [get_lander_model, get_peft_model])
def test_trainer_trains_mixed_pairs_and_nothing_else(real, corpus, tmp_path, make):
    model, tokenizer, sets = real
    base, before = copy.deepcopy(model), state(model)
    tuned_model = make(model, LanderTuningConfig(neuron_sets=sets, routing="none"))
    seen, forward = [], model.forward

    def watched(*args, **kwargs):
        seen.append(tuned_model.pair)
        return forward(*args, **kwargs)

    model.forward = watched
    log = trainer(tuned_model, tokenizer, corpus, tmp_path, save_strategy="no").train()
    del model.forward
    assert log.training_loss > 0 and set(seen) == set(PAIRS) and len(seen) == 6
    plain = tuned_model.eval().merge_and_unload()
    after = state(plain)
    blocks = {feed_forwards(base)[block].name for block in LAYERS}
    moved = [name for name in before if not torch.equal(before[name], after[name])]
    assert moved and all(any(name.startswith(block) for block in blocks) for name in moved)
    for block in LAYERS:
        old, new = (feed_forwards(m)[block].down.weight for m in (base, plain))
        found = (old != new).any(dim=0).nonzero().flatten()
        expected = torch.cat([sets.trainable(pair)[block] for pair in PAIRS]).unique()
        assert torch.equal(found, expected)


def test_trainer_resumes_and_saves_an_adapter_with_a_card(bloom, tokenizer, corpus, tmp_path):
    twin = copy.deepcopy(bloom)
    whole = get_lander_model(bloom, config(bloom))
    run = trainer(whole, tokenizer, corpus, tmp_path / "a", save_steps=3)
    run.train()
    folder = tmp_path / "a" / "checkpoint-3"
    assert {"adapter_model.safetensors", "adapter_config.json", "neuron_sets.safetensors"} <= {
        path.name for path in folder.iterdir()
    }
    assert "LANDER" in (folder / "adapter_config.json").read_text()
    assert not list(folder.glob("model*.safetensors")) and (folder / "README.md").is_file()
    again = get_lander_model(twin, config(twin))
    run = trainer(again, tokenizer, corpus, tmp_path / "b", save_steps=3)
    run.train(resume_from_checkpoint=str(folder))
    ours, theirs = tuned(again), tuned(whole)
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)
    run.save_model(str(tmp_path / "last"))
    assert (tmp_path / "last" / "README.md").is_file()


def test_a_batch_of_two_pairs_is_refused(bloom, tokenizer, corpus):
    examples = pair_examples(tokenizer, corpus, PAIRS)
    with pytest.raises(ValueError, match="en-de and zh-en"):
        collate_pairs(tokenizer)([examples[0], examples[-1]])


# ---------------------------------------------------------------- saving and the hub
def test_save_pretrained_writes_the_adapter_alone(model, tmp_path):
    size = sum(p.numel() for p in model.parameters())
    peft_model = get_peft_model(model, config(model))
    peft_model.save_pretrained(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    weights = {"adapter_model.safetensors", "adapter_config.json", "neuron_sets.safetensors"}
    assert names == weights | {"README.md"}
    assert (tmp_path / "adapter_model.safetensors").stat().st_size < 2 * size  # half of the base's


@pytest.mark.parametrize("make", [get_lander_model, get_peft_model])
def test_push_to_hub_would_upload_the_adapter_alone(bloom, monkeypatch, make):
    from huggingface_hub import HfApi

    uploaded = {}

    def commit(self, *args, operations=(), **kwargs):
        for operation in operations:
            uploaded[operation.path_in_repo] = Path(operation.path_or_fileobj).stat().st_size

    repository = type("Repository", (), {"repo_id": "me/tuned"})()
    monkeypatch.setattr(HfApi, "create_repo", lambda *_, **__: repository)
    monkeypatch.setattr(HfApi, "create_branch", lambda *_, **__: None)
    monkeypatch.setattr(HfApi, "create_commit", commit)
    lander = make(bloom, config(bloom))
    lander.push_to_hub("me/tuned")
    tensors = {"adapter_model.safetensors", "neuron_sets.safetensors"}
    assert tensors | {"adapter_config.json"} <= set(uploaded)
    assert set(uploaded) <= tensors | {"adapter_config.json", "README.md", ".gitattributes"}
    assert uploaded["adapter_model.safetensors"] < 2 * sum(p.numel() for p in bloom.parameters())


@pytest.mark.parametrize("routing", ["none", "learned", "corrected"])
@pytest.mark.parametrize("load", [LanderModel.from_pretrained, PeftModel.from_pretrained])
def test_reloaded_is_bit_equal(model, tmp_path, routing, load):
    base = copy.deepcopy(model)
    lander = disturb(get_lander_model(model, config(model, routing)).set_pair("en-de"))
    lander.save_pretrained(tmp_path / "lander")
    again = load(base, tmp_path / "lander")
    again.set_pair("en-de")
    assert torch.equal(logits(again), logits(lander))
    assert not any(p.requires_grad for p in again.parameters())
    trainable = load(copy.deepcopy(lander).unload(), tmp_path / "lander", is_trainable=True)
    trainable.set_pair("en-de")
    assert {n for n, p in trainable.named_parameters() if p.requires_grad} == set(tuned(trainable))


def test_the_config_alone_is_read_back(bloom, tmp_path):
    made = config(bloom, "corrected", other_specific="keep", dtype="float32")
    made.save_pretrained(tmp_path)
    found = LanderTuningConfig.from_pretrained(tmp_path)
    assert found.neuron_sets.hash() == made.neuron_sets.hash()
    general = PeftConfig.from_pretrained(tmp_path)  # PEFT's own reads the JSON and no sets
    for one in (found, general):
        assert type(one) is LanderTuningConfig and one.routing == "corrected"
        assert (one.other_specific, one.dtype, one.drops) == ("keep", "float32", False)
    with pytest.raises(ValueError, match="LanderTuningConfig.from_pretrained"):
        get_peft_model(bloom, general)
    with pytest.raises(TypeError, match="no setting 'rank'"):
        LanderTuningConfig(rank=3)


@pytest.mark.parametrize("first", ["lander_lite", "peft"])
def test_importing_lander_lite_is_enough_and_quick(bloom, tmp_path, first):
    """In a fresh process, in either order; lander_lite itself does not import PEFT."""
    disturb(get_lander_model(bloom, config(bloom)).set_pair("en-de")).save_pretrained(
        tmp_path / "a"
    )
    base, tuned_folder = str(tmp_path / "base"), str(tmp_path / "a")
    random_model(transformers.BloomConfig(**SIZES)).save_pretrained(base)
    second = "peft" if first == "lander_lite" else "lander_lite"
    code = f"""
import sys
import {first}
assert {first == "peft"} or not {{"peft", "torch", "transformers"}} & sys.modules.keys()
import {second}
import peft
from transformers import AutoModelForCausalLM
base = AutoModelForCausalLM.from_pretrained({base!r})
model = peft.PeftModel.from_pretrained(base, {tuned_folder!r})
print(model.set_pair("en-de").pair, model.active_peft_config.routing)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == ["en-de", "learned"]


# ---------------------------------------------------------------- several adapters
def test_two_adapters_on_one_base(model):
    base, sets = copy.deepcopy(model), make_sets(model)
    other = random_neurons(sets, 5)
    expected = logits(base)
    single = {}
    for name, chosen in {"default": sets, "second": other}.items():
        lander = get_lander_model(copy.deepcopy(base), LanderTuningConfig(chosen, "none"))
        seed = len(single) + 1
        single[name] = logits(disturb(lander.set_pair("en-de"), seed=seed))
    lander = disturb(get_lander_model(model, LanderTuningConfig(sets, "none")).set_pair("en-de"))
    lander.add_adapter("second", LanderTuningConfig(other, "none"))
    lander.set_pair("en-de")
    assert torch.equal(logits(lander), single["default"])
    lander.set_adapter("second")
    trained = {name for name, p in lander.named_parameters() if p.requires_grad}
    assert trained and all(".second." in name for name in trained)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, p in lander.named_parameters():
            if ".second." in name:
                p.add_(0.2 * torch.randn(p.shape, generator=generator))
    assert torch.equal(logits(lander), single["second"])
    lander.set_adapter("default")
    assert torch.equal(logits(lander), single["default"])
    with lander.disable_adapter():
        assert torch.equal(logits(lander), expected)
    lander.delete_adapter("second")
    assert not any(".second." in name for name, _ in lander.named_parameters())
    assert torch.equal(logits(lander), single["default"])
    assert same(state(base), state(lander.unload())) == []


def test_adapters_of_other_blocks_and_languages(bloom):
    base, expected = copy.deepcopy(bloom), logits(bloom)
    lander = disturb(get_lander_model(bloom, config(bloom, "none")).set_pair("en-de"))
    first = logits(lander)
    sets = NeuronSets([0], ["fr"], {0: torch.arange(9)}, {"fr": {0: torch.arange(9, 20)}}, 128)
    lander.add_adapter("french", LanderTuningConfig(sets, "none"))
    assert torch.equal(logits(lander), first)
    lander.set_adapter("french")
    with pytest.raises(ValueError, match="no neuron sets for en, de"):
        lander.set_pair("en-de")
    lander.set_pair("fr")
    assert (logits(lander) - expected).abs().max() <= 1e-6 * expected.abs().max()
    foreign = NeuronSets([0], ["fr"], {}, {"fr": {0: [1]}}, 128, {**fingerprint(base), "d_ff": 7})
    with pytest.raises(ValueError, match="another model"):
        lander.add_adapter("foreign", LanderTuningConfig(foreign))
    assert same(state(base), state(lander.unload())) == []


def test_lora_and_ours_side_by_side_on_two_copies(model, tokenizer, corpus):
    lora = get_peft_model(copy.deepcopy(model), LoraConfig(r=2, target_modules="all-linear"))
    lander = get_peft_model(model, config(model, "none"))
    for tuned_model in (lora, lander):
        before = logits(tuned_model) if tuned_model is lora else None
        finetune(tuned_model, tokenizer, corpus, ["en-de"], quick())
        with tuned_model.disable_adapter():
            plain = logits(tuned_model)
        assert before is None or torch.allclose(plain, before, atol=1e-5)
        assert not torch.equal(logits(tuned_model), plain)


def test_the_base_is_never_touched_before_merging(model, tokenizer, corpus):
    weights = {name: p.clone() for name, p in model.named_parameters()}
    views = feed_forwards(model)
    lander = get_lander_model(model, config(model, "none"))
    finetune(lander, tokenizer, corpus, PAIRS, quick())
    layers = [m for m in lander.modules() if isinstance(m, BaseTunerLayer)]
    assert [layer.base_layer for layer in layers] == [views[block].module for block in LAYERS]
    frozen = {n.replace("base_model.model.", "").replace(".base_layer", ""): p
              for n, p in lander.named_parameters() if ".lander_" not in n}  # fmt: skip
    assert frozen.keys() == weights.keys()
    assert all(torch.equal(p, weights[name]) for name, p in frozen.items())


def test_few_tuned_neurons_take_the_bases_own_pass(model):
    """LAPE's one per cent: the base's layers run once, and only the tuned neurons beside them."""
    d_ff = feed_forwards(model)[0].d_ff
    sets = NeuronSets([1], ["en"], {}, {"en": {1: [3, d_ff - 1]}}, d_ff, fingerprint(model))
    expected, calls = logits(model), []
    lander = get_lander_model(model, LanderTuningConfig(sets, "none")).set_pair("en")
    view = lander.partitioned[1].view
    for layer in (*view.inner.values(), view.down):
        layer.register_forward_hook(lambda *_, layer=layer: calls.append(layer))
    assert (logits(lander) - expected).abs().max() <= 1e-6 * expected.abs().max()
    assert len(calls) == len(view.inner) + 1
    assert sum(p.numel() for p in tuned(lander).values()) < 2 * 3 * 34
    assert not torch.equal(logits(disturb(lander)), expected)


def test_kept_matrices_follow_the_slices(model):
    """Decoding keeps the joined slices; a step, a load or another pair must not be missed."""
    lander = get_lander_model(model, config(model, "none")).set_pair("en-de")
    first = logits(lander)
    disturb(lander)
    second = logits(lander)
    assert not torch.equal(first, second)
    lander.train()(**inputs(), labels=inputs()["input_ids"]).loss.backward()
    torch.optim.SGD(tuned(lander).values(), lr=0.1).step()
    assert not torch.equal(logits(lander.eval()), second)
    parts = [layer._joined for layer in lander.partitioned.values()]
    lander.train()(**inputs())
    assert not any(parts)  # nothing is kept while gradients are asked


def test_a_model_made_in_inference_mode(model):
    """Its tensors count no versions, so nothing of them is kept."""
    expected = logits(model)
    with torch.inference_mode():
        lander = get_lander_model(copy.deepcopy(model), config(model, "none")).set_pair("en-de")
        assert (logits(lander) - expected).abs().max() <= 1e-6 * expected.abs().max()
        lander.partitioned[1].slices["general:down"].mul_(2)
        assert not torch.allclose(logits(lander), expected)


def test_half_precision_slices(bloom):
    for dtype, expected in ((None, torch.float32), ("bfloat16", torch.bfloat16)):
        lander = get_peft_model(copy.deepcopy(bloom).to(torch.bfloat16), config(bloom, dtype=dtype))
        assert {p.dtype for p in tuned(lander).values()} == {expected}
        lander.set_pair("en-de")
        assert logits(lander).dtype == torch.bfloat16


def test_what_makes_us_known_to_peft():
    """registry.py adds one member to PEFT's enum of methods."""
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
    from peft.utils.peft_types import PeftType

    assert PeftType("LANDER") is PeftType.LANDER and "LANDER" in list(PeftType)
    assert PEFT_TYPE_TO_CONFIG_MAPPING["LANDER"] is LanderTuningConfig
    assert json.dumps({"type": PeftType.LANDER}) == '{"type": "LANDER"}'
    assert copy.deepcopy(PeftType.LANDER) is PeftType.LANDER
    assert importlib.metadata.version("peft")


def test_the_guides_script(tmp_path, monkeypatch):
    """The code that the guide shows, with six steps in place of sixty."""
    guide = (Path(__file__).parents[1] / "notebooks" / "GUIDE.md").read_text(encoding="utf-8")
    blocks = [block.split("```")[0] for block in guide.split("```python\n")[1:]]
    (code,) = [block for block in blocks if "PairTrainer" in block]
    assert len(code.strip().splitlines()) <= 22 and "max_steps=60" in code
    model, _ = load_model("tiny-bloom")
    monkeypatch.chdir(tmp_path)
    d_ff, parts = feed_forwards(model)[0].d_ff, torch.arange(feed_forwards(model)[0].d_ff)
    general, first, second = parts.tensor_split(3)
    sets = {"en": {3: first}, "de": {3: second}}
    NeuronSets([3], ["en", "de"], {3: general}, sets, d_ff, fingerprint(model)).save(
        "neurons.safetensors"
    )
    spaces = {}
    exec(code.replace("max_steps=60", "max_steps=6, disable_tqdm=True"), spaces)
    assert type(spaces["plain"]).__name__ == "BloomForCausalLM"
    assert spaces["tuned"].pair == "en-de" and Path("my-adapter/adapter_config.json").is_file()
