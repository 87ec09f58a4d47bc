"""knowledge.py: recall against plain greedy decoding, with batches, boundaries and errors;
perplexity by language."""

import json
import math

import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from lander_lite.config import data_dir
from lander_lite.evaluation import perplexity
from lander_lite.model import load_model
from lander_lite.probes.knowledge import (
    encode_fact,
    fact_recall,
    load_facts,
    nats_per_sentence,
    per_language_perplexity,
)
from lander_lite.prompts import prompt_ids, texts

FACTS = data_dir() / "tiny_babel" / "facts.jsonl"


@pytest.fixture(scope="module", params=["tiny-bloom", "tiny-llama"])
def base(request):
    return load_model(request.param)


@pytest.fixture(scope="module")
def facts():
    """Ten facts of each of three languages."""
    rows = load_facts(FACTS)
    return [
        fact
        for lang in ("en", "de", "zh")
        for fact in [row for row in rows if row["lang"] == lang][::7][:10]
    ]


def test_recall_is_greedy_decoding(base, facts):
    model, tokenizer = base
    expected = {"en": [], "de": [], "zh": []}
    for fact in facts:
        space = "" if fact["lang"] == "zh" else " "
        prompt = tokenizer(fact["prompt"], return_tensors="pt")["input_ids"]
        full = tokenizer(fact["prompt"] + space + fact["answer"])["input_ids"]
        answer = full[prompt.shape[1] :]
        assert full[: prompt.shape[1]] == prompt[0].tolist() and answer
        made = model.generate(
            input_ids=prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=len(answer),
            do_sample=False,
        )
        expected[fact["lang"]].append(made[0, prompt.shape[1] :].tolist() == answer)
    shares = {lang: sum(hits) / len(hits) for lang, hits in expected.items()}
    assert any(0 < share < 1 for share in shares.values()), (
        "all or nothing recalled: the comparison would show little"
    )
    for size in (1, 7, 64):
        assert fact_recall(model, tokenizer, facts, batch_size=size) == pytest.approx(
            {**shares, "mean": sum(shares.values()) / 3}
        )


def test_answers_of_other_facts_are_not_recalled(base, facts):
    """Control: each prompt with the answer of the next capital."""
    capitals = [fact for fact in facts if fact["lang"] == "en" and fact["relation"] == "capital"]
    turned = [
        {**fact, "answer": other["answer"]}
        for fact, other in zip(capitals, capitals[1:] + capitals[:1])
    ]
    assert fact_recall(*base, turned)["en"] < 0.5 < fact_recall(*base, capitals)["en"]


def test_ids_are_those_the_base_was_trained_on(base):
    """In training a full stop followed (data/models/documents.py)."""
    for fact in load_facts(FACTS):
        space, stop = ("", "。") if fact["lang"] == "zh" else (" ", ".")
        trained = base[1](fact["prompt"] + space + fact["answer"] + stop, add_special_tokens=False)[
            "input_ids"
        ]
        assert encode_fact(base[1], fact)["input_ids"] == trained[:-1], fact


def test_languages_and_file(base, facts, tmp_path):
    path = tmp_path / "facts.jsonl"
    path.write_text(
        "\n".join(json.dumps(fact, ensure_ascii=False) for fact in facts), encoding="utf-8"
    )
    every = fact_recall(*base, path)
    assert list(every) == ["en", "de", "zh", "mean"] and every == fact_recall(*base, facts)
    assert fact_recall(*base, str(path), languages=["zh"]) == {
        "zh": every["zh"],
        "mean": every["zh"],
    }


