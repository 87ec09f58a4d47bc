"""Translate, score and measure: greedy batched decoding, BLEU and chrF2 with intervals, off-target
and empty rates, perplexity."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from itertools import chain

import numpy as np
from sacrebleu.metrics import BLEU, CHRF
from tqdm.auto import tqdm
from transformers import LogitsProcessor, LogitsProcessorList

from .blocks import input_device, unwrap
from .config import parse_pair
from .hooks import evaluation_mode, n_tokens, not_finite, read, sentence_losses
from .prompts import (
    batches,
    check_examples,
    check_pairs,
    collate,
    encode_sentences,
    encode_source,
    languages_of,
    one_line,
    pair_rows,
    positions_of,
    prompt,
    texts,
)

CHINESE = ("zh", "zho", "cmn", "yue", "lzh", "wuu", "nan")
MECAB = {  # {language: (sacreBLEU's tokenizer, the package that it needs)}
    "ja": ("ja-mecab", "MeCab"),
    "jpn": ("ja-mecab", "MeCab"),
    "ko": ("ko-mecab", "mecab_ko"),
    "kor": ("ko-mecab", "mecab_ko"),
}
WITHOUT_SPACES = ("th", "tha", "lo", "lao", "km", "khm", "my", "mya", "bo", "bod", "dz", "dzo")
GREEDY = {"do_sample": False, "num_beams": 1, "use_cache": True}
# settings of generation that a checkpoint may bring along, and the values that change nothing
NEUTRAL = {
    "repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "min_length": 0,
    "min_new_tokens": 0,
}
LANGUAGE_ID_ROWS = 1000  # enough to tell the languages apart; more only costs time
ORDERS = (1, 2, 3, 4)  # of the n-grams that tell them apart


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
    max_length: int = 2048,
    too_long: str = "cut",
    progress: bool = False,
) -> list[str]:
    """Greedy translations of `sentences`, in their order, "" for a blank one; a model with
    `set_pair` is told the pair.

    Decoding stops at an EOS of the tokenizer or of the checkpoint, at a line break, and after
    `max_new_tokens` or 16 + 3 x the tokens of the batch's longest sentence: a model that repeats
    itself would fill the rest.

    Args:
        shots: (source, target) examples for the prompt.
        max_length: of the prompt in tokens; less where the model has fewer positions. A longer
            sentence is cut at its end, and counted in a warning, or refused (too_long="refuse").
    Raises: ValueError for a malformed pair, a number below 1, or a string in place of a list;
        FloatingPointError for logits that are no numbers.
    """
    parse_pair(pair)
    if isinstance(sentences, str):
        call = "translate(model, tokenizer, [sentence], pair)"
        raise ValueError(f"sentences must be a list of strings; for one sentence: {call}")
    if batch_size < 1 or max_new_tokens < 1:
        wrong = f"batch_size={batch_size} and max_new_tokens={max_new_tokens}"
        raise ValueError(f"{wrong} must be at least 1")
    if hasattr(model, "set_pair"):
        model.set_pair(pair)
    sentences = [one_line(sentence) for sentence in sentences]
    filled = [i for i, sentence in enumerate(sentences) if sentence]
    room = min(max_length, positions_of(model) - max_new_tokens)
    how, examples, lengths = {"template": template, "shots": shots or (), "room": room}, [], []
    for sentence in (sentences[i] for i in filled):
        examples.append(encode_source(tokenizer, sentence, pair, **how))
        lengths.append(len(tokenizer(sentence, add_special_tokens=False)["input_ids"]))
    check_examples(model, {pair: examples}, room, too_long)
    options, end = _generation(model, tokenizer, pair, template)
    outputs = [""] * len(sentences)
    bar = tqdm(total=len(filled), desc=f"translate {pair}", disable=not progress, mininterval=1)
    with evaluation_mode(model), _in_one_piece(model), bar:
        for rows in batches(lengths, batch_size, key=int):
            batch = collate(tokenizer, [examples[row] for row in rows], "left", input_device(model))
            limit = min(max_new_tokens, 16 + 3 * lengths[rows[0]])
            check = LogitsProcessorList([_RefuseNan(model, batch)])
            generated = model.generate(
                **batch, max_new_tokens=limit, logits_processor=check, **options
            )
            for row, ids in zip(rows, generated[:, batch["input_ids"].shape[1] :].tolist()):
                outputs[filled[row]] = _until(end, tokenizer, ids)
            bar.update(len(rows))
    return outputs


def _in_one_piece(model):
    """While the handle is open, the output head gets a copy of what is cut out for it: of a slice,
    torch multiplies each sentence for itself where the weights are frozen, 700 times as slowly in
    bfloat16."""
    head = unwrap(model).get_output_embeddings()
    return head.register_forward_pre_hook(lambda module, args: (args[0].contiguous(), *args[1:]))


def _generation(model, tokenizer, pair: str, template: str | None) -> tuple[dict, str]:
    """Greedy decoding, whatever the checkpoint would have, and the text that ends a translation: a
    base model goes on with the next example. That starts on a new line or, where the tokenizer
    knows none, with what stands before the sentence in the template."""
    brought = {key for key in NEUTRAL if getattr(model.generation_config, key, None)}
    options = GREEDY | {key: NEUTRAL[key] for key in brought} | _stop_tokens(model, tokenizer)
    line = tokenizer("\n", add_special_tokens=False)["input_ids"]
    start = prompt("\0", pair, template).split("\0")[0].strip()
    if "\n" in tokenizer.decode(line) or not start:
        return options, "\n"
    return options | {"stop_strings": [start], "tokenizer": tokenizer}, start


class _RefuseNan(LogitsProcessor):
    """A step of decoding: the logits as they are. Of NaN, argmax would make words all the same.

    A class, because `generate` reads the signature of what it calls at each step, and that of a
    function's `__call__` takes it 5 ms."""

    def __init__(self, model, batch):
        self.model, self.batch = model, batch

    def __call__(self, input_ids, scores):
        if scores.sum().isnan():
            raise not_finite(self.model, self.batch)
        return scores


