"""Lesson 02: planted neurons, and what the removal of neurons says about their scores, in numbers
and pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from ..ablation import exact_ablation
from ..awareness import AwarenessScores
from ..blocks import FeedForward
from ..evaluation import perplexity
from ..hooks import hooked, sites
from ..probes.tokens import mean_activation
from ..reproduction.analyses.ablation import tenths_of
from .plots import heatmap, panels
from .tables import Table

Texts = Mapping[str, Sequence[str]]  # {language: sentences}
SCORES = ("awareness |h·g|", "activation |h|", "random")


# ---------------------------------------------------------------- planted neurons
@torch.no_grad()
def plant(view: FeedForward, planted: Mapping[str, int], means: Mapping[str, Tensor]) -> None:
    """Rebuild neurons of a network, one for each language: it fires where the input is like its
    language's mean, and writes a strong random vector.

    Args:
        planted: {language: neuron}. means: {language: mean input [d_model]}.
    """
    generator = torch.Generator().manual_seed(0)
    # the input projected on `constant` is about 1 in all languages: for a layer without a bias
    constant = torch.linalg.pinv(torch.stack([*means.values()])).sum(dim=1)
    for language, neuron in planted.items():
        others = torch.stack([mean for x, mean in means.items() if x != language]).mean(dim=0)
        apart = means[language] - others
        direction = 6 * apart / apart.square().sum()  # fires for its language …
        bias = -direction @ (means[language] + others) / 2  # … and not for the others
        for layer in view.inner.values():
            has_bias = layer.bias is not None
            layer.weight[neuron] = (direction if has_bias else direction + bias * constant).to(
                layer.weight
            )
            if has_bias:
                layer.bias[neuron] = bias
        noise = torch.randn(view.d_model, generator=generator)
        strength = view.down.weight.norm(dim=0).max()
        view.down.weight[:, neuron] = (noise / noise.norm()).to(strength) * strength


def planted_table(scores: AwarenessScores, planted: Mapping[str, int]) -> Table:
    """A row a language: the rank of its planted neuron among its scores, and where this neuron's
    score is largest. scores: of one layer."""
    phi, rows = scores.values[:, 0], []
    for row, language in zip(phi, scores.languages):
        neuron = planted[language]
        rank = int((row > row[neuron]).sum()) + 1
        rows.append([language, neuron, rank, scores.languages[int(phi[:, neuron].argmax())]])
    return Table(["language", "planted neuron", "rank", "largest in"], rows)


# ---------------------------------------------------------------- scores
def score_pictures(scores: AwarenessScores) -> None:
    """The last layer's scores, sorted; and the mean score of each language and layer."""
    _, (left, right) = panels(1, 2, (6, 3.4))
    for language, row in zip(scores.languages, scores.values[:, -1]):
        left.plot(range(1, len(row) + 1), row.sort(descending=True).values, label=language)
    left.set(yscale="log", xlabel="rank of the neuron", ylabel="awareness (nats per token)")
    left.set_title(f"Block {scores.layers[-1]}: sorted scores per language")
    left.legend(fontsize=8, ncol=2)
    level, label = scores.values.mean(dim=-1) * 1000, "mean awareness (nats per token) × 1000"
    heatmap(right, level, scores.languages, scores.layers, label)
    right.set(xlabel="block", title="Mean score per language and block")


# ---------------------------------------------------------------- one by one
@dataclass(eq=False)
class OneByOne:
    """Single neurons, removed. chosen: {layer: their indices}; exact, estimated: {(language,
    layer): [neuron]}; correlation: of each score with exact, by rank, [score, language, layer]."""

    chosen: dict[int, Tensor]
    estimated: dict[tuple[str, int], Tensor]
    exact: dict[tuple[str, int], Tensor]
    correlation: Tensor


