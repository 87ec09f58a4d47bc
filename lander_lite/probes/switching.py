"""What does a set of neurons do? Scale it or switch it off, and measure every language's loss or
the language that the model writes; read its activations for whole sentences."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import nn

from ..blocks import FeedForward, feed_forwards, input_device
from ..corpus import batches, collate, prompt_ids
from ..evaluation import LanguageId, perplexity, translate
from ..hooks import evaluation_mode
from ..neurons import NeuronSets


@contextmanager
def scaled(model: nn.Module, sets: NeuronSets, which: str, factor: float) -> Iterator[nn.Module]:
    """Inside, the activations of the neurons of `which` (a language, or "general") are multiplied
    by `factor` at the input of `down`, in all layers of the sets.

    Every sentence is affected, whatever its language. No weight changes. Contexts may be nested:
    factors multiply.
    Raises: ValueError for a language without a set, a factor that is not finite, sets that belong
    to another model, or a model that is wrapped by a LanderModel, where neurons are reordered:
    merge_and_unload() or unload() it first.
    """
    if which != "general" and which not in sets.specific:
        raise ValueError(f"'{which}': there are sets for general, {', '.join(sets.languages)}.")
    if not math.isfinite(factor):
        raise ValueError(f"factor = {factor} is not a finite number.")
    sets.check_model(model)
    chosen = sets.general if which == "general" else sets.specific[which]
    found = feed_forwards(model)

    def multiply(weight: torch.Tensor):
        def hook(module, args):
            return (args[0] * weight.to(args[0]), *args[1:])  # (batch, token, d_ff)

        return hook

    with ExitStack() as stack:
        for layer, indices in chosen.items():
            if len(indices):
                weight = torch.ones(found[layer].d_ff).index_fill_(0, indices, factor)
                stack.callback(found[layer].down.register_forward_pre_hook(multiply(weight)).remove)
        yield model


def switched_off(model: nn.Module, sets: NeuronSets, which: str):
    """`scaled` with the factor 0: inside, the neurons of `which` (a language, or "general") are
    silent."""
    return scaled(model, sets, which, 0.0)


def switching_matrix(
    model: nn.Module,
    tokenizer,
    sentences: Mapping[str, Sequence[str]],
    sets: NeuronSets,
    batch_size: int = 64,
    measure: str = "loss",
) -> torch.Tensor:
    """Loss with a set switched off minus loss as is, float32 [language of the text, language of the
    set], nats per token.

    sentences: {language: sentences}, held out from scoring. Rows follow `sentences`, columns
    `sets.languages`. measure: "loss", or "perplexity" for the change of exp(loss), as LAPE's
    authors report it. Raises: ValueError for another measure, and as `scaled`.
    """
    if measure not in ("loss", "perplexity"):
        raise ValueError(f"measure = '{measure}' is unknown: use loss or perplexity.")
    of = math.log if measure == "loss" else float

    def measured() -> torch.Tensor:
        return torch.tensor(
            [
                of(perplexity(model, tokenizer, texts, batch_size=batch_size))
                for texts in sentences.values()
            ]
        )

    base, columns = measured(), []
    for language in sets.languages:
        with switched_off(model, sets, language):
            columns.append(measured() - base)
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
    and those of `target` times `up`.

    Returns {"as it is" | "steered": {language: share of the continuations, …, "empty": share}}, 0 …
    1. `identify` names the language of a continuation; it must know both. A small experiment:
    neurons of both languages are multiplied by off · up.
    Raises: ValueError as `scaled`, for a source that is the target, no beginnings, or languages
        that `identify` does not know.
    """
    known = list(identify.log_probability)
    if missing := [language for language in (source, target) if language not in known]:
        raise ValueError(f"identify knows {', '.join(known)}, not '{missing[0]}'.")
    if not beginnings:
        raise ValueError("no beginnings to continue.")

    def shares() -> dict[str, float]:
        outputs = translate(
            model,
            tokenizer,
            beginnings,
            f"{source}-{target}",
            template="{source}",
            max_new_tokens=max_new_tokens,
            batch_size=batch_size,
        )
        counts = Counter(identify(output) if output else "empty" for output in outputs)
        return {name: counts[name] / len(outputs) for name in (*known, "empty")}

    with scaled(model, sets, source, off), scaled(model, sets, target, up):
        steered = shares()
    return {"as it is": shares(), "steered": steered}


def sentence_activations(
    model: nn.Module, tokenizer, sentences: Sequence[str], layer: int, batch_size: int = 64
) -> torch.Tensor:
    """The mean over a sentence's tokens of the neurons' activations (the input of `down`), float32
    [sentence, d_ff]; padding excluded."""
    feed_forward: FeedForward = feed_forwards(model)[layer]
    examples = [{"input_ids": prompt_ids(tokenizer, sentence)} for sentence in sentences]
    if empty := [number for number, example in enumerate(examples) if not example["input_ids"]]:
        raise ValueError(f"sentence {empty[0]} has no tokens.")
    seen: list[torch.Tensor] = []
    means = torch.zeros(len(examples), feed_forward.d_ff)
    hook = feed_forward.down.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    try:
        with evaluation_mode(model):
            for rows in batches(
                examples, batch_size, key=lambda example: len(example["input_ids"])
            ):
                batch = collate(
                    tokenizer, [examples[row] for row in rows], device=input_device(model)
                )
                model(**batch, use_cache=False)
                h = seen.pop().float()
                mask = batch["attention_mask"].to(h.device).unsqueeze(-1)
                h = h.view(*mask.shape[:2], -1)  # (sentence, token, d_ff)
                means[rows] = ((h * mask).sum(dim=1) / mask.sum(dim=1)).cpu()
    finally:
        hook.remove()
    return means
