"""Disturbances of what an agent senses and does: as strong as they say, the same each time, and felt in play."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lamina.data.play import judged, played
from lamina.data.world import Show, World
from lamina.modalities.corrupt_observation import KINDS, OF_ACTIONS, OF_SENSES, Disturbed


def column(count: int = 500) -> np.ndarray:
    return (np.random.default_rng(0).normal(size=(count, 3)) * [1, 10, 0] + [0, 5, 2]).astype(np.float32)


def generators(count: int) -> list[np.random.Generator]:
    return [np.random.default_rng(i) for i in range(count)]


@pytest.mark.parametrize("kind", OF_SENSES)
def test_more_severe_is_further_away_and_what_never_varies_stays(kind: str) -> None:
    values, away = column(2000), []
    for severity in range(1, 6):
        made = Disturbed.of(values, kind, severity, 0).seen(values, generators(2000), generators(2000))
        assert made.dtype == np.float32 and made.shape == values.shape
        np.testing.assert_allclose(made[:, 2], 2, atol=1e-6)
        away.append(np.abs(made - values).mean(0))
        again = Disturbed.of(values, kind, severity, 0).seen(values, generators(2000), generators(2000))
        np.testing.assert_array_equal(made, again)
    away = np.array(away)
    assert (np.diff(away[:, 0]) > 0).all() and (np.diff(away[:, 1]) > 0).all()
    np.testing.assert_allclose(away[2:, 1] / away[2:, 0], 10, rtol=0.25)  # in deviations of each number


def test_a_bias_lasts_and_noise_does_not() -> None:
    values = column(4)
    for kind, lasts in (("bias", True), ("noise", False)):
        disturbed, rngs = Disturbed.of(values, kind, 3, 0), generators(4)
        one, two = (disturbed.seen(values, rngs, generators(4)) for _ in range(2))
        assert np.array_equal(one, two) == lasts


@pytest.mark.parametrize("kind", OF_ACTIONS)
def test_actions_are_changed_as_often_as_it_says(kind: str) -> None:
    disturbed, count = Disturbed.of(column(), kind, 4, 0), 4000
    before, action = np.ones(count, np.int64), np.zeros(count, np.int64)
    made = disturbed.done(action, before, generators(count), lambda i: 1)
    assert made.mean() == pytest.approx(disturbed.strength, abs=0.03) and not action.any()


def test_rows_taken_from_it_are_disturbed_too() -> None:
    disturbed = Disturbed.of(column(), "noise", 5, 0)
    some = disturbed.take(np.array([3, 7]))
    assert isinstance(some, Disturbed) and len(some) == 2 and not np.array_equal(np.asarray(some), column()[[3, 7]])


def test_play_is_disturbed_all_along_and_the_same_each_time() -> None:
    world = World.of("CartPole-v1", Show())
    seeds = list(range(20))

    def balancing(arrays: Any, rngs: Any) -> tuple[np.ndarray, None]:
        """Push to where the pole falls: it stands for long, while its senses are good."""
        seen = arrays["observation"]
        return (seen[:, 2] + 0.3 * seen[:, 3] > 0).astype(np.int64), None

    first = np.random.default_rng(0).normal(size=(20, 4)) * [0.1, 0.5, 0.1, 0.6]
    clean = float(np.mean([e.gained for e in played(world, balancing, seeds)]))
    for kind in KINDS:
        columns: Any = {"seed": seeds, "observation": Disturbed.of(first, kind, 5, 0)}
        one, two = judged(world, balancing, columns), judged(world, balancing, columns)
        assert one == two
        assert np.mean(one["return"]) < 0.9 * clean, kind
