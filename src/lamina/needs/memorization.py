"""Which examples the model knows by heart: right when trained on, wrong when left out.

    mem(i) = P(right on i | i trained on) - P(right on i | i left out)      Feldman and Zhang 2020, equation 1

estimated from the trainings of the learning curve on a quarter and on a half of the examples, size by size, so that the
size of the training set does not stand in for membership; sizes are weighted by their precision. With the few trainings
of a curve a single example's score is coarse, which its standard error says; the mean over all examples is not.

Legend: N examples, T trainings.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LEAST_TRAININGS = 2
"""Of one size: one in, one out."""


@dataclass(frozen=True)
class Memorization:
    """The score of each example (N,) with its standard error, not-a-number where it was never in or never out."""

    score_N: np.ndarray
    error_N: np.ndarray
    mean: float
    low: float
    high: float
    trainings: int


def memorization(right_TN: np.ndarray, inside_TN: np.ndarray, size_T: np.ndarray, z: float = 1.645) -> Memorization | None:
    """right_TN: whether training t answers example i rightly (or the probability it gives the label); inside_TN: whether it
    was trained on it; size_T: how many it was trained on. None where no size has an example both in and out.

    The interval of the mean is z standard errors over the sizes' pairs; of one example, (k + 1/2) / (n + 1) in place of k / n
    in the variance (no spread among two trainings is no certainty).
    """
    total_N = np.zeros(right_TN.shape[1])
    weight_N = np.zeros(right_TN.shape[1])
    used = 0
    means: list[float] = []
    for size in np.unique(size_T):
        rows = size_T == size
        inside, right = inside_TN[rows], right_TN[rows]
        in_N, out_N = inside.sum(0), (~inside).sum(0)
        usable = (in_N > 0) & (out_N > 0)
        if rows.sum() < LEAST_TRAININGS or not usable.any():
            continue
        used += int(rows.sum())
        in_total, out_total = (right * inside).sum(0), (right * ~inside).sum(0)
        difference = in_total / np.maximum(in_N, 1) - out_total / np.maximum(out_N, 1)
        p_in, p_out = (in_total + 0.5) / (in_N + 1), (out_total + 0.5) / (out_N + 1)
        variance = p_in * (1 - p_in) / np.maximum(in_N, 1) + p_out * (1 - p_out) / np.maximum(out_N, 1)
        total_N += np.where(usable, difference / variance, 0)
        weight_N += np.where(usable, 1 / variance, 0)
        # Each training's own mean: right on what it saw minus right on what it did not.
        means += [float(r[i].mean() - r[~i].mean()) for r, i in zip(right, inside, strict=True) if i.any() and (~i).any()]
    if not used:
        return None
    with np.errstate(invalid="ignore", divide="ignore"):
        score_N, error_N = total_N / weight_N, 1 / np.sqrt(weight_N)
    score_N[weight_N == 0] = np.nan
    error_N[weight_N == 0] = np.nan
    mean = float(np.mean(means))
    spread = z * float(np.std(means, ddof=1)) / np.sqrt(len(means)) if len(means) > 1 else float("nan")
    return Memorization(score_N, error_N, mean, mean - spread, mean + spread, used)
