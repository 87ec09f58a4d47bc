"""Time of one training step by method, and of TE scoring against plain passes: `python tests/bench/steps.py [profile] [--repeats N]`.

Medians of interleaved repeats in one run, so that only the ratios count. The floor of a selective step is one forward and one backward
through activations; everything above it is the tuned slices' own gradients and AdamW.
"""
from __future__ import annotations

import argparse
import copy
import statistics
import time

import torch

from lander_lite import LanderTuningConfig, baselines, categorize, get_lander_model, load_corpus, load_model, score_awareness
from lander_lite.config import LanderConfig
from lander_lite.corpus import collate, encode


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("profile", nargs="?", default="tiny-bloom")
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    config = LanderConfig.from_profile(args.profile)
    base, tokenizer = load_model(args.profile)
    corpus = load_corpus(config.corpus.valid)
    rows = corpus["translation"][:16]
    batch = collate(tokenizer, [encode(tokenizer, row["en"], row["de"], "en-de") for row in rows])
    layers = list(range(2, 2 + config.layers.k))
    scores = score_awareness(base, tokenizer, corpus, config.corpus.languages, layers, max_sentences=50, progress=False)
    sets = categorize(scores, config.categories.epsilon)
    models = {"full": baselines.full(copy.deepcopy(base)), "LoRA r16": baselines.lora(copy.deepcopy(base)),
              "selective (none)": get_lander_model(copy.deepcopy(base), LanderTuningConfig(sets, "none")).set_pair("en-de"),
              "selective (learned)": get_lander_model(copy.deepcopy(base), LanderTuningConfig(sets, "learned")).set_pair("en-de")}
    optimizers = {name: torch.optim.AdamW([p for p in model.parameters() if p.requires_grad]) for name, model in models.items()}
    frozen = copy.deepcopy(base).requires_grad_(False)

    def step(name: str) -> None:
        models[name](**batch).loss.backward()
        optimizers[name].step()
        optimizers[name].zero_grad(set_to_none=True)

    def activations_only() -> None:
        embedded = frozen.get_input_embeddings()(batch["input_ids"]).requires_grad_(True)
        frozen(inputs_embeds=embedded, attention_mask=batch["attention_mask"], labels=batch["labels"]).loss.backward()

    actions = {name: (lambda name=name: step(name)) for name in models} | {"floor: forward + activations' backward": activations_only}
    times: dict[str, list[float]] = {name: [] for name in actions}
    for repeat in range(args.repeats + 3):
        for name, action in actions.items():
            start = time.perf_counter()
            action()
            if repeat >= 3:                             # the first ones warm up
                times[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, value in medians.items():
        print(f"{name:40} {1000 * value:7.1f} ms   {value / medians['full']:.2f} x full")


if __name__ == "__main__":
    main()
