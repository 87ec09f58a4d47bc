"""Corpora, prompts and batches. A corpus is a `datasets.Dataset` with a column `translation`:
{language: sentence}, as in WMT."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from datasets import Dataset, load_dataset
from pyarrow import ArrowInvalid, ArrowTypeError

from .blocks import unwrap
from .config import parse_pair, resolve
from .io import json_rows, lines_of

LANGUAGE_NAMES = {
    "en": "English",
    "de": "German",
    "it": "Italian",
    "fr": "French",
    "ar": "Arabic",
    "zh": "Chinese",
    "af": "Afrikaans",
    "es": "Spanish",
    "ja": "Japanese",
    "ru": "Russian",
    "pt": "Portuguese",
    "nl": "Dutch",
    "pl": "Polish",
    "cs": "Czech",
    "ro": "Romanian",
    "sv": "Swedish",
    "da": "Danish",
    "no": "Norwegian",
    "fi": "Finnish",
    "el": "Greek",
    "tr": "Turkish",
    "uk": "Ukrainian",
    "he": "Hebrew",
    "fa": "Persian",
    "hi": "Hindi",
    "bn": "Bengali",
    "ur": "Urdu",
    "ta": "Tamil",
    "id": "Indonesian",
    "vi": "Vietnamese",
    "th": "Thai",
    "ko": "Korean",
    "sw": "Swahili",
    "yo": "Yoruba",
    "zu": "Zulu",
    "mt": "Maltese",
    "cy": "Welsh",
    "ga": "Irish",
    "is": "Icelandic",
    "et": "Estonian",
    "lv": "Latvian",
    "lt": "Lithuanian",
    "sk": "Slovak",
    "sl": "Slovenian",
    "hr": "Croatian",
    "sr": "Serbian",
    "bg": "Bulgarian",
    "hu": "Hungarian",
    "ca": "Catalan",
    "eu": "Basque",
    "gl": "Galician",
    "ka": "Georgian",
    "ne": "Nepali",
}
TEMPLATE = "{source_language}: {source}\n{target_language}:"  # the target follows as " " + text
INSTRUCTION_TEMPLATE = (
    "Translate the following sentence from {source_language} to {target_language}.\n" + TEMPLATE
)


# ---------------------------------------------------------------- files
def load_corpus(source, *, split: str = "train", languages: Sequence[str] | None = None) -> Dataset:
    """A parallel corpus from a .jsonl file (rows {"translation": {...}}, other columns kept), a
    .tsv file with a header of language codes, a folder of {split}.jsonl, {split}.tsv or
    {split}.{language} text files (one sentence per line), or a hub id ("owner/name" or
    "owner/name:config"). `split` matters for folders and hub ids only.

    Every row holds the same languages: `languages` (others are dropped), or those of the first row.
    Line breaks inside a sentence become spaces. Raises FileNotFoundError for a missing path, before
    any hub call, and ValueError with file and 1-based line otherwise.
    """
    if source is None:
        raise ValueError(
            "no corpus given: this profile names none; pass one (--corpus, or corpus.train in the "
            "config)"
        )
    path = resolve(source)
    if path is None:
        if "/" not in str(
            source
        ):  # every hub dataset has an owner, so a bare word is a missing file
            raise FileNotFoundError(
                f"no such corpus: {source} is no file or folder, and a hub id is owner/name"
            )
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
        if len(codes) < 2 or any(
            not re.fullmatch(r"[A-Za-z]{2,3}([_-]\w+)?", code) for code in codes
        ):
            raise ValueError(
                f"{path}, line 1: the header must be language codes separated by tabs, not "
                f"{header[:80]!r}"
            )
        rows = []
        for number, line in lines:
            cells = line.split("\t")
            if len(cells) != len(codes):
                raise ValueError(
                    f"{path}, line {number}: {len(cells)} columns, but the header names "
                    f"{len(codes)} languages"
                )
            rows.append((number, {"translation": dict(zip(codes, cells))}))
    elif path.suffix in (".jsonl", ".json"):
        rows = list(json_rows(path))
    else:
        raise ValueError(
            f"{path}: cannot tell the format from {path.suffix!r}; use .jsonl, .tsv or a folder "
            f"of {split}.<language> files"
        )
    return _dataset(rows, languages, lambda number: f"{path}, line {number}")


def load_mono(path) -> dict[str, list[str]]:
    """Monolingual text by language from a .jsonl file of rows {"lang": code, "text": sentence}.
    Errors as `load_corpus`."""
    path, mono = _existing(path), {}
    for number, row in json_rows(path):
        lang, text = row.get("lang"), row.get("text")
        if not (isinstance(lang, str) and lang and isinstance(text, str) and text.strip()):
            raise ValueError(
                f'{path}, line {number}: expected {{"lang": code, "text": sentence}}, both '
                f"non-empty"
            )
        mono.setdefault(lang, []).append(one_line(text))
    return mono


def _existing(path) -> Path:
    found = resolve(path)
    if found is None:
        raise FileNotFoundError(f"no such file: {path}")
    return found


def _from_texts(folder: Path, split: str, languages) -> Dataset:
    files = {
        p.suffix[1:]: p
        for p in sorted(folder.glob(f"{split}.*"))
        if re.fullmatch(r"\.(?!txt|csv)[a-z]{2,3}([_-]\w+)?", p.suffix)
    }
    if len(files) < 2:
        raise ValueError(
            f"{folder}: needs {split}.jsonl, {split}.tsv or at least two {split}.<language> files; "
            f"it holds {', '.join(sorted(p.name for p in folder.iterdir())[:8]) or 'nothing'}"
        )
    if missing := [lang for lang in languages or () if lang not in files]:
        raise ValueError(
            f"{folder}: no {split}.{missing[0]}; it has "
            f"{', '.join(path.name for path in files.values())}"
        )
    texts = {
        lang: lines_of(path)
        for lang, path in files.items()
        if languages is None or lang in languages
    }
    counts = {files[lang].name: len(lines) for lang, lines in texts.items()}
    if len(set(counts.values())) > 1:
        raise ValueError(
            f"{folder}: misaligned, the files differ in length: "
            f"{', '.join(f'{n} {c} lines' for n, c in counts.items())}; "
            f"{min(counts, key=counts.get)} ends after line {min(counts.values())}"
        )
    rows = [
        (line[0][0], {"translation": {lang: text for lang, (_, text) in zip(texts, line)}})
        for line in zip(*texts.values())
    ]
    return _dataset(rows, languages, lambda number: f"{folder}/{split}.*, line {number}")


def _from_hub(source: str, split: str, languages) -> Dataset:
    name, _, config = str(source).partition(":")
    try:
        data = load_dataset(name, config or None, split=split)
    except OSError as error:  # DatasetNotFoundError and ConnectionError are OSErrors
        raise FileNotFoundError(
            f"{source} is neither a local path nor a dataset the hub gives: {error}"
        ) from error
    return _dataset(
        list(enumerate(data, 1)), languages, lambda number: f"{source} ({split}), row {number}"
    )


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
            raise ValueError(
                f'{where(number)}: no "translation": {{language: sentence}} here (it has '
                f"{', '.join(row) or 'nothing'})"
            )
        expected = expected or list(translation)
        for lang in expected:
            if lang not in translation:
                raise ValueError(
                    f"{where(number)}: language {lang!r} is missing (the row has "
                    f"{', '.join(translation)})"
                )
            if not isinstance(translation[lang], str) or not translation[lang].strip():
                raise ValueError(
                    f"{where(number)}: the {lang!r} sentence is empty or not text; drop the row "
                    f"or fill it"
                )
        if extra := [lang for lang in translation if not languages and lang not in expected]:
            raise ValueError(
                f"{where(number)}: language {extra[0]!r} is in this row but not in the first; "
                f"pass languages=[...] to choose"
            )
        clean.append(
            {**row, "translation": {lang: one_line(translation[lang]) for lang in expected}}
        )
    columns = list(dict.fromkeys(key for row in clean for key in row))
    try:
        return Dataset.from_dict({column: [row.get(column) for row in clean] for column in columns})
    except (ArrowInvalid, ArrowTypeError) as error:
        raise ValueError(
            f"{where(rows[0][0])} and after: a column holds values of different types ({error})"
        ) from error


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
    """Raise ValueError for an empty list, a malformed pair or one whose language the corpus lacks.
    With a tokenizer, warn about languages of which it maps more than a tenth of the tokens to
    unknown."""
    if not pairs:
        raise ValueError("no translation direction given: pairs is empty")
    if isinstance(pairs, str):
        raise ValueError(
            f"pairs must be a list, such as ['en-de', 'de-en'], not the string {pairs!r}"
        )
    used, known = (
        list(dict.fromkeys(lang for pair in pairs for lang in parse_pair(pair))),
        languages_of(corpus),
    )
    for pair in pairs:
        if missing := [lang for lang in parse_pair(pair) if lang not in known]:
            raise ValueError(
                f"pair {pair}: the corpus has no {missing[0]!r}; it has {', '.join(known)}"
            )
    if tokenizer is None or tokenizer.unk_token_id is None:
        return
    sample = corpus.select(range(min(50, len(corpus))))
    for lang in used:
        ids = [
            i
            for text in texts(sample, lang)
            for i in tokenizer(text, add_special_tokens=False)["input_ids"]
        ]
        share = ids.count(tokenizer.unk_token_id) / max(1, len(ids))
        if share > 0.1:
            warnings.warn(
                f"the tokenizer maps {share:.0%} of {lang} to its unknown token: its results will "
                f"mean little",
                stacklevel=2,
            )


# ---------------------------------------------------------------- prompts and batches
def prompt(
    source: str, pair: str, template: str | None = None, shots: Sequence[tuple[str, str]] = ()
) -> str:
    """The prompt up to and including "German:". `shots` are (source, target) examples put before it
    in the same format, one per line."""
    template = template or TEMPLATE
    if "{source}" not in template:
        raise ValueError(f"the template has no {{source}}: {template!r}")
    names = dict(
        zip(
            ("source_language", "target_language"),
            (LANGUAGE_NAMES.get(lang, lang) for lang in parse_pair(pair)),
        )
    )
    try:
        parts = [f"{template.format(source=s, **names)} {t}" for s, t in shots]
        return "\n".join([*parts, template.format(source=source, **names)])
    except (KeyError, IndexError) as error:
        raise ValueError(
            f"the template has an unknown field {error}; it takes source, source_language, "
            f"target_language"
        ) from error


def prompt_ids(tokenizer, text: str) -> list[int]:
    """Token ids of a prompt, with the BOS token in front if this tokenizer puts one there by itself
    (Llama does, BLOOM does not)."""
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
) -> dict[str, list[int]]:
    """One teacher-forced example: {"input_ids", "labels"}, both [length]; labels are -100 on the
    prompt, then the target and EOS.

    Prompt and " " + target are tokenised apart, so that the prompt's ids are exactly those of
    inference. A longer example than `max_length`
    is cut: the source sentence at its end, so that each side keeps up to half, then the target (EOS
    goes with the cut part: nothing is taught to stop early); it has "cut": True. Raises ValueError
        when the template alone does not fit, or without an EOS token.
    """
    if tokenizer.eos_token_id is None:
        raise ValueError(f"{type(tokenizer).__name__} has no EOS token; set tokenizer.eos_token")
    target_ids = tokenizer(" " + target, add_special_tokens=False)["input_ids"] + [
        tokenizer.eos_token_id
    ]
    room = max_length - min(len(target_ids), max_length // 2)
    ids = prompt_ids(tokenizer, prompt(source, pair, template, shots))
    cut = {"cut": True} if len(ids) + len(target_ids) > max_length else {}
    while len(ids) > room:
        if not source:
            raise ValueError(
                f"max_length={max_length} leaves no room: the {pair} template takes {len(ids)} "
                f"tokens without a sentence"
            )
        source = source[: int(0.9 * len(source))]
        ids = prompt_ids(tokenizer, prompt(source, pair, template, shots))
    target_ids = target_ids[: max_length - len(ids)]
    return {"input_ids": ids + target_ids, "labels": [-100] * len(ids) + target_ids, **cut}


def collate(
    tokenizer, examples: Sequence[dict], side: str = "right", device=None
) -> dict[str, torch.Tensor]:
    """Pad examples to one length on `side`: input_ids, attention_mask and labels (-100 on padding),
    all LongTensor [batch, length]. Examples without "labels" give a batch without."""
    if side not in ("left", "right"):
        raise ValueError(f"side={side!r} must be 'left' or 'right'")
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    width = max(len(example["input_ids"]) for example in examples)

    def stack(rows, fill):
        rows = [(row, [fill] * (width - len(row))) for row in rows]
        return torch.tensor(
            [row + gap if side == "right" else gap + row for row, gap in rows],
            dtype=torch.long,
            device=device,
        )

    batch = {
        "input_ids": stack([e["input_ids"] for e in examples], pad),
        "attention_mask": stack([[1] * len(e["input_ids"]) for e in examples], 0),
    }
    if "labels" in examples[0]:
        batch["labels"] = stack([e["labels"] for e in examples], -100)
    return batch


def batches(items: Sequence, batch_size: int, key=len) -> Iterator[list[int]]:
    """Indices of `items` in batches of like length, longest first: little padding, and memory peaks
    in the first batch."""
    order = sorted(range(len(items)), key=lambda index: key(items[index]), reverse=True)
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


TOO_LONG = ("cut", "refuse")


def cut_ids(ids: list[int], max_length: int) -> dict:
    """{"input_ids": at most max_length of them}, and "cut": True if there were more."""
    return {"input_ids": ids[:max_length]} | ({"cut": True} if len(ids) > max_length else {})


def check_examples(
    model, groups: Mapping[str, Sequence[dict]], max_length: int, too_long: str = "cut"
) -> None:
    """Before any work on encoded examples {language or pair: examples}: count those that were cut
    at `max_length`.

    A warning says how many of each group; with too_long="refuse" it is a ValueError. ValueError
    also for an unknown too_long, and as `check_ids`."""
    if too_long not in TOO_LONG:
        raise ValueError(f"too_long = {too_long!r} is unknown: use {' or '.join(TOO_LONG)}")
    for name, examples in groups.items():
        check_ids(model, examples, name)
    counts = {
        name: (sum("cut" in example for example in examples), len(examples))
        for name, examples in groups.items()
    }
    report_cut(counts, max_length, too_long)


def report_cut(
    counts: Mapping[str, tuple[int, int]], max_length: int, too_long: str = "cut"
) -> None:
    """The warning or error of `check_examples`. counts: {language or pair: (examples that were cut,
    all)}."""
    if found := ", ".join(f"{n} of {size} in {name}" for name, (n, size) in counts.items() if n):
        if too_long == "refuse":
            raise ValueError(
                f"longer than max_length={max_length} tokens: {found}; shorten them, raise "
                f"max_length, or set too_long to cut"
            )
        warnings.warn(f"cut at max_length={max_length} tokens: {found}", stacklevel=4)


def check_ids(model, examples: Sequence[dict], name: str) -> None:
    """ValueError for a token id that the model has no embedding for. On a GPU it would end the
    process."""
    rows = unwrap(model).get_input_embeddings().weight.shape[0]
    for number, example in enumerate(examples):
        if (largest := max(example["input_ids"], default=0)) >= rows:
            raise ValueError(
                f"{name}, example {number}: the tokenizer gives token {largest}, but the model "
                f"has {rows} embeddings "
                f"(0 … {rows - 1}): it is another model's tokenizer; load both from the same place"
            )


def plain_text(corpus, language: str) -> list[str]:
    """The sentences of one language of a parallel corpus or of {language: sentences}. ValueError
    for none, or an empty one."""
    known = list(corpus) if isinstance(corpus, Mapping) else languages_of(corpus)
    if language not in known:
        raise ValueError(
            f"{language!r} is neither a direction, such as en-de, nor a language of the corpus: "
            f"it has {', '.join(known)}"
        )
    sentences = corpus[language] if isinstance(corpus, Mapping) else texts(corpus, language)
    if isinstance(sentences, str) or not len(sentences):
        raise ValueError(f"'{language}': give a list of sentences, not {sentences!r}")
    if empty := [number for number, sentence in enumerate(sentences) if not sentence.strip()]:
        raise ValueError(f"'{language}': sentence {empty[0]} is empty")
    return list(sentences)


def check_data(corpus, pairs: Sequence[str], tokenizer=None) -> None:
    """`check_pairs` for lists that may also hold bare language codes; ValueError for what the
    corpus lacks."""
    if isinstance(pairs, str) or not pairs:
        check_pairs(corpus, pairs)  # says what is wrong
    directions = [pair for pair in pairs if "-" in pair]
    for language in set(pairs) - set(directions):
        plain_text(corpus, language)
    if directions and isinstance(corpus, Mapping):
        raise ValueError(
            f"{directions[0]}: plain text holds no translations; give a parallel corpus"
        )
    if directions:
        check_pairs(corpus, directions, tokenizer)


def encode_text(tokenizer, sentence: str, max_length: int) -> dict[str, list[int]]:
    """One sentence with EOS: {"input_ids", "labels"}, both [length <= max_length] and equal: every
    token is learned (the first one only where the tokenizer puts BOS in front of it, for else
    nothing predicts it). EOS goes with what is cut off."""
    example = cut_ids(prompt_ids(tokenizer, sentence) + [tokenizer.eos_token_id], max_length)
    return example | {"labels": example["input_ids"]}
