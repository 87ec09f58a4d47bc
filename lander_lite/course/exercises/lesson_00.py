"""Lesson 00: a prompt, perplexity, BLEU's precision, the bootstrap, off-target outputs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import torch

from ...prompts import prompt
from . import compare, exercise, expect


# ---------------------------------------------------------------- 00.1
def few_shot(sentence: str, examples: Sequence[tuple[str, str]]) -> str:
    """The en-de prompt for `sentence` after (English, German) examples."""
    return prompt(sentence, "en-de", shots=examples)


@exercise("00.1", level=1, minutes=6, own=few_shot)
def check_00_1_prompt(answer) -> str:
    """answer(sentence, examples) -> the prompt, as `few_shot` gives it."""
    examples = [("He reads.", "Er liest."), ("The cat sleeps.", "Die Katze schläft.")]
    cases = [
        (("We sing.", []), "without examples the prompt has two lines"),
        (("We sing.", examples[:1]), "an example is a prompt with its translation behind it"),
        (("We sing.", examples), "the examples keep their order"),
    ]

    def lines(sentence, examples, between="\n", last="\nGerman:"):
        shots = [f"English: {english}\nGerman: {german}" for english, german in examples]
        return between.join([*shots, f"English: {sentence}{last}"])

    mistakes = {
        'there is a space after the last "German:"; it belongs to the translation': (
            lambda *x: lines(*x, last="\nGerman: ")
        ),
        "there is a line break at the end; the model goes on in the line of the colon": (
            lambda *x: lines(*x, last="\nGerman:\n")
        ),
        'the last line is missing: "German:" asks for the translation': (
            lambda *x: lines(*x, last="")
        ),
        "the examples are missing": lambda sentence, examples: lines(sentence, []),
        "an empty line stands between the examples": lambda *x: lines(*x, between="\n\n"),
        "a line break is missing between the examples": lambda *x: lines(*x, between=""),
        "the examples stand in the wrong order": lambda s, examples: lines(s, examples[::-1]),
    }
    compare(answer, few_shot, cases, mistakes)
    return "the same text as lander_lite.prompts.prompt, with and without examples."


# ---------------------------------------------------------------- 00.2
def pooled_perplexity(losses: torch.Tensor, mask: torch.Tensor) -> float:
    """exp of the mean of `losses` [sentence, token], in nats, where `mask` is 1."""
    return ((losses * mask).sum() / mask.sum()).exp().item()


def sentence_means(losses, mask):
    """The mean loss of each sentence's own tokens [sentence]."""
    return (losses * mask).sum(dim=1) / mask.sum(dim=1)


@exercise("00.2", level=2, minutes=10, own=pooled_perplexity)
def check_00_2_perplexity(answer) -> str:
    """answer(losses, mask) -> the perplexity, as `pooled_perplexity` gives it."""
    losses = 4 * torch.rand(3, 5, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0]])
    case = (losses, mask), "this is neither of the two mistakes in the function above"
    mistakes = {
        "padding is counted, and sentences are averaged: both mistakes are still there": (
            lambda losses, mask: losses.mean(dim=1).exp().mean()
        ),
        "padding is counted: the mask says which losses belong to words": (
            lambda losses, mask: losses.mean().exp()
        ),
        "the losses of padding are zero now, but the mean still counts their places": (
            lambda losses, mask: (losses * mask).mean().exp()
        ),
        "an average of perplexities: one short, surprising sentence decides it; pool the tokens": (
            lambda losses, mask: sentence_means(losses, mask).exp().mean()
        ),
        "an average of averages: a token of a short sentence counts more than one of a long one": (
            lambda losses, mask: sentence_means(losses, mask).mean().exp()
        ),
        "the sum is divided by the number of sentences, not of tokens": (
            lambda losses, mask: ((losses * mask).sum() / len(losses)).exp()
        ),
        "this is the loss in nats: perplexity is exp of it": (
            lambda losses, mask: (losses * mask).sum() / mask.sum()
        ),
        "exp comes last: the mean is taken over losses, not over exp(loss)": (
            lambda losses, mask: (losses.exp() * mask).sum() / mask.sum()
        ),
    }
    compare(answer, pooled_perplexity, [case], mistakes)
    return "every real token counts once, and padding never."


