"""The kinds of studies, each a record, and the runs that each one consists of."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from ..config import LanderConfig, nearest, parse_pair
from .methods import BLOCK, EQUAL_SIZE, METHODS, PRUNED, TUNED

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


def _budgets(config: LanderConfig) -> list[dict]:
    k = _n_layers(config)
    return [{"settings": (("epsilon", round(1 - x, 6)), ("k", k))} for x in BUDGETS]


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
    too. seeds: trainings per method, if no other number is asked for. grid: the kind of trials that
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
    rates: Mapping[str, tuple[float, ...]] | None = None
    separate: tuple[str, ...] = ()


FORGETTERS = ("full", "full-kl", "layers", "lora", "random", "lander-none", LANDER)
KINDS = {  # the most important first: in this order a study runs them
    "main": Kind(
        "every method on all directions (Tables 1, 2)",
        ("zero-shot", "five-shot", *TUNED, *BLOCK),
        sentences=None,
        translations=True,
        seeds=8,
    ),
    "forgetting": Kind(
        "two directions trained at three rates, the others and the languages measured along the "
        "way: fronts of gain and loss",
        ("zero-shot", *FORGETTERS, "lander-block"),
        stages=lambda config, settings: [config.corpus.pairs[:2]],
        variants=_fronts,
        share=0.5,
        sentences=150,
        curve=(5,),
        seeds=8,
    ),
    "sequence": Kind(
        "five directions, one after another",
        ("full", "full-kl", "lora", "lander-none", LANDER, "random"),
        stages=lambda config, settings: [[pair] for pair in config.corpus.pairs[::2]],
        sentences=150,
        after_stages=True,
        grid="grid-sequence",
        seeds=8,
    ),
    "matrix": Kind(
        "one direction trained, all measured (fig. 3)",
        ("zero-shot", "full", "lora", LANDER, "lander-block"),
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
        + ("random-weights", "wanda-english", "translation-minus-mono"),
        tested=_directions_taught,
        sentences=60,
        prunes=True,
        sparsities=(0.2, 0.5),
    ),
}


def _trials(kind: str, about: str, **own) -> Kind:
    """Of a kind's learning rates: trained as its runs are, measured once, on valid."""
    once = {"on_valid": True, "curve": (), "after_stages": False, "translations": False}
    options = {"sentences": 100, "other_domain": False} | once | own
    return replace((KINDS | REAL)[kind], about=about, **options)


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
ANALYSIS = {  # no runs: the folder analyses/
    "analysis": Kind("layers, scores, sets and gates, with controls (lessons 01-04, 07, 08)")
}


# ---------------------------------------------------------------- runs
class Grid(NamedTuple):
    """The trials that choose one learning rate: those of a kind, a method and these settings."""

    kind: str
    method: str
    settings: tuple[tuple[str, object], ...] = ()

    def rates(self, grid: Sequence[float]) -> list[float]:
        """To try first: the kind's own, or the study's grid times the method's scale."""
        if own := TRIALS[self.kind].rates:
            return [*own.get(self.method, own["others"])]
        return [float(f"{rate * METHODS[self.method].scale:.6g}") for rate in grid]

    def trials(self, rates: Sequence[float], config: LanderConfig) -> list[Spec]:
        """Of the kind's variants, those that have these settings, at each rate."""
        wanted, variants = {*self.settings}, TRIALS[self.kind].variants(config)
        settings = [variant.get("settings", ()) for variant in variants]
        chosen = [found for found in settings if wanted <= {*found}]
        return [Spec(self.kind, self.method, 0, x, found) for x in rates for found in chosen]


