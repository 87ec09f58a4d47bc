"""L11 and L12: what tuning some directions does to the others."""

from __future__ import annotations

import numpy as np

from ..evidence import Claim, Difference, Finding, Study, if_measured, minus
from ..forgetting import (
    change,
    direction_masks,
    equal_gain,
    final_point,
    group_means,
    matrices,
    measured,
    sequence,
)
from ..kinds import LANDER

WHOLE_BLOCK = "lander-block"
FORGETTERS = ("full", "lora", "full-kl")
WAYS = ("at equal updates", "at equal gain", "in sequence")


def _helps_others(study, second):
    runs = study.runs("matrix")
    pairs = [*study.runs("matrix", "zero-shot")[0]["pairs"]]

    def complete(method):
        """The matrices without a missing run, [seed, trained, measured]."""
        changes = matrices(runs, method, pairs)
        return changes[~np.isnan(changes).any(axis=(1, 2))]

    def change(name, found, group="others"):
        means = group_means(found, pairs)[group] if len(found) else ()
        return minus(name, dict(enumerate(means)))

    def told(found):
        return f"{change('', found).text}, into English {change('', found, 'into English').text}"

    ours = complete(LANDER)
    theirs = complete("full")
    moved = change("the other directions", ours)
    share = np.mean(ours[:, direction_masks(pairs)["others"]] > 0)
    apart = change("", ours[: len(theirs)] - theirs[: len(ours)], "into English")
    return Finding(
        f"{moved}; {share:.0%} of the cells gain; into English alone, as in Fig. 3, "
        f"{change('', ours, 'into English').text}, minus full tuning {apart.text}",
        [moved.part("the other directions gain")],
        f"full tuning {told(theirs)}; {WHOLE_BLOCK} "
        f"{if_measured(lambda: told(complete(WHOLE_BLOCK)))}",
    )


L11 = Claim(
    id="L11",
    claim="tuning one pair also helps others",
    paper="Fig. 3: of 20 other directions into English 16 gain, mean +2.6",
    control="full tuning on the same pair; LANDeRMT on attention too (its parameter count)",
    shown_in="06_forgetting.ipynb#The-stored-study:-one-direction-trained,-all-measured",
    rule="The mean BLEU change of the directions that were not trained, over all trained "
    "directions, has its interval over seeds above zero. The 20 cells of Fig. 3 are told beside.",
    function=_helps_others,
)


def _kept_beyond(study: Study, method: str) -> dict[str, list[Difference]]:
    """{measure: differences at equal updates, at equal gain and, of BLEU, in a sequence}: what
    another method loses minus what LANDeRMT loses."""
    runs, before = study.runs("forgetting"), final_point(study.runs("forgetting", "zero-shot")[0])

    def lost(method, measure):
        def value(run):
            return change(final_point(run), before, run["train_pairs"][0])[measure]

        return study.values("forgetting", method, value, step=None)

    def backward(method):
        return study.values("sequence", method, lambda run: sequence(run, before)[1]["bwt"])

    kept = {}
    for measure in measured(before):
        gaps = [theirs - ours for _, ours, theirs in equal_gain(runs, LANDER, method, measure)]
        kept[measure] = [
            minus(f"{method}, equal updates", lost(method, measure), lost(LANDER, measure)),
            minus(f"{method}, equal gain", dict(enumerate(gaps))),
        ]
    kept["bleu"].append(minus(f"{method}, sequence", backward(LANDER), backward(method)))
    return kept


def _forgets_less(study, second):
    kept = {method: _kept_beyond(study, method) for method in FORGETTERS}
    bleu = {method: by_measure.pop("bleu") for method, by_measure in kept.items()}
    beside = [d for by_measure in kept.values() for found in by_measure.values() for d in found]
    lines = []
    for method, found in bleu.items():
        numbers = [f"{difference.text} {way}" for way, difference in zip(WAYS, found)]
        lines.append(f"{method} {', '.join(numbers)}")
    return Finding(
        f"BLEU kept beyond {'; '.join(lines)}. Perplexity and facts: less lost in "
        f"{sum(d.above for d in beside)} and more in {sum(d.below for d in beside)} of "
        f"{len(beside)} comparisons",
        [
            difference.part(f"keeps more {way} than {method}")
            for method, found in bleu.items()
            for way, difference in zip(WAYS, found)
        ],
    )


L12 = Claim(
    id="L12",
    claim="less forgetting",
    paper="said, not measured; limited to directions by a footnote",
    control="full tuning, LoRA, full tuning + monolingual text (KL to the base model)",
    shown_in="06_forgetting.ipynb#Gain-against-loss",
    rule="Against full tuning, LoRA and full tuning with KL, each: LANDeRMT loses less BLEU on the "
    "directions that were not trained, at equal updates and at equal gain (on the fronts of all "
    "rates, where several were run), and its backward transfer in a sequence of five directions is "
    "higher; all intervals over seeds above zero. BLEU is the paper's own scope; perplexity and "
    "facts are told beside it.",
    function=_forgets_less,
)


CLAIMS = [L11, L12]
