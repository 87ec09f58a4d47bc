"""Do neuron sets of related languages overlap? Overlaps, families and scripts, and a test by
permutation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..config import data_dir
from ..neurons import NeuronSets
from ..stored import read_table


@dataclass(frozen=True)
class Language:
    """One of NTREX's 128: its names, family, branch and script (data/README.md has the sources)."""

    code: str
    name: str
    family: str
    branch: str
    script: str


def languages() -> dict[str, Language]:
    """{code: Language} of data/languages.tsv, in its order."""
    rows = read_table(data_dir() / "languages.tsv")
    return {code: Language(**row) for code, row in rows.items()}


def jaccard(
    sets: NeuronSets, languages: Sequence[str] | None = None, layers: Sequence[int] | None = None
) -> Tensor:
    """Neurons that two languages share over those that either has, the layers (default: all)
    together: float64 [language, language]; 0 for two empty sets."""
    names, layers = list(languages or sets.languages), list(layers or sets.layers)
    member = torch.zeros(len(names), len(layers), sets.d_ff, dtype=torch.float64)
    for i, language in enumerate(names):
        for j, layer in enumerate(layers):
            member[i, j, sets.specific[language][layer]] = 1
    member = member.flatten(1)
    shared = member @ member.T
    size = member.sum(dim=1)
    either = size[:, None] + size[None, :] - shared
    return shared / either.clamp(min=1)


def drawn_apart(sets: NeuronSets, seed: int = 0) -> NeuronSets:
    """Sets of the same sizes by layer, each language's drawn for itself among the neurons that any
    language has there: what languages share by chance.

    `random_neurons` is no control for this: it renames the neurons of all languages alike, so that
    two of them share as many as before.
    """
    generator, drawn = torch.Generator().manual_seed(seed), {}
    pools = {i: torch.cat([x[i] for x in sets.specific.values()]).unique() for i in sets.layers}
    for language, own in sets.specific.items():
        drawn[language] = {
            layer: pool[torch.randperm(len(pool), generator=generator)[: len(own[layer])]]
            for layer, pool in pools.items()
        }
    provenance = {"like": sets.method, "like_hash": sets.hash(), "seed": seed}
    return replace(sets, specific=drawn, method="drawn apart", provenance=provenance)


def agreement_by_language(first: NeuronSets, second: NeuronSets) -> dict[str, float]:
    """{language: Jaccard index of its neurons in two sets}, all layers together; 0 for two empty
    ones."""
    found = {}
    for language in first.languages:
        a, b = (_members(sets, language) for sets in (first, second))
        found[language] = len(a & b) / max(1, len(a | b))
    return found


def _members(sets: NeuronSets, language: str) -> set[tuple[int, int]]:
    layers = sets.specific[language].items()
    return {(layer, neuron) for layer, neurons in layers for neuron in neurons.tolist()}


def same(labels: Sequence[str]) -> Tensor:
    """Bool [language, language]: whether two languages have the same label."""
    numbers = torch.tensor([sorted(set(labels)).index(label) for label in labels])
    return numbers[:, None] == numbers[None, :]


def contrast(overlap: Tensor, related: Tensor, counted: Tensor | None = None) -> float:
    """Mean overlap of related pairs minus that of the others; counted: the pairs that count, bool
    [language, language] (default: all). ValueError where one of the two kinds has no pair."""
    pairs = torch.ones_like(related).triu(diagonal=1)
    if counted is not None:
        pairs &= counted
    if not (pairs & related).any() or not (pairs & ~related).any():
        raise ValueError("no pairs of one kind: related, or not")
    return (overlap[pairs & related].mean() - overlap[pairs & ~related].mean()).item()


def permutation_test(
    overlap: Tensor,
    labels: Sequence[str],
    counted: Tensor | None = None,
    *,
    within: Sequence[str] | None = None,
    permutations: int = 1000,
    seed: int = 0,
) -> dict:
    """Is `contrast` of languages with the same label larger than that of shuffled labels?

    Args:
        within: labels are shuffled only among languages with the same of these, such as scripts, so
            that what a script explains is not counted for the family.

    Returns: {"contrast", "p" (share of shuffles at least as large, the data itself counted in),
        "null" ([2.5th, 97.5th] percentile of the shuffles)}.
    """
    generator = torch.Generator().manual_seed(seed)
    blocks = same(within) if within is not None else torch.ones(len(labels), len(labels)).bool()
    groups = [row.nonzero().flatten() for row in blocks.unique(dim=0)]
    related, drawn = same(labels), []
    found = contrast(overlap, related, counted)
    for _ in range(permutations):
        order = torch.arange(len(labels))
        for group in groups:
            order[group] = group[torch.randperm(len(group), generator=generator)]
        drawn.append(contrast(overlap, related[order][:, order], counted))
    null = torch.tensor(drawn, dtype=torch.float64)
    p = (1 + int((null >= found).sum())) / (1 + permutations)
    low, high = null.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return {"contrast": found, "p": p, "null": [low, high]}
