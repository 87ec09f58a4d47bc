"""Tiny Babel's abstract syntax: what a sentence means before any language says it, and a sampler of
such meanings.

A `Sentence` is a tree of concepts (`lexicon.yaml`). `languages/<code>.py` turns the same tree into
each language, so the rows of the corpus are translations of each other by construction.
"""

from __future__ import annotations

import functools
import importlib
import random
from dataclasses import dataclass, field, replace
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


# -------------------------------------------------------------------------------------- the sampler
PEOPLE = ("person", "profession")
ANIMATE = (*PEOPLE, "animal")
GOODS = ("food", "food_mass", "drink", "text", "thing", "clothing")
THINGS = ("thing", "clothing", "text")
SIGHTS = (*ANIMATE, "building", "nature", "vehicle", "thing", "text", "clothing")
# verb -> (subject classes, object classes); objects of intransitive verbs are ().
FRAMES = {
    v: (ANIMATE, ())
    for v in ("sleep", "run", "swim", "wait", "fall", "play", "arrive", "come", "rest")
}
FRAMES |= {
    v: (PEOPLE, ())
    for v in ("laugh", "cry", "work", "dance", "sing", "travel", "smile", "leave", "dream")
}
FRAMES |= {
    "see": (ANIMATE, SIGHTS),
    "eat": (ANIMATE, ("food", "food_mass")),
    "drink": (ANIMATE, ("drink",)),
    "read": (PEOPLE, ("text",)),
    "write": (PEOPLE, ("text",)),
    "buy": (PEOPLE, (*GOODS, "vehicle", "building")),
    "sell": (PEOPLE, (*GOODS, "vehicle", "animal")),
    "love": (PEOPLE, (*ANIMATE, "food_mass", "drink", "text", "nature")),
    "know": (PEOPLE, (*PEOPLE, "building", "text")),
    "find": (ANIMATE, (*GOODS, "animal")),
    "hear": (ANIMATE, (*ANIMATE, "vehicle")),
    "help": (PEOPLE, ANIMATE),
    "visit": (PEOPLE, (*PEOPLE, "building", "nature_place")),
    "open": (PEOPLE, ("opening", "box_like", "letter_like")),
    "close": (PEOPLE, ("opening", "box_like")),
    "carry": (PEOPLE, (*THINGS, "food")),
    "wash": (PEOPLE, ("clothing", "dish", "vehicle", "food")),
    "paint": (PEOPLE, (*ANIMATE, "building", "nature")),
    "cook_v": (PEOPLE, ("cooked",)),
    "draw": (PEOPLE, (*ANIMATE, "nature", "building")),
    "lose": (PEOPLE, THINGS),
    "look_for": (ANIMATE, (*ANIMATE, *GOODS)),
    "follow": (ANIMATE, (*ANIMATE, "vehicle")),
    "repair": (PEOPLE, ("vehicle", "machine")),
    "build": (PEOPLE, ("built",)),
    "clean_v": (PEOPLE, ("building", "dish", "opening", "vehicle")),
    "need": (PEOPLE, (*GOODS, "vehicle", "profession")),
    "call": (PEOPLE, PEOPLE),
    "meet": (PEOPLE, PEOPLE),
    "watch": (ANIMATE, (*ANIMATE, "vehicle", "nature")),
    "forget": (PEOPLE, (*THINGS, *PEOPLE)),
    "understand": (PEOPLE, (*PEOPLE, "text")),
    "take": (PEOPLE, (*THINGS, "food")),
    "steal": (PEOPLE, (*THINGS, "food", "vehicle", "animal")),
    "break_v": (PEOPLE, ("fragile",)),
    "cut": (PEOPLE, ("food", "cut_mass")),
    "hide": (ANIMATE, (*THINGS, "food")),
    "bring": (PEOPLE, (*GOODS,)),
    "thank": (PEOPLE, PEOPLE),
}
SUBCLASSES = {  # smaller classes that only some verbs ask for
    "box_like": ("box", "bag", "bottle", "umbrella", "book", "shop", "museum", "library"),
    "letter_like": ("letter", "gift", "newspaper"),
    "dish": ("cup", "plate", "knife", "bottle", "table", "mirror"),
    "cooked": ("egg", "potato", "meat", "rice", "soup", "fish"),
    "machine": ("lamp", "clock", "phone", "computer", "camera", "umbrella", "shoe", "chair"),
    "built": ("house", "school", "hospital", "bridge", "tower", "hotel", "ship", "castle"),
    "fragile": ("cup", "plate", "bottle", "mirror", "lamp", "window", "phone", "clock"),
    "cut_mass": ("bread", "meat", "cheese"),
    "nature_place": ("island", "mountain", "sea", "forest", "river"),
}
NOT_COLOURED = ("nature", "text", "building")
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


