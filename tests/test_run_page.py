"""page.py: report.html of a run folder, of its files alone."""

import html
import json
import shutil

import pytest
from test_cli import world  # noqa: F401
from test_page import Page

from lander_lite.cli import main

SECTIONS = ["bleu", "translations", "loss", "layers", "neurons", "settings"]


@pytest.fixture
def run(world, capsys):  # noqa: F811
    """The folder of a finished run, and what it printed."""
    settings, folder = world
    assert main(["run", *settings]) == 0
    return folder, capsys.readouterr().out


def page_of(folder):
    assert main(["report", "--output-dir", str(folder)]) == 0
    return (folder / "report.html").read_text(encoding="utf-8")


def test_a_run_says_from_the_start_what_it_does_and_where_its_files_are(run):
    folder, shown = run
    lines = shown.splitlines()
    assert lines[0].startswith("lander-lite run: ") and str(folder) in " ".join(lines[:5])
    steps = [line for line in lines if line.startswith("[")]
    assert [step[:5] for step in steps] == [f"[{i}/6]" for i in range(1, 7)]
    assert lines[-1].startswith("report ") and lines[-1].endswith(str(folder / "report.html"))


def test_the_page_shows_the_run_and_loads_nothing(run):
    folder, _ = run
    text = (folder / "report.html").read_text(encoding="utf-8")
    page, results = Page(text), json.loads((folder / "results.json").read_text(encoding="utf-8"))
    assert not page.loads and "script" not in page.tags and "url(" not in text
    assert [x for x in page.ids if x in SECTIONS] == SECTIONS and 'class="missing"' not in text
    assert page.links == [f"#{name}" for name in SECTIONS]
    assert page.tags.count("svg") == 4 == text.count("<title id=")  # a picture is read aloud
    for model in ("before", "after"):
        assert f"<td>{results[model]['en-de']['bleu']:.2f}</td>" in text
        low, high = results[model]["de-en"]["bleu_ci"]
        assert f"<td>{low:.1f} – {high:.1f}</td>" in text
    kept = json.loads((folder / "translations.json").read_text(encoding="utf-8"))
    for pair in ("en-de", "de-en"):
        for column in ("source", "reference", "before", "after"):
            (sentence,) = kept[pair][column]
            assert html.escape(sentence) in text
    assert kept["en-de"]["source"] == kept["de-en"]["reference"] == ["the man is old"]
    assert "English" in text and "Chinese" in text and results["versions"]["torch"] in text
    assert "name_or_path: " in text


def test_the_page_is_made_again_of_the_folder_alone(run, tmp_path, monkeypatch):
    folder, _ = run
    first = (folder / "report.html").read_bytes()
    (folder / "report.html").unlink()
    for name in ("model", "corpus.jsonl"):
        (tmp_path / name).rename(tmp_path / f"moved-{name}")
    page_of(folder)
    assert (folder / "report.html").read_bytes() == first


@pytest.mark.parametrize(
    "name, step",
    [
        ("layers.json", "detect"),
        ("neurons.safetensors", "categorize"),
        ("training.json", "finetune"),
        ("results.json", "evaluate"),
        ("translations.json", "evaluate"),
    ],
)
def test_a_part_that_is_missing_or_damaged_is_one_line(run, name, step):
    folder, _ = run
    (folder / name).write_bytes(b'{"loss": ["x"], "en-de": 3}')
    text = html.unescape(page_of(folder))
    assert text.count('class="missing"') == 1 and str(folder / name) in text
    (folder / name).unlink()
    text = page_of(folder)
    line = f'<p class="missing">There is no {name} yet: `lander-lite {step}` writes it.</p>'
    assert text.count('class="missing"') == 1 and line in text


def test_what_others_wrote_is_text_and_never_code(run):
    folder, _ = run
    wild = "</span><script>alert('x')</script><img src=x onerror=alert(1)>&amp;"
    path = folder / "translations.json"
    kept = json.loads(path.read_text(encoding="utf-8"))
    for column in ("source", "reference", "before", "after"):
        kept["en-de"][column] = [wild]
    path.write_text(json.dumps(kept), encoding="utf-8")
    with (folder / "config.yaml").open("a", encoding="utf-8") as file:
        file.write(f"# {wild}\n")
    text = page_of(folder)
    page = Page(text)
    assert "script" not in page.tags and "img" not in page.tags
    assert text.count("&lt;script&gt;") == 5 and text.count("&amp;amp;") == 5


def test_before_training_there_is_a_page_too(run):
    folder, _ = run
    shutil.rmtree(folder / "lander")
    for name in ("results.json", "translations.json", "training.json"):
        (folder / name).unlink()
    assert main(["evaluate", "--output-dir", str(folder)]) == 0
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert "no scores of a tuned model" in text and ">tuned<" not in text


def test_a_folder_without_a_run_is_refused(tmp_path, capsys):
    assert main(["report", "--output-dir", str(tmp_path / "none")]) == 2
    error = capsys.readouterr().err
    assert "none holds no run" in error and error.count("\n") == 1
    assert not (tmp_path / "none").exists()
