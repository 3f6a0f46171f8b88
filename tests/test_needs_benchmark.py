"""The benchmark of learning curves: its splits, the peer's interval, and when the floor counts as kept."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))  # benchmarks/ is no part of the installed package

from benchmarks import needs as benchmark


def test_one_test_for_all_seeds_and_nested_halves() -> None:
    X, y = np.arange(100.0)[:, None], np.arange(100)
    (one, test), (two, again) = benchmark.halves(X, y, 0), benchmark.halves(X, y, 1)
    assert np.array_equal(test, again) and len(test) == 20 and not set(test) & set(one)
    assert set(one) == set(two) and not np.array_equal(one, two)


def test_both_intervals_hold_a_clean_power_law() -> None:
    rng = np.random.default_rng(0)
    points = [(n, float((2 * n**-0.6 + 0.02) * np.exp(0.02 * rng.standard_normal()))) for n in (50, 100, 200, 400, 800) * 3]
    truth = 2 * 1600**-0.6 + 0.02
    for low, high in (benchmark.least_squares(points, 1600), benchmark.ours(points, "satimage", 100_000, 1600)):
        assert low <= truth <= high and high - low < 0.5 * truth


def results(missed: int, width: float = 0.2) -> dict:
    made = {}
    for place, name in enumerate(benchmark.DATA):
        low, high = (0.5, 0.6) if place < missed else (0.1 * (1 - width / 2), 0.1 * (1 + width / 2))
        made[name] = {"errors": {}, "whole": 1000, "truth": 0.1, "lamina": [low, high], "least squares": [0.0, 0.01]}
    return made


@pytest.mark.parametrize(("missed", "width", "kept"), [(0, 0.2, True), (2, 0.2, True), (3, 0.2, False), (0, 0.6, False)])
def test_the_floor_is_four_of_five_and_half_the_error(missed: int, width: float, kept: bool) -> None:
    lines, held = benchmark.summary(results(missed, width))
    assert held is kept and f"lamina: {10 - missed} of 10 held" in lines[-2] and "0 of 10 held" in lines[-1]


def test_fewer_sets_than_all_keep_no_floor() -> None:
    assert not benchmark.summary(dict(list(results(0).items())[:9]))[1]
    assert benchmark.summary({})[1] is False
