"""Lesson 05: what moved in a tuned model, and the stored comparison of methods, in tables and
pictures."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from ..blocks import feed_forwards, module_of
from ..io import write_text
from ..reproduction.baselines import drawn_layers
from ..reproduction.evidence import NotMeasured, Study, bleu, side
from ..reproduction.forgetting import over_seeds
from ..reproduction.kinds import BUDGETS, epsilon_of
from ..reproduction.methods import METHODS
from ..reproduction.paper import TABLE_1, mean
from .plots import bleu_bars, heatmap, panels
from .tables import Table


# ---------------------------------------------------------------- a training
def training_pictures(losses: Sequence[float], before: dict, after: dict, pairs) -> None:
    """The training loss, a point for every round of all directions, and BLEU before and after."""
    _, (left, right) = panels(1, 2, (6, 3.4), width_ratios=[1, 1.6])
    n = len(pairs)
    starts = range(0, len(losses), n)
    means = [sum(losses[i : i + n]) / len(losses[i : i + n]) for i in starts]
    left.plot([i + n for i in starts], means)
    left.set(xlabel="update", ylabel="loss (nats per token)", ylim=(0, None))
    left.set_title("Training loss, mean of all directions")
    bleu_bars(right, {"before": before, "after": after}, pairs)
    right.tick_params(axis="x", labelsize=7)
    right.set_title("BLEU, 95% intervals")


def kinds_of(model: nn.Module) -> dict[int, tuple[int | None, str]]:
    """{id of a parameter: (layer, its kind)}; the layer is None outside of the blocks."""
    kinds = {}
    for name, parameter in model.named_parameters():
        number = re.search(r"\.(\d+)\.", name)
        kind = "attention" if "att" in name.lower() else "layer\nnorms"
        kinds[id(parameter)] = (int(number[1]), kind) if number else (None, "outside")
    for layer, view in enumerate(feed_forwards(model)):
        for part, linear in {**view.inner, "down": view.down}.items():
            for name, parameter in module_of(linear).named_parameters():
                kinds[id(parameter)] = layer, f"ffn {part}\n{name}"
    return kinds


def moved_scalars(base: nn.Module, tuned: nn.Module) -> dict[tuple, tuple[int, int]]:
    """{(layer, kind): (scalars that differ, all)} of two models of one architecture."""
    found: dict[tuple, tuple[int, int]] = {}
    kinds = kinds_of(base)
    for old, new in zip(base.parameters(), tuned.parameters()):
        moved, every = found.get(kinds[id(old)], (0, 0))
        moved += int((old != new).sum())
        found[kinds[id(old)]] = moved, every + old.numel()
    return found


def moved_neurons(base: nn.Module, tuned: nn.Module, layer: int) -> Tensor:
    """The neurons of a layer of which a row of up or a column of down differs."""
    old, new = feed_forwards(base)[layer], feed_forwards(tuned)[layer]
    rows = (old.up.weight != new.up.weight).any(1)
    columns = (old.down.weight != new.down.weight).any(0)
    return (rows | columns).nonzero().flatten()


def moved_pictures(scalars: Mapping, neurons: Mapping[int, Tensor], sets, pair: str) -> None:
    """`moved_scalars` by layer and kind, and the share of each set's neurons {layer: indices} that
    moved when one pair was trained."""
    _, (left, right) = panels(1, 2, (6, 3.6))
    inside = {place: count for place, count in scalars.items() if place[0] is not None}
    layers, kinds = (sorted(set(column)) for column in zip(*inside))
    shares = [[inside[layer, kind] for kind in kinds] for layer in layers]
    shares = [[moved / every for moved, every in row] for row in shares]
    heatmap(left, shares, layers, kinds, "share of scalars that moved", low=0, high=1)
    left.set(ylabel="layer")
    left.set_title(f"All directions (selected: {', '.join(map(str, sets.layers))})")
    left.tick_params(axis="x", labelsize=8)
    groups = {"general": sets.general, **sets.specific}
    parts = []
    for group in groups.values():
        row = [torch.isin(group[layer], neurons[layer]).float().mean() for layer in sets.layers]
        parts.append(torch.stack(row).nan_to_num())  # an empty set has no mean
    label = "share of neurons that moved"
    heatmap(right, torch.stack(parts), list(groups), sets.layers, label, low=0, high=1)
    right.set(xlabel="layer", ylabel="neuron group", title=f"{pair} alone")


def keep_rows(rows: Mapping[str, tuple[dict, int, float | None]], profile: str, n: int) -> None:
    """During `make run`, a file for each method {name: (results of evaluate, trained scalars,
    learning rate)}, which it prints at its end."""
    if not (folder := os.environ.get("LANDER_LITE_RUN")):
        return
    for method, (scored, trained, rate) in rows.items():
        content = {"method": method, "profile": profile, "sentences": n, "mean": scored["mean"]}
        content |= {"learning_rate": rate, "trainable": trained}
        write_text(Path(folder) / f"lesson-05-{method}.json", json.dumps(content) + "\n")


# ---------------------------------------------------------------- the stored study
def method_table(results: Sequence[dict], table: Mapping[str, dict]) -> Table:
    """A row a method of `summary`: BLEU of the ten directions, and of those from and into
    English."""
    rows = []
    for method, row in table.items():
        runs = [run for run in results if run["method"] == method]
        means = []
        for start in (True, False):
            pairs = [pair for pair in runs[0]["pairs"] if pair.startswith("en-") is start]
            means.append(sum(bleu(run, pairs) for run in runs) / len(runs))
        rate = f"{row['learning_rate'] or 0:g}"
        sd = None if row["sd"] is None else float(row["sd"])
        rows.append([method, *means, row["bleu"], sd, row["seeds"], rate, f"{row['trainable']:,}"])
    return Table(["method", "en-…", "…-en", "mean", "± sd", "seeds", "rate", "trained"], rows)


def about_table(table: Mapping[str, dict]) -> Table:
    """What each method is."""
    return Table(["method", "what it is"], [[name, METHODS[name].about] for name in table])


def method_pictures(results: Sequence[dict], table: Mapping[str, dict], profile: str) -> None:
    """The methods by BLEU, with every seed as a dot, beside the paper's Table 1."""
    _, (left, right) = panels(1, 2, (6, 4.6))
    names = sorted(table, key=lambda method: table[method]["bleu"])
    colours = [colour_of(name) for name in names]
    spread = [table[name]["sd"] or 0 for name in names]
    left.barh(names, [table[x]["bleu"] for x in names], xerr=spread, capsize=3, color=colours)
    for run in results:
        left.plot(run["mean"]["bleu"], names.index(run["method"]), "k.", markersize=4)
    left.set_title(f"{profile}, here (dots: seeds, lines: ± sd)")
    paper = dict(sorted(((name, mean(row)) for name, row in TABLE_1.items()), key=lambda x: x[1]))
    right.barh(list(paper), list(paper.values()), color=[colour_of(name) for name in paper])
    right.set_title("Paper, Table 1 (BLOOM-7b1)")
    for ax in (left, right):
        ax.set_xlabel("BLEU, mean of ten directions")


