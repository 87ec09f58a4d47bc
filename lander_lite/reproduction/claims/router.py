"""L9 and L10: what the router is good for, and whether it trains stably."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..evidence import (
    SEEDS,
    Claim,
    Difference,
    Finding,
    NotMeasured,
    Study,
    if_measured,
    minus,
    parts_if_measured,
    shown,
)
from ..kinds import LANDER
from ..statistics import with_interval
from ..verdicts import Part, fact_part, log_ratio_part

LEARNED = "lander-learned"
ROUTERS = {"learned": LEARNED, "corrected": LANDER, "literal": "lander-literal"}
TIMES = 2.0  # as unstable as that is no longer stable
WITHOUT = "lander-none"


def _router_matters(study, second):
    gates = study.analysis("gates")
    constant = gates["learned_minus"]["control_constant"]
    seeds, sentences = constant["over_seeds"], constant["paired_bootstrap"]["ci"]
    low, high = min(seeds["low"], sentences[0]), max(seeds["high"], sentences[1])
    routers = {name: study.compare(method, "lander-none") for name, method in ROUTERS.items()}
    name, varies = "better than a constant gate", "seeds, and test sentences"
    parts = [
        Part(name, seeds["mean"], (low, high), seeds["n"], varies),
        routers["learned"].part("better than no router"),
    ]
    parts += parts_if_measured(lambda: [over_rates(study, LEARNED).part()])
    texts = "; ".join(f"{name} {difference.text}" for name, difference in routers.items())
    return Finding(
        f"the gate moves by {shown(gates['moved'], 3)}; sd over tokens "
        f"{gates['spread_over_tokens']['mean']:.3f}; learned minus constant gate "
        f"{with_interval(seeds['mean'], low, high, '+.1f')} BLEU",
        parts,
        f"router minus no router: {texts} BLEU; {LANDER} at equal rates: "
        f"{if_measured(lambda: at_equal_rates(study))}",
    )


def by_rate(study: Study, method: str, reference: str = WITHOUT) -> dict[float, Difference]:
    """{learning rate: a router's BLEU minus that without one, both trained at that rate}."""
    rates = sorted({run["learning_rate"] for run in study.runs("router", method)})
    return {x: study.difference("router", method, reference, learning_rate=x) for x in rates}


def over_rates(study: Study, method: str) -> Difference:
    """The mean over rates of `by_rate`, seed by seed."""
    found = [difference.values for difference in by_rate(study, method).values()]
    means = dict(enumerate(np.mean([*zip(*found)], axis=1).tolist()))
    return minus("no router at equal rates", means)


def at_equal_rates(study: Study, method: str = LANDER) -> str:
    """What the router changes at each rate, and whether it can be told from a change of step size:
    a router that scales the gradients loses at low rates and gains at high ones."""
    found = by_rate(study, method)
    numbers = ", ".join(f"{difference.text} at {rate:g}" for rate, difference in found.items())
    sides = {difference.above - difference.below for difference in found.values()}
    if {-1, 1} <= sides:
        return f"{numbers}: the sign changes with the rate, as by another step size"
    if sides in ({1}, {-1}):
        return f"{numbers}: {'better' if 1 in sides else 'worse'} at each rate"
    return f"{numbers}: not one sign at each rate"


L9 = Claim(
    id="L9",
    claim="the router balances general and specific capacity",
    paper="§3.2 says so, without a measurement",
    control="the gate held constant; the same neurons without a router",
    shown_in="04_routing.ipynb#Does-the-gate-need-to-look-at-the-token?",
    rule="The learned gate is better than the same gate held at its mean, and tuning with it is "
    "better than tuning the same neurons without a router: both intervals (over seeds and over "
    "test sentences) above zero, each time. Where the kind router is measured, it is so at equal "
    "learning rates too, mean over its rates (interval over seeds): with a rate chosen for each, a "
    "change of step size looks alike.",
    function=_router_matters,
)


@dataclass(frozen=True)
class Spread:
    """How far a method's runs lie apart. by_rate: BLEU's sd over seeds."""

    by_rate: list[float]
    diverged: int
    runs: int

    @property
    def df(self) -> int:
        """Degrees of freedom of the pooled sd."""
        return self.runs - self.diverged - len(self.by_rate)

    @property
    def pooled(self) -> float:
        """The sd over seeds, over all rates."""
        return float(np.mean(np.square(self.by_rate)) ** 0.5)

    def __str__(self) -> str:
        rates = ", ".join(f"{sd:.1f}" for sd in self.by_rate)
        return f"sd {self.pooled:.1f} ({rates}), {self.diverged} of {self.runs} runs diverged"


def _spread(study: Study, method: str) -> Spread:
    runs = study.runs("router", method)
    rates = sorted({run["learning_rate"] for run in runs})
    bleu = [[*study.values("router", method, learning_rate=rate).values()] for rate in rates]
    if min(map(len, bleu)) < 2 or len(runs) < SEEDS * len(rates):
        raise NotMeasured(f"router: {method}, {SEEDS} seeds")
    diverged = sum("diverged" in run for run in runs)
    return Spread([float(np.std(values, ddof=1)) for values in bleu], diverged, len(runs))


def _stable(study, second):
    methods = dict.fromkeys([LANDER, WITHOUT, *(run["method"] for run in study.runs("router"))])
    spreads = {method: _spread(study, method) for method in methods}
    ours, without = spreads[LANDER], spreads.pop(WITHOUT)
    parts = _stable_parts(ours, without)
    if LEARNED in spreads:
        parts += _stable_parts(spreads[LEARNED], without, " of the learned router")
    measured = "; ".join(f"{method} {found}" for method, found in spreads.items())
    return Finding(
        f"{measured}; of the learned gate {if_measured(lambda: _gate_spread(study))}",
        parts,
        str(without),
    )


def _stable_parts(ours: Spread, without: Spread, of: str = "") -> list[Part]:
    name, df = f"spread{of} below {TIMES:g} times that without router", min(ours.df, without.df)
    return [
        fact_part(f"no diverged run{of}", not ours.diverged, ours.runs, "runs"),
        log_ratio_part(name, ours.pooled, without.pooled, df, TIMES),
    ]


def _gate_spread(study: Study) -> str:
    """How alike trainings leave the learned gate."""
    gates = study.analysis("gates")
    moved, bleu = gates["moved"], gates["bleu"]["learned"]
    return f"sd over seeds {moved['sd']:.3f} of its move, {bleu['sd']:.1f} BLEU"


L10 = Claim(
    id="L10",
    claim="the router trains stably",
    paper="not reported",
    control="the same neurons without a router",
    shown_in="04_routing.ipynb#The-stored-study:-train-with-each-router",
    rule="No run of LANDeRMT diverged at any rate, and its sd over seeds, pooled over the rates, "
    "is less than twice that without a router (interval of the ratio by the F distribution); and "
    "the same of the learned router, the one that has something to train. The other routers are "
    "told beside it.",
    function=_stable,
)


CLAIMS = [L9, L10]
