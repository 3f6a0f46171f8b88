"""A linear layer that explores by itself: noise on its weights, whose size is learned.

Fortunato et al. 2018, "Noisy Networks for Exploration", section 3, factorized Gaussian noise (equations 10 and 11).

Shapes: B examples, I inputs, O outputs.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

START = 0.5
"""sigma_0 of section 3.2."""


class NoisyLinear(nn.Module):
    """(B, I) -> (B, O). In training mode with the noise of the last `draw`; in evaluation mode without any."""

    noise_I: Tensor
    noise_O: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(outputs, inputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(outputs).uniform_(-bound, bound))
        self.weight_sigma = nn.Parameter(torch.full((outputs, inputs), START * bound))
        self.bias_sigma = nn.Parameter(torch.full((outputs,), START * bound))
        self.register_buffer("noise_I", torch.zeros(inputs), persistent=False)
        self.register_buffer("noise_O", torch.zeros(outputs), persistent=False)

    @torch.no_grad()
    def draw(self, generator: torch.Generator) -> None:
        """Other noise, from here on: f(x) = sign(x) sqrt(|x|) of normal numbers."""
        for noise in (self.noise_I, self.noise_O):
            noise.normal_(generator=generator)
            noise.copy_(noise.sign() * noise.abs().sqrt())

    def forward(self, x_BI: Tensor) -> Tensor:
        if not self.training:
            return F.linear(x_BI, self.weight, self.bias)
        weight = self.weight + self.weight_sigma * torch.outer(self.noise_O, self.noise_I)
        return F.linear(x_BI, weight, self.bias + self.bias_sigma * self.noise_O)