@dataclass(frozen=True)
class Spec:
    """One run: a method with a seed and a learning rate (None: what the grid chose), in the way its
    kind and settings say. settings: of `Lab.sets`, ("pair", …), or ("step", half decades from the
    chosen rate)."""

    kind: str
    method: str
    seed: int = 0
    rate: float | None = None
    settings: tuple[tuple[str, object], ...] = ()

    @property
    def definition(self) -> Kind:
        """The record of its kind."""
        return (KINDS | REAL | TRIALS)[self.kind]

    @property
    def name(self) -> str:
        """Of its result among those of its kind: languages are the kind's, and left out."""
        rate = [f"{self.rate:g}"] if self.rate else []
        settings = [f"{key}={value}" for key, value in self.settings if key != "languages"]
        return "-".join([self.method, *rate, *settings, f"seed{self.seed}"])

    @property
    def path(self) -> str:
        """The result file."""
        return f"{self.kind}/{self.name}.json"

    @property
    def wants_rate(self) -> bool:
        """It is trained at the learning rate that trials choose."""
        return self.rate is None and METHODS[self.method].build is not None

    @property
    def grid(self) -> Grid:
        """The trials that choose this run's learning rate, and those that a trial is one of."""
        kind = self.kind if self.kind in TRIALS else self.definition.grid
        own = [pair for pair in self.settings if pair[0] in TRIALS[kind].separate]
        return Grid(kind, self.method, tuple(own))

    @property
    def step(self) -> int:
        """Half decades from the chosen rate."""
        return dict(self.settings).get("step", 0)

    @property
    def sets(self) -> dict:
        """Arguments of `Lab.sets`."""
        return {key: value for key, value in self.settings if key not in ("pair", "step")}

    def stages(self, config: LanderConfig) -> list[list[str]]:
        """The directions to train, stage by stage."""
        return self.definition.stages(config, dict(self.settings))

    def tested(self, config: LanderConfig) -> list[str]:
        """The directions to measure."""
        return self.definition.tested(config)

    def updates(self, config: LanderConfig) -> int:
        """Of all stages together."""
        return max(1, int(config.finetune.updates * self.definition.share))

    def curve_points(self, config: LanderConfig) -> list[int]:
        """Updates after which a run is measured besides its end."""
        updates = self.updates(config)
        return sorted({max(1, updates // part) for part in self.definition.curve})

    def seconds(self, config: LanderConfig) -> float:
        """A rough cost on two cores, for the time left."""
        kind, method = self.definition, METHODS[self.method]
        points = 1 + len(self.curve_points(config))
        points += len(self.stages(config)) * kind.after_stages
        points += (len(kind.sparsities) - 1) * kind.prunes
        sentences = (kind.sentences or 500) * len(self.tested(config))
        training = 0.075 * self.updates(config) if method.build else 0.0
        long_prompts = 0.03 * sentences if method.shots else 0.0
        return 3 + training + points * (0.0035 * sentences + 3) + long_prompts


def grids_of(specs: Iterable[Spec]) -> list[Grid]:
    """The grids that choose the rates of these runs."""
    return list(dict.fromkeys(spec.grid for spec in specs if spec.wants_rate))


def grid_specs(
    needed: Iterable[Grid], config: LanderConfig, grid: Sequence[float] = GRID
) -> list[Spec]:
    """The first trials of each grid, of the same size for every method."""
    return [spec for one in needed for spec in one.trials(one.rates(grid), config)]


def specs_of(
    kinds: Sequence[str], methods: Sequence[str] | None, seeds: int | None, config: LanderConfig
) -> list[Spec]:
    """All runs of some kinds; "analysis" has none. seeds: None for each kind's own number.

    Raises: ValueError for an unknown kind or method, a method of another kind, fewer than one seed.
    """
    kinds = list(KINDS) if list(kinds) == ["all"] else kinds
    known = KINDS | REAL | ANALYSIS
    _check_known("kind", kinds, known)
    _check_known("method", methods or (), METHODS)
    if seeds is not None and seeds < 1:
        raise ValueError(f"seeds = {seeds} must be at least 1")
    specs = []
    for name in kinds:
        for method in methods or known[name].methods:
            _check_fits(name, known[name], method)
            if name not in ANALYSIS:
                specs += _specs_of_method(name, method, seeds or known[name].seeds, config)
    return specs


def _check_known(what: str, names: Sequence[str], known: dict) -> None:
    for name in names:
        if name not in known:
            raise ValueError(
                f"unknown {what} {name!r}{nearest(name, known)}; {what}s: {', '.join(known)}"
            )


def _check_fits(name: str, kind: Kind, method: str) -> None:
    wanted = METHODS[method]
    if (wanted.plain_text and not kind.plain_text) or (wanted.prune and not kind.prunes):
        raise ValueError(
            f"{method} ({wanted.about}) is not of the kind {name!r}; try {', '.join(kind.methods)}"
        )


def _specs_of_method(kind: str, method: str, seeds: int, config: LanderConfig) -> list[Spec]:
    variants = (KINDS | REAL)[kind].variants(config) if METHODS[method].build else [{}]
    numbers = range(seeds if METHODS[method].seeded else 1)
    return [Spec(kind, method, seed, **variant) for seed in numbers for variant in variants]
