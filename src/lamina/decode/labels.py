"""Answers of any number of K labels: from scores to the labels that hold, and figures that judge them. Needs only numpy.

Legend: N examples, K labels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lamina.decode.classes import Classes, class_tables, classification_metrics
from lamina.errors import LaminaError


@dataclass(frozen=True)
class Labels:
    """The names of K labels, in the order of the scores."""

    names: tuple[str, ...]

    def hot(self, cells: Sequence[Sequence[str]]) -> np.ndarray:
        """Which labels each example has (N, K), float32. Raises LaminaError naming the first row with another label."""
        number = {name: i for i, name in enumerate(self.names)}
        hot_NK = np.zeros((len(cells), len(self.names)), np.float32)
        for row, cell in enumerate(cells):
            for name in cell:
                if name not in number:
                    shown = ", ".join(self.names[:8]) + (", ..." if len(self.names) > 8 else "")
                    raise LaminaError(f"label: row {row}: expected some of the {len(self.names)} labels ({shown}); got {name!r}")
                hot_NK[row, number[name]] = 1
        return hot_NK


@dataclass(frozen=True)
class LabelAnswers:
    """From a model to answers: the labels of `names` whose probability, by the output `scores`, is `threshold` or more."""

    names: tuple[str, ...]
    threshold: float = 0.5

    def answers(
        self, ask: Callable[[dict[str, np.ndarray]], Mapping[str, np.ndarray]], arrays: dict[str, np.ndarray]
    ) -> list[dict[str, Any]]:
        """`labels`, the likeliest first, and `probabilities` by name, in the order of the scores."""
        p_NK = sigmoid(np.asarray(ask(arrays)["scores"], np.float64))
        made = []
        for p_K in p_NK.tolist():
            said = sorted(
                (name for name, p in zip(self.names, p_K, strict=True) if p >= self.threshold),
                key=lambda n: -p_K[self.names.index(n)],
            )
            made.append({"labels": said, "probabilities": dict(zip(self.names, p_K, strict=True))})
        return made


def figures(
    truth: np.ndarray, predictions: Mapping[str, Any], names: tuple[str, ...], many: bool, threshold: float
) -> dict[str, float]:
    """Metrics of one label an example, or of `many`. truth: numbers (N,), or which labels hold (N, K)."""
    p_NK = np.asarray(predictions["probabilities"])
    if many:
        return label_metrics(truth, p_NK, threshold)
    return classification_metrics(truth, Classes(names).codes(predictions["label"]), p_NK)


def tables(
    truth: np.ndarray, predictions: Mapping[str, Any], names: tuple[str, ...], many: bool, threshold: float
) -> dict[str, Any]:
    """Tables for people, of one label an example or of `many`."""
    if many:
        return label_tables(names, truth, np.asarray(predictions["probabilities"]), threshold)
    return class_tables(names, truth, Classes(names).codes(predictions["label"]))


def sigmoid(scores: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * scores))


def label_metrics(true_NK: np.ndarray, p_NK: np.ndarray, threshold: float) -> dict[str, float]:
    """F1 over all decisions together (micro) and as the mean of the labels that occur (macro), the share of examples with every
    label right, the share of wrong decisions (Hamming loss), and the mean average precision of the labels that occur."""
    true, said = true_NK > 0.5, p_NK >= threshold
    hit_K, false_K, missed_K = (true & said).sum(0), (~true & said).sum(0), (true & ~said).sum(0)
    f1_K = 2 * hit_K / np.maximum(2 * hit_K + false_K + missed_K, 1)
    there_K = true.any(0)
    total = 2 * hit_K.sum() + false_K.sum() + missed_K.sum()
    precision = [average_precision(true[:, k], p_NK[:, k]) for k in np.flatnonzero(there_K)]
    return {
        "micro_f1": float(2 * hit_K.sum() / total) if total else 1.0,
        "macro_f1": float(f1_K[there_K].mean()) if there_K.any() else 1.0,
        "exact": float((true == said).all(1).mean()),
        "hamming": float((true != said).mean()),
        "mean_average_precision": float(np.mean(precision)) if precision else 1.0,
    }


def average_precision(true_N: np.ndarray, score_N: np.ndarray) -> float:
    """The mean, over the examples that have the label, of the precision where each is found; equal scores are found together."""
    order = np.argsort(-score_N, kind="stable")
    true, score = true_N[order], score_N[order]
    last = np.flatnonzero(np.r_[score[1:] != score[:-1], True])  # of each run of equal scores
    hits = true.cumsum()[last]
    return float((np.diff(np.r_[0, hits]) * hits / (last + 1)).sum() / max(1, hits[-1]))


def label_tables(names: Sequence[str], true_NK: np.ndarray, p_NK: np.ndarray, threshold: float) -> dict[str, Any]:
    """Figures of each label, for people."""
    true, said = true_NK > 0.5, p_NK >= threshold
    hit_K = (true & said).sum(0)
    return {
        "per_label": [
            {
                "label": name,
                "precision": float(hit_K[k] / max(1, said[:, k].sum())),
                "recall": float(hit_K[k] / max(1, true[:, k].sum())),
                "f1": float(2 * hit_K[k] / max(1, said[:, k].sum() + true[:, k].sum())),
                "support": int(true[:, k].sum()),
            }
            for k, name in enumerate(names)
        ]
    }
