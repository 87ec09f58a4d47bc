"""Tuned models that lander_lite 0.1 saved: one file, other names. Load one, and save it again."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from ..io import content_of, read_tensors
from ..neurons import NeuronSets
from ..tuner.model import FIRST_EDITION, LanderModel, LanderTuningConfig, get_lander_model

SETS = "neuron_sets."  # prefix of the sets' tensors in the file


def load_first_edition(model: nn.Module, folder: str | Path) -> LanderModel:
    """Wrap `model` with what an earlier lander_lite saved in `folder`.

    Raises: FileNotFoundError; ValueError for another file or another base model.
    """
    path = Path(folder) / FIRST_EDITION
    about, tensors = read_tensors(path, "lander_lite.LanderModel/1")
    indices = {k.removeprefix(SETS): v for k, v in tensors.items() if k.startswith(SETS)}
    with content_of(path):
        sets = NeuronSets.from_tensors(indices, about["neuron_sets"])
        settings = {name: about[name] for name in ("routing", "other_specific", "dtype")}
        config = LanderTuningConfig(sets, base_fingerprint=about["base_model"], **settings)
    lander = get_lander_model(model, config)
    with torch.no_grad(), content_of(path):
        for block, layer in lander.partitioned.items():
            for key, p in layer.slices.items():
                p.copy_(tensors[f"{block}.slices.{key.replace(':', '.')}"])
            for name, p in layer.router.named_parameters():
                p.copy_(tensors[f"{block}.router.linear.{name}"])
    return lander
