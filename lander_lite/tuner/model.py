"""The tuned model: wrap a causal LM so that only language-aware neurons train; choose the pair;
save, load, switch off, merge.

PEFT users will know the shape: get_lander_model(model, config) -> LanderModel with
print_trainable_parameters, save_pretrained, from_pretrained, disable_adapter and merge_and_unload
(LANDeRMT §3.2–3.3).
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from ..blocks import feed_forwards, fingerprint, unwrap
from ..config import languages_of_pair
from ..io import atomic_path, read_tensors, write_tensors
from ..neurons import NeuronSets
from ..training.distributed import is_main, whole
from .config import LanderTuningConfig
from .layer import PartitionedFFN

MODEL, CONFIG, FORMAT = (
    "lander_model.safetensors",
    "lander_config.json",
    "lander_lite.LanderModel/1",
)
SETS = "neuron_sets."  # prefix of the indices' names in the file


def get_lander_model(model: nn.Module, config: LanderTuningConfig) -> LanderModel:
    """Wrap `model` in place: its selected feed-forward blocks become PartitionedFFN, everything
    else is frozen.

    Raises ValueError for sets that belong to another model, that select nothing, or when the model
    is wrapped already."""
    if any(isinstance(m, PartitionedFFN) for m in model.modules()):
        raise ValueError(
            "this model is wrapped already; call merge_and_unload() or unload() on the "
            "LanderModel first"
        )
    sets = config.neuron_sets
    sets.check_model(model)
    if not sets.layers or not any(
        len(sets.general[i]) + sum(len(sets.specific[lang][i]) for lang in sets.languages)
        for i in sets.layers
    ):
        raise ValueError("the neuron sets are empty: nothing would be trained")
    return LanderModel(model, config)


class LanderModel(nn.Module):
    """A causal LM of which general ∪ specific(source) ∪ specific(target) neurons are trainable.
    Call set_pair("en-de") before using it."""

    def __init__(self, model: nn.Module, config: LanderTuningConfig):
        super().__init__()
        self.base_model, self.tuning, self.pair = model, config, None
        self._fingerprint = fingerprint(model)
        self._required = {name: p.requires_grad for name, p in model.named_parameters()}
        inner = unwrap(model)
        self._all = inner.num_parameters()  # knows that 4-bit weights lie two in a byte
        for p in model.parameters():
            p.requires_grad_(False)
        views, sets = feed_forwards(model), config.neuron_sets
        self._views = {}
        for layer in sets.layers:
            view, phi = views[layer], sets.awareness
            view.dequantise(inner.dtype)  # other layers stay in 4 or 8 bits
            ffn = PartitionedFFN(
                view,
                sets.general[layer],
                {lang: sets.specific[lang][layer] for lang in sets.languages},
                {lang: phi[lang][layer] for lang in sets.languages} if phi else None,
                config.routing,
                config.other_specific,
                getattr(torch, config.dtype) if config.dtype else None,
            )
            view.replace(ffn)
            self._views[layer] = ffn
        self.train(
            model.training
        )  # new modules start in training mode: dropout would be on in an eval model

    # ---- use
    @property
    def partitioned(self) -> dict[int, PartitionedFFN]:
        """{layer: its PartitionedFFN}."""
        return self._views

    def set_pair(self, pair: str) -> LanderModel:
        """Choose the pair, "source-target", or one language, "af", for its plain text; each must
        have a neuron set. Returns self."""
        known = self.tuning.neuron_sets.languages
        if missing := [lang for lang in languages_of_pair(pair) if lang not in known]:
            raise ValueError(
                f"pair {pair!r}: no neuron sets for {', '.join(missing)}; there are sets for "
                f"{', '.join(known)}"
            )
        self.pair = pair
        for ffn in self._views.values():
            ffn.set_pair(pair)
        return self

    def forward(self, *args, **kwargs):
        return self.base_model(*args, **kwargs)

    def generate(self, *args, **kwargs):
        return self.base_model.generate(*args, **kwargs)

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("base_model"), name)

    @contextlib.contextmanager
    def disable_adapter(self):
        """Inside, the model is the base model."""
        before = [ffn.enabled for ffn in self._views.values()]
        for ffn in self._views.values():
            ffn.enabled = False
        try:
            yield self
        finally:  # as it was: an inner `with` must not switch the outer one's model on
            for ffn, enabled in zip(self._views.values(), before):
                ffn.enabled = enabled

    # ---- counting
    def get_nb_trainable_parameters(self) -> tuple[int, int]:
        """(trainable, all) scalars; the slices stand for weights of the base model, so only the
        router adds to `all`."""
        trainable = sum(p.numel() for p in self.parameters() if p.requires_grad)
        return trainable, self._all + sum(
            p.numel() for ffn in self._views.values() for p in ffn.router.parameters()
        )

    def print_trainable_parameters(self) -> None:
        trainable, total = self.get_nb_trainable_parameters()
        print(
            f"trainable params: {trainable:,d} || all params: {total:,d} || trainable%: "
            f"{100 * trainable / total:.4f}"
        )

    # ---- files
    def tuned_state_dict(self) -> dict[str, torch.Tensor]:
        """The tuned slices and gates alone: {"<layer>.slices.<group>.<up|gate|down…>",
        "<layer>.router.linear.<weight|bias>"}."""
        return {
            f"{layer}.{name}": whole(p.detach())
            for layer, ffn in self._views.items()
            for part in ("slices", "router")
            for name, p in ffn.named_parameters()
            if name.startswith(part + ".")
        }

    def load_tuned_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        own = self.tuned_state_dict()
        wrong = sorted(set(own) ^ set(state)) or [k for k in own if own[k].shape != state[k].shape]
        if wrong:
            raise ValueError(
                f"the saved slices do not fit these neuron sets, first at {wrong[0]!r}"
            )
        with torch.no_grad():
            for key, tensor in own.items():
                tensor.copy_(state[key])

    def save_pretrained(self, folder: str | os.PathLike) -> None:
        """Write tuned slices and gates, the neuron sets (indices, awareness) and how they are used
        into one file of `folder`, so that one rename switches from the last save to this one; and a
        JSON beside it, for people and tools, which from_pretrained does not read. Both are written
        before the first one is replaced: a full disk leaves a saved model as it was."""
        from .. import __version__

        folder, sets = Path(folder), self.tuning.neuron_sets
        indices, content = sets.as_tensors()
        about = {k: v for k, v in vars(self.tuning).items() if k != "neuron_sets"}
        about |= {
            "base_model": self._fingerprint,
            "layers": sets.layers,
            "languages": sets.languages,
            "neuron_sets_hash": sets.hash(),
            "base_model_name_or_path": getattr(self.base_model.config, "_name_or_path", None)
            or None,
            "lander_lite_version": __version__,
        }
        tensors = self.tuned_state_dict() | {
            SETS + name: tensor for name, tensor in indices.items()
        }
        if not is_main():
            return
        with atomic_path(folder / CONFIG) as config:
            config.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
            write_tensors(folder / MODEL, FORMAT, tensors, about | {"neuron_sets": content})

    @classmethod
    def from_pretrained(cls, model: nn.Module, folder: str | os.PathLike) -> LanderModel:
        """Wrap `model` with what save_pretrained wrote. FileNotFoundError names a missing file,
        ValueError a damaged one or another base model."""
        about, tensors = read_tensors(Path(folder) / MODEL, FORMAT)
        indices = {
            name.removeprefix(SETS): tensor
            for name, tensor in tensors.items()
            if name.startswith(SETS)
        }
        sets = NeuronSets.from_tensors(indices, about["neuron_sets"])
        replace(sets, model=about["base_model"]).check_model(model)
        lander = get_lander_model(
            model,
            LanderTuningConfig(sets, about["routing"], about["other_specific"], about["dtype"]),
        )
        lander.load_tuned_state_dict(
            {name: tensor for name, tensor in tensors.items() if not name.startswith(SETS)}
        )
        return lander

    # ---- back to a plain model
    def merge_and_unload(self) -> nn.Module:
        """The plain base model with the tuned neurons written in; this wrapper is spent. Only
        without gates: a weight that depends on the token or the pair has no place in a plain
        feed-forward block, so other routings raise ValueError."""
        if self.tuning.routing != "none" or any(ffn.drop for ffn in self._views.values()):
            what = (
                "other_specific='drop'"
                if self.tuning.routing == "none"
                else f"routing={self.tuning.routing!r}"
            )
            raise ValueError(
                f"{what} can't be merged: what counts depends on the token or on the language "
                f"pair, and a plain feed-forward "
                'block has no place for that. Keep the wrapper, or tune with routing="none", '
                "which keeps every neuron."
            )
        return self._unwrap(merge=True)

    def unload(self) -> nn.Module:
        """The base model as it was before wrapping; the tuned slices are lost unless saved."""
        return self._unwrap(merge=False)

    def _unwrap(self, merge: bool) -> nn.Module:
        for ffn in self._views.values():
            ffn.ffn.replace(ffn.restore(merge))
        for name, p in self.base_model.named_parameters():
            p.requires_grad_(self._required[name])
        return self.base_model
