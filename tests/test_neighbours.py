"""The two neighbours' kinds of a study: plain text of one language for its own neurons, and pruning
by calibration text."""

import json

import pytest
import torch
from lander_helpers import state
from test_study import LAB, MODULE, config, go, short_outputs, trainings  # noqa: F401 (fixtures)

from lander_lite.blocks import fingerprint
from lander_lite.neurons import NeuronSets
from lander_lite.reproduction import kinds
from lander_lite.reproduction.kinds import KINDS
from lander_lite.reproduction.lab import Lab
from lander_lite.reproduction.methods import METHODS, PRUNED
from lander_lite.reproduction.specs import specs_of

SPARSE = {"en": {2: [1]}, "de": {1: [3, 7], 3: [0]}, "zh": {0: [5]}}


@pytest.fixture(autouse=True)
def german(monkeypatch):
    """The toy corpus has no Afrikaans, and in six sentences LAPE finds too little: the sets are
    given."""
    monkeypatch.setattr(kinds, "LOW_RESOURCE", "de")

    def sets(self, language):
        assert language == "de"
        return NeuronSets(
            [0, 1, 2, 3], list(SPARSE), {}, SPARSE, 128, fingerprint(self.base), "lape"
        )

    monkeypatch.setattr(Lab, "lape", sets)


def test_plain_text_has_its_own_grid_equal_tokens_and_both_mechanics(config, tmp_path, monkeypatch):  # noqa: F811
    calls = trainings(monkeypatch)
    results = go(config, tmp_path, None, kinds=["sparse"], seeds=2)
    tuned = [name for name in KINDS["sparse"].methods if name != "zero-shot"]
    assert [r["method"] for r in results] == ["zero-shot"] + [
        name for name in tuned for _ in range(2)
    ]
    assert len(calls) == len(tuned) * (2 + 2) and {
        (updates, pair) for _, _, updates, pair in calls
    } == {(2, "de")}
    trials = [json.loads(path.read_text()) for path in (tmp_path / "grid-sparse").glob("*.json")]
    for result in results[1:]:
        grid = {
            t["learning_rate"]: (1 + t["mean"]["bleu"]) / t["perplexity"]["de"]
            for t in trials
            if t["method"] == result["method"]
        }
        assert (
            result["learning_rate"] == max(grid, key=grid.get) and len(grid) == 2
        )  # chosen on valid by both
        assert set(result["alignment"]) == {"parallel", "random", "difference", "cka"} and set(
            result["pairs"]
        ) > {"en-de", "de-en"}
        assert set(result["perplexity"]) == {"en", "de", "zh"}
    moved = {r["method"]: r["weight_change"] for r in results if r["seed"] == 0}
    assert set(moved["zero-shot"]["up"].values()) == {0.0} and set(moved["sparse"]["up"]) == {1, 3}
    for method in ("sparse", "sparse-random"):  # each measured on the neurons that it trains
        assert min(min(layers.values()) for layers in moved[method].values()) > 0
    of = {r["method"]: r["weight_change_of"] for r in results if r["seed"] == 0}
    assert of["sparse"] == of["full"] != of["sparse-random"]
    size = {r["method"]: r["trainable"] for r in results[1:]}
    assert size["sparse"] == size["sparse-random"] < size["ffn"] < size["full"]


def test_the_sparse_run_trains_the_languages_neurons_alone(config, tmp_path, monkeypatch):  # noqa: F811
    seen, real = [], LAB["evaluate"]
    monkeypatch.setitem(
        LAB, "evaluate", lambda model, *a, **k: seen.append(state(model)) or real(model, *a, **k)
    )
    (result,) = go(config, tmp_path, ["sparse"], kinds=["sparse"], grid=[0.01])
    assert result["trainable"] == sum(map(len, SPARSE["de"].values())) * (2 * 32 + 1)
    base, after = state(Lab(config, tmp_path).base), seen[-1]
    assert set(base) == set(after)  # merged: a plain model
    changed = [name for name in base if not torch.equal(base[name], after[name])]
    assert sorted(changed) == [
        f"transformer.h.{i}.mlp.dense_{part}"
        for i in (1, 3)
        for part in ("4h_to_h.weight", "h_to_4h.bias", "h_to_4h.weight")
    ]
    rows = (
        base["transformer.h.1.mlp.dense_h_to_4h.weight"]
        != after["transformer.h.1.mlp.dense_h_to_4h.weight"]
    ).any(dim=1)
    assert rows.nonzero().flatten().tolist() == SPARSE["de"][1]


def test_pruning_runs_go_through_the_sparsities(config, tmp_path, monkeypatch):  # noqa: F811
    asked, real = [], MODULE["prune"]

    def caught(model, tokenizer, prompts, sparsity, metric, **keys):
        asked.append((metric, sparsity, None if prompts is None else len(prompts), keys["seed"]))
        return real(model, tokenizer, prompts, sparsity, metric, **keys)

    monkeypatch.setitem(MODULE, "prune", caught)
    results = go(config, tmp_path, None, kinds=["prune"], seeds=2)
    assert [r["method"] for r in results] == ["zero-shot"] + [
        name for name in PRUNED for _ in range(1 if name == "magnitude" else 2)
    ]
    used = {(metric, seed) for metric, _, _, seed in asked}
    assert used >= {("wanda", 1), ("translation_minus_other", 1), ("random", 1), ("magnitude", 0)}
    assert {sparsity for _, sparsity, *_ in asked} == set(kinds.SPARSITIES)
    assert all(
        (prompts is None) == (metric in ("magnitude", "random")) for metric, _, prompts, _ in asked
    )
    for result in results[1:]:
        assert [point["sparsity"] for point in result["curve"]] == list(
            kinds.SPARSITIES[:-1]
        ) and result["sparsity"] == 0.6
        assert (
            set(result["curve"][0]) == {"sparsity", "bleu", "perplexity", "facts"}
            and result["updates"] == 0
        )
        assert len({round(point["perplexity"]["en"], 6) for point in result["curve"]}) > 1
    dense = {
        tuple(point["perplexity"].items())
        for r in results
        for point in r["curve"]
        if r["method"] == "magnitude"
    }
    assert len(dense) == 5  # each sparsity from a copy of the base model


def test_all_is_every_kind_but_a_real_models_and_every_method_has_a_kind():
    tiny = kinds.LanderConfig.from_profile("tiny-bloom")
    every = specs_of(["all"], None, 3, tiny)
    assert {spec.kind for spec in every} == set(kinds.KINDS)
    real = specs_of([*kinds.REAL], None, 1, tiny)
    assert {spec.method for spec in (*every, *real)} == set(METHODS)
