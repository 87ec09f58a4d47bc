"""One training loop for every method: a translation pair per batch, round robin, on accelerate
(LANDeRMT §3.3, §4.2).

It trains whatever has `requires_grad`; a LanderModel is told the pair before each batch, so that
only general ∪ specific(source) ∪ specific(target) get gradients. Parameters without a gradient in a
step are left out of it by AdamW: no decay and no momentum reaches them. Prompts and padding are
masked from the loss. With `kl_weight`, KL to the base model on plain sentences is added
(distill.py).
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState
from tqdm.auto import tqdm

from ..blocks import unwrap
from ..config import FinetuneConfig
from ..corpus import (
    check_data,
    check_examples,
    collate,
    encode,
    encode_text,
    parse_pair,
    plain_text,
)
from ..hooks import free_memory
from .checkpoints import latest_checkpoint, load_checkpoint, run_identity, save_checkpoint
from .distributed import add_up, own_part, shard_on_cpu, whole, world
from .kl import Teacher, encode_plain


def finetune(
    model,
    tokenizer,
    corpus,
    pairs: Sequence[str],
    config: FinetuneConfig | None = None,
    *,
    output_dir=None,
    resume: bool = True,
    template: str | None = None,
    callback: Callable[[int], None] | None = None,
    kl_texts: Sequence[str] | None = None,
) -> dict:
    """Train `model` in place for `config.updates` updates; update i uses pair i mod len(pairs). A
    bare code in `pairs`, such as "af", means plain text of that language, and every token of it is
    learned.

    corpus: rows with `translation`, or {language: sentences} for plain text alone;
    `config.rows_per_pair` of them, the same draw for every method of a seed, serve each pair.
    output_dir: where checkpoints go (every `save_every` updates; the last `keep` stay); resume=True
    goes on from the newest one, with the weights and the optimiser exactly as they were.
    callback(n) is called, without gradients, when update n = 1, 2, … is done and before its
    checkpoint; what it draws at random does not change the training. kl_texts: sentences on which
    the model is held to what it was (used with config.kl_weight > 0 only).

    Returns {"loss": [per update], "updates", "pairs", "learning_rate"}, and "kl" [per update, nats
        per token] with kl_weight.
    Raises ValueError for a setting out of range, a pair the corpus lacks, kl_weight without
    kl_texts or a checkpoint of another run, and FloatingPointError when the loss is not finite
    (before the update: checkpoints on disk are good).
    """
    config = config or FinetuneConfig()
    config.check()
    check_data(corpus, pairs, tokenizer)
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not parameters:
        raise ValueError(
            "no parameter has requires_grad=True; choose what to train with get_lander_model or "
            "one of baselines.py"
        )
    set_pair = getattr(model, "set_pair", lambda pair: None)
    for pair in pairs:
        set_pair(pair)  # a pair without neuron sets is refused before any work
    data = {pair: pair_data(tokenizer, corpus, pair, config, template) for pair in pairs}
    plain = encode_plain(tokenizer, kl_texts, config.max_length) if config.kl_weight else []
    check_examples(model, {**data, "kl_texts": plain}, config.max_length, config.too_long)
    torch.manual_seed(config.seed)
    model.zero_grad(
        set_to_none=True
    )  # a run cut short in this session leaves half an update's gradients
    teacher = Teacher(model) if plain else None
    original = teacher.weights(parameters) if teacher else {}
    if (
        config.gradient_checkpointing
    ):  # its name since transformers 5.2x; before, gradient_checkpointing_enable
        getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)(
            {"use_reentrant": False}
        )
    identity = run_identity(
        config, pairs, parameters, model, {**data, "kl": plain} if plain else data
    )
    start, log = 0, {"loss": [], "kl": []} if plain else {"loss": []}
    with prepared(model, parameters, config) as (accelerator, trained, optimizer, stateful):
        parameters = {
            name: p for name, p in model.named_parameters() if p.requires_grad
        }  # FSDP has put sharded ones in their place
        if output_dir is not None and resume and (latest := latest_checkpoint(output_dir)):
            start, log = load_checkpoint(
                latest, identity, parameters, original, optimizer, stateful
            )
        bar = tqdm(
            range(start, config.updates),
            initial=start,
            total=config.updates,
            desc="finetune",
            disable=not config.progress,
            mininterval=1,
        )

        def gradients(update: int, pair: str, splits: int) -> list[float]:
            """The backward passes of an update, each micro-batch in so many parts: [loss], and
            [KL]."""
            total = 0.0
            for part in range(config.accumulation):
                rows = own_part(
                    chosen_rows(
                        len(data[pair]),
                        config,
                        pair,
                        update // len(pairs) * config.accumulation + part,
                    )
                )
                everything = collate(
                    tokenizer, [data[pair][row] for row in rows], device=accelerator.device
                )
                share = share_of_labels(everything) / config.accumulation
                for few in (rows[i::splits] for i in range(min(splits, len(rows)))):
                    batch = (
                        collate(
                            tokenizer, [data[pair][row] for row in few], device=accelerator.device
                        )
                        if splits > 1
                        else everything
                    )
                    with accelerator.autocast():
                        loss = label_loss(trained, batch) * (
                            share
                            if splits == 1
                            else share * labels_of(batch) / labels_of(everything)
                        )
                    if not torch.isfinite(loss):
                        raise diverged("loss", loss, update, pair, config, output_dir)
                    accelerator.backward(loss)
                    total += add_up(loss.detach()).item() / world()
            if not teacher:
                return [total]
            rows = own_part(chosen_rows(len(plain), config, "kl", update))
            batch = collate(tokenizer, [plain[row] for row in rows], device=accelerator.device)
            kl = teacher.divergence(trained, batch, accelerator.autocast)
            if not torch.isfinite(kl):
                raise diverged("KL", kl, update, pair, config, output_dir)
            accelerator.backward(config.kl_weight * kl)
            return [total, kl.item()]

        splits = 1
        for update in bar:
            pair, found = pairs[update % len(pairs)], None
            set_pair(pair)
            while found is None:
                with contextlib.suppress(
                    *[torch.OutOfMemoryError] * (splits < config.batch_size and world() == 1)
                ):
                    found = gradients(update, pair, splits)
                if (
                    found is None
                ):  # what was added before memory ran out is dropped, and the update starts again
                    splits *= 2
                    optimizer.zero_grad(set_to_none=True)
                    free_memory(
                        f"out of memory: micro-batches of {config.batch_size} go on in {splits} "
                        f"parts, with the same gradients"
                    )
            for name, value in zip(log, found):
                log[name].append(value)
            if config.max_grad_norm:
                norm = whole(accelerator.clip_grad_norm_(parameters.values(), config.max_grad_norm))
                if config.mixed_precision != "fp16" and not torch.isfinite(
                    norm
                ):  # fp16's loss scaling skips such updates itself
                    raise diverged("gradient norm", norm, update, pair, config, output_dir)
            optimizer.step()
            stateful["schedule"].step()
            optimizer.zero_grad(
                set_to_none=True
            )  # None, not zero: AdamW must not touch what this pair does not train
            bar.set_postfix_str(f"{pair} loss {found[0]:.3f}", refresh=False)
            if callback:
                with torch.no_grad(), torch.random.fork_rng(range(torch.cuda.device_count())):
                    callback(update + 1)
                model.train()  # it may have left another mode, or pair
                set_pair(pair)
            if (
                output_dir is not None
                and config.save_every
                and ((update + 1) % config.save_every == 0 or update + 1 == config.updates)
            ):
                save_checkpoint(
                    Path(output_dir),
                    update + 1,
                    identity,
                    parameters,
                    original,
                    optimizer,
                    stateful,
                    log,
                    config.keep,
                )
    return {
        **log,
        "updates": config.updates,
        "pairs": list(pairs),
        "learning_rate": config.learning_rate,
    }


def label_loss(model, batch: dict) -> torch.Tensor:
    """The model's own loss, the mean of -log p(next token) over the labels, from the logits where
    there are labels alone: the prompts that all rows begin with need none, and with BLOOM's 250,000
    words logits take more memory than anything else."""
    inputs = {key: value for key, value in batch.items() if key != "labels"}
    labels = F.pad(
        batch["labels"][:, 1:], (0, 1), value=-100
    )  # position t predicts token t + 1; nothing predicts the first
    first = int((labels != -100).any(0).int().argmax())
    n = labels.shape[1] - first
    known = inspect.signature(type(unwrap(model)).forward).parameters
    logits = model(
        **inputs, use_cache=False, **({"logits_to_keep": n} if "logits_to_keep" in known else {})
    ).logits[:, -n:]
    return F.cross_entropy(
        logits.float().flatten(0, 1),
        labels[:, first:].flatten().to(logits.device),
        ignore_index=-100,
    )


def share_of_labels(batch: dict) -> float:
    """What the mean over this process's labels counts in the mean over all processes' labels, times
    their number, because gradients are
    averaged over processes: with it, they are those of one process with the whole batch."""
    if world() == 1:
        return 1.0
    own = torch.tensor(labels_of(batch), dtype=torch.float64)
    return float(own / add_up(own)) * world()


def labels_of(batch: dict) -> int:
    """How many tokens of a batch are learned."""
    return int((batch["labels"][:, 1:] != -100).sum())


@contextlib.contextmanager
def prepared(model, parameters: dict, config: FinetuneConfig):
    """(accelerator, model, optimizer, {name: what else has a state}), the model in training mode;
    as it was afterwards."""
    cpu, state = not next(iter(parameters.values())).is_cuda, AcceleratorState._shared_state
    # accelerate has one state for the whole process, and a run before this one may have had another
    # precision or device
    if state and (
        state["_mixed_precision"] != config.mixed_precision
        or (state["device"].type == "cpu") != cpu
    ):
        AcceleratorState._reset_state(reset_partial_state=True)
    # a pair does not train every slice
    accelerator = Accelerator(
        mixed_precision=config.mixed_precision,
        cpu=cpu,
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )
    own_forward, was_training = model.__dict__.get("forward"), model.training
    sharded = shard_on_cpu(model)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        trained, lr=config.learning_rate, weight_decay=config.weight_decay
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: learning_rate_factor(step, config)
    )
    trained, optimizer = (
        (model, accelerator.prepare(optimizer))
        if sharded
        else accelerator.prepare(model, optimizer)
    )
    stateful = {
        "schedule": schedule,
        **({"scaler": accelerator.scaler} if accelerator.scaler else {}),
    }
    try:
        yield accelerator, trained.train(), optimizer, stateful
    finally:
        for name in (
            "forward",
            "_original_forward",
            "_is_accelerate_prepared",
        ):  # else the next run would find this one's precision
            model.__dict__.pop(name, None)
        if own_forward is not None:
            model.forward = own_forward
        model.train(was_training)


def diverged(
    what: str, value: torch.Tensor, update: int, pair: str, config: FinetuneConfig, output_dir
) -> FloatingPointError:
    kept = latest_checkpoint(output_dir) if output_dir is not None else None
    where = f"The last good checkpoint is {kept}." if kept else "No checkpoint was written."
    return FloatingPointError(
        f"the {what} is {value.item()} at update {update} ({pair}); lower finetune.learning_rate "
        f"({config.learning_rate}). {where}"
    )


# ------------------------ data: functions of (seed, pair, count) alone, so resuming needs no replay
def pair_data(
    tokenizer, corpus, pair: str, config: FinetuneConfig, template: str | None
) -> list[dict]:
    """The encoded rows that serve a pair, or a language; every method with this seed gets the
    same."""
    corpus = corpus if "-" in pair else plain_text(corpus, pair)
    n = len(corpus) if config.rows_per_pair is None else min(config.rows_per_pair, len(corpus))
    rows = torch.randperm(len(corpus), generator=generator(config.seed, pair, "rows"))[:n].tolist()
    if "-" not in pair:
        return [encode_text(tokenizer, corpus[row], config.max_length) for row in rows]
    source, target = parse_pair(pair)
    texts = corpus.select(rows)["translation"]
    return [
        encode(
            tokenizer,
            row[source],
            row[target],
            pair,
            template=template,
            max_length=config.max_length,
        )
        for row in texts
    ]


def chosen_rows(n: int, config: FinetuneConfig, pair: str, count: int) -> list[int]:
    """Rows of the count-th micro-batch of a pair: a fresh permutation per epoch, without dropping
    the last rows."""
    first = count * config.batch_size
    rows = []
    for position in range(first, first + config.batch_size):
        epoch, place = divmod(position, n)
        rows.append(permutation(n, config.seed, pair, epoch)[place])
    return rows


@functools.lru_cache(64)
def permutation(n: int, seed: int, pair: str, epoch: int) -> list[int]:
    return torch.randperm(n, generator=generator(seed, pair, f"epoch {epoch}")).tolist()


def generator(*key) -> torch.Generator:
    """A generator seeded by the hash of `key` (Python's own hash differs from process to
    process)."""
    return torch.Generator().manual_seed(
        int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:6], "big")
    )


def learning_rate_factor(step: int, config: FinetuneConfig) -> float:
    """Linear warm-up over `warmup` of the updates, then constant, linear or cosine decay towards
    0."""
    warmup = max(1, round(config.warmup * config.updates)) if config.warmup else 0
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, config.updates - warmup)
    return {
        "constant": 1.0,
        "linear": 1 - progress,
        "cosine": 0.5 * (1 + math.cos(math.pi * progress)),
    }[config.schedule]
