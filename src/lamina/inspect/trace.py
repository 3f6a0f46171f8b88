"""Following a forward: which module is running, and where a network has depths.

Operators are seen by PyTorch's dispatcher and not by module, so that `F.gelu(x)` and `nn.GELU()(x)` count alike. What a
fused kernel computes inside (the gates of nn.LSTM, the fast path of nn.TransformerEncoder) and formulas written by hand
cannot be seen this way.

Legend: B examples.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

MOST_DEPTHS = 16
"""Depths that are probed; of more, this many evenly spaced."""


@contextmanager
def running(model: nn.Module) -> Iterator[list[str]]:
    """Yields a stack of the names of the modules that are running, the innermost last; the model itself is ``."""
    stack: list[str] = []
    handles = []
    for name, module in model.named_modules():

        def enter(_module: nn.Module, _inputs: Any, name: str = name) -> None:
            stack.append(name)

        def leave(_module: nn.Module, _inputs: Any, _said: Any) -> None:
            stack.pop()

        handles += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave, always_call=True)]
    try:
        yield stack
    finally:
        for handle in handles:
            handle.remove()


def first_tensor(said: Any) -> Tensor | None:
    """The first floating tensor of what a module returned."""
    if isinstance(said, Tensor):
        return said if said.is_floating_point() else None
    inner = said.values() if isinstance(said, dict) else said if isinstance(said, (tuple, list)) else ()
    return next((found for found in map(first_tensor, inner) if found is not None), None)


def blocks(model: nn.Module) -> list[str]:
    """Names of the modules that stand for depths: those with parameters, inside containers but not inside one another.

    Containers (ModuleList, ModuleDict, Sequential) are opened, and so is a model that only wraps one other module.
    """

    def within(prefix: str, module: nn.Module) -> Iterator[str]:
        for name, child in module.named_children():
            full = f"{prefix}.{name}" if prefix else name
            if next(child.parameters(), None) is None:
                continue
            if isinstance(child, (nn.ModuleList, nn.ModuleDict, nn.Sequential)):
                yield from within(full, child)
            else:
                yield full

    names = list(within("", model))
    while len(names) == 1 and list(model.get_submodule(names[0]).children()):
        opened = list(within(names[0], model.get_submodule(names[0])))
        if not opened:
            break
        names = opened
    return names


@contextmanager
def watched(model: nn.Module, names: list[str]) -> Iterator[dict[str, Tensor]]:
    """Yields {name: the output of its last call}, in the order in which the modules run."""
    seen: dict[str, Tensor] = {}
    handles = []
    for name in names:

        def keep(_module: nn.Module, _inputs: Any, said: Any, name: str = name) -> None:
            tensor = first_tensor(said)
            if tensor is not None:
                seen[name] = tensor

        handles.append(model.get_submodule(name).register_forward_hook(keep))
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def spaced(names: list[str], most: int = MOST_DEPTHS) -> list[str]:
    """At most `most` of `names`, evenly spaced, the first and the last among them."""
    if len(names) <= most:
        return names
    return [names[i] for i in torch.linspace(0, len(names) - 1, most).round().long().tolist()]
