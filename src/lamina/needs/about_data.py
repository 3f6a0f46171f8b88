"""What is wrong with the data: wrong labels, examples judged though trained on, examples known by heart.

Legend: N training examples, M judged ones, K classes.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from lamina.answer import class_names
from lamina.data.columns import length, take
from lamina.data.near_texts import same_texts
from lamina.data.source import Data
from lamina.evaluate import interval, joined, resample
from lamina.modalities.words import cut
from lamina.needs import asking, label_errors, pictures
from lamina.needs import leaks as leaking
from lamina.needs.answers import Answers, percent
from lamina.needs.curve import Curve
from lamina.needs.memorization import memorization
from lamina.needs.settings import Settings
from lamina.needs.training import trained
from lamina.run import Run
from lamina.task import Columns, Forward, Task
from lamina.terminal import progress

MANY_LEAKS = 0.01
QUOTED = 200
"""Characters of a text that is shown beside a suspect."""
CELLS = 3
"""Columns of a table's row that are shown beside a suspect."""


def about_leaks(
    run: Run, forward: Forward, train: Columns, judged: Columns, part: str, settings: Settings, answers: Answers
) -> None:
    """Which judged examples stand in training too, and what the headline metric is without them."""
    task, metric = run.task, run.task.headline[0]
    looked = min(length(judged), 2000 if settings.quick else settings.examples)
    judged = take(judged, np.sort(np.random.default_rng(settings.seed).permutation(length(judged))[:looked]))
    modality = task.inputs[0].modality
    shown: tuple[np.ndarray | None, np.ndarray | None] = None, None
    if modality == "image":
        name = task.inputs[0].name
        shown = picture_grids(task, train, name), picture_grids(task, judged, name)
    elif modality == "table" and len(task.inputs) == 1:
        shown = asking.inputs_of(task, train), asking.inputs_of(task, judged)
    similar = modality if shown[0] is not None and shown[0].ndim == 2 and shown[0].shape[1] else ""
    hashes = asking.contents(task, train), asking.contents(task, judged)
    if modality == "text":
        similar = modality
        found = leaking.text_leaks(*hashes, asking.texts_of(task, train), asking.texts_of(task, judged))
    else:
        found = leaking.leaks(*hashes, shown[0], shown[1], similar)
    copies = np.flatnonzero(found.twin_M >= 0)
    answers.figure("leaked_share", found.share)
    answers.details["leaked"] = {
        "exact": int(found.exact_M.sum()),
        "near": int(len(copies) - found.exact_M.sum()),
        "looked_at": looked,
    }
    if not len(copies):
        near = " or nearly" if similar else ""
        answers.sentences.append(f"None of the {looked:,} examples of {part} stands in training too, the same{near}.")
        return
    rest = np.flatnonzero(found.twin_M < 0)
    exact = int(found.exact_M.sum())
    told = (
        f"{percent(found.share)} of the {looked:,} examples of {part} were trained on: {exact:,} exactly the same"
        f" and {len(copies) - exact:,} nearly."
    )
    figures = []
    for rows in (np.arange(looked), rest):
        if not len(rows):
            continue
        some = take(judged, rows)
        metrics, predictions = task.evaluate(forward, some)
        draws_R = resample(task, some, predictions, 300 if len(rows) > 1 else 0, settings.seed).get(metric)
        figures.append(interval(metrics[metric], draws_R, settings.confidence))
    if len(figures) == 2:
        before, after = figures
        answers.figures[f"{metric}_without_leaks"] = after
        told += (
            f" Without them {metric} is {after['value']:.4f} ({after['low']:.4f} to {after['high']:.4f}) instead of "
            f"{before['value']:.4f}."
        )
    answers.sentences.append(told)
    if found.share >= MANY_LEAKS:
        answers.warnings.append(f"{percent(found.share)} of {part} was trained on: figures on it promise too much")
    answers.tables["leaks"] = [
        {
            part: name_of(judged, int(row)),
            "train": name_of(train, int(found.twin_M[row])),
            "copy": "exact" if found.exact_M[row] else "near",
            **cells(task, judged, int(row)),
        }
        for row in copies[: settings.suspects]
    ]


