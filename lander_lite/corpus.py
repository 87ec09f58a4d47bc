"""Read a parallel corpus or plain text from files or a hub (prompts.py says what they are)."""

from __future__ import annotations

import gzip
import json
import lzma
import re
import warnings
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from datasets import Dataset, get_dataset_split_names, load_dataset
from pyarrow import ArrowInvalid, ArrowTypeError

from .config import resolve, shown
from .languages import is_pair, languages_of_pair
from .prompts import (  # what is done with a corpus is found here, too
    TEMPLATE,
    batches,
    check_examples,
    check_ids,
    check_pairs,
    collate,
    cut_ids,
    encode,
    encode_sentences,
    languages_of,
    one_line,
    pair_rows,
    prompt,
    prompt_ids,
    report_cut,
    texts,
)  # fmt: skip

__all__ = ["TEMPLATE", "batches", "check_examples", "check_ids",
           "check_pairs", "collate", "cut_ids", "encode", "encode_sentences",
           "has_split", "languages_of", "load_corpus", "load_mono", "one_line", "pair_rows",
           "prompt", "prompt_ids", "report_cut", "texts"]  # fmt: skip

EMPTY = ("refuse", "skip")
LONGEST = 100_000  # characters of a sentence: what is longer has lost its line breaks
# endings of files that are no text, though each is some language's code
NO_TEXT = ("txt", "csv", "log", "gz", "xz", "bz2", "zip", "tar", "bin", "bak", "tmp", "old", "xml",
           "sgm")  # fmt: skip
UNPACK = {
    ".xz": lzma.decompress,
    ".gz": gzip.decompress,
}  # a compressed file is read as if it were not
CODE = re.compile(r"[A-Za-z]{2,3}([_-]\w+)*")
Rows = Iterable[tuple[str, dict]]  # with their places, for messages


def load_corpus(
    source, *, split: str = "train", languages: Sequence[str] | None = None, empty: str = "refuse"
) -> Dataset:
    """A parallel corpus. A row may lack languages (None): a pair takes the rows that have both.

    Line breaks in a sentence become spaces. Codes of languages are kept, but "pt-br" is pt-BR, as
    pairs are read.

    Args:
        source: a .jsonl file (rows {"translation": {…}}, other columns kept), a .json array of such
            rows, a .tsv file with a header of language codes (no quoting: a quotation mark is one),
            a folder of {split}.jsonl, {split}.tsv or text files, one sentence a line,
            {split}.{language} or, for each pair, {split}.{source}-{target}.{language}, or a hub id,
            "owner/name" or "owner/name:config". Tables may be compressed: .jsonl.xz, .jsonl.gz, ….
        split: for folders and hub ids.
        languages: those to keep; faults in others do not matter. Default: all of any row.
        empty: a sentence without text is an error ("refuse") or, with a warning that counts them,
            as if it were not there ("skip").

    Raises: FileNotFoundError for a missing path, before any hub call; ValueError with the line.
    """
    if empty not in EMPTY:
        raise ValueError(f"empty = {empty!r} is unknown: use {' or '.join(EMPTY)}")
    if source is None:
        remedy = "pass one (--corpus, or corpus.train in the config)"
        raise ValueError(f"no corpus given: this profile names none; {remedy}")
    wanted = None if languages is None else [tidy_code(language) for language in languages]
    path = resolve(source)
    if path is None:
        rows, name = _hub_rows(str(source), split), f"{source} ({split})"
    else:
        rows, name = _file_rows(path, split, wanted), str(path)
    return _dataset(rows, wanted, name, empty)


def tidy_code(code: str) -> str:
    """A code as its pairs write it: "pt-br" is pt-BR and "zh-hans" zh-Hans; others stay."""
    first, *others = code.split("-")
    shaped = [part.upper() if len(part) == 2 else part.capitalize() for part in others]
    return "-".join([first, *shaped])


def has_split(source, split: str) -> bool:
    """Whether a folder or a dataset of the hub has this part of its own; a file has none."""
    path = resolve(source)
    if path is not None:
        return path.is_dir() and any(path.glob(f"{split}.*"))
    name, _, config = str(source).partition(":")
    with _hub_errors(source):
        return split in get_dataset_split_names(name, config or None)


def _hub_rows(source: str, split: str) -> Rows:
    name, _, config = source.partition(":")
    with _hub_errors(source):
        rows = load_dataset(name, config or None, split=split)
    return ((f"{source} ({split}), row {number}", row) for number, row in enumerate(rows, 1))


