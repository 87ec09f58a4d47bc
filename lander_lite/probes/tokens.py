"""What are the neurons of a set? The tokens and token classes they answer to, their share of the
score, and the blocks they lie in."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import nn

from ..awareness import (
    AwarenessScores,
    chosen_views,
    frozen_evaluation,
    n_tokens,
    plain_ids,
    sentence_losses,
)
from ..blocks import input_device
from ..corpus import batches, collate, prompt_ids
from ..neurons import NeuronSets, normalized

MAX_LENGTH = 256  # tokens of a sentence
CLASSES = ("frequent word", "other word", "piece of a word", "punctuation")
HAN = re.compile(r"[\u3400-\u9fff]")
WORD = re.compile(
    r"[\u3400-\u9fff]+|[^\W\u3400-\u9fff]+"
)  # a run of Chinese, or of other letters and digits


def token_readings(
    model: nn.Module,
    tokenizer,
    sentences: Sequence[str],
    layers: Sequence[int],
    *,
    gradients: bool = True,
    batch_size: int = 32,
) -> Iterator[tuple[list[int], torch.Tensor, torch.Tensor, torch.Tensor | None]]:
    """Batch by batch: (sentence numbers, token ids [token], |h| [layer, token, d_ff], |h · dL/dh|
    likewise or None without `gradients`).

    Tokens follow each other sentence by sentence, padding left out. h and L are those of
    `score_awareness` (LANDeRMT eq. 4): at each token the input of `down`, and the summed loss of
    the next tokens. Raises: ValueError for a layer out of range or a sentence of fewer than two
        tokens.
    """
    feed_forwards, layers = chosen_views(model, layers)
    examples = [
        plain_ids(tokenizer, sentence, "text", number, MAX_LENGTH)
        for number, sentence in enumerate(sentences)
    ]
    caught: list[torch.Tensor] = []

    def catch(module, args):
        h = (
            args[0]
            if args[0].requires_grad or not gradients
            else args[0].detach().requires_grad_(True)
        )  # a graph starts at the lowest
        caught.append(h)
        return (h, *args[1:])

    for rows in batches(examples, batch_size, key=n_tokens):
        batch = collate(tokenizer, [examples[row] for row in rows], device=input_device(model))
        with ExitStack() as stack, frozen_evaluation(model), torch.set_grad_enabled(gradients):
            for feed_forward in feed_forwards:
                stack.callback(feed_forward.down.register_forward_pre_hook(catch).remove)
            loss = sentence_losses(model, batch).sum()
            slopes = torch.autograd.grad(loss, caught) if gradients else None
        mask = batch["attention_mask"].bool()
        flat = mask.flatten()
        h = torch.stack(
            [x.detach().flatten(0, -2)[flat.to(x.device)].float().cpu() for x in caught]
        )
        effect = (
            torch.stack([g.flatten(0, -2)[flat.to(g.device)].float().cpu() for g in slopes])
            .mul_(h)
            .abs_()
            if gradients
            else None
        )
        caught.clear()
        yield rows, batch["input_ids"][mask].cpu(), h.abs_(), effect


def token_means(
    model: nn.Module,
    tokenizer,
    sentences: Sequence[str],
    layer: int,
    neurons: Sequence[int] | torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean |h| of chosen neurons at every token of the vocabulary, and how often it occurs: float64
    [vocabulary, neuron], [vocabulary].

    A token that does not occur has a mean of 0. Errors as `token_readings`.
    """
    neurons = torch.as_tensor(neurons).long()
    sums, counts = (
        torch.zeros(len(tokenizer), len(neurons)).double(),
        torch.zeros(len(tokenizer)).double(),
    )
    for _, ids, h, _ in token_readings(model, tokenizer, sentences, [layer], gradients=False):
        sums.index_add_(0, ids, h[0][:, neurons].double())
        counts.index_add_(0, ids, torch.ones(len(ids)).double())
    return sums / counts.clamp(min=1)[:, None], counts


def top_tokens(
    model: nn.Module,
    tokenizer,
    sentences: Sequence[str],
    layer: int,
    neurons: Sequence[int],
    n: int = 8,
    minimum: int = 3,
) -> dict[int, list[tuple[int, float, int]]]:
    """{neuron: the `n` tokens with its largest mean |h|, as (token id, mean, occurrences)}, of the
    tokens that occur `minimum` times."""
    means, counts = token_means(model, tokenizer, sentences, layer, neurons)
    often = (counts >= max(1, minimum)).nonzero().flatten()
    best = means[often].argsort(dim=0, descending=True, stable=True)[:n]  # (rank, neuron)
    return {
        int(neuron): [
            (i, means[i, column].item(), int(counts[i])) for i in often[best[:, column]].tolist()
        ]
        for column, neuron in enumerate(neurons)
    }


