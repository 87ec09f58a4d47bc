"""Which layers matter for translation? Relevance from the change of the mean activation, block by
block (LANDeRMT eq. 1–2)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import nn
from tqdm.auto import tqdm

from .blocks import decoder_blocks
from .hooks import observe, read_mean, sites, token_weights
from .io import write_text
from .prompts import check_examples, check_pairs, encode, pair_rows

MEASURES = {"signed": "delta", "absolute": "absolute", "cosine": "cosine"}
TENSORS = ("activation", *MEASURES.values())
KIND = "lander_lite.LayerScores/1"


@dataclass(eq=False)
class LayerScores:
    """The result of `detect_layers`. Column i of `delta`, `absolute` and `cosine` marks block i +
    1, which caused the change.

    Attributes:
        pairs: translation directions, the rows of all tensors.
        activation: [pair, layer], the mean of the residual stream after each block, A in eq. 1.
        delta: [pair, layer - 1], |A_i - A_(i+1)|, D in eq. 1.
        absolute: [pair, layer - 1], the mean of |difference of the residual streams|: a control in
            which signs cannot cancel.
        cosine: [pair, layer - 1], 1 - the mean cosine between a token's residual streams: a control
            without scale.
        selected: the k chosen blocks, sorted; method: the measure that chose them.
        settings: how the scores were made.
    """

    pairs: list[str]
    activation: torch.Tensor
    delta: torch.Tensor
    absolute: torch.Tensor
    cosine: torch.Tensor
    selected: list[int] = field(default_factory=list)
    method: str = "signed"
    settings: dict[str, Any] = field(default_factory=dict)

    def top(self, k: int, by: str | None = None) -> list[int]:
        """The k blocks with the largest measure, pooled (mean) over pairs, sorted; the lower index
        wins ties. Eq. 2.

        Args:
            by: "delta", "absolute" or "cosine"; default: the measure of `method`.

        Raises: ValueError for k outside 1 … n_layers - 1 or an unknown measure.
        """
        return _largest(self._measure(by).mean(dim=0), k)

    def per_pair(self, k: int, by: str | None = None) -> dict[str, list[int]]:
        """{pair: its own top k blocks}; arguments and errors as in `top`."""
        return {pair: _largest(row, k) for pair, row in zip(self.pairs, self._measure(by))}

    def _measure(self, by: str | None) -> torch.Tensor:
        by = MEASURES[self.method] if by is None else by
        if by not in MEASURES.values():
            raise ValueError(f"by = '{by}' is unknown: use {', '.join(MEASURES.values())}.")
        return getattr(self, by).double()

    def save(self, path: str | Path) -> None:
        """Write JSON, atomically."""
        tensors = {name: getattr(self, name).tolist() for name in TENSORS}
        write_text(path, json.dumps({"kind": KIND, **vars(self), **tensors}, indent=1))

    @classmethod
    def load(cls, path: str | Path) -> LayerScores:
        """Read what `save` wrote. FileNotFoundError; ValueError for another content."""
        from .stored import read_layers

        return read_layers(cls, path, KIND, TENSORS)


def _largest(values: torch.Tensor, k: int) -> list[int]:
    check_k(k, len(values) + 1)
    order = values.argsort(descending=True, stable=True)
    return sorted((order[:k] + 1).tolist())


def check_k(k: int, n_layers: int) -> None:
    """Raise ValueError unless 1 <= k <= n_layers - 1: no block's output precedes block 0."""
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= n_layers - 1:
        allowed = f"a model of {n_layers} blocks can select 1 … {n_layers - 1} of them"
        raise ValueError(f"k = {k} is out of range: {allowed}.")


def detect_layers(
    model: nn.Module,
    tokenizer,
    corpus: Dataset,
    pairs: Sequence[str],
    k: int = 4,
    *,
    max_sentences: int | None = 500,
    batch_size: int = 16,
    max_length: int = 256,
    template: str | None = None,
    method: str = "signed",
    progress: bool = True,
    too_long: str = "cut",
) -> LayerScores:
    """Score every block but the first and select k, pooled over the pairs (LANDeRMT eq. 1–2).

    D_i = |mean_n A_(i,n) - mean_n A_(i+1,n)|, where A_(i,n) is the mean of the residual stream
    after block i over all tokens and units of prompt n. A prompt is teacher-forced: the template
    with the source, then the reference, without EOS. Padding does not count. Several processes
    (accelerate launch) share the prompts.

    Args:
        max_sentences: the first so many rows are used for every pair; None for all.
        too_long: prompts of more than max_length tokens are "cut" and counted in a warning, or an
            error ("refuse").

    Raises: ValueError for k out of range, an unknown method, a pair that the corpus cannot serve;
        all before the first pass.
    """
    check_k(k, len(decoder_blocks(model)))
    if method not in MEASURES:
        raise ValueError(f"method = '{method}' is unknown: use {', '.join(MEASURES)}.")
    check_pairs(corpus, pairs, tokenizer)
    options = {"template": template, "max_length": max_length}
    prompts = {}
    for pair in pairs:
        rows = pair_rows(corpus, pair, max_sentences)
        prompts[pair] = [_teacher_forced(tokenizer, *row, pair, **options) for row in rows]
    check_examples(model, prompts, max_length, too_long)
    counts, means = {pair: len(found) for pair, found in prompts.items()}, []
    total = sum(counts.values())
    with tqdm(total=total, desc="layers", unit="prompt", disable=not progress) as bar:
        for pair in pairs:
            bar.set_postfix_str(pair)
            means.append(_mean_changes(model, tokenizer, prompts[pair], batch_size, bar))
    activation, absolute, cosine = torch.stack(means, dim=1)
    delta = activation.diff(dim=1).abs()
    measures = (x.float() for x in (activation, delta, absolute[:, 1:], cosine[:, 1:]))
    settings = {"max_sentences": max_sentences, "n_sentences": counts, **options}
    scores = LayerScores(list(pairs), *measures, method=method, settings=settings)
    scores.selected = scores.top(k)
    return scores


def _teacher_forced(tokenizer, source: str, target: str, pair: str, **options) -> dict:
    example = encode(tokenizer, source, target, pair, **options)
    del example["labels"]
    if example["input_ids"][-1] == tokenizer.eos_token_id:
        example["input_ids"] = example["input_ids"][:-1]
    return example


def _mean_changes(model, tokenizer, prompts: list[dict], batch_size: int, bar) -> torch.Tensor:
    """Means over prompts of the means over tokens of each block's activation, |difference| from the
    block before, and 1 - cosine with it, float64 [3, layer]."""
    blocks = sites(model, "residual")

    def summed(batch: dict[str, torch.Tensor]) -> torch.Tensor:
        previous, weights = [], token_weights(batch)

        def sums(layer: int, hidden: torch.Tensor) -> torch.Tensor:
            hidden = hidden.float()  # (prompt, token, d_model)
            before = previous.pop() if previous else hidden
            before = before.to(hidden.device)
            previous.append(hidden)
            cosine = torch.cosine_similarity(hidden, before, dim=-1)
            change = (hidden - before).abs().mean(dim=-1)
            values = torch.stack([hidden.mean(dim=-1), change, 1 - cosine])  # (3, prompt, token)
            values = values * weights.to(hidden.device)
            return values.sum(dim=(1, 2)).double().cpu()

        found, _ = observe(model, blocks, batch, sums)
        return torch.stack(list(found.values()), dim=1)

    return read_mean(model, tokenizer, prompts, summed, batch_size=batch_size, bar=bar)
