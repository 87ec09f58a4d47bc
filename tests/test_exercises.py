"""course/exercises: every exercise of the lessons is whole, its solution passes its check, and a
wrong answer is told what is wrong with it."""

import ast
import re
import statistics
import traceback
from importlib import import_module

import nbformat
import pytest
import torch

from lander_lite import NeuronSets
from lander_lite.config import PACKAGE
from lander_lite.course import exercises
from lander_lite.course.exercises import UNANSWERED, choose, compare, exercise, same
from lander_lite.course.notebooks import execute
from lander_lite.course.solutions import exercises_of, main, solved
from lander_lite.pipeline import write_json

LESSONS = dict.fromkeys(
    ["00", "01", "02", "03", "04", "05", "06", "07", "08", "12"], 5
)  # exercises
LESSONS |= dict.fromkeys(["09", "10", "11"], 4)
NOTEBOOKS = {path.name[:2]: path for path in sorted((PACKAGE.parent / "notebooks").glob("*.ipynb"))}
WRONG = {lesson: import_module(f"wrong_answers.lesson_{lesson}").WRONG for lesson in LESSONS}
LATEX = re.compile(r"\$.*?\$", re.S)


def lesson_of(number):
    return nbformat.read(NOTEBOOKS[number], as_version=4)


WRITTEN = [(lesson, written) for lesson in LESSONS for written in exercises_of(lesson_of(lesson))]
NUMBERS = [written.number for _, written in WRITTEN]
EACH = pytest.mark.parametrize("lesson, written", WRITTEN, ids=NUMBERS)


def check_of(lesson, written):
    """(the check that the cell below an exercise calls, the name of its answer)."""
    called = lesson_of(lesson).cells[written.place + 1].source
    name, answer = re.search(r"= (check_\w+)\((my_\w+)\)$", called).groups()
    assert name.startswith(f"check_{written.number.replace('.', '_')}_")
    return getattr(exercises, name), answer


# ---------------------------------------------------------------- the lessons
@pytest.mark.parametrize("lesson, count", LESSONS.items())
def test_exercises_are_counted_in_their_order(lesson, count):
    numbers = [written.number for number, written in WRITTEN if number == lesson]
    assert numbers == [f"{lesson}.{place}" for place in range(1, count + 1)]
    assert set(WRONG[lesson]) == set(numbers) and 3 <= count <= 5


@EACH
def test_an_exercise_is_whole(lesson, written):
    check, answer = check_of(lesson, written)
    assert written.text.startswith(check.exercise.heading), check.exercise.heading
    assert check.exercise.level in (1, 2, 3)
    hints = re.findall(r"<summary>Hint (\d)</summary>\n\n(.+?)\n\n", written.text, re.S)
    assert [number for number, _ in hints] == ["1", "2", "3"]
    assert written.text.count("<details>") == written.text.count("</details>") == 4
    assert re.findall(r"[.!]", LATEX.sub("", written.why)), "the solution does not say why"
    blank = lesson_of(lesson).cells[written.place].source
    assert re.fullmatch(rf"{answer} = None  # .+", blank), blank


@EACH
def test_unanswered_the_lesson_goes_on_with_a_version_that_is_right(lesson, written, capsys):
    check, _ = check_of(lesson, written)
    own = check(None)
    assert capsys.readouterr().out.startswith("Not answered yet")
    assert check(own) is own and capsys.readouterr().out.startswith("Correct: ")


@EACH
def test_the_solution_passes_its_check(lesson, written, capsys):
    check, answer = check_of(lesson, written)
    names = {}
    for cell in lesson_of(lesson).cells[: written.place]:
        if cell.cell_type == "code" and "%pip" not in cell.source:
            imports = (ast.Import, ast.ImportFrom)
            body = [node for node in ast.parse(cell.source).body if isinstance(node, imports)]
            exec(compile(ast.Module(body, []), "imports", "exec"), names)
    exec(f"import torch\n{written.solution}", names)
    check(names[answer])
    assert capsys.readouterr().out.startswith("Correct: ")