def token_classes(tokenizer, sentences: Sequence[str], frequent: int = 20) -> list[list[int]]:
    """The class of every token, as an index into CLASSES, by a rule that needs no dictionary;
    `sentences` are of one language.

    Punctuation has no letter and no digit (a BOS token counts as such). A piece is a part of a
    word, or of a character. Of the whole words, the `frequent` most frequent ones of these
    sentences are frequent words: function words, mostly. Chinese has no spaces, so a token of whole
        characters counts as a word. Raises: ValueError for a tokenizer without offsets.
    """
    if not tokenizer.is_fast:
        raise ValueError(
            f"{type(tokenizer).__name__} does not say where its tokens lie in the text: use a "
            f"fast tokenizer."
        )
    words = [_words(tokenizer, sentence) for sentence in sentences]
    counts = Counter(word for row in words for word in row if word)
    common = {word for word, _ in counts.most_common(frequent)}
    return [
        [3 if word == "" else 2 if word is None else int(word not in common) for word in row]
        for row in words
    ]


def _words(tokenizer, sentence: str) -> list[str | None]:
    """For every token its word in lower case if it is a whole word, "" if it has no letter or
    digit, None for a part of a word."""
    encoded = tokenizer(sentence, add_special_tokens=False, return_offsets_mapping=True)
    runs = [match.span() for match in WORD.finditer(sentence)]
    found = [""] * (len(prompt_ids(tokenizer, sentence)) - len(encoded["input_ids"]))
    for token, (start, end) in zip(encoded["input_ids"], encoded["offset_mapping"]):
        a, b = next(((a, b) for a, b in runs if a < end and start < b), (0, 0))
        whole = HAN.match(sentence[a:b]) or (start <= a and b <= end)
        text = tokenizer.decode(
            [token]
        ).strip()  # "" for a space of its own, "\ufffd" for some bytes of a character
        found.append(
            ""
            if a == b or not text
            else None
            if "\ufffd" in text or not whole
            else sentence[max(a, start) : min(b, end)].lower()
        )
    return found


@dataclass(eq=False)
class ClassProfile:
    """Sums over the tokens of each class: `awareness` |h · dL/dh| and `activation` |h|, float32
    [class, layer, d_ff]; `count` [class]."""

    layers: list[int]
    awareness: torch.Tensor
    activation: torch.Tensor
    count: torch.Tensor

    def sums(self, chosen: Mapping[int, torch.Tensor], what: str = "awareness") -> torch.Tensor:
        """Summed over the neurons {layer: indices}, float32 [class]. what: "awareness" or
        "activation"."""
        values = getattr(self, what)
        return torch.stack(
            [
                values[:, self.layers.index(layer), indices].sum(dim=-1)
                for layer, indices in chosen.items()
            ]
        ).sum(dim=0)

    def per_token(
        self, chosen: Mapping[int, torch.Tensor], what: str = "awareness"
    ) -> torch.Tensor:
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
    can be looked up in the result.

    classes: as `token_classes` gives, a class per token. One pass; memory does not grow with the
        corpus. Errors as `token_readings`.
    """
    awareness = activation = count = 0
    for rows, _, h, effect in token_readings(
        model, tokenizer, sentences, layers, batch_size=batch_size
    ):
        labels = torch.tensor([label for row in rows for label in classes[row][:MAX_LENGTH]])
        member = (labels == torch.arange(len(CLASSES))[:, None]).float()  # (class, token)
        awareness, activation = (
            awareness + torch.einsum("ct,ltn->cln", member, effect),
            activation + torch.einsum("ct,ltn->cln", member, h),
        )
        count = count + member.sum(dim=1)
    return ClassProfile(sorted(layers), awareness, activation, count)


def awareness_share(scores: AwarenessScores, sets: NeuronSets) -> torch.Tensor:
    """The share of a language's total score that lies in a set, float32 [language of the text,
    language of the set].

    Take scores of other sentences than the sets were made from: a set holds its own language's
    highest scores by construction.
    """
    total = scores.values.sum(dim=(1, 2))
    parts = [
        sum(
            scores.values[:, scores.layers.index(x), indices].sum(dim=-1)
            for x, indices in sets.specific[language].items()
        )
        for language in sets.languages
    ]
    return torch.stack(parts, dim=-1) / total[:, None]


def layer_position(
    scores: AwarenessScores, epsilon: float = 0.9, normalize: str = "layer_mean"
) -> torch.Tensor:
    """How many specific neurons each layer has, int64 [layer, language], if all layers share one
    threshold. scores: of all layers.

    `categorize` gives every layer the same number. Here the scores are normalised within the layer
    as there (`normalize`: "layer_mean", "rank" or "raw"), and then the 1 - epsilon with the largest
    variance over languages are taken from all layers together. Chance: the
    same number in each layer. Raises: ValueError for scores that are not finite, or all zero in a
        layer.
    """
    values = normalized(scores, normalize)  # (language, layer, d_ff)
    variance = values.var(dim=0, unbiased=True)
    top = variance.flatten().argsort(descending=True, stable=True)[
        : round((1 - epsilon) * variance.numel())
    ]
    layer, owner = top // variance.shape[1], values.argmax(dim=0).flatten()[top]
    counts = torch.zeros(len(scores.layers), len(scores.languages), dtype=torch.long)
    return counts.index_put_((layer, owner), torch.ones_like(layer), accumulate=True)