@contextmanager
def _hub_errors(source: str) -> Iterator[None]:
    if "/" not in source:  # every hub dataset has an owner, so a bare word is a missing file
        neither = "is no file or folder, and a hub id is owner/name"
        raise FileNotFoundError(f"no such corpus: {source} {neither}")
    try:
        yield
    except OSError as error:  # DatasetNotFoundError and ConnectionError are OSErrors
        neither = "neither a local path nor a dataset the hub gives"
        raise FileNotFoundError(f"{source} is {neither}: {error}") from error


def _file_rows(path: Path, split: str, languages) -> Rows:
    if path.is_dir():
        endings = [kind + packed for kind in (".jsonl", ".tsv") for packed in ("", *UNPACK)]
        tables = [path / f"{split}{ending}" for ending in endings]
        tables = [table for table in tables if table.exists()]
        if not tables:
            return _text_rows(path, split, languages)
        path = tables[0]
    kind = (path.with_suffix("") if path.suffix in UNPACK else path).suffix
    if kind in (".jsonl", ".json"):
        return json_rows(path)
    if kind == ".tsv":
        return _tsv_rows(path)
    raise ValueError(
        f"{path}: cannot tell the format from {kind!r}; use .jsonl or .tsv, plain or compressed "
        f"(.xz, .gz), or a folder of {split}.<language> files"
    )


def _tsv_rows(path: Path) -> Rows:
    (_, header), *lines = lines_of(path)
    codes = header.split("\t")
    if len(codes) < 2 or not all(CODE.fullmatch(code) for code in codes):
        wanted = "the header must be language codes separated by tabs"
        raise ValueError(f"{path}, line 1: {wanted}, not {header[:80]!r}")
    if len(set(codes)) < len(codes):
        raise ValueError(f"{path}, line 1: two columns of one language: {', '.join(codes)}")
    for number, line in lines:
        columns = line.split("\t")
        if len(columns) != len(codes):
            found = f"{len(columns)} columns, but the header names {len(codes)} languages"
            raise ValueError(f"{path}, line {number}: {found}")
        yield f"{path}, line {number}", {"translation": dict(zip(codes, columns))}


def _text_rows(folder: Path, split: str, languages) -> Rows:
    """Of files of one pair each, {split}.en-de.en beside {split}.en-de.de, the pairs' rows follow
    each other; other files belong together."""
    groups = _text_files(folder, split, set(NO_TEXT) - set(languages or ()))
    found = list(dict.fromkeys(language for files in groups.values() for language in files))
    if missing := [language for language in languages or () if language not in found]:
        names = ", ".join(path.name for files in groups.values() for path in files.values())
        raise ValueError(f"{folder}: no {split}.{missing[0]}; it has {names}")
    for files in groups.values():
        files = {x: path for x, path in files.items() if not languages or x in languages}
        columns = [[text for _, text in lines_of(path)] for path in files.values()]
        lengths = [len(column) for column in columns]
        names = [path.name for path in files.values()]
        if len(set(lengths)) > 1:
            told = ", ".join(f"{name} {n} lines" for name, n in zip(names, lengths))
            shortest = names[lengths.index(min(lengths))]
            raise ValueError(
                f"{folder}: misaligned, the files differ in length: {told}; {shortest} ends after "
                f"line {min(lengths)}"
            )
        for number, sentences in enumerate(zip(*columns), 1):
            place = f"{folder}/{'|'.join(names)}, line {number}"
            yield place, {"translation": dict(zip(files, sentences))}


def _text_files(folder: Path, split: str, no_text: set[str]) -> dict[str, dict[str, Path]]:
    """{pair, or "" for files without one in their names: {language: file}}."""
    groups: dict[str, dict[str, Path]] = {}
    for path in sorted(folder.glob(f"{split}.*")):
        language, middle = path.suffix[1:], path.stem.removeprefix(split).strip(".")
        if not re.fullmatch(r"[a-z]{2,3}([_-]\w+)*", language) or language in no_text:
            continue
        language = tidy_code(language)
        names_pair = is_pair(middle) and language in languages_of_pair(middle)
        files = groups.setdefault(middle if names_pair else "", {})
        if language in files:
            raise ValueError(
                f"{folder}: {files[language].name} and {path.name} are both {language!r}, so which "
                f"lines belong together is not clear; keep one folder for each set of files"
            )
        files[language] = path
    lonely = [path for files in groups.values() for path in files.values() if len(files) < 2]
    if lonely or not groups:
        held = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
        alone = f"; {lonely[0].name} has no other side" if lonely else ""
        raise ValueError(
            f"{folder}: needs {split}.jsonl, {split}.tsv or at least two {split}.<language> files; "
            f"it holds {held}{alone}"
        )
    return groups


