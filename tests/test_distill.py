"""KL to the base model: the number, the teacher, its place in the training loop, resuming."""

import contextlib
import copy

import pytest
import torch
from lander_helpers import disturb, make_sets, quick, same, state

from lander_lite.config import LanderConfig
from lander_lite.prompts import collate
from lander_lite.reproduction import baselines
from lander_lite.training.data import chosen_rows, pair_data
from lander_lite.training.kl import Teacher, encode_plain, kl_divergence
from lander_lite.training.loop import finetune, label_loss
from lander_lite.tuner.model import LanderTuningConfig, get_lander_model

PAIRS = ["en-de", "zh-en"]
TEXTS = [
    "the dog sleeps",
    "狗在睡觉",
    "der alte Mann trinkt heute kaltes Wasser",
    "a cat",
    "wir sehen das rote Haus",
]
METHODS = {
    "full": baselines.full,
    "adapter": lambda model: baselines.adapter(model, 8),
    "ia3": baselines.ia3,
    "lora": lambda model: baselines.lora(model, r=2, dropout=0.3),
    "adapter_lora": lambda model: baselines.adapter_lora(model, 8, r=2),
    "learned": lambda model: get_lander_model(
        model, LanderTuningConfig(make_sets(model), "learned")
    ),
}


class Killed(BaseException):
    """Not an Exception, as KeyboardInterrupt."""


def make(method, model):
    torch.manual_seed(0)
    tuned = METHODS[method](model)
    return tuned.set_pair("en-de") if method == "learned" else tuned


