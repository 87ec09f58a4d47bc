"""S2: does tuning at most 1% of the weights beat other ways to tune on plain text?"""

from __future__ import annotations

from ..evidence import Claim, Finding, Study, minus, sides
from ..specs import LOW_RESOURCE
from .shared import MEASURES, RIVALS, on_both, sparse_values


@on_both
def sparse_wins(model: Study) -> Finding:
    differences = {}
    for name, measure in MEASURES.items():
        ours = sparse_values(model, "sparse", measure)
        differences[name] = [
            minus(rival, ours, sparse_values(model, rival, measure)) for rival in RIVALS
        ]
    parts = {
        f"better than {against[0].name} in all three": all(d.above for d in against)
        for against in zip(*differences.values())
    }
    return Finding(
        "; ".join(f"{model.name}, {name}: {sides(found)}" for name, found in differences.items()),
        parts,
        min(len(difference.values) for found in differences.values() for difference in found),
    )


CLAIM = Claim(
    id="S2",
    claim="tuning at most 1% of the weights beats full, FFN, LoRA, IA3 and random subsets on "
    f"{LOW_RESOURCE}",
    paper="said, for 12 languages and Llama-3.1-8B, Mistral-Nemo",
    control="as many random neurons of the same layers; equal tokens, own rate grids",
    shown_in="07_sparse_subnetworks.ipynb#Against-the-others",
    rule="On both models and against each of the five: lower perplexity, higher BLEU into and out "
    "of the language, and more facts recalled in it, each with its interval over seeds on that "
    "side of zero.",
    function=sparse_wins,
)
