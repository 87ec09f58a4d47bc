"""L1: do the same few layers change in all directions?"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor

from ...layers import MEASURES, LayerScores, detect_layers
from ..lab import Lab
from .shared import Analysis, interval, rank_correlations, sentence_blocks, spread

SHUFFLES = 1000  # random orders of the layers


def _layers(lab: Lab) -> dict:
    config, scores = lab.config, lab.layers
    k, n = config.layers.k, lab.n_layers - 1
    blocks = [
        detect_layers(
            lab.base,
            lab.tokenizer,
            part,
            scores.pairs,
            k,
            template=config.corpus.template,
            progress=False,
        )
        for part in sentence_blocks(lab.valid, 100)
    ]
    sizes = {
        name: found.settings["n_sentences"]
        for name, found in (("study", scores), ("block", blocks[0]))
    }
    generator = np.random.default_rng(0)
    chance = overlap_by_chance(generator, len(scores.pairs), n, k)
    return {
        "k": k,
        "layers": list(range(1, lab.n_layers)),
        "pairs": scores.pairs,
        "blocks": len(blocks),
        "sentences": sizes,
        "measures": {
            name: compared(scores, blocks, measure, k, generator, chance)
            for name, measure in MEASURES.items()
        },
    }


def overlap_by_chance(generator, pairs: int, n: int, k: int) -> np.ndarray:
    """The share of k of n layers that k random ones hit, mean over pairs, [shuffle]."""
    hits = [
        [(generator.permutation(n)[:k] < k).sum() for _ in range(pairs)] for _ in range(SHUFFLES)
    ]
    return np.mean(hits, axis=1) / k


def compared(
    scores: LayerScores,
    blocks: list[LayerScores],
    measure: str,
    k: int,
    generator: np.random.Generator,
    chance: np.ndarray,
) -> dict:
    """How alike the directions are by one measure of change. scores: on the study's sentences;
    blocks: on held-out ones."""
    change = getattr(scores, measure)  # [pair, layer]
    held_out = torch.stack([getattr(block, measure) for block in blocks])  # [block, pair, layer]
    top, top_by_pair = scores.top(k, measure), scores.per_pair(k, measure)
    columns = [layer - 1 for layer in top]

    def shared(chosen):
        return len(set(chosen) & set(top)) / k

    def mean_shared(block):
        return np.mean([shared(chosen) for chosen in block.per_pair(k, measure).values()])

    def shuffled():
        return rank_correlations(generator.permuted(change.numpy(), axis=1)).mean()

    return {
        "change": dict(zip(scores.pairs, change)),
        "pooled": change.mean(dim=0),
        "top": top,
        "top_by_pair": top_by_pair,
        "rank_correlation": {
            "mean": rank_correlations(change).mean(),
            "min": rank_correlations(change).min(),
            "held_out": interval([rank_correlations(block).mean() for block in held_out]),
            "same_pair_other_sentences": same_pair(held_out),
            "control_shuffled": spread([shuffled() for _ in range(SHUFFLES)]),
        },
        "overlap_with_pooled": {
            "mean": mean_shared(scores),
            "by_pair": {pair: shared(chosen) for pair, chosen in top_by_pair.items()},
            "held_out": interval([mean_shared(block) for block in blocks]),
            "control_random": spread(chance),
        },
        "same_choice_held_out": interval([shared(block.top(k, measure)) for block in blocks]),
        "share_of_change": {
            "held_out": interval((held_out[..., columns].sum(-1) / held_out.sum(-1)).mean(-1)),
            "control_uniform": k / change.shape[1],
        },
    }


def same_pair(held_out: Tensor) -> float:
    """Rank correlation of a direction's changes on two blocks [block, pair, layer], mean over all
    pairs of blocks and all directions."""
    correlations = [
        spearmanr(first, second).statistic
        for block, another in combinations(held_out, 2)
        for first, second in zip(block, another)
    ]
    return float(np.mean(correlations))


ANALYSIS = Analysis(
    "layers",
    "L1: do the same few layers change in all pairs? D (eq. 1) of the study's sentences, and of "
    "blocks of held-out ones.",
    _layers,
)
