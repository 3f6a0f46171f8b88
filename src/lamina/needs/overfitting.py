"""When a run began to learn its training examples by heart: validation loss turns, though training loss still falls.

The validation losses of the evaluations, v_1..v_E, are fitted twice: by a sequence that only falls (isotonic regression),
and by one that falls to a turn and rises after it (unimodal regression: the best of all turns). The second always fits
better. Whether it does by more than noise makes it is asked of noise: sequences that truly only fall (the first fit plus
noise of the size that second differences show) are fitted the same two ways many times; the share of them whose gain
reaches the observed one is the p-value.

Legend: E evaluations.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

LEAST_EVALUATIONS = 5
DRAWS = 200
SIGNIFICANT = 0.01
RISE = 0.02
"""A rise below this share of the least validation loss is not worth a word, however sure it is."""


@dataclass(frozen=True)
class History:
    """The losses of a training over its steps, from metrics.jsonl."""

    step_E: np.ndarray
    valid_E: np.ndarray
    train_E: np.ndarray
    """Mean training loss since the evaluation before; not-a-number where no row was logged between."""


@dataclass(frozen=True)
class Turn:
    """Where validation loss turns, and how sure that is."""

    step: int
    p_value: float
    least: float
    last: float
    train_fell: bool

    @property
    def overfits(self) -> bool:
        return self.p_value < SIGNIFICANT and self.train_fell and self.last > self.least * (1 + RISE)


def read_history(path: Path) -> History:
    """The history in metrics.jsonl; lines that cannot be read, and losses that are no numbers, are left out."""
    train: list[tuple[float, float]] = []
    valid: list[tuple[float, float]] = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            row = json.loads(line)
            pair = float(row["step"]), float(row["loss"])
        except (ValueError, KeyError, TypeError):
            continue
        if np.isfinite(pair[1]) and row.get("part") in ("train", "valid"):
            (train if row["part"] == "train" else valid).append(pair)
    means, before = [], -1.0
    for step, _ in valid:
        between = [loss for at, loss in train if before < at <= step]
        means.append(float(np.mean(between)) if between else np.nan)
        before = step
    steps, losses = zip(*valid, strict=True) if valid else ((), ())
    return History(np.asarray(steps), np.asarray(losses), np.asarray(means))


def turn(history: History, seed: int = 0) -> Turn | None:
    """The turn of the validation loss; None where fewer than five evaluations leave nothing to say."""
    if len(history.valid_E) < LEAST_EVALUATIONS:
        return None
    v_E = history.valid_E
    falling_E, rising, at = fits(v_E)
    gain = float(np.square(v_E - falling_E).sum()) - rising
    rng = np.random.default_rng(seed)
    noise = noise_of(v_E)
    freedom = max(3, (len(v_E) - 2) // 2)
    drawn = 0
    for _ in range(DRAWS):
        unsure = np.sqrt(freedom / rng.chisquare(freedom))  # a few differences tell the noise only roughly
        null_E = falling_E + noise * unsure * rng.standard_normal(len(v_E))
        fell_E, uni, _ = fits(null_E)
        drawn += float(np.square(null_E - fell_E).sum()) - uni >= gain
    fell = train_fell(history.train_E, at)
    return Turn(int(history.step_E[at]), (drawn + 1) / (DRAWS + 1), float(v_E[at]), float(np.mean(v_E[-2:])), fell)


def train_fell(train_E: np.ndarray, at: int) -> bool:
    """Whether training loss ended below where it was at place `at`, or at the known place nearest to it."""
    known = np.flatnonzero(np.isfinite(train_E))
    if len(known) < 2:
        return False
    there = known[known <= at][-1] if (known <= at).any() else known[0]
    later = known[known > there][-3:]
    return bool(len(later) and train_E[later].mean() < train_E[there])


def fits(v_E: np.ndarray) -> tuple[np.ndarray, float, int]:
    """The falling fit (E,); the squared error of the best fall and rise; and the place of its turn."""
    falling_E = falling(v_E)
    costs = []
    for place in range(len(v_E)):
        left, right = falling(v_E[: place + 1]), -falling(-v_E[place:])
        fit_E = np.concatenate([left[:-1], [min(left[-1], right[0])], right[1:]])
        costs.append(float(np.square(v_E - fit_E).sum()))
    best = min(range(len(costs)), key=lambda i: (round(costs[i], 12), v_E[i]))
    return falling_E, costs[best], best


def falling(v_E: np.ndarray) -> np.ndarray:
    """The nearest sequence that never rises (pool adjacent violators)."""
    blocks: list[list[float]] = []
    for value in v_E.tolist():
        blocks.append([value, 1.0])
        while len(blocks) > 1 and blocks[-2][0] < blocks[-1][0]:
            mean, count = blocks.pop()
            total = blocks[-1][1] + count
            blocks[-1] = [(blocks[-1][0] * blocks[-1][1] + mean * count) / total, total]
    return np.concatenate([np.full(int(count), mean) for mean, count in blocks])


def noise_of(v_E: np.ndarray) -> float:
    """The standard deviation of noise about a smooth curve, from second differences (whose variance is six times the noise's).

    The median, so that the steep start does not count for noise; over the later half alone where that is long enough.
    """
    second = np.abs(np.diff(v_E, 2))
    second = second[len(second) // 3 :]
    return max(float(np.median(second)) / 0.6745 / np.sqrt(6), 1e-4 * float(np.abs(v_E).mean()), 1e-12)
