"""Measures a base model's gates on valid and writes its model card: `python data/models/card.py
tiny-bloom`.

The gates (what the course needs of a base model): mean zero-shot BLEU of the ten directions in 10 …
45, each above 3; full fine-tuning with the lessons' budget gains at least 8; selective tuning
(general + specific, k layers, no routing) at least half of that at its own best learning rate; full
tuning on en-de and de-en alone costs the untouched pairs at least 3.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
from dataclasses import replace
from pathlib import Path

import torch

from lander_lite.awareness import score_awareness
from lander_lite.config import LanderConfig
from lander_lite.corpus import load_corpus
from lander_lite.evaluation import evaluate
from lander_lite.io import write_text
from lander_lite.layers import detect_layers
from lander_lite.model import load_model
from lander_lite.neurons import categorize
from lander_lite.reproduction import baselines
from lander_lite.reproduction.kinds import GRID
from lander_lite.training.loop import finetune
from lander_lite.tuner.model import LanderTuningConfig, get_lander_model

HERE = Path(__file__).resolve().parent
TRIED = HERE / "TRIED.md"  # what was tried on the way, the same text in both cards


def measure(name: str, sentences: int) -> dict:
    """Every number that the gates speak of."""
    config = LanderConfig.from_profile(name)
    base, tokenizer = load_model(name)
    train, valid, pairs = (
        load_corpus(config.corpus.train),
        load_corpus(config.corpus.valid),
        config.corpus.pairs,
    )

    def bleu(model) -> dict[str, float]:
        scores = evaluate(
            model.eval(), tokenizer, valid, pairs, max_sentences=sentences, bootstrap=0
        )
        return {pair: round(scores[pair]["bleu"], 2) for pair in pairs}

    def tuned(model, rate, on=pairs):
        finetune(
            model,
            tokenizer,
            train,
            on,
            replace(config.finetune, learning_rate=rate, progress=False),
        )
        scores = bleu(model)
        print(f"{type(model).__name__} {rate:g} on {len(on)} pairs: {mean(scores):.2f}", flush=True)
        return scores

    languages, pairs = config.corpus.languages, config.corpus.pairs
    layers = detect_layers(base, tokenizer, train, pairs, config.layers.k, progress=False)
    sets = categorize(score_awareness(base, tokenizer, train, languages, layers, progress=False))
    zero = bleu(base)
    print("zero-shot", zero, f"{mean(zero):.2f}", flush=True)
    full = {rate: tuned(baselines.full(copy.deepcopy(base)), rate) for rate in GRID}
    best = max(full, key=lambda rate: mean(full[rate]))
    selective = {
        rate: tuned(get_lander_model(copy.deepcopy(base), LanderTuningConfig(sets, "none")), rate)
        for rate in GRID
    }
    own = max(selective, key=lambda rate: mean(selective[rate]))
    alone = ["en-de", "de-en"]
    forgot = tuned(baselines.full(copy.deepcopy(base)), best, alone)
    others = [pair for pair in pairs if pair not in alone]
    lost = mean({pair: zero[pair] - forgot[pair] for pair in others})
    return {
        "sentences": sentences,
        "zero_shot": zero,
        "layers": sets.layers,
        "full": full[best],
        "full_rate": best,
        "selective": selective[own],
        "selective_rate": own,
        "after_en_de": forgot,
        "untouched_loss": lost,
    }


def mean(scores: dict[str, float]) -> float:
    return sum(scores.values()) / len(scores)


def gates(m: dict) -> dict[str, tuple[str, bool]]:
    """{gate: (what was measured, passed)}"""
    zero, full, selective = mean(m["zero_shot"]), mean(m["full"]), mean(m["selective"])
    return {
        "mean zero-shot BLEU within 10 … 45": (f"{zero:.1f}", 10 <= zero <= 45),
        "every direction above 3": (
            f"lowest {min(m['zero_shot'].values()):.1f}",
            min(m["zero_shot"].values()) > 3,
        ),
        "full fine-tuning gains at least 8": (f"{full - zero:+.1f}", full - zero >= 8),
        "selective tuning gains at least half of that": (
            f"{selective - zero:+.1f}",
            selective - zero >= (full - zero) / 2,
        ),
        "tuning en-de and de-en alone costs the other pairs at least 3": (
            f"{-m['untouched_loss']:+.1f}",
            m["untouched_loss"] >= 3,
        ),
    }


def card(name: str, m: dict) -> str:
    """The model card in Markdown."""
    folder = HERE / name
    training = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    columns = [m[key] for key in ("zero_shot", "full", "selective", "after_en_de")]
    table = "\n".join(
        f"| {pair} | " + " | ".join(f"{column[pair]:.1f}" for column in columns) + " |"
        for pair in m["zero_shot"]
    )
    checks = "\n".join(
        f"| {gate} | {value} | {'yes' if passed else '**no**'} |"
        for gate, (value, passed) in gates(m).items()
    )
    architecture = (
        "BLOOM (GELU, biases, ALiBi)" if "bloom" in name else "Llama (SwiGLU, RMSNorm, RoPE)"
    )
    return f"""---
license: cc0-1.0
language: [en, de, it, fr, ar, zh, af]
---
# {name}

A {architecture} language model of {training["parameters"]:,} parameters (8 layers, d_model 128, vocabulary 7,000), pre-trained on
Tiny Babel for this course. It is a teaching model: it knows a few hundred words in seven languages and nothing else.
Made by `python data/models/pretrain.py {name} --steps {training["steps"]}`.

- **Data**: documents drawn from the Tiny Babel grammar (`data/models/documents.py`): dictionary entries, noun phrases, translations of
  *simple* sentences, monolingual text of *all* constructions, and facts, stated mostly in English. Afrikaans is seen a twentieth as
  often as the others. No translation pair and no monolingual sentence of valid or test occurs.
  Prompts are masked from the loss.
- **Training**: {training["steps"]:,} steps, {training["tokens"] / 1e6:.1f} M tokens, {training["minutes"]} minutes on {training["device"]}
  ({training["threads"]} thread); AdamW, learning rate {training["learning_rate"]:g}, seed {training["seed"]};
  last training loss {training["loss"]}.
- **Weights**: float32 safetensors, SHA-256 `{digest}`.

BLEU on the first {m["sentences"]} rows of valid (sacreBLEU; `zh` tokeniser into Chinese, 13a otherwise). Full tuning and selective
tuning (layers {", ".join(map(str, m["layers"]))}; general + specific neurons, no routing) had the lessons' budget and their best learning
rate of {", ".join(f"{r:g}" for r in GRID)}: {m["full_rate"]:g} and {m["selective_rate"]:g}. The last column is full tuning
on en-de and de-en alone.

| direction | zero-shot | full | selective | only en-de, de-en |
|---|---|---|---|---|
{table}
| mean | {mean(m["zero_shot"]):.1f} | {mean(m["full"]):.1f} | {mean(m["selective"]):.1f} | {mean(m["after_en_de"]):.1f} |

| gate | measured | met |
|---|---|---|
{checks}

{TRIED.read_text(encoding="utf-8") if TRIED.exists() else ""}"""


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name")
    parser.add_argument("--sentences", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    measured = measure(arguments.name, arguments.sentences)
    for gate, (value, passed) in gates(measured).items():
        print(f"{'ok  ' if passed else 'MISS'} {gate}: {value}")
    write_text(HERE / arguments.name / "gates.json", json.dumps(measured, indent=1) + "\n")
    if (HERE / arguments.name / "training.json").exists():
        write_text(HERE / arguments.name / "README.md", card(arguments.name, measured))
