"""P2: does pruning on translation features raise accuracy in other languages than English?"""

from __future__ import annotations

import numpy as np

from ..evidence import Claim, Finding, minus, superior
from ..forgetting import final_point
from ..specs import SPARSITIES
from .shared import HALF, pruned_values, recall


def pruning_helps(study, second):
    dense = recall(final_point(study.runs("prune", "zero-shot")[0]))
    scores = {
        sparsity: pruned_values(study, "wanda-translation", sparsity)
        for sparsity in SPARSITIES
        if sparsity <= HALF
    }
    means = {sparsity: np.mean([*values.values()]) for sparsity, values in scores.items()}
    best = max(means, key=means.get)
    to_dense = minus("the dense model", scores[best], dict.fromkeys(scores[best], dense))
    to_random = minus("random tokens", scores[best], pruned_values(study, "wanda-tokens", best))
    return Finding(
        f"recall {means[best]:.1f}% at the best sparsity {best:.0%}, dense {dense:.1f}%; minus "
        f"{to_dense}",
        superior([to_dense, to_random]),
        len(to_dense.values),
        f"minus {to_random}",
    )


CLAIM = Claim(
    id="P2",
    claim="keeping the weights on translation features and pruning the rest raises zero-shot "
    "accuracy in non-English",
    paper="said, of XNLI and MARC; we found no table",
    control="Wanda on random tokens",
    shown_in="08_pruning.ipynb#Does-it-help?",
    rule="At the best of 10 to 50% sparsity, picked on the same runs, which favours the claim: "
    "facts recalled in languages other than English, calibrated on translation demonstrations, "
    "minus the dense model, and minus Wanda on random tokens, have their intervals over "
    "calibration seeds above zero.",
    function=pruning_helps,
)
