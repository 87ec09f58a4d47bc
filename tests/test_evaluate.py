"""evaluate.py: decoding against a plain loop, scores against sacreBLEU, off-target and empty rates,
shots, perplexity."""

import json
import sys

import numpy as np
import pytest
import sacrebleu
import tokenizers
import torch
from sacrebleu.metrics import BLEU
from sacrebleu.significance import _bootstrap_resample
from tokenizers import decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from lander_lite.config import data_dir
from lander_lite.evaluation import (
    LanguageId,
    bleu_interval,
    bleu_tokenizer,
    draw_shots,
    evaluate,
    perplexity,
    translate,
)
from lander_lite.prompts import pair_rows, prompt, prompt_ids, texts

PAIRS = ["en-de", "de-en", "en-zh"]


@pytest.fixture
def answers(monkeypatch):
    """Replace decoding: answers(function) makes function(sentences, pair) the model."""

    def use(function):
        monkeypatch.setattr(
            sys.modules["lander_lite.evaluation"],
            "translate",
            lambda m, t, sentences, pair, **_: function(sentences, pair),
        )

    return use


def reference_table(corpus):
    return {(row[s], s, t): row[t] for row in corpus["translation"] for s in row for t in row}


# ---------------------------------------------------------------- decoding
def plain_greedy(model, tokenizer, sentence, pair, steps):
    """One sentence, no batch, no padding, no cache."""
    ids, written = prompt_ids(tokenizer, prompt(sentence, pair)), []
    for _ in range(steps):
        with torch.no_grad():
            written.append(
                int(model(input_ids=torch.tensor([ids + written])).logits[0, -1].argmax())
            )
        if written[-1] == tokenizer.eos_token_id or "\n" in tokenizer.decode(written):
            break
    return tokenizer.decode(written, skip_special_tokens=True).split("\n")[0].strip()


def test_translate_is_greedy_decoding_whatever_the_batch(model, tokenizer, corpus):
    # an output layer of its own: tied embeddings make a random model repeat its last token
    model.set_output_embeddings(torch.nn.Linear(32, 300, bias=False))
    model.get_output_embeddings().weight.data.copy_(
        torch.randn(300, 32, generator=torch.Generator().manual_seed(1))
    )
    sentences = texts(corpus, "en")
    expected = [plain_greedy(model, tokenizer, sentence, "en-de", 12) for sentence in sentences]
    assert len(set(expected)) > 1, "every output is the same: the comparison would show nothing"
    for size in (1, 4, 64):
        assert (
            translate(model, tokenizer, sentences, "en-de", batch_size=size, max_new_tokens=12)
            == expected
        )


def test_translate_tells_the_pair_and_leaves_modes_alone(bloom, tokenizer):
    seen = []
    bloom.set_pair = seen.append
    bloom.train()
    tokenizer.padding_side = "right"
    assert translate(bloom, tokenizer, ["a b"], "en-zh", max_new_tokens=2) != []
    assert seen == ["en-zh"] and bloom.training and tokenizer.padding_side == "right"
    assert translate(bloom, tokenizer, [], "en-zh") == []


@pytest.mark.parametrize("line_break", [True, False])
def test_output_ends_at_a_line_break(bloom, tokenizer, monkeypatch, line_break):
    """A stub of generate that writes "ab", then a line break (or not), then "cd"."""
    written = tokenizer(" ab\ncd" if line_break else " abcd")["input_ids"]
    asked = {}

    def generate(input_ids, **settings):
        asked.update(settings)
        return torch.cat([input_ids, torch.tensor([written] * len(input_ids))], dim=1)

    monkeypatch.setattr(bloom, "generate", generate)
    assert translate(bloom, tokenizer, ["x"], "en-de") == ["ab" if line_break else "abcd"]
    assert asked["eos_token_id"] == [tokenizer.eos_token_id, *tokenizer("\n")["input_ids"]]
    assert asked["max_new_tokens"] == 16 + 3, (
        "one token of source: the limit should follow it, not be 64"
    )


def test_the_head_gets_what_lies_in_one_piece(bloom, tokenizer):
    head, seen = bloom.get_output_embeddings(), []
    with head.register_forward_hook(lambda _, args, __: seen.append(args[0].is_contiguous())):
        translate(bloom.requires_grad_(False), tokenizer, ["a b c", "a b"], "en-de")
    assert seen and all(seen) and not head._forward_pre_hooks


