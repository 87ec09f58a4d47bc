"""LAPE: language neurons by the entropy of their activation probabilities over languages (Tang et
al. 2024, arXiv 2402.16438)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import torch
from torch import nn

from ..blocks import FeedForward, feed_forwards, fingerprint, input_device
from ..hooks import add_up, n_tokens, observe, rank, read, sites, world
from ..neurons import NeuronSets
from ..prompts import check_ids, encode_sentences, report_cut, texts

CHUNK = 32  # batches of text in memory at a time, sorted by length


@dataclass(eq=False)
class ActivationCounts:
    """At how many tokens of each language a neuron is active; `a + b` adds two parts of the text.

    Attributes:
        counts: LongTensor [layer, d_ff, language]. tokens: LongTensor [language].
        languages: codes, in the order of the last dimension. model: the model's `fingerprint`.

    Raises: ValueError for other shapes, fewer than two languages, one without tokens, or counts
        outside 0 … tokens.
    """

    counts: torch.Tensor
    tokens: torch.Tensor
    languages: list[str]
    model: dict

    def __post_init__(self):
        check_languages(self.languages)
        n = len(self.languages)
        if self.counts.dim() != 3 or (self.counts.shape[-1], *self.tokens.shape) != (n, n):
            raise ValueError(
                f"counts {list(self.counts.shape)} and tokens {list(self.tokens.shape)} must be "
                f"[layer, d_ff, language] and [language] for {n} languages."
            )
        if (self.tokens < 1).any():
            raise ValueError(f"no tokens of '{self.languages[int(self.tokens.argmin())]}'.")
        if (self.counts < 0).any() or (self.counts > self.tokens).any():
            raise ValueError("a neuron is active at 0 tokens at least, and at all tokens at most.")

    def __add__(self, other: ActivationCounts) -> ActivationCounts:
        if (self.languages, self.model) != (other.languages, other.model):
            raise ValueError("counts of other languages or of another model cannot be added.")
        counts, tokens = self.counts + other.counts, self.tokens + other.tokens
        return ActivationCounts(counts, tokens, self.languages, self.model)

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
    """Neurons of all layers that are active for few languages; none is general, some have several.

    Args:
        corpus, languages, max_sentences, batch_size, max_length: see `activation_counts`.
        top_rate, filter_rate, activation_bar: see `select`.

    Raises: ValueError for a rate outside (0, 1), and as `activation_counts`.
    """
    check_rates(top_rate, filter_rate, activation_bar)
    options = {"max_sentences": max_sentences, "batch_size": batch_size, "max_length": max_length}
    counts = activation_counts(model, tokenizer, corpus, languages, **options)
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
    """`lape` from counts at hand: other rates, or halves of the text (a split-half check), with no
    second pass over it."""
    layer, neuron, language = select(counts.shares, top_rate, filter_rate, activation_bar)
    n_layers, d_ff, _ = counts.counts.shape
    layers = list(range(n_layers))
    specific = {}
    for index, name in enumerate(counts.languages):
        of_language = language == index
        specific[name] = {i: neuron[of_language & (layer == i)] for i in layers}
    settings = {
        "top_rate": top_rate,
        "filter_rate": filter_rate,
        "activation_bar": activation_bar,
        "tokens": dict(zip(counts.languages, counts.tokens.tolist())),
    }
    sets = (layers, counts.languages, {}, specific, d_ff, counts.model)
    return NeuronSets(*sets, method="lape", provenance=settings)


def lape_of_size(counts: ActivationCounts, size: int) -> NeuronSets:
    """LAPE's sets with `size` neurons in all, or as many as it can give: where the authors' rates
    give fewer, both quantiles fall from .95 in steps of .05, as far as it needs.

    Raises: ValueError for a size that no rate gives.
    """
    total = counts.shares[..., 0].numel()
    for percent in range(95, 45, -5):
        rate = percent / 100
        if size < total and len(ranking(counts.shares, rate)) >= size:
            rates = {"filter_rate": rate, "activation_bar": rate}
            return lape_from_counts(counts, top_rate=size / total, **rates)
    raise ValueError(f"LAPE cannot choose {size} of {total} neurons.")


# ---------------------------------------------------------------- the selection
def check_rates(*rates: float) -> None:
    """ValueError for a rate outside (0, 1)."""
    if any(not 0 < rate < 1 for rate in rates):
        names = "top_rate, filter_rate and activation_bar"
        raise ValueError(f"{names} = {rates} must lie between 0 and 1, both excluded.")


def check_languages(languages: Sequence[str]) -> None:
    """ValueError for fewer than two codes, or one given twice."""
    if isinstance(languages, str) or len(set(languages)) != len(languages) or len(languages) < 2:
        wanted = "a list of at least two different codes, such as ['en', 'de']"
        raise ValueError(f"languages = {languages!r}: give {wanted}.")


def quantile(p: torch.Tensor, rate: float) -> torch.Tensor:
    """The round(rate · n)-th smallest of all n values of p, counted from 1, as in the authors'
    code; the smallest if that rounds to 0."""
    return p.flatten().kthvalue(max(round(rate * p.numel()), 1)).values


def ranking(p: torch.Tensor, filter_rate: float) -> torch.Tensor:
    """Neurons whose p [layer, d_ff, language] exceeds the quantile for some language, the lowest
    entropy first: LongTensor of indices into the flattened [layer, d_ff]."""
    normalised = p / p.sum(-1, keepdim=True).clamp_min(torch.finfo(p.dtype).tiny)
    entropy = torch.special.entr(normalised).sum(-1).flatten()
    entropy = entropy.round(decimals=12)  # rounding errors decide no tie
    passed = (p > quantile(p, filter_rate)).any(-1).flatten().nonzero().flatten()
    return passed[entropy[passed].argsort(stable=True)]


def select(
    probabilities: torch.Tensor, top_rate: float, filter_rate: float, activation_bar: float
) -> tuple[torch.Tensor, ...]:
    """LAPE's selection from activation probabilities.

        entropy of a neuron = - sum_l p'_l ln p'_l     with p'_l = p_l / sum_l p_l

    The authors' code leaves ties of the entropy to topk; here equal means equal in 12 decimals, and
    the lower layer, then the lower neuron is first. Theirs fills up from the filtered neurons when
    too few pass; these are never chosen here.

    Args:
        probabilities: p [layer, d_ff, language].
        top_rate: round(top_rate · neurons of all layers) are chosen, those of the lowest entropy,
            or as many as pass the filter.
        filter_rate: a neuron passes if some p of it exceeds this `quantile` of all p.
        activation_bar: a chosen neuron belongs to each language whose p exceeds this quantile:
            perhaps to several, or to none.

    Returns: (layer, neuron, language), LongTensors [membership].
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

    Raises: ValueError for a share outside (0, 1), an unknown language, counts of another model, or
        when one neuron is too many.
    """
    check_rates(share, filter_rate, activation_bar)
    if language not in counts.languages or counts.model != fingerprint(model):
        known = ", ".join(counts.languages)
        wanted = f"of this model and of '{language}'"
        raise ValueError(f"the counts must be {wanted}; they are of {known}.")
    p = counts.shares
    order = ranking(p, filter_rate)
    bar = quantile(p, activation_bar)
    weights = weights_per_neuron(feed_forwards(model)[0])
    most = int(share * sum(x.numel() for x in model.parameters()) / weights)
    of_language = p.flatten(0, 1)[order, counts.languages.index(language)]
    tuned = (of_language > bar).cumsum(0)
    chosen = int((tuned <= most).sum())
    total = p.shape[0] * p.shape[1]
    if most < 1 or chosen < 1:
        raise ValueError(f"{share:.2%} of the model's weights are fewer than those of one neuron.")
    return min(chosen, total - 1) / total


def weights_per_neuron(view: FeedForward) -> int:
    """Scalars of one neuron, its rows of gate and up with their biases and its column of down:
    3 · d_model in Llama, 2 · d_model + 1 in BLOOM."""
    inner = view.inner.values()
    return view.d_model * (len(inner) + 1) + sum(layer.bias is not None for layer in inner)


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
    activation function is positive (as GELU(x) > 0 in BLOOM, and SiLU(x) > 0 of Llama's gate).

    Args:
        corpus: a parallel corpus, or {language: sentences}; sentences may be any iterable, also a
            generator over text that does not fit in memory: it is read once, in pieces.
        max_sentences: of each language, the first (default: all). max_length: in tokens.

    Raises: ValueError for fewer than two languages or one without text, KeyError for one that the
        corpus lacks.
    """
    check_languages(languages)
    streams = {x: stream(corpus, x, max_sentences) for x in languages}
    found = [active_tokens(model, tokenizer, streams[x], batch_size, max_length) for x in languages]
    counts = torch.stack([n_active for n_active, _ in found], dim=-1)
    tokens = torch.tensor([n for _, n in found])
    return ActivationCounts(counts, tokens, list(languages), fingerprint(model))


