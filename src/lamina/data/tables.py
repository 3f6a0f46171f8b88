"""Tables as examples: files, folders and arrays -> four parts of raw columns, and what was found wrong with them."""

from __future__ import annotations

import bisect
import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lamina.data.columns import length, take
from lamina.data.source import PARTS, Data, Finding, Source, refused
from lamina.data.splits import empty_findings, shares_for, split, strangers
from lamina.data.table_checks import (
    Bad,
    answer_findings,
    answer_kind,
    column_findings,
    comma_findings,
    copy_findings,
    is_missing,
    kept_together,
    row_hashes,
    typed,
    useless_columns,
)
from lamina.data.table_files import SUFFIXES, RawTable, from_object, read_arrow_folder, read_file
from lamina.errors import LaminaError
from lamina.modalities.table import category_of, number_of

LABELS = ("label", "target", "class", "y")
"""Names of the answer's column, in order of preference, where nobody says which it is."""
_PART_NAMES = {"train": "train", "training": "train", "valid": "valid", "validation": "valid", "val": "valid", "dev": "valid",
               "calibration": "calibration", "test": "test"}  # fmt: skip
Kind = Literal["auto", "classification", "regression"]
Demo = Callable[[], Any]


@dataclass
class _Table:
    """All parts laid end to end."""

    columns: dict[str, Any]
    part_of: list[str]
    places: Callable[[int], tuple[str, int]]
    label: str
    kind: str
    kept_apart: list[str]
    where: str
    findings: list[Finding]
    about: dict[str, Any]


def read_table(
    source: Source,
    demo: Demo | None = None,
    kind: Kind = "auto",
    needs: Sequence[str] = (),
    numbers: Sequence[str] = (),
    words: Sequence[str] = (),
    classes: Sequence[str] = (),
) -> Data:
    """Examples of a table in four parts. Columns are float64 arrays (NaN missing) or lists of str, bool or None.

    `source.data` is a CSV, TSV, Parquet, JSON-lines, KEEL or ARFF file; a folder with train, valid and test files of
    these kinds; a folder that `datasets` saved; `(X, y)`; a dict of columns; a data frame; or a dict of parts of any
    of these. Without it, `demo()` gives such a value. The answer is the column `source.label`, or one named label,
    target, class or y, or the last. `about` says which (`label`), of which `kind`, and what was `ignored`.
    Columns in `needs` are kept, whatever they teach; those in `numbers` hold numbers, so that a word there is a mistake;
    those in `words` hold categories, though all of them look like numbers here (007 is not 7);
    answers other than `classes` are mistakes too (without these: answers that no training row has).

    Raises LaminaError where the table cannot be read, or, with `bad_data="strict"`, at the first bad row; with
    "quarantine", bad rows are left out and listed in `findings`.
    """
    table = _load(source, demo, kind, numbers, words, classes)
    errors = refused(table.findings, source)
    if not table.part_of:
        raise LaminaError(f"{table.where}: expected rows; none can be used: {errors[0] if errors else 'the table is empty'}")
    if table.kind == "classification" and not needs:
        _refuse_single_class(table)
    absent = [name for name in needs if name not in table.columns]
    if absent:
        raise LaminaError(f"{table.where}: expected the columns {', '.join(needs)}; missing: {', '.join(absent)}")
    groups = table.columns.get(source.group) if source.group else None
    times = table.columns.get(source.time) if source.time else None
    table.findings += comma_findings(table.columns, table.where)
    inputs = {n: c for n, c in table.columns.items() if n not in (*table.kept_apart, table.label)}
    ignored: dict[str, str] = dict.fromkeys(table.kept_apart, "groups or times")
    for name, finding in useless_columns(inputs, table.where):
        if name not in needs:
            table.findings.append(finding)
            ignored[name] = finding.code
    used = {n: c for n, c in inputs.items() if n not in ignored}
    if not used:
        raise LaminaError(f"{table.where}: expected a column to learn from beside {table.label!r}; none is left")
    answers = table.columns[table.label]
    whole, given = row_hashes({**used, table.label: answers}), row_hashes(used)
    table.findings += copy_findings(whole, given, table.part_of, table.places)
    together, repeating = kept_together(whole, given, alone=groups is not None or times is not None)
    if repeating:
        reason = "most rows repeat others by nature, since the columns take few values: equal rows are split like different ones"
        table.findings.append(Finding("repeating-rows", reason, table.where, severity="note"))
    table.findings += column_findings(used, answers, table.kind, table.where)
    table.findings += answer_findings(answers, table.kind, table.label, table.where, table.places)
    rows = _parts(source, table, together, answers if table.kind == "classification" else None, groups, times)
    unknown = strangers(answers, rows, classes) if table.kind == "classification" else []
    if unknown:
        table.findings += [_stranger(table, row) for row in unknown]
        refused(table.findings, source)
        rows = {part: chosen[~np.isin(chosen, unknown)] for part, chosen in rows.items()}
    columns = {**used, table.label: answers} | ({source.group: groups} if source.group and groups is not None else {})
    parts = {part: take(columns, rows[part]) for part in PARTS}
    if not length(parts["train"]):
        raise LaminaError(f"{table.where}: expected rows to train on; {len(table.part_of)} are not enough to split")
    digest = hashlib.blake2b(digest_size=16)
    for part in PARTS:
        digest.update(part.encode() + b"".join(whole[i] for i in rows[part].tolist()))
    about = {**table.about, "label": table.label, "kind": table.kind, "features": list(used), "ignored": ignored,
             "rows": {part: len(rows[part]) for part in PARTS}}  # fmt: skip
    if groups is not None:
        about["group"] = source.group
    return Data(**parts, fingerprint=digest.hexdigest(), findings=table.findings, about=about)


