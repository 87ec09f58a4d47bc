"""L2: is a small number of layers the best one?"""

from __future__ import annotations

import numpy as np

from ..evidence import Claim, Finding, minus
from ..specs import LANDER


def few_layers(study, second):
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


CLAIM = Claim(
    id="L2",
    claim="quality peaks at a small number of layers k",
    paper="Fig. 10: best k = 4 of 30 (23.09; all layers 22.46)",
    control="as many random layers",
    shown_in="01_which_layers.ipynb#The-stored-sweep:-k-from-1-to-all",
    rule="The best k is at most half of the layers; best k minus all layers has its interval over "
    "seeds above zero; so has RA's layers minus random layers at that k. The best k is picked on "
    "the same runs, which favours the claim.",
    function=few_layers,
)
