"""Italian: articles that follow the sound of the next word, gender and number agreement, dropped
subject pronouns."""

from __future__ import annotations

from dataclasses import dataclass, replace

from grammar import NP, Both, Clause, Lexicon, Linearizer, Sentence

SLOTS = {"m": 0, "f": 1, "mp": 2, "fp": 3}  # order of an adjective's four forms
PERSONS = {"i": 0, "you": 1, "he": 2, "she": 2, "we": 3, "they": 4}  # order of a tense's five forms
PLURAL = ("we", "they")
SHOWN = ("he", "she")  # the ending shows the other persons, so they are dropped
BE = {
    "present": ("sono", "sei", "è", "siamo", "sono"),
    "past": ("ero", "eri", "era", "eravamo", "erano"),
    "future": ("sarò", "sarai", "sarà", "saremo", "saranno"),
}
HAVE = ("ho", "hai", "ha", "abbiamo", "hanno")
VOWELS = "aeiouàèìòùAEIOU"
AFTER_VERB = ("often", "always", "soon")  # "dorme sempre", but "oggi dorme"
PLACE_FIRST = ("leave", "travel")  # a place after these would read as a direction

# article -> slot -> form before a plain consonant, before s + consonant, z and the like, before a
# vowel; with the space it needs
ARTICLES = {
    "the": {
        "m": ("il ", "lo ", "l'"),
        "f": ("la ", "la ", "l'"),
        "mp": ("i ", "gli ", "gli "),
        "fp": ("le ", "le ", "le "),
    },
    "of_the": {
        "m": ("del ", "dello ", "dell'"),
        "f": ("della ", "della ", "dell'"),  # di + article, and the partitive
        "mp": ("dei ", "degli ", "degli "),
        "fp": ("delle ", "delle ", "delle "),
    },
    "a": {"m": ("un ", "uno ", "un "), "f": ("una ", "una ", "un'")},
    "no": {"m": ("nessun ", "nessuno ", "nessun "), "f": ("nessuna ", "nessuna ", "nessun'")},
}
# adjectives that change their form like an article when they stand before the noun
BEFORE_NOUN = {
    "beautiful": {
        "m": ("bel ", "bello ", "bell'"),
        "f": ("bella ", "bella ", "bell'"),
        "mp": ("bei ", "begli ", "begli "),
    },
    "good": {"m": ("buon ", "buono ", "buon ")},
}


def onset(word: str) -> int:
    """0 for a plain consonant, 1 for one that asks for lo/uno/gli, 2 for a vowel."""
    if word[0] in VOWELS:
        return 2
    return int(
        word[0] in "zxy"
        or word[:2] in ("gn", "ps", "pn")
        or word[0] == "s"
        and word[1] not in VOWELS
    )


@dataclass(frozen=True)
class Agreement:
    """What a verb and its predicate take from the subject."""

    person: int
    slot: str


@dataclass(frozen=True)
class Verb:
    """A conjugated verb; each tense has the five persons of PERSONS. `past` is None where it is
    auxiliary + participle."""

    infinitive: str
    present: tuple
    future: tuple
    past: tuple | None
    participle: str
    be: bool
    tail: str
    governs: bool


def conjugate(e: dict) -> Verb:
    """All forms from a lexicon entry: the three regular conjugations, with the entry's irregular
    forms on top."""
    inf = e["inf"]
    stem, kind = inf[:-3], inf[-3]
    soft, future = stem, inf[:-1]  # soft: the stem before an i
    if kind == "a":
        soft = (
            stem + "h" if stem[-1] in "cg" else stem.removesuffix("i")
        )  # cercare: cerchi, mangiare: mangi
        future = (
            stem if stem.endswith(("gli", "zi")) else soft
        ) + "er"  # cercherà, mangerà, but taglierà, ringrazierà
    present = [
        stem + "o",
        soft + "i",
        stem + ("a" if kind == "a" else "e"),
        soft + "iamo",
        stem + ("ano" if kind == "a" else "ono"),
    ]
    if "isc" in e:
        present = [stem + "isc" + x for x in ("o", "i", "e")] + [stem + "iamo", stem + "iscono"]
    return Verb(
        inf,
        tuple(e.get("pres", present)),
        tuple(e.get("fut", future) + x for x in ("ò", "ai", "à", "emo", "anno")),
        tuple(stem + kind + x for x in ("vo", "vi", "va", "vamo", "vano"))
        if "imperfect" in e
        else None,
        e.get("pp", stem + {"a": "ato", "e": "uto", "i": "ito"}[kind]),
        "essere" in e,
        e.get("tail", ""),
        "gov" in e,
    )


