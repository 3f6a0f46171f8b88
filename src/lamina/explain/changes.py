"""Counterfactual rows of a table: the fewest columns, changed the least, that make the model say something else.

A greedy search: every plausible value of every column is tried at once; of those that flip the answer the nearest is taken,
else the one that weakens what was said most, and the search goes on from there with one column more. Then each changed
column is put back where the answer stays flipped without it, and each number is moved back towards what it was as far as
that holds. Plausible values are those of training rows, categories included: nothing is proposed that no row ever held,
but numbers between two that rows held (whole where the column is whole).

Shapes: B rows, C columns, V values tried.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lamina.explain.subject import MOST
from lamina.modalities.table import is_numeric
from lamina.task import Batch, Columns, Task
from lamina.train.precision import float32

VALUES = 24
"""Values tried of a numeric column, at even quantiles of the reference rows; of other columns all, the frequent first."""
MOST_CATEGORIES = 100
MOST_COLUMNS = 10
HALVINGS = 12
"""How often the way back of a number is halved."""
PLAIN_DISTANCE = 1.0
"""What a change of category counts: as much as a number changed by one interquartile range over 1.349."""


@dataclass(frozen=True)
class Cell:
    """One value that a column may be changed to."""

    column: int
    code: float
    """As the model sees it."""
    raw: Any
    """As the table holds it."""


@dataclass(frozen=True)
class Plausible:
    """What reference rows say about the columns of a table."""

    names: tuple[str, ...]
    numeric: tuple[bool, ...]
    whole: tuple[bool, ...]
    scale: np.ndarray
    """(C,) a usual difference of a number."""
    cells: tuple[Cell, ...]


def plausible(columns: Columns, table_NC: Tensor, names: tuple[str, ...]) -> Plausible:
    """From raw reference rows and the same rows encoded."""
    numeric, whole, scale, cells = [], [], [], []
    for place, name in enumerate(names):
        codes, raw = table_NC[:, place].double().numpy(), columns[name]
        present = np.flatnonzero(np.isfinite(codes))
        number = is_numeric(raw)
        numeric.append(number)
        values = codes[present]
        whole.append(bool(number and len(values) and np.all(values == np.round(values))))
        spread = float(np.subtract(*np.quantile(values, [0.75, 0.25]))) / 1.349 if number and len(values) else 0.0
        scale.append(spread or (float(values.std()) if number and len(values) else 0.0) or 1.0)
        if not len(values):
            continue
        if number:
            ordered = present[np.argsort(values, kind="stable")]
            chosen = ordered[np.unique(np.linspace(0, len(ordered) - 1, VALUES).round().astype(int))]
        else:
            kinds, first, counts = np.unique(values, return_index=True, return_counts=True)
            chosen = present[first[np.argsort(-counts, kind="stable")][:MOST_CATEGORIES]]
            chosen = chosen[codes[chosen] >= 1] if len(kinds) > 1 else chosen
        seen: dict[float, Cell] = {}
        for row in chosen:
            code = float(codes[row])
            seen.setdefault(code, Cell(place, code, code if number else raw[int(row)]))
        cells += seen.values()
    return Plausible(names, tuple(numeric), tuple(whole), np.asarray(scale), tuple(cells))


@dataclass(frozen=True)
class Asks:
    """The model, asked about many rows at once."""

    task: Task
    model: nn.Module

    @torch.no_grad()
    def __call__(self, table_VC: Tensor, said: Batch) -> tuple[np.ndarray, np.ndarray]:
        """The classes (V,) said of rows, and how strongly (V,) they still say what was said of one row (1, ...)."""
        name = self.task.inputs[0].name
        answers, scores = [], []
        for rows_VC in table_VC.split(4 * MOST):
            batch = {key: value.expand(len(rows_VC), *value.shape[1:]) for key, value in said.items()}
            batch[name] = rows_VC
            answers.append(self.task.target(lambda *x: float32(self.model(*x)), batch)[self.task.labels[0]])
            scores.append(self.task.score(float32(self.task.outputs(self.model, batch)), batch))
        return torch.cat(answers).cpu().numpy(), torch.cat(scores).cpu().numpy()


def smallest_change(ask: Asks, said: Batch, known: Plausible, most_columns: int = MOST_COLUMNS) -> dict[str, Any] | None:
    """The change of one row (1, C) whose label is frozen in `said`, where one of at most `most_columns` columns flips the answer.

    {"changes": [{"column", "from" (as the model sees it), "to"}], "cost", "table": the changed row (1, C)}; else None.
    """
    spec = ask.task.inputs[0]
    row = said[spec.name]
    (was,), _ = ask(row, said)
    column_V = np.array([c.column for c in known.cells])
    code_V = np.array([c.code for c in known.cells])
    start_C = row[0].double().cpu().numpy()
    distance_V = _distance(known, start_C, column_V, code_V)
    changed: dict[int, Any] = {}
    now = row.clone()
    for _ in range(min(most_columns, len(known.names))):
        free_V = np.flatnonzero(~np.isin(column_V, list(changed)) & (distance_V > 0))
        if not len(free_V):
            return None
        tried = now.repeat(len(free_V), 1)
        tried[torch.arange(len(free_V)), torch.as_tensor(column_V[free_V])] = torch.as_tensor(code_V[free_V]).to(tried)
        answer_V, score_V = ask(tried, said)
        flipped = np.flatnonzero(answer_V != was)
        best = flipped[np.argmin(distance_V[free_V][flipped])] if len(flipped) else int(np.argmin(score_V))
        cell = known.cells[free_V[best]]
        changed[cell.column] = cell.raw
        now[0, cell.column] = cell.code
        if len(flipped):
            return _trimmed(ask, said, known, now, changed, was)
    return None


def _trimmed(ask: Asks, said: Batch, known: Plausible, now: Tensor, changed: dict[int, Any], was: int) -> dict[str, Any]:
    """The same change with every column put back that need not have changed, and every number as near as it may be."""
    row = said[ask.task.inputs[0].name]

    def flips(candidate: Tensor) -> bool:
        return bool(ask(candidate, said)[0][0] != was)

    for column in list(changed):
        without = now.clone()
        without[0, column] = row[0, column]
        if len(changed) > 1 and flips(without):
            now = without
            del changed[column]
    for column in changed:
        near, far = float(row[0, column]), float(now[0, column])
        if not known.numeric[column] or not np.isfinite(near):
            continue
        for _ in range(HALVINGS):
            middle = (near + far) / 2
            middle = round(middle) if known.whole[column] else middle
            candidate = now.clone()
            candidate[0, column] = middle
            if middle in (near, far):
                break
            near, far = (near, middle) if flips(candidate) else (middle, far)
        now[0, column] = far
        changed[column] = far
    columns = np.array(list(changed))
    distance = _distance(known, row[0].double().cpu().numpy(), columns, now[0, columns].double().cpu().numpy())
    order = np.argsort(-distance, kind="stable")
    return {
        "changes": [
            {"column": known.names[c], "from": float(row[0, c]), "to": changed[c]} for c in (int(columns[i]) for i in order)
        ],
        "cost": float(distance.sum()),
        "table": now,
    }


def _distance(known: Plausible, start_C: np.ndarray, column_V: np.ndarray, code_V: np.ndarray) -> np.ndarray:
    """How far each value (V,) is from the row's own: in usual differences for numbers, 1 for another category. A missing
    number is one away from any."""
    from_V = start_C[column_V]
    numeric_V = np.asarray(known.numeric)[column_V]
    apart_V = np.abs(code_V - from_V) / known.scale[column_V]
    other_V = np.where(code_V == from_V, 0.0, PLAIN_DISTANCE)
    return np.where(numeric_V & np.isfinite(apart_V), apart_V, other_V)
