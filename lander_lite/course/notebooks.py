"""Execute the lessons, into a folder with one HTML report, the pages that they link to and the
results, or in place."""

from __future__ import annotations

import argparse
import base64
import io
import os
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from ..config import PACKAGE, data_dir
from ..io import write_text
from ..reproduction.tables import find_results, run_tables
from .report import report

ABOUT = "Execute the lessons into runs/<time>/ with one report, or in place."
NOTEBOOKS = PACKAGE.parent / "notebooks"
LESSONS = re.compile(r"0[0-5]_\w+\.ipynb")
LINK = re.compile(r"\[([^\]\n]+)\]\((?!\w+:)([^)#\s]+\.(?:ipynb|md))[^)\s]*\)")  # to another page
WIDGET = "application/vnd.jupyter.widget-view+json"
LIVE = "Here stands an explorer, which runs only in Jupyter: run the cells up to this one."
COLOURS = 256  # of a saved picture: half of the bytes, and no difference to the eye
TIMEOUT = 1800  # seconds a cell: on a machine that others use too, torch may be ten times slower


def execute(path: Path) -> tuple[nbformat.NotebookNode, str | None]:
    """The notebook run from top to bottom in a fresh kernel, in its own folder: (notebook, what
    went wrong, its reason in the first line, or None)."""
    notebook, error = nbformat.read(path, as_version=4), None
    client = NotebookClient(
        notebook,
        timeout=TIMEOUT,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        record_timing=False,
        store_widget_state=True,  # what an Output widget caught is kept there; `clean` drops it
        coalesce_streams=True,
        extra_arguments=["--IPKernelApp.log_level=ERROR"],  # no note on TCP encryption a lesson
    )
    with tempfile.TemporaryFile("w+", errors="replace") as said:  # a kernel's last words are noise
        try:
            client.execute(stderr=said)
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as failure:
            said.seek(0)
            error = f"{reason(failure)}\n{last_lines(str(failure))}\n{last_lines(said.read())}"
    return clean(notebook), error


def reason(failure: Exception) -> str:
    """What stopped a lesson, in one line."""
    if isinstance(failure, CellExecutionError):
        return f"{failure.ename}: {failure.evalue}".splitlines()[0]
    if isinstance(failure, CellTimeoutError):
        return f"a cell ran longer than {TIMEOUT} s: is the machine busy, or too small?"
    return "the kernel died: is there enough memory?"


def last_lines(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-6:])


def clean(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Without what differs from run to run or is dead once saved: widget state, progress bars; in
    place of an explorer, a line says so (a picture stands beside each)."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times of an earlier run
        if cell.cell_type != "code":
            continue
        cell.outputs = [output for output in cell.outputs if not is_bar(output)]
        for output in cell.outputs:
            if WIDGET in output.get("data", {}):
                output.data = {"text/plain": LIVE}
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = smaller(output.data["image/png"])
    return notebook


def is_bar(output) -> bool:
    """Whether it is tqdm's progress bar, whose text is no call, such as VBox(…)."""
    data = output.get("data", {})
    return WIDGET in data and not re.match(r"\w+\(", data.get("text/plain", ""))


def smaller(png: str) -> str:
    """A base64 picture with a palette of its own colours; as it is if it has few already."""
    from PIL import Image

    picture, target = Image.open(io.BytesIO(base64.b64decode(png))), io.BytesIO()
    if picture.mode == "P":
        return png
    method = Image.Quantize.MAXCOVERAGE  # the median cut shifts colours
    few = picture.convert("RGB").quantize(COLOURS, method, dither=Image.Dither.NONE)
    few.save(target, "PNG", optimize=True)
    return base64.b64encode(target.getvalue()).decode()


def links_to(text: str, names: set[str]) -> str:
    """Markdown with its links to files of these names; of other files' only the words stay, for a
    run's folder may be moved, and there they lead nowhere."""
    return LINK.sub(lambda link: link[0] if link[2] in names else link[1], text)


def run(paths: Sequence[Path], folder: Path | None) -> int:
    """Execute the lessons into `folder`, with one report and the pages that they link to, or in
    place with None; one line per lesson. Returns the number of lessons that failed."""
    done, failed = {}, 0
    pages = sorted(NOTEBOOKS.glob("*.md"))
    names = {path.name for path in [*paths, *pages]}
    for number, path in enumerate(paths, 1):
        print(f"[{number}/{len(paths)}] {path.stem:28}", end=" ", flush=True)
        start = time.time()
        notebook, error = execute(path)
        done[path.stem] = notebook
        print(f"{time.time() - start:6.1f} s  {'FAILED' if error else 'ok'}", flush=True)
        if error:
            failed += 1
            print("    " + "\n    ".join(error.strip().splitlines()), flush=True)
            if folder is None:  # the saved notebook stays as it was
                continue
        if folder is not None:
            for cell in notebook.cells:
                if cell.cell_type == "markdown":
                    cell.source = links_to(cell.source, names)
        text = nbformat.writes(notebook).rstrip("\n") + "\n"
        write_text((folder or path.parent) / path.name, text)
    if folder is not None:
        for page in pages:
            text = links_to(page.read_text(encoding="utf-8"), names)
            write_text(folder / page.name, text)
        write_text(folder / "report.html", report(done, "lander-lite: lessons"))
    return failed


def show_results(folder: Path) -> None:
    """Print the results that the lessons left in `folder` beside the stored ones, and write them to
    results.md."""
    results = find_results(folder)
    if not results:
        return
    tables = run_tables(results, find_results(data_dir() / "results"))
    text = "# Results\n"
    for heading, table in tables.items():
        print(f"\n{heading}:\n{table}")
        text += f"\n## {heading}\n\n```text\n{table}\n```\n"
    write_text(folder / "results.md", text)
    print(f"\nresults:   {folder / 'results.md'}")


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0, 1 if a lesson failed, 2 if there is none or the folder is theirs."""
    parser = argparse.ArgumentParser("python -m lander_lite.course.notebooks", description=ABOUT)
    add = parser.add_argument
    add("notebooks", nargs="*", type=Path, help="default: lessons 00-05 of the clone")
    add("--in-place", action="store_true", help="save the executed notebooks over the originals")
    add("--output-dir", type=Path, help="default: runs/<time>")
    options = parser.parse_args(arguments)
    lessons = sorted(path for path in NOTEBOOKS.glob("*.ipynb") if LESSONS.fullmatch(path.name))
    paths = options.notebooks or lessons
    missing = [f"no such notebook: {path}" for path in paths if not path.is_file()]
    if missing or not paths:
        nothing = f"no lessons in {NOTEBOOKS}; run this from a clone"
        print((missing or [nothing])[0], file=sys.stderr)
        return 2
    folder = None
    if not options.in_place:
        folder = (options.output_dir or Path("runs") / time.strftime("%Y%m%d-%H%M%S")).resolve()
        if folder in [NOTEBOOKS.resolve(), *(path.parent.resolve() for path in paths)]:
            print("--output-dir is the lessons' own folder; --in-place does that", file=sys.stderr)
            return 2
        folder.mkdir(parents=True, exist_ok=True)
        os.environ["LANDER_LITE_RUN"] = str(folder)  # where lessons put result files of this run
    start = time.time()
    failed = run(paths, folder)
    minutes = (time.time() - start) / 60
    print(f"{len(paths) - failed} of {len(paths)} lessons ran, {minutes:.1f} minutes")
    if folder is not None:
        show_results(folder)
        print(f"report:    {folder / 'report.html'}\nnotebooks: {folder}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
