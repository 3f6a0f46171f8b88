"""Groups of examples that may fare worse than others: by class, by the cells of a table, by how a picture or a text looks,
by likeness.

Every group is a name and which examples are in it. None looks at what the model got right.

Shapes: N examples, C channels or columns, H and W pixels, T tokens, D features.
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
    """Every group of at least `least` examples, and fewer than all. `batch` holds the encoded inputs, for pictures and texts."""
    found: Groups = {}
    parts = max(2, min(FIFTHS, len(said) // (least + 5)))  # fewer where a fifth would be too small to judge
    if said.kind == "class" and said.truth_N is not None:
        found |= {f"class = {name}": said.truth_N == k for k, name in enumerate(said.names)}
    if said.kind == "number" and said.truth_N is not None:
        found |= bins("answer", said.truth_N, parts)
    modality = task.inputs[0].modality
    if modality == "image" and batch is not None:
        found |= looks(np.asarray(batch[task.inputs[0].name]), parts)
    elif modality == "text":
        tokens_NT = None if batch is None else np.asarray(batch[task.inputs[0].name])
        found |= writing([str(said.columns[task.asks[0]][i]) for i in range(len(said))], tokens_NT, parts)
    elif modality == "table":
        found |= cells({name: said.columns[name] for name in task.asks if name in said.columns}, parts)
    if said.features_ND is not None and len(said) >= CLUSTERS * least:
        found |= clusters(said.features_ND, seed)
    return {name: inside for name, inside in found.items() if least <= inside.sum() < len(said)}


def bins(name: str, value_N: np.ndarray, parts: int) -> Groups:
    """Groups of nearly equal size by quantiles of a number, or one a value where it has few; missing ones are a group too."""
    missing_N = ~np.isfinite(value_N)
    found = {f"{name} missing": missing_N} if missing_N.any() else {}
    present = value_N[~missing_N]
    values = np.unique(present)
    if len(values) <= parts:
        return found | {f"{name} = {value:.4g}": value_N == value for value in values}
    edges = np.unique(np.quantile(present, np.linspace(0, 1, parts + 1)))
    for place, (low, high) in enumerate(itertools.pairwise(edges)):
        last = place == len(edges) - 2
        inside = (value_N >= low) & ((value_N <= high) if last else (value_N < high))
        found[f"{name} {low:.4g} to {high:.4g}"] = inside & ~missing_N
    return found


def cells(columns: Columns, parts: int = FIFTHS) -> Groups:
    """By each column of a table, and by pairs of columns in three bins each."""
    found: Groups = {}
    coarse: list[Groups] = []
    for name, column in columns.items():
        found |= by_column(name, column, parts)
        if len(coarse) < MOST_PAIRED:
            coarse.append(by_column(name, column, THIRDS))
    for one, other in itertools.combinations(coarse, 2):
        for (a, in_a), (b, in_b) in itertools.product(one.items(), other.items()):
            found[f"{a} and {b}"] = in_a & in_b
    return found


def by_column(name: str, column: Sequence[Any], parts: int) -> Groups:
    """Quantiles of a column of numbers, values of one of categories."""
    values = np.asarray(column)
    if values.dtype.kind in "iuf":
        return bins(name, values.astype(np.float64), parts)
    texts = np.asarray([str(value) for value in column])
    kinds, counts = np.unique(texts, return_counts=True)
    common = kinds[np.argsort(-counts, kind="stable")][:MOST_VALUES]
    return {f"{name} = {kind}": texts == kind for kind in common}


def looks(x_NCHW: np.ndarray, parts: int = FIFTHS) -> Groups:
    """By brightness, contrast and sharpness of pictures."""
    gray_NHW = x_NCHW.astype(np.float32).mean(1)
    measures: Mapping[str, np.ndarray] = {
        "brightness": gray_NHW.mean((1, 2)),
        "contrast": gray_NHW.std((1, 2)),
        "sharpness": np.abs(np.diff(gray_NHW, axis=2)).mean((1, 2)) if gray_NHW.shape[2] > 1 else gray_NHW.mean((1, 2)),
    }
    found: Groups = {}
    for name, value_N in measures.items():
        found |= bins(name, value_N.astype(np.float64), parts)
    return found


def writing(texts: Sequence[str], tokens_NT: np.ndarray | None, parts: int = FIFTHS) -> Groups:
    """By how long texts are, how much of them is unknown to the tokenizer (id 1), how they are cased, and what stands in them."""
    letters_N = np.array([max(1, sum(c.isalpha() for c in text)) for text in texts])
    capitals_N = np.array([sum(c.isupper() for c in text) for text in texts]) / letters_N
    foreign_N = np.array([sum(c.isalpha() and not c.isascii() for c in text) for text in texts]) / letters_N
    found = bins("words", np.array([len(text.split()) for text in texts], dtype=np.float64), parts)
    found["casing = no capitals"] = capitals_N == 0
    found["casing = mostly capitals"] = capitals_N > 0.5
    found["casing = mixed"] = (capitals_N > 0) & (capitals_N <= 0.5)
    found["holds digits"] = np.array([any(c.isdigit() for c in text) for text in texts])
    found["holds letters beyond a to z"] = foreign_N > 0
    found["ends without punctuation"] = np.array([bool(text.rstrip()) and text.rstrip()[-1].isalnum() for text in texts])
    if tokens_NT is not None:
        unknown_N = (tokens_NT == 1).sum(1) / np.maximum((tokens_NT != 0).sum(1), 1)
        if unknown_N.any():
            found |= {f"{name} of tokens unknown": inside for name, inside in shares(unknown_N).items()}
    return found


def shares(share_N: np.ndarray) -> Groups:
    """None, up to a tenth, more."""
    return {"none": share_N == 0, "up to 10%": (share_N > 0) & (share_N <= 0.1), "more than 10%": share_N > 0.1}


def clusters(features_ND: np.ndarray, seed: int) -> Groups:
    """Ten clusters of features on the unit sphere (k-means), numbered by size."""
    from sklearn.cluster import KMeans

    label_N = KMeans(CLUSTERS, n_init="auto", random_state=seed).fit_predict(unit(features_ND).astype(np.float32))
    order = np.argsort(-np.bincount(label_N, minlength=CLUSTERS), kind="stable")
    return {f"cluster {place + 1} of alike examples": label_N == k for place, k in enumerate(order.tolist())}
