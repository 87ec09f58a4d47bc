"""LAPE: language neurons by the entropy of their activation probabilities over languages (Tang et
al. 2024, arXiv 2402.16438)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import torch
from torch import nn

from ..blocks import FeedForward, feed_forwards, fingerprint, input_device, unwrap
from ..corpus import batches, check_ids, collate, cut_ids, prompt_ids, report_cut, texts
from ..neurons import NeuronSets
from ..training.distributed import add_up, rank, world

CHUNK = 32  # batches of text in memory at a time, sorted by length


@dataclass(eq=False)
class ActivationCounts:
    """At how many tokens each neuron is active: counts LongTensor [layer, d_ff, language], tokens
    LongTensor [language].

    languages: codes in the order of the last dimension; model: the model's `fingerprint`. `first +
    second` adds counts over two parts of the text. Raises ValueError for fewer than two languages,
    a language without tokens, counts outside 0 … tokens or other shapes.
    """

    counts: torch.Tensor
    tokens: torch.Tensor
    languages: list[str]
    model: dict

    def __post_init__(self):
        check_languages(self.languages)
        if (
            self.counts.dim() != 3
            or self.counts.shape[-1] != len(self.languages)
            or self.tokens.shape != (len(self.languages),)
        ):
            raise ValueError(
                f"counts {list(self.counts.shape)} and tokens {list(self.tokens.shape)} must be "
                f"[layer, d_ff, language] and "
                f"[language] for {len(self.languages)} languages."
            )
        if (self.tokens < 1).any():
            raise ValueError(f"no tokens of '{self.languages[int(self.tokens.argmin())]}'.")
        if (self.counts < 0).any() or (self.counts > self.tokens).any():
            raise ValueError("a neuron is active at 0 tokens at least, and at all tokens at most.")

    def __add__(self, other: ActivationCounts) -> ActivationCounts:
        if (self.languages, self.model) != (other.languages, other.model):
            raise ValueError("counts of other languages or of another model cannot be added.")
        return ActivationCounts(
            self.counts + other.counts, self.tokens + other.tokens, self.languages, self.model
        )

    @property
    def shares(self) -> torch.Tensor:
        """p = counts / tokens: float64 [layer, d_ff, language]."""
        return self.counts.double() / self.tokens


def lape(
    model,
    tokenizer,
    corpus,
    languages: Sequence[str],
    *,
    top_rate: float = 0.01,
    filter_rate: float = 0.95,
    activation_bar: float = 0.95,
    max_sentences: int | None = None,
    batch_size: int = 32,
    max_length: int = 256,
) -> NeuronSets:
    """Neurons that are active for few languages, as NeuronSets over all layers: nothing is general,
    a neuron may have several languages.

    corpus, languages, max_sentences, batch_size, max_length: see `activation_counts`; top_rate,
    filter_rate, activation_bar: see `select`.
    Raises ValueError for a rate outside (0, 1), fewer than two languages or a language without
    text; KeyError for a language it lacks.
    """
    check_rates(top_rate, filter_rate, activation_bar)
    counts = activation_counts(
        model,
        tokenizer,
        corpus,
        languages,
        max_sentences=max_sentences,
        batch_size=batch_size,
        max_length=max_length,
    )
    return lape_from_counts(
        counts, top_rate=top_rate, filter_rate=filter_rate, activation_bar=activation_bar
    )


def lape_from_counts(
    counts: ActivationCounts,
    *,
    top_rate: float = 0.01,
    filter_rate: float = 0.95,
    activation_bar: float = 0.95,
) -> NeuronSets:
    """The same from counts at hand: other rates, or halves of the text (a split-half check), cost
    no second pass over it."""
    p = counts.shares
    specific = {x: {} for x in counts.languages}
    layer, neuron, language = select(p, top_rate, filter_rate, activation_bar)
    for index, name in enumerate(counts.languages):
        for i in layer[language == index].unique().tolist():
            specific[name][i] = neuron[(language == index) & (layer == i)]
    settings = {
        "top_rate": top_rate,
        "filter_rate": filter_rate,
        "activation_bar": activation_bar,
        "tokens": dict(zip(counts.languages, counts.tokens.tolist())),
    }
    return NeuronSets(
        list(range(p.shape[0])),
        counts.languages,
        {},
        specific,
        p.shape[1],
        counts.model,
        "lape",
        provenance=settings,
    )


# ---------------------------------------------------------------- the selection
def check_rates(*rates: float) -> None:
    if any(not 0 < rate < 1 for rate in rates):
        raise ValueError(
            f"top_rate, filter_rate and activation_bar = {rates} must lie between 0 and 1, both "
            f"excluded."
        )


def check_languages(languages: Sequence[str]) -> None:
    if isinstance(languages, str) or len(set(languages)) != len(languages) or len(languages) < 2:
        raise ValueError(
            f"languages = {languages!r}: give a list of at least two different codes, such as "
            f"['en', 'de']."
        )


def quantile(p: torch.Tensor, rate: float) -> torch.Tensor:
    """The round(rate · n)-th smallest of all n values of p, counted from 1, as in the authors'
    code; the smallest if that rounds to 0."""
    return p.flatten().sort().values[max(round(rate * p.numel()), 1) - 1]


def ranking(p: torch.Tensor, filter_rate: float) -> torch.Tensor:
    """Indices into the flattened [layer, d_ff] of the neurons whose p exceeds the quantile for some
    language, lowest entropy first."""
    normalised = p / p.sum(-1, keepdim=True).clamp_min(torch.finfo(p.dtype).tiny)
    entropy = (
        torch.special.entr(normalised).sum(-1).round(decimals=12).flatten()
    )  # rounding errors decide no tie
    passed = (p > quantile(p, filter_rate)).any(-1).flatten().nonzero().flatten()
    return passed[entropy[passed].argsort(stable=True)]


def select(
    probabilities: torch.Tensor, top_rate: float, filter_rate: float, activation_bar: float
) -> tuple[torch.Tensor, ...]:
    """LAPE's selection from activation probabilities p [layer, d_ff, language]: (layer, neuron,
    language) indices, a row per membership.

        entropy of a neuron = - sum_l p'_l ln p'_l     with p'_l = p_l / sum_l p_l

    Of the neurons whose p is greater (not equal) than the filter_rate `quantile` of all p for some
    language, the round(top_rate · all) with the lowest entropy are chosen, or as many as there are;
    `all` counts every neuron of every layer. A chosen neuron belongs to each language whose p is
    greater than the activation_bar quantile, so perhaps to several, or to none if that bar is
    higher.

    The authors' code leaves ties of the entropy to topk; here equal means equal in 12 decimals, and
    the lower layer, then the lower neuron is first. Theirs fills up from the filtered neurons when
    too few pass; these are never chosen here.
    """
    check_rates(top_rate, filter_rate, activation_bar)
    p = probabilities.double()
    d_ff = p.shape[1]
    chosen = ranking(p, filter_rate)[: round(top_rate * p.shape[0] * d_ff)].sort().values
    row, language = (p.flatten(0, 1)[chosen] > quantile(p, activation_bar)).nonzero(as_tuple=True)
    return chosen[row] // d_ff, chosen[row] % d_ff, language


def top_rate_for(
    counts: ActivationCounts,
    model: nn.Module,
    language: str,
    share: float = 0.01,
    *,
    filter_rate: float = 0.95,
    activation_bar: float = 0.95,
) -> float:
    """The largest top_rate with which tuning the neurons of `language` trains at most `share` of
    the model's weights.

    A neuron's weights are its rows of gate and up with their biases, and its column of down. Raises
    ValueError for a share outside (0, 1), an unknown language, counts of another model, or when one
    neuron is too many."""
    check_rates(share, filter_rate, activation_bar)
    if language not in counts.languages or counts.model != fingerprint(model):
        raise ValueError(
            f"the counts must be of this model and of '{language}'; they are of "
            f"{', '.join(counts.languages)}."
        )
    p = counts.shares
    order = ranking(p, filter_rate)
    view = feed_forwards(model)[0]
    most = int(share * sum(x.numel() for x in model.parameters()) / weights_per_neuron(view))
    tuned = (
        p.flatten(0, 1)[order, counts.languages.index(language)] > quantile(p, activation_bar)
    ).cumsum(0)
    chosen, total = int((tuned <= most).sum()), p.shape[0] * p.shape[1]
    if most < 1 or chosen < 1:
        raise ValueError(f"{share:.2%} of the model's weights are fewer than those of one neuron.")
    return min(chosen, total - 1) / total


def weights_per_neuron(view: FeedForward) -> int:
    """Scalars that belong to one neuron: 3 · d_model in Llama, 2 · d_model + 1 in BLOOM."""
    inner = [linear for linear in (view.gate, view.up) if linear is not None]
    return view.d_model * (len(inner) + 1) + sum(linear.bias is not None for linear in inner)


# ---------------------------------------------------------------- the counts
def activation_counts(
    model,
    tokenizer,
    corpus,
    languages: Sequence[str],
    *,
    max_sentences: int | None = None,
    batch_size: int = 32,
    max_length: int = 256,
) -> ActivationCounts:
    """Count, neuron by neuron, at how many tokens of each language it is active: what goes into its
    activation function is positive (the same as GELU(x) > 0 in BLOOM, with the bias, and SiLU(x) >
    0 of Llama's gate). Padding does not count.

    corpus: a parallel corpus, or {language: sentences} as `load_mono` gives; sentences may be any
        iterable, also a generator over text
    that does not fit in memory: it is read once, in pieces. The first max_sentences of each
        language are used, cut at max_length tokens.
    Raises ValueError for fewer than two languages or a language without text, KeyError for a
    language that the corpus lacks.
    """
    check_languages(languages)
    streams = {x: stream(corpus, x, max_sentences) for x in languages}
    found = [active_tokens(model, tokenizer, streams[x], batch_size, max_length) for x in languages]
    return ActivationCounts(
        torch.stack([counts for counts, _ in found], dim=-1),
        torch.tensor([tokens for _, tokens in found]),
        list(languages),
        fingerprint(model),
    )


def stream(corpus, language: str, max_sentences: int | None) -> Iterator[str]:
    """The sentences of one language, one at a time; ValueError if there is none."""
    if isinstance(corpus, Mapping):
        if language not in corpus:
            raise KeyError(f"the corpus has no {language!r}; it has {', '.join(corpus)}")
        if isinstance(corpus[language], str):
            raise ValueError(f"'{language}': give sentences, not one string.")
        sentences = iter(corpus[language])
    else:
        size = 1000
        sentences = chain.from_iterable(
            texts(corpus.select(range(start, min(start + size, len(corpus)))), language)
            for start in range(0, len(corpus), size)
        )
    sentences = islice(sentences, max_sentences)
    if (first := next(sentences, None)) is None:
        raise ValueError(
            f"no sentences of '{language}': the corpus has none, or max_sentences is 0."
        )
    return chain([first], sentences)


@torch.inference_mode()
def active_tokens(
    model, tokenizer, sentences: Iterable[str], batch_size: int, max_length: int
) -> tuple[torch.Tensor, int]:
    """(number of tokens at which each neuron is active, LongTensor [layer, d_ff]; number of
    tokens). Memory: CHUNK batches of text."""
    found, tokens, mask, was_training = feed_forwards(model), 0, torch.empty(0), model.training
    counts = [torch.zeros(view.d_ff, dtype=torch.long) for view in found]
    examples = (
        cut_ids(ids, max_length)
        for sentence in sentences
        if (ids := prompt_ids(tokenizer, sentence))
    )

    def count(index: int):
        def hook(module, args, output):  # (batch, token, d_ff)
            active = torch.gt(output, 0, out=torch.empty_like(output, dtype=torch.float32)).flatten(
                0, -2
            )  # 0 or 1
            counts[index] = (
                counts[index].to(output.device) + (mask.to(output.device) @ active).long()
            )

        return hook

    body = unwrap(model).base_model  # without the output head: no logits are needed
    with ExitStack() as stack:
        stack.callback(model.train, was_training)
        model.eval()
        for index, feed_forward in enumerate(found):
            inner = feed_forward.gate if feed_forward.gate is not None else feed_forward.up
            stack.callback(inner.register_forward_hook(count(index)).remove)
        mine, read, cut = islice(examples, rank(), None, world()), 0, 0
        while chunk := list(islice(mine, CHUNK * batch_size)):
            check_ids(model, chunk, "the text")
            read, cut = read + len(chunk), cut + sum("cut" in example for example in chunk)
            for rows in batches(chunk, batch_size, key=lambda example: len(example["input_ids"])):
                batch = collate(tokenizer, [chunk[row] for row in rows], device=input_device(model))
                mask = batch["attention_mask"].flatten().float()
                tokens += sum(len(chunk[row]["input_ids"]) for row in rows)
                body(**batch, use_cache=False)
    report_cut({"the text": (cut, read)}, max_length)
    tokens = int(add_up(torch.tensor(tokens)))
    if not tokens:
        raise ValueError("the sentences have no tokens.")
    return add_up(torch.stack([layer.cpu() for layer in counts])), tokens


# ---------------------------------------------------------------- on the command line
def lape_step(run) -> Path:
    """`lander-lite lape` in a run folder (pipeline.Run): LAPE with its authors' rates on plain text
    of the training corpus. Needs no other step's files; writes lape.safetensors."""
    c = run.config
    sets = lape(
        *run.base,
        run.train,
        c.corpus.languages,
        max_sentences=c.awareness.max_sentences,
        max_length=c.corpus.max_length,
        batch_size=c.awareness.batch_size,
    )
    print(sets)
    return run.keep(sets, "lape.safetensors")
