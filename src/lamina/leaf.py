"""The continuous tensor standing for an input: what explanations and attacks differentiate.

Pictures and sound are their own leaf, as floats in raw units. Integer codes have no gradient, so the output of the
submodule that the task names in `embed` stands for them: a forward hook puts the leaf in its place, which works for
any module and needs no change to the model.

Shapes: B examples, D features, C columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from lamina.errors import LaminaError
from lamina.task import Batch, Input, Output, Task


def leaf(task: Task, model: nn.Module, batch: Batch, index: int = 0) -> tuple[Tensor, Callable[[Tensor], Output]]:
    """The leaf of `batch` for `inputs[index]`, and the function from such a leaf to the Output of `task.outputs`.

    The leaf has the shape of the input, or of the output of `embed` (B, ..., D); it requires a gradient, and the
    function at the leaf gives what the model gives at the batch. The function may be called at other leaves of the same
    shape, and leaves no hook behind. Put the model into evaluation mode first: neither touches its mode.
    Raises LaminaError where the input has no gradient and the task names no submodule to stand for it, or where that
    submodule does not run exactly once.
    """
    spec = task.inputs[index]
    if not stands_by_embedding(task, index):
        raw = batch[spec.name].detach().float().clone().requires_grad_()
        return raw, lambda x: task.outputs(model, {**batch, spec.name: x})
    module = submodule(task, model)
    seen: list[Tensor] = []
    with torch.no_grad(), replaced(task, module, lambda said: seen.append(said)):
        task.outputs(model, batch)
    embedded = seen[0].detach().clone().requires_grad_()

    recurrent = embedded.is_cuda and any(isinstance(module, nn.RNNBase) for module in model.modules())

    def forward_from_leaf(x: Tensor) -> Output:
        # cuDNN has no gradient of a recurrent layer that evaluates; PyTorch's own kernels have.
        kernels = torch.backends.cudnn.flags(enabled=False) if recurrent else nullcontext()
        with replaced(task, module, lambda said: x), kernels:
            return task.outputs(model, batch)

    return embedded, forward_from_leaf


def stands_by_embedding(task: Task, index: int = 0) -> bool:
    """Whether the leaf of `inputs[index]` is the output of `task.embed`, and not the input itself as floats.

    Raises LaminaError where it has to be, and the task names none.
    """
    spec: Input = task.inputs[index]
    continuous = spec.dtype.startswith(("float", "bfloat")) or spec.dtype == "uint8"
    if spec.modality in ("image", "audio") or (spec.modality in ("observation", "side") and continuous):
        return False
    if index == 0 and task.embed is not None:
        return True
    if spec.dtype.startswith(("float", "bfloat")):
        return False
    raise LaminaError(
        f"{task.name}: input {spec.name!r} holds {spec.dtype} codes, which have no gradient; expected `embed` to name "
        f"the submodule whose output stands for inputs[0]; got {task.embed!r}"
    )


def submodule(task: Task, model: nn.Module) -> nn.Module:
    """The submodule that `task.embed` names. Raises LaminaError where the model has no such submodule."""
    try:
        return model.get_submodule(task.embed or "")
    except AttributeError as error:
        names = ", ".join(name for name, _ in model.named_children())
        raise LaminaError(f"{task.name}: expected `embed` to name a submodule ({names}, ...); got {task.embed!r}") from error


@contextmanager
def replaced(task: Task, module: nn.Module, becomes: Callable[[Tensor], Tensor | None]) -> Iterator[None]:
    """Inside, the output `y` of `module` is `becomes(y)` (None keeps it). It must run exactly once, or LaminaError is raised."""
    calls = 0

    def hook(_module: nn.Module, _inputs: Any, said: Any) -> Tensor | None:
        nonlocal calls
        calls += 1
        if not isinstance(said, Tensor):
            raise LaminaError(f"{task.name}: expected `embed` ({task.embed}) to return one tensor; got {type(said).__name__}")
        return becomes(said)

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
    if calls != 1:
        raise LaminaError(f"{task.name}: expected `embed` ({task.embed}) to run exactly once in a forward; it ran {calls} times")


def clamp(leaf: Tensor, low: float | Sequence[float] | None, high: float | Sequence[float] | None) -> Tensor:
    """`leaf` within [low, high], in raw units. None is unbounded; a sequence bounds dimension 1, one value a column.

    Missing values (NaN) stay missing. The gradient passes where the leaf is within bounds, and stops where it is not.
    """
    for bound, limit in ((low, torch.maximum), (high, torch.minimum)):
        if bound is not None:
            leaf = limit(leaf, per_column(bound, leaf))
    return leaf


def per_column(bound: float | Sequence[float], x: Tensor) -> Tensor:
    """`bound` as a tensor that broadcasts against `x` (B, C, ...): a number, or one number for each of the C columns."""
    tensor = torch.as_tensor(bound, dtype=x.dtype, device=x.device)
    return tensor.view(1, -1, *[1] * (x.dim() - 2)) if tensor.dim() else tensor
