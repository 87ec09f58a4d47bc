"""What result files say about "A is better than B": differences with intervals over seeds and over
test sentences; claims built on them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from datasets import Dataset

from ..config import LanderConfig
from ..corpus import load_corpus
from ..io import write_text
from ..prompts import pair_rows
from ..stored import read_json
from .methods import METHODS
from .results import load_hypotheses, load_results
from .statistics import bleu_rows, mean_interval, paired_bootstrap, with_interval
from .verdicts import Part, within

SEEDS = 3  # with two seeds, Student's t makes an interval of ± 9 sd: it says nothing
RESAMPLES = 1000  # sacreBLEU's number; interval ends move by a few hundredths of its width


class NotMeasured(Exception):
    """A result file that a claim needs is not there; the message says which."""


def bleu(run: dict, pairs: Sequence[str] | None = None) -> float:
    """Mean test BLEU over the directions of a run, or over some of them."""
    if pairs is None:
        return run["mean"]["bleu"]
    return float(np.mean([run["pairs"][pair]["bleu"] for pair in pairs]))


@dataclass(frozen=True)
class Difference:
    """A minus B. values: one difference per training seed, both systems trained with the same seed.
    sentences: the 95% interval of `paired_bootstrap` over test sentences, or None where no
    translations are stored."""

    name: str
    values: tuple[float, ...]
    sentences: tuple[float, float] | None = None

    @property
    def mean(self) -> float:
        """Over seeds."""
        return mean_interval(self.values)[0]

    @property
    def seeds(self) -> tuple[float, float]:
        """95% interval of the mean over seeds (Student's t)."""
        return mean_interval(self.values)[2:]

    @property
    def interval(self) -> tuple[float, float]:
        """From the lower of the two lower ends to the higher of the two upper ends: zero lies
        outside if it lies outside of both."""
        lows, highs = zip(*(x for x in (self.seeds, self.sentences) if x))
        return min(lows), max(highs)

    @property
    def above(self) -> bool:
        """Both intervals lie above zero: A is better than B, and neither the seeds nor the test
        sentences explain it."""
        return self.interval[0] > 0

    @property
    def below(self) -> bool:
        """Both intervals lie below zero."""
        return self.interval[1] < 0

    @property
    def text(self) -> str:
        """The mean with its interval, one digit each."""
        return self.shown(1)

    def shown(self, digits: int) -> str:
        """The mean with its interval."""
        return with_interval(self.mean, *self.interval, f"+.{digits}f")

    def part(self, name: str = "", unit: str = "BLEU", margin: float | None = None) -> Part:
        """ "A is better than B" as a condition of a claim (`verdicts`)."""
        name = name or f"better than {self.name}"
        varies = "seeds, and test sentences" if self.sentences else "seeds"
        return Part(name, self.mean, self.interval, len(self.values), varies, unit, 0.0, margin)

    def __str__(self) -> str:
        return f"{self.name} {self.text}"


def minus(
    name: str, first: Mapping[int, float], second: Mapping[int, float] | None = None
) -> Difference:
    """Difference of {seed: value} over the seeds that both have; of the first alone without a
    second. NotMeasured for fewer than SEEDS."""
    second = dict.fromkeys(first, 0.0) if second is None else second
    seeds = sorted(set(first) & set(second))
    if len(seeds) < SEEDS:
        raise NotMeasured(f"{name}: {len(seeds)} of {SEEDS} seeds")
    return Difference(name, tuple(float(first[seed] - second[seed]) for seed in seeds))


class Study:
    """The results of one profile (`results`), each kind read when it is first asked for, or a real
    model's smaller edition of it.

    Bootstrap comparisons are read from folder/analysis/bootstrap.json where it has them for the
    same translations, and computed otherwise (some seconds each); `python -m
    lander_lite.reproduction.scorecard` fills that file."""

    def __init__(
        self, folder, references: dict[str, list[str]] | None = None, resamples: int = RESAMPLES
    ):
        self.folder, self.resamples, self._references = Path(folder), resamples, references or {}
        self._runs: dict[str, list[dict]] = {}
        self._rows: dict[tuple, dict[str, np.ndarray]] = {}
        self._store = self.folder / "analysis" / "bootstrap.json"
        self.bootstraps = {}
        if self._store.is_file():
            self.bootstraps = read_json(self._store, {})

    @property
    def name(self) -> str:
        """The profile."""
        return self.folder.name

    # ---------------------------------------------------------------- runs
    def runs(self, kind: str, method: str | None = None, **settings) -> list[dict]:
        """Runs of a kind, those of one method and with these settings ("learning_rate" is one too).
        NotMeasured when there is none."""
        if kind not in self._runs:
            found = load_results(self.folder, kind)
            self._runs[kind] = found or load_results(self.folder, f"real-{kind}")
        wanted = {"method": method, **settings} if method else settings
        runs = [
            run
            for run in self._runs[kind]
            if all(run["settings"].get(key, run.get(key)) == x for key, x in wanted.items())
        ]
        if not runs:
            asked = [f"{key}={value}" for key, value in settings.items()]
            raise NotMeasured(" ".join([f"{kind}:", method or "no results", *asked]))
        return runs

    def values(
        self, kind: str, method: str, value: Callable[[dict], float] = bleu, **settings
    ) -> dict[int, float]:
        """{seed: value of the run}, without diverged runs."""
        return {
            run["seed"]: value(run)
            for run in self.runs(kind, method, **settings)
            if "diverged" not in run
        }

    def analysis(self, name: str) -> dict:
        """The content of analysis/<name>.json. NotMeasured when it is not there."""
        path = self.folder / "analysis" / f"{name}.json"
        if not path.is_file():
            raise NotMeasured(f"analysis: {name}")
        return read_json(path, {})

    # ---------------------------------------------------------------- differences
    def difference(
        self, kind: str, first: str, second: str, value: Callable[[dict], float] = bleu, **settings
    ) -> Difference:
        """Two methods by matched seeds alone: for kinds that store no translations. An untrained
        method's one run meets every seed."""
        ours = self.values(kind, first, value, **settings)
        if METHODS[second].seeded:
            return minus(second, ours, self.values(kind, second, value, **settings))
        return minus(second, ours, dict.fromkeys(ours, self.values(kind, second, value)[0]))

    def compare(self, first: str, second: str) -> Difference:
        """Two methods of kind main with both intervals: matched seeds, and paired bootstrap over
        test sentences."""
        difference = self.difference("main", first, second)
        return replace(difference, sentences=tuple(self.bootstrap(first, second)["ci"]))

    def bootstrap(self, first: str, second: str) -> dict:
        """`paired_bootstrap`'s mean over directions, over the seeds that both have: {"delta", "ci",
        "p_two_sided", …}.

        NotMeasured without stored translations; ValueError where they do not agree with the result
        files."""
        runs = {method: self.values("main", method) for method in (first, second)}
        seeded = [method for method in runs if METHODS[method].seeded]
        common = sorted(set.intersection(*(set(runs[method]) for method in seeded)))
        seeds = {method: common if method in seeded else [0] for method in runs}
        name, made_from = f"{first} - {second}", self._hash(seeds)
        if self.bootstraps.get(name, {}).get("made_from") == made_from:
            return self.bootstraps[name]
        rows = [self.rows(method, seeds[method]) for method in runs]
        found = paired_bootstrap(*rows, resamples=self.resamples)["mean"]
        means = [np.mean([runs[method][seed] for seed in seeds[method]]) for method in runs]
        if abs(found["delta"] - (means[0] - means[1])) > 0.01:
            raise ValueError(
                f"{self.folder}: {name} is {found['delta']:.2f} BLEU by the stored translations "
                f"and {means[0] - means[1]:.2f} by the result files; they belong to other runs or "
                f"other references"
            )
        rounded = {key: np.round(value, 4).tolist() for key, value in found.items()}
        self.bootstraps[name] = rounded | {"resamples": self.resamples, "made_from": made_from}
        return self.bootstraps[name]

    def rows(self, method: str, seeds: Sequence[int]) -> dict[str, list[np.ndarray]]:
        """{pair: BLEU's counts per test sentence, one array per seed}, from the stored
        translations."""
        for seed in seeds:
            if (method, seed) not in self._rows:
                outputs = load_hypotheses(self.folder, method, seed)
                self._rows[method, seed] = {
                    pair: bleu_rows(pair, lines, self._reference(pair)[: len(lines)])
                    for pair, lines in outputs.items()
                }
        by_seed = [self._rows[method, seed] for seed in seeds]
        return {pair: [rows[pair] for rows in by_seed] for pair in by_seed[0]}

    def save_bootstraps(self) -> None:
        """Write analysis/bootstrap.json: later scorecards need no second of computing."""
        write_text(self._store, json.dumps(dict(sorted(self.bootstraps.items())), indent=1) + "\n")

    def _reference(self, pair: str) -> list[str]:
        if pair not in self._references:
            self._references[pair] = [target for _, target in pair_rows(self._test, pair)]
        return self._references[pair]

    @cached_property
    def _test(self) -> Dataset:
        config = LanderConfig.from_profile(self.runs("main")[0]["profile"])
        return load_corpus(config.corpus.test, split="test")

    def _hash(self, seeds: dict[str, list[int]]) -> str:
        digest = hashlib.sha256(str(self.resamples).encode())
        for method, numbers in seeds.items():
            for seed in numbers:
                try:
                    outputs = load_hypotheses(self.folder, method, seed)
                except FileNotFoundError:
                    raise NotMeasured(f"main: translations of {method}, seed {seed}") from None
                digest.update(json.dumps(outputs, sort_keys=True).encode())
        return digest.hexdigest()[:16]


# ---------------------------------------------------------------- claims
@dataclass(frozen=True)
class Finding:
    """What a claim's function gives back: our numbers, the conditions that make the verdict
    (`verdicts`; at least one), and the control's numbers."""

    measured: str
    parts: Sequence[Part]
    control: str = ""


@dataclass(frozen=True)
class Claim:
    """A claim of a paper and its test: text for the scorecard, and a function (study, second study
    or None) -> Finding, which raises NotMeasured where files are missing.

    rule: how the verdict is made. shown_in: the lesson's file and heading, FILE.ipynb#Heading."""

    id: str
    claim: str
    paper: str
    control: str
    shown_in: str
    rule: str
    function: Callable[[Study, Study | None], Finding]

    @property
    def lesson(self) -> str:
        """The lesson that shows it, in words."""
        return f"lesson {self.shown_in.partition('_')[0]}"


def if_measured(make: Callable[[], str]) -> str:
    """What a claim tells beside its verdict, or that it is not measured, and which file is
    missing."""
    try:
        return make()
    except NotMeasured as missing:
        return f"not measured ({missing})"


def parts_if_measured(make: Callable[[], list[Part]]) -> list[Part]:
    """The parts that older results do not have: none where a file is missing."""
    try:
        return make()
    except NotMeasured:
        return []


def shown(part: dict, digits: int = 2) -> str:
    """A mean and its interval, as analyses store them."""
    return with_interval(part["mean"], part["low"], part["high"], f".{digits}f")


def listed(differences: Sequence[Difference]) -> str:
    """Each with its name, mean and interval."""
    return "; ".join(map(str, differences))


def side(difference: Difference, unit: str = "BLEU") -> str:
    """Where a difference lies, in words."""
    if difference.above or difference.below:
        return "ahead of" if difference.above else "behind"
    equal = within(difference.interval, unit)
    return "not different within the margin from" if equal else "cannot tell against"


def sides(differences: Sequence[Difference]) -> str:
    """The names alone: "ahead of …; behind …; cannot tell against …"."""
    groups: dict[str, list[str]] = {}
    for difference in differences:
        groups.setdefault(side(difference), []).append(difference.name)
    return "; ".join(f"{words} {', '.join(names)}" for words, names in sorted(groups.items()))


def superior(differences: Sequence[Difference], unit: str = "BLEU") -> list[Part]:
    """The parts of a claim "better than each of these"."""
    return [difference.part(unit=unit) for difference in differences]
