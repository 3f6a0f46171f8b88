"""Rows whose cells may hold anything that JSON can, for the modalities that bring no reader of their own.

A sequence to tag, a text, an observation: what a client sends is an object with a value for each column that is asked for.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lamina.data.finding import Finding
from lamina.data.table_files import json_objects
from lamina.errors import LaminaError
from lamina.modalities import table

Row = tuple[str | None, Mapping[str, Any]]
"""Where it stands (None: in a program), and its cells by column."""


def gather_inputs(sources: Sequence[Any], asks: Sequence[str]) -> dict[str, Any]:
    """What `lamina predict` points at, as the columns `asks` and a column `source` (`file:line`, or `row 3`).

    A source is a file of JSON lines, `-` for standard input, one row as a dict, a list of rows, or whatever else a table
    can be read from (CSV, Parquet, a data frame). Other columns are ignored.
    Raises LaminaError where a column that is asked for is absent, or a row cannot be read.
    """
    if not sources:
        raise LaminaError(f"expected rows to answer, with the columns {', '.join(asks)}")
    columns: dict[str, list[Any]] = {name: [] for name in (*asks, "source")}
    for source in sources:
        rows = _rows(source)
        part = table.gather_inputs([source], asks) if rows is None else _columns(rows, asks, len(columns["source"]))
        for name, column in columns.items():
            column.extend(part[name])
    return dict(columns)


def _rows(source: Any) -> list[Row] | None:
    """The rows of a source that speaks JSON; None for another, which is a table."""
    if isinstance(source, Mapping):
        return [(None, source)]
    if isinstance(source, list) and all(isinstance(row, Mapping) for row in source):
        return [(None, row) for row in source]
    if not isinstance(source, (str, Path)):
        return None
    if source == "-":
        begins = sys.stdin.buffer.peek(64).lstrip()[:1]  # type: ignore[attr-defined]
        return _objects(sys.stdin.buffer.read(), "standard input") if begins in (b"{", b"[") else None
    path = Path(source)
    speaks_json = path.suffix.lower() in (".jsonl", ".ndjson", ".json") and path.is_file()
    return _objects(path.read_bytes(), str(path)) if speaks_json else None


def _objects(content: bytes, file: str) -> list[Row]:
    findings: list[Finding] = []
    objects = json_objects(content, file, findings)
    if findings:
        raise LaminaError(str(findings[0]))
    return [(f"{file}:{number}", item) for number, item in objects]


def _columns(rows: Sequence[Row], asks: Sequence[str], before: int) -> dict[str, list[Any]]:
    """Rows as columns; `before` rows of other sources are already counted."""
    columns: dict[str, list[Any]] = {name: [] for name in (*asks, "source")}
    for number, (place, row) in enumerate(rows, start=before + 1):
        where = place or f"row {number}"
        absent = [name for name in asks if name not in row]
        if absent:
            there = ", ".join(map(str, list(row)[:20]))
            raise LaminaError(f"{where}: expected the columns {', '.join(asks)}; missing: {', '.join(absent)} (found {there})")
        for name in asks:
            columns[name].append(row[name])
        columns["source"].append(where)
    return columns
