"""Prune the linear layers of every block by weight and input: Wanda (Sun et al. 2024), calibrated
on translations (Kim et al. 2024).

A weight W_ij multiplies input feature j, so its score is |W_ij| · ||X_j||_2, with X_j the feature's
values over all calibration tokens. In each output row the lowest scores are set to 0. Block by
block: the inputs of a block are the outputs of the pruned blocks before it.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Sequence
from contextlib import ExitStack
from copy import deepcopy
from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedModel

from ..blocks import decoder_blocks, input_device
from ..corpus import batches, check_examples, collate, texts
from ..evaluation import evaluate, perplexity
from ..hooks import evaluation_mode
from ..io import write_text
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
    """Set a share of the weights of every linear layer in the blocks to 0: (the pruned model, a
    report). Embeddings, head, norms and biases stay as they are. The model is pruned in place
    unless `copy`; it remains a plain transformers model.

    Args:
        calibration: texts, or lists of token ids, each cut at `max_length` tokens; None will do for
            "magnitude" and "random".
        sparsity: int(inputs · sparsity) weights are removed in each output row; ties go to the
            lower index.
        metric: "wanda" or "translation": |W_ij| · ||X_j||; one formula, the latter says that the
            calibration text is translation
            demonstrations. "translation_minus_other": |W_ij| · ||X_j||^2 / ||X'_j||, with X' the
            inputs on the texts `other` (Kim et al.: code). "magnitude": |W_ij|. "random": uniform,
            by `seed`.
        pattern: "n:m", such as "2:4": of each m consecutive inputs the n lowest are removed; in
            place of `sparsity`.

    The report: "settings", "layers" (per block: "seconds", and "sparsity" {linear layer: share of
    zero weights}), "sparsity" (of all of these weights), "seconds", "calibration_tokens". The
    memory needed is the model, one batch, the scores of one linear layer, each batch's attention
    mask, and on the CPU one block's inputs for all calibration tokens.

    Raises, before any weight changes: ValueError for sparsity outside [0, 1), an unknown metric, a
    pattern that does not divide a row or contradicts `sparsity`, no calibration text or no `other`
    where needed, a wrapped or quantised model and one whose blocks hold matrices outside nn.Linear;
    FloatingPointError when the activations on the calibration text are not finite.
    """
    n, m, share = check_settings(sparsity, metric, pattern)
    if not isinstance(model, PreTrainedModel):
        raise ValueError(
            f"prune takes a plain transformers model, not {type(model).__name__}: call "
            f"merge_and_unload() first."
        )
    sources = {"calibration": calibration} if metric not in WITHOUT_TEXT else {}
    if metric == "translation_minus_other":
        sources["other"] = other
    for name, prompts in sources.items():
        if prompts is None or not len(prompts):
            raise ValueError(f"metric={metric!r} needs texts in `{name}`; there are none.")
    examples = {
        name: encode_prompts(tokenizer, prompts, batch_size, max_length)
        for name, prompts in sources.items()
    }
    check_examples(model, examples, max_length)
    model, start, layers = deepcopy(model) if copy else model, time.time(), []
    found = linear_layers(model)
    for name, linear in (item for linears in found for item in linears.items()):
        if m and linear.in_features % m:
            raise ValueError(
                f"pattern={pattern!r} does not divide the {linear.in_features} inputs of {name}."
            )
    generator = torch.Generator().manual_seed(seed)
    with evaluation_mode(model):
        streams = [Stream(model, tokenizer, part, batch_size) for part in examples.values()]
        for index, (block, linears) in enumerate(zip(decoder_blocks(model), found)):
            begin = time.time()
            norms = [stream.input_norms(index, block, linears) for stream in streams]
            for name, linear in linears.items():
                score = scores(metric, linear.weight, [norm[name] for norm in norms], generator)
                removed = (
                    lowest(score, n, m)
                    if m
                    else lowest(score, int(linear.in_features * share), linear.in_features)
                )
                linear.weight[removed] = 0
            for stream in streams:
                stream.advance(index, block)
            layers.append(
                {
                    "seconds": round(time.time() - begin, 3),
                    "sparsity": {name: zeros(x) for name, x in linears.items()},
                }
            )
    weights = [linear.weight for linears in found for linear in linears.values()]
    settings = {
        "metric": metric,
        "sparsity": share,
        "pattern": pattern,
        "seed": seed,
        "batch_size": batch_size,
        "max_length": max_length,
        "texts": {name: len(prompts) for name, prompts in sources.items()},
    }
    return model, {
        "settings": settings,
        "layers": layers,
        "seconds": round(time.time() - start, 3),
        "sparsity": sum((weight == 0).sum().item() for weight in weights)
        / sum(weight.numel() for weight in weights),
        "calibration_tokens": sum(
            len(example["input_ids"]) for part in examples.values() for example in part
        ),
    }


def check_settings(
    sparsity: float | None, metric: str, pattern: str | None
) -> tuple[int, int, float]:
    """(n, m, share of the weights); n = m = 0 without a pattern. ValueError as `prune` says."""
    if metric not in METRICS:
        raise ValueError(f"unknown metric {metric!r}; metrics: {', '.join(METRICS)}")
    if pattern is None:
        if (
            isinstance(sparsity, bool)
            or not isinstance(sparsity, (int, float))
            or not 0 <= sparsity < 1
        ):
            raise ValueError(f"sparsity={sparsity!r} must be at least 0 and below 1.")
        return 0, 0, float(sparsity)
    n, colon, m = str(pattern).partition(":")
    if not (colon and n.isdecimal() and m.isdecimal() and 0 < int(n) < int(m)):
        raise ValueError(f'pattern={pattern!r} must be "n:m" with 0 < n < m, such as "2:4".')
    if sparsity is not None and sparsity != int(n) / int(m):
        raise ValueError(
            f"pattern={pattern!r} is a sparsity of {int(n) / int(m):g}; give no other "
            f"(sparsity={sparsity})."
        )
    return int(n), int(m), int(n) / int(m)


def linear_layers(model: nn.Module) -> list[dict[str, nn.Linear]]:
    """{full name: linear layer} of each block. ValueError for what can't be pruned: adapters,
    experts, quantised or offloaded weights."""
    names = {module: name for name, module in model.named_modules()}
    found = []
    for block in decoder_blocks(model):
        linears = {names[part]: part for part in block.modules() if isinstance(part, nn.Linear)}
        weights = {id(linear.weight) for linear in linears.values()}
        for name, parameter in block.named_parameters():
            if id(parameter) in weights and (
                not parameter.is_floating_point() or parameter.device.type == "meta"
            ):
                raise ValueError(
                    f"{names[block]}.{name} is quantised or offloaded: load the model in a float "
                    f"dtype, and whole."
                )
            if id(parameter) not in weights and parameter.ndim > 1:
                raise ValueError(
                    f"{names[block]}.{name} is not the weight of an nn.Linear, and only those can "
                    f"be pruned: if the model is "
                    "wrapped, unload or merge it first."
                )
        found.append(linears)
    return found


class Stream:
    """Calibration text on its way through the blocks. `hidden`: per batch the next block's input
    [text, token, d_model], on the CPU.

    One pass of the dense model keeps the first block's input, and for every block what else it is
    called with (attention mask, position embeddings or ALiBi), which may differ from block to
    block. The blocks are then run one at a time."""

    def __init__(self, model: PreTrainedModel, tokenizer, examples: list[dict], batch_size: int):
        self.hidden, self.calls, self.masks = [], [], []
        for rows in batches(examples, batch_size, key=lambda example: len(example["input_ids"])):
            batch = collate(tokenizer, [examples[row] for row in rows], device=input_device(model))
            self.masks.append(batch["attention_mask"].bool().cpu())
            self.calls.append([])
            with ExitStack() as stack:
                for block in decoder_blocks(model):
                    stack.callback(
                        block.register_forward_pre_hook(self._record, with_kwargs=True).remove
                    )
                output = model.base_model(**batch, use_cache=False)[
                    0
                ].cpu()  # [text, token, d_model]
            if not output[self.masks[-1]].isfinite().all():
                raise FloatingPointError(
                    "the model's activations on the calibration text are not finite: try a wider "
                    "dtype."
                )

    def _record(self, module: nn.Module, args: tuple, kwargs: dict) -> None:
        hidden = args[0] if args else kwargs["hidden_states"]
        if not self.calls[-1]:
            self.hidden.append(hidden.cpu())
        self.calls[-1].append(
            (args[1:], {key: value for key, value in kwargs.items() if key != "hidden_states"})
        )

    def _run(self, index: int, block: nn.Module):
        """(batch number, output) of a block for each batch in turn; `mask` is that batch's."""
        device = next(block.parameters()).device
        for number, (hidden, calls) in enumerate(zip(self.hidden, self.calls)):
            args, kwargs = calls[index]
            self.mask = self.masks[number].flatten().to(device)
            output = block(hidden.to(device), *args, **kwargs)
            yield number, output[0] if isinstance(output, tuple) else output

    def input_norms(
        self, index: int, block: nn.Module, linears: dict[str, nn.Linear]
    ) -> dict[str, torch.Tensor]:
        """||X_j||_2 over all tokens but padding, float64 [inputs], for each linear layer of a
        block; sums of squares are streamed."""
        squares = {
            name: torch.zeros(linear.in_features, dtype=torch.float64)
            for name, linear in linears.items()
        }

        def add(name: str):
            def hook(module, args):
                x = args[0].reshape(-1, args[0].shape[-1])[self.mask]  # [token, inputs]
                squares[name] += x.float().square().sum(dim=0).cpu().double()

            return hook

        with ExitStack() as stack:
            for name, linear in linears.items():
                stack.callback(linear.register_forward_pre_hook(add(name)).remove)
            for _ in self._run(index, block):
                pass  # the hooks do the work
        return {name: value.sqrt() for name, value in squares.items()}

    def advance(self, index: int, block: nn.Module) -> None:
        """The block's outputs become the next one's inputs."""
        for number, output in self._run(index, block):
            self.hidden[number] = output.cpu()


