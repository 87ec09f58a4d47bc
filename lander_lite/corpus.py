"""Corpora, prompts and batches. A corpus is a `datasets.Dataset` with a column `translation`: {language: sentence}, as in WMT."""
from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from datasets import Dataset, load_dataset
from pyarrow import ArrowInvalid, ArrowTypeError

from .config import resolve
from .convert import parse_pair
from .textfiles import json_rows, lines_of

LANGUAGE_NAMES = {
    "en": "English", "de": "German", "it": "Italian", "fr": "French", "ar": "Arabic", "zh": "Chinese", "af": "Afrikaans", "es": "Spanish",
    "ja": "Japanese", "ru": "Russian", "pt": "Portuguese", "nl": "Dutch", "pl": "Polish", "cs": "Czech", "ro": "Romanian", "sv": "Swedish",
    "da": "Danish", "no": "Norwegian", "fi": "Finnish", "el": "Greek", "tr": "Turkish", "uk": "Ukrainian", "he": "Hebrew", "fa": "Persian",
    "hi": "Hindi", "bn": "Bengali", "ur": "Urdu", "ta": "Tamil", "id": "Indonesian", "vi": "Vietnamese", "th": "Thai", "ko": "Korean",
    "sw": "Swahili", "yo": "Yoruba", "zu": "Zulu", "mt": "Maltese", "cy": "Welsh", "ga": "Irish", "is": "Icelandic", "et": "Estonian",
    "lv": "Latvian", "lt": "Lithuanian", "sk": "Slovak", "sl": "Slovenian", "hr": "Croatian", "sr": "Serbian", "bg": "Bulgarian",
    "hu": "Hungarian", "ca": "Catalan", "eu": "Basque", "gl": "Galician", "ka": "Georgian", "ne": "Nepali"}
TEMPLATE = "{source_language}: {source}\n{target_language}:"       # the target follows as " " + text
INSTRUCTION_TEMPLATE = "Translate the following sentence from {source_language} to {target_language}.\n" + TEMPLATE


# ---------------------------------------------------------------- files
def load_corpus(source, *, split: str = "train", languages: Sequence[str] | None = None) -> Dataset:
    """A parallel corpus from a .jsonl file (rows {"translation": {...}}, other columns kept), a .tsv file with a header of language codes,
    a folder of {split}.jsonl, {split}.tsv or {split}.{language} text files (one sentence per line), or a hub id ("owner/name" or
    "owner/name:config"). `split` matters for folders and hub ids only.

    Every row holds the same languages: `languages` (others are dropped), or those of the first row. Line breaks inside a sentence
    become spaces. Raises FileNotFoundError for a missing path, before any hub call, and ValueError with file and 1-based line otherwise.
    """
    if source is None:
        raise ValueError("no corpus given: this profile names none; pass one (--corpus, or corpus.train in the config)")
    path = resolve(source)
    if path is None:
        if "/" not in str(source):                 # every hub dataset has an owner, so a bare word is a missing file
            raise FileNotFoundError(f"no such corpus: {source} is no file or folder, and a hub id is owner/name")
        return _from_hub(source, split, languages)
    if path.is_dir():
        for suffix in (".jsonl", ".tsv"):
            if (path / f"{split}{suffix}").exists():
                path = path / f"{split}{suffix}"
                break
        else:
            return _from_texts(path, split, languages)
    if path.suffix == ".tsv":
        (_, header), *lines = lines_of(path)
        codes = header.split("\t")
        if len(codes) < 2 or any(not re.fullmatch(r"[A-Za-z]{2,3}([_-]\w+)?", code) for code in codes):
            raise ValueError(f"{path}, line 1: the header must be language codes separated by tabs, not {header[:80]!r}")
        rows = []
        for number, line in lines:
            cells = line.split("\t")
            if len(cells) != len(codes):
                raise ValueError(f"{path}, line {number}: {len(cells)} columns, but the header names {len(codes)} languages")
            rows.append((number, {"translation": dict(zip(codes, cells))}))
    elif path.suffix in (".jsonl", ".json"):
        rows = list(json_rows(path))
    else:
        raise ValueError(f"{path}: cannot tell the format from {path.suffix!r}; use .jsonl, .tsv or a folder of {split}.<language> files")
    return _dataset(rows, languages, lambda number: f"{path}, line {number}")


def load_mono(path) -> dict[str, list[str]]:
    """Monolingual text by language from a .jsonl file of rows {"lang": code, "text": sentence}. Errors as `load_corpus`."""
    path, mono = _existing(path), {}
    for number, row in json_rows(path):
        lang, text = row.get("lang"), row.get("text")
        if not (isinstance(lang, str) and lang and isinstance(text, str) and text.strip()):
            raise ValueError(f'{path}, line {number}: expected {{"lang": code, "text": sentence}}, both non-empty')
        mono.setdefault(lang, []).append(one_line(text))
    return mono


