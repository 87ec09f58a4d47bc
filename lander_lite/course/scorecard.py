"""Lesson 10's tables and pictures: what is stored, the claims, differences to other methods, the
way from full tuning to LANDeRMT, and the router's runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..evaluation import bleu_of_sums
from ..reproduction.claims.tables import ABLATIONS, BASELINES, CONTROLS
from ..reproduction.evidence import Difference, NotMeasured, Study
from ..reproduction.kinds import KINDS, LANDER
from ..reproduction.results import stored_runs
from ..reproduction.scorecard import ASIDE, STEPS, Row, decision, together
from .tables import Link, Table

GROUPS = {"Table 1": BASELINES, "Table 2": ABLATIONS, "controls": CONTROLS}
TICKS = (-20, -10, -5, -2, 0, 2, 5, 10, 20)


def stored(studies: Sequence[Study]) -> Table:
    """How many runs of each kind each study has stored."""
    rows = []
    for kind in KINDS:
        counts = [len(stored_runs(study.folder, kind)) for study in studies]
        if any(counts):
            rows.append([kind, *counts])
    return Table(["kind", *(study.name for study in studies)], rows)


def verdict_table(rows: Sequence[Row], name: str, others: Sequence[Row]) -> Table:
    """What each claim's verdict hangs on. others: the rows of the same claims for the results that
    `name` names, whose verdicts are the last column."""
    columns = ["", "claim", "decided by", "n", "would be seen", "verdict", "all together", name]
    lines = []
    for row, other in zip(rows, others):
        shown = *decision(row.decides), row.verdict, together(row), other.verdict
        lines.append([row.id, row.claim, *shown])
    return Table(columns, lines)


def evidence_table(rows: Sequence[Row]) -> Table:
    """Of each claim the paper's numbers, ours and the control's, and a link to its lesson."""
    lines = []
    for row in rows:
        lesson = Link(row.lesson, row.shown_in)
        measured = row.measured.replace("**", "")  # Markdown's bold
        lines.append([row.id, row.paper, measured, row.control, lesson])
    return Table(["", "the paper", "we measured", "control", "shown in"], lines)


def resampled(study: Study, first: str, second: str, draws) -> np.ndarray:
    """BLEU of `first` minus `second`, mean over directions and seeds, on each draw of test
    sentences: float64 [draw]. draws: int [draw, sentence], the same for both methods."""
    from sacrebleu.metrics import BLEU

    seeds = sorted({*study.values("main", first)} & {*study.values("main", second)})
    metric, scores = BLEU(), []
    for method in (first, second):
        counts = [one for each in study.rows(method, seeds).values() for one in each]
        scores.append(
            [np.mean([bleu_of_sums(metric, one[draw].sum(axis=0)) for one in counts])
             for draw in draws]
        )  # fmt: skip
    return np.subtract(*scores)


def differences(study: Study) -> dict[str, list[Difference]]:
    """{group: LANDeRMT minus each of its methods}, those that are measured."""
    measured: dict[str, list[Difference]] = {}
    for group, names in GROUPS.items():
        for name in names:
            try:
                measured.setdefault(group, []).append(study.compare(LANDER, name))
            except NotMeasured:
                print(f"{study.name}, not measured: LANDeRMT minus {name}")
    return {group: found for group, found in measured.items() if found}


def draw_differences(ax, measured: Mapping[str, Sequence[Difference]]) -> None:
    """A line a difference: thin over seeds, thick over test sentences. Beyond 5 BLEU the axis is
    squeezed."""
    y, names = 0, []
    for number, (group, several) in enumerate(measured.items()):
        colour = f"C{number}"
        for difference in several:
            ax.plot(difference.seeds, [y, y], color=colour, linewidth=1)
            ax.plot(difference.sentences, [y, y], color=colour, linewidth=4, alpha=0.6)
            label = group if difference is several[0] else None
            ax.plot(difference.mean, y, "o", color=colour, markersize=6, label=label)
            names.append(difference.name)
            y -= 1
    ax.axvline(0, color="black", linestyle="--", linewidth=1)
    ax.set_xscale("symlog", linthresh=5)
    ax.set_xticks(TICKS, map(str, TICKS))
    ax.set_yticks(range(0, y, -1), names)
    ax.set(xlabel="BLEU difference")
    ax.legend(fontsize=8)


def draw_steps(ax, way: Mapping[str, Difference]) -> None:
    """A bar a change: those on the way from full tuning to LANDeRMT in colour, others grey."""
    names = []
    for y, (name, difference) in enumerate(way.items()):
        ax.barh(-y, difference.mean, color="C1" if name in STEPS else "lightgrey")
        ax.plot(difference.seeds, [-y, -y], color="black", linewidth=1)
        names.append(f"{name}\n({' - '.join((STEPS | ASIDE)[name])})")
    ax.set_yticks(range(0, -len(way), -1), names, fontsize=8)
    ax.axvline(0, color="black", linewidth=1)
    ax.set(xlabel="BLEU")


def draw_router(ax, runs: Sequence[dict]) -> None:
    """A dot a training, by routing and learning rate; a cross at the bottom for one that
    diverged."""
    methods = list(dict.fromkeys(run["method"] for run in runs))
    rates = sorted({run["learning_rate"] for run in runs})
    floor = min(run["mean"]["bleu"] for run in runs if "diverged" not in run) - 2
    for i, rate in enumerate(rates):
        shift = 0.22 * (i - (len(rates) - 1) / 2)
        for mark, diverged in (("o", False), ("x", True)):
            of_rate = [run for run in runs if run["learning_rate"] == rate]
            some = [run for run in of_rate if ("diverged" in run) == diverged]
            xs = [methods.index(run["method"]) + shift for run in some]
            ys = [floor if diverged else run["mean"]["bleu"] for run in some]
            label = None if diverged else f"learning rate {rate:g}"
            ax.plot(xs, ys, mark, color=f"C{i}", markersize=5, alpha=0.7, label=label)
    ax.set_xticks(range(len(methods)), methods)
    ax.set(ylabel="BLEU")
    ax.legend(fontsize=8)
