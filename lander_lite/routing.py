"""The capability-aware router: how much the general and the specific part of a feed-forward block
count for each token (CAR, LANDeRMT §3.2, eq. 6–9)."""

from __future__ import annotations

import torch
from torch import nn

from .config import ROUTINGS

__all__ = ["CAR", "ROUTINGS", "awareness_share"]


def awareness_share(phi: torch.Tensor, general: torch.Tensor, specific: torch.Tensor) -> float:
    """r = sum_general Phi / (sum_general Phi + sum_specific Phi), kept inside (0, 1): the general
    neurons' share of the awareness phi [d_ff] (eq. 6 with its symbols put right; as printed, CAR is
    1 - r)."""
    of_general = phi[general].sum().item()
    total = of_general + phi[specific].sum().item()
    share = of_general / total if total > 0 else 0.5
    return min(max(share, 1e-4), 1 - 1e-4)


class CAR(nn.Module):
    """The router of one block. `share` is r of the current pair (`LanderLayer.set_pair` sets it).

    routing    weights of the input (general, specific)       weights of the output
    none       1, 1                                           1, 1
    literal    1-r, r     eq. 7–8 with eq. 6 as printed       1, 1
    corrected  r, 1-r     eq. 7–8 with its symbols un-swapped 1, 1
    learned    1, 1                                           r'(x)/r, (1-r'(x))/(1-r)

    with r'(x) = sigmoid(logit r + w·x + b). It starts at w = b = 0, where both weights are exactly
    1: the wrapped model is the base model until it is trained.
    """

    def __init__(self, d_model: int, routing: str, dtype=None, device=None):
        super().__init__()
        self.routing = routing
        self.share = 0.5
        if routing == "learned":
            weight = torch.zeros(1, d_model, dtype=dtype, device=device)
            self.weight = nn.Parameter(weight)
            self.bias = nn.Parameter(weight.new_zeros(1))

    def input_weights(self) -> tuple[float, float]:
        """The factors on the inputs of the general and of the specific part (eq. 7–8)."""
        r = self.share
        if self.routing == "literal":
            return 1 - r, r
        if self.routing == "corrected":
            return r, 1 - r
        return 1.0, 1.0

    def output_weights(self, hidden_states: torch.Tensor) -> tuple:
        """The factors on the parts' outputs, (batch, length, 1) each; (None, None) for 1."""
        if self.routing != "learned":
            return None, None
        prior, logit = self._logits(hidden_states)
        # both divisions are by the same function of the same number: untrained gives exactly 1
        general = torch.sigmoid(logit) / torch.sigmoid(prior)
        specific = torch.sigmoid(-logit) / torch.sigmoid(-prior)
        return general.to(hidden_states.dtype), specific.to(hidden_states.dtype)

    def gate(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """r'(x), (batch, length, 1): the general part's share of each token; r unless `learned`."""
        if self.routing == "learned":
            return torch.sigmoid(self._logits(hidden_states)[1])
        return hidden_states.new_full((*hidden_states.shape[:-1], 1), self.share)

    def _logits(self, hidden_states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(logit r, logit r'(x)), float32."""
        prior = torch.logit(torch.tensor(self.share, device=hidden_states.device))
        x = hidden_states.to(self.weight.dtype)
        return prior, prior + nn.functional.linear(x, self.weight, self.bias).float()
