"""The methods that a study compares, one record each: most turn the base model into a model that
`finetune` trains, some prune it.

Baselines are LANDeRMT's (§4.2, Tables 1 and 2) and the controls that its tables lack: the same
neurons without a router, random neurons, random layers, and full tuning held to the base model by a
KL term. Then those of two neighbours: sparse subnetworks for one language (arXiv 2510.13580), and
pruning by translation features (arXiv 2409.16911).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from ..blocks import decoder_blocks, feed_forwards
from ..neurons import NeuronSets, random_neurons
from ..training.kl import KL_SENTENCES
from ..tuner.model import LanderTuningConfig, get_lander_model
from . import baselines
from .block import with_other_modules


@dataclass(frozen=True)
class Method:
    """One row of a study.

    about: what it trains. build: (model, lab, sets, seed) -> model ready for `finetune`, or None if
    nothing is trained. shots: examples in the prompt. kl: weight of the KL term towards the base
    model. scale: factor on the learning-rate grid, whose size is the same for all. needs_scores:
    neurons' scores decide what trains. quantisable: frozen weights may lie in 4 or 8 bits.
    plain_text: for the kind "sparse" alone. prune: (metric of `pruning.prune`, calibration
    text). choose: (lab, sets, seed) -> the NeuronSets that it trains, if it trains neurons."""

    name: str
    about: str
    build: Callable | None = None
    shots: int = 0
    kl: float = 0.0
    scale: float = 1.0
    needs_scores: bool = False
    quantisable: bool = False
    plain_text: bool = False
    prune: tuple[str, str] | None = None
    choose: Callable | None = None

    @property
    def label(self) -> str:
        """Its name in tables, with what it reads beyond the others' data."""
        return f"{self.name} + monolingual text" if self.kl else self.name

    @property
    def seeded(self) -> bool:
        """Does the outcome depend on a seed?"""
        return self.build is not None or (self.prune is not None and self.prune[0] != "magnitude")


# ---------------------------------------------------------------- ways to build a model
def _whole(tune: Callable) -> Callable:
    """`build` of a baseline that looks at the model alone: tune(model)."""
    return lambda model, lab, sets, seed: tune(model)


def budget(model: nn.Module, sets: NeuronSets) -> int:
    """Scalars of the selected layers' feed-forward blocks: adapters get as many (as in Table 1)."""
    views = feed_forwards(model)
    return sum(p.numel() for layer in sets.layers for p in views[layer].module.parameters())


def _adapter(model, lab, sets, seed):
    return baselines.adapter(model, baselines.bottleneck_for(model, budget(model, sets)))


def _adapter_lora(model, lab, sets, seed, r: int = 16):
    modules = nn.ModuleList(decoder_blocks(model)).modules()
    linears = [module for module in modules if isinstance(module, nn.Linear)]
    low_rank = r * sum(linear.in_features + linear.out_features for linear in linears)
    rest = max(1, budget(model, sets) - low_rank)
    return baselines.adapter_lora(model, baselines.bottleneck_for(model, rest), r=r)


def _selected_layers(model, lab, sets, seed, whole_block: bool = False):
    return baselines.layers(model, sets.layers, whole_block)


def _random_layers(model, lab, sets, seed, first: int = 0):
    return baselines.random_layers(model, len(sets.layers), seed, first=first)


def _every_layer(model, lab, sets, seed):
    return baselines.layers(model, range(lab.n_layers))


def _as_given(lab, sets, seed):
    return sets


def _random(lab, sets, seed):
    return random_neurons(sets, seed)


def _random_anywhere(lab, sets, seed):
    return scattered(sets, lab.n_layers, seed)


