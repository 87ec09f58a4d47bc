"""LANDeRMT's claims about layers, scores and sets: L1, L3-L5, L9 and L13, tested on the analyses of
a study. Docstrings are the rules.

Intervals are over disjoint blocks of held-out sentences, or over draws of neurons, or over training
seeds (L9); analyses_scores.py says more. The thresholds were written down before these results,
though lessons 01-04 had shown some of the numbers on fewer sentences.
"""

from __future__ import annotations

from scipy.stats import spearmanr

from ..evidence import Finding, claim
from ..specs import LANDER
from ..statistics import with_interval

SAME = 0.8  # a rank correlation that calls two orders "the same"
AGREE = 0.5  # … that calls them alike
FEW = 2.0  # "change most": twice as much as the others


def shown(part: dict, digits: int = 2) -> str:
    """A mean and its interval, as analyses store them."""
    return with_interval(part["mean"], part["low"], part["high"], f".{digits}f")


@claim(
    "L1",
    "a few layers change most, and the same for all pairs",
    "Fig. 4, 5: layers 6, 7 and the last ones of 30, for all directions",
    "two measures that cannot cancel; shuffled layers",
    "01_which_layers.ipynb#Claim-L1:-are-the-blocks-the-same-for-all-directions?",
)
def same_layers(study, second):
    """The rank correlation of the layers' change between directions is at least .8 on average, with
    its interval above shuffled layers; the k chosen layers change at least twice as much as the
    others, on held-out sentences; and the absolute change and the cosine, which cannot cancel, rank
    the layers alike (rank correlation with the signed change at least .5 each)."""
    found = study.analysis("layers")
    k, n, measures = found["k"], len(found["layers"]), found["measures"]
    signed = measures["signed"]
    correlation, share = signed["rank_correlation"], signed["share_of_change"]["held_out"]
    ratio = share["mean"] / k / ((1 - share["mean"]) / (n - k))
    alike = {
        name: float(spearmanr(signed["pooled"], measures[name]["pooled"]).statistic)
        for name in ("absolute", "cosine")
    }
    parts = {
        "the same for all directions": correlation["mean"] >= SAME,
        "more than by chance": correlation["held_out"]["low"]
        > correlation["control_shuffled"]["high"],
        "chosen layers change twice as much": ratio >= FEW,
    } | {f"alike by {name}": value >= AGREE for name, value in alike.items()}
    return Finding(
        f"rank correlation between directions {correlation['mean']:.2f}, held out "
        f"{shown(correlation['held_out'])}; layers "
        f"{', '.join(map(str, signed['top']))} hold {share['mean']:.0%} of the change, "
        f"{ratio:.1f} times the others'",
        parts,
        share["n"],
        f"rank correlation with absolute change {alike['absolute']:.2f}, with cosine "
        f"{alike['cosine']:.2f}; "
        f"shuffled layers at most {correlation['control_shuffled']['high']:.2f}",
    )


@claim(
    "L3",
    "the score TE approximates the true loss change",
    "eq. 3, 4; derived, not measured",
    "mean activation; random score",
    "02_which_neurons.ipynb#The-check:-switch-neurons-off",
)
def score_is_right(study, second):
    """The rank correlation of TE with exact ablation, mean over languages and layers, has its
    interval above .5; TE ranks better than the activation in more than half of the cases; removing
    the tenth with the highest scores costs more than random tenths, and more than the highest tenth
    by activation (intervals above zero)."""
    found = study.analysis("ablation")
    exact, tenths = found["rank_correlation_with_exact"], found["tenths"]
    parts = {
        "rank correlation above .5": exact["awareness"]["low"] > AGREE,
        "better than activation": found["beats_activation"]["low"] > 0.5,
        "top tenth costs more than random tenths": tenths["top_minus_random"]["low"] > 0,
        "top tenth costs more than that by activation": tenths["top_minus_top_by_activation"]["low"]
        > 0,
    }
    return Finding(
        f"rank correlation {shown(exact['awareness'])}, with scores of other sentences "
        f"{shown(exact['awareness_of_other_sentences'])}; top tenth minus random "
        f"{shown(tenths['top_minus_random'])} nats, "
        f"minus top tenth by activation {shown(tenths['top_minus_top_by_activation'])}",
        parts,
        found["draws"],
        f"rank correlation of activation {shown(exact['control_activation'])}, random "
        f"{shown(exact['control_random'])}",
    )


