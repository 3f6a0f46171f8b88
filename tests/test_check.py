"""Planted faults: each is caught by its name, and applications without a fault are not accused."""

from __future__ import annotations

import dataclasses
import random
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import faults  # noqa: F401 - plants its faults
import more_faults  # noqa: F401
from faultless import FAULTS, Cells, Words
from lamina.check import RULES, Problem, check_task, order, summary
from lamina.find import find_task
from lamina.task import Task

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("task", [Words, Cells])
def test_correct_tasks_have_no_problem(task: type[Task]) -> None:
    assert check_task(task) == []


@pytest.mark.parametrize(("name", "task"), FAULTS, ids=[f"{n}-{t.__name__}" for n, t in FAULTS])
def test_planted_faults_are_caught_by_name(name: str, task: type[Task]) -> None:
    problems = check_task(task)
    names = [p.name for p in problems]
    assert name in names and len(names) <= 2, "\n".join(map(str, problems))
    for problem in problems:
        assert "Traceback" not in problem.reason and "\n" not in problem.reason and "expected" in problem.reason


def test_every_rule_has_a_planted_fault() -> None:
    assert set(RULES) - {name for name, _ in FAULTS} == {"check-stopped"}  # which is planted below


def test_a_check_that_stops_is_words_and_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def crashes(walk: object) -> None:
        raise ZeroDivisionError("by surprise")

    monkeypatch.setattr(order, "CHECKS", (crashes, *order.CHECKS))
    broken = next(task for name, task in FAULTS if name == "metrics-order")
    assert [p.name for p in check_task(broken)] == ["check-stopped", "metrics-order"]


def test_a_problem_names_the_line_of_the_users_file() -> None:
    broken = next(task for name, task in FAULTS if name == "target-fails")
    (problem,) = check_task(broken)
    assert problem.method == "target" and "KeyError" in problem.reason
    assert re.search(r"more_faults\.py, line \d+", problem.reason)
    assert str(problem).startswith("target-fails (target): expected")


def test_independent_faults_are_all_found() -> None:
    def two(self: Task, examples: object, predictions: object) -> dict[str, float]:
        return {"count": 1.0}

    broken = next(task for name, task in FAULTS if name == "augment-out-of-range")
    task = type("Two", (broken,), {"metrics": two, "__module__": broken.__module__})
    assert {p.name for p in check_task(task)} == {"augment-out-of-range", "metrics-order"}


def test_global_randomness_is_left_as_it_was() -> None:
    def draws() -> list[float]:
        return [random.random(), float(np.random.rand()), float(torch.rand(()))]  # noqa: NPY002

    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(3)
    want = draws()
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(3)
    check_task(Cells)
    assert draws() == want


def test_an_instance_is_not_changed() -> None:
    task = Words()
    assert check_task(task) == [] and task == Words()


def test_summary_walks_the_steps() -> None:
    lines = summary(Words).splitlines()
    for step in ("read", "inputs", "encode", "model", "output", "loss", "predict", "metrics", "learns"):
        assert any(line.split()[:1] == [step] for line in lines), step
    assert lines[-1] == "no problem found"
    broken = next(task for name, task in FAULTS if name == "metrics-order")
    assert summary(broken).splitlines()[-1].startswith("metrics-order (metrics): ")


def test_problems_are_values() -> None:
    assert Problem("learns", "expected") == Problem("learns", "expected", None)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", name) for name in RULES)


def test_the_example_in_contributing_keeps_the_contract(tmp_path: Path) -> None:
    code = re.search(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.S)
    assert code and len(code.group(1).splitlines()) <= 75
    path = tmp_path / "my_task.py"
    path.write_text(code.group(1), encoding="utf-8")
    try:
        assert check_task(find_task(path)) == []
    finally:
        sys.modules.pop("lamina_application_my_task", None)


def test_the_page_lists_every_rule() -> None:
    page = (ROOT / "docs" / "add-an-application.md").read_text(encoding="utf-8")
    for name, rule in RULES.items():
        assert f"| `{name}` | {rule} |" in page, name


@dataclasses.dataclass(frozen=True)
class Perplexing(Words):
    """Judged by its losses alone."""

    @property
    def headline(self):
        return "perplexity", "min"

    def metrics(self, examples, predictions):
        return {"perplexity": float(np.exp(np.sum(predictions["loss_total"]) / np.sum(predictions["loss_count"])))}


def test_a_headline_made_of_losses_is_not_blind() -> None:
    assert check_task(Perplexing) == []


@dataclasses.dataclass(frozen=True)
class Unmarked(Words):
    def read(self, source):
        return dataclasses.replace(super().read(source), fingerprint="")


def test_data_without_a_fingerprint_are_named() -> None:
    (problem,) = check_task(Unmarked)
    assert problem.name == "read-random" and "split_columns gives one" in problem.reason
