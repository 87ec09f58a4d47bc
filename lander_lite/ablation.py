"""Exact ablation, a language's loss with neurons switched off (LANDeRMT eq. 3): the check of the
Taylor expansion in awareness.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from datasets import Dataset
from torch import Tensor, nn
from tqdm.auto import tqdm

from .awareness import sentences_of
from .blocks import feed_forwards
from .hooks import observe, read, sentence_losses, sites


def exact_ablation(
    model: nn.Module,
    tokenizer,
    corpus: Dataset | Mapping,
    language: str,
    layer: int,
    neurons: Sequence[int] | Tensor,
    *,
    signed: bool = False,
    max_sentences: int | None = 100,
    batch_size: int = 16,
    neurons_per_pass: int = 8,
    max_length: int = 256,
    progress: bool = False,
) -> Tensor:
    """|L(h_i = 0) - L(h_i)| for chosen neurons (LANDeRMT eq. 3), each switched off at all tokens of
    a sentence at once. In the unit of `score_awareness`, which bounds its first-order part from
    above: there the absolute value is per token, here opposite signs within a sentence cancel.

    Args:
        signed: do not take the absolute value of a sentence's change.
        neurons_per_pass: so many copies of a batch make one pass, each without one neuron.

    Returns: float32 [neuron], nats: the change of a sentence's summed loss per token, absolute,
        averaged over sentences.
    Raises: ValueError for a layer or neuron out of range; KeyError for a language without text.
    """
    site = sites(model, "neurons", [layer])
    d_ff = feed_forwards(model)[layer].d_ff
    neurons = torch.as_tensor(neurons).long().flatten().cpu()
    known = torch.isin(neurons, torch.arange(d_ff))
    if not len(neurons) or not known.all():
        raise ValueError(f"neurons must be a non-empty list of indices in 0 … {d_ff - 1}.")
    examples = sentences_of(tokenizer, corpus, language, max_sentences, max_length)

    def changes(batch):
        before, found = sentence_losses(model, batch), []
        for off in neurons.split(neurons_per_pass):
            found.append(_losses_without(model, site, batch, off) - before)
        change = torch.cat(found) / batch["attention_mask"].sum(dim=1)
        return (change if signed else change.abs()).sum(dim=1).double().cpu()

    with tqdm(total=len(examples), desc="ablation", unit="sentence", disable=not progress) as bar:
        results = read(model, tokenizer, examples, changes, batch_size=batch_size, bar=bar)
        total = sum(result for _, result in results)
    return (total / len(examples)).float()


def _losses_without(model, site, batch: dict, off: Tensor) -> Tensor:
    """The sentences' losses without each neuron of `off`, float32 [neuron, sentence]."""
    copies = {name: values.repeat(len(off), 1) for name, values in batch.items()}

    def switch_off(layer, h):  # (copy · sentence, token, d_ff)
        h = h.clone()
        for part, neuron in zip(h.chunk(len(off)), off.tolist()):
            part[..., neuron] = 0
        return h

    _, losses = observe(model, site, copies, switch_off, sentence_losses, replace=True)
    return losses.view(len(off), -1)
