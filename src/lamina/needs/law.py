"""The law that a learning curve follows, and how sure that is: numbers in, law out; it knows no model and no task.

    err(n) = a n^-b + c          the power law with a floor (Cortes et al. 1993; Hestness et al. 2017, section 3)
    err(n) = a (n + d)^-b + c    the same with a late start (Viering and Loog, The Shape of Learning Curves, 2021)
    err(n) = a exp(-k n) + c     saturation
    err(n) = c                   flat: examples change nothing

No single law is believed: their posterior is a mixture (Bayesian model averaging: Hoeting et al. 1999). Written with the
error m at the largest size L and the floor's share q = c / m,

    err(n) = m (q + (1 - q) s(n)),    s(n) = (n / L)^-b  or  ((n + d) / (L + d))^-b  or  exp(-k (n / L - 1)),

every shape is a point of a grid of (b, d, q) or (k, q), c is never below zero, and log m has a normal posterior in closed
form, since errors are taken as log-normal about the law. The scatter sigma of one training is another axis of the grid:
it is learned from trainings of one size and from how well the law fits. All of it is deterministic.

Legend: N sizes, P shapes on the grid, G scatters on the grid, S draws.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lamina.errors import LaminaError

LEAST_SIZES = 3
"""A law with three unknowns through two points says nothing."""
PRIOR = {"power": 0.6, "late": 0.2, "saturation": 0.1, "flat": 0.1}
"""How much each law is believed before any curve is seen."""
RATE = (0.5, 0.6)
"""Median of the exponent b, and the standard deviation of its logarithm: published curves lie from 0.1 to 1."""
DECAY = (1.0, 0.8)
"""The same for the decay k of saturation."""
NO_FLOOR = 0.3
"""Belief that the floor is nothing at all; else its share is uniform."""
SCATTER = (0.03, 0.8)
"""Median of the relative scatter of one training on L examples, and the standard deviation of its logarithm."""
CALMS = 0.25
"""The scatter is sigma (n / L)^-CALMS: trainings on few examples differ more from one another."""
SHARED = 0.25
"""Share of the variance of judging that remains between sizes: all are judged on the same examples."""
DRIFT = 0.03
"""Relative standard deviation, for each doubling beyond what was measured, by which curves leave every law above."""
DRAWS = 8000


@dataclass(frozen=True)
class Law:
    """Posterior draws of the law's parameters, each (S,), and what an error beyond the measured sizes depends on."""

    largest: int
    """L: the largest size measured."""
    level_S: np.ndarray
    """m: the error at L."""
    share_S: np.ndarray
    """q: the floor's share of m."""
    kind_S: np.ndarray
    """0 power (late where shift > 0), 1 saturation, 2 flat."""
    rate_S: np.ndarray
    """b, or k."""
    shift_S: np.ndarray
    """d / L."""
    sigma_S: np.ndarray
    belief: dict[str, float]
    """Posterior probability of each law."""
    chance: float
    """Relative standard deviation that the judged examples leave at L."""

    def expected(self, n: float) -> np.ndarray:
        """The error (S,) that trainings on n examples have on average."""
        return self.level_S * (
            self.share_S + (1 - self.share_S) * _decay(n / self.largest, self.kind_S, self.rate_S, self.shift_S)
        )

    def measured(self, n: float, seed: int = 0) -> np.ndarray:
        """The error (S,) of one training on n examples, judged on as many examples as the curve: with scatter and drift."""
        z_2S = np.random.default_rng((seed, 1)).standard_normal((2, len(self.level_S)))
        calm = max(1.0, (n / self.largest) ** -CALMS)  # beyond what was measured, scatter is not promised to calm further
        spread_S = np.sqrt((calm * self.sigma_S) ** 2 + SHARED * self.chance**2)
        return self.expected(n) * np.exp(spread_S * z_2S[0] + self._drift(n) * z_2S[1])

    def needed(self, target: float, seed: int = 0) -> np.ndarray:
        """Examples (S,) in training at which the average error is `target`; infinite where the floor lies above it.

        The drift beyond the measured sizes counts: solved twice, the second time with the drift of the first answer.
        """
        z_S = np.random.default_rng((seed, 2)).standard_normal(len(self.level_S))
        first_S = self._solved(np.full(len(z_S), float(target)))
        doublings_S = np.clip(np.log2(np.maximum(first_S, 1.0) / self.largest), 0, 10)
        return self._solved(target * np.exp(-DRIFT * doublings_S * z_S))

    def _solved(self, target_S: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            decay_S = (target_S / self.level_S - self.share_S) / (1 - self.share_S)
            power_S = (1 + self.shift_S) * decay_S ** (-1 / self.rate_S) - self.shift_S
            ratio_S = np.where(self.kind_S == 0, power_S, 1 - np.log(decay_S) / self.rate_S)
        ratio_S = np.where(self.kind_S == 2, np.where(target_S >= self.level_S, 0.0, np.inf), ratio_S)
        ratio_S = np.where((self.kind_S != 2) & ~(decay_S > 0), np.inf, ratio_S)
        return self.largest * np.maximum(ratio_S, 0.0)

    def _drift(self, n: float) -> float:
        return DRIFT * max(0.0, math.log2(max(n, 1e-9) / self.largest))


def fit(sizes: Sequence[float], errors: Sequence[float], chance: Sequence[float] | None = None, seed: int = 0) -> Law:
    """The posterior over laws given trainings: their sizes, their errors (above zero), several of one size where they are.

    chance: the standard deviation of each error that the number of judged examples leaves (for an error rate e over N
    examples sqrt(e (1 - e) / N)); none where left out.
    Raises LaminaError for fewer than three different sizes, or an error that is not above zero.
    """
    n_T, e_T = np.asarray(sizes, dtype=np.float64), np.asarray(errors, dtype=np.float64)
    c_T = np.zeros_like(e_T) if chance is None else np.asarray(chance, dtype=np.float64)
    if len(n_T) != len(e_T) or len(n_T) != len(c_T):
        raise LaminaError(f"curve: expected as many errors as sizes; got {len(n_T)} sizes and {len(e_T)} errors")
    n_N = np.unique(n_T)
    if len(n_N) < LEAST_SIZES:
        raise LaminaError(
            f"curve: expected at least {LEAST_SIZES} sizes of training set; got {len(n_N)}: a law through so few says nothing"
        )
    if not (np.isfinite(e_T).all() and (e_T > 0).all() and (n_N > 0).all()):
        raise LaminaError("curve: expected sizes and errors above zero")
    y_T = np.log(e_T)
    of_size = [n_T == n for n in n_N]
    count_N = np.array([rows.sum() for rows in of_size])
    y_N = np.array([y_T[rows].mean() for rows in of_size])
    chance_N = np.array([(c_T[rows] / e_T[rows]).mean() for rows in of_size])
    calm_N = (n_N / n_N[-1]) ** -CALMS
    within = sum(float(np.square((y_T[rows] - y_T[rows].mean()) / c).sum()) for rows, c in zip(of_size, calm_N, strict=True))
    shapes = _grid()
    log_prior_P, kind_P, rate_P, shift_P, share_P = shapes.T
    s_PN = _decay(n_N[None] / n_N[-1], kind_P[:, None], rate_P[:, None], shift_P[:, None])
    h_PN = np.log(share_P[:, None] + (1 - share_P[:, None]) * s_PN)
    residual_PN = y_N - h_PN

    sigma_G = np.geomspace(0.004, 0.6, 24)
    log_sigma_G = -0.5 * np.square((np.log(sigma_G) - math.log(SCATTER[0])) / SCATTER[1])
    log_sigma_G -= (count_N.sum() - len(n_N)) * np.log(sigma_G) + within / (2 * sigma_G**2)
    w_GN = 1 / (np.square(sigma_G[:, None] * calm_N) / count_N + SHARED * chance_N**2)
    mean_GP = w_GN @ residual_PN.T / w_GN.sum(1)[:, None]
    square_GP = w_GN @ np.square(residual_PN).T - np.square(mean_GP) * w_GN.sum(1)[:, None]
    log_GP = log_sigma_G[:, None] + log_prior_P - 0.5 * square_GP
    log_GP += (0.5 * np.log(w_GN).sum(1) - 0.5 * np.log(w_GN.sum(1)))[:, None]

    p_GP = np.exp(log_GP - log_GP.max())
    p_GP /= p_GP.sum()
    rng = np.random.default_rng((seed, 0))
    ends = np.cumsum(p_GP.ravel())
    drawn_S = np.minimum(np.searchsorted(ends, (np.arange(DRAWS) + rng.random(DRAWS)) / DRAWS * ends[-1]), p_GP.size - 1)
    rng.shuffle(drawn_S)
    g_S, p_S = np.unravel_index(drawn_S, p_GP.shape)
    level_S = np.exp(mean_GP[g_S, p_S] + rng.standard_normal(DRAWS) / np.sqrt(w_GN.sum(1)[g_S]))
    of_P = p_GP.sum(0)
    late_P = (kind_P == 0) & (shift_P > 0)
    masks = {"power": (kind_P == 0) & ~late_P, "late": late_P, "saturation": kind_P == 1, "flat": kind_P == 2}
    return Law(
        largest=int(n_N[-1]),
        level_S=level_S,
        share_S=share_P[p_S],
        kind_S=kind_P[p_S],
        rate_S=rate_P[p_S],
        shift_S=shift_P[p_S],
        sigma_S=sigma_G[g_S],
        belief={name: float(of_P[mask].sum()) for name, mask in masks.items()},
        chance=float(chance_N[-1]),
    )


def interval(draws_S: np.ndarray, confidence: float = 0.9) -> tuple[float, float, float]:
    """Median, lower and upper bound; infinite bounds stay infinite."""
    ordered = np.sort(draws_S)
    places = [round(q * (len(ordered) - 1)) for q in (0.5, (1 - confidence) / 2, (1 + confidence) / 2)]
    middle, low, high = (float(ordered[place]) for place in places)
    return middle, low, high


def _decay(ratio: float | np.ndarray, kind: np.ndarray, rate: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """s(n) at n / L = ratio, by the kind of law; 1 at L."""
    with np.errstate(over="ignore", divide="ignore"):
        power = ((ratio + shift) / (1 + shift)) ** -rate
        return np.where(kind == 0, power, np.where(kind == 1, np.exp(-rate * (ratio - 1)), 1.0))


@functools.cache
def _grid() -> np.ndarray:
    """(P, 5): log prior, kind, rate, shift, share of every shape."""
    rest = np.concatenate([np.linspace(1.0, 0.1, 21)[:-1], np.geomspace(0.1, 0.002, 13)])  # 1 - q: finer where s(n) spans decades
    shares = np.concatenate([[0.0], 1 - (rest[1:] + rest[:-1]) / 2])
    on_share = np.log(np.concatenate([[NO_FLOOR], (1 - NO_FLOOR) * -np.diff(rest) / (rest[0] - rest[-1])]))

    def rates(middle: float, spread: float, count: int) -> tuple[np.ndarray, np.ndarray]:
        z = np.linspace(-2.8, 2.8, count)
        on = -0.5 * z**2
        return middle * np.exp(spread * z), on - np.log(np.exp(on).sum())

    rows: list[tuple[float, float, float, float, float]] = []
    b, on_b = rates(*RATE, 160)
    for i, rate in enumerate(b):
        for share, on in zip(shares, on_share, strict=True):
            rows.append((math.log(PRIOR["power"]) + on_b[i] + on, 0, rate, 0.0, share))
    b, on_b = rates(*RATE, 64)
    starts = (0.02, 0.08, 0.3, 1.0)
    for i, rate in enumerate(b):
        for shift in starts:
            for share, on in zip(shares, on_share, strict=True):
                # The same slope at L for every start, on a doubling of scale: b (1 + d / L).
                rows.append((math.log(PRIOR["late"] / len(starts)) + on_b[i] + on, 0, rate * (1 + shift), shift, share))
    k, on_k = rates(*DECAY, 160)
    for i, rate in enumerate(k):
        for share in shares:  # near the whole as likely as elsewhere, whatever the bin's width: saturated is nearly there
            rows.append((math.log(PRIOR["saturation"] / len(shares)) + on_k[i], 1, rate, 0.0, share))
    rows.append((math.log(PRIOR["flat"]), 2, 1.0, 0.0, 1.0 - 1e-9))
    return np.asarray(rows)
