"""Unknown inputs: every score beside an independent one, cuts that keep what they promise, answers that say `unknown`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import logsumexp, softmax
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from lamina.decode import known
from lamina.decode.conformal import cut_of
from lamina.decode.known import Known
from lamina.errors import LaminaError
from lamina.predict import predict
from lamina.stress.intervals import accepted_unknown, auroc_interval, wilson
from tiny_task import TinyRun


def outputs(count: int, seed: int = 0, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Features near a plane of four dimensions in twelve, and logits that are a linear map of them."""
    rng = np.random.default_rng(seed)
    fixed = np.random.default_rng(99)
    plane_4D, weight_DK, bias_K = fixed.normal(size=(4, 12)), fixed.normal(size=(12, 3)), fixed.normal(size=3)
    features_ND = (
        3 * rng.normal(size=(count, 4)) @ plane_4D + 0.1 * rng.normal(size=(count, 12)) + shift * rng.normal(size=(count, 12))
    )
    return features_ND @ weight_DK + bias_K, features_ND


def test_auroc_is_that_of_scikit_learn_with_ties() -> None:
    rng = np.random.default_rng(0)
    known_N, unknown_M = rng.integers(0, 20, 300).astype(float), rng.integers(5, 25, 200).astype(float)
    value, low, high = auroc_interval(known_N, unknown_M)
    theirs = roc_auc_score(np.r_[np.zeros(300), np.ones(200)], np.r_[known_N, unknown_M])
    assert value == pytest.approx(theirs) and low < value < high


def test_the_interval_of_auroc_holds_the_truth_in_about_95_of_100() -> None:
    from scipy.stats import norm

    truth, hits = norm.cdf(1 / np.sqrt(2)), 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        _, low, high = auroc_interval(rng.normal(size=60), rng.normal(1, 1, 80))
        hits += low <= truth <= high
    assert 270 <= hits <= 297


def test_accepted_unknown_counts_what_passes_where_95_percent_of_the_known_do() -> None:
    known_N = np.arange(100.0)
    assert accepted_unknown(known_N, np.asarray([0.0, 94.0, 96.0, 200.0]), 0.95) == 0.5


def test_msp_and_energy_are_their_formulas() -> None:
    logits_NK, _ = outputs(50)
    np.testing.assert_allclose(Known("msp").unfamiliarity(logits_NK, None), 1 - softmax(logits_NK, axis=1).max(1), atol=1e-12)
    np.testing.assert_allclose(Known("energy").unfamiliarity(logits_NK, None), -logsumexp(logits_NK, axis=1))


def test_msp_tells_very_sure_answers_apart() -> None:
    sure, surer = Known("msp").unfamiliarity(np.asarray([[60.0, 0.0], [80.0, 0.0]]), None)
    assert sure > surer > 0


def test_nearest_neighbours_are_those_of_scikit_learn() -> None:
    _, train_ND = outputs(400)
    _, new_BD = outputs(30, seed=1, shift=2.0)
    fitted = known.fit_knn(train_ND)
    k = int(fitted.about["k"])
    assert k == 4
    tree = NearestNeighbors(n_neighbors=k).fit(known.unit(train_ND))
    theirs_B = tree.kneighbors(known.unit(new_BD))[0][:, -1]
    np.testing.assert_allclose(fitted.unfamiliarity(None, new_BD), theirs_B, atol=2e-3)  # the bank is float32


def test_vim_is_the_paper_written_with_the_weights_at_hand() -> None:
    fixed = np.random.default_rng(99)
    _, weight_DK, bias_K = fixed.normal(size=(4, 12)), fixed.normal(size=(12, 3)), fixed.normal(size=3)
    logits_NK, train_ND = outputs(500)
    new_BK, new_BD = outputs(40, seed=1, shift=1.0)
    origin_D = -np.linalg.pinv(weight_DK.T) @ bias_K
    values, vectors = np.linalg.eig((train_ND - origin_D).T @ (train_ND - origin_D) / 500)
    residual = vectors[:, np.argsort(-values)[6:]]
    alpha = logits_NK.max(1).mean() / np.linalg.norm((train_ND - origin_D) @ residual, axis=1).mean()
    theirs_B = alpha * np.linalg.norm((new_BD - origin_D) @ residual, axis=1) - logsumexp(new_BK, axis=1)
    fitted = known.fit_vim(logits_NK, train_ND)
    ours_B = fitted.unfamiliarity(new_BK, new_BD)
    assert np.corrcoef(ours_B, theirs_B)[0, 1] > 0.9999
    np.testing.assert_allclose(fitted.arrays["origin_D"], origin_D, atol=1e-3)


