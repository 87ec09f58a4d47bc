"""score_awareness and exact_ablation against plain loops, and on a model whose language neurons are
known."""

import copy
import gc
import random

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from lander_lite.ablation import exact_ablation
from lander_lite.awareness import AwarenessScores, score_awareness
from lander_lite.blocks import feed_forwards, fingerprint
from lander_lite.layers import LayerScores
from lander_lite.neurons import categorize, random_neurons
from lander_lite.prompts import encode, parse_pair, texts

LANGUAGES, QUIET = ["en", "de", "zh"], {"progress": False}


def plain_scores(model, examples, layer, pre_activation=False):
    """Eq. 4 sentence by sentence: no batch, no padding, transformers' own loss, all parameters in
    the graph."""
    ff, seen, total = feed_forwards(model)[layer], [], 0.0

    def keep(h):
        h.retain_grad()
        seen.append(h)

    inner = ff.up if ff.gate is None else ff.gate
    hook = (
        inner.register_forward_hook(lambda module, args, output: keep(output))
        if pre_activation
        else ff.down.register_forward_pre_hook(lambda module, args: keep(args[0]))
    )
    for example in examples:
        ids, labels = torch.tensor([example["input_ids"]]), torch.tensor([example["labels"]])
        predicted = int((labels[:, 1:] != -100).sum())
        (
            model(ids, labels=labels).loss * predicted
        ).backward()  # transformers shifts the labels itself and takes the mean
        h = seen.pop()
        total = total + (h.detach() * h.grad).abs()[0].mean(dim=0)
    hook.remove()
    return total / len(examples)


def plain_examples(tokenizer, corpus, language):
    rows = [tokenizer(sentence)["input_ids"] for sentence in texts(corpus, language)]
    return [{"input_ids": ids, "labels": ids} for ids in rows]


@pytest.mark.parametrize("pre_activation", [False, True])
def test_scores_are_equation_4(model, tokenizer, corpus, pre_activation):
    scores = score_awareness(
        model,
        tokenizer,
        corpus,
        LANGUAGES,
        [1, 3],
        pre_activation=pre_activation,
        batch_size=4,
        **QUIET,
    )
    assert scores.values.dtype == torch.float32 and scores.model == fingerprint(model)
    for row, language in enumerate(LANGUAGES):
        for column, layer in enumerate([1, 3]):
            expected = plain_scores(
                model, plain_examples(tokenizer, corpus, language), layer, pre_activation
            )
            torch.testing.assert_close(scores.values[row, column], expected, rtol=1e-4, atol=1e-6)


def test_translation_text_averages_the_pairs_of_a_language(model, tokenizer, corpus):
    pairs = ["en-de", "zh-en", "de-zh"]
    options = {"text": "translation", "pairs": pairs, "batch_size": 4, **QUIET}
    scores = score_awareness(model, tokenizer, corpus, LANGUAGES, [2], **options)
    by_pair = {}
    for pair in pairs:
        source, target = parse_pair(pair)
        examples = [
            encode(tokenizer, row[source], row[target], pair) for row in corpus["translation"]
        ]
        assert all(-100 in example["labels"] for example in examples)
        by_pair[pair] = plain_scores(model, examples, 2)
    for row, language in enumerate(LANGUAGES):
        expected = torch.stack(
            [values for pair, values in by_pair.items() if language in parse_pair(pair)]
        ).mean(0)
        torch.testing.assert_close(scores.values[row, 0], expected, rtol=1e-4, atol=1e-6)


def test_translation_pairs_default_to_english_both_ways(bloom, tokenizer, corpus):
    scores = score_awareness(
        bloom, tokenizer, corpus, LANGUAGES, [2], text="translation", max_sentences=2, **QUIET
    )
    assert (
        scores.settings["pairs"] == ["en-de", "de-en", "en-zh", "zh-en"]
        and scores.settings["sentences"]["en-de"] == 2
    )


@pytest.mark.parametrize("text", ["mono", "translation"])
def test_invariant_6_batch_size_and_padding_do_not_matter(model, tokenizer, corpus, text):
    if text == "mono":  # the long sentence pads all others
        corpus = {
            language: [*texts(corpus, language), "a very long sentence indeed " * 4]
            for language in LANGUAGES
        }
    one, three, whole = (
        score_awareness(
            model, tokenizer, corpus, LANGUAGES, [0, 2], text=text, batch_size=size, **QUIET
        ).values
        for size in (1, 3, 64)
    )
    for other in (three, whole):
        assert ((other - one).abs() / one.abs().clamp_min(1e-8)).max() <= 1e-4


def test_invariant_6_memory_does_not_grow_with_the_corpus(bloom, tokenizer):
    """The last of 20 like batches finds no more tensors in memory than the third: no activation,
    gradient or score is kept."""
    alive = []

    def count(module, args):
        alive.append(
            sum(x.numel() for x in gc.get_objects() if type(x) is torch.Tensor)
            if len(alive) in (2, 19)
            else 0
        )

    gc.collect()
    feed_forwards(bloom)[0].down.register_forward_pre_hook(count)
    score_awareness(
        bloom, tokenizer, {"en": ["a few words"] * 40}, ["en"], [0, 1, 2, 3], batch_size=2, **QUIET
    )
    one_activation = 2 * len("a few words") * 128
    assert len(alive) == 20 and alive[2] > 4 * 128 and alive[19] - alive[2] < one_activation


