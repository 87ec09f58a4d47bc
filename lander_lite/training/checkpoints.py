"""Checkpoints: checkpoint-<update>/ holds parameters.safetensors, optimizer.safetensors and, what
makes it complete, state.json, with the hashes of the two. Sharded tensors are whole in it: a run
may go on with another number of processes.

A run here has `identity`, `update`, `log`, `optimizer`, `scaler`, `check_finite` and, by name, its
trained `parameters` and the teacher's (`original`).
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import torch

from ..config import WITHOUT_EFFECT
from ..hooks import is_main, wait
from ..io import content_of, read_tensors, write_tensors, write_text
from ..stored import check_kinds, read_json
from .distributed import shard_like, unsharded
from .optimizer import plain_tensors, quantised

STATE, KIND = "state.json", "lander_lite.Checkpoint/1"
CONTENT = {"identity": str, "update": int, "log": dict, "files": dict, "states": dict}
PARAMETERS, OPTIMIZER = "parameters.safetensors", "optimizer.safetensors"
MAY_DIFFER = (*WITHOUT_EFFECT, "base_model_name_or_path", "peft_version")


def run_identity(config, pairs, parameters, model, data) -> str:
    """JSON of what must be equal for a checkpoint to belong to a run: settings, encoded data,
    parameters, frozen weights, and the adapters' configs, which the parameters' shapes do not
    show."""
    adapters = getattr(model, "peft_config", None) or {"": getattr(model, "tuning", None)}
    content = {
        "config": asdict(config),
        "pairs": list(pairs),
        "parameters": {name: list(p.shape) for name, p in parameters.items()},
        "frozen": _sampled((x, p) for x, p in model.named_parameters() if x not in parameters),
        "data": hashlib.sha256(json.dumps(data).encode()).hexdigest(),
        "tuning": [adapter.to_dict() for adapter in adapters.values() if adapter],
    }
    for settings in (content["config"], *content["tuning"]):
        for name in MAY_DIFFER:
            settings.pop(name, None)
    return json.dumps(content, sort_keys=True, default=sorted)  # PEFT has sets of names


def _sampled(tensors: Iterable[tuple[str, torch.Tensor]]) -> str:
    """A hash of 64 numbers of each named tensor: it tells one base model from another."""
    digest = hashlib.sha256()
    for name, tensor in tensors:
        if tensor.device.type != "meta":
            step = max(1, tensor.numel() // 64)
            numbers = tensor.detach().flatten()[::step].float().cpu()
            digest.update(name.encode() + numbers.numpy().tobytes())
    return digest.hexdigest()


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def latest_checkpoint(output_dir) -> Path | None:
    """The newest complete checkpoint folder, or None."""
    folders = reversed(_checkpoints(output_dir).values())
    return next((folder for folder in folders if (folder / STATE).is_file()), None)


def _checkpoints(output_dir) -> dict[int, Path]:
    """{update: folder}, in order."""
    folders = Path(output_dir).glob("checkpoint-*") if output_dir is not None else ()
    return dict(sorted((int(folder.name.rpartition("-")[2]), folder) for folder in folders))


def _tensors(run) -> dict[str, torch.Tensor]:
    named = {"parameters": run.parameters, "original": run.original}
    return {f"{part}.{name}": p for part in named for name, p in named[part].items()}


def save_checkpoint(output_dir, run, keep: int) -> None:
    """Write checkpoint-<update> and delete all but the last `keep`. All processes call it; the
    first one writes. state.json comes last: without it a folder counts for nothing. Raises
    FloatingPointError, before it writes, for weights that are not finite."""
    tensors = {name: unsharded(p.detach()) for name, p in _tensors(run).items()}
    for name, tensor in tensors.items():
        if tensor.numel():
            run.check_finite(f"largest weight of {name}", tensor.abs().max().item())
    states = {}
    for name, p in run.parameters.items():
        for moment, value in run.optimizer.state.get(p, {}).items():
            for part, tensor in plain_tensors(unsharded(torch.as_tensor(value))).items():
                states[f"{name}.{moment}{part}"] = tensor
    if is_main():
        states["random.cpu"] = torch.get_rng_state()
        for device, state in enumerate(torch.cuda.get_rng_state_all()):
            states[f"random.cuda{device}"] = state
        path = Path(output_dir) / f"checkpoint-{run.update}"
        path.mkdir(parents=True, exist_ok=True)
        write_tensors(path / PARAMETERS, KIND, tensors, {})
        write_tensors(path / OPTIMIZER, KIND, states, {})
        content = {"identity": run.identity, "update": run.update, "log": run.log}
        content["states"] = {"scaler": run.scaler.state_dict()}
        content["files"] = {name: _hash(path / name) for name in (PARAMETERS, OPTIMIZER)}
        write_text(path / STATE, json.dumps(content))
        found = _checkpoints(output_dir)
        kept = [n for n in found if n <= run.update][-keep:]  # a run given up may have later ones
        for old in found.keys() - kept:
            (found[old] / STATE).unlink(missing_ok=True)  # incomplete first, then gone
            shutil.rmtree(found[old])
    wait()


def load_checkpoint(folder: Path, run) -> None:
    """Put a checkpoint back into a run, exactly. ValueError if it belongs to another one, or is not
    what was written."""
    content = read_json(folder / STATE, CONTENT)
    identity, update, log = content["identity"], content["update"], content["log"]
    with content_of(folder / STATE):
        check_kinds(log, dict.fromkeys(run.log, list[float]))
        counts = {name: len(values) for name, values in log.items()}
        if folder.name != f"checkpoint-{update}" or {*counts.values()} != {update}:
            raise ValueError(f"it says update {update}, and its log has {counts}")
        files, scaler = content["files"], content["states"]["scaler"]
    if identity != run.identity:
        raise ValueError(
            f"{folder} belongs to a run with other settings, pairs, parameters or frozen weights; "
            f"use another output_dir, or resume=False (--no-resume)"
        )
    for name in (PARAMETERS, OPTIMIZER):
        if not (folder / name).is_file() or files.get(name) != _hash(folder / name):
            raise ValueError(
                f"{folder / name} is not the file that belongs to {STATE} beside it: damaged, or "
                f"of another save; delete {folder}, and an older checkpoint goes on"
            )
    _, tensors = read_tensors(folder / PARAMETERS, KIND)
    _, states = read_tensors(folder / OPTIMIZER, KIND)
    with torch.no_grad(), content_of(folder / PARAMETERS):
        for name, p in _tensors(run).items():
            p.copy_(shard_like(tensors[name], p))
    with content_of(folder / OPTIMIZER):
        _restore_optimizer(states, run)
    run.scaler.load_state_dict(scaler)
    run.update, run.log = update, log


def _restore_optimizer(states: dict[str, torch.Tensor], run) -> None:
    """Moments, step numbers and the state of the random generators."""
    parts = defaultdict(dict)
    for key, value in states.items():
        name, _, moment = key.rpartition(".")
        moment, _, part = moment.partition(":")
        if part:
            parts[name, moment][part] = value
        elif name in run.parameters:
            p = run.parameters[name]
            on_cpu = moment == "step"
            if value.shape != (() if on_cpu else p.shape) or not value.is_floating_point():
                raise ValueError(f"{key} is {value.dtype} of shape {list(value.shape)}")
            run.optimizer.state[p][moment] = value if on_cpu else shard_like(value.to(p.device), p)
    for (name, moment), found in parts.items():
        p = run.parameters[name]
        run.optimizer.state[p][moment] = quantised(moment, found, p)
    torch.set_rng_state(states["random.cpu"])
    for device in range(torch.cuda.device_count()):
        if f"random.cuda{device}" in states:
            torch.cuda.set_rng_state(states[f"random.cuda{device}"], device)
