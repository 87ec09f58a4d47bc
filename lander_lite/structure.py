"""A decoder's blocks and feed-forward networks, found by the shapes of their layers and not by names of classes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from .feedforward import FeedForward, Inline, Projection, module_of

GATE_NAMES = ("gate_proj", "gate", "w1", "linear_1")  # of two d -> d_ff layers, the one that goes through the activation
ACTIVATION_NAMES = ("act_fn", "act", "activation_fn", "activation", "gelu_impl")


def unwrap(model: nn.Module) -> nn.Module:
    """The transformers model inside a PEFT, Lander or accelerate wrapper (itself if there is none)."""
    while not isinstance(model, PreTrainedModel):
        if hasattr(model, "get_base_model"):
            inner = model.get_base_model()
        else:
            inner = next((getattr(model, name) for name in ("base_model", "model", "module") if hasattr(model, name)), None)
        if not isinstance(inner, nn.Module) or inner is model:
            return model
        model = inner
    return model


def blocks(model: nn.Module) -> list[nn.Module]:
    """The decoder blocks in order: the longest ModuleList that lies in no other one. ValueError if there is none."""
    return list(_block_list(unwrap(model))[1])


def _block_list(model: nn.Module) -> tuple[str, nn.ModuleList]:
    lists = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.ModuleList)]
    names = [name for name, _ in lists]
    outer = [(name, module) for name, module in lists if not any(name.startswith(f"{other}.") for other in names)]
    if not outer:
        raise ValueError(f"{type(model).__name__} has no ModuleList of blocks: only decoder-only transformers are supported.")
    return max(outer, key=lambda item: len(item[1]))


def feed_forwards(model: nn.Module) -> list[FeedForward]:
    """One FeedForward per block, found by shape: a module, or the block itself, with a layer d -> d_ff (two if gated, or one d -> 2 d_ff
    with both) and a layer d_ff -> d.

    Raises: ValueError that names the block and what was looked for, also for a mixture of experts.
    """
    model = unwrap(model)
    prefix, layers = _block_list(model)
    config = model.config.get_text_config() if hasattr(model, "config") else None
    d_model = getattr(config, "hidden_size", None) or model.get_input_embeddings().weight.shape[1]
    expected = next((size for key in ("intermediate_size", "ffn_dim") if isinstance(size := getattr(config, key, None), int)), 4 * d_model)
    found = []
    for index, block in enumerate(layers):
        parts = dict(block.named_modules())
        if any(type(part).__name__ == "PartitionedFFN" for part in parts.values()):
            raise ValueError(f"{prefix}.{index} is wrapped by a LanderModel, which may reorder its neurons: call unload() first.")
        if any(name.rpartition(".")[2] == "experts" for name in parts):
            raise ValueError(f"{prefix}.{index} ({type(block).__name__}) is a mixture of experts: there is no one feed-forward network.")
        candidates = [ff for name, part in parts.items() if (ff := _as_feed_forward(name, part, d_model)) is not None]
        if not candidates:
            raise ValueError(
                f"{prefix}.{index} ({type(block).__name__}): no feed-forward network found. Looked for a module, or the block "
                f"itself, whose direct children are a linear layer {d_model} -> d_ff (or two, for gate and up; or one {d_model} -> 2 d_ff "
                f"with both) and a linear layer d_ff -> {d_model}."
            )
        # adapters have the same form as the feed-forward network, and so may queries and attention's output, which have no activation
        best = max(candidates, key=lambda ff: (ff.act is not None, ff.d_ff == expected, ff.d_ff))
        path = f"{prefix}.{index}.{best.name}".rstrip(".")
        if best.inline:
            best.name, best.parent, best.attribute = f"{path}.{best.inline[-1]}", block, best.inline[-1]
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
        inner = [key for key, child in children.items() if sizes(child) == (d_model, d_ff) and key != down]
        fused = [key for key, child in children.items() if sizes(child) == (d_model, 2 * d_ff)]
        act_name, act = _activation(module)
        last = _projection(children[down])
        if len(inner) == 1:
            ups = [_projection(children[inner[0]])]
        elif len(inner) == 2:
            ups = [_projection(children[key]) for key in sorted(inner, key=lambda key: key not in GATE_NAMES)]
            if not set(inner) & set(GATE_NAMES):
                ups = _gate_first(module, *ups, last, act)
        elif not inner and len(fused) == 1:
            halves = (Projection(children[fused[0]], rows) for rows in (slice(0, d_ff), slice(d_ff, 2 * d_ff)))
            ups = _gate_first(module, *halves, last, act)
        else:
            continue
        if not ups:
            continue
        inline = (inner[0], act_name, down) if not name and len(inner) == 1 and act_name else ()
        whole = Inline(children[inner[0]], act, children[down]).train(module.training) if inline else module
        return FeedForward(name, module, "", whole, ups[-1], ups[0] if len(ups) == 2 else None, last, act, d_model, d_ff, inline)
    return None


def sizes(module: nn.Module) -> tuple[int, int] | None:
    """(inputs, outputs) of nn.Linear, its quantised forms, GPT-2's Conv1D, and PEFT's wrappers around them; None for other modules."""
    if isinstance(module, Conv1D):
        return module.nx, module.nf
    found = getattr(module, "in_features", None), getattr(module, "out_features", None)
    return found if all(isinstance(size, int) for size in found) else None


def _projection(module: nn.Module) -> nn.Module | Projection:
    return Projection(module) if isinstance(module, Conv1D) else module


def _activation(module: nn.Module) -> tuple[str | None, Callable | None]:
    """(attribute, activation): by the usual names, else the one child without parameters that is no dropout."""
    names = [key for key in ACTIVATION_NAMES if hasattr(module, key)] or [
        key for key, child in module.named_children() if not list(child.children()) and not list(child.parameters())
        and not isinstance(child, nn.Dropout)]
    return (names[0], getattr(module, names[0])) if names else (None, None)


@torch.no_grad()
def _gate_first(module: nn.Module, first, second, down, act) -> list:
    """[gate, up]: where names do not tell, what the module computes does; [] if it computes something else, as Mamba's mixer. Of weights
    that cannot be used here (meta device, quantised), the order of Phi-3 and GLM: gate first."""
    weight = module_of(first).weight
    if weight.device.type == "meta" or not weight.is_floating_point():
        return [first, second]
    x = torch.randn(1, 1, weight.shape[1], generator=torch.Generator().manual_seed(0)).to(weight)
    try:
        wanted = module(x)
        errors = [(down(act(gate(x)) * up(x)) - wanted).norm() / wanted.norm() for gate, up in ((first, second), (second, first))]
    except (TypeError, IndexError, RuntimeError, ValueError):             # no activation, or not a function of one tensor alone
        return []
    return [] if min(errors) > .1 else [first, second] if errors[0] <= errors[1] else [second, first]


def fingerprint(model: nn.Module) -> dict[str, Any]:
    """Sizes and a short hash that tell whether neuron indices found on one model mean the same on another.

    The hash covers the signs of 64 rows of the input embeddings: they are the same for every dtype and quantisation of a
    checkpoint, and after tuning that leaves the embeddings alone, but not for two training runs. "" on the meta device.
    """
    model = unwrap(model)
    layers = feed_forwards(model)
    weight = model.get_input_embeddings().weight
    digest = ""
    if weight.device.type != "meta":
        step = max(1, weight.shape[0] // 64)
        digest = hashlib.sha256(torch.signbit(weight.detach()[::step][:64].float()).cpu().numpy().tobytes()).hexdigest()[:16]
    return {
        "model_type": getattr(model.config, "model_type", type(model).__name__),
        "n_layers": len(layers),
        "d_model": layers[0].d_model,
        "d_ff": layers[0].d_ff,
        "vocab_size": weight.shape[0],
        "weights_sha256": digest,
    }


def input_device(model: nn.Module) -> torch.device:
    """The device that token ids must be on: the input embeddings' device (the first one under a device map)."""
    return unwrap(model).get_input_embeddings().weight.device
