"""Columns: equal-length sequences by name. Taking rows works the same for arrays, lists and lazy pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from lamina.task import Columns

if TYPE_CHECKING:
    import numpy as np


@runtime_checkable
class Takes(Protocol):
    """A lazy column: rows are chosen without reading them."""

    def __len__(self) -> int: ...
    def take(self, indices: np.ndarray, /) -> Any: ...


def length(columns: Columns) -> int:
    """The number of examples."""
    return len(next(iter(columns.values()))) if columns else 0


def take(columns: Columns, indices: Sequence[int] | np.ndarray) -> Columns:
    """The examples at `indices`, in that order. Arrays and lazy columns stay what they are; others become lists."""
    import numpy as np

    rows = np.asarray(indices, dtype=np.int64)
    return {name: _take(column, rows) for name, column in columns.items()}


def _take(column: Any, rows: np.ndarray) -> Any:
    return column.take(rows) if isinstance(column, Takes) else [column[i] for i in rows.tolist()]  # ndarray.take too


def rows_of(predictions: list[dict[str, Any]]) -> Columns:
    """A list of answers as columns; numbers and vectors of numbers become arrays, so that metrics can resample them."""
    import numpy as np

    if not predictions:
        return {}
    columns: Columns = {}
    for name in predictions[0]:
        values = [row[name] for row in predictions]
        numeric = isinstance(values[0], (int, float, bool))
        columns[name] = np.asarray(values) if numeric or isinstance(values[0], str) else values  # type: ignore[assignment]
    return columns
