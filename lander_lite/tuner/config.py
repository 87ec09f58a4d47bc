"""How to tune: which neurons, which router."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from ..neurons import NeuronSets
from ..routing import ROUTINGS


@dataclass
class LanderTuningConfig:
    """How to wrap a model. neuron_sets: what to train. routing: none | literal | corrected |
    learned (routing.CAR). other_specific: keep | drop the neurons of languages outside the pair in
    the forward pass; None: drop for literal and corrected, keep otherwise.
    dtype: of the trained slices ("float32" with bfloat16 frozen weights keeps small updates); None:
    that of the model."""

    neuron_sets: NeuronSets = field(
        metadata={"help": "which neurons are general and which belong to a language"}
    )
    routing: str = field(default="none", metadata={"help": " | ".join(ROUTINGS)})
    other_specific: str | None = field(
        default=None, metadata={"help": "keep | drop | None (by routing)"}
    )
    dtype: str | None = field(default=None, metadata={"help": "dtype of the trained slices"})

    def __post_init__(self):
        if self.routing not in ROUTINGS:
            raise ValueError(f"routing={self.routing!r} is not one of {', '.join(ROUTINGS)}")
        if self.other_specific not in (None, "keep", "drop"):
            raise ValueError(
                f'other_specific={self.other_specific!r} is not "keep", "drop" or None'
            )
        if self.dtype is not None and not isinstance(getattr(torch, self.dtype, None), torch.dtype):
            raise ValueError(
                f"dtype={self.dtype!r} is not the name of a torch dtype, such as float32"
            )
