"""Memory and compute on paper: what a method needs on a model, before anything is downloaded or
loaded.

The architecture and the method are built on torch's meta device, where tensors have shapes but no
data, so that parameter counts are exact; `footprint` counts what backward keeps, and operations.
Sizes that are known only after detection and scoring are assumed: the selected layers are blocks
1 … k (the worst case: everything above the lowest one is kept), and the languages share the
specific neurons evenly. Units: bytes (1 GB = 10^9), floating-point operations (a multiplication and
an addition are 2).
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import nn

from ..blocks import decoder_blocks, feed_forwards, fingerprint
from ..config import LanderConfig, TuningConfig, nearest
from ..head import LOGITS, head_of
from ..model import model_source, random_model
from ..neurons import NeuronSets
from ..training.optimizer import parts
from ..tuner.config import LanderTuningConfig
from ..tuner.model import get_lander_model
from .footprint import footprint

GPUS = {
    "T4": 16,
    "RTX 4090": 24,
    "A100 40GB": 40,
    "L40S": 48,
    "A6000": 48,
    "A100 80GB": 80,
    "H100": 80,
    "H200": 141,
}  # GB
MARGIN = 0.1  # of the memory, left free for CUDA itself, libraries and fragmentation
LABELS = 0.5  # share of a batch's positions with logits: `label_loss` skips the shared prompt
EIGHT_BIT_STEP = 60  # bytes a number, measured
TEMPORARY = ("activations", "logits", "temporary")  # gone when the optimiser makes its step
WITHOUT_LAYERS = ("full", "full-kl", "lora", "ia3")  # k changes nothing for these methods
SMALLER = {"full": "lander-corrected", "full-kl": "lander-corrected"}  # method: one to try instead
SMALLEST = "lora"


@dataclass(frozen=True)
class Lander:
    """LANDeRMT with a run's settings: what `lander-lite finetune` trains. A record as `plan` takes
    it."""

    settings: TuningConfig
    name: str = "landermt"
    about: str = "general and specific neurons of the selected layers"
    kl: float = 0.0
    needs_scores: bool = True
    quantisable: bool = True

    def build(self, model: nn.Module, lab: None, sets: NeuronSets, seed: int) -> nn.Module:
        """The wrapped model."""
        return get_lander_model(model, LanderTuningConfig(sets, **asdict(self.settings)))


@dataclass
class Plan:
    """What a method needs. tuning, scoring: {kind: bytes}; flops: {step: operations of one step}.
    parameters: all of the base model; trained: those that any pair trains; active: those that get a
    gradient in one step; step: bytes that the optimiser needs for a moment, when the activations
    are gone."""

    config: LanderConfig
    method: Any
    layers: list[int]
    parameters: int
    trained: int = 0
    active: int = 0
    tuning: dict[str, float] = field(default_factory=dict)
    scoring: dict[str, float] = field(default_factory=dict)
    flops: dict[str, float] = field(default_factory=dict)
    step: float = 0.0

    @property
    def peak(self) -> float:
        """Bytes on the device, the larger of tuning and scoring (which is empty for methods that
        need no scores)."""
        temporary = sum(self.tuning.get(kind, 0) for kind in TEMPORARY)
        tuning = sum(self.tuning.values()) + max(0, self.step - temporary)
        return max(tuning, sum(self.scoring.values()))

    def fits(self, gpu: str) -> bool:
        """Whether the peak leaves MARGIN of the GPU's memory free."""
        return self.short(gpu) <= 0

    def short(self, gpu: str) -> float:
        """Bytes that a GPU lacks; negative if it fits. ValueError for a GPU that is not in GPUS."""
        if gpu not in GPUS:
            known = ", ".join(GPUS)
            raise ValueError(f"unknown GPU {gpu!r}{nearest(gpu, GPUS)}; there are {known}")
        return self.peak - (1 - MARGIN) * GPUS[gpu] * 1e9

    def table(self, gpu: str | None = None, methods: Mapping | None = None) -> str:
        """The plan as text, and what to change where `gpu` (None: every GPU) is too small.
        methods: {name: method}, of which some may be proposed."""
        lines = [*self._settings(), "", *self._sizes(), "", *self._gpus()]
        if not any(self.fits(name) for name in ([gpu] if gpu else GPUS)):
            lines += ["", *self._proposals(gpu, methods or {})]
        return "\n".join(lines)

    def _settings(self) -> list[str]:
        c, t = self.config, self.config.finetune
        checkpointing = "on" if t.gradient_checkpointing else "off"
        return [
            f"{c.profile}, {self.method.name}: {self.method.about}",
            f"batch {t.batch_size} x {t.max_length} tokens, accumulation {t.accumulation}, "
            f"{c.model.dtype or 'float32'}, mixed precision {t.mixed_precision}, "
            f"gradient checkpointing {checkpointing}",
            f"k {len(self.layers)}, epsilon {c.categories.epsilon}, selected layers {self.layers} "
            f"(the lower, the more memory)",
        ]

    def _sizes(self) -> list[str]:
        counts = [
            f"{'parameters':24}{self.parameters:>16,d}",
            f"{'trained':24}{self.trained:>16,d}",
            f"{'trained in one step':24}{self.active:>16,d}",
        ]
        memory = [f"{'GB':24}{'tuning':>10}{'scoring':>10}"]
        for kind in dict.fromkeys([*self.tuning, *self.scoring]):
            tuning, scoring = self.tuning.get(kind, 0), self.scoring.get(kind, 0)
            memory.append(f"{kind:24}{tuning / 1e9:10.3f}{scoring / 1e9:10.3f}")
        memory.append(f"{'peak':24}{self.peak / 1e9:10.3f}")
        operations = [f"{name:24}{n:>10.3g} FLOP a step" for name, n in self.flops.items()]
        return [*counts, "", *memory, "", *operations]

    def _gpus(self) -> list[str]:
        lines = []
        for name, size in GPUS.items():
            verdict = "fits" if self.fits(name) else f"{self.short(name) / 1e9:.1f} GB short"
            lines.append(f"{name:12}{size:4} GB   {verdict}")
        return [*lines, f"(A GPU fits if {MARGIN:.0%} of its memory stays free.)"]

    def _proposals(self, gpu: str | None, methods: Mapping) -> list[str]:
        problem = "No single GPU of these is large enough"
        if gpu:
            problem = f"{gpu} is {self.short(gpu) / 1e9:.1f} GB short"
        lines = [f"{problem}. The peak after each change alone:"]
        for method, change in changes(self.config, self.method, methods):
            layers = None if "layers.k" in change else self.layers
            peak = plan(changed(self.config, change), method, layers).peak
            flags = [f"--set {key}={value}" for key, value in change.items()]
            if method.name != self.method.name:
                flags.insert(0, f"--method {method.name}")
            if peak < self.peak:
                lines.append(f"{peak / 1e9:8.1f} GB   {' '.join(flags)}")
        return lines


