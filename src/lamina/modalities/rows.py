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

Row = tuple[str | None, Mapping[str, Any] | str]
"""Where it stands (None: in a program), and its cells by column, or why it cannot be read."""


def gather_inputs(sources: Sequence[Any], asks: Sequence[str], optional: Sequence[str] = ()) -> dict[str, Any]:
    """What `lamina predict` points at, as the columns `asks` and `optional` (None where a row has none), a column `source`
    (`file:line`, or `row 3`) and, where rows cannot be read, a column `unread` that says why, None for the others.

    A source is a file of JSON lines, `-` for standard input, one row as a dict, a list of rows, or whatever else a table
    can be read from (CSV, Parquet, a data frame). Other columns are ignored.
    Raises LaminaError where a column that is asked for is absent, or a source as a whole cannot be read.
    """
    if not sources:
        raise LaminaError(f"expected rows to answer, with the columns {', '.join(asks)}")
    columns: dict[str, list[Any]] = {name: [] for name in (*asks, *optional, "source", "unread")}
    for source in sources:
        rows = _rows(source)
        part = table.gather_inputs([source], asks) if rows is None else _columns(rows, asks, optional, len(columns["source"]))
        for name, column in columns.items():
            column.extend(part[name] if name in part else [None] * len(part["source"]))
    if not any(columns["unread"]):
        del columns["unread"]
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
    rows: list[tuple[int, Mapping[str, Any] | str]] = list(json_objects(content, file, findings))
    for finding in findings:
        if finding.row is None:
            raise LaminaError(str(finding))
        rows.append((finding.row, str(finding)))
    return [(f"{file}:{number}", row) for number, row in sorted(rows, key=lambda row: row[0])]


def _columns(rows: Sequence[Row], asks: Sequence[str], optional: Sequence[str], before: int) -> dict[str, list[Any]]:
    """Rows as columns; `before` rows of other sources are already counted."""
    columns: dict[str, list[Any]] = {name: [] for name in (*asks, *optional, "source", "unread")}
    for number, (place, row) in enumerate(rows, start=before + 1):
        where = place or f"row {number}"
        if isinstance(row, str):
            cells, why = dict.fromkeys(asks), row
        else:
            cells, why = row, None
        absent = [name for name in asks if name not in cells]
        if absent:
            there = ", ".join(map(str, list(cells)[:20]))
            raise LaminaError(f"{where}: expected the columns {', '.join(asks)}; missing: {', '.join(absent)} (found {there})")
        for name in (*asks, *optional):
            columns[name].append(cells.get(name))
        columns["source"].append(where)
        columns["unread"].append(why)
    return columns
