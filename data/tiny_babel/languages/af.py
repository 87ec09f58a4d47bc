"""Afrikaans: double negation, verb-second and verb-final order, het ge-, separable verbs,
attributive adjectives."""

from __future__ import annotations

from dataclasses import dataclass

from grammar import NP, Both, Clause, Linearizer, Sentence

SUBJECT, OBJECT, POSSESSIVE = range(3)  # columns of a pronoun's entry
WITHIN_NEGATION = {
    "every_day",
    "often",
    "always",
    "soon",
}  # "nie altyd", but "vandag nie": what the negation is about


@dataclass(frozen=True)
class Verb:
    """The forms of a verb; a separable one has its particle in `particle` and before all forms but
    `finite`."""

    finite: str  # in second place: "maak" (… oop)
    particle: str  # "oop", or ""
    final: str  # finite at the end of a subordinate clause: "oopmaak"
    infinitive: str
    participle: str
    past: str = ""  # "was": one word instead of "het" and a participle
    adjective: str = ""  # "lief" in "is lief vir"
    preposition: str = ""  # the object's: "hou van"

    @classmethod
    def of(cls, entry: str | dict) -> Verb:
        entry = {"v": entry} if isinstance(entry, str) else entry
        stem, particle = entry["v"], entry.get("sep", "")
        return cls(
            stem,
            particle.strip(),
            particle + stem,
            particle + entry.get("inf", stem),
            particle + entry.get("part", "ge" + stem),
            *(entry.get(field, "") for field in ("past", "adj", "prep")),
        )


BE = Verb("is", "", "is", "wees", "", past="was")


