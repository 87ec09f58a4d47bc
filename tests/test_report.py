"""The computed blocks of the README and of notebooks/RESULTS.md are what the committed result files
say."""

import pytest

from lander_lite.config import data_dir
from lander_lite.reproduction.pages import EIGHT, README, RESULTS, pages, with_block
from lander_lite.reproduction.scorecard import as_json, scorecard
from lander_lite.reproduction.tables import find_results, results_table


@pytest.fixture(scope="module")
def written():
    return pages()


def test_pages_show_the_committed_results(written):
    for page, text in written.items():
        remedy = "run `python -m lander_lite.reproduction.pages`"
        assert page.read_text(encoding="utf-8") == text, f"{page.name}: {remedy}"


def test_the_stored_scorecard_is_that_of_the_committed_results():
    bloom, llama = (data_dir() / "results" / name for name in ("tiny-bloom", "tiny-llama"))
    again = "run `python -m lander_lite.reproduction.scorecard`"
    stored = (bloom / "scorecard.json").read_text(encoding="utf-8")
    assert as_json(scorecard(bloom, llama)) == stored, again


def test_the_readme_is_short_and_has_eight_claims(written):
    assert len(written[README].encode()) <= 12 * 1024
    table = written[README].split("<!-- verdicts: start -->")[1].split("<!-- verdicts: end -->")[0]
    lines = table.strip().splitlines()
    assert [line.split(" | ")[0].strip("| ") for line in lines[2:]] == list(EIGHT)


def test_the_page_of_results_has_the_real_models_methods(written):
    block = written[RESULTS].split("<!-- gemma: start -->")[1].split("<!-- gemma: end -->")[0]
    rows = {line.split(" | ")[0].strip("| "): line for line in block.strip().splitlines()[2:]}
    assert len(rows) == 11 and list(rows)[:2] == ["zero-shot", "four-shot"]
    assert "| 13.6 ± 2.1 | 10.9 ± 2.0 |" in rows["lander-none"] and "[" in rows["zero-shot"]


def test_a_changed_result_changes_the_block():
    results = find_results(data_dir() / "results")
    changed = [
        {**results[0], "mean": {"bleu": results[0]["mean"]["bleu"] + 10, "chrf": 0.0}},
        *results[1:],
    ]
    assert results_table(changed) != results_table(results)


def test_a_page_without_marks_is_refused():
    with pytest.raises(ValueError, match="results: start"):
        with_block("# nothing", "results", "")
