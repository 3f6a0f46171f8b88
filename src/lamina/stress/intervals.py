"""Intervals of shares, and of the area under the ROC curve, from their formulas.

Shapes: N known examples, M unknown ones.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np


def wilson(hits: float, count: float, confidence: float = 0.95) -> tuple[float, float]:
    """Score interval of a share (Wilson 1927); (0, 1) of nothing."""
    if count <= 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, scale = hits / count, 1 + z * z / count
    middle = (share + z * z / (2 * count)) / scale
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / scale
    return float(min(share, max(0.0, middle - half))), float(max(share, min(1.0, middle + half)))


def auroc_interval(known_N: np.ndarray, unknown_M: np.ndarray, confidence: float = 0.95) -> tuple[float, float, float]:
    """AUROC (an unknown scores above a known, ties half), low, high, by the variance of DeLong et al. 1988."""
    known, unknown = np.sort(known_N), np.sort(unknown_M)
    above_M = (np.searchsorted(known, unknown_M, "left") + np.searchsorted(known, unknown_M, "right")) / (2 * len(known))
    below_N = 1 - (np.searchsorted(unknown, known_N, "left") + np.searchsorted(unknown, known_N, "right")) / (2 * len(unknown))
    value = float(above_M.mean())
    variance = sum(float(x.var(ddof=1)) / len(x) for x in (above_M, below_N) if len(x) > 1)
    half = NormalDist().inv_cdf((1 + confidence) / 2) * math.sqrt(variance)
    return value, max(0.0, value - half), min(1.0, value + half)


def accepted_unknown(known_N: np.ndarray, unknown_M: np.ndarray, kept: float = 0.95) -> float:
    """FPR@95: the share of unknown examples that pass where 95% of the known do."""
    return float((unknown_M <= np.quantile(known_N, kept, method="higher")).mean())


def mean_interval(value_N: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    """Normal interval of a mean, kept within the values that it is a mean of."""
    mean, least, most = float(value_N.mean()), float(value_N.min()), float(value_N.max())
    if len(value_N) < 2:
        return mean, mean
    half = NormalDist().inv_cdf((1 + confidence) / 2) * float(value_N.std(ddof=1)) / math.sqrt(len(value_N))
    return max(least, mean - half), min(most, mean + half)
