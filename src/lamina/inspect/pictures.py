"""Drawing what was found: curves by depth as .svg, grids of pictures as .png.

Legend: N pictures, C channels, H and W pixels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lamina.drawing import COLORS, QUIET, new_figure, save

SIDE = 64
"""Pixels of a picture in a grid, at least."""


def by_depth(rows: list[dict[str, Any]], metric: str, path: Path) -> Path:
    """The probes' figures by depth, with their intervals."""
    drawing, (axis,) = new_figure(max(5.0, 0.6 * len(rows)), 3.8)
    places = range(len(rows))
    axis.fill_between(places, [r["low"] for r in rows], [r["high"] for r in rows], color=COLORS[0], alpha=0.2, linewidth=0)
    axis.plot(places, [r[metric] for r in rows], marker="o")
    axis.set_xticks(list(places), [r["depth"] for r in rows], rotation=40, ha="right")
    axis.set_ylabel({"accuracy": "accuracy of a linear probe", "r2": "R2 of a linear probe"}[metric])
    return save(drawing, path)


def gradient_flow(rows: list[dict[str, Any]], path: Path) -> Path:
    """Gradient over weight of every parameter that learns, from the input to the answer."""
    drawing, (axis,) = new_figure(max(5.0, 0.22 * len(rows)), 4.2)
    for matrix, color, label in ((True, COLORS[0], "weights"), (False, QUIET, "biases, norms")):
        points = [(i, r["gradient"]) for i, r in enumerate(rows) if r["matrix"] == matrix and r["gradient"] > 0]
        axis.plot([i for i, _ in points], [y for _, y in points], marker="o", markersize=4, color=color, label=label)
    axis.set_yscale("log")
    axis.set_ylabel("norm of the gradient")
    axis.set_xticks(range(len(rows)), [r["parameter"] for r in rows], rotation=90, fontsize=6)
    axis.legend(frameon=False)
    return save(drawing, path)


def grid(rows: list[list[np.ndarray]], path: Path, low: float, high: float) -> Path:
    """Rows of pictures (C, H, W) within [low, high]; those of few pixels are enlarged without smoothing."""
    from PIL import Image

    _, height, width = rows[0][0].shape
    zoom = max(1, SIDE // max(height, width))
    cell_h, cell_w = height * zoom + 2, width * zoom + 2
    sheet = np.full((cell_h * len(rows), cell_w * max(map(len, rows)), 3), 255, np.uint8)
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            shown = np.clip((picture.astype(np.float64) - low) / (high - low), 0, 1) * 255
            shown = np.repeat(shown, 3, 0) if len(shown) == 1 else shown[:3]
            big = np.moveaxis(shown, 0, -1).round().astype(np.uint8).repeat(zoom, 0).repeat(zoom, 1)
            sheet[i * cell_h : i * cell_h + height * zoom, j * cell_w : j * cell_w + width * zoom] = big
    Image.fromarray(sheet).save(path)
    return path
