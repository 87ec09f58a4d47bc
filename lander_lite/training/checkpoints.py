"""Checkpoints of a training run: safetensors of what is trained and of the optimiser's states, and
a JSON that makes the folder complete.

checkpoint-<update>/parameters.safetensors, optimizer.safetensors, state.json. Tensors have names,
and sharded ones are put together: a run may go on with another number of processes.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from ..config import FinetuneConfig
from ..io import read_tensors, write_tensors, write_text
from .distributed import is_main, shard_like, wait, whole

STATE, KIND = "state.json", "lander_lite.Checkpoint/1"


def run_identity(
    config: FinetuneConfig, pairs: Sequence[str], parameters: dict, model, data: dict
) -> str:
    """What must be equal for a checkpoint to belong to this run: settings, encoded data,
    parameters, and a LanderModel's neurons and routing, which the parameters' shapes do not
    show."""
    settings = {
        k: v for k, v in asdict(config).items() if k not in ("progress", "save_every", "keep")
    }
    tuning = getattr(model, "tuning", None)
    return json.dumps(
        {
            "config": settings,
            "pairs": list(pairs),
            "parameters": {k: list(p.shape) for k, p in parameters.items()},
            "data": hashlib.sha256(json.dumps(data).encode()).hexdigest(),
            "tuning": tuning
            and [tuning.neuron_sets.hash(), tuning.routing, tuning.other_specific, tuning.dtype],
        },
        sort_keys=True,
    )


def latest_checkpoint(output_dir) -> Path | None:
    """The newest complete checkpoint folder, or None."""
    found = [
        folder for folder in Path(output_dir).glob("checkpoint-*") if (folder / STATE).is_file()
    ]
    return max(found, key=lambda folder: int(folder.name.rpartition("-")[2]), default=None)


def save_checkpoint(
    folder: Path,
    update: int,
    identity: str,
    parameters: dict,
    original: dict,
    optimizer,
    stateful: dict,
    log: dict,
    keep: int,
) -> None:
    """Trained parameters and the teacher's (`original`), the optimiser's states, those of
    `stateful` (schedule, loss scaler), log, random
    states. state.json comes last: without it a folder counts for nothing. All processes call it,
    and the first one writes."""
    tensors = {
        f"{part}.{name}": whole(p.detach())
        for part, own in (("parameters", parameters), ("original", original))
        for name, p in own.items()
    }
    moments = {
        f"{name}.{key}": whole(torch.as_tensor(value))
        for name, p in parameters.items()
        for key, value in optimizer.state.get(p, {}).items()
    }
    if is_main():
        path = folder / f"checkpoint-{update}"
        path.mkdir(parents=True, exist_ok=True)
        random = {
            "cpu": torch.get_rng_state(),
            **{f"cuda{i}": state for i, state in enumerate(torch.cuda.get_rng_state_all())},
        }
        write_tensors(path / "parameters.safetensors", KIND, tensors, {})
        write_tensors(
            path / "optimizer.safetensors",
            KIND,
            moments | {f"random.{name}": state for name, state in random.items()},
            {},
        )
        content = {
            "identity": identity,
            "update": update,
            "log": log,
            "states": {k: v.state_dict() for k, v in stateful.items()},
        }
        write_text(path / STATE, json.dumps(content))
        number = {path: int(path.name.rpartition("-")[2]) for path in folder.glob("checkpoint-*")}
        later = [
            path for path in number if number[path] > update
        ]  # of an earlier run that resume=False gave up
        older = sorted(set(number) - set(later), key=number.get)[:-keep]
        for path in [*older, *later]:
            os.replace(path / STATE, path / "old") if (
                path / STATE
            ).exists() else None  # incomplete first, then gone
            shutil.rmtree(path)
    wait()


def load_checkpoint(
    folder: Path, identity: str, parameters: Mapping, original: Mapping, optimizer, stateful: dict
) -> tuple[int, dict]:
    """Put a checkpoint back; (update, log). ValueError if it belongs to another run."""
    content = json.loads((folder / STATE).read_text(encoding="utf-8"))
    if content["identity"] != identity:
        raise ValueError(
            f"{folder} belongs to a run with other settings, pairs or parameters; use another "
            f"output_dir, or resume=False"
        )
    _, tensors = read_tensors(folder / "parameters.safetensors", KIND)
    _, moments = read_tensors(folder / "optimizer.safetensors", KIND)
    with torch.no_grad():
        for part, own in (("parameters", parameters), ("original", original)):
            for name, p in own.items():
                p.copy_(shard_like(tensors[f"{part}.{name}"].to(p.dtype), p))
    for name, part in stateful.items():
        part.load_state_dict(content["states"][name])
    for group, rate in zip(
        optimizer.param_groups, stateful["schedule"].get_last_lr() if "schedule" in stateful else ()
    ):
        group["lr"] = rate
    for name, p in parameters.items():
        own = {
            key.removeprefix(f"{name}."): value
            for key, value in moments.items()
            if key.rpartition(".")[0] == name
        }
        if own:  # the step number stays on the CPU
            optimizer.state[p] = {
                key: value if value.dim() == 0 else shard_like(value.to(p.device), p)
                for key, value in own.items()
            }
    torch.set_rng_state(moments["random.cpu"])
    for device in range(torch.cuda.device_count()):
        if f"random.cuda{device}" in moments:
            torch.cuda.set_rng_state(moments[f"random.cuda{device}"], device)
    return content["update"], content["log"]
