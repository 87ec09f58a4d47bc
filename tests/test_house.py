"""The house: who imports whom, what can be taken away, how dense and how long the code is."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from density import PACKAGE, core, density

import lander_lite

ROOT = PACKAGE.parent
FILES = sorted(PACKAGE.rglob("*.py"))
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
TINY = {
    "corpus.languages": "en,de",
    "layers.max_sentences": 4,
    "awareness.max_sentences": 4,
    "finetune.updates": 2,
    "finetune.batch_size": 2,
    "finetune.rows_per_pair": 4,
    "finetune.progress": "false",
    "evaluate.max_sentences": 2,
    "evaluate.max_new_tokens": 8,
    "evaluate.bootstrap": 5,
}


@pytest.fixture
def copy(tmp_path):
    """A copy of the package, to be changed, with the data beside it."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACKAGE, tmp_path / "lander_lite", ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "data").symlink_to(ROOT / "data")
    (tmp_path / "sitecustomize.py").write_text(NOT_FROM_THE_CLONE)
    return tmp_path


# an editable installation finds in the clone what a copy of the package lacks
NOT_FROM_THE_CLONE = """
import sys
sys.meta_path = [x for x in sys.meta_path if not getattr(x, "__module__", "").startswith("__edit")]
"""


def python(*arguments, cwd=ROOT):
    """A Python process that finds the package in `cwd`; its result."""
    environment = os.environ | {"PYTHONPATH": str(cwd), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


# ---------------------------------------------------------------- who imports whom
def lint_imports(folder):
    code = "import sys; from importlinter.cli import lint_imports_command as c; c(sys.argv[1:])"
    return python("-c", code, "--no-cache", "--no-logo", cwd=folder)


def test_imports_go_downwards(copy):
    done = lint_imports(copy)
    assert done.returncode == 0 and "1 kept, 0 broken" in done.stdout, done.stdout


@pytest.mark.parametrize(
    "file, line, broken",
    [
        ("blocks.py", "from .probes import switching", "blocks is not allowed to import"),
        ("config.py", "from .tuner import config", "config is not allowed to import"),
        ("training/kl.py", "from ..neighbours import lape", "training is not allowed to import"),
        ("probes/gates.py", "from ..reproduction import lab", "probes is not allowed to import"),
        ("reproduction/lab.py", "from ..course import plots", "reproduction is not allowed"),
        ("new.py", "from . import io", "not listed as layers"),
    ],
)
def test_a_planted_import_upwards_is_found(copy, file, line, broken):
    path = copy / "lander_lite" / file
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    path.write_text(f"{text}\n\ndef planted():\n    {line}\n", encoding="utf-8")
    done = lint_imports(copy)
    shown = " ".join(done.stdout.split())
    assert done.returncode == 1 and broken in shown, shown


@pytest.mark.slow
def test_the_command_line_reaches_for_reproduction_only_where_a_step_needs_it():
    code = "import lander_lite.cli, lander_lite.pipeline, sys; print(*sys.modules)"
    loaded = python("-c", code).stdout.split()
    lower = ("reproduction", "course", "probes", "neighbours", "scale")
    assert "lander_lite.pipeline" in loaded
    assert not [
        name for name in loaded if name.startswith(tuple(f"lander_lite.{x}" for x in lower))
    ]


@pytest.mark.slow
def test_without_reproduction_and_course_the_module_works(copy):
    for name in ("reproduction", "course"):
        shutil.rmtree(copy / "lander_lite" / name)
    settings = [word for key, value in TINY.items() for word in ("--set", f"{key}={value}")]
    arguments = ["--profile", "tiny-bloom", "--pairs", "en-de,de-en", "--output-dir", "run"]
    done = python("-m", "lander_lite", "run", *arguments, *settings, cwd=copy)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "before BLEU" in done.stdout and "after BLEU" in done.stdout
    assert "en-de" in done.stdout and "mean" in done.stdout
    results = json.loads((copy / "run" / "results.json").read_text(encoding="utf-8"))
    assert results["after"]["de-en"]["n"] == 2
    done = python("-m", "lander_lite", "plan", *arguments[:2], "--method", "lora", cwd=copy)
    assert done.returncode == 2 and done.stderr.endswith("; there are landermt\n")


# ---------------------------------------------------------------- python -OO
def test_the_command_line_helps_without_docstrings():
    done = python("-OO", "-m", "lander_lite", "--help")
    plain = python("-m", "lander_lite", "--help")
    assert done.returncode == 0 and done.stdout == plain.stdout
    assert "categorize" in done.stdout and "--output-dir" in done.stdout


# transformers and PEFT need their own docstrings to be imported, so only ours are left out
WITHOUT_OUR_DOCSTRINGS = """
from importlib.machinery import SourceFileLoader as Loader
plain = Loader.get_code
def get_code(self, name):
    if name.split(".")[0] != "lander_lite":
        return plain(self, name)
    path = self.get_filename(name)
    return compile(self.get_data(path), path, "exec", dont_inherit=True, optimize=2)
Loader.get_code = get_code
import lander_lite.config
assert lander_lite.config.__doc__ is None
"""
SCORECARD = """
from lander_lite.config import data_dir
from lander_lite.reproduction.analyses import ANALYSES
from lander_lite.reproduction.scorecard import as_markdown, scorecard
print(*[f"{name}: {analysis.about}" for name, analysis in ANALYSES.items()], sep="\\n")
rows = scorecard(data_dir() / "nothing")
print(*[row.rule for row in rows], as_markdown(rows), sep="\\n")
"""


@pytest.mark.slow
def test_rules_of_claims_and_analyses_are_no_docstrings():
    without = python("-c", WITHOUT_OUR_DOCSTRINGS + SCORECARD)
    assert without.returncode == 0, without.stderr[-2000:]
    assert without.stdout == python("-c", SCORECARD).stdout and len(without.stdout) > 10000


def test_the_package_reads_no_docstring():
    readers = [path.name for path in FILES if "__doc__" in path.read_text(encoding="utf-8")]
    assert not readers


# ---------------------------------------------------------------- names
def test_no_module_at_the_top_is_called_as_a_public_function_or_as_data():
    modules = {path.stem for path in core()} | {path.parent.name for path in FILES} - {PACKAGE.name}
    assert "config" in modules and not modules & {*lander_lite.__all__, "data"}


# ---------------------------------------------------------------- dense and long
def test_the_code_is_not_dense():
    assert density(core()) <= 11 and density(FILES) <= 12


def functions():
    """(file, function) for every function of the package."""
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, FUNCTIONS):
                yield path.relative_to(PACKAGE), node


