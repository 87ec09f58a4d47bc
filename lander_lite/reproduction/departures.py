"""Where we depart from LANDeRMT, or choose where it is silent or contradicts itself; and the option
that goes the other way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .tables import markdown_table


@dataclass(frozen=True)
class Departure:
    """paper: what it (or its released code) says. here: our choice. switch: arguments of
    `lander-lite` that choose otherwise, or "" for a choice without an option."""

    point: str
    paper: str
    here: str
    why: str
    switch: str = ""


DEPARTURES = (
    Departure(
        "model and corpus",
        "BLOOM-7b1, Baichuan2-7B; news, OPUS-100",
        "two tiny models in a tiny world",
        "no GPU, no network",
        "run --profile bloom-7b1",
    ),
    Departure(
        "which layer D_i names (eq. 1)",
        "not said; one list for all directions in the code",
        "block i + 1; pooled over directions",
        "this block made the change",
    ),
    Departure(
        "sum that cancels (eq. 1)",
        "difference of means over units",
        "the same, beside two measures that cannot cancel",
        "positive and negative changes cancel",
        "run --set layers.method=absolute",
    ),
    Departure(
        "which way to sort (eq. 5)",
        "text: high to low, so 10% general; elsewhere and in the code 90%",
        "the lowest 90% of the variance is general",
        "only this fits the rest of the paper",
        "run --set categories.epsilon=0.1",
    ),
    Departure(
        "scores of different languages (eq. 5)",
        "compared raw; released sets are very unequal",
        "divided by the layer's mean",
        "a language with a larger loss would take most neurons",
        "study --kinds normalize",
    ),
    Departure(
        "where a neuron is scored (eq. 4)",
        "code: before the activation function",
        "after it",
        "this is what the down-projection multiplies",
        "run --set awareness.pre_activation=true",
    ),
    Departure(
        "loss behind the scores",
        "code: labels are shifted twice",
        "shifted once",
        "a bug; lesson 02 measures what it changes",
    ),
    Departure(
        "router (eq. 6-8)",
        "as printed, the general part gets the specific part's weight",
        "symbols un-swapped",
        "as printed, the path of 90% of the neurons is almost shut",
        "run --set tuning.routing=literal",
    ),
    Departure(
        "what the router learns",
        "text: it learns; equations: no parameter",
        "nothing; a learned gate is another method",
        "the equations are explicit",
        "run --set tuning.routing=learned",
    ),
    Departure(
        "no router",
        "no such row in Table 2",
        "a method of its own",
        "without it the router's effect is unknown",
        "study --methods lander-none,lander-corrected",
    ),
    Departure(
        "neurons of other languages",
        "text: dropped in the forward pass; code: kept",
        "dropped with the routers of eq. 6-8, else kept",
        "the text, where it speaks",
        "run --set tuning.other_specific=keep",
    ),
    Departure(
        "which weights are tuned",
        "text: feed-forward; parameter count and code: attention and norms too",
        "feed-forward",
        "the text and Fig. 2; the neurons of whole blocks are a row of the study",
        "study --methods lander-block",
    ),
    Departure(
        "a neuron's weights",
        "code: output rows of each linear map",
        "up row, its bias and the down column",
        "together they are one term of the block's sum",
    ),
    Departure(
        "frozen rows",
        "masked gradients, which weight decay still moves",
        "tuned slices are parameters of their own",
        "frozen must mean frozen; lesson 05 shows the drift",
    ),
    Departure(
        "one model or ten",
        "not clear",
        "one model for ten directions",
        "one table row, one model",
        "study --kinds matrix --methods lander-corrected,lander-block",
    ),
    Departure(
        "updates and data",
        "12,500 updates of 80 sentences; 100k or 200k pairs a direction",
        "300 updates of 16; 400 pairs a direction",
        "minutes on two cores; equal for all methods",
        "run --set finetune.updates=12500 --set finetune.rows_per_pair=none",
    ),
    Departure(
        "learning rate",
        "5e-5 for LANDeRMT; baselines' not said",
        "each method's own, of five or, where the best is at an end, up to eight, chosen on valid",
        "one rate for all would favour some method",
        "run --set finetune.learning_rate=5e-5",
    ),
    Departure(
        "schedule",
        "constant, no warm-up",
        "warm-up, then cosine",
        "short runs end better; equal for all methods",
        "run --set finetune.schedule=constant --set finetune.warmup=0",
    ),
    Departure(
        "prompt",
        "ten instructions drawn at random",
        "one plain template",
        "the tiny models were trained on it",
        "run --set 'corpus.template=Translate from {source_language} to {target_language}: "
        "{source}'",
    ),
    Departure("padding", "code: counted in the loss", "left out", "a bug"),
    Departure(
        "en-it test set",
        '"WMT16 en-it", which cannot be identified',
        "the same test rows in all directions",
        "equal texts",
        "run --set corpus.test=data/tiny_babel/test.jsonl",
    ),
    Departure(
        "BLEU into Chinese",
        "one signature is printed, with 13a",
        "sacreBLEU's zh tokenizer",
        "13a takes a sentence for one word",
    ),
)


def as_markdown(departures: Sequence[Departure] = DEPARTURES) -> str:
    """The table, with the command that goes the other way."""
    rows = []
    for number, d in enumerate(departures, 1):
        switch = f"`lander-lite {d.switch}`" if d.switch else "no option"
        rows.append((number, d.point, d.paper, d.here, d.why, switch))
    return markdown_table(("", "point", "the paper", "here", "why", "to switch"), rows)