# ---------------------------------------------------------------- 00.3
Words = Sequence[Sequence[str]]  # sentences, each a list of words


def ngrams(words: Sequence[str], n: int) -> Counter:
    """How often each n-gram, a tuple of n words, stands in a sentence."""
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def clipped_precision(outputs: Words, references: Words, n: int) -> float:
    """BLEU's p_n, 0 … 1: of all n-grams of the outputs, the share that their references have."""
    counts = [(ngrams(out, n), ngrams(ref, n)) for out, ref in zip(outputs, references)]
    matches = sum((out & ref).total() for out, ref in counts)
    return matches / sum(out.total() for out, _ in counts)


@exercise("00.3", level=2, minutes=12, own=clipped_precision)
def check_00_3_precision(answer) -> str:
    """answer(outputs, references, n) -> BLEU's p_n, as `clipped_precision` gives it."""
    outputs = ["the the the cat sat on mats".split(), "a small dog runs".split()]
    references = ["the cat sat on the mat today yes".split(), "a big dog runs".split()]
    cases = [
        ((outputs, references, 1), "p_1 is not right yet"),
        ((outputs, references, 2), "p_2 is not right yet: an n-gram is n words in a row"),
    ]

    def of(outputs, references, n, match, total):
        counts = [(ngrams(out, n), ngrams(ref, n)) for out, ref in zip(outputs, references)]
        return sum(match(*pair) for pair in counts) / sum(total(*pair) for pair in counts)

    def unclipped(out, ref):
        return sum(count for gram, count in out.items() if gram in ref)

    def averaged(outputs, references, n):
        pairs = zip(outputs, references)
        return sum(clipped_precision([out], [ref], n) for out, ref in pairs) / len(outputs)

    def clipped(out, ref):
        return (out & ref).total()

    mistakes = {
        "not clipped: an n-gram counts at most as often as its reference has it": (
            lambda *x: of(*x, unclipped, lambda out, ref: out.total())
        ),
        "an average over sentences: BLEU adds up the counts of all sentences, then divides": (
            averaged
        ),
        "this is recall: the outputs' n-grams stand below the line, not the references'": (
            lambda *x: of(*x, clipped, lambda out, ref: ref.total())
        ),
        "each different n-gram counts once here: count repeated ones as often as they stand": (
            lambda *x: of(*x, lambda out, ref: len(out & ref), lambda out, ref: len(out))
        ),
        "these are the matches: divide by the number of n-grams in the outputs": (
            lambda o, r, n: clipped_precision(o, r, n) * sum(ngrams(x, n).total() for x in o)
        ),
        "n is not used: these are single words": lambda o, r, n: clipped_precision(o, r, 1),
    }
    compare(answer, clipped_precision, cases, mistakes)
    return "clipped, and added up over all sentences before the division."


# ---------------------------------------------------------------- 00.4
def bootstrap_interval(score: Callable, n: int, rng: np.random.Generator) -> np.ndarray:
    """The 2.5th and 97.5th percentile [2] of score(rows) over 1000 resamples of n sentences."""
    draws = rng.integers(n, size=(1000, n))
    return np.percentile([score(rows) for rows in draws], [2.5, 97.5])


@exercise("00.4", level=3, minutes=12, own=bootstrap_interval)
def check_00_4_interval(answer) -> str:
    """answer(score, n, rng) -> (low, high), as `bootstrap_interval` gives it."""
    values = np.random.default_rng(1).exponential(size=30)
    drawn, seen = [], []

    def score(rows):
        drawn.append([int(row) for row in rows])
        seen.append(values[drawn[-1]].mean())
        return seen[-1]

    given = answer(score, 30, np.random.default_rng(0))
    expect(given is not None, "your function gives None: does it end with `return`?")
    expect(len(drawn) >= 500, f"score was called {len(drawn)} times: draw 1000 resamples")
    sizes = set(map(len, drawn))
    same_size = "a resample has as many sentences as the test set, n; a smaller one varies more"
    expect(sizes == {30}, f"{same_size}: here {sorted(sizes)[:3]} and not 30")
    repeats = any(len(set(rows)) < len(rows) for rows in drawn)
    expect(repeats, "drawn without replacement: each resample is the whole test set, reordered")
    expect(len(set(map(tuple, drawn))) > 1, "every resample is the same: draw anew each time")
    _check_bounds([float(bound) for bound in given], np.array(seen))
    return "percentiles of the scores of resamples that were drawn with replacement."


