"""The kinds of studies and of trials, each a record."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ..config import LanderConfig, parse_pair
from .methods import BLOCK, EQUAL_SIZE, PRUNED, SELECTORS, TUNED

# half-decade steps, as many for every method; Method.scale moves them
GRID = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
BEYOND = 3  # trials more at most, where the best rate is at an end of its grid
STEPS = (-1, 0, 1)  # rates of a front: the chosen one, and half a decade to either side
BUDGETS = (0.03, 0.1)  # of the neurons of all layers, by the kind "equal-size"
EPSILONS = (0.75, 0.8, 0.85, 0.9, 0.95)  # LANDeRMT fig. 11
SPARSITIES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
LOW_RESOURCE = "af"
TAUGHT, UNTAUGHT = ("de", "fr"), ("it", "zh")  # by the kind "transfer", to and from English
LANDER = "lander-corrected"  # LANDeRMT as we read it: what sweeps vary


def low_resource() -> list[str]:
    """The two directions of the low-resource language."""
    return [f"en-{LOW_RESOURCE}", f"{LOW_RESOURCE}-en"]


def of_languages(pairs: Iterable[str], languages: Sequence[str]) -> list[str]:
    """The directions that have one of these languages."""
    return [pair for pair in pairs if {*parse_pair(pair)} & {*languages}]


def half_decades(rate: float, steps: int, scale: float = 1.0) -> float:
    """The rate so many half decades away, on the ladder …, 1, 3, 10, 30, … times `scale`."""
    decades, half = divmod(round(2 * math.log10(rate / scale)) + steps, 2)
    return float(f"{scale * (3 if half else 1) * 10.0**decades:.6g}")


# ---------------------------------------------------------------- kinds
def _plain_text(config: LanderConfig, settings: dict) -> list[list[str]]:
    return [[LOW_RESOURCE]]


def _directions_taught(config: LanderConfig) -> list[str]:
    return of_languages(config.corpus.pairs, TAUGHT)


def _taught(config: LanderConfig, settings: dict) -> list[list[str]]:
    return [_directions_taught(config)]


def _taught_and_not(config: LanderConfig) -> list[str]:
    return _directions_taught(config) + of_languages(config.corpus.pairs, UNTAUGHT)


def _and_low_resource(config: LanderConfig) -> list[str]:
    return [*config.corpus.pairs, *low_resource()]


def _sweep(name: str, values: Sequence) -> list[dict]:
    return [{"settings": ((name, value),)} for value in values]


def _n_layers(config: LanderConfig) -> int:
    return config.model.architecture.get("num_hidden_layers", config.layers.k + 1)


def _numbers_of_layers(config: LanderConfig) -> list[dict]:
    n = _n_layers(config)
    places = [(k, "selected") for k in range(1, n + 1)] + [(k, "random") for k in range(1, n)]
    return [{"settings": (("k", k), ("where", where))} for k, where in places]


def epsilon_of(budget: float) -> float:
    """The ε whose specific neurons are this share of all."""
    return round(1 - budget, 6)


def _budgets(config: LanderConfig) -> list[dict]:
    k = _n_layers(config)
    return [{"settings": (("epsilon", epsilon_of(x)), ("k", k))} for x in BUDGETS]


def _fronts(config: LanderConfig) -> list[dict]:
    return [{"settings": (("step", step),) if step else ()} for step in STEPS]


def _one_of_each_side(config: LanderConfig) -> list[dict]:
    return _sweep("pair", config.corpus.pairs[:2])


def _with_low_resource(config: LanderConfig) -> list[dict]:
    languages = dict.fromkeys([*config.corpus.languages, LOW_RESOURCE])
    return _sweep("languages", [tuple(languages)])


@dataclass(frozen=True)
class Kind:
    """What the runs of one kind have in common.

    methods: those that are run if none are named. stages: (config, settings) -> the directions to
    train, stage by stage. tested: config -> the directions to measure. variants: config -> the
    arguments of `Spec` for each run of a trained method with one seed. share: of the config's
    updates. sentences: test sentences a direction, None for all of them. curve: a run is measured
    after updates / each of these. after_stages: and after each stage. on_valid: measured on valid,
    to choose a learning rate. plain_text: trains on plain text of the low-resource language.
    prunes: its methods remove weights, `sparsities` of them. translations: they are kept, and BLEU
    gets an interval. other_domain: the trained directions are measured on the lab's second test set
    too. seeds: trainings per method, if no other number is asked for; three of those in `beside`,
    on which no claim hangs. grid: the kind of trials that
    choose its learning rates. rates: of such trials, {method: rates}, those of "others" for the
    rest (None: the study's grid, times the method's scale). separate: settings, each value of which
    has a rate of its own.
    """

    about: str
    methods: Sequence[str] = ()
    stages: Callable[[LanderConfig, dict], list[list[str]]] = lambda c, _: [c.corpus.pairs]
    tested: Callable[[LanderConfig], list[str]] = lambda c: c.corpus.pairs
    variants: Callable[[LanderConfig], list[dict]] = lambda c: [{}]
    share: float = 1.0
    sentences: int | None = 200
    curve: tuple[int, ...] = ()
    after_stages: bool = False
    on_valid: bool = False
    plain_text: bool = False
    prunes: bool = False
    sparsities: tuple[float, ...] = SPARSITIES
    translations: bool = False
    other_domain: bool = False
    grid: str = "grid"
    seeds: int = 3
    beside: Sequence[str] = ()
    rates: Mapping[str, tuple[float, ...]] | None = None
    separate: tuple[str, ...] = ()

    def seeds_of(self, method: str) -> int:
        return 3 if method in self.beside else self.seeds


CONTROLS = ("random", "lander-none", "layers", "random-layers", "random-layers-above")
CONTROLS += ("lander-block",)  # of forgetting: lesson 06 shows them, no claim hangs on them
KINDS = {  # the most important first: in this order a study runs them
    "main": Kind(
        "every method on all directions (Tables 1, 2)",
        ("zero-shot", "five-shot", *TUNED, *BLOCK),
        sentences=None,
        translations=True,
        seeds=8,
        beside=("random-layers", "random-layers-above", "ia3", "xie", "lander-block-norms"),
    ),
    "forgetting": Kind(
        "two directions trained at three rates, the others and the languages measured along the "
        "way: fronts of gain and loss",
        ("zero-shot", "full", "full-kl", "lora", LANDER, *CONTROLS),
        stages=lambda config, settings: [config.corpus.pairs[:2]],
        variants=_fronts,
        share=0.5,
        sentences=150,
        curve=(5,),
        seeds=8,
        beside=CONTROLS,
    ),
    "sequence": Kind(
        "five directions, one after another",
        ("full", "full-kl", "lora", "lander-none", LANDER, "random"),
        stages=lambda config, settings: [[pair] for pair in config.corpus.pairs[::2]],
        sentences=150,
        after_stages=True,
        grid="grid-sequence",
        seeds=8,
        beside=("lander-none", "random"),
    ),
    "matrix": Kind(
        "one direction trained, all measured (fig. 3)",
        ("zero-shot", "full", LANDER, "lander-block"),
        stages=lambda config, settings: [[settings["pair"]] if settings else config.corpus.pairs],
        variants=lambda config: _sweep("pair", config.corpus.pairs),
        share=0.5,
        grid="grid-matrix",
    ),
    "equal-size": Kind(
        "3% and 10% of the neurons of all layers, by five selectors and at random",
        ("zero-shot", *EQUAL_SIZE),
        variants=_budgets,
        share=0.5,
        grid="grid-equal-size",
        seeds=8,
        beside=SELECTORS,
    ),
    "k": Kind(
        "LANDeRMT in 1 … all layers, chosen by RA and at random (fig. 10)",
        (LANDER,),
        variants=_numbers_of_layers,
    ),
    "epsilon": Kind(
        "LANDeRMT with ε from .75 to .95 (fig. 11)",
        (LANDER,),
        variants=lambda config: _sweep("epsilon", EPSILONS),
        seeds=8,
    ),
    "normalize": Kind(
        "scores raw, divided by the layer's mean, or by rank",
        (LANDER,),
        variants=lambda config: _sweep("normalize", ("raw", "layer_mean", "rank")),
    ),
    "router": Kind(
        "routings × learning rates × seeds: is the router stable, or a change of step size?",
        ("lander-none", "lander-literal", "lander-corrected", "lander-learned"),
        variants=lambda config: [{"rate": rate} for rate in GRID[2:]],
        seeds=8,
    ),
    "low-resource": Kind(
        "the two directions of the low-resource language",
        ("zero-shot", "full", "layers", "lora", "random", "lander-none", LANDER),
        stages=lambda config, settings: [low_resource()],
        tested=_and_low_resource,
        variants=_with_low_resource,
        share=0.5,
        grid="grid-low-resource",
        seeds=8,
    ),
    "sparse": Kind(
        "plain text of the low-resource language, for its own neurons and for others (arXiv "
        "2510.13580)",
        ("zero-shot", "full", "ffn", "lora", "ia3", "sparse-random", "sparse"),
        stages=_plain_text,
        tested=_and_low_resource,
        share=0.5,
        plain_text=True,
        grid="grid-sparse",
        seeds=8,
    ),
    "prune": Kind(
        "10 to 60% of the weights removed, by several metrics and calibration texts (arXiv "
        "2409.16911)",
        ("zero-shot", *PRUNED),
        sentences=100,
        prunes=True,
    ),
}
REAL = {  # smaller editions for a real model, which takes minutes a run: never of "all"
    "transfer": Kind(
        "German and French trained; Italian, Chinese and another domain measured too",
        ("zero-shot", "lander-none", "random-anywhere", "lora", "full", "specific-only")
        + ("random-specific", "lape", "lander-corrected", "layers", "four-shot"),
        stages=_taught,
        tested=_taught_and_not,
        sentences=60,
        translations=True,
        other_domain=True,
        grid="grid-transfer",
    ),
    "real-sparse": Kind(
        "sparse: plain text of the low-resource language, fewer methods and sentences",
        ("zero-shot", "sparse", "sparse-random", "lora", "full"),
        stages=_plain_text,
        tested=lambda config: low_resource() + _directions_taught(config),
        share=0.5,
        sentences=60,
        plain_text=True,
        grid="grid-real-sparse",
    ),
    "real-prune": Kind(
        "prune: two sparsities, four directions",
        ("zero-shot", "wanda-translation", "wanda-monolingual", "wanda-tokens", "magnitude")
        + ("random-weights", "wanda-english"),
        tested=_directions_taught,
        sentences=60,
        prunes=True,
        sparsities=(0.2, 0.5),
    ),
}
RUNS = KINDS | REAL


def _trials(kind: str, about: str, **own) -> Kind:
    """Of a kind's learning rates: trained as its runs are, measured once, on valid."""
    once = {"on_valid": True, "curve": (), "after_stages": False, "translations": False}
    options = {"sentences": 100, "other_domain": False} | once | own
    return replace(RUNS[kind], about=about, **options)


