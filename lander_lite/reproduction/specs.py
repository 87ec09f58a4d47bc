"""The kinds of studies: which runs each one consists of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..config import LanderConfig, nearest
from .methods import METHODS, PRUNED, TUNED

GRID = (
    3e-4,
    1e-3,
    3e-3,
    1e-2,
    3e-2,
)  # the same number of rates for every method; Method.scale moves it
EPSILONS = (0.75, 0.8, 0.85, 0.9, 0.95)  # LANDeRMT fig. 11
SPARSITIES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
LOW_RESOURCE = "af"
LANDER = "lander-corrected"  # LANDeRMT as we read it: what sweeps vary
KINDS = {
    "main": "every method on all directions (Tables 1, 2)",
    "k": "LANDeRMT in 1 … all layers, chosen by RA and at random (fig. 10)",
    "epsilon": "LANDeRMT with ε from .75 to .95 (fig. 11)",
    "normalize": "scores raw, divided by the layer's mean, or by rank",
    "router": "routings × learning rates × seeds: is the router stable?",
    "matrix": "one direction trained, all measured (fig. 3)",
    "forgetting": "two directions trained, the others and the languages measured along the way",
    "sequence": "five directions, one after another",
    "low-resource": "the two directions of the low-resource language",
    "sparse": "plain text of the low-resource language, for its own neurons and for others (arXiv "
    "2510.13580)",
    "prune": "10 to 60% of the weights removed, by several metrics and calibration texts (arXiv "
    "2409.16911)",
}
PLAIN_TEXT = ("sparse", "grid-sparse")
ANALYSIS = {
    "analysis": "layers, scores, sets and gates, with controls (lessons 01-04, 07, 08)"
}  # no runs: analyses.py
DEFAULT_METHODS = {
    "main": ["zero-shot", "five-shot", *TUNED],
    "k": [LANDER],
    "epsilon": [LANDER],
    "normalize": [LANDER],
    "router": ["lander-none", "lander-literal", "lander-corrected", "lander-learned"],
    "matrix": ["zero-shot", "full", "lora", LANDER],
    "forgetting": ["zero-shot", *TUNED],
    "sequence": ["full", "full-kl", "lora", "lander-none", LANDER, "random"],
    "low-resource": ["zero-shot", "full", "layers", "lora", "random", "lander-none", LANDER],
    "sparse": ["zero-shot", "full", "ffn", "lora", "ia3", "sparse-random", "sparse"],
    "prune": ["zero-shot", *PRUNED],
}


@dataclass(frozen=True)
class Spec:
    """One run: a method with a seed and a learning rate (None: what the grid chose), in the way its
    kind and settings say."""

    kind: str
    method: str
    seed: int = 0
    rate: float | None = None
    settings: tuple[tuple[str, object], ...] = ()  # of Lab.sets, or ("pair", …)

    @property
    def name(self) -> str:
        rate = [f"{self.rate:g}"] if self.rate else []
        settings = [
            f"{key}={value}" for key, value in self.settings if key != "languages"
        ]  # those are the kind's
        return "-".join([self.method, *rate, *settings, f"seed{self.seed}"])

    @property
    def path(self) -> str:
        return f"{self.kind}/{self.name}.json"

    @property
    def grid(self) -> str:
        """The kind of trials that choose this run's learning rate."""
        return "grid-sparse" if self.kind in PLAIN_TEXT else "grid"

    @property
    def sets(self) -> dict:
        return {key: value for key, value in self.settings if key != "pair"}

    def stages(self, config: LanderConfig) -> list[list[str]]:
        """The directions to train, stage by stage."""
        pairs = config.corpus.pairs
        if self.kind == "matrix" and self.settings:
            return [[dict(self.settings)["pair"]]]
        if self.kind == "sequence":
            return [[pair] for pair in pairs[::2]]
        if self.kind in PLAIN_TEXT:
            return [[LOW_RESOURCE]]
        return [
            pairs[:2]
            if self.kind == "forgetting"
            else low_resource()
            if self.kind == "low-resource"
            else pairs
        ]

    def tested(self, config: LanderConfig) -> list[str]:
        if self.kind == "grid-sparse":
            return low_resource()
        return (
            [*config.corpus.pairs, *low_resource()]
            if self.kind in ("low-resource", "sparse")
            else config.corpus.pairs
        )

    def updates(self, config: LanderConfig) -> int:
        """Half of the joint training's for one or two directions."""
        half = self.kind in ("matrix", "forgetting", "low-resource", *PLAIN_TEXT)
        return max(1, config.finetune.updates // 2) if half else config.finetune.updates

    @property
    def sentences(self) -> int | None:
        """Test sentences a direction; None: all of them."""
        return {"main": None, "forgetting": 150, "sequence": 150, "prune": 100}.get(self.kind, 200)

    def curve_points(self, config: LanderConfig) -> list[int]:
        """Updates after which a run is measured besides its end."""
        updates = self.updates(config)
        return (
            sorted({max(1, updates // part) for part in (15, 5, 2)})
            if self.kind == "forgetting"
            else []
        )

    def seconds(self, config: LanderConfig) -> float:
        """A rough cost on two cores, for the time left."""
        tuned, measured = (
            METHODS[self.method].build is not None,
            (self.sentences or 500) * len(self.tested(config)),
        )
        points = (
            1
            + len(self.curve_points(config))
            + 5 * (self.kind == "sequence")
            + 5 * (self.kind == "prune")
        )
        return (
            3
            + 0.075 * self.updates(config) * tuned
            + points * (0.0035 * measured + 3)
            + 0.03 * measured * (METHODS[self.method].shots > 0)
        )


def low_resource() -> list[str]:
    return [f"en-{LOW_RESOURCE}", f"{LOW_RESOURCE}-en"]


def grid_specs(needed: Sequence[tuple[str, str]], grid: Sequence[float] = GRID) -> list[Spec]:
    """Trials on valid for (Spec.grid, method): every method's own grid, of the same size."""
    return [
        Spec(kind, method, 0, rate * METHODS[method].scale)
        for kind, method in needed
        for rate in grid
    ]


def specs_of(
    kinds: Sequence[str], methods: Sequence[str] | None, seeds: int, config: LanderConfig
) -> list[Spec]:
    """All runs of some kinds; "analysis" has none. ValueError for an unknown kind or method, or
    fewer than one seed."""
    kinds = list(KINDS) if list(kinds) == ["all"] else kinds
    for what, names, known in (
        ("kind", kinds, KINDS | ANALYSIS),
        ("method", methods or (), METHODS),
    ):
        if unknown := [name for name in names if name not in known]:
            raise ValueError(
                f"unknown {what} {unknown[0]!r}{nearest(unknown[0], known)}; {what}s: "
                f"{', '.join(known)}"
            )
    if seeds < 1:
        raise ValueError(f"seeds = {seeds} must be at least 1")
    for kind in kinds:
        for method in methods or ():
            if (
                METHODS[method].plain_text
                and kind != "sparse"
                or METHODS[method].prune
                and kind != "prune"
            ):
                raise ValueError(
                    f"{method} ({METHODS[method].about}) is not of the kind {kind!r}; try "
                    f"{', '.join(DEFAULT_METHODS[kind])}"
                )
    return [
        spec
        for kind in kinds
        if kind not in ANALYSIS
        for method in methods or DEFAULT_METHODS[kind]
        for seed in range(seeds if METHODS[method].seeded else 1)
        for spec in _variants(kind, method, seed, config)
    ]


def _variants(kind: str, method: str, seed: int, config: LanderConfig) -> list[Spec]:
    n_layers = config.model.architecture.get("num_hidden_layers", config.layers.k + 1)
    if not METHODS[method].build:
        return [Spec(kind, method, seed)]
    if kind == "k":
        sizes = range(1, n_layers + 1)
        return [
            Spec(kind, method, seed, None, (("k", k), ("where", where)))
            for where in ("selected", "random")
            for k in sizes
            if where == "selected" or k < n_layers
        ]
    if kind == "epsilon":
        return [Spec(kind, method, seed, None, (("epsilon", epsilon),)) for epsilon in EPSILONS]
    if kind == "normalize":
        return [
            Spec(kind, method, seed, None, (("normalize", how),))
            for how in ("raw", "layer_mean", "rank")
        ]
    if kind == "router":
        return [Spec(kind, method, seed, rate) for rate in GRID[2:]]
    if kind == "matrix":
        return [Spec(kind, method, seed, None, (("pair", pair),)) for pair in config.corpus.pairs]
    if kind == "low-resource":
        return [
            Spec(
                kind,
                method,
                seed,
                None,
                (("languages", tuple(dict.fromkeys([*config.corpus.languages, LOW_RESOURCE]))),),
            )
        ]
    return [Spec(kind, method, seed)]
