"""What may be asked of `lamina needs`, and which values make no sense."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from typing_extensions import Doc

from lamina.errors import LaminaError


@dataclass(frozen=True)
class Settings:
    """The flags of `lamina needs` beside those of data and device."""

    target: Annotated[
        float | None, Doc("the headline metric to reach, such as 0.95 (default: an error a quarter lower than now)")
    ] = None
    sizes: Annotated[int, Doc("sizes of training set on the learning curve, each half of the next")] = 6
    repeats: Annotated[int, Doc("trainings for each of the smaller sizes; the two largest below the whole get two")] = 3
    curve: Annotated[bool, Doc("train on subsets; without it, what takes no training is answered")] = True
    folds: Annotated[int, Doc("trainings, each without one fold, that rank wrong labels; 0: by what is at hand")] = 0
    quick: Annotated[bool, Doc("four sizes, and trainings cut short to half a minute in all")] = False
    part: Annotated[Literal["test", "valid", "calibration"], Doc("the examples that every training is judged on")] = "test"
    examples: Annotated[int, Doc("training examples looked at for wrong labels, copies and the gap, at most")] = 20_000
    suspects: Annotated[int, Doc("rows of the tables of suspects")] = 20
    confidence: Annotated[float, Doc("of the intervals")] = 0.9
    seed: Annotated[int, Doc("seed of the subsets, the trainings and the resampling")] = 0


def check(settings: Settings) -> None:
    """Raises LaminaError naming the first flag whose value makes no sense."""
    s = settings

    def expect(flag: str, value: object, holds: bool, expected: str) -> None:
        if not holds:
            raise LaminaError(f"--{flag}: expected {expected}; got {value}")

    expect("target", s.target, s.target is None or s.target > 0, "a value of the headline metric above 0")
    expect("sizes", s.sizes, 3 <= s.sizes <= 12, "3 to 12: a law through fewer than three sizes says nothing")
    expect("repeats", s.repeats, 1 <= s.repeats <= 100, "1 to 100")
    expect("folds", s.folds, s.folds == 0 or 2 <= s.folds <= 100, "0, or 2 to 100")
    expect("examples", s.examples, s.examples >= 10, "10 or more")
    expect("suspects", s.suspects, s.suspects >= 1, "1 or more")
    expect("confidence", s.confidence, 0 < s.confidence < 1, "a number between 0 and 1")
    expect("seed", s.seed, s.seed >= 0, "a whole number from 0")
