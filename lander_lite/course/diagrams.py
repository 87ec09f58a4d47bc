"""Lessons 02 to 04: a feed-forward block as a sum of neurons, its partition, and the router, drawn.

The plane is in inches, so a text of a given size fits its box on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence

from .plots import COLOURS, panels

GENERAL, PALE = "#d9d9d9", "#f2f2f2"
FAINT, OFF = "#595959", "#a84300"  # a grey and a vermilion that are dark enough for text


# ---------------------------------------------------------------- boxes and arrows
def _canvas(width: float, height: float, title: str):
    """Axes without lines, `width` × `height` inches; the title is the alt text."""
    _, ax = panels(size=(width, height + 0.4))
    ax.set(xlim=(0, width), ylim=(0, height), title=title)
    ax.set_axis_off()
    return ax


def _box(ax, place, size, text="", colour="white", *, edge="black", ink="black", style="-"):
    """A box around `place`, its middle, with a text."""
    from matplotlib.patches import FancyBboxPatch

    (x, y), (width, height) = place, size
    corner = x - width / 2, y - height / 2
    shape = "round,pad=0,rounding_size=0.06"
    kind = {"facecolor": colour, "edgecolor": edge, "linestyle": style}
    ax.add_patch(FancyBboxPatch(corner, width, height, shape, **kind))
    ax.text(x, y, text, ha="center", va="center", fontsize=10, color=ink)


def _arrow(ax, start, end, colour="black", style="-") -> None:
    way = {"arrowstyle": "-|>", "color": colour, "linestyle": style, "shrinkA": 0, "shrinkB": 0}
    ax.annotate("", end, start, arrowprops=way)


def _note(ax, x, y, text, **options) -> None:
    ax.text(x, y, text, **{"ha": "center", "va": "center", "fontsize": 10} | options)


def _colour(languages: Sequence[str], language: str) -> str:
    return COLOURS[languages.index(language) % 7]  # the eighth is grey


def _language(ax, place, width, language, colour) -> None:
    """A language's neurons: a box of its colour, the name on white."""
    _box(ax, place, (width, 0.5), colour=colour)
    _note(ax, *place, language, bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5})


# ---------------------------------------------------------------- lesson 02
def neuron_sum(neurons: int = 512) -> None:
    """A block as the sum of what its neurons write; one of them is switched off."""
    ax = _canvas(9, 3.9, "A feed-forward block is the sum of what its neurons write")
    rows = {"1": 3.15, "2": 2.45, "i": 1.5, str(neurons): 0.55}
    _box(ax, (0.6, 1.85), (0.8, 0.6), "input\n$x$")
    for name, y in rows.items():
        off = name == "i"
        ink = OFF if off else "black"
        colours = [PALE] * 3 if off else ["#cfe3f1", "white", "#fbe3b3"]
        style, low = ("--" if off else "-"), name if len(name) == 1 else f"{{{name}}}"
        texts = [f"row {name} of up", f"$h_{low}$ = 0" if off else f"$h_{low}$"]
        texts.append(f"column {name} of down")
        for x, width, text, colour in zip((2.6, 4.2, 5.95), (1.5, 0.8, 1.75), texts, colours):
            _box(ax, (x, y), (width, 0.42), text, colour, edge=ink, ink=ink, style=style)
        ends = [((1, 1.85), (1.85, y)), ((3.35, y), (3.8, y)), ((4.6, y), (5.07, y))]
        for start, end in [*ends, ((6.83, y), (7.63, 1.85 + (y - 1.85) * 0.12))]:
            _arrow(ax, start, end, ink, style)
    for x in (2.6, 4.2, 5.95):
        _note(ax, x, 1.97, "⋮", fontsize=13)
        _note(ax, x, 1.03, "⋮", fontsize=13)
    _box(ax, (7.85, 1.85), (0.42, 0.5), "+")
    _box(ax, (7.85, 0.55), (1.1, 0.42), "output bias")
    _arrow(ax, (7.85, 0.76), (7.85, 1.6))
    _arrow(ax, (8.06, 1.85), (8.35, 1.85))
    _box(ax, (8.67, 1.85), (0.62, 0.6), "output")
    for x, text in ((2.6, "reads"), (4.2, "fires"), (5.95, "writes")):
        _note(ax, x, 3.6, text, fontsize=11, fontweight="bold")
    says = "switched off: this term of the sum is gone, and no other changes"
    _note(ax, 4.2, 0.12, says, color=OFF)


# ---------------------------------------------------------------- lesson 03
def _scores(ax, left, heights, languages, colours, says) -> None:
    """One neuron's score for each language, as small bars."""
    xs = [left + 0.4 * i for i in range(len(languages))]
    ax.bar(xs, heights, 0.3, bottom=2.75, color=colours, edgecolor="black", linewidth=0.6)
    for x, language in zip(xs, languages):
        _note(ax, x, 2.62, language, fontsize=9)
    _note(ax, (xs[0] + xs[-1]) / 2, 3.95, says)


