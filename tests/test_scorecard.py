"""The scorecard on made-up result files: a clear win, no difference, a loss, missing files;
departures and links that exist."""

import json
import lzma
import random
import re
import shlex
from dataclasses import replace

import pytest
from sacrebleu.metrics import BLEU
from scipy import stats

from lander_lite.cli import configure, parse
from lander_lite.config import PACKAGE
from lander_lite.course.scorecard import evidence_table, verdict_table
from lander_lite.reproduction import evidence, scorecard
from lander_lite.reproduction.claims import CLAIMS
from lander_lite.reproduction.claims.forgetting import FORGETTERS
from lander_lite.reproduction.claims.router import at_equal_rates
from lander_lite.reproduction.claims.tables import ABLATIONS, BASELINES, CONTROLS
from lander_lite.reproduction.departures import DEPARTURES
from lander_lite.reproduction.departures import as_markdown as departures_table
from lander_lite.reproduction.evidence import Difference, NotMeasured, Study, minus
from lander_lite.reproduction.kinds import EPSILONS, GRID, LANDER
from lander_lite.reproduction.methods import METHODS
from lander_lite.reproduction.scorecard import as_json, as_markdown, counted, row, rules
from lander_lite.reproduction.specs import specs_of
from lander_lite.reproduction.verdicts import (
    CANNOT_TELL,
    CONTRADICTED,
    NOT_MEASURED,
    REPRODUCED,
    Part,
)

PAIRS = ["en-de", "de-en", "en-it", "it-en"]
WORDS = [f"{a}{b}" for a in "bdfgklmnprst" for b in ("o", "an", "ir", "ule")]
MODEL = {"base_model": {"n_layers": 4}, "corpus": "0" * 16, "profile": "tiny-bloom"}
REFERENCES = {
    pair: [" ".join(random.Random(f"{pair} {i}").choices(WORDS, k=9)) for i in range(20)]
    for pair in PAIRS[:2]
}
BY_ID = {claim.id: claim for claim in CLAIMS}


def write(folder, kind, method, seed=0, bleu=40.0, name="", **content):
    """A result file; a number as `bleu` holds for every direction."""
    bleus = dict.fromkeys(PAIRS, bleu) if isinstance(bleu, float) else bleu
    path = folder / kind / f"{method}-{name}-seed{seed}.json"
    if kind == "main":
        path = folder / kind / f"{method}-seed{seed}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        json.dumps(
            {
                **MODEL,
                "kind": kind,
                "method": method,
                "seed": seed,
                "settings": {},
                "train_pairs": [PAIRS],
                "learning_rate": 0.01,
                "curve": [],
                "grid": {},
                "mean": {"bleu": sum(bleus.values()) / len(bleus), "chrf": 50.0},
                "pairs": {pair: {"bleu": x} for pair, x in bleus.items()},
                "perplexity": {"en": 5.0, "de": 6.0},
                "facts": {"en": 0.5},
                **content,
            }
        )
    )


def main(folder, errors, seeds=3):
    """Runs of kind main: errors {method: share of wrong words}; translations whose BLEU the result
    file gives."""
    for method, share in errors.items():
        for seed in range(seeds if METHODS[method].build else 1):
            rng, outputs = random.Random(f"{method} {seed}"), {}
            for pair, lines in REFERENCES.items():
                outputs[pair] = [
                    " ".join("wrong" if rng.random() < share else word for word in line.split())
                    for line in lines
                ]
            write(
                folder,
                "main",
                method,
                seed,
                {
                    p: BLEU().corpus_score(lines, [REFERENCES[p]]).score
                    for p, lines in outputs.items()
                },
            )
            (folder / "main" / f"{method}-seed{seed}.hypotheses.xz").write_bytes(
                lzma.compress(json.dumps(outputs).encode())
            )


@pytest.fixture
def study(tmp_path):
    return lambda: Study(tmp_path, references=dict(REFERENCES), resamples=50)


def judge(id, study, second=None):
    return row(BY_ID[id], study, second)


# ---------------------------------------------------------------- differences
def test_both_intervals_must_exclude_zero():
    clear = Difference("b", (1.0, 1.1, 0.9), (0.5, 1.5))
    assert clear.above and not clear.below and clear.interval[0] == pytest.approx(0.5)
    assert not replace(clear, sentences=(-0.1, 2.0)).above  # the test sentences could explain it
    assert not replace(clear, values=(3.0, -1.0, 1.0)).above  # the seeds could
    assert Difference("b", (-1.0, -1.1, -0.9), (-1.5, -0.5)).below


