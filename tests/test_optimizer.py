"""Training in less memory: bfloat16 slices that move, states of 8 bits that a checkpoint gives
back."""

import copy
import shutil
import sys

import pytest
import torch
from conftest import random_model
from lander_helpers import make_sets, quick, same, state
from safetensors.torch import load_file
from transformers import LlamaConfig

from lander_lite.config import data_dir
from lander_lite.corpus import load_corpus
from lander_lite.model import load_model
from lander_lite.training.loop import finetune
from lander_lite.training.optimizer import new_optimizer
from lander_lite.tuner.model import LanderTuningConfig, get_lander_model

MODULE = sys.modules[new_optimizer.__module__]
PAIRS = ["en-de", "de-en"]
SIZES = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 4, "vocab_size": 300}


@pytest.fixture
def torchao():
    return pytest.importorskip("torchao")


def sliced(model, dtype="bfloat16"):
    return get_lander_model(model, LanderTuningConfig(make_sets(model), "none", dtype=dtype))


def trained(model):
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def test_bfloat16_slices_learn_as_float32_ones_do(torchao):
    base, tokenizer = load_model("tiny-llama", dtype="bfloat16")
    corpus = load_corpus(data_dir() / "tiny_babel" / "train.jsonl").select(range(100))

    def run(dtype, optimizer):
        model = sliced(copy.deepcopy(base), dtype)
        before = {name: p.detach().clone() for name, p in trained(model).items()}
        config = quick(
            updates=30, batch_size=4, learning_rate=1e-4, weight_decay=0.0, optimizer=optimizer
        )
        loss = finetune(model, tokenizer, corpus, PAIRS, config)["loss"]
        moved = sum((p != before[name]).sum().item() for name, p in trained(model).items())
        total = sum(p.numel() for p in before.values())
        return sum(loss[-10:]) / 10, moved / total

    single, _ = run("float32", "adamw")
    lost, few = run("bfloat16", "adamw")
    small, many = run("bfloat16", "adamw-8bit")
    wide, all_ = run("float32", "adamw-8bit")
    assert 2 * few < many < all_
    assert abs(small - single) < 0.3 * (lost - single)
    assert abs(wide - single) < 0.3 * (lost - single)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_a_checkpoint_gives_states_of_8_bits_back(torchao, tokenizer, corpus, tmp_path, dtype):
    base = random_model(LlamaConfig(**SIZES)).bfloat16()

    def run(folder, updates=4):
        model = sliced(copy.deepcopy(base), dtype)
        config = quick(updates=updates, save_every=2, optimizer="adamw-8bit")
        return finetune(model, tokenizer, corpus, PAIRS, config, output_dir=folder)["loss"], model

    losses, whole = run(tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "killed")
    shutil.rmtree(tmp_path / "killed" / "checkpoint-4")
    again, resumed = run(tmp_path / "killed")
    assert again == losses and same(state(whole), state(resumed)) == []
    first, second = (
        load_file(tmp_path / name / "checkpoint-4" / "optimizer.safetensors")
        for name in ("whole", "killed")
    )
    assert same(first, second) == []
    kinds = {key.rpartition(".")[2]: value.dtype for key, value in first.items()}
    assert kinds["exp_avg:codes"] == kinds["exp_avg_sq:codes"] == torch.uint8
    assert kinds["exp_avg"] == getattr(torch, dtype)  # the small ones


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_its_steps_are_adamws(torchao, dtype):
    """To the digits that 8 bits and the rounding leave."""
    torch.manual_seed(0)
    weights = {name: torch.nn.Parameter(torch.ones(64, 64)) for name in ("adamw", "adamw-8bit")}
    weights["adamw-8bit"].data = weights["adamw-8bit"].data.to(dtype)
    steps = [new_optimizer([p], quick(optimizer=name)) for name, p in weights.items()]
    for _ in range(20):
        gradient = torch.randn(64, 64) + 1
        for p, optimizer in zip(weights.values(), steps):
            p.grad = gradient.to(p.dtype)
            optimizer.param_groups[0]["lr"] = 1e-3
            optimizer.step()
    plain, small = ((1 - p.detach().float()).mean().item() for p in weights.values())
    assert plain > 0.01 and small == pytest.approx(plain, rel=0.05)


@pytest.mark.parametrize("shape", [(1024, 16), (700, 256), (256, 80), (16384,)])
def test_rows_after_rows_give_what_all_at_once_gives(torchao, monkeypatch, shape):
    def run(size):
        monkeypatch.setattr(MODULE, "PART", size)
        torch.manual_seed(0)
        p = torch.nn.Parameter(torch.ones(shape))
        optimizer = new_optimizer([p], quick(optimizer="adamw-8bit"))
        for _ in range(3):
            p.grad = torch.randn(shape)
            optimizer.step()
        moments = optimizer.state[p]["exp_avg"], optimizer.state[p]["exp_avg_sq"]
        assert all(moment.codes.any() for moment in moments)
        return p.detach(), *(moment.dequantize() for moment in moments), len(MODULE.parts(p))

    *whole, one = run(2**22)
    *cut, many = run(4096)
    assert one == 1 and many == max(1, -(-shape[0] // (4096 if len(shape) == 1 else 256)))
    assert all(map(torch.equal, whole, cut))


def test_without_torchao_one_line_names_the_extra(bloom, tokenizer, corpus, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchao", None)
    monkeypatch.setitem(sys.modules, "torchao.optim", None)
    before = state(bloom)
    with pytest.raises(ValueError, match=r'needs torchao: pip install -e "\.\[low-memory\]"'):
        finetune(bloom, tokenizer, corpus, PAIRS, quick(optimizer="adamw-8bit"))
    assert same(before, state(bloom)) == []


def test_several_processes_are_refused(bloom, tokenizer, corpus, monkeypatch):
    monkeypatch.setattr(MODULE, "world", lambda: 2)
    with pytest.raises(ValueError, match="adamw-8bit works in one process"):
        finetune(bloom, tokenizer, corpus, PAIRS, quick(optimizer="adamw-8bit"))
