"""corpus.py: formats, errors with file and line, prompts, encoding, batches."""

import gzip
import json
import lzma
import warnings

import pytest
import torch
from tokenizers import processors

from lander_lite.corpus import has_split, load_corpus, load_mono
from lander_lite.languages import language_name, languages_of_pair, parse_pair
from lander_lite.prompts import (
    batches,
    check_pairs,
    collate,
    encode,
    encode_sentences,
    languages_of,
    pair_rows,
    prompt,
    prompt_ids,
    texts,
)

ROWS = [
    {"en": "one dog", "de": "ein Hund", "zh": "一只狗"},
    {"en": "two\u2028cats", "de": "zwei Katzen", "zh": "两只猫"},
]


def write_jsonl(path, rows):
    path.write_text(
        "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8"
    )
    return path


@pytest.fixture
def formats(tmp_path):
    """The same two rows in every local format."""
    jsonl = write_jsonl(tmp_path / "train.jsonl", [{"translation": row} for row in ROWS])
    tsv = tmp_path / "rows.tsv"
    tsv.write_text(
        "en\tde\tzh\r\n" + "".join("\t".join(row.values()) + "\r\n" for row in ROWS),
        encoding="utf-8-sig",
    )
    folder = tmp_path / "texts"
    folder.mkdir()
    for lang in ROWS[0]:
        (folder / f"train.{lang}").write_text(
            "".join(row[lang] + "\n" for row in ROWS), encoding="utf-8"
        )
    return {"jsonl": jsonl, "tsv": tsv, "texts": folder, "folder of jsonl": tmp_path}


@pytest.mark.parametrize("kind", ["jsonl", "tsv", "texts", "folder of jsonl"])
def test_every_format_gives_the_same_rows(formats, kind):
    corpus = load_corpus(formats[kind])
    expected = [
        {**row, "en": " ".join(row["en"].splitlines())} for row in ROWS
    ]  # a line separator inside a sentence is a space
    assert corpus["translation"][:] == expected
    assert set(languages_of(corpus)) == {"en", "de", "zh"}


@pytest.mark.parametrize("kind", ["jsonl", "tsv"])
@pytest.mark.parametrize("ending, pack", [(".xz", lzma.compress), (".gz", gzip.compress)])
def test_a_compressed_table_is_read_alone_and_in_a_folder(formats, tmp_path, kind, ending, pack):
    folder = tmp_path / "packed"
    folder.mkdir()
    path = folder / f"train.{kind}{ending}"
    path.write_bytes(pack(formats[kind].read_bytes()))
    plain = load_corpus(formats[kind])["translation"][:]
    assert load_corpus(path)["translation"][:] == plain
    assert load_corpus(folder)["translation"][:] == plain


@pytest.mark.parametrize(
    "name, data, fault",
    [
        ("a.jsonl.xz", lzma.compress(b"x" * 999)[:-20], "not a whole .xz file"),
        ("a.jsonl.xz", b'{"translation": {}}', "not a whole .xz file"),
        ("a.jsonl.gz", gzip.compress(b"x" * 999)[:-6], "not a whole .gz file"),
        ("a.jsonl.gz", b'{"translation": {}}', "not a whole .gz file"),
        ("a.jsonl.gz", gzip.compress(b""), "the file is empty"),
        ("a.jsonl.xz", lzma.compress(b"{oops"), "line 1: not valid JSON"),
        ("a.jsonl.gz", gzip.compress("für".encode("latin-1")), "line 1: not UTF-8"),
        ("a.txt.gz", gzip.compress(b"x"), "cannot tell the format from '.txt'"),
    ],
)
def test_a_damaged_compressed_table_is_one_line(tmp_path, name, data, fault):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError) as error:
        load_corpus(tmp_path / name)
    told = str(error.value)
    assert name in told and fault in told and "\n" not in told


def test_languages_chooses_and_requires(formats):
    assert languages_of(load_corpus(formats["jsonl"], languages=["zh", "en"])) == ["zh", "en"]
    assert set(languages_of(load_corpus(formats["texts"], languages=["zh", "en"]))) == {"zh", "en"}
    with pytest.raises(ValueError, match=r"train\.jsonl: no row has a sentence in 'it'; it has en"):
        load_corpus(formats["jsonl"], languages=["en", "it"])


