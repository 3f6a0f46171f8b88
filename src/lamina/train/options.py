"""How one training is run, apart from what is learned: where it is written, on what device, how often it is saved."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from typing_extensions import Doc

from lamina.errors import LaminaError


@dataclass(frozen=True)
class Options:
    """The flags of `lamina train` that change neither the data, the model nor the recipe."""

    out: Annotated[str | None, Doc("the run's folder (default: runs/TASK-01, counted up)")] = None
    seed: Annotated[int, Doc("seed of the weights, the shuffling, the augmentation and the dropout")] = 0
    device: Annotated[str, Doc("auto, cpu, cuda, cuda:1 or mps")] = "auto"
    precision: Annotated[Literal["auto", "float32", "bfloat16"], Doc("auto: bfloat16 where the hardware computes in it")] = "auto"
    compile: Annotated[Literal["auto", "on", "off"], Doc("torch.compile; auto: where the run is long enough to earn it back")] = (
        "auto"
    )
    threads: Annotated[int | None, Doc("processor threads (default: OMP_NUM_THREADS, or one a core)")] = None
    init: Annotated[str | None, Doc("a run whose weights to start from, where names and shapes agree")] = None
    checkpoint_minutes: Annotated[float, Doc("minutes between checkpoints")] = 1.0
    checkpoint_steps: Annotated[int | None, Doc("steps between checkpoints, in place of minutes")] = None
    log_steps: Annotated[int, Doc("steps between rows of metrics.jsonl")] = 10
    nan_patience: Annotated[int, Doc("not-a-number losses in a row that stop the run")] = 5
    tensorboard: Annotated[bool, Doc("also write TensorBoard files")] = True
    quiet: Annotated[bool, Doc("say nothing on standard error")] = False


def check_options(options: Options) -> None:
    """Raises LaminaError naming the first flag whose value makes no sense."""
    expect("seed", options.seed, 0 <= options.seed < 2**62, "a whole number from 0")
    expect("threads", options.threads, options.threads is None or options.threads >= 1, "1 or more")
    expect("checkpoint-minutes", options.checkpoint_minutes, options.checkpoint_minutes >= 0, "0 or more")
    expect(
        "checkpoint-steps",
        options.checkpoint_steps,
        options.checkpoint_steps is None or options.checkpoint_steps >= 1,
        "1 or more",
    )
    expect("log-steps", options.log_steps, options.log_steps >= 1, "1 or more")
    expect("nan-patience", options.nan_patience, options.nan_patience >= 1, "1 or more")


def expect(flag: str, value: object, holds: bool, expected: str) -> None:
    """Raises LaminaError unless `holds`. Comparisons with a value that is not a number do not hold, which is meant."""
    if not holds or (isinstance(value, float) and math.isnan(value)):
        raise LaminaError(f"--{flag}: expected {expected}; got {value}")


def expect_place(path: Path) -> None:
    """Raises LaminaError where no file can be written to `path`: a folder stands there, or a file where its folder would."""
    if path.is_dir():
        raise LaminaError(f"out: expected a file; {path} is a folder")
    standing = next((p for p in path.parents if p.exists()), path)
    if standing.is_file():
        raise LaminaError(f"out: expected a folder to write to; {standing} is a file")
