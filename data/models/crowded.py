"""A gate: is there a crowded tiny world, where tuning all directions together costs the small ones?
`python data/models/crowded.py` (an hour of one core; goes on where it stopped).

LANDeRMT is about interference: directions share too few parameters. So a narrow base model
(4 layers, d_model 48) reads what the others read. Then full tuning on all 42 directions, with ten
times as many rows and batches where neither language is small, is held against tuning one small
direction alone, at as many batches of that direction and at as many updates in all. Each has its
own learning rate and its own best moment, on valid. The gate: joint tuning is at least 1 BLEU
below both, as a mean over four small directions. `--times 1 --rounds 300`: as many batches of each
direction, and enough for tuning alone to end. What came out: CROWDED.md.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import permutations
from pathlib import Path
from statistics import fmean

import torch

from lander_lite.config import FinetuneConfig
from lander_lite.corpus import load_corpus
from lander_lite.evaluation import evaluate
from lander_lite.io import write_text
from lander_lite.model import load_model
from lander_lite.training.loop import finetune

HERE = Path(__file__).resolve().parent
LANGUAGES = ("en", "de", "it", "fr", "ar", "zh", "af")
SMALL = ("it", "ar")  # languages with a tenth of the rows
TESTED = ("en-it", "it-en", "en-ar", "ar-en")
ROWS, FEW = 4000, 400
RATES = (3e-4, 1e-3, 3e-3, 1e-2)
COST = 1.0  # BLEU


def unequal(corpus):
    """The first ROWS rows, the small languages in FEW of them."""

    def without_small(row, i):
        kept = {c: text if i < FEW or c not in SMALL else None for c, text in row.items()}
        return {"translation": kept}

    rows = corpus.select(range(ROWS))
    return rows.map(lambda row, i: without_small(row["translation"], i), with_indices=True)


def directions(times: int) -> list[str]:
    """One round of joint tuning: every small direction once, the others so many times, half of
    each after the other so that neither is far away."""
    every = [f"{a}-{b}" for a, b in permutations(LANGUAGES, 2)]
    small = [pair for pair in every if {*pair.split("-")} & {*SMALL}]
    large = [pair for pair in every if pair not in small]
    first, half = large * (times // 2), len(small) // 2
    return first + small[:half] + large * (times - times // 2) + small[half:]


def best_moment(base, tokenizer, train, valid, pairs, tested, config, points) -> dict:
    """Tune a copy and measure `tested` on valid after each of `points` updates: {"updates", "bleu":
    {pair: BLEU}} of the best, and the mean at each."""
    model, found = copy.deepcopy(base), {}

    def look(update: int) -> None:
        if update in points:
            scores = evaluate(
                model.eval(), tokenizer, valid, tested, max_sentences=100, bootstrap=0
            )
            model.train()
            found[update] = {pair: scores[pair]["bleu"] for pair in tested}

    finetune(model, tokenizer, train, pairs, config, callback=look)
    means = {update: fmean(bleu.values()) for update, bleu in found.items()}
    best = max(means, key=means.get)
    return {"updates": best, "bleu": found[best], "means": means}


def kept(path: Path, make: Callable[[], dict]) -> dict:
    """The content of a JSON file, made now if it is not there."""
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        write_text(path, json.dumps(make(), indent=1) + "\n")
    return json.loads(path.read_text(encoding="utf-8"))


def run(folder: Path, times: int, rounds: int) -> tuple[float, dict]:
    """Every tuning, one file each: (what joint tuning costs, {direction: {run: BLEU}}). The long
    ones, alone at as many updates, are left out where the gate cannot be met any more."""
    base, tokenizer = load_model(str(folder / "crowded"))
    train = unequal(load_corpus("data/tiny_babel/train.jsonl"))
    valid = load_corpus("data/tiny_babel/valid.jsonl")
    together = directions(times)
    updates = rounds * len(together)
    plain = FinetuneConfig(batch_size=16, rows_per_pair=ROWS, progress=False)

    def best(name: str, pairs, tested, n: int) -> dict[str, float]:
        """{direction: BLEU} of the best rate."""
        found, points = [], sorted({max(1, n * i // 8) for i in range(1, 9)})
        for rate in RATES:
            config = replace(plain, updates=n, learning_rate=rate)
            given = (base, tokenizer, train, valid, pairs, tested, config, points)
            path = folder / f"{times}-times" / f"{name}-{rate:g}.json"
            found.append(kept(path, partial(best_moment, *given))["bleu"])
            print(name, rate, {k: round(v, 1) for k, v in found[-1].items()}, flush=True)
        return max(found, key=lambda bleu: fmean(bleu.values()))

    def cost() -> float:
        alone = [min(scores[x] for x in scores if x != "joint") for scores in gate.values()]
        return fmean(alone) - fmean(scores["joint"] for scores in gate.values())

    gate: dict[str, dict] = {pair: {} for pair in TESTED}
    for pair in TESTED:
        gate[pair]["alone, as many batches"] = best(f"{pair}-batches", [pair], [pair], rounds)[pair]
    for pair, bleu in best("joint", together, TESTED, updates).items():
        gate[pair]["joint"] = bleu
    if cost() >= COST:
        for pair in TESTED:
            found = best(f"{pair}-updates", [pair], [pair], updates)
            gate[pair]["alone, as many updates"] = found[pair]
    return cost(), gate


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=HERE / "work" / "crowded-gate")
    parser.add_argument(
        "--times", type=int, default=ROWS // FEW, help="batches of the other directions for one"
    )
    parser.add_argument("--rounds", type=int, default=60, help="batches of each small direction")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    lost, gate = run(arguments.folder, arguments.times, arguments.rounds)
    for pair, scores in gate.items():
        print(pair, {name: round(bleu, 1) for name, bleu in scores.items()})
    met = "met" if lost >= COST else "not met"
    print(f"joint tuning costs the small directions {lost:+.1f} BLEU: {met}")