def _check_bounds(given: list[float], seen: np.ndarray) -> None:
    """Hold (low, high) against the scores that the answer saw."""
    expect(len(given) == 2 and given[0] <= given[1], "give two numbers: low, then high")
    mean, deviation = seen.mean(), seen.std()
    error = deviation / math.sqrt(len(seen))
    mistakes = {
        "a 90% interval: 5% are cut off at each end, where 2.5% should be": (
            np.percentile(seen, [5, 95])
        ),
        "the smallest and the largest score: these grow with the number of resamples": (
            (seen.min(), seen.max())
        ),
        "mean and 1.96 standard deviations assume a symmetric curve: take percentiles": (
            (mean - 1.96 * deviation, mean + 1.96 * deviation)
        ),
        "divided by the root of the number of resamples: more of them do not make you surer": (
            (mean - 1.96 * error, mean + 1.96 * error)
        ),
        "the middle half: 25% are cut off at each end, where 2.5% should be": (
            np.percentile(seen, [25, 75])
        ),
    }
    near = 0.02 * deviation  # ways to cut between two scores differ by less
    for says, bounds in mistakes.items():
        expect(not np.allclose(given, bounds, rtol=0, atol=near), says)
    right = np.percentile(seen, [2.5, 97.5])
    close = np.allclose(given, right, rtol=0, atol=4 * near)
    expect(close, "these are not the 2.5th and the 97.5th percentile of the resamples' scores")


# ---------------------------------------------------------------- 00.5
def off_target_rate(outputs: Sequence[str], target: str, identify: Callable) -> float:
    """The share, 0 … 1, of the outputs that are not empty which `identify`, a function of a text,
    takes for another language than `target`."""
    written = [output for output in outputs if output]
    return sum(identify(output) != target for output in written) / max(1, len(written))


@exercise("00.5", level=1, minutes=6, own=off_target_rate)
def check_00_5_off_target(answer) -> str:
    """answer(outputs, target, identify) -> the rate, as `off_target_rate` gives it."""
    outputs = ["der Hund", "the dog", "", "die Katze", "das Haus", "le chien", "die Maus", ""]

    def identify(text: str) -> str:
        return {"the": "en", "le": "fr", "": "fr"}.get(text.split(" ")[0], "de")

    def every(outputs, target, identify):
        return sum(identify(output) != target for output in outputs) / len(outputs)

    def wrong(outputs, target, identify):
        return off_target_rate(outputs, target, identify) * sum(map(bool, outputs))

    cases = [
        ((outputs, "de", identify), "this is not the rate"),
        ((outputs, "fr", identify), "use `target`: another language was asked for here"),
        ((["", ""], "de", identify), "with nothing written, nothing is in a wrong language: 0"),
    ]
    mistakes = {
        "empty outputs are taken for a language: leave them out": every,
        "empty outputs still count below the line: divide by the number of the others": (
            lambda outputs, *x: wrong(outputs, *x) / len(outputs)
        ),
        "this is the share in the right language; off-target are the others": (
            lambda *x: 1 - off_target_rate(*x)
        ),
        "this is a percentage: give the share, between 0 and 1": (
            lambda *x: 100 * off_target_rate(*x)
        ),
        "this is the number of outputs: divide, to compare test sets of other sizes": wrong,
    }
    compare(answer, off_target_rate, cases, mistakes)
    return "off-target and empty outputs are two different failures, counted apart."
