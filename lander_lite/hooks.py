"""When a batch does not fit into a GPU's memory: compute it in parts. What is computed stays the
same."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import torch
import torch.distributed as dist


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


# ---------------------------------------------------------------- several processes
def world() -> int:
    """How many processes work together: 1 unless `accelerate launch` or torchrun started more."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process's number, from 0."""
    return dist.get_rank() if world() > 1 else 0


def is_main() -> bool:
    """Whether this is the process that writes files."""
    return rank() == 0


def wait() -> None:
    """Until all processes are here."""
    if world() > 1:
        dist.barrier()


def own_part(items: Sequence) -> Sequence:
    """Every world-th of the items, from this process's rank on; the parts of all are all items."""
    return items[rank() :: world()]


def add_up(tensor: torch.Tensor) -> torch.Tensor:
    """The sum over processes, the same on each."""
    if world() == 1:
        return tensor
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    total = tensor.detach().to(device, copy=True)
    dist.all_reduce(total)
    return total.to(tensor.device)
