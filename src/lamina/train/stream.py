"""Training batches in a seeded order that a resumed run continues to the bit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from lamina.data.columns import length, take
from lamina.data.epochs import Epochs
from lamina.errors import LaminaError
from lamina.task import Batch, Columns, Mode, Task

SORTED = 50
"""Batches among which examples of like length are brought together."""
BLUR = 0.1
"""Share by which a length is changed at random, beside what rounding hides, before examples are sorted."""
ROUND = 8
"""Tokens are padded to a multiple of this: fewer shapes, fewer kernels to choose and blocks of memory to keep."""


class ShuffledStream(Epochs):
    """Every example once an epoch, in an order that depends on (seed, epoch) alone; its state is two numbers.

    A remainder smaller than a batch is left out of its epoch (another one each time): batch statistics of a few
    examples mislead, and compiled steps keep one shape. A set smaller than a batch is a batch of its own.

    With `lengths`, the examples of a batch are of like length, so that little of it is padding (`by_length`).
    """

    def __init__(
        self, task: Task, columns: Columns, size: int, seed: int, lengths: Sequence[int] | np.ndarray | None = None
    ) -> None:
        if length(columns) == 0:
            raise LaminaError("data: expected at least one training example; found none")
        self.task, self.columns, self.seed = task, columns, seed
        self.count = length(columns)
        self.lengths = None if lengths is None else np.asarray(lengths)
        self.size = min(size, self.count)
        self._order: tuple[int, np.ndarray] | None = None
        self.rows = np.empty(0, np.int64)
        """The rows of the last batch."""

    def order(self) -> np.ndarray:
        """This epoch's permutation, made once."""
        if self._order is None or self._order[0] != self.epoch:
            rng = np.random.default_rng((self.seed, self.epoch))
            order = rng.permutation(self.count)
            self._order = self.epoch, order if self.lengths is None else by_length(order, self.lengths, self.size, rng)
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


def by_length(order: np.ndarray, lengths: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """The rows of `order`, whole batches of like length first, in a random order; what fills no batch comes last.

    `order` is cut into stretches of `SORTED` batches; within each, examples are sorted by about their length, cut into batches,
    and the batches of all stretches are shuffled (as fairseq and torchtext's bucket iterator have it). Who stands with whom still
    changes every epoch.
    """
    whole = len(order) // size * size
    stretches = [order[i : min(i + SORTED * size, whole)] for i in range(0, whole, SORTED * size)]
    # Blurred, or few texts would always stand with the same ones.
    blurred = lengths * rng.uniform(1 - BLUR, 1 + BLUR, len(lengths)) + rng.uniform(0, ROUND, len(lengths))
    ordered = [rows[np.argsort(blurred[rows], kind="stable")].reshape(-1, size) for rows in stretches]
    batches = np.concatenate(ordered)
    return np.concatenate([batches[rng.permutation(len(batches))].reshape(-1), order[whole:]])


def token_stream(ids: Sequence[np.ndarray], labels: Mapping[str, np.ndarray], size: int, seed: int) -> ShuffledStream:
    """Batches of texts that are encoded already: `tokens` (B, T), padded on the right with 0, and the labels by name."""
    return ShuffledStream(_Padded(), {"tokens": ids, **labels}, size, seed, [len(row) for row in ids])  # type: ignore[arg-type]


class _Padded:
    """Stands for the task in a stream whose texts are encoded already."""

    def encode(self, columns: Columns, mode: Mode) -> Batch:
        import torch

        from lamina.modalities.text import padded

        labels = {name: torch.from_numpy(column) for name, column in columns.items() if name != "tokens"}  # type: ignore[arg-type]
        return {"tokens": torch.from_numpy(padded(columns["tokens"], ROUND)), **labels}