def test_other_columns_are_kept(tmp_path):
    rows = [
        {"translation": ROWS[0], "constructions": ["copula", "past"]},
        {"translation": ROWS[1], "constructions": [], "id": 7},
    ]
    corpus = load_corpus(write_jsonl(tmp_path / "a.jsonl", rows))
    assert corpus["constructions"][:] == [["copula", "past"], []] and corpus["id"][:] == [None, 7]


GOOD = json.dumps({"translation": {"en": "a", "de": "b"}})


@pytest.mark.parametrize(
    "content, expected",
    [
        ("", "the file is empty"),
        ("\n\n", "the file is empty"),
        (f"{GOOD}\n{{oops\n", "line 2: not valid JSON"),
        (f"{GOOD}\n\n{GOOD}\n", "line 2: not valid JSON"),
        ("[1]\n", "row 1: expected a JSON object"),
        ("1\n", "line 1: expected a JSON object"),
        ("[1, 2\n", "not valid JSON"),
        (f'{GOOD}\n{{"text": "x"}}\n', 'line 2: no "translation"'),
        ('{"translation": "x"}\n', 'line 1: no "translation"'),
        ('{"translation": {}}\n', 'line 1: no "translation"'),
        ('{"translation": 5}\n', 'line 1: no "translation"'),
        ('{"translation": {"en": ""}}\n', "line 1: the 'en' sentence is empty"),
        (
            f'{GOOD}\n{{"translation": {{"en": "a", "de": " "}}}}\n',
            "line 2: the 'de' sentence is empty",
        ),
        (
            f'{GOOD}\n{{"translation": {{"en": "a", "de": 5}}}}\n',
            "line 2: the 'de' sentence is not text",
        ),
        (
            f'{{"translation": {{"en": "{"a " * 1_000_000}", "de": "b"}}}}\n',
            "line 1: the 'en' sentence has 2,000,000",
        ),
        (
            f'{GOOD}\n{{"translation": {{"en": "a\\ud800", "de": "b"}}}}\n',
            "line 2: a text holds half a character",
        ),
        (
            f'{GOOD}\n{{"translation": {{"en": "a", "de": "b"}}, "id": "\\udc00"}}\n',
            "line 2: a text holds half",
        ),
        ('{"translation": {"en": null, "de": null}}\n', "there are no sentences"),
    ],
)
def test_bad_jsonl_names_file_and_line(tmp_path, content, expected):
    (tmp_path / "bad.jsonl").write_text(content)
    with pytest.raises(ValueError) as error:
        load_corpus(tmp_path / "bad.jsonl")
    assert "bad.jsonl" in str(error.value) and expected in str(error.value)


def test_not_utf8_names_line_and_offset(tmp_path):
    data = GOOD.encode() + b"\n" + '{"translation": {"en": "a", "de": "für"}}\n'.encode("latin-1")
    (tmp_path / "bad.jsonl").write_bytes(data)
    with pytest.raises(
        ValueError,
        match=rf"bad\.jsonl, line 2: not UTF-8 \(byte 0xfc at offset {data.index(0xFC)}\)",
    ):
        load_corpus(tmp_path / "bad.jsonl")


@pytest.mark.parametrize(
    "content, expected",
    [
        ("en\tde\na\tb\nc\n", "line 3: 1 columns, but the header names 2"),
        ("a dog\tb\n", "line 1: the header"),
        ("en\n", "line 1: the header"),
        ("en\tde\na\t\n", "line 2: the 'de' sentence is empty"),
    ],
)
def test_bad_tsv_names_the_line(tmp_path, content, expected):
    (tmp_path / "bad.tsv").write_text(content)
    with pytest.raises(ValueError) as error:
        load_corpus(tmp_path / "bad.tsv")
    assert "bad.tsv" in str(error.value) and expected in str(error.value)


