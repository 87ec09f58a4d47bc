"""Lesson 12: {exercise: {part of what the check says: a wrong answer}}."""

import math

import torch


def entropy(p, dim=1, base=math.e):
    p = p / p.sum(dim=dim, keepdim=True)
    return -(p * p.log() / math.log(base)).sum(dim=1)


def mean_of(overlap, related):
    return overlap[related].mean()


def same(labels):
    return torch.tensor([[a == b for b in labels] for a in labels])


def once(overlap):
    return torch.ones_like(overlap).triu(1).bool()


WRONG = {
    "12.1": {
        "p is not normalised": lambda p: -(p * p.log()).sum(dim=1),
        "over neurons": lambda p: entropy(p, dim=0),
        "the sign": lambda p: -entropy(p),
        "base 2": lambda p: entropy(p, base=2),
    },
    "12.2": {
        "exchange the sets": lambda a, b: len(a & b) / max(1, len(a)),
        "counted twice": lambda a, b: len(a & b) / max(1, len(a) + len(b)),
        "you gave": lambda a, b: len(a | b),
    },
    "12.3": {
        "leave that out": lambda overlap, labels: (
            mean_of(overlap, same(labels)) - mean_of(overlap, ~same(labels))
        ),
        "a difference of two means": lambda overlap, labels: mean_of(
            overlap, same(labels) & once(overlap)
        ),
        "should leave out the related": lambda overlap, labels: (
            mean_of(overlap, same(labels) & once(overlap)) - mean_of(overlap, once(overlap))
        ),
        "the sign": lambda overlap, labels: (
            mean_of(overlap, ~same(labels)) - mean_of(overlap, same(labels) & once(overlap))
        ),
    },
    "12.4": {
        "moves to any script": "a",
        "how sure the number is": "c",
        "answer with one of": "the second",
    },
    "12.5": {
        "take the logarithm first": lambda perplexity, tokens, sentences: (
            perplexity * tokens / sentences
        ),
        "that is per token": lambda perplexity, tokens, sentences: math.log(perplexity),
        "exchanged": lambda perplexity, tokens, sentences: (
            math.log(perplexity) * sentences / tokens
        ),
    },
}
