"""Several processes, as `accelerate launch` or torchrun start them: who reads what, sums over all,
whole tensors of sharded ones. With one process every function is as good as nothing."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from ..blocks import decoder_blocks


def start() -> None:
    """Join the other processes if there are some: the launcher says so in the environment."""
    if int(os.environ.get("WORLD_SIZE", 1)) > 1 and not dist.is_initialized():
        from accelerate import PartialState

        PartialState(cpu=not torch.cuda.is_available())


def world() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if world() > 1 else 0


def is_main() -> bool:
    """Whether this is the process that writes files."""
    return rank() == 0


def wait() -> None:
    """Until all processes are here."""
    if world() > 1:
        dist.barrier()


def own_part(items: Sequence) -> Sequence:
    """Every world-th of the items, from this process's rank on; the parts of all processes are all
    items."""
    return items[rank() :: world()]


def add_up(tensor: torch.Tensor) -> torch.Tensor:
    """The sum over processes, the same on each."""
    if world() == 1:
        return tensor
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    total = tensor.detach().to(device, copy=True)
    dist.all_reduce(total)
    return total.to(tensor.device)


def own_device() -> dict[str, int] | None:
    """The device_map of a model that each process holds whole: its own GPU, or None on the CPU."""
    return {"": int(os.environ.get("LOCAL_RANK", 0))} if torch.cuda.is_available() else None


# ---------------------------------------------------------------- sharded tensors (FSDP)
def shard_on_cpu(model: nn.Module) -> bool:
    """Shard a model's blocks as accelerate does with fsdp_version 2, which it does on accelerators
    only; whether it was done. So the same launch file works on a machine without GPUs, to try
    things out."""
    if (
        world() == 1
        or torch.cuda.is_available()
        or os.environ.get("ACCELERATE_USE_FSDP", "false").lower() != "true"
    ):
        return False
    for part in (*decoder_blocks(model), model):
        fully_shard(part)
    return True


def whole(tensor):
    """A sharded tensor put together, on every process, which all have to ask for it; anything else
    as it is."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def shard_like(value, like: torch.Tensor):
    """A whole tensor cut as `like` is; as it is if `like` is not sharded or has another shape
    (AdamW's step number)."""
    if isinstance(like, DTensor) and isinstance(value, torch.Tensor) and value.shape == like.shape:
        return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)
    return value
