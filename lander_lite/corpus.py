"""Corpora, prompts and batches.

A parallel corpus is a `datasets.Dataset` with a column `translation`, {language: sentence}, as in
WMT; plain text is {language: sentences}.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from datasets import Dataset, load_dataset
from pyarrow import ArrowInvalid, ArrowTypeError
from torch.nn.utils.rnn import pad_sequence

from .blocks import unwrap
from .io import json_rows, lines_of, parse_pair, resolve

_NAMES = """en English, de German, it Italian, fr French, ar Arabic, zh Chinese, af Afrikaans,
es Spanish, ja Japanese, ru Russian, pt Portuguese, nl Dutch, pl Polish, cs Czech, ro Romanian,
sv Swedish, da Danish, no Norwegian, fi Finnish, el Greek, tr Turkish, uk Ukrainian, he Hebrew,
fa Persian, hi Hindi, bn Bengali, ur Urdu, ta Tamil, id Indonesian, vi Vietnamese, th Thai,
ko Korean, sw Swahili, yo Yoruba, zu Zulu, mt Maltese, cy Welsh, ga Irish, is Icelandic,
et Estonian, lv Latvian, lt Lithuanian, sk Slovak, sl Slovenian, hr Croatian, sr Serbian,
bg Bulgarian, hu Hungarian, ca Catalan, eu Basque, gl Galician, ka Georgian, ne Nepali"""
LANGUAGE_NAMES = dict(entry.split() for entry in _NAMES.split(","))
TEMPLATE = "{source_language}: {source}\n{target_language}:"  # the target follows as " " + text
TOO_LONG = ("cut", "refuse")
Corpus = Dataset | Mapping[str, Sequence[str]]
Rows = Iterable[tuple[int, dict]]  # with their numbers, for messages


def load_corpus(source, *, split: str = "train", languages: Sequence[str] | None = None) -> Dataset:
    """A parallel corpus, all rows in the same languages; line breaks in a sentence become spaces.

    Args:
        source: a .jsonl file (rows {"translation": {…}}, other columns kept), a .tsv file with a
            header of language codes, a folder of {split}.jsonl, {split}.tsv or {split}.{language}
            text files (one sentence a line), or a hub id, "owner/name" or "owner/name:config".
        split: for folders and hub ids. languages: default: those of the first row.

    Raises: FileNotFoundError for a missing path, before any hub call; ValueError with the line.
    """
    if source is None:
        remedy = "pass one (--corpus, or corpus.train in the config)"
        raise ValueError(f"no corpus given: this profile names none; {remedy}")
    path = resolve(source)
    if path is None:
        return _dataset(_hub_rows(str(source), split), languages, f"{source} ({split}), row")
    if path.is_dir():
        tables = [path / f"{split}.jsonl", path / f"{split}.tsv"]
        tables = [table for table in tables if table.exists()]
        if not tables:
            where = f"{path}/{split}.*, line"
            return _dataset(_text_rows(path, split, languages), languages, where)
        path = tables[0]
    readers = {".jsonl": json_rows, ".json": json_rows, ".tsv": _tsv_rows}
    if path.suffix not in readers:
        raise ValueError(
            f"{path}: cannot tell the format from {path.suffix!r}; use .jsonl, .tsv or a folder "
            f"of {split}.<language> files"
        )
    return _dataset(readers[path.suffix](path), languages, f"{path}, line")


def _hub_rows(source: str, split: str) -> Rows:
    name, _, config = source.partition(":")
    if "/" not in source:  # every hub dataset has an owner, so a bare word is a missing file
        neither = "is no file or folder, and a hub id is owner/name"
        raise FileNotFoundError(f"no such corpus: {source} {neither}")
    try:
        return enumerate(load_dataset(name, config or None, split=split), 1)
    except OSError as error:  # DatasetNotFoundError and ConnectionError are OSErrors
        neither = "neither a local path nor a dataset the hub gives"
        raise FileNotFoundError(f"{source} is {neither}: {error}") from error


def _tsv_rows(path: Path) -> Rows:
    (_, header), *lines = lines_of(path)
    codes = header.split("\t")
    if len(codes) < 2 or not all(re.fullmatch(r"[A-Za-z]{2,3}([_-]\w+)?", code) for code in codes):
        wanted = "the header must be language codes separated by tabs"
        raise ValueError(f"{path}, line 1: {wanted}, not {header[:80]!r}")
    for number, line in lines:
        columns = line.split("\t")
        if len(columns) != len(codes):
            found = f"{len(columns)} columns, but the header names {len(codes)} languages"
            raise ValueError(f"{path}, line {number}: {found}")
        yield number, {"translation": dict(zip(codes, columns))}


def _text_rows(folder: Path, split: str, languages) -> Rows:
    code = re.compile(r"\.(?!txt|csv)[a-z]{2,3}([_-]\w+)?")
    found = [path for path in sorted(folder.glob(f"{split}.*")) if code.fullmatch(path.suffix)]
    files = {path.suffix[1:]: path for path in found}
    if len(files) < 2:
        held = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
        raise ValueError(
            f"{folder}: needs {split}.jsonl, {split}.tsv or at least two {split}.<language> files; "
            f"it holds {held}"
        )
    wanted = list(languages or files)
    if missing := [lang for lang in wanted if lang not in files]:
        names = ", ".join(path.name for path in found)
        raise ValueError(f"{folder}: no {split}.{missing[0]}; it has {names}")
    columns = [[text for _, text in lines_of(files[lang])] for lang in wanted]
    lengths = [len(column) for column in columns]
    if min(lengths) < max(lengths):
        told = ", ".join(f"{files[x].name} {n} lines" for x, n in zip(wanted, lengths))
        shortest = files[wanted[lengths.index(min(lengths))]].name
        raise ValueError(
            f"{folder}: misaligned, the files differ in length: {told}; {shortest} ends after line "
            f"{min(lengths)}"
        )
    for number, sentences in enumerate(zip(*columns), 1):
        yield number, {"translation": dict(zip(wanted, sentences))}


def _dataset(rows: Rows, languages, where: str) -> Dataset:
    """Check every row and build the dataset; `where` and the row's number name it in errors."""
    expected, clean = list(languages or ()), []
    for number, row in rows:
        if fault := _fault(row, expected, extra_allowed=bool(languages or not expected)):
            raise ValueError(f"{where} {number}: {fault}")
        expected = expected or list(row["translation"])
        sentences = {lang: one_line(row["translation"][lang]) for lang in expected}
        clean.append({**row, "translation": sentences})
    if not clean:
        raise ValueError(f"{where} 1: there are no sentences")
    columns = dict.fromkeys(key for row in clean for key in row)
    try:
        return Dataset.from_dict({column: [row.get(column) for row in clean] for column in columns})
    except (ArrowInvalid, ArrowTypeError) as error:
        fault = f"a column holds values of different types ({error})"
        raise ValueError(f"{where} 1 and after: {fault}") from error


