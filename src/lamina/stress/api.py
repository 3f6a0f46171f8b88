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
from lamina.train.precision import pick_device
from lamina.verdict import Verdict, joined

if TYPE_CHECKING:
    from lamina.run import Run
    from lamina.task import Columns

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
        attacked(run, examples, settings, device),
        calibrated,
        unknown_part(held, settings),
        promises_part(held, settings),
        costs_part(held, settings),
        slices_part(held, settings),
    ]
    return replace(joined("stress", [Verdict("stress", warnings=held.warnings), *parts]), seconds=time.monotonic() - began)


def attacked(run: Run, examples: Columns, settings: Settings, device: str) -> Verdict:
    """The attacks, which need gradients: a run that answers by a graph has none."""
    if run.served:
        return Verdict(
            "stress", skipped={"attacks": f"{run.served.name} has no gradients to attack by; ask the run it was made from"}
        )
    return attack_part(run, examples, settings, run.model().to(pick_device(device)))
