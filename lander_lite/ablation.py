"""The exact change of the loss when a neuron is switched off (LANDeRMT eq. 3): slow, and the check of awareness.py's estimate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack

import torch
from datasets import Dataset
from torch import nn
from tqdm.auto import tqdm

from .awareness import chosen_views, examples_of, frozen_evaluation, n_tokens, sentence_losses
from .corpus import batches, collate
from .structure import input_device


def exact_ablation(
    model: nn.Module, tokenizer, corpus: Dataset | Mapping[str, Sequence[str]], language: str, layer: int,
    neurons: Sequence[int] | torch.Tensor, *, signed: bool = False, max_sentences: int | None = 100, batch_size: int = 16,
    neurons_per_pass: int = 8, max_length: int = 256, progress: bool = False,
) -> torch.Tensor:
    """|L(h_i = 0) - L(h_i)| for chosen neurons (LANDeRMT eq. 3), by switching each off at all tokens of a sentence at once.

    Returns float32 [len(neurons)], in nats per token: a sentence's summed loss difference is divided by its number of tokens, then
    the absolute value (not if `signed`) is averaged over sentences. It is the unit of `score_awareness`, whose absolute value is
    per token: it bounds the first-order part of this one from above, because here opposite signs within a sentence cancel.

    One forward pass serves `neurons_per_pass` neurons: the batch is repeated and each copy has its own neuron at zero.
    Raises: ValueError for a layer or a neuron out of range; KeyError for a language that the corpus lacks.
    """
    ((feed_forward,), _) = chosen_views(model, [layer])
    neurons = torch.as_tensor(neurons).long().flatten()
    if len(neurons) == 0 or not 0 <= int(neurons.min()) <= int(neurons.max()) < feed_forward.d_ff:
        raise ValueError(f"neurons must be a non-empty list of indices in 0 … {feed_forward.d_ff - 1}.")
    ((_, examples),) = examples_of(tokenizer, corpus, [language], "mono", None, max_sentences, max_length, None).values()
    totals = torch.zeros(len(neurons), dtype=torch.float64)
    off = neurons[:0]

    def switch_off(module, args):
        h = args[0].clone()  # (copy · sentence, token, d_ff), or the first two in one dimension
        for copy, neuron in enumerate(off.tolist()):
            h[copy * (len(h) // len(off)) : (copy + 1) * (len(h) // len(off)), ..., neuron] = 0
        return (h, *args[1:])

    with ExitStack() as stack, frozen_evaluation(model), torch.inference_mode():
        stack.callback(feed_forward.down.register_forward_pre_hook(switch_off).remove)
        for rows in tqdm(list(batches(examples, batch_size, key=n_tokens)), desc="ablation", disable=not progress):
            batch = collate(tokenizer, [examples[row] for row in rows], device=input_device(model))
            lengths = batch["attention_mask"].sum(dim=1)
            off = neurons[:0]
            base = sentence_losses(model, batch)  # (sentence,)
            for start in range(0, len(neurons), neurons_per_pass):
                off = neurons[start : start + neurons_per_pass]
                copies = {name: values.repeat(len(off), 1) for name, values in batch.items()}
                change = (sentence_losses(model, copies).view(len(off), -1) - base) / lengths
                totals[start : start + len(off)] += (change if signed else change.abs()).sum(dim=1).double().cpu()
    return (totals / len(examples)).float()
