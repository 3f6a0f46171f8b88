"""Several copies of a world side by side, stepped together; one that has ended begins anew at the next step.

That is gymnasium's `AutoresetMode.NEXT_STEP`: the step that ends an episode shows its last observation, the one after it takes
no heed of the action and shows the first observation of the next episode (`fresh`). So whoever learns sees the last observation
of an episode that was cut by a time limit, whose value has to be known (Pardo et al. 2018, "Time Limits in Reinforcement
Learning", equation 5), without asking twice.

Every episode begins from a seed of its own, which depends on (seed, world, episode) alone, so that a world can be brought back to
where it stood: reset with that seed, and take the same actions again. No environment can be asked to write down what it is.

Shapes: N worlds, K choices.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from lamina.data.world import ALE_FRAMES, World, gymnasium, one_line, opened, spec_of
from lamina.errors import LaminaError
from lamina.modalities.observation import MASK, nested

WORTH_ARRAYS = 4
"""Worlds from which on arrays of all are faster than one after another: CartPole took 105 against 64 microseconds a step of 4,
48 against 66 of 2."""
RECENT = 100
"""Episodes whose mean return is told."""


@dataclass
class Seen:
    """What a step of N worlds shows."""

    observation: np.ndarray
    """(N, ...) as the model takes it."""
    reward_N: np.ndarray
    """float64; as the environment gave it."""
    terminated_N: np.ndarray
    """The episode has come to an end of its own."""
    truncated_N: np.ndarray
    """The episode was cut, and would have gone on."""
    fresh_N: np.ndarray
    """The action was not heeded: this is the first observation of an episode."""
    mask_NK: np.ndarray | None = None
    """uint8: which actions are allowed."""
    lives_N: np.ndarray | None = None
    """Where the game counts lives."""


def ended(before: Seen, after: Seen, lives: bool) -> np.ndarray:
    """Where nothing comes after this step (N,): the episode ended, or with `lives`, one was lost."""
    if not lives or before.lives_N is None or after.lives_N is None:
        return after.terminated_N
    return after.terminated_N | ((after.lives_N < before.lives_N) & ~after.fresh_N)


class Tally:
    """What the episodes of N worlds gain, as the environment counts, and the last of those that are over."""

    def __init__(self, count: int) -> None:
        self.gained_N, self.length_N = np.zeros(count), np.zeros(count, np.int64)
        self.recent: deque[tuple[float, int]] = deque(maxlen=RECENT)

    def add(self, seen: Seen) -> None:
        """One more step."""
        self.gained_N += seen.reward_N
        self.length_N += ~seen.fresh_N
        for i in np.flatnonzero(seen.terminated_N | seen.truncated_N):
            self.recent.append((float(self.gained_N[i]), int(self.length_N[i])))
            self.gained_N[i], self.length_N[i] = 0.0, 0

    def begin(self) -> None:
        """All worlds begin new episodes."""
        self.gained_N[:], self.length_N[:] = 0.0, 0

    def figures(self) -> dict[str, float]:
        """Means over the last episodes."""
        if not self.recent:
            return {}
        gained, length = np.mean(self.recent, axis=0).tolist()
        return {"return": gained, "episode_length": length}

    def state(self) -> dict[str, Any]:
        recent = [list(pair) for pair in self.recent]
        return {"gained": self.gained_N.tolist(), "length": self.length_N.tolist(), "recent": recent}

    def load(self, state: Mapping[str, Any]) -> None:
        self.gained_N, self.length_N = np.array(state["gained"], float), np.array(state["length"], np.int64)
        self.recent = deque(((float(gained), int(length)) for gained, length in state["recent"]), maxlen=RECENT)


class Worlds(Protocol):
    """Several worlds. `load_state_dict` brings them back to where they stood, or where it cannot, shows the new episodes that
    it has begun."""

    count: int

    def reset(self, seeds: Sequence[int]) -> Seen: ...
    def step(self, action: np.ndarray) -> Seen: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: Mapping[str, Any]) -> Seen | None: ...
    def close(self) -> None: ...


def worlds(world: World, count: int, exact: bool = False, workers: int = 0) -> Worlds:
    """The fastest kind that there is of this world; with `exact`, the fastest of which every episode has its own seed; with
    `workers`, in so many processes. Raises LaminaError where Atari is to be."""
    if workers and world.game:
        raise LaminaError("workers: expected 0, since Atari plays in threads of its own")
    if workers:
        from lamina.data.workers import Workers

        return Workers(world, count, workers)
    if world.game:
        return Atari(world, count)
    found = spec_of(world.environment)
    entry = str(getattr(found, "vector_entry_point", None) or "")
    known = entry and "phys2d" not in entry and world.show.time_limit is None  # those want another framework
    if known and not world.reader.choices and not exact and count >= WORTH_ARRAYS:
        return Vectorized(world, count)
    return OneByOne(world, count)


class OneByOne:
    """Environments stepped one after another."""

    def __init__(self, world: World, count: int) -> None:
        self.world, self.count = world, count
        self.envs = [opened(world.environment, world.show) for _ in range(count)]
        self.seeds = [0] * count
        self.episode = [0] * count
        self.taken: list[list[Any]] = [[] for _ in range(count)]
        """Raw actions of the episode that goes on."""
        self.over = np.zeros(count, bool)

    def reset(self, seeds: Sequence[int]) -> Seen:
        self.seeds, self.episode = [int(seed) for seed in seeds], [0] * self.count
        self.over[:] = False
        everyone = range(self.count)
        return self._seen(everyone, [self._begin(i) for i in everyone], fresh=np.ones(self.count, bool))

    def step(self, action: np.ndarray, rows: Sequence[int] | None = None) -> Seen:
        """One step of all, or of those of `rows`: then as many actions, and as many rows are shown."""
        rows = range(self.count) if rows is None else rows
        raw = self.world.actions.raw(action)
        shown, reward, terminated, truncated = [], np.zeros(len(rows)), np.zeros(len(rows), bool), np.zeros(len(rows), bool)
        fresh = self.over[list(rows)].copy()
        for place, i in enumerate(rows):
            if self.over[i]:
                self.episode[i] += 1
                shown.append(self._begin(i))
                self.over[i] = False
                continue
            seen, reward[place], terminated[place], truncated[place] = self._act(i, raw[place])
            shown.append(seen)
            self.over[i] = terminated[place] or truncated[place]
        return self._seen(rows, shown, fresh, reward, terminated, truncated)

    def _begin(self, i: int) -> Any:
        self.taken[i] = []
        seed = episode_seed(self.seeds[i], self.episode[i])
        try:
            seen, info = self.envs[i].reset(seed=seed)
        except Exception as error:
            raise LaminaError(self._where(i, f"reset raised {type(error).__name__}: {one_line(error)}")) from error
        return self._with_mask(i, seen, info)

    def _act(self, i: int, action: Any) -> tuple[Any, float, bool, bool]:
        plain = action.item() if self.world.actions.kind == "discrete" else action
        self.taken[i].append(plain if self.world.actions.kind == "discrete" else action.tolist())
        try:
            seen, reward, terminated, truncated, info = self.envs[i].step(plain)
            reward = float(reward)
        except Exception as error:
            raise LaminaError(self._where(i, f"step raised {type(error).__name__}: {one_line(error)}")) from error
        if not np.isfinite(reward):
            raise LaminaError(self._where(i, f"expected a finite reward; got {reward}"))
        return self._with_mask(i, seen, info, bool(terminated or truncated)), reward, bool(terminated), bool(truncated)

    def _with_mask(self, i: int, seen: Any, info: Mapping[str, Any], over: bool = False) -> tuple[Any, Any]:
        """What is seen, and which actions it allows, wherever the environment says that. At an end it may say nothing, or that
        none is possible: none is taken there."""
        choices = self.world.reader.choices
        if not choices:
            return seen, None
        mask = seen.get(MASK) if isinstance(seen, Mapping) and MASK in seen else info.get(MASK)
        if over and (mask is None or not any(np.any(part) for part in nested(mask))):
            return seen, np.ones(choices, np.uint8)
        if mask is None:
            raise LaminaError(self._where(i, f"expected an {MASK} of {choices} as at first; got none"))
        return seen, mask

    def _seen(
        self,
        rows: Sequence[int],
        shown: list[tuple[Any, Any]],
        fresh: np.ndarray,
        reward: np.ndarray | None = None,
        terminated: np.ndarray | None = None,
        truncated: np.ndarray | None = None,
    ) -> Seen:
        columns: dict[str, Any] = {"observation": [seen for seen, _ in shown]}
        if self.world.reader.choices:
            columns[MASK] = [mask for _, mask in shown]
        try:
            arrays = self.world.reader.encode(columns)
        except LaminaError as error:
            named, _, what = str(error).partition(", ")  # "row 3, observation: ..."
            raise LaminaError(self._where(rows[int(named.removeprefix("row ")) - 1], what)) from error
        none = np.zeros(len(shown), bool)
        return Seen(
            arrays["observation"],
            np.zeros(len(shown)) if reward is None else reward,
            none if terminated is None else terminated,
            none if truncated is None else truncated,
            fresh,
            arrays.get(MASK),
        )

    def _where(self, i: int, what: str) -> str:
        seed = episode_seed(self.seeds[i], self.episode[i])
        return f"{self.world.environment}: step {len(self.taken[i])} of an episode with seed {seed}: {what}"

    def state_dict(self) -> dict[str, Any]:
        return {"seeds": self.seeds, "episode": self.episode, "taken": self.taken, "over": self.over.tolist()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Every episode once more, from its seed and its actions."""
        self.seeds, self.episode = [int(s) for s in state["seeds"]], [int(e) for e in state["episode"]]
        dtype = np.float32 if self.world.actions.kind == "continuous" else np.int64
        for i, actions in enumerate(state["taken"]):
            self._begin(i)
            for action in actions:
                self._act(i, np.array(action, dtype))
        self.over[:] = state["over"]

    def close(self) -> None:
        for env in self.envs:
            env.close()


