"""Lesson 11's tables and the kind "transfer": what the stored study of the real model says, and
what it does not."""

import json
import lzma
import math

import pytest

from lander_lite.course import real
from lander_lite.reproduction import transfer
from lander_lite.reproduction.evidence import NotMeasured, Study

PAIRS = ["en-de", "de-en", "en-fr", "fr-en", "en-it", "it-en", "en-zh", "zh-en"]
GAINS = {"zero-shot": 0, "lander-none": 10, "random-anywhere": 10.4, "lora": 6, "full": 10}
WORDS = "one two three four five six seven eight nine ten".split()


def result(method, seed, gain):
    """A run that gains so many BLEU where it was trained, and half of it elsewhere."""
    gain += 0.2 * seed
    bleu = {pair: 5 + gain / (1 if {"de", "fr"} & {*pair.split("-")} else 2) for pair in PAIRS}
    pairs = {pair: {"bleu": x, "off_target": 0.5 / (1 + gain)} for pair, x in bleu.items()}
    mean = {"bleu": sum(bleu.values()) / 8, "chrf": 30.0}
    tuned = method != "zero-shot"
    return {
        "kind": "transfer",
        "method": method,
        "profile": real.NAME,
        "corpus": "c",
        "base_model": {},
        "seed": seed,
        "settings": {},
        "mean": mean,
        "pairs": pairs,
        "perplexity": {"en": 20 * (1.1 if tuned else 1.0), "de": 30.0},
        "facts": {},
        "curve": [],
        "grid": {"0.0001": 5.0, "0.0003": 4.0} if tuned else {},
        "other_domain": {"mean": {"bleu": 4 + gain, "chrf": 30.0}},
        "learning_rate": 1e-4 if tuned else None,
        "trainable": 1000 if tuned else 0,
    }


@pytest.fixture
def study(tmp_path):
    folder = tmp_path / real.NAME
    (folder / "transfer").mkdir(parents=True)
    for method, gain in GAINS.items():
        for seed in range(3 if gain else 1):
            path = folder / "transfer" / f"{method}-seed{seed}.json"
            path.write_text(json.dumps(result(method, seed, gain)))
    (folder / "analysis").mkdir()
    stored = {
        "lander-none - zero-shot": [9.0, 11.4],
        "lander-none - lora": [-0.5, 9.0],
        "lander-none - full": [-0.3, 0.4],
    }
    differences = {
        name: {group: {"delta": sum(ci) / 2, "ci": ci} for group in transfer.GROUPS}
        for name, ci in stored.items()
    }
    (folder / "analysis" / "transfer.json").write_text(json.dumps({"differences": differences}))
    return Study(folder)


def by_name(table):
    """{first cell: {column: cell}}"""
    return {row[0]: dict(zip(table.columns, row)) for row in table.rows}


def test_a_row_a_method_with_intervals_over_seeds(study):
    table = by_name(real.table(study))
    assert [*table][:2] == ["zero-shot", "lora"] and [*table][-1] == "random-anywhere"
    base, lora = table["zero-shot"], table["lora"]
    assert base["de, fr"] == "5.0" and base["off-target"] == "50%" and base["rate"] == ""
    assert lora["de, fr"] == "11.2 ± 0.5" and lora["it, zh"] == "8.1 ± 0.2"
    assert table["full"]["FLORES"] == "14.2 ± 0.5" and table["full"]["trained"] == "1,000"
    assert table["full"]["plain text"].startswith("+0.048")  # ln 1.1 / 2


def test_what_is_not_trained_has_its_interval_over_sentences_and_no_plain_text(study):
    run = result("four-shot", 0, 2) | {"trainable": 0, "grid": {}, "learning_rate": None}
    del run["perplexity"]  # examples in a prompt change no plain text
    (study.folder / "transfer" / "four-shot-seed0.json").write_text(json.dumps(run))
    path = study.folder / "analysis" / "transfer.json"
    stored = json.loads(path.read_text())
    groups = {"taught": [7.0, 5.5, 8.4], "untaught": [6.0, 4.2, 7.9]}
    ahead = {group: {"delta": 8.0, "ci": [7.9, 8.1]} for group in transfer.GROUPS}
    stored["differences"] |= {"lander-none - four-shot": ahead}
    path.write_text(json.dumps(stored | {"means": {"four-shot": groups}}))
    row = by_name(real.table(study))["four-shot"]
    assert (row["de, fr"], row["it, zh"]) == ("7.0 [5.5, 8.4]", "6.0 [4.2, 7.9]")
    assert row["FLORES"] == "6.0" and row["plain text"] == "–"
    row = by_name(real.verdicts(study))["lander-none minus four-shot"]
    assert row["de, fr"].endswith("more") and row["plain text"] == "–"


