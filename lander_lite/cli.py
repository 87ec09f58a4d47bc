"""The command line: one step on a run folder, or a plan or study without one."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from safetensors import SafetensorError

from .config import LanderConfig, nearest, profiles
from .languages import language_name, parse_pair

STEPS = {
    "run": "find, score, split, tune, evaluate before and after    → report.html",
    "detect": "find the layers that matter for translation            → layers.json",
    "score": "score every neuron of those layers, language by language → scores.safetensors",
    "categorize": "split them into general and specific neurons        → neurons.safetensors",
    "finetune": "train general and specific neurons                    → lander/",
    "evaluate": "BLEU and chrF2 of the base and of the tuned model       → results.json",
    "report": "make the page of a run folder again, of its files alone → report.html",
    "lape": "language neurons of all layers by activation entropy      → lape.safetensors",
    "atlas": "activation of every neuron in all languages of --corpus    → atlas.safetensors.xz",
    "translate": "translate --text, or the lines of standard input",
    "prune": "set the least important weights of the blocks to 0     → pruned/, pruning.json",
    "plan": "memory and compute of --method on paper; loads no model",
    "study": "methods side by side, each with its own learning rate      → DIR/KIND/*.json",
}
ORDER = ("detect", "score", "categorize", "finetune")
RUN = {  # the steps of `run`, and what each does, in words
    "detect": "find the layers that matter for translation",
    "score": "score every neuron of those layers",
    "categorize": "split them into general and specific neurons",
    "before": "translate and score with the base model",
    "finetune": "train",
    "after": "translate and score with the tuned model",
}
SHARED = (*ORDER, "lape")  # may run in several processes (accelerate launch)

USAGE = "--profile P --corpus C --pairs en-de,de-en --output-dir D --set a.b=c"
KINDS = "forgetting sequence matrix equal-size k epsilon normalize router low-resource sparse"
KINDS += " prune analysis transfer real-sparse real-prune"
FLAGS = """
--profile    {profiles} (default: that of --output-dir, else tiny-bloom)
--config     a YAML file in place of a profile
--corpus     .jsonl, .tsv, folder or hub id; without a test part the last fifth is held out
--pairs      directions, such as en-de,de-en
--output-dir the run folder (default: runs/PROFILE)
--set        any setting, such as layers.k=2; may be repeated
--text       translate: a sentence; may be repeated
--sparsity   prune: share of the weights of each row to remove (default: 0.3)
--metric     prune: wanda, translation (the default), translation_minus_other, magnitude or random
--pattern    prune: n:m in place of --sparsity, such as 2:4
--method     plan: landermt, full, lora, adapter, layers, … (methods.METHODS)
--gpu        plan: say what to change if it does not fit, such as T4 or "A100 80GB"
--kinds      study: main, {kinds}, or all
--methods    study: what to compare, such as full,lora,lander-corrected (default: those of the kind)
--seeds      study: trainings per method (default: the kind's own number)
--hours      study: start no run after so many hours; the same command goes on
--jobs       study: runs side by side; they share the CPU's threads
--shard      study: one part of all runs, such as 3/8, for a job array; go through it twice
--collect    study: say which results are missing; if none are, fold them into tables
--fast       study: ten minutes, not hours; only shows that it works
--resume     run, finetune, study: go on from checkpoints and finished runs (the default)
"""
STOPPED = (
    "lander-lite: stopped: files that a step has finished and checkpoints are whole; the same "
    "command goes on"
)
ANSWERED = (  # with one line, no traceback
    ValueError,
    KeyError,
    FloatingPointError,
    OSError,  # a full disk, no permission, a file where a folder should be
    SafetensorError,  # the same, while tensors are written
    ImportError,  # bitsandbytes
    RecursionError,  # JSON or YAML of a thousand levels
)
OPTIONS = {
    "--set": {"action": "append", "default": [], "metavar": "a.b=c"},
    "--text": {"action": "append"},
    "--sparsity": {"type": float},
    "--metric": {"default": "translation"},
    "--method": {"default": "landermt"},
    "--kinds": {"default": "main"},
    "--seeds": {"type": int},
    "--hours": {"type": float},
    "--jobs": {"type": int, "default": 1},
    "--fast": {"action": "store_true"},
    "--collect": {"action": "store_true"},
    "--resume": {"action": argparse.BooleanOptionalAction, "default": True},
}


def parse(arguments: list[str]) -> argparse.Namespace:
    """The step and the flags of a command line. Raises ValueError for an unknown one."""
    steps = "\n".join(f"  {name:11}{text}" for name, text in STEPS.items())
    parser = argparse.ArgumentParser(
        "lander-lite",
        description=f"Command line: lander-lite STEP {USAGE}\n\nsteps:\n{steps}",
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("step", metavar="STEP", help="one of the steps above")
    lists = {"profiles": ", ".join(profiles()), "kinds": ", ".join(KINDS.split())}
    flags, used_by = ["-h", "--help"], {}
    for line in FLAGS.strip().splitlines():
        flag, meaning = line.split(maxsplit=1)
        flags.append(flag)
        used_by[flag] = [step for step in meaning.partition(":")[0].split(", ") if step in STEPS]
        parser.add_argument(flag, help=meaning.format(**lists), **OPTIONS.get(flag, {}))
    known, unknown = parser.parse_known_args(arguments)
    if unknown:
        near = nearest(unknown[0].split("=")[0], flags)
        listed = ", ".join([*flags[1:], "--no-resume"])
        raise ValueError(f"unknown argument {unknown[0]!r}{near}; flags: {listed}")
    for name in ("seeds", "jobs"):
        if (number := getattr(known, name)) is not None and number < 1:
            raise ValueError(f"--{name} {number} must be at least 1")
    if known.hours is not None and not 0 < known.hours < float("inf"):
        raise ValueError(f"--hours {known.hours} must be a positive number")
    if known.step not in STEPS:
        near = nearest(known.step, STEPS)
        raise ValueError(f"unknown step {known.step!r}{near}; steps: {', '.join(STEPS)}")
    if empty := [name for name, value in vars(known).items() if value == ""]:
        flag = f"--{empty[0].replace('_', '-')}"
        raise ValueError(f"{flag} is empty (an unset variable?): give a value, or leave {flag} out")
    for argument in arguments:
        flag = argument.partition("=")[0].replace("--no-", "--")
        if (steps := used_by.get(flag)) and known.step not in steps:
            raise ValueError(f"{known.step} has no {flag}: that is for {', '.join(steps)}")
    if known.profile and known.config:
        raise ValueError("--profile and --config exclude each other")
    return known


def configure(options: argparse.Namespace) -> tuple[LanderConfig, Path]:
    """(config, run folder) of a command line; every flag is checked here."""
    overrides = {}
    for item in options.set:
        key, equals, value = item.partition("=")
        if not equals:
            raise ValueError(f"--set {item}: write key=value, such as --set layers.k=2")
        overrides[key.strip()] = value
    given = set(overrides)
    if options.pairs:
        overrides["corpus.pairs"] = options.pairs
    if "seed" in given:
        overrides.setdefault("finetune.seed", overrides["seed"])
    stored = Path(options.output_dir) / "config.yaml" if options.output_dir else None
    if options.config:
        config = LanderConfig.from_yaml(options.config, **overrides)
    elif not options.profile and stored and stored.exists():
        config = LanderConfig.from_yaml(stored, **overrides)
    else:
        config = LanderConfig.from_profile(options.profile or "tiny-bloom", **overrides)
    if options.corpus:
        from .pipeline import use_corpus

        use_corpus(config, options.corpus, given)
    return config, Path(options.output_dir or f"runs/{config.profile}")


# ---------------------------------------------------------------- the steps
def plan_step(config: LanderConfig, folder: Path, options: argparse.Namespace) -> None:
    from .layers import LayerScores
    from .scale.plan import plan

    methods = {"landermt": None}  # with the config's own routing
    if find_spec(f"{__package__}.reproduction"):
        from .reproduction.methods import METHODS, TUNED

        methods |= {name: METHODS[name] for name in TUNED if name != "xie"}  # its size is unknown
    name, path = options.method, folder / "layers.json"
    if name not in methods:
        hint = f"{nearest(name, methods)}; there are {', '.join(methods)}"
        raise ValueError(f"no plan for method {name!r}{hint}")
    layers = LayerScores.load(path).selected if path.is_file() else None
    planned = plan(config, methods[name], layers)
    print(planned.table(options.gpu, {key: other for key, other in methods.items() if other}))


def study_step(config: LanderConfig, folder: Path, options: argparse.Namespace) -> None:
    from .reproduction import study

    study.study_step(config, options)


def prune_step(config: LanderConfig, folder: Path, options: argparse.Namespace) -> None:
    from .folders import in_use
    from .neighbours import pruning
    from .pipeline import Run

    given = options.sparsity is not None or options.pattern is not None
    amount = (options.sparsity if given else 0.3, options.metric, options.pattern)
    pruning.check_settings(*amount)  # before anything is loaded
    with in_use(folder):
        run = Run(config, folder)
        run.prepare()
        timed("prune", lambda: pruning.prune_step(run, *amount))


def atlas_step(config: LanderConfig, folder: Path, options: argparse.Namespace) -> None:
    from .folders import in_use
    from .neighbours import atlas

    with in_use(folder):
        timed("atlas", lambda: atlas.atlas_step(config, folder))


def translate_step(config: LanderConfig, folder: Path, options: argparse.Namespace) -> None:
    if len(config.corpus.pairs) != 1:
        raise ValueError("translate takes one direction: --pairs en-de")
    from .folders import tidy_if_free
    from .pipeline import Run

    (pair,) = config.corpus.pairs
    for language in parse_pair(pair):
        if language not in config.corpus.languages and language_name(language) == language:
            told = f"add it to corpus.languages ({', '.join(config.corpus.languages)})"
            raise ValueError(f"pair {pair}: no language {language!r} is known; {told}")
    tidy_if_free(folder)
    run = Run(config, folder)
    sentences = options.text or sys.stdin.read().removesuffix("\n").split("\n")
    if run.tuned is None:
        print(f"{folder} holds no tuned model: this is the base model", file=sys.stderr)
    print("\n".join(run.translate(sentences, pair)))


def pipeline_step(config: LanderConfig, folder: Path, options: argparse.Namespace) -> None:
    from .folders import in_use
    from .page import write_page
    from .pipeline import Run

    with in_use(folder):
        run, step = Run(config, folder, options.resume), options.step
        run.prepare()
        if step == "run":
            print(f"profile {config.profile}: the files go into {folder}", flush=True)
            for number, (name, meaning) in enumerate(RUN.items(), 1):
                print(f"[{number}/{len(RUN)}] {meaning}", flush=True)
                timed(name, getattr(run, name, partial(run.evaluate, [name])))
        elif step == "lape":
            from .neighbours.lape import lape_step

            timed("lape", lambda: lape_step(run))
        else:
            timed(step, getattr(run, step))
        if step in ("run", "evaluate"):
            print(run.table())
            timed("report", partial(write_page, folder))


def report_step(config: LanderConfig, folder: Path, options: argparse.Namespace) -> None:
    from .folders import in_use
    from .page import check_run, write_page

    check_run(folder)
    with in_use(folder):
        timed("report", lambda: write_page(folder))


def timed(name: str, step: Callable[[], Path]) -> None:
    """Do a step; say how long it took and what it wrote."""
    start = time.time()
    path = step()
    print(f"{name:11}{time.time() - start:7.1f} s → {path}", flush=True)


def join_processes(step: str, config: LanderConfig) -> None:
    """Where accelerate launch started several processes: become one of them."""
    if step not in SHARED:
        several = f"these may have several: {', '.join(SHARED)}"
        raise ValueError(
            f"{step} runs in one process: start it without accelerate launch; {several}"
        )
    from .hooks import is_main
    from .training.distributed import start

    start()
    if not is_main():  # one voice is enough
        config.finetune.progress, sys.stdout = False, open(os.devnull, "w")


def end_at_once(number: int, frame) -> None:
    """On SIGTERM: no exception, which a library may swallow while it is imported; what this leaves
    in a folder the next start puts right (folders.in_use)."""
    os.write(sys.stderr.fileno(), f"\n{STOPPED}\n".encode())  # below a progress bar
    os._exit(128 + number)


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0; 2 after a message when the input is wrong, the loss is not finite, or a file
    can't be read or written; 130 after Ctrl-C, 143 after SIGTERM."""
    if arguments is None:  # the process is ours
        signal.signal(signal.SIGTERM, end_at_once)
        arguments = sys.argv[1:]
    try:
        options = parse(arguments)
        if options.step == "run":  # before the libraries are loaded
            print("lander-lite run: the first step starts in some seconds", flush=True)
        config, folder = configure(options)
        if int(os.environ.get("WORLD_SIZE", 1)) > 1:
            join_processes(options.step, config)
        steps = {"plan": plan_step, "study": study_step, "prune": prune_step, "atlas": atlas_step}
        steps |= {"translate": translate_step, "report": report_step}
        steps.get(options.step, pipeline_step)(config, folder, options)
    except ANSWERED as error:
        # str(KeyError) is quoted
        message = error.args[0] if isinstance(error, KeyError) and error.args else error
        line = " ".join(str(message).splitlines())
        line = line if len(line) <= 2000 else f"{line[:2000]}… ({len(line):,} characters)"
        print(f"lander-lite: error: {line}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(STOPPED, file=sys.stderr)
        return 130
    return 0
