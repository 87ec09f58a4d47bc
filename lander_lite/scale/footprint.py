"""What backward needs of a forward pass, and how many operations a pass takes: the formulas of
`plan`, by structure of a block.

d: width of the residual stream; f = d_ff; a: bytes of an activation. Checked against the tensors
    that autograd saves (tests/test_plan.py).
"""

from __future__ import annotations

from torch import nn

from ..blocks import decoder_blocks, feed_forwards
from ..config import LanderConfig
from ..tuner.layer import PartitionedFFN


def trains(*modules) -> bool:
    return any(
        p.requires_grad for module in modules if module is not None for p in module.parameters()
    )


class Shape:
    """The sizes and modules of the base model that the formulas need, taken before a method changes
    it."""

    def __init__(self, model: nn.Module, config: LanderConfig):
        c = model.config
        self.views, self.blocks = feed_forwards(model), decoder_blocks(model)
        self.d, self.d_ff, self.heads = (
            self.views[0].d_model,
            self.views[0].d_ff,
            c.num_attention_heads,
        )
        self.vocabulary = model.get_input_embeddings().weight.shape[0]
        self.item = self.views[0].down.weight.element_size()
        self.eager = c._attn_implementation == "eager"  # BLOOM has no other
        self.linears = [
            [
                m
                for n, m in block.named_modules()
                if isinstance(m, nn.Linear) and not view.name.endswith(n.rpartition(".")[0])
            ]
            for block, view in zip(self.blocks, self.views)
        ]
        self.inner = {id(m) for block in self.blocks for m in block.modules()}
        self.norms = [[m for m in block.modules() if is_norm(m)] for block in self.blocks]
        self.outer = [m for m in model.modules() if is_norm(m) and id(m) not in self.inner]
        self.rms = not isinstance(self.outer[-1], nn.LayerNorm)
        self.quantised = {
            id(m.weight) for part in self.blocks for m in part.modules() if isinstance(m, nn.Linear)
        }
        # 4 bits a weight and a float32 scale for each 64 of them (bitsandbytes' NF4); 8 bits
        self.quantum = (
            0.5 + 4 / 64 if config.model.load_in_4bit else 1 if config.model.load_in_8bit else None
        )


def is_norm(module: nn.Module) -> bool:
    return not list(module.children()) and [
        p.dim() for name, p in module.named_parameters() if name == "weight"
    ] == [1]


# --------------------------------------------------- activations: bytes a token that backward needs
def block_bytes(
    s: Shape,
    i: int,
    block: nn.Module,
    ffn: nn.Module,
    graph: bool,
    length: int,
    a: int,
    mixed: bool,
) -> tuple[float, float]:
    """(bytes per token, bytes whatever the number of tokens) that block i keeps for backward.
    graph: its input needs a gradient. A product with a frozen weight keeps nothing of its input;
    one with a trained weight keeps it."""
    d, f, (first, second) = s.d, s.d_ff, s.norms[i]
    *qkv, out = s.linears[i]
    norm = (
        4 if s.rms or mixed else a
    )  # the norms' inputs; RMSNorm and mixed precision work in float32
    added, fixed = addition_bytes(block, a), 0.0
    attention = graph or trains(first, *qkv, out) or added > addition_bytes(ffn, a)
    kept = added
    if attention:
        kept += norm * d * (graph or trains(first)) + d * (
            s.item * (s.rms and trains(first)) + a * trains(*qkv)
        )
        if s.eager:  # queries, keys, values; the probabilities of every head in float32 and in `a`
            kept += a * 3 * d + s.heads * length * (4 + (a if a < 4 else 0)) + a * d * trains(out)
        else:  # fused: queries, keys, values, the output, a sum per head; no length x length
            kept += (
                a * 4 * d + 4 * s.heads
            )  # keys and values are repeated for every head where heads share them
    view = s.views[i]
    kept += norm * d * (attention or trains(second)) + s.item * d * (s.rms and trains(second))
    if isinstance(ffn, PartitionedFFN):
        more, fixed = partitioned_bytes(s, ffn, attention, a)
        kept += more
    elif attention or trains(second, view.up, view.gate, view.down):
        # act's input; with a gate also its output and its partner; and down's input, the product of
        # the two, for down's own gradient
        kept += a * (
            f * (3 if view.gate else 1) + f * trains(view.down) + d * trains(view.up, view.gate)
        )
    return kept, fixed


def partitioned_bytes(s: Shape, ffn: PartitionedFFN, graph: bool, a: int) -> tuple[float, float]:
    """The same of a PartitionedFFN: its parts keep what a feed-forward block of their size keeps.
    Weights of several slices are joined to one matrix (torch.cat), and backward keeps that copy."""
    rows = (
        3 if ffn.ffn.gate else 2
    )  # matrices; also: tensors that a trained neuron keeps per token, less one if gated
    count = {name: len(index) for name, index in ffn.groups.items()}
    own = {name: n for name, n in count.items() if ffn.active(name)}
    pair = [n for name, n in own.items() if name != "general"]
    others = [] if ffn.drop else [n for name, n in count.items() if name not in own]
    frozen = 0 if ffn.drop else sum(others) + ffn.n_rest
    scaled = ffn.routing in ("literal", "corrected")  # each part has an input of its own, scaled
    learned = ffn.routing == "learned"  # backward needs both parts' outputs
    kept = a * (
        sum(own.values()) * (4 if ffn.ffn.gate else 2)
        + s.d * (2 if scaled else 1)
        + 2 * s.d * learned
    )
    kept += a * frozen * (rows if ffn.ffn.gate else 1) * graph
    copied = sum(pair) * (len(pair) > 1) + sum(others) * (len(others) > 1) * graph
    return kept, a * copied * rows * s.d


