"""What does the router decide? The gate's value for every token and layer, and the control that
makes it a constant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch

from ..blocks import input_device
from ..corpus import collate, encode
from ..hooks import evaluation_mode
from ..tuner.model import LanderModel


def gate_values(
    lander: LanderModel, tokenizer, examples: Sequence[tuple[str, str]], pair: str
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """r'(x), the general part's share (CAR in routing.py), for every token of teacher-forced
    (source, target) examples of a pair.

    Returns gates float32 [layer, token], token ids [token] and whether a token is target [token];
    sentences one after the other, padding left out. Without routing="learned" the gate is the
    constant share of the layer.
    """
    lander.set_pair(pair)
    batch = collate(
        tokenizer,
        [encode(tokenizer, source, target, pair) for source, target in examples],
        device=input_device(lander),
    )
    labels, seen = batch.pop("labels"), {}
    with ExitStack() as stack, evaluation_mode(lander):
        for layer, ffn in lander.partitioned.items():
            stack.callback(
                ffn.register_forward_pre_hook(
                    lambda module, args, layer=layer: seen.__setitem__(layer, args[0])
                ).remove
            )
        lander(**batch, use_cache=False)
        gates = torch.stack(
            [
                ffn.router.gate(seen[layer]).flatten().cpu()
                for layer, ffn in lander.partitioned.items()
            ]
        )
    real = batch["attention_mask"].bool().cpu()
    return gates[:, real.flatten()], batch["input_ids"].cpu()[real], (labels != -100).cpu()[real]


@contextmanager
def constant_gate(lander: LanderModel, values: Sequence[float]) -> Iterator[LanderModel]:
    """Inside, layer i's gate is values[i] (each in 0 … 1, excluded) for every token of the pair
    that is set: the control for a gate that
    looks at the token. Raises: ValueError without routing="learned" or for another number of
    values."""
    routing = lander.active_peft_config.routing
    if routing != "learned":
        raise ValueError(f'routing="{routing}" has no gate to hold: use routing="learned".')
    routers = [ffn.router for ffn in lander.partitioned.values()]
    if len(values) != len(routers):
        raise ValueError(f"{len(values)} values for {len(routers)} layers.")
    kept = [(router.weight.detach().clone(), router.bias.detach().clone()) for router in routers]
    try:
        with torch.no_grad():
            for router, value in zip(routers, values):
                router.weight.zero_()
                router.bias.fill_(
                    torch.logit(torch.tensor(float(value)))
                    - torch.logit(torch.tensor(router.share))
                )
        yield lander
    finally:
        with torch.no_grad():
            for router, (weight, bias) in zip(routers, kept):
                router.weight.copy_(weight)
                router.bias.copy_(bias)
