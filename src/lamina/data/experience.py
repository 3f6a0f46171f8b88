"""Batches for learning from what was lived through at any time: played a little, kept, and sampled again and again.

Mnih et al. 2015, "Human-level control through deep reinforcement learning", algorithm 1; prioritized: Schaul et al. 2016,
"Prioritized Experience Replay", algorithm 1.

Shapes: N worlds, B rows of a batch, K actions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from lamina.data.play import random_action
from lamina.data.replay import Replay, SumTree
from lamina.data.rollouts import mixed_seed, tensor_of
from lamina.data.world import World
from lamina.data.worlds import Seen, Tally, Worlds, ended
from lamina.task import Batch

LEAST_PRIORITY = 1e-3
"""Added to every error, so that no step is forgotten (Schaul et al. 2016, section 3.3)."""
LARGEST_KEPT = 2**29
"""Bytes of replay up to which a checkpoint holds it. A resumed run with more fills its replay anew."""


@dataclass(frozen=True)
class Living:
    """How much is played, explored, kept and looked back at."""

    capacity: int
    warm_up: int
    """Steps of random play before anything is learned."""
    steps_per_update: float
    """Steps played, in all worlds together, for each batch."""
    epsilon: float
    """Share of random actions in the end."""
    exploring: float
    """Share of the training over which random actions become fewer."""
    lasting: float
    """Exponent of the zeta distribution of how many steps a random action lasts; 0: one."""
    n_steps: int
    gamma: float
    target_every: int
    """Batches after which the network that says what is to come is renewed."""
    priority: float
    """Exponent of the error by which steps are drawn; 0: evenly."""
    clip_rewards: bool
    lives: bool


class Draws(Protocol):
    """A layer with noise of its own: `nn/noisy_linear.py`."""

    def draw(self, generator: torch.Generator) -> None: ...


Answer = Callable[..., Sequence[Tensor]]


class Experience:
    """The Stream of an agent that learns from a replay. Rows are `observation` (and `action_mask`), `action`, the `worth` that is
    foreseen of it, and `weight`, which undoes that some steps are drawn more often than others.

    act: (inputs) -> the best action (N,). foreseen: (reward of n steps (B,), weight of what comes after (B,), inputs then) ->
    worth (B, ...), by the target network. wrong: (action (B,), worth (B, ...), inputs) -> how wrong each row is (B,).
    """

    safe = True

    def __init__(
        self,
        model: nn.Module,
        target: nn.Module,
        act: Answer,
        foreseen: Answer,
        wrong: Answer,
        world: World,
        worlds: Worlds,
        living: Living,
        noisy: Sequence[Draws],
        size: int,
        seed: int,
        progress: Callable[[], float],
    ) -> None:
        self.model, self.target, self.act, self.foreseen, self.wrong = model, target, act, foreseen, wrong
        self.world, self.worlds, self.living, self.size = world, worlds, living, size
        self.noisy, self.seed, self.progress = list(noisy), seed, progress
        self.rng = np.random.default_rng((seed, 1))
        self.left_N, self.random_N = np.zeros(worlds.count, np.int64), np.zeros(worlds.count, np.int64)
        self.names = [spec.name for spec in world.inputs]
        self.device = next(model.parameters()).device
        reader = world.reader
        self.replay = Replay(
            living.capacity, worlds.count, reader.shape, np.uint8 if world.pictures else np.float32, reader.choices
        )
        self.tree = SumTree(self.replay.places * worlds.count) if living.priority else None
        self.greatest = 1.0
        self.batches = self.played = 0
        self.owed = 0.0
        self.tally = Tally(worlds.count)
        self.seen = worlds.reset([mixed_seed(seed, i) for i in range(worlds.count)])

    def __iter__(self) -> Iterator[Batch]:
        return self

    @torch.no_grad()
    def __next__(self) -> Batch:
        how = self.living
        least = max(how.warm_up, (how.n_steps + 2) * self.worlds.count)
        while self.played < least or self.replay.span(how.n_steps)[1] < 2:  # of two in a row, one was heeded
            self._play(1.0)
        self.owed += how.steps_per_update
        while self.owed >= self.worlds.count:
            self._play(self._epsilon())
            self.owed -= self.worlds.count
        self.batches += 1
        return self._batch()

    def _epsilon(self) -> float:
        if self.noisy:
            return 0.0
        share = min(self.progress() / max(self.living.exploring, 1e-9), 1.0)
        return 1.0 + share * (self.living.epsilon - 1.0)

    def _play(self, epsilon: float) -> None:
        """One step of all worlds: the best action, or a random one."""
        random_N = self._explores(epsilon)
        if random_N.all():
            action_N = self.random_N.copy()
        else:
            self._noise(0, self.played)
            best_N = self.act(*self._inputs(self.seen.observation, self.seen.mask_NK))[0].cpu().numpy()
            action_N = np.where(random_N, self.random_N, best_N)
        before, self.seen = self.seen, self.worlds.step(action_N)
        terminal_N = ended(before, self.seen, self.living.lives)
        reward_N = np.sign(self.seen.reward_N) if self.living.clip_rewards else self.seen.reward_N
        place = self.replay.written % self.replay.places
        self.replay.add(before, action_N, reward_N, terminal_N, self.seen)
        if self.tree is not None:
            leaves = place * self.worlds.count + np.arange(self.worlds.count)
            self.tree.put(leaves, np.where(self.seen.fresh_N, 0.0, self.greatest))
        self.played += self.worlds.count
        self.tally.add(self.seen)

    def _explores(self, epsilon: float) -> np.ndarray:
        """Which worlds take a random action (N,), one that they have begun or, with probability epsilon, another. It lasts for as
        many steps as zeta's distribution says (Dabney et al. 2021, "Temporally-Extended epsilon-Greedy Exploration", section 3):
        whoever changes their mind at every step gets nowhere."""
        self.left_N[self.seen.fresh_N] = 0
        begins_N = (self.left_N == 0) & (self.rng.random(self.worlds.count) < epsilon)
        for i in np.flatnonzero(begins_N).tolist():
            self.random_N[i] = random_action(self.world, self.rng, self.seen.mask_NK, i)
            self.left_N[i] = self.rng.zipf(self.living.lasting) if self.living.lasting else 1
        mask_NK = self.seen.mask_NK
        if mask_NK is not None:  # what was begun may have become forbidden
            self.left_N[mask_NK[np.arange(self.worlds.count), self.random_N] == 0] = 0
        random_N = self.left_N > 0
        self.left_N[random_N] -= 1
        return random_N

    def _noise(self, *number: int) -> None:
        generator = torch.Generator(self.device)
        for i, layer in enumerate(self.noisy):
            layer.draw(generator.manual_seed(mixed_seed(self.seed, *number, i)))

    def _batch(self) -> Batch:
        how, replay = self.living, self.replay
        at_B, world_B, weight_B = self._drawn()
        worth_B, later_B, discount_B = replay.followed(at_B, world_B, how.n_steps, how.gamma)
        worth, discount = (torch.from_numpy(x.astype(np.float32)).to(self.device) for x in (worth_B, discount_B))
        self._noise(1, self.batches)
        before = self._seen(at_B, world_B)
        batch = dict(zip(self.names, before, strict=True))
        (batch["worth"],) = self.foreseen(worth, discount, *self._seen(later_B, world_B))
        batch["action"] = torch.from_numpy(replay.action[at_B, world_B]).to(self.device)
        batch["weight"] = torch.from_numpy(weight_B.astype(np.float32)).to(self.device)
        if self.tree is not None:
            wrong_B = self.wrong(batch["action"], batch["worth"], *before)[0].double().cpu().numpy()
            priority_B = (wrong_B + LEAST_PRIORITY) ** how.priority
            self.greatest = max(self.greatest, float(priority_B.max()))
            self.tree.put(at_B * self.worlds.count + world_B, priority_B)
        return batch

    def _drawn(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Places and worlds of a batch, and the weight of each row (equation 1 and section 3.4; the exponent rises to 1)."""
        replay = self.replay
        if self.tree is None:
            at_B, world_B = replay.draw(self.rng, self.size, self.living.n_steps)
            return at_B, world_B, np.ones(self.size)
        found = np.empty(0, np.int64)
        first, count = replay.span(self.living.n_steps)
        while len(found) < self.size:
            shares = (np.arange(2 * self.size) + self.rng.random(2 * self.size)) / (2 * self.size)
            leaves = self.tree.find(self.rng.permutation(shares))
            known = (leaves // self.worlds.count - first) % replay.places < count
            found = np.concatenate([found, leaves[known]])
        found = found[: self.size]
        held = min(replay.written, replay.places) * self.worlds.count
        probability_B = self.tree.tree[found + self.tree.first] / self.tree.total
        weight_B = (held * probability_B) ** -(0.4 + 0.6 * self.progress())
        return found // self.worlds.count, found % self.worlds.count, weight_B / weight_B.max()

    def _seen(self, place_B: np.ndarray, world_B: np.ndarray) -> list[Tensor]:
        """The inputs of the model at places of the replay."""
        mask = None if self.replay.mask is None else self.replay.mask[place_B, world_B]
        return self._inputs(self.replay.observation[place_B, world_B], mask)

    def _inputs(self, observation: np.ndarray, mask: np.ndarray | None) -> list[Tensor]:
        arrays = [observation] if mask is None else [observation, mask]
        return [torch.from_numpy(np.ascontiguousarray(array)).to(self.device) for array in arrays]

    def after_step(self) -> None:
        """The network that says what is to come follows, now and then."""
        if self.batches % self.living.target_every == 0:
            self.target.load_state_dict(self.model.state_dict())

    def figures(self) -> dict[str, float]:
        return {"timesteps": float(self.played), "epsilon": self._epsilon(), **self.tally.figures()}

    def where(self) -> str:
        return f"batch {self.batches}, after {self.played} steps"

    def state_dict(self) -> dict[str, Any]:
        kept = self.replay.observation.nbytes <= LARGEST_KEPT
        return {
            "batches": self.batches,
            "played": self.played,
            "owed": self.owed,
            "greatest": self.greatest,
            "rng": self.rng.bit_generator.state,
            "left": self.left_N.tolist(),
            "random": self.random_N.tolist(),
            "tally": self.tally.state(),
            "target": {name: value.clone() for name, value in self.target.state_dict().items()},
            "replay": self.replay.state() if kept else None,
            "tree": tensor_of(self.tree.tree) if kept and self.tree is not None else None,
            "worlds": self.worlds.state_dict(),
            "seen": {name: tensor_of(value) for name, value in vars(self.seen).items() if value is not None},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.batches, self.played = int(state["batches"]), int(state["played"])
        self.owed, self.greatest = float(state["owed"]), float(state["greatest"])
        self.rng.bit_generator.state = state["rng"]
        self.left_N, self.random_N = np.array(state["left"], np.int64), np.array(state["random"], np.int64)
        self.tally.load(state["tally"])
        self.target.load_state_dict(state["target"])
        if state["replay"] is None:
            self.owed += self.living.warm_up  # lived through again, by what was learned
        else:
            self.replay.load(state["replay"])
        if self.tree is not None and state["tree"] is not None:
            self.tree.tree = state["tree"].numpy().copy()
        begun = self.worlds.load_state_dict(state["worlds"])
        if begun is None:
            self.seen = Seen(**{name: value.numpy() for name, value in state["seen"].items()})
        else:
            self.seen = begun
            self.tally.begin()