def plan(config: LanderConfig, method=None, layers: Sequence[int] | None = None) -> Plan:
    """What a method needs with this config.

    Args:
        method: a record with `name`, `about`, `build(model, lab, sets, seed)` (lab is None here),
            `kl` (weight of a KL term towards the base model), `needs_scores` (whether it trains
            neurons that awareness scores chose) and `quantisable` (whether its frozen weights may
            lie in 4 or 8 bits), such as reproduction's; None: LANDeRMT with the config's routing.
        layers: the selected blocks, if they are known.

    Raises: ValueError for a method that trains nothing, or quantised weights with a method that
        would train them.
    """
    method = method or Lander(config.tuning)
    if method.build is None:
        raise ValueError(f"no plan for method {method.name!r}: it trains nothing")
    if (config.model.load_in_4bit or config.model.load_in_8bit) and not method.quantisable:
        raise ValueError(
            f"{method.name} trains whole layers of the model, which can't be quantised; landermt, "
            f"lora, ia3 and adapters can"
        )
    base = meta_model(config)
    selected = list(range(1, config.layers.k + 1)) if layers is None else list(layers)
    result = Plan(config, method, selected, numbers(base.parameters()))
    quantisable = linear_weights(base)
    plan_scoring(result, base, quantisable)
    sets = even_sets(base, config, selected)
    tuned = method.build(base, None, sets, config.finetune.seed).train()
    if hasattr(tuned, "set_pair"):
        tuned.set_pair(config.corpus.pairs[0])
    plan_tuning(result, tuned, quantisable)
    return result


