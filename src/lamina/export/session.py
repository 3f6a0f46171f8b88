"""Exported graphs as a Forward: what evaluates a model evaluates its ONNX file or its exported program the same way.

A graph's inputs bear the names of `task.inputs`, in their order. Its outputs bear the keys of the Output; an Output that is
one tensor is named `output`.

Legend: B examples.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamina.errors import LaminaError
from lamina.task import Forward, Output, Task

if TYPE_CHECKING:
    from torch import Tensor

OUTPUT = "output"
"""The name of an output that has no key: of a model that says one tensor."""
BEGIN, STEP, WEIGHTS = "model.begin.onnx", "model.step.onnx", "model.weights"
"""The files of a model that writes token by token, beside its graph."""
TOKEN, STATE, NEXT = "token", "state.", "next."
"""The input of a step, and what the names of the state begin with: going in, and coming out."""


def onnx_forward(path: str | Path, task: Task, threads: int | None = None) -> Forward:
    """The ONNX file at `path` as a Forward: torch tensors in, torch tensors out, on the processor.

    threads: of one operation (`intra_op_num_threads`); None leaves the choice to ONNX Runtime.
    Raises LaminaError where the file is missing or damaged, or its inputs are not those of `task`.
    """
    import torch

    session = onnx_session(path, threads)
    names = [spec.name for spec in task.inputs]
    given = [node.name for node in session.get_inputs()]
    if given != names:
        raise LaminaError(f"{path}: expected the inputs {', '.join(names)}; the graph has {', '.join(given)}")
    keys = [node.name for node in session.get_outputs()]

    def forward(*inputs: Tensor) -> Output:
        feed = {name: x.detach().cpu().contiguous().numpy() for name, x in zip(names, inputs, strict=True)}
        return output_of(dict(zip(keys, map(torch.from_numpy, session.run(keys, feed)), strict=True)))

    if (Path(path).parent / STEP).is_file():
        begin, step = (onnx_session(Path(path).parent / file, threads) for file in (BEGIN, STEP))
        return WritingSession(forward, names, begin, step)
    return forward


class WritingSession:
    """A Forward over the graphs of a model that writes token by token."""

    def __init__(self, forward: Forward, names: list[str], begin: Any, step: Any) -> None:
        self.forward, self.names = forward, names
        self.sessions = {"begin": begin, "step": step}

    def __call__(self, *inputs: Tensor) -> Output:
        return self.forward(*inputs)

    def begin(self, *inputs: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return self._run("begin", dict(zip(self.names, inputs, strict=True)))

    def step(self, token_B: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        return self._run("step", {TOKEN: token_B, **{STATE + name: value for name, value in state.items()}})

    def _run(self, name: str, feed: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        import torch

        session = self.sessions[name]
        taken = {node.name for node in session.get_inputs()}  # an export leaves out what it does not need
        keys = [node.name for node in session.get_outputs()]
        said = session.run(keys, {key: x.detach().cpu().contiguous().numpy() for key, x in feed.items() if key in taken})
        logits_BV, *state = map(torch.from_numpy, said)
        return logits_BV, dict(zip([key.removeprefix(NEXT) for key in keys[1:]], state, strict=True))


def onnx_session(path: str | Path, threads: int | None = None) -> Any:
    """An `onnxruntime.InferenceSession` on the processor. Raises LaminaError where there is none, or no such graph."""
    try:
        import onnxruntime
    except ImportError as error:
        raise LaminaError("onnxruntime: expected it to be installed, to run ONNX files; pip install onnxruntime") from error
    if not Path(path).is_file():
        raise LaminaError(f"{path}: expected an ONNX file; there is no such file")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors are raised; warnings are about the graph, which nobody here wrote
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises a kind of its own for every status
        raise LaminaError(f"{path}: expected an ONNX graph; {one_line(error)}") from error


def program_forward(path: str | Path) -> Forward:
    """The .pt2 file at `path`, a program of `torch.export`, as a Forward. Raises LaminaError where it is missing or damaged."""
    import torch

    if not Path(path).is_file():
        raise LaminaError(f"{path}: expected an exported program; there is no such file")
    try:
        module = torch.export.load(str(path)).module()
    except Exception as error:  # a damaged archive fails in any way
        raise LaminaError(f"{path}: expected a program of torch.export; {one_line(error)}") from error

    def forward(*inputs: Tensor) -> Output:
        with torch.no_grad():
            return output_of(module(*inputs))

    return forward


def output_of(said: Any) -> Output:
    """What a graph says, by name, as an Output: one tensor where its only name is `output`."""
    return said[OUTPUT] if isinstance(said, dict) and list(said) == [OUTPUT] else said


def one_line(error: BaseException) -> str:
    """An error in one line that fits on a screen."""
    return " ".join(str(error).split())[:300] or type(error).__name__
