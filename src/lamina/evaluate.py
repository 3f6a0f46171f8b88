"""How good a run is on examples it was not trained on: metrics with the intervals that chance alone would give.

The interval is the percentile bootstrap (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13):
the examples are drawn again with replacement, N of N, and the metric is computed anew from `task.metrics`; its
quantiles over many draws bound the interval. The model itself is asked once. Examples count as independent, but for those
of one group (`--group patient`), which are drawn together: a patient's pictures say less than as many patients would.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lamina.data.columns import length, take
from lamina.errors import LaminaError
from lamina.task import Columns, Forward, Task

if TYPE_CHECKING:
    import numpy as np

    from lamina.data.source import Data, Source
    from lamina.run import Run

RESAMPLE_SECONDS = 10.0
"""Processor time that resampling may take; slower metrics are resampled fewer times."""
LEAST_RESAMPLES = 100
WIDEST = 13
"""Columns of a table that a terminal still shows: a class and ten others, and a little more."""
AUTO_BATCH = 256
"""What `--batch-size auto` starts from, and halves while memory does not suffice."""


@dataclass(frozen=True)
class Evaluation:
    """Figures over `count` examples. A metric that is not a number is None, with its bounds."""

    metrics: dict[str, dict[str, float | None]]
    """{name: {"value", "low", "high"}}, the headline first."""
    details: dict[str, list[dict[str, Any]]]
    """Tables of the task, such as figures per class: {title: [row, ...]}."""
    count: int
    part: str
    resamples: int
    """How many times the examples were drawn again; 0 where one example leaves nothing to draw."""
    confidence: float
    fingerprint: str
    group: str | None
    """The column whose equal values were drawn together."""
    examples: Columns = field(repr=False)
    predictions: Columns = field(repr=False)
    draws: dict[str, np.ndarray] = field(repr=False)
    """{name: values (resamples,)}. Two evaluations of the same examples with the same seed are paired, draw by draw."""

    def as_json(self) -> dict[str, Any]:
        """What `lamina evaluate --json` prints, without the run."""
        return {
            "metrics": self.metrics,
            "details": self.details,
            "count": self.count,
            "part": self.part,
            "resamples": self.resamples,
            "confidence": self.confidence,
            "fingerprint": self.fingerprint,
            "group": self.group,
        }


def evaluate(
    run: Run,
    source: Data | Source | str | Path | None = None,
    part: str | None = None,
    resamples: int = 1000,
    confidence: float = 0.95,
    batch_size: int | Literal["auto"] = "auto",
    forward: Forward | None = None,
    seed: int = 0,
    device: str = "auto",
    precision: str | None = None,
    **answering: Any,
) -> Evaluation:
    """Metrics of `run` with intervals.

    Without a `source`, the data that the run was trained from is read again, with the same split, and `part` is
    `test` unless named. With other data (a Source, a path, or Data already read) all examples count, unless `part`
    names one of train, valid, calibration, test. The run's own data is known by its fingerprint, however it is named.
    `forward` may be anything that answers as the run's model does: compiled, quantized, exported.
    `answering` says how answers are made, where the task lets that be said.
    Raises LaminaError where the part is empty or an argument is out of range.
    """
    if resamples < 0:
        raise LaminaError(f"resamples: expected 0 or more; got {resamples}")
    if not 0 < confidence < 1:
        raise LaminaError(f"confidence: expected a number between 0 and 1; got {confidence}")
    if seed < 0:
        raise LaminaError(f"seed: expected a whole number from 0; got {seed}")
    if batch_size != "auto" and batch_size < 1:
        raise LaminaError(f"batch_size: expected 1 or more, or auto; got {batch_size}")
    run = run.answering(**answering) if answering else run
    examples, part, data = examples_of(run, source, part)
    group = data.about.get("group")
    count = length(examples)
    if forward is None:
        forward = run.forward(device=device, precision=precision)
    from lamina.terminal import progress

    with progress("evaluating", count) as advance:
        metrics, predictions = asked(run.task, forward, examples, batch_size, advance)
    details = run.task.details(examples, predictions)
    draws = resample(
        run.task, examples, predictions, resamples if count > 1 else 0, seed, groups=examples[group] if group else None
    )
    made = next((len(values) for values in draws.values()), 0)
    return Evaluation(
        metrics={name: interval(value, draws.get(name), confidence) for name, value in metrics.items()},
        details=details,
        count=count,
        part=part,
        resamples=made,
        confidence=confidence,
        fingerprint=data.fingerprint,
        group=group,
        examples=examples,
        predictions=predictions,
        draws=draws,
    )


def examples_of(run: Run, source: Any, part: str | None) -> tuple[Columns, str, Data]:
    """The examples to evaluate on, the name of their part, and the data that they are of."""
    from lamina.data.source import PARTS, Data, Source

    if part is not None and part not in (*PARTS, "all"):
        raise LaminaError(f"part: expected one of {', '.join(PARTS)}, all; got {part!r}")
    if source is None:
        data = run.data()
    elif isinstance(source, Data):
        data = source
    else:
        data = run.task.read(source if isinstance(source, Source) else replace(run.source(), data=source))
    if part is None:
        own = source is None or (data.fingerprint != "" and data.fingerprint == run.info["data"]["fingerprint"])
        part = "test" if own else "all"
    parts = data.parts()
    chosen = joined([parts[name] for name in PARTS if length(parts[name])]) if part == "all" else parts[part]
    if not length(chosen):
        counts = ", ".join(f"{name} {length(columns)}" for name, columns in parts.items())
        raise LaminaError(f"part: expected one that holds examples ({counts}); got {part!r}, which is empty")
    return chosen, part, data


def joined(parts: list[Columns]) -> Columns:
    """The rows of all `parts`, one after another."""
    import numpy as np

    if len(parts) == 1:
        return parts[0]
    together: Columns = {}
    for name in parts[0] if parts else ():
        columns = [part[name] for part in parts]
        if all(isinstance(column, np.ndarray) for column in columns):
            together[name] = np.concatenate(columns)  # type: ignore[assignment, arg-type]
        else:
            together[name] = Chain(columns)  # type: ignore[assignment]
    return together


class Chain:
    """Columns one after another, read no earlier than the columns themselves are."""

    def __init__(self, columns: list[Any]) -> None:
        self.columns = columns
        self.ends = [0]
        for column in columns:
            self.ends.append(self.ends[-1] + len(column))

    def __len__(self) -> int:
        return self.ends[-1]

    def __getitem__(self, index: int) -> Any:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        place = next(i for i, end in enumerate(self.ends[1:]) if index < end)
        return self.columns[place][index - self.ends[place]]

    def __iter__(self) -> Iterator[Any]:
        for column in self.columns:
            yield from column

    def take(self, indices: np.ndarray, /) -> Any:
        return [self[int(i)] for i in indices]


def asked(
    task: Task, forward: Forward, examples: Columns, batch_size: int | Literal["auto"], advance: Callable[[int], None]
) -> tuple[dict[str, float], Columns]:
    """Metrics and predictions; with `auto`, the batch is halved while memory does not suffice."""
    import torch

    size = min(AUTO_BATCH, length(examples)) if batch_size == "auto" else batch_size

    counted = Counted(forward, advance)
    while True:
        try:
            with torch.inference_mode():
                return task.evaluate(counted, examples, size)
        except RuntimeError as error:  # torch.OutOfMemoryError is one; a processor says "can't allocate memory"
            short = isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error)
            if not (short and batch_size == "auto" and size > 1):
                raise
            size //= 2


class Counted:
    """A Forward that tells how many examples it was asked about."""

    def __init__(self, forward: Forward, advance: Callable[[int], None]) -> None:
        self.inner, self.advance = forward, advance

    def __call__(self, *inputs: Any) -> Any:
        output = self.inner(*inputs)
        self.advance(len(inputs[0]))
        return output


def figures(task: Task, examples: Columns, predictions: Columns) -> dict[str, float]:
    """The task's metrics, and `loss` where predictions carry its parts."""
    from lamina.answer import loss_of

    found = task.metrics(examples, predictions)
    return {**found, "loss": loss_of(predictions)} if "loss_total" in predictions else found


