"""The training loop: what it feeds, what it computes, and that a killed run ends as an
uninterrupted one does."""

import copy
import json
import math
import os
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from lander_helpers import make_sets, quick, same, state
from safetensors.torch import load_file

from lander_lite.blocks import feed_forwards
from lander_lite.prompts import collate, encode
from lander_lite.reproduction import baselines as baselines
from lander_lite.training.loop import (
    TrainingRun,
    finetune,
    latest_checkpoint,
    learning_rate_factor,
    pair_data,
)
from lander_lite.tuner.model import LanderTuningConfig, get_lander_model

MODULE = finetune.__globals__  # the file; the name lander_lite.training.loop is the function
PAIRS = ["en-de", "zh-en", "de-zh"]


class Killed(BaseException):
    """Not an Exception, as KeyboardInterrupt."""


def learned(model):
    return get_lander_model(model, LanderTuningConfig(make_sets(model), "learned"))


def lora(model):
    torch.manual_seed(0)
    return baselines.lora(model, r=2, alpha=4, dropout=0.3)


METHODS = {"learned": learned, "lora": lora, "full": baselines.full}


def record(monkeypatch, kill_at=None):
    """Catch every batch on its way from collate to the model; kill_at: die at that micro-batch."""
    batches, real = [], MODULE["collate"]

    def caught(*args, **kwargs):
        if len(batches) == kill_at:
            raise Killed
        batches.append(real(*args, **kwargs))
        return batches[-1]

    monkeypatch.setitem(MODULE, "collate", caught)
    return batches


# ---------------------------------------------------------------- resuming
@pytest.fixture(scope="module")
def uninterrupted(_bloom, tokenizer):
    """{method: (config, log, state dict)} of runs without a stop, each made once."""
    cache = {}

    def get(method, corpus):
        if method not in cache:
            config = quick(updates=7, save_every=3, accumulation=2, schedule="cosine", warmup=0.3)
            model = METHODS[method](copy.deepcopy(_bloom))
            cache[method] = config, finetune(model, tokenizer, corpus, PAIRS, config), state(model)
        return cache[method]

    return get


@pytest.mark.parametrize(
    "method, kill_at",
    [
        *(("learned", k) for k in (0, 1, 5, 6, 7, 12, 13)),
        ("lora", 5),
        ("lora", 6),
        ("lora", 9),
        ("full", 9),
    ],
)
def test_killed_and_resumed_is_uninterrupted(
    bloom, tokenizer, corpus, tmp_path, monkeypatch, uninterrupted, method, kill_at
):
    """Micro-batches 2u and 2u+1 belong to update u; checkpoints follow updates 3 and 6, so 6 and 12
    die right after one."""
    config, log, expected = uninterrupted(method, corpus)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        record(patch, kill_at)
        finetune(
            METHODS[method](copy.deepcopy(bloom)),
            tokenizer,
            corpus,
            PAIRS,
            config,
            output_dir=tmp_path,
        )
    assert (latest_checkpoint(tmp_path) is not None) == (kill_at >= 6)
    torch.manual_seed(123)  # another process has another random state
    model = METHODS[method](copy.deepcopy(bloom))
    batches = record(monkeypatch)
    again = finetune(model, tokenizer, corpus, PAIRS, config, output_dir=tmp_path)
    assert same(expected, state(model)) == [] and again == log
    assert len(batches) == 14 - kill_at // 6 * 6  # it went on, it did not start over
    torch.manual_seed(123)
    unresumed = METHODS[method](copy.deepcopy(bloom))
    assert same(expected, state(unresumed)) != []


def test_resuming_in_the_same_session_drops_half_an_update(
    bloom, tokenizer, corpus, tmp_path, monkeypatch, uninterrupted
):
    """Interrupted between two micro-batches, the model still holds the gradients of the first; the
    next run must not add them."""
    config, log, expected = uninterrupted("learned", corpus)
    model = learned(bloom)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        record(patch, kill_at=9)
        finetune(model, tokenizer, corpus, PAIRS, config, output_dir=tmp_path)
    assert any(p.grad is not None for p in model.parameters())
    assert (
        finetune(model, tokenizer, corpus, PAIRS, config, output_dir=tmp_path) == log
        and same(expected, state(model)) == []
    )


