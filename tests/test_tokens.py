"""Readings per token, token classes and shares, against plain loops and planted answers."""

import pytest
import torch
from transformers import AutoTokenizer

from lander_lite import AwarenessScores, NeuronSets, random_neurons, score_awareness
from lander_lite.blocks import feed_forwards
from lander_lite.config import data_dir
from lander_lite.probes.tokens import (
    CLASSES,
    class_profile,
    layer_position,
    share_of_score,
    token_classes,
    token_means,
    token_readings,
    top_tokens,
)
from lander_lite.prompts import texts


@pytest.fixture(scope="module")
def words():
    """The tokenizer of tiny-bloom: most word forms are one token."""
    return AutoTokenizer.from_pretrained(data_dir() / "models" / "tiny-bloom")


def test_effects_per_token_average_to_the_awareness_score(model, tokenizer, corpus):
    total = torch.zeros(2, feed_forwards(model)[0].d_ff)
    for _, _, _, effect in token_readings(
        model, tokenizer, texts(corpus, "en"), [1, 3], batch_size=1
    ):
        total += effect.mean(dim=1)  # one sentence: its mean over tokens
    score = score_awareness(model, tokenizer, corpus, ["en"], [1, 3], progress=False).values[0]
    assert torch.allclose(total / len(corpus), score, rtol=1e-4, atol=1e-7)
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


def test_readings_do_not_depend_on_the_batch_or_on_the_gradient(model, tokenizer, corpus):
    sentences = texts(corpus, "de")
    alone = {
        row: (ids, h)
        for (row,), ids, h, _ in token_readings(model, tokenizer, sentences, [2], batch_size=1)
    }
    for rows, ids, h, effect in token_readings(
        model, tokenizer, sentences, [2], gradients=False, batch_size=4
    ):
        assert effect is None and torch.equal(ids, torch.cat([alone[row][0] for row in rows]))
        assert torch.allclose(h, torch.cat([alone[row][1] for row in rows], dim=1), atol=1e-5)


def test_a_planted_reader_of_one_token(bloom, tokenizer, corpus):
    sentences, (letter,) = texts(corpus, "en"), tokenizer("o")["input_ids"]
    seen = []
    network = feed_forwards(bloom)[0]
    handle = network.up.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    means, counts = token_means(bloom, tokenizer, sentences, 0, [5, 9])
    handle.remove()
    assert counts[letter] == sum(s.count("o") for s in sentences) and counts.sum() == sum(
        len(s) for s in sentences
    )
    with torch.no_grad():
        bloom(torch.tensor([[letter]]))
    seen.clear()
    handle = network.up.register_forward_pre_hook(lambda module, args: seen.append(args[0][0]))
    ids = [tokenizer(s)["input_ids"] for s in sentences]
    with torch.no_grad():
        for row in ids:
            bloom(torch.tensor([row]))
    handle.remove()
    inputs, flat = torch.cat(seen), torch.tensor(sum(ids, []))
    with torch.no_grad():  # neuron 9 fires for "o" and for nothing else, by least squares
        solution = torch.linalg.lstsq(
            torch.cat([inputs, torch.ones(len(inputs), 1)], dim=1), 20.0 * (flat == letter) - 10.0
        ).solution
        network.up.weight[9], network.up.bias[9] = solution[:-1], solution[-1]
    best = top_tokens(bloom, tokenizer, sentences, 0, [5, 9], n=3)
    assert best[9][0][0] == letter and best[9][0][2] == counts[letter]
    assert best[9][0][1] > 3 * best[9][1][1]
    assert best[5][0][1] < 3 * best[5][1][1]  # the control: a random neuron has no such favourite
    assert best[5][0][1] == pytest.approx(means[best[5][0][0], 0].item(), rel=1e-4)
    rare = {
        tokenizer(c)["input_ids"][0]
        for c in "abcdefghijklmnopqrstuvwxyz"
        if 0 < sum(s.count(c) for s in sentences) < 3
    }
    assert rare and not rare & {
        token for token, _, _ in top_tokens(bloom, tokenizer, sentences, 0, [9], n=300)[9]
    }


def test_token_classes(words):
    def kinds(sentence, frequent=0):
        return [CLASSES[kind] for kind in token_classes(words, [sentence], frequent)[0]]

    word, piece, mark = "other word", "piece of a word", "punctuation"
    assert kinds("Die Kinder sehen den Korb.") == [
        word,
        word,
        word,
        word,
        piece,
        piece,
        piece,
        mark,
    ]
    assert kinds("托马斯爱猫，她。")[0] == mark  # the tokenizer puts a space in front
    assert set(kinds("她叔叔。")) <= {word, piece, mark}
    sentences = ["the dog sees the cat.", "The dog and the cat."]
    assert [[CLASSES[kind] for kind in row][:2] for row in token_classes(words, sentences, 1)] == [
        ["frequent word", word]
    ] * 2
    assert all(
        len(row) == len(words(sentence)["input_ids"])
        for row, sentence in zip(token_classes(words, sentences), sentences)
    )


def test_class_profile(model, tokenizer, corpus):
    sentences = texts(corpus, "en")
    classes = [
        [(number + place) % 3 for place in range(len(s))] for number, s in enumerate(sentences)
    ]
    profile = class_profile(model, tokenizer, sentences, [1, 2], classes, batch_size=4)
    sums = torch.zeros_like(profile.activation)
    for (row,), _, h, _ in token_readings(
        model, tokenizer, sentences, [1, 2], gradients=False, batch_size=1
    ):
        for place, kind in enumerate(classes[row]):
            sums[kind] += h[:, place]
    assert torch.allclose(profile.activation, sums, rtol=1e-4, atol=1e-4)
    assert profile.count.tolist() == [
        sum(row.count(kind) for row in classes) for kind in range(len(CLASSES))
    ]
    ratio = profile.per_token({1: torch.tensor([0, 3]), 2: torch.tensor([], dtype=torch.long)})
    assert ratio[3].isnan() and (
        ratio[:3] * profile.count[:3]
    ).sum() / profile.count.sum() == pytest.approx(1, abs=1e-5)


def test_share_and_position_of_planted_neurons():
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(2, 4, 100, generator=generator) + 1  # [language, layer, neuron]
    values[0, 2, :10] *= 10
    values[1, 3, 10:20] *= 10
    scores = AwarenessScores(["en", "de"], [0, 1, 2, 3], values)
    sets = NeuronSets(
        [2, 3],
        ["en", "de"],
        {},
        {"en": {2: range(10), 3: []}, "de": {2: [], 3: range(10, 20)}},
        100,
    )
    share = share_of_score(scores, sets)
    assert share[0, 0].item() == pytest.approx((values[0, 2, :10].sum() / values[0].sum()).item())
    assert share.diagonal().min() > 4 * share[~torch.eye(2).bool()].max()
    chance = torch.stack([share_of_score(scores, random_neurons(sets, seed)) for seed in range(20)])
    assert (
        chance.mean().item() == pytest.approx(20 / 800, rel=0.3)
        and share.diagonal().min() > 2 * chance.mean()
    )
    assert layer_position(scores, epsilon=0.95).tolist() == [[0, 0], [0, 0], [10, 0], [0, 10]]


def test_errors(bloom, tokenizer):
    with pytest.raises(ValueError, match="layers"):
        next(token_readings(bloom, tokenizer, ["ab"], [9]))
    with pytest.raises(ValueError, match="sentence 1 has 1 tokens"):
        next(token_readings(bloom, tokenizer, ["ab", "a"], [0]))
