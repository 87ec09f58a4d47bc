"""Load a causal language model and its tokenizer: a profile, a local folder, a hub id, or random
weights."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedConfig,
    PreTrainedModel,
)

from .config import LanderConfig, ModelConfig, data_dir, profiles, resolve
from .io import no_bar_for_small_files


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
    """Load a model in evaluation mode and its tokenizer (with a pad token: the EOS token if it has
    none).

    Args:
        name: a profile (its settings are the defaults of all other arguments), a local folder, or a
            hub id, tried in this order.
        dtype: "float32", "bfloat16", … or "auto". Default: the profile's; else "auto" if a device
            map is given, else float32.
        device_map: as in transformers, for example "auto". load_in_4bit, load_in_8bit: bitsandbytes
            quantisation of the frozen weights (selected layers are turned back when they are
            tuned); scoring in 4 bits needs a GPU.
        revision: hub commit or tag. trust_remote_code: run the model folder's own Python code; off
            unless you turn it on.
        random_weights: build the architecture with random weights (seed 0) from the profile's sizes
            or the folder's config alone; nothing is downloaded if the profile has sizes. Without a
            tokenizer at hand it uses tiny-bloom's.

    Raises: FileNotFoundError for a local folder that does not exist or is no model (before any hub
        call); ValueError for a misspelt profile (names the nearest one), both quantisations at
        once, an unknown dtype.
    """
    settings = _settings(str(name))
    random_weights = random_weights or settings.random_weights
    source = (
        settings.name_or_path
        if random_weights and settings.architecture
        else model_source(settings.name_or_path)
    )
    in_4bit, in_8bit = load_in_4bit or settings.load_in_4bit, load_in_8bit or settings.load_in_8bit
    if in_4bit and in_8bit:
        raise ValueError("load_in_4bit and load_in_8bit exclude each other: choose one.")
    device_map = settings.device_map if device_map is None else device_map
    dtype = _dtype(dtype or settings.dtype or ("auto" if device_map is not None else "float32"))
    options = {
        "revision": revision or settings.revision,
        "trust_remote_code": trust_remote_code or settings.trust_remote_code,
    }
    if random_weights:
        model = random_model(source, settings.architecture, dtype, options)
        tokenizer = _any_tokenizer(source, options)
    else:
        weights = {"dtype": dtype, "device_map": device_map}
        if in_4bit or in_8bit:
            compute = torch.bfloat16 if dtype == "auto" else dtype
            weights["quantization_config"] = BitsAndBytesConfig(
                load_in_4bit=in_4bit,
                load_in_8bit=in_8bit,
                bnb_4bit_compute_dtype=compute,
                bnb_4bit_quant_type="nf4",
            )
        with no_bar_for_small_files(source):
            about = PreTrainedConfig.get_config_dict(source, revision=options["revision"])[0]
            if about.get("model_type") == "baichuan" and not options["trust_remote_code"]:
                from .scale.baichuan import load_baichuan  # its imports take a while

                model, tokenizer = load_baichuan(source, options["revision"], **weights)
            else:
                tokenizer = AutoTokenizer.from_pretrained(source, **options)
                model = AutoModelForCausalLM.from_pretrained(source, **weights, **options)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return model.eval(), tokenizer


def _settings(name: str) -> ModelConfig:
    known = profiles()
    if name in known:
        return LanderConfig.from_profile(name).model
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
    if near and "/" not in name and not Path(name).exists():
        raise ValueError(
            f"'{name}' is no profile and no folder. Did you mean '{near[0]}'? Profiles: "
            f"{', '.join(known)}."
        )
    return ModelConfig(name_or_path=name)


def model_source(name: str) -> str:
    """A folder that exists, or a hub id. What looks like a path must exist: no hub call for a
    mistyped folder."""
    folder = resolve(name)
    if folder is not None:
        if not (folder / "config.json").is_file():
            raise FileNotFoundError(
                f"{folder} holds no config.json: it is not the folder of a transformers model."
            )
        return str(folder)
    parent = Path(name).parent
    if str(parent) != "." and parent.is_dir():
        raise FileNotFoundError(
            f"no folder {name}, although {parent}/ exists here: give an existing folder, a "
            f"profile or a hub id."
        )
    return name


def _dtype(dtype: str | torch.dtype) -> str | torch.dtype:
    if dtype == "auto" or isinstance(dtype, torch.dtype):
        return dtype
    found = getattr(torch, str(dtype).removeprefix("torch."), None)
    if not isinstance(found, torch.dtype):
        raise ValueError(f"unknown dtype '{dtype}': use float32, bfloat16, float16 or auto.")
    return found


def random_model(
    source: str, architecture: dict, dtype: str | torch.dtype, options: dict
) -> PreTrainedModel:
    sizes = dict(architecture or {})
    if "model_type" in sizes:
        config = AutoConfig.for_model(sizes.pop("model_type"), **sizes)
    else:
        config = AutoConfig.from_pretrained(source, **options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        trust = {"trust_remote_code": options["trust_remote_code"]}
        return AutoModelForCausalLM.from_config(
            config, dtype=torch.float32 if dtype == "auto" else dtype, **trust
        )


def _any_tokenizer(source: str, options: dict):
    try:
        return AutoTokenizer.from_pretrained(model_source(source), local_files_only=True, **options)
    except (
        OSError,
        ValueError,
    ):  # not on this machine; any ids within the vocabulary will do for random weights
        return AutoTokenizer.from_pretrained(
            data_dir() / "models" / "tiny-bloom", local_files_only=True
        )
