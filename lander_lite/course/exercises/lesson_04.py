"""Lesson 04: a block as a sum of parts, the router as printed, routed paths, the learned gate, and
why the loss is a poor judge."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from . import choose, compare, exercise


# ---------------------------------------------------------------- 04.1
def sum_of_parts(h: Tensor, weight: Tensor, bias: Tensor, groups: Sequence[Tensor]) -> Tensor:
    """A block's output [token, d_model] as the sum over groups of neurons. h: activations [token,
    neuron]; weight [d_model, neuron] and bias [d_model]: of the down-projection."""
    return sum(h[:, group] @ weight[:, group].T for group in groups) + bias


@exercise("04.1", level=2, minutes=8, own=sum_of_parts)
def check_04_1_parts(answer) -> str:
    """answer(h, weight, bias, groups) -> the output, as `sum_of_parts` gives it."""
    made = torch.randn(3, 6, 6, generator=torch.Generator().manual_seed(0))
    h, weight, bias = made[0, :4], made[1], made[2, 0]
    some = [torch.tensor([0, 4]), torch.tensor([1, 2])]  # neurons 3 and 5 are in no group
    cases = [
        ((h, weight, bias, [*some, torch.tensor([3, 5])]), "the parts do not add up to the block"),
        ((h, weight, bias, some), "neurons that are in no group must not count"),
    ]

    def added(h, weight, bias, groups, times=1):
        return sum(h[:, group] @ weight[:, group].T for group in groups) + times * bias

    mistakes = {
        "the output bias is counted once for each group: it belongs to no neuron, add it once": (
            lambda h, w, b, groups: added(h, w, b, groups, len(groups))
        ),
        "the output bias is missing": lambda *x: added(*x, times=0),
        "a neuron writes through its column of `weight`, not through its row": (
            lambda h, w, b, groups: sum(h[:, group] @ w[group] for group in groups) + b
        ),
        "this is one group alone: add up all groups": lambda h, w, b, g: added(h, w, b, g[-1:]),
        "neurons that are in no group must not count: use the groups": (
            lambda h, w, b, groups: h @ w.T + b
        ),
        "an average of the groups: a block is their sum": (
            lambda h, w, b, groups: added(h, w, b, groups, 0) / len(groups) + b
        ),
    }
    compare(answer, sum_of_parts, cases, mistakes)
    return "the groups' columns, added up, and the output bias once."


# ---------------------------------------------------------------- 04.2
def printed_share(phi: Tensor, general: Tensor, specific: Tensor) -> float:
    """Eq. 6 as printed: the specific neurons' share of the awareness phi [neuron]."""
    return (phi[specific].sum() / (phi[specific].sum() + phi[general].sum())).item()


@exercise("04.2", level=2, minutes=8, own=printed_share)
def check_04_2_car(answer) -> str:
    """answer(phi, general, specific) -> CAR, as `printed_share` gives it."""
    phi = torch.tensor([0.5, 1.0, 3.0, 0.2, 7.0, 0.4, 2.0, 0.1])
    general, specific = torch.tensor([0, 1, 3, 5, 7]), torch.tensor([2, 6])
    case = (phi, general, specific), "this is not eq. 6 as printed"

    def share(top: float, other: float):
        return top / (top + other)

    mistakes = {
        "this is the un-swapped share: as printed, the specific neurons' sum stands on top": (
            lambda phi, g, s: share(phi[g].sum(), phi[s].sum())
        ),
        "this is the ratio of the two sums: below the line stands the sum of both": (
            lambda phi, g, s: phi[s].sum() / phi[g].sum()
        ),
        "these are means: eq. 6 adds up the scores, so that a larger set counts more": (
            lambda phi, g, s: share(phi[s].mean(), phi[g].mean())
        ),
        "these are numbers of neurons: add up their scores": (
            lambda phi, g, s: share(len(s), len(g))
        ),
        "all neurons of the block stand below the line: those of other languages take no part": (
            lambda phi, g, s: phi[s].sum() / phi.sum()
        ),
    }
    compare(answer, printed_share, [case], mistakes)
    return "the specific neurons' share, and the neurons of other languages take no part."


# ---------------------------------------------------------------- 04.3
def routed_sum(car: float, x: Tensor, general: Callable, specific: Callable) -> Tensor:
    """Eq. 7–9: the weights stand on the inputs of the two paths, functions of x."""
    return general(car * x) + specific((1 - car) * x)


