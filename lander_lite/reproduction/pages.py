"""What is computed in the README and in notebooks/RESULTS.md: `python -m
lander_lite.reproduction.pages` writes their blocks again, from the committed results."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from ..config import PACKAGE, data_dir
from ..io import write_text
from .evidence import Study
from .scorecard import Row, alone, base_models_table, scorecard, verdict_lists
from .tables import find_results, markdown_table, results_table
from .transfer import COLUMNS, method_rows

README = PACKAGE.parent / "README.md"
RESULTS = PACKAGE.parent / "notebooks" / "RESULTS.md"
STUDIES = ("tiny-bloom", "tiny-llama", "gemma-3-270m")
STUDIES += ("tiny-bloom-seed1", "tiny-bloom-seed2")  # other base models: analyses alone
EIGHT = ("L1", "L3", "L5", "L7", "L11", "L12", "S2", "P3")  # of all claims, for the README


def with_block(text: str, name: str, content: str) -> str:
    """A page's text with the block of this name replaced. ValueError without its two marks."""
    start, end = f"<!-- {name}: start -->\n", f"<!-- {name}: end -->"
    if text.count(start) != 1 or text.count(end) != 1:
        raise ValueError(f"the page needs one {start.strip()} and one {end}")
    before, rest = text.split(start)
    return before + start + content + end + rest.split(end)[1]


def verdict_table(tiny: Sequence[Row], real: Sequence[Row]) -> str:
    """Markdown: EIGHT claims, their verdict in the tiny world, the number that decides it, and the
    verdict on the real model."""
    rows = []
    for ours, theirs in zip(tiny, real):
        if ours.id in EIGHT:
            part = ours.decides
            number = f"{part.name}: {part.number.strip()}" if part else ""
            rows.append(
                (ours.id, ours.claim, number, f"**{ours.verdict}**{ours.dagger}", theirs.verdict)
            )
    header = ("", "The papers' claim", "what decides it", "tiny", "real")
    return markdown_table(header, rows) + "\n"


def pages() -> dict[Path, str]:
    """{page: its text with every block written again}."""
    folder = data_dir() / "results"
    bloom, llama, gemma, *seeds = (Study(folder / name) for name in STUDIES)
    tiny, real = scorecard(bloom, llama), alone(gemma)
    rule = "|:--|" + "--:|" * (len(COLUMNS) - 1)
    readme, results = (page.read_text(encoding="utf-8") for page in (README, RESULTS))
    blocks = {
        "results": results_table(find_results(folder)),
        "claims": verdict_lists(tiny),
        "base-models": base_models_table([bloom, *seeds], [llama]),
        "gemma": markdown_table(COLUMNS, method_rows(gemma), rule) + "\n",
    }
    for name, content in blocks.items():
        results = with_block(results, name, content)
    return {README: with_block(readme, "verdicts", verdict_table(tiny, real)), RESULTS: results}


if __name__ == "__main__":
    if not find_results(data_dir() / "results"):
        sys.exit(f"no results in {data_dir() / 'results'}; `lander-lite study` makes them")
    for page, text in pages().items():
        write_text(page, text)
