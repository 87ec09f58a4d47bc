"""Trains a base model: `python data/models/pretrain.py tiny-bloom --minutes 60`. Bounded,
checkpointed, resumable (run it again).

The two architectures of the paper in small: BLOOM (GELU, biases, ALiBi) and Llama (SwiGLU, RMSNorm,
RoPE). What they read and what is kept from them is in documents.py. AdamW; warm-up, constant, then
linear decay over the last fifth of the planned steps.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

import torch
from documents import packed, train_tokenizer
from transformers import AutoModelForCausalLM, BloomConfig, LlamaConfig, PreTrainedTokenizerFast

HERE = Path(__file__).resolve().parent
VOCAB, D, LAYERS, HEADS, LENGTH = 7000, 128, 8, 4, 256
CONFIGS = {
    "tiny-bloom": lambda **ids: BloomConfig(
        hidden_size=D, n_layer=LAYERS, n_head=HEADS, tie_word_embeddings=True, **ids
    ),
    "tiny-llama": lambda **ids: LlamaConfig(
        hidden_size=D,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        intermediate_size=344,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        **ids,
    ),
    "crowded": lambda **ids: BloomConfig(  # for crowded.py alone
        hidden_size=48, n_layer=4, n_head=4, tie_word_embeddings=True, **ids
    ),
}


def new_model(name: str, tokenizer) -> torch.nn.Module:
    config = CONFIGS[name](
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return AutoModelForCausalLM.from_config(config)


def save_checkpoint(path: Path, **state) -> None:
    torch.save(state, path.with_suffix(".tmp"))
    os.replace(path.with_suffix(".tmp"), path)


def share_left(progress: float, warmup: float = 0.02, decay: float = 0.25) -> float:
    """Learning-rate factor at a share of the run: warm-up, constant, linear decay to a fiftieth."""
    return min(1.0, max(progress, 1e-3) / warmup, 0.02 + max(0.0, (1 - progress) / decay))


def pretrain(args) -> dict:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    work = args.work_dir / f"{args.name}-seed{args.seed}"
    work.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)
    if not (args.tokenizer / "tokenizer.json").exists():
        train_tokenizer(VOCAB).save_pretrained(args.tokenizer)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(args.tokenizer)
    data_file = args.work_dir / f"packed-{args.data_tokens}-{LENGTH}.pt"
    if not data_file.exists():
        print("packing documents …", flush=True)
        save_checkpoint(data_file, data=packed(tokenizer, args.data_tokens, LENGTH))
    ids, labels = torch.load(data_file, weights_only=True)["data"]
    model = new_model(args.name, tokenizer).to(device)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=args.learning_rate, weight_decay=0.01, betas=(0.9, 0.98), fused=True
    )
    step, spent, log = 0, 0.0, []
    checkpoint = work / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step, spent, log = state["step"], state["spent"], state["log"]
        print(f"resumed at step {step} after {spent / 60:.1f} minutes", flush=True)
    rows = max(1, args.batch_tokens // LENGTH)
    order = torch.randperm(len(ids), generator=torch.Generator().manual_seed(args.seed))

    def save():
        save_checkpoint(
            checkpoint,
            model=model.state_dict(),
            optimizer=optimizer.state_dict(),
            step=step,
            spent=spent,
            log=log,
        )

    model.train()
    start, running, right, counted = time.time() - spent, 0.0, 0, 0
    while True:
        spent = time.time() - start
        progress = max(step / args.steps, spent / 60 / args.minutes)
        if progress >= 1:
            break
        chosen = order[torch.arange(step * rows, (step + 1) * rows) % len(order)]
        x, y = ids[chosen].long().to(device), labels[chosen].long().to(device)
        for group in optimizer.param_groups:
            group["lr"] = args.learning_rate * share_left(progress)
        with torch.autocast(device, dtype=torch.bfloat16):
            kept = (
                y[:, 1:] != -100
            )  # logits of the learned positions only: half the tokens are prompts
            logits = model.lm_head(
                model.base_model(input_ids=x).last_hidden_state[:, :-1][kept]
            ).float()
        goal = y[:, 1:][kept]
        loss = torch.nn.functional.cross_entropy(logits, goal)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
        running, counted = running + loss.item(), counted + len(goal)
        right += (logits.argmax(-1) == goal).sum().item()
        if step % 200 == 0:
            log.append(
                {
                    "step": step,
                    "minutes": round(spent / 60, 2),
                    "loss": round(running / 200, 4),
                    "accuracy": round(right / counted, 4),
                }
            )
            print(
                f"{log[-1]}  {step * rows * LENGTH / 1e6:.1f}M tokens, "
                f"{step * rows * LENGTH / spent:,.0f}/s",
                flush=True,
            )
            running, right, counted = 0.0, 0, 0
        if step % 1000 == 0:
            save()
    save()
    folder = args.output_dir / args.name
    model.eval().cpu().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    summary = {
        "name": args.name,
        "parameters": sum(p.numel() for p in model.parameters()),
        "steps": step,
        "tokens": step * rows * LENGTH,
        "minutes": round(spent / 60, 1),
        "loss": log[-1]["loss"] if log else None,
        "learning_rate": args.learning_rate,
        "seed": args.seed,
        "device": device,
        "threads": args.threads,
        "log": log,
    }
    (folder / "training.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    return summary


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=CONFIGS)
    parser.add_argument("--minutes", type=float, default=60, help="upper bound on training time")
    parser.add_argument(
        "--steps",
        type=int,
        default=7000,
        help="planned updates; the schedule ends here or at --minutes",
    )
    parser.add_argument("--batch-tokens", type=int, default=1024)
    parser.add_argument("--data-tokens", type=int, default=12_000_000)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument(
        "--seed", type=int, default=0, help="of the weights and the order of the documents"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--work-dir",
        type=Path,
        default=HERE / "work",
        help="checkpoints and packed documents (not committed)",
    )
    parser.add_argument("--tokenizer", type=Path, default=HERE / "work" / "tokenizer")
    parser.add_argument("--output-dir", type=Path, default=HERE)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print({k: v for k, v in pretrain(arguments).items() if k != "log"})
