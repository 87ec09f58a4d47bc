"""Draws meanings: trees of `grammar.py` whose words go together, by the tables of `scenes.py`."""

from __future__ import annotations

import random
from dataclasses import replace

import scenes
from grammar import (
    HELD_BACK,
    NP,
    Both,
    Clause,
    Lexicon,
    Sentence,
    constructions,
    is_simple,
    lexicon,
)


class Sampler:
    """Draws meanings. `simple()` uses only constructions whose translation the base models have
    seen; `full()` uses at least one of HELD_BACK as well, which they have read in each language but
    never seen translated."""

    def __init__(self, seed: int, lex: Lexicon | None = None):
        self.rng, self.lex = random.Random(seed), lex or lexicon()
        nouns = self.lex.raw["noun"]
        self.members = {**{c: tuple(m) for c, m in nouns.items()}, **scenes.SUBCLASSES}
        self.names = self.lex.raw["name"]["m"] + self.lex.raw["name"]["f"]

    def pick(self, items):
        return items[self.rng.randrange(len(items))]

    def chance(self, p: float) -> bool:
        return self.rng.random() < p

    def suits(self, head: str, classes) -> bool:
        """True where a noun, name or pronoun belongs to one of the classes."""
        if self.lex.category[head] != "noun":
            return "person" in classes
        return any(head in self.members[c] for c in classes)

    # ---- noun phrases
    def noun(self, classes, avoid: str | None = None) -> str:
        while (noun := self.pick(self.members[self.pick(classes)])) == avoid:
            pass
        return noun

    def adjectives(self, noun: str, predicate: bool = False) -> list[str]:
        """The adjectives that suit a noun; a name and a pronoun are people."""
        adjective, cls = self.lex.raw["adjective"], self.lex.noun_class.get(noun, "person")
        if cls in scenes.PEOPLE:
            old = [] if noun in scenes.YOUNG else ["old"]
            grand = noun in ("grandmother", "grandfather")
            unfit = {"young"} if grand or not old else {"kind"} if noun == "thief" else set()
            good = ["good"] if cls == "profession" and not predicate else []
            return [a for a in adjective["person"] + old + good if a not in unfit]
        if cls == "animal":
            return [*adjective["animal"], "big", "small", "old", "beautiful", "white", "black"]
        if noun == "sea":
            return ["beautiful"]
        found = [
            a
            for a in scenes.ADJECTIVES.get(cls, (*scenes.THINGS, *scenes.COLOURS))
            if (noun, a) != ("newspaper", "long")
        ]
        found += [
            a for a, nouns in scenes.ADJECTIVES_OF_SOME.items() if noun in nouns and a not in found
        ]
        return found + (["heavy"] if cls == "thing" else [])

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
        people = "person" in classes
        plain = not features & {"possessive", "numeral", "relative"}
        if people and plain and role == "subject" and self.chance(0.3):
            return NP(self.pick(self.lex.raw["pronoun"]))
        if people and plain and self.chance(0.15):
            return NP(self.pick(self.names))
        head = self.noun(classes, avoid)
        np = self.bare(head, singular=0.68, definite=0.62)
        if self.chance(0.3) and head not in self.lex.mass:
            np = replace(np, adjective=self.pick(self.adjectives(head)))
        if "relative" in features and (relative := self.relative(head, main)):
            return replace(np, definite=True, adjective=None, relative=relative)
        if "possessive" in features and head not in scenes.UNOWNED:
            # Italian "l'avvocato felice di Paul" is happy about Paul
            np = replace(np, adjective=None) if np.adjective == "happy" else np
            several = head in scenes.KIN - scenes.UNCOUNTED and self.chance(0.3)
            np = replace(np, number="pl") if several else np
            return replace(np, definite=True, possessor=self.owner())
        uncounted = self.lex.mass | scenes.UNCOUNTED | {"king", "queen", "sea"}
        if "numeral" in features and head not in uncounted:
            numeral = self.pick(self.lex.raw["numeral"])
            return replace(np, number="pl", definite=False, numeral=numeral)
        return np

    def bare(self, head: str, singular: float, definite: float) -> NP:
        """The noun with a number and an article, each with its probability where there is a choice."""
        unique, mass = head in scenes.UNIQUE, head in self.lex.mass
        number = "sg" if mass or unique or self.chance(singular) else "pl"
        number = "pl" if head in scenes.PAIRED else number
        return NP(head, number, unique or self.chance(definite))

    def owner(self) -> str:
        return self.pick(
            [*self.lex.raw["pronoun"], *self.lex.raw["name"]["m"][:2], *self.names[5:7]]
        )

    def relative(self, head: str, main: str | None) -> Clause | None:
        """What a person or an animal does or did; None where there is nothing but `main`."""
        frames = [
            (verb, objects)
            for verb, frames in scenes.FRAMES.items()
            for subjects, objects in frames
            if self.suits(head, subjects) and verb != main and verb not in scenes.ALONE
        ]
        if not frames:
            return None
        verb, objects = self.pick(frames)
        obj = self.bare(self.noun(objects, head), 0.75, 0.6) if objects else None
        obj = replace(obj, definite=True) if verb in scenes.PARTICULAR else obj
        over = scenes.PUNCTUAL | scenes.MOVING  # "the woman who is coming drinks": where?
        tense = "past" if verb in over else self.pick(("present", "present", "past"))
        return Clause("verbal", None, verb, obj, tense=tense)

    # ---- clauses
    def clause(
        self, features: frozenset, tense: str | None = None, subject: NP | None = None
    ) -> Clause:
        """One clause that shows each of `features` it can: negation, future, past, modal, relative,
        coordination, possessive, numeral, existential, adjective, noun, time, place. The subject
        of a question is definite."""
        tense = tense or next((t for t in ("future", "past") if t in features), "present")
        kinds = {
            "existential": self.existential,
            "noun": self.profession,
            "adjective": self.quality,
        }
        kind = next((make for name, make in kinds.items() if name in features), self.verbal)
        while True:
            clause = kind(features, tense, subject)
            clause = replace(clause, negated="negation" in features)
            if features & {"negation", "question"}:
                clause = of_somebody_known(clause, "question" in features)
            elif clause.verb in scenes.STATES:
                clause = replace(clause, subject=known(clause.subject))
            if tense == "past":
                clause = all_past(clause)
            if self.consistent(clause):
                return clause

    def consistent(self, clause: Clause) -> bool:
        """False where the words of a clause exclude each other ("the sad painter laughs")."""
        phrases = (clause.subject, clause.object)
        for np in [p for p in phrases if isinstance(p, NP)]:
            owner = np.possessor
            if owner and any(isinstance(p, NP) and p.head == owner for p in phrases):
                return False  # "Anna sees Anna's dog"
        if isinstance(clause.subject, Both) and clause.object and clause.object.possessor:
            return False  # "two people wash her potato"
        if any(clause.verb in scenes.CLASHES.get(np.adjective, ()) for np in each(clause.subject)):
            return False
        unfit = scenes.CLASHES_WITH_OBJECT.get(clause.verb, ())
        if clause.object and clause.object.adjective in unfit:
            return False
        if not isinstance(clause.subject, NP):
            return True
        adjective = clause.subject.adjective
        relative = clause.subject.relative
        if relative and clause.verb in scenes.ALONE | {relative.verb}:
            return False
        if relative and {relative.verb, clause.verb} <= scenes.MOVING | {"arrive"}:
            return False  # "the dog that arrived comes"
        if relative and relative.object and clause.object:
            if relative.object.head == clause.object.head:
                return False  # "the drivers who found the newspaper do not sell the newspaper"
        duty = clause.modal == "must"  # nobody must steal, and animals have no duties
        if duty and (clause.verb == "steal" or not self.lex.person(clause.subject.head)):
            return False
        if clause.subject.head in scenes.YOUNG and clause.verb in scenes.NOT_BY_THE_YOUNG:
            return False
        pair = {adjective, clause.adjective}
        return len(pair) == 2 and pair not in scenes.OPPOSITES or clause.adjective is None

    def existential(self, features, tense, subject) -> Clause:
        cls = self.pick(("tame", "wild", "person", "profession", "thing", "small"))
        np = self.np((cls,), "object", features & {"numeral"})
        while self.lex.category[np.head] == "name" or np.head in scenes.UNIQUE:
            np = self.np((cls,), "object", features & {"numeral"})
        if "negation" in features:
            np = replace(np, numeral=None)
        place = self.pick(scenes.THERE_IS[cls])
        tense = "past" if tense == "past" else "present"
        return Clause("existential", replace(np, definite=False), tense=tense, place=place)

    def profession(self, features, tense, subject) -> Clause:
        unsuited = self.lex.female | scenes.YOUNG | {"king", "soldier", "thief", "man"}
        people = [c for c in self.lex.raw["noun"]["person"] if c not in unsuited]
        if "possessive" in features or self.chance(0.3):
            subject = NP(self.pick([p for p in people if p != "guest"]), possessor=self.owner())
        else:
            subject = NP(self.pick(self.lex.raw["name"]["m"] + ["he", "i"]))
        return Clause(
            "noun", subject, noun=self.pick(self.lex.raw["noun"]["profession"]), tense=tense
        )

    def quality(self, features, tense, subject) -> Clause:
        kinds = (scenes.ANIMATE, scenes.PEOPLE, ("thing", "clothing", "vehicle"))
        kinds += (("building", "food", "text") if tense != "future" else ("building",),)
        nominal = features & {"possessive", "relative"}
        subject = subject or self.np(self.pick(kinds), "subject", nominal)
        if self.lex.category[subject.head] == "noun" and not subject.possessor:
            subject = replace(subject, definite=True)
        adjective = self.pick(self.adjectives(subject.head, predicate=True))
        unfit = scenes.NOT_OVER if tense == "past" else set()
        unfit = scenes.NOT_TO_COME if tense == "future" else unfit
        while adjective in unfit:
            adjective = self.pick(self.adjectives(subject.head, predicate=True))
        return Clause("adjective", subject, adjective=adjective, tense=tense)

    def verbal(self, features, tense, subject) -> Clause:
        nominal = features & {"possessive", "numeral", "relative"}
        on_subject = nominal if self.chance(0.5) or "relative" in nominal else frozenset()
        modal = (
            self.pick(self.lex.raw["modal"]) if "modal" in features and tense == "present" else None
        )
        unfit = scenes.NO_MODAL if modal else self.unfit(tense)
        verb, subjects, objects = self.frame(unfit, bool(nominal - on_subject), subject)
        if subject is None and "coordination" in features:
            subject = self.two(subjects)
        elif subject is None:
            subject = self.np(subjects, "subject", on_subject, main=verb)
        obj = self.object(verb, subject, objects, nominal - on_subject) if objects else None
        time = place = None
        if "time" in features and not modal and not getattr(subject, "relative", None):
            times = self.times(verb, tense)
            # "will not sleep soon" reads badly everywhere
            time = self.pick([t for t in times if t != "soon" or "negation" not in features])
        # "does not take the orange at home": what is denied?
        placed = "place" in features and not (obj and "negation" in features)
        if placed and (places := self.places(verb, subject, obj)):
            place = self.pick(places)
        return Clause(
            "verbal", subject, verb, obj, tense=tense, modal=modal, time=time, place=place
        )

    def unfit(self, tense: str) -> set[str]:
        """The verbs that a tense does not suit."""
        if tense == "future":
            return scenes.NO_FUTURE
        return scenes.PUNCTUAL if tense == "present" else set()

    def frame(self, unfit: set[str], object_needed: bool, subject: NP | None):
        """A verb that is not unfit, with the classes of its subject and its object; animals' frames
        are as likely as they have classes."""
        transitive = object_needed or self.chance(2 / 3)
        while True:
            verb = self.pick(self.lex.raw["verb"]["transitive" if transitive else "intransitive"])
            if verb in unfit:
                continue
            frames = [
                (subjects, objects)
                for subjects, objects in scenes.FRAMES[verb]
                if subject is None or self.suits(subject.head, subjects)
            ]
            if frames:
                weights = [len(subjects) for subjects, _ in frames]
                return verb, *self.rng.choices(frames, weights)[0]

    def two(self, subjects) -> Both:
        """Two different subjects, neither of them a pronoun."""
        while True:
            pair = [self.np(subjects, "subject") for _ in range(2)]
            heads = {np.head for np in pair}
            if len(heads) == 2 and all(self.lex.category[h] != "pronoun" for h in heads):
                return Both(*(replace(np, definite=True) for np in pair))

    def object(self, verb: str, subject: NP | Both, objects, features) -> NP:
        """An object that is not among the subjects."""
        heads = {np.head for np in each(subject)}
        while True:
            obj = self.np(objects, "object", features)
            too_young = heads & scenes.YOUNG and obj.head in scenes.NOT_FOR_THE_YOUNG
            kind = self.lex.noun_class.get(obj.head)
            if verb in scenes.PARTICULAR or (verb, kind) == ("love", "nature"):
                obj = obj if obj.numeral else replace(obj, definite=True)
            if obj.head not in heads and not too_young and (verb, obj.head) != ("take", "picture"):
                return obj

    def times(self, verb: str, tense: str) -> list[str]:
        """The adverbials of a tense that go with a verb."""
        unfit = set() if verb in scenes.HABITS else set(scenes.FREQUENCY)
        unfit |= {"now", "today"} if verb in scenes.NOT_NOW else set()
        return [t for t in self.lex.raw["time"][tense] if t not in unfit] or [None]

    def places(self, verb: str, subject: NP | Both, obj: NP | None) -> tuple[str, ...]:
        """Where it may happen: people's places by the verb, animals' by the animal."""
        placed = obj and self.lex.noun_class.get(obj.head) in scenes.PLACED
        if placed and verb not in scenes.PLACING:
            return ()
        if isinstance(subject, Both):
            kinds = {self.lex.person(np.head) for np in each(subject)}
            return scenes.WHERE.get(verb, scenes.ANYWHERE) if kinds == {True} else ()
        if self.lex.person(subject.head):
            return scenes.WHERE.get(verb, scenes.ANYWHERE)
        animals = scenes.TAME_PLACES if subject.head in scenes.TAME else scenes.WILD_PLACES
        return tuple(x for x in animals if x in scenes.WHERE.get(verb, animals))

    # ---- sentences
    def simple(self) -> Sentence:
        """Present or past, affirmative: intransitive, transitive, X is ADJ, X is a NOUN; sometimes
        with a time or place adverbial."""
        mood = self.pick(("verbal",) * 3 + ("adjective", "noun")) if self.chance(0.5) else "verbal"
        features = self.some(past=0.3, time=0.12, place=0.12) | {mood}
        if {"time", "place"} <= features:
            features -= {"place"}
        while not is_simple(s := Sentence(self.clause(frozenset(features)))):
            pass  # "X is a NOUN" may have drawn a possessor
        return self.tagged(s)

    def full(self) -> Sentence:
        """A sentence with one to three constructions out of HELD_BACK."""
        while is_simple(s := self._full()) or not self.sensible(s):
            pass
        return s

    def some(self, **chances: float) -> set[str]:
        """The features that a draw with these probabilities gives."""
        return {feature for feature, p in chances.items() if self.chance(p)}

    def sensible(self, s: Sentence) -> bool:
        """One asks about others, not about oneself, and two clauses do not speak of the same noun in other words."""
        if s.question and getattr(s.clause.subject, "head", None) in ("i", "we"):
            return False
        if s.link != "and":
            return True
        if s.clause.kind != s.second.kind:
            return False  # "I am sad, and you call a hunter"
        if getattr(s.second.subject, "head", None) in ("he", "she", "they"):
            return False  # "a hunter reads the message, and he plays": who?
        animate = {self.lex.animate(phrases(c)[0].head) for c in (s.clause, s.second)}
        if s.clause.kind == "adjective" and len(animate) == 2:
            return False  # "she was tired, and the box was red"
        heads = [
            {np.head for np in phrases(c)} & {*self.lex.noun_class} for c in (s.clause, s.second)
        ]
        return not heads[0] & heads[1]

    def _full(self) -> Sentence:
        main = self.pick(HELD_BACK)
        features = {main}
        if main in ("because", "coordination", "question", "future", "modal", "relative"):
            features |= self.some(negation=0.2, possessive=0.2, numeral=0.12)
        if main in ("possessive", "numeral", "negation") and self.chance(0.3):
            features |= {self.pick(("question", "future"))}
        if main == "negation" and self.chance(0.3):
            features |= {self.pick(("existential", "noun"))}
        features |= self.some(past=0.25, time=0.15, place=0.15)
        if main == "because":
            return self.tagged(self.reason(features))
        if main == "coordination" and self.chance(0.5):
            features = (features - {"coordination"}) | {"and"}
        plain = main not in ("existential", "modal", "relative", "numeral")
        if plain and "coordination" not in features and self.chance(0.18):
            features |= {"adjective"}
        if features & {"future", "modal"}:
            features -= {"past"}
        if {"time", "place"} <= features:
            features -= {"time"}
        if "and" not in features:
            clause = self.clause(frozenset(features))
            return self.tagged(Sentence(clause, "question" in features))
        clause = self.clause(frozenset(features - {"and", "time"}))
        second = self.clause(
            frozenset({self.pick(("verbal", "verbal", "adjective"))}), tense=clause.tense
        )
        return self.tagged(Sentence(clause, False, "and", second))

    def reason(self, features: set[str]) -> Sentence:
        """A clause and a cause that can be one, at one time."""
        tense = next((t for t in ("past", "future") if t in features), "present")
        negated = "negation" in features
        unfit = self.unfit(tense)
        effects = [verb for verb, no in scenes.CAUSES if no == negated and verb not in unfit]
        while True:
            clause = self.effect(self.pick(effects), tense, negated, features)
            causes = [self.cause(clause, *cause) for cause in scenes.CAUSES[clause.verb, negated]]
            causes = [cause for cause in causes if cause and self.consistent(cause)]
            if causes and self.consistent(clause):
                return Sentence(clause, False, "because", self.pick(causes))

    def effect(self, verb: str, tense: str, negated: bool, features: set[str]) -> Clause:
        nominal = frozenset(features & {"possessive", "numeral"})
        subject = self.np(scenes.PEOPLE, "subject", nominal)
        objects = next(objects for subjects, objects in scenes.FRAMES[verb] if "person" in subjects)
        obj = self.object(verb, subject, objects, frozenset()) if objects else None
        obj = replace(obj, definite=True) if obj and not obj.numeral else obj
        placed = "place" in features and not (obj and negated)
        places = self.places(verb, subject, obj) if placed else ()
        place = self.pick(places) if places else None
        return Clause("verbal", subject, verb, obj, tense=tense, negated=negated, place=place)

    def cause(self, effect: Clause, of: str, what: str, objects=()) -> Clause | None:
        """The second clause of a reason: what its subject (a pronoun) or its object (said again) is
        or does; None where it does not suit this subject or object."""
        np = self.pronoun(effect.subject) if of == "subject" else said_again(effect.object)
        if np is None:
            return None
        tense = "present" if what == "famous" else effect.tense
        if what in scenes.FRAMES:
            if what in scenes.ONCE and tense != "past":
                return None
            obj = self.bare(self.noun(objects), 0.8, 0.4) if objects else said_again(effect.object)
            if obj is None or obj.head == effect.subject.head:
                return None
            return Clause("verbal", np, what, obj, tense=tense)
        described = effect.subject if of == "subject" else effect.object
        if what not in self.adjectives(described.head) or what == described.adjective:
            return None
        if {what, described.adjective} in scenes.OPPOSITES or (
            of == "object" and described.adjective
        ):
            return None
        return Clause("adjective", np, adjective=what, tense=tense)

    def pronoun(self, np: NP) -> NP | None:
        """The pronoun that stands for a person; None for a child, whose pronoun differs by language."""
        if self.lex.category[np.head] == "pronoun":
            return np
        if np.head == "child" or not self.lex.person(np.head):
            return None
        return NP("they" if np.number == "pl" else "she" if np.head in self.lex.female else "he")

    def tagged(self, s: Sentence) -> Sentence:
        """The same sentence with the names of its constructions, read off the tree (so a tag can't
        be wrong)."""
        return replace(s, constructions=tuple(constructions(s)))


