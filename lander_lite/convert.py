"""Values from YAML files and command lines, checked against a dataclass field's type; language pairs; the nearest valid name for a typo.

Imports nothing heavy, so that the command line answers a mistake at once.
"""
from __future__ import annotations

import difflib
import types
import typing
from pathlib import Path


def nearest(name, valid, prefix: str = "") -> str:
    """" (did you mean …?)", or "" when nothing in `valid` is like `name`."""
    match = difflib.get_close_matches(str(name), [str(v) for v in valid], n=1, cutoff=0.5)
    return f" (did you mean {prefix}{match[0]!s}?)" if match else ""


def parse_pair(pair: str) -> tuple[str, str]:
    """"en-de" -> ("en", "de"). Raises ValueError for anything else, the same language twice included."""
    parts = str(pair).strip().split("-")
    if len(parts) != 2 or not all(parts) or parts[0] == parts[1]:
        raise ValueError(f"{pair!r} is not a translation direction: write source-target with two different codes, such as en-de")
    return parts[0], parts[1]


def languages_of_pair(pair: str) -> tuple[str, ...]:
    """("en", "de") of the direction "en-de"; ("af",) of a bare code, for plain text of one language."""
    return parse_pair(pair) if "-" in pair or not pair else (pair,)


def convert(value, hint, key: str):
    """`value` as the type `hint`, from its YAML or command-line form; ValueError says what was expected."""
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if type(None) in kinds and (value is None or str(value).lower() in ("none", "null", "")):
        return None
    for kind in kinds:
        if kind is bool and (isinstance(value, bool) or str(value).lower() in ("true", "false")):
            return str(value).lower() == "true"
        if kind in (int, float) and not isinstance(value, bool):
            try:
                if kind is float or float(value) == int(float(value)):
                    return kind(float(value))
            except (TypeError, ValueError, OverflowError):   # not a number, or nan and inf as integers
                continue
        if kind is str and isinstance(value, (str, Path)):
            return str(value)
        if kind is dict and isinstance(value, dict):
            return dict(value)
        if kind == list[str]:
            value = [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
            if isinstance(value, (list, tuple)) and value and all(isinstance(part, str) for part in value):
                return list(value)
    expected = " or ".join("a list such as en-de,de-en" if k == list[str] else "none" if k is type(None) else k.__name__ for k in kinds)
    hint = " (YAML reads an unquoted no or yes as true/false: quote it)" if isinstance(value, bool) and str in kinds else ""
    raise ValueError(f"{key} = {value!r}: expected {expected}{hint}")
