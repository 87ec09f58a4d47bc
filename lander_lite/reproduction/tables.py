"""Tables of results: plain text for the terminal, Markdown for the page of results (pages.py)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path


def markdown_table(header: Sequence[str], rows: Sequence[Sequence], rule: str | None = None) -> str:
    """A Markdown table. rule: the line below the header; without it all columns are flush left."""
    lines = [f"| {' | '.join(map(str, row))} |" for row in (header, [":--"] * len(header), *rows)]
    if rule is not None:
        lines[1] = rule
    return "\n".join(lines)


def _by_method(results: Sequence[dict]) -> Iterator[tuple[str, str, list[dict], dict]]:
    """(profile, method, its results, its line of `summary`)."""
    from .results import summary  # needs torch

    for profile in dict.fromkeys(result["profile"] for result in results):
        of_profile = [result for result in results if result["profile"] == profile]
        for method, row in summary(of_profile).items():
            yield profile, method, [r for r in of_profile if r["method"] == method], row


def label(method: str) -> str:
    """A method's name as tables show it."""
    from .methods import METHODS  # needs torch, which the course's runner does not

    return METHODS[method].label


def study_table(results: Sequence[dict]) -> str:
    """One line per method and profile: mean BLEU over seeds and its standard deviation, chrF2,
    learning rate, trained scalars."""
    lines = [
        f"{'profile':12} {'method':26} {'BLEU':>6} {'sd':>5} {'chrF2':>6} {'seeds':>5} "
        f"{'rate':>8} {'trained':>11}"
    ]
    for profile, method, _, row in _by_method(results):
        spread = f"{row['sd']:5.2f}" if row["sd"] is not None else f"{'':5}"
        rate = f"{row['learning_rate']:g}" if row["learning_rate"] else ""
        lines.append(
            f"{profile:12} {label(method):26} {row['bleu']:6.2f} {spread} {row['chrf']:6.2f} "
            f"{row['seeds']:5} {rate:>8} {row['trainable']:11,d}"
        )
    return "\n".join(lines)


def find_results(folder) -> list[dict]:
    """The results of methods on all directions (JSON with `method`, `mean`, `profile`, or studies'
    tables of them) in `folder` and its subfolders; no sweeps."""
    needed, results = {"method", "mean", "profile"}, []
    for path in sorted(Path(folder).rglob("*.json")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:  # some other file; the lessons ran all the same
            continue
        if not isinstance(content, dict) or not needed <= content.keys():
            continue
        if content.get("kind", "main") == "main":
            results.append(content)
    for table in sorted(Path(folder).rglob("main.jsonl")):
        from .results import stored_runs  # needs torch, which the course's runner does not

        loose = table.with_suffix("")  # files, which are found above
        stored = stored_runs(table.parent, "main").items()
        results += [run for name, run in stored if not (loose / f"{name}.json").is_file()]
    return results


def run_tables(run: Sequence[dict], stored: Sequence[dict]) -> dict[str, str]:
    """{heading: table} of this run's results and of the stored study's, which may be of more test
    sentences; the heading says how many."""
    tables = {}
    for name, results in (("This run", run), ("The stored study, data/results", stored)):
        if results:
            counts = sorted({result["sentences"] for result in results if "sentences" in result})
            numbers = " or ".join(map(str, counts))
            about = f" ({numbers} test sentences per direction)" if counts else ""
            tables[name + about] = study_table(results)
    return tables


def results_table(results: Sequence[dict]) -> str:
    """Markdown: per profile and method the mean test BLEU over seeds, each direction's BLEU, chosen
    learning rate and trained scalars."""
    pairs = list(results[0]["pairs"])
    columns = ("profile", "method", "BLEU", "± sd", "chrF2", "seeds", "learning rate", "trained")
    rows = []
    for profile, method, runs, row in _by_method(results):
        by_pair = {
            pair: sum(result["pairs"][pair]["bleu"] for result in runs) / len(runs)
            for pair in pairs
        }
        rows.append(
            (
                profile,
                label(method),
                f"{row['bleu']:.1f}",
                f"{row['sd']:.1f}" if row["sd"] is not None else "",
                f"{row['chrf']:.1f}",
                row["seeds"],
                f"{row['learning_rate']:g}" if row["learning_rate"] else "",
                f"{row['trainable']:,d}",
                *(f"{bleu:.1f}" for bleu in by_pair.values()),
            )
        )
    rule = "|:--|:--|" + "--:|" * (len(columns) - 2 + len(pairs))
    return markdown_table([*columns, *pairs], rows, rule) + "\n"
