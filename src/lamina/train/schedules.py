"""Learning-rate schedules as functions of progress in 0..1, and the plan that maps steps to progress."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from lamina.train.recipe import Recipe


def factor(recipe: Recipe, progress: float) -> float:
    """The share of the peak learning rate at `progress`: a linear warm-up, then the schedule from 1 to (nearly) 0.

    `one-cycle` (Smith and Topin 2018, arXiv:1708.07120) rises and falls along a cosine, from 1/25 and to 1/10,000.
    """
    if progress < recipe.warmup:
        rise = progress / recipe.warmup
        return 1 / 25 + (1 - 1 / 25) * (1 - math.cos(math.pi * rise)) / 2 if recipe.schedule == "one-cycle" else rise
    rest = (progress - recipe.warmup) / (1 - recipe.warmup) if recipe.warmup < 1 else 1.0
    if recipe.schedule == "constant":
        return 1.0
    if recipe.schedule == "linear":
        return 1 - rest
    floor = 1e-4 if recipe.schedule == "one-cycle" else 0.0
    return floor + (1 - floor) * (1 + math.cos(math.pi * rest)) / 2


@dataclass(frozen=True)
class Plan:
    """How many steps, and how far along each one is: straight from 0 to 1, in one segment or several.

    A run that counts epochs or steps has one segment. A time budget that drifts (a machine that slows down) gets a new
    end, and a segment from where it changed, so that progress never jumps. The plan is in run.json before it takes
    effect, and earlier segments stay as they were to the last bit: a resumed run repeats the same rates.
    """

    steps: int
    segments: tuple[tuple[int, float, float], ...]
    """(first step, progress there, progress a step)"""

    @staticmethod
    def of(steps: int) -> Plan:
        steps = max(1, steps)
        return Plan(steps, ((0, 0.0, 1 / steps),))

    def progress(self, step: int) -> float:
        if step >= self.steps:
            return 1.0
        first, start, each = next(s for s in reversed(self.segments) if s[0] <= step)
        return min(1.0, start + (step - first) * each)

    def refitted(self, step: int, steps: int) -> Plan:
        """The same plan before `step`, and from there evenly to a new end at `steps`."""
        steps = max(steps, step + 1)
        here = self.progress(step)
        earlier = tuple(s for s in self.segments if s[0] < step)
        return Plan(steps, (*earlier, (step, here, (1 - here) / (steps - step))))

    def as_json(self) -> dict[str, Any]:
        return {"steps": self.steps, "segments": self.segments}

    @staticmethod
    def from_json(saved: dict[str, Any]) -> Plan:
        return Plan(saved["steps"], tuple((int(s), float(p), float(e)) for s, p, e in saved["segments"]))
