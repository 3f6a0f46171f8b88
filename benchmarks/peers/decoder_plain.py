"""A decoder trained by a plain loop in float32; with --precision bfloat16 by one tuned by hand: autocast and a fused AdamW.

The allocator of the tuned loop is set from outside, before the process starts: see ALLOCATOR in throughput.py.
"""

import argparse

import torch

from benchmarks.peers.common import Clock, main, parameters
from benchmarks.peers.gpt import windows
from benchmarks.peers.language import CLIP, CONTEXT, Logits, adamw, loss_of, tokens_of


def train(options: argparse.Namespace, clock: Clock) -> None:
    tuned = options.precision == "bfloat16"
    tokens_N, model = tokens_of(options.data), Logits()
    optimizer = adamw(model, **({"fused": True} if tuned else {}))
    clock.parameters = parameters(model)
    model.train()
    while True:
        x_BT, y_BT = windows(tokens_N, options.batch, CONTEXT)
        with torch.autocast("cpu", torch.bfloat16, enabled=tuned):
            logits_BTV = model(x_BT)
        loss_of(logits_BTV, y_BT).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad()
        clock.step(x_BT.numel())


if __name__ == "__main__":
    main(train, unit="tokens")
