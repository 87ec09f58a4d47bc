"""A study on a toy configuration: result files, resuming, refusing, a run that diverges, every
kind."""

import json
import lzma
import math
import re
from dataclasses import replace

import pandas
import pytest
import torch
from lander_helpers import quick

from lander_lite.awareness import score_awareness
from lander_lite.blocks import decoder_blocks
from lander_lite.config import LanderConfig, data_dir
from lander_lite.layers import detect_layers
from lander_lite.neurons import categorize
from lander_lite.reproduction import kinds
from lander_lite.reproduction.baselines import (
    count_trainable,
    drawn_layers,
    in_float32,
    random_layers,
)
from lander_lite.reproduction.block import Units
from lander_lite.reproduction.kinds import BEYOND, GRID, KINDS, TRIALS, half_decades
from lander_lite.reproduction.lab import Lab, corpus_hash
from lander_lite.reproduction.methods import BLOCK, EQUAL_SIZE, METHODS, TRANSFER, TUNED, scattered
from lander_lite.reproduction.results import (
    by_setting,
    fold,
    load_hypotheses,
    load_results,
    stored_runs,
    summary,
)
from lander_lite.reproduction.runs import run
from lander_lite.reproduction.specs import Grid, grid_specs, grids_of, specs_of
from lander_lite.reproduction.study import choose, missing, plan, study
from lander_lite.training.loop import finetune

MODULE, LAB, STUDY = run.__globals__, Lab.translations.__globals__, study.__globals__


@pytest.fixture
def config(bloom, tokenizer, corpus, tmp_path):
    """Six sentences, four directions, one selected layer, three updates."""
    bloom.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    (tmp_path / "corpus.jsonl").write_text(
        "".join(json.dumps({"translation": row}) + "\n" for row in corpus["translation"])
    )
    facts = [{"lang": lang, "prompt": "The cat", "answer": "dog"} for lang in ("en", "de")]
    (tmp_path / "facts.jsonl").write_text("".join(json.dumps(fact) + "\n" for fact in facts))
    config, path = LanderConfig(profile="tiny-bloom"), str(tmp_path / "corpus.jsonl")
    for key, value in {
        "model.name_or_path": str(tmp_path / "model"),
        "corpus.train": path,
        "corpus.valid": path,
        "corpus.test": path,
        "corpus.languages": ["en", "de", "zh"],
        "corpus.pairs": ["en-de", "zh-en", "en-zh", "de-en"],
        "layers.k": 1,
    }.items():
        config.set(key, value)
    config.model.architecture = {"num_hidden_layers": 4}
    config.finetune = quick(updates=4)
    return config


@pytest.fixture(autouse=True)
def short_outputs(monkeypatch):
    """Two tokens a sentence: a random model never stops by itself."""
    real = LAB["evaluate"]
    monkeypatch.setitem(
        LAB,
        "evaluate",
        lambda *a, **k: real(*a, **{**k, "max_new_tokens": 2, "bootstrap": min(k["bootstrap"], 5)}),
    )


def trainings(monkeypatch):
    """The settings of each training, as finetune gets them."""
    calls, real = [], MODULE["finetune"]

    def caught(model, tokenizer, corpus, pairs, settings, **keys):
        calls.append((settings.seed, settings.learning_rate, settings.updates, *pairs))
        return real(model, tokenizer, corpus, pairs, settings, **keys)

    monkeypatch.setitem(MODULE, "finetune", caught)
    return calls


def go(config, out, methods, **keys):
    return study(
        config,
        methods,
        **{"seeds": 1, "grid": [0.001, 0.01], "valid_sentences": 2, "output_dir": out, **keys},
    )


