"""A folder for each class, in folders for train, valid and test or not, on disk or in a zip file."""

from __future__ import annotations

import os
import threading
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from lamina.data.listing import PART_NAMES, Listing, stamp
from lamina.data.source import Finding
from lamina.errors import LaminaError
from lamina.modalities.image import is_picture_name
from lamina.modalities.picture_files import BadPicture

_OTHER_PICTURES = frozenset((
    ".heic", ".heif", ".psd", ".svg", ".jp2", ".j2k", ".jxl", ".cr2", ".cr3", ".nef", ".arw", ".dng", ".raw", ".eps",
    ".ico", ".tga", ".exr", ".hdr",
))  # fmt: skip
"""Pictures that we do not read: left out with an error, never in silence."""
_COMPANIONS = frozenset((
    ".txt", ".md", ".rst", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".html", ".yaml", ".yml", ".db", ".ini", ".py",
    ".sh", ".pdf", ".lock", ".log",
))  # fmt: skip
"""What lies beside pictures in honest data sets."""


def _walk(folder: str, seen: set[tuple[int, int]], inside: str = "") -> Iterator[tuple[str, os.DirEntry[str]]]:
    """(relative path, entry) of every file and folder, sorted; links are followed once, hidden names passed over."""
    status = Path(folder).stat()
    if (status.st_dev, status.st_ino) in seen:
        return
    seen.add((status.st_dev, status.st_ino))
    for entry in sorted(os.scandir(folder), key=lambda e: e.name):
        if entry.name.startswith(".") or entry.name == "__MACOSX":
            continue
        here = inside + entry.name
        yield here, entry
        if _is_folder(entry):
            yield from _walk(entry.path, seen, here + "/")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """A link that leads round in a circle is no folder: reading it as a file says what is wrong."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def from_folder(path: Path) -> Listing:
    files: dict[str, str] = {}
    folders: list[str] = []
    for name, entry in _walk(str(path), set()):
        if _is_folder(entry):
            folders.append(name)
        else:
            try:
                files[name] = stamp(entry.path, entry.stat())
            except OSError:  # a link to nothing: reading it says so
                files[name] = f"{entry.path}|missing"
    listing = _by_folder(files, folders, str(path))
    listing.items = listing.names = [os.path.join(path, name) for name in listing.names]  # noqa: PTH118
    return listing


class ZipMembers(Sequence[bytes]):
    """The bytes of files in a zip, read when asked for; safe to read from several threads."""

    def __init__(self, path: Path, members: list[str]) -> None:
        self._path, self._members, self._own = path, members, threading.local()

    def __len__(self) -> int:
        return len(self._members)

    def __getitem__(self, index: Any) -> Any:
        archive = getattr(self._own, "archive", None)
        if archive is None:  # one for each thread: opening it reads the whole table of contents
            archive = self._own.archive = zipfile.ZipFile(self._path)
        try:
            return archive.read(self._members[index])
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:  # or encrypted
            name = f"{self._path}/{self._members[index]}"
            raise BadPicture("corrupt-image", name, f"cannot be unpacked: {error}") from None


def from_zip(path: Path) -> Listing:
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
    pictures = [name for name in files if is_picture_name(name)]
    if not pictures:
        raise LaminaError(f"{where}: no picture found; expected a folder of pictures for each class")
    root = _wrapper(pictures)
    paths = {name: name[len(root) :].split("/") for name in pictures}
    by_part = _in_parts(list(paths.values()), where)
    listing = Listing("a folder per class" + (", in parts" if by_part else ""), [], [], [], [], [])
    names: list[str] = []
    filled: set[str] = set()
    for name, pieces in paths.items():
        part = PART_NAMES.get(pieces[0].lower()) if by_part else "train"
        label = pieces[1 if by_part else 0 : -1]
        filled.add("/".join(pieces[: 2 if by_part else 1]))
        if part is None or not label:
            reason = (
                "lies in no class folder, and is left out"
                if not label
                else f"lies in {pieces[0]}, which is no part, and is left out"
            )
            fix = "move it into the folder of its class"
            listing.findings.append(Finding("unlabeled-image", reason, f"{where}/{name}", fix=fix, severity="warning"))
            continue
        names.append(name)
        listing.labels.append(label[0])
        listing.parts.append(part)
    if not names:
        raise LaminaError(f"{where}: pictures lie directly in the folder; expected a folder of pictures for each class")
    listing.names = names
    listing.stamps = [files[name] for name in names]
    for folder in folders:
        inside = folder[len(root) :]
        at_class = inside.count("/") == (1 if by_part else 0) and folder.startswith(root) and inside
        if at_class and inside not in filled and not (by_part and inside.split("/")[0].lower() not in PART_NAMES):
            listing.findings.append(
                Finding(
                    "empty-class",
                    "a class folder without a picture",
                    f"{where}/{folder}",
                    fix="fill it or remove it",
                    severity="warning",
                )
            )
    listing.findings += _passed_over([name for name in files if not is_picture_name(name)], where)
    return listing


def _in_parts(paths: Sequence[Sequence[str]], where: str) -> bool:
    """Whether the first folders are parts: all of them, or train and another beside folders that are none."""
    tops = {pieces[0] for pieces in paths if len(pieces) > 1}
    named = {top for top in tops if top.lower() in PART_NAMES}
    direct = sorted({pieces[0] for pieces in paths if len(pieces) == 2 and pieces[0] in named})
    if not named:
        return False
    if named == tops:
        if len(direct) == len(named):
            raise LaminaError(f"{where}: pictures lie directly in {', '.join(direct)}; expected a folder for each class inside")
        return True
    parts = {PART_NAMES[top.lower()] for top in named}
    return "train" in parts and len(parts) > 1 and not direct


def _passed_over(names: Sequence[str], where: str) -> list[Finding]:
    """Files that are no pictures by their names: other pictures are errors, unknown kinds are counted in a note."""
    found = []
    for name in names:
        suffix = PurePosixPath(name).suffix.lower()
        if suffix in _OTHER_PICTURES:
            found.append(
                Finding(
                    "unsupported-image", f"{suffix} pictures are not supported", f"{where}/{name}", fix="save it as PNG or JPEG"
                )
            )
    unknown = Counter(PurePosixPath(name).suffix.lower() or "no suffix" for name in names if not _companion(name))
    if unknown:
        kinds = ", ".join(f"{count} of {suffix}" for suffix, count in sorted(unknown.items()))
        found.append(Finding("skipped-files", f"no pictures by their names, and passed over: {kinds}", where, severity="note"))
    return found


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
