"""Lesson 01: {exercise: {part of what the check says: a wrong answer}}."""

import torch


def own_tokens(stream, mask):
    return [row[m.bool()] for row, m in zip(stream, mask)]


def places(change, k):
    return sorted(sorted(range(len(change)), key=lambda i: (-change[i].item(), i))[:k])


def ties_to_the_higher(change, k):
    order = sorted(range(len(change)), key=lambda i: (change[i].item(), i))
    return sorted(i + 1 for i in order[-k:])


WRONG = {
    "01.1": {
        "padding is counted": lambda stream, mask: stream.flatten(1).mean(dim=1),
        "still counted in the length": lambda stream, mask: (
            (stream * mask[..., None]).sum(dim=(1, 2)) / (stream.shape[1] * stream.shape[2])
        ),
        "the units are summed": lambda stream, mask: torch.stack(
            [x.sum() / len(x) for x in own_tokens(stream, mask)]
        ),
        "the tokens are summed": lambda stream, mask: torch.stack(
            [x.mean(dim=1).sum() for x in own_tokens(stream, mask)]
        ),
        "the paper's mean is signed": lambda stream, mask: torch.stack(
            [x.abs().mean() for x in own_tokens(stream, mask)]
        ),
        "by the tokens of all prompts": lambda stream, mask: torch.stack(
            [x.mean(dim=1).sum() / mask.sum() for x in own_tokens(stream, mask)]
        ),
        "should have one dimension": lambda stream, mask: torch.stack(
            [x.mean(dim=(0, 1), keepdim=True)[0] for x in own_tokens(stream, mask)]
        ),
        "one number for all prompts: give": lambda stream, mask: stream[mask.bool()].mean(),
        "too early": lambda stream, mask: (
            sum(x.mean() for x in own_tokens(stream, mask)) / len(stream)
        ),
        "one number for each token": lambda stream, mask: stream.mean(dim=2) * mask,
        "one number for each unit": lambda stream, mask: torch.stack(
            [x.mean(dim=0) for x in own_tokens(stream, mask)]
        ),
        "your function raises": lambda stream, mask: stream * mask,
    },
    "01.2": {
        "the absolute value is inside the mean": lambda a: (a[:, 1:] - a[:, :-1]).abs().mean(0),
        "the signs are kept: D": lambda a: a.mean(0)[1:] - a.mean(0)[:-1],
        "and turned round": lambda a: a.mean(0)[:-1] - a.mean(0)[1:],
        "the prompts are summed": lambda a: (a.sum(0)[1:] - a.sum(0)[:-1]).abs(),
        "one row for each prompt": lambda a: (a[:, 1:] - a[:, :-1]).abs(),
        "blocks are dimension 1": lambda a: (a.mean(1)[1:] - a.mean(1)[:-1]).abs(),
        "the distance from the first block": lambda a: (a.mean(0)[1:] - a.mean(0)[:1]).abs(),
        "one number too many": lambda a: [0, *(a.mean(0)[1:] - a.mean(0)[:-1]).abs()],
        "the absolute value is on A": lambda a: (a.abs().mean(0)[1:] - a.abs().mean(0)[:-1]).abs(),
        "squared": lambda a: (a.mean(0)[1:] - a.mean(0)[:-1]) ** 2,
        "there is one number less": lambda a: (a.mean(0) - a.mean(0)[[1, 2, 3, 0]]).abs(),
        "does it end with `return`": lambda a: None,
    },
    "01.3": {
        "belongs to block 1": places,
        "places in the list, and not sorted": lambda change, k: change.topk(k).indices.tolist(),
        "these are the smallest": lambda change, k: [i + 1 for i in places(-change, k)],
        "the right blocks, but not sorted": lambda change, k: (change.topk(k).indices + 1).tolist(),
        "the highest comes first": lambda change, k: sorted(
            (i + 1 for i in places(change, k)), reverse=True
        ),
        "whatever k is": lambda change, k: [i + 1 for i in places(change, 4)],
        "the higher block wins here": ties_to_the_higher,
        "these are the changes": lambda change, k: change.topk(k).values.tolist(),
    },
    "01.4": {
        "nothing changes": lambda units, size: torch.zeros(units),
        "eq. 1 sees this change": lambda units, size: torch.full((units,), size),
        "by the size that is given": lambda units, size: torch.linspace(-size, size, units),
        "one number for each unit": lambda units, size: torch.tensor([size, -size]),
        "raises TypeError": lambda units, size: [size, -size] * size,
    },
    "01.5": {
        "may win by block 0 alone": "a",
        "the order is not upside down": "c",
        "chance may do as well as both": "d",
        "one of 'a', 'b', 'c', 'd', not 'e'": "e",
    },
}