@pytest.mark.parametrize(
    "keys, message",
    [
        (
            {"methods": ["full", "lander"]},
            "unknown method 'lander'.*; methods: zero-shot, .*lander-learned",
        ),
        ({"kinds": ["man"]}, "unknown kind 'man'.*main.*; kinds: main, forgetting, sequence"),
        ({"seeds": 0}, "seeds = 0"),
        (
            {"kinds": ["k"], "methods": ["magnitude"]},
            "magnitude .*is not of the kind 'k'; try lander-corrected",
        ),
        ({"methods": ["sparse"]}, "sparse .*is not of the kind 'main'; try zero-shot"),
    ],
)
def test_unknown_names_are_refused_before_anything_is_loaded(keys, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        study(LanderConfig(), **keys, output_dir=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_model_is_loaded_as_configured(config, tmp_path, monkeypatch):
    config.set("model.dtype", "bfloat16")
    assert Lab(config, tmp_path / "out").base.dtype == torch.bfloat16


def test_results_are_written_and_a_stopped_study_goes_on(config, tmp_path, monkeypatch):
    out, calls, pairs = tmp_path / "out", trainings(monkeypatch), tuple(config.corpus.pairs)
    results = go(config, out, ["zero-shot", "lander-none"], seeds=2)
    names = ["lander-none-seed0", "lander-none-seed1", "zero-shot-seed0"]
    assert (
        sorted(path.stem for path in (out / "main").glob("*.json")) == names and len(results) == 3
    )
    assert load_results(out) == [results[1], results[2], results[0]]
    best = results[1]["learning_rate"]
    assert calls == [
        (0, 0.001, 4, *pairs),
        (0, 0.01, 4, *pairs),
        (0, best, 4, *pairs),
        (1, best, 4, *pairs),
    ]  # one grid for all seeds
    assert results[1]["grid"] == results[2]["grid"] and set(results[1]["grid"]) == {"0.001", "0.01"}
    assert results[1]["grid"][str(best)] == max(results[1]["grid"].values())
    for result in results:
        assert set(result["pairs"]) == set(pairs) and all(
            pair["n"] == 6 for pair in result["pairs"].values()
        )
        assert result["mean"]["bleu"] == pytest.approx(
            sum(pair["bleu"] for pair in result["pairs"].values()) / 4
        )
        assert result["base_model"]["d_ff"] == 128 and "diverged" not in result
        assert set(result["perplexity"]) == {"en", "de", "zh"} and set(result["facts"]) == {
            "en",
            "de",
        }
        assert load_hypotheses(out, result["method"], result["seed"]).keys() == set(pairs)
    assert (
        results[1]["trainable"] > 0 == results[0]["updates"]
        and results[1]["updates"] == 4
        and results[0]["learning_rate"] is None
    )
    assert results[1]["loss"] != results[2]["loss"]  # another seed, another order of the data
    assert results[1]["perplexity"] != results[0]["perplexity"]
    assert not (out / "unfinished").exists() or not list((out / "unfinished").rglob("state.json"))

    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("*.*")}
    calls.clear()
    assert go(config, out, ["zero-shot", "lander-none"], seeds=2) == results
    assert calls == [] and {path: path.stat().st_mtime_ns for path in out.rglob("*.*")} == stamps
    (out / "main" / "lander-none-seed1.json").unlink()  # stopped before the second seed was done
    again = go(config, out, ["zero-shot", "lander-none"], seeds=2)
    assert (
        calls == [(1, best, 4, *pairs)]
        and again[2]["loss"] == results[2]["loss"]
        and again[2]["pairs"] == results[2]["pairs"]
    )


def test_an_unfinished_run_resumes_from_its_checkpoint(config, tmp_path, monkeypatch):
    config.finetune = quick(updates=4, save_every=2)
    whole = go(config, tmp_path / "whole", ["full"], grid=[0.01])
    real = torch.optim.AdamW.step
    steps = []

    def killed(self, *a, **k):
        steps.append(1)
        if len(steps) == 4 + 3:  # the grid's four updates, then in the third of the run
            raise KeyboardInterrupt
        return real(self, *a, **k)

    monkeypatch.setattr(torch.optim.AdamW, "step", killed)
    with pytest.raises(KeyboardInterrupt):
        go(config, tmp_path / "cut", ["full"], grid=[0.01])
    monkeypatch.setattr(
        torch.optim.AdamW, "step", lambda self, *a, **k: steps.append(1) or real(self, *a, **k)
    )
    steps.clear()
    again = go(config, tmp_path / "cut", ["full"], grid=[0.01])
    assert len(steps) == 2  # updates 3 and 4; the grid's file was kept
    assert again[0]["loss"] == whole[0]["loss"] and again[0]["pairs"] == whole[0]["pairs"]


@pytest.mark.parametrize(
    "key, value",
    [("base_model", {"d_ff": 1}), ("corpus", "0" * 16), ("neuron_sets", "0"), ("updates", 7)],
)
def test_a_result_of_another_version_is_refused_with_the_command_that_remakes_it(
    key, value, config, tmp_path
):
    go(config, tmp_path, ["full"], grid=[0.01])
    path = tmp_path / "main" / "full-seed0.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    message = (
        f"full-seed0.json was made with another {key}.*lander-lite study --profile "
        f"tiny-bloom --kinds main"
    )
    with pytest.raises(ValueError, match=message):
        go(config, tmp_path, ["full"], grid=[0.01])


@pytest.mark.parametrize(
    "key, value",
    [
        ("finetune.batch_size", 3),
        ("finetune.weight_decay", 0.5),
        ("finetune.schedule", "linear"),
        ("corpus.template", "{source} ="),
        ("model.dtype", "bfloat16"),
    ],
)
def test_a_result_of_other_settings_is_refused_with_both_values(key, value, config, tmp_path):
    before = go(config, tmp_path, ["full"], grid=[0.01])
    config.set("finetune.save_every", 7)  # changes nothing
    assert go(config, tmp_path, ["full"], grid=[0.01]) == before
    config.set(key, value)
    key = key.replace("corpus.", "prompt.")
    with pytest.raises(
        ValueError, match=rf"full.* another {key} \(.*, now {re.escape(str(value))}"
    ):
        go(config, tmp_path, ["full"], grid=[0.01])


