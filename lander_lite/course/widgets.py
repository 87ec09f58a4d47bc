"""Explorers for the lessons: controls above a picture or a text. Beside each, its lesson has a
static picture of the same thing."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence


def explorer(draw: Callable, **controls):
    """An ipywidgets box: the controls, and below them what draw(**values) displays."""
    from ipywidgets import HBox, VBox, interactive_output

    wrapped = {"flex_flow": "row wrap"}  # on a narrow screen below each other, at their own size
    row = HBox(list(controls.values()), layout=wrapped)
    return VBox([row, interactive_output(draw, controls)])


def picture(title: str, size: tuple[float, float], plot: Callable) -> None:
    """Display a new figure with a title, on whose axes plot(ax) draws."""
    import matplotlib.pyplot as plt
    from IPython.display import display

    from .plots import panels

    with plt.ioff():
        figure, ax = panels(size=size)
        plot(ax)
        ax.set_title(title, fontsize=10)
        display(figure)
        plt.close(figure)


def layer_explorer(scores):
    """Lesson 01: choose a pair, a measure and k, and see the bars and the selected blocks.

    Args:
        scores: LayerScores.
    """
    from ipywidgets import Dropdown, IntSlider

    from .plots import layer_bars

    pooled = "all pairs"

    def draw(pair: str, measure: str, k: int) -> None:
        values = getattr(scores, measure)
        if pair == pooled:
            row, chosen = values.mean(dim=0), scores.top(k, measure)
        else:
            row = values[scores.pairs.index(pair)]
            chosen = scores.per_pair(k, measure)[pair]
        title = f"{pair}: the {k} largest are blocks {', '.join(map(str, chosen))}"
        picture(title, (6, 2.8), lambda ax: layer_bars(ax, row, chosen, measure))

    most, now = scores.delta.shape[1], len(scores.selected) or 1
    return explorer(
        draw,
        pair=Dropdown(options=[pooled, *scores.pairs], description="pair"),
        measure=Dropdown(options=["delta", "absolute", "cosine"], description="measure"),
        k=IntSlider(value=now, min=1, max=most, description="k"),
    )


def epsilon_explorer(scores):
    """Lesson 03: choose epsilon and the normalisation, and see how many specific neurons each
    language gets.

    Args:
        scores: AwarenessScores.
    """
    from ipywidgets import Dropdown, FloatSlider

    from ..neurons import categorize
    from .plots import set_sizes

    def draw(epsilon: float, how: str) -> None:
        sets = categorize(scores, epsilon, how)
        general = sum(sets.counts()["general"].values()) / (sets.d_ff * len(sets.layers))

        def plot(ax):
            set_sizes(ax, sets)
            ax.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))

        title = f"ε = {epsilon:.2f}: {general:.0%} general, the rest by language ({how})"
        picture(title, (6, 3), plot)

    bounds = {"value": 0.9, "min": 0.5, "max": 0.98, "step": 0.01}
    return explorer(
        draw,
        epsilon=FloatSlider(**bounds, description="ε", continuous_update=False),
        how=Dropdown(options=["layer_mean", "raw", "rank"], description="scores"),
    )


def gate_explorer(lander, tokenizer, examples: Mapping[str, Sequence[tuple[str, str]]]):
    """Lesson 04: choose a pair, a sentence and a block, and see the gate of every token.

    Args:
        lander: the tuned model, with a learned router.
        examples: {pair: [(source, target)]}.
    """
    from ipywidgets import Dropdown, IntSlider

    from ..probes.gates import gate_values
    from .plots import token_bars

    blocks = list(lander.partitioned)

    def draw(pair: str, sentence: int, block: int) -> None:
        gates, ids, is_target = gate_values(lander, tokenizer, [examples[pair][sentence]], pair)
        tokens = [tokenizer.decode([i]) for i in ids.tolist()]
        colours = ["C1" if target else "C0" for target in is_target.tolist()]
        values, prior = gates[blocks.index(block)], lander.partitioned[block].router.share
        label = "gate (general share)"
        title = f"{pair}, block {block}; orange: target tokens, dashed: the prior"
        picture(title, (8, 3), lambda ax: token_bars(ax, tokens, values, prior, label, colours))

    last = min(map(len, examples.values())) - 1
    return explorer(
        draw,
        pair=Dropdown(options=list(examples), description="pair"),
        sentence=IntSlider(max=last, description="sentence", continuous_update=False),
        block=Dropdown(options=blocks, value=blocks[-1], description="block"),
    )


def playground(model, tokenizer, pairs, world: Mapping[str, Sequence[str]] | None = None):
    """Lesson 05: type a sentence, choose a direction, and read the base model's and the tuned
    model's translation. The example is in the language that the direction starts from; words that
    the world lacks are named.

    Args:
        model: the tuned model.
        world: {language: sentences}, the first of each is the example; default: Tiny Babel, from
            its test part on.
    """
    from html import escape

    from IPython.display import HTML, display
    from ipywidgets import Dropdown, Text

    from ..evaluation import translate
    from ..languages import parse_pair

    world = world or tiny_babel()
    known = {language: {*words(" ".join(text))} for language, text in world.items()}
    first = parse_pair(pairs[0])[0]
    wide = {"width": "34em"}
    text = Text(world[first][0], description="sentence", continuous_update=False, layout=wide)
    pair = Dropdown(options=list(pairs), description="direction")

    def follow(change) -> None:
        if text.value in (sentences[0] for sentences in world.values()):  # not typed by anybody
            text.value = world[parse_pair(change.new)[0]][0]

    def show(text: str, pair: str) -> None:
        if not text.strip():
            print("Type a sentence and press Enter.")
            return
        tuned = translate(model, tokenizer, [text], pair)[0]
        with model.disable_adapter():
            base = translate(model, tokenizer, [text], pair)[0]
        rows = ""
        for name, line in (("base", base), ("tuned", tuned)):
            cells = f"<td><b>{name}</b>&emsp;</td><td dir='auto'>{escape(line) or '(nothing)'}</td>"
            rows += f"<tr>{cells}</tr>"
        display(HTML(f"<table>{rows}</table>"))
        strange = [word for word in words(text) if word not in known[parse_pair(pair)[0]]]
        if strange:
            print(f"This world has no {', '.join(strange)}: what stands for it above is a guess.")

    pair.observe(follow, "value")
    return explorer(show, text=text, pair=pair)


def tiny_babel() -> dict[str, list[str]]:
    """{language: the sentences of test and train}."""
    from ..corpus import load_corpus
    from ..prompts import languages_of, texts

    parts = [load_corpus(f"data/tiny_babel/{part}.jsonl") for part in ("test", "train")]
    return {x: [*texts(parts[0], x), *texts(parts[1], x)] for x in languages_of(parts[0])}


def words(text: str) -> list[str]:
    """The words of a text in lower case, each once; of Chinese, which has no spaces, characters."""
    return list(dict.fromkeys(re.findall(r"[一-鿿]|[^\W\d_一-鿿]+", text.lower())))


def nearest_explorer(atlas, names: Mapping[str, str]):
    """Lesson 12: choose a language, LAPE's rate and the layers, and see which languages share most
    neurons there.

    Args:
        atlas: atlas.Atlas. names: {code: name}.
    """
    from ipywidgets import Dropdown, FloatLogSlider, IntRangeSlider

    from ..neighbours.families import jaccard
    from ..neighbours.lape import lape_from_counts
    from .atlas import nearest_bars

    counts, shown = atlas.counts(), [names[code] for code in atlas.languages]
    last = len(counts.counts) - 1

    def draw(language: str, rate: float, layers: tuple[int, int]) -> None:
        first, final = layers
        sets = lape_from_counts(counts, top_rate=rate)
        overlap = jaccard(sets, layers=range(first, final + 1))
        own = atlas.languages.index(language)
        where = f"{rate:.1%} of the neurons, layers {first} to {final}"
        title = f"nearest to {names[language]}, {where}"
        picture(title, (6, 3.4), lambda ax: nearest_bars(ax, overlap, shown, own))

    options = sorted((name, code) for code, name in names.items())
    bounds = {"value": 0.01, "base": 10, "min": -3, "max": -0.5, "step": 0.25}
    span = {"value": (0, last), "max": last, "description": "layers"}
    return explorer(
        draw,
        language=Dropdown(options=options, description="language"),
        rate=FloatLogSlider(**bounds, description="top rate", continuous_update=False),
        layers=IntRangeSlider(**span, continuous_update=False),
    )
