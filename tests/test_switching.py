"""Switching neuron sets off, and reading activations, against edits of the weights and plain
loops."""

import copy
import math

import pytest
import torch
from lander_helpers import disturb, make_sets

from lander_lite import LanderTuningConfig, get_lander_model
from lander_lite.blocks import feed_forwards, fingerprint
from lander_lite.evaluation import LanguageId, perplexity
from lander_lite.neurons import NeuronSets
from lander_lite.probes.switching import (
    scaled,
    sentence_activations,
    steer,
    switched_off,
    switching_matrix,
)
from lander_lite.prompts import texts


@pytest.fixture
def sets(model):
    d_ff = feed_forwards(model)[0].d_ff
    specific = {"en": {1: [0, 3], 2: [5]}, "de": {1: [4], 2: [6, 7]}}
    return NeuronSets(
        [1, 2],
        ["en", "de"],
        {1: range(10, d_ff), 2: range(12, d_ff)},
        specific,
        d_ff,
        fingerprint(model),
    )


def logits(model, ids):
    with torch.no_grad():
        return model(ids).logits


IDS = torch.tensor([[40, 50, 60, 70, 80]])


@pytest.mark.parametrize("which", ["en", "general"])
def test_switched_off_equals_zero_columns(model, sets, which):
    edited = copy.deepcopy(model)
    for layer, indices in (sets.general if which == "general" else sets.specific[which]).items():
        feed_forwards(edited)[layer].down.weight.data[:, indices] = 0
    before = logits(model, IDS)
    with switched_off(model, sets, which):
        inside = logits(model, IDS)
    assert torch.allclose(inside, logits(edited, IDS), atol=1e-5)
    assert not torch.allclose(inside, before, atol=1e-4)
    assert torch.equal(logits(model, IDS), before)


@pytest.mark.parametrize("factor", [2.0, -0.5, 1.0])
def test_scaled_equals_scaled_columns(model, sets, factor):
    edited, before = copy.deepcopy(model), logits(model, IDS)
    for layer, indices in sets.specific["de"].items():
        feed_forwards(edited)[layer].down.weight.data[:, indices] *= factor
    with scaled(model, sets, "de", factor) as inside:
        assert inside is model and torch.allclose(
            logits(model, IDS), logits(edited, IDS), atol=1e-5
        )
        assert torch.equal(logits(model, IDS), before) == (factor == 1)
    assert torch.equal(logits(model, IDS), before)


def test_contexts_nest(model, sets):
    """One set off, another scaled; the inner exit leaves the outer one on, and a set off stays off
    whatever multiplies it."""
    edited = copy.deepcopy(model)
    for layer in (1, 2):
        feed_forwards(edited)[layer].down.weight.data[:, sets.specific["en"][layer]] = 0
    with switched_off(model, sets, "en"):
        off = logits(model, IDS)
        with scaled(model, sets, "de", 3.0):
            assert not torch.allclose(logits(model, IDS), off, atol=1e-4)
        with scaled(model, sets, "en", 3.0):
            assert torch.equal(logits(model, IDS), off)
        assert torch.equal(logits(model, IDS), off)
    assert torch.allclose(off, logits(edited, IDS), atol=1e-5)


def test_merged_models_can_be_switched_and_wrapped_ones_are_refused(model, tokenizer):
    sets = make_sets(model)
    lander = disturb(get_lander_model(model, LanderTuningConfig(sets, "none")).set_pair("en-de"))
    for call in (lambda: switched_off(lander, sets, "en"), lambda: scaled(model, sets, "en", 2.0)):
        with pytest.raises(ValueError, match="wrapped by a LanderModel.*call unload"), call():
            pass
    merged = lander.merge_and_unload()
    edited = copy.deepcopy(merged)
    for layer, indices in sets.specific["en"].items():
        feed_forwards(edited)[layer].down.weight.data[:, indices] = 0
    with switched_off(merged, sets, "en"):
        assert torch.allclose(logits(merged, IDS), logits(edited, IDS), atol=1e-5)


def test_hooks_are_removed_after_an_error(bloom):
    sets = NeuronSets([1], ["en"], {}, {"en": {1: [0]}}, 128)
    before = logits(bloom, IDS)
    with pytest.raises(RuntimeError), switched_off(bloom, sets, "en"):
        raise RuntimeError
    assert torch.equal(logits(bloom, IDS), before)


def test_bad_names_and_models(model, sets):
    with (
        pytest.raises(ValueError, match="'fr': there are sets for general, en, de"),
        switched_off(model, sets, "fr"),
    ):
        pass
    with pytest.raises(ValueError, match="factor = nan"), scaled(model, sets, "en", float("nan")):
        pass
    sets.model["d_model"] = 7
    with pytest.raises(ValueError, match="another model"), switched_off(model, sets, "en"):
        pass


