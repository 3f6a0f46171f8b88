"""Does an application keep the contract? `check_task` walks real examples through it and says in words what to change.

Public, like scikit-learn's `check_estimator`: run it on an application of your own, with its demo data or yours. The
checks are grouped by the step of the contract that they look at; each is a function of the walk that notes problems.
A step that fails is noted once, and what builds on it is skipped; everything else is still checked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamina.check.problem import RULES, Broken, Problem
from lamina.data.source import Source
from lamina.task import Task

if TYPE_CHECKING:  # `import lamina` imports this package, and must not wait for torch
    from lamina.check.walk import Walk

__all__ = ["RULES", "Problem", "check_task", "summary"]


def check_task(task: type[Task] | Task, source: Source | None = None) -> list[Problem]:
    """What is wrong with an application: no problem, an empty list. Global randomness is left as it was.

    `task` is the class, or an instance with other hyperparameters than the defaults. Without a source, its own demo
    data is read. A name stands once in the list, with the first reason found for it. Raises nothing for a broken task.
    """
    return walked(task, source).problems


def summary(task: type[Task] | Task, source: Source | None = None) -> str:
    """A few examples walked through the application, a line a step, and then the problems: for people."""
    walk = walked(task, source)
    lines = [f"{step:>8}  {seen}" for step, seen in walk.seen.items()]
    lines += ["", *(str(problem) for problem in walk.problems)] if walk.problems else ["", "no problem found"]
    return "\n".join(lines)


def walked(task: type[Task] | Task, source: Source | None) -> Walk:
    """The walk after every check."""
    from lamina.check.order import CHECKS
    from lamina.check.walk import Walk, seeded

    walk = Walk(task, source)
    with seeded(0):
        for check in CHECKS:
            try:
                check(walk)
            except Broken:
                continue  # noted where it broke
            except Exception as error:  # a task can be wrong in ways that no check foresaw: still words, no traceback
                walk.problem("check-stopped", f"the check {check.__name__!r} could not be carried out: {walk.told(error)}")
    return walk
