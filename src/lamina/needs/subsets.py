"""Which examples each training of a learning curve sees: nested, stratified, and decided by content.

The examples of a repeat stand in one order, and a subset is a stretch from its start: every subset holds all smaller ones.
Within a class, the order is that of a hash of the content, keyed with seed and repeat; classes are interleaved so that
every stretch holds them in proportion. Repeats come in pairs, the second in the reverse order of the first, so that the
halves of a pair are complementary: each example is trained on in one and left out in the other.

Legend: N examples.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np


def order(contents: Sequence[bytes], label_N: np.ndarray | None, repeat: int, seed: int) -> np.ndarray:
    """Rows (N,) in the order in which subsets take them. label_N: what to stratify by, or None."""
    key = f"{seed}/{repeat // 2}".encode()
    hashes = [hashlib.blake2b(content, digest_size=16, key=key).digest() for content in contents]
    by_hash = np.asarray(sorted(range(len(hashes)), key=lambda row: (hashes[row], row)), dtype=np.int64)
    if repeat % 2:
        by_hash = by_hash[::-1]
    if label_N is None:
        return by_hash
    place_N = np.empty(len(by_hash))
    for label in np.unique(label_N):
        rows = by_hash[label_N[by_hash] == label]
        place_N[rows] = (np.arange(len(rows)) + 0.5) / len(rows)
    return by_hash[np.argsort(place_N[by_hash], kind="stable")]


def sizes(count: int, how_many: int, least: int) -> list[int]:
    """Sizes of training set up to `count`, each half of the next, none below `least`; ascending."""
    found = [count // 2**halvings for halvings in range(how_many)]
    return sorted({size for size in found if size >= least})


def repeats_of(size: int, count: int, repeats: int) -> int:
    """How many trainings a size gets: one for the whole, two for the half and the quarter (a complementary pair), else all."""
    if size == count:
        return 1
    return repeats if size < count // 4 else max(2, min(repeats, 2))


def least_size(label_N: np.ndarray | None) -> int:
    """The smallest training set worth a training: sixteen examples, four of each class on average."""
    return max(16, 4 * len(np.unique(label_N)) if label_N is not None else 16)
