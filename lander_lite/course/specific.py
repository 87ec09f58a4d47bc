"""Lesson 03: what is measured on sets of specific neurons, in numbers, tables and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..awareness import AwarenessScores
from ..neurons import NeuronSets, random_neurons
from ..probes.tokens import CLASSES, ClassProfile, token_means
from .plots import heatmap, interval_line, panels, set_sizes
from .tables import Table

PAPER_FIG_11 = {0.75: 22.15, 0.80: 22.60, 0.85: 22.85, 0.90: 23.09, 0.95: 22.52}  # BLEU
DRAWS = 20  # random sets of a control
Language = str  # its code


# ---------------------------------------------------------------- sets
def owned(sets: NeuronSets) -> dict[Language, set]:
    """{language: its neurons of all layers, as (layer, index)}."""
    return {
        language: {(layer, i) for layer in sets.layers for i in chosen[layer].tolist()}
        for language, chosen in sets.specific.items()
    }


def sizes(sets: NeuronSets) -> list[int]:
    """The number of specific neurons of each language, over all layers."""
    return [sum(sets.counts()["specific"][language].values()) for language in sets.languages]


def specific_of(sets: NeuronSets, layer: int) -> Tensor:
    """The specific neurons of all languages in one layer."""
    return torch.cat([chosen[layer] for chosen in sets.specific.values()])


def size_pictures(splits: Mapping[str, NeuronSets]) -> None:
    """A panel for each named split: how many neurons each language gets."""
    highest = 1.1 * max(max(sizes(split)) for split in splits.values())
    _, axes = panels(1, len(splits), size=(3.6, 2.7), sharey=True)
    for ax, (name, split) in zip(axes, splits.items()):
        set_sizes(ax, split, top=highest)
        share = max(sizes(split)) / (sum(sizes(split)) / len(split.languages))
        ax.set_title(f"{name}: largest set {share:.1f}× an equal share", fontsize=9)
    axes[0].legend(fontsize=8)


def sweep_pictures(by_epsilon: Mapping, by_scale: Mapping) -> None:
    """The stored sweeps of `results.by_setting`, and the paper's Fig. 11 between them."""
    _, axes = panels(1, 3, size=(3.7, 2.8))
    interval_line(axes[0], by_epsilon, color="C1")
    axes[1].plot(list(PAPER_FIG_11), list(PAPER_FIG_11.values()), "o-", markersize=4)
    means = [row["mean"] for row in by_scale.values()]
    halves = [row["mean"] - row["interval"][0] for row in by_scale.values()]
    axes[2].bar(list(by_scale), means, yerr=halves, color="lightgrey", capsize=3)
    titles = (
        "Tiny BLOOM (shaded: 95%, over seeds)",
        "Paper, Fig. 11: BLOOM-7b1, one run",
        "Scaling of the scores, ε = .9",
    )
    for ax, title in zip(axes, titles):
        ax.set_ylabel("BLEU, ten directions")
        ax.set_title(title, fontsize=9)
    for ax in axes[::2]:
        ax.set_ylim(47, 55)
    for ax in axes[:2]:
        ax.set_xlabel("ε")


# ---------------------------------------------------------------- languages side by side
def relative_pictures(correlation: Tensor, pairs: Mapping[tuple, float], related, languages):
    """Rank correlation of scores [language, language], and the overlap of each pair of languages;
    `related` pairs have another colour."""
    _, (left, right) = panels(1, 2, size=(4.6, 3.3))
    diagonal = torch.eye(len(languages)).bool()
    shown = correlation.masked_fill(diagonal, float("nan"))
    heatmap(left, shown, languages, languages, "rank correlation")
    left.set_title("Scores of two languages, mean over blocks", fontsize=9)
    ranked = sorted(pairs, key=pairs.get, reverse=True)
    colours = ["C1" if pair in related else "C0" for pair in ranked]
    right.bar([f"{a}–{b}" for a, b in ranked], [pairs[x] for x in ranked], color=colours)
    right.axhline(0.1 / 1.9, color="black", linestyle="--", linewidth=1)
    right.tick_params(axis="x", rotation=90, labelsize=8)
    right.set_ylabel("overlap of the top tenth (Jaccard)")
    right.set_title("Shared top neurons (dashed: chance; second colour: relatives)", fontsize=9)


