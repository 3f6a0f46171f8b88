"""Layer by layer: output shape, parameters, FLOPs, memory of activations, receptive field.

FLOPs are computed twice: by formula from the module and its shapes, and by `torch.utils.flop_counter` from the operators
that ran (2 a multiply-add, products and convolutions only, as that counter does). Where the two differ, the rest is
arithmetic that no layer holds, such as the scores of attention.

The receptive field (Dumoulin and Visin 2016, arXiv:1603.07285) is carried along every tensor: r + d (k - 1) j after a
kernel k of dilation d, where j is the product of strides; a sum of branches sees what the widest branch sees.

Legend: B examples, C channels, H and W pixels.
"""

from __future__ import annotations

import math
import weakref
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from lamina.answer import counted_flops
from lamina.inspect.trace import first_tensor
from lamina.task import Batch, Task


@dataclass(frozen=True)
class Layer:
    """A module that holds no other module, at one of its calls, for one example."""

    name: str
    kind: str
    shape: tuple[int, ...]
    """Of the output, without the examples."""
    parameters: int
    """0 where an earlier call or layer holds the same ones."""
    flops: int | None
    """By formula; None for a kind of module that the formulas do not know and that holds weights."""
    bytes: int
    """Of the output."""
    receptive: float | None
    """Pixels a side; infinite where the layer sees the whole input; None where the input is no picture."""


class ReceptiveField(TorchDispatchMode):
    """Carries (receptive field, stride) of every tensor derived from `pixels_BCHW`."""

    def __init__(self, pixels_BCHW: Tensor) -> None:
        super().__init__()
        self.examples = len(pixels_BCHW)
        self.known: dict[int, tuple[weakref.ref[Tensor], float, float]] = {}
        self.set(pixels_BCHW, (1.0, 1.0))

    def get(self, tensor: Tensor) -> tuple[float, float] | None:
        entry = self.known.get(id(tensor))
        return entry[1:] if entry and entry[0]() is tensor else None

    def set(self, tensor: Tensor, field: tuple[float, float]) -> None:
        self.known[id(tensor)] = (weakref.ref(tensor), *field)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        said = func(*args, **(kwargs or {}))
        flat = [a for arg in args for a in (arg if isinstance(arg, (list, tuple)) else (arg,)) if isinstance(a, Tensor)]
        fields = [field for field in map(self.get, flat) if field]
        if fields:
            after = self.after(func.overloadpacket.__name__, args, (max(f[0] for f in fields), max(f[1] for f in fields)))
            for tensor in said if isinstance(said, (tuple, list)) else (said,):
                if isinstance(tensor, Tensor):
                    self.set(tensor, after)
        return said

    def after(self, name: str, args: Any, field: tuple[float, float]) -> tuple[float, float]:
        size, jump = field
        if name == "convolution":
            if args[6]:
                return math.inf, jump  # a transposed convolution: not followed
            kernel, stride, dilation = args[1].shape[-1], args[3][-1], args[5][-1]
            return size + dilation * (kernel - 1) * jump, jump * stride
        if name in ("max_pool2d_with_indices", "avg_pool2d"):
            kernel = args[1][-1]
            stride = args[2][-1] if len(args) > 2 and args[2] else kernel
            return size + (kernel - 1) * jump, jump * stride
        if name in ("mm", "addmm"):  # positions stand in rows, or were flattened into columns
            rows = args[1 if name == "addmm" else 0].shape[0]
            return (math.inf, jump) if rows == self.examples else field
        mixing = ("bmm", "baddbmm", "mean", "amax", "sum", "_adaptive_avg_pool2d", "adaptive_max_pool2d", "native_group_norm")
        return (math.inf, jump) if name in mixing or name.startswith("_scaled_dot_product") else field


def layers_of(task: Task, model: nn.Module, batch: Batch) -> tuple[list[Layer], int, int]:
    """Layers in the order in which they run, the FLOPs of one example by formula, and those by operators.

    `model` in evaluation mode. Its bookkeeping costs two forwards of `batch`.
    """
    spec = task.inputs[0]
    pixels = batch[spec.name]
    examples = len(pixels)
    fields = ReceptiveField(pixels) if spec.modality == "image" and pixels.dim() == 4 else None
    layers: list[Layer] = []
    counted: set[int] = set()
    handles = []
    for name, module in model.named_modules():
        if next(module.children(), None) is not None:
            continue

        def record(module: nn.Module, inputs: Any, said: Any, name: str = name) -> None:
            tensor = first_tensor(said)
            if tensor is None or not tensor.dim():
                return
            own = [p for p in module.parameters() if id(p) not in counted]
            counted.update(id(p) for p in own)
            field = fields.get(tensor) if fields else None
            reach = (math.inf if field[0] >= min(pixels.shape[-2:]) else field[0]) if field else None
            layers.append(
                Layer(
                    name or "(model)", type(module).__name__, tuple(tensor.shape[1:]), sum(p.numel() for p in own),
                    flops_of(module, tensor, examples), tensor.numel() * tensor.element_size() // examples, reach,
                )
            )  # fmt: skip

        handles.append(module.register_forward_hook(record))
    try:
        with torch.no_grad():
            if fields:
                with fields:
                    task.outputs(model, batch)
            else:
                task.outputs(model, batch)
    finally:
        for handle in handles:
            handle.remove()
    total = counted_flops(lambda: task.outputs(model, batch))
    return layers, sum(layer.flops or 0 for layer in layers), total // examples


def flops_of(module: nn.Module, said: Tensor, examples: int) -> int | None:
    """FLOPs of one example by formula: 2 a multiply-add; 0 for what neither multiplies matrices nor convolves."""
    if isinstance(module, nn.Linear):
        return 2 * module.in_features * said.numel() // examples
    if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
        return 2 * module.in_channels // module.groups * math.prod(module.kernel_size) * said.numel() // examples
    if isinstance(module, nn.RNNBase):
        matrices = sum(parameter.numel() for parameter in module.parameters() if parameter.dim() == 2)
        return 2 * matrices * (said.numel() // said.shape[-1]) // examples
    norms = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.LayerNorm, nn.GroupNorm, nn.Embedding, nn.PReLU)
    return 0 if isinstance(module, norms) or next(module.parameters(), None) is None else None
