"""What a training step costs, counted on the model's own forward and backward pass over tensors
that have shapes but no data (torch's FakeTensorMode).

Autograd saves in such a pass what it saves in a real one, and torch's FlopCounterMode counts the
products of matrices. So every model that runs can be planned, whatever its norms, its attention and
its activation function are. Rules of thumb, with d the width of the residual stream, f that of the
feed-forward network and a bytes per activation; what is kept, is kept for each token:

- a product x W keeps x, a · inputs bytes, if W is trained, and nothing if W is frozen;
- a norm keeps its input: a · d bytes, or 4 · d where it computes in float32;
- fused attention keeps queries, keys, values and its output, about a · 4 · d; attention that is not
  fused keeps the probabilities of every head, too: heads · length · (4 + a);
- an activation function keeps its input, a · f; a gated network 3 · a · f;
- nothing is kept below the lowest part that is trained;
- x W takes 2 operations per weight forward, 2 for the gradient of x and 2 for that of W.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from accelerate.utils import recursively_apply
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode  # documented, though its path is private
from torch.func import functional_call
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from ..blocks import FeedForward, decoder_blocks, unwrap

AUTOCAST = {"no": None, "bf16": torch.bfloat16, "fp16": torch.float16}
LAYER_NUMBERS = ("layer_idx", "layer_number", "layer_id")  # attributes that tell alike blocks apart


@dataclass
class BlockFootprint:
    """One decoder block. input, kept: bytes of the hidden states that it gets, and of all that
    backward needs of it. forward, backward: operations. in_graph: whether backward comes to it."""

    input: int
    kept: int = 0
    forward: float = 0.0
    backward: float = 0.0
    in_graph: bool = False


@dataclass
class Footprint:
    """A forward and a backward pass. kept_outside, operations_outside: bytes that backward needs,
    and operations, of what lies before and behind the blocks; the loss is left out.
    with_gradient: the parameters that get one."""

    blocks: list[BlockFootprint]
    kept_outside: int
    operations_outside: float
    with_gradient: list[nn.Parameter]

    def activations(self, checkpointing: bool = False) -> int:
        """Bytes that are kept until backward. With checkpointing a block keeps its input alone."""
        if checkpointing:
            return self.kept_outside + sum(b.input for b in self.blocks if b.in_graph)
        return self.kept_outside + sum(block.kept for block in self.blocks)

    def largest_block(self) -> int:
        """Bytes of one block for a moment, when checkpointing computes it again in backward."""
        return max(block.kept for block in self.blocks)

    def operations(self, checkpointing: bool = False) -> float:
        """Operations of both passes; checkpointing adds a second forward pass of the blocks."""
        total = self.operations_outside
        for block in self.blocks:
            total += block.forward + block.backward
            if checkpointing and block.in_graph:
                total += block.forward
        return total


# ---------------------------------------------------------------- as on a GPU
def _attention_flops(query, key, value, *args, **kwargs):
    return sdpa_flop_count(query, key, value)


def _attention_backward_flops(gradient, query, key, value, *args, **kwargs):
    return sdpa_backward_flop_count(gradient, query, key, value)


FUSED_ATTENTION_FLOPS = {  # torch counts the GPU's kernels by itself, but not the CPU's
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward_flops,
}


def _dropout(x, p: float = 0.5, training: bool = True, inplace: bool = False):
    """A GPU keeps which numbers are dropped in one byte each; the CPU in x's own dtype."""
    if training and p > 0:
        x, _ = torch.native_dropout(x, p, True)
    return x


def _fused_attention(query, key, value, attn_mask=None, dropout_p=0.0, *args, **kwargs):
    """A GPU's kernel keeps nothing of its dropout; the CPU's has none."""
    return F.scaled_dot_product_attention(query, key, value, attn_mask, 0.0, *args, **kwargs)


def _layer_norm(x, normalized_shape, weight=None, bias=None, eps: float = 1e-5):
    """On a GPU autocast computes it in float32."""
    if torch.is_autocast_enabled("cpu"):
        x, weight, bias = (None if t is None else t.float() for t in (x, weight, bias))
    return F.layer_norm(x, normalized_shape, weight, bias, eps)


class GpuKernels(TorchFunctionMode):
    """Lets a pass on the CPU keep what a GPU's kernels keep."""

    replaced = {
        F.dropout: _dropout,
        F.scaled_dot_product_attention: _fused_attention,
        F.layer_norm: _layer_norm,
    }

    def __torch_function__(self, function, types, args=(), kwargs=None):
        function = self.replaced.get(function, function)
        return function(*args, **(kwargs or {}))


