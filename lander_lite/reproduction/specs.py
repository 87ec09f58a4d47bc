"""The runs that a kind of study consists of, and the trials that choose their learning rates."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ..config import LanderConfig, nearest
from .kinds import ANALYSIS, GRID, KINDS, RECORDS, RUNS, TRIALS, Kind
from .methods import METHODS


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
        return RECORDS[self.kind]

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
        """A rough cost, for the time left: half of what one of two runs at a time takes a core."""
        kind, method = self.definition, METHODS[self.method]
        points = 1 + len(self.curve_points(config))
        points += len(self.stages(config)) * kind.after_stages
        points += (len(kind.sparsities) - 1) * kind.prunes
        sentences = (kind.sentences or 500) * len(self.tested(config))
        training = 0.045 * self.updates(config) if method.build else 0.0
        long_prompts = 0.018 * sentences if method.shots else 0.0
        return 2 + training + points * (0.002 * sentences + 2) + long_prompts


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
    known = RUNS | ANALYSIS
    _check_known("kind", kinds, known)
    _check_known("method", methods or (), METHODS)
    if seeds is not None and seeds < 1:
        raise ValueError(f"seeds = {seeds} must be at least 1")
    specs = []
    for name in kinds:
        for method in methods or known[name].methods:
            _check_fits(name, known[name], method)
            if name not in ANALYSIS:
                specs += _specs_of_method(
                    name, method, seeds or known[name].seeds_of(method), config
                )
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
    variants = RUNS[kind].variants(config) if METHODS[method].build else [{}]
    numbers = range(seeds if METHODS[method].seeded else 1)
    return [Spec(kind, method, seed, **variant) for seed in numbers for variant in variants]
