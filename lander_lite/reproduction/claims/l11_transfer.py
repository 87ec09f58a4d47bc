"""L11: does tuning one direction help the others?"""

from __future__ import annotations

import numpy as np

from ..evidence import Claim, Finding, minus
from ..forgetting import direction_masks, group_means, matrices
from ..specs import LANDER


def helps_others(study, second):
    runs = study.runs("matrix")
    pairs = [*study.runs("matrix", "zero-shot")[0]["pairs"]]

    def complete(method):
        """The matrices without a missing run, [seed, trained, measured]."""
        found = matrices(runs, method, pairs)
        return found[~np.isnan(found).any(axis=(1, 2))]

    def change(name, found):
        means = group_means(found, pairs)["others"] if len(found) else ()
        return minus(name, dict(enumerate(means)))

    ours = complete(LANDER)
    moved, full = change("the other directions", ours), change("full tuning", complete("full"))
    share = np.mean(ours[:, direction_masks(pairs)["others"]] > 0)
    return Finding(
        f"{moved}; {share:.0%} of the cells gain",
        {"mean change above zero": moved.above},
        len(moved.values),
        full.text,
    )


CLAIM = Claim(
    id="L11",
    claim="tuning one pair also helps others",
    paper="Fig. 3: of 20 other directions into English 16 gain, mean +2.6",
    control="full tuning on the same pair",
    shown_in="06_forgetting.ipynb#The-stored-study:-one-direction-trained,-all-measured",
    rule="The mean BLEU change of the directions that were not trained, over all trained "
    "directions, has its interval over seeds above zero.",
    function=helps_others,
)
