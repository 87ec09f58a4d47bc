"""Methods side by side at equal data and equal updates: each with its own learning-rate grid on valid, then seeds on test.

A study is a list of `Spec`s (kinds.py); each becomes one JSON in `output_dir`/kind/. A killed study goes on where it stopped: finished runs
are files, an unfinished one has a checkpoint. Learning rates are chosen on a slice of valid, never on test, by joint training; every other
kind uses a method's joint rate, unless it sweeps rates.
"""
from __future__ import annotations

import contextlib
import json
import lzma
import multiprocessing
import os
import platform
import resource
import shutil
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import torch

from .analyses import analyse
from .baselines import count_trainable
from .config import LanderConfig
from .files import atomic_path, write_text
from .finetune import finetune
from .kinds import GRID, Spec, grid_specs, specs_of
from .lab import Lab
from .methods import METHODS
from .results import refuse

FAST_UPDATES = 40                                      # `make study FAST=1`: a look at the machinery
FAST = {"seeds": 1, "grid": GRID[2:4], "valid_sentences": 20, "test_sentences": 40}
LIBRARIES = ("lander-lite", "torch", "transformers", "peft", "accelerate", "sacrebleu")


def study(config: LanderConfig, methods: Sequence[str] | None = None, *, kinds: Sequence[str] = ("main",), seeds: int = 3,
          grid: Sequence[float] = GRID, valid_sentences: int = 100, test_sentences: int | None = None, output_dir, resume: bool = True,
          jobs: int = 1, hours: float | None = None) -> list[dict]:
    """Run `kinds` of studies for `methods` (None: each kind's own); returns the results, without those of the grid.

    jobs: processes side by side, which share the CPU's threads. hours: no run starts after so many; the same call goes on from there.
    Prints the estimated hours first, then a line per finished run with the time left. Raises ValueError for an unknown method or kind,
    naming the valid ones, and for results of another model, corpus or neuron sets. A run whose loss is not finite is marked "diverged",
    and the study goes on. The kind "analysis" comes last, and its results are files only (`analyses.analyse`)."""
    specs = specs_of(kinds, methods, seeds, config)
    needed = list(dict.fromkeys(spec.method for spec in specs if spec.rate is None and METHODS[spec.method].build))
    folder, sentences = Path(output_dir), {"grid": valid_sentences, "test": test_sentences}
    deadline = time.time() + 3600 * hours if hours else None
    lab = Lab(config, folder)                           # writes the scores that every process reads
    with workers(lab, jobs) as each:
        trials = perform(grid_specs(needed, grid), lab, {}, sentences, each, resume, deadline, others=specs)
        if len(trials) < len(needed) * len(grid):
            return []
        results = perform(specs, lab, choose(needed, trials), sentences, each, resume, deadline)
    if {"analysis", "all"} & set(kinds) and not (deadline and time.time() > deadline):
        analyse(lab)
    return results


def choose(methods: Sequence[str], trials: Sequence[dict]) -> dict[str, dict]:
    """{method: {"rate", "grid": {rate: mean valid BLEU, None if diverged}}}: the rate with the best valid BLEU. A diverged rate is never
    chosen over one that is not."""
    chosen = {}
    for method in methods:
        scores = {trial["learning_rate"]: None if "diverged" in trial else trial["mean"]["bleu"]
                  for trial in trials if trial["method"] == method}
        best = max(scores, key=lambda rate: -1 if scores[rate] is None else scores[rate])
        chosen[method] = {"rate": best, "grid": {str(rate): bleu for rate, bleu in scores.items()}}
    return chosen


# ---------------------------------------------------------------- many runs
def perform(specs: Sequence[Spec], lab: Lab, chosen: dict, sentences: dict, each, resume: bool, deadline: float | None,
            others: Sequence[Spec] = ()) -> list[dict]:
    """The results of `specs`, in order; those with a file are read, the others are run until the deadline. `others`: what comes later, for
    the time left."""
    results, waiting = {}, []
    for spec in specs:
        path = lab.folder / spec.path
        if resume and path.is_file():
            results[spec] = refuse(json.loads(path.read_text(encoding="utf-8")), path, lab, spec)
        else:
            waiting.append(spec)
    left = sum(spec.seconds(lab.config) for spec in waiting) + sum(spec.seconds(lab.config) for spec in others)
    if waiting:
        print(f"{len(waiting)} runs to do, {len(results)} done before; about {left / 3600:.1f} hours on two cores", flush=True)
    start, total = time.time(), left
    for spec, result in each([(spec, chosen.get(spec.method), sentences) for spec in waiting]):
        results[spec], left = result, left - spec.seconds(lab.config)
        ahead = (time.time() - start) / max(total - left, 1e-9) * left / 60
        print(f"{spec.path:54} BLEU {result['mean']['bleu']:6.2f} {'DIVERGED' if 'diverged' in result else ''}"
              f" ({result['seconds']:.0f} s; {ahead:.0f} minutes left)", flush=True)
        if deadline and time.time() > deadline:
            break
    if missing := len(specs) - len(results):
        print(f"stopped at the limit of hours, with {missing} runs to do; the same command goes on", flush=True)
    return [results[spec] for spec in specs if spec in results]


