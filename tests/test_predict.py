"""Answers in order, one bad input among many, standard input, and the files that answers are written to."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import lamina
from lamina.errors import LaminaError
from lamina.predict import predict, print_answers, write_answers
from lamina.task import Batch, Columns, Input, Mode
from tiny_task import Line, Tiny, TinyRun


@dataclass(frozen=True)
class Brightness(Tiny):
    """`high` where a picture is bright."""

    @property
    def inputs(self) -> tuple[Input, ...]:
        return (Input("x", ("B",), "float32", "image"),)

    @property
    def asks(self) -> tuple[str, ...]:
        return ("image",)

    def encode(self, columns: Columns, mode: Mode) -> Batch:
        from lamina.modalities.image import pictures

        assert set(columns) == {"image"}  # a client sends nothing else
        pixels = pictures(columns["image"], (1, 4, 4)).astype(float)
        return super().encode({"x": pixels.mean((1, 2, 3)) / 127.5 - 1}, "predict")


def picture(path: Path, value: int) -> Path:
    Image.fromarray(np.full((6, 6), value, dtype=np.uint8)).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six pictures, dark and bright in turn."""
    (tmp_path / "pictures").mkdir()
    for i in range(6):
        picture(tmp_path / "pictures" / f"{i}.png", 250 if i % 2 else 5)
    return tmp_path / "pictures"


def labels(answers: Sequence[dict[str, Any]]) -> list[str]:
    return [answer.get("label", "error") for answer in answers]


@pytest.mark.parametrize("size", [1, 4, "auto"])
def test_a_folder_is_answered_in_order_whatever_the_batches(folder: Path, size: Any) -> None:
    answers = list(predict(TinyRun(task=Brightness()), [str(folder)], batch_size=size))
    assert labels(answers) == ["low", "high"] * 3
    assert [Path(answer["source"]).name for answer in answers] == [f"{i}.png" for i in range(6)]
    assert list(answers[0]) == ["source", "label", "probability"]


@pytest.mark.parametrize("size", [1, 2, 256])
def test_a_bad_file_costs_only_its_own_answer(folder: Path, size: int) -> None:
    whole = (folder / "3.png").read_bytes()
    (folder / "3.png").write_bytes(whole[: len(whole) // 2])
    answers = list(predict(TinyRun(task=Brightness()), [str(folder)], batch_size=size, strict=False))
    assert labels(answers) == ["low", "high", "low", "error", "low", "high"]
    assert answers[3]["source"].endswith("3.png") and "3.png" in answers[3]["error"] and set(answers[3]) == {"source", "error"}
    with pytest.raises(LaminaError, match=r"3\.png"):
        list(predict(TinyRun(task=Brightness()), [str(folder)]))


def test_a_missing_file_too_and_all_may_be_bad(folder: Path) -> None:
    run = TinyRun(task=Brightness())
    names = [str(folder / "1.png"), str(folder / "nowhere.png"), str(folder / "0.png")]
    answers = list(predict(run, names, strict=False))
    assert labels(answers) == ["high", "error", "low"] and "nowhere.png" in answers[1]["error"]
    assert labels(list(predict(run, names[1:2], strict=False))) == ["error"]
    (folder / "0.png").write_bytes(b"")
    assert labels(list(predict(run, [str(folder / "0.png")], strict=False))) == ["error"]


def test_standard_input_is_read_once_among_others(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO((folder / "1.png").read_bytes())))
    answers = list(predict(TinyRun(task=Brightness()), [str(folder / "0.png"), "-", str(folder / "nowhere.png")], strict=False))
    assert labels(answers) == ["low", "high", "error"] and answers[1]["source"] == "standard input"


def test_arrays_and_columns_are_answered(folder: Path) -> None:
    run = TinyRun(task=Brightness())
    assert labels(run.predict(np.full((6, 6), 255, dtype=np.uint8))) == ["high"]
    assert labels(run.predict(str(folder / "0.png"))) == ["low"]
    assert labels(list(lamina.predict(TinyRun(), {"x": [1.0, -2.0, 3.0]}))) == ["high", "low", "high"]
    with pytest.raises(LaminaError, match="expected the columns x; 'x' is missing"):
        predict(TinyRun(), {"y": [1.0]})


def test_a_row_that_cannot_be_read_costs_only_its_own_answer(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("x,y\n1,1\n2\n-3,1\n")
    answers = list(predict(TinyRun(), [str(tmp_path / "rows.csv")], strict=False))
    assert labels(answers) == ["high", "error", "low"]
    assert answers[1]["source"].endswith("rows.csv:3") and "expected 2 fields" in answers[1]["error"]
    with pytest.raises(LaminaError, match=r"rows\.csv:3: expected 2 fields"):
        predict(TinyRun(), [str(tmp_path / "rows.csv")])


def test_nothing_to_answer_is_told() -> None:
    with pytest.raises(LaminaError, match="expected at least one input"):
        predict(TinyRun(task=Brightness()), [])
    with pytest.raises(LaminaError, match="batch_size: expected 1 or more, or auto; got 0"):
        predict(TinyRun(), {"x": [1.0]}, batch_size=0)


def test_a_fault_of_the_model_is_not_blamed_on_a_file(folder: Path) -> None:
    class Broken(Brightness):
        def encode(self, columns: Columns, mode: Mode) -> Batch:
            if len(columns["image"]) > 1:
                raise LaminaError("this batch is too large")
            return super().encode(columns, mode)

    with pytest.raises(LaminaError, match="too large"):
        list(predict(TinyRun(task=Broken()), [str(folder)], strict=False))


ANSWERS = [
    {"source": "a,b.png", "label": "rose", "probability": 0.75, "probabilities": {"rose": 0.75, "lily": 0.25}},
    {"source": "c.png", "label": "lily", "probability": float("nan"), "probabilities": {"rose": 0.5, "lily": 0.5}},
]


def test_answers_are_written_whole(tmp_path: Path) -> None:
    assert write_answers(ANSWERS, tmp_path / "new" / "a.jsonl") == 2
    read = [json.loads(line) for line in (tmp_path / "new" / "a.jsonl").read_text().splitlines()]
    assert read[0] == ANSWERS[0] and read[1]["probability"] is None
    write_answers(ANSWERS, tmp_path / "a.csv")
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["source"] == "a,b.png" and json.loads(rows[0]["probabilities"]) == {"rose": 0.75, "lily": 0.25}
    with pytest.raises(LaminaError, match=r"out: expected a file that ends in \.jsonl, \.csv or \.tsv; got .*a\.txt"):
        write_answers(ANSWERS, tmp_path / "a.txt")


def test_elsewhere_than_on_a_terminal_answers_are_tab_separated(capsys: pytest.CaptureFixture[str]) -> None:
    print_answers(iter(ANSWERS))
    assert capsys.readouterr().out.splitlines() == ["source\tlabel\tprobability", "a,b.png\trose\t0.75", "c.png\tlily\t"]


def test_any_forward_answers() -> None:
    answers = list(predict(TinyRun(), {"x": [1.0]}, forward=lambda x: Line()(-x)))
    assert labels(answers) == ["low"]
