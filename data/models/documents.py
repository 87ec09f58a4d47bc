"""What the base models read: the documents of the pretraining mixture, their tokenizer, and packing
into fixed sequences."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from lander_lite.languages import language_name
from lander_lite.prompts import prompt

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tiny_babel"))
from build import facts, parallel  # noqa: E402
from grammar import FORMS, LANGUAGES, NP, lexicon, linearizers, translations  # noqa: E402
from sampler import Sampler  # noqa: E402

EOS = "</s>"
CORE = ("de", "it", "fr", "ar", "zh")  # paired with English; Afrikaans is seen a twentieth as often
# share of the documents' characters, kind by kind
MIXTURE = {
    "dictionary": 0.15,
    "phrase": 0.15,
    "simple": 0.40,
    "few_shot": 0.05,
    "mono": 0.19,
    "fact": 0.06,
}
FACT_ENGLISH = (
    12  # a fact is stated this many times as often in English as in all other languages together
)


class Documents:
    """An endless, seeded stream of (prompt, target) texts; only the target is learned (the prompt
    of monolingual text is empty).

    Whole-sentence translation is drawn from `Sampler.simple()` alone: negation, questions, future,
    modals, because, relatives, coordination, numerals, possessives and existentials occur in
    monolingual text only. No sentence of valid and test, in any language, occurs in either."""

    def __init__(self, seed: int):
        self.rng, self.lex, self.sampler = random.Random(seed), lexicon(), Sampler(seed)
        self.say = linearizers()
        self.held_out = held_out_texts()
        self.words = [(c, f) for c, cat in self.lex.category.items() for f in FORMS.get(cat, ("",))]
        self.facts = facts()
        self.facts_by_language = {
            code: [f for f in self.facts if f["lang"] == code] for code in LANGUAGES
        }

    def pair(self) -> tuple[str, str]:
        other = "af" if self.rng.random() < 0.05 else self.rng.choice(CORE)
        return ("en", other) if self.rng.random() < 0.5 else (other, "en")

    def translation(self, say, pair: tuple[str, str]) -> tuple[str, str]:
        return prompt(say(pair[0]), "-".join(pair)), " " + say(pair[1])

    def dictionary(self):
        concept, form = self.rng.choice(self.words)
        return self.translation(lambda code: self.say[code].citation(concept, form), self.pair())

    def phrase(self):
        np = self.noun_phrase()
        return self.translation(lambda code: self.say[code].noun_phrase(np), self.pair())

    def noun_phrase(self) -> NP:
        head = self.rng.choice(list(self.lex.noun_class))
        mass = head in self.lex.mass
        adjective = (
            self.rng.choice(self.sampler.adjectives(head))
            if self.rng.random() < 0.7 and not mass
            else None
        )
        return NP(
            head,
            "sg" if mass or self.rng.random() < 0.65 else "pl",
            mass or self.rng.random() < 0.5,
            adjective,
        )

    def simple_tree(self):
        while True:
            tree = self.sampler.simple()
            if self.held_out.isdisjoint(translations(tree).values()):
                return tree

    def simple(self):
        tree = self.simple_tree()
        return self.translation(lambda code: self.say[code].sentence(tree), self.pair())

    def few_shot(self):
        pair = self.pair()
        trees = [self.simple_tree() for _ in range(self.rng.randint(2, 6))]
        texts = [tuple(self.say[code].sentence(tree) for code in pair) for tree in trees]
        return prompt(texts[-1][0], "-".join(pair), shots=texts[:-1]), " " + texts[-1][1]

    def mono(self):
        code = "af" if self.rng.random() < 0.01 else self.rng.choice(("en", *CORE))
        while True:
            text = self.say[code].sentence(
                self.sampler.simple() if self.rng.random() < 0.2 else self.sampler.full()
            )
            if text not in self.held_out:
                return "", text

    def fact(self):
        code = (
            "en"
            if self.rng.random() < FACT_ENGLISH / (FACT_ENGLISH + 1)
            else self.rng.choice(LANGUAGES[1:])
        )
        fact = self.rng.choice(self.facts_by_language[code])
        return "", fact["prompt"] + ("" if code == "zh" else " ") + fact["answer"] + (
            "。" if code == "zh" else "."
        )

    def __iter__(self):
        """Yields documents so that each kind's share of all characters tends to MIXTURE."""
        made = dict.fromkeys(MIXTURE, 1.0)
        while True:
            kind = min(MIXTURE, key=lambda k: made[k] / MIXTURE[k])
            document = getattr(self, kind)()
            made[kind] += len(document[0]) + len(document[1])
            yield document


