"""L3: does the score rank neurons as their removal does? One by one in all layers; then tenths of
the selected layers together."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor

from ...ablation import exact_ablation
from ...awareness import score_awareness
from ...evaluation import perplexity
from ...neurons import NeuronSets
from ...probes.switching import switched_off
from ...probes.tokens import mean_activation
from ...prompts import texts
from ..lab import Lab
from .shared import SEEDS, SENTENCES, Analysis, by_language, interval, sentence_blocks

SAMPLE = 32  # neurons per layer of a draw of exact ablation
ABLATED = 8  # sentences per language of such a draw
OF_LARGE = (8, 2)  # the two numbers for a model of more than LARGE weights: hours become minutes
LARGE = 50_000_000
NAMES = ("awareness", "awareness_of_other_sentences", "control_activation", "control_random")


def _ablation(lab: Lab) -> dict:
    generator = torch.Generator().manual_seed(0)
    sample, ablated = sizes(lab)
    correlations, ratios = single_neurons(lab, generator)
    awareness, _, activations, _ = correlations
    single = {
        name: interval(x.nanmean(dim=(1, 2)))
        | {
            "lowest": x.nanmean(dim=0).min(),
            "by_layer": x.nanmean(dim=(0, 1)),
            "by_language": dict(zip(lab.languages, x.nanmean(dim=(0, 2)))),
        }
        for name, x in zip(NAMES, correlations)
    }
    return {
        "languages": lab.languages,
        "draws": len(awareness),
        "neurons": min(sample, lab.scores.values.shape[-1]),
        "sentences": len(sentence_blocks(lab.valid, ablated)[0]),
        "rank_correlation_with_exact": single,
        "beats_activation": interval((awareness > activations).double().mean(dim=(1, 2))),
        "estimate_over_exact": interval(ratios),
        "tenths": removed_tenths(lab, generator),
    }


def sizes(lab: Lab) -> tuple[int, int]:
    """(neurons per layer, sentences per language) of a draw of exact ablation."""
    return OF_LARGE if is_large(lab) else (SAMPLE, ABLATED)


def is_large(lab: Lab) -> bool:
    """The model has more than LARGE weights."""
    return sum(p.numel() for p in lab.base.parameters()) > LARGE


def single_neurons(lab: Lab, generator: torch.Generator) -> tuple[Tensor, list[Tensor]]:
    """(rank correlation of each of the NAMES with exact ablation [score, draw, language, layer],
    sum of the estimates over sum of the exact changes per draw)."""
    n, d_ff = lab.n_layers, lab.scores.values.shape[-1]
    sample, ablated = sizes(lab)
    model = copy.deepcopy(lab.base).float()  # one neuron changes less than bfloat16 can tell
    correlations, ratios = [], []
    for part in sentence_blocks(lab.valid, ablated)[:SEEDS]:
        estimate = score_awareness(
            model, lab.tokenizer, part, lab.languages, range(n), progress=False
        ).values
        draws = [torch.randperm(d_ff, generator=generator)[:sample] for _ in range(n)]
        neurons = torch.stack(draws)  # [layer, neuron]
        exact = removed(lab, model, part, neurons)
        activations = activation(lab, part)
        random = torch.rand(activations.shape, generator=generator)
        scores = [
            values.gather(-1, neurons.expand(len(values), -1, -1))
            for values in (estimate, lab.scores.values, activations, random)
        ]
        correlations.append([by_place(score, exact) for score in scores])
        ratios.append(scores[0].sum() / exact.sum())
    return torch.tensor(np.array(correlations)).transpose(0, 1), ratios


def removed(lab: Lab, model, part, neurons: Tensor) -> Tensor:
    """The loss change when a neuron is removed, [language, layer, neuron]. neurons: [layer,
    neuron]."""
    changes = [
        exact_ablation(model, lab.tokenizer, part, language, layer, chosen, neurons_per_pass=16)
        for language in lab.languages
        for layer, chosen in enumerate(neurons)
    ]
    return torch.stack(changes).reshape(len(lab.languages), *neurons.shape)


def by_place(scores: Tensor, exact: Tensor) -> list[list[float]]:
    """Rank correlation over neurons of two [language, layer, neuron], [language, layer]."""
    return [
        [spearmanr(score, change).statistic for score, change in zip(*layers)]
        for layers in zip(scores, exact)
    ]


def activation(lab: Lab, part) -> Tensor:
    """Mean |h| over tokens, [language, layer, d_ff]: the score without the gradient."""
    sentences = by_language(part, lab.languages).values()
    means = [mean_activation(lab.base, lab.tokenizer, x, range(lab.n_layers)) for x in sentences]
    return torch.stack(means)


def removed_tenths(lab: Lab, generator: torch.Generator) -> dict:
    """Loss change (nats per token) when one tenth of the selected layers' neurons is off, by score;
    tenth 1 has the highest scores."""
    layers, languages = lab.choose_layers(), lab.languages
    blocks = sentence_blocks(lab.valid, SENTENCES // 2)
    scores = scores_of(lab, layers, generator)
    before = torch.stack([losses(lab, blocks, language) for language in languages], dim=-1)
    changes = {
        name: losses_without_tenths(lab, blocks, layers, values) - before[..., None]
        for name, values in scores.items()
    }
    top = {name: change[..., 0].mean(dim=1) for name, change in changes.items()}
    return {
        "layers": layers,
        "neurons_per_layer": lab.scores.values.shape[-1] // 10,
        "sentences": len(blocks[0]),
        "loss_change": {
            name: interval(x.mean(dim=1)) | {"by_language": dict(zip(languages, x.mean(dim=0)))}
            for name, x in changes.items()
        },
        "top_minus_random": interval(top["awareness"] - changes["control_random"].mean(dim=(1, 2))),
        "top_minus_top_by_activation": interval(top["awareness"] - top["control_activation"]),
    }


def scores_of(lab: Lab, layers: Sequence[int], generator: torch.Generator) -> dict[str, Tensor]:
    """{score: [language, layer, d_ff]} of some layers: TE's, and those that it is held against."""
    train = lab.train.select(range(min(100, len(lab.train))))
    scores = {
        "awareness": lab.scores.values[:, layers],
        "control_activation": activation(lab, train)[:, layers],
    }
    scores["control_random"] = torch.rand(scores["awareness"].shape, generator=generator)
    return scores


