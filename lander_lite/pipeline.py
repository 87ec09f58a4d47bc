"""The pipeline's steps on a run folder: each reads the files of the step before it and writes its
own, so any can be repeated alone.

config.yaml → layers.json → scores.safetensors → neurons.safetensors → lander/ → results.json
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import fields
from functools import cached_property
from pathlib import Path

import torch
import transformers

from . import __version__
from .awareness import AwarenessScores, score_awareness
from .config import LanderConfig, ModelConfig, resolve
from .corpus import check_pairs, languages_of, load_corpus
from .evaluation import evaluate, translate
from .io import write_text
from .layers import LayerScores, detect_layers
from .model import load_model, model_source
from .neurons import NeuronSets, categorize, random_neurons, xie_split
from .training.distributed import is_main, own_device, wait, world
from .training.loop import finetune
from .tuner.model import LanderModel, LanderTuningConfig, get_lander_model

HELD_OUT, HELD_OUT_MOST = 5, 500  # without a test corpus: the last fifth of the rows, at most 500


class Run:
    """One run folder. Steps are its methods; the model and the corpora are loaded when a step first
    needs them.

    Raises ValueError when the folder holds a run with another model or corpus: its files would not
    fit together."""

    def __init__(self, config: LanderConfig, folder):
        self.config, self.folder = config, Path(folder)
        self.stored = (self.folder / "config.yaml").exists()
        if self.stored:
            old = LanderConfig.from_yaml(self.folder / "config.yaml")
            for what in (
                "profile",
                "model",
                "corpus.train",
                "corpus.languages",
                "corpus.template",
                "corpus.max_length",
            ):
                before, now = (_value(c, what) for c in (old, config))
                if before != now:
                    raise ValueError(
                        f"{self.folder} holds a run with another {what} ({before}, now {now}); "
                        f"use another --output-dir"
                    )

    def prepare(self, save: bool = True) -> None:
        """Load and check the corpora, so that bad input fails before a model is loaded; write
        config.yaml if the model is there too."""
        config = self.config
        with self.blaming("corpus.train", "corpus.test"):
            self.train, self.test = corpora(config)
        for corpus in (self.train, self.test):
            check_pairs(corpus, config.corpus.pairs)
        if missing := [
            lang for lang in config.corpus.languages if lang not in languages_of(self.train)
        ]:
            raise ValueError(
                f"corpus.languages has {missing[0]!r}, but the training corpus has "
                f"{', '.join(languages_of(self.train))}"
            )
        if save:
            with self.blaming("model.name_or_path"):
                on_disk = self.untrained or Path(model_source(config.model.name_or_path)).is_dir()
            if not on_disk and not self.stored:
                _ = self.base  # a hub id: only loading tells whether it is there
            if is_main():
                config.to_yaml(self.folder / "config.yaml")
            wait()

    @property
    def untrained(self) -> bool:
        """Whether the model is made from sizes in the config, so that nothing need be on disk."""
        return self.config.model.random_weights and bool(self.config.model.architecture)

    @contextmanager
    def blaming(self, *keys: str):
        """Say which settings a file that can't be found comes from, and whether it was this
        folder's config.yaml that held them."""
        try:
            yield
        except OSError as error:
            settings = ", ".join(f"{key} = {_value(self.config, key)}" for key in keys)
            source = f" (from {self.folder / 'config.yaml'})" if self.stored else ""
            raise FileNotFoundError(f"{settings}{source}: {str(error).splitlines()[0]}") from error

    @cached_property
    def base(self) -> tuple:
        """(model, tokenizer), untuned."""
        torch.manual_seed(self.config.seed)
        name, options = (
            self.config.model.name_or_path,
            {f.name: getattr(self.config.model, f.name) for f in fields(ModelConfig)},
        )
        del options["name_or_path"], options["architecture"]
        if world() > 1:  # each process holds a model of its own
            options["device_map"] = own_device()
        if name == LanderConfig.from_profile(self.config.profile).model.name_or_path:
            name = self.config.profile  # the profile knows the sizes too, for random weights
        with self.blaming("model.name_or_path"):
            return load_model(name, **options)

    def take_base(self) -> tuple:
        """(model, tokenizer) to be wrapped in place: the next use of `base` loads an untouched
        model."""
        base = self.base
        del self.base
        return base

    @cached_property
    def tuned(self) -> tuple | None:
        """(tuned model, tokenizer) of this folder, or None before `finetune`."""
        if not (self.folder / "lander").is_dir():
            return None
        model, tokenizer = self.take_base()
        return LanderModel.from_pretrained(model, self.folder / "lander"), tokenizer

    def need(self, name: str, step: str) -> Path:
        if not (self.folder / name).exists():
            raise FileNotFoundError(
                f"{self.folder / name} does not exist; run `lander-lite {step}` with the same "
                f"--output-dir first"
            )
        return self.folder / name

    def keep(self, content, name: str) -> Path:
        """Save a result under a name in the folder, once, whatever the number of processes."""
        if is_main():
            content.save(self.folder / name)
        wait()
        return self.folder / name

    # ---- steps
    def detect(self) -> Path:
        c = self.config
        layers = detect_layers(
            *self.base,
            self.train,
            c.corpus.pairs,
            c.layers.k,
            max_sentences=c.layers.max_sentences,
            batch_size=c.layers.batch_size,
            max_length=c.corpus.max_length,
            template=c.corpus.template,
            method=c.layers.method,
            progress=c.finetune.progress,
            too_long=c.corpus.too_long,
        )
        path = self.keep(layers, "layers.json")
        print(f"selected layers: {', '.join(map(str, layers.selected))}")
        return path

    def score(self) -> Path:
        c, layers = self.config, LayerScores.load(self.need("layers.json", "detect"))
        pairs = c.corpus.pairs if c.awareness.text == "translation" else None
        scores = score_awareness(
            *self.base,
            self.train,
            c.corpus.languages,
            layers,
            text=c.awareness.text,
            pairs=pairs,
            template=c.corpus.template,
            pre_activation=c.awareness.pre_activation,
            max_sentences=c.awareness.max_sentences,
            batch_size=c.awareness.batch_size,
            max_length=c.corpus.max_length,
            progress=c.finetune.progress,
            too_long=c.corpus.too_long,
        )
        return self.keep(scores, "scores.safetensors")

    def categorize(self) -> Path:
        c, scores = self.config, AwarenessScores.load(self.need("scores.safetensors", "score"))
        sets = (
            xie_split(scores)
            if c.categories.method == "xie"
            else categorize(scores, c.categories.epsilon, c.categories.normalize)
        )
        if c.categories.method == "random":
            sets = random_neurons(sets, c.seed)
        print(sets)
        return self.keep(sets, "neurons.safetensors")

    def lape(self) -> Path:
        """LAPE with its authors' rates on plain text of the training corpus; needs no other step's
        files."""
        from .neighbours.lape import lape

        c = self.config
        sets = lape(
            *self.base,
            self.train,
            c.corpus.languages,
            max_sentences=c.awareness.max_sentences,
            max_length=c.corpus.max_length,
            batch_size=c.awareness.batch_size,
        )
        print(sets)
        return self.keep(sets, "lape.safetensors")

    def finetune(self) -> Path:
        c, sets = self.config, NeuronSets.load(self.need("neurons.safetensors", "categorize"))
        model, tokenizer = self.take_base()
        lander = get_lander_model(
            model, LanderTuningConfig(sets, c.tuning.routing, c.tuning.other_specific)
        )
        lander.set_pair(c.corpus.pairs[0]).print_trainable_parameters()
        # named after what is tuned: checkpoints of other neurons may have the same shapes
        checkpoints = self.folder / "checkpoints" / f"{sets.hash()}-{c.tuning.routing}"
        log = finetune(
            lander,
            tokenizer,
            self.train,
            c.corpus.pairs,
            c.finetune,
            output_dir=checkpoints,
            template=c.corpus.template,
        )
        lander.save_pretrained(self.folder / "lander")
        if is_main():
            write_text(self.folder / "training.json", json.dumps(log, indent=1) + "\n")
        wait()
        self.__dict__["tuned"] = (lander, tokenizer)
        return self.folder / "lander"

    def evaluate(self, which=("before", "after")) -> Path:
        """Scores of the base model ("before") and, if there is one, of the tuned model ("after")
        into results.json."""
        path = self.folder / "results.json"
        results = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        for name in which:
            start = time.time()
            chosen, e = self.base if name == "before" else self.tuned, self.config.evaluate
            if chosen is not None:
                results[name] = evaluate(
                    *chosen,
                    self.test,
                    self.config.corpus.pairs,
                    max_sentences=e.max_sentences,
                    bootstrap=e.bootstrap,
                    batch_size=e.batch_size,
                    max_new_tokens=e.max_new_tokens,
                    template=self.config.corpus.template,
                )
                results[name + "_seconds"] = round(time.time() - start, 1)
        results["profile"], results["seed"], results["test_rows"] = (
            self.config.profile,
            self.config.seed,
            len(self.test),
        )
        results["versions"] = {
            "lander_lite": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        }
        write_text(path, json.dumps(results, indent=1, ensure_ascii=False) + "\n")
        return path

    def table(self) -> str:
        results = json.loads(self.need("results.json", "evaluate").read_text(encoding="utf-8"))
        return pair_table({name: results[name] for name in ("before", "after") if name in results})

    def translate(self, sentences: list[str], pair: str) -> list[str]:
        e = self.config.evaluate
        return translate(
            *(self.tuned or self.base),
            sentences,
            pair,
            batch_size=e.batch_size,
            max_new_tokens=e.max_new_tokens,
            template=self.config.corpus.template,
        )