def separations(
    points: Mapping[int, Tensor], label: Sequence[str], sets: NeuronSets, scores: AwarenessScores
) -> dict[int, dict[str, list[float]]]:
    """The silhouette by language of sentences on the specific neurons, and on as many others: ten
    draws of general and of any neurons, and those with the largest score over all languages.

    Args:
        points: {layer: activations [sentence, neuron]}. label: each sentence's language.
    """
    from sklearn.metrics import silhouette_score

    generator, rows = torch.Generator().manual_seed(0), {}

    def draws(layer: int, neurons: Tensor, size: int) -> list[float]:
        orders = [torch.randperm(len(neurons), generator=generator) for _ in range(10)]
        return [measured(layer, neurons[order[:size]]) for order in orders]

    def measured(layer: int, neurons: Tensor) -> float:
        return float(silhouette_score(points[layer][:, neurons].numpy(), label))

    for place, layer in enumerate(sets.layers):
        mine = specific_of(sets, layer)
        highest = scores.values[:, place].sum(dim=0).topk(len(mine)).indices
        rows[layer] = {
            "specific": [measured(layer, mine)],
            "general": draws(layer, sets.general[layer], len(mine)),
            "random": draws(layer, torch.arange(sets.d_ff), len(mine)),
            "highest score": [measured(layer, highest)],
        }
    return rows


def separation_table(rows: Mapping[int, Mapping[str, Sequence[float]]]) -> Table:
    """A row a layer; of several draws the mean and, in brackets, the range."""
    names = next(iter(rows.values()))
    columns = ["block", *names]
    lines = []
    for layer, row in rows.items():
        means = [f"{sum(values) / len(values):.2f}" for values in row.values()]
        ranges = [
            f" ({min(values):.2f} to {max(values):.2f})" if len(values) > 1 else ""
            for values in row.values()
        ]
        lines.append([layer, *map(str.__add__, means, ranges)])
    return Table(columns, lines)


def cluster_pictures(
    rows: Mapping, points: Mapping, label: Sequence[str], sets: NeuronSets
) -> None:
    """The silhouettes, and the last layer's sentences on specific and on general neurons."""
    layer = sets.layers[-1]
    mine = specific_of(sets, layer)
    few = sets.general[layer]
    few = few[torch.randperm(len(few), generator=torch.Generator().manual_seed(0))[: len(mine)]]
    _, axes = panels(1, 3, size=(3.7, 3))
    for place, name in enumerate(rows[layer]):
        values = [torch.tensor(row[name]) for row in rows.values()]
        means = torch.stack([x.mean() for x in values])
        ends = torch.stack([torch.stack([x.min(), x.max()]) for x in values]).T
        spread = (ends - means).abs()
        places = [i + 0.2 * place for i in range(len(rows))]
        axes[0].bar(places, means, 0.2, yerr=spread, label=name)
    axes[0].set_xticks([i + 0.3 for i in range(len(rows))], list(rows))
    axes[0].set(xlabel="block", ylabel="silhouette by language")
    axes[0].set_ylim(top=1.45 * max(row["specific"][0] for row in rows.values()))
    axes[0].set_title("Separation of languages (lines: range of 10 draws)", fontsize=9)
    axes[0].legend(fontsize=7, ncols=2, loc="upper left")
    for ax, name, neurons in ((axes[1], "specific", mine), (axes[2], "general", few)):
        scatter(ax, points[layer][:, neurons], label)
        title = f"block {layer}: sentences on {len(neurons)} {name} neurons"
        ax.set_title(title, fontsize=9)
    axes[2].legend(fontsize=8, bbox_to_anchor=(1, 1), loc="upper left")


def scatter(ax, values: Tensor, label: Sequence[str]) -> None:
    """Sentences [sentence, neuron] in two dimensions, by t-SNE."""
    from sklearn.manifold import TSNE

    flat = TSNE(2, perplexity=20, init="pca", max_iter=500, random_state=0)
    flat = flat.fit_transform(values.numpy())
    for language in dict.fromkeys(label):
        here = [i for i, other in enumerate(label) if other == language]
        ax.scatter(flat[here, 0], flat[here, 1], s=9, label=language)
    ax.set(xticks=[], yticks=[], xlabel="t-SNE 1 (no unit)", ylabel="t-SNE 2 (no unit)")


def switching_pictures(change: Tensor, control: Tensor, languages: Sequence[str]) -> None:
    """`switching_matrix` of the sets [text, set], and its diagonal against other texts and against
    the mean matrix of random sets."""
    n, diagonal = len(languages), torch.eye(len(languages)).bool()
    _, (left, right) = panels(1, 2, size=(4.6, 3.3))
    label, most = "loss change (nats per token)", change.max()
    heatmap(left, change, languages, languages, label, cmap="RdBu_r", low=-most, high=most)
    left.set(xlabel="set of this language off", ylabel="text in this language")
    left.set_title("Loss change when a set is off", fontsize=9)
    others = change.masked_fill(diagonal, 0).sum(dim=0) / (n - 1)
    bars = {
        "own set, own text": change.diagonal(),
        "own set, other texts": others,
        "random set, own text": control.diagonal(),
    }
    for place, (name, values) in enumerate(bars.items()):
        right.bar([i + 0.27 * place for i in range(n)], values, 0.27, label=name)
    right.set_xticks([i + 0.27 for i in range(n)], languages)
    right.set(xlabel="language", ylabel=label)
    right.set_title("Own set against random neurons of equal number", fontsize=9)
    right.legend(fontsize=8)


