"""An ONNX file and an exported program as a Forward: names, shapes, and what is said of files that are neither."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lamina.errors import LaminaError
from lamina.evaluate import evaluate
from lamina.export.session import onnx_forward, program_forward
from tiny_task import Line, Tiny, TinyRun

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def signs(path: Path, input_name: str = "x", output: str = "logits") -> Path:
    """The graph of `Line`, written node by node: logits (B, 2) are numbers (B,) times (-1, 1)."""
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("Unsqueeze", [input_name, "axis"], ["column"]),
        helper.make_node("Mul", ["column", "signs"], [output]),
    ]
    graph = helper.make_graph(
        nodes,
        "signs",
        [helper.make_tensor_value_info(input_name, TensorProto.FLOAT, ["B"])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["B", 2])],
        [numpy_helper.from_array(np.array([1]), "axis"), numpy_helper.from_array(np.array([-1, 1], np.float32), "signs")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


@pytest.mark.parametrize("count", [1, 2, 7])
def test_an_onnx_file_answers_as_the_model(tmp_path: Path, count: int) -> None:
    forward = onnx_forward(signs(tmp_path / "m.onnx"), Tiny(), threads=1)
    x_B = torch.linspace(-1, 1, count)
    said = forward(x_B)
    assert isinstance(said, dict) and list(said) == ["logits"]
    assert said["logits"].dtype == torch.float32
    torch.testing.assert_close(said["logits"], Line()(x_B)["logits"])


def test_it_is_evaluated_as_any_forward(tmp_path: Path) -> None:
    forward = onnx_forward(signs(tmp_path / "m.onnx"), Tiny(), threads=1)
    one, other = (evaluate(TinyRun(), resamples=0, forward=f).metrics for f in (forward, Line()))
    assert one["accuracy"] == other["accuracy"] and one["accuracy"]["value"] not in (0.0, 1.0)


def test_an_output_without_a_key_is_a_tensor(tmp_path: Path) -> None:
    said = onnx_forward(signs(tmp_path / "m.onnx", output="output"), Tiny())(torch.ones(2))
    assert isinstance(said, torch.Tensor) and said.shape == (2, 2)


def test_what_is_no_such_graph_is_told_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(LaminaError, match=r"none\.onnx: expected an ONNX file; there is no such file"):
        onnx_forward(tmp_path / "none.onnx", Tiny())
    with pytest.raises(LaminaError, match=r"expected the inputs x; the graph has y"):
        onnx_forward(signs(tmp_path / "y.onnx", "y"), Tiny())
    whole = signs(tmp_path / "m.onnx").read_bytes()
    (tmp_path / "m.onnx").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(LaminaError, match=r"m\.onnx: expected an ONNX graph") as told:
        onnx_forward(tmp_path / "m.onnx", Tiny())
    assert "\n" not in str(told.value)


def test_an_exported_program_answers_as_the_model(tmp_path: Path) -> None:
    program = torch.export.export(Line(), (torch.ones(3),), dynamic_shapes=({0: torch.export.Dim("B", min=1, max=64)},))
    torch.export.save(program, tmp_path / "m.pt2")
    forward = program_forward(tmp_path / "m.pt2")
    for count in (1, 2, 7):
        x_B = torch.linspace(-1, 1, count)
        torch.testing.assert_close(forward(x_B), Line()(x_B))
    (tmp_path / "m.pt2").write_bytes((tmp_path / "m.pt2").read_bytes()[:100])
    with pytest.raises(LaminaError, match=r"m\.pt2: expected a program of torch\.export") as told:
        program_forward(tmp_path / "m.pt2")
    assert "\n" not in str(told.value)
    with pytest.raises(LaminaError, match="there is no such file"):
        program_forward(tmp_path / "none.pt2")
