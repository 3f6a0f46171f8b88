"""Files are whole or absent; JSON survives; applications are found by file name; rows are taken alike from every column."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.data.columns import length, rows_of, take
from lamina.errors import LaminaError
from lamina.files import read_json, write_bytes, write_json
from lamina.find import find_task, task_names
from lamina.train.checkpoint import flatten, load, newest, save, unflatten

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=12,
)


@given(json_values)
@settings(max_examples=50, deadline=None)
def test_json_comes_back_as_it_was(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "value.json"
    write_json(path, value)
    assert read_json(path) == value


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    write_bytes(tmp_path / "a", b"old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_bytes(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["a"]


def test_numbers_that_are_not_numbers_are_refused(tmp_path):
    with pytest.raises(ValueError, match="Out of range float"):
        write_json(tmp_path / "a", float("nan"))


state_trees = st.recursive(
    st.none() | st.integers(-5, 5) | st.floats(-1, 1) | st.text("ab", max_size=3) | st.just("tensor"),
    lambda c: (
        st.lists(c, max_size=3)
        | st.dictionaries(st.sampled_from("xyz"), c, max_size=3)
        | st.dictionaries(st.integers(0, 9), c, max_size=3)
    ),
    max_leaves=8,
)


def with_tensors(tree):
    if tree == "tensor":
        return torch.arange(3.0)
    if isinstance(tree, dict):
        return {k: with_tensors(v) for k, v in tree.items()}
    return [with_tensors(v) for v in tree] if isinstance(tree, list) else tree


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return len(a) == len(b) and all(map(same, a, b)) if isinstance(a, list) else a == b


@given(state_trees)
@settings(max_examples=80, deadline=None)
def test_states_come_back_as_they_were(tree):
    state = with_tensors(tree)
    flat, tensors = flatten(state)
    assert same(unflatten(json.loads(json.dumps(flat)), tensors), state)


def test_the_newest_whole_checkpoint_is_taken_and_old_ones_go(tmp_path):
    for step in (1, 2, 3):
        save(tmp_path, step, {"w": torch.full((2,), float(step))})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000002", "step-00000003"]
    (tmp_path / "step-00000003" / "state.json").write_text("{")
    found = newest(tmp_path)
    assert found is not None and found[1]["w"][0] == 2
    assert load(tmp_path / "step-00000003") is None and newest(tmp_path / "nowhere") is None


def test_a_stale_partial_checkpoint_is_ignored_and_removed(tmp_path):
    (tmp_path / ".partial-1").mkdir()
    (tmp_path / ".partial-1" / "state.json").write_text("{}")
    assert newest(tmp_path) is None
    save(tmp_path, 1, {"w": torch.ones(1)})
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000001"]


@given(st.integers(1, 20), st.data())
@settings(max_examples=40, deadline=None)
def test_every_kind_of_column_is_taken_alike(count, data):
    rows = data.draw(st.lists(st.integers(0, count - 1), max_size=20))
    columns = {"list": list(range(count)), "array": np.arange(count), "matrix": np.arange(count * 3).reshape(count, 3)}
    taken = take(columns, rows)
    assert length(taken) == len(rows)
    assert taken["list"] == list(taken["array"]) == rows
    assert taken["matrix"].tolist() == [columns["matrix"][r].tolist() for r in rows]


def test_answers_become_columns():
    columns = rows_of(
        [{"label": "a", "p": {"a": 0.9, "b": 0.1}, "n": 1, "x": [1]}, {"label": "b", "p": {"a": 0.2, "b": 0.8}, "n": 2, "x": []}]
    )
    assert columns["p"].tolist() == [[0.9, 0.1], [0.2, 0.8]] and columns["label"].tolist() == ["a", "b"]
    assert columns["n"].sum() == 3 and columns["x"] == [[1], []]
    assert rows_of([]) == {}


def test_tasks_are_found_by_name():
    assert task_names() == sorted(task_names()) and "tabular" in task_names()
    assert all(find_task(name).name == name for name in task_names())
    with pytest.raises(LaminaError, match=r"task: expected one of .*tabular"):
        find_task("tabula")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("x = 1", "expected exactly one class that derives from Task; found none"),
        ("import nowhere_at_all", "expected a file that imports; got ModuleNotFoundError"),
        ("def f(:", "expected a file that imports; got SyntaxError"),
        ("from lamina.task import Task\nclass A(Task): pass\nclass B(Task): pass", "found A, B"),
    ],
)
def test_a_file_that_holds_no_application_is_named(tmp_path, content, message):
    path = Path(tmp_path / "mine.py")
    path.write_text(content)
    with pytest.raises(LaminaError, match=message):
        find_task(path)
    with pytest.raises(LaminaError, match="there is no such file"):
        find_task(tmp_path / "other.py")
