"""Inputs that a model should not know, where nobody gives any: of its own examples, or of scikit-learn's pictures.

What is near to training in some ways and far in others is the harder: shuffled patches keep the colours, permuted columns keep
every column's values, shuffled words every word. Easy ones (noise, values out of range) show only that something works at all.

Shapes: B examples, C channels, H and W pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from lamina.data.columns import length, take
from lamina.data.source import PARTS, Source
from lamina.errors import LaminaError
from lamina.evaluate import joined
from lamina.modalities.image import pictures
from lamina.modalities.strange_text import strange_texts
from lamina.predict import Unread, gather
from lamina.task import Batch, Columns, Task

PATCHES = 4
"""A picture is cut into this many patches a side."""


def substitutes(task: Task, examples: Columns, bundled: bool, seed: int) -> Iterator[tuple[str, Batch]]:
    """(name, encoded inputs) of each set that the modality of the first input allows, as many as there are examples.

    bundled: whether the run itself was trained on the demo data, which then is no stranger.
    """
    asked = {name: column for name, column in examples.items() if name in task.asks}
    batch = task.encode(asked, "predict")
    modality = task.inputs[0].modality
    if modality == "image":
        for name, x_BCHW in image_substitutes(batch[task.inputs[0].name].numpy(), bundled, seed):
            yield name, {**batch, task.inputs[0].name: torch.from_numpy(x_BCHW)}
    elif modality == "table":
        for name, columns in table_substitutes(asked, seed):
            yield name, task.encode(columns, "predict")
    elif modality == "text":
        first = task.asks[0]
        for name, texts in strange_texts([str(text) for text in asked[first]], seed):
            yield name, task.encode({**asked, first: texts}, "predict")


def image_substitutes(x_BCHW: np.ndarray, bundled: bool, seed: int) -> Iterator[tuple[str, np.ndarray]]:
    """Pictures of the shape and type of `x_BCHW`, by name."""
    rng = np.random.default_rng(seed)
    count, *shape = x_BCHW.shape
    yield "noise", rng.integers(0, 256, x_BCHW.shape).astype(x_BCHW.dtype)
    if min(shape[1:]) >= PATCHES:
        yield "shuffled patches", np.stack([shuffled(x_CHW, rng) for x_CHW in x_BCHW])
    if not bundled:
        from lamina.data.demo import digits

        pixels = digits()[0]
        yield "digits", pictures(pixels[rng.integers(0, len(pixels), count)], (shape[0], shape[1], shape[2])).astype(x_BCHW.dtype)
    yield "photographs", photographs(count, (shape[0], shape[1], shape[2]), rng).astype(x_BCHW.dtype)


def shuffled(x_CHW: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The patches of a picture in another order; what remains at the edges stays."""
    height, width = x_CHW.shape[1] // PATCHES, x_CHW.shape[2] // PATCHES
    made = x_CHW.copy()
    for target, source in enumerate(rng.permutation(PATCHES * PATCHES)):
        (row, column), (from_row, from_column) = divmod(target, PATCHES), divmod(int(source), PATCHES)
        made[:, row * height : (row + 1) * height, column * width : (column + 1) * width] = x_CHW[
            :, from_row * height : (from_row + 1) * height, from_column * width : (from_column + 1) * width
        ]
    return made


def photographs(count: int, shape: tuple[int, int, int], rng: np.random.Generator) -> np.ndarray:
    """Crops of the two photographs that come with scikit-learn, a temple and a flower: uint8 (count, C, H, W)."""
    from sklearn.datasets import load_sample_images

    photos = np.stack(load_sample_images().images)  # (2, 427, 640, 3)
    crops = []
    for _ in range(count):
        side = int(rng.integers(48, 256))
        top, left = (int(rng.integers(0, photos.shape[axis] - side)) for axis in (1, 2))
        crops.append(photos[int(rng.integers(len(photos))), top : top + side, left : left + side])
    return pictures(crops, shape)


def table_substitutes(columns: Columns, seed: int) -> Iterator[tuple[str, Columns]]:
    """Rows with the same columns, by name."""
    rng = np.random.default_rng(seed)
    count = length(columns)
    if len(columns) > 1:
        permuted = {name: take({name: column}, rng.permutation(count))[name] for name, column in columns.items()}
        yield "columns permuted", permuted
    beyond: Columns = {}
    moved = False
    for name, column in columns.items():
        cells = np.asarray(column)
        if cells.dtype.kind in "iuf" and np.isfinite(cells.astype(np.float64)).any():
            low, high = float(np.nanmin(cells)), float(np.nanmax(cells))
            size = (high - low) or 1.0
            away = rng.uniform(0.5, 1.5, count) * size
            beyond[name] = np.where(rng.random(count) < 0.5, high + away, low - away)  # type: ignore[assignment]
            moved = True
        else:
            beyond[name] = column
    if moved:
        yield "values out of range", beyond


def named_data(task: Task, path: str, most: int, seed: int) -> Batch:
    """Encoded inputs of the data at `path`, read as the task reads data to train on, else as it reads inputs to answer.

    Labels are ignored. Raises LaminaError where neither reads it.
    """
    try:
        # A task that knows its classes refuses others; one that is not prepared does not.
        fresh: Any = type(task)(**task.hyperparameters())
        parts = fresh.read(Source(data=path)).parts()
        columns = joined([parts[name] for name in PARTS if length(parts[name])])
        missing = [name for name in task.asks if name not in columns]
        if missing:
            raise LaminaError(f"{path}: expected the columns {', '.join(task.asks)}; {missing[0]!r} is missing")
    except LaminaError as error:
        try:
            columns = _gathered(task, path)
        except LaminaError:
            raise LaminaError(f"--unknown: {error}") from error
    rows = np.sort(np.random.default_rng(seed).permutation(length(columns))[:most])
    some = take({name: column for name, column in columns.items() if name in task.asks}, rows)
    return task.encode(some, "predict")


def _gathered(task: Task, path: str) -> Columns:
    (columns,) = gather(task, [path], strict=True)
    if isinstance(columns, Unread):
        raise LaminaError(columns.error)
    return columns
