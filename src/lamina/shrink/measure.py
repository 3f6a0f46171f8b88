"""What a run costs to keep and to ask: size on disk, parameters, multiplications, and latency beside another run's.

Legend: B = 1 example.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from lamina.answer import counted_flops
from lamina.data.columns import take
from lamina.shrink.few_bits import Int4Linear, Int8Linear
from lamina.task import Columns, Forward, Task

if TYPE_CHECKING:
    from lamina.run import Run

WARM = 5
"""Calls before the clock counts: caches, thread pools and kernels are then as they stay."""


def size_of(run: Run) -> int:
    """Bytes on disk of the file that answers."""
    return (run.served or run.folder / "model.safetensors").stat().st_size


def parameters_of(model: nn.Module) -> int:
    """Numbers that were learned, those of few bits among them."""
    few = sum(
        m.in_features * m.out_features + (0 if m.bias is None else m.out_features)
        for m in model.modules()
        if isinstance(m, (Int8Linear, Int4Linear))
    )
    return sum(p.numel() for p in model.parameters()) + few


def flops_of(model: nn.Module, inputs: Sequence[Tensor]) -> int:
    """Multiplications and additions of matrix products and convolutions for `inputs`, counted as they run."""
    return counted_flops(lambda: model(*inputs))


def inputs_of(task: Task, columns: Columns, count: int) -> tuple[Tensor, ...]:
    """The model's arguments for the first `count` examples, one of them again where there are fewer."""
    batch = task.encode(take(columns, [i % max(1, len(next(iter(columns.values())))) for i in range(count)]), "evaluate")
    return tuple(batch[spec.name] for spec in task.inputs)


def latencies(
    forwards: Mapping[str, Forward], inputs: Sequence[Tensor], seconds: float = 4.0, most: int = 200
) -> dict[str, float]:
    """The median seconds of one call of each. They take turns, A B A B, so that a busy moment meets all of them."""
    for forward in forwards.values():
        for _ in range(WARM):
            forward(*inputs)
    taken: dict[str, list[float]] = {name: [] for name in forwards}
    until = time.perf_counter() + seconds
    while len(next(iter(taken.values()))) < most and (time.perf_counter() < until or len(next(iter(taken.values()))) < 3):
        for name, forward in forwards.items():
            began = time.perf_counter()
            forward(*inputs)
            taken[name].append(time.perf_counter() - began)
    return {name: statistics.median(times) for name, times in taken.items()}


def compressed_size(run: Run) -> int:
    """Bytes of the weights after zlib: what zeros save where files are sent compressed."""
    import zlib

    return len(zlib.compress((run.folder / "model.safetensors").read_bytes(), 6))


def network_facts(run: Run, inputs: Sequence[Tensor]) -> dict[str, Any]:
    """Parameters and FLOPs. A run that answers by a graph has those of its parent, in fewer bits."""
    from lamina.run import Run

    opened = Run.load(run.info["parent"]["run"], run.info.get("task_file")) if run.served else run
    model = opened.model()
    return {"parameters": parameters_of(model), "flops": flops_of(model, inputs)}