def test_seeds_are_matched_and_two_are_too_few():
    assert minus(
        "b", {0: 1.0, 1: 2.0, 2: 3.0, 7: 100.0}, {2: 1.0, 1: 1.0, 0: 1.0, 5: 0.0}
    ).values == (0.0, 1.0, 2.0)
    with pytest.raises(NotMeasured, match="b: 2 of 3 seeds"):
        minus("b", {0: 1.0, 1: 2.0}, {0: 1.0, 1: 1.0, 2: 1.0})


def test_the_bootstrap_is_kept_beside_the_results_until_a_translation_changes(
    study, tmp_path, monkeypatch
):
    main(tmp_path, {LANDER: 0.2, "full": 0.3, "zero-shot": 0.5})
    first = study()
    found = {name: first.bootstrap(LANDER, name) for name in ("full", "zero-shot")}
    assert all(
        0 < x["ci"][0] < x["delta"] < x["ci"][1] and x["p_two_sided"] < 0.05 for x in found.values()
    )
    first.save_bootstraps()
    monkeypatch.setattr(evidence, "paired_bootstrap", lambda *a, **k: pytest.fail("computed again"))
    assert {name: study().bootstrap(LANDER, name) for name in found} == found
    main(tmp_path, {"full": 0.31})
    with pytest.raises(pytest.fail.Exception, match="computed again"):
        study().bootstrap(LANDER, "full")


def test_translations_of_other_runs_are_refused(study, tmp_path):
    main(tmp_path, {LANDER: 0.2, "full": 0.3})
    write(tmp_path, "main", "full", 1, 99.0)
    with pytest.raises(ValueError, match="belong to other runs"):
        study().bootstrap(LANDER, "full")


def test_a_diverged_run_and_its_partner_are_left_out(study, tmp_path):
    main(tmp_path, {LANDER: 0.2, "full": 0.3}, seeds=4)
    write(tmp_path, "main", "full", 1, 0.0, diverged="loss is nan")
    assert len(study().compare(LANDER, "full").values) == 3


# ---------------------------------------------------------------- L7, L8, L14
def test_a_clear_win_over_all_is_reproduced_and_one_equal_method_spoils_it(study, tmp_path):
    main(tmp_path, {LANDER: 0.1} | dict.fromkeys([*BASELINES, *ABLATIONS, *CONTROLS], 0.3))
    assert judge("L7", study()).verdict == judge("L8", study()).verdict == REPRODUCED
    assert judge("L7", study()).decides.n == 3
    main(tmp_path, {"lora": 0.1, "random": 0.1})
    for id, name in (("L7", "lora"), ("L8", "random")):
        result = judge(id, study())
        assert result.verdict == CANNOT_TELL and result.decides.name == f"better than {name}"
        assert result.measured.endswith(f"**Cannot tell:** better than {name}")


def test_a_missing_method_or_seed_means_not_measured(study, tmp_path):
    main(tmp_path, dict.fromkeys([LANDER, *BASELINES[:-1]], 0.3))
    assert (judge("L7", study()).verdict, judge("L7", study()).measured) == (
        NOT_MEASURED,
        "missing: main: five-shot",
    )
    main(tmp_path, dict.fromkeys(BASELINES, 0.3))
    assert judge("L7", study()).verdict == CANNOT_TELL
    (tmp_path / "main" / "lora-seed2.json").unlink()
    assert judge("L7", study()).measured == "missing: lora: 2 of 3 seeds"


