"""The claims of the papers, one module each: a module with a `CLAIM` in this folder is a row of the
scorecard."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from ..evidence import Claim

PAPERS = "LSP"  # LANDeRMT; sparse subnetworks (arXiv 2510.13580); pruning (arXiv 2409.16911)


def _collected() -> list[Claim]:
    """By paper, then by number."""
    modules = [import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__)]
    claims = [module.CLAIM for module in modules if hasattr(module, "CLAIM")]
    return sorted(claims, key=lambda claim: (PAPERS.index(claim.id[0]), int(claim.id[1:])))


CLAIMS = _collected()
