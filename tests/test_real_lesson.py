"""Lesson 11's tables: what the stored study of the real model says, and what it does not."""

import json

import pytest

from lander_lite.course import real
from lander_lite.reproduction.evidence import Study

PAIRS = ["en-de", "de-en", "en-fr", "fr-en", "en-it", "it-en", "en-zh", "zh-en"]
GAINS = {"zero-shot": 0, "lander-none": 10, "random-anywhere": 10.4, "lora": 6, "full": 10}


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


def test_verdicts_compare_matched_seeds(study):
    table = by_name(real.verdicts(study))
    assert table["lander-none minus zero-shot"]["de, fr"].endswith("more")
    assert table["lander-none minus lora"]["de, fr"].startswith("+4.0")
    assert table["lander-none minus random-anywhere"]["de, fr"].endswith("less")
    assert table["lander-none minus full"]["FLORES"].endswith("equal")
    assert table["lander-none minus full"]["plain text"].endswith("equal")
    assert list(table["lander-none minus lape"].values())[1:] == ["not measured"] * 4


def test_the_base_by_direction(study):
    table = by_name(real.directions(study, ["zero-shot"]))
    assert list(table) == PAIRS and table["en-zh"]["zero-shot BLEU"] == "5.0"


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
