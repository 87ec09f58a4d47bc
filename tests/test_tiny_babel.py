"""Tiny Babel: the committed files, the splits, the spelling of each language, the tags, and what
the base models may read."""

import ast
import dataclasses
import hashlib
import itertools
import json
import re
import sys
import unicodedata
from collections import Counter
from pathlib import Path

import pytest

DATA = Path(__file__).parents[1] / "data"
BABEL = DATA / "tiny_babel"
sys.path[:0] = [str(BABEL), str(DATA / "models")]
import data_card  # noqa: E402
import scenes  # noqa: E402
from build import build, clear, neighbours  # noqa: E402
from documents import Documents  # noqa: E402
from grammar import (  # noqa: E402
    FORMS,
    HELD_BACK,
    LANGUAGES,
    NP,
    Clause,
    Sentence,
    is_simple,
    lexicon,
    linearizers,
    translations,
)
from sampler import Sampler  # noqa: E402

from lander_lite.languages import language_name  # noqa: E402

SPLITS = ("train", "valid", "test")
LATIN = {
    "en": "",
    "de": "äöüßÄÖÜ",
    "it": "àèéìòùÈ",
    "fr": "àâçéèêëîïôœùûÉÀÊ",
    "af": "êëéôóèïûîöü",
}  # letters beside A-Z


@pytest.fixture(scope="module")
def rows():
    return {name: data_card.rows(name) for name in data_card.FILES}


@pytest.fixture(scope="module")
def texts(rows):
    """language -> every sentence of the corpus, parallel and monolingual."""
    found = {
        code: [row["translation"][code] for split in SPLITS for row in rows[split]]
        for code in LANGUAGES
    }
    for row in rows["mono"]:
        found[row["lang"]].append(row["text"])
    return found


@pytest.fixture(scope="module")
def fresh():
    """2,000 meanings that are not those of the corpus."""
    sampler = Sampler(987)
    return [sampler.full() if i % 3 else sampler.simple() for i in range(2000)]


def matching(pattern, sentences):
    """The sentences that break a rule; a few are enough to see which."""
    return list(itertools.islice((s for s in sentences if re.search(pattern, s)), 5))


# -------------------------------------------------------------------------------------------- files
def test_committed_files_are_what_the_grammar_builds(tmp_path):
    counts = build(tmp_path)
    assert (
        set(counts)
        == {f"{name}.jsonl" for name in data_card.FILES}
        == {path.name for path in BABEL.glob("*.jsonl")}
    )
    digest = {
        folder: {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in counts}
        for folder in (tmp_path, BABEL)
    }
    assert digest[tmp_path] == digest[BABEL], (
        "the grammar or the lexicon has changed: run data/tiny_babel/build.py and data_card.py"
    )


def test_the_card_has_the_tables_of_the_files():
    text = data_card.CARD.read_text(encoding="utf-8")
    assert text == data_card.rewritten(text), "run data/tiny_babel/data_card.py"
    assert (
        data_card.rewritten(text.replace("| `negation` |", "| `negatoin` |")) == text
    )  # a wrong table would be noticed
    with pytest.raises(ValueError, match="marker"):
        data_card.rewritten("a card without markers")


def test_sizes(rows):
    assert len(rows["train"]) >= 8000 and len(rows["valid"]) >= 500 and len(rows["test"]) >= 500
    mono = Counter(row["lang"] for row in rows["mono"])
    assert {mono[code] for code in LANGUAGES if code != "af"} == {20 * mono["af"]}
    assert len(lexicon().category) >= 300
    tags = Counter(tag for row in rows["test"] for tag in row["constructions"])
    assert sum(n >= 20 for n in tags.values()) >= 12
    assert all(tags[tag] >= 20 for tag in HELD_BACK)


