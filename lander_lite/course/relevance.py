"""Lesson 01: what is measured on the change of blocks, in numbers, tables and pictures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from statistics import fmean

import torch
from torch import Tensor, nn

from ..head import label_losses
from ..hooks import evaluation_mode
from ..layers import LayerScores
from ..prompts import parse_pair
from ..reproduction.analyses.shared import rank_correlations
from ..reproduction.results import bleu
from .plots import heatmap, interval_line, layer_bars, panels
from .tables import Table

MEASURES = {"signed (paper)": "delta", "absolute": "absolute", "1 − cosine": "cosine"}


def change_pictures(scores: LayerScores) -> None:
    """A line for each direction, a colour for each pair of languages, and the size of its steps:
    the paper's Fig. 4 and 5."""
    _, (left, right) = panels(1, 2, (6, 3.6))
    both_ways = [frozenset(parse_pair(pair)) for pair in scores.pairs]
    colours = {ways: f"C{i}" for i, ways in enumerate(dict.fromkeys(both_ways))}
    for pair, ways, line in zip(scores.pairs, both_ways, scores.activation):
        style = "-" if pair.startswith("en") else "--"
        how = {"label": pair, "linestyle": style, "color": colours[ways]}
        left.plot(line, marker="o", markersize=3, **how)
    left.set(xlabel="block", ylabel="mean activation (no unit)")
    left.set_title("Mean activation after each block")
    left.legend(fontsize=7, ncol=2)
    numbers = range(1, scores.activation.shape[1])
    heatmap(right, scores.delta * 1000, scores.pairs, numbers, "change × 1000", fmt=".1f")
    right.set(xlabel="block", title="Change of the mean, per direction and block")


def shuffled(rows: Tensor, seed: int = 0) -> Tensor:
    """Each row [direction, block] in an order of its own."""
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([row[torch.randperm(len(row), generator=generator)] for row in rows])


def agreement(rows: Tensor) -> float:
    """Spearman's rank correlation of two rows [direction, block], the mean over all two."""
    return float(rank_correlations(rows).mean())


def ceiling(first: Tensor, second: Tensor) -> float:
    """The same between a direction and itself on other sentences, the mean over directions."""
    return fmean(float(rank_correlations(two)[0]) for two in zip(first.tolist(), second.tolist()))


def shared_blocks(own: Mapping[str, Sequence[int]]) -> float:
    """How many blocks two directions' choices share, the mean over all two."""
    return fmean(len({*one} & {*two}) for one, two in combinations(own.values(), 2))


def choice_table(scores: LayerScores, own: Mapping[str, Sequence[int]]) -> Table:
    """A row a direction: its own blocks, and how many of them the pooled choice has too."""
    rows = [
        [pair, ", ".join(map(str, chosen)), len({*chosen} & {*scores.selected})]
        for pair, chosen in own.items()
    ]
    return Table(["direction", "its own blocks", "shared with the pooled choice"], rows)


def measure_table(scores: LayerScores, k: int) -> Table:
    """A row a measure: its choice, how alike directions are, and its order against the others'."""
    pooled = {name: getattr(scores, field).mean(dim=0) for name, field in MEASURES.items()}
    rows = []
    for name, field in MEASURES.items():
        chosen = ", ".join(map(str, scores.top(k, field)))
        alike = [agreement(torch.stack([pooled[name], pooled[other]])) for other in MEASURES]
        rows.append([name, chosen, agreement(getattr(scores, field)), *alike])
    columns = ["measure", "blocks", "between directions", *(f"with {name}" for name in MEASURES)]
    return Table(columns, rows, ".2f")


def measure_pictures(scores: LayerScores, k: int) -> None:
    """A panel for each measure: its mean over directions, the k largest hatched."""
    _, axes = panels(1, len(MEASURES), (4, 2.8))
    for ax, (name, field) in zip(axes, MEASURES.items()):
        chosen = scores.top(k, field)
        layer_bars(ax, getattr(scores, field).mean(dim=0), chosen, "mean over directions")
        ax.set_title(f"{name}: blocks {', '.join(map(str, chosen))}")


# ---------------------------------------------------------------- how many layers
def label_loss(model: nn.Module, batch: dict[str, Tensor]) -> float:
    """Loss of a batch's labels, nats per token."""
    with evaluation_mode(model):
        return label_losses(model, batch)[0].mean().item()


