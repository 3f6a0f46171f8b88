"""Would more data help, and how much more: the learning curve in words and figures.

Legend: S draws of the law.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np

from lamina.needs import law, pictures
from lamina.needs.answers import Answers, is_share, metric_told, metrics_told, percent, rounded
from lamina.needs.curve import Curve, error_of
from lamina.needs.settings import Settings
from lamina.task import Task

FACTORS = (2, 4, 10)
LITTLE = 0.1
"""More data does not help where four times of it take at most this share off the error, at the upper bound."""
SHORT = 100
"""Steps below which a training has hardly begun, whatever its data."""
FAR = 100
"""Needing so many times the data is as good as never."""
UNDERFITS = 0.75
"""A training error of this share of the error on new examples: it fits what it has seen no better than what it has not."""
QUARTER_OFF = 0.75


def about_curve(task: Task, curve: Curve, settings: Settings, judged: int, folder: Path, answers: Answers) -> None:
    """Fit the law, and say what it says. Fewer than three sizes are refused in words."""
    trainings = curve.trainings
    if len({t.size for t in trainings}) < law.LEAST_SIZES:
        told = ", ".join(f"{size:,}" for size in sorted({t.size for t in trainings}))
        answers.skipped["learning_curve"] = (
            f"{curve.whole:,} training examples allow trainings on {told or 'no'} examples only: "
            f"a curve needs {law.LEAST_SIZES} sizes, through fewer any law can be drawn"
        )
        return
    fitted = law.fit([t.size for t in trainings], [t.error for t in trainings], [t.chance for t in trainings], settings.seed)
    whole, confidence = curve.whole, settings.confidence
    answers.tables["learning curve"] = [
        {
            name: value
            for name, value in asdict(t).items()
            if name in ("size", "repeat", "steps", "error", "train_error", "seconds")
        }
        for t in trainings
    ]
    answers.details["law"] = {"belief": fitted.belief, "shorter": curve.shorter, "largest": fitted.largest, "judged": judged}
    now = law.interval(fitted.expected(whole), confidence)
    answers.figure("error_now", *now)
    by_factor = {k: law.interval(fitted.measured(k * whole, settings.seed), confidence) for k in FACTORS}
    for k, bounds in by_factor.items():
        answers.figure(f"error_at_{k}x", *bounds)
    answers.sentences += [gain_told(task, fitted, curve, settings, answers), needed_told(task, fitted, curve, settings, answers)]
    twice = by_factor[2]
    answers.sentences.append(
        f"With twice the data ({2 * whole:,} examples) {task.headline[0]} would be {metric_told(task, twice[0])} "
        f"({percent(confidence)} interval {metrics_told(task, twice[1], twice[2])}), with ten times "
        f"{metric_told(task, by_factor[10][0])} ({metrics_told(task, by_factor[10][1], by_factor[10][2])}); now it is "
        f"{metric_told(task, now[0])}."
    )
    hasty = min((t.steps for t in trainings if t.steps > 0), default=SHORT)
    if hasty < SHORT:
        answers.warnings.append(
            f"the shortest trainings of the curve took {hasty} steps: with so few, a smaller set also means a shorter training, "
            "and the law holds both"
        )
    if curve.shorter < 1:
        answers.warnings.append(
            f"the curve comes from trainings of {percent(curve.shorter)} of the usual steps: errors are higher than those of "
            "the run, and the law may bend otherwise; leave out --quick to be sure"
        )
    answers.pictures["learning curve"] = pictures.draw_curve(trainings, fitted, task, settings, folder / "learning_curve.svg")


def gain_told(task: Task, fitted: law.Law, curve: Curve, settings: Settings, answers: Answers) -> str:
    """Does more data help: by the share that four times the data take off the error, and by the error on what was trained on."""
    whole = curve.whole
    gain, low, high = law.interval(1 - fitted.expected(4 * whole) / fitted.expected(whole), settings.confidence)
    answers.figure("gain_at_4x", gain, low, high)
    largest = [t for t in curve.trainings if t.size == max(t.size for t in curve.trainings)]
    train, new = (float(np.mean([getattr(t, name) for t in largest])) for name in ("train_error", "error"))
    underfits = train >= UNDERFITS * new and train > 0
    answers.details["underfits"] = underfits
    name = "error" if is_share(task) else task.headline[0]
    bounds = f"{percent(max(low, 0))} to {percent(max(high, 0))}"
    told = f"four times the data would take {percent(max(gain, 0))} off the {name} ({bounds})"
    fits = (
        f"it fits the examples it learned from hardly better than new ones ({task.headline[0]} {metric_told(task, train)} and "
        f"{metric_told(task, new)}): a larger model, longer training or better inputs come first"
    )
    if high <= LITTLE:
        where = fits if underfits else "better labels, inputs or another model come first"
        return (
            f"More data will not help: the gap is elsewhere. At most {percent(max(high, 0))} of the {name} would go with four "
            f"times the data; {where}."
        )
    if underfits:
        return f"More data may help less than the curve says: {told}, but {fits}."
    if low > LITTLE:
        return f"More data would help: {told}."
    return f"More data may help: {told}."


def needed_told(task: Task, fitted: law.Law, curve: Curve, settings: Settings, answers: Answers) -> str:
    """How many more examples reach the target."""
    whole = curve.whole
    now = float(np.median(fitted.expected(whole)))
    target = QUARTER_OFF * now if settings.target is None else error_of(task, settings.target, 10**9)
    goal = (
        f"{metric_told(task, target)} {task.headline[0]}" if is_share(task) else f"{task.headline[0]} {metric_told(task, target)}"
    )
    if settings.target is None:
        goal += " (an error a quarter lower than now)" if is_share(task) else " (a quarter lower than now)"
    more_S = np.maximum(fitted.needed(target, settings.seed) - whole, 0.0)
    more_S = np.where(more_S > FAR * whole, np.inf, more_S)
    middle, low, high = law.interval(more_S, settings.confidence)
    answers.figure("needed_for_target", middle, low, high)
    answers.details["target_error"] = target
    answers.details["chance_of_target"] = float(np.isfinite(more_S).mean())
    if high == 0:
        return f"{goal} is reached with the {whole:,} examples at hand."
    if not np.isfinite(low):
        return f"No number of examples is likely to reach {goal}: not even {FAR} times those at hand."
    reach = percent(float(np.isfinite(more_S).mean()))
    if low == 0 and not np.isfinite(high):
        return (
            f"What it takes to reach {goal} cannot be said yet: perhaps nothing, perhaps more than data can do (probability that "
            f"data can: {reach}); judging on more examples would tell."
        )
    if not np.isfinite(high):
        return f"To reach {goal} you need at least {rounded(low)} more examples, if data alone can do it (probability {reach})."
    if low == 0:
        return f"To reach {goal} you need up to {rounded(high)} more examples, and perhaps none."
    if rounded(low) == rounded(high):
        return f"To reach {goal} you need about {rounded(middle)} more examples."
    return f"To reach {goal} you need {rounded(low)} to {rounded(high)} more examples."
