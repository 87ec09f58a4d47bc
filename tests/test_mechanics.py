"""How far weights moved and how alike representations are, against plain loops, planted changes and
random controls."""

import copy
import math
import statistics

import pytest
import torch
from lander_helpers import disturb, make_sets

from lander_lite import LanderTuningConfig, get_lander_model
from lander_lite.blocks import feed_forwards
from lander_lite.probes.mechanics import alignment, cka, sentence_states, weight_change
from lander_lite.prompts import texts


def matrices(model, layer):
    """Plain lists of rows, a row per neuron."""
    view = feed_forwards(model)[layer]
    parts = {
        "gate": view.gate and view.gate.weight,
        "up": view.up.weight,
        "down": view.down.weight.T,
    }
    return {name: weight.tolist() for name, weight in parts.items() if weight is not None}


# ---------------------------------------------------------------- weights
@pytest.mark.parametrize("language", [None, "en", "general"])
def test_weight_change_is_the_plain_ratio(model, language):
    base, sets = copy.deepcopy(model), make_sets(model)
    merged = disturb(
        get_lander_model(model, LanderTuningConfig(sets, "none")).set_pair("en-de")
    ).merge_and_unload()
    found = weight_change(base, merged, sets, language)
    assert list(found) == list(matrices(base, 1))
    for layer in sets.layers:
        kinds = {"general": sets.general, **sets.specific}
        neurons = {
            j
            for name, kind in kinds.items()
            if language in (None, name)
            for j in kind[layer].tolist()
        }
        for name, old in matrices(base, layer).items():
            new = matrices(merged, layer)[name]
            moved = sum((a - b) ** 2 for j in neurons for a, b in zip(new[j], old[j]))
            assert found[name][layer] == pytest.approx(
                math.sqrt(moved / sum(a * a for j in neurons for a in old[j])), rel=1e-5
            )


def test_only_what_moved_counts(model):
    """One column of down by 10%; the neuron is in de alone, so de shows it and en does not."""
    sets = make_sets(model, multi=False)
    edited, neuron = copy.deepcopy(model), int(sets.specific["de"][1][0])
    feed_forwards(edited)[1].down.weight.data[:, neuron] *= 1.1
    found = weight_change(model, edited, sets, "de")
    assert found["down"][1] > 0.01 and {
        name: x[1] for name, x in found.items() if name != "down"
    }.keys() <= {"gate", "up"}
    assert all(
        x == 0
        for name, layers in found.items()
        for layer, x in layers.items()
        if (name, layer) != ("down", 1)
    )
    assert all(
        x == 0
        for layers in weight_change(model, edited, sets, "en").values()
        for x in layers.values()
    )
    sets.specific["de"] = {1: sets.specific["de"][1][:1], 3: sets.specific["de"][3][:0]}
    assert weight_change(model, edited, sets, "de")["down"] == {
        1: pytest.approx(0.1, rel=1e-5)
    }  # layer 3 has none: left out


