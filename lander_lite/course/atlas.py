"""Lesson 12's pictures of languages; `python -m lander_lite.course.atlas PATH.png` draws the map
for the README."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..config import data_dir
from ..neighbours.atlas import Atlas
from ..neighbours.families import Language, jaccard, languages
from ..neighbours.lape import lape_from_counts
from .plots import panels

FILE = data_dir() / "results" / "gemma-3-270m" / "atlas.safetensors.xz"
COLOURS = {  # Okabe and Ito's, and brown: groups that a colour-blind reader tells apart
    "Germanic": "#0072B2",
    "Romance": "#D55E00",
    "Slavic": "#009E73",
    "Indo-Aryan": "#CC79A7",
    "Turkic": "#E69F00",
    "Atlantic-Congo": "#56B4E9",
    "Austronesian": "#7B3F00",
    "Afro-Asiatic": "#000000",
    "other": "#8A8A8A",
}


def group(language: Language) -> str:
    """The branch of an Indo-European language, else the family; "other" where few have it."""
    name = language.branch if language.family == "Indo-European" else language.family
    return name if name in COLOURS else "other"


def places(overlap: Tensor, seed: int = 0):
    """A place in the plane for each language, by t-SNE of 1 - Jaccard: near means that they share
    neurons, far says little. float32 array [language, 2]."""
    from sklearn.manifold import TSNE  # of the `notebooks` extra, and slow to import

    distance = (1 - overlap).fill_diagonal_(0).numpy()
    options = {"metric": "precomputed", "init": "random", "perplexity": 8}
    return TSNE(random_state=seed, **options).fit_transform(distance)


def draw_map(ax, spots, codes: Sequence[str], table: Mapping[str, Language]) -> None:
    """A point and a name for each language, coloured by `group`; with its title, so that the
    picture has an alt text wherever it is drawn."""
    for name, colour in COLOURS.items():
        chosen = [i for i, code in enumerate(codes) if group(table[code]) == name]
        ax.scatter(spots[chosen, 0], spots[chosen, 1], s=14, color=colour, label=name)
        for i in chosen:
            where = {"xytext": (3, 1), "textcoords": "offset points"}
            ax.annotate(table[codes[i]].name, spots[i], fontsize=6, color=colour, **where)
    title = f"{len(codes)} languages, placed by the neurons that they share in Gemma 3 270M"
    ax.set(xticks=[], yticks=[], title=title)
    ax.legend(fontsize=8, ncol=3)


def family_strip(ax, groups: Sequence[str]) -> None:
    """Below a matrix of languages a strip with the colour of each column's `group`, and a legend
    outside."""
    from matplotlib.colors import to_rgb
    from matplotlib.patches import Patch

    strip = ax.inset_axes([0, -0.05, 1, 0.04])
    strip.imshow([[to_rgb(COLOURS[name]) for name in groups]], aspect="auto")
    strip.set(xticks=[], yticks=[])
    named = [Patch(color=colour, label=name) for name, colour in COLOURS.items()]
    ax.figure.legend(handles=named, loc="outside lower center", ncol=5, fontsize=8)


def nearest_bars(ax, overlap: Tensor, names: Sequence[str], language: int, shown: int = 12) -> None:
    """Bars of the languages that share most with one of them, the nearest on top.

    Args:
        overlap: `jaccard`'s, [language, language]. names, language: of its rows, and a row.
    """
    row = overlap[language].index_fill(0, torch.tensor(language), -1)  # itself comes last
    best = row.argsort(descending=True, stable=True)[:-1][:shown].tolist()
    ax.barh([names[i] for i in best][::-1], row[best].flip(0).tolist())
    ax.set(xlabel="Jaccard overlap", xlim=(0, 1))


def main(path: str) -> None:
    """Write the picture."""
    atlas = Atlas.load(FILE)
    sets = lape_from_counts(atlas.counts())
    figure, ax = panels(1, 1, (12, 7.5))
    draw_map(ax, places(jaccard(sets)), sets.languages, languages())
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main(*sys.argv[1:])