def test_a_result_of_other_directions_is_refused(config, tmp_path):
    go(config, tmp_path, ["full"], grid=[0.01])
    config.set("corpus.pairs", config.corpus.pairs[:1])
    with pytest.raises(ValueError, match="full.* was made with another train_pairs"):
        go(config, tmp_path, ["full"], grid=[0.01])


def test_scores_of_another_corpus_are_refused(config, tmp_path):
    lab = Lab(config, tmp_path / "out")
    rows = [json.loads(line) for line in open(config.corpus.train)]
    rows[0]["translation"]["en"] = "Another sentence."
    (tmp_path / "other.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config.set("corpus.test", str(tmp_path / "other.jsonl"))
    with pytest.raises(ValueError, match="layers.json was made with another corpus"):
        Lab(config, tmp_path / "out")
    assert (
        lab.corpus
        == corpus_hash(lab.train, lab.valid, lab.test)
        != Lab(config, tmp_path / "new").corpus
    )


def test_the_labs_sets_are_those_of_the_pipeline(config, tmp_path):
    """Scoring all layers and choosing afterwards gives what detect → score → categorize gives."""
    lab = Lab(config, tmp_path)
    c, pairs = config, config.corpus.pairs
    layers = detect_layers(lab.base, lab.tokenizer, lab.train, pairs, 1, progress=False)
    scores = score_awareness(
        lab.base, lab.tokenizer, lab.train, c.corpus.languages, layers, progress=False
    )
    assert (
        lab.sets().hash() == categorize(scores, c.categories.epsilon, c.categories.normalize).hash()
    )
    assert lab.sets(k=4).layers == [0, 1, 2, 3] and len(lab.sets(k=2, where="random").layers) == 2
    assert {tuple(lab.sets(k=2, where="random", seed=seed).layers) for seed in range(20)} > {
        tuple(lab.sets(k=2).layers)
    }


def test_the_same_seed_draws_the_same_layers_everywhere(config, tmp_path):
    lab = Lab(config, tmp_path)
    for seed in range(5):
        drawn = drawn_layers(4, 2, seed)
        assert lab.choose_layers(2, "random", seed) == drawn
        assert lab.sets(k=2, where="random", seed=seed).layers == drawn
        tuned = random_layers(lab.fresh(), 2, seed)
        blocks = decoder_blocks(tuned)
        assert [any(p.requires_grad for p in b.parameters()) for b in blocks] == [
            layer in drawn for layer in range(4)
        ]


def test_a_run_that_diverges_is_marked_and_the_study_goes_on(config, tmp_path, monkeypatch):
    real = MODULE["finetune"]

    def failing(model, tokenizer, corpus, pairs, settings, **keys):
        if settings.learning_rate > 0.1:
            raise FloatingPointError("the loss is nan at update 1")
        return real(model, tokenizer, corpus, pairs, settings, **keys)

    monkeypatch.setitem(MODULE, "finetune", failing)
    wild, tame = (
        go(config, tmp_path / name, ["general-only", "zero-shot"], grid=grid)
        for name, grid in (("wild", [0.5]), ("tame", [0.01]))
    )
    assert wild[0]["diverged"] == "the loss is nan at update 1" and wild[1]["method"] == "zero-shot"
    assert "diverged" not in tame[0] and "diverged" not in wild[1]
    assert json.loads((tmp_path / "wild" / "main" / "general-only-seed0.json").read_text())[
        "diverged"
    ]
    assert list(summary(wild)) == ["zero-shot"] and list(summary(tame)) == [
        "zero-shot",
        "general-only",
    ]


def trials_of(one, scores, config, **more):
    """{trial: result} that a study would find: BLEU on valid by rate."""
    return {
        spec: {
            "kind": one.kind,
            "settings": dict(spec.settings),
            "mean": {"bleu": bleu},
            "pairs": {pair: {"bleu": bleu} for pair in config.corpus.pairs},
            **more,
        }
        for rate, bleu in scores.items()
        for spec in one.trials([rate], config)
    }


def test_rates_lie_half_a_decade_apart_on_a_ladder_that_goes_on():
    assert [half_decades(x, 1) for x in GRID] == [*GRID[1:], 0.1]
    assert [half_decades(x, -1) for x in GRID] == [1e-4, *GRID[:-1]]
    assert half_decades(9e-2, 1, 3.0) == 0.3 and half_decades(9e-4, -1, 3.0) == 3e-4


@pytest.mark.parametrize(
    "best, rate, at_end",
    [(3e-3, 3e-3, False), (3e-2, 3e-2, False), (1e-4, 1e-4, False), (10.0, 1.0, True)],
)
def test_a_grid_goes_on_where_its_best_rate_lies_at_an_end(best, rate, at_end, config):
    """Each rate more is asked for when the rates before are known, and three at most."""
    one, known = Grid("grid", "full"), {}
    wanted, tried = STUDY["_wanted"], []
    while waiting := [x for x in wanted([one], known, GRID, config) if x not in known]:
        tried.append([spec.rate for spec in waiting])
        scores = {x.rate: -abs(math.log(x.rate / best)) for x in waiting}
        known |= trials_of(one, scores, config)
    chosen = choose([one], known, GRID, config)[one]
    assert (chosen["rate"], chosen["at_end"]) == (rate, at_end)
    assert tried[0] == [*GRID] and all(len(more) == 1 for more in tried[1:]) and len(tried) <= 4
    assert [*chosen["grid"]] == [str(x) for x in sorted(sum(tried, []))]


def test_a_study_goes_on_beyond_its_grid_and_says_so(config, tmp_path, monkeypatch):
    rates, real = [None], LAB["evaluate"]

    def trained(model, tokenizer, corpus, pairs, settings, **keys):
        rates.append(settings.learning_rate)
        return {"loss": [1.0]}

    def scored(*args, **keys):
        scores = real(*args, **keys)
        scores["mean"]["bleu"] = 10 * (rates[-1] if rates[-1] < 0.2 else 0.0)
        return scores

    monkeypatch.setitem(MODULE, "finetune", trained)
    monkeypatch.setitem(LAB, "evaluate", scored)
    keys = {"grid": GRID[2:], "kinds": ["epsilon"]}
    results = go(config, tmp_path, ["general-only"], **keys)
    assert rates[1:] == [3e-3, 1e-2, 3e-2, 0.1, 0.3, *[0.1] * 5]
    assert [*results[0]["grid"]] == ["0.003", "0.01", "0.03", "0.1", "0.3"]
    assert not any(result["rate_at_end"] for result in results)
    asked = config, ["general-only"], ["epsilon"], tmp_path, 1, GRID[2:]
    assert missing(*asked) == []
    (tmp_path / "grid" / "general-only-0.3-seed0.json").unlink()
    assert missing(*asked) == ["grid/general-only-0.3-seed0.json"]


def test_a_kind_chooses_by_what_it_trains_for(config):
    plain, matrix = Grid("grid-sparse", "full"), Grid("grid-matrix", "full")
    found = trials_of(plain, {0.001: 20.0}, config, perplexity={"af": 20.0})
    found |= trials_of(plain, {0.01: 5.0}, config, perplexity={"af": 18.0})
    assert choose([plain], found, (0.001, 0.01), config)[plain]["rate"] == 0.001
    pairs = [spec.settings for spec in matrix.trials([0.001], config)]
    assert pairs == [(("pair", "en-de"),), (("pair", "zh-en"),)]
    found = trials_of(matrix, {0.001: 1.0, 0.01: 1.0}, config)
    for spec, trial in found.items():  # its own direction counts alone
        own, rate = dict(spec.settings)["pair"], spec.rate
        trial["pairs"][own]["bleu"] = {0.001: 3.0, 0.01: 2.0}[rate]
        trial["mean"]["bleu"] = 100 * rate
    score = choose([matrix], found, (0.001, 0.01), config)[matrix]
    assert score["rate"] == 0.001 and score["grid"] == {"0.001": 3.0, "0.01": 2.0}
    aims = {
        kind: (definition.grid, [len(x) for x in definition.stages(config, {"pair": "en-de"})])
        for kind, definition in KINDS.items()
    }
    assert aims["sequence"] == ("grid-sequence", [1, 1]) and aims["k"][0] == "grid"
    for kind, (grid, stages) in aims.items():  # trials are trained as the runs are
        trial = TRIALS[grid]
        assert kind == "forgetting" or stages == [
            len(x) for x in trial.stages(config, {"pair": "en-de"})
        ]


def test_budgets_have_rates_of_their_own_and_languages_are_the_kinds(config):
    specs = specs_of(["equal-size"], ["specific-only"], 2, config)
    assert len(grids_of(specs)) == 2 and len({spec.path for spec in specs}) == 4
    trials = grid_specs(grids_of(specs), config, [0.1])
    assert {dict(spec.settings)["epsilon"] for spec in trials} == {0.97, 0.9}
    assert {spec.grid for spec in trials} == {spec.grid for spec in specs}
    (low,) = grids_of(specs_of(["low-resource"], ["full"], 2, config))
    (trial,) = low.trials([0.1], config)
    assert "af" in dict(trial.settings)["languages"] and low.settings == ()


def test_the_plan_says_hours_by_kind_and_leaves_out_what_is_done(config, tmp_path):
    specs = specs_of(["main", "epsilon"], ["lander-none"], 2, config)
    lines = plan(specs, config, tmp_path).splitlines()
    assert [line.split()[:4] for line in lines[:2]] == [
        ["main", "5", "trials", "2"],
        ["epsilon", "0", "trials", "10"],
    ]  # they share the trials
    (tmp_path / "main").mkdir()
    content = {"method": "x", "profile": "p", "corpus": "c", "seed": 0, "settings": {}}
    content |= {"mean": {"bleu": 1.0, "chrf": 1.0}, "pairs": {}, "base_model": {}}
    (tmp_path / specs[0].path).write_text(json.dumps(content))
    assert plan(specs, config, tmp_path).splitlines()[0].split()[3] == "1"


def test_a_diverged_rate_is_not_chosen(config, tmp_path, monkeypatch):
    """Even where its untrained weights happen to score best on valid."""
    calls, real = [], LAB["evaluate"]

    def failing(model, tokenizer, corpus, pairs, settings, **keys):
        calls.append(settings.learning_rate)
        if settings.learning_rate > 0.1:
            raise FloatingPointError("the loss is nan")
        return {"loss": [1.0]}

    def scored(*args, **keys):
        scores = real(*args, **keys)
        scores["mean"]["bleu"] = 99.0 if calls and calls[-1] > 0.1 else 1.0
        return scores

    monkeypatch.setitem(MODULE, "finetune", failing)
    monkeypatch.setitem(LAB, "evaluate", scored)
    result = go(config, tmp_path / "out", ["full"], grid=[0.5, 0.01])[0]
    assert result["learning_rate"] == 0.01 and "diverged" not in result


def test_every_method_is_ready_for_training(config, tmp_path):
    lab = Lab(config, tmp_path)
    sets, base = lab.sets(), sum(p.numel() for p in lab.base.parameters())
    at_equal_size = [method.name for method in TRANSFER]
    counts = {
        name: count_trainable(METHODS[name].build(lab.fresh(), lab, sets, 0))
        for name in (*TUNED, *BLOCK, *EQUAL_SIZE, *at_equal_size)
    }
    assert counts["random-anywhere"] == counts["lander-none"]
    assert counts["random-specific"] == counts["specific-only"]
    assert counts["lape"] == counts["lander-none"]
    assert {counts[name] for name in EQUAL_SIZE} == {counts["specific-only"]}
    assert counts["full"] == counts["full-kl"] == base > counts["layers-block"] > counts["layers"]
    assert counts["layers"] == counts["random-layers"] == counts["random-layers-above"]
    assert (
        counts["layers"]
        > counts["lander-none"]
        == counts["random"]
        == counts["general-only"] + counts["specific-only"]
        > counts["ia3"]
    )
    assert counts["lander-learned"] == counts["lander-none"] + 33
    assert counts["adapter"] == pytest.approx(counts["layers"], rel=0.05)  # equal budgets
    others = {
        name for name, method in METHODS.items() if method.plain_text or method.prune
    }  # test_neighbours.py
    assert all(method.about for method in METHODS.values()) and not set(METHODS) - set(
        counts
    ) - others - {"zero-shot", "five-shot", "four-shot"}


def test_a_whole_block_trains_the_pairs_neurons_of_its_attention_and_leaves_the_rest(
    config, tmp_path
):
    lab = Lab(config, tmp_path)
    sets = lab.sets()
    lander = METHODS["lander-block"].build(lab.fresh(), lab, sets, 0)
    norms = METHODS["lander-block-norms"].build(lab.fresh(), lab, sets, 0)
    without = count_trainable(METHODS["lander-corrected"].build(lab.fresh(), lab, sets, 0))
    block = decoder_blocks(lab.base)[sets.layers[0]]
    attention = sum(p.numel() for p in block.self_attention.parameters())
    assert count_trainable(lander) == without + attention
    counted = sum(p.numel() for p in block.parameters())  # what the paper's Table 1 counts
    assert count_trainable(norms) == counted - block.mlp.dense_4h_to_h.bias.numel()
    (units,) = {
        module
        for name, module in lander.named_modules()
        if name.endswith("query_key_value") and isinstance(module, Units)
    }
    assert sorted(torch.cat([*units.rows.values()]).tolist()) == list(range(3 * 32))
    before = {name: p.detach().clone() for name, p in lander.named_parameters()}
    settings = replace(config.finetune, learning_rate=0.1, weight_decay=0.5)
    finetune(lander, lab.tokenizer, lab.train, ["en-de", "zh-en"], settings)
    moved = {name for name, p in lander.named_parameters() if not torch.equal(p, before[name])}
    assert all(any(x in name for name in moved) for x in (":general", ":de", ":zh", ":en"))
    assert all("lander_" in name or ".tuned." in name for name in moved)
    still = trained_units(lander)
    finetune(lander, lab.tokenizer, lab.train, ["en-de"], settings)
    after = trained_units(lander)  # Chinese neurons are left alone, by the optimiser too
    chinese = (
        p.numel() for name, p in lander.named_parameters() if ":zh" in name or ".zh:" in name
    )
    assert count_trainable(lander, ["en-de"]) == count_trainable(lander) - sum(chinese)
    assert count_trainable(lander, ["en-de", "zh-en"]) == count_trainable(lander)
    assert {name for name in after if not torch.equal(after[name], still[name])} == {
        name for name in after if not name.endswith(":zh")
    }


def trained_units(model):
    """{name: values} of the units' trained rows."""
    named = model.named_parameters()
    return {name: p.detach().clone() for name, p in named if ".tuned." in name}


def test_every_kind_runs(config, tmp_path, monkeypatch):
    monkeypatch.setattr(kinds, "LOW_RESOURCE", "de")  # the toy corpus has no Afrikaans
    monkeypatch.setattr(kinds, "GRID", (0.001, 0.003, 0.01))
    monkeypatch.setattr(kinds, "BUDGETS", (0.1, 0.3))
    assert all(kind.methods for kind in KINDS.values())
    for kind in (
        kinds_here := [kind for kind in KINDS if kind not in ("sparse", "prune")]
    ):  # those: test_neighbours.py
        method = "specific-only" if kind == "equal-size" else "lander-corrected"
        results = go(config, tmp_path, [method], kinds=[kind], grid=[0.01])
        assert results and all(r["kind"] == kind and r["loss"] and r["trainable"] for r in results)
        assert len({json.dumps(r["settings"]) + str(r["learning_rate"]) for r in results}) == len(
            results
        )
    by = {kind: load_results(tmp_path, kind) for kind in kinds_here}
    assert {
        tuple(r["layers"]) for r in by["k"] if r["settings"] == {"k": 4, "where": "selected"}
    } == {(0, 1, 2, 3)}
    assert (
        len({r["neuron_sets"] for r in by["epsilon"]}) == 5
        and len({r["neuron_sets"] for r in by["normalize"]}) == 3
    )
    assert [r["train_pairs"] for r in by["matrix"]] == [
        [[r["settings"]["pair"]]] for r in by["matrix"]
    ] and len(by["matrix"]) == 4
    rates = {r["settings"].get("step", 0): r["learning_rate"] for r in by["forgetting"]}
    assert rates == {-1: 0.003, 0: 0.01, 1: 0.03}
    assert [p["update"] for p in by["forgetting"][0]["curve"]] == [1] and by["forgetting"][0][
        "train_pairs"
    ] == [["en-de", "zh-en"]]
    assert [p["update"] for p in by["sequence"][0]["curve"]] == [2, 4] and by["sequence"][0][
        "train_pairs"
    ] == [["en-de"], ["en-zh"]]
    assert set(by["sequence"][0]["curve"][0]) == {"update", "bleu", "perplexity", "facts"}
    with pytest.raises(ValueError, match="another corpus.*lander-lite study"):
        load_results(tmp_path, "k", corpus="0" * 16)


def test_a_model_in_half_precision_trains_in_float32_and_is_measured_as_the_base_is(
    config, tmp_path
):
    config.set("model.dtype", "bfloat16")
    config.set("finetune.mixed_precision", "bf16")
    (tmp_path / "other_domain.jsonl").write_text((tmp_path / "corpus.jsonl").read_text())
    (tmp_path / "facts.jsonl").unlink()
    methods = ["zero-shot", "full", "layers", "lander-none", "lora"]
    results = go(config, tmp_path, methods, kinds=["transfer"])
    assert [r["train_pairs"] for r in results] == [[["en-de", "de-en"]]] * 5
    assert all(list(r["pairs"]) == ["en-de", "de-en", "zh-en", "en-zh"] for r in results)
    for r in results:  # the same sentences, and the same precision
        assert r["other_domain"]["en-de"]["chrf"] == pytest.approx(r["pairs"]["en-de"]["chrf"])
        assert set(r["perplexity"]) == {"en", "de", "zh"} and r["facts"] == {}
    tried = {name: {float(x) for x in r["grid"]} for name, r in zip(methods, results)}
    assert tried["full"] >= {9e-6, 3e-5, 9e-5} and tried["layers"] >= {3e-5, 1e-4, 3e-4}
    lab = Lab(config, tmp_path)
    for name in ("full", "layers"):
        model = in_float32(METHODS[name].build(lab.fresh(), lab, lab.sets(), 0))
        assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}


