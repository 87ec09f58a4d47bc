"""Lesson 08: {exercise: {part of what the check says: a wrong answer}}."""

import torch


def mean_of(function):
    return lambda streams: sum(map(function, streams)) / len(streams)


def removed(scores, n, m, sign=1):
    rows = torch.tensor(scores).view(-1, m) * sign
    order = rows.argsort(dim=1, stable=True)[:, :n] + m * torch.arange(len(rows))[:, None]
    return order.flatten().sort().values.tolist()


WRONG = {
    "08.1": {
        "all prompts as one": lambda streams: torch.cat(streams).norm(dim=0),
        "the sum over prompts": lambda streams: sum(x.norm(dim=0) for x in streams),
        "root is missing": mean_of(lambda x: (x * x).sum(0)),
        "a mean over tokens": mean_of(lambda x: x.norm(dim=0) / len(x) ** 0.5),
        "absolute values were added": mean_of(lambda x: x.norm(p=1, dim=0)),
        "cancel": mean_of(lambda x: x.sum(0)),
        "taken before the norm": lambda streams: torch.cat(streams).norm(dim=0) / 3**0.5,
        "each token": lambda streams: [x.norm(dim=1) for x in streams],
        "each prompt": lambda streams: [float(x.norm()) for x in streams],
        "not the mean": mean_of(lambda x: x.amax(0)),
    },
    "08.3": {
        "absolute value is missing": lambda W, X: W * X.square().sum(0).sqrt(),
        "rows are multiplied": lambda W, X: (
            W.abs() * X.norm(dim=0).view(-1, 1) if len(W) == 3 else W.abs() * X.norm(dim=0)
        ),
        "magnitude score": lambda W, X: W.abs(),
        "over tokens, for every input": lambda W, X: W.abs() * X.norm(),
        "take the root": lambda W, X: W.abs() * (X * X).sum(0),
        "weights are squared": lambda W, X: W * W * X.norm(dim=0),
        "means of absolute": lambda W, X: W.abs() * X.abs().mean(0),
        "both signs cancel": lambda W, X: (W * X.sum(0)).abs(),
        "not the scores": lambda W, X: X @ W.T,
    },
    "08.4": {
        "the highest": lambda scores, n, m: removed(scores, n, m, sign=-1),
        "at the end": lambda scores, n, m: sorted(
            removed(scores, n, m), key=lambda i: (i // m, scores[i])
        ),
        "within a group": lambda scores, n, m: [i % m for i in removed(scores, n, m)],
        "whole row": lambda scores, n, m: sorted(
            sorted(range(len(scores)), key=lambda i: scores[i])[: n * len(scores) // m]
        ),
        "these are scores": lambda *x: [x[0][i] for i in removed(*x)],
        "1:2": lambda scores, n, m: removed(scores, 2, 4) if len(scores) % 4 == 0 else [],
        "lower position": lambda scores, n, m: (
            removed(scores, n, m) if len(set(scores)) > 1 else [2, 3]
        ),
    },
    "08.2": {"counts agree": "a", "leaves much room": "c", "by far more": "d", "one of": 0},
    "08.5": {"looks at the weights": "a", "what pruning costs": "b", "higher": "c", "one of": ""},
}
