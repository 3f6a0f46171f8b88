"""Every picture read once: checked, hashed, resized and packed into one memory-mapped uint8 array.

A pack is a folder `packs/KEY/` under `$LAMINA_CACHE` (or `~/.cache/lamina`) holding `pixels.npy` (N, C, H, W) and
`facts.json`. The key is a hash of the paths, sizes and times of the files, the size asked for and the version of the
reader, so a changed file makes another pack. The folder is written under another name, synced and renamed: a pack is
there whole or not at all, and of two processes that pack at once the first to finish wins. Checksums find a pack that
was damaged later; it is made again.

Sets too large to pack are read once for their facts, and then streamed from their files.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
import warnings
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import PIL

from lamina.files import sync
from lamina.modalities.image import READER_VERSION, BadPicture, Pictures, Shape, fit, measure, pictures, read_picture

LARGEST = 8 * 2**30
"""Bytes of the largest pack; a quarter of the free disk is another limit."""
NATIVE = 96
"""Pictures that all have one size, with no side longer than this, keep it."""
DEFAULT_SIZE = 128
_BLOCK = 4 * 2**20  # bytes decoded, summed and written at once
_CHECKED_WHOLE = 2**30  # larger packs have 64 of their blocks checked when opened
_THREADS = min(8, os.cpu_count() or 1)


@dataclass
class Facts:
    """What reading every picture once taught. Lists have one entry a picture, in order."""

    shape: Shape
    """(C, H, W) that the set is used at."""
    hashes: list[str] = field(default_factory=list)
    """Of the decoded pixels before resizing: one picture in two file formats is one content, and neither the split
    into parts nor what counts as a duplicate depends on the size asked for. Empty for a bad picture."""
    sizes: list[Shape] = field(default_factory=list)
    """Native (C, H, W); zeros for a bad picture."""
    bad: dict[int, tuple[str, str]] = field(default_factory=dict)
    """Row -> (code, reason)."""
    notes: dict[int, list[str]] = field(default_factory=dict)
    """Row -> what is worth knowing."""


def pack(items: Sequence[Any], stamps: Sequence[str] | None, size: int | None = None) -> tuple[Pictures, Facts]:
    """Read every item once. Rows of the Pictures are the items', bad ones included (their pixels mean nothing).

    items: what read_picture takes. stamps: a string for each that changes when its content may have; None where
    nothing can be kept for later (bytes and arrays from memory). size: side to resize to, or None to choose.
    """
    folder = None if stamps is None else cache_folder() / _key(stamps, size)
    if folder is not None:
        kept = _opened(folder, items)
        if kept is not None:
            return kept
    facts = _measured(items, size)
    room = _room(folder)
    wanted = len(items) * int(np.prod(facts.shape))
    if folder is None:
        if wanted > room:
            _read_all(items, facts, lambda block: None)
            return Pictures(files=items, shape=facts.shape), facts
        blocks: list[np.ndarray] = []
        _read_all(items, facts, blocks.append)
        return Pictures(np.concatenate(blocks) if blocks else np.empty((0, *facts.shape), np.uint8)), facts
    try:
        _write(folder, items, facts, packed=wanted <= room)
    except OSError:  # no room or no right to write there: the files themselves will do
        if len(facts.hashes) != len(items):
            _read_all(items, facts, lambda block: None)
        return Pictures(files=items, shape=facts.shape), facts
    return _opened(folder, items) or (Pictures(files=items, shape=facts.shape), facts)


def pack_array(array: np.ndarray, size: int | None = None) -> tuple[Pictures, Facts]:
    """Pictures that are an array already: uint8 (N, C, H, W), hashed, resized only where the size asks for it."""
    channels, height, width = array.shape[1:]
    facts = Facts(_chosen([(channels, height, width)], size))
    flat = np.ascontiguousarray(array)
    facts.hashes = [content_hash(picture) for picture in flat]
    facts.sizes = [(channels, height, width)] * len(array)
    return Pictures(pictures(Pictures(flat), facts.shape)), facts


def content_hash(picture: np.ndarray) -> str:
    """A hash of the pixels and shape of a contiguous picture (C, H, W)."""
    return hashlib.blake2b(picture.data, digest_size=16, person=b"%dx%d" % picture.shape[1:]).hexdigest()


def cache_folder() -> Path:
    return Path(os.environ.get("LAMINA_CACHE") or Path.home() / ".cache" / "lamina") / "packs"


def _key(stamps: Sequence[str], size: int | None) -> str:
    digest = hashlib.blake2b(f"{READER_VERSION} {PIL.__version__} {size} {len(stamps)}".encode(), digest_size=16)
    digest.update("\0".join(stamps).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _room(folder: Path | None) -> int:
    """Bytes that may be packed: on disk, or in memory where there is no folder."""
    if folder is None:
        return min(LARGEST, os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4)
    place = folder
    while not place.exists():
        place = place.parent
    return min(LARGEST, shutil.disk_usage(place).free // 4)


def _chosen(sizes: Sequence[Shape], size: int | None) -> Shape:
    """The shape for pictures of these native shapes: gray only if all are; a small common size is kept."""
    channels = 1 if sizes and all(c == 1 for c, _, _ in sizes) else 3
    if size is not None:
        return channels, size, size
    common = {(h, w) for _, h, w in sizes}
    if len(common) == 1:
        height, width = next(iter(common))
        if max(height, width) <= NATIVE:
            return channels, height, width
    return channels, DEFAULT_SIZE, DEFAULT_SIZE


def _measured(items: Sequence[Any], size: int | None) -> Facts:
    """Native shapes from headers alone, and the shape that follows for the set."""
    facts = Facts((3, DEFAULT_SIZE, DEFAULT_SIZE))

    def measured(rows: range) -> list[Shape | tuple[str, str]]:
        found: list[Shape | tuple[str, str]] = []
        for row in rows:
            try:
                found.append(measure(items[row]))
            except BadPicture as error:
                found.append((error.code, error.reason))
        return found

    row = 0
    for block in _in_order(measured, len(items), 256, "looking at pictures"):
        for found in block:
            if len(found) == 2:
                facts.bad[row] = found
                found = (0, 0, 0)
            facts.sizes.append(found)
            row += 1
    facts.shape = _chosen([s for s in facts.sizes if s[0]], size)
    return facts


def _read_all(items: Sequence[Any], facts: Facts, sink: Callable[[np.ndarray], Any]) -> None:
    """Decode every item that has a good header; fills `facts`, and gives blocks of pixels to `sink` in order."""
    facts.hashes.clear()
    bad_headers = frozenset(facts.bad)

    def read(rows: range) -> tuple[np.ndarray, list[tuple[str, list[str], tuple[str, str] | None]]]:
        pixels = np.zeros((len(rows), *facts.shape), np.uint8)
        told: list[tuple[str, list[str], tuple[str, str] | None]] = []
        for place, row in enumerate(rows):
            notes: list[str] = []
            if row in bad_headers:
                told.append(("", notes, None))
                continue
            try:
                picture = read_picture(items[row], notes=notes)
            except BadPicture as error:
                told.append(("", notes, (error.code, error.reason)))
                continue
            pixels[place] = fit(picture, facts.shape)
            told.append((content_hash(picture), notes, None))
        return pixels, told

    each = max(1, min(256, _BLOCK // max(1, int(np.prod(facts.shape)))))
    row = 0
    for pixels, told in _in_order(read, len(items), each, "reading pictures"):
        sink(pixels)
        for digest, notes, bad in told:
            facts.hashes.append(digest)
            if notes:
                facts.notes[row] = notes
            if bad:
                facts.bad[row] = bad
                facts.sizes[row] = (0, 0, 0)
            row += 1
    facts.bad = dict(sorted(facts.bad.items()))


def _in_order(work: Callable[[range], Any], count: int, each: int, label: str) -> Iterator[Any]:
    """Results of `work` over stretches of rows, in order; a few stretches are under way at a time."""
    waiting: deque[tuple[int, Future[Any]]] = deque()
    starts = iter(range(0, count, each))
    with warnings.catch_warnings(), ThreadPoolExecutor(_THREADS) as pool, _progress(label, count) as advance:
        warnings.simplefilter("ignore")  # PIL's remarks on odd files: what matters becomes a finding
        while True:
            while len(waiting) < 2 * _THREADS and (start := next(starts, None)) is not None:
                rows = range(start, min(start + each, count))
                waiting.append((len(rows), pool.submit(work, rows)))
            if not waiting:
                return
            done, future = waiting.popleft()
            yield future.result()
            advance(done)


@contextmanager
def _progress(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on standard error, for a person who has waited two seconds."""
    began, done, bar = time.monotonic(), 0, None

    def advance(count: int) -> None:
        nonlocal done, bar
        done += count
        if bar is None and sys.stderr.isatty() and time.monotonic() - began > 2:
            from rich.console import Console
            from rich.progress import Progress

            bar = Progress(console=Console(stderr=True), transient=True)
            bar.add_task(label, total=total)
            bar.start()
        if bar is not None:
            bar.update(bar.task_ids[0], completed=done)

    try:
        yield advance
    finally:
        if bar is not None:
            bar.stop()


