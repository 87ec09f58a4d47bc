"""The module's hot paths against their floors and against what one would use instead: `python
tests/bench/speed.py [bloom|llama]`.

A model of 12 blocks with 512 units and random weights; 8 sentences of 64 tokens a batch. Medians of
interleaved repeats in one run, so that only the ratios count. Memory is the process's peak over
what the frozen model takes, each method in a process of its own.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import subprocess
import sys
import time

import torch
import torch.nn.functional as F
from process import peak_over, status
from torch import nn
from transformers import AutoModelForCausalLM, BloomConfig, LlamaConfig

from lander_lite import (
    LanderTuningConfig,
    NeuronSets,
    feed_forwards,
    fingerprint,
    get_lander_model,
    load_model,
)
from lander_lite.awareness import mean_scores
from lander_lite.hooks import sites as sites_of
from lander_lite.reproduction import baselines
from lander_lite.training.loop import label_loss

SHAPES = {
    "bloom": lambda: BloomConfig(vocab_size=8000, hidden_size=512, n_layer=12, n_head=8),
    "llama": lambda: LlamaConfig(
        vocab_size=8000,
        hidden_size=512,
        intermediate_size=1408,
        num_hidden_layers=12,
        num_attention_heads=8,
        num_key_value_heads=8,
        max_position_embeddings=512,
    ),
}
PLACES = {
    "as in the paper": [1, 2, 8, 9],
    "last": [8, 9, 10, 11],
}  # where its 3, 4, 21, 22 of 30 lie; no graph below the lowest
EPSILON, LANGUAGES = 0.9, ["en", "de", "it", "fr", "ar", "zh"]
BATCH, LENGTH, PROMPT = 8, 64, 32


def build(kind: str) -> nn.Module:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(SHAPES[kind]()).eval()


def examples(n: int = BATCH) -> list[dict]:
    """Token ids; the second half of each is the target."""
    ids = torch.randint(4, 8000, (n, LENGTH), generator=torch.Generator().manual_seed(0)).tolist()
    return [{"input_ids": row, "labels": [-100] * PROMPT + row[PROMPT:]} for row in ids]


def batch() -> dict:
    rows = examples()
    found = {key: torch.tensor([row[key] for row in rows]) for key in rows[0]}
    return found | {"attention_mask": torch.ones_like(found["input_ids"])}


def sets(model: nn.Module, layers: list[int]) -> NeuronSets:
    d_ff = feed_forwards(model)[0].d_ff
    order = {i: torch.randperm(d_ff, generator=torch.Generator().manual_seed(i)) for i in layers}
    cut = int(EPSILON * d_ff)
    parts = {i: order[i][cut:].tensor_split(len(LANGUAGES)) for i in layers}
    return NeuronSets(
        layers,
        LANGUAGES,
        {i: order[i][:cut] for i in layers},
        {x: {i: parts[i][k] for i in layers} for k, x in enumerate(LANGUAGES)},
        d_ff,
        fingerprint(model),
    )


class Cloned(nn.Module):
    """A linear layer whose trained rows (or columns) are written into a clone of the whole matrix
    in each forward pass."""

    def __init__(self, linear: nn.Linear, index: torch.Tensor, columns: bool):
        super().__init__()
        self.linear, self.index, self.columns = linear.requires_grad_(False), index, columns
        self.tuned = nn.Parameter(
            (linear.weight[:, index] if columns else linear.weight[index]).detach().clone()
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = self.linear.weight.clone()
        if self.columns:
            weight[:, self.index] = self.tuned
        else:
            weight[self.index] = self.tuned
        return F.linear(x, weight, self.linear.bias)


def cloned(model: nn.Module, layers: list[int]) -> nn.Module:
    """The same neurons, trained in the way of the sparse subnetworks' code."""
    chosen, views = sets(model, layers).trainable("en-de"), feed_forwards(model)
    model.requires_grad_(False)
    for i in layers:
        view = views[i]
        names = {id(child): name for name, child in view.module.named_children()}
        for linear, columns in ((view.up, False), (view.gate, False), (view.down, True)):
            if linear is not None:
                setattr(view.module, names[id(linear)], Cloned(linear, chosen[i], columns))
    return model


def selective(routing: str):
    return lambda model, layers: get_lander_model(
        model, LanderTuningConfig(sets(model, layers), routing)
    ).set_pair("en-de")


METHODS = {
    "full": lambda model, layers: baselines.full(model),
    "lora": lambda model, layers: baselines.lora(model),
    "cloned": cloned,
    "selective": selective("none"),
    "learned": selective("learned"),
}


