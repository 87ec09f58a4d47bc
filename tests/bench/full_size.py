"""One step of everything at full size without a download: `python tests/bench/full_size.py
[profile]`, bloom-7b1 by default.

Random bfloat16 weights on the CPU. Detects layers, scores four of them, splits, takes one selective
step. Prints the seconds of each part, the share of the tuned numbers that moved, and the peak
memory of the process, which for a 7B model should stay below 20 GB: with bfloat16 slices and
states of 8 bits each tuned number takes 6 bytes. With --optimizer adamw it takes 8, and few numbers
move; with --slices float32 it takes 10, or 16.
"""

from __future__ import annotations

import argparse
import time
import warnings
from contextlib import contextmanager

import torch
from process import status

from lander_lite import (
    LanderTuningConfig,
    categorize,
    detect_layers,
    finetune,
    get_lander_model,
    load_corpus,
    load_model,
    score_awareness,
)
from lander_lite.config import FinetuneConfig, LanderConfig
from lander_lite.scale.plan import Lander, plan

PAIRS, LANGUAGES = ["en-de", "de-en"], ["en", "de"]


def peak() -> float:
    """GB, of this process so far."""
    return status("VmHWM") / 1e9


@contextmanager
def timed(name: str):
    start = time.perf_counter()
    yield
    print(f"{name:32}{time.perf_counter() - start:8.1f} s   peak {peak():5.1f} GB", flush=True)


def sample(lander) -> list[torch.Tensor]:
    """Every thousandth number of what the pair trains."""
    active = [p for p in lander.parameters() if p.requires_grad]
    return [p.detach().flatten()[::1000].clone() for p in active]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("profile", nargs="?", default="bloom-7b1")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sentences", type=int, default=2)
    parser.add_argument("--slices", choices=["bfloat16", "float32"], default="bfloat16")
    parser.add_argument("--optimizer", choices=["adamw-8bit", "adamw"], default="adamw-8bit")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    warnings.filterwarnings("ignore", category=FutureWarning)
    corpus = load_corpus(LanderConfig.from_profile("tiny-bloom").corpus.valid).select(
        range(args.sentences)
    )
    with timed("build, random bfloat16 weights"):
        model, tokenizer = load_model(args.profile, random_weights=True, dtype="bfloat16")
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters")
    with timed("detect layers"):
        layers = detect_layers(model, tokenizer, corpus, PAIRS, k=4, batch_size=1, progress=False)
    with timed("score four layers"):
        scores = score_awareness(
            model, tokenizer, corpus, LANGUAGES, layers, batch_size=1, progress=False
        )
    sets = categorize(scores, epsilon=0.9)
    with timed(f"wrap, {args.slices} slices"):
        lander = get_lander_model(
            model, LanderTuningConfig(sets, "learned", dtype=args.slices)
        ).set_pair("en-de")
    settings = FinetuneConfig(
        updates=1,
        batch_size=1,
        max_length=64,
        rows_per_pair=None,
        gradient_checkpointing=True,
        progress=False,
        learning_rate=5e-5,  # the paper's
        optimizer=args.optimizer,
    )
    before = sample(lander)
    with timed("one selective step"):
        loss = finetune(lander, tokenizer, corpus, ["en-de"], settings)["loss"]
    moved = torch.cat([(x != y).float() for x, y in zip(before, sample(lander))]).mean().item()
    trainable, total = lander.get_nb_trainable_parameters()
    overrides = {"tuning.dtype": args.slices, "finetune.optimizer": args.optimizer}
    config = LanderConfig.from_profile(args.profile, **overrides)
    planned = plan(config, Lander(config.tuning), layers.selected)
    print(
        f"layers {layers.selected}, loss {loss[0]:.2f}, trained {trainable:,} of {total:,}, of "
        f"which {moved:.0%} moved; "
        f"planned on a GPU, as the profile says: "
        f"{planned.peak / 1e9:.1f} GB"
    )


if __name__ == "__main__":
    main()
