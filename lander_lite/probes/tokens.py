"""What are the neurons of a set? The tokens they answer to, and where the score lies."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..awareness import AwarenessScores, neurons_and_gradients
from ..hooks import observe, read, sites
from ..neurons import NeuronSets, normalized
from ..prompts import encode_sentences, prompt_ids

MAX_LENGTH = 256  # tokens of a sentence
CLASSES = ("frequent word", "other word", "piece of a word", "punctuation")
WORD = re.compile(r"([\u3400-\u9fff]+)|[^\W\u3400-\u9fff]+")  # group 1 if it is Chinese


def mean_activation(
    model: nn.Module, tokenizer, sentences: Sequence[str], layers: Sequence[int]
) -> Tensor:
    """Mean |h| over all tokens, [layer, d_ff]: what a score without the gradient sees. Raises: as
    `token_readings`."""
    readings = token_readings(model, tokenizer, sentences, layers, gradients=False)
    return torch.cat([h for _, _, h, _ in readings], dim=1).mean(dim=1)


def token_readings(
    model: nn.Module,
    tokenizer,
    sentences: Sequence[str],
    layers: Sequence[int],
    *,
    gradients: bool = True,
    batch_size: int = 32,
) -> Iterator[tuple]:
    """Batch by batch: (sentence numbers, token ids [token], |h| [layer, token, d_ff], |h · dL/dh|
    likewise or None without `gradients`), sentence by sentence, padding left out.

    h and L are those of `score_awareness` (LANDeRMT eq. 4): the input of `down`, and the summed
    loss. Raises: ValueError for a layer out of range or a sentence of fewer than two tokens.
    """
    chosen = sites(model, "neurons", layers)
    examples = encode_sentences(tokenizer, sentences, MAX_LENGTH, minimum=2)

    def reading(batch):
        mask = batch["attention_mask"].bool()

        def at_tokens(values):  # [layer, token, d_ff]
            found = [x.detach()[mask.to(x.device)].float().cpu() for x in values]
            return torch.stack(found)

        if gradients:
            neurons, slopes = neurons_and_gradients(model, chosen, batch)
        else:
            found, _ = observe(model, chosen, batch, lambda layer, h: h)
            neurons = found.values()
        h = at_tokens(neurons)
        effect = at_tokens(slopes).mul_(h).abs_() if gradients else None
        return batch["input_ids"][mask].cpu(), h.abs_(), effect

    options = {"batch_size": batch_size, "gradients": gradients}
    for rows, found in read(model, tokenizer, examples, reading, **options):
        yield rows, *found


def token_means(
    model: nn.Module,
    tokenizer,
    sentences: Sequence[str],
    layer: int,
    neurons: Sequence[int] | Tensor,
    tokens: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Mean |h| of chosen neurons at every token of the vocabulary (0 where it does not occur), and
    how often it occurs: float64 [vocabulary, neuron], [vocabulary]; or at `tokens` alone: sorted
    ids, with all that occur (a large vocabulary needs much memory). Errors as `token_readings`."""
    tokens = torch.arange(len(tokenizer)) if tokens is None else tokens
    neurons = torch.as_tensor(neurons).long()
    sums = torch.zeros(len(tokens), len(neurons)).double()
    counts = torch.zeros(len(tokens)).double()
    for _, ids, h, _ in token_readings(model, tokenizer, sentences, [layer], gradients=False):
        rows = torch.searchsorted(tokens, ids)
        sums.index_add_(0, rows, h[0][:, neurons].double())
        counts += rows.bincount(minlength=len(counts))
    return sums / counts.clamp(min=1)[:, None], counts


def top_tokens(
    model: nn.Module,
    tokenizer,
    sentences: Sequence[str],
    layer: int,
    neurons: Sequence[int],
    n: int = 8,
    minimum: int = 3,
) -> dict[int, list[tuple]]:
    """{neuron: the `n` tokens with its largest mean |h|, as (token id, mean, occurrences)}, of the
    tokens that occur `minimum` times."""
    means, counts = token_means(model, tokenizer, sentences, layer, neurons)
    often = (counts >= max(1, minimum)).nonzero().flatten()
    order = means[often].argsort(dim=0, descending=True, stable=True)
    best, found = often[order[:n]], {}  # (rank, neuron)
    for column, neuron in enumerate(neurons):
        ids = best[:, column].tolist()
        found[int(neuron)] = [(i, means[i, column].item(), int(counts[i])) for i in ids]
    return found


def token_classes(tokenizer, sentences: Sequence[str], frequent: int = 20) -> list[list[int]]:
    """The class of every token of one language's sentences, as an index into CLASSES, by a rule
    that needs no dictionary.

    Punctuation has no letter and no digit (BOS counts as such). A piece is a part of a word, or of
    a character. The `frequent` most frequent whole words of these sentences are frequent words:
    function words, mostly. Chinese has no spaces, so a token of whole characters counts as a word.
    Raises: ValueError for a tokenizer without offsets.
    """
    if not tokenizer.is_fast:
        silent = f"{type(tokenizer).__name__} does not say where its tokens lie in the text"
        raise ValueError(f"{silent}: use a fast tokenizer.")
    words = [_words(tokenizer, sentence) for sentence in sentences]
    counts = Counter(word for row in words for word in row if word)
    classes = {"": 3, None: 2}
    for word, _ in counts.most_common(frequent):
        classes[word] = 0
    return [[classes.get(word, 1) for word in row] for row in words]