def _stranger(table: _Table, row: int) -> Finding:
    answer = table.columns[table.label][row]
    reason = f"column {table.label!r}: {answer!r} is none of the classes that were trained on"
    return Finding("unknown-class", reason, *table.places(row), fix="add it to the training rows, or remove the row")


def scan_table(source: Source, demo: Demo | None = None, kind: Kind = "auto") -> list[Finding]:
    """Everything that `read_table` would find, errors first. Raises nothing for bad data: that is a finding too."""
    try:
        found = read_table(dataclasses.replace(source, bad_data="quarantine"), demo, kind).findings
    except LaminaError as error:
        found = [Finding("unreadable-table", str(error))]
    order = {"error": 0, "warning": 1, "note": 2}
    return sorted(found, key=lambda f: order[f.severity])


def _load(
    source: Source,
    demo: Demo | None,
    kind: Kind,
    numbers: Sequence[str] = (),
    words: Sequence[str] = (),
    classes: Sequence[str] = (),
) -> _Table:
    if source.data is None and demo is None:
        raise LaminaError("data: expected a table; got nothing")
    raws, where = _raw_parts(demo() if source.data is None and demo is not None else source.data)
    names = list(next(iter(raws.values())).columns)
    for part, raw in raws.items():
        absent = [n for n in names if n not in raw.columns]
        extra = [n for n in raw.columns if n not in names]
        if absent or extra:
            trouble = f"it lacks {', '.join(absent)}" if absent else f"it has {', '.join(extra)} too"
            raise LaminaError(f"{raw.file}: expected the columns of {next(iter(raws.values())).file}; {trouble} (part {part})")
    tables = list(raws.values())
    starts = np.cumsum([0] + [len(t) for t in tables]).tolist()
    part_of = [part for part, raw in raws.items() for _ in range(len(raw))]

    def places(row: int) -> tuple[str, int]:
        at = bisect.bisect_right(starts, row) - 1
        return tables[at].file, tables[at].line(row - starts[at])

    label, told = _label_column(source, tables[0], names, where)
    for flag, name in (("group", source.group), ("time", source.time)):
        if name is not None and name not in names:
            raise LaminaError(f"{where}: --{flag}: expected one of the columns {', '.join(names)}; got {name!r}")
    if source.group == label:
        raise LaminaError(f"--group: expected another column than that of the answers; got {label!r}")
    if any(number_of(name) is None for name in classes):
        words = (*words, label)
    findings = [f for t in tables for f in t.findings]
    columns: dict[str, Any] = {}
    bad: Bad = []
    at = list(raws).index("train") if "train" in raws else 0
    deciding = slice(starts[at], starts[at + 1])  # the training rows say what a column holds
    for name in names:
        cells = _joined([t.columns[name] for t in tables])
        if name in words:
            columns[name] = [category_of(cell) for cell in cells]
            continue
        columns[name], wrong = typed(name, cells, deciding, name in numbers)
        bad += wrong
    missing = [i for i, v in enumerate(columns[label]) if is_missing(v)]
    listed = {row for row, *_ in bad}
    if len(missing) == len(part_of) and part_of:
        raise LaminaError(f"{where}: column {label!r}: expected answers; every row lacks one")
    reason = f"column {label!r}: expected an answer; the cell is empty"
    bad += [(row, "missing-label", reason, "fill it in, or remove the row") for row in missing if row not in listed]
    for row, code, reason, fix in sorted(bad, key=lambda b: b[0]):
        file, line = places(row)
        findings.append(Finding(code, reason, file, line, fix))
    set_aside = {row for row, *_ in bad}
    good = [i for i in range(len(part_of)) if i not in set_aside]
    if set_aside:
        columns = take(columns, good)
        part_of = [part_of[i] for i in good]
    chosen = answer_kind(columns[label]) if kind == "auto" else kind
    if chosen == "classification":
        columns[label] = [category_of(v) for v in columns[label]]
    if chosen == "regression" and not isinstance(columns[label], np.ndarray):
        raise LaminaError(f"{where}: column {label!r}: expected numbers to regress on; got text such as {columns[label][0]!r}")
    about = {"layout": tables[0].layout, "label_chosen": told, "parts": [p for p in raws if p]}
    apart = [n for n in (source.group, source.time) if n is not None and n != label]
    place_of_good = (lambda row: places(good[row])) if set_aside else places
    return _Table(dict(columns), part_of, place_of_good, label, chosen, apart, where, findings, about)


