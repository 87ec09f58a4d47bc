"""L1 and L2: the layers that matter for translation."""

from __future__ import annotations

import numpy as np
from scipy.stats import pearsonr, rankdata

from ..evidence import Claim, Finding, minus, shown
from ..kinds import LANDER
from ..paper import FIG_10
from ..verdicts import UNITS, Part, interval_part

AGREE = 0.5  # a rank correlation that calls two orders of the layers alike
SAME = 0.8  # a rank correlation that calls two orders "the same"
FEW = 2.0  # "change most": twice as much as the others


def _same_layers(study, second):
    layers = study.analysis("layers")
    k, n, signed = layers["k"], len(layers["layers"]), layers["measures"]["signed"]
    correlation, share = signed["rank_correlation"], signed["share_of_change"]["held_out"]
    shuffled = correlation["control_shuffled"]["high"]
    held_out, same = correlation["held_out"], "the same for all directions"
    ratio = share["mean"] / k / ((1 - share["mean"]) / (n - k))
    twice = FEW * k / (n - k + FEW * k)  # the share that k layers hold at this ratio
    parts = [
        interval_part(same, held_out, bound=SAME, margin=0),
        interval_part("more than by chance", held_out, bound=shuffled),
        interval_part("chosen layers change twice as much", share, bound=twice, margin=0),
    ]
    alike = {}
    for name in ("absolute", "cosine"):
        ranks = [rankdata(layers["measures"][x]["pooled"]) for x in ("signed", name)]
        found = pearsonr(*ranks)  # Spearman's, with Fisher's interval
        alike[name], ends = float(found.statistic), found.confidence_interval()
        interval = (float(ends.low), float(ends.high))
        parts.append(Part(f"alike by {name}", alike[name], interval, n, "layers", "", AGREE, 0.0))
    return Finding(
        f"rank correlation between directions {correlation['mean']:.2f}, held out "
        f"{shown(correlation['held_out'])}; layers {', '.join(map(str, signed['top']))} hold "
        f"{share['mean']:.0%} of the change, {ratio:.1f} times the others'",
        parts,
        f"rank correlation with absolute change {alike['absolute']:.2f}, with cosine "
        f"{alike['cosine']:.2f}; shuffled layers at most {shuffled:.2f}",
    )


L1 = Claim(
    id="L1",
    claim="a few layers change most, and the same for all pairs",
    paper="Fig. 4, 5: layers 6, 7 and the last ones of 30, for all directions",
    control="two measures that cannot cancel; shuffled layers",
    shown_in="01_which_layers.ipynb#Claim-L1:-are-the-blocks-the-same-for-all-directions?",
    rule="On held-out sentences, the rank correlation of the layers' change between directions is "
    "above .8, and above that of shuffled layers; the k chosen layers change more than twice as "
    "much as the others; and the absolute change and the cosine, which cannot cancel, rank the "
    "layers alike (rank correlation with the signed change above .5 each, Fisher's interval: with "
    "seven layers, from .91 on).",
    function=_same_layers,
)


def _few_layers(study, second):
    def values(k, where="selected"):
        return study.values("k", LANDER, k=k, where=where)

    numbers = {run["settings"]["k"] for run in study.runs("k", LANDER, where="selected")}
    scores = {k: values(k) for k in sorted(numbers)}
    n, means = max(scores), {k: np.mean([*x.values()]) for k, x in scores.items()}
    few = max((k for k in scores if k <= n // 2), key=means.get)
    many = max((k for k in scores if k > n // 2), key=means.get)
    to_many, to_all = (minus(f"{k} layers", scores[few], scores[k]) for k in (many, n))
    to_random = minus("random layers", scores[few], values(few, "random"))
    effect = min(UNITS["BLEU"].margin, FIG_10[4] - FIG_10[30])
    return Finding(
        f"best k = {max(means, key=means.get)} of {n}; k = {few}, the best up to {n // 2}, minus "
        f"{to_many} (the best above) and minus all {to_all}",
        [
            to_many.part("better than each larger k", margin=effect),
            to_all.part("better than all layers", margin=effect),
            to_random.part(),
        ],
        f"k = {few} minus these {to_random.text}",
    )


L2 = Claim(
    id="L2",
    claim="quality peaks at a small number of layers k",
    paper="Fig. 10: best k = 4 of 30 (23.09; all layers 22.46)",
    control="as many random layers",
    shown_in="01_which_layers.ipynb#The-stored-sweep:-k-from-1-to-all",
    rule="The best k up to half of the layers minus the best k above, and minus all layers, has "
    "its interval over seeds above zero; so have RA's layers minus random layers at that k. Margin "
    "of the first two: .63 BLEU, the paper's own effect. Both k are picked on the same runs.",
    function=_few_layers,
)


CLAIMS = [L1, L2]
