"""When memory runs out, batches are computed in parts, with the same result."""

import copy

import pytest
import torch
from lander_helpers import make_sets, quick, state

from lander_lite.awareness import score_awareness
from lander_lite.hooks import read
from lander_lite.training.loop import finetune
from lander_lite.tuner.model import LanderTuningConfig, get_lander_model

PAIRS = ["en-de", "zh-en"]
pytestmark = pytest.mark.filterwarnings("ignore:out of memory")


def limited(function, most, calls, size):
    """`function` on a device that has room for `most` sentences."""

    def wrapped(*args, **keys):
        n = size(*args)
        calls.append(n)
        if n > most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return function(*args, **keys)

    return wrapped


def test_halves_of_halves_are_read_and_one_row_is_the_end(bloom, tokenizer):
    examples, calls = [{"input_ids": [5] * (9 - n)} for n in range(7)], []

    def rows(batch):
        return len(batch["input_ids"])

    few = limited(rows, 2, calls, rows)
    with pytest.warns(UserWarning, match="out of memory with 7 sentences"):
        found = list(read(bloom, tokenizer, examples, few, batch_size=8))
    assert found == [([0], 1), ([1, 2], 2), ([3, 4], 2), ([5, 6], 2)]
    assert calls == [7, 3, 1, 2, 4, 2, 2]
    with pytest.warns(UserWarning), pytest.raises(torch.OutOfMemoryError):
        list(read(bloom, tokenizer, examples[:2], limited(rows, 0, [], rows), batch_size=8))


def test_scores_are_the_same_in_parts(model, tokenizer, corpus, monkeypatch):
    whole = score_awareness(model, tokenizer, corpus, ["en", "de"], [1, 2], progress=False)
    calls, module = [], score_awareness.__globals__
    small = limited(
        module["sentence_losses"], 2, calls, lambda model, batch: len(batch["input_ids"])
    )
    monkeypatch.setitem(module, "sentence_losses", small)
    with pytest.warns(UserWarning, match="out of memory with 6 sentences"):
        parts = score_awareness(model, tokenizer, corpus, ["en", "de"], [1, 2], progress=False)
    assert max(calls) == 6 and calls.count(1) + calls.count(2) >= 6
    torch.testing.assert_close(parts.values, whole.values, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("accumulation", [1, 2])
def test_training_takes_the_same_way_in_parts(bloom, tokenizer, corpus, monkeypatch, accumulation):
    def run():
        lander = get_lander_model(
            copy.deepcopy(bloom), LanderTuningConfig(make_sets(bloom), "none")
        ).set_pair("en-de")
        log = finetune(
            lander,
            tokenizer,
            corpus,
            PAIRS,
            quick(updates=3, batch_size=4, accumulation=accumulation, weight_decay=0.0),
        )
        return log["loss"], state(lander)

    losses, weights = run()
    calls, module = [], finetune.__globals__
    monkeypatch.setitem(
        module,
        "label_loss",
        limited(module["label_loss"], 1, calls, lambda model, batch: len(batch["input_ids"])),
    )
    with pytest.warns(UserWarning, match="out of memory: micro-batches of 4 go on in 4 parts"):
        parted, same = run()
    assert calls[:2] == [4, 2] and set(calls[2:]) == {1} and len(calls) == 2 + 3 * 4 * accumulation
    assert parted == pytest.approx(losses, rel=1e-4)
    moved = [name for name in weights if not torch.allclose(weights[name], same[name], atol=2e-4)]
    assert not moved
    monkeypatch.setitem(
        module,
        "label_loss",
        limited(module["label_loss"], 0, [], lambda model, batch: len(batch["input_ids"])),
    )
    with pytest.warns(UserWarning), pytest.raises(torch.OutOfMemoryError):
        run()
