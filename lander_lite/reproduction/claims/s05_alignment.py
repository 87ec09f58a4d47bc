"""S5: do translations look more alike after tuning?"""

from __future__ import annotations

import numpy as np

from ..evidence import Claim, Finding, Study, minus
from .shared import on_both


@on_both
def aligns(model: Study) -> Finding:
    before = model.runs("sparse", "zero-shot")[0]["alignment"]

    def rise(method, measure):
        def value(run):
            return float(np.mean(run["alignment"][measure]) - np.mean(before[measure]))

        return minus(method, model.values("sparse", method, value))

    cosine, cka = rise("sparse", "difference"), rise("sparse", "cka")
    controls = (rise(method, "difference") for method in ("sparse-random", "full"))
    return Finding(
        f"{model.name}: cosine {cosine.shown(3)}, CKA {cka.shown(3)}",
        {"cosine": cosine.above, "CKA": cka.above},
        len(cosine.values),
        f"{model.name}, cosine: {', '.join(f'{d.name} {d.shown(3)}' for d in controls)}",
    )


CLAIM = Claim(
    id="S5",
    claim="cross-lingual alignment improves",
    paper="said; the code is not there",
    control="random neurons; full tuning",
    shown_in="07_sparse_subnetworks.ipynb#Do-translations-look-more-alike?",
    rule="On both models: parallel minus random cosine of the language with English, and linear "
    "CKA, mean over layers, rise from the base model to the tuned one (intervals over seeds above "
    "zero).",
    function=aligns,
)
