"""S4: which projections of a language's neurons move most, and in which layers?"""

from __future__ import annotations

import numpy as np

from ..evidence import Claim, Finding, Study, minus
from .shared import on_both


def down_minus_others(moved: dict) -> float:
    """Mean relative change of the down-projection minus that of the others."""
    down = [*moved["down"].values()]
    rest = [x for name, by_layer in moved.items() if name != "down" for x in by_layer.values()]
    return float(np.mean(down) - np.mean(rest))


def later_minus_earlier(moved: dict) -> float:
    """Mean relative change in the later half of the layers minus the earlier half."""
    changes = [(int(i), x) for by_layer in moved.values() for i, x in by_layer.items()]
    layers = sorted({layer for layer, _ in changes})
    middle = layers[len(layers) // 2]
    earlier = [x for layer, x in changes if layer < middle]
    later = [x for layer, x in changes if layer >= middle]
    return float(np.mean(later) - np.mean(earlier))


@on_both
def down_moves_most(model: Study) -> Finding:
    def measured(method, value):
        return minus("", model.values("sparse", method, lambda run: value(run["weight_change"])))

    down, later = measured("sparse", down_minus_others), measured("sparse", later_minus_earlier)
    by_chance = [
        measured("sparse-random", value).shown(2)
        for value in (down_minus_others, later_minus_earlier)
    ]
    return Finding(
        f"{model.name}: down minus others {down.shown(2)}, later minus earlier half "
        f"{later.shown(2)} (relative change)",
        {"down most": down.above, "later layers most": later.above},
        len(down.values),
        f"{model.name}: {', '.join(by_chance)}",
    )


CLAIM = Claim(
    id="S4",
    claim="the projections move unequally: the down-projection most, later layers most",
    paper="a summary by others: largest in the down-projection of later layers",
    control="random neurons",
    shown_in="07_sparse_subnetworks.ipynb#What-moved?",
    rule="On both models: the relative change of the down-projection minus that of the others, and "
    "that of the later half of the layers minus the earlier half, have their intervals over seeds "
    "above zero.",
    function=down_moves_most,
)