def test_schema(rows):
    for row in itertools.chain.from_iterable(rows[split] for split in SPLITS):
        assert list(row) == ["translation", "constructions"] and list(row["translation"]) == list(
            LANGUAGES
        )
        assert all(row["translation"].values()) and row["constructions"]
    assert all(list(row) == ["lang", "text"] for row in rows["mono"])
    facts = rows["facts"]
    assert all(
        list(row) == ["lang", "fact", "relation", "prompt", "answer"]
        and row["prompt"]
        and row["answer"]
        for row in facts
    )
    assert set(Counter(row["fact"] for row in facts).values()) == {len(LANGUAGES)}
    answers = {}
    for row in facts:  # a prompt has one answer
        assert answers.setdefault((row["lang"], row["prompt"]), row["answer"]) == row["answer"]


def test_no_text_in_two_splits_nor_in_mono(rows):
    home = {}
    for split in SPLITS:
        for i, row in enumerate(rows[split]):
            for text in set(row["translation"].values()):
                assert home.setdefault(text, (split, i)) == (split, i), (
                    f"{text} stands in {home[text]} and {split} {i}"
                )
    mono = [row["text"] for row in rows["mono"]]
    assert len(mono) == len(set(mono)) and not [text for text in mono if text in home][:5]


def content_words() -> dict[str, set[str]]:
    """English word -> the concepts that it may stand for."""
    found: dict[str, set[str]] = {}
    for concept, category in lexicon().category.items():
        for form in FORMS.get(category, ("",)):
            for word in linearizers()["en"].citation(concept, form).split():
                found.setdefault(word.lower(), set()).add(concept)
    return {word: concepts for word, concepts in found.items() if word not in ("will", "at", "for")}


def one_word_apart(held_out: list[str], train: list[str]) -> list[tuple[str, str]]:
    """Pairs of sentences of equal length in which one content word stands for another."""
    concepts, blotted = content_words(), {}
    for text in held_out:
        words = text[:-1].lower().split()
        for i in range(len(words)):
            blotted.setdefault((*words[:i], "_", *words[i + 1 :]), []).append((text, words[i]))
    found = []
    for text in train:
        words = text[:-1].lower().split()
        for i, word in enumerate(words):
            for other, theirs in blotted.get((*words[:i], "_", *words[i + 1 :]), ()):
                here, there = concepts.get(word), concepts.get(theirs)
                if here and there and not here & there:
                    found.append((other, text))
    return found


def test_nothing_held_out_is_one_content_word_from_training(rows):
    english = {split: [row["translation"]["en"] for row in rows[split]] for split in SPLITS}
    held_out = english["test"] + english["valid"]
    assert one_word_apart(held_out, english["train"]) == []
    sampler = Sampler(77)  # the control: rows that are not filtered
    drawn = [sampler.simple() if i % 10 == 0 else sampler.full() for i in range(8000)]
    assert len(one_word_apart(held_out, [translations(tree)["en"] for tree in drawn])) > 20


def test_neighbours_differ_by_one_content_word():
    def tree(**words):
        return Sentence(Clause("verbal", NP(words.get("head", "dog")), words.get("verb", "sleep")))

    near = neighbours(tree())
    assert near & neighbours(tree(verb="run")) and near & neighbours(tree(head="cat"))
    assert not near & neighbours(tree(verb="run", head="cat"))
    added = Sentence(Clause("verbal", NP("dog", adjective="old"), "sleep"))
    assert near & neighbours(added)  # a word more is one word of difference
    negated = Sentence(Clause("verbal", NP("dog"), "sleep", negated=True))
    assert not near & neighbours(negated)


@pytest.mark.parametrize(
    "head, verb, expected", [("they", "cut", 0), ("she", "cut", 1), ("they", "eat", 1)]
)
def test_a_tense_is_clear(head, verb, expected):
    tree = Sentence(Clause("verbal", NP(head), verb, NP("bread")))
    assert clear(tree, translations(tree)) == bool(expected)


