"""L7, L8 and L14: LANDeRMT against the baselines and ablations of its tables.

L7 and L8 have no thresholds: an earlier and smaller study was known when the rules were written.
"""

from __future__ import annotations

from ..evidence import Claim, Finding, NotMeasured, bleu, if_measured, listed, sides, superior
from ..kinds import LANDER, low_resource
from ..paper import TABLE_1, TABLE_2, lead
from .router import at_equal_rates

BASELINES = ("full", "adapter", "lora", "adapter-lora", "zero-shot", "five-shot")  # Table 1
ABLATIONS = ("layers", "specific-only", "general-only")  # Table 2
CONTROLS = ("lander-none", "random")  # the rows that Table 2 lacks: no router; random neurons


def _beats_baselines(study, second):
    differences = [study.compare(LANDER, name) for name in BASELINES]
    measured = f"LANDeRMT minus {listed(differences)}"
    return Finding(measured, superior(differences))


L7 = Claim(
    id="L7",
    claim="LANDeRMT beats full tuning, adapter, LoRA, adapter-LoRA, zero-shot and in-context",
    paper=f"Table 1: {lead(TABLE_1, BASELINES)}",
    control="equal updates, data and size of learning-rate grid",
    shown_in="05_selective_finetuning.ipynb#Against-every-baseline",
    rule="LANDeRMT minus each of the six has both intervals above zero: Student's t over matched "
    "seeds, and paired bootstrap over test sentences.",
    function=_beats_baselines,
)


def _beats_ablations(study, second):
    ablations = [study.compare(LANDER, name) for name in ABLATIONS]
    controls = [study.compare(LANDER, name) for name in CONTROLS]
    rates = if_measured(lambda: at_equal_rates(study))
    return Finding(
        f"LANDeRMT minus {listed(ablations)}; minus no router at equal rates {rates}",
        superior([*ablations, *controls]),
        f"minus {listed(controls)}",
    )


L8 = Claim(
    id="L8",
    claim="general + specific + router beats layers, specific only and general only",
    paper=f"Table 2: {lead(TABLE_2, ABLATIONS)}",
    control="same neurons without a router; as many random neurons",
    shown_in="05_selective_finetuning.ipynb#Against-every-baseline",
    rule="LANDeRMT minus each of the three, and minus each of the two controls, has both intervals "
    "above zero, as in L7. Without the controls a win would show neither that the router nor that "
    "the choice of neurons causes it.",
    function=_beats_ablations,
)


def _holds_elsewhere(study, second):
    if second is None:
        raise NotMeasured("a second architecture")
    baselines, ablations, controls = (
        [second.compare(LANDER, name) for name in names]
        for names in (BASELINES, ABLATIONS, CONTROLS)
    )
    methods = dict.fromkeys(run["method"] for run in study.runs("low-resource"))
    low = [
        study.difference("low-resource", LANDER, name, lambda run: bleu(run, low_resource()))
        for name in methods
        if name != LANDER
    ]
    parts = [
        difference.part(f"{second.name}: better than {difference.name}")
        for difference in (*baselines, *ablations, *controls)
    ]
    parts += [d.part(f"low-resource: better than {d.name}") for d in low]
    return Finding(
        f"{second.name}: {sides([*baselines, *ablations])}. Low-resource: {listed(low)}",
        parts,
        sides(controls),
    )


L14 = Claim(
    id="L14",
    claim="it holds on a second architecture and for a low-resource language",
    paper="Fig. 9: Baichuan2, ahead of adapter-LoRA in 10 of 10 directions; no low-resource "
    "language",
    control="those of L8",
    shown_in="05_selective_finetuning.ipynb#The-second-architecture",
    rule="The parts of L7 and L8 on the second architecture; and on the two directions of the "
    "low-resource language, LANDeRMT minus each other method has its interval over seeds above "
    "zero.",
    function=_holds_elsewhere,
)


CLAIMS = [L7, L8, L14]
