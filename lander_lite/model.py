"""Load a causal language model and its tokenizer: profile, local folder, GGUF file, hub id, random
weights."""

from __future__ import annotations

import difflib
import pkgutil
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from transformers import CONFIG_MAPPING, AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

from .blocks import feed_forwards
from .config import LanderConfig, ModelConfig, data_dir, nearest, profiles, resolve, shown
from .io import content_of

INSTALLED = Path(sys.prefix) / "share" / "lander-lite"  # by `make real` (scale/real.py)
FAST_BFLOAT16 = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")  # of torch.cpu
# model types whose files need code of their own: function(source, revision, **options)
LOADERS = {"baichuan": "lander_lite.scale.baichuan:load_baichuan"}


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
    gguf_file: str | None = None,
) -> tuple[transformers.PreTrainedModel, Any]:
    """A model in evaluation mode and its tokenizer (its pad token is EOS where it has none).

    Args:
        name: a profile (its settings are the defaults), a local folder or .gguf file, what
            `make real` has installed, or a hub id, in this order.
        dtype: "float32", "bfloat16", … or "auto"; default: "auto" with a device_map, else float32.
        device_map: as in transformers, for example "auto".
        load_in_4bit, load_in_8bit: bitsandbytes quantisation; scoring in 4 bits needs a GPU.
        revision: hub commit or tag.
        trust_remote_code: run the model folder's own Python code; off unless you turn it on.
        random_weights: an untrained model (seed 0) of the profile's sizes, for which nothing is
            downloaded, or of the folder's config; without a tokenizer at hand, tiny-bloom's.
        gguf_file: its name in the folder or hub repository; the weights are unpacked into a plain
            model, which can be tuned and saved. Needs the package gguf.

    Raises: FileNotFoundError for a local folder that is missing or no model (before any hub call);
        ValueError for a misspelt profile, both quantisations, an unknown dtype, a checkpoint that
        is damaged or lacks tensors, and what is no decoder with one feed-forward network per block.
    """
    given = {
        "dtype": dtype,
        "device_map": device_map,
        "load_in_4bit": load_in_4bit,
        "load_in_8bit": load_in_8bit,
        "revision": revision,
        "trust_remote_code": trust_remote_code,
        "random_weights": random_weights,
        "gguf_file": gguf_file,
    }
    given = {key: value for key, value in given.items() if value not in (None, False)}
    wanted = replace(_settings(str(name)), **given)
    return load_configured(wanted)


def load_configured(settings: ModelConfig) -> tuple[transformers.PreTrainedModel, Any]:
    """`load_model` by a config's section `model`."""
    wanted = replace(settings, dtype=_dtype(settings))
    if wanted.load_in_4bit and wanted.load_in_8bit:
        raise ValueError("load_in_4bit and load_in_8bit exclude each other: choose one.")
    if "cuda" in str(wanted.device_map) and not torch.cuda.is_available():
        raise ValueError(f"device_map = {wanted.device_map!r}: torch sees no CUDA GPU here.")
    source = wanted.name_or_path
    if source.endswith(".gguf"):
        path = resolve(source) or Path(source)
        source, wanted.gguf_file = str(path.parent), path.name
    options = {"revision": wanted.revision, "trust_remote_code": wanted.trust_remote_code}
    if not (wanted.random_weights and "model_type" in wanted.architecture):
        source = model_source(source, wanted.gguf_file)
    if wanted.random_weights:
        local = options | {"local_files_only": True}  # nothing is downloaded
        model = random_model(source, wanted.architecture, wanted.dtype, local)
        tokenizer = _any_tokenizer(source, options)
    else:
        with _no_bar_if_small(source), _hub_errors(source):
            model, tokenizer = _pretrained(source, wanted, options)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    feed_forwards(model)  # refuses, before any work, what has none or a mixture of experts
    _tell_of_slow_bfloat16(model)
    return model.eval(), tokenizer


def _tell_of_slow_bfloat16(model: transformers.PreTrainedModel) -> None:
    if model.dtype != torch.bfloat16 or model.device.type != "cpu":
        return
    if not any(getattr(torch.cpu, name, bool)() for name in FAST_BFLOAT16):  # bool: False
        told = "bfloat16 on a CPU without AMX or AVX512-BF16"
        warnings.warn(f"{told}: float32 (--set model.dtype=float32) may be faster", stacklevel=3)


def _settings(name: str) -> ModelConfig:
    known = profiles()
    if name in known:
        return LanderConfig.from_profile(name).model
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
    if near and "/" not in name and not Path(name).exists():
        hint = f"Did you mean '{near[0]}'? Profiles: {', '.join(known)}."
        raise ValueError(f"'{name}' is no profile and no folder. {hint}")
    return ModelConfig(name_or_path=name)


