"""What LANDeRMT is compared with: full tuning, whole layers, LoRA (LANDeRMT §4.2). Each returns a model ready for `finetune`.

Zero-shot and five-shot prompting need no tuning: evaluate(model, …) and evaluate(model, …, n_shots=5). Random neurons are
get_lander_model with random_neurons(sets).
"""
from __future__ import annotations

import warnings
from collections.abc import Iterable

from torch import nn

from .model import blocks, feed_forwards


def _train_only(model: nn.Module, parameters: Iterable[nn.Parameter]) -> nn.Module:
    for p in model.parameters():
        p.requires_grad_(False)
    for p in parameters:
        p.requires_grad_(True)
    return model


def full(model: nn.Module) -> nn.Module:
    """Full fine-tuning: every parameter."""
    return _train_only(model, model.parameters())


def layers(model: nn.Module, selected: Iterable[int], whole_block: bool = False) -> nn.Module:
    """The row "Layers": all parameters of the selected layers' feed-forward blocks, or of the whole blocks (what the paper counts)."""
    parts = blocks(model) if whole_block else [view.module for view in feed_forwards(model)]
    chosen = list(selected)
    if wrong := [i for i in chosen if not 0 <= i < len(parts)]:
        raise ValueError(f"layer {wrong[0]} does not exist: the model has layers 0 to {len(parts) - 1}")
    return _train_only(model, [p for i in chosen for p in parts[i].parameters()])


def lora(model: nn.Module, r: int = 16, alpha: int = 32, dropout: float = .05) -> nn.Module:
    """LoRA on every linear layer of every block, by PEFT; the paper is silent on rank and alpha (31M trained parameters on
    BLOOM-7b1 are r = 16 on all four linears)."""
    from peft import LoraConfig, get_peft_model
    config = LoraConfig(r=r, lora_alpha=alpha, lora_dropout=dropout, target_modules="all-linear", task_type="CAUSAL_LM")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing")    # PEFT reads an attribute that transformers renamed
        return get_peft_model(model, config)


def count_trainable(model: nn.Module) -> int:
    """Number of scalars that `finetune` would train."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
