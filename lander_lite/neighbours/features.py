"""Large-magnitude features: dimensions of the block outputs that stand out in translation and not
elsewhere (Kim et al. 2024, arXiv 2409.16911), and the prompts to find them with."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from ..hooks import n_tokens, observe, read_mean, sites
from ..languages import language_name
from ..prompts import (
    check_examples,
    check_pairs,
    cut_ids,
    encode_sentences,
    pair_rows,
    prompt,
    prompt_ids,
    texts,
)

CALIBRATIONS = ("translation", "monolingual", "english", "tokens", "none")


def feature_magnitudes(
    model,
    tokenizer,
    prompts: Sequence[str | Sequence[int]],
    batch_size: int = 16,
    max_length: int = 512,
) -> Tensor:
    """How large each feature of each block's output is, float32 [layer, d_model]: m_{l,d} = mean
    over prompts of || H_l[:, d] ||_2, with H_l [token, d_model] the output of block l before any
    final norm. Padding is left out (in the authors' code it is not): batch size changes nothing.

    Args:
        prompts: texts, or lists of token ids; each is cut at `max_length` tokens.

    Raises: ValueError for no prompts, a prompt without tokens, or a batch size or length below 1.
    """
    examples = encode_prompts(tokenizer, prompts, batch_size, max_length)
    check_examples(model, {"the prompts": examples}, max_length)
    blocks = sites(model, "residual")

    def summed_norms(batch: dict) -> Tensor:
        is_padding = batch["attention_mask"].unsqueeze(-1) == 0

        def norms(layer: int, hidden: Tensor) -> Tensor:  # [prompt, token, d_model]
            squares = hidden.float().square()
            squares = squares.masked_fill(is_padding.to(hidden.device), 0)
            return squares.sum(dim=1).sqrt().sum(dim=0).cpu().double()

        found, _ = observe(model, blocks, batch, norms)
        return torch.stack(list(found.values()))

    return read_mean(model, tokenizer, examples, summed_norms, batch_size=batch_size).float()


def encode_prompts(tokenizer, prompts: Sequence, batch_size: int, max_length: int) -> list[dict]:
    """Texts, or lists of token ids, as [{"input_ids"}]; arguments as `feature_magnitudes`."""
    if isinstance(prompts, str) or not len(prompts):
        raise ValueError(f"prompts = {prompts!r}: give a list of at least one text.")
    if batch_size < 1 or max_length < 1:
        raise ValueError(f"batch_size={batch_size} and max_length={max_length} must be at least 1.")
    examples = []
    for number, text in enumerate(prompts):
        ids = prompt_ids(tokenizer, text) if isinstance(text, str) else list(text)
        if not ids:
            raise ValueError(f"prompt {number} has no tokens.")
        examples.append(cut_ids(ids, max_length))
    return examples


# ---------------------------------------------------------------- prompts
def translation_prompts(
    corpus, pair: str, shots: int = 4, n: int = 100, seed: int = 0, template: str | None = None
) -> list[str]:
    """n prompts of `shots` demonstrations each, in corpus.prompt's template, of different rows.

    Raises: ValueError when the corpus lacks the pair or has fewer than n x shots rows.
    """
    check_pairs(corpus, [pair])
    demonstrations = [f"{prompt(s, pair, template)} {t}" for s, t in pair_rows(corpus, pair)]
    return _grouped(demonstrations, shots, n, seed)


def monolingual_prompts(
    corpus, language: str, shots: int = 4, n: int = 100, seed: int = 0
) -> list[str]:
    """n prompts of `shots` lines "German: sentence" each, of a parallel corpus (with the same seed,
    the rows of `translation_prompts`) or of {language: sentences}.

    Raises: KeyError when it lacks the language, ValueError for fewer than n x shots sentences.
    """
    lines = [f"{language_name(language)}: {sentence}" for sentence in texts(corpus, language)]
    return _grouped(lines, shots, n, seed)


def random_prompts(tokenizer, n: int = 100, length: int = 64, seed: int = 0) -> list[list[int]]:
    """n prompts of `length` random tokens, none special, after BOS if this tokenizer puts it there:
    the control. As ids, because the text of random tokens may be split into other tokens.

    Raises: ValueError for n or length below 1.
    """
    if n < 1 or length < 1:
        raise ValueError(f"n={n} and length={length} must be at least 1.")
    rng = random.Random(seed)
    start = prompt_ids(tokenizer, "")  # BOS or nothing
    ordinary = sorted(set(tokenizer.get_vocab().values()) - set(tokenizer.all_special_ids))
    return [start + rng.choices(ordinary, k=length) for _ in range(n)]


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
    """About `prompts` prompts to calibrate pruning on, with as many sentences in each kind of text;
    a corpus with fewer rows gives fewer or shorter prompts.

    Args:
        name: "translation", `shots` demonstrations of one direction each, evenly over `pairs`;
            "monolingual", 2 · shots lines of one of `languages`; "english", the same of English
            alone; "tokens", random ones, as many as in a translation prompt on average; "none".

    Raises: ValueError for an unknown name, and as `translation_prompts`.
    """
    records = {  # {name: (kinds of prompt, what makes prompts of a kind, shots)}
        "translation": (pairs, partial(translation_prompts, template=template), shots),
        "monolingual": (languages, monolingual_prompts, 2 * shots),
        "english": (["en"], monolingual_prompts, 2 * shots),
    }
    records["tokens"] = records["translation"]
    if name not in CALIBRATIONS:
        raise ValueError(f"unknown calibration text {name!r}; texts: {', '.join(CALIBRATIONS)}")
    if name == "none":
        return None
    kinds, make, shots = records[name]
    shots = min(shots, len(corpus))
    n = max(1, min(prompts // len(kinds), len(corpus) // shots))
    found = [text for kind in kinds for text in make(corpus, kind, shots, n, seed)]
    if name != "tokens":
        return found
    examples = encode_sentences(tokenizer, found, max_length=None)
    length = round(sum(map(n_tokens, examples)) / len(examples))
    return random_prompts(tokenizer, len(examples), length, seed)


def _grouped(lines: list[str], shots: int, n: int, seed: int) -> list[str]:
    """n prompts of `shots` random lines each."""
    if shots < 1 or n < 1:
        raise ValueError(f"shots={shots} and n={n} must be at least 1.")
    if len(lines) < shots * n:
        raise ValueError(
            f"{n} prompts of {shots} shots take {n * shots} rows, but there are {len(lines)}: "
            f"ask for fewer."
        )
    chosen = random.Random(seed).sample(range(len(lines)), shots * n)
    groups = [chosen[i : i + shots] for i in range(0, len(chosen), shots)]
    return ["\n".join(lines[row] for row in group) for group in groups]


# ---------------------------------------------------------------- comparison of two conditions
def stand_out(first: Tensor, second: Tensor, q: float = 0.3) -> dict[int, Tensor]:
    """{layer: ascending LongTensor} of the features that are among the largest of `first` and the
    smallest of `second`, each a share q of a layer's; by chance there are q^2 d_model of them.

    Args:
        first, second: magnitudes [layer, d_model] of two conditions.

    Raises: ValueError for different shapes, or q outside (0, 1).
    """
    k = _count(first, second, q)
    largest = ranked(first)[:, :k]
    smallest = ranked(second)[:, -k:]
    found = {}
    for layer, (a, b) in enumerate(zip(largest, smallest)):
        found[layer] = a[torch.isin(a, b)].sort().values
    return found


def top_overlap(first: Tensor, second: Tensor, q: float = 0.3) -> tuple[Tensor, float]:
    """Share of the largest features that two conditions have in common, float32 [layer], and that
    of two random choices on average, k / d_model. Arguments and errors as `stand_out`."""
    k = _count(first, second, q)
    pairs = zip(ranked(first)[:, :k], ranked(second)[:, :k])
    shared = [torch.isin(a, b).sum().item() / k for a, b in pairs]
    return torch.tensor(shared), k / first.shape[1]


def ranked(magnitudes: Tensor) -> Tensor:
    """Features from the largest to the smallest, the lower index first among equals: LongTensor
    [layer, d_model]."""
    return magnitudes.argsort(dim=1, descending=True, stable=True)


def _count(first: Tensor, second: Tensor, q: float) -> int:
    """How many features a share q is, once the arguments are checked."""
    if first.ndim != 2 or first.shape != second.shape:
        raise ValueError(
            f"magnitudes of shapes {tuple(first.shape)} and {tuple(second.shape)}: both must be "
            f"[layer, d_model]."
        )
    if not 0 < q < 1:
        raise ValueError(f"q={q} must lie between 0 and 1, both excluded.")
    return max(1, round(q * first.shape[1]))
