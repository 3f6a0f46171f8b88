"""The rules of the house, executed: which way imports point, what verbs may name, how long files are, what the README says."""

from __future__ import annotations

import ast
import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lamina.data.source import Source
from lamina.find import find_task, task_names
from lamina.train.options import Options
from lamina.train.recipe import Recipe
from lamina.verbs import QUESTIONS, settings_of, verb_of

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "lamina"
FILES = sorted(SOURCE.rglob("*.py"))

# What a layer may import, beside itself and `errors`. Layers are folders or files of src/lamina.
GROUND = {"task", "errors", "files", "terminal"}
MAY_IMPORT = {
    "errors": set(),
    "files": set(),
    "task": {"answer", "data", "files", "train"},  # its defaults, imported inside the methods that use them
    "nn": {"errors"},
    "models": {"nn", "errors"},
    "decode": {"errors"},
    "modalities": {"errors", "task", "data"},
    "data": {"errors", "task", "modalities", "decode", "terminal", "files"},
    "tasks": {"errors", "task", "nn", "models", "decode", "modalities", "data", "train", "files"},
}
VERBS = {"train", "evaluate", "predict", "compare", "check", "doctor", "leaf", "run", "answer", "find", "ask", "verdict",
         "explain", "inspect", "stress", "needs", "shrink", "export", "bench", "report", "surgery"}  # fmt: skip


def imports(path: Path) -> set[str]:
    """The parts of lamina that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "lamina":
            parts = node.module.split(".")
            found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("lamina.")}
    return found


def layer(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_point_one_way(path):
    mine = layer(path)
    if mine in ("__init__", "__main__", "cli", "verbs", "flags"):
        return
    reached = imports(path) - {mine}
    assert "cli" not in reached
    if mine != "find":
        assert "tasks" not in reached, "applications are found by file name"
    if mine in MAY_IMPORT:
        assert reached <= MAY_IMPORT[mine], f"{mine} may not import {reached - MAY_IMPORT[mine]}"
    elif mine in VERBS:
        assert not reached & {"models", "nn"}, "a verb knows no network"


@pytest.mark.parametrize(
    "path", [p for p in FILES if layer(p) not in ("tasks", "cli", "verbs", "__init__")], ids=lambda p: str(p.relative_to(SOURCE))
)
def test_no_verb_names_a_task(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documentation = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant)}
    strings = [
        n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str) and id(n) not in documentation
    ]
    classes = {find_task(name).__name__ for name in task_names()}
    names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)} | {
        n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)
    }
    assert not names & classes
    if layer(path) != "data":  # formats have words of their own: a column of `datasets` is called translation
        assert not [s for s in strings if s in task_names()]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_files_are_short_and_plain(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 600
    if layer(path) == "tasks" and path.stem != "__init__":
        assert len(text.splitlines()) <= 350
    tree = ast.parse(text)
    for node in ast.walk(tree):
        assert not (isinstance(node, ast.ImportFrom) and any(a.name == "*" for a in node.names)), "no import *"
        assert not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "hasattr"), "no hasattr"
    assert not [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "__getattr__"]


def test_most_files_are_under_two_hundred_lines():
    lengths = sorted(len(p.read_text(encoding="utf-8").splitlines()) for p in FILES)
    assert lengths[len(lengths) // 2] < 200


def test_inheritance_is_two_deep_at_most():
    """Among our own classes: a class, its parent, and no grandparent."""
    parents: dict[str, list[str]] = {}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                parents[node.name] = [b.id for b in node.bases if isinstance(b, ast.Name)]
    for name, bases in parents.items():
        for base in bases:
            grandparents = [g for g in parents.get(base, []) if g in parents and g not in ("LaminaError",)]
            assert not grandparents, f"{name} -> {base} -> {grandparents}"


def test_settings_of_different_kinds_share_no_name():
    """`lamina train` and `lamina.train` find a setting by its name alone."""
    shared = [{f.name for f in dataclasses.fields(kind)} for kind in (Source, Recipe, Options)]
    for name in task_names():
        kinds = [*shared, {f.name for f in dataclasses.fields(find_task(name))}]
        for i, one in enumerate(kinds):
            for other in kinds[i + 1 :]:
                assert not one & other


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_question_has_each_flag_once(name):
    words = [flag.name for flag in verb_of(name).flags]
    assert len(words) == len(set(words))


def test_every_setting_says_what_it_means():
    for kind in (Source, Recipe, Options, *map(settings_of, QUESTIONS), *(find_task(name) for name in task_names())):
        for field in dataclasses.fields(kind):
            if not field.metadata.get("learned"):
                assert "Doc(" in str(field.type), f"{kind.__name__}.{field.name}"


HEAVY = ("torch", "numpy", "sklearn", "pyarrow", "PIL", "tensorboard")


@pytest.mark.parametrize(
    "module",
    [
        "lamina",
        "lamina.cli",
        "lamina.task",
        *(f"lamina.{name}.settings" for name in QUESTIONS),
        *(f"lamina.tasks.{n.replace('-', '_')}" for n in task_names()),
    ],
)
def test_importing_is_light(module):
    code = f"import {module}, sys; print([m for m in {HEAVY} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert found == "[]"


def test_tests_are_half_as_long_as_the_source():
    def lines(folder: Path) -> int:
        return sum(len(p.read_text(encoding="utf-8").splitlines()) for p in folder.rglob("*.py"))

    assert lines(ROOT / "tests") >= 0.5 * lines(ROOT / "src")


def tree_of(readme: str) -> list[str]:
    """Paths named in the README's map, from its indentation."""
    block = re.search(r"```text\n(README\.md.*?)```", readme, re.S)
    assert block, "the README holds a map that starts with README.md"
    paths, parents = [], []
    for line in block.group(1).splitlines():
        if not line.strip():
            continue
        depth = (len(line) - len(line.lstrip())) // 2
        parents = parents[:depth]
        names = line.strip().split("  ")[0].split(" ")
        paths += ["".join(parents) + name for name in names]
        parents.append(names[0])
    return paths


def test_the_readmes_map_is_true():
    paths = tree_of((ROOT / "README.md").read_text(encoding="utf-8"))
    assert len(paths) > 20
    for path in paths:
        assert (ROOT / path).exists(), path
    mapped = {p.rstrip("/") for p in paths}
    for path in SOURCE.iterdir():
        if (path.suffix == ".py" and path.stem != "__init__") or (path.is_dir() and not path.name.startswith("_")):
            assert str(path.relative_to(ROOT)) in mapped, f"{path.name} is missing from the README's map"


def test_every_dependency_has_a_line_in_the_design():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    design = (ROOT / "docs" / "design.md").read_text(encoding="utf-8").lower()
    wanted = [*project["dependencies"], *(d for extra in project["optional-dependencies"].values() for d in extra)]
    for requirement in wanted:
        name = re.split(r"[><=\[ ]", requirement)[0].lower()
        assert re.search(rf"^\| [^|]*{re.escape(name)}", design, re.M), f"{name} has no row in docs/design.md"
