"""Load a causal language model, and see every architecture's blocks and feed-forward networks in one way."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, PreTrainedModel

from .config import LanderConfig, ModelConfig, data_dir, profiles, resolve
from .files import no_bar_for_small_files

GATE_NAMES = ("gate_proj", "gate", "w1", "linear_1")  # of two d -> d_ff layers, the one that goes through the activation
ACTIVATION_NAMES = ("act_fn", "act", "activation_fn", "activation", "gelu_impl")


def load_model(
    name: str | Path,
    *,
    dtype: str | torch.dtype | None = None,
    device_map: Any = None,
    load_in_4bit: bool = False,
    load_in_8bit: bool = False,
    revision: str | None = None,
    trust_remote_code: bool = False,
    random_weights: bool = False,
):
    """Load a model in evaluation mode and its tokenizer (with a pad token: the EOS token if it has none).

    Args:
        name: a profile (its settings are the defaults of all other arguments), a local folder, or a hub id, tried in this order.
        dtype: "float32", "bfloat16", … or "auto". Default: the profile's; else "auto" if a device map is given, else float32.
        device_map: as in transformers, for example "auto". load_in_4bit, load_in_8bit: bitsandbytes quantisation.
        revision: hub commit or tag. trust_remote_code: run the model folder's own Python code; off unless you turn it on.
        random_weights: build the architecture with random weights (seed 0) from the profile's sizes or the folder's config
            alone; nothing is downloaded if the profile has sizes. Without a tokenizer at hand it uses tiny-bloom's.

    Raises: FileNotFoundError for a local folder that does not exist or is no model (before any hub call);
        ValueError for a misspelt profile (names the nearest one), both quantisations at once, an unknown dtype.
    """
    settings = _settings(str(name))
    random_weights = random_weights or settings.random_weights
    source = settings.name_or_path if random_weights and settings.architecture else model_source(settings.name_or_path)
    in_4bit, in_8bit = load_in_4bit or settings.load_in_4bit, load_in_8bit or settings.load_in_8bit
    if in_4bit and in_8bit:
        raise ValueError("load_in_4bit and load_in_8bit exclude each other: choose one.")
    device_map = settings.device_map if device_map is None else device_map
    dtype = _dtype(dtype or settings.dtype or ("auto" if device_map is not None else "float32"))
    options = {"revision": revision or settings.revision, "trust_remote_code": trust_remote_code or settings.trust_remote_code}
    if random_weights:
        model = _random_model(source, settings.architecture, dtype, options)
        tokenizer = _any_tokenizer(source, options)
    else:
        tokenizer = AutoTokenizer.from_pretrained(source, **options)
        if in_4bit or in_8bit:
            compute = torch.bfloat16 if dtype == "auto" else dtype
            options["quantization_config"] = BitsAndBytesConfig(
                load_in_4bit=in_4bit, load_in_8bit=in_8bit, bnb_4bit_compute_dtype=compute, bnb_4bit_quant_type="nf4"
            )
        with no_bar_for_small_files(source):
            model = AutoModelForCausalLM.from_pretrained(source, dtype=dtype, device_map=device_map, **options)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return model.eval(), tokenizer


def _settings(name: str) -> ModelConfig:
    known = profiles()
    if name in known:
        return LanderConfig.from_profile(name).model
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
    if near and "/" not in name and not Path(name).exists():
        raise ValueError(f"'{name}' is no profile and no folder. Did you mean '{near[0]}'? Profiles: {', '.join(known)}.")
    return ModelConfig(name_or_path=name)


def model_source(name: str) -> str:
    """A folder that exists, or a hub id. What looks like a path must exist: no hub call for a mistyped folder."""
    folder = resolve(name)
    if folder is not None:
        if not (folder / "config.json").is_file():
            raise FileNotFoundError(f"{folder} holds no config.json: it is not the folder of a transformers model.")
        return str(folder)
    parent = Path(name).parent
    if str(parent) != "." and parent.is_dir():
        raise FileNotFoundError(f"no folder {name}, although {parent}/ exists here: give an existing folder, a profile or a hub id.")
    return name


def _dtype(dtype: str | torch.dtype) -> str | torch.dtype:
    if dtype == "auto" or isinstance(dtype, torch.dtype):
        return dtype
    found = getattr(torch, str(dtype).removeprefix("torch."), None)
    if not isinstance(found, torch.dtype):
        raise ValueError(f"unknown dtype '{dtype}': use float32, bfloat16, float16 or auto.")
    return found


def _random_model(source: str, architecture: dict, dtype: str | torch.dtype, options: dict) -> PreTrainedModel:
    sizes = dict(architecture or {})
    if "model_type" in sizes:
        config = AutoConfig.for_model(sizes.pop("model_type"), **sizes)
    else:
        config = AutoConfig.from_pretrained(source, **options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        trust = {"trust_remote_code": options["trust_remote_code"]}
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32 if dtype == "auto" else dtype, **trust)


def _any_tokenizer(source: str, options: dict):
    try:
        return AutoTokenizer.from_pretrained(model_source(source), local_files_only=True, **options)
    except (OSError, ValueError):  # not on this machine; any ids within the vocabulary will do for random weights
        return AutoTokenizer.from_pretrained(data_dir() / "models" / "tiny-bloom", local_files_only=True)


@dataclass
class FeedForward:
    """One block's feed-forward network: `down(act(up(x)))`, or with a gate `down(act(gate(x)) * up(x))`.

    `name` is its module path in the unwrapped model and `parent.attribute` the place that holds it. A neuron is one of the
    `d_ff` inputs of `down`: its row of `up` (and `gate`), its bias and its column of `down`.
    """

    name: str
    parent: nn.Module
    attribute: str
    module: nn.Module
    up: nn.Module
    gate: nn.Module | None
    down: nn.Module
    act: Callable | None
    d_model: int
    d_ff: int

    def replace(self, module: nn.Module) -> None:
        """Put `module` where this feed-forward network is in the model."""
        setattr(self.parent, self.attribute, module)


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
    """One FeedForward per block, found by shape: a module with Linear d -> d_ff (two if gated) and Linear d_ff -> d.

    Raises: ValueError that names the block and what was looked for (no mixture of experts, fused gate-and-up or GPT-2's Conv1D).
    """
    model = unwrap(model)
    prefix, layers = _block_list(model)
    config = model.config.get_text_config() if hasattr(model, "config") else None
    d_model = getattr(config, "hidden_size", None) or model.get_input_embeddings().weight.shape[1]
    expected = next((size for key in ("intermediate_size", "ffn_dim") if isinstance(size := getattr(config, key, None), int)), 4 * d_model)
    found = []
    for index, block in enumerate(layers):
        if any(type(part).__name__ == "PartitionedFFN" for part in block.modules()):
            raise ValueError(f"{prefix}.{index} is wrapped by a LanderModel, which may reorder its neurons: call unload() first.")
        candidates = [ff for name, part in block.named_modules() if (ff := _as_feed_forward(name, part, d_model)) is not None]
        if not candidates:
            raise ValueError(
                f"{prefix}.{index} ({type(block).__name__}): no feed-forward network found. Looked for a module whose direct children are "
                f"one Linear {d_model} -> d_ff (or two, one of them named like {', '.join(GATE_NAMES)}) and one Linear d_ff -> {d_model}."
            )
        # adapters have the same form as the feed-forward network; the width in the config tells them apart
        best = max(candidates, key=lambda ff: (ff.d_ff == expected, ff.d_ff))
        path = f"{prefix}.{index}.{best.name}".rstrip(".")
        best.name, (parent, _, best.attribute) = path, path.rpartition(".")
        best.parent = model.get_submodule(parent)
        found.append(best)
    return found


def _as_feed_forward(name: str, module: nn.Module, d_model: int) -> FeedForward | None:
    sizes = {key: (child.in_features, child.out_features) for key, child in module.named_children() if _is_linear(child)}
    for down, (d_ff, out) in sizes.items():
        ups = [key for key, size in sizes.items() if size == (d_model, d_ff) and key != down]
        if out != d_model or d_ff == d_model or len(ups) not in (1, 2):
            continue
        gates = [key for key in ups if key in GATE_NAMES] if len(ups) == 2 else []
        if len(ups) == 2 and len(gates) != 1:
            continue
        gate = getattr(module, gates[0]) if gates else None
        up = getattr(module, next(key for key in ups if key not in gates))
        act = next((getattr(module, key) for key in ACTIVATION_NAMES if hasattr(module, key)), None)
        return FeedForward(name, module, "", module, up, gate, getattr(module, down), act, d_model, d_ff)
    return None


def _is_linear(module: nn.Module) -> bool:
    """nn.Linear, its quantised forms, and PEFT's wrappers around them, which carry the same two sizes."""
    return isinstance(getattr(module, "in_features", None), int) and isinstance(getattr(module, "out_features", None), int)


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
