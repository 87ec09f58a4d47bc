"""What does not fit a model: examples longer than the limit, which are cut and counted, and tokens that it has no embedding for."""
from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

from .structure import unwrap

TOO_LONG = ("cut", "refuse")


def cut_ids(ids: list[int], max_length: int) -> dict:
    """{"input_ids": at most max_length of them}, and "cut": True if there were more."""
    return {"input_ids": ids[:max_length]} | ({"cut": True} if len(ids) > max_length else {})


def check_examples(model, groups: Mapping[str, Sequence[dict]], max_length: int, too_long: str = "cut") -> None:
    """Before any work on encoded examples {language or pair: examples}: count those that were cut at `max_length`.

    A warning says how many of each group; with too_long="refuse" it is a ValueError. ValueError also for an unknown too_long, and as
    `check_ids`."""
    if too_long not in TOO_LONG:
        raise ValueError(f"too_long = {too_long!r} is unknown: use {' or '.join(TOO_LONG)}")
    for name, examples in groups.items():
        check_ids(model, examples, name)
    counts = {name: (sum("cut" in example for example in examples), len(examples)) for name, examples in groups.items()}
    report_cut(counts, max_length, too_long)


def report_cut(counts: Mapping[str, tuple[int, int]], max_length: int, too_long: str = "cut") -> None:
    """The warning or error of `check_examples`. counts: {language or pair: (examples that were cut, all)}."""
    if found := ", ".join(f"{n} of {size} in {name}" for name, (n, size) in counts.items() if n):
        if too_long == "refuse":
            raise ValueError(f"longer than max_length={max_length} tokens: {found}; shorten them, raise max_length, or set too_long to cut")
        warnings.warn(f"cut at max_length={max_length} tokens: {found}", stacklevel=4)


def check_ids(model, examples: Sequence[dict], name: str) -> None:
    """ValueError for a token id that the model has no embedding for. On a GPU it would end the process."""
    rows = unwrap(model).get_input_embeddings().weight.shape[0]
    for number, example in enumerate(examples):
        if (largest := max(example["input_ids"], default=0)) >= rows:
            raise ValueError(f"{name}, example {number}: the tokenizer gives token {largest}, but the model has {rows} embeddings "
                             f"(0 … {rows - 1}): it is another model's tokenizer; load both from the same place")