def test_the_second_architecture_and_the_low_resource_language_count_both(study, tmp_path):
    main(tmp_path, {LANDER: 0.1} | dict.fromkeys([*BASELINES, *ABLATIONS, *CONTROLS], 0.3))

    def low(method, seed, bleu, elsewhere):
        write(
            tmp_path,
            "low-resource",
            method,
            seed,
            dict.fromkeys(PAIRS, elsewhere) | dict.fromkeys(["en-af", "af-en"], bleu),
        )

    for seed in range(3):
        low(
            LANDER, seed, 30.0 + seed / 10, elsewhere=10.0
        )  # what happens to the other directions is another claim
        low("full", seed, 25.0 + seed / 5, elsewhere=50.0)
    assert judge("L14", study()).verdict == NOT_MEASURED
    assert judge("L14", study(), study()).verdict == REPRODUCED
    for seed in range(3):
        low("full", seed, 30.0 - seed, elsewhere=0.0)
    missed = "**Cannot tell:** low-resource: better than full"
    assert judge("L14", study(), study()).measured.endswith(missed)
    main(tmp_path, {"random": 0.1})
    missed = f"**Cannot tell:** {tmp_path.name}: better than random; low-resource: better than full"
    assert judge("L14", study(), study()).measured.endswith(missed)


# ---------------------------------------------------------------- sweeps
def sweep(folder, bleus, where="selected", noise=0.1):
    for k, bleu in bleus.items():
        for seed in range(3):
            write(
                folder,
                "k",
                LANDER,
                seed,
                bleu + noise * seed,
                f"{where}{k}",
                settings={"k": k, "where": where},
            )


def test_a_small_k_must_beat_all_layers_and_random_ones(study, tmp_path):
    sweep(tmp_path, {1: 30.0, 2: 40.0, 3: 35.0, 4: 34.0})
    assert judge("L2", study()).verdict == NOT_MEASURED  # no random layers yet
    sweep(tmp_path, {1: 20.0, 2: 30.0, 3: 30.0}, "random")
    assert (
        judge("L2", study()).verdict == REPRODUCED
        and "best k = 2 of 4" in judge("L2", study()).measured
    )
    sweep(tmp_path, {2: 40.0}, "random")
    missed = "**No effect of the margin:** better than random layers"
    assert judge("L2", study()).measured.endswith(missed)
    sweep(tmp_path, {4: 50.0})
    missed = "**Contradicted here:** better than each larger k, all layers."
    assert missed in judge("L2", study()).measured


def epsilons(folder, bleus, noise=0.1):
    for value, bleu in zip(EPSILONS, bleus):
        for seed in range(3):
            bleu_now, settings = bleu + noise * seed * (value == 0.9), {"epsilon": value}
            write(folder, "epsilon", LANDER, seed, bleu_now, f"{value}", settings=settings)


def test_epsilon_must_beat_each_other_value(study, tmp_path):
    epsilons(tmp_path, [30.0, 31.0, 32.0, 34.0, 33.0])
    assert judge("L6", study()).verdict == REPRODUCED
    epsilons(tmp_path, [39.0, 31.0, 32.0, 34.0, 34.0])
    told = judge("L6", study()).measured
    assert "**Contradicted here:** better than 0.75" in told
    assert told.endswith("**No effect of the margin:** better than 0.95")


def test_the_margin_is_the_papers_own_effect_where_that_is_smaller(study, tmp_path):
    epsilons(tmp_path, [30.0, 30.0, 33.9, 33.9, 30.0])
    margins = {part.name: part.worth for part in judge("L6", study()).parts}
    assert margins["better than 0.85"] == pytest.approx(0.24)
    assert margins["better than 0.95"] == pytest.approx(0.57) and margins["better than 0.75"] == 1


def routers(folder, spread, **diverged):
    for method, width in {"lander-none": 1.0, LANDER: spread}.items():
        for rate in GRID[2:]:
            for seed in range(3):
                bleu, rest = 40.0 + width * seed, {"learning_rate": rate} | diverged
                write(folder, "router", method, seed, bleu, f"{rate}", **rest)


def test_a_diverged_run_is_not_stable(study, tmp_path):
    routers(tmp_path, 0.4)
    assert judge("L10", study()).verdict == REPRODUCED
    write(tmp_path, "router", LANDER, 3, 0.0, "0.03", learning_rate=0.03, diverged="loss is nan")
    result = judge("L10", study())
    assert result.verdict == CONTRADICTED and "1 of 10 runs diverged" in result.measured
    assert result.decides.name == "no diverged run"


