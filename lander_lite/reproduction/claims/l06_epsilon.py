"""L6: is ε = .9 the best share of general neurons?"""

from __future__ import annotations

import numpy as np

from ..evidence import Claim, Finding, listed, minus, superior
from ..specs import EPSILONS, LANDER


def epsilon(study, second):
    scores = {value: study.values("epsilon", LANDER, epsilon=value) for value in EPSILONS}
    means = {value: np.mean([*bleu.values()]) for value, bleu in scores.items()}
    near = [minus(f"{value:g}", scores[0.9], scores[value]) for value in (0.85, 0.95)]
    table = ", ".join(f"{value:g}: {mean:.1f}" for value, mean in means.items())
    return Finding(
        f"BLEU {table}. ε = .9 minus {listed(near)}",
        {"highest mean": max(means, key=means.get) == 0.9} | superior(near),
        len(near[0].values),
    )


CLAIM = Claim(
    id="L6",
    claim="ε = .9 is best",
    paper="Fig. 11: 22.85 at .85, 23.09 at .90, 22.52 at .95",
    control="equal updates",
    shown_in="03_general_or_specific.ipynb#The-stored-sweep:-translate-with-each-ε",
    rule=".9 has the highest mean of the five, and its differences from both neighbours, .85 and "
    ".95, have their intervals over seeds above zero.",
    function=epsilon,
)