def one_by_one(model, tokenizer, texts: Texts, scores: AwarenessScores, n: int) -> OneByOne:
    """Switch off n random neurons of each layer, and compare with three scores on the same
    sentences, `texts`: awareness, the activation, chance."""
    generator = torch.Generator().manual_seed(1)
    layers, d_ff = scores.layers, scores.values.shape[-1]
    chosen = {layer: torch.randperm(d_ff, generator=generator)[:n] for layer in layers}
    estimated, exact, rows = {}, {}, []
    for x, language in enumerate(scores.languages):
        active = mean_activation(model, tokenizer, texts[language], layers)
        for y, layer in enumerate(layers):
            some, key = chosen[layer], (language, layer)
            options = {"max_sentences": None, "neurons_per_pass": 16}
            exact[key] = exact_ablation(model, tokenizer, texts, language, layer, some, **options)
            estimated[key] = scores.values[x, y, some]
            guess = torch.rand(n, generator=generator)
            for score in (estimated[key], active[y, some], guess):
                rows.append(float(spearmanr(score, exact[key]).statistic))
    shape = (len(scores.languages), len(layers), len(SCORES))
    correlation = torch.tensor(rows).view(shape).permute(2, 0, 1)
    return OneByOne(chosen, estimated, exact, correlation)


def correlation_table(found: OneByOne) -> Table:
    """A row a score: how well it ranks the exact changes, over blocks and languages."""
    rows = [
        [name, float(x.mean()), float(x.min()), float(x.max())]
        for name, x in zip(SCORES, found.correlation)
    ]
    return Table(["score", "mean rank correlation", "lowest", "highest"], rows, ".2f")


def correlation_pictures(found: OneByOne, languages: Sequence[str]) -> None:
    """A panel for each score: its rank correlation with the exact change."""
    _, axes = panels(1, len(SCORES), (4, 3))
    for ax, name, table in zip(axes, SCORES, found.correlation):
        heatmap(ax, table, languages, list(found.chosen), "rank correlation", low=-0.5, high=1)
        ax.set(xlabel="block", title=f"{name} vs exact change")


def estimate_pictures(found: OneByOne, languages: Sequence[str]) -> None:
    """One dot a neuron, in the first and the last layer: the estimate and the exact change."""
    layers = list(found.chosen)
    _, axes = panels(1, 2, (4.5, 3.4))
    for ax, layer in zip(axes, (layers[0], layers[-1])):
        for language in languages:
            key = language, layer
            ax.scatter(found.estimated[key], found.exact[key], s=12, label=language)
        ax.axline((1e-3, 1e-3), slope=1, color="grey", linewidth=0.8)
        ax.set(xscale="log", yscale="log", xlabel="awareness (nats per token)")
        ax.set_ylabel("exact change (nats per token)")
        ax.set_title(f"Block {layer}, one dot per neuron")
    axes[0].legend(fontsize=8)


# ---------------------------------------------------------------- many together
def loss_without(model: nn.Module, tokenizer, sentences, chosen: Mapping[int, Tensor]) -> float:
    """Loss, nats per token, with neurons switched off: {layer: indices}."""

    def off(layer: int, h: Tensor) -> Tensor:
        return h.index_fill(-1, chosen[layer].to(h.device), 0)

    removed = hooked(sites(model, "neurons", chosen), off) if chosen else nullcontext()
    with removed:
        return math.log(perplexity(model, tokenizer, sentences))


def change_by_tenths(model, tokenizer, sentences, values: Tensor, layers) -> list[float]:
    """How the loss of `sentences` changes when a tenth of each layer's neurons is off: first the
    tenth with the highest values [layer, neuron], then the next, …"""
    as_is = loss_without(model, tokenizer, sentences, {})
    tenths = [dict(zip(layers, tenth)) for tenth in tenths_of(values).unbind(dim=1)]
    return [loss_without(model, tokenizer, sentences, tenth) - as_is for tenth in tenths]


def tenth_picture(by_score: Tensor, by_activation: Tensor, draws: Tensor, languages) -> None:
    """The loss change of tenths [language, tenth], and the range of random tenths."""
    _, ax = panels(size=(6.5, 3.4))
    numbers = range(1, 11)
    for language, row in zip(languages, by_score):
        ax.plot(numbers, row, marker="o", markersize=3, label=language)
    ax.plot(numbers, by_score.mean(dim=0), "k-", label="mean")
    ax.plot(numbers, by_activation.mean(dim=0), "k--", label="mean, sorted by activation")
    ax.axhspan(draws.min(), draws.max(), color="grey", alpha=0.3, label="random tenth, range")
    ax.set(xlabel="tenth of the neurons by score (1 = highest)", xticks=numbers)
    ax.set(ylabel="loss change (nats per token)", title="Switching off one tenth of the neurons")
    ax.legend(fontsize=8)
