"""The kind "transfer" in numbers: directions that were taught and others, another domain, plain
text; and each comparison's interval over test sentences. A row a method, as lesson 11 and the page
of results show it.

`python -m lander_lite.reproduction.transfer FOLDER TEST` computes the intervals from the stored
translations and the test corpus, and stores them in FOLDER/analysis/transfer.json: they can be read
without the corpus.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean

from ..corpus import load_corpus
from ..io import write_text
from ..prompts import pair_rows
from .evidence import NotMeasured, Study, bleu
from .forgetting import change, final_point, over_seeds
from .kinds import UNTAUGHT, of_languages
from .methods import METHODS
from .results import load_hypotheses
from .statistics import (
    bleu_rows,
    mean_bleu_interval,
    mean_interval,
    paired_bootstrap,
    with_interval,
)

KIND, BASE = "transfer", "zero-shot"
COMPARED = (
    ("lander-none", "zero-shot"),
    ("lander-none", "four-shot"),
    ("lander-none", "random-anywhere"),
    ("lander-none", "lape"),
    ("lander-none", "layers"),
    ("lander-none", "lora"),
    ("lander-none", "full"),
    ("lander-corrected", "lander-none"),
    ("specific-only", "random-specific"),
)
GROUPS = ("taught", "untaught")
COLUMNS = ("method", "trained", "rate", "de, fr", "it, zh", "FLORES", "off-target", "plain text")
RESAMPLES = 1000


def untaught(pairs) -> list[str]:
    """The directions that were not trained."""
    return of_languages(pairs, UNTAUGHT)


def taught(pairs) -> list[str]:
    """The directions that were trained."""
    return [pair for pair in pairs if pair not in untaught(pairs)]


def grouped(pairs) -> dict[str, list[str]]:
    """The directions of each of GROUPS."""
    return {"taught": taught(pairs), "untaught": untaught(pairs)}


def of_group(run: dict, group: str) -> float:
    """Mean BLEU of a run's directions of a group."""
    return bleu(run, grouped(run["pairs"])[group])


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
    """(mean, low, high) of nats per token over languages: how alike the seven languages are.
    NotMeasured where either has no plain text: examples in a prompt change none."""

    def nats(method: str, language: str) -> float:
        runs = study.runs(KIND, method)
        if "perplexity" not in runs[0]:
            raise NotMeasured(f"plain text of {method}")
        return fmean(math.log(run["perplexity"][language]) for run in runs)

    languages = study.runs(KIND, BASE)[0]["perplexity"]
    differences = [nats(first, language) - nats(second, language) for language in languages]
    mean, _, low, high = mean_interval(differences)
    return mean, low, high


# ---------------------------------------------------------------- a row a method
def method_rows(study: Study) -> list[list[str]]:
    """A row of COLUMNS a method: means over seeds, with half the 95% interval where there are
    three. What was not trained has no seeds: there BLEU has its interval over test sentences."""
    base, means = study.runs(KIND, BASE)[0], study.analysis("transfer").get("means", {})
    return [
        _row(method, study.runs(KIND, method), base, means.get(method))
        for method in methods_of(study)
    ]


def _row(method: str, runs: Sequence[dict], base: dict, over_sentences: dict | None) -> list[str]:
    if over_sentences:
        bleus = [with_interval(*over_sentences[group], ".1f") for group in GROUPS]
    else:
        bleus = [shown([of_group(run, group) for run in runs], ".1f") for group in GROUPS]
    known = [run for run in runs if "perplexity" in run]
    return [
        method,
        f"{runs[0].get('trainable', 0):,}",
        f"{runs[0]['learning_rate']:g}" if runs[0]["learning_rate"] else "",
        *bleus,
        shown([of_other_domain(run) for run in runs], ".1f"),
        f"{fmean(wrong_language(run) for run in runs):.0%}",
        shown([plain_text(run, base) for run in known], "+.3f"),
    ]


def shown(values: Sequence[float], form: str) -> str:
    """`over_seeds`, but of two seeds, whose interval says nothing, the mean alone."""
    return format(fmean(values), form) if len(values) == 2 else over_seeds(values, form)


def wrong_language(run: dict) -> float:
    """The share of outputs in a wrong language, mean over the trained directions."""
    return fmean(run["pairs"][pair]["off_target"] for pair in taught(run["pairs"]))


def methods_of(study: Study) -> list[str]:
    """The methods of the study, untrained ones first, then by their BLEU where they trained."""

    def place(name: str) -> tuple:
        runs = study.runs(KIND, name)
        return bool(runs[0].get("trainable")), fmean(of_group(run, "taught") for run in runs)

    return sorted(dict.fromkeys(run["method"] for run in study.runs(KIND)), key=place)


# ---------------------------------------------------------------- intervals over sentences
def store(folder: Path, test) -> dict:
    """Compute and write analysis/transfer.json: for the comparisons that both methods have, and for
    the methods that are not trained."""
    study, rows = Study(folder), {}
    seeds: dict[str, list[int]] = {}
    for run in study.runs(KIND):
        seeds.setdefault(run["method"], []).append(run["seed"])

    def counts(method: str, seed: int) -> dict:
        if (method, seed) not in rows:
            outputs = load_hypotheses(folder, method, seed, KIND)
            rows[method, seed] = {
                pair: bleu_rows(pair, lines, [y for _, y in pair_rows(test, pair, len(lines))])
                for pair, lines in outputs.items()
            }
        return rows[method, seed]

    one = study.runs(KIND)[0]
    result = {"corpus": one["corpus"], "sentences": one["sentences"], "resamples": RESAMPLES}
    result |= {"differences": _differences(seeds, counts), "means": _means(seeds, counts)}
    rounded = json.loads(json.dumps(result), parse_float=lambda x: round(float(x), 4))
    write_text(folder / "analysis" / "transfer.json", json.dumps(rounded, indent=1) + "\n")
    return rounded


def _differences(seeds: dict[str, list[int]], counts: Callable) -> dict:
    """{"first - second": {"seeds", group: {"delta", "ci"}}}; counts: (method, seed) -> `bleu_rows`
    by pair."""

    def rows_of(method: str, pairs: Sequence[str], common: Sequence[int]) -> dict:
        runs = [counts(method, seed) for seed in common if seed in seeds[method]]
        return {pair: [run[pair] for run in runs] for pair in pairs}

    found = {}
    for first, second in COMPARED:
        theirs = seeds.get(second, [])
        if theirs and not METHODS[second].seeded:  # its one run meets every seed
            theirs = seeds.get(first, [])
        common = [seed for seed in seeds.get(first, []) if seed in theirs]
        if not common:
            continue
        found[f"{first} - {second}"] = {"seeds": len(common)}
        for group, pairs in grouped(counts(first, common[0])).items():
            systems = [rows_of(method, pairs, common) for method in (first, second)]
            mean = paired_bootstrap(*systems, resamples=RESAMPLES)["mean"]
            found[f"{first} - {second}"][group] = {"delta": mean["delta"], "ci": mean["ci"]}
    return found


def _means(seeds: dict[str, list[int]], counts: Callable) -> dict:
    """{method: {group: [mean, low, high]}} of the methods that are not trained."""
    found = {}
    for method, numbers in seeds.items():
        if not METHODS[method].seeded:
            rows = counts(method, numbers[0])
            found[method] = {
                group: mean_bleu_interval({pair: rows[pair] for pair in pairs}, RESAMPLES)
                for group, pairs in grouped(rows).items()
            }
    return found


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
