"""cli.py, pipeline.py, course/: the command line on a tiny random model, lessons that run or fail,
their explorers."""

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from lander_helpers import LAYERS, make_sets
from peft import PeftModel
from safetensors import SafetensorError
from transformers import T5Config

from lander_lite.awareness import score_awareness
from lander_lite.cli import main
from lander_lite.config import LanderConfig
from lander_lite.course import notebooks as runner
from lander_lite.course import widgets
from lander_lite.folders import atomic_folder, tidy_if_free
from lander_lite.layers import detect_layers
from lander_lite.neighbours.lape import lape
from lander_lite.neurons import NeuronSets
from lander_lite.pipeline import Run, corpora, pair_table, use_corpus
from lander_lite.reproduction.tables import find_results
from lander_lite.tuner.model import LanderModel, LanderTuningConfig, get_lander_model

SETTINGS = {
    "finetune.updates": 2,
    "finetune.batch_size": 2,
    "finetune.progress": "false",
    "evaluate.bootstrap": 10,
    "evaluate.max_new_tokens": 4,
    "layers.k": 2,
}
SHORT = [word for key, value in SETTINGS.items() for word in ("--set", f"{key}={value}")]
SHORT += ["--pairs", "en-de,de-en"]


@pytest.fixture
def world(tmp_path, bloom, tokenizer, corpus):
    """A saved random model and a corpus file: (command line settings, run folder)."""
    bloom.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    rows = [json.dumps({"translation": row}, ensure_ascii=False) for row in corpus["translation"]]
    (tmp_path / "corpus.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    settings = [
        "--corpus",
        str(tmp_path / "corpus.jsonl"),
        "--set",
        f"model.name_or_path={tmp_path / 'model'}",
    ]
    return [*settings, "--output-dir", str(tmp_path / "run"), *SHORT], tmp_path / "run"


def test_run_does_every_step_and_shows_before_and_after(world, capsys):
    settings, folder = world
    assert main(["run", *settings]) == 0
    files = {path.name for path in folder.iterdir()}
    assert {
        "config.yaml",
        "layers.json",
        "scores.safetensors",
        "neurons.safetensors",
        "lander",
        "training.json",
        "results.json",
    } <= files
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    assert (
        set(results["before"]) == {"en-de", "de-en", "mean", "signature"} == set(results["after"])
    )
    assert (
        results["before"]["en-de"]["n"] == 1 and results["test_rows"] == 1
    )  # the held-out fifth of six rows
    assert NeuronSets.load(folder / "neurons.safetensors").languages == ["en", "de", "zh"]
    shown = capsys.readouterr().out
    assert "before BLEU" in shown and "after BLEU" in shown and "testing on rows 6-6" in shown


def test_steps_alone_give_the_files_of_run(world, tmp_path):
    settings, folder = world
    assert main(["run", *settings]) == 0
    alone = tmp_path / "alone"
    settings = [str(alone) if item == str(folder) else item for item in settings]
    assert main(["detect", *settings]) == 0
    for step in ("score", "categorize", "finetune", "evaluate"):
        assert main([step, "--output-dir", str(alone)]) == 0  # the folder's own config.yaml
    tensors = sorted(path.relative_to(folder) for path in folder.glob("lander/*.safetensors"))
    assert tensors and (folder / "lander" / "adapter_config.json").is_file()
    for name in ("layers.json", "scores.safetensors", "neurons.safetensors", *tensors):
        assert (alone / name).read_bytes() == (folder / name).read_bytes(), name
    first, second = (
        json.loads((path / "results.json").read_text(encoding="utf-8")) for path in (folder, alone)
    )
    assert first["before"] == second["before"] and first["after"] == second["after"]


def test_translate_uses_the_tuned_model_of_the_folder(world, capsys):
    settings, folder = world
    assert main(["run", *settings]) == 0
    capsys.readouterr()
    before = (folder / "config.yaml").read_text()
    assert (
        main(
            [
                "translate",
                "--output-dir",
                str(folder),
                "--pairs",
                "en-de",
                "--text",
                "the dog sleeps",
            ]
        )
        == 0
    )
    shown = capsys.readouterr()
    assert len(shown.out.split("\n")) == 2 and "base model" not in shown.err
    assert (folder / "config.yaml").read_text() == before, (
        "translating must not change the run's settings"
    )
    assert main(["translate", "--output-dir", str(folder), "--text", "the dog sleeps"]) == 2
    assert "one direction" in capsys.readouterr().err