def scattered(sets: NeuronSets, n_layers: int, seed: int) -> NeuronSets:
    """As many random neurons as `sets` has, in all layers together: the control of a choice of
    layers and neurons. What is general or of a language keeps its number."""
    d_ff, generator = sets.d_ff, torch.Generator().manual_seed(seed)
    order = torch.randperm(n_layers * d_ff, generator=generator).split(d_ff)
    renamed = dict(zip(sets.layers, order))

    def scatter(neurons: dict) -> dict:
        places = torch.cat([renamed[layer][indices] for layer, indices in neurons.items()])
        layer = places // d_ff
        return {i: (places[layer == i] % d_ff).sort().values for i in range(n_layers)}

    specific = {language: scatter(neurons) for language, neurons in sets.specific.items()}
    places = (list(range(n_layers)), sets.languages, scatter(sets.general), specific)
    provenance = {"like": sets.method, "like_hash": sets.hash(), "seed": seed}
    return NeuronSets(*places, d_ff, sets.model, method="random", provenance=provenance)


def _random_specific(lab, sets, seed):
    return random_neurons(sets.only(specific=True), seed)


def _lape(lab, sets, seed):
    return lab.lape_like(sets)


def _specific(lab, sets, seed):
    return sets.only(specific=True)


def _lape_specific(lab, sets, seed):
    return lab.lape_like(_specific(lab, sets, seed))


def _xie_specific(lab, sets, seed):
    return lab.xie(sets, _share_of_general(sets)).only(specific=True)


def _highest(lab, sets, seed):
    return lab.xie(sets, 1 - _share_of_general(sets)).only(general=True)


def _random_general(lab, sets, seed):
    return random_neurons(_highest(lab, sets, seed), seed)


def _share_of_general(sets: NeuronSets) -> float:
    return len(sets.general[sets.layers[0]]) / sets.d_ff  # the same in every layer


def _selective(
    name, about, choose: Callable = _as_given, routing="none", needs_scores=True, **more
) -> Method:
    """A method that trains neurons alone: choose(lab, sets, seed) -> NeuronSets."""

    def build(model, lab, sets, seed):
        chosen = choose(lab, sets, seed)
        return get_lander_model(model, LanderTuningConfig(neuron_sets=chosen, routing=routing))

    more |= {"needs_scores": needs_scores, "quantisable": True, "choose": choose}
    return Method(name, about, build, **more)


def _whole_block(name: str, about: str, norms: bool = False) -> Method:
    """LANDeRMT as we read it, with the neurons of the blocks' other linear modules."""

    def build(model, lab, sets, seed):
        config = LanderTuningConfig(neuron_sets=sets, routing="corrected")
        return with_other_modules(partial(get_lander_model, config=config), model, lab, sets, norms)

    return Method(name, about, build, needs_scores=True)


