"""forgetting.py on made-up result files: changes, matrices, sequences and curves against numbers
worked out by hand."""

import json
import math
from itertools import product

import numpy as np
import pytest

from lander_lite.config import PAIRS
from lander_lite.reproduction.forgetting import (
    MEASURES,
    base_point,
    change,
    curve,
    direction_masks,
    equal_gain,
    final_point,
    front,
    front_over_seeds,
    fronts,
    group_means,
    loss_at,
    matrices,
    over_seeds,
    pruned,
    seeds,
    sequence,
    stored,
    verdict,
)
from lander_lite.reproduction.paper import FIG_3, INTO_ENGLISH
from lander_lite.reproduction.statistics import at_equal_gain

FOUR = ["en-de", "de-en", "en-fr", "fr-en"]


def moment(*bleu, perplexity=10.0, facts=0.5):
    return {
        "bleu": dict(zip(FOUR, bleu)),
        "perplexity": {"en": perplexity, "de": 2 * perplexity},
        "facts": {"en": facts, "de": facts},
    }


def result(
    method, final, seed=0, kind="forgetting", stages=(("en-de", "de-en"),), points=(), **more
):
    return {
        "kind": kind,
        "method": method,
        "seed": seed,
        "settings": {},
        "train_pairs": [list(stage) for stage in stages],
        "curve": [{"update": 10 * (i + 1), **point} for i, point in enumerate(points)],
        "pairs": {pair: {"bleu": bleu, "n": 150} for pair, bleu in final["bleu"].items()},
        "perplexity": final["perplexity"],
        "facts": final["facts"],
        **more,
    }


ZERO_POINT = moment(10, 20, 30, 40)
ZERO = result("zero-shot", ZERO_POINT)


def test_change_is_a_gain_on_trained_pairs_and_losses_elsewhere():
    before, after = final_point(ZERO), moment(14, 26, 29, 36, perplexity=20.0, facts=0.25)
    found = change(after, before, ["en-de", "de-en"])
    assert found == {"gain": 5, "bleu": 2.5, "perplexity": pytest.approx(math.log(2)), "facts": 25}
    assert set(found) == {"gain", *MEASURES}
    assert set(change(before, before, ["en-de"]).values()) == {0}
    assert math.isnan(
        change({**before, "facts": {}}, {**before, "facts": {}}, ["en-de"])["facts"]
    )  # a corpus without facts


def test_the_base_model_is_the_zero_shot_run():
    assert base_point([result("full", moment(1, 1, 1, 1)), ZERO]) == final_point(ZERO)
    with pytest.raises(ValueError, match="no zero-shot run among the 1 results"):
        base_point([result("full", moment(1, 1, 1, 1))])


def test_runs_that_diverged_are_left_out():
    runs = [result("full", moment(1, 1, 1, 1), seed) for seed in (2, 0)] + [
        result("full", moment(0, 0, 0, 0), 1, diverged="loss")
    ]
    assert list(seeds([ZERO, *runs], "full")) == [0, 2] and seeds(runs, "lora") == {}


def test_a_matrix_has_a_row_per_trained_pair_and_nan_where_a_run_is_missing():
    runs = [
        result(
            "full",
            moment(*(10 * n + i for i in range(4))),
            seed,
            "matrix",
            [[pair]],
            settings={"pair": pair},
        )
        for seed, (n, pair) in product((0, 3), enumerate(FOUR))
        if (seed, pair) != (3, "fr-en")
    ]
    runs[1]["diverged"] = "the loss is nan"
    found = matrices([ZERO, *runs], "full", FOUR)
    assert found.shape == (2, 4, 4)
    assert found[0, 2].tolist() == found[1, 2].tolist() == [20 - 10, 21 - 20, 22 - 30, 23 - 40]
    assert (
        np.isnan(found[0, 1]).all()
        and np.isnan(found[1, 3]).all()
        and not np.isnan(found[1, 1]).any()
    )
    assert matrices([ZERO, *runs], "lora", FOUR).shape == (0, 4, 4)


def test_cells_part_a_matrix_by_the_side_of_english():
    masks = direction_masks(PAIRS)
    assert [int(masks[name].sum()) for name in ("own", "others", "same side", "other side")] == [
        10,
        90,
        40,
        50,
    ]
    assert (masks["own"] ^ masks["others"]).all() and (
        masks["others"] == masks["same side"] ^ masks["other side"]
    ).all()
    four = direction_masks(FOUR)
    assert four["same side"][0].tolist() == [False, False, True, False] and four["other side"][
        0
    ].tolist() == [False, True, False, True]
    matrix = np.where(four["own"], 9.0, np.where(four["same side"], 3.0, -1.0))[None].repeat(2, 0)
    matrix[1, 0] = np.nan  # this row's run is missing
    means = group_means(matrix, FOUR)
    assert (
        means["own"] == [9, 9] and means["same side"] == [3, 3] and means["other side"] == [-1, -1]
    )
    assert means["others"] == pytest.approx([1 / 3, 1 / 3])


