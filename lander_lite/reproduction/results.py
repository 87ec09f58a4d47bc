"""Results of studies: read them, refuse those that don't belong together, sum them up over seeds.

A study writes a file for each run, FOLDER/kind/name.json, and translations as name.hypotheses.xz.
`python -m lander_lite.reproduction.results FOLDER` folds them into tables, one a kind, which pandas
reads: kind.jsonl, and kind.hypotheses.jsonl.xz. Both are read, and a file goes before a line.
"""

from __future__ import annotations

import json
import lzma
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from pathlib import Path

from ..config import WITHOUT_EFFECT, refuse_other
from ..io import atomic_path, content_of, write_text
from ..stored import check_kinds, read_json
from .kinds import RECORDS
from .methods import METHODS
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


def stored_runs(folder, kind: str) -> dict[str, dict]:
    """{name: result} of one kind, sorted by name. ValueError, with file and key, for what no run
    writes."""
    found, table = {}, Path(folder, f"{kind}.jsonl")
    if table.is_file():
        for number, line in enumerate(table.read_text(encoding="utf-8").splitlines(), 1):
            with content_of(f"{table}, line {number},"):
                result = json.loads(line)
                check_kinds(result, CONTENT | {"name": str})
                found[result.pop("name")] = result
    for path in Path(folder, kind).glob("*.json"):
        found[path.stem] = read_json(path, CONTENT)
    for name, result in found.items():
        with content_of(place(folder, kind, name)):
            check_kinds(result["mean"], {"bleu": float, "chrf": float})
    return dict(sorted(found.items()))


def stored_of(folder, specs: Iterable) -> dict:
    """{Spec: result} of those runs that are stored."""
    specs = [*specs]
    kinds = {kind: stored_runs(folder, kind) for kind in {spec.kind for spec in specs}}
    return {spec: kinds[spec.kind][spec.name] for spec in specs if spec.name in kinds[spec.kind]}


def place(folder, kind: str, name: str) -> str:
    """Where a run is stored, for messages."""
    path = Path(folder, kind, f"{name}.json")
    return str(path if path.is_file() else f"{name} in {Path(folder, kind)}.jsonl")


def check_result(result: dict, lab, spec) -> dict:
    """A run that was done before. ValueError when its model, corpus, neuron sets, updates,
    directions or settings are others than this lab's and spec's."""
    wanted = {
        "base_model": lab.model,
        "corpus": lab.corpus,
        "neuron_sets": lab.sets_of(spec).hash(),
        "updates": spec.updates(lab.config) if result.get("updates") else 0,
        "train_pairs": spec.stages(lab.config),
        "pairs": spec.tested(lab.config),
    }
    where = place(lab.folder, spec.kind, spec.name)
    remedy = (
        f"to make it again, remove it and run: lander-lite study --profile {lab.config.profile} "
        f"--kinds {spec.kind} --methods {spec.method} --output-dir {lab.folder}"
    )
    refuse_other(result | {"pairs": list(result["pairs"])}, wanted, where, remedy)
    for section, settings in settings_of(lab.config).items():
        stored = result.get(section, {})  # older files name fewer settings
        before = {f"{section}.{name}": value for name, value in stored.items()}
        now = {f"{section}.{name}": settings[name] for name in settings.keys() & stored.keys()}
        refuse_other(before, now, where, remedy)
    return result


def load_results(
    folder, kind: str = "main", base_model: dict | None = None, corpus: str | None = None
) -> list[dict]:
    """Every result of one kind, by name. ValueError for those of different models or corpora, or of
    others than `base_model` (a `fingerprint`) and `corpus` (a `corpus_hash`), with the command that
    makes them again."""
    results = stored_runs(folder, kind)
    for name, result in results.items():
        base_model, corpus = base_model or result["base_model"], corpus or result["corpus"]
        remedy = (
            f"remove {folder} and run: lander-lite study --profile {result['profile']} --kinds "
            f"{kind} --output-dir {folder}"
        )
        wanted = {"base_model": base_model, "corpus": corpus}
        refuse_other(result, wanted, place(folder, kind, name), remedy)
    return [*results.values()]


def load_hypotheses(folder, method: str, seed: int = 0, kind: str = "main") -> dict[str, list[str]]:
    """{pair: translations of the test sentences} of a run. FileNotFoundError if there are none."""
    name, table = f"{method}-seed{seed}", Path(folder, f"{kind}.hypotheses.jsonl.xz")
    path = Path(folder, kind, f"{name}.hypotheses.xz")
    if path.is_file():
        with content_of(path):
            return json.loads(lzma.decompress(path.read_bytes()))
    outputs = read_outputs(table)
    if name not in outputs:
        raise FileNotFoundError(f"{table} holds no translations of {name}")
    return outputs[name]


def read_outputs(table: Path) -> dict[str, dict[str, list[str]]]:
    """{name: {pair: translations}} of a table of them; {} where there is none."""
    return dict(_outputs(table, table.stat().st_mtime_ns)) if table.is_file() else {}


@lru_cache(maxsize=2)
def _outputs(table: Path, changed: int) -> dict[str, dict[str, list[str]]]:
    with content_of(table), lzma.open(table, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
        return {row["name"]: row["hypotheses"] for row in rows}


def fold(folder) -> list[Path]:
    """Put each kind's files into its tables, and remove them; returns the tables."""
    tables = []
    for kind in RECORDS:
        table, loose = Path(folder, f"{kind}.jsonl"), Path(folder, kind)
        if not loose.is_dir():
            continue
        runs = stored_runs(folder, kind)
        outputs = table.with_suffix(".hypotheses.jsonl.xz")
        translated = read_outputs(outputs)
        for path in loose.glob("*.hypotheses.xz"):
            method, _, seed = path.name.removesuffix(".hypotheses.xz").rpartition("-seed")
            translated[f"{method}-seed{seed}"] = load_hypotheses(folder, method, int(seed), kind)
        write_text(table, _lines({"name": name, **run} for name, run in runs.items()))
        if translated:
            rows = ({"name": x, "hypotheses": translated[x]} for x in sorted(translated))
            with atomic_path(outputs) as temporary:
                temporary.write_bytes(lzma.compress(_lines(rows).encode(), preset=6))
        shutil.rmtree(loose)
        tables.append(table)
    return tables


def _lines(rows) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def bleu(run: dict) -> float:
    """Mean test BLEU over the directions of a run."""
    return run["mean"]["bleu"]


def summary(results: Sequence[dict]) -> dict[str, dict]:
    """Per method, in the registry's order: mean BLEU over the seeds that did not diverge, its
    standard deviation and 95% interval (Student's t), chrF2, seeds, diverged runs, learning rate,
    trained scalars, seconds of training."""
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


if __name__ == "__main__":
    for folder in sys.argv[1:]:
        print(*fold(folder), sep="\n")
