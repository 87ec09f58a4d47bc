"""The neighbours' claims on made-up result files: a clear win, a tie, the wrong side, missing
files."""

import json

import pytest
from test_scorecard import PAIRS, about, analysis, judge, write

from lander_lite.reproduction.claims.pruning import TEXTS
from lander_lite.reproduction.claims.sparse import RIVALS
from lander_lite.reproduction.evidence import Study
from lander_lite.reproduction.kinds import SPARSITIES
from lander_lite.reproduction.verdicts import CANNOT_TELL, CONTRADICTED, NOT_MEASURED, REPRODUCED

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
    """Runs on plain text of the base model and of six methods; changed: {method: {what: value}};
    "noise" is how far seeds lie apart."""
    for method, values in {"zero-shot": BASE, **TUNED}.items():
        v = values | changed.get(method.replace("-", "_"), {})
        for seed in range(1 if method == "zero-shot" else 3):
            e = seed * v.get("noise", 0.01)  # no two seeds are equal
            write(
                folder,
                "sparse",
                method,
                seed,
                {p: v["af_bleu" if "af" in p else "bleu"] + e for p in ALL},
                train_pairs=[["af"]],
                perplexity={"en": v["perplexity"], "af": v["af_perplexity"] + e},
                facts={} if v["facts"] is None else {"en": v["facts"], "af": v["af_facts"]},
                alignment={what: [v["cosine"], v["cosine"] + e] for what in ("difference", "cka")},
                weight_change_of="those that it trains",
                weight_change={
                    "up": {"0": v["up"], "5": v["up"] + 0.05},
                    "down": {"0": v["down"], "5": v["down"] + 0.05 + e},
                },
            )


def prune(folder, recall, noise=0.001, facts=True):
    """recall: {method: share of the facts recalled in German at every sparsity; BLEU / 100 without
    facts}."""
    for method, share in recall.items():
        once = method in ("zero-shot", "magnitude")
        for seed in range(1 if once else 3):
            share_of_seed = share + noise * seed
            bleu = 1.0 if facts else 100 * share_of_seed
            point = {
                "bleu": dict.fromkeys(PAIRS, bleu),
                "perplexity": {"en": 5.0, "de": 6.0},
                "facts": {"en": 0.9, "de": share_of_seed} if facts else {},
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
                bleu,
                **{k: point[k] for k in ("perplexity", "facts")},
                **rest,
            )


@pytest.fixture
def two(tmp_path):
    """Both models alike; returns judge(id)."""

    def judged(id):
        return judge(id, Study(tmp_path / "one"), Study(tmp_path / "two"))

    def make(**changed):
        for name in ("one", "two"):
            sparse(tmp_path / name, **(changed if name == "two" else {}))
        return judged

    make.folder, make.judge = tmp_path, judged
    return make


def test_a_clear_win_is_reproduced_on_both_models(two):
    found = two()
    for id in ("S2", "S3", "S4", "S5"):
        assert (found(id).verdict, found(id).decides.n) == (REPRODUCED, 3), found(id).measured


BELOW = "**Contradicted here:** two: "


@pytest.mark.parametrize(
    "id, changed, missed",
    [
        ("S2", {"ia3": {"af_bleu": 14.5}}, f"{BELOW}better translation than ia3"),
        (
            "S2",
            {"sparse_random": {"af_perplexity": 5.9}},
            f"{BELOW}better perplexity than sparse-random",
        ),
        ("S3", {"sparse": {"bleu": 26.0}}, f"{BELOW}BLEU kept"),
        ("S3", {"full": {"facts": 0.6}}, f"{BELOW}less facts lost than by full tuning"),
        ("S4", {"sparse": {"up": 0.3}}, f"{BELOW}down most"),
        ("S5", {"sparse": {"cosine": 0.1}}, f"{BELOW}cosine, two: CKA"),
    ],
)
def test_one_miss_on_one_model_spoils_it(id, changed, missed, two):
    row = two(**changed)(id)
    assert row.verdict == CONTRADICTED and row.measured.endswith(missed), row.measured


def test_without_facts_forgetting_is_judged_by_the_rest(two):
    row = two(zero_shot={"facts": None})("S3")
    assert row.verdict == REPRODUCED and "nan" not in row.measured
    judged = {part.name for part in row.parts}
    assert "one: less facts lost than by full tuning" in judged
    assert not {name for name in judged if name.startswith("two: less facts")}


def test_random_neurons_count_as_a_control_where_they_are_those_that_were_trained(two):
    row = two(sparse_random={"down": 0.3})("S4")
    assert "not measured" not in row.control and "two: +0.20 [" in row.control
    (old,) = two.folder.glob("two/sparse/sparse-random-*-seed1.json")
    content = json.loads(old.read_text())
    del content["weight_change_of"]
    old.write_text(json.dumps(content))
    row = two.judge("S4")
    assert row.verdict == REPRODUCED and "one: +0.0" in row.control
    assert "two: not measured (weight_change_of" in row.control