def test_every_method_tells_what_leaves_the_plane_of_training() -> None:
    logits_NK, train_ND = outputs(1000)
    test, far = outputs(500, seed=1), outputs(500, seed=2, shift=2.0)
    for name, floor in (("knn", 0.8), ("vim", 0.95)):
        fitted = known.fitted(logits_NK, train_ND)[name]
        assert auroc_interval(fitted.unfamiliarity(*test), fitted.unfamiliarity(*far))[0] > floor, name


def test_methods_follow_what_the_output_holds() -> None:
    logits_NK, train_ND = outputs(50)
    assert set(known.fitted(logits_NK, train_ND)) == {"msp", "energy", "knn", "vim"}
    assert set(known.fitted(logits_NK, None)) == {"msp", "energy"} and set(known.fitted(None, train_ND)) == {"knn"}
    assert known.fitted(None, None) == {}


def test_degenerate_features_give_numbers() -> None:
    logits_NK, _ = outputs(50)
    for train_ND in (np.zeros((50, 6)), np.ones((50, 1)), np.zeros((50, 6)) + np.arange(6)):
        for fitted in known.fitted(logits_NK, train_ND).values():
            assert np.isfinite(fitted.unfamiliarity(logits_NK, train_ND)).all(), fitted.method


def test_a_cut_accepts_at_least_what_was_promised_on_average() -> None:
    accepted = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        cut = cut_of(rng.normal(size=50), 0.95)
        accepted.append((rng.normal(size=1000) <= cut).mean())
    assert np.mean(accepted) == pytest.approx(49 / 51, abs=0.006)


def test_wilson_is_that_of_scipy() -> None:
    from scipy.stats import binomtest

    for hits, count in ((0, 10), (3, 10), (95, 100), (100, 100)):
        theirs = binomtest(hits, count).proportion_ci(0.95, method="wilson")
        assert wilson(hits, count) == pytest.approx((theirs.low, theirs.high), abs=1e-9)
    assert wilson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("method", ["msp", "energy", "knn", "vim"])
def test_what_is_kept_answers_the_same(tmp_path: Path, method: str) -> None:
    from dataclasses import replace

    run = TinyRun(tmp_path / "run")
    logits_NK, train_ND = outputs(200)
    fitted = replace(known.fitted(logits_NK, train_ND)[method], cut=0.25)
    run.keep_known(fitted)
    again = run.known()
    assert again is not None and again.cut == 0.25 and run.info["unknown"]["method"] == method
    np.testing.assert_array_equal(again.unfamiliarity(logits_NK, train_ND), fitted.unfamiliarity(logits_NK, train_ND))


def test_predict_says_unknown_and_leaves_the_rest(tmp_path: Path) -> None:
    run = TinyRun(tmp_path / "run")
    plain = list(predict(run, {"x": [0.01, -3.0]}))
    assert "unknown" not in plain[0]
    run.keep_known(Known("msp", 0.3))
    said = list(predict(run, {"x": [0.01, -3.0]}))
    assert [answer["unknown"] for answer in said] == [True, False]
    assert said[0]["unfamiliarity"] == pytest.approx(1 / (1 + np.exp(0.02)), abs=1e-6)
    assert [{k: v for k, v in a.items() if k not in ("unknown", "unfamiliarity")} for a in said] == plain


def test_predict_costs_no_second_forward(tmp_path: Path) -> None:
    calls = []

    def forward(x_B: torch.Tensor) -> dict[str, torch.Tensor]:
        calls.append(len(x_B))
        return {"logits": torch.stack([-x_B, x_B], 1)}

    run = TinyRun(tmp_path / "run", forward=forward)
    run.keep_known(Known("energy", 0.0))
    list(predict(run, {"x": [0.1, 0.2, 0.3]}))
    assert calls == [3]


def test_what_the_output_lacks_is_not_told(tmp_path: Path) -> None:
    run = TinyRun(tmp_path / "run")  # gives no features
    run.keep_known(Known("knn", 0.3, {"k": 1}, {"bank_ND": np.ones((1, 2), np.float32)}))
    assert "unknown" not in next(iter(predict(run, {"x": [0.1]})))


@pytest.mark.parametrize("text", ["{", "{}", '{"method": "oracle", "cut": 1}'])
def test_damaged_files_are_named(tmp_path: Path, text: str) -> None:
    run = TinyRun(tmp_path / "run")
    run.keep_known(Known("msp", 0.3))
    (run.folder / "processor" / "unknown.json").write_text(text)
    with pytest.raises(LaminaError, match=r"unknown\.json"):
        run.known()


def test_a_score_without_its_input_or_cut_is_refused() -> None:
    with pytest.raises(LaminaError, match="`logits`"):
        Known("msp").unfamiliarity(None, None)
    with pytest.raises(LaminaError, match="cut"):
        Known("msp").answers(np.zeros((1, 2)), None)


def test_needs_no_torch() -> None:
    code = "import sys, lamina.decode.known, lamina.decode.conformal, json; print(json.dumps('torch' in sys.modules))"
    assert json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout) is False
