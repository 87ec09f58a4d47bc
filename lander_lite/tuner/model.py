"""The tuned model: a causal LM of which only language-aware neurons train (LANDeRMT §3.2–3.3).

`LanderTuner` is the PEFT method; `peft.get_peft_model(model, LanderTuningConfig(…))` uses it.
`LanderModel`, which `get_lander_model` gives, is a PeftModel with it that saves all or nothing.
"""

from __future__ import annotations

import os
import shutil
import warnings
from dataclasses import replace
from pathlib import Path

from peft import PeftModelForCausalLM
from peft.tuners.tuners_utils import BaseTuner
from peft.utils import CONFIG_NAME, SAFETENSORS_WEIGHTS_NAME
from torch import nn

from ..blocks import FeedForward, feed_forwards, fingerprint
from ..config import languages_of_pair
from ..folders import atomic_folder, repair_folder
from ..hooks import is_main
from ..io import open_tensors
from ..training.distributed import unsharded
from .config import SETS, LanderTuningConfig
from .layer import LanderLayer
from .registry import register

FIRST_EDITION = "lander_model.safetensors"


class LanderTuner(BaseTuner):
    """LANDeRMT as a PEFT method: general ∪ specific(source) ∪ specific(target) neurons train.

    `set_pair("en-de")` comes before the first forward pass, or a batch names its pair: forward
    takes `pair=`. Attributes: pair, the current one; partitioned, {block: its LanderLayer}.
    """

    prefix = "lander_"
    tuner_layer_cls = LanderLayer
    target_module_mapping: dict = {}
    pair: str | None = None
    _base: dict | None = None  # of the model before it was wrapped

    def inject_adapter(self, model: nn.Module, adapter_name: str, *args, **kwargs) -> None:
        """Wrap the blocks of the sets. Raises ValueError, before anything is changed, for sets that
        are empty or belong to another model, and for a model that is wrapped already."""
        config = self.peft_config[adapter_name]
        sets = config.neuron_sets
        if isinstance(sets, str):
            how = "use LanderTuningConfig.from_pretrained"
            raise ValueError(f"PeftConfig.from_pretrained reads no neuron sets: {how}")
        every = [sets.general, *sets.specific.values()] if sets is not None else []
        if not any(len(indices) for blocks in every for indices in blocks.values()):
            raise ValueError("the neuron sets are empty: nothing would be trained")
        if self._base is None:
            refuse_wrapped(model)
            asked = {name: p.requires_grad for name, p in model.named_parameters()}
            views, known = feed_forwards(model), fingerprint(model)
            self._base = {"views": views, "fingerprint": known, "asked_gradients": asked}
        replace(sets, model={**(config.base_fingerprint or {}), **sets.model}).check_model(model)
        for block in sets.layers:
            refuse_offloaded(self._base["views"][block])
        config.base_fingerprint = self._base["fingerprint"]
        self._targets = {self._base["views"][block].name: block for block in sets.layers}
        config.target_modules = list(self._targets)
        super().inject_adapter(model, adapter_name, *args, **kwargs)

    # ---------------------------------------------------------------- what PEFT asks of a method
    def _prepare_adapter_config(self, peft_config, model_config):
        return peft_config

    def _check_target_module_exists(self, peft_config, key: str) -> bool:
        return key in self._targets

    def _create_and_replace(self, peft_config, adapter_name, target, *args, current_key, **kwargs):
        layer, block = target, self._targets[current_key]
        if not isinstance(target, LanderLayer):
            layer = LanderLayer(self._base["views"][block], block)
            layer.put_in()
        layer.add_adapter(adapter_name, peft_config)

    def _replace_module(self, parent, child_name, new_module, child) -> None:
        child.take_out()

    def _cast_adapter_dtype(self, adapter_name: str, autocast_adapter_dtype: bool = True) -> None:
        """Nothing: the layers have chosen."""

    def _check_merge_allowed(self) -> None:
        for name in self.active_adapters:
            config = self.peft_config[name]
            if config.routing != "none" or config.drops:
                gated = config.routing != "none"
                what = f"routing={config.routing!r}" if gated else "other_specific='drop'"
                raise ValueError(
                    f"{what} can't be merged: what counts depends on the token or on the language "
                    "pair, and a plain feed-forward block has no place for that. Keep the wrapper, "
                    'or tune with routing="none", which keeps every neuron.'
                )

    def _unload_and_optionally_merge(self, *args, **kwargs) -> nn.Module:
        model = super()._unload_and_optionally_merge(*args, **kwargs)
        for name, p in model.named_parameters():
            p.requires_grad_(self._base["asked_gradients"].get(name, True))
        return model

    # ---------------------------------------------------------------- use
    @property
    def partitioned(self) -> dict[int, LanderLayer]:
        layers = [module for module in self.model.modules() if isinstance(module, LanderLayer)]
        return {layer.block: layer for layer in layers}

    def set_pair(self, pair: str) -> LanderTuner:
        """Choose the pair, "source-target", or one language, "af", for its plain text.

        Raises: ValueError for a language without a neuron set in the active adapter.
        """
        for name in self.active_adapters:
            known = self.peft_config[name].neuron_sets.languages
            if missing := [x for x in languages_of_pair(pair) if x not in known]:
                raise ValueError(
                    f"pair {pair!r}: no neuron sets for {', '.join(missing)}; "
                    f"there are sets for {', '.join(known)}"
                )
        self.pair = pair
        for layer in self.partitioned.values():
            layer.set_pair(pair)
        return self

    def forward(self, *args, pair: str | None = None, **kwargs):
        """The model's output; `pair` is set first if the batch names one."""
        if pair not in (None, self.pair):
            self.set_pair(pair)
        return self.model(*args, **kwargs)


