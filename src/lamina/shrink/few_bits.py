"""Weights of 8 or 4 bits in linear layers; what they multiply stays as it is.

As gpt-fast's quantize.py: symmetric, 8 bits with one scale an output, or 4 bits with one scale a group of inputs, two
numbers a byte. Fewer bytes are read from memory, which is what a linear layer waits for at batch 1; the arithmetic is the same.

Legend: O outputs, I inputs, S scales a row (I / group size).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lamina.errors import LaminaError


class Int8Linear(nn.Module):
    """y = (x @ int8 weight.T) * scale + bias: x (..., I) -> (..., O). `weight` int8 (O, I), `scale` (O,)."""

    weight: Tensor
    scale: Tensor
    bias: Tensor | None

    def __init__(self, inputs: int, outputs: int, bias: bool) -> None:
        super().__init__()
        self.in_features, self.out_features = inputs, outputs
        self._packed: tuple[Any, Any] | None = None
        self.register_buffer("weight", torch.zeros(outputs, inputs, dtype=torch.int8))
        self.register_buffer("scale", torch.ones(outputs))
        self.register_buffer("bias", torch.zeros(outputs) if bias else None)

    def forward(self, x: Tensor) -> Tensor:
        if fast_product(x, self.in_features):
            return self.of_one_row(x)
        y = F.linear(x, self.weight.to(x.dtype)) * self.scale.to(x.dtype)  # the scale after the product: O numbers, not O * I
        return y if self.bias is None else y + self.bias.to(x.dtype)

    def of_one_row(self, x: Tensor) -> Tensor:
        """The product of whole numbers (FBGEMM): x is rounded to 7 bits of its own range, the weight is read as bytes.

        Seven, because eight overflow on processors without VNNI. Of one row alone: rows that shared a range would change each
        other.
        """
        key = (self.weight.data_ptr(), 0 if self.weight.is_inference() else self.weight._version)
        if self._packed is None or self._packed[0] != key:
            zeros_O = torch.zeros(self.out_features, dtype=torch.int64)
            weight = torch._make_per_channel_quantized_tensor(self.weight, self.scale.double(), zeros_O, 0)
            self._packed = key, torch.ops.quantized.linear_prepack(weight, None)
        y = torch.ops.quantized.linear_dynamic(x.float(), self._packed[1], True).to(x.dtype)
        return y if self.bias is None else y + self.bias.to(x.dtype)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_packed": None}  # made again where it is needed

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}"


class Int4Linear(nn.Module):
    """y = x @ weight.T + bias: x (..., I) -> (..., O). `packed` uint8 (O, I / 2), `scale` (O, S); whole groups."""

    packed: Tensor
    scale: Tensor
    bias: Tensor | None

    def __init__(self, inputs: int, outputs: int, bias: bool, group_size: int) -> None:
        super().__init__()
        self.in_features, self.out_features, self.group_size = inputs, outputs, group_size
        groups = -(-inputs // group_size)
        self.register_buffer("packed", torch.zeros(outputs, groups * group_size // 2, dtype=torch.uint8))
        self.register_buffer("scale", torch.ones(outputs, groups))
        self.register_buffer("bias", torch.zeros(outputs) if bias else None)

    def forward(self, x: Tensor) -> Tensor:
        weight = dequantized4(self.packed, self.scale)[:, : self.in_features]
        return F.linear(x, weight.to(x.dtype), None if self.bias is None else self.bias.to(x.dtype))

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, group_size={self.group_size}"


def fast_product(x: Tensor, inputs: int) -> bool:
    """Whether whole numbers are multiplied: one row on a processor that can, no gradient wanted, and no graph being made."""
    if x.device.type != "cpu" or x.numel() != inputs or torch.is_grad_enabled() or torch.compiler.is_exporting():
        return False
    return "fbgemm" in torch.backends.quantized.supported_engines and not torch.jit.is_tracing()


def quantized8(weight_OI: Tensor) -> tuple[Tensor, Tensor]:
    """int8 (O, I) and scales (O,): the nearest multiples of the scale, -127 to 127."""
    scale_O = (weight_OI.abs().amax(1) / 127).clamp(min=1e-12)
    return (weight_OI / scale_O[:, None]).round().clamp(-127, 127).to(torch.int8), scale_O


def quantized4(weight_OI: Tensor, group_size: int) -> tuple[Tensor, Tensor]:
    """Packed uint8 (O, I / 2) and scales (O, S): multiples of the scale from -7 to 7, I filled up with zeros."""
    outputs, inputs = weight_OI.shape
    filled = F.pad(weight_OI, (0, -inputs % group_size)).reshape(outputs, -1, group_size)
    scale_OS = (filled.abs().amax(2) / 7).clamp(min=1e-12)
    return pack4((filled / scale_OS[..., None]).round().clamp(-7, 7).to(torch.int8).reshape(outputs, -1)), scale_OS


def pack4(numbers_OI: Tensor) -> Tensor:
    """Whole numbers -8..7, int8 (O, I) with I even, as uint8 (O, I / 2): the even place in the low half of the byte."""
    halves = (numbers_OI + 8).to(torch.uint8)
    return halves[:, ::2] | (halves[:, 1::2] << 4)


def unpack4(packed: Tensor) -> Tensor:
    """The inverse of `pack4`: int8 (O, I)."""
    return torch.stack([packed & 15, packed >> 4], 2).flatten(1).to(torch.int8) - 8


def dequantized4(packed: Tensor, scale_OS: Tensor) -> Tensor:
    """The weights that 4 bits stand for, (O, I) with I filled up."""
    numbers = unpack4(packed).to(scale_OS.dtype)
    return (numbers.reshape(*scale_OS.shape, -1) * scale_OS[..., None]).flatten(1)


def linear_at(model: nn.Module, module: str) -> nn.Linear:
    """The linear layer called `module`. Raises LaminaError where there is none."""
    found = model.get_submodule(module)
    if not isinstance(found, nn.Linear):
        raise LaminaError(f"expected {module} to be a linear layer; got {type(found).__name__}")
    return found


def int8_weights(model: nn.Module, module: str) -> None:
    """The surgery: the linear layer `module` with weights of 8 bits, rounded from those that it has."""
    old = linear_at(model, module)
    new = Int8Linear(old.in_features, old.out_features, old.bias is not None)
    fill(new, old, dict(zip(("weight", "scale"), quantized8(old.weight.detach().float()), strict=True)))
    model.set_submodule(module, new)


def int4_weights(model: nn.Module, module: str, group_size: int) -> None:
    """The surgery: the linear layer `module` with weights of 4 bits, rounded from those that it has."""
    if group_size < 2 or group_size % 2:
        raise LaminaError(f"expected an even group_size from 2; got {group_size}")
    old = linear_at(model, module)
    new = Int4Linear(old.in_features, old.out_features, old.bias is not None, group_size)
    fill(new, old, dict(zip(("packed", "scale"), quantized4(old.weight.detach().float(), group_size), strict=True)))
    model.set_submodule(module, new)


def fill(new: nn.Module, old: nn.Linear, tensors: dict[str, Tensor]) -> None:
    if old.bias is not None:
        tensors["bias"] = old.bias.detach().clone()
    for name, value in tensors.items():
        new.register_buffer(name, value)


def linears(model: nn.Module) -> list[str]:
    """The linear layers that a call goes through and that hold weights of their own.

    The output layer of attention in torch.nn reads its weight without calling the layer: such subclasses stay.
    """
    return [name for name, module in model.named_modules() if type(module) is nn.Linear]