def _stop_tokens(model, tokenizer) -> dict:
    """Stop at any EOS, and at a line break where it is one token: a base model goes on with the
    next example there."""
    eos = tokenizer.eos_token_id
    pad = tokenizer.pad_token_id
    others = model.generation_config.eos_token_id
    stop = [eos, *others] if isinstance(others, list) else [eos, others]
    stop = list(dict.fromkeys(token for token in stop if token is not None))
    last = tokenizer("\n", add_special_tokens=False)["input_ids"][-1:]
    if tokenizer.decode(last) == "\n" and last[0] not in (*stop, tokenizer.unk_token_id):
        stop += last
    return {"eos_token_id": stop or None, "pad_token_id": eos if pad is None else pad}


def _until(end: str, tokenizer, ids: list[int]) -> str:
    text = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text.split(end)[0].strip()


def evaluate(
    model,
    tokenizer,
    corpus,
    pairs: Sequence[str],
    *,
    max_sentences: int | None = None,
    bootstrap: int = 1000,
    seed: int = 12345,
    n_shots: int = 0,
    shots_from=None,
    keep_hypotheses: bool = False,
    **decoding,
) -> dict:
    """Translate the corpus (the first `max_sentences` rows that have both sides) in every direction
    and score it.

    Args:
        bootstrap: resamples for "bleu_ci"; 0 for none.
        n_shots: examples before each prompt, drawn with `seed` from `shots_from` for each pair;
            rows whose source is in the test set are left out.
        decoding: batch_size, max_new_tokens, max_length, too_long, template and progress of
            `translate`.

    Returns: {pair: scores}; a pair's scores are "bleu" (sacreBLEU, with `bleu_tokenizer`), "chrf"
        (chrF2), "bleu_ci" ([low, high], 95%, or None; it covers the choice of test sentences, not
        of training seeds), "off_target" (share of the non-empty outputs that LanguageId, trained on
        the corpus, takes for another of its languages), "empty" (share of empty outputs), "n", and
        "hypotheses" with keep_hypotheses. Besides, "mean" {"bleu", "chrf"} over pairs, and
        "signature" {"bleu": {tokenizer: sacreBLEU's signature}, "chrf": …}.
    Raises: ValueError for pairs that the corpus lacks, too few shots, or max_sentences below 1.
    """
    check_pairs(corpus, pairs, tokenizer)
    if max_sentences is not None and max_sentences < 1:
        raise ValueError(f"max_sentences={max_sentences} must be at least 1, or None for all")
    rows = {pair: pair_rows(corpus, pair, max_sentences) for pair in pairs}
    shots = {pair: draw_shots(shots_from, rows[pair], pair, n_shots, seed) for pair in pairs}
    known = {lang: texts(corpus, lang)[:LANGUAGE_ID_ROWS] for lang in languages_of(corpus)}
    identify, chrf = LanguageId(known), CHRF()
    results, signatures = {}, {}
    for pair in pairs:
        target, (sources, references) = parse_pair(pair)[1], zip(*rows[pair])
        outputs = translate(model, tokenizer, sources, pair, shots=shots[pair], **decoding)
        bleu = BLEU(tokenize=bleu_tokenizer(target))
        interval = bleu_interval(bleu, outputs, references, bootstrap, seed) if bootstrap else None
        wrong = [identify(output) != target for output in outputs if output]
        results[pair] = {
            "bleu": bleu.corpus_score(outputs, [references]).score,
            "chrf": chrf.corpus_score(outputs, [references]).score,
            "bleu_ci": interval,
            "off_target": sum(wrong) / max(1, len(wrong)),
            "empty": 1 - len(wrong) / len(outputs),
            "n": len(outputs),
        }
        if keep_hypotheses:
            results[pair]["hypotheses"] = outputs
        signatures[bleu.tokenizer_signature] = str(bleu.get_signature())
    mean = {key: sum(results[pair][key] for pair in pairs) / len(pairs) for key in ("bleu", "chrf")}
    results |= {"mean": mean, "signature": {"bleu": signatures, "chrf": str(chrf.get_signature())}}
    return results


