"""The modules that an exported folder carries, so that it reads inputs and makes answers as the run does: the same files.

They are found by following the imports of `lamina.*` from the modules of the reader and the decoder, wherever in a file they
stand; only what stands under `if TYPE_CHECKING` never runs, and is not followed.
"""

from __future__ import annotations

import ast
import dataclasses
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import lamina
from lamina.errors import LaminaError
from lamina.terminal import jsonable

PACKAGE = Path(lamina.__file__).parent
ALLOWED = frozenset({"numpy", "PIL", "onnxruntime"})
"""What a carried module may need at once; what it needs inside a function (pyarrow, rich) is its own affair."""


def closure(modules: Sequence[str], package: Path = PACKAGE) -> dict[str, Path]:
    """Path inside a folder -> file, of `modules` and all that they import of Lamina, and the packages that hold them.

    Raises LaminaError where a module needs, as soon as it is imported, a library that the folder's users need not have.
    """
    wanted = list(modules)
    found: dict[str, Path] = {}
    while wanted:
        name = wanted.pop()
        path = file_of(name, package)
        inside = str(path.relative_to(package.parent))
        if inside in found:
            continue
        found[inside] = path
        tree = ast.parse(path.read_text(encoding="utf-8"))
        heavy = sorted(set(outside(tree)) - ALLOWED - sys.stdlib_module_names - {"lamina"})
        if heavy:
            raise LaminaError(f"{name}: expected a module that needs numpy and Pillow only, to be carried; it imports {heavy[0]}")
        wanted += [module for module in imported(tree) if module.split(".")[0] == "lamina" and module != "lamina"]
        wanted += [name.rpartition(".")[0]] if name.count(".") > 1 else []  # the package that holds it
    return dict(sorted(found.items()))


def file_of(module: str, package: Path) -> Path:
    place = package.joinpath(*module.split(".")[1:])
    path = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    if module.split(".")[0] != "lamina" or not path.is_file():
        raise LaminaError(f"{module}: expected a module of Lamina, which an exported folder can carry; it is none")
    return path


def imported(tree: ast.AST) -> Iterator[str]:
    """The modules that a file imports when it runs, in functions too."""
    for node in running(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                is_module = submodule.startswith("lamina.") and _is_module(submodule)
                yield submodule if is_module else node.module


def outside(tree: ast.Module) -> Iterator[str]:
    """The top-level packages that a file needs as soon as it is imported itself."""
    for statement in tree.body:
        if isinstance(statement, (ast.Import, ast.ImportFrom)):
            yield from (module.split(".")[0] for module in imported(ast.Module([statement], [])))


def running(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those under `if TYPE_CHECKING`."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING"):
            yield from running(child)


def _is_module(name: str) -> bool:
    place = PACKAGE.joinpath(*name.split(".")[1:])
    return place.is_dir() or place.with_suffix(".py").is_file()


def part_of(value: Any) -> dict[str, Any]:
    """A reader or a decoder as JSON: its module, its class, its fields."""
    kind = type(value)
    return {"module": kind.__module__, "class": kind.__qualname__, "fields": jsonable(dataclasses.asdict(value))}
