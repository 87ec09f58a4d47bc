"""LAPE: language neurons by the entropy of their activation probabilities over languages (Tang et al. 2024, arXiv 2402.16438)."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack

import torch

from .corpus import batches, collate, prompt_ids, texts
from .model import feed_forwards, fingerprint, input_device
from .neuronsets import NeuronSets


def lape(model, tokenizer, corpus, languages: Sequence[str], *, top_rate: float = .01, filter_rate: float = .95,
         activation_bar: float = .95, max_sentences: int | None = None, batch_size: int = 32, max_length: int = 256) -> NeuronSets:
    """Neurons that are active for few languages, as NeuronSets over all layers: nothing is general, a neuron may have several languages.

    corpus: a parallel corpus, or {language: sentences} as `load_mono` gives. top_rate: the share of all neurons that is selected;
    filter_rate, activation_bar: see `select`. A neuron counts as active at a token when what goes into its activation function is
    positive (the same as GELU(x) > 0 or SiLU(x) > 0). Counts are streamed: memory does not grow with the corpus.
    Raises ValueError for a rate outside (0, 1), fewer than two languages or a language without text; KeyError for a language it lacks.
    """
    if isinstance(languages, str) or len(set(languages)) != len(languages) or len(languages) < 2:
        raise ValueError(f"languages = {languages!r}: give a list of at least two different codes, such as ['en', 'de'].")
    check_rates(top_rate, filter_rate, activation_bar)
    sentences = {x: list(corpus[x] if isinstance(corpus, Mapping) else texts(corpus, x))[:max_sentences] for x in languages}
    if empty := [x for x in languages if not sentences[x]]:
        raise ValueError(f"no sentences of '{empty[0]}': the corpus has none, or max_sentences is 0.")
    probabilities = torch.stack([active_share(model, tokenizer, sentences[x], batch_size, max_length) for x in languages], dim=-1)
    specific = {x: {} for x in languages}
    for layer, neuron, language in zip(*(indices.tolist() for indices in select(probabilities, top_rate, filter_rate, activation_bar))):
        specific[languages[language]].setdefault(layer, []).append(neuron)
    specific = {x: {layer: torch.tensor(sorted(neurons)) for layer, neurons in sets.items()} for x, sets in specific.items()}
    settings = {"top_rate": top_rate, "filter_rate": filter_rate, "activation_bar": activation_bar,
                "sentences": {x: len(sentences[x]) for x in languages}}
    layers, d_ff, _ = probabilities.shape
    return NeuronSets(list(range(layers)), list(languages), {}, specific, d_ff, fingerprint(model), "lape", provenance=settings)


def check_rates(*rates: float) -> None:
    if any(not 0 < rate < 1 for rate in rates):
        raise ValueError(f"top_rate, filter_rate and activation_bar = {rates} must lie between 0 and 1, both excluded.")


def select(probabilities: torch.Tensor, top_rate: float, filter_rate: float, activation_bar: float) -> tuple[torch.Tensor, ...]:
    """LAPE's selection from activation probabilities p [layer, d_ff, language]: (layer, neuron, language) indices, a row per membership.

    Of the neurons whose p exceeds, for some language, the filter_rate quantile of all p, take those with the lowest entropy of p
    normalised over languages: top_rate of *all* neurons at most, the lower index wins ties. A neuron belongs to each language whose
    p exceeds the activation_bar quantile.
    """
    p = probabilities.double()
    ordered = p.flatten().sort().values
    threshold, bar = (ordered[max(round(rate * len(ordered)), 1) - 1] for rate in (filter_rate, activation_bar))
    normalised = p / p.sum(-1, keepdim=True).clamp_min(torch.finfo(p.dtype).tiny)
    entropy = torch.special.entr(normalised).sum(-1).masked_fill(~(p > threshold).any(-1), torch.inf).flatten()
    chosen = entropy.argsort(stable=True)[:round(top_rate * len(entropy))]
    chosen = chosen[entropy[chosen] < torch.inf].sort().values
    layer, neuron = chosen // p.shape[1], chosen % p.shape[1]
    row, language = (p[layer, neuron] > bar).nonzero(as_tuple=True)
    return layer[row], neuron[row], language


@torch.inference_mode()
def active_share(model, tokenizer, sentences: Sequence[str], batch_size: int, max_length: int) -> torch.Tensor:
    """Share of the tokens (padding excluded) at which each neuron is active: float64 [layer, d_ff]."""
    found, tokens, mask, was_training = feed_forwards(model), 0, torch.empty(0), model.training
    counts = torch.zeros(len(found), found[0].d_ff, dtype=torch.long)
    examples = [{"input_ids": prompt_ids(tokenizer, sentence)[:max_length]} for sentence in sentences]

    def count(index: int):
        def hook(module, args, output):
            counts[index] += ((output > 0) & mask.to(output.device).unsqueeze(-1)).sum((0, 1)).cpu()
        return hook

    with ExitStack() as stack:
        stack.callback(model.train, was_training)
        model.eval()
        for index, feed_forward in enumerate(found):
            inner = feed_forward.gate if feed_forward.gate is not None else feed_forward.up
            stack.callback(inner.register_forward_hook(count(index)).remove)
        for rows in batches(examples, batch_size, key=lambda example: len(example["input_ids"])):
            batch = collate(tokenizer, [examples[row] for row in rows], device=input_device(model))
            mask = batch["attention_mask"].bool()
            tokens += int(mask.sum())
            model(**batch, use_cache=False)
    return counts.double() / tokens
