"""`stress`: six questions about whether a model holds up, each a part of its own, and one verdict."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lamina.errors import LaminaError
from lamina.stress.attacks import attack_part
from lamina.stress.calibration_part import calibration_part
from lamina.stress.corruptions import corruption_part
from lamina.stress.costs_part import costs_part
from lamina.stress.held import hold
from lamina.stress.promises_part import promises_part
from lamina.stress.settings import Settings
from lamina.stress.slices_part import slices_part
from lamina.stress.unknown_part import unknown_part
from lamina.train.precision import pick_device
from lamina.verdict import Verdict, joined

if TYPE_CHECKING:
    from lamina.ask import Asked
    from lamina.run import Run
    from lamina.task import Columns

BATCH = 256
QUICK_EXAMPLES = 1000


def stress(asked: Asked[Settings]) -> Verdict:
    """Does the run hold up: corruptions, attacks, calibration, unknown inputs, promises kept, groups where it is worst.

    `source`: data to judge on (None: the test part of the run's own). What is fitted (a temperature, the cut of unknown
    inputs, the cut of conformal sets) comes from the run's own calibration part, and is kept in the run with
    `settings.store`. What does not apply to the task is said in `skipped`.
    Raises LaminaError for named inputs, and where there are no examples.
    """
    run, settings = asked.run, asked.settings
    if asked.inputs:
        raise LaminaError("stress: expected a run alone; inputs without labels cannot be judged (name labelled data with --data)")
    if settings.quick:
        settings = replace(settings, examples=min(settings.examples, QUICK_EXAMPLES))
    stored = run.temperature()
    forward = run.forward(asked.device, asked.precision, calibrated=False)
    held = hold(run, asked.source, settings, forward, asked.at_once(BATCH))
    calibrated = calibration_part(held, settings)
    held = held.at(float(calibrated.details.get("temperature", stored)))
    examples = held.test.columns
    parts = [
        corruption_part(run, examples, settings, held.forward),
        attacked(run, examples, settings, asked.device),
        calibrated,
        unknown_part(held, settings),
        promises_part(held, settings),
        costs_part(held, settings),
        slices_part(held, settings),
    ]
    return joined("stress", [Verdict("stress", warnings=held.warnings), *parts])


def attacked(run: Run, examples: Columns, settings: Settings, device: str) -> Verdict:
    """The attacks, which need gradients: a run that answers by a graph has none."""
    if run.served:
        return Verdict(
            "stress", skipped={"attacks": f"{run.served.name} has no gradients to attack by; ask the run it was made from"}
        )
    return attack_part(run, examples, settings, run.model().to(pick_device(device)))
