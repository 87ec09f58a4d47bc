"""German: three genders, case, three adjective declensions, the verb second in main clauses and
last in subordinate ones."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from grammar import NP, Both, Clause, Linearizer, Sentence

# Endings by case and then gender; the plural ("p") has no genders.
DER = {
    "nom": {"m": "der", "f": "die", "n": "das", "p": "die"},
    "acc": {"m": "den", "f": "die", "n": "das", "p": "die"},
    "dat": {"m": "dem", "f": "der", "n": "dem", "p": "den"},
}
EIN = {
    "nom": {"m": "", "f": "e", "n": "", "p": "e"},
    "acc": {"m": "en", "f": "e", "n": "", "p": "e"},
    "dat": {"m": "em", "f": "er", "n": "em", "p": "en"},
}  # ein, kein, mein, …
STRONG = {
    "nom": {"m": "er", "f": "e", "n": "es", "p": "e"},
    "acc": {"m": "en", "f": "e", "n": "es", "p": "e"},
    "dat": {"m": "em", "f": "er", "n": "em", "p": "en"},
}  # after nothing, a numeral or "Annas"
WEAK = {
    "nom": {"m": "e", "f": "e", "n": "e", "p": "en"},
    "acc": {"m": "en", "f": "e", "n": "e", "p": "en"},
    "dat": dict.fromkeys("mfnp", "en"),
}  # after der
MIXED = {
    "nom": {"m": "er", "f": "e", "n": "es", "p": "en"},
    "acc": {"m": "en", "f": "e", "n": "es", "p": "en"},
    "dat": dict.fromkeys("mfnp", "en"),
}  # after ein, kein, mein
# Verb forms are lists: ich, du, er/sie/es, plural (wir and sie have the same form).
HAVE, WILL = ("habe", "hast", "hat", "haben"), ("werde", "wirst", "wird", "werden")
BE, WAS = ("bin", "bist", "ist", "sind"), ("war", "warst", "war", "waren")
# Adverbials that "nicht" precedes (it says "not often"); the others precede "nicht" ("gestern
# nicht").
SCOPED = {"often", "always", "every_day", "soon"}


class Verb(NamedTuple):
    """A verb's forms: `present` four of them without the separable prefix; the infinitive and
    participle have it."""

    present: tuple[str, ...]
    infinitive: str
    participle: str
    prefix: str
    auxiliary: tuple[str, ...]
    case: str
    reflexive: bool
    past: tuple[str, ...]  # Präteritum, where the verb prefers it to the Perfekt


class Parts(NamedTuple):
    """A clause before word order: what stands first, the finite verb with its prefix, the middle,
    and the non-finite end."""

    first: str
    finite: str
    prefix: str
    middle: list[str]
    end: str
    relative: str  # a relative clause of the object goes to the very end


def conjugate(entry: dict) -> Verb:
    infinitive, prefix = entry["n"], entry.get("pre", "")
    stem = infinitive[:-2] if infinitive.endswith("en") else infinitive[:-1]
    e = "e" if stem[-1] in "td" or stem.endswith(("ffn", "chn")) else ""  # du wartest, er öffnet
    du = stem + ("t" if stem[-1] in "sßzx" else e + "st")  # du tanzt
    ich = stem[:-2] + "le" if infinitive.endswith("eln") else stem + "e"  # ich lächle
    past = entry.get("past", "")
    present = (ich, entry.get("du", du), entry.get("er", stem + e + "t"), infinitive)
    return Verb(
        present,
        prefix + infinitive,
        entry["ptcp"],
        prefix,
        BE if entry.get("be") else HAVE,
        "dat" if entry.get("dat") else "acc",
        entry.get("refl", False),
        (past, past + "st", past, past + "n") if past else (),
    )


def decline(entry: dict) -> dict[str, dict[str, str]]:
    """Noun forms by number and case."""
    singular, plural = entry["n"], entry.get("pl", entry["n"])
    oblique = entry.get("weak", singular)
    dative = plural if plural[-1] in "ns" else plural + "n"  # den Hunden, but den Frauen, den Autos
    return {
        "sg": {"nom": singular, "acc": oblique, "dat": oblique},
        "pl": {"nom": plural, "acc": plural, "dat": dative},
    }


def finish(text: str, mark: str = "") -> str:
    """Settles the commas around relative clauses, which both want one at their end and lose it
    before a full stop."""
    text = text.replace(" ,", ",").replace(",,", ",").rstrip(",")
    return text[0].upper() + text[1:] + mark if mark else text


class German(Linearizer):
    code = "de"

    def __init__(self, lex=None):
        super().__init__(lex)
        category = self.lex.category
        self.nouns = {c: decline(w) for c, w in self.words.items() if category[c] == "noun"}
        self.verbs = {c: conjugate(w) for c, w in self.words.items() if category[c] == "verb"}
        self.instead = {
            c: conjugate(self.words[c]["instead"]) for c in self.verbs if "instead" in self.words[c]
        }
        self.stems = {
            c: w if isinstance(w, str) else w[1]
            for c, w in self.words.items()
            if category[c] == "adjective"
        }

    # ---- the noun phrase
    def core(self, np: NP, case: str, negated: bool = False) -> str:
        """A noun phrase without its relative clause; `negated` makes an indefinite one "kein …" or
        "nicht drei …"."""
        category = self.lex.category[np.head]
        if category != "noun":
            return self.word(np.head)
        gender = "p" if np.number == "pl" else self.words[np.head]["g"]
        declension, words = STRONG, []
        if np.possessor and self.lex.category[np.possessor] == "pronoun":
            declension, words = MIXED, [self.words[np.possessor]["poss"] + EIN[case][gender]]
        elif np.possessor:  # Annas Hund, Thomas' Hund
            name = self.words[np.possessor]
            words = [name + ("'" if name[-1] in "sßzx" else "s")]
        elif np.definite:
            declension, words = WEAK, [DER[case][gender]]
        elif negated:
            declension, words = (
                (STRONG, ["nicht"]) if np.numeral else (MIXED, ["kein" + EIN[case][gender]])
            )
        elif np.number == "sg" and np.head not in self.lex.mass:  # no article: Hunde, Wasser
            declension, words = MIXED, ["ein" + EIN[case][gender]]
        if np.numeral:
            words.append(self.words[np.numeral])
        if np.adjective:
            words.append(self.stems[np.adjective] + declension[case][gender])
        words.append(self.nouns[np.head][np.number][case])
        return " ".join(words)

    def relative(self, np: NP) -> str:
        """ ", der den Hund sieht," or nothing."""
        if np.relative is None:
            return ""
        plural = np.number == "pl"
        pronoun = DER["nom"]["p" if plural else self.words[np.head]["g"]]
        clause = replace(np.relative, subject=np)  # the verb asks who does it
        return f" , {self.verb_last(self.parts(clause, pronoun, 3 if plural else 2))} ,"

    def subject(self, x: NP | Both) -> tuple[str, int, str]:
        """The subject in the nominative, which of the four verb forms it takes, and its reflexive
        pronoun."""
        if isinstance(x, Both):
            return f"{self.subject(x.first)[0]} und {self.subject(x.second)[0]}", 3, "sich"
        if self.lex.category[x.head] == "pronoun":
            word = self.words[x.head]
            return word["n"], word["form"], word["refl"]
        return self.core(x, "nom") + self.relative(x), 3 if x.number == "pl" else 2, "sich"

    # ---- the clause
    def verb(self, c: Clause) -> Verb:
        """The clause's verb, or the one that its entry names for such subjects or objects: people
        "essen", but animals "fressen"."""
        other = self.words[c.verb].get("instead", {})
        x = c.subject if "subjects" in other else c.object
        if not other or x is None:
            return self.verbs[c.verb]
        named = other.get("subjects") or other["objects"]
        heads = [np.head for np in ((x.first, x.second) if isinstance(x, Both) else (x,))]
        fits = all(h in named or self.lex.noun_class.get(h) in named for h in heads)
        return (self.instead if fits else self.verbs)[c.verb]

    def parts(self, c: Clause, first: str = "", form: int = 2, reflexive: str = "sich") -> Parts:
        """Takes a clause apart. A relative clause brings its own subject (`first`, with verb form
        and reflexive pronoun)."""
        known = focus = rel = ""  # known: definite object; focus: indefinite object or predicate
        scoped = c.time in SCOPED
        kein = c.negated and not scoped  # "nicht oft ein Buch", but "heute kein Buch"
        if c.kind == "existential":  # Im Garten ist ein Hund: the place comes first
            first, form = self.words[c.place], 3 if c.subject.number == "pl" else 2
            focus, rel = self.core(c.subject, "nom", kein), self.relative(c.subject)
        elif not first:
            first, form, reflexive = self.subject(c.subject)
        if c.kind == "adjective":
            focus = ("nicht " if kein else "") + self.word(c.adjective)
        elif c.kind == "noun":  # professions stand without article: er ist Arzt, er ist kein Arzt
            focus = ("kein " if kein else "") + self.word(c.noun)
        elif c.object is not None:
            obj, rel = self.core(c.object, self.verb(c).case, kein), self.relative(c.object)
            if (
                self.lex.category[c.object.head] == "noun"
                and not c.object.definite
                and not c.object.possessor
            ):
                focus = obj
            else:
                known = obj
        finite, prefix, end = self.predicate(c, form)
        time = self.words[c.time] if c.time else ""
        place = self.words[c.place] if c.place and c.kind != "existential" else ""
        if c.negated and (scoped or not focus):  # Er hat den Hund gestern nicht im Garten gesehen.
            middle = (
                [known, "nicht", time, place, focus] if scoped else [known, time, "nicht", place]
            )
        elif known and self.lex.category[c.object.head] == "name":
            middle = [known, time, place]  # Er hat Anna gestern im Garten gesehen.
        else:  # Er hat gestern den Hund im Garten gesehen, but: im Garten einen Hund gesehen.
            middle = [time, known, place, focus]
        if c.verb and self.verb(c).reflexive:
            middle = [reflexive, *middle]
        return Parts(first, finite, prefix, [m for m in middle if m], end, rel)

    def predicate(self, c: Clause, form: int) -> tuple[str, str, str]:
        """Finite verb, separable prefix, and what stands at the end: participle or infinitive."""
        if c.kind != "verbal":
            return (
                (WILL[form], "", "sein")
                if c.tense == "future"
                else ((WAS if c.tense == "past" else BE)[form], "", "")
            )
        verb = self.verb(c)
        if c.modal:
            modal = self.words[c.modal]
            return (
                (modal.get("neg", modal["forms"]) if c.negated else modal["forms"])[form],
                "",
                verb.infinitive,
            )
        if c.tense == "future":
            return WILL[form], "", verb.infinitive
        if c.tense == "past" and verb.past:
            return verb.past[form], "", ""
        if c.tense == "past":  # Perfekt
            return verb.auxiliary[form], "", verb.participle
        return verb.present[form], verb.prefix, ""

    def verb_second(self, p: Parts, question: bool = False) -> str:
        start, middle = [p.finite, p.first] if question else [p.first, p.finite], p.middle
        if question and middle[:1] == ["sich"] and p.first not in ("er", "sie"):
            start, middle = [p.finite, "sich", p.first], middle[1:]  # ruht sich der Mann aus?
        return " ".join(x for x in (*start, *middle, p.end, p.prefix) if x) + p.relative

    def verb_last(self, p: Parts) -> str:
        return (
            " ".join(x for x in (p.first, *p.middle, p.end, p.prefix + p.finite) if x) + p.relative
        )

    # ---- the four methods
    def sentence(self, s: Sentence) -> str:
        text = self.verb_second(self.parts(s.clause), s.question)
        if s.link == "because":
            text += " , weil " + self.verb_last(self.parts(s.second))
        elif s.link == "and":
            text += " und " + self.verb_second(self.parts(s.second))
        return finish(text, "?" if s.question else ".")

    def noun_phrase(self, np: NP) -> str:
        return finish(self.subject(np)[0])

    def word(self, concept: str) -> str:
        """The base form."""
        entry = self.words[concept]
        return (
            entry if isinstance(entry, str) else entry[0] if isinstance(entry, list) else entry["n"]
        )

    def citation(self, concept: str, form: str = "") -> str:
        category = self.lex.category[concept]
        if category == "noun":
            return self.nouns[concept][form]["nom"]
        if category != "verb":
            return self.word(concept)
        verb = self.verbs[concept]
        reflexive = "sich" if verb.reflexive else ""
        finite, prefix, end = "", "", verb.infinitive
        if form != "infinitive":
            finite, prefix, end = self.predicate(Clause("verbal", None, concept, tense=form), 2)
        return " ".join(x for x in (finite, reflexive, end, prefix) if x)

    def fact(self, relation: str, subject: str) -> str:
        word = self.words[subject]
        nominative, of = (
            (word, f"von {word}") if isinstance(word, str) else (word["nom"], word["of"])
        )
        if relation == "capital":
            return f"Die Hauptstadt {of} ist"
        if relation == "country":  # "heißt" takes the bare name; "in" would ask for "der Türkei"
            return f"Das Land, in dem {word} liegt, heißt"
        return f"{nominative[0].upper()}{nominative[1:]} ist ein Land in"


LINEARIZER = German