def _fault(row: dict, expected: list[str], extra_allowed: bool) -> str:
    """What is wrong with a row, "" if nothing is; of the first row, nothing is expected."""
    translation = row.get("translation")
    if not isinstance(translation, dict) or not translation:
        held = ", ".join(row) or "nothing"
        return f'no "translation": {{language: sentence}} here (it has {held})'
    for lang in expected or translation:
        if lang not in translation:
            return f"language {lang!r} is missing (the row has {', '.join(translation)})"
        if not isinstance(translation[lang], str) or not translation[lang].strip():
            return f"the {lang!r} sentence is empty or not text; drop the row or fill it"
    if not extra_allowed and (extra := [lang for lang in translation if lang not in expected]):
        told = "is in this row but not in the first; pass languages=[...] to choose"
        return f"language {extra[0]!r} {told}"
    return ""


def load_mono(path) -> dict[str, list[str]]:
    """{language: sentences} of a .jsonl file of rows {"lang": code, "text": sentence}; raises as
    `load_corpus`."""
    found, mono = resolve(path), {}
    if found is None:
        raise FileNotFoundError(f"no such file: {path}")
    for number, row in json_rows(found):
        lang, text = row.get("lang"), row.get("text")
        if not (isinstance(lang, str) and lang and isinstance(text, str) and text.strip()):
            wanted = '{"lang": code, "text": sentence}, both non-empty'
            raise ValueError(f"{found}, line {number}: expected {wanted}")
        mono.setdefault(lang, []).append(one_line(text))
    return mono


