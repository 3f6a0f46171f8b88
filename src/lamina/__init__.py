"""Lamina: from data to a deep-learning model that has answered for itself.

The verbs of the command line are functions here, by the same names:

    run = lamina.train("image-classification", data="flowers/", epochs=5)
    run.predict("rose.jpg"); lamina.evaluate(run); lamina.load("runs/flowers")

Nothing heavy is imported before a function is called.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

# Several functions below are called as the module that they come from. Python binds a module's name in its package
# when it is first imported: these are imported now, so that the functions keep the names whatever is imported later.
import lamina.bench
import lamina.check
import lamina.compare
import lamina.doctor
import lamina.evaluate
import lamina.explain
import lamina.export
import lamina.inspect
import lamina.needs
import lamina.predict
import lamina.report
import lamina.shrink
import lamina.stress
import lamina.tasks
import lamina.train  # noqa: F401

if TYPE_CHECKING:
    from pathlib import Path

    from lamina.check import Problem
    from lamina.compare import Comparison
    from lamina.data.source import Finding, Source
    from lamina.doctor import Diagnosis
    from lamina.evaluate import Evaluation
    from lamina.run import Run
    from lamina.task import Task
    from lamina.verdict import Verdict

__all__ = [
    "bench", "check", "compare", "doctor", "evaluate", "explain", "export", "inspect", "load", "needs", "predict", "report",
    "scan", "shrink", "stress", "tasks", "train",
]  # fmt: skip


def train(task: str | Path | Task, data: Any = None, **fields: Any) -> Run:
    """Train a model and evaluate it. `fields` are the flags of `lamina train TASK`, with underscores.

    task: a name of `lamina tasks`, a .py file holding a Task, or a Task. Raises LaminaError for a person's mistake.
    """
    from lamina.train.api import train

    return train(task, data, **fields)


def load(path: str | Path, task_file: str | Path | None = None) -> Run:
    """Open the run in a folder. `task_file` is the .py file of an application of one's own."""
    from lamina.run import Run

    return Run.load(path, task_file)


def evaluate(run: Run | str | Path, data: Any = None, **options: Any) -> Evaluation:
    """Metrics with confidence intervals; without `data`, on the test part of the run's own. See `lamina.evaluate.evaluate`."""
    from lamina.evaluate import evaluate

    return evaluate(_opened(run), data, **options)


def predict(run: Run | str | Path, inputs: Any, **options: Any) -> Iterator[dict[str, Any]]:
    """One answer an input: files, folders, arrays, rows, or columns by name. See `lamina.predict.predict`."""
    from lamina.predict import predict

    return predict(_opened(run), inputs, **options)


def compare(runs: Sequence[Run | str | Path], data: Any = None, **options: Any) -> Comparison:
    """Runs side by side on the same examples, and whether they differ by more than chance. See `lamina.compare.compare`."""
    from lamina.compare import compare

    return compare([_opened(run) for run in runs], data, **options)


def explain(run: Run | str | Path, inputs: Sequence[Any] = (), data: Any = None, **settings: Any) -> Verdict:
    """What it looked at: in `inputs`, or in examples of its own. `settings` are the flags of `lamina explain`."""
    return _asked("explain", run, data, inputs, **settings)


def inspect(run: Run | str | Path, data: Any = None, **settings: Any) -> Verdict:
    """What is inside: layers, units, gradients, what each depth knows. `settings` are the flags of `lamina inspect`."""
    return _asked("inspect", run, data, **settings)


def stress(run: Run | str | Path, data: Any = None, **settings: Any) -> Verdict:
    """Does it hold up: corruptions, attacks, calibration, unknown inputs, groups. `settings` are the flags of `lamina stress`."""
    return _asked("stress", run, data, **settings)


def needs(run: Run | str | Path, data: Any = None, **settings: Any) -> Verdict:
    """Would more data help; does it overfit; what is wrong with its data. `settings` are the flags of `lamina needs`."""
    return _asked("needs", run, data, **settings)


def shrink(run: Run | str | Path, data: Any = None, **settings: Any) -> Verdict:
    """A smaller run from a run, and what that cost. `settings` are the flags of `lamina shrink`."""
    return _asked("shrink", run, data, **settings)


def export(run: Run | str | Path, data: Any = None, **settings: Any) -> Verdict:
    """A folder that answers without Lamina, proved to answer alike. `settings` are the flags of `lamina export`."""
    return _asked("export", run, data, **settings)


def bench(run: Run | str | Path, others: Sequence[Any] = (), data: Any = None, **settings: Any) -> Verdict:
    """What it costs, and the `others` (runs, exported folders) beside it. `settings` are the flags of `lamina bench`."""
    return _asked("bench", run, data, others, **settings)


def report(run: Run | str | Path, others: Sequence[Any] = (), data: Any = None, **settings: Any) -> Verdict:
    """All of it on one page; `failed` lists the requirements that do not hold. `settings` are the flags of `lamina report`."""
    return _asked("report", run, data, others, **settings)


def _asked(verb: str, run: Run | str | Path, data: Any, inputs: Sequence[Any] = (), **settings: Any) -> Verdict:
    from lamina.ask import ask

    return ask(verb, _opened(run), data, inputs, **settings)


def scan(data: Source | str | Path, **fields: Any) -> list[Finding]:
    """What is wrong with data. `fields` are those of Source, such as `label`."""
    from lamina.data.scan import scan
    from lamina.data.source import Source

    return scan(data if isinstance(data, Source) else Source(data=data, **fields))


def check(task: str | Path | type[Task] | Task, source: Source | None = None) -> list[Problem]:
    """What is wrong with an application: an empty list where it keeps the contract."""
    from pathlib import Path

    from lamina.check import check_task
    from lamina.find import find_task

    return check_task(find_task(task) if isinstance(task, (str, Path)) else task, source)


def doctor() -> Diagnosis:
    """What this machine offers, what is missing, and how to get it."""
    from lamina.doctor import doctor

    return doctor()


def tasks() -> list[type[Task]]:
    """The applications that come with Lamina, by name."""
    from lamina.find import find_task, task_names

    return [find_task(name) for name in task_names()]


def _opened(run: Run | str | Path) -> Run:
    from lamina.run import Run

    return run if isinstance(run, Run) else Run.load(run)
