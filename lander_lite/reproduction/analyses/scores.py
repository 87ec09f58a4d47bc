"""What lessons 01-03 measure of layers, scores and sets, once more with intervals and controls:
claims L1, L3, L4 and L5.

In every analysis {"mean", "sd", "low", "high", "n"} is a mean over n disjoint blocks of sentences
(or training seeds) with its 95% interval (Student's t), and {"mean", "low", "high", "draws"} is the
mean and the central 95% of random draws. A name with "control" is what a number has to be compared
with. Sentences are those of the valid part, which no score was made from. analyses.py writes the
files.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor

from ...awareness import exact_ablation, score_awareness
from ...corpus import texts
from ...evaluation import perplexity
from ...layers import MEASURES, detect_layers
from ...neurons import NeuronSets, random_neurons
from ...probes.switching import sentence_activations, switched_off, switching_matrix
from ...probes.tokens import token_readings
from ..lab import Lab
from ..statistics import mean_interval

BLOCKS, DRAWS, SEEDS = (
    5,
    10,
    3,
)  # blocks of held-out sentences, random controls, draws of neurons or trainings
SENTENCES = 40  # per language and block
SAMPLE, ABLATED = (
    32,
    8,
)  # neurons per layer, and sentences per language, of a draw of exact ablation


# ---------------------------------------------------------------- shared
def plain(x):
    """`x` for JSON: tensors as lists, six digits, None for what is not finite."""
    if isinstance(x, dict):
        return {str(key): plain(value) for key, value in x.items()}
    if isinstance(x, (Tensor, np.ndarray, np.generic)):
        return plain(x.tolist())
    if isinstance(x, (list, tuple)):
        return [plain(value) for value in x]
    return (float(f"{x:.6g}") if math.isfinite(x) else None) if isinstance(x, float) else x


def interval(values) -> dict:
    """{"mean", "sd", "low", "high", "n"} of values [block]; lists of them for [block, …]."""
    values = torch.as_tensor(values, dtype=torch.float64)
    found = np.array(
        [mean_interval(column) for column in values.flatten(1).T.tolist()]
        if values.dim() > 1
        else mean_interval(values.tolist()),
        dtype=float,
    )  # None becomes nan
    parts = np.moveaxis(found.reshape(*values.shape[1:], 4), -1, 0)
    return dict(zip(("mean", "sd", "low", "high"), parts)) | {"n": len(values)}


def spread(values) -> dict:
    """{"mean", "low", "high", "draws"} of random draws [draw, …]: the central 95%."""
    values = torch.as_tensor(values, dtype=torch.float64).numpy()
    low, high = np.percentile(values, [2.5, 97.5], axis=0)
    return {"mean": values.mean(axis=0), "low": low, "high": high, "draws": len(values)}


def rank_correlations(rows) -> np.ndarray:
    """Spearman's correlation of every two rows, [row, row]."""
    return np.corrcoef(rankdata(np.asarray(rows), axis=-1))


def between(rows) -> np.ndarray:
    """Spearman's correlation of any two different rows, [pair of rows]."""
    return rank_correlations(rows)[np.triu_indices(len(rows), 1)]


