"""L4: do specific neurons tell languages apart? The silhouette, by language, of sentences' mean
activations on sets of equal size."""

from __future__ import annotations

import torch

from ...probes.switching import sentence_activations
from ..lab import Lab
from .shared import DRAWS, SENTENCES, Analysis, by_language, interval, sentence_blocks, spread


def _silhouette(lab: Lab) -> dict:
    from sklearn.metrics import silhouette_score  # of the `notebooks` extra, and slow to import

    sets, generator = lab.sets(k=lab.n_layers), torch.Generator().manual_seed(0)
    languages, selected = sets.languages, lab.choose_layers()
    blocks = sentence_blocks(lab.valid, SENTENCES // 2)
    n = len(blocks[0])
    label = torch.arange(len(languages)).repeat_interleave(n)

    def drawn(neurons, size):
        orders = [torch.randperm(len(neurons), generator=generator) for _ in range(DRAWS)]
        return [neurons[order[:size]] for order in orders]

    def score(activations, neurons):
        return float(silhouette_score(activations[:, neurons].numpy(), label))

    scores = {}  # {set: [layer, block, draw]}
    for layer in sets.layers:
        specific = torch.cat([sets.specific[language][layer] for language in languages])
        size, awareness = len(specific), lab.scores.select(languages, [layer]).values
        chosen = {
            "specific": [specific],
            "general": drawn(sets.general[layer], size),
            "control_random": drawn(torch.arange(sets.d_ff), size),
            "control_highest_score": [awareness.sum(dim=(0, 1)).topk(size).indices],
        }
        sentences = [sum(by_language(block, languages).values(), []) for block in blocks]
        activations = [
            sentence_activations(lab.base, lab.tokenizer, part, layer) for part in sentences
        ]
        for name, draws in chosen.items():
            table = [[score(x, neurons) for neurons in draws] for x in activations]
            scores.setdefault(name, []).append(table)
    scores = {name: torch.tensor(x).double() for name, x in scores.items()}
    by_block = {name: x[selected].mean(dim=(0, 2)) for name, x in scores.items()}
    controls = [name for name in by_block if name != "specific"]
    return {
        "languages": languages,
        "layers": sets.layers,
        "selected": selected,
        "sentences": n,
        "draws": DRAWS,
        "neurons": [sets.d_ff - len(sets.general[layer]) for layer in sets.layers],
        "selected_layers": {name: interval(x) for name, x in by_block.items()},
        "by_layer": {name: interval(x.mean(dim=2).T) for name, x in scores.items()},
        "random_draws": spread(scores["control_random"][selected].mean(dim=(0, 1))),
        "specific_minus": {
            name: interval(by_block["specific"] - by_block[name]) for name in controls
        },
    }


ANALYSIS = Analysis(
    "silhouette",
    "L4: do specific neurons tell languages apart? Silhouette, by language, of sentences' mean "
    "activations on sets of equal size.",
    _silhouette,
)
