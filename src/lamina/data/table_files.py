"""Files and objects that hold tables, read into raw columns: CSV, TSV, Parquet, JSON lines, KEEL and ARFF, arrow folders.

Reading is pyarrow's, and fast. A slow exact pass runs only where something must be named by its line.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from lamina.data.finding import Finding
from lamina.errors import LaminaError
from lamina.modalities.table import number_of

SUFFIXES = (".csv", ".tsv", ".txt", ".parquet", ".pq", ".jsonl", ".ndjson", ".json", ".dat", ".arff")
"""The endings of files that hold tables."""


@runtime_checkable
class ArrowStream(Protocol):
    """What pandas, polars, pyarrow and others speak to exchange tables."""

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any: ...


@dataclass
class RawTable:
    """Columns as they were read: text as lists of strings, typed cells as arrays or lists of Python values."""

    columns: dict[str, Any]
    file: str
    """The name for messages."""
    line: Callable[[int], int] = lambda row: row + 1
    """The line of the file (1 is the first) of the row with an index from 0."""
    findings: list[Finding] = field(default_factory=list)
    layout: str = "arrays"
    label: str | None = None
    """The column that the file itself calls its answer."""

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()))) if self.columns else 0


def read_file(path: Path) -> RawTable:
    """The table in the file at `path`. Raises LaminaError where the file as a whole cannot be read; what is wrong with
    single rows is listed in `findings`, and those rows are left out."""
    if not path.is_file():
        raise LaminaError(f"{path}: expected a table ({', '.join(SUFFIXES)}); there is no such file")
    suffix = path.suffix.lower()
    if suffix in (".parquet", ".pq"):
        return _read_parquet(path)
    content = path.read_bytes()
    if suffix in (".jsonl", ".ndjson", ".json"):
        return read_json_lines(content, str(path))
    return read_csv(content, str(path), delimiter="\t" if suffix == ".tsv" else None)


def text_of(content: bytes, file: str, findings: list[Finding]) -> str:
    """Decode a text file. UTF-8, or else Windows-1252 (of which Latin-1 is a part), which is said in a finding.

    Raises LaminaError at NUL bytes, at UTF-16, and where bytes are neither.
    """
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise LaminaError(f"{file}: expected UTF-8 text; this is UTF-16: save it as UTF-8")
    nul = content.find(b"\0")
    if nul >= 0:
        line = content.count(b"\n", 0, nul) + 1
        raise LaminaError(f"{file}:{line}: expected text; found a NUL byte")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = f"byte 0x{content[error.start]:02x}"
        # Some good UTF-8 beside the bad byte means that the file is UTF-8 and damaged: reading it otherwise would distort it.
        damaged = not content.decode("utf-8-sig", errors="ignore").isascii()
        try:
            text = content.decode("cp1252")
        except UnicodeDecodeError:
            damaged, text = True, ""
        if damaged:
            raise LaminaError(f"{file}:{line}: expected UTF-8 text; found {byte}, which is not") from error
        reason = f"{byte} is not UTF-8; the file was read as Windows-1252 (Latin-1)"
        findings.append(Finding("not-utf-8", reason, file, line, "save the file as UTF-8", "warning"))
        return text


def read_csv(content: bytes, file: str, delimiter: str | None = None) -> RawTable:
    """A table of separated values, its delimiter detected (comma, tab, semicolon, bar); every cell is a string or None.

    A first line of numbers alone is taken for a row, not for names. Lines with another number of fields than the first
    are left out and listed. KEEL and ARFF files, whose columns are declared at the top, are read too.
    """
    findings: list[Finding] = []
    text = text_of(content, file, findings)
    if not text.strip():
        raise LaminaError(f"{file}: expected a table with a header and rows; the file is empty")
    declared = _declared(text)
    label: str | None = None
    if declared is not None:
        names, label, body, top = declared
        delimiter, layout = ",", "declared columns (KEEL or ARFF)"
    else:
        top = len(text) - len(text.lstrip("\r\n"))
        lead, text = text[:top].count("\n"), text[top:]
        delimiter = delimiter or _delimiter(text)
        stream = io.StringIO(text, newline="")
        reader = csv.reader(stream, delimiter=delimiter)
        names = [name.strip() for name in next(reader)]
        layout = {"\t": "TSV", ",": "CSV"}.get(delimiter, f"CSV separated by {delimiter!r}")
        if all(name and not np.isnan(number_of(name) or 0.0) and number_of(name) is not None for name in names):
            names = [f"column_{i + 1}" for i in range(len(names))]
            reason = "the first line holds numbers alone: it was read as a row, and the columns were numbered"
            findings.append(Finding("no-header", reason, file, lead + 1, "add a line of column names", "note"))
            body, top = text, lead
        elif _looks_like_a_row(names):
            reason = "the first line was read as column names, and some are numbers: is it a row?"
            findings.append(Finding("no-header", reason, file, lead + 1, "add a line of column names above it", "warning"))
            body, top = stream.read(), lead + reader.line_num
        else:
            body, top = stream.read(), lead + reader.line_num
    names = [name or f"column_{i + 1}" for i, name in enumerate(names)]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise LaminaError(f"{file}: expected column names that differ; {doubled[0]!r} stands {names.count(doubled[0])} times")
    if not body.strip():
        raise LaminaError(f"{file}: expected rows below the header; there are none")
    columns, wrong = _cells(body, delimiter, names, file)
    lines = _Lines(body, delimiter, len(names), top)
    if wrong:
        for line, got in lines.wrong():
            reason = f"expected {len(names)} fields, as in the first line; got {got}"
            findings.append(Finding("wrong-field-count", reason, file, line, "mend the line, or quote the delimiter"))
    return RawTable(columns, file, lines, findings, layout, label)


def _cells(body: str, delimiter: str, names: Sequence[str], file: str) -> tuple[dict[str, list[str]], bool]:
    """The cells below the header by column, and whether lines with another number of fields were left out."""
    try:
        import pyarrow as pa
        import pyarrow.csv as pacsv
    except ImportError:  # as beside an exported model
        return _cells_one_by_one(body, delimiter, names, file)
    quoted = '"' in body
    wrong: list[int] = []

    def skip(row: Any) -> str:
        wrong.append(row.actual_columns)
        return "skip"

    try:
        table = pacsv.read_csv(
            pa.BufferReader(body.encode()),
            read_options=pacsv.ReadOptions(column_names=names, use_threads=False, block_size=max(1 << 20, 1 + _longest(body))),
            parse_options=pacsv.ParseOptions(delimiter=delimiter, newlines_in_values=quoted, invalid_row_handler=skip),
            convert_options=pacsv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False),
        )
    except pa.ArrowInvalid as error:
        raise LaminaError(f"{file}: expected separated values; {_first_line(error)}") from error
    return {name: table.column(name).to_pylist() for name in names}, bool(wrong)


def _cells_one_by_one(body: str, delimiter: str, names: Sequence[str], file: str) -> tuple[dict[str, list[str]], bool]:
    """The same without pyarrow, more slowly."""
    csv.field_size_limit(sys.maxsize)
    records = [record for record in csv.reader(io.StringIO(body, newline=""), delimiter=delimiter) if record]
    good = [record for record in records if len(record) == len(names)]
    return {name: [record[i] for record in good] for i, name in enumerate(names)}, len(good) < len(records)


def read_json_lines(content: bytes, file: str) -> RawTable:
    """JSON lines, or one JSON list, of flat objects. An absent key is a missing cell."""
    findings: list[Finding] = []
    names: dict[str, None] = {}
    rows: list[dict[str, Any]] = []
    numbers: list[int] = []
    for number, item in json_objects(content, file, findings):
        nested = next((k for k, v in item.items() if isinstance(v, (list, dict))), None)
        if nested is not None:
            findings.append(
                Finding("nested-value", f"column {nested!r}: expected a number or text; got a list or an object", file, number)
            )
            continue
        names.update(dict.fromkeys(item))
        rows.append(item)
        numbers.append(number)
    if not rows:
        why = str(findings[0]) if findings else "the list is empty"
        raise LaminaError(f"{file}: expected JSON objects, each a row; {why}")
    columns = {name: [row.get(name) for row in rows] for name in names}
    return RawTable(columns, file, lambda row: numbers[row], findings, "JSON lines")


def json_objects(content: bytes, file: str, findings: list[Finding]) -> list[tuple[int, dict[str, Any]]]:
    """The objects of JSON lines, or of one JSON list, with their numbers from 1; what is none becomes a finding."""
    text = text_of(content, file, findings)
    if not text.strip():
        raise LaminaError(f"{file}: expected JSON objects, one a line; the file is empty")
    objects: list[tuple[int, Any]] = []
    if text.lstrip().startswith("["):
        try:
            objects = list(enumerate(json.loads(text), start=1))
        except json.JSONDecodeError as error:
            raise LaminaError(f"{file}:{error.lineno}: expected a JSON list of objects; {error.msg}") from error
        except ValueError as error:  # a whole number of thousands of digits
            raise LaminaError(f"{file}: expected a JSON list of objects; {_first_line(error)}") from error
        except RecursionError as error:
            raise LaminaError(f"{file}: expected a JSON list of objects; it is nested too deeply") from error
    else:
        for number, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                try:
                    objects.append((number, json.loads(line)))
                except ValueError as error:  # JSONDecodeError is one; so is a whole number of thousands of digits
                    told = getattr(error, "msg", None) or _first_line(error)
                    findings.append(Finding("bad-json", f"expected one JSON object; {told}", file, number))
                except RecursionError:
                    findings.append(Finding("bad-json", "expected one JSON object; it is nested too deeply", file, number))
    for number, item in objects:
        if not isinstance(item, dict):
            findings.append(Finding("bad-json", f"expected a JSON object; got {json.dumps(item)[:40]}", file, number))
    return [(number, item) for number, item in objects if isinstance(item, dict)]


def _read_parquet(path: Path) -> RawTable:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise LaminaError(f"{path}: expected a Parquet file; {_first_line(error)}") from error
    return _from_arrow(table, str(path), "Parquet")


def read_arrow_folder(folder: Path) -> RawTable:
    """A folder that `datasets` saved: its arrow files, and the names of its class labels."""
    import pyarrow as pa

    try:
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        info = json.loads((folder / "dataset_info.json").read_text(encoding="utf-8"))
        paths = [folder / item["filename"] for item in state["_data_files"]]
        features = info.get("features") or {}
    except (OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise LaminaError(f"{folder}: expected a saved dataset; {type(error).__name__}: {error}") from error
    tables = []
    for path in paths:
        try:
            with pa.memory_map(str(path)) as source:
                tables.append(pa.ipc.open_stream(source).read_all())
        except (pa.ArrowInvalid, OSError) as error:
            raise LaminaError(f"{path}: expected an arrow stream; {_first_line(error)}") from error
    raw = _from_arrow(pa.concat_tables(tables), str(folder), "datasets")
    for name, kind in features.items():
        if name in raw.columns and isinstance(kind, dict) and kind.get("_type") == "ClassLabel":
            values = kind["names"]
            raw.columns[name] = [None if v is None or np.isnan(v) or v < 0 else values[int(v)] for v in raw.columns[name]]
            raw.label = raw.label or name
    return raw


def _from_arrow(table: Any, file: str, layout: str) -> RawTable:
    """Numbers become float arrays (NaN where null), truth values and text lists; dates become ISO text."""
    import pyarrow as pa
    import pyarrow.compute as pc

    doubled = sorted({name for name in table.column_names if table.column_names.count(name) > 1})
    if doubled:
        raise LaminaError(f"{file}: expected column names that differ; {doubled[0]!r} stands more than once")
    columns: dict[str, Any] = {}
    for name in table.column_names:
        column = table.column(name)
        if name.startswith("__index_level_"):  # pandas' own row labels
            continue
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        kind = column.type
        if pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind):
            columns[name] = pc.fill_null(column.cast(pa.float64(), safe=False), float("nan")).to_numpy()
        elif pa.types.is_nested(kind) or pa.types.is_binary(kind):
            raise LaminaError(f"{file}: column {name!r}: expected numbers or text; got {kind}")
        elif pa.types.is_temporal(kind):
            columns[name] = column.cast(pa.string()).to_pylist()
        else:
            columns[name] = column.to_pylist()
    return RawTable(columns, file, layout=layout)


def from_object(value: Any, file: str) -> RawTable:
    """A table that a program holds: (X, y), a dict of columns, a list of rows, or anything that speaks arrow.

    Raises LaminaError where columns differ in length, or where the value is none of these.
    """
    if isinstance(value, tuple) and len(value) == 2:
        raw = _matrix(value[0], file)
        answers = np.asarray(value[1])
        answers = answers.reshape(len(answers), -1) if answers.ndim == 2 and answers.shape[1] == 1 else answers
        if answers.ndim != 1 and answers.shape[-1:] != (1,):
            raise LaminaError(f"{file}: expected one answer a row; got y of shape {answers.shape}")
        if len(answers) != len(raw):
            raise LaminaError(f"{file}: expected as many answers as rows; got {len(raw)} rows and {len(answers)} answers")
        label = "label" if "label" not in raw.columns else "answer"
        raw.columns[label] = _column(answers.ravel())
        raw.label = label
        return raw
    return _matrix(value, file)


def _matrix(value: Any, file: str) -> RawTable:
    if isinstance(value, ArrowStream):
        import pyarrow as pa

        return _from_arrow(pa.table(value), file, "a data frame")
    if isinstance(value, Mapping):
        columns = {str(name): _column(column) for name, column in value.items()}
        sizes = {name: len(column) for name, column in columns.items()}
        if len(set(sizes.values())) > 1:
            raise LaminaError(f"{file}: expected columns of one length; got {sizes}")
        return RawTable(columns, file, layout="columns")
    if isinstance(value, Sequence) and not isinstance(value, str) and value and all(isinstance(v, Mapping) for v in value):
        names = dict.fromkeys(str(k) for row in value for k in row)
        return RawTable({name: _column([row.get(name) for row in value]) for name in names}, file, layout="rows")
    array = np.asarray(value) if isinstance(value, (np.ndarray, list)) else None
    if array is not None and array.ndim == 2:
        return RawTable({f"x{i}": _column(array[:, i]) for i in range(array.shape[1])}, file)
    got = f"an array of shape {array.shape}" if array is not None else type(value).__name__
    raise LaminaError(f"{file}: expected (X, y), a dict of columns, a list of rows or a data frame; got {got}")


def _column(values: Any) -> Any:
    """Numbers as float64, truth values and text as lists."""
    array = values if isinstance(values, np.ndarray) else None
    if array is not None and array.dtype.kind in "fiu":
        return array.astype(np.float64)
    return array.tolist() if array is not None else list(values)


def _declared(text: str) -> tuple[list[str], str | None, str, int] | None:
    """Names, answer, rows and the number of lines above them, where the file declares its columns (KEEL, ARFF)."""
    if not re.match(r"\s*(%[^\n]*\n\s*)*@relation", text, re.IGNORECASE):
        return None
    names: list[str] = []
    label = None
    lines = list(io.StringIO(text, newline=""))
    for number, line in enumerate(lines):
        word, rest = [*line.strip().split(maxsplit=1), "", ""][:2]
        if word.lower() == "@attribute":
            found = re.match(r"""\s*('[^']*'|"[^"]*"|[^\s{]+)""", rest)
            names.append(found.group(1).strip("'\"") if found else rest)
        elif word.lower() in ("@outputs", "@output"):
            label = rest.split(",")[0].strip()
        elif word.lower() == "@data":
            rows = ("\n" if line.lstrip().startswith("%") else line for line in lines[number + 1 :])  # ARFF comments
            return names, label, "".join(rows).replace("<null>", ""), number + 1
    return names, label, "", len(lines)


