"""LANDeRMT's claims about tuning: L2, L6-L8, L10-L12 and L14, tested on the runs of a study.
Docstrings are the rules.

The thresholds were written down before the results that they judge. L7 and L8, on which an earlier
and smaller study was known, have none. A claim with several parts needs all of them, so there is no
correction for many comparisons: a further part can only make it harder.
"""

from __future__ import annotations

import numpy as np

from ..evidence import SEEDS, Finding, NotMeasured, bleu, claim, listed, minus, sides, superior
from ..forgetting import cell_means, cells, change, end, equal_gain, matrices, sequence
from ..paper import TABLE_1, TABLE_2, mean
from ..specs import EPSILONS, LANDER, low_resource

BASELINES = ("full", "adapter", "lora", "adapter-lora", "zero-shot", "five-shot")  # Table 1
ABLATIONS = ("layers", "specific-only", "general-only")  # Table 2
CONTROLS = ("lander-none", "random")  # the rows that Table 2 lacks: no router; random neurons
FORGETTERS = ("full", "lora", "full-kl")
SPREAD = 2.0  # F(6, 6) at 5% is 4.3: by chance, sds of 3 seeds × 3 rates differ by 2 in 1 of 20


@claim(
    "L2",
    "quality peaks at a small number of layers k",
    "Fig. 10: best k = 4 of 30 (23.09; all layers 22.46)",
    "as many random layers",
    "01_which_layers.ipynb#The-stored-sweep:-k-from-1-to-all",
)
def few_layers(study, second):
    """The best k is at most half of the layers; best k minus all layers has its interval over seeds
    above zero; so has RA's layers minus random layers at that k. The best k is picked on the same
    runs, which favours the claim."""
    scores = {
        run["settings"]["k"]: study.values("k", LANDER, k=run["settings"]["k"], where="selected")
        for run in study.runs("k", LANDER, where="selected")
    }
    n, best = max(scores), max(scores, key=lambda k: np.mean([*scores[k].values()]))
    to_all = minus(f"all {n}", scores[best], scores[n])
    to_random = (
        minus("random layers", scores[best], study.values("k", LANDER, k=best, where="random"))
        if best < n
        else None
    )
    parts = {
        f"best k at most {n // 2}": best <= n // 2,
        "better than all layers": to_all.above,
        "better than random layers": to_random is not None and to_random.above,
    }
    return Finding(
        f"best k = {best} of {n}; minus {to_all}",
        parts,
        len(to_all.values),
        f"best k minus these {to_random.text}" if to_random else "",
    )


@claim(
    "L6",
    "ε = .9 is best",
    "Fig. 11: 22.85 at .85, 23.09 at .90, 22.52 at .95",
    "equal updates",
    "03_general_or_specific.ipynb#The-stored-sweep:-translate-with-each-ε",
)
def epsilon(study, second):
    """.9 has the highest mean of the five, and its differences from both neighbours, .85 and .95,
    have their intervals over seeds above zero."""
    scores = {value: study.values("epsilon", LANDER, epsilon=value) for value in EPSILONS}
    best = max(scores, key=lambda value: np.mean([*scores[value].values()]))
    near = [minus(f"{value:g}", scores[0.9], scores[value]) for value in (0.85, 0.95)]
    means = ", ".join(
        f"{value:g}: {np.mean([*mine.values()]):.1f}" for value, mine in scores.items()
    )
    return Finding(
        f"BLEU {means}. ε = .9 minus {listed(near)}",
        {"highest mean": best == 0.9} | superior(near),
        len(near[0].values),
    )


