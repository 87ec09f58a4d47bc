"""Lesson 00: {exercise: {part of what the check says: a wrong answer}}."""

from collections import Counter

import numpy as np


def plain_prompt(sentence, examples):
    return f"English: {sentence}\nGerman:"


def joined(sentence, examples, between="\n"):
    shots = [f"English: {source}\nGerman: {target}" for source, target in examples]
    return between.join([*shots, plain_prompt(sentence, [])])


def count(words, n):
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def unclipped(outputs, references, n):
    found = total = 0
    for output, reference in zip(outputs, references):
        known = count(reference, n)
        grams = list(count(output, n).elements())
        found += sum(gram in known for gram in grams)
        total += len(grams)
    return found / total


def matches(outputs, references, n):
    pairs = zip(outputs, references)
    return sum((count(out, n) & count(ref, n)).total() for out, ref in pairs)


def sentence_average(outputs, references, n):
    shares = []
    for output, reference in zip(outputs, references):
        ours, theirs = count(output, n), count(reference, n)
        shares.append((ours & theirs).total() / max(1, ours.total()))
    return sum(shares) / len(shares)


def sets(outputs, references, n):
    pairs = [(set(count(out, n)), set(count(ref, n))) for out, ref in zip(outputs, references)]
    return sum(len(out & ref) for out, ref in pairs) / sum(len(out) for out, _ in pairs)


def recall(outputs, references, n):
    return matches(outputs, references, n) / sum(count(ref, n).total() for ref in references)


def resampled(score, n, rng, resamples=1000, size=None):
    return [score(rng.integers(n, size=size or n)) for _ in range(resamples)]


def standard_error(score, n, rng):
    scores = resampled(score, n, rng)
    half = 1.96 * np.std(scores) / len(scores) ** 0.5
    return np.mean(scores) - half, np.mean(scores) + half


def normal(score, n, rng):
    scores = resampled(score, n, rng)
    return np.mean(scores) - 1.96 * np.std(scores), np.mean(scores) + 1.96 * np.std(scores)


def off_target(outputs, target, identify):
    return sum(identify(output) != target for output in outputs if output)


WRONG = {
    "00.1": {
        "space after the last": lambda *x: joined(*x) + " ",
        "line break at the end": lambda *x: joined(*x) + "\n",
        "examples are missing": plain_prompt,
        "empty line": lambda *x: joined(*x, between="\n\n"),
        "line break is missing": lambda *x: joined(*x, between=""),
        "wrong order": lambda sentence, examples: joined(sentence, examples[::-1]),
        "last line is missing": lambda *x: joined(*x).removesuffix("\nGerman:"),
        "two lines": lambda sentence, examples: sentence,
    },
    "00.2": {
        "both mistakes": lambda losses, mask: losses.mean(1).exp().mean(),
        "padding is counted: the mask": lambda losses, mask: losses.mean().exp(),
        "still counts their places": lambda losses, mask: losses.mul(mask).mean().exp(),
        "average of perplexities": lambda losses, mask: (
            ((losses * mask).sum(1) / mask.sum(1)).exp().mean()
        ),
        "average of averages": lambda losses, mask: (
            ((losses * mask).sum(1) / mask.sum(1)).mean().exp()
        ),
        "not of tokens": lambda losses, mask: losses[mask == 1].sum().div(len(mask)).exp(),
        "loss in nats": lambda losses, mask: losses[mask == 1].mean(),
        "exp comes last": lambda losses, mask: losses[mask == 1].exp().mean(),
        "neither of the two": lambda losses, mask: losses.sum(),
    },
    "00.3": {
        "not clipped": unclipped,
        "average over sentences": sentence_average,
        "recall": recall,
        "each different n-gram": sets,
        "these are the matches": matches,
        "n is not used": lambda outputs, references, n: (
            matches(outputs, references, 1) / sum(map(len, outputs))
        ),
    },
    "00.4": {
        "without replacement": lambda score, n, rng: np.percentile(
            [score(rng.permutation(n)) for _ in range(1000)], [2.5, 97.5]
        ),
        "smaller one varies more": lambda score, n, rng: np.percentile(
            resampled(score, n, rng, size=10), [2.5, 97.5]
        ),
        "90% interval": lambda *x: np.percentile(resampled(*x), [5, 95]),
        "smallest and the largest": lambda *x: (min(y := resampled(*x)), max(y)),
        "standard deviations": normal,
        "root of the number": standard_error,
        "middle half": lambda *x: np.percentile(resampled(*x), [25, 75]),
        "draw 1000": lambda *x: np.percentile(resampled(*x, resamples=50), [2.5, 97.5]),
        "low, then high": lambda *x: np.percentile(resampled(*x), [97.5, 2.5]),
        "return": lambda *x: print(end=str(resampled(*x))[:0]),
        "not the 2.5th": lambda *x: np.percentile(resampled(*x), [0, 100 - 30]),
    },
    "00.5": {
        "leave them out": lambda outputs, target, identify: (
            sum(identify(output) != target for output in outputs) / len(outputs)
        ),
        "below the line": lambda outputs, *x: off_target(outputs, *x) / len(outputs),
        "the number of outputs": off_target,
        "percentage": lambda outputs, *x: 100 * off_target(outputs, *x) / sum(map(bool, outputs)),
        "in the right language": lambda outputs, target, identify: (
            sum(identify(text) == target for text in outputs if text) / sum(map(bool, outputs))
        ),
        "use `target`": lambda outputs, target, identify: (
            off_target(outputs, "de", identify) / max(1, sum(map(bool, outputs)))
        ),
        "in a wrong language: 0": lambda outputs, *x: (
            off_target(outputs, *x) / sum(map(bool, outputs))
        ),
    },
}
