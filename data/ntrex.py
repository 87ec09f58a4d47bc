"""NTREX-128 (Federmann, Kocmi and Xin 2022, CC BY-SA 4.0), 1,997 news sentences in 128 languages,
as corpora that `load_corpus` reads:

    git clone https://github.com/MicrosoftTranslator/NTREX
    python data/ntrex.py NTREX runs/ntrex

makes runs/ntrex/{train,valid,test}.jsonl, in seven languages, and runs/ntrex/ntrex-128.jsonl. Rows
are split by document: in the order of the SHA-256 of their names, documents go to test until it has
400 rows, then to valid until it has 200, then to train.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections import Counter
from pathlib import Path

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


def to_lines(rows: list[dict]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0; 2 after a message."""
    parser = argparse.ArgumentParser("python data/ntrex.py", description=__doc__.split("\n")[0])
    parser.add_argument("clone", type=Path, help="a clone of MicrosoftTranslator/NTREX")
    parser.add_argument("folder", type=Path, help="where the files go")
    most = "keep rows of at most so many English words in train, valid and test"
    parser.add_argument("--max-words", type=int, default=10**6, metavar="N", help=most)
    options = parser.parse_args(arguments)
    try:
        rows = read_ntrex(options.clone)
    except (OSError, ValueError) as error:
        print(f"ntrex: error: {error}", file=sys.stderr)
        return 2
    write_text(options.folder / "ntrex-128.jsonl", to_lines(rows))
    for part in ("train", "valid", "test"):
        chosen = []
        for row in rows:
            if row["split"] == part:
                sentences = {code: row["translation"][name] for code, name in SEVEN.items()}
                if len(sentences["en"].split()) <= options.max_words:
                    chosen.append({"translation": sentences, "document": row["document"]})
        write_text(options.folder / f"{part}.jsonl", to_lines(chosen))
        print(f"{part}: {len(chosen)} rows")
    return 0


if __name__ == "__main__":
    sys.exit(main())