class Sampler:
    """Draws meanings. `simple()` uses only constructions whose translation the base models have
    seen; `full()` uses at least one of HELD_BACK as well, which they have read in each language but
    never seen translated."""

    def __init__(self, seed: int, lex: Lexicon | None = None):
        self.rng, self.lex = random.Random(seed), lex or lexicon()
        nouns = self.lex.raw["noun"]
        self.members = {**{c: tuple(m) for c, m in nouns.items()}, **SUBCLASSES}

    def pick(self, items):
        return items[self.rng.randrange(len(items))]

    def chance(self, p: float) -> bool:
        return self.rng.random() < p

    # ---- noun phrases
    def noun(self, classes, avoid: str | None = None) -> str:
        while True:
            pool = self.members[self.pick(classes)]
            noun = self.pick(pool)
            if noun != avoid:
                return noun

    def adjective(self, noun: str, predicate: bool = False) -> str:
        """An adjective that suits the noun. A predicate about a mass noun or a name is chosen the
        same way."""
        adj, cls = self.lex.raw["adjective"], self.lex.noun_class.get(noun, "person")
        if cls in PEOPLE:
            return self.pick(
                adj["person"]
                + (["old"] if noun not in ("child", "boy", "girl") else [])
                + ([] if predicate else ["good"])
            )
        if cls == "animal":
            return self.pick(adj["animal"] + adj["size"] + ["old", "beautiful", "white", "black"])
        if cls in ("food_mass", "drink"):
            return self.pick(["good", "expensive", "cheap"])
        if cls == "food":
            return self.pick(adj["size"] + ["good", "expensive", "cheap", "green"])
        if cls in NOT_COLOURED:
            extra = {"nature": [], "text": ["long", "good"], "building": ["expensive", "clean"]}[
                cls
            ]
            return self.pick(
                adj["size"] + ["old", "beautiful"] + extra + ([] if cls == "nature" else ["new"])
            )
        return self.pick(
            adj["size"]
            + ["old", "new", "beautiful"]
            + adj["colour"]
            + ["expensive", "cheap", "clean", "dirty"]
            + (["heavy"] if cls == "thing" else [])
        )

    def np(
        self,
        classes,
        role: str,
        features=frozenset(),
        avoid: str | None = None,
        main: str | None = None,
    ) -> NP:
        """A noun phrase of one of `classes`; role "subject" or "object". `features` of the sentence
        that land on this phrase; `main` is the verb that its relative clause should not repeat."""
        people = all(c in ANIMATE for c in classes) and any(c in PEOPLE for c in classes)
        plain = not features & {"possessive", "numeral", "relative"}
        if people and plain and role == "subject" and self.chance(0.3):
            return NP(self.pick([c for c in self.lex.raw["pronoun"]]))
        if people and plain and self.chance(0.15):
            return NP(self.pick(self.lex.raw["name"]["m"] + self.lex.raw["name"]["f"]))
        head = self.noun(classes, avoid)
        if head in self.lex.mass:
            features -= {"numeral"}
        mass = head in self.lex.mass
        kin = head in ("king", "queen", "sea")
        number = "sg" if mass or kin or self.chance(0.68) else "pl"
        definite = kin or self.chance(0.62)
        adjective = self.adjective(head) if self.chance(0.3) and not mass else None
        np = NP(head, number, definite, adjective)
        if "relative" in features and self.lex.animate(head):
            np = replace(np, definite=True, adjective=None, relative=self.relative(head, main))
        elif "possessive" in features:
            owner = self.pick(
                self.lex.raw["pronoun"]
                + self.lex.raw["name"]["m"][:2]
                + self.lex.raw["name"]["f"][:2]
            )
            np = replace(np, definite=True, possessor=owner)
        elif "numeral" in features:
            np = replace(
                np, number="pl", definite=False, numeral=self.pick(self.lex.raw["numeral"])
            )
        return np

    def relative(self, head: str, main: str | None) -> Clause:
        cls = self.lex.noun_class[head]
        verb = self.pick(
            [v for v, (subjects, _) in FRAMES.items() if cls in subjects and v != main]
        )
        objects = FRAMES[verb][1]
        obj = self.np_plain(objects, head) if objects else None
        return Clause("verbal", None, verb, obj, tense=self.pick(("present", "present", "past")))

    def np_plain(self, classes, avoid=None) -> NP:
        head = self.noun(classes, avoid)
        fixed = head in self.lex.mass or head in ("king", "queen", "sea")
        return NP(
            head, "sg" if fixed or self.chance(0.75) else "pl", True if fixed else self.chance(0.6)
        )

    # ---- clauses
    def clause(
        self, features: frozenset, tense: str | None = None, subject: NP | None = None
    ) -> Clause:
        """One clause that shows each of `features` it can: negation, future, past, modal, relative,
        coordination, possessive, numeral, existential, adjective, noun, time, place."""
        tense = tense or (
            "future" if "future" in features else "past" if "past" in features else "present"
        )
        negated, modal = "negation" in features, None
        time = self.pick(self.lex.raw["time"][tense]) if "time" in features else None
        place = self.pick(self.lex.raw["place"]) if "place" in features else None
        if "existential" in features:
            place = place or self.pick(self.lex.raw["place"])
            np = self.np(
                ("animal", "person", "profession", "thing"), "object", features & {"numeral"}
            )
            while self.lex.category[np.head] == "name" or np.head in ("king", "queen"):
                np = self.np(
                    ("animal", "person", "profession", "thing"), "object", features & {"numeral"}
                )
            if negated:
                np = replace(np, numeral=None)
            if place == "on_table" and self.lex.noun_class[np.head] != "thing":
                place = "in_garden"
            tense = "past" if tense == "past" else "present"
            return Clause(
                "existential",
                replace(np, definite=False),
                tense=tense,
                negated=negated,
                place=place,
            )
        nominal = features & {"possessive", "numeral", "relative"}
        on_subject = (
            nominal
            if self.chance(0.5) or nominal & {"relative"} or features & {"adjective", "noun"}
            else frozenset()
        )
        if "noun" in features:
            unsuited = self.lex.female | {"child", "boy", "king", "soldier", "thief"}
            people = [c for c in self.lex.raw["noun"]["person"] if c not in unsuited]
            subject = (
                NP(self.pick(self.lex.raw["name"]["m"] + ["he", "i"]))
                if self.chance(0.4) or not nominal & {"possessive"}
                else NP(
                    self.pick(people),
                    possessor=self.pick(self.lex.raw["pronoun"] + ["anna", "paul"]),
                )
            )
            return Clause(
                "noun",
                subject,
                noun=self.pick([p for p in self.lex.raw["noun"]["profession"]]),
                tense=tense,
                negated=negated,
            )
        if "adjective" in features:
            kinds = (
                ANIMATE,
                PEOPLE,
                ("thing", "clothing", "vehicle"),
                ("building", "food", "text"),
            )
            subject = subject or self.np(self.pick(kinds), "subject", on_subject)
            if (
                subject.numeral is None
                and subject.possessor is None
                and self.lex.category[subject.head] == "noun"
            ):
                subject = replace(subject, definite=True)
            predicate = self.adjective(subject.head, predicate=True)
            while predicate == subject.adjective:
                predicate = self.adjective(subject.head, predicate=True)
            return Clause("adjective", subject, adjective=predicate, tense=tense, negated=negated)
        if "modal" in features and tense == "present":
            modal, time = self.pick(self.lex.raw["modal"]), None
        wanted = (
            self.pick(("intransitive", "transitive", "transitive"))
            if not (nominal and not on_subject)
            else "transitive"
        )
        while True:
            verb = self.pick(self.lex.raw["verb"][wanted])
            if subject is not None:
                cls = self.lex.noun_class.get(subject.head, "person")
                if cls not in FRAMES[verb][0]:
                    continue
            if modal and verb in (
                "know",
                "need",
                "love",
                "forget",
                "lose",
                "fall",
                "understand",
                "break_v",
            ):
                continue
            break
        subjects, objects = FRAMES[verb]
        if subject is None:
            if "coordination" in features:
                first = self.np(subjects, "subject")
                while self.lex.category[first.head] == "pronoun":
                    first = self.np(subjects, "subject")
                second = self.np(subjects, "subject", avoid=first.head)
                while self.lex.category[second.head] == "pronoun" or second.head == first.head:
                    second = self.np(subjects, "subject", avoid=first.head)
                subject = Both(replace(first, definite=True), replace(second, definite=True))
            else:
                subject = self.np(subjects, "subject", on_subject, main=verb)
        head = subject.head if isinstance(subject, NP) else None
        obj = None
        if objects:
            obj = self.np(objects, "object", nominal - on_subject, avoid=head)
            while (
                isinstance(subject, Both)
                and obj.head in (subject.first.head, subject.second.head)
                or obj.head == head
            ):
                obj = self.np(objects, "object", nominal - on_subject, avoid=head)
        if place == "on_table":
            place = "in_house"
        if verb in ("leave", "travel", "come"):  # "leaves in the kitchen" reads badly everywhere
            place = None
        return Clause(
            "verbal",
            subject,
            verb,
            obj,
            tense=tense,
            negated=negated,
            modal=modal,
            time=time,
            place=place,
        )

    # ---- sentences
    def simple(self) -> Sentence:
        """Present or past, affirmative: intransitive, transitive, X is ADJ, X is a NOUN; sometimes
        with a time or place adverbial."""
        features = (
            {self.pick(("verbal", "verbal", "verbal", "adjective", "noun"))}
            if self.chance(0.5)
            else {"verbal"}
        )
        features |= {
            f for f, p in (("past", 0.3), ("time", 0.12), ("place", 0.12)) if self.chance(p)
        }
        if {"time", "place"} <= features:
            features -= {"place"}
        return self.tagged(Sentence(self.clause(frozenset(features))))

    def full(self) -> Sentence:
        """A sentence with one to three constructions out of HELD_BACK."""
        while is_simple(s := self._full()):
            pass
        return s

    def _full(self) -> Sentence:
        main = self.pick(HELD_BACK)
        features = {main}
        if main in ("because", "coordination", "question", "future", "modal", "relative"):
            features |= {
                f
                for f, p in (("negation", 0.2), ("possessive", 0.2), ("numeral", 0.12))
                if self.chance(p)
            }
        if main in ("possessive", "numeral", "negation") and self.chance(0.3):
            features |= {self.pick(("question", "future"))}
        if main == "negation" and self.chance(0.3):
            features |= {self.pick(("existential", "noun"))}
        features |= {
            f for f, p in (("past", 0.25), ("time", 0.15), ("place", 0.15)) if self.chance(p)
        }
        if main == "coordination" and self.chance(0.5):
            features = (features - {"coordination"}) | {"and"}
        if (
            self.chance(0.18)
            and main not in ("existential", "modal", "relative", "numeral")
            and "coordination" not in features
        ):
            features |= {"adjective"}
        if features & {"future", "modal", "existential"}:
            features -= {"past"} if "existential" not in features else set()
        if {"time", "place"} <= features:
            features -= {"time"}
        link = "because" if "because" in features else "and" if "and" in features else None
        inner = frozenset(features - {"because", "and", "question"})
        clause = self.clause(inner)
        second = None
        if link:
            clause = replace(clause, time=None)
            mood = self.pick(("verbal", "verbal", "adjective"))
            tense = clause.tense if self.chance(0.7) or clause.tense == "future" else "present"
            second = self.clause(frozenset({mood}), tense=tense)
            if (
                link == "because"
                and self.chance(0.5)
                and isinstance(clause.subject, NP)
                and clause.subject.relative is None
            ):
                head = clause.subject.head
                if self.lex.person(head) and head != "child":
                    third = (
                        "they"
                        if clause.subject.number == "pl"
                        else "she"
                        if head in self.lex.female
                        else "he"
                    )
                    pronoun = head if self.lex.category[head] == "pronoun" else third
                    second = self.clause(frozenset({mood}), tense=tense, subject=NP(pronoun))
        return self.tagged(Sentence(clause, "question" in features and link is None, link, second))

    def tagged(self, s: Sentence) -> Sentence:
        """The same sentence with the names of its constructions, read off the tree (so a tag can't
        be wrong)."""
        return replace(s, constructions=tuple(constructions(s)))


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