def test_no_sentence_contradicts_itself(fresh):
    """Opposites, and what an adjective excludes; the control pairs adjectives at random."""
    adjectives = set(itertools.chain.from_iterable(scenes.OPPOSITES))
    drawn = []
    for tree in fresh:
        for clause in (c for c in (tree.clause, tree.second) if c):
            own = getattr(clause.subject, "adjective", None)
            assert clause.verb not in scenes.CLASHES.get(own, ()), tree
            if own in adjectives and clause.adjective:
                drawn.append({own, clause.adjective})
    assert len(drawn) > 10
    assert not [pair for pair in drawn if pair in scenes.OPPOSITES or len(pair) == 1]


def test_a_cause_is_one(fresh):
    reasons = [tree for tree in fresh if tree.link == "because"]
    assert len(reasons) > 100
    for tree in reasons:
        effect, cause = tree.clause, tree.second
        of = "object" if effect.object and cause.subject.head == effect.object.head else "subject"
        found = {(c[0], c[1]) for c in scenes.CAUSES[effect.verb, effect.negated]}
        assert (of, cause.verb or cause.adjective) in found, tree
        assert cause.tense == effect.tense or cause.adjective == "famous"
        assert effect.time is cause.time is None


def test_every_frame_names_classes_and_verbs_of_the_lexicon():
    classes = set(lexicon().raw["noun"]) | set(scenes.SUBCLASSES)
    verbs = {v for group in lexicon().raw["verb"].values() for v in group}
    assert set(scenes.FRAMES) == verbs
    for frames in scenes.FRAMES.values():
        assert all(c in classes for subjects, objects in frames for c in (*subjects, *objects))
    nouns = set(lexicon().noun_class)
    assert all(set(members) <= nouns for members in scenes.SUBCLASSES.values())
    named = scenes.UNOWNED | scenes.UNCOUNTED | scenes.UNIQUE | scenes.YOUNG
    assert named <= nouns and set(scenes.HABITS) | scenes.NOT_NOW | set(scenes.WHERE) <= verbs
    places = set(lexicon().raw["place"])
    tables = (*scenes.WHERE.values(), *scenes.THERE_IS.values(), scenes.ANYWHERE)
    assert all(set(table) <= places for table in tables)


def test_no_prompt_of_a_fact_holds_its_answer(rows):
    """Nor the first three letters of it: "Algiers is a city in" gives Algeria away."""

    def betrays(row):
        names = [w.casefold() for w in re.findall(r"\w+", row["prompt"]) if not w.islower()]
        answer = row["answer"].casefold()
        similar = len(answer) > 3 and any(name[:3] == answer[:3] for name in names)
        return similar or answer in row["prompt"].casefold()

    assert [row for row in rows["facts"] if betrays(row)] == []
    assert betrays({"prompt": "Algiers is a city in", "answer": "Algeria"})


# ----------------------------------------------------------------------------------------- spelling
def test_every_language_says_fresh_meanings(fresh):
    for tree in fresh:
        said = translations(tree)
        assert list(said) == list(LANGUAGES)
        for code, text in said.items():
            check_form(code, text, tree.question)


def test_the_corpus_is_well_formed(rows):
    for row in itertools.chain.from_iterable(rows[split] for split in SPLITS):
        for code, text in row["translation"].items():
            check_form(code, text, "question" in row["constructions"])
    for row in rows["mono"]:
        check_form(row["lang"], row["text"], row["text"][-1] in "?؟？")


def check_form(code: str, text: str, question: bool) -> None:
    """Script, spaces, capital and final mark."""
    assert text == unicodedata.normalize("NFC", text) == text.strip() and "  " not in text, text
    mark = {"ar": ".؟", "zh": "。？"}.get(code, ".?")[question]
    assert text.endswith(mark) and not re.search(r"[.?؟。？]", text[:-1]), text
    if code == "ar":  # letters only: no tashkeel, tatweel or Latin
        assert re.fullmatch(r"[\u0621-\u063a\u0641-\u064a ]+[.؟]", text), text
    elif code == "zh":
        assert re.fullmatch(r"[\u4e00-\u9fff]+(，[\u4e00-\u9fff]+)?[。？]", text), text
    else:
        assert re.fullmatch(rf"[A-Za-z{LATIN[code]}', -]+[.?]", text), text
        assert text.removeprefix("'n " if code == "af" else "")[0].isupper(), text
        assert not re.search(r" [,.]|,,|,\S|,[.?]", text) and (" ?" in text) == (
            code == "fr" and question
        ), text


