"""What is measured: a run, and beside it its shrunk runs and its exported folders, each as a Forward."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamina.errors import LaminaError
from lamina.run import Run
from lamina.task import Forward

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Variant:
    """One way to get the answers."""

    name: str
    kind: str
    """run, onnx, program"""
    path: Path
    """What a fresh process opens."""
    forward: Forward
    model: nn.Module | None
    """For counting operations; None where only a graph is left."""
    parameters: int | None
    files: list[Path]
    """What has to be shipped."""
    task_file: str | None = None
    """The application of one's own that a run needs."""


def of_run(run: Run, name: str, device: str, precision: str | None) -> Variant:
    """The run itself."""
    try:
        model = run.model()
    except (LaminaError, OSError):
        model = None  # a run that answers by a graph keeps no weights of its own
    task_file = run.info.get("task_file")
    count = sum(p.numel() for p in model.parameters()) if model is not None else None
    answers = run.served or run.folder / "model.safetensors"
    files = [p for p in (answers, run.folder / "run.json", run.folder / "processor") if p.exists()]
    return Variant(name, "run", run.folder, run.forward(device=device, precision=precision), model, count, files, task_file)


def opened(path: str | Path, run: Run, name: str, device: str, precision: str | None, threads: int | None) -> Variant:
    """The variant of `run` in the folder `path`. Raises LaminaError where it holds neither a run nor an exported model."""
    folder = Path(path)
    if (folder / "run.json").is_file():
        other = Run.load(folder, run.info.get("task_file"))
        if other.task.inputs != run.task.inputs:
            raise LaminaError(f"{folder}: expected a model of the same inputs as {run.folder}; its inputs are others")
        return of_run(other, name, device, precision)
    if (folder / "model.onnx").is_file():
        from lamina.export.session import onnx_forward

        graph = folder / "model.onnx"
        return Variant(name, "onnx", graph, onnx_forward(graph, run.task, threads), None, None, [folder])
    if (folder / "model.pt2").is_file():
        graph = folder / "model.pt2"
        return Variant(name, "program", graph, program(graph), None, None, [folder])
    raise LaminaError(f"{folder}: expected a run's folder or an exported one, holding run.json, model.onnx or model.pt2")


def program(path: str | Path) -> Any:
    """A program of `torch.export` as a Forward."""
    from lamina.export.session import program_forward

    return program_forward(path)
