"""Modern Standard Arabic, unvocalised.

Word order: a definite subject precedes its verb and agrees fully (SVO); an indefinite subject can't
open a sentence, so it follows (VSO), and so does every subject in a question, after "and" and after
كان and ليس; the verb then agrees in gender only. Where subject and object would then read as one
phrase, the subject follows the object (يطبخ اللحم طالب) or, where either could be the subject,
precedes the verb after all: هل الأحصنة ترى الطائر, هناك دببة ستسمع الجنود.
An indefinite subject of a negated verb too follows هناك ("there's a worker who didn't help"), since
لم يساعد عامل means that no worker helped.
Agreement keys, of nouns, adjectives and third-person verbs:
m/f + s(ingular), d(ual), p(lural); plurals of non-humans count as "fs".
Cases: n(ominative), a(ccusative), g(enitive). States: "indef", "def" (with ال), "con" (construct:
    before a possessor or suffix).
"""

from __future__ import annotations

import functools
from dataclasses import replace

from grammar import NP, Both, Clause, Linearizer, Sentence

PREFIX = {
    "1s": "أ",
    "2s": "ت",
    "1p": "ن",
    "ms": "ي",
    "fs": "ت",
    "md": "ي",
    "fd": "ت",
    "mp": "ي",
    "fp": "ي",
}
LAYSA = {
    "1s": "لست",
    "2s": "لست",
    "1p": "لسنا",
    "ms": "ليس",
    "fs": "ليست",
    "md": "ليسا",
    "fd": "ليستا",
    "mp": "ليسوا",
    "fp": "لسن",
}
WHO = {"ms": "الذي", "fs": "التي", "mp": "الذين", "fp": "اللاتي"}
HABITUAL = (None, "every_day", "often", "always")  # times that a general truth may have
ARRIVE = {"under_tree": "إلى ظل الشجرة", "near_river": "إلى ضفة النهر"}  # not إلى تحت, إلى قرب
BE = {"p": "كان", "i": "يكون", "c": "h"}
ON = {
    "ي": "علي",
    "ك": "عليك",
    "ه": "عليه",
    "ها": "عليها",
    "نا": "علينا",
    "هم": "عليهم",
    "هن": "عليهن",
    "هما": "عليهما",
}
THEY = {"fp": "هن", "md": "هما", "fd": "هما"}  # "they" of women only, and of two


# -------------------------------------------------------------------------------------------- verbs
def perfect(v: dict, person: str) -> str:
    p, kind = v["p"], v.get("c")
    # the stem before ت, نا, ن: hollow verbs lose the long vowel, doubled ones split, defective ones
    # show their ي
    short = v.get("ps") or (
        p[:-2] + p[-1]
        if kind == "h"
        else p + p[-1]
        if kind == "d"
        else p[:-1] + "ي"
        if p[-1] == "ى"
        else p
    )
    if person in ("1s", "2s"):
        return short + "ت"
    if person in ("1p", "fp"):
        return (short[:-1] if short[-1] == "ن" else short) + ("نا" if person == "1p" else "ن")
    if person == "ms":
        return p
    if person == "mp":  # نسوا, بكوا; a final hamza moves to the seat ؤ: قرؤوا, جاؤوا
        return (p[:-1] + "ؤ" if p[-1] in "أء" else p[:-1] if p[-1] in "ىي" else p) + "وا"
    if person == "md":
        return p[:-1] + "آ" if p[-1] == "أ" else (p[:-1] + "ي" if p[-1] == "ى" else p) + "ا"
    return (p[:-1] if p[-1] == "ى" else p) + ("ت" if person == "fs" else "تا")


def imperfect(v: dict, person: str, mood: str = "ind") -> str:
    """mood: "ind", "sub" (after أن and لن) or "jus" (after لم)."""
    stem, kind = v["i"][1:], v.get("c")
    weak = stem[-1] in "يى"
    if person == "mp":  # يقرؤون; defective verbs lose their last letter: يبكون, ينسون
        stem = (stem[:-1] + "ؤ" if stem[-1] == "أ" else stem[:-1] if weak else stem) + (
            "ون" if mood == "ind" else "وا"
        )
    elif person == "fp":  # the same in all moods
        stem = (
            stem[:-2] + stem[-1]
            if kind == "h"
            else stem + stem[-1]
            if kind == "d"
            else stem[:-1] + "ي"
            if weak
            else stem
        )
        stem = (stem[:-1] if stem[-1] == "ن" else stem) + "ن"
    elif person in ("md", "fd"):
        stem = stem[:-1] + "آ" if stem[-1] == "أ" else (stem[:-1] + "ي" if weak else stem) + "ا"
        stem += "ن" if mood == "ind" else ""
    elif mood == "jus":
        stem = stem[:-1] if weak else stem[:-2] + stem[-1] if kind == "h" else stem
    return (PREFIX[person] + stem).replace("أأ", "آ")


