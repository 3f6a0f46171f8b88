"""The figures that models are chosen by: the headline first, finite, and better for better predictions."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import torch

from lamina.answer import by_term
from lamina.check.answers import answers_of
from lamina.check.problem import Broken
from lamina.check.training import learned, summed
from lamina.check.walk import Walk, whole, word
from lamina.data.columns import length, rows_of, take
from lamina.evaluate import Watched
from lamina.task import Batch, Columns, Output, Task

UNUSABLE = ("predict-fails", "predict-count", "predict-keys", "not-json")
"""Problems of answers that cannot be turned into columns."""


def details_are_json(walk: Walk) -> None:
    if walk.found("metrics-fails", *UNUSABLE):
        raise Broken
    said = judged(walk)
    details = walk.attempt("metrics", lambda: walk.task.details(walk.rows, said), "(details)")
    try:
        json.dumps(details, allow_nan=False)
    except (TypeError, ValueError) as error:
        walk.problem("details-not-json", f"expected details to be JSON; {error}", method="details")


def columns_of(walk: Walk, answers: list[dict[str, Any]], output: Output, batch: Batch) -> Columns:
    """Answers as columns with the loss of each, as `lamina evaluate` hands them to metrics."""
    said: dict[str, Any] = dict(rows_of(answers))
    total, count = by_term(walk.attempt("loss", lambda: walk.task.loss(output, batch)))
    said["loss_total"], said["loss_count"] = total.double().numpy(), count.double().numpy()
    return said


def judged(walk: Walk) -> Columns:
    """The predictions that metrics are made of: answers to the rows, or the episodes that are played from them."""
    if walk.task.acts:
        return walk.attempt("evaluate", lambda: walk.task.evaluate(walk.model, walk.rows)[1])
    return columns_of(walk, answers_of(walk, walk.batch), whole(walk.output), walk.batch)


def has_headline(walk: Walk) -> None:
    if walk.found(*UNUSABLE):
        raise Broken
    said = judged(walk)
    figures = walk.attempt("metrics", lambda: walk.task.metrics(walk.rows, said))
    if not isinstance(figures, dict) or not all(isinstance(v, (int, float)) for v in figures.values()):
        walk.problem(
            "metrics-not-numbers",
            f"expected metrics to be a dict of names to plain numbers; got {word(figures)}",
            method="metrics",
        )
        return
    headline = walk.task.headline[0]
    if headline == "loss" and "loss" not in figures:
        return  # evaluate adds it
    if next(iter(figures), None) != headline:
        want = f"expected the headline {headline!r} to be the first metric"
        walk.problem("metrics-order", f"{want}; got {list(figures)}", method="metrics")
    elif not math.isfinite(figures[headline]):
        walk.problem(
            "metrics-order", f"expected the headline {headline!r} to be finite", f"got {figures[headline]}", method="metrics"
        )
    walk.seen["metrics"] = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())


def headline_sees(walk: Walk) -> None:
    """The headline of a model that has learned, against the same predictions shuffled over the rows."""
    task = walk.task
    if walk.found("learns", "metrics-fails", "metrics-order", "metrics-not-numbers", *UNUSABLE):
        raise Broken
    name, better = task.headline
    model = learned(walk)
    rows = walk.some
    batch = walk.encoded(rows, "evaluate")
    if name == "loss" or model is None or walk.found("random-at-evaluation"):
        raise Broken
    if task.acts and not reads_examples(walk):
        return  # the world is the judge, and was there when it was asked: no other row's answer can be compared
    with torch.no_grad():
        before, after = summed(walk, walk.fresh().eval(), batch), summed(walk, model, batch)
        if not bool(after < before - 0.3 * before.abs()):
            return  # what was learned shows in training mode only: its predictions prove nothing
        answers = walk.attempt("predict", lambda: task.predict(model, batch))
        output = task.outputs(model, batch)
    said = columns_of(walk, answers, output, batch)
    if any(
        isinstance(column[0], (str, int, np.integer, np.bool_)) and len(set(column)) == 1 for column in rows_of(answers).values()
    ):
        return  # the same answer for every row: shuffled, it stays the same
    order = np.random.default_rng(0)
    losses = {name: said[name] for name in ("loss_total", "loss_count")}  # these stay with their rows
    good = task.metrics(rows, said)[name]
    try:
        shuffled = [task.metrics(rows, {**take(said, order.permutation(length(rows))), **losses})[name] for _ in range(20)]
    except Exception:  # answers of another length than the example's own may be refused: such metrics are not blind
        return
    if all(s == good for s in shuffled) and all(name in losses for name in looked_at(task, rows, said)):
        return  # a headline made of the losses alone, such as perplexity
    worse = float(np.mean(shuffled))
    if all(s > good if better == "max" else s < good for s in shuffled) or all(s == good for s in shuffled):
        want = f"expected the headline {name!r} ({better}) to be worse for shuffled predictions of a model that has learned"
        walk.problem(
            "metrics-blind",
            f"{want}; it was {good:.4g}, and is {worse:.4g} shuffled: compare each example with its own prediction",
            method="metrics",
        )


def reads_examples(walk: Walk) -> bool:
    """Whether metrics look at the examples."""
    watched = Watched(walk.rows)
    walk.attempt("metrics", lambda: walk.task.metrics(watched, judged(walk)))  # type: ignore[arg-type]
    return bool(watched.names)


def looked_at(task: Task, rows: Columns, said: Columns) -> set[str]:
    """The columns of predictions that metrics look at."""
    watched = Watched(said)
    task.metrics(rows, watched)  # type: ignore[arg-type]
    return watched.names


CHECKS = (has_headline, details_are_json, headline_sees)
