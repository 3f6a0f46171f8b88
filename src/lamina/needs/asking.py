"""What examples are and what a model says of them, in arrays: hashes of content, class labels, probabilities, features.

Legend: N examples, K classes, D features, V values of an example.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from lamina.data.columns import length, take
from lamina.task import Batch, Columns, Forward, Task

BATCH = 250


@dataclass(frozen=True)
class Said:
    """What a model says of N labelled examples, where its answer is one of K classes."""

    label_N: np.ndarray
    probability_NK: np.ndarray
    features_ND: np.ndarray | None


def batches(task: Task, columns: Columns) -> Iterator[Batch]:
    """All examples in order, encoded as for evaluating."""
    for start in range(0, length(columns), BATCH):
        yield task.encode(take(columns, np.arange(start, min(start + BATCH, length(columns)))), "evaluate")


def contents(task: Task, columns: Columns) -> list[bytes]:
    """A hash of each example's inputs as the model sees them, without its labels."""
    found: list[bytes] = []
    for batch in batches(task, columns):
        arrays = [batch[i.name].contiguous().reshape(len(batch[i.name]), -1).numpy() for i in task.inputs]
        for row in range(len(arrays[0])):
            digest = hashlib.blake2b(digest_size=16)
            for spec, array in zip(task.inputs, arrays, strict=True):
                cells = array[row]
                digest.update((cells[cells != 0] if spec.modality == "text" else cells).tobytes())  # padding says nothing
            found.append(digest.digest())
    return found


def texts_of(task: Task, columns: Columns) -> list[str]:
    """The raw texts behind the first input; of several columns that are asked for, all, a line each."""
    asked = [columns[name] for name in task.asks]
    return ["\n".join("" if cell is None else str(cell) for cell in row) for row in zip(*asked, strict=True)]


def inputs_of(task: Task, columns: Columns) -> np.ndarray:
    """The first input of every example as float32 (N, V)."""
    name = task.inputs[0].name
    rows = [batch[name].reshape(len(batch[name]), -1).float().numpy() for batch in batches(task, columns)]
    return np.concatenate(rows) if rows else np.empty((0, 0), np.float32)


def said(task: Task, forward: Forward, columns: Columns, advance: object = None) -> Said | None:
    """Labels, probabilities and features; None unless the output has `logits` (B, K) and a label is a class number (B,)."""
    labels: list[np.ndarray] = []
    logits: list[np.ndarray] = []
    features: list[np.ndarray] = []
    with torch.inference_mode():
        for batch in batches(task, columns):
            label = class_of(task, batch)
            output = forward(*[batch[i.name] for i in task.inputs])
            if label is None or not isinstance(output, dict) or "logits" not in output or output["logits"].ndim != 2:
                return None
            labels.append(label)
            logits.append(output["logits"].float().softmax(1).cpu().numpy())
            if "features" in output and output["features"].ndim == 2:
                features.append(output["features"].float().cpu().numpy())
    if not labels:
        return None
    return Said(np.concatenate(labels), np.concatenate(logits), np.concatenate(features) if features else None)


def class_of(task: Task, batch: Batch) -> np.ndarray | None:
    """Class numbers (B,) where the task's one label is such."""
    if len(task.labels) != 1:
        return None
    label = batch[task.labels[0]]
    return label.cpu().numpy() if label.ndim == 1 and label.dtype == torch.int64 else None


def classes_of(task: Task, columns: Columns) -> np.ndarray | None:
    """Class numbers (N,) of all examples, or None."""
    found = []
    for batch in batches(task, columns):
        label = class_of(task, batch)
        if label is None:
            return None
        found.append(label)
    return np.concatenate(found) if found else None
