"""Worlds side by side: what is shown at an end, at a cut and after them; the same episode from the same seed; faults named."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from lamina.data.play import moments, played, random_action
from lamina.data.source import Source, Stored
from lamina.data.spaces import actions_of, reader_of
from lamina.data.world import Show, World, world_of
from lamina.data.worlds import OneByOne, Vectorized, worlds
from lamina.errors import LaminaError

COUNTING = '''
import numpy as np
import gymnasium
from gymnasium import spaces


class Counting(gymnasium.Env):
    """Shows how many steps were taken; action 1 ends the episode, the time limit of 5 cuts it."""

    observation_space = spaces.Box(0, 100, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self, render_mode=None):
        self.fault = None

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.steps, self.first = 0, float(self.np_random.integers(10, 20))
        return np.array([self.first], np.float32), {}

    def step(self, action):
        self.steps += 1
        return np.array([self.first + self.steps], np.float32), float(self.steps), action == 1, self.steps >= 5, {}


class Raising(Counting):
    def step(self, action):
        if self.steps == 2:
            raise RuntimeError("the sky fell")
        return super().step(action)


class NotANumber(Counting):
    def step(self, action):
        seen, *rest = super().step(action)
        return seen * (np.nan if self.steps == 3 else 1), *rest


class Infinite(Counting):
    def step(self, action):
        seen, reward, *rest = super().step(action)
        return seen, float("inf"), *rest


class Wider(Counting):
    def step(self, action):
        seen, *rest = super().step(action)
        return np.repeat(seen, 2), *rest
'''


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("envs") / "counting.py"
    path.write_text(COUNTING)
    return path


def counting(file: Path, name: str = "Counting") -> World:
    return world_of(Source(data=f"{file}:{name}"), Show(), "CartPole-v1")


def test_an_end_shows_its_last_observation_and_the_next_step_begins_anew(file: Path) -> None:
    several = OneByOne(counting(file), 2)
    first = several.reset([1, 2]).observation[:, 0]
    seen = several.step(np.array([0, 1]))
    assert (seen.observation[:, 0] - first).tolist() == [1, 1]
    assert seen.terminated_N.tolist() == [False, True] and not seen.truncated_N.any() and not seen.fresh_N.any()
    seen = several.step(np.array([0, 1]))  # the second action 1 is not heeded
    assert seen.fresh_N.tolist() == [False, True] and seen.reward_N.tolist() == [2, 0] and not seen.terminated_N.any()
    assert 10 <= seen.observation[1, 0] < 20
    for _ in range(3):
        seen = several.step(np.array([0, 0]))
    assert seen.truncated_N.tolist() == [True, False] and not seen.terminated_N.any()
    assert seen.observation[0, 0] == first[0] + 5


def test_a_vector_of_gymnasium_says_the_same_of_ends() -> None:
    world = World.of("CartPole-v1", Show())
    several = worlds(world, 4)
    assert isinstance(several, Vectorized)
    several.reset([1, 2, 3, 4])
    over = np.zeros(4, bool)
    for t in range(200):
        seen = several.step(np.array([0, 1, t % 2, 1]))
        assert (seen.fresh_N == over).all()
        assert (seen.reward_N == ~over).all()
        over = seen.terminated_N | seen.truncated_N
    assert over.dtype == bool


@pytest.mark.parametrize("exact", [False, True])
def test_worlds_go_on_where_they_stood(exact: bool) -> None:
    world = World.of("CartPole-v1", Show())
    rng = np.random.default_rng(0)
    actions = rng.integers(2, size=(120, 4))
    one = worlds(world, 4, exact)
    one.reset([5, 6, 7, 8])
    for action in actions[:57]:
        one.step(action)
    state = copy.deepcopy(one.state_dict())
    later = [one.step(action) for action in actions[57:]]
    other = worlds(world, 4, exact)
    assert other.load_state_dict(state) is None
    again = [other.step(action) for action in actions[57:]]
    for a, b in zip(later, again, strict=True):
        for name, value in vars(a).items():
            np.testing.assert_array_equal(value, getattr(b, name))


def test_an_episode_is_its_seed_whoever_plays_beside_it() -> None:
    world = World.of("CartPole-v1", Show())

    def policy(arrays: Any, rngs: list[np.random.Generator]) -> tuple[np.ndarray, None]:
        return np.array([int(rng.random() < 0.5) for rng in rngs]), None

    together = played(world, policy, [3, 4, 5])
    alone = [played(world, policy, [seed])[0] for seed in (3, 4, 5)]
    assert together == alone and len({episode.steps for episode in together}) > 1
    assert all(episode.gained == episode.steps for episode in together)


def test_moments_are_the_same_each_time_and_lie_in_the_space() -> None:
    world = World.of("CartPole-v1", Show())
    one, two = moments(world, [1, 2, 3], 0.9), moments(world, [1, 2, 3], 0.9)
    for name, column in one.items():
        np.testing.assert_array_equal(column, two[name])
    assert np.asarray(one["observation"]).shape == (3, 4) and (np.asarray(one["return"]) >= 1).all()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Raising", "step 3 of an episode with seed 7: step raised RuntimeError: the sky fell"),
        ("NotANumber", "step 3 of an episode with seed 7: observation: expected finite numbers; observation is nan"),
        ("Infinite", "step 1 of an episode with seed 7: expected a finite reward; got inf"),
        ("Wider", "step 1 of an episode with seed 7: observation: expected (1,) numbers; got (2,)"),
    ],
)
def test_faults_of_an_environment_are_named_with_their_step(file: Path, name: str, said: str) -> None:
    several = OneByOne(counting(file, name), 1)
    several.reset([7])
    with pytest.raises(LaminaError) as told:
        for _ in range(4):
            several.step(np.array([0]))
    assert said in str(told.value) and str(told.value).startswith(f"{file}:{name}: ")


def test_a_fault_is_named_by_the_seed_of_its_own_episode(file: Path) -> None:
    several = OneByOne(counting(file, "NotANumber"), 3)
    several.reset([5, 6, 7])
    several.step(np.zeros(2, np.int64), [1, 2])
    several.step(np.zeros(2, np.int64), [1, 2])
    with pytest.raises(LaminaError, match="step 3 of an episode with seed 7: observation"):
        several.step(np.zeros(1, np.int64), [2])


def test_environments_that_are_not_there_are_told(file: Path, tmp_path: Path) -> None:
    for data, said in (
        ("CartPole-v9", "expected the id of an environment"),
        ("Nothing-v0", "expected the id of an environment"),
        (f"{tmp_path}/none.py:Env", "expected a Python file"),
        (f"{file}:Nobody", "expected a class Nobody"),
    ):
        with pytest.raises(LaminaError, match=said):
            world_of(Source(data=data), Show(), "CartPole-v1")
    (tmp_path / "broken.py").write_text("import nothing_at_all")
    with pytest.raises(LaminaError, match=r"broken\.py could not be run: ModuleNotFoundError"):
        world_of(Source(data=f"{tmp_path}/broken.py:Env"), Show(), "CartPole-v1")
    (tmp_path / "no_env.py").write_text("class Env:\n    pass")
    with pytest.raises(LaminaError, match=r"to be a gymnasium\.Env; got Env"):
        world_of(Source(data=f"{tmp_path}/no_env.py:Env"), Show(), "CartPole-v1")


def test_a_run_names_no_code_to_run(tmp_path: Path) -> None:
    """What stands in run.json may come from a stranger; what a person has named since the program began may run."""
    (tmp_path / "trap.py").write_text(COUNTING + f"\nopen({str(tmp_path / 'sprung')!r}, 'w')\n")
    name = f"{tmp_path}/trap.py:Counting"
    for data in (name, "trap:Counting", "trap:Counting-v0"):
        with pytest.raises(LaminaError, match="which a run never says by itself to run"):
            world_of(Source(data=Stored(data)), Show(), "CartPole-v1")
    assert not (tmp_path / "sprung").exists()
    world = world_of(Source(data=name), Show(), "CartPole-v1")
    assert (tmp_path / "sprung").exists()
    assert world_of(Source(data=Stored(world.environment)), Show(), "CartPole-v1") == world


def test_nested_spaces_become_one_row_of_named_numbers() -> None:
    space = spaces.Dict({
        "at": spaces.Box(-1, 1, (2, 2), np.float32), "door": spaces.Discrete(3, start=1), "deep": spaces.Tuple([spaces.MultiBinary(2)]),
    })  # fmt: skip
    reader, (low, high) = reader_of(space)
    assert reader.shape == (9,)
    value = space.sample()
    (row,) = reader.encode({"observation": [value]})["observation"]
    flat = gymnasium.spaces.flatten(
        spaces.Dict({"at": space["at"], "deep": space["deep"]}), {"at": value["at"], "deep": value["deep"]}
    )
    assert sorted(row.tolist()) == sorted([*flat.tolist(), *np.eye(3)[value["door"] - 1].tolist()])
    door = [i for i, name in enumerate(reader.names) if name.startswith("door")]
    assert row[door].argmax() == value["door"] - 1
    assert len(low) == len(high) == 9 and low[reader.names.index("at[0]")] == -1
    for broken, said in (({"door": 1}, "expected the key"), ({**value, "door": 0}, "expected a whole number from 1 to 3")):
        with pytest.raises(LaminaError, match=said):
            reader.encode({"observation": [value, broken]})


def test_worlds_are_remembered_as_json() -> None:
    import json

    for name in ("CartPole-v1", "Pendulum-v1", "FrozenLake-v1"):
        world = World.of(name, Show())
        assert World.from_state(json.loads(json.dumps(world.state(), allow_nan=False))) == world


def test_settings_that_say_nothing_make_no_other_world() -> None:
    """What a run learned from stays what it was when there were fewer settings; a choice makes another world of it."""
    import json

    from lamina.data.play import random_play

    world = World.of("CartPole-v1", Show())
    assert world.identity()["show"] == {"sticky": None, "frame_skip": 4, "frame_stack": 4, "side": 84, "time_limit": None}
    assert set(world.identity()["reader"]) == {"shape", "parts", "names", "choices"}
    free = World.of("CartPole-v1", Show(masks=False))
    assert random_play(world, Source(), 2, 0.9).fingerprint != random_play(free, Source(), 2, 0.9).fingerprint
    assert json.loads(json.dumps(world.identity()))["environment"] == "CartPole-v1"


def test_actions_are_told_in_the_environments_own_numbers() -> None:
    assert actions_of(spaces.Discrete(3, start=-1)).raw(np.array([0, 2])).tolist() == [-1, 1]
    several = actions_of(spaces.MultiDiscrete([3, 2]))
    assert several.raw(np.array([[2, 1]])).tolist() == [[2, 1]] and several.choices == 5 and several.width == 2
    numbers = actions_of(spaces.Box(np.array([-1.0, 0.0], np.float32), np.array([1.0, np.inf], np.float32)))
    assert numbers.raw(np.array([[5.0, 5.0]])).tolist() == [[1.0, 5.0]]
    with pytest.raises(LaminaError, match="expected an action space of"):
        actions_of(spaces.Text(3))


def test_random_actions_are_allowed_ones() -> None:
    world = World.of("CartPole-v1", Show())
    rng = np.random.default_rng(0)
    mask = np.array([[0, 1]], np.uint8)
    assert {random_action(world, rng, mask, 0) for _ in range(20)} == {1}


MASKING = '''
import gymnasium
import numpy as np
from gymnasium import spaces


class Telling(gymnasium.Env):
    """`info` says which of 3 actions is possible; another one is a fault."""

    observation_space = spaces.Discrete(3)
    action_space = spaces.Discrete(3)

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self._next()

    def _next(self):
        self.shown = int(self.np_random.integers(3))
        return self.shown, {"action_mask": self._mask()}

    def _mask(self):
        return np.eye(3, dtype=np.int8)[self.shown]

    def step(self, action):
        if action != self.shown:
            raise ValueError("a forbidden action was taken")
        self.steps += 1
        seen, info = self._next()
        return seen, 1.0, self.steps >= 5, False, info


class TooLong(Telling):
    def _mask(self):
        return np.ones(4, np.int8)


class AllForbidden(Telling):
    def _mask(self):
        return super()._mask() * (self.steps != 2)


class NoneAtTheEnd(Telling):
    def _mask(self):
        return super()._mask() * (self.steps < 5)


class SilentLater(Telling):
    def step(self, action):
        *told, info = super().step(action)
        return *told, info if self.steps < 3 else {}


class SilentAtTheEnd(Telling):
    def step(self, action):
        *told, info = super().step(action)
        return *told, info if self.steps < 5 else {}


class Numbers(Telling):
    action_space = spaces.Box(-1, 1, (3,), np.float32)


class Unready(Telling):
    def reset(self, seed=None, options=None):
        raise RuntimeError("not today")
'''


@pytest.fixture(scope="module")
def masking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("masks") / "masking.py"
    path.write_text(MASKING)
    return path


def allowed(arrays: Any, rngs: list[np.random.Generator]) -> tuple[np.ndarray, None]:
    masks = arrays["action_mask"]
    return np.array([int(rng.choice(np.flatnonzero(mask))) for rng, mask in zip(rngs, masks, strict=True)]), None


@pytest.mark.parametrize("name", ["Telling", "NoneAtTheEnd", "SilentAtTheEnd"])
def test_a_mask_beside_the_observation_is_heeded(masking: Path, name: str) -> None:
    """At an end nothing is possible, and nothing has to be said of it."""
    world = counting(masking, name)
    assert world.reader.asks == ("observation", "action_mask") and world.reader.choices == 3
    assert [spec.name for spec in world.inputs] == ["observation", "action_mask"]
    assert World.from_state(world.state()) == world
    assert [(e.gained, e.steps) for e in played(world, allowed, [1, 2])] == [(5, 5), (5, 5)]
    assert np.asarray(moments(world, [1, 2], 0.9)["action_mask"]).sum() == 2


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("TooLong", "step 0 of an episode with seed 7: action_mask: expected 3 of 0 and 1, one of them 1; got [1 1 1 1]"),
        ("AllForbidden", "step 2 of an episode with seed 7: action_mask: expected 3 of 0 and 1, one of them 1; got [0 0 0]"),
        ("SilentLater", "step 3 of an episode with seed 7: expected an action_mask of 3 as at first; got none"),
    ],
)
def test_masks_that_do_not_fit_are_named_with_their_step(masking: Path, name: str, said: str) -> None:
    with pytest.raises(LaminaError) as told:
        played(counting(masking, name), allowed, [7])
    assert said in str(told.value)


def test_masks_are_looked_for_where_there_are_choices_and_they_are_wanted(masking: Path) -> None:
    assert not counting(masking, "Numbers").reader.choices
    free = world_of(Source(data=f"{masking}:TooLong"), Show(masks=False), "CartPole-v1")
    assert not free.reader.choices and free.reader.asks == ("observation",)
    with pytest.raises(LaminaError, match="reset with seed 0 raised RuntimeError: not today"):
        counting(masking, "Unready")


def test_taxi_says_what_is_possible() -> None:
    taxi = "Taxi-v4" if "Taxi-v4" in gymnasium.registry else "Taxi-v3"
    world = World.of(taxi, Show())
    seen = OneByOne(world, 1).reset([3])
    assert seen.mask_NK is not None and seen.mask_NK.shape == (1, 6) and seen.mask_NK.any()
    env = gymnasium.make(taxi)
    _, info = env.reset(seed=3)
    np.testing.assert_array_equal(seen.mask_NK[0], info["action_mask"])