def test_the_router_that_trains_must_be_stable_too(study, tmp_path):
    routers(tmp_path, 0.4)
    assert "of the learned gate not measured (analysis: gates)" in judge("L10", study()).measured
    gates = changed(ANALYSES["gates"], "moved sd", 0.02) | {"bleu": {"learned": HIGH | {"sd": 1.5}}}
    analysis(tmp_path, "gates", gates)
    for rate in GRID[2:]:
        for seed in range(3):
            write(
                tmp_path,
                "router",
                "lander-learned",
                seed,
                40.0 + 9 * seed,
                f"{rate}",
                learning_rate=rate,
            )
    result = judge("L10", study())
    assert result.verdict == CONTRADICTED
    assert result.decides.name.startswith("spread of the learned router below")
    assert "of the learned gate sd over seeds 0.020 of its move, 1.5 BLEU" in result.measured


@pytest.mark.parametrize(
    "ahead, said",
    [
        ((-4.0, -1.0, 3.0), "the sign changes with the rate, as by another step size"),
        ((2.0, 1.0, 3.0), "better at each rate"),
        ((-2.0, -1.0, -3.0), "worse at each rate"),
        ((-2.0, 0.0, -3.0), "not one sign at each rate"),
    ],
)
def test_a_router_is_compared_at_each_rate_before_a_sentence_is_said(ahead, said, study, tmp_path):
    for rate, difference in zip(GRID[2:], ahead):
        for seed in range(3):
            for method, bleu in (("lander-none", 40.0), (LANDER, 40.0 + difference)):
                noise = seed / 100 * (1 if difference else (-1) ** seed) * (method == LANDER)
                write(tmp_path, "router", method, seed, bleu + noise, f"{rate}", learning_rate=rate)
    text = at_equal_rates(study())
    assert text.endswith(said) and text.count(" at 0.0") == 3
    main(tmp_path, GATED)
    analysis(tmp_path, "gates", ANALYSES["gates"])
    assert said in judge("L9", study()).control
    assert judge("L9", study()).verdict == REPRODUCED  # the learned router was not run there
    for rate, difference in zip(GRID[2:], ahead):
        for seed in range(3):
            bleu = 40.0 + difference + seed / 100
            write(tmp_path, "router", "lander-learned", seed, bleu, rate, learning_rate=rate)
    names = {part.name: part for part in judge("L9", study()).parts}
    found = names["better than no router at equal rates"]
    assert found.mean == pytest.approx(sum(ahead) / 3, abs=0.02)


def test_scores_of_neurons_are_judged_in_translation_where_it_is_measured(study, tmp_path):
    analysis(tmp_path, "ablation", ANALYSES["ablation"])
    result = judge("L3", study())
    assert result.verdict == REPRODUCED
    assert "both in BLEU: not measured (analysis: quality)" in result.measured
    one = {"top_minus_random": about(5.0), "top_minus_top_by_activation": about(2.0)}
    analysis(tmp_path, "quality", {"tenths": one})
    result = judge("L3", study())
    assert result.verdict == REPRODUCED and "both in BLEU: 5.0 [" in result.measured
    analysis(tmp_path, "quality", {"tenths": one | {"top_minus_random": about(-2.0)}})
    result = judge("L3", study())
    assert result.verdict == CONTRADICTED
    assert result.decides.name == "top tenth costs more BLEU than random tenths"


# ---------------------------------------------------------------- transfer and forgetting
def transfers(folder, own, others, noise=0.1):
    write(folder, "matrix", "zero-shot", bleu=20.0)
    for method in (LANDER, "full"):
        for seed in range(3):
            for trained in PAIRS:
                bleu = {
                    pair: 20.0 + noise * seed + (own if pair == trained else others)
                    for pair in PAIRS
                }
                more = {"settings": {"pair": trained}, "train_pairs": [[trained]]}
                write(folder, "matrix", method, seed, bleu, trained, **more)


def test_transfer_is_read_off_the_diagonal(study, tmp_path):
    transfers(tmp_path, own=10.0, others=2.0)
    result = judge("L11", study())
    assert result.verdict == REPRODUCED
    assert "into English alone, as in Fig. 3, +2.1" in result.measured
    transfers(tmp_path, own=50.0, others=-1.0)
    assert judge("L11", study()).verdict == CONTRADICTED
    (tmp_path / "matrix" / f"{LANDER}-en-de-seed0.json").unlink()
    assert judge("L11", study()).verdict == NOT_MEASURED  # an incomplete matrix is no matrix


