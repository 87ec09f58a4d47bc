"""The output head of a large vocabulary against its floor: `python tests/bench/head.py`.

A bfloat16 model of Gemma 3 270M's sizes with random weights: 18 blocks of 640 units, 262,144 words;
8 sentences of 64 tokens, half of them labels (scoring: all). A floor is the body's forward pass,
the head at the labels' positions, and backward through the activations down to the lowest block
that is needed: no weight's gradient, no optimiser. Medians of interleaved repeats in one run, so
that only the ratios count; memory is each process's peak over the frozen model.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

import torch
import torch.nn.functional as F
from process import peak_over, status
from speed import BATCH, LENGTH, PROMPT, medians, sets, stepper
from torch import nn
from transformers import AutoModelForCausalLM, Gemma3TextConfig

from lander_lite import LanderTuningConfig, feed_forwards, get_lander_model, load_model
from lander_lite.awareness import mean_scores
from lander_lite.hooks import sites

WORDS, LAYERS = 262_144, [1, 2, 12, 13]
MOST = 1.2


def build(dtype: torch.dtype) -> nn.Module:
    torch.manual_seed(0)
    config = Gemma3TextConfig(
        vocab_size=WORDS,
        hidden_size=640,
        intermediate_size=2048,
        num_hidden_layers=18,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=256,
    )
    return AutoModelForCausalLM.from_config(config, dtype=dtype).eval().requires_grad_(False)


def examples(prompt: int) -> list[dict]:
    """Token ids; those behind the prompt are labels."""
    ids = torch.randint(4, 8000, (BATCH, LENGTH), generator=torch.Generator().manual_seed(0))
    return [{"input_ids": row, "labels": [-100] * prompt + row[prompt:]} for row in ids.tolist()]


def floor(model: nn.Module, lowest: int, prompt: int):
    """Forward and backward as no one could do with less."""
    rows = examples(prompt)
    ids, labels = (torch.tensor([row[key] for row in rows]) for key in ("input_ids", "labels"))
    at = labels[:, 1:] != -100

    def start(module, args):
        return args[0].detach().requires_grad_(True)

    def once():
        with feed_forwards(model)[lowest].down.register_forward_pre_hook(start):
            hidden = model.base_model(ids, use_cache=False)[0][:, :-1][at]
        logits = F.linear(hidden, model.lm_head.weight)
        F.cross_entropy(logits.float(), labels[:, 1:][at]).backward()

    return once


def step(model: nn.Module):
    """One selective update of four layers' neurons."""
    settings = LanderTuningConfig(sets(model, LAYERS), "none")
    return stepper(get_lander_model(model, settings).set_pair("en-de"), batch_of(examples(PROMPT)))


def scoring(model: nn.Module):
    """TE scores of all layers, of one batch."""
    (_, tokenizer), rows, chosen = load_model("tiny-bloom"), examples(0), sites(model, "neurons")
    return lambda: mean_scores(model, tokenizer, chosen, rows, batch_size=BATCH)


def batch_of(rows: list[dict]) -> dict:
    found = {key: torch.tensor([row[key] for row in rows]) for key in rows[0]}
    return found | {"attention_mask": torch.ones_like(found["input_ids"])}


ACTIONS = {
    "selective step": step,
    "its floor": lambda model: floor(model, LAYERS[0], PROMPT),
    "TE scoring of all layers": scoring,
    "scoring's floor": lambda model: floor(model, 0, 0),
}


def peak_of(name: str, dtype: torch.dtype) -> float:
    """GB over the frozen model, of an action done twice in this process."""
    model = build(dtype)
    with torch.no_grad():  # code and threads of a forward pass count as the model's
        model(torch.zeros(1, 4, dtype=torch.long), use_cache=False)
    before, action = status("VmRSS"), ACTIONS[name](model)
    return peak_over(before, action, times=2) / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"])
    parser.add_argument("--memory", help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    dtype = getattr(torch, args.dtype)
    if args.memory:
        return print(peak_of(args.memory, dtype))
    actions = {name: make(build(dtype)) for name, make in ACTIONS.items()}
    seconds, peaks = medians(actions, args.repeats), {}
    for name in ACTIONS:
        command = [sys.executable, __file__, "--dtype", args.dtype, "--memory", name]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks[name] = json.loads(done.stdout.splitlines()[-1])
        print(f"{name:32}{seconds[name]:8.2f} s   peak {peaks[name]:5.2f} GB", flush=True)
    for name, least in (("selective step", "its floor"), (list(ACTIONS)[2], "scoring's floor")):
        ratio = seconds[name] / seconds[least]
        verdict = "" if ratio <= MOST else "MISSED"
        print(f"{f'{name} / floor':60}{ratio:7.2f}   at most {MOST:.2f}   {verdict}")


if __name__ == "__main__":
    main()
