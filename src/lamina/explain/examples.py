"""What is explained and what it is compared with: inputs that a person names or a sample of a part, and training examples.

Shapes: B examples, N references.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lamina.answer import to_device
from lamina.data.columns import length, take
from lamina.errors import LaminaError
from lamina.evaluate import examples_of, joined
from lamina.explain.settings import Settings
from lamina.explain.subject import typical
from lamina.modalities.table import is_numeric
from lamina.predict import Unread, gather, refused
from lamina.task import Batch, Columns, Task

if TYPE_CHECKING:
    from lamina.data.source import Data, Source
    from lamina.run import Run


@dataclass(frozen=True)
class Reference:
    """A sample of training rows: raw, encoded, and the input that stands for nothing in particular."""

    columns: Columns
    rows: np.ndarray
    """(N,) their places in the training part."""
    batch: Batch
    neutral: torch.Tensor
    """(1, ...) see `subject.typical`."""


def sampled(columns: Columns, count: int, seed: int, mixed: bool = False) -> tuple[Columns, np.ndarray]:
    """At most `count` rows drawn without replacement, and where they stood.

    In their order, or `mixed`: data are often sorted by class, and the first few are drawn.
    """
    total = length(columns)
    rows = np.random.default_rng((seed, total)).permutation(total)[:count]
    rows = rows if mixed else np.sort(rows)
    return take(columns, rows), rows


def askable(task: Task, columns: Columns, rows: np.ndarray) -> tuple[Columns, np.ndarray]:
    """Without those that a client is refused: training cuts what is too long, or leaves it out."""
    try:
        encoded(task, columns, torch.device("cpu"))
    except LaminaError:
        errors = refused(task, columns, range(len(rows)))
        good = [place for place in range(len(rows)) if place not in errors]
        return take(columns, good), rows[good]
    return columns, rows


def own_data(run: Run) -> Data | str:
    """The data that the run was trained on; where they cannot be read, why. Inputs can be explained without them."""
    try:
        return run.data()
    except LaminaError as error:
        return str(error)


def examples(
    run: Run, settings: Settings, source: Source | Data | None, inputs: Sequence[Any], own: Data | str
) -> tuple[Columns, list[str], str]:
    """(columns, a name for each row, where they are from). Files that cannot be read are told by LaminaError."""
    if inputs:
        parts = [part for part in gather(run.task, inputs, strict=True) if not isinstance(part, Unread)]
        columns = joined(parts)
        if not length(columns):
            raise LaminaError("inputs: expected at least one; got none")
        return columns, [str(name) for name in columns["source"]], "inputs"
    given = own if source is None and not isinstance(own, str) else source  # read once, not again
    columns, part, _ = examples_of(run, given, settings.part)
    chosen, rows = askable(run.task, *sampled(columns, settings.examples, settings.seed, mixed=True))
    return chosen, [f"{part} {row + 1}" for row in rows], part


def encoded(task: Task, columns: Columns, device: torch.device) -> Batch:
    """Inputs alone: what explanations hold fixed is what the model says, not what is true."""
    asked = {name: column for name, column in columns.items() if name in task.asks}
    return to_device(task.encode(asked, "predict"), device)


def reference_of(run: Run, own: Data | str, settings: Settings, device: torch.device) -> Reference | str:
    """Training rows; where they cannot be had, why."""
    if isinstance(own, str):
        return own
    if not length(own.train):
        return "the training part holds no examples"
    columns, rows = askable(run.task, *sampled(own.train, settings.references, settings.seed))
    if not length(columns):
        return "the training part holds no examples that can be asked about"
    batch = encoded(run.task, columns, device)
    numeric = [is_numeric(columns[name]) for name in run.task.asks] if run.task.inputs[0].modality == "table" else []
    return Reference(columns, rows, batch, typical(run.task, batch[run.task.inputs[0].name], numeric))


def label_column(task: Task, columns: Columns) -> str | None:
    """The raw column of true answers: one that is named as the loss names it, else the last that a client does not send."""
    beyond = [name for name in columns if name not in (*task.asks, "source")]
    return next((name for name in task.labels if name in beyond), beyond[-1] if beyond else None)


def in_words(answer: dict[str, Any]) -> str:
    """An answer in a few characters: its label with its probability, or its number."""
    plain = {name: value for name, value in answer.items() if isinstance(value, (str, int, float, bool))}
    if "probability" in plain:
        first = next((v for n, v in plain.items() if n != "probability"), "")
        return f"{first} {100 * float(plain['probability']):.0f}%"
    return ", ".join(f"{v:.4g}" if isinstance(v, float) else str(v) for v in plain.values())


def kind_of(answer: dict[str, Any]) -> str:
    """What answers are grouped by: the first text in them; the same for all answers that hold none."""
    return next((value for value in answer.values() if isinstance(value, str)), "all")


def plain(cell: Any) -> Any:
    """A cell as plain Python holds it; a missing number is None."""
    value = cell.item() if isinstance(cell, np.generic) else cell
    return None if isinstance(value, float) and np.isnan(value) else value


def brief(cell: Any, most: int = 40) -> Any:
    """A cell as a table shows it: lists and long texts cut."""
    value = plain(cell)
    if value is None or isinstance(value, (int, float)):
        return value
    text = " ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return text if len(text) <= most else text[: most - 1] + "…"