def test_the_answer_starts_where_the_prompts_ids_end():
    """Letters as tokens, and the merge "ab"; no blank in Chinese."""
    vocabulary = {token: i for i, token in enumerate(["?", "a", "b", "x", " ", "ab"])}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.BPE(vocab=vocabulary, merges=[("a", "b")], unk_token="?"))
    )
    fact = {"lang": "zh", "prompt": "xa", "answer": "x"}
    assert encode_fact(tokenizer, fact) == {"input_ids": [3, 1, 3], "labels": [-100, -100, 3]}
    assert encode_fact(tokenizer, {**fact, "lang": "en"}) == {
        "input_ids": [3, 1, 4, 3],
        "labels": [-100, -100, 4, 3],
    }
    assert encode_fact(tokenizer, {**fact, "answer": "b"}) == {
        "input_ids": [3, 5],
        "labels": [-100, 5],
    }, "the token spans both"
    with pytest.raises(ValueError, match="does not tell prompt from answer in 'ab'"):
        encode_fact(tokenizer, {**fact, "prompt": "a", "answer": "b"})


def test_the_pair_and_the_mode_stay(bloom, tokenizer, corpus):
    bloom.set_pair = lambda pair: pytest.fail("the pair was changed")
    bloom.train()
    fact_recall(bloom, tokenizer, [{"lang": "en", "prompt": "a b", "answer": "c"}])
    per_language_perplexity(bloom, tokenizer, corpus, ["en"])
    assert bloom.training


@pytest.mark.parametrize(
    "line, message",
    [
        ('{"lang": "en", "prompt": "a b"}', "facts.jsonl, line 2: 'answer' is missing"),
        ("[]", "line 2: expected"),
        ('{"lang": "en", "prompt": " ", "answer": "c"}', "line 2: 'prompt' is"),
        ("{", "line 2: not valid"),
        (
            f'{{"lang": "en", "prompt": "{"a" * 10_001}", "answer": "c"}}',
            "line 2: 'prompt' has 10,0",
        ),
    ],
)
def test_mistakes_in_a_file_are_named(bloom, tokenizer, tmp_path, line, message):
    path = tmp_path / "facts.jsonl"
    path.write_text(
        '{"lang": "en", "prompt": "a b", "answer": "c"}\n' + line + "\n", encoding="utf-8"
    )
    with pytest.raises(ValueError, match=message):
        fact_recall(bloom, tokenizer, path)


def test_mistakes_in_a_call_are_named(bloom, tokenizer, tmp_path):
    fact = {"lang": "en", "prompt": "a b", "answer": "c"}
    for given, settings, message in [
        ([fact], {"languages": ["en", "de"]}, "no facts in de; there are some in en"),
        ([], {}, "at least one"),
        ([fact], {"batch_size": 0}, "batch_size=0"),
        ([fact, {"lang": "en"}], {}, "fact 2: 'prompt'"),
    ]:
        with pytest.raises(ValueError, match=message):
            fact_recall(bloom, tokenizer, given, **settings)
    with pytest.raises(FileNotFoundError, match="no such file"):
        fact_recall(bloom, tokenizer, tmp_path / "none.jsonl")


def test_nats_per_sentence_are_perplexitys_without_the_tokens(bloom, tokenizer, corpus):
    sentences = texts(corpus, "de")
    tokens = sum(len(prompt_ids(tokenizer, sentence)) - 1 for sentence in sentences)
    total = tokens * math.log(perplexity(bloom, tokenizer, sentences))
    assert nats_per_sentence(bloom, tokenizer, sentences) == pytest.approx(
        total / len(sentences), rel=1e-4
    )
    with pytest.raises(ValueError, match="at least one sentence"):
        nats_per_sentence(bloom, tokenizer, [])


def test_perplexity_by_language(bloom, tokenizer, corpus):
    result = per_language_perplexity(bloom, tokenizer, corpus, ["de", "zh"], max_sentences=4)
    assert result == pytest.approx(
        {lang: perplexity(bloom, tokenizer, texts(corpus, lang)[:4]) for lang in ("de", "zh")}
    )
    assert result != pytest.approx(
        per_language_perplexity(bloom, tokenizer, corpus, ["de", "zh"])
    ), "max_sentences made no difference"
    with pytest.raises(KeyError, match="no 'it'"):
        per_language_perplexity(bloom, tokenizer, corpus, ["it"])
    with pytest.raises(ValueError, match="max_sentences=0"):
        per_language_perplexity(bloom, tokenizer, corpus, ["de"], max_sentences=0)
