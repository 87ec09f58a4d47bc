"""Training on plain text of one language: what it feeds, what it moves, and resuming."""

import copy

import pytest
import torch
from lander_helpers import LAYERS, logits, make_sets, quick, same, state
from test_finetune import Killed, record
from test_lander import moved, run_recording_optimizer

from lander_lite.blocks import feed_forwards, fingerprint
from lander_lite.neurons import NeuronSets
from lander_lite.prompts import texts
from lander_lite.reproduction.baselines import full, lora
from lander_lite.training.data import encode_text
from lander_lite.training.loop import finetune, label_loss, latest_checkpoint
from lander_lite.tuner.model import LanderTuningConfig, get_lander_model

MONO = {"zh": ["狗在睡觉", "一只猫吃鱼", "他读书"], "de": ["der Hund schläft", "er liest"]}


def lape_like(model):
    """Nothing is general; zh has neurons of its own and one that it shares with de, and none in
    layer 0."""
    d_ff = feed_forwards(model)[0].d_ff
    specific = {"zh": {1: [3, 7, 8], 3: [0]}, "de": {1: [5, 8], 2: [1]}}
    return NeuronSets([0, 1, 2, 3], ["zh", "de"], {}, specific, d_ff, fingerprint(model), "lape")


def wrap(model, sets=None, routing="none"):
    return get_lander_model(model, LanderTuningConfig(sets or lape_like(model), routing))


# ---------------------------------------------------------------- what moves
@pytest.mark.parametrize("make", [lape_like, make_sets])
def test_the_neurons_of_the_language_move_and_nothing_else(model, tokenizer, make):
    base, sets = copy.deepcopy(model), make(model)
    lander = wrap(model, sets)
    finetune(lander, tokenizer, MONO, ["zh"], quick())
    merged, before = lander.merge_and_unload(), state(base)
    inside = set()
    for layer in sets.layers:
        chosen = torch.cat([sets.general[layer], sets.specific["zh"][layer]])
        expected = torch.zeros(sets.d_ff, dtype=torch.bool).index_fill_(0, chosen, True)
        for name, changed in moved(
            merged, base, layer
        ).items():  # rows of up and gate, their biases, columns of down
            assert torch.equal(changed, expected), (layer, name)
        view = feed_forwards(base)[layer]
        inside |= {id(p) for x in (view.up, view.gate) if x is not None for p in x.parameters()} | {
            id(view.down.weight)
        }
    outside = [name for name, p in base.named_parameters() if id(p) not in inside]
    after = merged.state_dict()
    assert len(outside) > 10 and not [
        name for name in outside if not torch.equal(before[name], after[name])
    ]


def test_the_optimiser_holds_nothing_of_another_language(model, tokenizer, monkeypatch):
    lander = wrap(model)
    before = {name: p.clone() for name, p in lander.named_parameters()}
    optimizer = run_recording_optimizer(monkeypatch, lander, tokenizer, MONO, ["zh"], quick())
    held = {name for name, p in lander.named_parameters() if p in optimizer.state}
    assert held == {name for name in before if ".zh:" in name or ".zh+de:" in name} != set()
    assert {
        name for name, p in lander.named_parameters() if not torch.equal(p, before[name])
    } == held
    assert any(".de:" in name for name in before)


@pytest.mark.parametrize("routing", ["none", "learned"])
def test_an_untrained_model_of_one_language_is_the_base_model(model, routing):
    expected = logits(model)
    lander = wrap(model, make_sets(model), routing)
    assert lander.set_pair("zh") is lander and lander.pair == "zh"
    assert (logits(lander) - expected).abs().max() <= 1e-6 * expected.abs().max()
    phi, layer = lander.active_peft_config.neuron_sets.awareness["zh"], LAYERS[0]
    own, general = (
        lander.active_peft_config.neuron_sets.specific["zh"][layer],
        lander.active_peft_config.neuron_sets.general[layer],
    )
    share = phi[layer][general].sum() / (phi[layer][general].sum() + phi[layer][own].sum())
    assert lander.partitioned[layer].router.share == pytest.approx(share.item(), rel=1e-5)


