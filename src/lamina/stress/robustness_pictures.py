"""What corruptions and attacks look like: curves of the metric, and one picture under every kind and severity."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from lamina.drawing import new_figure, save
from lamina.modalities.corrupt_image import corrupt

SHEET_SIDE = 96
"""Pixels a side, at least, of one picture in a sheet."""


def curves(path: Path, metric: str, clean: float, values: dict[str, dict[int, float]]) -> Path:
    """The metric by severity, a line a kind, the mean in black."""
    figure = new_figure(7.0, 4.5)
    axes = figure.add_subplot()
    severities = sorted({severity for row in values.values() for severity in row})
    styles = ("-", "--", ":")
    for place, (kind, row) in enumerate(values.items()):
        points = sorted(row.items())
        x, y = [0, *(s for s, _ in points)], [clean, *(v for _, v in points)]
        axes.plot(x, y, styles[place // 10 % 3], linewidth=1, label=kind.replace("_", " "))
    mean = [clean, *(float(np.mean([row[s] for row in values.values() if s in row])) for s in severities)]
    axes.plot([0, *severities], mean, color="black", linewidth=2.5, label="mean")
    axes.set_xlabel("severity (0: clean)")
    axes.set_ylabel(metric)
    axes.set_xticks([0, *severities])
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    save(figure, path)
    return path


def sheet(path: Path, pixels_1CHW: np.ndarray, kinds: list[str], seed: int) -> Path:
    """One picture: a row a kind, a column a severity, the clean one first."""
    rows = []
    for kind in kinds:
        cells = [pixels_1CHW, *(corrupt(pixels_1CHW, kind, severity, seed) for severity in range(1, 6))]
        rows.append(np.concatenate([cell[0] for cell in cells], axis=2))
    whole = np.concatenate(rows, axis=1)
    picture = Image.fromarray(whole[0] if len(whole) == 1 else np.ascontiguousarray(whole.transpose(1, 2, 0)))
    times = max(1, round(SHEET_SIDE / max(pixels_1CHW.shape[2:])))
    picture.resize((picture.width * times, picture.height * times), Image.Resampling.NEAREST).save(path)
    return path


def robustness(path: Path, robust: dict[str, float], clean: float) -> Path:
    """The share of examples that stay right, a bar an attack."""
    figure = new_figure(6.0, 0.45 * len(robust) + 1.4)
    axes = figure.add_subplot()
    names = ["clean", *robust]
    shares = [clean, *robust.values()]
    axes.barh(names[::-1], shares[::-1])
    axes.set_xlim(0, 1)
    axes.set_xlabel("share answered rightly")
    save(figure, path)
    return path
