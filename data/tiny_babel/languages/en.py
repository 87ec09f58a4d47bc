"""English: do-support, a/an, regular spelling rules, "any" after a negation, who for people and
that for the rest, the progressive for what goes on now or today."""

from __future__ import annotations

import re

from grammar import NP, Both, Clause, Linearizer, Sentence

VOWELS = "aeiou"
# adverbs of frequency stand before the full verb, the other adverbials at the end; right after a
# relative clause they would belong to it ("the man who sleeps often laughs"), so there they go to
# the end too, in a form that can stand there
BEFORE_VERB = {"often": "often", "always": "all the time"}
# what is not done at each of these times may be done at some: "does not always read books", not
# "any books"
FREQUENCY = {*BEFORE_VERB, "every_day"}
PROGRESSIVE = {"now", "today"}  # an action at these times is going on: "is reading now"
# after these a base form would say what their object does: "the men who see the dog swim" has to
# be "are swimming"
BEFORE_BASE = {"see", "hear", "watch", "help"}
DO = ("do", "does", "do")
BE = {"present": ("am", "is", "are"), "past": ("was", "was", "were")}


def add_s(word: str) -> str:
    """The plural of a regular noun and the third person of a verb, which are spelled alike: dogs,
    boxes, stories, boys."""
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return word + "es"
    if word.endswith("y") and word[-2] not in VOWELS:
        return word[:-1] + "ies"
    return word + "s"


def doubled(word: str) -> str:
    """A verb before a vowel ending: one syllable with one vowel before one consonant doubles that
    consonant (run, cut, swim); other verbs that double it say so in the lexicon."""
    return word + word[-1] if re.fullmatch("[^aeiou]*[aeiou][^aeiouwxy]", word) else word


def add_ed(word: str) -> str:
    """The past of a regular verb: worked, danced, cried, played, stopped."""
    if word.endswith("e"):
        return word + "d"
    if word.endswith("y") and word[-2] not in VOWELS:
        return word[:-1] + "ied"
    return doubled(word) + "ed"


def add_ing(word: str) -> str:
    """The present participle: eating, making, seeing, lying, running."""
    if word.endswith("ie"):
        return word[:-2] + "ying"
    if word.endswith("e") and not word.endswith(("ee", "oe", "ye")):
        return word[:-1] + "ing"
    return doubled(word) + "ing"


def with_article(phrase: str) -> str:
    """a or an, by the first letter: no word of the lexicon begins like "hour" or "university"."""
    return ("an " if phrase[0] in VOWELS else "a ") + phrase