def test_lape_needs_no_other_step(world, bloom, tokenizer, corpus, capsys):
    settings, folder = world
    assert main(["lape", *settings]) == 0
    found, expected = (
        NeuronSets.load(folder / "lape.safetensors"),
        lape(bloom, tokenizer, corpus.select(range(5)), ["en", "de", "zh"]),
    )
    assert (
        found.hash() == expected.hash() and repr(found) in capsys.readouterr().out
    )  # the sixth row is held out
    assert sum(
        len(x) for sets in found.specific.values() for x in sets.values()
    ) > 0 and found.layers == [0, 1, 2, 3]
    assert main(["lape", "--output-dir", str(folder), "--set", "awareness.max_sentences=2"]) == 0
    assert (
        NeuronSets.load(folder / "lape.safetensors").provenance["tokens"]["en"]
        < found.provenance["tokens"]["en"]
    )
    assert (
        main(["lape", *settings, "--set", "corpus.languages=en"]) == 2
        and "another corpus.languages" in capsys.readouterr().err
    )


def test_the_base_model_stays_untouched_by_tuning(world):
    settings, folder = world
    assert main(["run", *settings]) == 0
    run = Run(LanderConfig.from_yaml(folder / "config.yaml"), folder)
    tuned, base = run.tuned[0], run.base[0]
    assert isinstance(tuned, LanderModel) and tuned.base_model is not base
    assert not any("slices" in name for name, _ in base.named_parameters())


# ---------------------------------------------------------------- the folder of the tuned model
def test_a_failed_save_leaves_the_tuned_model_as_it_was(world, monkeypatch, capsys):
    settings, folder = world
    assert main(["run", *settings]) == 0
    before = {path.name: path.read_bytes() for path in (folder / "lander").iterdir()}

    def save(self, path, **_):
        Path(path).mkdir()
        (Path(path) / "half").touch()
        raise OSError("no space left on device")

    monkeypatch.setattr(PeftModel, "save_pretrained", save)
    assert main(["finetune", "--output-dir", str(folder), "--set", "tuning.routing=none"]) == 2
    assert "no space left on device" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in (folder / "lander").iterdir()} == before
    monkeypatch.undo()
    assert main(["finetune", "--output-dir", str(folder), "--set", "tuning.routing=none"]) == 0
    after = {path.name: path.read_bytes() for path in (folder / "lander").iterdir()}
    assert after.keys() == before.keys() and after != before
    assert not list(folder.glob(".lander.*"))


KILLED = [
    # (name: content) before, and what repair must leave in its place
    ({"lander": "old", ".lander.new": "half"}, "old"),  # while the new one was written
    ({".lander.old": "old", ".lander.new": "new"}, "new"),  # between the renames
    ({".lander.old": "old"}, "old"),
    ({"lander": "new", ".lander.old": "old"}, "new"),  # before the old one was removed
    ({".lander.new": "half"}, None),  # the first one, never finished
]


