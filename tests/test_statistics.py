"""statistics.py: paired bootstrap against sacreBLEU and under a null, intervals over seeds,
continual learning, equal gain."""

import math
import random

import numpy as np
import pytest
import sacrebleu
from sacrebleu.metrics import BLEU
from sacrebleu.significance import PairedTest
from scipy import stats

from lander_lite.reproduction.statistics import (
    at_equal_gain,
    bleu_rows,
    continual,
    mean_bleu_interval,
    mean_interval,
    paired_bootstrap,
)

WORDS = [f"{a}{b}" for a in "bdfgklmnprst" for b in ("o", "an", "ir", "ule")]
SIGNS = "的一是不了在人有我他这中大来上国个到说们"


def written(n, seed, words=WORDS, join=" "):
    rng = random.Random(seed)
    return [join.join(rng.choices(words, k=rng.randint(6, 14))) for _ in range(n)]


def worsened(sentences, share, seed, words=WORDS, join=" "):
    """Each word replaced by a random one with probability `share`."""
    rng = random.Random(seed)
    split = (lambda s: s.split()) if join else list
    return [
        join.join(rng.choice(words) if rng.random() < share else word for word in split(s))
        for s in sentences
    ]


@pytest.fixture(scope="module")
def references():
    return written(120, 0)


@pytest.mark.parametrize(
    "pair, words, join, tokenize", [("en-de", WORDS, " ", "13a"), ("en-zh", SIGNS, "", "zh")]
)
def test_one_pair_and_seed_is_sacrebleus_paired_test(monkeypatch, pair, words, join, tokenize):
    monkeypatch.setenv("SACREBLEU_SEED", "12345")
    references = written(120, 0, words, join)
    for share in (0.30, 0.315, 0.33):
        systems = [worsened(references, s, seed, words, join) for s, seed in ((0.3, 1), (share, 2))]
        result = paired_bootstrap({pair: [systems[0]]}, {pair: [systems[1]]}, {pair: references})
        scores = [
            sacrebleu.corpus_bleu(system, [references], tokenize=tokenize).score
            for system in systems
        ]
        assert (
            result[pair]["delta"] == pytest.approx(scores[0] - scores[1])
            and result["mean"] == result[pair]
        )
        named = [("second", systems[1]), ("first", systems[0])]
        _, oracle = PairedTest(named, {"BLEU": BLEU(tokenize=tokenize)}, [references], "bs", 1000)()
        assert result[pair]["p"] == pytest.approx(oracle["BLEU"][1].p_value, abs=0.002)
        low, high = result[pair]["ci"]
        assert low < result[pair]["delta"] < high


def test_identical_systems_do_not_differ(references):
    system = {"en-de": [worsened(references, 0.3, seed) for seed in (1, 2)]}
    result = paired_bootstrap(system, system, {"en-de": references}, resamples=50)
    assert result["en-de"] == result["mean"] == {"delta": 0, "ci": [0, 0], "p": 1, "p_two_sided": 1}


def test_a_better_system_is_found_and_the_sign_says_which(references):
    good, bad = {"en-de": [worsened(references, 0.2, 1)]}, {"en-de": [worsened(references, 0.4, 2)]}
    result = paired_bootstrap(good, bad, {"en-de": references})["en-de"]
    assert (
        result["delta"] > 0
        and result["ci"][0] > 0
        and result["p"] < 0.01
        and result["p_two_sided"] < 0.01
    )
    turned = paired_bootstrap(bad, good, {"en-de": references})["en-de"]
    assert turned["delta"] == -result["delta"] and turned["ci"] == pytest.approx(
        [-bound for bound in result["ci"][::-1]]
    )
    assert (turned["p"], turned["p_two_sided"]) == (result["p"], result["p_two_sided"])


def test_p_under_the_null(references):
    """Control: who wrote a sentence is drawn anew, so no system is better. p_two_sided is uniform;
    sacreBLEU's p is half of it."""
    rng = np.random.default_rng(0)
    one, other = (
        bleu_rows("en-de", worsened(references, 0.3, seed), references) for seed in (1, 2)
    )
    p = {"p": [], "p_two_sided": []}
    for _ in range(250):
        swap = rng.random((len(one), 1)) < 0.5
        result = paired_bootstrap(
            {"en-de": [np.where(swap, other, one)]},
            {"en-de": [np.where(swap, one, other)]},
            resamples=200,
        )
        for name in p:
            p[name].append(result["mean"][name])
    assert stats.kstest(p["p_two_sided"], "uniform").pvalue > 0.01
    assert max(p["p"]) < 0.6 and 0.15 < np.mean(np.array(p["p"]) < 0.1) < 0.35


