"""Which layers matter for translation? Relevance from the change of the mean activation, block by
block (LANDeRMT eq. 1–2)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import nn
from tqdm.auto import tqdm

from .blocks import decoder_blocks, input_device, unwrap
from .corpus import batches, check_examples, check_pairs, collate, encode, parse_pair
from .io import write_text
from .training.distributed import add_up, own_part

MEASURES = {"signed": "delta", "absolute": "absolute", "cosine": "cosine"}
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
        selected: the k chosen blocks, sorted.
        method: the measure that chose them. settings: how the scores were made.
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
        """The k blocks with the largest pooled (mean over pairs) measure, sorted; the lower index
        wins ties. Eq. 2.

        `by`: "delta", "absolute" or "cosine"; default: the measure of `method`.
        Raises: ValueError for k outside 1 … n_layers - 1 (block 0 has no score) or an unknown
            measure.
        """
        return self._largest(self._measure(by).mean(dim=0), k)

    def per_pair(self, k: int, by: str | None = None) -> dict[str, list[int]]:
        """{pair: its own top k blocks}; arguments and errors as in `top`."""
        return {
            pair: self._largest(row, k)
            for pair, row in zip(self.pairs, self._measure(by), strict=True)
        }

    def _measure(self, by: str | None) -> torch.Tensor:
        by = MEASURES[self.method] if by is None else by
        if by not in MEASURES.values():
            raise ValueError(f"by = '{by}' is unknown: use {', '.join(MEASURES.values())}.")
        return getattr(self, by).double()

    @staticmethod
    def _largest(values: torch.Tensor, k: int) -> list[int]:
        check_k(k, len(values) + 1)
        order = values.argsort(descending=True, stable=True)[:k]
        return sorted(int(column) + 1 for column in order)

    def save(self, path: str | Path) -> None:
        """Write JSON, atomically."""
        tensors = {
            name: getattr(self, name).tolist() for name in ("activation", *MEASURES.values())
        }
        rest = {name: getattr(self, name) for name in ("pairs", "selected", "method", "settings")}
        write_text(path, json.dumps({"kind": KIND, **rest, **tensors}, indent=1))

    @classmethod
    def load(cls, path: str | Path) -> LayerScores:
        """Read what `save` wrote. FileNotFoundError; ValueError for another content."""
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} is not JSON: {error}.") from error
        if not isinstance(content, dict) or content.pop("kind", None) != KIND:
            raise ValueError(f"{path} holds no layer scores; `detect_layers(…).save` writes them.")
        for name in ("activation", *MEASURES.values()):
            content[name] = torch.tensor(content[name])
        return cls(**content)


def check_k(k: int, n_layers: int) -> None:
    """Raise ValueError unless 1 <= k <= n_layers - 1: block 0 cannot be chosen, for no block's
    output precedes it."""
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= n_layers - 1:
        raise ValueError(
            f"k = {k} is out of range: a model of {n_layers} blocks can select 1 … {n_layers - 1} "
            f"of them."
        )


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
    """Score every block but the first and select k of them, pooled over the pairs (LANDeRMT eq.
    1–2).

    D_i = |mean_n A_(i,n) - mean_n A_(i+1,n)|, where A_(i,n) is the mean of the residual stream
    after block i over all tokens and all units of prompt n. A prompt is teacher-forced: the
    template with the source, then the reference, without EOS. The first `max_sentences` rows are
    used for every pair; padding does not count. Several processes (accelerate launch) share them.
    too_long: prompts of more than max_length tokens are "cut" and counted in a warning, or an error
        ("refuse").

    Raises: ValueError for k out of range, an unknown method, a pair the corpus cannot serve; all
        before the first forward pass.
    """
    layers = decoder_blocks(model)
    check_k(k, len(layers))
    if method not in MEASURES:
        raise ValueError(f"method = '{method}' is unknown: use {', '.join(MEASURES)}.")
    check_pairs(corpus, pairs, tokenizer)
    rows = corpus["translation"][: len(corpus) if max_sentences is None else max_sentences]
    if not rows:
        raise ValueError("no sentences to score: the corpus is empty or max_sentences is 0.")
    prompts = {
        pair: [_teacher_forced(tokenizer, row, pair, template, max_length) for row in rows]
        for pair in pairs
    }
    check_examples(model, prompts, max_length, too_long)
    means = []
    with tqdm(
        total=len(rows) * len(pairs), desc="layers", unit="prompt", disable=not progress
    ) as bar:
        for pair in pairs:
            bar.set_postfix_str(pair)
            means.append(_pair_means(model, tokenizer, layers, prompts[pair], batch_size, bar))
    activation, absolute, cosine = (torch.stack(columns) for columns in zip(*means, strict=True))
    settings = {
        "max_sentences": max_sentences,
        "n_sentences": len(rows),
        "template": template,
        "max_length": max_length,
    }
    delta = (activation[:, 1:] - activation[:, :-1]).abs()
    scores = LayerScores(
        list(pairs),
        activation.float(),
        delta.float(),
        absolute.float(),
        cosine.float(),
        method=method,
        settings=settings,
    )
    scores.selected = scores.top(k)
    return scores


def _teacher_forced(tokenizer, row: dict, pair: str, template: str | None, max_length: int) -> dict:
    source, target = parse_pair(pair)
    example = encode(
        tokenizer, row[source], row[target], pair, template=template, max_length=max_length
    )
    ids = example.pop("input_ids")
    del example["labels"]
    return example | {"input_ids": ids[:-1] if ids[-1] == tokenizer.eos_token_id else ids}


def _pair_means(
    model: nn.Module, tokenizer, layers: list[nn.Module], prompts: list[dict], batch_size: int, bar
) -> tuple:
    """Means over prompts of the per-prompt means: (signed [layer], |difference| [layer - 1], 1 -
    cosine [layer - 1]), float64."""
    totals = torch.zeros(3, len(layers), dtype=torch.float64)
    previous: list[torch.Tensor] = []
    mask = torch.empty(0)

    def watch(index: int):
        def hook(module, args, output):
            hidden_states = (
                output[0] if isinstance(output, tuple) else output
            ).float()  # (batch, token, d_model)
            token_mask = mask.to(hidden_states.device)
            weight = token_mask / token_mask.sum(
                dim=1, keepdim=True
            )  # a prompt's tokens share the weight 1
            totals[0, index] += (hidden_states.mean(dim=-1) * weight).sum().double().cpu()
            if previous:
                before = previous.pop().to(hidden_states.device)
                totals[1, index] += (
                    ((hidden_states - before).abs().mean(dim=-1) * weight).sum().double().cpu()
                )
                totals[2, index] += (
                    ((1 - torch.cosine_similarity(hidden_states, before, dim=-1)) * weight)
                    .sum()
                    .double()
                    .cpu()
                )
            if index < len(layers) - 1:
                previous.append(hidden_states)

        return hook

    body = unwrap(model).base_model  # without the output head: no logits are needed
    training = model.training
    model.eval()
    try:
        with ExitStack() as stack, torch.inference_mode():
            for index, block in enumerate(layers):
                stack.callback(block.register_forward_hook(watch(index)).remove)
            mine = own_part(prompts)
            for chosen in batches(mine, batch_size, key=lambda prompt: len(prompt["input_ids"])):
                batch = collate(tokenizer, [mine[i] for i in chosen], device=input_device(model))
                mask = batch["attention_mask"].float()
                body(
                    input_ids=batch["input_ids"],
                    attention_mask=batch["attention_mask"],
                    use_cache=False,
                )
                bar.update(len(chosen))
    finally:
        model.train(training)
    totals = add_up(totals) / len(prompts)
    return totals[0], totals[1, 1:], totals[2, 1:]
