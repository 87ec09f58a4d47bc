"""Mandarin Chinese in simplified characters: classifiers, 了 for past events, 的 before the noun, no
inflection and no spaces."""

from __future__ import annotations

from dataclasses import replace

from grammar import NP, Both, Clause, Lexicon, Linearizer, Sentence

# Definite things and animals that, bare, would be any of their kind: 修理自行车 is "repairs bicycles"
COUNTED = ("text", "nature", "thing", "clothing", "food", "vehicle", "animal")
THEN = "当时"  # "at that time": marks the past where 了 cannot (states, 是, 有)
UNGOING = {"stative", "unable"}  # verbs with either take no 正在
NO_COURSE = {*UNGOING, "chance", "point"}  # nor do verbs with one of these take a plain 在
OFTEN = {"every_day", "often", "always"}
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
            second = self.clause(s.second)
            women = self.head(s.clause.subject) in self.lex.female
            if s.second.subject == NP("they") and women:  # 阿姨们跳舞，因为她们很快乐
                second = second.replace("他们", "她们", 1)
            if s.link == "and" and THEN in text:  # once is enough for both clauses
                second = second.replace(THEN, "")
            text += ("，因为" if s.link == "because" else "，") + second
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
            past = entry["v"] + "过" if "guo" in entry else past
            future = entry.get("will", "将") + entry["v"]
            return {"past": past, "future": future}.get(form, entry["v"])
        if category == "modal":
            return entry[0]
        if category in ("adjective", "time"):
            return entry["p" if category == "adjective" else "t"]
        return entry

    def fact(self, relation: str, subject: str) -> str:
        return FACTS[relation].format(self.words[subject])

    # ---- noun phrases
    def np(
        self,
        np: NP,
        negated: bool = False,
        is_object: bool = False,
        bare: bool = False,
        that: bool = False,
        said_with: str = "",
    ) -> str:
        """Possessor, then 那些 or number + classifier, then relative clause or adjective, then the
        noun. A definite singular is mostly bare unless it is asked for as 那 (`that`), and so is
        whatever is asked to be (`bare`); an indefinite under negation (`negated`) takes 任何 "any".
        `said_with` is the verb or predicate that may ask for another noun (吃米饭, but 卖大米)."""
        entry = self.words[np.head]
        if isinstance(entry, str):  # a name or a pronoun
            return entry
        noun, mass = entry.get(said_with, entry["n"]), np.head in self.lex.mass
        owner = self.words[np.possessor] + "的" if np.possessor else ""
        definite = np.definite or owner
        several = np.number == "pl" and self.lex.person(np.head) and not entry.get("that")
        if np.numeral:
            amount = self.words[np.numeral] + entry["c"]
        elif mass or owner or bare:
            amount = ""
        elif definite and np.number == "sg":
            # 读书 is "to study", 参观桥 limps, 看见红色的汽车 is any red car: such objects take 那
            generic = self.lex.noun_class[np.head] in ("text", "nature") or len(noun) == 1
            that = entry.get("that", that or is_object and (generic or np.adjective))
            amount = "那" + entry["c"] if that else ""
        elif definite:
            amount = "" if several else "那些"
        elif negated:
            amount = "任何"
        else:
            amount = "一些" if np.number == "pl" else "一" + entry["c"]
        if several and definite and not (np.numeral or bare):
            noun += "们"  # 医生们, where things and animals take 那些
        relative = self.relative(np.relative, np.head) if np.relative else ""
        adjective = self.adjective(np.adjective, np.head)[1] if np.adjective else ""
        if adjective and adjective[0] == noun[0]:  # 大的大象, not 大大象
            adjective += "的"
        if owner and not amount and np.adjective and len(noun) > 1:
            if self.words[np.adjective].get("is"):  # 保罗的红色飞机, not 保罗红色的飞机
                adjective = adjective.removesuffix("的")
        # 她年老的邻居 and 他们黑色的门 drop one 的, but not 彼得的绿色的梨 and 彼得的好的客人
        colour = np.adjective and self.words[np.adjective].get("is")
        short = len(adjective) == 2 or colour and self.lex.category.get(np.possessor) == "name"
        if adjective.endswith("的") and not amount and not short:
            owner = owner.removesuffix("的")
        return owner + amount + relative + adjective + noun

    def adjective(self, concept: str, head: str) -> tuple[str, str]:
        """Predicative and attributive form; some nouns and classes ask for a pair of their own."""
        entry = self.words[concept]
        own = entry.get(head) or entry.get(self.lex.noun_class.get(head))
        return own or (entry["p"], entry.get("a") or entry["p"] + "的")

    def relative(self, c: Clause, head: str) -> str:
        if c.tense == "past" and c.object is None:
            # 跳了舞的人, 哭了的人, but 过来的狗, neither 过来了的狗 nor 当时过来的狗
            entry = self.words[c.verb]
            verb = self.verb(entry, head)
            if verb == entry["v"] and ("le" in entry or len(verb) == 1):
                verb = self.perfective(entry, verb)
            return entry.get("who", verb) + "的"
        return self.predicate(c, head) + "的"

    def subject(self, c: Clause, question: bool = False) -> str:
        """Subjects are definite in Chinese; an indefinite one is introduced by 有 "there is" or
        一些, or bare in a yes/no question (有 would itself be what is asked)."""
        x = c.subject
        if isinstance(x, Both):
            return self.np(x.first) + "和" + self.np(x.second)
        if not self.indefinite(x):
            # 番茄不大 says it of all tomatoes
            kind = self.lex.noun_class.get(x.head) in (*COUNTED, "building")
            that = c.kind == "adjective" and kind
            return self.np(x, that=that, said_with=c.adjective or c.verb or "")
        if question:
            return self.np(x, bare=True)
        # 一些歌手, as 有些歌手 is "some of the singers"
        return ("有" + self.np(x)).replace("有一些", "一些")

    def indefinite(self, x: NP | Both | None) -> bool:
        known = not isinstance(x, NP) or x.definite or x.possessor
        return not (known or isinstance(self.words[x.head], str))

    # ---- clauses
    def clause(self, c: Clause, question: bool = False) -> str:
        time = self.words[c.time]["t"] if c.time else ""
        if time and c.negated and c.kind != "existential" and "neg" in self.words[c.time]:
            time = ""  # not_or_will says it
        then = time or (THEN if c.tense == "past" else "")
        if c.kind == "existential":  # 花园里有一只狗
            place = self.words[c.place].removeprefix("在")
            if c.negated:  # 没有狗: neither number nor classifier
                return place + then + "没有" + self.np(replace(c.subject, numeral=None), bare=True)
            return place + then + "有" + self.np(c.subject)
        subject = self.subject(c, question)
        place = self.words[c.place] if c.place else ""
        if c.kind == "noun":
            copula = "成为" if c.tense == "future" else "是"
            before = place + self.not_or_will(c)
            said = subject + then + before + copula + self.words[c.noun]["n"]
            return said.replace("总是是", "总是")
        if c.kind == "adjective":
            said = subject + then + place + self.quality(c, question)
            return said.replace("总是是", "总是")
        said = self.predicate(c, self.head(c.subject), question)
        if subject[0] == "有" and self.indefinite(c.subject):
            # 昨天有一个人听见了, 明天将有一个人来: the time and 将 go before 有
            if then and c.time not in OFTEN and said.startswith(then):
                subject, said = then + subject, said.removeprefix(then)
            if said[0] == "将" and said[1] not in "不会":  # but 将会哭, one syllable alone, stays
                subject, said = subject.replace("有", "将有", 1), said[1:]
        return subject + said

    @staticmethod
    def head(x: NP | Both) -> str:
        return x.first.head if isinstance(x, Both) else x.head

    def not_or_will(self, c: Clause) -> str:
        """The future of a verb is 将 (会 before a skill reads "can": 会唱歌), negated 将不会."""
        if c.negated and c.time and "neg" in self.words[c.time]:  # 不总是很大, not 总是不很大
            return self.words[c.time]["neg"]
        if c.tense == "future":
            return "将不会" if c.negated else "将" if c.kind == "verbal" else "将会"
        return "不" if c.negated else ""

    def quality(self, c: Clause, question: bool) -> str:
        """很大, 不大, 大吗, 将会很大, 将不会很大; 是红色的; 生病了, 没生病."""
        entry, before = self.words[c.adjective], self.not_or_will(c)
        if entry.get("is"):
            return before + "是" + entry["p"] + "的"
        if entry.get("verb"):
            if before not in ("", "不"):
                return before + entry["p"]
            return "没" + entry["p"] if c.negated else entry["p"] + "了"
        quality = self.adjective(c.adjective, self.head(c.subject))[0]
        # 将不会年轻 (很 would be "not very"), but one syllable alone limps: 将不会很大
        future = c.tense == "future" and not (c.negated and len(quality) > 1)
        very = "很" if future or not (c.negated or question) and c.tense != "future" else ""
        return before + very + quality

    @staticmethod
    def perfective(entry: dict, verb: str) -> str:
        return entry["le"] if "le" in entry and verb == entry["v"] else verb + "了"

    def now(self, entry: dict, verb: str, c: Clause, question: bool) -> str:
        """The verb of a plain present: 带着, 到了, and 在 where a bare verb would be a fragment (在哭)
        or "is to" (今天在切肉) or where 有 introduces the subject (有一只羊在喝水)."""
        often, own = c.time in OFTEN, verb == entry["v"]
        if "now" in entry and own:
            return verb if "point" in entry and c.time else entry["now"]
        new = self.indefinite(c.subject) and not question
        if (
            verb[-1] == "着"
            or often
            or entry.keys() & NO_COURSE
            or not (new or c.time or not c.object)
        ):
            return verb
        return "在" + (entry.get("doing", verb) if own else verb)

    def verb(self, entry: dict, head: str) -> str:
        """喝汤, not 吃汤; 拜访 people, but 参观 a museum; without an object, dogs 奔跑."""
        category = self.lex.noun_class.get(head, "person")
        return entry.get(head) or entry.get(category, entry["v"])

    def object(self, c: Clause, question: bool, negated: bool) -> str:
        """The object: 那 picks one where no finished event does (修理那辆自行车, but 修理了自行车)."""
        if c.object is None:
            return ""
        entry, head = self.words[c.verb], c.object.head
        person = self.lex.noun_class.get(head) in ("person", "profession")
        open_ended = c.subject and (c.tense != "past" or c.negated)
        counted = self.lex.noun_class.get(head) in COUNTED
        that = open_ended and counted or entry.get("stative") and (counted or person)
        that = that or entry.get("that") and counted  # 看了那辆自行车
        # 读信吗, not 读一些信吗; 能吃苹果; and in any tense 寻找信的工程师们
        some = c.object.number == "pl" and not (c.object.definite or c.object.numeral)
        bare = (question or c.modal == "can") and some and not c.negated and c.tense == "present"
        bare = bare or some and c.subject is None
        np = self.np(c.object, negated, True, bare, that, said_with=c.verb)
        return np + entry.get("after", "")

    def predicate(self, c: Clause, subject: str, question: bool = False) -> str:
        """Everything after the subject: time, negation or auxiliary, place, verb, object."""
        entry = self.words[c.verb]
        verb = self.verb(entry, c.object.head if c.object else subject)
        place = self.words[c.place] if c.place else ""
        time, auxiliary = (self.words[c.time] if c.time else {"t": ""}), ""
        adverb, before_verb = time["t"] + time.get("all", ""), ""
        # "not always / not often" negates the adverb only, so that no "any" follows
        obj = self.object(c, question, c.negated and ("neg" not in time or c.tense == "future"))
        if c.negated and "neg" in time:  # 不经常打开礼物
            obj = obj.removeprefix("一些")
        if place and "goal" in entry:  # 来到桥上: the place is where one ends up
            verb, obj, place = entry["goal"], place.removeprefix("在"), ""
        unable = c.negated and "unable" in entry and c.tense == "present" and "neg" not in time
        if unable and c.modal in (None, "can"):  # 看不见, neither 不看见 nor 不能看见
            verb = entry["unable"]
        elif c.modal == "can" and "skill" in entry and not (place or obj):  # has learnt to
            auxiliary = "不会" if c.negated else "会"
        elif c.modal:
            auxiliary = self.words[c.modal][c.negated]
        elif c.negated and "neg" in time:  # 不总是: the negation stands before this adverb
            adverb, auxiliary = "", time["neg"]
        elif (
            c.negated
            and (c.time == "now" and not entry.keys() & NO_COURSE or "idle" in entry)
            and (c.tense == "present")
        ):  # 现在没在休息; 狗没在玩, not the fragment 狗不玩
            auxiliary = "没" if place else "没在"
            verb = entry.get("doing", verb) if verb == entry["v"] else verb
        elif c.tense == "past" and "guo" in entry and verb == entry["v"]:
            # 爱过, not 当时爱; 爱吃, 爱喝 and 喜爱 cannot take 过
            auxiliary, verb = "没" if c.negated else "", verb + "过"
        elif c.tense == "past" and not entry.get("stative"):
            auxiliary = "没" if c.negated else ""
            if not c.negated:  # 跳了舞, but 跳舞了吗
                asked = question and not entry.get("le", "了").endswith("了")
                verb = verb + "了" if asked else self.perfective(entry, verb)
        elif c.time == "now" and c.subject and not (c.negated or entry.keys() & UNGOING):
            if verb == entry["v"]:
                lasting = entry.get("now", "").endswith("着")  # 正带着, but 正在修理
                verb = entry["now"] if lasting else entry.get("doing", verb)
            auxiliary = "正" if place or verb.endswith("着") else "正在"
        elif question and c.tense == "present" and "unable" in entry:  # 看得见吗, not 看见吗
            verb = entry["unable"].replace("不", "得")
        elif c.negated and c.tense == "present" and "no" in entry:  # 没到, not 不到达
            verb = entry["no"]
        else:
            adverb = adverb or (entry.get("then", THEN) if c.tense == "past" else "")
            auxiliary = self.not_or_will(c)
            if not auxiliary and c.tense == "present":
                verb = self.now(entry, verb, c, question)
                if place:  # 在学校哭, but 在哭
                    verb = verb.removeprefix("在").removeprefix("正在")
            if auxiliary == "将":  # 将买, but 将会哭: one syllable alone limps
                auxiliary = entry.get("will", "将")
            if "chance" in entry and auxiliary == "不":  # 不会摔倒: nobody chooses to fall
                auxiliary = "不会"
        if "pre" in entry:  # 给安娜打电话, 在给安娜打电话
            if verb[0] == "在":
                auxiliary, verb = auxiliary + "在", verb[1:]
            before_verb, obj = entry["pre"] + obj, ""
        if entry.get("stative"):  # 在花园里不需要, but 不在花园里睡觉
            auxiliary, place = place + auxiliary, ""
        return adverb + auxiliary + place + before_verb + verb + obj


LINEARIZER = Chinese
