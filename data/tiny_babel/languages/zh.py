"""Mandarin Chinese in simplified characters: classifiers, 了 for past events, 的 before the noun, no
inflection and no spaces."""

from __future__ import annotations

from grammar import NP, Both, Clause, Lexicon, Linearizer, Sentence

THEN = "当时"  # "at that time": marks the past where 了 cannot (states, 是, 有)
FACTS = {"capital": "{}的首都是", "country": "{}这座城市位于", "continent": "{}这个国家位于"}


class Chinese(Linearizer):
    code = "zh"

    def __init__(self, lex: Lexicon | None = None):
        super().__init__(lex)
        # A verb, time or noun given as a plain string is a regular one.
        for concept, entry in self.words.items():
            key = {"verb": "v", "time": "t", "noun": "n"}.get(self.lex.category[concept])
            if key and isinstance(entry, str):
                self.words[concept] = {key: entry}

    # ---- the four public methods
    def sentence(self, s: Sentence) -> str:
        text = self.clause(s.clause, s.question)
        if s.second:  # clauses joined by "and" simply follow each other
            text += ("，因为" if s.link == "because" else "，") + self.clause(s.second)
        return text + ("吗？" if s.question else "。")

    def noun_phrase(self, np: NP) -> str:
        return self.np(np)

    def citation(self, concept: str, form: str = "") -> str:
        entry, category = self.words[concept], self.lex.category[concept]
        if category == "noun":
            return (
                "一些" + entry["n"] if form == "pl" and concept not in self.lex.mass else entry["n"]
            )
        if category == "verb":
            past = THEN + entry["v"] if entry.get("stative") else self.perfective(entry, entry["v"])
            return {"past": past, "future": "会" + entry["v"]}.get(form, entry["v"])
        if category == "modal":
            return entry[0]
        if category in ("adjective", "time"):
            return entry["p" if category == "adjective" else "t"]
        return entry

    def fact(self, relation: str, subject: str) -> str:
        return FACTS[relation].format(self.words[subject])

    # ---- noun phrases
    def np(self, np: NP, negated: bool = False) -> str:
        """Possessor, then 那些 or number + classifier, then relative clause or adjective, then the
        noun. A definite singular is bare; an indefinite under negation (`negated`) takes 任何
        "any"."""
        entry = self.words[np.head]
        if isinstance(entry, str):  # a name or a pronoun
            return entry
        noun, mass = entry["n"], np.head in self.lex.mass
        owner = self.words[np.possessor] + "的" if np.possessor else ""
        definite = np.definite or owner
        if np.numeral:
            amount = self.words[np.numeral] + entry["c"]
        elif mass or definite and np.number == "sg":
            amount = ""
        elif definite:
            amount = "那些"
        elif negated:
            amount = "任何"
        else:
            amount = "一些" if np.number == "pl" else "一" + entry["c"]
        relative = self.relative(np.relative) if np.relative else ""
        adjective = self.attribute(np.adjective, np.head) if np.adjective else ""
        if adjective and adjective[0] == noun[0]:  # 大的大象, not 大大象
            adjective += "的"
        return owner + amount + relative + adjective + noun

    def adjective(self, concept: str, head: str) -> tuple[str, str]:
        """Predicative and attributive form; "old" has one word for the living, one for things and
        one for places."""
        entry = self.words[concept]
        if "animate" in entry:
            place = self.lex.noun_class.get(head) in ("building", "nature")
            return entry["animate" if self.lex.animate(head) else "place" if place else "thing"]
        return entry["p"], entry.get("a") or entry["p"] + "的"

    def attribute(self, concept: str, head: str) -> str:
        return self.adjective(concept, head)[1]

    def relative(self, c: Clause) -> str:
        # 来了的狗 is awkward: without an object the past shows in 当时 instead of 了
        if c.tense == "past" and c.object is None:
            return THEN + self.words[c.verb]["v"] + "的"
        return self.predicate(c) + "的"

    def subject(self, x: NP | Both) -> str:
        """Subjects are definite in Chinese; an indefinite one is introduced by 有 "there is"."""
        if isinstance(x, Both):
            return self.np(x.first) + "和" + self.np(x.second)
        indefinite = not (x.definite or x.possessor or x.head in self.lex.mass)
        return ("有" if indefinite and self.lex.category[x.head] == "noun" else "") + self.np(x)

    # ---- clauses
    def clause(self, c: Clause, question: bool = False) -> str:
        time = self.words[c.time]["t"] if c.time else ""
        then = time or (THEN if c.tense == "past" else "")
        if c.kind == "existential":  # 花园里有一只狗
            place = self.words[c.place].removeprefix("在")
            if c.negated:  # 没有狗: neither number nor classifier
                return (
                    place
                    + then
                    + "没有"
                    + self.np(NP(c.subject.head, adjective=c.subject.adjective))
                )
            return place + then + "有" + self.np(c.subject)
        subject = self.subject(c.subject)
        place = self.words[c.place] if c.place else ""
        if c.kind == "noun":
            return subject + then + place + self.not_or_will(c) + "是" + self.words[c.noun]["n"]
        if c.kind == "adjective":
            return subject + then + place + self.quality(c, question)
        return subject + self.predicate(c)

    @staticmethod
    def not_or_will(c: Clause) -> str:
        return ("不" if c.negated else "") + ("会" if c.tense == "future" else "")

    def quality(self, c: Clause, question: bool) -> str:
        """很大, 不大, 大吗, 会很大, 不会很大; 是红色的; 生病了, 没生病."""
        entry, before = self.words[c.adjective], self.not_or_will(c)
        if entry.get("is"):
            return before + "是" + entry["p"] + "的"
        if entry.get("verb"):
            if c.tense == "future":
                return before + entry["p"]
            return "没" + entry["p"] if c.negated else entry["p"] + "了"
        plain = question and not self.subject(c.subject).startswith(
            "有"
        )  # 狗大吗, but 有五只狗很大吗
        very = "很" if c.tense == "future" or not (c.negated or plain) else ""
        head = c.subject.first.head if isinstance(c.subject, Both) else c.subject.head
        return before + very + self.adjective(c.adjective, head)[0]

    @staticmethod
    def perfective(entry: dict, verb: str) -> str:
        return entry["le"] if "le" in entry else verb + "了"

    def predicate(self, c: Clause) -> str:
        """Everything after the subject: time, negation or auxiliary, place, verb, object."""
        entry = self.words[c.verb]
        head = c.object.head if c.object else ""  # 喝汤, not 吃汤; 拜访 people, but 参观 a museum
        verb = entry.get(head) or entry.get(
            self.lex.noun_class.get(head, "person" if head else ""), entry["v"]
        )
        place = self.words[c.place] if c.place else ""
        time, auxiliary = (self.words[c.time] if c.time else {"t": ""}), ""
        adverb, before_verb = time["t"], ""
        # "not always / not often" negates the adverb only, so that no "any" follows
        obj = (
            self.np(c.object, c.negated and ("neg" not in time or c.tense == "future"))
            if c.object
            else ""
        )
        if c.negated and "neg" in time:  # 不经常打开礼物
            obj = obj.removeprefix("一些")
        if place and "goal" in entry:  # 来到桥上: the place is where one ends up
            verb, obj, place = entry["goal"], place.removeprefix("在"), ""
        if c.modal:
            auxiliary = self.words[c.modal][c.negated]
        elif c.negated and "neg" in time:  # 不总是: the negation stands before this adverb
            adverb, auxiliary = "", time["neg"]
        elif c.tense == "past" and not entry.get("stative"):
            auxiliary = "没" if c.negated else ""
            verb = verb if c.negated else self.perfective(entry, verb)
        elif c.negated and c.tense == "present" and "no" in entry:  # 看不见, not 不看见
            verb = entry["no"]
        else:
            adverb = adverb or (THEN if c.tense == "past" else "")
            auxiliary = self.not_or_will(c)
        if "pre" in entry:  # 给安娜打电话
            before_verb, obj = entry["pre"] + obj, ""
        if entry.get("stative"):  # 在花园里不需要, but 不在花园里睡觉
            auxiliary, place = place + auxiliary, ""
        return adverb + auxiliary + place + before_verb + verb + obj


LINEARIZER = Chinese
