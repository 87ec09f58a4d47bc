"""L5: does switching off a language's neurons hurt that language most?"""

from __future__ import annotations

from ..evidence import Claim, Finding
from .shared import shown


def own_language_is_hurt(study, second):
    switching = study.analysis("switching")
    to_others, to_random = switching["own_minus_others"], switching["own_minus_random"]
    hurt, sets = len(switching["hurt_most"]), len(switching["sets"])
    random = max(draw["own_minus_others"]["mean"] for draw in switching["control_random"])
    parts = {
        "own language hurt most": hurt >= sets - 1,
        "own more than others": to_others["low"] > 0,
        "more than with random sets": to_random["low"] > 0,
        "more than any random draw": to_others["mean"] > random,
    }
    return Finding(
        f"own language hurt most for {hurt} of {sets} sets; own minus others "
        f"{shown(to_others, 3)} nats, own set minus random set {shown(to_random, 3)}",
        parts,
        to_others["n"],
        f"own minus others {random:.3f} at most",
    )


CLAIM = Claim(
    id="L5",
    claim="switching off a language's neurons hurts that language most",
    paper="not tested",
    control="random sets of equal size",
    shown_in="03_general_or_specific.ipynb#Switch-a-language's-neurons-off",
    rule="The own language is hurt most for all sets but one at most; its loss rises more than the "
    "other languages' and more than with random sets (intervals above zero); and it does so by "
    "more than in any draw of random sets.",
    function=own_language_is_hurt,
)
