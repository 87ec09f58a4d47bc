"""What lessons 07 and 08 measure of LAPE's sets and of large-magnitude features, once more with
intervals and controls: S1 and P1.

analyses_scores.py says what an interval is; analyses.py writes the files.
"""

from __future__ import annotations

import torch

from ...neighbours.features import (
    feature_magnitudes,
    monolingual_prompts,
    stand_out,
    top_overlap,
    translation_prompts,
)
from ...neighbours.lape import activation_counts, lape_from_counts
from ...neurons import NeuronSets, random_neurons
from ..lab import LAPE_SENTENCES, Lab
from .scores import BLOCKS, interval, plain, switched

TOP_RATE, LARGEST, PROMPTS = (
    0.05,
    0.3,
    20,
)  # arXiv 2510.13580; arXiv 2409.16911; prompts of a direction


def lape(lab: Lab) -> dict:
    """S1: does LAPE find neurons of one language, and in few layers? Top rate 5%; loss change when
    a set is off, nats per token."""
    size = min(LAPE_SENTENCES, len(lab.train)) // 2
    halves = [
        activation_counts(
            lab.base, lab.tokenizer, lab.train.select(range(start, start + size)), lab.languages
        )
        for start in (0, size)
    ]
    sets = lape_from_counts(halves[0] + halves[1], top_rate=TOP_RATE)
    first, second = (lape_from_counts(half, top_rate=TOP_RATE) for half in halves)
    counts = torch.tensor(
        [list(layers.values()) for layers in sets.counts()["specific"].values()]
    )  # (language, layer)
    return plain(
        {
            "top_rate": TOP_RATE,
            "sentences_read": 2 * size,
            "counts": dict(zip(sets.languages, counts)),
            "share_of_layers": counts.sum(dim=0).sort(descending=True).values.cumsum(0)
            / counts.sum(),
            "neurons_by_layer": counts.sum(dim=0),
            "control_equal": 1 / lab.n_layers,
            "agreement_of_halves": agreement_by_language(first, second),
            "control_random_halves": [
                agreement_by_language(first, random_neurons(second, seed)) for seed in range(BLOCKS)
            ],
            **switched(lab, sets),
        }
    )


def agreement_by_language(first: NeuronSets, second: NeuronSets) -> dict[str, float]:
    """Jaccard index of each language's neurons, all layers together."""

    def members(sets, language):
        return {
            (layer, neuron)
            for layer, found in sets.specific[language].items()
            for neuron in found.tolist()
        }

    both = {x: (members(first, x), members(second, x)) for x in first.languages}
    return {x: len(a & b) / max(1, len(a | b)) for x, (a, b) in both.items()}


def features(lab: Lab) -> dict:
    """P1: are some features large in translation and small in monolingual text? Top and bottom 30%
    of each block's features.

    Each of the blocks is a new draw of prompts. The control compares two draws of the same kind of
    prompts."""
    c, draws, n = lab.config.corpus, range(BLOCKS), max(1, min(PROMPTS, len(lab.train) // 8))

    def read(prompts):
        return feature_magnitudes(lab.base, lab.tokenizer, prompts)

    def translation(pair, seed):
        return read(translation_prompts(lab.train, pair, 4, n, seed, c.template))

    single = {
        pair: [translation(pair, seed) for seed in (*draws, *(seed + BLOCKS for seed in draws))]
        for pair in c.pairs
    }
    alone = {
        x: [read(monolingual_prompts(lab.train, x, 8, n, seed)) for seed in draws]
        for x in lab.languages
    }
    translated = [
        torch.stack([single[pair][seed] for pair in c.pairs]).mean(dim=0)
        for seed in range(2 * BLOCKS)
    ]
    mono = [torch.stack([alone[x][seed] for x in c.languages]).mean(dim=0) for seed in draws]

    def number(a, b):  # (layer,)
        return torch.tensor([len(found) for found in stand_out(a, b, LARGEST).values()])

    def own(pair, seed):  # the two languages of a direction, each for itself
        return torch.stack([alone[x][seed] for x in pair.split("-")]).mean(dim=0)

    def each(value):  # (block, …): one entry per draw of prompts
        return torch.stack([value(i) for i in draws]).double()

    def shared(a, b):  # (layer,)
        return top_overlap(a, b, LARGEST)[0]

    out, same = (
        each(lambda i: number(translated[i], mono[i])),
        each(lambda i: number(translated[i], translated[i + BLOCKS])),
    )
    d_model = translated[0].shape[1]
    return plain(
        {
            "largest": LARGEST,
            "prompts_per_direction": n,
            "d_model": d_model,
            "pairs": c.pairs,
            "stand_out": interval(out),
            "control_same": interval(same),
            "difference": interval((out - same).mean(dim=1)),
            "control_independent": LARGEST**2 * d_model,
            "overlap": interval(each(lambda i: shared(translated[i], mono[i]))),
            "control_overlap_same": interval(
                each(lambda i: shared(translated[i], translated[i + BLOCKS]))
            ),
            "control_overlap_random": LARGEST,
            "by_pair": {
                pair: each(lambda i, pair=pair: number(single[pair][i], own(pair, i))).mean(dim=0)
                for pair in c.pairs
            },
            "control_by_pair": {
                pair: each(
                    lambda i, pair=pair: number(single[pair][i], single[pair][i + BLOCKS])
                ).mean(dim=0)
                for pair in c.pairs
            },
        }
    )
