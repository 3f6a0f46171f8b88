"""What an application declares, reads, and learns before any weight does."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lamina.check.problem import Broken
from lamina.check.walk import Walk, alike, parts, same_dicts, seeded, whole, word
from lamina.data.columns import length, take
from lamina.data.source import Data
from lamina.export.graph import varying
from lamina.task import Task

MODALITIES = ("image", "audio", "text", "table", "observation", "side")
UNSEEN = "a value that is nowhere else"


def is_frozen(walk: Walk) -> None:
    given = walk.given if isinstance(walk.given, type) else type(walk.given)
    own = [n for n, a in vars(given).get("__annotations__", {}).items() if not str(a).startswith(("ClassVar", "typing.ClassVar"))]
    if own and "__dataclass_fields__" not in vars(given):
        walk.problem(
            "frozen", f"expected @dataclass(frozen=True) above class {given.__name__}: without it {own} are no hyperparameters"
        )


def is_declared(walk: Walk) -> None:
    task, data = walk.task, walk.data
    name, headline = type(task).name, task.headline
    if not name or name != name.lower() or "_" in name or " " in name:
        walk.problem(
            "undeclared", "expected `name` in kebab-case, such as 'image-classification'", f"got {name!r}", method="name"
        )
    if not (isinstance(headline, tuple) and len(headline) == 2 and headline[1] in ("max", "min")):
        walk.problem(
            "undeclared", "expected `headline` to be a metric and 'max' or 'min'", f"got {headline!r}", method="headline"
        )
    for what in ("inputs", "asks", "labels"):
        value = read_property(walk, task, what)
        if not isinstance(value, tuple) or (not value and what != "labels"):
            walk.problem("undeclared", f"expected `{what}` to be a tuple that is not empty; got {word(value)}", method=what)
            raise Broken
    for spec in task.inputs:
        if not spec.dims or spec.dims[0] != "B" or spec.modality not in MODALITIES:
            want = f"expected dims that start with 'B', and a modality among {', '.join(MODALITIES)}"
            walk.problem("undeclared", f"input {spec.name!r}: {want}", f"got {spec.dims} and {spec.modality!r}", method="inputs")
    absent = [a for a in task.asks if a not in data.train]
    if absent:
        walk.problem(
            "asks-missing", f"expected the columns in asks, {task.asks}, among those of read", f"{absent} are not", method="asks"
        )
    limits = read_property(walk, task, "sizes")
    unlimited = sorted(d for d in varying(task) if not (isinstance(limits.get(d), tuple) and len(limits[d]) == 2))
    if unlimited:
        want = f"expected `sizes` to give (least, greatest) for {unlimited}"
        walk.problem("undeclared-size", f"{want}; got {task.sizes}", method="sizes")
    shapes = ", ".join(f"{i.name} {i.dtype} ({', '.join(map(str, i.dims))})" for i in task.inputs)
    walk.seen["inputs"] = f"{shapes}; asks {', '.join(task.asks)}; labels {', '.join(task.labels)}"


def read_property(walk: Walk, task: Task, name: str) -> Any:
    try:
        return getattr(task, name)
    except Exception as error:
        walk.problem("undeclared", f"expected `{name}` to be declared; {walk.told(error)}", method=name)
        raise Broken from error


def reads_the_same(walk: Walk) -> None:
    first = walk.data
    again = walk.attempt("read", lambda: walk.plain.read(walk.source), "a second time")
    if not first.fingerprint:
        want = "expected a fingerprint, by which changed data are known; read gave none"
        walk.problem("read-random", f"{want}: split_columns gives one", method="read")
    elif sizes(again) != sizes(first) or again.fingerprint != first.fingerprint:
        want = f"expected the same parts and fingerprint when the same data is read again ({sizes(first)}, {first.fingerprint!r})"
        walk.problem(
            "read-random", f"{want}; got {sizes(again)}, {again.fingerprint!r}: split by the source's split_seed", method="read"
        )


def sizes(data: Data) -> dict[str, int]:
    return {name: length(columns) for name, columns in data.parts().items()}


def prepare_changes_nothing(walk: Walk) -> None:
    before = fields(walk.plain)
    _ = walk.task
    changed = [name for name, value in fields(walk.plain).items() if value != before[name]]
    if changed:
        advice = "return dataclasses.replace(self, ...)"
        walk.problem(
            "frozen",
            f"expected prepare to leave the task it was called on as it was; it changed {changed}: {advice}",
            method="prepare",
        )


def fields(task: Task) -> dict[str, str]:
    return {f.name: repr(getattr(task, f.name, None)) for f in dataclasses.fields(task)}


def prepare_sees_train_alone(walk: Walk) -> None:
    """Other parts are replaced, first by training rows and then by values seen nowhere: nothing learned may change."""
    data, plain = walk.data, walk.plain
    learned = learned_by(walk, walk.task)
    with seeded(1):
        again = walk.attempt("prepare", lambda: plain.prepare(data), "a second time")
    if learned_by(walk, again) != learned:
        walk.problem(
            "prepare-random", "expected prepare to learn the same from the same data; two calls differ", method="prepare"
        )
        return
    part = take(data.train, [0] * min(8, length(data.train)))
    for other in (part, {name: garbled(column, data.train[name]) for name, column in part.items()}):
        replaced = dataclasses.replace(data, valid=other, calibration=other, test=other)
        try:
            prepared = plain.prepare(replaced)
        except Exception:  # a task may refuse what it has never seen: that is not learning from it
            continue
        if learned_by(walk, prepared) != learned:
            want = "expected prepare to learn from data.train alone"
            got = f"what it learned changed with the other parts ({differing(walk.task, prepared)})"
            walk.problem("prepare-peeks", f"{want}; {got}", method="prepare")
            return


def differing(a: Task, b: Task) -> str:
    names = [name for name in fields(a) if fields(a)[name] != fields(b)[name]]
    return ", ".join(names) or "its saved state"


def garbled(column: Any, train: Any) -> Any:
    """Values that are not in the training part, where a value of the kind can be made up."""
    if isinstance(column, np.ndarray) and column.ndim == 1 and column.dtype.kind in "if":
        return column * 0 + np.asarray(train).max() + 7
    values = [column[i] for i in range(len(column))]
    if all(isinstance(v, str) for v in values) and not is_path(values[0]):
        return [f"{UNSEEN} {i}" for i in range(len(values))]
    if all(type(v) in (int, float) for v in values):
        return [max(train[i] for i in range(len(train))) + 7 + i for i in range(len(values))]
    return column


def is_path(text: str) -> bool:
    try:
        return Path(text).exists()
    except OSError:  # a text longer than a name may be
        return False


def learned_by(walk: Walk, task: Task) -> dict[str, bytes]:
    """The files that `save_processor` writes."""
    if walk.found("state-not-json"):
        raise Broken
    with tempfile.TemporaryDirectory() as folder:
        walk.attempt("state", lambda: task.save_processor(Path(folder)), "(save_processor)")
        return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(Path(folder).rglob("*")) if p.is_file()}


def state_is_json(walk: Walk) -> None:
    task = walk.task
    if type(task).save_processor is not Task.save_processor:
        return  # it keeps files of its own
    try:
        json.dumps(task.state(), allow_nan=False)
    except Exception as error:
        bad = [name for name, value in task.state().items() if not is_json(value)]
        advice = "turn arrays into lists, or override state and with_state"
        walk.problem(
            "state-not-json", "expected what prepare learned to be JSON", f"{bad} is not ({error}): {advice}", method="prepare"
        )


def is_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True


def state_travels(walk: Walk) -> None:
    """Saved, and loaded into a task that has only its hyperparameters, it must do all that the prepared one does."""
    if walk.found("state-not-json", "state-fails", "frozen"):
        raise Broken
    task = walk.task
    with tempfile.TemporaryDirectory() as folder:
        walk.attempt("state", lambda: task.save_processor(Path(folder)), "(save_processor)")
        plain = walk.attempt("state", lambda: type(task)(**task.hyperparameters()), "(the hyperparameters alone)")
        loaded = walk.attempt("state", lambda: plain.load_processor(Path(folder)), "(load_processor)")
    for what, differs in travelled(walk, loaded).items():
        try:
            lost = differs()
        except Broken:
            continue  # the prepared task does not do this either
        except Exception as error:
            lost = walk.told(error)
        if lost:
            advice = "mark fields that prepare fills with learned(...), and let with_state invert state"
            reason = f"expected a task that was saved and loaded to give the same {what}; {lost}: {advice}"
            walk.problem("state-lost", reason, method="save_processor")
            return


def travelled(walk: Walk, loaded: Task) -> dict[str, Callable[[], str | None]]:
    """What is compared -> how the loaded task differs, in words, or None."""
    task = walk.task

    def declared() -> str | None:
        now, then = repr(loaded.inputs).replace("[", "(").replace("]", ")"), repr(task.inputs).replace("[", "(").replace("]", ")")
        return None if now == then else f"inputs were {word(task.inputs)} and are {word(loaded.inputs)}"

    def encoded() -> str | None:
        with seeded(0):
            batch = walk.batch
            name = None if walk.found("encode-random") else same_dicts(loaded.encode(walk.rows, "evaluate"), batch)
        return None if name is None else f"batch[{name!r}] differs"

    def said() -> str | None:
        weights, want = walk.model.state_dict(), walk.output
        if walk.found("random-at-evaluation"):
            return None
        model = loaded.model().eval()
        model.load_state_dict(weights)
        with torch.no_grad():
            output = loaded.outputs(model, walk.batch)
        name = same_dicts(parts(output), want)
        return None if name is None else f"output {name} differs though the weights are the same"

    def answered() -> str | None:
        def forward(*_: Any) -> Any:
            return whole(walk.output)

        if walk.found("predict-fails", "not-json", "predict-random"):
            return None
        with seeded(0):
            want = task.predict(forward, walk.batch)
        with seeded(0):
            now = loaded.predict(forward, walk.batch)
        return None if alike(now, want) else "answers differ though the output is the same"

    return {"inputs": declared, "batch": encoded, "output": said, "answers": answered}


def unchanged(walk: Walk) -> None:
    """After everything else: no method has changed the prepared task."""
    if walk.found("state-not-json", "state-fails", "prepare-random", "prepare-fails", "frozen"):
        raise Broken
    again = walk.attempt("prepare", lambda: walk.plain.prepare(walk.data), "a third time")
    if learned_by(walk, again) != learned_by(walk, walk.task):
        walk.problem("frozen", f"expected no method to change the task; {differing(again, walk.task)} has changed")


CHECKS = (
    is_frozen, prepare_changes_nothing, is_declared, reads_the_same, state_is_json, prepare_sees_train_alone,
)  # fmt: skip