class LanderModel(PeftModelForCausalLM):
    """A tuned model, a PeftModel: `print_trainable_parameters`, `disable_adapter`, `add_adapter`,
    `merge_and_unload`, `push_to_hub` and Trainer work as PEFT's do."""

    def __init__(self, model: nn.Module, peft_config: LanderTuningConfig, *args, **kwargs):
        training = model.training  # new modules start in training mode: dropout would be on
        with warnings.catch_warnings():  # PEFT reads an attribute that transformers has renamed
            warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing")
            super().__init__(model, peft_config, *args, **kwargs)
        self.train(training)

    def set_pair(self, pair: str) -> LanderModel:
        """Choose the pair or language to train, route and translate; returns self (LanderTuner)."""
        self.base_model.set_pair(pair)
        return self

    def save_pretrained(self, save_directory: str | os.PathLike, **options) -> None:
        """As PEFT's, all or nothing: a kill or a full disk leaves the folder as it was. It holds
        the tuned slices and gates, the neuron sets, adapter_config.json and a model card; what
        others keep there stays."""
        folder = Path(save_directory)
        if folder.is_file():
            raise ValueError(f"{folder} is a file; give a folder")
        # every process puts sharded slices together, and the first one writes
        tuned = {key: unsharded(p) for key, p in self.state_dict().items() if ".lander_" in key}
        if not is_main():
            return
        options = {"save_embedding_layers": False, "state_dict": tuned, **options}
        with atomic_folder(folder) as new:
            super().save_pretrained(new, **options)
            for path in folder.iterdir() if folder.is_dir() else ():
                if not (new / path.name).exists():
                    copy = shutil.copytree if path.is_dir() else shutil.copy2
                    copy(path, new / path.name)

    @classmethod
    def from_pretrained(cls, model: nn.Module, model_id: str | os.PathLike, adapter_name="default",
                        is_trainable: bool = False, **options) -> LanderModel:  # fmt: skip
        """Wrap `model` with what `save_pretrained` wrote.

        Raises: FileNotFoundError that names a missing file; ValueError for a damaged one, one of
            another save, and another base model.
        """
        folder = Path(model_id)
        repair_folder(folder)
        if (folder / FIRST_EDITION).is_file():
            how = (
                "load it with lander_lite.scale.first_edition.load_first_edition and save it again"
            )
            raise ValueError(f"{folder} was saved by lander_lite 0.1: {how}")
        for name in (CONFIG_NAME, SETS, SAFETENSORS_WEIGHTS_NAME) if folder.is_dir() else ():
            if not (folder / name).is_file():
                raise FileNotFoundError(f"no file {folder / name}")
            if name != CONFIG_NAME:
                refuse_not_finite(folder / name)
        config = LanderTuningConfig.from_pretrained(model_id, **options)
        config.inference_mode = not is_trainable
        lander = cls(model, config, adapter_name)
        try:
            options |= {"is_trainable": is_trainable}
            found = lander.load_adapter(model_id, adapter_name, **options)
            wrong = [*found.missing_keys, *found.unexpected_keys]
        except RuntimeError as error:  # torch's, for slices of another size
            wrong = [str(error).splitlines()[-1].strip()]
        if wrong:
            lander.unload()
            raise ValueError(f"{model_id}: slices and sets are of another save each ({wrong[0]})")
        return lander


def refuse_offloaded(view: FeedForward) -> None:
    """ValueError for a block whose weights accelerate keeps elsewhere and brings for each pass."""
    for part in view.module.modules():
        away = any(p.device.type == "meta" for p in part.parameters(recurse=False))
        if away and hasattr(part, "_hf_hook"):
            raise ValueError(
                f"{view.name} is offloaded to the CPU or disk (model.device_map), and a block that "
                f"is tuned must fit on its device; use a larger one, or model.load_in_4bit"
            )


def refuse_not_finite(path: Path) -> None:
    """Raise ValueError for a damaged safetensors file, or one that holds NaN or infinities."""
    with open_tensors(path) as file:
        for name in file.keys():
            if not file.get_tensor(name).isfinite().all():
                raise ValueError(f"{path}: {name} holds numbers that are not finite; tune again")


def get_lander_model(model: nn.Module, config: LanderTuningConfig) -> LanderModel:
    """Wrap `model` in place: selected feed-forward blocks become LanderLayers, the rest is frozen.

    Raises: ValueError for sets that are empty or belong to another model, and for a wrapped model.
    """
    refuse_wrapped(model)
    return LanderModel(model, config)


def refuse_wrapped(model: nn.Module) -> None:
    if any(isinstance(module, LanderLayer) for module in model.modules()):
        raise ValueError(
            "this model is wrapped already; call merge_and_unload() or unload() on the "
            "LanderModel first, or add_adapter(name, config) for a second set of neurons"
        )


register(LanderTuningConfig, LanderTuner)