def about_duplicates(task: Task, train: Columns, label_N: np.ndarray | None, settings: Settings, answers: Answers) -> None:
    """Texts that stand more than once in training, and those that stand with different labels."""
    if task.inputs[0].modality != "text":
        return
    groups = same_texts(asking.texts_of(task, train))
    more = sum(len(rows) - 1 for rows in groups)
    answers.figure("duplicate_share", more / length(train))
    unlike = [rows for rows in groups if label_N is not None and len(set(label_N[rows].tolist())) > 1]
    if not groups:
        answers.sentences.append(f"No training text stands twice among the {length(train):,}.")
        return
    told = f"{percent(more / length(train))} of the {length(train):,} training texts repeat another"
    if unlike:
        answers.figure("conflicting_labels", sum(map(len, unlike)))
        told += f"; {len(unlike):,} texts stand there with different labels, of which one at most is right"
        answers.warnings.append(f"{len(unlike):,} training texts stand with different labels: the first are listed")
    answers.sentences.append(f"{told}.")
    first = [*unlike, *(rows for rows in groups if rows not in unlike)][: settings.suspects]
    answers.tables["repeated texts"] = [
        {
            "times": len(rows),
            "rows": ", ".join(name_of(train, row) for row in rows[:4]) + (", ..." if len(rows) > 4 else ""),
            "labels": None if label_N is None else len(set(label_N[rows].tolist())),
            **cells(task, train, rows[0]),
        }
        for rows in first
    ]


def picture_grids(task: Task, columns: Columns, name: str) -> np.ndarray:
    """The grids (N, G) of all pictures."""
    return np.concatenate([leaking.grids(batch[name].numpy()) for batch in asking.batches(task, columns)])


