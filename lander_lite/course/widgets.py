"""Explorers for the lessons. Each returns an ipywidgets box; each lesson has a static picture of
the same thing beside it."""

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
    """Lesson 01: choose a pair, a measure and k, and see the bars and the selected blocks. scores:
    LayerScores."""
    import ipywidgets
    import matplotlib.pyplot as plt

    from .plots import layer_bars

    pooled = "all pairs"
    pair = ipywidgets.Dropdown(options=[pooled, *scores.pairs], description="pair")
    by = ipywidgets.Dropdown(options=["delta", "absolute", "cosine"], description="measure")
    k = ipywidgets.IntSlider(
        value=len(scores.selected) or 1, min=1, max=scores.delta.shape[1], description="k"
    )
    picture = ipywidgets.Image(format="png")

    def draw(*_):
        values = getattr(scores, by.value)
        row = values.mean(dim=0) if pair.value == pooled else values[scores.pairs.index(pair.value)]
        chosen = (
            scores.top(k.value, by.value)
            if pair.value == pooled
            else scores.per_pair(k.value, by.value)[pair.value]
        )
        with plt.ioff():
            figure, ax = plt.subplots(figsize=(6, 2.8), layout="constrained")
            layer_bars(ax, row, chosen, by.value)
            ax.set_title(
                f"{pair.value}: the {k.value} largest are blocks {', '.join(map(str, chosen))}"
            )
            picture.value = png(figure)

    for control in (pair, by, k):
        control.observe(draw, names="value")
    draw()
    return ipywidgets.VBox([ipywidgets.HBox([pair, by, k]), picture])


def playground(model, tokenizer, pairs, sentence: str = "The queen will not buy two red apples."):
    """Lesson 05: type a sentence, choose a direction, and read the base model's and the tuned
    model's translation. model: LanderModel."""
    import html

    import ipywidgets

    from ..evaluation import translate

    text = ipywidgets.Text(
        value=sentence, description="sentence", continuous_update=False, layout={"width": "34em"}
    )
    pair = ipywidgets.Dropdown(options=list(pairs), description="direction")
    output = ipywidgets.HTML()

    def show(*_):
        if not text.value.strip():
            output.value = "Type a sentence and press Enter."
            return
        tuned = translate(model, tokenizer, [text.value], pair.value)[0]
        with model.disable_adapter():
            base = translate(model, tokenizer, [text.value], pair.value)[0]
        rows = "".join(
            f"<tr><td><b>{name}</b>&emsp;</td><td "
            f"dir='auto'>{html.escape(line) or '(nothing)'}</td></tr>"
            for name, line in (("base", base), ("tuned", tuned))
        )
        output.value = f"<table>{rows}</table>"

    for control in (text, pair):
        control.observe(show, names="value")
    show()
    return ipywidgets.VBox([ipywidgets.HBox([text, pair]), output])


def epsilon_explorer(scores):
    """Lesson 03: choose epsilon and the normalisation, and see how many specific neurons each
    language gets. scores: AwarenessScores."""
    import ipywidgets
    import matplotlib.pyplot as plt

    from ..neurons import categorize
    from .plots import set_sizes

    epsilon = ipywidgets.FloatSlider(
        value=0.9, min=0.5, max=0.98, step=0.01, description="ε", continuous_update=False
    )
    how = ipywidgets.Dropdown(options=["layer_mean", "raw", "rank"], description="scores")
    picture = ipywidgets.Image(format="png")

    def draw(*_):
        sets = categorize(scores, epsilon.value, how.value)
        with plt.ioff():
            figure, ax = plt.subplots(figsize=(6, 3), layout="constrained")
            set_sizes(ax, sets)
            ax.legend(fontsize=8)
            general = sum(sets.counts()["general"].values()) / (sets.d_ff * len(sets.layers))
            ax.set_title(
                f"ε = {epsilon.value:.2f}: {general:.0%} general, the rest by language "
                f"({how.value})",
                fontsize=10,
            )
            picture.value = png(figure)

    for control in (epsilon, how):
        control.observe(draw, names="value")
    draw()
    return ipywidgets.VBox([ipywidgets.HBox([epsilon, how]), picture])


def gate_explorer(lander, tokenizer, examples: dict):
    """Lesson 04: choose a pair, a sentence and a block, and see the gate of every token. examples:
    {pair: [(source, target)]}."""
    import ipywidgets
    import matplotlib.pyplot as plt

    from ..probes.gates import gate_values
    from .plots import token_bars

    pair = ipywidgets.Dropdown(options=list(examples), description="pair")
    row = ipywidgets.IntSlider(
        value=0,
        min=0,
        max=min(map(len, examples.values())) - 1,
        description="sentence",
        continuous_update=False,
    )
    layer = ipywidgets.Dropdown(
        options=list(lander.partitioned), value=list(lander.partitioned)[-1], description="block"
    )
    picture = ipywidgets.Image(format="png")

    def draw(*_):
        gates, ids, is_target = gate_values(
            lander, tokenizer, [examples[pair.value][row.value]], pair.value
        )
        with plt.ioff():
            figure, ax = plt.subplots(figsize=(8, 3), layout="constrained")
            tokens = [tokenizer.decode([i]) for i in ids.tolist()]
            colours = ["tab:orange" if target else "tab:blue" for target in is_target.tolist()]
            share = lander.partitioned[layer.value].router.share
            token_bars(
                ax,
                tokens,
                gates[list(lander.partitioned).index(layer.value)],
                share,
                "gate (general share)",
                colours,
            )
            ax.set_title(
                f"{pair.value}, block {layer.value}; orange: target tokens, dashed: the prior",
                fontsize=10,
            )
            picture.value = png(figure)

    for control in (pair, row, layer):
        control.observe(draw, names="value")
    draw()
    return ipywidgets.VBox([ipywidgets.HBox([pair, row, layer]), picture])
