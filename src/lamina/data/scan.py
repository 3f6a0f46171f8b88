"""What is wrong with the data, found before anything is trained: `lamina scan`."""

from __future__ import annotations

import os
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

from lamina.data.parallel import holds_pairs, scan_parallel
from lamina.data.source import Finding, Source
from lamina.data.text_files import holds_texts
from lamina.data.texts import scan_texts
from lamina.errors import LaminaError

_ORDER = {"error": 0, "warning": 1, "note": 2}


def scan(source: Source) -> list[Finding]:
    """Every defect of pictures, of parallel or labelled texts, or of a table: errors, warnings, notes, in a fixed order.

    The layout is detected as training detects it. Raises LaminaError where there is no data to look at.
    """
    if source.data is None:
        raise LaminaError("nothing to scan: name a folder or a table with --data")
    if isinstance(source.data, (str, os.PathLike)) and not str(source.data).startswith("hf:") and not Path(source.data).exists():
        raise LaminaError(f"{source.data}: no such file or folder")
    if holds_pairs(source):
        found = scan_parallel(source)
    elif holds_text_files(source):
        found = scan_texts(source)
    elif holds_pictures(source):
        found = scan_images(source)
    elif holds_texts(source.data, source.text, source.label):
        found = scan_texts(source)
    else:
        from lamina.data.tables import scan_table

        found = scan_table(source)
    return sorted(found, key=lambda f: _ORDER[f.severity])  # stable: the order within each is the finder's


def holds_text_files(source: Source) -> bool:
    """Whether the data is a folder of files of text, without a picture or a table among them."""
    from lamina.modalities.image import is_picture_name

    if not isinstance(source.data, (str, os.PathLike)) or not Path(source.data).is_dir() or source.image is not None:
        return False
    texts = 0
    for folder, _, files in os.walk(source.data):
        for name in files:
            if is_picture_name(name) or Path(name).suffix.lower() in (".arrow", ".parquet"):
                return False
            texts += name.lower().endswith(".txt") and Path(folder) != Path(source.data)
    return texts > 0


def scan_images(source: Source) -> list[Finding]:
    """Defects of labelled pictures: of single files, and of the set as a whole."""
    from lamina.data import defects
    from lamina.data.image_layouts import list_images
    from lamina.data.images import file_findings, read_listing

    listing = list_images(source)
    pictures, facts = read_listing(listing)
    found = listing.findings + defects.capped(file_findings(listing, facts), limit=1000)
    good = [row for row, content in enumerate(facts.hashes) if content]
    hashes, parts = [facts.hashes[i] for i in good], [listing.parts[i] for i in good]
    labels, names = [listing.labels[i] for i in good], [listing.names[i] for i in good]
    sizes = [facts.sizes[i] for i in good]
    found += defects.across_parts(hashes, parts, names)
    found += defects.duplicates(hashes, parts, names)
    found += defects.conflicts(hashes, labels, names)
    found += defects.near_duplicates(pictures.take(good), hashes, sizes, names, labels)
    found += defects.classes(labels, parts)
    shapes = Counter(f"{width} x {height}" for _, height, width in sizes)
    if len(shapes) > 1:
        common = ", ".join(f"{count} of {shape}" for shape, count in sorted(shapes.items(), key=lambda x: (-x[1], x[0]))[:3])
        reason = f"pictures of {len(shapes)} sizes ({common}{', ...' if len(shapes) > 3 else ''}) are brought to "
        reason += f"{facts.shape[2]} x {facts.shape[1]}: the shorter side made to fit, the centre kept"
        found.append(Finding("mixed-sizes", reason, severity="note"))
    colors = Counter(c for c, _, _ in sizes)
    if len(colors) > 1:
        reason = f"{colors[1]} gray pictures among {colors[3]} in colour: gray is repeated in all three channels"
        found.append(Finding("mixed-colors", reason, severity="note"))
    return found


def summary(findings: list[Finding]) -> dict[str, int]:
    """How many findings of each code, errors first; those that a capped list only counts are not included."""
    return dict(Counter(f.code for f in sorted(findings, key=lambda f: (_ORDER[f.severity], f.code))))


def holds_pictures(source: Source) -> bool:
    """Whether the data is pictures rather than a table: by its layout, or by a column of paths to pictures."""
    from lamina.data.image_layouts import is_idx
    from lamina.data.image_tables import IMAGE_COLUMNS, TABLES

    data: Any = source.data
    if not isinstance(data, (str, os.PathLike)):
        return _array_of_pictures(data)
    path = Path(data)
    if str(data).startswith("hf:") or source.image is not None:
        return True
    if path.is_dir():
        return _folder_of_pictures(path)
    if path.suffix.lower() in TABLES and path.is_file():
        return _first_row_names_picture(path, IMAGE_COLUMNS)
    return is_idx(path.name) or (path.is_file() and zipfile.is_zipfile(path))


def _folder_of_pictures(path: Path) -> bool:
    """Unless it is a folder of tables, or a saved dataset without a picture column."""
    from lamina.data.image_layouts import is_idx
    from lamina.data.image_tables import TABLES
    from lamina.modalities.image import picture_files

    told = [*path.glob("dataset_info.json"), *path.glob("*/dataset_info.json")]
    if told and [*path.glob("state.json"), *path.glob("dataset_dict.json")]:
        return any('"Image"' in file.read_text() for file in told)
    names = [entry.name.lower() for entry in os.scandir(path)]
    tables = [name for name in names if os.path.splitext(name)[1] in TABLES]  # noqa: PTH122
    if not tables or any(is_idx(name) or name.startswith("metadata.") for name in names):
        return True
    return bool(picture_files(path))


def _array_of_pictures(data: Any) -> bool:
    if isinstance(data, dict):
        data = data.get("image", next(iter(data.values()), None))
    if isinstance(data, (tuple, list)) and len(data) == 2:
        data = data[0]
    return getattr(data, "ndim", 3) >= 3


def _first_row_names_picture(path: Path, columns: tuple[str, ...]) -> bool:
    """Whether the first row of a table names a picture file (or holds one, in Parquet)."""
    from lamina.modalities.image import is_picture_name

    row: dict[str, Any] = {}
    if path.suffix.lower() == ".parquet":
        import pyarrow.parquet as parquet

        try:
            for batch in parquet.ParquetFile(path).iter_batches(batch_size=1):
                row = batch.to_pylist()[0]
                break
        except Exception:
            return False
    else:
        import csv
        import json

        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            lines = [line for _, line in zip(range(2), file, strict=False)]
        try:
            if path.suffix.lower() in (".jsonl", ".ndjson"):
                row = json.loads(lines[0])
            else:
                delimiter = "\t" if path.suffix.lower() == ".tsv" else max(",;\t", key=lines[0].count)
                row = next(csv.DictReader(lines, delimiter=delimiter))
        except (ValueError, StopIteration, IndexError, csv.Error):
            return False
    if not isinstance(row, dict):
        return False
    values = [v for k, v in row.items() if str(k).lower() in columns]
    return any(isinstance(v, dict) or (isinstance(v, str) and is_picture_name(v)) for v in values)
