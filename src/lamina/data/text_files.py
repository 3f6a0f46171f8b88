"""Files and folders that hold texts and their labels, read into rows; what is wrong with a row costs that row alone.

a folder per class          pos/1.txt, neg/7.txt, also under train/, valid/ and test/: one text a file
tables                      CSV, TSV, Parquet, JSON lines, a saved `datasets` folder: a text a row
lines                       text<TAB>label, label<TAB>text, or fastText's __label__name text
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lamina.data.finding import Finding
from lamina.data.listing import PART_NAMES
from lamina.data.table_files import RawTable, from_object, json_objects, read_arrow_folder, read_csv, read_file, text_of
from lamina.errors import LaminaError
from lamina.modalities.text import NAMES, TABLES

LABELS = ("label", "labels", "class", "category", "target", "sentiment", "topic", "section", "tag", "tags", "intent", "language",
          "lang", "rating", "stars", "y")  # fmt: skip
"""What columns of labels are called, in order of preference."""
BAD_BYTE, NUL = "\ufdd0", "\ufdd1"
"""What stands for bytes that are not UTF-8, and for NUL, until the row is told: Unicode keeps them out of texts for good."""
NO_TEXT = frozenset((".json", ".yaml", ".yml", ".md5", ".gz", ".zip", ".tar", ".png", ".jpg", ".jpeg", ".gif", ".pdf", ".py",
                     ".sh", ".pyc", ".npy", ".pt", ".safetensors", ".wav", ".mp3", ".flac"))  # fmt: skip
NUMBERED = re.compile(r"column_\d+")
"""Columns that nobody named."""
FASTTEXT = re.compile(r"((?:__label__\S+\s+)+)(.*)", re.DOTALL)


@dataclass(frozen=True)
class Wanted:
    """The columns of texts and of labels: as somebody says, or as they were called in training and may be called here too."""

    text: str | None = None
    label: str | None = None
    usual_text: str = ""
    usual_label: str = ""


@dataclass
class Rows:
    """Texts of one part (or of a whole that is still to be split, part "") with their labels, as they were read."""

    texts: list[Any]
    labels: list[Any]
    place: Callable[[int], tuple[str | None, int | None]]
    """The file and the line of a row, for messages."""
    layout: str
    findings: list[Finding] = field(default_factory=list)
    columns: Mapping[str, Any] = field(default_factory=dict)
    """Every column of a table, for groups and times."""
    names: tuple[str | None, str | None] = (None, None)
    """What the columns of texts and labels are called, where they have names."""


def load(data: Any, wanted: Wanted) -> tuple[dict[str, Rows], str]:
    """Rows by part, and what the data is called in messages.

    Raises LaminaError where nothing can be read, or the columns cannot be told.
    """
    if not isinstance(data, (str, Path)):
        return _of_memory(data, wanted), "data"
    path = Path(data)
    if not path.exists():
        raise LaminaError(f"{path}: no such file or folder")
    if path.is_file():
        return {"": _of_file(path, wanted)}, str(path)
    return _of_folder(path, wanted), str(path)


def _of_folder(folder: Path, wanted: Wanted) -> dict[str, Rows]:
    if (folder / "state.json").is_file():
        return {"": _of_table(read_arrow_folder(folder), wanted)}
    entries = sorted(p for p in folder.iterdir() if not p.name.startswith(".") and p.name != "__MACOSX")
    parts = {PART_NAMES[p.stem.lower()]: p for p in entries if p.stem.lower() in PART_NAMES and not _is_other(p)}
    if "train" in parts:
        found = {}
        for part in ("train", "valid", "calibration", "test"):
            if part not in parts:
                continue
            entry = parts[part]
            if entry.is_file():
                found[part] = _of_file(entry, wanted)
            elif (entry / "state.json").is_file():
                found[part] = _of_table(read_arrow_folder(entry), wanted)
            else:
                found[part] = _of_classes(entry)
        return found
    files = [p for p in entries if p.is_file() and p.suffix.lower() in (*TABLES, ".txt")]
    folders = [p for p in entries if p.is_dir()]
    if not folders and len(files) == 1:
        return {"": _of_file(files[0], wanted)}
    if folders:
        return {"": _of_classes(folder)}
    listed = ", ".join(p.name for p in entries[:5]) + (", ..." if len(entries) > 5 else "") or "nothing"
    raise LaminaError(f"{folder}: expected a folder per class of .txt files, or train.tsv, valid.tsv, test.tsv; found {listed}")


def _is_other(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() not in (*TABLES, ".txt", "")


def _of_classes(folder: Path) -> Rows:
    """A folder per class, each file a text."""
    texts: list[Any] = []
    labels: list[str] = []
    names: list[str] = []
    findings: list[Finding] = []
    for home in sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith((".", "__MACOSX"))):
        files = [p for p in sorted(home.rglob("*")) if p.is_file() and not p.name.startswith(".")]
        for file in files:
            if file.suffix.lower() in NO_TEXT:
                findings.append(Finding("not-a-text", "expected a file of text", str(file), fix="remove it", severity="note"))
                continue
            texts.append(marked(file.read_bytes(), str(file), findings).decode().removeprefix("\ufeff"))
            labels.append(home.name)
            names.append(str(file))
    if not texts:
        raise LaminaError(f"{folder}: expected a folder per class of .txt files; found no file of text")
    return Rows(texts, labels, lambda row: (names[row], None), "a folder per class", findings)


def marked(content: bytes, file: str, findings: list[Finding]) -> bytes:
    """The content as UTF-8, with a mark in place of every byte that is not and of every NUL: their rows are told later.

    A file in another encoding as a whole is read as Windows-1252, as tables are, which is a finding.
    """
    content = (
        content.replace(b"\0", NUL.encode()) if b"\0" in content and content[:2] not in (b"\xff\xfe", b"\xfe\xff") else content
    )
    try:
        content.decode()
        return content
    except UnicodeDecodeError:
        pass
    whole = content.decode(errors="ignore").replace(NUL, "").isascii()
    if content[:2] in (b"\xff\xfe", b"\xfe\xff") or (whole and _is_western(content)):
        return text_of(content, file, findings).encode()
    return re.sub("[\udc80-\udcff]", BAD_BYTE, content.decode(errors="surrogateescape")).encode()


def _is_western(content: bytes) -> bool:
    try:
        content.decode("cp1252")
    except UnicodeDecodeError:
        return False
    return True


def _of_file(path: Path, wanted: Wanted) -> Rows:
    suffix = path.suffix.lower()
    if suffix in (".parquet", ".pq"):
        return _of_table(_with_lists(path), wanted)
    findings: list[Finding] = []
    content = marked(path.read_bytes(), str(path), findings)
    if suffix in (".jsonl", ".ndjson", ".json"):
        rows = json_objects(content, str(path), findings)
        if not rows:
            why = str(findings[0]) if findings else "the list is empty"
            raise LaminaError(f"{path}: expected JSON objects, each with a text and a label; {why}")
        names = dict.fromkeys(name for _, row in rows for name in row)
        columns = {name: [row.get(name) for _, row in rows] for name in names}
        return _of_table(RawTable(columns, str(path), lambda row: rows[row][0], findings, "JSON lines"), wanted)
    if suffix == ".csv":
        raw = read_csv(content, str(path))
        raw.findings[:0] = findings
        return _of_table(raw, wanted)
    return _of_lines(content.decode().removeprefix("\ufeff"), path, findings, wanted)


def _with_lists(path: Path) -> RawTable:
    """A Parquet file, whose labels may be lists."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(path)
    except (pa.ArrowInvalid, OSError):
        return read_file(path)  # which says what is wrong
    if not any(pa.types.is_nested(kind) for kind in schema.types):
        return read_file(path)
    columns = {name: column.to_pylist() for name, column in zip(schema.names, pq.read_table(path).columns, strict=True)}
    return RawTable(columns, str(path), layout="Parquet")


