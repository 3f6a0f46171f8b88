"""What the model says: in label form (`target`), to people (`predict`), and how strongly (`score`)."""

from __future__ import annotations

import json
import math
from typing import Any

import torch
from torch import Tensor

from lamina.check.encoded import asked
from lamina.check.problem import Broken
from lamina.check.walk import Walk, alike, row, same_dicts, seeded, whole, word
from lamina.leaf import leaf
from lamina.task import Batch, Task

BAD_LOSS = ("loss-averaged", "loss-wrong-shape", "loss-not-finite", "learns")


def target_is_labels(walk: Walk) -> None:
    task, batch, model = walk.task, walk.batch, walk.model
    _ = walk.output
    said = frozen(walk, batch)
    side = {i.name for i in task.inputs if i.modality == "side"}
    if not isinstance(said, dict) or not set(task.labels) <= set(said) or not set(said) <= set(task.labels) | side:
        got = sorted(said) if isinstance(said, dict) else word(said)
        more = f" (and side inputs among {sorted(side)})" if side else ""
        walk.problem(
            "target-not-labels",
            f"expected target to give exactly the labels {list(task.labels)}{more}; got {got}",
            method="target",
        )
        return
    for name, value in said.items():
        if not isinstance(value, Tensor) or value.dim() == 0 or len(value) != walk.count:
            want = f"expected target's {name!r} to be a tensor that leads with the {walk.count} rows"
            walk.problem("target-not-labels", f"{want}; got {word(value)}", method="target")
            return
        if value.dim() != batch[name].dim():
            want = f"expected target's {name!r} to have the dims of the label, shape {tuple(batch[name].shape)}"
            walk.problem("target-not-labels", f"{want}; got {tuple(value.shape)}", method="target")
            return
    walk.losses(walk.output, batch)  # a loss that takes not even the true labels is another problem
    with torch.no_grad():
        try:
            terms = task.loss(task.outputs(model, {**batch, **said}), {**batch, **said})
            pairs = list(terms.values()) if isinstance(terms, dict) else [terms]
            finite = all(bool(torch.isfinite(total).all()) for total, _ in pairs)
        except Exception as error:
            walk.problem("target-not-labels", "expected loss to take what target gives", f"{walk.told(error)}", method="target")
            return
    if not finite and not walk.found("output-not-finite", "loss-not-finite"):
        walk.problem("target-not-labels", "expected a finite loss at what target gives; got one that is not", method="target")


def frozen(walk: Walk, batch: Batch) -> Batch:
    with torch.no_grad():
        return walk.attempt("target", lambda: walk.task.target(walk.model, batch))


def target_needs_no_labels(walk: Walk) -> None:
    _ = walk.output
    said = frozen(walk, walk.batch)
    if walk.found("labels-needed-at-serving", "missing-key"):
        raise Broken
    served = walk.encoded(asked(walk.task, walk.rows), "predict")
    served = {name: value for name, value in served.items() if name not in walk.task.labels}
    try:
        with torch.no_grad():
            walk.task.target(walk.model, served)
    except Exception as error:
        walk.problem(
            "target-needs-labels", "expected target to work on what a client sends", f"{walk.told(error)}", method="target"
        )
        return
    if walk.found("random-at-evaluation"):
        raise Broken
    with seeded(2):
        again = frozen(walk, walk.batch)
    if isinstance(said, dict) and isinstance(again, dict) and (name := same_dicts(said, again)) is not None:
        walk.problem(
            "target-random",
            f"expected target to say the same of the same batch; {name!r} differs between two calls",
            method="target",
        )


def answers_of(walk: Walk, batch: Batch, when: str = "") -> list[dict[str, Any]]:
    with torch.no_grad():
        return walk.attempt("predict", lambda: walk.task.predict(walk.model, batch), when)


def predicts(walk: Walk) -> None:
    _ = walk.output
    answers = answers_of(walk, walk.batch)
    if not isinstance(answers, list) or len(answers) != walk.count:
        got = f"{len(answers)}" if isinstance(answers, list) else word(answers)
        walk.problem(
            "predict-count",
            f"expected predict to give a list of {walk.count} answers, one for each example; got {got}",
            method="predict",
        )
        raise Broken
    if not all(isinstance(a, dict) and a and a.keys() == answers[0].keys() for a in answers):
        got = word(next((a for a in answers if not isinstance(a, dict) or a.keys() != answers[0].keys()), answers[0]))
        walk.problem(
            "predict-keys",
            f"expected every answer to be a dict with the keys of the first, {word(answers[0])}; got {got}",
            method="predict",
        )
        raise Broken
    if walk.found("output-not-finite"):
        raise Broken
    for answer in answers:
        if (bad := not_json(answer)) is not None:
            advice = "use .item() or .tolist(), and None where there is no number"
            walk.problem(
                "not-json",
                f"expected answers of str, int, float, bool, None, lists and dicts; got {bad}: {advice}",
                method="predict",
            )
            raise Broken
    walk.seen["predict"] = json.dumps(answers[0], ensure_ascii=False)[:120]


