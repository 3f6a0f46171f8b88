"""The smallest change that makes the model say something else, by modality, in words and in raw units."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from lamina.data.columns import take
from lamina.explain.changes import Asks, plausible, smallest_change
from lamina.explain.examples import Reference, in_words, plain
from lamina.explain.flips import flips, whole
from lamina.explain.subject import MOST, Subject
from lamina.explain.text_changes import Texts, changed, fewest_removed, fewest_replaced, typical_words
from lamina.explain.texts import raw_texts
from lamina.leaf import stands_by_embedding
from lamina.modalities.words import Span
from lamina.task import Columns
from lamina.terminal import progress
from lamina.train.precision import float32


def counterfactuals(
    subject: Subject, columns: Columns, reference: Reference | str, spans: list[list[Span]] | None = None
) -> tuple[list[dict[str, Any]], str]:
    """One row an example {"row", "found", "becomes", ...}, and why there are none, where there are none.

    Pictures: "length" of the change in raw units, "rms_share" of the range that a value changes by in the mean square,
    "_after" the changed picture. Tables: "changes" [{"column", "from", "to"}], "changed_columns" and "cost".
    Texts: "removed" words and "replaced" ones, and "changed_words", the fewer of the two; `spans` says where their words stand.
    """
    if subject.label is None:
        return [], "the answer is not one of several classes, so nothing flips"
    if not bool((subject.answer(subject.said[subject.task.inputs[0].name]) == subject.label).all()):
        return [], "they are of the first answer; another was asked about"
    if subject.modality == "table" and subject.leaf.dim() > 1:
        if isinstance(reference, str):
            return [], f"values that are plausible are those of training rows, which could not be read: {reference}"
        return _rows(subject, columns, reference), ""
    if subject.modality == "text":
        if spans is None:
            return [], "the task does not tell what its tokens stand for (`pieces`), so no word can be taken away"
        return _texts(subject, columns, reference, spans), ""
    if stands_by_embedding(subject.task):
        return [], f"no search for the smallest change of {subject.modality} inputs is known here"
    return _continuous(subject), ""


def _continuous(subject: Subject) -> list[dict[str, Any]]:
    spec = subject.task.inputs[0]
    flip = flips(subject)
    if spec.dtype == "uint8":
        flip = whole(subject, flip)
    with torch.no_grad():
        after = subject.task.predict(lambda *x: float32(subject.model(*x)), {**subject.said, spec.name: flip.leaf})
    reach = 1.0 if spec.low is None or spec.high is None else float(np.max(spec.high) - np.min(spec.low))
    per_value = reach * subject.leaf[0].numel() ** 0.5
    return [
        {
            "row": row, "found": bool(flip.found[row]), "becomes": in_words(after[row]), "length": float(flip.length[row]),
            "rms_share": float(flip.length[row]) / per_value, "_after": flip.leaf[row].cpu().numpy(),
        }
        for row in range(len(subject.leaf))
    ]  # fmt: skip


def _texts(subject: Subject, columns: Columns, reference: Reference | str, spans: list[list[Span]]) -> list[dict[str, Any]]:
    task = subject.task
    raw = raw_texts(task, columns)
    others: dict[int, list[str]] = {}
    if not isinstance(reference, str):
        others = typical_words(raw_texts(task, reference.columns), _said_of(subject, reference))
    rows = []
    with progress("looking for the fewest words", len(subject.leaf)) as advance:
        for row in range(len(subject.leaf)):
            said = {name: value[row : row + 1] for name, value in subject.said.items()}
            ask = Texts(task, subject.model, take(columns, [row]), said)
            removed = fewest_removed(ask, raw[row], spans[row])
            candidates = others.get(int(said[task.labels[0]][0]), [])
            replaced = fewest_replaced(ask, raw[row], spans[row], candidates)
            advance(1)
            found = [one for one in (removed, replaced) if one is not None]
            best = min(found, key=len) if found else None  # of as many, the removal
            after = "" if best is None else _becomes(ask, changed(raw[row], spans[row], best))
            words = [raw[row][a:b] for a, b in spans[row]]
            gone = [words[i] for i in sorted(removed or ())]
            other = [[words[i], word] for i, word in sorted((replaced or {}).items())]
            rows.append({
                "row": row, "found": best is not None, "becomes": after, "changed_words": len(best or ()),
                "removed": gone, "replaced": other,
                "how": "without " + ", ".join(gone) if best is removed else "with " + ", ".join(f"{b} for {a}" for a, b in other),
                "text": "" if best is None else changed(raw[row], spans[row], best),
            })  # fmt: skip
    return rows


def _becomes(ask: Texts, text: str) -> str:
    with torch.no_grad():
        (after,) = ask.task.predict(lambda *x: float32(ask.model(*x)), ask.batch([text]))
    return in_words(after)


@torch.no_grad()
def _said_of(subject: Subject, reference: Reference) -> np.ndarray:
    """The classes (N,) that the model says of the training examples."""
    task, parts = subject.task, []
    for start in range(0, len(reference.rows), MOST):
        batch = {name: value[start : start + MOST] for name, value in reference.batch.items()}
        parts.append(task.target(lambda *x: float32(subject.model(*x)), batch)[task.labels[0]].cpu().numpy())
    return np.concatenate(parts)


def _rows(subject: Subject, columns: Columns, reference: Reference) -> list[dict[str, Any]]:
    task = subject.task
    spec = task.inputs[0]
    known = plausible(reference.columns, reference.batch[spec.name].cpu(), task.asks)
    ask = Asks(task, subject.model)
    rows = []
    with progress("looking for the smallest changes", len(subject.leaf)) as advance:
        for row in range(len(subject.leaf)):
            said = {name: value[row : row + 1] for name, value in subject.said.items()}
            made = smallest_change(ask, said, known)
            advance(1)
            if made is None:
                rows.append({"row": row, "found": False, "becomes": "", "changes": []})
                continue
            raw = take({one["column"]: columns[one["column"]] for one in made["changes"]}, [row])
            changes = [{**one, "from": plain(raw[one["column"]][0])} for one in made["changes"]]
            with torch.no_grad():
                (after,) = task.predict(lambda *x: float32(subject.model(*x)), {**said, spec.name: made["table"]})
            rows.append({
                "row": row, "found": True, "becomes": in_words(after), "changes": changes,
                "changed_columns": len(changes), "cost": made["cost"],
            })  # fmt: skip
    return rows
