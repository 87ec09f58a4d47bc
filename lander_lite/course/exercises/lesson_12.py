"""Lesson 12: LAPE's entropy, Jaccard, a contrast of pairs, a permutation, and nats per sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from ...neighbours import families
from . import choose, compare, exercise


# ---------------------------------------------------------------- 12.1
def entropies(p: torch.Tensor) -> torch.Tensor:
    """LAPE of each neuron, in nats. p: share of active tokens [neuron, language], each above 0."""
    normalised = p / p.sum(dim=1, keepdim=True)
    return -(normalised * normalised.log()).sum(dim=1)


@exercise("12.1", level=2, minutes=10, own=entropies)
def check_12_1_entropies(answer) -> str:
    """answer(p) -> the entropy of each neuron, as `entropies` gives it."""
    p = torch.tensor([[0.5, 0.5, 0.5], [0.9, 0.1, 0.1], [0.02, 0.01, 0.01]], dtype=torch.float64)

    def by_column(p):
        normalised = p / p.sum(dim=0, keepdim=True)
        return -(normalised * normalised.log()).sum(dim=1)

    mistakes = {
        "p is not normalised: over languages it must sum to 1": (
            lambda p: -(p * p.log()).sum(dim=1)
        ),
        "you normalise over neurons: the distribution is over languages": by_column,
        "the sign: an entropy is not negative": lambda p: -entropies(p),
        "logarithms to base 2; here they are natural": lambda p: entropies(p) / math.log(2),
        "a mean over languages where eq. LAPE has a sum": lambda p: entropies(p) / p.shape[1],
    }
    compare(answer, entropies, [((p,), "one number a neuron, from its row")], mistakes)
    return "low where a neuron is active for few languages, however rarely it is active."


# ---------------------------------------------------------------- 12.2
def jaccard(a: set, b: set) -> float:
    """What two sets share over what either has; 0 for two empty ones."""
    return len(a & b) / max(1, len(a | b))


@exercise("12.2", level=1, minutes=4, own=jaccard)
def check_12_2_jaccard(answer) -> str:
    """answer(a, b) -> Jaccard index of two sets, as `jaccard` gives it."""
    mistakes = {
        "you divide by the first set: exchange the sets, and the result changes": (
            lambda a, b: len(a & b) / max(1, len(a))
        ),
        "you divide by both sizes together: what is in both is counted twice": (
            lambda a, b: len(a & b) / max(1, len(a) + len(b))
        ),
        "you divide by the smaller set: a subset would be the same set": (
            lambda a, b: len(a & b) / max(1, min(len(a), len(b)))
        ),
    }
    cases = [
        (({(0, 1), (0, 2), (3, 1)}, {(0, 1), (4, 4)}), "what both have, over what either has"),
        (({1, 2}, {1, 2}), "a set with itself"),
        ((set(), set()), "two empty sets share nothing"),
    ]
    compare(answer, jaccard, cases, mistakes)
    return "between 0 and 1, and the same whichever set is first."


# ---------------------------------------------------------------- 12.3
def contrast(overlap: torch.Tensor, labels: Sequence[str]) -> float:
    """Mean overlap of pairs with the same label minus that of the others, each pair once."""
    return families.contrast(overlap, families.same(labels))


@exercise("12.3", level=2, minutes=10, own=contrast)
def check_12_3_contrast(answer) -> str:
    """answer(overlap, labels) -> a number, as `contrast` gives it."""
    overlap = torch.tensor(
        [[1, 0.5, 0.2, 0.3], [0.5, 1, 0.1, 0.2], [0.2, 0.1, 1, 0.4], [0.3, 0.2, 0.4, 1]],
        dtype=torch.float64,
    )

    def with_itself(overlap, labels):
        related = families.same(labels)
        return overlap[related].mean() - overlap[~related].mean()

    def related_alone(overlap, labels):
        related = families.same(labels).triu(diagonal=1)
        return overlap[related].mean()

    def minus_all(overlap, labels):
        pairs = torch.ones_like(overlap).triu(diagonal=1).bool()
        return related_alone(overlap, labels) - overlap[pairs].mean()

    mistakes = {
        "a language overlaps with itself by 1: leave that out": with_itself,
        "the other pairs are missing: it is a difference of two means": related_alone,
        "the second mean is over all pairs; it should leave out the related ones": minus_all,
        "the sign: related minus the others": lambda *x: -contrast(*x),
    }
    case = (overlap, ["x", "x", "y", "z"]), "each pair once, and no language beside itself"
    compare(answer, contrast, [case], mistakes)
    return "each pair once, and no language beside itself."


# ---------------------------------------------------------------- 12.4
@exercise("12.4", level=3, minutes=8, own="b")
def check_12_4_shuffle(answer) -> str:
    """answer: "a", "b" or "c"."""
    wrong = {
        "a": "then a label moves to any script: relatives who share a script still look special "
        "for their script alone",
        "c": "resampling languages says how sure the number is, not what chance would give",
    }
    choose(answer, "b", wrong)
    return "what is held fixed while labels are dealt out cannot explain the result."


# ---------------------------------------------------------------- 12.5
def nats_per_sentence(perplexity: float, tokens: int, sentences: int) -> float:
    """Mean -log p of a sentence, of a text with this perplexity over so many predicted tokens."""
    return math.log(perplexity) * tokens / sentences


@exercise("12.5", level=2, minutes=6, own=nats_per_sentence)
def check_12_5_nats(answer) -> str:
    """answer(perplexity, tokens, sentences) -> nats, as `nats_per_sentence` gives it."""
    mistakes = {
        "perplexity is exp of the mean loss: take the logarithm first": (
            lambda perplexity, tokens, sentences: perplexity * tokens / sentences
        ),
        "that is per token; a sentence has tokens / sentences of them": (
            lambda perplexity, tokens, sentences: math.log(perplexity)
        ),
        "tokens and sentences are exchanged": (
            lambda perplexity, tokens, sentences: math.log(perplexity) * sentences / tokens
        ),
        "that is the whole text's; divide by its sentences": (
            lambda perplexity, tokens, sentences: math.log(perplexity) * tokens
        ),
    }
    case = (20.0, 90, 30), "nats per token, times tokens per sentence"
    compare(answer, nats_per_sentence, [case], mistakes)
    return "comparable between languages whose tokens are not."
