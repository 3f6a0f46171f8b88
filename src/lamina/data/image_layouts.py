"""Which layout the data has, and the `Listing` that it becomes; here also idx files, and arrays from Python.

Detected: a folder per class (train/valid/test folders above them or not), the same in a zip file, a table with a column
of paths, `metadata.csv` or `.jsonl` in a folder, idx files, a saved `datasets` folder, a hub name `hf:NAME`, arrays.
"""

from __future__ import annotations

import gzip
import math
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lamina.data.image_folders import from_folder, from_zip
from lamina.data.image_tables import (
    IMAGE_COLUMNS,
    LABEL_COLUMNS,
    TABLES,
    from_hub,
    from_metadata,
    from_saved_datasets,
    from_tables,
)
from lamina.data.listing import PART_NAMES, Listing, stamp
from lamina.data.source import Source
from lamina.errors import LaminaError
from lamina.modalities.image import Pictures, stack_of

_IDX = re.compile(r"(train|t10k|test)-(images|labels)[.-]idx[13]-ubyte(?:\.gz)?")


def is_idx(name: str) -> bool:
    """Whether a file is called as MNIST's files are."""
    return _IDX.fullmatch(name) is not None


def list_images(source: Source) -> Listing:
    """The examples that `source.data` names, undecoded. Raises LaminaError where no layout fits."""
    data = source.data
    if not isinstance(data, (str, os.PathLike)):
        listing = _from_memory(data)
    elif str(data).startswith("hf:"):
        listing = from_hub(str(data)[3:], source)
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
        if any(is_idx(n) for n in names):
            return _from_idx(path, names)
        if "dataset_dict.json" in names or {"state.json", "dataset_info.json"} <= set(names):
            return from_saved_datasets(path, source)
        return from_metadata(path, names, source) or from_folder(path)
    if is_idx(path.name):
        return _from_idx(path.parent, sorted(entry.name for entry in os.scandir(path.parent)))
    if path.suffix.lower() in TABLES:
        return from_tables([(path, "")], source, "a table of paths")
    if zipfile.is_zipfile(path):
        return from_zip(path)
    raise LaminaError(f"{path}: expected a folder, a zip file, idx files, or a table ({', '.join(TABLES)})")


# idx files: Yann LeCun's format of MNIST. Two zero bytes, a type byte (8: uint8), the number of dimensions, the sizes.


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """A uint8 array of so many dimensions; memory-mapped where the file is not gzipped. Raises LaminaError."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            head = file.read(4 + 4 * dimensions)
            if len(head) < 4 + 4 * dimensions or head[:4] != bytes((0, 0, 8, dimensions)):
                kind = f"an idx file of bytes in {dimensions} dimensions (magic 0000080{dimensions})"
                raise LaminaError(f"{path}: expected {kind}, got {head[:4].hex() or 'nothing'}")
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
        pictures_file, labels_file = files.get((part, "images")), files.get((part, "labels"))
        if pictures_file is None and labels_file is None:
            continue
        if pictures_file is None or labels_file is None:
            missing = "images-idx3" if pictures_file is None else "labels-idx1"
            raise LaminaError(
                f"{folder}: expected {part if part == 'train' else 't10k'}-{missing}-ubyte beside its other half; found none"
            )
        pixels, labels = read_idx(pictures_file, 3), read_idx(labels_file, 1)
        if len(pixels) != len(labels):
            raise LaminaError(f"{labels_file}: {len(labels)} labels for {len(pixels)} pictures in {pictures_file.name}")
        if images and pixels.shape[1:] != images[0].shape[1:]:
            raise LaminaError(f"{pictures_file}: pictures of {pixels.shape[1:]}, but the training part has {images[0].shape[1:]}")
        images.append(pixels)
        listing.labels += labels.astype(str).tolist()
        listing.parts += [part] * len(labels)
        shown += [f"{pictures_file.name}[{row}]" for row in range(len(labels))]
    listing.items = (images[0] if len(images) == 1 else np.concatenate(images))[:, None]
    listing.names = shown
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
            listing.stamps = [stamp(name, Path(name).stat()) for name in listing.names]
    return listing
