"""L10: does LANDeRMT train as stably with a router as without?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..evidence import SEEDS, Claim, Finding, NotMeasured, Study
from ..specs import LANDER

TIMES = 2.0  # F(6, 6) at 5% is 4.3: by chance, sds of 3 seeds × 3 rates differ by 2 in 1 of 20
WITHOUT = "lander-none"


@dataclass(frozen=True)
class Spread:
    """How far a method's runs lie apart. by_rate: BLEU's sd over seeds."""

    by_rate: list[float]
    diverged: int
    runs: int

    @property
    def pooled(self) -> float:
        return float(np.mean(np.square(self.by_rate)) ** 0.5)

    def __str__(self) -> str:
        rates = ", ".join(f"{sd:.1f}" for sd in self.by_rate)
        return f"sd {self.pooled:.1f} ({rates}), {self.diverged} of {self.runs} runs diverged"


def spread(study: Study, method: str) -> Spread:
    runs = study.runs("router", method)
    rates = sorted({run["learning_rate"] for run in runs})
    bleu = [[*study.values("router", method, learning_rate=rate).values()] for rate in rates]
    if min(map(len, bleu)) < 2 or len(runs) < SEEDS * len(rates):
        raise NotMeasured(f"router: {method}, {SEEDS} seeds")
    diverged = sum("diverged" in run for run in runs)
    return Spread([float(np.std(values, ddof=1)) for values in bleu], diverged, len(runs))


def stable(study, second):
    methods = dict.fromkeys([LANDER, WITHOUT, *(run["method"] for run in study.runs("router"))])
    spreads = {method: spread(study, method) for method in methods}
    seeds = min(found.runs // len(found.by_rate) for found in spreads.values())
    ours, without = spreads[LANDER], spreads.pop(WITHOUT)
    parts = {
        "no diverged run": not ours.diverged,
        f"spread below {TIMES:g} times that without router": ours.pooled < TIMES * without.pooled,
    }
    measured = "; ".join(f"{method} {found}" for method, found in spreads.items())
    return Finding(measured, parts, seeds, str(without))


CLAIM = Claim(
    id="L10",
    claim="the router trains stably",
    paper="not reported",
    control="the same neurons without a router",
    shown_in="04_routing.ipynb#The-stored-study:-train-with-each-router",
    rule="No run of LANDeRMT diverged at any rate, and its sd over seeds, pooled over the rates, "
    "is less than twice that without a router. The other routers are told beside it.",
    function=stable,
)
