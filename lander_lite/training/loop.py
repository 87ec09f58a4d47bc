"""One training loop for every method: a translation pair per update, in turn (LANDeRMT §3.3, §4.2).

It trains whatever has `requires_grad`; a model with `set_pair` is told the pair before each update,
so that only general ∪ specific(source) ∪ specific(target) get gradients. AdamW leaves parameters
without a gradient out of its step: no decay and no momentum reaches them.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

import torch
from torch.nn.utils import clip_grad_norm_
from tqdm.auto import tqdm

from ..blocks import input_device
from ..config import FinetuneConfig
from ..head import label_losses
from ..hooks import add_up, free_memory, own_part, world
from ..prompts import check_examples, collate
from .checkpoints import latest_checkpoint, load_checkpoint, run_identity, save_checkpoint
from .data import check_data, chosen_rows, n_labels, pair_data
from .distributed import distribute, start, unsharded
from .kl import Teacher, encode_plain
from .optimizer import check_optimizer, new_optimizer

AUTOCAST = {"no": None, "bf16": torch.bfloat16, "fp16": torch.float16}


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
    """Train `model` in place for `config.updates` updates; update i uses pair i mod len(pairs).

    Args:
        corpus: rows with `translation`, or {language: sentences} for plain text alone.
        pairs: directions; a bare code, such as "af", means plain text, every token of it learned.
            `config.rows_per_pair` rows, the same for every method of a seed, serve each.
        output_dir: where checkpoints go, every `save_every` updates; the last `keep` stay.
        resume: go on from the newest one, weights and optimiser exactly as they were.
        callback: callback(n) follows update n = 1, 2, …, without gradients and before its
            checkpoint; what it draws at random does not change the training.
        kl_texts: sentences on which config.kl_weight > 0 holds the model to what it was.

    Returns: {"loss": [per update], "updates", "pairs", "learning_rate"}; with kl_weight also "kl"
        [per update, nats per token].
    Raises: ValueError for a setting out of range, a pair the corpus lacks, nothing to train,
        kl_weight without kl_texts, or a checkpoint of another run; FloatingPointError when the
        loss is not finite, before the update: checkpoints are good.
    """
    start()
    config = config or FinetuneConfig()
    config.check()
    check_optimizer(config)
    check_data(corpus, pairs, tokenizer)
    for pair in pairs if hasattr(model, "set_pair") else ():
        model.set_pair(pair)  # a pair without neuron sets is refused before any work
    data = {pair: pair_data(tokenizer, corpus, pair, config, template) for pair in pairs}
    if config.kl_weight:
        data["kl_texts"] = encode_plain(tokenizer, kl_texts, config.max_length)
    check_examples(model, data, config.max_length, config.too_long)
    was_training = model.training
    try:
        run = TrainingRun(model, tokenizer, data, pairs, config, output_dir)
        run.train(resume, callback)
    finally:
        model.train(was_training)
    about = {"updates": config.updates, "pairs": list(pairs), "learning_rate": config.learning_rate}
    return run.log | about


class TrainingRun:
    """A run of `finetune`: what it trains and how far it is."""

    def __init__(self, model, tokenizer, data, pairs, config: FinetuneConfig, output_dir):
        self.tokenizer, self.data, self.pairs = tokenizer, data, pairs
        self.config, self.output_dir = config, output_dir
        self.update, self.pair, self.log = 0, pairs[0], {"loss": []}
        self.parts = 1  # that a micro-batch is computed in: more once memory ran out
        self.parameters = trainable(model)
        torch.manual_seed(config.seed)
        model.zero_grad(set_to_none=True)  # a run cut short leaves half an update's gradients
        self.teacher, self.original = None, {}
        if config.kl_weight:
            self.log["kl"], self.teacher = [], Teacher(model)
            self.original = self.teacher.weights(self.parameters)
        if config.gradient_checkpointing:  # the name since transformers 5.2x, or the older one
            older = model.gradient_checkpointing_enable
            getattr(model, "activation_checkpointing_enable", older)({"use_reentrant": False})
        self.identity = run_identity(config, pairs, self.parameters, model, data)
        self.optimizer = new_optimizer(self.parameters.values(), config)
        self.model = distribute(model, self.optimizer)
        self.parameters = trainable(model)  # FSDP has put sharded ones in their place
        self.set_pair = getattr(model, "set_pair", lambda pair: None)
        self.device = input_device(model)
        kind, dtype = self.device.type, AUTOCAST[config.mixed_precision]
        self.scaler = torch.amp.GradScaler(kind, enabled=dtype == torch.float16)
        self.autocast = functools.partial(torch.autocast, kind, dtype, enabled=dtype is not None)

    def train(self, resume: bool, callback: Callable[[int], None] | None) -> None:
        """Each update: choose the pair, add up gradients, clip, step; report, save."""
        config = self.config
        if resume and (latest := latest_checkpoint(self.output_dir)):
            load_checkpoint(latest, self)
        self.model.train()
        options = {"total": config.updates, "initial": self.update, "disable": not config.progress}
        bar = tqdm(range(self.update, config.updates), "finetune", mininterval=1, **options)
        for _ in bar:
            self.pair = self.pairs[self.update % len(self.pairs)]
            self.set_pair(self.pair)
            losses = self.gradients()
            self.clip()
            self.step()
            for name, loss in losses.items():
                self.log[name].append(loss)
            bar.set_postfix_str(f"{self.pair} loss {losses['loss']:.3f}", refresh=False)
            if callback:
                with torch.no_grad(), torch.random.fork_rng(range(torch.cuda.device_count())):
                    callback(self.update)
                self.model.train()  # it may have left another mode, or pair
                self.set_pair(self.pair)
            every = self.output_dir is not None and config.save_every
            if every and (self.update % every == 0 or self.update == config.updates):
                save_checkpoint(self.output_dir, self, config.keep)

    def gradients(self) -> dict[str, float]:
        """Add up an update's gradients; returns its losses. Where memory runs out, start again
        with each micro-batch in more parts: the gradients are the same."""
        while True:
            try:
                losses = {"loss": self.label_gradients()}
                return losses | ({"kl": self.kl_gradients()} if self.teacher else {})
            except torch.OutOfMemoryError:
                if self.parts >= self.config.batch_size or world() > 1:
                    raise
            # outside of `except`, where the error would still hold what had been computed
            self.parts *= 2
            self.optimizer.zero_grad(set_to_none=True)
            free_memory(
                f"out of memory: micro-batches of {self.config.batch_size} go on in {self.parts} "
                f"parts, with the same gradients"
            )

    def label_gradients(self) -> float:
        """An update's loss, the mean over the labels of all its micro-batches: accumulation saves
        memory and changes nothing else."""
        accumulation, total = self.config.accumulation, 0.0
        first = self.update // len(self.pairs) * accumulation
        counts = range(first, first + accumulation)
        update = [self.micro_batch(self.data[self.pair], self.pair, count) for count in counts]
        labels = int(add_up(torch.tensor(sum(map(n_labels, update)))))
        for examples in update:
            for i in range(min(self.parts, len(examples))):
                part = examples[i :: self.parts]
                batch = collate(self.tokenizer, part, device=self.device)
                # gradients are averaged over processes, each with labels of its own
                share = world() * n_labels(part) / max(1, labels)
                with self.autocast():
                    loss = share * label_loss(self.model, batch)
                total += self.backward("loss", loss)
        return total

    def kl_gradients(self) -> float:
        """The KL to the teacher on plain sentences; its gradients count kl_weight times."""
        examples = self.micro_batch(self.data["kl_texts"], "kl", self.update)
        batch = collate(self.tokenizer, examples, device=self.device)
        kl = self.teacher.divergence(self.model, batch, self.autocast)
        self.backward("KL", self.config.kl_weight * kl)
        return mean_over_processes(kl)

    def micro_batch(self, examples: Sequence[dict], name: str, count: int) -> list[dict]:
        """This process's part of the count-th micro-batch."""
        rows = chosen_rows(len(examples), self.config, name, count)
        return [examples[row] for row in own_part(rows)]

    def backward(self, what: str, loss: torch.Tensor) -> float:
        """Add a loss's gradients to what there is; the loss, its mean over processes."""
        value = mean_over_processes(loss)
        self.check_finite(what, value)
        self.scaler.scale(loss).backward()
        return value

    def clip(self) -> None:
        """Scale the gradients down to a norm of max_grad_norm."""
        if not self.config.max_grad_norm:
            return
        self.scaler.unscale_(self.optimizer)
        norm = clip_grad_norm_(self.parameters.values(), self.config.max_grad_norm)
        if not self.scaler.is_enabled():  # fp16's loss scaling skips such updates itself
            self.check_finite("gradient norm", unsharded(norm).item())

    def step(self) -> None:
        """One step of AdamW on the parameters that have gradients."""
        factor = learning_rate_factor(self.update, self.config)
        self.optimizer.param_groups[0]["lr"] = self.config.learning_rate * factor
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)  # zeros would move what another pair trains
        self.update += 1

    def check_finite(self, what: str, value: float) -> None:
        """FloatingPointError for nan or infinity."""
        if math.isfinite(value):
            return
        kept = latest_checkpoint(self.output_dir)
        where = f"The last good checkpoint is {kept}." if kept else "No checkpoint was written."
        remedy = f"lower finetune.learning_rate ({self.config.learning_rate})"
        if not self.update:  # nothing was trained: not the rate's fault
            remedy = "the model's weights are not finite, or it needs float32 or bfloat16"
        raise FloatingPointError(
            f"the {what} is {value} at update {self.update} ({self.pair}); {remedy}. {where}"
        )


def trainable(model) -> dict[str, torch.nn.Parameter]:
    """The parameters that `finetune` trains, by name; ValueError for none."""
    found = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not found:
        raise ValueError(
            "no parameter has requires_grad=True; choose what to train with get_lander_model or "
            "one of baselines.py"
        )
    return found


def label_loss(model, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """The model's own loss, the mean of -log p(next token) over a batch's labels."""
    return label_losses(model, batch)[0].mean()


def mean_over_processes(loss: torch.Tensor) -> float:
    return add_up(loss.detach()).item() / world()


def learning_rate_factor(step: int, config: FinetuneConfig) -> float:
    """Linear warm-up over `warmup` of the updates, then constant, linear or cosine towards 0."""
    warmup = max(1, round(config.warmup * config.updates)) if config.warmup else 0
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, config.updates - warmup)
    cosine = 0.5 * (1 + math.cos(math.pi * progress))
    return {"constant": 1.0, "linear": 1 - progress, "cosine": cosine}[config.schedule]
