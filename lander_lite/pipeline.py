"""The steps on a run folder: each reads the files of the one before it, so any can be repeated.

config.yaml → layers.json → scores.safetensors → neurons.safetensors → lander/ → results.json,
translations.json → report.html
"""

from __future__ import annotations

import json
import platform
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import cached_property
from itertools import chain
from operator import attrgetter
from pathlib import Path

import torch
import transformers

from . import __version__
from .awareness import AwarenessScores, score_awareness
from .config import LanderConfig, refuse_other
from .corpus import has_split, load_corpus
from .evaluation import evaluate, translate
from .hooks import is_main, wait, world
from .io import content_of, write_text
from .languages import LANGUAGE_NAMES, parse_pair
from .layers import LayerScores, detect_layers
from .model import load_configured, model_source
from .neurons import NeuronSets, categorize, random_neurons, xie_split
from .prompts import check_pairs, languages_of, pair_rows
from .stored import read_json
from .training.distributed import own_device
from .training.kl import kl_texts
from .training.loop import finetune
from .tuner.model import LanderModel, LanderTuningConfig, get_lander_model

HELD_OUT, HELD_OUT_MOST = 5, 500  # without a test corpus: the last fifth of the rows, at most 500
# settings on which every file of a run folder depends
FIXED = "profile model corpus.train corpus.languages corpus.template corpus.names".split()
FIXED += ["corpus.max_length"]