def test_rates_that_were_tried_and_the_chosen_one(study):
    run = result("lora", 0, 6) | {"grid": {"0.0003": 6.0, "0.001": 7.5}, "learning_rate": 1e-3}
    (study.folder / "transfer" / "lora-seed0.json").write_text(json.dumps(run))
    table = real.rates_table(study, ["full", "lora"])
    assert table.rows == [["0.0001", "5.0*", ""], ["0.0003", "4.0", "6.0"], ["0.001", "", "7.5*"]]


def test_verdicts_are_of_the_wider_interval(study):
    table = by_name(real.verdicts(study))
    assert table["lander-none minus zero-shot"]["de, fr"] == "+10.2 [+9.0, +11.4]: more"
    assert table["lander-none minus lora"]["de, fr"].endswith("cannot tell")  # of the sentences
    assert table["lander-none minus full"]["it, zh"].endswith("equal")
    assert table["lander-none minus full"]["plain text"].endswith("equal")
    assert "lander-none minus random-anywhere" not in table  # its interval is not stored
    mean, low, high = transfer.difference(study, "lander-none", "zero-shot", "untaught")
    assert low == pytest.approx(4.85, abs=0.01), "the interval over seeds is the wider one here"
    mean, low, high = transfer.plain_text_difference(study, "full", "zero-shot")
    assert mean == pytest.approx(0.0477, abs=1e-4) and low < 0 < high  # of two languages one


def test_intervals_over_sentences_come_from_the_stored_translations(study, tmp_path, capsys):
    rows = []
    for i in range(5):
        text = " ".join(WORDS[i : i + 6])
        rows.append({"translation": {x: f"{x} {text}" for x in ("en", "de", "fr", "it", "zh")}})
    test = tmp_path / "test.jsonl"
    test.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for method, right in (("lander-none", 4), ("zero-shot", 0), ("lora", 4)):
        for seed in range(3 if right else 1):
            outputs = {}
            for pair in PAIRS:
                lines = [row["translation"][pair[3:]] for row in rows]
                outputs[pair] = lines[:right] + ["nothing right here"] * (5 - right)
            path = study.folder / "transfer" / f"{method}-seed{seed}.hypotheses.xz"
            path.write_bytes(lzma.compress(json.dumps(outputs).encode()))
    for path in (study.folder / "transfer").glob("*.json"):
        if path.stem.split("-seed")[0] in ("random-anywhere", "full"):
            path.unlink()
        else:
            content = json.loads(path.read_text())
            path.write_text(json.dumps(content | {"sentences": 5}))
    assert transfer.main([str(study.folder), str(test)]) == 0
    assert "2 comparisons" in capsys.readouterr().out
    fresh = Study(study.folder)
    mean, low, high = transfer.difference(fresh, "lander-none", "zero-shot", "taught")
    assert mean > 50 and 0 < low < mean
    assert fresh.analysis("transfer")["differences"]["lander-none - zero-shot"]["seeds"] == 3
    found = fresh.analysis("transfer")["differences"]["lander-none - lora"]
    assert found["taught"] == {"delta": 0.0, "ci": [0.0, 0.0]} and found["seeds"] == 3
    means = fresh.analysis("transfer")["means"]
    assert means == {"zero-shot": {group: [0.0, 0.0, 0.0] for group in transfer.GROUPS}}
    with pytest.raises(NotMeasured, match="lander-none - full"):
        transfer.difference(fresh, "lander-none", "full", "taught")
    assert transfer.main([]) == 2 and "usage" in capsys.readouterr().err


def test_the_base_by_direction(study):
    table = by_name(real.directions(study, ["zero-shot"]))
    assert list(table) == PAIRS and table["en-zh"]["zero-shot BLEU"] == "5.0"


def test_without_weights_the_stored_counterparts_are_shown(study):
    hypotheses = {"en-de": ["eins", "zwei", "drei", "vier"], "en-fr": ["un", "deux", "trois"]}
    path = study.folder / "transfer" / "zero-shot-seed0.hypotheses.xz"
    path.write_bytes(lzma.compress(json.dumps(hypotheses).encode()))
    lines = real.outputs(study, "zero-shot", ["en-fr", "en-de"]).splitlines()
    assert lines[0].startswith("not live; stored, zero-shot") and lines[1:5:3] == [
        "en-fr",
        "    trois",
    ]
    assert lines[5] == "en-de" and "    drei" == lines[-1], "three sentences a direction"
    stored = {"texts": ["en", "de"], "sets": ["de"], "loss_change": {"mean": [[0.1], [0.5]]}}
    stored["control_random"] = [{"loss_change": [[0.0], [x]]} for x in (0.01, 0.03)]
    (study.folder / "analysis" / "switching.json").write_text(json.dumps(stored))
    assert real.loss_without(study, "de", "de") == (0.5, pytest.approx(0.02))
    assert real.loss_without(study, "de", "en") == (0.1, 0.0)


