"""P1-P3: pruning by translation features (arXiv 2409.16911)."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ..evidence import Claim, Finding, Study, if_measured, listed, minus, shown, superior
from ..forgetting import final_point, pruned
from ..verdicts import interval_part, share_part

TEXTS = ("wanda-monolingual", "wanda-english", "wanda-tokens")
HALF = 0.5  # the sparsity at which calibration texts are compared


def recall(point: dict) -> float:
    """Facts recalled in the languages other than English, percent; mean BLEU where a corpus has no
    facts."""
    shares = [share for language, share in point["facts"].items() if language != "en"]
    return 100 * float(np.mean(shares)) if shares else float(np.mean([*point["bleu"].values()]))


def recalled(study: Study) -> tuple[str, str]:
    """What `recall` tells of a study's models, and its unit of verdicts.py."""
    facts = study.runs("prune", "zero-shot")[0]["facts"]
    return ("facts recalled, %", "points") if facts else ("BLEU (no facts)", "BLEU")


def nats_lost(point: dict) -> float:
    """The mean over languages of plain text's loss, nats per token."""
    return float(np.mean([math.log(x) for x in point["perplexity"].values()]))


def pruned_values(
    study: Study, method: str, sparsity: float, value: Callable[[dict], float] = recall
) -> dict[int, float]:
    """{seed: value at a sparsity}."""
    return study.values("prune", method, lambda run: value(pruned(run)[sparsity]))


def _features_stand_out(study, second):
    features = study.analysis("features")
    by_layer = features["stand_out"]["mean"]
    shared, shared_by_chance = features["overlap"], features["control_overlap_same"]
    with_one = sum(x >= 1 for x in by_layer)

    def in_bleu() -> str:
        removed = study.analysis("quality")["features"]
        largest, own = (removed[f"{x}_minus_random"] for x in ("largest", "of_translation"))
        return f"the largest {shown(largest, 1)}, those larger than in plain text {shown(own, 1)}"

    parts = [
        interval_part("more than by drawing again", features["difference"], "features"),
        share_part("in more than half of the layers", with_one, len(by_layer), "layers"),
    ]
    return Finding(
        f"{np.mean(by_layer):.1f} of {features['d_model']} features per layer; the largest 30% "
        f"share {np.mean(shared['mean']):.0%}; BLEU lost without a few "
        f"features, minus as many random ones: {if_measured(in_bleu)}",
        parts,
        f"{np.mean(features['control_same']['mean']):.1f} features; shared "
        f"{np.mean(shared_by_chance['mean']):.0%}; by chance "
        f"{features['control_independent']:.1f}",
    )


P1 = Claim(
    id="P1",
    claim="some features are large in translation and not in monolingual text",
    paper="said, for XGLM, mGPT and BLOOM",
    control="two draws of the same prompts",
    shown_in="08_pruning.ipynb#Which-features-stand-out?",
    rule="More features are among the largest 30% in translation and the smallest 30% in "
    "monolingual text than between two draws of translation prompts (mean over layers, interval "
    "above zero), and more than half of the layers have at least one (exact binomial interval).",
    function=_features_stand_out,
)


def _pruning_helps(study, second):
    dense = recall(final_point(study.runs("prune", "zero-shot")[0]))
    measured = pruned(study.runs("prune", "wanda-translation")[0])
    scores = {
        sparsity: pruned_values(study, "wanda-translation", sparsity)
        for sparsity in measured
        if sparsity <= HALF
    }
    means = {sparsity: np.mean([*values.values()]) for sparsity, values in scores.items()}
    best = max(means, key=means.get)
    to_dense = minus("the dense model", scores[best], dict.fromkeys(scores[best], dense))
    to_random = minus("random tokens", scores[best], pruned_values(study, "wanda-tokens", best))
    name, unit = recalled(study)
    return Finding(
        f"{name}: {means[best]:.1f} at the best sparsity {best:.0%}, dense {dense:.1f}; minus "
        f"{to_dense}",
        superior([to_dense, to_random], unit),
        f"minus {to_random}",
    )


P2 = Claim(
    id="P2",
    claim="keeping the weights on translation features and pruning the rest raises zero-shot "
    "accuracy in non-English",
    paper="said, of XNLI and MARC; we found no table",
    control="Wanda on random tokens",
    shown_in="08_pruning.ipynb#Does-it-help?",
    rule="At the best of 10 to 50% sparsity, picked on the same runs, which favours the claim: "
    "facts recalled in languages other than English (BLEU, where a corpus has no facts), "
    "calibrated on translation demonstrations, minus the dense model, and minus Wanda on random "
    "tokens, have their intervals over calibration seeds above zero.",
    function=_pruning_helps,
)


def _text_matters(study, second):
    def values(method, value=recall):
        return pruned_values(study, method, HALF, value)

    ours, our_nats = values("wanda-translation"), values("wanda-translation", nats_lost)
    facts = [minus(text, ours, values(text)) for text in TEXTS]
    nats = [minus(text, values(text, nats_lost), our_nats) for text in TEXTS]
    controls = []
    for name in ("magnitude", "random-weights"):
        other = values(name)  # a method without a draw was run once
        other = other if len(other) > 1 else dict.fromkeys(ours, other[0])
        controls.append(minus(name, ours, other))
    name, unit = recalled(study)
    return Finding(
        f"{name}, minus {listed(facts)}; nats of plain text kept beyond "
        f"{'; '.join(f'{d.name} {d.shown(2)}' for d in nats)}",
        superior(facts, unit),
        f"minus {listed(controls)}",
    )


P3 = Claim(
    id="P3",
    claim="the calibration text matters: translations are the better one",
    paper="said; ablations: random pruning, dropping the largest",
    control="magnitude and random pruning",
    shown_in="08_pruning.ipynb#Does-the-calibration-text-matter?",
    rule="At 50% sparsity, Wanda on translations recalls more facts in languages other than "
    "English than Wanda on monolingual, English and random text (intervals over calibration seeds "
    "above zero). Plain text is told beside it.",
    function=_text_matters,
)


CLAIMS = [P1, P2, P3]
