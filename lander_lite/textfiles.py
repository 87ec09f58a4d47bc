"""Numbered lines and JSON rows of UTF-8 text files, with errors that name file and line."""
from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path


def lines_of(path: Path) -> list[tuple[int, str]]:
    """Numbered lines of a UTF-8 file; splits on \\n only, since str.splitlines would also cut at U+2028 and misalign files."""
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[:error.start].count(b"\n") + 1
        raise ValueError(f"{path}, line {line}: not UTF-8 (byte 0x{data[error.start]:02x} at offset {error.start}); convert the file, "
                         f"e.g. iconv -f latin1 -t utf-8") from error
    lines = text.split("\n")
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise ValueError(f"{path}: the file is empty")
    return [(number, line.removesuffix("\r")) for number, line in enumerate(lines, 1)]


def json_rows(path: Path) -> Iterator[tuple[int, dict]]:
    for number, line in lines_of(path):
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}, line {number}: not valid JSON ({error.msg} at column {error.colno}): {line[:60]!r}") from error
        if not isinstance(row, dict):
            raise ValueError(f"{path}, line {number}: expected a JSON object, found {type(row).__name__}")
        yield number, row
