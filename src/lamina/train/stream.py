"""Training batches in a seeded order that a resumed run continues to the bit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from lamina.data.columns import length, take
from lamina.errors import LaminaError
from lamina.task import Batch, Columns, Task


class ShuffledStream:
    """Every example once an epoch, in an order that depends on (seed, epoch) alone; its state is two numbers.

    A remainder smaller than a batch is left out of its epoch (another one each time): batch statistics of a few
    examples mislead, and compiled steps keep one shape. A set smaller than a batch is a batch of its own.
    """

    safe = True

    def __init__(self, task: Task, columns: Columns, size: int, seed: int) -> None:
        if length(columns) == 0:
            raise LaminaError("data: expected at least one training example; found none")
        self.task, self.columns, self.seed = task, columns, seed
        self.count = length(columns)
        self.size = min(size, self.count)
        self.epoch, self.position = 0, 0
        self._order: tuple[int, np.ndarray] | None = None
        self.rows = np.empty(0, np.int64)
        """The rows of the last batch."""

    def order(self) -> np.ndarray:
        """This epoch's permutation, made once."""
        if self._order is None or self._order[0] != self.epoch:
            self._order = self.epoch, np.random.default_rng((self.seed, self.epoch)).permutation(self.count)
        return self._order[1]

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        if self.position + self.size > self.count:
            self.epoch, self.position = self.epoch + 1, 0
        self.rows = self.order()[self.position : self.position + self.size]
        self.position += self.size
        return self.task.encode(take(self.columns, self.rows), "train")

    def where(self) -> str:
        """The last batch in words, for messages."""
        names = self.columns.get("path")
        rows = self.rows[:4].tolist()
        named = [str(names[i]) for i in rows] if names is not None else [f"row {i}" for i in rows]
        more = "" if len(self.rows) <= 4 else f" and {len(self.rows) - 4} more"
        return f"epoch {self.epoch + 1}, examples {', '.join(named)}{more}"

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.epoch, self.position = int(state["epoch"]), int(state["position"])

    def after_step(self) -> None:
        pass