def _of_lines(content: str, path: Path, findings: list[Finding], wanted: Wanted) -> Rows:
    """Lines of text and label with a tab between them, under names or not; or lines as fastText reads them. A quotation mark is
    a sign like any other, unless it stands around a whole cell with those inside doubled."""
    lines = [(n, line.removesuffix("\r")) for n, line in enumerate(content.split("\n"), 1)]
    lines = [(n, line) for n, line in lines if line.strip()]
    if not lines:
        raise LaminaError(f"{path}: expected lines of text<TAB>label; the file is empty")
    if lines[0][1].startswith("__label__"):
        return _of_fasttext(lines, str(path), findings)
    cells = [(n, [unquoted(cell) for cell in line.split("\t")]) for n, line in lines]
    names = [name.strip() for name in cells[0][1]]
    headed = bool({name.lower() for name in names} & {*NAMES, *LABELS}) or not {wanted.text, wanted.label}.isdisjoint(names)
    if headed:
        cells = cells[1:]
        fields = len(names)
    else:
        counts = [len(row) for _, row in cells[:1000]]
        fields = max(set(counts), key=lambda count: (counts.count(count), count))
        names = [f"column_{i + 1}" for i in range(fields)]
    if fields < 2:
        shown = lines[0][1][:40]
        raise LaminaError(f"{path}: expected lines of text<TAB>label, or __label__name text; got no tab in {shown!r}")
    good = [(n, row) for n, row in cells if len(row) == fields]
    for n, row in cells:
        if len(row) != fields:
            reason = f"expected {fields} fields with a tab between them; got {len(row)}"
            findings.append(Finding("wrong-field-count", reason, str(path), n, "mend or remove the line"))
    if not good:
        raise LaminaError(f"{path}: expected lines of text<TAB>label; none has {fields} fields")
    columns = {name: [row[i] for _, row in good] for i, name in enumerate(names)}
    numbers = [n for n, _ in good]
    return _of_table(RawTable(columns, str(path), lambda row: numbers[row], findings, "text<TAB>label"), wanted)


