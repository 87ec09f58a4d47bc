"""Train in several processes, as `accelerate launch` and torchrun start them: join them, wrap the
model, put sharded tensors together. Shares and sums of what they read are in hooks.py."""

from __future__ import annotations

import os

import torch
import torch.distributed as dist
from accelerate import Accelerator, DistributedDataParallelKwargs, PartialState
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from ..blocks import decoder_blocks
from ..hooks import world


def start() -> None:
    """Join the other processes if the launcher's environment says that there are some."""
    if int(os.environ.get("WORLD_SIZE", 1)) > 1 and not dist.is_initialized():
        PartialState(cpu=not torch.cuda.is_available())


def own_device() -> dict[str, int] | None:
    """The device_map of a model that each process holds in full: its GPU, or None on the CPU."""
    return {"": int(os.environ.get("LOCAL_RANK", 0))} if torch.cuda.is_available() else None


def distribute(model: nn.Module, optimizer: torch.optim.Optimizer) -> nn.Module:
    """The model as all processes train it together, DDP or FSDP2 by the launch file; one process:
    as it is. The optimiser must be new: it gets the sharded parameters."""
    if world() == 1:
        return model
    sharded = os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"
    if sharded and not torch.cuda.is_available():  # accelerate shards on accelerators only
        for part in (*decoder_blocks(model), model):
            fully_shard(part)
        optimizer.param_groups[0]["params"] = [p for p in model.parameters() if p.requires_grad]
        return model
    # a pair does not train every slice; precision is the loop's
    unused = DistributedDataParallelKwargs(find_unused_parameters=True)
    accelerator = Accelerator(mixed_precision="no", kwargs_handlers=[unused])
    return accelerator.prepare(model, optimizer)[0]


def unsharded(tensor):
    """A sharded tensor put together, for which all processes must ask; any other as it is."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def shard_like(value: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """A whole tensor, cut as `like` is if that one is sharded."""
    if not isinstance(like, DTensor):
        return value
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)
