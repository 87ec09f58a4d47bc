"""Switching neuron sets off, and reading activations, against edits of the weights and plain loops."""
import copy
import math

import pytest
import torch

from lander_lite.corpus import texts
from lander_lite.evaluate import perplexity
from lander_lite.model import feed_forwards, fingerprint
from lander_lite.neurons import NeuronSets
from lander_lite.switching import sentence_activations, switched_off, switching_matrix


@pytest.fixture
def sets(model):
    d_ff = feed_forwards(model)[0].d_ff
    specific = {"en": {1: [0, 3], 2: [5]}, "de": {1: [4], 2: [6, 7]}}
    return NeuronSets([1, 2], ["en", "de"], {1: range(10, d_ff), 2: range(12, d_ff)}, specific, d_ff, fingerprint(model))


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


def test_hooks_are_removed_after_an_error(bloom):
    sets = NeuronSets([1], ["en"], {}, {"en": {1: [0]}}, 128)
    before = logits(bloom, IDS)
    with pytest.raises(RuntimeError), switched_off(bloom, sets, "en"):
        raise RuntimeError
    assert torch.equal(logits(bloom, IDS), before)


def test_bad_names_and_models(model, sets):
    with pytest.raises(ValueError, match="'fr': there are sets for general, en, de"), switched_off(model, sets, "fr"):
        pass
    sets.model["d_model"] = 7
    with pytest.raises(ValueError, match="another model"), switched_off(model, sets, "en"):
        pass


def test_matrix(bloom, tokenizer, corpus):
    sets = NeuronSets([1, 2], ["en", "de"], {}, {"en": {1: range(30), 2: []}, "de": {1: [], 2: []}}, 128, fingerprint(bloom))
    sentences = {language: texts(corpus, language) for language in ("de", "en", "zh")}
    matrix = switching_matrix(bloom, tokenizer, sentences, sets)
    assert matrix.shape == (3, 2)
    assert (matrix[:, 1] == 0).all()                        # nothing is switched off
    with switched_off(bloom, sets, "en"):
        off = math.log(perplexity(bloom, tokenizer, sentences["zh"]))
    assert matrix[2, 0].item() == pytest.approx(off - math.log(perplexity(bloom, tokenizer, sentences["zh"])), abs=1e-5)


def test_sentence_activations_do_not_depend_on_the_batch(model, tokenizer, corpus):
    sentences, seen = texts(corpus, "en"), []
    found = sentence_activations(model, tokenizer, sentences, layer=2, batch_size=4)
    handle = feed_forwards(model)[2].down.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    for sentence in sentences:
        logits(model, torch.tensor([tokenizer(sentence, add_special_tokens=False)["input_ids"]]))
    handle.remove()
    assert torch.allclose(found, torch.stack([h[0].mean(dim=0) for h in seen]), atol=1e-5)


def test_an_empty_sentence_is_an_error(bloom, tokenizer):
    with pytest.raises(ValueError, match="sentence 1 has no tokens"):
        sentence_activations(bloom, tokenizer, ["a", ""], layer=0)
