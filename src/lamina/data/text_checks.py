"""What is wrong with labelled texts: single rows that cannot be used, and the set as a whole."""

from __future__ import annotations

import dataclasses
import hashlib
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any

from lamina.data import defects
from lamina.data.finding import Finding
from lamina.data.near_texts import levelled
from lamina.data.text_files import BAD_BYTE, NUL
from lamina.modalities.text import unusable
from lamina.modalities.vocabulary import sound

Place = Callable[[int], tuple[str | None, int | None]]
OVERRIDES = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Marks that turn the direction of what follows: text may read otherwise than it is stored."""
MANY_CUT = 0.05
"""Share of training texts that are cut from which on it is a warning."""
MANY_LABELS = 0.5
"""Share of texts with a label of their own from which on labels are none."""


def row_finding(text: Any, labels: Any, place: tuple[str | None, int | None]) -> Finding | None:
    """Why a text with its labels (None: it has none) cannot be used."""
    if text is None or not isinstance(text, str):
        got = "the cell is empty" if text is None else f"got {type(text).__name__} {str(text)[:40]!r}"
        return Finding("missing-text", f"expected a text; {got}", *place, fix="fill it in, or remove the row")
    if not text.strip():
        return Finding("empty-text", "expected a text; it is empty", *place, fix="fill it in, or remove the row")
    if BAD_BYTE in text or sound(text) != text:
        at = next(i for i, c in enumerate(text) if c == BAD_BYTE or "\ud800" <= c <= "\udfff")
        fix = "save it as UTF-8, or remove the row"
        return Finding("not-utf-8", f"expected UTF-8 text; found a byte that is not, at character {at + 1}", *place, fix=fix)
    if NUL in text or "\0" in text:
        at = min(text.index(c) for c in (NUL, "\0") if c in text)
        return Finding("nul-character", f"expected text; found a NUL at character {at + 1}", *place, fix="remove it")
    if wrong := unusable(text):
        return Finding("too-long", wrong.removesuffix(": cut it into several"), *place, fix="cut it into several")
    if labels is None:
        return Finding("missing-label", "expected a label; there is none", *place, fix="fill it in, or remove the row")
    named = [labels] if isinstance(labels, str) else labels
    if any(mark in name for name in named for mark in (BAD_BYTE, NUL, "\0")) or any(sound(name) != name for name in named):
        return Finding("not-utf-8", "expected a label in UTF-8; found a byte that is not", *place, fix="mend the label")
    return None


def content_of(text: str) -> bytes:
    """What equal texts share, whatever their case, punctuation and white space."""
    return hashlib.blake2b(levelled(text).encode(errors="surrogatepass"), digest_size=16).digest()


def set_findings(
    texts: Sequence[str], labels: Sequence[Any], contents: Sequence[bytes], parts: Sequence[str], place: Place, where: str
) -> list[Finding]:
    """Copies, texts under two labels, classes, and how the texts are written. `parts` as the data bring them, or "train"."""
    names = [
        f"{file or where}:{line}" if line is not None else f"{file or where}" for file, line in map(place, range(len(texts)))
    ]
    hashes = [content.hex() for content in contents]
    said = [label if isinstance(label, str) else ", ".join(label) for label in labels]
    found = defects.across_parts(hashes, parts, names, "text")
    found += defects.duplicates(hashes, parts, names, "text")
    found += defects.conflicts(hashes, said, names, "text")
    if all(isinstance(label, str) for label in labels):
        found += defects.classes(said, parts)
    else:
        every = [(label, part) for named, part in zip(labels, parts, strict=True) for label in named]
        found += defects.classes([label for label, _ in every], [part for _, part in every])
    found = [_placed(finding) for finding in found if finding.code != "unknown-class"]  # told row by row, after the split
    written = [i for i, text in enumerate(texts) if _first_strong(text) in ("R", "AL")]
    if written:
        reason = f"{len(written):,} of {len(texts):,} texts are written from right to left; they are read as they are stored"
        found.append(Finding("right-to-left", reason, where, severity="note"))
    turned = [i for i, text in enumerate(texts) if not text.isascii() and not OVERRIDES.isdisjoint(text)]
    for row in turned:
        reason = "marks that turn the direction of reading: the text may look otherwise than it is stored"
        found.append(Finding("direction-marks", reason, *place(row), fix="look at it; remove them", severity="warning"))
    return [*defects.capped(found)]


def cut_texts(lengths: Sequence[int], most: int) -> list[Finding]:
    """What a model that reads `most` tokens of a text leaves out: a note, or a warning where it is much."""
    cut = sum(length > most for length in lengths)
    if not cut:
        return []
    told = f"{cut:,} of {len(lengths):,} training texts have more than {most} tokens"
    reason = f"{told}: of so many the first quarter is from the beginning, the rest from the end"
    severity = "warning" if cut > MANY_CUT * len(lengths) else "note"
    return [Finding("cut-texts", reason, fix="--length takes more, and more time", severity=severity)]


def _placed(finding: Finding) -> Finding:
    """The name `file:line` of a row as a file and a line."""
    file, _, line = (finding.file or "").rpartition(":")
    return dataclasses.replace(finding, file=file, row=int(line)) if line.isdecimal() and file else finding


def _first_strong(text: str) -> str:
    """The direction of the first character that has one (Unicode Bidirectional Algorithm, rule P2)."""
    if text.isascii():
        return "L"
    return next((kind for kind in map(unicodedata.bidirectional, text) if kind in ("L", "R", "AL")), "")
