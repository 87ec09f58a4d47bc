"""Explorers for the lessons. Each returns an ipywidgets box; each lesson has a static picture of the same thing beside it."""
from __future__ import annotations

import io


def png(figure) -> bytes:
    """A figure as PNG bytes, and the figure closed."""
    import matplotlib.pyplot as plt
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=80)
    plt.close(figure)
    return buffer.getvalue()


def layer_explorer(scores):
    """Lesson 01: choose a pair, a measure and k, and see the bars and the selected blocks. scores: LayerScores."""
    import ipywidgets
    import matplotlib.pyplot as plt

    from .plots import layer_bars
    pooled = "all pairs"
    pair = ipywidgets.Dropdown(options=[pooled, *scores.pairs], description="pair")
    by = ipywidgets.Dropdown(options=["delta", "absolute", "cosine"], description="measure")
    k = ipywidgets.IntSlider(value=len(scores.selected) or 1, min=1, max=scores.delta.shape[1], description="k")
    picture = ipywidgets.Image(format="png")

    def draw(*_):
        values = getattr(scores, by.value)
        row = values.mean(dim=0) if pair.value == pooled else values[scores.pairs.index(pair.value)]
        chosen = scores.top(k.value, by.value) if pair.value == pooled else scores.per_pair(k.value, by.value)[pair.value]
        with plt.ioff():
            figure, ax = plt.subplots(figsize=(6, 2.8), layout="constrained")
            layer_bars(ax, row, chosen, by.value)
            ax.set_title(f"{pair.value}: the {k.value} largest are blocks {', '.join(map(str, chosen))}")
            picture.value = png(figure)

    for control in (pair, by, k):
        control.observe(draw, names="value")
    draw()
    return ipywidgets.VBox([ipywidgets.HBox([pair, by, k]), picture])


def playground(model, tokenizer, pairs, sentence: str = "The queen will not buy two red apples."):
    """Lesson 05: type a sentence, choose a direction, and read the base model's and the tuned model's translation. model: LanderModel."""
    import html

    import ipywidgets

    from .evaluate import translate
    text = ipywidgets.Text(value=sentence, description="sentence", continuous_update=False, layout={"width": "34em"})
    pair = ipywidgets.Dropdown(options=list(pairs), description="direction")
    output = ipywidgets.HTML()

    def show(*_):
        if not text.value.strip():
            output.value = "Type a sentence and press Enter."
            return
        tuned = translate(model, tokenizer, [text.value], pair.value)[0]
        with model.disable_adapter():
            base = translate(model, tokenizer, [text.value], pair.value)[0]
        rows = "".join(f"<tr><td><b>{name}</b>&emsp;</td><td dir='auto'>{html.escape(line) or '(nothing)'}</td></tr>"
                       for name, line in (("base", base), ("tuned", tuned)))
        output.value = f"<table>{rows}</table>"

    for control in (text, pair):
        control.observe(show, names="value")
    show()
    return ipywidgets.VBox([ipywidgets.HBox([text, pair]), output])
