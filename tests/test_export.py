"""Export: graphs that answer as their runs on every example, planted faults that are refused, and nothing left behind."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lamina.ask import Asked
from lamina.data.columns import length
from lamina.errors import LaminaError
from lamina.export.api import export
from lamina.export.edge import pte_forward
from lamina.export.graph import Graph, program_of
from lamina.export.parity import compare, differ, require
from lamina.export.session import onnx_forward, program_forward
from lamina.export.settings import Settings, check
from lamina.files import read_json
from lamina.run import Run
from lamina.task import Batch, Columns, Input, Mode
from tiny_task import Line, Tiny, TinyRun, data_of, rows
from untrained import untrained

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose logits are tempered by 2.5."""
    run = untrained(tmp_path_factory.mktemp("runs") / "digits", "image-classification", width=0.25)
    run.keep_temperature(2.5)
    return run


@pytest.fixture(scope="module")
def exported(digits: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("exports") / "digits"
    export(Asked(digits, Settings(out=str(place))))
    return place


def test_the_graph_answers_as_the_run_at_any_batch(digits: Run, exported: Path) -> None:
    x_NCHW = digits.task.encode(digits.data().test, "evaluate")["image"]
    forward, reference = onnx_forward(exported / "model.onnx", digits.task), digits.forward("cpu", "float32")
    for count in (1, 2, 7, 300):
        said, wanted = forward(x_NCHW[:count]), reference(x_NCHW[:count])
        assert list(said) == ["logits", "features"]
        for key in wanted:
            torch.testing.assert_close(said[key], wanted[key], rtol=1e-4, atol=1e-4)


def test_the_temperature_is_in_the_graph(digits: Run, exported: Path) -> None:
    """Against the model itself, not against what tempers it elsewhere."""
    x_NCHW = digits.task.encode(digits.data().test, "evaluate")["image"][:5]
    with torch.no_grad():
        raw = digits.model()(x_NCHW)
    said = onnx_forward(exported / "model.onnx", digits.task)(x_NCHW)
    torch.testing.assert_close(said["logits"] * 2.5, raw["logits"], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(said["features"], raw["features"], rtol=1e-4, atol=1e-4)
    assert read_json(exported / "export.json")["temperature"] == 2.5


def test_what_the_folder_says_of_itself(digits: Run, exported: Path) -> None:
    about = read_json(exported / "export.json")
    assert about["inputs"][0]["dims"] == ["B", 1, 8, 8] and about["inputs"][0]["dtype"] == "uint8"
    assert about["outputs"] == ["logits", "features"] and about["sizes"] == {"B": [1, None]}
    assert about["parity"]["examples"] == length(digits.data().test) and about["parity"]["changed_answers"] == 0
    accuracy = about["parity"]["metrics"]["accuracy"]
    assert accuracy["run"] == accuracy["exported"]
    assert set(about["files"]) == {"model.onnx", "processor/state.json", "processor/calibration.json"}
    assert {"torch", "onnx", "onnxruntime", "opset"} <= set(about["versions"])
    assert len((exported / "README.txt").read_text().splitlines()) == 3


def test_a_verdict_in_words_and_figures(tmp_path: Path) -> None:
    run = untrained(tmp_path / "run", "tabular", width=16, members=2)
    made = export(Asked(run, Settings(format="pt2", examples=30)))
    assert made.verb == "export" and made.figures["changed_answers"]["value"] == 0
    assert "30 of 30 examples" in made.sentences[0] and "--format onnx" in made.skipped["runner"]
    assert made.figures["max_difference_share"]["value"] <= 1e-3
    assert json.loads(json.dumps(made.details))["folder"] == str(run.folder / "export-pt2")
    table = run.task.encode(run.data().test, "evaluate")["table"]
    for count in (1, 2, 7):
        said = program_forward(run.folder / "export-pt2" / "model.pt2")(table[:count])
        torch.testing.assert_close(said, run.forward("cpu", "float32")(table[:count]), rtol=1e-4, atol=1e-5)
    export(Asked(run, Settings(format="pt2", examples=30)))  # an earlier export is replaced
    assert sorted(p.name for p in run.folder.glob("*export*")) == ["export-pt2"]


def test_executorch_is_named_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "executorch", None)
    with pytest.raises(LaminaError, match=r"--format pte: expected ExecuTorch; .*pip install 'lamina\[executorch\]'"):
        export(Asked(HoldingRun(tmp_path / "run", Line()), Settings(format="pte", out=str(tmp_path / "made"))))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run"]


def test_executorch(tmp_path: Path) -> None:
    pytest.importorskip("executorch.runtime")
    run = untrained(tmp_path / "run", "tabular", width=16, members=2)
    made = export(Asked(run, Settings(format="pte")))
    assert made.figures["changed_answers"]["value"] == 0 and made.details["parity"]["examples"] == 85
    forward = pte_forward(run.folder / "export-pte" / "model.pte", made.details["outputs"])
    table = run.task.encode(run.data().test, "evaluate")["table"]
    for count in (1, 2, 7):
        torch.testing.assert_close(forward(table[:count]), run.forward("cpu", "float32")(table[:count]), rtol=1e-4, atol=1e-5)


# Planted faults.


class Branches(Line):
    """Decides in Python on what its input holds: no graph can."""

    def forward(self, x_B: torch.Tensor) -> dict[str, torch.Tensor]:
        return super().forward(x_B if x_B.sum() > 0 else 2 * x_B)


class Turncoat(Line):
    """Says something else while it is exported."""

    def forward(self, x_B: torch.Tensor) -> dict[str, torch.Tensor]:
        said = super().forward(x_B)
        return {"logits": said["logits"] + 0.02} if torch.compiler.is_exporting() else said


class OfOneSize(Line):
    """Knows its batch by heart."""

    def forward(self, x_B: torch.Tensor) -> dict[str, torch.Tensor]:
        return super().forward(x_B.reshape(3))


@dataclass(frozen=True)
class Holding(Tiny):
    """The tiny task with a network of one's choice."""

    net: Any = None

    def model(self) -> nn.Module:
        return self.net


class HoldingRun(TinyRun):
    """Not trained, and in a folder."""

    def __init__(self, folder: Path, net: nn.Module) -> None:
        super().__init__(folder, Holding(net=net), data_of(60), net)
        (folder / "processor").mkdir(parents=True)

    def model(self) -> nn.Module:
        return self.task.model().eval()


@pytest.mark.parametrize(
    ("net", "told"),
    [
        (Branches(), "expected one that torch.export takes"),
        (OfOneSize(), "expected one that torch.export takes"),
        (Turncoat(), r"parity: expected outputs within 0\.001 of the run's; logits differs by up to 0\.02"),
    ],
)
def test_what_would_answer_otherwise_is_refused_and_leaves_nothing(tmp_path: Path, net: nn.Module, told: str) -> None:
    run = HoldingRun(tmp_path / "run", net)
    with pytest.raises(LaminaError, match=told) as error:
        export(Asked(run, Settings(format="pt2", out=str(tmp_path / "made"))))
    assert "\n" not in str(error.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run"]


def test_a_task_without_a_reader_is_exported_without_a_runner(tmp_path: Path) -> None:
    made = export(Asked(HoldingRun(tmp_path / "run", Line()), Settings(format="onnx", out=str(tmp_path / "made"))))
    assert "declares no reader" in made.skipped["runner"]
    assert sorted(p.name for p in (tmp_path / "made").iterdir()) == ["README.txt", "export.json", "model.onnx", "processor"]
    x_B = torch.tensor([0.5, -1.0])
    torch.testing.assert_close(onnx_forward(tmp_path / "made" / "model.onnx", Tiny())(x_B), Line()(x_B))


def test_a_graph_with_one_weight_changed_is_refused(digits: Run, exported: Path, tmp_path: Path) -> None:
    from onnx import numpy_helper

    model = onnx.load(exported / "model.onnx")
    weight = max(model.graph.initializer, key=lambda tensor: np.prod(tensor.dims))
    values = numpy_helper.to_array(weight).copy()
    values.flat[4] += 0.5  # the middle of a 3x3 filter: of pictures this small, its border sees padding alone
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    onnx.save(model, tmp_path / "bent.onnx")
    task, test, reference = digits.task, digits.data().test, digits.forward("cpu", "float32")
    require(compare(task, reference, onnx_forward(exported / "model.onnx", task), test, 1e-3), 1e-3)
    bent = compare(task, reference, onnx_forward(tmp_path / "bent.onnx", task), test, 1e-3)
    with pytest.raises(LaminaError, match="differs by up to"):
        require(bent, 1e-3)
    require(bent, 0.999)  # the tolerance is what decides


# Parity itself.


def test_changed_answers_are_counted_on_every_example() -> None:
    """One example of 300 turned over, in the last and smallest batch."""
    task, examples = Tiny(), rows(300, 0)
    last = float(np.float32(examples["x"][-1]))

    def turned(x_B: torch.Tensor) -> dict[str, torch.Tensor]:
        return Line()(torch.where(x_B == last, -x_B, x_B))

    same = compare(task, Line(), Line(), examples, 1e-3)
    assert (same.count, same.changed, same.outputs["logits"].largest) == (300, 0, 0.0)
    assert same.run == same.exported
    other = compare(task, Line(), turned, examples, 1e-3)
    assert other.changed == 1 and abs(other.run["accuracy"] - other.exported["accuracy"]) == pytest.approx(1 / 300)
    assert other.outputs["logits"].largest == pytest.approx(2 * abs(last), rel=1e-6)
    with pytest.raises(LaminaError, match=r"over 300 examples, 1 answers change \(accuracy"):
        require(other, 1e-3)


def test_a_difference_is_measured_against_what_is_usual_for_the_output() -> None:
    """An error of 1e-5 is much where answers are 1e-4, and little where they are 1e4."""
    for scale, fine in ((1e-4, False), (1.0, True), (1e4, True)):
        parity = compare(
            Tiny(),
            lambda x_B, s=scale: {"logits": Line()(x_B)["logits"] * s},
            lambda x_B, s=scale: {"logits": Line()(x_B)["logits"] * s + 1e-5},
            rows(50, 0),
            1e-3,
        )
        assert (parity.worst[1].share <= 1e-3) is fine


def test_what_is_not_a_number_is_a_difference_and_equals_itself() -> None:
    nan = {"logits": torch.full((1, 2), float("nan"))}
    examples = rows(1, 0)
    assert compare(Tiny(), lambda x: nan, lambda x: nan, examples, 1e-3).worst[1].largest == 0
    with pytest.raises(LaminaError, match="differs by up to inf"):
        require(compare(Tiny(), Line(), lambda x: nan, examples, 1e-3), 1e-3)


def test_outputs_of_other_names_and_shapes_are_told() -> None:
    examples = rows(10, 0)
    with pytest.raises(LaminaError, match="expected the outputs logits; it gives logits, more"):
        compare(Tiny(), Line(), lambda x: {**Line()(x), "more": x}, examples, 1e-3)
    with pytest.raises(LaminaError, match=r"expected logits of shape \(1, 2\); it gives \(1, 1\)"):
        compare(Tiny(), Line(), lambda x: {"logits": Line()(x)["logits"][:, :1]}, examples, 1e-3)


@pytest.mark.parametrize(
    ("a", "b", "apart"),
    [
        ({"label": "x", "p": 0.5}, {"label": "x", "p": 0.50001}, False),
        ({"label": "x", "p": 0.5}, {"label": "y", "p": 0.5}, True),
        ({"p": 0.5}, {"p": 0.6}, True),
        ({"boxes": [1.0, 2.0]}, {"boxes": [1.0, 2.0]}, False),
        ({"boxes": [1.0, 2.0]}, {"boxes": [1.0]}, True),
        ({"v": float("nan")}, {"v": float("nan")}, False),
        ({"v": 1e6}, {"v": 1e6 + 1}, False),
        ({"a": 1}, {"b": 1}, True),
    ],
)
def test_when_two_answers_differ(a: Any, b: Any, apart: bool) -> None:
    assert differ(a, b, 1e-3) is apart


# The graph.


@dataclass(frozen=True)
class Lengths(Tiny):
    """Numbers in a row whose length varies."""

    sizes = {"T": (2, 64)}  # type: ignore[assignment] # noqa: RUF012

    @property
    def inputs(self) -> tuple[Input, ...]:
        return (Input("x", ("B", "T"), "float32", "observation"),)

    def encode(self, columns: Columns, mode: Mode) -> Batch:
        return {"x": torch.tensor(np.asarray(columns["x"], np.float32))}


class Mean(nn.Module):
    def forward(self, x_BT: torch.Tensor) -> torch.Tensor:
        return x_BT.mean(1)


def test_declared_sizes_vary_and_an_output_without_a_key_is_one() -> None:
    program = program_of(Lengths(), Mean(), {"x": torch.randn(3, 5)})
    for shape in ((1, 2), (4, 9), (2, 64)):
        x_BT = torch.randn(shape)
        torch.testing.assert_close(program.module()(x_BT)["output"], x_BT.mean(1))
    with pytest.raises(Exception, match=r"64|guard|Guard"):
        program.module()(torch.randn(2, 65))


def test_logits_and_features_come_first_in_float32() -> None:
    class Says(nn.Module):
        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"more": x, "count": x.long(), "features": x.double(), "logits": x.bfloat16()}

    said = Graph(Says(), 2.0)(torch.ones(2, 2))
    assert list(said) == ["logits", "features", "more", "count"]
    assert said["logits"].dtype == said["features"].dtype == torch.float32 and said["count"].dtype == torch.int64
    assert torch.equal(said["logits"], torch.full((2, 2), 0.5)) and torch.equal(said["features"], torch.ones(2, 2))


# Settings and places.


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (Settings(format="tflite"), "--format: expected one of onnx, pt2, pte; got 'tflite'"),  # type: ignore[arg-type]
        (Settings(tolerance=0), "--tolerance: expected a share above 0, below 1; got 0"),
        (Settings(examples=0), "--examples: expected 1 or more; got 0"),
    ],
)
def test_settings_that_make_no_sense(settings: Settings, told: str) -> None:
    with pytest.raises(LaminaError, match=told):
        check(settings)


def test_what_stands_in_the_way_is_kept(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    (tmp_path / "file").write_text("x")
    for name, told in (("mine", "holds something else"), ("file", "is a file")):
        with pytest.raises(LaminaError, match=told):
            export(Asked(TinyRun(), Settings(out=str(tmp_path / name))))
    assert (tmp_path / "mine" / "letter.txt").read_text() == "dear" and (tmp_path / "file").read_text() == "x"
