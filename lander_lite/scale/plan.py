"""Memory and compute on paper: what a method needs on a model, before anything is downloaded or
loaded.

The architecture and the method are built on torch's meta device, where tensors have shapes but no
data, so that parameter counts are exact. Activations and FLOPs follow formulas, which stand beside
the code. Sizes that are known only after detection and scoring are assumed: the selected layers are
blocks 1 … k (the worst case: everything above the lowest one is kept), and the languages share the
specific neurons
evenly. Units: bytes (1 GB = 10^9), floating-point operations (a multiplication and an addition are
    2).
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from ..blocks import feed_forwards, fingerprint, unwrap
from ..config import LanderConfig, nearest
from ..model import model_source, random_model
from ..neurons import NeuronSets
from ..reproduction.methods import METHODS, TUNED
from ..tuner.layer import PartitionedFFN
from .footprint import Shape, autocast_bytes, kept_bytes, pass_flops

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
ALIASES = {"landermt": "lander-corrected"}
KNOWN = [name for name in TUNED if name != "xie"]  # the size of Xie's sets depends on the scores


@dataclass
class Plan:
    """What a method needs. tuning, scoring: {kind: bytes}; flops: {step: operations of one step}.
    trained: parameters that any pair trains; active: those that get a gradient in one step;
    parameters: all of the base model."""

    config: LanderConfig
    method: str
    layers: list[int]
    parameters: int
    trained: int = 0
    active: int = 0
    tuning: dict[str, float] = field(default_factory=dict)
    scoring: dict[str, float] = field(default_factory=dict)
    flops: dict[str, float] = field(default_factory=dict)
    step: float = 0.0  # what AdamW needs for a moment, when the activations are gone

    @property
    def peak(self) -> float:
        """Bytes on the device, the larger of tuning and scoring (selective methods alone need
        scores)."""
        moment = sum(self.tuning.get(kind, 0) for kind in ("activations", "logits", "temporary"))
        tuning = sum(self.tuning.values()) + max(0, self.step - moment)
        return max(tuning, sum(self.scoring.values()) if needs_scores(self.method) else 0)

    def fits(self, gpu: str) -> bool:
        """Whether the peak leaves MARGIN of the GPU's memory free."""
        return self.short(gpu) <= 0

    def table(self, gpu: str | None = None) -> str:
        """The plan as text; what to change where `gpu` (None: every GPU) is too small."""
        c, t = self.config, self.config.finetune
        counts = {
            "parameters": self.parameters,
            "trained": self.trained,
            "trained in one step": self.active,
        }
        lines = [
            f"{c.profile}, {self.method}: {METHODS[self.method].about}",
            f"batch {t.batch_size} x {t.max_length} tokens, accumulation {t.accumulation}, "
            f"{c.model.dtype or 'float32'}, "
            f"mixed precision {t.mixed_precision}, gradient checkpointing "
            f"{'on' if t.gradient_checkpointing else 'off'}",
            f"k {len(self.layers)}, epsilon {c.categories.epsilon}, selected layers {self.layers} "
            f"(the lower, the more memory)",
            "",
            *(f"{name:24}{count:>16,d}" for name, count in counts.items()),
            "",
            f"{'GB':24}{'tuning':>10}{'scoring':>10}",
        ]
        kinds = dict.fromkeys([*self.tuning, *self.scoring])
        lines += [
            f"{kind:24}{self.tuning.get(kind, 0) / 1e9:10.3f}"
            f"{self.scoring.get(kind, 0) / 1e9:10.3f}"
            for kind in kinds
        ]
        lines += [
            f"{'peak':24}{self.peak / 1e9:10.3f}",
            "",
            *(f"{name:24}{value:>10.3g} FLOP a step" for name, value in self.flops.items()),
            "",
        ]
        lines += [
            f"{name:12}{size:4} GB   "
            f"{'fits' if self.fits(name) else f'{self.short(name) / 1e9:.1f} GB short'}"
            for name, size in GPUS.items()
        ]
        lines.append(f"(A GPU fits if {MARGIN:.0%} of its memory stays free.)")
        if not (any(map(self.fits, GPUS)) if gpu is None else self.fits(gpu)):
            short = (
                f"{gpu} is {self.short(gpu) / 1e9:.1f} GB short"
                if gpu
                else "No single GPU of these is large enough"
            )
            lines += ["", f"{short}. The peak after each change alone:"]
            for method, change in changes(c, self.method):
                peak = plan(
                    changed(c, change), method, None if "layers.k" in change else self.layers
                ).peak
                flags = [f"--method {method}"] * (method != self.method) + [
                    f"--set {key}={value}" for key, value in change.items()
                ]
                lines += [f"{peak / 1e9:8.1f} GB   {' '.join(flags)}"] * (peak < self.peak)
        return "\n".join(lines)

    def short(self, gpu: str) -> float:
        """Bytes that a GPU lacks; negative if it fits. ValueError for a GPU that is not in GPUS."""
        if gpu not in GPUS:
            raise ValueError(
                f"unknown GPU {gpu!r}{nearest(gpu, GPUS)}; there are {', '.join(GPUS)}"
            )
        return self.peak - (1 - MARGIN) * GPUS[gpu] * 1e9


