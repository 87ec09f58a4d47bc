"""NeuronSets: which feed-forward neurons are language-general and which belong to a language.
Selectors make them, tuners take them."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .blocks import fingerprint
from .io import write_tensors
from .languages import languages_of_pair

if TYPE_CHECKING:
    from .awareness import AwarenessScores

FORMAT = "lander_lite.NeuronSets/1"
File = str | Path
Sets = dict[int, Tensor]  # indices by layer
CONTENT = ("layers", "languages", "d_ff", "model", "method", "provenance")  # kept as JSON


@dataclass(eq=False, repr=False)
class NeuronSets:
    """Indices into the d_ff neurons of the feed-forward networks of chosen layers.

    Attributes:
        layers: block indices, sorted.
        languages: language codes; their order settles ties.
        general: {layer: LongTensor}, sorted and unique; layers left out are empty.
        specific: {language: {layer: LongTensor}}; languages may share neurons, as LAPE's and Xie's
            do, but no specific neuron is general.
        d_ff: neurons per layer.
        model: the `fingerprint` of the model that the indices belong to; {} if unknown.
        method, provenance: the selector's name and settings, anything JSON can hold.
        awareness: {language: {layer: Tensor [d_ff]}}, the raw scores Phi (eq. 3), or None.

    Raises: ValueError for duplicates, an index outside 0 … d_ff-1, a neuron both general and
        specific, unknown layers or languages.
    """

    layers: list[int]
    languages: list[str]
    general: Sets
    specific: dict[str, Sets]
    d_ff: int
    model: dict[str, Any] = field(default_factory=dict)
    method: str = "manual"
    awareness: dict[str, Sets] | None = None
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        self.layers, self.languages = sorted(map(int, self.layers)), list(self.languages)
        for what, names in (("layers", self.layers), ("languages", self.languages)):
            if len(set(names)) != len(names):
                raise ValueError(f"{what} {names}: one is named twice.")
        if not self.layers:
            raise ValueError("neuron sets need at least one layer.")
        _check_known("specific", self.specific, self.languages)
        self.general = self._checked("general", self.general)
        self.specific = {x: self._checked(x, self.specific.get(x, {})) for x in self.languages}
        for language, sets in self.specific.items():
            for layer, indices in sets.items():
                both = indices[torch.isin(indices, self.general[layer])].tolist()
                if both:
                    where = f"in the general set and in that of '{language}'"
                    raise ValueError(f"layer {layer}: neuron {both[0]} is {where}.")
                if self.awareness is not None:
                    self._check_awareness(language, layer)

    def _checked(self, name: str, sets: Mapping[int, Any]) -> Sets:
        """The sets of one name as sorted LongTensors, one per layer."""
        _check_known(f"the sets of '{name}'", sets, self.layers)
        return {
            layer: _sorted(sets.get(layer, []), self.d_ff, f"layer {layer}, '{name}'")
            for layer in self.layers
        }

    def _check_awareness(self, language: str, layer: int) -> None:
        scores = self.awareness.get(language, {}).get(layer)
        if scores is None or scores.shape != (self.d_ff,) or not scores.isfinite().all():
            needed = f"needs finite numbers of shape ({self.d_ff},)"
            raise ValueError(f"awareness of '{language}', layer {layer}: {needed}.")

    def pair(self, pair: str) -> Sets:
        """{layer: S_source ∪ S_target} of "en-de" (LANDeRMT §3.2), or the set of a bare code;
        ValueError if a language has no set."""
        languages = languages_of_pair(pair)
        if missing := [language for language in languages if language not in self.specific]:
            known = f"there are {', '.join(self.languages)}"
            raise ValueError(f"pair '{pair}': no neuron set for '{missing[0]}'; {known}.")
        sets = [self.specific[language] for language in languages]
        return {layer: _union(*(one[layer] for one in sets)) for layer in self.layers}

    def trainable(self, pair: str) -> Sets:
        """{layer: general ∪ S_source ∪ S_target}: what a batch of this pair updates (§3.3)."""
        specific = self.pair(pair)
        return {layer: _union(self.general[layer], specific[layer]) for layer in self.layers}

    def only(self, general: bool = False, specific: bool = False) -> NeuronSets:
        """The same with one kind emptied: only(specific=True) is the paper's ablation LS,
        only(general=True) is LG."""
        if general == specific:
            raise ValueError("only(): choose general=True or specific=True, one of them.")
        if general:
            return replace(self, specific={}, method=f"{self.method}, general only")
        return replace(self, general={}, method=f"{self.method}, specific only")

    def counts(self) -> dict:
        """{"general": {layer: n}, "specific": {language: {layer: n}}}."""
        return self._each(lambda layer, indices: len(indices))

    def overlap(self, other: NeuronSets) -> dict:
        """Jaccard index |A ∩ B| / |A ∪ B| per set, nested as in `counts`, over shared layers and
        languages; 1 if both are empty. Raises ValueError if the layers have different sizes."""
        if self.d_ff != other.d_ff:
            raise ValueError(f"sets over {self.d_ff} and {other.d_ff} neurons cannot be compared.")
        layers = [layer for layer in self.layers if layer in other.layers]
        languages = [language for language in self.languages if language in other.languages]

        def jaccard(first: Sets, second: Sets) -> dict:
            return {layer: _jaccard(first[layer], second[layer]) for layer in layers}

        specific = {x: jaccard(self.specific[x], other.specific[x]) for x in languages}
        return {"general": jaccard(self.general, other.general), "specific": specific}

    def _each(self, function: Callable) -> dict:
        """function(layer, indices) of every set, nested as in `counts`."""

        def applied(sets: Sets) -> dict:
            return {layer: function(layer, indices) for layer, indices in sets.items()}

        specific = {language: applied(sets) for language, sets in self.specific.items()}
        return {"general": applied(self.general), "specific": specific}

    def hash(self) -> str:
        """12 hex digits over layers, languages, d_ff and all indices: the sets' identity."""
        indices = self._each(lambda layer, indices: indices.tolist())
        content = json.dumps([self.d_ff, self.layers, self.languages, indices])
        return hashlib.sha256(content.encode()).hexdigest()[:12]

    def check_model(self, model) -> None:
        """Raise ValueError if the indices belong to a model of another `fingerprint`."""
        actual = fingerprint(model)
        for key, value in self.model.items():
            if actual.get(key, value) != value and "" not in (actual[key], value):
                remedy = "Score and categorise this model's neurons, or load the sets' own model"
                other = f"its {key} is {value}, this model's is {actual[key]}"
                raise ValueError(f"these neuron sets belong to another model: {other}. {remedy}.")
        layer, n_layers, d_ff = self.layers[-1], actual["n_layers"], actual["d_ff"]
        if layer >= n_layers or self.d_ff > d_ff:
            sets = f"sets up to layer {layer} and neuron {self.d_ff - 1}"
            raise ValueError(f"{sets} do not fit a model of {n_layers} layers of {d_ff} neurons.")

    def as_tensors(self) -> tuple[dict[str, Tensor], dict]:
        """(indices and awareness as named tensors, the rest as JSON can hold it), for a file."""
        groups = {"general": self.general}
        groups |= {f"specific.{language}": sets for language, sets in self.specific.items()}
        for language, scores in (self.awareness or {}).items():
            groups[f"awareness.{language}"] = {layer: scores[layer] for layer in self.layers}
        tensors = {
            f"{name}.{layer}": tensor
            for name, group in groups.items()
            for layer, tensor in group.items()
        }
        return tensors, {key: getattr(self, key) for key in CONTENT}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], content: dict) -> NeuronSets:
        """What `as_tensors` gave."""
        left = dict(tensors)

        def collect(name: str) -> Sets:
            return {layer: left.pop(f"{name}.{layer}") for layer in content["layers"]}

        sets: dict = {"general": collect("general")}
        sets["specific"] = {x: collect(f"specific.{x}") for x in content["languages"]}
        if any(name.startswith("awareness.") for name in left):
            sets["awareness"] = {x: collect(f"awareness.{x}") for x in content["languages"]}
        if left:
            raise ValueError(f"{min(left)} belongs to no layer and language that the sets name")
        return cls(**sets, **content)

    def save(self, path: File) -> None:
        """Write one safetensors file, atomically."""
        write_tensors(path, FORMAT, *self.as_tensors())

    @classmethod
    def load(cls, path: File) -> NeuronSets:
        """Read what `save` wrote. Raises FileNotFoundError; ValueError for any other file."""
        from .stored import read_object

        kinds = {"layers": list[int], "languages": list[str], "d_ff": int, "method": str}
        kinds |= {"model": dict, "provenance": dict}
        return read_object(cls.from_tensors, path, FORMAT, kinds)

    @classmethod
    def from_lape_file(cls, path: File, languages: Sequence[str], model=None) -> NeuronSets:
        """Read LAPE's published format (Tang et al. 2024), without executing pickle code: a torch
        file, a list over languages of a list over layers of LongTensors. Nothing is general.

        Args:
            languages: codes in the file's order; the file does not name them.
            model: gives d_ff and the fingerprint. Without it d_ff is the largest index + 1, and
                `check_model` knows only the number of layers.

        Raises: FileNotFoundError; ValueError for what is not such a file of these languages.
        """
        from .published import read_sets

        return read_sets(cls, Path(path), languages, model)

    def to_lape_file(self, path: File) -> None:
        """Write LAPE's published format, atomically; it names neither languages nor model.

        Layers that the sets leave out are empty; where the model is unknown, the last layer of the
        sets is the model's last. Raises: ValueError for general neurons.
        """
        from .published import write_sets

        write_sets(self, path)

    def __repr__(self) -> str:
        counts = self.counts()
        rows = {"layer": {layer: layer for layer in self.layers}, "general": counts["general"]}
        rows |= counts["specific"]
        width = max(9, *(len(language) + 1 for language in rows))
        lines = [f"NeuronSets({self.method}, d_ff={self.d_ff}, hash={self.hash()})"]
        for name, row in rows.items():
            lines.append(f"{name:<{width}}" + "".join(f"{n:>7}" for n in row.values()))
        return "\n".join(lines)


