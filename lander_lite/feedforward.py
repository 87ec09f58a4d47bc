"""One view of every decoder's feed-forward network, whatever its layers are called and however they are stored; structure.py finds them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn
from transformers.pytorch_utils import Conv1D


class Projection:
    """A layer that is no nn.Linear of its own, seen as one: GPT-2's Conv1D, whose matrix lies the other way round, or some rows of a fused
    gate-and-up layer. `weight` [out, in] and `bias` [out] are views: what is written into them is written into the model."""

    def __init__(self, module: nn.Module, rows: slice | None = None):
        self.module, self.rows = module, rows

    @property
    def weight(self) -> torch.Tensor:
        weight = self.module.weight.T if isinstance(self.module, Conv1D) else self.module.weight
        return weight if self.rows is None else weight[self.rows]

    @property
    def bias(self) -> torch.Tensor | None:
        return self.module.bias if self.rows is None or self.module.bias is None else self.module.bias[self.rows]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.weight, self.bias)

    def parameters(self):
        return self.module.parameters()

    def register_forward_pre_hook(self, hook: Callable):
        return self.module.register_forward_pre_hook(hook)

    def register_forward_hook(self, hook: Callable):
        """As nn.Module's; of a fused layer the hook sees, and may replace, its own part of the output."""
        if self.rows is None:
            return self.module.register_forward_hook(hook)

        def own_part(module, args, output):
            part = hook(module, args, output[..., self.rows])
            if part is None:
                return None
            output = output.clone()
            output[..., self.rows] = part
            return output
        return self.module.register_forward_hook(own_part)


class Inline(nn.Module):
    """A feed-forward network whose layers are children of the block itself (OPT, XGLM), as a module of its own."""

    def __init__(self, up: nn.Module, act: Callable, down: nn.Module):
        super().__init__()
        self.up, self.act, self.down = up, act, down

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.down(self.act(self.up(hidden_states)))


@dataclass
class FeedForward:
    """One block's feed-forward network: `down(act(up(x)))`, or with a gate `down(act(gate(x)) * up(x))`.

    `name` is its module path in the unwrapped model and `parent.attribute` the place that holds it. A neuron is one of the
    `d_ff` inputs of `down`: its row of `up` (and `gate`), its bias and its column of `down`. up, gate and down are nn.Linear, or
    `Projection`s of other layers. Where the layers are the block's own children, `parent` is the block, `module` an `Inline`, and
    `inline` the names that up, the activation and down have in the block.
    """

    name: str
    parent: nn.Module
    attribute: str
    module: nn.Module
    up: nn.Module | Projection
    gate: nn.Module | Projection | None
    down: nn.Module | Projection
    act: Callable | None
    d_model: int
    d_ff: int
    inline: tuple[str, ...] = ()

    def replace(self, module: nn.Module) -> None:
        """Put `module` where this feed-forward network is in the model; `self.module` puts the old one back. ValueError where the block
        applies a dropout between the layers, for which a module that takes their place has none."""
        if not self.inline:
            setattr(self.parent, self.attribute, module)
            return
        own = (self.module.up, self.module.act, self.module.down)
        if module is not self.module and getattr(self.parent, "activation_dropout", 0):
            raise ValueError(f"{self.name}: its block has a dropout inside the feed-forward network; load it with activation_dropout=0.")
        for name, part in zip(self.inline, own if module is self.module else (nn.Identity(), nn.Identity(), module)):
            if not isinstance(part, nn.Module):
                delattr(self.parent, name)             # an activation that is a function comes back where nn.Identity stood
            setattr(self.parent, name, part)

    def replace_part(self, part: str, module: nn.Module) -> None:
        """Put `module` in the place of "up", "gate" or "down"."""
        old = module_of(getattr(self, part))
        for holder in (self.parent, self.module) if self.inline else (self.module,):
            setattr(holder, next(name for name, child in holder.named_children() if child is old), module)
        setattr(self, part, module)

    def dequantise(self, dtype: torch.dtype) -> None:
        """Put nn.Linear layers of the same values, in `dtype`, where bitsandbytes' 4-bit or 8-bit ones are in the model: neurons can be cut
        out of these and trained."""
        for name in ("up", "gate", "down"):
            layer = getattr(self, name)
            if layer is None or type(layer.weight).__name__ not in ("Params4bit", "Int8Params"):
                continue
            from transformers.integrations.bitsandbytes import dequantize_bnb_weight
            weight = dequantize_bnb_weight(layer.weight, getattr(layer, "state", None))
            plain = nn.Linear(layer.in_features, layer.out_features, layer.bias is not None, device=weight.device, dtype=dtype)
            with torch.no_grad():
                plain.weight.copy_(weight)
                if layer.bias is not None:
                    plain.bias.copy_(layer.bias)
            self.replace_part(name, plain.requires_grad_(False).train(layer.training))


def module_of(part: nn.Module | Projection) -> nn.Module:
    """The module that computes a part of a view."""
    return part.module if isinstance(part, Projection) else part
