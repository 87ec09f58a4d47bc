"""course/studies.py: what the tables of lessons 06 to 08 say of stored runs."""

import numpy as np

from lander_lite import NeuronSets
from lander_lite.course import studies
from lander_lite.reproduction import forgetting


def run(method, seed, gain, lost):
    """A stored run of the kind "forgetting": en-de trained, BLEU lost on de-en."""
    base = {"en-de": 10.0, "de-en": 20.0}
    half = {"en-de": 10 + gain / 2, "de-en": 20 - lost / 2}
    end = {"en-de": 10 + gain, "de-en": 20 - lost}
    same = {"perplexity": {"en": 10.0}, "facts": {"en": 0.5}}
    return {
        "method": method,
        "seed": seed,
        "train_pairs": [["en-de"]],
        "curve": [{"bleu": base, **same}, {"bleu": half, **same}],
        "pairs": {pair: {"bleu": value} for pair, value in end.items()},
        **same,
    }


RUNS = [run("zero-shot", 0, 0, 0)]
RUNS += [run("ours", seed, 10, 2 + seed / 10) for seed in range(3)]
RUNS += [run("rival", seed, 20, 8 + seed / 10) for seed in range(3)]
BASE = forgetting.base_point(RUNS)
CHANGES = {
    method: {
        seed: forgetting.change(forgetting.final_point(one), BASE, ["en-de"])
        for seed, one in forgetting.seeds(RUNS, method).items()
    }
    for method in ("ours", "rival")
}


def test_a_rival_is_compared_after_equal_updates_and_at_equal_gain():
    table = studies.equal_gain_table(RUNS, CHANGES, "ours")
    assert [row[0] for row in table.rows] == ["rival"] and len(table.columns) == 8
    _, gain, updates, equal, *_ = table.rows[0]
    assert gain == "+20.0 ± 0.0" and updates.startswith("+6.0") and equal.startswith("+1.9")
    verdicts = studies.equal_gain_verdicts(RUNS, CHANGES, ["rival"], "ours").rows[0]
    equal = [f"no difference within {margin}" for margin in ("0.01", "0.01", "1", "1")]
    assert verdicts == ["rival", "more", "more", "more", *equal]
    rows = studies.control_table(RUNS, CHANGES, "rival", "ours").rows
    assert [row[-1] for row in rows[:2]] == ["more", "more"] and rows[0][2] == "–"


def test_fronts_are_drawn_to_the_largest_gain_of_all_seeds():
    from lander_lite.course.plots import looks, panels

    runs = [RUNS[0], *(run("full-kl", seed, 10 + seed, 2) for seed in range(3))]
    runs += [run("full-kl", seed, 20, 8) | {"settings": {"step": 1}} for seed in range(3)]
    _, ax = panels()
    studies.front_lines(ax, runs, looks(["full-kl", "lora"], {"full-kl": "black"}))
    (line,) = ax.get_lines()
    assert line.get_label() == "full-kl" and line.get_color() == "black"
    assert line.get_xdata()[-1] == 20 and line.get_ydata()[-1] == 8


def test_differences_are_clear_where_the_interval_leaves_zero_out():
    theirs = {seed: {"gain": 5.0} for seed in range(3)}
    ours = {0: {"gain": 7.0}, 1: {"gain": 7.1}, 2: {"gain": 7.2}}
    mixed = {0: {"gain": 9.0}, 1: {"gain": 5.0}, 2: {"gain": 7.1}, 3: {"gain": 0.0}}
    rows = studies.difference_table(ours, {"a": theirs, "b": mixed}, {"gain": "BLEU"}).rows
    assert rows[0] == ["a", "+2.1 ± 0.2, clear"] and "clear" not in rows[1][1]
    assert studies.seed_table({"a": [*ours.values()]}, {"gain": "BLEU"}).rows[0][1] == "+7.1 ± 0.2"


