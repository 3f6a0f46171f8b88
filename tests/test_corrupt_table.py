"""Six corruptions of tables: nested in severity, blind to what they do not concern, and degenerate columns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lamina.errors import LaminaError
from lamina.modalities.corrupt_table import KINDS, STRENGTHS, UNITS, corrupt, plain, spread

NAMES = ("height", "weight", "colour")
N = 400


@pytest.fixture
def table() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    height = rng.normal(170, 10, N)
    height[::50] = np.nan
    colour = rng.choice(["red", "green", "blue"], N).tolist()
    colour[3] = None
    return {"height": height, "weight": rng.integers(40, 120, N), "colour": colour, "label": ["a", "b"] * (N // 2)}


def changed(before: Any, after: Any) -> np.ndarray:
    """(N,) cells that differ; a missing cell equals a missing one."""
    before = plain(before)
    if before.dtype == object:
        return np.array([a is not b and a != b for a, b in zip(before, after, strict=True)])
    return ~((before == after) | (np.isnan(before) & np.isnan(after)))


@pytest.mark.parametrize("kind", KINDS)
def test_every_severity_hits_what_weaker_ones_hit_and_more(kind: str, table: dict[str, Any]) -> None:
    hit_before = np.zeros(N, bool)
    counts = []
    for severity in range(1, 6):
        made = corrupt(table, NAMES, kind, severity)
        assert made is not None and set(made) == set(NAMES), "answers are never touched"
        hit = np.stack([changed(table[name], made[name]) for name in NAMES]).any(0)
        if kind != "permuted_columns":
            assert not (hit_before & ~hit).any()
        hit_before = hit
        counts.append(int(hit.sum()))
    assert counts == sorted(counts) and counts[0] > 0
    if kind not in ("gaussian_noise", "shifted_mean", "permuted_columns"):
        assert counts[4] > counts[0]


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same(kind: str, table: dict[str, Any]) -> None:
    one, same, *others = (corrupt(table, NAMES, kind, 4, seed) for seed in (1, 1, 2, 3, 4, 5, 6, 7))
    assert one is not None and same is not None
    assert all(not changed(one[name], same[name]).any() for name in NAMES)
    assert any(other is not None and changed(one[name], other[name]).any() for name in NAMES for other in others)


def test_noise_is_not_that_of_data_made_with_the_same_seed() -> None:
    """(0, 0) and 0 seed the same stream in numpy: noise that repeats the data only scales it."""
    data = {"x": np.random.default_rng(0).normal(size=500)}
    made = corrupt(data, ["x"], "gaussian_noise", 5)
    assert made is not None and abs(np.corrcoef(made["x"] - data["x"], data["x"])[0, 1]) < 0.15


@pytest.mark.parametrize("severity", [1, 5])
def test_amounts_are_what_they_say(severity: int, table: dict[str, Any]) -> None:
    amount = STRENGTHS["gaussian_noise"][severity - 1]
    noisy = corrupt(table, NAMES, "gaussian_noise", severity)
    assert noisy is not None
    assert np.nanstd(noisy["height"] - table["height"]) == pytest.approx(amount * spread(table["height"]), rel=0.1)
    assert not changed(table["colour"], noisy["colour"]).any()
    shifted = corrupt(table, NAMES, "shifted_mean", severity)
    assert shifted is not None
    moves = shifted["height"] - table["height"]
    assert np.nanstd(moves) < 1e-9 and abs(np.nanmean(moves)) == pytest.approx(
        STRENGTHS["shifted_mean"][severity - 1] * spread(table["height"])
    )
    gone = corrupt(table, NAMES, "missing_values", severity)
    assert gone is not None
    share = np.mean([gone_cell is None for gone_cell in gone["colour"]])
    assert share == pytest.approx(STRENGTHS["missing_values"][severity - 1], abs=0.06) and np.isnan(gone["weight"]).any()
    scaled = corrupt(table, NAMES, "scale_errors", severity)
    assert scaled is not None
    ratio = scaled["weight"] / table["weight"]
    known = np.array([1.0, *UNITS, *(1 / unit for unit in UNITS)])
    assert all(np.isclose(known, r).any() for r in ratio)
    assert np.mean(ratio != 1) == pytest.approx(STRENGTHS["scale_errors"][severity - 1], abs=0.07)


def test_swapped_categories_are_others_of_their_column(table: dict[str, Any]) -> None:
    made = corrupt(table, NAMES, "swapped_categories", 5)
    assert made is not None
    hit = changed(table["colour"], made["colour"])
    assert 0.4 < hit.mean() < 0.6 and set(made["colour"][hit]) == {"red", "green", "blue"}
    assert made["colour"][3] is None, "a missing cell stays missing"


def test_permuted_columns_keep_their_cells(table: dict[str, Any]) -> None:
    made = corrupt(table, NAMES, "permuted_columns", 5)
    assert made is not None
    hit = [name for name in NAMES if changed(table[name], made[name]).any()]
    assert len(hit) == 2, "half of three columns, rounded"
    for name in NAMES:
        assert sorted(map(str, plain(table[name]))) == sorted(map(str, made[name]))


def test_what_has_nothing_to_change_says_so() -> None:
    words = {"colour": ["red", "blue", None]}
    assert corrupt(words, ["colour"], "gaussian_noise", 3) is None
    assert corrupt(words, ["colour"], "scale_errors", 3) is None
    numbers = {"x": np.arange(5.0)}
    assert corrupt(numbers, ["x"], "swapped_categories", 3) is None
    assert corrupt({"x": np.ones(5)}, ["x"], "gaussian_noise", 5) is None, "a constant column has no spread"
    assert corrupt({"x": np.full(5, np.nan)}, ["x"], "shifted_mean", 5) is None
    assert corrupt({"c": ["one"] * 5}, ["c"], "swapped_categories", 5) is None, "one category has no other"


def test_mistakes_are_named() -> None:
    with pytest.raises(LaminaError, match="expected one of gaussian_noise"):
        corrupt({"x": [1.0]}, ["x"], "rust", 1)
    with pytest.raises(LaminaError, match="from 1 to 5"):
        corrupt({"x": [1.0]}, ["x"], "missing_values", 6)
