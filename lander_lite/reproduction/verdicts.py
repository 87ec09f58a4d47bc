"""Three verdicts, by one rule.

A claim has parts. Each part says that a number lies above a bound: zero, a control, or a size that
the claim names. What is measured has a 95% interval.

- *reproduced*: the interval lies above the bound.
- *contradicted here*: it lies below bound + margin, so an effect of the margin is excluded.
- *cannot tell*: neither.

The margin is the smallest effect that matters: a hundredth of the scale (1 BLEU of 100, 1 point of
facts, .01 of a correlation or a cosine, 1% of a perplexity or a factor, one feature), or the
paper's own effect where that is smaller. It is 0 where the bound is a size itself. An interval
between bound and margin is reproduced, and the scorecard says that the effect is below the margin.
"No difference" may be said of an interval within ± margin alone.

A claim is reproduced if all of its parts are, contradicted here if one of them is, and else we
cannot tell. The margins are the same for all claims. They were chosen with the results of a first
tiny world known, and before those of the second, which they judge.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import stats

from .statistics import with_interval

REPRODUCED, CONTRADICTED, CANNOT_TELL = "reproduced", "contradicted here", "cannot tell"
NOT_MEASURED = "not measured"
VERDICTS = (REPRODUCED, CONTRADICTED, CANNOT_TELL, NOT_MEASURED)
ALPHA = 0.05
POWER = 0.8


class Unit(NamedTuple):
    """margin: the smallest effect that matters. form: how numbers are shown."""

    margin: float
    form: str


UNITS = {
    "BLEU": Unit(1.0, "+.1f"),
    "points": Unit(1.0, "+.1f"),  # percentage points of facts recalled
    "features": Unit(1.0, ".1f"),  # per layer
    "nats": Unit(0.01, "+.3f"),  # per token: 1% of the perplexity
    "ln": Unit(0.01, "+.2f"),  # natural logarithm of a factor
    "": Unit(0.01, ".3f"),  # what ends at 1: correlations, cosines, shares
}


def within(interval: tuple[float, float], unit: str = "BLEU") -> bool:
    """The interval lies within ± margin: "no difference" may be said."""
    return -UNITS[unit].margin < interval[0] and interval[1] < UNITS[unit].margin


@dataclass(frozen=True)
class Part:
    """One condition of a claim: the number lies above `bound`.

    interval: 95%. n: what it was taken over, and `varies` its name. margin: None for the unit's."""

    name: str
    mean: float
    interval: tuple[float, float]
    n: int
    varies: str = "seeds"
    unit: str = "BLEU"
    bound: float = 0.0
    margin: float | None = None

    @property
    def worth(self) -> float:
        """From here on, the effect matters."""
        return self.bound + (UNITS[self.unit].margin if self.margin is None else self.margin)

    @property
    def verdict(self) -> str:
        """By the rule at the top of this file."""
        low, high = self.interval
        if low > self.bound:
            return REPRODUCED
        return CONTRADICTED if high < self.worth else CANNOT_TELL

    @property
    def small(self) -> bool:
        """Reproduced, but the whole interval lies below the margin."""
        return self.verdict == REPRODUCED and self.interval[1] < self.worth

    @property
    def p(self) -> float:
        """Two-sided p of what the verdict excludes (bound or margin), as if the interval were
        Student's with n - 1 degrees of freedom; 1 if it excludes nothing."""
        if self.verdict == CANNOT_TELL:
            return 1.0
        away, half = self.mean - self.bound, self.mean - self.interval[0]
        if self.verdict == CONTRADICTED:
            away, half = self.worth - self.mean, self.interval[1] - self.mean
        return float(2 * stats.t.sf(_t(self.n) * away / half, self.n - 1)) if half else 0.0

    @property
    def visible(self) -> float | None:
        """The smallest distance from the bound that four such studies in five would have seen; None
        where nothing varied, which tells no power."""
        half = max(self.mean - self.interval[0], self.interval[1] - self.mean)
        in_halves = 1 + float(stats.t.ppf(POWER, self.n - 1)) / _t(self.n)
        return half * in_halves if half else None

    @property
    def number(self) -> str:
        """The mean with its interval and unit."""
        return f"{with_interval(self.mean, *self.interval, UNITS[self.unit].form)} {self.unit}"