@EACH
def test_wrong_answers_are_told_what_is_wrong(lesson, written):
    check, _ = check_of(lesson, written)
    table = WRONG[lesson][written.number]
    assert len(table) >= 3
    for says, answer in table.items():
        with pytest.raises(AssertionError, match=re.escape(says)):
            check(answer)


@pytest.mark.parametrize("lesson", LESSONS)
def test_the_code_of_a_lesson_is_short(lesson):
    notebook = lesson_of(lesson)
    cells = [cell.source.splitlines() for cell in notebook.cells if cell.cell_type == "code"]
    cells += [written.solution.splitlines() for number, written in WRITTEN if number == lesson]
    assert statistics.median(map(len, cells)) <= 8 and max(map(len, cells)) <= 25
    assert not [line for lines in cells for line in lines if len(line) > 88]


@pytest.mark.parametrize("lesson", LESSONS)
def test_a_lesson_says_what_it_needs_and_closes_its_predictions(lesson):
    notebook = lesson_of(lesson)
    first, texts = notebook.cells[0].source, [cell.source for cell in notebook.cells]
    assert re.search(r"\*\*Prerequisites:\*\* .+ \*\*Time:\*\* about \d+ minutes for you", first)
    asked = next(text for text in texts if text.startswith("## Predict first"))
    answers = re.findall(r"<summary>Your \w+ prediction.*?</details>", "\n".join(texts), re.S)
    assert len(answers) == len(re.findall(r"^\d\. ", asked, re.M)) > 0
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    printed = "\n".join(out.get("text") or out["data"]["text/plain"] for out in outputs)
    for number in re.findall(r"\d+\.\d+", LATEX.sub("", "\n".join(answers))):
        assert number in printed, f"{number} stands in a prediction's answer only"


@pytest.mark.parametrize("lesson", LESSONS)
def test_a_predictions_answer_has_a_number(lesson):
    text = "\n".join(cell.source for cell in lesson_of(lesson).cells)
    for answer in re.findall(r"<summary>Your \w+ prediction.*?</details>", text, re.S):
        names = r"\]\(.*?\)|lesson \d+|[A-Za-z]-?\d+"  # of links, lessons, claims and models
        assert re.search(r"\d", re.sub(names, "", answer.partition("</summary>")[2])), answer


WORDS = {  # how a lesson writes a word of the glossary, where it is not the heading itself
    "FFN neuron": r"neurons?",
    "Nats": r"nats?",
    "Seed": r"seeds?",
    "General and specific": r"language-(?:general|specific)",
    "Adapter": r"adapters?",
    "Catastrophic forgetting": r"(?:catastrophic )?forgetting",
    "Equivalence margin": r"margin",
    "Claim numbers": r"[LSP]\d+",
}
GLOSSARY = (NOTEBOOKS["00"].parent / "GLOSSARY.md").read_text(encoding="utf-8")
TERMS = re.findall(r"^### (.+)\n(?:(?!###)[^#])*?\*Lesson (\d\d)\.\*", GLOSSARY, re.M)
TERM = pytest.mark.parametrize("term, lesson", TERMS, ids=[term for term, _ in TERMS])
EMPHASIS = re.compile(r"(?<!\w)(\*{1,2})(?=\S)([^*\n]+?)(?<=\S)\1(?!\w)")


def prose_of(number):
    """The text cells of a lesson, without formulas and the titles of other lessons."""
    cells = [cell.source for cell in lesson_of(number).cells if cell.cell_type == "markdown"]
    return re.sub(r"\[[^]]*\]\(\w+\.ipynb\)", "", LATEX.sub("", "\n\n".join(cells)))


def word_and_link(term):
    """(how lessons write a term, what follows it where it is linked to the glossary)."""
    word = re.compile(rf"\b{WORDS.get(term, re.escape(term))}\b", re.I)
    return word, f"](GLOSSARY.md#{term.lower().replace(' ', '-')})"


def explains(text, term):
    """Whether a lesson links a term to the glossary, sets it in italics or bold, or says what it is
    or whose."""
    word, link = word_and_link(term)
    says = re.search(rf"{word.pattern}(, the | is | means | \([A-Z])", text, re.I)
    return link in text or bool(says) or any(word.search(x[2]) for x in EMPHASIS.finditer(text))


