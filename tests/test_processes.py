"""Two processes on the CPU, as accelerate launch starts them: the same scores, the same training,
checkpoints that change hands."""

import json
import os
import subprocess
import sys

import pytest
import torch
from conftest import SENTENCES, SIZES, random_model
from safetensors.torch import load_file
from transformers import BloomConfig

from lander_lite.cli import main
from lander_lite.config import PACKAGE, LanderConfig


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tokenizer):
    """A config of a random model and six sentences; two languages' neurons, no dropout."""
    folder = tmp_path_factory.mktemp("shared")
    random_model(BloomConfig(**SIZES)).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    rows = [dict(zip(SENTENCES, row)) for row in zip(*SENTENCES.values())]
    (folder / "corpus.jsonl").write_text(
        "".join(json.dumps({"translation": row}) + "\n" for row in rows)
    )
    config = LanderConfig(profile="tiny-bloom")
    for key, value in {
        "model.name_or_path": str(folder / "model"),
        "corpus.train": str(folder / "corpus.jsonl"),
        "corpus.test": str(folder / "corpus.jsonl"),
        "corpus.languages": ["en", "de", "zh"],
        "corpus.pairs": ["en-de", "zh-en"],
        "layers.k": 2,
        "categories.epsilon": 0.8,
        "finetune.updates": 6,
        "finetune.batch_size": 4,
        "finetune.save_every": 3,
        "finetune.keep": 9,
        "finetune.learning_rate": 0.01,
        "finetune.progress": False,
    }.items():
        config.set(key, value)
    config.to_yaml(folder / "run.yaml")
    return folder


def launch(folder, step, out, processes, how="ddp", ok=True):
    """Run a step of the command line here, or in two processes as launch/<how>.yaml says (it has
    GPUs in mind; there are none).
    Returns what it wrote to standard error."""
    arguments = [step, "--config", str(folder / "run.yaml"), "--output-dir", str(out)]
    if processes == 1:
        assert main(arguments) == 0
        return ""
    command = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--config_file",
        str(PACKAGE / "scale" / "launch" / f"{how}.yaml"),
        "--main_process_port",
        "0",
        "-m",
        "lander_lite",
        *arguments,
    ]
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "ACCELERATE_USE_CPU": "true",
    }
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=PACKAGE.parent, timeout=300
    )
    assert (done.returncode == 0) == ok, done.stderr[-3000:]
    return done.stderr


@pytest.fixture(scope="module")
def both(folder):
    """{processes: run folder} after all four steps."""
    outs = {}
    for processes in (1, 2):
        outs[processes] = folder / f"run{processes}"
        for step in ("detect", "score", "categorize", "finetune"):
            launch(folder, step, outs[processes], processes)
    return outs


def close(first, second, rtol):
    first, second = load_file(first), load_file(second)
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        torch.testing.assert_close(
            second[name],
            tensor,
            rtol=rtol,
            atol=rtol * float(tensor.double().abs().mean() + 1e-12),
            msg=name,
        )


def test_scores_of_two_processes_are_those_of_one(both):
    one, two = (json.loads((out / "layers.json").read_text()) for out in both.values())
    assert one["selected"] == two["selected"]
    torch.testing.assert_close(
        torch.tensor(one["delta"]), torch.tensor(two["delta"]), rtol=1e-5, atol=1e-7
    )
    close(both[1] / "scores.safetensors", both[2] / "scores.safetensors", 1e-5)


def test_training_takes_the_same_way_at_equal_global_batch(both):
    one, two = (json.loads((out / "training.json").read_text())["loss"] for out in both.values())
    assert len(one) == 6 and one == pytest.approx(two, rel=1e-4) and one[-2] < one[0]
    close(
        both[1] / "lander" / "adapter_model.safetensors",
        both[2] / "lander" / "adapter_model.safetensors",
        1e-3,
    )


@pytest.mark.parametrize("first, then", [(1, 2), (2, 1)])
def test_a_run_goes_on_with_another_number_of_processes(both, folder, tmp_path, first, then):
    """Cut after update 3 by removing what came later."""
    import shutil

    out = shutil.copytree(both[first], tmp_path / "run")
    shutil.rmtree(out / "lander")
    (last,) = out.glob("checkpoints/*/checkpoint-6")
    shutil.rmtree(last)
    launch(folder, "finetune", out, then)
    loss = json.loads((out / "training.json").read_text())["loss"]
    assert loss == pytest.approx(
        json.loads((both[1] / "training.json").read_text())["loss"], rel=1e-4
    )
    close(
        both[1] / "lander" / "adapter_model.safetensors",
        out / "lander" / "adapter_model.safetensors",
        1e-3,
    )


def test_a_step_for_one_process_says_so(folder, tmp_path):
    found = launch(folder, "evaluate", tmp_path, 2, ok=False)
    assert (
        "evaluate runs in one process: start it without accelerate launch; these may have "
        "several: detect, score" in found
    )


def test_fully_sharded_training_takes_the_same_way(both, folder, tmp_path):
    """FSDP2: every process holds a part of each block; its checkpoint is whole, and one process
    goes on with it."""
    import shutil

    out = shutil.copytree(
        both[1],
        tmp_path / "run",
        ignore=shutil.ignore_patterns("lander", "checkpoints", "training.json"),
    )
    launch(folder, "finetune", out, 2, how="fsdp2")
    one, sharded = (
        json.loads((run / "training.json").read_text())["loss"] for run in (both[1], out)
    )
    assert sharded == pytest.approx(one, rel=1e-4)
    close(
        both[1] / "lander" / "adapter_model.safetensors",
        out / "lander" / "adapter_model.safetensors",
        1e-3,
    )
    (last,) = out.glob("checkpoints/*/checkpoint-6")
    shutil.rmtree(last)
    shutil.rmtree(out / "lander")
    launch(folder, "finetune", out, 1)
    close(
        both[1] / "lander" / "adapter_model.safetensors",
        out / "lander" / "adapter_model.safetensors",
        1e-3,
    )
