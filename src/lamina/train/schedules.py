"""Learning-rate schedules as functions of progress in 0..1, and the plan that maps steps to progress."""

from __future__ import annotations

import math
from dataclasses import dataclass

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
    """How many steps, and how far along each one is: piecewise linear through `marks` of (step, progress).

    A run that counts epochs or steps has two marks. A time budget that drifts (a machine that slows down) gets a new
    end, and a mark where it changed, so that progress never jumps. The marks are in run.json before they take effect:
    a resumed run follows the same plan.
    """

    marks: tuple[tuple[int, float], ...]

    @staticmethod
    def of(steps: int) -> Plan:
        return Plan(((0, 0.0), (max(1, steps), 1.0)))

    @property
    def steps(self) -> int:
        return self.marks[-1][0]

    def progress(self, step: int) -> float:
        for (s0, p0), (s1, p1) in zip(self.marks, self.marks[1:], strict=False):
            if step < s1:
                return p0 + (p1 - p0) * (step - s0) / (s1 - s0)
        return 1.0

    def refitted(self, step: int, steps: int) -> Plan:
        """The same plan up to `step`, and from there evenly to a new end at `steps`."""
        kept = tuple(mark for mark in self.marks if mark[0] < step)
        return Plan((*kept, (step, self.progress(step)), (max(steps, step + 1), 1.0)))
