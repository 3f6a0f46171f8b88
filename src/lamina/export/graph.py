"""A model as a graph: `torch.export` with the sizes that vary left open, and from its program an ONNX file.

What stands in the graph: raw inputs in (normalization is a part of the model), the temperature of the run, every output by
its key, `logits` and `features` first.

Legend: B examples.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lamina.errors import LaminaError
from lamina.export.session import OUTPUT, one_line
from lamina.task import Batch, Task

FIRST = ("logits", "features")
"""The outputs that come first, in this order: what clients read."""


class Graph(nn.Module):
    """A model whose outputs all have a name, are float32 where they are numbers, and whose logits are tempered.

    Logits are divided by `temperature` (Guo et al. 2017, section 4.2), as `run.forward()` divides them.
    """

    def __init__(self, model: nn.Module, temperature: float = 1.0) -> None:
        super().__init__()
        self.model = model
        self.temperature = temperature

    def forward(self, *inputs: Tensor) -> dict[str, Tensor]:
        said = self.model(*inputs)
        named = said if isinstance(said, dict) else {OUTPUT: said}
        kept = {key: named[key] for key in (*(k for k in FIRST if k in named), *(k for k in named if k not in FIRST))}
        kept = {key: value.float() if value.is_floating_point() else value for key, value in kept.items()}
        if self.temperature != 1.0 and "logits" in kept:
            kept["logits"] = kept["logits"] / self.temperature
        return kept


def varying(task: Task) -> set[str]:
    """The dimensions, other than B, that may vary."""
    return {dim for spec in task.inputs for dim in spec.dims if isinstance(dim, str)} - {"B"}


def varying_dims(task: Task, most: int | None = None) -> tuple[dict[int, Any], ...]:
    """For each input: dimension -> the Dim that may vary, one Dim for each name. `most` bounds the batch."""
    dims = {name: torch.export.Dim(name, min=task.sizes[name][0], max=task.sizes[name][1]) for name in varying(task)}
    dims["B"] = torch.export.Dim("B", min=1, max=most)
    return tuple({i: dims[d] for i, d in enumerate(spec.dims) if isinstance(d, str)} for spec in task.inputs)


def arguments(task: Task, batch: Batch) -> tuple[Tensor, ...]:
    return tuple(batch[spec.name] for spec in task.inputs)


def takes_rest(model: nn.Module) -> bool:
    """Whether forward is `forward(*inputs)`, whose shapes torch.export wants as one tuple."""
    kinds = [p.kind for p in inspect.signature(model.forward).parameters.values()]
    return kinds == [inspect.Parameter.VAR_POSITIONAL]


def program_of(
    task: Task, model: nn.Module, batch: Batch, temperature: float = 1.0, most: int | None = None
) -> torch.export.ExportedProgram:
    """`model`, evaluating, on the processor, as a program whose B and whatever `task.sizes` names may vary.

    batch: at least two examples to trace with: a dimension of size one would be fixed. most: the greatest batch, if there is one.
    Raises LaminaError where the model cannot be exported: it decides in Python on values, or on sizes that vary.
    """
    graph = Graph(model, temperature).eval()
    try:
        with quiet(), recurrences_kept(), torch.no_grad():
            return torch.export.export(graph, arguments(task, batch), dynamic_shapes=(varying_dims(task, most),))
    except Exception as error:  # what is wrong with a model may surface anywhere
        advice = "no decisions in Python on the values or the varying sizes of tensors"
        raise LaminaError(f"the model: expected one that torch.export takes ({advice}); {one_line(error)}") from error


@contextlib.contextmanager
def recurrences_kept() -> Iterator[None]:
    """Inside, torch.export keeps an LSTM or a GRU as one operation, instead of unrolling it at the length that is traced.

    Its time axis stays open then, in the program as in ONNX, which has operations of these names. torch's own ONNX exporter does
    the same for a module; for a program it is up to who exports. Where this torch has no such thing, nothing changes, and
    a recurrent model is refused with torch's words.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(ImportError):
            from torch.export import _patches

            for name in ("register_lstm_while_loop_decomposition", "register_gru_while_loop_decomposition"):
                if (kept := getattr(_patches, name, None)) is not None:
                    stack.enter_context(kept())
        yield


def write_onnx(program: torch.export.ExportedProgram, task: Task, path: Path) -> dict[str, Any]:
    """Write `program` as an ONNX file; returns its opset and the version of its format.

    Raises LaminaError where ONNX lacks an operation, or the libraries are not installed.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401 (torch.onnx needs it, and says so at length)
    except ImportError as error:
        raise LaminaError(
            f"--format onnx: expected onnx, onnxscript and onnxruntime; {error.name} is missing: pip install 'lamina[export]'"
        ) from error
    keys = list(output_names(program))
    try:
        with quiet(), recurrences_kept():  # the exporter traces the program again
            made = torch.onnx.export(program, input_names=[i.name for i in task.inputs], output_names=keys, verbose=False)
            assert made is not None
            made.save(path)
    except Exception as error:
        raise LaminaError(f"the model: expected operations that ONNX has; {one_line(error)}") from error
    model = onnx.load(str(path), load_external_data=False)
    return {"opset": model.opset_import[0].version, "ir_version": model.ir_version}


def output_names(program: torch.export.ExportedProgram) -> tuple[str, ...]:
    """The keys of the Output, in the order in which the program gives them."""
    return tuple(program.call_spec.out_spec.context)  # type: ignore[union-attr]  # of a dict: its keys


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without what the exporters say about themselves: operations of libraries that nobody installed, coming changes."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