def _dtype(settings: ModelConfig) -> str | torch.dtype:
    dtype = settings.dtype or ("float32" if settings.device_map is None else "auto")
    found = getattr(torch, str(dtype).removeprefix("torch."), None)
    if dtype != "auto" and not isinstance(found, torch.dtype):
        raise ValueError(f"unknown dtype '{dtype}': use float32, bfloat16, float16 or auto.")
    return "auto" if dtype == "auto" else found


def _pretrained(source: str, settings: ModelConfig, options: dict) -> tuple:
    weights = {"dtype": settings.dtype, "device_map": settings.device_map}
    if settings.load_in_4bit or settings.load_in_8bit:
        weights["quantization_config"] = transformers.BitsAndBytesConfig(
            load_in_4bit=settings.load_in_4bit,
            load_in_8bit=settings.load_in_8bit,
            bnb_4bit_compute_dtype=torch.bfloat16 if settings.dtype == "auto" else settings.dtype,
            bnb_4bit_quant_type="nf4",
        )
    if settings.gguf_file:
        options = options | gguf_options(settings)
        weights["quantization_config"] = transformers.GgufConfig(dequantize=True)
        weights["dtype"] = torch.float32 if settings.dtype == "auto" else settings.dtype
    with naming(f"{source}: {settings.gguf_file or 'config.json'}"):
        found, _ = transformers.PreTrainedConfig.get_config_dict(
            source, revision=settings.revision, gguf_file=settings.gguf_file
        )
        loader = LOADERS.get(found.get("model_type"))
    if loader and not settings.trust_remote_code:
        return pkgutil.resolve_name(loader)(source, settings.revision, **weights)
    with naming(f"{source}: {settings.gguf_file or 'config.json'}"):
        config = AutoConfig.from_pretrained(source, **options)
    refuse_no_decoder(config, source)
    with content_of(f"the tokenizer of {source}"):
        tokenizer = AutoTokenizer.from_pretrained(source, **options)
    # refuse_missing tells of tensors that do not fit, by name
    weights |= {"output_loading_info": True, "ignore_mismatched_sizes": True}
    try:
        with naming(source):
            model, found = AutoModelForCausalLM.from_pretrained(source, **weights, **options)
    except SafetensorError as error:
        raise ValueError(f"{source}: a file of weights is not whole ({error}).") from error
    refuse_missing(found, source)
    refuse_wrong_tokens(model, source)
    if settings.gguf_file:  # its weights are plain now, so it can be saved
        model.hf_quantizer, model.is_quantized = None, False
        vars(model.config).pop("quantization_config", None)
    return model, tokenizer


def gguf_options(settings: ModelConfig) -> dict:
    """What transformers is told of a GGUF file. ImportError and ValueError before it is read."""
    if find_spec("gguf") is None or not hasattr(transformers, "GgufConfig"):
        needs = 'pip install -e ".[gguf]" in the clone (transformers 5.23 or later)'
        raise ImportError(f"{settings.gguf_file}: reading GGUF needs {needs}")
    if settings.load_in_4bit or settings.load_in_8bit:
        raise ValueError(
            f"{settings.gguf_file}: GGUF and load_in_4bit or load_in_8bit exclude each other"
        )
    return {"gguf_file": settings.gguf_file}


@contextmanager
def naming(what: str) -> Iterator[None]:
    """Inside, what transformers raises for settings that a model can't have is a ValueError that
    begins with `what`; its own ValueErrors that do not name it, too."""
    try:
        yield
    except (OSError, ImportError, MemoryError, SafetensorError):
        raise
    except Exception as error:  # checks of configs raise errors of many types
        raise ValueError(f"{what}: {str(error)[:1000] or type(error).__name__}") from error


def refuse_wrong_tokens(model: transformers.PreTrainedModel, source: str) -> None:
    """Raise ValueError for a generation_config.json whose special tokens are no numbers."""
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        value = getattr(model.generation_config, name, None)
        tokens = value if isinstance(value, list) else [value]
        if any(type(token) not in (int, type(None)) for token in tokens):
            told = f"{name} = {shown(value)} is no token's number"
            raise ValueError(f"{source}: generation_config.json: {told}")