# ---------------------------------------------------------------- tokens
@dataclass(eq=False)
class TokenTable:
    """Mean |h| of one layer's neurons at the tokens that occur, by language of the text.

    ids: [token], sorted. means: {language: [token, neuron]}. counts: {language: [token]}.
    """

    layer: int
    ids: Tensor
    means: dict[Language, Tensor]
    counts: dict[Language, Tensor]

    def top(self, neuron: int, n: int = 8, minimum: int = 3) -> Tensor:
        """Places in `ids` of the n tokens with the largest mean over all texts, of those that occur
        `minimum` times."""
        pooled = sum(self.means[x][:, neuron] * self.counts[x] for x in self.means)
        counts = sum(self.counts.values())
        return (pooled / counts).masked_fill(counts < minimum, -1).topk(n).indices

    def own_share(self, sets: NeuronSets) -> float:
        """The share of a set's top tokens that occur in its own language's text, mean over all
        neurons of the sets."""
        shares = [
            (self.counts[language][self.top(neuron)] > 0).float().mean()
            for language, chosen in sets.specific.items()
            for neuron in chosen[self.layer].tolist()
        ]
        return float(sum(shares) / len(shares))

    def same_token(self, sets: NeuronSets) -> float:
        """Mean |h| of a set at tokens in its own language's text / at the same tokens in another
        language's text, where both have them three times."""
        here = there = 0
        for own, chosen in sets.specific.items():
            for other in set(self.means) - {own}:
                both = (self.counts[own] >= 3) & (self.counts[other] >= 3)
                here = here + self.means[own][both][:, chosen[self.layer]].sum()
                there = there + self.means[other][both][:, chosen[self.layer]].sum()
        return float(here / there)


def token_table(model, tokenizer, texts: Mapping[Language, Sequence[str]], layer, d_ff):
    """The `TokenTable` of one layer. texts: {language: sentences}."""
    sentences = [sentence for part in texts.values() for sentence in part]
    ids = occurring(tokenizer, sentences)
    means, counts = {}, {}
    for language, part in texts.items():
        found = token_means(model, tokenizer, part, layer, range(d_ff), ids)
        means[language], counts[language] = found
    return TokenTable(layer, ids, means, counts)


def occurring(tokenizer, sentences: Sequence[str]) -> Tensor:
    """The token ids of these sentences, sorted, each once."""
    from ..prompts import encode_sentences

    examples = encode_sentences(tokenizer, sentences, None)
    return torch.tensor([i for example in examples for i in example["input_ids"]]).unique()


def strongest(table: TokenTable, tokenizer, sets: NeuronSets, scores: AwarenessScores) -> Table:
    """The strongest specific neuron of each language, and its top tokens."""
    rows, place = [], scores.layers.index(table.layer)
    for language, phi in zip(scores.languages, scores.values[:, place]):
        own = sets.specific[language][table.layer]
        if not len(own):
            continue
        neuron = int(own[phi[own].argmax()])
        pieces = [tokenizer.decode([i]).strip() for i in table.ids[table.top(neuron)].tolist()]
        shown = "  ".join(piece.replace("\ufffd", "?") or "␣" for piece in pieces)
        rows.append([language, neuron, float(phi[neuron] / phi.mean()), shown])
    return Table(["language", "neuron", "× mean score", "its top tokens"], rows)


# ---------------------------------------------------------------- classes of tokens
Profiles = Mapping[Language, ClassProfile]  # by the language of the text


def by_class(profiles: Profiles, sets: NeuronSets, what: str, general: bool = False) -> Tensor:
    """A token of each class in the own language's text against the mean token, 1 is average:
    [language, class]."""
    rows = [
        profiles[language].per_token(sets.general if general else chosen, what)
        for language, chosen in sets.specific.items()
    ]
    return torch.stack(rows)


def own_over_others(profiles: Profiles, sets: NeuronSets, what: str) -> Tensor:
    """A set's mean per token in its own language's text / in the others' texts: [language]."""
    rows = []
    for profile in profiles.values():
        sums = [profile.sums(chosen, what).sum() for chosen in sets.specific.values()]
        rows.append(torch.stack(sums) / profile.count.sum())
    means = torch.stack(rows)  # (text, set)
    own = means.diagonal()
    return own * (len(rows) - 1) / (means.sum(dim=0) - own)


