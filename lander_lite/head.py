"""The output head: with 250,000 words logits take the most memory and time. It sees the labels'
positions alone, and in parts where it is frozen."""

from __future__ import annotations

import json
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode  # documented, though its path is private

from .blocks import unwrap

LOGITS = 2**26  # that exist at once in parts; each takes 12 bytes, with its gradients


def label_losses(model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """-log p of each label, float32 [label] in nats, and where they are, bool [sentence, token -
    1]: position t predicts label t + 1. Without "labels" every token is one."""
    ids, mask = batch["input_ids"], batch["attention_mask"]
    labels = batch["labels"] if "labels" in batch else ids.masked_fill(mask == 0, -100)
    width, labelled, seen = labels.shape[1], labels[:, 1:] != -100, []
    targets, head, in_parts = labels[:, 1:][labelled], *head_of(model)

    def at_labels(values: Tensor) -> Tensor:
        return values[:, -width:-1][labelled.to(values.device)]

    def pick(module, args):
        seen.append(at_labels(args[0]))  # [label, d_model], contiguous: bfloat16 wants that
        return seen[0][None, : 0 if in_parts else None]

    def give_losses(module, args, output):  # in place of the logits, of which there are none
        return losses_in_parts(module, seen[0], targets, output.shape[-1]) if in_parts else None

    with head.register_forward_pre_hook(pick), head.register_forward_hook(give_losses):
        logits = model(ids, attention_mask=mask, use_cache=False).logits
    if in_parts:
        return logits.flatten(), labelled
    return cross_entropy(logits[0] if seen else at_labels(logits), targets), labelled


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(logits.float(), targets.to(logits.device), reduction="none")


def losses_in_parts(head: nn.Module, hidden: Tensor, targets: Tensor, words: int) -> Tensor:
    """Losses [1, label, 1] of hidden states [label, d_model]. Each part's gradient is made at once,
    so that none of its logits stay for backward."""
    size, losses = max(1, LOGITS // words), []
    for part, target in zip(hidden.split(size), targets.split(size)):
        copy = part.detach().requires_grad_(part.requires_grad)
        loss = cross_entropy(head.forward(copy[None])[0], target)
        if part.requires_grad:
            (gradient,) = torch.autograd.grad(loss.sum(), copy)
            zero = (part - copy.detach()).float() * gradient  # 0, with the loss's gradient
            loss = loss.detach() + zero.sum(dim=1)
        losses.append(loss)
    return torch.cat(losses)[None, :, None]


def head_of(model: nn.Module) -> tuple[nn.Module, bool]:
    """The head, and whether it may work in parts: no gradient of its own is asked for, and what it
    gives are the logits."""
    inner = unwrap(model)
    head, config = inner.get_output_embeddings(), inner.config.to_json_string(use_diff=False)
    trained = torch.is_grad_enabled() and any(p.requires_grad for p in head.parameters())
    return head, not trained and gives_logits(type(inner), config)


@lru_cache
def gives_logits(kind: type, config: str) -> bool:
    """Whether a head's output is the logits, not capped or scaled: seen on a twin without data. If
    it does not run, it is not."""
    ids, given = torch.zeros(1, 1, dtype=torch.long), []
    with FakeTensorMode(allow_non_fake_inputs=True), torch.inference_mode(False), torch.no_grad():
        try:
            twin = kind(kind.config_class.from_dict(json.loads(config))).eval()
            head = twin.get_output_embeddings()
            head.register_forward_hook(lambda *call: given.append((call[2], call[2]._version)))
            logits = twin(ids, attention_mask=torch.ones_like(ids), use_cache=False).logits
        except Exception:
            return False
        return any(logits is output and output._version == version for output, version in given)
