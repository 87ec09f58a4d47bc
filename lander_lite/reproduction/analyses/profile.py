"""L13: what are the specific neurons? Classes of tokens, activation against gradient, top tokens,
and the layers they lie in."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ...awareness import score_awareness
from ...neurons import NeuronSets, random_neurons
from ...probes.tokens import (
    CLASSES,
    class_profile,
    layer_position,
    share_of_score,
    token_classes,
    token_means,
)
from ...prompts import prompt_ids
from ..lab import Lab
from .shared import BLOCKS, DRAWS, Analysis, by_language, interval, sentence_blocks, spread

TOP, MINIMUM = 8, 3  # top tokens of a neuron; how often they must occur


def _profile(lab: Lab) -> dict:
    sets = lab.sets()
    random = [random_neurons(sets, seed) for seed in range(DRAWS)]
    size = len(sentence_blocks(lab.valid)[0])
    held_out = lab.valid.select(range(size * BLOCKS))
    sentences = by_language(held_out, sets.languages)
    profiles = class_profiles(lab, sets, sentences, size)
    measures = ("awareness", "activation")
    factors = {measure: own_factor(profiles, sets, random, measure) for measure in measures}
    logs = {measure: math.log(found["geometric_mean"]) for measure, found in factors.items()}
    return {
        "languages": sets.languages,
        "layers": sets.layers,
        "blocks": BLOCKS,
        "sentences": size,
        "random_sets": DRAWS,
        "classes": CLASSES,
        "tokens_per_class": {
            x: sum(profile[x].count for profile in profiles) for x in sets.languages
        },
        "per_token": {
            measure: by_token_class(profiles, sets, random, measure) for measure in measures
        },
        "own_over_other_texts": factors,
        "activation_explains": logs["activation"] / logs["awareness"],
        "awareness_share": shares(lab, sets, random, sentences),
        **positions(lab, sets),
        **top_tokens(lab, sets, random, sentences),
    }


# ---------------------------------------------------------------- classes of tokens
def class_profiles(lab: Lab, sets: NeuronSets, sentences: dict, size: int) -> list[dict]:
    """{language: `class_profile`} of each block of `size` sentences."""
    classes = {x: token_classes(lab.tokenizer, sentences[x]) for x in sentences}

    def of_block(language, start):
        block = slice(start, start + size)
        texts, labels = sentences[language][block], classes[language][block]
        return class_profile(lab.base, lab.tokenizer, texts, sets.layers, labels)

    starts = range(0, size * BLOCKS, size)
    return [{language: of_block(language, start) for language in sentences} for start in starts]


def by_token_class(profiles: list[dict], sets: NeuronSets, random: list, measure: str) -> dict:
    """A token of each class against the average token, [class]: 1 is average."""

    def per_token(chosen: Mapping) -> Tensor:  # {language: neurons} -> [block, class]
        blocks = [
            torch.stack([profile[x].per_token(chosen[x], measure) for x in chosen])
            for profile in profiles
        ]
        return torch.stack(blocks).nanmean(dim=1)

    chance = torch.stack([per_token(draw.specific) for draw in random])
    return {
        "specific": interval(per_token(sets.specific)),
        "control_general": interval(per_token(dict.fromkeys(sets.languages, sets.general))),
        "control_random": spread(chance.nanmean(dim=1)),
    }


def own_factor(profiles: list[dict], sets: NeuronSets, random: list, measure: str) -> dict:
    """How much more a language's neurons answer to its own texts than to others'."""
    logs = log_factors(profiles, sets, measure)
    chance = [log_factors(profiles, draw, measure).mean().exp() for draw in random]
    return {
        "by_language": dict(zip(sets.languages, logs.mean(dim=0).exp())),
        "log": interval(logs.mean(dim=1)),
        "geometric_mean": logs.mean().exp(),
        "control_random": spread(torch.stack(chance)),
    }


def log_factors(profiles: list[dict], sets: NeuronSets, measure: str) -> Tensor:
    """ln of the mean per token in own texts over the mean in others', [block, language]."""

    def per_token(profile, neurons):
        return profile.sums(neurons, measure).sum() / profile.count.sum()

    factors = []
    for by_text in profiles:
        columns = [
            torch.stack([per_token(by_text[text], sets.specific[x]) for text in sets.languages])
            for x in sets.languages
        ]
        table = torch.stack(columns, dim=1)  # [text, set]
        in_own = table.diagonal()
        in_others = (table.sum(dim=0) - in_own) / (len(table) - 1)
        factors.append(in_own / in_others)
    return torch.stack(factors).log()


