"""Lesson 01: the mean activation of a prompt, its change (eq. 1), the largest ones (eq. 2), what
eq. 1 does not see, a control."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from . import choose, compare, exercise, expect

# three prompts of four tokens and two units; what lies on padding is far from zero
MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]])
STREAM = torch.tensor(
    [
        [[0.5, -1.5], [2.0, 1.0], [-0.3, 0.7], [1.0, 0.2]],
        [[-2.0, 1.0], [0.4, 3.0], [8.0, 9.0], [8.0, 9.0]],
        [[1.5, 0.1], [8.0, 9.0], [8.0, 9.0], [8.0, 9.0]],
    ]
)


# ---------------------------------------------------------------- 01.1
def mean_activation(stream: Tensor, mask: Tensor) -> Tensor:
    """A of one block: the mean over all units and a prompt's own tokens.

    Args:
        stream: [prompt, token, unit]. mask: [prompt, token], 1 for a token and 0 for padding.
    Returns: [prompt].
    """
    return (stream.mean(dim=-1) * mask).sum(dim=1) / mask.sum(dim=1)


@exercise("01.1", level=1, minutes=8, own=mean_activation)
def check_01_1_mean(answer) -> str:
    """answer(stream, mask) -> one number a prompt, as `mean_activation` gives them."""
    case = (STREAM, MASK), "these are not the mean activations"

    def pooled(stream, mask):
        return (stream.mean(dim=-1) * mask).sum() / mask.sum()

    mistakes = {
        "padding is counted: what the model gives there belongs to no prompt": (
            lambda stream, mask: stream.mean(dim=(1, 2))
        ),
        "padding is zero now, but still counted in the length: divide by a prompt's own tokens": (
            lambda stream, mask: (stream.mean(dim=-1) * mask).mean(dim=1)
        ),
        "the units are summed: divide by their number too": (
            lambda stream, mask: mean_activation(stream, mask) * stream.shape[-1]
        ),
        "the tokens are summed: divide by the number of a prompt's tokens": (
            lambda stream, mask: (stream.mean(dim=-1) * mask).sum(dim=1)
        ),
        "absolute values: the paper's mean is signed": (
            lambda stream, mask: mean_activation(stream.abs(), mask)
        ),
        "divided by the tokens of all prompts: each prompt has its own number": (
            lambda stream, mask: (stream.mean(dim=-1) * mask).sum(dim=1) / mask.sum()
        ),
        "one column: the result should have one dimension, [prompt]": (
            lambda stream, mask: mean_activation(stream, mask)[:, None]
        ),
        "one number for all prompts: give one for each": pooled,
        "one number for all prompts, too early: give one for each prompt": (
            lambda stream, mask: mean_activation(stream, mask).mean()
        ),
        "one number for each token: take the mean over them, dimension 1": (
            lambda stream, mask: stream.mean(dim=-1) * mask
        ),
        "one number for each unit: take the mean over units too": (
            lambda stream, mask: (stream * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        ),
    }
    compare(answer, mean_activation, [case], mistakes)
    return "every prompt counts its own tokens, and no padding."


# ---------------------------------------------------------------- 01.2
def change_of_mean(activation: Tensor) -> Tensor:
    """Eq. 1. activation: A, [prompt, block]. Returns: D, [block - 1]."""
    return activation.mean(dim=0).diff().abs()


@exercise("01.2", level=2, minutes=8, own=change_of_mean)
def check_01_2_change(answer) -> str:
    """answer(activation) -> D, as `change_of_mean` gives it."""
    activation = torch.tensor(
        [[0.1, 0.6, -0.2, 1.3], [0.4, -0.1, 0.9, 0.7], [-0.2, 0.3, -0.8, 0.1]]
    )
    case = (activation,), "this is not D of eq. 1"
    mistakes = {
        "the absolute value is inside the mean: average over prompts first": (
            lambda a: a.diff(dim=1).abs().mean(dim=0)
        ),
        "the signs are kept: D is a size": lambda a: a.mean(dim=0).diff(),
        "the signs are kept, and turned round: D is a size": lambda a: -a.mean(dim=0).diff(),
        "the prompts are summed: take their mean": lambda a: a.sum(dim=0).diff().abs(),
        "one row for each prompt: D is about their mean": lambda a: a.diff(dim=1).abs(),
        "these are changes from prompt to prompt: blocks are dimension 1": (
            lambda a: a.mean(dim=1).diff().abs()
        ),
        "the distance from the first block: take each block and the one before it": (
            lambda a: (a.mean(dim=0)[1:] - a.mean(dim=0)[0]).abs()
        ),
        "one number too many: block 0 has no block before it, so it gets none": (
            lambda a: F.pad(change_of_mean(a), (1, 0))
        ),
        "the absolute value is on A: eq. 1 takes it of the difference": (
            lambda a: a.abs().mean(dim=0).diff().abs()
        ),
        "squared: eq. 1 has an absolute value": lambda a: a.mean(dim=0).diff().square(),
        "the last number compares the last block with the first: there is one number less": (
            lambda a: (a.mean(dim=0) - a.mean(dim=0).roll(-1)).abs()
        ),
    }
    compare(answer, change_of_mean, [case], mistakes)
    return "first the mean over prompts, then the difference, then its size."


# ---------------------------------------------------------------- 01.3
def blocks_of(change: Tensor, k: int) -> list[int]:
    """Eq. 2: the k blocks with the largest change [block - 1], sorted; of equal ones the lower."""
    order = change.argsort(descending=True, stable=True)
    return sorted((order[:k] + 1).tolist())


@exercise("01.3", level=2, minutes=8, own=blocks_of)
def check_01_3_top(answer) -> str:
    """answer(change, k) -> the chosen blocks, as `blocks_of` gives them."""
    cases = [
        ((torch.tensor([0.2, 0.9, 0.4, 0.1, 0.7]), 3), "these are not the blocks of eq. 2"),
        (
            (torch.tensor([1.0, 3.0, 2.0, 3.0, 3.0, 0.0]), 2),
            "of equal changes the lower block wins",
        ),
    ]

    def unsorted(change, k):
        return (change.argsort(descending=True, stable=True)[:k] + 1).tolist()

    def upper(change, k):
        order = change.flip(0).argsort(descending=True, stable=True)
        return sorted((len(change) - order[:k]).tolist())

    mistakes = {
        "these are places in the list: its first number belongs to block 1": (
            lambda change, k: [block - 1 for block in blocks_of(change, k)]
        ),
        "places in the list, and not sorted: the first number belongs to block 1": (
            lambda change, k: [block - 1 for block in unsorted(change, k)]
        ),
        "these are the smallest": lambda change, k: blocks_of(-change, k),
        "the right blocks, but not sorted": unsorted,
        "sorted, but the highest comes first": lambda change, k: blocks_of(change, k)[::-1],
        "four blocks, whatever k is": lambda change, k: blocks_of(change, 4),
        "of equal changes the higher block wins here: the lower should": upper,
        "these are the changes: give the numbers of the blocks": (
            lambda change, k: change.topk(k).values
        ),
    }
    compare(answer, blocks_of, cases, mistakes)
    return "the first number belongs to block 1, and ties go to the lower block."


# ---------------------------------------------------------------- 01.4
def zigzag(units: int, size: float) -> Tensor:
    """A change of all units [unit] by +size or -size that the mean over units does not see."""
    signs = torch.ones(units)
    signs[1::2] = -1
    return size * signs


@exercise("01.4", level=2, minutes=6, own=zigzag)
def check_01_4_unseen(answer) -> str:
    """answer(units, size) -> a change [unit], as `zigzag` gives one."""
    for units, size in ((6, 0.5), (10, 2.0)):
        try:
            change = torch.as_tensor(answer(units, size)).double()
        except Exception as error:
            said = f"your function raises {type(error).__name__}: {error}"
            raise AssertionError(f"give a tensor with one number for each unit: {said}") from error
        expect(change.shape == (units,), "give a tensor with one number for each unit")
        expect(bool(change.any()), "nothing changes: the model would not notice it either")
        mean = change.mean().abs().item()
        expect(mean < 1e-6, "its mean over the units is not zero: eq. 1 sees this change")
        right = torch.isclose(change.abs(), torch.tensor(size).double()).all()
        expect(bool(right), "each unit should move by the size that is given, up or down")
    return "half of the units up and half down: every unit moves, and the mean stays."


# ---------------------------------------------------------------- 01.5
@exercise("01.5", level=3, minutes=6, own="b")
def check_01_5_control(answer) -> str:
    """answer: "a", "b", "c" or "d"."""
    others = {
        "a": "D can never choose block 0, so a draw that holds it may win by block 0 alone: this "
        "asks about a block, and not about the choice",
        "c": "this is a choice by D too: if it loses, the order is not upside down, but chance may "
        "do as well as D",
        "d": "this compares two ways to choose, and chance may do as well as both",
    }
    choose(answer, "b", others)
    return "chance may choose what D may choose, and as many: only the choosing is different."
