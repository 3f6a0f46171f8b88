"""A model that writes token by token as two further graphs, `begin` and `step`, so that an exported folder writes without torch.

    begin   the inputs of the model -> `token_logits` (B, V) of the next token, and the state
    step    `token` (B,) and the state -> `token_logits` (B, V), and the state

The tensors of the state go in as `state.NAME` and come out as `next.NAME`. Which of their sizes vary is seen by
beginning twice, with inputs of two lengths. The weights stand once, in a file that all graphs of the folder read.

Legend: B examples, V words of the vocabulary.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from lamina.errors import LaminaError
from lamina.export.graph import quiet, recurrences_kept, varying
from lamina.export.session import BEGIN, NEXT, STATE, STEP, TOKEN, WEIGHTS, one_line
from lamina.task import Batch, Task, Writes, WritesAsGraphs

LOGITS = "token_logits"
SHARED_BYTES = 1024
"""Smaller tensors stay inside their graph."""


class Begin(nn.Module):
    """`model.begin` as a module whose outputs have names."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: Tensor) -> dict[str, Tensor]:
        return named(*as_graphs(self.model)[0](*inputs))


class Step(nn.Module):
    """`model.step` as a module; the state comes as tensors in the order of `names`."""

    def __init__(self, model: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.model, self.names = model, list(names)

    def forward(self, token_B: Tensor, *state: Tensor) -> dict[str, Tensor]:
        kept = [value.clone() for value in state]  # a step may write into its state, and a graph may not into its inputs
        return named(*as_graphs(self.model)[1](token_B, dict(zip(self.names, kept, strict=True))))


def as_graphs(model: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """What begins and what goes on, in the form that exports."""
    return (model.begin_graph, model.step_graph) if isinstance(model, WritesAsGraphs) else (model.begin, model.step)


def named(logits_BV: Tensor, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {LOGITS: logits_BV.float(), **{NEXT + name: value for name, value in state.items()}}


def write_steps(task: Task, model: nn.Module, batch: Batch, folder: Path) -> list[str]:
    """Write both graphs of `model`, evaluating, on the processor; returns the names of the files, none where it does not write.

    batch: at least two examples. Raises LaminaError where a part cannot be exported.
    """
    if not isinstance(model, Writes):
        return []
    model = cast(nn.Module, model).eval()
    inputs = [narrowed(batch[spec.name], task, place) for place, spec in enumerate(task.inputs)]  # room for a step
    shorter = [narrowed(x, task, place) for place, x in enumerate(inputs)]
    begin, step = as_graphs(model)
    with torch.no_grad():
        _, long = begin(*inputs)
        _, short = begin(*shorter)
        token_B = torch.full((len(inputs[0]),), 4, dtype=torch.int64)
        _, after = step(token_B, {name: value.clone() for name, value in long.items()})
    check_state(long, after)
    names, batch_dim = list(long), torch.export.Dim("B", min=1)
    dims: dict[tuple[int, ...], Any] = {}

    def moving(name: str) -> dict[int, Any]:
        """The sizes of a tensor of the state that vary, one Dim for all that vary alike."""
        found: dict[int, Any] = {0: batch_dim}
        for i, sizes in enumerate(zip(long[name].shape, short[name].shape, after[name].shape, strict=True)):
            if i and len(set(sizes)) > 1:
                found[i] = dims.setdefault(tuple(sizes), torch.export.Dim(f"S{len(dims)}", min=1))
        return found

    write(Begin(model), tuple(inputs), (roomy(task, batch_dim),), [spec.name for spec in task.inputs], folder / BEGIN)
    shapes = ({0: batch_dim}, tuple(moving(name) for name in names))
    state = tuple(long[name].clone() for name in names)
    write(Step(model, names), (token_B, *state), shapes, [TOKEN, *(STATE + name for name in names)], folder / STEP)
    return [BEGIN, STEP]


def narrowed(x: Tensor, task: Task, place: int) -> Tensor:
    """An input with its varying dimensions one shorter, the last places kept."""
    for dim, size in enumerate(task.inputs[place].dims):
        if dim and isinstance(size, str) and x.shape[dim] > 1:
            x = x.narrow(dim, 1, x.shape[dim] - 1)
    return x.contiguous()  # of a view, the export would take the strides for sizes that must never be met


def roomy(task: Task, batch_dim: Any) -> tuple[dict[int, Any], ...]:
    """For each input of `begin`: dimension -> the Dim that varies, one short of its greatest size, so that a step has room."""
    names = {size: torch.export.Dim(size, min=task.sizes[size][0], max=task.sizes[size][1] - 1) for size in varying(task)}
    names["B"] = batch_dim
    return tuple({i: names[d] for i, d in enumerate(spec.dims) if isinstance(d, str)} for spec in task.inputs)


def check_state(before: dict[str, Tensor], after: dict[str, Tensor]) -> None:
    """Raises LaminaError where `step` gives another state than `begin`: its graph could not take its own output."""
    if set(before) != set(after):
        raise LaminaError(f"the model: expected step to keep the state {', '.join(before)}; it gives {', '.join(after)}")


def write(module: nn.Module, arguments: tuple[Any, ...], shapes: tuple[Any, ...], names: list[str], path: Path) -> None:
    """Export `module` and write it as an ONNX file. Raises LaminaError where that cannot be."""
    try:
        with quiet(), recurrences_kept(), torch.no_grad():
            program = torch.export.export(module.eval(), arguments, dynamic_shapes=shapes)
            keys = list(program.call_spec.out_spec.context)  # type: ignore[union-attr]  # of a dict: its keys
            made = torch.onnx.export(program, input_names=names, output_names=keys, verbose=False)
            assert made is not None
            made.save(path)
    except Exception as error:  # what is wrong with a model may surface anywhere
        raise LaminaError(f"the model: expected a {path.stem} that exports; {one_line(error)}") from error


def share_weights(folder: Path, files: Sequence[str]) -> None:
    """Move the larger tensors of the graphs `files` into one file, each content once."""
    import onnx
    from onnx.external_data_helper import set_external_data

    places: dict[bytes, tuple[int, int]] = {}
    with (folder / WEIGHTS).open("wb") as out:
        for file in files:
            model = onnx.load(str(folder / file))
            for tensor in model.graph.initializer:
                content = onnx.numpy_helper.to_array(tensor).tobytes()
                if len(content) < SHARED_BYTES:
                    continue
                key = hashlib.blake2b(content + str((tensor.data_type, list(tensor.dims))).encode()).digest()
                if key not in places:
                    out.write(b"\0" * (-out.tell() % 64))
                    places[key] = out.tell(), len(content)
                    out.write(content)
                for kind in ("float_data", "int32_data", "int64_data", "double_data", "uint64_data"):
                    tensor.ClearField(kind)
                tensor.raw_data = content
                set_external_data(tensor, WEIGHTS, *places[key])
                tensor.ClearField("raw_data")
            for stray in folder.glob(f"{file}.data"):
                stray.unlink()
            (folder / file).write_bytes(model.SerializeToString())
