"""families.py: overlaps of sets, and whether related languages overlap more than chance gives."""

import pytest
import torch
from matplotlib.colors import to_hex

from lander_lite.course import atlas, widgets
from lander_lite.course.plots import alt_text, panels
from lander_lite.neighbours.atlas import Atlas
from lander_lite.neighbours.families import (
    contrast,
    drawn_apart,
    jaccard,
    languages,
    permutation_test,
    same,
)
from lander_lite.neighbours.lape import lape_from_counts
from lander_lite.neurons import NeuronSets, random_neurons

SETS = {"a": {0: [0, 1], 1: [5]}, "b": {0: [0, 1], 1: [6]}, "c": {0: [], 1: []}}


def test_the_table_has_each_of_128_languages_once():
    table = languages()
    assert len(table) == 128 and all(all(vars(x).values()) for x in table.values())
    assert table["nld"].branch == table["afr"].branch == "Germanic"
    assert {table[x].script for x in ("srp-Cyrl", "srp-Latn")} == {"Cyrillic", "Latin"}
    families = {}
    for language in table.values():
        assert families.setdefault(language.branch, language.family) == language.family


def test_jaccard_over_all_layers():
    sets = NeuronSets([0, 1], ["a", "b", "c"], {}, SETS, 8, {"n_layers": 2})
    expected = [[1, 2 / 4, 0], [2 / 4, 1, 0], [0, 0, 0]]
    assert torch.allclose(jaccard(sets), torch.tensor(expected, dtype=torch.float64))
    assert jaccard(sets, ["b", "a"])[0, 1] == 0.5
    assert jaccard(sets, layers=[0])[0, 1] == 1 and jaccard(sets, layers=[1])[0, 1] == 0


def test_sets_drawn_apart_have_the_sizes_and_share_by_chance():
    alike = {layer: list(range(10 * layer, 10 * layer + 10)) for layer in (0, 1)}
    other = {layer: list(range(30, 60)) for layer in (0, 1)}
    sets = NeuronSets([0, 1], ["a", "b", "c"], {}, {"a": alike, "b": alike, "c": other}, 64)
    drawn = drawn_apart(sets)
    assert drawn.counts() == sets.counts() and drawn_apart(sets).hash() == drawn.hash()
    for layer in sets.layers:
        pool = {*alike[layer], *other[layer]}
        assert all(pool >= set(own[layer].tolist()) for own in drawn.specific.values())
    # 10 of 40 beside 10 of 40: a quarter of each, where the sets themselves are the same
    mean = sum(jaccard(drawn_apart(sets, seed))[0, 1].item() for seed in range(50)) / 50
    assert mean == pytest.approx(2.5 / 17.5, abs=0.03) and jaccard(sets)[0, 1] == 1
    assert torch.equal(jaccard(random_neurons(sets)), jaccard(sets))  # why it is no control


def planted(strength, n=24, seed=0):
    """An overlap matrix of n languages of 4 families, in which kin overlap more by `strength`."""
    noise = torch.rand(n, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    families = [f"family {i % 4}" for i in range(n)]
    return (noise + noise.T) / 2 + strength * same(families), families


def test_a_planted_family_is_found_and_chance_is_not():
    overlap, families = planted(0.3)
    found = permutation_test(overlap, families, permutations=200)
    assert found["p"] == pytest.approx(1 / 201) and found["contrast"] > found["null"][1]
    assert found["contrast"] == pytest.approx(0.3, abs=0.05)
    chance = [permutation_test(*planted(0, seed=seed), permutations=99)["p"] for seed in range(40)]
    assert 0.3 < sum(chance) / 40 < 0.7 and sum(p <= 0.05 for p in chance) <= 6


def test_what_scripts_explain_is_not_counted_for_families():
    n = 24
    scripts = ["left" if i < n // 2 else "right" for i in range(n)]
    families = [f"{script} {i % 2}" for i, script in enumerate(scripts)]  # each has one script
    noise = torch.rand(n, n, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    overlap = (noise + noise.T) / 20 + 0.5 * same(scripts)
    assert permutation_test(overlap, families, permutations=200)["p"] < 0.01
    assert permutation_test(overlap, families, within=scripts, permutations=200)["p"] > 0.05
    counted = same(scripts)
    assert permutation_test(overlap, families, counted, within=scripts)["p"] > 0.05


def test_the_explorer_draws_the_nearest(monkeypatch):
    drawn = []

    def picture(title, size, plot):
        _, ax = panels()
        plot(ax)
        names = [label.get_text() for label in ax.get_yticklabels()]
        drawn.append((title, dict(zip(names, (bar.get_width() for bar in ax.patches)))))

    monkeypatch.setattr(widgets, "picture", picture)
    roots = torch.randint(0, 256, (2, 3, 2, 64), generator=torch.Generator().manual_seed(0))
    roots[:, 1, 0], roots[:, 1, 1] = roots[:, 0, 0], roots[:, 2, 1]  # b is as a, and above as c
    found = Atlas(roots.byte(), torch.full((2, 3), 100), ["a", "b", "c"], {"n_layers": 2}, {})
    box = widgets.nearest_explorer(found, {"a": "A", "b": "B", "c": "C"})
    language, rate, layers = box.children[0].children
    language.value, rate.value = "b", 0.3
    title, bars = drawn[-1]
    assert title == "nearest to B, 30.0% of the neurons, layers 0 to 1"
    row = jaccard(lape_from_counts(found.counts(), top_rate=0.3))[1]
    assert (
        bars == pytest.approx({"A": row[0].item(), "C": row[2].item()}) and max(bars.values()) < 1
    )
    for only, same_as, other in ((0, "A", "C"), (1, "C", "A")):
        layers.value = (only, only)
        title, bars = drawn[-1]
        assert title.endswith(f"layers {only} to {only}")
        assert list(bars) == [other, same_as] and bars[same_as] == 1 > bars[other]  # nearest on top


def test_the_pictures_of_languages_say_what_they_show():
    table = languages()
    codes = ["nld", "deu", "hin", "urd"]
    groups = [atlas.group(table[code]) for code in codes]
    figure, ax = panels()
    atlas.draw_map(ax, torch.rand(4, 2).numpy(), codes, table)
    assert alt_text(figure).startswith("4 languages, placed by the neurons that they share")
    figure, ax = panels()
    atlas.family_strip(ax, groups)
    (strip,) = ax.child_axes
    colours = [to_hex(colour).upper() for colour in strip.images[0].get_array()[0]]
    assert colours == [atlas.COLOURS[name] for name in groups] and colours[0] != colours[2]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(atlas.COLOURS)


def test_contrast_counts_each_pair_once_and_needs_both_kinds():
    overlap = torch.tensor([[9, 4, 1], [4, 9, 2], [1, 2, 9]], dtype=torch.float64)
    related = same(["x", "x", "y"])
    assert contrast(overlap, related) == pytest.approx(4 - 1.5)
    with pytest.raises(ValueError, match="no pairs of one kind"):
        contrast(overlap, same(["x", "y", "z"]))
