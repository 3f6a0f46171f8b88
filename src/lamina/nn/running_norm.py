"""Numbers scaled by the mean and variance of all that were shown so far: observations, whose scale nobody knows beforehand.

Shapes: B examples, D numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

BOUND = 10.0
"""Beyond so many deviations numbers are cut (Henderson et al. 2018; OpenAI baselines' VecNormalize)."""


class RunningNorm(nn.Module):
    """(x - mean) / deviation, cut at 10. Changed by `update` alone, never by training mode: what is asked twice is told twice.

    Mean and variance are those of everything given to `update` (Chan, Golub and LeVeque 1979, equation 1.5).
    """

    mean: Tensor
    variance: Tensor
    count: Tensor

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(*shape))
        self.register_buffer("variance", torch.ones(*shape))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))

    @torch.no_grad()
    def update(self, x_BD: Tensor) -> None:
        count, mean, variance = len(x_BD), x_BD.mean(0), x_BD.var(0, correction=0)
        total = self.count + count
        share = (count / total).to(self.mean.dtype)
        away = mean - self.mean
        seen = self.count > 0  # the variance of nothing counts for nothing
        self.variance.copy_(
            torch.where(seen, (1 - share) * self.variance + share * variance + share * (1 - share) * away.square(), variance)
        )
        self.mean.add_(share * away)
        self.count.copy_(total)

    def forward(self, x_BD: Tensor) -> Tensor:
        return ((x_BD - self.mean) * torch.rsqrt(self.variance + 1e-8)).clamp(-BOUND, BOUND)
