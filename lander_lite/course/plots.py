"""Small matplotlib helpers that several lessons share. matplotlib is imported when a function is
called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

# blue, orange, green, vermilion, purple, sky blue, yellow, grey: Okabe and Ito (2008), which
# colour-blind people can tell apart, in the order of matplotlib's own "C0" … "C7"
COLOURS = "#0072b2 #e69f00 #009e73 #d55e00 #cc79a7 #56b4e9 #f0e442 #7f7f7f".split()
HATCHES = ("", "///", "...", "xxx", "\\\\\\", "+++")  # of bars side by side, for those who see none
MARKERS = "os^DvXP*<"  # of points and lines, for the same reason


def describe() -> None:
    """In a notebook: every picture gets its `alt_text`, for those who hear it."""
    from IPython import get_ipython
    from matplotlib.figure import Figure

    formatter = getattr(get_ipython(), "display_formatter", None)
    draw = formatter and formatter.formatters["image/png"].type_printers.get(Figure)

    def described(figure):
        drawn = draw(figure)
        return (drawn, {"alt": alt_text(figure)}) if isinstance(drawn, str) else drawn

    if draw and draw.__class__ is not described.__class__:  # matplotlib's own: a partial
        formatter.formatters["image/png"].for_type(Figure, described)


def alt_text(figure) -> str:
    """What a picture shows: its titles; without one, its axes."""
    titles = [figure.get_suptitle(), *(ax.get_title() for ax in figure.axes)]
    if not any(titles):
        named = [(ax.get_ylabel(), ax.get_xlabel()) for ax in figure.axes]
        titles = [" by ".join(filter(None, names)) for names in named]
    return "; ".join(dict.fromkeys(filter(None, titles)))


def panels(rows: int = 1, columns: int = 1, size: tuple[float, float] = (5, 3), **options):
    """plt.subplots with one size per panel, the lessons' resolution and colours; (figure, axes)."""
    import matplotlib.pyplot as plt

    plt.rcParams["axes.prop_cycle"] = plt.cycler(color=COLOURS)  # and so what "C0" means
    plt.rcParams["hatch.color"] = "white"
    made = plt.subplots(
        rows,
        columns,
        figsize=(size[0] * columns, size[1] * rows),
        dpi=80,
        layout="constrained",
        **options,
    )
    describe()
    return made


def looks(names: Sequence[str], colours: Mapping[str, str] | None = None) -> dict[str, dict]:
    """{name: its colour and marker}, as `plot` and `cross` take them. Up to nine names share no
    marker, and up to 72 no colour with it. colours: by name, in place of ours."""
    found = {}
    for i, name in enumerate(names):
        again, place = divmod(i, len(MARKERS))
        ours = COLOURS[(i + 4 * again) % len(COLOURS)]  # half the colours on, so not its neighbour
        found[name] = {"color": (colours or {}).get(name, ours), "marker": MARKERS[place]}
    return found


def heatmap(
    ax,
    values,
    rows: Sequence,
    columns: Sequence,
    label: str,
    *,
    fmt: str = ".2f",
    cmap: str = "viridis",
    low: float | None = None,
    high: float | None = None,
) -> None:
    """A matrix with its numbers written in the cells and a colour bar named `label`. values: [row,
    column]; NaN leaves a cell empty."""
    import numpy as np

    values = np.asarray(values, dtype=float)
    image = ax.imshow(values, aspect="auto", cmap=cmap, vmin=low, vmax=high)
    ax.set_xticks(range(len(columns)), columns)
    ax.set_yticks(range(len(rows)), rows)
    for (row, column), value in np.ndenumerate(values):
        if np.isnan(value):
            continue
        red, green, blue, _ = image.cmap(image.norm(value))
        dark = 0.3 * red + 0.6 * green + 0.1 * blue < 0.5
        ax.text(
            column,
            row,
            format(value, fmt),
            ha="center",
            va="center",
            fontsize=8,
            color="white" if dark else "black",
        )
    ax.figure.colorbar(image, ax=ax, label=label)


def layer_bars(ax, values, selected: Sequence[int], label: str) -> None:
    """One bar per block from block 1 on (block 0 has no score); the selected ones hatched."""
    numbers = range(1, len(values) + 1)
    ax.bar(
        numbers,
        [float(value) for value in values],
        color=["C1" if block in selected else "lightgrey" for block in numbers],
        hatch=["///" if block in selected else "" for block in numbers],
    )
    ax.set_xticks(numbers)
    ax.set_xlabel("block")
    ax.set_ylabel(label)


def _side_by_side(i: int, n_groups: int, n_labels: int) -> tuple[list[float], float]:
    """(places, width) of group i's bars: the groups' bars stand side by side around 0, 1, …"""
    width = 0.8 / n_groups
    shift = (i - (n_groups - 1) / 2) * width
    return [label + shift for label in range(n_labels)], width


