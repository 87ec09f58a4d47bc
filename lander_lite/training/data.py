"""What a run is trained on: functions of (seed, pair, count) alone, so that resuming needs no
replay."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence

import torch

from ..config import FinetuneConfig
from ..languages import is_pair
from ..prompts import (
    Corpus,
    check_pairs,
    cut_ids,
    encode,
    languages_of,
    pair_rows,
    prompt_ids,
    texts,
)


def check_data(corpus: Corpus, pairs: Sequence[str], tokenizer) -> None:
    """`check_pairs` of the directions, and `plain_text` of the bare codes of languages."""
    plain = [] if isinstance(pairs, str) else [name for name in pairs if not is_pair(name)]
    for language in plain:
        plain_text(corpus, language)
    if not plain or len(plain) < len(pairs):
        directions = pairs if not plain else [pair for pair in pairs if pair not in plain]
        check_pairs(corpus, directions, tokenizer)


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


def pair_data(tokenizer, corpus, pair: str, config: FinetuneConfig, template) -> list[dict]:
    """The encoded rows that serve a pair or a language, the same for every method of a seed."""
    plain = not is_pair(pair)
    rows = plain_text(corpus, pair) if plain else pair_rows(corpus, pair)
    order = torch.randperm(len(rows), generator=generator(config.seed, pair, "rows"))
    chosen = [rows[row] for row in order[: config.rows_per_pair].tolist()]
    if plain:
        return [encode_text(tokenizer, sentence, config.max_length) for sentence in chosen]
    options = {"template": template, "max_length": config.max_length}
    return [encode(tokenizer, *both, pair, **options) for both in chosen]


def encode_text(tokenizer, sentence: str, max_length: int) -> dict:
    """One sentence with EOS to be learned: {"input_ids", "labels"}, equal, [length <= max_length].

    The first token is learned only where the tokenizer puts BOS in front of it, for else nothing
    predicts it. EOS goes with what is cut off.
    """
    example = cut_ids(prompt_ids(tokenizer, sentence) + [tokenizer.eos_token_id], max_length)
    return example | {"labels": example["input_ids"]}


def chosen_rows(n: int, config: FinetuneConfig, pair: str, count: int) -> list[int]:
    """Rows of the count-th micro-batch of a pair: each epoch is another order of all n."""
    size = config.batch_size
    places = (divmod(i, n) for i in range(count * size, (count + 1) * size))
    return [permutation(n, config.seed, pair, epoch)[place] for epoch, place in places]


@functools.lru_cache(64)
def permutation(n: int, seed: int, pair: str, epoch: int) -> list[int]:
    return torch.randperm(n, generator=generator(seed, pair, f"epoch {epoch}")).tolist()


def generator(*key) -> torch.Generator:
    """A generator seeded by a hash of `key`; Python's own differs from process to process."""
    seed = hashlib.sha256(repr(key).encode()).digest()[:6]
    return torch.Generator().manual_seed(int.from_bytes(seed, "big"))


def n_labels(examples: Sequence[dict]) -> int:
    """How many tokens of encoded examples are learned; nothing predicts a first one."""
    return sum(label != -100 for example in examples for label in example["labels"][1:])
