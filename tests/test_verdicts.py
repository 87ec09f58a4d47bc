"""Verdicts have three values: each rule on three made-up sets of results, which must give all
three; intervals, power and the correction for many claims."""

import numpy as np
import pytest
from scipy import stats
from test_claims_neighbours import features, lape, prune, sparse
from test_scorecard import (
    ANALYSES,
    BY_ID,
    GATED,
    LOW,
    NEGATIVE,
    PAIRS,
    REFERENCES,
    about,
    analysis,
    changed,
    epsilons,
    forgetting,
    judge,
    main,
    routers,
    sweep,
    transfers,
    write,
)

from lander_lite.reproduction.claims.forgetting import FORGETTERS
from lander_lite.reproduction.claims.pruning import TEXTS
from lander_lite.reproduction.claims.tables import ABLATIONS, BASELINES, CONTROLS
from lander_lite.reproduction.evidence import Study
from lander_lite.reproduction.kinds import LANDER
from lander_lite.reproduction.scorecard import decision
from lander_lite.reproduction.statistics import mean_interval
from lander_lite.reproduction.verdicts import (
    CANNOT_TELL,
    CONTRADICTED,
    REPRODUCED,
    UNITS,
    Part,
    deciding,
    fact_part,
    holm,
    log_ratio_part,
    p_of,
    share_part,
    verdict_of,
    within,
)

VALUES = (REPRODUCED, CONTRADICTED, CANNOT_TELL)
OTHERS = (*BASELINES, *ABLATIONS, *CONTROLS)


# ---------------------------------------------------------------- the rule
@pytest.mark.parametrize(
    "interval, bound, margin, verdict",
    [
        ((0.1, 3.0), 0.0, 1.0, REPRODUCED),
        ((0.1, 0.9), 0.0, 1.0, REPRODUCED),
        ((0.0, 3.0), 0.0, 1.0, CANNOT_TELL),
        ((-3.0, 1.0), 0.0, 1.0, CANNOT_TELL),
        ((-3.0, 0.9), 0.0, 1.0, CONTRADICTED),
        ((-3.0, -0.1), 0.0, 0.0, CONTRADICTED),
        ((0.4, 0.6), 0.5, 0.0, CANNOT_TELL),
        ((0.51, 0.6), 0.5, 0.0, REPRODUCED),
        ((0.3, 0.49), 0.5, 0.0, CONTRADICTED),
    ],
)
def test_an_interval_lies_above_the_bound_below_the_margin_or_neither(
    interval, bound, margin, verdict
):
    part = Part("more", sum(interval) / 2, interval, 3, bound=bound, margin=margin)
    assert part.verdict == verdict
    assert part.small == (interval == (0.1, 0.9))
    assert (part.p < 0.05) == (verdict != CANNOT_TELL)


def test_no_difference_is_said_within_the_margin_alone():
    assert within((-0.9, 0.9)) and not within((-0.9, 1.1)) and not within((-1.1, 0.9))
    assert within((-0.009, 0.009), "nats") and not within((-0.9, 0.9), "nats")


def test_p_is_that_of_the_t_test():
    values = [2.0, 1.1, 3.2, 0.9]
    mean, _, low, high = mean_interval(values)
    part = Part("more", mean, (low, high), len(values))
    assert part.p == pytest.approx(stats.ttest_1samp(values, 0).pvalue)
    wrong = Part("more", -mean, (-high, -low), len(values))
    assert wrong.p == pytest.approx(stats.ttest_1samp(values, -1).pvalue)


def test_four_in_five_studies_see_the_smallest_visible_effect():
    rng, n, sd = np.random.default_rng(0), 12, 1.0
    half = float(stats.t.ppf(0.975, n - 1)) * sd / n**0.5
    effect = Part("more", 0.0, (-half, half), n).visible
    lows = [mean_interval(rng.normal(effect, sd, n))[2] for _ in range(2000)]
    assert np.mean(np.array(lows) > 0) == pytest.approx(0.8, abs=0.04)


