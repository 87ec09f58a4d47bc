"""What is too long for the limit, or not in the model's vocabulary, is counted or refused before
any work."""

import json
import warnings

import pytest
import torch

from lander_lite import (
    detect_layers,
    finetune,
    load_corpus,
    load_model,
    perplexity,
    prompts,
    score_awareness,
    translate,
)
from lander_lite.cli import main
from lander_lite.config import FinetuneConfig, LanderConfig, data_dir
from lander_lite.neighbours.lape import activation_counts
from lander_lite.pipeline import corpora, report_rows, use_corpus
from lander_lite.probes.mechanics import sentence_states
from lander_lite.prompts import (
    check_examples,
    check_ids,
    encode,
    encode_source,
    positions_of,
    prompt_ids,
)
from lander_lite.training.data import encode_text

SHORT, LONG = "The dog sleeps .", "The dog sleeps . " * 20


@pytest.fixture(scope="module")
def base():
    return load_model("tiny-bloom", random_weights=True)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("corpus") / "corpus.tsv"
    rows = [
        f"{a}\t{b}"
        for a, b in [(SHORT, SHORT), (LONG, SHORT), (SHORT, SHORT), (SHORT, LONG), (SHORT, SHORT)]
    ]
    path.write_text("en\tde\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return load_corpus(path)


def detect(model, tokenizer, corpus, **limit):
    return detect_layers(model, tokenizer, corpus, ["en-de"], 2, progress=False, **limit)


def score(model, tokenizer, corpus, **limit):
    return score_awareness(model, tokenizer, corpus, ["en", "de"], [1, 2], progress=False, **limit)


def tune(model, tokenizer, corpus, **limit):
    return finetune(
        model,
        tokenizer,
        corpus,
        ["en-de"],
        FinetuneConfig(updates=1, batch_size=2, progress=False, **limit),
    )


COUNTS = {detect: "2 of 5 in en-de", score: "1 of 5 in en, 1 of 5 in de", tune: "2 of 5 in en-de"}


@pytest.mark.parametrize("step", COUNTS)
def test_long_sentences_are_counted(step, base, corpus):
    with pytest.warns(UserWarning, match=f"cut at max_length=32 tokens: {COUNTS[step]}$"):
        step(*base, corpus, max_length=32)


@pytest.mark.parametrize("step", COUNTS)
def test_long_sentences_are_refused_by_flag(step, base, corpus, monkeypatch):
    monkeypatch.setattr(
        torch.nn.Linear, "forward", lambda *_: pytest.fail("the model ran before the check")
    )
    with pytest.raises(
        ValueError, match=f"longer than max_length=32 tokens: {COUNTS[step]}; shorten"
    ):
        step(*base, corpus, max_length=32, too_long="refuse")


@pytest.mark.parametrize("step", COUNTS)
def test_nothing_is_said_of_sentences_that_fit(step, base, corpus):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        step(*base, corpus, max_length=256, too_long="refuse")


@pytest.mark.parametrize("step", [detect, score])
def test_unknown_handling_is_refused(step, base, corpus):
    with pytest.raises(ValueError, match="too_long = 'drop' is unknown: use cut or refuse"):
        step(*base, corpus, too_long="drop")


def test_an_example_that_just_fits_is_not_cut(base):
    tokenizer = base[1]
    whole = encode(tokenizer, SHORT, SHORT, "en-de")
    n = len(whole["input_ids"])
    assert encode(tokenizer, SHORT, SHORT, "en-de", max_length=n) == whole and "cut" not in whole
    assert encode(tokenizer, SHORT, SHORT, "en-de", max_length=n - 1)["cut"]
    m = len(prompt_ids(tokenizer, SHORT)) + 1  # EOS
    assert (
        "cut" not in encode_text(tokenizer, SHORT, m)
        and encode_text(tokenizer, SHORT, m - 1)["cut"]
    )


@pytest.mark.parametrize(
    "measure",
    [
        lambda m, t, s: perplexity(m, t, s, max_length=16),
        lambda m, t, s: sentence_states(m, t, s, max_length=16),
        lambda m, t, s: activation_counts(
            m, t, {"en": s, "de": [SHORT]}, ["en", "de"], max_length=16
        ),
    ],
)
def test_measures_of_plain_text_count_too(measure, base):
    with pytest.warns(UserWarning, match="cut at max_length=16 tokens: 1 of 2 in "):
        measure(*base, [SHORT, LONG])


def test_text_that_is_read_in_pieces_is_counted_once(base, monkeypatch):
    monkeypatch.setattr("lander_lite.neighbours.lape.CHUNK", 1)
    with pytest.warns(UserWarning) as warned:
        activation_counts(
            *base,
            {"en": [LONG, SHORT, LONG], "de": [SHORT]},
            ["en", "de"],
            max_length=16,
            batch_size=1,
        )
    assert [str(one.message) for one in warned] == [
        "cut at max_length=16 tokens: 2 of 3 in the text"
    ]


@pytest.mark.parametrize(
    "step",
    [
        *COUNTS,
        lambda m, t, c: translate(m, t, [SHORT], "en-de"),
        lambda m, t, c: perplexity(m, t, [SHORT]),
        lambda m, t, c: activation_counts(m, t, c, ["en", "de"]),
    ],
)
def test_another_models_tokenizer_is_refused(step, base, corpus):
    model, _ = load_model("tiny-bloom", random_weights=True)
    model.resize_token_embeddings(5)
    with pytest.raises(
        ValueError,
        match=r"the tokenizer gives token \d+, but the model has 5 embeddings \(0 … 4\): it is "
        r"another model's",
    ):
        step(model, base[1], corpus)


def test_the_last_embedding_is_in_the_vocabulary(base):
    rows = base[0].get_input_embeddings().weight.shape[0]
    check_ids(base[0], [{"input_ids": [rows - 1]}], "here")
    with pytest.raises(ValueError, match="here, example 1"):
        check_ids(base[0], [{"input_ids": [0]}, {"input_ids": [rows]}], "here")
    check_examples(base[0], {"none": []}, 8)


def test_the_flag_reaches_the_steps(tmp_path, corpus, capsys):
    path = tmp_path / "corpus.jsonl"
    path.write_text(
        "".join(json.dumps({"translation": row}) + "\n" for row in corpus["translation"]),
        encoding="utf-8",
    )
    options = [
        "--profile",
        "tiny-bloom",
        "--corpus",
        str(path),
        "--pairs",
        "en-de",
        "--output-dir",
        str(tmp_path / "run"),
        "--set",
        "corpus.max_length=32",
        "--set",
        "model.name_or_path=" + str(data_dir() / "models" / "tiny-bloom"),
    ]
    assert main(["detect", *options, "--set", "corpus.too_long=refuse"]) == 2
    assert "longer than max_length=32 tokens: 2 of 4 in en-de" in capsys.readouterr().err
    with pytest.warns(UserWarning, match="cut at max_length=32"):
        main(["detect", *options])


# ---------------------------------------------------------------- positions, one token, leakage
@pytest.fixture(scope="module")
def few_positions():
    model, tokenizer = load_model("tiny-llama", random_weights=True)
    model.config.max_position_embeddings = 48
    return model, tokenizer


def test_a_source_longer_than_the_positions_is_cut_and_counted(few_positions):
    model, tokenizer = few_positions
    assert positions_of(model) == 48
    with pytest.warns(UserWarning, match="cut at max_length=40 tokens: 1 of 2 in en-de"):
        long, short = translate(model, tokenizer, [LONG, SHORT], "en-de", max_new_tokens=8)
    assert [short] == translate(model, tokenizer, [SHORT], "en-de", max_new_tokens=8)
    read = encode_source(tokenizer, LONG, "en-de", room=40)["input_ids"]
    kept = tokenizer.decode(read).removeprefix("English: ").split("\n")[0]
    assert 30 < len(read) <= 40 and LONG.startswith(kept)
    assert [long] == translate(model, tokenizer, [kept], "en-de", max_new_tokens=8)
    with pytest.raises(ValueError, match="longer than max_length=40 tokens: 1 of 2 in en-de"):
        translate(model, tokenizer, [LONG, SHORT], "en-de", max_new_tokens=8, too_long="refuse")
    with pytest.raises(ValueError, match="the en-de template takes"):
        translate(model, tokenizer, [SHORT], "en-de", max_new_tokens=48)


@pytest.mark.parametrize("step", [detect, score, tune])
def test_examples_longer_than_the_positions_are_refused(step, few_positions, corpus):
    with pytest.raises(ValueError, match="tokens, but the model has 48 positions; set max_length"):
        step(*few_positions, corpus, max_length=200)


def test_a_huge_sentence_is_cut_in_few_steps(base, monkeypatch):
    _, tokenizer = base
    calls = []
    monkeypatch.setattr(prompts, "prompt_ids", lambda *a: calls.append(1) or prompt_ids(*a))
    found = encode(tokenizer, "The dog sleeps . " * 5000, SHORT, "en-de", max_length=64)
    assert found["cut"] and 40 < len(found["input_ids"]) <= 64 and len(calls) < 20


def test_sentences_of_one_token_are_named_or_left_out(base):
    text = {"en": [SHORT, "dog", SHORT], "de": [SHORT, SHORT]}
    with pytest.raises(ValueError, match="'en', sentence 1 has 1 tokens, but needs 2: 'dog'"):
        score_awareness(*base, text, ["en", "de"], [1], progress=False)
    with pytest.warns(UserWarning, match="'en': 1 left out; sentence 1 has 1 tokens"):
        found = score_awareness(*base, text, ["en", "de"], [1], progress=False, empty="skip")
    assert found.settings["sentences"] == {"en": 2, "de": 2}
    with pytest.warns(UserWarning, match="the sentences: 1 left out"):
        assert perplexity(*base, text["en"]) == pytest.approx(perplexity(*base, [SHORT]), rel=1e-5)


def test_a_test_part_that_was_trained_on_is_counted(tmp_path, corpus):
    part = load_corpus(write(tmp_path / "a.tsv", "en\tde\tfr\n1\t2\t3\n4\t5\t6\n7\t8\t9\n"))
    other = load_corpus(write(tmp_path / "b.tsv", "en\tde\tfr\n1\t2\tx\n4\t5\t6\n"))
    with pytest.warns(UserWarning, match="same translation: 2 in en-de, 1 in fr-en; scores on"):
        report_rows(part, other, ["en-de", "fr-en"])


def test_pairs_with_few_rows_are_counted(tmp_path, capsys):
    lines = ['{"translation": {"en": "1", "de": "2"}}', '{"translation": {"en": "3", "fr": "4"}}']
    path = write(tmp_path / "a.jsonl", "\n".join([*lines, lines[0]]) + "\n")
    part = load_corpus(path)
    other = load_corpus(write(tmp_path / "b.tsv", "en\tde\tfr\na\tb\tc\n"))
    report_rows(part, other, ["en-de", "fr-en"])
    assert capsys.readouterr().out == "rows with both sides, of 3 for training: en-de 2, fr-en 1\n"


def test_the_hubs_own_test_part_is_used(monkeypatch, tmp_path):
    asked = []

    def hub(name, config, split):
        asked.append(split)
        return [{"translation": {"en": f"{split} a", "de": "b"}}] * 3

    monkeypatch.setattr("lander_lite.corpus.load_dataset", hub)
    monkeypatch.setattr("lander_lite.corpus.get_dataset_split_names", lambda *_: ["train", "test"])
    settings = {"corpus.languages": "en,de", "corpus.pairs": "en-de"}
    config = LanderConfig.from_profile("tiny-bloom", **settings)
    config.corpus.train, config.corpus.test = "owner/name", None
    train, test = corpora(config)
    assert (len(train), len(test)) == (3, 3) and test["translation"][0]["en"] == "test a"
    use_corpus(config, "owner/name", set(settings))
    assert config.corpus.test == "owner/name" and config.corpus.valid is None
    assert set(asked) == {"train", "test"}


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path
