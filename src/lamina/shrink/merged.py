"""Changes that stand beside a weight (LoRA) put into it: the same answers from fewer numbers and calls."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import nn


@runtime_checkable
class Merges(Protocol):
    """A layer that can be said as one linear layer."""

    def merged(self) -> nn.Linear: ...


def mergeable(model: nn.Module) -> list[str]:
    """The layers of `model` that merge."""
    return [name for name, module in model.named_modules() if isinstance(module, Merges)]


def merge(model: nn.Module) -> None:
    """The surgery: every layer that merges is replaced by the linear layer that it amounts to."""
    for name in mergeable(model):
        layer = model.get_submodule(name)
        assert isinstance(layer, Merges)
        model.set_submodule(name, layer.merged())
