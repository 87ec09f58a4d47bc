"""One run of a study: train or prune a copy of the base model as a `Spec` says, measure it, and
write the result file."""

from __future__ import annotations

import contextlib
import json
import lzma
import platform
import resource
import shutil
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import torch

from ..corpus import texts
from ..io import atomic_path, write_text
from ..neighbours.pruning import prune
from ..probes.knowledge import per_language_perplexity
from ..probes.mechanics import alignment, weight_change
from ..training.loop import finetune
from .baselines import count_trainable
from .lab import Lab
from .methods import METHODS
from .specs import PLAIN_TEXT, SPARSITIES, Spec

LIBRARIES = ("lander-lite", "torch", "transformers", "peft", "accelerate", "sacrebleu")
ALIGNED = 200  # test sentences with their translations, for `alignment`


def run(lab: Lab, spec: Spec, chosen: dict | None, sentences: dict) -> dict:
    """The result of one run, which is also written to its file. chosen: {"rate", "grid"} of the
    method; sentences: {"grid", "test"}, per direction, None for the kind's own."""
    start, config, method = time.time(), lab.config, METHODS[spec.method]
    reset_peak_memory()
    sets = lab.sets_of(spec)
    chosen = chosen or {"rate": None, "grid": {}}
    result = {
        "kind": spec.kind,
        "method": spec.method,
        "about": method.about,
        "profile": config.profile,
        "seed": spec.seed,
        "settings": dict(spec.settings),
        "train_pairs": spec.stages(config),
        "learning_rate": spec.rate or chosen["rate"],
        "grid": chosen["grid"],
        "updates": spec.updates(config) if method.build else 0,
    }
    model, losses, curve = lab.fresh(), [], []
    if method.build:
        model, losses = tuned_model(lab, spec, model, sets, result, curve)
    if method.prune:
        model = pruned_model(lab, spec, sets, result, curve)
    ready, on_valid = time.time() - start, spec.kind.startswith("grid")
    scores = lab.translations(
        model,
        lab.valid if on_valid else lab.test,
        spec.tested(config),
        sentences["grid" if on_valid else "test"] or spec.sentences,
        bootstrap=1000 if spec.kind == "main" else 0,
        keep_hypotheses=spec.kind == "main",
        n_shots=method.shots,
        shots_from=lab.train,
    )
    if spec.kind == "main":
        write_hypotheses(
            lab.folder / spec.path,
            {pair: scores[pair].pop("hypotheses") for pair in spec.tested(config)},
        )
    if spec.kind == "grid-sparse":
        result["perplexity"] = per_language_perplexity(
            model, lab.tokenizer, lab.valid, result["train_pairs"][0]
        )
    if spec.kind == "sparse":
        result |= mechanics(lab, model, sets, result["train_pairs"][0][0])
    if not on_valid and not method.shots:
        result |= lab.elsewhere(model, sets)
    result |= {
        "loss": [round(x, 4) for x in losses[::10]],
        "curve": curve,
        "mean": scores.pop("mean"),
        "signature": scores.pop("signature"),
        "pairs": scores,
        "sentences": next(iter(scores.values()))["n"],
        "training_seconds": round(ready, 1),
        "seconds": round(time.time() - start, 1),
        "peak_memory_mb": peak_memory_mb(),
        "threads": torch.get_num_threads(),
        "neuron_sets": sets.hash(),
        "layers": sets.layers,
        "base_model": lab.model,
        "corpus": lab.corpus,
        "finetune": {
            k: v
            for k, v in vars(config.finetune).items()
            if k not in ("learning_rate", "seed", "updates", "progress")
        },
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in LIBRARIES},
        },
    }
    write_text(lab.folder / spec.path, json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    shutil.rmtree(lab.folder / "unfinished" / spec.path, ignore_errors=True)
    return result


# ---------------------------------------------------------------- tuning
def tuned_model(lab: Lab, spec: Spec, model, sets, result: dict, curve: list) -> tuple:
    """(the tuned model, its losses): `result` learns the number of trained scalars, and whether the
    run diverged; `curve` its points."""
    torch.manual_seed(spec.seed)
    model, losses = METHODS[spec.method].build(model, lab, sets, spec.seed), []
    result["trainable"] = count_trainable(model)
    try:
        for number, pairs in enumerate(spec.stages(lab.config)):
            losses += train(lab, spec, model, sets, pairs, result, number, curve)
            if spec.kind == "sequence":
                curve.append(
                    brief(
                        lab,
                        spec,
                        model,
                        sets,
                        update=(number + 1) * result["updates"] // len(spec.stages(lab.config)),
                    )
                )
    except FloatingPointError as error:
        result["diverged"] = str(error)
    if spec.kind in PLAIN_TEXT and hasattr(
        model, "merge_and_unload"
    ):  # without a router the merged model is the same
        model = model.merge_and_unload()
    return model, losses


def train(
    lab: Lab, spec: Spec, model, sets, pairs: list[str], result: dict, stage: int, curve: list
) -> list[float]:
    """One stage's losses; points of the learning curve are appended to `curve`."""
    config, kl = lab.config, METHODS[spec.method].kl
    settings = replace(
        config.finetune,
        learning_rate=result["learning_rate"],
        seed=spec.seed,
        progress=False,
        kl_weight=kl,
        updates=result["updates"] // len(result["train_pairs"]),
    )

    points = spec.curve_points(config)

    def callback(update):
        if update in points:
            curve.append(brief(lab, spec, model, sets, update=update))

    # a curve's points are not in a checkpoint: such a run, half as long as others, starts again
    # when it was killed
    checkpoints = None if points else lab.folder / "unfinished" / spec.path / str(stage)
    return finetune(
        model,
        lab.tokenizer,
        lab.train,
        pairs,
        settings,
        output_dir=checkpoints,
        template=config.corpus.template,
        callback=callback if points else None,
        kl_texts=lab.kl_texts() if kl else None,
    )["loss"]


def brief(lab: Lab, spec: Spec, model, sets, **at) -> dict:
    """A point of a curve, at an update or a sparsity: BLEU per pair on some test sentences, and the
    measures elsewhere."""
    scores = lab.translations(model, lab.test, spec.tested(lab.config), spec.sentences, bootstrap=0)
    return {
        **at,
        "bleu": {pair: scores[pair]["bleu"] for pair in spec.tested(lab.config)},
        **lab.elsewhere(model, sets),
    }


# ---------------------------------------------------------------- two neighbours
def pruned_model(lab: Lab, spec: Spec, sets, result: dict, curve: list):
    """The base model pruned to the highest of SPARSITIES; `curve` learns the points of those below.
    The seed draws the calibration text."""
    metric, text = METHODS[spec.method].prune
    prompts, other = lab.calibration(text, spec.seed), lab.calibration("monolingual", spec.seed)
    for sparsity in SPARSITIES:
        model, report = prune(
            lab.fresh(), lab.tokenizer, prompts, sparsity, metric, other=other, seed=spec.seed
        )
        if sparsity < SPARSITIES[-1]:
            curve.append(brief(lab, spec, model, sets, sparsity=sparsity))
    result |= {"sparsity": sparsity, "calibration_tokens": report["calibration_tokens"]}
    return model


def mechanics(lab: Lab, model, sets, language: str) -> dict:
    """How far the weights of the language's neurons moved, and how alike its sentences and English
    ones look, layer by layer."""
    english, own = (texts(lab.test, x)[:ALIGNED] for x in ("en", language))
    return {
        "weight_change": weight_change(lab.base, model, sets, language),
        "alignment": alignment(model, lab.tokenizer, english, own),
    }


# ---------------------------------------------------------------- files and memory
def write_hypotheses(path: Path, hypotheses: dict[str, list[str]]) -> None:
    """The translations beside a result file, compressed: significance can be computed again without
    a model."""
    with atomic_path(path.with_suffix(".hypotheses.xz")) as temporary:
        temporary.write_bytes(
            lzma.compress(json.dumps(hypotheses, ensure_ascii=False).encode(), preset=6)
        )


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
