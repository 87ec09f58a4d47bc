"""Gate values per token, and the constant gate."""

import pytest
import torch

from lander_lite.blocks import feed_forwards, fingerprint
from lander_lite.neurons import NeuronSets
from lander_lite.probes.gates import constant_gate, gate_values
from lander_lite.tuner.model import LanderTuningConfig, get_lander_model

EXAMPLES = [("the dog sleeps", "der Hund schläft"), ("he reads", "er liest")]


@pytest.fixture
def lander(model):
    d_ff = feed_forwards(model)[0].d_ff
    specific = {"en": {1: [0, 3], 2: [5]}, "de": {1: [4], 2: [6, 7]}}
    sets = NeuronSets(
        [1, 2],
        ["en", "de"],
        {1: range(10, d_ff), 2: range(12, d_ff)},
        specific,
        d_ff,
        fingerprint(model),
    )
    return get_lander_model(model, LanderTuningConfig(sets, "learned"))


def test_untrained_gates_are_the_shares(lander, tokenizer):
    gates, ids, is_target = gate_values(lander, tokenizer, EXAMPLES, "en-de")
    assert gates.shape == (2, len(ids)) and len(ids) == len(is_target)
    shares = torch.tensor([ffn.router.share for ffn in lander.partitioned.values()])
    assert torch.allclose(gates, shares[:, None].expand_as(gates))
    target = [
        i
        for _, text in EXAMPLES
        for i in tokenizer(" " + text, add_special_tokens=False)["input_ids"]
    ]
    assert [i for i in ids[is_target].tolist() if i != tokenizer.eos_token_id] == target


def test_constant_gate_holds_and_is_put_back(lander, tokenizer):
    with torch.no_grad():
        for ffn in lander.partitioned.values():
            ffn.router.weight.normal_()
    before, *_ = gate_values(lander, tokenizer, EXAMPLES, "en-de")
    assert before.std(dim=1).min() > 0.01
    with constant_gate(lander, [0.3, 0.8]):
        inside, *_ = gate_values(lander, tokenizer, EXAMPLES, "en-de")
    assert torch.allclose(inside, torch.tensor([[0.3], [0.8]]).expand_as(inside), atol=1e-5)
    assert torch.equal(gate_values(lander, tokenizer, EXAMPLES, "en-de")[0], before)
    with pytest.raises(ValueError, match="1 values for 2 layers"), constant_gate(lander, [0.5]):
        pass


def test_constant_gate_needs_a_gate(lander):
    lander.active_peft_config.routing = "none"
    with pytest.raises(ValueError, match="no gate to hold"), constant_gate(lander, [0.5, 0.5]):
        pass