# ---------------------------------------------------------------- the count
class Recorder:
    """Counts, while a model runs, what autograd saves: each storage once, for the block that saved
    it first, and none of the model's own.

    Of blocks that are alike the first one is computed. The others give back what they get, and
    count as much as the first."""

    def __init__(self, tensors: Iterable[torch.Tensor]):
        self.counter = FlopCounterMode(display=False, custom_mapping=FUSED_ATTENTION_FLOPS)
        self.known = {id(t.untyped_storage()): t.untyped_storage() for t in tensors}
        self.shared: set[int] = set()  # storages that one block gets and others get, too
        self.kept_outside = 0
        self.current: BlockFootprint | None = None
        self.blocks: list[BlockFootprint] = []
        self.computed: dict[tuple, tuple[nn.Module, BlockFootprint, list | None]] = {}
        self.copies: list[tuple[nn.Module, nn.Module]] = []  # (a block, the one computed for it)
        self.marks: list[tuple[BlockFootprint | None, float]] = []

    def save(self, tensor: torch.Tensor) -> torch.Tensor:
        """Count a tensor that is kept for backward."""
        storage = tensor.untyped_storage()
        if id(storage) in self.known:
            return tensor
        self.known[id(storage)] = storage  # held, so that no id is used twice
        if self.current is None or id(storage) in self.shared:
            self.kept_outside += storage.nbytes()
        else:
            self.current.kept += storage.nbytes()
        return tensor

    def share(self, tensor: torch.Tensor) -> torch.Tensor:
        """Mark what all blocks get: masks and position embeddings."""
        self.shared.add(id(tensor.untyped_storage()))
        return tensor

    def hold(self, module: nn.Module, args: tuple) -> tuple:
        """A forward pre-hook: ask for the gradient of a layer's input, and keep that input."""
        neurons = args[0] if args[0].requires_grad else args[0].detach().requires_grad_(True)
        return (self.save(neurons), *args[1:])

    def stand_in(self, block: nn.Module, likeness: tuple) -> Callable:
        """What to call in place of a block's forward."""
        compute = block.forward

        def forward(hidden_states, *args, **kwargs):
            in_graph = hidden_states.requires_grad, torch.is_grad_enabled()
            key = (likeness, in_graph, hidden_states.dtype)
            if key in self.computed:
                twin, counted, others = self.computed[key]
                self.copies.append((block, twin))
                self.blocks.append(counted)
                return hidden_states if others is None else (hidden_states, *others)
            recursively_apply(self.share, [args, kwargs])
            counted = BlockFootprint(hidden_states.numel() * hidden_states.element_size())
            self.blocks.append(counted)
            self.current, before = counted, self.counter.get_total_flops()
            output = compute(hidden_states, *args, **kwargs)
            self.current, counted.forward = None, self.counter.get_total_flops() - before
            hidden, others = output, None
            if isinstance(output, (tuple, list)):
                hidden, *others = output
            self.computed[key] = block, counted, others
            counted.in_graph = hidden.requires_grad
            if counted.in_graph:
                hidden.register_hook(lambda gradient: self.mark(counted))
            return output

        return forward

    def mark(self, block: BlockFootprint | None) -> None:
        """Backward comes to a block, or to its end: what it did since the last mark belongs to the
        block there."""
        done = self.counter.get_total_flops()
        if self.marks:
            last, before = self.marks[-1]
            last.backward = done - before
        self.marks.append((block, done))

    def result(self, model: nn.Module, tensors: Mapping[str, torch.Tensor]) -> Footprint:
        """The counts, after backward."""
        self.mark(None)
        operations = self.counter.get_total_flops()
        for _, block, _ in self.computed.values():
            operations -= block.forward + block.backward
        named = dict(model.named_parameters())
        found = {id(p) for name, p in named.items() if tensors[name].grad is not None}
        for block, twin in self.copies:
            for p, q in zip(block.parameters(), twin.parameters()):
                if id(q) in found:
                    found.add(id(p))
        with_gradient = [p for p in named.values() if id(p) in found]
        return Footprint(self.blocks, self.kept_outside, operations, with_gradient)


def footprint(
    model: nn.Module,
    batch: int,
    length: int,
    positions: int,
    mixed_precision: str = "no",
    scored: Sequence[FeedForward] = (),
) -> Footprint:
    """Count a forward and a backward pass of a model that lies on the meta device.

    Args:
        model: a transformers model or one that a method made of it; its mode (training or not) and
            its requires_grad stay as they are.
        batch, length: rows, and tokens of a row.
        positions: of a row, from its end, that get logits.
        mixed_precision: "no", "bf16" or "fp16".
        scored: feed-forward networks whose neurons' gradients are asked for, with all frozen.
    """
    dtype = AUTOCAST[mixed_precision]
    parts = {id(view.parent) for view in scored}
    with ExitStack() as stack:
        stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        tensors = without_data(model)
        recorder = Recorder(tensors.values())
        for view in scored:
            stack.callback(view.down.register_forward_pre_hook(recorder.hold).remove)
        for block in decoder_blocks(model):
            is_scored = any(id(part) in parts for part in block.modules())
            block.forward = recorder.stand_in(block, (is_scored, *likeness(block)))
            stack.callback(delattr, block, "forward")
        stack.enter_context(recorder.counter)
        stack.enter_context(GpuKernels())
        inputs = model_inputs(model, batch, length, positions)
        with (
            torch.autograd.graph.saved_tensors_hooks(recorder.save, lambda tensor: tensor),
            torch.autocast("cpu", dtype, enabled=dtype is not None),
        ):
            logits = functional_call(model, tensors, (), inputs).logits
        logits.sum().backward()
        return recorder.result(model, tensors)


def without_data(model: nn.Module) -> dict[str, torch.Tensor]:
    """{name: tensor on the CPU} of all parameters and buffers; call it in FakeTensorMode."""
    tensors = {}
    for name, t in [*model.named_parameters(), *model.named_buffers()]:
        tensors[name] = torch.empty(t.shape, dtype=t.dtype, device="cpu")
        tensors[name].requires_grad_(t.requires_grad)
    return tensors


def likeness(block: nn.Module) -> tuple:
    """Equal for two blocks that take the same memory and operations."""
    parts = [(name, p.shape, p.dtype, p.requires_grad) for name, p in block.named_parameters()]
    for module in block.modules():
        for key, value in vars(module).items():
            if isinstance(value, (int, float, str)) and key not in LAYER_NUMBERS:
                parts.append((type(module), key, value))
    return tuple(parts)


def model_inputs(model: nn.Module, batch: int, length: int, positions: int) -> dict:
    """What a model is called with; call it in FakeTensorMode."""
    ids = torch.zeros(batch, length, dtype=torch.long)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "use_cache": False}
    if "logits_to_keep" in inspect.signature(type(unwrap(model)).forward).parameters:
        inputs["logits_to_keep"] = positions
    return inputs
