"""Checks of the lessons that have one exercise each, at their end, with one hint that an answer of
None prints. A wrong answer raises AssertionError with what is wrong."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F

from . import expect


def hinted(hint: str) -> Callable:
    """Make a check print `Not answered yet` and the hint where the answer is None."""

    def decorate(check: Callable) -> Callable:
        @functools.wraps(check)
        def checked(answer, *context):
            if answer is None:
                print(f"Not answered yet. Hint: {hint}")
            else:
                check(answer, *context)

        return checked

    return decorate


def check_02_double_shift(answer):
    """answer(logits [token, vocabulary], ids [token]) -> the summed loss after two shifts. Returns
    a loss to go on with."""

    def shifted(logits, ids, by: int):
        return F.cross_entropy(logits[:-by], ids[by:], reduction="sum")

    def two_ahead(logits, ids):
        return shifted(logits, ids, 2)

    if answer is None:
        print(
            "Not answered yet (the lesson goes on with its own version). Hint: position t is "
            "compared with token t + 2."
        )
        return two_ahead
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 11, generator=generator)
    ids = torch.randint(0, 11, (6,), generator=generator)
    given, expected = float(answer(logits, ids)), float(two_ahead(logits, ids))
    expect(
        abs(given - float(shifted(logits, ids, 1))) > 1e-4,
        "this is the correct loss, with one shift: position t and token t + 1. Shift once more.",
    )
    expect(
        abs(given * 4 - expected) > 1e-3, "use the sum over tokens, not the mean: reduction='sum'"
    )
    expect(
        abs(given - expected) < 1e-3,
        f"expected {expected:.4f} on a small example, you gave {given:.4f}",
    )
    print("Correct: every position is asked for the token after the next one.")
    return answer
