"""Batches of one translation pair each, for transformers' Trainer or a DataLoader."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, cycle, islice

from torch.utils.data import Sampler
from transformers import Trainer

from ..prompts import collate, encode, pair_rows


class PairGroupedSampler(Sampler[int]):
    """Indices of which every `batch_size` in turn are of one pair; seed and epoch give their order.

    Every example is there in each epoch. A pair's last batch is completed with examples that the
    epoch has had, so that all batches have one size and no pair is left out.

    Args:
        pairs: the pair of each example, such as "en-de".
        batch_size: that of the DataLoader, in examples.
    """

    def __init__(self, pairs: Sequence[str], batch_size: int, seed: int = 0):
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size} must be at least 1")
        self.batch_size, self.seed, self.epoch = batch_size, seed, 0
        self.rows: dict[str, list[int]] = {}
        for row, pair in enumerate(pairs):
            self.rows.setdefault(pair, []).append(row)

    def set_epoch(self, epoch: int) -> None:
        """Choose the order: Trainer and accelerate call this before every epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.batch_size * sum(
            -(-len(rows) // self.batch_size) for rows in self.rows.values()
        )

    def __iter__(self) -> Iterator[int]:
        draw, size, batches = random.Random(f"{self.seed} {self.epoch}"), self.batch_size, []
        for rows in self.rows.values():
            examples = cycle(draw.sample(rows, len(rows)))
            batches += [list(islice(examples, size)) for _ in range(0, len(rows), size)]
        draw.shuffle(batches)
        return chain.from_iterable(batches)


def collate_pairs(tokenizer) -> Callable[[Sequence[dict]], dict]:
    """A data collator of encoded examples that name their "pair": `corpus.collate`'s tensors, and
    "pair", the one of the batch. It raises ValueError for a batch of several."""

    def collator(examples: Sequence[dict]) -> dict:
        pairs = sorted({example["pair"] for example in examples})
        if len(pairs) > 1:
            raise ValueError(f"a batch holds {' and '.join(pairs)}; use a PairGroupedSampler")
        return collate(tokenizer, examples) | {"pair": pairs[0]}

    return collator


def pair_examples(tokenizer, corpus, pairs: Sequence[str], **options) -> list[dict]:
    """Encode every row of a parallel corpus in every direction; each example names its "pair".
    options: `corpus.encode`'s template and max_length."""
    return [
        encode(tokenizer, *row, pair, **options) | {"pair": pair}
        for pair in pairs
        for row in pair_rows(corpus, pair)
    ]


class PairTrainer(Trainer):
    """transformers' Trainer with batches of one pair each: give it `pair_examples`,
    `collate_pairs(tokenizer)` and remove_unused_columns=False."""

    def _get_train_sampler(self, train_dataset=None) -> PairGroupedSampler:
        examples = self.train_dataset if train_dataset is None else train_dataset
        pairs = [example["pair"] for example in examples]
        return PairGroupedSampler(pairs, self.args.train_batch_size, self.args.seed)
