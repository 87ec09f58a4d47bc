"""The kinds of studies, each a record, and the runs that each one consists of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..config import LanderConfig, nearest, parse_pair
from .methods import METHODS, PRUNED, TUNED

# the same number of rates for every method; Method.scale moves them
GRID = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
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


def _numbers_of_layers(config: LanderConfig) -> list[dict]:
    n = config.model.architecture.get("num_hidden_layers", config.layers.k + 1)
    places = [(k, "selected") for k in range(1, n + 1)] + [(k, "random") for k in range(1, n)]
    return [{"settings": (("k", k), ("where", where))} for k, where in places]


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
    too. grid: the kind of trials that choose its learning rates. rates: of such trials, {method:
    rates}, those of "others" for the rest (None: the study's grid, times the method's scale).
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
    rates: Mapping[str, tuple[float, ...]] | None = None


KINDS = {
    "main": Kind(
        "every method on all directions (Tables 1, 2)",
        ("zero-shot", "five-shot", *TUNED),
        sentences=None,
        translations=True,
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
        "routings × learning rates × seeds: is the router stable?",
        ("lander-none", "lander-literal", "lander-corrected", "lander-learned"),
        variants=lambda config: [{"rate": rate} for rate in GRID[2:]],
    ),
    "matrix": Kind(
        "one direction trained, all measured (fig. 3)",
        ("zero-shot", "full", "lora", LANDER),
        stages=lambda config, settings: [[settings["pair"]] if settings else config.corpus.pairs],
        variants=lambda config: _sweep("pair", config.corpus.pairs),
        share=0.5,
    ),
    "forgetting": Kind(
        "two directions trained, the others and the languages measured along the way",
        ("zero-shot", *TUNED),
        stages=lambda config, settings: [config.corpus.pairs[:2]],
        share=0.5,
        sentences=150,
        curve=(15, 5, 2),
    ),
    "sequence": Kind(
        "five directions, one after another",
        ("full", "full-kl", "lora", "lander-none", LANDER, "random"),
        stages=lambda config, settings: [[pair] for pair in config.corpus.pairs[::2]],
        sentences=150,
        after_stages=True,
    ),
    "low-resource": Kind(
        "the two directions of the low-resource language",
        ("zero-shot", "full", "layers", "lora", "random", "lander-none", LANDER),
        stages=lambda config, settings: [low_resource()],
        tested=_and_low_resource,
        variants=_with_low_resource,
        share=0.5,
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
TRIALS = {
    "grid": Kind("learning rates on all directions", sentences=100, on_valid=True),
    "grid-sparse": Kind(
        "learning rates on plain text",
        stages=_plain_text,
        tested=lambda config: low_resource(),
        share=0.5,
        sentences=100,
        on_valid=True,
        plain_text=True,
    ),
    "grid-transfer": Kind(
        "learning rates on German and French, for a model in half precision",
        stages=_taught,
        tested=_directions_taught,
        sentences=24,
        on_valid=True,
        rates={
            "full": (9e-6, 3e-5, 9e-5),
            "lora": (3e-4, 9e-4, 2.7e-3),
            "specific-only": (3e-5, 1e-4, 3e-4, 1e-3, 3e-3),
            "random-specific": (3e-5, 1e-4, 3e-4, 1e-3, 3e-3),
            "lander-corrected": (3e-5, 1e-4, 3e-4, 1e-3),
            "others": (3e-5, 1e-4, 3e-4),
        },
    ),
    "grid-real-sparse": Kind(
        "learning rates on plain text, for a model in half precision",
        stages=_plain_text,
        tested=lambda config: low_resource(),
        share=0.5,
        sentences=24,
        on_valid=True,
        plain_text=True,
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
@dataclass(frozen=True)
class Spec:
    """One run: a method with a seed and a learning rate (None: what the grid chose), in the way its
    kind and settings say. settings: of `Lab.sets`, or ("pair", …)."""

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
    def grid(self) -> str:
        """The kind of trials that choose this run's learning rate."""
        return self.definition.grid

    @property
    def sets(self) -> dict:
        """Arguments of `Lab.sets`."""
        return {key: value for key, value in self.settings if key != "pair"}

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


def grid_specs(needed: Sequence[tuple[str, str]], grid: Sequence[float] = GRID) -> list[Spec]:
    """Trials on valid for (Spec.grid, method): every method's own grid, of the same size."""
    specs = []
    for kind, method in needed:
        rates = [float(f"{rate * METHODS[method].scale:.6g}") for rate in grid]
        if own := TRIALS[kind].rates:
            rates = own.get(method, own["others"])
        specs += [Spec(kind, method, 0, rate) for rate in rates]
    return specs


def specs_of(
    kinds: Sequence[str], methods: Sequence[str] | None, seeds: int, config: LanderConfig
) -> list[Spec]:
    """All runs of some kinds; "analysis" has none.

    Raises: ValueError for an unknown kind or method, a method of another kind, fewer than one seed.
    """
    kinds = list(KINDS) if list(kinds) == ["all"] else kinds
    known = KINDS | REAL | ANALYSIS
    _check_known("kind", kinds, known)
    _check_known("method", methods or (), METHODS)
    if seeds < 1:
        raise ValueError(f"seeds = {seeds} must be at least 1")
    specs = []
    for name in kinds:
        for method in methods or known[name].methods:
            _check_fits(name, known[name], method)
            if name not in ANALYSIS:
                specs += _specs_of_method(name, method, seeds, config)
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