@contextlib.contextmanager
def workers(lab: Lab, jobs: int):
    """each(tasks) -> iterator of (spec, result), as they finish. One job runs in this process."""
    if jobs == 1:
        yield lambda tasks: ((task[0], run(lab, *task)) for task in tasks)
        return
    threads = max(1, (os.cpu_count() or 1) // jobs)
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _start, (lab.config, lab.folder, threads))

    def each(tasks):
        futures = {pool.submit(_work, *task): task[0] for task in tasks}
        try:
            for done in as_completed(futures):
                yield futures[done], done.result()
        finally:
            for future in futures:
                future.cancel()
    try:
        yield each
    finally:                                            # an error in one run, or Ctrl-C, does not start the others
        pool.shutdown(cancel_futures=True)


def _start(config, folder, threads):
    global _lab
    torch.set_num_threads(threads)
    _lab = Lab(config, folder)


def _work(*task):
    return run(_lab, *task)


# ---------------------------------------------------------------- one run
def run(lab: Lab, spec: Spec, chosen: dict | None, sentences: dict) -> dict:
    """Train as `spec` says from a copy of the base model, measure, and write the result file. Returns the result."""
    start, config, method = time.time(), lab.config, METHODS[spec.method]
    reset_peak_memory()
    sets = lab.sets(**spec.sets, seed=spec.seed)
    chosen = chosen or {"rate": None, "grid": {}}
    result = {"kind": spec.kind, "method": spec.method, "about": method.about, "profile": config.profile, "seed": spec.seed,
              "settings": dict(spec.settings), "train_pairs": spec.stages(config), "learning_rate": spec.rate or chosen["rate"],
              "grid": chosen["grid"], "updates": spec.updates(config) if method.build else 0}
    model, losses, curve = lab.fresh(), [], []
    if method.build:
        torch.manual_seed(spec.seed)
        model = method.build(model, lab, sets, spec.seed)
        result["trainable"] = count_trainable(model)
        try:
            for number, pairs in enumerate(spec.stages(config)):
                losses += train(lab, spec, model, sets, pairs, result, number, curve)
                if spec.kind == "sequence":
                    curve.append(brief(lab, spec, model, sets, (number + 1) * result["updates"] // len(spec.stages(config))))
        except FloatingPointError as error:
            result["diverged"] = str(error)
    trained = time.time() - start
    on_valid = spec.kind == "grid"
    scores = lab.translations(model, lab.valid if on_valid else lab.test, spec.tested(config),
                              sentences["grid" if on_valid else "test"] or spec.sentences,
                              bootstrap=1000 if spec.kind == "main" else 0, keep_hypotheses=spec.kind == "main",
                              n_shots=method.shots, shots_from=lab.train)
    if spec.kind == "main":
        write_hypotheses(lab.folder / spec.path, {pair: scores[pair].pop("hypotheses") for pair in spec.tested(config)})
    if spec.kind != "grid" and not method.shots:
        result |= lab.elsewhere(model, sets)
    result |= {"loss": [round(x, 4) for x in losses[::10]], "curve": curve, "mean": scores.pop("mean"),
               "signature": scores.pop("signature"), "pairs": scores, "sentences": next(iter(scores.values()))["n"],
               "training_seconds": round(trained, 1), "seconds": round(time.time() - start, 1),
               "peak_memory_mb": peak_memory_mb(), "threads": torch.get_num_threads(),
               "neuron_sets": sets.hash(), "layers": sets.layers, "base_model": lab.model, "corpus": lab.corpus,
               "finetune": {k: v for k, v in vars(config.finetune).items() if k not in ("learning_rate", "seed", "updates", "progress")},
               "versions": {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}}
    write_text(lab.folder / spec.path, json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    shutil.rmtree(lab.folder / "unfinished" / spec.path, ignore_errors=True)
    return result


def train(lab: Lab, spec: Spec, model, sets, pairs: list[str], result: dict, stage: int, curve: list) -> list[float]:
    """One stage's losses; points of the learning curve are appended to `curve`."""
    config, kl = lab.config, METHODS[spec.method].kl
    settings = replace(config.finetune, learning_rate=result["learning_rate"], seed=spec.seed, progress=False, kl_weight=kl,
                       updates=result["updates"] // len(result["train_pairs"]))

    points = spec.curve_points(config)

    def callback(update):
        if update in points:
            curve.append(brief(lab, spec, model, sets, update))
    # a curve's points are not in a checkpoint: such a run, half as long as others, starts again when it was killed
    checkpoints = None if points else lab.folder / "unfinished" / spec.path / str(stage)
    return finetune(model, lab.tokenizer, lab.train, pairs, settings, output_dir=checkpoints, template=config.corpus.template,
                    callback=callback if points else None, kl_texts=lab.kl_texts() if kl else None)["loss"]


def brief(lab: Lab, spec: Spec, model, sets, update: int) -> dict:
    """A point of a learning curve: BLEU per pair on some test sentences, and the measures elsewhere."""
    scores = lab.translations(model, lab.test, spec.tested(lab.config), spec.sentences, bootstrap=0)
    return {"update": update, "bleu": {pair: scores[pair]["bleu"] for pair in spec.tested(lab.config)}, **lab.elsewhere(model, sets)}


def write_hypotheses(path: Path, hypotheses: dict[str, list[str]]) -> None:
    """The translations beside a result file, compressed: significance can be computed again without a model."""
    with atomic_path(path.with_suffix(".hypotheses.xz")) as temporary:
        temporary.write_bytes(lzma.compress(json.dumps(hypotheses, ensure_ascii=False).encode(), preset=6))


def reset_peak_memory() -> None:
    """Start a new high-water mark (Linux; elsewhere it stays that of the process)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory_mb() -> int:
    """The process's peak resident memory since `reset_peak_memory`."""
    with contextlib.suppress(OSError):
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) // 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