def test_no_difference_is_said_by_the_margin_of_the_numbers_unit():
    def row(name, values):
        ours = {seed: {name: value} for seed, value in enumerate(values)}
        return studies.difference_table(
            ours, {"a": dict.fromkeys(range(3), {name: 0.0})}, {name: ""}
        ).rows[0][1]

    near = (-0.1, 0.0, 0.1)  # 0.1 nats is ten times their margin, 0.1 BLEU a tenth of its own
    assert row("bleu", near) == "+0.0 ± 0.2, no difference within 1"
    assert row("perplexity", near) == "+0.00 ± 0.25"


def test_a_matrix_is_told_by_its_diagonal_and_the_rest():
    pairs = ["en-de", "en-fr", "de-en"]
    matrix = np.array([[[9.0, 1, -2], [1, 9, -2], [-2, -2, 9]]])
    row = studies.transfer_table({"full": matrix}, pairs).rows[0]
    assert row == ["full", "+9.0", "-1.0", "+1.0", "-2.0", "2 of 6"]
    gap = np.concatenate([matrix, np.full((1, 3, 3), np.nan)])
    assert studies.complete(gap).shape == (1, 3, 3)
    only_into = studies.transfer_table({"paper": matrix[:, :2, :2]}, pairs[:2]).rows[0]
    assert only_into == ["paper", "+9.0", "+1.0", "+1.0", "", "2 of 2"]


def test_a_run_that_diverged_leaves_the_pairs_of_seeds_as_they_are():
    def run(method, seed, perplexity):
        measured = {"perplexity": {"af": perplexity}, "facts": {"af": 0.5}}
        pairs = dict.fromkeys(("en-af", "af-en"), {"bleu": 1.0})
        return {"method": method, "seed": seed, "pairs": pairs, **measured}

    harder = {0: 10.0, 1: 20.0, 2: 40.0, 3: 80.0}  # a seed's perplexity, far apart
    runs = [run("sparse", seed, 0.9 * perplexity) for seed, perplexity in harder.items()]
    for rival in studies.RIVALS:
        runs += [run(rival, seed, perplexity) for seed, perplexity in harder.items()]
    runs[0]["diverged"] = 1
    points = studies.ends(runs, ["sparse", *studies.RIVALS])
    assert [*points["sparse"]] == [1, 2, 3] and [*points["full"]] == [0, 1, 2, 3]
    row = studies.low_resource_verdicts({"tiny": points}).rows[0]
    assert row[1] == "better", "each seed is a tenth better: of other pairs nothing could be said"


def test_sparsities_are_columns():
    points = [
        {"method": method, "settings": {"sparsity": sparsity}, "x": value}
        for method, sparsity, value in (("a", 0.5, 1), ("a", 0.1, 2), ("b", 0.1, 3), ("b", 0.5, 4))
    ]
    table = studies.sparsity_table(points, ["b", "a"], lambda point: point["x"])
    assert table.columns == ["method", "10%", "50%"]
    assert table.rows == [["b", "3.0", "4.0"], ["a", "2.0", "1.0"]]


def test_projections_and_languages_differ_by_more_than_their_colour():
    from lander_lite.course.plots import panels

    _, (lines, bars) = panels(1, 2)
    moved = {"up": {"3": 1.0, "4": 2.0}, "down": {"3": 1.5, "4": 1.0}}
    studies.weight_change(lines, [{"weight_change": moved}])
    assert {line.get_label(): line.get_marker() for line in lines.get_lines()} == {
        "up": "o",
        "down": "^",
    }
    own = {"en": {1: [40]}, "de": {1: [41, 42]}, "it": {1: [43]}}
    studies.block_sizes(bars, NeuronSets([1], list(own), {1: range(40)}, own, d_ff=48))
    assert [bar.get_height() for bar in bars.patches] == [1, 2, 1]
    assert len({bar.get_hatch() or "" for bar in bars.patches}) == 3
