"""The new run: it remembers its parent, holds what a surgery left of the weights, and is trained on by the ordinary functions."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from lamina.data.source import Data
from lamina.errors import LaminaError
from lamina.run import Run, named_tensors
from lamina.shrink.settings import Settings
from lamina.task import Task
from lamina.train.api import START, alternatives, beginning, learned
from lamina.train.log import Voice
from lamina.train.options import Options
from lamina.train.recipe import Recipe

SHORTER, GENTLER = 0.5, 0.2
"""Length and learning rate of the training after a surgery, in those of the run's own. At the full rate (rewound, Renda et al.
2020) a network first loses what it knew: pruned to half its FLOPs and trained for four epochs, a network of Fashion-MNIST was
0.8 points worse so, and 0.2 this way."""


@contextlib.contextmanager
def place(run: Run, settings: Settings) -> Iterator[Path]:
    """The folder of the new run, made at once. Where anything goes wrong nothing is left of it.

    But for an interrupted training, which can be gone on with. Raises LaminaError where something stands there already.
    """
    if settings.out is not None:
        folder = Path(settings.out)
        if folder.exists() and (folder.is_file() or any(folder.iterdir())):
            raise LaminaError(f"--out: expected a new folder; {folder} is there already")
        folder.mkdir(parents=True, exist_ok=True)
    else:
        stem = f"{run.folder.name}-{settings.method}"
        names = (f"{stem}-{number:02d}" if number > 1 else stem for number in range(1, 10**6))
        folder = next(made for name in names if (made := new_folder(run.folder.parent / name)))
    try:
        yield folder
    except KeyboardInterrupt:
        if not (folder / "checkpoints").is_dir():
            shutil.rmtree(folder, ignore_errors=True)
        raise
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def new_folder(folder: Path) -> Path | None:
    try:
        folder.mkdir()
    except FileExistsError:
        return None
    return folder


def parent_of(run: Run) -> dict[str, Any]:
    """What a run remembers of its parent: where it lies, and a digest of its weights."""
    return {"run": str(run.folder.resolve()), "weights": run.fingerprint()}


def finished_child(
    run: Run, folder: Path, settings: Settings, surgeries: Sequence[Mapping[str, Any]], model: nn.Module | None
) -> Run:
    """A run that needs no training: `model` has its weights, or a graph that is there already answers."""
    kept = (
        "task",
        "task_file",
        "arguments",
        "hyperparameters",
        "source",
        "seed",
        "data",
        "findings",
        "precision",
        "threads",
        "recipe",
    )
    info = {name: run.info[name] for name in kept if name in run.info}
    listed = [*run.info.get("surgeries", []), *surgeries]
    child = Run.create(folder, {**info, "status": "finished", **lineage(run, settings, listed)}, run.task)
    if model is not None:
        child.save_weights(model)
    return child


def lineage(run: Run, settings: Settings, surgeries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The entries of run.json that say where a run comes from; an empty list of surgeries is left out."""
    return {
        "parent": parent_of(run),
        "shrink": dataclasses.asdict(dataclasses.replace(settings, out=None)),
        **({"surgeries": list(surgeries)} if surgeries else {}),
    }


def trained_child(
    run: Run,
    folder: Path,
    settings: Settings,
    data: Data,
    task: Task,
    surgeries: Sequence[Mapping[str, Any]],
    model: nn.Module | None = None,
    device: str = "auto",
    precision: str | None = None,
    teacher: Mapping[str, Any] | None = None,
    passing: str | None = None,
) -> Run:
    """Train `task` on `data` with `surgeries`, from the weights of `model`, or from new ones with a `teacher`.

    With `passing`, the surgeries serve the training alone: when it ends, resumed or not, they go, and with them the tensors
    that have `passing` in their names.
    """
    began = time.monotonic()
    own = task.recipe(data) if teacher or "recipe" not in run.info else Recipe(**run.info["recipe"])
    recipe = recipe_of(own, settings, shorter=1.0 if teacher else SHORTER)
    computed = precision or run.info.get("precision", "auto")
    options = Options(out=str(folder), seed=settings.seed, device=device, precision=computed, tensorboard=False)  # type: ignore[arg-type]
    asked = {name: getattr(options, name) for name in ("out", "seed", "device", "precision", "tensorboard")}
    source = run.info.get("source", {})
    arguments = {"task": {}, "recipe": dataclasses.asdict(recipe), "options": asked, "source": source}
    info = beginning(task, run.info.get("task_file"), arguments, data, [])
    before = [] if teacher else run.info.get("surgeries", [])
    info |= lineage(run, settings, [*before, *surgeries])
    info |= {"passing": {"tensors": passing, "surgeries": before}} if passing else {}
    info |= {"recipe": dataclasses.asdict(recipe), **({"teacher": dict(teacher)} if teacher else {})}
    child = Run.create(folder, info, task)
    if model is not None:
        save_file(named_tensors(model), folder / START)
    return learned(child, data, recipe, options, Voice(False), began, None)


def recipe_of(own: Recipe, settings: Settings, shorter: float) -> Recipe:
    """The recipe of the training that follows: as `own`, or shorter and gentler, but where that is asked otherwise.

    shorter: its length in lengths of `own`; 1.0 for a network that learns from nothing, which keeps its rate too.
    """
    given = {name: getattr(settings, name) for name in ("epochs", "minutes") if getattr(settings, name) is not None}
    if not given and shorter != 1.0:
        if own.steps is not None:
            given = {"steps": max(1, round(own.steps * shorter))}
        elif own.minutes is not None:
            given = {"minutes": own.minutes * shorter}
        else:
            given = {"epochs": (own.epochs or 1.0) * shorter}
    rate = {} if shorter == 1.0 or own.lr == "auto" else {"lr": GENTLER * float(own.lr)}
    if settings.lr is not None:
        rate = {"lr": settings.lr}
    return dataclasses.replace(own, **alternatives({**given, **rate}))


def evaluating(run: Run) -> nn.Module:
    """The model of `run` in full precision on the processor, for surgery. Its own: it may be changed."""
    torch.manual_seed(0)  # new layers of a surgery draw, and are then written over
    return run.model().float()
