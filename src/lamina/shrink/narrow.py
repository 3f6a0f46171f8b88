"""The surgery that leaves channels out: a tensor keeps only some indices of one dimension, and its module learns its new size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from lamina.errors import LaminaError


def narrow(model: nn.Module, tensor: str, dim: int, keep: Sequence[int], of: int) -> None:
    """Keep the indices `keep`, in rising order, of the `of` indices of dimension `dim` of the parameter or buffer `tensor`.

    A tensor that several modules share stays shared. Raises LaminaError where there is no such tensor or index.
    """
    old = named(model, tensor)
    if not 0 <= dim < old.ndim:
        raise LaminaError(f"expected a dimension of {tensor}, which has {old.ndim}; got {dim}")
    if old.shape[dim] != of:
        raise LaminaError(f"expected {tensor} of size {of} in dimension {dim}; it has {old.shape[dim]}")
    if not keep or any(not isinstance(i, int) for i in keep) or list(keep) != sorted(set(keep)):
        raise LaminaError(f"expected the kept indices of {tensor} as rising whole numbers; got {list(keep)[:8]}")
    if keep[0] < 0 or keep[-1] >= old.shape[dim]:
        raise LaminaError(f"expected indices of {tensor} below {old.shape[dim]}; got {keep[0]} to {keep[-1]}")
    with torch.no_grad():
        new = old.detach().index_select(dim, torch.tensor(keep, device=old.device))
    if isinstance(old, nn.Parameter):
        new = nn.Parameter(new, requires_grad=old.requires_grad)
    for module, name in list(owners(model, old)):
        (module._parameters if name in module._parameters else module._buffers)[name] = new  # type: ignore[index]
        resize(module)


def named(model: nn.Module, tensor: str) -> Tensor:
    """The parameter or buffer called `tensor`. Raises LaminaError where there is none."""
    path, _, name = tensor.rpartition(".")
    try:
        module = model.get_submodule(path)
        found = module._parameters.get(name, module._buffers.get(name))
    except AttributeError:
        found = None
    if found is None:
        raise LaminaError(f"expected the name of a tensor of the network; got {tensor!r}")
    return found


def owners(model: nn.Module, tensor: Tensor) -> Iterator[tuple[nn.Module, str]]:
    """Every module that holds `tensor`, and under which name."""
    for module in model.modules():
        for held in (module._parameters, module._buffers):
            for name in [n for n, value in held.items() if value is tensor]:
                yield module, name


def resize(module: nn.Module) -> None:
    """Make the sizes that a module remembers those of its weight."""
    weight = module._parameters.get("weight")
    if weight is None:
        return
    if isinstance(module, nn.modules.conv._ConvNd):
        if module.groups > 1:  # one filter a channel: the only grouped convolution that is ever narrowed
            module.groups = weight.shape[0]
        module.out_channels, module.in_channels = weight.shape[0], weight.shape[1] * module.groups
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = weight.shape
    elif isinstance(module, nn.modules.batchnorm._BatchNorm):
        module.num_features = len(weight)
