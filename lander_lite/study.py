"""Methods side by side at equal data and equal updates: each with its own learning-rate grid on valid, then seeds on test.

One JSON per finished run in `output_dir`, so a killed study goes on where it stopped. The learning rate is chosen on a slice of
valid, never on test. Neuron sets are computed once per study from the untouched base model.
"""
from __future__ import annotations

import copy
import json
import platform
import resource
import time
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

import torch
import transformers

from . import baselines
from .awareness import score_awareness
from .config import LanderConfig
from .corpus import load_corpus
from .evaluate import evaluate
from .files import write_text
from .finetune import finetune
from .lander import LanderTuningConfig, get_lander_model
from .layers import detect_layers
from .model import load_model
from .neurons import NeuronSets, categorize, random_neurons

GRID = (1e-3, 3e-3, 1e-2)
UNTUNED = {"zero-shot": 0, "five-shot": 5}              # method -> number of examples in the prompt
ROUTED = ("none", "literal", "corrected", "learned")
# method -> (model, neuron sets, seed) -> model ready for finetune
TUNED = {
    "full": lambda model, sets, seed: baselines.full(model),
    "layers": lambda model, sets, seed: baselines.layers(model, sets.layers),
    "lora": lambda model, sets, seed: baselines.lora(model),
    "random": lambda model, sets, seed: get_lander_model(model, LanderTuningConfig(random_neurons(sets, seed))),
    "specific-only": lambda model, sets, seed: get_lander_model(model, LanderTuningConfig(sets.only(general=False, specific=True))),
    "general-only": lambda model, sets, seed: get_lander_model(model, LanderTuningConfig(sets.only(general=True, specific=False))),
    **{f"lander-{routing}": (lambda model, sets, seed, routing=routing: get_lander_model(model, LanderTuningConfig(sets, routing)))
       for routing in ROUTED},
}
METHODS = (*UNTUNED, *TUNED)


def neuron_sets(config: LanderConfig, model, tokenizer, corpus) -> NeuronSets:
    """RA, TE and the variance split with this config's settings."""
    layers = detect_layers(model, tokenizer, corpus, config.corpus.pairs, config.layers.k, max_sentences=config.layers.max_sentences,
                           batch_size=config.layers.batch_size, template=config.corpus.template, method=config.layers.method,
                           progress=False)
    scores = score_awareness(model, tokenizer, corpus, config.corpus.languages, layers, text=config.awareness.text,
                             pre_activation=config.awareness.pre_activation, max_sentences=config.awareness.max_sentences,
                             batch_size=config.awareness.batch_size, progress=False)
    return categorize(scores, config.categories.epsilon, config.categories.normalize)


def study(config: LanderConfig, methods: Sequence[str], *, seeds: int = 1, grid: Sequence[float] = GRID, valid_sentences: int = 60,
          test_sentences: int | None = None, output_dir, resume: bool = True) -> list[dict]:
    """Run `methods` and write one result file each seed; returns the results. Prints a line per finished training.

    Raises ValueError for an unknown method, naming the valid ones. A run whose loss is not finite counts as diverged and goes on."""
    if unknown := [m for m in methods if m not in METHODS]:
        raise ValueError(f"unknown method {unknown[0]!r}; methods: {', '.join(METHODS)}")
    output_dir = Path(output_dir)
    wanted = {f.name: getattr(config.model, f.name) for f in fields(config.model) if f.name not in ("name_or_path", "architecture")}
    same = config.model == LanderConfig.from_profile(config.profile).model
    base, tokenizer = load_model(config.profile) if same else load_model(config.model.name_or_path, **wanted)
    train, valid, test = (load_corpus(part) for part in (config.corpus.train, config.corpus.valid, config.corpus.test))
    sets = neuron_sets(config, base, tokenizer, train)
    results = []
    for method in methods:
        rates = {}
        for seed in range(seeds if method in TUNED else 1):
            path = output_dir / f"{method}-seed{seed}.json"
            if resume and path.is_file():
                results.append(finished(path, config, method, sets))
                rates = results[-1].get("grid") or {}
                continue
            if method in TUNED and not rates:
                for rate in grid:                       # the grid of the first seed serves all
                    trial = run(config, method, sets, base, tokenizer, train, valid, 0, rate, valid_sentences, with_ci=False)
                    rates[str(rate)] = None if "diverged" in trial else trial["mean"]["bleu"]       # None is never chosen over a number
                    print(f"{method:16} learning rate {rate:<7g} valid BLEU {trial['mean']['bleu']:.2f}", flush=True)
            rate = float(max(rates, key=lambda r: -1 if rates[r] is None else rates[r])) if rates else None
            result = run(config, method, sets, base, tokenizer, train, test, seed, rate, test_sentences) | {"grid": rates}
            write_text(path, json.dumps(result, indent=1, ensure_ascii=False) + "\n")
            results.append(result)
            print(f"{method:16} seed {seed} test BLEU {result['mean']['bleu']:.2f} chrF2 {result['mean']['chrf']:.2f} "
                  f"({result['seconds']:.0f} s)", flush=True)
    return results