def test_a_blank_sentence_gives_a_blank_line(bloom, tokenizer):
    sentences = ["a dog", "the cat sees a dog"]
    first, second = translate(bloom, tokenizer, sentences, "en-de", max_new_tokens=4)
    gaps = translate(
        bloom, tokenizer, ["", sentences[0], " ", sentences[1], "\n"], "en-de", max_new_tokens=4
    )
    assert gaps == ["", first, "", second, ""]
    assert translate(bloom, tokenizer, [""], "en-de") == [""]


def test_a_checkpoints_list_of_eos_ends_a_translation(model, tokenizer, monkeypatch):
    asked = {}

    def generate(input_ids, **settings):
        asked.update(settings)
        return input_ids

    monkeypatch.setattr(model, "generate", generate)
    newline = tokenizer("\n")["input_ids"]
    for stored, expected in (([7, 9], [7, 9]), (11, [11]), (None, [])):
        model.generation_config.eos_token_id = stored
        translate(model, tokenizer, ["x"], "en-de")
        assert asked["eos_token_id"] == [tokenizer.eos_token_id, *expected, *newline]


def test_a_checkpoints_settings_of_generation_leave_decoding_greedy(model, tokenizer, corpus):
    torch.manual_seed(0)
    model.set_output_embeddings(torch.nn.Linear(32, 300, bias=False))
    sentences = texts(corpus, "en")[:8]

    def outputs():
        return translate(model, tokenizer, sentences, "en-de", max_new_tokens=12)

    plain, written = outputs(), model.generate
    changes = {"repetition_penalty": 5.0, "no_repeat_ngram_size": 1, "min_new_tokens": 12}
    for name, value in changes.items():
        setattr(model.generation_config, name, value)
    ids = tokenizer(sentences, return_tensors="pt", padding=True)
    changed = written(**ids, max_new_tokens=12, do_sample=False)
    for name in changes:
        setattr(model.generation_config, name, None)
    assert not torch.equal(changed, written(**ids, max_new_tokens=12, do_sample=False))
    for name, value in changes.items():
        setattr(model.generation_config, name, value)
    assert outputs() == plain


NEAR_MISSES = {  # {language: (reference, a near miss, another sentence)}
    "ja": ("犬が猫を見ます。", "犬が猫を見ました。", "空は青い"),
    "th": ("หมาเห็นแมวตัวนั้น", "หมาเห็นแมวตัวนี้", "ฟ้าสวยมาก"),
    "khm": ("ឆ្កែឃើញឆ្មាពីរ", "ឆ្កែឃើញឆ្មាមួយ", "មេឃពណ៌ខៀវ"),
    "mya_Mymr": ("ခွေးကကြောင်ကိုမြင်တယ်", "ခွေးကကြောင်ကိုမြင်", "မိုးပြာ"),
    "yue": ("隻狗見到隻貓", "隻狗見到隻貓喇", "天係藍色嘅"),
    "zh-Hant": ("那隻狗看見一隻貓", "那隻狗看見一隻貓了", "天是藍的"),
}


@pytest.mark.parametrize("language", NEAR_MISSES)
def test_bleu_sees_a_near_miss_without_spaces(language):
    reference, near, far = NEAR_MISSES[language]
    metric = BLEU(tokenize=bleu_tokenizer(language))
    scores = [metric.corpus_score([output], [[reference]]).score for output in (near, far)]
    assert scores[0] > 30 > 10 > scores[1]
    assert BLEU().corpus_score([near], [[reference]]).score == 0


def test_bleu_keeps_13a_where_there_are_spaces():
    assert {bleu_tokenizer(x) for x in ("en", "de", "ar", "eng_Latn", "hi", "vi")} == {"13a"}


def test_translate_refuses_a_string_and_bad_numbers(bloom, tokenizer):
    with pytest.raises(ValueError, match="list of strings"):
        translate(bloom, tokenizer, "a dog", "en-de")
    with pytest.raises(ValueError, match="batch_size=0"):
        translate(bloom, tokenizer, ["a dog"], "en-de", batch_size=0)
    with pytest.raises(ValueError, match="not a translation direction"):
        translate(bloom, tokenizer, ["a dog"], "ende")


