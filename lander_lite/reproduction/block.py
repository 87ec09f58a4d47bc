"""LANDeRMT as its parameter count and its code read: the neurons of every linear module of the
selected blocks. Of the feed-forward network they are the method's own; here are the others: each
output unit of an attention layer is a neuron, and as a variant each of a norm's.

They are scored and split as the feed-forward neurons are (eq. 3–5, on the module's output, as in
the code), and they have no router, which the paper draws for the feed-forward network alone. A unit
trains for the pairs of its language, a general one for all; other languages' units stay at work.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ..awareness import AwarenessScores, mean_scores, sentences_of
from ..blocks import decoder_blocks, feed_forwards, fingerprint, sizes
from ..config import languages_of_pair
from ..hooks import Site
from ..neurons import NeuronSets, categorize
from ..tuner.model import LanderModel


class Units(nn.Module):
    """Stands in for a linear layer or a norm, whose rows train in groups of their own.

    rows: {"general" or a language: indices}. pair: a function that says the current pair. The base
    layer is never changed."""

    def __init__(self, base: nn.Module, rows: dict[str, Tensor], pair: Callable[[], str]):
        super().__init__()
        self.base_layer, self.rows, self.pair = base, rows, pair
        self.tuned = nn.ParameterDict()
        for name, p in base.named_parameters():
            for group, indices in rows.items():
                self.tuned[f"{name}:{group}"] = nn.Parameter(p.detach()[indices])

    def idle(self, languages: Collection[str]) -> int:
        """Scalars of the rows that only other languages than these train."""
        active = {"general", *languages}
        return sum(p.numel() for x, p in self.tuned.items() if x.rpartition(":")[2] not in active)

    def forward(self, x: Tensor) -> Tensor:
        active, weights = {"general", *languages_of_pair(self.pair())}, {}
        every = torch.cat([*self.rows.values()])
        for name, p in self.base_layer.named_parameters():
            parts = {group: self.tuned[f"{name}:{group}"] for group in self.rows}
            # without a gradient the optimiser leaves a group alone, moments and decay included
            parts = [part if group in active else part.detach() for group, part in parts.items()]
            weights[name] = p.detach().index_copy(0, every, torch.cat(parts).to(p.dtype))
        return functional_call(self.base_layer, weights, (x,))


def other_modules(model: nn.Module, layer: int, norms: bool) -> list[str]:
    """The names, in a block, of its linear modules outside the feed-forward network, and of its
    norms."""
    inside = {*feed_forwards(model)[layer].module.modules()}
    named = decoder_blocks(model)[layer].named_modules()
    return [
        name
        for name, module in named
        if module not in inside
        and (sizes(module) or (norms and getattr(module, "weight", None) is not None))
    ]


def unit_scores(lab, name: str) -> AwarenessScores:
    """The scores of a module's output units in every layer and language, on the sentences that the
    feed-forward neurons are scored on."""
    blocks, most = decoder_blocks(lab.base), lab.config.awareness.max_sentences
    found = {i: Site(block.get_submodule(name), False) for i, block in enumerate(blocks)}
    values = []
    for language in lab.languages:
        sentences = sentences_of(lab.tokenizer, lab.train, language, most, 256)
        values.append(mean_scores(lab.base, lab.tokenizer, found, sentences, batch_size=16))
    return AwarenessScores(lab.languages, [*found], torch.stack(values), fingerprint(lab.base))


def with_other_modules(
    build: Callable[[nn.Module], LanderModel], model: nn.Module, lab, sets: NeuronSets, norms: bool
) -> LanderModel:
    """What `build` makes of the model, with the other modules' units of the sets' layers too."""
    names = {layer: other_modules(model, layer, norms) for layer in sets.layers}
    blocks, lander = decoder_blocks(model), build(model)
    how = {key: sets.provenance[key] for key in ("epsilon", "normalize")}
    for name in names[sets.layers[0]]:
        scores = lab.unit_scores(name).select(sets.languages, sets.layers)
        split = categorize(scores, **how)
        for layer in sets.layers:
            rows = {x: indices[layer] for x, indices in split.specific.items()}
            units = Units(
                blocks[layer].get_submodule(name),
                {"general": split.general[layer], **rows},
                lambda: lander.base_model.pair,
            )
            blocks[layer].set_submodule(name, units)
    return lander
