"""What a model said about examples, in the terms that every task shares: logits, features, probabilities, and the truth.

The contract decides what applies. Where the output holds `logits` (B, K) and one of `task.labels` is a class number (B,),
answers are one of K. Where it holds no logits and that label is a float (B,), answers are numbers, and `task.target` says
which: what the model says in the form of a label. Otherwise neither, and only the loss of each example is known.

Shapes: N examples, K classes, D features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch

from lamina.answer import Once, by_term
from lamina.data.columns import length, take
from lamina.decode.classes import softmax
from lamina.task import Batch, Columns, Forward, Task
from lamina.terminal import progress


@dataclass(frozen=True)
class Said:
    """Answers to N examples. What a task does not give is None."""

    columns: Columns
    kind: Literal["class", "number", "other"]
    logits_NK: np.ndarray | None
    """Of what was answered: a model that answers from several views answers from their mean."""
    features_ND: np.ndarray | None
    last_NK: np.ndarray | None
    """The logits that came with the features, from one call."""
    truth_N: np.ndarray | None
    """Class numbers (int64) or numbers (float64)."""
    value_N: np.ndarray | None
    """The numbers that were answered."""
    loss_N: np.ndarray | None
    names: tuple[str, ...]
    """Of the classes."""

    def __len__(self) -> int:
        return length(self.columns)

    @property
    def p_NK(self) -> np.ndarray:
        """Probabilities of one-of-K answers."""
        assert self.logits_NK is not None
        return softmax(self.logits_NK)

    @property
    def error_N(self) -> np.ndarray | None:
        """How wrong each answer is: 1 for a wrong class, the distance of a number, else the loss."""
        if self.kind == "class":
            assert self.logits_NK is not None
            return (self.logits_NK.argmax(1) != self.truth_N).astype(np.float64)
        if self.kind == "number":
            assert self.value_N is not None and self.truth_N is not None
            return np.abs(self.value_N - self.truth_N)
        return self.loss_N

    def at(self, temperature: float) -> Said:
        """The same with logits divided by `temperature`."""
        logits = None if self.logits_NK is None else self.logits_NK / temperature
        last = None if self.last_NK is None else self.last_NK / temperature
        return replace(self, logits_NK=logits, last_NK=last)

    def rows(self, chosen: np.ndarray) -> Said:
        """Some of the examples."""
        arrays = ("logits_NK", "features_ND", "last_NK", "truth_N", "value_N", "loss_N")
        cut = {name: None if getattr(self, name) is None else getattr(self, name)[chosen] for name in arrays}
        return replace(self, columns=take(self.columns, chosen), **cut)


def ask(
    task: Task, forward: Forward, columns: Columns, batch_size: int = 256, labelled: bool = True, what: str = "asking"
) -> Said:
    """Ask about every example once. Without labels, `truth_N` and `loss_N` are None; so are they of an agent, for whose actions
    nobody knows the right ones."""
    count, labelled = length(columns), labelled and not task.acts
    with progress(what, count) as advance:
        parts: list[dict[str, Any]] = []
        for start in range(0, count, batch_size):
            rows = take(columns, np.arange(start, min(start + batch_size, count)))
            if labelled:
                batch = task.encode(rows, "evaluate")
            else:
                batch = task.encode({name: column for name, column in rows.items() if name in task.asks}, "predict")
            parts += asked_within_memory(task, forward, batch, labelled)
            advance(length(rows))
    return gathered(columns, parts)


def ask_batch(task: Task, forward: Forward, batch: Batch, batch_size: int = 256) -> Said:
    """Ask about inputs that are encoded already, without labels."""
    count = len(next(iter(batch.values())))
    pieces = [{name: x[start : start + batch_size] for name, x in batch.items()} for start in range(0, count, batch_size)]
    parts = [part for piece in pieces for part in asked_within_memory(task, forward, piece, False)]
    return gathered({"row": range(count)}, parts)


def asked_within_memory(task: Task, forward: Forward, batch: Batch, labelled: bool) -> list[dict[str, Any]]:
    """One batch, in halves where memory does not suffice."""
    try:
        return [asked(task, forward, batch, labelled)]
    except RuntimeError as error:  # torch.OutOfMemoryError is one; a processor says "can't allocate memory"
        count = len(next(iter(batch.values())))
        if count < 2 or not (isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error)):
            raise
    halves = ({name: x[: count // 2] for name, x in batch.items()}, {name: x[count // 2 :] for name, x in batch.items()})
    return [part for half in halves for part in asked_within_memory(task, forward, half, labelled)]


def asked(task: Task, forward: Forward, batch: Batch, labelled: bool) -> dict[str, Any]:
    """One batch: what `predict` answered, and the last output behind it."""
    once = Once(forward)
    with torch.inference_mode():
        answers = task.briefly().predict(once, batch)
        if once.said is None:  # answers that need no model
            once(*[batch[i.name] for i in task.inputs])
        said = once.said if isinstance(once.said, dict) else {}
        found: dict[str, Any] = {"kind": "other", "names": ()}
        rows = len(answers)
        logits, features = (_array(said, key, rows) for key in ("logits", "features"))
        label = next((batch[n] for n in task.labels if n in batch and batch[n].ndim == 1), None) if labelled else None
        if task.acts:
            pass  # actions are neither right nor wrong: only what comes of them is
        elif logits is not None and (label is None or not label.is_floating_point()):
            found |= {"kind": "class", **_answered(answers, logits)}
        elif logits is None and label is not None and label.is_floating_point():
            value = next(v for n, v in task.target(once, batch).items() if n in task.labels)
            found |= {"kind": "number", "value_N": value.double().cpu().numpy()}
        if label is not None:
            found["truth_N"] = label.cpu().numpy().astype(np.float64 if label.is_floating_point() else np.int64)
            total, number = by_term(task.loss(once(*[batch[i.name] for i in task.inputs]), batch))
            found["loss_N"] = (total / number.clamp(min=1e-12)).reshape(rows, -1).sum(1).double().cpu().numpy()
    return {**found, "features_ND": features, "last_NK": logits}


def _answered(answers: Sequence[dict[str, Any]], logits_BK: np.ndarray) -> dict[str, Any]:
    """Logits of the answers: of `probabilities` by name where they hold one of each class, else of the model."""
    classes = logits_BK.shape[1]
    told = [answer.get("probabilities") for answer in answers]
    if all(isinstance(p, dict) and len(p) == classes for p in told):
        p_BK = np.asarray([list(p.values()) for p in told], dtype=np.float64)  # type: ignore[union-attr]
        return {"logits_NK": np.log(np.maximum(p_BK, 1e-300)), "names": tuple(map(str, told[0]))}  # type: ignore[arg-type]
    return {"logits_NK": logits_BK, "names": tuple(str(k) for k in range(classes))}


def _array(said: dict[str, Any], key: str, rows: int) -> np.ndarray | None:
    value = said.get(key)
    return value.double().cpu().numpy() if value is not None and value.ndim == 2 and len(value) == rows else None


def gathered(columns: Columns, parts: list[dict[str, Any]]) -> Said:
    """The batches as one."""

    def joined(name: str) -> np.ndarray | None:
        arrays = [part.get(name) for part in parts]
        return np.concatenate(arrays) if arrays and all(a is not None for a in arrays) else None  # type: ignore[arg-type]

    arrays = {n: joined(n) for n in ("logits_NK", "features_ND", "last_NK", "truth_N", "value_N", "loss_N")}
    kind = parts[0]["kind"] if parts else "other"
    return Said(columns, kind, names=parts[0]["names"] if parts else (), **arrays)
