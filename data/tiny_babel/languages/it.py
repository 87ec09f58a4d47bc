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
# "non legge sempre un libro": the negation denies the time, not the book ("nessun libro")
DENIED_TIME = (*AFTER_VERB, "every_day")
SKILLS = ("swim", "dance", "sing")  # "sa nuotare", but "può nuotare al mare"
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
    "some": {"mp": ("alcuni ",) * 3, "fp": ("alcune ",) * 3},
    "a": {"m": ("un ", "uno ", "un "), "f": ("una ", "una ", "un'")},
    "no": {"m": ("nessun ", "nessuno ", "nessun "), "f": ("nessuna ", "nessuna ", "nessun'")},
}
# adjectives that change their form like an article when they stand before the noun
BEFORE_NOUN = {
    "bello": {
        "m": ("bel ", "bello ", "bell'"),
        "f": ("bella ", "bella ", "bell'"),
        "mp": ("bei ", "begli ", "begli "),
    },
    "buono": {"m": ("buon ", "buono ", "buon ")},
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
class Feminine(NP):
    """A "they" whose antecedent is feminine: "le donne ridono perché sono stanche"."""


@dataclass(frozen=True)
class Ne(NP):
    """A thing spoken of again after "avere bisogno": "cerca la penna perché ne ha bisogno"."""


@dataclass(frozen=True)
class Agreement:
    """What a verb and its predicate take from the subject."""

    person: int
    slot: str


@dataclass(frozen=True)
class Verb:
    """A conjugated verb; each tense has the five persons of PERSONS, and so has the tail. `past`
    is None where it is auxiliary + participle."""

    infinitive: str
    present: tuple
    future: tuple
    past: tuple | None
    participle: str
    be: bool
    tail: tuple
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
    tail = e.get("tail", "")
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
        (tail,) * 5 if isinstance(tail, str) else tuple(tail),
        "gov" in e,
    )