def test_random_neurons_anywhere_are_as_many_and_disjoint_where_the_sets_were(config, tmp_path):
    sets = Lab(config, tmp_path).sets()
    first, again, other = (scattered(sets, 4, seed) for seed in (0, 0, 1))
    assert first.hash() == again.hash() != other.hash() and first.layers == [0, 1, 2, 3]

    def sizes(of):
        counts = of.counts()
        nested = (counts["general"], *counts["specific"].values())
        return [sum(layers.values()) for layers in nested]

    assert sizes(first) == sizes(other) == sizes(sets)
    assert sum(len(x) > 0 for x in first.general.values()) > 1


def test_a_limit_of_hours_stops_between_runs_and_the_same_call_goes_on(config, tmp_path, capsys):
    assert go(config, tmp_path, ["full"], hours=1e-9) == []
    assert (
        "limit of hours, with 1 runs to do" in capsys.readouterr().out
        and len(list((tmp_path / "grid").glob("*.json"))) == 1
    )
    assert len(go(config, tmp_path, ["full", "zero-shot"], hours=1)) == 2


def test_shards_share_a_study_and_all_of_it_is_there_after_two_passes(
    config, tmp_path, capsys, monkeypatch
):
    methods, out, calls = (
        ["zero-shot", "full", "layers"],
        tmp_path / "shared",
        trainings(monkeypatch),
    )
    one_pass = {"seeds": 2}
    for part in (1, 2):
        go(config, out, methods, shard=(part, 2), **one_pass)
    assert "4 runs wait for learning rates that other shards try" in capsys.readouterr().out
    left = missing(config, methods, ["main"], out, 2, [0.001, 0.01])
    assert left and all(path.startswith("main/") for path in left)  # all trials are there
    for part in (1, 2):
        go(config, out, methods, shard=(part, 2), **one_pass)
    assert missing(config, methods, ["main"], out, 2, [0.001, 0.01]) == []
    assert len(calls) == 4 + 4  # no run twice
    together = go(config, out, methods, **one_pass)
    alone = go(config, tmp_path / "alone", methods, **one_pass)
    assert len(calls) == 4 + 4 + 8 and not list(out.glob("shard*"))
    for a, b in zip(together, alone, strict=True):
        assert (a["method"], a["seed"], a["loss"]) == (b["method"], b["seed"], b["loss"])