def test_where_nothing_varied_no_power_is_told():
    part = Part("the same in each block", 0.0, (0.0, 0.0), 8, "blocks of sentences", "features")
    assert part.verdict == CONTRADICTED and part.visible is None
    assert decision(part)[-1] == "–"


def test_one_contradicted_part_decides_and_one_undecided_leaves_it_open():
    yes, no, perhaps = (
        Part(name, mean, (mean - half, mean + half), 3)
        for name, mean, half in (("yes", 5, 1), ("no", -5, 1), ("perhaps", 0, 5))
    )
    assert [verdict_of(x) for x in ([yes], [yes, perhaps], [yes, perhaps, no])] == [
        REPRODUCED,
        CANNOT_TELL,
        CONTRADICTED,
    ]
    assert deciding([yes, perhaps, no]) == no and deciding([yes, perhaps]) == perhaps
    assert p_of([yes, perhaps, no]) == pytest.approx(3 * no.p) and p_of([yes, perhaps]) == 1
    surer = Part("surer", 5, (4.9, 5.1), 3)
    assert deciding([surer, yes]) == yes and p_of([surer, yes]) == yes.p


def test_holm():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1, 1] and holm([]) == []


def test_counts_facts_and_spreads():
    assert [share_part("", hits, 8, "layers").verdict for hits in (8, 0, 5)] == list(VALUES)
    assert [fact_part("", x, 3, "runs").verdict for x in (True, False)] == list(VALUES[:2])
    spreads = [log_ratio_part("", x, 1.0, 6, 2.0) for x in (0.8, 5.0, 1.0)]
    assert [part.verdict for part in spreads] == list(VALUES)
    low, high = np.exp(spreads[2].interval)
    assert high == pytest.approx(stats.f.ppf(0.975, 6, 6) ** 0.5) and low == pytest.approx(1 / high)


# ---------------------------------------------------------------- every claim
def of_files(name, path, values):
    """Results of an analysis: as it is, and with each of two values in one place."""

    def make(folder, verdict):
        content = ANALYSES[name]
        if verdict != REPRODUCED:
            content = changed(content, path, values[verdict == CANNOT_TELL])
        analysis(folder, name, content)

    return make


def layers_swept(folder, verdict):
    best = {REPRODUCED: 40.0, CONTRADICTED: 30.0, CANNOT_TELL: 34.0}[verdict]
    sweep(folder, {1: 30.0, 2: best, 3: 34.0, 4: 34.0})
    sweep(folder, {2: best}, noise=9.0 if verdict == CANNOT_TELL else 0.1)
    sweep(folder, {1: 20.0, 2: 29.0, 3: 30.0}, "random")


def epsilons_swept(folder, verdict):
    best = {REPRODUCED: 40.0, CONTRADICTED: 30.0, CANNOT_TELL: 34.0}[verdict]
    epsilons(folder, [34.0, 34.0, 34.0, best, 34.0], noise=9.0 if verdict == CANNOT_TELL else 0.1)


def tables_of(rivals, extra=()):
    def make(folder, verdict):
        ours, theirs = {REPRODUCED: (0.1, 0.3), CONTRADICTED: (0.3, 0.1)}.get(verdict, (0.3, 0.3))
        main(folder, {LANDER: ours} | dict.fromkeys([*rivals, *extra], theirs))

    return make


def gates(folder, verdict):
    main(folder, GATED)
    content = ANALYSES["gates"]
    if verdict != REPRODUCED:
        ends = [-3.0, -2.0] if verdict == CONTRADICTED else [-2.0, 2.0]
        path = "learned_minus control_constant paired_bootstrap ci"
        content = changed(content, path, ends)
        mean = about(np.mean(ends))
        content = changed(content, "learned_minus control_constant over_seeds", mean)
    analysis(folder, "gates", content)