def stepper(model: nn.Module, data: dict | None = None):
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad])
    data, _ = data or batch(), model.train()

    def step():
        label_loss(model, data).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def medians(actions: dict, repeats: int) -> dict[str, float]:
    """Seconds of each action, interleaved."""
    times: dict[str, list[float]] = {name: [] for name in actions}
    for repeat in range(repeats + 2):
        for name, action in actions.items():
            start = time.perf_counter()
            action()
            if repeat >= 2:  # the first ones warm up
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def scoring(kind: str, repeats: int) -> list[tuple]:
    model, (_, tokenizer), data = build(kind), load_model("tiny-bloom"), batch()
    chosen = sites_of(model, "neurons")
    rows = [{"input_ids": row["input_ids"], "labels": row["input_ids"]} for row in examples()]
    trained, frozen = copy.deepcopy(model), copy.deepcopy(model).requires_grad_(False)
    data["labels"] = data["input_ids"]

    def score():
        mean_scores(model, tokenizer, chosen, rows, batch_size=BATCH)

    def activations():
        embedded = frozen.get_input_embeddings()(data["input_ids"]).requires_grad_(True)
        frozen(
            inputs_embeds=embedded,
            attention_mask=data["attention_mask"],
            labels=data["labels"],
            use_cache=False,
        ).loss.backward()

    def everything():
        trained(**data, use_cache=False).loss.backward()
        trained.zero_grad(set_to_none=True)

    found = medians({"score": score, "activations": activations, "everything": everything}, repeats)
    seconds = {}
    for n in (16, 160):
        many = [{"input_ids": row["input_ids"], "labels": row["input_ids"]} for row in examples(n)]
        start = time.perf_counter()
        mean_scores(model, tokenizer, chosen, many, batch_size=BATCH)
        seconds[n] = (time.perf_counter() - start) / n
    return [
        (
            "TE scoring of all layers / backward through activations",
            found["score"] / found["activations"],
            1.10,
        ),
        ("TE scoring of all layers / full backward", found["score"] / found["everything"], 0.72),
        ("scoring per token, corpus 10 times as large", seconds[160] / seconds[16], 1.05),
    ]


def floor(model: nn.Module, lowest: int):
    """Forward, and backward through the activations down to the feed-forward network of the lowest
    selected block: no weight gradient."""
    data = batch()
    model.train().requires_grad_(False)
    feed_forwards(model)[lowest].down.register_forward_pre_hook(
        lambda module, args: args[0].detach().requires_grad_(True)
    )
    return lambda: label_loss(model, data).backward()


def steps(kind: str, repeats: int) -> list[tuple]:
    base, rows = build(kind), []
    for place, layers in PLACES.items():
        actions = {
            name: stepper(make(copy.deepcopy(base), layers)) for name, make in METHODS.items()
        }
        found = medians(actions | {"floor": floor(copy.deepcopy(base), layers[0])}, repeats)
        rows += [
            (f"{name}, blocks {place}", ratio, most)
            for name, ratio, most in (
                ("selective step / full", found["selective"] / found["full"], 0.40),
                ("   its floor / full", found["floor"] / found["full"], 1.0),
                ("selective step / LoRA r16", found["selective"] / found["lora"], 0.80),
                ("selective step / slices in a clone", found["selective"] / found["cloned"], 1.0),
                ("learned router / none", found["learned"] / found["selective"], 1.10),
            )
        ]
    return rows


def decoding(kind: str, repeats: int) -> list[tuple]:
    base, ids, layers = build(kind), batch()["input_ids"][:, :16], PLACES["as in the paper"]
    wrapped, again = (selective("none")(copy.deepcopy(base), layers) for _ in range(2))
    models = {"base": base, "wrapped": wrapped, "merged": again.merge_and_unload()}

    def decode(model):
        return lambda: model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=32,
            min_new_tokens=32,
            do_sample=False,
            pad_token_id=0,
        )

    found = medians({name: decode(model) for name, model in models.items()}, repeats)
    return [
        ("decoding, wrapped / base", found["wrapped"] / found["base"], 1.10),
        ("decoding, merged / base", found["merged"] / found["base"], 1.0),
    ]


def memory(kind: str) -> list[tuple]:
    def peak(name, place="last"):
        command = [sys.executable, __file__, kind, "--memory", name, place]
        return json.loads(
            subprocess.run(command, capture_output=True, text=True, check=True).stdout
        )

    peaks = {
        "full": peak("full"),
        "lora": peak("lora"),
        **{place: peak("selective", place) for place in PLACES},
    }
    print(
        "peak over the frozen model, MB:",
        ", ".join(f"{name} {value:.0f}" for name, value in peaks.items()),
    )
    return [
        (f"peak training memory / full, blocks {place}", peaks[place] / peaks["full"], 0.35)
        for place in PLACES
    ]


def peak_of(kind: str, method: str, place: str) -> float:
    """MB over the frozen model, after three steps in this process."""
    model = build(kind)
    with torch.no_grad():  # code and threads of a forward pass count as the model's
        model(**batch(), use_cache=False)
    before = status("VmRSS")
    step = stepper(METHODS[method](model, PLACES[place]))
    return peak_over(before, step, times=3) / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", nargs="?", choices=list(SHAPES), default="bloom")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.memory:
        return print(peak_of(args.kind, *args.memory))
    print(
        f"{args.kind}, 12 x 512, batch {BATCH} x {LENGTH}, {args.threads} threads, torch "
        f"{torch.__version__}"
    )
    for part in (scoring, steps, decoding):
        for name, ratio, most in part(args.kind, args.repeats):
            print(
                f"{name:60}{ratio:7.2f}   at most {most:.2f}   {'' if ratio <= most else 'MISSED'}",
                flush=True,
            )
    for name, ratio, most in memory(args.kind):
        print(f"{name:60}{ratio:7.2f}   at most {most:.2f}   {'' if ratio <= most else 'MISSED'}")


if __name__ == "__main__":
    main()
