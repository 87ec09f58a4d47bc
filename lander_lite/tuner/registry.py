"""Make our method known to PEFT, so that `peft.get_peft_model` and `peft.PeftModel.from_pretrained`
work after `import lander_lite`.

PEFT finds a method by a member of its own enum `PeftType`, which it does not let others extend;
this file adds one. `make peft-versions` tests it with the oldest and the newest PEFT that
pyproject.toml allows. When it fails after an upgrade: see how register_peft_method in
peft/utils/peft_types.py finds a name now, and if PEFT has a way for methods of other packages, use
that in the place of the enum's private tables.
"""

import importlib.util
import sys
from importlib.abc import Loader, MetaPathFinder

NAME, TUNER = "lander", f"{__package__}.model"


def register(config: type, tuner: type) -> None:
    """Add our method to PEFT's tables, once."""
    from peft.utils import register_peft_method
    from peft.utils.peft_types import PeftType

    name = NAME.upper()
    if name not in PeftType.__members__:
        member = str.__new__(PeftType, name)
        member._name_ = member._value_ = name
        type.__setattr__(PeftType, name, member)
        PeftType._member_map_[name] = PeftType._value2member_map_[name] = member
        PeftType._member_names_.append(name)
        register_peft_method(name=NAME, config_cls=config, model_cls=tuner)


class WhenImported(MetaPathFinder, Loader):
    """Finds and loads PEFT as the ordinary finders do, then imports the tuner, which registers
    itself: `import lander_lite` alone does not take the seconds that importing PEFT takes."""

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


if "peft" in sys.modules:
    importlib.import_module(TUNER)
else:
    sys.meta_path.insert(0, WhenImported())
