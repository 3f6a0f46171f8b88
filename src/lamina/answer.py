"""Asking a model about many examples: encode, predict and loss in batches, over any Forward."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lamina.data.columns import length, rows_of, take
from lamina.task import Batch, Columns, Forward, Output, Task

if TYPE_CHECKING:
    import torch

EVALUATION_BATCH = 250
"""Examples a batch when nothing is learned: large enough for throughput, small enough for the caches of a CPU."""


def answer(
    task: Task,
    forward: Forward,
    columns: Columns,
    batch_size: int = EVALUATION_BATCH,
    advance: Callable[[int], None] | None = None,
) -> tuple[dict[str, float], Columns]:
    """Metrics and predictions over `columns`, which hold labels.

    The predictions carry two more columns, `loss_total` and `loss_count`, one value an example, from which `loss` is
    summed loss over summed count. `advance(n)` is called after every batch, for a progress bar.
    """
    import numpy as np
    import torch

    predictions: list[dict[str, Any]] = []
    totals: list[torch.Tensor] = []
    counts: list[torch.Tensor] = []
    with torch.inference_mode():
        for start in range(0, length(columns), batch_size):
            rows = take(columns, np.arange(start, min(start + batch_size, length(columns))))
            batch = task.encode(rows, "evaluate")
            once = Once(forward)
            predictions += task.predict(once, batch)
            total_B, count_B = added(task.loss(once(*[batch[i.name] for i in task.inputs]), batch))
            totals.append(total_B.cpu())
            counts.append(count_B.cpu())
            if advance:
                advance(length(rows))
    said = rows_of(predictions)
    if not predictions:
        return {}, said
    said["loss_total"] = torch.cat(totals).double().numpy()  # type: ignore[assignment]
    said["loss_count"] = torch.cat(counts).double().numpy()  # type: ignore[assignment]
    return {**task.metrics(columns, said), "loss": loss_of(said)}, said


def loss_of(predictions: Columns) -> float:
    """Summed loss over summed count: the same whatever the batches were."""
    import numpy as np

    return float(np.sum(predictions["loss_total"]) / max(float(np.sum(predictions["loss_count"])), 1e-12))


def added(loss: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """The terms of a loss as one pair of (total (B,), count (B,)), each term averaged by its own count."""
    if not isinstance(loss, dict):
        return loss
    first = next(iter(loss.values()))[1]
    per_example = sum(total / count.clamp(min=1) for total, count in loss.values())
    return per_example * first, first  # type: ignore[return-value]


class Once:
    """A Forward that remembers its last call, so that predict and loss on one batch cost one forward."""

    def __init__(self, forward: Forward) -> None:
        self.forward = forward
        self.key: tuple[int, ...] | None = None
        self.said: Output | None = None

    def __call__(self, *inputs: Any) -> Output:
        key = tuple(id(x) for x in inputs)
        if key != self.key or self.said is None:
            self.key, self.said = key, self.forward(*inputs)
        return self.said


def to_device(batch: Batch, device: torch.device) -> Batch:
    return {name: value.to(device, non_blocking=True) for name, value in batch.items()}
