"""Large-magnitude features: dimensions of the block outputs that stand out in translation and not
elsewhere (Kim et al. 2024, arXiv 2409.16911), and the prompts to find them with."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

import torch

from ..blocks import decoder_blocks, input_device, unwrap
from ..config import parse_pair
from ..corpus import (
    LANGUAGE_NAMES,
    batches,
    check_examples,
    check_pairs,
    collate,
    cut_ids,
    prompt,
    prompt_ids,
    texts,
)
from ..hooks import evaluation_mode


def feature_magnitudes(
    model,
    tokenizer,
    prompts: Sequence[str | Sequence[int]],
    batch_size: int = 16,
    max_length: int = 512,
) -> torch.Tensor:
    """How large each feature of each block's output is, float32 [layer, d_model]: m_{l,d} = mean
    over prompts of || H_l[:, d] ||_2.

    H_l [token, d_model] is the output of block l for one prompt, before any final norm. Padding is
    not in the norm (in the authors' code it is), so batch size changes nothing. prompts: texts, or
    lists of token ids; each is cut at `max_length` tokens.
    Raises ValueError for no prompts, a prompt without tokens, or a batch size or length below 1.
    """
    examples = encode_prompts(tokenizer, prompts, batch_size, max_length)
    check_examples(model, {"the prompts": examples}, max_length)
    found, mask = decoder_blocks(model), torch.empty(0)
    sums: list = [0.0] * len(found)

    def add(layer: int):
        def hook(module, args, output):
            hidden = output[0] if isinstance(output, tuple) else output  # [prompt, token, d_model]
            squares = hidden.float().square().masked_fill(~mask.to(hidden.device).unsqueeze(-1), 0)
            sums[layer] = sums[layer] + squares.sum(dim=1).sqrt().sum(dim=0).cpu().double()

        return hook

    with ExitStack() as stack:
        stack.enter_context(evaluation_mode(model))
        for layer, block in enumerate(found):
            stack.callback(block.register_forward_hook(add(layer)).remove)
        for rows in batches(examples, batch_size, key=lambda example: len(example["input_ids"])):
            batch = collate(tokenizer, [examples[row] for row in rows], device=input_device(model))
            mask = batch["attention_mask"].bool()
            unwrap(model).base_model(
                **batch, use_cache=False
            )  # without the head: no logits are needed
    return (torch.stack(sums) / len(examples)).float()


def encode_prompts(
    tokenizer, prompts: Sequence[str | Sequence[int]], batch_size: int, max_length: int
) -> list[dict[str, list[int]]]:
    """[{"input_ids"}] of texts or of lists of token ids, each cut at `max_length`. ValueError for
    what is empty or below 1."""
    if isinstance(prompts, str) or not len(prompts):
        raise ValueError(f"prompts = {prompts!r}: give a list of at least one text.")
    if batch_size < 1 or max_length < 1:
        raise ValueError(f"batch_size={batch_size} and max_length={max_length} must be at least 1.")
    encoded = [
        prompt_ids(tokenizer, text) if isinstance(text, str) else list(text) for text in prompts
    ]
    if empty := [number for number, ids in enumerate(encoded) if not ids]:
        raise ValueError(f"prompt {empty[0]} has no tokens.")
    return [cut_ids(ids, max_length) for ids in encoded]


# ---------------------------------------------------------------- prompts
def translation_prompts(
    corpus, pair: str, shots: int = 4, n: int = 100, seed: int = 0, template: str | None = None
) -> list[str]:
    """n prompts of `shots` translations each, in corpus.prompt's template; no row is used twice.
    They end with a translation: these are demonstrations, not questions. Raises ValueError when the
    corpus lacks the pair or has fewer than n x shots rows."""
    check_pairs(corpus, [pair])
    source, target = parse_pair(pair)
    demonstrations = [
        f"{prompt(s, pair, template)} {t}"
        for s, t in zip(texts(corpus, source), texts(corpus, target))
    ]
    return _grouped(demonstrations, shots, n, seed)


def monolingual_prompts(
    corpus, language: str, shots: int = 4, n: int = 100, seed: int = 0
) -> list[str]:
    """n prompts of `shots` lines "German: sentence" each; no row is used twice. corpus: a parallel
    corpus, or {language: sentences} as `load_mono` gives. With one parallel corpus and seed, prompt
        i has the rows of prompt i of `translation_prompts`.
    Raises KeyError when the corpus lacks the language, ValueError when it has fewer than n x shots
    sentences."""
    sentences = corpus[language] if isinstance(corpus, Mapping) else texts(corpus, language)
    return _grouped(
        [f"{LANGUAGE_NAMES.get(language, language)}: {sentence}" for sentence in sentences],
        shots,
        n,
        seed,
    )


def random_prompts(tokenizer, n: int = 100, length: int = 64, seed: int = 0) -> list[list[int]]:
    """n prompts of `length` random tokens, no special ones, after the BOS token if this tokenizer
    puts one in front: the control. They are token ids, because the text of random tokens may be
    split into other tokens. Raises ValueError for n or length below 1."""
    if n < 1 or length < 1:
        raise ValueError(f"n={n} and length={length} must be at least 1.")
    rng, start = random.Random(seed), prompt_ids(tokenizer, "")
    ordinary = sorted(set(tokenizer.get_vocab().values()) - set(tokenizer.all_special_ids))
    return [start + rng.choices(ordinary, k=length) for _ in range(n)]


CALIBRATIONS = ("translation", "monolingual", "english", "tokens", "none")


def calibration_prompts(
    name: str,
    corpus,
    tokenizer,
    pairs: Sequence[str],
    languages: Sequence[str],
    seed: int = 0,
    *,
    shots: int = 4,
    prompts: int = 100,
    template: str | None = None,
) -> list | None:
    """About `prompts` prompts to calibrate pruning on, with as many sentences in each kind of text:
    "translation", `shots` demonstrations of one direction each, evenly over `pairs`; "monolingual",
    2 · shots lines of one language, evenly over `languages`; "english", the same of English alone;
    "tokens", random tokens, as many as a translation prompt has on average; "none": None. A corpus
    with fewer rows gives fewer or shorter prompts. Raises ValueError for an unknown name, and as
    `translation_prompts`."""
    if name not in CALIBRATIONS:
        raise ValueError(f"unknown calibration text {name!r}; texts: {', '.join(CALIBRATIONS)}")
    if name == "none":
        return None
    if name in ("monolingual", "english"):
        chosen, lines = languages if name == "monolingual" else ["en"], min(2 * shots, len(corpus))
        n = max(1, min(prompts // len(chosen), len(corpus) // lines))
        return [
            text
            for language in chosen
            for text in monolingual_prompts(corpus, language, lines, n, seed)
        ]
    shots = min(shots, len(corpus))
    n = max(1, min(prompts // len(pairs), len(corpus) // shots))
    texts = [
        text
        for pair in pairs
        for text in translation_prompts(corpus, pair, shots, n, seed, template)
    ]
    if name == "translation":
        return texts
    return random_prompts(
        tokenizer,
        len(texts),
        max(1, round(sum(len(prompt_ids(tokenizer, text)) for text in texts) / len(texts))),
        seed,
    )


def _grouped(lines: list[str], shots: int, n: int, seed: int) -> list[str]:
    if shots < 1 or n < 1:
        raise ValueError(f"shots={shots} and n={n} must be at least 1.")
    if len(lines) < shots * n:
        raise ValueError(
            f"{n} prompts of {shots} shots take {n * shots} rows, but there are {len(lines)}: ask "
            f"for fewer."
        )
    chosen = random.Random(seed).sample(range(len(lines)), shots * n)
    return [
        "\n".join(lines[row] for row in chosen[i : i + shots]) for i in range(0, len(chosen), shots)
    ]


# ---------------------------------------------------------------- comparison of two conditions
def stand_out(first: torch.Tensor, second: torch.Tensor, q: float = 0.3) -> dict[int, torch.Tensor]:
    """{layer: ascending LongTensor} of the features that are among the largest of `first` and the
    smallest of `second`, each a share q of the layer's features. first, second: magnitudes [layer,
    d_model]. If the two had nothing to do with each other, a layer would have q^2 d_model of them.
    Raises ValueError for different shapes, or q outside (0, 1)."""
    k = _count(first, second, q)
    largest, smallest = ranked(first)[:, :k], ranked(second)[:, -k:]
    return {
        layer: torch.tensor(sorted(set(a.tolist()) & set(b.tolist())), dtype=torch.long)
        for layer, (a, b) in enumerate(zip(largest, smallest))
    }


def top_overlap(
    first: torch.Tensor, second: torch.Tensor, q: float = 0.3
) -> tuple[torch.Tensor, float]:
    """Share of the largest features that two conditions have in common, float32 [layer], and the
    share that two random choices of so many features have in common on average, k / d_model.
    Arguments and errors as `stand_out`."""
    k = _count(first, second, q)
    shared = [
        len(set(a.tolist()) & set(b.tolist())) / k
        for a, b in zip(ranked(first)[:, :k], ranked(second)[:, :k])
    ]
    return torch.tensor(shared), k / first.shape[1]


def ranked(magnitudes: torch.Tensor) -> torch.Tensor:
    """Features from the largest to the smallest, the lower index first among equals: LongTensor
    [layer, d_model]."""
    return magnitudes.argsort(dim=1, descending=True, stable=True)


def _count(first: torch.Tensor, second: torch.Tensor, q: float) -> int:
    if first.ndim != 2 or first.shape != second.shape:
        raise ValueError(
            f"magnitudes of shapes {tuple(first.shape)} and {tuple(second.shape)}: both must be "
            f"[layer, d_model]."
        )
    if not 0 < q < 1:
        raise ValueError(f"q={q} must lie between 0 and 1, both excluded.")
    return max(1, round(q * first.shape[1]))