@pytest.mark.parametrize(
    "text",
    [
        "der Mann schläft.",
        "Der Mann  schläft.",
        "Der Mann schläft",
        "Der Mann schläft .",
        "Der Mann , schläft.",
        "Der Mann schla\u0308ft.",
        "Der Mann schläft?",
        "Der Mañn schläft.",
    ],
)
def test_the_form_check_can_fail(text):
    check_form("de", "Der Mann schläft.", False)
    with pytest.raises(AssertionError):
        check_form("de", text, False)


@pytest.mark.parametrize(
    "code, text",
    [
        ("ar", "الرجُل ينام."),
        ("ar", "الرجل ينام."[::-1]),
        ("zh", "狗 睡觉。"),
        ("zh", "狗睡觉."),
        ("af", "'N Hond slaap."),
        ("af", "'n hond slaap."),
        ("fr", "Est-ce qu'il dort?"),
    ],
)
def test_the_form_check_can_fail_in_other_scripts(code, text):
    with pytest.raises(AssertionError):
        check_form(code, text, "?" in text)


FRENCH_VOWEL = "(?!huit\\b)[aeiouyhàâéèêëîïôœùû]"
LO = "(s[^aeiouàèéìòù ]|z|gn|ps|pn|x|y)"  # Italian onsets that ask for lo, uno, gli
# language -> {pattern that never occurs: a wrong sentence that has it}. Articles, elision,
# contraction, agreement.
NEVER = {
    "en": {
        r"(?i)\ba [aeiou]": "She sees a apple.",
        r"(?i)\ban [^aeiou]": "An dog sees her.",
        r"\bI (is|are|has|does)\b": "I is old.",
        r"(?i)\b(he|she) (am|are|do|have)\b": "He are old.",
        r"(?i)\b(we|you|they) (am|is|was|does)\b": "They was old.",
        r"(?i)\b(the|a|an) (the|a|an|my|your|his|her|our|their)\b": "The my dog sleeps.",
        "(n't|'re|'ll|'m)\\b": "He doesn't sleep.",
    },
    "de": {
        r"(?<!,) weil\b": "Er lacht weil er alt ist.",
        r"(?i)\b(in|an) dem\b": "Er ist in dem Haus.",
        r"(?i)\bich (ist|hat|wird|sind)\b": "Ich ist alt.",
        r"(?i)\bwir (ist|hat|wird|bin)\b": "Wir hat gelacht.",
        r"\bnicht ein(e|en|em|er|es)?\b": "Er sieht nicht einen Hund.",
        r"(?i)\b(der|die|das|eine) \w+er (Mann|Hund)\b": "Die alter Mann schläft.",
    },
    "it": {
        rf"(?i)\b(il|un|del|nessun|bel|buon|i|dei|bei) {LO}": "Il studente dorme.",
        rf"(?i)\b(lo|uno|dello|nessuno) (?!{LO})": "Lo cane dorme.",
        r"(?i)\b(il|lo|la|del|dello|della|una|nessuna|i|dei|bel|bello) (?!e\b)[aeiouàèéìòù]": "La "
        "amica dorme.",
        r"(?i)\b(l|un|dell|nessun|bell)'[^aeiouàèéìòù]": "L'cane dorme.",
        r"(?i)\bdi (il|lo|la|l'|i|gli|le)\b": "Ho bisogno di il cane.",
    },
    "fr": {
        rf"(?i)\b(le|la|de|que|je|me|te|se|ne) {FRENCH_VOWEL}": "Le ami dort.",
        rf"(?i)\b(ma|ta|sa) {FRENCH_VOWEL}": "Ma amie dort.",
        r"(?i)\b(l|d|qu|j|m|t|s|n)'[^aeiouyhàâéèêëîïôœùû]": "L'chien dort.",
        r"(?i)\b(de|à) les?\b": "Il a besoin de le chien.",
        rf"(?i)\b(un|le|mon|ton|son|notre|leur) (beau|nouveau|vieux) {FRENCH_VOWEL}": "Le vieux "
        "homme dort.",
        r"(?i)\bne (?!.*\b(pas|aucune?)\b)": "Il ne dort.",
        r"(?i)\b(un|une|des) (le|la|les)\b": "Un le chien.",
    },
    "ar": {
        r"\bال(ال| )": "الالكلب ينام.",
        r"\bلأن (أنا|أنت|هو|هي|نحن|هم)\b": "يضحك لأن هو سعيد.",
        "أأ": "أنا أأكل.",
        r"ة\w": "سيارةه كبيرة.",
        r"\bلم \w+ون\b": "لم ينامون.",
        r"\bلن (?!.كون\b)\w+ون\b": "لن ينامون.",
    },
    "zh": {
        "不没|没不": "他不没睡觉。",
        "没[^，]*了[。？]": "他没睡觉了。",
        "二": "二只狗睡觉。",
        "的的": "他的的狗睡觉。",
        "个一|一一": "有一个一只狗。",
    },
    "af": {
        r"(?i)(\bdie|'n) (die\b|'n )": "Hy sien 'n die hond.",
        r"\bnie nie\b": "Hy slaap nie nie.",
        r"\b(nie|geen)\b(?!.*\bnie\b)(?<!nie)": "Hy sien geen hond.",
    },
}
CASES = [
    (code, pattern, wrong)
    for code, patterns in NEVER.items()
    for pattern, wrong in patterns.items()
]


