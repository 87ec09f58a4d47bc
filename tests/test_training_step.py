"""The training step in detail: logits where there are labels, the callback, precision, random
states."""

import contextlib
import copy
import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from lander_helpers import logits, make_sets, quick, same, state

from lander_lite.evaluation import evaluate
from lander_lite.prompts import collate, encode
from lander_lite.reproduction import baselines
from lander_lite.training.checkpoints import load_checkpoint, save_checkpoint
from lander_lite.training.loop import finetune, label_loss
from lander_lite.tuner.model import LanderTuningConfig, get_lander_model

MODULE = finetune.__globals__
PAIRS = ["en-de", "zh-en"]
METHODS = {
    "full": baselines.full,
    "adapter": lambda model: baselines.adapter(model, 8),
    "lora": lambda model: baselines.lora(model, r=2, dropout=0.3),
    "learned": lambda model: get_lander_model(
        model, LanderTuningConfig(make_sets(model), "learned")
    ).set_pair("en-de"),
}


@pytest.fixture
def batch(tokenizer, corpus):
    """Rows of unequal lengths, with prompts of unequal lengths."""
    return collate(
        tokenizer,
        [encode(tokenizer, row["en"], row["de"], "en-de") for row in corpus["translation"]],
    )


def gradients(model, loss):
    model.zero_grad(set_to_none=True)
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


# ---------------------------------------------------------------- the loss
@pytest.mark.parametrize("method", METHODS)
def test_the_loss_is_the_models_own(model, batch, method):
    tuned = METHODS[method](model).eval()
    own = tuned(**batch, use_cache=False).loss
    expected = gradients(tuned, own)
    labels = batch["labels"].clone()
    loss = label_loss(tuned, batch)
    got = gradients(tuned, loss)
    assert loss.item() == pytest.approx(own.item(), rel=1e-6) and got.keys() == expected.keys()
    assert all(torch.allclose(got[name], expected[name], rtol=1e-3, atol=1e-6) for name in got)
    assert torch.equal(batch["labels"], labels)  # the batch stays as it is


@pytest.mark.parametrize("columns", [[0, 1, 5], [0, 5], [10], [3, 10]])
def test_any_columns_may_hold_labels(model, columns):
    """The first column too: nothing predicts it, so it counts for nothing, as in the model's own
    loss."""
    ids = torch.randint(4, 300, (3, 11), generator=torch.Generator().manual_seed(0))
    labels = torch.full_like(ids, -100)
    labels[1, columns] = ids[1, columns]
    labels[2, columns[-1]] = ids[2, columns[-1]]
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}
    assert label_loss(model, inputs).item() == pytest.approx(model(**inputs).loss.item(), rel=1e-6)


# ---------------------------------------------------------------- the callback
def test_a_callback_changes_nothing(bloom, tokenizer, corpus, monkeypatch):
    def run(method, callback):
        torch.manual_seed(0)
        model = METHODS[method](copy.deepcopy(bloom))
        log = finetune(
            model,
            tokenizer,
            corpus,
            PAIRS,
            quick(updates=4, accumulation=2),
            callback=callback and (lambda n: callback(model, n)),
        )
        return log, state(model), getattr(model, "pair", None)

    def rude(model, n):
        """It draws, switches dropout off, translates another pair."""
        seen.append((n, torch.is_grad_enabled(), model.training))
        torch.rand(n)
        model.eval()
        evaluate(
            model, tokenizer, corpus, ["de-zh"], max_sentences=1, max_new_tokens=2, bootstrap=0
        )

    for method in ("lora", "learned"):
        seen = []
        plain, told = run(method, None), run(method, rude)
        assert plain[0] == told[0] and same(plain[1], told[1]) == [] and plain[2] == told[2]
        assert seen == [(n, False, True) for n in (1, 2, 3, 4)]
    monkeypatch.setattr(
        torch.random, "fork_rng", lambda *args: contextlib.nullcontext()
    )  # the control: the draws do matter
    assert run("lora", rude)[0] != run("lora", None)[0]


def test_a_callback_sees_the_updated_model_before_its_checkpoint(
    bloom, tokenizer, corpus, tmp_path
):
    seen = []

    def look(n):
        seen.append((state(bloom), sorted(path.name for path in tmp_path.iterdir())))

    finetune(
        bloom,
        tokenizer,
        corpus,
        PAIRS,
        quick(updates=2, save_every=1),
        output_dir=tmp_path,
        callback=look,
    )
    assert [names for _, names in seen] == [[], ["checkpoint-1"]]
    assert same(seen[0][0], seen[1][0]) != [] and same(seen[1][0], state(bloom)) == []


