"""Lesson 03: the split by variance, the scale of scores, agreement of sets, a control, the share
that a pair trains."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ...neurons import NeuronSets
from . import choose, compare, exercise

# of four languages and ten neurons; neuron 4 matters most and equally, neurons 2, 5 and 9 vary most
PHI = torch.tensor(
    [
        [1.0, 2.0, 9.0, 1.0, 8.0, 0.5, 1.1, 2.0, 0.3, 1.0],
        [1.1, 2.1, 1.0, 1.2, 8.1, 6.0, 1.0, 2.3, 0.1, 1.5],
        [0.9, 2.0, 2.0, 1.1, 8.0, 0.4, 1.3, 2.1, 0.2, 7.0],
        [1.0, 1.7, 1.5, 0.8, 8.2, 0.2, 1.2, 2.2, 0.2, 1.2],
    ]
)


# ---------------------------------------------------------------- 03.1
def split_by_variance(phi: Tensor, epsilon: float) -> tuple[Tensor, list[Tensor]]:
    """Eq. 5 with general = lowest variance. phi: [language, neuron]. Returns: the general neurons,
    and the specific ones of each language, all as sorted indices."""
    order = phi.var(dim=0).argsort(stable=True)
    cut = int(epsilon * len(order))
    general, rest = order[:cut].sort().values, order[cut:].sort().values
    owner = phi[:, rest].argmax(dim=0)
    return general, [rest[owner == language] for language in range(len(phi))]


@exercise("03.1", level=2, minutes=12, own=split_by_variance)
def check_03_1_split(answer) -> str:
    """answer(phi, epsilon) -> (general, specific), as `split_by_variance` gives them."""
    cases = [
        ((PHI, 0.7), "the split is not that of eq. 5"),
        ((PHI, 0.5), "with another epsilon the split is not right"),
    ]

    def split(phi, order, cut, owner=None):
        general, rest = order[:cut].sort().values, order[cut:].sort().values
        owner = (phi if owner is None else owner)[:, rest].argmax(dim=0)
        return general, [rest[owner == language] for language in range(len(phi))]

    def places(phi, epsilon):
        rest = split_by_variance(phi, epsilon)
        owner = phi[:, torch.cat(rest[1]).sort().values].argmax(dim=0)
        return rest[0], [(owner == language).nonzero().flatten() for language in range(len(phi))]

    def unsorted(phi, epsilon):
        order = phi.var(dim=0).argsort(stable=True)
        return order[: int(epsilon * len(order))], split_by_variance(phi, epsilon)[1]

    mistakes = {
        "the neurons with the highest variance are general here: eq. 5 wants the lowest": (
            lambda phi, e: split(phi, phi.var(0).argsort(descending=True), int(e * phi.shape[1]))
        ),
        "the general share is 1 - epsilon here: epsilon is the share of general neurons": (
            lambda phi, e: split(phi, phi.var(0).argsort(), phi.shape[1] - int(e * phi.shape[1]))
        ),
        "you sort by the mean score: a neuron that matters to all languages is general, however "
        "much it matters": lambda phi, e: split(phi, phi.mean(0).argsort(), int(e * phi.shape[1])),
        "each specific neuron went to the language that it matters to least: argmax, not argmin": (
            lambda phi, e: split(phi, phi.var(0).argsort(), int(e * phi.shape[1]), -phi)
        ),
        "these are places within the specific neurons, not numbers of neurons of the block": places,
        "right, but the indices are not sorted": unsorted,
        "the specific neurons stand first: give (general, specific)": (
            lambda *x: split_by_variance(*x)[::-1]
        ),
    }
    compare(answer, split_by_variance, cases, mistakes)
    return "the lowest variances are general, and the rest goes to its argmax language."


# ---------------------------------------------------------------- 03.2
def over_language_mean(phi: Tensor) -> Tensor:
    """Each language's scores [language, neuron] divided by their own mean over the block."""
    return phi / phi.mean(dim=1, keepdim=True)


@exercise("03.2", level=1, minutes=6, own=over_language_mean)
def check_03_2_scale(answer) -> str:
    """answer(phi) -> the scaled scores, as `over_language_mean` gives them."""
    case = (PHI * torch.tensor([[1.0], [2.0], [5.0], [0.5]]),), "the scaled scores are not right"
    mistakes = {
        "divided by one number for all languages: the larger ones stay larger": (
            lambda phi: phi / phi.mean()
        ),
        "this is the mean over languages, of each neuron: take the mean over neurons": (
            lambda phi: phi / phi.mean(dim=0)
        ),
        "subtracted: a language with larger scores also varies more; divide": (
            lambda phi: phi - phi.mean(dim=1, keepdim=True)
        ),
        "divided by the sum: the mean score of a language should become 1": (
            lambda phi: phi / phi.sum(dim=1, keepdim=True)
        ),
        "divided by the largest: one strong neuron would set the scale of all the others": (
            lambda phi: phi / phi.amax(dim=1, keepdim=True)
        ),
    }
    compare(answer, over_language_mean, [case], mistakes)
    return "now the mean score of every language is 1, and no language is larger by its scale."