def one_line(text: str) -> str:
    """Line breaks become spaces: a prompt has one line per sentence."""
    return " ".join(text.splitlines()).strip()


def languages_of(corpus: Corpus) -> list[str]:
    """The language codes of a parallel corpus, in the order of its rows, or of plain text."""
    return list(corpus if isinstance(corpus, Mapping) else corpus[0]["translation"])


def texts(corpus: Corpus, language: str) -> Sequence[str]:
    """All sentences of one language, in order. Raises KeyError when the corpus lacks it."""
    if language not in languages_of(corpus):
        raise KeyError(f"the corpus has no {language!r}; it has {', '.join(languages_of(corpus))}")
    if isinstance(corpus, Mapping):
        return corpus[language]
    return [row[language] for row in corpus["translation"]]


def plain_text(corpus: Corpus, language: str) -> list[str]:
    """The sentences of one language as a list. ValueError for none, or an empty one."""
    if language not in (known := languages_of(corpus)):
        wrong = f"{language!r} is neither a direction, such as en-de, nor a language of the corpus"
        raise ValueError(f"{wrong}: it has {', '.join(known)}")
    sentences = texts(corpus, language)
    if isinstance(sentences, str) or not len(sentences):
        raise ValueError(f"'{language}': give a list of sentences, not {sentences!r}")
    for number, sentence in enumerate(sentences):
        if not sentence.strip():
            raise ValueError(f"'{language}': sentence {number} is empty")
    return list(sentences)


def check_pairs(corpus, pairs: Sequence[str], tokenizer=None, plain: bool = False) -> None:
    """Refuse, with a ValueError, an empty list, a malformed pair and what the corpus lacks.

    With a tokenizer, warn about languages of which more than a tenth of the tokens is unknown.
    plain: bare language codes are allowed too, for plain text.
    """
    if not pairs:
        raise ValueError("no translation direction given: pairs is empty")
    if isinstance(pairs, str):
        wanted = "a list, such as ['en-de', 'de-en']"
        raise ValueError(f"pairs must be {wanted}, not the string {pairs!r}")
    directions = [pair for pair in pairs if not plain or "-" in pair]
    for language in set(pairs) - set(directions):
        plain_text(corpus, language)
    if directions and isinstance(corpus, Mapping):
        wrong = f"{directions[0]}: plain text holds no translations"
        raise ValueError(f"{wrong}; give a parallel corpus")
    known = languages_of(corpus)
    for pair in directions:
        if missing := [lang for lang in parse_pair(pair) if lang not in known]:
            has = ", ".join(known)
            raise ValueError(f"pair {pair}: the corpus has no {missing[0]!r}; it has {has}")
    if directions and tokenizer is not None and tokenizer.unk_token_id is not None:
        _warn_of_unknown_tokens(corpus, directions, tokenizer)


def check_data(corpus: Corpus, pairs: Sequence[str], tokenizer=None) -> None:
    """`check_pairs` for a list that may also hold bare codes, for plain text of one language."""
    check_pairs(corpus, pairs, tokenizer, plain=True)


