"""course/specific, routers, tuning: what lessons 03 to 05 count and compare beside the module."""

import json
from copy import deepcopy

import pytest
import torch

from lander_lite import NeuronSets
from lander_lite.blocks import feed_forwards
from lander_lite.course import routers, specific, tuning
from lander_lite.probes.tokens import token_means, top_tokens
from lander_lite.prompts import texts
from lander_lite.reproduction.evidence import Study

SETS = NeuronSets(
    [1, 2],
    ["en", "de"],
    {1: range(40), 2: range(44)},
    {"en": {1: [40, 41], 2: [45]}, "de": {1: [43], 2: [44, 46, 47]}},
    d_ff=48,
)


# ---------------------------------------------------------------- lesson 03
def test_owned_neurons_and_sizes():
    assert specific.owned(SETS)["en"] == {(1, 40), (1, 41), (2, 45)}
    assert specific.sizes(SETS) == [3, 4]
    assert specific.specific_of(SETS, 2).tolist() == [45, 44, 46, 47]


def test_tokens_that_occur_have_the_means_of_the_whole_vocabulary(model, tokenizer, corpus):
    sentences, d_ff = texts(corpus, "en"), feed_forwards(model)[0].d_ff
    ids = specific.occurring(tokenizer, sentences)
    whole = token_means(model, tokenizer, sentences, 1, range(d_ff))
    some = token_means(model, tokenizer, sentences, 1, range(d_ff), ids)
    assert len(ids) < len(whole[1]) and whole[1].sum() == some[1].sum()
    for all_tokens, occurring in zip(whole, some):
        assert torch.equal(all_tokens[ids], occurring)
    table = specific.token_table(model, tokenizer, {"en": sentences}, 1, d_ff)
    best = top_tokens(model, tokenizer, sentences, 1, [3], n=8)[3]
    assert table.ids[table.top(3)].tolist() == [token for token, _, _ in best]


def test_top_tokens_of_the_own_language(model, tokenizer, corpus):
    both = {language: texts(corpus, language) for language in ("en", "de")}
    table = specific.token_table(model, tokenizer, both, 2, feed_forwards(model)[0].d_ff)
    assert 0 <= table.own_share(SETS) <= 1 and table.same_token(SETS) > 0
    everywhere = {x: torch.ones_like(counts) for x, counts in table.counts.items()}
    table.counts = {x: 3 * counts for x, counts in everywhere.items()}
    assert table.own_share(SETS) == 1  # all tokens stand in both texts
    table.means = {"en": table.means["en"], "de": table.means["en"]}
    assert table.same_token(SETS) == pytest.approx(1)


# ---------------------------------------------------------------- lesson 04
def test_the_error_of_a_factor():
    x = torch.tensor([1.0, -2.0])
    assert routers.relative_error(lambda x: 3 * x, x, 0.25) == pytest.approx(0.75)
    assert routers.relative_error(torch.relu, x, 1.0) == 0


# ---------------------------------------------------------------- lesson 05
def test_what_moved_is_found_by_layer_kind_and_neuron(model):
    tuned = deepcopy(model)
    view, d_ff = feed_forwards(tuned)[2], feed_forwards(tuned)[2].d_ff
    with torch.no_grad():
        view.up.weight[5, :3] += 1
        view.down.weight[0, 7] += 1
    moved = tuning.moved_scalars(model, tuned)
    assert {place: n for place, (n, _) in moved.items() if n} == {
        (2, "ffn up\nweight"): 3,
        (2, "ffn down\nweight"): 1,
    }
    assert sum(every for _, every in moved.values()) == sum(p.numel() for p in model.parameters())
    assert moved[2, "ffn up\nweight"][1] == d_ff * view.d_model
    assert {kind for layer, kind in moved if layer is None} == {"outside"}
    assert tuning.moved_neurons(model, tuned, 2).tolist() == [5, 7]
    assert tuning.moved_neurons(model, tuned, 1).tolist() == []


def test_learning_rates_at_an_end_of_their_grid():
    def run(method):
        return {"method": method, "grid": {"0.001": 1.0, "0.01": 2.0, "0.1": 1.5}}

    table = {"full": {"learning_rate": 0.01}, "lora": {"learning_rate": 0.1}}
    assert tuning.at_edge([run("full"), run("lora")], table) == ["lora"]
    assert tuning.at_edge([], {}) == []


def test_a_random_draw_is_set_against_the_chosen_layers_of_its_seed():
    def run(method, seed, bleu):
        content = {"method": method, "seed": seed, "layers": [1, 2], "mean": {"bleu": bleu}}
        return content | {"base_model": {"n_layers": 3}, "pairs": {}}

    runs = [run("layers", 0, 3.0), run("random-layers-above", 0, 5.0), run("random-layers", 1, 4.0)]
    assert tuning.draws_table(runs).rows == [["random-layers-above", "0", "1, 2", "5.0", "+2.0"]]


def test_a_selector_is_set_against_its_own_random_neurons_at_each_budget(tmp_path, monkeypatch):
    def run(method, share, seed, bleu):
        settings = {"epsilon": 1 - share, "k": 2}
        return {"method": method, "seed": seed, "settings": settings, "mean": {"bleu": bleu}}

    level = {"random-specific": 3.0, "random-general": 5.0, "specific-only": 6.0, "top-te": 4.0}
    level |= {"lape-specific": 3.5, "xie-specific": 2.0}
    noise = {0: 0.0, 1: 0.2, 2: 0.1}
    runs = [
        run(method, share, seed, bleu + 10 * share + noise[seed])
        for method, bleu in level.items()
        for share in (0.25, 0.5)
        for seed in noise
    ]
    runs.append({"method": "zero-shot", "seed": 0, "settings": {}, "mean": {"bleu": 9.0}})
    study = Study(tmp_path)
    monkeypatch.setitem(study._runs, "equal-size", runs)
    rows = {tuple(row[:2]): row[2:] for row in tuning.equal_size_table(study, (0.25, 0.5)).rows}
    chosen = rows["specific-only", "random-specific"]
    assert chosen[:3] == ["8.6", "+3.0 [+3.0, +3.0]", "ahead"] and chosen[3] == "11.1"
    assert rows["top-te", "random-general"][1].startswith("-1.0")
    assert rows["xie-specific", "random-specific"][2] == "behind"
    untuned = rows["specific-only", "zero-shot"]
    assert untuned[1].startswith("-0.4") and untuned[4].startswith("+2.1")
    assert rows["random-general", "random-specific"][1].startswith("+2.0")


def test_a_model_without_runs_of_equal_size_has_an_empty_table(tmp_path):
    for row in tuning.equal_size_table(Study(tmp_path)).rows:
        assert row[3] == row[6] == "not measured"


def test_rows_are_kept_only_during_a_run(tmp_path, monkeypatch):
    rows = {"zero-shot": ({"mean": {"bleu": 3.0}}, 0, None)}
    monkeypatch.delenv("LANDER_LITE_RUN", raising=False)
    tuning.keep_rows(rows, "tiny-bloom", 5)
    monkeypatch.setenv("LANDER_LITE_RUN", str(tmp_path))
    tuning.keep_rows(rows, "tiny-bloom", 5)
    (path,) = tmp_path.iterdir()
    assert json.loads(path.read_text()) == {
        "method": "zero-shot",
        "profile": "tiny-bloom",
        "sentences": 5,
        "mean": {"bleu": 3.0},
        "learning_rate": None,
        "trainable": 0,
    }
