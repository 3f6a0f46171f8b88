"""A time budget: how many steps fit into it, measured before training, and measured again all the while.

What answers cost is the uncertain part. A model that writes is slow before it has learned where to stop: it writes to the
greatest length. So the first estimate is too high there, and every real evaluation corrects it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from lamina.data.columns import length, take
from lamina.data.source import Data
from lamina.evaluate import RESAMPLE_SECONDS
from lamina.run import Run, forward_of
from lamina.task import Task
from lamina.train import finder
from lamina.train.loop import Learner
from lamina.train.recipe import Recipe
from lamina.train.schedules import Plan

MARGIN = 0.02
"""Share of a time budget kept free, for what cannot be foreseen."""
EVALUATING = 0.15
"""Share of a time budget that evaluations may take: there are fewer of them where they would take more."""
TRAINING = 0.4
"""Share of what is left of a time budget that training gets at least, though the promise may then be broken."""
AFTERWARDS, RESAMPLING = 3.0, 1e-3
"""Seconds for saving, and for resampling the metrics of one example."""
LATE, EARLY = 0.01, 0.04
"""How far a plan may drift from its budget before it is refitted: late costs the promise, early only some steps."""


@dataclass(frozen=True)
class Budget:
    """Moments are seconds of the monotonic clock."""

    began: float
    end: float
    """When all must be done."""
    step: float
    """Seconds of a step."""
    evaluation: float
    """Seconds of an evaluation during training."""
    evaluations: int
    """How many there are."""
    answering: float
    """Seconds to answer the test part once training is over."""
    saving: float
    """Seconds for all else after that."""

    @staticmethod
    def measured(learner: Learner, data: Data, recipe: Recipe, started: float) -> Budget:
        """Time real steps and real answers on a copy of the model: 2% of the budget at most for the steps."""
        assert recipe.minutes is not None
        seconds = recipe.minutes * 60
        step = finder.step_seconds(learner, at_least=min(0.02 * seconds, 20))
        brief = learner.task.briefly()
        example = evaluation_seconds(learner, brief, data, 500)
        whole = example if brief == learner.task else evaluation_seconds(learner, learner.task, data, 64)
        evaluation, tested = example * length(data.valid), length(data.test)
        few = int(EVALUATING * seconds / evaluation) if evaluation else recipe.evaluations
        return Budget(
            began=time.monotonic(),
            end=started + seconds * (1 - MARGIN),
            step=step,
            evaluation=evaluation,
            evaluations=max(1, min(recipe.evaluations, few)),
            answering=whole * tested,
            saving=AFTERWARDS + min(RESAMPLING * tested, RESAMPLE_SECONDS),
        )

    def deadline(self, pace: float = 1.0) -> float:
        """When training must end, so that what follows ends in time. pace: of real evaluations, times the estimate."""
        asked = self.end - self.saving - self.answering * pace
        return max(asked, self.began + TRAINING * (self.end - self.began))

    def plan(self) -> Plan:
        seconds = max(self.deadline() - self.began - self.evaluations * self.evaluation, TRAINING * (self.end - self.began))
        return Plan.of(max(1, int(seconds / self.step)))


def evaluation_seconds(learner: Learner, task: Task, data: Data, most: int) -> float:
    """Seconds for `task` to answer one example, from up to `most` of the validation part."""
    some = take(data.valid, range(min(length(data.valid), most)))
    if not length(some):
        return 0.0
    forward = forward_of(learner.judged().eval(), learner.precision, learner.device)
    began = time.perf_counter()
    task.evaluate(forward, some)
    return (time.perf_counter() - began) / length(some)


class Deadline:
    """Keeps a budget: where training runs late or early, the plan gets another end, and run.json says so first."""

    def __init__(self, run: Run, budget: Budget | None) -> None:
        self.run, self.budget = run, budget
        self.first: tuple[int, float, float] | None = None
        self.looked = 0.0
        self.evaluated, self.pace = 0.0, 1.0
        """Seconds of evaluations seen, and what the last one took, times the estimate."""

    def replan(self, step: int, plan: Plan, evaluating: float) -> Plan:
        """Called after every step; `evaluating`: seconds of evaluations so far, which the pace of steps leaves out.

        Without a budget, and in a resumed run, the plan stays: it must end as it would have.
        """
        now = time.monotonic()
        if self.budget is None or self.first is None:
            self.first = step, now, evaluating
            self.looked = now
            return plan
        if evaluating > self.evaluated and self.budget.evaluation:
            self.pace = (evaluating - self.evaluated) / self.budget.evaluation
            self.evaluated = evaluating
        deadline, steps = self.budget.deadline(self.pace), step - self.first[0]
        if steps < 5 or now - self.looked < 0.02 * (deadline - self.first[1]) or step >= plan.steps:
            return plan
        self.looked = now
        each = (now - self.first[1] - (evaluating - self.first[2])) / steps
        to_come = self.budget.evaluations - int(plan.progress(step) * self.budget.evaluations + 1e-9)
        possible = step + max(1, int((deadline - now - to_come * self.budget.evaluation * self.pace) / each))
        drift = (possible - plan.steps) / plan.steps
        if -LATE <= drift <= EARLY:
            return plan
        changed = plan.refitted(step, possible)
        self.run.update(plan=changed.as_json())
        return changed