def test_a_layers_scores_do_not_depend_on_the_other_chosen_layers(model, tokenizer, corpus):
    together = score_awareness(model, tokenizer, corpus, ["en"], [0, 1, 3], **QUIET).values[0]
    for position, layer in enumerate([0, 1, 3]):
        alone = score_awareness(model, tokenizer, corpus, ["en"], [layer], **QUIET).values[0, 0]
        torch.testing.assert_close(together[position], alone)


def test_the_last_token_predicts_nothing_and_is_shifted_once(bloom, tokenizer):
    """A sentence of two tokens has one loss: the second token's, from the first position."""
    ids = torch.tensor([tokenizer("ab")["input_ids"]])
    ff, seen = feed_forwards(bloom)[3], []

    def start_here(module, args):
        seen.append(args[0].detach().requires_grad_(True))
        return (seen[0],)

    hook = ff.down.register_forward_pre_hook(start_here)
    loss = -bloom(ids).logits[0, 0].log_softmax(-1)[ids[0, 1]]
    hook.remove()
    (gradient,) = torch.autograd.grad(loss, seen[0])
    expected = (seen[0] * gradient).abs()[0].detach()
    assert (expected[1] == 0).all()
    got = score_awareness(bloom, tokenizer, {"en": ["ab"]}, ["en"], [3], **QUIET).values[0, 0]
    torch.testing.assert_close(got, expected.mean(0))


def test_the_model_is_left_as_it_was_even_after_an_error(llama, tokenizer, corpus):
    llama.train()
    feed_forwards(llama)[0].up.weight.requires_grad_(False)
    flags = [p.requires_grad for p in llama.parameters()]

    def check():
        assert llama.training and [p.requires_grad for p in llama.parameters()] == flags
        assert all(p.grad is None for p in llama.parameters())
        assert not any(
            module._forward_hooks or module._forward_pre_hooks for module in llama.modules()
        )

    score_awareness(llama, tokenizer, corpus, ["en"], [1], **QUIET)
    check()
    forward, llama.model.norm.forward = llama.model.norm.forward, None
    for call in (
        lambda: score_awareness(llama, tokenizer, corpus, ["en"], [1], **QUIET),
        lambda: exact_ablation(llama, tokenizer, corpus, "en", 1, [0], **QUIET),
    ):
        with pytest.raises(TypeError):
            call()
        check()
    llama.model.norm.forward = forward


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"layers": [4]}, ValueError, "0 … 3"),
        ({"layers": []}, ValueError, "at least one"),
        ({"languages": []}, ValueError, "languages"),
        ({"languages": "en"}, ValueError, "languages"),
        ({"languages": ["fr"]}, KeyError, "fr"),
        ({"text": "both"}, ValueError, "'both'"),
        ({"text": "translation", "pairs": ["en-fr"]}, ValueError, "fr"),
        ({"text": "translation", "pairs": ["en-de"]}, ValueError, "'zh'"),
        (
            {"corpus": {"en": ["fine", "x"], "de": ["gut"], "zh": ["好"]}},
            ValueError,
            "'en', sentence 1",
        ),
        ({"max_sentences": 0}, ValueError, "'en'"),
    ],
)
def test_wrong_arguments_fail_before_the_first_forward_pass(
    bloom, tokenizer, corpus, options, error, message
):
    bloom.forward = lambda *a, **k: pytest.fail("ran the model")
    with pytest.raises(error, match=message):
        score_awareness(
            bloom,
            tokenizer,
            **{"corpus": corpus, "languages": LANGUAGES, "layers": [1], **QUIET, **options},
        )


def test_layer_scores_and_limits_are_taken(bloom, tokenizer, corpus):
    layers = LayerScores(["en-de"], *(torch.zeros(1, n) for n in (4, 3, 3, 3)), selected=[1, 2])
    scores = score_awareness(bloom, tokenizer, corpus, ["de"], layers, max_sentences=2, **QUIET)
    same = score_awareness(bloom, tokenizer, corpus.select(range(2)), ["de"], [2, 1], **QUIET)
    assert scores.layers == [1, 2] and torch.equal(scores.values, same.values)


def test_save_and_load(bloom, tokenizer, corpus, tmp_path):
    scores = score_awareness(bloom, tokenizer, corpus, ["en", "zh"], [2], **QUIET)
    scores.save(tmp_path / "scores.safetensors")
    loaded = AwarenessScores.load(tmp_path / "scores.safetensors")
    assert torch.equal(loaded.values, scores.values) and vars(loaded) | {"values": 0} == vars(
        scores
    ) | {"values": 0}