# ---------------------------------------------------------------- 03.3
Owned = Mapping[str, set]  # the neurons of each language


def pooled_agreement(first: Owned, second: Owned) -> float:
    """J: of the neurons that either half gives to a language, the share that both give to it;
    counts are added up over languages."""
    both = sum(len(first[language] & second[language]) for language in first)
    return both / sum(len(first[language] | second[language]) for language in first)


@exercise("03.3", level=2, minutes=8, own=pooled_agreement)
def check_03_3_agreement(answer) -> str:
    """answer(first, second) -> J, as `pooled_agreement` gives it."""
    first = {"en": {1, 2, 3, 4}, "de": {5, 6}, "fr": {9}}
    second = {"en": {1, 2, 3, 7}, "de": {4, 6, 8}, "fr": {5}}
    case = (first, second), "this is not J"

    def matches(one, two):
        return sum(len(one[x] & two[x]) for x in one)

    def all_of(sets):
        return set().union(*sets.values())

    mistakes = {
        "an average over languages: add up the counts of all languages, then divide": (
            lambda one, two: sum(len(one[x] & two[x]) / len(one[x] | two[x]) for x in one) / 3
        ),
        "the owner is not compared: a neuron that the halves give to two languages disagrees": (
            lambda one, two: len(all_of(one) & all_of(two)) / len(all_of(one) | all_of(two))
        ),
        "divided by one half's neurons alone: those of either half stand below the line": (
            lambda one, two: matches(one, two) / sum(map(len, one.values()))
        ),
        "the sizes are added up: shared neurons count twice below the line; take the union": (
            lambda one, two: matches(one, two) / sum(len(one[x]) + len(two[x]) for x in one)
        ),
        "this is how much they differ: J is 1 where the halves agree": (
            lambda one, two: 1 - pooled_agreement(one, two)
        ),
        "this is the number of matches: divide": matches,
    }
    compare(answer, pooled_agreement, [case], mistakes)
    return "shared over all, and only neurons with the same owner count as shared."


# ---------------------------------------------------------------- 03.4
@exercise("03.4", level=3, minutes=6, own="c")
def check_03_4_control(answer) -> str:
    """answer: "a", "b", "c" or "d"."""
    others = {
        "a": "it is the same measurement on easier sentences: the sets were chosen on these",
        "b": "far more neurons are off than in the set: that the loss rises then is no news",
        "d": "it shows who else is hurt, but any neurons of these blocks might hurt German as much",
    }
    choose(answer, "c", others)
    return "as many neurons of the same blocks: only which neurons they are is different."


# ---------------------------------------------------------------- 03.5
def share_trained(sets: NeuronSets, pair: str) -> float:
    """The share of the selected blocks' neurons that a batch of `pair` trains, where the languages'
    sets are disjoint."""
    trained = sum(len(neurons) for neurons in sets.trainable(pair).values())
    return trained / (sets.d_ff * len(sets.layers))


@exercise("03.5", level=1, minutes=6, own=share_trained)
def check_03_5_share(answer) -> str:
    """answer(sets, pair) -> the share, as `share_trained` gives it."""
    general = {2: range(6), 5: range(7)}
    specific = {"en": {2: [6], 5: [7]}, "de": {2: [7, 8], 5: [8]}, "fr": {2: [9], 5: [9]}}
    sets = NeuronSets([2, 5], ["en", "de", "fr"], general, specific, d_ff=12)
    cases = [((sets, pair), f"the share of {pair} is not right") for pair in ("de-en", "en-fr")]

    def counted(sets, languages, general=True):
        chosen = [sets.specific[language] for language in languages] + [sets.general] * general
        return sum(len(one[layer]) for one in chosen for layer in sets.layers)

    neurons = sets.d_ff * len(sets.layers)
    mistakes = {
        "the general neurons are missing: every batch trains them": (
            lambda sets, pair: counted(sets, pair.split("-"), general=False) / neurons
        ),
        "these are the general neurons alone: add the sets of both languages": (
            lambda sets, pair: counted(sets, []) / neurons
        ),
        "all languages' sets are counted: a batch trains those of its two languages": (
            lambda sets, pair: counted(sets, sets.languages) / neurons
        ),
        "the target language's set is missing": (
            lambda sets, pair: counted(sets, pair.split("-")[:1]) / neurons
        ),
        "the source language's set is missing": (
            lambda sets, pair: counted(sets, pair.split("-")[1:]) / neurons
        ),
        "this is a number of neurons: divide by d_ff times the number of blocks": (
            lambda sets, pair: counted(sets, pair.split("-"))
        ),
        "divided by d_ff alone: there are several blocks": (
            lambda sets, pair: counted(sets, pair.split("-")) / sets.d_ff
        ),
    }
    compare(answer, share_trained, cases, mistakes)
    return "general, source and target sets, of all selected blocks."
