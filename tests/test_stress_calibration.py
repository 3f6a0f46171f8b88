"""Calibration: figures beside independent ones, the temperature beside scipy's, planted miscalibration found and mended."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from lamina.data.source import Data
from lamina.decode.known import Known
from lamina.errors import LaminaError
from lamina.run import Run
from lamina.stress import calibration
from lamina.stress.calibration_part import calibration_part
from lamina.stress.held import Held, hold
from lamina.stress.settings import Settings
from lamina.task import Columns
from tiny_task import NAMES, TinyRun


def drawn(count: int, classes: int = 5, spread: float = 2.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn from their own probabilities: calibrated by construction."""
    rng = np.random.default_rng(seed)
    logits_NK = spread * rng.normal(size=(count, classes))
    gumbel_NK = rng.gumbel(size=logits_NK.shape)
    return logits_NK, (logits_NK + gumbel_NK).argmax(1)


def coins(count: int, seed: int) -> Columns:
    """Numbers and labels whose true probability of `high` is sigmoid(2 x): the logits (-x, x) are calibrated."""
    rng = np.random.default_rng(seed)
    x_N = rng.normal(size=count)
    high_N = rng.random(count) < 1 / (1 + np.exp(-2 * x_N))
    return {"x": x_N, "label": [NAMES[int(high)] for high in high_N]}


def times(factor: float):
    """A Forward with the logits of a calibrated model, multiplied."""
    return lambda x_B: {"logits": factor * torch.stack([-x_B, x_B], 1)}


def made(folder: Path, factor: float, fitting: int = 4000, test: int = 8000) -> tuple[TinyRun, Held]:
    data = Data(coins(100, 1), coins(0, 2), coins(fitting, 3), coins(test, 4), fingerprint="coins")
    run = TinyRun(folder, data=data, forward=times(factor))
    return run, hold(run, None, Settings(), run.forward(), 256)


@pytest.mark.parametrize("factor", [0.3, 1.0, 5.0])
def test_the_temperature_is_that_of_scipy(factor: float) -> None:
    logits_NK, truth_N = drawn(2000)

    def objective(log_t: float) -> float:
        return -float(log_softmax(factor * logits_NK / np.exp(log_t), 1)[np.arange(2000), truth_N].mean())

    theirs = np.exp(minimize_scalar(objective, bounds=(-4, 4), method="bounded", options={"xatol": 1e-9}).x)  # type: ignore[attr-defined]
    ours = calibration.fit_temperature(factor * logits_NK, truth_N)
    assert ours == pytest.approx(theirs, rel=1e-4)
    assert ours == pytest.approx(factor, rel=0.1)


