"""The methods that a study compares, one line each: most turn the base model into a model that
`finetune` trains, some prune it.

Baselines are LANDeRMT's (§4.2, Tables 1 and 2) and the controls that its tables lack: the same
neurons without a router, random neurons, random layers, and full tuning held to the base model by a
KL term. Then those of two neighbours: sparse subnetworks for one language (arXiv 2510.13580), and
    pruning by translation features (arXiv 2409.16911).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from ..blocks import decoder_blocks, feed_forwards
from ..neurons import random_neurons
from ..tuner.model import LanderTuningConfig, get_lander_model
from . import baselines


@dataclass(frozen=True)
class Method:
    """about: what it trains. build: (model, lab, sets, seed) -> model ready for `finetune`, or None
    if nothing is trained.
    shots: examples in the prompt. kl: weight of the KL term towards the base model. scale: factor
        on the learning-rate grid, whose
    size is the same for all. plain_text: for the kind "sparse" alone. prune: (metric of
    `pruning.prune`, calibration text)."""

    about: str
    build: Callable | None = None
    shots: int = 0
    kl: float = 0.0
    scale: float = 1.0
    plain_text: bool = False
    prune: tuple[str, str] | None = None

    @property
    def seeded(self) -> bool:
        """Does the outcome depend on a seed?"""
        return self.build is not None or (self.prune is not None and self.prune[0] != "magnitude")


def lander(routing: str) -> Callable:
    return lambda model, lab, sets, seed: get_lander_model(model, LanderTuningConfig(sets, routing))


def random(model, lab, sets, seed):
    return get_lander_model(model, LanderTuningConfig(random_neurons(sets, seed)))


def budget(model, sets) -> int:
    """Scalars of the selected layers' feed-forward blocks: adapters get as many (as in Table 1)."""
    return sum(
        p.numel() for layer in sets.layers for p in feed_forwards(model)[layer].module.parameters()
    )


def adapter_lora(model, lab, sets, seed, r: int = 16):
    low_rank = r * sum(
        m.in_features + m.out_features
        for block in decoder_blocks(model)
        for m in block.modules()
        if isinstance(m, nn.Linear)
    )
    return baselines.adapter_lora(
        model, baselines.bottleneck_for(model, max(1, budget(model, sets) - low_rank)), r=r
    )


METHODS = {
    "zero-shot": Method("nothing; the prompt alone"),
    "five-shot": Method("nothing; five examples in the prompt", shots=5),
    "full": Method("every parameter", lambda model, lab, sets, seed: baselines.full(model)),
    "full-kl": Method(
        "every parameter, with KL to the base model on monolingual text",
        lambda model, lab, sets, seed: baselines.full(model),
        kl=1.0,
    ),
    "layers": Method(
        "all of the selected layers' feed-forward blocks",
        lambda model, lab, sets, seed: baselines.layers(model, sets.layers),
    ),
    "layers-block": Method(
        "the whole selected blocks, attention too",
        lambda model, lab, sets, seed: baselines.layers(model, sets.layers, whole_block=True),
    ),
    "random-layers": Method(
        "feed-forward blocks of as many random layers",
        lambda model, lab, sets, seed: baselines.random_layers(model, len(sets.layers), seed),
    ),
    "random-layers-above": Method(
        "… of as many random layers, never the first, which RA can't choose",
        lambda model, lab, sets, seed: baselines.random_layers(
            model, len(sets.layers), seed, first=1
        ),
    ),
    "adapter": Method(
        "bottleneck adapters of about the same size after every feed-forward block",
        lambda model, lab, sets, seed: baselines.adapter(
            model, baselines.bottleneck_for(model, budget(model, sets))
        ),
    ),
    "lora": Method(
        "LoRA, rank 16, on every linear layer", lambda model, lab, sets, seed: baselines.lora(model)
    ),
    "adapter-lora": Method("LoRA, and adapters with the rest of the size", adapter_lora),
    "ia3": Method(
        "IA3: a factor per key, value and feed-forward neuron",
        lambda model, lab, sets, seed: baselines.ia3(model),
        scale=10.0,
    ),
    "specific-only": Method(
        "LANDeRMT-LS: specific neurons alone",
        lambda model, lab, sets, seed: get_lander_model(
            model, LanderTuningConfig(sets.only(specific=True))
        ),
    ),
    "general-only": Method(
        "LANDeRMT-LG: general neurons alone",
        lambda model, lab, sets, seed: get_lander_model(
            model, LanderTuningConfig(sets.only(general=True))
        ),
    ),
    "lander-none": Method("general and specific neurons, no router", lander("none")),
    "lander-literal": Method("… with the router of eq. 6–8 as printed", lander("literal")),
    "lander-corrected": Method(
        "… with its symbols un-swapped: LANDeRMT as we read it", lander("corrected")
    ),
    "lander-learned": Method("… with a learned gate per token", lander("learned")),
    "xie": Method(
        "Xie et al.'s split of the same scores, no router",
        lambda model, lab, sets, seed: get_lander_model(model, LanderTuningConfig(lab.xie(sets))),
    ),
    "random": Method("as many random neurons of the same layers, no router", random),
    "sparse": Method(
        "the language's own neurons by LAPE, at most 1% of the weights",
        lander("none"),
        scale=3.0,
        plain_text=True,
    ),
    "sparse-random": Method(
        "as many random neurons of the same layers", random, scale=3.0, plain_text=True
    ),
    "ffn": Method(
        "all feed-forward blocks",
        lambda model, lab, sets, seed: baselines.layers(model, range(lab.n_layers)),
        plain_text=True,
    ),
    "wanda-translation": Method(
        "Wanda on translation demonstrations", prune=("translation", "translation")
    ),
    "wanda-monolingual": Method("Wanda on text of all languages", prune=("wanda", "monolingual")),
    "wanda-english": Method("Wanda on English text", prune=("wanda", "english")),
    "wanda-tokens": Method("Wanda on random tokens", prune=("wanda", "tokens")),
    "translation-minus-mono": Method(
        "translation features, those of monolingual text held against them",
        prune=("translation_minus_other", "translation"),
    ),
    "magnitude": Method("the smallest weights, without any text", prune=("magnitude", "none")),
    "random-weights": Method("random weights", prune=("random", "none")),
}
TUNED = [
    name for name, method in METHODS.items() if method.build and not method.plain_text
]  # on translations
PRUNED = [name for name, method in METHODS.items() if method.prune]
