"""How good against how fast: one dot a variant, as large as what has to be shipped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lamina.drawing import COLORS, QUIET, new_figure, save


def best(points: Sequence[tuple[float, float]], better: str) -> list[int]:
    """Places of the (latency, metric) points that no other beats in both, fastest first: the Pareto front."""
    sign = 1 if better == "max" else -1
    front: list[int] = []
    for i in sorted(range(len(points)), key=lambda i: (points[i][0], -sign * points[i][1])):
        if not front or sign * points[i][1] > sign * points[front[-1]][1]:
            front.append(i)
    return front


def pareto(
    names: Sequence[str], points: Sequence[tuple[float, float]], sizes_mb: Sequence[float], metric: str, better: str, path: Path
) -> Path:
    """Draw `points` (milliseconds, metric) to `path`."""
    figure, (axis,) = new_figure(6.4, 4.0)
    front = best(points, better)
    axis.plot([points[i][0] for i in front], [points[i][1] for i in front], color=QUIET, linestyle="--", linewidth=1)
    largest = max(sizes_mb) or 1.0
    for i, (name, (x, y), size) in enumerate(zip(names, points, sizes_mb, strict=True)):
        axis.scatter([x], [y], s=30 + 300 * size / largest, color=COLORS[i % len(COLORS)], alpha=0.8)
        axis.annotate(f"{name}, {size:.2g} MB".replace("$", r"\$"), (x, y), xytext=(8, 8), textcoords="offset points", fontsize=9)
    axis.set_xlabel("milliseconds an answer (median, one at a time)")
    axis.set_ylabel(metric.replace("$", r"\$"))
    axis.margins(0.25)
    return save(figure, path)
