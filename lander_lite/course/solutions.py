"""Solved copies of the lessons: each exercise's folded solution takes the place of its cell.

An exercise is a text cell, with the heading, the task, three folded hints and the folded solution,
and below it the code cell, tagged `exercise`, that the student fills.
"""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import nbformat

from ..io import write_text

ABOUT = "Write copies of lessons in which every exercise is solved."
SOLUTION = re.compile(
    r"<summary>Solution</summary>\s*```python\n(.*?)\n```\s*(.*?)</details>", re.S
)


@dataclass(frozen=True)
class Written:
    """An exercise as it stands in a lesson. number: "00.1"; place: of its code cell; text: the cell
    above; solution: the code that belongs into the cell; why: the sentences below the solution."""

    number: str
    place: int
    text: str
    solution: str
    why: str


def exercises_of(notebook: nbformat.NotebookNode) -> list[Written]:
    """The exercises of a lesson, from top to bottom. Raises: ValueError where the cell above an
    exercise holds no folded solution."""
    found = []
    for place, cell in enumerate(notebook.cells):
        if "exercise" not in cell.metadata.get("tags", ()):
            continue
        number, text = cell.metadata.get("exercise"), notebook.cells[place - 1].source
        solution = SOLUTION.search(text)
        if solution is None:
            wanted = "a folded Solution with ```python … ``` in the cell above"
            raise ValueError(f"exercise {number}: it needs {wanted}")
        found.append(Written(number, place, text, solution[1], solution[2].strip()))
    return found


def solved(path: Path) -> tuple[nbformat.NotebookNode, int]:
    """(the lesson with every exercise solved and no outputs, the number of exercises)."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    found = exercises_of(notebook)
    for written in found:
        notebook.cells[written.place].source = written.solution
    return notebook, len(found)


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0, or 2 with one line where a lesson can't be solved; then nothing is written."""
    parser = argparse.ArgumentParser("python -m lander_lite.course.solutions", description=ABOUT)
    parser.add_argument("notebooks", nargs="+", type=Path)
    parser.add_argument("--output-dir", type=Path, required=True)
    options = parser.parse_args(arguments)
    copies = {}
    for path in options.notebooks:
        try:
            if path.parent.resolve() == options.output_dir.resolve():
                raise ValueError("--output-dir is the lesson's own folder; choose another")
            copies[path.name] = solved(path)
        except (OSError, ValueError) as error:
            print(f"{path}: {error}", file=sys.stderr)
            return 2
    for name, (notebook, count) in copies.items():
        write_text(options.output_dir / name, nbformat.writes(notebook) + "\n")
        print(f"{options.output_dir / name}: {count} exercises solved")
    return 0


if __name__ == "__main__":
    sys.exit(main())
