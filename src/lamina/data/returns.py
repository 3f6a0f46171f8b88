"""What was worth how much: returns and advantages of what was played. numpy alone.

Shapes: T steps, N worlds side by side.
"""

from __future__ import annotations

import numpy as np


def generalized_advantages(
    reward_TN: np.ndarray,
    value_TN: np.ndarray,
    terminal_TN: np.ndarray,
    cut_TN: np.ndarray,
    gamma: float,
    gae_lambda: float,
) -> np.ndarray:
    """Advantages (T, N): Schulman et al. 2016, "High-Dimensional Continuous Control Using Generalized Advantage Estimation",
    equation 16, summed backwards.

    value_TN has one row more than the rest, (T + 1, N): what the judge says of the observation after the last step. terminal_TN:
    nothing comes after this step, so the value of what follows counts for nothing. cut_TN: the episode is over, terminal or not:
    later steps belong to another one. Where it was cut and is not terminal, the value of its last observation stands for all
    that would have come (Pardo et al. 2018, equation 5).
    """
    after_TN = value_TN[1:] * ~terminal_TN
    surprise_TN = reward_TN + gamma * after_TN - value_TN[:-1]
    keep_TN = gamma * gae_lambda * ~cut_TN
    advantage_TN = np.empty_like(surprise_TN)
    running_N = np.zeros(reward_TN.shape[1])
    for t in range(len(reward_TN) - 1, -1, -1):
        running_N = surprise_TN[t] + keep_TN[t] * running_N
        advantage_TN[t] = running_N
    return advantage_TN


class RewardScale:
    """Rewards over the deviation of the discounted return so far (Engstrom et al. 2020, section 3, "Reward scaling").

    Its whole state is four numbers and what each world has gathered.
    """

    def __init__(self, count: int, gamma: float) -> None:
        self.gamma = gamma
        self.gathered_N = np.zeros(count)
        self.mean, self.variance, self.seen = 0.0, 1.0, 0.0

    def __call__(self, reward_N: np.ndarray, over_N: np.ndarray) -> np.ndarray:
        """The rewards of one step, scaled; `over_N`: whose episode ended with it."""
        self.gathered_N = self.gathered_N * self.gamma + reward_N
        count, mean, variance = len(reward_N), float(self.gathered_N.mean()), float(self.gathered_N.var())
        total, away = self.seen + count, mean - self.mean
        spread = self.variance * self.seen + variance * count + away**2 * self.seen * count / total
        self.mean, self.variance, self.seen = self.mean + away * count / total, spread / total, total
        self.gathered_N[over_N] = 0.0
        return np.clip(reward_N / np.sqrt(self.variance + 1e-8), -10, 10)

    def state(self) -> list[float]:
        return [self.mean, self.variance, self.seen, *self.gathered_N.tolist()]

    def load(self, state: list[float]) -> None:
        self.mean, self.variance, self.seen, *gathered = state
        self.gathered_N = np.array(gathered)
