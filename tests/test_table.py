"""The encoder of tables: what it learns, what it refuses, and what a person may ask about."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.errors import LaminaError
from lamina.modalities.table import TableEncoder, category_of, gather_inputs, number_of

numbers = st.one_of(st.none(), st.floats(-1e6, 1e6, width=32))
words = st.one_of(st.none(), st.text("abcxyz é", min_size=1).map(str.strip).filter(lambda w: category_of(w) is not None))
truths = st.one_of(st.none(), st.booleans())


@st.composite
def tables(draw: st.DrawFn) -> dict[str, list[Any]]:
    rows = draw(st.integers(1, 12))
    kinds = draw(st.lists(st.sampled_from([numbers, words, truths]), min_size=1, max_size=4))
    return {f"c{i}": draw(st.lists(kind, min_size=rows, max_size=rows)) for i, kind in enumerate(kinds)}


@settings(max_examples=80, deadline=None)
@given(tables())
def test_any_mixture_of_columns_round_trips(table: dict[str, list[Any]]) -> None:
    encoder = TableEncoder.fit(table, list(table))
    encoded = encoder.encode(table)
    assert encoded.dtype == np.float32 and encoded.shape == (len(table["c0"]), len(table))
    for name, cells in encoder.decode(encoded).items():
        for cell, raw in zip(cells, table[name], strict=True):
            if isinstance(raw, bool):
                assert cell == str(raw).lower()
            elif isinstance(raw, float):
                assert cell == raw
            elif all(v is None for v in table[name]):
                assert cell is None
            else:
                assert cell == raw


@settings(max_examples=50, deadline=None)
@given(tables(), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(table: dict[str, list[Any]], random: Any) -> None:
    order = list(range(len(table["c0"])))
    random.shuffle(order)
    shuffled = {name: [cells[i] for i in order] for name, cells in table.items()}
    assert TableEncoder.fit(table, list(table)) == TableEncoder.fit(shuffled, list(table))


@settings(max_examples=50, deadline=None)
@given(tables())
def test_json_holds_an_encoder(table: dict[str, list[Any]]) -> None:
    encoder = TableEncoder.fit(table, list(table))
    assert TableEncoder.from_state(json.loads(json.dumps(encoder.state()))) == encoder


def test_unknown_categories_are_zero_and_missing_ones_nan() -> None:
    encoder = TableEncoder.fit({"town": ["Ulm", "Bern", None]}, ["town"])
    encoded = encoder.encode({"town": ["Bern", "Ulm", "Oslo", None, "?", "Bern "]})[:, 0]
    assert np.array_equal(encoded, np.array([1, 2, 0, np.nan, np.nan, 1], np.float32), equal_nan=True)


def test_a_column_without_a_value_is_all_missing() -> None:
    table: dict[str, Any] = {"a": np.array([np.nan, np.nan]), "b": [None, None]}
    encoder = TableEncoder.fit(table, ["a", "b"])
    assert np.isnan(encoder.encode(table)).all()
    assert [c.missing for c in encoder.columns] == [True, True]


def test_spellings_of_one_category_agree() -> None:
    assert category_of(True) == category_of("True") == category_of("true") == "true"
    assert category_of(1.0) == category_of(1) == category_of(" 1 ") == category_of(np.int64(1)) == "1"
    assert category_of(float("nan")) is category_of(None) is category_of("N/A") is None
    assert number_of("1e-3") == 0.001 and number_of("12a") is None and number_of("0x10") is None and number_of("1_000") is None


def test_whole_numbers_stay_numbers_and_truth_becomes_a_category() -> None:
    encoder = TableEncoder.fit({"grade": np.array([1.0, 2, 1, 2]), "smokes": [True, False, True, True]}, ["grade", "smokes"])
    assert [c.kind for c in encoder.columns] == ["number", "category"]


def test_an_outlier_does_not_set_the_scale() -> None:
    values = np.append(np.random.default_rng(0).normal(size=1000), 1e9)
    column = TableEncoder.fit({"a": values}, ["a"]).columns[0]
    assert column.kind == "number" and 0.8 < column.scale < 1.2  # type: ignore[union-attr]


def test_a_word_among_numbers_is_named_by_row_and_column() -> None:
    encoder = TableEncoder.fit({"age": np.array([1.0, 2.0])}, ["age"])
    with pytest.raises(LaminaError, match=r"row 2, column 'age': expected a number, got 'old'"):
        encoder.encode({"age": ["3", "old"]})
    with pytest.raises(LaminaError, match=r"people\.csv:7, column 'age'"):
        encoder.encode({"age": ["old"], "source": ["people.csv:7"]})
    with pytest.raises(LaminaError, match="expected a finite number, got inf"):
        encoder.encode({"age": [float("inf")]})
    with pytest.raises(LaminaError, match="missing: age"):
        encoder.encode({"height": [1.0]})


def test_gathers_files_with_the_line_of_each_row(tmp_path: Path) -> None:
    (tmp_path / "q.csv").write_text('note,b,a\n"two\nlines",x,1\n,y,2\n')
    (tmp_path / "q.jsonl").write_text('{"a": 3, "b": "z", "more": 0}\n\n{"a": null, "b": "w"}\n')
    got = gather_inputs([tmp_path / "q.csv", str(tmp_path / "q.jsonl")], ("a", "b"))
    assert got["a"] == ["1", "2", 3, None] and got["b"] == ["x", "y", "z", "w"]
    assert [Path(s).name for s in got["source"]] == ["q.csv:2", "q.csv:4", "q.jsonl:1", "q.jsonl:3"]


def test_gathers_parquet_rows_and_frames(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"a": [1.5, None], "b": ["x", None]})
    pq.write_table(table, tmp_path / "q.parquet")
    for source in (tmp_path / "q.parquet", table):
        got = gather_inputs([source], ("a", "b"))
        assert got["a"][0] == 1.5 and np.isnan(got["a"][1]) and got["b"] == ["x", None]
    assert gather_inputs([{"a": 1, "b": "x"}, {"a": 2, "b": "y"}], ("b",)) == {"b": ["x", "y"], "source": ["row 1", "row 2"]}
    assert gather_inputs([[{"b": "x"}, {"b": "y"}]], ("b",))["b"] == ["x", "y"]
    assert gather_inputs([{"b": ["x", "y"]}], ("b",))["b"] == ["x", "y"]


@pytest.mark.parametrize("text", ["a,b\n1,x\n", '{"a": "1", "b": "x"}\n'])
def test_gathers_standard_input(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(text.encode())))
    assert gather_inputs(["-"], ("a",)) == {"a": ["1"], "source": ["standard input:" + ("2" if text[0] == "a" else "1")]}


def test_a_row_that_cannot_be_read_stands_in_its_place_and_says_why(tmp_path: Path) -> None:
    (tmp_path / "q.csv").write_text("a,b\n1,x\n2\n3,z\n")
    (tmp_path / "q.jsonl").write_text('nonsense\n{"a": 4}\n')
    got = gather_inputs([tmp_path / "q.csv", tmp_path / "q.jsonl"], ("a",))
    assert got["a"] == ["1", None, "3", None, 4]
    assert [Path(s).name for s in got["source"]] == ["q.csv:2", "q.csv:3", "q.csv:4", "q.jsonl:1", "q.jsonl:2"]
    assert [why is None for why in got["unread"]] == [True, False, True, False, True]
    assert "q.csv:3: expected 2 fields" in got["unread"][1] and "q.jsonl:1: expected one JSON object" in got["unread"][3]


def test_refuses_absent_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "q.csv").write_text("a,b\n1,x\n")
    with pytest.raises(LaminaError, match=r"q\.csv: expected the columns a, c; missing: c \(found a, b\)"):
        gather_inputs([tmp_path / "q.csv"], ("a", "c"))
    with pytest.raises(LaminaError, match="no such file"):
        gather_inputs([tmp_path / "absent.csv"], ("a",))
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"")))
    with pytest.raises(LaminaError, match="standard input is empty"):
        gather_inputs(["-"], ("a",))
    with pytest.raises(LaminaError, match="expected rows to answer"):
        gather_inputs([], ("a",))
