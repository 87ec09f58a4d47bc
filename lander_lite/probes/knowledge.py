"""What else does the model know? Recall of facts and perplexity, which tuning should not cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from torch import Tensor

from ..config import resolve
from ..corpus import json_rows
from ..evaluation import perplexity, plain_text_loss
from ..hooks import read
from ..prompts import prompt_ids, texts

LONGEST = 10_000  # characters: a statement is read whole
WITHOUT_SPACES = ("zh", "ja", "th")  # the answer follows the prompt directly


def load_facts(path) -> list[dict]:
    """Facts from a .jsonl file of rows {"lang", "prompt", "answer"}; other columns are kept.

    Raises: FileNotFoundError; ValueError with file and 1-based line for what is missing or empty.
    """
    found = resolve(path)
    if found is None:
        raise FileNotFoundError(f"no such file: {path}")
    return [_checked(row, place) for place, row in json_rows(found)]


def _checked(fact: Mapping, where: str) -> Mapping:
    for key in ("lang", "prompt", "answer"):
        value = fact.get(key)
        if not isinstance(value, str) or not value.strip():
            has = ", ".join(fact) or "nothing"
            raise ValueError(f"{where}: {key!r} is missing, empty or not text (the row has {has})")
        if len(value) > LONGEST:
            told = f"{len(value):,} characters (at most {LONGEST:,})"
            raise ValueError(f"{where}: {key!r} has {told}: are line breaks lost?")
    return fact


def encode_fact(tokenizer, fact: Mapping) -> dict[str, list[int]]:
    """One statement: {"input_ids", "labels"}, both [length]; labels are -100 on the prompt.

    Both are tokenised together, as in running text. The answer starts where the ids leave those of
    the prompt; a token that spans both belongs to it. Raises: ValueError where one has no token.
    """
    language = fact["lang"].split("-")[0]
    space = "" if language in WITHOUT_SPACES else " "
    statement = fact["prompt"] + space + fact["answer"]
    prompt = prompt_ids(tokenizer, fact["prompt"])
    ids = prompt_ids(tokenizer, statement)
    start = len(prompt)
    while prompt[:start] != ids[:start]:
        start -= 1
    if not 0 < start < len(ids):
        raise ValueError(f"the tokenizer does not tell prompt from answer in {statement!r}")
    labels = [-100] * start + ids[start:]
    return {"input_ids": ids, "labels": labels}


def fact_recall(
    model,
    tokenizer,
    facts: str | Path | Sequence[Mapping],
    languages: Sequence[str] | None = None,
    batch_size: int = 64,
) -> dict[str, float]:
    """Share of facts (rows of `load_facts`, or its path) recalled by language, and the "mean".

    A fact is recalled when greedy decoding of its prompt begins with exactly the answer's tokens.
    One pass over prompt and answer tells: as long as each likeliest token is the answer's, decoding
    reads the same tokens. A model with pairs keeps the pair that is set.

    Raises: ValueError for a malformed fact, a language without facts, or a batch size below 1.
    """
    if isinstance(facts, (str, Path)):
        facts = load_facts(facts)
    facts = [_checked(fact, f"fact {number}") for number, fact in enumerate(facts, 1)]
    known = list(dict.fromkeys(fact["lang"] for fact in facts))
    languages = known if languages is None else list(languages)
    if missing := [lang for lang in languages if lang not in known]:
        some = ", ".join(known) or "no language"
        raise ValueError(f"no facts in {', '.join(missing)}; there are some in {some}")
    if not languages or batch_size < 1:
        raise ValueError(
            f"needs at least one language with facts and batch_size={batch_size} of at least 1"
        )
    facts = [fact for fact in facts if fact["lang"] in languages]
    examples = [encode_fact(tokenizer, fact) for fact in facts]

    def recalled(batch) -> Tensor:
        labels = batch.pop("labels")[:, 1:]
        logits = model(**batch, use_cache=False).logits[:, :-1]
        likeliest = logits.argmax(dim=-1).to(labels.device)
        right = (likeliest == labels) | (labels == -100)
        return right.all(dim=1)

    hits = {lang: [] for lang in languages}
    for rows, found in read(model, tokenizer, examples, recalled, batch_size=batch_size):
        for row, hit in zip(rows, found.tolist()):
            hits[facts[row]["lang"]].append(hit)
    shares = {lang: fmean(found) for lang, found in hits.items()}
    return {**shares, "mean": fmean(shares.values())}


def nats_per_sentence(
    model, tokenizer, sentences: Sequence[str], *, batch_size: int = 16, max_length: int = 512
) -> float:
    """-log p of a sentence, in nats, mean over sentences that are cut at `max_length` tokens: of
    translations of the same text it compares languages, which perplexity, a mean over tokens, does
    not, for tokens are shorter in some. Raises: as `evaluation.plain_text_loss`."""
    total, examples = plain_text_loss(model, tokenizer, sentences, batch_size, max_length)
    return total / len(examples)


def per_language_perplexity(
    model, tokenizer, corpus, languages: Sequence[str], max_sentences: int = 200
) -> dict[str, float]:
    """`perplexity` of the corpus' first `max_sentences` sentences of each language. Raises:
    KeyError for a language that the corpus lacks; ValueError for max_sentences below 1."""
    if max_sentences < 1:
        raise ValueError(f"max_sentences={max_sentences} must be at least 1")
    found = {}
    for lang in languages:
        sentences = texts(corpus, lang)[:max_sentences]
        found[lang] = perplexity(model, tokenizer, sentences)
    return found
