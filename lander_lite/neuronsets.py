"""NeuronSets: which feed-forward neurons are language-general and which belong to a language. Selectors make them, tuners take them."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from .convert import languages_of_pair
from .files import atomic_path
from .structure import fingerprint
from .tensorfiles import read_tensors, write_tensors

FORMAT = "lander_lite.NeuronSets/1"


@dataclass(eq=False, repr=False)
class NeuronSets:
    """Indices into the d_ff neurons of the feed-forward networks of chosen layers.

    Attributes:
        layers: block indices, sorted.
        languages: language codes; their order settles ties.
        general: {layer: LongTensor}, sorted and unique. specific: {language: {layer: LongTensor}}; languages may share neurons
            (LAPE and Xie give one neuron to several), but no specific neuron is general. Layers left out are empty.
        d_ff: neurons per layer.
        model: the `fingerprint` of the model that the indices belong to; {} if unknown.
        method: the selector's name. provenance: its settings, anything JSON can hold.
        awareness: {language: {layer: Tensor [d_ff]}}, the raw scores Phi (eq. 3), for the router's prior; None without scores.

    Raises: ValueError for duplicates, an index outside 0 … d_ff-1, a neuron both general and specific, unknown layers or languages.
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
        self.layers, self.languages = sorted(int(layer) for layer in self.layers), list(self.languages)
        for what, names in (("layers", self.layers), ("languages", self.languages)):
            if len(set(names)) != len(names):
                raise ValueError(f"{what} {names}: one is named twice.")
        if not self.layers:
            raise ValueError("neuron sets need at least one layer.")
        self._known("specific", self.specific, self.languages)
        self.general = self._checked("general", self.general)
        self.specific = {language: self._checked(language, self.specific.get(language, {})) for language in self.languages}
        for language, sets in self.specific.items():
            for layer, indices in sets.items():
                both = indices[torch.isin(indices, self.general[layer])]
                if len(both):
                    raise ValueError(f"layer {layer}: neuron {int(both[0])} is in the general set and in that of '{language}'.")
        for language, layer in ((x, y) for x in self.languages for y in self.layers if self.awareness is not None):
            values = self.awareness.get(language, {}).get(layer)
            if values is None or tuple(values.shape) != (self.d_ff,):
                raise ValueError(f"awareness of '{language}', layer {layer}: needs a tensor of shape ({self.d_ff},).")

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
                raise ValueError(f"layer {layer}, '{name}': neuron sets are integer indices, not {indices.dtype}.")
            indices = indices.long().sort().values
            if len(indices) and not 0 <= int(indices[0]) <= int(indices[-1]) < self.d_ff:
                raise ValueError(f"layer {layer}, '{name}': indices must lie in 0 … {self.d_ff - 1}, "
                                 f"these lie in {int(indices[0])} … {int(indices[-1])}.")
            if len(indices.unique()) != len(indices):
                raise ValueError(f"layer {layer}, '{name}': a neuron is listed twice.")
            checked[layer] = indices
        return checked

    def pair(self, pair: str) -> dict[int, torch.Tensor]:
        """{layer: S_source ∪ S_target} for a pair such as "en-de" (LANDeRMT §3.2), or the set of a bare code. ValueError if a language has
        no set."""
        languages = languages_of_pair(pair)
        for language in languages:
            if language not in self.specific:
                raise ValueError(f"pair '{pair}': no neuron set for '{language}'; there are {', '.join(self.languages)}.")
        return {layer: _union(*(self.specific[language][layer] for language in languages)) for layer in self.layers}

    def trainable(self, pair: str) -> dict[int, torch.Tensor]:
        """{layer: general ∪ S_source ∪ S_target}: the neurons that a batch of this pair updates (LANDeRMT §3.3)."""
        return {layer: _union(self.general[layer], indices) for layer, indices in self.pair(pair).items()}

    def only(self, general: bool = False, specific: bool = False) -> NeuronSets:
        """The same with one kind emptied: only(specific=True) is the paper's ablation LS, only(general=True) is LG."""
        if general == specific:
            raise ValueError("only(): choose general=True or specific=True, one of them.")
        kept = {"general": self.general, "specific": {}} if general else {"general": {}, "specific": self.specific}
        return replace(self, **kept, method=f"{self.method}, {'general' if general else 'specific'} only")

    def counts(self) -> dict[str, Any]:
        """{"general": {layer: n}, "specific": {language: {layer: n}}}."""
        return self._each(lambda indices, *_: len(indices))

    def overlap(self, other: NeuronSets) -> dict[str, Any]:
        """Jaccard index |A ∩ B| / |A ∪ B| per set, nested as in `counts`, over shared layers and languages; 1 if both are empty.

        Raises: ValueError if the layers have different sizes.
        """
        if self.d_ff != other.d_ff:
            raise ValueError(f"sets over {self.d_ff} and {other.d_ff} neurons cannot be compared.")

        def jaccard(indices, language, layer):
            theirs = other.general[layer] if language is None else other.specific[language][layer]
            union = len(_union(indices, theirs))
            return int(torch.isin(indices, theirs).sum()) / union if union else 1.0

        return self._each(jaccard, [x for x in self.layers if x in other.layers], [x for x in self.languages if x in other.languages])

    def _each(self, function: Callable, layers: list[int] | None = None, languages: list[str] | None = None) -> dict[str, Any]:
        layers = self.layers if layers is None else layers
        languages = self.languages if languages is None else languages
        return {
            "general": {layer: function(self.general[layer], None, layer) for layer in layers},
            "specific": {name: {layer: function(self.specific[name][layer], name, layer) for layer in layers} for name in languages},
        }

    def hash(self) -> str:
        """12 hex digits over layers, languages, d_ff and all indices: the sets' identity in result files."""
        content = [self.d_ff, self.layers, self.languages, self._each(lambda indices, *_: indices.tolist())]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]

    def check_model(self, model) -> None:
        """Raise ValueError if the indices belong to another model: other sizes or other pretrained weights (see `fingerprint`)."""
        actual = fingerprint(model)
        for key, value in self.model.items():
            if key in actual and actual[key] != value and "" not in (actual[key], value):
                raise ValueError(f"these neuron sets belong to another model: its {key} is {value}, this model's is {actual[key]}. "
                                 "Score and categorise the neurons of this model, or load the model they were made for.")
        if self.layers[-1] >= actual["n_layers"] or self.d_ff > actual["d_ff"]:
            raise ValueError(f"sets up to layer {self.layers[-1]} and neuron {self.d_ff - 1} do not fit a model of {actual['n_layers']} "
                             f"layers of {actual['d_ff']} neurons.")

    def as_tensors(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """(indices and awareness as named tensors, the rest as JSON can hold it), for a safetensors file."""
        tensors = {f"general.{layer}": indices for layer, indices in self.general.items()}
        tensors |= {f"specific.{name}.{layer}": indices for name, sets in self.specific.items() for layer, indices in sets.items()}
        for name, scores in (self.awareness or {}).items():
            tensors |= {f"awareness.{name}.{layer}": scores[layer] for layer in self.layers}
        return tensors, {key: getattr(self, key) for key in ("layers", "languages", "d_ff", "model", "method", "provenance")}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, torch.Tensor], content: dict[str, Any]) -> NeuronSets:
        """What `as_tensors` gave."""
        layers, languages = content["layers"], content["languages"]

        def collect(prefix):
            return {layer: tensors[f"{prefix}.{layer}"] for layer in layers if f"{prefix}.{layer}" in tensors}

        awareness = {language: scores for language in languages if (scores := collect(f"awareness.{language}"))}
        specific = {language: collect(f"specific.{language}") for language in languages}
        return cls(general=collect("general"), specific=specific, awareness=awareness or None, **content)

    def save(self, path: str | Path) -> None:
        """Write one safetensors file (indices, awareness; the rest as JSON metadata), atomically."""
        write_tensors(path, FORMAT, *self.as_tensors())

    @classmethod
    def load(cls, path: str | Path) -> NeuronSets:
        """Read what `save` wrote. Raises FileNotFoundError; ValueError for any other file."""
        content, tensors = read_tensors(path, FORMAT)
        return cls.from_tensors(tensors, content)

    @classmethod
    def from_lape_file(cls, path: str | Path, languages: Sequence[str], model=None) -> NeuronSets:
        """Read LAPE's published format (Tang et al. 2024): a torch file, a list over languages of a list over layers of LongTensors.

        Args:
            languages: codes in the file's order; the file does not name them.
            model: gives d_ff and the fingerprint. Without it d_ff is the largest index + 1, and of the model only the number of its
                layers is known: `check_model` refuses another one.

        The file is read without executing pickle code. All layers are included, and nothing is general.
        Raises: FileNotFoundError; ValueError for another content, number of languages or number of layers.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"no file {path}.")
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
            raise ValueError(f"{path} is not a torch file of plain tensors (anything else is refused: it could run code).") from error
        if not isinstance(content, list) or not all(isinstance(sets, list) for sets in content):
            raise ValueError(f"{path}: expected a list over languages of a list over layers, found {type(content).__name__}.")
        if len(content) != len(languages):
            raise ValueError(f"{path} holds {len(content)} languages, but {len(languages)} were named: {', '.join(languages)}.")
        sizes = {len(sets) for sets in content}
        known = fingerprint(model) if model is not None else {}
        if len(sizes) != 1 or (known and sizes != {known["n_layers"]}):
            raise ValueError(f"{path}: layers per language {sorted(sizes)}, expected {known.get('n_layers', 'one number')}.")
        for language, sets in zip(languages, content, strict=True):
            for layer, indices in enumerate(sets):
                if not isinstance(indices, torch.Tensor):
                    raise ValueError(f"{path}: '{language}', layer {layer}: expected a tensor, found {type(indices).__name__}.")
        largest = max((int(indices.max()) for sets in content for indices in sets if indices.numel()), default=0)
        specific = {language: dict(enumerate(sets)) for language, sets in zip(languages, content, strict=True)}
        return cls(list(range(sizes.pop())), list(languages), {}, specific, known.get("d_ff", largest + 1),
                   known or {"n_layers": len(content[0])}, "lape", provenance={"file": path.name})

    def to_lape_file(self, path: str | Path) -> None:
        """Write LAPE's published format, atomically: a list over `languages` of a list over all layers of the model of sorted LongTensors.

        Layers that the sets leave out are empty; where the model is unknown, the last layer of the sets is the model's last.
        The format names neither languages nor model. Raises: ValueError for sets with general neurons, for which it has no place.
        """
        if any(len(indices) for indices in self.general.values()):
            raise ValueError("LAPE's format has no place for general neurons: write sets.only(specific=True), or use save().")
        layers, none = range(self.model.get("n_layers", self.layers[-1] + 1)), torch.tensor([], dtype=torch.long)
        content = [[self.specific[language].get(layer, none).clone() for layer in layers] for language in self.languages]
        with atomic_path(path) as temporary:
            torch.save(content, temporary)

    def __repr__(self) -> str:
        width = max(9, *(len(language) + 1 for language in self.languages)) if self.languages else 9
        rows = [("general", self.general), *self.specific.items()]
        head = f"NeuronSets({self.method}, d_ff={self.d_ff}, hash={self.hash()})\n{'layer':<{width}}"
        lines = [head + "".join(f"{layer:>7}" for layer in self.layers)]
        return "\n".join(lines + [f"{name:<{width}}" + "".join(f"{len(sets[layer]):>7}" for layer in self.layers) for name, sets in rows])


def _union(*indices: torch.Tensor) -> torch.Tensor:
    return torch.cat(indices).unique()
