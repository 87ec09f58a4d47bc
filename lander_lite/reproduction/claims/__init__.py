"""The claims of the papers: every list CLAIMS of a module in this folder.

Verdicts and margins: `verdicts`. The sizes in the rules (such as .8, or half of the layers) were
written down before the results that they judge. A claim with several parts needs all of them: a
further part can only make it harder to reproduce.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

PAPERS = "LSP"  # LANDeRMT; sparse subnetworks (arXiv 2510.13580); pruning (arXiv 2409.16911)
MODULES = [import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__)]
CLAIMS = sorted(
    [claim for module in MODULES for claim in getattr(module, "CLAIMS", [])],
    key=lambda claim: (PAPERS.index(claim.id[0]), int(claim.id[1:])),
)