# ---------------------------------------------------------------- what is fed
def test_every_token_of_the_text_and_eos_are_learned(model, tokenizer, monkeypatch):
    batches = record(monkeypatch)
    log = finetune(
        wrap(copy.deepcopy(model)), tokenizer, MONO, ["zh"], quick(updates=1, batch_size=3)
    )
    (batch,) = batches
    rows = [
        ids[mask.bool()].tolist() for ids, mask in zip(batch["input_ids"], batch["attention_mask"])
    ]
    assert sorted(rows) == sorted(
        [*tokenizer(x, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        for x in MONO["zh"]
    )
    assert torch.equal(
        batch["labels"], batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    )
    assert (batch["attention_mask"] == 0).any()
    with torch.no_grad():  # the mean over all predicted tokens, sentence by sentence
        logp = [model(torch.tensor([ids])).logits[0].log_softmax(-1) for ids in rows]
        by_hand = [
            -p[t - 1, ids[t]].item() for p, ids in zip(logp, rows) for t in range(1, len(ids))
        ]
        assert label_loss(model, batch).item() == pytest.approx(
            sum(by_hand) / len(by_hand), rel=1e-4
        )
    assert log["loss"][0] == pytest.approx(sum(by_hand) / len(by_hand), rel=1e-4)


def test_long_text_is_cut(tokenizer):
    assert encode_text(tokenizer, "abcdef", 4) == {
        "input_ids": (ids := tokenizer("abcd")["input_ids"]),
        "labels": ids,
        "cut": True,
    }
    assert encode_text(tokenizer, "abc", 4)["labels"] == [
        *tokenizer("abc")["input_ids"],
        tokenizer.eos_token_id,
    ]


def test_a_corpus_or_plain_text_and_directions_beside_languages(
    bloom, tokenizer, corpus, monkeypatch
):
    def run(data, pairs, **settings):
        lander, seen = wrap(copy.deepcopy(bloom), make_sets(bloom)), []
        with monkeypatch.context() as patch:
            batches = record(patch)
            patch.setattr(
                lander,
                "forward",
                lambda *a, f=lander.forward, **k: (seen.append(lander.pair), f(*a, **k))[1],
            )
            finetune(lander, tokenizer, data, pairs, quick(**settings))
        return [batch["input_ids"].tolist() for batch in batches], seen

    mono = {"zh": texts(corpus, "zh")}
    assert run(mono, ["zh"]) == run(corpus, ["zh"]) != run(corpus, ["zh"], seed=1)
    together, seen = run(corpus, ["zh", "en-de"])
    assert (
        together[::2] == run(corpus, ["zh"])[0][:2]
        and together[1::2] == run(corpus, ["en-de"])[0][:2]
    )
    assert seen == ["zh", "en-de"] * 2
    few = run(mono, ["zh"], rows_per_pair=2, updates=3)[0]
    assert len({str(sorted(batch)) for batch in few}) == 1  # two sentences in batches of two


@pytest.mark.parametrize("method", [full, lora])
def test_any_model_can_be_trained_on_plain_text(bloom, tokenizer, method):
    model = method(bloom)
    log = finetune(model, tokenizer, MONO, ["zh"], quick(updates=30, batch_size=3))
    assert log["loss"][-1] < 0.8 * log["loss"][0] and log["pairs"] == ["zh"]


# ---------------------------------------------------------------- resuming, errors
@pytest.mark.parametrize("pairs", [["zh"], ["zh", "de"]])
@pytest.mark.parametrize("kill_at", [1, 2, 3])
def test_killed_and_resumed_is_uninterrupted(
    bloom, tokenizer, tmp_path, monkeypatch, pairs, kill_at
):
    config = quick(updates=5, save_every=2, schedule="cosine", warmup=0.3)
    model = wrap(copy.deepcopy(bloom))
    log, expected = finetune(model, tokenizer, MONO, pairs, config), state(model)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        record(patch, kill_at)
        finetune(wrap(copy.deepcopy(bloom)), tokenizer, MONO, pairs, config, output_dir=tmp_path)
    assert (latest_checkpoint(tmp_path) is not None) == (kill_at >= 2)
    torch.manual_seed(123)
    again, batches = wrap(bloom), record(monkeypatch)
    assert same(expected, state(again)) != []
    assert (
        finetune(again, tokenizer, MONO, pairs, config, output_dir=tmp_path) == log
        and same(expected, state(again)) == []
    )
    assert len(batches) == 5 - kill_at // 2 * 2


def test_a_checkpoint_of_other_text_is_refused(bloom, tokenizer, tmp_path):
    finetune(
        wrap(copy.deepcopy(bloom)),
        tokenizer,
        MONO,
        ["zh"],
        quick(updates=1, save_every=1),
        output_dir=tmp_path,
    )
    with pytest.raises(ValueError, match="belongs to a run with other"):
        finetune(
            wrap(bloom),
            tokenizer,
            {"zh": MONO["zh"][:2]},
            ["zh"],
            quick(updates=1),
            output_dir=tmp_path,
        )


@pytest.mark.parametrize(
    "data, pairs, message",
    [
        (MONO, ["fr"], "'fr' is neither a direction.*it has zh, de"),
        ("corpus", ["fr"], "'fr' is neither a direction.*it has en, de, zh"),
        (MONO, ["zh", "en-de"], "en-de: plain text holds no translations"),
        ("corpus", ["zh", "en-fr"], "pair en-fr: the corpus has no 'fr'"),
        ({"zh": []}, ["zh"], "'zh': give a list of sentences"),
        ({"zh": "狗在睡觉"}, ["zh"], "give a list"),
        ({"zh": ["狗", " "]}, ["zh"], "sentence 1 is empty"),
        (MONO, [], "pairs is empty"),
        (MONO, "zh", "not the string 'zh'"),
        ("corpus", ["en"], "no neuron sets for en; there are sets for zh, de"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_changes(
    bloom, tokenizer, corpus, data, pairs, message
):
    lander = wrap(bloom)
    before = state(lander)
    with pytest.raises(ValueError, match=message):
        finetune(lander, tokenizer, corpus if data == "corpus" else data, pairs, quick())
    assert same(before, state(lander)) == []
    with pytest.raises(ValueError, match="'' is not a translation direction"):
        lander.set_pair("")
