"""The exponential moving average of the weights (Polyak and Juditsky 1992), kept beside the model that learns."""

from __future__ import annotations

import copy

import torch
from torch import nn


class Average:
    """`model` holds the averaged weights. Batch statistics are averaged alike: those of the last weights would not fit.

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
        averaged, learned = [*self.model.parameters(), *self.model.buffers()], [*model.parameters(), *model.buffers()]
        pairs = list(zip(averaged, learned, strict=True))
        real = [(kept.detach(), current.detach()) for kept, current in pairs if kept.is_floating_point()]
        if real:
            kept, current = map(list, zip(*real, strict=True))
            torch._foreach_lerp_(kept, current, 1 - decay)
        for kept, current in pairs:
            if not kept.is_floating_point():  # counts
                kept.copy_(current)