def colour_of(method: str) -> str:
    """LANDeRMT, random controls and all others."""
    return "C1" if method.startswith("lander") else "grey" if "random" in method else "C0"


def grid_pictures(results: Sequence[dict], methods: Sequence[str]) -> None:
    """BLEU on valid by learning rate, and the smoothed training loss at the chosen one."""
    _, (left, right) = panels(1, 2, (6, 3.6))
    for method in methods:
        runs = [run for run in results if run["method"] == method]
        if not runs:
            continue
        grid = {float(rate): value for rate, value in runs[0]["grid"].items() if value is not None}
        left.plot(list(grid), list(grid.values()), marker="o", markersize=3, label=method)
        curve = torch.tensor([run["loss"] for run in runs]).mean(dim=0)  # every tenth update
        smooth = curve.unfold(0, 5, 1).mean(dim=-1)
        right.plot([10 * (i + 2) for i in range(len(smooth))], smooth, label=method)
    left.set(xscale="log", xlabel="learning rate", ylabel="BLEU on valid")
    left.set_title("Each method's grid")
    right.set(xlabel="update", ylabel="loss (nats per token)")
    right.set_title("Training at the chosen rate")
    left.legend(fontsize=7)


def at_edge(results: Sequence[dict], table: Mapping[str, dict]) -> list[str]:
    """Methods whose chosen learning rate is an end of their grid: one beyond might be better."""
    found = set()
    for run in results:
        rates = [float(rate) for rate in run.get("grid") or ()]
        chosen = table[run["method"]]["learning_rate"]
        if len(rates) > 1 and chosen in (min(rates), max(rates)):
            found.add(run["method"])
    return sorted(found)


QUESTIONS = (
    ("beats a baseline (L7)?", "lander-corrected", "full"),
    ("beats a baseline (L7)?", "lander-corrected", "adapter"),
    ("beats a baseline (L7)?", "lander-corrected", "lora"),
    ("beats a baseline (L7)?", "lander-corrected", "adapter-lora"),
    ("beats a baseline (L7)?", "lander-corrected", "five-shot"),
    ("beats whole networks (L8)?", "lander-corrected", "layers"),
    ("beats general neurons alone (L8)?", "lander-corrected", "general-only"),
    ("beats specific neurons alone (L8)?", "lander-corrected", "specific-only"),
    ("control: random neurons (L8)", "lander-none", "random"),
    ("control: random layers", "layers", "random-layers"),
    ("control: random, not the first", "layers", "random-layers-above"),
    ("another split: Xie et al.", "xie", "lander-none"),
    ("a router (L8, L9)?", "lander-corrected", "lander-none"),
    ("a learned router (L9)?", "lander-learned", "lander-none"),
    ("which way round eq. 6?", "lander-corrected", "lander-literal"),
    ("attention too, as in its code?", "lander-block", "lander-corrected"),
    ("… and training whole blocks", "lander-block", "layers-block"),
    ("the price of holding to the base", "full-kl", "full"),
)