@pytest.mark.parametrize("folders, expected", KILLED)
def test_a_save_that_was_killed_is_repaired_when_the_run_starts(tmp_path, folders, expected):
    for name, content in folders.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(content)
    tidy_if_free(tmp_path)
    found = tmp_path / "lander" / "file"
    assert (found.read_text() if found.exists() else None) == expected
    assert not (tmp_path / ".lander.old").exists()
    with atomic_folder(tmp_path / "lander") as new:  # and the next save starts from here
        new.mkdir()
        (new / "file").write_text("next")
    assert found.read_text() == "next" and [path.name for path in tmp_path.iterdir()] == ["lander"]


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (["runn"], "did you mean run?"),
        (["run", "--profil", "x"], "did you mean --profile?"),
        (["run", "--profile", "tiny-lama"], "did you mean tiny-llama?"),
        (["run", "--set", "layers.kk=3"], "did you mean layers.k?"),
        (["run", "--set", "layers.k"], "key=value"),
        (["run", "--set", "layers.k=0"], "at least 1"),
        (["run", "--pairs", "en-de,de"], "'de' is not a translation direction"),
        (["run", "--pairs", "en-xx"], "no row has a sentence in 'xx'; it has en, de"),
        (["run", "--corpus", "nothing.jsonl"], "no such file or folder: nothing.jsonl"),
        (["score"], "run `lander-lite detect`"),
        (["categorize"], "run `lander-lite score`"),
        (["finetune"], "run `lander-lite categorize`"),
        (["run", "--corpus", ""], "--corpus is empty (an unset variable?)"),
        (["run", "--output-dir", ""], "--output-dir is empty"),
        (["plann"], "did you mean plan?"),
        (["run", "--set", "categories.epsilon=1"], "0..1"),
        (["study", "--methods", "ful"], "unknown method 'ful'"),
        (["study", "--jobs", "0"], "--jobs 0 must be at least 1"),
        (["study", "--seeds", "-1"], "--seeds -1 must be at least 1"),
        (["study", "--hours", "nan"], "--hours nan must be a positive number"),
        (["study", "--shard", "9/8"], "--shard 9/8: write which of how many, such as 3/8"),
        (["study", "--shard", "3"], "--shard 3: write which of how many"),
        (["study", "--shard", "1/2", "--no-resume"], "a shard needs --resume"),
        (["study", "--collect"], " results, such as grid/full-0.0003-seed0.json, "),
        (["translate", "--pairs", "en-xx"], "no language 'xx' is known; add it to corpus.lang"),
        (["translate", "--jobs=2"], "translate has no --jobs: that is for study"),
        (["score", "--no-resume"], "score has no --resume: that is for run, finetune, study"),
        (["run", "--set", "corpus.template={source} {x}"], "unknown field 'x'; it takes source, "),
        (["run", "--set", "corpus.template={source:d}"], "Unknown format code 'd'"),
        (["run", "--set", "corpus.names.en=5"], "corpus.names.en = 5: expected a name"),
        (["run", "--set", "finetune.batch_size=1e12"], "finetune.batch_size = 1000000000000 must"),
        (["run", "--corpus", "folder/none"], "no folder/none, although folder/ exists here"),
        (["run", "--config", "digits.yaml"], "digits.yaml is not valid YAML"),
        (["run", "--corpus", "x" * 5000 + ".jsonl"], "File name too long"),
        (["run", "--output-dir", "file"], "file"),
        (["run", "--config", "folder"], "folder"),
        (["run", "--config", "deep.yaml"], "deep.yaml is not valid YAML"),
    ],
)
def test_wrong_input_is_one_clear_line_and_exit_code_2(
    arguments, expected, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("no folder")
    Path("folder").mkdir()
    Path("deep.yaml").write_text("[" * 5000)
    Path("digits.yaml").write_text("seed: " + "1" * 5000)
    monkeypatch.setattr(
        "lander_lite.pipeline.load_configured",
        lambda *_, **__: pytest.fail("loaded a model before the check"),
    )
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("lander-lite: error: ") and error.count("\n") == 1 and expected in error


def test_finetune_starts_anew_where_it_is_told_to(world, capsys):
    settings, folder = world
    assert main(["run", *settings, "--set", "finetune.save_every=1"]) == 0
    other = [*settings, "--set", "finetune.learning_rate=0.5"]
    assert main(["finetune", *other]) == 2
    assert "--no-resume" in capsys.readouterr().err
    assert main(["finetune", *other, "--no-resume"]) == 0


def test_kl_to_the_base_model_works_from_the_command_line(world, capsys):
    settings, folder = world
    assert main(["run", *settings, "--set", "finetune.kl_weight=0.5"]) == 0
    log = json.loads((folder / "training.json").read_text())
    assert len(log["kl"]) == 2 and log["kl"][0] == pytest.approx(0, abs=1e-4)


def test_one_line_comes_out_for_each_line_in(world, monkeypatch, capsys):
    settings, folder = world
    monkeypatch.setattr("sys.stdin", io.StringIO("the dog sleeps\n\n  \na cat\n"))
    assert main(["translate", *settings, "--pairs", "en-de"]) == 0
    lines = capsys.readouterr().out.split("\n")
    assert len(lines) == 5 and lines[1] == lines[2] == lines[4] == ""


@pytest.mark.parametrize(
    "error, code, said",
    [
        (OSError(28, "No space left on device", "x.safetensors"), 2, "No space left on device"),
        (SafetensorError("I/O error:\n no space"), 2, "I/O error:  no space"),
        (ImportError("pip install bitsandbytes"), 2, "pip install bitsandbytes"),
        (KeyboardInterrupt(), 130, "stopped"),
    ],
)
def test_a_step_that_fails_ends_with_one_line(world, monkeypatch, capsys, error, code, said):
    def fail(self):
        raise error

    monkeypatch.setattr(Run, "detect", fail)
    assert main(["detect", *world[0]]) == code
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith("lander-lite: ") and said in message


def test_a_typo_is_answered_before_anything_heavy_is_imported():
    code = (
        "import sys; from lander_lite.cli import main; main(['detct']); print({'torch', "
        "'datasets'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "did you mean detect?" in done.stderr and done.stdout == "set()\n"


def test_a_folder_of_another_model_or_corpus_is_refused(world, tmp_path, capsys):
    settings, folder = world
    assert main(["detect", *settings]) == 0
    (tmp_path / "other.jsonl").write_bytes((tmp_path / "corpus.jsonl").read_bytes())
    other = [
        str(tmp_path / "other.jsonl") if item == str(tmp_path / "corpus.jsonl") else item
        for item in settings
    ]
    assert main(["detect", *other]) == 2
    assert "holds a run with another corpus.train" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name, expected",
    [
        ("./nowhere", "no such file or folder: ./nowhere"),
        ("nowhere", "nowhere"),
        (".", "no config.json"),
    ],
)
def test_a_model_that_is_not_there_leaves_no_config_behind(
    world, monkeypatch, tmp_path, capsys, name, expected
):
    settings, folder = world
    monkeypatch.chdir(tmp_path)
    assert main(["detect", *settings, "--set", f"model.name_or_path={name}"]) == 2
    error = capsys.readouterr().err
    assert (
        f"model.name_or_path = {name}: " in error and expected in error and error.count("\n") == 1
    )
    assert not folder.exists()
    assert main(["detect", *settings]) == 0


FAILED = [  # (settings of a first start, what is said)
    (["--corpus", "bad.jsonl"], "bad.jsonl, line 1: not valid JSON"),
    (["--pairs", "en-xx"], "no row has a sentence in 'xx'"),
    (["--set", "layers.k=9"], "k = 9 is out of range"),
    (["--set", "corpus.languages=en"], "comparing at least two languages"),
    (["--set", "corpus.template=nothing"], "has no {source}"),
    (["--set", "model.name_or_path=some/hub-id"], "model.name_or_path = some/hub-id"),
    (["--set", "model.name_or_path=t5"], "t5 (t5) is an encoder-decoder"),
    (["--set", "model.name_or_path=cut"], "cut: a file of weights is not whole"),
    (["--set", "model.name_or_path=damaged"], "the tokenizer of damaged is damaged"),
]


@pytest.mark.parametrize("step", ["run", "prune"])
def test_a_start_that_failed_is_no_obstacle_to_the_next(step, world, monkeypatch, capsys, tmp_path):
    settings, folder = world
    monkeypatch.chdir(tmp_path)
    Path("bad.jsonl").write_text("{nonsense")
    T5Config().save_pretrained("t5")
    for name, file in {"cut": "model.safetensors", "damaged": "tokenizer.json"}.items():
        shutil.copytree("model", name)
        Path(name, file).write_bytes(Path(name, file).read_bytes()[:-9])
    for wrong, said in FAILED:
        if step == "run" or wrong[-1] != "layers.k=9":
            assert main([step, *settings, *wrong]) == 2
            error = capsys.readouterr().err.splitlines()[-1]
            assert error.startswith("lander-lite: error: ") and said in error
            assert not folder.exists(), wrong
    assert main([step, *settings]) == 0 and (folder / "config.yaml").is_file()


@pytest.mark.parametrize(
    "gone, key", [("model", "model.name_or_path"), ("corpus.jsonl", "corpus.train")]
)
def test_a_missing_path_of_a_stored_config_is_said_to_come_from_there(
    world, tmp_path, capsys, gone, key
):
    settings, folder = world
    assert main(["detect", *settings]) == 0
    (tmp_path / gone).rename(tmp_path / "moved")
    assert main(["detect", "--output-dir", str(folder)]) == 2
    error = capsys.readouterr().err
    assert (
        f"{key} = {tmp_path / gone}" in error
        and f"(from {folder / 'config.yaml'})" in error
        and error.count("\n") == 1
    )


def test_a_given_corpus_brings_its_own_test_part_and_languages(tmp_path, corpus):
    rows = [json.dumps({"translation": row}) + "\n" for row in corpus["translation"]]
    (tmp_path / "train.jsonl").write_text("".join(rows[:4]))
    config = LanderConfig.from_profile("tiny-bloom", **{"corpus.pairs": "en-zh"})
    use_corpus(config, str(tmp_path / "train.jsonl"), set())
    assert config.corpus.test is None and config.corpus.languages == ["en", "de", "zh"]
    assert [len(part) for part in corpora(config)] == [3, 1]
    (tmp_path / "test.jsonl").write_text("".join(rows[4:]))
    use_corpus(config, str(tmp_path), set())
    assert [len(part) for part in corpora(config)] == [4, 2]
    kept = LanderConfig.from_profile("tiny-bloom", **{"corpus.languages": "en,de"})
    use_corpus(kept, str(tmp_path), {"corpus.languages"})
    assert kept.corpus.languages == ["en", "de"]


# ---------------------------------------------------------------- lessons
def test_an_explorer_draws_at_once_and_when_a_control_moves(monkeypatch, bloom, tokenizer, corpus):
    scores = detect_layers(bloom, tokenizer, corpus, ["en-de", "de-en"], k=2, progress=False)
    titles = []
    monkeypatch.setattr(widgets, "picture", lambda title, size, plot: titles.append(title))
    controls, _ = widgets.layer_explorer(scores).children
    pair, measure, k = controls.children
    pair.value, k.value = "de-en", 1
    measure.value = "cosine"
    chosen = [scores.top(2), scores.per_pair(2)["de-en"], scores.per_pair(1)["de-en"]]
    chosen.append(scores.per_pair(1, "cosine")["de-en"])
    heads = ["all pairs: the 2", *["de-en: the 2", "de-en: the 1", "de-en: the 1"]]
    blocks = [", ".join(map(str, found)) for found in chosen]
    assert titles == [f"{head} largest are blocks {text}" for head, text in zip(heads, blocks)]


def test_every_explorer_shows_something(bloom, tokenizer, corpus, capsys):
    scores = score_awareness(bloom, tokenizer, corpus, ["en", "de", "zh"], LAYERS, progress=False)
    widgets.epsilon_explorer(scores)
    lander = get_lander_model(bloom, LanderTuningConfig(make_sets(bloom), routing="learned"))
    examples = {"en-de": [("he reads", "er liest"), ("the cat", "die Katze")]}
    controls, _ = widgets.gate_explorer(lander, tokenizer, examples).children
    controls.children[1].value = 1
    assert capsys.readouterr().out.count("Figure(") == 3


def test_the_playground_follows_the_direction_and_names_unknown_words(
    bloom, tokenizer, corpus, capsys
):
    lander = get_lander_model(bloom, LanderTuningConfig(make_sets(bloom), routing="none"))
    world = {"en": ["the dog sleeps", "he reads"], "zh": ["他读书"]}
    box = widgets.playground(lander, tokenizer, ["en-zh", "zh-en"], world)
    text, pair = box.children[0].children
    assert text.value == "the dog sleeps" and "This world" not in capsys.readouterr().out
    pair.value = "zh-en"
    assert text.value == "他读书" and "This world" not in capsys.readouterr().out
    text.value = "他 sees 狗"
    assert "This world has no sees, 狗: " in capsys.readouterr().out
    pair.value = "en-zh"
    assert text.value == "他 sees 狗" and "no 他, sees, 狗: " in capsys.readouterr().out
    text.value = "He READS the dog?"
    assert "This world" not in capsys.readouterr().out
    text.value = " "
    assert capsys.readouterr().out.endswith("Type a sentence and press Enter.\n")


def test_an_explorer_in_a_lesson_leaves_a_line_in_the_saved_file(tmp_path):
    code = """from lander_lite.course.plots import panels
from lander_lite.course.widgets import explorer, picture
from tqdm.auto import tqdm
import ipywidgets
list(tqdm(range(3), desc="bar"))
panels()[1].set_title("of a picture")
def draw(n):
    print("drawn", n)
    picture("title", (2, 2), lambda ax: ax.plot([0, n]))
box = explorer(draw, n=ipywidgets.IntSlider(2))
box.children[0].children[0].value = 3
box"""
    notebook, error = runner.execute(lesson(tmp_path / "00_box.ipynb", code, "print('after')"))
    picture, live = notebook.cells[0].outputs
    assert error is None and live.data == {"text/plain": runner.LIVE}
    assert picture.metadata["image/png"] == {"alt": "of a picture"}
    assert notebook.cells[1].outputs[0].text == "after\n"


def lesson(path, *sources):
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source) for source in sources]
    )
    nbformat.write(notebook, path)
    return path


