"""Where a token stands, told to a Transformer: by a fixed wave that is added, or by turning queries and keys.

Learned positions are an `nn.Embedding` and need no class of their own.

Shapes: B rows, T tokens, D features, H heads, E features of a head.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class Sinusoidal(nn.Module):
    """Positions (B, T) -> (B, T, D): sines in the first half of the features, cosines in the second.

    Vaswani et al. 2017, section 3.5, wavelengths from 2 pi to 10000 * 2 pi. The paper interleaves sine and cosine; the order of
    features means nothing to a network that learns, and halves are how Marian's published weights were trained.
    """

    rates: Tensor

    def __init__(self, width: int):
        super().__init__()
        # Feature 2i of the paper has the rate 10000^(-2i / D).
        rates = torch.exp(torch.arange(0, width, 2, dtype=torch.float32) * (-math.log(10_000) / width))
        self.register_buffer("rates", rates, persistent=False)
        self.width = width

    def forward(self, positions_BT: Tensor) -> Tensor:
        angles = positions_BT.unsqueeze(-1).float() * self.rates
        return torch.cat([angles.sin(), angles.cos()], -1)[..., : self.width]


class Rotary(nn.Module):
    """Positions (B, T) -> the cosines and sines (B, 1, T, E) that `rotate` turns queries and keys by.

    Su et al. 2021, "RoFormer", section 3.2.2: pair i turns by position * theta^(-2i / E), so a product of query and key depends
    on their distance alone. The pairs are (i, i + E/2), as in Llama's published weights. Computed in float32: at position
    1000, bfloat16 would be off by whole turns.
    """

    rates: Tensor

    def __init__(self, head_width: int, theta: float = 10_000.0):
        super().__init__()
        rates = theta ** (-torch.arange(0, head_width, 2, dtype=torch.float32) / head_width)
        self.register_buffer("rates", rates, persistent=False)

    def forward(self, positions_BT: Tensor) -> tuple[Tensor, Tensor]:
        angles = positions_BT.unsqueeze(-1).float() * self.rates
        angles_B1TE = torch.cat([angles, angles], -1).unsqueeze(1)
        return angles_B1TE.cos(), angles_B1TE.sin()


def rotate(x_BHTE: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    """Each pair (a, b) of features, E/2 apart, turned by its angle: (a cos - b sin, b cos + a sin)."""
    cos, sin = turn
    a, b = x_BHTE.chunk(2, -1)
    return (x_BHTE * cos + torch.cat([-b, a], -1) * sin).to(x_BHTE.dtype)
