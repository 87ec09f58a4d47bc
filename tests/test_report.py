"""The README's results block is what the committed result files say."""

import pytest

from lander_lite.config import PACKAGE, data_dir
from lander_lite.reproduction.tables import find_results, readme_table, with_results

README = PACKAGE.parent / "README.md"


def test_the_readme_shows_the_committed_results():
    text = README.read_text(encoding="utf-8")
    assert text == with_results(text, find_results(data_dir() / "results")), (
        "run `python -m lander_lite.reproduction.tables`"
    )


def test_a_changed_result_changes_the_block():
    results = find_results(data_dir() / "results")
    changed = [
        {**results[0], "mean": {"bleu": results[0]["mean"]["bleu"] + 10, "chrf": 0.0}},
        *results[1:],
    ]
    assert readme_table(changed) != readme_table(results)


def test_a_readme_without_marks_is_refused():
    with pytest.raises(ValueError, match="results: start"):
        with_results("# nothing", find_results(data_dir() / "results"))
