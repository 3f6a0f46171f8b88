"""Worlds in processes of their own show what those of one process show; whatever becomes of them is told, and none is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lamina
from lamina.data.source import Source
from lamina.data.workers import Workers
from lamina.data.world import NAMED, Show, World, world_of
from lamina.data.worlds import OneByOne, Seen, worlds
from lamina.errors import LaminaError

WORLDS = '''
import os
import sys

import gymnasium
import numpy as np
from gymnasium import spaces


class Chatty(gymnasium.Env):
    """Ends by chance, is cut after 6 steps; `info` says what is possible; prints."""

    observation_space = spaces.Dict({"at": spaces.Box(-9, 9, (2,), np.float32), "door": spaces.Discrete(3)})
    action_space = spaces.MultiDiscrete([2, 3])

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self._seen(), self._info()

    def _seen(self):
        return {"at": self.np_random.normal(size=2).astype(np.float32), "door": int(self.np_random.integers(3))}

    def _info(self):
        return {"action_mask": (np.array([1, 1], np.int8), np.array([1, 0, 1], np.int8))}

    def step(self, action):
        print("step", self.steps)
        self.steps += 1
        over = bool(self.np_random.random() < 0.15)
        return self._seen(), float(action[0] + self.np_random.random()), over, self.steps >= 6, self._info()


class Film(gymnasium.Env):
    """Noise, which ends by chance."""

    chance = 0.2
    observation_space = spaces.Box(0, 255, (40, 50, 3), np.uint8)
    action_space = spaces.Discrete(2)

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        return self._seen(), {}

    def _seen(self):
        return self.np_random.integers(256, size=(40, 50, 3), dtype=np.uint8)

    def step(self, action):
        return self._seen(), 0.5, bool(self.np_random.random() < self.chance), False, {}


class Raising(Film):
    chance = 0

    def step(self, action):
        if action == 1:
            raise RuntimeError("the sky fell")
        return super().step(action)


class Dying(Film):
    chance = 0

    def step(self, action):
        if action == 1:
            os._exit(7)
        return super().step(action)


class Once(Film):
    """Cannot be made in a process that has no torch: in the one that asks, it can."""

    def __init__(self, render_mode=None):
        if "torch" not in sys.modules:
            raise RuntimeError("not here")
'''


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("workers") / "slow.py"
    path.write_text(WORLDS)
    return path


def named(file: Path, name: str) -> World:
    return world_of(Source(data=f"{file}:{name}"), Show(), "CartPole-v1")


def actions_of(world: World, steps: int, count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    if world.actions.kind == "continuous":
        return [rng.normal(size=(count, world.actions.width)).astype(np.float32) for _ in range(steps)]
    if world.actions.kind == "discrete":
        return [rng.integers(world.actions.sizes[0], size=count) for _ in range(steps)]
    return [np.stack([rng.integers(size, size=count) for size in world.actions.sizes], 1) for _ in range(steps)]


def same(one: Seen, two: Seen) -> None:
    for name, value in vars(one).items():
        other = getattr(two, name)
        assert (value is None) == (other is None), name
        if value is not None:
            assert value.dtype == other.dtype, name
            np.testing.assert_array_equal(value, other, name)


def gone(pid: int) -> bool:
    """Whether a process has ended, for whoever is not its parent too."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z"


@pytest.mark.parametrize("name", ["CartPole-v1", "Pendulum-v1", "Chatty", "Film"])
def test_workers_show_what_one_process_shows(name: str, file: Path) -> None:
    world = World.of(name, Show()) if "-v" in name else named(file, name)
    one, several = OneByOne(world, 5), Workers(world, 5, 2)
    assert [len(share) for share in several.shares] == [3, 2]
    seeds, actions = [3, 1, 4, 1, 5], actions_of(world, 60, 5)
    first = several.reset(seeds)
    kept = first.observation.copy()
    same(one.reset(seeds), first)
    for action in actions[:30]:
        same(one.step(action), several.step(action))
    np.testing.assert_array_equal(first.observation, kept)  # what was shown before is not written over
    state = several.state_dict()
    assert state == one.state_dict()
    back, forth = OneByOne(world, 5), Workers(world, 5, 3)
    back.load_state_dict(state)
    forth.load_state_dict(one.state_dict())
    for action in actions[30:]:
        seen = one.step(action)
        for other in (several, back, forth):
            same(seen, other.step(action))
    if name in ("Chatty", "Film"):
        assert sum(one.episode) > 5
    for closed in (several, forth):
        closed.close()
        assert all(process.returncode == 0 for process in closed.processes)