def elsewhere(folder, verdict):
    main(folder, {LANDER: 0.1} | dict.fromkeys(OTHERS, 0.3))
    gap, noise = {REPRODUCED: (5.0, 0.1), CONTRADICTED: (-5.0, 0.1)}.get(verdict, (0.0, 9.0))
    for seed in range(3):
        for method, bleu in ((LANDER, 30.0 + gap + noise * seed), ("full", 30.0)):
            low = dict.fromkeys([*PAIRS, "en-af", "af-en"], bleu)
            write(folder, "low-resource", method, seed, low)


def transferred(folder, verdict):
    others, noise = {REPRODUCED: (5.0, 0.1), CONTRADICTED: (-5.0, 0.1)}.get(verdict, (0.0, 9.0))
    transfers(folder, 10.0, others, noise)


def forgotten(folder, verdict):
    ours, noise = {REPRODUCED: (1.0, 0.01), CONTRADICTED: (9.0, 0.01)}.get(verdict, (1.0, 9.0))
    forgetting(folder, dict.fromkeys(FORGETTERS, 5.0))
    forgetting(folder, {LANDER: ours}, noise=noise)


def language_neurons(folder, verdict):
    lape(folder, own={REPRODUCED: 0.5, CONTRADICTED: -0.5, CANNOT_TELL: 0.05}[verdict])


def subnetworks(**contradicted):
    def make(folder, verdict):
        wide = {"sparse": {"noise": 9.0}} if verdict == CANNOT_TELL else {}
        sparse(folder, **(contradicted if verdict == CONTRADICTED else wide))

    return make


def standing_out(folder, verdict):
    mean = {REPRODUCED: 3.0, CONTRADICTED: -3.0, CANNOT_TELL: 0.5}[verdict]
    features(folder, [2] * 8, about(mean, 1.0))


def pruned(folder, verdict):
    share = {REPRODUCED: 0.6, CONTRADICTED: 0.3, CANNOT_TELL: 0.4}[verdict]
    rest = ("zero-shot", "magnitude", "random-weights", *TEXTS)
    prune(folder, dict.fromkeys(rest, 0.45))
    prune(folder, {"wanda-translation": share}, 0.1 if verdict == CANNOT_TELL else 0.001)


RULES = {
    "L1": of_files("layers", "measures signed rank_correlation held_out", (about(0.5), about(0.8))),
    "L2": layers_swept,
    "L3": of_files("ablation", "tenths top_minus_random", (NEGATIVE, LOW)),
    "L4": of_files("silhouette", "specific_minus general", (NEGATIVE, LOW)),
    "L5": of_files("switching", "own_minus_others", (NEGATIVE, about(0.15, 0.2))),
    "L6": epsilons_swept,
    "L7": tables_of(BASELINES),
    "L8": tables_of((*ABLATIONS, *CONTROLS)),
    "L9": gates,
    "L10": lambda folder, verdict: routers(folder, dict(zip(VALUES, (0.4, 9.0, 1.5)))[verdict]),
    "L11": transferred,
    "L12": forgotten,
    "L13": of_files("profile", "own_over_other_texts activation log", (NEGATIVE, LOW)),
    "L14": elsewhere,
    "S1": language_neurons,
    "S2": subnetworks(ia3={"af_bleu": 20.0}),
    "S3": subnetworks(sparse={"bleu": 20.0}),
    "S4": subnetworks(sparse={"up": 0.4}),
    "S5": subnetworks(sparse={"cosine": 0.1}),
    "P1": standing_out,
    "P2": pruned,
    "P3": pruned,
}


@pytest.mark.parametrize("verdict", VALUES)
@pytest.mark.parametrize("id", RULES)
def test_each_rule_gives_all_three_values(tmp_path, id, verdict):
    RULES[id](tmp_path, verdict)
    one = Study(tmp_path, references=dict(REFERENCES), resamples=50)
    row = judge(id, one, one)
    assert row.verdict == verdict, row.measured
    assert row.decides.verdict == verdict and row.decides.unit in UNITS


def test_no_rule_is_left_out():
    assert RULES.keys() == BY_ID.keys()