def test_one_model_alone_is_not_measured(tmp_path):
    sparse(tmp_path)
    assert judge("S2", Study(tmp_path)).measured == "missing: a second architecture"
    assert (
        judge("S2", Study(tmp_path), Study(tmp_path / "none")).measured == "missing: sparse: sparse"
    )


def lape(folder, own=0.5, chance=0.4, held=0.6):
    """held: the share of the neurons in the two layers of eight that have most."""
    one = {
        "share_of_layers": [held - 0.1, held, *[1.0] * 6],
        "neurons_by_layer": [100] * 8,
        "agreement_of_halves": {"en": 0.8},
        "control_random_halves": [{"en": 0.1}],
        "own_minus_others": about(own, 0.1),
        "own_minus_random": about(chance, 0.1),
    }
    analysis(folder, "lape", one)


def test_language_neurons_must_hurt_their_own_language_and_lie_together(tmp_path):
    def judged(**numbers):
        lape(tmp_path / "two", **numbers)
        return judge("S1", Study(tmp_path / "one"), Study(tmp_path / "two"))

    lape(tmp_path / "one")
    assert judged().verdict == REPRODUCED
    for numbers, missed in (
        ({"chance": 0.05}, "**Cannot tell:** two: more than random neurons"),
        ({"held": 0.25}, f"{BELOW}half in a quarter of the layers"),
        ({"held": 0.51}, "**Cannot tell:** two: half in a quarter of the layers"),
    ):
        assert judged(**numbers).measured.endswith(missed), numbers


def features(folder, by_layer, difference):
    numbers = {
        "stand_out": {"mean": by_layer},
        "difference": difference,
        "d_model": 64,
        "control_same": {"mean": [0.0]},
        "overlap": {"mean": [0.9]},
        "control_overlap_same": {"mean": [0.99]},
        "control_independent": 5.8,
    }
    analysis(folder, "features", numbers)


@pytest.mark.parametrize(
    "by_layer, difference, verdict",
    [
        ([2] * 8, 3.0, REPRODUCED),
        ([2] * 5 + [0] * 3, 3.0, CANNOT_TELL),
        ([2] * 8, 0.9, CANNOT_TELL),
        ([0] * 8, 3.0, CONTRADICTED),
        ([2] * 8, -0.9, CONTRADICTED),
    ],
)
def test_features_must_stand_out_more_than_by_drawing_again(
    tmp_path, by_layer, difference, verdict
):
    features(tmp_path, by_layer, about(difference, 1.0))
    row = judge("P1", Study(tmp_path))
    assert row.verdict == verdict and "not measured (analysis: quality)" in row.measured
    removed = {"largest_minus_random": about(9.0), "of_translation_minus_random": about(0.5)}
    analysis(tmp_path, "quality", {"features": removed})
    row = judge("P1", Study(tmp_path))
    assert row.verdict == verdict and "the largest 9.0 [" in row.measured


RECALL = {
    "zero-shot": 0.5,
    "wanda-translation": 0.6,
    "magnitude": 0.3,
    "random-weights": 0.1,
    **dict.fromkeys(TEXTS, 0.4),
}


def test_without_facts_pruning_is_judged_in_bleu(tmp_path):
    prune(tmp_path, RECALL, facts=False)
    rows = {id: judge(id, Study(tmp_path)) for id in ("P2", "P3")}
    assert "BLEU (no facts): 60.1 at the best sparsity 10%, dense 50.0" in rows["P2"].measured
    assert {part.unit for row in rows.values() for part in row.parts} == {"BLEU"}
    prune(tmp_path, RECALL)
    rows = {id: judge(id, Study(tmp_path)) for id in ("P2", "P3")}
    assert "facts recalled, %: 60.1 at the best sparsity 10%" in rows["P2"].measured
    assert {part.unit for row in rows.values() for part in row.parts} == {"points"}


def test_pruning_must_beat_the_dense_model_and_random_tokens(tmp_path):
    prune(tmp_path, RECALL)
    for id in ("P2", "P3"):
        assert judge(id, Study(tmp_path)).verdict == REPRODUCED, judge(id, Study(tmp_path)).measured
    prune(tmp_path, RECALL | {"wanda-tokens": 0.6})
    missed = "**No effect of the margin:** better than "
    assert judge("P2", Study(tmp_path)).measured.endswith(f"{missed}random tokens")
    assert judge("P3", Study(tmp_path)).measured.endswith(f"{missed}wanda-tokens")
    prune(tmp_path, RECALL | {"zero-shot": 0.7})
    assert "better than the dense model" in judge("P2", Study(tmp_path)).measured
    (tmp_path / "prune" / "wanda-english--seed1.json").unlink()
    assert judge("P3", Study(tmp_path)).verdict == NOT_MEASURED
