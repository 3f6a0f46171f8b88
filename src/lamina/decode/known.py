"""Is this input like those of training? Four scores of unfamiliarity, and the cut beyond which an input is unknown.

    msp     1 - max softmax(z)                                       Hendrycks and Gimpel 2017
    energy  -logsumexp(z)                                            Liu et al. 2020, equation 4, at temperature 1
    knn     distance to the k-th nearest training example, features on the unit sphere       Sun et al. 2022, section 3
    vim     alpha |residual of the features| - logsumexp(z)          Wang et al. 2022, equations 5 to 8

Higher is less familiar, throughout. Needs only numpy, so that an exported folder answers as a run does.

Shapes: B examples, K classes, D features, N training examples kept, R dimensions of the residual.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lamina.decode.classes import softmax
from lamina.errors import LaminaError

METHODS = ("msp", "energy", "knn", "vim")
NEEDS = {"msp": ("logits",), "energy": ("logits",), "knn": ("features",), "vim": ("logits", "features")}
"""The reserved keys of an Output that a method looks at."""
CHUNK = 1024
"""Rows whose distances are held at once."""


@dataclass(frozen=True)
class Known:
    """A fitted score. Beyond `cut` (None: not chosen yet) an input is unknown."""

    method: str
    cut: float | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    """Plain facts: `k` of the nearest neighbours, `alpha` of ViM, and whatever a reader of the file wants to know."""
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    """knn: `bank_ND`, rows of length 1. vim: `origin_D`, `residual_DR`, orthonormal columns."""

    @property
    def needs(self) -> tuple[str, ...]:
        """The keys of an Output that it looks at."""
        return NEEDS[self.method]

    def unfamiliarity(self, logits_BK: np.ndarray | None, features_BD: np.ndarray | None) -> np.ndarray:
        """The score of each example (B,), float64. What the method does not look at may be None."""
        if self.method == "msp":
            p_BK = softmax(_wanted("logits", logits_BK))
            p_BK[np.arange(len(p_BK)), p_BK.argmax(1)] = 0  # 1 - max would round to 0 where the model is sure
            return p_BK.sum(1)
        if self.method == "energy":
            return -logsumexp(_wanted("logits", logits_BK))
        features_BD = _wanted("features", features_BD)
        if self.method == "knn":
            return kth_distance(unit(features_BD), self.arrays["bank_ND"], int(self.about["k"]))
        residual_B = residual_norm(features_BD, self.arrays["origin_D"], self.arrays["residual_DR"])
        return float(self.about["alpha"]) * residual_B - logsumexp(_wanted("logits", logits_BK))

    def answers(self, logits_BK: np.ndarray | None, features_BD: np.ndarray | None) -> list[dict[str, Any]]:
        """What an answer says of its input: `unknown`, and `unfamiliarity`, which is compared with the cut."""
        if self.cut is None:
            raise LaminaError("unknown inputs: expected a cut; none was chosen")
        score_B = self.unfamiliarity(logits_BK, features_BD)
        return [{"unknown": bool(score > self.cut), "unfamiliarity": float(score)} for score in score_B]

    def as_json(self) -> dict[str, Any]:
        """All but the arrays, for `unknown.json`."""
        return {"method": self.method, "cut": self.cut, **self.about}

    @staticmethod
    def of(said: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Known:
        """The inverse of `as_json`. Raises LaminaError for a method of another version."""
        rest = {name: value for name, value in said.items() if name not in ("method", "cut")}
        if said.get("method") not in METHODS:
            raise LaminaError(f"unknown.json: expected a method of {', '.join(METHODS)}; got {said.get('method')!r}")
        return Known(said["method"], said["cut"], rest, arrays)


def fit_knn(features_ND: np.ndarray) -> Known:
    """k is 1% of the examples kept, from 1 to 50."""
    k = min(50, max(1, len(features_ND) // 100))
    return Known("knn", about={"k": k}, arrays={"bank_ND": unit(features_ND).astype(np.float32)})


def fit_vim(logits_NK: np.ndarray, features_ND: np.ndarray) -> Known:
    """The principal half of the feature space is spanned by training; what sticks out of it is the residual.

    The origin is where the last layer says the same of all classes (equation 5): -(W^+) b. W and b come from the outputs
    themselves, by least squares; where they are no linear map of the features, the origin is the features' mean. alpha
    makes the residual's mean that of the largest logit (equation 8).
    """
    x_ND, z_NK = np.asarray(features_ND, np.float64), np.asarray(logits_NK, np.float64)
    origin_D = _origin(x_ND, z_NK)
    moved_ND = x_ND - origin_D
    _, vectors_DD = np.linalg.eigh(moved_ND.T @ moved_ND / len(moved_ND))  # eigenvalues ascend
    residual_DR = vectors_DD[:, : max(1, x_ND.shape[1] // 2)]
    norm = float(residual_norm(x_ND, origin_D, residual_DR).mean())
    largest = float(np.abs(z_NK.max(1)).mean())
    alpha = largest / norm if norm > 1e-9 else 0.0
    arrays = {"origin_D": origin_D.astype(np.float32), "residual_DR": residual_DR.astype(np.float32)}
    return Known("vim", about={"alpha": alpha}, arrays=arrays)


def fitted(logits_NK: np.ndarray | None, features_ND: np.ndarray | None) -> dict[str, Known]:
    """Every method that these outputs of training examples allow, by name."""
    made = {}
    if logits_NK is not None:
        made |= {"msp": Known("msp"), "energy": Known("energy")}
    if features_ND is not None:
        made["knn"] = fit_knn(features_ND)
    if logits_NK is not None and features_ND is not None:
        made["vim"] = fit_vim(logits_NK, features_ND)
    return made


def _origin(x_ND: np.ndarray, z_NK: np.ndarray) -> np.ndarray:
    mean_D, mean_K = x_ND.mean(0), z_NK.mean(0)
    weight_DK, *_ = np.linalg.lstsq(x_ND - mean_D, z_NK - mean_K, rcond=1e-6)
    unexplained = np.square(z_NK - mean_K - (x_ND - mean_D) @ weight_DK).sum()
    if unexplained > 0.01 * np.square(z_NK - mean_K).sum():
        return mean_D
    bias_K = mean_K - mean_D @ weight_DK
    return -np.linalg.pinv(weight_DK.T, rcond=1e-6) @ bias_K


def residual_norm(features_BD: np.ndarray, origin_D: np.ndarray, residual_DR: np.ndarray) -> np.ndarray:
    """Length (B,) of the part of the features that lies in the residual space."""
    return np.linalg.norm((features_BD - origin_D.astype(np.float64)) @ residual_DR.astype(np.float64), axis=1)


def kth_distance(unit_BD: np.ndarray, bank_ND: np.ndarray, k: int) -> np.ndarray:
    """Euclidean distance (B,) from each row to its k-th nearest row of the bank; both of length 1."""
    found = []
    for start in range(0, len(unit_BD), CHUNK):
        similarity_BN = unit_BD[start : start + CHUNK].astype(np.float32) @ bank_ND.T
        kth_B = -np.partition(-similarity_BN, k - 1, axis=1)[:, k - 1]
        found.append(np.sqrt(np.maximum(2 - 2 * kth_B.astype(np.float64), 0)))
    return np.concatenate(found) if found else np.empty(0)


def unit(features_ND: np.ndarray) -> np.ndarray:
    """Rows of length 1; a row of zeros stays."""
    x_ND = np.asarray(features_ND, np.float64)
    return x_ND / np.maximum(np.linalg.norm(x_ND, axis=1, keepdims=True), 1e-12)


def logsumexp(logits_BK: np.ndarray) -> np.ndarray:
    """log sum exp along the last axis (B,)."""
    z_BK = np.asarray(logits_BK, np.float64)
    top_B = z_BK.max(1)
    return top_B + np.log(np.exp(z_BK - top_B[:, None]).sum(1))


def _wanted(name: str, given: np.ndarray | None) -> np.ndarray:
    if given is None:
        raise LaminaError(f"unknown inputs: expected `{name}` in the output of the model; it gives none")
    return np.asarray(given, np.float64)
