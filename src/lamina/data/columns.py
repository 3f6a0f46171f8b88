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
    import numpy as np

    if isinstance(column, np.ndarray):  # whose own take flattens
        return column[rows]
    return column.take(rows) if isinstance(column, Takes) else [column[i] for i in rows.tolist()]


def rows_of(predictions: list[dict[str, Any]]) -> Columns:
    """A list of answers as columns, so that metrics can take and resample them fast.

    Numbers and strings become arrays (N,). Dictionaries of numbers with the same keys become one array (N, K), its
    columns in the order of the keys. Anything else stays a list.
    """
    import numpy as np

    columns: Columns = {}
    for name in predictions[0] if predictions else ():
        values = [row[name] for row in predictions]
        if isinstance(values[0], (int, float, bool, str)):
            columns[name] = np.asarray(values)  # type: ignore[assignment]
        elif isinstance(values[0], dict) and all(isinstance(v, (int, float)) for v in values[0].values()):
            columns[name] = np.asarray([list(row.values()) for row in values])  # type: ignore[assignment]
        else:
            columns[name] = values
    return columns
