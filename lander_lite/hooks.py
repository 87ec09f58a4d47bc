"""Read or change what flows through a model: neurons and residual streams of chosen blocks, and the
one loop that reads a corpus: in batches, in parts where memory runs out, on several processes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from accelerate import PartialState
from accelerate.utils import reduce
from torch import nn

from .blocks import decoder_blocks, feed_forwards, input_device, unwrap
from .head import label_losses
from .prompts import batches, collate


class Site(NamedTuple):
    """A value in a model: the input of `module` (an nn.Module or a view's layer), or its output."""

    module: Any
    is_input: bool


SITES = {  # {name: (the modules, one a block; whether the value is their input)}
    "neurons": (lambda model: [view.down for view in feed_forwards(model)], True),
    "pre_activation": (lambda model: [v.gate or v.up for v in feed_forwards(model)], False),
    "residual": (decoder_blocks, False),
}


def sites(model: nn.Module, at: str, layers: Sequence[int] | None = None) -> dict[int, Site]:
    """Find {layer: site} of chosen blocks (default: all), sorted; find once, hook often.

    Args:
        at: "neurons", the input of the down-projection; "pre_activation", what goes into the
            activation function; "residual", the residual stream after the block.

    Raises: ValueError for no layer or one out of range.
    """
    find, is_input = SITES[at]
    modules = find(model)
    chosen = sorted({int(layer) for layer in (range(len(modules)) if layers is None else layers)})
    if not chosen or chosen[0] < 0 or chosen[-1] >= len(modules):
        raise ValueError(f"layers {chosen}: choose at least one block in 0 … {len(modules) - 1}.")
    return {layer: Site(modules[layer], is_input) for layer in chosen}


@contextmanager
def hooked(
    sites: dict[int, Site], function: Callable, shape: Sequence[int] | None = None
) -> Iterator[None]:
    """Inside, each pass calls function(layer, value) at each site. A tensor that it returns takes
    the value's place; None leaves it.

    Args:
        shape: (batch, token), to give values as [batch, token, units] in all families: OPT's
            neurons have the first two in one dimension.
    """

    def hook(layer: int, module, args, output=None):  # a hook before a module sees no output
        values = args if sites[layer].is_input else output
        first, *rest = values if isinstance(values, tuple) else (values,)
        new = function(layer, first if shape is None else first.reshape(*shape, -1))
        if new is None:
            return None
        new = new.reshape(first.shape)
        return (new, *rest) if isinstance(values, tuple) else new

    with ExitStack() as stack:
        for layer, (module, is_input) in sites.items():
            register = f"register_forward_{'pre_' if is_input else ''}hook"
            stack.callback(getattr(module, register)(partial(hook, layer)).remove)
        yield


def without_head(model: nn.Module, batch: dict[str, torch.Tensor]) -> None:
    """Run the decoder alone: no logits, which would take the most memory. Raises
    FloatingPointError where its last hidden states are not finite."""
    if not finite(_decoded(model, batch), batch["attention_mask"]):
        raise not_finite(model, batch)


def _decoded(model: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    body = unwrap(model).base_model
    return body(batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False)[0]


def finite(values: torch.Tensor, mask: torch.Tensor) -> bool:
    """Whether values [sentence, token, units] are finite at all tokens but padding."""
    good = values.isfinite().all(dim=-1)
    return bool((good | (mask == 0).to(good.device)).all())


def not_finite(model: nn.Module, batch: dict[str, torch.Tensor]) -> FloatingPointError:
    """The error that names the first block whose output is not finite, to raise."""
    blocks, mask = sites(model, "residual"), batch["attention_mask"]
    good, _ = observe(model, blocks, batch, lambda _, h: finite(h, mask), run=_decoded)
    where = next((f"block {i}" for i, is_good in good.items() if not is_good), "the output head")
    return FloatingPointError(
        f"{where} gives numbers that are not finite in {next(model.parameters()).dtype}: its "
        "weights hold such numbers, or they overflow; float32 and bfloat16 (model.dtype) do not"
    )


def sentence_losses(model: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Summed cross-entropy of each sentence's next tokens, float32 [sentence]; without "labels"
    every token is one. Raises FloatingPointError for a loss that is not finite."""
    losses, labelled = label_losses(model, batch)
    losses = losses.new_zeros(labelled.shape).masked_scatter(labelled.to(losses.device), losses)
    losses = losses.sum(dim=1)
    if not losses.isfinite().all():
        raise not_finite(model, batch)
    return losses


def token_weights(batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Weights of a mean over each sentence's tokens, float32 [sentence, token]; 0 on padding."""
    mask = batch["attention_mask"].float()
    return mask / mask.sum(dim=1, keepdim=True)


def observe(
    model: nn.Module,
    sites: dict[int, Site],
    batch: dict[str, torch.Tensor],
    function: Callable[[int, torch.Tensor], Any],
    run: Callable = without_head,
    replace: bool = False,
) -> tuple[dict[int, Any], Any]:
    """Make one pass: ({layer: function(layer, value [sentence, token, units])}, run(model, batch)).
    With `replace` what `function` returns also takes the value's place.

    Raises: RuntimeError where a pass over text does not come by a site.
    """
    seen: dict[int, Any] = {}

    def keep(layer: int, value: torch.Tensor) -> torch.Tensor | None:
        seen[layer] = function(layer, value)
        return seen[layer] if replace else None

    with hooked(sites, keep, batch["input_ids"].shape):
        output = run(model, batch)
    if missing := [layer for layer in sites if layer not in seen]:
        name = type(unwrap(model)).__name__
        raise RuntimeError(f"{name} does not run its blocks {missing} on text: no values.")
    return {layer: seen[layer] for layer in sites}, output


@contextmanager
def evaluation_mode(model: nn.Module, gradients: bool = False) -> Iterator[None]:
    """Evaluation mode without gradients; with `gradients`, those of activations can be taken, while
    no parameter asks for one. Everything is put back."""
    asked = [p for p in model.parameters() if p.requires_grad] if gradients else []
    training = [module for module in model.modules() if module.training]
    try:
        for module in training:  # model.eval() would walk over all modules, and again afterwards
            module.training = False
        for parameter in asked:
            parameter.requires_grad_(False)
        with torch.set_grad_enabled(gradients):
            yield
    finally:
        for parameter in asked:
            parameter.requires_grad_(True)
        for module in training:
            module.training = True


def read(
    model: nn.Module,
    tokenizer,
    examples: Sequence[dict],
    step: Callable[[dict[str, torch.Tensor]], Any],
    *,
    batch_size: int,
    gradients: bool = False,
    bar=None,
) -> Iterator[tuple[list[int], Any]]:
    """Yield (numbers of a batch's examples, step(batch)) in `evaluation_mode`; batches are of like
    length, the longest first. bar: a tqdm to move on.

    Where memory runs out, each half of the batch is tried, and so on: step must add to nothing
    itself. Raises: OutOfMemoryError for a single example.
    """
    waiting, device = list(batches(examples, batch_size, key=n_tokens))[::-1], input_device(model)
    while waiting:
        rows = waiting.pop()
        try:
            with evaluation_mode(model, gradients):
                result = step(collate(tokenizer, [examples[row] for row in rows], device=device))
        except torch.OutOfMemoryError:
            if len(rows) == 1:
                raise
        else:
            if bar is not None:
                bar.update(len(rows))
            yield rows, result
            continue
        # outside of `except`, where the error would still hold what had been computed
        half = len(rows) // 2
        waiting += [rows[half:], rows[:half]]
        free_memory(
            f"out of memory with {len(rows)} sentences at once: going on with halves; a smaller "
            f"batch_size saves the detour"
        )


def read_mean(model, tokenizer, examples: Sequence, step: Callable, **options) -> torch.Tensor:
    """The mean over examples of step(batch), a sum over its batch; several processes share the
    examples. Options as in `read`."""
    part = own_part(examples)  # may be empty; then one example gives the sum's shape
    results = read(model, tokenizer, part or examples[:1], step, **options)
    total = sum(result for _, result in results) * bool(part)
    return add_up(total) / len(examples)


def n_tokens(example: dict[str, list[int]]) -> int:
    return len(example["input_ids"])


def free_memory(warning: str) -> None:
    """Warn, and give back what the GPU's allocator holds in reserve."""
    warnings.warn(warning, stacklevel=2)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


# ---------------------------------------------------------------- several processes
def world() -> int:
    """How many processes work together: 1 unless `accelerate launch` or torchrun started more."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process's number, from 0."""
    return dist.get_rank() if world() > 1 else 0


def is_main() -> bool:
    """Whether this is the process that writes files."""
    return rank() == 0


def wait() -> None:
    """Until all processes are here."""
    if world() > 1:
        dist.barrier()


def own_part(items: Sequence) -> Sequence:
    """Every world-th of the items, from this process's rank on; the parts of all are all items."""
    return items[rank() :: world()]


def add_up(tensor: torch.Tensor) -> torch.Tensor:
    """The sum over processes, the same on each."""
    if world() == 1:
        return tensor
    return reduce(tensor.detach().to(PartialState().device), "sum").to(tensor.device)
