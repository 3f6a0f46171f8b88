"""Labelled pictures of any layout as `Data`: columns `image` (lazy Pictures), `label` (strings) and `path` (names)."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lamina.data import demo as bundled
from lamina.data.defects import across_parts
from lamina.data.image_layouts import list_images
from lamina.data.listing import Listing
from lamina.data.pack import Facts, pack, pack_array
from lamina.data.source import PARTS, Data, Finding, Source, refused
from lamina.data.splits import empty_findings, shares_for, split, strangers
from lamina.errors import LaminaError
from lamina.modalities.image import Pictures
from lamina.task import Columns


def read_images(
    source: Source, size: int | None = None, demo: Callable[[], Any] = bundled.digits, classes: Sequence[str] = ()
) -> Data:
    """Every labelled picture that `source` names, in four parts.

    size: side of the square that pictures are brought to (shorter side resized, centre kept). None keeps the common
    size of pictures that share one of at most 96 pixels a side, and brings all others to 128.
    demo: gives (images, labels) where the source names no data.
    classes: the only labels that make sense; without them, those of the training part.
    Columns: `image` Pictures, uint8 (C, H, W) each, C = 1 if all are gray; `label` array of str; `path` list of str; `group`
    where the source names one.
    Parts that the data brings are kept; the missing ones are split off from training.
    Raises LaminaError where no layout fits, and with `bad_data="strict"` at the first bad example.
    """
    if source.data is None:
        source = dataclasses.replace(source, data=demo())
    if size is not None and size < 1:
        raise LaminaError(f"size: expected 1 pixel or more; got {size}")
    listing = list_images(source)
    pictures, facts = read_listing(listing, size)
    findings = listing.findings + file_findings(listing, facts)
    errors = refused(findings, source)
    good = np.asarray([row for row in range(len(facts.hashes)) if row not in facts.bad], dtype=np.int64)
    if not len(good):
        raise LaminaError(f"{source.data}: no usable picture" + (f"; the first: {errors[0]}" if errors else ""))
    rows = _split(listing, facts, good, source, findings)
    unknown = strangers(listing.labels, rows, classes)
    if unknown:
        findings += [_stranger(listing, row) for row in unknown]
        errors = refused(findings, source)
        rows = {part: chosen[~np.isin(chosen, unknown)] for part, chosen in rows.items()}
    parts = np.asarray(listing.parts)
    brought = sorted(set(listing.parts), key=PARTS.index)
    if len(brought) > 1:
        findings += across_parts([facts.hashes[i] for i in good], parts[good].tolist(), [listing.names[i] for i in good])
    labels = np.asarray(listing.labels, dtype=str)
    columns = {part: _columns(pictures, labels, listing, rows[part]) for part in PARTS}
    about = {
        "layout": listing.layout,
        "classes": len(np.unique(labels[good])),
        "shape": list(pictures.shape),
        "packed": pictures.packed,
        "counts": {part: len(rows[part]) for part in PARTS},
        "brought": brought,
        "quarantined": len(errors),
    } | ({"group": "group"} if listing.groups else {})
    return Data(**columns, fingerprint=_fingerprint(facts.hashes, listing.labels, rows), findings=findings, about=about)


def _stranger(listing: Listing, row: int) -> Finding:
    reason = f"class {listing.labels[row]!r} is none of the classes that were trained on"
    return Finding("unknown-class", reason, listing.names[row], fix="add it to the training part, or remove it")


def read_listing(listing: Listing, size: int | None = None) -> tuple[Pictures, Facts]:
    """Read every picture of a listing once."""
    if isinstance(listing.items, np.ndarray):
        return pack_array(listing.items, size)
    return pack(listing.items, listing.stamps, size)


def file_findings(listing: Listing, facts: Facts) -> list[Finding]:
    """What reading each file found: bad pictures (errors), several frames (notes)."""
    found = []
    for row in sorted({*facts.bad, *facts.notes}):
        name = listing.names[row]
        if row in facts.bad:
            code, reason = facts.bad[row]
            found.append(Finding(code, reason, name, fix=_FIXES.get(code)))
        else:
            found += [Finding("several-frames", note, name, severity="note") for note in facts.notes[row]]
    return found


_FIXES = {
    "truncated-image": "fetch or copy it again",
    "empty-file": "fetch or copy it again",
    "corrupt-image": "fetch or copy it again",
    "not-an-image": "remove it, or correct its name",
}


def _split(listing: Listing, facts: Facts, good: np.ndarray, source: Source, findings: list[Finding]) -> dict[str, np.ndarray]:
    """Rows of each part: as the data says, and the missing parts split off from training."""
    parts = np.asarray(listing.parts)
    rows = {part: good[parts[good] == part] for part in PARTS}
    training = rows["train"]
    brought = [part for part in PARTS if len(rows[part])]
    if not len(training):
        return rows
    pick = training.tolist()
    shares = shares_for(len(pick), source, brought)
    pieces = split(
        [bytes.fromhex(facts.hashes[i]) for i in pick],
        [listing.labels[i] for i in pick],
        None if listing.groups is None else [listing.groups[i] for i in pick],
        None if listing.times is None else [listing.times[i] for i in pick],
        shares,
        source.split_seed,
    )
    findings += empty_findings(pieces, shares, listing.layout)
    for part, chosen in pieces.items():
        if part == "train" or part not in brought:
            rows[part] = training[chosen]
    return rows


def _columns(pictures: Pictures, labels: np.ndarray, listing: Listing, rows: np.ndarray) -> Columns:
    pick = rows.tolist()
    columns: Columns = {"image": pictures.take(rows), "label": labels[rows], "path": [listing.names[i] for i in pick]}  # type: ignore[dict-item]
    return columns if listing.groups is None else columns | {"group": [listing.groups[i] for i in pick]}


def _fingerprint(hashes: Sequence[str], labels: Sequence[str], rows: dict[str, np.ndarray]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in PARTS:
        digest.update(f"{part}\0".encode())
        told = "\0".join(f"{hashes[i]} {labels[i]}" for i in rows[part].tolist())
        digest.update(told.encode(errors="surrogatepass"))  # a folder's name need not be text
    return digest.hexdigest()