def _dataset(rows: Rows, languages: list[str] | None, name: str, empty: str) -> Dataset:
    """Check every row and build the dataset; a row without any of the languages is left out."""
    clean, seen, blank = [], {}, []
    for place, row in rows:
        sentences = {}
        for language, text in _translation(row, place).items():
            seen.setdefault(language, 0)
            if text is None or (languages and language not in languages):
                continue
            if isinstance(text, str) and not text.strip():
                blank.append(f"{place}: the {language!r} sentence")
                continue
            if fault := _fault(text):
                raise ValueError(f"{place}: the {language!r} sentence {fault}")
            sentences[language] = one_line(text)
            seen[language] += 1
        if blank and empty == "refuse":
            remedy = "fill it, drop the row, or set corpus.empty to skip"
            raise ValueError(f"{blank[0]} is empty; {remedy}")
        if sentences:
            clean.append({**row, "translation": sentences})
    there = [language for language, count in seen.items() if count]
    if not there:
        raise ValueError(f"{name}: there are no sentences")
    if missing := [x for x in languages or () if x not in there]:
        has = ", ".join(there)
        lacks = f"no row has a sentence in {missing[0]!r}; it has {has}"
        raise ValueError(f"{name}: {lacks}: choose of these (corpus.languages, --pairs)")
    if blank:
        told = f"{len(blank)} empty sentences count as missing, the first in {blank[0]}"
        warnings.warn(f"{name}: {told}", stacklevel=3)
    for row in clean:
        row["translation"] = {x: row["translation"].get(x) for x in languages or there}
    columns = dict.fromkeys(key for row in clean for key in row)
    try:
        return Dataset.from_dict({column: [row.get(column) for row in clean] for column in columns})
    except (ArrowInvalid, ArrowTypeError, OverflowError) as error:
        fault = f"a column holds values of different types ({error})"
        raise ValueError(f"{name}: {fault}") from error


def _translation(row: dict, place: str) -> dict:
    translation = row.get("translation")
    if not isinstance(translation, dict) or not translation:
        held = ", ".join(row) or "nothing"
        wanted = 'no "translation": {language: sentence} here'
        raise ValueError(f"{place}: {wanted} (it has {held})")
    return {tidy_code(language): text for language, text in translation.items()}


def _fault(text) -> str:
    if not isinstance(text, str):
        return f"is not text but {type(text).__name__}; write it in quotation marks or as null"
    if len(text) > LONGEST:
        return f"has {len(text):,} characters (at most {LONGEST:,}): are line breaks lost?"
    return ""


def lines_of(path: Path) -> list[tuple[int, str]]:
    """Numbered lines of a UTF-8 file, cut at \\n only: str.splitlines would also cut at U+2028.

    Raises: ValueError, with line and offset, for another encoding; for an empty file, and for a
        compressed one that is damaged.
    """
    data = _bytes_of(path)
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


def _bytes_of(path: Path) -> bytes:
    """A file's bytes; of an .xz or .gz file those that were compressed."""
    data = path.read_bytes()
    if path.suffix not in UNPACK:
        return data
    try:
        return UNPACK[path.suffix](data)
    except (lzma.LZMAError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise ValueError(f"{path}: not a whole {path.suffix} file ({error})") from error


def json_rows(path: Path) -> Iterator[tuple[str, dict]]:
    """(place, row) of a .jsonl file, or of a JSON array of rows; ValueError, with the place, for
    any other content."""
    lines = lines_of(path)
    if lines[0][1].lstrip().startswith("["):
        rows = _json("\n".join(line for _, line in lines), str(path))
        places = [(f"{path}, row {number}", row) for number, row in enumerate(rows, 1)]
    else:
        places = ((f"{path}, line {n}", _json(line, f"{path}, line {n}")) for n, line in lines)
    for place, row in places:
        if not isinstance(row, dict):
            raise ValueError(f"{place}: expected a JSON object, found {shown(row)}")
        yield place, row


def _json(text: str, place: str):
    try:
        value = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        at = f" at column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        fault = f"not valid JSON ({getattr(error, 'msg', error)}{at})"
        raise ValueError(f"{place}: {fault}: {text[:60]!r}") from error
    try:
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        lone = f"half a character (the lone surrogate {error.object[error.start]!r})"
        raise ValueError(f"{place}: a text holds {lone}; write the whole one") from error
    return value


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
    for place, row in json_rows(found):
        lang, text = row.get("lang"), row.get("text")
        if not (isinstance(lang, str) and lang and isinstance(text, str) and text.strip()):
            wanted = '{"lang": code, "text": sentence}, both non-empty'
            raise ValueError(f"{place}: expected {wanted}")
        mono.setdefault(lang, []).append(one_line(text))
    return mono
