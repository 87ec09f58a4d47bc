"""Lesson 11: one number for a switching matrix, what "equal" takes, comparing languages, and what a
control must share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from . import choose, compare, exercise


# ---------------------------------------------------------------- 11.2
def own_minus_others(change, own: Sequence[int]) -> float:
    """The mean loss change of sets on their own language minus that on all others. change: [text,
    set]; own: the row of each set's language."""
    change = np.asarray(change, dtype=float)
    is_own = np.zeros(change.shape, dtype=bool)
    is_own[own, range(len(own))] = True
    return float(change[is_own].mean() - change[~is_own].mean())


@exercise("11.2", level=1, minutes=6, own=own_minus_others)
def check_11_2_own(answer) -> str:
    """answer(change, own) -> a number, as `own_minus_others` gives it."""
    change = [[0.1, 0.2, 0.9], [0.7, 0.0, 0.3], [0.2, 0.8, 0.1], [0.3, 0.1, 0.2]]

    def diagonal(change, own):
        return own_minus_others(change, range(len(own)))

    def columns_first(change, own):
        change = np.asarray(change)
        return own_minus_others(change[: len(own)].T, own)

    def with_own(change, own):
        change = np.asarray(change)
        return change[own, range(len(own))].mean() - change.mean()

    mistakes = {
        "you read the diagonal: set j's own text is in row own[j]": diagonal,
        "rows are texts and columns are sets; you read it the other way round": columns_first,
        "the own cells are in the second mean too: it is of the others alone": with_own,
        "the sign: own minus others": lambda *x: -own_minus_others(*x),
    }
    case = (change, [1, 2, 0]), "own cells are change[own[j], j], the others are the rest"
    compare(answer, own_minus_others, [case], mistakes)
    return "one number a matrix, whatever the order of texts and sets."


# ---------------------------------------------------------------- 11.4
def verdict(low: float, high: float, margin: float) -> str:
    """What an interval of a difference says: "more", "less", "equal" within the margin, or "cannot
    tell"."""
    if low > 0 or high < 0:
        return "more" if low > 0 else "less"
    return "equal" if -margin < low and high < margin else "cannot tell"


@exercise("11.4", level=2, minutes=8, own=verdict)
def check_11_4_verdict(answer) -> str:
    """answer(low, high, margin) -> a word, as `verdict` gives it."""

    def zero_inside_is_equal(low, high, margin):
        word = verdict(low, high, margin)
        return "equal" if word == "cannot tell" else word

    def no_equal(low, high, margin):
        word = verdict(low, high, margin)
        return "cannot tell" if word == "equal" else word

    def mean_inside(low, high, margin):
        word = verdict(low, high, margin)
        if word in ("more", "less"):
            return word
        return "equal" if abs(low + high) / 2 < margin else "cannot tell"

    mistakes = {
        "the middle of the interval lies within the margin, but an end does not": mean_inside,
        'an interval that holds zero is not yet "equal": [-6, 9] holds it too': (
            zero_inside_is_equal
        ),
        'you never say "equal": an interval inside the margin says it': no_equal,
        "more and less are exchanged": lambda low, high, margin: verdict(-high, -low, margin),
    }
    cases = [
        ((0.2, 3.0, 1.0), "an interval above zero"),
        ((-3.0, -0.2, 1.0), "an interval below zero"),
        ((-6.0, 9.0, 1.0), "a wide interval around zero"),
        ((-0.4, 0.6, 1.0), "an interval inside the margin"),
        ((-0.2, 1.3, 1.0), "an interval with one end outside the margin"),
    ]
    compare(answer, verdict, cases, mistakes)
    return 'a difference has four answers, and "cannot tell" is one of them.'


# ---------------------------------------------------------------- 11.1
@exercise("11.1", level=2, minutes=5, own="c")
def check_11_1_off_target(answer) -> str:
    """answer: "a", "b" or "c"."""
    wrong = {
        "a": "more vocabulary would not change the language of an output: look at the column "
        "off-target",
        "b": "quality inside the right language may rise too, but look at which column changes "
        "most from zero-shot to four-shot",
    }
    choose(answer, "c", wrong)
    return "a base model must first be told, or taught, which language to write."


# ---------------------------------------------------------------- 11.3
@exercise("11.3", level=3, minutes=8, own="b")
def check_11_3_control(answer) -> str:
    """answer: "a", "b", "c" or "d"."""
    wrong = {
        "a": "it trains other weights, and more of them: number and place both differ",
        "c": "without an update nothing is learned: that is the base model, not a control of the "
        "choice",
        "d": "another seed of the same choice shows noise, not what the choice is worth",
    }
    choose(answer, "b", wrong)
    return "a control shares everything but what is claimed to matter."