class Italian(Linearizer):
    code = "it"

    def __init__(self, lex: Lexicon | None = None):
        super().__init__(lex)
        self.verbs = {
            c: conjugate(self.words[c]) for c, group in self.lex.category.items() if group == "verb"
        }
        self.country_of = dict(zip(self.lex.raw["city"], self.lex.raw["country"], strict=True))

    # ---- noun phrases
    def slot(self, np: NP | Both) -> str:
        """Gender and number: a key of SLOTS."""
        if isinstance(np, Both):
            return "fp" if self.slot(np.first)[0] == self.slot(np.second)[0] == "f" else "mp"
        if self.lex.category[np.head] != "noun":
            return ("f" if np.head in self.lex.female else "m") + ("p" if np.head in PLURAL else "")
        e = self.words[np.head]
        return e.get("gpl", e["g"]) + "p" if np.number == "pl" else e["g"]

    def agreement(self, np: NP | Both) -> Agreement:
        slot = self.slot(np)
        head = "" if isinstance(np, Both) else np.head
        return Agreement(PERSONS.get(head, 4 if slot[-1] == "p" else 2), slot)

    def adjective(self, concept: str, slot: str, following: str = "") -> str:
        """The agreeing form, with a space (or an apostrophe) where a noun follows."""
        if following and slot in BEFORE_NOUN.get(concept, ()):
            return BEFORE_NOUN[concept][slot][onset(following)]
        return self.words[concept]["a"][SLOTS[slot]] + (" " if following else "")

    def phrase(self, np: NP | Both, negated: bool = False, governed: bool = False) -> str:
        """`negated`: an object or existential subject under "non"; `governed`: after "di", which
        melts with the article."""
        if isinstance(np, Both):
            return f"{self.phrase(np.first)} e {self.phrase(np.second)}"
        e, of = self.words[np.head], "di " if governed else ""
        if self.lex.category[np.head] != "noun":
            return of + (e if isinstance(e, str) else e["n"])
        slot = self.slot(np)
        text = e["pl"] if np.number == "pl" else e["n"]
        if np.adjective and "pre" in self.words[np.adjective]:
            text = self.adjective(np.adjective, slot, text) + text
        elif np.adjective:
            text = f"{text} {self.adjective(np.adjective, slot)}"
        if np.numeral:
            text = f"{self.words[np.numeral]} {text}"
        owner = np.possessor and self.words[np.possessor]
        article = "the"
        if isinstance(owner, dict):
            text = f"{owner['poss'][SLOTS[slot]]} {text}"
            # kinship nouns: mia madre, but i miei fratelli, la mia giovane madre, la loro madre
            if (
                "kin" in e
                and np.number == "sg"
                and not (np.adjective or np.relative)
                and np.possessor != "they"
            ):
                article = ""
        elif owner:
            text = f"{text} di {owner}"
        elif not np.definite:
            if np.numeral:
                article = ""
            elif np.number == "pl" or np.head in self.lex.mass:
                article = (
                    "" if negated or governed else "of_the"
                )  # dei cani, del pane; non vedo cani; ho bisogno di pane
            else:
                article = "no" if negated else "a"
        if article == "the" and governed:
            article, of = "of_the", ""
        text = of + (ARTICLES[article][slot][onset(text)] if article else "") + text
        return (
            f"{text} che {self.predicate(np.relative, self.agreement(np))}" if np.relative else text
        )

    # ---- clauses
    def predicate(self, c: Clause, who: Agreement) -> str:
        """The clause without subject and without fronted adverbials."""
        rest = []
        if c.kind == "verbal":
            verb = self.verbs[c.verb]
            if c.modal:
                finite, rest = self.words[c.modal]["pres"][who.person], [verb.infinitive]
            elif c.tense == "past" and verb.past is None:
                finite = (BE["present"] if verb.be else HAVE)[who.person]
                # under essere the participle agrees with the subject
                rest = [
                    verb.participle[:-1] + "oaie"[SLOTS[who.slot]] if verb.be else verb.participle
                ]
            else:
                finite = getattr(verb, c.tense)[who.person]
            rest.append(verb.tail)
            if c.object:
                rest.append(self.object(c.object, c.negated, verb.governs, c.verb == "love"))
        else:
            finite = BE[c.tense][who.person]
            if c.kind == "adjective":
                rest = [self.adjective(c.adjective, who.slot)]
            else:  # "è un medico", plural "sono medici"
                rest = [
                    self.words[c.noun]["pl"]
                    if who.slot[-1] == "p"
                    else self.phrase(NP(c.noun, definite=False))
                ]
        place = self.words[c.place] if c.place and c.verb not in PLACE_FIRST else ""
        adverb = self.words[c.time] if c.time in AFTER_VERB else ""
        return " ".join(w for w in ("non" if c.negated else "", finite, adverb, *rest, place) if w)

    def object(self, np: NP, negated: bool, governed: bool, generic: bool) -> str:
        if self.lex.category[np.head] == "pronoun":
            return ("di " if governed else "") + self.words[np.head]["object"]
        if (
            generic
            and self.lex.category[np.head] == "noun"
            and not np.numeral
            and (np.number == "pl" or np.head in self.lex.mass)
        ):
            np = replace(np, definite=True)  # one loves "il tè", "i cani"
        return self.phrase(np, negated, governed)

    def clause(self, c: Clause, dropped: bool = False, shown: tuple = SHOWN) -> str:
        """`dropped`: leave out even a "lui" or "lei"; `shown`: the pronouns that are said."""
        if c.kind == "existential":
            who = self.agreement(c.subject)
            there = BE[c.tense][who.person]
            there = f"c'{there}" if there[0] in "eè" else f"ci {there}"
            return (
                f"{'non ' if c.negated else ''}{there} {self.phrase(c.subject, c.negated)} "
                f"{self.words[c.place]}"
            )
        hidden = (
            isinstance(c.subject, NP)
            and c.subject.head in PERSONS
            and (dropped or c.subject.head not in shown)
        )
        time = self.words[c.time] if c.time and c.time not in AFTER_VERB else ""
        place = self.words[c.place] if c.place and c.verb in PLACE_FIRST else ""
        subject = "" if hidden else self.phrase(c.subject)
        return " ".join(
            w for w in (time or place, subject, self.predicate(c, self.agreement(c.subject))) if w
        )

    def same_person(self, first: Clause, second: Clause) -> bool:
        """True where "because he …" surely means the subject of the main clause: "Anna ride perché
        è felice", without "lei"."""
        a, b = first.subject, second.subject
        return (
            isinstance(a, NP)
            and isinstance(b, NP)
            and b.head in SHOWN
            and first.kind != "existential"
            and self.lex.person(a.head)
            and a.head not in ("i", "you", "child")
            and self.slot(a) == self.slot(b)
        )

    # ---- the four methods
    def sentence(self, s: Sentence) -> str:
        text = self.clause(s.clause)
        if s.link == "because":
            text += " perché " + self.clause(s.second, dropped=self.same_person(s.clause, s.second))
        elif s.link == "and":
            new = self.agreement(s.clause.subject).person != self.agreement(s.second.subject).person
            second = self.clause(
                s.second, shown=tuple(PERSONS) if new else SHOWN
            )  # "sorridi e io mangio una pera"
            text += (" ed " if second[0] in "eè" else " e ") + second
        return text[0].upper() + text[1:] + ("?" if s.question else ".")

    def noun_phrase(self, np: NP) -> str:
        return self.phrase(np)

    def citation(self, concept: str, form: str = "") -> str:
        group, e = self.lex.category[concept], self.words[concept]
        if group == "noun":
            return e.get("pl", e["n"]) if form == "pl" else e["n"]
        if group == "verb":
            verb = self.verbs[concept]
            clause = Clause("verbal", None, concept, tense=form)
            words = [
                verb.infinitive
                if form == "infinitive"
                else self.predicate(clause, Agreement(2, "m"))
            ]
            if form == "infinitive":
                words.append(verb.tail)
            return " ".join(w for w in (*words, "di" if verb.governs else "") if w)
        if group == "modal":
            return e["inf"]
        if group == "adjective":
            return e["a"][0]
        return e if isinstance(e, str) else e["n"]

    def country(self, concept: str, article: str) -> str:
        """A country with its article: "la Francia", "dell'Iran"; Cuba has none."""
        e = self.words[concept]
        if "g" not in e:
            return ("di " if article == "of_the" else "") + e["n"]
        return ARTICLES[article][e["g"]][onset(e["n"])] + e["n"]

    def fact(self, relation: str, subject: str) -> str:
        if relation == "capital":
            return f"La capitale {self.country(subject, 'of_the')} è"
        if relation == "country":
            return (
                f"{self.words[subject]} è una città "
                f"{'a' if 'at' in self.words[self.country_of[subject]] else 'in'}"
            )
        name = self.country(subject, "the")
        return f"{name[0].upper()}{name[1:]} è un paese in"


LINEARIZER = Italian
