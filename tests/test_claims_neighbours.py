"""The neighbours' claims on made-up result files: a clear win, a tie, the wrong side, missing
files."""

import json

import pytest
from test_scorecard import PAIRS, judge, write

from lander_lite.reproduction.claims.pruning import TEXTS
from lander_lite.reproduction.claims.sparse import RIVALS
from lander_lite.reproduction.evidence import Study
from lander_lite.reproduction.scorecard import NOT_YET
from lander_lite.reproduction.specs import SPARSITIES

ALL = [*PAIRS, "en-af", "af-en"]
BASE = {
    "bleu": 30.0,
    "af_bleu": 10.0,
    "perplexity": 5.0,
    "af_perplexity": 9.0,
    "facts": 0.5,
    "af_facts": 0.4,
    "cosine": 0.2,
    "down": 0.0,
    "up": 0.0,
}
TUNED = {
    "sparse": {
        **BASE,
        "af_bleu": 14.0,
        "af_perplexity": 6.0,
        "af_facts": 0.5,
        "bleu": 29.0,
        "cosine": 0.3,
        "down": 0.2,
        "up": 0.1,
    }
}
TUNED |= {
    rival: {
        **BASE,
        "af_bleu": 12.0,
        "af_perplexity": 7.0,
        "af_facts": 0.45,
        "bleu": 20.0,
        "perplexity": 8.0,
        "facts": 0.3,
        "cosine": 0.25,
        "down": 0.1,
        "up": 0.1,
    }
    for rival in RIVALS
}


def sparse(folder, **changed):
    """Runs on plain text of the base model and of six methods; changed: {method: {what: value}}."""
    for method, values in {"zero-shot": BASE, **TUNED}.items():
        v = values | changed.get(method.replace("-", "_"), {})
        for seed in range(1 if method == "zero-shot" else 3):
            e = seed / 100  # no two seeds are equal
            write(
                folder,
                "sparse",
                method,
                seed,
                {p: v["af_bleu" if "af" in p else "bleu"] + e for p in ALL},
                train_pairs=[["af"]],
                perplexity={"en": v["perplexity"], "af": v["af_perplexity"] + e},
                facts={"en": v["facts"], "af": v["af_facts"]},
                alignment={what: [v["cosine"], v["cosine"] + e] for what in ("difference", "cka")},
                weight_change={
                    "up": {"0": v["up"], "5": v["up"] + 0.05},
                    "down": {"0": v["down"], "5": v["down"] + 0.05 + e},
                },
            )


def prune(folder, recall):
    """recall: {method: share of the facts recalled in German at every sparsity}."""
    for method, share in recall.items():
        once = method in ("zero-shot", "magnitude")
        for seed in range(1 if once else 3):
            point = {
                "bleu": dict.fromkeys(PAIRS, 1.0),
                "perplexity": {"en": 5.0, "de": 6.0},
                "facts": {"en": 0.9, "de": share + seed / 1000},
            }
            rest = (
                {}
                if method == "zero-shot"
                else {"sparsity": 0.6, "curve": [point | {"sparsity": x} for x in SPARSITIES[:-1]]}
            )
            write(
                folder,
                "prune",
                method,
                seed,
                1.0,
                **{k: point[k] for k in ("perplexity", "facts")},
                **rest,
            )


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


@pytest.mark.parametrize(
    "id, changed, missed",
    [
        ("S2", {"ia3": {"af_bleu": 14.5}}, "two: better than ia3 in all three"),
        (
            "S2",
            {"sparse_random": {"af_perplexity": 6.0}},
            "two: better than sparse-random in all three",
        ),
        ("S3", {"sparse": {"bleu": 26.0}}, "two: BLEU kept"),
        ("S3", {"full": {"facts": 0.6}}, "two: less facts lost than by full tuning"),
        ("S4", {"sparse": {"up": 0.3}}, "two: down most"),
        ("S5", {"sparse": {"cosine": 0.1}}, "two: cosine; two: CKA"),
    ],
)
def test_one_miss_on_one_model_spoils_it(id, changed, missed, two):
    row = two(**changed)(id)
    assert row.verdict == "not reproduced" and row.measured.endswith(f"**Not met:** {missed}"), (
        row.measured
    )


def test_one_model_alone_is_not_measured(tmp_path):
    sparse(tmp_path)
    assert judge("S2", Study(tmp_path)).measured == "missing: a second architecture"
    assert (
        judge("S2", Study(tmp_path), Study(tmp_path / "none")).measured == "missing: sparse: sparse"
    )


def test_language_neurons_must_hurt_their_own_language_and_lie_together(tmp_path):
    def analysis(folder, own=0.5, chance=0.4, shares=(0.3, 0.6, 0.7, 0.8, 0.9, 1.0, 1.0, 1.0)):
        (folder / "analysis").mkdir(parents=True, exist_ok=True)
        one = {
            "share_of_layers": shares,
            "agreement_of_halves": {"en": 0.8},
            "control_random_halves": [{"en": 0.1}],
        }
        sides = {"own_minus_others": own, "own_minus_random": chance}
        one |= {
            name: {"mean": x, "low": x - 0.1, "high": x + 0.1, "n": 5} for name, x in sides.items()
        }
        (folder / "analysis" / "lape.json").write_text(json.dumps(one))
        return judge("S1", Study(tmp_path / "one"), Study(folder))

    analysis(tmp_path / "one")
    assert analysis(tmp_path / "two").verdict == "reproduced"
    assert analysis(tmp_path / "two", chance=0.05).measured.endswith(
        "**Not met:** two: more than random neurons"
    )
    assert analysis(tmp_path / "two", shares=[i / 8 for i in range(1, 9)]).measured.endswith(
        "two: half in a quarter of the layers"
    )


def test_features_must_stand_out_more_than_by_drawing_again(tmp_path):
    def found(mean, low):
        numbers = {
            "stand_out": {"mean": mean},
            "difference": {"low": low, "n": 5},
            "d_model": 64,
            "control_same": {"mean": [0.0]},
            "overlap": {"mean": [0.9]},
            "control_overlap_same": {"mean": [0.99]},
            "control_independent": 5.8,
        }
        (tmp_path / "analysis").mkdir(exist_ok=True)
        (tmp_path / "analysis" / "features.json").write_text(json.dumps(numbers))
        return judge("P1", Study(tmp_path)).verdict

    assert [found([1, 2, 0], 0.1), found([1, 0, 0], 0.1), found([1, 2, 0], -0.1)] == [
        "reproduced",
        "not reproduced",
        "not reproduced",
    ]


def test_pruning_must_beat_the_dense_model_and_random_tokens(tmp_path):
    recall = {
        "zero-shot": 0.5,
        "wanda-translation": 0.6,
        "magnitude": 0.3,
        "random-weights": 0.1,
        **dict.fromkeys(TEXTS, 0.4),
    }
    prune(tmp_path, recall)
    for id in ("P2", "P3"):
        assert judge(id, Study(tmp_path)).verdict == "reproduced", judge(
            id, Study(tmp_path)
        ).measured
    prune(tmp_path, recall | {"wanda-tokens": 0.6})
    assert judge("P2", Study(tmp_path)).measured.endswith("**Not met:** better than random tokens")
    assert judge("P3", Study(tmp_path)).measured.endswith("**Not met:** better than wanda-tokens")
    prune(tmp_path, recall | {"zero-shot": 0.7})
    assert "better than the dense model" in judge("P2", Study(tmp_path)).measured
    (tmp_path / "prune" / "wanda-english--seed1.json").unlink()
    assert judge("P3", Study(tmp_path)).verdict == NOT_YET