def not_json(value: Any, path: str = "") -> str | None:
    """Where and what the first part is that JSON cannot say, or None."""
    if isinstance(value, dict):
        for key, item in value.items():
            if type(key) is not str:
                return f"the key {word(key)}{path}"
            if (bad := not_json(item, f" in {key!r}{path}")) is not None:
                return bad
        return None
    if type(value) in (list, tuple):
        return next((bad for item in value if (bad := not_json(item, path)) is not None), None)
    if type(value) is float and not math.isfinite(value):
        return f"{value}{path}"
    return None if value is None or type(value) in (str, int, float, bool) else f"{word(value)}{path}"


def predicts_the_same(walk: Walk) -> None:
    if walk.found("random-at-evaluation", "predict-count", "predict-keys", "not-json"):
        raise Broken
    with seeded(1):
        one = answers_of(walk, walk.batch)
    with seeded(2):
        two = answers_of(walk, walk.batch)
    if not alike(one, two):
        advice = "draw from a generator seeded by the row's content"
        walk.problem(
            "predict-random", "expected the same answers for the same rows", f"two calls differ: {advice}", method="predict"
        )
        raise Broken
    if walk.found("rows-leak"):
        raise Broken
    for i in range(walk.count):
        if not alike(answers_of(walk, row(walk.batch, i), "on one row"), one[i : i + 1]):
            walk.problem(
                "predict-random",
                f"expected the same answer for a row alone as among {walk.count}; row {i} differs",
                method="predict",
            )
            return


def predicts_for_clients(walk: Walk) -> None:
    """A client's batch has no labels, and no label may be touched."""
    if walk.found("labels-needed-at-serving", "predict-fails", "missing-key"):
        raise Broken
    _ = walk.output
    served = walk.encoded(asked(walk.task, walk.rows), "predict")
    served = {name: value for name, value in served.items() if name not in walk.task.labels}
    try:
        with torch.no_grad():
            walk.task.predict(walk.model, served)
    except Exception as error:
        answers_of(walk, walk.batch)  # where this breaks too, labels are not the cause
        want = "expected predict to work on what a client sends, which has no labels"
        walk.problem("labels-needed-at-serving", f"{want}; {walk.told(error)}", method="predict")


def scores(walk: Walk) -> None:
    """The score is one number a row, and can be moved by moving the input."""
    if type(walk.task).score is Task.score and walk.found(*BAD_LOSS):
        raise Broken  # the default score is the loss
    walk.losses(walk.output, walk.batch)
    score = walk.attempt("score", lambda: walk.task.score(whole(walk.output), walk.batch))
    if not isinstance(score, Tensor) or score.shape != (walk.count,):
        walk.problem(
            "score-wrong-shape", f"expected score to be ({walk.count},), a number for each row; got {word(score)}", method="score"
        )
        return
    blockers = (
        "target-fails",
        "target-not-labels",
        "leaf-differs",
        "embed-undeclared",
        "embed-missing",
        "embedding-called-twice",
    )
    if walk.found(*blockers):
        raise Broken
    said = {**walk.batch, **frozen(walk, walk.batch)}
    x, forward = leaf(walk.task, walk.model, said)
    score = walk.attempt("score", lambda: walk.task.score(forward(x), said), "on the model's own answer")
    moved = torch.autograd.grad(score.sum(), x, allow_unused=True)[0] if score.requires_grad else None
    if moved is None or not bool((moved.nan_to_num() != 0).any()):
        advice = "a loss is flat at its own answer where that is a number: override score with a projection of the output"
        walk.problem(
            "score-flat",
            f"expected a gradient of the score of the model's own answer at inputs[0]; it is zero: {advice}",
            method="score",
        )


CHECKS = (predicts, predicts_the_same, predicts_for_clients, target_is_labels, target_needs_no_labels, scores)