def plan(
    config: LanderConfig, method: str = "landermt", layers: Sequence[int] | None = None
) -> Plan:
    """What `method` needs with this config. layers: the selected blocks, if they are known. Raises
    ValueError for an unknown method, one that trains nothing, or quantised weights with a method
    that would train them."""
    method = ALIASES.get(method, method)
    if method not in KNOWN:
        raise ValueError(
            f"no plan for method {method!r}{nearest(method, [*ALIASES, *KNOWN])}; there are "
            f"{', '.join([*ALIASES, *KNOWN])}"
        )
    if (config.model.load_in_4bit or config.model.load_in_8bit) and not quantisable(method):
        raise ValueError(
            f"{method} trains whole layers of the model, which can't be quantised; landermt, "
            f"lora, ia3 and adapters can"
        )
    base = meta_model(config)
    selected = list(range(1, config.layers.k + 1)) if layers is None else list(layers)
    shape = Shape(base, config)
    result = Plan(config, method, selected, sum(p.numel() for p in base.parameters()))
    plan_scoring(result, base, shape, selected)
    tuned = METHODS[method].build(
        base, None, even_sets(base, config, selected), config.finetune.seed
    )
    if hasattr(tuned, "set_pair"):
        tuned.set_pair(config.corpus.pairs[0])
    plan_tuning(result, tuned, shape)
    return result


def needs_scores(method: str) -> bool:
    return method.startswith("lander-") or method in ("specific-only", "general-only", "random")


def quantisable(method: str) -> bool:
    """Whether frozen weights may lie in 4 or 8 bits. Selective methods turn the selected blocks'
    layers back (`FeedForward.dequantise`)."""
    return needs_scores(method) or method in ("lora", "ia3", "adapter", "adapter-lora")


def meta_model(config: LanderConfig) -> nn.Module:
    """The config's architecture without data. A model that is no profile's needs its config.json at
    hand."""
    m = config.model
    dtype = getattr(torch, m.dtype) if m.dtype not in (None, "auto") else torch.float32
    with torch.device("meta"):
        source = m.name_or_path if m.architecture else model_source(m.name_or_path)
        return random_model(
            source,
            m.architecture,
            dtype,
            {"trust_remote_code": m.trust_remote_code, "revision": m.revision},
        )


def even_sets(model: nn.Module, config: LanderConfig, layers: Sequence[int]) -> NeuronSets:
    """floor(epsilon · d_ff) general neurons in each layer; the languages share the others
    evenly."""
    d_ff, languages = feed_forwards(model)[0].d_ff, config.corpus.languages
    cut = int(config.categories.epsilon * d_ff + 1e-9)
    parts = dict(zip(languages, torch.arange(cut, d_ff).tensor_split(len(languages))))
    return NeuronSets(
        list(layers),
        list(languages),
        {i: torch.arange(cut) for i in layers},
        {language: dict.fromkeys(layers, part) for language, part in parts.items()},
        d_ff,
        fingerprint(model),
        "plan",
    )


def size(parameters) -> int:
    return sum(p.numel() * p.element_size() for p in parameters)


def frozen_bytes(s: Shape, parameters, turned_back: Collection[int] = ()) -> float:
    """Weights that are not trained, with the blocks' linear layers quantised if the config says so,
    except those whose ids are given."""
    small = s.quantised.difference(turned_back) if s.quantum else ()
    return sum(p.numel() * (s.quantum if id(p) in small else p.element_size()) for p in parameters)


