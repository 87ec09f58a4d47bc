"""Output folders: one process at a time writes into each, a folder is replaced whole or not at all,
and what a killed process left behind is put right by the next one."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from .hooks import is_main

LOCK = ".lander-lite.lock"
REPLACED = ("lander", "pruned")  # by atomic_folder, in a run folder
TEMPORARY = f".*.{'[0-9a-f]' * 32}.tmp"  # io.atomic_path's


@contextmanager
def in_use(folder: str | Path) -> Iterator[None]:
    """Inside, no other process writes into `folder`, which is made, and tidied after a kill; left
    without a file, it goes again. Several processes of one launch count as one.

    The lock is the operating system's: it ends with the process, however that ends. Raises
    BlockingIOError, which names the process that has it.
    """
    if not is_main():  # the main process has it for all
        yield
        return
    folder = Path(folder)
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK
    lock = FileLock(path, timeout=1)  # a reader that tidies has it for a moment
    try:
        lock.acquire()
    except Timeout:
        remedy = "wait for it or use another --output-dir"
        raise BlockingIOError(f"{folder} is in use by {_holder(path)}; {remedy}") from None
    try:
        with suppress(OSError):  # Windows lets nobody write or remove what is locked
            path.write_text(f"{os.getpid()}\n{socket.gethostname()}\n")  # as filelock's own
        _tidy(folder)
        yield
    finally:
        with suppress(OSError):
            path.unlink()  # while it is locked: nobody else can have got it
        lock.release()
        if is_new:
            with suppress(OSError):  # it holds something
                folder.rmdir()


def _holder(path: Path) -> str:
    """Who wrote the lock file, as far as it can be read."""
    try:
        number, host, *_ = path.read_text().splitlines()
    except (OSError, ValueError):
        return "another process"
    return f"process {number} (on {host})"


def _tidy(folder: Path) -> None:
    """Remove or finish what a process left that was killed while it wrote."""
    for left in folder.rglob(TEMPORARY):
        left.unlink()
    for name in REPLACED:
        repair_folder(folder / name)
        new, _ = _beside(folder / name)
        shutil.rmtree(new, ignore_errors=True)


def tidy_if_free(folder: str | Path) -> None:
    """For a step that only reads: put right what a kill has left, unless a process is at work in
    `folder`, or this one may not write there."""
    if Path(folder).is_dir():
        with suppress(OSError), in_use(folder):
            pass


# ---------------------------------------------------------------- replaced as a whole
@contextmanager
def atomic_folder(folder: str | Path) -> Iterator[Path]:
    """A path beside `folder`, for a folder that takes its place after a clean exit; an error
    removes it. A kill between the two renames leaves what `repair_folder` makes whole."""
    folder = Path(folder)
    new, old = _beside(folder)
    repair_folder(folder)
    shutil.rmtree(new, ignore_errors=True)  # of a process that was killed
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield new
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    if folder.exists():  # a folder can't replace another one
        os.replace(folder, old)
    os.replace(new, folder)
    shutil.rmtree(old, ignore_errors=True)


def repair_folder(folder: Path) -> None:
    """Finish an `atomic_folder` that was killed on its way."""
    new, old = _beside(folder)
    if old.exists() and not folder.exists():  # moved aside, so the new one was finished
        os.replace(new if new.exists() else old, folder)
    shutil.rmtree(old, ignore_errors=True)


def _beside(folder: Path) -> list[Path]:
    """Where the new folder is written, and where the old one waits."""
    return [folder.with_name(f".{folder.name}.{age}") for age in ("new", "old")]
