"""What lessons 01-04, 07 and 08 measure, once more with intervals and controls, as files that the
scorecard reads.

Each analysis takes a `Lab` and returns a dict for JSON; analyses_scores.py has the first four (L1,
L3-L5) and says what an interval is, analyses_neighbours.py those of lessons 07 and 08.
"""

from __future__ import annotations

import json
import math
import platform
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import torch
from sacrebleu.metrics import BLEU
from torch import Tensor

from ...awareness import score_awareness
from ...config import nearest, parse_pair
from ...corpus import prompt_ids, texts
from ...evaluation import bleu_of_sums, translate
from ...io import write_text
from ...neurons import NeuronSets, random_neurons
from ...probes.gates import constant_gate, gate_values
from ...probes.tokens import (
    CLASSES,
    awareness_share,
    class_profile,
    layer_position,
    token_classes,
    token_means,
)
from ...training.loop import finetune
from ..lab import Lab
from ..methods import METHODS
from ..results import load_results
from ..statistics import bleu_rows, paired_bootstrap
from .neighbours import features, lape
from .scores import (
    BLOCKS,
    DRAWS,
    SEEDS,
    ablation,
    by_language,
    interval,
    layers,
    plain,
    sentence_blocks,
    silhouette,
    spread,
    switching,
)

GATED, TRANSLATED = 60, 50  # valid sentences per pair whose gates are read; test sentences per pair
TOKENS = ("all", "prompt", "target", *CLASSES)  # the classes are those of target tokens
TOP, MINIMUM = 8, 3  # top tokens of a neuron; how often they must occur


# ---------------------------------------------------------------- L9
def gates(lab: Lab) -> dict:
    """L9: how does the learned gate divide the weight, and does it matter that it looks at the
    token? Training as in the study.

    The rate is the best of the folder's grid, else the config's. "constant": each layer's gate held
    at its mean over the tokens of held-out sentences of the pair; "prior": held at its value before
    training."""
    c, method = lab.config, "lander-learned"
    trials = [
        r
        for r in load_results(lab.folder, "grid", lab.model, lab.corpus)
        if r["method"] == method and "diverged" not in r
    ]
    grid = {r["learning_rate"]: r["mean"]["bleu"] for r in trials}
    rate, pairs, sets = (
        max(grid, key=grid.get) if grid else c.finetune.learning_rate,
        c.corpus.pairs,
        lab.sets(),
    )
    tested = lab.test.select(range(min(TRANSLATED, len(lab.test))))
    rows = {name: {pair: [] for pair in pairs} for name in ("learned", "constant", "prior")}
    tables, spreads, losses = [], [], []
    for seed in range(SEEDS):
        torch.manual_seed(seed)
        lander = METHODS[method].build(lab.fresh(), lab, sets, seed)
        before, _ = gate_table(lander, lab)
        settings = replace(c.finetune, learning_rate=rate, seed=seed, progress=False)
        losses.append(
            finetune(lander, lab.tokenizer, lab.train, pairs, settings, template=c.corpus.template)[
                "loss"
            ][-1]
        )
        after, std = gate_table(lander, lab)
        tables.append(after)
        spreads.append(std)
        for number, pair in enumerate(pairs):
            lander.set_pair(pair)
            for name, values in {
                "learned": None,
                "constant": after[number, :, 0],
                "prior": before[number, :, 0],
            }.items():
                rows[name][pair].append(translated(lander, lab, tested, pair, values))
    after, std = (
        torch.stack(tables),
        torch.stack(spreads),
    )  # (seed, pair, layer, type), (seed, pair, layer)
    moved = after - before
    bleu = {
        name: [
            sum(bleu_of_sums(BLEU(), x[seed].sum(axis=0)) for x in mine.values()) / len(pairs)
            for seed in range(SEEDS)
        ]
        for name, mine in rows.items()
    }
    return plain(
        {
            "method": method,
            "learning_rate": rate,
            "grid": grid,
            "updates": c.finetune.updates,
            "batch_size": c.finetune.batch_size,
            "seeds": SEEDS,
            "last_loss": losses,
            "layers": sets.layers,
            "pairs": pairs,
            "tokens": TOKENS,
            "sentences": {"gates": min(GATED, len(lab.valid)), "bleu": len(tested)},
            "before": {
                "mean": before[..., 0].mean(),
                "by_pair_and_layer": dict(zip(pairs, before[..., 0])),
            },
            "after": interval(after[..., 0].mean(dim=(1, 2))),
            "moved": interval(moved[..., 0].mean(dim=(1, 2))),
            "moved_by_layer": interval(moved[..., 0].mean(dim=1)),
            "moved_by_pair": interval(moved[..., 0].mean(dim=2)),
            "moved_by_token": interval(moved.nanmean(dim=(1, 2))),
            "after_by_pair_and_layer": {
                pair: interval(after[:, i, :, 0]) for i, pair in enumerate(pairs)
            },
            "spread_over_tokens": interval(std.mean(dim=(1, 2))),
            "spread_by_layer": interval(std.mean(dim=1)),
            "bleu": {name: interval(values) for name, values in bleu.items()},
            "learned_minus": {
                f"control_{name}": {
                    "over_seeds": interval(
                        torch.tensor(bleu["learned"]) - torch.tensor(bleu[name])
                    ),
                    "paired_bootstrap": paired_bootstrap(rows["learned"], rows[name])["mean"],
                }
                for name in ("constant", "prior")
            },
        }
    )


