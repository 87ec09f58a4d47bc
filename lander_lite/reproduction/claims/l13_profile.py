"""L13: do the specific neurons answer to their own language?"""

from __future__ import annotations

from ..evidence import Claim, Finding


def neurons_answer(study, second):
    profile = study.analysis("profile")
    factors, tokens = profile["own_over_other_texts"], profile["top_tokens_in_own_texts"]
    awareness, activation = (
        (factors[measure]["geometric_mean"], factors[measure]["control_random"]["high"])
        for measure in ("awareness", "activation")
    )
    top, top_by_chance = tokens["specific"], tokens["control_random"]["high"]
    parts = {"top tokens of the own language": top > top_by_chance}
    for measure, factor in factors.items():
        parts[f"{measure} higher in own texts"] = (
            factor["log"]["low"] > 0 and factor["geometric_mean"] > factor["control_random"]["high"]
        )
    return Finding(
        f"own over other texts: awareness × {awareness[0]:.2f}, activation × {activation[0]:.2f}; "
        f"{top:.0%} of the top tokens occur in own texts",
        parts,
        factors["awareness"]["log"]["n"],
        f"awareness × {awareness[1]:.2f} at most, activation × {activation[1]:.2f}, top tokens "
        f"{top_by_chance:.0%}",
    )


CLAIM = Claim(
    id="L13",
    claim="the specific neurons are specific: they answer to their own language",
    paper="not described",
    control="random neurons of equal number",
    shown_in="03_general_or_specific.ipynb#What-are-they?",
    rule="On held-out sentences, the awareness and the activation of a language's neurons are "
    "higher in its own texts than in others', by a factor above 1 (interval) and above that of "
    "random sets; and more of their top tokens occur in own texts than with random sets.",
    function=neurons_answer,
)