def forgetting(folder, lost, gain=10.0, backward=-1.0, noise=0.01):
    """Runs of kinds forgetting and sequence: lost {method: BLEU on the directions not trained}."""
    write(folder, "forgetting", "zero-shot", bleu=40.0)
    for method, loss in lost.items():
        for seed in range(3):
            bleu = {
                pair: 40.0 + (gain if pair in PAIRS[:2] else -loss) + noise * seed for pair in PAIRS
            }
            write(folder, "forgetting", method, seed, bleu, train_pairs=[PAIRS[:2]])
            stages = [
                {
                    "bleu": {
                        pair: 50.0 + seed / 100 + (backward - loss) * (j > i)
                        for i, pair in enumerate(PAIRS)
                    }
                }
                for j in range(len(PAIRS))
            ]
            write(
                folder,
                "sequence",
                method,
                seed,
                bleu,
                train_pairs=[[pair] for pair in PAIRS],
                curve=stages,
            )


def test_less_forgetting_must_hold_against_each_method(study, tmp_path):
    forgetting(tmp_path, {LANDER: 1.0} | dict.fromkeys(FORGETTERS, 5.0))
    result = judge("L12", study())
    assert (
        result.verdict == REPRODUCED
        and "lora +4.0 [+4.0, +4.0] at equal updates, +4.0 " in result.measured
    )
    forgetting(tmp_path, {"full-kl": 1.0})
    assert judge("L12", study()).verdict == CONTRADICTED
    (tmp_path / "sequence" / "lora--seed0.json").unlink()
    assert judge("L12", study()).verdict == NOT_MEASURED


def test_equal_gain_is_read_on_fronts_where_several_rates_were_run(study, tmp_path):
    forgetting(tmp_path, {LANDER: 1.0} | dict.fromkeys(FORGETTERS, 5.0))
    for seed in range(3):  # full tuning, half a decade lower: as much gained, nothing lost
        bleu = {pair: 40.0 + 11.0 * (pair in PAIRS[:2]) for pair in PAIRS}
        more = {"train_pairs": [PAIRS[:2]], "settings": {"step": -1}}
        write(tmp_path, "forgetting", "full", seed, bleu, "low", **more)
    result = judge("L12", study())
    assert result.verdict == CONTRADICTED and "full +4.0 [" in result.measured
    assert result.decides.name == "keeps more at equal gain than full"


def test_losing_less_because_of_learning_less_is_not_enough(study, tmp_path):
    forgetting(tmp_path, dict.fromkeys(FORGETTERS, 6.0), gain=20.0)
    forgetting(tmp_path, {LANDER: 4.0}, gain=10.0)
    result = judge("L12", study())
    assert (
        result.verdict == CONTRADICTED
        and "full +2.0 [+2.0, +2.0] at equal updates, -1.0 [" in result.measured
    )


# ---------------------------------------------------------------- layers, scores, sets and gates
def about(mean, half=0.05):
    """An interval as analyses store it."""
    return {"mean": mean, "low": mean - half, "high": mean + half, "n": 5}


