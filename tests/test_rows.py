"""Rows that JSON can hold, for modalities without a reader of their own: modalities/rows.py."""

from __future__ import annotations

import io
import json
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.errors import LaminaError
from lamina.modalities.rows import gather_inputs

CELLS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(CELLS, min_size=1, max_size=6))
def test_cells_come_back_as_they_were_written(cells: list[object]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        path.write_text("".join(json.dumps({"x": cell, "other": 1}) + "\n" for cell in cells), encoding="utf-8")
        read = gather_inputs([str(path)], ["x"])
    assert read == {"x": cells, "source": [f"{path}:{n}" for n in range(1, len(cells) + 1)]}
    assert gather_inputs([{"x": cell} for cell in cells], ["x"])["x"] == cells


def test_sources_of_every_kind_in_order(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"x": [1, 2]}\n')
    (tmp_path / "b.csv").write_text("x\nhello\n")
    read = gather_inputs([str(tmp_path / "a.jsonl"), tmp_path / "b.csv", {"x": "dict"}, [{"x": "one"}, {"x": "two"}]], ["x"])
    assert read["x"] == [[1, 2], "hello", "dict", "one", "two"]
    assert read["source"] == [f"{tmp_path / 'a.jsonl'}:1", f"{tmp_path / 'b.csv'}:2", "row 3", "row 4", "row 5"]


@pytest.mark.parametrize(
    ("text", "cells"), [('{"x": [1]}\n', [[1]]), ('[{"x": {"y": 2}}]', [{"y": 2}]), ("x\nhello\n", ["hello"])]
)
def test_standard_input(text: str, cells: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.BufferedReader(io.BytesIO(text.encode()))  # type: ignore[arg-type]
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=stream))
    assert gather_inputs(["-"], ["x"])["x"] == cells


def test_bad_input_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"x": 1}\nnonsense\n{"x": [2]}\n')
    read = gather_inputs([str(path)], ["x"])
    assert read["x"] == [1, None, [2]] and [why and "rows.jsonl:2" in why for why in read["unread"]] == [None, True, None]
    with pytest.raises(LaminaError, match=r"^row 2: expected the columns x; missing: x \(found y\)"):
        gather_inputs([{"x": 1}, {"y": 1}], ["x"])
    with pytest.raises(LaminaError, match="there is no such file"):
        gather_inputs([str(tmp_path / "none.jsonl")], ["x"])
    with pytest.raises(LaminaError, match="expected rows to answer"):
        gather_inputs([], ["x"])
