"""What may be asked of `lamina inspect`. Light: help imports this and no more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from typing_extensions import Doc

from lamina.errors import LaminaError


@dataclass(frozen=True)
class Settings:
    """How much is looked at."""

    examples: Annotated[int, Doc("validation examples behind the statistics of units and the judgement of probes")] = 1000
    probe_examples: Annotated[int, Doc("training examples that the probes learn from")] = 2000
    checked: Annotated[int, Doc("examples behind the numerical check of gradients")] = 8
    directions: Annotated[int, Doc("random directions for each parameter in the numerical check")] = 3
    units: Annotated[int, Doc("units shown in pictures, for each depth shown")] = 6
    steps: Annotated[int, Doc("steps of ascent of a picture that excites a unit most; 0 draws none")] = 64
    confidence: Annotated[float, Doc("confidence of the intervals")] = 0.95
    seed: Annotated[int, Doc("seed of the choice of examples, directions and first pictures")] = 0
    quick: Annotated[bool, Doc("fewer examples and steps: seconds, wider intervals")] = False
    out: Annotated[str | None, Doc("also write the result to this .json file")] = None


def check(settings: Settings) -> None:
    """Raises LaminaError for a setting out of range, named as its flag."""
    least: dict[str, int] = {
        "examples": 10, "probe_examples": 10, "checked": 1, "directions": 1, "units": 1, "steps": 0, "seed": 0,
    }  # fmt: skip
    values: dict[str, Any] = vars(settings)
    for name, low in least.items():
        if values[name] < low:
            raise LaminaError(f"--{name.replace('_', '-')}: expected a whole number from {low}; got {values[name]}")
    if not 0 < settings.confidence < 1:
        raise LaminaError(f"--confidence: expected a number between 0 and 1; got {settings.confidence}")
