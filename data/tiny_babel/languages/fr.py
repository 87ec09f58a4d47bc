"""French. Phrases are lists of words; `join` makes elisions (l', d', qu', ...) and contractions
(du, des, au, aux) at the end."""

from __future__ import annotations

import functools
import unicodedata
from dataclasses import dataclass, replace

from grammar import NP, Both, Clause, Linearizer, Sentence

# Persons are 0-4: je, tu, il/elle, nous, ils ("vous" is never needed).
PERSON = {"i": 0, "you": 1, "he": 2, "she": 2, "we": 3, "they": 4}
FUTURE = ("ai", "as", "a", "ons", "ont")
REFLEXIVE = ("me", "te", "se", "nous", "se")
AUXILIARY = {
    "avoir": ("ai", "as", "a", "avons", "ont"),
    "être": ("suis", "es", "est", "sommes", "sont"),
}
COPULA = {
    "present": AUXILIARY["être"],
    "past": ("étais", "étais", "était", "étions", "étaient"),
    "future": tuple("ser" + e for e in FUTURE),
}
AVOIR = {"p": AUXILIARY["avoir"], "fut": "aur"}
SKILLS = ("swim", "dance", "sing")  # "sait nager", but "peut nager à la plage"
THERE_IS = {"present": "a", "past": "avait", "future": "aura"}
# possessor -> masculine singular (also feminine before a vowel), feminine singular, plural
POSSESSIVE = {
    "i": ("mon", "ma", "mes"),
    "you": ("ton", "ta", "tes"),
    "he": ("son", "sa", "ses"),
    "she": ("son", "sa", "ses"),
    "we": ("notre", "notre", "nos"),
    "they": ("leur", "leur", "leurs"),
}
ELIDED = {
    "le": "l'",
    "la": "l'",
    "de": "d'",
    "que": "qu'",
    "parce que": "parce qu'",
    "Est-ce que": "Est-ce qu'",
    "ne": "n'",
    "je": "j'",
    "me": "m'",
    "te": "t'",
    "se": "s'",
}
CONTRACTED = {("de", "le"): "du", ("de", "les"): "des", ("à", "le"): "au", ("à", "les"): "aux"}
# "des soldats rient" is something that happens; what is so of them is said of "les soldats"
STATES = ("love", "know", "need", "understand")
HABITS = ("often", "always", "every_day")
H_ASPIRE = (
    "huit",
    "Hongrie",
    "Hanoï",
)  # an h (mute anyway) that blocks elision; every other h of the lexicon lets it through


@dataclass(frozen=True)
class Elles(NP):
    """A "they" whose antecedent is feminine: "les femmes rient parce qu'elles sont heureuses"."""


@dataclass(frozen=True)
class En(NP):
    """A thing spoken of again after "avoir besoin": "cherche le stylo parce qu'il en a besoin"."""


@functools.cache
def vowel(word: str) -> bool:
    """True if the word begins with a vowel sound, so that the word before it is elided."""
    return unicodedata.normalize("NFD", word[0])[0].lower() in "aeiouyhœ" and not word.startswith(
        H_ASPIRE
    )


def join(words: list[str]) -> str:
    """One string out of words: "de" + "le" + "chien" -> "du chien", "de" + "la" + "eau" -> "de
    l'eau"."""
    out, i = "", 0
    while i < len(words):
        word, following = words[i], words[i + 1] if i + 1 < len(words) else ""
        elides = following and word in ELIDED and vowel(following)
        if (
            not elides
            and (word, following) in CONTRACTED
            and not (following == "le" and vowel(words[i + 2]))
        ):
            word, i = CONTRACTED[word, following], i + 1
        out += ELIDED[word] if elides else word + " "
        i += 1
    return out.rstrip()


def capital(text: str) -> str:
    return text[0].upper() + text[1:]


def plural(word: str) -> str:
    return word if word[-1] in "sxz" else word + "s"


