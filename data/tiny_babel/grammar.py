"""Tiny Babel's abstract syntax: what a sentence means before any language says it.

A `Sentence` is a tree of concepts (`lexicon.yaml`), drawn by `sampler.py`. `languages/<code>.py`
turns the same tree into each language, so the rows of the corpus are translations of each other by
construction.
"""

from __future__ import annotations

import functools
import importlib
from dataclasses import dataclass, field
from pathlib import Path

import yaml

HERE = Path(__file__).parent
LANGUAGES = ("en", "de", "it", "fr", "ar", "zh", "af")
TENSES = ("present", "past", "future")
# The forms under which a dictionary lists a word, per category; every language gives each of them.
# Verb forms are third person singular masculine without subject: "sleep", "sleeps", "slept", "will
# sleep".
FORMS = {"noun": ("sg", "pl"), "verb": ("infinitive", "present", "past", "future")}


@dataclass(frozen=True)
class NP:
    """A noun phrase. `head` is a concept of category noun, name or pronoun; names and pronouns take
    no other field."""

    head: str
    number: str = "sg"  # "sg" | "pl"; mass nouns are always "sg"
    definite: bool = True  # ignored where there is a possessor
    adjective: str | None = None
    numeral: str | None = (
        None  # two … ten; then number is "pl" and definite False unless there is a possessor
    )
    possessor: str | None = (
        None  # a pronoun concept ("i" -> my) or a name concept ("anna" -> Anna's)
    )
    relative: Clause | None = (
        # subject relative: a verbal clause with subject None, affirmative, no modal; head definite
        None
    )


@dataclass(frozen=True)
class Both:
    """Two coordinated noun phrases, used as subject only: "the man and the woman". Plural, third
    person."""

    first: NP
    second: NP


@dataclass(frozen=True)
class Clause:
    """One clause. kind: "verbal" (verb, object if transitive), "adjective" ("X is ADJ"), "noun" ("X
    is a NOUN"), "existential" ("there is NP PLACE": subject is an indefinite NP, place is set,
    tense present or past)."""

    kind: str
    subject: NP | Both | None
    verb: str | None = None
    object: NP | None = None
    adjective: str | None = None  # predicate of kind "adjective"
    noun: str | None = (
        None  # predicate of kind "noun": a profession; the subject is one male person
    )
    tense: str = "present"
    negated: bool = False
    modal: str | None = None  # can | must | want; then tense is "present" and kind is "verbal"
    time: str | None = None
    place: str | None = None


@dataclass(frozen=True)
class Sentence:
    """One sentence: a clause, perhaps a yes/no question, perhaps joined to a second clause by "and"
    or "because"."""

    clause: Clause
    question: bool = False
    link: str | None = None  # "and" | "because"
    second: Clause | None = None
    constructions: tuple[str, ...] = field(default=(), compare=False)


# -------------------------------------------------------------------------------------- the lexicon
class Lexicon:
    """Concepts with their categories and classes (`concepts`), and one table of entries per
    language."""

    def __init__(self, path: Path = HERE / "lexicon.yaml"):
        self.tables = yaml.load(
            path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        )
        raw = self.raw = self.tables["concepts"]
        self.noun_class = {c: cls for cls, cs in raw["noun"].items() for c in cs}
        self.category: dict[str, str] = {c: "noun" for c in self.noun_class}
        for group in ("verb", "adjective", "time", "name"):
            self.category |= {c: group for cs in raw[group].values() for c in cs}
        for group in ("modal", "numeral", "pronoun", "place", "country", "city"):
            self.category |= {c: group for c in raw[group]}
        self.category |= {c: "continent" for c in raw["continent"]}
        self.female = set(raw["female"]) | set(raw["name"]["f"]) | {"she"}
        self.mass = set(raw["noun"]["food_mass"]) | set(raw["noun"]["drink"])
        self.transitive = set(raw["verb"]["transitive"])

    def animate(self, concept: str) -> bool:
        """True of people and animals (names and pronouns too)."""
        return self.category[concept] in ("name", "pronoun") or self.noun_class.get(concept) in (
            "person",
            "profession",
            "animal",
        )

    def person(self, concept: str) -> bool:
        """True of people only (names and pronouns too)."""
        return self.category[concept] in ("name", "pronoun") or self.noun_class.get(concept) in (
            "person",
            "profession",
        )

    def entries(self, language: str) -> dict:
        """The table of one language: concept -> whatever that language's linearizer wants to know
        about its word."""
        return self.tables[language]


