"""Dropout (Srivastava et al. 2014) whose masks cost little on a processor.

torch draws each number of a mask alone there, which takes most of the time of dropout. Here one 64-bit draw serves eight
numbers, a byte each.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def dropout(x: Tensor, p: float, training: bool = True) -> Tensor:
    """Zeros a share `p` of x and scales the rest, so that the mean stays. On a processor `p` is rounded to 1/256, and the scale
    is that of the rounded share. Elsewhere, in a graph, and where nothing is to be dropped, it is torch's own."""
    share = round(p * 256)
    if not training or x.device.type != "cpu" or torch.compiler.is_compiling() or not 0 < share < 256:
        return F.dropout(x, p, training)
    draws = torch.empty(-(-x.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
    kept = draws.view(torch.uint8)[: x.numel()].view(x.shape) >= share
    return x * kept.to(x.dtype).mul_(256 / (256 - share))


class Dropout(nn.Dropout):
    """`dropout` as a layer."""

    def forward(self, input: Tensor) -> Tensor:
        return dropout(input, self.p, self.training)