class English(Linearizer):
    code = "en"

    def __init__(self, lex=None):
        super().__init__(lex)
        # concept -> (singular, plural); -> (base, third person, past, preposition with space)
        self.nouns, self.verbs = {}, {}
        self.ing: dict[str, str] = {}  # verb -> present participle; stative verbs have none
        for concept, word in self.words.items():
            kind = self.lex.category[concept]
            if kind == "noun":
                one = word if isinstance(word, str) else word["n"]
                self.nouns[concept] = (
                    one,
                    one
                    if concept in self.lex.mass
                    else add_s(one)
                    if isinstance(word, str)
                    else word["pl"],
                )
            elif kind == "verb":
                entry = {"v": word} if isinstance(word, str) else word
                base, prep = entry["v"], f" {entry['prep']}" if "prep" in entry else ""
                self.verbs[concept] = (base, add_s(base), entry.get("past") or add_ed(base), prep)
                if "stative" not in entry:
                    self.ing[concept] = entry.get("ing") or add_ing(base)

    # ---- noun phrases
    def np(self, np: NP | Both, case: str = "subj", any_: bool = False) -> str:
        """A phrase as subject ("subj") or object ("obj"); `any_` is true of an object that takes
        "any" where it has no article."""
        if isinstance(np, Both):
            return f"{self.np(np.first, case)} and {self.np(np.second, case)}"
        category = self.lex.category[np.head]
        if category == "pronoun":
            return self.words[np.head][case]
        if category == "name":
            return self.words[np.head]
        words = [self.words[x] for x in (np.numeral, np.adjective) if x]
        phrase = " ".join([*words, self.nouns[np.head][np.number == "pl"]])
        if np.possessor:
            phrase = f"{self.possessive(np.possessor)} {phrase}"
        elif np.definite and not np.numeral:
            phrase = f"the {phrase}"
        elif not np.numeral:
            if np.number == "sg" and np.head not in self.lex.mass:
                phrase = with_article(phrase)
            elif any_:
                phrase = f"any {phrase}"
        if np.relative:
            third = (
                "she" if np.number == "sg" else "they"
            )  # any pronoun of the person that the verb agrees with
            who = "who" if self.lex.person(np.head) else "that"
            phrase = f"{phrase} {who} {self.clause(np.relative, NP(third), gap=True)}"
        return phrase

    def possessive(self, owner: str) -> str:
        return (
            self.words[owner]["poss"]
            if self.lex.category[owner] == "pronoun"
            else f"{self.words[owner]}'s"
        )

    # ---- clauses
    def person(self, subject: NP | Both) -> int:
        """Which column of am/is/are the subject asks for: 0 I, 1 third person singular, 2 you and
        all plurals."""
        if (
            isinstance(subject, Both)
            or subject.number == "pl"
            or subject.head in ("you", "we", "they")
        ):
            return 2
        return 0 if subject.head == "i" else 1

    def verb_group(self, clause: Clause, person: int, question: bool) -> tuple[str, str]:
        """The auxiliary, if the clause needs one ("" otherwise), and the rest of the verb with the
        predicate, objects excluded."""
        if clause.kind == "verbal":
            base, third, past, prep = self.verbs[clause.verb]
            # not "must he", which is stiff, and unclear when negated
            if clause.modal == "must" and question:
                if clause.negated:  # as in the statement, where "must not" forbids
                    return BE["present"][person], f"allowed to {base}{prep}"
                return DO[person], f"have to {base}{prep}"
            if clause.modal == "want":
                base, third = f"want to {base}", f"wants to {base}"
            elif clause.modal:
                return self.words[clause.modal], base + prep
            relative = clause.subject.relative if isinstance(clause.subject, NP) else None
            misread = relative is not None and relative.verb in BEFORE_BASE and not clause.negated
            going_on = clause.time in PROGRESSIVE or (misread and (question or person == 2))
            going_on = going_on and clause.tense == "present" and not clause.modal
            if going_on and clause.verb in self.ing:
                return BE["present"][person], self.ing[clause.verb] + prep
            if clause.tense == "future":
                return "will", base + prep
            if question or clause.negated:  # do-support
                return "did" if clause.tense == "past" else DO[person], base + prep
            return "", (past if clause.tense == "past" else (base, third, base)[person]) + prep
        return ("will", "be") if clause.tense == "future" else (BE[clause.tense][person], "")

    def clause(
        self,
        clause: Clause,
        subject: NP | Both | None = None,
        question: bool = False,
        gap: bool = False,
    ) -> str:
        """One clause without capital and full stop. With `gap` the subject only gives the person: a
        relative clause."""
        subject = subject or clause.subject
        if clause.kind == "existential":
            return self.existential(clause, question)
        aux, rest = self.verb_group(clause, self.person(subject), question)
        if gap and clause.tense == "present" and not clause.object and clause.verb in self.ing:
            # "the cat that is waiting", not "that waits watches"
            aux, rest = BE["present"][self.person(subject)], self.ing[clause.verb]
        said = "" if gap else self.np(subject)
        no = "not" if clause.negated else ""
        often = self.words[clause.time] if clause.time in BEFORE_VERB else ""
        adverbials = [
            self.words[x] for x in (clause.place, clause.time) if x and x not in BEFORE_VERB
        ]
        relative = isinstance(subject, NP) and subject.relative is not None
        if often and relative and not no and (question or not aux):
            often, adverbials = "", [*adverbials, BEFORE_VERB[clause.time]]
        if clause.modal == "can" and no and not question:
            start = [said, "cannot"]
        else:
            start = [aux, said, no] if question else [said, aux, no]
        if clause.kind == "adjective":
            end = [self.words[clause.adjective]]
        elif clause.kind == "noun":
            end = [with_article(self.nouns[clause.noun][0])]
        else:
            # "love" is about the whole kind: "does not love meat", not "any meat"
            any_ = clause.negated and clause.time not in FREQUENCY and clause.verb != "love"
            end = [self.np(clause.object, "obj", any_)] if clause.object else []
        parts = [*start, often, rest, *end]
        # after a relative clause an adverbial would be read as part of it, so it goes to the front
        # of a statement
        heavy = clause.object is not None and clause.object.relative is not None and not question
        return " ".join(w for w in (adverbials + parts if heavy else parts + adverbials) if w)

    def existential(self, clause: Clause, question: bool) -> str:
        np = clause.subject
        plural = np.number == "pl"
        verb = (("is", "are"), ("was", "were"))[clause.tense == "past"][plural]
        phrase = self.np(np)
        if clause.negated:  # "no" takes the place of the article
            phrase = (
                f"no {phrase if plural or np.head in self.lex.mass else phrase.split(' ', 1)[1]}"
            )
        start = f"{verb} there" if question else f"there {verb}"
        return f"{start} {phrase} {self.words[clause.place]}"

    # ---- what the base class asks for
    def sentence(self, s: Sentence) -> str:
        text = self.clause(s.clause, question=s.question)
        if s.link:
            # the comma tells "and" from one between nouns, and "because" from a reason denied
            comma = "," if s.link == "and" or s.clause.negated else ""
            text += f"{comma} {s.link} {self.clause(s.second)}"
        return text[0].upper() + text[1:] + ("?" if s.question else ".")

    def noun_phrase(self, np: NP) -> str:
        return self.np(np)

    def citation(self, concept: str, form: str = "") -> str:
        category = self.lex.category[concept]
        if category == "noun":
            return self.nouns[concept][form == "pl"]
        if category == "verb":
            base, third, past, prep = self.verbs[concept]
            return {"infinitive": base, "present": third, "past": past, "future": f"will {base}"}[
                form
            ] + prep
        return self.words[concept]["subj"] if category == "pronoun" else self.words[concept]

    def fact(self, relation: str, subject: str) -> str:
        name = self.words[subject]
        return {
            "capital": f"The capital of {name} is",
            "country": f"{name} is a city in",
            "continent": f"{name} is a country in",
        }[relation]


LINEARIZER = English
