"""How much does each feed-forward neuron change the loss of a language? Taylor expansion (LANDeRMT
eq. 3–4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from datasets import Dataset
from torch import Tensor, nn
from tqdm.auto import tqdm

from .blocks import fingerprint
from .hooks import Site, observe, read_mean, sentence_losses, sites, token_weights
from .io import write_tensors
from .languages import parse_pair
from .layers import LayerScores
from .prompts import check_examples, check_pairs, encode, encode_sentences, pair_rows, texts

KIND = "lander_lite.AwarenessScores/1"


@dataclass(eq=False)
class AwarenessScores:
    """The result of `score_awareness`: values float32 [language, layer, d_ff], nats; the
    `fingerprint` of the scored model; settings (text, sentences per language, …)."""

    languages: list[str]
    layers: list[int]
    values: Tensor
    model: dict = field(default_factory=dict)
    settings: dict = field(default_factory=dict)

    def __post_init__(self):
        shape, n, m = tuple(self.values.shape), len(self.languages), len(self.layers)
        if len(shape) != 3 or shape[:2] != (n, m):
            raise ValueError(f"scores of shape {shape} for {n} languages, {m} layers.")

    def select(self, languages: Sequence[str], layers: Sequence[int]) -> AwarenessScores:
        """The scores of some languages and layers. ValueError for one that is not there."""
        rows = _positions("language", languages, self.languages)
        values = self.values[rows][:, _positions("layer", layers, self.layers)]
        return AwarenessScores(list(languages), list(layers), values, self.model, self.settings)

    def save(self, path: str | Path) -> None:
        """Write one safetensors file, atomically."""
        content = dict(vars(self))
        write_tensors(path, KIND, {"values": content.pop("values")}, content)

    @classmethod
    def load(cls, path: str | Path) -> AwarenessScores:
        """Read what `save` wrote. FileNotFoundError; ValueError for another content."""
        from .stored import read_object

        kinds = {"languages": list[str], "layers": list[int], "model": dict, "settings": dict}
        return read_object(lambda tensors, content: cls(**tensors, **content), path, KIND, kinds)


def _positions(name: str, wanted: Sequence, known: list) -> list[int]:
    if missing := [x for x in wanted if x not in known]:
        scored = ", ".join(map(str, known))
        raise ValueError(f"{name} {missing[0]!r} was not scored; there are {scored}.")
    return [known.index(x) for x in wanted]


def score_awareness(
    model: nn.Module,
    tokenizer,
    corpus: Dataset | Mapping,
    languages: Sequence[str],
    layers: LayerScores | Sequence[int],
    *,
    text: str = "mono",
    pairs: Sequence[str] | None = None,
    pre_activation: bool = False,
    max_sentences: int | None = 500,
    batch_size: int = 16,
    max_length: int = 256,
    template: str | None = None,
    progress: bool = True,
    too_long: str = "cut",
    empty: str = "refuse",
) -> AwarenessScores:
    """Estimate |L(h_i = 0) - L(h_i)| of each neuron i and language by Phi(i) = |h_i · dL/dh_i|
    (LANDeRMT eq. 3–4).

    h is the input of the down-projection; L is the *summed* loss of the next tokens, so that a
    token's score does not depend on its batch. The absolute value is taken per token, then averaged
    over the sentence's tokens, then over sentences. Several processes share the sentences.

    Args:
        corpus: a parallel corpus, or for text="mono" also {language: sentences}.
        layers: LayerScores (its selected blocks) or block indices.
        text: "mono", a language's own sentences; "translation", teacher-forced prompts with the
            loss on the target, a language's score being the mean over the pairs that contain it.
        pairs: for text="translation"; default: en-x and x-en for all languages x.
        pre_activation: score what goes into the activation function, as the authors' code does.
        max_sentences: the first so many of each language or pair; None for all.
        too_long: what exceeds max_length tokens is "cut", with a warning, or an error ("refuse").
        empty: a sentence of fewer than two tokens is an error, or left out and counted ("skip").

    Raises: ValueError for unknown settings, layers out of range, an empty sentence, a pair that the
        corpus cannot serve; KeyError for a language it lacks; all before the first pass.
    """
    layers = layers.selected if isinstance(layers, LayerScores) else layers
    chosen = sites(model, "pre_activation" if pre_activation else "neurons", layers)
    examples = examples_of(
        tokenizer, corpus, languages, text, pairs, max_sentences, max_length, template, empty
    )
    check_examples(model, examples, max_length, too_long)
    sentences = {name: len(found) for name, found in examples.items()}
    total, means, values = sum(sentences.values()), {}, []
    with tqdm(total=total, desc="neurons", unit="sentence", disable=not progress) as bar:
        options = {"batch_size": batch_size, "bar": bar}
        for name, found in examples.items():
            bar.set_postfix_str(name)
            means[name] = mean_scores(model, tokenizer, chosen, found, **options)
    for x in languages:
        names = [x] if text == "mono" else [pair for pair in means if x in parse_pair(pair)]
        values.append(torch.stack([means[name] for name in names]).mean(dim=0))
    pairs = list(means) if text == "translation" else None
    settings = {"text": text, "pairs": pairs, "pre_activation": pre_activation}
    settings |= {"template": template, "max_length": max_length, "sentences": sentences}
    values = torch.stack(values)
    return AwarenessScores(list(languages), list(chosen), values, fingerprint(model), settings)


def mean_scores(model, tokenizer, chosen: dict[int, Site], examples, **options) -> Tensor:
    """Mean over sentences of the mean over tokens of |h · dL/dh|, float32 [layer, d_ff]; options as
    in `hooks.read`."""

    def summed(batch):
        weights, found = token_weights(batch), []
        for h, gradient in zip(*neurons_and_gradients(model, chosen, batch)):
            effect = (h.detach().float() * gradient.float()).abs()
            found.append(torch.einsum("stn,st->n", effect, weights.to(effect.device)).cpu())
        scores = torch.stack(found)
        if not scores.isfinite().all():
            remedy = "load the model in float32 or bfloat16 (model.dtype)"
            raise FloatingPointError(f"gradients overflow in {gradient.dtype}: {remedy}")
        return scores

    return read_mean(model, tokenizer, examples, summed, gradients=True, **options)


def neurons_and_gradients(model, chosen: dict[int, Site], batch: dict) -> tuple:
    """(h, dL/dh) of a batch, both a list over layers of [sentence, token, d_ff], L the summed loss.
    A step of `hooks.read(…, gradients=True)`."""

    def start_graph(layer, h):
        # no parameter asks for a gradient, so the graph starts at the lowest chosen layer
        return h if h.requires_grad else h.detach().requires_grad_(True)

    neurons, losses = observe(model, chosen, batch, start_graph, sentence_losses, replace=True)
    neurons = list(neurons.values())
    return neurons, torch.autograd.grad(losses.sum(), neurons)


def examples_of(
    tokenizer, corpus, languages, text, pairs, max_sentences, max_length, template, empty
) -> dict[str, list]:
    """{language or pair: its encoded examples}. Arguments and errors as in `score_awareness`."""
    if isinstance(languages, str) or not languages or len(set(languages)) != len(languages):
        raise ValueError(
            f"languages = {languages!r}: give a list of different codes, as ['en', 'de']."
        )
    if text not in ("mono", "translation"):
        raise ValueError(f"text = '{text}' is unknown: use 'mono' or 'translation'.")
    if text == "mono":
        options = (max_sentences, max_length, empty)
        return {x: sentences_of(tokenizer, corpus, x, *options) for x in languages}
    pairs = list(pairs or [pair for x in languages if x != "en" for pair in (f"en-{x}", f"{x}-en")])
    check_pairs(corpus, pairs, tokenizer)
    covered = {x for pair in pairs for x in parse_pair(pair)}
    if missing := [x for x in languages if x not in covered]:
        remedy = f"add one to pairs ({', '.join(pairs)})"
        raise ValueError(f"no pair contains '{missing[0]}', so it has no score: {remedy}.")
    groups = {}
    options = {"template": template, "max_length": max_length}
    for pair in pairs:
        if set(parse_pair(pair)) & set(languages):
            rows = pair_rows(corpus, pair, max_sentences)
            groups[pair] = [encode(tokenizer, *row, pair, **options) for row in rows]
    return groups


def sentences_of(tokenizer, corpus, language, max_sentences, max_length, empty=None) -> list[dict]:
    """A language's first encoded sentences, of two tokens or more: a loss needs two."""
    sentences = texts(corpus, language)[:max_sentences]
    if not sentences:
        why = "the corpus has none or max_sentences is 0"
        raise ValueError(f"no sentences of '{language}' to score: {why}.")
    return encode_sentences(tokenizer, sentences, max_length, 2, f"'{language}'", empty)