def meta_model(config: LanderConfig) -> nn.Module:
    """The config's architecture without data. A model that is no profile's needs its config.json at
    hand."""
    m = config.model
    dtype = torch.float32 if m.dtype in (None, "auto") else getattr(torch, m.dtype)
    options = {"trust_remote_code": m.trust_remote_code, "revision": m.revision}
    source = m.name_or_path
    if "model_type" not in m.architecture:
        source = model_source(source)
    with torch.device("meta"):
        return random_model(source, m.architecture, dtype, options)


def even_sets(model: nn.Module, config: LanderConfig, layers: Sequence[int]) -> NeuronSets:
    """floor(epsilon · d_ff) general neurons in each layer; the languages share the others
    evenly."""
    d_ff, languages = feed_forwards(model)[0].d_ff, config.corpus.languages
    cut = int(config.categories.epsilon * d_ff + 1e-9)
    parts = torch.arange(cut, d_ff).tensor_split(len(languages))
    return NeuronSets(
        layers=list(layers),
        languages=list(languages),
        general=dict.fromkeys(layers, torch.arange(cut)),
        specific={x: dict.fromkeys(layers, part) for x, part in zip(languages, parts)},
        d_ff=d_ff,
        model=fingerprint(model),
        method="plan",
    )


# ---------------------------------------------------------------- bytes
def numbers(tensors: Iterable[torch.Tensor]) -> int:
    """How many numbers tensors hold."""
    return sum(tensor.numel() for tensor in tensors)


def size(tensors: Iterable[torch.Tensor]) -> int:
    """Bytes of tensors."""
    return sum(tensor.nbytes for tensor in tensors)


def linear_weights(model: nn.Module) -> set[int]:
    """Ids of the weights that can be quantised: those of the blocks' linear layers."""
    found = set()
    for block in decoder_blocks(model):
        for module in block.modules():
            if isinstance(module, nn.Linear):
                found.add(id(module.weight))
    return found


def frozen_bytes(
    weights: Iterable[torch.Tensor], config: LanderConfig, quantisable: set[int]
) -> float:
    """Bytes of weights that are not trained."""
    item = None
    if config.model.load_in_8bit:
        item = 1
    if config.model.load_in_4bit:  # bitsandbytes' NF4: a float32 scale for each 64 numbers
        item = 0.5 + 4 / 64
    total = 0.0
    for weight in weights:
        small = item is not None and id(weight) in quantisable
        total += weight.numel() * item if small else weight.nbytes
    return total


