"""lander_lite: language-aware neuron detection, routing and selective fine-tuning (LANDeRMT, ACL
2024), thin and readable.

Names are imported when they are first used, so that `import lander_lite` is quick.
"""

from __future__ import annotations

import importlib
import os

from .tuner import registry  # noqa: F401  makes our method known to PEFT

os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # torch's threads sleep where cores are busy
__version__ = "0.1.0"

_MODULES = {
    "config": ["LanderConfig"],
    "model": ["load_model"],
    "blocks": ["FeedForward", "decoder_blocks", "feed_forwards", "fingerprint"],
    "corpus": ["load_corpus", "load_mono"],
    "layers": ["detect_layers", "LayerScores"],
    "awareness": ["score_awareness", "AwarenessScores"],
    "ablation": ["exact_ablation"],
    "neurons": ["NeuronSets", "categorize", "xie_split", "random_neurons"],
    "tuner.model": ["LanderTuningConfig", "LanderModel", "get_lander_model"],
    "training.loop": ["finetune"],
    "evaluation": ["evaluate", "translate", "perplexity"],
    "neighbours.lape": ["lape"],
    "neighbours.pruning": ["prune"],
    "probes.knowledge": ["fact_recall", "load_facts"],
    "probes.switching": ["scaled", "switched_off", "switching_matrix"],
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}
__all__ = list(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