# ---------------------------------------------------------------- scores
def test_perfect_output_scores_full_marks(bloom, tokenizer, corpus, answers):
    table = reference_table(corpus)
    answers(lambda sentences, pair: [table[(s, *pair.split("-"))] for s in sentences])
    scores = evaluate(bloom, tokenizer, corpus, PAIRS, bootstrap=50, keep_hypotheses=True)
    for pair in PAIRS:
        result = scores[pair]
        assert [result["bleu"], result["chrf"], *result["bleu_ci"]] == pytest.approx(
            [100, 100, 100, 100]
        )
        assert (result["off_target"], result["empty"], result["n"]) == (0, 0, 6)
        assert result["hypotheses"] == texts(corpus, pair[3:])
    assert scores["mean"] == pytest.approx({"bleu": 100, "chrf": 100})
    assert (
        set(scores["signature"]["bleu"]) == {"13a", "zh"}
        and "tok:zh" in scores["signature"]["bleu"]["zh"]
    )


def spoil(sentences):
    """Drop the last word (or sign) of every second sentence."""
    return [(" ".join(s.split()[:-1]) or s[:-1]) if i % 2 else s for i, s in enumerate(sentences)]


def test_scores_are_sacrebleus(bloom, tokenizer, corpus, answers):
    table = reference_table(corpus)
    answers(lambda sentences, pair: spoil([table[(s, *pair.split("-"))] for s in sentences]))
    scores = evaluate(bloom, tokenizer, corpus, PAIRS, bootstrap=0, max_sentences=5)
    for pair in PAIRS:
        references = texts(corpus, pair[3:])[:5]
        tok = "zh" if pair == "en-zh" else "13a"
        expected = sacrebleu.corpus_bleu(spoil(references), [references], tokenize=tok).score
        assert 0 < scores[pair]["bleu"] < 100 and scores[pair]["bleu"] == pytest.approx(expected)
        assert scores[pair]["chrf"] == pytest.approx(
            sacrebleu.corpus_chrf(spoil(references), [references]).score
        )
        assert scores[pair]["bleu_ci"] is None and scores[pair]["n"] == 5
    zh = texts(corpus, "zh")[:5]
    assert scores["en-zh"]["bleu"] != pytest.approx(
        sacrebleu.corpus_bleu(spoil(zh), [zh], tokenize="13a").score
    )
    assert scores["mean"]["bleu"] == pytest.approx(sum(scores[pair]["bleu"] for pair in PAIRS) / 3)


def test_interval_is_that_of_sacrebleus_own_resampling(corpus, monkeypatch):
    monkeypatch.setenv("SACREBLEU_SEED", "12345")
    references = [
        f"{text} number {i} of the list of many" for i, text in enumerate(texts(corpus, "en") * 8)
    ]
    hypotheses = spoil(references)
    metric = BLEU()
    low, high = bleu_interval(metric, hypotheses, references, 300, 12345)
    stats = metric._extract_corpus_statistics(hypotheses, [references])
    _, resampled = _bootstrap_resample(stats, metric, 300)
    assert [low, high] == pytest.approx(
        np.percentile([score.score for score in resampled], [2.5, 97.5]).tolist()
    )
    assert low < metric.corpus_score(hypotheses, [references]).score < high


def test_copies_are_off_target_and_blanks_are_empty(bloom, tokenizer, corpus, answers):
    answers(lambda sentences, pair: sentences)
    copied = evaluate(bloom, tokenizer, corpus, PAIRS, bootstrap=0)
    assert [copied[pair]["off_target"] for pair in PAIRS] == [1, 1, 1]
    table = reference_table(corpus)
    answers(
        lambda sentences, pair: [
            table[(s, *pair.split("-"))] if i < 2 else "" for i, s in enumerate(sentences)
        ]
    )
    half = evaluate(bloom, tokenizer, corpus, PAIRS, bootstrap=0)
    assert half["en-de"]["empty"] == pytest.approx(4 / 6) and half["en-de"]["off_target"] == 0
    answers(lambda sentences, pair: [""] * len(sentences))
    nothing = evaluate(bloom, tokenizer, corpus, PAIRS, bootstrap=10)
    assert (
        nothing["en-de"]["bleu"] == 0
        and nothing["en-de"]["empty"] == 1
        and nothing["en-de"]["bleu_ci"] == [0, 0]
    )


def test_language_id_tells_tiny_babels_languages_apart_and_labels_matter():
    with (data_dir() / "tiny_babel" / "valid.jsonl").open(encoding="utf-8") as file:
        rows = [json.loads(line)["translation"] for line in file]
    languages = list(rows[0])
    identify = LanguageId({lang: [row[lang] for row in rows[:300]] for lang in languages})
    accuracy = np.mean([identify(row[lang]) == lang for row in rows[300:400] for lang in languages])
    rotated = dict(zip(languages, languages[1:] + languages[:1]))
    assert accuracy > 0.98
    assert (
        np.mean(
            [identify(row[lang]) == rotated[lang] for row in rows[300:400] for lang in languages]
        )
        < 0.02
    )
    with pytest.raises(ValueError, match="at least two languages"):
        LanguageId({"en": ["a"]})


