"""L9: does it matter that the gate looks at the token?"""

from __future__ import annotations

from ..evidence import Claim, Finding
from ..specs import LANDER
from ..statistics import with_interval
from .shared import shown

ROUTERS = {"learned": "lander-learned", "corrected": LANDER, "literal": "lander-literal"}


def router_matters(study, second):
    gates = study.analysis("gates")
    constant = gates["learned_minus"]["control_constant"]
    seeds, sentences = constant["over_seeds"], constant["paired_bootstrap"]["ci"]
    low, high = min(seeds["low"], sentences[0]), max(seeds["high"], sentences[1])
    routers = {name: study.compare(method, "lander-none") for name, method in ROUTERS.items()}
    parts = {
        "better than a constant gate": low > 0,
        "better than no router": routers["learned"].above,
    }
    texts = "; ".join(f"{name} {difference.text}" for name, difference in routers.items())
    return Finding(
        f"the gate moves by {shown(gates['moved'], 3)}; sd over tokens "
        f"{gates['spread_over_tokens']['mean']:.3f}; learned minus constant gate "
        f"{with_interval(seeds['mean'], low, high, '+.1f')} BLEU",
        parts,
        gates["seeds"],
        f"router minus no router: {texts} BLEU",
    )


CLAIM = Claim(
    id="L9",
    claim="the router balances general and specific capacity",
    paper="§3.2 says so, without a measurement",
    control="the gate held constant; the same neurons without a router",
    shown_in="04_routing.ipynb#Does-the-gate-need-to-look-at-the-token?",
    rule="The learned gate is better than the same gate held at its mean, and tuning with it is "
    "better than tuning the same neurons without a router: both intervals (over seeds and over "
    "test sentences) above zero, each time.",
    function=router_matters,
)
