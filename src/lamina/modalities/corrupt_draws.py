"""What the corruptions of pictures are made of: draws of each picture's own, sampling, blurs, and fractal textures.

Everything works on a whole batch in [0, 1], float32.

Shapes: N pictures, C channels, H rows, W columns.
"""

from __future__ import annotations

import hashlib

import numpy as np
from scipy import ndimage, signal


class Draws:
    """Random numbers that depend on the seed, the purpose and the picture itself, and not on its place or its batch."""

    def __init__(self, pixels_NCHW: np.ndarray, seed: int, purpose: str) -> None:
        words = f"{seed} {purpose}".encode()
        digests = (hashlib.blake2b(np.ascontiguousarray(x).tobytes(), digest_size=16, key=words).digest() for x in pixels_NCHW)
        self.generators = [np.random.default_rng(int.from_bytes(digest)) for digest in digests]

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> np.ndarray:
        """(N, *shape)"""
        return np.stack([g.uniform(low, high, shape) for g in self.generators]).astype(np.float32)

    def normal(self, *shape: int) -> np.ndarray:
        """(N, *shape)"""
        return np.stack([g.standard_normal(shape, dtype=np.float32) for g in self.generators])

    def poisson(self, mean: np.ndarray) -> np.ndarray:
        """(N, ...) as `mean`."""
        return np.stack([g.poisson(m) for g, m in zip(self.generators, mean, strict=True)]).astype(np.float32)

    def integers(self, low: int, high: int, *shape: int) -> np.ndarray:
        """(N, *shape), from `low` to below `high`."""
        return np.stack([g.integers(low, high, shape) for g in self.generators])


def gaussian(x: np.ndarray, sigma: float, mode: str = "nearest", truncate: float = 4.0) -> np.ndarray:
    """Smoothed along the last two axes."""
    return ndimage.gaussian_filter(x, (0,) * (x.ndim - 2) + (sigma, sigma), mode=mode, truncate=truncate)


