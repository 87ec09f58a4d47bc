"""L1: do the same few layers change most in all directions?"""

from __future__ import annotations

from scipy.stats import spearmanr

from ..evidence import Claim, Finding
from .shared import AGREE, shown

SAME = 0.8  # a rank correlation that calls two orders "the same"
FEW = 2.0  # "change most": twice as much as the others


def same_layers(study, second):
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


CLAIM = Claim(
    id="L1",
    claim="a few layers change most, and the same for all pairs",
    paper="Fig. 4, 5: layers 6, 7 and the last ones of 30, for all directions",
    control="two measures that cannot cancel; shuffled layers",
    shown_in="01_which_layers.ipynb#Claim-L1:-are-the-blocks-the-same-for-all-directions?",
    rule="The rank correlation of the layers' change between directions is at least .8 on average, "
    "with its interval above shuffled layers; the k chosen layers change at least twice as much as "
    "the others, on held-out sentences; and the absolute change and the cosine, which cannot "
    "cancel, rank the layers alike (rank correlation with the signed change at least .5 each).",
    function=same_layers,
)
