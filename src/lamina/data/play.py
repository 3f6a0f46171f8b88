"""Episodes: played by a policy to judge it, and at random, for examples of what a world shows before anybody has learned.

Shapes: N episodes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lamina.data.atari_scores import human_normalized
from lamina.data.source import Data, Source
from lamina.data.world import World
from lamina.data.worlds import OneByOne, Seen, worlds
from lamina.errors import LaminaError
from lamina.modalities.corrupt_observation import Disturbed
from lamina.modalities.observation import COLUMN, MASK, STATE
from lamina.task import Arrays, Columns

SEED = "seed"
"""The column of the seed from which an episode begins."""
AT_ONCE = 32
MOMENT, BEYOND = 32, 32
"""Random play is looked at after up to so many steps, and followed for so many more."""
ENDLESS = 30_000
"""Steps after which an episode that is judged is cut, where nothing else ends it."""
PARTS = {"train": 0, "valid": 1, "calibration": 2, "test": 3}

Policy = Callable[[Arrays, list[np.random.Generator]], tuple[np.ndarray, np.ndarray | None]]
"""Observations (masks, states) by name, a generator for each -> actions, and the states that follow, of one that remembers."""


@dataclass
class Episode:
    """How one went."""

    gained: float = 0.0
    steps: int = 0
    over: bool = False


def played(world: World, policy: Policy, seeds: Sequence[int], disturbed: Disturbed | None = None) -> list[Episode]:
    """An episode from each seed, all side by side; the policy is asked about those that go on. The same seed, the same episode,
    whatever others are played beside it."""
    if not len(seeds):
        return []
    several = worlds(world, len(seeds), exact=True)
    try:
        rngs, chance = ([np.random.default_rng((int(seed), use)) for seed in seeds] for use in (1, 2))
        before: np.ndarray | None = None
        episodes = [Episode() for _ in seeds]
        seen = several.reset(seeds)
        rows = list(range(len(seeds)))
        arrays = arrays_of(seen, forgetful(world, len(seeds)))
        while rows:
            if disturbed is not None:
                lasting = [np.random.default_rng((int(seeds[i]), 3)) for i in rows]
                arrays = {**arrays, COLUMN: disturbed.seen(arrays[COLUMN], [chance[i] for i in rows], lasting)}
            action, state = policy(arrays, [rngs[i] for i in rows])
            if disturbed is not None:
                action = disturbed.done(action, before, [chance[i] for i in rows], any_of(world, arrays, chance, rows))
            if isinstance(several, OneByOne):
                seen = several.step(action, rows)
                shown = list(range(len(rows)))
            else:  # all of a compiled vector are stepped; of those that are over nobody looks
                whole = np.zeros((len(seeds), *action.shape[1:]), action.dtype)
                whole[rows] = action
                seen, shown = several.step(whole), rows
            for place, i in zip(shown, rows, strict=True):
                episodes[i].gained += float(seen.reward_N[place])
                episodes[i].steps += 1
                ended = bool(seen.terminated_N[place] or seen.truncated_N[place])
                episodes[i].over = ended or episodes[i].steps >= ENDLESS
            goes_on = [not episodes[i].over for i in rows]
            keep = [place for place, on in zip(shown, goes_on, strict=True) if on]
            before, rows = action[goes_on], [i for i, on in zip(rows, goes_on, strict=True) if on]
            arrays = {name: array[keep] for name, array in arrays_of(seen).items()}
            if state is not None:
                arrays[STATE] = state[goes_on]
        return episodes
    finally:
        several.close()


def any_of(world: World, arrays: Arrays, rngs: list[np.random.Generator], rows: list[int]) -> Callable[[int], Any]:
    return lambda place: random_action(world, rngs[rows[place]], arrays.get(MASK), place)


def judged(world: World, policy: Policy, columns: Columns) -> Columns:
    """What an episode from each example's seed gained, `return`, and how many steps it took, `length`. Nothing of no examples."""
    seen = columns.get(COLUMN)
    disturbed = seen if isinstance(seen, Disturbed) else None
    episodes = played(world, policy, [int(seed) for seed in columns.get(SEED, ())], disturbed)
    if not episodes:
        return {}
    return {"return": [e.gained for e in episodes], "length": [e.steps for e in episodes]}


def arrays_of(seen: Seen, state: np.ndarray | None = None) -> Arrays:
    """What a policy is asked with."""
    known = {COLUMN: seen.observation, MASK: seen.mask_NK, STATE: state}
    return {name: array for name, array in known.items() if array is not None}


def forgetful(world: World, count: int) -> np.ndarray | None:
    """The states of `count` episodes at their beginning; None where nothing is remembered."""
    return np.zeros((count, world.reader.memory), np.float32) if world.reader.memory else None


def seeds_of(part: str, count: int, seed: int) -> list[int]:
    """Of the episodes of a part: no two parts share one, and none is one that is learned from."""
    start = 1_000_000 * (1 + PARTS[part]) + 10_000_000 * (seed % 100)
    return list(range(start, start + count))


