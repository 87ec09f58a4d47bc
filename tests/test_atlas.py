"""The atlas: counts of many languages in halves of the text, kept small, and resumed."""

import json

import pytest
import torch

from lander_lite import load_corpus
from lander_lite.cli import main
from lander_lite.config import data_dir
from lander_lite.neighbours import atlas as module
from lander_lite.neighbours.atlas import STEPS, Atlas, atlas, split
from lander_lite.neighbours.lape import activation_counts, lape_from_counts
from lander_lite.neurons import NeuronSets
from lander_lite.probes.knowledge import nats_per_sentence
from lander_lite.stored import read_table

LANGUAGES = ["en", "de", "zh"]


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Six rows of three documents, one sentence not there."""
    words = {"en": "the dog sleeps", "de": "der Hund schläft", "zh": "狗在睡觉"}
    rows = []
    for i in range(6):
        row = {language: f"{text} {'a' * i}" for language, text in words.items()}
        rows.append({"translation": row, "document": f"d{i // 2}"})
    rows[1]["translation"]["zh"] = None
    path = tmp_path_factory.mktemp("atlas") / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def corpus(rows):
    return load_corpus(rows)


def test_halves_are_of_other_documents_or_else_rows(corpus):
    assert [len(half) for half in split(corpus, "en")] == [4, 2]
    assert [len(half) for half in split(corpus, "zh")] == [3, 2]
    assert split(corpus.remove_columns("document"), "en")[1][0] == "the dog sleeps a"


def test_counts_are_those_of_lape(model, tokenizer, corpus, tmp_path):
    found = atlas(model, tokenizer, corpus, tmp_path, progress=False)
    assert found.languages == LANGUAGES and found.roots.dtype == torch.uint8
    text = {x: [row[x] for row in corpus["translation"] if row[x]] for x in LANGUAGES}
    exact, kept = activation_counts(model, tokenizer, text, LANGUAGES), found.counts()
    assert torch.equal(exact.tokens, kept.tokens)
    far = (exact.shares.sqrt() - kept.shares.sqrt()).abs().max()
    steps = 0.5 / STEPS + 0.5 / exact.tokens.min().sqrt()  # a small text's counts are whole numbers
    assert far <= steps
    first = activation_counts(
        model, tokenizer, {x: split(corpus, x)[0] for x in LANGUAGES}, LANGUAGES
    )
    assert torch.equal(first.tokens, found.counts(half=0).tokens)
    two = found.counts(languages=["zh", "en"])
    assert two.languages == ["zh", "en"] and torch.equal(two.counts[..., 1], kept.counts[..., 0])
    assert lape_from_counts(kept, top_rate=0.1).languages == LANGUAGES


def test_a_file_gives_what_was_saved(model, tokenizer, corpus, tmp_path):
    found = atlas(model, tokenizer, corpus, tmp_path / "parts", progress=False)
    path = tmp_path / "atlas.safetensors.xz"
    found.save(path)
    again = Atlas.load(path)
    assert torch.equal(again.roots, found.roots) and torch.equal(again.tokens, found.tokens)
    assert (again.languages, again.model, again.settings) == (
        LANGUAGES,
        found.model,
        found.settings,
    )
    before = path.read_bytes()
    found.save(path)
    assert path.read_bytes() == before
    for damaged in (before[:-20], b"", b"text", before[:50] + b"x" + before[51:]):
        path.write_bytes(damaged)
        with pytest.raises(
            ValueError, match=r"atlas.safetensors.xz is damaged or of another version"
        ):
            Atlas.load(path)


def test_a_run_that_was_stopped_goes_on(model, tokenizer, corpus, tmp_path, monkeypatch):
    whole = atlas(model, tokenizer, corpus, tmp_path / "whole", progress=False)
    counted, count = [], module.active_tokens

    def stopping(model, tokenizer, text, *options):
        counted.append(text)
        if len(counted) == 4:
            raise KeyboardInterrupt
        return count(model, tokenizer, text, *options)

    monkeypatch.setattr(module, "active_tokens", stopping)
    with pytest.raises(KeyboardInterrupt):
        atlas(model, tokenizer, corpus, tmp_path / "parts", progress=False)
    resumed = atlas(model, tokenizer, corpus, tmp_path / "parts", progress=False)
    assert len(counted) == 4 + 4 and torch.equal(resumed.roots, whole.roots)
    with pytest.raises(
        ValueError, match=r"en.safetensors was made with another max_sentences \(500"
    ):
        atlas(model, tokenizer, corpus, tmp_path / "parts", max_sentences=3, progress=False)
    with pytest.raises(ValueError, match="at least two different codes"):
        atlas(model, tokenizer, corpus, tmp_path / "parts", languages=["en"], progress=False)


def test_the_command_line_makes_the_file(model, tokenizer, corpus, rows, tmp_path, capsys):
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    folder = tmp_path / "run"
    settings = ["--set", f"model.name_or_path={tmp_path / 'model'}", "--corpus", str(rows)]
    assert main(["atlas", *settings, "--output-dir", str(folder)]) == 0
    found = Atlas.load(folder / "atlas.safetensors.xz")
    assert torch.equal(found.roots, atlas(model, tokenizer, corpus, tmp_path / "a").roots)
    assert "atlas.safetensors.xz" in capsys.readouterr().out
    # both formats of the sets, and a line a language
    sets = lape_from_counts(found.counts())
    theirs = NeuronSets.from_lape_file(folder / "lape.pt", LANGUAGES, model)
    assert NeuronSets.load(folder / "lape.safetensors").hash() == sets.hash() == theirs.hash()
    table = read_table(folder / "languages.tsv")
    assert list(table) == LANGUAGES and table["en"]["nats_per_sentence"] == ""  # all rows counted
    assert table["zh"]["tokens"] == str(found.tokens[:, 2].sum().item())
    # rows that were not counted say what the model knows
    assert main(["atlas", *settings, "--set", "awareness.max_sentences=4"]
                + ["--output-dir", str(tmp_path / "four")]) == 0  # fmt: skip
    table = read_table(tmp_path / "four" / "languages.tsv")
    others = [row["de"] for row in corpus["translation"]][4:]
    assert float(table["de"]["nats_per_sentence"]) == pytest.approx(
        nats_per_sentence(model, tokenizer, others), abs=0.01
    )


def test_the_published_sets_are_those_of_the_atlas():
    folder = data_dir() / "results" / "gemma-3-270m"
    found = Atlas.load(folder / "atlas.safetensors.xz")
    sets, table = lape_from_counts(found.counts()), read_table(folder / "languages.tsv")
    theirs = NeuronSets.from_lape_file(folder / "lape.pt", found.languages)
    assert NeuronSets.load(folder / "lape.safetensors").hash() == sets.hash()
    for language in found.languages:
        neurons = sets.specific[language]
        assert all(torch.equal(theirs.specific[language][i], neurons[i]) for i in sets.layers)
        assert table[language]["neurons"] == str(sum(map(len, neurons.values())))
        assert float(table[language]["nats_per_sentence"]) > 0
