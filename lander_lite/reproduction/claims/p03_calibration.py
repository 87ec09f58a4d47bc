"""P3: does the calibration text matter?"""

from __future__ import annotations

from ..evidence import Claim, Finding, listed, minus, superior
from .shared import HALF, nats_lost, pruned_values, recall

TEXTS = ("wanda-monolingual", "wanda-english", "wanda-tokens")


def text_matters(study, second):
    def values(method, value=recall):
        return pruned_values(study, method, HALF, value)

    ours, our_nats = values("wanda-translation"), values("wanda-translation", nats_lost)
    facts = [minus(text, ours, values(text)) for text in TEXTS]
    nats = [minus(text, values(text, nats_lost), our_nats) for text in TEXTS]
    controls = []
    for name in ("magnitude", "random-weights"):
        other = values(name)  # a method without a draw was run once
        other = other if len(other) > 1 else dict.fromkeys(ours, other[0])
        controls.append(minus(name, ours, other))
    return Finding(
        f"recall in points, minus {listed(facts)}; nats of plain text kept beyond "
        f"{'; '.join(f'{d.name} {d.shown(2)}' for d in nats)}",
        superior(facts),
        len(facts[0].values),
        f"minus {listed(controls)}",
    )


CLAIM = Claim(
    id="P3",
    claim="the calibration text matters: translations are the better one",
    paper="said; ablations: random pruning, dropping the largest",
    control="magnitude and random pruning",
    shown_in="08_pruning.ipynb#Does-the-calibration-text-matter?",
    rule="At 50% sparsity, Wanda on translations recalls more facts in languages other than "
    "English than Wanda on monolingual, English and random text (intervals over calibration seeds "
    "above zero). Plain text is told beside it.",
    function=text_matters,
)
