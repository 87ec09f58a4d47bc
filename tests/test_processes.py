"""Two processes on the CPU, as accelerate launch starts them: the same scores, the same training,
checkpoints that change hands. Two processes that want one folder. Processes that are killed."""

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor

import psutil
import pytest
import torch
from conftest import SENTENCES, SIZES, random_model
from safetensors.torch import load_file
from transformers import BloomConfig

from lander_lite.cli import main
from lander_lite.config import PACKAGE, LanderConfig
from lander_lite.folders import LOCK, in_use
from lander_lite.reproduction import workers

# LANDER_LITE_KILLS=100 takes half an hour: kills of all commands, in the shares given here
KILLS = int(os.environ.get("LANDER_LITE_KILLS", 0))
SHARES = {"finetune": 0.3, "run": 0.2, "study": 0.2, "prune": 0.15}
STUDY = ["--fast", "--methods", "lander-none", "--jobs", "2"]
VARIES = ("seconds", "training_seconds", "before_seconds", "after_seconds", "peak_memory_mb")


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
        "corpus.valid": str(folder / "corpus.jsonl"),
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


# ---------------------------------------------------------------- two that want one folder
def test_a_folder_in_use_is_refused_with_the_process_that_has_it(folder, tmp_path, capsys):
    arguments = ["--config", str(folder / "run.yaml"), "--output-dir", str(tmp_path / "run")]
    with in_use(tmp_path / "run"):
        for step in ("detect", "prune", "evaluate", "study"):
            assert main([step, *arguments]) == 2
            said = capsys.readouterr().err
            holder = f"run is in use by process {os.getpid()} (on "
            assert holder in said and "another --output-dir" in said and said.count("\n") == 1
        text = ["--pairs", "en-de", "--text", "he reads"]
        assert main(["translate", *arguments, *text]) == 0  # it only reads
    assert not (tmp_path / "run").exists()  # nothing was written
    assert main(["detect", *arguments]) == 0
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"config.yaml", "layers.json"}


def test_what_a_killed_process_leaves_goes_when_the_folder_is_used_again(tmp_path):
    half = f".state.json.{'0123456789abcdef' * 2}.tmp"
    for name in (half, f"checkpoints/a/checkpoint-2/{half}", ".lander.new/half", ".mine.tmp"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / LOCK).write_text("1\nelsewhere\n")
    with in_use(tmp_path):
        left = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {LOCK, ".mine.tmp"} and not (tmp_path / LOCK).exists()


# ---------------------------------------------------------------- killed
def test_a_process_ends_with_the_one_that_started_it():
    alive, held = multiprocessing.Pipe(duplex=False)
    spawn = multiprocessing.get_context("spawn")
    process = spawn.Process(target=workers._end_with_parent, args=(alive,))
    process.start()
    assert process.join(0.2) is None and process.is_alive()
    held.close()
    process.join(60)
    assert process.exitcode == 1


def test_a_process_of_a_study_that_is_killed_is_one_line(monkeypatch):
    monkeypatch.setattr(workers, "_work", os._exit)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        with pytest.raises(ChildProcessError, match="out of memory, or killed; finished runs are"):
            list(workers._perform_all(pool, [(9,)]))


def has(out, pid):
    """Whether a process has locked the folder."""
    try:
        return (out / LOCK).read_text().startswith(f"{pid}\n")
    except OSError:
        return False


def send(command, out, sent, delay):
    """Start a command, send it a signal some seconds after it has the folder: it ends, with one
    line at most, and so do all that it started."""
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=PACKAGE.parent
    )
    while process.poll() is None and not has(out, process.pid):
        time.sleep(0.01)
    time.sleep(delay)
    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        family = []
    process.send_signal(sent)
    said = process.communicate(timeout=60)[1].split("\n")
    codes = [0, -signal.SIGKILL, 143]
    if not (out / LOCK).exists():  # all was done, and Python had taken its handlers down
        codes.append(-signal.SIGTERM)
    assert process.returncode in codes, said
    assert not [line for line in said if "Traceback" in line], said
    if process.returncode == 143:
        assert said[-2].startswith("lander-lite: stopped: ") and "goes on" in said[-2]
    assert not psutil.wait_procs(family, timeout=10)[1]
    return process.returncode


def without_seconds(content):
    return {name: value for name, value in content.items() if name not in VARIES}


def contents(out):
    """{file: what must be the same in every run}."""
    found = {}
    for path in out.rglob("*"):
        if path.suffix == ".json":
            text = path.read_text(encoding="utf-8")
            found[path.relative_to(out)] = json.loads(text, object_hook=without_seconds)
        elif path.is_file():
            found[path.relative_to(out)] = path.read_bytes()
    return found


@pytest.mark.parametrize("step", SHARES if KILLS else ["finetune"])
def test_a_command_that_is_killed_again_and_again_gives_the_same_files(
    both, folder, tmp_path, step
):
    import shutil

    whole, out = tmp_path / "whole", tmp_path / "out"

    def begin(path):
        shutil.rmtree(path, ignore_errors=True)
        if step == "finetune":
            ignored = shutil.ignore_patterns("lander", "checkpoints", "training.json")
            shutil.copytree(both[1], path, ignore=ignored)

    begin(whole)
    begin(out)
    arguments = [step, "--config", str(folder / "run.yaml"), *(STUDY if step == "study" else [])]
    arguments += ["--set", "finetune.save_every=1", "--set", "finetune.updates=20", "--output-dir"]
    command = [sys.executable, "-m", "lander_lite", *arguments]
    start = time.time()
    if step == "study":
        subprocess.run([*command, str(whole)], check=True, cwd=PACKAGE.parent)
    else:
        assert main([*arguments, str(whole)]) == 0
    seconds, codes, wanted = time.time() - start, [], round(KILLS * SHARES[step]) or 2
    while len(codes) < wanted:
        sent = (signal.SIGKILL, signal.SIGTERM)[len(codes) % 2]
        code = send([*command, str(out)], out, sent, random.uniform(0, seconds))
        if code:
            codes.append(code)
        else:  # it was done before
            assert contents(out) == contents(whole)
            begin(out)
    print(f"{step}: {wanted} kills, exit codes {codes}")
    subprocess.run([*command, str(out)], check=True, cwd=PACKAGE.parent)
    assert contents(out) == contents(whole)


SAVE = """
import itertools, sys
from lander_lite.config import LanderConfig
from lander_lite.folders import in_use
from lander_lite.pipeline import Run
out = sys.argv[1]
with in_use(out):
    lander, _ = Run(LanderConfig.from_yaml(f"{out}/config.yaml"), out).tuned
    for number in itertools.count():
        for name, p in lander.named_parameters():
            if ".lander_" in name:
                p.data.fill_(number)
        lander.save_pretrained(f"{out}/lander")
"""


@pytest.mark.parametrize("kills", [round(KILLS * 0.15) or 1])
def test_a_save_that_is_killed_leaves_all_of_one_save(both, tmp_path, kills):
    import shutil

    out = shutil.copytree(both[1], tmp_path / "run")
    names = {path.name for path in (out / "lander").iterdir()}
    for _ in range(kills):
        send([sys.executable, "-c", SAVE, str(out)], out, signal.SIGKILL, random.uniform(0.5, 2))
        with in_use(out):
            assert {path.name for path in (out / "lander").iterdir()} == names
        tensors = load_file(out / "lander" / "adapter_model.safetensors").values()
        values = torch.cat([tensor.flatten().float() for tensor in tensors]).unique()
        assert len(values) == 1, values