def bleu_bars(ax, results: dict[str, dict], pairs: Sequence[str]) -> None:
    """Grouped bars of BLEU per pair for named results of `evaluate`, with their intervals where
    there are some."""
    for i, (name, scores) in enumerate(results.items()):
        places, width = _side_by_side(i, len(results), len(pairs))
        below, above, bleu = [], [], [scores[pair]["bleu"] for pair in pairs]
        for pair, score in zip(pairs, bleu):
            low, high = scores[pair]["bleu_ci"] or (score, score)
            below.append(max(0, score - low))
            above.append(max(0, high - score))
        ax.bar(
            places,
            bleu,
            width,
            yerr=[below, above],
            capsize=2,
            error_kw={"linewidth": 0.8},
            label=name,
            hatch=HATCHES[i % len(HATCHES)],
        )
    ax.set_xticks(range(len(pairs)), pairs)
    ax.set_xlabel("direction")
    ax.set_ylabel("BLEU")
    ax.legend(fontsize=8)


def set_sizes(ax, sets, top: float | None = None) -> None:
    """Specific neurons per language, one colour per layer on top of each other; dashed: an equal
    share. sets: NeuronSets."""
    counts, bottom = sets.counts()["specific"], [0] * len(sets.languages)
    for i, layer in enumerate(sets.layers):
        heights = [counts[language][layer] for language in sets.languages]
        hatch = HATCHES[i % len(HATCHES)]
        ax.bar(sets.languages, heights, bottom=bottom, label=f"block {layer}", hatch=hatch)
        bottom = [low + height for low, height in zip(bottom, heights)]
    ax.axhline(sum(bottom) / len(bottom), color="black", linestyle="--", linewidth=1)
    ax.set_ylim(0, top or 1.1 * max(bottom))
    ax.set_xlabel("language")
    ax.set_ylabel("specific neurons")


def token_bars(
    ax,
    tokens: Sequence[str],
    values,
    reference: float,
    label: str,
    colours: Sequence[str] | str = "C0",
) -> None:
    """One bar per token, rising or falling from `reference` (dashed)."""
    values = [float(value) for value in values]
    ax.bar(
        range(len(values)), [value - reference for value in values], bottom=reference, color=colours
    )
    ax.axhline(reference, color="black", linestyle="--", linewidth=1)
    low, high = min([reference, *values]), max([reference, *values])
    margin = 0.1 * (high - low) or 0.01
    ax.set_ylim(low - margin, high + margin)
    ax.set_xticks(
        range(len(values)),
        [token.strip() or "↵" for token in tokens],
        rotation=60,
        ha="right",
        fontsize=8,
    )
    ax.set_ylabel(label)


def cross(ax, xs: Sequence[float], ys: Sequence[float], **options) -> None:
    """One point for several seeds: the mean, with the 95% intervals of both directions as a cross
    (of one seed: the point alone)."""
    from ..reproduction.statistics import mean_interval

    x, _, left, right = mean_interval(xs)
    y, _, bottom, top = mean_interval(ys)
    if left is not None:
        faint = {"color": options.get("color"), "linewidth": 0.8, "alpha": 0.6}
        ax.plot([left, right], [y, y], **faint)
        ax.plot([x, x], [bottom, top], **faint)
    ax.plot([x], [y], **{"marker": "o", "markersize": 6, "linestyle": "none", **options})


def interval_line(ax, table: dict, **options) -> None:
    """A line through means, their 95% intervals shaded. table: {x: {"mean", "interval"}}, as
    `results.by_setting` gives."""
    xs = [x for x, row in table.items() if row["mean"] is not None]
    (line,) = ax.plot(
        xs, [table[x]["mean"] for x in xs], **{"marker": "o", "markersize": 4, **options}
    )
    known = [x for x in xs if table[x]["interval"]]
    if known:
        low, high = zip(*(table[x]["interval"] for x in known))
        ax.fill_between(known, low, high, color=line.get_color(), alpha=0.15, linewidth=0)


def grouped_bars(
    ax,
    groups: dict[str, Sequence[Sequence[float]]],
    labels: Sequence[str],
    label: str,
    colours: dict | None = None,
) -> None:
    """A group of bars per label. groups: {name: [[values of the seeds] per label]}; lines: 95%
    intervals over seeds. colours: by name."""
    from ..reproduction.statistics import mean_interval

    for i, (name, columns) in enumerate(groups.items()):
        found = [mean_interval(values) for values in columns]
        halves = [0 if low is None else mean - low for mean, _, low, _ in found]
        places, width = _side_by_side(i, len(groups), len(labels))
        ax.bar(
            places,
            [mean for mean, *_ in found],
            width,
            yerr=halves if any(halves) else None,
            error_kw={"linewidth": 0.8},
            label=name,
            color=(colours or {}).get(name),
            hatch=HATCHES[i % len(HATCHES)],
        )
    ax.axhline(0, color="black", linewidth=0.8)
    ax.set_xticks(range(len(labels)), labels)
    ax.set_ylabel(label)
