"""L7: does LANDeRMT beat the baselines of Table 1?

An earlier and smaller study was known when the rule was written; so it has no threshold."""

from __future__ import annotations

from ..evidence import Claim, Finding, listed, superior
from ..paper import TABLE_1, lead
from ..specs import LANDER
from .shared import BASELINES


def beats_baselines(study, second):
    differences = [study.compare(LANDER, name) for name in BASELINES]
    measured = f"LANDeRMT minus {listed(differences)}"
    return Finding(measured, superior(differences), len(differences[0].values))


CLAIM = Claim(
    id="L7",
    claim="LANDeRMT beats full tuning, adapter, LoRA, adapter-LoRA, zero-shot and in-context",
    paper=f"Table 1: {lead(TABLE_1, BASELINES)}",
    control="equal updates, data and size of learning-rate grid",
    shown_in="05_selective_finetuning.ipynb#Against-every-baseline",
    rule="LANDeRMT minus each of the six has both intervals above zero: Student's t over matched "
    "seeds, and paired bootstrap over test sentences.",
    function=beats_baselines,
)