class Vectorized:
    """An environment that comes as a vector of itself, computed as arrays (gymnasium's `vector_entry_point`)."""

    def __init__(self, world: World, count: int) -> None:
        self.world, self.count = world, count
        self.env = gymnasium().make_vec(world.environment, num_envs=count, vectorization_mode="vector_entry_point")
        self.over = np.zeros(count, bool)

    def reset(self, seeds: Sequence[int]) -> Seen:
        """One generator draws for all of them, so their seeds make one."""
        observation, _ = self.env.reset(seed=episode_seed(int(seeds[0]), len(seeds)))
        self.over[:] = False
        none = np.zeros(self.count, bool)
        return Seen(self._array(observation), np.zeros(self.count), none, none, np.ones(self.count, bool))

    def step(self, action: np.ndarray) -> Seen:
        raw = self.world.actions.raw(action)
        observation, reward, terminated, truncated, _ = self.env.step(raw)
        fresh, self.over = self.over, terminated | truncated
        return Seen(self._array(observation), np.asarray(reward, np.float64), terminated, truncated, fresh)

    def _array(self, observation: np.ndarray) -> np.ndarray:
        flat = np.asarray(observation, np.float32).reshape(self.count, *self.world.reader.shape)
        if not np.isfinite(flat).all():
            raise LaminaError(
                f"{self.world.environment}: expected finite numbers in observations; got {flat[~np.isfinite(flat)][0]}"
            )
        return flat

    def state_dict(self) -> dict[str, Any]:
        return {"env": plain_state(self.env.unwrapped), "over": self.over.tolist()}

    def load_state_dict(self, state: Mapping[str, Any]) -> Seen | None:
        begun = self.reset([0] * self.count)
        if state["env"] is None:
            return begun
        restore(self.env.unwrapped, state["env"])
        self.over[:] = state["over"]
        return None

    def close(self) -> None:
        self.env.close()


