"""What else does the model know? Recall of facts and perplexity by language: tuning for translation
should not cost them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..blocks import input_device
from ..config import resolve
from ..corpus import batches, collate, prompt_ids, texts
from ..evaluation import perplexity
from ..hooks import evaluation_mode
from ..io import json_rows

WITHOUT_SPACES = ("zh", "ja", "th")  # the answer follows the prompt directly


def load_facts(path) -> list[dict]:
    """Facts from a .jsonl file of rows {"lang", "prompt", "answer"}; other columns are kept.

    Raises FileNotFoundError for a missing path, ValueError with file and 1-based line for what is
    missing or empty."""
    found = resolve(path)
    if found is None:
        raise FileNotFoundError(f"no such file: {path}")
    return [_checked(row, f"{found}, line {number}") for number, row in json_rows(found)]


def _checked(row: Mapping, where: str) -> Mapping:
    for key in ("lang", "prompt", "answer"):
        if not isinstance(row.get(key), str) or not row[key].strip():
            raise ValueError(
                f"{where}: {key!r} is missing, empty or not text (the row has "
                f"{', '.join(row) or 'nothing'})"
            )
    return row


def encode_fact(tokenizer, fact: Mapping) -> dict[str, list[int]]:
    """One statement: {"input_ids", "labels"}, both [length]; labels are -100 on the prompt.

    Prompt and answer are tokenised together, as in running text. The answer starts where the ids
    leave those of the prompt alone; a token that spans both belongs to the answer. Raises
    ValueError when that leaves no token to predict it from."""
    alone = prompt_ids(tokenizer, fact["prompt"])
    space = "" if fact["lang"].split("-")[0] in WITHOUT_SPACES else " "
    ids = prompt_ids(tokenizer, fact["prompt"] + space + fact["answer"])
    start = next(
        (i for i, (a, b) in enumerate(zip(alone, ids)) if a != b), min(len(alone), len(ids))
    )
    if not 0 < start < len(ids):
        raise ValueError(
            f"the tokenizer does not tell prompt from answer in "
            f"{fact['prompt'] + space + fact['answer']!r}"
        )
    return {"input_ids": ids, "labels": [-100] * start + ids[start:]}


def fact_recall(
    model,
    tokenizer,
    facts: str | Path | Sequence[Mapping],
    languages: Sequence[str] | None = None,
    batch_size: int = 64,
) -> dict[str, float]:
    """Share of facts recalled by language, 0 … 1, and their "mean" over languages. facts: rows as
    in `load_facts`, or its path.

    A fact is recalled when greedy decoding of its prompt begins with exactly the answer's tokens.
    One pass over prompt and answer tells: as long as each likeliest token is the answer's, decoding
        reads the same tokens. A model with pairs keeps the pair that is set.
    Raises ValueError for a malformed fact, a language without facts, no facts, or a batch size
    below 1."""
    if isinstance(facts, (str, Path)):
        facts = load_facts(facts)
    facts = [_checked(fact, f"fact {number}") for number, fact in enumerate(facts, 1)]
    known = list(dict.fromkeys(fact["lang"] for fact in facts))
    languages = known if languages is None else list(languages)
    if missing := [lang for lang in languages if lang not in known]:
        raise ValueError(
            f"no facts in {', '.join(missing)}; there are some in "
            f"{', '.join(known) or 'no language'}"
        )
    if not languages or batch_size < 1:
        raise ValueError(
            f"needs at least one language with facts and batch_size={batch_size} of at least 1"
        )
    facts = [fact for fact in facts if fact["lang"] in languages]
    examples = [encode_fact(tokenizer, fact) for fact in facts]
    recalled: dict[str, list[bool]] = {lang: [] for lang in languages}
    with evaluation_mode(model):
        for rows in batches(examples, batch_size, key=lambda example: len(example["input_ids"])):
            batch = collate(tokenizer, [examples[row] for row in rows], device=input_device(model))
            labels = batch.pop("labels")[:, 1:]
            likeliest = (
                model(**batch, use_cache=False).logits[:, :-1].argmax(dim=-1).to(labels.device)
            )
            for row, right in zip(
                rows, ((likeliest == labels) | (labels == -100)).all(dim=1).tolist()
            ):
                recalled[facts[row]["lang"]].append(right)
    shares = {lang: sum(hits) / len(hits) for lang, hits in recalled.items()}
    return {**shares, "mean": sum(shares.values()) / len(shares)}


def per_language_perplexity(
    model, tokenizer, corpus, languages: Sequence[str], max_sentences: int = 200
) -> dict[str, float]:
    """evaluate.perplexity on the corpus' first `max_sentences` sentences of each language.

    Raises KeyError for a language that the corpus lacks, ValueError for max_sentences below 1."""
    if max_sentences < 1:
        raise ValueError(f"max_sentences={max_sentences} must be at least 1")
    return {
        lang: perplexity(model, tokenizer, texts(corpus, lang)[:max_sentences])
        for lang in languages
    }
