"""The file in which LAPE's authors publish neuron sets: a torch file of a list over languages of a
list over layers of LongTensors. `NeuronSets.from_lape_file` and `to_lape_file` say more."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from .blocks import fingerprint
from .config import shown
from .io import atomic_path, content_of


def read_sets(cls, path: Path, languages: Sequence[str], model=None):
    """`cls`, NeuronSets, of a published file, no pickle code executed."""
    content = _content(path, languages)
    sizes = sorted({len(sets) for sets in content})
    known = fingerprint(model) if model is not None else {}
    expected = known.get("n_layers", "one number")
    if len(sizes) != 1 or (known and sizes != [expected]):
        raise ValueError(f"{path}: layers per language {sizes}, expected {expected}.")
    specific = {x: dict(enumerate(sets)) for x, sets in zip(languages, content)}
    origin = {"provenance": {"file": path.name}}
    with content_of(path):
        largest = max((int(x.max()) for sets in content for x in sets if x.numel()), default=0)
        d_ff, about = known.get("d_ff", largest + 1), known or {"n_layers": sizes[0]}
        return cls(range(sizes[0]), languages, {}, specific, d_ff, about, "lape", **origin)


def write_sets(sets, path: str | Path) -> None:
    """Write the specific neurons of NeuronSets."""
    if any(len(indices) for indices in sets.general.values()):
        remedy = "write sets.only(specific=True), or use save()"
        raise ValueError(f"LAPE's format has no place for general neurons: {remedy}.")
    n_layers = sets.model.get("n_layers", sets.layers[-1] + 1)
    empty = torch.tensor([], dtype=torch.long)
    content = [
        [sets.specific[language].get(layer, empty).clone() for layer in range(n_layers)]
        for language in sets.languages
    ]
    with atomic_path(path) as temporary:
        torch.save(content, temporary)


def _content(path: Path, languages: Sequence[str]) -> list[list]:
    """What LAPE's file holds, one list of tensors per language."""
    if isinstance(languages, str) or len(set(languages)) < len(languages):
        raise ValueError(f"languages = {languages!r}: give a list of different codes")
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        refused = "anything else is refused: it could run code"
        raise ValueError(f"{path} is not a torch file of plain tensors ({refused}).") from error
    if not isinstance(content, list) or not all(isinstance(sets, list) for sets in content):
        expected = "expected a list over languages of a list over layers"
        raise ValueError(f"{path}: {expected}, found {type(content).__name__}.")
    if len(content) != len(languages):
        named = f"{len(languages)} were named: {', '.join(languages)}"
        raise ValueError(f"{path} holds {len(content)} languages, but {named}.")
    for language, sets in zip(languages, content):
        for layer, indices in enumerate(sets):
            if not isinstance(indices, Tensor) or indices.is_meta:
                found = f"expected a tensor, found {shown(indices)}"
                raise ValueError(f"{path}: '{language}', layer {layer}: {found}.")
    return content
