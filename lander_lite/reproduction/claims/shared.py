"""What several claims share: the methods that they compare, and how they read numbers from a study.

Thresholds were written down before the results that they judge. A claim with several parts needs
all of them, so there is no correction for many comparisons: a further part can only make it harder.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ..evidence import Finding, NotMeasured, Study
from ..forgetting import final_point, pruned
from ..specs import LOW_RESOURCE, low_resource
from ..statistics import with_interval

# ---------------------------------------------------------------- LANDeRMT
BASELINES = ("full", "adapter", "lora", "adapter-lora", "zero-shot", "five-shot")  # Table 1
ABLATIONS = ("layers", "specific-only", "general-only")  # Table 2
CONTROLS = ("lander-none", "random")  # the rows that Table 2 lacks: no router; random neurons
AGREE = 0.5  # a rank correlation that calls two orders alike


def shown(part: dict, digits: int = 2) -> str:
    """A mean and its interval, as analyses store them."""
    return with_interval(part["mean"], part["low"], part["high"], f".{digits}f")


# ---------------------------------------------------------------- sparse subnetworks
RIVALS = ("full", "ffn", "lora", "ia3", "sparse-random")
MEASURES = {  # of the low-resource language; the higher, the better
    "perplexity": lambda point: -math.log(point["perplexity"][LOW_RESOURCE]),
    "translation": lambda point: float(np.mean([point["bleu"][pair] for pair in low_resource()])),
    "facts": lambda point: 100 * point["facts"][LOW_RESOURCE],
}


def on_both(function: Callable[[Study], Finding]) -> Callable[[Study, Study | None], Finding]:
    """The test of a claim that has to hold on both models: every part of each model's finding."""

    def test(study, second):
        if second is None:
            raise NotMeasured("a second architecture")
        models = (study, second)
        findings = [function(model) for model in models]
        parts = {}
        for model, finding in zip(models, findings):
            parts |= {f"{model.name}: {part}": met for part, met in finding.parts.items()}
        return Finding(
            "; ".join(finding.measured for finding in findings),
            parts,
            min(finding.seeds for finding in findings),
            "; ".join(finding.control for finding in findings if finding.control),
        )

    return test


def sparse_values(study: Study, method: str, value: Callable[[dict], float]) -> dict[int, float]:
    """{seed: value of the final point} of the runs on plain text."""
    return study.values("sparse", method, lambda run: value(final_point(run)))


def others(point: dict) -> dict:
    """A point without the low-resource language."""
    bleu = {pair: score for pair, score in point["bleu"].items() if pair not in low_resource()}
    measures = {"bleu": bleu}
    for name in ("perplexity", "facts"):
        measures[name] = {x: value for x, value in point[name].items() if x != LOW_RESOURCE}
    return measures


# ---------------------------------------------------------------- pruning
HALF = 0.5  # the sparsity at which calibration texts are compared


def recall(point: dict) -> float:
    """Facts recalled in the languages other than English, percent."""
    shares = [share for language, share in point["facts"].items() if language != "en"]
    return 100 * float(np.mean(shares))


def nats_lost(point: dict) -> float:
    """The mean over languages of plain text's loss, nats per token."""
    return float(np.mean([math.log(x) for x in point["perplexity"].values()]))


def pruned_values(
    study: Study, method: str, sparsity: float, value: Callable[[dict], float] = recall
) -> dict[int, float]:
    """{seed: value at a sparsity}."""
    return study.values("prune", method, lambda run: value(pruned(run)[sparsity]))
