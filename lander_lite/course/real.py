"""Lesson 11: what there is of the real model on this machine, and its stored results in tables.

`python -m lander_lite.course.real FOLDER` writes the tables of its methods into FOLDER/results.md
(`make real`).
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean

from ..config import PACKAGE, data_dir
from ..io import write_text
from ..model import INSTALLED
from ..reproduction.claims.pruning import TEXTS, nats_lost, pruned_values, recall
from ..reproduction.evidence import NotMeasured, Study, minus
from ..reproduction.forgetting import final_point, pruned
from ..reproduction.kinds import LOW_RESOURCE, REAL, low_resource
from ..reproduction.results import load_hypotheses
from ..reproduction.scorecard import alone
from ..reproduction.statistics import with_interval
from ..reproduction.transfer import (
    BASE,
    COLUMNS,
    COMPARED,
    GROUPS,
    KIND,
    difference,
    method_rows,
    methods_of,
    of_group,
    plain_text_difference,
)
from .exercises.lesson_11 import verdict
from .plots import cross
from .tables import Table

NAME = "gemma-3-270m"
FOLDER = data_dir() / "results" / NAME
NTREX = PACKAGE.parent / "runs" / "ntrex-short"
MARGIN, MARGIN_NATS = 1.0, 0.05  # what would matter: BLEU; nats per token


def at_hand() -> bool:
    """Whether the weights are installed (`make real`). LANDER_LITE_STORED=1 says no: tests then
    take minutes less."""
    return (INSTALLED / NAME).is_dir() and not os.environ.get("LANDER_LITE_STORED")


def corpus_at_hand() -> str:
    """The news sentences that data/ntrex.py made, or else Tiny Babel's."""
    return str(NTREX) if NTREX.is_dir() else "data/tiny_babel"


def told(live: bool, corpus: str) -> str:
    """What the lesson does here."""
    if not live:
        return "No weights here: you see what is stored. To run everything live: make real"
    return f"Live, with sentences of {'NTREX' if corpus == str(NTREX) else 'Tiny Babel'}."


# ---------------------------------------------------------------- the stored analyses
def layers_table(studies: Mapping[str, Study]) -> Table:
    """How alike directions and sentences are by three measures of change, and shuffled blocks."""
    columns = ["change", "model", "blocks", "directions", "shuffled, at most", "same choice"]
    rows = []
    for name in ("signed", "absolute", "cosine"):
        for model, study in studies.items():
            found = study.analysis("layers")["measures"][name]
            order, again = found["rank_correlation"], found["same_choice_held_out"]["mean"]
            chance = order["control_shuffled"]["high"]
            blocks = ", ".join(map(str, found["top"]))
            rows.append([name, model, blocks, order["mean"], chance, f"{again:.0%}"])
    return Table(columns, rows, ".2f")


def switched_off_table(studies: Mapping[str, Study]) -> Table:
    """Loss change, nats per token, where a language's neurons are off: of its own text, of others,
    and of random sets."""
    columns = ["sets", "model", "own", "others", "random", "own - others", "95%", "hurt most"]
    rows = []
    for name, about in (("switching", "variance split"), ("lape", "LAPE")):
        for model, study in studies.items():
            found = study.analysis(name)
            gap = found["own_minus_others"]
            chance = fmean(draw["own"]["mean"] for draw in found["control_random"])
            means = [found["own"]["mean"], found["others"]["mean"], chance, gap["mean"]]
            own = f"{len(found['hurt_most'])} of {len(found['sets'])}"
            rows.append([about, model, *means, [gap["low"], gap["high"]], own])
    return Table(columns, rows, "+.3f")


def claims_table(tiny: Study, other: Study) -> Table:
    """The claims that both studies have measured: what decides, and the verdict, in each model
    alone."""
    rows = []
    for ours, theirs in zip(alone(tiny), alone(other)):
        if ours.parts and theirs.parts:
            row = [ours.id, ours.claim]
            for found in (ours, theirs):
                row += [f"{found.decides.name}: {found.decides.number.strip()}", found.verdict]
            rows.append(row)
    return Table(["", "claim", "tiny", "verdict", "real", "verdict"], rows)


