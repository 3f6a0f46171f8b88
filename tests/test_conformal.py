"""Conformal sets and intervals: the promise is kept over many draws, whatever the model; scores beside plain loops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.special import softmax

from lamina.data.source import Data
from lamina.decode import conformal
from lamina.predict import predict
from lamina.stress.held import hold
from lamina.stress.promises_part import broken, promises_part
from lamina.stress.settings import Settings
from lamina.verdict import figure
from test_stress_calibration import coins, drawn, times
from tiny_task import TinyRun


@pytest.mark.parametrize("method", conformal.METHODS)
@pytest.mark.parametrize("factor", [0.3, 1.0, 5.0])
def test_sets_hold_the_truth_as_often_as_promised(method: str, factor: float) -> None:
    """Over 300 draws of 99 calibration examples, mean coverage is 90 to 91%, however miscalibrated the model."""
    hits = []
    for seed in range(300):
        logits_NK, truth_N = drawn(199, seed=seed)
        p_NK, u_N = softmax(factor * logits_NK, axis=1), np.random.default_rng(seed).random(199)
        scores_NK = conformal.label_scores(p_NK, method, u_N)
        cut = conformal.cut_of(scores_NK[np.arange(99), truth_N[:99]], 0.9)
        hits.append(conformal.label_sets(p_NK[99:], method, cut, u_N[99:])[np.arange(100), truth_N[99:]].mean())
    error = np.std(hits) / np.sqrt(len(hits))
    assert 0.9 - 3 * error <= np.mean(hits) <= 0.9 + 3 * error  # (99 + 1) 0.9 is whole: exactly 90% without ties


@pytest.mark.parametrize("scaled", [False, True])
def test_intervals_hold_the_truth_as_often_as_promised(scaled: bool) -> None:
    hits = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        x_N = rng.uniform(0.1, 2, 199)
        truth_N, value_N, scale_N = x_N + x_N * rng.normal(size=199), x_N, x_N if scaled else None
        score_N = np.abs(truth_N - value_N) / (x_N if scaled else 1)
        cut = conformal.cut_of(score_N[:99], 0.9)
        low_N, high_N = conformal.intervals(value_N[99:], cut, None if scale_N is None else scale_N[99:])
        hits.append(((low_N <= truth_N[99:]) & (truth_N[99:] <= high_N)).mean())
    assert abs(np.mean(hits) - 0.9) <= 3 * np.std(hits) / np.sqrt(300)


def test_scores_beside_a_plain_loop() -> None:
    logits_NK, _ = drawn(40)
    p_NK, u_N = softmax(logits_NK, axis=1), np.random.default_rng(1).random(40)
    aps, raps = conformal.label_scores(p_NK, "aps", u_N), conformal.label_scores(p_NK, "raps", u_N)
    for n in range(40):
        for k in range(5):
            above = p_NK[n][p_NK[n] > p_NK[n, k]]
            assert aps[n, k] == pytest.approx(above.sum() + u_N[n] * p_NK[n, k])
            penalty = conformal.PENALTY * max(0, len(above) + 1 - conformal.FREE_RANKS)
            assert raps[n, k] == pytest.approx(aps[n, k] + penalty)
    np.testing.assert_allclose(conformal.label_scores(p_NK, "lac"), 1 - p_NK)


def test_the_cut_is_the_finite_sample_quantile() -> None:
    score_N = np.arange(1.0, 20.0)  # 19 of them
    assert conformal.cut_of(score_N, 0.9) == 18.0 and conformal.cut_of(score_N, 0.95) == 19.0
    assert conformal.cut_of(score_N, 0.96) == np.inf and conformal.cut_of(np.empty(0), 0.5) == np.inf
    assert conformal.label_sets(np.full((2, 3), 1 / 3), "lac", np.inf).all()  # too few for the promise: everything


def test_names_are_the_most_probable_first() -> None:
    assert conformal.names_held({"a": 0.2, "b": 0.7, "c": 0.1}, 0.8) == ["b", "a"]
    assert conformal.names_held({"a": 0.5, "b": 0.5}, 0.1) == []


def test_the_part_measures_coverage_by_class_and_keeps_the_cut(tmp_path: Path) -> None:
    data = Data(coins(100, 1), coins(0, 2), coins(1000, 3), coins(2000, 4), fingerprint="coins")
    run = TinyRun(tmp_path / "run", data=data, forward=times(5))
    verdict = promises_part(hold(run, None, Settings(), run.forward(), 256), Settings(coverage=0.8))
    for method in conformal.METHODS:
        assert verdict.figures[f"coverage_{method}"]["value"] == pytest.approx(0.8, abs=0.05)
    assert [row["method"] for row in verdict.tables["conformal_sets"]] == list(conformal.METHODS)
    assert {row["class"] for row in verdict.tables["coverage_by_class"]} == {"0", "1"}
    assert run.promise()["kind"] == "set" and run.promise()["coverage"] == 0.8 and "80%" in verdict.sentences[0]


def test_a_shifted_test_breaks_the_promise_and_is_told(tmp_path: Path) -> None:
    test = coins(1000, 4)
    shifted = {"x": test["x"], "label": list(reversed(test["label"]))}  # labels that have nothing to do with the numbers
    data = Data(coins(100, 1), coins(0, 2), coins(1000, 3), shifted, fingerprint="shifted")
    run = TinyRun(tmp_path / "run", data=data)
    verdict = promises_part(hold(run, None, Settings(), run.forward(), 256), Settings())
    assert any("not kept" in warning for warning in verdict.warnings)


def test_a_promise_missed_by_chance_is_no_warning() -> None:
    assert broken(figure(0.88), 100, 200, Settings()) == () and broken(figure(0.7), 100, 200, Settings())


def test_predict_gives_sets_only_where_asked(tmp_path: Path) -> None:
    run = TinyRun(tmp_path / "run")
    run.keep_promise({"kind": "set", "cut": 0.9, "coverage": 0.9})
    assert "set" not in next(iter(predict(run, {"x": [0.1]}, sets=True)))  # its answers hold no probabilities by name
    assert list(predict(run, {"x": [0.1]})) == list(predict(run, {"x": [0.1]}, sets=True))
