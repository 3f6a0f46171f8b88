"""Curves and bars in one style, drawn off screen. Pictures of data are drawn by the modalities."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = ("#2f6db5", "#d9822b", "#3a9a6b", "#b8444e", "#7a5aa6", "#6b7280", "#c2a02c", "#3e8e9e")
"""One colour a curve, told apart by most people who see few colours."""
QUIET = "#9aa1ab"
"""Grids, axes, what is only there to compare with."""


def new_figure(width: float = 6.0, height: float = 3.6, columns: int = 1, rows: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure of `width` by `height` inches, and its axes, row by row. Never touches matplotlib's global state."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = [figure.add_subplot(rows, columns, i + 1) for i in range(rows * columns)]
    for axis in axes:
        axis.set_prop_cycle(color=COLORS)
        axis.spines[["top", "right"]].set_visible(False)
        axis.spines[["left", "bottom"]].set_color(QUIET)
        axis.tick_params(colors="#4b5563", labelsize=9)
        axis.grid(True, color=QUIET, alpha=0.25, linewidth=0.8)
        axis.set_axisbelow(True)
    return figure, axes


def save(figure: Figure, path: Path) -> Path:
    """Write `figure` as the kind of file that `path` ends in (.svg or .png); the same figure gives the same bytes."""
    from matplotlib import rc_context

    with rc_context({"svg.hashsalt": "lamina", "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)
    return path
