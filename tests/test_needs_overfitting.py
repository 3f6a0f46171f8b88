"""The turn of the validation loss: found where it is, not where noise wiggles."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from lamina.needs import overfitting
from lamina.needs.overfitting import History


def history(valid, train=None, every: int = 100) -> History:
    valid_E = np.asarray(valid, float)
    train_E = 2.0 * 0.8 ** np.arange(len(valid_E)) if train is None else np.asarray(train, float)
    return History(every * (1 + np.arange(len(valid_E))), valid_E, train_E)


def test_falling_is_isotonic_regression() -> None:
    rng = np.random.default_rng(0)
    for count in (1, 2, 9, 30):
        v_E = rng.standard_normal(count)
        known = IsotonicRegression(increasing=False).fit_transform(np.arange(count), v_E)
        assert np.allclose(overfitting.falling(v_E), known)


def test_a_turn_is_found_at_its_step() -> None:
    t = np.arange(16)
    rng = np.random.default_rng(1)
    valid = np.where(t < 6, 1.0 - 0.1 * t, 0.5 + 0.05 * (t - 5)) + 0.01 * rng.standard_normal(16)
    found = overfitting.turn(history(valid))
    assert found is not None and found.overfits and found.step in (500, 600, 700)
    assert found.last > 1.5 * found.least


@pytest.mark.parametrize("noise", [0.005, 0.03])
def test_a_healthy_training_is_not_accused(noise: float) -> None:
    """Falls to a plateau, with noise: at most one of fifty is accused."""
    rng = np.random.default_rng(2)
    accused = 0
    for _ in range(50):
        valid = 0.5 + 0.8 * 0.6 ** np.arange(14) + noise * rng.standard_normal(14)
        found = overfitting.turn(history(valid))
        assert found is not None
        accused += found.overfits
    assert accused <= 1


def test_a_rise_while_training_loss_rises_too_is_no_overfitting() -> None:
    """A rate that is too high spoils both."""
    v = [1.0, 0.8, 0.6, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    found = overfitting.turn(history(v, train=v))
    assert found is not None and not found.train_fell and not found.overfits


def test_training_losses_that_were_not_logged_are_looked_up_nearby() -> None:
    unknown = np.nan
    assert overfitting.train_fell(np.array([unknown, 0.6, unknown, 0.3, unknown]), 0)
    assert overfitting.train_fell(np.array([0.6, unknown, unknown, 0.3]), 2)
    assert not overfitting.train_fell(np.array([0.3, unknown, unknown, 0.6]), 1)
    assert not overfitting.train_fell(np.array([0.6, unknown, unknown, unknown]), 0)
    assert not overfitting.train_fell(np.array([0.6, 0.5, 0.4]), 2)


def test_a_sure_but_tiny_rise_is_not_worth_a_word() -> None:
    valid = np.concatenate([np.linspace(1, 0.5, 8), 0.5 + 0.0005 * np.arange(1, 9)])
    found = overfitting.turn(history(valid))
    assert found is not None and not found.overfits


def test_few_evaluations_say_nothing() -> None:
    assert overfitting.turn(history([1.0, 0.5, 0.6, 0.7])) is None
    assert overfitting.turn(history([])) is None


def test_constant_losses_do_not_turn() -> None:
    found = overfitting.turn(history(np.full(10, 0.7)))
    assert found is not None and not found.overfits


def test_the_history_is_read_from_the_log_and_broken_lines_are_left_out(tmp_path: Path) -> None:
    rows = [
        {"step": 5, "part": "train", "loss": 2.0},
        {"step": 10, "part": "train", "loss": 1.0},
        {"step": 10, "part": "valid", "loss": 0.9, "accuracy": 0.5},
        {"step": 20, "part": "valid", "loss": 0.8},
        {"step": 30, "part": "train", "loss": 0.5},
        {"step": 30, "part": "valid", "loss": None},
        {"step": 40, "part": "valid", "loss": 0.7},
    ]
    path = tmp_path / "metrics.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows) + '\n{"step": 50, "part": "va')
    found = overfitting.read_history(path)
    assert found.step_E.tolist() == [10, 20, 40] and found.valid_E.tolist() == [0.9, 0.8, 0.7]
    assert found.train_E[0] == 1.5 and np.isnan(found.train_E[1]) and found.train_E[2] == 0.5
    assert len(overfitting.read_history(tmp_path / "none.jsonl").step_E) == 0
