"""Lesson 10: an interval over seeds, what a paired bootstrap pairs, "not worse", and many claims at
once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

from ...reproduction.verdicts import holm
from . import choose, compare, exercise


# ---------------------------------------------------------------- 10.1
def seed_interval(differences: Sequence[float]) -> tuple[float, float]:
    """The 95% interval of the mean over seeds (Student's t)."""
    d = np.asarray(differences, dtype=float)
    half = stats.t.ppf(0.975, len(d) - 1) * d.std(ddof=1) / len(d) ** 0.5
    return float(d.mean() - half), float(d.mean() + half)


@exercise("10.1", level=2, minutes=10, own=seed_interval)
def check_10_1_seeds(answer) -> str:
    """answer(differences) -> (low, high), as `seed_interval` gives it."""

    def wrong(t=None, ddof=1, root=True):
        def interval(differences):
            d = np.asarray(differences, dtype=float)
            n = len(d)
            factor = stats.t.ppf(0.975, n - 1) if t is None else t(n)
            half = factor * d.std(ddof=ddof) / (n**0.5 if root else 1)
            return d.mean() - half, d.mean() + half

        return interval

    mistakes = {
        "that is the normal distribution's 1.96: with so few seeds the factor is larger": wrong(
            t=lambda n: stats.norm.ppf(0.975)
        ),
        "the standard deviation divides by n - 1 here: ddof=1": wrong(ddof=0),
        "that is where single runs lie; the mean of n runs lies sqrt(n) times closer": wrong(
            root=False
        ),
        "t has n - 1 degrees of freedom, not n": wrong(t=lambda n: stats.t.ppf(0.975, n)),
        "that is a one-sided factor: 95% leaves 2.5% on each side": wrong(
            t=lambda n: stats.t.ppf(0.95, n - 1)
        ),
    }
    cases = [(([1.0, -0.5, 0.7],), "three seeds"), (([0.2, 0.4, 0.1, 0.6, 0.3],), "five seeds")]
    compare(answer, seed_interval, cases, mistakes)
    return "three seeds have a factor of 4.3, five of 2.8, many of 2."


# ---------------------------------------------------------------- 10.2
@exercise("10.2", level=2, minutes=6, own="b")
def check_10_2_paired(answer) -> str:
    """answer: "a", "b" or "c"."""
    wrong = {
        "a": "that gives each system an interval of its own, and both hold the luck of their "
        "sentences: the difference looks less sure than it is",
        "c": "other sentences for each system: an easy draw for A against a hard one for B is "
        "noise that the comparison need not have",
    }
    choose(answer, "b", wrong)
    return "what both systems share, the sentences, then cancels in the difference."


# ---------------------------------------------------------------- 10.3
def not_worse(seeds: tuple, sentences: tuple, margin: float) -> bool:
    """Whether both intervals of A - B say that A is worse by less than the margin."""
    return min(seeds[0], sentences[0]) > -margin


@exercise("10.3", level=2, minutes=8, own=not_worse)
def check_10_3_not_worse(answer) -> str:
    """answer(seeds, sentences, margin) -> True or False, as `not_worse` gives it."""

    def equal(seeds, sentences, margin):
        high = max(seeds[1], sentences[1])
        return not_worse(seeds, sentences, margin) and high < margin

    def holds_zero(seeds, sentences, margin):
        low, high = min(seeds[0], sentences[0]), max(seeds[1], sentences[1])
        return low < 0 < high or low > 0

    def middle(seeds, sentences, margin):
        return (sum(seeds) + sum(sentences)) / 4 > -margin

    mistakes = {
        "a clear win is not worse: the upper ends do not matter": equal,
        "the seeds may allow more than the margin while the sentences do not: both count": (
            lambda seeds, sentences, margin: sentences[0] > -margin
        ),
        "the sentences may allow more than the margin while the seeds do not: both count": (
            lambda seeds, sentences, margin: seeds[0] > -margin
        ),
        "an interval that holds zero may hold much worse, too: unclear is not equal": holds_zero,
        "the means lie above -margin; the lower ends must": middle,
        "use the margin that is given": lambda seeds, sentences, margin: not_worse(
            seeds, sentences, 1.0
        ),
    }
    cases = [
        (((0.9, 1.1), (0.5, 1.5), 1.0), "a clear win"),
        (((-0.6, -0.4), (-0.8, -0.2), 1.0), "a clear loss, but a small one"),
        (((-5.0, 5.0), (-3.0, 4.0), 1.0), "two wide intervals around zero"),
        (((-5.0, 5.0), (-0.4, 0.4), 1.0), "seeds that do not agree"),
        (((-0.2, 0.2), (-1.5, 1.5), 1.0), "sentences that allow 1.5 worse"),
        (((-0.2, 0.2), (-0.4, 0.4), 0.1), "a smaller margin"),
    ]
    compare(answer, not_worse, cases, mistakes)
    return "the lower end of both intervals decides."


# ---------------------------------------------------------------- 10.4
@exercise("10.4", level=3, minutes=12, own=holm)
def check_10_4_holm(answer) -> str:
    """answer(p_values) -> adjusted ones in their order, as `verdicts.holm` gives them."""

    def steps(p_values, monotone=True, most=1.0, back=True, first=None):
        p = np.asarray(p_values, dtype=float)
        order = np.argsort(p, kind="stable")
        factors = np.arange(len(p), 0, -1) if first is None else first(len(p))
        values = p[order] * factors
        if monotone:
            values = np.maximum.accumulate(values)
        values = np.minimum(most, values)
        if not back:
            return values.tolist()
        adjusted = np.empty(len(p))
        adjusted[order] = values
        return adjusted.tolist()

    mistakes = {
        "every p times n is Bonferroni's correction; the next ones take n - 1, n - 2, …": (
            lambda p: steps(p, first=lambda n: np.full(n, n))
        ),
        "a larger p has a smaller adjusted one: keep the largest so far": (
            lambda p: steps(p, monotone=False)
        ),
        "an adjusted p above 1: cut it": lambda p: steps(p, most=np.inf),
        "right values in the order of their size; give them back in the order of the p": (
            lambda p: steps(p, back=False)
        ),
        "the smallest p is multiplied by n, not the largest": (
            lambda p: steps(p, first=lambda n: np.arange(1, n + 1))
        ),
    }
    cases = [
        (([0.03, 0.001, 0.02],), "three claims"),
        (([0.5, 0.04, 0.9, 0.011, 0.012],), "five claims"),
    ]
    compare(answer, holm, cases, mistakes)
    return "the chance of any wrong verdict stays below the level."