def test_weight_change_refuses_what_it_cannot_compare(bloom, llama):
    sets = make_sets(bloom)
    for before, after, language, message in (
        (bloom, bloom, "fr", "'fr': there are sets for general, en"),
        (llama, bloom, None, "another"),
        (bloom, llama, None, "other sizes"),
        (
            bloom,
            get_lander_model(copy.deepcopy(bloom), LanderTuningConfig(sets, "none")),
            None,
            "wrapped",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            weight_change(before, after, sets, language)


# ---------------------------------------------------------------- states
def test_states_are_means_of_the_hidden_states_at_any_batch_size(model, tokenizer, corpus):
    sentences = texts(corpus, "en")
    found = sentence_states(model, tokenizer, sentences, batch_size=4)
    assert found.shape == (4, 6, 32) and len({len(sentence) for sentence in sentences}) > 3
    for row, sentence in enumerate(sentences):
        with torch.no_grad():
            hidden = model(
                tokenizer(sentence, return_tensors="pt")["input_ids"], output_hidden_states=True
            ).hidden_states
        for layer in range(3):  # the last entry has passed the final norm
            assert torch.allclose(found[layer, row], hidden[layer + 1][0].mean(dim=0), atol=1e-5)
    assert torch.allclose(
        found, sentence_states(model, tokenizer, sentences, batch_size=1), atol=1e-5
    )
    with pytest.raises(ValueError, match="sentence 1 has no tokens"):
        sentence_states(model, tokenizer, ["a", ""])


def test_a_wrapped_model_is_read_with_its_pair(model, tokenizer, corpus):
    sentences, expected = (
        texts(corpus, "de"),
        sentence_states(model, tokenizer, texts(corpus, "de")),
    )
    lander = get_lander_model(model, LanderTuningConfig(make_sets(model), "none")).set_pair("en-de")
    assert torch.allclose(sentence_states(lander, tokenizer, sentences), expected, atol=1e-5)
    assert not torch.allclose(
        sentence_states(disturb(lander), tokenizer, sentences), expected, atol=1e-2
    )


# ---------------------------------------------------------------- alignment
def test_alignment_is_the_plain_double_loop_at_any_batch_size(model, tokenizer, corpus):
    first, second = texts(corpus, "en"), texts(corpus, "de")
    x, y = (sentence_states(model, tokenizer, sentences) for sentences in (first, second))
    for batch_size in (1, 4):
        found = alignment(model, tokenizer, first, second, batch_size)
        for layer in range(4):
            cosine = [
                [torch.cosine_similarity(a, b, dim=0).item() for b in y[layer]] for a in x[layer]
            ]
            parallel = statistics.mean(cosine[i][i] for i in range(6))
            random = statistics.mean(cosine[i][j] for i in range(6) for j in range(6) if i != j)
            assert found["parallel"][layer] == pytest.approx(parallel, abs=1e-4)
            assert found["random"][layer] == pytest.approx(random, abs=1e-4)
            assert found["difference"][layer] == pytest.approx(parallel - random, abs=1e-4)
            assert found["cka"][layer] == pytest.approx(cka(x[layer], y[layer]), abs=1e-3)


def test_a_sentence_is_most_like_itself(model, tokenizer, corpus):
    first = texts(corpus, "en")
    same, mixed = (
        alignment(model, tokenizer, first, second) for second in (first, first[1:] + first[:1])
    )
    assert all(x == pytest.approx(1) for key in ("parallel", "cka") for x in same[key])
    assert min(same["difference"]) > 0 > max(mixed["difference"])
    with pytest.raises(ValueError, match="6 with 5"):
        alignment(model, tokenizer, first, first[:5])
    with pytest.raises(ValueError, match="at least 4"):
        alignment(model, tokenizer, first[:3], first[:3])


def rand(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def plain_hsic(k, m):
    """Song et al.'s estimator as a sum over all ordered quadruples of different examples."""
    n, total, count = len(k), 0.0, 0
    for a in range(n):
        for b in (i for i in range(n) if i != a):
            for c in (i for i in range(n) if i not in (a, b)):
                for d in (i for i in range(n) if i not in (a, b, c)):
                    total += k[a][b] * (m[a][b] + m[c][d] - 2 * m[a][c])
                    count += 1
    return total / count


def test_cka_is_the_sum_over_quadruples():
    x, y = rand(7, 3, seed=0), rand(7, 5, seed=1) + 2
    k, m = ((z @ z.T).tolist() for z in (x, y))  # not centred: the estimator does not mind
    assert cka(x, y) == pytest.approx(
        plain_hsic(k, m) / math.sqrt(plain_hsic(k, k) * plain_hsic(m, m)), rel=1e-9
    )


def test_cka_of_the_same_up_to_rotation_shift_and_scale_is_one():
    x, y = rand(30, 12, seed=0), rand(30, 20, seed=1)
    rotation = torch.linalg.qr(rand(12, 12, seed=2)).Q
    assert cka(x, x) == pytest.approx(1) and cka(x, -3 * x @ rotation + 5) == pytest.approx(1)
    mixed = y + x @ rand(12, 20, seed=3)
    assert 0 < cka(x, mixed) < 0.99 and cka(x @ rotation * 7 + 1, mixed) == pytest.approx(
        cka(x, mixed)
    ) == pytest.approx(cka(mixed, x))
    assert (
        cka(x, x @ torch.diag(torch.arange(12.0) ** 2).double()) < 0.95
    )  # other linear maps do change it


@pytest.mark.parametrize("n", [10, 40])
def test_cka_of_random_representations_is_zero_on_average(n):
    """With n < d the formula without correction is near 1."""
    found = [cka(rand(n, 200, seed=2 * i), rand(n, 200, seed=2 * i + 1)) for i in range(40)]
    assert abs(statistics.mean(found)) < 3 * statistics.stdev(found) / math.sqrt(40) + 0.01
    x, y = (z - z.mean(dim=0) for z in (rand(n, 200, seed=0), rand(n, 200, seed=1)))
    assert (x.T @ y).norm() ** 2 / ((x.T @ x).norm() * (y.T @ y).norm()) > 0.7


@pytest.mark.parametrize("x, y", [((3, 2), (3, 2)), ((5, 2), (6, 2)), ((5,), (5,))])
def test_cka_wants_matrices_of_equal_length(x, y):
    with pytest.raises(ValueError, match="n >= 4"):
        cka(torch.zeros(x), torch.zeros(y))
