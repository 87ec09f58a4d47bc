"""Selectors: from awareness scores to NeuronSets, by variance (LANDeRMT eq. 5), by Xie et al.'s split, or at random."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from .neuronsets import NeuronSets

if TYPE_CHECKING:
    from .awareness import AwarenessScores

__all__ = ["NeuronSets", "categorize", "random_neurons", "xie_split"]


def categorize(scores: AwarenessScores, epsilon: float = 0.9, normalize: bool | str = True) -> NeuronSets:
    """General = the floor(epsilon · d_ff) neurons whose score varies least over languages; the others go to their argmax language.

    LANDeRMT eq. 5, per layer, with the unbiased variance. The paper's text sorts from high to low, which contradicts its own
    §4.4 (10% specific at epsilon = .9); general is lowest-variance here, as in the authors' code. Ties: the lower index is
    general; the first language wins.

    Args:
        scores: AwarenessScores, at least two languages.
        epsilon: share of general neurons, 0 < epsilon < 1.
        normalize: True or "layer_mean" divides a language's scores by their mean over the layer, so that a language with a
            larger loss does not take most neurons; "rank" uses rank / d_ff (ties share their mean rank); False or "raw": as
            printed. The sets keep the raw scores in `.awareness`.

    Raises: ValueError for epsilon out of range, one language, an unknown normalisation, scores that are not finite or all zero.
    """
    if not 0 < epsilon < 1:
        raise ValueError(f"epsilon = {epsilon} must lie between 0 and 1, both excluded (the paper's is 0.9).")
    names = {True: "layer_mean", False: "raw"}
    how = names.get(normalize, normalize)
    values = normalized(scores, how)
    general, specific = {}, {language: {} for language in scores.languages}
    for position, layer in enumerate(scores.layers):
        phi = values[:, position]  # (language, d_ff)
        order = phi.var(dim=0, unbiased=True).float().argsort(stable=True)  # float: rounding in the 16th digit decides no tie
        cut = _share(epsilon, len(order))
        general[layer], rest = order[:cut], order[cut:]
        winner = phi[:, rest].argmax(dim=0)  # the first of equals
        for index, language in enumerate(scores.languages):
            specific[language][layer] = rest[winner == index]
    return _sets(scores, general, specific, "variance", {"epsilon": epsilon, "normalize": how})


def xie_split(scores: AwarenessScores, rho: float = 0.7, k: float = 0.9) -> NeuronSets:
    """General = the floor(rho · d_ff) neurons with the largest score summed over languages; each other neuron belongs to every
    language whose score exceeds k times its largest one, so to several if they are close (k = 1: to none, for > is strict).

    Xie et al. 2021 (NA-MNMT), with the release's rho and k, on the same scores as `categorize` (theirs are per pair and summed).
    Raises: ValueError for rho outside (0, 1), k outside [0, 1], one language, scores that are not finite.
    """
    if not 0 < rho < 1 or not 0 <= k <= 1:
        raise ValueError(f"rho = {rho} must lie between 0 and 1, both excluded, and k = {k} in 0 … 1.")
    values = normalized(scores, "raw")
    general, specific = {}, {language: {} for language in scores.languages}
    for position, layer in enumerate(scores.layers):
        phi = values[:, position]  # (language, d_ff)
        order = phi.sum(dim=0).argsort(descending=True, stable=True)
        cut = _share(rho, len(order))
        general[layer], rest = order[:cut], order[cut:].sort().values
        for index, language in enumerate(scores.languages):
            specific[language][layer] = rest[phi[index, rest] > k * phi[:, rest].amax(dim=0)]
    return _sets(scores, general, specific, "xie", {"rho": rho, "k": k})


def random_neurons(like: NeuronSets, seed: int = 0) -> NeuronSets:
    """Sets of the same sizes with random indices: the control for any selector.

    Each layer's neurons are renamed by one random permutation, so that sets which were disjoint stay so, and sets that shared
    neurons share as many. `.awareness` stays with its neurons and is not permuted.
    """
    generator = torch.Generator().manual_seed(seed)
    rename = {layer: torch.randperm(like.d_ff, generator=generator) for layer in like.layers}
    return replace(
        like,
        general={layer: rename[layer][indices] for layer, indices in like.general.items()},
        specific={name: {layer: rename[layer][indices] for layer, indices in sets.items()} for name, sets in like.specific.items()},
        method="random",
        provenance={"like": like.method, "like_hash": like.hash(), "seed": seed},
    )


def _share(share: float, total: int) -> int:
    return math.floor(share * total + 1e-9)  # 0.29 * 100 is 28.999…96 in floating point


def normalized(scores: AwarenessScores, how: str) -> torch.Tensor:
    """Scores as float64 [language, layer, d_ff] after "raw", "layer_mean" or "rank" normalisation."""
    values = scores.values.double()
    if len(scores.languages) < 2:
        raise ValueError("a split into general and specific compares languages: score at least two.")
    if not torch.isfinite(values).all():
        language, layer, neuron = (~torch.isfinite(values)).nonzero()[0].tolist()
        raise ValueError(f"the score of '{scores.languages[language]}', layer {scores.layers[layer]}, neuron {neuron} is not finite.")
    if how == "raw":
        return values
    if how == "layer_mean":
        means = values.mean(dim=-1, keepdim=True)
        if (means == 0).any():
            language, layer, _ = (means == 0).nonzero()[0].tolist()
            raise ValueError(f"all scores of '{scores.languages[language]}' in layer {scores.layers[layer]} are zero: they have no mean.")
        return values / means
    if how == "rank":
        return torch.stack([torch.stack([_ranks(row) for row in rows]) for rows in values]) / values.shape[-1]
    raise ValueError(f"normalize = '{how}' is unknown: use True, 'layer_mean', 'rank', False or 'raw'.")


def _ranks(row: torch.Tensor) -> torch.Tensor:
    """Ranks 1 … n, ascending; equal values share their mean rank."""
    _, inverse, counts = row.unique(return_inverse=True, return_counts=True)
    return (counts.cumsum(0) - (counts - 1) / 2)[inverse]


def _sets(scores: AwarenessScores, general: dict, specific: dict, method: str, settings: dict) -> NeuronSets:
    awareness = {
        language: {layer: scores.values[i, j] for j, layer in enumerate(scores.layers)} for i, language in enumerate(scores.languages)
    }
    return NeuronSets(
        scores.layers, scores.languages, general, specific, scores.values.shape[-1], scores.model, method, awareness,
        {**settings, "scores": scores.settings},
    )
