"""Write a file whole or not at all, so that a kill or a full disk leaves the old file as it was."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; after a clean exit it takes the place of `path`, after
    an error it is removed.

    The temporary file lies in the same folder because `os.replace` is atomic only within one file
    system. Missing parent folders are made. Any error of the body (a full disk is an OSError) is
    passed on.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp makes files that only their owner can read
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8 to `path`, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def no_bar_for_small_files(folder: str | os.PathLike) -> Iterator[None]:
    """Without transformers' progress bar for a checkpoint on disk of less than 100 MB: it loads at
    once, and notebooks stay clean."""
    from transformers.utils import logging

    size = sum(file.stat().st_size for file in Path(folder).glob("*.safetensors"))
    hide = 0 < size < 1e8 and logging.is_progress_bar_enabled()
    if hide:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        if hide:
            logging.enable_progress_bar()


def write_tensors(
    path: str | Path, kind: str, tensors: dict[str, torch.Tensor], content: dict[str, Any]
) -> None:
    """Write a safetensors file with `content` (anything JSON can hold) in its header, atomically.
    `kind` names the format. The same input gives the same bytes."""
    tensors = {name: alone(tensor.detach().cpu()) for name, tensor in tensors.items()}
    metadata = {
        kind: json.dumps(content)
    }  # one key, for several have no fixed order; encoded before the file is touched
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata=metadata)


def alone(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor contiguous and alone in its memory, as safetensors wants it; copied only where it
    is not."""
    whole = (
        tensor.is_contiguous()
        and tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
    )
    return tensor if whole else tensor.clone(memory_format=torch.contiguous_format)


def read_tensors(path: str | Path, kind: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Read what `write_tensors` wrote: (content, tensors). FileNotFoundError; ValueError if it is
    damaged or of another kind."""
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
        found = next(
            (name for name in metadata if name.startswith("lander_lite.")), "something else"
        )
        raise ValueError(f"{path} holds {found}, not {kind}.")
    return json.loads(metadata[kind]), tensors


def lines_of(path: Path) -> list[tuple[int, str]]:
    """Numbered lines of a UTF-8 file; splits on \\n only, since str.splitlines would also cut at
    U+2028 and misalign files."""
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ValueError(
            f"{path}, line {line}: not UTF-8 (byte 0x{data[error.start]:02x} at offset "
            f"{error.start}); convert the file, "
            f"e.g. iconv -f latin1 -t utf-8"
        ) from error
    lines = text.split("\n")
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise ValueError(f"{path}: the file is empty")
    return [(number, line.removesuffix("\r")) for number, line in enumerate(lines, 1)]


def json_rows(path: Path) -> Iterator[tuple[int, dict]]:
    for number, line in lines_of(path):
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(
                f"{path}, line {number}: not valid JSON ({error.msg} at column {error.colno}): "
                f"{line[:60]!r}"
            ) from error
        if not isinstance(row, dict):
            raise ValueError(
                f"{path}, line {number}: expected a JSON object, found {type(row).__name__}"
            )
        yield number, row
