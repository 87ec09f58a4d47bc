"""LAPE: the selection against a plain reimplementation over random and adversarial probabilities; the counts against a manual forward."""
import math
import random

import pytest
import torch

from lander_lite import feed_forwards, lape
from lander_lite.activation_entropy import active_share, select


def plainly(p, top_rate, filter_rate, activation_bar):
    """Tang et al.'s rules with Python lists: {(layer, neuron, language)}."""
    layers, width, languages = len(p), len(p[0]), len(p[0][0])
    everything = sorted(x for layer in p for neuron in layer for x in neuron)
    threshold, bar = (everything[max(round(rate * len(everything)), 1) - 1] for rate in (filter_rate, activation_bar))
    ranking = []
    for i in range(layers):
        for j in range(width):
            if max(p[i][j]) > threshold:
                shares = [x / sum(p[i][j]) for x in p[i][j]]
                ranking.append((-sum(x * math.log(x) for x in shares if x > 0), i * width + j, i, j))
    chosen = sorted(ranking)[:round(top_rate * layers * width)]
    return {(i, j, k) for _, _, i, j in chosen for k in range(languages) if p[i][j][k] > bar}


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("rates", [(.01, .95, .95), (.05, .9, .95), (.3, .5, .8)])
def test_selection_equals_the_plain_algorithm(seed, rates):
    rng = random.Random(seed)
    p = torch.tensor([[[rng.random() ** rng.choice([1, 6]) for _ in range(5)] for _ in range(40)] for _ in range(3)], dtype=torch.float64)
    p[rng.randrange(3), rng.randrange(40)] = 0.                     # a dead neuron
    p[rng.randrange(3)] *= rng.choice([0., 1.])                     # perhaps a dead layer
    p[:, :, rng.randrange(5)] *= rng.choice([.01, 1.])              # perhaps a language that activates little
    assert set(zip(*(x.tolist() for x in select(p, *rates)))) == plainly(p.tolist(), *rates)


def test_equal_probabilities_select_nothing():
    """No p exceeds the quantile of equal values: the comparison is strict."""
    assert all(len(x) == 0 for x in select(torch.full((2, 10, 3), .5), .1, .95, .95))


def test_counts_equal_a_manual_forward_at_any_batch_size(model, tokenizer, corpus):
    sentences = [row["en"] for row in corpus["translation"]]
    view = feed_forwards(model)[1]
    inner, seen, tokens = view.gate or view.up, 0, 0
    for sentence in sentences:
        found = []
        handle = inner.register_forward_hook(lambda module, args, output, found=found: found.append(output))
        ids = tokenizer(sentence, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            model(ids)
        handle.remove()
        seen, tokens = seen + (view.act(found[0]) > 0)[0].sum(0), tokens + ids.shape[1]
    for batch_size in (1, 3):
        assert torch.equal(active_share(model, tokenizer, sentences, batch_size, 256)[1], seen.double() / tokens)


def test_it_gives_neuron_sets(model, tokenizer, corpus):
    sets = lape(model, tokenizer, corpus, ["en", "de"], top_rate=.1, filter_rate=.5, activation_bar=.5)
    assert sets.method == "lape" and sets.layers == [0, 1, 2, 3]
    assert 0 < sum(len(x) for language in sets.specific.values() for x in language.values()) <= 2 * round(.1 * 4 * sets.d_ff)
    assert all(len(x) == 0 for x in sets.general.values())


@pytest.mark.parametrize("wrong", [{"top_rate": 0.}, {"filter_rate": 1.}, {"activation_bar": -1.}])
def test_rates_out_of_range_are_refused(model, tokenizer, corpus, wrong):
    with pytest.raises(ValueError, match="between 0 and 1"):
        lape(model, tokenizer, corpus, ["en", "de"], **wrong)
    with pytest.raises(ValueError, match="at least two"):
        lape(model, tokenizer, corpus, ["en"])
