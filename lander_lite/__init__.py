"""lander_lite: language-aware neuron detection, routing and selective fine-tuning (LANDeRMT, ACL 2024), thin and readable.

Names are imported when they are first used, so that `import lander_lite` is quick.
"""

from __future__ import annotations

import importlib
import sys
import types

__version__ = "0.1.0"

_MODULES = {
    "config": ["LanderConfig"],
    "model": ["load_model"],
    "feedforward": ["FeedForward"],
    "structure": ["blocks", "feed_forwards", "fingerprint"],
    "corpus": ["load_corpus", "load_mono"],
    "layers": ["detect_layers", "LayerScores"],
    "awareness": ["score_awareness", "AwarenessScores"],
    "ablation": ["exact_ablation"],
    "neurons": ["NeuronSets", "categorize", "xie_split", "random_neurons"],
    "activation_entropy": ["lape"],
    "routing": ["PartitionedFFN"],
    "lander": ["LanderTuningConfig", "LanderModel", "get_lander_model"],
    "finetune": ["finetune"],
    "evaluate": ["evaluate", "translate", "perplexity"],
    "knowledge": ["fact_recall", "load_facts"],
    "switching": ["scaled", "switched_off", "switching_matrix"],
    "pruning": ["prune"],
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}
__all__ = list(_HOME)


class _Package(types.ModuleType):
    """`evaluate` and `finetune` name a file and the function in it. Importing the file binds its module here; the function must win."""

    def __setattr__(self, name, value):
        if not (name in _HOME and isinstance(value, types.ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
