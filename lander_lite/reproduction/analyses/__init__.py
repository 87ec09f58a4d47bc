"""What lessons 01-04, 07 and 08 measure, once more with intervals and controls, as files that the
scorecard reads. A new analysis: one file here, and its place in ANALYSES."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

import torch

from ...config import nearest, refuse_other
from ...io import write_text
from ...stored import read_json
from ..lab import Lab
from ..runs import versions
from . import ablation, features, gates, lape, layers, profile, quality, silhouette, switching

MODULES = (layers, ablation, silhouette, switching, gates, profile, lape, features, quality)
ANALYSES = {module.ANALYSIS.name: module.ANALYSIS for module in MODULES}
LIBRARIES = ("lander-lite", "torch", "transformers", "sacrebleu")


def analyse(lab: Lab, names: Sequence[str] | None = None) -> dict[str, dict]:
    """{name: result} of some analyses (None: all), each a file {lab.folder}/analysis/{name}.json;
    what is there is not computed again.

    Raises:
        ValueError: an unknown name, or a file of another model, corpus or neuron sets, before
            anything is computed.
    """
    names = list(ANALYSES) if names is None else names
    for name in names:
        if name not in ANALYSES:
            raise ValueError(
                f"unknown analysis {name!r}{nearest(name, ANALYSES)}; analyses: "
                f"{', '.join(ANALYSES)}"
            )
    profile, folder = lab.config.profile, lab.folder / "analysis"
    origin = {
        "profile": profile,
        "base_model": lab.model,
        "corpus": lab.corpus,
        "neuron_sets": lab.sets().hash(),
    }
    remedy = (
        f"to make it again, remove it and run: lander-lite study --profile {profile} --kinds "
        f"analysis --output-dir {lab.folder}"
    )
    results = {}
    for name in names:
        path = folder / f"{name}.json"
        if path.is_file():
            results[name] = read_json(path, {})
            refuse_other(results[name], origin, path, remedy)
    for name in names:
        if name not in results:
            results[name] = measured(lab, name, origin)
            text = json.dumps(results[name], indent=1, ensure_ascii=False, allow_nan=False)
            write_text(folder / f"{name}.json", text + "\n")
            seconds = results[name]["seconds"]
            print(f"analysis {name:11}{seconds:7.1f} s → {folder / name}.json", flush=True)
    return {name: results[name] for name in names}


def measured(lab: Lab, name: str, origin: dict) -> dict:
    """The content of an analysis's file: where it comes from, and its numbers."""
    start, analysis = time.time(), ANALYSES[name]
    numbers = analysis(lab)
    return {
        "analysis": name,
        "about": analysis.about,
        **origin,
        "seconds": round(time.time() - start, 1),
        "threads": torch.get_num_threads(),
        "versions": versions(LIBRARIES),
        **numbers,
    }
