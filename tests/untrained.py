"""Runs of the tasks that come with Lamina, with weights at random: for what does not depend on how good they are."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch

from lamina.data.source import Source
from lamina.find import find_task
from lamina.run import Run


def untrained(folder: Path, task: str, data: Any = None, seed: int = 0, **fields: Any) -> Run:
    """A finished run of `task` with the hyperparameters `fields`, on its demo data where `data` is None."""
    asked = find_task(task)(**fields)
    source = Source(data=data)
    read = asked.read(source)
    prepared = asked.prepare(read)
    torch.manual_seed(seed)
    model = prepared.model()
    prepared.init(model, read)
    info = {
        "task": task,
        "status": "finished",
        "hyperparameters": prepared.hyperparameters(),
        "source": dataclasses.asdict(source),
        "data": {"fingerprint": read.fingerprint, **read.about},
    }
    run = Run.create(folder, info, prepared)
    run.save_weights(model)
    return Run.load(folder)