def finished(path: Path, config: LanderConfig, method: str, sets: NeuronSets) -> dict:
    """A result file of an earlier call; ValueError when it was made with another model, other neuron sets or other updates."""
    result = json.loads(path.read_text(encoding="utf-8"))
    wanted = {"neuron_sets": sets.hash(), "base_model": sets.model, "updates": config.finetune.updates if method in TUNED else 0}
    if wrong := [key for key, value in wanted.items() if result.get(key) != value]:
        raise ValueError(f"{path} was made with another {wrong[0]} ({result.get(wrong[0])}, now {wanted[wrong[0]]}): remove it "
                         "and run the study again, or choose another output_dir")
    return result


def run(config: LanderConfig, method: str, sets: NeuronSets, base, tokenizer, train, held_out, seed: int, rate: float | None,
        sentences: int | None, with_ci: bool = True) -> dict:
    """Train one method from the base model (a copy of it) and evaluate it: scores per pair, means, provenance."""
    start, model, losses = time.time(), copy.deepcopy(base), []
    pairs, about = config.corpus.pairs, {}
    if method in TUNED:
        torch.manual_seed(seed)
        model = TUNED[method](model, sets, seed)
        about = {"trainable": baselines.count_trainable(model)}
        settings = replace(config.finetune, learning_rate=rate, seed=seed, progress=False)
        try:
            losses = finetune(model, tokenizer, train, pairs, settings, template=config.corpus.template)["loss"]
        except FloatingPointError as error:
            print(f"{method}: diverged: {error}", flush=True)
            about["diverged"] = str(error)
    trained = time.time() - start
    scores = evaluate(model.eval(), tokenizer, held_out, pairs, max_sentences=sentences, bootstrap=1000 if with_ci else 0,
                      n_shots=UNTUNED.get(method, 0), shots_from=train, template=config.corpus.template)
    return {"method": method, "profile": config.profile, "seed": seed, "learning_rate": rate,
            "updates": config.finetune.updates if method in TUNED else 0, **about, "loss": [round(x, 4) for x in losses[::10]],
            "mean": scores.pop("mean"), "signature": scores.pop("signature"), "pairs": scores, "sentences": sentences or len(held_out),
            "seconds": round(time.time() - start, 1), "training_seconds": round(trained, 1), "neuron_sets": sets.hash(),
            "base_model": sets.model, "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            "versions": {"python": platform.python_version(), "torch": torch.__version__, "transformers": transformers.__version__}}


def load_results(folder) -> list[dict]:
    """Every result file of a study, by name."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(Path(folder).glob("*.json"))]


def summary(results: Sequence[dict]) -> dict[str, dict]:
    """Per method: mean and standard deviation of BLEU over seeds, chrF2, seeds, learning rate, trained scalars."""
    table = {}
    for method in METHODS:
        mine = [r for r in results if r["method"] == method]
        if mine:
            bleu = torch.tensor([r["mean"]["bleu"] for r in mine], dtype=torch.float64)
            table[method] = {"bleu": bleu.mean().item(), "sd": bleu.std().item() if len(mine) > 1 else None, "seeds": len(mine),
                             "chrf": sum(r["mean"]["chrf"] for r in mine) / len(mine), "learning_rate": mine[0]["learning_rate"],
                             "trainable": mine[0].get("trainable", 0)}
    return table
