"""Lesson 11: what there is of the real model on this machine, and its stored results in tables."""

from __future__ import annotations

import os
from collections.abc import Sequence
from statistics import fmean

import pandas as pd

from ..config import PACKAGE, data_dir
from ..model import INSTALLED
from ..reproduction.evidence import NotMeasured, Study, bleu
from ..reproduction.forgetting import change, final_point, over_seeds
from ..reproduction.specs import UNTAUGHT
from .plots import cross

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


def directions(study: Study, methods: Sequence[str]) -> pd.DataFrame:
    """BLEU and the share of outputs in a wrong language, of untrained methods by direction."""
    columns = {}
    for method in methods:
        scores = study.runs("transfer", method)[0]["pairs"]
        columns[f"{method} BLEU"] = {pair: round(x["bleu"], 1) for pair, x in scores.items()}
        columns[f"{method} off-target"] = {
            pair: f"{x['off_target']:.0%}" for pair, x in scores.items()
        }
    return pd.DataFrame(columns)


def table(study: Study) -> pd.DataFrame:
    """A row a method: means over seeds, with half the 95% interval where there are several."""
    base, rows = study.runs("transfer", BASE)[0], {}
    for method in dict.fromkeys(run["method"] for run in study.runs("transfer")):
        runs = study.runs("transfer", method)
        known = [run for run in runs if "perplexity" in run]
        rows[method] = {
            "trained": runs[0].get("trainable", 0),
            "rate": runs[0]["learning_rate"] or "",
            "de, fr": over_seeds([bleu(run, taught(run)) for run in runs], ".1f"),
            "it, zh": over_seeds([bleu(run, untaught(run)) for run in runs], ".1f"),
            "FLORES": over_seeds([run["other_domain"]["mean"]["bleu"] for run in runs], ".1f"),
            "off-target": f"{fmean(wrong_language(run) for run in runs):.0%}",
            "plain text": over_seeds([plain_text(run, base) for run in known], "+.3f"),
            "seeds": len(runs),
        }
    return pd.DataFrame(rows).T


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


def verdicts(study: Study) -> pd.DataFrame:
    """A row a comparison: the difference over seeds with its 95% interval, and what it says."""
    rows = {}
    for first, second in COMPARED:
        cells = {}
        for name, value in measures(study).items():
            try:
                found = study.difference("transfer", first, second, value)
            except NotMeasured:
                cells[name] = "not measured"
                continue
            digits = 1 if MARGIN[name] == 1 else 3
            cells[name] = f"{found.shown(digits)}: {said(found.interval, MARGIN[name])}"
        rows[f"{first} minus {second}"] = cells
    return pd.DataFrame(rows).T


def said(interval: tuple[float, float], margin: float) -> str:
    """What a difference says: its sign, where zero lies outside; equal, where all of the interval
    lies within the margin; else nothing."""
    low, high = interval
    if low > 0 or high < 0:
        return "more" if low > 0 else "less"
    return "equal" if -margin < low and high < margin else "cannot tell"


def fronts(ax, study: Study, value, label: str) -> None:
    """One cross a method: mean BLEU of the trained directions against another measure."""
    for i, method in enumerate(dict.fromkeys(run["method"] for run in study.runs("transfer"))):
        runs = [run for run in study.runs("transfer", method) if "perplexity" in run]
        if not runs:
            continue
        options = {"color": f"C{i % 10}", "marker": "os^vD"[i // 2 % 5], "label": method}
        trained = [bleu(run, taught(run)) for run in runs]
        cross(ax, trained, [value(run) for run in runs], **options)
    ax.set(xlabel="BLEU, trained directions", ylabel=label)
    ax.legend(fontsize=7)
