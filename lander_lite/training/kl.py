"""Stay close to the base model: KL(base || tuned) on plain sentences, a term of the loss against
forgetting.

It is knowledge distillation with the untrained model as the teacher (Hinton et al. 2015; "learning
without forgetting", Li and Hoiem 2016):

    KL = mean over tokens t of  sum over words w of  p_base(w | t) · (log p_base(w | t) - log
    p_tuned(w | t))
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import nn

from ..corpus import cut_ids, prompt_ids
from ..evaluation import evaluating
from ..reproduction.baselines import Adapter


def encode_plain(tokenizer, texts: Sequence[str] | None, max_length: int) -> list[dict]:
    """{"input_ids"} of each sentence, cut at `max_length`; ValueError without any."""
    if texts is None or isinstance(texts, str):
        raise ValueError(
            "finetune.kl_weight > 0 needs kl_texts=, a list of sentences on which the model is to "
            "stay as it is"
        )
    examples = [cut_ids(ids, max_length) for text in texts if (ids := prompt_ids(tokenizer, text))]
    if not examples:
        raise ValueError("kl_texts has no sentence with a token in it")
    return examples


@contextlib.contextmanager
def switched_off(model: nn.Module):
    """Inside, a LanderModel, a PEFT model or one with adapters is its base model."""
    adapters = [m for m in model.modules() if isinstance(m, Adapter)]
    before = [a.enabled for a in adapters]
    with model.disable_adapter() if hasattr(model, "disable_adapter") else contextlib.nullcontext():
        for a in adapters:
            a.enabled = False
        try:
            yield
        finally:
            for a, enabled in zip(adapters, before):
                a.enabled = enabled


class Teacher:
    """The model as it was before training. `copy` is None where the tuned part can be switched off;
    else a frozen copy, which costs the model's memory once more."""

    def __init__(self, model: nn.Module):
        self.model = model
        can_switch = hasattr(model, "disable_adapter") or any(
            isinstance(m, Adapter) for m in model.modules()
        )
        self.copy = None if can_switch else copy.deepcopy(model).requires_grad_(False)

    def weights(self, names) -> dict[str, torch.Tensor]:
        """The copy's parameters that training moves: a checkpoint holds them, as the model in hand
        may have moved on."""
        return {} if self.copy is None else {name: self.copy.get_parameter(name) for name in names}

    def logits(self, batch: dict) -> torch.Tensor:
        """(batch, length, words), without gradient and dropout."""
        model = self.model if self.copy is None else self.copy
        with (
            evaluating(model),
            switched_off(model) if self.copy is None else contextlib.nullcontext(),
        ):
            return model(**batch, use_cache=False).logits

    def divergence(self, model: nn.Module, batch: dict, autocast: Callable) -> torch.Tensor:
        """KL(teacher || model) on a batch of input_ids and attention_mask, with gradient."""
        with autocast():
            logits = self.logits(batch)
        with autocast():  # anew: weights that were cast without gradient must not be used again
            return kl_divergence(
                logits, model(**batch, use_cache=False).logits, batch["attention_mask"]
            )


def kl_divergence(teacher: torch.Tensor, student: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """KL(teacher || student) in nats, the mean over the tokens of `mask` (batch, length); logits
    (batch, length, words)."""
    mask = mask.bool()
    p, q = (logits[mask.to(logits.device)].float().log_softmax(-1) for logits in (teacher, student))
    return F.kl_div(q, p.to(q.device), log_target=True, reduction="batchmean")