# ----------------------------------------------------------------------------- nouns and adjectives
def decline(stem: str, kind: str, case: str, state: str) -> str:
    """kind: t(riptote), d(iptote), x (defective), five (أب, أخ), smp (sound masculine plural),
    du(al)."""
    if kind in ("smp", "du"):
        ending = "ي" if case != "n" else "و" if kind == "smp" else "ا"
        word = stem + ending + ("" if state == "con" else "ن")
    elif kind == "five" and state == "con":
        word = stem + {"n": "و", "a": "ا", "g": "ي"}[case]
    else:
        word = stem
        if state == "indef" and case == "a":
            word += "" if kind == "d" or stem.endswith(("ة", "اء", "ى", "ا")) else "ا"
        elif state == "indef" and kind == "x":
            word = stem[:-1]
    return "ال" + word if state == "def" else word


def suffixed(stem: str, kind: str, case: str, suffix: str) -> str:
    """A declined word with a possessive suffix."""
    if suffix == "ي":  # "my" swallows the ending: معلمي, كتابي (but كتاباي), أبي, قاضي
        if kind in ("smp", "five") or kind == "du" and case != "n":
            return stem + "ي"
        if kind == "x":
            return stem
        if kind != "du" and stem.endswith("اء"):
            return stem[:-1] + "ئي"
    word = decline(stem, kind, case, "con")
    if word[-1] == "ة":
        word = word[:-1] + "ت"
    elif word[-1] == "ى":
        word = word[:-1] + "ا"
    elif word.endswith("اء"):
        word = word[:-1] + {"n": "ؤ", "a": "ء", "g": "ئ"}[case]
    return word + suffix


def dual_stem(singular: str, adjective: bool = False) -> str:
    if singular[-1] == "ة":
        return singular[:-1] + "ت"
    if singular[-1] == "ى":
        return singular[:-1] + "ي"
    return singular[:-1] + "و" if adjective and singular.endswith("اء") else singular


def with_prep(prep: str | None, np: str) -> str:
    return np if prep is None else prep + np if prep == "ب" else f"{prep} {np}"


