"""The exponential moving average of the weights (Polyak and Juditsky 1992), kept beside the model that learns."""

from __future__ import annotations

import copy

import torch
from torch import nn


class Average:
    """`model` holds the averaged weights. Buffers (batch statistics) are copied, not averaged.

    The decay grows as (1 + n) / (10 + n) until it reaches `decay`, so that the first steps do not linger.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.model = copy.deepcopy(model).requires_grad_(False).eval()

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        averaged = [p.detach() for p in self.model.parameters()]
        learned = [p.detach() for p in model.parameters()]
        if averaged:
            torch._foreach_lerp_(averaged, learned, 1 - decay)
        for kept, current in zip(self.model.buffers(), model.buffers(), strict=True):
            kept.copy_(current)
