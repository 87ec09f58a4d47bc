"""Prune the linear layers of every block by weight and input: Wanda (Sun et al. 2024), calibrated
on translations (Kim et al. 2024).

A weight W_ij multiplies input feature j, so its score is |W_ij| · ||X_j||_2, with X_j the feature's
values over all calibration tokens. In each output row the lowest scores are set to 0. Block by
block: the inputs of a block are the outputs of the pruned blocks before it.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn
from transformers import PreTrainedModel

from ..blocks import decoder_blocks
from ..evaluation import evaluate, perplexity
from ..folders import atomic_folder
from ..hooks import evaluation_mode, n_tokens, read
from ..io import write_text
from ..prompts import check_examples, texts
from .features import calibration_prompts, encode_prompts

METRICS = ("wanda", "translation", "translation_minus_other", "magnitude", "random")
WITHOUT_TEXT = ("magnitude", "random")
FEW = 20  # test sentences on the command line


def prune(
    model,
    tokenizer,
    calibration: Sequence[str | Sequence[int]] | None,
    sparsity: float | None = None,
    metric: str = "wanda",
    pattern: str | None = None,
    other: Sequence[str | Sequence[int]] | None = None,
    *,
    batch_size: int = 8,
    max_length: int = 512,
    seed: int = 0,
    copy: bool = False,
) -> tuple[PreTrainedModel, dict]:
    """Set a share of the weights of every linear layer in the blocks to 0; embeddings, head, norms
    and biases stay as they are. The model is pruned in place unless `copy`.

    Args:
        calibration: texts or lists of token ids, each cut at `max_length` tokens; None will do for
            "magnitude" and "random".
        sparsity: int(inputs · sparsity) weights are removed in each output row.
        metric: one of METRICS, as `scores` says; "random" by `seed`.
        pattern: "n:m", such as "2:4", in place of `sparsity`: of each m consecutive inputs the n
            lowest are removed.
        other: text to hold against the calibration text, for "translation_minus_other".

    Returns: the model, and a report: "settings", "layers" (per block: "seconds", and "sparsity"
        {linear layer: share of zero weights}), "sparsity" (of all these weights), "seconds",
        "calibration_tokens". On the CPU it holds one block's inputs for all calibration text.

    Raises: before any weight changes: ValueError for wrong settings, a wrapped or quantised model,
        one whose blocks hold matrices outside nn.Linear, or no text where it is needed;
        FloatingPointError when activations on the calibration text are not finite.
    """
    amount = check_settings(sparsity, metric, pattern)
    sources = calibration_texts(metric, calibration, other)
    encoded = {x: encode_prompts(tokenizer, sources[x], batch_size, max_length) for x in sources}
    check_examples(model, encoded, max_length)
    model, start = deepcopy(model) if copy else model, time.time()
    found = linear_layers(model, pattern, amount.m)
    score = partial(scores, metric, generator=torch.Generator().manual_seed(seed))
    with evaluation_mode(model):
        streams = [dense_passes(model, tokenizer, part, batch_size) for part in encoded.values()]
        layers = [
            prune_block(model, i, found[i], streams, score, amount) for i in range(len(found))
        ]
    settings = {"metric": metric, "sparsity": amount.share, "pattern": pattern, "seed": seed}
    settings |= {"batch_size": batch_size, "max_length": max_length}
    settings["texts"] = {name: len(prompts) for name, prompts in sources.items()}
    weights = [linear.weight for linears in found for linear in linears.values()]
    return model, {
        "settings": settings,
        "layers": layers,
        "seconds": round(time.time() - start, 3),
        "sparsity": zero_share(weights),
        "calibration_tokens": sum(n_tokens(x) for part in encoded.values() for x in part),
    }


# ---------------------------------------------------------------- what is refused
class Amount(NamedTuple):
    """n of each m consecutive inputs of a row are removed (0: no pattern); share of all weights."""

    n: int
    m: int
    share: float

    def lowest(self, score: torch.Tensor) -> torch.Tensor:
        """Which weights these scores remove, bool [outputs, inputs]."""
        inputs = score.shape[1]
        if self.m:
            return lowest(score, self.n, self.m)
        return lowest(score, int(inputs * self.share), inputs)


def check_settings(sparsity: float | None, metric: str, pattern: str | None) -> Amount:
    """How much to remove. ValueError for sparsity outside [0, 1), an unknown metric, and a pattern
    that is none or contradicts `sparsity`."""
    if metric not in METRICS:
        raise ValueError(f"unknown metric {metric!r}; metrics: {', '.join(METRICS)}")
    if pattern is None:
        is_number = isinstance(sparsity, (int, float)) and not isinstance(sparsity, bool)
        if not is_number or not 0 <= sparsity < 1:
            raise ValueError(f"sparsity={sparsity!r} must be at least 0 and below 1.")
        return Amount(0, 0, float(sparsity))
    found = re.fullmatch(r"(\d+):(\d+)", str(pattern))
    n, m = map(int, found.groups()) if found else (0, 0)
    if not 0 < n < m:
        raise ValueError(f'pattern={pattern!r} must be "n:m" with 0 < n < m, such as "2:4".')
    share = n / m
    if sparsity is not None and sparsity != share:
        only = f"give no other (sparsity={sparsity})"
        raise ValueError(f"pattern={pattern!r} is a sparsity of {share:g}; {only}.")
    return Amount(n, m, share)


def calibration_texts(metric: str, calibration, other) -> dict[str, Sequence]:
    """The texts that a metric needs, by the name of their argument. ValueError if there are
    none."""
    needed = {} if metric in WITHOUT_TEXT else {"calibration": calibration}
    if metric == "translation_minus_other":
        needed["other"] = other
    for name, prompts in needed.items():
        if prompts is None or not len(prompts):
            raise ValueError(f"metric={metric!r} needs texts in `{name}`; there are none.")
    return needed


def linear_layers(model: nn.Module, pattern: str | None, m: int) -> list[dict[str, nn.Linear]]:
    """{full name: linear layer} of each block. ValueError for what can't be pruned: wrapped models,
    adapters, experts, quantised or offloaded weights, rows that the pattern does not divide."""
    if not isinstance(model, PreTrainedModel):
        raise ValueError(
            f"prune takes a plain transformers model, not {type(model).__name__}: call "
            f"merge_and_unload() first."
        )
    names = {module: name for name, module in model.named_modules()}
    found = []
    for block in decoder_blocks(model):
        linears = {names[part]: part for part in block.modules() if isinstance(part, nn.Linear)}
        weights = {id(linear.weight) for linear in linears.values()}
        for name, parameter in block.named_parameters():
            where = f"{names[block]}.{name}"
            usable = parameter.is_floating_point() and parameter.device.type != "meta"
            if id(parameter) in weights and not usable:
                raise ValueError(
                    f"{where} is quantised or offloaded: load the model in a float dtype, and "
                    f"whole."
                )
            if id(parameter) not in weights and parameter.ndim > 1:
                raise ValueError(
                    f"{where} is not the weight of an nn.Linear, and only those can be pruned: if "
                    f"the model is wrapped, unload or merge it first."
                )
        for name, linear in linears.items():
            if m and linear.in_features % m:
                n_inputs = linear.in_features
                raise ValueError(
                    f"pattern={pattern!r} does not divide the {n_inputs} inputs of {name}."
                )
        found.append(linears)
    return found


# ---------------------------------------------------------------- block by block
def prune_block(
    model: nn.Module,
    index: int,
    linears: dict[str, nn.Linear],
    streams: Sequence[list[Batch]],
    score: Callable[[torch.Tensor, list[torch.Tensor]], torch.Tensor],
    amount: Amount,
) -> dict:
    """Prune one block in place and send the calibration texts through it: its part of the report.
    score: (weight, norms of its inputs on each text) -> what the weights are worth."""
    start, block = time.time(), decoder_blocks(model)[index]
    norms = [input_norms(batches, index, block, linears) for batches in streams]
    zeros = {}
    for name, linear in linears.items():
        worth = score(linear.weight, [norm[name] for norm in norms])
        linear.weight[amount.lowest(worth)] = 0
        zeros[name] = zero_share([linear.weight])
    for batches in streams:
        for batch in batches:
            batch.hidden = batch.through(index, block).cpu()
    return {"seconds": round(time.time() - start, 3), "sparsity": zeros}


@dataclass
class Batch:
    """hidden: the next block's input [text, token, d_model], on the CPU. mask: bool [text, token],
    False on padding. calls: per block, what else it is called with (attention mask, position
    embeddings or ALiBi), which may differ from block to block."""

    hidden: torch.Tensor
    mask: torch.Tensor
    calls: list[tuple[tuple, dict]]

    def through(self, index: int, block: nn.Module) -> torch.Tensor:
        """The output of a block for its input."""
        args, kwargs = self.calls[index]
        output = block(self.hidden.to(next(block.parameters()).device), *args, **kwargs)
        return output[0] if isinstance(output, tuple) else output


def dense_pass(model: nn.Module, inputs: dict[str, torch.Tensor]) -> Batch:
    """One pass of the dense model: the first block's input, and how each block is called."""
    hidden, calls = [], []

    def record(module: nn.Module, args: tuple, kwargs: dict) -> None:
        first, *rest = args or (kwargs["hidden_states"],)
        if not hidden:
            hidden.append(first.cpu())
        others = {key: value for key, value in kwargs.items() if key != "hidden_states"}
        calls.append((tuple(rest), others))

    with ExitStack() as stack:
        for block in decoder_blocks(model):
            handle = block.register_forward_pre_hook(record, with_kwargs=True)
            stack.callback(handle.remove)
        output = model.base_model(**inputs, use_cache=False)[0].cpu()  # [text, token, d_model]
    mask = inputs["attention_mask"].bool().cpu()
    if not output[mask].isfinite().all():
        raise FloatingPointError(
            "the model's activations on the calibration text are not finite: try a wider dtype."
        )
    return Batch(hidden[0], mask, calls)