# ---------------------------------------------------------------- exact ablation
def mean_loss_change(model, tokenizer, sentences, layer, neuron):
    """Signed changes per token and sentence after the neuron's column of the down-projection is set
    to zero."""
    changed = copy.deepcopy(model)
    feed_forwards(changed)[layer].down.weight.data[:, neuron] = 0
    changes = []
    for sentence in sentences:
        ids = torch.tensor([tokenizer(sentence)["input_ids"]])
        with torch.no_grad():
            losses = [
                m(ids, labels=ids).loss * (ids.shape[1] - 1) / ids.shape[1]
                for m in (changed, model)
            ]
        changes.append(losses[0] - losses[1])
    return torch.stack(changes)


def test_ablation_is_what_a_zeroed_column_does(model, tokenizer, corpus):
    neurons = [0, 7, 31, 40, 11]
    expected = torch.stack(
        [mean_loss_change(model, tokenizer, texts(corpus, "de"), 2, neuron) for neuron in neurons]
    )
    for passes in (1, 2, 8):
        options = {"batch_size": 4, "neurons_per_pass": passes}
        got = exact_ablation(model, tokenizer, corpus, "de", 2, neurons, **options)
        torch.testing.assert_close(got, expected.abs().mean(1), rtol=1e-3, atol=1e-5)
        signed = exact_ablation(model, tokenizer, corpus, "de", 2, neurons, signed=True, **options)
        torch.testing.assert_close(signed, expected.mean(1), rtol=1e-3, atol=1e-5)
    for wrong in ([], [-1], [128]):
        with pytest.raises(ValueError, match="indices in 0 …"):
            exact_ablation(model, tokenizer, corpus, "de", 2, wrong)


def test_awareness_ranks_neurons_as_exact_ablation_does(model, tokenizer, corpus):
    phi = score_awareness(model, tokenizer, corpus, ["de"], [3], **QUIET).values[0, 0]
    exact = exact_ablation(model, tokenizer, corpus, "de", 3, torch.arange(len(phi)))

    def spearman(a, b):
        return float(
            torch.corrcoef(
                torch.stack([a.argsort().argsort().double(), b.argsort().argsort().double()])
            )[0, 1]
        )

    shuffled = phi[torch.randperm(len(phi), generator=torch.Generator().manual_seed(0))]
    assert spearman(phi, exact) > 0.6 > 0.4 > abs(spearman(shuffled, exact))


# ---------------------------------------------------------------- planted neurons
ALPHABETS = {"en": "abcdefgh", "de": "ijklmnop", "zh": "qrstuvwx"}
PLANTED = {
    1: {"en": [3, 20, 41], "de": [0, 7, 33], "zh": [12, 13, 47]},
    2: {"en": [5, 6, 7], "de": [1, 30, 46], "zh": [2, 21, 40]},
}


def planted_model(tokenizer):
    """A random Llama in which the first three dimensions of the residual stream say the language,
    only the planted neurons read them,
    and nothing writes to them: a planted neuron is far from zero on its language and exactly zero
    on the others."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=300,
                hidden_size=32,
                intermediate_size=48,
                num_hidden_layers=4,
                num_attention_heads=4,
                num_key_value_heads=4,
                tie_word_embeddings=False,
            )
        ).eval()
        embeddings = model.get_input_embeddings().weight.data.normal_()
        model.lm_head.weight.data.normal_()
        embeddings[:, :3] = 0
        for dimension, letters in enumerate(ALPHABETS.values()):
            embeddings[tokenizer(letters)["input_ids"], dimension] = 4.0
        for layer, ff in enumerate(feed_forwards(model)):
            model.model.layers[layer].self_attn.o_proj.weight.data[:3] = 0
            ff.gate.weight.data[:, :3] = ff.up.weight.data[:, :3] = 0
            for dimension, neurons in enumerate(PLANTED.get(layer, {}).values()):
                for projection in (ff.gate, ff.up):
                    projection.weight.data[neurons] = 0
                    projection.weight.data[neurons, dimension] = 2.0
                ff.down.weight.data[:, neurons] = torch.randn(32, len(neurons)) * 0.3
            ff.down.weight.data[:3] = 0
    return model


@pytest.fixture(scope="module")
def planted(tokenizer):
    words = random.Random(0)
    mono = {
        x: ["".join(words.choices(letters, k=words.randint(5, 25))) for _ in range(20)]
        for x, letters in ALPHABETS.items()
    }
    return score_awareness(
        planted_model(tokenizer), tokenizer, mono, list(ALPHABETS), [1, 2], **QUIET
    )


@pytest.mark.parametrize("normalize", [True, False])
def test_invariant_7_planted_neurons_are_recovered_and_a_random_choice_is_not(planted, normalize):
    sets = categorize(planted, epsilon=39 / 48, normalize=normalize)
    assert {
        layer: {x: sets.specific[x][layer].tolist() for x in ALPHABETS} for layer in PLANTED
    } == PLANTED
    right = []
    for seed in range(20):
        chance = random_neurons(sets, seed)
        right += [
            len({*PLANTED[layer][x]} & {*chance.specific[x][layer].tolist()}) / 3
            for layer in PLANTED
            for x in ALPHABETS
        ]
        assert chance.hash() != sets.hash()
    assert sum(right) / len(right) < 0.2  # chance is 3 in 48
