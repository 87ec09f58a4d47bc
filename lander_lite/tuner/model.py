"""The tuned model: a causal LM of which only language-aware neurons train (LANDeRMT §3.2–3.3).

`LanderTuner` is the PEFT method; `peft.get_peft_model(model, LanderTuningConfig(…))` uses it.
`LanderModel`, which `get_lander_model` gives, is the same as a PeftModel that saves all or nothing.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from peft import PeftModelForCausalLM
from peft.tuners.tuners_utils import BaseTuner
from peft.utils import CONFIG_NAME, SAFETENSORS_WEIGHTS_NAME
from torch import nn

from ..blocks import feed_forwards, fingerprint
from ..config import languages_of_pair
from ..io import open_tensors, read_tensors, repair_folder, replace_folder
from ..neurons import NeuronSets
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
    _base: dict | None = None  # the model before wrapping: views, fingerprint, what asked gradients

    def inject_adapter(self, model: nn.Module, adapter_name: str, *args, **kwargs) -> None:
        """Wrap the blocks of the sets.

        Raises: ValueError for sets that are empty or belong to another model, and for a model that
            is wrapped already; all before anything is changed.
        """
        if self._base is None:
            self._base = self._before_wrapping(model)
        config, views = self.peft_config[adapter_name], self._base["views"]
        sets = config.neuron_sets
        if isinstance(sets, str):
            raise ValueError(
                "PeftConfig reads no neuron sets: use LanderTuningConfig.from_pretrained"
            )
        every = [sets.general, *sets.specific.values()] if sets is not None else []
        if not any(len(indices) for blocks in every for indices in blocks.values()):
            raise ValueError("the neuron sets are empty: nothing would be trained")
        replace(sets, model={**(config.base_fingerprint or {}), **sets.model}).check_model(model)
        config.base_fingerprint = self._base["fingerprint"]
        self._targets = {views[block].name: block for block in sets.layers}
        config.target_modules = list(self._targets)
        super().inject_adapter(model, adapter_name, *args, **kwargs)

    @staticmethod
    def _before_wrapping(model: nn.Module) -> dict:
        refuse_wrapped(model)
        asked = {name: p.requires_grad for name, p in model.named_parameters()}
        views = feed_forwards(model)
        return {"views": views, "fingerprint": fingerprint(model), "asked_gradients": asked}

    # ---------------------------------------------------------------- what PEFT asks of a method
    def _prepare_adapter_config(self, peft_config, model_config):
        return peft_config

    def _check_target_module_exists(self, peft_config, key: str) -> bool:
        return key in self._targets

    def _create_and_replace(self, peft_config, adapter_name, target, *args, current_key, **kwargs):
        block = self._targets[current_key]
        layer = target
        if not isinstance(target, LanderLayer):
            layer = LanderLayer(self._base["views"][block], block)
            layer.view.replace(layer)
        layer.add_adapter(adapter_name, peft_config)

    def _replace_module(self, parent, child_name, new_module, child) -> None:
        child.view.replace(new_module)

    def _cast_adapter_dtype(self, adapter_name: str, autocast_adapter_dtype: bool = True) -> None:
        """The layers have chosen: float32 for half-precision models, or the config's dtype."""

    def _check_merge_allowed(self) -> None:
        """Raise ValueError where a weight depends on the token or the pair: a plain feed-forward
        block has no place for that."""
        for name in self.active_adapters:
            config = self.peft_config[name]
            if config.routing == "none" and not config.drops:
                continue
            what = f"routing={config.routing!r}"
            what = what if config.routing != "none" else "other_specific='drop'"
            raise ValueError(
                f"{what} can't be merged: what counts depends on the token or on the language "
                "pair, and a plain feed-forward block has no place for that. Keep the wrapper, or "
                'tune with routing="none", which keeps every neuron.'
            )

    def _unload_and_optionally_merge(self, *args, **kwargs) -> nn.Module:
        model = super()._unload_and_optionally_merge(*args, **kwargs)
        for name, p in model.named_parameters():
            p.requires_grad_(self._base["asked_gradients"].get(name, True))
        return model

    # ---------------------------------------------------------------- use
    @property
    def partitioned(self) -> dict[int, LanderLayer]:
        """{block: its LanderLayer}."""
        layers = [module for module in self.model.modules() if isinstance(module, LanderLayer)]
        return {layer.block: layer for layer in layers}

    def set_pair(self, pair: str) -> LanderTuner:
        """Choose the pair, "source-target", or one language, "af", for its plain text.

        Raises: ValueError for a language without a neuron set in the active adapter.
        """
        languages = languages_of_pair(pair)
        for name in self.active_adapters:
            known = self.peft_config[name].neuron_sets.languages
            if missing := [language for language in languages if language not in known]:
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
        if pair is not None and pair != self.pair:
            self.set_pair(pair)
        return self.model(*args, **kwargs)


