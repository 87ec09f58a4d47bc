"""Methods side by side at equal data and equal updates: each with its own learning-rate grid on
valid, then seeds on test.

A study is a list of `Spec`s (specs.py); each becomes one JSON in `output_dir`/kind/. A killed study
goes on where it stopped: finished runs are files, an unfinished one has a checkpoint. Learning
rates are chosen on a slice of valid, never on test: each kind by what it trains for, from the
trials of `Kind.grid`, which kinds of the same training share. Where the best rate lies at an end of
its grid, half a decade more is tried there, three times at most.

Several machines of one kind can share a study, as shards (1, n) … (n, n) of one folder. Each does
every n-th trial, then every n-th run whose trials are there. So a job array goes through twice, and
once more for each rate beyond a grid; --collect says what is missing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean

from ..config import LanderConfig
from ..folders import in_use
from .analyses import ANALYSES, analyse
from .kinds import BEYOND, GRID, TRIALS, half_decades
from .lab import Lab
from .methods import METHODS
from .results import check_result, fold, stored_of
from .specs import Grid, Spec, grid_specs, grids_of, specs_of
from .tables import study_table
from .workers import workers

FAST_UPDATES = 40  # `make study FAST=1`: a look at the machinery
FAST = {"seeds": 1, "grid": GRID[2:4], "valid_sentences": 20, "test_sentences": 40}


def study(
    config: LanderConfig,
    methods: Sequence[str] | None = None,
    *,
    kinds: Sequence[str] = ("main",),
    seeds: int | None = None,
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

    seeds: trainings per method; None for each kind's own number. jobs: processes side by side,
    which share the CPU's threads. hours: no run starts after so many; the same call goes on from
    there. Kind after kind, its trials and then its runs. Prints the plan with its hours first, then
    a line per finished run with the time left. Raises ValueError for an unknown method or kind,
    naming the valid ones, and for results of another model, corpus or neuron sets. A run whose loss
    is not finite is marked "diverged", and the study goes on. The kind "analysis" comes last, and
    its results are files only (`analyses.analyse`)."""
    specs = specs_of(kinds, methods, seeds, config)
    if shard and not resume:
        raise ValueError("a shard needs --resume: its second pass reads what the first has made")
    deadline, results = time.time() + 3600 * hours if hours else math.inf, {}
    sentences = {"grid": valid_sentences, "test": test_sentences}
    part, of = shard or (1, 1)
    with in_use(Path(output_dir, f"shard-{part}-of-{of}") if shard else output_dir):
        lab = Lab(config, Path(output_dir))  # writes the scores that every process reads
        print(plan(specs, config, lab.folder if resume else None, grid), flush=True)
        with workers(lab, jobs) as perform_all:
            options = {"resume": resume, "deadline": deadline, "perform_all": perform_all}
            do = partial(perform, lab=lab, sentences=sentences, **options)
            for kind in dict.fromkeys(spec.kind for spec in specs):
                of_kind = [spec for spec in specs if spec.kind == kind]
                chosen = find_rates(grids_of(of_kind), grid, (part, of), do, config, deadline)
                ready = [x for x in of_kind if not x.wants_rate or x.grid in chosen]
                if left := len(of_kind) - len(ready):
                    why = "other shards try" if shard else "were not tried in time"
                    print(f"{left} runs wait for learning rates that {why}", flush=True)
                if time.time() > deadline:
                    break
                results |= do(ready, chosen, mine=specs[part - 1 :: of])
        if {"analysis", "all"} & set(kinds) and part == 1 and time.time() < deadline:
            analyse(lab)
        return [*results.values()]


def plan(
    specs: Sequence[Spec], config: LanderConfig, folder=None, grid: Sequence[float] = GRID
) -> str:
    """A line per kind, with its trials, its runs and their hours on two cores for a tiny model,
    without those whose files are in the folder; then the hours of all."""
    every = [*grid_specs(grids_of(specs), config, grid), *specs]
    known, lines, total = {*stored_of(folder, every)} if folder else set(), [], 0.0
    for kind in dict.fromkeys(spec.kind for spec in specs):
        runs = [spec for spec in specs if spec.kind == kind]
        parts = grid_specs(grids_of(runs), config, grid), runs
        left = [[x for x in part if x not in known] for part in parts]
        known.update(*left)
        seconds = sum(spec.seconds(config) for part in left for spec in part)
        total += seconds
        trials, rest = map(len, left)
        lines.append(f"{kind:13}{trials:5} trials{rest:6} runs{seconds / 3600:8.1f} hours")
    trials_beyond = "and trials beyond a grid, where its best rate is at an end"
    lines.append(f"{'together':30}{total / 3600:8.1f} hours on two cores, {trials_beyond}")
    return "\n".join(lines)


def missing(
    config: LanderConfig,
    methods: Sequence[str] | None,
    kinds: Sequence[str],
    folder,
    seeds: int | None = None,
    grid: Sequence[float] = GRID,
) -> list[str]:
    """The results of a study that are not in the folder yet, as far as its trials tell."""
    specs = specs_of(kinds, methods, seeds, config)
    needed, found = grids_of(specs), {}
    while there := stored_of(
        folder, [x for x in _wanted(needed, found, grid, config) if x not in found]
    ):
        found |= there
    wanted = [*_wanted(needed, found, grid, config), *specs]
    stored = stored_of(folder, wanted)
    lacking = [spec.path for spec in wanted if spec not in stored]
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


