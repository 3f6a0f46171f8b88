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
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from lamina.answer import Once
from lamina.data.columns import length, take
from lamina.errors import LaminaError
from lamina.task import Batch, Columns, Forward, Streaming, Task, arrays_of, asking

if TYPE_CHECKING:
    from lamina.decode.known import Known
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
    sets: bool = False,
    **answering: Any,
) -> Iterator[dict[str, Any]]:
    """One answer an input, in order: {"source": its name, **what the task answers}.

    Where `stress` has fitted the run to tell unknown inputs, an answer holds `unknown` and `unfamiliarity` too. With `sets`
    it holds what `stress` calibrated a promise for: a `set` of labels, or the bounds `low` and `high` of a number.

    inputs: what the modality reads (files, folders, `-` for standard input, arrays, rows), or columns by name.
    strict: raise LaminaError at the first input that cannot be read. Otherwise it is answered with
    {"source", "error"}, and the others are answered all the same.
    answering: how answers are made, where the task lets that be said: `temperature=0.7`, `beams=4`.
    Raises LaminaError where there is nothing to answer, or `sets` are asked for and nothing was promised.
    """
    if batch_size != "auto" and batch_size < 1:
        raise LaminaError(f"batch_size: expected 1 or more, or auto; got {batch_size}")
    size = AUTO_BATCH if batch_size == "auto" else batch_size
    run = run.answering(**answering) if answering else run
    gathered = begun(gather(run.task, inputs, strict))
    opened = (lambda: run.forward(device=device, precision=precision)) if forward is None else (lambda: forward)
    return _answers(run.task, opened, gathered, size, strict, Trust(run.known(), run.promise() if sets else None))


def begun(gathered: Iterator[Columns | Unread]) -> Iterator[Columns | Unread]:
    """The same, the first of it read already: what is wrong with it is told at once. Raises LaminaError where there is none."""
    first = next(gathered, None)
    if first is None:
        raise LaminaError("predict: expected at least one input; got none")
    return itertools.chain([first], gathered)


def streams(run: Run) -> bool:
    """Whether the run's answers can be told while they are written."""
    serving = run.task.serving()
    return serving is not None and isinstance(serving.decoder, Streaming)


def print_stream(run: Run, inputs: Sequence[Any], device: str = "auto", precision: str | None = None) -> None:
    """For a terminal: every input and what follows it, one after another, as it is written."""
    import sys

    import numpy as np

    from lamina.terminal import say_error

    serving = run.task.serving()
    assert serving is not None and isinstance(serving.decoder, Streaming)
    gathered = begun(gather(run.task, inputs, strict=False))
    forward = run.forward(device=device, precision=precision)
    for part in gathered:
        if isinstance(part, Unread):
            raise LaminaError(part.error)
        unread = part.get("unread", [None] * length(part))
        for row in range(length(part)):
            if unread[row] is not None:  # the next line may be better
                say_error(f"{part['source'][row]}: {unread[row]}")
                continue
            alone = take(part, np.asarray([row]))
            batch = run.task.encode({name: column for name, column in alone.items() if name in run.task.asks}, "predict")
            ask = asking(forward, run.task.inputs, batch)
            sys.stdout.write(str(alone[run.task.asks[0]][0]) if serving.decoder.continues else "")
            for _, piece in serving.decoder.stream(ask, arrays_of(batch, run.task.inputs)):
                sys.stdout.write(piece)
                sys.stdout.flush()
            sys.stdout.write("\n")


class Trust(NamedTuple):
    """What `stress` fitted, for answers to carry."""

    known: Known | None = None
    promise: Mapping[str, Any] | None = None


class Unread:
    """An input that could not be found or read at all, and why."""

    def __init__(self, source: str, error: str) -> None:
        self.source = source
        self.error = error


def _is_standard_input(sources: Sequence[Any]) -> bool:
    return len(sources) == 1 and isinstance(sources[0], str) and sources[0] == "-"


