"""A study on a toy configuration: result files, resuming, a run that diverges."""
import copy
import json

import pytest
from lander_helpers import quick

from lander_lite.config import LanderConfig
from lander_lite.study import METHODS, load_results, study, summary

MODULE = study.__globals__


@pytest.fixture
def config(bloom, tokenizer, corpus, tmp_path):
    """Six sentences, two directions, one selected layer, three updates."""
    bloom.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps({"translation": row}) + "\n" for row in corpus["translation"]))
    config, path = LanderConfig(profile="tiny-bloom"), str(tmp_path / "corpus.jsonl")
    for key, value in {"model.name_or_path": str(tmp_path / "model"), "corpus.train": path, "corpus.valid": path, "corpus.test": path,
                       "corpus.languages": ["en", "de", "zh"], "corpus.pairs": ["en-de", "zh-en"], "layers.k": 1}.items():
        config.set(key, value)
    config.finetune = quick(updates=3)
    return config


@pytest.fixture(autouse=True)
def short_outputs(monkeypatch):
    """Two tokens a sentence: a random model never stops by itself."""
    real = MODULE["evaluate"]
    monkeypatch.setitem(MODULE, "evaluate", lambda *a, **k: real(*a, **{**k, "max_new_tokens": 2, "bootstrap": min(k["bootstrap"], 5)}))


def trainings(monkeypatch):
    """The settings of each training, as finetune gets them."""
    calls, real = [], MODULE["finetune"]

    def caught(model, tokenizer, corpus, pairs, settings, **keys):
        calls.append((settings.seed, settings.learning_rate))
        return real(model, tokenizer, corpus, pairs, settings, **keys)
    monkeypatch.setitem(MODULE, "finetune", caught)
    return calls


