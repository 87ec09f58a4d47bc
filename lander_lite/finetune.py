"""One training loop for every method: a translation pair per batch, round robin, on accelerate (LANDeRMT §3.3, §4.2).

It trains whatever has `requires_grad`; a LanderModel is told the pair before each batch, so that only
general ∪ specific(source) ∪ specific(target) get gradients. Parameters without a gradient in a step are left out of it by AdamW:
no decay and no momentum reaches them. Prompts and padding are masked from the loss.
"""
from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from accelerate import Accelerator
from tqdm.auto import tqdm

from .config import FinetuneConfig
from .corpus import check_pairs, collate, encode, parse_pair
from .files import atomic_path

STATE = "state.pt"


def finetune(model, tokenizer, corpus, pairs: Sequence[str], config: FinetuneConfig | None = None, *, output_dir=None, resume: bool = True,
             template: str | None = None) -> dict:
    """Train `model` in place for `config.updates` updates; update i uses pair i mod len(pairs).

    corpus: rows with `translation`; `config.rows_per_pair` of them, the same draw for every method of a seed, serve each pair.
    output_dir: where checkpoints go (every `save_every` updates; the last `keep` stay); resume=True goes on from the newest one,
    with the weights and the optimiser exactly as they were. Returns {"loss": [per update], "updates", "pairs", "learning_rate"}.
    Raises ValueError for a pair the corpus lacks or a checkpoint of another run, FloatingPointError when the loss is not finite
    (before the update: checkpoints on disk are good).
    """
    config = config or FinetuneConfig()
    check_pairs(corpus, pairs, tokenizer)
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not parameters:
        raise ValueError("no parameter has requires_grad=True; choose what to train with get_lander_model or one of baselines.py")
    for pair in pairs if hasattr(model, "set_pair") else ():
        model.set_pair(pair)                            # a pair without neuron sets is refused before any work
    data = {pair: pair_data(tokenizer, corpus, pair, config, template) for pair in pairs}
    torch.manual_seed(config.seed)
    accelerator = Accelerator(mixed_precision=config.mixed_precision, cpu=not next(iter(parameters.values())).is_cuda)
    if config.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    optimizer = torch.optim.AdamW(parameters.values(), lr=config.learning_rate, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate_factor(step, config))
    trained, optimizer = accelerator.prepare(model, optimizer)
    optimizer.zero_grad(set_to_none=True)               # a run cut short in this session leaves half an update's gradients
    identity = run_identity(config, pairs, parameters, model, data)
    start, losses = 0, []
    if output_dir is not None and resume and (latest := latest_checkpoint(output_dir)):
        start, losses = load_checkpoint(latest, identity, parameters, optimizer, schedule)
    bar = tqdm(range(start, config.updates), initial=start, total=config.updates, desc="finetune", disable=not config.progress,
               mininterval=1)
    was_training = model.training
    model.train()
    try:
        for update in bar:
            pair, total = pairs[update % len(pairs)], 0.
            if hasattr(model, "set_pair"):
                model.set_pair(pair)
            for part in range(config.accumulation):
                rows = chosen_rows(len(data[pair]), config, pair, update // len(pairs) * config.accumulation + part)
                batch = collate(tokenizer, [data[pair][row] for row in rows], device=accelerator.device)
                with accelerator.autocast():
                    loss = trained(**batch, use_cache=False).loss / config.accumulation
                if not torch.isfinite(loss):
                    raise diverged("loss", loss, update, pair, config, output_dir)
                accelerator.backward(loss)
                total += loss.item()
            if config.max_grad_norm:
                norm = accelerator.clip_grad_norm_(parameters.values(), config.max_grad_norm)
                if config.mixed_precision != "fp16" and not torch.isfinite(norm):     # fp16's loss scaling skips such updates itself
                    raise diverged("gradient norm", norm, update, pair, config, output_dir)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad(set_to_none=True)       # None, not zero: AdamW must not touch what this pair does not train
            losses.append(total)
            bar.set_postfix_str(f"{pair} loss {total:.3f}", refresh=False)
            if output_dir is not None and config.save_every and ((update + 1) % config.save_every == 0 or update + 1 == config.updates):
                save_checkpoint(Path(output_dir), update + 1, identity, parameters, optimizer, schedule, losses, config.keep)
    finally:
        model.train(was_training)
    return {"loss": losses, "updates": config.updates, "pairs": list(pairs), "learning_rate": config.learning_rate}


def diverged(what: str, value: torch.Tensor, update: int, pair: str, config: FinetuneConfig, output_dir) -> FloatingPointError:
    kept = latest_checkpoint(output_dir) if output_dir is not None else None
    where = f"The last good checkpoint is {kept}." if kept else "No checkpoint was written."
    return FloatingPointError(f"the {what} is {value.item()} at update {update} ({pair}); lower finetune.learning_rate "
                              f"({config.learning_rate}). {where}")


# ---------------------------------------------------------------- data: functions of (seed, pair, count) alone, so resuming needs no replay
def pair_data(tokenizer, corpus, pair: str, config: FinetuneConfig, template: str | None) -> list[dict]:
    """The encoded rows that serve a pair; every method with this seed gets the same."""
    source, target = parse_pair(pair)
    n = len(corpus) if config.rows_per_pair is None else min(config.rows_per_pair, len(corpus))
    rows = torch.randperm(len(corpus), generator=generator(config.seed, pair, "rows"))[:n].tolist()
    texts = corpus.select(rows)["translation"]
    return [encode(tokenizer, row[source], row[target], pair, template=template, max_length=config.max_length) for row in texts]


def chosen_rows(n: int, config: FinetuneConfig, pair: str, count: int) -> list[int]:
    """Rows of the count-th micro-batch of a pair: a fresh permutation per epoch, without dropping the last rows."""
    first = count * config.batch_size
    rows = []
    for position in range(first, first + config.batch_size):
        epoch, place = divmod(position, n)
        rows.append(permutation(n, config.seed, pair, epoch)[place])
    return rows


_permutations: dict[tuple, list[int]] = {}


def permutation(n: int, seed: int, pair: str, epoch: int) -> list[int]:
    key = (n, seed, pair, epoch)
    if key not in _permutations:
        if len(_permutations) > 64:
            _permutations.clear()
        _permutations[key] = torch.randperm(n, generator=generator(seed, pair, f"epoch {epoch}")).tolist()
    return _permutations[key]


def generator(*key) -> torch.Generator:
    """A generator seeded by the hash of `key` (Python's own hash differs from process to process)."""
    return torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:6], "big"))