def test_evaluate_refuses_before_translating(bloom, tokenizer, corpus, answers):
    answers(lambda *_: pytest.fail("translated before the check"))
    for settings, expected in [
        ({"pairs": ["en-it"]}, "no 'it'"),
        ({"pairs": []}, "pairs is empty"),
        ({"n_shots": 2}, "needs shots_from"),
        ({"n_shots": 2, "shots_from": corpus}, "only 0 en-de rows"),
        ({"max_sentences": 0}, "max_sentences=0"),
    ]:
        with pytest.raises(ValueError, match=expected):
            evaluate(bloom, tokenizer, corpus, settings.pop("pairs", PAIRS), **settings)


def test_shots_come_from_the_training_part_and_never_from_the_test_set(corpus):
    test = corpus.select([0, 1])
    tested = pair_rows(test, "en-de")
    shots = draw_shots(corpus, tested, "en-de", 3, seed=1)
    rows = {(row["en"], row["de"]) for row in corpus["translation"]}
    assert (
        set(shots) <= rows
        and len(set(shots)) == 3
        and not {s for s, _ in shots} & set(texts(test, "en"))
    )
    assert shots == draw_shots(corpus, tested, "en-de", 3, seed=1)
    assert len({tuple(draw_shots(corpus, tested, "en-de", 3, seed=seed)) for seed in range(8)}) > 1


def test_shots_reach_the_prompt(bloom, tokenizer, corpus, monkeypatch):
    seen = []

    def generate(input_ids, **_):
        seen.append(tokenizer.decode(input_ids[0], skip_special_tokens=True))
        return input_ids

    monkeypatch.setattr(bloom, "generate", generate)
    evaluate(
        bloom,
        tokenizer,
        corpus.select([0, 1]),
        ["en-de"],
        n_shots=2,
        shots_from=corpus,
        bootstrap=0,
    )
    lines = seen[0].split("\n")
    assert len(lines) == 6 and lines[1].startswith("German: ") and lines[5] == "German:"
    assert lines[4].removeprefix("English: ") in texts(corpus, "en")[:2]


# ---------------------------------------------------------------- perplexity
def test_perplexity_is_that_of_a_plain_loop(model, tokenizer, corpus):
    sentences = [*texts(corpus, "en"), *texts(corpus, "zh"), "x"]
    losses = []
    for sentence in sentences:
        ids = torch.tensor([tokenizer(sentence)["input_ids"][:20]])
        with torch.no_grad():
            log_p = model(input_ids=ids).logits[0].log_softmax(-1)
        losses += [-log_p[i, token].item() for i, token in enumerate(ids[0, 1:].tolist())]
    expected = np.exp(np.mean(losses))
    for size in (1, 5, 32):
        with pytest.warns(UserWarning, match="cut at max_length=20"):
            assert perplexity(
                model, tokenizer, sentences, batch_size=size, max_length=20
            ) == pytest.approx(expected, rel=1e-5)
    assert perplexity(model, tokenizer, sentences) != pytest.approx(expected, rel=1e-4), (
        "max_length made no difference"
    )
    with pytest.raises(ValueError, match="at least one sentence"):
        perplexity(model, tokenizer, ["x"])


def test_without_line_breaks_the_next_example_ends_a_translation(bloom, monkeypatch):
    """A tokenizer that reads a line break as a space, as some of SentencePiece do."""
    letters = ["<unk>", "</s>", *sorted(set("▁English:Germanabcdef"))]
    vocabulary = {letter: i for i, letter in enumerate(letters)}
    inner = tokenizers.Tokenizer(BPE(vocabulary, [], unk_token="<unk>"))
    inner.normalizer = normalizers.Replace("\n", " ")
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    named = {"unk_token": "<unk>", "eos_token": "</s>", "pad_token": "</s>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, **named)
    translate(bloom, tokenizer, ["a b"], "en-de", max_new_tokens=3)  # generate takes what is asked
    asked, written = {}, tokenizer("c b English: a")["input_ids"]

    def generate(input_ids, **settings):
        asked.update(settings)
        return torch.cat([input_ids, torch.tensor([written])], dim=1)

    monkeypatch.setattr(bloom, "generate", generate)
    assert translate(bloom, tokenizer, ["a b"], "en-de") == ["c b"]
    assert asked["stop_strings"] == ["English:"]
