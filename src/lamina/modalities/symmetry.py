"""Which changes leave a picture what it is: asked of the data, before any model is trained.

Legend: N pictures, C channels, H height, W width.
"""

from __future__ import annotations

import numpy as np


def survives_mirroring(pixels_NCHW: np.ndarray, labels: np.ndarray, most: int = 2000) -> bool:
    """Whether mirrored pictures still look like their class: the nearest neighbour is asked.

    Each of up to `most` pictures, shrunk to about 16 pixels, is given the label of the nearest other one, as it is and
    mirrored. Digits and letters lose their class when mirrored; clothes and animals keep it.
    """
    rows = np.linspace(0, len(labels) - 1, min(most, len(labels))).astype(int)
    x_NCHW, y_N = pixels_NCHW[rows].astype(np.float32), labels[rows]
    step = max(1, x_NCHW.shape[-1] // 16)
    if step > 1:
        high, wide = (n // step * step for n in x_NCHW.shape[2:])
        n, channels = x_NCHW.shape[:2]
        x_NCHW = x_NCHW[:, :, :high, :wide].reshape(n, channels, high // step, step, wide // step, step).mean((3, 5))
    flat = x_NCHW.reshape(len(rows), -1)
    flat = flat - flat.mean(1, keepdims=True)
    squares = (flat**2).sum(1)

    def accuracy(queries: np.ndarray) -> float:
        distance = squares[None] - 2 * queries @ flat.T  # up to a constant of the query
        np.fill_diagonal(distance, np.inf)
        return float((y_N[distance.argmin(1)] == y_N).mean())

    plain = accuracy(flat)
    mirrored = x_NCHW[..., ::-1].reshape(len(rows), -1)
    chance = float(np.max(np.unique(y_N, return_counts=True)[1]) / len(y_N))
    kept = accuracy(mirrored - mirrored.mean(1, keepdims=True))
    return kept - chance >= 0.75 * (plain - chance)
