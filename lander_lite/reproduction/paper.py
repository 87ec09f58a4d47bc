"""Numbers printed in LANDeRMT (Zhu et al., ACL 2024), for orientation beside ours: another model
(BLOOM-7b1), corpus and test set."""

from __future__ import annotations

from collections.abc import Sequence

from ..config import PAIRS


def _row(text: str, pairs=PAIRS) -> dict[str, float]:
    return dict(zip(pairs, map(float, text.split()), strict=True))


# Table 1, BLEU, by the names of methods.METHODS
TABLE_1 = {
    "full": _row("16.12 19.39 17.98 24.18 29.13 28.15 15.40 28.83 20.87 25.52"),
    "zero-shot": _row("11.71 17.82 8.07 16.05 19.58 18.88 9.46 26.37 6.14 22.02"),
    "five-shot": _row("11.49 14.57 9.80 13.12 18.74 15.29 10.01 21.24 6.83 17.19"),
    "adapter": _row("15.61 19.67 15.25 23.63 28.08 27.26 11.28 28.07 15.18 25.05"),
    "lora": _row("15.12 19.03 14.82 22.85 27.16 27.72 11.15 27.74 15.72 25.12"),
    "adapter-lora": _row("16.31 20.23 15.83 23.82 28.05 28.22 11.78 28.46 16.32 25.61"),
    "lander": _row("18.85 22.03 19.82 25.99 31.91 30.55 16.97 31.44 22.47 28.11"),
}
# the ablation, four directions only
TABLE_2 = {
    name: _row(text, ("en-fr", "fr-en", "en-zh", "zh-en"))
    for name, text in {
        "layers": "27.63 27.12 22.81 24.28",
        "specific-only": "22.27 21.46 16.18 23.16",
        "general-only": "28.15 27.83 23.52 25.08",
        "lander": "31.91 30.55 22.47 28.11",
    }.items()
}

# fig. 3: one direction trained (row), BLEU change of five directions (column); the numbers are
# those of the authors' notebook
INTO_ENGLISH = ("ar-en", "de-en", "fr-en", "it-en", "zh-en")
FIG_3 = {
    name: _row(text, INTO_ENGLISH)
    for name, text in {
        "ar-en": "2.87 .48 8.66 6.31 1.11",
        "de-en": "-2.40 2.21 6.20 3.07 .02",
        "fr-en": "-.09 1.33 9.67 4.24 1.83",
        "it-en": "-.76 .82 7.85 8.94 .11",
        "zh-en": "-.30 1.39 8.89 3.72 4.09",
    }.items()
}

FIG_10 = {4: 23.09, 30: 22.46}  # {k layers: mean BLEU}; 30 are all of them
FIG_11 = {0.85: 22.85, 0.9: 23.09, 0.95: 22.52}  # {ε: mean BLEU}


def mean(row: dict[str, float]) -> float:
    """The mean BLEU of one row of a table."""
    return sum(row.values()) / len(row)


def lead(table: dict[str, dict[str, float]], names: Sequence[str]) -> str:
    """By how much BLEU LANDeRMT is ahead of some rows of a table."""
    ours = mean(table["lander"])
    return "; ".join(f"{name} {ours - mean(table[name]):+.1f}" for name in names)