class Italian(Linearizer):
    code = "it"

    def __init__(self, lex: Lexicon | None = None):
        super().__init__(lex)
        self.verbs = {
            c: conjugate(self.words[c]) for c, group in self.lex.category.items() if group == "verb"
        }

    def entry(self, concept: str, beside: NP | Both | None) -> dict:
        """The word for a verb or an adjective beside a noun: "of" holds those that some nouns or
        classes of nouns ask for ("visitare" a castle, but "andare a trovare" a friend)."""
        if isinstance(beside, NP):
            noun = beside.head
            kinds = {noun, self.lex.noun_class.get(noun, "person")}
            for other in self.words[concept].get("of", ()):
                if kinds & set(other["nouns"]):
                    return other
        return self.words[concept]

    # ---- noun phrases
    def slot(self, np: NP | Both) -> str:
        """Gender and number: a key of SLOTS."""
        if isinstance(np, Both):
            return "fp" if self.slot(np.first)[0] == self.slot(np.second)[0] == "f" else "mp"
        if isinstance(np, Feminine):
            return "fp"
        if self.lex.category[np.head] != "noun":
            return ("f" if np.head in self.lex.female else "m") + ("p" if np.head in PLURAL else "")
        e = self.words[np.head]
        return e.get("gpl", e["g"]) + "p" if np.number == "pl" else e["g"]

    def agreement(self, np: NP | Both) -> Agreement:
        slot = self.slot(np)
        head = "" if isinstance(np, Both) else np.head
        return Agreement(PERSONS.get(head, 4 if slot[-1] == "p" else 2), slot)

    def adjective(self, forms: list, slot: str, following: str = "") -> str:
        """The agreeing form, with a space (or an apostrophe) where a noun follows."""
        if following and slot in BEFORE_NOUN.get(forms[0], ()):
            return BEFORE_NOUN[forms[0]][slot][onset(following)]
        return forms[SLOTS[slot]] + (" " if following else "")

    def phrase(
        self,
        np: NP | Both,
        negated: bool = False,
        governed: bool = False,
        one: bool = False,
        subject: bool = False,
    ) -> str:
        """`negated`: an object or existential subject under "non"; `governed`: after "di", which
        melts with the article; `one`: "un" even under "non"; `subject`: before its verb, where
        "alcuni cani" is better than "dei cani"."""
        if isinstance(np, Both):
            return f"{self.phrase(np.first)} e {self.phrase(np.second)}"
        e, of = self.words[np.head], "di " if governed else ""
        if self.lex.category[np.head] != "noun":
            return of + (e if isinstance(e, str) else e["n"])
        slot = self.slot(np)
        text = e["pl"] if np.number == "pl" else e["n"]
        if np.adjective:
            adjective = self.entry(np.adjective, np)
            if "pre" in adjective:
                text = self.adjective(adjective["a"], slot, text) + text
            else:
                text = f"{text} {self.adjective(adjective['a'], slot)}"
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
            elif np.number == "pl" and subject:
                article = "some"
            elif np.number == "pl" or np.head in self.lex.mass:
                article = (
                    "" if negated or governed else "of_the"
                )  # dei cani, del pane; non vedo cani; ho bisogno di pane
            else:
                article = "no" if negated and not one else "a"
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
            said = self.entry(c.verb, c.object)
            verb = self.verbs[c.verb] if said is self.words[c.verb] else conjugate(said)
            if c.modal:
                modal = self.words[c.modal]
                if c.verb in SKILLS and not c.place:
                    modal = modal.get("how", modal)
                finite, rest = modal["pres"][who.person], [verb.infinitive]
            elif c.tense == "past" and verb.past is None:
                finite = (BE["present"] if verb.be else HAVE)[who.person]
                # under essere the participle agrees with the subject
                rest = [
                    verb.participle[:-1] + "oaie"[SLOTS[who.slot]] if verb.be else verb.participle
                ]
            else:
                finite = getattr(verb, c.tense)[who.person]
            rest.append(verb.tail[who.person])
            if isinstance(c.object, Ne):
                finite = f"ne {finite}"
            elif c.object:
                rest.append(self.object(c.object, c, verb.governs))
        elif c.kind == "adjective" and "have" in self.words[c.adjective]:  # "ha fame"
            finite = getattr(self.verbs["need"], c.tense)[who.person]
            rest = [self.words[c.adjective]["have"]]
        else:
            finite = BE[c.tense][who.person]
            if c.kind == "adjective":
                rest = [self.adjective(self.entry(c.adjective, c.subject)["a"], who.slot)]
            else:  # "è un medico", plural "sono medici"
                rest = [
                    self.words[c.noun]["pl"]
                    if who.slot[-1] == "p"
                    else self.phrase(NP(c.noun, definite=False))
                ]
        place = ""
        if c.place and c.verb not in PLACE_FIRST:
            at = self.words.get(c.verb, {}).get("at", {})
            place = at.get(c.place, self.words[c.place])
        adverb = self.words[c.time] if c.time in AFTER_VERB else ""
        return " ".join(w for w in ("non" if c.negated else "", finite, adverb, *rest, place) if w)

    def object(self, np: NP, c: Clause, governed: bool) -> str:
        if self.lex.category[np.head] == "pronoun":
            return ("di " if governed else "") + self.words[np.head]["object"]
        if (
            c.verb == "love"
            and self.lex.category[np.head] == "noun"
            and not np.numeral
            and (np.number == "pl" or np.head in self.lex.mass)
        ):
            np = replace(np, definite=True)  # one loves "il tè", "i cani"
        one = governed or c.time in DENIED_TIME  # "non ha bisogno di un libro"
        single = self.lex.animate(np.head) or c.verb == "know" or c.modal == "can"
        if c.negated and not one and single and not (np.definite or np.numeral):
            np = replace(np, number="sg")  # "non chiama nessun medico", also for several
        return self.phrase(np, c.negated, governed, one)

    def clause(
        self, c: Clause, dropped: bool = False, shown: tuple = SHOWN, question: bool = False
    ) -> str:
        """`dropped`: leave out even a "lui" or "lei"; `shown`: the pronouns that are said."""
        numeral = getattr(c.subject, "numeral", None)
        if c.modal in ("can", "must") and getattr(c.subject, "number", "") == "pl" and not numeral:
            c = replace(c, subject=replace(c.subject, definite=True))  # "i giudici sanno cantare"
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
        subject = "" if hidden else self.phrase(c.subject, subject=True)
        last = ""
        # "l'hai visto ieri?"; "ogni giorno non legge" would say that there is no day he reads, and
        # "adesso sei medici" reads as "now you are doctors"
        if question or c.negated and c.time == "every_day" or numeral == "six":
            time, last = "", time
        predicate = self.predicate(c, self.agreement(c.subject))
        return " ".join(w for w in (time or place, subject, predicate, last) if w)

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

    def again(self, s: Sentence) -> bool:
        """True where "because the cake …" surely speaks of the object of the main clause: "compra
        la torta perché è economica", without "la torta"."""
        a, b = s.clause, s.second
        if s.link != "because" or b.kind != "adjective" or not a.object:
            return False
        # "he sells the castle because it is old": he may be; but one doesn't repair for being old
        clear = b.adjective != "old" or a.verb == "repair"
        if a.object.head != b.subject.head:
            return False
        if not self.lex.animate(b.subject.head) and clear:
            return True
        # only the endings tell people apart: "chiamano il re perché è malato"
        forms = self.words[b.adjective]["a"]
        who, what = self.agreement(a.subject), self.agreement(a.object)
        return who.person != what.person or forms[SLOTS[who.slot]] != forms[SLOTS[what.slot]]

    def resolved(self, s: Sentence) -> Clause | None:
        """The second clause, where "they" takes the gender of the first plural
        of people or animals before it."""
        if self.again(s):
            slot = self.slot(s.second.subject)
            they = {"m": NP("he"), "f": NP("she"), "mp": NP("they"), "fp": Feminine("they")}
            return replace(s.second, subject=they[slot])
        if s.link == "because" and s.second.verb == "need" and s.second.object:
            thing = s.second.object.head
            if s.clause.object and thing == s.clause.object.head and not self.lex.animate(thing):
                return replace(s.second, object=Ne(thing))
        if s.second and s.second.subject == NP("they"):
            before = [
                x
                for x in (s.clause.subject, s.clause.object)
                if isinstance(x, Both) or x and x != NP("we") and self.lex.animate(x.head)
            ]
            slots = [self.slot(x) for x in before]
            if [x for x in slots if x[-1] == "p"][:1] == ["fp"]:
                return replace(s.second, subject=Feminine("they"))
        return s.second

    # ---- the four methods
    def sentence(self, s: Sentence) -> str:
        again, s = self.again(s), replace(s, second=self.resolved(s))
        text = self.clause(s.clause, question=s.question)
        if s.link == "because":
            dropped = again or self.same_person(s.clause, s.second)
            # the comma keeps the cause out of the negation: "non mangi, perché sei triste"
            text += ", perché " if s.clause.negated else " perché "
            text += self.clause(s.second, dropped=dropped)
        elif s.link == "and":
            new = self.agreement(s.clause.subject).person != self.agreement(s.second.subject).person
            new_subject = not self.same_person(s.clause, s.second)
            second = self.clause(  # "sorridi e io mangio una pera", but "Paul ride e balla"
                s.second, dropped=not new_subject, shown=tuple(PERSONS) if new else SHOWN
            )
            # the comma keeps a new subject from being read as a second object
            text += ("," if new_subject else "") + (" ed " if second[0] in "eè" else " e ") + second
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
                words.append(verb.tail[2])
            return " ".join(w for w in (*words, "di" if verb.governs else "") if w)
        if group == "modal":
            return e["inf"]
        if group == "adjective":
            return e["a"][0]
        return e if isinstance(e, str) else e["n"]

    def country(self, concept: str, article: str) -> str:
        """A country with its article: "la Francia", "dell'Iran"."""
        e = self.words[concept]
        return ARTICLES[article][e["g"]][onset(e["n"])] + e["n"]

    def fact(self, relation: str, subject: str) -> str:
        if relation == "capital":
            return f"La capitale {self.country(subject, 'of_the')} è"
        if relation == "country":
            return f"{self.words[subject]} è una città in"
        name = self.country(subject, "the")
        return f"{name[0].upper()}{name[1:]} è un paese in"


LINEARIZER = Italian
