"""What does the router decide? The gate of every token, and the control that holds it constant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy

import torch
from torch import Tensor

from ..hooks import Site, n_tokens, observe, read
from ..prompts import encode
from ..tuner.model import LanderModel

BATCH_SIZE = 64


def gate_values(
    lander: LanderModel, tokenizer, examples: Sequence[tuple[str, str]], pair: str
) -> tuple[Tensor, Tensor, Tensor]:
    """r'(x), the general part's share (CAR in routing.py), at every token of teacher-forced
    (source, target) examples of a pair. Without routing="learned" it is the layer's constant.

    Returns: gates float32 [layer, token], token ids [token], and whether a token is target [token];
        sentences one after the other, padding left out.
    """
    lander.set_pair(pair)
    encoded = [encode(tokenizer, source, target, pair) for source, target in examples]
    layers = lander.partitioned
    inputs = {block: Site(layer, True) for block, layer in layers.items()}

    def gate(block: int, x: Tensor) -> Tensor:
        return layers[block].router.gate(x).squeeze(-1).cpu()

    def gates(batch) -> Tensor:  # (sentence, layer, token)
        found, _ = observe(lander, inputs, batch, gate)
        return torch.stack(list(found.values()), dim=1)

    values = [torch.empty(0)] * len(encoded)
    for rows, found in read(lander, tokenizer, encoded, gates, batch_size=BATCH_SIZE):
        for row, by_layer in zip(rows, found):
            values[row] = by_layer[:, : n_tokens(encoded[row])]
    ids, labels = [], []
    for example in encoded:
        ids += example["input_ids"]
        labels += example["labels"]
    return torch.cat(values, dim=1), torch.tensor(ids), torch.tensor(labels) != -100


@contextmanager
def constant_gate(lander: LanderModel, values: Sequence[float]) -> Iterator[LanderModel]:
    """Inside, layer i's gate is values[i] (each in 0 … 1, excluded) for every token of the pair
    that is set: the control for a gate that looks at the token.

    Raises: ValueError without routing="learned" or for another number of values.
    """
    routing = lander.active_peft_config.routing
    if routing != "learned":
        raise ValueError(f'routing="{routing}" has no gate to hold: use routing="learned".')
    routers = [layer.router for layer in lander.partitioned.values()]
    if len(values) != len(routers):
        raise ValueError(f"{len(values)} values for {len(routers)} layers.")
    kept = [deepcopy(router.state_dict()) for router in routers]
    try:
        with torch.no_grad():
            for router, value in zip(routers, values):
                held, prior = torch.logit(torch.tensor([value, router.share]))
                router.weight.zero_()
                router.bias.fill_(held - prior)
        yield lander
    finally:
        for router, state in zip(routers, kept):
            router.load_state_dict(state)
