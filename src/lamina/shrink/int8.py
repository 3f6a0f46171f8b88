"""Weights and activations as whole numbers of 8 bits: static quantization by ONNX Runtime, on an ONNX graph.

Weights have one scale an output channel, activations one a tensor, whose range is measured on the calibration part in
three ways: least to greatest value, a percentile of it, or the range that loses least information (Migacz 2017, "8-bit
Inference with TensorRT"). Which one is best depends on the network, so that validation decides.

Legend: B examples.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from lamina.data.columns import length, take
from lamina.data.source import Data
from lamina.errors import LaminaError
from lamina.files import sync
from lamina.run import Run
from lamina.shrink.folding import fold_norms_over_pools
from lamina.task import Batch, Columns, Task

FILE = "model.int8.onnx"
Calibration = Literal["minmax", "percentile", "entropy"]
CALIBRATIONS: tuple[Calibration, ...] = ("minmax", "percentile", "entropy")
BATCH = 32
PERCENTILE = 99.999
ENDLESS = 1e30
"""A magnitude that only a mask has."""
ENDING = ("Softmax", "ReduceMax", "ArgMax", "MaxPool")
"""Operations after which a mask is gone."""
JUDGED = 2000
"""Validation examples that choose between the ways to calibrate."""
HISTOGRAM_EXAMPLES = 128
"""Examples for the two ways that keep every activation in memory until they have its histogram."""


def quantized(run: Run, data: Data, examples: int, out: Path) -> tuple[Calibration, list[dict[str, Any]]]:
    """Write the int8 graph of `run` to `out`. Returns how it was calibrated, and what every way achieved on validation.

    Raises LaminaError where the libraries are missing, or there is nothing to calibrate on.
    """
    expect_libraries()
    from lamina.export.graph import program_of, write_onnx
    from lamina.export.session import onnx_forward

    task = run.task
    metric, direction = task.headline
    parts = data.parts()
    calibrating = next((parts[p] for p in ("calibration", "valid", "train") if length(parts[p])), data.train)
    judging = next((parts[p] for p in ("valid", "calibration", "train") if length(parts[p])), data.train)
    judging = take(judging, range(min(JUDGED, length(judging))))
    batches = batches_of(task, calibrating, examples)
    tried: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "float32.onnx"
        example = batches_of(task, data.train, 2)[0]
        write_onnx(program_of(task, run.model().float(), example), task, whole)
        for calibration in CALIBRATIONS:
            some = batches if calibration == "minmax" else batches[: -(-HISTOGRAM_EXAMPLES // BATCH)]
            file = Path(folder) / f"{calibration}.onnx"
            try:
                quantize_onnx(whole, some, file, calibration)
                figures = task.evaluate(onnx_forward(file, task), judging)[0]
            except LaminaError:
                raise
            except Exception as error:  # a way that fails on this network is told, and the others go on
                tried.append({"calibration": calibration, metric: None, "error": str(error)[:200]})
                continue
            tried.append({"calibration": calibration, metric: figures[metric], "loss": figures.get("loss", 0.0)})
        done = [row for row in tried if row.get(metric) is not None]
        if not done:
            raise LaminaError(f"--method int8: expected ONNX Runtime to quantize the network; {tried[0]['error']}")
        sign = 1 if direction == "max" else -1
        best = max(done, key=lambda row: (sign * row[metric], -row["loss"]))["calibration"]
        out.write_bytes((Path(folder) / f"{best}.onnx").read_bytes())
        sync(out)
    return best, tried


def expect_libraries() -> None:
    """Raises LaminaError where ONNX and its runtime are not installed."""
    try:
        import onnx  # noqa: F401
        import onnxruntime.quantization  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise LaminaError(
            f"--method int8: expected onnx, onnxscript and onnxruntime; {error.name} is missing: pip install 'lamina[export]'"
        ) from error


def batches_of(task: Task, columns: Columns, examples: int) -> list[Batch]:
    """Up to `examples` examples, encoded, in batches of one size: the histograms of ONNX Runtime take no other."""
    count = min(examples, length(columns))
    count -= count % BATCH if count > BATCH else 0
    if not count:
        raise LaminaError("--method int8: expected examples to calibrate on; the data has none")
    return [task.encode(take(columns, range(s, min(s + BATCH, count))), "evaluate") for s in range(0, count, BATCH)]


def quantize_onnx(float_onnx: Path, batches: Sequence[Batch], out: Path, calibration: Calibration = "minmax") -> Path:
    """Write the graph `float_onnx` in 8 bits to `out`, its ranges measured on `batches`; returns `out`.

    batches: values by the graph's input names, each (B, ...). Every operation that ONNX Runtime can quantize is, between
    pairs of quantization and its inverse (QDQ), which the runtime fuses into whole-number kernels.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    methods = {
        "minmax": CalibrationMethod.MinMax,
        "percentile": CalibrationMethod.Percentile,
        "entropy": CalibrationMethod.Entropy,
    }
    with quiet(), tempfile.TemporaryDirectory() as folder:
        folded = Path(folder) / "folded.onnx"
        # Norms must be folded into convolutions first: in 8 bits each would round by itself.
        quant_pre_process(str(float_onnx), str(folded), skip_symbolic_shape=True)
        graph = onnx.load(str(folded))
        fold_norms_over_pools(graph)
        onnx.save(graph, str(folded))
        quantize_static(
            str(folded),
            str(out),
            Reader(batches, names_of(folded)),  # type: ignore[arg-type]  # it asks for get_next and nothing else
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            # Seven bits for weights: two products of eight by eight bits overflow the 16-bit sums of processors without
            # VNNI, silently. The file must answer alike on all of them.
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=methods[calibration],
            nodes_to_exclude=masking(folded),
            extra_options={"CalibPercentile": PERCENTILE} if calibration == "percentile" else {},
        )
    return out


def masking(file: Path) -> list[str]:
    """The nodes that numbers without bounds pass through, as of a mask that attention adds: from their constant to the softmax.

    In eight bits such a range leaves nothing of the numbers that count.
    """
    import numpy as np
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(str(file)).graph
    held = {one.name: one for one in graph.initializer}
    held |= {n.output[0]: a.t for n in graph.node if n.op_type == "Constant" for a in n.attribute if a.name == "value"}
    kinds = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE)
    arrays = {name: numpy_helper.to_array(one) for name, one in held.items() if one.data_type in kinds}
    endless = {name for name, array in arrays.items() if array.size and np.abs(array.astype(np.float64)).max() > ENDLESS}
    found = []
    for node in graph.node:  # in the order in which they run
        if endless & set(node.input):
            found.append(node.name)
            endless |= set(node.output) if node.op_type not in ENDING else set()
    return found


def names_of(file: Path) -> list[str]:
    """The names of a graph's inputs."""
    import onnx

    return [node.name for node in onnx.load(str(file), load_external_data=False).graph.input]


class Reader:
    """What ONNX Runtime asks for calibration data: one batch a call as numpy arrays, then None."""

    def __init__(self, batches: Sequence[Batch], names: Sequence[str]) -> None:
        self.names = names
        self.left = iter(batches)

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self.left, None)
        return None if batch is None else {name: torch.as_tensor(batch[name]).numpy() for name in self.names}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        while (batch := self.get_next()) is not None:
            yield batch


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without what the quantizer prints about itself."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)
