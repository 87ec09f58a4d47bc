"""L3: does the score rank neurons as their removal does?"""

from __future__ import annotations

from ..evidence import Claim, Finding
from .shared import AGREE, shown


def score_is_right(study, second):
    ablation = study.analysis("ablation")
    exact, tenths = ablation["rank_correlation_with_exact"], ablation["tenths"]
    to_random, to_activation = tenths["top_minus_random"], tenths["top_minus_top_by_activation"]
    parts = {
        "rank correlation above .5": exact["awareness"]["low"] > AGREE,
        "better than activation": ablation["beats_activation"]["low"] > 0.5,
        "top tenth costs more than random tenths": to_random["low"] > 0,
        "top tenth costs more than that by activation": to_activation["low"] > 0,
    }
    return Finding(
        f"rank correlation {shown(exact['awareness'])}, with scores of other sentences "
        f"{shown(exact['awareness_of_other_sentences'])}; top tenth minus random "
        f"{shown(to_random)} nats, minus top tenth by activation {shown(to_activation)}",
        parts,
        ablation["draws"],
        f"rank correlation of activation {shown(exact['control_activation'])}, random "
        f"{shown(exact['control_random'])}",
    )


CLAIM = Claim(
    id="L3",
    claim="the score TE approximates the true loss change",
    paper="eq. 3, 4; derived, not measured",
    control="mean activation; random score",
    shown_in="02_which_neurons.ipynb#The-check:-switch-neurons-off",
    rule="The rank correlation of TE with exact ablation, mean over languages and layers, has its "
    "interval above .5; TE ranks better than the activation in more than half of the cases; "
    "removing the tenth with the highest scores costs more than random tenths, and more than the "
    "highest tenth by activation (intervals above zero).",
    function=score_is_right,
)
