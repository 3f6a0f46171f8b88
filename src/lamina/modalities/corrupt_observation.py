"""What makes a world harder to act in than the one that was learned from: worse senses, and actions that do not come through.

A disturbance lasts as long as the episode does: it changes every observation that is seen, or what becomes of every action, so
that an error made early is still there later. Strengths are in deviations of each number over examples, or probabilities.

Shapes: N episodes, D numbers observed, those of a picture too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

NOISE = (0.05, 0.1, 0.2, 0.4, 0.8)
BIAS = (0.1, 0.2, 0.4, 0.6, 1.0)
MISSING = (0.02, 0.05, 0.1, 0.2, 0.4)
ROUNDING = (0.1, 0.25, 0.5, 1.0, 2.0)
REPEATED = (0.05, 0.1, 0.25, 0.5, 0.75)
RANDOM = (0.02, 0.05, 0.1, 0.2, 0.4)
OF_SENSES = {"noise": NOISE, "bias": BIAS, "missing": MISSING, "rounding": ROUNDING}
OF_ACTIONS = {"repeated_action": REPEATED, "random_action": RANDOM}
KINDS = (*OF_SENSES, *OF_ACTIONS)


@dataclass(frozen=True)
class Disturbed:
    """A column of observations as they are seen under a disturbance; whoever plays on from them is disturbed all along."""

    column: Any
    kind: str
    severity: int
    seed: int
    middle_D: np.ndarray
    spread_D: np.ndarray

    @staticmethod
    def of(column: Any, kind: str, severity: int, seed: int) -> Disturbed:
        """Strengths are those of the numbers in `column` itself."""
        values_ND = np.asarray([column[i] for i in range(len(column))], np.float64).reshape(len(column), -1)
        return Disturbed(column, kind, severity, seed, values_ND.mean(0), values_ND.std(0))

    def __len__(self) -> int:
        return len(self.column)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.take(np.array([index]))[0]

    def take(self, indices: np.ndarray, /) -> Disturbed:
        kept = [np.asarray(self.column[int(i)]) for i in indices]
        return Disturbed(kept, self.kind, self.severity, self.seed, self.middle_D, self.spread_D)

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        rngs = [np.random.default_rng((self.seed, i)) for i in range(len(self))]
        return self.seen(np.asarray(self.column), rngs, rngs)

    @property
    def strength(self) -> float:
        return {**OF_SENSES, **OF_ACTIONS}[self.kind][self.severity - 1]

    def seen(
        self, values_ND: np.ndarray, rngs: Sequence[np.random.Generator], lasting: Sequence[np.random.Generator]
    ) -> np.ndarray:
        """Observations as they are sensed. rngs: a generator for each episode; lasting: one that begins anew at each step."""
        size, spread_D, shape = len(self.middle_D), self.spread_D * self.strength, values_ND.shape
        flat_ND = values_ND.reshape(len(values_ND), -1).astype(np.float64)
        if self.kind == "noise":
            flat_ND = flat_ND + spread_D * np.stack([rng.standard_normal(size) for rng in rngs])
        elif self.kind == "bias":
            flat_ND = flat_ND + spread_D * np.stack([rng.choice([-1.0, 1.0], size) for rng in lasting])
        elif self.kind == "missing":
            gone_ND = np.stack([rng.random(size) for rng in rngs]) < self.strength
            flat_ND = np.where(gone_ND, self.middle_D, flat_ND)
        elif self.kind == "rounding":
            step_D = np.maximum(spread_D, 1e-12)
            flat_ND = np.where(spread_D > 0, np.round(flat_ND / step_D) * step_D, flat_ND)
        if values_ND.dtype == np.uint8:
            flat_ND = np.rint(flat_ND).clip(0, 255)
        return flat_ND.astype(values_ND.dtype).reshape(shape)

    def done(
        self,
        action: np.ndarray,
        before: np.ndarray | None,
        rngs: Sequence[np.random.Generator],
        any_action: Callable[[int], Any],
    ) -> np.ndarray:
        """What becomes of actions: `before` instead, or any."""
        if self.kind not in OF_ACTIONS:
            return action
        action = action.copy()
        for i, rng in enumerate(rngs):
            if rng.random() < self.strength:
                if self.kind == "random_action":
                    action[i] = any_action(i)
                elif before is not None:
                    action[i] = before[i]
        return action
