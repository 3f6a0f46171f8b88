"""What each depth knows: a linear probe on the activations of each (Alain and Bengio 2016, arXiv:1610.01644).

The probe is ridge regression, onto one column a class (the greatest wins) or onto the number to be told, on activations
that are narrowed where they are wide and standardized by the training examples. Its penalty is the one of least
leave-one-out error, in closed form (PRESS, Allen 1974): residual / (1 - leverage). It learns from training examples and is
judged on validation examples.

The input of a text is how often each token stands in it; its activations are means over tokens, padding left out.

Legend: B, N examples, T tokens, V values, D features, K classes or 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lamina.inspect.trace import first_tensor, watched
from lamina.task import Batch, Task

WIDEST = 1024
"""Features of a probe; what is wider is narrowed."""
PENALTIES = 10.0 ** np.arange(-2, 6)
LEARNED = 0.9
"""Recall and precision from which a class counts as separable at a depth: a probe that says one class always has its recall."""


def narrowed(x: Tensor) -> Tensor:
    """(B, ...) -> (B, D) float32, D at most WIDEST: as it is where that is enough, else half means over positions, half hashed.

    Means alone would hide what a wide layer knows of places: beside its input it would seem to have forgotten them.
    """
    x = torch.nan_to_num(x.detach().float())
    if x[0].numel() <= WIDEST:
        return x.flatten(1)
    half = WIDEST // 2
    means = x.new_zeros(len(x), 0)
    if x.dim() == 4:
        side = next((s for s in (4, 2) if x.shape[1] * s * s <= half), 1)
        means = nn.functional.adaptive_avg_pool2d(x, side).flatten(1)
    elif x.dim() == 3:
        means = torch.cat([x.mean(1), x[:, 0]], 1)  # the mean of the tokens, and the first, which may answer for all
    return torch.cat([hashed(part, half) if part.shape[1] > half else part for part in (means, x.flatten(1))], 1)


def of_tokens(x: Tensor, inside_BT: Tensor) -> Tensor:
    """(B, T, D) -> (B, D): the mean over what is no padding, so that texts of any length are comparable. Others stay."""
    if x.dim() != 3 or x.shape[:2] != inside_BT.shape:
        return x
    return (x * inside_BT.unsqueeze(2)).sum(1) / inside_BT.sum(1, keepdim=True).clamp(min=1)


def bag_of_tokens(x_BT: Tensor) -> Tensor:
    """How often each token stands in a text (B, WIDEST): what can be told from words without their order. Ids beyond WIDEST
    share a column."""
    counts = torch.zeros(len(x_BT), WIDEST, device=x_BT.device)
    return counts.scatter_add_(1, x_BT % WIDEST, (x_BT != 0).float())


def hashed(x_BV: Tensor, width: int) -> Tensor:
    """(B, width): sums of the values, each with a sign, in places drawn once for every V.

    Inner products are kept up to a noise of 1 / sqrt(width) (Weinberger et al. 2009, "Feature Hashing", arXiv:0902.2206).
    """
    generator = torch.Generator().manual_seed(x_BV.shape[1])
    place_V = torch.randint(width, (x_BV.shape[1],), generator=generator)
    sign_V = torch.randint(2, (x_BV.shape[1],), generator=generator) * 2.0 - 1
    return x_BV.new_zeros(len(x_BV), width).index_add_(1, place_V.to(x_BV.device), x_BV * sign_V.to(x_BV.device))


def labels_of(task: Task, batches: Iterable[Batch]) -> np.ndarray | None:
    """The labels (N,), whole numbers where they are classes; None where a label is no number an example, or tells nothing, as
    what was done at random in an agent's examples."""
    if task.acts:
        return None
    found = [batch[task.labels[0]].cpu() for batch in batches] if task.labels else []
    if any(label[0].numel() != 1 for label in found if len(label)):  # sequences, each batch of its own length
        return None
    whole = torch.cat(found) if found else None
    return None if whole is None or whole[0].numel() != 1 else whole.flatten().numpy()


def activations(task: Task, model: nn.Module, names: list[str], batches: Iterable[Batch]) -> dict[str, np.ndarray]:
    """{depth: (N, D)}, the input first."""
    held: dict[str, list[Tensor]] = {}
    with torch.no_grad(), watched(model, names) as seen:
        for batch in batches:
            seen.clear()
            task.outputs(model, batch)
            x = batch[task.inputs[0].name]
            is_text = task.inputs[0].modality == "text" and x.dim() == 2
            raw = bag_of_tokens(x) if is_text else first_tensor(x.float())
            for name, tensor in {"(the input)": raw, **seen}.items():
                if tensor is not None and tensor.dim() > 1 and len(tensor) == len(x):
                    held.setdefault(name, []).append(narrowed(of_tokens(tensor, x != 0) if is_text else tensor).cpu())
    return {name: torch.cat(parts).numpy() for name, parts in held.items()}