def _check_known(what: str, given, known) -> None:
    for name in given:
        if name not in known:
            raise ValueError(f"{what}: {name!r} is not among {list(known)}.")


def _sorted(given, d_ff: int, where: str) -> Tensor:
    indices = torch.as_tensor(given).flatten().cpu()
    if len(indices) == 0:
        return indices.long()
    if indices.is_floating_point() or indices.dtype == torch.bool:
        raise ValueError(f"{where}: neuron sets are integer indices, not {indices.dtype}.")
    indices = indices.long().sort().values
    low, high = indices[0].item(), indices[-1].item()
    if low < 0 or high >= d_ff:
        allowed = f"indices must lie in 0 … {d_ff - 1}"
        raise ValueError(f"{where}: {allowed}, these lie in {low} … {high}.")
    if len(indices.unique()) != len(indices):
        raise ValueError(f"{where}: a neuron is listed twice.")
    return indices


def _union(*indices: Tensor) -> Tensor:
    return torch.cat(indices).unique()


def _jaccard(first: Tensor, second: Tensor) -> float:
    union = len(_union(first, second))
    return int(torch.isin(first, second).sum()) / union if union else 1.0


def categorize(
    scores: AwarenessScores, epsilon: float = 0.9, normalize: bool | str = True
) -> NeuronSets:
    """General = the floor(epsilon · d_ff) neurons whose score varies least over languages; the
    others go to their argmax language (LANDeRMT eq. 5, per layer, unbiased variance).

    The paper's text sorts from high to low, which contradicts its own §4.4 (10% specific at epsilon
    = .9); lowest variance is general here, as in the authors' code. Ties: the lower index is
    general; the first language wins. `.awareness` keeps the raw scores.

    Args:
        scores: of at least two languages.
        epsilon: share of general neurons, 0 < epsilon < 1.
        normalize: True or "layer_mean" divides a language's scores by their mean over the layer, so
            that a language with a larger loss does not take most neurons; "rank" uses rank / d_ff
            (ties share their mean rank); False or "raw": as printed.

    Raises: ValueError for a setting out of range, scores that are not finite or all zero.
    """
    if not 0 < epsilon < 1:
        allowed = "must lie between 0 and 1, both excluded (the paper's is 0.9)"
        raise ValueError(f"epsilon = {epsilon} {allowed}.")
    how = {True: "layer_mean", False: "raw"}.get(normalize, normalize)
    values = normalized(scores, how)

    def split(phi: Tensor) -> tuple:  # [language, d_ff]
        # float: rounding in the 16th digit decides no tie
        order = phi.var(dim=0, unbiased=True).float().argsort(stable=True)
        cut = _floor(epsilon * len(order))
        rest = order[cut:]
        winner = phi[:, rest].argmax(dim=0)  # the first of equals
        return order[:cut], [rest[winner == language] for language in range(len(phi))]

    return _split_layers(scores, values, split, "variance", {"epsilon": epsilon, "normalize": how})


