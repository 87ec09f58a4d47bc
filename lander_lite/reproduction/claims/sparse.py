"""S1-S5: sparse subnetworks for one language (arXiv 2510.13580), on both tiny models."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ..evidence import Claim, Finding, NotMeasured, Study, if_measured, minus, shown
from ..forgetting import UNIT_OF, change, final_point, measured
from ..kinds import LOW_RESOURCE, low_resource
from ..verdicts import REPRODUCED, Part, interval_part, share_part

KEPT = 0.9  # of the base model's BLEU: what is lost beyond a tenth is "catastrophic"
RIVALS = ("full", "ffn", "lora", "ia3", "sparse-random")
MEASURES = {  # of the low-resource language; the higher, the better
    "perplexity": lambda point: -math.log(point["perplexity"][LOW_RESOURCE]),
    "translation": lambda point: float(np.mean([point["bleu"][pair] for pair in low_resource()])),
    "facts": lambda point: 100 * known(point),
}


def known(point: dict) -> float:
    """The share of facts recalled in the low-resource language. NotMeasured for a corpus without
    them."""
    if LOW_RESOURCE not in point["facts"]:
        raise NotMeasured(f"facts in {LOW_RESOURCE}")
    return point["facts"][LOW_RESOURCE]


def on_both(function: Callable[[Study], Finding]) -> Callable[[Study, Study | None], Finding]:
    """The test of a claim that has to hold on both models: every part of each model's finding; of
    one if both are the same (`scorecard.alone`)."""

    def test(study, second):
        if second is None:
            raise NotMeasured("a second architecture")
        models = dict.fromkeys((study, second))
        findings = [function(model) for model in models]
        parts = []
        for model, finding in zip(models, findings):
            parts += [replace(x, name=f"{model.name}: {x.name}") for x in finding.parts]
        return Finding(
            "; ".join(finding.measured for finding in findings),
            parts,
            "; ".join(finding.control for finding in findings if finding.control),
        )

    return test


def sparse_values(study: Study, method: str, value: Callable[[dict], float]) -> dict[int, float]:
    """{seed: value of the final point} of the runs on plain text."""
    return study.values("sparse", method, lambda run: value(final_point(run)))


def others(point: dict) -> dict:
    """A point without the low-resource language."""
    bleu = {pair: score for pair, score in point["bleu"].items() if pair not in low_resource()}
    measures = {"bleu": bleu}
    for name in ("perplexity", "facts"):
        measures[name] = {x: value for x, value in point[name].items() if x != LOW_RESOURCE}
    return measures


@on_both
def _finds_language_neurons(model: Study) -> Finding:
    lape = model.analysis("lape")
    to_others, to_random = lape["own_minus_others"], lape["own_minus_random"]
    shares = lape["share_of_layers"]
    quarter = shares[len(shares) // 4 - 1]
    agreement = np.mean([*lape["agreement_of_halves"].values()])
    by_chance = np.mean([np.mean([*draw.values()]) for draw in lape["control_random_halves"]])
    neurons = sum(lape["neurons_by_layer"])
    held = round(quarter * neurons)
    parts = [
        interval_part("own language most", to_others, "nats"),
        interval_part("more than random neurons", to_random, "nats"),
        share_part("half in a quarter of the layers", held, neurons, "neurons"),
    ]
    return Finding(
        f"{model.name}: own minus other languages {shown(to_others)} nats, a quarter of the "
        f"layers holds {quarter:.0%}, two halves of the text agree by {agreement:.2f}",
        parts,
        f"{model.name}: own minus random {shown(to_random)} nats, agreement by chance "
        f"{by_chance:.2f}",
    )


S1 = Claim(
    id="S1",
    claim="LAPE finds language neurons, mostly in few layers",
    paper="LAPE's published sets of BLOOM-7b1 lie almost wholly in the last ten of thirty layers",
    control="random sets of equal size; equal share of the layers",
    shown_in="07_sparse_subnetworks.ipynb#Where-do-they-lie?",
    rule="On both models: switching a language's neurons off costs that language more than the "
    "others, and more than random neurons (intervals above zero), and a quarter of the layers "
    "holds more than half of the neurons (exact binomial interval).",
    function=_finds_language_neurons,
)


@on_both
def _sparse_wins(model: Study) -> Finding:
    parts = []
    for (name, measure), unit in zip(MEASURES.items(), ("nats", "BLEU", "points")):
        ours = sparse_values(model, "sparse", measure)
        for rival in RIVALS:
            difference = minus(rival, ours, sparse_values(model, rival, measure))
            parts.append(difference.part(f"better {name} than {rival}", unit))
    met = sum(part.verdict == REPRODUCED for part in parts)
    return Finding(f"{model.name}: ahead in {met} of {len(parts)} comparisons", parts)


S2 = Claim(
    id="S2",
    claim="tuning at most 1% of the weights beats full, FFN, LoRA, IA3 and random subsets on "
    f"{LOW_RESOURCE}",
    paper="said, for 12 languages and Llama-3.1-8B, Mistral-Nemo",
    control="as many random neurons of the same layers; equal tokens, own rate grids",
    shown_in="07_sparse_subnetworks.ipynb#Against-the-others",
    rule="On both models and against each of the five: lower perplexity, higher BLEU into and out "
    "of the language, and more facts recalled in it, each with its interval over seeds on that "
    "side of zero.",
    function=_sparse_wins,
)


@on_both
def _sparse_keeps(model: Study) -> Finding:
    before = others(final_point(model.runs("sparse", "zero-shot")[0]))
    bleu_before = float(np.mean([*before["bleu"].values()]))

    def lost(method, measure):
        return sparse_values(model, method, lambda p: change(others(p), before, [])[measure])

    lost_bleu = minus("", lost("sparse", "bleu"))
    gaps = {
        name: minus("full", lost("full", name), lost("sparse", name)) for name in measured(before)
    }
    kept = [1 - x / bleu_before for x in (lost_bleu.mean, *reversed(lost_bleu.interval))]
    interval, n = tuple(kept[1:]), len(lost_bleu.values)
    parts = [Part("BLEU kept", kept[0], interval, n, "seeds", "", KEPT, 0.0)]
    parts += [
        gap.part(f"less {name} lost than by full tuning", UNIT_OF[name])
        for name, gap in gaps.items()
    ]
    digits = {"bleu": 1, "perplexity": 2, "facts": 1}
    more = [f"{gap.shown(digits[name])} {UNIT_OF[name]}" for name, gap in gaps.items()]
    return Finding(
        f"{model.name}: lost {lost_bleu.text} of {bleu_before:.1f} BLEU; full tuning's losses "
        f"minus these {', '.join(more)}",
        parts,
        f"{model.name}: random neurons lose {minus('', lost('sparse-random', 'bleu')).text} BLEU",
    )


S3 = Claim(
    id="S3",
    claim="without catastrophic forgetting",
    paper="said, of MMLU, HellaSwag, PIQA, WinoGrande, ARC",
    control="full tuning; random neurons",
    shown_in="07_sparse_subnetworks.ipynb#What-was-lost-elsewhere?",
    rule="On both models: the ten directions without the language keep nine tenths of the base "
    "model's BLEU (interval), and full tuning loses more BLEU, more in the other languages' "
    "perplexity and more of their facts (intervals over seeds above zero).",
    function=_sparse_keeps,
)


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
def _down_moves_most(model: Study) -> Finding:
    def measured(method, value):
        return minus("", model.values("sparse", method, lambda run: value(run["weight_change"])))

    def by_chance() -> str:
        """Of the random neurons that were trained: older runs measured the language's."""
        if not all("weight_change_of" in run for run in model.runs("sparse", "sparse-random")):
            raise NotMeasured("weight_change_of, the random neurons' own")
        values = (down_minus_others, later_minus_earlier)
        return ", ".join(measured("sparse-random", value).shown(2) for value in values)

    down, later = measured("sparse", down_minus_others), measured("sparse", later_minus_earlier)
    return Finding(
        f"{model.name}: down minus others {down.shown(2)}, later minus earlier half "
        f"{later.shown(2)} (relative change)",
        [down.part("down most", ""), later.part("later layers most", "")],
        f"{model.name}: {if_measured(by_chance)}",
    )


