"""Raw pictures to normalized ones, inside the model, so that attacks, explanations and clients all speak raw units.

Shapes: B examples, C channels, H and W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lamina.errors import LaminaError


class Normalize(nn.Module):
    """(x_BCHW - mean_C) / std_C, from uint8 or float in raw units (0..255) to the floating type of the buffers.

    mean and std are one number a channel, in raw units. They are buffers, so they are saved with the weights.
    Raises LaminaError where their lengths differ or a deviation is not a positive number.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]):
        super().__init__()
        if len(mean) != len(std) or not mean:
            raise LaminaError(f"mean and std: expected one number a channel for both, got {len(mean)} and {len(std)}")
        if not all(0 < s < float("inf") for s in std):
            raise LaminaError(f"std: expected positive numbers, got {list(std)}")
        self.register_buffer("mean", torch.tensor([float(m) for m in mean]))
        self.register_buffer("std", torch.tensor([float(s) for s in std]))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return (x_BCHW.to(self.mean.dtype) - self.mean[:, None, None]) / self.std[:, None, None]

    def extra_repr(self) -> str:
        return f"channels={len(self.mean)}"
