"""Exercises of lesson 08: features by hand, Wanda's score, n:m patterns, and reading zeros."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from . import choose, compare, exercise


# ---------------------------------------------------------------- 08.1
def mean_norms(streams: Sequence[torch.Tensor]) -> torch.Tensor:
    """The magnitude of each feature [feature]: the mean over prompts of its norm over tokens.
    streams: for each prompt a block's output [token, feature]."""
    return torch.stack([stream.norm(dim=0) for stream in streams]).mean(dim=0)


@exercise("08.1", level=2, minutes=8, own=mean_norms)
def check_08_1_magnitudes(answer) -> str:
    """answer(streams) -> m [feature], as `mean_norms` gives it."""
    generator = torch.Generator().manual_seed(0)
    streams = [torch.randn(n, 4, generator=generator) for n in (6, 2, 3)]
    case = (streams,), "this is not the mean over prompts of the norm over tokens"

    def over_all(function: Callable) -> Callable:
        return lambda streams: function(torch.cat(streams))

    def each(function: Callable) -> Callable:
        return lambda streams: torch.stack([function(stream) for stream in streams]).mean(dim=0)

    mistakes = {
        "all prompts as one: a long prompt decides; norm of each prompt first, then the mean": (
            over_all(lambda stream: stream.norm(dim=0))
        ),
        "the sum over prompts: take the mean, so that their number does not matter": (
            lambda streams: 3 * mean_norms(streams)
        ),
        "the root is missing: a norm is the root of the sum of squares": (
            each(lambda stream: stream.square().sum(dim=0))
        ),
        "a mean over tokens: the norm adds squares up, and a longer prompt has a larger one": (
            each(lambda stream: stream.square().mean(dim=0).sqrt())
        ),
        "absolute values were added: the 2-norm adds up squares": (
            each(lambda stream: stream.abs().sum(dim=0))
        ),
        "without squares or absolute values, positive and negative tokens cancel": (
            each(lambda stream: stream.sum(dim=0))
        ),
        "the mean is taken before the norm: norms first, their mean then": (
            lambda streams: torch.stack([x.square().sum(0) for x in streams]).mean(0).sqrt()
        ),
        "one number for each token: the norm is over tokens, the first dimension": (
            lambda streams: [stream.norm(dim=1) for stream in streams]
        ),
        "one number for each prompt: the norm is of every feature": (
            lambda streams: [stream.norm() for stream in streams]
        ),
    }
    compare(answer, mean_norms, [case], mistakes)
    return "a number for every feature, whatever the sign of its values."


# ---------------------------------------------------------------- 08.2
@exercise("08.2", level=2, minutes=5, own="b")
def check_08_2_zeros(answer) -> str:
    """answer: the letter of what explains the zeros."""
    others = {
        "a": "by hand and by module the counts agree, and two other columns of the table are not 0",
        "c": "by chance 11.5 features would be in both lists: the threshold leaves much room",
        "d": "the lists agree by far more than chance: magnitudes differ much between features",
    }
    choose(answer, "b", others)
    return "a zero far below what chance gives is a finding, and it needs the other columns."


