"""Permutation importance of the columns of a table: how much worse the model is when a column is shuffled.

Breiman 2001, "Random Forests", section 10; the model-agnostic form of Fisher, Rudin and Dominici 2019, equation 3.5 and after.
It says what the model's quality rests on, not what any one answer rests on. Columns that tell the same share it.

Shapes: B rows, C columns.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from lamina.answer import EVALUATION_BATCH
from lamina.data.columns import rows_of
from lamina.task import Batch, Columns, Forward, Task

REPEATS = 5


def permutation_importance(
    task: Task, forward: Forward, columns: Columns, batch: Batch, seed: int, repeats: int, advance: Callable[[int], None]
) -> list[tuple[float, float, float]]:
    """For each column (mean, least, greatest) over `repeats` shufflings of by how much the headline metric gets worse.

    columns: raw rows with their labels; batch: the same rows, encoded.
    """
    metric, better = task.headline
    name = task.inputs[0].name

    def quality(rows: Batch) -> float:
        said = []
        with torch.inference_mode():
            for start in range(0, len(rows[name]), EVALUATION_BATCH):
                said += task.predict(forward, {key: v[start : start + EVALUATION_BATCH] for key, v in rows.items()})
        value = task.metrics(columns, rows_of(said))[metric]
        return value if better == "max" else -value

    whole = quality(batch)
    found = []
    for column in range(batch[name].shape[1]):
        falls = []
        for repeat in range(repeats):
            order = np.random.default_rng((seed, column, repeat)).permutation(len(batch[name]))
            shuffled = batch[name].clone()
            shuffled[:, column] = shuffled[torch.as_tensor(order), column]
            falls.append(whole - quality({**batch, name: shuffled}))
        found.append((float(np.mean(falls)), min(falls), max(falls)))
        advance(1)
    return found