class Run:
    """A run folder and the steps on it; the model is loaded when a step first needs it.

    Raises ValueError when the folder holds a run with another model or corpus: its files would not
    fit together."""

    def __init__(self, config: LanderConfig, folder: str | Path, resume: bool = True):
        self.config, self.folder, self.resume = config, Path(folder), resume
        LANGUAGE_NAMES.update(config.corpus.names)
        self.stored = (self.folder / "config.yaml").exists()
        if self.stored:
            old = LanderConfig.from_yaml(self.folder / "config.yaml")
            found, wanted = (dict(zip(FIXED, attrgetter(*FIXED)(c))) for c in (old, config))
            refuse_other(found, wanted, self.folder, "use another --output-dir", was="holds a run")
        self.settled = False

    def prepare(self) -> None:
        """Load and check the corpora and look for the model, so that bad input fails before a model
        is loaded."""
        c = self.config
        with self.blaming("corpus.train", "corpus.test"):
            self.train, self.test = corpora(c)
        for part, corpus in {"training": self.train, "test": self.test}.items():
            try:
                check_pairs(corpus, c.corpus.pairs)
            except ValueError as error:
                raise ValueError(f"the {part} part of the corpus: {error}") from error
        report_rows(self.train, self.test, c.corpus.pairs)
        if len(c.corpus.languages) < 2:
            raise ValueError(
                f"corpus.languages = {', '.join(c.corpus.languages)}: neurons are told apart by "
                f"comparing at least two languages"
            )
        in_pairs = set(chain.from_iterable(map(parse_pair, c.corpus.pairs)))
        lonely = [x for x in c.corpus.languages if x not in in_pairs]
        if c.awareness.text == "translation" and lonely:
            raise ValueError(
                f"awareness.text = translation: no pair has {lonely[0]!r}, so it would have no "
                f"score; add one to corpus.pairs, or take it out of corpus.languages"
            )
        if not (c.model.random_weights and "model_type" in c.model.architecture):
            with self.blaming("model.name_or_path"):
                model_source(c.model.name_or_path)

    def settle(self) -> None:
        """Write config.yaml, once, before the first file of a step: a start that failed leaves no
        settings to the next one."""
        if is_main() and not self.settled:
            self.config.to_yaml(self.folder / "config.yaml")
        self.settled = True

    @contextmanager
    def blaming(self, *keys: str) -> Iterator[None]:
        """Say which settings a file that can't be found comes from, and whether it was this
        folder's config.yaml that held them."""
        try:
            yield
        except OSError as error:
            settings = ", ".join(f"{key} = {attrgetter(key)(self.config)}" for key in keys)
            source = f" (from {self.folder / 'config.yaml'})" if self.stored else ""
            raise FileNotFoundError(f"{settings}{source}: {str(error).splitlines()[0]}") from error

    @cached_property
    def base(self) -> tuple:
        """(model, tokenizer), untuned."""
        torch.manual_seed(self.config.seed)
        # each of several processes holds a model of its own
        here = {"device_map": own_device()} if world() > 1 else {}
        with self.blaming("model.name_or_path"):
            return load_configured(replace(self.config.model, **here))

    def take_base(self) -> tuple:
        """(model, tokenizer) to be changed in place: the next use of `base` loads them again."""
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
        """A file of the folder. Raises FileNotFoundError, which names the step that writes it."""
        if not (self.folder / name).exists():
            raise FileNotFoundError(
                f"{self.folder / name} does not exist; run `lander-lite {step}` with the same "
                f"--output-dir first"
            )
        return self.folder / name

    def keep(self, content, name: str) -> Path:
        """Save a result under a name in the folder, once, whatever the number of processes."""
        self.settle()
        if is_main():
            content.save(self.folder / name)
        wait()
        return self.folder / name

    @property
    def reading(self) -> dict:
        """How `detect` and `score` read the corpus."""
        c, progress = self.config.corpus, self.config.finetune.progress
        return dict(
            max_length=c.max_length, template=c.template, too_long=c.too_long, progress=progress
        )

    @property
    def decoding(self) -> dict:
        """How `evaluate` reads the corpus and translates."""
        c = self.config
        options = {"template": c.corpus.template, "too_long": c.corpus.too_long}
        return asdict(c.evaluate) | options

    # ---- steps
    def detect(self) -> Path:
        """Find the layers that matter for translation: layers.json."""
        pairs, settings = self.config.corpus.pairs, asdict(self.config.layers)
        layers = detect_layers(*self.base, self.train, pairs, **settings, **self.reading)
        path = self.keep(layers, "layers.json")
        print(f"selected layers: {', '.join(map(str, layers.selected))}")
        return path

    def score(self) -> Path:
        """Score every neuron of the selected layers: scores.safetensors."""
        corpus, settings = self.config.corpus, asdict(self.config.awareness)
        layers = LayerScores.load(self.need("layers.json", "detect"))
        if settings["text"] == "translation":
            settings["pairs"] = corpus.pairs
        scores = score_awareness(
            *self.base,
            self.train,
            corpus.languages,
            layers,
            empty=corpus.empty,
            **settings,
            **self.reading,
        )
        return self.keep(scores, "scores.safetensors")

    def categorize(self) -> Path:
        """Split the scored neurons into general and specific ones: neurons.safetensors."""
        c = self.config.categories
        scores = AwarenessScores.load(self.need("scores.safetensors", "score"))
        if c.method == "xie":
            sets = xie_split(scores)
        else:
            sets = categorize(scores, c.epsilon, c.normalize)
        if c.method == "random":
            sets = random_neurons(sets, self.config.seed)
        print(sets)
        return self.keep(sets, "neurons.safetensors")

    def finetune(self) -> Path:
        """Train general and specific neurons: lander/, training.json and checkpoints/."""
        c, pairs = self.config, self.config.corpus.pairs
        sets = NeuronSets.load(self.need("neurons.safetensors", "categorize"))
        model, tokenizer = self.take_base()
        lander = get_lander_model(model, LanderTuningConfig(sets, **asdict(c.tuning)))
        lander.set_pair(pairs[0]).print_trainable_parameters()
        # named after what is tuned: checkpoints of other neurons may have the same shapes
        checkpoints = self.folder / "checkpoints" / f"{sets.hash()}-{c.tuning.routing}"
        how = {"output_dir": checkpoints, "resume": self.resume, "template": c.corpus.template}
        if c.finetune.kl_weight:
            how["kl_texts"] = kl_texts(self.train, c.corpus.languages)
        log = finetune(lander, tokenizer, self.train, pairs, c.finetune, **how)
        self.settle()
        lander.save_pretrained(self.folder / "lander")  # all processes give their parts
        if is_main():
            write_json(self.folder / "training.json", log)
        wait()
        self.tuned = lander, tokenizer
        return self.folder / "lander"

    def evaluate(self, which: Sequence[str] = ("before", "after")) -> Path:
        """Score the base model ("before") and, if there is one, the tuned model ("after"):
        results.json, with translations.json beside it."""
        c, path, texts = self.config, self.folder / "results.json", self.texts()
        results = read_json(path, {"profile": str}) if path.exists() else {}
        how = self.decoding | {"progress": c.finetune.progress, "keep_hypotheses": True}
        for name in which:
            start = time.time()
            chosen = self.base if name == "before" else self.tuned
            if chosen is not None:
                results[name] = evaluate(*chosen, self.test, c.corpus.pairs, **how)
                results[f"{name}_seconds"] = round(time.time() - start, 1)
                for pair, columns in texts.items():
                    columns[name] = results[name][pair].pop("hypotheses")
        write_json(self.folder / "translations.json", texts)
        results |= {"profile": c.profile, "seed": c.seed, "test_rows": len(self.test)}
        versions = {"lander_lite": __version__, "python": platform.python_version()}
        versions |= {library.__name__: library.__version__ for library in (torch, transformers)}
        results["versions"] = versions
        write_json(path, results)
        return path

    def texts(self) -> dict[str, dict[str, list[str]]]:
        """{pair: {"source", "reference", and what translations.json has of the same}}."""
        path, most = self.folder / "translations.json", self.config.evaluate.max_sentences
        old, texts = read_json(path, {}) if path.exists() else {}, {}
        for pair in self.config.corpus.pairs:
            columns = zip(*pair_rows(self.test, pair, most))
            texts[pair] = dict(zip(("source", "reference"), map(list, columns)))
            with content_of(path):
                if texts[pair].items() <= old.get(pair, {}).items():  # the same sentences
                    texts[pair] = old[pair]
        return texts

    def table(self) -> str:
        """`pair_table` of results.json."""
        path = self.need("results.json", "evaluate")
        results = read_json(path, {"before": dict})
        with content_of(path):
            found = {name: results[name] for name in ("before", "after") if name in results}
            return pair_table(found)

    def translate(self, sentences: list[str], pair: str) -> list[str]:
        """Translations by the tuned model of this folder, or by the base model before tuning."""
        how = self.decoding
        del how["max_sentences"], how["bootstrap"]
        return translate(*(self.tuned or self.base), sentences, pair, **how)


