"""What did tuning change inside? How far the tuned weights moved, and how alike translations look,
layer by layer.

    change     ‖W_S after - W_S before‖ / ‖W_S before‖ (Frobenius), S the tuned rows of gate and up,
               or columns of down
    alignment  mean cosine of parallel sentences - mean cosine of sentences that are no translations
    of each other; linear CKA
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

import torch
from torch import nn

from ..blocks import decoder_blocks, feed_forwards, input_device, unwrap
from ..corpus import batches, check_examples, collate, cut_ids, prompt_ids
from ..hooks import evaluation_mode
from ..neurons import NeuronSets


def weight_change(
    before: nn.Module, after: nn.Module, sets: NeuronSets, language: str | None = None
) -> dict[str, dict[int, float]]:
    """‖ΔW_S‖_F / ‖W_S‖_F by projection and layer: {"gate" (if there is one) | "up" | "down":
    {layer: ratio >= 0}}.

    before, after: two plain models of one shape; merge_and_unload() a LanderModel first, and keep a
    copy from before. S: the neurons of `language` in the sets ("general" for the general ones), or
        of all sets. Layers without such a neuron are left out. Biases do not count.
    Raises ValueError for a language without a set, wrapped models, models of other sizes, or sets
    of another model.
    """
    if language not in (None, "general", *sets.languages):
        raise ValueError(f"'{language}': there are sets for general, {', '.join(sets.languages)}.")
    sets.check_model(before)
    pairs = list(zip(feed_forwards(before), feed_forwards(after)))
    if any(
        one.down.weight.shape != two.down.weight.shape or (one.gate is None) != (two.gate is None)
        for one, two in pairs
    ):
        raise ValueError("the two models have feed-forward networks of other sizes.")
    chosen = (
        list(sets.specific.values()) + [sets.general]
        if language is None
        else [{**sets.specific, "general": sets.general}[language]]
    )
    changes: dict[str, dict[int, float]] = {}
    for layer in sets.layers:
        neurons = torch.cat([found[layer] for found in chosen]).unique()
        for name in ("gate", "up", "down"):
            old, new = (getattr(view, name) for view in pairs[layer])
            if old is not None and len(neurons):
                old, new = (_rows(linear, neurons, name == "down") for linear in (old, new))
                changes.setdefault(name, {})[layer] = ((new - old).norm() / old.norm()).item()
    return changes


def _rows(linear: nn.Module, neurons: torch.Tensor, columns: bool) -> torch.Tensor:
    """The neurons' weights, float64 [neuron, d_model]."""
    weight = linear.weight.detach().T if columns else linear.weight.detach()
    return weight[neurons.to(weight.device)].double().cpu()


# ---------------------------------------------------------------- representations
def sentence_states(
    model: nn.Module,
    tokenizer,
    sentences: Sequence[str],
    batch_size: int = 32,
    max_length: int = 256,
) -> torch.Tensor:
    """The mean over a sentence's tokens of the residual stream after each block, float32 [layer,
    sentence, d_model]; padding excluded.

    A LanderModel is read with the pair that is set. Raises ValueError for a sentence without
    tokens."""
    examples = [cut_ids(prompt_ids(tokenizer, sentence), max_length) for sentence in sentences]
    if empty := [number for number, example in enumerate(examples) if not example["input_ids"]]:
        raise ValueError(f"sentence {empty[0]} has no tokens.")
    check_examples(model, {"the sentences": examples}, max_length)
    layers, seen = decoder_blocks(model), {}
    states: list[torch.Tensor] = [torch.empty(0)] * len(examples)

    def keep(index: int):
        return lambda module, args, output: seen.update(
            {index: output[0] if isinstance(output, tuple) else output}
        )

    with ExitStack() as stack, evaluation_mode(model):
        for index, block in enumerate(layers):
            stack.callback(block.register_forward_hook(keep(index)).remove)
        for rows in batches(examples, batch_size, key=lambda example: len(example["input_ids"])):
            batch = collate(tokenizer, [examples[row] for row in rows], device=input_device(model))
            unwrap(model).base_model(**batch, use_cache=False)
            mask = batch["attention_mask"].float()
            weight = (mask / mask.sum(dim=1, keepdim=True)).cpu()  # (sentence, token)
            means = torch.stack(
                [
                    torch.einsum("st,std->sd", weight, seen[i].float().cpu())
                    for i in range(len(layers))
                ],
                dim=1,
            )
            for row, mean in zip(rows, means):
                states[row] = mean
    return torch.stack(states, dim=1)


def alignment(
    model: nn.Module, tokenizer, first: Sequence[str], second: Sequence[str], batch_size: int = 32
) -> dict[str, list[float]]:
    """How alike translations are, layer by layer: {"parallel", "random", "difference", "cka"}, each
    a list over blocks.

    first, second: sentences, second[i] the translation of first[i], at least four. "parallel": mean
    cosine of the `sentence_states` of translations; "random": of all other pairs first[i],
    second[j], which is what shuffled pairs tend to, without a seed. "difference":
    parallel - random. "cka": see `cka`. Raises ValueError for lists of unequal length or of fewer
    than four sentences."""
    if len(first) != len(second) or len(first) < 4:
        raise ValueError(
            f"alignment compares at least 4 sentences with as many translations, not {len(first)} "
            f"with {len(second)}."
        )
    x, y = (
        sentence_states(model, tokenizer, sentences, batch_size).double()
        for sentences in (first, second)
    )
    cosine = (
        nn.functional.normalize(x, dim=-1) @ nn.functional.normalize(y, dim=-1).mT
    )  # (layer, sentence, sentence)
    n = len(first)
    parallel = cosine.diagonal(dim1=1, dim2=2).mean(dim=1)
    random = (cosine.sum(dim=(1, 2)) - n * parallel) / (n * (n - 1))
    return {
        "parallel": parallel.tolist(),
        "random": random.tolist(),
        "difference": (parallel - random).tolist(),
        "cka": [cka(a, b) for a, b in zip(x, y)],
    }


def cka(x: torch.Tensor, y: torch.Tensor) -> float:
    """Linear CKA (Kornblith et al. 2019) of two representations of the same n >= 4 examples, [n, d]
    and [n, e]: 1 if they are the same up to rotation, shift and scale.

    With the unbiased estimate of HSIC (Song et al. 2012): 0 on average for independent ones, though
    n be much smaller than d, where the plain formula comes near 1; so it may be a little below 0.
    NaN if all examples are equal. ValueError for other shapes."""
    if x.dim() != 2 or y.dim() != 2 or len(x) != len(y) or len(x) < 4:
        raise ValueError(
            f"cka compares [n, d] with [n, e] for n >= 4, not {list(x.shape)} with {list(y.shape)}."
        )
    first, second = ((z - z.mean(dim=0)) @ (z - z.mean(dim=0)).T for z in (x.double(), y.double()))
    return (
        _hsic(first, second) / (_hsic(first, first) * _hsic(second, second)).clamp_min(0).sqrt()
    ).item()


def _hsic(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """The unbiased estimate from two Gram matrices [n, n], whose diagonals are left out."""
    n = len(first)
    k, m = (gram - gram.diagonal().diag() for gram in (first, second))
    rest = k.sum() * m.sum() / ((n - 1) * (n - 2)) - 2 * (k.sum(dim=0) @ m.sum(dim=0)) / (n - 2)
    return ((k * m).sum() + rest) / (n * (n - 3))
