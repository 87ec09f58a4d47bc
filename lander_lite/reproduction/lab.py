"""What every run of a study shares: base model, corpora, layer scores and neuron scores, and the
measures taken of a model."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from ..awareness import AwarenessScores, score_awareness
from ..blocks import feed_forwards, fingerprint
from ..config import LanderConfig, refuse_other
from ..corpus import load_corpus
from ..evaluation import evaluate
from ..languages import LANGUAGE_NAMES
from ..layers import LayerScores, detect_layers
from ..model import load_configured
from ..neighbours.features import calibration_prompts
from ..neighbours.lape import activation_counts, lape_from_counts, lape_of_size, top_rate_for
from ..neurons import NeuronSets, categorize, xie_split
from ..probes.knowledge import fact_recall, load_facts, per_language_perplexity
from ..prompts import languages_of
from .baselines import drawn_layers
from .block import unit_scores
from .specs import Spec

MONO_SENTENCES = 100  # per language, for perplexity
LAPE_SENTENCES = 4000  # per language, from the training corpus


def corpus_hash(*corpora) -> str:
    """16 hexadecimal digits of the rows' content: results of another version of the corpus are told
    apart by it."""
    digest = hashlib.sha256()
    for corpus in corpora:
        for row in corpus["translation"]:
            digest.update(json.dumps(row, sort_keys=True, ensure_ascii=False).encode())
    return digest.hexdigest()[:16]


class Lab:
    """The shared part of a study. `folder` keeps layers.json and scores.safetensors, so that every
    process, and every later session, works with the same sets; files of another model, corpus or
    setting are refused. Scores cover every layer and language, because sweeps choose among them: a
    layer's scores do not depend on which other layers are scored."""

    def __init__(self, config: LanderConfig, folder):
        self.config, self.folder = config, Path(folder)
        LANGUAGE_NAMES.update(config.corpus.names)
        self.train, self.valid, self.test = corpora(config)
        self.base, self.tokenizer = load_configured(config.model)
        self.languages, self.n_layers = languages_of(self.train), len(feed_forwards(self.base))
        self.corpus = corpus_hash(self.train, self.valid, self.test)
        self.model = fingerprint(self.base)
        self.facts = facts_beside(config.corpus.train)
        self.other_domain = other_domain_beside(config.corpus.train)
        self.layers = self._stored("layers.json", LayerScores, self._detect)
        self.scores = self._stored("scores.safetensors", AwarenessScores, self._score)

    def _detect(self) -> LayerScores:
        corpus, settings = self.config.corpus, asdict(self.config.layers)
        settings |= {"template": corpus.template, "progress": False}
        return detect_layers(self.base, self.tokenizer, self.train, corpus.pairs, **settings)

    def _score(self) -> AwarenessScores:
        layers, settings = range(self.n_layers), asdict(self.config.awareness)
        settings["progress"] = False
        return score_awareness(
            self.base, self.tokenizer, self.train, self.languages, layers, **settings
        )

    def lape(self, language: str) -> NeuronSets:
        """LAPE's sets of every language of the corpus, in all layers: so many neurons that tuning
        those of `language` trains at most 1% of the weights."""

        def choose():
            counts = activation_counts(
                self.base, self.tokenizer, self.train, self.languages, max_sentences=LAPE_SENTENCES
            )
            return lape_from_counts(counts, top_rate=top_rate_for(counts, self.base, language))

        return self._stored(f"lape-{language}.safetensors", NeuronSets, choose, "provenance")

    def lape_like(self, sets: NeuronSets) -> NeuronSets:
        """LAPE's sets of the same languages with as many neurons as `sets`, in all layers."""
        size = 0
        for layer in sets.layers:
            chosen = [sets.general[layer], *(sets.specific[x][layer] for x in sets.languages)]
            size += len(torch.cat(chosen).unique())

        def choose():
            counts = activation_counts(
                self.base, self.tokenizer, self.train, sets.languages, max_sentences=LAPE_SENTENCES
            )
            return lape_of_size(counts, size)

        return self._stored(f"lape-{size}.safetensors", NeuronSets, choose, "provenance")

    def unit_scores(self, module: str) -> AwarenessScores:
        """The scores of a module's output units, such as "self_attention.dense", in all layers."""
        name = f"scores-{module}.safetensors"
        return self._stored(name, AwarenessScores, lambda: unit_scores(self, module))

    def _stored(self, name: str, kind: type, make: Callable, notes: str = "settings"):
        """What the folder has under this name, made now if it has nothing. notes: the attribute
        that says what it was made from."""
        path, layers, awareness = self.folder / name, self.config.layers, self.config.awareness
        asked = [layers.method, layers.max_sentences]
        asked += [awareness.text, awareness.pre_activation, awareness.max_sentences]
        origin = {"corpus": self.corpus, "weights": self.model, "asked": asked}
        if not path.exists():
            made = make()
            getattr(made, notes).update(origin)
            made.save(path)
        stored = kind.load(path)
        remedy = f"remove the folder {self.folder} and run the study again, or choose another"
        refuse_other(getattr(stored, notes), origin, path, f"{remedy} --output-dir")
        return stored

    # ---- neuron sets
    def choose_layers(
        self, k: int | None = None, where: str = "selected", seed: int = 0
    ) -> list[int]:
        """The k layers of RA, or k random ones; k = all layers takes block 0 too, which RA cannot
        score."""
        k = k or self.config.layers.k
        if where == "random":
            return drawn_layers(self.n_layers, k, seed)
        return list(range(self.n_layers)) if k == self.n_layers else self.layers.top(k)

    def sets(
        self,
        *,
        k: int | None = None,
        where: str = "selected",
        epsilon: float | None = None,
        normalize=None,
        languages: Sequence[str] | None = None,
        seed: int = 0,
    ) -> NeuronSets:
        """Eq. 5 on the chosen layers and languages; arguments left out are the config's."""
        c = self.config.categories
        chosen = self.choose_layers(k, where, seed)
        scores = self.scores.select(languages or self.config.corpus.languages, chosen)
        normalize = c.normalize if normalize is None else normalize
        return categorize(scores, epsilon or c.epsilon, normalize)

    def sets_of(self, spec: Spec) -> NeuronSets:
        """The sets that a run trains: LAPE's for plain text of one language, else those that its
        settings say."""
        if spec.definition.plain_text:
            return self.lape(spec.stages(self.config)[0][0])
        return self.sets(**spec.sets, seed=spec.seed)

    def xie(self, sets: NeuronSets, rho: float = 0.7) -> NeuronSets:
        """Xie et al.'s split of the scores behind `sets`; rho: the share of general neurons."""
        return xie_split(self.scores.select(sets.languages, sets.layers), rho)

    def calibration(self, name: str, seed: int) -> list | None:
        """Prompts to calibrate pruning on (`calibration_prompts`), of all directions and
        languages."""
        c = self.config.corpus
        return calibration_prompts(
            name, self.train, self.tokenizer, c.pairs, self.languages, seed, template=c.template
        )

    # ---- measures
    def autocast(self):
        """For a model in training: a half-precision base with trained parts in float32."""
        half = self.base.dtype in (torch.bfloat16, torch.float16)
        return torch.autocast(self.base.device.type, self.base.dtype, enabled=half)

    def fresh(self):
        """A copy of the base model to train."""
        return copy.deepcopy(self.base)

    def translations(
        self, model, corpus, pairs: Sequence[str], sentences: int | None = None, **options
    ) -> dict:
        """`evaluate` with this config's template."""
        options |= {"max_sentences": sentences, "template": self.config.corpus.template}
        return evaluate(model.eval(), self.tokenizer, corpus, pairs, **options)

    def elsewhere(self, model, sets: NeuronSets, sentences: int | None = None) -> dict:
        """What translation does not show: {"perplexity": {language: value on so many test
        sentences, at most MONO_SENTENCES}, "facts": {language: share recalled}}.

        A routed model reads a language with that language's own pair, or with the first pair if it
        has no neurons."""
        most = min(MONO_SENTENCES, sentences or MONO_SENTENCES)
        perplexity, facts = {}, {}
        for language in self.languages:
            if hasattr(model, "set_pair"):
                known = language in sets.languages and language != "en" and "en" in sets.languages
                model.set_pair(f"{language}-en" if known else self.config.corpus.pairs[0])
            perplexity |= per_language_perplexity(
                model, self.tokenizer, self.test, [language], max_sentences=most
            )
            if any(fact["lang"] == language for fact in self.facts):
                recall = fact_recall(model, self.tokenizer, self.facts, [language])
                facts[language] = recall[language]
        return {"perplexity": perplexity, "facts": facts}


def corpora(config: LanderConfig) -> list:
    """The config's train, valid and test parts. ValueError where one is missing."""
    parts = []
    for part in ("train", "valid", "test"):
        source = getattr(config.corpus, part)
        if not source:
            raise ValueError(
                f"a study needs corpus.{part}: learning rates are chosen on valid, and results "
                f"are of test"
            )
        parts.append(load_corpus(source, split=part))
    return parts


def other_domain_beside(train):
    """The test set of another domain that a corpus may have beside its training part, or None."""
    path = Path(str(train)).with_name("other_domain.jsonl")
    return load_corpus(path) if path.is_file() else None


def facts_beside(train) -> list[dict]:
    """The facts that a corpus has beside its training part; none for a corpus without them."""
    path = Path(str(train)).with_name("facts.jsonl")
    return load_facts(path) if str(train).startswith("data/") or path.is_file() else []
