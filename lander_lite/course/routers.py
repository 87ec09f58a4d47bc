"""Lesson 04: pictures and tables of routers and their gates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from ..probes.gates import gate_values
from .plots import interval_line, panels, token_bars
from .tables import Table

COLOURS = {
    "lander-none": "black",
    "lander-learned": "C2",
    "lander-corrected": "C1",
    "lander-literal": "C3",
}


def relative_error(path: Callable, x: Tensor, factor: float) -> float:
    """How far path(factor · x) is from path(x), as a share of the size of path(x)."""
    full = path(x)
    return float((path(factor * x) - full).norm() / full.norm())


def factor_picture(path: Callable, x: Tensor, marks: Mapping[str, float]) -> None:
    """What a factor on the input of `path` does to its output: size and error, relative to the
    output as it is. marks: {name: factor}."""
    factors, full = [i / 20 for i in range(25)], path(x).norm()
    sizes = [float(path(factor * x).norm() / full) for factor in factors]
    errors = [relative_error(path, x, factor) for factor in factors]
    _, ax = panels(size=(5.4, 2.9))
    ax.plot(factors, sizes, label=r"size: $\|FFN_G(c\,x)\| \;/\; \|FFN_G(x)\|$")
    ax.plot(factors, factors, "--", color="grey", label="size if the block were linear")
    label = r"error: $\|FFN_G(c\,x) - FFN_G(x)\| \;/\; \|FFN_G(x)\|$"
    ax.plot(factors, errors, label=label)
    for name, factor in marks.items():
        ax.axvline(factor, color="black", linewidth=0.8, linestyle=":")
        ax.text(factor, 1.23, name, ha="center", fontsize=8)
    ax.set(xlabel="factor c on the input", ylabel="relative to FFN_G(x)", ylim=(0, 1.35))
    ax.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))


def step_table(losses: Mapping[str, float], kl: Mapping[str, float], bleu: Mapping) -> Table:
    """A row a router: KL from the base model, loss, BLEU where it was measured."""
    rows = [[name, abs(kl[name]), losses[name]] for name in losses]
    for row in rows:
        score = bleu.get(row[0])
        row.append(None if score is None else f"{score:.1f}")
    return Table(["before training", "KL", "loss", "BLEU"], rows, ".3f")


def step_picture(kl: Mapping[str, float]) -> None:
    """The divergence of each router from the base model, by kind."""
    _, ax = panels(size=(6.4, 3))
    names, colours = list(kl)[::-1], []
    for name in names:
        control = "random" in name or "off" in name
        colours.append("grey" if control else "C1" if "only" in name else "C0")
    ax.barh(names, [kl[name] for name in names], color=colours)
    ax.set_xlabel("KL divergence from the base model (nats per target token)")
    title = "Before training. First colour: routers, second: one cause alone, grey: controls"
    ax.set_title(title, fontsize=9)


def gate_table(lander, tokenizer, examples: Mapping[str, Sequence[tuple[str, str]]]) -> Table:
    """A row a pair and block: the prior, the mean gate on prompt and target tokens, its standard
    deviation there, and the range of the specific part's weight."""
    rows = []
    for pair, sentences in examples.items():
        gates, _, is_target = gate_values(lander, tokenizer, sentences, pair)
        for gate, (block, layer) in zip(gates, lander.partitioned.items()):
            prior, target = layer.router.share, gate[is_target]
            weight = (1 - target) / (1 - prior)
            means = [gate[~is_target].mean().item(), target.mean().item(), target.std().item()]
            rows.append([pair, block, prior, *means, weight.min().item(), weight.max().item()])
    columns = "pair block prior prompt target spread lowest highest".split()
    return Table(columns, rows, ".3f")


def gate_pictures(lander, tokenizer, example: tuple[str, str], pair: str) -> None:
    """The gate of every token of one sentence, a panel a block."""
    layers = lander.partitioned
    figure, axes = panels(len(layers), 1, size=(7.5, 1.9), squeeze=False)
    gates, ids, is_target = gate_values(lander, tokenizer, [example], pair)
    tokens = [tokenizer.decode([i]) for i in ids.tolist()]
    colours = ["C1" if target else "C0" for target in is_target.tolist()]
    for ax, gate, (block, layer) in zip(axes[:, 0], gates, layers.items()):
        token_bars(ax, tokens, gate, layer.router.share, "gate r'", colours)
        ax.set_title(f"block {block}", fontsize=9)
    for ax in axes[:-1, 0]:
        ax.set_xticklabels([])
    title = f"{pair}: gate per token after training (dashed: before; second colour: target)"
    figure.suptitle(title, fontsize=10)


def router_picture(by_method: Mapping[str, Mapping]) -> None:
    """BLEU by learning rate of each router. by_method: {method: {rate: {"mean", "interval"}}}."""
    _, ax = panels(size=(6.4, 3.2))
    for name, rows in by_method.items():
        interval_line(ax, rows, color=COLOURS[name], label=name)
    ax.set(xscale="log", xlabel="learning rate", ylabel="BLEU, ten directions")
    ax.set_title("Tiny BLOOM (shaded: 95% intervals over seeds)")
    ax.legend(fontsize=8)


def router_table(by_method: Mapping[str, Mapping]) -> Table:
    """A row a router, a column a learning rate: mean BLEU ± sd over seeds."""
    rates = list(next(iter(by_method.values())))
    rows = [
        [name, *(f"{rows[rate]['mean']:.1f} ± {rows[rate]['sd']:.1f}" for rate in rates)]
        for name, rows in by_method.items()
    ]
    return Table(["router", *(f"rate {rate:g}" for rate in rates)], rows)
