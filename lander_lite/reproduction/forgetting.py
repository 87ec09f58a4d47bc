"""What tuning some directions changes elsewhere: a study's result files (kinds matrix, forgetting,
sequence) as matrices and curves.

A *point* is a moment of a run, or the base model: {"bleu": {pair: BLEU}, "perplexity": {language:
value}, "facts": {language: share}}. Gains and losses are differences to the base model. A loss is
positive where the model got worse.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from ..config import data_dir, parse_pair
from .results import load_results
from .statistics import at_equal_gain, continual, mean_interval
from .verdicts import UNITS, within

MEASURES = {
    "bleu": "BLEU lost, other directions",
    "perplexity": "plain text, nats gained",
    "facts": "facts lost (points)",
}
UNIT_OF = {"gain": "BLEU", "bleu": "BLEU", "perplexity": "nats", "facts": "points"}  # of `change`


def stored(profile: str, kind: str, folder=None, **belongs) -> list[dict]:
    """The stored results of one kind (`load_results`; `belongs` are its arguments), from
    data/results or `folder`. If there are none, [] and a printed line with the command that makes
    them."""
    folder = data_dir() / "results" / profile if folder is None else folder
    results = load_results(folder, kind, **belongs)
    if not results:
        made = f"runs/study/{profile}"
        print(
            f"Not measured here: there are no results of the kind {kind!r}. To make them (hours), "
            f"run:\n    lander-lite study --profile {profile} --kinds {kind} --output-dir {made}\n"
            f"and copy {made}/{kind} to data/results/{profile}/{kind}."
        )
    return results


def seeds(results: Sequence[dict], method: str) -> dict[int, dict]:
    """{seed: result} of a method's runs that did not diverge, at its chosen rate. Of a matrix,
    which has many runs per seed, use `matrices`; of all rates, `fronts`."""
    finished = [r for r in _finished(results, method) if not _step(r)]
    return {r["seed"]: r for r in sorted(finished, key=lambda r: r["seed"])}


def _finished(results: Sequence[dict], method: str) -> list[dict]:
    return [r for r in results if r["method"] == method and "diverged" not in r]


def _step(result: Mapping) -> int:
    """Half decades from the chosen learning rate."""
    return result.get("settings", {}).get("step", 0)


# ---------------------------------------------------------------- points and changes
def final_point(result: Mapping) -> dict:
    """The end of a run as a point."""
    return {
        "bleu": {pair: scores["bleu"] for pair, scores in result["pairs"].items()},
        "perplexity": result["perplexity"],
        "facts": result["facts"],
    }


def pruned(result: Mapping) -> dict[float, dict]:
    """{sparsity: point} of a run of the kind "prune"; of the dense model {0: point}."""
    points = {point["sparsity"]: point for point in result["curve"]}
    return points | {result.get("sparsity", 0.0): final_point(result)}


def base_point(results: Sequence[dict]) -> dict:
    """The base model as a point: the zero-shot run among the results. ValueError if there is
    none."""
    for result in results:
        if result["method"] == "zero-shot":
            return final_point(result)
    raise ValueError(
        f"no zero-shot run among the {len(results)} results: gains and losses are differences to it"
    )


def measured(before: Mapping) -> list[str]:
    """The MEASURES that the base model's point has: a corpus may have no facts."""
    return [measure for measure in MEASURES if before[measure]]


def change(point: Mapping, before: Mapping, trained: Sequence[str]) -> dict[str, float]:
    """Between two points: "gain", mean BLEU gained on the `trained` pairs; "bleu", mean BLEU lost
    on the others; "perplexity", mean over languages of ln(after / before), which is the loss gained
    in nats per token; "facts", percentage points lost, mean over languages."""

    def mean(differences):
        return sum(differences) / len(differences) if differences else math.nan

    def gained(pairs):
        return mean([point["bleu"][pair] - before["bleu"][pair] for pair in pairs])

    nats = [math.log(point["perplexity"][x] / value) for x, value in before["perplexity"].items()]
    facts = [100 * (value - point["facts"][x]) for x, value in before["facts"].items()]
    return {
        "gain": gained(trained),
        "bleu": -gained([pair for pair in before["bleu"] if pair not in trained]),
        "perplexity": mean(nats),
        "facts": mean(facts),
    }


# -------------------------------------------------------------- one direction trained, all measured
def matrices(results: Sequence[dict], method: str, pairs: Sequence[str]) -> np.ndarray:
    """BLEU change [seed, trained pair, measured pair] (LANDeRMT fig. 3); NaN in the rows of runs
    that are missing or diverged."""
    before = base_point(results)["bleu"]
    runs = [r for r in results if r["method"] == method]
    numbers = sorted({r["seed"] for r in runs})
    changes = np.full((len(numbers), len(pairs), len(pairs)), np.nan)
    for r in runs:
        trained = r["settings"]["pair"]
        if trained in pairs and "diverged" not in r:
            row = [r["pairs"][pair]["bleu"] - before[pair] for pair in pairs]
            changes[numbers.index(r["seed"]), pairs.index(trained)] = row
    return changes


def direction_masks(pairs: Sequence[str]) -> dict[str, np.ndarray]:
    """Masks [trained, measured] of a matrix: "own" (the diagonal) and "others" (the rest); of
    these, "same side" of English (en-de and en-fr, or de-en and fr-en) and "other side"; and "into
    English", the half of the same side that LANDeRMT's fig. 3 shows."""
    into_english = np.array([parse_pair(pair)[1] == "en" for pair in pairs])
    same = into_english[:, None] == into_english[None]
    diagonal = np.eye(len(pairs), dtype=bool)
    others = ~diagonal
    masks = {"own": diagonal, "others": others, "same side": same & others, "other side": ~same}
    return masks | {"into English": masks["same side"] & into_english}


