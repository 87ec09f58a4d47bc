"""LAPE: the selection against a plain reimplementation over random and adversarial counts; the
counts against a manual forward."""

import copy
import itertools
import math
import random
import weakref
from fractions import Fraction

import pytest
import torch

from lander_lite import LanderTuningConfig, feed_forwards, get_lander_model, lape, random_neurons
from lander_lite.blocks import fingerprint
from lander_lite.neighbours.lape import (
    ActivationCounts,
    activation_counts,
    active_tokens,
    lape_from_counts,
    lape_of_size,
    select,
    top_rate_for,
    weights_per_neuron,
)
from lander_lite.prompts import texts

RATES = [
    (0.01, 0.95, 0.95),
    (0.05, 0.9, 0.95),
    (0.3, 0.5, 0.8),
    (0.5, 0.8, 0.3),
    (0.99, 0.01, 0.01),
]


def plainly(counts, tokens, top_rate, filter_rate, activation_bar):
    """Tang et al.'s rules with Python lists and exact fractions: {(layer, neuron, language)}."""
    p = [[[Fraction(c, n) for c, n in zip(neuron, tokens)] for neuron in layer] for layer in counts]
    layers, width, languages = len(p), len(p[0]), len(p[0][0])
    everything = sorted(x for layer in p for neuron in layer for x in neuron)
    threshold, bar = (
        everything[max(round(rate * len(everything)), 1) - 1]
        for rate in (filter_rate, activation_bar)
    )
    ranking = []
    for i, j in itertools.product(range(layers), range(width)):
        if max(p[i][j]) > threshold:
            shares = sorted(
                x / sum(p[i][j]) for x in p[i][j]
            )  # proportional and permuted rows have the same list: exact ties
            ranking.append((math.fsum(-float(x) * math.log(x) for x in shares if x), i, j))
    chosen = sorted(ranking)[: round(top_rate * layers * width)]
    return {(i, j, k) for _, i, j in chosen for k in range(languages) if p[i][j][k] > bar}


