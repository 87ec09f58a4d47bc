"""data/ntrex.py: corpora from a clone of NTREX, split by document."""

import importlib.util
import json

import pytest

from lander_lite import load_corpus
from lander_lite.config import data_dir
from lander_lite.reproduction.lab import other_domain_beside

spec = importlib.util.spec_from_file_location("ntrex", data_dir() / "ntrex.py")
ntrex = importlib.util.module_from_spec(spec)
spec.loader.exec_module(ntrex)


@pytest.fixture
def clone(tmp_path):
    """130 documents of six rows, in the form of the public repository."""
    documents = [f"d{i // 6}" for i in range(780)]
    folder = tmp_path / "NTREX" / "NTREX-128"
    folder.mkdir(parents=True)
    (folder.parent / "DOCUMENT_IDS.tsv").write_text("\n".join(documents) + "\n")
    for code in ntrex.SEVEN.values():
        kind = "src" if code == "eng" else "ref"
        lines = [f"{code} {i}" for i in range(780)]
        (folder / f"newstest2019-{kind}.{code}.txt").write_text("\n".join(lines) + "\n")
    (folder / "newstest2019-ref-2.deu.txt").write_text("another\n" * 780)
    return folder.parent


def test_parts_are_whole_documents_in_this_projects_codes(clone, tmp_path):
    assert ntrex.main([str(clone), str(tmp_path / "out")]) == 0
    parts = {part: load_corpus(tmp_path / "out", split=part) for part in ("train", "valid", "test")}
    assert {part: len(rows) for part, rows in parts.items()} == {
        "test": 402,  # the first multiples of six from 400 and 200 on
        "valid": 204,
        "train": 174,
    }
    held = [set(rows["document"]) for rows in parts.values()]
    assert not (held[0] & held[1] or held[0] & held[2] or held[1] & held[2])
    row = parts["train"]["translation"][0]
    assert list(row) == list(ntrex.SEVEN) and len({text.split()[1] for text in row.values()}) == 1
    assert row["de"].startswith("deu ") and row["zh"].startswith("zho-CN ")
    lines = (tmp_path / "out" / "ntrex-128.jsonl").read_text().splitlines()
    assert len(lines) == 780 and set(json.loads(lines[0])) == {"translation", "document", "split"}


def test_short_rows_are_chosen_by_their_english_words(clone, tmp_path):
    path = clone / "NTREX-128" / "newstest2019-src.eng.txt"
    lines = path.read_text().splitlines()
    path.write_text("".join(f"{x}{' long' * (i % 2)}\n" for i, x in enumerate(lines)))
    assert ntrex.main([str(clone), str(tmp_path / "out"), "--max-words", "2"]) == 0
    train = load_corpus(tmp_path / "out", split="train")
    assert len(train) == 87 and all(len(row["en"].split()) == 2 for row in train["translation"])


@pytest.fixture(params=["archive", "jsonl"])
def flores(request, tmp_path):
    """Three sentences as FLORES's archive has them, or as rows; the second is longer."""
    texts = {code: [f"{code} {i}{' long' * (i == 1)}" for i in range(3)] for code in ntrex.FLORES}
    if request.param == "archive":
        folder = tmp_path / "devtest"
        folder.mkdir()
        for code, lines in texts.items():
            (folder / f"{ntrex.FLORES[code]}.devtest").write_text("\n".join(lines) + "\n")
        return folder
    rows = [{"translation": dict(zip(texts, row)) | {"xx": "x"}} for row in zip(*texts.values())]
    path = tmp_path / "flores.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_flores_becomes_the_other_domain_of_a_study(clone, flores, tmp_path):
    out = tmp_path / "out"
    options = [str(clone), str(out), "--flores", str(flores), "--max-words", "2"]
    assert ntrex.main(options) == 0
    rows = other_domain_beside(out / "train.jsonl")["translation"][:]
    assert rows == [{code: f"{code} {i}" for code in ntrex.SEVEN} for i in (0, 2)]
    assert ntrex.main([str(clone), str(tmp_path / "two")]) == 0
    assert other_domain_beside(tmp_path / "two" / "train.jsonl") is None


def test_what_is_wrong_with_flores_is_one_line(clone, flores, tmp_path, capsys):
    if flores.is_dir():
        (flores / "deu_Latn.devtest").write_text("one line\n")
        fault = "the files differ in length"
    else:
        flores.write_text("{oops\n")
        fault = "line 1: not valid JSON"
    german = tmp_path / "german.jsonl"
    german.write_text(json.dumps({"translation": {"de": "a", "fr": "b"}}) + "\n")
    faults = {flores: fault, german: "needs an English", tmp_path / "none.jsonl": "none.jsonl"}
    for path, told in faults.items():
        assert ntrex.main([str(clone), str(tmp_path / "out"), "--flores", str(path)]) == 2
        error = capsys.readouterr().err
        assert told in error and error.count("\n") == 1 and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "name, text, fault",
    [
        ("DOCUMENT_IDS.tsv", None, "DOCUMENT_IDS.tsv"),
        ("NTREX-128/newstest2019-src.eng.txt", None, "holds no NTREX-128/newstest2019-src.eng.txt"),
        ("NTREX-128/newstest2019-ref.deu.txt", "short\n", "deu.txt: 1 lines, but 780 documents"),
    ],
)
def test_what_is_wrong_with_a_clone_is_one_line(clone, tmp_path, capsys, name, text, fault):
    path = clone / name
    path.write_text(text) if text else path.unlink()
    assert ntrex.main([str(clone), str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert fault in error and error.count("\n") == 1 and not (tmp_path / "out").exists()