def test_misaligned_text_files_are_refused(formats):
    with (formats["texts"] / "train.de").open("a") as file:
        file.write("zu viel\n")
    with pytest.raises(
        ValueError,
        match=r"misaligned.*train\.de 3 lines, train\.en 2 lines, .*; train\.en ends after line 2",
    ):
        load_corpus(formats["texts"])


def test_an_empty_line_in_text_files_is_refused(formats):
    (formats["texts"] / "train.de").write_text("\nzwei Katzen\n")
    with pytest.raises(ValueError, match="train.de.*line 1: the 'de' sentence is empty"):
        load_corpus(formats["texts"])
    with pytest.warns(UserWarning, match="1 empty sentences count as missing, .*line 1: the 'de'"):
        corpus = load_corpus(formats["texts"], empty="skip")
    assert corpus["translation"][0]["de"] is None and len(corpus) == 2
    assert pair_rows(corpus, "en-de") == [("two cats", "zwei Katzen")]
    with pytest.raises(ValueError, match="empty = 'keep' is unknown: use refuse or skip"):
        load_corpus(formats["texts"], empty="keep")


def test_text_files_without_a_wanted_language_and_empty_tables_are_refused(formats, tmp_path):
    with pytest.raises(ValueError, match=r"no train\.it; it has train\.de, train\.en, train\.zh"):
        load_corpus(formats["texts"], languages=["en", "it"])
    (tmp_path / "empty.tsv").write_text("en\tde\n")
    with pytest.raises(ValueError, match=r"empty\.tsv: there are no sentences"):
        load_corpus(tmp_path / "empty.tsv")


def test_columns_of_mixed_types_are_refused(tmp_path):
    rows = [{"translation": ROWS[0], "id": 1}, {"translation": ROWS[1], "id": ["x"]}]
    with pytest.raises(ValueError, match=r"a\.jsonl.*values of different types"):
        load_corpus(write_jsonl(tmp_path / "a.jsonl", rows))


def test_a_folder_without_the_split_says_what_it_holds(formats):
    with pytest.raises(ValueError, match=r"needs test\.jsonl.*train\.de, train\.en, train\.zh"):
        load_corpus(formats["texts"], split="test")


@pytest.mark.parametrize(
    "name", ["nothing.jsonl", "./folder", "/nowhere/at/all", "corpus", "data/tiny_babel/dev.jsonl"]
)
def test_missing_paths_make_no_hub_call(name, monkeypatch):
    monkeypatch.setattr(
        "lander_lite.corpus.load_dataset", lambda *_, **__: pytest.fail("asked the hub")
    )
    with pytest.raises(FileNotFoundError, match=name):
        load_corpus(name)


def test_no_corpus_and_an_unknown_format_say_what_to_do(tmp_path):
    with pytest.raises(ValueError, match="--corpus"):
        load_corpus(None)
    (tmp_path / "rows.csv").write_text("en,de\n")
    with pytest.raises(ValueError, match="cannot tell the format"):
        load_corpus(tmp_path / "rows.csv")


def test_hub_id_with_config_passes_through_and_checks_rows(monkeypatch):
    asked = []

    def hub(*arguments, **keywords):
        asked.append((arguments, keywords))
        return [{"translation": ROWS[0]}, {"translation": {"en": "x", "de": "", "zh": "z"}}]

    monkeypatch.setattr("lander_lite.corpus.load_dataset", hub)
    assert len(load_corpus("owner/name:en-zh", split="test", languages=["en", "zh"])) == 2
    assert asked == [(("owner/name", "en-zh"), {"split": "test"})]
    with pytest.raises(
        ValueError, match=r"owner/name \(train\), row 2: the 'de' sentence is empty"
    ):
        load_corpus("owner/name")


def test_a_part_of_its_own_on_the_hub_and_in_folders(monkeypatch, formats, tmp_path):
    monkeypatch.setattr("lander_lite.corpus.get_dataset_split_names", lambda *_: ["train", "test"])
    assert has_split("owner/name:en-de", "test") and not has_split("owner/name", "valid")
    assert has_split(formats["texts"], "train") and not has_split(formats["texts"], "test")
    assert not has_split(formats["jsonl"], "test")
    with pytest.raises(FileNotFoundError, match="a hub id is owner/name"):
        has_split("word", "test")


