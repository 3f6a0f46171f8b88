"""One matrix as the product of two thinner ones: the truncated singular value decomposition.

The best approximation of a given rank (Eckart and Young 1936). A convolution (O, I, k, k) is a matrix (O, I k k): r filters
of its own size, then a 1x1 convolution that mixes them (Zhang et al. 2016, "Accelerating Very Deep Convolutional Networks",
section 3.1, without the nonlinear case).

Legend: O outputs, I inputs, N = I times the kernel's size, R rank.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lamina.errors import LaminaError

LEAST = 16
"""Layers of fewer inputs or outputs stay: nothing is gained there, and the last layer decides."""


def low_rank(model: nn.Module, module: str, rank: int) -> None:
    """The surgery: the linear or convolutional layer `module` as two of rank `rank`.

    Raises LaminaError where it is another kind of layer, or the rank is more than it has.
    """
    layer = model.get_submodule(module)
    if not factorable(layer):
        raise LaminaError(f"expected {module} to be a linear or ungrouped convolutional layer; got {type(layer).__name__}")
    assert isinstance(layer, (nn.Linear, nn.Conv2d))
    if not isinstance(rank, int) or not 1 <= rank <= min(layer.weight.flatten(1).shape):
        raise LaminaError(f"expected a rank of {module} from 1 to {min(layer.weight.flatten(1).shape)}; got {rank!r}")
    model.set_submodule(module, factored(layer, rank))


def factorable(layer: nn.Module) -> bool:
    return type(layer) is nn.Linear or (type(layer) is nn.Conv2d and layer.groups == 1 and layer.padding_mode == "zeros")


@torch.no_grad()
def factored(layer: nn.Linear | nn.Conv2d, rank: int) -> nn.Sequential:
    """The two layers whose product is nearest to `layer`. Of full rank it is `layer`, to rounding."""
    weight = layer.weight
    with torch.device(weight.device):
        if isinstance(layer, nn.Linear):
            first: nn.Module = nn.Linear(layer.in_features, rank, bias=False)
            second: nn.Module = nn.Linear(rank, layer.out_features, bias=layer.bias is not None)
        else:
            geometry = (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
            first = nn.Conv2d(layer.in_channels, rank, *geometry, bias=False)  # type: ignore[arg-type]
            second = nn.Conv2d(rank, layer.out_channels, 1, bias=layer.bias is not None)
    if weight.device.type != "meta":
        left_OR, right_RN = factors(weight.flatten(1), rank)
        first.weight.copy_(right_RN.reshape(first.weight.shape))  # type: ignore[operator, union-attr]
        second.weight.copy_(left_OR.reshape(second.weight.shape))  # type: ignore[operator, union-attr]
        if layer.bias is not None:
            second.bias.copy_(layer.bias)  # type: ignore[operator, union-attr]
    return nn.Sequential(first, second)


def factors(weight_ON: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """(O, R) and (R, N), whose product is the nearest of that rank; the singular values are split evenly."""
    u, s, v = torch.linalg.svd(weight_ON.double(), full_matrices=False)
    root = s[:rank].sqrt()
    return (u[:, :rank] * root).to(weight_ON.dtype), (root[:, None] * v[:rank]).to(weight_ON.dtype)


def rank_for(weight_ON: Tensor, energy: float) -> int:
    """The least rank that keeps the share `energy` of the squared singular values."""
    kept = torch.linalg.svdvals(weight_ON.double()).square().cumsum(0)
    return int((kept < energy * kept[-1] * (1 - 1e-12)).sum()) + 1


def ranks(model: nn.Module, energy: float) -> dict[str, int]:
    """{layer: rank} where two thinner layers hold fewer weights than one."""
    found = {}
    for name, layer in model.named_modules():
        if not factorable(layer):
            continue
        weight = layer.weight.detach().flatten(1)  # type: ignore[operator, union-attr]
        outputs, inputs = weight.shape
        if min(outputs, inputs) < LEAST or not layer.weight.requires_grad:  # type: ignore[union-attr]
            continue
        rank = rank_for(weight, energy)
        if rank * (outputs + inputs) < outputs * inputs:
            found[name] = rank
    return found
