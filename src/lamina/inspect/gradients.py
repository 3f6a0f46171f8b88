"""Gradients: how they flow through the depths, and whether backpropagation is right on this very model.

The check: for a parameter t and a random direction v, backpropagation says <grad L, v>; the central difference
(L(t + h v) - L(t - h v)) / 2h says the same up to h squared, in float64. |a - n| / max(|a|, |n|) is the relative error. A
kink (ReLU, max pooling) between the two points is an error of the difference and not of the gradient, and vanishes with h:
where the first step disagrees, others are tried, and the best counts. Where rounding hides both numbers at every
step, or every step finds another slope, `large_enough` is False, and the parameter is said to be unproven: a wrong
gradient is wrong by the same at every step.

Legend: B examples.
"""

from __future__ import annotations

import copy
import itertools
import math
import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lamina.answer import by_term
from lamina.leaf import leaf
from lamina.task import Batch, Output, Task

STEPS = (1e-5, 1e-6, 1e-7, 1e-4)
ROUNDING = 1e-15
"""Relative rounding of a loss in float64, a few units in the last place."""
AGREES = 1e-5
"""A relative error that needs no other step."""
WRONG = 1e-3
"""A relative error that no step brings down is a wrong gradient."""
VANISHING = 1e-3
"""First over last gradient-to-weight ratio below which gradients vanish; exploding above its inverse."""


class StaysDouble(TorchFunctionMode):
    """Inside, float64 is not rounded to float32 by a model that asks for `.float()` to be safe from half precision."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        wide = bool(args) and isinstance(args[0], Tensor) and args[0].dtype == torch.float64
        if wide and func is Tensor.float:
            return args[0]
        if wide and func is Tensor.to:
            args = tuple(torch.float64 if a is torch.float32 else a for a in args)
            kwargs = {k: torch.float64 if v is torch.float32 else v for k, v in (kwargs or {}).items()}
        return func(*args, **(kwargs or {}))


def mean_loss(task: Task, output: Output, batch: Batch) -> Tensor:
    """Summed loss over summed count, added over the terms."""
    total, count = by_term(task.loss(output, batch))
    return (total.sum(0) / count.sum(0).clamp(min=1)).sum()


def flow(task: Task, model: nn.Module, batch: Batch) -> list[dict[str, Any]]:
    """One row a parameter that learns: norms of its gradient and of itself, and their ratio. Modules keep their order."""
    model.zero_grad()
    mean_loss(task, task.outputs(model, batch), batch).backward()
    rows = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            grad = 0.0 if parameter.grad is None else float(parameter.grad.norm())
            size = float(parameter.detach().norm())
            rows.append(
                {
                    "parameter": name, "matrix": parameter.dim() > 1, "gradient": grad, "weight": size,
                    "ratio": grad / size if size > 0 else None, "per_value": grad / math.sqrt(parameter.numel()),
                }
            )  # fmt: skip
    model.zero_grad()
    return rows


def flow_in_words(rows: list[dict[str, Any]]) -> tuple[str, float | None]:
    """Whether gradients vanish or explode toward the input, and how many times smaller they are there than at the end.

    The matrices are compared, each by the root mean square of its gradient: the first third against the last third.
    """
    sizes = [row["per_value"] for row in rows if row["matrix"]]
    if len(sizes) < 2:
        return "Fewer than two weight matrices learn, so gradients have no depths to flow through.", None
    third = max(1, len(sizes) // 3)
    first, last = statistics.median(sizes[:third]), statistics.median(sizes[-third:])
    if last == 0 or not math.isfinite(first) or not math.isfinite(last):
        word = "No gradient reaches the last layers." if last == 0 else "Gradients are not finite numbers."
        return word, None
    ratio = first / last
    if ratio < VANISHING:
        return f"Gradients vanish: in the first layers they are {ratio:.2g} times what they are in the last ones.", ratio
    if ratio > 1 / VANISHING:
        return f"Gradients explode: in the first layers they are {ratio:.3g} times what they are in the last ones.", ratio
    return f"Gradients neither vanish nor explode: in the first layers they are {ratio:.2g} times those of the last.", ratio


def numerical_check(
    task: Task, model: nn.Module, batch: Batch, directions: int, seed: int, advance: Callable[[int], None] | None = None
) -> list[dict[str, Any]]:
    """One row a parameter that learns, and one for the leaf of the input: median and greatest relative error.

    Works on a copy of `model` in float64, on the CPU, in evaluation mode.
    """
    model = copy.deepcopy(model).cpu().double().eval()
    batch = {name: value.double() if value.is_floating_point() else value for name, value in batch.items()}
    generator = torch.Generator().manual_seed(seed)
    with StaysDouble():
        x, forward = leaf(task, model, batch)
        x = x.detach().double().requires_grad_()

        def loss() -> Tensor:
            return mean_loss(task, forward(x), batch)

        subjects = {name: p for name, p in model.named_parameters() if p.requires_grad}
        rows = [_checked("(the input)", x, loss, directions, generator)]
        for name, parameter in subjects.items():
            rows.append(
                _checked(name, parameter, lambda: mean_loss(task, task.outputs(model, batch), batch), directions, generator)
            )
            if advance:
                advance(1)
    return rows


def _settled(differences: list[float]) -> bool:
    """Whether two steps found the same slope. Rounding and kinks find another at every step, and prove nothing."""
    pairs = itertools.combinations(differences, 2)
    return any(abs(a - b) <= WRONG * max(abs(a), abs(b)) for a, b in pairs)


def _checked(name: str, x: Tensor, loss: Callable[[], Tensor], directions: int, generator: torch.Generator) -> dict[str, Any]:
    value = loss()
    (grad,) = torch.autograd.grad(value, x, allow_unused=True)
    value = value.detach()
    grad = torch.zeros_like(x) if grad is None else torch.nan_to_num(grad)
    at = x.detach().clone()
    scale = max(1.0, float(at[at.isfinite()].abs().mean())) if at.numel() else 1.0
    errors, told = [], []
    for _ in range(directions):
        v = torch.randn(x.shape, generator=generator, dtype=torch.float64)
        said = float((grad * v).sum())
        best, differences = math.inf, []
        for step in STEPS:
            h = step * scale
            with torch.no_grad():
                x.copy_(at + h * v)
                up = float(loss())
                x.copy_(at - h * v)
                down = float(loss())
                x.copy_(at)
            found = (up - down) / (2 * h)
            size = max(abs(found), abs(said))
            noise = ROUNDING * max(1.0, abs(value.item())) / h  # what rounding leaves of a difference
            if size > noise / WRONG:
                best = min(best, abs(found - said) / size)
                differences.append(found)
            if best < AGREES:
                break
        if best >= WRONG and not _settled(differences):
            best = math.inf
        told.append(math.isfinite(best))
        errors.append(best if told[-1] else 0.0)
    return {
        "parameter": name, "values": x.numel(), "gradient": float(grad.norm()), "median_error": statistics.median(errors),
        "greatest_error": max(errors), "agrees": max(errors) < WRONG, "large_enough": any(told),
    }  # fmt: skip
