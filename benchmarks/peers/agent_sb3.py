"""Stable-Baselines3 on CartPole and Pong, by the hyperparameters of RL Baselines3 Zoo."""

import json
import time

BEGAN = time.perf_counter()  # libraries are opened, and networks made, as part of the work

import torch  # noqa: E402
from stable_baselines3 import DQN, PPO  # noqa: E402
from stable_baselines3.common.callbacks import BaseCallback  # noqa: E402
from stable_baselines3.common.env_util import make_atari_env, make_vec_env  # noqa: E402
from stable_baselines3.common.vec_env import VecFrameStack  # noqa: E402

from benchmarks.peers.acting import ATARI, ENV, asked  # noqa: E402


class Watching(BaseCallback):
    """When the second half began, and after how many steps; and what the last 100 episodes gained, by steps played."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps, self.at = steps, None
        self.curve = []

    def _on_rollout_end(self) -> None:
        if self.model.ep_info_buffer:
            gained = [episode["r"] for episode in self.model.ep_info_buffer]
            self.curve.append([self.num_timesteps, sum(gained) / len(gained)])

    def _on_step(self) -> bool:
        if self.at is None and self.num_timesteps >= self.steps / 2:
            self.at = self.num_timesteps, time.perf_counter()
        return True


options = asked()
torch.set_num_threads(options.threads)
if options.algorithm == "ppo":
    model = PPO(
        "MlpPolicy", make_vec_env(ENV, n_envs=8, seed=options.seed), n_steps=32, batch_size=256, n_epochs=20, gae_lambda=0.8,
        gamma=0.98, ent_coef=0.0, learning_rate=lambda left: 1e-3 * left, clip_range=0.2, device="cpu", seed=options.seed,
    )  # fmt: skip
elif options.algorithm == "atari":
    model = PPO(
        "CnnPolicy", VecFrameStack(make_atari_env(ATARI, n_envs=8, seed=options.seed), 4), n_steps=128, batch_size=256,
        n_epochs=4, ent_coef=0.01, learning_rate=lambda left: 2.5e-4 * left, clip_range=0.1, device="cpu", seed=options.seed,
    )  # fmt: skip
else:
    model = DQN(
        "MlpPolicy", make_vec_env(ENV, n_envs=1, seed=options.seed), learning_rate=2.3e-3, batch_size=64, buffer_size=100_000,
        learning_starts=1000, target_update_interval=10, train_freq=256, gradient_steps=128, exploration_fraction=0.16,
        exploration_final_eps=0.04, policy_kwargs={"net_arch": [256, 256]}, device="cpu", seed=options.seed,
    )  # fmt: skip
watching = Watching(options.steps)
model.learn(options.steps, callback=watching)
ended = time.perf_counter()
first, began = watching.at if options.warm and watching.at else (0, BEGAN)
told = {"steps": model.num_timesteps - first, "seconds": ended - began}
print(json.dumps({**told, "curve": watching.curve} if options.curve else told))