def test_mono_by_language_and_its_errors(tmp_path):
    path = write_jsonl(
        tmp_path / "mono.jsonl",
        [{"lang": "en", "text": "a"}, {"lang": "af", "text": "b"}, {"lang": "en", "text": "c"}],
    )
    assert load_mono(path) == {"en": ["a", "c"], "af": ["b"]}
    write_jsonl(path, [{"lang": "en", "text": "a"}, {"lang": "en"}])
    with pytest.raises(ValueError, match=r"mono\.jsonl, line 2"):
        load_mono(path)
    with pytest.raises(FileNotFoundError):
        load_mono(tmp_path / "none.jsonl")


@pytest.mark.parametrize(
    "pair", ["en", "en-", "-de", "en-de-fr", "en-en", "zh-Hans", "en-pt-br", "", None]
)
def test_malformed_pairs(pair):
    with pytest.raises(ValueError, match="not a translation direction"):
        parse_pair(pair)


@pytest.mark.parametrize(
    "pair, source, target",
    [
        ("en-zh-Hans", "en", "zh-Hans"),
        ("zh-Hans-en", "zh-Hans", "en"),
        ("sr-Latn-RS-sr-Cyrl", "sr-Latn-RS", "sr-Cyrl"),
        ("pt-BR-es-419", "pt-BR", "es-419"),
        ("eng_Latn-zho_Hans", "eng_Latn", "zho_Hans"),
        ("EN-DE", "EN", "DE"),
    ],
)
def test_a_script_or_region_belongs_to_its_language(pair, source, target):
    assert parse_pair(pair) == languages_of_pair(pair) == (source, target)
    assert languages_of_pair(source) == (source,)


@pytest.mark.parametrize(
    "code, name",
    [
        ("zh", "Chinese"),
        ("zh-Hans", "Chinese (Simplified)"),
        ("zho_Hant", "Chinese (Traditional)"),
        ("pt_BR", "Portuguese (Brazil)"),
        ("sr-Latn-RS", "Serbian (Latin, Serbia)"),
        ("eng_Latn", "English"),
        ("afr", "Afrikaans"),
        ("gsw-ZH", "Swiss German"),
        ("bn", "Bengali"),
        ("xx", "xx"),
        ("no such code", "no such code"),
    ],
)
def test_english_names_of_codes(code, name):
    assert language_name(code) == name


def test_codes_with_scripts_and_regions_from_header_to_prompt(tmp_path):
    (tmp_path / "a.tsv").write_text("en\tzh-Hans\tpt-br\na dog\t狗\tcão\n", encoding="utf-8")
    corpus = load_corpus(tmp_path / "a.tsv", languages=["en", "zh-hans", "pt-BR"])
    assert languages_of(corpus) == ["en", "zh-Hans", "pt-BR"]
    ((source, target),) = pair_rows(corpus, "zh-Hans-pt-BR")
    expected = "Chinese (Simplified): 狗\nPortuguese (Brazil):"
    assert prompt(source, "zh-Hans-pt-BR") == expected and target == "cão"
    with pytest.raises(ValueError, match="pair en-zh: the corpus has no 'zh'; it has en, zh-Hans"):
        check_pairs(corpus, ["en-zh"])


def test_parse_and_check_pairs(corpus, tokenizer):
    assert parse_pair("en-de") == ("en", "de") and parse_pair("en-zh_Hant") == ("en", "zh_Hant")
    check_pairs(corpus, ["en-de", "zh-en"], tokenizer)
    with pytest.raises(ValueError, match="pair en-it: the corpus has no 'it'; it has en, de, zh"):
        check_pairs(corpus, ["en-de", "en-it"])
    with pytest.raises(ValueError, match="must be a list"):
        check_pairs(corpus, "en-de")
    with pytest.raises(ValueError, match="pairs is empty"):
        check_pairs(corpus, [])
    with pytest.raises(KeyError, match="it"):
        texts(corpus, "it")


