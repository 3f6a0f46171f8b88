"""Low-rank adaptation: a linear layer keeps its weight, and learns a change of low rank beside it.

Hu et al. 2021, arXiv:2106.09685, equation 3 and section 4.1: y = x W' + (alpha / r) x A' B', A drawn, B zero, so that training
begins at the model as it was. Only A and B learn.

Legend: O outputs, I inputs, R rank.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LoRALinear(nn.Module):
    """y = x weight' + bias + scale x down' up': x (..., I) -> (..., O). `weight` (O, I) and `bias` stay as they are."""

    def __init__(self, inputs: int, outputs: int, bias: bool, rank: int, alpha: float) -> None:
        super().__init__()
        self.in_features, self.out_features, self.rank, self.alpha = inputs, outputs, rank, alpha
        self.weight = nn.Parameter(torch.empty(outputs, inputs), requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(outputs), requires_grad=False) if bias else None
        self.down = nn.Linear(inputs, rank, bias=False)
        self.up = nn.Linear(rank, outputs, bias=False)
        nn.init.kaiming_uniform_(self.down.weight, a=math.sqrt(5))
        nn.init.zeros_(self.up.weight)

    @property
    def scale(self) -> float:
        return self.alpha / self.rank

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias) + self.scale * self.up(self.down(x))

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """One linear layer that says the same."""
        made = nn.Linear(self.in_features, self.out_features, self.bias is not None, device=self.weight.device)
        made.weight.copy_(self.weight + self.scale * self.up.weight @ self.down.weight)
        if self.bias is not None:
            made.bias.copy_(self.bias)
        return made


def adapt(model: nn.Module, modules: Sequence[str], rank: int, alpha: float) -> None:
    """Give each linear layer named in `modules` a change of low rank to learn, and let nothing else of `model` learn."""
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for name in modules:
        old = model.get_submodule(name)
        assert isinstance(old, nn.Linear)
        new = LoRALinear(old.in_features, old.out_features, old.bias is not None, rank, alpha)
        new.weight.data = old.weight.data
        if old.bias is not None and new.bias is not None:
            new.bias.data = old.bias.data
        model.set_submodule(name, new)


def linear_names(model: nn.Module) -> list[str]:
    """The linear layers inside `model`, but for the last one, which says the words."""
    return [name for name, module in model.named_modules() if type(module) is nn.Linear][:-1]