def test_ece_beside_a_plain_loop() -> None:
    logits_NK, truth_N = drawn(1000)
    p_NK = softmax(3 * logits_NK, axis=1)
    sure_N, right_N = p_NK.max(1), p_NK.argmax(1) == truth_N
    expected = 0.0
    for m in range(15):
        inside = (sure_N > m / 15) & (sure_N <= (m + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(right_N[inside].mean() - sure_N[inside].mean())
    ours_sure, ours_right = calibration.confidence_of(3 * logits_NK, truth_N)
    assert calibration.ece(calibration.binned(ours_sure, ours_right, calibration.bin_numbers(ours_sure))) == pytest.approx(
        expected
    )
    order = np.argsort(sure_N, kind="stable")
    by_mass = sum(len(r) * abs(right_N[r].mean() - sure_N[r].mean()) for r in np.array_split(order, 10)) / 1000
    bins = calibration.bin_numbers(ours_sure, 10, equal_mass=True)
    assert calibration.ece(calibration.binned(ours_sure, ours_right, bins, 10)) == pytest.approx(by_mass)


def test_brier_and_nll_beside_scikit_learn() -> None:
    from sklearn.metrics import brier_score_loss, log_loss

    logits_NK, truth_N = drawn(500, classes=2)
    p_NK = softmax(logits_NK, axis=1)
    assert calibration.nll(logits_NK, truth_N) == pytest.approx(log_loss(truth_N, p_NK))
    assert calibration.brier(p_NK, truth_N).mean() == pytest.approx(2 * brier_score_loss(truth_N, p_NK[:, 1]))


def test_the_plain_ece_is_biased_and_the_debiased_less() -> None:
    plain, debiased = [], []
    for seed in range(30):
        sure_N, right_N = calibration.confidence_of(*drawn(500, seed=seed))
        bins = calibration.binned(sure_N, right_N, calibration.bin_numbers(sure_N))
        plain.append(calibration.ece(bins))
        debiased.append(calibration.ece_debiased(bins))
    assert np.mean(plain) > 0.02  # of a perfectly calibrated model
    assert np.mean(debiased) < 0.7 * np.mean(plain)


def test_the_interval_of_the_ece_holds_its_value_and_shrinks_with_examples() -> None:
    widths = []
    for count in (200, 5000):
        logits_NK, truth_N = drawn(count)
        sure_N, right_N = calibration.confidence_of(3 * logits_NK, truth_N)
        bin_N = calibration.bin_numbers(sure_N)
        value = calibration.ece(calibration.binned(sure_N, right_N, bin_N))
        low, high = calibration.ece_interval(sure_N, right_N, bin_N, 200, 0.95, 0)
        assert 0 <= low < value < high <= 1
        widths.append(high - low)
    assert widths[1] < widths[0] / 3


def test_logits_times_five_are_found_and_mended(tmp_path: Path) -> None:
    run, held = made(tmp_path / "run", factor=5.0)
    verdict = calibration_part(held, Settings(resamples=100))
    assert verdict.figures["ece_uncalibrated"]["value"] > 0.1
    assert verdict.figures["ece"]["value"] < 0.015
    assert verdict.figures["temperature"]["value"] == pytest.approx(5.0, rel=0.15)
    assert verdict.figures["nll"]["value"] < verdict.figures["nll_uncalibrated"]["value"]
    assert "more sure than right" in verdict.sentences[0]
    assert run.temperature() == verdict.details["temperature"] == run.info["calibration"]["temperature"]
    assert verdict.pictures["reliability"].read_text().count("<svg") == 1
    before, after = held.test.logits_NK, held.at(run.temperature()).test.logits_NK
    assert before is not None and after is not None and (before.argmax(1) == after.argmax(1)).all()


def test_timid_answers_are_told_apart(tmp_path: Path) -> None:
    _, held = made(tmp_path / "run", factor=0.2)
    verdict = calibration_part(held, Settings(resamples=20))
    assert "less sure than right" in verdict.sentences[0] and verdict.figures["temperature"]["value"] < 0.3


def test_no_store_leaves_the_run_as_it_was(tmp_path: Path) -> None:
    run, held = made(tmp_path / "run", factor=5.0, fitting=500, test=500)
    verdict = calibration_part(held, Settings(resamples=20, store=False))
    assert run.temperature() == 1.0 and "calibration" not in run.info and verdict.details["temperature"] > 3


def test_a_model_that_errs_nowhere_gets_no_temperature(tmp_path: Path) -> None:
    data = {"x": np.asarray([-1.0, 1.0] * 50), "label": [*NAMES] * 50}
    run = TinyRun(tmp_path / "run", data=Data(data, data, data, data, fingerprint="sure"))
    verdict = calibration_part(hold(run, None, Settings(), run.forward(), 256), Settings(resamples=10))
    assert run.temperature() == 1.0 and "search ran to its edge" in verdict.warnings[0]


def test_too_few_examples_are_said_in_words(tmp_path: Path) -> None:
    data = Data(coins(50, 1), coins(0, 2), coins(5, 3), coins(100, 4), fingerprint="few")
    held = hold(TinyRun(tmp_path / "run", data=data), None, Settings(), times(1), 256)
    assert "fewer than 20" in calibration_part(held, Settings()).skipped["calibration"]
    assert "not asked for" in calibration_part(held, Settings(calibrate=False)).skipped["calibration"]


def test_validation_stands_in_for_calibration_with_a_warning(tmp_path: Path) -> None:
    data = Data(coins(50, 1), coins(100, 2), coins(0, 3), coins(100, 4), fingerprint="valid")
    held = hold(TinyRun(tmp_path / "run", data=data), None, Settings(), times(1), 256)
    assert held.fitting_part == "valid" and "no calibration part" in held.warnings[0]


def test_another_temperature_takes_what_was_fitted_under_the_first(tmp_path: Path) -> None:
    run = TinyRun(tmp_path / "run")
    run.keep_temperature(2.0)
    run.keep_known(Known("msp", 0.5))
    run.keep_promise({"kind": "set", "cut": 0.7, "coverage": 0.9})
    run.keep_temperature(2.0, examples=3)  # the same: all stays
    assert run.known() == Known("msp", 0.5) and run.promise()["cut"] == 0.7
    run.keep_temperature(3.0)
    assert run.known() is None and "unknown" not in run.info
    with pytest.raises(LaminaError, match="lamina stress"):
        run.promise()


def test_new_weights_have_no_temperature_of_the_old(tmp_path: Path) -> None:
    run = TinyRun(tmp_path / "run")
    run.info["versions"] = {"lamina": "0"}
    run.keep_temperature(2.0)
    Run.save_weights(run, torch.nn.Linear(2, 2))
    assert run.temperature() == 1.0 and "calibration" not in run.info
    assert not (run.folder / "processor" / "calibration.json").exists()


@pytest.mark.parametrize("text", ["{", "{}", '{"temperature": "warm"}', '{"temperature": 0}', '{"temperature": -1}'])
def test_a_damaged_temperature_is_named(tmp_path: Path, text: str) -> None:
    run = TinyRun(tmp_path / "run")
    (run.folder / "processor").mkdir(parents=True)
    (run.folder / "processor" / "calibration.json").write_text(text)
    with pytest.raises(LaminaError, match=r"calibration\.json"):
        run.temperature()
