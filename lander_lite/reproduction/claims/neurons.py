"""L3-L6 and L13: the scores of neurons, and the sets that are made of them."""

from __future__ import annotations

import numpy as np

from ..evidence import Claim, Finding, listed, minus, shown, superior
from ..specs import EPSILONS, LANDER

AGREE = 0.5  # a rank correlation that calls two orders of the neurons alike


def _score_is_right(study, second):
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


L3 = Claim(
    id="L3",
    claim="the score TE approximates the true loss change",
    paper="eq. 3, 4; derived, not measured",
    control="mean activation; random score",
    shown_in="02_which_neurons.ipynb#The-check:-switch-neurons-off",
    rule="The rank correlation of TE with exact ablation, mean over languages and layers, has its "
    "interval above .5; TE ranks better than the activation in more than half of the cases; "
    "removing the tenth with the highest scores costs more than random tenths, and more than the "
    "highest tenth by activation (intervals above zero).",
    function=_score_is_right,
)


def _sets_cluster(study, second):
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


L4 = Claim(
    id="L4",
    claim="the variance separates general from specific neurons",
    paper="Fig. 6-8, 12, 13: sentences cluster by language on specific neurons",
    control="random sets of equal size; highest scores",
    shown_in="03_general_or_specific.ipynb#Do-specific-neurons-tell-languages-apart?",
    rule="Sentences cluster by language (silhouette, selected layers) better on specific neurons "
    "than on as many general ones, and than on as many random ones; intervals above zero.",
    function=_sets_cluster,
)


def _own_language_is_hurt(study, second):
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


L5 = Claim(
    id="L5",
    claim="switching off a language's neurons hurts that language most",
    paper="not tested",
    control="random sets of equal size",
    shown_in="03_general_or_specific.ipynb#Switch-a-language's-neurons-off",
    rule="The own language is hurt most for all sets but one at most; its loss rises more than the "
    "other languages' and more than with random sets (intervals above zero); and it does so by "
    "more than in any draw of random sets.",
    function=_own_language_is_hurt,
)


def _epsilon(study, second):
    scores = {value: study.values("epsilon", LANDER, epsilon=value) for value in EPSILONS}
    means = {value: np.mean([*bleu.values()]) for value, bleu in scores.items()}
    near = [minus(f"{value:g}", scores[0.9], scores[value]) for value in (0.85, 0.95)]
    table = ", ".join(f"{value:g}: {mean:.1f}" for value, mean in means.items())
    return Finding(
        f"BLEU {table}. ε = .9 minus {listed(near)}",
        {"highest mean": max(means, key=means.get) == 0.9} | superior(near),
        len(near[0].values),
    )


L6 = Claim(
    id="L6",
    claim="ε = .9 is best",
    paper="Fig. 11: 22.85 at .85, 23.09 at .90, 22.52 at .95",
    control="equal updates",
    shown_in="03_general_or_specific.ipynb#The-stored-sweep:-translate-with-each-ε",
    rule=".9 has the highest mean of the five, and its differences from both neighbours, .85 and "
    ".95, have their intervals over seeds above zero.",
    function=_epsilon,
)


def _neurons_answer(study, second):
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


L13 = Claim(
    id="L13",
    claim="the specific neurons are specific: they answer to their own language",
    paper="not described",
    control="random neurons of equal number",
    shown_in="03_general_or_specific.ipynb#What-are-they?",
    rule="On held-out sentences, the awareness and the activation of a language's neurons are "
    "higher in its own texts than in others', by a factor above 1 (interval) and above that of "
    "random sets; and more of their top tokens occur in own texts than with random sets.",
    function=_neurons_answer,
)


CLAIMS = [L3, L4, L5, L6, L13]