def _warn_of_unknown_tokens(corpus: Dataset, pairs: Sequence[str], tokenizer) -> None:
    sample = corpus.select(range(min(50, len(corpus))))
    for lang in dict.fromkeys(lang for pair in pairs for lang in parse_pair(pair)):
        ids = []
        for text in texts(sample, lang):
            ids += tokenizer(text, add_special_tokens=False)["input_ids"]
        share = ids.count(tokenizer.unk_token_id) / max(1, len(ids))
        if share > 0.1:
            lost = f"{share:.0%} of {lang} to its unknown token: its results will mean little"
            warnings.warn(f"the tokenizer maps {lost}", stacklevel=3)


def prompt(
    source: str, pair: str, template: str | None = None, shots: Sequence[tuple[str, str]] = ()
) -> str:
    """The prompt up to and including "German:", after `shots`, (source, target) examples."""
    template = template or TEMPLATE
    if "{source}" not in template:
        raise ValueError(f"the template has no {{source}}: {template!r}")
    first, second = (LANGUAGE_NAMES.get(lang, lang) for lang in parse_pair(pair))
    names = {"source_language": first, "target_language": second}
    try:
        parts = [f"{template.format(source=s, **names)} {t}" for s, t in shots]
        return "\n".join([*parts, template.format(source=source, **names)])
    except (KeyError, IndexError) as error:
        fields = "source, source_language, target_language"
        raise ValueError(f"the template has an unknown field {error}; it takes {fields}") from error


def prompt_ids(tokenizer, text: str) -> list[int]:
    """Token ids, after BOS if this tokenizer puts it there (Llama's does, BLOOM's does not)."""
    bos = tokenizer.bos_token_id
    starts_with_bos = bos is not None and tokenizer("a")["input_ids"][:1] == [bos]
    return [bos] * starts_with_bos + tokenizer(text, add_special_tokens=False)["input_ids"]


