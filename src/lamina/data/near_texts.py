"""Texts that are the same, or nearly: by their letters and digits, and by the stretches of characters that they share.

The same: equal once case, accents' composition, punctuation and white space are levelled. Nearly: the Jaccard similarity of
their sets of five-character shingles is 0.8 or more (Broder 1997, section 2). Which pairs to compare is found by MinHash
signatures in bands (Leskovec, Rajaraman and Ullman 2020, section 3.4): 16 bands of 4, by which a pair of similarity s meets
with probability 1 - (1 - s^4)^16, that is 0.9998 at 0.8; what meets is compared exactly. It works for any language.

Legend: N texts to find copies among, M texts looked at, S shingles, H hash functions.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

SIMILAR = 0.8
SHINGLE = 5
BANDS, A_BAND = 16, 4
MOST_MET = 64
"""Texts of one bucket that are compared: of a template that thousands share, any will do."""
MOST_CHARACTERS = 5_000
"""Of a longer text its beginning is compared."""


def levelled(text: str) -> str:
    """A text as its letters and digits in small letters, words a space apart; where it has none of these, as it is."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    kept = "".join(c if c.isalnum() or unicodedata.category(c)[0] == "M" else " " for c in plain)
    return " ".join(kept.split()) or text.strip()


def shingles(text: str) -> np.ndarray:
    """The distinct stretches of five characters of a levelled text, hashed: uint64 (S,), in order. A shorter text is one."""
    codes = np.frombuffer(text[:MOST_CHARACTERS].encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
    if len(codes) < SHINGLE:
        codes = np.pad(codes, (0, SHINGLE - len(codes)))
    windows = np.lib.stride_tricks.sliding_window_view(codes, SHINGLE)
    powers = np.array([0x100000001B3**i % 2**64 for i in range(SHINGLE)], dtype=np.uint64)
    return np.unique(mixed((windows * powers).sum(1, dtype=np.uint64)))


def mixed(value: np.ndarray) -> np.ndarray:
    """uint64 well spread over all its bits (the finalizer of SplitMix64, Steele et al. 2014)."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def signature(shingle_S: np.ndarray) -> np.ndarray:
    """The least value of each of 64 hash functions over the shingles: uint64 (H,)."""
    rng = np.random.default_rng(0)
    offset_H = rng.integers(0, 2**63, BANDS * A_BAND, dtype=np.uint64)
    return mixed(shingle_S[:, None] ^ offset_H).min(0)


def jaccard(one_S: np.ndarray, other_S: np.ndarray) -> float:
    """Shared shingles over all shingles of two texts."""
    shared = len(np.intersect1d(one_S, other_S, assume_unique=True))
    return shared / (len(one_S) + len(other_S) - shared)


def near_copies(among: Sequence[str], looked_at: Sequence[str]) -> np.ndarray:
    """The row of `among` that each text looked at nearly copies, the most similar one, or -1: (M,)."""
    held = [shingles(levelled(text)) for text in among]
    meeting: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    for row, shingle_S in enumerate(held):
        for key in bands(shingle_S):
            if len(meeting[key]) < MOST_MET:
                meeting[key].append(row)
    found_M = np.full(len(looked_at), -1, np.int64)
    for place, text in enumerate(looked_at):
        shingle_S = shingles(levelled(text))
        rows = sorted({row for key in bands(shingle_S) for row in meeting.get(key, ())})
        likeness = [jaccard(shingle_S, held[row]) for row in rows]
        if likeness and max(likeness) >= SIMILAR:
            found_M[place] = rows[int(np.argmax(likeness))]
    return found_M


def bands(shingle_S: np.ndarray) -> list[tuple[int, bytes]]:
    """What two texts must share to be compared: one of these."""
    signature_H = signature(shingle_S)
    return [(band, signature_H[band * A_BAND : (band + 1) * A_BAND].tobytes()) for band in range(BANDS)]


def same_texts(texts: Sequence[str]) -> list[list[int]]:
    """Rows of texts that are the same once levelled, a list a text that stands twice or more, in order."""
    rows: dict[str, list[int]] = defaultdict(list)
    for row, text in enumerate(texts):
        rows[levelled(text)].append(row)
    return [group for group in rows.values() if len(group) > 1]