# ---------------------------------------------------------------- 08.3
def wanda_scores(weight: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
    """|W_ij| · ||X_j||_2 [output, input] of weight W [output, input], inputs X [token, input]."""
    return weight.abs() * inputs.norm(dim=0)


@exercise("08.3", level=2, minutes=8, own=wanda_scores)
def check_08_3_score(answer) -> str:
    """answer(weight, inputs) -> S [output, input], as `wanda_scores` gives it."""
    generator = torch.Generator().manual_seed(0)
    weight, inputs = torch.randn(3, 3, generator=generator), torch.randn(8, 3, generator=generator)
    wide = torch.randn(2, 5, generator=generator), torch.randn(4, 5, generator=generator)
    cases = [
        ((weight, inputs), "these are not the scores"),
        (wide, "there may be more inputs than outputs"),
    ]
    mistakes = {
        "the weight's absolute value is missing: a large negative weight is worth as much": (
            lambda weight, inputs: weight * inputs.norm(dim=0)
        ),
        "the norms belong to inputs, the columns of W: here rows are multiplied": (
            lambda weight, inputs: weight.abs() * inputs.norm(dim=0)[:, None]
        ),
        "this is the magnitude score: how large the inputs are is not used": (
            lambda weight, inputs: weight.abs()
        ),
        "the norm is over tokens, for every input": (
            lambda weight, inputs: weight.abs() * inputs.norm()
        ),
        "squares of the norms: take the root": (
            lambda weight, inputs: weight.abs() * inputs.square().sum(dim=0)
        ),
        "the weights are squared, and the norm is not: |W| times the norm": (
            lambda weight, inputs: weight.square() * inputs.norm(dim=0)
        ),
        "means of absolute inputs: Wanda takes the 2-norm, in which large values count more": (
            lambda weight, inputs: weight.abs() * inputs.abs().mean(dim=0)
        ),
        "inputs of both signs cancel here: take the norm": (
            lambda weight, inputs: weight.abs() * inputs.sum(dim=0).abs()
        ),
    }
    compare(answer, wanda_scores, cases, mistakes)
    return "a weight's size times the size of what it reads."


# ---------------------------------------------------------------- 08.4
def pattern_removes(scores: Sequence[float], n: int, m: int) -> list[int]:
    """The positions, sorted, that an n:m pattern removes from one row: in each m consecutive scores
    the n lowest, of equal ones the first."""
    gone = []
    for start in range(0, len(scores), m):
        group = range(start, start + m)
        gone += sorted(group, key=lambda position: scores[position])[:n]
    return sorted(gone)


@exercise("08.4", level=2, minutes=10, own=pattern_removes)
def check_08_4_removed(answer) -> str:
    """answer(scores, n, m) -> positions, as `pattern_removes` gives them."""
    two_groups = [9.0, 8.0, 7.0, 6.0, 1.0, 2.0, 3.0, 4.0]
    cases = [
        (([4.0, 1.0, 3.0, 2.0], 2, 4), "one group: the two lowest of four, sorted by position"),
        ((two_groups, 2, 4), "two of each four go, though the second group holds the four lowest"),
        (([1.0, 1.0, 1.0, 1.0], 2, 4), "of equal scores the lower position goes"),
        (([5.0, 1.0, 2.0, 7.0, 3.0, 9.0], 1, 2), "1:2: one of each two"),
    ]

    def whole_row(scores, n, m):
        order = sorted(range(len(scores)), key=lambda position: scores[position])
        return sorted(order[: n * len(scores) // m])

    def within(scores, n, m):
        starts = range(0, len(scores), m)
        return [x for i in starts for x in pattern_removes(scores[i : i + m], n, m)]

    def unsorted(scores, n, m):
        gone = []
        for start in range(0, len(scores), m):
            gone += sorted(range(start, start + m), key=lambda i: scores[i])[:n]
        return gone

    mistakes = {
        "the highest, or those that stay: a low score says that a weight is worth little": (
            lambda scores, n, m: pattern_removes([-score for score in scores], n, m)
        ),
        "sort the positions at the end": unsorted,
        "positions within a group: add where the group starts": within,
        "the lowest of the whole row: hardware needs the same number in each group": whole_row,
        "these are scores: give their positions": (
            lambda *x: [x[0][i] for i in pattern_removes(*x)]
        ),
    }
    compare(answer, pattern_removes, cases, mistakes)
    return "every group of m loses exactly n, so that hardware can skip them."


# ---------------------------------------------------------------- 08.5
@exercise("08.5", level=1, minutes=4, own="d")
def check_08_5_control(answer) -> str:
    """answer: the letter of the control that shows what the text adds."""
    others = {
        "a": "random weights lose to every score that looks at the weights at all",
        "b": "the dense model shows what pruning costs, not what the calibration text adds",
        "c": "a higher sparsity makes all losses larger, whatever the text",
    }
    choose(answer, "d", others)
    return "the same weights, without any text: what is left is the text's part."