def logit_bytes(model: nn.Module, positions: int) -> float:
    """log-softmax's float32 output, of the positions whose logits exist at once. For a moment there
    are two gradients as large."""
    words = model.get_input_embeddings().num_embeddings
    _, in_parts = head_of(model)
    return 4.0 * words * (min(positions, LOGITS // words) if in_parts else positions)


def state_bytes(trained: Sequence[torch.Tensor], optimizer: str) -> float:
    """AdamW's two states, of the parameter's own dtype; or, but for small parameters, of a byte a
    number, with a float32 scale for 256 of them and a table of 256 values."""
    if optimizer == "adamw":
        return 2 * size(trained)
    large = [p for p in trained if p.numel() >= 4096 and p.numel() % 256 == 0]
    small = size(trained) - size(large)
    return 2 * (small + numbers(large) * (1 + 4 / 256) + len(large) * 4 * 256)


def step_bytes(active: Sequence[torch.Tensor], optimizer: str) -> float:
    """What a step takes for a moment: AdamW's for-each form computes on copies; that of 8 bits on
    some rows after others, in float32 and with whole numbers."""
    if optimizer == "adamw":
        return size(active)
    return EIGHT_BIT_STEP * max(p[rows].numel() for p in active for rows in parts(p)[:1])


def plan_scoring(result: Plan, base: nn.Module, quantisable: set[int]) -> None:
    """Detection is a forward pass without the head; scoring adds logits and a backward pass, down
    to the lowest selected layer. Freezes the base model."""
    c, views = result.config, feed_forwards(base)
    batch, length = c.awareness.batch_size, c.corpus.max_length
    base.requires_grad_(False)
    scored = [views[i] for i in result.layers]
    counted = footprint(base, batch, length, length, scored=scored)
    forward = sum(block.forward for block in counted.blocks)
    result.flops["detection"] = forward * c.layers.batch_size / batch
    result.flops["scoring"] = counted.operations()
    if not result.method.needs_scores:
        return
    logits = logit_bytes(base, batch * length)
    neurons = len(scored) * views[0].d_ff
    gradients = batch * length * neurons * next(base.parameters()).element_size()
    result.scoring = {
        "frozen weights": frozen_bytes(base.parameters(), c, quantisable),
        "activations": counted.activations(),
        "logits": logits,
        "temporary": max(2 * logits, gradients - logits),  # one after the other
        "scoring accumulators": 4.0 * len(c.corpus.languages) * neurons,
    }


def plan_tuning(result: Plan, tuned: nn.Module, quantisable: set[int]) -> None:
    """The optimiser has states for all that any pair trains; gradients exist for the current pair's
    part."""
    t = result.config.finetune
    positions = round(LABELS * t.max_length)
    counted = footprint(tuned, t.batch_size, t.max_length, positions, t.mixed_precision)
    trained = [p for p in tuned.parameters() if p.requires_grad]
    frozen = [p for p in tuned.parameters() if not p.requires_grad]
    active = counted.with_gradient
    result.trained = numbers(trained)
    result.active = numbers(active)
    logits = logit_bytes(tuned, t.batch_size * positions)
    teacher = size(trained) if result.method.kl else 0  # a copy of the weights before training
    again = counted.largest_block() if t.gradient_checkpointing else 0
    result.tuning = {
        "frozen weights": frozen_bytes(frozen, result.config, quantisable) + teacher,
        "trained weights": size(trained),
        "gradients": size(active),
        "optimiser states": state_bytes(trained, t.optimizer),
        "activations": counted.activations(t.gradient_checkpointing),
        "logits": logits,
        "temporary": max(2 * logits, again - logits),  # one after the other
    }
    result.step = step_bytes(active, t.optimizer)
    operations = counted.operations(t.gradient_checkpointing)
    result.flops["tuning"] = t.accumulation * operations


# ---------------------------------------------------------------- what to change
def changes(config: LanderConfig, method, methods: Mapping) -> list[tuple[Any, dict]]:
    """What may take less memory: (method, overrides of the config), the cheapest for quality
    first."""
    t = config.finetune
    small = {
        "finetune.batch_size": 1,
        "finetune.accumulation": t.batch_size * t.accumulation,
        "awareness.batch_size": 1,
    }
    short = {
        "finetune.max_length": t.max_length // 2,
        "corpus.max_length": config.corpus.max_length // 2,
    }
    low, rounded = {"finetune.optimizer": "adamw-8bit"}, method
    if config.model.dtype == "bfloat16" and isinstance(method, Lander):
        low["tuning.dtype"] = "bfloat16"
        rounded = Lander(changed(config, low).tuning)
    wide = config.model.dtype not in ("bfloat16", "float16") and t.mixed_precision != "fp16"
    has_layers = config.layers.k > 1 and method.name not in WITHOUT_LAYERS
    quantisable = method.quantisable and not config.model.load_in_4bit
    found = [
        (wide, method, {"model.dtype": "bfloat16"}),
        (not t.gradient_checkpointing, method, {"finetune.gradient_checkpointing": True}),
        (t.optimizer == "adamw", rounded, low),
        (t.batch_size > 1 or config.awareness.batch_size > 1, method, small),
        (t.max_length > 64, method, short),
        (has_layers, method, {"layers.k": config.layers.k // 2}),
        (quantisable, method, {"model.load_in_4bit": True}),
    ]
    others = [SMALLER.get(method.name), SMALLEST]
    smaller = [methods[name] for name in others if name in methods and name != method.name]
    return [(m, change) for useful, m, change in found if useful] + [(m, {}) for m in smaller]


def changed(config: LanderConfig, change: dict) -> LanderConfig:
    """A copy of a config with overrides."""
    config = copy.deepcopy(config)
    for key, value in change.items():
        config.set(key, value)
    return config
