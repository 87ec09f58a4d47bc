"""Lesson 06: {exercise: {part of what the check says: a wrong answer}}."""

import math

import numpy as np


def change(before, after, trained):
    rest = set(before) - set(trained)
    gain = sum(after[x] - before[x] for x in trained) / len(trained)
    return gain, sum(before[x] - after[x] for x in rest) / len(rest)


def ratios(before, after):
    return [after[x] / before[x] for x in before]


def metrics(R, last=None, best=None):
    R = np.array(R, dtype=float)
    end, own = R[-1, :-1], R.diagonal()[:-1]
    best = R[:-1, :-1].max(0) if best is None else best(R)
    return (end - own).mean(), (best - end).mean(), 100 * (end / own).mean()


def metrics_of_all(R):
    R = np.array(R, dtype=float)
    end, own = R[-1], R.diagonal()
    return (end - own).mean(), (R.max(0) - end).mean(), 100 * (end / own).mean()


def loss_at(curve, gain):
    for (g0, l0), (g1, l1) in zip(curve, curve[1:]):
        if g1 >= gain:
            return l0 + (l1 - l0) * (gain - g0) / (g1 - g0)


WRONG = {
    "06.1": {
        "second number's sign": lambda *x: (change(*x)[0], -change(*x)[1]),
        "first number's sign": lambda *x: (-change(*x)[0], change(*x)[1]),
        "among the others": lambda before, after, trained: (
            change(before, after, trained)[0],
            sum(before[x] - after[x] for x in before) / len(before),
        ),
        "these are sums": lambda before, after, trained: (
            sum(after[x] - before[x] for x in trained),
            sum(before[x] - after[x] for x in before if x not in trained),
        ),
        "wrong way round": lambda *x: change(*x)[::-1],
        "use `trained`": lambda before, after, trained: change(before, after, ["en-de", "de-en"]),
    },
    "06.2": {
        "each one's logarithm": lambda before, after: math.log(
            sum(after.values()) / sum(before.values())
        ),
        "ratio of mean": lambda before, after: sum(after.values()) / sum(before.values()),
        "are subtracted": lambda before, after: (sum(after.values()) - sum(before.values())) / 3,
        "the sign": lambda before, after: np.mean(np.log(ratios(after, before))),
        "natural logarithm": lambda *x: np.mean(np.log2(ratios(*x))),
        "mean of ratios": lambda *x: np.mean(ratios(*x)),
        "comes last": lambda *x: np.log(np.mean(ratios(*x))),
        "the sum over languages": lambda *x: np.sum(np.log(ratios(*x))),
    },
    "06.3": {
        "last task is counted": metrics_of_all,
        "divided by T": lambda R: [x * (1 - 1 / len(R)) for x in metrics(R)],
        "rows are stages": lambda R: metrics(np.array(R).T),
        "BWT's sign": lambda R: (-metrics(R)[0], *metrics(R)[1:]),
        "best score before the end": lambda R: metrics(R, best=lambda R: R.diagonal()[:-1]),
        "last stage's own": lambda R: metrics(R, best=lambda R: R.max(0)[:-1]),
        "above its best earlier": lambda R: (metrics(R)[0], max(0, metrics(R)[1]), metrics(R)[2]),
        "F's sign": lambda R: (metrics(R)[0], -metrics(R)[1], metrics(R)[2]),
        "mean of ratios": lambda R: (
            *metrics(R)[:2],
            100 * np.array(R)[-1, :-1].sum() / np.array(R).diagonal()[:-1].sum(),
        ),
        "in percent": lambda R: (*metrics(R)[:2], metrics(R)[2] / 100),
        "not the three numbers": lambda R: metrics(R)[::-1],
    },
    "06.4": {
        "the next point": lambda curve, gain: next(loss for g, loss in curve if g >= gain),
        "the point before": lambda curve, gain: next(
            curve[i][1] for i in range(len(curve)) if curve[i + 1][0] >= gain
        ),
        "from the start": lambda curve, gain: next(
            loss * gain / g for g, loss in curve if g >= gain
        ),
        "take the first": lambda curve, gain: loss_at([(-g, x) for g, x in curve][::-1], -gain),
        "order of training": lambda curve, gain: np.interp(gain, *zip(*sorted(curve))),
        "half of its loss": lambda curve, gain: -1.0,
        "reaches the gain later": lambda curve, gain: (
            loss_at(curve, gain) if curve[1][0] > 0 else 0.0
        ),
    },
    "06.5": {"more seeds": "a", "no choice left": "c", "a third thing": "d", "one of": "B"},
}