def learning_rate_factor(step: int, config: FinetuneConfig) -> float:
    """Linear warm-up over `warmup` of the updates, then constant, linear or cosine decay towards 0."""
    warmup = max(1, round(config.warmup * config.updates)) if config.warmup else 0
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, config.updates - warmup)
    return {"constant": 1., "linear": 1 - progress, "cosine": .5 * (1 + math.cos(math.pi * progress))}[config.schedule]


# ---------------------------------------------------------------- checkpoints
def run_identity(config: FinetuneConfig, pairs: Sequence[str], parameters: dict, model, data: dict) -> str:
    """What must be equal for a checkpoint to belong to this run: settings, encoded data, parameters, and a LanderModel's neurons and
    routing, which the parameters' shapes do not show."""
    settings = {k: v for k, v in asdict(config).items() if k not in ("progress", "save_every", "keep")}
    tuning = getattr(model, "tuning", None)
    return json.dumps({"config": settings, "pairs": list(pairs), "parameters": {k: list(p.shape) for k, p in parameters.items()},
                       "data": hashlib.sha256(json.dumps(data).encode()).hexdigest(),
                       "tuning": tuning and [tuning.neuron_sets.hash(), tuning.routing, tuning.other_specific, tuning.dtype]},
                      sort_keys=True)


def latest_checkpoint(output_dir) -> Path | None:
    """The newest complete checkpoint folder, or None."""
    found = [folder for folder in Path(output_dir).glob("checkpoint-*") if (folder / STATE).is_file()]
    return max(found, key=lambda folder: int(folder.name.rpartition("-")[2]), default=None)


def save_checkpoint(output_dir: Path, update: int, identity: str, parameters: dict, optimizer, schedule, losses: list, keep: int) -> None:
    """Trained parameters, their optimiser states, schedule, losses and random state; the file appears whole or not at all."""
    folder = output_dir / f"checkpoint-{update}"
    folder.mkdir(parents=True, exist_ok=True)
    state = {"identity": identity, "update": update, "parameters": {k: p.detach() for k, p in parameters.items()},
             "optimizer": optimizer.state_dict(), "schedule": schedule.state_dict(), "losses": losses, "random": torch.get_rng_state()}
    with atomic_path(folder / STATE) as temporary:
        torch.save(state, temporary)
    number = {path: int(path.name.rpartition("-")[2]) for path in output_dir.glob("checkpoint-*")}
    later = [path for path in number if number[path] > update]         # of an earlier run that resume=False gave up
    older = sorted(set(number) - set(later), key=number.get)[:-keep]
    for path in [*older, *later]:
        os.replace(path / STATE, path / "old") if (path / STATE).exists() else None     # incomplete first, then gone
        shutil.rmtree(path)


def load_checkpoint(folder: Path, identity: str, parameters: dict, optimizer, schedule) -> tuple[int, list]:
    """Put a checkpoint back; (update, losses). torch.load reads tensors only (weights_only=True)."""
    state = torch.load(folder / STATE, weights_only=True, map_location="cpu")
    if state["identity"] != identity:
        raise ValueError(f"{folder} belongs to a run with other settings, pairs or parameters; use another output_dir, or resume=False")
    with torch.no_grad():
        for name, p in parameters.items():
            p.copy_(state["parameters"][name])
    optimizer.load_state_dict(state["optimizer"])
    schedule.load_state_dict(state["schedule"])
    torch.set_rng_state(state["random"])
    return state["update"], state["losses"]
