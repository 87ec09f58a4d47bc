"""Command line: lander-lite STEP --profile P --corpus C --pairs en-de,de-en --output-dir D --set
a.b=c"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from .config import LanderConfig, nearest, parse_pair, profiles

STEPS = {
    "run": "all of the following but translate, and a table of before and after",
    "detect": "find the layers that matter for translation            → layers.json",
    "score": "score every neuron of those layers, language by language → scores.safetensors",
    "categorize": "split them into general and specific neurons        → neurons.safetensors",
    "finetune": "train general and specific neurons                    → lander/",
    "evaluate": "BLEU and chrF2 of the base and of the tuned model       → results.json",
    "lape": "language neurons of all layers by activation entropy      → lape.safetensors",
    "translate": "translate --text, or the lines of standard input",
    "prune": "set the least important weights of the blocks to 0     → pruned/, pruning.json",
    "plan": "memory and compute of --method on paper; loads no model",
    "study": "methods side by side, each with its own learning rate      → DIR/KIND/*.json",
}
ORDER = ("detect", "score", "categorize", "finetune")
SHARED = (*ORDER, "lape")  # may run in several processes (accelerate launch)


def parse(arguments: list[str]) -> argparse.Namespace:
    steps = "\n".join(f"  {name:11}{text}" for name, text in STEPS.items())
    parser = argparse.ArgumentParser(
        "lander-lite",
        description=f"{__doc__.splitlines()[0]}\n\nsteps:\n{steps}",
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("step", metavar="STEP", help="one of the steps above")
    parser.add_argument(
        "--profile",
        help=f"{', '.join(profiles())} (default: that of --output-dir, else tiny-bloom)",
    )
    parser.add_argument("--config", help="a YAML file in place of a profile")
    parser.add_argument(
        "--corpus",
        help=".jsonl, .tsv, folder or hub id; without a test part the last fifth is held out",
    )
    parser.add_argument("--pairs", help="directions, such as en-de,de-en")
    parser.add_argument("--output-dir", help="the run folder (default: runs/PROFILE)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="a.b=c",
        help="any setting, such as layers.k=2; may be repeated",
    )
    parser.add_argument("--text", action="append", help="translate: a sentence; may be repeated")
    parser.add_argument(
        "--sparsity",
        type=float,
        help="prune: share of the weights of each row to remove (default: 0.3)",
    )
    parser.add_argument(
        "--metric",
        default="translation",
        help="prune: wanda, translation (default), translation_minus_other, magnitude or random",
    )
    parser.add_argument("--pattern", help="prune: n:m in place of --sparsity, such as 2:4")
    parser.add_argument(
        "--method",
        default="landermt",
        help="plan: landermt, full, lora, adapter, layers, … (methods.METHODS)",
    )
    parser.add_argument(
        "--gpu", help='plan: say what to change if it does not fit, such as T4 or "A100 80GB"'
    )
    parser.add_argument(
        "--kinds",
        default="main",
        help="study: main, k, epsilon, normalize, router, matrix, forgetting, sequence, "
        "low-resource, sparse, prune, analysis, or all",
    )
    parser.add_argument(
        "--methods",
        help="study: what to compare, such as full,lora,lander-corrected (default: those of the "
        "kind)",
    )
    parser.add_argument("--seeds", type=int, default=3, help="study: trainings per method")
    parser.add_argument(
        "--hours",
        type=float,
        help="study: start no run after so many hours; the same command goes on",
    )
    parser.add_argument(
        "--jobs", type=int, default=1, help="study: runs side by side; they share the CPU's threads"
    )
    parser.add_argument(
        "--fast",
        action="store_true",
        help="study: ten minutes, not hours; only shows that it works",
    )
    parser.add_argument(
        "--resume",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="study: keep finished runs (the default)",
    )
    known, unknown = parser.parse_known_args(arguments)
    flags = list(parser._option_string_actions)
    for flag in unknown:
        known_flags = ", ".join(name for name in flags if name.startswith("--"))
        raise ValueError(
            f"unknown argument {flag!r}{nearest(flag.split('=')[0], flags)}; flags: {known_flags}"
        )
    if known.step not in STEPS:
        raise ValueError(
            f"unknown step {known.step!r}{nearest(known.step, STEPS)}; steps: {', '.join(STEPS)}"
        )
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
    if "seed" in given and "finetune.seed" not in given:
        overrides["finetune.seed"] = overrides["seed"]
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


def execute(step: str, options: argparse.Namespace) -> None:
    config, folder = configure(options)
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        if step not in SHARED:
            raise ValueError(
                f"{step} runs in one process: start it without accelerate launch; these may have "
                f"several: {', '.join(SHARED)}"
            )
        from .training.distributed import is_main, start

        start()
        if not is_main():  # one voice is enough
            config.finetune.progress, sys.stdout = False, open(os.devnull, "w")
    if (
        step == "translate"
        and len(config.corpus.pairs if options.pairs is None else options.pairs.split(",")) != 1
    ):
        raise ValueError("translate takes one direction: --pairs en-de")
    if step == "plan":
        from .layers import LayerScores
        from .scale.plan import plan

        known = (
            LayerScores.load(folder / "layers.json").selected
            if (folder / "layers.json").is_file()
            else None
        )
        return print(plan(config, options.method, known).table(options.gpu))
    if step == "study":
        from .reproduction.study import FAST, FAST_UPDATES, study
        from .reproduction.tables import study_table

        if options.fast:
            config.finetune.updates = FAST_UPDATES
        keys = FAST if options.fast else {"seeds": options.seeds}
        folder = Path(options.output_dir or f"runs/study/{config.profile}{'-fast' * options.fast}")
        results = study(
            config,
            options.methods and options.methods.split(","),
            kinds=options.kinds.split(","),
            output_dir=folder,
            resume=options.resume,
            jobs=options.jobs,
            hours=options.hours,
            **keys,
        )
        print(study_table([result for result in results if result["kind"] == "main"]))
        print(f"results: {folder}")
        return
    from .pipeline import Run

    run = Run(config, folder)
    if step == "prune":
        from .neighbours.pruning import check_settings, prune_step

        amount = (
            0.3 if options.sparsity is None and options.pattern is None else options.sparsity,
            options.metric,
            options.pattern,
        )
        check_settings(*amount)  # before anything is loaded
        run.prepare()
        return timed("prune", lambda: prune_step(run, *amount))
    if step == "translate":
        sentences = options.text or [line for line in sys.stdin.read().split("\n") if line.strip()]
        if run.tuned is None:
            print(f"{folder} holds no tuned model: this is the base model", file=sys.stderr)
        print("\n".join(run.translate(sentences, config.corpus.pairs[0])))
        return
    run.prepare(save=step != "evaluate")
    if step == "run":
        timed("evaluate", lambda: run.evaluate(["before"]))
    for name in ORDER if step == "run" else [step]:
        timed(name, getattr(run, name))
    if step == "run":
        timed("evaluate", lambda: run.evaluate(["after"]))
    if step in ("run", "evaluate"):
        print(run.table())


def timed(name: str, step) -> None:
    start = time.time()
    path = step()
    print(f"{name:11}{time.time() - start:7.1f} s → {path}", flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0, or 2 after a message when the input is wrong or the loss is not finite."""
    try:
        options = parse(sys.argv[1:] if arguments is None else arguments)
        for pair in options.pairs.split(",") if options.pairs else ():
            parse_pair(pair)
        execute(options.step, options)
    except (ValueError, FileNotFoundError, KeyError, FloatingPointError) as error:
        message = (
            error.args[0] if isinstance(error, KeyError) and error.args else error
        )  # str(KeyError) is quoted
        print(f"lander-lite: error: {message}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