def about_labels(
    run: Run, forward: Forward, data: Data, curve: Curve | None, settings: Settings, folder: Path, device: str,
    precision: str | None, answers: Answers,
) -> None:  # fmt: skip
    """Labels ranked by how wrong they look, by probabilities of models that did not see them."""
    train = data.train
    known = asking.said(run.task, forward, train)
    if known is None:
        answers.skipped["label_errors"] = "its answer is not one of K classes: there is no label to be wrong as a whole"
        return
    classes = known.probability_NK.shape[1]
    how, probability_NK, rows = "", None, np.arange(length(train))
    if settings.folds:
        probability_NK, how = (
            folds(run, data, known.label_N, settings, device, precision),
            f"{settings.folds} trainings, each without one fold",
        )
    elif curve is not None and curve.probabilities:
        places = sorted(curve.probabilities)
        made = label_errors.left_out([curve.probabilities[p] for p in places], [curve.orders[p] for p in places], length(train))
        if made is not None and made[1].mean() > 0.5:
            probability_NK, rows = made[0], np.flatnonzero(made[1])
            how = f"those of {len(places)} trainings of the learning curve that left an example out"
    if probability_NK is None and known.features_ND is not None and np.bincount(known.label_N).max() >= label_errors.PROBE_FOLDS:
        rows = np.sort(np.random.default_rng(settings.seed).permutation(length(train))[: settings.examples])
        probability_NK = np.zeros_like(known.probability_NK)
        probability_NK[rows] = label_errors.probe(known.features_ND[rows], known.label_N[rows], classes, settings.seed)
        how = "a cross-validated linear probe on its features"
        answers.warnings.append(
            "wrong labels were looked for with features of a network that was trained on them; what it learned by heart may "
            "hide: the learning curve, or --folds 5, looks with models that never saw them"
        )
    if probability_NK is None:
        answers.skipped["label_errors"] = "the output has no `features` to probe: train on folds with --folds 5"
        return
    others = [columns for name, columns in data.parts().items() if name != "train" and length(columns)]
    parts, labels, probabilities = [take(train, rows)], [known.label_N[rows]], [probability_NK[rows]]
    where = [("train", int(row)) for row in rows]
    for name, columns in data.parts().items():
        answer = asking.said(run.task, forward, columns) if name != "train" and length(columns) else None
        if answer is not None:
            labels.append(answer.label_N)
            probabilities.append(answer.probability_NK)
            where += [(name, row) for row in range(length(columns))]
    looked = joined([*parts, *others])
    label_N = np.concatenate(labels)
    ranked = label_errors.rank(label_N, np.concatenate(probabilities).astype(np.float64), settings.confidence, seed=settings.seed)
    names = class_names(run.task, looked, label_N, classes)
    count = len(label_N)
    answers.figure("label_errors", ranked.count, ranked.low, ranked.high)
    answers.figure("label_error_share", ranked.count / count, ranked.low / count, ranked.high / count)
    answers.sentences.append(
        f"About {ranked.count:,.0f} of {count:,} labels look wrong ({ranked.low:,.0f} to {ranked.high:,.0f}), or their examples "
        f"are hard; the first to look at are listed (by {how})."
    )
    first = ranked.rank_N[: settings.suspects]
    answers.tables["label suspects"] = [
        {
            "part": where[row][0],
            "example": name_of(looked, int(row), where[row][1]),
            "label": names[int(label_N[row])],
            "looks like": names[int(ranked.suggested_N[row])],
            "margin": round(float(ranked.margin_N[row]), 4),
            **cells(run.task, looked, int(row)),
        }
        for row in first.tolist()
    ]
    tenth = ranked.rank_N[: max(100, count // 10)].tolist()
    answers.details["label_ranking"] = [[*where[row], round(float(ranked.margin_N[row]), 5)] for row in tenth]
    if run.task.inputs[0].modality == "image":
        captions = [f"{names[int(label_N[row])]}? {names[int(ranked.suggested_N[row])]}" for row in first]
        answers.pictures["label suspects"] = pictures.draw_grid(
            run.task, take(looked, first), captions, folder / "label_suspects.png"
        )


def folds(run: Run, data: Data, label_N: np.ndarray, settings: Settings, device: str, precision: str | None) -> np.ndarray:
    """Probabilities (N, K) of every training example by the training that left its fold out."""
    from sklearn.model_selection import KFold, StratifiedKFold

    fewest = np.bincount(label_N)[np.unique(label_N)].min()
    splitter = (StratifiedKFold if fewest >= settings.folds else KFold)(settings.folds, shuffle=True, random_state=settings.seed)
    found: np.ndarray | None = None
    with progress("folds", settings.folds) as advance:
        for fold, (inside, outside) in enumerate(splitter.split(np.zeros(len(label_N)), label_N)):
            forward, _ = trained(
                run, dataclasses.replace(data, train=take(data.train, inside)), settings.seed + fold, device, precision
            )
            answer = asking.said(run.task, forward, take(data.train, outside))
            assert answer is not None  # as it was for the run's own model
            if found is None:
                found = np.zeros((len(label_N), answer.probability_NK.shape[1]))
            found[outside] = answer.probability_NK
            advance(1)
    assert found is not None
    return found


def about_memorization(
    task: Task, train: Columns, label_N: np.ndarray | None, curve: Curve | None, settings: Settings, answers: Answers
) -> None:
    """Examples that are known by heart, from the trainings that saw them and those that did not."""
    if label_N is None:
        answers.skipped["memorized"] = "its answer is not one of K classes: there is no right or wrong to compare"
        return
    if curve is None or not curve.probabilities:
        answers.skipped["memorized"] = (
            "it takes trainings with and without an example: those of the learning curve (without --no-curve)"
        )
        return
    places = sorted(curve.probabilities)
    rows = np.arange(len(label_N))
    right_TN = np.stack([curve.probabilities[p].argmax(1) == label_N for p in places]).astype(np.float64)
    inside_TN = np.stack([np.isin(rows, curve.orders[p]) for p in places])
    found = memorization(right_TN, inside_TN, np.array([size for size, _ in places]))
    if found is None:
        answers.skipped["memorized"] = "no two trainings of one size, one with and one without an example: raise --repeats"
        return
    answers.figure("memorized", found.mean, min(found.low, found.mean), max(found.high, found.mean))
    answers.sentences.append(
        f"{percent(max(found.mean, 0))} of the training examples ({percent(max(found.low, 0))} to {percent(max(found.high, 0))}) "
        f"are right only where they were trained on: known by heart (from {found.trainings} trainings; of one example alone they "
        "say little)."
    )
    worst = np.argsort(-np.nan_to_num(found.score_N, nan=-2.0), kind="stable")[: settings.suspects]
    answers.tables["memorized"] = [
        {
            "example": name_of(train, int(row)),
            "memorization": round(float(found.score_N[row]), 3),
            "standard error": round(float(found.error_N[row]), 3),
            **cells(task, train, int(row)),
        }
        for row in worst
        if found.score_N[row] > 0
    ]


def name_of(columns: Columns, row: int, number: int | None = None) -> str:
    """The path of an example, or its number within its part."""
    return str(columns["path"][row]) if "path" in columns else f"row {row if number is None else number}"


def cells(task: Task, columns: Columns, row: int) -> dict[str, Any]:
    """The first cells of a table's row, as one text; a text, cut; nothing for other inputs."""
    if task.inputs[0].modality == "text":
        return {name: cut(str(columns[name][row]), QUOTED) for name in task.asks[:CELLS] if name in columns}
    if task.inputs[0].modality != "table":
        return {}
    found = [(name, columns[name][row]) for name in task.asks[:CELLS] if name in columns]
    return {"cells": ", ".join(f"{name} {v:.4g}" if isinstance(v, (float, np.floating)) else f"{name} {v}" for name, v in found)}
