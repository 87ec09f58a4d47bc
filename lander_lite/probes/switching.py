"""What does a set of neurons do? Scale it or switch it off, and measure what changes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from ..blocks import feed_forwards
from ..evaluation import LanguageId, perplexity, translate
from ..hooks import Site, hooked, sites
from ..neurons import NeuronSets
from ..prompts import encode_sentences
from .mechanics import sentence_means

MEASURES = {"loss": math.log, "perplexity": float}  # of a perplexity


@contextmanager
def scaled(model: nn.Module, sets: NeuronSets, which: str, factor: float) -> Iterator[nn.Module]:
    """Inside, the activations of the neurons of `which` (a language, or "general") are multiplied
    by `factor` at the input of `down`, in all layers of the sets.

    Every sentence is affected, whatever its language. Contexts may be nested: factors multiply.
    Raises: ValueError for a language without a set, a factor that is not finite, sets of another
        model, or a model that is wrapped by a LanderModel: merge_and_unload() or unload() it first.
    """
    if which != "general" and which not in sets.specific:
        raise ValueError(f"'{which}': there are sets for general, {', '.join(sets.languages)}.")
    if not math.isfinite(factor):
        raise ValueError(f"factor = {factor} is not a finite number.")
    sets.check_model(model)
    chosen = sets.general if which == "general" else sets.specific[which]
    views, weights = feed_forwards(model), {}
    for layer, indices in chosen.items():
        if len(indices):
            weights[layer] = torch.ones(views[layer].d_ff).index_fill_(0, indices, factor)
    inputs = {layer: Site(views[layer].down, True) for layer in weights}
    with hooked(inputs, lambda layer, h: h * weights[layer].to(h)):
        yield model


def switched_off(model: nn.Module, sets: NeuronSets, which: str):
    """`scaled` with the factor 0: inside, the neurons of `which` are silent."""
    return scaled(model, sets, which, 0.0)


def switching_matrix(
    model: nn.Module,
    tokenizer,
    sentences: Mapping[str, Sequence[str]],
    sets: NeuronSets,
    batch_size: int = 64,
    measure: str = "loss",
) -> torch.Tensor:
    """Loss with a set switched off minus loss as is, nats per token, float32 [language of the text,
    language of the set].

    Args:
        sentences: {language: sentences}, held out from scoring.
        measure: "loss", or "perplexity" for the change of exp(loss), as LAPE's authors report it.

    Raises: ValueError for another measure, and as `scaled`.
    """
    if measure not in MEASURES:
        raise ValueError(f"measure = '{measure}' is unknown: use loss or perplexity.")

    def measured() -> torch.Tensor:
        found = [perplexity(model, tokenizer, x, batch_size=batch_size) for x in sentences.values()]
        return torch.tensor([MEASURES[measure](value) for value in found])

    before, columns = measured(), []
    for language in sets.languages:
        with switched_off(model, sets, language):
            columns.append(measured() - before)
    return torch.stack(columns, dim=1)


def steer(
    model: nn.Module,
    tokenizer,
    beginnings: Sequence[str],
    sets: NeuronSets,
    source: str,
    target: str,
    identify: LanguageId,
    *,
    off: float = 0.0,
    up: float = 2.0,
    max_new_tokens: int = 16,
    batch_size: int = 64,
) -> dict[str, dict[str, float]]:
    """Greedy continuations of `beginnings` in `source`, with that language's neurons times `off`
    and those of `target` times `up` (of both languages: off · up). A small experiment.

    Returns: {"as it is" | "steered": {language: share of the continuations, …, "empty": share}}, by
        `identify`.
    Raises: ValueError as `scaled`, for a source that is the target, no beginnings, or languages
        that `identify` does not know.
    """
    known = identify.languages
    if missing := [language for language in (source, target) if language not in known]:
        raise ValueError(f"identify knows {', '.join(known)}, not '{missing[0]}'.")
    if not beginnings:
        raise ValueError("no beginnings to continue.")
    options = {"template": "{source}", "max_new_tokens": max_new_tokens, "batch_size": batch_size}

    def shares() -> dict[str, float]:
        outputs = translate(model, tokenizer, beginnings, f"{source}-{target}", **options)
        counts = Counter(identify(output) if output else "empty" for output in outputs)
        return {name: counts[name] / len(outputs) for name in (*known, "empty")}

    with scaled(model, sets, source, off), scaled(model, sets, target, up):
        steered = shares()
    return {"as it is": shares(), "steered": steered}


def sentence_activations(
    model: nn.Module, tokenizer, sentences: Sequence[str], layer: int, batch_size: int = 64
) -> torch.Tensor:
    """The mean over a sentence's tokens of the neurons' activations (the input of `down`), float32
    [sentence, d_ff]. Raises: ValueError for a sentence without tokens or a layer out of range."""
    examples = encode_sentences(tokenizer, sentences, None)
    site = sites(model, "neurons", [layer])
    return sentence_means(model, tokenizer, examples, site, batch_size)[0]