class LanderModel(PeftModelForCausalLM):
    """A tuned model, a PeftModel: `print_trainable_parameters`, `disable_adapter`, `add_adapter`,
    `merge_and_unload`, `push_to_hub` and Trainer work as PEFT's do."""

    def __init__(self, model: nn.Module, peft_config: LanderTuningConfig, *args, **kwargs):
        mode = model.training  # new modules start in training mode: dropout would be on
        with quiet_peft():
            super().__init__(model, peft_config, *args, **kwargs)
        self.train(mode)

    def set_pair(self, pair: str) -> LanderModel:
        """Choose the pair or language to train, route and translate; returns self (LanderTuner)."""
        self.base_model.set_pair(pair)
        return self

    def save_pretrained(self, save_directory: str | os.PathLike, **options) -> None:
        """As PEFT's, all or nothing: a kill or a full disk leaves the folder as it was. It holds
        the tuned slices and gates, the neuron sets, adapter_config.json and a model card."""
        folder = Path(save_directory)
        folder.parent.mkdir(parents=True, exist_ok=True)
        if folder.is_file():
            raise ValueError(f"{folder} is a file; give a folder")
        options = {"save_embedding_layers": False, **options}
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as place:
            new = Path(place) / folder.name
            super().save_pretrained(new, **options)
            keep_others(folder, new)
            replace_folder(new, folder)

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
            return _of_first_edition(cls, model, folder)
        if folder.is_dir():
            check_files(folder)
        config = LanderTuningConfig.from_pretrained(model_id, **options)
        config.inference_mode = not is_trainable
        lander = cls(model, config, adapter_name)
        try:
            options |= {"is_trainable": is_trainable}
            missing = lander.load_adapter(model_id, adapter_name, **options).missing_keys
        except RuntimeError as error:  # torch's, for slices of another size
            missing = [str(error).splitlines()[-1].strip()]
        if missing:
            lander.unload()
            raise ValueError(
                f"{model_id}: the slices are of another save than the sets ({missing[0]})"
            )
        return lander


def keep_others(old: Path, new: Path) -> None:
    """Link into `new` what lies in `old` and has no namesake there: files of other programs."""
    for path in old.iterdir() if old.is_dir() else ():
        if path.is_dir() and not (new / path.name).exists():
            shutil.copytree(path, new / path.name, copy_function=os.link)
        elif not (new / path.name).exists():
            os.link(path, new / path.name)


def check_files(folder: Path) -> None:
    """Raise FileNotFoundError or ValueError that names a missing or damaged file."""
    for name in (CONFIG_NAME, SETS, SAFETENSORS_WEIGHTS_NAME):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"no file {folder / name}")
    with open_tensors(folder / SAFETENSORS_WEIGHTS_NAME):
        pass  # it opens


def _of_first_edition(cls, model: nn.Module, folder: Path) -> LanderModel:
    """A model that an earlier lander_lite saved, in one file with other names."""
    about, tensors = read_tensors(folder / FIRST_EDITION, "lander_lite.LanderModel/1")
    prefix = "neuron_sets."
    indices = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    sets = NeuronSets.from_tensors(indices, about["neuron_sets"])
    names = {name: about[name] for name in ("routing", "other_specific", "dtype")}
    lander = cls(model, LanderTuningConfig(sets, base_fingerprint=about["base_model"], **names))
    with torch.no_grad():
        for block, layer in lander.partitioned.items():
            for key, p in layer.slices.items():
                p.copy_(tensors[f"{block}.slices.{key.replace(':', '.')}"])
            for name, p in layer.router.named_parameters():
                p.copy_(tensors[f"{block}.router.linear.{name}"])
    return lander


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


@contextmanager
def quiet_peft():
    """Without two warnings of PEFT that need no answer: it reads an attribute that transformers has
    renamed, and sets GPT-2's Conv1D right by itself."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing")
        warnings.filterwarnings("ignore", message="fan_in_fan_out is set to False")
        yield


register(LanderTuningConfig, LanderTuner)
