"""Groups of examples that may fare worse than others: by class, by the cells of a table, by how a picture looks, by likeness.

Every group is a name and which examples are in it. None looks at what the model got right.

Shapes: N examples, C channels or columns, H and W pixels, D features.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lamina.decode.known import unit
from lamina.stress.said import Said
from lamina.task import Batch, Columns, Task

Groups = dict[str, np.ndarray]
"""Which of the N examples are in a group, bool (N,), by its name."""

FIFTHS, THIRDS = 5, 3
MOST_VALUES = 20
"""Values of a column that count as categories."""
MOST_PAIRED = 8
"""Columns whose pairs are looked at: all pairs of many would drown what is real in chance."""
CLUSTERS = 10


def groups_of(task: Task, said: Said, batch: Batch | None, least: int, seed: int) -> Groups:
    """Every group of at least `least` examples, and fewer than all. `batch` holds the encoded inputs, for pictures."""
    found: Groups = {}
    if said.kind == "class" and said.truth_N is not None:
        found |= {f"class = {name}": said.truth_N == k for k, name in enumerate(said.names)}
    if said.kind == "number" and said.truth_N is not None:
        found |= bins("answer", said.truth_N, FIFTHS)
    modality = task.inputs[0].modality
    if modality == "image" and batch is not None:
        found |= looks(np.asarray(batch[task.inputs[0].name]))
    elif modality == "table":
        found |= cells({name: said.columns[name] for name in task.asks if name in said.columns})
    if said.features_ND is not None and len(said) >= CLUSTERS * least:
        found |= clusters(said.features_ND, seed)
    return {name: inside for name, inside in found.items() if least <= inside.sum() < len(said)}


def bins(name: str, value_N: np.ndarray, parts: int) -> Groups:
    """Groups of nearly equal size by quantiles of a number; missing values are a group of their own."""
    missing_N = ~np.isfinite(value_N)
    found = {f"{name} missing": missing_N} if missing_N.any() else {}
    present = value_N[~missing_N]
    if not len(present):
        return found
    edges = np.unique(np.quantile(present, np.linspace(0, 1, parts + 1)))
    if len(edges) < 2:
        return found
    for place, (low, high) in enumerate(itertools.pairwise(edges)):
        last = place == len(edges) - 2
        inside = (value_N >= low) & ((value_N <= high) if last else (value_N < high))
        found[f"{name} {low:.4g} to {high:.4g}"] = inside & ~missing_N
    return found


def cells(columns: Columns) -> Groups:
    """By each column of a table, and by pairs of columns in three bins each."""
    found: Groups = {}
    coarse: list[Groups] = []
    for name, column in columns.items():
        found |= by_column(name, column, FIFTHS)
        if len(coarse) < MOST_PAIRED:
            coarse.append(by_column(name, column, THIRDS))
    for one, other in itertools.combinations(coarse, 2):
        for (a, in_a), (b, in_b) in itertools.product(one.items(), other.items()):
            found[f"{a} and {b}"] = in_a & in_b
    return found


def by_column(name: str, column: Sequence[Any], parts: int) -> Groups:
    """Quantiles of a column of numbers, values of one of categories."""
    values = np.asarray(column)
    if values.dtype.kind in "iuf" and len(np.unique(values[np.isfinite(values.astype(np.float64))])) > parts:
        return bins(name, values.astype(np.float64), parts)
    texts = np.asarray([str(value) for value in column])
    kinds, counts = np.unique(texts, return_counts=True)
    common = kinds[np.argsort(-counts, kind="stable")][:MOST_VALUES]
    return {f"{name} = {kind}": texts == kind for kind in common}


def looks(x_NCHW: np.ndarray) -> Groups:
    """By brightness, contrast and sharpness of pictures."""
    gray_NHW = x_NCHW.astype(np.float32).mean(1)
    measures: Mapping[str, np.ndarray] = {
        "brightness": gray_NHW.mean((1, 2)),
        "contrast": gray_NHW.std((1, 2)),
        "sharpness": np.abs(np.diff(gray_NHW, axis=2)).mean((1, 2)) if gray_NHW.shape[2] > 1 else gray_NHW.mean((1, 2)),
    }
    found: Groups = {}
    for name, value_N in measures.items():
        found |= bins(name, value_N.astype(np.float64), FIFTHS)
    return found


def clusters(features_ND: np.ndarray, seed: int) -> Groups:
    """Ten clusters of features on the unit sphere (k-means), numbered by size."""
    from sklearn.cluster import KMeans

    label_N = KMeans(CLUSTERS, n_init="auto", random_state=seed).fit_predict(unit(features_ND).astype(np.float32))
    order = np.argsort(-np.bincount(label_N, minlength=CLUSTERS), kind="stable")
    return {f"cluster {place + 1} of alike examples": label_N == k for place, k in enumerate(order.tolist())}