@claim(
    "L7",
    "LANDeRMT beats full tuning, adapter, LoRA, adapter-LoRA, zero-shot and in-context",
    "Table 1: "
    + "; ".join(
        f"{name} {mean(TABLE_1['lander']) - mean(TABLE_1[name]):+.1f}" for name in BASELINES
    ),
    "equal updates, data and size of learning-rate grid",
    "05_selective_finetuning.ipynb#Against-every-baseline",
)
def beats_baselines(study, second):
    """LANDeRMT minus each of the six has both intervals above zero: Student's t over matched seeds,
    and paired bootstrap over test sentences."""
    found = [study.compare(LANDER, name) for name in BASELINES]
    return Finding(f"LANDeRMT minus {listed(found)}", superior(found), len(found[0].values))


@claim(
    "L8",
    "general + specific + router beats layers, specific only and general only",
    "Table 2: "
    + "; ".join(
        f"{name} {mean(TABLE_2['lander']) - mean(TABLE_2[name]):+.1f}" for name in ABLATIONS
    ),
    "same neurons without a router; as many random neurons",
    "05_selective_finetuning.ipynb#Against-every-baseline",
)
def beats_ablations(study, second):
    """LANDeRMT minus each of the three, and minus each of the two controls, has both intervals
    above zero, as in L7. Without the controls a win would show neither that the router nor that the
    choice of neurons causes it."""
    found, controls = (
        [study.compare(LANDER, name) for name in names] for names in (ABLATIONS, CONTROLS)
    )
    return Finding(
        f"LANDeRMT minus {listed(found)}",
        superior([*found, *controls]),
        len(found[0].values),
        f"minus {listed(controls)}",
    )