def encode(
    tokenizer,
    source: str,
    target: str,
    pair: str,
    *,
    template: str | None = None,
    max_length: int = 256,
    shots: Sequence[tuple[str, str]] = (),
) -> dict:
    """One teacher-forced example: {"input_ids", "labels"}, both [length].

    Labels are -100 on the prompt, then the target and EOS. Prompt and " " + target are tokenised
    apart, so that the prompt's ids are those of inference. What is longer than `max_length` is cut
    and has "cut": True: the source at its end, so that each side keeps up to half, then the target
    (with EOS: nothing is taught to stop early).

    Raises: ValueError when the template alone does not fit, or without an EOS token.
    """
    if tokenizer.eos_token_id is None:
        raise ValueError(f"{type(tokenizer).__name__} has no EOS token; set tokenizer.eos_token")
    target_ids = tokenizer(" " + target, add_special_tokens=False)["input_ids"]
    target_ids = [*target_ids, tokenizer.eos_token_id]
    room = max_length - min(len(target_ids), max_length // 2)
    ids = prompt_ids(tokenizer, prompt(source, pair, template, shots))
    cut = {"cut": True} if len(ids) + len(target_ids) > max_length else {}
    while len(ids) > room:
        if not source:
            taken = f"the {pair} template takes {len(ids)} tokens without a sentence"
            raise ValueError(f"max_length={max_length} leaves no room: {taken}")
        source = source[: int(0.9 * len(source))]
        ids = prompt_ids(tokenizer, prompt(source, pair, template, shots))
    target_ids = target_ids[: max_length - len(ids)]
    return {"input_ids": ids + target_ids, "labels": [-100] * len(ids) + target_ids, **cut}


def cut_ids(ids: list[int], max_length: int | None) -> dict:
    """{"input_ids": at most max_length of them}, and "cut": True if there were more."""
    kept = ids[:max_length]
    return {"input_ids": kept} | ({"cut": True} if len(kept) < len(ids) else {})


def encode_text(tokenizer, sentence: str, max_length: int) -> dict:
    """One sentence with EOS to be learned: {"input_ids", "labels"}, equal, [length <= max_length].

    The first token is learned only where the tokenizer puts BOS in front of it, for else nothing
    predicts it. EOS goes with what is cut off.
    """
    example = cut_ids(prompt_ids(tokenizer, sentence) + [tokenizer.eos_token_id], max_length)
    return example | {"labels": example["input_ids"]}


def encode_sentences(
    tokenizer, sentences: Iterable[str], max_length: int | None, minimum: int = 1, name="text"
) -> list[dict]:
    """Sentences to be measured, without EOS: [{"input_ids"}], with "cut": True where cut.

    Raises: ValueError, with `name` and the sentence's number, for fewer than `minimum` tokens.
    """
    examples = []
    for number, sentence in enumerate(sentences):
        examples.append(cut_ids(prompt_ids(tokenizer, sentence), max_length))
        if (found := len(examples[-1]["input_ids"])) < minimum:
            tokens = f"has {found or 'no'} tokens, but needs {minimum}"
            raise ValueError(f"{name}, sentence {number} {tokens}: {sentence!r}. Remove it.")
    return examples


def check_examples(
    model, groups: Mapping[str, Sequence[dict]], max_length: int, too_long: str = "cut"
) -> None:
    """Before any work on encoded examples, {language or pair: examples}: count what was cut.

    A warning says how many of each group; with too_long="refuse" it is a ValueError. ValueError
    also for an unknown too_long, and as `check_ids`.
    """
    if too_long not in TOO_LONG:
        raise ValueError(f"too_long = {too_long!r} is unknown: use {' or '.join(TOO_LONG)}")
    counts = {}
    for name, examples in groups.items():
        check_ids(model, examples, name)
        counts[name] = sum("cut" in example for example in examples), len(examples)
    report_cut(counts, max_length, too_long)


def report_cut(counts: Mapping[str, tuple[int, int]], max_length: int, too_long="cut") -> None:
    """The warning or error of `check_examples`; counts: {group: (examples that were cut, all)}."""
    found = ", ".join(f"{n} of {size} in {name}" for name, (n, size) in counts.items() if n)
    if found and too_long == "refuse":
        remedy = "shorten them, raise max_length, or set too_long to cut"
        raise ValueError(f"longer than max_length={max_length} tokens: {found}; {remedy}")
    if found:
        warnings.warn(f"cut at max_length={max_length} tokens: {found}", stacklevel=4)


def check_ids(model, examples: Sequence[dict], name: str) -> None:
    """ValueError for a token that the model has no embedding for: on a GPU it ends the process."""
    rows = unwrap(model).get_input_embeddings().weight.shape[0]
    for number, example in enumerate(examples):
        if (largest := max(example["input_ids"], default=0)) >= rows:
            raise ValueError(
                f"{name}, example {number}: the tokenizer gives token {largest}, but the model "
                f"has {rows} embeddings (0 … {rows - 1}): it is another model's tokenizer; load "
                f"both from the same place"
            )


def collate(
    tokenizer, examples: Sequence[dict], side: str = "right", device=None
) -> dict[str, torch.Tensor]:
    """Pad examples to one length on `side`: LongTensors [batch, length] input_ids, attention_mask
    and, where the examples have them, labels (-100 on padding)."""
    if side not in ("left", "right"):
        raise ValueError(f"side={side!r} must be 'left' or 'right'")
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id

    def padded(rows, fill: int) -> torch.Tensor:
        rows = [torch.tensor(row, dtype=torch.long) for row in rows]
        return pad_sequence(rows, True, fill, padding_side=side).to(device)

    ids = [example["input_ids"] for example in examples]
    batch = {
        "input_ids": padded(ids, pad),
        "attention_mask": padded([[1] * len(row) for row in ids], 0),
    }
    if "labels" in examples[0]:
        batch["labels"] = padded([example["labels"] for example in examples], -100)
    return batch


def batches(items: Sequence, batch_size: int, key=len) -> Iterator[list[int]]:
    """Indices of `items` in batches of like length, longest first: little padding, and memory peaks
    in the first batch."""
    order = sorted(range(len(items)), key=lambda index: key(items[index]), reverse=True)
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]