def test_matrix(bloom, tokenizer, corpus):
    sets = NeuronSets(
        [1, 2],
        ["en", "de"],
        {},
        {"en": {1: range(30), 2: []}, "de": {1: [], 2: []}},
        128,
        fingerprint(bloom),
    )
    sentences = {language: texts(corpus, language) for language in ("de", "en", "zh")}
    matrix = switching_matrix(bloom, tokenizer, sentences, sets)
    assert matrix.shape == (3, 2)
    assert (matrix[:, 1] == 0).all()  # nothing is switched off
    with switched_off(bloom, sets, "en"):
        off = math.log(perplexity(bloom, tokenizer, sentences["zh"]))
    assert matrix[2, 0].item() == pytest.approx(
        off - math.log(perplexity(bloom, tokenizer, sentences["zh"])), abs=1e-5
    )


def test_matrix_of_perplexities(bloom, tokenizer, corpus, sets):
    sets = NeuronSets([1], ["en", "de"], {}, {"en": {1: range(30)}}, 128, fingerprint(bloom))
    sentences = {language: texts(corpus, language) for language in ("en", "zh")}
    loss, change = (
        switching_matrix(bloom, tokenizer, sentences, sets, measure=measure)
        for measure in ("loss", "perplexity")
    )
    base = torch.tensor([perplexity(bloom, tokenizer, found) for found in sentences.values()])
    assert change[:, 0].abs().min() > 1e-3 and torch.allclose(
        change, base[:, None] * (loss.exp() - 1), atol=1e-2
    )
    with pytest.raises(ValueError, match="'bleu'"):
        switching_matrix(bloom, tokenizer, sentences, sets, measure="bleu")


# ---------------------------------------------------------------- steering
@pytest.fixture
def speaker(bloom, tokenizer):
    """A model that writes "a" for ever, unless neurons 0-3 of layer 2 ("en") are off and 4-7 ("de")
    louder: then "z"."""
    view = feed_forwards(bloom)[2]
    embedding, final = bloom.get_input_embeddings().weight, bloom.transformer.ln_f
    with torch.no_grad():
        (A,), (Z,) = (tokenizer(letter)["input_ids"] for letter in "az")
        a, z = (torch.nn.functional.one_hot(torch.tensor(i), 32).float() for i in (0, 1))
        embedding[:, :2] = 0
        embedding[A, 0] = embedding[Z, 1] = 30.0
        view.up.weight[:8], view.up.bias[:8] = 0, 5.0  # always on
        view.down.weight[:, :4], view.down.weight[:, 4:8] = 40 * a[:, None], 20 * z[:, None]
        final.weight.fill_(1), final.bias.fill_(0)
    specific = {"en": {2: range(4)}, "de": {2: range(4, 8)}}
    return bloom, NeuronSets([2], ["en", "de"], {}, specific, 128, fingerprint(bloom))


def test_steering_changes_the_language(speaker, tokenizer):
    model, sets = speaker
    identify = LanguageId({"en": ["a aa aaa"], "de": ["z zz zzz"]})
    found = steer(model, tokenizer, ["aaa", "az"], sets, "en", "de", identify, max_new_tokens=4)
    assert found == {
        "as it is": {"en": 1.0, "de": 0.0, "empty": 0.0},
        "steered": {"en": 0.0, "de": 1.0, "empty": 0.0},
    }
    assert (
        steer(model, tokenizer, ["aaa"], sets, "en", "de", identify, off=1.0, up=1.0)["steered"][
            "en"
        ]
        == 1
    )  # the control: no change
    assert (
        steer(model, tokenizer, ["aaa"], sets, "de", "en", identify)["steered"]["en"] == 1
    )  # nor the other way


def test_steering_refuses_what_it_cannot_do(bloom, tokenizer, sets):
    sets = NeuronSets([1], ["en", "de"], {}, {}, 128, fingerprint(bloom))
    identify = LanguageId({"en": ["a"], "fr": ["b"]})
    for source, target, lines, message in (
        ("en", "de", ["a"], "identify knows en, fr, not 'de'"),
        ("en", "fr", ["a"], "'fr': there are"),
        ("en", "en", ["a"], "two different"),
        ("en", "fr", [], "no beginnings"),
    ):
        with pytest.raises(ValueError, match=message):
            steer(bloom, tokenizer, lines, sets, source, target, identify)


# ---------------------------------------------------------------- activations
def test_sentence_activations_do_not_depend_on_the_batch(model, tokenizer, corpus):
    sentences, seen = texts(corpus, "en"), []
    found = sentence_activations(model, tokenizer, sentences, layer=2, batch_size=4)
    handle = feed_forwards(model)[2].down.register_forward_pre_hook(
        lambda module, args: seen.append(args[0])
    )
    for sentence in sentences:
        logits(model, torch.tensor([tokenizer(sentence, add_special_tokens=False)["input_ids"]]))
    handle.remove()
    assert torch.allclose(found, torch.stack([h[0].mean(dim=0) for h in seen]), atol=1e-5)


def test_an_empty_sentence_is_an_error(bloom, tokenizer):
    with pytest.raises(ValueError, match="sentence 1 has no tokens"):
        sentence_activations(bloom, tokenizer, ["a", ""], layer=0)