def test_a_function_fits_a_screen():
    sizes = {f"{path}:{f.name}": f.end_lineno - f.lineno + 1 for path, f in functions()}
    assert sizes and not {name: size for name, size in sizes.items() if size > 60}


def depth(node):
    """How deep comprehensions are nested in a syntax tree."""
    below = max((depth(child) for child in ast.iter_child_nodes(node)), default=0)
    return below + isinstance(node, COMPREHENSIONS)


def test_comprehensions_are_nested_twice_at_most():
    deep = {str(path): depth(ast.parse(path.read_text(encoding="utf-8"))) for path in FILES}
    assert not {name: found for name, found in deep.items() if found > 2}


def test_detect_score_and_categorize_are_few_files():
    """What one has to read to know how layers and neurons are found and split."""
    code = """
import sys, lander_lite.layers, lander_lite.awareness, lander_lite.neurons
files = {m.__file__ for n, m in sys.modules.items() if n.split(".")[0] == "lander_lite"}
print(*files, sep="\\n")
"""
    files = [Path(name) for name in python("-c", code).stdout.splitlines()]
    count = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files)
    assert PACKAGE / "layers.py" in files
    assert len(files) <= 12 and count <= 2000, (count, sorted(files))


def test_threads_of_torch_do_not_spin_on_a_busy_machine():
    """Measured with a neighbour on two cores: a translation in .75 s, where it took 10.9."""
    code = "import lander_lite, os; print(os.environ['GOMP_SPINCOUNT'])"
    assert python("-c", code).stdout == "10000\n"