def test_folded_into_tables_a_study_is_the_same_and_goes_on(config, tmp_path, monkeypatch):
    calls, methods = trainings(monkeypatch), ["zero-shot", "full"]
    before = go(config, tmp_path, methods)
    outputs = {run["method"]: load_hypotheses(tmp_path, run["method"]) for run in before}
    tables = fold(tmp_path)
    assert [path.name for path in tables] == ["main.jsonl", "grid.jsonl"]
    assert not (tmp_path / "main").exists()
    rows = pandas.read_json(tables[0], lines=True)
    assert rows["name"].tolist() == ["full-seed0", "zero-shot-seed0"]
    assert len(calls) == 3 and go(config, tmp_path, methods) == before and len(calls) == 3
    for method, translated in outputs.items():
        assert load_hypotheses(tmp_path, method) == translated
    assert fold(tmp_path) == []  # nothing is loose
    after = go(config, tmp_path, methods, seeds=2)
    assert after[:2] == before and len(calls) == 4
    assert fold(tmp_path) == tables[:1] and len(load_results(tmp_path)) == 3
    assert (
        load_hypotheses(tmp_path, "full", 1)
        and load_hypotheses(tmp_path, "full") == outputs["full"]
    )
    with pytest.raises(FileNotFoundError, match="no translations of full-seed7"):
        load_hypotheses(tmp_path, "full", 7)
    text = tables[0].read_text().replace('"corpus": "', '"corpus": "0', 1)
    tables[0].write_text(text)
    with pytest.raises(ValueError, match="full-seed0 in .*main.jsonl"):
        load_results(tmp_path, corpus=before[0]["corpus"])
    tables[0].write_text(text.replace('"mean": {"bleu"', '"mean": {"blue"', 1))
    with pytest.raises(ValueError, match="seed0 in .*main.jsonl is damaged.*bleu"):
        load_results(tmp_path)