def loss_without(study: Study, owner: str, text: str) -> tuple[float, float]:
    """Stored loss change of a language's text, nats per token: with the neurons off that the
    variance split gives to `owner`, and with as many random ones (mean over draws)."""
    found = study.analysis("switching")
    row, column = found["texts"].index(text), found["sets"].index(owner)
    draws = [draw["loss_change"][row][column] for draw in found["control_random"]]
    return found["loss_change"]["mean"][row][column], fmean(draws)


# ---------------------------------------------------------------- the stored tuning study
def outputs(study: Study, method: str, pairs: Sequence[str]) -> str:
    """What a stored run of a method wrote first, three test sentences a direction, for those who
    have no weights."""
    stored = load_hypotheses(study.folder, method, kind=KIND)
    lines = [f"not live; stored, {method}, three sentences of the news:"]
    for pair in pairs:
        lines.append("\n    ".join([pair, *stored[pair][:3]]))
    return "\n".join(lines)


def directions(study: Study, methods: Sequence[str]) -> Table:
    """BLEU and the share of outputs in a wrong language, of one run a method (the first seed's), by
    direction."""
    scores = {method: study.runs(KIND, method)[0]["pairs"] for method in methods}
    columns = ["direction"]
    for method in methods:
        columns += [f"{method} BLEU", f"{method} off-target"]
    rows = []
    for pair in scores[methods[0]]:
        row = [pair]
        for method in methods:
            found = scores[method][pair]
            row += [found["bleu"], f"{found['off_target']:.0%}"]
        rows.append(row)
    return Table(columns, rows)


def table(study: Study) -> Table:
    """A row a method (`transfer.method_rows`)."""
    return Table(COLUMNS, method_rows(study))


def seeds(study: Study) -> dict[str, int]:
    """{method: how many training seeds are stored}, of those that are trained."""
    counted: dict[str, int] = {}
    for run in study.runs(KIND):
        if run.get("trainable"):
            counted[run["method"]] = counted.get(run["method"], 0) + 1
    return counted


def rates_table(study: Study, methods: Sequence[str]) -> Table:
    """A row a learning rate: each method's BLEU on valid, where it was tried; * is the chosen
    one."""
    runs = {method: study.runs(KIND, method)[0] for method in methods}
    rates = sorted({float(rate) for run in runs.values() for rate in run["grid"]})
    rows = []
    for rate in rates:
        row = [f"{rate:g}"]
        for run in runs.values():
            score = run["grid"].get(str(rate))
            chosen = "*" * (rate == run["learning_rate"])
            row.append(None if score is None else f"{score:.1f}{chosen}")
        rows.append(row)
    return Table(["rate", *methods], rows)


def verdicts(study: Study, said: Callable = verdict) -> Table:
    """A row a comparison that is measured: the difference with its 95% interval, and what it
    says."""

    def cell(mean: float, low: float, high: float, form: str, margin: float) -> str:
        return f"{with_interval(mean, low, high, form)}: {said(low, high, margin)}"

    rows = []
    for first, second in COMPARED:
        try:
            found = [difference(study, first, second, group) for group in GROUPS]
        except NotMeasured:
            continue
        cells = [cell(*one, "+.1f", MARGIN) for one in found]
        try:
            nats = cell(*plain_text_difference(study, first, second), "+.3f", MARGIN_NATS)
        except NotMeasured:
            nats = "–"
        rows.append([f"{first} minus {second}", *cells, nats])
    return Table(["difference", "de, fr", "it, zh", "plain text"], rows)


