"""The walk of a few real examples through an application: each step is made once, and a failed step is noted once."""

from __future__ import annotations

import inspect
import math
import random
import re
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from lamina.check.problem import RULES, Broken, Problem
from lamina.data.columns import length, take
from lamina.data.source import Data, Source
from lamina.export.graph import varying
from lamina.task import Batch, Columns, Output, Task

ROWS = 6
"""Examples that are walked through: few, because each is also walked alone."""
CANDIDATES = 24
"""Examples among which the shortest and the longest are looked for, and on which a model is trained for a few steps."""
METHODS = {"forward": "model", "state": "save_processor"}
"""The method to change, for steps that are not called as their method."""
T = TypeVar("T")


class Walk:
    """One application, what has been made of it so far, and what was found wrong."""

    def __init__(self, task: type[Task] | Task, source: Source | None) -> None:
        self.given = task
        self.source = source or Source()
        self.problems: list[Problem] = []
        self.seen: dict[str, str] = {}
        """What each step gave, in words."""
        self._made: dict[str, Any] = {}

    def problem(self, name: str, *said: str, method: str | None = None) -> None:
        """Note a problem: what was expected, what came, and advice. The first of each name is enough."""
        assert name in RULES, name
        if not self.found(name):
            self.problems.append(Problem(name, re.sub(" +", " ", "; ".join(said)), method))

    def found(self, *names: str) -> bool:
        return any(p.name in names for p in self.problems)

    def attempt(self, step: str, call: Callable[[], T], when: str = "") -> T:
        """Call the user's code. Where it fails, note `<step>-fails` in words and raise Broken."""
        try:
            return call()
        except Broken:
            raise
        except Exception as error:
            want = f"expected {step} to work{f' {when}' if when else ''}"
            self.problem(f"{step}-fails", want, self.told(error), method=METHODS.get(step, step))
            raise Broken from error

    def told(self, error: BaseException) -> str:
        """An exception in one line, with the line of the user's file."""
        lines = str(error).strip().splitlines()
        file = inspect.getsourcefile(self.given if isinstance(self.given, type) else type(self.given))
        at = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
        where = f" ({Path(file).name}, line {at[-1]})" if file and at else ""
        return f"it stopped with {type(error).__name__}: {lines[0][:300] if lines else ''}{where}"

    def once(self, name: str, make: Callable[[], T]) -> T:
        """`make()` the first time, remembered; a failure is remembered as well."""
        if name not in self._made:
            try:
                self._made[name] = make()
            except Broken as broken:
                self._made[name] = broken
        value = self._made[name]
        if isinstance(value, Broken):
            raise Broken from value
        return value

    # The steps.

    @property
    def plain(self) -> Task:
        """The task before `prepare`."""
        return self.once("plain", self._plain)

    def _plain(self) -> Task:
        if isinstance(self.given, Task):
            return self.given
        try:
            return self.given()
        except Exception as error:
            self.problem("no-defaults", f"expected {self.given.__name__}() to need no arguments; {self.told(error)}")
            raise Broken from error

    @property
    def data(self) -> Data:
        return self.once("data", self._data)

    def _data(self) -> Data:
        data = self.attempt("read", lambda: self.plain.read(self.source))
        if not isinstance(data, Data):
            self.problem(
                "read-fails", "expected read to return Data(train, valid, calibration, test)", f"got {word(data)}", method="read"
            )
            raise Broken
        counts = {}
        for name, columns in data.parts().items():
            sizes = {key: len(column) for key, column in columns.items()}
            if len(set(sizes.values())) > 1 or (sizes and set(columns) != set(data.train)):
                want = f"columns of equal length, named {sorted(data.train)} as in train"
                self.problem("unequal-columns", f"expected part {name!r} to have {want}; got {sizes}", method="read")
                raise Broken
            counts[name] = length(columns)
        if counts["train"] < 4:
            self.problem("too-few-examples", "expected at least 4 training examples", f"got {counts['train']}", method="read")
            raise Broken
        self.seen["read"] = f"{', '.join(f'{n} {name}' for name, n in counts.items())}; columns {', '.join(data.train)}"
        return data

    @property
    def task(self) -> Task:
        """The prepared task."""
        return self.once("task", self._task)

    def _task(self) -> Task:
        data = self.data
        prepared = self.attempt("prepare", lambda: self.plain.prepare(data))
        if not isinstance(prepared, type(self.plain)):
            want = f"a {type(self.plain).__name__} (use dataclasses.replace)"
            self.problem("prepare-fails", f"expected prepare to return {want}; got {word(prepared)}", method="prepare")
            raise Broken
        return prepared.briefly()

    @property
    def rows(self) -> Columns:
        """A few training examples, the shortest and the longest of some among them, not in the order of their length."""
        return self.once("rows", self._rows)

    def _rows(self) -> Columns:
        task, some = self.task, self.some
        keep = np.unique(np.linspace(0, length(some) - 1, ROWS).astype(int))
        if varying(task):
            singles = [self.attempt("encode", lambda i=i: task.encode(take(some, [i]), "evaluate")) for i in range(length(some))]
            name = task.inputs[0].name
            sizes = [b[name].numel() if isinstance(b, dict) and isinstance(b.get(name), Tensor) else 0 for b in singles]
            keep = np.argsort(sizes, kind="stable")[keep]
        order = np.random.default_rng(0).permutation(len(keep))
        return take(some, keep[order])

    @property
    def some(self) -> Columns:
        """Training examples evenly spread, for a few steps of training."""
        count = length(self.data.train)
        return take(self.data.train, np.unique(np.linspace(0, count - 1, min(count, CANDIDATES)).astype(int)))

    @property
    def count(self) -> int:
        return length(self.rows)

    @property
    def batch(self) -> Batch:
        """The rows, encoded as for evaluation."""
        return self.once("batch", lambda: self.encoded(self.rows, "evaluate"))

    def encoded(self, columns: Columns, mode: Any, when: str = "") -> Batch:
        """A batch that is known to hold tensors (B, ...) for every input and label."""
        task, count = self.task, length(columns)
        when = when or f"with mode {mode!r} on {count} example{'s' if count > 1 else ''}"
        batch = self.attempt("encode", lambda: task.encode(columns, mode), when)
        if not isinstance(batch, dict):
            self.problem("not-a-tensor", "expected encode to return a dict of tensors", f"got {word(batch)}", method="encode")
            raise Broken
        if mode == "predict":  # a client sends no labels, and side inputs are what predict itself makes
            needed = [i.name for i in task.inputs if i.modality != "side"]
        else:
            needed = [*(i.name for i in task.inputs), *task.labels]
        missing = [name for name in needed if name not in batch]
        if missing:
            self.problem(
                "missing-key", f"expected encode {when} to give {needed}; got {sorted(batch)}, without {missing}", method="encode"
            )
            raise Broken
        for name, value in batch.items():
            if not isinstance(value, Tensor):
                self.problem("not-a-tensor", f"expected batch[{name!r}] to be a tensor", f"got {word(value)}", method="encode")
                raise Broken
            if value.dim() == 0 or len(value) != count:
                want = f"expected batch[{name!r}] to lead with the {count} rows given"
                self.problem("wrong-batch-size", f"{want}; got shape {tuple(value.shape)}", method="encode")
                raise Broken
        return batch

    @property
    def alone(self) -> list[Batch]:
        """Each row encoded by itself."""
        return self.once("alone", lambda: [self.encoded(take(self.rows, [i]), "evaluate") for i in range(self.count)])

    @property
    def model(self) -> nn.Module:
        """The model in evaluation mode, as if it had trained a little: no tensor constant, batch statistics filled in."""
        return self.once("model", self._model)

    def _model(self) -> nn.Module:
        model = self.fresh()
        with torch.no_grad():  # layers that start at zero would hide what lies behind them
            for parameter in model.parameters():
                if parameter.is_floating_point() and parameter.numel() and bool((parameter == parameter.flatten()[0]).all()):
                    parameter.add_(torch.randn_like(parameter) * 0.05)
        norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        momenta = [m.momentum for m in norms]
        for norm in norms:
            norm.momentum = 1.0
        with torch.no_grad():
            self.attempt("forward", lambda: self.task.outputs(model.train(), self.batch), "in training mode")
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        parameters = sum(p.numel() for p in model.parameters())
        self.seen["model"] = f"{type(model).__name__}, {parameters:,} parameters"
        return model.eval()

    def fresh(self) -> nn.Module:
        """A new model, the same each time."""
        with seeded(0):
            model = self.attempt("model", self.task.model)
        if not isinstance(model, nn.Module):
            self.problem("model-fails", f"expected model to return an nn.Module; got {word(model)}", method="model")
            raise Broken
        return model

    @property
    def output(self) -> dict[str, Tensor]:
        """The model's output for the batch, in evaluation mode; a single tensor is named ''."""
        return self.once("output", lambda: self.said(self.batch))

    def said(self, batch: Batch, when: str = "") -> dict[str, Tensor]:
        """The output for `batch` as a dict of tensors (B, ...), checked."""
        model, count = self.model, len(next(iter(batch.values())))
        with torch.no_grad():
            output = self.attempt("forward", lambda: self.task.outputs(model, batch), when)
        for name, value in parts(output).items():
            label = f"output[{name!r}]" if name else "the output"
            if not isinstance(value, Tensor):
                self.problem(
                    "output-not-tensors",
                    f"expected {label} to be a tensor, or a dict of tensors; got {word(value)}",
                    method="model",
                )
                raise Broken
            if value.dim() == 0 or len(value) != count:
                self.problem(
                    "output-leading-dim",
                    f"expected {label} to lead with the {count} rows; got {tuple(value.shape)}",
                    method="model",
                )
                raise Broken
        return parts(output)

    def losses(self, output: dict[str, Tensor], batch: Batch, when: str = "") -> dict[str, tuple[Tensor, Tensor]]:
        """The terms of the loss, each known to be (total (B,), count (B,)). A single term is named ''."""
        terms = self.attempt("loss", lambda: self.task.loss(whole(output), batch), when)
        terms = terms if isinstance(terms, dict) else {"": terms}
        count = len(next(iter(batch.values())))
        for name, pair in terms.items():
            label = f"loss term {name!r}" if name else "loss"
            if not (isinstance(pair, tuple) and len(pair) == 2 and all(isinstance(t, Tensor) for t in pair)):
                self.problem(
                    "loss-wrong-shape", f"expected {label} to be (total, count), two tensors", f"got {word(pair)}", method="loss"
                )
                raise Broken
            for what, value in zip(("total", "count"), pair, strict=True):
                if value.shape == (count,):
                    continue
                if what == "total" and value.dim() == 0:
                    advice = "sum over the items of each example, as with reduction='none' and then .sum over all but the first"
                    self.problem(
                        "loss-averaged", f"expected a total for each of the {count} rows; got one number: {advice}", method="loss"
                    )
                else:
                    self.problem(
                        "loss-wrong-shape",
                        f"expected the {what} of {label} to be ({count},); got {tuple(value.shape)}",
                        method="loss",
                    )
                raise Broken
        return terms