def xie_split(scores: AwarenessScores, rho: float = 0.7, k: float = 0.9) -> NeuronSets:
    """General = the floor(rho · d_ff) neurons with the largest score summed over languages; each
    other neuron belongs to every language whose score exceeds k times its largest one, so to
    several if they are close (k = 1: to none, for > is strict).

    Xie et al. 2021 (NA-MNMT), with the release's rho and k, on the same scores as `categorize`
    (theirs are per pair and summed). Raises: ValueError for rho outside (0, 1), k outside [0, 1],
    one language, scores that are not finite.
    """
    if not 0 < rho < 1 or not 0 <= k <= 1:
        allowed = f"must lie between 0 and 1, both excluded, and k = {k} in 0 … 1"
        raise ValueError(f"rho = {rho} {allowed}.")

    def split(phi: Tensor) -> tuple:  # [language, d_ff]
        order = phi.sum(dim=0).argsort(descending=True, stable=True)
        cut = _floor(rho * len(order))
        rest = order[cut:]
        chosen = phi[:, rest] > k * phi[:, rest].amax(dim=0)
        return order[:cut], [rest[row] for row in chosen]

    return _split_layers(scores, normalized(scores, "raw"), split, "xie", {"rho": rho, "k": k})


def random_neurons(like: NeuronSets, seed: int = 0) -> NeuronSets:
    """Sets of the same sizes with random indices: the control for any selector.

    Each layer's neurons are renamed by one random permutation, so that sets which were disjoint
    stay so, and sets that shared neurons share as many. `.awareness` stays with its neurons and is
    not permuted.
    """
    generator = torch.Generator().manual_seed(seed)
    renamed = {layer: torch.randperm(like.d_ff, generator=generator) for layer in like.layers}
    sets = like._each(lambda layer, indices: renamed[layer][indices])
    provenance = {"like": like.method, "like_hash": like.hash(), "seed": seed}
    return replace(like, **sets, method="random", provenance=provenance)