TRIALS = {
    "grid": _trials("main", "learning rates on all directions"),
    "grid-sequence": _trials("sequence", "… on one direction after another, by all at the end"),
    "grid-matrix": _trials(
        "matrix",
        "… on one direction alone, out of English and into it, by that direction",
        tested=lambda config: config.corpus.pairs[:2],
        variants=_one_of_each_side,
    ),
    "grid-equal-size": _trials(
        "equal-size", "… of equally many neurons", separate=("epsilon", "k")
    ),
    "grid-low-resource": _trials(
        "low-resource",
        "… on the two directions of the low-resource language",
        tested=lambda config: low_resource(),
    ),
    "grid-sparse": _trials(
        "sparse",
        "… on plain text, by its perplexity and by translation",
        tested=lambda config: low_resource(),
    ),
    "grid-transfer": _trials(
        "transfer",
        "… on German and French, for a model in half precision",
        tested=_directions_taught,
        sentences=24,
        rates={
            "full": (9e-6, 3e-5, 9e-5),
            "lora": (3e-4, 9e-4, 2.7e-3),
            "specific-only": (3e-5, 1e-4, 3e-4, 1e-3, 3e-3),
            "random-specific": (3e-5, 1e-4, 3e-4, 1e-3, 3e-3),
            "lander-corrected": (3e-5, 1e-4, 3e-4, 1e-3),
            "others": (3e-5, 1e-4, 3e-4),
        },
    ),
    "grid-real-sparse": _trials(
        "real-sparse",
        "… on plain text, for a model in half precision",
        tested=lambda config: low_resource(),
        sentences=24,
        rates={
            "full": (9e-6, 3e-5, 9e-5),
            "lora": (3e-4, 9e-4, 2.7e-3),
            "others": (1e-4, 3e-4, 1e-3),
        },
    ),
}
RECORDS = RUNS | TRIALS
ANALYSIS = {  # no runs: the folder analyses/
    "analysis": Kind("layers, scores, sets and gates, with controls (lessons 01-04, 07, 08)")
}
