"""Lesson 11: what there is of the real model on this machine, and its stored results in tables."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

from ..config import PACKAGE, data_dir
from ..model import INSTALLED
from ..reproduction.evidence import NotMeasured, Study, bleu
from ..reproduction.forgetting import change, final_point, over_seeds
from ..reproduction.specs import UNTAUGHT
from .exercises.lesson_11 import verdict
from .plots import cross
from .tables import Table

NAME = "gemma-3-270m"
FOLDER = data_dir() / "results" / NAME
NTREX = PACKAGE.parent / "runs" / "ntrex-short"
BASE = "zero-shot"


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


# ---------------------------------------------------------------- the stored tuning study
def untaught(run: dict) -> list[str]:
    """The directions of a run that it did not train."""
    return [pair for pair in run["pairs"] if {*pair.split("-")} & {*UNTAUGHT}]


def taught(run: dict) -> list[str]:
    """The directions that it trained, or a trained one would."""
    return [pair for pair in run["pairs"] if pair not in untaught(run)]


def plain_text(run: dict, base: dict) -> float:
    """What the run costs on plain text of all languages: nats per token, mean over languages."""
    return change(final_point(run), final_point(base), taught(run))["perplexity"]


def directions(study: Study, methods: Sequence[str]) -> Table:
    """BLEU and the share of outputs in a wrong language, of untrained methods by direction."""
    scores = {method: study.runs("transfer", method)[0]["pairs"] for method in methods}
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
    """A row a method: means over seeds, with half the 95% interval where there are several."""
    base, rows = study.runs("transfer", BASE)[0], []
    for method in methods_of(study):
        runs = study.runs("transfer", method)
        known = [run for run in runs if "perplexity" in run]
        rows.append(
            [
                method,
                f"{runs[0].get('trainable', 0):,}",
                f"{runs[0]['learning_rate']:g}" if runs[0]["learning_rate"] else "",
                over_seeds([bleu(run, taught(run)) for run in runs], ".1f"),
                over_seeds([bleu(run, untaught(run)) for run in runs], ".1f"),
                over_seeds([run["other_domain"]["mean"]["bleu"] for run in runs], ".1f"),
                f"{fmean(wrong_language(run) for run in runs):.0%}",
                over_seeds([plain_text(run, base) for run in known], "+.3f"),
            ]
        )
    return Table(
        ["method", "trained", "rate", "de, fr", "it, zh", "FLORES", "off-target", "plain text"],
        rows,
    )


def methods_of(study: Study) -> list[str]:
    """The methods of the study, untrained ones first, then by their BLEU where they trained."""
    names = dict.fromkeys(run["method"] for run in study.runs("transfer"))

    def place(name: str) -> tuple:
        runs = study.runs("transfer", name)
        return bool(runs[0].get("trainable")), fmean(bleu(run, taught(run)) for run in runs)

    return sorted(names, key=place)


def wrong_language(run: dict) -> float:
    """The share of outputs in a wrong language, mean over the trained directions."""
    return fmean(run["pairs"][pair]["off_target"] for pair in taught(run))


COMPARED = (
    ("lander-none", "zero-shot"),
    ("lander-none", "random-anywhere"),
    ("lander-none", "lape"),
    ("lander-none", "lora"),
    ("lander-none", "full"),
    ("specific-only", "random-specific"),
)
MARGIN = {"de, fr": 1.0, "it, zh": 1.0, "FLORES": 1.0, "plain text": 0.05}  # BLEU; nats per token


def measures(study: Study) -> dict:
    """{column: function of a run} of what methods are compared by; more is better, but for plain
    text, where it is worse."""
    base = study.runs("transfer", BASE)[0]
    return {
        "de, fr": lambda run: bleu(run, taught(run)),
        "it, zh": lambda run: bleu(run, untaught(run)),
        "FLORES": lambda run: run["other_domain"]["mean"]["bleu"],
        "plain text": lambda run: plain_text(run, base),
    }


def verdicts(study: Study, said: Callable = verdict) -> Table:
    """A row a comparison: the difference with its 95% interval, and what it says."""
    rows = []
    for first, second in COMPARED:
        row = [f"{first} minus {second}"]
        for name, value in measures(study).items():
            try:
                found = study.difference("transfer", first, second, value)
                digits = 1 if MARGIN[name] == 1 else 3
                row.append(f"{found.shown(digits)}: {said(*found.interval, MARGIN[name])}")
            except NotMeasured:
                row.append("not measured")
        rows.append(row)
    return Table(["difference", *MARGIN], rows)


def fronts(ax, study: Study, value, label: str) -> None:
    """One cross a method: mean BLEU of the trained directions against another measure."""
    for i, method in enumerate(methods_of(study)):
        runs = [run for run in study.runs("transfer", method) if "perplexity" in run]
        if not runs:
            continue
        options = {"color": f"C{i % 10}", "marker": "os^vD"[i // 2 % 5], "label": method}
        trained = [bleu(run, taught(run)) for run in runs]
        cross(ax, trained, [value(run) for run in runs], **options)
    ax.set(xlabel="BLEU, trained directions", ylabel=label)
    ax.legend(fontsize=7)