def test_mean_over_pairs_and_seeds_shares_the_drawn_rows(references):
    references = {"en-de": references[:50], "de-en": written(50, 5), "en-fr": written(20, 6)}
    first = {
        pair: [worsened(text, 0.3, seed) for seed in (1, 2, 3)] for pair, text in references.items()
    }
    second = {pair: [worsened(text, 0.33, 4)] for pair, text in references.items()}
    result = paired_bootstrap(first, second, references, resamples=15, seed=7)

    def bleu(pair, hypotheses, rows):
        return sacrebleu.corpus_bleu(
            [hypotheses[i] for i in rows], [[references[pair][i] for i in rows]]
        ).score

    def difference(pair, rows):
        return np.mean([bleu(pair, h, rows) for h in first[pair]]) - bleu(
            pair, second[pair][0], rows
        )

    draws = {n: np.random.default_rng(7).choice(n, size=(15, n), replace=True) for n in (50, 20)}
    d = {
        pair: [difference(pair, rows) for rows in draws[len(text)]]
        for pair, text in references.items()
    }
    for pair, text in references.items():
        assert result[pair]["delta"] == pytest.approx(difference(pair, range(len(text))))
        assert result[pair]["ci"] == pytest.approx(np.percentile(d[pair], [2.5, 97.5]).tolist())
    assert result["mean"]["delta"] == pytest.approx(
        np.mean([result[pair]["delta"] for pair in references])
    )
    assert result["mean"]["ci"] == pytest.approx(
        np.percentile(np.mean([*d.values()], axis=0), [2.5, 97.5]).tolist()
    )
    rows = {
        pair: [bleu_rows(pair, h, references[pair]) for h in outputs]
        for pair, outputs in first.items()
    }
    assert paired_bootstrap(rows, second, references, resamples=15, seed=7) == result


def test_what_cannot_be_compared_is_refused(references):
    system = {"en-de": [references]}
    for first, second, given, message in [
        (system, {"de-en": [references]}, system, "same pairs, not en-de and de-en"),
        ({}, {}, {}, "same pairs"),
        (system, system, None, "need references"),
        ({"en-de": references}, system, {"en-de": references}, "one output per seed"),
        (
            system,
            {"en-de": [references[:9]]},
            {"en-de": references},
            "en-de: 9 hypotheses for 120 references",
        ),
        (
            {"en-de": [np.ones((3, 10), int)]},
            {"en-de": [np.ones((4, 10), int)]},
            None,
            "outputs of 3 and 4 sentences",
        ),
    ]:
        with pytest.raises(ValueError, match=message):
            paired_bootstrap(first, second, given, resamples=5)


def test_one_systems_interval_is_that_of_its_difference_from_nothing_right():
    references = written(30, 1)
    rows = {"en-de": bleu_rows("en-de", worsened(references, 0.4, 2), references)}
    rows["de-en"] = bleu_rows("de-en", worsened(references, 0.2, 3), references)
    nothing = {pair: [np.concatenate([0 * x[:, :8], x[:, 8:]], axis=1)] for pair, x in rows.items()}
    zero = mean_bleu_interval({pair: x for pair, (x,) in nothing.items()}, resamples=200)
    assert zero == (0.0, 0.0, 0.0)
    first = {pair: [x] for pair, x in rows.items()}
    paired = paired_bootstrap(first, nothing, resamples=200)["mean"]
    mean, low, high = mean_bleu_interval(rows, resamples=200)
    assert [mean, low, high] == pytest.approx([paired["delta"], *paired["ci"]])
    assert 0 < low < mean < high