@pytest.mark.parametrize("torn", ["parameters.safetensors", "optimizer.safetensors", "state.json"])
def test_a_torn_checkpoint_is_ignored(
    bloom, tokenizer, corpus, tmp_path, monkeypatch, uninterrupted, torn
):
    """Killed while a file of checkpoint 6 is being written: half a temporary file stays, and the
    run goes on from checkpoint 3."""
    config, log, expected = uninterrupted("learned", corpus)
    real = os.replace

    def killed(source, target):
        if "checkpoint-6" in str(target) and os.path.basename(target) == torn:
            Path(source).write_bytes(b"half a file")
            monkeypatch.setattr(
                "pathlib.Path.unlink", lambda *a, **k: None
            )  # a killed process does not tidy up
            raise Killed
        real(source, target)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(os, "replace", killed)
        finetune(
            learned(copy.deepcopy(bloom)), tokenizer, corpus, PAIRS, config, output_dir=tmp_path
        )
    monkeypatch.undo()
    assert (
        not (tmp_path / "checkpoint-6" / torn).exists()
        and latest_checkpoint(tmp_path).name == "checkpoint-3"
    )
    model = learned(bloom)
    assert (
        finetune(model, tokenizer, corpus, PAIRS, config, output_dir=tmp_path) == log
        and same(expected, state(model)) == []
    )


def test_a_finished_run_is_not_repeated(bloom, tokenizer, corpus, tmp_path, monkeypatch):
    config, model = quick(updates=3, save_every=2), learned(bloom)
    log = finetune(model, tokenizer, corpus, PAIRS, config, output_dir=tmp_path)
    before, batches = state(model), record(monkeypatch)
    assert finetune(model, tokenizer, corpus, PAIRS, config, output_dir=tmp_path) == log
    assert batches == [] and same(before, state(model)) == []


def test_only_the_last_checkpoints_stay(bloom, tokenizer, corpus, tmp_path):
    finetune(
        learned(bloom),
        tokenizer,
        corpus,
        PAIRS,
        quick(updates=5, save_every=1, keep=2),
        output_dir=tmp_path,
    )
    names = {"checkpoint-4", "checkpoint-5"}
    assert {path.name for path in tmp_path.iterdir()} == names
    files = ["optimizer.safetensors", "parameters.safetensors", "state.json"]
    assert all(sorted(file.name for file in (tmp_path / name).iterdir()) == files for name in names)
    # a new start in the same folder: its first checkpoint is kept, those of the old run are not
    # taken for its own
    finetune(
        bloom,
        tokenizer,
        corpus,
        PAIRS,
        quick(updates=1, save_every=1, seed=9),
        output_dir=tmp_path,
        resume=False,
    )
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint-1"}


CHANGES = {
    "rate": {"config": {"learning_rate": 0.02}},
    "seed": {"config": {"seed": 1}},
    "pairs": {"pairs": PAIRS[:2]},
    "corpus": {"rows": 5},
    "template": {"template": "{source} ="},
    "routing": {"routing": "corrected"},
    "neurons": {"sets_seed": 1},
    "parameters": {"layers": [1, 2]},
}


@pytest.mark.parametrize("change", [None, *CHANGES])
def test_a_checkpoint_of_another_run_is_refused(bloom, tokenizer, corpus, tmp_path, change):
    def run(
        config=None, pairs=PAIRS, rows=6, template=None, routing="none", sets_seed=0, layers=(1, 3)
    ):
        model = copy.deepcopy(bloom)
        model = get_lander_model(
            model, LanderTuningConfig(make_sets(model, layers=layers, seed=sets_seed), routing)
        )
        settings = quick(**{"updates": 2, "save_every": 1, **(config or {})})
        return finetune(
            model,
            tokenizer,
            corpus.select(range(rows)),
            pairs,
            settings,
            output_dir=tmp_path,
            template=template,
        )

    log = run()
    if change is None:  # the same settings, made anew, and what does not matter
        assert run({"keep": 1, "save_every": 2}) == log
    else:
        with pytest.raises(
            ValueError,
            match="checkpoint-2 belongs to a run with other .* output_dir, or resume=False",
        ):
            run(**CHANGES[change])


def other_base(bloom):
    """The same sizes and embeddings, one other frozen weight."""
    model = copy.deepcopy(bloom)
    feed_forwards(model)[2].up.weight.data[0, 0] += 1
    return model


@pytest.mark.parametrize("method", ["learned", "lora"])
def test_a_checkpoint_of_another_base_model_is_refused(bloom, tokenizer, corpus, tmp_path, method):
    def run(base):
        model = METHODS[method](copy.deepcopy(base))
        config = quick(updates=2, save_every=1)
        return finetune(model, tokenizer, corpus, PAIRS, config, output_dir=tmp_path)

    assert run(bloom) == run(bloom)
    with pytest.raises(ValueError, match="checkpoint-2 belongs to .* frozen weights"):
        run(other_base(bloom))