def plan_scoring(result: Plan, base: nn.Module, s: Shape, selected: Sequence[int]) -> None:
    """Detection is a forward pass without the head; scoring adds logits and a backward pass, down
    to the lowest selected layer."""
    c = result.config
    batch, length, a = (
        c.awareness.batch_size,
        c.corpus.max_length,
        next(base.parameters()).element_size(),
    )
    for p in base.parameters():
        p.requires_grad_(False)
    result.flops["detection"] = pass_flops(s, base, c.layers.batch_size, length, 0, backward=False)
    kept, _ = kept_bytes(
        s, base, batch, length, a, mixed=False, checkpointing=False, start=min(selected)
    )
    result.flops["scoring"] = pass_flops(
        s, base, batch, length, length, backward=True, start=min(selected)
    )
    if needs_scores(result.method):
        neurons = batch * length * len(selected) * s.d_ff
        result.scoring = {
            "frozen weights": frozen_bytes(s, base.parameters()),
            "activations": kept + neurons * a,  # h of the selected layers is held
            "logits": logit_bytes(batch * length, s.vocabulary),
            "temporary": logit_bytes(batch * length, s.vocabulary) + neurons * a,  # their gradients
            "scoring accumulators": 4.0 * len(c.corpus.languages) * len(selected) * s.d_ff,
        }


def logit_bytes(positions: int, vocabulary: int) -> float:
    """log-softmax's float32 output, which cross-entropy keeps; its gradient is as large."""
    return 4.0 * positions * vocabulary


def plan_tuning(result: Plan, tuned: nn.Module, s: Shape) -> None:
    """AdamW has two states of the parameter's own dtype for all that any pair trains; gradients
    exist for the current pair's part."""
    t, inner = result.config.finetune, unwrap(tuned)
    trained = [p for p in tuned.parameters() if p.requires_grad]
    frozen = [p for p in tuned.parameters() if not p.requires_grad]
    idle = [
        p
        for m in tuned.modules()
        if isinstance(m, PartitionedFFN)
        for name, part in m.slices.items()
        if not m.active(name)
        for p in part.parameters()
    ]
    turned_back = {
        id(p) for m in tuned.modules() if isinstance(m, PartitionedFFN) for p in m.base.parameters()
    }
    result.trained = sum(p.numel() for p in trained)
    result.active = result.trained - sum(p.numel() for p in idle)
    mixed = t.mixed_precision != "no"
    a = 2 if mixed else min(p.element_size() for p in inner.parameters())
    kept, moment = kept_bytes(
        s, inner, t.batch_size, t.max_length, a, mixed, t.gradient_checkpointing
    )
    positions = round(LABELS * t.max_length)
    logits = logit_bytes(t.batch_size * positions, s.vocabulary)
    teacher = (
        size(trained) if METHODS[result.method].kl else 0
    )  # a copy of the weights before training
    copies = autocast_bytes(s, inner) if mixed and s.item == 4 else 0
    result.tuning = {
        "frozen weights": frozen_bytes(s, frozen, turned_back) + teacher,
        "trained weights": size(trained),
        "gradients": size(trained) - size(idle),
        "optimiser states": 2 * size(trained),
        "activations": kept + copies,
        "logits": logits,
        "temporary": logits + moment,
    }
    result.step = size(trained) - size(idle)  # AdamW's for-each form computes on copies
    result.flops["tuning"] = t.accumulation * pass_flops(
        s, inner, t.batch_size, t.max_length, positions, True, t.gradient_checkpointing
    )


# ---------------------------------------------------------------- what to change
def changes(c: LanderConfig, method: str) -> list[tuple[str, dict]]:
    """What may take less memory: (method, overrides of the config), the cheapest for quality
    first."""
    t = c.finetune
    small = {
        "finetune.batch_size": 1,
        "finetune.accumulation": t.batch_size * t.accumulation,
        "awareness.batch_size": 1,
    }
    found = [
        (
            c.model.dtype not in ("bfloat16", "float16") and t.mixed_precision != "fp16",
            {"model.dtype": "bfloat16"},
        ),
        (not t.gradient_checkpointing, {"finetune.gradient_checkpointing": True}),
        (t.batch_size > 1 or c.awareness.batch_size > 1, small),
        (
            t.max_length > 64,
            {
                "finetune.max_length": t.max_length // 2,
                "corpus.max_length": c.corpus.max_length // 2,
            },
        ),
        (
            c.layers.k > 1 and method not in ("full", "full-kl", "lora", "ia3"),
            {"layers.k": c.layers.k // 2},
        ),
        (quantisable(method) and not c.model.load_in_4bit, {"model.load_in_4bit": True}),
    ]
    others = ["lander-corrected"] * (method in ("full", "full-kl")) + ["lora"] * (method != "lora")
    return [(method, change) for useful, change in found if useful] + [
        (other, {}) for other in others
    ]


def changed(config: LanderConfig, change: dict) -> LanderConfig:
    config = copy.deepcopy(config)
    for key, value in change.items():
        config.set(key, value)
    return config
