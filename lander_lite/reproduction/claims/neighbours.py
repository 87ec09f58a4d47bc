"""Claims of the two neighbours: S1-S5 (sparse subnetworks, arXiv 2510.13580) on both tiny models,
P1-P3 (pruning, arXiv 2409.16911).

Docstrings are the rules; the thresholds were written down before the results that they judge.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from ..evidence import Difference, Finding, NotMeasured, Study, claim, listed, minus, sides
from ..forgetting import change, end, pruned
from ..specs import LOW_RESOURCE, SPARSITIES, low_resource
from .neurons import shown

RIVALS = ("full", "ffn", "lora", "ia3", "sparse-random")
KEPT = 0.9  # of the base model's BLEU: what is lost beyond a tenth is "catastrophic"
TEXTS = ("wanda-monolingual", "wanda-english", "wanda-tokens")
HALF = 0.5


def both(study: Study, second: Study | None) -> list[Study]:
    if second is None:
        raise NotMeasured("a second architecture")
    return [study, second]


def values(study: Study, method: str, value: Callable[[dict], float]) -> dict[int, float]:
    """{seed: value of the point at the end} of a run on plain text."""
    return study.values("sparse", method, lambda run: value(end(run)))


MEASURES = {  # of the low-resource language; the higher, the better
    "perplexity": lambda point: -math.log(point["perplexity"][LOW_RESOURCE]),
    "translation": lambda point: float(np.mean([point["bleu"][pair] for pair in low_resource()])),
    "facts": lambda point: 100 * point["facts"][LOW_RESOURCE],
}


# ---------------------------------------------------------------- sparse subnetworks
@claim(
    "S1",
    "LAPE finds language neurons, mostly in few layers",
    "LAPE's published sets of BLOOM-7b1 lie almost wholly in the last ten of thirty layers",
    "random sets of equal size; equal share of the layers",
    "07_sparse_subnetworks.ipynb#Where-do-they-lie?",
)
def finds_language_neurons(study, second):
    """On both models: switching a language's neurons off costs that language more than the others,
    and more than random neurons (intervals above zero), and a quarter of the layers holds at least
    half of the neurons."""
    parts, text, control, seeds = {}, [], [], []
    for one in both(study, second):
        found, name = one.analysis("lape"), one.folder.name
        shares, others, chance = (
            found["share_of_layers"],
            found["own_minus_others"],
            found["own_minus_random"],
        )
        quarter = shares[len(shares) // 4 - 1]
        parts |= {
            f"{name}: own language most": others["low"] > 0,
            f"{name}: more than random neurons": chance["low"] > 0,
            f"{name}: half in a quarter of the layers": quarter >= 0.5,
        }
        text.append(
            f"{name}: own minus other languages {shown(others)} nats, a quarter of the layers "
            f"holds {quarter:.0%}, two halves of "
            f"the text agree by {np.mean([*found['agreement_of_halves'].values()]):.2f}"
        )
        halves = [np.mean([*draw.values()]) for draw in found["control_random_halves"]]
        control.append(
            f"{name}: own minus random {shown(chance)} nats, agreement by chance "
            f"{np.mean(halves):.2f}"
        )
        seeds.append(others["n"])
    return Finding("; ".join(text), parts, min(seeds), "; ".join(control))


@claim(
    "S2",
    f"tuning at most 1% of the weights beats full, FFN, LoRA, IA3 and random subsets on "
    f"{LOW_RESOURCE}",
    "said, for 12 languages and Llama-3.1-8B, Mistral-Nemo",
    "as many random neurons of the same layers; equal tokens, own rate grids",
    "07_sparse_subnetworks.ipynb#Against-the-others",
)
def sparse_wins(study, second):
    """On both models and against each of the five: lower perplexity, higher BLEU into and out of
    the language, and more facts recalled in it, each with its interval over seeds on that side of
    zero."""
    parts, text, seeds = {}, [], []
    for one in both(study, second):
        won = dict.fromkeys(RIVALS, True)
        for name, measure in MEASURES.items():
            found = [
                minus(rival, values(one, "sparse", measure), values(one, rival, measure))
                for rival in RIVALS
            ]
            won = {d.name: won[d.name] and d.above for d in found}
            text.append(f"{one.folder.name}, {name}: {sides(found)}")
            seeds += [len(d.values) for d in found]
        parts |= {
            f"{one.folder.name}: better than {rival} in all three": met
            for rival, met in won.items()
        }
    return Finding("; ".join(text), parts, min(seeds))


@claim(
    "S3",
    "without catastrophic forgetting",
    "said, of MMLU, HellaSwag, PIQA, WinoGrande, ARC",
    "full tuning; random neurons",
    "07_sparse_subnetworks.ipynb#What-was-lost-elsewhere?",
)
def sparse_keeps(study, second):
    """On both models: the ten directions without the language keep nine tenths of the base model's
    BLEU (interval), and full tuning loses more BLEU, more in the other languages' perplexity and
    more of their facts (intervals over seeds above zero)."""
    parts, text, control, seeds = {}, [], [], []
    for one in both(study, second):
        name, before = one.folder.name, others(end(one.runs("sparse", "zero-shot")[0]))
        base = float(np.mean([*before["bleu"].values()]))

        def lost(method, measure, one=one, before=before):
            return values(one, method, lambda point: change(others(point), before, [])[measure])

        kept = minus("", lost("sparse", "bleu"))
        gaps = {
            m: minus("full", lost("full", m), lost("sparse", m))
            for m in ("bleu", "perplexity", "facts")
        }
        parts |= {f"{name}: BLEU kept": kept.interval[1] < (1 - KEPT) * base}
        parts |= {f"{name}: less {m} lost than by full tuning": d.above for m, d in gaps.items()}
        text.append(
            f"{name}: lost {kept.text} of {base:.1f} BLEU; full tuning's losses minus these "
            f"{gaps['bleu'].text} BLEU, "
            f"{gaps['perplexity'].shown(2)} nats, {gaps['facts'].text} points of facts"
        )
        control.append(
            f"{name}: random neurons lose {minus('', lost('sparse-random', 'bleu')).text} BLEU"
        )
        seeds.append(len(kept.values))
    return Finding("; ".join(text), parts, min(seeds), "; ".join(control))


def others(point: dict) -> dict:
    """A point without the low-resource language."""
    return {
        "bleu": {pair: x for pair, x in point["bleu"].items() if pair not in low_resource()},
        **{
            name: {x: value for x, value in point[name].items() if x != LOW_RESOURCE}
            for name in ("perplexity", "facts")
        },
    }


@claim(
    "S4",
    "the projections move unequally: the down-projection most, later layers most",
    "a summary by others: largest in the down-projection of later layers",
    "random neurons",
    "07_sparse_subnetworks.ipynb#What-moved?",
)
def down_moves_most(study, second):
    """On both models: the relative change of the down-projection minus that of the others, and that
    of the later half of the layers minus the earlier half, have their intervals over seeds above
    zero."""
    parts, text, control, seeds = {}, [], [], []
    for one in both(study, second):

        def measured(method, value, one=one):
            return minus("", one.values("sparse", method, lambda run: value(run["weight_change"])))

        down, later = measured("sparse", down_minus_others), measured("sparse", later_minus_earlier)
        parts |= {
            f"{one.folder.name}: down most": down.above,
            f"{one.folder.name}: later layers most": later.above,
        }
        text.append(
            f"{one.folder.name}: down minus others {down.shown(2)}, later minus earlier half "
            f"{later.shown(2)} (relative change)"
        )
        control.append(
            f"{one.folder.name}: {measured('sparse-random', down_minus_others).shown(2)}, "
            f"{measured('sparse-random', later_minus_earlier).shown(2)}"
        )
        seeds.append(len(down.values))
    return Finding("; ".join(text), parts, min(seeds), "; ".join(control))


def down_minus_others(moved: dict) -> float:
    return float(
        np.mean([*moved["down"].values()])
        - np.mean([x for name in moved if name != "down" for x in moved[name].values()])
    )


def later_minus_earlier(moved: dict) -> float:
    layers = sorted({int(layer) for each in moved.values() for layer in each})
    half = [
        np.mean(
            [each[str(layer)] for each in moved.values() for layer in part if str(layer) in each]
        )
        for part in (layers[: len(layers) // 2], layers[len(layers) // 2 :])
    ]
    return float(half[1] - half[0])


@claim(
    "S5",
    "cross-lingual alignment improves",
    "said; the code is not there",
    "random neurons; full tuning",
    "07_sparse_subnetworks.ipynb#Do-translations-look-more-alike?",
)
def aligns(study, second):
    """On both models: parallel minus random cosine of the language with English, and linear CKA,
    mean over layers, rise from the base model to the tuned one (intervals over seeds above
    zero)."""
    parts, text, control, seeds = {}, [], [], []
    for one in both(study, second):

        def rise(method, what, one=one):
            before = np.mean(one.runs("sparse", "zero-shot")[0]["alignment"][what])
            return minus(
                method,
                one.values(
                    "sparse", method, lambda run: float(np.mean(run["alignment"][what]) - before)
                ),
            )

        cosine, cka = rise("sparse", "difference"), rise("sparse", "cka")
        parts |= {f"{one.folder.name}: cosine": cosine.above, f"{one.folder.name}: CKA": cka.above}
        text.append(f"{one.folder.name}: cosine {cosine.shown(3)}, CKA {cka.shown(3)}")
        control.append(
            f"{one.folder.name}, cosine: "
            + ", ".join(
                f"{method} {rise(method, 'difference').shown(3)}"
                for method in ("sparse-random", "full")
            )
        )
        seeds.append(len(cosine.values))
    return Finding("; ".join(text), parts, min(seeds), "; ".join(control))


# ---------------------------------------------------------------- pruning
@claim(
    "P1",
    "some features are large in translation and not in monolingual text",
    "said, for XGLM, mGPT and BLOOM",
    "two draws of the same prompts",
    "08_pruning.ipynb#Which-features-stand-out?",
)
def features_stand_out(study, second):
    """More features are among the largest 30% in translation and the smallest 30% in monolingual
    text than between two draws of translation prompts (mean over layers, interval above zero), and
    more than half of the layers have at least one."""
    found = study.analysis("features")
    mean = found["stand_out"]["mean"]
    parts = {
        "more than by drawing again": found["difference"]["low"] > 0,
        "in more than half of the layers": sum(x >= 1 for x in mean) > len(mean) / 2,
    }
    return Finding(
        f"{np.mean(mean):.1f} of {found['d_model']} features per layer; the largest 30% share "
        f"{np.mean(found['overlap']['mean']):.0%}",
        parts,
        found["difference"]["n"],
        f"{np.mean(found['control_same']['mean']):.1f} features; shared "
        f"{np.mean(found['control_overlap_same']['mean']):.0%}; "
        f"by chance {found['control_independent']:.1f}",
    )


def recall(point: dict) -> float:
    """Facts recalled in the languages other than English, percent."""
    return 100 * float(
        np.mean([share for language, share in point["facts"].items() if language != "en"])
    )


def nats_lost(point: dict) -> float:
    return float(np.mean([math.log(x) for x in point["perplexity"].values()]))


def at(
    study: Study, method: str, sparsity: float, value: Callable[[dict], float] = recall
) -> dict[int, float]:
    """{seed: value at a sparsity}."""
    return study.values("prune", method, lambda run: value(pruned(run)[sparsity]))


@claim(
    "P2",
    "keeping the weights on translation features and pruning the rest raises zero-shot accuracy "
    "in non-English",
    "said, of XNLI and MARC; we found no table",
    "Wanda on random tokens",
    "08_pruning.ipynb#Does-it-help?",
)
def pruning_helps(study, second):
    """At the best of 10 to 50% sparsity, picked on the same runs, which favours the claim: facts
    recalled in languages other than English, calibrated on translation demonstrations, minus the
    dense model, and minus Wanda on random tokens, have their intervals over calibration seeds above
    zero."""
    dense, mine = recall(end(study.runs("prune", "zero-shot")[0])), "wanda-translation"
    scores = {sparsity: at(study, mine, sparsity) for sparsity in SPARSITIES if sparsity <= HALF}
    best = max(scores, key=lambda sparsity: np.mean([*scores[sparsity].values()]))
    found = [
        minus("the dense model", scores[best], dict.fromkeys(scores[best], dense)),
        minus("random tokens", scores[best], at(study, "wanda-tokens", best)),
    ]
    return Finding(
        f"recall {np.mean([*scores[best].values()]):.1f}% at the best sparsity {best:.0%}, dense "
        f"{dense:.1f}%; minus "
        f"{found[0]}",
        {f"better than {d.name}": d.above for d in found},
        len(found[0].values),
        f"minus {found[1]}",
    )


@claim(
    "P3",
    "the calibration text matters: translations are the better one",
    "said; ablations: random pruning, dropping the largest",
    "magnitude and random pruning",
    "08_pruning.ipynb#Does-the-calibration-text-matter?",
)
def text_matters(study, second):
    """At 50% sparsity, Wanda on translations recalls more facts in languages other than English
    than Wanda on monolingual, English and random text (intervals over calibration seeds above
    zero). Plain text is told beside it."""
    mine = at(study, "wanda-translation", HALF)
    found = [minus(text, mine, at(study, text, HALF)) for text in TEXTS]
    nat = [
        minus(
            text, at(study, text, HALF, nats_lost), at(study, "wanda-translation", HALF, nats_lost)
        )
        for text in TEXTS
    ]
    control = [against(study, name) for name in ("magnitude", "random-weights")]
    return Finding(
        f"recall in points, minus {listed(found)}; nats of plain text kept beyond "
        f"{'; '.join(f'{d.name} {d.shown(2)}' for d in nat)}",
        {f"better than {d.name}": d.above for d in found},
        len(found[0].values),
        f"minus {listed(control)}",
    )


def against(study: Study, method: str) -> Difference:
    """Wanda on translations minus a method, which may have been run once."""
    mine, other = at(study, "wanda-translation", HALF), at(study, method, HALF)
    return minus(method, mine, other if len(other) > 1 else dict.fromkeys(mine, other[0]))


CLAIMS: Sequence[Callable] = [
    finds_language_neurons,
    sparse_wins,
    sparse_keeps,
    down_moves_most,
    aligns,
    features_stand_out,
    pruning_helps,
    text_matters,
]
