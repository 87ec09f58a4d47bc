"""Lesson 02: {exercise: {part of what the check says: a wrong answer}}."""

import torch
from torch.nn.functional import cross_entropy


def of_label(logits, ids, by):
    """-log p of token t + by at position t."""
    places = range(len(ids) - by)
    return torch.stack([-logits[t].log_softmax(-1)[ids[t + by]] for t in places])


def off_at(loss, h, rows, neuron):
    off = h.clone()
    off[rows, neuron] = 0
    return (loss(off) - loss(h)) / len(h)


def in_place(loss, h, neuron):
    off = h
    off[:, neuron] = 0
    return (loss(off) - loss(h)).abs() / len(h)


def in_place_behind(loss, h, neuron):
    before = loss(h)
    h[:, neuron] = 0
    return (loss(h) - before).abs() / len(h)


def only_this(loss, h, neuron):
    off = torch.zeros_like(h)
    off[:, neuron] = h[:, neuron]
    return (loss(off) - loss(h)).abs() / len(h)


def token_off(loss, h, neuron):
    off = h.clone()
    off[neuron] = 0
    return (loss(off) - loss(h)).abs() / len(h)


ALL = slice(None)
WRONG = {
    "02.1": {
        "both bugs are still there": lambda logits, ids: of_label(logits, ids, 2).mean(),
        "the labels are shifted twice: position": lambda logits, ids: of_label(
            logits, ids, 2
        ).sum(),
        "averaged over tokens": lambda logits, ids: of_label(logits, ids, 1).mean(),
        "nothing is shifted: position": lambda logits, ids: of_label(logits, ids, 0).sum(),
        "nothing is shifted, and": lambda logits, ids: of_label(logits, ids, 0).mean(),
        "shifted the wrong way": lambda logits, ids: cross_entropy(
            logits[1:], ids[:-1], reduction="sum"
        ),
        "one number for each token": lambda logits, ids: of_label(logits, ids, 1),
        "the logits are not a loss": lambda logits, ids: (
            -sum(logits[t, ids[t + 1]] for t in range(len(ids) - 1))
        ),
        "a loss is positive": lambda logits, ids: -of_label(logits, ids, 1).sum(),
        "no gradient can flow": lambda logits, ids: of_label(logits, ids, 1).sum().item(),
        "raises ValueError": lambda logits, ids: cross_entropy(logits, ids[1:]),
    },
    "02.2": {
        "outside of the mean": lambda h, g: torch.einsum("tn,tn->n", h, g).abs() / len(h),
        "the signs are kept": lambda h, g: torch.einsum("tn,tn->n", h, g) / len(h),
        "summed over the tokens": lambda h, g: (h.abs() * g.abs()).sum(dim=0),
        "the gradient is missing": lambda h, g: sum(h.abs()) / len(h),
        "the activation is missing": lambda h, g: sum(g.abs()) / len(g),
        "two means are multiplied": lambda h, g: h.abs().mean(0) * g.abs().mean(0),
        "one number for each token: the": lambda h, g: (h * g).abs().mean(-1),
        "one number for each token and neuron": lambda h, g: h.abs() * g.abs(),
        "only the gradient has bars": lambda h, g: (h * g.abs()).mean(0),
        "one number for all neurons": lambda h, g: (h * g).abs().mean(),
        "squared": lambda h, g: ((h * g) ** 2).mean(0),
    },
    "02.3": {
        "clone h first": in_place,
        "the next neuron would start from it": in_place_behind,
        "at the first token alone": lambda loss, h, n: off_at(loss, h, 0, n).abs(),
        "at the last token alone": lambda loss, h, n: off_at(loss, h, len(h) - 1, n).abs(),
        "a token is off": token_off,
        "comparable with eq. 4": lambda loss, h, n: off_at(loss, h, ALL, n).abs() * len(h),
        "which is dimension 0": lambda loss, h, n: (
            off_at(loss, h, ALL, n).abs() * len(h) / h.shape[1]
        ),
        "the sign is kept: take": lambda loss, h, n: off_at(loss, h, ALL, n),
        "the sign is kept, and turned": lambda loss, h, n: -off_at(loss, h, ALL, n),
        "subtract the loss with it": lambda loss, h, n: off_at(loss, h, ALL, n) + loss(h) / len(h),
        "all other neurons are off": only_this,
        "raises RuntimeError": lambda loss, h, n: loss(h[:, [0]] @ h) - loss(h),
    },
    "02.4": {
        "from the same straight line": "a",
        "sampling moves both alike": "c",
        "both sides are per token": "d",
        "one of 'a', 'b', 'c', 'd', not 'e'": "e",
    },
    "02.5": {
        "without any gradient": "a",
        "nothing is compared": "b",
        "that the loss rises is no news": "d",
        "one of 'a', 'b', 'c', 'd', not 'e'": "e",
    },
}