def _words(tokenizer, sentence: str) -> list[str | None]:
    """For every token its word in lower case if it is a whole word, "" if it has no letter or
    digit, None for a part of a word."""
    encoded = tokenizer(sentence, add_special_tokens=False, return_offsets_mapping=True)
    ids, runs = encoded["input_ids"], {match.span() for match in WORD.finditer(sentence)}
    found = [""] * (len(prompt_ids(tokenizer, sentence)) - len(ids))  # BOS
    for token, place in zip(ids, encoded["offset_mapping"]):
        match, text = WORD.search(sentence, *place), tokenizer.decode([token]).strip()
        if match is None or not text:  # text is empty for a space
            found.append("")
        elif "\ufffd" in text:  # some bytes of a character
            found.append(None)
        else:
            complete = match[1] or match.span() in runs
            found.append(match[0].lower() if complete else None)
    return found


@dataclass(eq=False)
class ClassProfile:
    """Sums over the tokens of each class: `awareness` |h · dL/dh| and `activation` |h|, float32
    [class, layer, d_ff]; `count` [class]."""

    layers: list[int]
    awareness: Tensor
    activation: Tensor
    count: Tensor

    def sums(self, chosen: Mapping[int, Tensor], what: str = "awareness") -> Tensor:
        """Summed over the neurons {layer: indices}, float32 [class]; what: an attribute's name."""
        return _total(getattr(self, what), self.layers, chosen)

    def per_token(self, chosen: Mapping[int, Tensor], what: str = "awareness") -> Tensor:
        """A token of the class against the mean token: its |h · dL/dh| or |h|, float32 [class]; 1
        is average, nan for an empty class."""
        sums = self.sums(chosen, what)
        return sums / sums.sum() / (self.count / self.count.sum())


def class_profile(
    model: nn.Module,
    tokenizer,
    sentences: Sequence[str],
    layers: Sequence[int],
    classes: Sequence[Sequence[int]],
    batch_size: int = 32,
) -> ClassProfile:
    """What each class of tokens adds to the activation and the awareness of all neurons; any set
    can be looked up in the result. One pass; memory does not grow with the corpus.

    classes: as `token_classes` gives, a class per token. Raises: ValueError as `token_readings`.
    """
    awareness = activation = count = 0
    readings = token_readings(model, tokenizer, sentences, layers, batch_size=batch_size)
    for rows, _, h, effect in readings:
        labels = torch.tensor([label for row in rows for label in classes[row][:MAX_LENGTH]])
        member = F.one_hot(labels, len(CLASSES)).T.float()  # (class, token)
        awareness += torch.einsum("ct,ltn->cln", member, effect)
        activation += torch.einsum("ct,ltn->cln", member, h)
        count += member.sum(dim=1)
    return ClassProfile(sorted(layers), awareness, activation, count)


def share_of_score(scores: AwarenessScores, sets: NeuronSets) -> Tensor:
    """The share of a language's total score that lies in a set, float32 [language of the text,
    language of the set]. Take scores of other sentences than the sets were made from: a set holds
    its own language's highest scores by construction."""
    values, chosen = scores.values, sets.specific
    columns = [_total(values, scores.layers, chosen[x]) for x in sets.languages]
    return torch.stack(columns, dim=1) / values.sum(dim=(1, 2))[:, None]


def _total(values: Tensor, layers: list[int], chosen: Mapping[int, Tensor]) -> Tensor:
    """values [row, layer, d_ff] summed over the neurons {layer: indices}: [row]."""
    places = [values[:, layers.index(layer), chosen[layer]] for layer in chosen]
    return torch.cat(places, dim=1).sum(dim=1)


def layer_position(
    scores: AwarenessScores, epsilon: float = 0.9, normalize: str = "layer_mean"
) -> Tensor:
    """How many specific neurons each layer has, int64 [layer, language], if all layers share one
    threshold; `categorize` gives every layer the same number, which is also chance.

    Scores are normalised within the layer ("layer_mean", "rank" or "raw"); then the 1 - epsilon
    with the largest variance over languages are taken from all layers together. Raises: ValueError
    for scores that are not finite, or all zero in a layer."""
    values = normalized(scores, normalize)  # (language, layer, d_ff)
    variance = values.var(dim=0, unbiased=True)
    kept = round((1 - epsilon) * variance.numel())
    top = variance.flatten().argsort(descending=True, stable=True)[:kept]
    layer, owner = top // variance.shape[1], values.argmax(dim=0).flatten()[top]
    counts = torch.zeros(len(scores.layers), len(scores.languages), dtype=torch.long)
    return counts.index_put_((layer, owner), torch.ones_like(layer), accumulate=True)