def test_runner_writes_notebooks_and_one_report(tmp_path, capsys):
    good = lesson(tmp_path / "00_good.ipynb", "x = 6 * 7", "print('answer', x)")
    widget = lesson(
        tmp_path / "01_widget.ipynb",
        "import ipywidgets",
        "ipywidgets.IntSlider()",
        "print('after the slider')",
    )
    assert runner.main([str(good), str(widget), "--output-dir", str(tmp_path / "out")]) == 0
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "answer 42" in page and "after the slider" in page
    saved = nbformat.read(tmp_path / "out" / "01_widget.ipynb", as_version=4)
    assert [cell.execution_count for cell in saved.cells] == [
        1,
        2,
        3,
    ] and "widgets" not in saved.metadata
    assert saved.cells[2].outputs[0].text == "after the slider\n"
    assert saved.cells[1].outputs[0].data == {"text/plain": runner.LIVE} and runner.LIVE in page
    assert nbformat.read(good, as_version=4).cells[1].outputs == [], (
        "the original must stay as it was"
    )
    shown = capsys.readouterr().out
    assert "[1/2] 00_good" in shown and "2 of 2 lessons ran" in shown and "report.html" in shown


def test_runner_goes_on_after_a_failure_and_says_so(tmp_path, capsys):
    bad = lesson(tmp_path / "00_bad.ipynb", "1 / 0")
    good = lesson(tmp_path / "01_good.ipynb", "print('fine')")
    before = bad.read_bytes()
    assert runner.main([str(bad), str(good), "--in-place"]) == 1
    shown = capsys.readouterr().out
    assert "FAILED" in shown and "ZeroDivisionError" in shown and "1 of 2 lessons ran" in shown
    assert (
        bad.read_bytes() == before
        and nbformat.read(good, as_version=4).cells[0].outputs[0].text == "fine\n"
    )
    assert runner.main([str(tmp_path / "none.ipynb")]) == 2


