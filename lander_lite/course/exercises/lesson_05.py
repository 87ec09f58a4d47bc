"""Lesson 05: labels, the masked update, what an update trains, an interval for one more run, BLEU
and whole sentences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.stats import norm, t
from torch import Tensor

from ...neurons import NeuronSets
from . import choose, compare, exercise

PAD = -100  # the label of a token that has no loss, in PyTorch


# ---------------------------------------------------------------- 05.1
def target_labels(prompt: Sequence[int], target: Sequence[int], end: int) -> list[int]:
    """A label for each id of prompt + target + end, -100 on the prompt."""
    return [PAD] * len(prompt) + [*target, end]


@exercise("05.1", level=1, minutes=6, own=target_labels)
def check_05_1_labels(answer) -> str:
    """answer(prompt, target, end) -> the labels, as `target_labels` gives them."""
    case = ([11, 12, 13, 14], [21, 22], 2), "these are not the labels"
    mistakes = {
        "shifted by hand: the model shifts labels itself, so each token would be compared with "
        "the one after the next": lambda p, t, end: target_labels(p, t, end)[1:] + [PAD],
        "shifted by hand: the model shifts labels itself, so drop nothing in front": (
            lambda p, t, end: target_labels(p, t, end)[1:]
        ),
        "the loss counts the prompt: eq. L has only y, so the prompt gets -100": (
            lambda p, t, end: [*p, *t, end]
        ),
        "the end mark has no label: the model would never learn to stop": (
            lambda p, t, end: [PAD] * len(p) + [*t, PAD]
        ),
        "the end mark is missing: there must be a label for each id": (
            lambda p, t, end: [PAD] * len(p) + [*t]
        ),
        "the prompt has no labels at all: there must be one for each id": (
            lambda p, t, end: [*t, end]
        ),
        "the target is masked and the prompt is trained: the other way round": (
            lambda p, t, end: [*p] + [PAD] * (len(t) + 1)
        ),
        "0 is a token of the vocabulary: what has no loss is marked by -100": (
            lambda p, t, end: [0] * len(p) + [*t, end]
        ),
    }
    compare(answer, target_labels, [case], mistakes)
    return "only the target and its end mark have a loss, and nothing is shifted by hand."


# ---------------------------------------------------------------- 05.2
def adamw(weight: Tensor, gradients: Sequence[Tensor], lr: float, decay: float = 0.01) -> Tensor:
    """The weight after one AdamW step per gradient."""
    parameter = torch.nn.Parameter(weight.clone())
    optimizer = torch.optim.AdamW([parameter], lr=lr, weight_decay=decay)
    for gradient in gradients:
        parameter.grad = gradient.clone()
        optimizer.step()
    return parameter.detach()


def sliced_steps(weight: Tensor, gradients: Sequence[Tensor], rows: Tensor, lr: float) -> Tensor:
    """`weight` [neuron, input] after one AdamW step per gradient on `rows` alone, in a parameter of
    their own."""
    new = weight.clone()
    new[rows] = adamw(weight[rows], [gradient[rows] for gradient in gradients], lr)
    return new


@exercise("05.2", level=3, minutes=12, own=sliced_steps)
def check_05_2_update(answer) -> str:
    """answer(weight, gradients, rows, lr) -> the new weight, as `sliced_steps` gives it."""
    made = torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(0))
    rows, lr = torch.tensor([0, 2, 3]), 0.1
    case = (made[0], list(made[1:]), rows, lr), "the chosen rows are not those after AdamW"

    def masked(weight, gradients, rows, lr):
        keep = torch.zeros(len(weight), 1).index_fill_(0, rows, 1)
        return adamw(weight, [gradient * keep for gradient in gradients], lr)

    def only_rows(weight, gradients, rows, new):
        return weight.index_put((rows,), new[rows])

    def plain(weight, gradients, rows, lr):
        return only_rows(weight, gradients, rows, weight - lr * sum(gradients))

    mistakes = {
        "rows outside `rows` moved: their gradient is zero, but AdamW's weight decay is not": (
            masked
        ),
        "all rows are trained: only `rows` may move": (
            lambda weight, gradients, rows, lr: adamw(weight, gradients, lr)
        ),
        "only the last gradient is used: take one step for each": (
            lambda w, g, rows, lr: only_rows(w, g, rows, adamw(w, g[-1:], lr))
        ),
        "there is no weight decay on the chosen rows: keep AdamW's default": (
            lambda w, g, rows, lr: only_rows(w, g, rows, adamw(w, g, lr, decay=0))
        ),
        "these are plain gradient steps: use torch.optim.AdamW": plain,
        "these are the chosen rows alone: give the whole weight, with the others as they were": (
            lambda w, g, rows, lr: sliced_steps(w, g, rows, lr)[rows]
        ),
        "nothing moved: give the new weight": lambda weight, *x: weight,
        "the rows that were not chosen are trained": (
            lambda w, g, rows, lr: sliced_steps(w, g, torch.tensor([1, 4]), lr)
        ),
    }
    compare(answer, sliced_steps, [case], mistakes)
    return "the chosen rows learn as always, and the others do not move by one bit."


# ---------------------------------------------------------------- 05.3
def scalars_trained(sets: NeuronSets, pair: str, per_neuron: int) -> int:
    """The number of scalars that one update of `pair` may change."""
    return per_neuron * sum(len(neurons) for neurons in sets.trainable(pair).values())


@exercise("05.3", level=2, minutes=8, own=scalars_trained)
def check_05_3_scalars(answer) -> str:
    """answer(sets, pair, per_neuron) -> the number, as `scalars_trained` gives it."""
    general = {1: range(6), 4: range(7)}
    specific = {"en": {1: [6], 4: [7]}, "de": {1: [7, 8], 4: [8]}, "fr": {1: [9], 4: [9]}}
    apart = NeuronSets([1, 4], ["en", "de", "fr"], general, specific, d_ff=12)
    overlapping = {"en": {1: [6, 7]}, "de": {1: [7], 4: [8]}, "fr": {4: [9, 10]}}
    shared = NeuronSets([1, 4], ["en", "de", "fr"], general, overlapping, d_ff=12)
    cases = [
        ((apart, "en-de", 257), "the number is not right"),
        ((shared, "en-de", 3), "here two languages share a neuron: it is trained once"),
    ]

    def counted(sets, languages, per_neuron, general=True, layers=None):
        chosen = [sets.specific[language] for language in languages] + [sets.general] * general
        places = [(one, layer) for one in chosen for layer in layers or sets.layers]
        return per_neuron * sum(len(one[layer]) for one, layer in places)

    def of(languages_of=lambda sets, pair: pair.split("-"), **options):
        return lambda sets, pair, n: counted(sets, languages_of(sets, pair), n, **options)

    mistakes = {
        "these are the general neurons alone; add those of the source and of the target language": (
            of(lambda sets, pair: [])
        ),
        "the general neurons are missing": of(general=False),
        "these are the neurons of every language; only the two of the pair train": (
            of(lambda sets, pair: sets.languages)
        ),
        "the target language's neurons are missing": of(lambda sets, pair: pair.split("-")[:1]),
        "the source language's neurons are missing": of(lambda sets, pair: pair.split("-")[1:]),
        "this is one layer alone: add up all selected layers": of(layers=[1]),
        "these are neurons: each has per_neuron scalars": (
            lambda sets, pair, n: scalars_trained(sets, pair, 1)
        ),
        "a neuron that both languages have is counted twice: take the union": of(),
    }
    compare(answer, scalars_trained, cases, mistakes)
    return "general, source and target neurons of all selected layers, each once."


# ---------------------------------------------------------------- 05.4
def next_run(values: Sequence[float]) -> tuple[float, float]:
    """The 95% prediction interval (low, high) for one more run, of the values of n runs."""
    return _around(values, t.ppf(0.975, len(values) - 1), 1 + 1 / len(values))


def _around(values: Sequence[float], times: float, variance: float, ddof: int = 1):
    half = times * np.std(values, ddof=ddof) * variance**0.5
    return np.mean(values) - half, np.mean(values) + half


@exercise("05.4", level=3, minutes=10, own=next_run)
def check_05_4_next_run(answer) -> str:
    """answer(values) -> (low, high), as `next_run` gives it."""
    cases = [
        (([50.0, 52.0, 51.0],), "this is not the interval of one more run"),
        (([10.0, 12.0, 17.0, 11.0, 9.0],), "with five runs it is not right: use n - 1 degrees"),
    ]

    def of(times=None, variance=lambda n: 1 + 1 / n, ddof=1):
        def wrong(values):
            n = len(values)
            return _around(values, times or t.ppf(0.975, n - 1), variance(n), ddof)

        return wrong

    mistakes = {
        "this is the interval of the mean: one more run also has its own spread, so 1 + 1/n": (
            of(variance=lambda n: 1 / n)
        ),
        "the mean itself is uncertain too: 1 + 1/n under the root": of(variance=lambda n: 1),
        "this is the normal curve's 1.96: with few runs it is too narrow, take Student's t": (
            of(norm.ppf(0.975))
        ),
        "this is a 90% interval: t.ppf(0.975) leaves 2.5% at each end": (
            lambda values: _around(values, t.ppf(0.95, len(values) - 1), 1 + 1 / len(values))
        ),
        "n degrees of freedom: it is n - 1, for the mean was estimated from the same runs": (
            lambda values: _around(values, t.ppf(0.975, len(values)), 1 + 1 / len(values))
        ),
        "the sd divides by n: from few runs, divide by n - 1": of(ddof=0),
        "the smallest and the largest run: the next one may well lie outside": (
            lambda values: (min(values), max(values))
        ),
        "the root is missing: sd times the root of 1 + 1/n": (
            of(variance=lambda n: (1 + 1 / n) ** 2)
        ),
    }
    compare(answer, next_run, cases, mistakes)
    return "one more run should fall into it 95 times of 100."


# ---------------------------------------------------------------- 05.5
@exercise("05.5", level=1, minutes=4, own="c")
def check_05_5_bleu(answer) -> str:
    """answer: "a", "b", "c" or "d"."""
    others = {
        "a": "then the base model would score as high: the same metric measured both",
        "b": "lesson 00 checks that no test sentence stands in the training part",
        "d": "in most directions the intervals of before and after are far apart",
    }
    choose(answer, "c", others)
    return "BLEU counts shared n-grams: half of a sentence right is half a success for it."