def test_unknown_tokens_are_reported(corpus):
    class Ascii:
        unk_token_id = 0

        def __call__(self, text, **_):
            return {"input_ids": [ord(c) if c.isascii() else 0 for c in text]}

    with pytest.warns(UserWarning, match="of zh to its unknown token"):
        check_pairs(corpus, ["en-zh"], Ascii())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_pairs(corpus, ["en-de"], Ascii())


def test_prompt_with_shots_and_templates():
    assert prompt("a dog", "en-de") == "English: a dog\nGerman:"
    assert (
        prompt("a dog", "en-de", shots=[("a cat", "eine Katze")])
        == "English: a cat\nGerman: eine Katze\nEnglish: a dog\nGerman:"
    )
    assert (
        prompt("{odd}", "en-xx", "{source_language}>{target_language}: {source} =")
        == "English>xx: {odd} ="
    )
    for template, expected in [
        ("Translate:", "no {source}"),
        ("{source} {lang}", "unknown field 'lang'"),
    ]:
        with pytest.raises(ValueError, match=expected):
            prompt("a", "en-de", template)


@pytest.mark.parametrize("shots", [(), [("a cat", "eine Katze")]])
def test_encode_trains_on_what_inference_will_see(tokenizer, shots):
    example = encode(tokenizer, "a dog", "ein Hund", "en-de", shots=shots)
    seen = prompt_ids(tokenizer, prompt("a dog", "en-de", shots=shots))
    assert example["input_ids"][: len(seen)] == seen
    assert example["labels"] == [-100] * len(seen) + example["input_ids"][len(seen) :]
    learned = [i for i in example["labels"] if i != -100]
    assert learned[-1] == tokenizer.eos_token_id and tokenizer.decode(learned[:-1]) == " ein Hund"


def test_bos_only_where_the_tokenizer_puts_it(tokenizer):
    import copy

    llama_like = copy.deepcopy(tokenizer)
    llama_like.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    plain, with_bos = encode(tokenizer, "a", "b", "en-de"), encode(llama_like, "a", "b", "en-de")
    assert with_bos["input_ids"] == [1, *plain["input_ids"]] and with_bos["labels"] == [
        -100,
        *plain["labels"],
    ]


@pytest.mark.parametrize(
    "source, target", [("s" * 300, "t" * 5), ("s" * 5, "t" * 300), ("s" * 300, "t" * 300)]
)
def test_long_examples_are_cut_on_both_sides(tokenizer, source, target):
    example = encode(tokenizer, source, target, "en-de", max_length=80)
    learned = [i for i in example["labels"] if i != -100]
    text = tokenizer.decode(
        [i for i, label in zip(example["input_ids"], example["labels"]) if label == -100]
    )
    assert len(example["input_ids"]) == len(example["labels"]) <= 80
    assert text.startswith("English: s") and text.endswith("s\nGerman:")
    if len(target) == 5:  # the short side stays whole, EOS included
        assert len(learned) == 7 and learned[-1] == tokenizer.eos_token_id
    else:
        assert len(learned) >= 40 and tokenizer.eos_token_id not in learned


def test_too_little_room_and_no_eos_are_refused(tokenizer):
    import copy

    with pytest.raises(
        ValueError, match="the en-de template takes .* tokens without a sentence; raise max_length"
    ):
        encode(tokenizer, "a", "b", "en-de", max_length=16)
    without = copy.deepcopy(tokenizer)
    without.eos_token = None
    with pytest.raises(ValueError, match="no EOS token"):
        encode(without, "a", "b", "en-de")


@pytest.mark.parametrize("side", ["left", "right"])
def test_collate_pads_on_the_side(tokenizer, side):
    examples = [{"input_ids": [5, 6, 7], "labels": [-100, 6, 7]}, {"input_ids": [8], "labels": [8]}]
    batch = collate(tokenizer, examples, side=side)
    pad = tokenizer.pad_token_id
    short = {"left": [pad, pad, 8], "right": [8, pad, pad]}[side]
    assert batch["input_ids"].tolist() == [[5, 6, 7], short]
    assert torch.equal(batch["attention_mask"], (batch["input_ids"] != pad).long())
    assert batch["labels"].tolist() == [[-100, 6, 7], [-100 if i == pad else i for i in short]]
    assert "labels" not in collate(tokenizer, [{"input_ids": [5]}])
    with pytest.raises(ValueError, match="side='middle'"):
        collate(tokenizer, examples, side="middle")