@pytest.mark.parametrize(
    "code, why",
    [
        ("def deep(n):\n    return deep(n - 1) if n else 1 / 0\n\ndeep(9)", "ZeroDivisionError: "),
        ("import os, time\nos.write(2, b'noise'); time.sleep(60)", "a cell ran longer than 1 s"),
        ("import os\nos.write(2, b'last words'); os._exit(1)", "the kernel died: is there enough"),
    ],
)
def test_the_reason_of_a_failure_stands_first(tmp_path, capfd, monkeypatch, code, why):
    monkeypatch.setattr(runner, "TIMEOUT", 1)
    assert runner.main([str(lesson(tmp_path / "00_bad.ipynb", code)), "--in-place"]) == 1
    shown = capfd.readouterr()
    _, first, *others = shown.out.splitlines()
    assert first.strip().startswith(why) and shown.err == ""
    assert ("last words" in others[-2]) == ("died" in why)


def test_a_kernels_noise_is_not_shown(tmp_path, capfd):
    path = lesson(tmp_path / "00_good.ipynb", "import os; n = os.write(2, b'noise')")
    assert runner.main([str(path), "--in-place"]) == 0
    assert "noise" not in "".join(capfd.readouterr())


def test_in_place_gives_the_same_bytes_twice(tmp_path):
    path = lesson(tmp_path / "00_good.ipynb", "print('same')")
    assert runner.main([str(path), "--in-place"]) == 0
    first = path.read_bytes()
    assert runner.main([str(path), "--in-place"]) == 0 and path.read_bytes() == first


