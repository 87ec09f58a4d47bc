"""P1: are some features large in translation and small in monolingual text?

Each of the blocks is a new draw of prompts. The control compares two draws of the same kind of
prompts.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...neighbours.features import (
    feature_magnitudes,
    monolingual_prompts,
    stand_out,
    top_overlap,
    translation_prompts,
)
from ..lab import Lab
from .shared import BLOCKS, Analysis, interval

LARGEST = 0.3  # of a block's features; arXiv 2409.16911
PROMPTS = 20  # of a direction


def _features(lab: Lab) -> dict:
    config = lab.config.corpus
    by_pair = {  # [draw, layer, feature]; the second half are draws for the control
        pair: torch.stack([of_pair(lab, pair, seed) for seed in range(2 * BLOCKS)])
        for pair in config.pairs
    }
    by_language = {
        language: torch.stack([of_language(lab, language, seed) for seed in range(BLOCKS)])
        for language in lab.languages
    }
    both = torch.stack([*by_pair.values()]).mean(dim=0)
    translation, again = both[:BLOCKS], both[BLOCKS:]
    monolingual = torch.stack([by_language[x] for x in config.languages]).mean(dim=0)
    number, number_again = (
        compared(standing_out, translation, monolingual),
        compared(standing_out, translation, again),
    )
    return {
        "largest": LARGEST,
        "prompts_per_direction": prompts(lab),
        "d_model": translation.shape[-1],
        "pairs": config.pairs,
        "stand_out": interval(number),
        "control_same": interval(number_again),
        "difference": interval((number - number_again).mean(dim=1)),
        "control_independent": LARGEST**2 * translation.shape[-1],
        "overlap": interval(compared(overlap, translation, monolingual)),
        "control_overlap_same": interval(compared(overlap, translation, again)),
        "control_overlap_random": LARGEST,
        "by_pair": {
            pair: compared(standing_out, x[:BLOCKS], of_both_languages(by_language, pair)).mean(
                dim=0
            )
            for pair, x in by_pair.items()
        },
        "control_by_pair": {
            pair: compared(standing_out, x[:BLOCKS], x[BLOCKS:]).mean(dim=0)
            for pair, x in by_pair.items()
        },
    }


def prompts(lab: Lab) -> int:
    """How many prompts a draw has of a direction or a language."""
    return max(1, min(PROMPTS, len(lab.train) // 8))


def of_pair(lab: Lab, pair: str, seed: int) -> Tensor:
    """`feature_magnitudes` of a draw of a direction's translation prompts, [layer, feature]."""
    template = lab.config.corpus.template
    drawn = translation_prompts(lab.train, pair, 4, prompts(lab), seed, template)
    return feature_magnitudes(lab.base, lab.tokenizer, drawn)


def of_language(lab: Lab, language: str, seed: int) -> Tensor:
    """The same of a draw of one language's text."""
    drawn = monolingual_prompts(lab.train, language, 8, prompts(lab), seed)
    return feature_magnitudes(lab.base, lab.tokenizer, drawn)


def of_both_languages(by_language: dict[str, Tensor], pair: str) -> Tensor:
    """The two languages of a direction, each for itself: the mean of their features."""
    return torch.stack([by_language[language] for language in pair.split("-")]).mean(dim=0)


def compared(measure: Callable, first: Tensor, second: Tensor) -> Tensor:
    """A measure of two draws, draw by draw: float64 [draw, layer]."""
    return torch.stack([measure(a, b) for a, b in zip(first, second)]).double()


def standing_out(first: Tensor, second: Tensor) -> Tensor:
    """How many features stand out in the first and not in the second, [layer]."""
    return torch.tensor([len(found) for found in stand_out(first, second, LARGEST).values()])


def overlap(first: Tensor, second: Tensor) -> Tensor:
    """The share of the largest features that are the largest in both, [layer]."""
    return top_overlap(first, second, LARGEST)[0]


ANALYSIS = Analysis(
    "features",
    "P1: are some features large in translation and small in monolingual text? Top and bottom 30% "
    "of each block's features.",
    _features,
)