def test_there_are_no_more_workers_than_worlds(file: Path) -> None:
    several = worlds(named(file, "Film"), 2, workers=8)
    assert isinstance(several, Workers) and len(several.processes) == 2
    several.close()


def test_a_fault_in_a_worker_is_told_as_in_one_process(file: Path) -> None:
    world, told = named(file, "Raising"), []
    for several in (OneByOne(world, 4), Workers(world, 4, 2)):
        several.reset([5, 6, 7, 8])
        several.step(np.array([0, 0, 0, 0]))
        with pytest.raises(LaminaError) as error:
            several.step(np.array([0, 0, 1, 1]))
        told.append(str(error.value))
    assert told[0] == told[1] and "with seed 7: step raised RuntimeError: the sky fell" in told[0]
    assert isinstance(several, Workers) and all(process.returncode is not None for process in several.processes)


def test_a_worker_that_dies_is_named_with_its_seed_and_step(file: Path) -> None:
    several = Workers(named(file, "Dying"), 4, 2)
    several.reset([5, 6, 7, 8])
    several.step(np.array([0, 0, 0, 0]))
    with pytest.raises(LaminaError) as told:
        several.step(np.array([0, 0, 0, 1]))
    assert str(told.value) == (f"{file}:Dying: step 2 of an episode with seed 8: its worker process ended with status 7")
    assert all(process.returncode is not None for process in several.processes)


def test_a_worker_that_is_killed_is_told_and_takes_the_others_along(file: Path) -> None:
    several = Workers(named(file, "Film"), 4, 2)
    several.reset([5, 6, 7, 8])
    several.processes[0].send_signal(signal.SIGKILL)
    began = time.monotonic()
    with pytest.raises(LaminaError, match=r"step 0 of an episode with seed 6: its worker process ended by signal SIGKILL"):
        several.step(np.zeros(4, np.int64))
    assert time.monotonic() - began < 20
    assert all(process.returncode is not None for process in several.processes)
    with pytest.raises(LaminaError, match="workers: closed"):
        several.step(np.zeros(4, np.int64))


def test_a_world_that_workers_cannot_make_is_told(file: Path) -> None:
    import torch  # noqa: F401

    with pytest.raises(LaminaError, match="could not be made: RuntimeError: not here"):
        Workers(named(file, "Once"), 2, 2)


def test_code_that_no_person_has_named_does_not_run_in_a_worker_either(file: Path) -> None:
    world = named(file, "Film")
    NAMED.remove(world.environment)
    with pytest.raises(LaminaError, match="which a run never says by itself to run"):
        Workers(world, 2, 2)


def test_atari_has_threads_of_its_own() -> None:
    pytest.importorskip("ale_py")
    with pytest.raises(LaminaError, match="workers: expected 0"):
        worlds(World.of("ALE/Pong-v5", Show()), 2, workers=2)


LEFT = """
import os, signal, sys
from lamina.data.workers import Workers
from lamina.data.world import Show, World

several = Workers(World.of("CartPole-v1", Show()), 2, 2)
several.reset([1, 2])
print(*[process.pid for process in several.processes], flush=True)
if sys.argv[1] == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
raise KeyboardInterrupt
"""


@pytest.mark.parametrize("how", ["killed", "interrupted"])
def test_no_worker_outlives_who_began_it(how: str) -> None:
    done = subprocess.run([sys.executable, "-c", LEFT, how], capture_output=True, text=True, check=False)
    pids = [int(pid) for pid in done.stdout.split()]
    assert len(pids) == 2 and done.returncode != 0
    until = time.monotonic() + 20
    while not all(map(gone, pids)) and time.monotonic() < until:
        time.sleep(0.05)
    assert all(map(gone, pids))


@pytest.mark.parametrize("task", ["ppo", "dqn"])
def test_an_agent_is_the_same_with_workers(task: str, file: Path, tmp_path: Path) -> None:
    import torch

    small: dict[str, Any] = {"rollout": 16, "update_epochs": 2} if task == "ppo" else {"warm_up": 50}
    data = "Pendulum-v1" if task == "ppo" else "Acrobot-v1"
    made = [
        lamina.train(
            task, data, out=str(tmp_path / str(workers)), workers=workers, timesteps=200, envs=3, episodes=2, time_limit=20,
            quiet=True, threads=1, tensorboard=False, device="cpu", evaluations=1, **small,
        ).model().state_dict()
        for workers in (0, 2)
    ]  # fmt: skip
    assert all(torch.equal(made[0][name], made[1][name]) for name in made[0])
