"""L4: do sentences cluster by language on specific neurons?"""

from __future__ import annotations

from ..evidence import Claim, Finding
from .shared import shown


def sets_cluster(study, second):
    silhouette = study.analysis("silhouette")
    specific, minus = silhouette["selected_layers"]["specific"], silhouette["specific_minus"]
    parts = {
        "better than general": minus["general"]["low"] > 0,
        "better than random": minus["control_random"]["low"] > 0,
    }
    return Finding(
        f"silhouette {shown(specific)}; minus general {shown(minus['general'])}",
        parts,
        specific["n"],
        f"specific minus random {shown(minus['control_random'])}, minus highest scores "
        f"{shown(minus['control_highest_score'])}",
    )


CLAIM = Claim(
    id="L4",
    claim="the variance separates general from specific neurons",
    paper="Fig. 6-8, 12, 13: sentences cluster by language on specific neurons",
    control="random sets of equal size; highest scores",
    shown_in="03_general_or_specific.ipynb#Do-specific-neurons-tell-languages-apart?",
    rule="Sentences cluster by language (silhouette, selected layers) better on specific neurons "
    "than on as many general ones, and than on as many random ones; intervals above zero.",
    function=sets_cluster,
)