def addition_bytes(block: nn.Module, a: int) -> float:
    """Bytes per token of LoRA, adapters and IA3. LoRA: the input after dropout, dropout's mask (1
    byte on a GPU; the CPU's takes a bytes) and r products; adapter: its input and twice its
    bottleneck; IA3: what it scales."""
    total = 0.0
    for module in block.modules():
        if hasattr(module, "lora_A") and module.lora_A:
            total += sum(
                (1 + a) * part.in_features + a * part.out_features
                for part in module.lora_A.values()
            )
        elif hasattr(module, "ia3_l"):
            total += a * sum(p.numel() for p in module.ia3_l.values())
        elif type(module).__name__ == "Adapter":
            total += a * (module.out_features + 2 * module.down.out_features)
    return total


def kept_bytes(
    s: Shape,
    model: nn.Module,
    batch: int,
    length: int,
    a: int,
    mixed: bool,
    checkpointing: bool,
    start: int | None = None,
) -> tuple[float, float]:
    """(bytes that backward keeps of all blocks and norms, bytes of one block for a moment). Nothing
    is kept below the lowest part that is trained. With checkpointing a block keeps its input alone
    and is computed again when backward comes to it. start: a block from whose neurons gradients are
    asked, though nothing is trained (scoring)."""
    tokens, graph = batch * length, trains(model.get_input_embeddings())
    stream = (
        4 if mixed and (s.item == 4 or not s.rms) else a
    )  # of the residual stream: under autocast LayerNorm's outputs are float32
    kept = (
        sum(4 if s.rms or mixed else a for norm in s.outer[:-1] if graph or trains(norm))
        * s.d
        * tokens
    )
    moment = 0.0
    for i, (block, ffn) in enumerate(zip(s.blocks, current(s, model))):
        per_token, fixed = block_bytes(s, i, block, ffn, graph, length, a, mixed)
        graph = graph or trains(block) or i == start
        kept += stream * s.d * tokens * graph if checkpointing else per_token * tokens + fixed
        moment = max(moment, per_token * tokens + fixed) if checkpointing else 0.0
    last = s.outer[-1]
    return kept + tokens * s.d * (
        (4 if s.rms or mixed else a) * graph + s.item * s.rms * trains(last)
    ), moment


def current(s: Shape, model: nn.Module) -> list[nn.Module]:
    """The module that now stands where each feed-forward block was."""
    return [model.get_submodule(view.name) for view in s.views]


def block_flops(
    s: Shape, i: int, block: nn.Module, ffn: nn.Module, length: int
) -> tuple[float, float, float]:
    """FLOPs per token of block i: (products with weights, products of attention, gradients of
    weights), each forward once.

    A weight matrix costs 2 operations per element, forward, for the gradient of its input, and for
    its own gradient if it is trained.
    Attention: 2 · length · d for the scores and as much for the mean of the values."""
    elements = sum(p.numel() for p in block.parameters() if p.dim() == 2)
    trained = sum(p.numel() for p in block.parameters() if p.dim() == 2 and p.requires_grad)
    if isinstance(ffn, PartitionedFFN):
        neuron = s.d * (3 if ffn.ffn.gate else 2)
        slices = {name: len(index) * neuron for name, index in ffn.groups.items()}
        own = sum(n for name, n in slices.items() if ffn.active(name))
        elements += (own if ffn.drop else s.d_ff * neuron) - s.d_ff * neuron - sum(slices.values())
        trained += own - sum(slices.values())
    return 2.0 * elements, 4.0 * length * s.d, 2.0 * trained


def pass_flops(
    s: Shape,
    model: nn.Module,
    batch: int,
    length: int,
    labels: int,
    backward: bool,
    checkpointing: bool = False,
    start: int | None = None,
) -> float:
    """FLOPs of one forward pass and, with backward, of going back to the lowest trained part: above
    it as much again as forward for the products with weights, twice as much for attention (both
    factors get a gradient), and the gradients of trained weights. Checkpointing
    adds a second forward pass there. labels: positions with logits in a row (0: the output head
    does not run)."""
    graph, head = trains(model.get_input_embeddings()), 2.0 * s.vocabulary * s.d * labels
    total = head * batch
    if backward:
        total += head * batch * (1 + trains(model.get_output_embeddings()))
    for i, (block, ffn) in enumerate(zip(s.blocks, current(s, model))):
        weights, attention, own = block_flops(s, i, block, ffn, length)
        total += batch * length * (weights + attention)
        if backward:
            total += batch * length * (own + graph * (weights + 2 * attention))
        graph = graph or trains(block) or i == start
        if backward and checkpointing and graph:
            total += batch * length * (weights + attention)
    return total


def autocast_bytes(s: Shape, model: nn.Module) -> float:
    """Mixed precision makes 2-byte copies of float32 weights; backward keeps those of the head and
    from the lowest trained block up."""
    parts = list(zip(s.blocks, current(s, model)))
    lowest = (
        0
        if trains(model.get_input_embeddings())
        else next(i for i, (block, _) in enumerate(parts) if trains(block))
    )
    elements = sum(block_flops(s, i, *parts[i], 1)[0] / 2 for i in range(lowest, len(parts)))
    return 2 * (elements + s.vocabulary * s.d)