def gate_table(lander, lab: Lab) -> tuple[Tensor, Tensor]:
    """The gate's mean [pair, layer, type of token] and its standard deviation over all tokens
    [pair, layer], on held-out sentences."""
    tokenizer, means, spreads = lab.tokenizer, [], []
    part = lab.valid.select(range(min(GATED, len(lab.valid))))
    bos = len(prompt_ids(tokenizer, "a")) - len(
        tokenizer("a", add_special_tokens=False)["input_ids"]
    )
    for pair in lab.config.corpus.pairs:
        sources, targets = (texts(part, language) for language in parse_pair(pair))
        values, _, is_target = gate_values(lander, tokenizer, list(zip(sources, targets)), pair)
        kind = torch.full(is_target.shape, -1)
        kind[is_target] = torch.tensor(
            [
                x
                for row in token_classes(tokenizer, [f" {t}" for t in targets])
                for x in [*row[bos:], -1]
            ]
        )
        member = [
            is_target | True,
            ~is_target,
            is_target,
            *(kind == x for x in range(len(CLASSES))),
        ]  # -1: prompt, and EOS
        means.append(torch.stack([values[:, x].mean(dim=1) for x in member], dim=1))
        spreads.append(values.std(dim=1))
    return torch.stack(means), torch.stack(spreads)


def translated(lander, lab: Lab, corpus, pair: str, gate: Tensor | None):
    """`bleu_rows` of the translations of a corpus, with the layers' gates held at `gate` [layer],
    or free."""
    source, target = parse_pair(pair)

    def output():
        return translate(
            lander, lab.tokenizer, texts(corpus, source), pair, template=lab.config.corpus.template
        )

    if gate is None:
        return bleu_rows(pair, output(), texts(corpus, target))
    with constant_gate(lander, gate.tolist()):
        return bleu_rows(pair, output(), texts(corpus, target))


