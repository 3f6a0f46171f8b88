"""How pictures and their labels lie on disk or in memory: every layout becomes one `Listing`.

Detected: a folder per class (train/valid/test folders above them or not), the same in a zip file, a table with a column
of paths, `metadata.csv` or `.jsonl` in a folder, idx files, a saved `datasets` folder, a hub name `hf:NAME`, arrays.
"""

from __future__ import annotations

import csv
import gzip
import json
import math
import os
import re
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from lamina.data.source import Finding, Source
from lamina.errors import LaminaError
from lamina.modalities.image import Pictures, is_picture_name, stack_of

if TYPE_CHECKING:
    import pyarrow as pa

PART_NAMES = {"train": "train", "training": "train", "valid": "valid", "val": "valid", "validation": "valid", "dev": "valid",
              "test": "test", "testing": "test", "calibration": "calibration", "calib": "calibration"}  # fmt: skip
IMAGE_COLUMNS = ("image", "path", "file", "filename", "file_name", "image_path", "filepath", "file_path", "img")
LABEL_COLUMNS = ("label", "class", "target", "category", "labels", "fine_label")
TABLES = (".csv", ".tsv", ".parquet", ".jsonl", ".ndjson")
_OTHER_PICTURES = frozenset(".heic .heif .psd .svg .jp2 .j2k .jxl .cr2 .cr3 .nef .arw .dng .raw .eps .ico .tga .exr .hdr".split())
_COMPANIONS = frozenset(".txt .md .rst .csv .tsv .json .jsonl .xml .html .yaml .yml .db .ini .py .sh .pdf .lock .log".split())
_IDX = re.compile(r"(train|t10k|test)-(images|labels)[.-]idx[13]-ubyte(?:\.gz)?")


@dataclass
class Listing:
    """Examples before any picture is decoded. Lists have one entry an example, in order."""

    layout: str
    items: Sequence[Any] | np.ndarray
    """What read_picture takes; or all pictures at once, uint8 (N, C, H, W)."""
    names: Sequence[str]
    labels: list[str]
    parts: list[str]
    """The part that the data itself names, `train` where it names none."""
    stamps: list[str] | None = None
    """A string for each that changes when the content may have; None for what lives in memory."""
    groups: list[Any] | None = None
    times: list[Any] | None = None
    findings: list[Finding] = field(default_factory=list)
    rows: list[int] | None = None
    """The line of the table that each example came from."""


def list_images(source: Source) -> Listing:
    """The examples that `source.data` names, undecoded. Raises LaminaError where no layout fits."""
    data = source.data
    if not isinstance(data, (str, os.PathLike)):
        listing = _from_memory(data)
    elif str(data).startswith("hf:"):
        listing = _from_hub(str(data)[3:], source)
    else:
        path = Path(data)
        if not path.exists():
            raise LaminaError(f"{path}: no such file or folder")
        listing = _from_path(path, source)
    for wanted, got, flag in ((source.group, listing.groups, "group"), (source.time, listing.times, "time")):
        if wanted is not None and got is None:
            raise LaminaError(f"--{flag} {wanted}: {data} is {listing.layout}, which has no columns; use a table")
    return listing


def _from_path(path: Path, source: Source) -> Listing:
    if path.is_dir():
        names = sorted(entry.name for entry in os.scandir(path))
        if any(_IDX.fullmatch(n) for n in names):
            return _from_idx(path, names)
        if "dataset_dict.json" in names or {"state.json", "dataset_info.json"} <= set(names):
            return _from_saved_datasets(path, source)
        return _from_metadata(path, names, source) or _from_folder(path)
    if _IDX.fullmatch(path.name):
        return _from_idx(path.parent, sorted(entry.name for entry in os.scandir(path.parent)))
    if path.suffix.lower() in TABLES:
        return _from_tables([(path, "")], source, "a table of paths")
    if zipfile.is_zipfile(path):
        return _from_zip(path)
    raise LaminaError(f"{path}: expected a folder, a zip file, idx files, or a table ({', '.join(TABLES)})")


# A folder per class.


def _walk(folder: str, seen: set[tuple[int, int]], inside: str = "") -> Iterator[tuple[str, os.DirEntry[str]]]:
    """(relative path, entry) of every file and folder, sorted; links are followed once, hidden names passed over."""
    status = os.stat(folder)
    if (status.st_dev, status.st_ino) in seen:
        return
    seen.add((status.st_dev, status.st_ino))
    for entry in sorted(os.scandir(folder), key=lambda e: e.name):
        if entry.name.startswith(".") or entry.name == "__MACOSX":
            continue
        here = inside + entry.name
        yield here, entry
        if entry.is_dir():
            yield from _walk(entry.path, seen, here + "/")


