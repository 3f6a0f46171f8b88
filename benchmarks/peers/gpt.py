"""A GPT as nanoGPT writes it (Karpathy, model.py; Radford et al. 2019), plainly: what plain loops train beside Lamina.

Pre-norm blocks without biases, learned positions, GELU, the last layer tied to the embedding; normal weights of deviation 0.02,
those that end a residual branch smaller by sqrt(2 L).

Legend: B rows, T tokens, D features, H heads, E features of a head, L layers, V words.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class Block(nn.Module):
    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm1, self.norm2 = nn.LayerNorm(width, bias=False), nn.LayerNorm(width, bias=False)
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.up, self.down = nn.Linear(width, 4 * width, bias=False), nn.Linear(4 * width, width, bias=False)
        self.drop = nn.Dropout(dropout)

    def forward(self, x_BTD: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm1(x_BTD)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (B, H, T, E) each
        dropout = self.dropout if self.training else 0.0
        y_BHTE = functional.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=dropout)
        x_BTD = x_BTD + self.drop(self.out(y_BHTE.transpose(1, 2).flatten(2)))
        return x_BTD + self.drop(self.down(functional.gelu(self.up(self.norm2(x_BTD)))))


class GPT(nn.Module):
    """tokens (B, T) int64 -> logits (B, T, V); T is at most `context`."""

    def __init__(self, vocabulary: int, width: int, depth: int, heads: int, context: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        self.drop = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width, bias=False)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.embed.weight
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                ends = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(weight, std=0.02 / math.sqrt(2 * depth) if ends else 0.02)

    def forward(self, tokens_BT: Tensor) -> Tensor:
        x_BTD = self.drop(self.embed(tokens_BT) + self.place(torch.arange(tokens_BT.shape[1], device=tokens_BT.device)))
        for block in self.blocks:
            x_BTD = block(x_BTD)
        return self.head(self.norm(x_BTD))


def adamw(model: nn.Module, rate: float, beta2: float, decay: float = 0.1, **options: bool) -> torch.optim.AdamW:
    """No weight decay on vectors, as nanoGPT has it."""
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, beta2), **options)


def windows(tokens_N: Tensor, batch: int, context: int) -> tuple[Tensor, Tensor]:
    """Random rows (B, T) of a text and what follows each of their tokens."""
    start_B = torch.randint(len(tokens_N) - context, (batch,))
    at_BT = start_B[:, None] + torch.arange(context)
    return tokens_N[at_BT], tokens_N[at_BT + 1]