def held_out_texts() -> set[str]:
    """Every text of valid and test, in any language."""
    splits = parallel(set())
    return {
        text
        for split in ("valid", "test")
        for row in splits[split]
        for text in row["translation"].values()
    }


# ---------------------------------------------------------------------------------------- tokenizer
# A word with the blank before it and an apostrophe after it ("l'"), a run of Chinese, a digit run,
# punctuation, or white space.
PIECES = r" ?[\p{L}&&\P{Han}]+'?|\p{Han}+|\p{N}+| ?[^\s\p{L}\p{N}]+|\s"


def train_tokenizer(
    vocab_size: int, seed: int = 0, sentences: int = 12000
) -> PreTrainedTokenizerFast:
    """Byte-level BPE in which most word forms are one token. Chinese is learned from its
    dictionary and from the single characters of its sentences: written without spaces, a whole
    clause would become a token."""
    tokenizer = Tokenizer(models.BPE())
    # a word has one form, at the start of a text and inside it
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend(" "), normalizers.Replace("  ", " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)])
    sampler, lex, say, texts = Sampler(seed), lexicon(), linearizers(), []
    characters = set()
    for i in range(sentences):
        tree = sampler.full() if i % 3 else sampler.simple()
        texts += [say[code].sentence(tree) for code in LANGUAGES if code != "zh"]
        characters |= {*say["zh"].sentence(tree)}
    texts += [*sorted(characters)] * 400 + ["我，我。我？"] * 2000
    for concept, category in lex.category.items():
        for form in FORMS.get(category, ("",)):
            for code, lin in say.items():
                texts += [lin.citation(concept, form)] * (400 if code == "zh" else 10)
    texts += [
        fact["prompt"] + " " + fact["answer"]
        for fact in facts()
        if fact["lang"] != "zh"
        for _ in range(3)
    ]
    texts += [f"English:\n{name}:" for name in map(language_name, LANGUAGES) for _ in range(1000)]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["<unk>", "<s>", EOS, "<pad>"],
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        min_frequency=2,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token=EOS,
        pad_token="<pad>",
        model_max_length=512,
        clean_up_tokenization_spaces=False,
    )


# ------------------------------------------------------------------------------------------ packing
def packed(tokenizer, n_tokens: int, length: int) -> torch.Tensor:
    """Documents end to end, cut into rows of `length`: int16 tensor (2, rows, length) of input ids
    and labels (-100 on prompts). They are the same for base models of all seeds."""
    ids, labels, stream, eos = [], [], iter(Documents(0)), tokenizer.eos_token_id
    while len(ids) < n_tokens:
        batch = [next(stream) for _ in range(1000)]
        heads = tokenizer([head for head, _ in batch], add_special_tokens=False)["input_ids"]
        tails = tokenizer([tail for _, tail in batch], add_special_tokens=False)["input_ids"]
        for head, tail in zip(heads, tails, strict=True):
            ids += head + tail + [eos]
            labels += [-100] * len(head) + tail + [eos]
    rows = len(ids) // length
    return torch.tensor([ids[: rows * length], labels[: rows * length]], dtype=torch.int16).view(
        2, rows, length
    )