def _t(n: int) -> float:
    return float(stats.t.ppf(1 - ALPHA / 2, n - 1))


def interval_part(name: str, found: dict, unit: str = "", **options) -> Part:
    """A part from an analysis's {"mean", "low", "high", "n"}; options: of `Part`."""
    options = {"varies": "blocks of sentences", "unit": unit} | options
    return Part(name, found["mean"], (found["low"], found["high"]), found["n"], **options)


def share_part(name: str, hits: int, n: int, varies: str, bound: float = 0.5) -> Part:
    """A part from a count, with the exact binomial interval. The bound is a size: no margin."""
    exact = stats.binomtest(int(hits), n).proportion_ci()
    return Part(name, hits / n, (exact.low, exact.high), n, varies, "", bound, 0.0)


def fact_part(name: str, holds: bool, n: int, varies: str) -> Part:
    """A part that the runs decide without a sample: met or not."""
    value = 1.0 if holds else -1.0
    return Part(name, value, (value, value), n, varies, "", 0.0, 0.0)


def log_ratio_part(name: str, ours: float, theirs: float, df: int, times: float) -> Part:
    """Of two standard deviations with `df` degrees of freedom each: ours is less than `times`
    theirs, ln(theirs / ours) above -ln(times), with the F distribution's interval."""
    mean, half = math.log(theirs / ours), math.log(float(stats.f.ppf(1 - ALPHA / 2, df, df))) / 2
    interval = (mean - half, mean + half)
    return Part(name, mean, interval, df + 1, "runs", "ln", -math.log(times), 0.0)


# ---------------------------------------------------------------- claims
def verdict_of(parts: Sequence[Part]) -> str:
    """Of a claim."""
    found = {part.verdict for part in parts}
    if CONTRADICTED in found:
        return CONTRADICTED
    return REPRODUCED if found == {REPRODUCED} else CANNOT_TELL


def deciding(parts: Sequence[Part]) -> Part:
    """The part that the verdict hangs on: of a reproduced claim the least certain, of a
    contradicted one the most certain, else the undecided one that lies lowest."""
    verdict = verdict_of(parts)
    chosen = [part for part in parts if part.verdict == verdict]
    if verdict == CANNOT_TELL:
        return min(chosen, key=lambda part: (part.mean - part.bound) / (part.visible or 1e-12))
    return (max if verdict == REPRODUCED else min)(chosen, key=lambda part: part.p)


def p_of(parts: Sequence[Part]) -> float:
    """Of a claim's verdict. All parts have to be reproduced, so the largest p counts; any part can
    contradict, so the smallest counts, times the number of parts (Bonferroni)."""
    verdict, p = verdict_of(parts), deciding(parts).p
    return min(1.0, p * len(parts)) if verdict == CONTRADICTED else p


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted for all of them together (Holm 1979): below .05, the chance that any of the verdicts
    is wrong stays below .05."""
    order = np.argsort(p_values, kind="stable")
    steps = np.asarray(p_values, dtype=float)[order] * np.arange(len(order), 0, -1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(steps))
    return adjusted.tolist()


def told(parts: Sequence[Part]) -> str:
    """What is not reproduced, and what only by less than the margin."""
    wrong = [part for part in parts if part.verdict == CONTRADICTED]
    groups = {
        "Contradicted here": [part for part in wrong if part.interval[1] < part.bound],
        "No effect of the margin": [part for part in wrong if part.interval[1] >= part.bound],
        "Cannot tell": [part for part in parts if part.verdict == CANNOT_TELL],
        "Reproduced, below the margin": [part for part in parts if part.small],
    }
    return "".join(f". **{name}:** {_names(found)}" for name, found in groups.items() if found)


def _names(parts: Sequence[Part]) -> str:
    """Names, those with the same beginning together: "better than full, lora"."""
    groups: dict[str, list[str]] = {}
    for part in parts:
        begin, than, end = part.name.rpartition(" than ")
        groups.setdefault(begin + than, []).append(end)
    return "; ".join(begin + ", ".join(ends) for begin, ends in groups.items())
