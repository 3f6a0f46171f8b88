"""Losses as every task's `loss` returns them: a summed loss and a count for each example, never a mean.

Legend: B examples, K classes, D values.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def cross_entropy(logits_BK: Tensor, label: Tensor, weight_B: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Cross entropy of each example (B,), and its count (B,), which is its weight.

    `label` holds class numbers (B,), or probabilities (B, K) after mixing or smoothing.
    """
    if label.ndim == 1:
        total_B = F.cross_entropy(logits_BK, label, reduction="none")
    else:
        total_B = -(label * F.log_softmax(logits_BK, dim=1)).sum(1)
    count_B = torch.ones_like(total_B) if weight_B is None else weight_B.to(total_B)
    return total_B * count_B, count_B


def squared_error(value_BD: Tensor, label_BD: Tensor) -> tuple[Tensor, Tensor]:
    """Squared error of each example, summed over its D values (B,), and D as its count (B,)."""
    total_B = (value_BD - label_BD).square().flatten(1).sum(1)
    return total_B, torch.full_like(total_B, float(value_BD[0].numel()))