def _of_fasttext(lines: list[tuple[int, str]], file: str, findings: list[Finding]) -> Rows:
    texts: list[Any] = []
    labels: list[Any] = []
    for _, line in lines:
        match = FASTTEXT.fullmatch(line)
        texts.append(match.group(2) if match else line)
        named = [name.removeprefix("__label__") for name in match.group(1).split()] if match else []
        labels.append(named[0] if len(named) == 1 else named or None)
    if any(isinstance(named, list) for named in labels):
        labels = [named if isinstance(named, list) or named is None else [named] for named in labels]
    return Rows(texts, labels, lambda row: (file, lines[row][0]), "fastText lines", findings)


def unquoted(cell: str) -> str:
    """A cell as spreadsheets write it: marks around it that are doubled inside are no part of it."""
    inner = cell[1:-1]
    quoted = len(cell) >= 2 and cell[0] == cell[-1] == '"' and '"' not in inner.replace('""', "")
    return inner.replace('""', '"') if quoted else cell


def _of_table(raw: RawTable, wanted: Wanted) -> Rows:
    if not len(raw):
        raise LaminaError(f"{raw.file}: expected rows; there are none")
    text, label = columns_of(raw, wanted)
    if raw.layout.startswith("CSV") and _is_a_row(raw, label):
        raw = _with_first_line(raw)
        names = list(raw.columns)
        text, label = columns_of(raw, Wanted())
        reason = "the first line was read as a row, since its label is one of those below it; the columns were numbered"
        raw.findings.append(Finding("no-header", reason, raw.file, 1, f"add a line of column names ({', '.join(names)})", "note"))
    texts, labels = (_cells(raw.columns[name]) for name in (text, label))
    named = (None, None) if NUMBERED.fullmatch(text) else (text, label)
    return Rows(texts, labels, lambda row: (raw.file, raw.line(row)), raw.layout, raw.findings, raw.columns, named)


def holds_texts(data: Any, text: str | None, label: str | None) -> bool:
    """Whether the data is labelled texts rather than a table: by its layout, or by a column that reads like sentences."""
    if text is not None:
        return True
    try:
        rows = next(iter(load(data, Wanted(None, label))[0].values()))
    except LaminaError:
        return False
    return not rows.columns or _reads_like_texts(rows.columns, label)


