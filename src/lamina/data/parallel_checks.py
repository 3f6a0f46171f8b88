"""What is wrong with pairs of sentences: one pair, and the set as a whole."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lamina.data.defects import capped
from lamina.data.finding import Finding

MOST_CHARACTERS = 20_000
"""A sentence longer than this is none."""
ABSURD_RATIO, LEAST_EXCESS = 9.0, 60
"""Characters of the longer side for one of the shorter, beyond which they can hardly say the same (Moses' clean-corpus has 9
too), where the longer has so many more: `OK` may well be a short sentence elsewhere."""
SAME_WORDS = 4
"""Words from which a sentence that is its own translation is a copy and no name."""
LARGEST_SHARE = 0.2
"""Of the pairs, more than this never stand together only because each resembles the next."""

Place = Callable[[int], tuple[str | None, int]]


def pair_findings(
    sources: Sequence[Any], targets: Sequence[Any], place: Place, names: tuple[str, str]
) -> tuple[list[Finding], set[int], set[int]]:
    """Findings of single pairs, the rows that cannot be used, and those that are doubtful."""
    found: list[Finding] = []
    unusable: set[int] = set()
    doubtful: set[int] = set()
    for row, (one, other) in enumerate(zip(sources, targets, strict=True)):
        if one is None or other is None:  # a line that could not be read, which is told already
            unusable.add(row)
            continue
        wrong = _unusable(one, names[0]) or _unusable(other, names[1])
        if wrong:
            unusable.add(row)
            found.append(Finding(wrong[0], wrong[1], *place(row), fix=wrong[2]))
            continue
        wrong = _doubtful(one.strip(), other.strip(), names)
        if wrong:
            doubtful.add(row)
            found.append(Finding(wrong[0], wrong[1], *place(row), fix=wrong[2], severity="warning"))
    return capped(found), unusable, doubtful


def _unusable(side: Any, name: str) -> tuple[str, str, str] | None:
    """Code, reason and remedy where a side is no sentence."""
    if not isinstance(side, str):
        return "not-text", f"{name}: expected a sentence; got {type(side).__name__} {str(side)[:40]!r}", "remove the pair"
    if not side.strip():
        return "empty-side", f"{name}: expected a sentence; the side is empty", "remove the pair"
    if "\0" in side:
        return "nul", f"{name}: expected text; found a NUL at character {side.index(chr(0)) + 1}", "remove the pair"
    if len(side) > MOST_CHARACTERS:
        reason = f"{name}: expected a sentence; got {len(side):,} characters on one line"
        return "too-long", reason, "cut it into sentences, or remove the pair"
    if any("\ud800" <= c <= "\udfff" for c in side):
        return "not-utf-8", f"{name}: expected text; found half a character (a lone surrogate)", "remove the pair"
    return None


def _doubtful(one: str, other: str, names: tuple[str, str]) -> tuple[str, str, str] | None:
    short, long = sorted((len(one), len(other)))
    if long > ABSURD_RATIO * short and long - short >= LEAST_EXCESS:
        reason = f"{names[0]} has {len(one):,} characters and {names[1]} {len(other):,}: they can hardly say the same"
        return "absurd-ratio", reason, "mend or remove the pair"
    if one == other and len(one.split()) >= SAME_WORDS:
        return (
            "identical-sides",
            f"{names[0]} and {names[1]} are the same sentence: it was not translated",
            "translate or remove it",
        )
    return None


@dataclass(frozen=True)
class Copies:
    """What each pair is, by either side and as a whole, case and white space levelled."""

    sources: list[bytes]
    targets: list[bytes]
    pairs: list[bytes]


def copies_of(texts: Sequence[str], translations: Sequence[str]) -> Copies:
    sources, targets = ([_level(text) for text in side] for side in (texts, translations))
    return Copies(sources, targets, [a + b for a, b in zip(sources, targets, strict=True)])


def _level(text: str) -> bytes:
    return hashlib.blake2b(" ".join(text.casefold().split()).encode(errors="surrogatepass"), digest_size=12).digest()


def copy_findings(copies: Copies, part_of: Sequence[str], place: Place) -> list[Finding]:
    """Pairs that stand twice in a part, and sentences that one part shares with another that the data brings itself."""
    found: list[Finding] = []
    twice = sum(count - 1 for count in Counter(zip(part_of, copies.pairs, strict=True)).values())
    if twice:
        found.append(
            Finding("duplicate-pair", f"{twice:,} pairs repeat others of their part", fix="keep one of each", severity="note")
        )
    trained: dict[bytes, int] = {}
    for side in (copies.sources, copies.targets):
        for row, part in enumerate(part_of):
            if part == "train":
                trained.setdefault(side[row] + bytes([side is copies.sources]), row)
    for part in dict.fromkeys(part_of):
        if part in ("", "train"):
            continue
        rows = [row for row, p in enumerate(part_of) if p == part]
        for side, name in ((copies.sources, "sentence"), (copies.targets, "translation")):
            leaks = [(row, trained.get(side[row] + bytes([side is copies.sources]))) for row in rows]
            leaks = [(row, at) for row, at in leaks if at is not None]
            if leaks:
                row, at = leaks[0]
                reason = f"{len(leaks):,} of {len(rows):,} pairs of {part} have a {name} that training has too"
                reason += f", first that of line {place(at)[1]}"
                fix = "remove them from training"
                found.append(Finding(f"leaking-{name}", reason, *place(row), fix=fix, severity="warning"))
    return found


def together(copies: Copies) -> tuple[list[bytes], list[Finding]]:
    """A key for each pair; pairs of equal key must stay in one part: they share a sentence or a translation, or each
    does with a third. Where that would hold most of the set together, only sentences are looked at, and it is said."""
    keys = _joined(copies.sources, copies.targets)
    most = max(Counter(keys).values(), default=0)
    if most <= max(LARGEST_SHARE * len(keys), 10):
        return keys, []
    reason = f"{most:,} of {len(keys):,} pairs hang together by a sentence or a translation that each shares with the next: "
    reason += "only equal sentences were kept in one part"
    return copies.sources, [Finding("repeating-pairs", reason, severity="note")]


def _joined(sources: Sequence[bytes], targets: Sequence[bytes]) -> list[bytes]:
    """Union-find over sentences and translations; the key of a set is the least of its sentences."""
    parent: dict[bytes, bytes] = {}

    def root(name: bytes) -> bytes:
        while parent.setdefault(name, name) != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for one, other in zip(sources, targets, strict=True):
        a, b = root(b"s" + one), root(b"t" + other)
        if a != b:
            parent[max(a, b)] = min(a, b)  # "s" sorts before "t": the root is a sentence
    return [root(b"s" + one) for one in sources]
