"""L8: does LANDeRMT beat its ablations, those of Table 2 and those that the table lacks?

An earlier and smaller study was known when the rule was written; so it has no threshold."""

from __future__ import annotations

from ..evidence import Claim, Finding, listed, superior
from ..paper import TABLE_2, lead
from ..specs import LANDER
from .shared import ABLATIONS, CONTROLS


def beats_ablations(study, second):
    ablations = [study.compare(LANDER, name) for name in ABLATIONS]
    controls = [study.compare(LANDER, name) for name in CONTROLS]
    return Finding(
        f"LANDeRMT minus {listed(ablations)}",
        superior([*ablations, *controls]),
        len(ablations[0].values),
        f"minus {listed(controls)}",
    )


CLAIM = Claim(
    id="L8",
    claim="general + specific + router beats layers, specific only and general only",
    paper=f"Table 2: {lead(TABLE_2, ABLATIONS)}",
    control="same neurons without a router; as many random neurons",
    shown_in="05_selective_finetuning.ipynb#Against-every-baseline",
    rule="LANDeRMT minus each of the three, and minus each of the two controls, has both intervals "
    "above zero, as in L7. Without the controls a win would show neither that the router nor that "
    "the choice of neurons causes it.",
    function=beats_ablations,
)
