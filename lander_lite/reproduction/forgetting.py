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

MEASURES = {
    "bleu": "BLEU lost, other directions",
    "perplexity": "plain text, nats gained",
    "facts": "facts lost (points)",
}


def stored(profile: str, kind: str, folder=None, **belongs) -> list[dict]:
    """The stored results of one kind (`load_results`; `belongs` are its arguments), from
    data/results or `folder`. If there are none, [] and a printed line with the command that makes
    them."""
    folder = data_dir() / "results" / profile if folder is None else folder
    results = load_results(folder, kind, **belongs)
    if not results:
        print(
            f"Not measured here: there are no results of the kind {kind!r}. To make them (hours), "
            f"run:\n"
            f"    lander-lite study --profile {profile} --kinds {kind} --output-dir "
            f"runs/study/{profile}\n"
            f"and copy runs/study/{profile}/{kind} to data/results/{profile}/{kind}."
        )
    return results


def seeds(results: Sequence[dict], method: str) -> dict[int, dict]:
    """{seed: result} of a method's runs that did not diverge. Of a matrix, which has many runs per
    seed, use `matrices`."""
    return {
        r["seed"]: r
        for r in sorted(results, key=lambda r: r["seed"])
        if r["method"] == method and "diverged" not in r
    }


# ---------------------------------------------------------------- points and changes
def end(result: Mapping) -> dict:
    """A run's end as a point."""
    return {
        "bleu": {pair: scores["bleu"] for pair, scores in result["pairs"].items()},
        **{k: result[k] for k in ("perplexity", "facts")},
    }


def pruned(result: Mapping) -> dict[float, dict]:
    """{sparsity: point} of a run of the kind "prune"; of the dense model {0: point}."""
    return {point["sparsity"]: point for point in result["curve"]} | {
        result.get("sparsity", 0.0): end(result)
    }


def base(results: Sequence[dict]) -> dict:
    """The base model as a point: the zero-shot run among the results. ValueError if there is
    none."""
    for result in results:
        if result["method"] == "zero-shot":
            return end(result)
    raise ValueError(
        f"no zero-shot run among the {len(results)} results: gains and losses are differences to it"
    )


def change(point: Mapping, before: Mapping, trained: Sequence[str]) -> dict[str, float]:
    """Between two points: "gain", mean BLEU gained on the `trained` pairs; "bleu", mean BLEU lost
    on the others; "perplexity", mean over languages of ln(after / before), which is the loss gained
    in nats per token; "facts", percentage points lost, mean over languages."""

    def mean(name, keys, difference):
        return (
            sum(difference(before[name][key], point[name][key]) for key in keys) / len(keys)
            if keys
            else math.nan
        )

    others = [pair for pair in before["bleu"] if pair not in trained]
    return {
        "gain": mean("bleu", trained, lambda b, a: a - b),
        "bleu": mean("bleu", others, lambda b, a: b - a),
        "perplexity": mean("perplexity", before["perplexity"], lambda b, a: math.log(a / b)),
        "facts": mean("facts", before["facts"], lambda b, a: 100 * (b - a)),
    }


# -------------------------------------------------------------- one direction trained, all measured
def matrices(results: Sequence[dict], method: str, pairs: Sequence[str]) -> np.ndarray:
    """BLEU change [seed, trained pair, measured pair] (LANDeRMT fig. 3); NaN in the rows of runs
    that are missing or diverged."""
    before, mine = base(results)["bleu"], [r for r in results if r["method"] == method]
    numbers = sorted({r["seed"] for r in mine})
    found = np.full((len(numbers), len(pairs), len(pairs)), np.nan)
    for r in mine:
        if "diverged" not in r and (trained := r["settings"]["pair"]) in pairs:
            found[numbers.index(r["seed"]), pairs.index(trained)] = [
                r["pairs"][pair]["bleu"] - before[pair] for pair in pairs
            ]
    return found


def cells(pairs: Sequence[str]) -> dict[str, np.ndarray]:
    """Masks [trained, measured] of a matrix: "own" (the diagonal) and "others" (the rest); of
    these, "same side" of English (en-de and en-fr, or de-en and fr-en) and "other side"."""
    into = np.array([parse_pair(pair)[1] == "en" for pair in pairs])
    own, same = np.eye(len(pairs), dtype=bool), into[:, None] == into[None]
    return {"own": own, "others": ~own, "same side": same & ~own, "other side": ~same}


def cell_means(matrix: np.ndarray, pairs: Sequence[str]) -> dict[str, list[float]]:
    """The mean of each kind of `cells`, one number per seed. matrix: [seed, trained, measured]; NaN
    are left out."""
    return {
        name: [float(np.nanmean(one[mask])) for one in matrix if not np.isnan(one[mask]).all()]
        for name, mask in cells(pairs).items()
    }


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
        **change(end(result), before, tasks),
    }


# ---------------------------------------------------------------- loss against gain
def curve(result: Mapping, before: Mapping, measure: str) -> list[tuple[float, float]]:
    """(gain, loss) from (0, 0), the base model, to the run's end. measure: one of `MEASURES`."""
    points = [
        change(point, before, result["train_pairs"][0]) for point in [*result["curve"], end(result)]
    ]
    return [(0.0, 0.0), *((point["gain"], point[measure]) for point in points)]


def equal_gain(
    results: Sequence[dict], method: str, reference: str, measure: str
) -> list[tuple[float, float, float]]:
    """(gain, loss of the method, loss of the reference) per seed that both have: `at_equal_gain` of
    their curves. Seeds in which one of them never gains are left out."""
    before, found = base(results), []
    first, second = seeds(results, method), seeds(results, reference)
    for seed in sorted(first.keys() & second.keys()):
        both = [curve(runs[seed], before, measure) for runs in (first, second)]
        if min(max(gain for gain, _ in one) for one in both) > 0:
            found.append(at_equal_gain(*both))
    return found


# ---------------------------------------------------------------- seeds in words
def over_seeds(values: Sequence[float], form: str = "+.1f") -> str:
    """ "mean ± half the 95% interval" over seeds (Student's t); of a single seed the mean alone, of
    none a dash."""
    if not len(values):
        return "–"
    mean, _, low, _ = mean_interval(values)
    return format(mean, form) + ("" if low is None else f" ± {mean - low:{form.lstrip('+')}}")


def verdict(
    values: Sequence[float], above: str, below: str, neither: str = "no clear difference"
) -> str:
    """`above` or `below`, if the 95% interval over seeds lies on one side of zero; else `neither`.
    Fewer than three seeds say nothing."""
    if len(values) < 3:
        return f"{len(values)} seed{'s' * (len(values) != 1)}: no verdict"
    _, _, low, high = mean_interval(values)
    return above if low > 0 else below if high < 0 else neither
