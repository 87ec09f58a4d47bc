"""How to tune: which neurons, which router; a PEFT configuration."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download
from peft import PeftConfig
from peft.utils import CONFIG_NAME

from ..config import DEFAULT_ROUTING
from ..io import content_of
from ..neurons import NeuronSets
from ..routing import ROUTINGS

SETS = "neuron_sets.safetensors"  # beside PEFT's adapter_config.json and adapter_model.safetensors


@dataclass(init=False)
class LanderTuningConfig(PeftConfig):
    """LANDeRMT as a PEFT method.

    Args:
        neuron_sets: which neurons are general and which belong to a language.
        routing: none | literal | corrected | learned (`routing.CAR`).
        other_specific: "keep" or "drop" the neurons outside general ∪ specific(pair) in the forward
            pass; None: drop for literal and corrected, keep otherwise.
        dtype: of the trained slices, such as "bfloat16"; None: float32 where the model is in half
            precision, since small updates are rounded away there, else the model's.
        settings: PeftConfig's own fields; `task_type` is CAUSAL_LM. Wrapping fills in
            `target_modules` and `base_fingerprint`.

    Raises: ValueError for an unknown routing, other_specific or dtype.
    """

    neuron_sets: NeuronSets | None = field(default=None, metadata={"help": "what to train"})
    routing: str = field(default=DEFAULT_ROUTING, metadata={"help": " | ".join(ROUTINGS)})
    other_specific: str | None = field(default=None, metadata={"help": "keep | drop | None"})
    dtype: str | None = field(default=None, metadata={"help": "of the trained slices"})
    target_modules: list[str] | None = field(default=None, metadata={"help": "wrapped modules"})
    base_fingerprint: dict[str, Any] | None = field(default=None, metadata={"help": "base model"})

    def __init__(
        self, neuron_sets=None, routing=DEFAULT_ROUTING, other_specific=None, dtype=None, **settings
    ):
        values = {spec.name: spec.default for spec in fields(self)} | {"task_type": "CAUSAL_LM"}
        if unknown := sorted(settings.keys() - values.keys()):
            raise TypeError(f"{type(self).__name__} has no setting {unknown[0]!r}")
        values |= {"neuron_sets": neuron_sets, "routing": routing}
        values |= {"other_specific": other_specific, "dtype": dtype, **settings}
        for name, value in values.items():
            setattr(self, name, value)
        self.__post_init__()

    def __post_init__(self):
        from . import model  # noqa: F401  makes the method known to PEFT

        super().__post_init__()
        self.peft_type = "LANDER"
        if self.routing not in ROUTINGS:
            raise ValueError(f"routing={self.routing!r} is not one of {', '.join(ROUTINGS)}")
        if self.other_specific not in (None, "keep", "drop"):
            what = f"other_specific={self.other_specific!r}"
            raise ValueError(f'{what} is not "keep", "drop" or None')
        if not isinstance(self.base_fingerprint, dict | None):
            raise ValueError(f"base_fingerprint={self.base_fingerprint!r} is not a dict")
        if self.dtype and not isinstance(getattr(torch, str(self.dtype), None), torch.dtype):
            raise ValueError(f"dtype={self.dtype!r} is not the name of a torch dtype, as float32")

    @property
    def drops(self) -> bool:
        """Whether neurons outside general ∪ specific(pair) are left out of the forward pass."""
        if self.other_specific is None:
            return self.routing in ("literal", "corrected")
        return self.other_specific == "drop"

    def to_dict(self) -> dict[str, Any]:
        """What JSON can hold: for the sets, their hash."""
        values = {spec.name: getattr(self, spec.name) for spec in fields(self)}
        sets = values.pop("neuron_sets")
        return values | {"neuron_sets": sets.hash() if sets else None}

    def save_pretrained(self, save_directory: str, **options) -> None:
        """Write PEFT's adapter_config.json, and the neuron sets beside it."""
        super().save_pretrained(save_directory, **options)
        self.neuron_sets.save(Path(save_directory) / SETS)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, subfolder=None, **options):
        """Read what `save_pretrained` wrote, from a folder or a hub repository.

        Raises: FileNotFoundError or ValueError that names a missing, damaged or foreign file.
        """
        source = pretrained_model_name_or_path
        folder = Path(source, subfolder or "")
        if folder.is_dir() and not (folder / CONFIG_NAME).is_file():
            raise FileNotFoundError(f"no file {folder / CONFIG_NAME}")
        with content_of(folder / CONFIG_NAME):
            config = super().from_pretrained(source, subfolder=subfolder, **options)
        if folder.is_dir():
            path = folder / SETS
        else:
            options = {name: options.get(name) for name in ("revision", "cache_dir", "token")}
            path = hf_hub_download(str(source), SETS, subfolder=subfolder, **options)
        stored, config.neuron_sets = config.neuron_sets, NeuronSets.load(path)
        if stored != config.neuron_sets.hash():
            raise ValueError(f"{path} belongs to another save than adapter_config.json beside it")
        return config