def random_play(world: World, source: Source, episodes: int, gamma: float) -> Data:
    """Examples of a world, before anybody has learned: for each episode, a moment of random play; `episodes` for the test,
    a tenth of them for validation. `about` holds the world.

    Columns: `seed` of the episode, `observation`, the random `action`, and `return`, what came of it, discounted, in the next few
    steps. The episodes of a part are those that are played to judge an agent.
    """
    few = max(episodes // 10, 1)
    counts = {"train": 64 if world.pictures else 256, "valid": few, "calibration": few, "test": episodes}
    parts: dict[str, Columns] = {
        part: moments(world, seeds_of(part, count, source.split_seed), gamma) for part, count in counts.items()
    }
    digest = hashlib.blake2b(json.dumps(world.identity(), sort_keys=True).encode(), digest_size=16)
    for columns in parts.values():
        for column in columns.values():
            digest.update(np.ascontiguousarray(column).tobytes())
    about = {"layout": f"{world.environment}, {shown(world)},", "world": world.state()}
    return Data(parts["train"], parts["valid"], parts["calibration"], parts["test"], fingerprint=digest.hexdigest(), about=about)


def shown(world: World) -> str:
    """What is seen and done, in words."""
    seen = "x".join(map(str, world.reader.shape)) + (" pixels" if world.pictures else " numbers")
    done = world.actions
    if done.kind == "discrete":
        return f"{seen}, {done.sizes[0]} actions"
    return f"{seen}, {done.width} {'choices at once' if done.kind == 'multi-discrete' else 'numbers to set'}"


def moments(world: World, seeds: Sequence[int], gamma: float) -> Columns:
    """See `random_play`; one row a seed."""
    columns: dict[str, list[Any]] = {SEED: [], COLUMN: [], "action": [], "return": []}
    for start in range(0, len(seeds), AT_ONCE):
        some = list(seeds[start : start + AT_ONCE])
        several = worlds(world, len(some), exact=True)
        try:
            for name, values in a_moment(world, several, some, gamma).items():
                columns.setdefault(name, []).extend(values)
        finally:
            several.close()
    return {name: np.array(values) for name, values in columns.items()}  # type: ignore[misc]


def a_moment(world: World, several: Any, seeds: list[int], gamma: float) -> dict[str, list[Any]]:
    rngs = [np.random.default_rng((seed, 0)) for seed in seeds]
    count, far = len(seeds), (8 if world.pictures else MOMENT, 8 if world.pictures else BEYOND)
    found: list[dict[str, Any]] = [{} for _ in seeds]
    worth_N, weight_N, alive_N = np.zeros(count), np.ones(count), np.ones(count, bool)
    seen = several.reset(seeds)
    for t in range(far[0] + far[1]):
        arrays = arrays_of(seen)
        action = np.array([random_action(world, rng, arrays.get(MASK), i) for i, rng in enumerate(rngs)])
        kept = np.array([t < far[0] and rng.random() * (t + 1) < 1 for rng in rngs])  # any step so far, each as probable
        for i in np.flatnonzero(alive_N & kept):
            found[i] = {name: array[i].copy() for name, array in arrays.items()} | {"action": action[i]}
            worth_N[i], weight_N[i] = 0.0, 1.0
        seen = several.step(action)
        worth_N += alive_N * weight_N * seen.reward_N
        weight_N *= gamma
        alive_N &= ~(seen.terminated_N | seen.truncated_N)
        if not alive_N.any():
            break
    rows = [{SEED: seed, **row, "return": float(worth)} for seed, row, worth in zip(seeds, found, worth_N, strict=True)]
    return {name: [row[name] for row in rows] for name in rows[0]}


def random_action(world: World, rng: np.random.Generator, mask_NK: np.ndarray | None, i: int) -> Any:
    """Any of the allowed ones, each as probable; numbers evenly within their bounds, or normal where they have none."""
    actions = world.actions
    if actions.kind == "discrete" and mask_NK is None:
        return int(rng.integers(actions.sizes[0]))
    if actions.kind == "continuous":
        even = [b is not None and t is not None for b, t in zip(actions.low, actions.high, strict=True)]
        return np.array([
            rng.uniform(low, high) if bounded else rng.standard_normal()  # type: ignore[arg-type]
            for low, high, bounded in zip(actions.low, actions.high, even, strict=True)
        ], np.float32)  # fmt: skip
    allowed = np.ones(actions.choices, np.uint8) if mask_NK is None else mask_NK[i]
    chosen = [int(rng.choice(np.flatnonzero(part))) for part in np.split(allowed, np.cumsum(actions.sizes)[:-1])]
    return chosen[0] if actions.kind == "discrete" else np.array(chosen)


def means(predictions: Columns, game: str = "") -> dict[str, float]:
    """What episodes gained and how long they were, on average; of an Atari `game` whose scores were published, also where that
    stands between random play (0) and a person (1). Raises LaminaError of answers that are no episodes."""
    if "return" not in predictions:
        raise LaminaError("metrics: expected episodes that were played, by evaluate; got single answers")
    found = {name: float(np.mean(predictions[name])) for name in ("return", "length")}
    normalized = human_normalized(game, found["return"])
    return found if normalized is None else {**found, "human_normalized": normalized}


def spread(gained: Sequence[float]) -> dict[str, float]:
    """How returns are spread over episodes."""
    at = {"least": 0, "first_quarter": 25, "median": 50, "third_quarter": 75, "most": 100}
    return {name: float(np.percentile(np.asarray(gained, np.float64), share)) for name, share in at.items()}