def test_every_word_of_the_glossary_has_its_lesson():
    assert [term for term, _ in TERMS] == re.findall(r"^### (.+)", GLOSSARY, re.M)


@TERM
def test_a_word_that_comes_before_its_lesson_is_linked_to_the_glossary(term, lesson):
    word, link = word_and_link(term)
    for earlier in (number for number in LESSONS if number < lesson):
        text = prose_of(earlier)
        if found := word.search(text):
            assert text.startswith(link, found.end()), f"{term} in lesson {earlier}"


@TERM
def test_the_lesson_of_a_word_links_or_explains_it(term, lesson):
    assert explains(prose_of(lesson), term), f"{term} in lesson {lesson}"


def test_a_word_that_only_stands_there_is_not_explained():
    assert not explains("We train an adapter and *then* adapters *with LoRA* too.", "Adapter")
    for text in ("[An Adapter](GLOSSARY.md#adapter)", "*adapters*", "An adapter is small."):
        assert explains(text, "Adapter")


# ---------------------------------------------------------------- checks
def test_a_check_shows_the_kind_of_a_mistake_and_not_the_value(capsys):
    @exercise("99.1", 2, 5, own=sum)
    def check(answer):
        mistakes = {"this is the largest": max, "this is the mean": lambda x: sum(x) / len(x)}
        cases = [(([1, 2],), "add them up"), (([1, 4, 4],), "of equal ones")]
        compare(answer, sum, cases, mistakes)
        return "a sum."

    assert check.exercise.heading == "### Exercise 99.1 ●●○ · 5 minutes · "
    assert check(None) is sum and check(sum) is sum
    assert capsys.readouterr().out.splitlines()[1] == "Correct: a sum."
    for answer, says in (
        (max, "this is the largest$"),
        (lambda x: 1.5, "this is the mean$"),
        (lambda x: 7, r"add them up. For \[1, 2\] you gave 7$"),
        (lambda x: sum(set(x)), r"of equal ones. For \[1, 4, 4\] you gave 5$"),
        (lambda x: None, "return"),
        (lambda x: x[9], "add them up: your function raises IndexError"),
        (lambda x: x.pop() + x.pop() + 1, r"For \[1, 2\] you gave 4$"),  # it changed its own list
    ):
        with pytest.raises(AssertionError, match=says) as raised:
            check(answer)
        assert len(list(traceback.walk_tb(raised.tb))) == 2, "the lines of the check are shown too"
    with pytest.raises(AssertionError, match=r"For \[\[0.5, 2\]\] you gave 0.3333$"):
        compare(lambda x: 1 / 3, len, [((torch.tensor([[0.5, 2.0]]),), "no length")], {})


def test_one_of_several_answers():
    choose("b", "b", {"a": "too early"})
    for answer, says in (("a", "^too early$"), ("c", "one of 'a', 'b', not 'c'")):
        with pytest.raises(AssertionError, match=says):
            choose(answer, "b", {"a": "too early"})


def test_answers_may_be_lists_arrays_or_tensors():
    import numpy as np

    assert same(torch.tensor([1.0, 2.0]), (1, 2)) and same(np.array([[1]]), [[1 + 1e-6]])
    assert same({"a": torch.tensor(3)}, {"a": 3}) and same("x", "x")
    for given in ([1, 2, 3], [1, 2.1], [[1, 2]], 1, "12", {"a": 1}, [float("nan"), 2]):
        assert not same(given, [1, 2])


def test_an_unknown_check_is_an_import_error():
    with pytest.raises(ImportError):
        from lander_lite.course.exercises import nothing  # noqa: F401
    assert not hasattr(exercises, "check_00_9_nothing")


# ---------------------------------------------------------------- solved copies
def test_a_solved_copy_holds_the_solutions_and_no_outputs(tmp_path, capsys):
    path, before = NOTEBOOKS["00"], NOTEBOOKS["00"].read_bytes()
    assert main([str(path), "--output-dir", str(tmp_path)]) == 0
    assert capsys.readouterr().out.endswith(f"{path.name}: {LESSONS['00']} exercises solved\n")
    copy, original = nbformat.read(tmp_path / path.name, as_version=4), lesson_of("00")
    nbformat.validate(copy)
    assert len(copy.cells) == len(original.cells) and path.read_bytes() == before
    for written in exercises_of(original):
        original.cells[written.place].source = written.solution
    assert [x.source for x in copy.cells] == [x.source for x in original.cells]
    assert not any(cell.get("outputs") for cell in copy.cells)
    assert solved(path)[0] == copy