def bleu_tokenizer(language: str) -> str:
    """sacreBLEU's tokenizer for a target language: 13a, but where words have no spaces between
    them, so that it would score near misses 0, zh, ja-mecab (if it is installed; ko-mecab likewise)
    or char."""
    code = language.replace("_", "-").split("-")[0].lower()
    if code in CHINESE:
        return "zh"
    if code in MECAB:
        name, package = MECAB[code]
        return name if find_spec(package) else "char"
    return "char" if code in WITHOUT_SPACES else "13a"


def draw_shots(corpus, test: Sequence[tuple[str, str]], pair: str, n: int, seed: int) -> list:
    """n random (source, target) examples of a pair from `corpus` whose sources are not in those of
    `test`, (source, target) likewise."""
    if n == 0:
        return []
    if corpus is None:
        needed = "a corpus to take the examples from (the training part, never the test set)"
        raise ValueError(f"n_shots={n} needs shots_from=, {needed}")
    check_pairs(corpus, [pair])
    tested = {source for source, _ in test}
    candidates = [row for row in pair_rows(corpus, pair) if row[0] not in tested]
    if n > len(candidates):
        has = f"shots_from has only {len(candidates)} {pair} rows that are not in the test set"
        raise ValueError(f"n_shots={n}, but {has}")
    return random.Random(f"{seed} {pair}").sample(candidates, n)


def bleu_interval(
    metric: BLEU, hypotheses: Sequence[str], references: Sequence[str], resamples: int, seed: int
) -> list[float]:
    """[2.5th, 97.5th] percentile of corpus BLEU over resamples of the sentences, drawn as sacreBLEU
    does (Koehn 2004); since BLEU depends on sums over sentences, a resample only adds up rows."""
    rows = bleu_counts(metric, hypotheses, references)
    draws = np.random.default_rng(seed).choice(len(rows), size=(resamples, len(rows)), replace=True)
    sampled = [bleu_of_sums(metric, rows[draw].sum(axis=0)) for draw in draws]
    return [float(bound) for bound in np.percentile(sampled, [2.5, 97.5])]


