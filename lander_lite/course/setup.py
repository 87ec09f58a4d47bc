"""The first code cell of every lesson, and where it finds the package: `python -m
lander_lite.course.setup` writes it into all lessons of the clone."""

from __future__ import annotations

import nbformat
import yaml

from ..config import PACKAGE
from ..io import write_text

ROOT = PACKAGE.parent
CELL = """# Setup: the same in every lesson. Without the package, as in Colab, it installs it.
import importlib.util
from pathlib import Path

if importlib.util.find_spec("lander_lite") is None:
    wheels = sorted(map(str, Path().glob("lander_lite-*.whl")))
    source = wheels[-1] if wheels else {address!r}
    if source is None:
        raise ModuleNotFoundError(
            "lander_lite is not installed: put the .whl file that `make wheel` builds "
            "beside this notebook (in Colab: Files, Upload) and run this cell again; "
            "in a clone, `make lab` installs it."
        )
    %pip install -q {{source}}
    importlib.invalidate_caches()
import torch
import transformers

import lander_lite

torch.set_num_threads(2)
about = {{"lander_lite": lander_lite, "torch": torch, "transformers": transformers}}
told = [f"{{name}} {{module.__version__.split('+')[0]}}" for name, module in about.items()]
print(", ".join(told + ["GPU" if torch.cuda.is_available() else "CPU"]))"""


def repository() -> str | None:
    """The repository's address: `repository-code` of CITATION.cff, its only place, or None."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    return citation.get("repository-code")


def setup_cell(address: str | None) -> str:
    """The cell's text: it takes the wheel beside the notebook, else the repository at `address`."""
    return CELL.format(address=f"git+{address}" if address else None)


def main() -> None:
    """Write it into the lessons; their outputs stay."""
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        first = next(cell for cell in notebook.cells if cell.cell_type == "code")
        first.source = setup_cell(repository())
        write_text(path, nbformat.writes(notebook).rstrip("\n") + "\n")


if __name__ == "__main__":
    main()
