"""What pruning needs besides the model: `python tests/bench/pruning.py`. Peak memory over the dense
model for 12 and for 24 blocks, which should be the same, for statistics are held for one layer at a
time; and seconds against forward passes of the same text.

A BLOOM of 512 units with random weights; 32 calibration prompts of 64 tokens. Each size in a
process of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time

import torch
from process import peak_over, status
from transformers import BloomConfig, BloomForCausalLM

from lander_lite import load_model, prune

SIZES, PROMPTS, LENGTH = (12, 24), 32, 64


def measure(n_layer: int) -> dict:
    torch.set_num_threads(2)
    model = BloomForCausalLM(
        BloomConfig(vocab_size=8000, hidden_size=512, n_layer=n_layer, n_head=8)
    ).eval()
    _, tokenizer = load_model("tiny-bloom")
    prompts = torch.randint(
        4, 8000, (PROMPTS, LENGTH), generator=torch.Generator().manual_seed(0)
    ).tolist()
    prune(
        model, tokenizer, prompts[:8], 0.0
    )  # code and threads count as the model's; nothing is removed
    start = time.perf_counter()
    with torch.inference_mode():
        for i in range(0, PROMPTS, 8):
            model.transformer(torch.tensor(prompts[i : i + 8]), use_cache=False)
    passes = time.perf_counter() - start
    before, start = status("VmRSS"), time.perf_counter()
    peak = peak_over(before, lambda: prune(model, tokenizer, prompts, 0.5))
    seconds = time.perf_counter() - start
    return {
        "peak": peak / 2**20,
        "block": sum(p.numel() for p in model.transformer.h[0].parameters()) * 4 / 2**20,
        "weights": sum(p.numel() for p in model.parameters()) * 4 / 2**20,
        "ratio": seconds / passes,
    }


def main() -> None:
    if len(sys.argv) > 1:
        return print(json.dumps(measure(int(sys.argv[1]))))
    for n_layer in SIZES:
        command = [sys.executable, __file__, str(n_layer)]
        found = json.loads(
            subprocess.run(command, capture_output=True, text=True, check=True).stdout
        )
        print(
            f"{n_layer} blocks: weights {found['weights']:.0f} MB, one block {found['block']:.0f} "
            f"MB; pruning takes "
            f"{found['peak']:.0f} MB more at its peak, and the time of {found['ratio']:.1f} "
            f"forward passes of its text"
        )


if __name__ == "__main__":
    main()