def gather(task: Task, inputs: Sequence[Any] | Columns, strict: bool) -> Iterator[Columns | Unread]:
    """The inputs as columns. Where they cannot be gathered together, each is gathered alone, unless `strict`."""
    if isinstance(inputs, Mapping):
        missing = [name for name in task.asks if name not in inputs]
        if missing:
            raise LaminaError(f"inputs: expected the columns {', '.join(task.asks)}; {missing[0]!r} is missing")
        names = inputs.get("source", [f"row {i + 1}" for i in range(length(inputs))])
        yield {**inputs, "source": names}
        return
    gather_inputs = gathering(task)
    for sources in _apart(inputs):
        if _is_standard_input(sources) and task.inputs[0].modality == "text" and len(task.asks) == 1:
            yield from arriving(task.asks[0], strict)
            continue
        try:
            columns = gather_inputs(sources)
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


def arriving(column: str, strict: bool) -> Iterator[Columns]:
    """Texts on standard input, a text a line, as the lines come: whoever waits for an answer gets it before writing on."""
    from lamina.modalities.text import arriving_lines

    for columns in arriving_lines(column):
        for why in filter(None, columns.get("unread", ()) if strict else ()):
            raise LaminaError(why)
        yield columns


def gathering(task: Task) -> Callable[[Sequence[Any]], Columns]:
    """How sources become columns: as the task's own reader has it, else as its modality."""
    serving = task.serving()
    if serving is not None:
        return serving.reader.gather
    own, asks = reader(task.inputs[0].modality), task.asks
    return lambda sources: own(sources, asks)


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
    task: Task, opened: Callable[[], Forward], gathered: Iterable[Columns | Unread], size: int, strict: bool, trust: Trust
) -> Iterator[dict[str, Any]]:
    import numpy as np

    forward: Forward | None = None
    for part in gathered:
        if isinstance(part, Unread):
            yield {"source": part.source, "error": part.error}
            continue
        forward = forward or opened()
        for start in range(0, length(part), size):
            rows = take(part, np.arange(start, min(start + size, length(part))))
            yield from _answered(task, forward, rows, strict, trust)


def _answered(task: Task, forward: Forward, rows: Columns, strict: bool, trust: Trust) -> Iterator[dict[str, Any]]:
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
        errors |= refused(task, asked, good)
        readable = [row for row in good if row not in errors]
        if readable == good:  # the fault is of the batch, not of a row
            raise
        batch = task.encode(take(asked, readable), "predict") if readable else None
    answers: Iterator[dict[str, Any]] = iter(())
    if batch is not None:
        with torch.inference_mode():
            answers = iter(told(task, forward, batch, trust))
    for row, name in enumerate(names):
        yield {"source": name, "error": errors[row]} if row in errors else {"source": name, **next(answers)}


def refused(task: Task, columns: Columns, rows: Iterable[int]) -> dict[int, str]:
    """Why, of each of these rows that a client may not ask about."""
    asked, errors = {name: column for name, column in columns.items() if name in task.asks}, {}
    for row in rows:
        try:
            task.encode(take(asked, [row]), "predict")
        except LaminaError as error:
            errors[row] = str(error).removeprefix("row 1, ")  # it was alone, and is named by its source
    return errors


def told(task: Task, forward: Forward, batch: Batch, trust: Trust) -> list[dict[str, Any]]:
    """The answers of the task, each with what `trust` adds. It looks at the last output that the task asked for."""
    if trust == Trust():
        return task.predict(forward, batch)
    once = Once(forward)  # nothing is computed twice
    answers = task.predict(once, batch)
    said = once.said if isinstance(once.said, dict) else {}
    known = trust.known
    if known is not None and all(key in said and len(said[key]) == len(answers) for key in known.needs):
        logits, features = (said[key].float().cpu().numpy() if key in said else None for key in ("logits", "features"))
        answers = [{**answer, **more} for answer, more in zip(answers, known.answers(logits, features), strict=True)]
    return answers if trust.promise is None else promised(task, once, batch, answers, trust.promise)


def promised(
    task: Task, forward: Forward, batch: Batch, answers: list[dict[str, Any]], promise: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Answers with a `set` of labels, or with `low` and `high` around the number that the model says."""
    from lamina.decode.conformal import names_held

    cut = promise["cut"]
    if promise["kind"] == "set":
        return [
            {**a, "set": names_held(a["probabilities"], cut)} if isinstance(a.get("probabilities"), dict) else a for a in answers
        ]
    value_B = next(value for name, value in task.target(forward, batch).items() if name in task.labels).tolist()
    return [{**a, "low": value - cut, "high": value + cut} for a, value in zip(answers, value_B, strict=True)]


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
