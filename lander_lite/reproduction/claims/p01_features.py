"""P1: are some features large in translation and small in monolingual text?"""

from __future__ import annotations

import numpy as np

from ..evidence import Claim, Finding


def features_stand_out(study, second):
    features = study.analysis("features")
    by_layer = features["stand_out"]["mean"]
    shared, shared_by_chance = features["overlap"], features["control_overlap_same"]
    parts = {
        "more than by drawing again": features["difference"]["low"] > 0,
        "in more than half of the layers": sum(x >= 1 for x in by_layer) > len(by_layer) / 2,
    }
    return Finding(
        f"{np.mean(by_layer):.1f} of {features['d_model']} features per layer; the largest 30% "
        f"share {np.mean(shared['mean']):.0%}",
        parts,
        features["difference"]["n"],
        f"{np.mean(features['control_same']['mean']):.1f} features; shared "
        f"{np.mean(shared_by_chance['mean']):.0%}; by chance "
        f"{features['control_independent']:.1f}",
    )


CLAIM = Claim(
    id="P1",
    claim="some features are large in translation and not in monolingual text",
    paper="said, for XGLM, mGPT and BLOOM",
    control="two draws of the same prompts",
    shown_in="08_pruning.ipynb#Which-features-stand-out?",
    rule="More features are among the largest 30% in translation and the smallest 30% in "
    "monolingual text than between two draws of translation prompts (mean over layers, interval "
    "above zero), and more than half of the layers have at least one.",
    function=features_stand_out,
)
