"""S3: does tuning a language's own neurons forget less than full tuning?"""

from __future__ import annotations

import numpy as np

from ..evidence import Claim, Finding, Study, minus
from ..forgetting import MEASURES, change, final_point
from .shared import on_both, others, sparse_values

KEPT = 0.9  # of the base model's BLEU: what is lost beyond a tenth is "catastrophic"


@on_both
def sparse_keeps(model: Study) -> Finding:
    before = others(final_point(model.runs("sparse", "zero-shot")[0]))
    bleu_before = float(np.mean([*before["bleu"].values()]))

    def lost(method, measure):
        return sparse_values(model, method, lambda p: change(others(p), before, [])[measure])

    lost_bleu = minus("", lost("sparse", "bleu"))
    gaps = {name: minus("full", lost("full", name), lost("sparse", name)) for name in MEASURES}
    parts = {"BLEU kept": lost_bleu.interval[1] < (1 - KEPT) * bleu_before}
    parts |= {f"less {name} lost than by full tuning": d.above for name, d in gaps.items()}
    return Finding(
        f"{model.name}: lost {lost_bleu.text} of {bleu_before:.1f} BLEU; full tuning's losses "
        f"minus these {gaps['bleu'].text} BLEU, {gaps['perplexity'].shown(2)} nats, "
        f"{gaps['facts'].text} points of facts",
        parts,
        len(lost_bleu.values),
        f"{model.name}: random neurons lose {minus('', lost('sparse-random', 'bleu')).text} BLEU",
    )


CLAIM = Claim(
    id="S3",
    claim="without catastrophic forgetting",
    paper="said, of MMLU, HellaSwag, PIQA, WinoGrande, ARC",
    control="full tuning; random neurons",
    shown_in="07_sparse_subnetworks.ipynb#What-was-lost-elsewhere?",
    rule="On both models: the ten directions without the language keep nine tenths of the base "
    "model's BLEU (interval), and full tuning loses more BLEU, more in the other languages' "
    "perplexity and more of their facts (intervals over seeds above zero).",
    function=sparse_keeps,
)