def group_means(matrix: np.ndarray, pairs: Sequence[str]) -> dict[str, list[float]]:
    """The mean of each group of `direction_masks`, one number per seed. matrix: [seed, trained,
    measured]; NaN are left out."""
    means = {}
    for name, mask in direction_masks(pairs).items():
        by_seed = matrix[:, mask]  # [seed, change]
        measured = ~np.isnan(by_seed).all(axis=1)
        means[name] = np.nanmean(by_seed[measured], axis=1).tolist()
    return means


# ---------------------------------------------------------------- one direction after the other
def sequence(result: Mapping, before: Mapping) -> tuple[np.ndarray, dict]:
    """(R [stage, task], summary) of a run of one direction per stage: `statistics.continual` of R,
    "learned" (mean over tasks of the BLEU gained in the task's own stage and before), and `change`
    from start to end."""
    tasks = [pairs[0] for pairs in result["train_pairs"]]
    R = np.array([[point["bleu"][task] for task in tasks] for point in result["curve"]])
    start = np.array([before["bleu"][task] for task in tasks])
    return R, {
        **continual(R, start),
        "learned": float((R.diagonal() - start).mean()),
        **change(final_point(result), before, tasks),
    }


# ---------------------------------------------------------------- loss against gain
def curve(result: Mapping, before: Mapping, measure: str) -> list[tuple[float, float]]:
    """(gain, loss) from (0, 0), the base model, to the run's end. measure: one of `MEASURES`."""
    points, trained = [*result["curve"], final_point(result)], result["train_pairs"][0]
    changes = [change(point, before, trained) for point in points]
    return [(0.0, 0.0), *((values["gain"], values[measure]) for values in changes)]


def front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The (gain, loss) that no other point beats, by growing gain, from (0, 0), the base model, on:
    of these, more gain costs more."""
    kept = []
    for gain, loss in sorted(points, key=lambda point: (-point[0], point[1])):
        if gain > 0 and (not kept or loss < kept[-1][1]):
            kept.append((gain, loss))
    return [(0.0, 0.0), *reversed(kept)]


def fronts(results: Sequence[dict], method: str, measure: str) -> dict[int, list]:
    """{seed: `front` of all points of its runs, at every rate}. measure: one of `MEASURES`."""
    before, points = base_point(results), {}
    for run in _finished(results, method):
        points.setdefault(run["seed"], []).extend(curve(run, before, measure))
    return {seed: front(found) for seed, found in sorted(points.items())}


def loss_at(points: Sequence[tuple[float, float]], gains: Sequence[float]) -> np.ndarray:
    """The loss on a front where it has these gains, linear between two points; NaN beyond its
    end."""
    return np.interp(gains, *zip(*points), right=np.nan)


def front_over_seeds(found: Mapping[int, list], n: int = 21) -> dict[float, dict]:
    """{gain: {"mean", "interval"} of the loss} at n gains, up to the largest that all seeds reach
    (`results.by_setting`'s form, for `plots.interval_line`)."""
    gains = np.linspace(0, min(points[-1][0] for points in found.values()), n)
    losses = np.array([loss_at(points, gains) for points in found.values()])
    table = {}
    for gain, values in zip(gains.tolist(), losses.T):
        mean, _, low, high = mean_interval(values)
        table[gain] = {"mean": mean, "interval": None if low is None else [low, high]}
    return table


def _ways(results: Sequence[dict], method: str, measure: str) -> dict[int, list]:
    """{seed: its front}, or its run's curve where there is no run at another rate."""
    if any(_step(run) for run in _finished(results, method)):
        return fronts(results, method, measure)
    before = base_point(results)
    return {seed: curve(run, before, measure) for seed, run in seeds(results, method).items()}


def equal_gain(
    results: Sequence[dict], method: str, reference: str, measure: str
) -> list[tuple[float, float, float]]:
    """(gain, loss of the method, loss of the reference) per seed that both have: `at_equal_gain` of
    their fronts, or of their curves where only one rate was run. Seeds in which one of them never
    gains are left out."""
    common = []
    first, second = (_ways(results, name, measure) for name in (method, reference))
    for seed in sorted(first.keys() & second.keys()):
        curves = [first[seed], second[seed]]
        if all(any(gain > 0 for gain, _ in points) for points in curves):
            common.append(at_equal_gain(*curves))
    return common


def over_seeds(values: Sequence[float], form: str = "+.1f") -> str:
    """ "mean ± half the 95% interval" over seeds (Student's t); of a single seed the mean alone, of
    none a dash."""
    if not len(values):
        return "–"
    mean, _, low, _ = mean_interval(values)
    return format(mean, form) + ("" if low is None else f" ± {mean - low:{form.lstrip('+')}}")


def verdict(
    values: Sequence[float],
    above: str,
    below: str,
    neither: str = "cannot tell",
    unit: str = "BLEU",
) -> str:
    """`above` or `below`, if the 95% interval over seeds lies on one side of zero; "no difference"
    if it lies within the unit's margin (`verdicts`); else `neither`. Fewer than three seeds say
    nothing."""
    if len(values) < 3:
        return f"{len(values)} seed{'s' * (len(values) != 1)}: no verdict"
    _, _, low, high = mean_interval(values)
    if low > 0 or high < 0:
        return above if low > 0 else below
    return f"no difference within {UNITS[unit].margin:g}" if within((low, high), unit) else neither