HIGH, LOW, NEGATIVE = about(0.9), about(0.1, 0.2), about(-0.5)
CHANCE = {"mean": 0.1, "low": 0.0, "high": 0.2}
LOG = {"log": HIGH, "geometric_mean": 2.0, "control_random": CHANCE}
ANALYSES = {
    "layers": {
        "k": 2,
        "layers": [*range(20)],
        "measures": {
            "signed": {
                "top": [18, 19],
                "pooled": [*range(20)],
                "rank_correlation": {"mean": 0.9, "held_out": HIGH, "control_shuffled": CHANCE},
                "share_of_change": {"held_out": HIGH},
            },
            "absolute": {"pooled": [1, 0, *range(2, 20)]},
            "cosine": {"pooled": [0, 2, 1, *range(3, 20)]},
        },
    },
    "ablation": {
        "draws": 3,
        "beats_activation": HIGH,
        "rank_correlation_with_exact": {
            "awareness": HIGH,
            "awareness_of_other_sentences": HIGH,
            "control_activation": LOW,
            "control_random": LOW,
        },
        "tenths": {"top_minus_random": HIGH, "top_minus_top_by_activation": HIGH},
    },
    "silhouette": {
        "selected_layers": {"specific": HIGH},
        "specific_minus": {"general": HIGH, "control_random": HIGH, "control_highest_score": LOW},
    },
    "switching": {
        "sets": ["en", "de", "it", "fr", "ar", "zh"],
        "hurt_most": ["en", "de", "it", "fr", "ar", "zh"],
        "own_minus_others": HIGH,
        "own_minus_random": HIGH,
        "control_random": [{"own_minus_others": LOW}],
    },
    "gates": {
        "seeds": 3,
        "moved": HIGH,
        "spread_over_tokens": HIGH,
        "learned_minus": {
            "control_constant": {"over_seeds": HIGH, "paired_bootstrap": {"ci": [0.1, 1.5]}}
        },
    },
    "profile": {
        "own_over_other_texts": {"awareness": LOG, "activation": LOG},
        "top_tokens_in_own_texts": {
            "specific": 0.8,
            "by_layer": [0.78, 0.8, 0.82],
            "control_random": CHANCE,
        },
    },
}
BREAKS = [  # what, in which place, makes of a claim that is reproduced one that we cannot tell
    ("L1", "layers", "measures signed rank_correlation held_out", about(0.8)),
    ("L1", "layers", "measures signed rank_correlation control_shuffled high", 0.92),
    ("L1", "layers", "measures signed share_of_change held_out", about(0.2)),
    ("L1", "layers", "measures cosine pooled", [*range(3, 20), 0, 2, 1]),
    ("L3", "ablation", "rank_correlation_with_exact awareness", about(0.5)),
    ("L3", "ablation", "beats_activation", about(0.5)),
    ("L3", "ablation", "tenths top_minus_top_by_activation", LOW),
    ("L4", "silhouette", "specific_minus general", LOW),
    ("L4", "silhouette", "specific_minus control_random", LOW),
    ("L5", "switching", "hurt_most", ["en", "de", "it", "fr"]),
    ("L5", "switching", "own_minus_random", LOW),
    ("L5", "switching", "control_random", [{"own_minus_others": HIGH}]),
    ("L9", "gates", "learned_minus control_constant paired_bootstrap ci", [-0.1, 1.5]),
    ("L13", "profile", "own_over_other_texts activation control_random high", 2.4),
    ("L13", "profile", "top_tokens_in_own_texts control_random high", 0.8),
]


def changed(content, path, value):
    """A copy with another value in one place."""
    content = json.loads(json.dumps(content))
    *parents, last = path.split()
    place = content
    for key in parents:
        place = place[key]
    place[last] = value
    return content


def analysis(folder, name, content):
    (folder / "analysis").mkdir(exist_ok=True, parents=True)
    (folder / "analysis" / f"{name}.json").write_text(json.dumps(content))


WORSE = next((path, value) for id, _, path, value in BREAKS if id == "L3")
GATED = {"lander-learned": 0.1, LANDER: 0.2, "lander-literal": 0.3, "lander-none": 0.3}


@pytest.mark.parametrize(
    "id, name, path, value", BREAKS, ids=[f"{id} {path}" for id, _, path, _ in BREAKS]
)
def test_a_claim_about_neurons_needs_each_of_its_parts(study, tmp_path, id, name, path, value):
    main(tmp_path, GATED if id == "L9" else {})
    analysis(tmp_path, name, ANALYSES[name])
    assert judge(id, study()).verdict == REPRODUCED
    analysis(tmp_path, name, changed(ANALYSES[name], path, value))
    result = judge(id, study())
    assert result.verdict == CANNOT_TELL and result.measured.count("**") == 2
    assert sum(part.verdict == CANNOT_TELL for part in result.parts) == 1


def test_a_gate_that_only_beats_the_constant_one_is_not_enough(study, tmp_path):
    main(tmp_path, dict.fromkeys(["lander-learned", LANDER, "lander-literal", "lander-none"], 0.3))
    analysis(tmp_path, "gates", ANALYSES["gates"])
    assert judge("L9", study()).measured.endswith("**Cannot tell:** better than no router")


def test_base_models_may_vary_where_analyses_alone_decide(study, tmp_path):
    for folder in (tmp_path, tmp_path / "seed1"):
        main(folder, GATED)  # with runs L9 can be judged too, and is none of these claims
        for name in ("ablation", "gates"):
            analysis(folder, name, ANALYSES[name])
    worse = changed(ANALYSES["ablation"], *WORSE)
    analysis(tmp_path / "seed1", "ablation", worse)
    found = scorecard.of_base_models([study(), Study(tmp_path / "seed1")])
    verdicts = {name: [one.verdict for one in rows] for name, rows in found.items()}
    assert verdicts["L3"] == [REPRODUCED, CANNOT_TELL]
    assert "L9" not in verdicts and "L1" not in verdicts


