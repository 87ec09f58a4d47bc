"""Make our method known to PEFT, so that `peft.get_peft_model` and `peft.PeftModel.from_pretrained`
work after `import lander_lite`.

PEFT finds a method by a member of its own enum `PeftType`, which it does not let others extend;
this file adds one. `make peft-versions` tests it with the oldest and the newest PEFT that
pyproject.toml allows. When it fails after an upgrade: see how register_peft_method in
peft/utils/peft_types.py finds a name now, and if PEFT has a way for methods of other packages, use
that and delete `_add_member`.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import sys

NAME, TUNER = "lander", f"{__package__}.model"


def register(config: type, tuner: type) -> None:
    """Add our method to PEFT's tables, once."""
    from peft.utils import register_peft_method
    from peft.utils.peft_types import PeftType

    if NAME.upper() not in PeftType.__members__:
        _add_member(PeftType, NAME.upper())
        register_peft_method(name=NAME, config_cls=config, model_cls=tuner)


def _add_member(enum: type, name: str) -> None:
    """A member of an enum of strings, as if its class had it."""
    member = str.__new__(enum, name)
    member._name_ = member._value_ = name
    type.__setattr__(enum, name, member)
    enum._member_map_[name] = enum._value2member_map_[name] = member
    enum._member_names_.append(name)


def register_with_peft() -> None:
    """Import the tuner, which registers itself, now if PEFT is imported, else when it will be:
    importing PEFT takes seconds, which `import lander_lite` does not."""
    if "peft" in sys.modules:
        importlib.import_module(TUNER)
    else:
        sys.meta_path.insert(0, _WhenImported())


class _WhenImported(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds and loads PEFT as the ordinary finders do, then imports the tuner."""

    def find_spec(self, name, path, target=None):
        if name != "peft":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec("peft")
        if spec is not None:
            self.loader, spec.loader = spec.loader, self
        return spec

    def create_module(self, spec):
        return self.loader.create_module(spec)

    def exec_module(self, module):
        module.__spec__.loader = module.__loader__ = self.loader
        self.loader.exec_module(module)
        if f"{__package__}.config" not in sys.modules:  # else the tuner is what imports PEFT
            importlib.import_module(TUNER)
