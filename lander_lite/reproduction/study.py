"""Methods side by side at equal data and equal updates: each with its own learning-rate grid on
valid, then seeds on test.

A study is a list of `Spec`s (specs.py); each becomes one JSON in `output_dir`/kind/. A killed study
goes on where it stopped: finished runs are files, an unfinished one has a checkpoint. Learning
rates are chosen on a slice of valid, never on test, by joint training; every other kind uses a
method's joint rate, unless it sweeps rates or trains on plain text, which has a grid of its own.

Several machines of one kind can share a study, as shards (1, n) … (n, n) of one folder. Each does
every n-th trial, then every n-th run whose trials are there. So a job array goes through twice.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ..config import LanderConfig
from ..folders import in_use
from .analyses import ANALYSES, analyse
from .lab import Lab
from .results import check_result, fold, stored_runs
from .specs import GRID, TRIALS, Spec, grid_specs, specs_of
from .tables import study_table
from .workers import workers

FAST_UPDATES = 40  # `make study FAST=1`: a look at the machinery
FAST = {"seeds": 1, "grid": GRID[2:4], "valid_sentences": 20, "test_sentences": 40}


def study(
    config: LanderConfig,
    methods: Sequence[str] | None = None,
    *,
    kinds: Sequence[str] = ("main",),
    seeds: int = 3,
    grid: Sequence[float] = GRID,
    valid_sentences: int | None = None,
    test_sentences: int | None = None,
    output_dir,
    resume: bool = True,
    jobs: int = 1,
    hours: float | None = None,
    shard: tuple[int, int] | None = None,
) -> list[dict]:
    """Run `kinds` of studies for `methods` (None: each kind's own); returns the results, without
    those of the grid.

    shard: (part, of) does this part alone and returns what is there by then; not while another call
    without a shard is at work in the folder.

    jobs: processes side by side, which share the CPU's threads. hours: no run starts after so many;
    the same call goes on from there. Prints the estimated hours first, then a line per finished run
    with the time left. Raises ValueError for an unknown method or kind, naming the valid ones, and
    for results of another model, corpus or neuron sets. A run whose loss is not finite is marked
    "diverged", and the study goes on. The kind "analysis" comes last, and its results are files
    only (`analyses.analyse`)."""
    specs = specs_of(kinds, methods, seeds, config)
    if shard and not resume:
        raise ValueError("a shard needs --resume: its second pass reads what the first has made")
    needed = list(dict.fromkeys((spec.grid, spec.method) for spec in specs if spec.wants_rate))
    sentences = {"grid": valid_sentences, "test": test_sentences}
    deadline = time.time() + 3600 * hours if hours else None
    part, of = shard or (1, 1)
    with in_use(Path(output_dir, f"shard-{part}-of-{of}") if shard else output_dir):
        lab = Lab(config, Path(output_dir))  # writes the scores that every process reads
        with workers(lab, jobs) as perform_all:
            options = {"resume": resume, "deadline": deadline}
            do = partial(perform, lab=lab, sentences=sentences, perform_all=perform_all, **options)
            trial_specs = grid_specs(needed, grid)
            mine, my_trials = specs[part - 1 :: of], trial_specs[part - 1 :: of]
            trials = do(trial_specs, {}, mine=my_trials, later=mine)
            if len(trials) < len(trial_specs) and not shard:
                return []
            tried = [name for name in needed if _all_tried(name, trial_specs, trials)]
            ready = [x for x in specs if not x.wants_rate or (x.grid, x.method) in tried]
            if left := len(specs) - len(ready):
                print(f"{left} runs wait for learning rates that other shards try", flush=True)
            results = do(ready, choose(tried, trials), mine=mine)
        in_time = not (deadline and time.time() > deadline)
        if {"analysis", "all"} & set(kinds) and part == 1 and in_time:
            analyse(lab)
        return results


def _all_tried(name: tuple[str, str], specs: Sequence[Spec], trials: Sequence[dict]) -> bool:
    """All trials of one (kind, method) are there."""
    wanted = sum((spec.kind, spec.method) == name for spec in specs)
    return wanted == sum((trial["kind"], trial["method"]) == name for trial in trials)


def missing(
    config: LanderConfig,
    methods: Sequence[str] | None,
    kinds: Sequence[str],
    folder,
    seeds: int = 3,
    grid: Sequence[float] = GRID,
) -> list[str]:
    """The results of a study that are not in the folder yet."""
    specs = specs_of(kinds, methods, seeds, config)
    needed = dict.fromkeys((spec.grid, spec.method) for spec in specs if spec.wants_rate)
    wanted = [*grid_specs([*needed], grid), *specs]
    stored = {kind: stored_runs(folder, kind) for kind in {spec.kind for spec in wanted}}
    lacking = [spec.path for spec in wanted if spec.name not in stored[spec.kind]]
    if {"analysis", "all"} & set(kinds):
        analyses = [f"analysis/{name}.json" for name in ANALYSES]
        lacking += [path for path in analyses if not Path(folder, path).is_file()]
    return lacking


def read_shard(text: str) -> tuple[int, int]:
    """(3, 8) of "3/8". ValueError for anything else."""
    part, _, of = text.partition("/")
    if not (part.isdecimal() and of.isdecimal() and 1 <= int(part) <= int(of)):
        raise ValueError(f"--shard {text}: write which of how many, such as 3/8 (from 1 to 8)")
    return int(part), int(of)


def choose(
    needed: Sequence[tuple[str, str]], trials: Sequence[dict]
) -> dict[tuple[str, str], dict]:
    """{(Spec.grid, method): {"rate", "grid": {rate: score on valid, None if diverged}}}. The rate
    with the best score is chosen: the mean BLEU, or for plain text minus the perplexity. A diverged
    rate is never chosen over one that is not."""
    chosen = {}
    for kind, method in needed:
        tried = [trial for trial in trials if (trial["kind"], trial["method"]) == (kind, method)]
        scores = {
            trial["learning_rate"]: None if "diverged" in trial else valid_score(trial)
            for trial in tried
        }
        best = max(scores, key=lambda rate: -math.inf if scores[rate] is None else scores[rate])
        by_rate = {str(rate): score for rate, score in scores.items()}
        chosen[kind, method] = {"rate": best, "grid": by_rate}
    return chosen


def valid_score(trial: dict) -> float:
    """What a learning rate is chosen by; the higher, the better."""
    if TRIALS[trial["kind"]].plain_text:
        return -sum(trial["perplexity"].values())
    return trial["mean"]["bleu"]


# ---------------------------------------------------------------- many runs
def perform(
    specs: Sequence[Spec],
    chosen: dict,
    *,
    lab: Lab,
    sentences: dict,
    perform_all,
    resume: bool,
    deadline: float | None,
    mine: Sequence[Spec],
    later: Sequence[Spec] = (),
) -> list[dict]:
    """The results of `specs`, in order; stored ones are read, those of `mine` that are not stored
    are run until the deadline. later: runs that come afterwards, for the time left."""
    stored = {x: stored_runs(lab.folder, x) for x in {spec.kind for spec in specs} if resume}
    results = {
        spec: check_result(stored[spec.kind][spec.name], lab, spec)
        for spec in specs
        if spec.name in stored.get(spec.kind, {})
    }
    waiting = [spec for spec in specs if spec in mine and spec not in results]
    start = time.time()
    total = left = sum(spec.seconds(lab.config) for spec in (*waiting, *later))
    if waiting:
        counts = f"{len(waiting)} runs to do, {len(results)} done before"
        hours = f"about {left / 3600:.1f} hours on two cores for a tiny model"
        print(f"{counts}; {hours}; what is left is reckoned from the first run on", flush=True)
    tasks = [(spec, chosen.get((spec.grid, spec.method)), sentences) for spec in waiting]
    for spec, result in perform_all(tasks):
        results[spec], left = result, left - spec.seconds(lab.config)
        minutes = (time.time() - start) / max(total - left, 1e-9) * left / 60
        diverged = "DIVERGED" if "diverged" in result else ""
        print(
            f"{spec.path:54} BLEU {result['mean']['bleu']:6.2f} {diverged} "
            f"({result['seconds']:.0f} s; {minutes:.0f} minutes left)",
            flush=True,
        )
        if deadline and time.time() > deadline:
            break
    if left := sum(spec not in results for spec in waiting):
        remark = f"with {left} runs to do; the same command goes on"
        print(f"stopped at the limit of hours, {remark}", flush=True)
    return [results[spec] for spec in specs if spec in results]


# ---------------------------------------------------------------- on the command line
def study_step(config: LanderConfig, options) -> None:
    """`lander-lite study`: a study as the command line's flags (cli.FLAGS) want it, and its
    table."""
    if options.fast:
        config.finetune.updates = FAST_UPDATES
    folder = Path(options.output_dir or f"runs/study/{config.profile}{'-fast' * options.fast}")
    methods, kinds = options.methods and options.methods.split(","), options.kinds.split(",")
    shard = read_shard(options.shard) if options.shard else None
    size = FAST if options.fast else {"seeds": options.seeds}
    if options.collect:
        wanted = {name: size[name] for name in ("seeds", "grid") if name in size}
        if left := missing(config, methods, kinds, folder, **wanted):
            raise ValueError(
                f"{folder} lacks {len(left)} results, such as {', '.join(left[:3])}: run the "
                f"shards again, they go on; if a shard's machine is gone, run without --shard"
            )
        shard = None
    results = study(
        config,
        methods,
        kinds=kinds,
        output_dir=folder,
        resume=options.resume or options.collect,
        jobs=options.jobs,
        hours=options.hours,
        shard=shard,
        **size,
    )
    if options.collect:
        fold(folder)
    print(study_table([result for result in results if result["kind"] == "main"]))
    print(f"results: {folder}")