def partition(languages: Sequence[str], neurons: int = 512, epsilon: float = 0.9) -> None:
    """The idea of eq. 5: a neuron whose score is much the same for all languages is general, one
    whose score differs goes to the language with the highest. The bars' heights are made up."""
    ax = _canvas(9, 4.1, "The partition: general neurons, and specific ones of each language")
    general, cut, high = int(epsilon * neurons), 0.4 + 8.2 * epsilon, languages[1]
    wave = [0.06 * (i % 3) for i in range(len(languages))]
    flat, uneven = [0.5 + x for x in wave], [0.15 + x for x in wave]
    uneven[1] = 1.0
    ink = [_colour(languages, x) if x == high else "white" for x in languages]
    _scores(ax, 0.8, flat, languages, GENERAL, "a neuron with much the same score for all")
    _scores(ax, 5.7, uneven, languages, ink, f"a neuron with its highest score for {high}")
    wide = {"general": cut - 0.4, "specific": 8.6 - cut}
    _box(ax, (0.4 + wide["general"] / 2, 1.6), (wide["general"], 0.5), colour=GENERAL)
    _note(ax, 0.4 + wide["general"] / 2, 1.6, f"general: the {general} neurons of lowest variance")
    _box(ax, (cut + wide["specific"] / 2, 1.6), (wide["specific"], 0.5))
    _note(ax, cut + wide["specific"] / 2, 1.6, str(neurons - general))
    _arrow(ax, (2, 2.45), (2, 1.9))
    _arrow(ax, (8.2, 2.45), (8.2, 1.9))
    ax.plot([cut, cut], [1.2, 2.1], color="black", linestyle="--")
    _note(ax, cut - 0.1, 2.05, f"cut at ε = {epsilon}", ha="right")
    says = f"the {neurons} neurons of a block, sorted by the variance of their scores →"
    _note(ax, 0.4, 1.15, says, ha="left", fontsize=9)
    step = 4.6 / len(languages)
    for corner, end in ((cut, 4), (8.6, 8.6)):  # the tenth, enlarged
        ax.plot([corner, end], [1.35, 0.75], color=FAINT, linewidth=0.8)
    for i, language in enumerate(languages):
        colour = _colour(languages, language)
        _language(ax, (4 + step * (i + 0.5), 0.5), step - 0.06, language, colour)
    _note(ax, 3.85, 0.5, "specific: each to one language", ha="right")


# ---------------------------------------------------------------- lesson 04
def router(languages: Sequence[str], pair: str = "en-de") -> None:
    """Eq. 6 to 9: the general neurons read c · x, the specific ones of the pair's two languages
    (1 - c) · x; those of other languages take no part."""
    ax = _canvas(9, 3.9, f"The router weighs the input of each part of a block, here for {pair}")
    own = [language for language in languages if language in pair.split("-")]
    others = " ".join(language for language in languages if language not in own)
    _box(ax, (0.6, 2.35), (0.8, 0.6), "input\n$x$")
    _box(ax, (2.2, 2.35), (1.1, 0.5), "CAR: $c$")
    for weight, y, ends in (("$c$", 3.35, (2.6, 3.1)), ("$(1-c)$", 1.35, (2.1, 1.6))):
        _box(ax, (2.2, y), (1.1, 0.5), f"× {weight}", "#fbe3b3")
        _arrow(ax, (2.2, ends[0]), (2.2, ends[1]), FAINT)
        _arrow(ax, (1, 2.35), (1.65, y))
        _arrow(ax, (2.75, y), (3.35, y))
        _arrow(ax, (6.75, y), (7.28, 2.35 + (y - 2.35) * 0.12))
    _box(ax, (5.05, 3.35), (3.4, 0.7), "general neurons  $G$", GENERAL)
    _box(ax, (5.05, 1.35), (3.4, 0.7), colour=PALE)
    _note(ax, 3.5, 1.35, "specific neurons  $S$", ha="left")
    for i, language in enumerate(own):
        _language(ax, (5.75 + 0.6 * i, 1.35), 0.5, language, _colour(languages, language))
    faint = {"edge": FAINT, "ink": FAINT, "style": "--"}
    _box(ax, (5.05, 0.4), (3.4, 0.5), f"{others}: take no part in {pair}", **faint)
    _box(ax, (7.5, 2.35), (0.42, 0.5), "+")
    _box(ax, (7.5, 0.4), (1.1, 0.42), "output bias")
    _arrow(ax, (7.5, 0.61), (7.5, 2.1))
    _arrow(ax, (7.71, 2.35), (8.1, 2.35))
    _box(ax, (8.45, 2.35), (0.7, 0.6), "output\n$H$")
    _note(ax, 5.05, 2.35, "shares of the awareness decide $c$", color=FAINT)
    _arrow(ax, (3.75, 2.35), (2.77, 2.35), FAINT)
