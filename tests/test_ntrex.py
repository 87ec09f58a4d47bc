"""data/ntrex.py: corpora from a clone of NTREX, split by document."""

import importlib.util
import json

import pytest

from lander_lite import load_corpus
from lander_lite.config import data_dir

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
