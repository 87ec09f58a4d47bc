"""Methods side by side at equal data and equal updates: each with its own learning-rate grid on
valid, then seeds on test.

A study is a list of `Spec`s (kinds.py); each becomes one JSON in `output_dir`/kind/. A killed study
goes on where it stopped: finished runs are files, an unfinished one has a checkpoint. Learning
rates are chosen on a slice of valid, never on test, by joint training; every other kind uses a
method's joint rate, unless it sweeps rates or trains on plain text, which has a grid of its own.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import torch

from ..config import LanderConfig
from .analyses.everything import analyse
from .lab import Lab
from .methods import METHODS
from .results import refuse
from .runs import run
from .specs import GRID, Spec, grid_specs, specs_of

FAST_UPDATES = 40  # `make study FAST=1`: a look at the machinery
FAST = {"seeds": 1, "grid": GRID[2:4], "valid_sentences": 20, "test_sentences": 40}


def study(
    config: LanderConfig,
    methods: Sequence[str] | None = None,
    *,
    kinds: Sequence[str] = ("main",),
    seeds: int = 3,
    grid: Sequence[float] = GRID,
    valid_sentences: int = 100,
    test_sentences: int | None = None,
    output_dir,
    resume: bool = True,
    jobs: int = 1,
    hours: float | None = None,
) -> list[dict]:
    """Run `kinds` of studies for `methods` (None: each kind's own); returns the results, without
    those of the grid.

    jobs: processes side by side, which share the CPU's threads. hours: no run starts after so many;
    the same call goes on from there. Prints the estimated hours first, then a line per finished run
    with the time left. Raises ValueError for an unknown method or kind, naming the valid ones, and
    for results of another model, corpus or neuron sets. A run whose loss is not finite is marked
    "diverged", and the study goes on. The kind "analysis" comes last, and its results are files
    only (`analyses.analyse`)."""
    specs = specs_of(kinds, methods, seeds, config)
    needed = list(
        dict.fromkeys(
            (spec.grid, spec.method)
            for spec in specs
            if spec.rate is None and METHODS[spec.method].build
        )
    )
    folder, sentences = Path(output_dir), {"grid": valid_sentences, "test": test_sentences}
    deadline = time.time() + 3600 * hours if hours else None
    lab = Lab(config, folder)  # writes the scores that every process reads
    with workers(lab, jobs) as each:
        trials = perform(
            grid_specs(needed, grid), lab, {}, sentences, each, resume, deadline, others=specs
        )
        if len(trials) < len(needed) * len(grid):
            return []
        results = perform(specs, lab, choose(needed, trials), sentences, each, resume, deadline)
    if {"analysis", "all"} & set(kinds) and not (deadline and time.time() > deadline):
        analyse(lab)
    return results


def choose(
    needed: Sequence[tuple[str, str]], trials: Sequence[dict]
) -> dict[tuple[str, str], dict]:
    """{(Spec.grid, method): {"rate", "grid": {rate: score on valid, None if diverged}}}. The rate
    with the best score is chosen: the mean BLEU, or for plain text minus the perplexity. A diverged
    rate is never chosen over one that is not."""
    chosen = {}
    for kind, method in needed:
        scores = {
            trial["learning_rate"]: None if "diverged" in trial else valid_score(trial)
            for trial in trials
            if (trial["kind"], trial["method"]) == (kind, method)
        }
        best = max(scores, key=lambda rate: float("-inf") if scores[rate] is None else scores[rate])
        chosen[kind, method] = {
            "rate": best,
            "grid": {str(rate): score for rate, score in scores.items()},
        }
    return chosen


def valid_score(trial: dict) -> float:
    return (
        -sum(trial["perplexity"].values())
        if trial["kind"] == "grid-sparse"
        else trial["mean"]["bleu"]
    )


# ---------------------------------------------------------------- many runs
def perform(
    specs: Sequence[Spec],
    lab: Lab,
    chosen: dict,
    sentences: dict,
    each,
    resume: bool,
    deadline: float | None,
    others: Sequence[Spec] = (),
) -> list[dict]:
    """The results of `specs`, in order; those with a file are read, the others are run until the
    deadline. `others`: what comes later, for the time left."""
    results, waiting = {}, []
    for spec in specs:
        path = lab.folder / spec.path
        if resume and path.is_file():
            results[spec] = refuse(json.loads(path.read_text(encoding="utf-8")), path, lab, spec)
        else:
            waiting.append(spec)
    left = sum(spec.seconds(lab.config) for spec in waiting) + sum(
        spec.seconds(lab.config) for spec in others
    )
    if waiting:
        print(
            f"{len(waiting)} runs to do, {len(results)} done before; about {left / 3600:.1f} "
            f"hours on two cores",
            flush=True,
        )
    start, total = time.time(), left
    for spec, result in each(
        [(spec, chosen.get((spec.grid, spec.method)), sentences) for spec in waiting]
    ):
        results[spec], left = result, left - spec.seconds(lab.config)
        ahead = (time.time() - start) / max(total - left, 1e-9) * left / 60
        print(
            f"{spec.path:54} BLEU {result['mean']['bleu']:6.2f} "
            f"{'DIVERGED' if 'diverged' in result else ''}"
            f" ({result['seconds']:.0f} s; {ahead:.0f} minutes left)",
            flush=True,
        )
        if deadline and time.time() > deadline:
            break
    if missing := len(specs) - len(results):
        print(
            f"stopped at the limit of hours, with {missing} runs to do; the same command goes on",
            flush=True,
        )
    return [results[spec] for spec in specs if spec in results]


@contextlib.contextmanager
def workers(lab: Lab, jobs: int):
    """each(tasks) -> iterator of (spec, result), as they finish. One job runs in this process."""
    if jobs == 1:
        yield lambda tasks: ((task[0], run(lab, *task)) for task in tasks)
        return
    threads = max(1, (os.cpu_count() or 1) // jobs)
    pool = ProcessPoolExecutor(
        jobs, multiprocessing.get_context("spawn"), _start, (lab.config, lab.folder, threads)
    )

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
    finally:  # an error in one run, or Ctrl-C, does not start the others
        pool.shutdown(cancel_futures=True)


def _start(config, folder, threads):
    global _lab
    torch.set_num_threads(threads)
    _lab = Lab(config, folder)


def _work(*task):
    return run(_lab, *task)
