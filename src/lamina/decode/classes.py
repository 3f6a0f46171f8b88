"""One-of-K answers: from logits to a label with its probability, and the figures that judge them. Needs only numpy.

Legend: N examples, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lamina.errors import LaminaError


@dataclass(frozen=True)
class Classes:
    """The names of K classes, in the order of the logits."""

    names: tuple[str, ...]

    def codes(self, labels: Sequence[Any], where: str = "label") -> np.ndarray:
        """Class numbers (N,) of `labels`. Raises LaminaError naming the first row whose label is none of the names."""
        sorted_by_name = np.argsort(self.names)
        names = np.asarray(self.names)[sorted_by_name]
        given = np.asarray(labels, dtype=names.dtype.kind) if len(labels) else np.asarray([], dtype="U1")
        at = np.minimum(np.searchsorted(names, given), len(names) - 1)
        known = names[at] == given
        if not known.all():
            row = int(np.argmin(known))
            shown = ", ".join(self.names[:8]) + (", ..." if len(self.names) > 8 else "")
            raise LaminaError(f"{where}: row {row}: expected one of the {len(names)} classes ({shown}); got {str(given[row])!r}")
        return sorted_by_name[at]

    def decode(self, logits_NK: np.ndarray) -> list[dict[str, Any]]:
        """One answer an example: `label`, its `probability`, and `probabilities` by name, in class order."""
        p_NK = softmax(np.asarray(logits_NK, dtype=np.float64))
        best_N = p_NK.argmax(1)
        return [
            {
                "label": self.names[best],
                "probability": row[best],
                "probabilities": dict(zip(self.names, row, strict=True)),
            }
            for best, row in zip(best_N.tolist(), p_NK.tolist(), strict=True)
        ]


@dataclass(frozen=True)
class ClassAnswers:
    """From a model to answers: one of `names` by the output `logits`, the mean over the views of an input."""

    names: tuple[str, ...]
    mirrored: str = ""
    """The input, pictures (N, C, H, W), of which the mirror image is asked too; none where empty."""

    def logits(
        self, ask: Callable[[dict[str, np.ndarray]], Mapping[str, np.ndarray]], arrays: dict[str, np.ndarray]
    ) -> np.ndarray:
        """Logits (N, K). The input as it is comes last, so that whoever remembers the last call remembers that one."""
        views = [arrays]
        if self.mirrored:
            views.insert(0, {**arrays, self.mirrored: np.ascontiguousarray(arrays[self.mirrored][..., ::-1])})
        logits = [ask(view)["logits"] for view in views]
        return sum(logits[1:], logits[0]) / len(logits)

    def answers(
        self, ask: Callable[[dict[str, np.ndarray]], Mapping[str, np.ndarray]], arrays: dict[str, np.ndarray]
    ) -> list[dict[str, Any]]:
        """As `Classes.decode`."""
        return Classes(self.names).decode(self.logits(ask, arrays))


def softmax(logits_NK: np.ndarray) -> np.ndarray:
    """Probabilities along the last axis."""
    shifted = np.exp(logits_NK - logits_NK.max(-1, keepdims=True))
    return shifted / shifted.sum(-1, keepdims=True)


def classification_metrics(true_N: np.ndarray, predicted_N: np.ndarray, p_NK: np.ndarray) -> dict[str, float]:
    """Accuracy, balanced accuracy and macro F1 over the classes that occur, log loss, and for two classes the AUROC.

    `true_N` and `predicted_N` are class numbers, `p_NK` probabilities.
    """
    confusion_KK = confusion(true_N, predicted_N, p_NK.shape[1])
    _, recall_K, f1_K, support_K = rates(confusion_KK)
    there = support_K > 0
    either = there | (confusion_KK.sum(0) > 0)  # as scikit-learn: classes of the truth or of the answers
    said = np.clip(p_NK[np.arange(len(true_N)), true_N], 1e-15, 1.0)
    figures = {
        "accuracy": float(np.mean(true_N == predicted_N)),
        "balanced_accuracy": float(recall_K[there].mean()),
        "macro_f1": float(f1_K[either].mean()),
        "log_loss": float(-np.log(said).mean()),
    }
    if p_NK.shape[1] == 2 and there.all():
        figures["auroc"] = auroc(true_N == 1, p_NK[:, 1])
    return figures


def confusion(true_N: np.ndarray, predicted_N: np.ndarray, classes: int) -> np.ndarray:
    """Counts (K, K): rows are the truth, columns the answers."""
    return np.bincount(true_N * classes + predicted_N, minlength=classes * classes).reshape(classes, classes)


def rates(confusion_KK: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Precision, recall, F1 and support of each class (K,); zero where a rate has no denominator."""
    hit = np.diag(confusion_KK).astype(np.float64)
    support, said = confusion_KK.sum(1), confusion_KK.sum(0)
    precision, recall = hit / np.maximum(said, 1), hit / np.maximum(support, 1)
    f1 = 2 * hit / np.maximum(support + said, 1)
    return precision, recall, f1, support


def auroc(positive_N: np.ndarray, score_N: np.ndarray) -> float:
    """The chance that a positive scores above a negative, ties counted half (Mann and Whitney 1947)."""
    _, inverse, counts = np.unique(score_N, return_inverse=True, return_counts=True)
    rank_N = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    positives = int(positive_N.sum())
    negatives = len(positive_N) - positives
    return float((rank_N[positive_N].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def class_tables(names: Sequence[str], true_N: np.ndarray, predicted_N: np.ndarray) -> dict[str, Any]:
    """Tables for people: figures of each class, and the confusion matrix by name."""
    counts_KK = confusion(true_N, predicted_N, len(names))
    precision, recall, f1, support = (values.tolist() for values in rates(counts_KK))
    per_class = [
        {"class": name, "precision": p, "recall": r, "f1": f, "support": s}
        for name, p, r, f, s in zip(names, precision, recall, f1, support, strict=True)
    ]
    return {
        "per_class": per_class,
        "confusion": [
            {"class": name, **dict(zip(names, row, strict=True))} for name, row in zip(names, counts_KK.tolist(), strict=True)
        ],
    }
