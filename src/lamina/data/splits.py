"""Which example goes into which part: stratified, seeded, and decided by content.

Equal content always falls into one part, a whole group falls into one part, and adding examples moves few others:
within a class, contents are ordered by a hash keyed with the seed, and each part takes a stretch of that order.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lamina.data.columns import length, take
from lamina.data.source import PARTS, Data, Finding, Source
from lamina.errors import LaminaError

if TYPE_CHECKING:
    import numpy as np

    from lamina.task import Columns

_ORDER = ("test", "valid", "calibration")  # each takes its stretch in this order; training has the rest


def shares_for(count: int, source: Source, brought: Sequence[str] = ("train",)) -> dict[str, float]:
    """The share of `count` training examples to split off for each part that the data does not bring itself.

    Defaults. The data brings a test: valid 5% (200 where that is more, yet never over 10%; at most 5000), calibration
    5% (150, 8%; at most 4000). Otherwise test 15% (at most 10,000), valid 12% (5000), calibration 8% (4000): what is set
    aside of 3000 to be 90% sure of covers 88.9 to 91.1% in 19 of 20 draws, of 1800 88.6 to 91.4%.
    Raises LaminaError for shares outside 0..1, or that leave nothing to train on.
    """
    n = max(count, 1)
    if "test" in brought:
        default = {"valid": min(max(0.05 * n, min(200.0, 0.10 * n)), 5000) / n,
                   "calibration": min(max(0.05 * n, min(150.0, 0.08 * n)), 4000) / n}  # fmt: skip
    else:
        default = {"test": min(0.15 * n, 10_000) / n, "valid": min(0.12 * n, 5000) / n, "calibration": min(0.08 * n, 4000) / n}
    wanted = {"test": source.test, "valid": source.valid, "calibration": source.calibration}
    shares = {}
    for part in _ORDER:
        if part in brought:
            continue
        share = wanted[part]
        shares[part] = default.get(part, 0.0) if share is None else share
        if not 0 <= shares[part] < 1:
            raise LaminaError(f"--{part} must be a share of at least 0 and below 1, not {shares[part]:g}")
    if sum(shares.values()) >= 1:
        raise LaminaError("the shares of " + ", ".join(f"{p} ({s:g})" for p, s in shares.items()) + " leave nothing to train on")
    return shares


def strangers(labels: Sequence[Any], rows: dict[str, np.ndarray], classes: Sequence[str] = ()) -> list[int]:
    """Rows whose label is none of `classes`; without these, none of the labels of the training part."""
    known = set(classes) or {labels[row] for row in rows["train"].tolist()}
    return sorted(row for part in rows.values() for row in part.tolist() if labels[row] not in known) if known else []


def split(
    hashes: Sequence[bytes],
    labels: Sequence[Any] | np.ndarray | None,
    groups: Sequence[Any] | np.ndarray | None,
    times: Sequence[Any] | np.ndarray | None,
    shares: dict[str, float],
    seed: int,
) -> dict[str, np.ndarray]:
    """Row numbers (sorted int64) of train, valid, calibration and test; every row is in exactly one.

    hashes: a content hash for each row; rows of equal hash stay together.
    labels: what to stratify by, or None. groups: rows of equal value stay together. times: the oldest train, the newest
    test (numbers, dates, or strings of either); what stays together is as new as its newest row.
    shares: of valid, calibration and test; training has the rest, and at least one content of every class.
    """
    import numpy as np

    count = len(hashes)
    shares = {part: shares.get(part, 0.0) for part in _ORDER}
    names = np.asarray(["" if x is None else str(x) for x in labels] if labels is not None else [""] * count, dtype=str)
    unit_of_row, keys = _units(hashes, groups, seed)
    if times is not None:
        part_of_unit = _by_time(unit_of_row, keys, sortable(times), shares)
    elif groups is not None:
        part_of_unit = _by_group(unit_of_row, keys, names, shares)
    else:
        part_of_unit = _by_content(unit_of_row, keys, names, shares, seed)
    part_of_row = np.asarray(part_of_unit, dtype=np.int64)[unit_of_row] if count else np.empty(0, np.int64)
    return {part: np.flatnonzero(part_of_row == number) for number, part in enumerate(PARTS)}


def empty_findings(rows: dict[str, np.ndarray], shares: dict[str, float], where: str) -> list[Finding]:
    """A warning for every part that should hold examples and holds none."""
    count = sum(len(part) for part in rows.values())
    return [
        Finding("empty-part", f"the {part} part is empty: what must stay together is too large to share out", where,
                fix="name a finer --group, or bring the part yourself", severity="warning")
        for part in _ORDER
        if shares.get(part, 0) * count >= 1 and not len(rows[part])
    ]  # fmt: skip


def split_columns(columns: Columns, source: Source, label: str | None = None) -> Data:
    """Columns that a program holds, of any content, as Data: what an application's `read` returns.

    Split as `source` asks (shares, seed, and the columns it names as group and time), stratified by the column `label`.
    Raises LaminaError where there is no example, or a column that is named is absent.
    """
    count = length(columns)
    if not count:
        raise LaminaError("data: expected at least one example; found none")
    for name in (source.group, source.time, label):
        if name is not None and name not in columns:
            raise LaminaError(f"data: expected a column {name!r}; found {', '.join(columns)}")
    groups, times = (columns[name] if name else None for name in (source.group, source.time))
    hashes = [hashlib.blake2b(digest_size=16) for _ in range(count)]
    for name, column in columns.items():
        for digest, cell in zip(hashes, column, strict=True):
            digest.update(name.encode() + b"=" + _content(cell) + b";")
    contents = [digest.digest() for digest in hashes]
    rows = split(contents, columns[label] if label else None, groups, times, shares_for(count, source), source.split_seed)
    whole = hashlib.blake2b(digest_size=16)
    for part, chosen in rows.items():
        whole.update(part.encode() + b"".join(contents[row] for row in chosen.tolist()))
    parts = (take(columns, rows[part]) for part in PARTS)
    return Data(*parts, fingerprint=whole.hexdigest(), about={"group": source.group} if source.group else {})


def _content(cell: Any) -> bytes:
    """Bytes that are equal where cells are: of an array its type, shape and values, of anything else its repr."""
    import numpy as np

    if isinstance(cell, np.ndarray):
        return f"{cell.dtype}{cell.shape}".encode() + cell.tobytes()
    return repr(cell).encode(errors="backslashreplace")


def sortable(times: Sequence[Any] | np.ndarray) -> np.ndarray:
    """Times as numbers that sort. Strings are read as numbers, or else as ISO 8601 dates. Raises LaminaError."""
    import numpy as np

    array = np.asarray(times)
    if array.dtype.kind in "iufmM":
        missing = np.isnat(array) if array.dtype.kind in "mM" else np.isnan(array.astype(np.float64))
        if bool(missing.any()):
            raise LaminaError(f"row {int(missing.argmax()) + 1}: has no time to split by")
        return (array.astype(f"{array.dtype.kind}8[us]") if array.dtype.kind in "mM" else array).astype(np.float64)
    texts = [str(t).strip() for t in times]
    try:
        values = np.asarray([float(t) for t in texts])
        if not bool(np.isnan(values).any()):
            return values
    except ValueError:
        pass
    stamps = []
    for row, text in enumerate(texts):
        try:
            when = datetime.datetime.fromisoformat(text)
        except ValueError:
            raise LaminaError(
                f"row {row + 1}: expected a number or a date such as 2024-05-31 to split by, got {text!r}"
            ) from None
        stamps.append((when if when.tzinfo else when.replace(tzinfo=datetime.UTC)).timestamp())
    return np.asarray(stamps)


def _key(seed: int, content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16, key=str(seed).encode()).digest()


def _units(hashes: Sequence[bytes], groups: Sequence[Any] | np.ndarray | None, seed: int) -> tuple[np.ndarray, list[bytes]]:
    """Rows that must stay together: (unit of each row, key of each unit). Units are numbered in the order of their keys."""
    import numpy as np

    if groups is None:
        owner: list[Any] = [bytes(h) for h in hashes]
        content = owner
    else:
        # A content that stands in several groups joins them: union-find over group names.
        parent: dict[str, str] = {}

        def root(name: str) -> str:
            while parent.setdefault(name, name) != name:
                parent[name] = parent[parent[name]]
                name = parent[name]
            return name

        home: dict[bytes, str] = {}
        for h, g in zip(hashes, groups, strict=True):
            a, b = root(str(g)), root(home.setdefault(bytes(h), str(g)))
            parent[max(a, b)] = min(a, b)
        owner = [root(str(g)) for g in groups]
        content = [o.encode(errors="surrogatepass") for o in owner]
    key_of = {o: _key(seed, c) for o, c in dict(zip(owner, content, strict=True)).items()}
    ordered = sorted(key_of, key=lambda o: key_of[o])
    number = {o: i for i, o in enumerate(ordered)}
    return np.fromiter((number[o] for o in owner), np.int64, len(owner)), [key_of[o] for o in ordered]


def _by_content(unit_of_row: np.ndarray, keys: list[bytes], labels: np.ndarray, shares: dict[str, float], seed: int) -> list[int]:
    """Within each class, units in order of key; each part takes its quota, training the rest.

    A quota that is not whole is rounded up or down by a number keyed to the class: unbiased over classes, and other
    classes do not move when one grows.
    """
    import numpy as np

    parts = np.zeros(len(keys), np.int64)
    if not len(keys):
        return []
    weight = np.bincount(unit_of_row, minlength=len(keys))
    order = np.lexsort((labels, unit_of_row))  # a content under several labels counts with the first of them
    units, first = np.unique(unit_of_row[order], return_index=True)
    class_of_unit = labels[order][first]
    for name in np.unique(class_of_unit):
        mine = units[class_of_unit == name]
        total = int(weight[mine].sum())
        middle = np.cumsum(weight[mine]) - weight[mine] / 2  # a heavy content goes where its middle falls
        start = 0.0
        for part in _ORDER:
            if shares[part] > 0:
                fraction = int.from_bytes(_key(seed, f"{part} {name}".encode(errors="surrogatepass"))[:8], "big") / 2**64
                stop = start + int(shares[part] * total + fraction)
                parts[mine[(middle >= start) & (middle < stop)]] = PARTS.index(part)
                start = stop
        if bool((parts[mine] != 0).all()):
            parts[mine[-1]] = 0  # every class can be learned
    for part in _ORDER:  # nothing asked for is left empty while a class can spare an example
        number = PARTS.index(part)
        if shares[part] > 0 and not bool((parts == number).any()):
            training = parts[units] == 0
            names, counts = np.unique(class_of_unit[training], return_counts=True)
            if len(counts) and counts.max() > 1:
                spare = units[training & (class_of_unit == names[counts.argmax()])]
                parts[spare[weight[spare].argmin()]] = number
    return parts.tolist()


def _by_group(unit_of_row: np.ndarray, keys: list[bytes], labels: np.ndarray, shares: dict[str, float]) -> list[int]:
    """Largest group first, each to the part that lacks most of what the group holds; ties in order of key."""
    import numpy as np

    names, classes = np.unique(labels, return_inverse=True)
    held = np.zeros((len(keys), len(names)))
    np.add.at(held, (unit_of_row, classes.reshape(-1)), 1)
    share = np.asarray([1 - sum(shares.values()), *(shares[p] for p in PARTS[1:])])
    wanted = share[:, None] * held.sum(0)  # (part, class)
    have = np.zeros_like(wanted)
    parts = np.zeros(len(keys), np.int64)
    taken: set[int] = set()
    order = sorted(range(len(keys)), key=lambda u: (-held[u].sum(), u))
    open_parts = [p for p in range(len(PARTS)) if share[p] > 0]
    for place, unit in enumerate(order):
        empty = [p for p in open_parts if p not in taken]
        left = len(order) - place
        choice = empty if len(empty) >= left else open_parts  # the last groups fill what is still empty, training first
        lack = [float((held[unit] * (wanted[p] - have[p] - held[unit] / 2) / np.maximum(wanted[p], 1e-9)).sum()) for p in choice]
        best = choice[int(np.argmax(lack))] if choice is open_parts else choice[0]
        parts[unit] = best
        have[best] += held[unit]
        taken.add(best)
    return parts.tolist()


def _by_time(unit_of_row: np.ndarray, keys: list[bytes], times: np.ndarray, shares: dict[str, float]) -> list[int]:
    """Units from the oldest to the newest: train, valid, calibration, test."""
    import numpy as np

    newest = np.full(len(keys), -np.inf)
    np.maximum.at(newest, unit_of_row, times)
    moments, moment_of_unit = np.unique(newest, return_inverse=True)  # one moment is never shared out
    moment_of_unit = moment_of_unit.reshape(-1)
    weight = np.bincount(moment_of_unit[unit_of_row], minlength=len(moments))
    middle = np.cumsum(weight) - weight / 2
    total = float(weight.sum())
    parts = np.zeros(len(moments), np.int64)
    stop = total
    for part in ("test", "calibration", "valid"):
        start = stop - round(shares[part] * total)
        parts[(middle > start) & (middle <= stop)] = PARTS.index(part)
        stop = start
    if len(moments):
        parts[0] = 0
    return parts[moment_of_unit].tolist()
