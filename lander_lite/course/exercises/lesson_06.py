"""Exercises of lesson 06: gains and losses, a sequence's three numbers, loss at equal gain, and a
control."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ...reproduction.statistics import continual
from . import choose, compare, exercise


# ---------------------------------------------------------------- 06.1
def bleu_change(before: Mapping, after: Mapping, trained: Sequence[str]) -> tuple[float, float]:
    """(mean BLEU gained on the `trained` pairs, mean BLEU lost on the others); before, after:
    {pair: BLEU}."""
    rest = [pair for pair in before if pair not in trained]
    gained = [after[pair] - before[pair] for pair in trained]
    lost = [before[pair] - after[pair] for pair in rest]
    return sum(gained) / len(gained), sum(lost) / len(lost)


@exercise("06.1", level=1, minutes=5, own=bleu_change)
def check_06_1_change(answer) -> str:
    """answer(before, after, trained) -> (gain, loss), as `bleu_change` gives them."""
    before = {"en-de": 20.0, "de-en": 31.0, "en-fr": 28.0, "fr-en": 40.0, "en-zh": 9.0}
    after = {"en-de": 41.0, "de-en": 44.0, "en-fr": 20.0, "fr-en": 41.5, "en-zh": 3.0}
    cases = [
        ((before, after, ["en-de", "de-en"]), "these are not the two means"),
        ((before, after, ["en-zh"]), "use `trained`: another direction was trained here"),
    ]

    def lost_on(pairs, before, after):
        return sum(before[pair] - after[pair] for pair in pairs) / len(pairs)

    def total(before, after, trained):
        gain, lost = bleu_change(before, after, trained)
        return gain * len(trained), lost * (len(before) - len(trained))

    mistakes = {
        "the second number's sign: a loss is above zero where BLEU fell": (
            lambda *x: (bleu_change(*x)[0], -bleu_change(*x)[1])
        ),
        "the first number's sign: a gain is above zero where BLEU rose": (
            lambda *x: (-bleu_change(*x)[0], bleu_change(*x)[1])
        ),
        "the trained directions are among the others: what was learned would hide what was lost": (
            lambda before, after, trained: (
                bleu_change(before, after, trained)[0],
                lost_on(list(before), before, after),
            )
        ),
        "these are sums: take means, so that numbers of directions do not matter": total,
        "the two numbers are the wrong way round: the gain is first": (
            lambda *x: bleu_change(*x)[::-1]
        ),
    }
    compare(answer, bleu_change, cases, mistakes)
    return "what was learned, and what it cost elsewhere."


# ---------------------------------------------------------------- 06.2
def nats_gained(before: Mapping[str, float], after: Mapping[str, float]) -> float:
    """The mean over languages of ln(after / before), nats per token; before, after: {language:
    perplexity}."""
    return sum(math.log(after[x] / before[x]) for x in before) / len(before)


@exercise("06.2", level=2, minutes=7, own=nats_gained)
def check_06_2_nats(answer) -> str:
    """answer(before, after) -> nats per token, as `nats_gained` gives them."""
    before = {"en": 20.0, "de": 19.0, "ar": 90.0}
    after = {"en": 24.0, "de": 27.0, "ar": 85.0}
    case = (before, after), "this is not the mean gain in loss"

    def means(before, after):
        return sum(after.values()) / sum(before.values())

    def mean_ratio(before, after):
        return sum(after[x] / before[x] for x in before) / len(before)

    mistakes = {
        "the language of the largest perplexity decides: take each one's logarithm first": (
            lambda *x: math.log(means(*x))
        ),
        "a ratio of mean perplexities: the largest decides, and it is no loss in nats": means,
        "perplexities are subtracted: their differences grow with them; subtract logarithms": (
            lambda before, after: sum(after[x] - before[x] for x in before) / len(before)
        ),
        "the sign: a loss gained is above zero where perplexity rose": (
            lambda *x: -nats_gained(*x)
        ),
        "this is in bits or another unit: nats take the natural logarithm": (
            lambda *x: nats_gained(*x) / math.log(2)
        ),
        "a mean of ratios: twice as high and half as high do not cancel; take logarithms": (
            mean_ratio
        ),
        "the logarithm comes last: average the logarithms, not the ratios": (
            lambda *x: math.log(mean_ratio(*x))
        ),
        "this is the sum over languages: take the mean": lambda *x: 3 * nats_gained(*x),
    }
    compare(answer, nats_gained, [case], mistakes)
    return "every language counts the same, whatever its perplexity."


# ---------------------------------------------------------------- 06.3
def sequence_metrics(R: Sequence[Sequence[float]]) -> tuple[float, float, float]:
    """(BWT, forgetting, retention in percent) of R[stage][task], as `continual` gives them."""
    summary = continual(R, np.zeros(len(R)))
    return summary["bwt"], summary["forgetting"], summary["retention"]


@exercise("06.3", level=2, minutes=12, own=sequence_metrics)
def check_06_3_sequence(answer) -> str:
    """answer(R) -> (bwt, forgetting, retention), as `sequence_metrics` gives them."""
    R = [[30, 12, 9, 5], [33, 25, 8, 6], [21, 28, 40, 7], [18, 20, 44, 35]]
    grown = [[30, 12, 3], [28, 25, 4], [36, 20, 31]]
    cases = [
        ((R,), "these are not the three numbers, in the order BWT, F, FG"),
        ((grown,), "forgetting may be below zero: a task can end above its best earlier score"),
    ]

    def one_wrong(place: int, wrong: Callable) -> Callable:
        def metrics(R):
            numbers = list(sequence_metrics(R))
            numbers[place] = wrong(np.array(R, dtype=float))
            return numbers

        return metrics

    def ratio_of_sums(R):
        return 100 * R[-1, :-1].sum() / R.diagonal()[:-1].sum()

    def by_stages(R):
        bwt, forgetting, retention = sequence_metrics(R)
        share = (len(R) - 1) / len(R)
        return bwt * share, forgetting * share, retention * share

    def with_last(R):
        R = np.array(R, dtype=float)
        lost, kept = R.max(axis=0) - R[-1], R[-1] / R.diagonal()
        return (R[-1] - R.diagonal()).mean(), lost.mean(), 100 * kept.mean()

    mistakes = {
        "the last task is counted: it had no time to be forgotten, and makes all look better": (
            with_last
        ),
        "divided by T: the sums have T - 1 tasks": by_stages,
        "rows are stages and columns are tasks: R[stage][task]": (
            lambda R: sequence_metrics(np.array(R).T)
        ),
        "BWT's sign: the end minus the task's own stage, below zero where it was forgotten": (
            one_wrong(0, lambda R: (R.diagonal() - R[-1])[:-1].mean())
        ),
        "F starts from the best score before the end, which need not be the task's own stage's": (
            one_wrong(1, lambda R: (R.diagonal() - R[-1])[:-1].mean())
        ),
        "F's best score may not be the last stage's own: then nothing could be gained": (
            one_wrong(1, lambda R: (R.max(axis=0) - R[-1])[:-1].mean())
        ),
        "F's sign: the best score minus the last one": (
            one_wrong(1, lambda R: -sequence_metrics(R)[1])
        ),
        "FG is a mean of ratios; a ratio of sums lets tasks with high scores decide": (
            one_wrong(2, ratio_of_sums)
        ),
        "FG is in percent": one_wrong(2, lambda R: sequence_metrics(R)[2] / 100),
    }
    compare(answer, sequence_metrics, cases, mistakes)
    return "without the last task, and each number from its own starting point."


# ---------------------------------------------------------------- 06.4
def loss_where_reached(curve: Sequence[tuple[float, float]], gain: float) -> float | None:
    """The loss where a curve of (gain, loss) first reaches `gain`, linear between two points; None
    if it never does."""
    for (gain_0, loss_0), (gain_1, loss_1) in zip(curve, curve[1:]):
        if gain_1 >= gain:
            return loss_0 + (loss_1 - loss_0) * (gain - gain_0) / (gain_1 - gain_0)
    return None


@exercise("06.4", level=3, minutes=15, own=loss_where_reached)
def check_06_4_loss(answer) -> str:
    """answer(curve, gain) -> the loss, as `loss_where_reached` gives it."""
    bent = [(0, 0), (4, 1), (8, 2), (6, 9), (12, 10)]
    dip = [(0, 0), (-10, 6), (10, 8), (20, 3)]
    cases = [
        (([(0, 0), (10, 4)], 5), "halfway along a straight line, half of its loss was reached"),
        ((bent, 7), "this is not where the gain is first reached"),
        ((bent, 8), "at a point of the curve, take its own loss"),
        ((dip, 5), "this curve falls below zero first, and reaches the gain later"),
    ]

    def point(curve, gain):
        return next(loss for reached, loss in curve if reached >= gain)

    def point_before(curve, gain):
        place = next(i for i, (reached, _) in enumerate(curve) if reached >= gain)
        return curve[place - 1][1]

    def last(curve, gain):
        turned = [(-reached, loss) for reached, loss in curve][::-1]
        return loss_where_reached(turned, -gain)

    def ordered(curve, gain):
        return float(np.interp(gain, *zip(*sorted(curve))))

    def from_start(curve, gain):
        reached, loss = next(one for one in curve if one[0] >= gain)
        return loss * gain / reached

    mistakes = {
        "this is the loss of the next point: go back along the line between the two points": point,
        "this is the loss of the point before: go on along the line between the two": point_before,
        "this is a line from the start: it must begin at the point before": from_start,
        "the last time that the gain is reached: take the first": last,
        "the points were sorted by gain: they must stay in the order of training": ordered,
    }
    compare(answer, loss_where_reached, cases, mistakes)
    return "two methods can now be compared where both have learned the same."


# ---------------------------------------------------------------- 06.5
@exercise("06.5", level=2, minutes=5, own="b")
def check_06_5_control(answer) -> str:
    """answer: the letter of the control that changes one thing only."""
    others = {
        "a": "more seeds make the same comparison surer: random and block 0 still change together",
        "c": "with all blocks there is no choice left, and twice as many weights are tuned",
        "d": "another learning rate changes a third thing, and separates neither of the two",
    }
    choose(answer, "b", others)
    return "still random, and without block 0: one difference is left."