@exercise("04.3", level=2, minutes=8, own=routed_sum)
def check_04_3_routed(answer) -> str:
    """answer(car, x, general, specific) -> H without the output bias, as `routed_sum` gives it."""
    x, case = torch.linspace(-2, 3, 7), "this is not eq. 7 to 9"
    cases = [((car, x, F.gelu, torch.tanh), case) for car in (0.2, 0.7)]

    def outside(car, x, general, specific):
        return car * general(x) + (1 - car) * specific(x)

    mistakes = {
        "the weights stand on the outputs: eq. 7 and 8 put them on x, inside the paths": outside,
        "the paths are swapped: CAR is for the general one": (
            lambda car, x, general, specific: routed_sum(1 - car, x, general, specific)
        ),
        "both paths have the same weight: the specific one gets 1 - CAR": (
            lambda car, x, general, specific: general(car * x) + specific(car * x)
        ),
        "the specific path has no weight: it gets 1 - CAR": (
            lambda car, x, general, specific: general(car * x) + specific(x)
        ),
        "the weights are not used": lambda car, x, g, s: g(x) + s(x),
        "this is the general path alone: H is the sum of both": (
            lambda car, x, general, specific: general(car * x)
        ),
    }
    compare(answer, routed_sum, cases, mistakes)
    return "each path reads its share of x, and H is their sum."


# ---------------------------------------------------------------- 04.4
@exercise("04.4", level=2, minutes=5, own="b")
def check_04_4_loss(answer) -> str:
    """answer: "a", "b", "c" or "d"."""
    others = {
        "a": "then its BLEU would be as high as theirs: look at BLEU in the same table",
        "c": "nothing has been trained yet: there is no chance of a training seed in these numbers",
        "d": "KL is measured against the base model and not against the reference: it can't say "
        "which of the two is right, and it is not the other way round",
    }
    choose(answer, "b", others)
    return (
        "a weaker block makes a confidently wrong model less confident, and that lowers the loss."
    )


# ---------------------------------------------------------------- 04.5
def learned_share(x: Tensor, w: Tensor, b: float, r: float) -> Tensor:
    """r'(x) [token]: the sigmoid of logit r + w·x + b. x: [token, d_model], w: [d_model]."""
    return torch.sigmoid(torch.logit(torch.tensor(r)) + x @ w + b)


@exercise("04.5", level=3, minutes=10, own=learned_share)
def check_04_5_gate(answer) -> str:
    """answer(x, w, b, r) -> r'(x), as `learned_share` gives it."""
    x, w = torch.randn(2, 5, 5, generator=torch.Generator().manual_seed(0))
    cases = [
        ((x, torch.zeros(5), 0.0, 0.8), "with w = 0 and b = 0 each token must get r, the prior"),
        ((x, w[0], 0.5, 0.8), "with weights, r'(x) is not right"),
    ]
    prior = torch.logit(torch.tensor(0.8))
    mistakes = {
        "r itself stands inside the sigmoid: it must be logit r, so that the gate starts at r": (
            lambda x, w, b, r: torch.sigmoid(r + x @ w + b)
        ),
        "the prior is missing: with w = 0 and b = 0 the gate would be one half": (
            lambda x, w, b, r: torch.sigmoid(x @ w + b)
        ),
        "r is a factor: the gate could not rise above r, and does not start there": (
            lambda x, w, b, r: r * torch.sigmoid(x @ w + b)
        ),
        "added outside the sigmoid: the gate can leave 0 to 1": (
            lambda x, w, b, r: r + torch.sigmoid(x @ w + b)
        ),
        "the sigmoid is missing: this is the logit of the gate": (
            lambda x, w, b, r: prior + x @ w + b
        ),
        "the bias b is missing": lambda x, w, b, r: torch.sigmoid(prior + x @ w),
        "x and w are not used: the gate must look at the token": (
            lambda x, w, b, r: torch.full((len(x),), torch.sigmoid(prior + b))
        ),
        "one number for all tokens: w·x is a number for each token": (
            lambda x, w, b, r: torch.sigmoid(prior + (x @ w).mean() + b)
        ),
    }
    compare(answer, learned_share, cases, mistakes)
    return "untrained, every token gets the prior; trained, each token its own value."
