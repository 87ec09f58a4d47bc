"""Files: written whole or not at all, tensors with JSON beside them."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor  # the command line answers a typo before torch is imported


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place after a clean exit; an error removes it.

    It lies in the same folder, since `os.replace` is atomic only within one file system. So a kill
    or a full disk leaves the old file as it was. Missing parent folders are made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    temporary.touch(exist_ok=False)
    mode = temporary.stat().st_mode
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(mode)  # safetensors makes files that only their owner can read
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_tensors(path: str | Path, kind: str, tensors: Mapping[str, Tensor], content: Any) -> None:
    """Write a safetensors file, atomically; the same input gives the same bytes.

    `content`, anything JSON can hold, goes into its header under `kind`, the format's name.
    """
    from safetensors.torch import save_file

    metadata = {kind: json.dumps(content)}  # one key, for several have no fixed order
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata=metadata)


def open_tensors(path: str | Path):
    """A safetensors file, open for reading (safetensors.safe_open).

    Raises: FileNotFoundError; ValueError for a damaged file.
    """
    from safetensors import safe_open

    if not Path(path).is_file():
        raise FileNotFoundError(f"no file {path}.")
    with content_of(path):
        return safe_open(path, framework="pt", device="cpu")


def read_tensors(path: str | Path, kind: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """(content, tensors) of a file that `write_tensors` wrote.

    Raises: FileNotFoundError; ValueError for a damaged file or one of another kind.
    """
    with open_tensors(path) as file:
        metadata = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    if "kind" in metadata:  # an older file: two keys
        metadata = {metadata["kind"]: metadata["content"]}
    if kind not in metadata:
        kinds = [name for name in metadata if name.startswith("lander_lite.")] or ["something else"]
        raise ValueError(f"{path} holds {kinds[0]}, not {kind}.")
    with content_of(path):
        return json.loads(metadata[kind]), tensors


@contextmanager
def content_of(path: str | Path) -> Iterator[None]:
    """Inside, whatever is wrong with a file's content is a ValueError that names the file."""
    try:
        yield
    except (OSError, ImportError, MemoryError):  # not the content's fault
        raise
    except Exception as error:  # libraries raise what they like
        fault = str(f"no {error}" if isinstance(error, KeyError) else error)[:300]
        told = f"{path} is damaged or of another version: {fault}"
        raise ValueError(f"{told}; make it, or get it, again") from error