def _from_folder(path: Path) -> Listing:
    files: dict[str, str] = {}
    folders: list[str] = []
    for name, entry in _walk(str(path), set()):
        if entry.is_dir():
            folders.append(name)
        else:
            try:
                status = entry.stat()
                files[name] = f"{entry.path}|{status.st_size}|{status.st_mtime_ns}"
            except OSError:  # a link to nothing: reading it says so
                files[name] = f"{entry.path}|missing"
    listing = _by_folder(files, folders, str(path))
    listing.items = listing.names = [os.path.join(path, name) for name in listing.names]  # noqa: PTH118
    return listing


class ZipMembers(Sequence[bytes]):
    """The bytes of files in a zip, read when asked for; safe to read from several threads."""

    def __init__(self, path: Path, members: list[str]) -> None:
        self._path, self._members = path, members

    def __len__(self) -> int:
        return len(self._members)

    def __getitem__(self, index: Any) -> Any:
        with zipfile.ZipFile(self._path) as archive:
            try:
                return archive.read(self._members[index])
            except (zipfile.BadZipFile, zlib.error, EOFError):
                return b""


def _from_zip(path: Path) -> Listing:
    with zipfile.ZipFile(path) as archive:
        members = [m for m in archive.infolist() if not _hidden(m.filename)]
    files = {
        m.filename: f"{path}|{m.filename}|{m.file_size}|{m.CRC}"
        for m in sorted(members, key=lambda m: m.filename)
        if not m.is_dir()
    }
    folders = sorted({str(p) for m in members for p in PurePosixPath(m.filename).parents if str(p) != "."}
                     | {m.filename.rstrip("/") for m in members if m.is_dir()})  # fmt: skip
    listing = _by_folder(files, folders, str(path))
    listing.items = ZipMembers(path, list(listing.names))
    listing.names = [f"{path}/{name}" for name in listing.names]
    listing.layout += " in a zip file"
    return listing


def _hidden(name: str) -> bool:
    return any(piece.startswith(".") or piece == "__MACOSX" for piece in name.split("/"))


def _by_folder(files: Mapping[str, str], folders: Sequence[str], where: str) -> Listing:
    """Labels from the first folder of each path, under a part's folder or not. files: name -> stamp."""
    findings: list[Finding] = []
    shown = lambda name: f"{where}/{name}"  # noqa: E731
    pictures = [name for name in files if is_picture_name(name)]
    skipped = [name for name in files if name not in set(pictures)]
    if not pictures:
        raise LaminaError(f"{where}: no picture found; expected a folder of pictures for each class")
    root = _wrapper(pictures)
    tops = {name[len(root):].split("/")[0] for name in pictures if "/" in name[len(root):]}  # fmt: skip
    by_part = bool(tops) and all(top.lower() in PART_NAMES for top in tops)
    if by_part and all(name[len(root):].count("/") < 2 for name in pictures):  # fmt: skip
        if not len(tops) > 1 or "train" in {PART_NAMES[t.lower()] for t in tops}:
            raise LaminaError(
                f"{where}: pictures lie directly in {', '.join(sorted(tops))}; expected a folder for each class inside"
            )
        by_part = False
    listing = Listing("a folder per class" + (", in parts" if by_part else ""), [], [], [], [], [], findings=findings)
    names: list[str] = []
    for name in pictures:
        pieces = name[len(root):].split("/")  # fmt: skip
        part = PART_NAMES[pieces.pop(0).lower()] if by_part and pieces[0].lower() in PART_NAMES else "train"
        if len(pieces) < 2:
            findings.append(Finding("unlabeled-image", "lies in no class folder, and is left out", shown(name),
                                    fix="move it into the folder of its class", severity="warning"))  # fmt: skip
            continue
        names.append(name)
        listing.labels.append(pieces[0])
        listing.parts.append(part)
    if not names:
        raise LaminaError(f"{where}: pictures lie directly in the folder; expected a folder of pictures for each class")
    listing.names = names
    listing.stamps = [files[name] for name in names]
    depth = 2 if by_part else 1
    for folder in folders:
        pieces = folder[len(root):].split("/") if folder.startswith(root) else []  # fmt: skip
        if len(pieces) == depth and all(pieces) and not any(name.startswith(folder + "/") for name in pictures):
            if by_part and pieces[0].lower() not in PART_NAMES:
                continue
            findings.append(
                Finding(
                    "empty-class",
                    "a class folder without a picture",
                    shown(folder),
                    fix="fill it or remove it",
                    severity="warning",
                )
            )
    for name in skipped:
        if PurePosixPath(name).suffix.lower() in _OTHER_PICTURES:
            findings.append(
                Finding(
                    "unsupported-image",
                    f"{PurePosixPath(name).suffix} pictures are not supported",
                    shown(name),
                    fix="save it as PNG or JPEG",
                )
            )
    unknown = Counter(PurePosixPath(n).suffix.lower() or "no suffix" for n in skipped if not _companion(n))
    if unknown:
        kinds = ", ".join(f"{count} of {suffix}" for suffix, count in sorted(unknown.items()))
        findings.append(
            Finding(
                "skipped-files", f"files that are no pictures by their names were passed over: {kinds}", where, severity="note"
            )
        )
    return listing


