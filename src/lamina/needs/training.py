"""One training on some of the examples, as `lamina train` would train on them: the run's own hyperparameters and recipe."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from lamina.data.columns import length
from lamina.data.source import Data
from lamina.run import Run, forward_of
from lamina.task import Forward
from lamina.train.api import alternatives, steps_of
from lamina.train.average import Average
from lamina.train.loop import Callbacks, Learner, fit, to_layout
from lamina.train.optimizers import build
from lamina.train.precision import default_threads, pick_device, pick_precision, undisturbed
from lamina.train.recipe import Recipe
from lamina.train.schedules import Plan
from lamina.train.watch import Watch


def recipe_for(run: Run, data: Data) -> tuple[Recipe, int]:
    """The recipe that `lamina train` would take for `data` with the arguments of this run, and its steps.

    What the run found by trying (a rate, a batch size, the steps within a time budget) stays as it was found.
    """
    given = alternatives(run.info.get("arguments", {}).get("recipe", {}))
    found = run.info.get("recipe", {})
    recipe = dataclasses.replace(run.task.recipe(data), **given)
    settled = {name: found[name] for name in ("lr", "batch_size") if getattr(recipe, name) == "auto"}
    recipe = dataclasses.replace(recipe, **settled)
    if recipe.minutes is not None:
        recipe = dataclasses.replace(recipe, minutes=None, steps=int(run.info["plan"]["steps"]))
    return recipe, steps_of(run.task, recipe, data)


@undisturbed()
def trained(run: Run, data: Data, seed: int, device: str, precision: str | None, shorter: float = 1.0) -> tuple[Forward, int]:
    """A model trained on `data.train` and chosen on `data.valid`, and its steps; shorter: the share of the steps that is taken.

    Raises MachineFault and KeyboardInterrupt as training does.
    """
    task = run.task
    where = pick_device(device)
    computed_in, _ = pick_precision(precision or run.info.get("precision", "auto"), where)  # type: ignore[arg-type]
    recipe, steps = recipe_for(run, data)
    plan = Plan.of(max(1, round(steps * shorter)))
    torch.set_num_threads(default_threads())
    torch.manual_seed(seed)
    model = task.model()
    task.init(model, data)
    model = to_layout(model, where)
    clock = {"progress": 0.0}
    assert isinstance(recipe.batch_size, int) and isinstance(recipe.lr, (int, float))  # settled
    stream = task.stream(model, data.train, recipe.batch_size, seed, lambda: clock["progress"])
    optimizers = build(task.groups(model, recipe), recipe, float(recipe.lr))
    average = Average(model, recipe.ema) if recipe.ema > 0 else None
    learner = Learner(task, model, model, optimizers, stream, recipe, seed, where, computed_in, average)

    def valid(forward: Forward) -> dict[str, float]:
        return task.evaluate(forward, data.valid)[0] if length(data.valid) else {}

    def nothing(*_: Any, **__: Any) -> None:
        pass

    kept = fit(
        learner,
        Watch(*task.headline, recipe.patience),
        plan,
        valid,
        Callbacks(nothing, nothing, nothing, nothing, lambda step, plan, evaluating: plan),
        clock=clock,
        log_steps=plan.steps + 1,
        checkpoint_seconds=float("inf"),
    )
    return forward_of(kept, learner.precision, where), plan.steps
