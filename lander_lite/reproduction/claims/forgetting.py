"""L11 and L12: what tuning some directions does to the others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..evidence import Claim, Difference, Finding, Study, minus
from ..forgetting import (
    MEASURES,
    change,
    direction_masks,
    equal_gain,
    final_point,
    group_means,
    matrices,
    sequence,
)
from ..specs import LANDER

FORGETTERS = ("full", "lora", "full-kl")


def _helps_others(study, second):
    runs = study.runs("matrix")
    pairs = [*study.runs("matrix", "zero-shot")[0]["pairs"]]

    def complete(method):
        """The matrices without a missing run, [seed, trained, measured]."""
        found = matrices(runs, method, pairs)
        return found[~np.isnan(found).any(axis=(1, 2))]

    def change(name, found):
        means = group_means(found, pairs)["others"] if len(found) else ()
        return minus(name, dict(enumerate(means)))

    ours = complete(LANDER)
    moved, full = change("the other directions", ours), change("full tuning", complete("full"))
    share = np.mean(ours[:, direction_masks(pairs)["others"]] > 0)
    return Finding(
        f"{moved}; {share:.0%} of the cells gain",
        {"mean change above zero": moved.above},
        len(moved.values),
        full.text,
    )


L11 = Claim(
    id="L11",
    claim="tuning one pair also helps others",
    paper="Fig. 3: of 20 other directions into English 16 gain, mean +2.6",
    control="full tuning on the same pair",
    shown_in="06_forgetting.ipynb#The-stored-study:-one-direction-trained,-all-measured",
    rule="The mean BLEU change of the directions that were not trained, over all trained "
    "directions, has its interval over seeds above zero.",
    function=_helps_others,
)


@dataclass(frozen=True)
class Kept:
    """What LANDeRMT keeps beyond another method. by_updates, by_gain: {measure: loss of the other
    minus loss of LANDeRMT} at equal updates, at equal gain. backward: transfer in a sequence."""

    by_updates: dict[str, Difference]
    by_gain: dict[str, Difference]
    backward: Difference

    @property
    def bleu(self) -> list[Difference]:
        """At equal updates, at equal gain, in a sequence."""
        return [self.by_updates["bleu"], self.by_gain["bleu"], self.backward]

    @property
    def beside(self) -> list[Difference]:
        """Perplexity and facts."""
        tables = (self.by_updates, self.by_gain)
        return [table[measure] for table in tables for measure in MEASURES if measure != "bleu"]


def _kept_beyond(study: Study, method: str) -> Kept:
    runs, before = study.runs("forgetting"), final_point(study.runs("forgetting", "zero-shot")[0])

    def lost(method, measure):
        def value(run):
            return change(final_point(run), before, run["train_pairs"][0])[measure]

        return study.values("forgetting", method, value)

    def backward(method):
        return study.values("sequence", method, lambda run: sequence(run, before)[1]["bwt"])

    by_updates, by_gain = {}, {}
    for measure in MEASURES:
        gaps = [theirs - ours for _, ours, theirs in equal_gain(runs, LANDER, method, measure)]
        by_updates[measure] = minus(
            f"{method}, equal updates", lost(method, measure), lost(LANDER, measure)
        )
        by_gain[measure] = minus(f"{method}, equal gain", dict(enumerate(gaps)))
    in_sequence = minus(f"{method}, sequence", backward(LANDER), backward(method))
    return Kept(by_updates, by_gain, in_sequence)


def _forgets_less(study, second):
    kept = {method: _kept_beyond(study, method) for method in FORGETTERS}
    lines = []
    for method, found in kept.items():
        updates, gain, backward = (difference.text for difference in found.bleu)
        lines.append(
            f"{method} {updates} at equal updates, {gain} at equal gain, {backward} in sequence"
        )
    beside = [difference for found in kept.values() for difference in found.beside]
    return Finding(
        f"BLEU kept beyond {'; '.join(lines)}. Perplexity and facts: less lost in "
        f"{sum(difference.above for difference in beside)} and more in "
        f"{sum(difference.below for difference in beside)} of {len(beside)} comparisons",
        {
            f"keeps more than {method}": all(difference.above for difference in found.bleu)
            for method, found in kept.items()
        },
        len(kept[FORGETTERS[0]].bleu[0].values),
    )


L12 = Claim(
    id="L12",
    claim="less forgetting",
    paper="said, not measured; limited to directions by a footnote",
    control="full tuning, LoRA, full tuning with KL to the base model",
    shown_in="06_forgetting.ipynb#Gain-against-loss",
    rule="Against full tuning, LoRA and full tuning with KL, each: LANDeRMT loses less BLEU on the "
    "directions that were not trained, at equal updates and at equal gain, and its backward "
    "transfer in a sequence of five directions is higher; all intervals over seeds above zero. "
    "BLEU is the paper's own scope; perplexity and facts are told beside it.",
    function=_forgets_less,
)


CLAIMS = [L11, L12]