def _delimiter(text: str) -> str:
    """The delimiter that cuts the first lines into the most fields, as many in each."""
    head = list(io.StringIO(text[:20_000], newline=""))
    head = head[:-1][:20] if len(text) > 20_000 and len(head) > 1 else head[:20]
    best, fields = ",", 1
    for delimiter in (",", "\t", ";", "|"):
        counts = [len(row) for row in csv.reader(head, delimiter=delimiter) if row]
        usual = max(set(counts), key=counts.count)
        if counts[0] == usual and counts.count(usual) >= 0.6 * len(counts) and usual > fields:
            best, fields = delimiter, usual
    return best


def _looks_like_a_row(names: Sequence[str]) -> bool:
    """Whether column names hold numbers that do not count upwards, as years and pixels do."""
    numbers = [number for number in (number_of(name) for name in names if name) if number is not None]
    return len(numbers) > 1 and not all(a < b and a % 1 == b % 1 == 0 for a, b in itertools.pairwise(numbers))


def _longest(text: str) -> int:
    """pyarrow cannot read a line longer than its block; most files need no look."""
    if len(text) < 1 << 20:
        return len(text.encode())
    return max(len(line) for line in text.split("\n")) * 4


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0]


class _Lines:
    """Row index -> line of the file, exact where fields hold newlines or lines are blank: by one slow pass, if asked."""

    def __init__(self, body: str, delimiter: str, fields: int, top: int) -> None:
        self.body, self.delimiter, self.fields, self.top = body, delimiter, fields, top
        self._good: list[int] | None = None
        self._wrong: list[tuple[int, int]] = []

    def __call__(self, row: int) -> int:
        good = self._pass()
        return good[row] if row < len(good) else self.top + row + 1

    def wrong(self) -> list[tuple[int, int]]:
        """(line, number of fields) of every line with a wrong number of them."""
        self._pass()
        return self._wrong

    def _pass(self) -> list[int]:
        if self._good is None:
            self._good = []
            start = self.top + 1
            csv.field_size_limit(sys.maxsize)  # of the process, and of no use to anybody at its default
            reader = csv.reader(io.StringIO(self.body, newline=""), delimiter=self.delimiter)
            for record in reader:
                if len(record) == self.fields or (record and self.fields == 1):
                    self._good.append(start)
                elif record:
                    self._wrong.append((start, len(record)))
                start = self.top + reader.line_num + 1
        return self._good
