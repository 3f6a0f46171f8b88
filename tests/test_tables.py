"""Reading tables: every layout, every planted defect named by file and line, and good files left alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.data.columns import length
from lamina.data.source import Data, Source
from lamina.data.table_checks import answer_kind
from lamina.data.table_files import read_csv
from lamina.data.tables import read_table, scan_table
from lamina.errors import LaminaError


def good_rows(count: int = 60, seed: int = 0) -> list[list[str]]:
    rng = np.random.default_rng(seed)
    return [[f"{v:.5f}", "red" if i % 3 else "blue", "yes" if v > 0 else "no"] for i, v in enumerate(rng.normal(size=count))]


def csv_text(rows: list[list[str]], header: str = "size,colour,label", delimiter: str = ",") -> str:
    return "\n".join([header.replace(",", delimiter), *(delimiter.join(r) for r in rows)]) + "\n"


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def codes(path: Any, **more: Any) -> dict[str, Any]:
    return {f.code: f for f in scan_table(Source(data=path, **more))}


def everything(data: Data) -> dict[str, list[Any]]:
    return {n: [v for c in data.parts().values() for v in list(c[n])] for n in data.train}


@pytest.mark.parametrize("name, delimiter", [("t.csv", ","), ("t.tsv", "\t"), ("t.csv", ";"), ("t.txt", "|")])
def test_delimiters(tmp_path: Path, name: str, delimiter: str) -> None:
    data = read_table(Source(data=write(tmp_path / name, csv_text(good_rows(), delimiter=delimiter))))
    assert isinstance(data.train["size"], np.ndarray) and set(data.train["colour"]) == {"red", "blue"}
    assert data.about["label"] == "label" and data.about["kind"] == "classification" and not data.findings
    assert sum(length(c) for c in data.parts().values()) == 60 and min(length(c) for c in data.parts().values()) > 0


def test_every_layout_gives_the_same_examples(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = good_rows()
    columns = {"size": [float(r[0]) for r in rows], "colour": [r[1] for r in rows], "label": [r[2] for r in rows]}
    table = pa.table(columns)
    pq.write_table(table, tmp_path / "t.parquet")
    objects = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    keel = "@relation t\n@attribute size real [-9,9]\n@attribute colour {red, blue}\n@attribute label {yes, no}\n@inputs size, colour\n"
    keel += "@outputs label\n@data\n" + "".join(", ".join(r) + "\n" for r in rows)
    sources: list[Any] = [
        write(tmp_path / "t.csv", csv_text(rows)),
        write(tmp_path / "bom.csv", b"\xef\xbb\xbf" + csv_text(rows).replace("\n", "\r\n").encode()),
        write(tmp_path / "t.jsonl", "".join(json.dumps(o) + "\n" for o in objects)),
        write(tmp_path / "t.json", json.dumps(objects)),
        write(tmp_path / "t.dat", keel),
        tmp_path / "t.parquet",
        table,
        {"size": np.array(columns["size"]), "colour": columns["colour"], "label": np.array(columns["label"])},
        objects,
    ]
    first = read_table(Source(data=sources[0]))
    for source in sources[1:]:
        again = read_table(Source(data=source))
        assert again.fingerprint == first.fingerprint, source
        for part, expected in first.parts().items():
            assert {n: list(c) for n, c in again.parts()[part].items()} == {n: list(c) for n, c in expected.items()}


def test_arrays_and_their_parts() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(50, 3)).astype(np.float32), rng.integers(0, 2, 50)
    data = read_table(Source(data={"train": (X[:40], y[:40]), "test": (X[40:], y[40:])}))
    assert (
        length(data.test) == 10
        and np.allclose(data.test["x1"], X[40:, 1])
        and list(data.test["label"]) == [str(v) for v in y[40:]]
    )
    assert length(data.valid) > 0 and length(data.calibration) > 0
    assert read_table(Source(data=(X, y * 0.5 + X[:, 0]))).about["kind"] == "regression"
    with pytest.raises(LaminaError, match="50 rows and 49 answers"):
        read_table(Source(data=(X, y[:49])))
    with pytest.raises(LaminaError, match=r"columns of one length; got \{'a': 2, 'y': 3\}"):
        read_table(Source(data={"a": [1, 2], "y": [1, 2, 3]}))
    with pytest.raises(LaminaError, match="got int"):
        read_table(Source(data=3))


def test_a_folder_of_parts(tmp_path: Path) -> None:
    rows = good_rows(80)
    write(tmp_path / "train.csv", csv_text(rows[:50]))
    write(
        tmp_path / "validation.jsonl",
        "".join(json.dumps({"size": float(a), "colour": b, "label": c}) + "\n" for a, b, c in rows[50:60]),
    )
    write(tmp_path / "test.tsv", csv_text(rows[60:], delimiter="\t"))
    data = read_table(Source(data=tmp_path))
    assert [length(c) for c in (data.valid, data.test)] == [10, 20] and length(data.train) + length(data.calibration) == 50
    write(tmp_path / "test.tsv", csv_text(rows[60:], "size,shade,label", "\t"))
    with pytest.raises(LaminaError, match=r"test\.tsv: expected the columns of .*train\.csv; it lacks colour"):
        read_table(Source(data=tmp_path))
    (tmp_path / "empty").mkdir()
    with pytest.raises(LaminaError, match=r"expected a file such as train\.csv .*found nothing"):
        read_table(Source(data=tmp_path / "empty"))


def test_a_saved_datasets_folder(tmp_path: Path) -> None:
    import pyarrow as pa

    table = pa.table({"size": [float(i % 7) for i in range(40)], "label": pa.array([i % 2 for i in range(40)], pa.int64())})
    with pa.OSFile(str(tmp_path / "data-0.arrow"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    write(tmp_path / "state.json", json.dumps({"_data_files": [{"filename": "data-0.arrow"}]}))
    features = {"size": {"dtype": "float64", "_type": "Value"}, "label": {"names": ["even", "odd"], "_type": "ClassLabel"}}
    write(tmp_path / "dataset_info.json", json.dumps({"features": features}))
    assert set(everything(read_table(Source(data=tmp_path)))["label"]) == {"even", "odd"}


PLANTED: list[tuple[str, Any, str, int]] = [
    ("wrong-field-count", lambda t: t.replace("\n", "\n1,2\n", 1), "expected 3 fields, as in the first line; got 2", 2),
    ("not-a-number", lambda t: t.replace("\n", "\ntall,red,yes\n", 1), "column 'size': expected a number, got 'tall'", 2),
    ("infinite-value", lambda t: t + "inf,red,yes\n", "column 'size': expected a finite number, got inf", 62),
    ("infinite-value", lambda t: t + "1e300,red,yes\n", "got 1e+300", 62),
    ("missing-label", lambda t: t + "\n1,red,?\n", "column 'label': expected an answer", 63),
]


@pytest.mark.parametrize("code, plant, reason, line", PLANTED)
def test_a_planted_bad_row_is_named_and_set_aside(tmp_path: Path, code: str, plant: Any, reason: str, line: int) -> None:
    path = write(tmp_path / "t.csv", plant(csv_text(good_rows())))
    with pytest.raises(LaminaError) as caught:
        read_table(Source(data=path))
    assert f"{code}: {path}:{line}: " in str(caught.value) and reason in str(caught.value) and "\n" not in str(caught.value)
    kept = read_table(Source(data=path, bad_data="quarantine"))
    assert [(f.code, f.file, f.row) for f in kept.findings if f.severity == "error"] == [(code, str(path), line)]
    assert sum(length(c) for c in kept.parts().values()) == 60


def test_lines_are_exact_behind_quoted_newlines(tmp_path: Path) -> None:
    text = csv_text(good_rows()).replace("\n", '\n0.5,"dark\n\nred",yes\n', 1) + "tall,red,yes\n1,2,3,4\n"
    found = codes(write(tmp_path / "t.csv", text))
    assert found["not-a-number"].row == 65 and found["wrong-field-count"].row == 66


REFUSED: list[tuple[str, bytes, str]] = [
    ("empty", b"", "the file is empty"),
    ("blank", b"\n \n", "the file is empty"),
    ("header only", b"a,b,label\n", "expected rows below the header"),
    ("duplicate names", b"a,a,label\n1,2,x\n", "'a' stands 2 times"),
    ("one column", b"a\n1\n2\n", "expected a column of answers beside the inputs; the only columns are a"),
    ("one class", b"a,label\n1,x\n2,x\n3,x\n", "expected at least two classes; every row has 'x'"),
    ("no answers", b"a,label\n1,\n2,\n", "every row lacks one"),
    ("NUL", b"a,label\n1,x\n2,\0\n", r"t\.csv:3: expected text; found a NUL byte"),
    ("UTF-16", "a,label\n1,x\n".encode("utf-16"), "this is UTF-16"),
    ("damaged UTF-8", "a,label\né,x\n".encode() + b"\xff,y\n", r"t\.csv:3: expected UTF-8 text; found byte 0xff"),
    ("nothing to learn", b"a,label\n1,x\n1,y\n1,x\n", "none is left"),
]


@pytest.mark.parametrize("content, reason", [(c, r) for _, c, r in REFUSED], ids=[name for name, _, _ in REFUSED])
def test_a_file_that_cannot_be_used_is_refused_in_one_line(tmp_path: Path, content: bytes, reason: str) -> None:
    path = write(tmp_path / "t.csv", content)
    with pytest.raises(LaminaError, match=reason) as caught:
        read_table(Source(data=path))
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert [f.code for f in scan_table(Source(data=path))] == ["unreadable-table"]


def test_other_files_are_refused_by_name(tmp_path: Path) -> None:
    for name, content in (("t.parquet", b"PAR1 no"), ("t.xlsx", b"PK"), ("t.jsonl", b"")):
        with pytest.raises(LaminaError, match=name):
            read_table(Source(data=write(tmp_path / name, content)))
    with pytest.raises(LaminaError, match="there is no such file"):
        read_table(Source(data=tmp_path / "absent.csv"))
    with pytest.raises(LaminaError, match="--label: expected one of the columns size, colour, label; got 'sort'"):
        read_table(Source(data=write(tmp_path / "t.csv", csv_text(good_rows())), label="sort"))


def test_bad_json_lines_are_named(tmp_path: Path) -> None:
    good = "".join(json.dumps({"a": i * 0.5, "label": "xy"[i % 2]}) + "\n" for i in range(30))
    path = write(tmp_path / "t.jsonl", good + '{"a": 1\n[1]\n{"a": [1], "label": "x"}\n')
    rows = [(f.code, f.row) for f in scan_table(Source(data=path)) if f.severity == "error"]
    assert rows == [("bad-json", 31), ("bad-json", 32), ("nested-value", 33)]


def test_latin_1_is_read_and_said(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", csv_text(good_rows()).replace("red", "grün").encode("latin-1"))
    data = read_table(Source(data=path))
    assert "grün" in everything(data)["colour"] and ("not-utf-8", 3) in [(f.code, f.row) for f in data.findings]


def test_a_file_without_names_is_read_and_said(tmp_path: Path) -> None:
    data = read_table(Source(data=write(tmp_path / "t.csv", "".join(f"{i * 0.37 % 1},{i % 2}\n" for i in range(40)))))
    assert data.about["label"] == "column_2" and data.about["label_chosen"] == "the last column"
    assert "no-header" in [f.code for f in data.findings] and len(everything(data)["column_1"]) == 40


def test_defects_of_columns(tmp_path: Path) -> None:
    rows = good_rows(200)
    full = [[*r[:2], str(i), f"u{i}", "5", "", r[2].upper(), str(1e12 + i / 1e3), r[2]] for i, r in enumerate(rows)]
    path = write(tmp_path / "t.csv", csv_text(full, "size,colour,id,who,same,void,copy,stamp,label"))
    data = read_table(Source(data=path))
    assert data.about["ignored"] == {"id": "id-column", "who": "id-column", "same": "constant-column", "void": "empty-column"}
    assert set(data.train) == {"size", "colour", "copy", "stamp", "label"}
    found = {f.code: f for f in data.findings}
    assert "'copy'" in found["leaking-column"].reason and found["leaking-column"].severity == "warning"
    assert "'stamp'" in found["coarse-column"].reason


def test_copies_contradictions_and_rare_classes(tmp_path: Path) -> None:
    rows = good_rows(100)
    write(tmp_path / "train.csv", csv_text([*rows, rows[0], [rows[1][0], rows[1][1], "maybe"]]))
    write(tmp_path / "test.csv", csv_text([rows[5], *good_rows(20, seed=1)]))
    found = codes(tmp_path)
    assert found["duplicate-rows"].row == 102 and found["duplicate-rows"].severity == "note"
    assert found["rows-across-parts"].file == str(tmp_path / "test.csv") and "train.csv:7" in found["rows-across-parts"].reason
    assert found["contradicting-rows"].row == 103 and found["single-row-class"].row == 103
    few = write(tmp_path / "few.csv", csv_text([[r[0], r[1], "rare" if i < 3 else "usual"] for i, r in enumerate(rows)]))
    assert "'usual' has 97 rows" in codes(few)["imbalance"].reason


def test_good_tables_are_not_accused(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [[f"{v:.4f}", f"{i}", str(rng.integers(5)), ["A1", "12", "13"][i % 3], "" if i % 9 == 0 else "x", "no" if rng.random() < 0.4 else "yes"]
            for i, v in enumerate(rng.normal(size=300))]  # fmt: skip
    found = scan_table(Source(data=write(tmp_path / "t.csv", csv_text(rows, "v,day,grade,ward,flag,label"))))
    assert not found, [str(f) for f in found]
    missing = [["NA" if i % 2 else "?", "N/A" if i % 5 else "1.5", r[2]] for i, r in enumerate(good_rows())]
    data = read_table(Source(data=write(tmp_path / "m.csv", csv_text([["0.25", "2", "yes"], *missing], "a,b,label"))))
    assert (
        isinstance(data.train["b"], np.ndarray)
        and np.isnan(data.train["b"]).any()
        and "not-a-number" not in [f.code for f in data.findings]
    )


def test_groups_and_times(tmp_path: Path) -> None:
    rows = [[*r[:2], f"p{i % 12}", f"2024-01-{1 + i % 28:02d}", r[2]] for i, r in enumerate(good_rows(120))]
    path = write(tmp_path / "t.csv", csv_text(rows, "size,colour,patient,day,label"))
    data = read_table(Source(data=path, group="patient"))
    assert "patient" in data.train and data.about["group"] == "patient"  # kept to be drawn by, and no column to learn from
    assert data.about["ignored"]["patient"] == "groups or times"
    assert "day" not in read_table(Source(data=path, time="day")).train
    with pytest.raises(LaminaError, match="--group: expected one of the columns"):
        read_table(Source(data=path, group="ward"))


def test_needed_columns_are_kept_or_missed_by_name() -> None:
    data = {"a": [1.0] * 30, "b": list(np.arange(30) * 0.5), "y": ["u", "v"] * 15}
    assert "a" in read_table(Source(data=data), needs=("a", "b")).train
    with pytest.raises(LaminaError, match="missing: c"):
        read_table(Source(data=data), needs=("a", "c"))


def test_the_kind_of_an_answer() -> None:
    assert answer_kind(np.arange(20.0)) == "classification" and answer_kind(np.arange(21.0)) == "regression"
    assert answer_kind(np.array([0.5, 1.0])) == "regression" and answer_kind(["1", "2"]) == "classification"
    with pytest.raises(LaminaError, match="expected numbers to regress on; got text such as 'u'"):
        read_table(Source(data={"a": [1.0, 2, 3], "y": ["u", "v", "w"]}), kind="regression")


cell = st.text(st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=["Cs"]), max_size=6)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(cell, cell), min_size=1, max_size=8))
def test_any_text_that_python_writes_is_read_back(rows: list[tuple[str, str]]) -> None:
    import csv
    import io

    out = io.StringIO(newline="")
    csv.writer(out, quoting=csv.QUOTE_ALL).writerows([("first", "second"), *rows])
    table = read_csv(out.getvalue().encode(), "t.csv")
    assert table.columns == {"first": [a for a, _ in rows], "second": [b for _, b in rows]}
    lines = [2]
    for a, b in rows:
        lines.append(lines[-1] + 1 + sum(x.count("\n") + x.count("\r") - x.count("\r\n") for x in (a, b)))
    assert [table.line(i) for i in range(len(rows))] == lines[:-1]


def test_a_table_of_few_categories_is_split_like_any_other() -> None:
    """The best rule that training can teach must hold on the test rows too: equal cases fall into every part."""
    rng = np.random.default_rng(0)
    colour, size = rng.integers(0, 4, 2000), rng.integers(0, 3, 2000)
    likely = rng.random((4, 3)).round()[colour, size] * 0.6 + 0.2
    answers = np.where(rng.random(2000) < likely, "yes", "no")
    data = read_table(
        Source(data={"colour": [f"c{c}" for c in colour], "size": [f"s{s}" for s in size], "label": answers.tolist()})
    )
    said: dict[Any, list[str]] = {}
    for case, answer in zip(zip(data.train["colour"], data.train["size"], strict=True), data.train["label"], strict=True):
        said.setdefault(case, []).append(answer)
    rule = {case: max(set(given), key=given.count) for case, given in said.items()}
    asked = list(zip(data.test["colour"], data.test["size"], strict=True))
    right = [rule[case] == answer for case, answer in zip(asked, data.test["label"], strict=True)]
    assert sum(right) / len(right) > 0.7  # 0.8 is the best that can be
    assert "repeating-rows" in {f.code for f in data.findings}


def test_copies_stay_together_whatever_their_answers_and_their_ids() -> None:
    rng = np.random.default_rng(0)
    x = np.repeat(rng.normal(size=450), 1).tolist()
    x += x[:50]  # 50 copies, of other answers and with ids of their own
    answers = ["yes", "no"] * 250
    data = read_table(
        Source(data={"id": list(range(1, 501)), "x": x, "z": np.asarray(x) * 2, "label": answers[:450] + answers[1:51]})
    )
    values = {part: set(np.asarray(columns["x"]).tolist()) for part, columns in data.parts().items()}
    assert sum(map(len, values.values())) == 450 and all(len(v) > 10 for v in values.values())
    assert "contradicting-rows" in {f.code for f in data.findings}


def test_an_id_is_known_in_any_order() -> None:
    rng = np.random.default_rng(0)
    order = rng.permutation(200)
    table = {"Id": (order + 1).astype(float), "x": rng.normal(size=200), "label": ["ab"[i // 100] for i in order]}
    data = read_table(Source(data=table))
    assert "Id" not in data.train and "x" in data.train


def test_equal_rows_do_not_join_groups() -> None:
    rng = np.random.default_rng(0)
    table = {name: rng.integers(0, 30, 3000).astype(float) for name in ("a", "b")}
    table |= {"patient": np.arange(3000) // 20 + 0.0, "label": rng.integers(0, 2, 3000).astype(str).tolist()}  # type: ignore[dict-item]
    data = read_table(Source(data=table, group="patient", label="label"))
    assert [length(columns) > 100 for columns in data.parts().values()] == [True] * 4


def test_a_part_that_cannot_be_filled_is_told() -> None:
    table = {"x": np.arange(100.0), "g": ["one"] * 100, "label": ["a", "b"] * 50}
    data = read_table(Source(data=table, group="g", label="label"))
    assert {f.reason.split()[1] for f in data.findings if f.code == "empty-part"} == {"valid", "calibration", "test"}


def test_the_order_of_rows_is_part_of_the_fingerprint() -> None:
    rows = {"x": np.arange(100.0) ** 2, "label": ["a", "b"] * 50}
    turned = {"x": rows["x"][::-1].copy(), "label": rows["label"][::-1]}
    assert read_table(Source(data=rows)).fingerprint != read_table(Source(data=turned)).fingerprint


@pytest.mark.parametrize(
    ("first", "told"), [("5.1,3.5,setosa", True), ("39,13,no", True), ("2019,2020,kind", False), ("x,2,kind", False)]
)
def test_a_first_line_that_may_be_a_row_is_told(tmp_path: Path, first: str, told: bool) -> None:
    path = write(tmp_path / "t.csv", first + "\n" + "".join(f"{i}.5,{i},{'ab'[i % 2]}\n" for i in range(40)))
    assert ("no-header" in codes(path)) == told


def test_arff_as_weka_writes_it(tmp_path: Path) -> None:
    text = "% iris\n@RELATION iris\n\n@ATTRIBUTE\twidth\tREAL\n@attribute kind {a, b}\n@DATA\n"
    text += "".join(f"{i}.5,{'ab'[i % 2]}\n" for i in range(40)) + "%\n% the end\n%\n"
    data = read_table(Source(data=write(tmp_path / "iris.arff", text)))
    assert sum(length(c) for c in data.parts().values()) == 40 and list(data.train) == ["width", "kind"] and not data.findings


def test_huge_numbers_and_cells_are_no_defect(tmp_path: Path) -> None:
    path = write(
        tmp_path / "t.jsonl", '{"x": ' + "9" * 5001 + ', "label": "a"}\n' + '{"x": 1, "label": "b"}\n{"x": 2, "label": "a"}\n' * 5
    )
    assert "bad-json" in codes(path)
    path = write(tmp_path / "t.csv", "x,label\n" + "y" * 140_000 + ",a\nz,b\nz,b,c\n")
    assert codes(path)["wrong-field-count"].row == 4


def test_codes_of_known_columns_stay_words() -> None:
    rows = {"code": ["001", "002"] * 20, "label": ["01", "02"] * 20}
    data = read_table(Source(data=rows), kind="classification", words=("code",), classes=("01", "02", "V1"))
    assert set(data.train["code"]) == {"001", "002"} and set(data.train["label"]) == {"01", "02"}