def _existing(path) -> Path:
    found = resolve(path)
    if found is None:
        raise FileNotFoundError(f"no such file: {path}")
    return found


def _from_texts(folder: Path, split: str, languages) -> Dataset:
    files = {p.suffix[1:]: p for p in sorted(folder.glob(f"{split}.*")) if re.fullmatch(r"\.(?!txt|csv)[a-z]{2,3}([_-]\w+)?", p.suffix)}
    if len(files) < 2:
        raise ValueError(f"{folder}: needs {split}.jsonl, {split}.tsv or at least two {split}.<language> files; "
                         f"it holds {', '.join(sorted(p.name for p in folder.iterdir())[:8]) or 'nothing'}")
    if missing := [lang for lang in languages or () if lang not in files]:
        raise ValueError(f"{folder}: no {split}.{missing[0]}; it has {', '.join(path.name for path in files.values())}")
    texts = {lang: lines_of(path) for lang, path in files.items() if languages is None or lang in languages}
    counts = {files[lang].name: len(lines) for lang, lines in texts.items()}
    if len(set(counts.values())) > 1:
        raise ValueError(f"{folder}: misaligned, the files differ in length: {', '.join(f'{n} {c} lines' for n, c in counts.items())}; "
                         f"{min(counts, key=counts.get)} ends after line {min(counts.values())}")
    rows = [(line[0][0], {"translation": {lang: text for lang, (_, text) in zip(texts, line)}}) for line in zip(*texts.values())]
    return _dataset(rows, languages, lambda number: f"{folder}/{split}.*, line {number}")


def _from_hub(source: str, split: str, languages) -> Dataset:
    name, _, config = str(source).partition(":")
    try:
        data = load_dataset(name, config or None, split=split)
    except OSError as error:                       # DatasetNotFoundError and ConnectionError are OSErrors
        raise FileNotFoundError(f"{source} is neither a local path nor a dataset the hub gives: {error}") from error
    return _dataset(list(enumerate(data, 1)), languages, lambda number: f"{source} ({split}), row {number}")


def one_line(text: str) -> str:
    """Line breaks become spaces: a prompt has one line per sentence."""
    return " ".join(text.splitlines()).strip()


def _dataset(rows: list[tuple[int, dict]], languages, where) -> Dataset:
    """Check every row and build the dataset; `where(number)` names a row in errors."""
    expected, clean = list(languages) if languages else None, []
    if not rows:
        raise ValueError(f"{where(1)}: there are no sentences")
    for number, row in rows:
        translation = row.get("translation")
        if not isinstance(translation, dict) or not translation:
            raise ValueError(f'{where(number)}: no "translation": {{language: sentence}} here (it has {", ".join(row) or "nothing"})')
        expected = expected or list(translation)
        for lang in expected:
            if lang not in translation:
                raise ValueError(f"{where(number)}: language {lang!r} is missing (the row has {', '.join(translation)})")
            if not isinstance(translation[lang], str) or not translation[lang].strip():
                raise ValueError(f"{where(number)}: the {lang!r} sentence is empty or not text; drop the row or fill it")
        if extra := [lang for lang in translation if not languages and lang not in expected]:
            raise ValueError(f"{where(number)}: language {extra[0]!r} is in this row but not in the first; pass languages=[...] to choose")
        clean.append({**row, "translation": {lang: one_line(translation[lang]) for lang in expected}})
    columns = list(dict.fromkeys(key for row in clean for key in row))
    try:
        return Dataset.from_dict({column: [row.get(column) for row in clean] for column in columns})
    except (ArrowInvalid, ArrowTypeError) as error:
        raise ValueError(f"{where(rows[0][0])} and after: a column holds values of different types ({error})") from error


# ---------------------------------------------------------------- languages and pairs
def languages_of(corpus: Dataset) -> list[str]:
    """The corpus' language codes, in the order of its rows."""
    return list(corpus[0]["translation"])


def texts(corpus: Dataset, language: str) -> list[str]:
    """All sentences of one language, in row order. Raises KeyError when the corpus lacks it."""
    if language not in languages_of(corpus):
        raise KeyError(f"the corpus has no {language!r}; it has {', '.join(languages_of(corpus))}")
    return [row[language] for row in corpus["translation"]]