def test_batches_cover_everything_longest_first():
    items = ["a" * n for n in (3, 9, 1, 7, 7, 2)]
    grouped = list(batches(items, 4))
    lengths = [len(items[i]) for batch in grouped for i in batch]
    assert [len(batch) for batch in grouped] == [4, 2] and sorted(
        i for batch in grouped for i in batch
    ) == list(range(6))
    assert lengths == sorted(lengths, reverse=True)


def test_sentences_to_measure_are_cut_and_the_empty_one_is_named(tokenizer):
    first, second = encode_sentences(tokenizer, ["abc", "abcdef"], 4)
    assert first == {"input_ids": prompt_ids(tokenizer, "abc")}
    assert second == {"input_ids": prompt_ids(tokenizer, "abcdef")[:4], "cut": True}
    assert "cut" not in encode_sentences(tokenizer, ["a" * 500], None)[0]
    with pytest.raises(ValueError, match="^text, sentence 1 has no tokens, but needs 1: ''"):
        encode_sentences(tokenizer, ["a", ""], 4)
    with pytest.raises(ValueError, match="^'de', sentence 0 has 1 tokens, but needs 2: 'a'"):
        encode_sentences(tokenizer, ["a"], 4, minimum=2, name="'de'")


def test_plain_text_is_read_like_a_corpus(corpus):
    mono = {"zh": ["狗"], "en": ["a dog"]}
    assert languages_of(mono) == ["zh", "en"] and texts(mono, "en") == ["a dog"]
    with pytest.raises(KeyError, match="no 'de'; it has zh, en"):
        texts(mono, "de")


# ---------------------------------------------------------------- files that could be misread
def write_files(folder, **files):
    for name, lines in files.items():
        (folder / name.replace("_", ".")).write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.mark.parametrize(
    "names, fault",
    [
        ("train.en train.de train.tok.en", r"train\.en and train\.tok\.en are both 'en'"),
        ("train.en train.a.de train.b.de", r"train\.a\.de and train\.b\.de are both 'de'"),
        ("train.en-de.en train.en-de.de train.en-fr.en", r"train\.en-fr\.en has no other side"),
        ("train.en-de.en train.en-de.de train.tok.en", r"train\.tok\.en has no other side"),
    ],
)
def test_files_that_belong_nowhere_are_named(tmp_path, names, fault):
    for name in names.split():
        (tmp_path / name).write_text("a dog\n", encoding="utf-8")
    with pytest.raises(ValueError, match=fault):
        load_corpus(tmp_path)


def test_a_folder_of_pairs_gives_each_pair_its_own_rows(tmp_path):
    files = {"en-de.en": "a dog\na cat", "en-de.de": "ein Hund\neine Katze"}
    files |= {"en-zh-Hans.en": "a fish", "en-zh-Hans.zh-Hans": "鱼"}
    for name, text in files.items():
        (tmp_path / f"train.{name}").write_text(text + "\n", encoding="utf-8")
    corpus = load_corpus(tmp_path)
    assert pair_rows(corpus, "de-en") == [("ein Hund", "a dog"), ("eine Katze", "a cat")]
    assert pair_rows(corpus, "en-zh-Hans") == [("a fish", "鱼")]
    assert texts(corpus, "en") == ["a dog", "a cat", "a fish"]
    with pytest.raises(ValueError, match="pair de-zh-Hans: no sentences, since no row has both"):
        check_pairs(corpus, ["de-zh-Hans"])
    only = load_corpus(tmp_path, languages=["en", "de"])
    assert languages_of(only) == ["en", "de"]
    (tmp_path / "train.en-de.de").write_text("ein Hund\n", encoding="utf-8")
    with pytest.raises(ValueError, match="misaligned.*train.en-de.de 1 lines, train.en-de.en 2"):
        load_corpus(tmp_path)


