"""What does a set of neurons do? Switch it off and measure every language's loss; read its activations for whole sentences."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import nn

from .corpus import batches, collate, prompt_ids
from .evaluate import evaluating, perplexity
from .model import FeedForward, feed_forwards, input_device
from .neuronsets import NeuronSets


@contextmanager
def switched_off(model: nn.Module, sets: NeuronSets, which: str) -> Iterator[nn.Module]:
    """Inside, the neurons of `which` (a language, or "general") are zero at the input of `down`, in all layers of the sets.

    Every sentence is affected, whatever its language. No weight changes. Raises: ValueError for a language without a set, or for sets
    that belong to another model.
    """
    if which != "general" and which not in sets.specific:
        raise ValueError(f"'{which}': there are sets for general, {', '.join(sets.languages)}.")
    sets.check_model(model)
    chosen = sets.general if which == "general" else sets.specific[which]
    found = feed_forwards(model)

    def zero(indices: torch.Tensor):
        def hook(module, args):
            h = args[0].clone()  # (batch, token, d_ff)
            h[..., indices.to(h.device)] = 0
            return (h, *args[1:])
        return hook

    with ExitStack() as stack:
        for layer, indices in chosen.items():
            stack.callback(found[layer].down.register_forward_pre_hook(zero(indices)).remove)
        yield model


def switching_matrix(
    model: nn.Module, tokenizer, sentences: Mapping[str, Sequence[str]], sets: NeuronSets, batch_size: int = 64
) -> torch.Tensor:
    """Loss with a set switched off minus loss as is, float32 [language of the text, language of the set], nats per token.

    sentences: {language: sentences}, held out from scoring. Rows follow `sentences`, columns `sets.languages`.
    """
    def losses() -> torch.Tensor:
        return torch.tensor([math.log(perplexity(model, tokenizer, texts, batch_size=batch_size)) for texts in sentences.values()])

    base, columns = losses(), []
    for language in sets.languages:
        with switched_off(model, sets, language):
            columns.append(losses() - base)
    return torch.stack(columns, dim=1)


def sentence_activations(model: nn.Module, tokenizer, sentences: Sequence[str], layer: int, batch_size: int = 64) -> torch.Tensor:
    """The mean over a sentence's tokens of the neurons' activations (the input of `down`), float32 [sentence, d_ff]; padding excluded."""
    feed_forward: FeedForward = feed_forwards(model)[layer]
    examples = [{"input_ids": prompt_ids(tokenizer, sentence)} for sentence in sentences]
    if empty := [number for number, example in enumerate(examples) if not example["input_ids"]]:
        raise ValueError(f"sentence {empty[0]} has no tokens.")
    seen: list[torch.Tensor] = []
    means = torch.zeros(len(examples), feed_forward.d_ff)
    hook = feed_forward.down.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    try:
        with evaluating(model):
            for rows in batches(examples, batch_size, key=lambda example: len(example["input_ids"])):
                batch = collate(tokenizer, [examples[row] for row in rows], device=input_device(model))
                model(**batch, use_cache=False)
                h = seen.pop().float()  # (sentence, token, d_ff)
                mask = batch["attention_mask"].to(h.device).unsqueeze(-1)
                means[rows] = ((h * mask).sum(dim=1) / mask.sum(dim=1)).cpu()
    finally:
        hook.remove()
    return means
