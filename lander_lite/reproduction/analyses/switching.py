"""L5: does switching off a language's neurons hurt that language most? Loss change, nats per
token."""

from __future__ import annotations

import torch
from torch import Tensor

from ...neurons import NeuronSets, random_neurons
from ...probes.switching import switching_matrix
from ..lab import Lab
from .shared import SEEDS, SENTENCES, Analysis, by_language, interval, sentence_blocks


def _switching(lab: Lab) -> dict:
    return loss_changes(lab, lab.sets())


def loss_changes(lab: Lab, sets: NeuronSets) -> dict:
    """Loss change by language of the text and of the set that is off; a set's own language against
    others, and against random sets."""
    blocks = sentence_blocks(lab.valid, SENTENCES // 2)
    # texts are of every language, sets of those of the config
    rows = [lab.languages.index(language) for language in sets.languages]
    same = torch.zeros(len(lab.languages), len(rows), dtype=torch.bool)
    same[rows, range(len(rows))] = True

    def matrices(sets: NeuronSets) -> Tensor:  # [block, text, set]
        sentences = [by_language(block, lab.languages) for block in blocks]
        changes = [switching_matrix(lab.base, lab.tokenizer, part, sets) for part in sentences]
        return torch.stack(changes)

    def dominance(change: Tensor) -> dict:
        of_own, of_others, mean = change[:, same].mean(1), change[:, ~same].mean(1), change.mean(0)
        worst = mean.argmax(dim=0).tolist()  # by set
        return {
            "own": interval(of_own),
            "others": interval(of_others),
            "own_minus_others": interval(of_own - of_others),
            "hurt_most": [x for i, x in enumerate(sets.languages) if worst[i] == rows[i]],
            "largest_of_another": mean[~same].max(),
        }

    change = matrices(sets)
    random = torch.stack([matrices(random_neurons(sets, seed)) for seed in range(SEEDS)])
    sizes = {x: sum(map(len, sets.specific[x].values())) for x in sets.languages}
    return {
        "texts": lab.languages,
        "sets": sets.languages,
        "layers": sets.layers,
        "sentences": len(blocks[0]),
        "random_sets": SEEDS,
        "neurons": sizes,
        "loss_change": interval(change),
        "by_language": {x: interval(change[:, rows[i], i]) for i, x in enumerate(sets.languages)},
        **dominance(change),
        "control_random": [dominance(x) | {"loss_change": x.mean(dim=0)} for x in random],
        "own_minus_random": interval((change - random.mean(dim=0))[:, same].mean(dim=1)),
    }


ANALYSIS = Analysis(
    "switching",
    "L5: does switching off a language's neurons hurt that language most? Loss change, nats per "
    "token.",
    _switching,
)
