"""Exercises of lesson 07: counting active neurons, LAPE's entropy and choice, and a control."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F

from . import choose, compare, exercise, expect


# ---------------------------------------------------------------- 07.1
def active_shares(before: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The share of real tokens at which each neuron is active, float64 [neuron].

    Args:
        before: what goes into the activation function [sentence, token, neuron].
        mask: 1 on real tokens, 0 on padding [sentence, token].
    """
    active = (before > 0) & mask.bool()[:, :, None]
    return active.double().sum(dim=(0, 1)) / mask.sum()


@exercise("07.1", level=1, minutes=8, own=active_shares)
def check_07_1_shares(answer) -> str:
    """answer(before, mask) -> p [neuron], as `active_shares` gives it."""
    before = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))
    before[0, 0, :2] = 0.0
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0]])
    real = mask.bool()[:, :, None]

    def averaged(before, mask):
        by_sentence = ((before > 0) & real).double().sum(dim=1) / mask.sum(dim=1, keepdim=True)
        return by_sentence.mean(dim=0)

    mistakes = {
        "both mistakes are still there: GELU's small negative values, and padding": (
            lambda before, mask: (F.gelu(before) != 0).double().mean(dim=(0, 1))
        ),
        "padding is counted: mask says which places hold a token": (
            lambda before, mask: (before > 0).double().mean(dim=(0, 1))
        ),
        "padding is no longer active, but the mean still counts its places": (
            lambda before, mask: ((before > 0) & real).double().mean(dim=(0, 1))
        ),
        "padding still counts above the line: the sum, too, is over real tokens alone": (
            lambda before, mask: (before > 0).double().sum(dim=(0, 1)) / mask.sum()
        ),
        "GELU of a negative number is small, but not 0: ask whether its input is positive": (
            lambda before, mask: ((F.gelu(before) != 0) & real).double().sum((0, 1)) / mask.sum()
        ),
        "0 is not positive: active means > 0, not >= 0": (
            lambda before, mask: ((before >= 0) & real).double().sum(dim=(0, 1)) / mask.sum()
        ),
        "an average over sentences: a token of a short one counts more; divide once, at the end": (
            averaged
        ),
        "these are numbers of tokens: divide by how many real tokens there are": (
            lambda before, mask: ((before > 0) & real).double().sum(dim=(0, 1))
        ),
    }
    case = (before, mask), "this is neither of the two mistakes in the function above"
    compare(answer, active_shares, [case], mistakes)
    return "a share of real tokens, for every neuron."


# ---------------------------------------------------------------- 07.2
def activation_entropy(p: torch.Tensor) -> torch.Tensor:
    """LAPE [...] in nats of activation probabilities p [..., language]; 0 if all of them are 0."""
    tiny = torch.finfo(p.dtype).tiny
    shares = p / p.sum(dim=-1, keepdim=True).clamp_min(tiny)
    return torch.special.entr(shares).sum(dim=-1)


@exercise("07.2", level=2, minutes=8, own=activation_entropy)
def check_07_2_entropy(answer) -> str:
    """answer(p) -> LAPE [...], as `activation_entropy` gives it."""
    p = torch.tensor([[0.2, 0.2, 0.2], [0.6, 0.2, 0.1], [0.9, 0.8, 0.05], [0.1, 0.2, 0.4]])
    one = torch.tensor([[0.3, 0.0, 0.0], [0.5, 0.5, 0.0]])
    cases = [
        ((p.double(),), "this is not the entropy"),
        ((one.double(),), "a language in which the neuron is never active: 0 · ln 0 counts as 0"),
        ((p.double().view(2, 2, 3),), "languages are the last dimension, with any before it"),
    ]

    def summed(terms, dim=-1):
        return terms.sum(dim=dim)

    def right(p):
        return activation_entropy(p)

    mistakes = {
        "p need not add up to 1: divide by its sum before the logarithm": (
            lambda p: summed(torch.special.entr(p))
        ),
        "the sum over neurons was divided by: divide by the sum over languages": (
            lambda p: summed(torch.special.entr(p / p.sum(dim=0, keepdim=True)))
        ),
        "one number for each language: sum over languages, the last dimension": (
            lambda p: summed(torch.special.entr(p / p.sum(dim=-1, keepdim=True)), dim=0)
        ),
        "this is in bits: LAPE takes the natural logarithm": lambda p: right(p) / math.log(2),
        "the sign: a logarithm of a share is negative, and entropy is not": lambda p: -right(p),
        "this is the mean over languages: entropy is the sum": lambda p: right(p) / p.shape[-1],
        "softmax is for scores of any sign: p is a probability already, divide by its sum": (
            lambda p: summed(torch.special.entr(p.softmax(dim=-1)))
        ),
    }
    compare(answer, activation_entropy, cases, mistakes)
    return "low for a neuron that few languages use."


# ---------------------------------------------------------------- 07.3
def lowest_entropies(
    entropy: torch.Tensor, p: torch.Tensor, t: torch.Tensor | float, n: int
) -> torch.Tensor:
    """The n neurons of lowest entropy [neuron] with p [neuron, language] above t for some language,
    the lowest first: LongTensor [n], or fewer if fewer pass."""
    passed = (p > t).any(dim=-1).nonzero().flatten()
    return passed[entropy[passed].argsort(stable=True)][:n]


