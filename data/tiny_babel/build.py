"""Writes the Tiny Babel corpus: `python data/tiny_babel/build.py [--output-dir DIR]`. The same
bytes every time.

train/valid/test.jsonl  {"translation": {language: text}, "constructions": [...]}   multi-parallel, WMT schema
mono.jsonl              {"lang", "text"}                                             per language; af has a twentieth of the others
facts.jsonl             {"lang", "fact", "relation", "prompt", "answer"}             cloze knowledge
No sentence of any language stands in two of the splits, nor in mono; no row of valid or test differs
from a row of train by one content word; no parallel sentence could be of another tense.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
from dataclasses import astuple, fields, is_dataclass, replace
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from grammar import LANGUAGES, Sentence, lexicon, linearizers, translations  # noqa: E402
from sampler import Sampler  # noqa: E402

SPLITS = {
    "test": 500,
    "valid": 500,
    "train": 8000,
}  # drawn in this order, so that a larger train leaves the others as they are
SIMPLE_SHARE = (
    0.1  # of the rows; the rest has at least one construction that the base never saw translated
)
MONO, MONO_AF = 4000, 200
SEED = 20240


# the fields of a tree that hold a content word, or could (a missing adjective counts as one), and
# what goes with the word: its inflection and article
CONTENT = {f: (f,) for f in ("noun", "place")}
CONTENT |= {f: ("modal", "time") for f in ("modal", "time")}  # "must smile", "often smile"
BEFORE = ("adjective", "numeral", "possessor")  # what stands before a noun
CONTENT |= {f: (*BEFORE, "number", "definite") for f in BEFORE}
CONTENT |= {"head": ("head", "number", "definite")}
CONTENT |= {"verb": ("verb", "tense")}


def variants(node, changes: dict[str, list[dict]]):
    """Copies of a tree with one of its parts changed: `changes` names a field that the part has and
    what may be replaced there."""
    for f in fields(node):
        value = getattr(node, f.name)
        if is_dataclass(value):
            for changed in variants(value, changes):
                yield replace(node, **{f.name: changed})
        for change in changes.get(f.name, ()):
            yield replace(node, **{k: v for k, v in change.items() if hasattr(node, k)})


def neighbours(tree: Sentence) -> set[tuple]:
    """The tree with each of its content words blotted out: two trees that share one of these differ
    by one content word at most."""
    blots = {f: [dict.fromkeys(blotted, "*")] for f, blotted in CONTENT.items()}
    return {astuple(v)[:-1] for v in variants(tree, blots)}  # the last field is the tags


def clear(tree: Sentence, texts: dict[str, str]) -> bool:
    """True where every language but Chinese, which has no tenses, says another tense otherwise:
    "they cut the bread" could be past."""
    present_or_past = {"tense": [{"tense": "present"}, {"tense": "past"}]}
    modal = any(c and c.modal for c in (tree.clause, tree.second))  # can and must have one tense
    others = [v for v in variants(tree, present_or_past) if v != tree and not modal]
    said = [translations(v) for v in others]
    return not any(texts[code] == o[code] for o in said for code in texts if code != "zh")


def parallel(seen: set[str]) -> dict[str, list[dict]]:
    """The three splits; adds every text to `seen`."""
    sampler, rng, splits = Sampler(SEED), random.Random(SEED), {}
    near = set()  # the neighbours of what is held out
    for split, size in SPLITS.items():
        rows = splits[split] = []
        while len(rows) < size:
            tree = sampler.simple() if rng.random() < SIMPLE_SHARE else sampler.full()
            texts = translations(tree)
            if not (seen.isdisjoint(texts.values()) and clear(tree, texts)):
                continue
            around = neighbours(tree)
            if split == "train" and not near.isdisjoint(around):
                continue
            if split != "train":
                near |= around
            seen.update(texts.values())
            rows.append({"translation": texts, "constructions": list(tree.constructions)})
    return splits


def mono(seen: set[str]) -> list[dict]:
    """Monolingual text: each language draws its own trees."""
    rows = []
    for i, code in enumerate(LANGUAGES):
        sampler, rng, lin, texts = (
            Sampler(SEED + 1 + i),
            random.Random(SEED + 1 + i),
            linearizers()[code],
            [],
        )
        while len(texts) < (MONO_AF if code == "af" else MONO):
            text = lin.sentence(sampler.simple() if rng.random() < SIMPLE_SHARE else sampler.full())
            if text not in seen:
                seen.add(text)
                texts.append(text)
        rows += [{"lang": code, "text": text} for text in texts]
    return rows


def facts() -> list[dict]:
    """Every fact in every language: capital of a country, country of a capital, continent of a
    country."""
    lex, rows = lexicon(), []
    continent = {
        country: c for c, countries in lex.raw["continent"].items() for country in countries
    }
    known = [
        ("capital", country, city)
        for country, city in zip(lex.raw["country"], lex.raw["city"], strict=True)
    ]
    known += [("country", city, country) for _, country, city in known[:]] + [
        ("continent", c, continent[c]) for c in lex.raw["country"]
    ]
    for relation, subject, answer in known:
        for code, lin in linearizers().items():
            rows.append(
                {
                    "lang": code,
                    "fact": f"{relation}:{subject}",
                    "relation": relation,
                    "prompt": lin.fact(relation, subject),
                    "answer": lin.citation(answer),
                }
            )
    return rows


def write(path: Path, rows: list[dict]) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(
        "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows),
        encoding="utf-8",
        newline="\n",
    )
    os.replace(temporary, path)


def build(folder: Path) -> dict[str, int]:
    """Write all files into `folder`; returns rows per file."""
    folder.mkdir(parents=True, exist_ok=True)
    seen: set[str] = set()
    files = {f"{split}.jsonl": rows for split, rows in parallel(seen).items()}
    files |= {"mono.jsonl": mono(seen), "facts.jsonl": facts()}
    for name, rows in files.items():
        write(folder / name, rows)
    return {name: len(rows) for name, rows in files.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output-dir", type=Path, default=HERE)
    for name, rows in build(parser.parse_args().output_dir).items():
        print(f"{name}: {rows:,} rows")
