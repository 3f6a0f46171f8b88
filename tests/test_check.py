"""Planted faults: each is caught by its name, and applications without a fault are not accused."""

from __future__ import annotations

import random
import re
from pathlib import Path

import faults
import numpy as np
import pytest
import torch

from lamina.check import RULES, Problem, check_task, summary
from lamina.find import find_task
from lamina.task import Task

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("task", [faults.Words, faults.Cells, faults.Words(), faults.Cells()], ids=lambda t: str(t)[:24])
def test_correct_tasks_have_no_problem(task: type[Task] | Task) -> None:
    assert check_task(task) == []


@pytest.mark.parametrize(("name", "task"), faults.FAULTS, ids=[f"{n}-{t.__name__}" for n, t in faults.FAULTS])
def test_planted_faults_are_caught_by_name(name: str, task: type[Task]) -> None:
    problems = check_task(task)
    names = [p.name for p in problems]
    assert name in names and len(names) <= 2, "\n".join(map(str, problems))
    for problem in problems:
        assert "Traceback" not in problem.reason and "\n" not in problem.reason and "expected" in problem.reason