@claim(
    "L10",
    "the router trains stably",
    "not reported",
    "the same neurons without a router",
    "04_routing.ipynb#The-stored-study:-train-with-each-router",
)
def stable(study, second):
    """No run of LANDeRMT diverged at any rate, and its sd over seeds, pooled over the rates, is
    less than twice that without a router. The other routers are told beside it."""
    sds, lines, count = {}, {}, []
    for method in dict.fromkeys(
        [LANDER, "lander-none", *(run["method"] for run in study.runs("router"))]
    ):
        runs = study.runs("router", method)
        each = [
            [*study.values("router", method, learning_rate=rate).values()]
            for rate in sorted({run["learning_rate"] for run in runs})
        ]
        if min(map(len, each)) < 2 or len(runs) < SEEDS * len(each):
            raise NotMeasured(f"router: {method}, {SEEDS} seeds")
        sd, diverged = (
            [float(np.std(values, ddof=1)) for values in each],
            sum("diverged" in run for run in runs),
        )
        sds[method] = float(np.mean(np.square(sd)) ** 0.5), diverged
        lines[method] = (
            f"sd {sds[method][0]:.1f} ({', '.join(f'{x:.1f}' for x in sd)}), {diverged} of "
            f"{len(runs)} runs diverged"
        )
        count.append(len(runs) // len(each))
    control = lines.pop("lander-none")
    parts = {
        "no diverged run": not sds[LANDER][1],
        f"spread below {SPREAD:g} times that without router": sds[LANDER][0]
        < SPREAD * sds["lander-none"][0],
    }
    return Finding(
        "; ".join(f"{method} {line}" for method, line in lines.items()), parts, min(count), control
    )


@claim(
    "L11",
    "tuning one pair also helps others",
    "Fig. 3: of 20 other directions into English 16 gain, mean +2.6",
    "full tuning on the same pair",
    "06_forgetting.ipynb#The-stored-study:-one-direction-trained,-all-measured",
)
def helps_others(study, second):
    """The mean BLEU change of the directions that were not trained, over all trained directions,
    has its interval over seeds above zero."""
    runs = study.runs("matrix")
    pairs = [*study.runs("matrix", "zero-shot")[0]["pairs"]]
    each = {
        method: [one for one in matrices(runs, method, pairs) if not np.isnan(one).any()]
        for method in (LANDER, "full")
    }
    moved, full = (
        minus(name, dict(enumerate(cell_means(np.array(mine), pairs)["others"] if mine else ())))
        for name, mine in zip(("the other directions", "full tuning"), each.values())
    )
    share = np.mean([one[cells(pairs)["others"]] > 0 for one in each[LANDER]])
    return Finding(
        f"{moved}; {share:.0%} of the cells gain",
        {"mean change above zero": moved.above},
        len(moved.values),
        full.text,
    )


@claim(
    "L12",
    "less forgetting",
    "said, not measured; limited to directions by a footnote",
    "full tuning, LoRA, full tuning with KL to the base model",
    "06_forgetting.ipynb#Gain-against-loss",
)
def forgets_less(study, second):
    """Against full tuning, LoRA and full tuning with KL, each: LANDeRMT loses less BLEU on the
    directions that were not trained, at equal updates and at equal gain, and its backward transfer
    in a sequence of five directions is higher; all intervals over seeds above zero. BLEU is the
    paper's own scope; perplexity and facts are told beside it."""
    runs, found, beside = study.runs("forgetting"), [], []
    before = end(study.runs("forgetting", "zero-shot")[0])

    def lost(method, measure):
        return study.values(
            "forgetting",
            method,
            lambda run: change(end(run), before, run["train_pairs"][0])[measure],
        )

    def backward(method):
        return study.values("sequence", method, lambda run: sequence(run, before)[1]["bwt"])

    text = []
    for method in FORGETTERS:
        for measure in ("bleu", "perplexity", "facts"):
            gaps = [theirs - mine for _, mine, theirs in equal_gain(runs, LANDER, method, measure)]
            both = [
                minus(f"{method}, equal updates", lost(method, measure), lost(LANDER, measure)),
                minus(f"{method}, equal gain", dict(enumerate(gaps))),
            ]
            (found if measure == "bleu" else beside).extend(both)
        found.append(minus(f"{method}, sequence", backward(LANDER), backward(method)))
        text.append(
            f"{method} {found[-3].text} at equal updates, {found[-2].text} at equal gain, "
            f"{found[-1].text} in sequence"
        )
    return Finding(
        f"BLEU kept beyond {'; '.join(text)}. Perplexity and facts: less lost in "
        f"{sum(d.above for d in beside)} and more in "
        f"{sum(d.below for d in beside)} of {len(beside)} comparisons",
        {
            f"keeps more than {method}": all(d.above for d in found[3 * i : 3 * i + 3])
            for i, method in enumerate(FORGETTERS)
        },
        len(found[0].values),
    )


@claim(
    "L14",
    "it holds on a second architecture and for a low-resource language",
    "Fig. 9: Baichuan2, ahead of adapter-LoRA in 10 of 10 directions; no low-resource language",
    "those of L8",
    "05_selective_finetuning.ipynb#The-second-architecture",
)
def holds_elsewhere(study, second):
    """L7 and L8 are reproduced on the second architecture by their own rules, and on the two
    directions of the low-resource language LANDeRMT minus each other method has its interval over
    seeds above zero."""
    if second is None:
        raise NotMeasured("a second architecture")
    tables, controls = (
        [second.compare(LANDER, name) for name in names]
        for names in ((*BASELINES, *ABLATIONS), CONTROLS)
    )
    others = dict.fromkeys(
        run["method"] for run in study.runs("low-resource") if run["method"] != LANDER
    )
    low = [
        study.difference("low-resource", LANDER, name, lambda run: bleu(run, low_resource()))
        for name in others
    ]
    split = len(BASELINES)
    parts = {
        "L7 on the second architecture": all(d.above for d in tables[:split]),
        "L8 on the second architecture": all(d.above for d in (*tables[split:], *controls)),
        "low-resource": all(d.above for d in low),
    }
    return Finding(
        f"{second.folder.name}: {sides(tables)}. Low-resource: {listed(low)}",
        parts,
        len(tables[0].values),
        sides(controls),
    )


CLAIMS = [
    few_layers,
    epsilon,
    beats_baselines,
    beats_ablations,
    stable,
    helps_others,
    forgets_less,
    holds_elsewhere,
]
