"""L1 and L2: the layers that matter for translation."""

from __future__ import annotations

import numpy as np
from scipy.stats import spearmanr

from ..evidence import Claim, Finding, minus, shown
from ..specs import LANDER

AGREE = 0.5  # a rank correlation that calls two orders of the layers alike
SAME = 0.8  # a rank correlation that calls two orders "the same"
FEW = 2.0  # "change most": twice as much as the others


def _same_layers(study, second):
    layers = study.analysis("layers")
    k, n, signed = layers["k"], len(layers["layers"]), layers["measures"]["signed"]
    correlation, share = signed["rank_correlation"], signed["share_of_change"]["held_out"]
    shuffled = correlation["control_shuffled"]["high"]
    ratio = share["mean"] / k / ((1 - share["mean"]) / (n - k))
    alike = {}
    for name in ("absolute", "cosine"):
        pooled = layers["measures"][name]["pooled"]
        alike[name] = float(spearmanr(signed["pooled"], pooled).statistic)
    parts = {
        "the same for all directions": correlation["mean"] >= SAME,
        "more than by chance": correlation["held_out"]["low"] > shuffled,
        "chosen layers change twice as much": ratio >= FEW,
    } | {f"alike by {name}": value >= AGREE for name, value in alike.items()}
    return Finding(
        f"rank correlation between directions {correlation['mean']:.2f}, held out "
        f"{shown(correlation['held_out'])}; layers {', '.join(map(str, signed['top']))} hold "
        f"{share['mean']:.0%} of the change, {ratio:.1f} times the others'",
        parts,
        share["n"],
        f"rank correlation with absolute change {alike['absolute']:.2f}, with cosine "
        f"{alike['cosine']:.2f}; shuffled layers at most {shuffled:.2f}",
    )


L1 = Claim(
    id="L1",
    claim="a few layers change most, and the same for all pairs",
    paper="Fig. 4, 5: layers 6, 7 and the last ones of 30, for all directions",
    control="two measures that cannot cancel; shuffled layers",
    shown_in="01_which_layers.ipynb#Claim-L1:-are-the-blocks-the-same-for-all-directions?",
    rule="The rank correlation of the layers' change between directions is at least .8 on average, "
    "with its interval above shuffled layers; the k chosen layers change at least twice as much as "
    "the others, on held-out sentences; and the absolute change and the cosine, which cannot "
    "cancel, rank the layers alike (rank correlation with the signed change at least .5 each).",
    function=_same_layers,
)


def _few_layers(study, second):
    def values(k, where="selected"):
        return study.values("k", LANDER, k=k, where=where)

    numbers = {run["settings"]["k"] for run in study.runs("k", LANDER, where="selected")}
    scores = {k: values(k) for k in sorted(numbers)}
    n, best = max(scores), max(scores, key=lambda k: np.mean([*scores[k].values()]))
    to_all, to_random = minus(f"all {n}", scores[best], scores[n]), None
    if best < n:
        to_random = minus("random layers", scores[best], values(best, "random"))
    parts = {
        f"best k at most {n // 2}": best <= n // 2,
        "better than all layers": to_all.above,
        "better than random layers": to_random is not None and to_random.above,
    }
    return Finding(
        f"best k = {best} of {n}; minus {to_all}",
        parts,
        len(to_all.values),
        f"best k minus these {to_random.text}" if to_random else "",
    )


L2 = Claim(
    id="L2",
    claim="quality peaks at a small number of layers k",
    paper="Fig. 10: best k = 4 of 30 (23.09; all layers 22.46)",
    control="as many random layers",
    shown_in="01_which_layers.ipynb#The-stored-sweep:-k-from-1-to-all",
    rule="The best k is at most half of the layers; best k minus all layers has its interval over "
    "seeds above zero; so has RA's layers minus random layers at that k. The best k is picked on "
    "the same runs, which favours the claim.",
    function=_few_layers,
)


CLAIMS = [L1, L2]
