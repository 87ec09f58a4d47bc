"""Translate, score and measure: greedy batched decoding, BLEU and chrF2 with intervals, off-target
and empty rates, perplexity."""

from __future__ import annotations

import contextlib
import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from sacrebleu.metrics import BLEU, CHRF
from tqdm.auto import tqdm

from .blocks import input_device
from .corpus import (
    batches,
    check_examples,
    check_ids,
    check_pairs,
    collate,
    cut_ids,
    languages_of,
    one_line,
    parse_pair,
    prompt,
    prompt_ids,
    texts,
)

LANGUAGE_ID_ROWS = 1000  # enough to tell the languages apart; more only costs time


@contextlib.contextmanager
def evaluating(model):
    """Evaluation mode without gradients; the mode is put back afterwards."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


def translate(
    model,
    tokenizer,
    sentences: Sequence[str],
    pair: str,
    *,
    batch_size: int = 64,
    max_new_tokens: int = 64,
    template: str | None = None,
    shots: Sequence[tuple[str, str]] | None = None,
    progress: bool = False,
) -> list[str]:
    """Greedy translations of `sentences`, in their order.

    Batches hold sentences of like length, padded on the left; decoding stops at EOS or at a line
    break, and after `max_new_tokens` or 16 + 3 x the tokens of the batch's longest sentence,
    whichever is less (a model that repeats itself would fill the rest). A model with `set_pair` is
    told the pair. shots: (source, target) examples for the prompt.
    Raises ValueError for a malformed pair, a batch size or token limit below 1, or a single string
    in place of a list.
    """
    parse_pair(pair)
    if isinstance(sentences, str):
        raise ValueError(
            "sentences must be a list of strings; for one sentence: translate(model, tokenizer, "
            "[sentence], pair)"
        )
    if batch_size < 1 or max_new_tokens < 1:
        raise ValueError(
            f"batch_size={batch_size} and max_new_tokens={max_new_tokens} must be at least 1"
        )
    if hasattr(model, "set_pair"):
        model.set_pair(pair)
    sentences = [one_line(sentence) for sentence in sentences]
    examples = [
        {"input_ids": prompt_ids(tokenizer, prompt(sentence, pair, template, shots or ()))}
        for sentence in sentences
    ]
    check_ids(model, examples, pair)
    lengths = [
        len(tokenizer(sentence, add_special_tokens=False)["input_ids"]) for sentence in sentences
    ]
    outputs = [""] * len(sentences)
    with (
        evaluating(model),
        tqdm(
            total=len(sentences), desc=f"translate {pair}", disable=not progress, mininterval=1
        ) as bar,
    ):
        for rows in batches(lengths, batch_size, key=int):
            batch = collate(
                tokenizer, [examples[row] for row in rows], side="left", device=input_device(model)
            )
            generated = model.generate(
                **batch,
                max_new_tokens=min(max_new_tokens, 16 + 3 * lengths[rows[0]]),
                do_sample=False,
                num_beams=1,
                use_cache=True,
                eos_token_id=_stop_ids(tokenizer) or None,
                pad_token_id=_pad_id(tokenizer),
            )
            for row, ids in zip(rows, generated[:, batch["input_ids"].shape[1] :].tolist()):
                outputs[row] = _first_line(tokenizer, ids)
            bar.update(len(rows))
    return outputs


def _pad_id(tokenizer) -> int:
    return tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id


def _stop_ids(tokenizer) -> list[int]:
    """EOS, and the line break where it is a token of its own: a base model goes on with the next
    example there."""
    ids = tokenizer("\n", add_special_tokens=False)["input_ids"][-1:]
    line_break = [i for i in ids if i != tokenizer.unk_token_id and tokenizer.decode([i]) == "\n"]
    return [i for i in dict.fromkeys([tokenizer.eos_token_id, *line_break]) if i is not None]


def _first_line(tokenizer, ids: list[int]) -> str:
    text = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text.split("\n")[0].strip()


# ---------------------------------------------------------------- scores
def evaluate(
    model,
    tokenizer,
    corpus,
    pairs: Sequence[str],
    *,
    max_sentences: int | None = None,
    batch_size: int = 64,
    max_new_tokens: int = 64,
    bootstrap: int = 1000,
    seed: int = 12345,
    template: str | None = None,
    n_shots: int = 0,
    shots_from=None,
    keep_hypotheses: bool = False,
    progress: bool = False,
) -> dict:
    """Translate the corpus (its first `max_sentences` rows) in every direction and score the
    result.

    Per pair: "bleu" (sacreBLEU; tokenizer `zh` into Chinese, 13a else), "chrf" (chrF2), "bleu_ci"
    ([low, high]: 95% percentile interval of `bootstrap` resamples, None with bootstrap=0; it covers
    the choice of test sentences, not of training seeds), "off_target" (share of the non-empty
    outputs that LanguageId, trained on the corpus' own sentences, takes for another of its
    languages), "empty" (share of empty outputs), "n"; and "hypotheses" with keep_hypotheses.
    Besides: "mean" {"bleu", "chrf"} over
    pairs, and "signature" {"bleu": {tokenizer: sacreBLEU's signature}, "chrf": …}.

    n_shots examples per pair, drawn with `seed` from `shots_from` (rows with a source of the test
    set are left out), precede each prompt.
    Raises ValueError for pairs that the corpus lacks, n_shots without or beyond `shots_from`, and
    max_sentences below 1.
    """
    check_pairs(corpus, pairs, tokenizer)
    if max_sentences is not None and max_sentences < 1:
        raise ValueError(f"max_sentences={max_sentences} must be at least 1, or None for all")
    used = corpus.select(range(min(len(corpus), max_sentences or len(corpus))))
    shots = {
        pair: draw_shots(shots_from, used, pair, n_shots, seed) for pair in pairs
    }  # fails before any translation
    identify = LanguageId(
        {lang: texts(corpus, lang)[:LANGUAGE_ID_ROWS] for lang in languages_of(corpus)}
    )
    results, signature = {}, {"bleu": {}}
    for pair in pairs:
        source, target = parse_pair(pair)
        references = texts(used, target)
        hypotheses = translate(
            model,
            tokenizer,
            texts(used, source),
            pair,
            batch_size=batch_size,
            max_new_tokens=max_new_tokens,
            template=template,
            shots=shots[pair],
            progress=progress,
        )
        bleu, chrf = BLEU(tokenize="zh" if target.startswith("zh") else "13a"), CHRF()
        written = [hypothesis for hypothesis in hypotheses if hypothesis]
        results[pair] = {
            "bleu": bleu.corpus_score(hypotheses, [references]).score,
            "chrf": chrf.corpus_score(hypotheses, [references]).score,
            "bleu_ci": bleu_interval(bleu, hypotheses, references, bootstrap, seed)
            if bootstrap
            else None,
            "off_target": sum(identify(hypothesis) != target for hypothesis in written)
            / len(written)
            if written
            else 0.0,
            "empty": 1 - len(written) / len(hypotheses),
            "n": len(hypotheses),
        }
        if keep_hypotheses:
            results[pair]["hypotheses"] = hypotheses
        signature["bleu"][bleu.get_signature().info["tok"]] = str(bleu.get_signature())
        signature["chrf"] = str(chrf.get_signature())
    mean = {
        name: sum(results[pair][name] for pair in pairs) / len(pairs) for name in ("bleu", "chrf")
    }
    return {**results, "mean": mean, "signature": signature}


def draw_shots(corpus, test, pair: str, n: int, seed: int) -> list[tuple[str, str]]:
    """n random (source, target) examples of a pair from `corpus`, none of which has a source
    sentence of `test`."""
    if n == 0:
        return []
    if corpus is None:
        raise ValueError(
            f"n_shots={n} needs shots_from=, a corpus to take the examples from (the training "
            f"part, never the test set)"
        )
    check_pairs(corpus, [pair])
    source, target = parse_pair(pair)
    tested = set(texts(test, source))
    candidates = [
        row for row in zip(texts(corpus, source), texts(corpus, target)) if row[0] not in tested
    ]
    if n > len(candidates):
        raise ValueError(
            f"n_shots={n}, but shots_from has only {len(candidates)} {pair} rows that are not in "
            f"the test set"
        )
    return random.Random(f"{seed} {pair}").sample(candidates, n)


def bleu_interval(
    metric: BLEU, hypotheses: Sequence[str], references: Sequence[str], resamples: int, seed: int
) -> list[float]:
    """[2.5th, 97.5th] percentile of corpus BLEU over resamples of the sentences, drawn as sacreBLEU
    does (Koehn 2004).

    Corpus BLEU depends on sums over sentences (matches and totals per n-gram order, two lengths),
    so a resample only adds up rows.
    """
    rows = bleu_counts(metric, hypotheses, references)
    draws = np.random.default_rng(seed).choice(len(rows), size=(resamples, len(rows)), replace=True)
    sampled = [bleu_of_sums(metric, rows[draw].sum(axis=0)) for draw in draws]
    return [float(bound) for bound in np.percentile(sampled, [2.5, 97.5])]


def bleu_counts(metric: BLEU, hypotheses: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """What corpus BLEU adds up, int [sentence, 10]: matches and totals of 1- to 4-grams, then the
    lengths of hypothesis and reference."""
    scores = [
        metric.corpus_score([hypothesis], [[reference]])
        for hypothesis, reference in zip(hypotheses, references)
    ]
    return np.array(
        [[*score.counts, *score.totals, score.sys_len, score.ref_len] for score in scores],
        dtype=int,
    ).reshape(-1, 10)


def bleu_of_sums(metric: BLEU, sums: np.ndarray) -> float:
    """Corpus BLEU, 0 … 100, of the summed rows [10] of `bleu_counts`."""
    sums = [round(value) for value in sums.tolist()]
    return BLEU.compute_bleu(
        sums[:4], sums[4:8], sums[8], sums[9], smooth_method=metric.smooth_method
    ).score


def perplexity(
    model, tokenizer, sentences: Sequence[str], *, batch_size: int = 32, max_length: int = 256
) -> float:
    """exp of the mean negative log-likelihood per predicted token over all sentences (cut at
    `max_length` tokens, with a warning).

    The first token is predicted only where the tokenizer puts BOS in front; EOS is not scored. A
    model with pairs is measured with the pair that is set. Raises ValueError when there is nothing
    to predict.
    """
    examples = [cut_ids(prompt_ids(tokenizer, sentence), max_length) for sentence in sentences]
    examples = [
        example | {"labels": example["input_ids"]}
        for example in examples
        if len(example["input_ids"]) > 1
    ]
    if not examples:
        raise ValueError("perplexity needs at least one sentence of two tokens")
    check_examples(model, {"the sentences": examples}, max_length)
    total, count = 0.0, 0
    with evaluating(model):
        for rows in batches(examples, batch_size, key=lambda example: len(example["input_ids"])):
            batch = collate(tokenizer, [examples[row] for row in rows], device=input_device(model))
            labels = batch.pop("labels")[:, 1:]
            logits = model(**batch, use_cache=False).logits[:, :-1]
            labels = labels.to(logits.device)
            total += F.cross_entropy(
                logits.float().flatten(0, 1), labels.flatten(), ignore_index=-100, reduction="sum"
            ).item()
            count += int((labels != -100).sum())
    return math.exp(total / count)


class LanguageId:
    """Character 1- to 4-grams, add-one smoothing, equal priors (n-grams as features: Cavnar &
    Trenkle 1994).

    It knows only the languages it was given, and needs a few hundred sentences to tell close ones
    (Dutch and Afrikaans) apart; a text of
    a word or two is a guess. `texts`: {language: sentences}, at least two languages. Raises
        ValueError otherwise.
    """

    def __init__(self, texts: Mapping[str, Sequence[str]], orders: Sequence[int] = (1, 2, 3, 4)):
        if len(texts) < 2 or not all(texts.values()):
            raise ValueError(
                f"language identification needs at least two languages with text, not {list(texts)}"
            )
        self.orders = tuple(orders)
        counts = {
            lang: Counter(gram for text in sentences for gram in self._grams(text))
            for lang, sentences in texts.items()
        }
        known = set().union(*counts.values())
        self.log_probability = {}
        for lang, count in counts.items():
            total = count.total() + len(known)
            self.log_probability[lang] = {
                gram: math.log((count[gram] + 1) / total) for gram in known
            }

    def _grams(self, text: str):
        padded = f" {text.lower()} "
        return [padded[i : i + n] for n in self.orders for i in range(len(padded) - n + 1)]

    def __call__(self, text: str) -> str:
        """The likeliest language; n-grams that no language has are left out, and the first language
        wins ties."""
        grams = self._grams(text)
        return max(
            self.log_probability,
            key=lambda lang: sum(self.log_probability[lang].get(gram, 0.0) for gram in grams),
        )
