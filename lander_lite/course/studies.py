"""Tables and pictures of stored studies, as lessons 06 to 08 show them."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter

import numpy as np

from ..reproduction import forgetting
from ..reproduction.claims import CLAIMS
from ..reproduction.claims.sparse import MEASURES as OF_ONE_LANGUAGE
from ..reproduction.claims.sparse import RIVALS
from ..reproduction.evidence import Study
from ..reproduction.kinds import LOW_RESOURCE, low_resource
from ..reproduction.scorecard import scorecard
from ..reproduction.statistics import mean_interval
from .plots import HATCHES, interval_line, looks
from .tables import Table

Points = Mapping[str, Mapping[int, dict]]  # {method: {seed: the point at its end}}
Numbers = Mapping[int, Mapping[str, float]]  # {seed: {name: a number of that run}}
FORMS = {  # of the numbers of `forgetting.change` and `forgetting.sequence`
    "gain": "+.1f",
    "bleu": "+.1f",
    "perplexity": "+.2f",
    "facts": "+.1f",
    "learned": "+.1f",
    "acc": ".1f",
    "bwt": "+.1f",
    "forgetting": ".1f",
    "retention": ".0f",
}


def ends(runs: Sequence[dict], methods: Sequence[str]) -> dict[str, dict[int, dict]]:
    """{method: {seed: the point at its end}}, without runs that diverged."""
    return {
        method: {
            seed: forgetting.final_point(run)
            for seed, run in forgetting.seeds(runs, method).items()
        }
        for method in methods
    }


def paired(
    mine: Mapping[int, Mapping], theirs: Mapping[int, Mapping], value: Callable
) -> list[float]:
    """The value of mine minus that of theirs, for the seeds that both have."""
    both = sorted(mine.keys() & theirs.keys())
    return [value(mine[seed]) - value(theirs[seed]) for seed in both]


def seed_table(found: Mapping[str, Sequence[Mapping]], labels: Mapping[str, str]) -> Table:
    """Numbers of each method, mean over seeds, ± half the 95% interval.

    Args:
        found: {method: numbers of each seed, as of `forgetting.change`}. labels: {name: column}.
    """
    rows = []
    for method, seeds in found.items():
        row = [method]
        for name in labels:
            known = [one[name] for one in seeds if one[name] is not None]
            row.append(forgetting.over_seeds(known, FORMS[name]))
        rows.append(row)
    return Table(["method", *labels.values()], rows)


def difference_table(
    ours: Numbers, rivals: Mapping[str, Numbers], labels: Mapping[str, str]
) -> Table:
    """Ours minus each rival's, seed by seed, with "clear" where the 95% interval over seeds lies on
    one side of zero, and "no difference" where it lies within the margin of the number's unit.
    labels: {name of a number: column}."""
    rows = []
    for rival, theirs in rivals.items():
        row = [rival]
        for name in labels:
            values = paired(ours, theirs, itemgetter(name))
            unit = forgetting.UNIT_OF.get(name, "BLEU")
            said = forgetting.verdict(values, "clear", "clear", "", unit)
            number = forgetting.over_seeds(values, f"+{FORMS[name].lstrip('+')}")
            row.append(f"{number}, {said}" if said else number)
        rows.append(row)
    return Table(["minus", *labels.values()], rows)


def print_claims(start: str, first: Study, second: Study | None = None) -> None:
    """The claims whose id starts with `start`, judged by the stored studies, in short lines."""
    for row in scorecard(first, second, [claim for claim in CLAIMS if claim.id.startswith(start)]):
        print(textwrap.fill(f"{row.id} {row.claim}: {row.verdict.upper()}", 88))
        for part in (row.measured, f"control, {row.control}"):
            print(textwrap.indent(textwrap.fill(part, 84), "    "))


# ---------------------------------------------------------------- lesson 06
def transfer_table(matrices: Mapping[str, np.ndarray], pairs: Sequence[str]) -> Table:
    """Change in BLEU of the tuned direction and of the others, mean over seeds, ± half the 95%
    interval, and how many of the others' cells are above zero.

    Args:
        matrices: {name: [seed, trained, measured]}; seeds with a missing run are left out.
    """
    groups, rows = ("own", "others", "same side", "other side"), []
    masks = forgetting.direction_masks(pairs)
    for name, matrix in matrices.items():
        means = forgetting.group_means(complete(matrix), pairs)
        shown = [forgetting.over_seeds(means[x]) if masks[x].any() else None for x in groups]
        others = np.nanmean(matrix, axis=0)[masks["others"]]
        rows.append([name, *shown, f"{(others > 0).sum()} of {others.size}"])
    return Table(["BLEU, change", *groups, "others that gain"], rows)


def complete(matrix: np.ndarray) -> np.ndarray:
    """The seeds of a matrix [seed, trained, measured] that have all runs."""
    return matrix[~np.isnan(matrix).any(axis=(1, 2))]


Changes = Mapping[str, Numbers]  # {method: `forgetting.change` by seed}


def differences(
    runs: Sequence[dict], changes: Changes, method: str, reference: str, measure: str
) -> tuple[list[float], list[float]]:
    """A method's loss minus the reference's, over seeds: after equal updates, and at equal gain."""
    updates = paired(changes[method], changes[reference], itemgetter(measure))
    if measure == "gain":
        return updates, []
    equal = forgetting.equal_gain(runs, method, reference, measure)
    return updates, [theirs - ours for _, theirs, ours in equal]


def equal_gain_table(runs: Sequence[dict], changes: Changes, reference: str) -> Table:
    """Every method's losses minus the reference's, after equal updates and at equal gain."""
    columns, rows = ["method", "own gain"], []
    for label in ("BLEU", "nats", "facts"):
        columns += [f"{label}, equal updates", "equal gain"]
    for method, by_seed in changes.items():
        row = [method, forgetting.over_seeds([one["gain"] for one in by_seed.values()])]
        for measure in forgetting.MEASURES:
            found = differences(runs, changes, method, reference, measure)
            row += [forgetting.over_seeds(values, FORMS[measure]) for values in found]
        if method != reference:
            rows.append(row)
    return Table(columns, rows)


def equal_gain_verdicts(
    runs: Sequence[dict], changes: Changes, rivals: Sequence[str], reference: str
) -> Table:
    """Whether a rival loses more or less than the reference, by 95% intervals over seeds."""
    columns, rows = ["rival", "learns"], []
    for label in ("BLEU", "nats", "facts"):
        columns += [f"{label}, equal updates", "equal gain"]
    for rival in rivals:
        gains, _ = differences(runs, changes, rival, reference, "gain")
        row = [rival, forgetting.verdict(gains, "more", "less")]
        for measure in forgetting.MEASURES:
            found = differences(runs, changes, rival, reference, measure)
            unit = forgetting.UNIT_OF[measure]
            row += [forgetting.verdict(values, "more", "less", unit=unit) for values in found]
        rows.append(row)
    return Table(columns, rows)


def control_table(runs: Sequence[dict], changes: Changes, control: str, reference: str) -> Table:
    """One control minus the method that it belongs to: gain and losses, with a verdict."""
    rows = []
    for measure, label in {"gain": "BLEU gained", **forgetting.MEASURES}.items():
        updates, equal = differences(runs, changes, control, reference, measure)
        shown = [forgetting.over_seeds(values, FORMS[measure]) for values in (updates, equal)]
        said = forgetting.verdict(updates, "more", "less", unit=forgetting.UNIT_OF[measure])
        rows.append([label, *shown, said])
    return Table([f"{control} minus {reference}", "equal updates", "equal gain", ""], rows)


def front_lines(
    ax, runs: Sequence[dict], methods: Mapping[str, Mapping], measure: str = "bleu"
) -> None:
    """Loss against gain, one front per method over all its rates, mean over seeds; shaded: 95%
    intervals.

    Args:
        methods: {method: its colour and marker, as `plots.looks` gives them}. measure: one of
            `forgetting.MEASURES`.
    """
    for method, look in methods.items():
        if found := forgetting.fronts(runs, method, measure):
            table = forgetting.front_over_seeds(found)
            interval_line(ax, table, label=method, markevery=5, **look)
    ax.set(xlabel="BLEU gained, trained directions", ylabel=forgetting.MEASURES[measure])


# ---------------------------------------------------------------- lesson 07
def block_sizes(ax, sets) -> None:
    """Specific neurons per block, one colour per language on top of each other; dashed: an equal
    share. sets: NeuronSets."""
    bottom = [0] * len(sets.layers)
    for i, language in enumerate(sets.languages):
        heights = [len(sets.specific[language][layer]) for layer in sets.layers]
        hatch = HATCHES[i % len(HATCHES)]
        ax.bar(sets.layers, heights, bottom=bottom, label=language, hatch=hatch)
        bottom = [low + height for low, height in zip(bottom, heights)]
    ax.axhline(sum(bottom) / len(bottom), color="black", linestyle="--", linewidth=1)
    ax.set(xlabel="block", ylabel="neurons")


def low_resource_text_table(runs: Sequence[dict]) -> Table:
    """The low-resource language before and after a training on its plain text; mean over seeds,
    ± half the 95% interval."""
    measures = {
        "perplexity": lambda point: point["perplexity"][LOW_RESOURCE],
        **{f"BLEU {pair}": lambda point, x=pair: point["bleu"][x] for pair in low_resource()},
        "facts, %": lambda point: 100 * point["facts"][LOW_RESOURCE],
    }
    start = forgetting.base_point(runs)
    rows = [["base model", None, None, *(measure(start) for measure in measures.values())]]
    settings = {run["method"]: run for run in runs}
    for method, points in ends(runs, ["sparse", *RIVALS]).items():
        run = settings[method]
        row = [method, f"{run['trainable']:,}", f"{run['learning_rate']:g}"]
        for measure in measures.values():
            values = [measure(point) for point in points.values()]
            row.append(forgetting.over_seeds(values, ".1f"))
        rows.append(row)
    return Table(["method", "trainable", "rate", *measures], rows)


def low_resource_verdicts(found: Mapping[str, Points]) -> Table:
    """The tuned neurons of one language against each rival, by 95% intervals over seeds. found:
    {profile: `ends`}."""
    columns = [f"{profile}, {name}" for profile in found for name in OF_ONE_LANGUAGE]
    rows = [[rival] for rival in RIVALS]
    for points in found.values():
        for measure, unit in zip(OF_ONE_LANGUAGE.values(), ("nats", "BLEU", "points")):
            for row in rows:
                values = paired(points["sparse"], points[row[0]], measure)
                row.append(forgetting.verdict(values, "better", "worse", unit=unit))
    return Table(["sparse against", *columns], rows)


def weight_change(ax, runs: Sequence[dict]) -> None:
    """How far each block's tuned neurons moved, relative to their size, one line per projection;
    shaded: 95% intervals over seeds."""
    for projection, look in looks(["up", "gate", "down"]).items():
        moved = [run["weight_change"].get(projection, {}) for run in runs]
        table = {}
        for layer in sorted(map(int, moved[0])):
            mean, _, low, high = mean_interval([one[str(layer)] for one in moved])
            table[layer] = {"mean": mean, "interval": None if low is None else [low, high]}
        if table:
            interval_line(ax, table, label=projection, **look)
            ax.set_xticks(list(table))
    ax.set(xlabel="block", ylabel="relative change", ylim=(0, None))
    ax.legend(fontsize=8)


# ---------------------------------------------------------------- lesson 08
def sparsity_table(
    points: Sequence[Mapping], methods: Sequence[str], value: Callable[[dict], float]
) -> Table:
    """A value at each sparsity, mean over draws of the calibration text, ± half the 95% interval.

    Args:
        points: as `by_setting` takes them, with "method" and the setting "sparsity".
    """
    found: dict[tuple, list[float]] = {}
    for point in points:
        key = point["method"], point["settings"]["sparsity"]
        found.setdefault(key, []).append(value(point))
    sparsities = sorted({sparsity for _, sparsity in found})
    rows = []
    for method in methods:
        cells = [forgetting.over_seeds(found[method, x], ".1f") for x in sparsities]
        rows.append([method, *cells])
    return Table(["method", *(f"{x:.0%}" for x in sparsities)], rows)