def test_a_sequence_is_continual_learning_of_its_stages():
    points = [moment(30, 20, 31, 40), moment(24, 21, 50, 42, perplexity=20.0, facts=0.4)]
    R, found = sequence(
        result("full", points[-1], kind="sequence", stages=[["en-de"], ["en-fr"]], points=points),
        final_point(ZERO),
    )
    assert R.tolist() == [[30, 31], [24, 50]]
    assert (found["bwt"], found["forgetting"], found["fwt"], found["acc"]) == (-6, 6, 1, 37)
    assert found["retention"] == pytest.approx(80) and found["learned"] == (20 + 20) / 2
    assert (
        found["gain"] == (14 + 20) / 2
        and found["bleu"] == -(1 + 2) / 2
        and found["facts"] == pytest.approx(10)
    )


def test_a_curve_goes_from_the_base_model_to_the_end():
    run = result(
        "full",
        moment(20, 30, 20, 30, facts=0.3),
        points=[moment(12, 22, 30, 40), moment(16, 26, 28, 34, facts=0.4)],
    )
    assert curve(run, final_point(ZERO), "bleu") == [(0, 0), (2, 0), (6, 4), (10, 10)]
    assert [round(loss) for _, loss in curve(run, final_point(ZERO), "facts")] == [0, 0, 10, 20]


def test_equal_gain_pairs_the_seeds_and_leaves_out_those_that_never_gain():
    fast = [
        result("full", moment(20, 30, 30 - loss, 40 - loss), seed, points=[moment(15, 25, 29, 39)])
        for seed, loss in enumerate((4, 6, 8))
    ]
    slow = [result("lora", moment(14, 24, 29, 39), seed) for seed in (0, 2)] + [
        result("lora", moment(5, 5, 5, 5), 1)
    ]
    found = equal_gain([ZERO, *fast, *slow], "full", "lora", "bleu")
    assert found == [pytest.approx((4, 0.8, 1))] * 2
    before = final_point(ZERO)
    assert found[0] == at_equal_gain(curve(fast[0], before, "bleu"), curve(slow[0], before, "bleu"))
    assert equal_gain([ZERO, *fast], "full", "random", "bleu") == []


def test_a_front_keeps_what_no_other_point_beats_and_starts_at_the_base():
    points = [(0, 0), (4, 2), (3, 1), (2, 3), (4, 5), (-1, -3), (6, 1.5)]
    assert front(points) == [(0, 0), (3, 1), (6, 1.5)]
    assert front([(-1.0, 2.0)]) == [(0, 0)]
    assert loss_at(front(points), [1.5, 3, 4.5]).tolist() == [0.5, 1, 1.25]
    assert np.isnan(loss_at(front(points), [6.5])).all()


def test_fronts_join_all_rates_of_a_seed_and_equal_gain_is_read_on_them():
    def at(step, gain, loss, method="full", seed=0):
        settings = {"step": step} if step else {}
        end = moment(10 + gain, 20 + gain, 30 - loss, 40 - loss)
        return result(method, end, seed, points=[ZERO_POINT], settings=settings)

    runs = [at(0, 4, 4, seed=x) for x in range(3)] + [at(-1, 4, 1 + x, seed=x) for x in range(3)]
    runs += [at(0, 8, 8, "lora", x) for x in range(3)]
    diverged = at(1, 9, 0) | {"diverged": "nan"}
    found = fronts([ZERO, *runs, diverged], "full", "bleu")
    assert found == {x: [(0, 0), (4, 1 + x)] for x in range(3)}
    assert list(seeds(runs, "full")) == [0, 1, 2] and seeds(runs, "full")[0] == runs[0]
    table = front_over_seeds(found, 3)
    assert {gain: row["mean"] for gain, row in table.items()} == {0: 0, 2: 1, 4: 2}
    low, high = table[4]["interval"]
    assert (low, high) == pytest.approx((2 - 2.484, 2 + 2.484), abs=0.001)
    assert equal_gain([ZERO, *runs], "full", "lora", "bleu") == [(4, 1 + x, 4) for x in range(3)]