def check_pairs(corpus: Dataset, pairs: Sequence[str], tokenizer=None) -> None:
    """Raise ValueError for an empty list, a malformed pair or one whose language the corpus lacks. With a tokenizer, warn about languages
    of which it maps more than a tenth of the tokens to unknown."""
    if not pairs:
        raise ValueError("no translation direction given: pairs is empty")
    if isinstance(pairs, str):
        raise ValueError(f"pairs must be a list, such as ['en-de', 'de-en'], not the string {pairs!r}")
    used, known = list(dict.fromkeys(lang for pair in pairs for lang in parse_pair(pair))), languages_of(corpus)
    for pair in pairs:
        if missing := [lang for lang in parse_pair(pair) if lang not in known]:
            raise ValueError(f"pair {pair}: the corpus has no {missing[0]!r}; it has {', '.join(known)}")
    if tokenizer is None or tokenizer.unk_token_id is None:
        return
    sample = corpus.select(range(min(50, len(corpus))))
    for lang in used:
        ids = [i for text in texts(sample, lang) for i in tokenizer(text, add_special_tokens=False)["input_ids"]]
        share = ids.count(tokenizer.unk_token_id) / max(1, len(ids))
        if share > 0.1:
            warnings.warn(f"the tokenizer maps {share:.0%} of {lang} to its unknown token: its results will mean little", stacklevel=2)


# ---------------------------------------------------------------- prompts and batches
def prompt(source: str, pair: str, template: str | None = None, shots: Sequence[tuple[str, str]] = ()) -> str:
    """The prompt up to and including "German:". `shots` are (source, target) examples put before it in the same format, one per line."""
    template = template or TEMPLATE
    if "{source}" not in template:
        raise ValueError(f"the template has no {{source}}: {template!r}")
    names = dict(zip(("source_language", "target_language"), (LANGUAGE_NAMES.get(lang, lang) for lang in parse_pair(pair))))
    try:
        parts = [f"{template.format(source=s, **names)} {t}" for s, t in shots]
        return "\n".join([*parts, template.format(source=source, **names)])
    except (KeyError, IndexError) as error:
        raise ValueError(f"the template has an unknown field {error}; it takes source, source_language, target_language") from error


def prompt_ids(tokenizer, text: str) -> list[int]:
    """Token ids of a prompt, with the BOS token in front if this tokenizer puts one there by itself (Llama does, BLOOM does not)."""
    bos = tokenizer.bos_token_id
    starts_with_bos = bos is not None and tokenizer("a")["input_ids"][:1] == [bos]
    return [bos] * starts_with_bos + tokenizer(text, add_special_tokens=False)["input_ids"]


def encode(tokenizer, source: str, target: str, pair: str, *, template: str | None = None, max_length: int = 256,
           shots: Sequence[tuple[str, str]] = ()) -> dict[str, list[int]]:
    """One teacher-forced example: {"input_ids", "labels"}, both [length]; labels are -100 on the prompt, then the target and EOS.

    Prompt and " " + target are tokenised apart, so that the prompt's ids are exactly those of inference. A longer example than `max_length`
    is cut: the source sentence at its end, so that each side keeps up to half, then the target (EOS goes with the cut part: nothing is
    taught to stop early); it has "cut": True. Raises ValueError when the template alone does not fit, or without an EOS token.
    """
    if tokenizer.eos_token_id is None:
        raise ValueError(f"{type(tokenizer).__name__} has no EOS token; set tokenizer.eos_token")
    target_ids = tokenizer(" " + target, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
    room = max_length - min(len(target_ids), max_length // 2)
    ids = prompt_ids(tokenizer, prompt(source, pair, template, shots))
    cut = {"cut": True} if len(ids) + len(target_ids) > max_length else {}
    while len(ids) > room:
        if not source:
            raise ValueError(f"max_length={max_length} leaves no room: the {pair} template takes {len(ids)} tokens without a sentence")
        source = source[:int(0.9 * len(source))]
        ids = prompt_ids(tokenizer, prompt(source, pair, template, shots))
    target_ids = target_ids[:max_length - len(ids)]
    return {"input_ids": ids + target_ids, "labels": [-100] * len(ids) + target_ids, **cut}


def collate(tokenizer, examples: Sequence[dict], side: str = "right", device=None) -> dict[str, torch.Tensor]:
    """Pad examples to one length on `side`: input_ids, attention_mask and labels (-100 on padding), all LongTensor [batch, length].
    Examples without "labels" give a batch without."""
    if side not in ("left", "right"):
        raise ValueError(f"side={side!r} must be 'left' or 'right'")
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    width = max(len(example["input_ids"]) for example in examples)

    def stack(rows, fill):
        rows = [(row, [fill] * (width - len(row))) for row in rows]
        return torch.tensor([row + gap if side == "right" else gap + row for row, gap in rows], dtype=torch.long, device=device)

    batch = {"input_ids": stack([e["input_ids"] for e in examples], pad),
             "attention_mask": stack([[1] * len(e["input_ids"]) for e in examples], 0)}
    if "labels" in examples[0]:
        batch["labels"] = stack([e["labels"] for e in examples], -100)
    return batch


def batches(items: Sequence, batch_size: int, key=len) -> Iterator[list[int]]:
    """Indices of `items` in batches of like length, longest first: little padding, and memory peaks in the first batch."""
    order = sorted(range(len(items)), key=lambda index: key(items[index]), reverse=True)
    for start in range(0, len(order), batch_size):
        yield order[start:start + batch_size]