def corpora(config: LanderConfig) -> tuple:
    """(train, test). Without corpus.test the last fifth of the training corpus, at most 500 rows,
    is held out as the test part."""
    train = load_corpus(config.corpus.train, split="train")
    if config.corpus.test:
        return train, load_corpus(config.corpus.test, split="test")
    if len(train) < 2:
        raise ValueError(
            f"{config.corpus.train} has one row: nothing to hold out; give corpus.test, or more "
            f"rows"
        )
    cut = len(train) - max(1, min(HELD_OUT_MOST, len(train) // HELD_OUT))
    print(
        f"no test corpus: training on rows 1-{cut} of {config.corpus.train}, testing on rows "
        f"{cut + 1}-{len(train)}"
    )
    return train.select(range(cut)), train.select(range(cut, len(train)))


def use_corpus(config: LanderConfig, source: str, given: set[str]) -> None:
    """Point `config` to another corpus: the test part too if it is a folder with one, and the
    languages to those it has. `given`: the settings that the user set, which stay."""
    path = resolve(source)
    config.corpus.train = source
    has_test = path is not None and path.is_dir() and any(path.glob("test.*"))
    if "corpus.test" not in given:
        config.corpus.test = source if has_test else None
    if "corpus.valid" not in given:
        config.corpus.valid = (
            source if path is not None and path.is_dir() and any(path.glob("valid.*")) else None
        )
    if "corpus.languages" not in given:
        has = languages_of(load_corpus(source))
        kept = [lang for lang in config.corpus.languages if lang in has]
        paired = [lang for pair in config.corpus.pairs for lang in pair.split("-") if lang in has]
        config.corpus.languages = list(dict.fromkeys(kept + paired))


def _value(config: LanderConfig, key: str):
    for part in key.split("."):
        config = getattr(config, part)
    return config


def pair_table(runs: Mapping[str, dict]) -> str:
    """BLEU (with its interval), chrF2 and off-target rate per pair for named results of `evaluate`,
    such as {"before": …, "after": …}."""
    pairs = [key for key in next(iter(runs.values())) if key not in ("mean", "signature")]
    lines = [
        "direction"
        + "".join(f" | {name + ' BLEU':>21} {'chrF2':>6} {'off-t.':>6}" for name in runs)
    ]
    for pair in pairs:
        line = f"{pair:9}"
        for scores in runs.values():
            one = scores[pair]
            interval = "[{:.1f}, {:.1f}]".format(*one["bleu_ci"]) if one["bleu_ci"] else ""
            line += (
                f" | {one['bleu']:6.2f} {interval:>14} {one['chrf']:6.2f} {one['off_target']:6.1%}"
            )
        lines.append(line)
    lines.append(
        f"{'mean':9}"
        + "".join(
            f" | {s['mean']['bleu']:6.2f} {'':14} {s['mean']['chrf']:6.2f} {'':6}"
            for s in runs.values()
        )
    )
    return "\n".join(lines)
