"""L14: does it hold on a second architecture and for a low-resource language?"""

from __future__ import annotations

from ..evidence import Claim, Finding, NotMeasured, bleu, listed, sides
from ..specs import LANDER, low_resource
from .shared import ABLATIONS, BASELINES, CONTROLS


def holds_elsewhere(study, second):
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
    parts = {
        "L7 on the second architecture": all(d.above for d in baselines),
        "L8 on the second architecture": all(d.above for d in (*ablations, *controls)),
        "low-resource": all(d.above for d in low),
    }
    return Finding(
        f"{second.name}: {sides([*baselines, *ablations])}. Low-resource: {listed(low)}",
        parts,
        len(baselines[0].values),
        sides(controls),
    )


CLAIM = Claim(
    id="L14",
    claim="it holds on a second architecture and for a low-resource language",
    paper="Fig. 9: Baichuan2, ahead of adapter-LoRA in 10 of 10 directions; no low-resource "
    "language",
    control="those of L8",
    shown_in="05_selective_finetuning.ipynb#The-second-architecture",
    rule="L7 and L8 are reproduced on the second architecture by their own rules, and on the two "
    "directions of the low-resource language LANDeRMT minus each other method has its interval "
    "over seeds above zero.",
    function=holds_elsewhere,
)