def flip(path: Path) -> None:
    """One bit of the last byte."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


def renumber(path: Path) -> None:
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"update": 999}))


def forget(path: Path) -> None:
    content = json.loads(path.read_text())
    del content["log"]
    path.write_text(json.dumps(content))


SPOILED = {
    "parameters.safetensors": (flip, "parameters.safetensors is not the file that belongs"),
    "optimizer.safetensors": (flip, "optimizer.safetensors is not the file that belongs"),
    "gone": (lambda path: path.unlink(), "optimizer.safetensors is not the file that belongs"),
    "update": (renumber, "state.json is damaged .*it says update 999, and its log has .'loss': 2"),
    "log": (forget, "state.json is damaged .*no 'log'"),
    "json": (lambda path: path.write_text("{"), "state.json is damaged"),
}


@pytest.mark.parametrize("what", SPOILED)
def test_a_checkpoint_that_is_not_what_was_written_is_refused(
    bloom, tokenizer, corpus, tmp_path, what
):
    spoil, fault = SPOILED[what]
    file = {"gone": "optimizer.safetensors"}.get(what, what if "." in what else "state.json")
    config = quick(updates=2, save_every=1)
    finetune(learned(copy.deepcopy(bloom)), tokenizer, corpus, PAIRS, config, output_dir=tmp_path)
    spoil(tmp_path / "checkpoint-2" / file)
    with pytest.raises(ValueError, match=fault):
        finetune(learned(bloom), tokenizer, corpus, PAIRS, config, output_dir=tmp_path)


def test_a_checkpoint_of_two_runs_files_is_refused(bloom, tokenizer, corpus, tmp_path):
    config = quick(updates=2, save_every=1)
    for name, start in (("a", bloom), ("b", other_base(bloom))):
        model = learned(copy.deepcopy(start))
        finetune(model, tokenizer, corpus, PAIRS, config, output_dir=tmp_path / name)
    theirs = tmp_path / "b" / "checkpoint-2" / "parameters.safetensors"
    theirs.replace(tmp_path / "a" / "checkpoint-2" / theirs.name)
    with pytest.raises(ValueError, match="parameters.safetensors is not the file that belongs"):
        finetune(learned(bloom), tokenizer, corpus, PAIRS, config, output_dir=tmp_path / "a")


def test_weights_that_are_not_finite_are_not_saved(bloom, tokenizer, corpus, tmp_path):
    def spoil(update):
        if update == 2:
            next(p for p in model.parameters() if p.requires_grad).data[0, 0] = float("inf")

    model, config = learned(bloom), quick(updates=4, save_every=1)
    with pytest.raises(FloatingPointError, match="largest weight of .* is inf at update 2"):
        finetune(model, tokenizer, corpus, PAIRS, config, output_dir=tmp_path, callback=spoil)
    assert latest_checkpoint(tmp_path).name == "checkpoint-1"


# ---------------------------------------------------------------- the data and the loss
def test_pairs_take_turns(bloom, tokenizer, corpus, monkeypatch):
    batches, model, seen = record(monkeypatch), learned(bloom), []
    monkeypatch.setattr(
        model, "forward", lambda *a, f=model.forward, **k: (seen.append(model.pair), f(*a, **k))[1]
    )
    finetune(model, tokenizer, corpus, PAIRS, quick(updates=5, accumulation=2))
    order = [pair for pair in PAIRS + PAIRS[:2] for _ in range(2)]
    assert seen == order and len(batches) == 10
    names = {"en": "English:", "de": "German:", "zh": "Chinese:"}
    for batch, pair in zip(batches, order):
        source, target = pair.split("-")
        texts = tokenizer.batch_decode(batch["input_ids"], skip_special_tokens=True)
        assert all(
            text.startswith(names[source]) and f"\n{names[target]} " in text for text in texts
        )


def test_each_epoch_uses_every_row_once(bloom, tokenizer, corpus, monkeypatch):
    batches = record(monkeypatch)
    finetune(learned(bloom), tokenizer, corpus, ["en-de"], quick(updates=3, batch_size=4))
    texts = [
        text
        for batch in batches
        for text in tokenizer.batch_decode(batch["input_ids"], skip_special_tokens=True)
    ]
    assert (
        len(set(texts[:6])) == 6
        and sorted(texts[6:]) == sorted(texts[:6])
        and texts[6:] != texts[:6]
    )


def test_methods_of_a_seed_see_the_same_data(bloom, tokenizer, corpus, monkeypatch):
    def run(method, **settings):
        with monkeypatch.context() as patch:
            batches = record(patch)
            finetune(
                METHODS[method](copy.deepcopy(bloom)),
                tokenizer,
                corpus,
                PAIRS,
                quick(rows_per_pair=4, **settings),
            )
            return [batch["input_ids"].tolist() for batch in batches]

    first = run("learned")
    assert run("lora") == first and run("full") == first and run("full", seed=1) != first
    drawn = pair_data(tokenizer, corpus, "en-de", quick(rows_per_pair=4), None)
    everything = pair_data(tokenizer, corpus, "en-de", quick(), None)
    assert len(drawn) == 4 and len(everything) == 6 and all(row in everything for row in drawn)


def gradients(model, batch):
    model.zero_grad(set_to_none=True)
    model(**batch, use_cache=False).loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def distance(first, second):
    return max((first[name] - second[name]).abs().max().item() for name in first)


def test_prompts_and_padding_are_not_learned(model, tokenizer, corpus):
    row = corpus[0]["translation"]
    example, longer = (
        encode(tokenizer, row["en"], row["de"] + more, "en-de")
        for more in ("", " und noch viel mehr")
    )
    alone = gradients(model, collate(tokenizer, [example]))
    padded = collate(tokenizer, [example, longer])
    assert (
        distance(alone, gradients(model, {key: value[:1] for key, value in padded.items()})) < 1e-5
    )
    assert (padded["attention_mask"][0] == 0).any() and distance(
        alone, gradients(model, collate(tokenizer, [longer]))
    ) > 1e-3
    with torch.no_grad():  # the loss is the mean over target and EOS, computed by hand
        batch = collate(tokenizer, [example])
        logp = model(input_ids=batch["input_ids"]).logits[0].log_softmax(-1)
        start = example["labels"].count(-100)
        by_hand = -sum(
            logp[t - 1, example["input_ids"][t]].item()
            for t in range(start, len(example["input_ids"]))
        )
        loss = model(**batch).loss.item()
    assert loss == pytest.approx(by_hand / (len(example["input_ids"]) - start), rel=1e-4)
    assert example["labels"][-1] == tokenizer.eos_token_id and 0 < start < len(example["input_ids"])


def test_accumulation_is_a_larger_batch(bloom, tokenizer):
    rows = [
        {"translation": {"en": f"{i:03d} a", "de": f"{i * 7 % 100:03d} b"}} for i in range(16)
    ]  # equal lengths
    corpus, ends = Dataset.from_list(rows), {}
    for name, settings in {
        "one": {"batch_size": 8},
        "two": {"batch_size": 4, "accumulation": 2},
        "half": {"batch_size": 4},
    }.items():
        model = learned(copy.deepcopy(bloom))
        log = finetune(
            model, tokenizer, corpus, ["en-de"], quick(updates=3, weight_decay=0.0, **settings)
        )
        ends[name] = (
            log["loss"],
            {
                k: v
                for k, v in state(model).items()
                if ".lander_slices." in k or ".lander_router." in k
            },
        )
    assert ends["one"][0] == pytest.approx(ends["two"][0], rel=1e-4) and ends["one"][
        0
    ] != pytest.approx(ends["half"][0], rel=1e-4)
    assert distance(ends["one"][1], ends["two"][1]) < 0.05 * distance(
        ends["one"][1], ends["half"][1]
    )


def test_weights_that_are_not_finite_are_not_the_rates_fault(bloom, tokenizer, corpus):
    model = learned(bloom)
    next(model.parameters()).data[0, 0] = float("nan")
    with pytest.raises(FloatingPointError, match="update 0 .*weights are not finite, or it needs"):
        finetune(model, tokenizer, corpus, ["en-de"], quick(updates=2))


@pytest.mark.parametrize("size", [4, 2, 1])
def test_accumulation_counts_every_token_once(bloom, tokenizer, size):
    """Of sentences of very different lengths too."""
    rows = [{"translation": {"en": "a b", "de": " ".join("cd" * (1 + i % 8))}} for i in range(16)]
    corpus, updates = Dataset.from_list(rows), {}
    for name, batch_size, accumulation in (("once", 8, 1), ("parts", size, 8 // size)):
        model = learned(copy.deepcopy(bloom))
        settings = quick(updates=1, batch_size=batch_size, accumulation=accumulation)
        run = TrainingRun(
            model,
            tokenizer,
            {"en-de": pair_data(tokenizer, corpus, "en-de", settings, None)},
            ["en-de"],
            settings,
            None,
        )
        run.set_pair("en-de")
        loss = run.label_gradients()
        updates[name] = loss, {k: p.grad for k, p in run.parameters.items() if p.grad is not None}
    assert updates["parts"][0] == pytest.approx(updates["once"][0], rel=1e-5)
    for key, gradient in updates["once"][1].items():
        torch.testing.assert_close(updates["parts"][1][key], gradient, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("method, share", [("learned", 0.7), ("full", 0.25)])
def test_a_learnable_task_is_learned(bloom, tokenizer, method, share):
    corpus = Dataset.from_list(
        [{"translation": {"en": word, "de": word[::-1]}} for word in ("ab", "cd", "ef", "gh")]
    )
    model = METHODS[method](bloom)
    still = finetune(
        model, tokenizer, corpus, ["en-de"], quick(updates=2, batch_size=4, learning_rate=1e-9)
    )["loss"]
    log = finetune(
        model, tokenizer, corpus, ["en-de"], quick(updates=40, batch_size=4, learning_rate=0.01)
    )
    assert len(log["loss"]) == log["updates"] == 40 and log["loss"][-1] < share * log["loss"][0]
    assert (
        still[1] == pytest.approx(still[0], rel=1e-4) == log["loss"][0] and not model.training
    )  # training mode as it came


# ---------------------------------------------------------------- learning rate, errors
@pytest.mark.parametrize(
    "schedule, expected",
    [
        ("constant", [0.5, 1, 1, 1, 1, 1, 1, 1]),
        ("linear", [0.5, 1, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]),
        ("cosine", [0.5, 1, *(0.5 + 0.5 * math.cos(math.pi * i / 6) for i in range(6))]),
    ],
)
def test_learning_rates(bloom, tokenizer, corpus, monkeypatch, schedule, expected):
    config, used, step = (
        quick(updates=8, warmup=0.25, schedule=schedule),
        [],
        torch.optim.AdamW.step,
    )
    assert [learning_rate_factor(i, config) for i in range(8)] == pytest.approx(expected)
    monkeypatch.setattr(
        torch.optim.AdamW,
        "step",
        lambda self, *a, **k: (used.append(self.param_groups[0]["lr"]), step(self, *a, **k))[1],
    )
    finetune(learned(bloom), tokenizer, corpus, PAIRS, config)
    assert used == pytest.approx([0.01 * factor for factor in expected])


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_run_that_diverges_stops_and_keeps_its_checkpoint(
    bloom, tokenizer, corpus, tmp_path, where
):
    """At update 3, the first of the second round, after the checkpoint of update 2 and before that
    of update 4."""
    model, calls = learned(bloom), {"n": 0}
    real = model.forward

    def forward(*args, **kwargs):
        calls["n"] += 1
        output = real(*args, **kwargs)
        if calls["n"] == 4:
            logits = output.logits  # sqrt has no finite gradient at 0
            output.logits = (
                logits * float("nan")
                if where == "loss"
                else logits + 0 * (logits - logits.detach()).sqrt()
            )
        return output

    model.forward = forward
    with pytest.raises(
        FloatingPointError, match=rf"{where}.* at update 3 \(en-de\).*learning_rate.*checkpoint-2"
    ):
        finetune(
            model, tokenizer, corpus, PAIRS, quick(updates=6, save_every=2), output_dir=tmp_path
        )
    saved = load_file(tmp_path / "checkpoint-2" / "parameters.safetensors")
    assert json.loads((tmp_path / "checkpoint-2" / "state.json").read_text())["update"] == 2
    assert saved and all(p.isfinite().all() for p in [*saved.values(), *model.parameters()])
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint-2"} and not model.training


def test_errors_come_before_any_work(bloom, tokenizer, corpus, monkeypatch):
    batches, lander = record(monkeypatch), learned(bloom)
    with pytest.raises(ValueError, match="en-fr: the corpus has no 'fr'"):
        finetune(lander, tokenizer, corpus, ["en-de", "en-fr"], quick())
    plus = Dataset.from_list(
        [{"translation": {**row, "fr": "oui"}} for row in corpus["translation"]]
    )
    with pytest.raises(ValueError, match="no neuron sets for fr"):
        finetune(lander, tokenizer, plus, ["en-de", "en-fr"], quick())
    with pytest.raises(ValueError, match="no parameter has requires_grad=True"):
        finetune(lander.unload().requires_grad_(False), tokenizer, corpus, PAIRS, quick())
    assert batches == []
