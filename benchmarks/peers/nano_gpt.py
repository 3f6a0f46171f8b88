"""nanoGPT's recipe for a CPU (its README: "I only have a macbook"), written as one plain loop in float32.

--eval_iters=20 --block_size=64 --batch_size=12 --n_layer=4 --n_head=4 --n_embd=128 --max_iters=2000 --lr_decay_iters=2000
--dropout=0.0, and of config/train_shakespeare_char.py: a rate of 1e-3 that falls to 1e-4 along a cosine after 100 steps of
warm-up, beta2 of 0.99, gradients clipped at 1. Here every 250 steps judge the whole validation text, not 20 batches of it.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.peers.gpt import GPT, adamw, windows

BATCH, CONTEXT, WARMUP, RATE, LEAST, CLIP, EVERY = 12, 64, 100, 1e-3, 1e-4, 1.0, 250


@torch.inference_mode()
def judged(model: GPT, tokens_N: Tensor) -> float:
    """Nats a token over all of a text, in rows of CONTEXT that do not overlap; the first token of all is given."""
    model.eval()
    total = 0.0
    ends = range(0, len(tokens_N) - 1, CONTEXT)
    whole_NT = [tokens_N[start : start + CONTEXT + 1] for start in ends]
    rows = [row for row in whole_NT if len(row) == CONTEXT + 1]
    for some in [rows[i : i + 256] for i in range(0, len(rows), 256)] + [[row] for row in whole_NT if len(row) <= CONTEXT]:
        tokens_BT = torch.stack(some)
        logits_BTV = model(tokens_BT[:, :-1])
        total += float(functional.cross_entropy(logits_BTV.flatten(0, 1), tokens_BT[:, 1:].flatten(), reduction="sum"))
    model.train()
    return total / (len(tokens_N) - 1)


def rate_at(progress: float, step: int) -> float:
    if step < WARMUP:
        return RATE * (step + 1) / (WARMUP + 1)
    return LEAST + 0.5 * (1 + math.cos(math.pi * min(1.0, progress))) * (RATE - LEAST)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True, help="a folder of train.txt and valid.txt")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--minutes", type=float, default=0, help="in place of steps, where above 0")
    parser.add_argument("--threads", type=int, required=True)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(1337)
    texts = {part: (options.data / f"{part}.txt").read_text(encoding="utf-8") for part in ("train", "valid")}
    ids = {character: i for i, character in enumerate(sorted(set("".join(texts.values()))))}
    tokens = {part: torch.tensor([ids[character] for character in text]) for part, text in texts.items()}
    model = GPT(len(ids), 128, 4, 4, CONTEXT)
    optimizer = adamw(model, RATE, beta2=0.99)
    began, step, best, last = time.monotonic(), 0, math.inf, math.inf
    while True:
        spent = time.monotonic() - began
        progress = spent / (60 * options.minutes) if options.minutes else step / max(1, options.steps)
        over = progress >= 1
        if over or step % EVERY == 0:
            last = judged(model, tokens["valid"])
            best = min(best, last)
        if over:
            break
        for group in optimizer.param_groups:
            group["lr"] = rate_at(progress, step)
        x_BT, y_BT = windows(tokens["train"], BATCH, CONTEXT)
        loss = functional.cross_entropy(model(x_BT).flatten(0, 1), y_BT.flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        step += 1
    parameters = sum(p.numel() for p in model.parameters())
    told = {"loss": best, "last": last, "steps": step, "seconds": time.monotonic() - began, "parameters": parameters}
    print(json.dumps(told))


if __name__ == "__main__":
    main()
