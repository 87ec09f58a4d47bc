"""Lesson 02: a loss with two bugs, awareness (eq. 4), exact ablation (eq. 3), why the estimate is
too large, a control."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from . import choose, compare, exercise, expect


# ---------------------------------------------------------------- 02.1
def next_token_loss(logits: Tensor, ids: Tensor) -> Tensor:
    """The summed loss of a sentence's tokens, each predicted from those before it.

    Args:
        logits: [token, vocabulary]. ids: [token].
    """
    return F.cross_entropy(logits[:-1], ids[1:], reduction="sum")


@exercise("02.1", level=2, minutes=8, own=next_token_loss)
def check_02_1_loss(answer) -> str:
    """answer(logits, ids) -> the loss, as `next_token_loss` gives it."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 11, generator=generator)
    ids = torch.tensor([3, 7, 0, 5, 10, 2])

    def shifted(by: int, reduction: str) -> Callable:
        def loss(logits, ids):
            return F.cross_entropy(logits[: len(ids) - by], ids[by:], reduction=reduction)

        return loss

    mean = "the loss is averaged over tokens: gradients would depend on the length of the sentence"
    mistakes = {
        f"both bugs are still there: {mean}; and the labels are shifted twice": shifted(2, "mean"),
        "the labels are shifted twice: position t is asked for token t + 2": shifted(2, "sum"),
        mean: shifted(1, "mean"),
        "nothing is shifted: position t is asked for the token that it reads": shifted(0, "sum"),
        "nothing is shifted, and the loss is averaged": shifted(0, "mean"),
        "shifted the wrong way: position t is asked for the token before it": (
            lambda logits, ids: F.cross_entropy(logits[1:], ids[:-1], reduction="sum")
        ),
        "one number for each token: add them up": shifted(1, "none"),
        "the logits are not a loss: take -log of the probability": (
            lambda logits, ids: -logits[:-1].gather(1, ids[1:, None]).sum()
        ),
        "the sign is turned round: a loss is positive": (
            lambda logits, ids: -next_token_loss(logits, ids)
        ),
    }
    compare(answer, next_token_loss, [((logits, ids), "this is not the loss")], mistakes)
    loss = answer(logits.clone().requires_grad_(), ids)
    expect(
        getattr(loss, "requires_grad", False),
        "the right number, but no gradient can flow through it: give the tensor, without `.item()` "
        "or `.detach()`",
    )
    return "one shift, and a sum: position t predicts token t + 1."


# ---------------------------------------------------------------- 02.2
def awareness(h: Tensor, gradient: Tensor) -> Tensor:
    """Eq. 4 for one sentence. h, gradient (of the loss): [token, neuron]. Returns: [neuron]."""
    return (h * gradient).abs().mean(dim=0)


@exercise("02.2", level=1, minutes=8, own=awareness)
def check_02_2_awareness(answer) -> str:
    """answer(h, gradient) -> Phi, as `awareness` gives it."""
    h = torch.tensor([[0.5, -1.0, 2.0, 0.1], [1.5, 0.3, -0.7, 1.0], [-0.2, 0.8, 0.4, -1.2]])
    gradient = torch.tensor([[1.0, 0.4, -0.3, 2.0], [-0.6, 1.2, 0.5, 0.7], [0.9, -0.8, 1.1, 0.2]])
    mistakes = {
        "the absolute value is outside of the mean: help and harm cancel between tokens": (
            lambda h, g: (h * g).mean(dim=0).abs()
        ),
        "the signs are kept: take the absolute value of each token's product": (
            lambda h, g: (h * g).mean(dim=0)
        ),
        "summed over the tokens: take their mean": lambda h, g: (h * g).abs().sum(dim=0),
        "the gradient is missing": lambda h, g: h.abs().mean(dim=0),
        "the activation is missing": lambda h, g: g.abs().mean(dim=0),
        "two means are multiplied: multiply at each token first": (
            lambda h, g: h.abs().mean(dim=0) * g.abs().mean(dim=0)
        ),
        "this is one number for each token: the mean runs over tokens, dimension 0": (
            lambda h, g: (h * g).abs().mean(dim=1)
        ),
        "one number for each token and neuron: take the mean over tokens": (
            lambda h, g: (h * g).abs()
        ),
        "only the gradient has bars: take the absolute value of the product": (
            lambda h, g: (h * g.abs()).mean(dim=0)
        ),
        "one number for all neurons: give one for each": lambda h, g: (h * g).abs().mean(),
        "squared: eq. 4 has an absolute value": lambda h, g: (h * g).square().mean(dim=0),
    }
    compare(answer, awareness, [((h, gradient), "this is not eq. 4")], mistakes)
    return "multiply, then the absolute value, then the mean over tokens."


