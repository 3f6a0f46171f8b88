"""What all tests share."""

from __future__ import annotations

import pytest

BEING_BUILT = ("text-generation", "translation")
"""Applications that do not answer every question yet: a test over all applications may fail for them, and is told as such."""
OVER_ALL = ("test_tasks.py", "test_verbs.py", "test_learns.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.name in OVER_ALL and any(name in item.name for name in BEING_BUILT):
            item.add_marker(pytest.mark.xfail(reason="this application is being built", strict=False))
