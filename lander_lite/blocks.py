"""One view of every decoder's feed-forward network, whatever its layers are called and however they
are stored; structure.py finds them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D


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
        return (
            self.module.bias
            if self.rows is None or self.module.bias is None
            else self.module.bias[self.rows]
        )

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.weight, self.bias)

    def parameters(self):
        return self.module.parameters()

    def register_forward_pre_hook(self, hook: Callable):
        return self.module.register_forward_pre_hook(hook)

    def register_forward_hook(self, hook: Callable):
        """As nn.Module's; of a fused layer the hook sees, and may replace, its own part of the
        output."""
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
    """A feed-forward network whose layers are children of the block itself (OPT, XGLM), as a module
    of its own."""

    def __init__(self, up: nn.Module, act: Callable, down: nn.Module):
        super().__init__()
        self.up, self.act, self.down = up, act, down

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.down(self.act(self.up(hidden_states)))


@dataclass
class FeedForward:
    """One block's feed-forward network: `down(act(up(x)))`, or with a gate `down(act(gate(x)) *
    up(x))`.

    `name` is its module path in the unwrapped model and `parent.attribute` the place that holds it.
    A neuron is one of the `d_ff` inputs of `down`: its row of `up` (and `gate`), its bias and its
    column of `down`. up, gate and down are nn.Linear, or `Projection`s of other layers. Where the
    layers are the block's own children, `parent` is the block, `module` an `Inline`, and `inline`
    the names that up, the activation and down have in the block.
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
        """Put `module` where this feed-forward network is in the model; `self.module` puts the old
        one back. ValueError where the block applies a dropout between the layers, for which a
        module that takes their place has none."""
        if not self.inline:
            setattr(self.parent, self.attribute, module)
            return
        own = (self.module.up, self.module.act, self.module.down)
        if module is not self.module and getattr(self.parent, "activation_dropout", 0):
            raise ValueError(
                f"{self.name}: its block has a dropout inside the feed-forward network; load it "
                f"with activation_dropout=0."
            )
        for name, part in zip(
            self.inline, own if module is self.module else (nn.Identity(), nn.Identity(), module)
        ):
            if not isinstance(part, nn.Module):
                delattr(
                    self.parent, name
                )  # an activation that is a function comes back where nn.Identity stood
            setattr(self.parent, name, part)

    def replace_part(self, part: str, module: nn.Module) -> None:
        """Put `module` in the place of "up", "gate" or "down"."""
        old = module_of(getattr(self, part))
        for holder in (self.parent, self.module) if self.inline else (self.module,):
            setattr(
                holder,
                next(name for name, child in holder.named_children() if child is old),
                module,
            )
        setattr(self, part, module)

    def dequantise(self, dtype: torch.dtype) -> None:
        """Put nn.Linear layers of the same values, in `dtype`, where bitsandbytes' 4-bit or 8-bit
        ones are in the model: neurons can be cut out of these and trained."""
        for name in ("up", "gate", "down"):
            layer = getattr(self, name)
            if layer is None or type(layer.weight).__name__ not in ("Params4bit", "Int8Params"):
                continue
            from transformers.integrations.bitsandbytes import dequantize_bnb_weight

            weight = dequantize_bnb_weight(layer.weight, getattr(layer, "state", None))
            plain = nn.Linear(
                layer.in_features,
                layer.out_features,
                layer.bias is not None,
                device=weight.device,
                dtype=dtype,
            )
            with torch.no_grad():
                plain.weight.copy_(weight)
                if layer.bias is not None:
                    plain.bias.copy_(layer.bias)
            self.replace_part(name, plain.requires_grad_(False).train(layer.training))


def module_of(part: nn.Module | Projection) -> nn.Module:
    """The module that computes a part of a view."""
    return part.module if isinstance(part, Projection) else part


GATE_NAMES = (
    "gate_proj",
    "gate",
    "w1",
    "linear_1",
)  # of two d -> d_ff layers, the one that goes through the activation
ACTIVATION_NAMES = ("act_fn", "act", "activation_fn", "activation", "gelu_impl")


def unwrap(model: nn.Module) -> nn.Module:
    """The transformers model inside a PEFT, Lander or accelerate wrapper (itself if there is
    none)."""
    while not isinstance(model, PreTrainedModel):
        if hasattr(model, "get_base_model"):
            inner = model.get_base_model()
        else:
            inner = next(
                (
                    getattr(model, name)
                    for name in ("base_model", "model", "module")
                    if hasattr(model, name)
                ),
                None,
            )
        if not isinstance(inner, nn.Module) or inner is model:
            return model
        model = inner
    return model


def decoder_blocks(model: nn.Module) -> list[nn.Module]:
    """The decoder blocks in order: the longest ModuleList that lies in no other one. ValueError if
    there is none."""
    return list(_block_list(unwrap(model))[1])


def _block_list(model: nn.Module) -> tuple[str, nn.ModuleList]:
    lists = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList)
    ]
    names = [name for name, _ in lists]
    outer = [
        (name, module)
        for name, module in lists
        if not any(name.startswith(f"{other}.") for other in names)
    ]
    if not outer:
        raise ValueError(
            f"{type(model).__name__} has no ModuleList of blocks: only decoder-only transformers "
            f"are supported."
        )
    return max(outer, key=lambda item: len(item[1]))


def feed_forwards(model: nn.Module) -> list[FeedForward]:
    """One FeedForward per block, found by shape: a module, or the block itself, with a layer d ->
    d_ff (two if gated, or one d -> 2 d_ff with both) and a layer d_ff -> d.

    Raises: ValueError that names the block and what was looked for, also for a mixture of experts.
    """
    model = unwrap(model)
    prefix, layers = _block_list(model)
    config = model.config.get_text_config() if hasattr(model, "config") else None
    d_model = getattr(config, "hidden_size", None) or model.get_input_embeddings().weight.shape[1]
    expected = next(
        (
            size
            for key in ("intermediate_size", "ffn_dim")
            if isinstance(size := getattr(config, key, None), int)
        ),
        4 * d_model,
    )
    found = []
    for index, block in enumerate(layers):
        parts = dict(block.named_modules())
        if any(type(part).__name__ == "PartitionedFFN" for part in parts.values()):
            raise ValueError(
                f"{prefix}.{index} is wrapped by a LanderModel, which may reorder its neurons: "
                f"call unload() first."
            )
        if any(name.rpartition(".")[2] == "experts" for name in parts):
            raise ValueError(
                f"{prefix}.{index} ({type(block).__name__}) is a mixture of experts: there is no "
                f"one feed-forward network."
            )
        candidates = [
            ff
            for name, part in parts.items()
            if (ff := _as_feed_forward(name, part, d_model)) is not None
        ]
        if not candidates:
            raise ValueError(
                f"{prefix}.{index} ({type(block).__name__}): no feed-forward network found. "
                f"Looked for a module, or the block "
                f"itself, whose direct children are a linear layer {d_model} -> d_ff (or two, for "
                f"gate and up; or one {d_model} -> 2 d_ff "
                f"with both) and a linear layer d_ff -> {d_model}."
            )
        # adapters have the same form as the feed-forward network, and so may queries and
        # attention's output, which have no activation
        best = max(candidates, key=lambda ff: (ff.act is not None, ff.d_ff == expected, ff.d_ff))
        path = f"{prefix}.{index}.{best.name}".rstrip(".")
        if best.inline:
            best.name, best.parent, best.attribute = (
                f"{path}.{best.inline[-1]}",
                block,
                best.inline[-1],
            )
        else:
            best.name, (parent, _, best.attribute) = path, path.rpartition(".")
            best.parent = model.get_submodule(parent)
        found.append(best)
    return found


def _as_feed_forward(name: str, module: nn.Module, d_model: int) -> FeedForward | None:
    children = {key: child for key, child in module.named_children() if sizes(child)}
    for down, (d_ff, out) in ((key, sizes(child)) for key, child in children.items()):
        if out != d_model or d_ff == d_model:
            continue
        inner = [
            key
            for key, child in children.items()
            if sizes(child) == (d_model, d_ff) and key != down
        ]
        fused = [key for key, child in children.items() if sizes(child) == (d_model, 2 * d_ff)]
        act_name, act = _activation(module)
        last = _projection(children[down])
        if len(inner) == 1:
            ups = [_projection(children[inner[0]])]
        elif len(inner) == 2:
            ups = [
                _projection(children[key])
                for key in sorted(inner, key=lambda key: key not in GATE_NAMES)
            ]
            if not set(inner) & set(GATE_NAMES):
                ups = _gate_first(module, *ups, last, act)
        elif not inner and len(fused) == 1:
            halves = (
                Projection(children[fused[0]], rows)
                for rows in (slice(0, d_ff), slice(d_ff, 2 * d_ff))
            )
            ups = _gate_first(module, *halves, last, act)
        else:
            continue
        if not ups:
            continue
        inline = (inner[0], act_name, down) if not name and len(inner) == 1 and act_name else ()
        whole = (
            Inline(children[inner[0]], act, children[down]).train(module.training)
            if inline
            else module
        )
        return FeedForward(
            name,
            module,
            "",
            whole,
            ups[-1],
            ups[0] if len(ups) == 2 else None,
            last,
            act,
            d_model,
            d_ff,
            inline,
        )
    return None


def sizes(module: nn.Module) -> tuple[int, int] | None:
    """(inputs, outputs) of nn.Linear, its quantised forms, GPT-2's Conv1D, and PEFT's wrappers
    around them; None for other modules."""
    if isinstance(module, Conv1D):
        return module.nx, module.nf
    found = getattr(module, "in_features", None), getattr(module, "out_features", None)
    return found if all(isinstance(size, int) for size in found) else None


def _projection(module: nn.Module) -> nn.Module | Projection:
    return Projection(module) if isinstance(module, Conv1D) else module


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
def _gate_first(module: nn.Module, first, second, down, act) -> list:
    """[gate, up]: where names do not tell, what the module computes does; [] if it computes
    something else, as Mamba's mixer. Of weights that cannot be used here (meta device, quantised),
    the order of Phi-3 and GLM: gate first."""
    weight = module_of(first).weight
    if weight.device.type == "meta" or not weight.is_floating_point():
        return [first, second]
    x = torch.randn(1, 1, weight.shape[1], generator=torch.Generator().manual_seed(0)).to(weight)
    try:
        wanted = module(x)
        errors = [
            (down(act(gate(x)) * up(x)) - wanted).norm() / wanted.norm()
            for gate, up in ((first, second), (second, first))
        ]
    except (
        TypeError,
        IndexError,
        RuntimeError,
        ValueError,
    ):  # no activation, or not a function of one tensor alone
        return []
    return (
        [] if min(errors) > 0.1 else [first, second] if errors[0] <= errors[1] else [second, first]
    )


def fingerprint(model: nn.Module) -> dict[str, Any]:
    """Sizes and a short hash that tell whether neuron indices found on one model mean the same on
    another.

    The hash covers the signs of 64 rows of the input embeddings: they are the same for every dtype
    and quantisation of a checkpoint, and after tuning that leaves the embeddings alone, but not for
    two training runs. "" on the meta device.
    """
    model = unwrap(model)
    layers = feed_forwards(model)
    weight = model.get_input_embeddings().weight
    digest = ""
    if weight.device.type != "meta":
        step = max(1, weight.shape[0] // 64)
        digest = hashlib.sha256(
            torch.signbit(weight.detach()[::step][:64].float()).cpu().numpy().tobytes()
        ).hexdigest()[:16]
    return {
        "model_type": getattr(model.config, "model_type", type(model).__name__),
        "n_layers": len(layers),
        "d_model": layers[0].d_model,
        "d_ff": layers[0].d_ff,
        "vocab_size": weight.shape[0],
        "weights_sha256": digest,
    }


def input_device(model: nn.Module) -> torch.device:
    """The device that token ids must be on: the input embeddings' device (the first one under a
    device map)."""
    return unwrap(model).get_input_embeddings().weight.device
