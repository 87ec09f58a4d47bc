"""NeuronSets: which feed-forward neurons are language-general and which belong to a language.
Selectors make them, tuners take them."""

from __future__ import annotations

import hashlib
import json
import math
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from .blocks import fingerprint
from .config import languages_of_pair
from .io import atomic_path, read_tensors, write_tensors

if TYPE_CHECKING:
    from .awareness import AwarenessScores

FORMAT = "lander_lite.NeuronSets/1"


@dataclass(eq=False, repr=False)
class NeuronSets:
    """Indices into the d_ff neurons of the feed-forward networks of chosen layers.

    Attributes:
        layers: block indices, sorted.
        languages: language codes; their order settles ties.
        general: {layer: LongTensor}, sorted and unique. specific: {language: {layer: LongTensor}};
            languages may share neurons (LAPE and Xie give one neuron to several), but no specific
            neuron is general. Layers left out are empty.
        d_ff: neurons per layer.
        model: the `fingerprint` of the model that the indices belong to; {} if unknown.
        method: the selector's name. provenance: its settings, anything JSON can hold.
        awareness: {language: {layer: Tensor [d_ff]}}, the raw scores Phi (eq. 3), for the router's
            prior; None without scores.

    Raises: ValueError for duplicates, an index outside 0 … d_ff-1, a neuron both general and
        specific, unknown layers or languages.
    """

    layers: list[int]
    languages: list[str]
    general: dict[int, torch.Tensor]
    specific: dict[str, dict[int, torch.Tensor]]
    d_ff: int
    model: dict[str, Any] = field(default_factory=dict)
    method: str = "manual"
    awareness: dict[str, dict[int, torch.Tensor]] | None = None
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        self.layers, self.languages = (
            sorted(int(layer) for layer in self.layers),
            list(self.languages),
        )
        for what, names in (("layers", self.layers), ("languages", self.languages)):
            if len(set(names)) != len(names):
                raise ValueError(f"{what} {names}: one is named twice.")
        if not self.layers:
            raise ValueError("neuron sets need at least one layer.")
        self._known("specific", self.specific, self.languages)
        self.general = self._checked("general", self.general)
        self.specific = {
            language: self._checked(language, self.specific.get(language, {}))
            for language in self.languages
        }
        for language, sets in self.specific.items():
            for layer, indices in sets.items():
                both = indices[torch.isin(indices, self.general[layer])]
                if len(both):
                    raise ValueError(
                        f"layer {layer}: neuron {int(both[0])} is in the general set and in that "
                        f"of '{language}'."
                    )
        for language, layer in (
            (x, y) for x in self.languages for y in self.layers if self.awareness is not None
        ):
            values = self.awareness.get(language, {}).get(layer)
            if values is None or tuple(values.shape) != (self.d_ff,):
                raise ValueError(
                    f"awareness of '{language}', layer {layer}: needs a tensor of shape "
                    f"({self.d_ff},)."
                )

    @staticmethod
    def _known(what: str, given, known) -> None:
        unknown = [key for key in given if key not in known]
        if unknown:
            raise ValueError(f"{what}: {unknown[0]!r} is not among {list(known)}.")

    def _checked(self, name: str, sets: Mapping[int, Any]) -> dict[int, torch.Tensor]:
        self._known(f"the sets of '{name}'", sets, self.layers)
        checked = {}
        for layer in self.layers:
            indices = torch.as_tensor(sets.get(layer, [])).flatten().cpu()
            if len(indices) and (indices.is_floating_point() or indices.dtype == torch.bool):
                raise ValueError(
                    f"layer {layer}, '{name}': neuron sets are integer indices, not "
                    f"{indices.dtype}."
                )
            indices = indices.long().sort().values
            if len(indices) and not 0 <= int(indices[0]) <= int(indices[-1]) < self.d_ff:
                raise ValueError(
                    f"layer {layer}, '{name}': indices must lie in 0 … {self.d_ff - 1}, "
                    f"these lie in {int(indices[0])} … {int(indices[-1])}."
                )
            if len(indices.unique()) != len(indices):
                raise ValueError(f"layer {layer}, '{name}': a neuron is listed twice.")
            checked[layer] = indices
        return checked

    def pair(self, pair: str) -> dict[int, torch.Tensor]:
        """{layer: S_source ∪ S_target} for a pair such as "en-de" (LANDeRMT §3.2), or the set of a
        bare code. ValueError if a language has no set."""
        languages = languages_of_pair(pair)
        for language in languages:
            if language not in self.specific:
                raise ValueError(
                    f"pair '{pair}': no neuron set for '{language}'; there are "
                    f"{', '.join(self.languages)}."
                )
        return {
            layer: _union(*(self.specific[language][layer] for language in languages))
            for layer in self.layers
        }

    def trainable(self, pair: str) -> dict[int, torch.Tensor]:
        """{layer: general ∪ S_source ∪ S_target}: the neurons that a batch of this pair updates
        (LANDeRMT §3.3)."""
        return {
            layer: _union(self.general[layer], indices)
            for layer, indices in self.pair(pair).items()
        }

    def only(self, general: bool = False, specific: bool = False) -> NeuronSets:
        """The same with one kind emptied: only(specific=True) is the paper's ablation LS,
        only(general=True) is LG."""
        if general == specific:
            raise ValueError("only(): choose general=True or specific=True, one of them.")
        kept = (
            {"general": self.general, "specific": {}}
            if general
            else {"general": {}, "specific": self.specific}
        )
        return replace(
            self, **kept, method=f"{self.method}, {'general' if general else 'specific'} only"
        )

    def counts(self) -> dict[str, Any]:
        """{"general": {layer: n}, "specific": {language: {layer: n}}}."""
        return self._each(lambda indices, *_: len(indices))

    def overlap(self, other: NeuronSets) -> dict[str, Any]:
        """Jaccard index |A ∩ B| / |A ∪ B| per set, nested as in `counts`, over shared layers and
        languages; 1 if both are empty.

        Raises: ValueError if the layers have different sizes.
        """
        if self.d_ff != other.d_ff:
            raise ValueError(f"sets over {self.d_ff} and {other.d_ff} neurons cannot be compared.")

        def jaccard(indices, language, layer):
            theirs = other.general[layer] if language is None else other.specific[language][layer]
            union = len(_union(indices, theirs))
            return int(torch.isin(indices, theirs).sum()) / union if union else 1.0

        return self._each(
            jaccard,
            [x for x in self.layers if x in other.layers],
            [x for x in self.languages if x in other.languages],
        )

    def _each(
        self,
        function: Callable,
        layers: list[int] | None = None,
        languages: list[str] | None = None,
    ) -> dict[str, Any]:
        layers = self.layers if layers is None else layers
        languages = self.languages if languages is None else languages
        return {
            "general": {layer: function(self.general[layer], None, layer) for layer in layers},
            "specific": {
                name: {layer: function(self.specific[name][layer], name, layer) for layer in layers}
                for name in languages
            },
        }

    def hash(self) -> str:
        """12 hex digits over layers, languages, d_ff and all indices: the sets' identity in result
        files."""
        content = [
            self.d_ff,
            self.layers,
            self.languages,
            self._each(lambda indices, *_: indices.tolist()),
        ]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]

    def check_model(self, model) -> None:
        """Raise ValueError if the indices belong to another model: other sizes or other pretrained
        weights (see `fingerprint`)."""
        actual = fingerprint(model)
        for key, value in self.model.items():
            if key in actual and actual[key] != value and "" not in (actual[key], value):
                raise ValueError(
                    f"these neuron sets belong to another model: its {key} is {value}, this "
                    f"model's is {actual[key]}. "
                    "Score and categorise the neurons of this model, or load the model they were "
                    "made for."
                )
        if self.layers[-1] >= actual["n_layers"] or self.d_ff > actual["d_ff"]:
            raise ValueError(
                f"sets up to layer {self.layers[-1]} and neuron {self.d_ff - 1} do not fit a "
                f"model of {actual['n_layers']} "
                f"layers of {actual['d_ff']} neurons."
            )

    def as_tensors(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """(indices and awareness as named tensors, the rest as JSON can hold it), for a safetensors
        file."""
        tensors = {f"general.{layer}": indices for layer, indices in self.general.items()}
        tensors |= {
            f"specific.{name}.{layer}": indices
            for name, sets in self.specific.items()
            for layer, indices in sets.items()
        }
        for name, scores in (self.awareness or {}).items():
            tensors |= {f"awareness.{name}.{layer}": scores[layer] for layer in self.layers}
        return tensors, {
            key: getattr(self, key)
            for key in ("layers", "languages", "d_ff", "model", "method", "provenance")
        }

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, torch.Tensor], content: dict[str, Any]
    ) -> NeuronSets:
        """What `as_tensors` gave."""
        layers, languages = content["layers"], content["languages"]

        def collect(prefix):
            return {
                layer: tensors[f"{prefix}.{layer}"]
                for layer in layers
                if f"{prefix}.{layer}" in tensors
            }

        awareness = {
            language: scores
            for language in languages
            if (scores := collect(f"awareness.{language}"))
        }
        specific = {language: collect(f"specific.{language}") for language in languages}
        return cls(
            general=collect("general"), specific=specific, awareness=awareness or None, **content
        )

    def save(self, path: str | Path) -> None:
        """Write one safetensors file (indices, awareness; the rest as JSON metadata),
        atomically."""
        write_tensors(path, FORMAT, *self.as_tensors())

    @classmethod
    def load(cls, path: str | Path) -> NeuronSets:
        """Read what `save` wrote. Raises FileNotFoundError; ValueError for any other file."""
        content, tensors = read_tensors(path, FORMAT)
        return cls.from_tensors(tensors, content)

    @classmethod
    def from_lape_file(cls, path: str | Path, languages: Sequence[str], model=None) -> NeuronSets:
        """Read LAPE's published format (Tang et al. 2024): a torch file, a list over languages of a
        list over layers of LongTensors.

        Args:
            languages: codes in the file's order; the file does not name them.
            model: gives d_ff and the fingerprint. Without it d_ff is the largest index + 1, and of
                the model only the number of its
                layers is known: `check_model` refuses another one.

        The file is read without executing pickle code. All layers are included, and nothing is
        general.
        Raises: FileNotFoundError; ValueError for another content, number of languages or number of
            layers.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"no file {path}.")
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
            raise ValueError(
                f"{path} is not a torch file of plain tensors (anything else is refused: it could "
                f"run code)."
            ) from error
        if not isinstance(content, list) or not all(isinstance(sets, list) for sets in content):
            raise ValueError(
                f"{path}: expected a list over languages of a list over layers, found "
                f"{type(content).__name__}."
            )
        if len(content) != len(languages):
            raise ValueError(
                f"{path} holds {len(content)} languages, but {len(languages)} were named: "
                f"{', '.join(languages)}."
            )
        sizes = {len(sets) for sets in content}
        known = fingerprint(model) if model is not None else {}
        if len(sizes) != 1 or (known and sizes != {known["n_layers"]}):
            raise ValueError(
                f"{path}: layers per language {sorted(sizes)}, expected "
                f"{known.get('n_layers', 'one number')}."
            )
        for language, sets in zip(languages, content, strict=True):
            for layer, indices in enumerate(sets):
                if not isinstance(indices, torch.Tensor):
                    raise ValueError(
                        f"{path}: '{language}', layer {layer}: expected a tensor, found "
                        f"{type(indices).__name__}."
                    )
        largest = max(
            (int(indices.max()) for sets in content for indices in sets if indices.numel()),
            default=0,
        )
        specific = {
            language: dict(enumerate(sets))
            for language, sets in zip(languages, content, strict=True)
        }
        return cls(
            list(range(sizes.pop())),
            list(languages),
            {},
            specific,
            known.get("d_ff", largest + 1),
            known or {"n_layers": len(content[0])},
            "lape",
            provenance={"file": path.name},
        )

    def to_lape_file(self, path: str | Path) -> None:
        """Write LAPE's published format, atomically: a list over `languages` of a list over all
        layers of the model of sorted LongTensors.

        Layers that the sets leave out are empty; where the model is unknown, the last layer of the
        sets is the model's last. The format names neither languages nor model. Raises: ValueError
        for sets with general neurons, for which it has no place.
        """
        if any(len(indices) for indices in self.general.values()):
            raise ValueError(
                "LAPE's format has no place for general neurons: write sets.only(specific=True), "
                "or use save()."
            )
        layers, none = (
            range(self.model.get("n_layers", self.layers[-1] + 1)),
            torch.tensor([], dtype=torch.long),
        )
        content = [
            [self.specific[language].get(layer, none).clone() for layer in layers]
            for language in self.languages
        ]
        with atomic_path(path) as temporary:
            torch.save(content, temporary)

    def __repr__(self) -> str:
        width = max(9, *(len(language) + 1 for language in self.languages)) if self.languages else 9
        rows = [("general", self.general), *self.specific.items()]
        head = (
            f"NeuronSets({self.method}, d_ff={self.d_ff}, hash={self.hash()})\n{'layer':<{width}}"
        )
        lines = [head + "".join(f"{layer:>7}" for layer in self.layers)]
        return "\n".join(
            lines
            + [
                f"{name:<{width}}" + "".join(f"{len(sets[layer]):>7}" for layer in self.layers)
                for name, sets in rows
            ]
        )


def _union(*indices: torch.Tensor) -> torch.Tensor:
    return torch.cat(indices).unique()


__all__ = ["NeuronSets", "categorize", "random_neurons", "xie_split"]


def categorize(
    scores: AwarenessScores, epsilon: float = 0.9, normalize: bool | str = True
) -> NeuronSets:
    """General = the floor(epsilon · d_ff) neurons whose score varies least over languages; the
    others go to their argmax language.

    LANDeRMT eq. 5, per layer, with the unbiased variance. The paper's text sorts from high to low,
    which contradicts its own §4.4 (10% specific at epsilon = .9); general is lowest-variance here,
    as in the authors' code. Ties: the lower index is general; the first language wins.

    Args:
        scores: AwarenessScores, at least two languages.
        epsilon: share of general neurons, 0 < epsilon < 1.
        normalize: True or "layer_mean" divides a language's scores by their mean over the layer, so
            that a language with a larger loss does not take most neurons; "rank" uses rank / d_ff
            (ties share their mean rank); False or "raw": as printed. The sets keep the raw scores
            in `.awareness`.

    Raises: ValueError for epsilon out of range, one language, an unknown normalisation, scores that
        are not finite or all zero.
    """
    if not 0 < epsilon < 1:
        raise ValueError(
            f"epsilon = {epsilon} must lie between 0 and 1, both excluded (the paper's is 0.9)."
        )
    names = {True: "layer_mean", False: "raw"}
    how = names.get(normalize, normalize)
    values = normalized(scores, how)
    general, specific = {}, {language: {} for language in scores.languages}
    for position, layer in enumerate(scores.layers):
        phi = values[:, position]  # (language, d_ff)
        order = (
            phi.var(dim=0, unbiased=True).float().argsort(stable=True)
        )  # float: rounding in the 16th digit decides no tie
        cut = _share(epsilon, len(order))
        general[layer], rest = order[:cut], order[cut:]
        winner = phi[:, rest].argmax(dim=0)  # the first of equals
        for index, language in enumerate(scores.languages):
            specific[language][layer] = rest[winner == index]
    return _sets(scores, general, specific, "variance", {"epsilon": epsilon, "normalize": how})


def xie_split(scores: AwarenessScores, rho: float = 0.7, k: float = 0.9) -> NeuronSets:
    """General = the floor(rho · d_ff) neurons with the largest score summed over languages; each
    other neuron belongs to every language whose score exceeds k times its largest one, so to
    several if they are close (k = 1: to none, for > is strict).

    Xie et al. 2021 (NA-MNMT), with the release's rho and k, on the same scores as `categorize`
    (theirs are per pair and summed).
    Raises: ValueError for rho outside (0, 1), k outside [0, 1], one language, scores that are not
        finite.
    """
    if not 0 < rho < 1 or not 0 <= k <= 1:
        raise ValueError(
            f"rho = {rho} must lie between 0 and 1, both excluded, and k = {k} in 0 … 1."
        )
    values = normalized(scores, "raw")
    general, specific = {}, {language: {} for language in scores.languages}
    for position, layer in enumerate(scores.layers):
        phi = values[:, position]  # (language, d_ff)
        order = phi.sum(dim=0).argsort(descending=True, stable=True)
        cut = _share(rho, len(order))
        general[layer], rest = order[:cut], order[cut:].sort().values
        for index, language in enumerate(scores.languages):
            specific[language][layer] = rest[phi[index, rest] > k * phi[:, rest].amax(dim=0)]
    return _sets(scores, general, specific, "xie", {"rho": rho, "k": k})


def random_neurons(like: NeuronSets, seed: int = 0) -> NeuronSets:
    """Sets of the same sizes with random indices: the control for any selector.

    Each layer's neurons are renamed by one random permutation, so that sets which were disjoint
    stay so, and sets that shared neurons share as many. `.awareness` stays with its neurons and is
    not permuted.
    """
    generator = torch.Generator().manual_seed(seed)
    rename = {layer: torch.randperm(like.d_ff, generator=generator) for layer in like.layers}
    return replace(
        like,
        general={layer: rename[layer][indices] for layer, indices in like.general.items()},
        specific={
            name: {layer: rename[layer][indices] for layer, indices in sets.items()}
            for name, sets in like.specific.items()
        },
        method="random",
        provenance={"like": like.method, "like_hash": like.hash(), "seed": seed},
    )


def _share(share: float, total: int) -> int:
    return math.floor(share * total + 1e-9)  # 0.29 * 100 is 28.999…96 in floating point


def normalized(scores: AwarenessScores, how: str) -> torch.Tensor:
    """Scores as float64 [language, layer, d_ff] after "raw", "layer_mean" or "rank"
    normalisation."""
    values = scores.values.double()
    if len(scores.languages) < 2:
        raise ValueError(
            "a split into general and specific compares languages: score at least two."
        )
    if not torch.isfinite(values).all():
        language, layer, neuron = (~torch.isfinite(values)).nonzero()[0].tolist()
        raise ValueError(
            f"the score of '{scores.languages[language]}', layer {scores.layers[layer]}, neuron "
            f"{neuron} is not finite."
        )
    if how == "raw":
        return values
    if how == "layer_mean":
        means = values.mean(dim=-1, keepdim=True)
        if (means == 0).any():
            language, layer, _ = (means == 0).nonzero()[0].tolist()
            raise ValueError(
                f"all scores of '{scores.languages[language]}' in layer {scores.layers[layer]} "
                f"are zero: they have no mean."
            )
        return values / means
    if how == "rank":
        return (
            torch.stack([torch.stack([_ranks(row) for row in rows]) for rows in values])
            / values.shape[-1]
        )
    raise ValueError(
        f"normalize = '{how}' is unknown: use True, 'layer_mean', 'rank', False or 'raw'."
    )


def _ranks(row: torch.Tensor) -> torch.Tensor:
    """Ranks 1 … n, ascending; equal values share their mean rank."""
    _, inverse, counts = row.unique(return_inverse=True, return_counts=True)
    return (counts.cumsum(0) - (counts - 1) / 2)[inverse]


def _sets(
    scores: AwarenessScores, general: dict, specific: dict, method: str, settings: dict
) -> NeuronSets:
    awareness = {
        language: {layer: scores.values[i, j] for j, layer in enumerate(scores.layers)}
        for i, language in enumerate(scores.languages)
    }
    return NeuronSets(
        scores.layers,
        scores.languages,
        general,
        specific,
        scores.values.shape[-1],
        scores.model,
        method,
        awareness,
        {**settings, "scores": scores.settings},
    )