def test_rows_in_different_languages_serve_the_pairs_that_they_have(tmp_path):
    rows = [
        {"en": "a", "de": "b"},
        {"en": "c", "fr": "d", "de": None},
        {"en": "e", "de": "f", "fr": "g"},
    ]
    corpus = load_corpus(write_jsonl(tmp_path / "a.jsonl", [{"translation": row} for row in rows]))
    assert languages_of(corpus) == ["en", "de", "fr"]
    assert pair_rows(corpus, "en-de") == [("a", "b"), ("e", "f")]
    assert pair_rows(corpus, "fr-en", 1) == [("d", "c")]
    assert texts(corpus, "fr") == ["d", "g"]
    check_pairs(corpus, ["en-de", "de-fr"])
    chosen = load_corpus(tmp_path / "a.jsonl", languages=["de", "en"])
    assert chosen["translation"][1] == {"de": None, "en": "c"}


def test_faults_in_languages_that_are_not_used_do_not_matter(tmp_path):
    rows = [{"en": "a", "de": "b", "xx": ""}, {"en": "c", "de": "d", "xx": 5}, {"xx": "only"}]
    path = write_jsonl(tmp_path / "a.jsonl", [{"translation": row} for row in rows])
    with pytest.raises(ValueError, match="line 1: the 'xx' sentence is empty"):
        load_corpus(path)
    assert load_corpus(path, languages=["en", "de"])["translation"] == [
        {"en": "a", "de": "b"},
        {"en": "c", "de": "d"},
    ]


def test_a_json_array_is_read_as_rows(tmp_path):
    rows = [{"translation": row} for row in ROWS]
    (tmp_path / "a.json").write_text(json.dumps(rows, indent=2), encoding="utf-8")
    write_jsonl(tmp_path / "b.jsonl", rows)
    assert (
        load_corpus(tmp_path / "a.json")["translation"]
        == load_corpus(tmp_path / "b.jsonl")["translation"]
    )
    (tmp_path / "a.json").write_text(
        json.dumps([*rows, {"translation": {"en": ""}}]), encoding="utf-8"
    )
    with pytest.raises(
        ValueError, match=f"a.json, row {len(rows) + 1}: the 'en' sentence is empty"
    ):
        load_corpus(tmp_path / "a.json")


def test_a_log_beside_the_texts_is_no_language(tmp_path):
    write_files(tmp_path, train_en=["a dog"], train_de=["ein Hund"], train_log=["done"])
    (tmp_path / "train.en.gz").write_bytes(b"\x1f\x8b")
    assert load_corpus(tmp_path)["translation"] == [{"de": "ein Hund", "en": "a dog"}]
    asked = load_corpus(tmp_path, languages=["en", "log"])["translation"]  # Logo's code
    assert asked == [{"en": "a dog", "log": "done"}]


def test_a_table_with_two_columns_of_one_language_is_refused(tmp_path):
    (tmp_path / "c.tsv").write_text("en\tde\ten\na\tb\tc\n", encoding="utf-8")
    with pytest.raises(ValueError, match="c.tsv, line 1: two columns of one language: en, de, en"):
        load_corpus(tmp_path / "c.tsv")


@pytest.mark.parametrize(
    "line, fault",
    [
        ('{"translation": {"en": "a", "de": "b", "en": "c"}}', "the key 'en' is there twice"),
        ('{"translation": ' * 5000, "recursion"),
        ('{"translation": ' + "1" * 5000 + "}", "digits"),
    ],
    ids=["twice", "deep", "long"],
)
def test_json_that_python_reads_oddly_is_refused_with_its_line(tmp_path, line, fault):
    path = tmp_path / "c.jsonl"
    path.write_text('{"translation": {"en": "a", "de": "b"}}\n' + line + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match=f"c.jsonl, line 2: not valid JSON .*{fault}") as error:
        load_corpus(path)
    assert len(str(error.value)) < 500