def test_what_is_at_hand(tmp_path, monkeypatch):
    monkeypatch.setattr(real, "INSTALLED", tmp_path)
    monkeypatch.delenv("LANDER_LITE_STORED", raising=False)
    assert not real.at_hand()
    (tmp_path / real.NAME).mkdir()
    assert real.at_hand()
    monkeypatch.setenv("LANDER_LITE_STORED", "1")
    assert not real.at_hand()
    monkeypatch.setattr(real, "NTREX", tmp_path / "ntrex")
    assert real.corpus_at_hand() == "data/tiny_babel"
    (tmp_path / "ntrex").mkdir()
    assert real.told(True, real.corpus_at_hand()) == "Live, with sentences of NTREX."
    assert "make real" in real.told(False, "data/tiny_babel")


def write_edition(study, kind, method, seed, bleu, nats, **more):
    """A run of a real model's edition of a kind. nats: the loss of plain text, by language."""
    run = result(method, seed, 0) | more
    run["pairs"] = {pair: {"bleu": float(x)} for pair, x in bleu.items()}
    run["perplexity"] = {x: math.exp(y) for x, y in nats.items()}
    path = study.folder / kind / f"{method}-seed{seed}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(run | {"kind": kind}))


def test_the_low_resource_language_and_the_others(study):
    before = {"en-af": 1, "af-en": 2, "en-de": 3, "de-en": 4}
    write_edition(study, "real-sparse", "zero-shot", 0, before, {"af": 6, "en": 4, "de": 5})
    for seed, own in ((0, -0.5), (1, -1.5)):
        nats = {"af": 6 + own, "en": 4.1, "de": 5.3}
        after = before | {"en-af": 5 + seed, "de-en": 8}
        tuned = {"trainable": 2000, "learning_rate": 3e-4}
        write_edition(study, "real-sparse", "sparse", seed, after, nats, **tuned)
    table = by_name(real.plain_text_runs_table(study))
    assert [*table["sparse"].values()][1:] == "2,000|0.0003|5.5|2.0|-1.000|+0.200|5.5".split("|")
    assert (
        table["zero-shot"]["nats, af"] == "+0.000" and table["zero-shot"]["BLEU, others"] == "3.5"
    )


def test_pruned_models_by_share_and_by_loss(study):
    bleu, dense = dict.fromkeys(PAIRS, 4), {"en": 3.0, "de": 4.0}
    write_edition(study, "real-prune", "zero-shot", 0, bleu, dense)
    for method, seed, lost in (
        ("magnitude", 0, 0.5),
        ("wanda-tokens", 0, 0.1),
        ("wanda-tokens", 1, 0.3),
    ):
        few = {
            "bleu": dict.fromkeys(PAIRS, 3.0),
            "perplexity": {"en": math.exp(3), "de": math.exp(4.05)},
        }
        curve = [{"sparsity": 0.2, "facts": {}, **few}]
        nats, half = {"en": 3 + 2 * lost, "de": 4 + lost}, dict.fromkeys(PAIRS, 2)
        write_edition(study, "real-prune", method, seed, half, nats, sparsity=0.5, curve=curve)
    rows = real.pruned_table(study).rows
    assert [row[:3] for row in rows] == [
        ["0%", "zero-shot", "1"],
        ["20%", "magnitude", "1"],
        ["20%", "wanda-tokens", "2"],
        ["50%", "wanda-tokens", "2"],
        ["50%", "magnitude", "1"],
    ]
    assert rows[3][3:] == ["2.00", "0.40", "0.20"] and rows[2][3:] == ["3.00", "0.00", "0.05"]


def test_the_tables_are_written_beside_the_executed_lesson(study, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(real, "FOLDER", study.folder)
    assert real.main([str(tmp_path)]) == 0
    text = (tmp_path / "results.md").read_text(encoding="utf-8")
    assert str(real.table(study)) in text and str(real.verdicts(study)) in text
    assert f"results:   {tmp_path / 'results.md'}" in capsys.readouterr().out
    assert real.main([str(tmp_path / "none")]) == 2 and "usage" in capsys.readouterr().err
