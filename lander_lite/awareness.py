"""How much does each feed-forward neuron change the loss of a language? Taylor expansion (LANDeRMT
eq. 3–4); ablation.py checks it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from datasets import Dataset
from torch import nn
from tqdm.auto import tqdm

from .blocks import FeedForward, feed_forwards, fingerprint, input_device
from .corpus import (
    batches,
    check_examples,
    check_pairs,
    collate,
    cut_ids,
    encode,
    parse_pair,
    prompt_ids,
    texts,
)
from .hooks import in_halves
from .io import read_tensors, write_tensors
from .layers import LayerScores
from .training.distributed import add_up, own_part

KIND = "lander_lite.AwarenessScores/1"


@dataclass(eq=False)
class AwarenessScores:
    """The result of `score_awareness`.

    Attributes:
        languages, layers: the names of the first two dimensions. values: float32 [language, layer,
            d_ff], nats.
        model: the `fingerprint` of the scored model. settings: text, pre_activation, sentences per
            language, …
    """

    languages: list[str]
    layers: list[int]
    values: torch.Tensor
    model: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        if (
            self.values.shape[:2] != (len(self.languages), len(self.layers))
            or self.values.dim() != 3
        ):
            raise ValueError(
                f"scores of shape {tuple(self.values.shape)} for {len(self.languages)} languages, "
                f"{len(self.layers)} layers."
            )

    def save(self, path: str | Path) -> None:
        """Write one safetensors file, atomically."""
        content = {
            name: getattr(self, name) for name in ("languages", "layers", "model", "settings")
        }
        write_tensors(path, KIND, {"values": self.values}, content)

    def select(self, languages: Sequence[str], layers: Sequence[int]) -> AwarenessScores:
        """The scores of some languages and layers. ValueError for one that is not there."""
        for name, wanted, known in (
            ("language", languages, self.languages),
            ("layer", layers, self.layers),
        ):
            if missing := [x for x in wanted if x not in known]:
                raise ValueError(
                    f"{name} {missing[0]!r} was not scored; there are {', '.join(map(str, known))}."
                )
        rows, columns = (
            [self.languages.index(x) for x in languages],
            [self.layers.index(x) for x in layers],
        )
        return AwarenessScores(
            list(languages), list(layers), self.values[rows][:, columns], self.model, self.settings
        )

    @classmethod
    def load(cls, path: str | Path) -> AwarenessScores:
        """Read what `save` wrote. FileNotFoundError; ValueError for another content."""
        content, tensors = read_tensors(path, KIND)
        return cls(values=tensors["values"], **content)


def score_awareness(
    model: nn.Module,
    tokenizer,
    corpus: Dataset | Mapping[str, Sequence[str]],
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
) -> AwarenessScores:
    """Phi(i) = |h_i · dL/dh_i|, the first-order estimate of |L(h_i = 0) - L(h_i)| (LANDeRMT eq.
    3–4), per language and neuron.

    h is the input of the down-projection (the activation's output, times the gate's partner if
    gated). L is the *summed* loss of the next tokens, so that a token's score does not depend on
    what else is in its batch. The absolute value is taken per token, then averaged over the
    sentence's tokens (padding excluded; the last token has no loss of its own), then over
    sentences.

    Args:
        corpus: a parallel corpus, or for text="mono" also {language: sentences} as `load_mono`
            gives.
        layers: LayerScores (its selected blocks) or block indices.
        text: "mono", a language's own sentences; "translation", teacher-forced prompts with the
            loss on the target only: a language's score is then the mean over the pairs that contain
                it.
        pairs: for text="translation"; default: en-x and x-en for all languages x.
        pre_activation: score what goes into the activation function instead (as the authors' code
            does).
        max_sentences: the first so many of each language or pair; None for all.
        too_long: what is longer than max_length tokens is "cut" and counted in a warning, or an
            error ("refuse").

    Needs one forward and one backward pass through activations; parameters get no gradient. Several
    processes (accelerate launch) share
    the sentences. Raises: ValueError for unknown settings, layers out of range, an empty sentence,
    a pair that the corpus cannot serve; KeyError for a language it lacks.
    """
    chosen, selected = chosen_views(model, layers)
    groups = examples_of(
        tokenizer, corpus, languages, text, pairs, max_sentences, max_length, template
    )
    check_examples(
        model, {name: examples for name, (_, examples) in groups.items()}, max_length, too_long
    )
    sums, counts = {language: 0.0 for language in languages}, dict.fromkeys(languages, 0)
    with tqdm(
        total=sum(len(examples) for _, examples in groups.values()),
        desc="neurons",
        unit="sentence",
        disable=not progress,
    ) as bar:
        for name, (members, examples) in groups.items():
            bar.set_postfix_str(name)
            mean = _mean_scores(
                model, tokenizer, chosen, examples, pre_activation, batch_size, bar
            )  # (layer, d_ff)
            for language in members:
                sums[language], counts[language] = sums[language] + mean, counts[language] + 1
    values = torch.stack([sums[language] / counts[language] for language in languages])
    settings = {
        "text": text,
        "pairs": list(groups) if text == "translation" else None,
        "pre_activation": pre_activation,
        "template": template,
        "max_length": max_length,
        "sentences": {name: len(examples) for name, (_, examples) in groups.items()},
    }
    return AwarenessScores(list(languages), selected, values, fingerprint(model), settings)


def chosen_views(
    model: nn.Module, layers: LayerScores | Sequence[int]
) -> tuple[list[FeedForward], list[int]]:
    found = feed_forwards(model)
    selected = list(layers.selected if isinstance(layers, LayerScores) else layers)
    selected = sorted({int(layer) for layer in selected})
    if not selected or selected[0] < 0 or selected[-1] >= len(found):
        raise ValueError(f"layers {selected}: choose at least one block in 0 … {len(found) - 1}.")
    return [found[layer] for layer in selected], selected


def examples_of(
    tokenizer, corpus, languages, text, pairs, max_sentences, max_length, template
) -> dict[str, tuple[list[str], list[dict]]]:
    """{language or pair: (the languages it counts for, its examples)}, tokenised and checked before
    any forward pass."""
    if isinstance(languages, str) or not languages or len(set(languages)) != len(languages):
        raise ValueError(
            f"languages = {languages!r}: give a list of different codes, such as ['en', 'de']."
        )
    if text == "mono":
        sentences = {
            x: corpus[x] if isinstance(corpus, Mapping) else texts(corpus, x) for x in languages
        }
        if empty := [x for x in languages if not sentences[x][:max_sentences]]:
            raise ValueError(
                f"no sentences of '{empty[0]}' to score: the corpus has none or max_sentences is 0."
            )
        return {
            x: (
                [x],
                [
                    plain_ids(tokenizer, sentence, x, n, max_length)
                    for n, sentence in enumerate(sentences[x][:max_sentences])
                ],
            )
            for x in languages
        }
    if text != "translation":
        raise ValueError(f"text = '{text}' is unknown: use 'mono' or 'translation'.")
    pairs = list(pairs or [pair for x in languages if x != "en" for pair in (f"en-{x}", f"{x}-en")])
    check_pairs(corpus, pairs, tokenizer)
    members = {pair: [x for x in parse_pair(pair) if x in languages] for pair in pairs}
    without = [x for x in languages if not any(x in names for names in members.values())]
    if without:
        raise ValueError(
            f"no pair contains '{without[0]}', so it has no score: add one to pairs "
            f"({', '.join(pairs)})."
        )
    rows = corpus["translation"][: len(corpus) if max_sentences is None else max_sentences]
    if not rows:
        raise ValueError("no sentences to score: the corpus is empty or max_sentences is 0.")
    options = {"template": template, "max_length": max_length}
    return {
        pair: (
            names,
            [
                encode(tokenizer, *(row[x] for x in parse_pair(pair)), pair, **options)
                for row in rows
            ],
        )
        for pair, names in members.items()
        if names
    }


def plain_ids(
    tokenizer, sentence: str, language: str, number: int, max_length: int
) -> dict[str, list[int]]:
    example = cut_ids(prompt_ids(tokenizer, sentence), max_length)
    if len(ids := example["input_ids"]) < 2:
        raise ValueError(
            f"'{language}', sentence {number}: {len(ids)} tokens in {sentence!r}, but a loss "
            f"needs two. Remove it."
        )
    return example | {"labels": ids}


def n_tokens(example: dict[str, list[int]]) -> int:
    return len(example["input_ids"])


@contextmanager
def frozen_evaluation(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, and no parameter asks for a gradient; both are put back afterwards."""
    asked, training = [p for p in model.parameters() if p.requires_grad], model.training
    model.eval()
    try:
        for parameter in asked:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in asked:
            parameter.requires_grad_(True)
        model.train(training)