class Afrikaans(Linearizer):
    code = "af"

    def __init__(self, lex=None):
        super().__init__(lex)
        self.verbs = {
            c: Verb.of(w) for c, w in self.words.items() if self.lex.category[c] == "verb"
        }
        self.instead = {
            c: Verb.of(self.words[c]["instead"]) for c in self.verbs if "instead" in self.words[c]
        }

    def noun(self, concept: str, number: str = "sg") -> str:
        word = self.words[concept]
        return word if isinstance(word, str) else word[number == "pl"]

    def adjective(self, concept: str, attributive: bool = False) -> str:
        """oud, but "'n ou man"; goed, but "goeie"; most short ones do not change: "groot"."""
        word = self.words[concept]
        return word if isinstance(word, str) else word[attributive]

    # ---- noun phrases
    def np(self, np: NP | Both, case: int = SUBJECT, article: str = "'n") -> str:
        """A noun phrase without its relative clause; `article` is the indefinite one of the
        singular."""
        if isinstance(np, Both):
            return f"{self.np(np.first, case)} en {self.np(np.second, case)}"
        category = self.lex.category[np.head]
        if category == "pronoun":
            return self.words[np.head][case]
        if category == "name":
            return self.words[np.head]
        if np.possessor:
            determiner = self.possessive(np.possessor)
        elif np.numeral:
            determiner = ""
        elif np.definite:
            determiner = "die"
        else:
            bare = np.number == "pl" or np.head in self.lex.mass
            determiner = "" if bare and article == "'n" else article
        numeral = self.words[np.numeral] if np.numeral else ""
        adjective = self.adjective(np.adjective, attributive=True) if np.adjective else ""
        return " ".join(
            w for w in (determiner, numeral, adjective, self.noun(np.head, np.number)) if w
        )

    def possessive(self, owner: str) -> str:
        return (
            self.words[owner][POSSESSIVE]
            if self.lex.category[owner] == "pronoun"
            else f"{self.words[owner]} se"
        )

    def relative(self, np: NP | Both | None) -> str:
        """The relative clause of a phrase, or "": "wat die hond gesien het"."""
        if np is None or isinstance(np, Both) or np.relative is None:
            return ""
        return self.clause(np.relative, "final", subject="wat")

    # ---- clauses
    def verb(self, clause: Clause) -> Verb:
        """The clause's verb, or the one that its entry names for such an object: one "is lief vir"
        people and animals, but "hou van" things."""
        if clause.verb not in self.instead or clause.object is None:
            return self.verbs[clause.verb]
        named = self.words[clause.verb]["instead"]["objects"]
        fits = self.lex.noun_class.get(clause.object.head) in named
        return (self.instead if fits else self.verbs)[clause.verb]

    def verb_group(self, clause: Clause) -> tuple[str, str, str]:
        """The finite verb, what stands at the end of a main clause, and both together as a
        subordinate clause ends with them."""
        verb = self.verb(clause) if clause.kind == "verbal" else BE
        if clause.modal or clause.tense == "future":
            # a negated "must" forbids: mag nie
            finite = (
                "sal"
                if not clause.modal
                else "mag"
                if clause.modal == "must" and clause.negated
                else self.words[clause.modal]
            )
            *before, last = verb.infinitive.split()  # sal oopmaak, but: nodig sal hê
            return finite, verb.infinitive, " ".join((*before, finite, last))
        if clause.tense == "past" and verb.past:
            return verb.past, "", verb.past
        if clause.tense == "past":
            return "het", verb.participle, f"{verb.participle} het"
        return verb.finite, verb.particle, verb.final

    def clause(self, clause: Clause, order: str = "second", subject: str | None = None) -> str:
        """One clause without capital and full stop; order: the finite verb comes "second", "first"
        (question) or "final"."""
        finite, end, both = self.verb_group(clause)
        if clause.kind == "existential":
            subject = "daar"
        elif subject is None:
            subject = self.np(clause.subject)
            if relative := self.relative(clause.subject):
                # the comma parts the two verbs: "die man wat sing, slaap"
                subject = f"{subject} {relative},"
        place = self.words[clause.place] if clause.place else ""
        time = self.words[clause.time] if clause.time else ""
        core, extraposed = "", ""
        if clause.kind == "adjective":
            core = self.adjective(clause.adjective)
        elif clause.kind == "noun":
            core = f"'n {self.noun(clause.noun)}"
        elif clause.kind == "existential":
            core, extraposed = (
                self.np(clause.subject, article="geen" if clause.negated else "'n"),
                self.relative(clause.subject),
            )
        elif clause.object:
            verb = self.verb(clause)
            words = (verb.adjective, verb.preposition, self.np(clause.object, OBJECT))
            core, extraposed = " ".join(w for w in words if w), self.relative(clause.object)
        # an object's relative clause follows the last verb, and a place then precedes the object,
        # so as not to part the two
        middle = [place, core] if extraposed else [core, place]
        # the first "nie" stands before all that it denies; adverbs of the moment stay outside
        first_nie = "nie" if clause.negated and clause.kind != "existential" else ""
        middle = (
            [first_nie, time, *middle]
            if clause.time in WITHIN_NEGATION
            else [time, first_nie, *middle]
        )
        if (
            clause.object
            and self.lex.category[clause.object.head] != "noun"
            and not self.verb(clause).preposition
        ):  # a pronoun or a name stands before all of it: "hy sien Anna nie"
            middle = [core, *(w for w in middle if w != core)]
        before = {"second": [subject, finite], "first": [finite, subject], "final": [subject]}[
            order
        ]
        words = [w for w in (*before, *middle, both if order == "final" else end, extraposed) if w]
        if (
            clause.negated and words[-1] != "nie"
        ):  # "hy slaap nie": the second is not said right after the first
            words.append("nie")
        return " ".join(words)

    # ---- what the base class asks for
    def sentence(self, s: Sentence) -> str:
        text = self.clause(s.clause, "first" if s.question else "second")
        if s.link == "and":
            text += f" en {self.clause(s.second)}"
        elif s.link == "because":
            # the comma keeps the reason outside the negation
            text += f"{',' if s.clause.negated else ''} omdat {self.clause(s.second, 'final')}"
        # 'n is never a capital, the word after it is: "'n Man …"
        at = 3 if text.startswith("'n ") else 0
        return text[:at] + text[at].upper() + text[at + 1 :] + ("?" if s.question else ".")

    def noun_phrase(self, np: NP) -> str:
        return " ".join(w for w in (self.np(np), self.relative(np)) if w)

    def citation(self, concept: str, form: str = "") -> str:
        category = self.lex.category[concept]
        if category == "noun":
            return self.noun(concept, form)
        if category == "verb":
            if form == "infinitive":
                finite, end = "", self.verbs[concept].infinitive
            else:
                finite, end, _ = self.verb_group(Clause("verbal", None, concept, tense=form))
            return " ".join(w for w in (finite, self.verbs[concept].adjective, end) if w)
        if category == "adjective":
            return self.adjective(concept)
        return self.words[concept][SUBJECT] if category == "pronoun" else self.words[concept]

    def fact(self, relation: str, subject: str) -> str:
        name = self.words[subject]
        pattern = {
            "capital": "Die hoofstad van {} is",
            "country": "{} is 'n stad in",
            "continent": "{} is 'n land in",
        }[relation]
        return pattern.format(name)


LINEARIZER = Afrikaans