def known(np: NP | Both | None) -> NP | Both | None:
    """The phrase, definite and without a numeral: somebody or something known."""
    return replace(np, definite=True, numeral=None) if isinstance(np, NP) else np


def of_somebody_known(clause: Clause, asked: bool) -> Clause:
    """A clause that is denied or asked, so that it is clear of whom and of what: "a man does not
    sleep", "does she not close two windows?" and "he does not cut a cheap potato" are not."""
    if clause.kind == "existential":
        return clause
    subject, obj = known(clause.subject), clause.object
    if clause.negated and obj and (asked or obj.numeral or obj.adjective):
        obj = known(obj)
    return replace(clause, subject=subject, object=obj)


def all_past(clause: Clause) -> Clause:
    """The clause with its relative in the past too: "the boy who buys a coat left" is stiff."""
    relative = getattr(clause.subject, "relative", None)
    if relative is None:
        return clause
    past = replace(relative, tense="past")
    return replace(clause, subject=replace(clause.subject, relative=past))


def said_again(np: NP | None) -> NP | None:
    """A noun phrase when it is spoken of again: "the dog", "Anna"; an indefinite one is definite now."""
    if np is None or np.relative:
        return None
    return replace(np, definite=True, adjective=None, numeral=None)


def each(np: NP | Both | None) -> tuple[NP, ...]:
    """The noun phrases of a subject or an object: two of a coordinated one."""
    return (np.first, np.second) if isinstance(np, Both) else (np,) if np else ()


def phrases(clause: Clause) -> tuple[NP, ...]:
    """The noun phrases of a clause."""
    return each(clause.subject) + each(clause.object)
