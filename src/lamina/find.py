"""Applications are found by file name: `image-classification` is `tasks/image_classification.py`. There is no registry."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from lamina.errors import LaminaError
from lamina.task import Task

TASKS = Path(__file__).parent / "tasks"
APPLICATION = "lamina_application_"
"""Begins the module name of an application that was imported from a file of one's own."""


def task_names() -> list[str]:
    """The names of the applications that come with Lamina, in alphabetical order."""
    return sorted(p.stem.replace("_", "-") for p in TASKS.glob("*.py") if not p.stem.startswith("_"))


def find_task(name: str | Path) -> type[Task]:
    """The application called `name`, or the one in the Python file at the path `name`.

    Raises LaminaError where there is none, where the file does not import, or where it holds not exactly one Task.
    """
    text = str(name)
    if text.endswith(".py"):
        return task_in(import_file(Path(text)))
    if text not in task_names():
        raise LaminaError(f"task: expected one of {', '.join(task_names())}, or a .py file; got {text!r}")
    return task_in(importlib.import_module(f"lamina.tasks.{text.replace('-', '_')}"))


def import_file(path: Path) -> ModuleType:
    """Import the Python file at `path` under a name of its own."""
    if not path.is_file():
        raise LaminaError(f"{path}: expected a Python file that holds a Task; there is no such file")
    name = f"{APPLICATION}{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None  # a .py file always has both
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up by name
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise LaminaError(f"{path}: expected a file that imports; got {type(error).__name__}: {error}") from error
    return module


def task_in(module: ModuleType) -> type[Task]:
    """The one Task that is defined in `module`."""
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Task) and value.__module__ == module.__name__
    ]
    if len(found) != 1:
        names = ", ".join(c.__name__ for c in found) or "none"
        raise LaminaError(f"{module.__file__}: expected exactly one class that derives from Task; found {names}")
    return found[0]
