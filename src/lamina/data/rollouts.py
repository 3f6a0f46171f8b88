"""Batches for learning from one's own play, just now: the worlds are played for some steps, learned from, and left behind.

Schulman et al. 2017, "Proximal Policy Optimization Algorithms", algorithm 1.

Shapes: T steps, N worlds, R = T * N rows of a rollout, B rows of a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from lamina.data.returns import RewardScale, generalized_advantages
from lamina.data.worlds import Seen, Tally, Worlds, ended
from lamina.task import Batch

NUMBERS = ("log_probability", "value_before", "advantage", "return", "weight", "fresh")
"""The columns of a batch that are one number a row."""
Act = Callable[..., Sequence[Tensor]]
"""(inputs of the model, noise) -> action, its log probability (N,), what the judge expects (N,), and the state (N, S) that
follows, of a policy that remembers."""
Noise = Callable[[Sequence[int], torch.Generator], Tensor]
"""(sizes, generator) -> what chance adds at each of so many places."""
Gather = Callable[..., tuple[Tensor, ...]]
"""`batch_of`."""


class Scales(Protocol):
    """How observations are scaled, which is learned from what was seen, by no gradient: `nn/running_norm.py`."""

    def update(self, x_BD: Tensor) -> None: ...
    def named_buffers(self) -> Iterator[tuple[str, Tensor]]: ...


@dataclass(frozen=True)
class Playing:
    """How long is played, what that was worth, and how often it is learned from."""

    steps: int
    """Of each world, between updates."""
    epochs: int
    """Times that each row is learned from."""
    gamma: float
    gae_lambda: float
    scale_rewards: bool
    clip_rewards: bool
    """To their sign (Mnih et al. 2015)."""
    lives: bool
    """The loss of a life counts as an end (Mnih et al. 2015)."""
    sequence: int = 1
    """Steps in a row that are learned from together."""
    memory: int = 0
    """Numbers that the policy keeps."""
    overlap: bool = False
    """The next rollout is played while this one is learned from."""


@dataclass
class Played:
    """A rollout: which one, its rows, and what was to be told of playing when it was over."""

    number: int
    rows: dict[str, Tensor]
    figures: dict[str, float]


class Rollouts:
    """The Stream of an on-policy agent: `size` rows a batch. Each row is `observation` (and `action_mask`), `action`, its
    `log_probability` and `value_before` under the policy that took it, `advantage` (of mean 0 and deviation 1 in its batch),
    `return`, `weight`, which is 0 for the step at which a world began anew and took no heed of the action, and `fresh`, 1 where
    an episode begins.

    With `overlap`, a rollout is played by the policy of one update ago, in a thread of its own; `renew` brings the one that acts
    up to date. The first two rollouts are not overlapped, while graphs are made. What is played depends on the seed alone all the
    same (Liu et al. 2020, "High-Throughput Synchronous Deep Reinforcement Learning").

    With `sequence` > 1, a batch is made of stretches of so many steps of a world, its rows in the order of time: (T', stretches)
    as one; `state` is what the policy had kept before each.
    """

    def __init__(
        self,
        act: Act,
        noise: Noise,
        gather: Gather,
        scales: Scales | None,
        worlds: Worlds,
        playing: Playing,
        size: int,
        seed: int,
        names: Sequence[str],
        device: torch.device,
        renew: Callable[[], object] = lambda: None,
    ) -> None:
        self.act, self.noise, self.gather, self.scales, self.worlds, self.playing = act, noise, gather, scales, worlds, playing
        self.size, self.seed, self.names, self.device = size, seed, tuple(names), device
        self.rollout = self.learned = 0  # played, and learned from
        self.position = 0
        self.order = torch.empty(0, dtype=torch.int64)
        self.rows: dict[str, Tensor] = {}
        self.scale = RewardScale(worlds.count, playing.gamma)
        self.tally = Tally(worlds.count)
        self.seen = worlds.reset([mixed_seed(seed, i) for i in range(worlds.count)])
        self.renew = renew
        self.told: dict[str, float] = {"timesteps": 0.0}
        self.player = ThreadPoolExecutor(1) if playing.overlap else None
        self.ahead: Future[Played] | None = None
        self.state = torch.zeros(worlds.count, playing.memory, device=device) if playing.memory else None

    safe = True

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        if self.position + self.size > len(self.order):
            self._swap()
            generator = torch.Generator().manual_seed(mixed_seed(self.seed, self.learned, 1))
            self.order, self.position = torch.cat([self._shuffled(generator) for _ in range(self.playing.epochs)]), 0
        rows = self.order[self.position : self.position + self.size]
        self.position += self.size
        names = [name for name in self.rows if name != "numbers"]
        columns = self.gather(rows.to(self.device), self.rows["numbers"], *(self.rows[name] for name in names))
        return dict(zip((*NUMBERS, *names), columns, strict=True))

    def _shuffled(self, generator: torch.Generator) -> Tensor:
        """Rows of whole batches, in stretches that follow one another at random."""
        length, count = self.playing.sequence, self.worlds.count
        stretches = self.playing.steps // length * count
        a_batch = min(self.size // length, stretches)
        order = torch.randperm(stretches, generator=generator)[: stretches // a_batch * a_batch]
        first = order // count * length * count + order % count  # row t * N + i is step t of world i
        return (first.view(-1, 1, a_batch) + torch.arange(length).view(1, -1, 1) * count).flatten()

    def _swap(self) -> None:
        """The next rollout in place of the last; with `overlap`, the one after it is begun."""
        if self.ahead is None:
            self.renew()
            played = self._play()
        else:
            played = self.ahead.result()
            self.renew()  # never while it plays
        self.learned, self.rows, self.told = played.number, played.rows, played.figures
        if self.player is not None and self.rollout > 1:
            kind = self.device.type
            rounds, dtype = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)
            self.ahead = self.player.submit(self._aside, kind, dtype, rounds)

    def _aside(self, kind: str, dtype: torch.dtype, rounds: bool) -> Played:
        """A rollout, in a thread that computes as the one does that learns."""
        if torch.get_num_threads() > 1:
            torch.set_num_threads(1)  # of this thread alone: worlds and learning have need of the others
        with torch.autocast(kind, dtype, enabled=rounds):
            return self._play()

    @torch.no_grad()
    def _play(self) -> Played:
        """One rollout: what was seen, done and said at each step, and what it was worth."""
        how, count = self.playing, self.worlds.count
        generator = torch.Generator(self.device).manual_seed(mixed_seed(self.seed, self.rollout))
        self.rollout += 1
        kept: dict[str, list[Any]] = {name: [] for name in (*self.names, "action")}
        log_probability_TN = np.empty((how.steps, count), np.float32)
        reward_TN, value_TN = np.empty((how.steps, count)), np.empty((how.steps + 1, count))
        terminal_TN, cut_TN, heeded_TN, fresh_TN = (np.empty((how.steps, count), bool) for _ in range(4))
        noise_TN = self.noise((how.steps + 1, count), generator)
        for t in range(how.steps):
            inputs = self._inputs(self.seen)
            action, log_probability_N, value_N, *state = self.act(*inputs, noise_TN[t])
            self.state = state[0] if state else None
            fresh_TN[t] = self.seen.fresh_N
            for name, value in zip(self.names, inputs, strict=True):
                kept[name].append(value)
            kept["action"].append(action)
            log_probability_TN[t] = log_probability_N.cpu().numpy()
            value_TN[t] = value_N.cpu().numpy()
            before, self.seen = self.seen, self.worlds.step(action.cpu().numpy())
            terminal_TN[t] = ended(before, self.seen, how.lives)
            cut_TN[t] = terminal_TN[t] | self.seen.truncated_N
            heeded_TN[t] = ~self.seen.fresh_N
            reward_TN[t] = self._reward(self.seen.reward_N, cut_TN[t])
            self.tally.add(self.seen)
        value_TN[how.steps] = self.act(*self._inputs(self.seen), noise_TN[-1])[2].cpu().numpy()
        advantage_TN = generalized_advantages(reward_TN, value_TN, terminal_TN, cut_TN, how.gamma, how.gae_lambda)
        return_TN = advantage_TN + value_TN[:-1]
        explained = explained_variance(value_TN[:-1][heeded_TN], return_TN[heeded_TN])
        rows = {name: torch.stack(values).flatten(0, 1) for name, values in kept.items()}
        numbers = [log_probability_TN, value_TN[:-1], advantage_TN, return_TN, heeded_TN, fresh_TN]
        rows["numbers"] = torch.from_numpy(np.stack(numbers).reshape(len(NUMBERS), -1).astype(np.float32)).to(self.device)
        figures = {"timesteps": float(self.rollout * how.steps * count), **self.tally.figures()}
        return Played(self.rollout, rows, figures | ({"explained_variance": explained} if np.isfinite(explained) else {}))

    def _inputs(self, seen: Seen) -> list[Tensor]:
        """What the model is asked with; nothing is remembered of an episode that is over."""
        if self.state is not None:
            begun_N = torch.from_numpy(seen.fresh_N).to(self.device)
            self.state = self.state.masked_fill(begun_N.unsqueeze(1), 0)
        arrays = {"observation": seen.observation, "action_mask": seen.mask_NK}
        tensors = {n: torch.from_numpy(np.ascontiguousarray(a)).to(self.device) for n, a in arrays.items() if a is not None}
        return [tensors[name] if name in tensors else self._state() for name in self.names]

    def _state(self) -> Tensor:
        assert self.state is not None
        return self.state

    def _reward(self, reward_N: np.ndarray, cut_N: np.ndarray) -> np.ndarray:
        if self.playing.clip_rewards:
            return np.sign(reward_N)
        return self.scale(reward_N, cut_N) if self.playing.scale_rewards else reward_N

    def after_step(self) -> None:
        """After the last step of a rollout, what was seen in it changes how observations are scaled: never in between, or the
        policy would change without a step, and its old probabilities would be wrong."""
        if self.scales is not None and self.position + self.size > len(self.order):
            self.scales.update(self.rows[self.names[0]])

    def figures(self) -> dict[str, float]:
        """What is worth telling beside the loss: of the rollout that is learned from."""
        return self.told

    def where(self) -> str:
        return f"rollout {self.learned}, rows {self.position - self.size} to {self.position}"

    def state_dict(self) -> dict[str, Any]:
        ahead = None if self.ahead is None else self.ahead.result()  # where worlds stand is known when it is over
        return {
            "told": self.told,
            "ahead": None if ahead is None else vars(ahead),
            "learned": self.learned,
            "rollout": self.rollout,
            "position": self.position,
            "order": self.order,
            "rows": self.rows,
            "scale": self.scale.state(),
            "tally": self.tally.state(),
            "worlds": self.worlds.state_dict(),
            "seen": {name: tensor_of(value) for name, value in vars(self.seen).items() if value is not None},
            "state": self.state,
            "scales": {name: value.clone() for name, value in self._scales()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.rollout, self.learned, self.position = (int(state[name]) for name in ("rollout", "learned", "position"))
        self.order, self.told = state["order"], dict(state["told"])
        if state["ahead"] is not None:
            rows = {name: value.to(self.device) for name, value in state["ahead"]["rows"].items()}
            self.ahead = Future()
            self.ahead.set_result(Played(int(state["ahead"]["number"]), rows, dict(state["ahead"]["figures"])))
        self.rows = {name: value.to(self.device) for name, value in state["rows"].items()}
        self.scale.load(list(state["scale"]))
        self.state = None if state["state"] is None else state["state"].to(self.device)
        self.tally.load(state["tally"])
        begun = self.worlds.load_state_dict(state["worlds"])
        if begun is None:
            self.seen = Seen(**{name: value.numpy() for name, value in state["seen"].items()})
        else:
            self.seen = begun
            self.tally.begin()
        for name, value in self._scales():
            value.copy_(state["scales"][name])

    def _scales(self) -> Iterator[tuple[str, Tensor]]:
        return iter(()) if self.scales is None else self.scales.named_buffers()


def tensor_of(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array).copy())


def batch_of(rows_B: Tensor, number_NR: Tensor, *columns: Tensor) -> tuple[Tensor, ...]:
    """NUMBERS at `rows`, advantages of mean 0 and deviation 1 among them, and the other columns there."""
    log_probability_B, before_B, advantage_B, return_B, weight_B, fresh_B = number_NR.index_select(1, rows_B).unbind(0)
    numbers = log_probability_B, before_B, standardized(advantage_B, weight_B), return_B, weight_B, fresh_B
    return *numbers, *(column.index_select(0, rows_B) for column in columns)


def standardized(advantage_B: Tensor, weight_B: Tensor) -> Tensor:
    """Of mean 0 and deviation 1 among the rows that count (OpenAI baselines' ppo2)."""
    count = weight_B.sum().clamp(min=1)
    away_B = advantage_B - (advantage_B * weight_B).sum() / count
    return away_B / (((away_B.square() * weight_B).sum() / count).sqrt() + 1e-8)


def explained_variance(value: np.ndarray, worth: np.ndarray) -> float:
    """The share of the returns' variance that the values foresaw; 1 is all."""
    spread = float(worth.var()) if len(worth) else 0.0
    return 1 - float((worth - value).var()) / spread if spread > 0 else float("nan")


def mixed_seed(*numbers: int) -> int:
    """One seed of 62 bits from several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 2)
