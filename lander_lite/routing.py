"""A feed-forward block as a sum of smaller ones, and the capability-aware router that weighs them
(LANDeRMT §3.2, eq. 6–9).

Every neuron i of a block adds  down[:, i] · act(up[i]·x + b[i])  to the output, so any partition of
the neurons splits the block exactly:

    FFN(x) = FFN_rest(x) + FFN_general(x) + sum_l FFN_l(x) + output bias
"""

from __future__ import annotations

import torch
from torch import nn

ROUTINGS = ("none", "literal", "corrected", "learned")


def awareness_share(phi: torch.Tensor, general: torch.Tensor, specific: torch.Tensor) -> float:
    """r = sum_general Phi / (sum_general Phi + sum_specific Phi), the general neurons' share of the
    awareness (eq. 6 with its symbols put right; as printed, CAR is 1 - r). phi: (d_ff,), the mean
    over the two languages of the pair. Kept inside (0, 1)."""
    g, s = phi[general].sum().item(), phi[specific].sum().item()
    return min(max(g / (g + s) if g + s > 0 else 0.5, 1e-4), 1 - 1e-4)


class CAR(nn.Module):
    """The capability-aware router of one block: how much the general and the specific part count
    for each token.

    routing  weight of the input (general, specific)          … of the output
    none     1, 1                                             1, 1
    literal  1-r, r      eq. 7–8 with eq. 6 as printed        1, 1
    corrected r, 1-r     eq. 7–8 with the symbols un-swapped  1, 1
    learned  1, 1                                             r'(x)/r, (1-r'(x))/(1-r)

    with r'(x) = sigmoid(logit r + w·x + b).

    `learned` starts at w = b = 0, where both weights are exactly 1: the wrapped model is the base
    model until it is trained."""

    def __init__(self, d_model: int, routing: str, dtype=None, device=None):
        super().__init__()
        self.routing = routing
        self.share = 0.5  # r of the current pair, set by PartitionedFFN.set_pair
        if routing == "learned":
            self.linear = nn.Linear(d_model, 1, dtype=dtype, device=device)
            nn.init.zeros_(self.linear.weight)
            nn.init.zeros_(self.linear.bias)

    def input_weights(self) -> tuple[float, float]:
        r = self.share
        return {"literal": (1 - r, r), "corrected": (r, 1 - r)}.get(self.routing, (1.0, 1.0))

    def gate(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """r'(x), (batch, length, 1): the general part's share for each token; the constant r unless
        `learned`."""
        prior = torch.logit(torch.tensor(self.share, device=hidden_states.device))
        return (
            torch.sigmoid(prior + self.linear(hidden_states.to(self.linear.weight.dtype)).float())
            if self.routing == "learned"
            else torch.full((*hidden_states.shape[:-1], 1), self.share, device=hidden_states.device)
        )

    def output_weights(self, hidden_states: torch.Tensor) -> tuple:
        if self.routing != "learned":
            return None, None
        prior = torch.logit(torch.tensor(self.share, device=hidden_states.device))
        logit = prior + self.linear(hidden_states.to(self.linear.weight.dtype)).float()
        # both divisions are by the same function of the same number, so that an untrained gate
        # gives exactly 1
        return (
            (torch.sigmoid(logit) / torch.sigmoid(prior)).to(hidden_states.dtype),
            (torch.sigmoid(-logit) / torch.sigmoid(-prior)).to(hidden_states.dtype),
        )