def _write(folder: Path, items: Sequence[Any], facts: Facts, packed: bool) -> None:
    """Make the pack in a folder beside, then rename it. Raises OSError where it cannot be written."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".tmp", dir=folder.parent))
    try:
        checks: list[tuple[int, int]] = []  # (bytes, crc32) of each block of pixels
        if packed:
            with (made / "pixels.npy").open("wb") as file:
                header = {"descr": "|u1", "fortran_order": False, "shape": (len(items), *facts.shape)}
                np.lib.format.write_array_header_1_0(file, header)

                def write(block: np.ndarray) -> None:
                    file.write(block.data)
                    checks.append((block.nbytes, zlib.crc32(block.data)))

                _read_all(items, facts, write)
                _sync(file)
        else:
            _read_all(items, facts, lambda block: None)
        body = json.dumps({"packed": packed, "checks": checks, "facts": asdict(facts)})
        with (made / "facts.json").open("w") as text:
            text.write(f"{zlib.crc32(body.encode()):08x}\n{body}")
            _sync(text)
        sync(made)
        _install(made, folder)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise


def _sync(file: IO[Any]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _install(made: Path, folder: Path) -> None:
    try:
        made.rename(folder)
    except OSError:  # another process was first, or a damaged pack stands there
        if _sound(folder) is not None:
            shutil.rmtree(made)
            return
        aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".old", dir=folder.parent))
        folder.rename(aside / "pack")  # not removed in place: a reader may hold it open
        made.rename(folder)
        shutil.rmtree(aside, ignore_errors=True)
    sync(folder.parent)


def _opened(folder: Path, items: Sequence[Any]) -> tuple[Pictures, Facts] | None:
    """The pack in `folder`, or None where there is none or it is damaged."""
    found = _sound(folder)
    if found is None:
        return None
    facts, pixels = found
    if len(facts.hashes) != len(items):
        return None
    return (Pictures(pixels) if pixels is not None else Pictures(files=items, shape=facts.shape)), facts


def _sound(folder: Path) -> tuple[Facts, np.ndarray | None] | None:
    try:
        check, _, body = (folder / "facts.json").read_text().partition("\n")
        if check != f"{zlib.crc32(body.encode()):08x}":
            return None
        told = json.loads(body)
        kept = told["facts"]
        facts = Facts(
            tuple(kept["shape"]),
            kept["hashes"],
            [tuple(s) for s in kept["sizes"]],
            {int(row): tuple(bad) for row, bad in kept["bad"].items()},
            {int(row): notes for row, notes in kept["notes"].items()},
        )
        if not told["packed"]:
            return facts, None
        pixels = np.load(folder / "pixels.npy", mmap_mode="r") if facts.hashes else np.empty((0, *facts.shape), np.uint8)
        if pixels.shape != (len(facts.hashes), *facts.shape) or pixels.dtype != np.uint8:
            return None
        flat = pixels.reshape(-1)
        stops = np.cumsum([0] + [size for size, _ in told["checks"]])
        places = range(len(told["checks"]))
        if pixels.nbytes > _CHECKED_WHOLE:
            places = np.linspace(0, len(places) - 1, 64).astype(int).tolist()
        for place in places:
            if zlib.crc32(flat[stops[place] : stops[place + 1]].data) != told["checks"][place][1]:
                return None
        return facts, pixels
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None
