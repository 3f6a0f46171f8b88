"""Answers to inputs that carry no label: files, folders, tables, standard input, arrays.

The modality of the first input says who reads them: `lamina.modalities.<modality>.gather_inputs`, or `rows.py`
where a modality brings no reader of its own. Inputs are answered
in batches. A batch that cannot be read is read again row by row, so that one bad file costs only its own answer.
"""

from __future__ import annotations

import csv
import importlib
import importlib.util
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lamina.data.columns import length, take
from lamina.errors import LaminaError
from lamina.task import Columns, Forward, Task

if TYPE_CHECKING:
    from lamina.run import Run

AUTO_BATCH = 256


def predict(
    run: Run,
    inputs: Sequence[Any] | Columns,
    batch_size: int | Literal["auto"] = "auto",
    strict: bool = True,
    forward: Forward | None = None,
    device: str = "auto",
    precision: str | None = None,
) -> Iterator[dict[str, Any]]:
    """One answer an input, in order: {"source": its name, **what the task answers}.

    inputs: what the modality reads (files, folders, `-` for standard input, arrays, rows), or columns by name.
    strict: raise LaminaError at the first input that cannot be read. Otherwise it is answered with
    {"source", "error"}, and the others are answered all the same.
    Raises LaminaError where there is nothing to answer.
    """
    if batch_size != "auto" and batch_size < 1:
        raise LaminaError(f"batch_size: expected 1 or more, or auto; got {batch_size}")
    size = AUTO_BATCH if batch_size == "auto" else batch_size
    gathered = list(gather(run.task, inputs, strict))
    if not gathered:
        raise LaminaError("predict: expected at least one input; got none")
    if forward is None and any(not isinstance(part, Unread) for part in gathered):
        forward = run.forward(device=device, precision=precision)
    return _answers(run.task, forward, gathered, size, strict)


class Unread:
    """An input that could not be found or read at all, and why."""

    def __init__(self, source: str, error: str) -> None:
        self.source = source
        self.error = error


def gather(task: Task, inputs: Sequence[Any] | Columns, strict: bool) -> Iterator[Columns | Unread]:
    """The inputs as columns. Where they cannot be gathered together, each is gathered alone, unless `strict`."""
    if isinstance(inputs, Mapping):
        missing = [name for name in task.asks if name not in inputs]
        if missing:
            raise LaminaError(f"inputs: expected the columns {', '.join(task.asks)}; {missing[0]!r} is missing")
        names = inputs.get("source", [f"row {i + 1}" for i in range(length(inputs))])
        yield {**inputs, "source": names}
        return
    gather_inputs = reader(task.inputs[0].modality)
    for sources in _apart(inputs):
        try:
            columns = gather_inputs(sources, task.asks)
            if strict:
                for why in filter(None, columns.get("unread", ())):
                    raise LaminaError(why)
            yield columns
        except LaminaError as error:
            if strict:
                raise
            if len(sources) == 1:
                yield Unread(str(sources[0]), str(error))
                continue
            for source in sources:
                yield from gather(task, [source], strict)


def reader(modality: str) -> Callable[[Sequence[Any], Sequence[str]], Columns]:
    """Who reads the inputs of a modality: its own module, or where it has none, rows with the columns that are asked for."""
    own = importlib.util.find_spec(f"lamina.modalities.{modality}")
    return importlib.import_module(own.name if own else "lamina.modalities.rows").gather_inputs


def _apart(inputs: Sequence[Any]) -> Iterator[list[Any]]:
    """Inputs in groups to be gathered together; standard input stands alone, since it can be read only once."""
    group: list[Any] = []
    for source in inputs:
        if isinstance(source, str) and source == "-":
            if group:
                yield group
            yield [source]
            group = []
        else:
            group.append(source)
    if group:
        yield group


