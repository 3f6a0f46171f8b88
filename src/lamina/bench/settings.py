"""The flags of `lamina bench`. Light: help imports this and no more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from typing_extensions import Doc

from lamina.errors import LaminaError


@dataclass(frozen=True)
class Settings:
    """How a run and its variants are measured."""

    answers: Annotated[int, Doc("answers timed one by one, of each variant")] = 500
    rounds: Annotated[int, Doc("turns that the variants take, one after another")] = 10
    largest_batch: Annotated[int, Doc("throughput is measured at batches of 1, 4, 16, ... up to this")] = 256
    cold_starts: Annotated[int, Doc("fresh processes started, of each variant; 0 leaves cold start and memory out")] = 3
    threads: Annotated[int | None, Doc("threads of one operation (default: as the library is set up)")] = None
    watts_per_core: Annotated[float, Doc("for the estimate of energy, where no counter can be read")] = 10.0
    examples: Annotated[int, Doc("examples that the headline metric beside the latency is computed from")] = 1000
    confidence: Annotated[float, Doc("share of such measurements whose interval would hold the truth")] = 0.95
    part: Annotated[Literal["train", "valid", "calibration", "test", "all"] | None, Doc("where inputs come from")] = None
    seed: Annotated[int, Doc("seed of the choice of inputs")] = 0
    quick: Annotated[bool, Doc("a tenth of the measurements")] = False


def check(settings: Settings) -> None:
    """Raises LaminaError for a value that makes no sense."""
    least = {"answers": 20, "rounds": 2, "largest_batch": 1, "cold_starts": 0, "examples": 1, "seed": 0}
    for name, lowest in least.items():
        value = getattr(settings, name)
        if value < lowest:
            raise LaminaError(f"--{name.replace('_', '-')}: expected {lowest} or more; got {value}")
    if settings.threads is not None and settings.threads < 1:
        raise LaminaError(f"--threads: expected 1 or more; got {settings.threads}")
    if not settings.watts_per_core > 0:
        raise LaminaError(f"--watts-per-core: expected more than 0; got {settings.watts_per_core}")
    if not 0 < settings.confidence < 1:
        raise LaminaError(f"--confidence: expected a number between 0 and 1; got {settings.confidence}")
