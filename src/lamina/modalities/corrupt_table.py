"""Corruptions of tables: what goes wrong between where rows are measured and where they are answered.

Six kinds at five severities, on raw columns. There is no standard set for tables; these are the faults that surveys of
data quality name: measurement noise, missing cells, wrong codes, drift, mistaken units, and columns mixed up among rows.
Draws are shared by the severities: what a weaker one hits, a stronger one hits as well.

Legend: N rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from lamina.errors import LaminaError
from lamina.modalities.table import category_of, is_numeric, number_of

Raw: TypeAlias = "dict[str, Any]"
"""Columns of N cells: float64 arrays (NaN where missing) for numbers, object arrays (None where missing) for categories."""

STRENGTHS: dict[str, tuple[float, float, float, float, float]] = {
    "gaussian_noise": (0.1, 0.2, 0.4, 0.7, 1.0),  # standard deviations of each numeric column
    "missing_values": (0.05, 0.1, 0.2, 0.35, 0.5),  # share of cells
    "swapped_categories": (0.05, 0.1, 0.2, 0.35, 0.5),  # share of categorical cells
    "shifted_mean": (0.1, 0.25, 0.5, 0.75, 1.0),  # standard deviations, up or down, the same for all rows
    "scale_errors": (0.01, 0.02, 0.05, 0.1, 0.2),  # share of numeric cells
    "permuted_columns": (0.05, 0.1, 0.2, 0.35, 0.5),  # share of columns, at least one
}
KINDS = tuple(STRENGTHS)
UNITS = (2.54, 10.0, 100.0, 1000.0)
"""Mistaken units: inches and centimetres, and powers of ten."""


def corrupt(columns: Mapping[str, Any], names: Sequence[str], kind: str, severity: int, seed: int = 0) -> Raw | None:
    """The columns `names` of a table, corrupted; None where the kind has nothing to change, such as no category.

    Raises LaminaError for an unknown kind or severity.
    """
    if kind not in STRENGTHS:
        raise LaminaError(f"kind: expected one of {', '.join(KINDS)}; got {kind!r}")
    if severity not in range(1, 6):
        raise LaminaError(f"severity: expected a whole number from 1 to 5; got {severity}")
    table = {name: plain(columns[name]) for name in names}
    numbers = [name for name in names if table[name].dtype != object and spread(table[name]) > 0]
    rng = np.random.default_rng((seed, KINDS.index(kind)))
    return CHANGES[kind](table, numbers, STRENGTHS[kind][severity - 1], rng)


def plain(column: Any) -> np.ndarray:
    """A column as Raw holds it."""
    if isinstance(column, np.ndarray) and column.dtype.kind in "iuf":
        return column.astype(np.float64)
    if is_numeric(column):
        return np.array([number_of(v) for v in column], dtype=np.float64)
    cells = np.empty(len(column), dtype=object)
    cells[:] = [category_of(v) for v in column]
    return cells


def spread(values_N: np.ndarray) -> float:
    """The standard deviation of the cells that are there; 0 where there are none."""
    there = values_N[np.isfinite(values_N)]
    return float(there.std()) if there.size else 0.0


def gaussian_noise(table: Raw, numbers: list[str], amount: float, rng: np.random.Generator) -> Raw | None:
    """Noise of every measurement, in units of the column's spread."""
    noise = {name: rng.standard_normal(len(table[name])) for name in numbers}
    return {**table, **{n: table[n] + amount * spread(table[n]) * noise[n] for n in numbers}} if numbers else None


def missing_values(table: Raw, numbers: list[str], share: float, rng: np.random.Generator) -> Raw | None:
    """Cells that nobody filled in."""
    made = {}
    for name, cells in table.items():
        gone_N = rng.random(len(cells)) < share
        made[name] = np.where(gone_N, None if cells.dtype == object else np.nan, cells)
    return made


def swapped_categories(table: Raw, numbers: list[str], share: float, rng: np.random.Generator) -> Raw | None:
    """Cells that hold another category of their column."""
    made = dict(table)
    for name, cells in table.items():
        known = sorted({c for c in cells if c is not None}) if cells.dtype == object else []
        hit_N, other_N = rng.random(len(cells)) < share, rng.random(len(cells))
        if len(known) < 2:
            continue
        at_N = np.array([known.index(c) if c is not None else -1 for c in cells])
        step_N = 1 + (other_N * (len(known) - 1)).astype(int)  # 1 to K - 1: never its own
        swapped_N = np.array(known, dtype=object)[(at_N + step_N) % len(known)]
        made[name] = np.where(hit_N & (at_N >= 0), swapped_N, cells)
    return made if any(made[name] is not table[name] for name in table) else None


def shifted_mean(table: Raw, numbers: list[str], amount: float, rng: np.random.Generator) -> Raw | None:
    """Instruments that drifted: each column by as much up or down for every row."""
    signs = dict(zip(numbers, rng.choice((-1.0, 1.0), len(numbers)), strict=True))
    return {**table, **{n: table[n] + amount * spread(table[n]) * signs[n] for n in numbers}} if numbers else None


def scale_errors(table: Raw, numbers: list[str], share: float, rng: np.random.Generator) -> Raw | None:
    """Numbers in another unit than they should be."""
    made = dict(table)
    for name in numbers:
        count = len(table[name])
        hit_N, factor_N, upwards_N = rng.random(count) < share, rng.choice(UNITS, count), rng.random(count) < 0.5
        made[name] = np.where(hit_N, table[name] * np.where(upwards_N, factor_N, 1 / factor_N), table[name])
    return made if numbers else None


def permuted_columns(table: Raw, numbers: list[str], share: float, rng: np.random.Generator) -> Raw | None:
    """Columns whose cells belong to other rows."""
    names = [list(table)[i] for i in rng.permutation(len(table))]
    rows = {name: rng.permutation(len(table[name])) for name in names}
    return {**table, **{name: table[name][rows[name]] for name in names[: max(1, round(share * len(names)))]}}


CHANGES: dict[str, Callable[[Raw, list[str], float, np.random.Generator], Raw | None]] = {
    "gaussian_noise": gaussian_noise,
    "missing_values": missing_values,
    "swapped_categories": swapped_categories,
    "shifted_mean": shifted_mean,
    "scale_errors": scale_errors,
    "permuted_columns": permuted_columns,
}