@claim(
    "L4",
    "the variance separates general from specific neurons",
    "Fig. 6-8, 12, 13: sentences cluster by language on specific neurons",
    "random sets of equal size; highest scores",
    "03_general_or_specific.ipynb#Do-specific-neurons-tell-languages-apart?",
)
def sets_cluster(study, second):
    """Sentences cluster by language (silhouette, selected layers) better on specific neurons than
    on as many general ones, and than on as many random ones; intervals above zero."""
    found = study.analysis("silhouette")
    each, gap = found["selected_layers"], found["specific_minus"]
    parts = {
        "better than general": gap["general"]["low"] > 0,
        "better than random": gap["control_random"]["low"] > 0,
    }
    return Finding(
        f"silhouette {shown(each['specific'])}; minus general {shown(gap['general'])}",
        parts,
        each["specific"]["n"],
        f"specific minus random {shown(gap['control_random'])}, minus highest scores "
        f"{shown(gap['control_highest_score'])}",
    )


@claim(
    "L5",
    "switching off a language's neurons hurts that language most",
    "not tested",
    "random sets of equal size",
    "03_general_or_specific.ipynb#Switch-a-language's-neurons-off",
)
def own_is_hurt(study, second):
    """The own language is hurt most for all sets but one at most; its loss rises more than the
    other languages' and more than with random sets (intervals above zero); and it does so by more
    than in any draw of random sets."""
    found = study.analysis("switching")
    own, random = (
        found["own_minus_others"],
        max(draw["own_minus_others"]["mean"] for draw in found["control_random"]),
    )
    parts = {
        "own language hurt most": len(found["hurt_most"]) >= len(found["sets"]) - 1,
        "own more than others": own["low"] > 0,
        "more than with random sets": found["own_minus_random"]["low"] > 0,
        "more than any random draw": own["mean"] > random,
    }
    return Finding(
        f"own language hurt most for {len(found['hurt_most'])} of {len(found['sets'])} sets; own "
        f"minus others {shown(own, 3)} "
        f"nats, own set minus random set {shown(found['own_minus_random'], 3)}",
        parts,
        own["n"],
        f"own minus others {random:.3f} at most",
    )


@claim(
    "L9",
    "the router balances general and specific capacity",
    "§3.2 says so, without a measurement",
    "the gate held constant; the same neurons without a router",
    "04_routing.ipynb#Does-the-gate-need-to-look-at-the-token?",
)
def router_matters(study, second):
    """The learned gate is better than the same gate held at its mean, and tuning with it is better
    than tuning the same neurons without a
    router: both intervals (over seeds and over test sentences) above zero, each time."""
    found = study.analysis("gates")
    constant = found["learned_minus"]["control_constant"]
    seeds, sentences = constant["over_seeds"], constant["paired_bootstrap"]["ci"]
    routers = [
        study.compare(name, "lander-none") for name in ("lander-learned", LANDER, "lander-literal")
    ]
    parts = {
        "better than a constant gate": min(seeds["low"], sentences[0]) > 0,
        "better than no router": routers[0].above,
    }
    names = ("learned", "corrected", "literal")
    texts = "; ".join(f"{name} {each.text}" for name, each in zip(names, routers))
    return Finding(
        f"the gate moves by {shown(found['moved'], 3)}; sd over tokens "
        f"{found['spread_over_tokens']['mean']:.3f}; "
        f"learned minus constant gate {seeds['mean']:+.1f} "
        f"[{min(seeds['low'], sentences[0]):+.1f}, "
        f"{max(seeds['high'], sentences[1]):+.1f}] BLEU",
        parts,
        found["seeds"],
        f"router minus no router: {texts} BLEU",
    )


@claim(
    "L13",
    "the specific neurons are specific: they answer to their own language",
    "not described",
    "random neurons of equal number",
    "03_general_or_specific.ipynb#What-are-they?",
)
def neurons_answer(study, second):
    """On held-out sentences, the awareness and the activation of a language's neurons are higher in
    its own texts than in others', by a factor above 1 (interval) and above that of random sets; and
    more of their top tokens occur in own texts than with random sets."""
    found = study.analysis("profile")
    own, tokens = found["own_over_other_texts"], found["top_tokens_in_own_texts"]
    parts = {
        "top tokens of the own language": tokens["specific"] > tokens["control_random"]["high"]
    } | {
        f"{what} higher in own texts": x["log"]["low"] > 0
        and x["geometric_mean"] > x["control_random"]["high"]
        for what, x in own.items()
    }
    return Finding(
        f"own over other texts: awareness × {own['awareness']['geometric_mean']:.2f}, activation × "
        f"{own['activation']['geometric_mean']:.2f}; {tokens['specific']:.0%} of the top tokens "
        f"occur in own texts",
        parts,
        own["awareness"]["log"]["n"],
        f"awareness × {own['awareness']['control_random']['high']:.2f} at most, activation × "
        f"{own['activation']['control_random']['high']:.2f}, top tokens "
        f"{tokens['control_random']['high']:.0%}",
    )


CLAIMS = [same_layers, score_is_right, sets_cluster, own_is_hurt, router_matters, neurons_answer]
