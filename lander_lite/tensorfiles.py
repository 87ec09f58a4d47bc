"""Safetensors files with a JSON header: neuron sets and awareness scores."""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from .files import atomic_path


def write_tensors(path: str | Path, kind: str, tensors: dict[str, torch.Tensor], content: dict[str, Any]) -> None:
    """Write a safetensors file with `content` (anything JSON can hold) in its header, atomically. `kind` names the format.
    The same input gives the same bytes."""
    tensors = {name: alone(tensor.detach().cpu()) for name, tensor in tensors.items()}
    metadata = {kind: json.dumps(content)}  # one key, for several have no fixed order; encoded before the file is touched
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata=metadata)


def alone(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor contiguous and alone in its memory, as safetensors wants it; copied only where it is not."""
    whole = tensor.is_contiguous() and tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
    return tensor if whole else tensor.clone(memory_format=torch.contiguous_format)


def read_tensors(path: str | Path, kind: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Read what `write_tensors` wrote: (content, tensors). FileNotFoundError; ValueError if it is damaged or of another kind."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"no file {path}.")
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            names = file.keys()  # the file itself cannot be iterated
            tensors = {name: file.get_tensor(name) for name in names}
    except SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file ({error}).") from error
    if "kind" in metadata:  # an older file: two keys
        metadata = {metadata["kind"]: metadata["content"]}
    if kind not in metadata:
        found = next((name for name in metadata if name.startswith("lander_lite.")), "something else")
        raise ValueError(f"{path} holds {found}, not {kind}.")
    return json.loads(metadata[kind]), tensors