def scores(
    metric: str, weight: torch.Tensor, norms: Sequence[torch.Tensor], generator: torch.Generator
) -> torch.Tensor:
    """What a weight is worth, float32 [outputs, inputs]. norms: ||X_j|| of the calibration text,
    and of the other text if there is one."""
    if metric == "random":
        return torch.rand(weight.shape, generator=generator).to(weight.device)
    size = weight.float().abs()
    if metric == "magnitude":
        return size
    x = norms[0]
    if metric == "translation_minus_other":
        floor = torch.finfo(torch.float32).eps * torch.maximum(
            x.max(), norms[1].max()
        )  # a feature that the other text never uses
        x = x.square() / norms[1].clamp_min(floor).clamp_min(torch.finfo(torch.float32).tiny)
    return size * x.float().to(weight.device)


def lowest(score: torch.Tensor, n: int, m: int) -> torch.Tensor:
    """Which scores are the n lowest of each m consecutive ones in their row, bool [outputs,
    inputs]; the lower index wins ties."""
    groups = score.unflatten(1, (-1, m))  # [outputs, inputs / m, m]
    removed = torch.zeros_like(groups, dtype=torch.bool).scatter_(
        -1, groups.argsort(dim=-1, stable=True)[..., :n], True
    )
    assert (removed.sum(dim=-1) == n).all(), "each group must lose exactly n weights"
    return removed.flatten(1)


