"""Write a file whole or not at all, so that a kill or a full disk leaves the old file as it was."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; after a clean exit it takes the place of `path`, after an error it is removed.

    The temporary file lies in the same folder because `os.replace` is atomic only within one file system.
    Missing parent folders are made. Any error of the body (a full disk is an OSError) is passed on.
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
    """Without transformers' progress bar for a checkpoint on disk of less than 100 MB: it loads at once, and notebooks stay clean."""
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