@functools.cache
def lexicon() -> Lexicon:
    return Lexicon()


class Linearizer:
    """Base of `languages/<code>.py`: says a tree in one language. Subclasses set `code` and fill in
    the four methods."""

    code = ""

    def __init__(self, lex: Lexicon | None = None):
        self.lex = lex or lexicon()
        self.words = self.lex.entries(self.code)

    def sentence(self, s: Sentence) -> str:
        """The whole sentence with capital (where the script has them) and final punctuation."""
        raise NotImplementedError

    def noun_phrase(self, np: NP) -> str:
        """A noun phrase standing alone (nominative, no capital, no full stop): "the big dog", "ein
        alter Mann"."""
        raise NotImplementedError

    def citation(self, concept: str, form: str = "") -> str:
        """A word as a dictionary lists it. `form` is one of FORMS[category] where the category has
        forms, else ""."""
        raise NotImplementedError

    def fact(self, relation: str, subject: str) -> str:
        """The sentence of a fact without its answer and without trailing space or full stop; the
        answer (a citation of a city, country or continent) completes it. Relations: "capital"
        (subject a country: "The capital of France is" -> Paris), "country" (subject a city: "Paris
        is a city in" -> France), "continent" (subject a country: "France is a country in" ->
        Europe).
        """
        raise NotImplementedError


# ------------------------------------------------------------------------------- tags of a sentence
HELD_BACK = (
    "negation",
    "question",
    "future",
    "modal",
    "because",
    "relative",
    "coordination",
    "possessive",
    "numeral",
    "existential",
)


def constructions(s: Sentence) -> list[str]:
    """The constructions that a sentence shows, in a fixed order."""
    clauses = [c for c in (s.clause, s.second) if c]
    nps = [
        np
        for c in clauses
        for x in (c.subject, c.object)
        for np in ((x.first, x.second) if isinstance(x, Both) else (x,))
        if np
    ]
    tags = {
        c.kind if c.kind != "verbal" else "transitive" if c.object else "intransitive"
        for c in clauses
    } | {c.tense for c in clauses}
    tags |= {
        name
        for name, test in {
            "negation": any(c.negated for c in clauses),
            "question": s.question,
            "modal": any(c.modal for c in clauses),
            "because": s.link == "because",
            "coordination": s.link == "and" or any(isinstance(c.subject, Both) for c in clauses),
            "relative": any(n.relative for n in nps),
            "numeral": any(n.numeral for n in nps),
            "possessive": any(n.possessor for n in nps),
            "time": any(c.time for c in clauses),
            "place": any(c.place for c in clauses),
        }.items()
        if test
    }
    order = (
        "intransitive",
        "transitive",
        "adjective",
        "noun",
        "existential",
        "negation",
        "question",
        "present",
        "past",
        "future",
        "modal",
        "because",
        "relative",
        "coordination",
        "numeral",
        "possessive",
        "time",
        "place",
    )
    return [t for t in order if t in tags]


def is_simple(s: Sentence) -> bool:
    """True where the sentence shows none of HELD_BACK."""
    return not set(constructions(s)) & set(HELD_BACK)


@functools.cache
def linearizers() -> dict[str, Linearizer]:
    """One linearizer per language, in the order of LANGUAGES."""
    return {code: importlib.import_module(f"languages.{code}").LINEARIZER() for code in LANGUAGES}


def translations(s: Sentence) -> dict[str, str]:
    """The sentence in every language: {language: text}."""
    return {code: lin.sentence(s) for code, lin in linearizers().items()}
