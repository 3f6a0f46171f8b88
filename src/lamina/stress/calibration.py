"""Does 80% sure mean right in 80% of cases? Calibration error, and the temperature that mends it.

    temperature    p = softmax(z / T), T of least negative log likelihood on calibration examples   Guo et al. 2017, 4.2
    ECE            sum over bins of (n_b / N) |accuracy_b - confidence_b|, 15 bins                   Guo et al. 2017, equation 3
    debiased ECE   less what binomial noise alone adds to each |accuracy_b - confidence_b|           Kumar et al. 2019, section 5
    Brier score    mean of sum_k (p_k - 1[y = k])^2                                                  Brier 1950

The plain ECE is biased upward: even a perfectly calibrated model has one above zero on finite data. Its interval is of the
bootstrap, whose draws carry the bias once more, and are moved back by it.

Shapes: N examples, K classes, M bins.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from lamina.decode.classes import softmax
from lamina.decode.known import logsumexp

BINS = 15
COLDEST, HOTTEST = 0.02, 50.0
"""Temperatures looked at."""


class Bins(NamedTuple):
    """How sure and how right, in M bins."""

    count_M: np.ndarray
    confidence_M: np.ndarray
    accuracy_M: np.ndarray


def nll(logits_NK: np.ndarray, truth_N: np.ndarray, temperature: float = 1.0) -> float:
    """Mean negative log likelihood of the true classes."""
    z_NK = logits_NK / temperature
    return float(np.mean(logsumexp(z_NK) - z_NK[np.arange(len(z_NK)), truth_N]))


def fit_temperature(logits_NK: np.ndarray, truth_N: np.ndarray) -> float:
    """The temperature of least NLL, by golden-section search in log T: the NLL is convex in 1/T, so it has one valley."""
    ratio = (math.sqrt(5) - 1) / 2
    low, high = math.log(COLDEST), math.log(HOTTEST)
    inner, outer = high - ratio * (high - low), low + ratio * (high - low)
    at_inner, at_outer = (nll(logits_NK, truth_N, math.exp(t)) for t in (inner, outer))
    while high - low > 1e-7:
        if at_inner <= at_outer:
            high, outer, at_outer = outer, inner, at_inner
            inner = high - ratio * (high - low)
            at_inner = nll(logits_NK, truth_N, math.exp(inner))
        else:
            low, inner, at_inner = inner, outer, at_outer
            outer = low + ratio * (high - low)
            at_outer = nll(logits_NK, truth_N, math.exp(outer))
    return math.exp((low + high) / 2)


def at_bound(temperature: float) -> bool:
    """Whether the search ended at its edge: calibration examples without an error ask for ever colder answers."""
    return not COLDEST * 1.001 < temperature < HOTTEST / 1.001


def bin_numbers(sure_N: np.ndarray, bins: int = BINS, equal_mass: bool = False) -> np.ndarray:
    """The bin of each confidence (N,), 0 to bins - 1: of equal width, or of equal numbers of examples."""
    if equal_mass:
        rank_N = np.empty(len(sure_N), dtype=np.int64)
        rank_N[np.argsort(sure_N, kind="stable")] = np.arange(len(sure_N))
        return rank_N * bins // max(len(sure_N), 1)
    return np.clip(np.ceil(sure_N * bins).astype(np.int64) - 1, 0, bins - 1)


def binned(sure_N: np.ndarray, right_N: np.ndarray, bin_N: np.ndarray, bins: int = BINS) -> Bins:
    """Means of each bin; those of an empty one are 0."""
    count_M = np.bincount(bin_N, minlength=bins)
    some_M = np.maximum(count_M, 1)
    return Bins(count_M, np.bincount(bin_N, sure_N, bins) / some_M, np.bincount(bin_N, right_N, bins) / some_M)


def ece(made: Bins) -> float:
    """Expected calibration error of `made`."""
    return float((made.count_M * np.abs(made.accuracy_M - made.confidence_M)).sum() / max(made.count_M.sum(), 1))


def ece_debiased(made: Bins) -> float:
    """ECE less its bias, each bin's accuracy taken as normal with its binomial variance; at least 0.

    The expected |x| of a normal x of mean m and deviation s is s sqrt(2/pi) exp(-m^2 / 2 s^2) + m erf(m / s sqrt 2).
    """
    bias = 0.0
    for count, sure, right in zip(*made, strict=True):
        if count < 2:
            continue
        gap, deviation = abs(right - sure), math.sqrt(right * (1 - right) / (count - 1))
        if deviation > 0:
            folded = deviation * math.sqrt(2 / math.pi) * math.exp(-(gap**2) / (2 * deviation**2))
            bias += count * (folded + gap * math.erf(gap / (deviation * math.sqrt(2))) - gap)
    return max(0.0, ece(made) - float(bias) / max(int(made.count_M.sum()), 1))


def ece_classwise(p_NK: np.ndarray, truth_N: np.ndarray) -> float:
    """Mean over the classes of the ECE of that class against the rest (Kull et al. 2019)."""
    each = [
        ece(binned(p_N, (truth_N == k).astype(np.float64), np.clip(np.ceil(p_N * BINS).astype(np.int64) - 1, 0, BINS - 1)))
        for k, p_N in enumerate(p_NK.T)
    ]
    return float(np.mean(each))


def brier(p_NK: np.ndarray, truth_N: np.ndarray) -> np.ndarray:
    """Brier score of each example (N,), 0 to 2."""
    return np.square(p_NK).sum(1) - 2 * p_NK[np.arange(len(p_NK)), truth_N] + 1


def ece_interval(
    sure_N: np.ndarray, right_N: np.ndarray, bin_N: np.ndarray, resamples: int, confidence: float, seed: int
) -> tuple[float, float]:
    """Bounds of the ECE: quantiles of the bootstrap's draws, moved so that their mean is the ECE itself."""
    value = ece(binned(sure_N, right_N, bin_N))
    if resamples < 1 or len(sure_N) < 2:
        return value, value
    gap_N = right_N - sure_N
    rng = np.random.default_rng(seed)
    draws = []
    for _ in range(resamples):
        rows = rng.integers(0, len(gap_N), len(gap_N))
        draws.append(np.abs(np.bincount(bin_N[rows], gap_N[rows], BINS)).sum() / len(gap_N))
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2]) - np.mean(draws) + value
    return float(np.clip(low, 0, value)), float(np.clip(high, value, 1))


def confidence_of(logits_NK: np.ndarray, truth_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How sure of its answer (N,), and 1 where it is right (N,)."""
    p_NK = softmax(logits_NK)
    return p_NK.max(1), (p_NK.argmax(1) == truth_N).astype(np.float64)
