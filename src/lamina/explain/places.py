"""Does the model look at the same spot of every picture? Objects move; stamps, rulers, dates and borders do not.

For each answer the maps of its pictures are averaged, and the spot that holds most of the mean is measured: the share of
all attribution that falls into the same twentieth of the area in every picture. An even map gives 5%.

Shapes: B pictures, H and W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

AREA = 0.05
SUSPECT = 0.4
"""A share of attribution in the same 5% of every picture from which on a person should look."""
LEAST = 5
"""Pictures of an answer below which their mean says little."""


def mass(map_BHW: np.ndarray) -> np.ndarray:
    """Where a map speaks for what was said, as shares of one: (B, H, W). A map without such a place is even."""
    positive = np.maximum(map_BHW, 0)
    total = positive.sum((1, 2), keepdims=True)
    even = 1 / (map_BHW.shape[1] * map_BHW.shape[2])
    return np.where(total > 0, positive / np.where(total > 0, total, 1), even)


def spots(map_BHW: np.ndarray, answers: Sequence[str]) -> list[dict[str, Any]]:
    """One row an answer with at least five pictures: {"answer", "pictures", "share", "top", "left", "bottom", "right"}, the
    greatest share first. The spot need not be of one piece; the bounds in pixels hold its strongest half."""
    said = np.asarray(answers)
    rows = []
    for answer in dict.fromkeys(answers):
        chosen = said == answer
        if chosen.sum() < LEAST:
            continue
        mean_HW = mass(map_BHW[chosen]).mean(0)
        order = np.argsort(-mean_HW, axis=None, kind="stable")[: max(1, round(AREA * mean_HW.size))]
        row, column = np.unravel_index(order[: max(1, len(order) // 2)], mean_HW.shape)
        rows.append({
            "answer": answer, "pictures": int(chosen.sum()), "share": float(mean_HW.flat[order].sum()),
            "top": int(row.min()), "left": int(column.min()), "bottom": int(row.max()) + 1, "right": int(column.max()) + 1,
        })  # fmt: skip
    return sorted(rows, key=lambda one: -one["share"])
