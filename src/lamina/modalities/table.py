"""Tables: raw columns -> one float32 array (B, C), and the rows that a person asks about.

A cell is a number in raw units, the code of a category (1..n, 0 for one that training never showed), or NaN where it is
missing. Everything that stands here needs numpy only, so that an exported folder can carry it.

B rows, C columns.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from lamina.errors import LaminaError

MISSING = frozenset({"", "na", "nan", "null", "none", "?", "n/a", "#n/a", "<na>"})
"""How a missing cell is spelled, in lower case."""
MOST_CATEGORIES = 1000
"""The most frequent categories are kept; the rest count as unknown."""
MOST_BINS = 32
"""Bins of a numeric column, at equal shares of the training rows (48 in TabM's code, for larger tables)."""
LARGEST = float(np.finfo(np.float32).max)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|infinity)", re.IGNORECASE | re.ASCII)


def number_of(value: Any) -> float | None:
    """A cell as a number: NaN where it is missing, None where it is a word."""
    if value is None:
        return float("nan")
    if isinstance(value, str):
        text = value.strip()
        if text.lower() in MISSING:
            return float("nan")
        return float(text) if _NUMBER.fullmatch(text) else None
    if isinstance(value, (bool, int, float, np.number, np.bool_)):
        try:
            return float(value)
        except OverflowError:  # a whole number beyond what a float holds: infinite, which is told later
            return float("inf") if value > 0 else float("-inf")
    return None


def category_of(value: Any) -> str | None:
    """A cell as a category: None where it is missing. One spelling each for truth and for whole numbers."""
    if value is None:
        return None
    if isinstance(value, str):
        text = value.strip()
        lower = text.lower()
        if lower in MISSING:
            return None
        return lower if lower in ("true", "false") else text
    if isinstance(value, (bool, np.bool_)):
        return "true" if value else "false"
    if isinstance(value, (int, np.integer)):
        return str(int(value))
    if isinstance(value, (float, np.floating)):
        number = float(value)
        if np.isnan(number):
            return None
        return str(int(number)) if number.is_integer() else repr(number)
    return str(value)


def is_numeric(column: Any) -> bool:
    """True where the cells are numbers, by type: text is text, and truth values are categories."""
    if isinstance(column, np.ndarray):
        if column.dtype != object:
            return bool(np.issubdtype(column.dtype, np.number))
        column = column.tolist()
    present = [v for v in column if v is not None]
    return all(isinstance(v, (int, float, np.number)) and not isinstance(v, (bool, np.bool_)) for v in present)


@dataclass(frozen=True)
class NumberColumn:
    """What training rows teach about a numeric column, all in raw units."""

    name: str
    mean: float
    std: float
    low: float
    high: float
    center: float
    """The median."""
    scale: float
    """The interquartile range over 1.349, as wide as a standard deviation where the column is normal. Where more than
    half of the rows are equal, the standard deviation."""
    edges: tuple[float, ...]
    """Quantiles, increasing: the borders of the bins of the piecewise linear encoding."""
    missing: bool
    """Some training row lacks the cell."""
    kind: str = "number"

    def encode(self, column: Any, where: Any) -> np.ndarray:
        """(B,) float64 in raw units. Raises LaminaError at a word, and at a number that float32 cannot hold."""
        if isinstance(column, np.ndarray) and column.dtype != object and np.issubdtype(column.dtype, np.number):
            values = column.astype(np.float64)
        else:
            numbers = [number_of(v) for v in column]
            for row, number in enumerate(numbers):
                if number is None:
                    got = f"got {column[row]!r}"
                    raise LaminaError(f"{_place(where, row)}, column {self.name!r}: expected a number, {got}")
            values = np.array(numbers, dtype=np.float64)
        large = np.flatnonzero(np.abs(values) > LARGEST)
        if large.size:
            row = int(large[0])
            got = f"got {values[row]:g}"
            raise LaminaError(f"{_place(where, row)}, column {self.name!r}: expected a finite number, {got}")
        return values

    def spec(self) -> dict[str, Any]:
        """What the model is built from."""
        return {
            "kind": self.kind,
            "center": self.center,
            "scale": self.scale,
            "edges": list(self.edges),
            "missing": self.missing,
        }


