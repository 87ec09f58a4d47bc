"""From a corpus to token ids: its languages, prompts, examples, batches, and what is too long.

A parallel corpus is a `datasets.Dataset` with a column `translation`, {language: sentence}, as in
WMT; plain text is {language: sentences}. corpus.py reads both from files.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from operator import itemgetter

import torch
from datasets import Dataset
from torch.nn.utils.rnn import pad_sequence

from .blocks import unwrap
from .languages import check_template, language_name, parse_pair

TEMPLATE = "{source_language}: {source}\n{target_language}:"  # the target follows as " " + text
TOO_LONG = ("cut", "refuse")
Corpus = Dataset | Mapping[str, Sequence[str]]


def one_line(text: str) -> str:
    """Line breaks become spaces: a prompt has one line per sentence."""
    return " ".join(text.splitlines()).strip()


def languages_of(corpus: Corpus) -> list[str]:
    """The language codes of a parallel corpus, in the order of its rows, or of plain text."""
    return list(corpus if isinstance(corpus, Mapping) else corpus[0]["translation"])


def texts(corpus: Corpus, language: str) -> Sequence[str]:
    """All sentences of one language, in order; rows without it are left out. Raises KeyError when
    the corpus lacks it."""
    if language not in languages_of(corpus):
        raise KeyError(f"the corpus has no {language!r}; it has {', '.join(languages_of(corpus))}")
    if isinstance(corpus, Mapping):
        return corpus[language]
    return [row[language] for row in _rows(corpus) if row[language]]


def _rows(corpus: Dataset) -> Iterator[dict]:
    # 30 times as fast as a column's own iterator
    pieces = corpus.select_columns("translation").iter(1000)
    return chain.from_iterable(piece["translation"] for piece in pieces)


def pair_rows(corpus: Dataset, pair: str, most: int | None = None) -> list[tuple[str, str]]:
    """(source, target) of the rows that have both, or of the first `most` of these.

    Raises: ValueError for a pair of which no row has both, or most = 0.
    """
    rows = map(itemgetter(*parse_pair(pair)), _rows(corpus))
    found = list(islice(filter(all, rows), most))
    if not found:
        why = "max_sentences is 0" if most == 0 else "no row has both sides"
        raise ValueError(f"pair {pair}: no sentences, since {why}")
    return found


def check_pairs(corpus, pairs: Sequence[str], tokenizer=None) -> None:
    """Refuse, with a ValueError, an empty list, a malformed pair and what the corpus lacks.

    With a tokenizer, warn about languages of which more than a tenth of the tokens is unknown.
    """
    if not pairs:
        raise ValueError("no translation direction given: pairs is empty")
    if isinstance(pairs, str):
        wanted = "a list, such as ['en-de', 'de-en']"
        raise ValueError(f"pairs must be {wanted}, not the string {pairs!r}")
    if isinstance(corpus, Mapping):
        wrong = f"{pairs[0]}: plain text holds no translations"
        raise ValueError(f"{wrong}; give a parallel corpus")
    known = languages_of(corpus)
    for pair in pairs:
        if missing := [lang for lang in parse_pair(pair) if lang not in known]:
            has = ", ".join(known)
            raise ValueError(f"pair {pair}: the corpus has no {missing[0]!r}; it has {has}")
        pair_rows(corpus, pair, 1)
    if tokenizer is not None and tokenizer.unk_token_id is not None:
        _warn_of_unknown_tokens(corpus, pairs, tokenizer)


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
    check_template(template)
    first, second = map(language_name, parse_pair(pair))
    names = {"source_language": first, "target_language": second}
    parts = [f"{template.format(source=s, **names)} {t}" for s, t in shots]
    return "\n".join([*parts, template.format(source=source, **names)])


def prompt_ids(tokenizer, text: str) -> list[int]:
    """Token ids, after BOS if this tokenizer puts it there (Llama's does, BLOOM's does not)."""
    bos = tokenizer.bos_token_id
    starts_with_bos = bos is not None and tokenizer("a")["input_ids"][:1] == [bos]
    return [bos] * starts_with_bos + tokenizer(text, add_special_tokens=False)["input_ids"]


def encode(
    tokenizer, source: str, target: str, pair: str, *, template=None, max_length=256, shots=()
) -> dict:
    """One teacher-forced example: {"input_ids", "labels"}, both [length].

    Labels are -100 on the prompt, then the target and EOS. Prompt and " " + target are tokenised
    apart, so that the prompt's ids are those of inference. What is longer than `max_length` is cut
    and has "cut": True: the source at its end, so that each side keeps up to half, then the target
    (with EOS: nothing is taught to stop early).

    Raises: ValueError when the template alone does not fit, or without an EOS token.
    """
    if tokenizer.eos_token_id is None:
        raise ValueError("the tokenizer has no EOS token; set eos_token (tokenizer_config.json)")
    target_ids = tokenizer(" " + target, add_special_tokens=False)["input_ids"]
    target_ids = [*target_ids, tokenizer.eos_token_id]
    room = max_length - min(len(target_ids), max_length // 2)
    example = encode_source(tokenizer, source, pair, template=template, room=room, shots=shots)
    ids = example["input_ids"]
    kept = target_ids[: max_length - len(ids)]
    cut = {"cut": True} if "cut" in example or len(kept) < len(target_ids) else {}
    return {"input_ids": ids + kept, "labels": [-100] * len(ids) + kept, **cut}


def encode_source(tokenizer, source: str, pair: str, *, template=None, room: int, shots=()) -> dict:
    """A prompt as `translate` reads it: {"input_ids"}, and "cut": True if the sentence was cut at
    its end to fit in `room` tokens. Raises: ValueError when the template alone does not fit."""
    ids, cut = prompt_ids(tokenizer, prompt(source, pair, template, shots)), {}
    while len(ids) > room:
        cut = {"cut": True}
        if not source:
            taken = f"the {pair} template takes {len(ids)} tokens without a sentence"
            raise ValueError(f"room for {room} tokens is too little: {taken}; raise max_length")
        kept = min(0.9, 2 * room / len(ids))  # of a very long one at once
        source = source[: int(kept * len(source))]
        ids = prompt_ids(tokenizer, prompt(source, pair, template, shots))
    return {"input_ids": ids, **cut}


def cut_ids(ids: list[int], max_length: int | None) -> dict:
    """{"input_ids": at most max_length of them}, and "cut": True if there were more."""
    kept = ids[:max_length]
    return {"input_ids": kept} | ({"cut": True} if len(kept) < len(ids) else {})


def encode_sentences(
    tokenizer, sentences: Iterable[str], max_length: int | None, minimum=1, name="text", empty=None
) -> list[dict]:
    """Sentences to be measured, without EOS: [{"input_ids"}], with "cut": True where cut.

    Those of fewer than `minimum` tokens are a ValueError with `name` and the sentence's number;
    with empty="skip" they are left out, and counted in a warning.
    """
    examples, short = [], []
    for number, sentence in enumerate(sentences):
        example = cut_ids(prompt_ids(tokenizer, sentence), max_length)
        if (found := len(example["input_ids"])) >= minimum:
            examples.append(example)
            continue
        told = f"sentence {number} has {found or 'no'} tokens, but needs {minimum}: {sentence!r}"
        if empty != "skip":
            raise ValueError(f"{name}, {told}. Remove it, or set corpus.empty to skip.")
        short.append(told)
    if short:
        warnings.warn(f"{name}: {len(short)} left out; {short[0]}", stacklevel=4)
    return examples


def check_examples(
    model, groups: Mapping[str, Sequence[dict]], max_length: int, too_long: str = "cut"
) -> None:
    """Before any work on encoded examples, {language or pair: examples}: count what was cut.

    A warning says how many of each group; with too_long="refuse" it is a ValueError. ValueError
    also for an unknown too_long, for what the model has no positions for, and as `check_ids`.
    """
    if too_long not in TOO_LONG:
        raise ValueError(f"too_long = {too_long!r} is unknown: use {' or '.join(TOO_LONG)}")
    counts, positions = {}, positions_of(model)
    for name, examples in groups.items():
        check_ids(model, examples, name)
        if (longest := max((len(x["input_ids"]) for x in examples), default=0)) > positions:
            told = f"{name}: {longest} tokens, but the model has {positions} positions"
            raise ValueError(f"{told}; set max_length to {positions} or less")
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


def positions_of(model) -> float:
    """The longest input of a model in tokens; inf where its config gives none (ALiBi)."""
    settings = unwrap(model).config.get_text_config()
    return getattr(settings, "max_position_embeddings", None) or math.inf


def check_ids(model, examples: Sequence[dict], name: str) -> None:
    """ValueError for a token that the model has no embedding for: on a GPU it ends the process."""
    rows = unwrap(model).get_input_embeddings().weight.shape[0]
    for number, example in enumerate(examples):
        if (largest := max(example["input_ids"], default=0)) >= rows:
            has = f"the model has {rows} embeddings (0 … {rows - 1})"
            told = f"{name}, example {number}: the tokenizer gives token {largest}, but {has}"
            raise ValueError(f"{told}: it is another model's; load both from the same place")


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
