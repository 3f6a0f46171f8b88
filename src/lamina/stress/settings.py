"""The flags of `lamina stress`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from typing_extensions import Doc

from lamina.errors import LaminaError
from lamina.stress.ranges import check_ranges

QUICK_DRAWS = 200


@dataclass(frozen=True)
class Settings:
    """What is asked of a run, and how thoroughly."""

    part: Annotated[
        Literal["train", "valid", "calibration", "test", "all"] | None,
        Doc("the part to judge on (default: test of the run's own data, all of other data)"),
    ] = None
    examples: Annotated[int, Doc("examples that are looked at, at most, in each part of the data")] = 10_000
    quick: Annotated[bool, Doc("fewer examples, draws and steps")] = False
    store: Annotated[bool, Doc("keep what is fitted (temperature, cuts) in the run, whose answers use it from then on")] = True

    corruptions: Annotated[bool, Doc("corrupt the examples: fifteen kinds for pictures, twelve for texts, six for tables")] = True
    severities: Annotated[tuple[int, ...], Doc("strengths of the corruptions, from 1 to 5")] = (1, 2, 3, 4, 5)
    corruption_examples: Annotated[int, Doc("examples that are corrupted, in each kind and strength")] = 500

    attacks: Annotated[bool, Doc("search the neighbourhood of each example for one that is answered wrongly")] = True
    norm: Annotated[Literal["linf", "l2"], Doc("how the size of an attack is measured: the greatest change, or Euclidean")] = (
        "linf"
    )
    eps: Annotated[
        float | None,
        Doc("greatest size of an attack: raw units for pictures, spreads of a column or of an embedding; default by input"),
    ] = None
    attack_steps: Annotated[int, Doc("gradient steps of an attack")] = 50
    restarts: Annotated[int, Doc("random starts of PGD")] = 3
    attack_queries: Annotated[int, Doc("questions that the attack without gradients may ask about an example")] = 1000
    attack_examples: Annotated[int, Doc("examples that are attacked")] = 200

    calibrate: Annotated[bool, Doc("judge probabilities, and fit the temperature that mends them")] = True

    unfamiliar: Annotated[bool, Doc("find what tells inputs that are unlike those of training")] = True
    unknown: Annotated[str | None, Doc("data that the model should not know (labels are ignored); default: substitutes")] = None
    accepted: Annotated[float, Doc("share of familiar inputs that must pass as known")] = 0.95

    promises: Annotated[bool, Doc("sets of labels, or intervals of numbers, that hold the truth as often as promised")] = True
    coverage: Annotated[float, Doc("how often a set or an interval must hold the truth")] = 0.9
    costs: Annotated[
        str | None,
        Doc("what mistakes cost: FALSE-POSITIVE,FALSE-NEGATIVE, or a .csv file with a row a true class, a column an answer"),
    ] = None

    slices: Annotated[bool, Doc("find the groups of examples where it is worst")] = True

    resamples: Annotated[int, Doc("draws behind the intervals")] = 1000
    confidence: Annotated[float, Doc("share of the draws that an interval holds")] = 0.95
    seed: Annotated[int, Doc("seed of all that is random")] = 0

    @property
    def draws(self) -> int:
        """Draws that are made."""
        return min(self.resamples, QUICK_DRAWS) if self.quick else self.resamples


def check(settings: Settings) -> None:
    """Raises LaminaError naming the first flag whose value makes no sense."""
    check_ranges(settings)
    wanted = (
        ("examples", settings.examples >= 1, "1 or more"),
        ("resamples", settings.resamples >= 0, "0 or more"),
        ("seed", settings.seed >= 0, "a whole number from 0"),
        ("confidence", 0 < settings.confidence < 1, "a number between 0 and 1"),
        ("coverage", 0 < settings.coverage < 1, "a number between 0 and 1"),
        ("accepted", 0 < settings.accepted < 1, "a number between 0 and 1"),
    )
    for name, fine, expected in wanted:
        if not fine:
            raise LaminaError(f"--{name}: expected {expected}; got {getattr(settings, name)}")
    if settings.costs is not None and not settings.costs.endswith(".csv"):
        false_positive_and_negative(settings.costs)
    elif settings.costs is not None and not Path(settings.costs).is_file():
        raise LaminaError(f"--costs: expected a file; there is no {settings.costs}")


def false_positive_and_negative(text: str) -> tuple[float, float]:
    """The two costs of `--costs 1,10`. Raises LaminaError for anything else."""
    try:
        first, second = (float(part) for part in text.split(","))
    except ValueError:
        first = second = -1.0
    if not (0 <= first < float("inf") and 0 <= second < float("inf") and first + second > 0):
        raise LaminaError(f"--costs: expected two numbers from 0, as in 1,10, or a .csv file; got {text!r}")
    return first, second
