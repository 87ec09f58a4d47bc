"""Result files of studies: read them, refuse those that don't belong together, and sum them up over
seeds."""

from __future__ import annotations

import json
import lzma
from collections.abc import Callable, Sequence
from pathlib import Path

from ..config import WITHOUT_EFFECT, refuse_other
from ..io import content_of
from ..stored import check_kinds, read_json
from .statistics import mean_interval

# settings of tuning that each run has its own of, or that do not change what it gives
LEFT_OUT = ("learning_rate", "seed", "updates", "gradient_checkpointing", *WITHOUT_EFFECT)
# what every result has, for tables and claims
CONTENT = {"method": str, "profile": str, "corpus": str, "seed": int}
CONTENT |= dict.fromkeys(("settings", "mean", "pairs", "base_model"), dict)


def settings_of(config) -> dict[str, dict]:
    """What must be equal in all results of a study: {section: {setting: value}}."""
    finetune = {name: x for name, x in vars(config.finetune).items() if name not in LEFT_OUT}
    types = ("dtype", "load_in_4bit", "load_in_8bit")
    model = {name: getattr(config.model, name) for name in types}
    return {"finetune": finetune, "model": model, "prompt": {"template": config.corpus.template}}


def read_run(path: Path) -> dict:
    """A result file as `runs.run` writes it; ValueError, with file and key, for any other."""
    result = read_json(path, CONTENT)
    with content_of(path):
        check_kinds(result["mean"], {"bleu": float, "chrf": float})
        return result


def read_result(path: Path, lab, spec) -> dict:
    """The result of a run that was done before. ValueError when its model, corpus, neuron sets,
    updates, directions or settings are others than this lab's and spec's."""
    result = read_run(path)
    wanted = {
        "base_model": lab.model,
        "corpus": lab.corpus,
        "neuron_sets": lab.sets_of(spec).hash(),
        "updates": spec.updates(lab.config) if result.get("updates") else 0,
        "train_pairs": spec.stages(lab.config),
        "pairs": spec.tested(lab.config),
    }
    remedy = (
        f"to make it again, remove it and run: lander-lite study --profile {lab.config.profile} "
        f"--kinds {spec.kind} --methods {spec.method} --output-dir {lab.folder}"
    )
    refuse_other(result | {"pairs": list(result["pairs"])}, wanted, path, remedy)
    for section, settings in settings_of(lab.config).items():
        stored = result.get(section, {})  # older files name fewer settings
        before = {f"{section}.{name}": value for name, value in stored.items()}
        now = {f"{section}.{name}": settings[name] for name in settings.keys() & stored.keys()}
        refuse_other(before, now, path, remedy)
    return result


def load_results(
    folder, kind: str = "main", base_model: dict | None = None, corpus: str | None = None
) -> list[dict]:
    """Every result of one kind, by file name. ValueError for files of different models or corpora,
    or of others than `base_model` (a `fingerprint`) and `corpus` (a `corpus_hash`), with the
    command that makes them again."""
    folder, results = Path(folder), []
    for path in sorted((folder / kind).glob("*.json")):
        result = read_run(path)
        base_model, corpus = base_model or result["base_model"], corpus or result["corpus"]
        remedy = (
            f"remove {folder} and run: lander-lite study --profile {result['profile']} --kinds "
            f"{kind} --output-dir {folder}"
        )
        refuse_other(result, {"base_model": base_model, "corpus": corpus}, path, remedy)
        results.append(result)
    return results


def load_hypotheses(folder, method: str, seed: int = 0, kind: str = "main") -> dict[str, list[str]]:
    """{pair: translations of the test sentences} of a run. FileNotFoundError if it was not run."""
    path = Path(folder) / kind / f"{method}-seed{seed}.hypotheses.xz"
    data = path.read_bytes()
    with content_of(path):
        return json.loads(lzma.decompress(data))


def bleu(run: dict) -> float:
    """Mean test BLEU over the directions of a run."""
    return run["mean"]["bleu"]


def summary(results: Sequence[dict]) -> dict[str, dict]:
    """Per method, in the registry's order: mean BLEU over the seeds that did not diverge, its
    standard deviation and 95% interval (Student's t), chrF2, seeds, diverged runs, learning rate,
    trained scalars, seconds of training."""
    from .methods import METHODS

    table = {}
    for method in METHODS:
        runs = [r for r in results if r["method"] == method]
        finished = [r for r in runs if "diverged" not in r]
        if finished:
            line, n = over_seeds(runs, bleu), len(finished)
            table[method] = {
                "bleu": line.pop("mean"),
                **line,
                "chrf": sum(r["mean"]["chrf"] for r in finished) / n,
                "learning_rate": finished[0]["learning_rate"],
                "trainable": finished[0].get("trainable", 0),
                "training_seconds": sum(r.get("training_seconds", 0) for r in finished) / n,
            }
    return table


def by_setting(results: Sequence[dict], *keys: str, value: Callable[[dict], float] = bleu) -> dict:
    """A sweep's results grouped by one setting, or by a tuple of several ("learning_rate" and
    "method" count as settings): {value: {"mean", "sd", "interval", "seeds", "diverged"}}, sorted by
    value; runs that diverged do not enter the mean. value: what is averaged."""
    groups: dict = {}
    for result in results:
        values = tuple(result["settings"].get(key, result.get(key)) for key in keys)
        groups.setdefault(values if len(keys) > 1 else values[0], []).append(result)
    return {setting: over_seeds(runs, value) for setting, runs in sorted(groups.items())}


def over_seeds(runs: Sequence[dict], value: Callable[[dict], float]) -> dict:
    """{"mean", "sd", "interval", "seeds", "diverged"} of the runs that did not diverge."""
    values = [value(run) for run in runs if "diverged" not in run]
    mean, sd, low, high = mean_interval(values) if values else (None,) * 4
    return {
        "mean": mean,
        "sd": sd,
        "interval": None if low is None else [low, high],
        "seeds": len(values),
        "diverged": len(runs) - len(values),
    }