# ---------------------------------------------------------------- the registry
UNTUNED = (
    Method("zero-shot", "nothing; the prompt alone"),
    Method("five-shot", "nothing; five examples in the prompt", shots=5),
    Method("four-shot", "nothing; four examples in the prompt", shots=4),
)
BASELINES = (
    Method("full", "every parameter", _whole(baselines.full)),
    Method(
        "full-kl",
        f"every parameter, + monolingual text: KL to the base model on {KL_SENTENCES} more "
        f"sentences of each language",
        _whole(baselines.full),
        kl=1.0,
    ),
    Method("layers", "all of the selected layers' feed-forward blocks", _selected_layers),
    Method(
        "layers-block",
        "the whole selected blocks, attention too",
        partial(_selected_layers, whole_block=True),
    ),
    Method("random-layers", "feed-forward blocks of as many random layers", _random_layers),
    Method(
        "random-layers-above",
        "… of as many random layers, never the first, which RA can't choose",
        partial(_random_layers, first=1),
    ),
    Method(
        "adapter",
        "bottleneck adapters of about the same size after every feed-forward block",
        _adapter,
        quantisable=True,
    ),
    Method(
        "lora", "LoRA, rank 16, on every linear layer", _whole(baselines.lora), quantisable=True
    ),
    Method(
        "adapter-lora",
        "LoRA, and adapters with the rest of the size",
        _adapter_lora,
        quantisable=True,
    ),
    Method(
        "ia3",
        "IA3: a factor per key, value and feed-forward neuron",
        _whole(baselines.ia3),
        scale=10.0,
        quantisable=True,
    ),
)
SELECTIVE = (
    _selective("specific-only", "LANDeRMT-LS: specific neurons alone", _specific),
    _selective(
        "general-only",
        "LANDeRMT-LG: general neurons alone",
        lambda lab, sets, seed: sets.only(general=True),
    ),
    _selective("lander-none", "general and specific neurons, no router"),
    _selective("lander-literal", "… with the router of eq. 6–8 as printed", routing="literal"),
    _selective(
        "lander-corrected",
        "… with its symbols un-swapped: LANDeRMT as we read it",
        routing="corrected",
    ),
    _selective("lander-learned", "… with a learned gate per token", routing="learned"),
    _selective(
        "xie",
        "Xie et al.'s split of the same scores, no router",
        lambda lab, sets, seed: lab.xie(sets),
    ),
    _selective("random", "as many random neurons of the same layers, no router", _random),
)
BY_BLOCK = (  # LANDeRMT as its parameter count and its code read
    _whole_block(
        "lander-block",
        "LANDeRMT, and the neurons of the same blocks' attention, scored and split alike; the "
        "router in the feed-forward part alone",
    ),
    _whole_block(
        "lander-block-norms", "… and of their norms: all six modules of its code", norms=True
    ),
)
BY_SELECTOR = (  # as many neurons as specific-only trains, for the kind "equal-size"
    _selective("lape-specific", "as many neurons by LAPE, in all layers", _lape_specific),
    _selective("xie-specific", "as many specific neurons by Xie et al.'s split", _xie_specific),
    _selective("top-te", "as many neurons with the highest scores, for every direction", _highest),
    _selective("random-general", "as many random neurons, for every direction", _random_general),
)
TRANSFER = (  # controls and rivals at equal size, for the kind "transfer"
    _selective("random-anywhere", "as many random neurons of all layers", _random_anywhere),
    _selective(
        "random-specific",
        "as many random neurons of the same layers as specific-only trains",
        _random_specific,
    ),
    _selective("lape", "as many neurons of the languages by LAPE, in all layers", _lape),
)
OF_LAPE = {"scale": 3.0, "plain_text": True, "needs_scores": False}
SPARSE = (
    _selective(
        "sparse", "the language's own neurons by LAPE, at most 1% of the weights", **OF_LAPE
    ),
    _selective("sparse-random", "as many random neurons of the same layers", _random, **OF_LAPE),
    Method("ffn", "all feed-forward blocks", _every_layer, plain_text=True),
)
PRUNING = (
    Method(
        "wanda-translation",
        "Wanda on translation demonstrations",
        prune=("translation", "translation"),
    ),
    Method("wanda-monolingual", "Wanda on text of all languages", prune=("wanda", "monolingual")),
    Method("wanda-english", "Wanda on English text", prune=("wanda", "english")),
    Method("wanda-tokens", "Wanda on random tokens", prune=("wanda", "tokens")),
    Method(
        "translation-minus-mono",
        "translation features, those of monolingual text held against them",
        prune=("translation_minus_other", "translation"),
    ),
    Method("magnitude", "the smallest weights, without any text", prune=("magnitude", "none")),
    Method("random-weights", "random weights", prune=("random", "none")),
)
ALL = (*UNTUNED, *BASELINES, *SELECTIVE, *BY_BLOCK, *BY_SELECTOR, *TRANSFER, *SPARSE, *PRUNING)
METHODS = {method.name: method for method in ALL}
TUNED = [method.name for method in (*BASELINES, *SELECTIVE)]  # on translations
BLOCK = [method.name for method in BY_BLOCK]
SELECTORS = [method.name for method in BY_SELECTOR]
EQUAL_SIZE = ["specific-only", "random-specific", *SELECTORS]
PRUNED = [method.name for method in PRUNING]
