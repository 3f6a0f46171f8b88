"""Defects of a whole set of labelled pictures or texts: duplicates, leaks, conflicting labels, classes too small or too uneven.

Functions over columns; findings come in a fixed order, and long lists are cut with a count of the rest.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from lamina.data.source import PARTS, Finding
from lamina.modalities.image import Pictures, convert

SHOWN = 20
"""Findings of one code that are listed one by one."""
UNEVEN = 10
"""The ratio of the largest class to the smallest beyond which a set is called unbalanced."""
_SMALLEST = 48  # pixels a side below which a difference hash says little: strokes of a digit all look alike


def capped(findings: Sequence[Finding], limit: int = SHOWN) -> list[Finding]:
    """At most `limit` findings of each code, the last of them saying how many were left out."""
    count = Counter(f.code for f in findings)
    seen: Counter[str] = Counter()
    kept = []
    for finding in findings:
        seen[finding.code] += 1
        if seen[finding.code] <= limit:
            left = count[finding.code] - limit
            if seen[finding.code] == limit and left > 0:
                finding = dataclasses.replace(finding, reason=f"{finding.reason}; and {left} more of these")
            kept.append(finding)
    return kept


def _repeated(hashes: Sequence[str]) -> list[list[int]]:
    rows: dict[str, list[int]] = defaultdict(list)
    for row, content in enumerate(hashes):
        rows[content].append(row)
    return [r for r in rows.values() if len(r) > 1]


def across_parts(hashes: Sequence[str], parts: Sequence[str], names: Sequence[str], what: str = "picture") -> list[Finding]:
    """Examples that stand in two parts: what is tested was trained on."""
    found = []
    for rows in _repeated(hashes):
        first: dict[str, int] = {}
        for row in rows:
            first.setdefault(parts[row], row)
        ordered = sorted(first, key=PARTS.index)
        found += [
            Finding("leaking-duplicate", f"the same {what} is in {ordered[0]} ({names[first[ordered[0]]]}) and in {part}",
                    names[first[part]], fix=f"remove it from {ordered[0]}", severity="warning")
            for part in ordered[1:]
        ]  # fmt: skip
    return capped(found)


def duplicates(hashes: Sequence[str], parts: Sequence[str], names: Sequence[str], what: str = "picture") -> list[Finding]:
    """Examples that stand more than once in one part."""
    found = []
    for rows in _repeated(hashes):
        first: dict[str, int] = {}
        for row in rows:
            if parts[row] in first:
                found.append(Finding("duplicate", f"the same {what} as {names[first[parts[row]]]}", names[row],
                                     fix="keep one of them", severity="warning"))  # fmt: skip
            else:
                first[parts[row]] = row
    return capped(found)


def conflicts(hashes: Sequence[str], labels: Sequence[str], names: Sequence[str], what: str = "picture") -> list[Finding]:
    """One example under two labels."""
    found = []
    for rows in _repeated(hashes):
        for row in rows[1:]:
            if labels[row] != labels[rows[0]]:
                reason = f"labelled {labels[row]!r}, but the same {what} {names[rows[0]]} is labelled {labels[rows[0]]!r}"
                found.append(Finding("conflicting-label", reason, names[row], fix="decide which is right", severity="warning"))
    return capped(found)


def classes(labels: Sequence[str], parts: Sequence[str]) -> list[Finding]:
    """Classes with one example, classes that training never sees, and classes of very different size."""
    found = []
    training = Counter(label for label, part in zip(labels, parts, strict=True) if part == "train")
    for label in sorted(training):
        if training[label] == 1:
            found.append(Finding("single-example-class", f"class {label!r} has one training example",
                                 fix="add examples or remove the class", severity="warning"))  # fmt: skip
    for label in sorted(set(labels) - set(training)):
        if training:
            fix = "add it to the training part, or remove it"
            found.append(Finding("unknown-class", f"class {label!r} is not in the training part", fix=fix))
    if len(training) == 1:
        found.append(Finding("one-class", f"all training examples are of class {next(iter(training))!r}", severity="warning"))
    elif training:
        most, least = max(training.items(), key=lambda x: (x[1], x[0])), min(training.items(), key=lambda x: (x[1], x[0]))
        if most[1] > UNEVEN * least[1]:
            reason = f"class {most[0]!r} has {most[1]} examples, class {least[0]!r} has {least[1]}"
            fix = "judge by balanced accuracy; weigh or add to the small classes"
            found.append(Finding("imbalance", reason, fix=fix, severity="warning"))
    return capped(found)


def near_duplicates(pictures: Pictures, hashes: Sequence[str], sizes: Sequence[tuple[int, int, int]], names: Sequence[str],
                    labels: Sequence[str]) -> list[Finding]:  # fmt: skip
    """Pairs that look the same but differ in pixels: resized, recompressed, slightly changed.

    Difference hash (Krawetz, 2013): signs of brightness differences on a 9 x 8 and an 8 x 9 grid, 64 + 64 bits. Pairs
    agree in one of eight 16-bit stretches (so at most 7 bits apart are all found) and differ in at most 6 of 128 bits.
    Skipped: pictures under 48 pixels a side, and nearly flat ones, whose signs are noise.
    """
    side = min(pictures.shape[1:])
    rows = np.asarray([i for i, (_, h, w) in enumerate(sizes) if min(h, w) >= _SMALLEST and hashes[i]], dtype=np.int64)
    if side < _SMALLEST or len(rows) < 2:
        return []
    bits, telling = [], []
    for start in range(0, len(rows), 256):
        gray = convert(pictures.gather(rows[start : start + 256]), 1)[:, 0].astype(np.float32)
        wide, tall = _shrink(gray, 8, 9), _shrink(gray, 9, 8)
        across, down = np.diff(wide, axis=2), np.diff(tall, axis=1)
        signs = np.concatenate([(across > 0).reshape(len(gray), 64), (down > 0).reshape(len(gray), 64)], 1)
        bits.append(np.packbits(signs, axis=1))
        steps = np.abs(np.concatenate([across.reshape(len(gray), 64), down.reshape(len(gray), 64)], 1))
        telling.append((steps > 1).mean(1) > 0.75)
    keep = np.concatenate(telling)
    code, rows = np.concatenate(bits)[keep], rows[keep]
    pairs: set[tuple[int, int]] = set()
    for stretch in range(8):
        piece = code[:, 2 * stretch].astype(np.int64) * 256 + code[:, 2 * stretch + 1]
        order = np.argsort(piece, kind="stable")
        bounds = np.flatnonzero(np.diff(piece[order])) + 1
        for bucket in np.split(order, bounds):
            if not 2 <= len(bucket) <= 2000:  # a larger bucket is a common pattern, not a family of copies
                continue
            for place, one in enumerate(bucket[:-1].tolist()):
                others = bucket[place + 1 :]
                apart = np.bitwise_count(code[others] ^ code[one]).sum(1)
                pairs.update((min(one, int(o)), max(one, int(o))) for o in others[apart <= 6])
    found = []
    for one, other in sorted(pairs):
        a, b = int(rows[one]), int(rows[other])
        if hashes[a] != hashes[b]:
            also = "" if labels[a] == labels[b] else f", labelled {labels[b]!r} and {labels[a]!r}"
            found.append(Finding("near-duplicate", f"looks the same as {names[a]}{also}", names[b],
                                 fix="look at both", severity="warning" if also else "note"))  # fmt: skip
    return capped(found)


def _shrink(gray: np.ndarray, height: int, width: int) -> np.ndarray:
    """Block means of (N, H, W) on a grid of height x width."""
    rows = np.linspace(0, gray.shape[1], height + 1).astype(int)
    columns = np.linspace(0, gray.shape[2], width + 1).astype(int)
    sums = np.add.reduceat(np.add.reduceat(gray, rows[:-1], axis=1), columns[:-1], axis=2)
    return sums / (np.diff(rows)[:, None] * np.diff(columns)[None, :])
