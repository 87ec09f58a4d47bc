"""Tables of results: plain text for the terminal, Markdown for the README (`python -m
lander_lite.report` rewrites its block)."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from ..config import PACKAGE, data_dir
from ..io import write_text

MARKS = ("<!-- results: start -->\n", "<!-- results: end -->")


def study_table(results: Sequence[dict]) -> str:
    """One line per method and profile: mean BLEU over seeds and its standard deviation, chrF2,
    learning rate, trained scalars."""
    from .results import summary

    lines = [
        f"{'profile':12} {'method':18} {'BLEU':>6} {'sd':>5} {'chrF2':>6} {'seeds':>5} "
        f"{'rate':>8} {'trained':>11}"
    ]
    for profile in dict.fromkeys(result["profile"] for result in results):
        for method, row in summary(
            [result for result in results if result["profile"] == profile]
        ).items():
            spread = f"{row['sd']:5.2f}" if row["sd"] is not None else f"{'':5}"
            rate = f"{row['learning_rate']:g}" if row["learning_rate"] else ""
            lines.append(
                f"{profile:12} {method:18} {row['bleu']:6.2f} {spread} {row['chrf']:6.2f} "
                f"{row['seeds']:5} {rate:>8}"
                f" {row['trainable']:11,d}"
            )
    return "\n".join(lines)


def find_results(folder) -> list[dict]:
    """The results of methods on all directions (JSON with `method`, `mean`, `profile`) in `folder`
    and its subfolders; no sweeps."""
    found = []
    for path in sorted(Path(folder).rglob("*.json")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:  # some other file; the lessons ran all the same
            continue
        if (
            isinstance(content, dict)
            and {"method", "mean", "profile"} <= content.keys()
            and content.get("kind", "main") == "main"
        ):
            found.append(content)
    return found


def run_tables(run: Sequence[dict], stored: Sequence[dict]) -> dict[str, str]:
    """{heading: table} of this run's results and of the stored study's, which may be of more test
    sentences; the heading says how many."""
    tables = {}
    for name, results in (("This run", run), ("The stored study, data/results", stored)):
        if results:
            counts = sorted({result["sentences"] for result in results if "sentences" in result})
            about = (
                f" ({' or '.join(map(str, counts))} test sentences per direction)" if counts else ""
            )
            tables[name + about] = study_table(results)
    return tables


def readme_table(results: Sequence[dict]) -> str:
    """Markdown: per profile and method the mean test BLEU over seeds, each direction's BLEU, chosen
    learning rate and trained scalars."""
    from .results import summary

    pairs = list(results[0]["pairs"])
    lines = [
        "| profile | method | BLEU | ± sd | chrF2 | seeds | learning rate | trained | "
        + " | ".join(pairs)
        + " |",
        "|:--|:--|--:|--:|--:|--:|--:|--:|" + "--:|" * len(pairs),
    ]
    for profile in dict.fromkeys(result["profile"] for result in results):
        mine = [result for result in results if result["profile"] == profile]
        for method, row in summary(mine).items():
            runs = [result for result in mine if result["method"] == method]
            each = [
                sum(result["pairs"][pair]["bleu"] for result in runs) / len(runs) for pair in pairs
            ]
            spread = f"{row['sd']:.1f}" if row["sd"] is not None else ""
            rate = f"{row['learning_rate']:g}" if row["learning_rate"] else ""
            lines.append(
                f"| {profile} | {method} | {row['bleu']:.1f} | {spread} | {row['chrf']:.1f} | "
                f"{row['seeds']} | {rate} | "
                f"{row['trainable']:,d} | " + " | ".join(f"{bleu:.1f}" for bleu in each) + " |"
            )
    return "\n".join(lines) + "\n"


def with_results(readme: str, results: Sequence[dict]) -> str:
    """The README's text with its results block replaced. ValueError without the two marks."""
    if readme.count(MARKS[0]) != 1 or readme.count(MARKS[1]) != 1:
        raise ValueError(f"the README needs one {MARKS[0].strip()} and one {MARKS[1]}")
    before, rest = readme.split(MARKS[0])
    return before + MARKS[0] + readme_table(results) + MARKS[1] + rest.split(MARKS[1])[1]


if __name__ == "__main__":
    path = PACKAGE.parent / "README.md"
    stored = find_results(data_dir() / "results")
    if not stored:
        sys.exit(f"no results in {data_dir() / 'results'}; `lander-lite study` makes them")
    write_text(path, with_results(path.read_text(encoding="utf-8"), stored))