def whole(output: dict[str, Tensor]) -> Output:
    """The inverse of `parts`."""
    return output[""] if set(output) == {""} else output


def parts(output: Any) -> dict[str, Tensor]:
    return output if isinstance(output, dict) else {"": output}


def row(batch: dict[str, Tensor], i: int) -> dict[str, Tensor]:
    """Row i by itself, padding and all."""
    return {name: value[i : i + 1] for name, value in batch.items()}


def word(value: Any) -> str:
    """A value in a few words."""
    if isinstance(value, (Tensor, np.ndarray)):
        return f"a {type(value).__name__} of shape {tuple(value.shape)} and dtype {value.dtype}"
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) < 60 else text[:57] + '...'}"


def same(a: Tensor, b: Tensor) -> bool:
    """Equal, up to what float32 sums differ by when a batch changes; NaN equals NaN."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if not (a.is_floating_point() or a.is_complex()):
        return torch.equal(a, b)
    finite = b[torch.isfinite(b)].abs()
    scale = float(finite.max()) if finite.numel() else 1.0
    return torch.allclose(a, b, rtol=1e-3, atol=1e-4 * scale + 1e-7, equal_nan=True)


def same_dicts(a: dict[str, Tensor], b: dict[str, Tensor]) -> str | None:
    """The name of a tensor that differs, or None. '' is a name."""
    for name in {**a, **b}:
        if name not in a or name not in b or not same(a[name], b[name]):
            return name
    return None


def alike(a: Any, b: Any) -> bool:
    """Equal JSON, numbers up to what float32 sums differ by; NaN equals NaN."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(alike(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(alike(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=1e-3, abs_tol=1e-4) or (math.isnan(a) and math.isnan(b))
    return a == b


def overlap(small: Tensor, large: Tensor) -> bool:
    """Whether `small` is the beginning, or the end, of `large` along every dimension: the rest is padding."""
    if small.dim() != large.dim() or any(s > n for s, n in zip(small.shape, large.shape, strict=True)):
        return False
    first = large[tuple(slice(0, s) for s in small.shape)]
    last = large[tuple(slice(n - s, n) for s, n in zip(small.shape, large.shape, strict=True))]
    return same(small, first) or same(small, last)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, all global randomness starts at `seed`; afterwards it goes on as if nothing had been."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - the global state is what is checked
    with torch.random.fork_rng(devices=[]):
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002