Runs = Mapping[int, tuple[float, Mapping[tuple, float]]]  # {k: (loss by D, {blocks: loss})}


def sweep_table(by_k: Runs, chosen: Mapping[int, Sequence[int]]) -> Table:
    """A row a k: the blocks by D and those of the draws, each with its loss."""
    columns = ["k", "by D", "loss", "random draws and their losses"]
    rows = []
    for k, (loss, draws) in by_k.items():
        drawn = "; ".join(f"{', '.join(map(str, blocks))}: {x:.3f}" for blocks, x in draws.items())
        rows.append([k, ", ".join(map(str, chosen[k])), loss, drawn])
    return Table(columns, rows, ".3f")


def sweep_picture(by_k: Runs, untuned: float) -> None:
    """Loss by k: the blocks with the largest D, and random ones."""
    _, ax = panels(size=(6.5, 3.4))
    ax.axhline(untuned, color="grey", linestyle=":", label="before training")
    losses = [loss for loss, _ in by_k.values()]
    ax.plot(list(by_k), losses, marker="o", color="C1", label="k blocks with the largest D")
    for with_block_0, marker in ((False, "x"), (True, "^")):
        dots = [
            (k, loss)
            for k, (_, draws) in by_k.items()
            for blocks, loss in draws.items()
            if (0 in blocks) == with_block_0
        ]
        where = "with" if with_block_0 else "without"
        ks, found = [k for k, _ in dots], [loss for _, loss in dots]
        ax.scatter(ks, found, marker=marker, color="black", label=f"random, {where} block 0")
    ax.set(xlabel="k, number of trained blocks", ylabel="loss (nats per token)")
    ax.set(title="Loss on validation rows", xticks=list(by_k))
    ax.legend(fontsize=8, loc="center right")


def wins(by_k: Runs, with_block_0: bool) -> tuple[int, int]:
    """(random draws with, or without, block 0 that beat the blocks chosen by D; all of them)."""
    found = [
        drawn < loss
        for loss, draws in by_k.values()
        for blocks, drawn in draws.items()
        if (0 in blocks) == with_block_0
    ]
    return sum(found), len(found)


def stored_picture(by_where: Mapping[str, Mapping]) -> None:
    """BLEU by k of the stored runs: the blocks with the largest D, and random ones."""
    _, ax = panels(size=(6.5, 3.4))
    interval_line(ax, by_where["selected"], color="C1", label="k blocks with the largest D")
    style = {"color": "black", "linestyle": "--", "label": "k random blocks"}
    interval_line(ax, by_where["random"], **style)
    ax.set(xlabel="k, number of trained blocks", ylabel="BLEU, ten directions", ylim=(20, 70))
    ax.set_title("LANDeRMT after 300 updates, three seeds")
    ax.legend(fontsize=8)


def stored_table(by_where: Mapping[str, Mapping], runs: Iterable[dict]) -> Table:
    """A row a k: the blocks chosen by D and their BLEU, BLEU of random ones, and the draws."""
    runs, rows = list(runs), []
    for k, row in by_where["selected"].items():
        mine, drawn = (
            [run for run in runs if run["settings"] == {"k": k, "where": where}]
            for where in ("selected", "random")
        )
        draws = "; ".join(f"{named(run)}: {bleu(run):.1f}" for run in drawn)
        random = by_where["random"].get(k, {}).get("mean")
        held = f"{sum(0 in run['layers'] for run in drawn)} of {len(drawn)}" if drawn else None
        rows.append([k, named(mine[0]), row["mean"], random, held, draws])
    columns = ["k", "by D", "BLEU", "random", "with block 0", "the draws and their BLEU"]
    return Table(columns, rows, ".1f")


def named(run: dict) -> str:
    """The blocks that a run trained."""
    return ", ".join(map(str, run["layers"]))


def draws_ahead(
    runs: Iterable[dict], by_d: Mapping[int, dict], with_block_0: bool
) -> dict[int, tuple[int, int]]:
    """{k: (random draws with, or without, block 0 whose BLEU is above the mean of the blocks chosen
    by D; all of them)}, for each k that has any."""
    found: dict[int, list[bool]] = {}
    for run in runs:
        k, where = run["settings"]["k"], run["settings"]["where"]
        if where == "random" and (0 in run["layers"]) == with_block_0:
            found.setdefault(k, []).append(bleu(run) > by_d[k]["mean"])
    return {k: (sum(won), len(won)) for k, won in sorted(found.items())}