# ---------------------------------------------------------------- learning rates
def find_rates(
    needed: Sequence[Grid],
    grid: Sequence[float],
    shard: tuple[int, int],
    do: Callable,
    config: LanderConfig,
    deadline: float = math.inf,
) -> dict[Grid, dict]:
    """`choose` of the grids whose trials are all there, after this shard's own have been run."""
    found, (part, of) = {}, shard
    first = grid_specs(needed, config, grid)
    turns = {spec: number for number, spec in enumerate(first)}
    turns |= {one: number for number, one in enumerate(needed)}  # of trials beyond the grid
    while waiting := [x for x in _wanted(needed, found, grid, config) if x not in found]:
        mine = [x for x in waiting if turns.get(x, turns[x.grid]) % of == part - 1]
        done = do(waiting, {}, mine=mine)
        found |= done
        if not done or time.time() > deadline:
            break
    return choose(needed, found, grid, config)


def choose(
    needed: Sequence[Grid], found: Mapping[Spec, dict], grid: Sequence[float], config: LanderConfig
) -> dict[Grid, dict]:
    """{grid: {"rate", "grid": {rate: score on valid, None if diverged}, "at_end"}} of the grids
    whose trials are all found. The rate with the best score, mean over the trials with this rate,
    is chosen; a diverged one never over one that is not. at_end: the best rate is the lowest or the
    highest that was tried."""
    chosen = {}
    for one in needed:
        scores = _scores(one, found, grid, config)
        if _all_found(one, scores, found, config):
            best, by_rate = best_rate(scores), {str(x): scores[x] for x in sorted(scores)}
            at_end = len(scores) > 1 and best in (min(scores), max(scores))
            chosen[one] = {"rate": best, "grid": by_rate, "at_end": at_end}
    return chosen


def best_rate(scores: Mapping[float, float | None]) -> float:
    """The rate with the highest score; None is the lowest."""
    return max(scores, key=lambda rate: -math.inf if scores[rate] is None else scores[rate])


def _wanted(needed: Sequence[Grid], found: Mapping, grid, config) -> list[Spec]:
    """All trials, as far as those that are found tell which come after the first."""
    rates = {one: [*_scores(one, found, grid, config)] for one in needed}
    return [spec for one in needed for spec in one.trials(rates[one], config)]


def _all_found(one: Grid, rates: Iterable[float], found: Mapping[Spec, dict], config) -> bool:
    return all(spec in found for spec in one.trials([*rates], config))


def _scores(one: Grid, found: Mapping[Spec, dict], grid, config) -> dict[float, float | None]:
    """{rate: mean score on valid}: of the grid, and BEYOND rates more at most where the best one is
    at an end. What is not found, or has diverged, has the score None. A grid of one or two rates
    has no inside, and stays as it is."""

    def score(rate: float) -> float | None:
        trials = [found.get(spec, {"diverged": ""}) for spec in one.trials([rate], config)]
        if any("diverged" in trial for trial in trials):
            return None
        return fmean(map(valid_score, trials))

    scores = {rate: score(rate) for rate in one.rates(grid)}
    scale = METHODS[one.method].scale
    for _ in range(BEYOND if len(scores) > 2 else 0):
        best, ends = best_rate(scores), {min(scores): -1, max(scores): 1}
        if best not in ends or not _all_found(one, scores, found, config):
            break
        beyond = half_decades(best, ends[best], scale)
        scores[beyond] = score(beyond)
    return scores


def valid_score(trial: dict) -> float:
    """What a learning rate is chosen by; the higher, the better: BLEU of all measured directions,
    or of the one that was trained. For plain text BLEU over perplexity, so that a tenth of the one
    weighs as much as a tenth of the other; 1 BLEU more, for where nothing is translated perplexity
    decides."""
    if TRIALS[trial["kind"]].plain_text:
        return (1 + trial["mean"]["bleu"]) / fmean(trial["perplexity"].values())
    own = trial["settings"].get("pair")
    return (trial["pairs"][own] if own else trial["mean"])["bleu"]


# ---------------------------------------------------------------- many runs
def perform(
    specs: Sequence[Spec],
    chosen: dict,
    *,
    lab: Lab,
    sentences: dict,
    perform_all,
    resume: bool,
    deadline: float,
    mine: Sequence[Spec],
) -> dict[Spec, dict]:
    """The results of `specs`, in order; stored ones are read, those of `mine` that are not stored
    are run until the deadline."""
    stored = stored_of(lab.folder, specs) if resume else {}
    results = {spec: check_result(result, lab, spec) for spec, result in stored.items()}
    waiting = [spec for spec in specs if spec in mine and spec not in results]
    start, total = time.time(), sum(spec.seconds(lab.config) for spec in waiting)
    left = total
    if waiting:
        print(f"{waiting[0].kind}: {len(waiting)} to do, {len(stored)} done before", flush=True)
    tasks = [(spec, chosen.get(spec.grid), sentences) for spec in waiting]
    for spec, result in perform_all(tasks):
        results[spec], left = result, left - spec.seconds(lab.config)
        minutes = (time.time() - start) / max(total - left, 1e-9) * left / 60
        diverged = "DIVERGED" if "diverged" in result else ""
        print(
            f"{spec.path:54} BLEU {result['mean']['bleu']:6.2f} {diverged} "
            f"({result['seconds']:.0f} s; {minutes:.0f} minutes left of this part)",
            flush=True,
        )
        if time.time() > deadline:
            break
    if left := sum(spec not in results for spec in waiting):
        remark = f"with {left} runs to do; the same command goes on"
        print(f"stopped at the limit of hours, {remark}", flush=True)
    return {spec: results[spec] for spec in specs if spec in results}


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
