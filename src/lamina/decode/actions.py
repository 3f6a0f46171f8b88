"""From what a policy says to what an agent does. Needs only numpy.

Legend: N examples, K choices, A numbers of a continuous action.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from lamina.decode.classes import softmax

Kind = Literal["discrete", "multi-discrete", "continuous"]


@dataclass(frozen=True)
class Actions:
    """What can be done: one of n, several of those, or numbers within bounds (None: none); and from a model to answers."""

    kind: Kind
    sizes: tuple[int, ...]
    """How many there are to choose from, each time; of numbers, how many numbers: one entry."""
    start: tuple[int, ...] = ()
    """The least number of each choice."""
    low: tuple[float | None, ...] = ()
    high: tuple[float | None, ...] = ()
    shape: tuple[int, ...] = ()
    """As the environment takes several choices or numbers."""
    names: tuple[str, ...] = ()
    """Of one of n, where the environment names them."""

    @property
    def width(self) -> int:
        """Numbers of an action in an array (N, width); of one of n it is (N,)."""
        return self.sizes[0] if self.kind == "continuous" else len(self.sizes)

    @property
    def choices(self) -> int:
        """Logits, over all choices; 0 of numbers."""
        return 0 if self.kind == "continuous" else sum(self.sizes)

    def raw(self, action: np.ndarray) -> np.ndarray:
        """What the environment takes (N, ...): in its own numbers, within its bounds."""
        if self.kind == "discrete":
            return action.reshape(-1) + self.start[0]
        if self.kind == "multi-discrete":
            return (action + np.array(self.start)).reshape(-1, *self.shape)
        low = np.array([-np.inf if b is None else b for b in self.low])
        high = np.array([np.inf if b is None else b for b in self.high])
        return np.clip(action, low, high).astype(np.float32).reshape(-1, *self.shape)

    def likeliest(self, said: Mapping[str, np.ndarray]) -> np.ndarray:
        """The likeliest action of each example: int64 (N,) of one of n, int64 (N, width) of several, float32 (N, A)."""
        if self.kind == "continuous":
            return np.asarray(said["mean"], np.float32)
        if self.kind == "discrete":
            return preferences(said).argmax(1)
        return np.stack([part.argmax(1) for part in self.apart(np.asarray(said["action_logits"]))], 1)

    def drawn(self, said: Mapping[str, np.ndarray], rngs: list[np.random.Generator]) -> np.ndarray:
        """An action of each example, drawn from its own generator."""
        if self.kind == "continuous":
            mean_NA, scale_NA = np.asarray(said["mean"]), np.exp(said["log_std"])
            noise_NA = np.stack([rng.standard_normal(mean_NA.shape[1]) for rng in rngs])
            return (mean_NA + scale_NA * noise_NA).astype(np.float32)
        logits = preferences(said) if self.kind == "discrete" else np.asarray(said["action_logits"])
        drawn = []
        for part_NK in self.apart(logits):
            p_NK = softmax(part_NK.astype(np.float64)).cumsum(1)
            u_N1 = np.array([[rng.random()] for rng in rngs])
            drawn.append(np.minimum((p_NK < u_N1 * p_NK[:, -1:]).sum(1), part_NK.shape[1] - 1))
        return drawn[0] if self.kind == "discrete" else np.stack(drawn, 1)

    def apart(self, logits: np.ndarray) -> list[np.ndarray]:
        """The logits of each choice."""
        return np.split(logits, np.cumsum(self.sizes)[:-1], axis=1)

    def answers(
        self, ask: Callable[[dict[str, np.ndarray]], Mapping[str, np.ndarray]], arrays: dict[str, np.ndarray]
    ) -> list[dict[str, Any]]:
        """`action` as the environment takes it, how probable or how much worth each one is, and `value`, the return that the
        model expects; of a policy that remembers, `state`, to be sent with what is observed next."""
        said = ask(arrays)
        taken = self.raw(self.likeliest(said)).tolist()
        found: list[dict[str, Any]] = [{"action": action} for action in taken]
        if self.kind == "discrete":
            known = preferences(said).astype(np.float64)
            first = self.start[0]
            names = self.names or tuple(str(first + k) for k in range(known.shape[1]))
            worth = "action_values" in said
            shares = known.tolist() if worth else softmax(known).tolist()
            key = "action_values" if worth else "probabilities"
            for answer, row in zip(found, shares, strict=True):
                if not worth:
                    answer["probability"] = max(row)
                answer[key] = dict(zip(names, row, strict=True))
        if "value" in said:
            for answer, value in zip(found, np.asarray(said["value"], np.float64)[:, 0].tolist(), strict=True):
                answer["value"] = value
        if "next_state" in said:
            for answer, kept in zip(found, np.asarray(said["next_state"], np.float64).tolist(), strict=True):
                answer["state"] = kept
        return found


def preferences(said: Mapping[str, np.ndarray]) -> np.ndarray:
    """What says of each of K actions how much it is preferred (N, K): logits, or what each is worth."""
    return np.asarray(said["action_values"] if "action_values" in said else said["logits"])