def test_jobs_side_by_side_give_the_same_results(config, tmp_path, monkeypatch):
    one = go(
        config, tmp_path / "one", ["lander-none"], grid=[0.01], test_sentences=1, kinds=["epsilon"]
    )
    monkeypatch.undo()  # the patches do not reach other processes
    two = go(
        config,
        tmp_path / "two",
        ["lander-none"],
        grid=[0.01],
        test_sentences=1,
        kinds=["epsilon"],
        jobs=2,
    )
    for a, b in zip(one, two, strict=True):
        assert (a["settings"], a["neuron_sets"]) == (b["settings"], b["neuron_sets"])
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)


def test_grids_have_the_same_size_and_kinds_the_default_methods():
    config = LanderConfig.from_profile("tiny-bloom")
    sizes = {
        method: sum(
            spec.method == method
            for spec in grid_specs([Grid("grid", name) for name in TUNED], config)
        )
        for method in TUNED
    }
    assert set(sizes.values()) == {len(GRID)} == {5}
    main = specs_of(["main"], None, 3, config)
    tuned = len(TUNED) + len(BLOCK)
    assert len(main) == 3 * tuned + 2 and len({spec.path for spec in main}) == len(main)
    few = len(KINDS["main"].beside)  # methods on which no claim hangs
    assert len(specs_of(["main"], None, None, config)) == 8 * (tuned - few) + 3 * few + 2
    assert len(specs_of(["k"], None, 1, config)) == 15
    assert len(specs_of(["matrix"], None, 1, config)) == 31