def bleu_counts(metric: BLEU, hypotheses: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """What corpus BLEU adds up, int [sentence, 10]: matches and totals of 1- to 4-grams, then the
    lengths of hypothesis and reference."""
    rows = []
    for hypothesis, reference in zip(hypotheses, references):
        score = metric.corpus_score([hypothesis], [[reference]])
        rows.append([*score.counts, *score.totals, score.sys_len, score.ref_len])
    return np.array(rows, dtype=int).reshape(-1, 10)


def bleu_of_sums(metric: BLEU, sums: np.ndarray) -> float:
    """Corpus BLEU, 0 … 100, of the summed rows [10] of `bleu_counts`."""
    sums = sums.round().astype(int).tolist()
    method = metric.smooth_method
    return BLEU.compute_bleu(sums[:4], sums[4:8], *sums[8:], smooth_method=method).score


def perplexity(
    model, tokenizer, sentences: Sequence[str], *, batch_size: int = 32, max_length: int = 256
) -> float:
    """exp of the mean negative log-likelihood of all predicted tokens of sentences that are cut at
    `max_length` tokens, with a warning. Raises: as `plain_text_loss`."""
    total, examples = plain_text_loss(model, tokenizer, sentences, batch_size, max_length)
    return math.exp(total / sum(n_tokens(example) - 1 for example in examples))


def plain_text_loss(
    model, tokenizer, sentences: Sequence[str], batch_size: int, max_length: int
) -> tuple[float, list]:
    """Negative log-likelihood of all predicted tokens together, in nats, and the encoded sentences.

    The first token is predicted only where the tokenizer puts BOS in front; EOS is not scored. The
    pair that is set stays. Sentences of one token are left out, with a warning. Raises: ValueError
    when there is nothing to predict.
    """
    examples = encode_sentences(tokenizer, sentences, max_length, 2, "the sentences", "skip")
    if not examples:
        raise ValueError("there must be at least one sentence of two tokens")
    check_examples(model, {"the sentences": examples}, max_length)

    def loss(batch) -> float:
        return sentence_losses(model, batch).sum().item()

    parts = read(model, tokenizer, examples, loss, batch_size=batch_size)
    return sum(value for _, value in parts), examples


class LanguageId:
    """Tell languages apart by character 1- to 4-grams (Cavnar & Trenkle 1994), add-one smoothed,
    with equal priors. `texts`: {language: sentences}, two languages or more; else ValueError.

    It knows only these, and needs a few hundred sentences to tell close ones (Dutch and Afrikaans)
    apart; a text of a word or two is a guess.
    """

    def __init__(self, texts: Mapping[str, Sequence[str]]):
        if len(texts) < 2 or not all(texts.values()):
            needed = "at least two languages with text"
            raise ValueError(f"language identification needs {needed}, not {list(texts)}")
        counts = [Counter(chain.from_iterable(map(self._grams, x))) for x in texts.values()]
        self.languages = [*texts]
        self.index = {gram: i for i, gram in enumerate(set().union(*counts))}
        table = 1 + np.array([[count.get(gram, 0) for count in counts] for gram in self.index])
        self.log_probability = np.log(table / table.sum(axis=0))  # [n-grams, languages]

    def _grams(self, text: str) -> list[str]:
        padded = f" {text.lower()} "
        return [padded[i : i + n] for n in ORDERS for i in range(len(padded) - n + 1)]

    def __call__(self, text: str) -> str:
        """The likeliest language, the first of equals; unknown n-grams do not count."""
        known = [self.index[gram] for gram in self._grams(text) if gram in self.index]
        return self.languages[self.log_probability[known].sum(axis=0).argmax()]
