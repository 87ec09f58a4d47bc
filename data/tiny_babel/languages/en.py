"""English: do-support, a/an, regular spelling rules, "any" after a negation, who for people and
that for the rest."""

from __future__ import annotations

from grammar import NP, Both, Clause, Linearizer, Sentence

VOWELS = "aeiou"
BEFORE_VERB = {
    "often",
    "always",
}  # adverbs of frequency stand before the full verb, the other adverbials at the end


def add_s(word: str) -> str:
    """The plural of a regular noun and the third person of a verb, which are spelled alike: dogs,
    boxes, stories, boys."""
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return word + "es"
    if word.endswith("y") and word[-2] not in VOWELS:
        return word[:-1] + "ies"
    return word + "s"


def add_ed(word: str) -> str:
    """The past of a regular verb: worked, danced, cried, played."""
    if word.endswith("e"):
        return word + "d"
    if word.endswith("y") and word[-2] not in VOWELS:
        return word[:-1] + "ied"
    return word + "ed"


def with_article(phrase: str) -> str:
    """a or an, by the first letter: no word of the lexicon begins like "hour" or "university"."""
    return ("an " if phrase[0] in VOWELS else "a ") + phrase


class English(Linearizer):
    code = "en"

    def __init__(self, lex=None):
        super().__init__(lex)
        self.nouns, self.verbs = (
            {},
            {},
        )  # concept -> (singular, plural); -> (base, third person, past, preposition with space)
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

    # ---- noun phrases
    def np(self, np: NP | Both, case: str = "subj", negated: bool = False) -> str:
        """A phrase as subject ("subj") or object ("obj"); `negated` is true of the object of a
        negated clause: "any dogs"."""
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
            elif negated:
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
            if clause.modal == "want":
                base, third, past = f"want to {base}", f"wants to {base}", f"wanted to {base}"
            elif clause.modal:
                return self.words[clause.modal], base + prep
            if clause.tense == "future":
                return "will", base + prep
            if question or clause.negated:  # do-support
                return "did" if clause.tense == "past" else ("do", "does", "do")[
                    person
                ], base + prep
            return "", (past if clause.tense == "past" else (base, third, base)[person]) + prep
        if clause.tense == "future":
            return "will", "be"
        return (("was", "was", "were") if clause.tense == "past" else ("am", "is", "are"))[
            person
        ], ""

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
        said = "" if gap else self.np(subject)
        no = "not" if clause.negated else ""
        often = self.words[clause.time] if clause.time in BEFORE_VERB else ""
        if clause.modal == "can" and no and not question:
            start = [said, "cannot"]
        else:
            start = [aux, said, no] if question else [said, aux, no]
        if clause.kind == "adjective":
            end = [self.words[clause.adjective]]
        elif clause.kind == "noun":
            end = [with_article(self.nouns[clause.noun][0])]
        else:
            end = [self.np(clause.object, "obj", clause.negated)] if clause.object else []
        adverbials = [
            self.words[x] for x in (clause.place, clause.time) if x and x not in BEFORE_VERB
        ]
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
            text += f" {s.link} {self.clause(s.second)}"
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