class Atari:
    """Games of the Arcade Learning Environment, emulated and shown by its own compiled vector.

    Rewards are as the game gives them. The emulator cannot write down where it stands: a resumed run begins new games.
    """

    def __init__(self, world: World, count: int, color: bool = False) -> None:
        from ale_py.vector_env import AtariVectorEnv

        self.world, self.count, show = world, count, world.show
        shown: dict[str, Any] = {"img_height": show.side, "img_width": show.side, "stack_num": show.frame_stack}
        if color:
            shown = {"img_height": 210, "img_width": 160, "stack_num": 1}
        skip = show.frame_skip or 4
        self.env = AtariVectorEnv(
            game=world.game,
            num_envs=count,
            repeat_action_probability=show.sticky or 0.0,
            frameskip=skip,
            grayscale=not (color or show.color),
            max_num_frames_per_episode=ALE_FRAMES if show.time_limit is None else show.time_limit * skip,
            reward_clipping=False,
            episodic_life=False,
            **shown,
        )
        self.over = np.zeros(count, bool)
        self.colored = show.color and not color

    def reset(self, seeds: Sequence[int]) -> Seen:
        observation, info = self.env.reset(seed=np.array([episode_seed(int(s), 0) % 2**31 for s in seeds]))
        self.over[:] = False
        none = np.zeros(self.count, bool)
        return self._seen(observation, info, np.zeros(self.count), none, none, np.ones(self.count, bool))

    def step(self, action: np.ndarray) -> Seen:
        observation, reward, terminated, truncated, info = self.env.step(self.world.actions.raw(action))
        fresh, self.over = self.over, terminated | truncated
        return self._seen(observation, info, np.asarray(reward, np.float64), terminated, truncated, fresh)

    def _seen(self, observation: np.ndarray, info: Mapping[str, Any], *rest: np.ndarray) -> Seen:
        """Frames in color are (N, K, H, W, 3) of the emulator, (N, 3 K, H, W) of a model."""
        if self.colored:
            observation = np.moveaxis(observation, -1, 2).reshape(self.count, *self.world.reader.shape)
        return Seen(observation, *rest, lives_N=np.array(info["lives"]))

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> Seen:
        return self.reset(range(self.count))

    def close(self) -> None:
        self.env.close()


