"""What does selective tuning do where directions are in each other's way? `python
data/models/crowded_methods.py` (two hours of one core; goes on where it stopped; `--shard 1/2`).

In the crowded world (crowded.py) joint tuning costs English into a small language, and helps the
other directions. Here LANDeRMT's parts are tuned there jointly, each at its own best rate on valid,
and measured on test beside full tuning, jointly and of one direction alone, as many batches of each
direction. Into data/results/crowded/methods.jsonl, which lesson 06 reads.
"""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import fmean

import torch
from crowded import FEW, HERE, LANGUAGES, ROWS, directions, kept, unequal

from lander_lite.config import FinetuneConfig, LanderConfig
from lander_lite.io import write_text
from lander_lite.reproduction.lab import Lab
from lander_lite.reproduction.methods import METHODS
from lander_lite.reproduction.study import read_shard
from lander_lite.training.loop import finetune

MEASURED = ("en-it", "en-ar", "de-it", "fr-ar", "it-en", "ar-en", "it-de", "ar-fr")
METHODS_HERE = ("untuned", "alone", "full", "lander-none", "random", "lander-corrected")
RATES = {
    "untuned": (0.0,),
    "alone": (3e-4, 1e-3, 3e-3),
    "full": (1e-3, 3e-3, 1e-2),
    "lander-corrected": (1e-3, 3e-3, 1e-2, 3e-2),
}
SELECTIVE = (3e-4, 1e-3, 3e-3, 1e-2)
ROUNDS = 150  # batches of each direction
SEEDS = 3
TIE = 0.2  # BLEU on valid: rates that are nearly as good as the best get all seeds too
RESULTS = HERE.parent / "results" / "crowded" / "methods.jsonl"


def measured(lab: Lab, model, pairs) -> dict:
    """BLEU on 50 sentences of valid and 100 of test: {"valid" or "test": {direction: BLEU}}."""
    found = {}
    for name, corpus, sentences in (("valid", lab.valid, 50), ("test", lab.test, 100)):
        scores = lab.translations(model, corpus, pairs, sentences, bootstrap=0)
        found[name] = {pair: scores[pair]["bleu"] for pair in pairs}
    return found


def tuned(lab: Lab, method: str, rate: float, seed: int) -> dict:
    """One training of all directions, or with "alone" one for each direction that is measured."""
    together = directions(1)
    config = FinetuneConfig(
        batch_size=16, rows_per_pair=ROWS, learning_rate=rate, seed=seed, progress=False
    )

    def train(method: str, pairs, updates: int):
        torch.manual_seed(seed)
        model = METHODS[method].build(lab.fresh(), lab, lab.sets(), seed)
        finetune(model, lab.tokenizer, lab.train, pairs, replace(config, updates=updates))
        return model

    if method == "untuned":
        return measured(lab, lab.base, MEASURED)
    if method != "alone":
        model = train(method, together, ROUNDS * len(together))
        return measured(lab, model, MEASURED)
    found: dict[str, dict] = {"valid": {}, "test": {}}
    for pair in MEASURED:
        for split, bleu in measured(lab, train("full", [pair], ROUNDS), [pair]).items():
            found[split] |= bleu
    return found


def run(folder: Path, seeds: int, shard: tuple[int, int]) -> None:
    """Every rate of each method with seed 0, then the best on valid with the other seeds, and those
    that tie with it."""
    new = {
        "model.name_or_path": str(folder / "crowded"),
        "layers.k": 2,
        "corpus.languages": list(LANGUAGES),
        "corpus.pairs": directions(1),
    }
    lab = Lab(LanderConfig.from_profile("tiny-bloom", **new), folder)
    lab.train = unequal(lab.train)
    for turn, method in enumerate(METHODS_HERE):
        if turn % shard[1] + 1 != shard[0]:
            continue

        def one(rate: float, seed: int, method: str = method) -> dict:
            path = folder / "methods" / f"{method}-{rate:g}-seed{seed}.json"
            return kept(path, partial(tuned, lab, method, rate, seed))

        rates = RATES.get(method, SELECTIVE)
        valid = {rate: fmean(one(rate, 0)["valid"].values()) for rate in rates}
        for best in [rate for rate in rates if max(valid.values()) - valid[rate] < TIE]:
            found = [one(best, seed) for seed in range(seeds if best else 1)]
            for pair in MEASURED:
                bleu = [round(x["test"][pair], 1) for x in found]
                print(f"{method:16} {best:g} {pair}", bleu, flush=True)


def collect(folder: Path) -> None:
    """All that is there into one table, a line each."""
    lines = []
    for path in sorted((folder / "methods").glob("*.json")):
        method, rate, seed = re.fullmatch(r"(.+)-([\d.]+)-seed(\d+)", path.stem).groups()
        about = {"method": method, "learning_rate": float(rate), "seed": int(seed)}
        lines.append(json.dumps(about | json.loads(path.read_text(encoding="utf-8"))) + "\n")
    RESULTS.parent.mkdir(exist_ok=True)
    write_text(RESULTS, "".join(lines))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=HERE / "work" / "crowded-gate")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--shard", default="1/1", help="which of how many parts of the methods")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{ROWS} rows, {FEW} of a small language; {ROUNDS} batches of each direction")
    run(arguments.folder, arguments.seeds, read_shard(arguments.shard))
    collect(arguments.folder)
