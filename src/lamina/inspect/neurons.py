"""Units that say nothing: dead, or saturated, by the function that they go through, counted over examples.

Dead: a ReLU (or ReLU6) that is zero, a GELU, SiLU or ELU that stays in its flat left end (|output| < 1e-3 for GELU and SiLU,
below -0.99 for ELU), on every example and at every position. Saturated: a sigmoid within 0.01 of 0 or 1, a tanh within
0.02 of -1 or 1 (the slope is then under a twentieth of its greatest), at 95% of values or more.

Legend: B examples, C units (channels), P positions.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from lamina.inspect.trace import running
from lamina.task import Batch, Task

KINDS = {
    "relu": "ReLU", "relu_": "ReLU", "hardtanh": "ReLU6", "hardtanh_": "ReLU6", "gelu": "GELU", "silu": "SiLU",
    "silu_": "SiLU", "sigmoid": "sigmoid", "sigmoid_": "sigmoid", "tanh": "tanh", "tanh_": "tanh", "elu": "ELU",
    "elu_": "ELU", "leaky_relu": "LeakyReLU", "leaky_relu_": "LeakyReLU",
}  # fmt: skip
SATURATED = 0.95
"""Share of values at the flat ends from which a unit counts as saturated."""


class Units(TorchDispatchMode):
    """Adds up, for every activation in order of its call, how many values of each unit are silent or at a flat end."""

    def __init__(self, stack: list[str]) -> None:
        super().__init__()
        self.stack = stack
        self.found: dict[str, dict[str, Any]] = {}
        self.calls: dict[str, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        said = func(*args, **(kwargs or {}))
        kind = KINDS.get(func.overloadpacket.__name__)
        if kind and said.is_floating_point() and said.dim() > 1:
            place = self.stack[-1] if self.stack and self.stack[-1] else "(model)"
            call = self.calls[place] = self.calls.get(place, 0) + 1
            self.add(f"{place} #{call}", kind, said)
        return said

    def add(self, key: str, kind: str, said: Tensor) -> None:
        values_CP = said.movedim(units_at(said), 0).flatten(1)
        quiet_CP, flat_CP = ends(kind, values_CP)
        sums = [quiet_CP.sum(1).cpu(), flat_CP.sum(1).cpu()]
        row = self.found.setdefault(key, {"kind": kind, "count": 0, "sums": [torch.zeros_like(s) for s in sums]})
        row["count"] += values_CP.shape[1]
        row["sums"] = [a + b for a, b in zip(row["sums"], sums, strict=True)]


def units_at(said: Tensor) -> int:
    """The dimension of the units: channels of (B, C, H, W), the last of (B, D) and (B, T, D).

    A picture with its channels last is told by its two equal middle sizes.
    """
    return -1 if said.dim() != 4 or (said.shape[1] == said.shape[2] != said.shape[3]) else 1


def ends(kind: str, values: Tensor) -> tuple[Tensor, Tensor]:
    """Where values say nothing, and where they stand at an end whose slope is nearly zero."""
    nowhere = torch.zeros_like(values, dtype=torch.bool)
    if kind in ("ReLU", "ReLU6"):
        return values == 0, values >= 6 if kind == "ReLU6" else nowhere
    if kind in ("GELU", "SiLU"):
        return values.abs() < 1e-3, nowhere
    if kind == "ELU":
        return values < -0.99, nowhere
    if kind == "sigmoid":
        return nowhere, (values < 0.01) | (values > 0.99)
    return nowhere, values.abs() > 0.98 if kind == "tanh" else nowhere


def units_of(task: Task, model: nn.Module, batches: Iterable[Batch]) -> list[dict[str, Any]]:
    """One row an activation, in the order in which they run: units, how many are dead or saturated, and their indices."""
    with torch.no_grad(), running(model) as stack:
        units = Units(stack)
        for batch in batches:
            units.calls.clear()
            with units:
                task.outputs(model, batch)
    rows = []
    for key, row in units.found.items():
        quiet_C, flat_C = row["sums"]
        dead_C, saturated_C = quiet_C == row["count"], flat_C >= SATURATED * row["count"]
        rows.append(
            {
                "where": key, "activation": row["kind"], "units": len(quiet_C), "dead": int(dead_C.sum()),
                "saturated": int(saturated_C.sum()), "silent_share": float(quiet_C.sum() / row["count"] / len(quiet_C)),
                "flat_share": float(flat_C.sum() / row["count"] / len(quiet_C)),
                "dead_units": dead_C.nonzero()[:, 0].tolist(), "saturated_units": saturated_C.nonzero()[:, 0].tolist(),
            }
        )  # fmt: skip
    return rows