def _companion(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() in _COMPANIONS | _OTHER_PICTURES or path.name.lower() in (
        "readme",
        "license",
        "licence",
        "makefile",
    )


def _wrapper(pictures: Sequence[str]) -> str:
    """The folders that merely wrap the class folders, as in `flowers.zip/flowers/rose/1.jpg`; "" for none."""
    root = ""
    while True:
        rest = [name[len(root) :].split("/") for name in pictures]
        tops = {pieces[0] for pieces in rest}
        if len(tops) != 1 or min(len(pieces) for pieces in rest) < 3 or next(iter(tops)).lower() in PART_NAMES:
            return root
        root += next(iter(tops)) + "/"


# Tables.


def read_rows(path: Path) -> tuple[list[int], list[dict[str, Any]]]:
    """(line of each row as an editor counts it, rows) of a CSV, TSV, JSONL or Parquet file. Raises LaminaError."""
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        import pyarrow.parquet as parquet

        try:
            table = parquet.read_table(path)
        except Exception as error:
            raise LaminaError(f"{path}: not a readable Parquet file: {' '.join(str(error).split())}") from None
        return list(range(1, table.num_rows + 1)), table.to_pylist()
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise LaminaError(f"{path}: cannot be read as UTF-8 text: {error}") from None
    lines, rows = [], []
    if suffix in (".jsonl", ".ndjson"):
        for line, content in enumerate(text.split("\n"), 1):
            if content.strip():
                try:
                    row = json.loads(content)
                except ValueError as error:
                    raise LaminaError(f"{path}:{line}: not JSON: {error}") from None
                if not isinstance(row, dict):
                    raise LaminaError(f"{path}:{line}: expected a JSON object, got {type(row).__name__}")
                lines.append(line)
                rows.append(row)
        return lines, rows
    first = text.split("\n", 1)[0]
    delimiter = "\t" if suffix == ".tsv" else max(",;\t", key=first.count)
    reader = csv.reader(text.splitlines(keepends=True), delimiter=delimiter)
    header: list[str] = []
    before = 0
    for values in reader:
        line, before = before + 1, reader.line_num
        if not any(v.strip() for v in values):
            continue
        if not header:
            header = [v.strip() for v in values]
        elif len(values) != len(header):
            raise LaminaError(f"{path}:{line}: expected {len(header)} fields, got {len(values)}")
        else:
            lines.append(line)
            rows.append(dict(zip(header, values, strict=True)))
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


def _from_metadata(path: Path, names: Sequence[str], source: Source) -> Listing | None:
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
    _, rows = read_rows(found[0][0])
    if rows and source.label is None and not {n.lower() for n in rows[0]} & set(LABEL_COLUMNS):
        return None  # it tells other things than labels: the folders may
    return _from_tables(found, source, "metadata beside pictures")


def _from_tables(tables: Sequence[tuple[Path, str]], source: Source, layout: str) -> Listing:
    listing = Listing(layout, [], [], [], [], [], findings=[], rows=[])
    items: list[Any] = []
    names: list[str] = []
    stamps: list[str] = []
    groups: list[Any] = []
    times: list[Any] = []
    for path, part_of_table in tables:
        lines, rows = read_rows(path)
        if not rows:
            raise LaminaError(f"{path}: no rows")
        columns = list(dict.fromkeys(key for row in rows for key in row))
        image = _column(columns, source.image, IMAGE_COLUMNS, "image", path)
        label = _column(columns, source.label, LABEL_COLUMNS, "label", path)
        split = next((c for c in columns if c.lower() == "split"), None)
        for flag, name in (("group", source.group), ("time", source.time)):
            if name is not None:
                _column(columns, name, (), flag, path)
        table_stamp = f"{path}|{path.stat().st_size}|{path.stat().st_mtime_ns}"
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
                stamps.append(f"{table_stamp}|{line}")
            elif value is None or not str(value).strip():
                listing.findings.append(Finding("missing-file", f"no path in column {image!r}", str(path), line))
                continue
            else:
                file = path.parent / str(value).strip()
                try:
                    status = file.stat()
                except OSError:
                    listing.findings.append(
                        Finding("missing-file", f"{file} does not exist", str(path), line, "paths are relative to the table")
                    )
                    continue
                items.append(str(file))
                names.append(str(file))
                stamps.append(f"{file}|{status.st_size}|{status.st_mtime_ns}")
            listing.labels.append(str(answer).strip())
            listing.parts.append(part)
            listing.rows.append(line)  # type: ignore[union-attr]
            groups.append(row.get(source.group) if source.group else None)
            times.append(row.get(source.time) if source.time else None)
    listing.items, listing.names, listing.stamps = items, names, stamps
    listing.groups = groups if source.group else None
    listing.times = times if source.time else None
    return listing


# idx files: Yann LeCun's format of MNIST. Two zero bytes, a type byte (8: uint8), the number of dimensions, the sizes.


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """A uint8 array of so many dimensions; memory-mapped where the file is not gzipped. Raises LaminaError."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            head = file.read(4 + 4 * dimensions)
            if len(head) < 4 + 4 * dimensions or head[:4] != bytes((0, 0, 8, dimensions)):
                raise LaminaError(
                    f"{path}: expected an idx file of bytes in {dimensions} dimensions (magic 0000080{dimensions}), got {head[:4].hex()}"
                )
            shape = struct.unpack(f">{dimensions}I", head[4:])
            wanted = math.prod(shape)
            if path.suffix != ".gz":
                got = path.stat().st_size - len(head)
                if got == wanted and wanted:
                    return np.memmap(path, np.uint8, "r", len(head), shape)
            data = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise LaminaError(f"{path}: cut short or damaged: {error}") from None
    if len(data) != wanted:
        raise LaminaError(f"{path}: its header promises {wanted} bytes ({' x '.join(map(str, shape))}), it holds {len(data)}")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _from_idx(folder: Path, names: Sequence[str]) -> Listing:
    files: dict[tuple[str, str], Path] = {}
    for name in names:
        match = _IDX.fullmatch(name)
        if match:
            files.setdefault(("train" if match[1] == "train" else "test", match[2]), folder / name)
    images: list[np.ndarray] = []
    listing = Listing("idx files", [], [], [], [])
    shown: list[str] = []
    for part in ("train", "test"):
        got = {kind: files.get((part, kind)) for kind in ("images", "labels")}
        if not any(got.values()):
            continue
        for kind, file in got.items():
            if file is None:
                raise LaminaError(
                    f"{folder}: the {kind} of the {part} part are missing ({part if part == 'train' else 't10k'}-{kind}-idx{3 if kind == 'images' else 1}-ubyte)"
                )
        pixels, labels = read_idx(got["images"], 3), read_idx(got["labels"], 1)  # type: ignore[arg-type]
        if len(pixels) != len(labels):
            raise LaminaError(f"{got['labels']}: {len(labels)} labels for {len(pixels)} pictures in {got['images'].name}")  # type: ignore[union-attr]
        if images and pixels.shape[1:] != images[0].shape[1:]:
            raise LaminaError(f"{got['images']}: pictures of {pixels.shape[1:]}, but the training part has {images[0].shape[1:]}")
        images.append(pixels)
        listing.labels += labels.astype(str).tolist()
        listing.parts += [part] * len(labels)
        stem = got["images"].name  # type: ignore[union-attr]
        shown += [f"{stem}[{row}]" for row in range(len(labels))]
    listing.items = (images[0] if len(images) == 1 else np.concatenate(images))[:, None]
    listing.names = shown
    return listing


# `datasets`.


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


def _from_saved_datasets(path: Path, source: Source) -> Listing:
    """A folder that `Dataset.save_to_disk` or `DatasetDict.save_to_disk` wrote, read without that package."""
    import pyarrow as pa

    if (path / "dataset_dict.json").exists():
        folders = {name: path / name for name in json.loads((path / "dataset_dict.json").read_text())["splits"]}
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
        stamp = "|".join(f"{f}|{f.stat().st_size}|{f.stat().st_mtime_ns}" for f in files)
        pieces[name] = (table, features, stamp)
    return _from_arrow(pieces, source, str(path), "a saved datasets folder")


def _from_hub(name: str, source: Source) -> Listing:
    """A hub dataset, `hf:OWNER/NAME` or `hf:OWNER/NAME:CONFIG`, by way of the optional `datasets` package."""
    try:
        import datasets  # type: ignore[import-not-found]
    except ImportError:
        raise LaminaError(f"hf:{name}: reading from the hub needs `pip install lamina[hub]`") from None
    dataset_name, _, config = name.partition(":")
    try:
        loaded = datasets.load_dataset(dataset_name, config or None)
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
    for split, (table, features, stamp) in pieces.items():
        part = PART_NAMES.get(split.lower())
        if part is None:
            listing.findings.append(
                Finding("skipped-split", f"split {split!r} is neither train, valid nor test", where, severity="note")
            )
            continue
        image = _column(table.column_names, source.image, IMAGE_COLUMNS, "image", where)
        label = _column(table.column_names, source.label, LABEL_COLUMNS, "label", where)
        classes = features.get(label, {}).get("names")
        values = table.column(label).to_pylist()
        if any(v is None for v in values):
            raise LaminaError(f"{where}[{split}][{values.index(None)}]: no value in column {label!r}")
        images.append(ArrowImages(table.column(image)))
        listing.labels += [classes[v] if classes and isinstance(v, int) and 0 <= v < len(classes) else str(v) for v in values]
        listing.parts += [part] * len(values)
        names += [f"{where}[{split}][{row}]" for row in range(len(values))]
        listing.stamps += [f"{stamp}|{image}|{row}" for row in range(len(values))]  # type: ignore[operator]
        for wanted, into, flag in ((source.group, groups, "group"), (source.time, times, "time")):
            if wanted is not None:
                into += table.column(_column(table.column_names, wanted, (), flag, where)).to_pylist()
    listing.items, listing.names = Chain(images), names
    listing.groups, listing.times = (groups if source.group else None), (times if source.time else None)
    return listing


# Arrays and lists from Python.


def _from_memory(data: Any) -> Listing:
    if isinstance(data, Mapping):
        keys = {str(k).lower(): k for k in data}
        image = next((keys[c] for c in IMAGE_COLUMNS if c in keys), None)
        label = next((keys[c] for c in LABEL_COLUMNS if c in keys), None)
        if image is not None and label is not None:
            pieces = {"train": (data[image], data[label])}
        elif data and all(k in PART_NAMES for k in keys):
            pieces = {PART_NAMES[k]: data[keys[k]] for k in keys}
        else:
            raise LaminaError(
                f"data with keys {', '.join(map(str, data))}: expected image and label, or train and test of (images, labels)"
            )
    elif isinstance(data, (tuple, list)) and len(data) == 2:
        pieces = {"train": (data[0], data[1])}
    else:
        raise LaminaError(f"expected a path, (images, labels), or a dict of those for train and test, got {type(data).__name__}")
    listing = Listing("arrays", [], [], [], [])
    images: list[Any] = []
    for part, pair in pieces.items():
        if not (isinstance(pair, (tuple, list)) and len(pair) == 2):
            raise LaminaError(f"{part}: expected (images, labels), got {type(pair).__name__}")
        pixels, labels = pair
        if isinstance(pixels, Pictures):
            pixels = pixels.array()
        elif not isinstance(pixels, (list, tuple)):
            pixels = stack_of(np.asarray(pixels))
        labels = np.asarray(labels).reshape(-1) if not isinstance(labels, (list, tuple)) else labels
        if len(pixels) != len(labels):
            raise LaminaError(f"{part}: {len(pixels)} pictures but {len(labels)} labels")
        images.append(pixels)
        listing.labels += [str(y) for y in (labels.tolist() if isinstance(labels, np.ndarray) else labels)]
        listing.parts += [part] * len(labels)
        listing.names += [f"{part}[{row}]" for row in range(len(labels))]  # type: ignore[operator]
    if all(isinstance(x, np.ndarray) for x in images) and len({x.shape[1:] for x in images}) == 1:
        listing.items = images[0] if len(images) == 1 else np.concatenate(images)
        return listing
    listing.items = [item for x in images for item in x]
    if all(isinstance(item, (str, os.PathLike)) for item in listing.items):
        listing.names = [str(item) for item in listing.items]
        if all(Path(name).exists() for name in listing.names):
            listing.stamps = [f"{n}|{(s := os.stat(n)).st_size}|{s.st_mtime_ns}" for n in listing.names]
    return listing
