"""A wrapped feed-forward block: a sum of smaller ones; some are trained (LANDeRMT §3.2–3.3).

Every neuron i adds  down[:, i] · act(up[i]·x + b[i])  to the block's output, so any partition of
the neurons splits the block exactly:

    FFN(x) = FFN_rest(x) + FFN_general(x) + sum_l FFN_l(x) + output bias

Tuned neurons live in parameters of their own; the base module is never changed before merging.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
import torch.nn.functional as F
from peft.tuners.tuners_utils import BaseTunerLayer, check_adapters_to_merge
from torch import nn

from ..blocks import FeedForward
from ..config import languages_of_pair
from ..routing import CAR, awareness_share
from .config import LanderTuningConfig

HALF = (torch.bfloat16, torch.float16)
QUANTISED = ("Params4bit", "Int8Params")  # bitsandbytes' weights


@dataclass
class Partition:
    """How one adapter splits the neurons of one block.

    Attributes:
        general, specific, phi: of `NeuronSets`, for this block: indices, {language: indices} and
            {language: scores [d_ff]} (all 1 where the sets have no scores).
        groups: {"general", "de", "de+zh", …: indices}; each neuron of a set is in one group, that
            of the languages it belongs to. rest: the indices of no set.
        drop: whether neurons outside general ∪ specific(pair) are left out.
        languages: of the current pair; () before `set_pair`.
    """

    general: torch.Tensor
    specific: dict[str, torch.Tensor]
    phi: dict[str, torch.Tensor]
    drop: bool
    groups: dict[str, torch.Tensor] = field(init=False)
    rest: torch.Tensor = field(init=False)
    languages: tuple[str, ...] = ()

    def __post_init__(self):
        d_ff = len(next(iter(self.phi.values())))
        owners: list[list[str]] = [[] for _ in range(d_ff)]
        for name, indices in {"general": self.general, **self.specific}.items():
            for neuron in indices.tolist():
                owners[neuron].append(name)
        names = ["+".join(languages) for languages in owners]
        groups = {
            name: [] for name in sorted(set(names), key=lambda name: (name != "general", name))
        }
        for neuron, name in enumerate(names):
            groups[name].append(neuron)
        self.rest = torch.tensor(groups.pop("", []), dtype=torch.long)
        self.groups = {name: torch.tensor(indices) for name, indices in groups.items()}

    def active(self, group: str, languages: Collection[str] | None = None) -> bool:
        """Whether a group is trained for the current pair, or for these languages."""
        languages = self.languages if languages is None else languages
        return group == "general" or not set(group.split("+")).isdisjoint(languages)

    def computed(self) -> list[str]:
        """The groups that take part in the forward pass."""
        return [group for group in self.groups if not self.drop or self.active(group)]

    def share(self) -> float:
        """The router's r for the current pair: Phi is the mean over its languages."""
        phi = torch.stack([self.phi[language] for language in self.languages]).mean(dim=0)
        specific = torch.cat([self.specific[language] for language in self.languages]).unique()
        return awareness_share(phi, self.general, specific)


