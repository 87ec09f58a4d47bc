"""families.py: overlaps of sets, and whether related languages overlap more than chance gives."""

import pytest
import torch

from lander_lite.course.widgets import nearest_explorer
from lander_lite.neighbours.atlas import Atlas
from lander_lite.neighbours.families import contrast, jaccard, languages, permutation_test, same
from lander_lite.neurons import NeuronSets

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


def test_the_explorer_draws_the_nearest(capsys):
    roots = torch.randint(0, 256, (2, 3, 2, 8), generator=torch.Generator().manual_seed(0))
    atlas = Atlas(roots.byte(), torch.full((2, 3), 100), ["a", "b", "c"], {"n_layers": 2}, {})
    controls, _ = nearest_explorer(atlas, {"a": "A", "b": "B", "c": "C"}).children
    controls.children[0].value = "b"
    controls.children[1].value = 0.1
    assert capsys.readouterr().out.count("Figure(") == 3


def test_contrast_counts_each_pair_once_and_needs_both_kinds():
    overlap = torch.tensor([[9, 4, 1], [4, 9, 2], [1, 2, 9]], dtype=torch.float64)
    related = same(["x", "x", "y"])
    assert contrast(overlap, related) == pytest.approx(4 - 1.5)
    with pytest.raises(ValueError, match="no pairs of one kind"):
        contrast(overlap, same(["x", "y", "z"]))
