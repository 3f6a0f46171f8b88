"""Examples that are judged though they were trained on: the same content, or nearly, on both sides.

The same: equal inputs as the model sees them. Nearly, for pictures: their brightness on a grid of at most 16 x 16,
standardized, correlates by 0.995 or more (mirrored too), and the nearest neighbour stands out. For tables: every number
within a thousandth of its column's spread, every other cell equal. For texts: `data/near_texts.py`, which levels case and
punctuation, and counts shared stretches of characters. Other inputs are compared for sameness alone.

A collection may hold many truly similar examples (two photographs of a plain shirt), and these are no leak: a near copy
counts only where it lies far closer than the judged examples' nearest neighbours usually do.

Legend: N training examples, M judged ones, G cells of the grid, V values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lamina.data.near_texts import near_copies

GRID = 16
SIMILAR = 0.995
"""Correlation from which two pictures count as near copies."""
STANDS_OUT = 0.2
"""A near copy's distance (1 - correlation) is at most this share of the median distance to the nearest neighbour."""
TABLE_TOLERANCE = 1e-3
CHUNK = 512


@dataclass(frozen=True)
class Leaks:
    """For each judged example (M,) the training row that it copies, or -1; and whether the copy is exact."""

    twin_M: np.ndarray
    exact_M: np.ndarray

    @property
    def share(self) -> float:
        return float((self.twin_M >= 0).mean()) if len(self.twin_M) else 0.0


def leaks(
    train_hashes: Sequence[bytes],
    judged_hashes: Sequence[bytes],
    train_NV: np.ndarray | None = None,
    judged_MV: np.ndarray | None = None,
    similar: str = "",
) -> Leaks:
    """Copies by hash; and where similar is `image` (inputs are grids, from `grids`) or `table`, near copies among the rest."""
    first = {content: row for row, content in reversed(list(enumerate(train_hashes)))}
    twin_M = np.array([first.get(content, -1) for content in judged_hashes], dtype=np.int64)
    exact_M = twin_M >= 0
    if similar and train_NV is not None and judged_MV is not None and len(train_NV) and len(judged_MV):
        near_M = (near_pictures if similar == "image" else near_rows)(train_NV, judged_MV)
        twin_M = np.where(exact_M, twin_M, near_M)
    return Leaks(twin_M, exact_M)


def text_leaks(
    train_hashes: Sequence[bytes], judged_hashes: Sequence[bytes], train: Sequence[str], judged: Sequence[str]
) -> Leaks:
    """Copies by hash of what the model sees, and near copies of raw texts among the rest."""
    exact = leaks(train_hashes, judged_hashes)
    rest = np.flatnonzero(~exact.exact_M)
    twin_M = exact.twin_M.copy()
    twin_M[rest] = near_copies(train, [judged[i] for i in rest.tolist()])
    return Leaks(twin_M, exact.exact_M)


def grids(pixels_NCHW: np.ndarray) -> np.ndarray:
    """Brightness (N, G) on a grid of at most 16 x 16, standardized: mean 0, length 1; flat pictures become zeros."""
    gray_NHW = pixels_NCHW.astype(np.float32).mean(1)
    rows, columns = (means_over(size, min(GRID, size)) for size in gray_NHW.shape[1:])
    grid_NG = (rows @ gray_NHW @ columns.T).reshape(len(gray_NHW), -1)
    grid_NG -= grid_NG.mean(1, keepdims=True)
    norm_N = np.linalg.norm(grid_NG, axis=1, keepdims=True)
    return np.where(norm_N > 1.0, grid_NG / np.maximum(norm_N, 1e-9), 0.0).astype(np.float32)


def means_over(size: int, cells: int) -> np.ndarray:
    """Weights (cells, size) that average pixels over equal stretches, shared pixels in proportion: symmetric under mirroring."""
    edges = np.linspace(0, size, cells + 1)
    pixel = np.arange(size)
    covered = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    return (np.clip(covered, 0, None) * cells / size).astype(np.float32)


def near_pictures(train_NG: np.ndarray, judged_MG: np.ndarray) -> np.ndarray:
    """The training row that each judged grid nearly copies (M,), or -1."""
    side = int(np.sqrt(judged_MG.shape[1]))
    views = [judged_MG]
    if side * side == judged_MG.shape[1]:
        views.append(judged_MG.reshape(-1, side, side)[:, :, ::-1].reshape(len(judged_MG), -1))
    best_M, row_M = np.full(len(judged_MG), -2.0, np.float32), np.full(len(judged_MG), -1, np.int64)
    for view in views:
        for start in range(0, len(view), CHUNK):
            like_BN = view[start : start + CHUNK] @ train_NG.T
            row, place = like_BN.argmax(1), slice(start, start + len(like_BN))
            like = like_BN[np.arange(len(row)), row]
            better = like > best_M[place]
            best_M[place] = np.where(better, like, best_M[place])
            row_M[place] = np.where(better, row, row_M[place])
    usual = float(np.median(1 - best_M))
    near_M = (best_M >= SIMILAR) & (1 - best_M <= STANDS_OUT * usual)
    return np.where(near_M, row_M, -1)


def near_rows(train_NV: np.ndarray, judged_MV: np.ndarray) -> np.ndarray:
    """The training row whose every value lies within a thousandth of its column's spread of the judged row's (M,), or -1."""
    spread_V = np.nanstd(train_NV, axis=0)
    keep_V = spread_V > 0
    unit_V = TABLE_TOLERANCE * spread_V[keep_V]
    train, judged = np.nan_to_num(train_NV[:, keep_V], nan=-1e30), np.nan_to_num(judged_MV[:, keep_V], nan=-1e30)
    found_M = np.full(len(judged), -1, np.int64)
    if not keep_V.any():
        return found_M
    widest = int(np.argmax([len(np.unique(column)) for column in train.T]))
    order = np.argsort(train[:, widest], kind="stable")
    ordered = train[order, widest]
    starts = np.searchsorted(ordered, judged[:, widest] - unit_V[widest], "left")
    ends = np.searchsorted(ordered, judged[:, widest] + unit_V[widest], "right")
    for place, (start, end) in enumerate(zip(starts, ends, strict=True)):
        rows = order[start:end]
        close = (np.abs(train[rows] - judged[place]) <= unit_V).all(1)
        if close.any():
            found_M[place] = rows[close].min()
    return found_M
