"""The exported folder: made beside its place and moved there whole, so that what was refused leaves nothing behind."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lamina.errors import LaminaError
from lamina.export.carried import PACKAGE, closure, part_of
from lamina.files import sync
from lamina.run import Run
from lamina.task import Serving, Task

ABOUT = "export.json"
RUNNER = PACKAGE / "export" / "runner.py"
PACKAGE_NOTE = '"""Those parts of Lamina that read inputs and make answers, as they stood when the model was exported."""\n'


def check_place(place: Path) -> None:
    """Raises LaminaError where `place` holds something else than nothing, or an export that a new one may replace."""
    if place.exists() and not place.is_dir():
        raise LaminaError(f"--out: expected a folder to make; {place} is a file")
    if place.is_dir() and any(place.iterdir()) and not (place / ABOUT).is_file():
        raise LaminaError(f"--out: expected a folder that is empty, new, or an earlier export; {place} holds something else")


@contextlib.contextmanager
def made_whole(place: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `place` at the end, and is removed where anything fails."""
    check_place(place)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{place.name}.", dir=place.parent))
    except OSError as error:
        raise LaminaError(f"--out: expected a place for a folder; {place}: {error.strerror or error}") from error
    try:
        yield partial
        partial.chmod(0o755)  # mkdtemp makes folders that only their owner can open
        for path in partial.rglob("*"):
            sync(path)
        if place.exists():
            shutil.rmtree(place)
        partial.rename(place)
        sync(place.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def copy_processor(run: Run, folder: Path) -> None:
    """What `prepare` learned and what was fitted afterwards, as files."""
    shutil.copytree(run.folder / "processor", folder / "processor")


def serving_of(task: Task, folder: Path) -> dict[str, Any] | str:
    """What the runner is made of, as JSON; or why there can be none, in words."""
    serving: Serving | None = task.serving()
    if serving is None:
        return "its answers are made with torch: the task declares no reader and decoder that need none"
    parts = {"reader": part_of(serving.reader), "decoder": part_of(serving.decoder)}
    try:
        closure(modules_of(parts, folder))
    except LaminaError as error:
        return str(error)
    return parts


def write_runner(parts: dict[str, Any], folder: Path) -> None:
    """run.py, and beside it the modules that it needs."""
    shutil.copyfile(RUNNER, folder / "run.py")
    (folder / "lamina").mkdir()
    (folder / "lamina" / "__init__.py").write_text(PACKAGE_NOTE, encoding="utf-8")
    for inside, path in closure(modules_of(parts, folder)).items():
        target = folder / inside
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def modules_of(parts: dict[str, Any], folder: Path) -> list[str]:
    """The modules to start from: of the reader, the decoder, the runner itself, and what tells unknown inputs."""
    known = ["lamina.decode.known"] if (folder / "processor" / "unknown.json").is_file() else []
    return [*(part["module"] for part in parts.values()), "lamina.errors", "lamina.terminal", *known]


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of the model and of what was learned, which the runner verifies."""
    paths = [*sorted(folder.glob("model.*")), *sorted(p for p in (folder / "processor").rglob("*") if p.is_file())]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def readme(task: Task, model: str, runner: bool) -> str:
    """Three lines of how to use the folder."""
    names = ", ".join(f"{i.name} {i.dtype} ({', '.join(map(str, i.dims))})" for i in task.inputs)
    if runner:
        return (
            f"pip install numpy pillow onnxruntime{' tokenizers' if task.inputs[0].modality == 'text' else ''}\n"
            "python run.py FILE ... --json        answers, one JSON object a line; folders and - for standard input too\n"
            f"{model}: {names}, in raw units; export.json says what else is known of it\n"
        )
    loads = {
        ".onnx": f"onnxruntime.InferenceSession({model!r})",
        ".pt2": f"torch.export.load({model!r}).module()",
        ".pte": f"executorch.runtime.Runtime.get().load_program({model!r}).load_method('forward')",
    }
    load = loads[Path(model).suffix]
    return (
        f"{load}        loads the model\n"
        f"It takes {names}, in raw units: normalization is a part of it.\n"
        "It says what export.json lists under outputs; logits are calibrated.\n"
    )
