"""What did tuning change inside? How far weights moved, and how alike translations look."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..blocks import FeedForward, feed_forwards
from ..hooks import Site, observe, read, sites, token_weights
from ..neurons import NeuronSets
from ..prompts import check_examples, encode_sentences


def weight_change(
    before: nn.Module, after: nn.Module, sets: NeuronSets, language: str | None = None
) -> dict[str, dict]:
    """‖W_S after - W_S before‖ / ‖W_S before‖ (Frobenius), S some neurons' rows of gate and up, or
    columns of down: {"gate" (if there is one) | "up" | "down": {layer: ratio}}.

    Args:
        before, after: plain models; merge_and_unload() a LanderModel, and keep a copy from before.
        language: S is its neurons, or "general"; None: all sets. Layers without such a neuron are
            left out.

    Raises: ValueError for a language without a set, wrapped models, models of two sizes, or sets of
        another model.
    """
    groups = {**sets.specific, "general": sets.general}
    if language not in (None, *groups):
        raise ValueError(f"'{language}': there are sets for general, {', '.join(sets.languages)}.")
    sets.check_model(before)
    views = feed_forwards(before), feed_forwards(after)
    first, second = ([(ff.d_ff, ff.d_model, *ff.inner) for ff in found] for found in views)
    if first != second:
        raise ValueError("the two models have feed-forward networks of other sizes.")
    chosen = [language] if language else groups
    changes = {}
    for layer in sets.layers:
        indices = [groups[name][layer] for name in chosen]
        neurons = torch.cat(indices).unique()
        if not len(neurons):
            continue
        old, new = (_weights(found[layer], neurons) for found in views)
        for name, weights in old.items():
            ratio = torch.dist(new[name], weights) / weights.norm()
            by_layer = changes.setdefault(name, {})
            by_layer[layer] = ratio.item()
    return changes


def _weights(view: FeedForward, neurons: Tensor) -> dict:
    """{"gate", "up", "down": the neurons' weights, float64 [neuron, d_model]}."""
    found = {}
    for name in ("gate", "up", "down"):
        layer = getattr(view, name)
        if layer is None:
            continue
        weight = layer.weight.detach()
        weight = weight.T if name == "down" else weight
        rows = weight[neurons.to(weight.device)]
        found[name] = rows.double().cpu()
    return found


# ---------------------------------------------------------------- representations
def sentence_means(model, tokenizer, examples, chosen: dict[int, Site], batch_size: int) -> Tensor:
    """Means over a sentence's tokens of the values at sites, float32 [layer, sentence, units]."""

    def means(batch):  # (sentence, layer, units)
        weights = token_weights(batch)

        def mean(layer, value):
            shares = weights.to(value.device)
            return torch.einsum("st,stu->su", shares, value.float()).cpu()

        found, _ = observe(model, chosen, batch, mean)
        return torch.stack(list(found.values()), dim=1)

    states = {}
    for rows, found in read(model, tokenizer, examples, means, batch_size=batch_size):
        states.update(zip(rows, found))
    in_order = [states[row] for row in sorted(states)]
    return torch.stack(in_order, dim=1)


def sentence_states(
    model: nn.Module,
    tokenizer,
    sentences: Sequence[str],
    batch_size: int = 32,
    max_length: int = 256,
) -> Tensor:
    """The mean over a sentence's tokens of the residual stream after each block, float32 [layer,
    sentence, d_model]; a LanderModel is read with the pair that is set. What is longer than
    max_length tokens is cut, with a warning. Raises: ValueError for a sentence without tokens."""
    examples = encode_sentences(tokenizer, sentences, max_length)
    check_examples(model, {"the sentences": examples}, max_length)
    blocks = sites(model, "residual")
    return sentence_means(model, tokenizer, examples, blocks, batch_size)


def alignment(
    model: nn.Module, tokenizer, first: Sequence[str], second: Sequence[str], batch_size: int = 32
) -> dict[str, list[float]]:
    """How alike translations first[i], second[i] are, layer by layer.

    Returns: lists over blocks: "parallel", the mean cosine of the `sentence_states` of
        translations; "random", of all other pairs first[i], second[j], which is what shuffled pairs
        tend to, without a seed; "difference", parallel - random; "cka", see `cka`.
    Raises: ValueError for lists of unequal length or of fewer than four sentences.
    """
    n = len(first)
    if n != len(second) or n < 4:
        compared = "at least 4 sentences with as many translations"
        raise ValueError(f"alignment compares {compared}, not {n} with {len(second)}.")
    x = sentence_states(model, tokenizer, first, batch_size).double()
    y = sentence_states(model, tokenizer, second, batch_size).double()
    cosine = F.normalize(x, dim=2) @ F.normalize(y, dim=2).mT  # (layer, sentence, sentence)
    parallel = cosine.diagonal(dim1=1, dim2=2).mean(dim=1)
    others = cosine.sum(dim=(1, 2)) - n * parallel
    random = others / (n * (n - 1))
    return {
        "parallel": parallel.tolist(),
        "random": random.tolist(),
        "difference": (parallel - random).tolist(),
        "cka": list(map(cka, x, y)),
    }


def cka(x: Tensor, y: Tensor) -> float:
    """Linear CKA (Kornblith et al. 2019) of two representations of the same n >= 4 examples, [n, d]
    and [n, e]: 1 if they are the same up to rotation, shift and scale.

    With the unbiased estimate of HSIC (Song et al. 2012): 0 on average for independent ones, though
    n be much smaller than d, where the plain formula comes near 1; so it may be a little below 0.
    NaN if all examples are equal. Raises: ValueError for other shapes.
    """
    if not x.ndim == y.ndim == 2 or not len(x) == len(y) >= 4:
        raise ValueError(
            f"cka compares [n, d] with [n, e] for n >= 4, not {list(x.shape)} with {list(y.shape)}."
        )
    first, second = _gram(x), _gram(y)
    squared = _hsic(first, first) * _hsic(second, second)
    scale = squared.clamp_min(0).sqrt()
    return (_hsic(first, second) / scale).item()


def _gram(x: Tensor) -> Tensor:
    """Inner products of centred examples, float64 [n, n], with zeros on the diagonal."""
    x = x.double()
    x = x - x.mean(0)
    return (x @ x.T).fill_diagonal_(0)


def _hsic(k: Tensor, m: Tensor) -> Tensor:
    """The unbiased estimate from two Gram matrices [n, n] without their diagonals."""
    n = len(k)
    entries = (k * m).sum()
    rows = k.sum(0) @ m.sum(0)
    totals = k.sum() * m.sum() / (n - 1)
    corrected = entries + (totals - 2 * rows) / (n - 2)
    return corrected / (n * (n - 3))