@dataclass(eq=False)
class Kinds:
    """What tokens of each class count for sets, by a measure ("awareness" or "activation").

    specific, general: [language, class]. random: [draw, class]. factor: [language], own text /
    other texts. random_factor: [draw, language].
    """

    specific: Tensor
    general: Tensor
    random: Tensor
    factor: Tensor
    random_factor: Tensor


def kinds_of(profiles: Profiles, sets: NeuronSets, what: str) -> Kinds:
    """`Kinds` of these sets, with DRAWS random sets of equal size as the control."""
    draws = [random_neurons(sets, seed) for seed in range(DRAWS)]
    return Kinds(
        by_class(profiles, sets, what),
        by_class(profiles, sets, what, general=True),
        torch.stack([by_class(profiles, draw, what).mean(dim=0) for draw in draws]),
        own_over_others(profiles, sets, what),
        torch.stack([own_over_others(profiles, draw, what) for draw in draws]),
    )


def class_table(kinds: Mapping[str, Kinds]) -> Table:
    """A row a measure and a kind of neurons, a column a class; the average token is 1."""
    rows = []
    for what, kind in kinds.items():
        rows.append([what, "specific", *kind.specific.mean(dim=0).tolist()])
        rows.append([what, "general", *kind.general.mean(dim=0).tolist()])
        low, high = kind.random.min(dim=0).values.tolist(), kind.random.max(dim=0).values.tolist()
        rows.append([what, "random, range", *zip(low, high)])
    return Table(["measure", "neurons", *CLASSES], rows, ".2f")


def class_pictures(kinds: Mapping[str, Kinds], languages: Sequence[str], position: Tensor) -> None:
    """Which tokens count; how much larger in the own language; where the neurons lie [block,
    language]."""
    _, axes = panels(2, 2, size=(5.2, 3))
    names = ["frequent\nword", "other\nword", "piece of\na word", "punctuation"]
    for ax, (what, kind) in zip(axes[0], kinds.items()):
        random = kind.random.mean(dim=0)
        spread = [random - kind.random.min(0).values, kind.random.max(0).values - random]
        bars = {
            "specific": kind.specific.mean(0),
            "general": kind.general.mean(0),
            "random": random,
        }
        for place, (name, values) in enumerate(bars.items()):
            lines = spread if name == "random" else None
            ax.bar([i + 0.27 * place for i in range(4)], values, 0.27, yerr=lines, label=name)
        ax.axhline(1, color="black", linestyle="--", linewidth=1)
        ax.set_xticks([i + 0.27 for i in range(4)], names, fontsize=8)
        ax.set_ylabel(f"{what} (average token = 1)")
        ax.set_title("Which tokens count? Mean of languages (lines: 20 draws)", fontsize=9)
    axes[0, 0].legend(fontsize=8)
    factors(axes[1, 0], kinds, languages)
    places(axes[1, 1], position, languages)


def factors(ax, kinds: Mapping[str, Kinds], languages: Sequence[str]) -> None:
    """How many times as active a set is in its own language, with the range of random sets."""
    for place, (what, kind) in enumerate(kinds.items()):
        at = [i + 0.4 * place for i in range(len(languages))]
        ax.bar(at, kind.factor, 0.4, label=f"{what}, own set")
        random, mean = kind.random_factor, kind.random_factor.mean(dim=0)
        spread = [mean - random.min(dim=0).values, random.max(dim=0).values - mean]
        name = "random sets" if place else None
        ax.errorbar(at, mean, spread, fmt="k.", capsize=2, linewidth=1, label=name)
    ax.set_xticks([i + 0.2 for i in range(len(languages))], languages)
    ax.set(xlabel="language", ylabel="own text / other texts")
    ax.set_ylim(top=1.4 * max(float(kind.factor.max()) for kind in kinds.values()))
    ax.set_title("How much larger in its own language?", fontsize=9)
    ax.legend(fontsize=8)


def places(ax, position: Tensor, languages: Sequence[str]) -> None:
    """Specific neurons [block, language] by block; dashed: chance."""
    bottom = torch.zeros(len(position))
    for column, language in zip(position.T, languages):
        ax.bar(range(len(position)), column, bottom=bottom, label=language)
        bottom = bottom + column
    ax.axhline(position.sum() / len(position), color="black", linestyle="--", linewidth=1)
    ax.set(xlabel="block", ylabel="specific neurons")
    ax.set_title("One threshold for all blocks (dashed: chance)", fontsize=9)
    ax.legend(fontsize=7, ncols=2)