class Arabic(Linearizer):
    code = "ar"

    def __init__(self, lex=None):
        super().__init__(lex)
        self.adjective = functools.cache(self._adjective)

    # ---- words
    def noun_stem(self, concept: str, number: str, state: str) -> tuple[str, str]:
        """The stem that `decline` wants, and its kind."""
        w = self.words[concept]
        singular = w["the"] if state == "def" and "the" in w else w["n"]
        kind = "x" if "x" in w else "five" if "five" in w else "t"
        if number == "sg":
            return singular, kind
        if number == "coll":
            return w["coll"]["n"], "d" if "d" in w["coll"] else "t"
        if number == "du":
            return w.get("du") or (singular + "و" if kind == "five" else dual_stem(singular)), "du"
        if "s" in w:
            return singular[:-1] if kind == "x" else singular, "smp"
        return w["pl"], "d" if "d" in w or w["pl"].endswith("ات") else "t"

    def noun(self, concept: str, number: str, case: str, state: str, owner: str = "") -> str:
        """`owner` (with state "con"): a suffix that starts with "+", or a name."""
        stem, kind = self.noun_stem(concept, number, state)
        w = self.words[concept]
        if "one" in w and number == "sg" and owner[:1] == "+":  # not حبة بطاطسها
            return suffixed(w["one"], "t", case, owner[1:])
        if "my" in w and number == "pl" and owner == "+ي":  # معلمي is "my teacher" as well
            return suffixed(w["my"], "t", case, "ي")
        tail = w.get("tail")
        if (
            tail and number != "coll"
        ):  # a fixed idafa: its second half carries the article or the owner
            second = (
                tail + owner[1:]
                if owner[:1] == "+"
                else f"{tail} {owner}"
                if owner
                else "ال" * (state == "def") + tail
            )
            return f"{decline(stem, kind, case, 'con')} {second}"
        if owner[:1] == "+":
            return suffixed(stem, kind, case, owner[1:])
        word = decline(stem, kind, case, state)
        return f"{word} {owner}" if owner else word

    def epithet(self, concept: str, agr: str, case: str, state: str) -> list[str]:
        """The adjective that is part of what a thing is called: رسالة آنا النصية."""
        word = self.words[concept].get("epithet")
        if not word:
            return []
        stem, kind = (dual_stem(word), "du") if agr[1] == "d" else (word, "t")
        return [decline(stem, kind, case, state)]

    def _adjective(
        self, concept: str, agr: str, case: str, state: str, head: str | None = None
    ) -> str:
        """`head`: the concept described, since a boy, an animal and a man are "young" in three
        words."""
        w = self.words[concept]
        if head:
            kinds = (head, self.lex.noun_class.get(head), "animate" * self.lex.animate(head))
            w = next((w[kind] for kind in kinds if kind in w), w)
        if "tail" in w:  # ليمونة آنا الغالية الثمن: the lemon is dear, not Anna
            kind, stem = ("du", dual_stem(w[agr[0]])) if agr[1] == "d" else ("t", w[agr[0]])
            return f"{'ال' * (state == 'def')}{decline(stem, kind, case, 'con')} {w['tail']}"
        if agr[1] == "d":
            return decline(dual_stem(w[agr[0]], adjective=True), "du", case, state)
        if agr == "fp":
            return decline(w["f"].removesuffix("ة") + "ات", "d", case, state)
        if agr == "mp":
            if "s" in w:
                return decline(w["m"][:-1] if "x" in w else w["m"], "smp", case, state)
            return decline(w["pl"], "t", case, state)
        return decline(
            w[agr[0]], "d" if "d" in w else "x" if "x" in w and agr == "ms" else "t", case, state
        )

    # ---- noun phrases
    def grammatical_number(self, np: NP) -> str:
        """ "sg", "pl", "du" or "coll": apples that nobody counts are تفاح, three are تفاحات."""
        if np.numeral == "two":
            return "du"
        uncounted = np.number == "pl" and not np.numeral
        return "coll" if uncounted and "coll" in self.words[np.head] else np.number

    def generic(self, np: NP) -> NP:
        """A kind takes the article: يحب الشاي, الكلاب تسبح."""
        kind = np.number == "pl" or np.head in self.lex.mass
        return replace(np, definite=True) if kind and not np.numeral else np

    def any_animal(self, np: NP | Both) -> bool:
        """True of "a goat", which stands for its kind where one says what it can do."""
        if isinstance(np, Both) or np.definite or np.possessor or np.adjective:
            return False
        return np.number == "sg" and self.lex.noun_class.get(np.head) == "animal"

    def agreement(self, subject: NP | Both) -> str:
        """Agreement key of a phrase; two singulars make a dual, and one male or human makes the
        whole male or human."""
        if isinstance(subject, Both):
            a, b = (self.agreement(x) for x in (subject.first, subject.second))
            gender = "f" if a[0] == b[0] == "f" else "m"
            if subject.first.number == subject.second.number == "sg":
                return gender + "d"
            people = [x for x in (subject.first, subject.second) if self.lex.person(x.head)]
            if not people:
                return "fs"
            return (
                "f" if all(x.head in self.lex.female for x in people) and gender == "f" else "m"
            ) + "p"
        category = self.lex.category[subject.head]
        if category == "pronoun":
            return self.words[subject.head]["a"]
        if category == "name":
            return "fs" if subject.head in self.lex.female else "ms"
        if self.grammatical_number(subject) == "coll":
            return self.words[subject.head]["coll"]["g"] + "s"
        gender = self.words[subject.head]["g"]
        if subject.numeral == "two":
            return gender + "d"
        if subject.number == "sg":
            return gender + "s"
        return gender + "p" if self.lex.person(subject.head) else "fs"

    def phrase(self, np: NP | Both, case: str) -> str:
        if isinstance(np, Both):
            return f"{self.phrase(np.first, case)} و{self.phrase(np.second, case)}"
        category = self.lex.category[np.head]
        if category != "noun":
            return self.words[np.head]["n"] if category == "pronoun" else self.words[np.head]
        number = self.grammatical_number(np)
        counted = np.numeral and number == "pl"
        definite = bool(np.definite or np.possessor)
        numeral = self.words[np.numeral][self.words[np.head]["g"]] if counted else ""
        if np.possessor:
            owner = self.words[np.possessor]
            parts = [
                self.noun(
                    np.head,
                    number,
                    case,
                    "con",
                    owner if isinstance(owner, str) else "+" + owner["suf"],
                )
            ]
        elif (
            counted and not definite
        ):  # three to ten: the counted noun is an indefinite genitive plural
            case = "g"
            parts = [numeral, self.noun(np.head, number, case, "indef")]
        else:
            parts = [self.noun(np.head, number, case, "def" if definite else "indef")]
        agr, state = self.agreement(np), "def" if definite else "indef"
        parts += self.epithet(np.head, agr, case, state)
        if counted and definite:  # القطط الثلاث
            parts.append("ال" + numeral)
        if number == "du" and case != "n" and "s" in self.words[np.head]:  # معلمين: "teachers" too
            parts.append(decline(self.words["two"][agr[0]][:-2], "du", case, state))
        if np.adjective:
            parts.append(self.adjective(np.adjective, agr, case, state, np.head))
        if np.relative:
            who = (
                {"md": "اللذان", "fd": "اللتان"}
                if case == "n"
                else {"md": "اللذين", "fd": "اللتين"}
            )
            parts += [
                (WHO | who)[agr] if definite else "",
                self.lead(np.relative, agr)[0],
                *self.rest(np.relative, agr),
            ]
        return " ".join(filter(None, parts))

    def swallows(self, subject: NP | Both, c: Clause) -> bool:
        """True where the object just after an indefinite subject would be read as its possessor:
        يطبخ طالب اللحم ("the meat student cooks"). The ن of معلمون and طالبان prevents that."""
        if isinstance(subject, Both) or subject.definite or subject.possessor or subject.adjective:
            return False
        if not c.object or c.modal or self.was(c) or "prep" in self.words[c.verb]:
            return False
        w = self.words[subject.head]
        ends_in_n = subject.numeral == "two" or subject.number == "pl" and "s" in w
        return (c.object.definite or bool(c.object.possessor)) and ("tail" in w or not ends_in_n)

    def merges(self, subject: NP | Both, c: Clause) -> bool:
        """True where subject and object side by side could be read as one phrase: الأحصنة الطائر
        ("the flying horses"), الطبيب توم; or where an animate object could be the subject."""
        if c.kind != "verbal" or not c.object or c.modal or self.was(c):
            return False
        if "prep" in self.words[c.verb]:
            return False
        if self.swallows(subject, c):  # تتبع الحافلة قطة: the bus too could follow
            return self.lex.animate(c.object.head) or (
                self.lex.noun_class[c.object.head] == "vehicle"
            )
        if isinstance(subject, NP) and not (subject.definite or subject.possessor):
            return False
        heads = [x.head for x in (subject, c.object) if isinstance(x, NP)]
        if any(self.lex.category[x] == "pronoun" for x in heads):
            return False
        if self.lex.category[c.object.head] == "name":
            return isinstance(subject, Both) or self.lex.category[subject.head] == "noun"
        animate = self.lex.animate(c.object.head)
        return animate and bool(c.object.definite) and not c.object.possessor

    # ---- clauses
    def was(self, c: Clause) -> bool:
        """True of a past state, said with كان: كان يعرف, لم يكن يعرف."""
        return c.tense == "past" and not c.modal and "state" in self.words.get(c.verb, ())

    def lead(self, c: Clause, person: str) -> tuple[str, bool]:
        """The finite verb with its negation, and whether its form says who "I" is: كتبت is I, you
        or she, أحضر "I bring", "he brought"."""
        if c.kind == "verbal":
            v = BE if self.was(c) else self.words[c.modal or c.verb]
        elif c.tense == "present":
            return LAYSA[person], False
        else:
            v = BE
        if c.tense == "past":
            return (
                ("لم " + imperfect(v, person, "jus"), True)
                if c.negated
                else (perfect(v, person), self.was(c))
            )
        if c.tense == "future":
            return (
                "لن " + imperfect(v, person, "sub") if c.negated else "س" + imperfect(v, person)
            ), True
        verb = imperfect(v, person)
        return (
            ("لا " + verb, True)
            if c.negated
            else (verb, verb not in (v["p"], v["p"].replace("ى", "ي")))
        )

    def rest(self, c: Clause, person: str) -> list[str]:
        """What follows finite verb and subject; `person` is that of the full agreement."""
        parts = [imperfect(self.words[c.verb], person)] if self.was(c) else []
        if c.modal:
            parts = [
                "ألا" if c.modal == "must" and c.negated else "أن",
                imperfect(self.words[c.verb], person, "sub"),
            ]
        if c.object:
            prep = self.words[c.verb].get("prep")
            what = self.generic(c.object) if c.verb == "love" else c.object
            parts.append(with_prep(prep, self.phrase(what, "g" if prep else "a")))
        where = [self.words[c.place]] if c.place else []
        if c.verb in ("arrive", "come") and where:  # one arrives "to" a place
            where = [ARRIVE.get(c.place) or "إلى " + where[0].partition(" ")[2]]
        # not at the end, where it describes an adjective: التاجر المشهور دائما
        if c.time == "always":
            return [self.words[c.time], *parts, *where]
        return parts + where + ([self.words[c.time]] if c.time else [])

    def clause(self, c: Clause, mode: str = "main", antecedent: str = "") -> str:
        """mode: "main", "and" (a main clause after و), "question" or "because".
        antecedent: agreement of the first clause's subject, which "they" takes up."""
        if c.kind == "existential":
            return self.existential(c, mode)
        subject, copula = c.subject, c.kind in ("adjective", "noun")
        if (
            isinstance(subject, NP)
            and c.tense == "present"
            and c.time in HABITUAL
            and not c.place
            and (c.negated or c.object is None or c.verb == "love" or c.modal in ("can", "must"))
        ):  # "dogs swim" is said of the kind, "dogs see a cat" of some dogs
            subject = self.generic(subject)
        if c.modal == "can" and self.any_animal(subject):  # العنزة تستطيع أن تأكل التفاح
            subject = replace(subject, definite=True)
            c = replace(c, object=c.object and self.generic(c.object))
        pronoun = isinstance(subject, NP) and self.lex.category[subject.head] == "pronoun"
        me = self.words[subject.head] if pronoun else {}
        if pronoun and subject.head == "they" and antecedent in THEY:
            me = {"n": THEY[antecedent], "suf": THEY[antecedent], "p": antecedent, "a": antecedent}
        agr = me["a"] if pronoun else self.agreement(subject)
        person = me["p"] if pronoun else agr
        bare = copula and c.tense == "present" and not c.negated  # no verb at all
        definite = isinstance(subject, Both) or subject.definite or subject.possessor
        there = ["هناك"] * (not definite and (bare or c.negated and mode != "question"))
        if copula:
            case = "n" if bare else "a"
            if bare and there:  # هناك ثلاث قطط جائعة: as within the noun phrase
                case = "g" if subject.numeral != "two" else "a" if mode == "because" else "n"
            rest = [
                self.adjective(c.adjective, agr, case, "indef", getattr(subject, "head", None))
                if c.kind == "adjective"
                else self.noun(c.noun, "sg", case, "indef")
            ]
            rest += [self.words[a] for a in (c.place, c.time) if a]
        else:
            rest = self.rest(c, person)
        if c.modal == "must":  # impersonal: "it's incumbent on X that he …"
            on = ON[me["suf"]] if pronoun else "على " + self.phrase(subject, "g")
            start = {"question": "هل ", "because": "لأنه "}.get(mode, "")
            return start + " ".join(["يجب", on, *rest])
        if mode == "because":  # لأن takes an accusative subject or a suffix
            start = [because(me["suf"])] if pronoun else ["لأن", *there, self.phrase(subject, "a")]
            return " ".join(start + ([] if bare else [self.lead(c, person)[0]]) + rest)
        said = me["n"] if pronoun else self.phrase(subject, "n")
        if bare:
            return " ".join(["هل"] * (mode == "question") + there + [said] + rest)
        merged = self.merges(subject, c)
        if merged and not definite:
            there = ["هناك"]  # هناك دب يتبع الطبيب, أليس هناك صديق سيسمع الرسامين
        # هل تعمل is "do you work", so "she" opens the question; ألا and ألم keep their verb
        if mode == "question":
            she = pronoun and subject.head == "she"
            verb_first = not merged and (copula or c.negated or not she)
        else:  # و and a subject would be read as one more object
            verb_first = not (pronoun or there or merged) and (
                copula or not definite or mode == "and"
            )
        near = self.agreement(subject.first if isinstance(subject, Both) else subject)[0] + "s"
        if verb_first and not pronoun:  # gender agreement only, with the first of two
            person = near
        if merged and mode == "question" and c.negated:  # أليست الأحصنة ترى الطائر
            verb = self.lead(replace(c, negated=False), person)[0]
            verb = f"قد {verb}" if c.tense == "past" else verb
            return " ".join(["أ" + LAYSA[near], *there, said, verb, *rest])
        verb, clear = self.lead(c, person)
        if verb_first and c.time == "always":  # before the subject too, which may have an adjective
            verb = f"{verb} {rest.pop(0)}"
        silent = ["we", "they"] + ["i"] * clear
        if verb_first:  # an adjective shows that "she" is asked about
            silent += ["he"] + ["she"] * copula
            # هل ساعدت عمات آنا is "did Anna's aunts help?"; كنت and زرت can't be "she"
            alive = c.object and self.lex.animate(c.object.head)
            past = c.tense == "past" and not copula
            if not (past and alive) or self.lead(c, "2s")[0] != self.lead(c, "fs")[0]:
                silent.append("you")
        # a new subject is said: الولد ينام وهم يعملون, but الأولاد ينامون ويعملون
        taken_up = pronoun and subject.head == "they" and antecedent[1:] in ("p", "d")
        if pronoun and subject.head in silent and (mode != "and" or taken_up):
            said = ""
        order = [verb, said, *rest] if verb_first else [*there, said, verb, *rest]
        if verb_first and self.swallows(subject, c):
            order = [verb, rest[0], said, *rest[1:]]
        words = " ".join(filter(None, order))
        return words if mode != "question" else ("أ" if c.negated else "هل ") + words

    def existential(self, c: Clause, mode: str) -> str:
        person = self.agreement(c.subject)[0] + "s"
        verb = "" if c.tense == "present" and not c.negated else self.lead(c, person)[0] + " "
        case = "a" if mode == "because" and not verb else "n"
        words = " ".join(
            [
                f"{verb}هناك",
                self.phrase(c.subject, case),
                *(self.words[a] for a in (c.place, c.time) if a),
            ]
        )
        start = {"question": "أ" if c.negated else "هل ", "because": "لأنه " if verb else "لأن "}
        return start.get(mode, "") + words

    # ---- the four public methods
    def sentence(self, s: Sentence) -> str:
        text = self.clause(s.clause, "question" if s.question else "main")
        if s.second:
            first, who = s.clause.subject, self.agreement(s.clause.subject)
            if isinstance(first, NP) and self.lex.category[first.head] == "pronoun":
                who = who if first.head == "they" else ""
            same = first == s.second.subject  # نأخذ الليمونة ونضحك, not ونحن نضحك
            text += (
                " و" + self.clause(s.second, "main" if same else "and", who)
                if s.link == "and"
                else " " + self.clause(s.second, "because", who)
            )
        return text + ("؟" if s.question else ".")

    def noun_phrase(self, np: NP) -> str:
        return self.phrase(np, "n")

    def citation(self, concept: str, form: str = "") -> str:
        w, category = self.words[concept], self.lex.category[concept]
        if isinstance(w, str):
            return w
        if category == "noun":
            number = "pl" if form == "pl" and concept not in self.lex.mass else "sg"
            word = self.noun(concept, number, "n", "indef")
            return " ".join([word, *self.epithet(concept, "fs", "n", "indef")])
        if category == "verb":  # no infinitive in Arabic: the form that modals take stands for it
            he = {
                "infinitive": "أن " + imperfect(w, "ms", "sub"),
                "present": w["i"],
                "past": w["p"],
                "future": "س" + w["i"],
            }[form]
            return f"{he} {w['prep']}" if "prep" in w else he
        if category == "modal":
            return w["i"]
        if category == "adjective":
            return self.adjective(concept, "ms", "n", "indef")
        return w.get("n") or w["m"]

    def fact(self, relation: str, subject: str) -> str:
        name = self.words[subject]
        return {
            "capital": f"عاصمة {name} هي",
            "country": f"{name} مدينة في",
            "continent": f"{name} دولة في",
        }[relation]


def because(suffix: str) -> str:
    return "لأنني" if suffix == "ي" else "لأننا" if suffix == "نا" else "لأن" + suffix


LINEARIZER = Arabic