def refuse_no_decoder(config: transformers.PreTrainedConfig, source: str) -> None:
    """Raise ValueError for a model that does not write a text from left to right by itself."""
    kind = config.model_type
    if config.is_encoder_decoder:
        raise ValueError(f"{source} ({kind}) is an encoder-decoder; only decoders are supported.")
    if kind in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not config.is_decoder:
        raise ValueError(f"{source} ({kind}) reads both ways; only decoders are supported.")


def refuse_missing(found: dict, source: str) -> None:
    """Raise ValueError where a checkpoint lacks tensors, which would be random; `found`: what
    transformers' output_loading_info tells."""
    for what in ("missing_keys", "mismatched_keys"):
        if names := sorted(map(str, found[what])):
            told = f"{len(names)} {what.split('_')[0]} tensors, first {names[0]}"
            raise ValueError(f"{source}: {told}; they would be random numbers. Get it whole.")


@contextmanager
def _hub_errors(source: str) -> Iterator[None]:
    """Say of a hub id that can't be loaded what may be missing."""
    try:
        yield
    except OSError as error:
        if Path(source).is_dir():
            raise
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        remedy = "gated models need their licence accepted there, and `hf auth login`"
        if source.endswith("gemma-3-270m"):
            remedy += "; in a clone, `make real` installs this one without the hub"
        told = f"{source} is not on this machine, and the hub does not give it"
        raise FileNotFoundError(f"{told}: {remedy} ({why})") from error


@contextmanager
def _no_bar_if_small(folder: str) -> Iterator[None]:
    """No progress bar for less than 100 MB on disk, which load at once: notebooks stay clean."""
    size = sum(file.stat().st_size for file in Path(folder).glob("*.safetensors"))
    logging = transformers.utils.logging
    hide = 0 < size < 1e8 and logging.is_progress_bar_enabled()
    if hide:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        if hide:
            logging.enable_progress_bar()


def random_model(
    source: str, architecture: dict, dtype: str | torch.dtype, options: dict
) -> transformers.PreTrainedModel:
    """An untrained model (seed 0) of `architecture`, model_type and sizes; without a model_type, of
    the config in `source` with these sizes. options: revision and trust_remote_code, as in
    transformers. Raises: ValueError for a size that this type lacks; FileNotFoundError."""
    sizes = dict(architecture)
    kind = sizes.pop("model_type", None)
    if kind and str(kind) not in CONFIG_MAPPING:
        near = nearest(kind, CONFIG_MAPPING)
        raise ValueError(f"model.architecture.model_type = {kind!r} is unknown{near}")
    try:
        load = AutoConfig.from_pretrained
        usual = AutoConfig.for_model(kind) if kind else load(source, **options)
    except OSError as error:
        needs = "random weights need sizes: set model.architecture.model_type and its sizes"
        raise FileNotFoundError(f"{source} is not on this machine, and {needs}") from error
    if unknown := [key for key in sizes if not hasattr(usual, key)]:
        near = nearest(unknown[0], usual.to_dict())
        told = f"a model of type {usual.model_type} has no {unknown[0]!r}{near}"
        raise ValueError(f"model.architecture: {told}")
    chosen = {"dtype": torch.float32 if dtype == "auto" else dtype}
    chosen["trust_remote_code"] = options["trust_remote_code"]
    with torch.random.fork_rng(devices=[]), naming(f"model.architecture of {source}"):
        torch.manual_seed(0)
        if kind:
            config = AutoConfig.for_model(kind, **sizes)
        else:
            config = AutoConfig.from_pretrained(source, **sizes, **options)
        model = AutoModelForCausalLM.from_config(config, **chosen)
        with torch.no_grad():  # do the sizes fit each other?
            model(torch.zeros(1, 2, dtype=torch.long, device=model.device))
        return model


def _any_tokenizer(source: str, options: dict):
    """The source's tokenizer if it is on this machine, else tiny-bloom's: weights are random."""
    try:
        return AutoTokenizer.from_pretrained(model_source(source), local_files_only=True, **options)
    except (OSError, ValueError):
        folder = data_dir() / "models" / "tiny-bloom"
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def model_source(name: str, gguf_file: str | None = None) -> str:
    """A folder that exists, one that `make real` has installed, or a hub id; FileNotFoundError for
    what must be a mistyped folder."""
    folder = resolve(name)
    if folder and not (folder / (gguf_file or "config.json")).is_file():
        lacks = f"holds no {gguf_file} (gguf_file)" if gguf_file else "holds no config.json"
        raise FileNotFoundError(f"{folder} {lacks}: it is not the folder of a transformers model.")
    installed = INSTALLED / name.rpartition("/")[2]
    if not folder and (installed / "config.json").is_file():
        return str(installed)
    return str(folder or name)
