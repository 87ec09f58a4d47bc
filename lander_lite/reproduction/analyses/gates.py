"""L9: how does the learned gate divide the weight, and does it matter that it looks at the token?

Training is as in the study, at the best rate of the folder's grid, or at the config's. The gate is
compared with two constants: "constant", its mean over the tokens of held-out sentences of the pair,
layer by layer; and "prior", its value before training.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import torch
from sacrebleu.metrics import BLEU
from torch import Tensor

from ...evaluation import bleu_of_sums, translate
from ...probes.gates import constant_gate, gate_values
from ...probes.tokens import CLASSES, token_classes
from ...prompts import pair_rows, prompt_ids
from ...training.loop import finetune
from ..lab import Lab
from ..methods import METHODS
from ..results import load_results
from ..statistics import bleu_rows, paired_bootstrap
from .shared import SEEDS, Analysis, interval

METHOD = "lander-learned"
GATED = 60  # valid sentences per pair whose gates are read
TRANSLATED = 50  # test sentences per pair
TOKENS = ("all", "prompt", "target", *CLASSES)  # the classes are those of target tokens
HELD = ("constant", "prior")


def _gates(lab: Lab) -> dict:
    config, sets, pairs = lab.config, lab.sets(), lab.config.corpus.pairs
    grid = rates(lab)
    rate = max(grid, key=grid.get) if grid else config.finetune.learning_rate
    tested = lab.test.select(range(min(TRANSLATED, len(lab.test))))
    rows = {name: {pair: [] for pair in pairs} for name in ("learned", *HELD)}
    tables, spreads, losses = [], [], []
    for seed in range(SEEDS):
        torch.manual_seed(seed)
        lander = METHODS[METHOD].build(lab.fresh(), lab, sets, seed)
        before, _ = gate_table(lander, lab)
        losses.append(last_loss(lander, lab, rate, seed))
        after, deviation = gate_table(lander, lab)
        tables.append(after)
        spreads.append(deviation)
        for number, pair in enumerate(pairs):
            values = {"constant": after[number, :, 0], "prior": before[number, :, 0]}
            for name, by_pair in rows.items():
                by_pair[pair].append(translated(lander, lab, tested, pair, values.get(name)))
    bleu = {name: mean_bleu(by_pair) for name, by_pair in rows.items()}
    return {
        "method": METHOD,
        "learning_rate": rate,
        "grid": grid,
        "updates": config.finetune.updates,
        "batch_size": config.finetune.batch_size,
        "seeds": SEEDS,
        "last_loss": losses,
        "layers": sets.layers,
        "pairs": pairs,
        "tokens": TOKENS,
        "sentences": {"gates": min(GATED, len(lab.valid)), "bleu": len(tested)},
        **moves(pairs, before, torch.stack(tables), torch.stack(spreads)),
        "bleu": {name: interval(values) for name, values in bleu.items()},
        "learned_minus": {
            f"control_{name}": {
                "over_seeds": interval(bleu["learned"] - bleu[name]),
                "paired_bootstrap": paired_bootstrap(rows["learned"], rows[name])["mean"],
            }
            for name in HELD
        },
    }


def rates(lab: Lab) -> dict[float, float]:
    """{learning rate: BLEU on valid} of the folder's grid, without diverged trials."""
    trials = load_results(lab.folder, "grid", lab.model, lab.corpus)
    return {
        trial["learning_rate"]: trial["mean"]["bleu"]
        for trial in trials
        if trial["method"] == METHOD and "diverged" not in trial
    }


def last_loss(lander, lab: Lab, rate: float, seed: int) -> float:
    """Train as the study does; the loss of the last update."""
    config = lab.config
    settings = replace(config.finetune, learning_rate=rate, seed=seed, progress=False)
    pairs, template = config.corpus.pairs, config.corpus.template
    return finetune(lander, lab.tokenizer, lab.train, pairs, settings, template=template)["loss"][
        -1
    ]


def gate_table(lander, lab: Lab) -> tuple[Tensor, Tensor]:
    """The gate's mean [pair, layer, type of token] and its standard deviation over all tokens
    [pair, layer], on held-out sentences."""
    tokenizer, means, deviations = lab.tokenizer, [], []
    part = lab.valid.select(range(min(GATED, len(lab.valid))))
    without_bos = tokenizer("a", add_special_tokens=False)["input_ids"]
    bos = len(prompt_ids(tokenizer, "a")) - len(without_bos)
    for pair in lab.config.corpus.pairs:
        rows = pair_rows(part, pair)
        values, _, is_target = gate_values(lander, tokenizer, rows, pair)
        classes = torch.full(is_target.shape, -1)  # of the prompt, and of EOS
        found = token_classes(tokenizer, [f" {target}" for _, target in rows])
        classes[is_target] = torch.tensor([x for row in found for x in [*row[bos:], -1]])
        members = [torch.ones_like(is_target), ~is_target, is_target]
        members += [classes == number for number in range(len(CLASSES))]
        means.append(torch.stack([values[:, member].mean(dim=1) for member in members], dim=1))
        deviations.append(values.std(dim=1))
    return torch.stack(means), torch.stack(deviations)


def moves(pairs: list[str], before: Tensor, after: Tensor, deviations: Tensor) -> dict:
    """How far the gate has moved. before: [pair, layer, type of token]; after: likewise, by seed
    first; deviations: [seed, pair, layer]."""
    moved, start, end = after - before, before[..., 0], after[..., 0]
    return {
        "before": {"mean": start.mean(), "by_pair_and_layer": dict(zip(pairs, start))},
        "after": interval(end.mean(dim=(1, 2))),
        "moved": interval(moved[..., 0].mean(dim=(1, 2))),
        "moved_by_layer": interval(moved[..., 0].mean(dim=1)),
        "moved_by_pair": interval(moved[..., 0].mean(dim=2)),
        "moved_by_token": interval(moved.nanmean(dim=(1, 2))),
        "after_by_pair_and_layer": {pair: interval(end[:, i]) for i, pair in enumerate(pairs)},
        "spread_over_tokens": interval(deviations.mean(dim=(1, 2))),
        "spread_by_layer": interval(deviations.mean(dim=1)),
    }


def translated(lander, lab: Lab, corpus, pair: str, gate: Tensor | None) -> np.ndarray:
    """`bleu_rows` of the translations of a corpus, with the layers' gates held at `gate` [layer],
    or free."""
    sources, targets = zip(*pair_rows(corpus, pair))
    lander.set_pair(pair)
    with nullcontext() if gate is None else constant_gate(lander, gate.tolist()):
        template = lab.config.corpus.template
        output = translate(lander, lab.tokenizer, sources, pair, template=template)
    return bleu_rows(pair, output, targets)


def mean_bleu(by_pair: dict[str, list[np.ndarray]]) -> Tensor:
    """BLEU of `bleu_rows`, {pair: one a seed}, mean over pairs: float64 [seed]."""
    scores = [[bleu_of_sums(BLEU(), x.sum(axis=0)) for x in rows] for rows in by_pair.values()]
    return torch.tensor(scores, dtype=torch.float64).mean(dim=0)


ANALYSIS = Analysis(
    "gates",
    "L9: how does the learned gate divide the weight, and does it matter that it looks at the "
    "token? Training as in the study.",
    _gates,
)
