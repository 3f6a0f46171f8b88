"""Answers with a promise: sets of labels and intervals that hold the truth with a stated probability. Needs only numpy.

Split conformal prediction: a score says how badly a label fits an example; `cut` is its finite-sample quantile over
calibration examples (Vovk et al. 2005; Papadopoulos et al. 2002); the set holds every label that scores no worse. If
calibration and new examples are exchangeable, the set holds the truth with probability at least the coverage.

    lac   1 - p_y                                                  Sadinle, Lei and Wasserman 2019: the smallest sets on average
    aps   sum of the probabilities above y, + u p_y                Romano, Sesia and Candes 2020
    raps  aps + penalty max(0, rank of y - free ranks)             Angelopoulos et al. 2021

u is uniform in 0..1, one an example; without it (u = 1) sets are larger than promised. Ranks count from 1.

Shapes: B examples, N calibration examples, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

METHODS = ("lac", "aps", "raps")
PENALTY, FREE_RANKS = 0.01, 2
"""lambda and k_reg of RAPS: small enough to change only the tail of a set."""


def label_scores(p_BK: np.ndarray, method: str, u_B: np.ndarray | None = None) -> np.ndarray:
    """The score of every label (B, K), lower fits better. `u_B` is used by aps and raps; without it, it is 1."""
    p_BK = np.asarray(p_BK, np.float64)
    if method == "lac":
        return 1 - p_BK
    order_BK = np.argsort(-p_BK, axis=1, kind="stable")
    sorted_BK = np.take_along_axis(p_BK, order_BK, 1)
    u_B1 = np.ones((len(p_BK), 1)) if u_B is None else np.asarray(u_B)[:, None]
    score_BK = np.cumsum(sorted_BK, axis=1) - (1 - u_B1) * sorted_BK
    if method == "raps":
        score_BK = score_BK + PENALTY * np.maximum(0, np.arange(1, p_BK.shape[1] + 1) - FREE_RANKS)
    scattered_BK = np.empty_like(score_BK)
    np.put_along_axis(scattered_BK, order_BK, score_BK, 1)
    return scattered_BK


def cut_of(score_N: np.ndarray, coverage: float) -> float:
    """The ceil((N + 1) coverage)-th smallest score; infinite where N is too small for the promise: everything is held."""
    rank = int(np.ceil((len(score_N) + 1) * coverage - 1e-9))
    return float(np.sort(score_N)[rank - 1]) if rank <= len(score_N) else float("inf")


def label_sets(p_BK: np.ndarray, method: str, cut: float, u_B: np.ndarray | None = None) -> np.ndarray:
    """Which labels are held (B, K), bool. A set may be empty: then nothing fits as well as was promised."""
    return label_scores(p_BK, method, u_B) <= cut


def names_held(probabilities: Mapping[str, float], cut: float) -> list[str]:
    """The set of LAC by name, the most probable first."""
    held = [name for name, p in probabilities.items() if 1 - p <= cut]
    return sorted(held, key=lambda name: -probabilities[name])


def intervals(value_B: np.ndarray, cut: float, scale_B: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(low, high) of numbers: value -+ cut, in units of `scale_B` where difficulty differs (Lei et al. 2018, section 5.2)."""
    half_B = cut * (np.ones(len(value_B)) if scale_B is None else np.asarray(scale_B))
    return np.asarray(value_B) - half_B, np.asarray(value_B) + half_B