# ---------------------------------------------------------------- precision, states, settings
def test_runs_of_one_session_may_differ_in_precision(bloom, tokenizer, corpus):
    def run(precision):
        model = baselines.full(copy.deepcopy(bloom))
        return finetune(model, tokenizer, corpus, PAIRS, quick(mixed_precision=precision))[
            "loss"
        ], model

    first, half, last = (run(precision) for precision in ("no", "bf16", "no"))
    assert first[0] == last[0] and first[0] != half[0] == pytest.approx(first[0], rel=0.05)
    twin = copy.deepcopy(bloom)  # trained in bfloat16, the model itself is again as it was: float32
    twin.load_state_dict(half[1].state_dict())
    assert torch.equal(logits(half[1]), logits(twin))
    again, other = (
        finetune(model, tokenizer, corpus, PAIRS, quick())["loss"]
        for model in (half[1], baselines.full(twin))
    )
    assert again == other


def test_fp16_scales_the_loss_and_a_checkpoint_holds_the_scale(bloom, tokenizer, corpus, tmp_path):
    def run(precision, updates=4, **settings):
        model = baselines.full(copy.deepcopy(bloom))
        config = quick(mixed_precision=precision, updates=updates, save_every=2)
        return finetune(model, tokenizer, corpus, PAIRS, config, **settings)["loss"], model

    single, _ = run("no")
    half, model = run("fp16", output_dir=tmp_path)
    assert single != half == pytest.approx(single, rel=0.05)
    assert all(p.dtype == torch.float32 for p in model.parameters())
    content = json.loads((tmp_path / "checkpoint-2" / "state.json").read_text())
    assert content["states"]["scaler"]["scale"] >= 1024
    shutil.rmtree(tmp_path / "checkpoint-4")
    again, resumed = run("fp16", output_dir=tmp_path)
    assert again == half and same(state(model), state(resumed)) == []


def test_one_process_patches_nothing_on_the_model(bloom, tokenizer, corpus):
    before = set(vars(bloom))
    finetune(bloom, tokenizer, corpus, PAIRS, quick(updates=1, mixed_precision="bf16"))
    assert set(vars(bloom)) == before


def test_an_adapters_config_tells_runs_apart(bloom, tokenizer, corpus, tmp_path):
    """Its alpha changes the result and no shape; where its base lies changes nothing."""

    def run(alpha, folder=None):
        model = baselines.lora(copy.deepcopy(bloom), r=2, alpha=alpha, dropout=0.0)
        model.peft_config["default"].base_model_name_or_path = folder
        return finetune(model, tokenizer, corpus, PAIRS, config, output_dir=tmp_path)

    config = quick(updates=2, save_every=1)
    assert run(4) == run(4, "elsewhere")
    with pytest.raises(ValueError, match="belongs to a run with other"):
        run(8)


def test_a_forward_of_its_own_survives_training(bloom, tokenizer, corpus):
    """device_map puts one on a model."""
    own = bloom.forward
    bloom.forward = lambda *args, **keys: own(*args, **keys)
    mine = bloom.forward
    for precision in ("no", "bf16"):
        finetune(bloom, tokenizer, corpus, PAIRS, quick(updates=1, mixed_precision=precision))
        assert bloom.forward is mine


def test_random_states_of_every_gpu_are_kept(tmp_path, monkeypatch):
    """Without a GPU at hand: torch's functions are replaced."""
    states, put = (
        [torch.tensor([1, 2], dtype=torch.uint8), torch.tensor([3], dtype=torch.uint8)],
        [],
    )
    for name, fake in {
        "is_available": lambda: True,
        "get_rng_state_all": lambda: states,
        "device_count": lambda: 2,
        "set_rng_state": lambda state, device: put.append((device, state.tolist())),
    }.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    optimizer = torch.optim.AdamW([torch.zeros(1)])
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    run = SimpleNamespace(
        identity="mine",
        update=3,
        log={"loss": [1.0, 0.5, 0.2]},
        parameters={},
        original={},
        optimizer=optimizer,
        scaler=scaler,
    )
    save_checkpoint(tmp_path, run, 2)
    run.update, run.log = 0, {}
    load_checkpoint(tmp_path / "checkpoint-3", run)
    assert (run.update, run.log) == (3, {"loss": [1.0, 0.5, 0.2]})
    assert put == [(0, [1, 2]), (1, [3])]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)  # gone on without them
    run.update = 0
    load_checkpoint(tmp_path / "checkpoint-3", run)
    assert run.update == 3 and len(put) == 2


@pytest.mark.parametrize(
    "wrong",
    [{"keep": 0}, {"updates": 0}, {"batch_size": -1}, {"learning_rate": 0.0}, {"warmup": 1.0}],
)
def test_settings_out_of_range_are_refused(bloom, tokenizer, corpus, wrong):
    before = state(bloom)
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} = {next(iter(wrong.values()))}"):
        finetune(bloom, tokenizer, corpus, PAIRS, quick(**wrong))
    assert same(before, state(bloom)) == []
