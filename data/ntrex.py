"""NTREX-128 (Federmann, Kocmi and Xin 2022, CC BY-SA 4.0), 1,997 news sentences in 128 languages,
as corpora that `load_corpus` reads:

    git clone https://github.com/MicrosoftTranslator/NTREX
    python data/ntrex.py NTREX runs/ntrex

makes runs/ntrex/{train,valid,test}.jsonl, in seven languages, and runs/ntrex/ntrex-128.jsonl. Rows
are split by document: in the order of the SHA-256 of their names, documents go to test until it has
400 rows, then to valid until it has 200, then to train.

With `--flores PATH` it makes other_domain.jsonl beside them: FLORES-200's devtest part (NLLB Team
2022, CC BY-SA 4.0), encyclopedia sentences in the same languages, on which a study measures a
second domain. PATH is the folder `devtest` of FLORES-200's archive (eng_Latn.devtest, …), or a
corpus that `load_corpus` reads, with this project's codes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections import Counter
from pathlib import Path

from lander_lite import load_corpus
from lander_lite.io import write_text

SOURCE = "newstest2019-src"
# this project's codes, and NTREX's
SEVEN = {
    "en": "eng",
    "de": "deu",
    "it": "ita",
    "fr": "fra",
    "ar": "arb",
    "zh": "zho-CN",
    "af": "afr",
}
FLORES = {  # and FLORES's
    "en": "eng_Latn",
    "de": "deu_Latn",
    "it": "ita_Latn",
    "fr": "fra_Latn",
    "ar": "arb_Arab",
    "zh": "zho_Hans",
    "af": "afr_Latn",
}
PARTS = (("test", 400), ("valid", 200))


def read_lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8-sig").removesuffix("\n").split("\n")


def read_ntrex(clone: Path) -> list[dict]:
    """[{"translation": {code: sentence}, "document", "split"}] of a clone; codes are NTREX's.

    Raises: FileNotFoundError; ValueError for a file of another length.
    """
    documents = read_lines(clone / "DOCUMENT_IDS.tsv")
    files = sorted((clone / "NTREX-128").glob("newstest2019-*.txt"))
    texts = {}
    for path in files:
        kind, code = path.stem.split(".")
        if kind in (SOURCE, "newstest2019-ref"):  # ref-2 is a second translation
            texts[code] = [sentence.strip() for sentence in read_lines(path)]
            if len(texts[code]) != len(documents):
                told = f"{len(texts[code])} lines, but {len(documents)} documents are named"
                raise ValueError(f"{path}: {told}")
    if "eng" not in texts:
        raise FileNotFoundError(f"{clone} holds no NTREX-128/{SOURCE}.eng.txt")
    split, codes = split_documents(documents), sorted(texts)
    rows = []
    for i, document in enumerate(documents):
        translation = {code: texts[code][i] for code in codes}
        rows.append({"translation": translation, "document": document, "split": split[document]})
    return rows


def split_documents(documents: list[str]) -> dict[str, str]:
    """{document: "test", "valid" or "train"}; one name for each row."""
    rows, held, split = Counter(documents), Counter(), {}
    for document in sorted(rows, key=lambda name: hashlib.sha256(name.encode()).hexdigest()):
        open_parts = [part for part, size in PARTS if held[part] < size]
        split[document] = open_parts[0] if open_parts else "train"
        held[split[document]] += rows[document]
    return split


def read_flores(path: Path) -> list[dict]:
    """[{code: sentence}] of FLORES's devtest part, in those of the seven languages that it has.

    Raises: FileNotFoundError; ValueError for files of different lengths, or rows without English.
    """
    if not path.is_dir():
        rows = load_corpus(path)["translation"]
        if not all(row.get("en") for row in rows):
            raise ValueError(f"{path}: each row needs an English sentence ('en')")
        return [{code: row[code] for code in SEVEN if code in row} for row in rows]
    columns = {code: read_lines(path / f"{name}.devtest") for code, name in FLORES.items()}
    lengths = {code: len(column) for code, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"{path}: the files differ in length: {lengths}")
    return [dict(zip(columns, sentences)) for sentences in zip(*columns.values())]


def short(sentences: dict, most: int) -> bool:
    return len(sentences["en"].split()) <= most


def to_lines(rows: list[dict]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0; 2 after a message."""
    parser = argparse.ArgumentParser("python data/ntrex.py", description=__doc__.split("\n")[0])
    parser.add_argument("clone", type=Path, help="a clone of MicrosoftTranslator/NTREX")
    parser.add_argument("folder", type=Path, help="where the files go")
    most = "keep rows of at most so many English words in each part"
    parser.add_argument("--max-words", type=int, default=10**6, metavar="N", help=most)
    parser.add_argument("--flores", type=Path, metavar="PATH", help="for other_domain.jsonl")
    options = parser.parse_args(arguments)
    try:
        rows = read_ntrex(options.clone)
        flores = read_flores(options.flores) if options.flores else []
    except (OSError, ValueError) as error:
        print(f"ntrex: error: {error}", file=sys.stderr)
        return 2
    write_text(options.folder / "ntrex-128.jsonl", to_lines(rows))
    for part in ("train", "valid", "test"):
        chosen = []
        for row in rows:
            if row["split"] == part:
                sentences = {code: row["translation"][name] for code, name in SEVEN.items()}
                if short(sentences, options.max_words):
                    chosen.append({"translation": sentences, "document": row["document"]})
        write_text(options.folder / f"{part}.jsonl", to_lines(chosen))
        print(f"{part}: {len(chosen)} rows")
    if flores:
        chosen = [{"translation": row} for row in flores if short(row, options.max_words)]
        write_text(options.folder / "other_domain.jsonl", to_lines(chosen))
        print(f"other_domain: {len(chosen)} rows")
    return 0


if __name__ == "__main__":
    sys.exit(main())
