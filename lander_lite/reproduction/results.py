"""Result files of studies: read them, refuse those that don't belong together, and sum them up over
seeds."""

from __future__ import annotations

import json
import lzma
from collections.abc import Callable, Sequence
from pathlib import Path

from .statistics import mean_interval


def refuse(result: dict, path: Path, lab, spec) -> dict:
    """`result` if it belongs to this lab and spec; ValueError when its model, corpus, neuron sets
    or updates are others."""
    updates = spec.updates(lab.config) if result.get("updates") else 0
    sets = lab.sets_of(spec).hash()
    wanted = {
        "base_model": lab.model,
        "corpus": lab.corpus,
        "neuron_sets": sets,
        "updates": updates,
    }
    if wrong := [key for key, value in wanted.items() if result.get(key) != value]:
        raise ValueError(
            f"{path} was made with another {wrong[0]} ({result.get(wrong[0])}, now "
            f"{wanted[wrong[0]]}); to make it "
            f"again, remove it and run: lander-lite study --profile {lab.config.profile} --kinds "
            f"{spec.kind} "
            f"--methods {spec.method} --output-dir {lab.folder}"
        )
    return result


def load_results(
    folder, kind: str = "main", base_model: dict | None = None, corpus: str | None = None
) -> list[dict]:
    """Every result of one kind, by file name. ValueError for files of different models or corpora,
    or of others than `base_model` (a `fingerprint`) and `corpus` (a `corpus_hash`), with the
    command that makes them again."""
    folder, results = Path(folder), []
    for path in sorted((folder / kind).glob("*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        base_model, corpus = base_model or result["base_model"], corpus or result["corpus"]
        for key, wanted in (("base_model", base_model), ("corpus", corpus)):
            if result[key] != wanted:
                raise ValueError(
                    f"{path} was made with another {key} ({result[key]}, now {wanted}); remove "
                    f"{folder} and run: "
                    f"lander-lite study --profile {result['profile']} --kinds {kind} --output-dir "
                    f"{folder}"
                )
        results.append(result)
    return results


def load_hypotheses(folder, method: str, seed: int = 0) -> dict[str, list[str]]:
    """{pair: translations of the whole test set} of a main run. FileNotFoundError if it was not
    run."""
    path = Path(folder) / "main" / f"{method}-seed{seed}.hypotheses.xz"
    return json.loads(lzma.decompress(path.read_bytes()))


def summary(results: Sequence[dict]) -> dict[str, dict]:
    """Per method, in the registry's order: mean BLEU over the seeds that did not diverge, its
    standard deviation and 95% interval (Student's t), chrF2, seeds, diverged runs, learning rate,
    trained scalars, seconds of training."""
    from .methods import METHODS

    table = {}
    for method in METHODS:
        mine = [r for r in results if r["method"] == method]
        good = [r for r in mine if "diverged" not in r]
        if good:
            mean, sd, low, high = mean_interval([r["mean"]["bleu"] for r in good])
            table[method] = {
                "bleu": mean,
                "sd": sd,
                "interval": None if low is None else [low, high],
                "seeds": len(good),
                "diverged": len(mine) - len(good),
                "chrf": sum(r["mean"]["chrf"] for r in good) / len(good),
                "learning_rate": good[0]["learning_rate"],
                "trainable": good[0].get("trainable", 0),
                "training_seconds": sum(r.get("training_seconds", 0) for r in good) / len(good),
            }
    return table


def by_setting(
    results: Sequence[dict],
    *keys: str,
    value: Callable[[dict], float] = lambda run: run["mean"]["bleu"],
) -> dict:
    """A sweep's results grouped by one setting, or by a tuple of several ("learning_rate" and
    "method" count as settings): {value: {"mean", "sd", "interval", "seeds", "diverged"}}, sorted by
    value; runs that diverged do not enter the mean. value: what is averaged."""
    groups: dict = {}
    for result in results:
        values = tuple(result["settings"].get(key, result.get(key)) for key in keys)
        groups.setdefault(values if len(keys) > 1 else values[0], []).append(result)
    table = {}
    for setting, mine in sorted(groups.items()):
        good = [value(result) for result in mine if "diverged" not in result]
        mean, sd, low, high = mean_interval(good) if good else (None,) * 4
        table[setting] = {
            "mean": mean,
            "sd": sd,
            "interval": None if low is None else [low, high],
            "seeds": len(good),
            "diverged": len(mine) - len(good),
        }
    return table
