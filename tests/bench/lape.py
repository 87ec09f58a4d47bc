"""Time of LAPE's counting against plain forward passes of the same batches: `python
tests/bench/lape.py [profile] [--repeats N]`.

Medians of interleaved repeats in one run, so that only the ratios count. Counting needs no logits,
so it leaves the output head out; the second ratio is to a pass that leaves it out too, and shows
what counting itself costs. Tokenising is left out of all three.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from lander_lite import load_corpus, load_model
from lander_lite.config import LanderConfig
from lander_lite.hooks import n_tokens
from lander_lite.neighbours import lape as counting
from lander_lite.neighbours.lape import active_tokens
from lander_lite.prompts import batches, collate, prompt_ids, texts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("profile", nargs="?", default="tiny-bloom")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--sentences", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--random-weights", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model, tokenizer = load_model(args.profile, random_weights=args.random_weights)
    rows = load_corpus(LanderConfig.from_profile("tiny-bloom").corpus.valid)
    sentences = texts(rows, "en")[: args.sentences]
    encoded = {text: {"input_ids": prompt_ids(tokenizer, text)} for text in sentences}
    examples = list(map(encoded.get, sentences))
    counting.encode_sentences = lambda tokenizer, texts, *a, **k: list(map(encoded.get, texts))

    @torch.inference_mode()
    def passes(part) -> None:
        for numbers in batches(examples, args.batch_size, key=n_tokens):
            batch = collate(tokenizer, [examples[number] for number in numbers])
            part(**batch, use_cache=False)

    actions = {
        "forward passes": lambda: passes(model),
        "… without the output head": lambda: passes(model.base_model),
        "LAPE's counts": lambda: active_tokens(model, tokenizer, sentences, args.batch_size, 256),
    }
    times: dict[str, list[float]] = {name: [] for name in actions}
    for repeat in range(args.repeats + 2):
        for name, action in actions.items():
            start = time.perf_counter()
            action()
            if repeat >= 2:  # the first ones warm up
                times[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, value in medians.items():
        ratios = " and ".join(f"{value / medians[other]:.2f}" for other in list(actions)[:2])
        print(f"{name:28} {1000 * value:8.1f} ms   {ratios} x")


if __name__ == "__main__":
    main()
