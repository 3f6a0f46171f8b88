"""`stress`: six questions about whether a model holds up, each a part of its own, and one verdict."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from lamina.errors import LaminaError
from lamina.stress.attacks import attack_part
from lamina.stress.calibration_part import calibration_part
from lamina.stress.corruptions import corruption_part
from lamina.stress.costs_part import costs_part
from lamina.stress.held import hold
from lamina.stress.promises_part import promises_part
from lamina.stress.settings import Settings, check
from lamina.stress.slices_part import slices_part
from lamina.stress.unknown_part import unknown_part
from lamina.verdict import Verdict

if TYPE_CHECKING:
    from lamina.run import Run

BATCH = 256
QUICK_EXAMPLES = 1000


def stress(
    run: Run,
    settings: Settings | None = None,
    source: Any = None,
    inputs: Sequence[Any] = (),
    device: str = "auto",
    precision: str | None = None,
    batch_size: int | Literal["auto"] = "auto",
) -> Verdict:
    """Does `run` hold up: corruptions, attacks, calibration, unknown inputs, promises kept, groups where it is worst.

    `source`: data to judge on (None: the test part of the run's own). What is fitted (a temperature, the cut of unknown
    inputs, the cut of conformal sets) comes from the run's own calibration part, and is kept in the run with
    `settings.store`. What does not apply to the task is said in `skipped`.
    Raises LaminaError for settings that make no sense, and where there are no examples.
    """
    began = time.monotonic()
    settings = settings or Settings()
    check(settings)
    if inputs:
        raise LaminaError("stress: expected a run alone; inputs without labels cannot be judged (name labelled data with --data)")
    if settings.quick:
        settings = replace(settings, examples=min(settings.examples, QUICK_EXAMPLES))
    size = BATCH if batch_size == "auto" else batch_size
    stored = run.temperature()
    held = hold(run, source, settings, run.forward(device=device, precision=precision, calibrated=False), size)
    calibrated = calibration_part(held, settings)
    held = held.at(float(calibrated.details.get("temperature", stored)))
    examples = held.test.columns
    parts = [
        corruption_part(run, examples, settings, held.forward),
        attack_part(run, examples, settings, run.model()),
        calibrated,
        unknown_part(held, settings),
        promises_part(held, settings),
        costs_part(held, settings),
        slices_part(held, settings),
    ]
    return replace(joined(parts, held.warnings), seconds=time.monotonic() - began)


def joined(parts: Sequence[Verdict], warnings: Sequence[str] = ()) -> Verdict:
    """The verdicts of the parts as one, in their order. Raises ValueError where two name the same figure."""

    def together(name: str) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for part in parts:
            twice = made.keys() & getattr(part, name).keys()
            if twice:
                raise ValueError(f"stress: {name} {sorted(twice)} of two parts have the same name")
            made |= getattr(part, name)
        return made

    return Verdict(
        "stress",
        tuple(sentence for part in parts for sentence in part.sentences),
        together("figures"),
        tables=together("tables"),
        pictures=together("pictures"),
        warnings=(*warnings, *(warning for part in parts for warning in part.warnings)),
        skipped=together("skipped"),
        details=together("details"),
    )