@dataclass(frozen=True)
class CategoryColumn:
    """What training rows teach about a column of categories: code i + 1 stands for `values[i]`."""

    name: str
    values: tuple[str, ...]
    missing: bool
    """Some training row lacks the cell."""
    kind: str = "category"

    def encode(self, column: Any, where: Any) -> np.ndarray:
        """(B,) codes; 0 for an unknown category, NaN for a missing cell."""
        codes: dict[str | None, float] = {value: float(i + 1) for i, value in enumerate(self.values)}
        codes[None] = float("nan")
        return np.array([codes.get(category_of(v), 0.0) for v in column], dtype=np.float64)

    def spec(self) -> dict[str, Any]:
        """What the model is built from."""
        return {"kind": self.kind, "count": len(self.values), "missing": self.missing}


Column: TypeAlias = "NumberColumn | CategoryColumn"


@dataclass(frozen=True)
class TableEncoder:
    """Raw columns -> (B, C) float32, by what the training rows taught. Plain numbers and strings: JSON holds it."""

    columns: tuple[Column, ...] = field(default=())

    @staticmethod
    def fit(columns: Mapping[str, Any], names: Sequence[str]) -> TableEncoder:
        """Learn the columns `names` of training rows. The order of the rows does not matter."""
        return TableEncoder(tuple(fit_column(name, columns[name]) for name in names))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(c.name for c in self.columns)

    def encode(self, columns: Mapping[str, Any]) -> np.ndarray:
        """(B, C) float32: raw units for numbers, codes for categories, NaN where missing. Other columns are ignored.

        Raises LaminaError where a column is absent, or a cell is not what its column holds; a `source` column, where
        there is one, says whose row it was.
        """
        absent = [name for name in self.names if name not in columns]
        if absent:
            raise LaminaError(f"expected the columns {', '.join(self.names)}; missing: {', '.join(absent)}")
        where = columns.get("source") if "source" not in self.names else None
        encoded = [c.encode(columns[c.name], where) for c in self.columns]
        return np.stack(encoded, axis=1).astype(np.float32) if encoded else np.zeros((0, 0), np.float32)

    def decode(self, table: np.ndarray) -> dict[str, list[Any]]:
        """The inverse of `encode`: cells as numbers and strings, None where missing or unknown."""
        out: dict[str, list[Any]] = {}
        for column, cells in zip(self.columns, np.asarray(table).T, strict=True):
            if isinstance(column, NumberColumn):
                out[column.name] = [None if np.isnan(v) else float(v) for v in cells]
            else:
                known = [not np.isnan(v) and 1 <= v <= len(column.values) for v in cells]
                out[column.name] = [column.values[int(v) - 1] if k else None for v, k in zip(cells, known, strict=True)]
        return out

    def bounds(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """(low, high) of each column over the training rows; codes run from 0 to the number of categories."""
        low = tuple(c.low if isinstance(c, NumberColumn) else 0.0 for c in self.columns)
        high = tuple(c.high if isinstance(c, NumberColumn) else float(len(c.values)) for c in self.columns)
        return low, high

    def specs(self) -> list[dict[str, Any]]:
        """What a model of tables is built from, a column each."""
        return [c.spec() for c in self.columns]

    def state(self) -> list[dict[str, Any]]:
        """JSON."""
        return json.loads(json.dumps([asdict(c) for c in self.columns], allow_nan=False))

    @staticmethod
    def from_state(state: Iterable[Mapping[str, Any]]) -> TableEncoder:
        """The inverse of `state`."""
        made: list[Column] = []
        for item in state:
            if item["kind"] == "number":
                made.append(NumberColumn(**{**item, "edges": tuple(item["edges"])}))
            else:
                made.append(CategoryColumn(**{**item, "values": tuple(item["values"])}))
        return TableEncoder(tuple(made))


def fit_column(name: str, column: Any) -> Column:
    """Learn one column from training rows; its kind is that of its cells."""
    if is_numeric(column):
        return _fit_number(name, column)
    texts = [category_of(v) for v in column]
    counts: dict[str, int] = {}
    for text in texts:
        if text is not None:
            counts[text] = counts.get(text, 0) + 1
    kept = sorted(counts, key=lambda v: (-counts[v], v))[:MOST_CATEGORIES]
    return CategoryColumn(name, tuple(sorted(kept)), missing=None in texts)


def _fit_number(name: str, column: Any) -> NumberColumn:
    blank = NumberColumn(name, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, (), missing=len(column) > 0)
    cells = np.sort(blank.encode(column, None))  # sorted, so that sums do not depend on the order of the rows
    values = cells[~np.isnan(cells)]
    if values.size == 0:
        return blank
    # What the model computes in is float32: cells that it cannot tell apart must not look different here.
    values = values.astype(np.float32).astype(np.float64)
    mean, std = float(values.mean()), float(values.std())
    q1, median, q3 = (float(q) for q in np.quantile(values, (0.25, 0.5, 0.75)))
    spread = (q3 - q1) / 1.349
    scale = spread if spread > 0 else std
    if not scale > 1e-30:  # a constant column: any scale will do, its standardized value is zero
        return NumberColumn(name, mean, 0.0, median, median, median, 1.0, (), missing=values.size < cells.size)
    edges = tuple(float(e) for e in np.unique(np.quantile(values, np.linspace(0, 1, MOST_BINS + 1))))
    low, high = float(values[0]), float(values[-1])
    return NumberColumn(name, mean, std, low, high, median, scale, edges, missing=values.size < cells.size)


def _place(where: Any, row: int) -> str:
    return str(where[row]) if where is not None else f"row {row + 1}"


def gather_inputs(sources: Sequence[Any], asks: Sequence[str]) -> dict[str, Any]:
    """What `lamina predict` points at, as the columns `asks`, a column `source` (`file:line`, or `row 3`) and, where rows
    cannot be read, a column `unread` that says why, None for the others.

    A source is a CSV, Parquet or JSON-lines file, `-` for standard input (CSV with a header, or JSON lines), one row
    as a dict, a dict of columns, a list of rows, or a data frame. Other columns are ignored.
    Raises LaminaError where a column that is asked for is absent, or a source as a whole cannot be read.
    """
    from lamina.data import table_files

    columns: dict[str, list[Any]] = {name: [] for name in asks}
    places: list[str] = []
    unread: list[str | None] = []
    if not sources:
        raise LaminaError(f"expected rows to answer: a table with the columns {', '.join(asks)}")
    for source in sources:
        if isinstance(source, str) and source == "-":
            raw = _from_standard_input()
        elif isinstance(source, (str, os.PathLike)):
            raw = table_files.read_file(Path(source))
        elif isinstance(source, Mapping) and not any(_is_sequence(v) for v in source.values()):
            raw = table_files.from_object([source], "rows")
        else:
            raw = table_files.from_object(source, "rows")
        broken: dict[int, str] = {}
        for finding in raw.findings:
            if finding.severity == "error":
                if finding.row is None:
                    raise LaminaError(str(finding))
                broken[finding.row] = str(finding)
        absent = [name for name in asks if name not in raw.columns]
        if absent:
            there = ", ".join(list(raw.columns)[:20])
            raise LaminaError(f"{raw.file}: expected the columns {', '.join(asks)}; missing: {', '.join(absent)} (found {there})")
        rows: list[tuple[int, int | None]] = [(raw.line(i), i) for i in range(len(raw))]
        rows = sorted([*rows, *((line, None) for line in broken)], key=lambda row: row[0])
        for name in asks:
            cells = raw.columns[name]
            columns[name] += [None if i is None else cells[i] for _, i in rows]
        unread += [broken[line] if i is None else None for line, i in rows]
        before = len(places)
        places += [f"row {before + n}" if raw.file == "rows" else f"{raw.file}:{line}" for n, (line, _) in enumerate(rows, 1)]
    return {**columns, "source": places} | ({"unread": unread} if any(unread) else {})


def _from_standard_input() -> Any:
    from lamina.data import table_files

    content = sys.stdin.buffer.read()
    if not content.strip():
        raise LaminaError("standard input is empty: expected CSV with a header, or JSON lines")
    read = table_files.read_json_lines if content.lstrip()[:1] in (b"{", b"[") else table_files.read_csv
    return read(content, "standard input")


def _is_sequence(value: Any) -> bool:
    return isinstance(value, (list, tuple, np.ndarray))