@pytest.mark.parametrize("code, pattern, wrong", CASES)
def test_never(texts, code, pattern, wrong):
    assert matching(pattern, [wrong]) == [wrong]
    assert matching(pattern, texts[code]) == []


def test_capitals_inside_a_sentence(texts):
    """Names and the English I; in German every noun."""
    names = {
        say.citation(c)
        for say in linearizers().values()
        for c, cat in lexicon().category.items()
        if cat == "name"
    }
    for code in ("en", "it", "fr", "af"):
        inside = {
            word
            for text in texts[code]
            for word in re.findall(r"[^\W\d_]+", text.removeprefix("'n "))[1:]
        }
        assert {word for word in inside if word[0].isupper()} - names <= {"I"}, code
    nouns = {
        linearizers()["de"].citation(c, form).lower()
        for c in lexicon().noun_class
        for form in FORMS["noun"]
    }
    inside = {word for text in texts["de"] for word in re.findall(r"\w+", text)[1:]}
    assert len(nouns & {word.lower() for word in inside}) > 150 and nouns & inside <= {
        "junge",
        "jungen",
    }


# --------------------------------------------------------------------------------------------- tags
def clauses_and_phrases(node):
    """Every Clause, NP and Both under a node of a tree, whatever holds it."""
    if dataclasses.is_dataclass(node):
        yield node
        for f in dataclasses.fields(node):
            yield from clauses_and_phrases(getattr(node, f.name))


def test_tags_agree_with_the_trees(fresh):
    seen = Counter()
    for tree in fresh:
        assert isinstance(tree, Sentence)
        nodes = [n for n in clauses_and_phrases(tree) if n is not tree]
        clauses = [n for n in nodes if isinstance(n, Clause)]
        expected = {
            "negation": any(c.negated for c in clauses),
            "modal": any(c.modal for c in clauses),
            "question": tree.question,
            "because": tree.link == "because",
            "coordination": tree.link == "and" or any(type(n).__name__ == "Both" for n in nodes),
            "relative": any(getattr(n, "relative", None) for n in nodes),
            "numeral": any(getattr(n, "numeral", None) for n in nodes),
            "possessive": any(getattr(n, "possessor", None) for n in nodes),
            "existential": any(c.kind == "existential" for c in clauses),
            "future": any(c.tense == "future" for c in clauses),
            "time": any(c.time for c in clauses),
            "place": any(c.place for c in clauses),
        }
        assert {tag for tag in expected if tag in tree.constructions} == {
            tag for tag, there in expected.items() if there
        }
        assert is_simple(tree) == (not any(expected[tag] for tag in HELD_BACK))
        seen.update(tree.constructions)
    assert all(seen[tag] >= 20 for tag in data_card.MEANING) and set(seen) == set(data_card.MEANING)


