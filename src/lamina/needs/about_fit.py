"""Does it overfit: the gap between what it was trained on and what it was not, and since when."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lamina.data.columns import length, take
from lamina.evaluate import resample
from lamina.needs import overfitting, pictures
from lamina.needs.answers import Answers, is_share, metric_told, percent
from lamina.needs.curve import error_of
from lamina.needs.settings import Settings
from lamina.run import Run
from lamina.task import Columns, Forward

RESAMPLES = 300


def about_fit(
    run: Run, forward: Forward, train: Columns, judged: Columns, settings: Settings, folder: Path, answers: Answers
) -> None:
    """The gap of the weights that were kept, and the turn in the losses of their training."""
    errors, draws = [], []
    metric = run.task.headline[0]
    for seed, columns in ((settings.seed, train), (settings.seed + 1, judged)):
        count = length(columns)
        limit = min(count, settings.examples if not settings.quick else 2000)
        some = take(columns, np.sort(np.random.default_rng(seed).permutation(count)[:limit]))
        metrics, predictions = run.task.evaluate(forward, some)
        drawn_R = resample(run.task, some, predictions, RESAMPLES, seed).get(metric, np.full(1, metrics[metric]))
        errors.append(error_of(run.task, metrics[metric], 10**9))
        draws.append(np.array([error_of(run.task, value, 10**9) for value in drawn_R]))
    shared = min(len(drawn_R) for drawn_R in draws)
    gap_R = draws[1][:shared] - draws[0][:shared]
    tail = (1 - settings.confidence) / 2
    gap = errors[1] - errors[0]
    low, high = (float(np.nanquantile(gap_R, q)) for q in (tail, 1 - tail))
    answers.figure("gap", gap, min(low, gap), max(high, gap))
    points = (
        f"{100 * gap:.1f} points ({100 * low:.1f} to {100 * high:.1f})"
        if is_share(run.task)
        else f"{gap:.4g} ({low:.4g} to {high:.4g})"
    )
    told = (
        f"On examples it was trained on it has {metric_told(run.task, errors[0])} {metric}, on new ones "
        f"{metric_told(run.task, errors[1])}: a gap of {points}."
    )
    history = overfitting.read_history(run.folder / "metrics.jsonl")
    found = overfitting.turn(history, settings.seed)
    if len(history.valid_E):
        answers.pictures["training"] = pictures.draw_history(history, found, folder / "training.svg")
    if found is None:
        answers.sentences.append(told)
        answers.skipped["gap_start"] = (
            f"the training was judged {len(history.valid_E)} times; at least {overfitting.LEAST_EVALUATIONS} tell a turn from a "
            "wiggle (lamina train --evaluations)"
        )
        return
    answers.details["overfits"] = found.overfits
    answers.details["turn"] = {"step": found.step, "p_value": found.p_value}
    answers.figure("gap_start_step", found.step if found.overfits else None)
    if not found.overfits:
        answers.sentences.append(
            f"{told} It does not overfit: validation loss never turned by more than noise (p = {found.p_value:.2f})."
        )
        return
    rise = found.last / found.least - 1
    answers.sentences.append(
        f"It overfits since step {found.step:,}: from there validation loss rose by {percent(rise)} while training loss went on "
        f"falling (p = {found.p_value:.3f}). {told}"
    )
    if run.info.get("recipe", {}).get("keep") == "best":
        answers.sentences.append(
            "The weights that were kept are the best on validation, not the last: part of the harm is undone."
        )