def episode_seed(seed: int, episode: int) -> int:
    """A seed of 31 bits; the first episode has the seed itself."""
    return seed % 2**31 if episode == 0 else int(np.random.default_rng((seed, episode)).integers(2**31))


def plain_state(env: Any) -> dict[str, Any] | None:
    """The attributes of an environment that change, as JSON; None where it has others than numbers, arrays and generators."""
    found: dict[str, Any] = {}
    for name, value in vars(env).items():
        if isinstance(value, np.ndarray):
            found[name] = {"array": value.tolist(), "dtype": str(value.dtype), "shape": list(value.shape)}
        elif isinstance(value, np.random.Generator):
            found[name] = {"generator": value.bit_generator.state}
        elif isinstance(value, (bool, int, float, np.number)):
            found[name] = {"value": value.item() if isinstance(value, np.number) else value}
        elif value is not None and not isinstance(value, str) and not type(value).__module__.startswith("gymnasium"):
            return None
    return found


def restore(env: Any, state: Mapping[str, Any]) -> None:
    """The inverse of `plain_state`, into the same kind of environment after a reset."""
    for name, kept in state.items():
        if "array" in kept:
            setattr(env, name, np.array(kept["array"], kept["dtype"]).reshape(kept["shape"]))
        elif "generator" in kept:
            getattr(env, name).bit_generator.state = kept["generator"]
        else:
            setattr(env, name, kept["value"])
