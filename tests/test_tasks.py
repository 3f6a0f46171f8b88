"""Every application keeps the contract. A new file in tasks/ is checked here without being named."""

from __future__ import annotations

import pytest

from lamina.check import check_task
from lamina.find import find_task, task_names


@pytest.mark.parametrize("name", task_names())
def test_applications_keep_the_contract(name: str) -> None:
    task = find_task(name)
    assert task.name == name
    problems = check_task(task)
    assert not problems, "\n".join(map(str, problems))
