"""AdamW, and one that takes less memory: states of 8 bits (Dettmers et al. 2022), and bfloat16
weights rounded at random, up or down with the chance that the lost digits give, since a step that
is small beside its weight would always be rounded away. Both are torchao's."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim import AdamW, Optimizer

from ..config import FinetuneConfig
from ..hooks import world

PART = 2**22


def check_optimizer(config: FinetuneConfig) -> None:
    """ValueError where the chosen optimiser can't work: no torchao, or several processes, each of
    which would round in another way."""
    if config.optimizer == "adamw":
        return
    if world() > 1:
        raise ValueError(
            f"finetune.optimizer = {config.optimizer} works in one process: start one, or use adamw"
        )
    try:
        import torchao.optim  # noqa: F401
    except ImportError as error:
        raise ValueError(
            f"finetune.optimizer = {config.optimizer} needs torchao: "
            'pip install -e ".[low-memory]" in the clone'
        ) from error


def new_optimizer(parameters, config: FinetuneConfig) -> Optimizer:
    """The optimiser that a config names."""
    if config.optimizer == "adamw":
        return AdamW(parameters, weight_decay=config.weight_decay)
    from torchao.optim import AdamW8bit
    from torchao.optim.adam import single_param_adam

    class InParts(AdamW8bit):
        """It takes some rows after others, for it computes in float32, and needs no compiler."""

        @torch.no_grad()
        def step(self) -> None:
            group = self.param_groups[0]
            rate = torch.as_tensor(group["lr"], dtype=torch.float32)
            settings = rate, *group["betas"], group["weight_decay"], group["eps"], True
            for p in group["params"]:
                if p.grad is not None:
                    self.step_of(p, self.state[p], settings)

        def step_of(self, p: Tensor, state: dict, settings: tuple) -> None:
            if not state:
                state["step"] = torch.tensor(0.0)
                state["exp_avg"] = self._new_buffer(p, True)  # it has a sign
                state["exp_avg_sq"] = self._new_buffer(p, False)
            state["step"] += 1
            is_rounded = p.dtype == torch.bfloat16
            for rows in parts(p):
                moments = state["exp_avg"][rows], state["exp_avg_sq"][rows], None
                inputs = p[rows], p.grad[rows], state["step"], *moments
                single_param_adam(*inputs, *settings, is_rounded)

    return InParts(parameters, weight_decay=config.weight_decay)


def parts(p: Tensor) -> list[slice]:
    """Rows of a parameter that take their step together, about PART numbers: 256 or a multiple of
    that, for so many numbers share a scale."""
    size = max(1, PART * len(p) // (256 * p.numel())) * 256
    return [slice(i, min(i + size, len(p))) for i in range(0, len(p), size)]


def plain_tensors(moment: Tensor) -> dict[str, Tensor]:
    """What a state consists of, to be written: {"": itself}, or the parts of one of 8 bits."""
    if not hasattr(moment, "__tensor_flatten__"):
        return {"": moment}
    names, _ = moment.__tensor_flatten__()
    return {f":{name}": getattr(moment, name) for name in names}


def quantised(moment: str, parts: dict[str, Tensor], like: Tensor) -> Tensor:
    """A state of 8 bits from its parts; the first moment has a sign."""
    from torchao.optim.subclass_8bit import OptimState8bit

    parts = {name: part.to(like.device) for name, part in parts.items()}
    return OptimState8bit(**parts, signed=moment == "exp_avg", dtype=like.dtype)
