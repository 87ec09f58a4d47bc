"""The wrapped feed-forward block: rest + general + specific(pair) + other languages, the tuned
neurons in parameters of their own."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from ..blocks import FeedForward
from ..config import languages_of_pair
from ..routing import CAR, awareness_share


class NeuronSlice(nn.Module):
    """The weights of n neurons as their own parameters: rows of up (and gate) with biases, columns
    of down."""

    def __init__(self, ffn: FeedForward, span: slice | torch.Tensor, dtype=None):
        super().__init__()
        for name, linear in (("up", ffn.up), ("gate", ffn.gate)):
            if linear is not None:
                self.register_parameter(name, own(linear.weight[span], dtype))
                self.register_parameter(
                    f"{name}_bias", None if linear.bias is None else own(linear.bias[span], dtype)
                )
        self.down = own(ffn.down.weight[:, span], dtype)


def group_name(members: list[str]) -> str:
    """ "general", "de" or "de+zh". A lone "to" (Tongan) becomes "to+": nn.ModuleDict takes no name
    that is one of its own methods."""
    name = "+".join(members)
    return f"{name}+" if hasattr(nn.ModuleDict, name) else name


def own(view: torch.Tensor, dtype=None) -> nn.Parameter:
    return nn.Parameter(
        view.detach().clone(memory_format=torch.contiguous_format).to(dtype or view.dtype)
    )


class PartitionedFFN(nn.Module):
    """Stands in for a block's feed-forward module; computes it as rest + general + specific(pair) +
    other languages.

    ffn: the module's view. general: LongTensor of neuron indices; specific: {language: LongTensor},
    which may overlap (a neuron of several languages is trained with each of them). awareness:
    {language: Phi (d_ff,)} for the router's prior, or None: then every neuron counts 1.
    other_specific: "keep" leaves the neurons of the languages outside the pair in the forward pass,
    frozen; "drop" takes them and the rest out (the paper's text; default of `literal` and
    `corrected`). Shapes: hidden_states (batch, length, d_model) in and out.

    The tuned neurons live in their own parameters; the others stay where they are. Where some
    neurons belong to no set, the base module's neurons are reordered once (their order has no
    meaning), so that these stand in front and are used as a view, not as a copy.
    """

    def __init__(
        self,
        ffn: FeedForward,
        general,
        specific: dict,
        awareness=None,
        routing="none",
        other_specific=None,
        dtype=None,
    ):
        super().__init__()
        if ffn.up.weight.dim() != 2 or not ffn.up.weight.is_floating_point():
            raise ValueError(
                f"{ffn.name}: the weights are quantised to {ffn.up.weight.dtype}; load the model "
                f"in float32 or bfloat16, or "
                "let get_lander_model turn 4-bit and 8-bit layers back"
            )
        if ffn.act is None:
            raise ValueError(
                f"{ffn.name}: found no activation function among the attributes of "
                f"{type(ffn.module).__name__}"
            )
        self.ffn, self.base, self.routing = ffn, ffn.module, routing
        self.drop = (
            other_specific or ("drop" if routing in ("literal", "corrected") else "keep")
        ) == "drop"
        self.enabled, self.pair = True, None
        self.dropouts = [
            child for child in ffn.module.children() if isinstance(child, nn.Dropout)
        ]  # children of base, listed
        device = ffn.up.weight.device
        members: dict[int, list[str]] = {i: ["general"] for i in general.tolist()}
        for language, neurons in specific.items():
            for i in neurons.tolist():
                members.setdefault(i, []).append(language)
        groups: dict[str, list[int]] = {}
        for i in sorted(members):
            groups.setdefault(group_name(members[i]), []).append(i)
        in_a_set = torch.zeros(ffn.d_ff, dtype=torch.bool)
        in_a_set[sorted(members)] = True
        rest = (~in_a_set).nonzero().flatten()
        self.n_rest, self.order = len(rest), None
        self.slices = nn.ModuleDict(
            {
                name: NeuronSlice(ffn, torch.tensor(groups[name], device=device), dtype)
                for name in sorted(groups, key=lambda g: (g != "general", g))
            }
        )
        self.groups = {
            name: torch.tensor(groups[name]) for name in self.slices
        }  # original neuron indices
        if self.n_rest:
            self.order = torch.cat([rest, *self.groups.values()])
            self._reorder(self.order.to(device))
        phi = awareness or {language: torch.ones(ffn.d_ff) for language in specific}
        self._phi, self._general, self._specific = (
            {k: v.float().cpu() for k, v in phi.items()},
            general.cpu(),
            specific,
        )
        self.router = CAR(ffn.d_model, routing, dtype or ffn.up.weight.dtype, device)

    # ---- which pair
    def set_pair(self, pair: str) -> None:
        """Train and route for this pair: general ∪ specific(source) ∪ specific(target) get
        gradients, nothing else does. A bare code is a pair of that language alone."""
        self.pair = languages = languages_of_pair(pair)
        phi = [self._phi[language] for language in languages if language in self._phi]
        phi = sum(phi) / len(phi) if phi else torch.ones(self.ffn.d_ff)
        own_specific = [
            self._specific[language].cpu() for language in languages if language in self._specific
        ]
        own_specific = (
            torch.cat(own_specific).unique() if own_specific else torch.empty(0, dtype=torch.long)
        )
        self.router.share = awareness_share(phi, self._general, own_specific)

    def active(self, name: str) -> bool:
        """Whether a slice is trained for the current pair."""
        return name == "general" or not set(name.split("+")).isdisjoint(self.pair or ())

    # ---- forward
    def forward(
        self, hidden_states: torch.Tensor, residual: torch.Tensor | None = None
    ) -> torch.Tensor:
        args = () if residual is None else (residual,)
        if not self.enabled:
            return self.base(hidden_states, *args)
        if self.pair is None:
            raise RuntimeError(
                'call set_pair("en-de") first: the router and the trained neurons depend on the '
                "language pair"
            )
        general_in, specific_in = self.router.input_weights()
        general_out, specific_out = self.router.output_weights(hidden_states)
        roles = [
            [s for name, s in self.slices.items() if name == "general"],
            [s for name, s in self.slices.items() if name != "general" and self.active(name)],
            [] if self.drop else [s for name, s in self.slices.items() if not self.active(name)],
        ]
        output = self._small_ffn(
            general_in * hidden_states if general_in != 1 else hidden_states, roles[0], general_out
        )
        output = output + self._small_ffn(
            specific_in * hidden_states if specific_in != 1 else hidden_states,
            roles[1],
            specific_out,
        )
        output = output + self._small_ffn(hidden_states, roles[2], frozen=True)
        if self.n_rest and not self.drop:
            output = output + self._rest(hidden_states)
        if self.ffn.down.bias is not None:
            output = output + self.ffn.down.bias  # once, whatever the number of parts
        for dropout in self.dropouts:  # GPT-2 has one at its end
            output = dropout(output)
        if residual is None:
            return output
        return residual + F.dropout(
            output, getattr(self.base, "hidden_dropout", 0.0), self.training
        )

    def _small_ffn(
        self, x: torch.Tensor, slices: list[NeuronSlice], weight=None, frozen: bool = False
    ) -> torch.Tensor:
        """sum of the slices' contributions, without the output bias; 0 for no slices."""
        if not slices:
            return x.new_zeros(())

        def whole(name: str, dim: int = 0):
            parts = [getattr(s, name) for s in slices]
            if parts[0] is None:
                return None
            parts = [(p.detach() if frozen else p).to(x.dtype) for p in parts]
            return parts[0] if len(parts) == 1 else torch.cat(parts, dim)

        h = F.linear(x, whole("up"), whole("up_bias"))
        h = (
            self.ffn.act(h)
            if self.ffn.gate is None
            else self.ffn.act(F.linear(x, whole("gate"), whole("gate_bias"))) * h
        )
        y = F.linear(h, whole("down", 1))
        return y if weight is None else weight * y

    def _rest(self, x: torch.Tensor) -> torch.Tensor:
        n, up, gate, down = self.n_rest, self.ffn.up, self.ffn.gate, self.ffn.down

        def rows(linear):
            return F.linear(x, linear.weight[:n], None if linear.bias is None else linear.bias[:n])

        return F.linear(
            self.ffn.act(rows(up)) if gate is None else self.ffn.act(rows(gate)) * rows(up),
            down.weight[:, :n],
        )

    # ---- back to a plain module
    @torch.no_grad()
    def _reorder(self, order: torch.Tensor) -> None:
        for linear in (self.ffn.up, self.ffn.gate):
            if linear is not None:
                linear.weight.copy_(
                    linear.weight[order]
                )  # in place: a Projection's weight is a view
                if linear.bias is not None:
                    linear.bias.copy_(linear.bias[order])
        self.ffn.down.weight.copy_(self.ffn.down.weight[:, order])

    @torch.no_grad()
    def restore(self, merge: bool) -> nn.Module:
        """The plain base module with its neurons in their first order; merge=True writes the tuned
        slices into it."""
        if self.order is not None:
            self._reorder(torch.argsort(self.order).to(self.ffn.up.weight.device))
            self.order = None  # done: a second call must not reorder again
        if merge:
            for name, part in self.slices.items():
                index = self.groups[name].to(part.down.device)
                for key, linear in (("up", self.ffn.up), ("gate", self.ffn.gate)):
                    if linear is not None:
                        linear.weight[index] = getattr(part, key).to(linear.weight.dtype)
                        if linear.bias is not None:
                            linear.bias[index] = getattr(part, f"{key}_bias").to(linear.bias.dtype)
                self.ffn.down.weight[:, index] = part.down.to(self.ffn.down.weight.dtype)
        return self.base
