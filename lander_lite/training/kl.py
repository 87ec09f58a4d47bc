"""Stay close to the base model: KL(base || tuned) on plain sentences, a term of the loss against
forgetting, with the untrained model as the teacher (Hinton et al. 2015; Li and Hoiem 2016).

KL is the mean over tokens of: sum over words w of p_base(w) · (log p_base(w) - log p_tuned(w)).
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import nn

from ..hooks import evaluation_mode
from ..prompts import cut_ids, prompt_ids, texts

KL_SENTENCES = 300  # of each language


def encode_plain(tokenizer, sentences: Sequence[str] | None, max_length: int) -> list[dict]:
    """{"input_ids"} of each sentence, cut at `max_length`; ValueError without any."""
    if sentences is None or isinstance(sentences, str):
        raise ValueError(
            "finetune.kl_weight > 0 needs kl_texts=, a list of sentences on which the model is to "
            "stay as it is"
        )
    encoded = [prompt_ids(tokenizer, text) for text in sentences]
    if not any(encoded):
        raise ValueError("kl_texts has no sentence with a token in it")
    return [cut_ids(ids, max_length) for ids in encoded if ids]


def kl_texts(corpus, languages: Sequence[str]) -> list[str]:
    """The first sentences of each language of a corpus, as plain text for the KL term."""
    return sum((list(texts(corpus, x)[:KL_SENTENCES]) for x in languages), [])


def _switches(model: nn.Module) -> list[nn.Module]:
    """The modules with an attribute `enabled`, such as bottleneck adapters."""
    return [module for module in model.modules() if isinstance(vars(module).get("enabled"), bool)]


@contextlib.contextmanager
def adapters_off(model: nn.Module) -> Iterator[None]:
    """Inside, a model with `disable_adapter` or with modules that have `enabled` is its base."""
    before = {module: module.enabled for module in _switches(model)}
    with model.disable_adapter() if hasattr(model, "disable_adapter") else contextlib.nullcontext():
        for module in before:
            module.enabled = False
        try:
            yield
        finally:
            for module, enabled in before.items():
                module.enabled = enabled


class Teacher:
    """The model as it was before training: with its adapters off, or, where it has none, a frozen
    `copy`, which costs the model's memory once more."""

    def __init__(self, model: nn.Module):
        self.model, self.copy = model, None
        if not (hasattr(model, "disable_adapter") or _switches(model)):
            self.copy = copy.deepcopy(model).requires_grad_(False)

    def weights(self, names: Iterable[str]) -> dict[str, torch.Tensor]:
        """The copy's parameters that training moves; a checkpoint holds them."""
        return {} if self.copy is None else {name: self.copy.get_parameter(name) for name in names}

    def logits(self, batch: dict) -> torch.Tensor:
        """(batch, length, words), without gradient and dropout."""
        model = self.model if self.copy is None else self.copy
        with evaluation_mode(model), adapters_off(model):
            return model(**batch, use_cache=False).logits

    def divergence(self, model: nn.Module, batch: dict, autocast: Callable) -> torch.Tensor:
        """KL(teacher || model) on a batch of input_ids and attention_mask, with gradient."""
        with autocast():
            logits = self.logits(batch)
        with autocast():  # anew: weights that were cast without gradient must not be used again
            student = model(**batch, use_cache=False).logits
            return kl_divergence(logits, student, batch["attention_mask"])


def kl_divergence(teacher: torch.Tensor, student: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """KL(teacher || student) in nats, the mean over the tokens of `mask` (batch, length); logits
    (batch, length, words)."""
    mask = mask.bool()
    p, q = (logits[mask.to(logits.device)].float().log_softmax(-1) for logits in (teacher, student))
    return F.kl_div(q, p.to(q.device), log_target=True, reduction="batchmean")
