"""Read a parallel corpus or plain text from files or a hub (prompts.py says what they are)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from datasets import Dataset, load_dataset
from pyarrow import ArrowInvalid, ArrowTypeError

from .config import resolve
from .prompts import (  # what is done with a corpus is found here, too
    LANGUAGE_NAMES,
    TEMPLATE,
    batches,
    check_examples,
    check_ids,
    check_pairs,
    collate,
    cut_ids,
    encode,
    encode_sentences,
    encode_text,
    languages_of,
    one_line,
    plain_text,
    prompt,
    prompt_ids,
    report_cut,
    texts,
)  # fmt: skip

__all__ = ["LANGUAGE_NAMES", "TEMPLATE", "batches", "check_examples", "check_ids",
           "check_pairs", "collate", "cut_ids", "encode", "encode_sentences", "encode_text",
           "languages_of", "load_corpus", "load_mono", "one_line", "plain_text", "prompt",
           "prompt_ids", "report_cut", "texts"]  # fmt: skip

# endings of files that are no text, though each is some language's code
NO_TEXT = ("txt", "csv", "log", "gz", "bz2", "zip", "tar", "bin", "bak", "tmp", "old", "xml", "sgm")
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
    if len(set(codes)) < len(codes):
        raise ValueError(f"{path}, line 1: two columns of one language: {', '.join(codes)}")
    for number, line in lines:
        columns = line.split("\t")
        if len(columns) != len(codes):
            found = f"{len(columns)} columns, but the header names {len(codes)} languages"
            raise ValueError(f"{path}, line {number}: {found}")
        yield number, {"translation": dict(zip(codes, columns))}


def _text_rows(folder: Path, split: str, languages) -> Rows:
    code = re.compile(r"\.[a-z]{2,3}([_-]\w+)?")
    no_text = set(NO_TEXT) - set(languages or ())
    files: dict[str, Path] = {}
    for path in sorted(folder.glob(f"{split}.*")):
        language = path.suffix[1:]
        if not code.fullmatch(path.suffix) or language in no_text:
            continue
        if language in files:
            raise ValueError(
                f"{folder}: {files[language].name} and {path.name} are both {language!r}, so which "
                f"lines belong together is not clear; keep one folder for each set of files"
            )
        files[language] = path
    if len(files) < 2:
        held = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
        raise ValueError(
            f"{folder}: needs {split}.jsonl, {split}.tsv or at least two {split}.<language> files; "
            f"it holds {held}"
        )
    wanted = list(languages or files)
    if missing := [lang for lang in wanted if lang not in files]:
        names = ", ".join(path.name for path in files.values())
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


def lines_of(path: Path) -> list[tuple[int, str]]:
    """Numbered lines of a UTF-8 file, cut at \\n only: str.splitlines would also cut at U+2028.

    Raises: ValueError, with line and offset, for another encoding; for an empty file.
    """
    data = path.read_bytes()
    try:
        lines = data.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        at, line = error.start, data[: error.start].count(b"\n") + 1
        raise ValueError(
            f"{path}, line {line}: not UTF-8 (byte 0x{data[at]:02x} at offset {at}); convert the "
            f"file, e.g. iconv -f latin1 -t utf-8"
        ) from error
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise ValueError(f"{path}: the file is empty")
    return [(number, line.removesuffix("\r")) for number, line in enumerate(lines, 1)]


def json_rows(path: Path) -> Iterator[tuple[int, dict]]:
    """(line number, row) of a .jsonl file; ValueError, with the line, for any other content."""
    for number, line in lines_of(path):
        where = f"{path}, line {number}"
        try:
            row = json.loads(line, object_pairs_hook=_once)
        except (ValueError, RecursionError) as error:
            at = f" at column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
            fault = f"not valid JSON ({getattr(error, 'msg', error)}{at})"
            raise ValueError(f"{where}: {fault}: {line[:60]!r}") from error
        if not isinstance(row, dict):
            raise ValueError(f"{where}: expected a JSON object, found {type(row).__name__}")
        yield number, row


def _once(pairs: list[tuple[str, object]]) -> dict:
    """A JSON object, of which Python would keep the last of equal keys without a word."""
    row = dict(pairs)
    if len(row) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} is there twice")
    return row


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
