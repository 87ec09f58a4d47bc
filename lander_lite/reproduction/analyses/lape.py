"""S1: does LAPE find neurons of one language, and in few layers?"""

from __future__ import annotations

import torch

from ...neighbours.families import agreement_by_language
from ...neighbours.lape import activation_counts, lape_from_counts
from ...neurons import random_neurons
from ..lab import LAPE_SENTENCES, Lab
from .shared import BLOCKS, Analysis
from .switching import loss_changes

TOP_RATE = 0.05  # arXiv 2510.13580


def _lape(lab: Lab) -> dict:
    size = min(LAPE_SENTENCES, len(lab.train)) // 2
    parts = [lab.train.select(range(start, start + size)) for start in (0, size)]
    halves = [activation_counts(lab.base, lab.tokenizer, part, lab.languages) for part in parts]
    sets = lape_from_counts(halves[0] + halves[1], top_rate=TOP_RATE)
    first, second = (lape_from_counts(half, top_rate=TOP_RATE) for half in halves)
    by_layer = [list(layers.values()) for layers in sets.counts()["specific"].values()]
    counts = torch.tensor(by_layer)  # [language, layer]
    total = counts.sum(dim=0)
    random = [random_neurons(second, seed) for seed in range(BLOCKS)]
    return {
        "top_rate": TOP_RATE,
        "sentences_read": 2 * size,
        "counts": dict(zip(sets.languages, counts)),
        "share_of_layers": total.sort(descending=True).values.cumsum(0) / total.sum(),
        "neurons_by_layer": total,
        "control_equal": 1 / lab.n_layers,
        "agreement_of_halves": agreement_by_language(first, second),
        "control_random_halves": [agreement_by_language(first, draw) for draw in random],
        **loss_changes(lab, sets),
    }


ANALYSIS = Analysis(
    "lape",
    "S1: does LAPE find neurons of one language, and in few layers? Top rate 5%; loss change when "
    "a set is off, nats per token.",
    _lape,
)
