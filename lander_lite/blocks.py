"""One view of every decoder's blocks and feed-forward networks, found by the shapes of their
layers and not by names of classes."""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

# of two layers d_model -> d_ff, the one that goes through the activation function
GATE_NAMES = ("gate_proj", "gate", "w1", "linear_1")
ACTIVATION_NAMES = ("act_fn", "act", "activation_fn", "activation", "gelu_impl")
AGREED: weakref.WeakSet[nn.Module] = weakref.WeakSet()  # modules whose views were found right


class Projection:
    """A layer that is no nn.Linear of its own, seen as one: GPT-2's Conv1D, whose matrix lies the
    other way round, or some rows of a fused gate-and-up layer. `weight` [out, in] and `bias` [out]
    are views: what is written into them is written into the model."""

    def __init__(self, module: nn.Module, rows: slice | None = None):
        self.module, self.rows = module, rows

    @property
    def weight(self) -> torch.Tensor:
        weight = self.module.weight.T if isinstance(self.module, Conv1D) else self.module.weight
        return weight if self.rows is None else weight[self.rows]

    @property
    def bias(self) -> torch.Tensor | None:
        bias = self.module.bias
        return bias if self.rows is None or bias is None else bias[self.rows]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.weight, self.bias)

    def register_forward_pre_hook(self, hook: Callable):
        return self.module.register_forward_pre_hook(hook)

    def register_forward_hook(self, hook: Callable):
        """As nn.Module's; of a fused layer the hook sees, and may replace, its rows."""
        if self.rows is None:
            return self.module.register_forward_hook(hook)

        def hook_of_rows(module, args, output):
            replaced = hook(module, args, output[..., self.rows])
            if replaced is None:
                return None
            output = output.clone()
            output[..., self.rows] = replaced
            return output

        return self.module.register_forward_hook(hook_of_rows)


class Inline(nn.Module):
    """A feed-forward network whose layers are children of the block itself (OPT, XGLM), as a
    module."""

    def __init__(self, up: nn.Module, act: Callable, down: nn.Module):
        super().__init__()
        self.up, self.act, self.down = up, act, down

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.down(self.act(self.up(hidden_states)))