def normalized(scores: AwarenessScores, how: str) -> Tensor:
    """Scores as float64 [language, layer, d_ff] after "raw", "layer_mean" or "rank" normalisation.

    Raises: as `categorize`.
    """
    values = scores.values.double()
    if len(scores.languages) < 2:
        remedy = "score at least two"
        raise ValueError(f"a split into general and specific compares languages: {remedy}.")
    if not torch.isfinite(values).all():
        raise ValueError(f"a score of {_first(scores, ~torch.isfinite(values))} is not finite.")
    if how == "rank":
        from scipy.stats import rankdata  # takes half a second to import

        return torch.from_numpy(rankdata(values.numpy(), axis=-1)) / values.shape[-1]
    if how == "layer_mean":
        means = values.mean(dim=-1, keepdim=True)
        if (means == 0).any():
            where = _first(scores, means == 0)
            raise ValueError(f"all scores of {where} are zero: they have no mean.")
        return values / means
    if how != "raw":
        known = "use True, 'layer_mean', 'rank', False or 'raw'"
        raise ValueError(f"normalize = '{how}' is unknown: {known}.")
    return values


def _first(scores: AwarenessScores, wrong: Tensor) -> str:
    """Where the first True is in a tensor [language, layer, d_ff or 1]."""
    language, layer, neuron = wrong.nonzero()[0].tolist()
    place = f"'{scores.languages[language]}' in layer {scores.layers[layer]}"
    return place if wrong.shape[-1] == 1 else f"{place}, neuron {neuron}"


def _floor(share_of_total: float) -> int:
    return math.floor(share_of_total + 1e-9)  # 0.29 * 100 is 28.999…96 in floating point


def _split_layers(
    scores: AwarenessScores, values: Tensor, split: Callable, method: str, settings: dict
) -> NeuronSets:
    """`split` gives (general, [the set of each language]) for a layer of `values`."""
    general, specific, awareness = {}, {}, {}
    for position, layer in enumerate(scores.layers):
        general[layer], sets = split(values[:, position])
        for index, language in enumerate(scores.languages):
            specific.setdefault(language, {})[layer] = sets[index]
            awareness.setdefault(language, {})[layer] = scores.values[index, position]
    d_ff, settings = scores.values.shape[-1], {**settings, "scores": scores.settings}
    sets = (scores.layers, scores.languages, general, specific, d_ff, scores.model)
    return NeuronSets(*sets, method, awareness, settings)