def resample(
    task: Task,
    examples: Columns,
    predictions: Columns,
    resamples: int,
    seed: int = 0,
    seconds: float = RESAMPLE_SECONDS,
    groups: Sequence[Any] | None = None,
) -> dict[str, np.ndarray]:
    """Each metric on `resamples` draws with replacement: {name: values (resamples,)}; not-a-number where undefined.

    Fewer draws, at least 100, where all would take longer than `seconds`. Draw r is the same examples for every run.
    groups: whole groups of examples are drawn, as many as there are (the cluster bootstrap: Davison and Hinkley, Bootstrap
    Methods and Their Application, 1997, section 3.8).
    """
    import warnings

    import numpy as np

    if not resamples:
        return {}
    used_examples, used_predictions = used(task, examples, predictions)
    members = members_of(groups) if groups is not None else []
    units = len(members) or length(examples)
    kept: list[dict[str, float]] = []
    began = time.process_time()  # not the clock on the wall: a busy machine shall not change the figures
    wanted = resamples
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # a draw may lack a class
        for draw in range(resamples):
            if draw == 10:  # by now caches are warm
                each = (time.process_time() - began) / draw
                wanted = min(resamples, max(LEAST_RESAMPLES, int(seconds / max(each, 1e-9) / 100) * 100))
            if draw >= wanted:
                break
            rows = np.random.default_rng((seed, draw)).integers(0, units, units)
            if members:
                rows = np.concatenate([members[unit] for unit in rows])
            kept.append(figures(task, take(used_examples, rows), take(used_predictions, rows)))
    names = dict.fromkeys(name for one in kept for name in one)
    return {name: np.asarray([one.get(name, np.nan) for one in kept], dtype=np.float64) for name in names}