class French(Linearizer):
    code = "fr"

    # ---- words
    def entry(self, concept: str, beside: NP | Both | None) -> dict:
        """The word for a verb or an adjective beside a noun: "of" holds those that some nouns or
        classes of nouns ask for ("une nouvelle école", but "une voiture neuve")."""
        if isinstance(beside, NP):
            noun = beside.head
            kinds = {noun, self.lex.noun_class.get(noun, "person")}
            for other in self.words[concept].get("of", ()):
                if noun not in other.get("but", ()) and kinds & set(other["nouns"]):
                    return other
        return self.words[concept]

    def gender(self, x: NP | Both) -> str:
        """Coordinated subjects are masculine unless both are feminine; children, guests, "I" and
        "they" are masculine."""
        if isinstance(x, Both):
            return "f" if self.gender(x.first) == self.gender(x.second) == "f" else "m"
        if self.lex.category[x.head] == "noun":
            return self.words[x.head]["g"]
        return "f" if x.head in self.lex.female or isinstance(x, Elles) else "m"

    def number(self, x: NP | Both) -> str:
        return "pl" if isinstance(x, Both) or x.head in ("we", "they") else x.number

    def person(self, x: NP | Both) -> int:
        return 4 if isinstance(x, Both) else PERSON.get(x.head, 4 if x.number == "pl" else 2)

    @staticmethod
    def adjective(a: dict, gender: str, number: str, before: str = "") -> str:
        """An agreeing adjective; `before` is the noun it precedes: "un vieil homme" but "un vieux
        chien"."""
        if a.get("fixed"):
            return a["m"]
        if gender == "f":
            form = a.get("f") or (a["m"] if a["m"].endswith("e") else a["m"] + "e")
            return plural(form) if number == "pl" else form
        if number == "pl":
            return a.get("mp") or plural(a["m"])
        return a["vowel"] if "vowel" in a and before and vowel(before) else a["m"]

    @staticmethod
    def present(v: dict, person: int) -> str:
        return (
            v["p"][person] if "p" in v else v["inf"][:-2] + ("e", "es", "e", "ons", "ent")[person]
        )

    @staticmethod
    def future(v: dict, person: int) -> str:
        return (v.get("fut") or v["inf"].removesuffix("e")) + FUTURE[person]

    def imperfect(self, v: dict, person: int) -> str:
        return (
            self.present(v, 3).removesuffix("ons") + ("ais", "ais", "ait", "ions", "aient")[person]
        )

    @staticmethod
    def participle(v: dict, gender: str = "m", number: str = "sg") -> str:
        """The participle agrees with the subject under être; under avoir not (objects follow the
        verb here)."""
        form = v.get("pp") or v["inf"][:-2] + "é"
        if v.get("aux") == "être":
            form = form + ("e" if gender == "f" else "")
            form = plural(form) if number == "pl" else form
        return form

    # ---- noun phrases
    def core(self, np: NP) -> list[str]:
        """The noun with its adjective, without determiner: "vieil homme", "pommes rouges", "pomme
        de terre"."""
        noun = self.words[np.head]
        word = noun["n"] if np.number == "sg" else noun.get("pl") or noun["n"] + "s"
        if np.adjective is None:
            return [word]
        entry = self.entry(np.adjective, np)
        entry = entry.get("attributive", entry)  # "un tableau coûteux", but "il est cher"
        adjective = self.adjective(entry, noun["g"], np.number, word)
        return [adjective, word] if self.before(np) else [word, adjective]

    def before(self, np: NP) -> bool:
        return np.adjective is not None and self.entry(np.adjective, np).get("before", False)

    def indefinite(self, np: NP) -> bool:
        """True where the phrase takes un, du or des, which "pas" and "avoir besoin de" change."""
        return self.lex.category[np.head] == "noun" and not (
            np.definite or np.possessor or np.numeral
        )

    def open_ended(self, np: NP) -> bool:
        """True of an unbounded quantity: "du pain", "des chiens"."""
        return self.indefinite(np) and (np.number == "pl" or np.head in self.lex.mass)

    def phrase(self, np: NP | Both, article: list[str] | None = None) -> list[str]:
        """The words of a noun phrase; `article` replaces the one that the phrase would have."""
        if isinstance(np, Both):
            return [*self.phrase(np.first), "et", *self.phrase(np.second)]
        if self.lex.category[np.head] != "noun":
            return ["elles" if isinstance(np, Elles) else self.words[np.head]]
        gender, core = self.gender(np), self.core(np)
        owner = []
        the = "les" if np.number == "pl" else "le" if gender == "m" else "la"
        count = [self.words[np.numeral]] if np.numeral else []
        if article is not None:
            determiner = article
        elif np.possessor in POSSESSIVE:
            forms = POSSESSIVE[np.possessor]  # "mon école": the masculine form before a vowel
            determiner = [
                forms[2]
                if np.number == "pl"
                else forms[0]
                if gender == "m" or vowel(core[0])
                else forms[1]
            ]
        elif np.possessor:
            determiner, owner = [the], ["de", self.words[np.possessor]]
        elif np.definite:
            determiner = [the]
        elif np.numeral:
            determiner = []
        elif np.head in self.lex.mass:
            determiner = ["de", the]
        elif np.number == "pl":
            determiner = [
                "de" if self.before(np) else "des"
            ]  # "des chiens noirs" but "de grands chiens"
        else:
            determiner = ["un" if gender == "m" else "une"]
        relative = []
        if np.relative:
            relative = ["qui", *self.predicate(np.relative, np)]
        return [*determiner, *count, *core, *owner, *relative]

    def object(
        self, np: NP, verb: dict, negated: bool, time: str | None, modal: str | None
    ) -> list[str]:
        """The object as the verb governs it."""
        prep = verb.get("prep")
        if prep == "de" and self.open_ended(np):
            return self.phrase(np, ["de"])  # besoin de + des chiens -> besoin de chiens
        if prep:
            return [prep, *self.phrase(np)]
        if verb.get("generic") and self.open_ended(
            np
        ):  # "aimer du pain" isn't said: one likes "le pain", "les chiens"
            return self.phrase(NP(np.head, np.number, True, np.adjective))
        if negated and self.indefinite(np):
            # "n'achète pas un chapeau tous les jours" denies the time, not the hat
            if time in ("always", "every_day") and not self.open_ended(np):
                return self.phrase(np)
            # "n'aime aucun chien", "n'aide aucun voisin", "ne peut fermer aucun sac"; but "souvent
            # aucun" isn't said
            none = verb.get("generic") or verb.get("aucun") or modal == "can"
            if none and np.head not in self.lex.mass and (np.number == "sg" or time != "often"):
                np = replace(np, number="sg")  # also for several
                aucun = ["aucun" if self.gender(np) == "m" else "aucune"]
                return self.phrase(np, None if time == "often" else aucun)
            return self.phrase(np, ["de"])
        return self.phrase(np)

    # ---- clauses
    @staticmethod
    def negate(finite: list[str], negated: bool, aucun: bool = False) -> list[str]:
        """ "ne" stands before the clitics and the finite verb, "pas" after; beside "aucun" there is
        no "pas"."""
        return (["ne", *finite] if aucun else ["ne", *finite, "pas"]) if negated else finite

    def predicate(self, c: Clause, subject: NP | Both) -> list[str]:
        """Everything after the subject."""
        person, gender, number = self.person(subject), self.gender(subject), self.number(subject)
        tail, mid = [], []
        if c.time:
            time = self.words[c.time]
            if isinstance(time, str):
                tail = [time]
            elif c.negated and c.tense == "future":  # "n'achètera pas de maison bientôt"
                tail = [time["t"]]
            else:  # "mange souvent du pain", "ne mange pas toujours de pain"
                mid = [time["t"]]
        place = []
        if c.place:
            at = self.words.get(c.verb, {}).get("at", {})
            place = [at.get(c.place, self.words[c.place])]
        if c.kind != "verbal":
            finite = COPULA[c.tense][person]
            if c.kind == "noun":
                what = self.words[c.noun]["n"]
            elif "have" in self.words[c.adjective]:  # "a faim"
                form = {"present": self.present, "past": self.imperfect, "future": self.future}
                finite = form[c.tense](AVOIR, person)
                what = self.words[c.adjective]["have"]
            else:
                what = self.adjective(self.entry(c.adjective, subject), gender, number)
            return [*self.negate([finite], c.negated), *mid, what, *place, *tail]
        verb = self.entry(c.verb, c.object)
        again = isinstance(c.object, En)
        clitic = [REFLEXIVE[person]] if verb.get("refl") else ["en"] if again else []
        obj = []
        if c.object and not again:
            obj = self.object(c.object, verb, c.negated, c.time, c.modal)
        if c.modal:
            modal = self.words[c.modal]
            if c.verb in SKILLS and not c.place:
                modal = modal.get("how", modal)
            finite, rest = [self.present(modal, person)], [*clitic, verb["inf"]]
        elif c.tense == "past" and "imperfect" in verb:  # stative: "connaissait", "avait besoin"
            finite, rest = [*clitic, self.imperfect(verb, person)], []
        elif c.tense == "past":
            finite = [*clitic, AUXILIARY[verb.get("aux", "avoir")][person]]
            rest = [self.participle(verb, gender, number)]
        else:
            finite, rest = (
                [*clitic, (self.present if c.tense == "present" else self.future)(verb, person)],
                [],
            )
        add = [verb["add"]] if "add" in verb else []
        return [
            *self.negate(finite, c.negated, obj[:1] in (["aucun"], ["aucune"])),
            *mid,
            *rest,
            *add,
            *obj,
            *place,
            *tail,
        ]

    def clause(self, c: Clause) -> list[str]:
        if c.kind == "existential":
            what = self.phrase(
                c.subject, ["de"] if c.negated and self.indefinite(c.subject) else None
            )
            time = [self.citation(c.time)] if c.time else []
            return [
                "il",
                *self.negate(["y", THERE_IS[c.tense]], c.negated),
                *what,
                self.words[c.place],
                *time,
            ]
        subject = c.subject
        lasting = c.modal or c.negated or c.verb in STATES or c.time in HABITS
        if lasting and isinstance(subject, NP) and subject.number == "pl":
            if self.indefinite(subject):
                subject = replace(subject, definite=True)  # "les juges savent chanter"
        return [*self.phrase(subject), *self.predicate(c, subject)]

    def again(self, s: Sentence) -> bool:
        """True where "because the cake …" surely speaks of the object of the main clause: "achète
        le gâteau parce qu'il est cher", without "le gâteau"."""
        a, b = s.clause, s.second
        if s.link != "because" or b.kind != "adjective" or not a.object:
            return False
        kinds = [(self.person(x), self.gender(x)) for x in (a.subject, b.subject)]
        # "he sells the castle because it is old": he may be; but one doesn't repair for being old
        clear = b.adjective != "old" or a.verb == "repair"
        # "they call the king because he is ill": a pronoun that fits him alone
        clear = clear and not self.lex.animate(b.subject.head)
        return a.object.head == b.subject.head and (clear or kinds[0] != kinds[1])

    def resolved(self, s: Sentence) -> Clause | None:
        """The second clause, where "they" takes the gender of the first plural
        of people or animals before it."""
        if s.second and self.again(s):
            gender, number = self.gender(s.second.subject), self.number(s.second.subject)
            they = {"m": NP("he"), "f": NP("she")}
            if number == "pl":
                they = {"m": NP("they"), "f": Elles("they")}
            return replace(s.second, subject=they[gender])
        if s.link == "because" and s.second.verb == "need" and s.second.object:
            thing = s.second.object.head
            if s.clause.object and thing == s.clause.object.head and not self.lex.animate(thing):
                return replace(s.second, object=En(thing))
        if s.second and s.second.subject == NP("they"):
            before = [
                x
                for x in (s.clause.subject, s.clause.object)
                if isinstance(x, Both) or x and x != NP("we") and self.lex.animate(x.head)
            ]
            plurals = [x for x in before if self.number(x) == "pl"]
            if plurals and self.gender(plurals[0]) == "f":
                return replace(s.second, subject=Elles("they"))
        return s.second

    # ---- the four methods
    def sentence(self, s: Sentence) -> str:
        words = self.clause(s.clause)
        if s.question:
            return (
                join(["Est-ce que", *words]) + " ?"
            )  # French sets a space before the question mark
        # keeps a cause out of the negation ("ne mange pas, parce que") and a new subject out of the
        # object ("appelle la mère, et les médecins dansent")
        if s.link == "and" or s.link == "because" and s.clause.negated:
            words[-1] += ","
        if s.second:
            words += ["parce que" if s.link == "because" else "et", *self.clause(self.resolved(s))]
        return capital(join(words)) + "."

    def noun_phrase(self, np: NP) -> str:
        return join(self.phrase(np))

    def citation(self, concept: str, form: str = "") -> str:
        w, category = self.words[concept], self.lex.category[concept]
        if category == "noun":
            return (
                w["n"] if form == "sg" or concept in self.lex.mass else w.get("pl") or w["n"] + "s"
            )
        if category == "verb":
            clitic = ["se"] if w.get("refl") else []
            tail = [w[k] for k in ("add", "prep") if k in w]
            verb = {
                "infinitive": [w["inf"]],
                "present": [self.present(w, 2)],
                "future": [self.future(w, 2)],
                "past": [self.imperfect(w, 2)]
                if "imperfect" in w
                else [AUXILIARY[w.get("aux", "avoir")][2], self.participle(w)],
            }[form]
            return join([*clitic, *verb, *tail])
        if category == "modal":
            return w["inf"]
        if isinstance(w, str):
            return w
        return w.get("m") or w.get("n") or w["t"]

    def fact(self, relation: str, subject: str) -> str:
        w = self.words[subject]
        if (
            relation == "country"
        ):  # no preposition: it would change with the answer (en France, au Japon)
            return f"{w} se trouve dans le pays suivant :"
        country = ["le" if w["g"] == "m" else "la", w["n"]]
        if relation == "capital":
            return join(["La", "capitale", "de", *country, "est"])
        return capital(
            join([*country, "est", "un", "pays", "situé", "en"])
        )  # every continent takes "en"


LINEARIZER = French
