"""Lesson 11: {exercise: {part of what the check says: a wrong answer}}."""

import numpy as np


def diagonal(change, own):
    change = np.asarray(change)
    places = np.eye(*change.shape, dtype=bool)
    return change[places].mean() - change[~places].mean()


def all_cells(change, own):
    change = np.asarray(change)
    return change[own, range(len(own))].mean() - change.mean()


def turned(change, own):
    change = np.asarray(change)
    is_own = np.zeros(change.shape, dtype=bool)
    is_own[own, range(len(own))] = True
    return change[~is_own].mean() - change[is_own].mean()


def word(low, high, margin):
    if low > 0:
        return "more"
    if high < 0:
        return "less"
    return None


WRONG = {
    "11.2": {
        "you read the diagonal": diagonal,
        "the own cells are in the second mean too": all_cells,
        "the sign": turned,
        "own cells are": lambda change, own: 0.5,
    },
    "11.4": {
        "is not yet": lambda *x: word(*x) or "equal",
        "you never say": lambda *x: word(*x) or "cannot tell",
        "but an end does not": lambda low, high, margin: (
            word(low, high, margin) or ("equal" if abs(low + high) < 2 * margin else "cannot tell")
        ),
        "exchanged": lambda low, high, margin: (
            {"more": "less", "less": "more"}.get(word(low, high, margin))
            or ("equal" if -margin < low and high < margin else "cannot tell")
        ),
    },
    "11.1": {
        "more vocabulary": "a",
        "look at which column": "b",
        "answer with one of": "off-target",
    },
    "11.3": {"number and place": "a", "without an update": "c", "another seed": "d"},
}
