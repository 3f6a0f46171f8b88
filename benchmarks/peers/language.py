"""What contenders that train a decoder share: the network that Lamina trains, the text, the loss.

Legend: B windows, T tokens, V words.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

CONTEXT, WIDTH, DEPTH = 256, 384, 7
RATE, DECAY, BETAS, CLIP = 1e-3, 0.1, (0.9, 0.95), 1.0
FIRST = 4
"""Bytes follow padding, unknown, the beginning and the end."""
SETTINGS = {"model_name": "decoder", "tokenizer": "bytes", "width": WIDTH, "depth": DEPTH, "context": CONTEXT, "dropout": 0.0}


class Logits(nn.Module):
    """The decoder of Lamina's text-generation as most trainers expect a model: tokens (B, T) -> logits (B, T, V) alone."""

    def __init__(self) -> None:
        from lamina.data.source import Source
        from lamina.find import find_task

        super().__init__()
        task = find_task("text-generation")(**SETTINGS)
        self.decoder = task.prepare(task.read(Source(data=["any text of bytes " * 100]))).model()

    def forward(self, tokens_BT: Tensor) -> Tensor:
        return self.decoder(tokens_BT)["token_logits"]


def tokens_of(path: Path) -> Tensor:
    """The bytes of a text (N,) int64, as Lamina numbers them."""
    return torch.from_numpy(np.frombuffer(path.read_bytes(), np.uint8).astype(np.int64) + FIRST)


def loss_of(logits_BTV: Tensor, label_BT: Tensor) -> Tensor:
    return functional.cross_entropy(logits_BTV.float().flatten(0, 1), label_BT.flatten())


def adamw(model: nn.Module, **options: bool) -> torch.optim.AdamW:
    return torch.optim.AdamW(model.parameters(), lr=RATE, betas=BETAS, weight_decay=DECAY, **options)