def _raw_parts(data: Any) -> tuple[dict[str, RawTable], str]:
    """Part -> table, and a name for messages. The part is "" where the data is one whole."""
    if isinstance(data, (str, Path)):
        path = Path(data)
        if path.is_dir():
            return _folder(path), str(path)
        if path.suffix.lower() not in SUFFIXES and path.is_file():
            raise LaminaError(f"{path}: expected a table ({', '.join(SUFFIXES)}); got a file that ends in {path.suffix!r}")
        return {"": read_file(path)}, str(path)
    if (
        isinstance(data, Mapping)
        and data
        and all(str(k) in _PART_NAMES for k in data)
        and "train" in data
        and not _is_column(data["train"])
    ):
        parts = {}
        for name, value in data.items():
            part = _PART_NAMES[str(name)]
            parts[part] = read_file(Path(value)) if isinstance(value, (str, Path)) else from_object(value, str(name))
        return parts, "data"
    return {"": from_object(data, "data")}, "data"


def _is_column(value: Any) -> bool:
    return (isinstance(value, list) and not (value and isinstance(value[0], Mapping))) or (
        isinstance(value, np.ndarray) and value.ndim == 1
    )


def _folder(folder: Path) -> dict[str, RawTable]:
    if (folder / "state.json").is_file():
        return {"": read_arrow_folder(folder)}
    if (folder / "dataset_dict.json").is_file():
        named = {p.name: p for p in sorted(folder.iterdir()) if (p / "state.json").is_file()}
        parts = {_PART_NAMES[n]: read_arrow_folder(p) for n, p in named.items() if n in _PART_NAMES}
    else:
        files = [p for p in sorted(folder.iterdir()) if p.suffix.lower() in SUFFIXES and not p.name.startswith(".")]
        parts = {_PART_NAMES[p.stem.lower()]: read_file(p) for p in files if p.stem.lower() in _PART_NAMES}
        if not parts and len(files) == 1:
            return {"": read_file(files[0])}
    if "train" not in parts:
        raise LaminaError(f"{folder}: expected a file such as train.csv (and valid.csv, test.csv); found {_listing(folder)}")
    return {part: parts[part] for part in PARTS if part in parts}


def _listing(folder: Path) -> str:
    names = sorted(p.name for p in folder.iterdir())
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "") if names else "nothing"


def _label_column(source: Source, first: RawTable, names: list[str], where: str) -> tuple[str, str]:
    if source.label is not None:
        if source.label not in names:
            raise LaminaError(f"{where}: --label: expected one of the columns {', '.join(names)}; got {source.label!r}")
        return source.label, "asked for"
    if first.label in names:
        return str(first.label), "declared by the data"
    if len(names) < 2:
        raise LaminaError(f"{where}: expected a column of answers beside the inputs; the only columns are {', '.join(names)}")
    for name in LABELS:
        found = next((n for n in names if n.lower() == name), None)
        if found is not None:
            return found, "by its name"
    return names[-1], "the last column"


def _joined(columns: Sequence[Any]) -> Any:
    if all(isinstance(c, np.ndarray) for c in columns):
        return np.concatenate(columns)
    return [v for c in columns for v in (c.tolist() if isinstance(c, np.ndarray) else c)]


def _refuse_single_class(table: _Table) -> None:
    values = {str(v) for v in table.columns[table.label]}
    if len(values) == 1 and "train" not in table.about["parts"]:
        raise LaminaError(f"{table.where}: column {table.label!r}: expected at least two classes; every row has {values.pop()!r}")
    if len(values) == len(table.part_of) >= 20:
        raise LaminaError(f"{table.where}: column {table.label!r}: expected classes; each of the {len(values)} rows has its own")


def _parts(source: Source, table: _Table, hashes: list[bytes], labels: Any, groups: Any, times: Any) -> dict[str, np.ndarray]:
    """Rows of each part: as the data says, the missing ones split off from its training rows."""
    brought = [p for p in PARTS if p in table.part_of] or ["train"]
    pool = np.array([i for i, p in enumerate(table.part_of) if p in ("", "train")], dtype=np.int64)
    chosen = {p: np.array([i for i, q in enumerate(table.part_of) if q == p], dtype=np.int64) for p in PARTS if p in brought}

    def of(column: Any) -> Any:
        return None if column is None else [column[i] for i in pool.tolist()]

    shares = shares_for(len(pool), source, brought)
    made = split([hashes[i] for i in pool.tolist()], of(labels), of(groups), of(times), shares, source.split_seed)
    table.findings += empty_findings(made, shares, table.where)
    return {p: pool[made[p]] if p == "train" or p not in brought else chosen[p] for p in PARTS}
