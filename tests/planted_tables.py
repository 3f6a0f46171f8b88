"""Planted defects of tables: files that cannot be read, rows that cannot be used, and tables that are spoilt."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet


def rows(count: int = 60) -> list[list[str]]:
    rng = np.random.default_rng(0)
    return [[f"{rng.normal():.3f}", ["red", "blue", "green"][int(rng.integers(3))], ["no", "yes"][i % 2]] for i in range(count)]


def csv_of(table: Sequence[Sequence[str]], head: str = "size,colour,label") -> str:
    return "\n".join([head, *(",".join(row) for row in table)]) + "\n"


def planted(column: int, value: str, line: int = 9) -> str:
    """A good table with another cell in `line`."""
    table = rows()
    table[line - 2][column] = value
    return csv_of(table)


def every(column: int, value: str) -> str:
    return csv_of([[*row[:column], value, *row[column + 1 :]] for row in rows()])


def json_lines(row: str) -> str:
    """Good JSON lines with `row` in line 9."""
    lines = [json.dumps({"size": float(a), "colour": b, "label": c}) for a, b, c in rows()]
    return "\n".join([*lines[:8], row, *lines[8:]]) + "\n"


def parquet_of(**columns: Any) -> bytes:
    buffer = io.BytesIO()
    parquet.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


FORTY: dict[str, Any] = {"size": [i / 7 for i in range(40)], "label": ["a", "b"] * 20}
BAD_TABLES: dict[str, tuple[str, str | bytes, tuple[str, ...], str]] = {
    "a word among numbers": ("t.csv", planted(0, "tall"), (), "not-a-number: t.csv:9: column 'size': expected a number, got 'tall'"),
    "thousands with a comma": ("t.csv", planted(0, '"1,234"'), (), "not-a-number: t.csv:9: column 'size'"),
    "a percentage": ("t.csv", planted(0, "12%"), (), "not-a-number: t.csv:9: column 'size'"),
    "digits of another script": ("t.csv", planted(0, "١٢"), (), "not-a-number: t.csv:9: column 'size'"),
    "an infinite number": ("t.csv", planted(0, "-inf"), (), "infinite-value: t.csv:9: column 'size'"),
    "a number beyond single precision": ("t.csv", planted(0, "1e39"), (), "infinite-value: t.csv:9: column 'size'"),
    "a number beyond double precision": ("t.csv", planted(0, "1e400"), (), "infinite-value: t.csv:9: column 'size'"),
    "an answer that is missing": ("t.csv", planted(2, ""), (), "missing-label: t.csv:9: column 'label'"),
    "an answer that is not available": ("t.csv", planted(2, "N/A"), (), "missing-label: t.csv:9: column 'label'"),
    "a field too many": ("t.csv", planted(2, "no,more"), (), "wrong-field-count: t.csv:9: expected 3 fields, as in the first line; got 4"),
    "a line that breaks off": ("t.csv", csv_of([*rows(), ["0.5", "red"]]), (), "wrong-field-count: t.csv:62: expected 3 fields"),
    "a quote that is never closed": ("t.csv", planted(1, '"red'), (), "wrong-field-count: t.csv:9: "),
    "a NUL byte": ("t.csv", planted(1, "re\0d"), (), "--data t.csv:9: expected text; found a NUL byte"),
    "broken UTF-8": ("t.csv", planted(1, "grün").encode() + b"1,r\xffd,no\n", (), "--data t.csv:62: expected UTF-8 text; found byte 0xff"),
    "UTF-16": ("t.csv", csv_of(rows()).encode("utf-16"), (), "--data t.csv: expected UTF-8 text; this is UTF-16"),
    "a gzipped table": ("t.csv", b"\x1f\x8b\x08\0" + bytes(50), (), "--data t.csv:1: expected text; found a NUL byte"),
    "nothing in the file": ("t.csv", " \n\n", (), "--data t.csv: expected a table with a header and rows; the file is empty"),
    "a header alone": ("t.csv", "size,colour,label\n", (), "--data t.csv: expected rows below the header; there are none"),
    "two columns of one name": ("t.csv", csv_of(rows(), "size,size,label"), (), "--data t.csv: expected column names that differ; 'size' stands 2 times"),
    "answers without inputs": ("t.csv", "label\n" + "a\nb\n" * 20, (), "--data t.csv: expected a column of answers beside the inputs"),
    "inputs that never vary": ("t.csv", "x,label\n" + "1,a\n1,b\n" * 20, (), "--data t.csv: expected a column to learn from beside 'label'; none is left"),
    "one class": ("t.csv", every(2, "yes"), (), "--data t.csv: column 'label': expected at least two classes; every row has 'yes'"),
    "no answer at all": ("t.csv", every(2, ""), (), "--data t.csv: column 'label': expected answers; every row lacks one"),
    "a name in every row for an answer": ("t.csv", csv_of([[a, b, f"u{i}"] for i, (a, b, _) in enumerate(rows())]), (), "--data t.csv: column 'label': expected classes; each of the 60 rows has its own"),
    "a web page": ("t.csv", "<html><body>404</body></html>\n", (), "--data t.csv: expected rows below the header"),
    "a spreadsheet": ("t.xlsx", b"PK\3\4" + bytes(60), (), "--data t.xlsx: expected a table"),
    "no such file": ("other.csv", "", ("--data", "t.csv"), "--data t.csv: expected a table (.csv, "),
    "a label that is no column": ("t.csv", csv_of(rows()), ("--label", "lable"), "--data t.csv: --label: expected one of the columns size, colour, label; got 'lable'"),
    "a group that is no column": ("t.csv", csv_of(rows()), ("--group", "ward"), "--data t.csv: --group: expected one of the columns"),
    "a time that is no column": ("t.csv", csv_of(rows()), ("--time", "day"), "--data t.csv: --time: expected one of the columns"),
    "groups of one answer each": ("t.csv", csv_of(rows()), ("--label", "colour", "--group", "colour"), "--group: expected another column than that of the answers; got 'colour'"),
    "words to regress on": ("t.csv", csv_of(rows()), ("--answer", "regression"), "--data t.csv: column 'label': expected numbers to regress on; got text such as 'no'"),
    "a Parquet file that is none": ("t.parquet", b"junk", (), "--data t.parquet: expected a Parquet file"),
    "a Parquet file cut short": ("t.parquet", parquet_of(**FORTY)[:-40], (), "--data t.parquet: expected a Parquet file"),
    "lists in Parquet": ("t.parquet", parquet_of(size=[[1, 2]] * 40, label=FORTY["label"]), (), "--data t.parquet: column 'size': expected numbers or text"),
    "an infinite number in Parquet": ("t.parquet", parquet_of(**{**FORTY, "size": [*FORTY["size"][:-1], float("inf")]}), (), "infinite-value: t.parquet:40: column 'size'"),
    "JSON that breaks off": ("t.jsonl", json_lines('{"size": 1.0, '), (), "bad-json: t.jsonl:9: expected one JSON object"),
    "a list for a row": ("t.jsonl", json_lines("[1, 2]"), (), "bad-json: t.jsonl:9: expected a JSON object; got [1, 2]"),
    "an object in a cell": ("t.jsonl", json_lines('{"size": {"a": 1}, "label": "no"}'), (), "nested-value: t.jsonl:9: column 'size'"),
    "a JSON number beyond all": ("t.jsonl", json_lines(f'{{"size": 1{"0" * 400}, "label": "no"}}'), (), "infinite-value: t.jsonl:9: column 'size'"),
    "a truth value among numbers": ("t.jsonl", json_lines('{"size": true, "label": "no"}'), (), "not-a-number: t.jsonl:9: column 'size'"),
    "JSON nested without end": ("t.jsonl", json_lines("[" * 100_000), (), "bad-json: t.jsonl:9: "),
    "a JSON list that breaks off": ("t.json", '[{"a": 1, "label": "x"},\n{"a": 2', (), "--data t.json:2: expected a JSON list of objects"),
    "a JSON list of nothing": ("t.json", "[]", (), "--data t.json: expected JSON objects, each a row; the list is empty"),
    "an ARFF row too long": ("t.arff", "@relation r\n@attribute a numeric\n@attribute class {p,n}\n@data\n1,p\n2,n,5\n3,p\n", (), "wrong-field-count: t.arff:6: "),
}  # fmt: skip
"""Name -> (file, content, flags, how the message begins)."""

PARTS: dict[str, tuple[str, str, str]] = {
    "a column that the test lacks": (csv_of(rows()), csv_of([[a, c] for a, _, c in rows()], "size,label"), "--data parts/test.csv: expected the columns of parts/train.csv; it lacks colour"),
    "a column that the test has besides": (csv_of(rows()), csv_of([[*r, "1"] for r in rows()], "size,colour,label,more"), "--data parts/test.csv: expected the columns of parts/train.csv; it has more too"),
    "a word in the test": (csv_of(rows()), planted(0, "tall"), "not-a-number: parts/test.csv:9: column 'size'"),
    "words all through the test": (csv_of(rows()), every(0, "tall"), "not-a-number: parts/test.csv:2: column 'size'"),
    "a class of the test alone": (csv_of(rows()), planted(2, "maybe"), "unknown-class: parts/test.csv:9: column 'label': 'maybe'"),
    "no training rows": ("size,colour,label\n", csv_of(rows()), "--data parts/train.csv: expected rows below the header"),
}  # fmt: skip
"""Name -> (train.csv, test.csv, how the message begins)."""


def with_column(name: str, cell: Callable[[int, list[str]], str], head: str = "size,colour,label") -> str:
    return csv_of([[cell(i, row), *row] for i, row in enumerate(rows())], f"{name},{head}")


SPOILED_TABLES: dict[str, tuple[str | bytes, str, str | int]] = {
    "a copy of the answer": (with_column("copy", lambda i, r: r[2].upper()), "leaking-column", "'copy'"),
    "one row twice": (csv_of([*rows(), rows()[0]]), "duplicate-rows", 62),
    "one row with two answers": (csv_of([*rows(), [*rows()[0][:2], "yes"]]), "contradicting-rows", 62),
    "a class of one row": (planted(2, "perhaps"), "single-row-class", 9),
    "a class twenty times another": (csv_of([[a, b, "rare" if i < 2 else "usual"] for i, (a, b, _) in enumerate(rows())]), "imbalance", "'rare'"),
    "a column that never varies": (with_column("same", lambda i, r: "5"), "constant-column", "'same'"),
    "a column without a value": (with_column("void", lambda i, r: "NA"), "empty-column", "'void'"),
    "a name in every row": (with_column("who", lambda i, r: f"u{i}"), "id-column", "'who'"),
    "numbers finer than single precision": (with_column("stamp", lambda i, r: f"{1e12 + i / 1e3:.3f}"), "coarse-column", "'stamp'"),
    "decimal commas": (csv_of(rows()).replace(",", ";").replace(".", ","), "decimal-comma", "'size'"),
    "no names in the first line": ("".join(f"{i * 0.37 % 1:.3f},{i % 2}\n" for i in range(40)), "no-header", 1),
    "another encoding": (planted(1, "grün").encode("cp1252"), "not-utf-8", 9),
}  # fmt: skip
"""Name -> (content, the code of the finding, its line or a word of its reason)."""