SAID = {  # tag -> how it looks, in the languages where no other word looks the same
    "negation": {
        "en": r"\b(not|cannot|no)\b",
        "de": r"\b(nicht|kein\w*)\b",
        "it": r"(?i)\bnon\b",
        "fr": r"(?i)\bne\b|\bn'",
        "af": r"\b(nie|geen)\b",
    },
    "because": {
        "en": r"\bbecause\b",
        "de": r"\bweil\b",
        "it": r"\bperché\b",
        "fr": r"\bparce qu",
        "ar": r"\bلأن",
        "zh": "因为",
        "af": r"\bomdat\b",
    },
    "question": {
        "fr": r"^Est-ce qu",
        "ar": r"^(هل |أ\w+ .*؟)",
        "zh": "吗？",
        "en": r"^(Do|Does|Did|Is|Are|Am|Was|Were|Will|Can|Must) .*\?",
    },
}


@pytest.mark.parametrize(
    "tag, code", [(tag, code) for tag, patterns in SAID.items() for code in patterns]
)
def test_tags_agree_with_the_sentences(rows, tag, code):
    for row in itertools.chain.from_iterable(rows[split] for split in SPLITS):
        text = row["translation"][code]
        assert bool(re.search(SAID[tag][code], text)) == (tag in row["constructions"]), text


def test_afrikaans_negation_ends_in_nie(rows):
    negated = [
        row
        for row in rows["train"]
        if {"negation", "because", "coordination"} & set(row["constructions"]) == {"negation"}
    ]
    assert len(negated) > 500 and all(
        re.search(r"\bnie[.?]$", row["translation"]["af"]) for row in negated
    )


def test_every_concept_has_every_citation():
    for concept, category in lexicon().category.items():
        for form in FORMS.get(category, ("",)):
            for code, say in linearizers().items():
                word = say.citation(concept, form)
                assert (
                    word
                    and word == word.strip() == unicodedata.normalize("NFC", word)
                    and "  " not in word
                ), (code, concept, form, word)
    for say in linearizers().values():  # the forms differ, and so do the words
        cited = {
            say.citation(c, form)
            for c, category in lexicon().category.items()
            for form in FORMS.get(category, ("",))
        }
        assert len(cited) > 1.2 * len(lexicon().category)


# ------------------------------------------------------------------------- the base models' reading
def sides(document):
    """The sentences of a document by language name, or under "" for monolingual text: [(language,
    text)]."""
    head, target = document
    if not head:
        return [("", target.strip())]
    lines = (head + target).split("\n")
    return [tuple(line.split(": ", 1)) for line in lines]


@pytest.fixture(scope="module")
def documents():
    return Documents(4321)


@pytest.fixture(scope="module")
def reading(documents):
    """(kind, its (language, text) pairs) of some thousands of documents."""
    found = []
    for kind, n in {
        "simple": 3000,
        "few_shot": 500,
        "mono": 3000,
        "phrase": 1000,
        "dictionary": 500,
        "fact": 100,
    }.items():
        found += [(kind, sides(getattr(documents, kind)())) for _ in range(n)]
    stream = iter(documents)
    return found + [("stream", sides(next(stream))) for _ in range(1000)]


def test_documents_hold_no_sentence_of_valid_or_test(rows, reading):
    held_out = {
        text
        for split in ("valid", "test")
        for row in rows[split]
        for text in row["translation"].values()
    }
    pairs = [pair for _, found in reading for pair in found]
    assert len(pairs) > 10000 and set(language for language, _ in pairs) == {
        "",
        *map(language_name, LANGUAGES),
    }
    assert [text for _, text in pairs if text in held_out] == []