# ---------------------------------------------------------------- 02.3
def ablation(loss: Callable, h: Tensor, neuron: int) -> Tensor:
    """Eq. 3 for one sentence, per token. loss(h): the summed loss with these activations [token,
    neuron]."""
    off = h.clone()
    off[:, neuron] = 0
    return (loss(off) - loss(h)).abs() / len(h)


def _made_up_loss(h: Tensor) -> Tensor:
    weights = torch.tensor([[0.7, -0.4, 0.9], [-1.1, 0.6, 0.3], [0.2, 0.8, -0.5], [0.4, 0.1, 1.3]])
    return (h * weights).sum(dim=1).exp().sum()


@exercise("02.3", level=2, minutes=10, own=ablation)
def check_02_3_ablation(answer) -> str:
    """answer(loss, h, neuron) -> the change of the loss, as `ablation` gives it."""
    h = torch.tensor([[0.5, 1.0, 0.3], [1.5, -0.3, -0.7], [-0.2, -0.8, 0.4], [0.6, 0.3, 1.1]])
    cases = [
        ((_made_up_loss, h, 0), "this is not eq. 3"),
        ((_made_up_loss, h, 1), "with another neuron it is not eq. 3"),
    ]

    def without(h, where, value=0.0):
        off = h.clone()
        off[where] = value
        return off

    def change(loss, h, *where):
        return (loss(without(h, where)) - loss(h)).abs() / len(h)

    every = slice(None)
    mistakes = {
        "the change is zero: `h[:, neuron] = 0` changes h itself, so both losses are without the "
        "neuron; clone h first": lambda loss, h, neuron: torch.tensor(0.0),
        "the neuron is off at the first token alone: all tokens, please": (
            lambda loss, h, neuron: change(loss, h, 0, neuron)
        ),
        "the neuron is off at the last token alone: all tokens, please": (
            lambda loss, h, neuron: change(loss, h, -1, neuron)
        ),
        "a token is off, and not a neuron: neurons are dimension 1": (
            lambda loss, h, neuron: change(loss, h, neuron, every)
        ),
        "divide by the number of tokens, so that it is comparable with eq. 4": (
            lambda loss, h, neuron: change(loss, h, every, neuron) * len(h)
        ),
        "divide by the number of tokens, which is dimension 0": (
            lambda loss, h, neuron: change(loss, h, every, neuron) * len(h) / h.shape[1]
        ),
        "the sign is kept: take the absolute value": (
            lambda loss, h, neuron: (loss(without(h, (every, neuron))) - loss(h)) / len(h)
        ),
        "the sign is kept, and turned round: take the absolute value": (
            lambda loss, h, neuron: (loss(h) - loss(without(h, (every, neuron)))) / len(h)
        ),
        "this is the loss without the neuron: subtract the loss with it": (
            lambda loss, h, neuron: loss(without(h, (every, neuron))) / len(h)
        ),
        "all other neurons are off: only this one should be": (
            lambda loss, h, neuron: (
                (loss(h * F.one_hot(torch.tensor(neuron), h.shape[1])) - loss(h)).abs() / len(h)
            )
        ),
    }
    compare(answer, ablation, cases, mistakes)
    kept = h.clone()
    answer(_made_up_loss, kept, 0)
    expect(
        torch.equal(kept, h),
        "the right number, but h itself is changed: the next neuron would start from it; clone h",
    )
    return "off at all tokens at once, beside the loss as it is, per token."


# ---------------------------------------------------------------- 02.4
@exercise("02.4", level=3, minutes=6, own="b")
def check_02_4_too_large(answer) -> str:
    """answer: "a", "b", "c" or "d"."""
    others = {
        "a": "curvature is there, but both ratios come from the same straight line: how large is "
        "the second?",
        "c": "the same sentences are behind estimate and exact change: sampling moves both alike",
        "d": "both sides are per token: such a factor would be as large in the second ratio",
    }
    choose(answer, "b", others)
    return "per token nothing cancels; the removal acts on the whole sentence."


# ---------------------------------------------------------------- 02.5
@exercise("02.5", level=2, minutes=6, own="c")
def check_02_5_control(answer) -> str:
    """answer: "a", "b", "c" or "d"."""
    others = {
        "a": "it shows that the score is better than chance, and a score without any gradient "
        "would show that too",
        "b": "that the weakest neurons cost least tells of the same score; nothing is compared",
        "d": "far more neurons are off then: that the loss rises is no news",
    }
    choose(answer, "c", others)
    return "it needs the forward pass alone; what awareness does better is the gradient's part."
