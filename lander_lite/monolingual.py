"""Training on plain text of one language: in `finetune`, a bare code such as "af" takes the place of a direction such as "en-af".

    sets = lape(model, tokenizer, mono, languages)                   # mono: {language: sentences}, as load_mono gives
    lander = get_lander_model(model, LanderTuningConfig(sets)).set_pair("af")
    finetune(lander, tokenizer, mono, ["af"], config)

A neuron's weights are its rows of gate and up with their biases, and its column of down; the neurons of "af" are trained and nothing
else, on every token of the text (sparse subnetworks, Gurgurov et al. 2025, arXiv 2510.13580).
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence

from .corpus import check_pairs, languages_of, prompt_ids, texts
from .limits import cut_ids


def plain_text(corpus, language: str) -> list[str]:
    """The sentences of one language of a parallel corpus or of {language: sentences}. ValueError for none, or an empty one."""
    known = list(corpus) if isinstance(corpus, Mapping) else languages_of(corpus)
    if language not in known:
        raise ValueError(f"{language!r} is neither a direction, such as en-de, nor a language of the corpus: it has {', '.join(known)}")
    sentences = corpus[language] if isinstance(corpus, Mapping) else texts(corpus, language)
    if isinstance(sentences, str) or not len(sentences):
        raise ValueError(f"'{language}': give a list of sentences, not {sentences!r}")
    if empty := [number for number, sentence in enumerate(sentences) if not sentence.strip()]:
        raise ValueError(f"'{language}': sentence {empty[0]} is empty")
    return list(sentences)


def check_data(corpus, pairs: Sequence[str], tokenizer=None) -> None:
    """`check_pairs` for lists that may also hold bare language codes; ValueError for what the corpus lacks."""
    if isinstance(pairs, str) or not pairs:
        check_pairs(corpus, pairs)                      # says what is wrong
    directions = [pair for pair in pairs if "-" in pair]
    for language in set(pairs) - set(directions):
        plain_text(corpus, language)
    if directions and isinstance(corpus, Mapping):
        raise ValueError(f"{directions[0]}: plain text holds no translations; give a parallel corpus")
    if directions:
        check_pairs(corpus, directions, tokenizer)


def encode_text(tokenizer, sentence: str, max_length: int) -> dict[str, list[int]]:
    """One sentence with EOS: {"input_ids", "labels"}, both [length <= max_length] and equal: every token is learned (the first one only
    where the tokenizer puts BOS in front of it, for else nothing predicts it). EOS goes with what is cut off."""
    example = cut_ids(prompt_ids(tokenizer, sentence) + [tokenizer.eos_token_id], max_length)
    return example | {"labels": example["input_ids"]}
