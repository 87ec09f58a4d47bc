"""L3 and P1 in translation quality: BLEU when a tenth of the selected layers' neurons is removed,
by score; and when a few features of the blocks' outputs are.

A direction's score of a neuron is the mean of its two languages'. A large model translates less.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from sacrebleu.metrics import BLEU
from torch import Tensor

from ...config import parse_pair
from ...evaluation import bleu_of_sums, translate
from ...hooks import hooked, sites
from ...neighbours.features import ranked
from ...neurons import NeuronSets
from ...probes.switching import switched_off
from ...prompts import pair_rows
from ..lab import Lab
from ..statistics import bleu_rows, paired_bootstrap
from .ablation import is_large, scores_of, tenths_of
from .features import of_both_languages, of_language, of_pair
from .shared import Analysis

TRANSLATED = 200  # test sentences of each direction of the config
OF_LARGE = 20  # of its first two, for a large model: minutes, not hours
REMOVED = 0.02  # of a block's features
DRAWS = 5  # of random features

Rows = dict[str, list[np.ndarray]]  # {pair: `bleu_rows` of each output}


def _quality(lab: Lab) -> dict:
    pairs, sentences = lab.config.corpus.pairs, TRANSLATED
    if is_large(lab):
        pairs, sentences = pairs[:2], OF_LARGE
    corpus = lab.test.select(range(min(len(lab.test), sentences)))
    whole = {pair: [translated(lab, corpus, pair)] for pair in pairs}
    return {
        "pairs": pairs,
        "sentences": len(corpus),
        "bleu": mean_bleu(whole),
        "tenths": without_tenths(lab, corpus, pairs),
        "features": without_features(lab, corpus, pairs, whole),
    }


def translated(lab: Lab, corpus, pair: str) -> np.ndarray:
    """`bleu_rows` of what the base model, as it is now, makes of a corpus."""
    sources, targets = zip(*pair_rows(corpus, pair))
    options = {"template": lab.config.corpus.template}
    return bleu_rows(pair, translate(lab.base, lab.tokenizer, sources, pair, **options), targets)


def mean_bleu(rows: Rows) -> float:
    """BLEU, mean over pairs and outputs."""
    sums = [output.sum(axis=0) for outputs in rows.values() for output in outputs]
    return float(np.mean([bleu_of_sums(BLEU(), x) for x in sums]))


def dearer(kept: Rows, removed: Rows) -> dict:
    """How much more BLEU the second removal costs: {"mean", "low", "high", "n"}, an interval over
    test sentences."""
    found = paired_bootstrap(kept, removed)["mean"]
    low, high = found["ci"]
    n = len(next(iter(kept.values()))[0])
    return {"mean": found["delta"], "low": low, "high": high, "n": n}


# ---------------------------------------------------------------- neurons
def without_tenths(lab: Lab, corpus, pairs: Sequence[str]) -> dict:
    """BLEU without each tenth; tenth 1 has the highest scores. Of random tenths all are alike."""
    layers, generator = lab.choose_layers(), torch.Generator().manual_seed(0)
    rows = {
        name: [without_tenth(lab, corpus, pairs, layers, values, i) for i in range(10)]
        for name, values in scores_of(lab, layers, generator).items()
    }
    top = rows["awareness"][0]
    random = {pair: [tenth[pair][0] for tenth in rows["control_random"]] for pair in pairs}
    return {
        "layers": layers,
        "bleu": {name: [mean_bleu(tenth) for tenth in found] for name, found in rows.items()},
        "top_minus_random": dearer(random, top),
        "top_minus_top_by_activation": dearer(rows["control_activation"][0], top),
    }


def without_tenth(
    lab: Lab, corpus, pairs: Sequence[str], layers: list[int], scores: Tensor, tenth: int
) -> Rows:
    """Translations when a tenth of each layer's neurons is off. scores: [language, layer, d_ff]."""
    rows = {}
    for pair in pairs:
        values = scores[[lab.languages.index(x) for x in parse_pair(pair)]].mean(dim=0)
        off = dict(zip(layers, tenths_of(values)[:, tenth]))
        sets = NeuronSets(layers, ["off"], {}, {"off": off}, scores.shape[-1])
        with switched_off(lab.base, sets, "off"):
            rows[pair] = [translated(lab, corpus, pair)]
    return rows


# ---------------------------------------------------------------- features
def without_features(lab: Lab, corpus, pairs: Sequence[str], whole: Rows) -> dict:
    """BLEU without the features that are largest in translation, without as many that are larger
    in it than in plain text, and without as many random ones; each after every block."""
    generator = torch.Generator().manual_seed(0)
    removed: dict[str, Rows] = {"largest": {}, "of_translation": {}, "control_random": {}}
    for pair in pairs:
        translation, monolingual = magnitudes(lab, pair)
        drawn = torch.rand(DRAWS, *translation.shape, generator=generator)
        ratio = translation / monolingual.clamp_min(1e-12)
        for name, scores in zip(removed, (translation[None], ratio[None], drawn)):
            removed[name][pair] = [without(lab, corpus, pair, ranked(one)) for one in scores]
    return {
        "removed_of_a_block": number(lab),
        "bleu": {name: mean_bleu(rows) for name, rows in removed.items()},
        "cost": {name: dearer(whole, rows) for name, rows in removed.items()},
        "largest_minus_random": dearer(removed["control_random"], removed["largest"]),
        "of_translation_minus_random": dearer(removed["control_random"], removed["of_translation"]),
    }


def number(lab: Lab) -> int:
    """How many features of a block's output are removed."""
    return max(1, round(REMOVED * lab.base.get_input_embeddings().weight.shape[1]))


def without(lab: Lab, corpus, pair: str, order: Tensor) -> np.ndarray:
    """`translated` when the first features of each layer's order are zero after its block. order:
    [layer, feature]."""
    chosen = order[:, : number(lab)]

    def zero(layer: int, h: Tensor) -> Tensor:
        return h.index_fill(-1, chosen[layer].to(h.device), 0.0)

    with hooked(sites(lab.base, "residual"), zero):
        return translated(lab, corpus, pair)


def magnitudes(lab: Lab, pair: str) -> tuple[Tensor, Tensor]:
    """`feature_magnitudes` in translation and in text of the pair's two languages, [layer,
    feature]."""
    alone = {language: of_language(lab, language, seed=0) for language in parse_pair(pair)}
    return of_pair(lab, pair, seed=0), of_both_languages(alone, pair)


ANALYSIS = Analysis(
    "quality",
    "L3 and P1 in translation: BLEU without a tenth of the neurons, by score, and without a few "
    "features that are large in translation.",
    _quality,
)