def test_tables_and_where_results_are_found(tmp_path):
    one = {
        "bleu": 12.345,
        "chrf": 30.0,
        "bleu_ci": [10.0, 14.0],
        "off_target": 0.25,
        "empty": 0.0,
        "n": 8,
    }
    table = pair_table(
        {"before": {"en-de": one, "mean": {"bleu": 12.345, "chrf": 30.0}, "signature": {}}}
    )
    assert (
        "12.3" in table
        and "[10.0, 14.0]" in table
        and "25.0%" in table
        and len(table.split("\n")) == 3
    )
    (tmp_path / "deep").mkdir(parents=True)
    result = {"method": "full", "profile": "tiny-bloom", "mean": {"bleu": 1.0, "chrf": 2.0}}
    (tmp_path / "deep" / "full.json").write_text(json.dumps(result))
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "broken.json").write_text("{")
    assert find_results(tmp_path) == [result] and find_results(tmp_path / "none") == []


def test_a_run_shows_and_keeps_its_results_beside_the_stored_ones(tmp_path, capsys, monkeypatch):
    code = """import json, os, pathlib
result = {
    "method": "zero-shot", "profile": "tiny-bloom", "sentences": 7, "learning_rate": None,
    "mean": {"bleu": 12.34, "chrf": 2.0}}
pathlib.Path(os.environ["LANDER_LITE_RUN"], "one.json").write_text(json.dumps(result))"""
    stored = {
        "method": "full",
        "profile": "tiny-bloom",
        "sentences": 500,
        "mean": {"bleu": 56.78, "chrf": 3.0},
        "learning_rate": 0.1,
    }
    (tmp_path / "data" / "results").mkdir(parents=True)
    (tmp_path / "data" / "results" / "full.json").write_text(json.dumps(stored))
    monkeypatch.setattr(runner, "data_dir", lambda: tmp_path / "data")
    monkeypatch.delenv("LANDER_LITE_RUN", raising=False)
    assert (
        runner.main(
            [str(lesson(tmp_path / "00_one.ipynb", code)), "--output-dir", str(tmp_path / "out")]
        )
        == 0
    )
    for text in (
        capsys.readouterr().out,
        (tmp_path / "out" / "results.md").read_text(encoding="utf-8"),
    ):
        mine, others = text.split(
            "The stored study, data/results (500 test sentences per direction)"
        )
        assert (
            "This run (7 test sentences per direction)" in mine
            and "12.34" in mine
            and "56.78" in others
        )
        assert "zero-shot" not in others and "full" not in mine


def test_saved_pictures_are_smaller_and_look_the_same():
    import base64
    import io

    import numpy as np
    from matplotlib import pyplot as plt
    from PIL import Image

    figure, ax = plt.subplots()
    ax.imshow(np.random.default_rng(0).random((9, 9)))
    ax.plot([0, 8], [0, 8])
    buffer = io.BytesIO()
    figure.savefig(buffer)
    plt.close(figure)
    before = base64.b64encode(buffer.getvalue()).decode()
    after = runner.smaller(before)
    pixels = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB"), float)
        for png in (before, after)
    ]
    assert (
        len(after) < 0.7 * len(before)
        and abs(pixels[0] - pixels[1]).mean() < 1
        and runner.smaller(after) == after
    )