# ---------------------------------------------------------------- scores and places
def shares(lab: Lab, sets: NeuronSets, random: list, sentences: dict) -> dict:
    """`share_of_score` of scores on held-out sentences."""
    scores = score_awareness(
        lab.base, lab.tokenizer, sentences, sets.languages, sets.layers, progress=False
    )
    share, same = share_of_score(scores, sets), torch.eye(len(sets.languages)).bool()
    return {
        "own": share[same].mean(),
        "others": share[~same].mean(),
        "by_language": dict(zip(sets.languages, share.diag())),
        "control_random": spread([share_of_score(scores, draw).mean() for draw in random]),
    }


def positions(lab: Lab, sets: NeuronSets) -> dict:
    """How many specific neurons each layer has if all layers share one threshold."""
    scores = lab.scores.select(sets.languages, range(lab.n_layers))
    epsilon, half = lab.config.categories.epsilon, lab.n_layers // 2
    counts = {
        how: layer_position(scores, epsilon, how).sum(dim=1) for how in ("layer_mean", "rank")
    }
    return {
        "neurons_by_layer": counts | {"control_equal": sum(counts["rank"]) / lab.n_layers},
        "share_in_upper_half": {how: x[half:].sum() / x.sum() for how, x in counts.items()},
    }


# ---------------------------------------------------------------- top tokens
def top_tokens(
    lab: Lab, sets: NeuronSets, random: Sequence[NeuronSets], sentences: dict[str, list[str]]
) -> dict:
    """The strongest specific neuron's top tokens by language and layer; how many top tokens of all
    specific neurons occur in own texts."""
    occurs = {x: vocabulary(lab.tokenizer, texts) for x, texts in sentences.items()}
    together = sum(sentences.values(), [])
    strongest = {x: [] for x in sentences}
    shares = torch.zeros(1 + len(random), len(sets.layers))
    for j, layer in enumerate(sets.layers):
        means, counts = token_means(lab.base, lab.tokenizer, together, layer, range(sets.d_ff))
        rare = (counts < MINIMUM)[:, None]
        top = means.masked_fill(rare, -1).topk(TOP, dim=0).indices  # [rank, neuron]
        for i, chosen in enumerate([sets, *random]):
            hits = [occurs[x][top[:, chosen.specific[x][layer]]].flatten() for x in sentences]
            shares[i, j] = torch.cat(hits).mean()
        for x in sentences:
            awareness, neurons = sets.awareness[x][layer], sets.specific[x][layer]
            if len(neurons):
                neuron = int(neurons[awareness[neurons].argmax()])
                tokens = [lab.tokenizer.decode([i]).strip() for i in top[:, neuron].tolist()]
                score = awareness[neuron] / awareness.mean()
                strongest[x].append(
                    {"layer": layer, "neuron": neuron, "score_over_mean": score, "tokens": tokens}
                )
    return {
        "strongest": strongest,
        "top_tokens_in_own_texts": {
            "specific": shares[0].mean(),
            "by_layer": shares[0],
            "control_random": spread(shares[1:].mean(dim=1)),
        },
    }


def vocabulary(tokenizer, sentences: Sequence[str]) -> Tensor:
    """1 for each token that occurs in the sentences, else 0: float32 [token]."""
    ids = [i for sentence in sentences for i in prompt_ids(tokenizer, sentence)]
    return torch.zeros(len(tokenizer)).index_fill(0, torch.tensor(ids), 1)


ANALYSIS = Analysis(
    "profile",
    "L13: what are the specific neurons? Classes of tokens, activation against gradient, top "
    "tokens, and the layers they lie in.",
    _profile,
)