def test_an_unknown_method_is_refused_before_anything_is_loaded(tmp_path):
    with pytest.raises(ValueError, match="unknown method 'lander'; methods: zero-shot, .*lander-learned"):
        study(LanderConfig(), ["full", "lander"], output_dir=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_model_is_loaded_as_configured(config, tmp_path, monkeypatch):
    config.set("model.dtype", "bfloat16")
    monkeypatch.setitem(MODULE, "neuron_sets", lambda config, model, *rest: pytest.fail(f"{model.dtype} of {model.name_or_path}"))
    with pytest.raises(pytest.fail.Exception, match=f"torch.bfloat16 of {config.model.name_or_path}"):
        study(config, ["full"], output_dir=tmp_path / "out")


def test_results_are_written_and_a_stopped_study_goes_on(config, tmp_path, monkeypatch):
    out, calls = tmp_path / "out", trainings(monkeypatch)
    results = study(config, ["zero-shot", "lander-none"], seeds=2, grid=(.001, .01), valid_sentences=2, output_dir=out)
    names = ["lander-none-seed0.json", "lander-none-seed1.json", "zero-shot-seed0.json"]
    assert sorted(path.name for path in out.iterdir()) == names and len(results) == 3
    assert load_results(out) == [results[1], results[2], results[0]]
    best = results[1]["learning_rate"]
    assert calls == [(0, .001), (0, .01), (0, best), (1, best)]             # the grid of the first seed serves all
    assert results[1]["grid"] == results[2]["grid"] and set(results[1]["grid"]) == {"0.001", "0.01"}
    assert results[1]["grid"][str(best)] == max(results[1]["grid"].values())
    for result in results:
        assert set(result["pairs"]) == set(config.corpus.pairs) and all(pair["n"] == 6 for pair in result["pairs"].values())
        assert result["mean"]["bleu"] == pytest.approx(sum(pair["bleu"] for pair in result["pairs"].values()) / 2)
        assert result["neuron_sets"] == results[0]["neuron_sets"] and result["base_model"]["d_ff"] == 128 and "diverged" not in result
    assert results[1]["trainable"] > 0 == results[0]["updates"] and results[1]["updates"] == 3 and results[0]["learning_rate"] is None
    assert results[1]["loss"] != results[2]["loss"]                         # another seed, another order of the data

    stamps = {name: (out / name).stat().st_mtime_ns for name in names}
    calls.clear()
    assert study(config, ["zero-shot", "lander-none"], seeds=2, grid=(.001, .01), valid_sentences=2, output_dir=out) == results
    assert calls == [] and {name: (out / name).stat().st_mtime_ns for name in names} == stamps
    (out / names[1]).unlink()                                               # stopped before the second seed was done
    again = study(config, ["zero-shot", "lander-none"], seeds=2, grid=(.001, .01), valid_sentences=2, output_dir=out)
    assert calls == [(1, best)] and again[2]["loss"] == results[2]["loss"] and again[2]["pairs"] == results[2]["pairs"]


def test_a_run_that_diverges_is_marked_and_the_study_goes_on(config, tmp_path, monkeypatch):
    real = MODULE["finetune"]

    def failing(model, tokenizer, corpus, pairs, settings, **keys):
        if settings.learning_rate > .1:
            raise FloatingPointError("the loss is nan at update 1")
        return real(model, tokenizer, corpus, pairs, settings, **keys)

    monkeypatch.setitem(MODULE, "finetune", failing)
    wild, tame = (study(config, ["general-only", "zero-shot"], grid=grid, valid_sentences=2, output_dir=tmp_path / name)
                  for name, grid in (("wild", [.5]), ("tame", [.01])))
    assert wild[0]["diverged"] == "the loss is nan at update 1" and wild[1]["method"] == "zero-shot"
    assert "diverged" not in tame[0] and "diverged" not in wild[1]
    assert json.loads((tmp_path / "wild" / "general-only-seed0.json").read_text())["diverged"]


def test_a_diverged_rate_is_not_chosen(config, tmp_path, monkeypatch):
    """Even where its untrained weights happen to score best on valid."""
    calls, real = [], MODULE["evaluate"]

    def failing(model, tokenizer, corpus, pairs, settings, **keys):
        calls.append(settings.learning_rate)
        if settings.learning_rate > .1:
            raise FloatingPointError("the loss is nan")
        return {"loss": [1.]}

    def scored(*args, **keys):
        scores = real(*args, **keys)
        scores["mean"]["bleu"] = 99. if calls and calls[-1] > .1 else 1.
        return scores

    monkeypatch.setitem(MODULE, "finetune", failing)
    monkeypatch.setitem(MODULE, "evaluate", scored)
    result = study(config, ["full"], grid=[.5, .01], valid_sentences=2, output_dir=tmp_path / "out")[0]
    assert result["learning_rate"] == .01 and "diverged" not in result


def test_every_method_is_ready_for_training(config, bloom, tokenizer, corpus):
    sets = MODULE["neuron_sets"](config, bloom, tokenizer, corpus)
    counts = {name: MODULE["baselines"].count_trainable(make(copy.deepcopy(bloom), sets, 0)) for name, make in MODULE["TUNED"].items()}
    assert counts["full"] == sum(p.numel() for p in bloom.parameters()) > counts["layers"] > counts["lander-none"]
    assert counts["random"] == counts["lander-none"] == counts["general-only"] + counts["specific-only"]
    assert counts["lander-learned"] == counts["lander-none"] + 33 and set(METHODS) == {"zero-shot", "five-shot", *counts}


def test_summary_is_mean_and_standard_deviation():
    runs = [{"method": "full", "mean": {"bleu": bleu, "chrf": 2 * bleu}, "learning_rate": .1, "trainable": 7} for bleu in (10., 14.)]
    row = summary([*runs, {"method": "zero-shot", "mean": {"bleu": 3., "chrf": 4.}, "learning_rate": None}])
    assert row["full"] == {"bleu": 12., "sd": pytest.approx(8 ** .5), "seeds": 2, "chrf": 24., "learning_rate": .1, "trainable": 7}
    assert row["zero-shot"]["sd"] is None and row["zero-shot"]["trainable"] == 0 and list(row) == ["zero-shot", "full"]