def write_json(path: Path, content) -> None:
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def corpora(config: LanderConfig) -> tuple:
    """(train, test). Without corpus.test, the test part of the same folder or hub id; without one,
    the last fifth of the training corpus, at most 500 rows, is held out."""
    c, source = config.corpus, config.corpus.train
    train = load_corpus(source, split="train", languages=languages_in(config), empty=c.empty)
    if c.test or has_split(source, "test"):
        return train, load_corpus(c.test or source, split="test", empty=c.empty)
    n = len(train)
    if n < 2:
        raise ValueError(
            f"{source} has one row: nothing to hold out; give corpus.test, or more rows"
        )
    cut = n - max(1, min(HELD_OUT_MOST, n // HELD_OUT))
    print(f"no test corpus: training on rows 1-{cut} of {source}, testing on rows {cut + 1}-{n}")
    return train.select(range(cut)), train.select(range(cut, n))


def languages_in(config: LanderConfig) -> list[str]:
    """The languages of the settings corpus.languages and corpus.pairs."""
    of_pairs = chain.from_iterable(map(parse_pair, config.corpus.pairs))
    return list(dict.fromkeys([*config.corpus.languages, *of_pairs]))


def report_rows(train, test, pairs: Sequence[str]) -> None:
    """Say how many rows serve each pair, where not all do, and warn of tested translations that are
    in the training part too."""
    served, seen = {}, {}
    for pair in pairs:
        tested = set(pair_rows(test, pair))
        rows = pair_rows(train, pair)
        served[pair], seen[pair] = len(rows), len(tested.intersection(rows))
    if min(served.values()) < len(train):
        told = ", ".join(f"{pair} {n}" for pair, n in served.items())
        print(f"rows with both sides, of {len(train)} for training: {told}")
    if found := ", ".join(f"{n} in {pair}" for pair, n in seen.items() if n):
        told = f"test sentences that the training part holds with the same translation: {found}"
        warnings.warn(f"{told}; scores on them show memory, not translation", stacklevel=3)


def use_corpus(config: LanderConfig, source: str, given: set[str]) -> None:
    """Point `config` to another corpus: to its valid and test parts too if it is a folder with
    some, and to the languages that it has. `given`: the settings that the user set, which stay."""
    config.corpus.train = source
    for part in {"test", "valid"} - {key.removeprefix("corpus.") for key in given}:
        setattr(config.corpus, part, source if has_split(source, part) else None)
    if "corpus.languages" not in given:
        has = languages_of(load_corpus(source, empty=config.corpus.empty))
        config.corpus.languages = [x for x in languages_in(config) if x in has]


def pair_table(results: Mapping[str, dict]) -> str:
    """BLEU (with its interval), chrF2 and off-target rate per pair for named results of `evaluate`,
    such as {"before": …, "after": …}."""
    pairs = [key for key in next(iter(results.values())) if key not in ("mean", "signature")]
    heads = [f" | {name + ' BLEU':>21} {'chrF2':>6} {'off-t.':>6}" for name in results]
    lines = ["direction" + "".join(heads)]
    for pair in pairs:
        line = f"{pair:9}"
        for scores in results.values():
            one = scores[pair]
            interval = "[{:.1f}, {:.1f}]".format(*one["bleu_ci"]) if one["bleu_ci"] else ""
            line += f" | {one['bleu']:6.2f} {interval:>14} {one['chrf']:6.2f}"
            line += f" {one['off_target']:6.1%}"
        lines.append(line)
    means = [scores["mean"] for scores in results.values()]
    ends = [f" | {mean['bleu']:6.2f} {'':14} {mean['chrf']:6.2f} {'':6}" for mean in means]
    lines.append(f"{'mean':9}" + "".join(ends))
    return "\n".join(lines)