def filtered(x_NCHW: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Every channel correlated with a symmetric kernel of odd sides; the border is mirrored."""
    pad = [(0, 0), (0, 0), *((n // 2, n // 2) for n in kernel.shape)]
    return signal.fftconvolve(np.pad(x_NCHW, pad, mode="reflect"), kernel[None, None], mode="valid", axes=(2, 3))


def disk(radius: float, edge: float) -> np.ndarray:
    """An evenly filled disk whose edge is smoothed, as a kernel that sums to one: a lens out of focus."""
    reach = int(np.ceil(radius)) + 2
    line = np.arange(-reach, reach + 1)
    filled = (line[:, None] ** 2 + line**2 <= radius**2).astype(np.float32)
    taps = np.arange(-1, 2) if radius <= 8 else np.arange(-2, 3)
    weights = np.exp(-(taps**2) / (2 * edge**2))
    weights /= weights.sum()
    smooth = ndimage.convolve(filled / filled.sum(), np.outer(weights, weights), mode="constant")
    return (smooth / smooth.sum()).astype(np.float32)


def moved(x_NCHW: np.ndarray, angle_N: np.ndarray, radius: float, sigma: float) -> np.ndarray:
    """Blurred one way along `angle` (radians), as by ImageMagick's motion blur: half a Gaussian of whole-pixel steps."""
    count, channels, height, width = x_NCHW.shape
    steps = np.arange(2 * int(np.ceil(radius)) + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    weights /= weights.sum()
    rows, columns = np.arange(height), np.arange(width)
    flat, out = x_NCHW.reshape(count, channels, -1), np.zeros_like(x_NCHW)
    for step, weight in zip(steps, weights, strict=True):
        down_N, right_N = (np.ceil(step * part - 0.5).astype(int) for part in (np.sin(angle_N), np.cos(angle_N)))
        row_NH = np.clip(rows + down_N[:, None], 0, height - 1)
        column_NW = np.clip(columns + right_N[:, None], 0, width - 1)
        index = (row_NH[:, :, None] * width + column_NW[:, None, :]).reshape(count, 1, -1)
        out += np.float32(weight) * np.take_along_axis(flat, index, axis=2).reshape(x_NCHW.shape)
    return out


def enlarged(x: np.ndarray, factor: float) -> np.ndarray:
    """The middle of (..., H, W), enlarged by `factor` of 1 or more to the same size, bilinearly."""
    rows, columns = (_enlarging(size, factor) for size in x.shape[-2:])
    return rows @ x @ columns.T


def _enlarging(size: int, factor: float) -> np.ndarray:
    """The (size, size) matrix that cuts out the middle and interpolates it."""
    kept = int(np.ceil(size / factor))
    made = max(round(kept * factor), size)
    place = (np.arange(size) + (made - size) // 2) * ((kept - 1) / max(made - 1, 1))
    left = np.minimum(place.astype(int), kept - 1)
    right = np.minimum(left + 1, kept - 1)
    matrix, first, line = np.zeros((size, size), np.float32), (size - kept) // 2, np.arange(size)
    np.add.at(matrix, (line, first + left), 1 - (place - left))
    np.add.at(matrix, (line, first + right), place - left)
    return matrix


def sampled(x_NCHW: np.ndarray, row_NHW: np.ndarray, column_NHW: np.ndarray) -> np.ndarray:
    """The pictures at fractional places, bilinearly; beyond the border they are mirrored."""
    count, channels, height, width = x_NCHW.shape
    row, column = _folded(row_NHW, height), _folded(column_NHW, width)
    top, left = np.floor(row).astype(int), np.floor(column).astype(int)
    down, right = (row - top).astype(np.float32), (column - left).astype(np.float32)
    flat, out = x_NCHW.reshape(count, channels, -1), np.zeros_like(x_NCHW)
    for row_step, row_share in ((0, 1 - down), (1, down)):
        for column_step, column_share in ((0, 1 - right), (1, right)):
            index = np.minimum(top + row_step, height - 1) * width + np.minimum(left + column_step, width - 1)
            values = np.take_along_axis(flat, index.reshape(count, 1, -1), axis=2).reshape(x_NCHW.shape)
            out += (row_share * column_share)[:, None] * values
    return out


def _folded(place: np.ndarray, size: int) -> np.ndarray:
    """Places mirrored at 0 and size - 1 until they lie within."""
    last = max(size - 1, 1)
    return np.minimum(last - np.abs(np.mod(place, 2 * last) - last), size - 1)


def plasma(draws: Draws, height: int, width: int, decay: float) -> np.ndarray:
    """Clouds (N, H, W) in [0, 1]: the diamond-square fractal, whose detail is `decay` times weaker at each halving."""
    size = 4
    while size < max(height, width):
        size *= 2
    map_NSS = np.zeros((len(draws.generators), size, size), np.float32)
    step, wobble = size, 100.0

    def around(sum_of_four: np.ndarray) -> np.ndarray:
        return sum_of_four / 4 + wobble * draws.uniform(*sum_of_four.shape[1:], low=-wobble, high=wobble)

    while step >= 2:
        half = step // 2
        corners = map_NSS[:, ::step, ::step]
        pairs = corners + np.roll(corners, -1, 1)
        map_NSS[:, half::step, half::step] = around(pairs + np.roll(pairs, -1, 2))
        middles, corners = map_NSS[:, half::step, half::step], map_NSS[:, ::step, ::step]
        map_NSS[:, ::step, half::step] = around(
            middles + np.roll(middles, 1, 1) + corners + np.roll(corners, -1, 2),
        )
        map_NSS[:, half::step, ::step] = around(
            middles + np.roll(middles, 1, 2) + corners + np.roll(corners, -1, 1),
        )
        step, wobble = half, wobble / decay
    map_NSS = map_NSS[:, :height, :width]
    low, high = map_NSS.min((1, 2), keepdims=True), map_NSS.max((1, 2), keepdims=True)
    return (map_NSS - low) / np.maximum(high - low, 1e-12)
