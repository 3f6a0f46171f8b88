"""Agents learn the smallest worlds that can be solved, by each option; with a fault planted they do not."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lamina
from lamina.data import rollouts
from lamina.data.source import Source
from lamina.errors import LaminaError
from lamina.nn.distributions import distribution
from lamina.run import Run
from lamina.tasks.dqn import DQN as DQNTask
from lamina.tasks.ppo import PPO as PPOTask
from lamina.train.loop import Learner

WORLDS = '''
"""Worlds that are solved in seconds. What is seen says what to do."""

import gymnasium
import numpy as np
from gymnasium import spaces


class Same(gymnasium.Env):
    """Do what is shown: one of 3. A reward of 1 each time; 10 steps."""

    observation_space = spaces.Discrete(3)
    action_space = spaces.Discrete(3)

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self._next(), {}

    def _next(self):
        self.shown = int(self.np_random.integers(3))
        return self.shown

    def _right(self, action):
        return float(action == self.shown)

    def step(self, action):
        reward, self.steps = self._right(action), self.steps + 1
        return self._next(), reward, self.steps >= 10, False, {}


class Several(Same):
    """Say what is shown, and its remainder by 2."""

    action_space = spaces.MultiDiscrete([3, 2])

    def _right(self, action):
        return 0.5 * float(action[0] == self.shown) + 0.5 * float(action[1] == self.shown % 2)


class Number(Same):
    """Say the number that is shown: half of the rest is lost with the distance."""

    observation_space = spaces.Box(-1, 1, (1,), np.float32)
    action_space = spaces.Box(-1, 1, (1,), np.float32)

    def _next(self):
        self.shown = float(self.np_random.uniform(-1, 1))
        return np.array([self.shown], np.float32)

    def _right(self, action):
        return 1 - min(abs(float(action[0]) - self.shown), 1.0)


class Masked(Same):
    """Two of three actions are forbidden; a forbidden one is a fault."""

    observation_space = spaces.Dict({"nothing": spaces.Discrete(2), "action_mask": spaces.MultiBinary(3)})

    def _next(self):
        self.shown = int(self.np_random.integers(3))
        return {"nothing": 0, "action_mask": np.eye(3, dtype=np.int8)[self.shown]}

    def step(self, action):
        if action != self.shown:
            raise ValueError("a forbidden action was taken")
        return super().step(action)


class Recall(gymnasium.Env):
    """What is shown at first is to be said at the end; one answer is forbidden, another one each time, and never the right one."""

    observation_space = spaces.Dict({"shown": spaces.Discrete(4), "action_mask": spaces.MultiBinary(3)})
    action_space = spaces.Discrete(3)

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.steps, self.shown = 0, int(self.np_random.integers(3))
        return self._next(), {}

    def _next(self):
        self.forbidden = (self.shown + int(self.np_random.integers(1, 3))) % 3
        allowed = np.ones(3, np.int8)
        allowed[self.forbidden] = 0
        return {"shown": self.shown if self.steps == 0 else 3, "action_mask": allowed}

    def step(self, action):
        if action == self.forbidden:
            raise ValueError("a forbidden action was taken")
        self.steps += 1
        over = self.steps == 5
        return self._next(), float(over and action == self.shown), over, False, {}


class Beside(Same):
    """As Masked, and `info` says so."""

    def reset(self, seed=None, options=None):
        seen, _ = super().reset(seed, options)
        return seen, {"action_mask": np.eye(3, dtype=np.int8)[self.shown]}

    def step(self, action):
        if action != self.shown:
            raise ValueError("a forbidden action was taken")
        *told, _ = super().step(action)
        return *told, {"action_mask": np.eye(3, dtype=np.int8)[self.shown]}


class Wait(gymnasium.Env):
    """Action 1 takes 1 and ends; action 0 gives 0.3 and goes on, and a limit cuts after 4: waiting is worth more only to who
    knows that a cut is no end."""

    observation_space = spaces.Box(0, 1, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.steps += 1
        if action == 1:
            return np.zeros(1, np.float32), 1.5, True, False, {}
        return np.zeros(1, np.float32), 0.3, False, self.steps >= 4, {}
'''


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("worlds") / "small.py"
    path.write_text(WORLDS)
    return path


def learned(task: str, data: str, folder: Path, **fields: Any) -> Run:
    common: dict[str, Any] = {
        "quiet": True, "threads": 1, "tensorboard": False, "device": "cpu", "precision": "float32", "episodes": 20, "evaluations": 1, "seed": 0,
    }  # fmt: skip
    return lamina.train(task, data, out=str(folder / "run"), **common, **fields)


def gained(run: Run) -> float:
    return run.info["metrics"]["return"]["value"]


PPO = {"timesteps": 8000, "envs": 8, "rollout": 32, "update_epochs": 6, "lr": 3e-3, "batch_size": 64, "gamma": 0.5}


@pytest.mark.parametrize(("name", "least", "more"), [
    ("Same", 9.9, {}), ("Several", 9.5, {}), ("Number", 9.5, {"entropy": 0.0, "timesteps": 48_000}),
])  # fmt: skip
def test_a_policy_learns_each_kind_of_action(name: str, least: float, more: dict[str, Any], file: Path, tmp_path: Path) -> None:
    assert gained(learned("ppo", f"{file}:{name}", tmp_path, **{**PPO, **more})) >= least


@pytest.mark.parametrize("name", ["Masked", "Beside"])
def test_a_policy_never_takes_what_is_forbidden(name: str, file: Path, tmp_path: Path) -> None:
    assert gained(learned("ppo", f"{file}:{name}", tmp_path, **{**PPO, "timesteps": 2000})) == 10


@pytest.mark.parametrize("task", ["ppo", "dqn"])
def test_without_masks_what_is_forbidden_is_taken(task: str, file: Path, tmp_path: Path) -> None:
    from lamina.errors import LaminaError

    with pytest.raises(LaminaError, match="a forbidden action was taken"):
        learned(task, f"{file}:Beside", tmp_path, timesteps=512, masks=False)


def test_whoever_asks_says_what_is_possible(file: Path, tmp_path: Path) -> None:
    from lamina.errors import LaminaError

    run = learned("ppo", f"{file}:Beside", tmp_path, timesteps=64, envs=2, rollout=32)
    answers = run.predict([{"observation": 0, "action_mask": row} for row in np.eye(3, dtype=int).tolist()])
    assert [answer["action"] for answer in answers] == [0, 1, 2]
    with pytest.raises(LaminaError, match="missing: action_mask"):
        run.predict([{"observation": 0}])


def test_a_policy_with_an_lstm_remembers_and_keeps_to_what_is_allowed(file: Path, tmp_path: Path) -> None:
    """Who has forgotten what was shown has one of two allowed answers: 0.5."""
    settings = {**PPO, "gamma": 0.9, "timesteps": 16_000, "envs": 16, "scale_rewards": False, "recurrent": 16, "sequence": 8}
    assert gained(learned("ppo", f"{file}:Recall", tmp_path, **settings)) >= 0.95


def test_who_forgets_between_episodes_only(file: Path, tmp_path: Path) -> None:
    """Answers carry what was kept; sent back, it is used; a row without it begins an episode."""
    run = learned("ppo", f"{file}:Recall", tmp_path, **{**PPO, "timesteps": 2000}, recurrent=4, sequence=8)
    asked = {"observation": {"shown": 1, "action_mask": [1, 1, 1]}}
    first, again = lamina.predict(run, [asked, asked])
    assert len(first["state"]) == 8 and first["state"] == again["state"]
    (later,) = lamina.predict(run, [{**asked, "state": first["state"]}])
    assert later["state"] != first["state"]
    with pytest.raises(LaminaError, match="row 1, state: expected 8 finite numbers"):
        list(lamina.predict(run, [{**asked, "state": [0.0]}]))


@pytest.mark.parametrize("recurrent", [0, 4])
def test_a_policy_may_have_no_hidden_layer(recurrent: int) -> None:
    task = PPOTask(depth=0, recurrent=recurrent)
    known = task.prepare(task.read(Source("CartPole-v1")))
    state = [torch.zeros(3, 2 * recurrent)] if recurrent else []
    assert known.model()(torch.zeros(3, 4), *state)["logits"].shape == (3, 2)


def test_stretches_of_steps_stand_in_the_order_of_time() -> None:
    """Each state that is learned from is the one that the steps before it lead to."""
    task = PPOTask(envs=3, rollout=32, recurrent=4, sequence=8)
    data = task.read(Source("CartPole-v1"))
    known = task.prepare(data)
    model = known.model()
    batch = next(known.stream(model, data.train, 48, 0, lambda: 0.0))
    with torch.no_grad():
        whole = known.outputs(model, batch)
        alone = model(batch["observation"], batch["state"])
    assert isinstance(whole, dict)
    for name in ("logits", "value", "next_state"):
        torch.testing.assert_close(whole[name], alone[name], atol=1e-5, rtol=1e-4)
    assert batch["fresh"].any() and not batch["state"][batch["fresh"] == 1].any() and batch["state"].any()


def test_what_is_played_meanwhile_is_played_by_the_policy_of_one_update_ago() -> None:
    """Whatever the thread is given time for: the log probabilities are those of weights that stood still."""
    task = PPOTask(envs=4, rollout=8, update_epochs=1, overlap=True, scale_observations=False)
    data = task.read(Source("CartPole-v1"))
    known = task.prepare(data)
    model = known.model()
    stream = known.stream(model, data.train, 32, 0, lambda: 0.0)
    acts, behind, now = distribution("discrete", [2]), [], copy.deepcopy(model)
    for _ in range(6):
        batch = next(stream)
        behind.append(now)
        by = now if len(behind) < 3 else behind[-2]  # two rollouts are played at once, while graphs are made
        with torch.no_grad():
            said = acts.log_probability(by(batch["observation"]), batch["action"])
        torch.testing.assert_close(said, batch["log_probability"], atol=1e-5, rtol=1e-4)
        with torch.no_grad():
            for weight in model.parameters():
                weight.mul_(1.1)
        now = copy.deepcopy(model)
        stream.after_step()


def test_an_agent_that_plays_while_it_learns_learns_too(file: Path, tmp_path: Path) -> None:
    assert gained(learned("ppo", f"{file}:Same", tmp_path, **PPO, overlap=True)) >= 9.5


def test_random_actions_last_as_they_are_asked_to(file: Path, tmp_path: Path) -> None:
    """Of two actions, the next is the same one in half of the steps, and with long ones far more often."""
    shares = []
    for lasting in (0.0, 2.0):
        task = DQNTask(envs=4, warm_up=4000, lasting=lasting)
        data = task.read(Source("CartPole-v1"))
        known = task.prepare(data)
        stream: Any = known.stream(known.model(), data.train, 8, 0, lambda: 0.0)
        next(stream)
        replay = stream.replay
        action, follows = replay.action[: replay.written], ~replay.cut[: replay.written - 1] & replay.heeded[: replay.written - 1]
        shares.append(float((action[1:] == action[:-1])[follows].mean()))
    assert 0.45 < shares[0] < 0.55 and shares[1] > 0.75
    learned("dqn", f"{file}:Masked", tmp_path, timesteps=1200, envs=4, warm_up=600, lasting=2.0)  # raises at what is forbidden


def test_advantages_of_the_wrong_sign_teach_the_worst(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = rollouts.generalized_advantages
    monkeypatch.setattr(rollouts, "generalized_advantages", lambda *given: -right(*given))
    assert gained(learned("ppo", f"{file}:Same", tmp_path, **PPO)) < 2


def test_a_cut_is_no_end(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """0.3 for ever is worth 3 at a discount of 0.9, and 4 times 0.3 less than 1.5: who takes a cut for an end does not wait."""
    settings = {**PPO, "gamma": 0.9, "timesteps": 12_000, "scale_rewards": False}
    assert gained(learned("ppo", f"{file}:Wait", tmp_path / "a", **settings)) == pytest.approx(1.2)
    right = rollouts.generalized_advantages

    def wrong(reward: Any, value: Any, terminal: Any, cut: Any, gamma: float, lam: float) -> np.ndarray:
        return right(reward, value, cut, cut, gamma, lam)

    monkeypatch.setattr(rollouts, "generalized_advantages", wrong)
    assert gained(learned("ppo", f"{file}:Wait", tmp_path / "b", **settings)) == pytest.approx(1.5)


DQN = {"timesteps": 2000, "warm_up": 200, "gamma": 0.5, "steps_per_update": 2, "target_every": 50, "lr": 2e-3, "exploring": 0.5}
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {"double": False}, "double": {}, "dueling": {"dueling": True}, "n-step": {"n_steps": 3}, "noisy": {"noisy": True},
    "prioritized": {"priority": 0.6}, "quantile": {"distribution": "quantile", "atoms": 11},
    "categorical": {"distribution": "categorical", "least": 0.0, "most": 4.0, "atoms": 21},
    "rainbow": {"dueling": True, "n_steps": 2, "noisy": True, "priority": 0.5, "distribution": "categorical", "least": 0.0, "most": 4.0,
                "atoms": 21},
}  # fmt: skip


@pytest.mark.parametrize("option", OPTIONS)
def test_what_actions_are_worth_is_learned_by_each_option(option: str, file: Path, tmp_path: Path) -> None:
    assert gained(learned("dqn", f"{file}:Same", tmp_path, **{**DQN, **OPTIONS[option]})) >= 9.5


@pytest.mark.parametrize("name", ["Masked", "Beside"])
def test_worth_is_told_only_of_what_is_allowed(name: str, file: Path, tmp_path: Path) -> None:
    assert gained(learned("dqn", f"{file}:{name}", tmp_path, **{**DQN, "timesteps": 1000})) == 10


SMALL: dict[str, tuple[str, dict[str, Any]]] = {
    "ppo": ("ppo", {"rollout": 32, "batch_size": 64, "update_epochs": 2}),
    "recurrent": ("ppo", {"rollout": 32, "batch_size": 64, "update_epochs": 2, "recurrent": 4, "sequence": 4}),
    "overlap": ("ppo", {"rollout": 32, "batch_size": 64, "update_epochs": 2, "overlap": True}),
    "dqn": ("dqn", {"warm_up": 600, "priority": 0.5, "lasting": 2.0}),
}


@pytest.mark.parametrize("kind", SMALL)
def test_a_resumed_agent_ends_as_one_that_was_not_stopped(kind: str, tmp_path: Path) -> None:
    task, settings = SMALL[kind]
    small: dict[str, Any] = {"timesteps": 1000, "envs": 4, **settings}
    whole = learned(task, "CartPole-v1", tmp_path / "whole", **small)
    stopped = {"count": 0}
    step = Learner.step

    def counting(self: Any, number: int, progress: float) -> tuple[float, float]:
        stopped["count"] += 1
        if stopped["count"] == 12:
            raise LaminaError("stopped here")
        return step(self, number, progress)

    Learner.step = counting  # type: ignore[method-assign]
    try:
        with pytest.raises(LaminaError, match="stopped here"):
            learned(task, "CartPole-v1", tmp_path / "parts", checkpoint_steps=7, **small)
    finally:
        Learner.step = step  # type: ignore[method-assign]
    resumed = lamina.train(task, resume=str(tmp_path / "parts" / "run"))
    one, two = whole.model().state_dict(), resumed.model().state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert gained(resumed) == gained(whole)


@pytest.mark.parametrize("task", ["ppo", "dqn"])
def test_bad_settings_and_worlds_are_told_in_a_line(task: str, tmp_path: Path) -> None:

    for data, fields, said in (
        ("CartPole-v7", {}, "expected the id of an environment"),
        ("CartPole-v1", {"gamma": 1.5}, "gamma"),
        ("CartPole-v1", {"envs": 0}, "envs"),
    ):
        with pytest.raises(LaminaError, match=said):
            learned(task, data, tmp_path, **fields)
    if task == "dqn":
        with pytest.raises(LaminaError, match="try ppo"):
            learned(task, "Pendulum-v1", tmp_path)


PLAY = """
import sys