@exercise("07.3", level=2, minutes=10, own=lowest_entropies)
def check_07_3_lowest(answer) -> str:
    """answer(entropy, p, t, n) -> neurons, as `lowest_entropies` gives them."""
    p = torch.tensor([[0.9, 0.1], [0.05, 0.0], [0.2, 0.7], [0.8, 0.9], [0.0, 0.02], [0.1, 0.6]])
    entropy = torch.tensor([0.45, 0.0, 0.3, 0.69, 0.1, 0.4])
    cases = [
        ((entropy, p, 0.5, 2), "these are not the two of lowest entropy that pass the filter"),
        ((entropy, p, 0.65, 4), "use t: fewer neurons pass a higher one"),
    ]

    def first(entropy, p, t, n):
        chosen = entropy.argsort()[:n]
        return chosen[(p[chosen] > t).any(dim=-1)]

    def places(entropy, p, t, n):
        return entropy[(p > t).any(dim=-1)].argsort()[:n]

    mistakes = {
        "the filter is missing: a neuron that is hardly ever active has low entropy by chance": (
            lambda entropy, p, t, n: entropy.argsort()[:n]
        ),
        "filter first, then choose: some of the n are lost here": first,
        "these are places in the filtered list: give the neurons' own numbers": places,
        "the highest entropy: those neurons are active for every language": (
            lambda entropy, p, t, n: lowest_entropies(-entropy, p, t, n)
        ),
        "p above t in one language is enough; not in all": (
            lambda entropy, p, t, n: lowest_entropies(entropy, p.amin(dim=1, keepdim=True), t, n)
        ),
        "the lowest entropy comes first: these are sorted by their number": (
            lambda *x: lowest_entropies(*x).sort().values
        ),
    }
    compare(answer, lowest_entropies, cases, mistakes)
    return "active often enough for some language, and for few."


# ---------------------------------------------------------------- 07.4
@exercise("07.4", level=2, minutes=4, own="c")
def check_07_4_steering(answer) -> str:
    """answer: the letter of the reading that the measurements allow."""
    others = {
        "a": "the sets of two halves of the text agree far more than random ones: see the table",
        "b": "switched off, sets cost their own language most: the matrix has a strong diagonal",
        "d": "only one factor was tried here: what a larger one does was not measured",
    }
    choose(answer, "c", others)
    return "needed for a language, and yet no switch for it."


# ---------------------------------------------------------------- 07.5
def random_draw(
    chosen: Mapping[int, torch.Tensor], d_ff: int, generator: torch.Generator
) -> dict[int, torch.Tensor]:
    """As many random neurons of each block as `chosen` {block: neurons} has, without repeats."""
    return {
        block: torch.randperm(d_ff, generator=generator)[: len(neurons)]
        for block, neurons in chosen.items()
    }


@exercise("07.5", level=2, minutes=10, own=random_draw)
def check_07_5_control(answer) -> str:
    """answer(chosen, d_ff, generator) -> {block: neurons}, as `random_draw` gives them."""
    chosen = {0: torch.tensor([], dtype=torch.long), 3: torch.arange(5), 7: torch.tensor([1, 8])}
    generator = torch.Generator().manual_seed(0)
    draws = []
    for _ in range(60):
        given = answer(dict(chosen), 12, generator)
        expect(given is not None, "your function gives None: does it end with `return`?")
        expect(isinstance(given, Mapping), "give a dict {block: neurons}, as `chosen` is one")
        expect(given.keys() == chosen.keys(), "the blocks must be those of `chosen`: no others")
        draws.append({block: [int(neuron) for neuron in given[block]] for block in given})
    _check_draws(draws, {block: len(neurons) for block, neurons in chosen.items()}, 12)
    return "as many neurons in the same blocks; only the choice is left to chance."


def _check_draws(draws: list[dict[int, list[int]]], sizes: dict[int, int], d_ff: int) -> None:
    """Hold many random draws of neurons against the sizes that each must have."""
    for draw in draws:
        drawn = {block: len(neurons) for block, neurons in draw.items()}
        in_all = "as many in all, but not in each block: blocks differ in how much they matter"
        expect(drawn == sizes or sum(drawn.values()) != sum(sizes.values()), in_all)
        expect(drawn == sizes, "as many neurons in each block as were chosen there")
        flat = [neuron for neurons in draw.values() for neuron in neurons]
        expect(all(0 <= n < d_ff for n in flat), "a block's neurons are numbered 0 to d_ff - 1")
        once = all(len(set(neurons)) == len(neurons) for neurons in draw.values())
        expect(once, "a neuron was drawn twice: fewer would be trained than were chosen")
    fresh = any(draw != draws[0] for draw in draws)
    expect(fresh, "every draw is the same: draw with `generator`, which goes on")
    seen = {neuron for draw in draws for neuron in draw[3]}
    expect(len(seen) > 6, "some neurons can never be drawn: draw from all of the block")