def dense_passes(model, tokenizer, examples: list[dict], batch_size: int) -> list[Batch]:
    """Calibration text, ready to go through the blocks one at a time."""
    step = partial(dense_pass, model)
    passes = read(model, tokenizer, examples, step, batch_size=batch_size)
    return [batch for _, batch in passes]


def input_norms(
    batches: Sequence[Batch], index: int, block: nn.Module, linears: dict[str, nn.Linear]
) -> dict[str, torch.Tensor]:
    """||X_j||_2 over all tokens but padding, float64 [inputs], for each linear layer of a block;
    sums of squares are streamed."""
    sums = {name: torch.zeros(x.in_features).double() for name, x in linears.items()}

    def add(mask: torch.Tensor, name: str, module: nn.Module, args: tuple) -> None:
        tokens = args[0].reshape(mask.numel(), -1)[mask.flatten().to(args[0].device)]
        sums[name] += tokens.float().square().sum(dim=0).cpu().double()

    for batch in batches:
        with ExitStack() as stack:
            for name, linear in linears.items():
                handle = linear.register_forward_pre_hook(partial(add, batch.mask, name))
                stack.callback(handle.remove)
            batch.through(index, block)
    return {name: value.sqrt() for name, value in sums.items()}


# ---------------------------------------------------------------- weight by weight
def scores(
    metric: str, weight: torch.Tensor, norms: Sequence[torch.Tensor], generator: torch.Generator
) -> torch.Tensor:
    """What a weight is worth, float32 [outputs, inputs].

    "wanda" and "translation": |W_ij| · ||X_j||; one formula, the latter says that the calibration
    text is translation demonstrations. "translation_minus_other": |W_ij| · ||X_j||^2 / ||X'_j||
    (Kim et al.: code). "magnitude": |W_ij|. "random": uniform. norms: ||X_j|| of the calibration
    text, and ||X'_j|| of the other text if there is one.
    """
    if metric == "random":
        return torch.rand(weight.shape, generator=generator).to(weight.device)
    size = weight.float().abs()
    if metric == "magnitude":
        return size
    x = norms[0]
    if metric == "translation_minus_other":
        tiny = torch.finfo(torch.float32)
        floor = tiny.eps * torch.maximum(x.max(), norms[1].max())  # where X' is never used
        x = x.square() / norms[1].clamp_min(floor).clamp_min(tiny.tiny)
    return size * x.float().to(weight.device)


