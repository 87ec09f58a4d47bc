"""Files of ours, read again: each key is of the type that was written, or the file is refused."""

from __future__ import annotations

import csv
import json
import typing
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from .config import shown
from .io import content_of, read_tensors


def read_json(path: str | Path, kinds: Mapping[str, type]) -> dict:
    """The JSON object in a file; kinds: {key that it must have: its type, such as int, list[str]}.

    Raises: FileNotFoundError; ValueError that names the file and the key.
    """
    with content_of(path):
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        check_kinds(content, kinds)
        return content


def read_table(path: str | Path) -> dict[str, dict[str, str]]:
    """{code: {column: text}} of a tab-separated file whose first line names the columns."""
    with Path(path).open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return {row["code"]: row for row in rows}


def check_kinds(content, kinds: Mapping[str, type]) -> None:
    """Raise KeyError or TypeError, with the key, for one that is not there or of another type."""
    if not isinstance(content, dict):
        raise TypeError(f"expected a JSON object, found {shown(content)}")
    for key, kind in kinds.items():
        value, items = content[key], typing.get_args(kind)
        right = isinstance(value, typing.get_origin(kind) or kind)
        if not right or (items and any(type(x) not in items for x in value)):
            expected = " of ".join(x.__name__ for x in (kind, *items))
            raise TypeError(f"{key} = {shown(value)}: expected {expected}")


def read_object(make: Callable, path: str | Path, kind: str, kinds: Mapping[str, type]):
    """`make(tensors, content)` of what `io.write_tensors` wrote; raises as `read_json`."""
    content, tensors = read_tensors(path, kind)
    with content_of(path):
        check_kinds(content, kinds)
        return make(tensors, content)


def read_layers(cls, path: str | Path, kind: str, tensors: tuple[str, ...]):
    """`cls`, LayerScores, of a file that its `save` wrote; tensors: the first is [pair, layer]."""
    kinds = {"pairs": list[str], "selected": list[int], "method": str, "settings": dict}
    content = read_json(path, {"kind": str})
    with content_of(path):
        if content.pop("kind") != kind:
            raise ValueError("no layer scores, as `detect_layers(…).save` writes them")
        check_kinds(content, kinds)
    for name in tensors:
        with content_of(f"{name} of {path}"):
            content[name] = torch.tensor(content[name])
    with content_of(path):
        scores = cls(**content)
        n, (first, *others) = len(scores.pairs), (getattr(scores, x).shape for x in tensors)
        if first[:-1] != (n,) or any(shape != (n, first[1] - 1) for shape in others):
            raise ValueError(f"{', '.join(tensors)} do not fit {n} pairs and each other")
        if not scores.selected or not all(0 < x < first[1] for x in scores.selected):
            can = f"RA can choose 1 … {first[1] - 1}"
            raise ValueError(f"selected layers {scores.selected}: {can}")
        scores.top(1)  # the method is known
        return scores