def tenths_of(scores: Tensor) -> Tensor:
    """The neurons of each tenth, [..., tenth, neuron], of scores [..., d_ff]; the highest first."""
    n = scores.shape[-1] // 10 * 10
    return scores.argsort(dim=-1, descending=True)[..., :n].unflatten(-1, (10, -1))


def losses(lab: Lab, blocks: Sequence, language: str) -> Tensor:
    """Nats per token of a language's sentences, float64 [block]."""
    values = [perplexity(lab.base, lab.tokenizer, texts(block, language)) for block in blocks]
    return torch.tensor([math.log(value) for value in values], dtype=torch.float64)


def losses_without_tenths(lab: Lab, blocks: Sequence, layers: list[int], scores: Tensor) -> Tensor:
    """`losses` when a tenth of each layer's neurons is off, float64 [block, language, tenth].
    scores: [language, layer, d_ff]."""
    d_ff, tenths = scores.shape[-1], tenths_of(scores)
    without = torch.zeros(len(blocks), len(lab.languages), 10, dtype=torch.float64)
    for i, language in enumerate(lab.languages):
        for tenth in range(10):
            off = dict(zip(layers, tenths[i, :, tenth]))
            sets = NeuronSets(layers, [language], {}, {language: off}, d_ff)
            with switched_off(lab.base, sets, language):
                without[:, i, tenth] = losses(lab, blocks, language)
    return without


ANALYSIS = Analysis(
    "ablation",
    "L3: does the score rank neurons as their removal does? One by one in all layers; then tenths "
    "of the selected layers together.",
    _ablation,
)
