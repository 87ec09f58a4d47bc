"""When a batch does not fit into a GPU's memory: compute it in parts. What is computed stays the
same."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import torch


def in_halves(function: Callable[[Sequence], torch.Tensor], rows: Sequence) -> torch.Tensor:
    """function(rows), a sum over rows; where memory runs out, the sum of its halves, and so on.
    OutOfMemoryError for a single row."""
    try:
        return function(rows)
    except torch.OutOfMemoryError:
        if len(rows) == 1:
            raise
    # outside of `except`, where the error would still hold what had been computed
    free_memory(
        f"out of memory with {len(rows)} sentences at once: going on with halves; a smaller "
        f"batch_size saves the detour"
    )
    half = len(rows) // 2
    return in_halves(function, rows[:half]) + in_halves(function, rows[half:])


def free_memory(warning: str) -> None:
    warnings.warn(warning, stacklevel=2)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
