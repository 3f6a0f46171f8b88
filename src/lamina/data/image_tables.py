"""Pictures listed in a table: CSV, TSV, JSON lines, Parquet, `metadata.csv`, saved `datasets` folders and hub sets."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lamina.data.listing import PART_NAMES, Listing, stamp
from lamina.data.source import Finding, Source
from lamina.errors import LaminaError

if TYPE_CHECKING:
    import pyarrow as pa

IMAGE_COLUMNS = ("image", "path", "file", "filename", "file_name", "image_path", "filepath", "file_path", "img")
LABEL_COLUMNS = ("label", "class", "target", "category", "labels", "fine_label")
TABLES = (".csv", ".tsv", ".parquet", ".jsonl", ".ndjson")


def read_rows(path: Path, findings: list[Finding]) -> tuple[list[int], list[dict[str, Any]]]:
    """(line of each row as an editor counts it, rows) of a CSV, TSV, JSON lines or Parquet file.

    Rows that cannot be read are left out and added to `findings`. Raises LaminaError where the file as a whole cannot.
    """
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        import pyarrow.parquet as parquet

        try:
            table = parquet.read_table(path)
        except Exception as error:
            raise LaminaError(f"{path}: not a readable Parquet file: {' '.join(str(error).split())}") from None
        return list(range(1, table.num_rows + 1)), table.to_pylist()
    from lamina.data.table_files import read_csv, text_of

    content = path.read_bytes()
    if suffix in (".csv", ".tsv"):
        raw = read_csv(content, str(path), "\t" if suffix == ".tsv" else None)
        findings += raw.findings
        rows = [dict(zip(raw.columns, values, strict=True)) for values in zip(*raw.columns.values(), strict=True)]
        return [raw.line(row) for row in range(len(rows))], rows
    lines, rows = [], []
    for line, text in enumerate(text_of(content, str(path), findings).split("\n"), 1):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except (ValueError, RecursionError) as error:
            row = error
        if isinstance(row, dict):
            lines.append(line)
            rows.append(row)
        else:
            findings.append(Finding("bad-row", f"expected a JSON object, got {row}", str(path), line, "mend the line"))
    return lines, rows


def _column(names: Iterable[str], wanted: str | None, guesses: Sequence[str], flag: str, path: Path | str) -> str:
    names = list(names)
    if wanted is not None:
        if wanted not in names:
            raise LaminaError(f"{path}: no column {wanted!r} (--{flag}); it has {', '.join(names)}")
        return wanted
    lower = {name.lower(): name for name in names}
    for guess in guesses:
        if guess in lower:
            return lower[guess]
    raise LaminaError(f"{path}: no column for the {flag} among {', '.join(names)}; name it with --{flag}")


def from_metadata(path: Path, names: Sequence[str], source: Source) -> Listing | None:
    """`metadata.csv` or `.jsonl` beside the pictures, in the folder or in each part's folder."""
    found = [(path / n, "") for n in names if n.lower() in ("metadata.csv", "metadata.jsonl")][:1]
    if not found:
        for name in names:
            part = PART_NAMES.get(name.lower())
            for file in ("metadata.csv", "metadata.jsonl"):
                if part and (path / name / file).is_file():
                    found.append((path / name / file, part))
    if not found:
        return None
    _, rows = read_rows(found[0][0], [])
    if rows and source.label is None and not {n.lower() for n in rows[0]} & set(LABEL_COLUMNS):
        return None  # it tells other things than labels: the folders may
    return from_tables(found, source, "metadata beside pictures")


def from_tables(tables: Sequence[tuple[Path, str]], source: Source, layout: str) -> Listing:
    listing = Listing(layout, [], [], [], [], [], findings=[], rows=[])
    items: list[Any] = []
    names: list[str] = []
    stamps: list[str] = []
    groups: list[Any] = []
    times: list[Any] = []
    for path, part_of_table in tables:
        lines, rows = read_rows(path, listing.findings)
        if not rows:
            raise LaminaError(f"{path}: no rows")
        columns = list(dict.fromkeys(key for row in rows for key in row))
        image = _column(columns, source.image, IMAGE_COLUMNS, "image", path)
        label = _column(columns, source.label, LABEL_COLUMNS, "label", path)
        split = next((c for c in columns if c.lower() == "split"), None)
        for flag, name in (("group", source.group), ("time", source.time)):
            if name is not None:
                _column(columns, name, (), flag, path)
        table_stamp = stamp(path, path.stat())
        for line, row in zip(lines, rows, strict=True):
            value, answer = row.get(image), row.get(label)
            if answer is None or str(answer).strip() == "" or (isinstance(answer, float) and math.isnan(answer)):
                listing.findings.append(
                    Finding("missing-label", f"no value in column {label!r}", str(path), line, "fill it in or remove the row")
                )
                continue
            part = part_of_table or "train"
            if split is not None and not part_of_table:
                part = PART_NAMES.get(str(row.get(split)).strip().lower(), "")
                if not part:
                    raise LaminaError(f"{path}:{line}: expected train, valid or test in column {split!r}, got {row.get(split)!r}")
            if isinstance(value, Mapping):  # as `datasets` writes pictures into Parquet
                value = value.get("bytes") or value.get("path")
            if isinstance(value, bytes):
                items.append(value)
                names.append(f"{path}[{line}]")
                stamps.append(f"{table_stamp}|{image}|{line}")
            elif value is None or not str(value).strip():
                listing.findings.append(Finding("missing-file", f"no path in column {image!r}", str(path), line))
                continue
            else:
                file = path.parent / str(value).strip()
                try:
                    status = file.stat()
                except (OSError, ValueError):  # a path may not hold a NUL byte
                    listing.findings.append(
                        Finding("missing-file", f"{file} does not exist", str(path), line, "paths are relative to the table")
                    )
                    continue
                items.append(str(file))
                names.append(str(file))
                stamps.append(stamp(file, status))
            listing.labels.append(str(answer).strip())
            listing.parts.append(part)
            listing.rows.append(line)  # type: ignore[union-attr]
            groups.append(row.get(source.group) if source.group else None)
            times.append(row.get(source.time) if source.time else None)
    listing.items, listing.names, listing.stamps = items, names, stamps
    listing.groups = groups if source.group else None
    listing.times = times if source.time else None
    return listing


