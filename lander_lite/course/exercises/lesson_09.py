"""Exercises of lesson 09: bytes, blocks and hours of a training on paper."""

from __future__ import annotations

from collections.abc import Sequence

from . import choose, compare, exercise


# ---------------------------------------------------------------- 09.1
def bytes_of_training(parameters: int, trained: int, item: int) -> int:
    """Bytes of weights, gradients and AdamW's two states, at `item` bytes a number."""
    return item * (parameters + trained + 2 * trained)


@exercise("09.1", level=1, minutes=6, own=bytes_of_training)
def check_09_1_bytes(answer) -> str:
    """answer(parameters, trained, item) -> bytes, as `bytes_of_training` gives them."""
    cases = [
        ((10, 0, 2), "with nothing trained, the weights alone are left"),
        ((10, 4, 2), "these are not weights, gradients and two states"),
        ((10, 4, 4), "use item: numbers may take 4 bytes"),
    ]

    def numbers(weights: int, gradients: int, states: int):
        return lambda p, t, item: item * (weights * p + gradients * t + states * t)

    mistakes = {
        "the optimiser is missing: AdamW keeps two numbers for each trained parameter": (
            numbers(1, 1, 0)
        ),
        "AdamW keeps two running means, of gradients and of their squares: one is missing": (
            numbers(1, 1, 1)
        ),
        "the gradients are missing: the backward pass makes one for each trained parameter": (
            numbers(1, 0, 2)
        ),
        "frozen parameters get no gradient and no state: only the trained ones do": (
            lambda p, t, item: 4 * item * p
        ),
        "the trained weights are counted twice: they are among the parameters": numbers(1, 2, 2),
        "the frozen weights are missing: the forward pass needs all of them": (
            lambda p, t, item: 4 * item * t
        ),
        "these are numbers: multiply by the bytes that each takes": (lambda p, t, item: p + 3 * t),
    }
    compare(answer, bytes_of_training, cases, mistakes)
    return "all weights once, and three numbers for each trained one."


# ---------------------------------------------------------------- 09.2
def blocks_kept(selected: Sequence[int], n_blocks: int) -> list[int]:
    """The blocks, sorted, of which the backward pass needs the activations."""
    return list(range(min(selected), n_blocks))


@exercise("09.2", level=2, minutes=8, own=blocks_kept)
def check_09_2_kept(answer) -> str:
    """answer(selected, n_blocks) -> blocks, as `blocks_kept` gives them."""
    cases = [
        (([2, 5], 8), "these are not the blocks that a gradient passes through"),
        (([5, 7, 3], 9), "selected need not be sorted"),
    ]
    mistakes = {
        "these are the selected blocks: a gradient also passes through the blocks above them": (
            lambda selected, n: sorted(selected)
        ),
        "nothing below the lowest selected block needs a gradient: stop there": (
            lambda selected, n: list(range(n))
        ),
        "the gradient starts at the last block and comes down: these are the blocks below": (
            lambda selected, n: list(range(min(selected) + 1))
        ),
        "the lowest selected block is missing: its own weights need a gradient": (
            lambda selected, n: list(range(min(selected) + 1, n))
        ),
        "it goes on down to the lowest selected block, not only to the highest": (
            lambda selected, n: list(range(max(selected), n))
        ),
        "from the lowest to the highest selected block only: the gradient comes from the loss": (
            lambda selected, n: list(range(min(selected), max(selected) + 1))
        ),
        "blocks are numbered from 0, so the last one is n_blocks - 1": (
            lambda selected, n: list(range(min(selected), n + 1))
        ),
        "sort the blocks, the lowest first": lambda *x: blocks_kept(*x)[::-1],
    }
    compare(answer, blocks_kept, cases, mistakes)
    return "from the lowest selected block up to the loss."


# ---------------------------------------------------------------- 09.3
@exercise("09.3", level=2, minutes=4, own="c")
def check_09_3_peak(answer) -> str:
    """answer: the letter of what keeps the peak high."""
    others = {
        "a": "optimiser states exist for the trained numbers alone: see the table above",
        "b": "the table above has both: together they are a small part of the peak",
        "d": "the lines of the table add up to the peak, and counts are exact: compare the lines",
    }
    choose(answer, "c", others)
    return "what is not trained must still be there."


# ---------------------------------------------------------------- 09.4
def hours_of_training(flops: float, peak: float, share: float, updates: int) -> float:
    """Hours of `updates` steps of `flops` operations on a GPU that reaches `share` of its peak."""
    return updates * flops / (share * peak) / 3600


@exercise("09.4", level=1, minutes=5, own=hours_of_training)
def check_09_4_hours(answer) -> str:
    """answer(flops, peak, share, updates) -> hours, as `hours_of_training` gives them."""
    case = (8e14, 3e14, 0.4, 900), "these are not the hours of all updates"

    def right(*x):
        return hours_of_training(*x)

    mistakes = {
        "these are seconds: an hour has 3,600": lambda *x: 3600 * right(*x),
        "these are minutes: divide by 3,600": lambda *x: 60 * right(*x),
        "this is one step: multiply by the updates": lambda *x: right(*x) / x[3],
        "a GPU never reaches its peak: divide the peak's operations by the share, too": (
            lambda flops, peak, share, n: n * flops / peak / 3600
        ),
        "a lower share takes longer: divide by it": (
            lambda flops, peak, share, n: n * flops * share / peak / 3600
        ),
        "turned over: operations are divided by operations a second": (
            lambda flops, peak, share, n: n * share * peak / flops / 3600
        ),
    }
    compare(answer, hours_of_training, [case], mistakes)
    return "an estimate: measure the first hundred updates before you trust it."
