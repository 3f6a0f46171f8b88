"""Advantages, n-step returns and projections against loops that follow the papers' equations, and faults that they must catch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.data.replay import Replay, SumTree
from lamina.data.returns import RewardScale, generalized_advantages
from lamina.data.worlds import Seen
from lamina.nn.distributions import projected, quantile_errors


def slow_advantages(reward, value, terminal, cut, gamma, lam):
    """Equation 11 of Schulman et al. 2016 as a sum, forwards: (gamma lambda)^l delta_{t+l} up to the end of the episode."""
    steps, worlds = reward.shape
    made = np.zeros((steps, worlds))
    for n in range(worlds):
        for t in range(steps):
            for k in range(t, steps):
                follows = 0.0 if terminal[k, n] else value[k + 1, n]
                made[t, n] += (gamma * lam) ** (k - t) * (reward[k, n] + gamma * follows - value[k, n])
                if cut[k, n]:
                    break
    return made


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 12), st.floats(0, 1), st.floats(0, 1))
def test_advantages_are_those_of_the_equation(seed: int, steps: int, gamma: float, lam: float) -> None:
    rng = np.random.default_rng(seed)
    reward, value = rng.normal(size=(steps, 3)), rng.normal(size=(steps + 1, 3))
    terminal = rng.random((steps, 3)) < 0.2
    cut = terminal | (rng.random((steps, 3)) < 0.2)
    made = generalized_advantages(reward, value, terminal, cut, gamma, lam)
    np.testing.assert_allclose(made, slow_advantages(reward, value, terminal, cut, gamma, lam), atol=1e-10)


def test_what_a_time_limit_cut_is_worth_what_would_have_come() -> None:
    """One reward a step for ever is worth 1 / (1 - gamma): a judge who knows it is surprised by nothing but an end."""
    gamma, steps = 0.9, 6
    worth = np.full((steps + 1, 1), 1 / (1 - gamma))
    reward, none = np.ones((steps, 1)), np.zeros((steps, 1), bool)
    last = none.copy()
    last[2] = True
    cut = generalized_advantages(reward, worth, none, last, gamma, 0.95)
    np.testing.assert_allclose(cut, 0, atol=1e-12)  # truncated: no surprise
    ended = generalized_advantages(reward, worth, last, last, gamma, 0.95)
    assert ended[2, 0] == pytest.approx(1 - 1 / (1 - gamma)) and ended[3, 0] == pytest.approx(0)


def test_rewards_are_scaled_by_the_deviation_of_what_they_add_up_to() -> None:
    rng, scale, gamma = np.random.default_rng(0), RewardScale(4, 0.9), 0.9
    gathered, seen = np.zeros(4), []
    for _ in range(50):
        reward, over = rng.normal(2, 3, 4), rng.random(4) < 0.1
        gathered = gathered * gamma + reward
        seen.append(gathered.copy())
        made = scale(reward, over)
        np.testing.assert_allclose(made, np.clip(reward / np.sqrt(np.concatenate(seen).var() + 1e-8), -10, 10), rtol=1e-6)
        gathered[over] = 0
    other = RewardScale(4, 0.9)
    other.load(scale.state())
    np.testing.assert_array_equal(other(np.ones(4), np.zeros(4, bool)), scale(np.ones(4), np.zeros(4, bool)))


def seen(value: float, reward: float = 0.0, terminated: bool = False, truncated: bool = False, fresh: bool = False) -> Seen:
    def one(x: bool) -> np.ndarray:
        return np.array([x])

    return Seen(np.array([[value]], np.float32), np.array([reward]), one(terminated), one(truncated), one(fresh))


def lived() -> Replay:
    """One world: 0 -1-> 1 -2-> 2 -3, the end; 10 -4-> 11 -5, cut; 20 -6-> 21 -7-> 22 ..."""
    replay = Replay(100, 1, (1,), np.float32)
    story = [
        (0, 1, 0, 0), (1, 2, 0, 0), (2, 3, 1, 0), (3, 0, 0, 0),
        (10, 4, 0, 0), (11, 5, 0, 1), (12, 0, 0, 0),
        (20, 6, 0, 0), (21, 7, 0, 0), (22, 8, 0, 0), (23, 9, 0, 0),
    ]  # fmt: skip
    fresh = {3, 12}
    for value, reward, terminated, truncated in story:
        after = seen(0, reward, bool(terminated), bool(truncated), value in fresh)
        replay.add(seen(value), np.zeros(1, np.int64), np.array([reward]), np.array([bool(terminated)]), after)
    return replay


def test_n_steps_stop_at_an_end_and_at_a_cut() -> None:
    replay, at = lived(), np.array([0, 1, 2, 4, 5, 7])
    worth, later, weight = replay.followed(at, np.zeros(6, np.int64), 3, 0.5)
    np.testing.assert_allclose(worth, [1 + 1 + 0.75, 2 + 1.5, 3, 4 + 2.5, 5, 6 + 3.5 + 2])
    assert replay.observation[later, 0, 0].tolist() == [3, 3, 3, 12, 12, 23]  # of a cut: what was seen last
    np.testing.assert_allclose(weight, [0, 0, 0, 0.25, 0.5, 0.125])  # an end leads nowhere, a cut to where it stood


def test_the_step_that_begins_anew_is_never_sampled() -> None:
    replay = lived()
    at, world = replay.draw(np.random.default_rng(0), 2000, 1)
    values = set(replay.observation[at, world, 0].tolist())
    assert values == {0, 1, 2, 10, 11, 20, 21, 22}  # not 3 and 12, seen at the end; not 23, whose next is not known


def test_the_oldest_is_overwritten_and_what_follows_is_its_own() -> None:
    replay = Replay(5, 1, (1,), np.float32)
    for i in range(13):
        replay.add(seen(i), np.zeros(1, np.int64), np.array([float(i)]), np.zeros(1, bool), seen(i + 1))
    at, world = replay.draw(np.random.default_rng(0), 500, 2)
    _, later, _ = replay.followed(at, world, 2, 0.9)
    before, after = replay.observation[at, 0, 0], replay.observation[later, 0, 0]
    assert set(before.tolist()) == {8, 9, 10} and (after - before == 2).all()
    other = Replay(5, 1, (1,), np.float32)
    other.load(replay.state())
    np.testing.assert_array_equal(other.observation, replay.observation)


def test_leaves_are_drawn_by_their_share() -> None:
    tree, rng = SumTree(6), np.random.default_rng(0)
    value = np.array([1.0, 0.0, 3.0, 2.0, 4.0, 0.0])
    tree.put(np.arange(6), value)
    assert tree.total == pytest.approx(10)
    counts = np.bincount(tree.find(rng.random(40_000)), minlength=6)
    np.testing.assert_allclose(counts / 40_000, value / 10, atol=0.01)
    tree.put(np.array([2, 2, 0]), np.array([5.0, 7.0, 0.0]))
    assert tree.total == pytest.approx(7 + 2 + 4)
    assert tree.find(np.array([0.0, 0.999999])).tolist() == [2, 4]


def slow_projection(atom, share, support):
    """Algorithm 1 of Bellemare et al. 2017, atom by atom."""
    made, step = np.zeros((len(atom), len(support))), support[1] - support[0]
    for row in range(len(atom)):
        for z, p in zip(atom[row], share[row], strict=True):
            place = (np.clip(z, support[0], support[-1]) - support[0]) / step
            low, high = int(np.floor(place)), int(np.ceil(place))
            if low == high:
                made[row, low] += p
            else:
                made[row, low] += p * (high - place)
                made[row, high] += p * (place - low)
    return made


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31))
def test_the_projection_is_that_of_the_algorithm(seed: int) -> None:
    rng = np.random.default_rng(seed)
    support = np.linspace(-2, 3, 6)
    atom, share = rng.normal(0, 3, (4, 6)), rng.dirichlet(np.ones(6), 4)
    atom[0] = support  # on the points themselves
    made = projected(torch.tensor(atom), torch.tensor(share), torch.tensor(support)).numpy()
    np.testing.assert_allclose(made, slow_projection(atom, share, support), atol=1e-9)
    np.testing.assert_allclose(made.sum(1), 1, atol=1e-9)


def test_quantile_errors_are_least_at_the_quantiles() -> None:
    worth = torch.linspace(0, 100, 1001, dtype=torch.float64).unsqueeze(0)
    quantiles = torch.tensor([[12.5, 37.5, 62.5, 87.5]], dtype=torch.float64)
    best = quantile_errors(quantiles, worth)
    for place in range(4):
        for away in (-3.0, 3.0):
            moved = quantiles.clone()
            moved[0, place] += away
            assert quantile_errors(moved, worth) > best