def _answers(
    task: Task, forward: Forward | None, gathered: Iterable[Columns | Unread], size: int, strict: bool
) -> Iterator[dict[str, Any]]:
    import numpy as np

    for part in gathered:
        if isinstance(part, Unread) or forward is None:
            yield {"source": part.source, "error": part.error} if isinstance(part, Unread) else {}
            continue
        for start in range(0, length(part), size):
            rows = take(part, np.arange(start, min(start + size, length(part))))
            yield from _answered(task, forward, rows, strict)


def _answered(task: Task, forward: Forward, rows: Columns, strict: bool) -> Iterator[dict[str, Any]]:
    """The answers to one batch, the rows that cannot be encoded told apart."""
    import torch

    names = [str(name) for name in rows["source"]]
    asked = {name: column for name, column in rows.items() if name in task.asks}
    errors = {row: why for row, why in enumerate(rows.get("unread", ())) if why is not None}
    good = [row for row in range(len(names)) if row not in errors]
    try:
        batch = task.encode(take(asked, good) if errors else asked, "predict") if good else None
    except LaminaError:
        if strict:
            raise
        readable = []
        for row in good:
            try:
                task.encode(take(asked, [row]), "predict")
                readable.append(row)
            except LaminaError as error:
                errors[row] = str(error).removeprefix("row 1, ")  # it was alone, and is named by its source
        if readable == good:  # the fault is of the batch, not of a row
            raise
        batch = task.encode(take(asked, readable), "predict") if readable else None
    answers: Iterator[dict[str, Any]] = iter(())
    if batch is not None:
        with torch.inference_mode():
            answers = iter(task.predict(forward, batch))
    for row, name in enumerate(names):
        yield {"source": name, "error": errors[row]} if row in errors else {"source": name, **next(answers)}


def flat(answer: Mapping[str, Any]) -> dict[str, Any]:
    """An answer as cells of a table: what is nested is written as JSON."""
    from lamina.terminal import jsonable

    plain = jsonable(answer)
    return {name: json.dumps(v, ensure_ascii=False) if isinstance(v, (dict, list)) else v for name, v in plain.items()}


def brief(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The cells that fit on a terminal: what is nested is left to `--json`."""
    return {name: value for name, value in answer.items() if not isinstance(value, (dict, list, tuple))}


def check_answers_out(out: str | None) -> None:
    """Raises LaminaError where answers cannot be written to `out`: told before they are made, which may take long."""
    from lamina.train.options import expect_place

    if out is None:
        return
    if Path(out).suffix not in (".jsonl", ".ndjson", ".csv", ".tsv"):
        raise LaminaError(f"out: expected a file that ends in .jsonl, .csv or .tsv; got {out!r}")
    expect_place(Path(out))


def write_answers(answers: Iterable[Mapping[str, Any]], path: Path) -> int:
    """Write answers to a .jsonl or .csv file, whole or not at all; returns how many.

    Raises LaminaError where the ending is another.
    """
    from lamina.files import write_bytes
    from lamina.terminal import jsonable

    check_answers_out(str(path))
    rows = list(answers)
    if path.suffix in (".jsonl", ".ndjson"):
        text = "".join(json.dumps(jsonable(row), ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
    else:
        text = separated([flat(row) for row in rows], "," if path.suffix == ".csv" else "\t")
    write_bytes(path, text.encode(errors="backslashreplace"))  # a file's name need not be text
    return len(rows)


def separated(rows: Sequence[Mapping[str, Any]], by: str, header: bool = True) -> str:
    """Rows as comma- or tab-separated lines under the union of their names."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)), delimiter=by, lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def print_answers(answers: Iterable[Mapping[str, Any]]) -> None:
    """A table on a terminal; elsewhere tab-separated lines under a header, for `cut`, `sort` and spreadsheets."""
    import sys

    from lamina.terminal import jsonable, print_table

    rows = (brief(answer) for answer in answers)
    if sys.stdout.isatty():
        listed = list(rows)
        if listed:
            headers = list(listed[0])
            print_table(headers, [[row.get(h) for h in headers] for row in listed])
        return
    first = True
    for row in rows:
        print(separated([jsonable(row)], "\t", header=first), end="", flush=True)
        first = False