def push(tuned):
    """Stand-in for training: everything trained moves."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in tuned.parameters():
            if p.requires_grad:
                p.add_(0.1 * torch.randn(p.shape, generator=generator))
    return tuned


def batch_of(tokenizer, texts=TEXTS):
    return collate(tokenizer, encode_plain(tokenizer, texts, 64))


def kl_of(teacher, tuned, batch):
    return teacher.divergence(tuned, batch, contextlib.nullcontext)


# ---------------------------------------------------------------- the number
def test_kl_is_the_mean_over_real_tokens():
    generator = torch.Generator().manual_seed(0)
    p, q = (3 * torch.randn(2, 4, 7, generator=generator) for _ in range(2))
    mask = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1]])
    by_hand = []
    for row, place in mask.nonzero().tolist():
        a, b = p[row, place].softmax(-1), q[row, place].softmax(-1)
        by_hand.append(sum(x * (x.log() - y.log()) for x, y in zip(a, b)).item())
    assert kl_divergence(p, q, mask).item() == pytest.approx(sum(by_hand) / 6, rel=1e-5)
    assert kl_divergence(q, p, mask).item() != pytest.approx(
        sum(by_hand) / 6, rel=0.01
    )  # it has a direction
    plain = torch.nn.functional.kl_div(
        q[1].log_softmax(-1), p[1].softmax(-1), reduction="batchmean"
    )
    assert kl_divergence(p[1:], q[1:], mask[1:]).item() == pytest.approx(plain.item(), rel=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_the_teacher_is_the_model_before_training(model, tokenizer, method):
    batch = batch_of(tokenizer)
    with torch.no_grad():
        base = model(**batch).logits
    tuned = make(method, model).train()
    teacher = Teacher(tuned)
    kl = kl_of(teacher, tuned, batch)
    kl.backward()
    trained = [p for p in tuned.parameters() if p.requires_grad]
    still = max(p.grad.abs().max().item() for p in trained if p.grad is not None)
    assert abs(kl.item()) < 1e-6 and still < 1e-5
    tuned.zero_grad(set_to_none=True)
    push(tuned.eval())
    kl = kl_of(teacher, tuned, batch)
    kl.backward()
    assert max(p.grad.abs().max().item() for p in trained if p.grad is not None) > 100 * max(
        still, 1e-6
    )
    with torch.no_grad():
        assert kl.item() == pytest.approx(
            kl_divergence(base, tuned(**batch).logits, batch["attention_mask"]).item(), rel=1e-3
        )
    assert kl.item() > 1e-3 and (teacher.copy is not None) == (
        method == "full"
    )  # memory only where there is no other way
    assert all(p.requires_grad for p in trained) and not tuned.training


def test_the_teacher_has_no_dropout(bloom, tokenizer):
    batch = batch_of(tokenizer)
    for block in bloom.transformer.h:
        block.mlp.hidden_dropout = block.self_attention.hidden_dropout = 0.3
    for method in ("full", "adapter"):
        with torch.no_grad():
            base = bloom.eval()(**batch).logits
            tuned = METHODS[method](bloom).train()
            assert (tuned(**batch).logits - base).abs().max() > 0.1
        logits = Teacher(tuned).logits(batch)
        assert torch.equal(logits, base) and not logits.requires_grad and tuned.training


# ---------------------------------------------------------------- in the loop
@pytest.mark.parametrize("method", ["lora", "learned"])
def test_an_update_adds_the_weighted_kl(bloom, tokenizer, corpus, monkeypatch, method):
    config = quick(updates=2, kl_weight=3.0, max_grad_norm=0.0, batch_size=2)
    tuned = (
        disturb(make(method, bloom))
        if method == "learned"
        else push(baselines.lora(bloom, r=2, dropout=0.0))
    )
    names = {name: p for name, p in tuned.named_parameters() if p.requires_grad}
    seen, real = [], torch.optim.AdamW.step

    def step(self, *args, **keys):
        seen.append({name: p.grad.clone() for name, p in names.items() if p.grad is not None})
        expected.append(gradient(len(expected)))
        return real(self, *args, **keys)

    def gradient(update):
        """By hand, on a copy that is where the model is."""
        twin, pair = copy.deepcopy(tuned), PAIRS[update]
        twin.zero_grad(set_to_none=True)
        if method == "learned":
            twin.set_pair(pair)
        rows = [
            pair_data(tokenizer, corpus, pair, config, None)[row]
            for row in chosen_rows(6, config, pair, 0)
        ]
        plain = [
            encode_plain(tokenizer, TEXTS, 256)[row] for row in chosen_rows(5, config, "kl", update)
        ]
        loss, kl = (
            label_loss(twin, collate(tokenizer, rows)),
            kl_of(Teacher(twin), twin, collate(tokenizer, plain)),
        )
        losses.append((loss.item(), kl.item()))
        (loss + 3.0 * kl).backward()
        return {name: p.grad for name, p in twin.named_parameters() if p.grad is not None}

    expected, losses = [], []
    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    log = finetune(tuned, tokenizer, corpus, PAIRS, config, kl_texts=TEXTS)
    assert log["loss"] == pytest.approx([loss for loss, _ in losses], rel=1e-4)
    assert log["kl"] == pytest.approx([kl for _, kl in losses], rel=1e-4) and min(log["kl"]) > 1e-3
    for got, wanted in zip(seen, expected, strict=True):
        assert got.keys() == wanted.keys() and len(got) > 0
        assert all(torch.allclose(got[name], wanted[name], rtol=1e-3, atol=1e-5) for name in got)


def test_a_large_weight_holds_the_model_to_the_base(bloom, tokenizer, corpus):
    ends = {}
    for weight in (1e-6, 100.0):
        model = baselines.full(copy.deepcopy(bloom))
        ends[weight] = finetune(
            model,
            tokenizer,
            corpus,
            PAIRS,
            quick(updates=12, kl_weight=weight, learning_rate=0.003, batch_size=5),
            kl_texts=TEXTS,
        )
        with torch.no_grad():
            ends[weight]["end"] = kl_divergence(
                bloom(**batch_of(tokenizer)).logits,
                model(**batch_of(tokenizer)).logits,
                batch_of(tokenizer)["attention_mask"],
            ).item()
    free, held = ends.values()
    assert held["end"] < 0.2 * free["end"] and held["kl"][-1] < 0.2 * free["kl"][-1]
    assert (
        free["kl"][0] == pytest.approx(0, abs=1e-6)
        and len(held["kl"]) == 12
        and held["loss"][0] == pytest.approx(free["loss"][0])
    )


@pytest.mark.parametrize("method", ["full", "lora", "learned"])
@pytest.mark.parametrize("same_session", [False, True])
def test_killed_and_resumed_is_uninterrupted(
    bloom, tokenizer, corpus, tmp_path, method, same_session
):
    """In the same session the full model's weights have moved on: the teacher comes from the
    checkpoint, not from them."""
    config = quick(updates=6, save_every=2, kl_weight=0.5)
    model = make(method, copy.deepcopy(bloom))
    log, expected = finetune(model, tokenizer, corpus, PAIRS, config, kl_texts=TEXTS), state(model)

    def die(update):
        if update == 5:
            raise Killed

    killed = make(method, copy.deepcopy(bloom))
    with pytest.raises(Killed):
        finetune(
            killed,
            tokenizer,
            corpus,
            PAIRS,
            config,
            output_dir=tmp_path,
            callback=die,
            kl_texts=TEXTS,
        )
    torch.manual_seed(123)
    again, updates = killed if same_session else make(method, copy.deepcopy(bloom)), []
    assert (
        finetune(
            again,
            tokenizer,
            corpus,
            PAIRS,
            config,
            output_dir=tmp_path,
            callback=updates.append,
            kl_texts=TEXTS,
        )
        == log
    )
    assert same(expected, state(again)) == [] and updates == [5, 6]
    with pytest.raises(ValueError, match="belongs to a run with other"):
        finetune(again, tokenizer, corpus, PAIRS, config, output_dir=tmp_path, kl_texts=TEXTS[1:])


def test_without_weight_the_texts_change_nothing(bloom, tokenizer, corpus):
    logs, ends = [], []
    for texts in (None, TEXTS):
        model = make("learned", copy.deepcopy(bloom))
        logs.append(finetune(model, tokenizer, corpus, PAIRS, quick(), kl_texts=texts))
        ends.append(state(model))
    assert logs[0] == logs[1] and "kl" not in logs[0] and same(*ends) == []


@pytest.mark.parametrize(
    "texts, message",
    [
        (None, "needs kl_texts="),
        ("the dog", "needs kl_texts="),
        ([], "no sentence"),
        (["", ""], "no sentence"),
    ],
)
def test_missing_texts_are_refused(bloom, tokenizer, corpus, texts, message):
    before = state(bloom)
    with pytest.raises(ValueError, match=message):
        finetune(bloom, tokenizer, corpus, PAIRS, quick(kl_weight=1.0), kl_texts=texts)
    assert same(before, state(bloom)) == []


@pytest.mark.parametrize("weight", [-1.0, float("nan")])
def test_a_negative_weight_is_refused(bloom, tokenizer, corpus, weight):
    with pytest.raises(ValueError, match="finetune.kl_weight = .* must be at least 0"):
        finetune(bloom, tokenizer, corpus, PAIRS, quick(kl_weight=weight), kl_texts=TEXTS)
    with pytest.raises(ValueError, match="finetune.kl_weight = .* must be at least 0"):
        LanderConfig.from_profile("tiny-bloom", **{"finetune.kl_weight": weight})


def test_texts_are_cut_and_empty_ones_left_out(tokenizer):
    examples = encode_plain(tokenizer, ["abcdef", "", "xy"], 4)
    assert [tokenizer.decode(example["input_ids"]) for example in examples] == ["abcd", "xy"]
