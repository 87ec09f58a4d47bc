"""The neighbours' claims on made-up result files: a clear win, a tie, the wrong side, missing files."""
import json

import pytest
from test_scorecard import PAIRS, judge, write

from lander_lite.claims_neighbours import RIVALS, TEXTS
from lander_lite.evidence import Study
from lander_lite.kinds import SPARSITIES
from lander_lite.scorecard import NOT_YET

ALL = [*PAIRS, "en-af", "af-en"]
BASE = {"bleu": 30., "af_bleu": 10., "perplexity": 5., "af_perplexity": 9., "facts": .5, "af_facts": .4, "cosine": .2, "down": .0, "up": .0}
TUNED = {"sparse": {**BASE, "af_bleu": 14., "af_perplexity": 6., "af_facts": .5, "bleu": 29., "cosine": .3, "down": .2, "up": .1}}
TUNED |= {rival: {**BASE, "af_bleu": 12., "af_perplexity": 7., "af_facts": .45, "bleu": 20., "perplexity": 8., "facts": .3, "cosine": .25,
                  "down": .1, "up": .1} for rival in RIVALS}


def sparse(folder, **changed):
    """Runs on plain text of the base model and of six methods; changed: {method: {what: value}}."""
    for method, values in {"zero-shot": BASE, **TUNED}.items():
        v = values | changed.get(method.replace("-", "_"), {})
        for seed in range(1 if method == "zero-shot" else 3):
            e = seed / 100                                                 # no two seeds are equal
            write(folder, "sparse", method, seed, {p: v["af_bleu" if "af" in p else "bleu"] + e for p in ALL}, train_pairs=[["af"]],
                  perplexity={"en": v["perplexity"], "af": v["af_perplexity"] + e}, facts={"en": v["facts"], "af": v["af_facts"]},
                  alignment={what: [v["cosine"], v["cosine"] + e] for what in ("difference", "cka")},
                  weight_change={"up": {"0": v["up"], "5": v["up"] + .05}, "down": {"0": v["down"], "5": v["down"] + .05 + e}})


def prune(folder, recall):
    """recall: {method: share of the facts recalled in German at every sparsity}."""
    for method, share in recall.items():
        once = method in ("zero-shot", "magnitude")
        for seed in range(1 if once else 3):
            point = {"bleu": dict.fromkeys(PAIRS, 1.), "perplexity": {"en": 5., "de": 6.}, "facts": {"en": .9, "de": share + seed / 1000}}
            rest = {} if method == "zero-shot" else {"sparsity": .6, "curve": [point | {"sparsity": x} for x in SPARSITIES[:-1]]}
            write(folder, "prune", method, seed, 1., **{k: point[k] for k in ("perplexity", "facts")}, **rest)


@pytest.fixture
def two(tmp_path):
    """Both models alike; returns judge(id)."""
    def make(**changed):
        for name in ("one", "two"):
            sparse(tmp_path / name, **(changed if name == "two" else {}))
        return lambda id: judge(id, Study(tmp_path / "one"), Study(tmp_path / "two"))
    return make


def test_a_clear_win_is_reproduced_on_both_models(two):
    found = two()
    for id in ("S2", "S3", "S4", "S5"):
        assert (found(id).verdict, found(id).seeds) == ("reproduced", 3), found(id).measured


@pytest.mark.parametrize("id, changed, missed", [
    ("S2", {"ia3": {"af_bleu": 14.5}}, "two: better than ia3 in all three"),
    ("S2", {"sparse_random": {"af_perplexity": 6.}}, "two: better than sparse-random in all three"),
    ("S3", {"sparse": {"bleu": 26.}}, "two: BLEU kept"), ("S3", {"full": {"facts": .6}}, "two: less facts lost than by full tuning"),
    ("S4", {"sparse": {"up": .3}}, "two: down most"), ("S5", {"sparse": {"cosine": .1}}, "two: cosine; two: CKA")])
def test_one_miss_on_one_model_spoils_it(id, changed, missed, two):
    row = two(**changed)(id)
    assert row.verdict == "not reproduced" and row.measured.endswith(f"**Not met:** {missed}"), row.measured


def test_one_model_alone_is_not_measured(tmp_path):
    sparse(tmp_path)
    assert judge("S2", Study(tmp_path)).measured == "missing: a second architecture"
    assert judge("S2", Study(tmp_path), Study(tmp_path / "none")).measured == "missing: sparse: sparse"


def test_language_neurons_must_hurt_their_own_language_and_lie_together(tmp_path):
    def analysis(folder, own=.5, chance=.4, shares=(.3, .6, .7, .8, .9, 1., 1., 1.)):
        (folder / "analysis").mkdir(parents=True, exist_ok=True)
        one = {"share_of_layers": shares, "agreement_of_halves": {"en": .8}, "control_random_halves": [{"en": .1}]}
        sides = {"own_minus_others": own, "own_minus_random": chance}
        one |= {name: {"mean": x, "low": x - .1, "high": x + .1, "n": 5} for name, x in sides.items()}
        (folder / "analysis" / "lape.json").write_text(json.dumps(one))
        return judge("S1", Study(tmp_path / "one"), Study(folder))
    analysis(tmp_path / "one")
    assert analysis(tmp_path / "two").verdict == "reproduced"
    assert analysis(tmp_path / "two", chance=.05).measured.endswith("**Not met:** two: more than random neurons")
    assert analysis(tmp_path / "two", shares=[i / 8 for i in range(1, 9)]).measured.endswith("two: half in a quarter of the layers")


def test_features_must_stand_out_more_than_by_drawing_again(tmp_path):
    def found(mean, low):
        numbers = {"stand_out": {"mean": mean}, "difference": {"low": low, "n": 5}, "d_model": 64, "control_same": {"mean": [0.]},
                   "overlap": {"mean": [.9]}, "control_overlap_same": {"mean": [.99]}, "control_independent": 5.8}
        (tmp_path / "analysis").mkdir(exist_ok=True)
        (tmp_path / "analysis" / "features.json").write_text(json.dumps(numbers))
        return judge("P1", Study(tmp_path)).verdict
    assert [found([1, 2, 0], .1), found([1, 0, 0], .1), found([1, 2, 0], -.1)] == ["reproduced", "not reproduced", "not reproduced"]


def test_pruning_must_beat_the_dense_model_and_random_tokens(tmp_path):
    recall = {"zero-shot": .5, "wanda-translation": .6, "magnitude": .3, "random-weights": .1, **dict.fromkeys(TEXTS, .4)}
    prune(tmp_path, recall)
    for id in ("P2", "P3"):
        assert judge(id, Study(tmp_path)).verdict == "reproduced", judge(id, Study(tmp_path)).measured
    prune(tmp_path, recall | {"wanda-tokens": .6})
    assert judge("P2", Study(tmp_path)).measured.endswith("**Not met:** better than random tokens")
    assert judge("P3", Study(tmp_path)).measured.endswith("**Not met:** better than wanda-tokens")
    prune(tmp_path, recall | {"zero-shot": .7})
    assert "better than the dense model" in judge("P2", Study(tmp_path)).measured
    (tmp_path / "prune" / "wanda-english--seed1.json").unlink()
    assert judge("P3", Study(tmp_path)).verdict == NOT_YET