def test_over_base_models_each_part_has_the_interval_of_its_means():
    low, mean, high = 0.1, 0.2, 0.3  # of one model: narrow; and the models lie far apart
    part = Part("better", mean, (mean - 0.01, mean + 0.01), 9, "blocks of sentences", "")
    one = row(made_up("L4", part), None)
    rows = [replace(one, parts=(replace(part, mean=x),)) for x in (low, mean, high)]
    found = scorecard.over_models(rows)
    (over,) = found.parts
    half = 4.302653 * 0.1 / 3**0.5  # Student's t of two degrees of freedom
    assert over.interval == pytest.approx((mean - half, mean + half), rel=1e-6)
    assert (over.n, over.varies) == (3, "base models")
    assert one.verdict == REPRODUCED and found.verdict == CANNOT_TELL
    assert scorecard.over_models([one] * 3).verdict == REPRODUCED


def test_the_table_of_base_models_names_each_verdict_that_differs(study, tmp_path):
    studies = [tmp_path / name for name in ("a", "b", "c")]
    for folder in studies:
        main(folder, GATED)
        analysis(folder, "ablation", ANALYSES["ablation"])
    analysis(studies[2], "ablation", changed(ANALYSES["ablation"], *WORSE))
    *seeds, other = map(Study, studies)
    (line,) = scorecard.base_models_table(seeds, [other]).splitlines()[2:]
    told, *models = line.split(" | ")[2:]
    assert told.endswith("**reproduced**")
    assert [CANNOT_TELL in cell for cell in models] == [False, False, True]


# ---------------------------------------------------------------- the table
def test_the_table_covers_all_claims_and_says_what_is_missing(tmp_path):
    rows = scorecard.scorecard(tmp_path)
    assert [row.id for row in rows] == [
        f"{paper}{number}"
        for paper, n in (("L", 14), ("S", 5), ("P", 3))
        for number in range(1, n + 1)
    ]
    assert {row.verdict for row in rows} == {NOT_MEASURED} and all(
        row.measured.startswith("missing: ") for row in rows
    )
    table = as_markdown(rows)
    assert {line.count(" | ") for line in table.splitlines()} == {10} and len(
        rules(rows).splitlines()
    ) == len(rows)
    assert all(row.rule and row.paper and row.control for row in rows)


def made_up(id, *parts):
    """A claim of some parts."""
    return evidence.Claim(
        id=id,
        claim="something",
        paper="somewhere",
        control="a control",
        shown_in="10_scorecard.ipynb#The-tables",
        rule="No rule.",
        function=lambda study, second: evidence.Finding("nothing", parts, control="none"),
    )


def part(mean, half, n=3, **options):
    return Part("more", mean, (mean - half, mean + half), n, **options)


def test_all_claims_together_keep_what_is_very_clear(tmp_path):
    clear, just, unclear = part(5.0, 0.1), part(5.0, 4.9), part(0.5, 5.0)
    claims = [made_up("A", clear), made_up("B", just), made_up("C", unclear)]
    rows = scorecard.scorecard(tmp_path, claims=[*claims, BY_ID["L7"]])
    assert [row.verdict for row in rows] == [REPRODUCED, REPRODUCED, CANNOT_TELL, NOT_MEASURED]
    assert [row.corrected for row in rows] == [REPRODUCED, CANNOT_TELL, CANNOT_TELL, NOT_MEASURED]
    assert rows[0].adjusted == pytest.approx(3 * rows[0].p) and rows[0].p == pytest.approx(
        2 * stats.t.sf(stats.t.ppf(0.975, 2) * 50, 2)
    )
    assert (rows[0].control, rows[0].rule) == ("a control: none", "No rule.")
    assert counted(rows) == (
        "Of 4 claims: 2 reproduced, 1 cannot tell, 1 not measured. With all of them judged "
        "together, 1 reproduced and 0 contradicted here remain."
    )


