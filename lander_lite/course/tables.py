"""Tables of the lessons: they scroll sideways in a notebook and on the report's page, and are text
elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

MOST_COLUMNS = 8  # more are too wide to read beside a text


class Link(str):
    """A cell that leads to an address: `Link("lesson 01", "01_which_layers.ipynb")`."""

    def __new__(cls, text: str, address: str):
        link = super().__new__(cls, text)
        link.address = address
        return link


class Table:
    """A table of rows of cells; numbers are written with `fmt`. Raises: ValueError for more than
    `MOST_COLUMNS` columns."""

    def __init__(self, columns: Sequence[str], rows: Sequence[Sequence], fmt: str = ".1f"):
        if len(columns) > MOST_COLUMNS:
            raise ValueError(f"{len(columns)} columns: a table has at most {MOST_COLUMNS}")
        self.columns = list(columns)
        self.rows = [[written(cell, fmt) for cell in row] for row in rows]

    def _repr_html_(self) -> str:
        def line(cells: Sequence[str], tag: str) -> str:
            return "<tr>" + "".join(f"<{tag}>{in_html(cell)}</{tag}>" for cell in cells) + "</tr>"

        head, body = line(self.columns, "th"), "\n".join(line(row, "td") for row in self.rows)
        table = f"<table><thead>{head}</thead>\n<tbody>\n{body}\n</tbody></table>"
        return f'<div style="overflow-x: auto">{table}</div>'

    def __repr__(self) -> str:
        lines = [self.columns, *self.rows]
        widths = [max(map(len, column)) for column in zip(*lines)]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip()
            for line in lines
        )


def in_html(cell: str) -> str:
    """A cell's text, and where it leads."""
    text = escape(cell)
    return f'<a href="{escape(cell.address)}">{text}</a>' if isinstance(cell, Link) else text


def written(cell, fmt: str) -> str:
    """A cell as text: a float by `fmt`, nothing for None, an interval in brackets."""
    if isinstance(cell, float):
        return format(cell, fmt)
    if isinstance(cell, list | tuple):
        return f"[{', '.join(written(bound, fmt) for bound in cell)}]"
    if isinstance(cell, str):
        return cell  # a link stays one
    return "" if cell is None else str(cell)


def bleu_table(
    results: Mapping[str, Mapping], pairs: Sequence[str], paper: Mapping[str, Mapping] | None = None
) -> Table:
    """BLEU of named results of `evaluate`, with their intervals; a row per pair, and their mean.

    Args:
        paper: {column: {pair: BLEU}}, printed beside ours.
    """
    columns, paper = ["direction"], paper or {}
    for name in results:
        columns += [name, "95%"]
    rows = []
    for pair in pairs:
        row = [pair]
        for scores in results.values():
            row += [scores[pair]["bleu"], scores[pair]["bleu_ci"]]
        rows.append(row + [float(column[pair]) for column in paper.values()])
    last = ["mean"]
    for scores in results.values():
        last += [scores["mean"]["bleu"], None]
    for column in paper.values():
        last.append(sum(column[pair] for pair in pairs) / len(pairs))
    return Table([*columns, *paper], [*rows, last])