@dataclass
class FeedForward:
    """One block's `down(act(up(x)))`, or with a gate `down(act(gate(x)) * up(x))`. A neuron is one
    of the `d_ff` inputs of `down`: its row of `up` (and `gate`), its biases, its column of `down`.

    Attributes:
        name: its module path in the unwrapped model; `parent.attribute` is the place that holds it.
        module: what computes it; an `Inline` where the layers are the block's own children.
        up, gate, down: nn.Linear, a quantised form of it, or a `Projection`; gate may be None.
        act: the activation function, None if none was found.
        inline: the names that up, the activation and down have in the block; () for a module.
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

    @property
    def inner(self) -> dict[str, nn.Module | Projection]:
        """{"up", "gate" if there is one}: the layers whose rows belong to neurons."""
        layers = {"up": self.up, "gate": self.gate}
        return {name: layer for name, layer in layers.items() if layer is not None}

    def neurons(self, x: torch.Tensor) -> torch.Tensor:
        """The activations h (..., d_ff) that `down` reads; x is the input (..., d_model)."""
        return self.act(self.up(x)) if self.gate is None else self.act(self.gate(x)) * self.up(x)

    def replace_part(self, part: str, module: nn.Module) -> None:
        """Put `module` in the place of "up", "gate" or "down"."""
        old = module_of(getattr(self, part))
        for holder in (self.parent, self.module) if self.inline else (self.module,):
            names = [name for name, child in holder.named_children() if child is old]
            for name in names:
                setattr(holder, name, module)
        setattr(self, part, module)


def module_of(part: nn.Module | Projection) -> nn.Module:
    """The module that computes a part of a view."""
    return part.module if isinstance(part, Projection) else part


# ---------------------------------------------------------------- the model
def unwrap(model: nn.Module) -> nn.Module:
    """The transformers model inside a PEFT or accelerate wrapper (itself if there is none)."""
    while not isinstance(model, PreTrainedModel):
        if hasattr(model, "get_base_model"):
            inner = model.get_base_model()
        else:
            names = [name for name in ("base_model", "model", "module") if hasattr(model, name)]
            inner = getattr(model, names[0]) if names else None
        if not isinstance(inner, nn.Module) or inner is model:
            return model
        model = inner
    return model


def decoder_blocks(model: nn.Module) -> list[nn.Module]:
    """The blocks in order: the longest ModuleList in no other one; ValueError for none."""
    return list(_block_list(unwrap(model))[1])


def _block_list(model: nn.Module) -> tuple[str, nn.ModuleList]:
    lists = {name: m for name, m in model.named_modules() if isinstance(m, nn.ModuleList)}
    outer = [name for name in lists if not any(name.startswith(f"{other}.") for other in lists)]
    if not outer:
        raise ValueError(
            f"{type(model).__name__} has no ModuleList of blocks: "
            "only decoder-only transformers are supported."
        )
    longest = max(outer, key=lambda name: len(lists[name]))
    return longest, lists[longest]


def feed_forwards(model: nn.Module) -> list[FeedForward]:
    """One view per block, found by shape: a module, or the block itself, with a layer d -> d_ff
    (two if gated, or one d -> 2 d_ff with both) and a layer d_ff -> d.

    Raises: ValueError that names the block and what was looked for, also for a mixture of experts
        and for a model that is wrapped.
    """
    model = unwrap(model)
    prefix, layers = _block_list(model)
    config = model.config.get_text_config() if hasattr(model, "config") else None
    d_model = getattr(config, "hidden_size", None) or model.get_input_embeddings().weight.shape[1]
    sizes_in_config = (getattr(config, key, None) for key in ("intermediate_size", "ffn_dim"))
    expected = next((size for size in sizes_in_config if isinstance(size, int)), 4 * d_model)
    return [
        _feed_forward(model, f"{prefix}.{index}", block, d_model, expected)
        for index, block in enumerate(layers)
    ]


def _feed_forward(model, path: str, block: nn.Module, d_model: int, expected: int) -> FeedForward:
    parts = dict(block.named_modules())
    if any(type(part).__name__ == "LanderLayer" for part in parts.values()):
        raise ValueError(
            f"{path} is wrapped by a LanderModel, whose tuned neurons lie elsewhere: "
            "call unload() or merge_and_unload() first."
        )
    if any(name.rpartition(".")[2] == "experts" for name in parts):
        raise ValueError(
            f"{path} ({type(block).__name__}) is a mixture of experts: "
            "there is no one feed-forward network."
        )
    found = [_as_feed_forward(name, part, d_model) for name, part in parts.items()]
    found = [view for view in found if view is not None]
    nothing = (
        f"{path} ({type(block).__name__}): no feed-forward network found. Looked for a module, or "
        f"the block itself, whose direct children are a linear layer {d_model} -> d_ff (or two, "
        f"for gate and up; or one {d_model} -> 2 d_ff with both) and a linear layer d_ff -> "
        f"{d_model}, and which computes down(act(up(x))) or down(act(gate(x)) * up(x))."
    )
    if not found:
        raise ValueError(nothing)
    # adapters have the same form, and so may queries with attention's output: no activation
    view = max(found, key=lambda ff: (ff.act is not None, ff.d_ff == expected, ff.d_ff))
    name = view.name if not view.inline else view.inline[-1]
    view.name = f"{path}.{name}".rstrip(".")
    parent, _, view.attribute = view.name.rpartition(".")
    view.parent = block if view.inline else model.get_submodule(parent)
    if view.act is not None and not _agrees(view):
        kind = type(view.module).__name__
        raise ValueError(
            f"{nothing} {view.name} ({kind}) has the form, but computes another thing."
        )
    return view


def _as_feed_forward(name: str, module: nn.Module, d_model: int) -> FeedForward | None:
    children = {key: child for key, child in module.named_children() if sizes(child)}
    for down, child in children.items():
        d_ff, out = sizes(child)
        if out != d_model or d_ff == d_model:
            continue
        act_name, act = _activation(module)
        inner = [k for k, c in children.items() if sizes(c) == (d_model, d_ff) and k != down]
        fused = [c for c in children.values() if sizes(c) == (d_model, 2 * d_ff)]
        if len(inner) in (1, 2):  # gate first, where names tell
            ups = [children[k] for k in sorted(inner, key=lambda key: key not in GATE_NAMES)]
            ups = [Projection(up) if isinstance(up, Conv1D) else up for up in ups]
        elif not inner and len(fused) == 1:
            halves = slice(0, d_ff), slice(d_ff, 2 * d_ff)
            ups = [Projection(fused[0], rows) for rows in halves]
        else:
            continue
        inline = (inner[0], act_name, down) if not name and len(inner) == 1 and act_name else ()
        if inline:
            module = Inline(children[inner[0]], act, child).train(module.training)
        gate = ups[0] if len(ups) == 2 else None
        last = Projection(child) if isinstance(child, Conv1D) else child
        view = FeedForward(
            name, module, "", module, ups[-1], gate, last, act, d_model, d_ff, inline
        )
        if gate is not None and not set(inner) & set(GATE_NAMES) and not _agrees(view):
            view.gate, view.up = view.up, view.gate
        return view
    return None


def sizes(module: nn.Module) -> tuple[int, int] | None:
    """(inputs, outputs) of nn.Linear, its quantised forms, GPT-2's Conv1D, and PEFT's wrappers
    around them; None for other modules."""
    if isinstance(module, Conv1D):
        return module.nx, module.nf
    found = getattr(module, "in_features", None), getattr(module, "out_features", None)
    return found if all(isinstance(size, int) for size in found) else None


def _activation(module: nn.Module) -> tuple[str | None, Callable | None]:
    """(attribute, activation): by the usual names, else the one child without parameters that is no
    dropout."""
    names = [key for key in ACTIVATION_NAMES if hasattr(module, key)] or [
        key
        for key, child in module.named_children()
        if not list(child.children())
        and not list(child.parameters())
        and not isinstance(child, nn.Dropout)
    ]
    return (names[0], getattr(module, names[0])) if names else (None, None)


@torch.no_grad()
def _agrees(view: FeedForward) -> bool:
    """Whether the view computes what the module does, on random input; taken for granted where the
    weights cannot be used here (meta device, quantised, sharded or offloaded)."""
    if view.inline or view.module in AGREED:
        return True
    weights = list(view.module.parameters())
    plain = all(type(p.data) is torch.Tensor and p.is_floating_point() for p in weights)
    if not plain or any(p.device.type == "meta" for p in weights):
        return True
    first = next(module_of(view.up).parameters())
    x = torch.randn(1, 2, view.d_model, generator=torch.Generator().manual_seed(0)).to(first)
    training = view.module.training
    view.module.eval()  # no dropout
    try:
        wanted = view.module(x)
    except TypeError:  # BLOOM's also takes the residual stream
        wanted = view.module(x, torch.zeros_like(x))
    finally:
        view.module.train(training)
    difference = view.down(view.neurons(x)) - wanted
    if not difference.norm() > 0.05 * wanted.norm():  # of NaN, reading tells
        AGREED.add(view.module)
    return view.module in AGREED


def fingerprint(model: nn.Module) -> dict[str, Any]:
    """Sizes and a short hash that tell whether neuron indices found on one model mean the same on
    another; of a wrapped model, those of its base.

    The hash covers the signs of 64 rows of the input embeddings: they are the same for every dtype
    and quantisation of a checkpoint, and after tuning that leaves the embeddings alone, but not for
    two training runs. "" on the meta device.
    """
    model = unwrap(model)
    for config in getattr(model, "peft_config", {}).values():
        if known := getattr(config, "base_fingerprint", None):
            return known
    views = feed_forwards(model)
    weight = model.get_input_embeddings().weight
    digest = ""
    if weight.device.type != "meta":
        rows = weight.detach()[:: max(1, weight.shape[0] // 64)][:64]
        signs = torch.signbit(rows.float()).cpu().numpy().tobytes()
        digest = hashlib.sha256(signs).hexdigest()[:16]
    return {
        "model_type": getattr(model.config, "model_type", type(model).__name__),
        "n_layers": len(views),
        "d_model": views[0].d_model,
        "d_ff": views[0].d_ff,
        "vocab_size": weight.shape[0],
        "weights_sha256": digest,
    }


def input_device(model: nn.Module) -> torch.device:
    """The device that token ids must be on: the input embeddings' device (the first one under a
    device map), or, where they are offloaded, the one that they are computed on."""
    embeddings = unwrap(model).get_input_embeddings()
    hook = getattr(embeddings, "_hf_hook", None)
    device = getattr(hook, "execution_device", None)
    return embeddings.weight.device if device is None else torch.device(device)
