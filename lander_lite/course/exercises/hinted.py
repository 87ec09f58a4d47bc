"""Checks of the lessons that have one exercise each, at their end, with one hint that an answer of
None prints. A wrong answer raises AssertionError with what is wrong."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F

from . import expect


def hinted(hint: str) -> Callable:
    """Make a check print `Not answered yet` and the hint where the answer is None."""

    def decorate(check: Callable) -> Callable:
        @functools.wraps(check)
        def checked(answer, *context):
            if answer is None:
                print(f"Not answered yet. Hint: {hint}")
            else:
                check(answer, *context)

        return checked

    return decorate


@hinted("sort the positions by (-value, position), keep the first k, sort them again.")
def check_01_top_k(answer, scores) -> None:
    """answer(values, k) -> the indices of the k largest values as a sorted list; the lower index
    wins ties. scores: LayerScores."""
    tie = torch.tensor([1.0, 3.0, 2.0, 3.0, 3.0, 0.0])
    cases = [
        ([1], "of equal values the lower index wins"),
        ([1, 3], "of equal values the lower indices win"),
        ([1, 2, 3, 4], "sort the result"),
    ]
    for expected, why in cases:
        given = answer(tie, len(expected))
        expect(given == expected, f"{why}: expected {expected}, you gave {given}")
    for pair, expected in scores.per_pair(4).items():
        given = [column + 1 for column in answer(scores.delta[scores.pairs.index(pair)], 4)]
        message = f"{pair}: expected blocks {expected}, you gave {given}."
        expect(given == expected, f"{message} Are you taking the smallest?")
    print(
        "Correct: ties go to the lower index, and every pair's own four blocks agree with the "
        "module."
    )


def check_02_double_shift(answer):
    """answer(logits [token, vocabulary], ids [token]) -> the summed loss after two shifts. Returns
    a loss to go on with."""

    def shifted(logits, ids, by: int):
        return F.cross_entropy(logits[:-by], ids[by:], reduction="sum")

    def two_ahead(logits, ids):
        return shifted(logits, ids, 2)

    if answer is None:
        print(
            "Not answered yet (the lesson goes on with its own version). Hint: position t is "
            "compared with token t + 2."
        )
        return two_ahead
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 11, generator=generator)
    ids = torch.randint(0, 11, (6,), generator=generator)
    given, expected = float(answer(logits, ids)), float(two_ahead(logits, ids))
    expect(
        abs(given - float(shifted(logits, ids, 1))) > 1e-4,
        "this is the correct loss, with one shift: position t and token t + 1. Shift once more.",
    )
    expect(
        abs(given * 4 - expected) > 1e-3, "use the sum over tokens, not the mean: reduction='sum'"
    )
    expect(
        abs(given - expected) < 1e-3,
        f"expected {expected:.4f} on a small example, you gave {given:.4f}",
    )
    print("Correct: every position is asked for the token after the next one.")
    return answer


@hinted(
<<<<<<< HEAD
    "find the first point whose gain is at least `gain`. The answer lies between it and the one "
    "before."
)
def check_06_loss_at_gain(answer) -> None:
    """answer(curve, gain) -> the loss where a curve of (gain, loss) first reaches `gain`, linear
    between two points."""
    straight, bent = [(0, 0), (10, 4)], [(0, 0), (4, 1), (8, 2), (6, 9), (12, 10)]
    given = answer(straight, 5)
    expect(
        abs(given - 4) > 1e-9,
        "this is the loss of the next point: go back along the line, here to its middle",
    )
    expect(
        abs(given - 2) < 1e-9, f"halfway between (0, 0) and (10, 4) the loss is 2, you gave {given}"
    )
    given = answer(bent, 7)
    expect(
        min(abs(given - 5.5), abs(given - 55 / 6)) > 1e-9,
        "use the first time that the gain is reached, not the last",
    )
    expect(
        abs(given - 1.75) < 1e-9,
        f"between (4, 1) and (8, 2), at gain 7, the loss is 1.75; you gave {given}",
    )
    given = answer(bent, 8)
    expect(
        abs(given - 2) < 1e-9, f"at a point of the curve, take its own loss: 2, you gave {given}"
    )
    print("Correct: two methods can now be compared where both have learned the same.")
=======
    "the general and the two languages' sets are disjoint; divide their sizes by d_ff times the "
    "blocks."
)
def check_03_trainable_share(answer, sets, pair: str) -> None:
    """answer: the share of all feed-forward neurons in the selected blocks that a batch of this
    pair may train. sets: NeuronSets."""
    total, answer = sets.d_ff * len(sets.layers), float(answer)
    specific = sum(len(indices) for indices in sets.pair(pair).values()) / total
    general = sum(len(indices) for indices in sets.general.values()) / total
    right = general + specific
    expect(
        answer <= 1,
        f"a share is at most 1, you gave {answer}: divide by d_ff times the number of blocks",
    )
    expect(
        abs(answer - specific) > 1e-6,
        "these are the specific neurons alone: the general ones are trained too",
    )
    expect(
        abs(answer - general) > 1e-6,
        "these are the general neurons alone: add the sets of both languages",
    )
    expect(abs(answer - right) < 1e-6, f"expected {right:.4f}, you gave {answer:.4f}")
    print(
        f"Correct: {pair} trains {answer:.1%} of the neurons in these blocks. The other "
        f"languages' {1 - answer:.1%} stay as they are."
    )


@hinted(
    "average the two languages' scores and sum them over each set; as printed, N is the specific "
    "set."
)
def check_04_printed_weight(answer, sets, pair: str, layer: int) -> None:
    """answer: the factor on the general path's input for this pair and block, by the equation as
    printed. sets: NeuronSets."""
    phi = sum(sets.awareness[language][layer] for language in pair.split("-")) / 2
    general = phi[sets.general[layer]].sum().item()
    specific = phi[sets.pair(pair)[layer]].sum().item()
    every = sum(phi[indices[layer]].sum().item() for indices in sets.specific.values())
    answer, expected = float(answer), specific / (general + specific)
    expect(
        abs(answer - (1 - expected)) > 1e-3,
        "this is the un-swapped share: as printed, the sum over specific neurons stands on top",
    )
    expect(
        abs(answer - every / (general + every)) > 1e-3,
        "only the specific neurons of the pair's two languages count, not all languages'",
    )
    expect(
        abs(answer - expected) < 1e-3,
        f"expected {expected:.4f}, you gave {answer:.4f}: are the scores averaged over both "
        f"languages?",
    )
    print(
        f"Correct: as printed, {pair} multiplies the input of the general path in block {layer} "
        f"by {answer:.3f}."
    )


@hinted("len(sets.general[layer]), len(sets.specific[language][layer]); sum over sets.layers.")
def check_05_trained_scalars(answer, sets, per_neuron: int, total: int) -> None:
    """answer(sets, pair, per_neuron) -> scalars that one update of this pair trains. total: trained
    scalars over all pairs."""
    general = sum(len(sets.general[layer]) for layer in sets.layers) * per_neuron
    for pair in ("en-de", "ar-en", "en-zh"):
        expected = sum(len(neurons) for neurons in sets.trainable(pair).values()) * per_neuron
        given = answer(sets, pair, per_neuron)
        if given == expected:
            continue
        expect(
            given != general,
            f"{pair}: these are the general neurons alone; add those of the source and of the "
            f"target language",
        )
        expect(
            given != total,
            f"{pair}: these are the neurons of every language; only the two of the pair train",
        )
        message = f"{pair}: expected {expected:,}, you gave {given}."
        raise AssertionError(f"{message} Did you sum over all layers?")
    print("Correct: general, source and target neurons, over all selected layers.")
>>>>>>> a2a3f05 (Lesson 06: five exercises where their ideas are, the dip in its curves, short cells; still to be executed)


@hinted(
    "walk through the row in steps of m, sort each group's positions by score, and take the first "
    "n."
)
def check_08_removed(answer) -> None:
    """answer(scores, n, m) -> the positions that an n:m pattern removes from one row: in each m
    consecutive scores the n lowest, sorted."""
    two_groups = [9.0, 8.0, 7.0, 6.0, 1.0, 2.0, 3.0, 4.0]
    each = "two of each four, though the second group holds the four lowest"
    cases = [
        (([4.0, 1.0, 3.0, 2.0], 2, 4), [1, 3], "one group: the two lowest of four"),
        ((two_groups, 2, 4), [2, 3, 4, 5], each),
        (([1.0, 1.0, 1.0, 1.0], 2, 4), [0, 1], "of equal scores the lower position goes"),
        (([5.0, 1.0, 2.0, 7.0], 1, 2), [1, 2], "1:2: one of each two"),
    ]
    for (scores, n, m), expected, why in cases:
        given = [int(position) for position in answer(scores, n, m)]
        message = f"scores {scores}, {n}:{m}: expected {expected}, you gave {given}; {why}"
        expect(given == expected, message)
    print("Correct: every group of m loses exactly n, so that hardware can skip them.")


@hinted("all weights once; for each trained one a gradient and two running means.")
def check_09_training_bytes(answer, plan) -> None:
    """answer(parameters, trained, item) -> bytes of weights, gradients and AdamW's states. plan: of
    full tuning (plan.Plan)."""
    nothing, some = answer(10, 0, 2), answer(10, 4, 2)
    expect(nothing == 20, f"nothing trained: the weights alone, 20 bytes; you gave {nothing}")
    expect(some != 28, "the optimiser is missing: AdamW keeps two numbers per trained parameter")
    expect(
        some == 44,
        f"10 weights, 4 gradients and 2 x 4 running means of 2 bytes are 44; you gave {some}",
    )
    kinds = ("frozen weights", "trained weights", "gradients", "optimiser states")
    planned = sum(plan.tuning[kind] for kind in kinds)
    given = answer(plan.parameters, plan.trained, 2)
    expect(
        abs(given - planned) < 1e-3 * planned,
        f"the planner says {planned / 1e9:.2f} GB, you gave {given / 1e9:.2f}",
    )
    print(f"Correct: {given / 1e9:.1f} GB before the first activation.")
