"""Examples whose label is probably wrong, ranked: confident learning (Northcutt, Jiang and Chuang 2021, sections 3.1 and 3.2).

    t_j      = mean of p_j over the examples labelled j                 the confidence that j earns where it is the label
    C_ij     = examples labelled i whose greatest p_j >= t_j is at j    the confident joint
    errors   = sum of C_ij off the diagonal, C calibrated to the counts of each label
    rank by  p_label - max of the others (normalized margin), lowest first

The probabilities must be out of sample: a network learns wrong labels by heart. They come, the best first, from K trainings
each without one fold; from those trainings of the learning curve that left an example out; or from a logistic regression
on the model's features, fitted without one fold at a time. Features are of a network that may have seen the wrong label; a
short training with augmentation hardly bends them, a long one to zero training loss does.

Legend: N examples, K classes, D features.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

PROBE_FOLDS = 5


@dataclass(frozen=True)
class LabelErrors:
    """The ranking, and how many of the examples are taken for wrong, with its bootstrap interval."""

    rank_N: np.ndarray
    """Rows, the most suspect first."""
    margin_N: np.ndarray
    """Probability of the label minus that of the most probable other class, in -1..1."""
    suggested_N: np.ndarray
    """The most probable class other than the label."""
    count: float
    low: float
    high: float


def rank(
    label_N: np.ndarray, probability_NK: np.ndarray, confidence: float = 0.9, resamples: int = 200, seed: int = 0
) -> LabelErrors:
    """Confident learning over out-of-sample probabilities."""
    rows = np.arange(len(label_N))
    others_NK = probability_NK.copy()
    others_NK[rows, label_N] = -1.0
    margin_N = probability_NK[rows, label_N] - others_NK.max(1)
    rng = np.random.default_rng(seed)
    draws = []
    for _ in range(resamples):
        some = rng.integers(0, len(label_N), len(label_N))
        draws.append(confident_errors(label_N[some], probability_NK[some]))
    count = confident_errors(label_N, probability_NK)
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2]) if draws else (count, count)
    return LabelErrors(
        np.argsort(margin_N, kind="stable"), margin_N, others_NK.argmax(1), count, min(float(low), count), max(float(high), count)
    )


def confident_errors(label_N: np.ndarray, probability_NK: np.ndarray) -> float:
    """Estimated number of wrong labels: the calibrated confident joint, off its diagonal (equations 1 and 3)."""
    joint_KK = confident_joint(label_N, probability_NK)
    given_K = np.bincount(label_N, minlength=len(joint_KK))
    row_K = joint_KK.sum(1)
    share_K = np.where(row_K > 0, 1 - np.diag(joint_KK) / np.maximum(row_K, 1), 0.0)
    return float((share_K * given_K).sum())


def confident_joint(label_N: np.ndarray, probability_NK: np.ndarray) -> np.ndarray:
    """C (K, K): rows the given label, columns the confident one."""
    classes = probability_NK.shape[1]
    threshold_K = np.array(
        [probability_NK[label_N == k, k].mean() if (label_N == k).any() else 2.0 for k in range(classes)]
    )  # a class that no example has is never confident
    above_NK = np.where(probability_NK >= threshold_K - 1e-12, probability_NK, -1.0)
    sure_N = above_NK.max(1) >= 0
    joint_KK = np.zeros((classes, classes))
    np.add.at(joint_KK, (label_N[sure_N], above_NK.argmax(1)[sure_N]), 1)
    return joint_KK


def probe(features_ND: np.ndarray, label_N: np.ndarray, classes: int, seed: int = 0, regularization: float = 0.01) -> np.ndarray:
    """Out-of-sample probabilities (N, K) of a logistic regression on standardized features, stratified five-fold.

    Strongly regularized: a weak probe cannot follow single examples. A class of fewer examples than folds is left as it is.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold

    spread_D = features_ND.std(0)
    x_ND = (features_ND - features_ND.mean(0)) / np.where(spread_D > 1e-6, spread_D, 1.0)
    found_NK = np.zeros((len(label_N), classes))
    folds = StratifiedKFold(PROBE_FOLDS, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # small classes, and fits that stop at their limit, are good enough to rank by
        for fitted, left_out in folds.split(x_ND, label_N):
            model = LogisticRegression(C=regularization, max_iter=200).fit(x_ND[fitted], label_N[fitted])
            found_NK[np.ix_(left_out, model.classes_)] = model.predict_proba(x_ND[left_out])
    return found_NK


def left_out(
    probabilities: Sequence[np.ndarray], inside: Sequence[np.ndarray], count: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """Mean probabilities (N, K) over those trainings that left an example out, and whether there was one (N,).

    inside: the rows that each training was trained on.
    """
    if not probabilities:
        return None
    total_NK = np.zeros((count, probabilities[0].shape[1]))
    times_N = np.zeros(count)
    for probability_NK, rows in zip(probabilities, inside, strict=True):
        out_N = np.ones(count, bool)
        out_N[rows] = False
        total_NK[out_N] += probability_NK[out_N]
        times_N[out_N] += 1
    return total_NK / np.maximum(times_N, 1)[:, None], times_N > 0
