"""The repository as a product: pins, wheel, file sizes, notebook hygiene, the skip ledger, the
offline guard."""

import ast
import importlib.metadata
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from conftest import NetworkError
from IPython.core.inputtransformer2 import TransformerManager

import lander_lite
from lander_lite.course.setup import repository, setup_cell

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PAGES = sorted((ROOT / "notebooks").glob("*.md"))
MODULES = sorted((ROOT / "lander_lite").rglob("*.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
MOST_BYTES = 300 * 1024
MOST_LINES = 440  # of 100 columns; 250 held as much as 350 do when lines were 140 wide


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def lock():
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    return {
        normal(name): version
        for name, version in (
            line.split("==") for line in lines if line and not line.startswith("#")
        )
    }


def declared():
    extras = PROJECT["project"]["optional-dependencies"]
    listed = [
        *PROJECT["project"]["dependencies"],
        *(line for group in extras.values() for line in group),
    ]
    return {normal(re.match(r"[\w.-]+", line)[0]): line for line in listed}


# ---------------------------------------------------------------- versions
EXTRA = {"bitsandbytes", "torchao"}  # every lesson would import them, through PEFT


def test_lock_holds_plain_exact_pins_of_everything_declared():
    pins = lock()
    assert all(re.fullmatch(r"[\w.]+", version) for version in pins.values()), (
        "local versions such as +cpu exist on one machine only"
    )
    assert "lander-lite" not in pins
    assert set(declared()) - EXTRA <= set(pins)


def test_locked_versions_lie_in_the_declared_ranges():
    from packaging.requirements import Requirement

    for name, line in declared().items():
        if name in lock():
            assert Requirement(line).specifier.contains(lock()[name]), (
                f"locked: {name} {lock()[name]}, pyproject.toml: {line}"
            )


def test_conda_environment_pins_what_the_lock_pins():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    pip = next(item for item in environment["dependencies"] if isinstance(item, dict))["pip"]
    pins = {
        normal(re.split(r"\[|==", line)[0]): line.split("==")[1] for line in pip if "==" in line
    }
    assert pins == {name: lock()[name] for name in pins}
    assert set(declared()) - EXTRA <= set(pins)
    assert "-c requirements.lock" in pip and "-e ." in pip


def test_the_locked_versions_are_the_tested_ones():
    wrong = {
        name: (importlib.metadata.version(name), version)
        for name, version in lock().items()
        if importlib.metadata.version(name).split("+")[0] != version
    }
    assert not wrong, f"installed and locked versions differ: {wrong}"


def test_versions_agree():
    assert lander_lite.__version__ == PROJECT["project"]["version"]
    assert (
        yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["version"]
        == PROJECT["project"]["version"]
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built of what is in the clone."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("lander_lite", "data"):
        shutil.copytree(
            ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "work")
        )
    build = "import setuptools.build_meta as b, sys; print(b.build_wheel(sys.argv[1]))"
    subprocess.run(
        [sys.executable, "-c", build, str(folder)], cwd=source, check=True, capture_output=True
    )
    return next(folder.glob("*.whl"))


@pytest.mark.slow
def test_the_wheel_carries_profiles_and_data(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    profiles = {
        f"lander_lite/profiles/{path.name}" for path in ROOT.glob("lander_lite/profiles/*.yaml")
    }
    files = {path.relative_to(ROOT) for path in (ROOT / "data").rglob("*") if path.is_file()}
    kept = {path for path in files if not {"work", "__pycache__"} & {*path.parts}}
    data = {f"lander_lite/{path}" for path in kept if path.suffix != ".py"}  # lessons read these
    assert "lander_lite/page.html" in names and profiles | data <= names, (
        f"missing in the wheel: {sorted((profiles | data) - names)[:5]}"
    )
    assert not [name for name in names if name.startswith(("tests", "notebooks", "data/"))]


def test_every_package_is_in_the_wheel():
    found = {str(path.parent.relative_to(ROOT)).replace("/", ".") for path in MODULES}
    assert {*PROJECT["tool"]["setuptools"]["packages"]} == found | {"lander_lite.data"}


# ---------------------------------------------------------------- code
def test_every_module_file_can_be_read_in_one_sitting():
    long = {
        path.name: count
        for path in MODULES
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > MOST_LINES
    }
    assert MODULES and not long, f"more than {MOST_LINES} lines: {long}"


def test_no_pickle_and_no_remote_code_by_default():
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in (
                "torch.load",
                "pickle.load",
                "pickle.loads",
            ):
                safe = [
                    k
                    for k in node.keywords
                    if k.arg == "weights_only" and getattr(k.value, "value", None) is True
                ]
                assert safe, f"{path.name}, line {node.lineno}: reads a file that can run code"


def test_every_skip_has_a_row_in_the_ledger():
    ledger = (ROOT / "tests" / "SKIPS.md").read_text(encoding="utf-8")
    rows = set(re.findall(r"^\| `([\w./:\[\]-]+)`", ledger, flags=re.M))
    found = set()
    for path in sorted((ROOT / "tests").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                marks = [ast.unparse(mark) for mark in node.decorator_list]
                marks += [
                    ast.unparse(call.func) for call in ast.walk(node) if isinstance(call, ast.Call)
                ]
                if any(
                    re.match(r"pytest\.(mark\.)?(skip|skipif|xfail|importorskip)\b", mark)
                    for mark in marks
                ):
                    found.add(f"{path.relative_to(ROOT / 'tests')}::{node.name}")
    for path in NOTEBOOKS:
        if any(
            "nbval-skip" in cell["metadata"].get("tags", ())
            or "NBVAL_SKIP" in "".join(cell["source"])
            for cell in code_cells(path)
        ):
            found.add(f"notebooks/{path.name}")
    assert found == rows, (
        f"skips without a row: {sorted(found - rows)}; rows without a skip: {sorted(rows - found)}"
    )


def test_the_network_is_closed():
    for connect in (
        lambda: socket.create_connection(("192.0.2.1", 80), timeout=1),
        lambda: socket.getaddrinfo("huggingface.co", 443),
        lambda: socket.socket().connect(("192.0.2.1", 80)),
    ):
        with pytest.raises(NetworkError):
            connect()
    server = socket.create_server(("127.0.0.1", 0))
    socket.create_connection(server.getsockname()).close()  # Jupyter kernels use localhost
    server.close()


# ---------------------------------------------------------------- notebooks
def load(path):
    return json.loads(path.read_text(encoding="utf-8"))


def code_cells(path):
    return [
        cell
        for cell in load(path)["cells"]
        if cell["cell_type"] == "code" and "".join(cell["source"]).strip()
    ]


def tree(cell):
    """A code cell as Python; IPython itself turns magics into calls (a line that starts with % may
    also be a formatted string's)."""
    return ast.parse(TransformerManager().transform_cell("".join(cell["source"])))


def test_lessons_00_to_05_exist():
    assert {f"{i:02}" for i in range(6)} <= {path.name[:2] for path in NOTEBOOKS}


def test_commands_that_install_work_in_every_shell_and_without_an_index():
    """zsh reads [ ] that no quotes protect as a pattern, and the package is on no index."""
    for path in [ROOT / "README.md", *PAGES, *NOTEBOOKS, *MODULES, ROOT / "tests" / "SKIPS.md"]:
        found = re.findall(r"-e \.\[|lander-lite\[", path.read_text("utf-8"))
        assert not found, f"{path.name}: {found}"


def test_the_readme_has_the_repositorys_address_as_soon_as_there_is_one():
    shown = repository() or "no public address yet"
    assert shown in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_setup_cell_is_the_same_everywhere():
    first = {path.name: "".join(code_cells(path)[0]["source"]) for path in NOTEBOOKS}
    others = [name for name, source in first.items() if source != setup_cell(repository())]
    assert first and not others, f"python -m lander_lite.course.setup writes it into {others}"


@pytest.mark.parametrize("address", [None, "https://example.org/someone/lander-lite"])
def test_without_the_package_the_setup_cell_takes_a_wheel_or_the_repository(
    address, tmp_path, monkeypatch
):
    class Shell:
        def run_line_magic(self, name, line):
            raise InterruptedError(f"{name} {line.format(**variables)}")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    variables = {"get_ipython": Shell}
    code = TransformerManager().transform_cell(setup_cell(address))
    error, said = (InterruptedError, address) if address else (ModuleNotFoundError, "`make wheel`")
    with pytest.raises(error, match=said):
        exec(code, variables)
    Path("lander_lite-0.1.0-py3-none-any.whl").touch()
    with pytest.raises(InterruptedError, match="pip install -q lander_lite-0.1.0-py3-none-any.whl"):
        exec(code, variables)


# as in Colab: a kernel that has google.colab and does not find the clone
COLAB = """
import sys
sys.meta_path = [x for x in sys.meta_path if not getattr(x, "__module__", "").startswith("__edit")]
import google.colab
"""


# all lessons take a quarter of an hour: `make colab`
IN_COLAB = NOTEBOOKS if os.environ.get("LANDER_LITE_COLAB") else NOTEBOOKS[:1]


@pytest.mark.slow
@pytest.mark.parametrize("lesson", IN_COLAB, ids=lambda path: path.stem)
def test_a_lesson_runs_with_nothing_but_the_wheel_beside_it(wheel, lesson, tmp_path):
    target, stub = tmp_path / "installed", tmp_path / "stub"
    for folder in (target, stub):
        folder.mkdir()
    (stub / "google" / "colab").mkdir(parents=True)
    (stub / "google" / "colab" / "__init__.py").touch()
    (stub / "sitecustomize.py").write_text(COLAB)
    for path in (lesson, wheel):
        shutil.copy(path, tmp_path)
    paths = os.pathsep.join(map(str, (stub, target)))
    environment = os.environ | {"PYTHONPATH": paths, "PIP_TARGET": str(target)}
    environment |= {"PIP_NO_DEPS": "1", "PIP_NO_INDEX": "1"}
    command = [sys.executable, "-c", "from nbclient.cli import main; main()", "--inplace"]
    done = subprocess.run(
        [*command, lesson.name], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert (target / "lander_lite" / "data" / "tiny_babel" / "test.jsonl").is_file()
    counts = [cell["execution_count"] for cell in code_cells(tmp_path / lesson.name)]
    assert counts == [*range(1, len(counts) + 1)]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_saved_executed_clean_and_small(path):
    notebook, cells = load(path), code_cells(path)
    counts = [cell["execution_count"] for cell in cells]
    assert None not in counts and counts == sorted(counts), (
        "not executed from top to bottom: make notebooks"
    )
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert "widgets" not in notebook["metadata"] and not [
        cell for cell in cells if "execution" in cell["metadata"]
    ]
    assert not [
        output
        for output in outputs
        if "application/vnd.jupyter.widget-view+json" in output.get("data", {})
    ]
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert path.stat().st_size <= MOST_BYTES, (
        f"{path.stat().st_size // 1024} KB: smaller or fewer pictures"
    )
    assert not re.search(r"/home/|/Users/|/root/|/tmp/", path.read_text(encoding="utf-8")), (
        "a path of one machine is in this notebook"
    )


def anchor(heading):
    """GitHub's address of a heading."""
    return re.sub(r"[^\w -]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("path", [*PAGES, *NOTEBOOKS], ids=lambda path: path.name)
def test_links_within_the_course_lead_somewhere(path):
    text = path.read_text(encoding="utf-8")
    if path in NOTEBOOKS:
        cells = [cell for cell in load(path)["cells"] if cell["cell_type"] == "markdown"]
        text = "\n".join("".join(cell["source"]) for cell in cells)
    for name, part in re.findall(r"\]\((?!http)([^)#\s]*)(?:#([^)\s]*))?\)", text):
        target = path.parent / name if name else path
        assert target.exists(), name
        if part:
            headings = re.findall(r"^#+ (.*)", target.read_text(encoding="utf-8"), flags=re.M)
            assert part in map(anchor, headings), f"{name}#{part}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_redefines_nothing_of_the_module(path):
    """A lesson may show the module's code, but not carry a copy that drifts away from it."""
    ours = {
        node.name
        for module in MODULES
        for node in ast.parse(module.read_text(encoding="utf-8")).body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_")
    }
    defined = {
        node.name
        for cell in code_cells(path)
        for node in ast.walk(tree(cell))
        if isinstance(node, (ast.FunctionDef, ast.ClassDef))
    }
    assert not ours & defined, f"defined again: {sorted(ours & defined)}"