def ridge(x_ND: np.ndarray, y_NK: np.ndarray, judged_MD: np.ndarray) -> np.ndarray:
    """What the probe learned from (x, y) says of `judged_MD`: (M, K)."""
    mean, std = x_ND.mean(0), x_ND.std(0)
    keep = std > 1e-7
    if not keep.any():
        return np.repeat(y_NK.mean(0, keepdims=True), len(judged_MD), 0)
    x, z = ((a[:, keep] - mean[keep]) / std[keep] for a in (x_ND.astype(np.float64), judged_MD.astype(np.float64)))
    centre = y_NK.mean(0)
    values, vectors = np.linalg.eigh(x.T @ x)
    values = np.maximum(values, 0)
    turned, right = x @ vectors, vectors.T @ (x.T @ (y_NK - centre))
    best: tuple[float, Any] = (math.inf, None)
    for penalty in PENALTIES:
        weights = right / (values + penalty)[:, None]
        leverage = (turned**2 / (values + penalty)).sum(1) + 1 / len(x)
        left_out = (y_NK - centre - turned @ weights) / np.maximum(1 - leverage, 1e-6)[:, None]
        error = float((left_out**2).mean())
        if error < best[0]:
            best = error, weights
    return z @ vectors @ best[1] + centre


def wilson(share: float, count: int, confidence: float) -> tuple[float, float]:
    """The interval of a share of `count` (Wilson 1927, equation 9), at the ends as well."""
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    middle = share + z * z / (2 * count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return (middle - half) / (1 + z * z / count), (middle + half) / (1 + z * z / count)


def probe(
    learned: dict[str, np.ndarray], labels_N: np.ndarray, judged: dict[str, np.ndarray], truth_M: np.ndarray, confidence: float,
    seed: int = 0, names: Sequence[str] = (),
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:  # fmt: skip
    """Rows by depth, and for classes a row a class: recall by depth, and the depth from which it is separable.

    Whole-numbered labels are classes, called by their `names` (K,) where those are given; others are numbers, judged by R2
    with the interval of a bootstrap.
    """
    rows: list[dict[str, Any]] = []
    recalls: dict[str, np.ndarray] = {}
    precisions: dict[str, np.ndarray] = {}
    is_class = np.issubdtype(labels_N.dtype, np.integer)
    classes = np.unique(labels_N)
    y = (labels_N[:, None] == classes).astype(np.float64) if is_class else labels_N[:, None].astype(np.float64)
    for name, x in learned.items():
        said = ridge(x, y, judged[name])
        if is_class:
            named = classes[said.argmax(1)]
            right = named == truth_M
            share = float(right.mean())
            low, high = wilson(share, len(truth_M), confidence)
            recalls[name] = np.array([right[truth_M == k].mean() if (truth_M == k).any() else np.nan for k in classes])
            precisions[name] = np.array([right[named == k].mean() if (named == k).any() else 0.0 for k in classes])
            rows.append({"depth": name, "features": x.shape[1], "accuracy": share, "low": low, "high": high})
        else:
            value, low, high = r2(said[:, 0], truth_M, confidence, seed)
            rows.append({"depth": name, "features": x.shape[1], "r2": value, "low": low, "high": high})
    by_class = []
    for place, k in enumerate(classes if is_class else ()):
        depths = {name: float(recall[place]) for name, recall in recalls.items()}
        first = next((n for n, recall in depths.items() if min(recall, precisions[n][place]) >= LEARNED), None)
        by_class.append({"class": names[k] if names else int(k), "separable_from": first or "nowhere", **depths})
    return rows, by_class


def r2(said_M: np.ndarray, truth_M: np.ndarray, confidence: float, seed: int) -> tuple[float, float, float]:
    """Share of the variance told, with the percentile interval of 500 draws of the examples."""

    def of(rows: Any) -> float:
        spread = float(((truth_M[rows] - truth_M[rows].mean()) ** 2).sum())
        return 1 - float(((truth_M[rows] - said_M[rows]) ** 2).sum()) / spread if spread else math.nan

    generator = np.random.default_rng(seed)
    draws = [of(generator.integers(0, len(truth_M), len(truth_M))) for _ in range(500)]
    low, high = np.nanquantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    return of(slice(None)), float(low), float(high)
