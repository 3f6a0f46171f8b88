"""Planted defects of pictures: files that cannot be used, sets that cannot be read, and sets that are spoilt."""

from __future__ import annotations

import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from picture_making import encoded, folder_per_class, idx, noise, scene

PHOTO = noise(5, 40, 40)


def cut(kind: str, share: float = 0.5, **options: Any) -> bytes:
    whole = encoded(PHOTO, kind, **options)
    return whole[: int(len(whole) * share)]


def sized_png(width: int, height: int) -> bytes:
    """A PNG whose header promises another size than it holds."""
    whole = bytearray(encoded(PHOTO))
    whole[16:24] = struct.pack(">II", width, height)
    whole[29:33] = struct.pack(">I", zlib.crc32(bytes(whole[12:29])))
    return bytes(whole)


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]


def tiff(array: np.ndarray | Image.Image) -> bytes:
    return encoded(array if isinstance(array, Image.Image) else Image.fromarray(array), "TIFF")


BAD_PICTURES: dict[str, tuple[str, bytes, str]] = {
    "a JPEG cut in half": ("x.jpg", cut("JPEG"), "truncated-image"),
    "a JPEG that lacks its last rows": ("x.jpeg", cut("JPEG", 0.9), "truncated-image"),
    "a progressive JPEG cut in half": ("x.jpg", cut("JPEG", progressive=True), "truncated-image"),
    "a JPEG of which only the header came": ("x.jpg", cut("JPEG")[:60], "truncated-image"),
    "a PNG cut in half": ("x.png", cut("PNG"), "truncated-image"),
    "a WebP cut in half": ("x.webp", cut("WEBP"), "truncated-image"),
    "a GIF cut in half": ("x.gif", cut("GIF"), "truncated-image"),
    "a BMP cut in half": ("x.bmp", cut("BMP"), "truncated-image"),
    "a TIFF cut in half": ("x.tif", cut("TIFF"), "truncated-image"),
    "a PPM cut in half": ("x.ppm", cut("PPM"), "truncated-image"),
    "a PNG with a damaged byte": ("x.png", flipped(encoded(PHOTO)), "corrupt-image"),
    "nothing in the file": ("x.png", b"", "empty-file"),
    "a web page saved as a picture": ("x.jpg", b"<!DOCTYPE html><html>404 Not Found</html>", "not-an-image"),
    "a pointer of git LFS": ("x.jpg", b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 3\n", "not-an-image"),
    "a zip file renamed": ("x.jpg", b"PK\3\4" + bytes(60), "not-an-image"),
    "an array saved by numpy": ("x.png", b"\x93NUMPY\x01\0v\0" + bytes(100), "not-an-image"),
    "a width of zero": ("x.png", sized_png(0, 40), "zero-sized-image"),
    "a decompression bomb": ("x.png", sized_png(60_000, 60_000), "oversized-image"),
    "a photo of a telephone (HEIC)": ("x.heic", b"\0\0\0\x18ftypheic" + bytes(60), "unsupported-image"),
    "a HEIC named as JPEG": ("x.jpg", b"\0\0\0\x18ftypheic" + bytes(60), "unsupported-image"),
    "a film named as JPEG": ("x.jpg", b"\0\0\0\x18ftypmp42" + bytes(60), "unsupported-image"),
    "an SVG named as PNG": ("x.png", b'<?xml version="1.0"?><svg xmlns="x"></svg>', "unsupported-image"),
    "a JPEG 2000 named as PNG": ("x.png", encoded(PHOTO, "JPEG2000"), "unsupported-image"),
    "floating point beyond 0..1": ("x.tif", tiff(noise(1, 8, 8, 1).astype(np.float32)), "unsupported-image"),
    "pixels that are not numbers": ("x.tif", tiff(np.full((8, 8), np.nan, np.float32)), "unsupported-image"),
    "32-bit integers": ("x.tif", tiff(noise(1, 8, 8, 1).astype(np.int32) * 1000), "unsupported-image"),
    "colours in LAB": ("x.tif", tiff(Image.new("LAB", (8, 8))), "unsupported-image"),
}
"""Name -> (file, content, the code of the finding)."""


def table_of_paths(root: Path, row: str, head: str = "path,label") -> str:
    """Eight good pictures and `row` in line 10 of a table."""
    folder_per_class(root / "set", {"x": 8}, side=8)
    lines = [head, *(f"set/x/{i:03d}.png,{'ab'[i % 2]}{',train' if 'split' in head else ''}" for i in range(8)), row]
    (root / "t.csv").write_text("\n".join(lines) + "\n")
    return "t.csv"


def idx_files(root: Path, labels: bytes | None, images: bytes | None = None) -> str:
    (root / "set").mkdir()
    (root / "set/train-images-idx3-ubyte").write_bytes(images or idx(np.zeros((20, 8, 8), np.uint8)))
    if labels is not None:
        (root / "set/train-labels-idx1-ubyte").write_bytes(labels)
    return "set"


def folders(root: Path, **parts: dict[str, int]) -> str:
    (root / "set").mkdir()
    for number, (part, classes) in enumerate(parts.items()):
        folder_per_class(root / "set" / part, classes, side=8, seed=number)
    return "set"


def zipped(root: Path) -> str:
    folder_per_class(root / "made", {"cat": 4, "dog": 4}, side=8)
    with zipfile.ZipFile(root / "set.zip", "w") as archive:
        for path in sorted((root / "made").rglob("*.png")):
            archive.write(path, path.relative_to(root / "made"))
    content = (root / "set.zip").read_bytes()
    at = content.index(b"IDAT") + 30  # within the first picture: its checksum in the zip no longer holds
    (root / "set.zip").write_bytes(content[:at] + b"\xaa\xbb\xcc" + content[at + 3 :])
    return "set.zip"


def locked(root: Path) -> str:
    """A zip file that says of its members that they are encrypted."""
    content = bytearray((root / zipped(root)).read_bytes())
    for mark, place in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        at = content.find(mark)
        while at >= 0:
            content[at + place] |= 1
            at = content.find(mark, at + 1)
    (root / "set.zip").write_bytes(bytes(content))
    return "set.zip"


def saved(root: Path, state: str) -> str:
    """A folder that `datasets` seems to have saved."""
    written(root, "set/dataset_info.json", "{}")
    return written(root, "set/state.json", state).split("/")[0]


def written(root: Path, name: str, content: str | bytes) -> str:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return name


TWENTY = idx(np.arange(20, dtype=np.uint8) % 2)
BAD_SETS: dict[str, tuple[Callable[[Path], str], str]] = {
    "no such folder": (lambda p: "nowhere", "--data nowhere: no such file or folder"),
    "an empty folder": (lambda p: folders(p), "--data set: no picture found"),
    "pictures beside each other": (lambda p: written(p, "set/x.png", encoded(PHOTO)).split("/")[0], "--data set: pictures lie directly in the folder"),
    "parts without classes": (lambda p: str(folder_per_class(p / "set", {"train": 3, "test": 3}).name), "--data set: pictures lie directly in test, train"),
    "one class": (lambda p: str(folder_per_class(p / "set", {"cat": 9}, side=8).name), "--data: expected at least two classes; found 1 (cat)"),
    "only a test": (lambda p: folders(p, test={"cat": 3, "dog": 3}), "--data: expected at least one training example"),
    "a class of the test alone": (lambda p: folders(p, train={"cat": 6, "dog": 6}, test={"cat": 2, "fox": 2}), "unknown-class: set/test/fox/000.png: class 'fox'"),
    "a path that does not exist": (lambda p: table_of_paths(p, "set/x/none.png,a"), "missing-file: t.csv:10: set/x/none.png does not exist"),
    "a row without a path": (lambda p: table_of_paths(p, ",a"), "missing-file: t.csv:10: no path in column 'path'"),
    "a row without a label": (lambda p: table_of_paths(p, "set/x/000.png,"), "missing-label: t.csv:10: no value in column 'label'"),
    "a row with a field too many": (lambda p: table_of_paths(p, "set/x/000.png,a,b"), "wrong-field-count: t.csv:10: expected 2 fields"),
    "a part that is none": (lambda p: table_of_paths(p, "set/x/000.png,a,trian", "path,label,split"), "--data t.csv:10: expected train, valid or test in column 'split', got 'trian'"),
    "a table without paths": (lambda p: table_of_paths(p, "set/x/000.png,a", "photo,label"), "--data t.csv: no column for the image among photo, label; name it with --image"),
    "fewer labels than pictures": (lambda p: idx_files(p, idx(np.zeros(19, np.uint8))), "--data set/train-labels-idx1-ubyte: 19 labels for 20 pictures"),
    "pictures without labels": (lambda p: idx_files(p, None), "--data set: expected train-labels-idx1-ubyte"),
    "an idx file cut short": (lambda p: idx_files(p, TWENTY, idx(np.zeros((20, 8, 8), np.uint8))[:-9]), "--data set/train-images-idx3-ubyte: its header promises 1280 bytes"),
    "an idx file of another kind": (lambda p: idx_files(p, TWENTY, b"\x1f\x8b\x08\x00" + bytes(99)), "--data set/train-images-idx3-ubyte: expected an idx file of bytes in 3 dimensions"),
    "a zip file with a damaged member": (zipped, "corrupt-image: set.zip/cat/000.png: cannot be unpacked: "),
    "a zip file with a password": (locked, "corrupt-image: set.zip/cat/000.png: cannot be unpacked: "),
    "a zip file cut short": (lambda p: written(p, "set.zip", (p / zipped(p)).read_bytes()[:-40]), "--data set.zip: expected a folder, a zip file"),
    "a saved dataset without its files": (lambda p: saved(p, "{}"), "--data set: not a readable saved dataset"),
    "a path with a NUL": (lambda p: written(p, "t.jsonl", '{"path": "a\\u0000.png", "label": 1}\n'), "missing-file: t.jsonl:1: "),
    "a file that is no data": (lambda p: written(p, "x.xyz", "x"), "--data x.xyz: expected a folder, a zip file, idx files, or a table"),
    "a Parquet file that is none": (lambda p: written(p, "x.parquet", "junk"), "--data x.parquet: not a readable Parquet file"),
    "JSON lines that break off": (lambda p: written(p, "x.jsonl", '{"image": "a.png", "label": "a"}\n{"image": '), "bad-row: x.jsonl:2: "),
}  # fmt: skip
"""Name -> (what makes the data and says what `--data` gets, how the message begins)."""


def copied(source: str, target: str) -> Callable[[Path], Any]:
    def make(root: Path) -> None:
        (root / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / source, root / target)

    return make


def resaved(root: Path) -> None:
    Image.fromarray(scene(1)).save(root / "cat/first.png")
    Image.fromarray(scene(1)).save(root / "cat/second.jpg", quality=80)


SPOILED: dict[str, tuple[dict[str, int], Callable[[Path], Any], str, str | None]] = {
    "one picture twice": ({"cat": 5, "dog": 5}, copied("cat/000.png", "cat/copy.png"), "duplicate", "cat/copy.png"),
    "one picture under two labels": ({"cat": 5, "dog": 5}, copied("cat/000.png", "dog/copy.png"), "conflicting-label", "dog/copy.png"),
    "a test picture that was trained on": ({"train/cat": 5, "train/dog": 5, "test/cat": 3, "test/dog": 3}, copied("train/cat/000.png", "test/cat/copy.png"), "leaking-duplicate", "test/cat/copy.png"),
    "a picture saved again as JPEG": ({"cat": 5, "dog": 5}, resaved, "near-duplicate", "cat/second.jpg"),
    "a class twenty times another": ({"cat": 44, "dog": 2}, lambda p: None, "imbalance", None),
    "a class of one picture": ({"cat": 5, "dog": 5, "fox": 1}, lambda p: None, "single-example-class", None),
    "an empty class": ({"cat": 5, "dog": 5, "fox": 0}, lambda p: None, "empty-class", "fox"),
    "a picture in no class": ({"cat": 5, "dog": 5}, copied("cat/000.png", "stray.png"), "unlabeled-image", "stray.png"),
}  # fmt: skip
"""Name -> (classes, what plants the defect, the code of the finding, its file)."""
