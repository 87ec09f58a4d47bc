"""Lesson 04: {exercise: {part of what the check says: a wrong answer}}."""

import torch


def parts(h, weight, bias, groups):
    return sum(h[:, group] @ weight[:, group].T + bias for group in groups)


def rows(h, weight, bias, groups):
    return sum(h[:, group] @ weight[group] for group in groups) + bias


def ratio(top, other):
    return float(top / (top + other))


WRONG = {
    "04.1": {
        "once for each group": parts,
        "the output bias is missing": lambda h, w, b, groups: sum(
            h[:, group] @ w.T[group] for group in groups
        ),
        "its column": rows,
        "one group alone": lambda h, w, b, groups: h[:, groups[-1]] @ w[:, groups[-1]].T + b,
        "in no group": lambda h, w, b, groups: torch.nn.functional.linear(h, w, b),
    },
    "04.2": {
        "un-swapped": lambda phi, g, s: ratio(phi[g].sum(), phi[s].sum()),
        "ratio of the two sums": lambda phi, g, s: float(phi[s].sum() / phi[g].sum()),
        "these are means": lambda phi, g, s: ratio(phi[s].mean(), phi[g].mean()),
        "numbers of neurons": lambda phi, g, s: ratio(len(s), len(g)),
        "all neurons of the block": lambda phi, g, s: float(phi[s].sum() / phi.sum()),
    },
    "04.3": {
        "stand on the outputs": lambda car, x, g, s: car * g(x) + (1 - car) * s(x),
        "the paths are swapped": lambda car, x, g, s: g((1 - car) * x) + s(car * x),
        "the same weight": lambda car, x, g, s: g(car * x) + s(car * x),
        "the weights are not used": lambda car, x, g, s: s(x) + g(x),
        "general path alone": lambda car, x, g, s: g(car * x),
        "does it end with `return`": lambda car, x, g, s: None,
    },
    "04.4": {
        "look at BLEU": "a",
        "there is no chance": "c",
        "KL is measured against the base model": "d",
    },
    "04.5": {
        "it must be logit r": lambda x, w, b, r: (r + x @ w + b).sigmoid(),
        "the prior is missing": lambda x, w, b, r: (x @ w + b).sigmoid(),
        "r is a factor": lambda x, w, b, r: r * (x @ w + b).sigmoid(),
        "the sigmoid is missing": lambda x, w, b, r: torch.tensor(r).logit() + x @ w + b,
        "the bias b is missing": lambda x, w, b, r: (torch.tensor(r).logit() + x @ w).sigmoid(),
        "look at the token": lambda x, w, b, r: [
            float((torch.tensor(r).logit() + b).sigmoid()) for _ in x
        ],
    },
}