# ---------------------------------------------------------------- L13
def profile(lab: Lab) -> dict:
    """L13: what are the specific neurons? Classes of tokens, activation against gradient, top
    tokens, and the layers they lie in."""
    sets, random = lab.sets(), [random_neurons(lab.sets(), seed) for seed in range(DRAWS)]
    languages, parts, size = (
        sets.languages,
        sentence_blocks(lab.valid),
        len(sentence_blocks(lab.valid)[0]),
    )
    whole = by_language(lab.valid.select(range(size * BLOCKS)), languages)
    kinds = {x: token_classes(lab.tokenizer, whole[x]) for x in languages}
    found = [
        {
            x: class_profile(
                lab.base, lab.tokenizer, whole[x][i : i + size], sets.layers, kinds[x][i : i + size]
            )
            for x in languages
        }
        for i in range(0, size * BLOCKS, size)
    ]

    def classes(chosen, what, block):  # (class,): 1 is the average token
        return torch.stack([block[x].per_token(chosen(x), what) for x in languages]).nanmean(dim=0)

    def factor(chosen: NeuronSets, what, block):  # (language,): per token in own texts / in others'
        m = torch.stack(
            [
                torch.stack(
                    [
                        block[text].sums(chosen.specific[x], what).sum() / block[text].count.sum()
                        for x in languages
                    ]
                )
                for text in languages
            ]
        )  # (text, set)
        return m.diagonal() * (len(m) - 1) / (m.sum(dim=0) - m.diagonal())

    table, own = {}, {}
    for what in ("awareness", "activation"):
        mine, general, *chance = (
            torch.stack([classes(chosen, what, block) for block in found])
            for chosen in (
                sets.specific.get,
                lambda x: sets.general,
                *(r.specific.get for r in random),
            )
        )  # (block, class) each
        table[what] = {
            "specific": interval(mine),
            "control_general": interval(general),
            "control_random": spread(torch.stack(chance).nanmean(dim=1)),
        }
        log = torch.stack([factor(sets, what, block) for block in found]).log()  # (block, language)
        chance = torch.stack(
            [
                torch.stack([factor(r, what, block) for block in found]).log().mean().exp()
                for r in random
            ]
        )
        own[what] = {
            "by_language": dict(zip(languages, log.mean(dim=0).exp())),
            "log": interval(log.mean(dim=1)),
            "geometric_mean": log.mean().exp(),
            "control_random": spread(chance),
        }
    held_out = score_awareness(
        lab.base, lab.tokenizer, whole, languages, sets.layers, progress=False
    )
    share, diagonal = awareness_share(held_out, sets), torch.eye(len(languages)).bool()
    every = lab.scores.select(languages, range(lab.n_layers))
    places = {
        how: layer_position(every, lab.config.categories.epsilon, how).sum(dim=1)
        for how in ("layer_mean", "rank")
    }
    return plain(
        {
            "languages": languages,
            "layers": sets.layers,
            "blocks": len(parts),
            "sentences": size,
            "random_sets": DRAWS,
            "classes": CLASSES,
            "tokens_per_class": {x: sum(block[x].count for block in found) for x in languages},
            "per_token": table,
            "own_over_other_texts": own,
            "activation_explains": math.log(own["activation"]["geometric_mean"])
            / math.log(own["awareness"]["geometric_mean"]),
            "awareness_share": {
                "own": share[diagonal].mean(),
                "others": share[~diagonal].mean(),
                "by_language": dict(zip(languages, share.diag())),
                "control_random": spread([awareness_share(held_out, r).mean() for r in random]),
            },
            "neurons_by_layer": places | {"control_equal": sum(places["rank"]) / lab.n_layers},
            "share_in_upper_half": {
                how: x[lab.n_layers // 2 :].sum() / x.sum() for how, x in places.items()
            },
            **top_tokens(lab, sets, random, whole),
        }
    )


def top_tokens(
    lab: Lab, sets: NeuronSets, random: Sequence[NeuronSets], whole: dict[str, list[str]]
) -> dict:
    """The strongest specific neuron's top tokens by language and layer; how many top tokens of all
    specific neurons occur in own texts."""
    strongest, occurs = (
        {x: [] for x in whole},
        {
            x: torch.zeros(len(lab.tokenizer)).index_fill(
                0, torch.tensor(sum((prompt_ids(lab.tokenizer, s) for s in own), [])), 1
            )
            for x, own in whole.items()
        },
    )  # {language: (token,)}
    shares = torch.zeros(1 + len(random), len(sets.layers))
    for j, layer in enumerate(sets.layers):
        means, counts = token_means(
            lab.base, lab.tokenizer, sum(whole.values(), []), layer, range(sets.d_ff)
        )
        best = (
            means.masked_fill((counts < MINIMUM)[:, None], -1).topk(TOP, dim=0).indices
        )  # (rank, neuron)
        for i, chosen in enumerate([sets, *random]):
            shares[i, j] = torch.cat(
                [occurs[x][best[:, chosen.specific[x][layer]]].flatten() for x in whole]
            ).mean()
        for x, mine in strongest.items():
            phi = sets.awareness[x][layer]
            if len(members := sets.specific[x][layer]):
                neuron = int(members[phi[members].argmax()])
                mine.append(
                    {
                        "layer": layer,
                        "neuron": neuron,
                        "score_over_mean": phi[neuron] / phi.mean(),
                        "tokens": [
                            lab.tokenizer.decode([i]).strip() for i in best[:, neuron].tolist()
                        ],
                    }
                )
    return {
        "strongest": strongest,
        "top_tokens_in_own_texts": {
            "specific": shares[0].mean(),
            "by_layer": shares[0],
            "control_random": spread(shares[1:].mean(dim=1)),
        },
    }


# ---------------------------------------------------------------- files
ANALYSES = {
    "layers": layers,
    "ablation": ablation,
    "silhouette": silhouette,
    "switching": switching,
    "gates": gates,
    "profile": profile,
    "lape": lape,
    "features": features,
}


def analyse(lab: Lab, names: Sequence[str] | None = None) -> dict[str, dict]:
    """{name: result} of some analyses (None: all), each a file {lab.folder}/analysis/{name}.json;
    what is there is not computed again.

    Raises ValueError for an unknown name, and for a file of another model, corpus or neuron sets,
    before anything is computed."""
    names = list(ANALYSES) if names is None else names
    if unknown := [name for name in names if name not in ANALYSES]:
        raise ValueError(
            f"unknown analysis {unknown[0]!r}{nearest(unknown[0], ANALYSES)}; analyses: "
            f"{', '.join(ANALYSES)}"
        )
    origin = {
        "profile": lab.config.profile,
        "base_model": lab.model,
        "corpus": lab.corpus,
        "neuron_sets": lab.sets().hash(),
    }
    results = {}
    for name in names:
        path = lab.folder / "analysis" / f"{name}.json"
        if path.is_file():
            results[name] = checked(json.loads(path.read_text(encoding="utf-8")), path, origin)
    for name in [name for name in names if name not in results]:
        start, path = time.time(), lab.folder / "analysis" / f"{name}.json"
        found = ANALYSES[name](lab)
        versions = {
            library: version(library)
            for library in ("lander-lite", "torch", "transformers", "sacrebleu")
        }
        results[name] = {
            "analysis": name,
            "about": ANALYSES[name].__doc__.split("\n")[0],
            **origin,
            "seconds": round(time.time() - start, 1),
            "threads": torch.get_num_threads(),
            "versions": {"python": platform.python_version(), **versions},
            **found,
        }
        write_text(
            path, json.dumps(results[name], indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        )
        print(f"analysis {name:11}{results[name]['seconds']:7.1f} s → {path}", flush=True)
    return {name: results[name] for name in names}


def checked(result: dict, path: Path, origin: dict) -> dict:
    """`result` if its model, corpus and neuron sets are those of `origin`."""
    if wrong := [key for key, value in origin.items() if result.get(key) != value]:
        raise ValueError(
            f"{path} was made with another {wrong[0]} ({result.get(wrong[0])}, now "
            f"{origin[wrong[0]]}); to make it again, "
            f"remove it and run: lander-lite study --profile {origin['profile']} --kinds analysis "
            f"--output-dir {path.parents[1]}"
        )
    return result