@pytest.mark.slow
def test_a_solved_lesson_runs_from_start_to_end(tmp_path):
    path = NOTEBOOKS["10"]  # it trains nothing, so it is the fastest; `make solved` runs them all
    assert main([str(path), "--output-dir", str(tmp_path)]) == 0
    notebook, error = execute(tmp_path / path.name)
    assert error is None, error
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    printed = "\n".join(output.get("text", "") for output in outputs)
    right = re.findall(r"^Correct: ", printed, re.M)
    assert len(right) == LESSONS["10"] and UNANSWERED not in printed


def test_what_can_not_be_solved_is_one_line(tmp_path, capsys):
    cells = [nbformat.v4.new_markdown_cell("no solution"), nbformat.v4.new_code_cell("x = None")]
    cells[1].metadata = {"tags": ["exercise"], "exercise": "99.1"}
    path = tmp_path / "99.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    for output, says in ((tmp_path / "new", "exercise 99.1: it needs"), (tmp_path, "own folder")):
        assert main([str(NOTEBOOKS["00"]), str(path), "--output-dir", str(output)]) == 2
        assert says in (said := capsys.readouterr()).err and said.out == ""
    assert not (tmp_path / "new").exists()
    assert main([str(tmp_path / "no.ipynb"), "--output-dir", str(tmp_path / "new")]) == 2
    assert "no.ipynb" in capsys.readouterr().err


# ---------------------------------------------------------------- for teachers
def test_teachers_read_what_learners_see():
    page = (NOTEBOOKS["00"].parent / "TEACHING.md").read_text(encoding="utf-8")
    assert f"`{UNANSWERED.split('.')[0]}. …`" in page
    named = set(re.findall(r"\b\d\d\.\d\b", page))
    assert {"00.3", "01.1"} <= named <= set(NUMBERS)


# ---------------------------------------------------------------- the project
def test_the_code_of_the_project_works_on_a_small_corpus(tmp_path, monkeypatch, capsys):
    page = (NOTEBOOKS["00"].parent / "PROJECT.md").read_text(encoding="utf-8")
    check, differences, switching = re.findall(r"```python\n(.*?)```", page, re.S)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my-corpus").mkdir()
    for part, thing in {"train": "dog", "test": "cat"}.items():
        row = f"The {thing} sleeps.\tDer Hund schläft.\tIl cane dorme.\n"
        (tmp_path / "my-corpus" / f"{part}.tsv").write_text(f"en\tde\tit\n{row}", encoding="utf-8")
    exec(check, {})
    said = capsys.readouterr().out
    assert "['en', 'de', 'it'] 1 1\ntest rows that are training rows too: 0\n" in said
    texts = {"reference": ["a b c d e", "f g h i"], "after": ["a b c d e", "f g h x"]}
    languages = ["en", "de", "it"]
    own = {language: {7: torch.tensor([i])} for i, language in enumerate(languages)}
    sets = NeuronSets([7], languages, {7: torch.arange(3, 344)}, own, d_ff=344)
    for name, gain in {"chosen-0": 2, "chosen-1": 4, "random-0": 1, "random-1": 1}.items():
        folder = tmp_path / "runs" / "project" / name
        folder.mkdir(parents=True)
        write_json(folder / "results.json", {"after": {"mean": {"bleu": gain}}})
        write_json(folder / "translations.json", {"en-de": texts})
        sets.save(folder / "neurons.safetensors")
    exec(differences, {})
    exec(switching, {})
    said = capsys.readouterr().out
    assert "chosen - random: +2.0 BLEU, over seeds [-10.7, +14.7]" in said
    assert "over test sentences [+0.0, +0.0]" in said
    assert said.count("own language") == 3 and "random 1:" in said