class LanderLayer(nn.Module, BaseTunerLayer):
    """Stands in for a block's feed-forward module, which is its `base_layer`.

    Attributes:
        view: of the feed-forward network. block: the block's index.
        lander_slices: {adapter: {"<group>:<up|up_bias|gate|gate_bias|down>": Parameter}}, rows of
            up and gate, columns of down. lander_router: {adapter: CAR}; partitions likewise.
    """

    adapter_layer_names = ("lander_slices", "lander_router")
    other_param_names = ("partitions",)

    def __init__(self, view: FeedForward, block: int):
        super().__init__()
        if view.act is None:
            kind = type(view.module).__name__
            raise ValueError(f"{view.name}: found no activation function among {kind}'s attributes")
        self.base_layer, self.view, self.block = view.module, view, block
        self.lander_slices, self.lander_router = nn.ModuleDict(), nn.ModuleDict()
        self.partitions: dict[str, Partition] = {}
        self.merged_adapters: list[str] = []
        self._before_merge: dict[str, dict[str, torch.Tensor]] = {}
        self._joined: dict[tuple, tuple] = {}  # slices put together, while nothing is trained
        self._parts = [name for name, layer in view.inner.items()]
        self._parts += [
            f"{name}_bias" for name, layer in view.inner.items() if layer.bias is not None
        ]
        self._parts += ["down"]

    def add_adapter(self, adapter_name: str, config: LanderTuningConfig) -> None:
        """Copy the neurons of the config's sets into parameters of their own."""
        sets, block, slices = config.neuron_sets, self.block, nn.ParameterDict()
        specific = {language: indices[block] for language, indices in sets.specific.items()}
        phi = dict.fromkeys(sets.languages, torch.ones(sets.d_ff))
        phi |= {x: scores[block].float().cpu() for x, scores in (sets.awareness or {}).items()}
        partition = Partition(sets.general[block], specific, phi, config.drops)
        for part, weight in self._weights().items():
            default = torch.float32 if weight.dtype in HALF else weight.dtype
            dtype = getattr(torch, config.dtype) if config.dtype else default
            for group, index in partition.groups.items():
                rows = weight[index.to(weight.device)].to(dtype)
                slices[f"{group}:{part}"] = nn.Parameter(
                    rows.T.contiguous() if part == "down" else rows
                )
        router = CAR(self.view.d_model, config.routing, dtype, weight.device)
        self.partitions[adapter_name] = partition
        self.lander_slices[adapter_name] = slices
        self.lander_router[adapter_name] = router

    def _weights(self) -> dict[str, torch.Tensor]:
        """{part: the base's weights with the neurons as rows}; quantised ones are turned back."""
        weights = {}
        for part, layer in self.view.inner.items():
            weights[part] = self._dense(layer)
            if layer.bias is not None:
                weights[f"{part}_bias"] = layer.bias.detach()
        return weights | {"down": self._dense(self.view.down).T}

    def _dense(self, layer) -> torch.Tensor:
        """A layer's weight [out, in] in floating point."""
        if type(layer.weight).__name__ in QUANTISED:
            from transformers.integrations.bitsandbytes import dequantize_bnb_weight

            return dequantize_bnb_weight(layer.weight, getattr(layer, "state", None)).detach()
        if layer.weight.dim() != 2 or not layer.weight.is_floating_point():
            raise ValueError(
                f"{self.view.name}: the weights are quantised to {layer.weight.dtype}; load the "
                "model in float32 or bfloat16, or in bitsandbytes' 4 or 8 bits"
            )
        return layer.weight.detach()

    def _quantised(self) -> bool:
        layers = (*self.view.inner.values(), self.view.down)
        return any(type(layer.weight).__name__ in QUANTISED for layer in layers)

    def _turn_back(self) -> None:
        """nn.Linear layers in the block's dtype in the place of 4- and 8-bit ones."""
        of_block = self.view.parent.named_parameters()
        frozen = (p for key, p in of_block if "lander_" not in key and p.is_floating_point())
        dtype = next(frozen).dtype
        for part in (*self.view.inner, "down"):
            layer = getattr(self.view, part)
            weight, bias = self._dense(layer), layer.bias is not None
            plain = nn.Linear(*reversed(weight.shape), bias, device=weight.device, dtype=dtype)
            plain.weight.copy_(weight)
            if bias:
                plain.bias.copy_(layer.bias)
            self.view.replace_part(part, plain.requires_grad_(False).train(layer.training))

    # ---------------------------------------------------------------- in the model and out of it
    def put_in(self) -> None:
        """Take the place of the base module in its block.

        Raises: ValueError where the block drops out between layers that are its own children, for
            this layer could not.
        """
        view = self.view
        if not view.inline:
            setattr(view.parent, view.attribute, self)
            return
        if getattr(view.parent, "activation_dropout", 0):
            raise ValueError(
                f"{view.name}: its block has a dropout inside the feed-forward network; "
                "load it with activation_dropout=0."
            )
        for name, module in zip(view.inline, (nn.Identity(), nn.Identity(), self)):
            setattr(view.parent, name, module)

    def take_out(self) -> None:
        """Put the base module back."""
        view, base = self.view, self.base_layer
        if not view.inline:
            setattr(view.parent, view.attribute, base)
            return
        for name, module in zip(view.inline, (base.up, base.act, base.down)):
            if not isinstance(module, nn.Module):  # an activation function, where nn.Identity stood
                delattr(view.parent, name)
            setattr(view.parent, name, module)

    # ---------------------------------------------------------------- which pair
    def set_pair(self, pair: str) -> None:
        """Train and route for this pair, in every adapter that knows its languages."""
        for name, partition in self.partitions.items():
            languages = languages_of_pair(pair)
            if set(languages) <= partition.specific.keys():
                partition.languages = languages
                self.lander_router[name].share = partition.share()

    def idle(self, languages: Collection[str]) -> int:
        """Scalars of the active adapter's slices that only other languages than these train."""
        slices = ((name.rpartition(":")[0], part) for name, part in self.slices.items())
        trains = self.partition.active
        return sum(part.numel() for group, part in slices if not trains(group, languages))

    @property
    def adapter(self) -> str | None:
        """The active adapter, if it has a part in this block. ValueError for several at once."""
        if len(self.active_adapters) > 1:
            raise ValueError(f"one adapter at a time: {', '.join(self.active_adapters)} are active")
        return next((name for name in self.active_adapters if name in self.partitions), None)

    @property
    def partition(self) -> Partition:
        return self.partitions[self.adapter]

    @property
    def router(self) -> CAR:
        return self.lander_router[self.adapter]

    @property
    def slices(self) -> nn.ParameterDict:
        return self.lander_slices[self.adapter]

    # ---------------------------------------------------------------- forward
    def forward(self, hidden_states: torch.Tensor, *args) -> torch.Tensor:
        """(batch, length, d_model) in and out; args as the base module's (BLOOM's residual)."""
        if self.disable_adapters or self.merged or self.adapter is None:
            return self.base_layer(hidden_states, *args)
        partition, router, x = self.partition, self.router, hidden_states
        if not partition.groups and not partition.drop:  # no neuron of this block is in a set
            return self.base_layer(x, *args)
        if not partition.languages:
            raise RuntimeError(
                'call set_pair("en-de") first: what is trained and routed depends on the pair'
            )
        if router.routing == "none" and not torch.is_grad_enabled():
            output = self._part(x, partition.computed())
        else:
            output = self._routed(x)
        return self._after_down(output + self._rest(x), *args)

    def _after_down(self, output: torch.Tensor, residual: torch.Tensor | None = None):
        """What the module does after `down`: GPT-2 drops out; BLOOM adds the residual stream."""
        module = self.base_layer
        for child in module.children():
            if isinstance(child, nn.Dropout):
                output = child(output)
        if residual is None:
            return output
        dropout = getattr(module, "hidden_dropout", 0.0)
        return residual + F.dropout(output, dropout, module.training)

    def _routed(self, x: torch.Tensor) -> torch.Tensor:
        """General, the pair's and the other languages' neurons, with the router's weights."""
        computed, active = self.partition.computed(), self.partition.active
        general_in, specific_in = self.router.input_weights()
        general_out, specific_out = self.router.output_weights(x)
        general = [g for g in computed if g == "general"]
        specific = [g for g in computed if g != "general" and active(g)]
        output = self._part(x if general_in == 1 else general_in * x, general, general_out)
        scaled = x if specific_in == 1 else specific_in * x
        output = output + self._part(scaled, specific, specific_out)
        return output + self._part(x, [g for g in computed if not active(g)], frozen=True)

    def _part(self, x, groups: Sequence[str], weight=None, frozen: bool = False) -> torch.Tensor:
        """What some groups of neurons add to the output, times `weight`; 0 for no groups."""
        if not groups:
            return x.new_zeros(())
        w = self._matrices(tuple(groups), x.dtype, frozen)
        h = F.linear(x, w["up"], w.get("up_bias"))
        if "gate" in w:
            h = self.view.act(F.linear(x, w["gate"], w.get("gate_bias"))) * h
        else:
            h = self.view.act(h)
        y = F.linear(h, w["down"])
        return y if weight is None else weight * y

    def _matrices(self, groups: tuple[str, ...], dtype: torch.dtype, frozen: bool) -> dict:
        """{part: the groups' slices joined}. They are kept while no gradients are asked, as long as
        the slices stay what they were: decoding would join them at every token."""
        slices = self.slices
        found = {part: [slices[f"{group}:{part}"] for group in groups] for part in self._parts}
        counted = not any(p.is_inference() for p in slices.values())  # else no version tells
        keep = counted and not torch.is_grad_enabled() and not dist.is_initialized()
        if keep:
            state = [(p.data_ptr(), p._version) for tensors in found.values() for p in tensors]
            kept_state, kept = self._joined.get((self.adapter, groups, dtype), (None, None))
            if kept_state == state:
                return kept
        else:
            self._joined.clear()
        joined = {}
        for part, tensors in found.items():
            tensors = [(p.detach() if frozen else p).to(dtype) for p in tensors]
            dim = 1 if part == "down" else 0
            joined[part] = tensors[0] if len(tensors) == 1 else torch.cat(tensors, dim)
        if keep:
            self._joined[self.adapter, groups, dtype] = state, joined
        return joined

    def _rest(self, x: torch.Tensor) -> torch.Tensor:
        """The base's own neurons of no set, and the output bias, once."""
        view, rest = self.view, self.partition.rest
        if self.partition.drop or not len(rest):
            return x.new_zeros(()) if view.down.bias is None else view.down.bias
        if self._quantised() or 2 * len(rest) >= view.d_ff:
            # few are tuned: the base's whole pass, in which they are silent
            tuned = torch.cat([*self.partition.groups.values()]).to(x.device)
            return view.down(view.neurons(x).index_fill(-1, tuned, 0))
        rest = rest.to(x.device)
        h = {
            name: F.linear(x, layer.weight[rest], None if layer.bias is None else layer.bias[rest])
            for name, layer in view.inner.items()
        }
        h = view.act(h["gate"]) * h["up"] if "gate" in h else view.act(h["up"])
        return F.linear(h, view.down.weight[:, rest], view.down.bias)

    # ---------------------------------------------------------------- into the base and out of it
    @torch.no_grad()
    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Write the tuned neurons into the base module (LanderTuner says when that is right)."""
        for name in check_adapters_to_merge(self, adapter_names):
            slices = self.lander_slices[name] if name in self.lander_slices else {}
            if safe_merge and not all(p.isfinite().all() for p in slices.values()):
                raise ValueError(f"adapter {name!r} holds numbers that are not finite")
            if self._quantised():
                self._turn_back()
            base, self._before_merge[name] = self._weights(), {}
            for key, p in slices.items():
                group, _, part = key.rpartition(":")
                index, rows = self.partitions[name].groups[group], p.T if part == "down" else p
                self._before_merge[name][part, group] = base[part][index].clone()
                base[part][index] = rows.to(base[part].dtype)
            self.merged_adapters.append(name)

    @torch.no_grad()
    def unmerge(self) -> None:
        """Put the base's neurons back, bit by bit."""
        while self.merged_adapters:
            name, base = self.merged_adapters.pop(), self._weights()
            for (part, group), rows in self._before_merge.pop(name).items():
                base[part][self.partitions[name].groups[group]] = rows