# ---------------------------------------------------------------- seeds
def test_mean_interval_is_that_of_the_t_test_and_covers_the_mean():
    values = [52.1, 50.8, 53.0]
    mean, sd, low, high = mean_interval(values)
    oracle = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (mean, low, high) == pytest.approx(
        (np.mean(values), oracle.low, oracle.high)
    ) and sd == pytest.approx(np.std(values, ddof=1))
    assert mean_interval([3.0]) == (3, None, None, None) and mean_interval([2, 2, 2]) == (
        2,
        0,
        2,
        2,
    )
    samples = np.random.default_rng(0).normal(size=(2000, 3))
    covered = [low < 0 < high for _, _, low, high in (mean_interval(row, 0.9) for row in samples)]
    assert np.mean(covered) == pytest.approx(0.9, abs=0.025)
    for values, confidence in [([], 0.95), ([1, 2], 95)]:
        with pytest.raises(ValueError, match="at least one value"):
            mean_interval(values, confidence)


# ---------------------------------------------------------------- tasks
R = [[50.0, 12.0, 7.0], [44.0, 61.0, 9.0], [47.0, 30.0, 55.0]]
BEFORE = [20.0, 10.0, 8.0]


def test_continual_is_that_of_plain_loops():
    T = 3
    result = continual(R, BEFORE)
    assert result["acc"] == pytest.approx(sum(R[2][i] for i in range(3)) / T)
    assert result["bwt"] == pytest.approx(sum(R[2][i] - R[i][i] for i in range(2)) / (T - 1))
    assert result["fwt"] == pytest.approx(sum(R[i - 1][i] - BEFORE[i] for i in (1, 2)) / (T - 1))
    assert result["forgetting"] == pytest.approx(
        sum(max(R[j][i] for j in range(2)) - R[2][i] for i in range(2)) / (T - 1)
    )
    assert result["retention"] == pytest.approx(
        100 / (T - 1) * sum(R[2][i] / R[i][i] for i in range(2))
    )
    # by hand: (-3 - 31) / 2, (12 - 10 + 9 - 8) / 2
    assert (result["acc"], result["bwt"], result["fwt"], result["forgetting"]) == pytest.approx(
        (44, -17, 1.5, 17)
    )


def test_forgetting_looks_at_the_best_earlier_stage_not_only_the_own():
    better_later = [[50.0, 0.0, 0.0], [58.0, 60.0, 0.0], [47.0, 60.0, 55.0]]
    result = continual(better_later, BEFORE)
    assert result["forgetting"] == pytest.approx(11 / 2) and result["bwt"] == pytest.approx(-3 / 2)
    assert continual([[0.0, 1.0], [2.0, 3.0]], [0, 0])["retention"] is None


@pytest.mark.parametrize(
    "scores, before", [(R[:2], BEFORE), (R, BEFORE[:2]), ([[1.0]], [1.0]), ([1.0, 2.0], [1.0, 2.0])]
)
def test_continual_refuses_other_shapes(scores, before):
    with pytest.raises(ValueError, match="as many stages as tasks"):
        continual(scores, before)


# ---------------------------------------------------------------- equal gain
def test_at_equal_gain_by_hand():
    a = [(0, 0), (10, 1), (20, 5)]
    b = [(0, 0), (8, 4), (16, 12)]
    assert at_equal_gain(a, b) == pytest.approx((16, 1 + 0.6 * 4, 12))
    gain, loss_b, loss_a = at_equal_gain(b, a)
    assert (gain, loss_a, loss_b) == pytest.approx(at_equal_gain(a, b))
    assert at_equal_gain(a, a) == (20, 5, 5)


def test_a_gain_counts_when_first_reached():
    """A dip after the first 10: reaching 10 costs 1, but 15 is first reached on the way from the
    dip's end (loss 6) to (20, 8)."""
    dips = [(0, 0), (10, 1), (4, 6), (20, 8), (19, 30)]
    assert at_equal_gain(dips, [(0, 0), (10, 3)]) == pytest.approx((10, 1, 3))
    assert at_equal_gain(dips, [(0, 0), (15, 3)]) == pytest.approx((15, 7, 3))
    assert at_equal_gain(dips, [(0, 0), (99, 9.9)]) == pytest.approx((20, 8, 2))


@pytest.mark.parametrize(
    "curve, message",
    [
        ([(0, 0), (-3, 1)], "no common gain above 0: the best gains are 5 and 0"),
        ([], "curve_b must be"),
        ([0, 1], "list of"),
        ([(1, 0), (2, 1)], "starts with"),
        ([(0, 0), (math.nan, 1)], "all finite"),
    ],
)
def test_at_equal_gain_refuses(curve, message):
    with pytest.raises(ValueError, match=message):
        at_equal_gain([(0, 0), (5, 1)], curve)
