"""Drawing for `needs`: the learning curve with its band, the losses of a training, the suspects as a grid of pictures.

Legend: N examples, C channels, H and W pixels, P points along the curve.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lamina.data.columns import length, take
from lamina.drawing import new_figure, save
from lamina.needs import law
from lamina.needs.answers import is_share
from lamina.needs.curve import Training
from lamina.needs.overfitting import History, Turn
from lamina.needs.settings import Settings
from lamina.task import Columns, Task

BEYOND = 10
TILE, CAPTION, ACROSS = 96, 14, 5


def draw_curve(trainings: Sequence[Training], fitted: law.Law, task: Task, settings: Settings, path: Path) -> Path:
    """Errors over sizes, both on logarithmic scales, with the law's median and band up to ten times the data."""
    picture, (axes,) = new_figure(7.0, 4.5)
    n_P = np.geomspace(min(t.size for t in trainings), BEYOND * fitted.largest, 60)
    bounds_P3 = np.array([law.interval(fitted.measured(n, settings.seed), settings.confidence) for n in n_P])
    axes.fill_between(
        n_P, bounds_P3[:, 1], bounds_P3[:, 2], alpha=0.25, label=f"{100 * settings.confidence:g}% interval of one training"
    )
    axes.plot(n_P, bounds_P3[:, 0], label="law")
    axes.plot([t.size for t in trainings], [t.error for t in trainings], "o", label="on new examples")
    seen = [t for t in trainings if t.train_error > 0]
    axes.plot([t.size for t in seen], [t.train_error for t in seen], "x", label="on the examples trained on")
    axes.axvline(fitted.largest, linestyle=":", linewidth=1)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("training examples")
    axes.set_ylabel(f"1 - {task.headline[0]}" if is_share(task) else task.headline[0])
    axes.legend()
    return save(picture, path)


def draw_history(history: History, turn: Turn | None, path: Path) -> Path:
    """Training and validation loss over steps, and where validation loss turns."""
    picture, (axes,) = new_figure(7.0, 4.0)
    logged = np.isfinite(history.train_E)
    axes.plot(history.step_E[logged], history.train_E[logged], "o-", label="training loss")
    axes.plot(history.step_E, history.valid_E, "o-", label="validation loss")
    if turn is not None and turn.overfits:
        axes.axvline(turn.step, linestyle="--", linewidth=1, label=f"overfits since step {turn.step:,}")
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    axes.legend()
    return save(picture, path)


def draw_grid(task: Task, columns: Columns, captions: Sequence[str], path: Path) -> Path:
    """Pictures five across, each with its caption under it."""
    from PIL import Image, ImageDraw

    down = -(-length(columns) // ACROSS)
    sheet = Image.new("RGB", (ACROSS * (TILE + 8), max(1, down) * (TILE + CAPTION + 8)), "white")
    pen = ImageDraw.Draw(sheet)
    for place, caption in enumerate(captions):
        x, y = place % ACROSS * (TILE + 8) + 4, place // ACROSS * (TILE + CAPTION + 8) + 4
        tile = Image.fromarray(pixels_of(task, take(columns, [place]))).convert("RGB")
        sheet.paste(tile.resize((TILE, TILE), Image.Resampling.NEAREST), (x, y))
        pen.text((x, y + TILE + 1), caption[:17], fill="black")
    sheet.save(path)
    return path


def pixels_of(task: Task, columns: Columns) -> np.ndarray:
    """One picture as uint8 (H, W) or (H, W, 3), from its declared range."""
    declared = task.inputs[0]
    x_CHW = task.encode(columns, "evaluate")[declared.name][0].float().numpy()
    low, high = (float(np.min(v)) if v is not None else w for v, w in ((declared.low, x_CHW.min()), (declared.high, x_CHW.max())))
    scaled = np.clip(255 * (x_CHW - low) / max(high - low, 1e-9), 0, 255).round().astype(np.uint8)
    return scaled[0] if len(scaled) != 3 else np.moveaxis(scaled, 0, -1)
