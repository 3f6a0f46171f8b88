"""What an agent has lived through, in one array each, the oldest overwritten: sampled evenly, or by how much was wrong.

An observation is kept once: what follows a step stands in the next place. The step at which a world began anew is kept too, since
its observation is the last of the episode before, and is never sampled.

Shapes: L places a world, N worlds, B rows, n steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lamina.data.worlds import Seen


class Replay:
    """The last `capacity` steps of N worlds. Memory is taken once."""

    def __init__(self, capacity: int, worlds: int, shape: tuple[int, ...], dtype: Any, choices: int = 0) -> None:
        self.places = max(capacity // worlds, 2)
        self.worlds = worlds
        leading = (self.places, worlds)
        self.observation = np.zeros((*leading, *shape), dtype)
        self.mask = np.ones((*leading, choices), np.uint8) if choices else None
        self.action = np.zeros(leading, np.int64)
        self.reward = np.zeros(leading, np.float32)
        self.terminal, self.cut, self.heeded = (np.zeros(leading, bool) for _ in range(3))
        self.written = 0
        """Steps of each world ever written."""

    def add(self, before: Seen, action_N: np.ndarray, reward_N: np.ndarray, terminal_N: np.ndarray, after: Seen) -> None:
        """One step of all worlds: what was seen, done, and came of it. `after` is written down by the next one."""
        place = self.written % self.places
        self.observation[place] = before.observation
        if self.mask is not None and before.mask_NK is not None:
            self.mask[place] = before.mask_NK
        self.action[place], self.reward[place] = action_N, reward_N
        self.terminal[place] = terminal_N
        self.cut[place] = terminal_N | after.terminated_N | after.truncated_N
        self.heeded[place] = ~after.fresh_N
        self.written += 1

    def span(self, steps: int) -> tuple[int, int]:
        """The places whose next `steps` are all written: the first, and how many follow it, round the end."""
        first = max(self.written - self.places, 0)
        return first % self.places, max(self.written - steps - first, 0)

    def draw(self, rng: np.random.Generator, count: int, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """Places and worlds (B,), each step that counts as probable as any other."""
        first, held = self.span(steps)
        at, world = np.empty(0, np.int64), np.empty(0, np.int64)
        while len(at) < count:  # those at which a world began anew are thrown back
            drawn = rng.integers(held * self.worlds, size=2 * count)
            place, which = (first + drawn // self.worlds) % self.places, drawn % self.worlds
            good = self.heeded[place, which]
            at, world = np.concatenate([at, place[good]]), np.concatenate([world, which[good]])
        return at[:count], world[:count]

    def followed(
        self, at_B: np.ndarray, world_B: np.ndarray, steps: int, gamma: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What came of steps: the discounted reward of the next n (B,), the place of what was seen then (B,), and the weight of
        its value (B,): gamma^n, or 0 where the episode had come to its end.

        Where an episode was cut after m < n steps, what was seen last then stands for all that would have come: gamma^m.
        """
        worth_B, weight_B = np.zeros(len(at_B)), np.ones(len(at_B))
        place_B, going_B = at_B.copy(), np.ones(len(at_B), bool)
        for _ in range(steps):
            worth_B += going_B * weight_B * self.reward[place_B, world_B]
            ends_B = going_B & self.terminal[place_B, world_B]
            stops_B = going_B & self.cut[place_B, world_B]
            weight_B = np.where(going_B, weight_B * gamma, weight_B)
            weight_B[ends_B] = 0.0
            place_B = np.where(going_B, (place_B + 1) % self.places, place_B)
            going_B &= ~stops_B
        return worth_B, place_B, weight_B

    def state(self) -> dict[str, Any]:
        """Everything that was written, as tensors."""
        import torch

        held = min(self.written, self.places)
        kept = {name: torch.from_numpy(array[:held].copy()) for name, array in self._arrays().items()}
        return {"written": self.written, **kept}

    def load(self, state: Mapping[str, Any]) -> None:
        self.written = int(state["written"])
        held = min(self.written, self.places)
        for name, array in self._arrays().items():
            array[:held] = state[name].numpy()

    def _arrays(self) -> dict[str, np.ndarray]:
        names = ("observation", "mask", "action", "reward", "terminal", "cut", "heeded")
        return {name: array for name in names if (array := getattr(self, name)) is not None}


class SumTree:
    """Numbers in the leaves of a binary tree, their sums above: a leaf is drawn by its share in log2(count) steps
    (Schaul et al. 2016, "Prioritized Experience Replay", appendix B.2.1). All of a batch go down the tree at once."""

    def __init__(self, count: int) -> None:
        self.depth = max(int(np.ceil(np.log2(max(count, 2)))), 1)
        self.first = 2**self.depth
        self.tree = np.zeros(2 * self.first)

    def put(self, leaf_B: np.ndarray, value_B: np.ndarray) -> None:
        """Where a leaf comes twice, its last value stays."""
        node = leaf_B + self.first
        self.tree[node] = value_B
        for _ in range(self.depth):
            node = np.unique(node // 2)
            self.tree[node] = self.tree[2 * node] + self.tree[2 * node + 1]

    def find(self, share_B: np.ndarray) -> np.ndarray:
        """The leaves at which the running sum first exceeds a share (B,) from 0 to below 1 of the whole."""
        left = share_B * self.tree[1]
        node = np.ones(len(share_B), np.int64)
        for _ in range(self.depth):
            below = self.tree[2 * node]
            right = left >= below
            left = np.where(right, left - below, left)
            node = 2 * node + right
        return node - self.first

    @property
    def total(self) -> float:
        return float(self.tree[1])
