"""Reading labelled texts: every layout, every planted defect named by file and line, and good files left alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.data.columns import length
from lamina.data.scan import scan
from lamina.data.source import Data, Source
from lamina.data.text_files import unquoted
from lamina.data.texts import labels_of, read_texts, scan_texts
from lamina.errors import LaminaError
from lamina.modalities.text import MOST_CHARACTERS

WORDS = ["film", "story", "actor", "plot", "music", "scene", "camera", "light", "sound", "end", "start", "hero", "town", "river"]


def good(count: int = 60, seed: int = 0) -> tuple[list[str], list[str]]:
    """Texts that differ, and a label that one of their words says."""
    rng = np.random.default_rng(seed)
    labels = ["pos" if i % 2 else "neg" for i in range(count)]
    texts = [
        f"{'fine' if label == 'pos' else 'poor'} {' '.join(rng.permutation(WORDS)[:6])} {i}" for i, label in enumerate(labels)
    ]
    return texts, labels


def lines(texts: list[str], labels: list[str]) -> str:
    return "".join(f"{text}\t{label}\n" for text, label in zip(texts, labels, strict=True))


def write(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def pairs(data: Data) -> set[tuple[str, Any]]:
    return {(t, str(y)) for c in data.parts().values() for t, y in zip(c[data.about["text"]], c["label"], strict=True)}


def codes(data: Any, **more: Any) -> dict[str, Any]:
    return {f.code: f for f in scan_texts(Source(data=data, **more))}


def test_every_layout_gives_the_same_texts(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts, labels = good()
    rows = [{"text": t, "label": y} for t, y in zip(texts, labels, strict=True)]
    for number, row in enumerate(rows):
        write(tmp_path / "folders" / row["label"] / f"{number:02d}.txt", row["text"])
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "t.parquet")
    csv_rows = "".join(f'"{t}",{y}\n' for t, y in zip(texts, labels, strict=True))
    sources: list[Any] = [
        (texts, labels),
        (tuple(texts), np.array(labels)),
        {"text": texts, "label": labels},
        rows,
        pa.Table.from_pylist(rows),
        tmp_path / "folders",
        tmp_path / "t.parquet",
        write(tmp_path / "a.tsv", lines(texts, labels)),
        write(tmp_path / "a.txt", lines(texts, labels).replace("\n", "\r\n")),
        write(tmp_path / "b.tsv", "".join(f"{y}\t{t}\n" for t, y in zip(texts, labels, strict=True))),
        write(tmp_path / "c.tsv", b"\xef\xbb\xbfid\tsentence\tlabel\n" + "".join(f"{i}\t{r['text']}\t{r['label']}\n" for i, r in enumerate(rows)).encode()),
        write(tmp_path / "a.csv", "text,label\n" + csv_rows),
        write(tmp_path / "b.csv", "review,stars,sentiment\n" + "".join(f'"{t}",1,{y}\n' for t, y in zip(texts, labels, strict=True))),
        write(tmp_path / "no-header.csv", csv_rows),
        write(tmp_path / "a.jsonl", "".join(json.dumps(r) + "\n" for r in rows)),
        write(tmp_path / "fast.txt", "".join(f"__label__{y} {t}\n" for t, y in zip(texts, labels, strict=True))),
        write(tmp_path / "one" / "a.tsv", lines(texts, labels)).parent,
    ]  # fmt: skip
    for source in sources:
        data = read_texts(Source(data=source))
        assert pairs(data) == set(zip(texts, labels, strict=True)), source
        assert min(length(c) for c in data.parts().values()) > 0 and not data.about["several"]
        assert not [f for f in data.findings if f.severity != "note"], (source, data.findings)


def test_saved_datasets(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    texts, labels = good()
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["neg", "pos"])})
    made = datasets.Dataset.from_dict({"text": texts, "label": [int(y == "pos") for y in labels]}, features=features)
    made.save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"train": made, "test": made.select(range(10))}).save_to_disk(tmp_path / "parts")
    assert pairs(read_texts(Source(data=tmp_path / "one"))) == set(zip(texts, labels, strict=True))
    assert length(read_texts(Source(data=tmp_path / "parts")).test) == 10


@pytest.mark.parametrize("suffix", ["tsv", "txt", "jsonl"])
def test_folders_of_parts(tmp_path: Path, suffix: str) -> None:
    texts, labels = good(90)
    for part, rows in (("train", slice(0, 60)), ("dev", slice(60, 75)), ("test", slice(75, 90))):
        some = texts[rows], labels[rows]
        content = (
            "".join(json.dumps({"text": t, "label": y}) + "\n" for t, y in zip(*some, strict=True))
            if suffix == "jsonl"
            else lines(*some)
        )
        write(tmp_path / f"{part}.{suffix}", content)
    data = read_texts(Source(data=tmp_path))
    assert data.test["text"] == texts[75:] and data.valid["text"] == texts[60:75]
    assert set(data.train["text"]) | set(data.calibration["text"]) == set(texts[:60]) and length(data.calibration) > 0


def test_class_folders_inside_parts(tmp_path: Path) -> None:
    texts, labels = good(40)
    for number, (text, label) in enumerate(zip(texts, labels, strict=True)):
        write(tmp_path / ("train" if number < 30 else "test") / label / f"{number:02d}", text)
    data = read_texts(Source(data=tmp_path))
    assert set(data.test["text"]) == set(texts[30:])


def test_several_labels() -> None:
    texts, _ = good(40)
    cells = [["a", "b"] if i % 3 == 0 else ["b"] if i % 3 == 1 else [] for i in range(40)]
    data = read_texts(Source(data=(texts, cells)))
    assert data.about["several"] and sorted(map(tuple, data.train["label"]))[0] == ()
    joined = read_texts(Source(data=(texts, ["; ".join(c) for c in cells])), separator=";")
    assert pairs(joined) == pairs(data)
    assert labels_of("b, a,b", ",") == ["a", "b"] and labels_of(None) is None and labels_of("") == []


def test_several_labels_in_files(tmp_path: Path) -> None:
    texts, labels = good(40)
    cells = [["x", y] for y in labels]
    objects = write(
        tmp_path / "a.jsonl", "".join(json.dumps({"text": t, "labels": c}) + "\n" for t, c in zip(texts, cells, strict=True))
    )
    fast = write(tmp_path / "a.txt", "".join(f"__label__x __label__{y} {t}\n" for t, y in zip(texts, labels, strict=True)))
    assert pairs(read_texts(Source(data=objects))) == pairs(read_texts(Source(data=fast)))


def planted(tmp_path: Path) -> Path:
    """Good lines, and from line 61 on one of each defect."""
    texts, labels = good()
    bad = [
        b"\tpos",
        b"   \tneg",
        b"bad \xff byte \xc3\xbc\tpos",
        b"a \x00 NUL\tpos",
        b"no label\t",
        b"one\ttwo\tthree",
        b"x" * (MOST_CHARACTERS + 1) + b"\tneg",
    ]
    return write(tmp_path / "bad.tsv", lines(texts, labels).encode() + b"\n".join(bad) + b"\n")


def test_every_defect_is_named_by_its_line_and_set_aside(tmp_path: Path) -> None:
    path = planted(tmp_path)
    data = read_texts(Source(data=path, bad_data="quarantine"))
    found = [(f.code, f.row) for f in data.findings if f.severity == "error"]
    assert sorted(found, key=lambda f: f[1]) == [
        ("empty-text", 61), ("empty-text", 62), ("not-utf-8", 63), ("nul-character", 64), ("missing-label", 65), ("wrong-field-count", 66), ("too-long", 67),
    ]  # fmt: skip
    assert all(f.file == str(path) and f.fix for f in data.findings if f.severity == "error")
    assert pairs(data) == set(zip(*good(), strict=True))
    with pytest.raises(LaminaError, match=r"bad\.tsv:\d+: .*\(and 6 more\); `lamina scan` lists them"):
        read_texts(Source(data=path))
    assert {f.code for f in scan(Source(data=path))} >= {code for code, _ in found}


def test_defects_of_other_files(tmp_path: Path) -> None:
    texts, labels = good()
    head = "".join(json.dumps({"text": t, "label": y}) + "\n" for t, y in zip(texts, labels, strict=True))
    jsonl = (
        head
        + '{"text": null, "label": "pos"}\n{"text": 3, "label": "pos"}\n{"text": "half \\ud800", "label": "pos"}\n{"text": "a"}\nnonsense\n'
    )
    found = {(f.code, f.row) for f in scan_texts(Source(data=write(tmp_path / "a.jsonl", jsonl)))}
    assert {("missing-text", 61), ("missing-text", 62), ("not-utf-8", 63), ("missing-label", 64), ("bad-json", 65)} <= found
    csv = "text,label\n" + "".join(f"{t},{y}\n" for t, y in zip(texts, labels, strict=True))
    found = {
        (f.code, f.row)
        for f in scan_texts(Source(data=write(tmp_path / "a.csv", csv.encode() + b"w\xc3\xbcrfel \xff,pos\nnul \0,neg\n")))
    }
    assert {("not-utf-8", 62), ("nul-character", 63)} <= found
    write(tmp_path / "f" / "pos" / "nul.txt", "\x00")
    for number, (text, label) in enumerate(zip(texts, labels, strict=True)):
        write(tmp_path / "f" / label / f"{number}.txt", text)
    write(tmp_path / "f" / "pos" / "cover.png", b"\x89PNG")
    named = {f.code: f.file for f in scan_texts(Source(data=tmp_path / "f"))}
    assert str(named["nul-character"]).endswith("nul.txt") and str(named["not-a-text"]).endswith("cover.png")


def test_western_files_are_read_and_said(tmp_path: Path) -> None:
    texts, labels = good()
    path = write(tmp_path / "a.tsv", lines([f"{t} café" for t in texts], labels).encode("cp1252"))
    data = read_texts(Source(data=path))
    assert [f.code for f in data.findings] == ["not-utf-8"] and all(t.endswith("café") for t in data.train["text"])


@pytest.mark.parametrize("name, content, said", [
    ("a.txt", "", "the file is empty"),
    ("a.txt", "one line\nand another\n", "text<TAB>label"),
    ("a.csv", "text\nonly texts\n", "the only column is text"),
    ("a.jsonl", "[]", "expected JSON objects"),
    ("a.tsv", "text\tlabel\n", "expected lines"),
    ("a.tsv", "a\u0000".encode("utf-16"), "UTF-16"),
])  # fmt: skip
def test_files_that_cannot_be_read_say_why(tmp_path: Path, name: str, content: Any, said: str) -> None:
    path = write(tmp_path / name, content)
    with pytest.raises(LaminaError, match=name.replace(".", r"\.")) as told:
        read_texts(Source(data=path))
    assert said in str(told.value)
    assert [f.code for f in scan_texts(Source(data=path))] == ["unreadable-texts"]


def test_columns_are_named_asked_for_or_found(tmp_path: Path) -> None:
    texts, labels = good()
    other = [f"note {i}" for i in range(60)]
    path = write(
        tmp_path / "a.csv",
        "body,note,kind,stars\n"
        + "".join(f"{t},{n},{y},{i % 5}\n" for i, (t, n, y) in enumerate(zip(texts, other, labels, strict=True))),
    )
    assert read_texts(Source(data=path, label="kind")).about["text"] == "body"
    asked = read_texts(Source(data=path, text="note", label="kind"))
    assert set(asked.train["note"]) <= set(other)
    for flags, said in (
        ({"text": "none"}, "--text: expected one of the columns body"),
        ({"label": "none"}, "--label: expected one of"),
    ):
        with pytest.raises(LaminaError, match=said):
            read_texts(Source(data=path, **flags))
    again = read_texts(Source(data=(texts, labels)), usual=("body", "kind"), classes=("neg", "pos"))
    assert again.about["text"] == "body"


def test_equal_texts_stay_together_whatever_their_spelling() -> None:
    texts, labels = good(100)
    texts += [t.upper() + "!" for t in texts]
    data = read_texts(Source(data=(texts, labels * 2)))
    home = {t: part for part, c in data.parts().items() for t in c["text"]}
    assert all(home[t] == home[t.upper() + "!"] for t in texts[:100])
    assert {f.code for f in data.findings} == {"duplicate"}


def test_leaks_conflicts_and_classes_are_told(tmp_path: Path) -> None:
    texts, labels = good(60)
    write(tmp_path / "train.tsv", lines([*texts, texts[0]], [*labels, "pos"]))
    write(tmp_path / "test.tsv", lines([texts[5].title(), "something else"], [labels[5], "neg"]))
    found = codes(tmp_path)
    assert {"leaking-duplicate", "duplicate", "conflicting-label"} <= set(found)
    leak = found["leaking-duplicate"]
    assert Path(leak.file).name == "test.tsv" and leak.row == 1 and "train.tsv:6" in leak.reason
    write(tmp_path / "test.tsv", lines(["never heard"], ["strange"]))
    assert codes(tmp_path)["unknown-class"].row == 1
    with pytest.raises(LaminaError, match="unknown-class"):
        read_texts(Source(data=tmp_path))


def test_right_to_left_and_marks_of_direction_are_told() -> None:
    texts, labels = good()
    found = codes(([*texts, "שלום עולם", "safe \u202e evil"], [*labels, "pos", "neg"]))
    assert found["right-to-left"].severity == "note" and found["direction-marks"].row == 62


def test_labels_of_their_own_are_no_labels() -> None:
    texts, _ = good()
    with pytest.raises(LaminaError, match="expected labels that texts share"):
        read_texts(Source(data=(texts, [str(i) for i in range(60)])))


def test_groups_stay_together_and_times_split(tmp_path: Path) -> None:
    texts, labels = good()
    rows = [
        {"text": t, "label": y, "author": f"a{i // 4}", "day": f"2024-01-{1 + i // 2:02d}"}
        for i, (t, y) in enumerate(zip(texts, labels, strict=True))
    ]
    path = write(tmp_path / "a.jsonl", "".join(json.dumps(r) + "\n" for r in rows))
    data = read_texts(Source(data=path, group="author"))
    home = [set(c["author"]) for c in data.parts().values()]
    assert sum(map(len, home)) == len(set().union(*home)) == 15
    newest = read_texts(Source(data=path, time="day"))
    assert newest.test["text"][-1] == texts[-1] and newest.train["text"][0] == texts[0]
    with pytest.raises(LaminaError, match="--group: expected one of the columns"):
        read_texts(Source(data=path, group="nobody"))


def test_the_fingerprint_is_that_of_content_and_split() -> None:
    texts, labels = good()
    first = read_texts(Source(data=(texts, labels)))
    assert read_texts(Source(data=(texts, labels))).fingerprint == first.fingerprint
    assert read_texts(Source(data=(texts, labels), split_seed=1)).fingerprint != first.fingerprint
    assert read_texts(Source(data=([*texts[:-1], "changed"], labels))).fingerprint != first.fingerprint


def test_tables_of_numbers_are_no_texts_and_texts_are_no_tables(tmp_path: Path) -> None:
    numbers = write(
        tmp_path / "n.csv", "size,colour,label\n" + "".join(f"{i},{'red' if i % 3 else 'blue'},{i % 2}\n" for i in range(40))
    )
    assert "unreadable-texts" not in {f.code for f in scan(Source(data=numbers))}
    texts, labels = good()
    assert not scan(
        Source(data=write(tmp_path / "t.csv", "text,label\n" + "".join(f"{t},{y}\n" for t, y in zip(texts, labels, strict=True))))
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.text(max_size=30), st.sampled_from(["a", "b", ""])), min_size=1, max_size=12))
def test_whatever_is_in_memory_is_read_or_named(rows: list[tuple[str, str]]) -> None:
    texts, labels = (list(side) for side in zip(*rows, strict=True))
    for bad_data in ("strict", "quarantine"):
        try:
            data = read_texts(Source(data=(texts, labels), bad_data=bad_data))
        except LaminaError:
            continue
        assert sum(length(c) for c in data.parts().values()) <= len(texts)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200))
def test_no_file_ends_in_a_traceback(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.mktemp("any")
    for name in ("a.txt", "a.tsv", "a.csv", "a.jsonl"):
        scan_texts(Source(data=write(folder / name, content)))


def test_quotation_marks_are_marks_unless_they_stand_around_a_cell() -> None:
    assert unquoted('"a ""b"" c"') == 'a "b" c' and unquoted('"a" and "b"') == '"a" and "b"' and unquoted('"') == '"'