def test_stored_reads_a_folder_or_says_what_makes_it(tmp_path, capsys):
    assert stored("tiny-bloom", "matrix", tmp_path) == []
    said = capsys.readouterr().out
    assert (
        "lander-lite study --profile tiny-bloom --kinds matrix" in said
        and "data/results/tiny-bloom/matrix" in said
    )
    (tmp_path / "matrix").mkdir()
    content = {**ZERO, "base_model": {}, "corpus": "a", "profile": "tiny-bloom", "settings": {}}
    content["mean"] = {"bleu": 1.0, "chrf": 2.0}
    (tmp_path / "matrix" / "zero-shot-seed0.json").write_text(json.dumps(content))
    assert (
        stored("tiny-bloom", "matrix", tmp_path)[0]["pairs"] == ZERO["pairs"]
        and capsys.readouterr().out == ""
    )
    with pytest.raises(ValueError, match="another corpus"):
        stored("tiny-bloom", "matrix", tmp_path, corpus="b")


def test_words_for_seeds_need_more_than_one():
    assert (over_seeds([]), over_seeds([2.0]), over_seeds([1.0, 2.0, 3.0])) == (
        "–",
        "+2.0",
        "+2.0 ± 2.5",
    )
    assert (
        over_seeds([99.0, 100.0, 101.0], ".0f") == "100 ± 2"
        and over_seeds([-1.0, -2.0, -3.0], "+.2f") == "-2.00 ± 2.48"
    )
    assert [verdict([2.0] * n, "more", "less") for n in range(3)] == [
        f"{n} seed{'s' * (n != 1)}: no verdict" for n in range(3)
    ]
    assert [
        verdict(values, "more", "less", "same")
        for values in ([1, 1.1, 0.9], [-1, -1.1, -0.9], [1, -1, 0.5])
    ] == ["more", "less", "same"]
    near = [0.1, -0.1, 0.05]
    assert verdict(near, "more", "less") == "no difference within 1"
    assert verdict(near, "more", "less", unit="nats") == "cannot tell"


def test_figure_3_is_that_of_the_paper():
    assert tuple(FIG_3) == INTO_ENGLISH and all(
        tuple(row) == INTO_ENGLISH for row in FIG_3.values()
    )
    assert (
        FIG_3["de-en"]["ar-en"] == -2.4
        and FIG_3["zh-en"]["zh-en"] == 4.09
        and FIG_3["ar-en"]["fr-en"] == 8.66
    )


def test_pictures_show_intervals_over_seeds_and_leave_missing_cells_empty():
    from matplotlib import pyplot

    from lander_lite.course.plots import cross, grouped_bars, heatmap, interval_line, panels

    figure, axes = panels(1, 4)
    heatmap(axes[0], [[1, np.nan], [2, -3]], "ab", "cd", "x", fmt="+.0f")
    assert sorted(text.get_text() for text in axes[0].texts) == ["+1", "+2", "-3"]
    cross(axes[1], [1, 2, 3], [5, 5, 5], label="three")
    cross(axes[1], [1], [5], label="one")
    assert (
        axes[1].lines[0].get_xdata() == pytest.approx([2 - 2.484, 2 + 2.484], abs=1e-3)
        and len(axes[1].lines) == 4
    )
    grouped_bars(
        axes[2],
        {"a": [[1.0, 2.0], [3.0, 3.5]], "b": [[2.0], [1.0]]},
        ["x", "y"],
        "value",
        {"a": "gold"},
    )
    assert [bar.get_height() for bar in axes[2].patches] == [1.5, 3.25, 2, 1]
    interval_line(
        axes[3],
        {
            1: {"mean": 2.0, "interval": [1.0, 3.0]},
            2: {"mean": 4.0, "interval": [3.0, 5.0]},
            3: {"mean": None, "interval": None},
            4: {"mean": 9.0, "interval": None},
        },
    )
    assert (
        axes[3].lines[0].get_ydata().tolist() == [2.0, 4.0, 9.0]
        and axes[3].collections[0].get_paths()[0].vertices[:, 0].max() == 2
    )
    pyplot.close(figure)


def test_a_pruning_run_is_a_point_per_sparsity():
    run = {
        "curve": [{"sparsity": 0.1, "facts": {"en": 1.0}}],
        "sparsity": 0.2,
        "pairs": {"en-de": {"bleu": 3.0}},
        "perplexity": {},
        "facts": {"en": 0.5},
    }
    found = pruned(run)
    assert {sparsity: point["facts"]["en"] for sparsity, point in found.items()} == {
        0.1: 1.0,
        0.2: 0.5,
    } and found[0.2]["bleu"] == {"en-de": 3.0}
    assert list(pruned({**run, "curve": [], "sparsity": 0.0})) == [0.0]