def lowest(score: torch.Tensor, n: int, m: int) -> torch.Tensor:
    """Which scores are the n lowest of each m consecutive ones in their row, bool [outputs,
    inputs]; the lower index wins ties."""
    groups = score.unflatten(1, (-1, m))  # [outputs, inputs / m, m]
    order = groups.argsort(dim=-1, stable=True)
    removed = torch.zeros_like(groups, dtype=torch.bool)
    removed.scatter_(-1, order[..., :n], True)
    assert (removed.sum(dim=-1) == n).all(), "each group must lose exactly n weights"
    return removed.flatten(1)


def zero_share(weights: Sequence[torch.Tensor]) -> float:
    """The share of zeros in all weights together."""
    n_zeros = n_weights = 0
    for weight in weights:
        n_zeros += (weight == 0).sum().item()
        n_weights += weight.numel()
    return n_zeros / n_weights


# ---------------------------------------------------------------- on the command line
def prune_step(run, sparsity: float | None, metric: str, pattern: str | None) -> Path:
    """`lander-lite prune` in a run folder (pipeline.Run): the model and its tokenizer in pruned/,
    the report in pruning.json, and BLEU and perplexity on the first test sentences before and
    after. Calibration: translations of the run's pairs; for "wanda", and as the other text,
    monolingual text of its languages."""
    c, (model, tokenizer) = run.config, run.take_base()
    about = run.train, tokenizer, c.corpus.pairs, c.corpus.languages, c.seed

    def prompts(name: str) -> list:
        return calibration_prompts(name, *about, template=c.corpus.template)

    before, mono = quality(run, model, tokenizer), prompts("monolingual")
    print(f"before  {shown(before)}", flush=True)
    calibration = mono if metric == "wanda" else prompts("translation")
    amount = sparsity, metric, pattern
    _, report = prune(model, tokenizer, calibration, *amount, other=mono, seed=c.seed)
    after = quality(run, model, tokenizer)
    print(f"after   {shown(after)}", flush=True)
    report |= {"profile": c.profile, "test_sentences": min(FEW, len(run.test))}
    report |= {"before": before, "after": after}
    run.settle()
    folder = run.folder / "pruned"
    with atomic_folder(folder) as new:
        model.save_pretrained(new)
        tokenizer.save_pretrained(new)
    write_text(run.folder / "pruning.json", json.dumps(report, indent=1) + "\n")
    return folder


def quality(run, model, tokenizer) -> dict[str, dict[str, float]]:
    """BLEU of the run's pairs and perplexity of its languages on the first test sentences."""
    c = run.config
    how = {"batch_size": c.evaluate.batch_size, "max_new_tokens": c.evaluate.max_new_tokens}
    how |= {"template": c.corpus.template, "max_sentences": FEW, "bootstrap": 0}
    scored = evaluate(model, tokenizer, run.test, c.corpus.pairs, **how)
    likely = {}
    for language in c.corpus.languages:
        sentences = texts(run.test, language)[:FEW]
        likely[language] = perplexity(model, tokenizer, sentences)
    return {"bleu": {pair: scored[pair]["bleu"] for pair in c.corpus.pairs}, "perplexity": likely}


def shown(found: dict[str, dict[str, float]]) -> str:
    """What `quality` found, on one line."""
    bleu, likely = [], []
    for pair, value in found["bleu"].items():
        bleu.append(f"{pair} {value:.1f}")
    for language, value in found["perplexity"].items():
        likely.append(f"{language} {value:.2f}")
    return f"BLEU {', '.join(bleu)}; perplexity {', '.join(likely)}"