def zeros(linear: nn.Linear) -> float:
    return (linear.weight == 0).float().mean().item()


# ---------------------------------------------------------------- on the command line
def prune_step(run, sparsity: float | None, metric: str, pattern: str | None) -> Path:
    """`lander-lite prune` in a run folder (steps.Run): the model and its tokenizer in pruned/, the
    report in pruning.json, and BLEU and perplexity on the first test sentences before and after.
    Calibration: translations of the run's pairs; for "wanda", and as the other text, monolingual
    text of its languages."""
    c, (model, tokenizer) = run.config, run.take_base()

    def prompts(name: str) -> list:
        return calibration_prompts(
            name,
            run.train,
            tokenizer,
            c.corpus.pairs,
            c.corpus.languages,
            c.seed,
            template=c.corpus.template,
        )

    def quality(when: str) -> dict:
        scored = evaluate(
            model,
            tokenizer,
            run.test,
            c.corpus.pairs,
            max_sentences=FEW,
            bootstrap=0,
            batch_size=c.evaluate.batch_size,
            max_new_tokens=c.evaluate.max_new_tokens,
            template=c.corpus.template,
        )
        bleu = {pair: scored[pair]["bleu"] for pair in c.corpus.pairs}
        likely = {
            lang: perplexity(model, tokenizer, texts(run.test, lang)[:FEW])
            for lang in c.corpus.languages
        }
        print(
            f"{when:7} BLEU "
            + ", ".join(f"{pair} {value:.1f}" for pair, value in bleu.items())
            + "; perplexity "
            + ", ".join(f"{lang} {value:.2f}" for lang, value in likely.items()),
            flush=True,
        )
        return {"bleu": bleu, "perplexity": likely}

    before, mono = quality("before"), prompts("monolingual")
    _, report = prune(
        model,
        tokenizer,
        mono if metric == "wanda" else prompts("translation"),
        sparsity,
        metric,
        pattern,
        other=mono,
        seed=c.seed,
    )
    report |= {
        "profile": c.profile,
        "test_sentences": min(FEW, len(run.test)),
        "before": before,
        "after": quality("after"),
    }
    new, old, folder = run.folder / ".pruned.new", run.folder / ".pruned.old", run.folder / "pruned"
    for left in (new, old):
        shutil.rmtree(left, ignore_errors=True)
    model.save_pretrained(new)
    tokenizer.save_pretrained(new)
    if folder.exists():  # a folder can't replace another one
        os.replace(folder, old)
    os.replace(new, folder)
    shutil.rmtree(old, ignore_errors=True)
    write_text(run.folder / "pruning.json", json.dumps(report, indent=1) + "\n")
    return folder