def sentence_losses(model: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Summed cross-entropy of each sentence's next tokens, float32 [sentence]. Position t predicts
    label t + 1: one shift."""
    logits = model(
        input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False
    ).logits
    labels = batch["labels"][:, 1:].to(logits.device)
    return F.cross_entropy(
        logits[:, :-1].float().transpose(1, 2), labels, ignore_index=-100, reduction="none"
    ).sum(dim=1)


def _mean_scores(
    model,
    tokenizer,
    chosen: list[FeedForward],
    examples: list,
    pre_activation: bool,
    batch_size: int,
    bar,
) -> torch.Tensor:
    """Mean over sentences of the mean over tokens of |h · dL/dh|, float32 [layer, d_ff] on the
    CPU."""
    neurons: dict[
        str, torch.Tensor
    ] = {}  # by module name: the order of backward calls does not matter

    def starting_a_graph(name: str, h: torch.Tensor) -> torch.Tensor:
        # no parameter needs a gradient, so the graph starts at the lowest chosen layer; above it h
        # already has one
        neurons[name] = h if h.requires_grad else h.detach().requires_grad_(True)
        return neurons[name]

    def watch(feed_forward: FeedForward):
        if pre_activation:
            inner = feed_forward.gate if feed_forward.gate is not None else feed_forward.up
            return inner.register_forward_hook(
                lambda module, args, output: starting_a_graph(feed_forward.name, output)
            )
        return feed_forward.down.register_forward_pre_hook(
            lambda module, args: (starting_a_graph(feed_forward.name, args[0]), *args[1:])
        )

    def summed(rows: list[int]) -> torch.Tensor:
        """The sum over some sentences of the mean over their tokens, [layer, d_ff]."""
        neurons.clear()
        batch = collate(tokenizer, [mine[row] for row in rows], device=input_device(model))
        gradients = torch.autograd.grad(
            sentence_losses(model, batch).sum(),
            [neurons[feed_forward.name] for feed_forward in chosen],
        )
        weight, found = (
            batch["attention_mask"] / batch["attention_mask"].sum(dim=1, keepdim=True),
            [],
        )
        for feed_forward, gradient in zip(chosen, gradients, strict=True):
            effect = (neurons[feed_forward.name].detach().float() * gradient.float()).abs()
            effect = effect.view(
                *weight.shape, -1
            )  # (sentence, token, d_ff); OPT has them in one dimension
            found.append(torch.einsum("stn,st->n", effect, weight.to(effect.device)).cpu())
        bar.update(len(rows))
        return torch.stack(found)

    totals, mine = torch.zeros(len(chosen), chosen[0].d_ff), own_part(examples)
    with ExitStack() as stack, frozen_evaluation(model), torch.enable_grad():
        for feed_forward in chosen:
            stack.callback(watch(feed_forward).remove)
        for rows in batches(mine, batch_size, key=n_tokens):
            totals += in_halves(summed, rows)
        neurons.clear()
    return add_up(totals) / len(examples)


def exact_ablation(
    model: nn.Module,
    tokenizer,
    corpus: Dataset | Mapping[str, Sequence[str]],
    language: str,
    layer: int,
    neurons: Sequence[int] | torch.Tensor,
    *,
    signed: bool = False,
    max_sentences: int | None = 100,
    batch_size: int = 16,
    neurons_per_pass: int = 8,
    max_length: int = 256,
    progress: bool = False,
) -> torch.Tensor:
    """|L(h_i = 0) - L(h_i)| for chosen neurons (LANDeRMT eq. 3), by switching each off at all
    tokens of a sentence at once.

    Returns float32 [len(neurons)], in nats per token: a sentence's summed loss difference is
    divided by its number of tokens, then the absolute value (not if `signed`) is averaged over
    sentences. It is the unit of `score_awareness`, whose absolute value is
    per token: it bounds the first-order part of this one from above, because here opposite signs
        within a sentence cancel.

    One forward pass serves `neurons_per_pass` neurons: the batch is repeated and each copy has its
    own neuron at zero.
    Raises: ValueError for a layer or a neuron out of range; KeyError for a language that the corpus
        lacks.
    """
    ((feed_forward,), _) = chosen_views(model, [layer])
    neurons = torch.as_tensor(neurons).long().flatten()
    if len(neurons) == 0 or not 0 <= int(neurons.min()) <= int(neurons.max()) < feed_forward.d_ff:
        raise ValueError(
            f"neurons must be a non-empty list of indices in 0 … {feed_forward.d_ff - 1}."
        )
    ((_, examples),) = examples_of(
        tokenizer, corpus, [language], "mono", None, max_sentences, max_length, None
    ).values()
    totals = torch.zeros(len(neurons), dtype=torch.float64)
    off = neurons[:0]

    def switch_off(module, args):
        h = args[0].clone()  # (copy · sentence, token, d_ff), or the first two in one dimension
        for copy, neuron in enumerate(off.tolist()):
            h[copy * (len(h) // len(off)) : (copy + 1) * (len(h) // len(off)), ..., neuron] = 0
        return (h, *args[1:])

    with ExitStack() as stack, frozen_evaluation(model), torch.inference_mode():
        stack.callback(feed_forward.down.register_forward_pre_hook(switch_off).remove)
        for rows in tqdm(
            list(batches(examples, batch_size, key=n_tokens)), desc="ablation", disable=not progress
        ):
            batch = collate(tokenizer, [examples[row] for row in rows], device=input_device(model))
            lengths = batch["attention_mask"].sum(dim=1)
            off = neurons[:0]
            base = sentence_losses(model, batch)  # (sentence,)
            for start in range(0, len(neurons), neurons_per_pass):
                off = neurons[start : start + neurons_per_pass]
                copies = {name: values.repeat(len(off), 1) for name, values in batch.items()}
                change = (sentence_losses(model, copies).view(len(off), -1) - base) / lengths
                totals[start : start + len(off)] += (
                    (change if signed else change.abs()).sum(dim=1).double().cpu()
                )
    return (totals / len(examples)).float()