sys.modules["torch"] = None  # whoever imports it, fails
sys.path.insert(0, sys.argv[1])
import gymnasium
from run import Model

model, env = Model(), gymnasium.make("CartPole-v1")
seen, _ = env.reset(seed=int(sys.argv[2]))
gained, over, answer = 0, False, {}
while not over:
    (answer,) = model.answers([{"observation": seen.tolist(), "state": answer.get("state")}])
    seen, reward, terminated, truncated, _ = env.step(answer["action"])
    gained, over = gained + reward, terminated or truncated
print(gained)
"""


@pytest.mark.parametrize("recurrent", [0, 4])
def test_an_exported_policy_plays_the_same_episode_without_torch(recurrent: int, tmp_path: Path) -> None:
    import subprocess
    import sys

    run = learned("ppo", "CartPole-v1", tmp_path, timesteps=2000, envs=4, rollout=64, recurrent=recurrent)
    lamina.export(run, out=str(tmp_path / "exported"), device="cpu")
    seed = int(run.data().test["seed"][0])
    played = subprocess.run(
        [sys.executable, "-c", PLAY, str(tmp_path / "exported"), str(seed)], capture_output=True, text=True, check=True
    )
    _, said = run.task.evaluate(run.forward("cpu", "float32"), run.data().test)
    assert float(played.stdout) == said["return"][0] > 10
