"""Lesson 10: {exercise: {part of what the check says: a wrong answer}}."""

import statistics


def interval(factor, spread=statistics.stdev, root=True):
    def answer(differences):
        n, mean = len(differences), statistics.fmean(differences)
        half = factor(n) * spread(differences) / (n**0.5 if root else 1)
        return mean - half, mean + half

    return answer


def t(n):
    return {3: 4.302653, 5: 2.776445}[n]


def in_order(p_values, factors, keep=False):
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted, largest = [0.0] * len(order), 0.0
    for factor, i in zip(factors, order):
        value = min(1.0, factor * p_values[i])
        largest = max(largest, value)
        adjusted[i] = largest if keep else value
    return adjusted


WRONG = {
    "10.1": {
        "the normal distribution's": interval(lambda n: 1.959964),
        "ddof=1": interval(t, statistics.pstdev),
        "where single runs lie": interval(t, root=False),
    },
    "10.2": {
        "an interval of its own": "a",
        "other sentences for each": "c",
        "answer with one of": "paired",
    },
    "10.3": {
        "a clear win is not worse": lambda seeds, sentences, margin: (
            min(seeds[0], sentences[0]) > -margin and max(seeds[1], sentences[1]) < margin
        ),
        "unclear is not equal": lambda seeds, sentences, margin: True,
        "while the sentences do not": lambda seeds, sentences, margin: sentences[0] > -margin,
        "while the seeds do not": lambda seeds, sentences, margin: seeds[0] > -margin,
    },
    "10.4": {
        "Bonferroni": lambda p: [min(1.0, len(p) * x) for x in p],
        "keep the largest so far": lambda p: in_order(p, range(len(p), 0, -1)),
        "multiplied by n, not the largest": lambda p: in_order(p, range(1, len(p) + 1), keep=True),
    },
}