def stream(corpus, language: str, max_sentences: int | None) -> Iterator[str]:
    """The sentences of one language, one by one. ValueError for none or a string for the list."""
    if isinstance(corpus, Mapping):
        if isinstance(corpus.get(language), str):
            raise ValueError(f"'{language}': give sentences, not one string.")
        pieces = [corpus]
    else:
        size = 1000  # rows in memory at a time
        starts = range(0, len(corpus), size)
        pieces = (corpus.select(range(i, min(i + size, len(corpus)))) for i in starts)
    sentences = chain.from_iterable(texts(piece, language) for piece in pieces)
    sentences = islice(sentences, max_sentences)
    if (first := next(sentences, None)) is None:
        reason = "the corpus has none, or max_sentences is 0"
        raise ValueError(f"no sentences of '{language}': {reason}.")
    return chain([first], sentences)


@torch.inference_mode()
def active_tokens(
    model, tokenizer, sentences: Iterable[str], batch_size: int, max_length: int
) -> tuple[torch.Tensor, int]:
    """At how many tokens each neuron is active, LongTensor [layer, d_ff], and the number of tokens,
    over all processes; CHUNK batches of text are in memory. ValueError for no tokens at all."""
    places, device = sites(model, "pre_activation"), input_device(model)

    def step(batch: dict) -> torch.Tensor:
        is_token = batch["attention_mask"].flatten().float()

        def count(layer: int, value: torch.Tensor) -> torch.Tensor:  # [sentence, token, d_ff]
            active = torch.gt(value, 0, out=torch.empty_like(value, dtype=torch.float32))
            return (is_token.to(value.device) @ active.flatten(0, 1)).long()

        counts, _ = observe(model, places, batch, count)
        return torch.stack([n.to(device) for n in counts.values()])

    d_ff = feed_forwards(model)[0].d_ff
    total = torch.zeros(len(places), d_ff, dtype=torch.long, device=device)
    n_sentences = n_cut = tokens = 0
    for chunk in _chunks(tokenizer, sentences, CHUNK * batch_size, max_length):
        check_ids(model, chunk, "the text")
        n_sentences += len(chunk)
        n_cut += sum("cut" in example for example in chunk)
        tokens += sum(map(n_tokens, chunk))
        for _, counts in read(model, tokenizer, chunk, step, batch_size=batch_size):
            total += counts
    report_cut({"the text": (n_cut, n_sentences)}, max_length)
    tokens = int(add_up(torch.tensor(tokens)))
    if not tokens:
        raise ValueError("the sentences have no tokens.")
    return add_up(total).cpu(), tokens


def _chunks(tokenizer, sentences: Iterable, size: int, max_length: int) -> Iterator[list[dict]]:
    """This process's share of the sentences, encoded, `size` at a time; empty ones left out."""
    share = islice(sentences, rank(), None, world())
    while chunk := list(islice(share, size)):
        examples = encode_sentences(tokenizer, chunk, max_length, minimum=0)
        yield [example for example in examples if n_tokens(example)]


# ---------------------------------------------------------------- on the command line
def lape_step(run) -> Path:
    """`lander-lite lape` in a run folder (pipeline.Run): LAPE with its authors' rates on plain text
    of the training corpus. Needs no other step's files; writes lape.safetensors."""
    c = run.config
    options = {"max_sentences": c.awareness.max_sentences, "batch_size": c.awareness.batch_size}
    options["max_length"] = c.corpus.max_length
    sets = lape(*run.base, run.train, c.corpus.languages, **options)
    print(sets)
    return run.keep(sets, "lape.safetensors")
