"""One run of a study: train or prune a copy of the base model as a `Spec` says, measure it, and
write the result file."""

from __future__ import annotations

import json
import lzma
import platform
import resource
import shutil
import time
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from ..io import atomic_path, write_text
from ..neighbours.pruning import prune
from ..neurons import NeuronSets
from ..probes.knowledge import per_language_perplexity
from ..probes.mechanics import alignment, weight_change
from ..prompts import pair_rows
from ..training.kl import kl_texts
from ..training.loop import finetune
from .baselines import count_trainable, in_float32
from .kinds import half_decades
from .lab import Lab
from .methods import METHODS
from .results import settings_of
from .specs import Spec

LIBRARIES = ("lander-lite", "torch", "transformers", "peft", "accelerate", "sacrebleu")
ALIGNED = 200  # test sentences with their translations, for `alignment`


@dataclass
class Made:
    """A model that a run has made. curve: points along the way. details: entries of the result."""

    model: Any
    losses: list[float] = field(default_factory=list)
    curve: list[dict] = field(default_factory=list)
    details: dict = field(default_factory=dict)


def run(lab: Lab, spec: Spec, chosen: dict | None, sentences: dict) -> dict:
    """The result of one run, which is also written to its file. chosen: what `study.choose` says of
    its grid; sentences: {"grid", "test"}, per direction, None for the kind's own."""
    start, config, method = time.time(), lab.config, METHODS[spec.method]
    reset_peak_memory()
    sets = lab.sets_of(spec)
    chosen = chosen or {"rate": None, "grid": {}, "at_end": False}
    rate = spec.rate or chosen["rate"]
    if spec.step:
        rate = half_decades(rate, spec.step, method.scale)
    made = _make(lab, spec, sets, rate)
    ready = time.time() - start
    scores = _translations(lab, spec, made.model, sentences)
    result = {
        "kind": spec.kind,
        "method": spec.method,
        "about": method.about,
        "profile": config.profile,
        "seed": spec.seed,
        "settings": dict(spec.settings),
        "train_pairs": spec.stages(config),
        "learning_rate": rate,
        "grid": chosen["grid"],
        "rate_at_end": chosen["at_end"],  # of all rates that were tried: one beyond may be better
        "updates": spec.updates(config) if method.build else 0,
        **made.details,
        **_measures(lab, spec, made.model, sets),
        "loss": [round(x, 4) for x in made.losses[::10]],
        "curve": made.curve,
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
        **settings_of(config),
        "versions": versions(LIBRARIES),
    }
    write_text(lab.folder / spec.path, json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    shutil.rmtree(lab.folder / "unfinished" / spec.path, ignore_errors=True)
    return result


# ---------------------------------------------------------------- the model
def _make(lab: Lab, spec: Spec, sets: NeuronSets, rate: float | None) -> Made:
    """The model of a run, tuned, pruned, or as it is."""
    if METHODS[spec.method].build:
        return _tuned(lab, spec, sets, rate)
    if METHODS[spec.method].prune:
        return _pruned(lab, spec, sets)
    return Made(lab.fresh())


def _tuned(lab: Lab, spec: Spec, sets: NeuronSets, rate: float) -> Made:
    """The base model, tuned stage by stage. A run that diverges ends there, and says so."""
    config, method, kind = lab.config, METHODS[spec.method], spec.definition
    stages, updates, points = spec.stages(config), spec.updates(config), spec.curve_points(config)
    torch.manual_seed(spec.seed)
    made = Made(in_float32(method.build(lab.fresh(), lab, sets, spec.seed)))
    made.details["trainable"] = count_trainable(made.model, chain.from_iterable(stages))
    settings = replace(
        config.finetune,
        learning_rate=rate,
        seed=spec.seed,
        progress=False,
        kl_weight=method.kl,
        updates=updates // len(stages),
    )

    def measure(update):
        if update in points:
            with lab.autocast():
                made.curve.append(_point(lab, spec, made.model, sets, update=update))

    # a curve's points are not in a checkpoint: such a run, half as long as others, starts again
    # when it was killed
    checkpoints = None if points else lab.folder / "unfinished" / spec.path
    options = {
        "template": config.corpus.template,
        "callback": measure if points else None,
        "kl_texts": kl_texts(lab.train, lab.languages) if method.kl else None,
    }
    try:
        for number, pairs in enumerate(stages):
            folder = checkpoints and checkpoints / str(number)
            made.losses += finetune(
                made.model, lab.tokenizer, lab.train, pairs, settings, output_dir=folder, **options
            )["loss"]
            if kind.after_stages:
                done = (number + 1) * updates // len(stages)
                with lab.autocast():
                    made.curve.append(_point(lab, spec, made.model, sets, update=done))
    except FloatingPointError as error:
        made.details["diverged"] = str(error)
    if kind.plain_text and hasattr(made.model, "merge_and_unload"):
        made.model = made.model.merge_and_unload()  # without a router it is the same
    made.model.to(lab.base.dtype)  # what was trained in float32 is measured as the base is
    return made


def _pruned(lab: Lab, spec: Spec, sets: NeuronSets) -> Made:
    """The base model pruned to the highest of its kind's sparsities; those below are points of the
    curve. The seed draws the calibration text."""
    metric, text = METHODS[spec.method].prune
    prompts, other = lab.calibration(text, spec.seed), lab.calibration("monolingual", spec.seed)
    curve, sparsities = [], spec.definition.sparsities
    for sparsity in sparsities:
        model, report = prune(
            lab.fresh(), lab.tokenizer, prompts, sparsity, metric, other=other, seed=spec.seed
        )
        if sparsity < sparsities[-1]:
            curve.append(_point(lab, spec, model, sets, sparsity=sparsity))
    tokens = report["calibration_tokens"]
    return Made(model, [], curve, {"sparsity": sparsity, "calibration_tokens": tokens})


# ---------------------------------------------------------------- measures
def _point(lab: Lab, spec: Spec, model, sets: NeuronSets, **at) -> dict:
    """A point of a curve, at an update or a sparsity: BLEU per pair on some test sentences, and the
    measures elsewhere."""
    pairs, sentences = spec.tested(lab.config), spec.definition.sentences
    scores = lab.translations(model, lab.test, pairs, sentences, bootstrap=0)
    bleu = {pair: scores[pair]["bleu"] for pair in pairs}
    return {**at, "bleu": bleu, **lab.elsewhere(model, sets, sentences)}


def _translations(lab: Lab, spec: Spec, model, sentences: dict) -> dict:
    """`evaluate` of a run's end, on valid for trials and else on test. Where its kind wants them,
    the translations are stored."""
    kind, pairs = spec.definition, spec.tested(lab.config)
    scores = lab.translations(
        model,
        lab.valid if kind.on_valid else lab.test,
        pairs,
        sentences["grid" if kind.on_valid else "test"] or kind.sentences,
        bootstrap=1000 if kind.translations else 0,
        keep_hypotheses=kind.translations,
        n_shots=METHODS[spec.method].shots,
        shots_from=lab.train,
    )
    if kind.translations:
        hypotheses = {pair: scores[pair].pop("hypotheses") for pair in pairs}
        _write_hypotheses(lab.folder / spec.path, hypotheses)
    return scores


def _measures(lab: Lab, spec: Spec, model, sets: NeuronSets) -> dict:
    """What a run is measured for besides translation."""
    kind, trained = spec.definition, spec.stages(lab.config)[0]
    if kind.on_valid:
        if not kind.plain_text:
            return {}
        return {"perplexity": per_language_perplexity(model, lab.tokenizer, lab.valid, trained)}
    result = _mechanics(lab, spec, model, sets) if kind.plain_text else {}
    if lab.other_domain is not None and kind.other_domain:
        result["other_domain"] = _other_domain(lab, spec, model)
    if METHODS[spec.method].shots:
        return result
    return result | lab.elsewhere(model, sets, kind.sentences)


def _other_domain(lab: Lab, spec: Spec, model) -> dict:
    """`evaluate` of the trained directions on the lab's second test set."""
    options = {"n_shots": METHODS[spec.method].shots, "shots_from": lab.train}
    pairs, sentences = spec.stages(lab.config)[0], spec.definition.sentences
    scores = lab.translations(model, lab.other_domain, pairs, sentences, bootstrap=0, **options)
    return {key: scores[key] for key in (*pairs, "mean")}


def _mechanics(lab: Lab, spec: Spec, model, sets: NeuronSets) -> dict:
    """How far the weights of the language's neurons moved, those that the method trains if it
    trains neurons, and how alike its sentences and English ones look, layer by layer."""
    choose, language = METHODS[spec.method].choose, spec.stages(lab.config)[0][0]
    moved = choose(lab, sets, spec.seed) if choose else sets
    english, foreign = zip(*pair_rows(lab.test, f"en-{language}", ALIGNED))
    return {
        "weight_change": weight_change(lab.base, model, moved, language),
        "weight_change_of": moved.hash(),
        "alignment": alignment(model, lab.tokenizer, english, foreign),
    }


# ---------------------------------------------------------------- files, versions and memory
def _write_hypotheses(path: Path, hypotheses: dict[str, list[str]]) -> None:
    """The translations beside a result file, compressed: significance can be computed again without
    a model."""
    content = json.dumps(hypotheses, ensure_ascii=False).encode()
    with atomic_path(path.with_suffix(".hypotheses.xz")) as temporary:
        temporary.write_bytes(lzma.compress(content, preset=6))


def versions(libraries) -> dict[str, str]:
    """{library: version}, Python's first."""
    return {"python": platform.python_version()} | {name: version(name) for name in libraries}


def reset_peak_memory() -> None:
    """Start a new high-water mark (Linux; elsewhere it stays that of the process)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak_memory_mb() -> int:
    """The process's peak resident memory since `reset_peak_memory`."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return int(status.split("VmHWM:")[1].split()[0]) // 1024
