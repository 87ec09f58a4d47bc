"""What LANDeRMT is compared with: full tuning, whole layers, adapters, LoRA, IA3 (LANDeRMT §4.2).
Each returns a model ready for `finetune`. PEFT does LoRA and IA3; it has no bottleneck adapter, so
that one is here.

Zero-shot and five-shot prompting need no tuning: evaluate(model, …) and evaluate(model, …,
n_shots=5). Random neurons are get_lander_model with random_neurons(sets).
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import nn

from ..blocks import decoder_blocks, feed_forwards, module_of, sizes, unwrap
from ..config import languages_of_pair

# layers that make keys and values; BLOOM and Baichuan make them together with the queries
KEY_VALUE = ("k_proj", "v_proj", "query_key_value", "qkv_proj", "W_pack")


def _train_only(model: nn.Module, parameters: Iterable[nn.Parameter]) -> nn.Module:
    for p in model.parameters():
        p.requires_grad_(False)
    for p in parameters:
        p.requires_grad_(True)
    return model


def in_float32(model: nn.Module) -> nn.Module:
    """The model with what trains in float32: half precision rounds small updates away. The forward
    pass then needs autocast (finetune.mixed_precision)."""
    for p in model.parameters():
        if p.requires_grad and p.dtype in (torch.bfloat16, torch.float16):
            p.data = p.data.float()
    return model


def full(model: nn.Module) -> nn.Module:
    """Full fine-tuning: every parameter."""
    return _train_only(model, model.parameters())


def layers(model: nn.Module, selected: Iterable[int], whole_block: bool = False) -> nn.Module:
    """The row "Layers": all parameters of the selected layers' feed-forward blocks, or of the whole
    blocks (what the paper counts)."""
    parts = decoder_blocks(model) if whole_block else [view.module for view in feed_forwards(model)]
    chosen = list(selected)
    if wrong := [i for i in chosen if not 0 <= i < len(parts)]:
        raise ValueError(
            f"layer {wrong[0]} does not exist: the model has layers 0 to {len(parts) - 1}"
        )
    return _train_only(model, [p for i in chosen for p in parts[i].parameters()])


def random_layers(
    model: nn.Module, k: int, seed: int, whole_block: bool = False, first: int = 0
) -> nn.Module:
    """The control of `layers`: k layers drawn with `seed` from layer `first` on (RA can't choose
    layer 0). ValueError when the model has fewer."""
    return layers(model, drawn_layers(len(decoder_blocks(model)), k, seed, first), whole_block)


def drawn_layers(n: int, k: int, seed: int, first: int = 0) -> list[int]:
    """k of the layers first … n - 1, drawn with `seed`. ValueError when there are fewer."""
    if not 1 <= k <= n - first:
        raise ValueError(f"k={k} random layers: the model has {n - first}")
    return sorted(random.Random(seed).sample(range(first, n), k))


# ---------------------------------------------------------------- adapters
class Adapter(nn.Module):
    """A linear layer with a bottleneck behind it: y + up(gelu(down(y))), y = linear(x) (...,
    d_model).

    `up` starts at zero, so the layer starts as it was. float32 as PEFT's adapters are: small
    updates get lost in bfloat16."""

    def __init__(self, linear: nn.Module, bottleneck: int):
        super().__init__()
        self.base_layer, self.enabled = linear, True
        self.in_features, self.out_features = sizes(linear)  # blocks.feed_forwards asks for them
        place = {"dtype": torch.float32, "device": linear.weight.device}
        self.down = nn.Linear(self.out_features, bottleneck, **place)
        self.up = nn.Linear(bottleneck, self.out_features, **place)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.base_layer(x)
        if not self.enabled:
            return y
        hidden = F.gelu(self.down(y.to(self.down.weight.dtype)))
        return y + self.up(hidden).to(y.dtype)


def adapter(model: nn.Module, bottleneck: int = 64) -> nn.Module:
    """The row "Adapter": a bottleneck adapter (Houlsby et al. 2019) behind every block's
    feed-forward network, inside the residual connection (the place that Pfeiffer et al. 2021 found
    best). Works in place; only the adapters train."""
    if bottleneck < 1:
        raise ValueError(f"bottleneck={bottleneck} must be at least 1")
    added = []
    for view in feed_forwards(model):
        if isinstance(view.down, Adapter):
            raise ValueError(f"{view.name} has an adapter already")
        added.append(Adapter(module_of(view.down), bottleneck).train(model.training))
        view.replace_part("down", added[-1])
    parts = nn.ModuleList(part for adapter in added for part in (adapter.down, adapter.up))
    return _train_only(model, parts.parameters())


def bottleneck_for(model: nn.Module, budget: int) -> int:
    """The bottleneck b with which all adapters together train about `budget` scalars: n_layers ·
    (2·d·b + d + b); at least 1."""
    views = feed_forwards(model)
    d = views[0].d_model
    return max(1, round((budget / len(views) - d) / (2 * d + 1)))


# ---------------------------------------------------------------- PEFT
def _peft(model: nn.Module, config) -> nn.Module:
    from peft import get_peft_model

    was_training = model.training
    with warnings.catch_warnings():
        # PEFT reads an attribute that transformers renamed
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing")
        # GPT-2's Conv1D: PEFT sets it right by itself
        warnings.filterwarnings("ignore", message="fan_in_fan_out is set to False")
        tuned = get_peft_model(model, config)
    return tuned.train(was_training)  # new modules start in training mode: dropout would be on


def lora(model: nn.Module, r: int = 16, alpha: int = 32, dropout: float = 0.05) -> nn.Module:
    """LoRA on every linear layer of every block, by PEFT; the paper is silent on rank and alpha
    (31M trained parameters on BLOOM-7b1 are r = 16 on all four linears)."""
    from peft import LoraConfig

    sizes = {"r": r, "lora_alpha": alpha, "lora_dropout": dropout}
    config = LoraConfig(**sizes, target_modules="all-linear", task_type="CAUSAL_LM")
    return _peft(model, config)


def adapter_lora(
    model: nn.Module, bottleneck: int = 64, r: int = 16, alpha: int = 32, dropout: float = 0.05
) -> nn.Module:
    """The row "Adapter-LoRA": both. LoRA comes first, so that it finds the model's own linear
    layers and not those of the adapters."""
    tuned = lora(model, r, alpha, dropout)
    matrices = [p for p in tuned.parameters() if p.requires_grad]
    adapter(tuned, bottleneck)  # freezes all but the adapters
    for p in matrices:
        p.requires_grad_(True)
    return tuned


def ia3(model: nn.Module) -> nn.Module:
    """IA3 (Liu et al. 2022) by PEFT: a learned factor for each key, value and feed-forward neuron,
    1 at the start. Where one layer makes queries, keys and values together, as in BLOOM, the
    queries get factors too. ValueError when no layer for keys and values is found."""
    from peft import IA3Config

    inner = unwrap(model)
    names = {module: name for name, module in inner.named_modules()}
    attention = [name for name in names.values() if name.rpartition(".")[2] in KEY_VALUE]
    if not attention:
        looked_for = ", ".join(KEY_VALUE)
        raise ValueError(
            f"{type(inner).__name__}: no layer for keys and values, looked for {looked_for}"
        )
    down = [names[module_of(view.down)] for view in feed_forwards(inner)]
    targets = {"target_modules": [*attention, *down], "feedforward_modules": down}
    return _peft(model, IA3Config(**targets, task_type="CAUSAL_LM"))


def count_trainable(model: nn.Module, pairs: Iterable[str] = ()) -> int:
    """Number of scalars that `finetune` would train; where `pairs` are given, on these: neurons of
    other languages alone are left out, for they get no gradient."""
    languages = {language for pair in pairs for language in languages_of_pair(pair)}
    parts = (module for module in model.modules() if languages and hasattr(module, "idle"))
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return trained - sum(part.idle(languages) for part in parts)