def question_table(study: Study) -> Table:
    """A row a question: the difference of two methods in BLEU, with the wider of its two
    intervals, and what it says."""
    rows = []
    for question, first, second in QUESTIONS:
        try:
            found = study.compare(first, second)
        except NotMeasured as missing:
            rows.append([question, f"{first} − {second}", f"not measured: {missing}", None])
            continue
        rows.append([question, f"{first} − {second}", found.text, said(side(found))])
    return Table(["question", "difference", "BLEU", "the first is"], rows)


def draws_table(results: Sequence[dict]) -> Table:
    """A row a run of the two controls with random layers: the layers that it drew, its BLEU, and
    the difference to `layers` with the same seed."""
    chosen = {run["seed"]: run for run in results if run["method"] == "layers"}
    rows = []
    for method, first in (("random-layers", 0), ("random-layers-above", 1)):
        for run in results:
            if run["method"] != method or run["seed"] not in chosen:
                continue
            n, own = run["base_model"]["n_layers"], chosen[run["seed"]]
            drawn = drawn_layers(n, len(own["layers"]), run["seed"], first)
            ahead = f"{bleu(run) - bleu(own):+.1f}"
            rows.append([method, run["seed"], ", ".join(map(str, drawn)), bleu(run), ahead])
    return Table(["control", "seed", "layers drawn", "BLEU", "minus layers"], rows)


HELD_AGAINST = (  # at equal size: a selector and its random neurons; then what tuning is worth
    *((name, "random-specific") for name in ("specific-only", "lape-specific", "xie-specific")),
    ("top-te", "random-general"),
    ("specific-only", "zero-shot"),
    ("random-specific", "zero-shot"),
    ("random-general", "random-specific"),
)


def equal_size_table(study: Study, budgets: Sequence[float] = BUDGETS) -> Table:
    """Pairs of methods of the kind "equal-size": for each budget, a share of all neurons, the BLEU
    of the first, and its difference to the second (interval over matched seeds)."""
    columns, rows = ["neurons", "held against"], []
    for share in budgets:
        columns += [f"BLEU at {share:.0%}", "minus it", ""]
    for method, other in HELD_AGAINST:
        row = [method, other]
        for share in budgets:
            settings = {"epsilon": epsilon_of(share)}
            try:
                found = study.difference("equal-size", method, other, **settings)
            except NotMeasured:
                row += [None, "not measured", None]
                continue
            own = mean(study.values("equal-size", method, **settings))
            row += [own, found.text, said(side(found))]
        rows.append(row)
    return Table(columns, rows)


def said(words: str) -> str:
    """`evidence.side` without the preposition that waits for a name."""
    return re.sub(r" (of|from|against)$", "", words)


def two_models(first: Mapping[str, dict], second: Mapping[str, dict], names) -> Table:
    """Mean BLEU ± sd of the methods that two studies share."""
    rows = []
    for method in first:
        if method in second:
            cells = [study[method] for study in (first, second)]
            shown = [f"{x['bleu']:.1f}" + (f" ± {x['sd']:.1f}" if x["sd"] else "") for x in cells]
            rows.append([method, *shown])
    return Table(["mean BLEU of ten directions", *names], rows)


def lander_minus_table(study: Study, kind: str | None, others: Sequence[str], pairs=None) -> Table:
    """lander-corrected against others: of kind main, with both intervals, or of another kind, by
    seeds, on some pairs."""
    rows = []
    for other in others:
        try:
            if kind is None:
                found = study.compare("lander-corrected", other)
            else:
                found = study.difference(kind, "lander-corrected", other, lambda x: bleu(x, pairs))
        except NotMeasured as missing:
            rows.append([other, f"not measured: {missing}", None])
            continue
        rows.append([other, found.text, said(side(found))])
    return Table(["lander-corrected minus", "BLEU", "it is"], rows)


def low_resource_translation_table(runs: Sequence[dict], pairs: Sequence[str]) -> Table:
    """A row a method: BLEU of Afrikaans' directions and of `pairs`, and facts known in Afrikaans;
    ± half of the 95% interval over seeds."""
    rows = []
    for method in sorted({run["method"] for run in runs}):
        mine = [run for run in runs if run["method"] == method]
        columns = [[run["pairs"][pair]["bleu"] for run in mine] for pair in ("en-af", "af-en")]
        columns += [[bleu(run, pairs) for run in mine], [100 * run["facts"]["af"] for run in mine]]
        rows.append([method, *(over_seeds(column, ".1f") for column in columns)])
    return Table(["method", "en-af", "af-en", "ten others", "facts in af, %"], rows)
