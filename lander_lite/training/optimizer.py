"""AdamW, and one that takes less memory: states of 8 bits (Dettmers et al. 2022), and bfloat16
weights rounded at random, up or down with the chance that the lost digits give, since a step that
is small beside its weight would always be rounded away. Both are torchao's."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim import AdamW, Optimizer

from ..config import FinetuneConfig
from ..hooks import world


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
            f"finetune.optimizer = {config.optimizer} needs torchao: pip install "
            "'lander-lite[low-memory]'"
        ) from error


def new_optimizer(parameters, config: FinetuneConfig) -> Optimizer:
    """The optimiser that a config names."""
    if config.optimizer == "adamw":
        return AdamW(parameters, weight_decay=config.weight_decay)
    from torchao.optim import AdamW8bit

    class Eager8bit(AdamW8bit):
        """It neither needs a compiler nor compiles each shape; its learning rate is a number."""

        def step(self, closure=None):
            for group in self.param_groups:
                group["lr"] = torch.as_tensor(group["lr"], dtype=torch.float32)
            with torch.compiler.set_stance("force_eager"):
                return super().step(closure)

    return Eager8bit(parameters, weight_decay=config.weight_decay, bf16_stochastic_round=True)


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
