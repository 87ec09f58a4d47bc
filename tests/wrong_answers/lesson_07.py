"""Lesson 07: {exercise: {part of what the check says: a wrong answer}}."""

import torch
import torch.nn.functional as F


def entropy(p):
    return torch.special.entr(p / p.sum(-1, keepdim=True)).sum(-1)


def drawn(chosen, sizes, generator, high=12):
    return {
        block: torch.randperm(high, generator=generator)[:size]
        for block, size in zip(chosen, sizes)
    }


WRONG = {
    "07.1": {
        "both mistakes": lambda before, mask: (F.gelu(before) != 0).double().mean((0, 1)),
        "padding is counted: mask": lambda before, mask: (before > 0).double().mean((0, 1)),
        "still counts its places": lambda before, mask: (
            (before.clamp_min(0) * mask[:, :, None] > 0).double().mean((0, 1))
        ),
        "counts above the line": lambda before, mask: (
            (before > 0).double().sum((0, 1)) / mask.sum()
        ),
        "GELU of a negative": lambda before, mask: (
            (F.gelu(before) * mask[:, :, None] != 0).double().sum((0, 1)) / mask.sum()
        ),
        "not >= 0": lambda before, mask: (before[mask == 1] >= 0).double().mean(0),
        "average over sentences": lambda before, mask: torch.stack(
            [(x[m == 1] > 0).double().mean(0) for x, m in zip(before, mask)]
        ).mean(0),
        "numbers of tokens": lambda before, mask: (before[mask == 1] > 0).sum(0),
        "neither of the two": lambda before, mask: before.mean((0, 1)),
    },
    "07.2": {
        "need not add up": lambda p: torch.special.entr(p).sum(-1),
        "sum over neurons": lambda p: torch.special.entr(p / p.sum(0, keepdim=True)).sum(-1),
        "each language": lambda p: torch.special.entr(p / p.sum(-1, keepdim=True)).sum(0),
        "in bits": lambda p: entropy(p) / torch.tensor(2.0).log(),
        "the sign": lambda p: -entropy(p),
        "the mean over languages": lambda p: entropy(p) / p.shape[-1],
        "softmax": lambda p: torch.special.entr(p.softmax(-1)).sum(-1),
        "0 · ln 0": lambda p: -((share := p / p.sum(-1, keepdim=True)) * share.log()).sum(-1),
        "with any before it": lambda p: entropy(p) if p.dim() == 2 else entropy(p.flatten(0, 1)),
        "this is not the entropy": lambda p: p.max(-1).values,
    },
    "07.3": {
        "filter is missing": lambda entropy, p, t, n: entropy.argsort()[:n],
        "filter first": lambda entropy, p, t, n: [
            i for i in entropy.argsort()[:n].tolist() if p[i].max() > t
        ],
        "places in the filtered list": lambda entropy, p, t, n: entropy[
            p.max(1).values > t
        ].argsort()[:n],
        "the highest entropy": lambda entropy, p, t, n: [
            i for i in (-entropy).argsort().tolist() if p[i].max() > t
        ][:n],
        "not in all": lambda entropy, p, t, n: [
            i for i in entropy.argsort().tolist() if p[i].min() > t
        ][:n],
        "comes first": lambda entropy, p, t, n: sorted(
            [i for i in entropy.argsort().tolist() if p[i].max() > t][:n]
        ),
        "use t": lambda entropy, p, t, n: [
            i for i in entropy.argsort().tolist() if p[i].max() > 0.5
        ][:n],
    },
    "07.4": {"two halves": "a", "strong diagonal": "b", "only one factor": "d", "one of": "yes"},
    "07.5": {
        "in each block": lambda chosen, d_ff, generator: drawn(chosen, (1, 3, 3), generator),
        "as many neurons": lambda chosen, d_ff, generator: drawn(chosen, (4, 4, 4), generator),
        "twice": lambda chosen, d_ff, generator: {
            block: torch.randint(d_ff, (len(found),), generator=generator)
            for block, found in chosen.items()
        },
        "goes on": lambda chosen, d_ff, generator: drawn(
            chosen, (0, 5, 2), torch.Generator().manual_seed(0)
        ),
        "the blocks": lambda chosen, d_ff, generator: {
            block: found for block, found in chosen.items() if len(found)
        },
        "numbered": lambda chosen, d_ff, generator: drawn(chosen, (0, 5, 2), generator, 30),
        "from all of the block": lambda chosen, d_ff, generator: drawn(
            chosen, (0, 5, 2), generator, 6
        ),
        "return": lambda chosen, d_ff, generator: None,
        "give a dict": lambda chosen, d_ff, generator: [0, 1],
    },
}
