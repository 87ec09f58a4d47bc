"""S1: does LAPE find neurons of one language, and in few layers?"""

from __future__ import annotations

import numpy as np

from ..evidence import Claim, Finding, Study
from .shared import on_both, shown


@on_both
def finds_language_neurons(model: Study) -> Finding:
    lape = model.analysis("lape")
    to_others, to_random = lape["own_minus_others"], lape["own_minus_random"]
    shares = lape["share_of_layers"]
    quarter = shares[len(shares) // 4 - 1]
    agreement = np.mean([*lape["agreement_of_halves"].values()])
    by_chance = np.mean([np.mean([*draw.values()]) for draw in lape["control_random_halves"]])
    parts = {
        "own language most": to_others["low"] > 0,
        "more than random neurons": to_random["low"] > 0,
        "half in a quarter of the layers": quarter >= 0.5,
    }
    return Finding(
        f"{model.name}: own minus other languages {shown(to_others)} nats, a quarter of the "
        f"layers holds {quarter:.0%}, two halves of the text agree by {agreement:.2f}",
        parts,
        to_others["n"],
        f"{model.name}: own minus random {shown(to_random)} nats, agreement by chance "
        f"{by_chance:.2f}",
    )


CLAIM = Claim(
    id="S1",
    claim="LAPE finds language neurons, mostly in few layers",
    paper="LAPE's published sets of BLOOM-7b1 lie almost wholly in the last ten of thirty layers",
    control="random sets of equal size; equal share of the layers",
    shown_in="07_sparse_subnetworks.ipynb#Where-do-they-lie?",
    rule="On both models: switching a language's neurons off costs that language more than the "
    "others, and more than random neurons (intervals above zero), and a quarter of the layers "
    "holds at least half of the neurons.",
    function=finds_language_neurons,
)