def found(counts, tokens, *rates):
    return set(
        zip(
            *(
                x.tolist()
                for x in select(torch.tensor(counts).double() / torch.tensor(tokens), *rates)
            )
        )
    )


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("rates", RATES)
def test_selection_equals_the_plain_algorithm(seed, rates):
    rng = random.Random(seed)
    tokens = [rng.choice([1000, 999, 37]) for _ in range(rng.choice([2, 3, 5]))]
    counts = [
        [[int(n * rng.random() ** rng.choice([1, 6])) for n in tokens] for _ in range(40)]
        for _ in range(3)
    ]
    counts[rng.randrange(3)][rng.randrange(40)] = [0] * len(tokens)  # a dead neuron
    if rng.random() < 0.5:
        counts[rng.randrange(3)] = [[0] * len(tokens)] * 40  # a dead layer
    if rng.random() < 0.5:
        weak = rng.randrange(len(tokens))  # a language that activates little
        counts = [
            [[c // 50 if k == weak else c for k, c in enumerate(neuron)] for neuron in layer]
            for layer in counts
        ]
    assert found(counts, tokens, *rates) == plainly(counts, tokens, *rates)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("rates", RATES)
def test_ties_go_to_the_lower_index(seed, rates):
    """Few different counts, so most neurons tie: equal, permuted or proportional rows, and values
    equal to the threshold."""
    rng = random.Random(seed)
    n = rng.choice([2, 3, 7])
    rows = [[rng.choice([0, 1, 2, 3, 6]) for _ in range(n)] for _ in range(4)]
    counts = [[rng.sample(rng.choice(rows), n) for _ in range(25)] for _ in range(4)]
    counts[rng.randrange(4)][0] = [3 * c for c in rows[0]]
    tokens = [18] * n
    assert found(counts, tokens, *rates) == plainly(counts, tokens, *rates)


def test_proportional_rows_tie_in_spite_of_rounding():
    """1/7 : 2/7 : 4/7 in thirds, sevenths and elevenths; in floating point their entropies differ
    in the last digits."""
    rows = [
        [k * x for x in order] for k in (1, 3, 7, 11) for order in itertools.permutations((1, 2, 4))
    ]
    for seed in range(5):
        counts = [random.Random(seed).sample(rows, len(rows))]
        assert found(counts, [44, 44, 44], 0.25, 0.01, 0.01) == {
            (0, j, k) for j in range(6) for k in range(3) if counts[0][j][k] > 1
        }


def test_the_threshold_is_the_value_at_round_of_the_rate_and_strict():
    """100 values 1 … 100, a language of zeros: the .95 quantile of 200 is the 190th, 90. Only 91 …
    100 pass, 90 does not."""
    counts = [[[j + 1, 0] for j in range(100)]]
    assert found(counts, [100, 100], 0.99, 0.95, 0.95) == {(0, j, 0) for j in range(90, 100)}
    assert found(counts, [100, 100], 0.05, 0.95, 0.95) == {
        (0, j, 0) for j in range(90, 95)
    }  # all entropies are 0
    assert (
        found(counts, [100, 100], 0.05, 0.95, 0.975) == set()
    )  # chosen, but 91 … 95 are no more than the bar
    assert found(counts, [100, 100], 0.99, 0.95, 0.5) == {
        (0, j, 0) for j in range(90, 100)
    }  # a low bar brings no filtered neuron back


@pytest.mark.parametrize("value", [0, 5, 10])
def test_equal_probabilities_select_nothing(value):
    """No p exceeds the quantile of equal values: the comparison is strict."""
    assert found([[[value] * 3] * 10] * 2, [10, 10, 10], 0.1, 0.95, 0.95) == set()


def test_a_language_and_layers_without_neurons():
    """Two languages; all that is active is in layer 1 for the first one: the second set and the
    other layers are empty."""
    counts = torch.zeros(3, 20, 2, dtype=torch.long)
    counts[1, :6, 0] = 90
    sets = lape_from_counts(
        ActivationCounts(counts, torch.tensor([100, 50]), ["en", "de"], {}), top_rate=0.05
    )
    assert sets.counts()["specific"] == {
        "en": {0: 0, 1: 3, 2: 0},
        "de": {0: 0, 1: 0, 2: 0},
    } and sets.layers == [0, 1, 2]
    assert sets.specific["en"][1].tolist() == [0, 1, 2]
    assert sets.provenance == {
        "top_rate": 0.05,
        "filter_rate": 0.95,
        "activation_bar": 0.95,
        "tokens": {"en": 100, "de": 50},
    }


# ---------------------------------------------------------------- the counts
def test_counts_equal_a_manual_forward_at_any_batch_size(model, tokenizer, corpus):
    sentences = texts(corpus, "en")
    view = feed_forwards(model)[1]
    inner, seen, tokens = view.gate or view.up, 0, 0
    for sentence in sentences:
        outputs = []
        handle = inner.register_forward_hook(
            lambda module, args, output, outputs=outputs: outputs.append(output)
        )
        ids = tokenizer(sentence, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            model(ids)
        handle.remove()
        seen, tokens = seen + (view.act(outputs[0]) > 0)[0].sum(0), tokens + ids.shape[1]
    for batch_size in (1, 3):
        counts, n = active_tokens(model, tokenizer, sentences, batch_size, 256)
        assert torch.equal(counts[1], seen) and n == tokens and counts.dtype == torch.long
    assert 0 < seen.min() < seen.max() < tokens


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_counts_in_half_precision(model, tokenizer, corpus, dtype):
    exact, n = active_tokens(model, tokenizer, texts(corpus, "en"), 4, 256)
    half, m = active_tokens(copy.deepcopy(model).to(dtype), tokenizer, texts(corpus, "en"), 4, 256)
    assert n == m and (half - exact).abs().float().mean() < 0.02 * n < exact.float().mean()


def test_a_generator_gives_the_counts_of_a_list(bloom, tokenizer, corpus):
    sentences, taken = texts(corpus, "en"), []

    def endless():
        for i in itertools.count():
            taken.append(i)
            yield sentences[i % 6]

    data = {"en": endless(), "de": (x for x in texts(corpus, "de"))}
    streamed, whole = (
        activation_counts(bloom, tokenizer, data, ["en", "de"], max_sentences=6),
        activation_counts(bloom, tokenizer, corpus, ["en", "de"]),
    )
    assert (
        torch.equal(streamed.counts, whole.counts)
        and torch.equal(streamed.tokens, whole.tokens)
        and len(taken) == 6
    )


class Ids(list):
    """A sentence's ids that can be watched: which of them are still in memory?"""

    __hash__ = object.__hash__

    def __getitem__(self, key):
        return self if isinstance(key, slice) else super().__getitem__(key)


def test_memory_does_not_grow_with_the_text(bloom, tokenizer, monkeypatch):
    alive, most = weakref.WeakSet(), []

    def watched(tokenizer, sentences, max_length, minimum):
        encoded = [Ids(range(4, 4 + len(sentence))) for sentence in sentences]
        alive.update(encoded)
        return [{"input_ids": ids} for ids in encoded]

    monkeypatch.setattr("lander_lite.neighbours.lape.encode_sentences", watched)
    monkeypatch.setattr("lander_lite.neighbours.lape.CHUNK", 3)
    bloom.transformer.register_forward_pre_hook(lambda *args: most.append(len(alive)))
    assert (
        active_tokens(bloom, tokenizer, ("x" * (1 + i % 5) for i in range(100)), 2, 256)[1] == 300
    )
    assert (
        len(most) == 50 and max(most) <= 2 * 3 * 2
    )  # two chunks of three batches: one may not be gone when the next comes


def test_processes_share_the_text(bloom, tokenizer, corpus, monkeypatch):
    """Each takes every second sentence, and an empty share counts nothing."""
    sentences = texts(corpus, "en")[:3]
    whole, n = active_tokens(bloom, tokenizer, sentences, 2, 256)
    monkeypatch.setattr("lander_lite.neighbours.lape.world", lambda: 2)
    shares = []
    for number in (0, 1):
        monkeypatch.setattr("lander_lite.neighbours.lape.rank", lambda number=number: number)
        shares.append(active_tokens(bloom, tokenizer, sentences, 2, 256))
    assert torch.equal(shares[0][0] + shares[1][0], whole) and shares[0][1] + shares[1][1] == n
    monkeypatch.setattr("lander_lite.neighbours.lape.add_up", lambda tensor: tensor + 1)
    assert active_tokens(bloom, tokenizer, sentences[:1], 2, 256)[0].eq(1).all()  # the other's


def test_counts_are_the_same_where_memory_runs_out(bloom, tokenizer, corpus):
    wanted, n = active_tokens(bloom, tokenizer, texts(corpus, "en"), 4, 256)

    def out_of_memory(module, args, output):
        if len(output) > 1:
            raise torch.OutOfMemoryError("planted, after some blocks have been counted")

    feed_forwards(bloom)[2].down.register_forward_hook(out_of_memory)
    with pytest.warns(UserWarning, match="going on with halves"):
        found, m = active_tokens(bloom, tokenizer, texts(corpus, "en"), 4, 256)
    assert torch.equal(found, wanted) and m == n


def test_counts_of_halves_add_up(model, tokenizer, corpus):
    languages = ["en", "de", "zh"]
    whole = activation_counts(model, tokenizer, corpus, languages)
    halves = [
        activation_counts(
            model, tokenizer, {x: texts(corpus, x)[half::2] for x in languages}, languages
        )
        for half in (0, 1)
    ]
    both = halves[0] + halves[1]
    assert torch.equal(both.counts, whole.counts) and torch.equal(both.tokens, whole.tokens)
    assert not torch.equal(*(half.counts for half in halves))
    rates = {"top_rate": 0.1, "filter_rate": 0.5, "activation_bar": 0.5}
    assert (
        lape_from_counts(both, **rates).hash()
        == lape(model, tokenizer, corpus, languages, **rates).hash()
    )
    with pytest.raises(ValueError, match="other languages"):
        whole + activation_counts(model, tokenizer, corpus, ["en", "de"])


def test_it_gives_neuron_sets(model, tokenizer, corpus):
    sets = lape(
        model, tokenizer, corpus, ["en", "de"], top_rate=0.1, filter_rate=0.5, activation_bar=0.5
    )
    assert (
        sets.method == "lape" and sets.layers == [0, 1, 2, 3] and sets.model == fingerprint(model)
    )
    chosen = {
        (i, j) for x in sets.languages for i in sets.layers for j in sets.specific[x][i].tolist()
    }
    assert 0 < len(chosen) <= round(0.1 * 4 * sets.d_ff)
    assert all(len(x) == 0 for x in sets.general.values())


def test_planted_neurons_are_found(model, tokenizer):
    """Two languages with letters of their own; eight neurons of layer 1 are made to fire for one
    language. LAPE gives them to it."""
    rng, view = random.Random(0), feed_forwards(model)[1]
    sentences = {
        x: ["".join(rng.choices(letters, k=12)) for _ in range(20)]
        for x, letters in (("en", "abcdefgh"), ("de", "stuvwxyz"))
    }
    inner, states = view.gate or view.up, {x: [] for x in sentences}
    for language in sentences:
        with (
            inner.register_forward_pre_hook(
                lambda module, args, x=language: states[x].append(args[0][0])
            ),
            torch.no_grad(),
        ):
            for sentence in sentences[language]:
                model(tokenizer(sentence, return_tensors="pt")["input_ids"])
    en, de = (torch.cat(states[x]).mean(0) for x in ("en", "de"))
    planted = {"en": {0, 1, 2, 3}, "de": {4, 5, 6, 7}}
    with torch.no_grad():
        for language, direction in (("en", en - de), ("de", de - en)):
            inner.weight[list(planted[language])] = direction
            if inner.bias is not None:
                inner.bias[list(planted[language])] = -(direction @ (en + de)) / 2
    found = lape(
        model, tokenizer, sentences, ["en", "de"], top_rate=0.2, filter_rate=0.5, activation_bar=0.5
    )
    chance = random_neurons(found)
    for language, neurons in planted.items():
        of_layer = {x: set(found.specific[x][1].tolist()) for x in planted}
        assert [x for x in planted if neurons <= of_layer[x]] == [language]
        assert not neurons <= set(chance.specific[language][1].tolist())


# ---------------------------------------------------------------- the budget
@pytest.mark.parametrize("share", [0.01, 0.03])
def test_the_budget_is_kept_and_used(model, tokenizer, corpus, share):
    counts = activation_counts(model, tokenizer, corpus, ["en", "de", "zh"])
    rates = {"filter_rate": 0.6, "activation_bar": 0.6}
    weights, total = (
        weights_per_neuron(feed_forwards(model)[0]),
        sum(p.numel() for p in model.parameters()),
    )
    d_ff = feed_forwards(model)[0].d_ff

    def tuned(rate):
        return sum(
            map(len, lape_from_counts(counts, top_rate=rate, **rates).specific["zh"].values())
        )

    rate = top_rate_for(counts, model, "zh", share, **rates)
    n = tuned(rate)
    assert 0 < n * weights <= share * total < (n + 1) * weights
    assert tuned(rate + 1 / (4 * d_ff)) > n  # one neuron more would be too many
    sets = lape_from_counts(counts, top_rate=rate, **rates)
    lander = get_lander_model(model, LanderTuningConfig(sets, "none")).set_pair("zh")
    tuned_weights = [
        weight.numel()
        for layer in lander.partitioned.values()
        for name, weight in layer.slices.items()
        if layer.partition.active(name.split(":")[0])
    ]
    assert sum(tuned_weights) == n * weights


# ---------------------------------------------------------------- errors
@pytest.mark.parametrize(
    "wrong", [{"top_rate": 0.0}, {"filter_rate": 1.0}, {"activation_bar": -1.0}]
)
def test_rates_out_of_range_are_refused(model, tokenizer, corpus, wrong):
    with pytest.raises(ValueError, match="between 0 and 1"):
        lape(model, tokenizer, corpus, ["en", "de"], **wrong)
    with pytest.raises(ValueError, match="at least two"):
        lape(model, tokenizer, corpus, ["en"])


def test_missing_text_is_an_error_before_any_forward_pass(bloom, tokenizer, corpus, monkeypatch):
    monkeypatch.setattr(
        bloom.transformer, "forward", lambda *a, **k: pytest.fail("ran the model before the check")
    )
    for data, error, message in (
        ({"en": ["a"], "de": iter([])}, ValueError, "no sentences of 'de'"),
        (corpus, KeyError, "fr"),
        ({"en": ["a"]}, KeyError, "fr"),
        ({"en": ["a"], "de": "a dog"}, ValueError, "not one string"),
    ):
        with pytest.raises(error, match=message):
            activation_counts(bloom, tokenizer, data, ["en", "fr" if error is KeyError else "de"])
    with pytest.raises(ValueError, match="max_sentences is 0"):
        lape(bloom, tokenizer, corpus, ["en", "de"], max_sentences=0)


def test_a_wrapped_model_and_empty_text_are_refused(bloom, tokenizer, corpus):
    with pytest.raises(ValueError, match="no tokens"):
        activation_counts(bloom, tokenizer, {"en": ["a"], "de": ["", ""]}, ["en", "de"])
    sets = lape(
        bloom, tokenizer, corpus, ["en", "de"], top_rate=0.1, filter_rate=0.5, activation_bar=0.5
    )
    with pytest.raises(ValueError, match="wrapped by a LanderModel"):
        lape(
            get_lander_model(bloom, LanderTuningConfig(sets, "none")),
            tokenizer,
            corpus,
            ["en", "de"],
        )


def test_sets_of_a_wanted_size_lower_the_rates_as_far_as_they_must(bloom, tokenizer, corpus):
    counts = activation_counts(bloom, tokenizer, corpus, ["en", "de"])
    total = counts.shares[..., 0].numel()
    sizes, rates = [], []
    for size in (2, total // 3):
        sets = lape_of_size(counts, size)
        chosen = [torch.cat([sets.specific[x][i] for x in ("en", "de")]) for i in sets.layers]
        sizes.append(sum(len(neurons.unique()) for neurons in chosen))
        rates.append(sets.provenance["filter_rate"])
    assert sizes == [2, total // 3] and rates[0] == 0.95 > rates[1] > 0.45
    with pytest.raises(ValueError, match=f"cannot choose {total} of {total}"):
        lape_of_size(counts, total)


def test_counts_are_checked():
    counts = torch.ones(2, 3, 2, dtype=torch.long)
    for c, n, message in (
        (counts, [0, 1], "no tokens of 'en'"),
        (2 * counts, [1, 2], "at all tokens"),
        (-counts, [1, 2], "at 0 tokens"),
        (counts[..., :1], [1, 1], r"\[layer, d_ff, language\]"),
    ):
        with pytest.raises(ValueError, match=message):
            ActivationCounts(c, torch.tensor(n), ["en", "de"], {})
