"""L3-L6 and L13: the scores of neurons, and the sets that are made of them."""

from __future__ import annotations

import math

import numpy as np

from ..evidence import Claim, Finding, if_measured, listed, minus, parts_if_measured, shown
from ..kinds import EPSILONS, LANDER
from ..paper import FIG_11
from ..statistics import mean_interval
from ..verdicts import UNITS, Part, interval_part, share_part

AGREE = 0.5  # a rank correlation that calls two orders of the neurons alike
BY_ACTIVATION = "the top tenth by activation"


def _score_is_right(study, second):
    ablation = study.analysis("ablation")
    exact, tenths = ablation["rank_correlation_with_exact"], ablation["tenths"]
    to_random, to_activation = tenths["top_minus_random"], tenths["top_minus_top_by_activation"]
    draws, activation = {"varies": "draws"}, "top tenth costs more than that by activation"
    sizes = draws | {"bound": AGREE, "margin": 0.0}
    parts = [
        interval_part("rank correlation above .5", exact["awareness"], **sizes),
        interval_part("better than activation", ablation["beats_activation"], **sizes),
        interval_part("top tenth costs more than random tenths", to_random, "nats", **draws),
        interval_part(activation, to_activation, "nats", **draws),
    ]

    def in_bleu() -> dict[str, dict]:
        tenths = study.analysis("quality")["tenths"]
        names = {"random tenths": "top_minus_random", BY_ACTIVATION: "top_minus_top_by_activation"}
        return {f"top tenth costs more BLEU than {x}": tenths[name] for x, name in names.items()}

    sentences = {"unit": "BLEU", "varies": "test sentences"}
    parts += parts_if_measured(
        lambda: [interval_part(name, found, **sentences) for name, found in in_bleu().items()]
    )
    in_words = if_measured(lambda: ", ".join(shown(found, 1) for found in in_bleu().values()))
    return Finding(
        f"rank correlation {shown(exact['awareness'])}, with scores of other sentences "
        f"{shown(exact['awareness_of_other_sentences'])}; top tenth minus random "
        f"{shown(to_random)} nats, minus top tenth by activation {shown(to_activation)}; both "
        f"in BLEU: {in_words}",
        parts,
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
    "highest tenth by activation (intervals above zero), in nats and in BLEU of translations.",
    function=_score_is_right,
)


def _sets_cluster(study, second):
    silhouette = study.analysis("silhouette")
    specific, minus = silhouette["selected_layers"]["specific"], silhouette["specific_minus"]
    parts = [
        interval_part("better than general", minus["general"]),
        interval_part("better than random", minus["control_random"]),
    ]
    return Finding(
        f"silhouette {shown(specific)}; minus general {shown(minus['general'])}",
        parts,
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
    parts = [
        share_part("own language hurt most, for most sets", hurt, sets, "sets"),
        interval_part("own more than others", to_others, "nats"),
        interval_part("more than with random sets", to_random, "nats"),
        interval_part("more than any random draw", to_others, "nats", bound=random),
    ]
    return Finding(
        f"own language hurt most for {hurt} of {sets} sets; own minus others "
        f"{shown(to_others, 3)} nats, own set minus random set {shown(to_random, 3)}",
        parts,
        f"own minus others {random:.3f} at most",
    )


L5 = Claim(
    id="L5",
    claim="switching off a language's neurons hurts that language most",
    paper="not tested",
    control="random sets of equal size",
    shown_in="03_general_or_specific.ipynb#Switch-a-language's-neurons-off",
    rule="The own language is hurt most for more than half of the sets (exact binomial interval: "
    "all of six); its loss rises more than the other languages' and more than with random sets "
    "(intervals above zero); and it does so by more than in any draw of random sets.",
    function=_own_language_is_hurt,
)


def _epsilon(study, second):
    scores = {value: study.values("epsilon", LANDER, epsilon=value) for value in EPSILONS}
    means = {value: np.mean([*bleu.values()]) for value, bleu in scores.items()}
    others = {x: minus(f"{x:g}", scores[0.9], scores[x]) for x in EPSILONS if x != 0.9}
    table = ", ".join(f"{value:g}: {mean:.1f}" for value, mean in means.items())
    parts = []
    for value, difference in others.items():
        effect = FIG_11[0.9] - FIG_11.get(value, -math.inf)
        parts.append(difference.part(margin=min(UNITS["BLEU"].margin, effect)))
    return Finding(f"BLEU {table}. ε = .9 minus {listed([*others.values()])}", parts)


L6 = Claim(
    id="L6",
    claim="ε = .9 is best",
    paper="Fig. 11: 22.85 at .85, 23.09 at .90, 22.52 at .95",
    control="equal updates",
    shown_in="03_general_or_specific.ipynb#The-stored-sweep:-translate-with-each-ε",
    rule="The differences of .9 from each of the other four have their intervals over seeds above "
    "zero. Margin: of .85 and .95 the paper's own effect (.24 and .57 BLEU), of the others 1 BLEU.",
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
    mean, _, low, high = mean_interval(tokens["by_layer"])
    name, n = "top tokens of the own language", len(tokens["by_layer"])
    parts = [Part(name, mean, (low, high), n, "layers", "", top_by_chance)]
    for measure, factor in factors.items():
        bound = max(0.0, math.log(factor["control_random"]["high"]))
        name = f"{measure} higher in own texts"
        parts.append(interval_part(name, factor["log"], "ln", bound=bound))
    return Finding(
        f"own over other texts: awareness × {awareness[0]:.2f}, activation × {activation[0]:.2f}; "
        f"{top:.0%} of the top tokens occur in own texts",
        parts,
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
    "higher in its own texts than in others', by a factor above 1 and above that of each random "
    "set; and more of their top tokens occur in own texts than with each random set (interval over "
    "layers).",
    function=_neurons_answer,
)


CLAIMS = [L3, L4, L5, L6, L13]