class ArrowImages(Sequence[Any]):
    """A column of pictures as `datasets` stores them, {bytes, path}: the bytes, read when asked for."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        self._column = column

    def __len__(self) -> int:
        return len(self._column)

    def __getitem__(self, index: Any) -> Any:
        value = self._column[int(index)].as_py()
        if isinstance(value, Mapping):
            value = value.get("bytes") or value.get("path")
        return b"" if value is None else value


class Chain(Sequence[Any]):
    """Several sequences one after the other."""

    def __init__(self, pieces: Sequence[Sequence[Any]]) -> None:
        self._pieces = pieces
        self._stops = np.cumsum([len(p) for p in pieces])

    def __len__(self) -> int:
        return int(self._stops[-1]) if len(self._stops) else 0

    def __getitem__(self, index: Any) -> Any:
        which = int(np.searchsorted(self._stops, index, side="right"))
        return self._pieces[which][int(index) - (int(self._stops[which - 1]) if which else 0)]


def from_saved_datasets(path: Path, source: Source) -> Listing:
    """A folder that `Dataset.save_to_disk` or `DatasetDict.save_to_disk` wrote, read without that package."""
    import pyarrow as pa

    if (path / "dataset_dict.json").exists():
        try:
            folders = {name: path / name for name in json.loads((path / "dataset_dict.json").read_text())["splits"]}
        except (OSError, KeyError, ValueError, TypeError) as error:
            raise LaminaError(f"{path / 'dataset_dict.json'}: expected the JSON of a saved dataset: {error}") from None
    else:
        folders = {"train": path}
    pieces = {}
    for name, folder in folders.items():
        try:
            state = json.loads((folder / "state.json").read_text())
            files = [folder / f["filename"] for f in state["_data_files"]]
            table = pa.concat_tables([pa.ipc.open_stream(pa.memory_map(str(f))).read_all() for f in files])
            features = json.loads((folder / "dataset_info.json").read_text())["features"]
        except (OSError, KeyError, ValueError, pa.ArrowInvalid) as error:
            raise LaminaError(f"{folder}: not a readable saved dataset: {error}") from None
        stamps = "|".join(stamp(file, file.stat()) for file in files)
        pieces[name] = (table, features, stamps)
    return _from_arrow(pieces, source, str(path), "a saved datasets folder")


def from_hub(name: str, source: Source) -> Listing:
    """A hub dataset, `hf:OWNER/NAME` or `hf:OWNER/NAME:CONFIG`, by way of the optional `datasets` package."""
    try:
        import datasets  # type: ignore[import-not-found]
    except ImportError:
        raise LaminaError(f"hf:{name}: reading from the hub needs `pip install lamina[hub]`") from None
    dataset_name, _, config = name.partition(":")
    try:
        loaded: Any = datasets.load_dataset(dataset_name, config or None)
    except Exception as error:
        raise LaminaError(f"hf:{name}: cannot be loaded: {' '.join(str(error).split())[:300]}") from None
    parts = loaded if isinstance(loaded, dict) else {"train": loaded}
    pieces = {part: (d.flatten_indices().data.table, d.features.to_dict(), str(d._fingerprint)) for part, d in parts.items()}
    return _from_arrow(pieces, source, f"hf:{name}", "a hub dataset")


def _from_arrow(
    pieces: Mapping[str, tuple[pa.Table, Mapping[str, Any], str]], source: Source, where: str, layout: str
) -> Listing:
    listing = Listing(layout, [], [], [], [], [])
    images: list[Sequence[Any]] = []
    names: list[str] = []
    groups: list[Any] = []
    times: list[Any] = []
    for split, (table, features, whole) in pieces.items():
        part = PART_NAMES.get(split.lower())
        if part is None:
            listing.findings.append(
                Finding("skipped-split", f"split {split!r} is neither train, valid nor test", where, severity="note")
            )
            continue
        image = _column(table.column_names, source.image, IMAGE_COLUMNS, "image", where)
        label = _column(table.column_names, source.label, LABEL_COLUMNS, "label", where)
        feature = features.get(label)
        classes = feature.get("names") if isinstance(feature, Mapping) else None
        values = table.column(label).to_pylist()
        if any(v is None for v in values):
            raise LaminaError(f"{where}[{split}][{values.index(None)}]: no value in column {label!r}")
        images.append(ArrowImages(table.column(image)))
        listing.labels += [classes[v] if classes and isinstance(v, int) and 0 <= v < len(classes) else str(v) for v in values]
        listing.parts += [part] * len(values)
        names += [f"{where}[{split}][{row}]" for row in range(len(values))]
        listing.stamps += [f"{whole}|{image}|{row}" for row in range(len(values))]  # type: ignore[operator]
        for wanted, into, flag in ((source.group, groups, "group"), (source.time, times, "time")):
            if wanted is not None:
                into += table.column(_column(table.column_names, wanted, (), flag, where)).to_pylist()
    listing.items, listing.names = Chain(images), names
    listing.groups, listing.times = (groups if source.group else None), (times if source.time else None)
    return listing