def members_of(groups: Sequence[Any]) -> list[np.ndarray]:
    """The rows of each group."""
    import numpy as np

    _, group_of_row = np.unique([str(group) for group in groups], return_inverse=True)
    order = np.argsort(group_of_row, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(group_of_row[order])) + 1)


def used(task: Task, examples: Columns, predictions: Columns) -> tuple[Columns, Columns]:
    """Only the columns that the metrics look at: pictures are not copied a thousand times to judge their labels.

    Lists of plain values become arrays, which are resampled far faster.
    """
    watched = Watched(examples), Watched(predictions)
    figures(task, *watched)  # type: ignore[arg-type]
    return watched[0].seen(), watched[1].seen()


class Watched(Mapping[str, Any]):
    """Columns that note which of them are looked at."""

    def __init__(self, columns: Columns) -> None:
        self.columns = columns
        self.names: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        column = self.columns[name]
        self.names.add(name)
        return column

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __len__(self) -> int:
        return len(self.columns)

    def __contains__(self, name: object) -> bool:
        return name in self.columns

    def seen(self) -> Columns:
        return {name: plain(column) for name, column in self.columns.items() if name in self.names}


def plain(column: Any) -> Any:
    """A list of numbers or of strings as an array; other columns as they are."""
    import numpy as np

    if not isinstance(column, (list, tuple)) or not column:
        return column
    kinds = {type(value) for value in column}
    return np.asarray(column) if len(kinds) == 1 and kinds <= {int, float, bool, str} else column


def interval(value: float, draws: np.ndarray | None, confidence: float) -> dict[str, float | None]:
    """Value with its bounds. Without draws, or where no draw is a number, the bounds are the value itself."""
    import numpy as np

    if not np.isfinite(value):
        return {"value": None, "low": None, "high": None}
    finite = draws[np.isfinite(draws)] if draws is not None else np.empty(0)
    if not len(finite):
        return {"value": float(value), "low": float(value), "high": float(value)}
    low, high = np.quantile(finite, [(1 - confidence) / 2, (1 + confidence) / 2])
    return {"value": float(value), "low": float(low), "high": float(high)}


def print_evaluation(evaluation: Evaluation, name: str) -> None:
    """Tables for people: metrics with their intervals, then the task's own tables."""
    from lamina.terminal import print_table

    percent = f"{100 * evaluation.confidence:g}%"
    rows = [[metric, v["value"], v["low"], v["high"]] for metric, v in evaluation.metrics.items()]
    title = f"{name}: {evaluation.count:,} examples of {evaluation.part}"
    title += f", drawn by {evaluation.group}" if evaluation.group else ""
    print_table(["metric", "value", f"{percent} from", "to"], rows, title)
    for heading, table in evaluation.details.items():
        headers = list(table[0]) if table else []
        if len(headers) > WIDEST:
            print(f"{heading}: a table of {len(headers)} columns, too wide for here; --json and --out hold it")
        elif table:
            print_table(headers, [[row.get(h) for h in headers] for row in table], heading)


def fewer_resamples(evaluation: Evaluation, asked_for: int) -> str | None:
    """A note where the metrics were too slow for all resamples."""
    if evaluation.count < 2 or evaluation.resamples >= asked_for:
        return None
    return (
        f"intervals from {evaluation.resamples} resamples, not {asked_for}: the metrics are slow on {evaluation.count:,} examples"
    )