S4 = Claim(
    id="S4",
    claim="the projections move unequally: the down-projection most, later layers most",
    paper="a summary by others: largest in the down-projection of later layers",
    control="random neurons",
    shown_in="07_sparse_subnetworks.ipynb#What-moved?",
    rule="On both models: the relative change of the down-projection minus that of the others, and "
    "that of the later half of the layers minus the earlier half, have their intervals over seeds "
    "above zero.",
    function=_down_moves_most,
)


@on_both
def _aligns(model: Study) -> Finding:
    before = model.runs("sparse", "zero-shot")[0]["alignment"]

    def rise(method, measure):
        def value(run):
            return float(np.mean(run["alignment"][measure]) - np.mean(before[measure]))

        return minus(method, model.values("sparse", method, value))

    cosine, cka = rise("sparse", "difference"), rise("sparse", "cka")
    controls = (rise(method, "difference") for method in ("sparse-random", "full"))
    return Finding(
        f"{model.name}: cosine {cosine.shown(3)}, CKA {cka.shown(3)}",
        [cosine.part("cosine", ""), cka.part("CKA", "")],
        f"{model.name}, cosine: {', '.join(f'{d.name} {d.shown(3)}' for d in controls)}",
    )


S5 = Claim(
    id="S5",
    claim="cross-lingual alignment improves",
    paper="said; the code is not there",
    control="random neurons; full tuning",
    shown_in="07_sparse_subnetworks.ipynb#Do-translations-look-more-alike?",
    rule="On both models: parallel minus random cosine of the language with English, and linear "
    "CKA, mean over layers, rise from the base model to the tuned one (intervals over seeds above "
    "zero).",
    function=_aligns,
)


CLAIMS = [S1, S2, S3, S4, S5]