def _reads_like_texts(columns: Mapping[str, Any], label: str | None) -> bool:
    """At least three words a cell, rarely the same twice, in a column that is no label."""
    for name, column in columns.items():
        some = [v for v in list(column[:1000]) if isinstance(v, str) and v.strip()]
        named = name.lower() in NAMES
        if name == label or not some or len(some) < 0.5 * len(column[:1000]):
            continue
        words = sum(len(v.split()) for v in some) / len(some)
        if words >= (1.5 if named else 3) and len(set(some)) > 0.5 * len(some):
            return True
    return False


def _cells(column: Any) -> list[Any]:
    return [
        None if isinstance(v, float) and np.isnan(v) else v
        for v in (column.tolist() if isinstance(column, np.ndarray) else column)
    ]


def _is_a_row(raw: RawTable, label: str) -> bool:
    """Whether what was taken for names is an example: the name of the column of labels is one of the labels."""
    return label.lower() not in LABELS and label in {str(v) for v in raw.columns[label]}


def _with_first_line(raw: RawTable) -> RawTable:
    columns = {f"column_{i + 1}": [name, *cells] for i, (name, cells) in enumerate(raw.columns.items())}
    return RawTable(columns, raw.file, lambda row: 1 if row == 0 else raw.line(row - 1), raw.findings, raw.layout)


def columns_of(raw: RawTable, wanted: Wanted) -> tuple[str, str]:
    """The columns of texts and of labels: as asked for, by their names, or by what they hold.

    Raises LaminaError where they cannot be told.
    """
    names, text, label = list(raw.columns), wanted.text, wanted.label
    for flag, name in (("text", text), ("label", label)):
        if name is not None and name not in names:
            raise LaminaError(f"{raw.file}: --{flag}: expected one of the columns {', '.join(names[:20])}; got {name!r}")
    if len(names) < 2:
        raise LaminaError(f"{raw.file}: expected a column of texts and one of labels; the only column is {', '.join(names)}")
    lower = {name.lower(): name for name in reversed(names)}
    label = label or (raw.label if raw.label in names else None)
    label = label or next((lower[n] for n in (wanted.usual_label.lower(), *LABELS) if n in lower), None)
    if text is None:
        text = next((lower[n] for n in (wanted.usual_text.lower(), *NAMES) if n in lower and lower[n] != label), None)
    rest = [name for name in names if name not in (text, label)]
    if text is None and rest:
        text = max(rest, key=lambda name: _letters(raw.columns[name]))
        rest.remove(text)
    if label is None and rest:
        label = min(rest, key=lambda name: len({str(v) for v in raw.columns[name]}))
    if text is None or label is None or text == label:
        which = f"--text and --label name {text!r}" if text is not None and text == label else f"found {', '.join(names[:20])}"
        raise LaminaError(f"{raw.file}: expected a column of texts and another of labels; {which}")
    return text, label


def _letters(column: Any) -> float:
    """Letters of a cell on average: what makes a column one of texts."""
    some = [v for v in list(column[:500]) if isinstance(v, str)]
    return sum(sum(c.isalpha() for c in v[:2000]) for v in some) / max(1, len(column[:500]))


def _of_memory(data: Any, wanted: Wanted) -> dict[str, Rows]:
    """(texts, labels), a dict of parts of these, or whatever else a table can be."""
    if data is None:
        raise LaminaError("data: expected texts and their labels; got nothing")
    if isinstance(data, Mapping) and "train" in data and all(str(name) in PART_NAMES for name in data):
        made = {}
        for name, value in data.items():
            inner, _ = load(value, wanted)
            made[PART_NAMES[str(name)]] = next(iter(inner.values()))
        return {part: made[part] for part in ("train", "valid", "calibration", "test") if part in made}
    if isinstance(data, (tuple, list)) and len(data) == 2 and all(isinstance(side, (list, tuple, np.ndarray)) for side in data):
        texts, labels = (list(side.tolist() if isinstance(side, np.ndarray) else side) for side in data)
        if len(texts) != len(labels):
            raise LaminaError(f"data: expected as many labels as texts; got {len(labels)} and {len(texts)}")
        return {"": Rows(texts, labels, lambda row: (None, row + 1), "texts in memory")}
    return {"": _of_table(from_object(data, "data"), wanted)}