@pytest.mark.parametrize("profile", ["tiny-bloom", "tiny-llama"])
def test_the_stored_results_are_runs_of_todays_specs(profile):
    """A file of another name would be made again."""
    config = LanderConfig.from_profile(profile)
    specs = specs_of(["all"], None, None, config)
    grids = grids_of(specs)
    trials = grid_specs(grids, config)
    for grid in grids:  # where the best rate was at an end, there are trials beyond it
        rates, scale = grid.rates(GRID), METHODS[grid.method].scale
        steps = range(-BEYOND, BEYOND + 1)
        beyond = {half_decades(rate, n, scale) for rate in rates for n in steps}
        trials += grid.trials(beyond, config)
    paths = {spec.path for spec in (*specs, *trials)}
    folder = data_dir() / "results" / profile
    kinds = {path.split("/")[0] for path in paths}
    stored = {f"{kind}/{name}.json" for kind in kinds for name in stored_runs(folder, kind)}
    assert stored and stored <= paths


def test_hypotheses_give_the_stored_score_again(config, tmp_path):
    from sacrebleu.metrics import BLEU

    (result,) = go(config, tmp_path, ["zero-shot"])
    stored = json.loads(
        lzma.decompress((tmp_path / "main" / "zero-shot-seed0.hypotheses.xz").read_bytes())
    )
    lab = Lab(config, tmp_path)
    references = [row["de"] for row in lab.test["translation"]]
    assert (
        BLEU().corpus_score(stored["en-de"], [references]).score == result["pairs"]["en-de"]["bleu"]
    )