def test_the_lesson_shows_the_claims_in_two_tables(tmp_path):
    ours = scorecard.scorecard(tmp_path, claims=[made_up("A", part(5.0, 0.1)), BY_ID["L7"]])
    theirs = scorecard.scorecard(tmp_path, claims=[made_up("A", part(-5.0, 0.1)), BY_ID["L7"]])
    table = verdict_table(ours, "a real model", theirs)
    assert table.columns[-1] == "a real model"
    assert [line[-1] for line in table.rows] == [CONTRADICTED, NOT_MEASURED]
    assert table.rows[0][2:6] == [
        *("more: +5.0 [+4.9, +5.1] BLEU", "3 seeds", "+0.1 BLEU"), REPRODUCED
    ]  # fmt: skip
    table = evidence_table([replace(ours[0], measured="1. **Cannot tell:** more"), ours[1]])
    assert table.rows[0] == [
        "A",
        "somewhere",
        "1. Cannot tell: more",
        "a control: none",
        "lesson 10",
    ]
    assert 'href="10_scorecard.ipynb#The-tables"' in table._repr_html_()
    assert table.rows[1][2].startswith("missing: ")


def test_the_file_has_all_rows_and_their_parts(tmp_path):
    rows = scorecard.scorecard(tmp_path, claims=[made_up("A", part(5.0, 0.1)), BY_ID["L7"]])
    first, second = json.loads(as_json(rows))
    assert first["verdict"] == first["parts"][0]["verdict"] == REPRODUCED
    assert first["parts"][0]["interval"] == [4.9, 5.1] and first["rule"] == "No rule."
    assert second["verdict"] == NOT_MEASURED and second["parts"] == []


def test_every_claim_names_a_heading_that_is_there():
    for claim in CLAIMS:
        name, _, anchor = claim.shown_in.partition("#")
        path = PACKAGE.parent / "notebooks" / name
        if anchor and path.is_file():
            cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
            text = "\n".join(
                "".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"
            )
            assert anchor in [
                heading.replace(" ", "-") for heading in re.findall(r"^#+ (.+)$", text, flags=re.M)
            ], f"{name}: {anchor}"


# ---------------------------------------------------------------- explanations
def test_explanations_say_what_the_files_say_and_nothing_else(study, tmp_path):
    assert scorecard.explanations(study()) == [] and scorecard.steps(study()) == {}
    methods = ("full", "layers", "lander-none", LANDER, "lander-literal", "random", "lora")
    for number, (method, trainable) in enumerate(
        zip(methods, (1000, 500, 499, 499, 499, 499, 100))
    ):
        for seed in range(3):
            write(
                tmp_path,
                "main",
                method,
                seed,
                40.0 - number + seed / 9 * (number > 1),
                trainable=trainable,
                grid={".001": 1, ".01": 2},
            )
    text = "\n".join(scorecard.explanations(study()))
    assert (
        "Only the selected layers: -1.0 [-1.0, -1.0] BLEU, a loss, with 50% of the scalars" in text
        and "trains 99.8% of" in text
    )
    assert "LoRA" not in text and "in all" not in text  # LoRA is behind; kind k is missing
    assert (
        "Best learning rate at an end of its grid, so that one beyond may be better: full 0.01, "
        in text
    )
    found = scorecard.steps(study())
    assert sum(found[name].mean for name in scorecard.STEPS) == pytest.approx(
        study().difference("main", LANDER, "full").mean
    )
    for seed in range(3):
        write(tmp_path, "main", "lora", seed, 60.0 + seed, trainable=100)
    assert "the number of scalars is not the reason" in "\n".join(scorecard.explanations(study()))


# ---------------------------------------------------------------- departures
@pytest.mark.parametrize(
    "departure", [d for d in DEPARTURES if d.switch], ids=lambda departure: departure.point
)
def test_a_departures_switch_is_a_command_that_is_accepted(departure):
    options = parse(shlex.split(departure.switch))
    config, _ = configure(options)
    if options.step == "study":
        assert specs_of(
            options.kinds.split(","), options.methods and options.methods.split(","), 1, config
        )


def test_the_departures_table():
    table = departures_table()
    assert len(table.splitlines()) == len(DEPARTURES) + 2 and {
        line.count(" | ") for line in table.splitlines()
    } == {5}
    assert sum(not d.switch for d in DEPARTURES) <= 6 and "no option" in table
