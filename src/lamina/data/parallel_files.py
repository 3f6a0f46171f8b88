"""Files and tables that hold parallel text, read line by line: what is wrong with a line costs that line alone."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lamina.data.finding import Finding
from lamina.data.listing import PART_NAMES
from lamina.data.table_files import SUFFIXES, RawTable, from_object, json_objects, read_arrow_folder, read_file
from lamina.data.text_files import unquoted
from lamina.errors import LaminaError

LANGUAGE = re.compile(r"[a-z]{2,3}([-_][A-Za-z]{2,4})*")
"""A language as files and columns are named: en, de, zh-CN, pt_BR, sr-Latn."""
USUAL = "translation"
"""The column of `datasets` that holds {language: sentence}."""


def language_files(folder: Path) -> dict[str, dict[str, Path]]:
    """{part: {language: file}} of a folder such as `train.en`, `train.de`, `dev.en`, ...; part "" where it is one pair,
    `NAME.en` and `NAME.de`. Empty where the folder is none of these.

    Raises LaminaError where two files claim one place.
    """
    found: dict[str, dict[str, Path]] = {}
    others: dict[str, dict[str, Path]] = {}
    for path in sorted(folder.iterdir()):
        name = path.name.removesuffix(".txt")
        stem, _, language = name.rpartition(".")
        if path.name.startswith(".") or not path.is_file() or not stem or not LANGUAGE.fullmatch(language):
            continue
        if f".{language.lower()}" in SUFFIXES:
            continue
        part = PART_NAMES.get(stem.lower())
        home = found.setdefault(part, {}) if part else others.setdefault(stem, {})
        if language in home:
            raise LaminaError(f"{folder}: expected one file a part and language; got {home[language].name} and {path.name}")
        home[language] = path
    if "train" in found:
        return {part: found[part] for part in ("train", "valid", "calibration", "test") if part in found}
    whole = [of_stem for of_stem in others.values() if len(of_stem) >= 2]
    if len(whole) == 1 and not found:
        return {"": whole[0]}
    return {}


def told_names(data: Any) -> tuple[str, str] | None:
    """Two languages that files or columns are named after, in the order of the alphabet; None where it is no parallel text."""
    if isinstance(data, tuple) and len(data) == 2:
        sides = [list(side[:1]) if isinstance(side, (list, tuple)) else [None] for side in data]
        return ("source", "target") if all(s and isinstance(s[0], str) for s in sides) else None
    if isinstance(data, (str, Path)) and Path(data).is_dir():
        names = sorted({name for of_part in language_files(Path(data)).values() for name in of_part})
        if len(names) >= 2:
            return names[0], names[1]
    try:
        tables, _ = table_pairs(data)
    except LaminaError:
        return None
    columns = list(next(iter(tables.values())).columns)
    if {"source", "target"} <= set(columns):
        return "source", "target"
    named = sorted(name for name in columns if re.fullmatch(r"[a-z]{2}([-_][A-Za-z]{2,4})?", name))
    texts = next(iter(tables.values())).columns
    named = [name for name in named if any(isinstance(cell, str) and " " in cell for cell in list(texts[name])[:100])]
    return (named[0], named[1]) if len(named) == 2 else None


def pair_files(
    part: str, files: Mapping[str, Path], names: tuple[str, str], folder: Path
) -> tuple[list[Any], list[Any], Any, list[Finding], str]:
    """The lines of the two files of a part: what `Pairs` is made of. Raises LaminaError where their numbers differ."""
    for name in names:
        if name not in files:
            raise LaminaError(
                f"{folder}: expected {part or 'a file'}.{name} beside {next(iter(files.values())).name}; there is none"
            )
    paths = [files[name] for name in names]
    sides, findings = [], []
    for path in paths:
        lines, found = read_lines(path)
        sides.append(lines)
        findings += found
    if len(sides[0]) != len(sides[1]):
        counts = " and ".join(f"{path.name} {len(side):,}" for path, side in zip(paths, sides, strict=True))
        raise LaminaError(f"{folder}: expected as many lines in {paths[0].name} as in {paths[1].name}; lines: {counts}")
    return sides[0], sides[1], lambda row: (str(paths[0]), row + 1), findings, "a file a language"


def read_lines(path: Path) -> tuple[list[str | None], list[Finding]]:
    """The lines of a text file; a line that is not UTF-8 is None, and a finding. Lines end at a newline and nowhere else:
    other separators (U+2028, a form feed) stand inside sentences, and must not shift one side against the other."""
    content = path.read_bytes()
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise LaminaError(f"{path}: expected UTF-8 text; this is UTF-16: save it as UTF-8")
    raw = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    if raw[-1] == b"":
        raw.pop()
    lines: list[str | None] = []
    findings: list[Finding] = []
    for number, line in enumerate(raw, start=1):
        try:
            lines.append(line.decode())
        except UnicodeDecodeError as error:
            lines.append(None)
            reason = f"expected UTF-8 text; found byte 0x{line[error.start]:02x}, which is not"
            findings.append(Finding("not-utf-8", reason, str(path), number, "save the file as UTF-8, or remove the pair"))
    return lines, findings


def table_pairs(data: Any) -> tuple[dict[str, RawTable], str]:
    """{part: table} of whatever holds columns of sentences, and its name for messages; part "" where it is one whole."""
    if isinstance(data, (str, Path)):
        path = Path(data)
        if path.is_dir():
            return _folder_of_tables(path), str(path)
        return {"": _table(path)}, str(path)
    parts = {PART_NAMES.get(str(name), ""): value for name, value in data.items()} if isinstance(data, Mapping) else {}
    if "train" in parts and "" not in parts and not isinstance(next(iter(parts.values())), (list, tuple, str)):
        return {part: _flat(from_object(value, part)) for part, value in parts.items()}, "data"
    return {"": _flat(from_object(data, "data"))}, "data"


def _folder_of_tables(folder: Path) -> dict[str, RawTable]:
    if (folder / "state.json").is_file():
        return {"": _arrow(folder)}
    if (folder / "dataset_dict.json").is_file():
        named = {path.name: path for path in sorted(folder.iterdir()) if (path / "state.json").is_file()}
        parts = {PART_NAMES[name]: _arrow(path) for name, path in named.items() if name in PART_NAMES}
    else:
        files = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")]
        parts = {PART_NAMES[p.stem.lower()]: _table(p) for p in files if p.stem.lower() in PART_NAMES}
        if not parts and len(files) == 1:
            return {"": _table(files[0])}
    if "train" not in parts:
        names = sorted(path.name for path in folder.iterdir())
        listed = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "") if names else "nothing"
        raise LaminaError(f"{folder}: expected files such as train.en and train.de, or a table such as train.csv; found {listed}")
    return {part: parts[part] for part in ("train", "valid", "calibration", "test") if part in parts}


def _table(path: Path) -> RawTable:
    suffix = path.suffix.lower()
    if suffix in (".jsonl", ".ndjson", ".json"):
        return _json(path)
    if suffix in (".parquet", ".pq"):
        return _parquet(path)
    if suffix == ".tsv":
        return _tab_separated(path)
    if suffix not in SUFFIXES:
        raise LaminaError(f"{path}: expected a folder or a table ({', '.join(SUFFIXES)}) of parallel text; got {path.name}")
    return read_file(path)


def _json(path: Path) -> RawTable:
    """JSON lines, {"en": ..., "de": ...}, or as `datasets` has them, {"translation": {"en": ..., "de": ...}}."""
    findings: list[Finding] = []
    rows = []
    for number, item in json_objects(path.read_bytes(), str(path), findings):
        inner = item.get(USUAL)
        rows.append((number, {**item, **inner} if isinstance(inner, dict) else item))
    names = dict.fromkeys(name for _, row in rows for name in row)
    if not rows:
        raise LaminaError(f"{path}: expected JSON objects, each a pair; {findings[0] if findings else 'there are none'}")
    columns = {name: [row.get(name) for _, row in rows] for name in names}
    return RawTable(columns, str(path), lambda row: rows[row][0], findings, "JSON lines")


def _parquet(path: Path) -> RawTable:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    try:
        table = parquet.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise LaminaError(f"{path}: expected a Parquet file; {str(error).splitlines()[0]}") from error
    return _of_arrow(table, str(path), "Parquet")


def _arrow(folder: Path) -> RawTable:
    """A folder that `datasets` saved, whose sentences may stand inside the column `translation`."""
    import pyarrow as pa

    try:
        told = json.loads((folder / "state.json").read_text(encoding="utf-8"))["_data_files"]
        streams = []
        for item in told:
            with pa.memory_map(str(folder / item["filename"])) as stream:
                streams.append(pa.ipc.open_stream(stream).read_all())
    except (OSError, KeyError, ValueError, TypeError):  # arrow's own errors are ValueErrors
        return read_arrow_folder(folder)  # which says what is wrong
    return _of_arrow(pa.concat_tables(streams), str(folder), "datasets")


def _of_arrow(table: Any, file: str, layout: str) -> RawTable:
    """Columns of text as lists; {language: sentence} as a column a language. Other columns are left out."""
    import pyarrow as pa

    if USUAL in table.column_names and pa.types.is_struct(table.schema.field(USUAL).type):
        inner = table.select([USUAL]).flatten()
        table = inner.rename_columns([name.removeprefix(f"{USUAL}.") for name in inner.column_names])
    kinds = {name: table.schema.field(i).type for i, name in enumerate(table.column_names)}
    texts = [n for n, kind in kinds.items() if pa.types.is_string(kind) or pa.types.is_large_string(kind)]
    return RawTable({name: table.column(name).to_pylist() for name in texts}, file, layout=layout)


def _flat(table: RawTable) -> RawTable:
    """A table in memory whose column `translation` holds {language: sentence}."""
    inner = table.columns.get(USUAL)
    if not isinstance(inner, list) or not inner or not all(isinstance(cell, Mapping) for cell in inner):
        return table
    names = dict.fromkeys(str(name) for cell in inner for name in cell)
    table.columns = {name: [cell.get(name) for cell in inner] for name in names}
    return table


def _tab_separated(path: Path) -> RawTable:
    """Names in the first line, then a pair a line. A quotation mark is a sign like any other, unless it stands around a whole
    cell with those inside doubled, as spreadsheets write it: corpora are full of marks that never close."""
    lines, findings = read_lines(path)
    if not lines or lines[0] is None:
        raise LaminaError(
            f"{path}: expected a line of column names, then a pair a line; {findings[0] if findings else 'it is empty'}"
        )
    names = [unquoted(cell).strip() for cell in lines[0].rstrip("\r").split("\t")]
    columns: dict[str, list[Any]] = {name: [] for name in names}
    numbers = []
    for number, line in enumerate(lines[1:], start=2):
        cells = None if line is None else line.rstrip("\r").split("\t")
        if not line or cells is None:
            if line is None:
                continue
            cells = [""] * len(names)
        if len(cells) != len(names):
            reason = f"expected {len(names)} fields, as in the first line; got {len(cells)}"
            findings.append(Finding("wrong-field-count", reason, str(path), number, "mend the line"))
            continue
        numbers.append(number)
        for name, cell in zip(names, cells, strict=True):
            columns[name].append(unquoted(cell))
    return RawTable(dict(columns), str(path), lambda row: numbers[row], findings, "TSV")