def sentence_blocks(corpus, size: int = SENTENCES, n: int = BLOCKS) -> list:
    """`n` disjoint parts of a corpus, of `size` rows each, or of what a small corpus has."""
    size = max(1, min(size, len(corpus) // n))
    return [corpus.select(range(start, start + size)) for start in range(0, n * size, size)]


def by_language(corpus, languages) -> dict[str, list[str]]:
    return {language: texts(corpus, language) for language in languages}


# ---------------------------------------------------------------- L1
def layers(lab: Lab) -> dict:
    """L1: do the same few layers change in all pairs? D (eq. 1) of the study's sentences, and of
    blocks of held-out ones."""
    c, found = lab.config, lab.layers
    k, total = c.layers.k, lab.n_layers - 1
    parts = [
        detect_layers(
            lab.base,
            lab.tokenizer,
            part,
            found.pairs,
            k,
            template=c.corpus.template,
            progress=False,
        )
        for part in sentence_blocks(lab.valid, 100)
    ]
    generator, measures = np.random.default_rng(0), {}
    chance = (
        np.mean(
            [
                [len(set(generator.permutation(total)[:k]) & set(range(k))) for _ in found.pairs]
                for _ in range(1000)
            ],
            axis=1,
        )
        / k
    )
    for name, by in MEASURES.items():
        whole, held_out = (
            getattr(found, by),
            torch.stack([getattr(part, by) for part in parts]),
        )  # (block, pair, layer)
        top, own = found.top(k, by), found.per_pair(k, by)
        columns = [layer - 1 for layer in top]
        same = [
            [
                rank_correlations(torch.stack([a[row], b[row]]))[0, 1]
                for row in range(len(found.pairs))
            ]
            for a, b in combinations(held_out, 2)
        ]
        measures[name] = {
            "change": dict(zip(found.pairs, whole)),
            "pooled": whole.mean(dim=0),
            "top": top,
            "top_by_pair": own,
            "rank_correlation": {
                "mean": between(whole).mean(),
                "min": between(whole).min(),
                "held_out": interval([between(x).mean() for x in held_out]),
                "same_pair_other_sentences": np.mean(same),
                "control_shuffled": spread(
                    [between(generator.permuted(whole.numpy(), axis=1)).mean() for _ in range(1000)]
                ),
            },
            "overlap_with_pooled": {
                "mean": np.mean([len(set(x) & set(top)) / k for x in own.values()]),
                "by_pair": {pair: len(set(x) & set(top)) / k for pair, x in own.items()},
                "held_out": interval(
                    [
                        np.mean([len(set(x) & set(top)) / k for x in part.per_pair(k, by).values()])
                        for part in parts
                    ]
                ),
                "control_random": spread(chance),
            },
            "same_choice_held_out": interval(
                [len(set(part.top(k, by)) & set(top)) / k for part in parts]
            ),
            "share_of_change": {
                "held_out": interval((held_out[..., columns].sum(-1) / held_out.sum(-1)).mean(-1)),
                "control_uniform": k / total,
            },
        }
    return plain(
        {
            "k": k,
            "layers": list(range(1, lab.n_layers)),
            "pairs": found.pairs,
            "blocks": len(parts),
            "sentences": {
                "study": found.settings["n_sentences"],
                "block": parts[0].settings["n_sentences"],
            },
            "measures": measures,
        }
    )


# ---------------------------------------------------------------- L3
def activation(lab: Lab, sentences: Sequence[str]) -> Tensor:
    """Mean |h| over tokens, [layer, d_ff]: the score without the gradient."""
    readings = token_readings(
        lab.base, lab.tokenizer, sentences, range(lab.n_layers), gradients=False
    )
    return torch.cat([h for _, _, h, _ in readings], dim=1).mean(dim=1)


def ablation(lab: Lab) -> dict:
    """L3: does the score rank neurons as their removal does? One by one in all layers; then tenths
    of the selected layers together."""
    languages, d_ff, generator = (
        lab.languages,
        lab.scores.values.shape[-1],
        torch.Generator().manual_seed(0),
    )
    names = ("awareness", "awareness_of_other_sentences", "control_activation", "control_random")
    found, ratio = [], []  # found: (draw, score, language, layer)
    for part in sentence_blocks(lab.valid, ABLATED)[:SEEDS]:
        same = score_awareness(
            lab.base, lab.tokenizer, part, languages, range(lab.n_layers), progress=False
        ).values
        exact = torch.zeros(len(languages), lab.n_layers, min(SAMPLE, d_ff))
        chosen = torch.stack(
            [torch.randperm(d_ff, generator=generator)[:SAMPLE] for _ in range(lab.n_layers)]
        )
        for i, language in enumerate(languages):
            for layer in range(lab.n_layers):
                exact[i, layer] = exact_ablation(
                    lab.base,
                    lab.tokenizer,
                    part,
                    language,
                    layer,
                    chosen[layer],
                    neurons_per_pass=16,
                )
        h = torch.stack(
            [activation(lab, sentences) for sentences in by_language(part, languages).values()]
        )
        every = (same, lab.scores.values, h, torch.rand(h.shape, generator=generator))
        scores = [x.gather(-1, chosen.expand(len(x), -1, -1)) for x in every]
        found.append(
            [
                [
                    [rank_correlations(torch.stack([s, e]))[0, 1] for s, e in zip(*rows)]
                    for rows in zip(score, exact)
                ]
                for score in scores
            ]
        )
        ratio.append(scores[0].sum() / exact.sum())
    found = torch.tensor(np.array(found)).transpose(0, 1)  # (score, draw, language, layer)
    single = {
        name: interval(x.nanmean(dim=(1, 2)))
        | {
            "lowest": x.nanmean(dim=0).min(),
            "by_layer": x.nanmean(dim=(0, 1)),
            "by_language": dict(zip(languages, x.nanmean(dim=(0, 2)))),
        }
        for name, x in zip(names, found)
    }
    wins = interval((found[0] > found[2]).double().mean(dim=(1, 2)))
    return plain(
        {
            "languages": languages,
            "draws": len(found[0]),
            "neurons": min(SAMPLE, d_ff),
            "sentences": min(ABLATED, len(part)),
            "rank_correlation_with_exact": single,
            "beats_activation": wins,
            "estimate_over_exact": interval(ratio),
            "tenths": removed_tenths(lab, generator),
        }
    )


def removed_tenths(lab: Lab, generator: torch.Generator) -> dict:
    """Loss change (nats per token) when one tenth of the selected layers' neurons is off, by score;
    tenth 1 has the highest scores."""
    chosen, languages, held_out = (
        lab.choose_layers(),
        lab.languages,
        sentence_blocks(lab.valid, SENTENCES // 2),
    )
    d_ff, train = lab.scores.values.shape[-1], lab.train.select(range(min(100, len(lab.train))))
    scores = {
        "awareness": lab.scores.values[:, chosen],
        "control_activation": torch.stack(
            [
                activation(lab, sentences)[chosen]
                for sentences in by_language(train, languages).values()
            ]
        ),
    }
    scores["control_random"] = torch.rand(scores["awareness"].shape, generator=generator)

    def losses(language):
        return torch.tensor(
            [
                math.log(perplexity(lab.base, lab.tokenizer, texts(part, language)))
                for part in held_out
            ]
        ).double()

    base, curves, size = {language: losses(language) for language in languages}, {}, d_ff // 10
    for name, values in scores.items():
        order = values.argsort(dim=-1, descending=True)
        change = torch.zeros(len(held_out), len(languages), 10)
        for i, language in enumerate(languages):
            for tenth in range(10):
                off = {
                    layer: order[i, j, tenth * size : (tenth + 1) * size]
                    for j, layer in enumerate(chosen)
                }
                with switched_off(
                    lab.base, NeuronSets(chosen, [language], {}, {language: off}, d_ff), language
                ):
                    change[:, i, tenth] = losses(language) - base[language]
        curves[name] = change  # (block, language, tenth)
    top = curves["awareness"][..., 0].mean(dim=1)
    return {
        "layers": chosen,
        "neurons_per_layer": size,
        "sentences": len(held_out[0]),
        "loss_change": {
            name: interval(x.mean(dim=1)) | {"by_language": dict(zip(languages, x.mean(dim=0)))}
            for name, x in curves.items()
        },
        "top_minus_random": interval(top - curves["control_random"].mean(dim=(1, 2))),
        "top_minus_top_by_activation": interval(
            top - curves["control_activation"][..., 0].mean(dim=1)
        ),
    }


# ---------------------------------------------------------------- L4
def silhouette(lab: Lab) -> dict:
    """L4: do specific neurons tell languages apart? Silhouette, by language, of sentences' mean
    activations on sets of equal size."""
    from sklearn.metrics import silhouette_score  # of the `notebooks` extra, and slow to import

    sets, generator = lab.sets(k=lab.n_layers), torch.Generator().manual_seed(0)
    languages, selected, parts = (
        sets.languages,
        lab.choose_layers(),
        sentence_blocks(lab.valid, SENTENCES // 2),
    )
    n, values = len(parts[0]), {}  # values: {set: (layer, block, draw)}
    label = torch.arange(len(languages)).repeat_interleave(n)

    def draw(neurons, size):
        return [
            neurons[torch.randperm(len(neurons), generator=generator)[:size]] for _ in range(DRAWS)
        ]

    for layer in sets.layers:
        own = torch.cat([sets.specific[language][layer] for language in languages])
        highest = (
            lab.scores.select(languages, [layer]).values.sum(dim=(0, 1)).topk(len(own)).indices
        )
        chosen = {
            "specific": [own],
            "general": draw(sets.general[layer], len(own)),
            "control_random": draw(torch.arange(sets.d_ff), len(own)),
            "control_highest_score": [highest],
        }
        h = [
            sentence_activations(
                lab.base, lab.tokenizer, sum(by_language(part, languages).values(), []), layer
            )
            for part in parts
        ]
        for name, draws in chosen.items():
            values.setdefault(name, []).append(
                [
                    [float(silhouette_score(x[:, neurons].numpy(), label)) for neurons in draws]
                    for x in h
                ]
            )
    table = {name: torch.tensor(x).double() for name, x in values.items()}
    by_block = {
        name: x[selected].mean(dim=(0, 2)) for name, x in table.items()
    }  # over the selected layers and draws
    return plain(
        {
            "languages": languages,
            "layers": sets.layers,
            "selected": selected,
            "sentences": n,
            "draws": DRAWS,
            "neurons": [sets.d_ff - len(sets.general[layer]) for layer in sets.layers],
            "selected_layers": {name: interval(x) for name, x in by_block.items()},
            "by_layer": {name: interval(x.mean(dim=2).T) for name, x in table.items()},
            "random_draws": spread(table["control_random"][selected].mean(dim=(0, 1))),
            "specific_minus": {
                name: interval(by_block["specific"] - x)
                for name, x in by_block.items()
                if name != "specific"
            },
        }
    )


# ---------------------------------------------------------------- L5
def switching(lab: Lab) -> dict:
    """L5: does switching off a language's neurons hurt that language most? Loss change, nats per
    token."""
    return switched(lab, lab.sets())


def switched(lab: Lab, sets: NeuronSets) -> dict:
    """Loss change by language of the text and of the set that is off; own language against others,
    and against random sets."""
    parts = sentence_blocks(lab.valid, SENTENCES // 2)
    rows = [
        lab.languages.index(language) for language in sets.languages
    ]  # texts: every language; sets: those of the config
    own = torch.zeros(len(lab.languages), len(rows), dtype=torch.bool)
    own[rows, range(len(rows))] = True

    def matrices(chosen: NeuronSets) -> Tensor:  # (block, text, set)
        return torch.stack(
            [
                switching_matrix(lab.base, lab.tokenizer, by_language(part, lab.languages), chosen)
                for part in parts
            ]
        )

    def dominance(change: Tensor) -> dict:
        mine, others, mean = change[:, own].mean(1), change[:, ~own].mean(1), change.mean(0)
        return {
            "own": interval(mine),
            "others": interval(others),
            "own_minus_others": interval(mine - others),
            "hurt_most": [
                x for i, x in enumerate(sets.languages) if mean[:, i].argmax() == rows[i]
            ],
            "largest_of_another": mean[~own].max(),
        }

    change, control = (
        matrices(sets),
        torch.stack([matrices(random_neurons(sets, seed)) for seed in range(SEEDS)]),
    )
    return plain(
        {
            "texts": lab.languages,
            "sets": sets.languages,
            "layers": sets.layers,
            "sentences": len(parts[0]),
            "random_sets": SEEDS,
            "neurons": {
                x: sum(len(indices) for indices in sets.specific[x].values())
                for x in sets.languages
            },
            "loss_change": interval(change),
            "by_language": {
                x: interval(change[:, rows[i], i]) for i, x in enumerate(sets.languages)
            },
            **dominance(change),
            "control_random": [dominance(x) | {"loss_change": x.mean(dim=0)} for x in control],
            "own_minus_random": interval((change - control.mean(dim=0))[:, own].mean(dim=1)),
        }
    )