def fronts(ax, study: Study, value: Callable, label: str) -> None:
    """One cross a method: mean BLEU of the trained directions against another measure."""
    for i, method in enumerate(methods_of(study)):
        runs = [run for run in study.runs(KIND, method) if "perplexity" in run]
        if not runs:
            continue
        options = {"color": f"C{i % 10}", "marker": "os^vDP"[i // 2 % 6], "label": method}
        trained = [fmean(of_group(run, "taught") for run in runs)]
        cross(ax, trained, [fmean(value(run) for run in runs)], **options)
    ax.set(xlabel="BLEU, trained directions", ylabel=label)
    ax.legend(fontsize=7)


# ---------------------------------------------------------------- the neighbours
def plain_text_runs_table(study: Study) -> Table:
    """A row a method, tuned on plain text of the low-resource language alone: BLEU from and to it,
    the change of its loss and of other languages' (nats per token, + is worse), and BLEU of the
    other directions; means over seeds."""
    base = final_point(study.runs("sparse", BASE)[0])
    methods = dict.fromkeys(run["method"] for run in study.runs("sparse"))
    rows = [plain_text_runs_row(study.runs("sparse", method), base) for method in methods]
    columns = ["method", "trained", "rate", *low_resource(), f"nats, {LOW_RESOURCE}"]
    return Table([*columns, "nats, others", "BLEU, others"], rows)


def plain_text_runs_row(runs: Sequence[dict], base: dict) -> list:
    """The row of one method's runs; base: the point before tuning."""
    rate, points = runs[0]["learning_rate"], [final_point(run) for run in runs]
    nats = [nats_changed(point, base, LOW_RESOURCE) for point in points]
    bleu = {pair: fmean(point["bleu"][pair] for point in points) for pair in base["bleu"]}
    own = [bleu.pop(pair) for pair in low_resource()]
    row = [runs[0]["method"], f"{runs[0].get('trainable', 0):,}", f"{rate:g}" if rate else "", *own]
    return [*row, *(f"{fmean(change):+.3f}" for change in zip(*nats)), fmean(bleu.values())]


def nats_changed(point: dict, base: dict, language: str) -> tuple[float, float]:
    """The change of the loss in plain text, nats per token, between two points: of one language,
    and the mean of the others."""
    changed = {x: math.log(point["perplexity"][x] / y) for x, y in base["perplexity"].items()}
    return changed.pop(language), fmean(changed.values())


def calibration_table(study: Study) -> Table:
    """A row a calibration text of Wanda: translations minus it, in mean BLEU and in nats per token
    lost (of all languages' plain text, + is worse), at each share of weights removed, with 95%
    intervals over draws."""
    columns, rows = ["translations minus"], [[text] for text in TEXTS]
    for sparsity in REAL["real-prune"].sparsities:
        columns += [f"BLEU, {sparsity:.0%}", f"nats, {sparsity:.0%}"]
        for value in (recall, nats_lost):  # without facts, recall is BLEU
            ours = pruned_values(study, "wanda-translation", sparsity, value)
            for row in rows:
                theirs = pruned_values(study, row[0], sparsity, value)
                row.append(minus(row[0], ours, theirs).shown(2))
    return Table(columns, rows)


def pruned_table(study: Study) -> Table:
    """A row a share of weights removed and a metric, the best first: mean BLEU over directions, and
    nats per token lost, in English and on average in the others; means over calibration draws."""
    dense, found = final_point(study.runs("prune", BASE)[0]), {}
    for run in study.runs("prune"):
        for sparsity, point in pruned(run).items():
            found.setdefault((sparsity, run["method"]), []).append(point)
    rows = []
    for (sparsity, method), points in found.items():
        bleu = fmean(score for point in points for score in point["bleu"].values())
        nats = zip(*(nats_changed(point, dense, "en") for point in points))
        rows.append([f"{sparsity:.0%}", method, len(points), bleu, *map(fmean, nats)])
    rows.sort(key=lambda row: (row[0], row[-1]))
    columns = ["removed", "by", "draws", "BLEU", "nats, English", "nats, others"]
    return Table(columns, rows, ".2f")


# ---------------------------------------------------------------- beside the executed lesson
def main(arguments: Sequence[str]) -> int:
    """Exit code 0; 2 after a message."""
    if len(arguments) != 1 or not Path(arguments[0]).is_dir():
        print("usage: python -m lander_lite.course.real FOLDER, which exists", file=sys.stderr)
        return 2
    study, path = Study(FOLDER), Path(arguments[0], "results.md")
    tables = {"Methods": table(study), "Differences, with 95% intervals": verdicts(study)}
    text = f"# {NAME}: the stored study (lesson 11, executed beside this file, says what it is)\n"
    for heading, content in tables.items():
        text += f"\n## {heading}\n\n```text\n{content}\n```\n"
    write_text(path, text)
    print(f"results:   {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