def test_summary_is_mean_and_standard_deviation():
    runs = [
        {
            "method": "full",
            "mean": {"bleu": bleu, "chrf": 2 * bleu},
            "learning_rate": 0.1,
            "trainable": 7,
        }
        for bleu in (10.0, 14.0)
    ]
    lost = {
        "method": "full",
        "mean": {"bleu": 0.0, "chrf": 0.0},
        "learning_rate": 0.1,
        "diverged": "nan",
    }
    row = summary(
        [
            *runs,
            lost,
            {"method": "zero-shot", "mean": {"bleu": 3.0, "chrf": 4.0}, "learning_rate": None},
        ]
    )
    assert (row["full"]["bleu"], row["full"]["sd"], row["full"]["chrf"]) == (
        12.0,
        pytest.approx(8**0.5),
        24.0,
    )
    assert (row["full"]["seeds"], row["full"]["diverged"], row["full"]["trainable"]) == (2, 1, 7)
    assert row["full"]["interval"] == pytest.approx([12 - 12.706 * 2, 12 + 12.706 * 2], rel=1e-3)
    assert (
        row["zero-shot"]["sd"] is None
        and row["zero-shot"]["trainable"] == 0
        and list(row) == ["zero-shot", "full"]
    )


def test_a_sweep_is_grouped_by_its_settings():
    runs = [
        {
            "method": "full",
            "settings": {"k": k, "where": where},
            "mean": {"bleu": k + seed},
            "learning_rate": 0.1,
        }
        for k in (2, 1)
        for where in ("selected", "random")
        for seed in (0.0, 2.0)
    ]
    runs[0]["diverged"] = "nan"
    table = by_setting(runs, "k", "where")
    assert list(table) == [(1, "random"), (1, "selected"), (2, "random"), (2, "selected")]
    assert table[1, "random"]["mean"] == 2 and table[1, "random"]["sd"] == pytest.approx(2**0.5)
    assert table[2, "selected"] == {
        "mean": 4,
        "sd": None,
        "interval": None,
        "seeds": 1,
        "diverged": 1,
    }
    assert (
        list(by_setting(runs, "learning_rate")) == [0.1] and by_setting(runs, "k")[1]["seeds"] == 4
    )
