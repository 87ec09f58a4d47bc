"""The kind "transfer" in numbers: directions that were taught and others, another domain, plain
text; and each comparison's interval over test sentences.

`python -m lander_lite.reproduction.transfer FOLDER TEST` computes the intervals from the stored
translations and the test corpus, and stores them in FOLDER/analysis/transfer.json: they can be read
without the corpus.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from ..corpus import load_corpus
from ..io import write_text
from ..prompts import pair_rows
from .evidence import NotMeasured, Study, bleu
from .forgetting import change, final_point
from .kinds import UNTAUGHT, of_languages
from .methods import METHODS
from .results import load_hypotheses
from .statistics import bleu_rows, mean_interval, paired_bootstrap

KIND, BASE = "transfer", "zero-shot"
COMPARED = (
    ("lander-none", "zero-shot"),
    ("lander-none", "random-anywhere"),
    ("lander-none", "lape"),
    ("lander-none", "layers"),
    ("lander-none", "lora"),
    ("lander-none", "full"),
    ("lander-corrected", "lander-none"),
    ("specific-only", "random-specific"),
)
GROUPS = ("taught", "untaught")
RESAMPLES = 1000


def untaught(pairs) -> list[str]:
    """The directions that were not trained."""
    return of_languages(pairs, UNTAUGHT)


def taught(pairs) -> list[str]:
    """The directions that were trained."""
    return [pair for pair in pairs if pair not in untaught(pairs)]


def of_group(run: dict, group: str) -> float:
    """Mean BLEU of a run's taught or untaught directions."""
    return bleu(run, (taught if group == "taught" else untaught)(run["pairs"]))


def of_other_domain(run: dict) -> float:
    """Mean BLEU of the taught directions in the second test set."""
    return run["other_domain"]["mean"]["bleu"]


def plain_text(run: dict, base: dict) -> float:
    """What a run costs on plain text: nats per token, mean over languages."""
    return change(final_point(run), final_point(base), [])["perplexity"]


def difference(study: Study, first: str, second: str, group: str) -> tuple[float, float, float]:
    """(mean, low, high) of BLEU of `first` minus `second`, over the seeds of both: the wider of the
    95% intervals over test sentences and, from three seeds on, over seeds. NotMeasured where either
    is missing."""
    stored = study.analysis("transfer")["differences"]
    name = f"{first} - {second}"
    if name not in stored:
        raise NotMeasured(name)
    found = stored[name][group]
    low, high = found["ci"]
    try:
        over_seeds = study.difference(KIND, first, second, lambda run: of_group(run, group)).seeds
        low, high = min(low, over_seeds[0]), max(high, over_seeds[1])
    except NotMeasured:  # of fewer seeds an interval says nothing
        pass
    return found["delta"], low, high


def plain_text_difference(study: Study, first: str, second: str) -> tuple[float, float, float]:
    """(mean, low, high) of nats per token over languages: how alike the seven languages are."""

    def nats(method: str, language: str) -> float:
        runs = study.runs(KIND, method)
        return fmean(math.log(run["perplexity"][language]) for run in runs)

    languages = study.runs(KIND, BASE)[0]["perplexity"]
    differences = [nats(first, language) - nats(second, language) for language in languages]
    mean, _, low, high = mean_interval(differences)
    return mean, low, high


# ---------------------------------------------------------------- intervals over sentences
def store(folder: Path, test) -> dict:
    """Compute and write analysis/transfer.json for the comparisons that both methods have."""
    study, rows, found = Study(folder), {}, {}
    seeds = {run["method"]: [] for run in study.runs(KIND)}
    for run in study.runs(KIND):
        seeds[run["method"]].append(run["seed"])

    def counts(method: str, seed: int) -> dict:
        if (method, seed) not in rows:
            outputs = load_hypotheses(folder, method, seed, KIND)
            rows[method, seed] = {
                pair: bleu_rows(pair, lines, [y for _, y in pair_rows(test, pair, len(lines))])
                for pair, lines in outputs.items()
            }
        return rows[method, seed]

    def by_seed(method: str, numbers: list[int], pair: str) -> list:
        return [counts(method, seed)[pair] for seed in numbers if seed in seeds[method]]

    for first, second in COMPARED:
        theirs = seeds.get(second, [])
        if theirs and not METHODS[second].seeded:  # its one run meets every seed
            theirs = seeds.get(first, [])
        common = [seed for seed in seeds.get(first, []) if seed in theirs]
        if not common:
            continue
        pairs = list(counts(first, common[0]))
        found[f"{first} - {second}"] = {"seeds": len(common)}
        for group, chosen in (("taught", taught(pairs)), ("untaught", untaught(pairs))):
            systems = [{pair: by_seed(method, common, pair) for pair in chosen}
                       for method in (first, second)]  # fmt: skip
            mean = paired_bootstrap(*systems, resamples=RESAMPLES)["mean"]
            numbers = {"delta": mean["delta"], "ci": mean["ci"]}
            found[f"{first} - {second}"][group] = json.loads(
                json.dumps(numbers), parse_float=lambda x: round(float(x), 4)
            )
    one = study.runs(KIND)[0]
    result = {"corpus": one["corpus"], "sentences": one["sentences"], "resamples": RESAMPLES}
    result["differences"] = found
    write_text(folder / "analysis" / "transfer.json", json.dumps(result, indent=1) + "\n")
    return result


def main(arguments: Sequence[str]) -> int:
    """Exit code 0; 2 after a message."""
    if len(arguments) != 2:
        print("usage: python -m lander_lite.reproduction.transfer FOLDER TEST", file=sys.stderr)
        return 2
    folder = Path(arguments[0])
    found = store(folder, load_corpus(arguments[1], split="test"))
    print(f"{len(found['differences'])} comparisons: {folder / 'analysis' / 'transfer.json'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