def test_without_the_check_documents_would_hold_some(rows, documents, monkeypatch):
    """The control: the same generator without its list of held-out texts does repeat sentences of
    valid and test."""
    held_out = {
        text
        for split in ("valid", "test")
        for row in rows[split]
        for text in row["translation"].values()
    }
    monkeypatch.setattr(documents, "held_out", set())
    assert any(text in held_out for _ in range(6000) for _, text in sides(documents.simple()))


@pytest.mark.parametrize("code", LANGUAGES)
def test_a_sentence_held_out_is_known_by_each_language(documents, monkeypatch, code):
    sampler = Sampler(2)
    first, second = sampler.simple(), sampler.simple()
    queue = [first, second]
    monkeypatch.setattr(documents.sampler, "simple", lambda: queue.pop(0))
    monkeypatch.setattr(documents, "held_out", {translations(first)[code]})
    assert documents.simple_tree() is second


# how each held-back construction shows in English; a translation document always has an English
# side
ENGLISH = {
    "negation": r"\b(not|cannot|no)\b",
    "question": r"\?",
    "future": r"\bwill\b",
    "modal": r"\b(can|cannot|must|wants? to|have to|allowed to)\b",
    "because": r"\bbecause\b",
    "relative": r"\b(who|that)\b",
    "coordination": r"\band\b",
    "existential": r"(?i)\bthere (is|are|was|were)\b",
    "possessive": r"(?i)\b(my|your|his|her|our|their)\b|'s\b",
    "numeral": r"(?i)\b(two|three|four|five|six|seven|eight|nine|ten)\b",
}


def test_the_first_lesson_lists_what_is_held_back():
    path = DATA.parent / "notebooks" / "00_start_here.ipynb"
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = next(text for cell in cells if "HELD_BACK = (" in (text := "".join(cell["source"])))
    (found,) = re.findall(r"HELD_BACK = (\(.*?\))", code, re.S)
    assert ast.literal_eval(found) == tuple(HELD_BACK)


def test_translated_sentences_are_simple(rows, reading):
    assert set(ENGLISH) == set(HELD_BACK)
    for (
        tag,
        pattern,
    ) in (
        ENGLISH.items()
    ):  # the patterns find what they stand for, in the corpus and in monolingual text
        tagged = [row["translation"]["en"] for row in rows["train"] if tag in row["constructions"]]
        hits = [bool(re.search(pattern, text)) for text in tagged]
        assert tag in ("question", "existential") or all(hits), [
            text for text, hit in zip(tagged, hits) if not hit
        ][:5]
        assert any(re.search(pattern, found[0][1]) for kind, found in reading if kind == "mono")
    forbidden = re.compile(
        "|".join(f"(?:{pattern.replace('(?i)', '')})" for pattern in ENGLISH.values()),
        re.IGNORECASE,
    )
    translated = [
        text
        for kind, found in reading
        if kind in ("simple", "few_shot", "phrase")
        for language, text in found
        if language == "English"
    ]
    assert len(translated) > 4500 and [text for text in translated if forbidden.search(text)] == []
    held_back = {
        text
        for split in SPLITS
        for row in rows[split]
        if set(row["constructions"]) & set(HELD_BACK)
        for text in row["translation"].values()
    }
    assert not held_back & {
        text for kind, found in reading if kind in ("simple", "few_shot") for _, text in found
    }
    # in the whole stream, a sentence with its full stop is simple wherever it stands beside a
    # translation
    stream = [
        text
        for kind, found in reading
        if kind == "stream" and found[0][0]
        for language, text in found
        if language == "English"
    ]
    assert [text for text in stream if text[-1] in ".?" and forbidden.search(text)] == []


def test_json_lines_are_plain(rows):
    """One object per line, readable characters, a final newline: what a diff and a line count
    expect."""
    for name in data_card.FILES:
        raw = (BABEL / f"{name}.jsonl").read_text(encoding="utf-8")
        assert raw.endswith("}\n") and "\\u" not in raw and raw.count("\n") == len(rows[name])
        assert raw == "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows[name])
