"""Weights that are held at zero while the others learn: magnitude pruning (Han et al. 2015; global, as Frankle and Carbin 2019).

Afterwards the zeros stand in an ordinary network. They make it compress better, and not faster: dense kernels multiply zeros too.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lamina.errors import LaminaError
from lamina.shrink.narrow import named


class SparseLinear(nn.Linear):
    """A linear layer whose weights count where `held` is true."""

    held: Tensor

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return F.linear(x, self.weight * self.held, self.bias)


class SparseConv2d(nn.Conv2d):
    """A convolution whose weights count where `held` is true."""

    held: Tensor

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return self._conv_forward(x, self.weight * self.held, self.bias)


KINDS: dict[type, type] = {nn.Linear: SparseLinear, nn.Conv2d: SparseConv2d}


def sparse(model: nn.Module, modules: Sequence[str]) -> None:
    """The surgery: these linear and convolutional layers hold their zeros; which those are, comes with the weights."""
    for name in modules:
        module = model.get_submodule(name)
        if type(module) not in KINDS:
            raise LaminaError(f"expected {name} to be a linear or convolutional layer; got {type(module).__name__}")
        kind = KINDS[type(module)]
        module.__class__ = kind  # the same tensors under the same names
        weight = named(module, "weight")
        module.register_buffer("held", torch.ones_like(weight, dtype=torch.bool) if weight.is_meta else weight.detach() != 0)


def prunable(model: nn.Module) -> list[str]:
    """The layers whose weights may become zero: linear and convolutional ones that learn."""
    return [n for n, m in model.named_modules() if type(m) in KINDS and m.weight.requires_grad]  # type: ignore[union-attr]


@torch.no_grad()
def zero_smallest(model: nn.Module, share: float) -> int:
    """Make the smallest weights of all prunable layers together zero; returns how many are."""
    weights = [model.get_submodule(name).weight for name in prunable(model)]
    sizes = torch.cat([w.abs().flatten() for w in weights]) if weights else torch.empty(0)  # type: ignore[operator, union-attr]
    if not len(sizes):
        raise LaminaError("--method prune: expected a linear or convolutional layer; the network has none that learns")
    order = sizes.argsort(stable=True)[: round(share * len(sizes))]
    kept = torch.ones(len(sizes), dtype=torch.bool)
    kept[order] = False
    for weight, piece in zip(weights, kept.split([w.numel() for w in weights]), strict=True):  # type: ignore[operator, union-attr]
        weight.mul_(piece.view_as(weight))  # type: ignore[operator, union-attr]
    return zeros(model)


def zeros(model: nn.Module) -> int:
    """How many weights of prunable layers are zero."""
    return sum(int((model.get_submodule(name).weight == 0).sum()) for name in prunable(model))  # type: ignore[operator]
