"""Does the exported graph answer as the run does? Both are asked about every test example, and the answers are compared.

A random tensor proves little: a branch that it does not take, a size that it does not have, stay unseen.

Legend: B examples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lamina.answer import Once, by_term
from lamina.data.columns import length, rows_of, take
from lamina.errors import LaminaError
from lamina.export.session import OUTPUT, one_line
from lamina.task import Columns, Forward, Output, Task

BATCH = 256
SIZES = (1, 2, 7)
"""Batches that are tried before: a graph that was fixed to one size fails here."""


@dataclass(frozen=True)
class Difference:
    """Of one output, over all examples."""

    largest: float
    """The greatest absolute difference."""
    rms: float
    """Root mean square of what the run says."""

    @property
    def share(self) -> float:
        return self.largest / self.rms if self.rms > 0 else self.largest


@dataclass(frozen=True)
class Parity:
    """Two Forwards over the same examples."""

    count: int
    changed: int
    """Examples whose answer is another: another word or whole number, or a number beyond the tolerance."""
    outputs: Mapping[str, Difference]
    run: Mapping[str, float]
    """The metrics of the run's own model."""
    exported: Mapping[str, float]

    @property
    def worst(self) -> tuple[str, Difference]:
        return max(self.outputs.items(), key=lambda item: item[1].share)

    def as_json(self) -> dict[str, Any]:
        return {
            "examples": self.count,
            "changed_answers": self.changed,
            "max_abs_difference": {key: d.largest for key, d in self.outputs.items()},
            "max_difference_share": {key: d.share for key, d in self.outputs.items()},
            "metrics": {name: {"run": self.run[name], "exported": self.exported[name]} for name in self.run},
        }


class Kept:
    """A Forward that keeps what it said, call by call."""

    def __init__(self, forward: Forward) -> None:
        self.forward = forward
        self.said: list[dict[str, Tensor]] = []

    def __call__(self, *inputs: Tensor) -> Output:
        output = self.forward(*inputs)
        self.said.append(output if isinstance(output, dict) else {OUTPUT: output})
        return output

    @property
    def inner(self) -> Forward:
        """What it asks."""
        return self.forward


def compare(
    task: Task,
    reference: Forward,
    exported: Forward,
    examples: Columns,
    tolerance: float,
    advance: Callable[[int], None] = lambda n: None,
) -> Parity:
    """Ask both about all `examples`, which hold labels.

    Raises LaminaError where the exported graph fails, or gives outputs of another name or shape.
    """
    task, count = task.briefly(), length(examples)
    largest: dict[str, float] = {}
    squares: dict[str, float] = {}
    numbers: dict[str, int] = {}
    answers: tuple[list[dict[str, Any]], list[dict[str, Any]]] = ([], [])
    losses: tuple[list[Any], list[Any]] = ([], [])

    def ask(start: int, size: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        batch = task.encode(take(examples, np.arange(start, min(start + size, count))), "evaluate")
        first, second = Kept(reference), Kept(exported)
        inputs = [batch[spec.name] for spec in task.inputs]
        with torch.inference_mode():
            whole: list[Any] = []
            for kept, said in zip((first, second), made := ([], []), strict=True):
                once = Once(kept)
                try:
                    said += task.predict(once, batch)
                    whole.append(once(*inputs))  # what writes token by token may have made no whole call yet
                except Exception as error:  # a graph fails in any way
                    if kept is first:
                        raise
                    raise LaminaError(f"the exported graph: expected it to take {size} examples; {one_line(error)}") from error
        for one, other in zip(first.said, second.said, strict=True):
            same_shapes(one, other)
            for key in one:
                a, b = one[key].double(), other[key].double()
                apart = torch.where(a.isnan() & b.isnan(), 0.0, (a - b).abs()).nan_to_num(nan=math.inf)
                largest[key] = max(largest.get(key, 0.0), float(apart.max()))
                squares[key] = squares.get(key, 0.0) + float(a.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0).square().sum())
                numbers[key] = numbers.get(key, 0) + a.numel()
        for output, found in zip(whole, losses, strict=True):
            found[start:] = zip(*[part.tolist() for part in by_term(task.loss(output, batch))], strict=True)
        return made

    for size in SIZES:
        ask(0, min(size, count))
    for start in range(0, count, BATCH):
        for kept, more in zip(answers, ask(start, BATCH), strict=True):
            kept += more
        advance(min(BATCH, count - start))
    outputs = {key: Difference(largest[key], math.sqrt(squares[key] / max(numbers[key], 1))) for key in largest}
    if task.acts:
        with torch.inference_mode():
            metrics = [task.evaluate(forward, examples)[0] for forward in (reference, exported)]
    else:
        metrics = [task.metrics(examples, with_losses(said, found)) for said, found in zip(answers, losses, strict=True)]
    changed = sum(differ(a, b, tolerance) for a, b in zip(*answers, strict=True))
    return Parity(count, changed, outputs, *metrics)


def with_losses(answers: list[dict[str, Any]], losses: list[Any]) -> Columns:
    """Answers as columns, and the loss of each, as `lamina evaluate` hands them to metrics."""
    said = rows_of(answers)
    for name, column in zip(("loss_total", "loss_count"), zip(*losses, strict=True), strict=True):
        said[name] = np.asarray(column, np.float64)  # type: ignore[assignment]
    return said


def same_shapes(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> None:
    """Raises LaminaError where the outputs of a graph are not those of the run."""
    if set(one) != set(other):
        raise LaminaError(f"the exported graph: expected the outputs {', '.join(one)}; it gives {', '.join(other)}")
    for key in one:
        if one[key].shape != other[key].shape:
            raise LaminaError(
                f"the exported graph: expected {key} of shape {tuple(one[key].shape)}; it gives {tuple(other[key].shape)}"
            )


def differ(a: Any, b: Any, tolerance: float) -> bool:
    """Whether two answers are not the same: numbers within `tolerance`, absolute or relative, are."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return list(a) != list(b) or any(differ(a[key], b[key], tolerance) for key in a)
    if isinstance(a, float) and isinstance(b, float):
        return not (math.isclose(a, b, rel_tol=tolerance, abs_tol=tolerance) or (math.isnan(a) and math.isnan(b)))
    if isinstance(a, Sequence) and isinstance(b, Sequence) and not isinstance(a, str):
        return len(a) != len(b) or any(differ(x, y, tolerance) for x, y in zip(a, b, strict=True))
    return bool(a != b)


def require(parity: Parity, tolerance: float) -> None:
    """Raises LaminaError with the numbers where an output differs by more than `tolerance` of its root mean square."""
    key, difference = parity.worst
    if not difference.share <= tolerance:
        moved = ", ".join(f"{name} {parity.run[name]:.4f} -> {parity.exported[name]:.4f}" for name in list(parity.run)[:2])
        raise LaminaError(
            f"parity: expected outputs within {tolerance:g} of the run's; {key} differs by up to {difference.largest:.3g} "
            f"(its root mean square is {difference.rms:.3g}) over {parity.count:,} examples, {parity.changed:,} answers "
            f"change ({moved}); nothing was exported"
        )
