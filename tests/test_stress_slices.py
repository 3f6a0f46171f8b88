"""Groups and costs: a spoiled group is the worst, chance is not reported, decisions cost least."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from lamina.data.source import Data
from lamina.errors import LaminaError
from lamina.stress import groups
from lamina.stress.costs_part import cheapest, costs_part, matrix, threshold
from lamina.stress.held import hold
from lamina.stress.settings import Settings, check
from lamina.stress.slices_part import holm, ranked, slices_part, worse
from test_stress_calibration import coins, times
from tiny_task import NAMES, TinyRun


def test_a_group_whose_labels_were_shuffled_is_the_worst(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x_N = rng.uniform(-3, 3, 3000)
    high_N = x_N > 0
    spoiled = (x_N > 0.6) & (x_N < 1.8)  # the fourth of the fifths
    high_N[spoiled] = rng.random(int(spoiled.sum())) < 0.5
    test = {"x": x_N, "label": [NAMES[int(h)] for h in high_N]}
    run = TinyRun(tmp_path / "run", data=Data(coins(50, 1), coins(0, 2), coins(50, 3), test, fingerprint="spoiled"))
    verdict = slices_part(hold(run, None, Settings(), run.forward(), 256), Settings())
    low, high = (float(v) for v in str(verdict.details["worst_slice"]).removeprefix("x ").split(" to "))
    assert low == pytest.approx(0.6, abs=0.1) and high == pytest.approx(1.8, abs=0.1)
    assert verdict.figures["worst_slice_error"]["low"] > 0.4 and "It is worst where x" in verdict.sentences[0]
    assert verdict.pictures["slices"].is_file()


def test_chance_is_not_reported() -> None:
    """Of 40 data sets without any bad group, about 5% at most may show one."""
    found = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        error_N = (rng.random(600) < 0.2).astype(float)
        columns = {f"c{i}": rng.normal(size=600) for i in range(6)}
        rows = ranked(error_N, groups.cells(columns), True, 0.95)
        assert len(rows) > 100
        found += rows[0]["p_holm"] < 0.05
    assert found <= 5


def test_p_values_are_those_of_scipy() -> None:
    here, others = np.asarray([1.0] * 8 + [0] * 22), np.asarray([1.0] * 20 + [0] * 180)
    theirs = stats.fisher_exact([[8, 22], [20, 180]], alternative="greater")
    assert worse(here, others, True) == pytest.approx(theirs.pvalue)  # type: ignore[attr-defined]
    assert holm([0.01, 0.02, 0.04]) == pytest.approx([0.03, 0.04, 0.04]) and holm([0.5, 0.6]) == [1.0, 1.0]


def test_groups_that_are_too_small_or_everything_are_left_out(tmp_path: Path) -> None:
    run = TinyRun(tmp_path / "run")
    held = hold(run, None, Settings(), run.forward(), 256)
    found = groups.groups_of(run.task, held.test, None, 30, 0)
    assert all(30 <= inside.sum() < 100 for inside in found.values()) and "class = 0" in found
    few = hold(
        TinyRun(tmp_path / "few", data=Data(coins(9, 1), coins(0, 2), coins(30, 3), coins(40, 4), fingerprint="few")),
        None,
        Settings(),
        times(1),
        8,
    )
    assert "60 labelled examples" in slices_part(few, Settings()).skipped["slices"]


def test_columns_become_bins_categories_and_missing() -> None:
    made = groups.by_column("size", np.asarray([1.0, 2, 3, 4, 5, 6, np.nan, np.nan]), 3)
    assert made["size missing"].sum() == 2 and sum(inside.sum() for inside in made.values()) == 8
    kinds = groups.by_column("kind", ["a", "b", "a", None], 3)
    assert set(kinds) == {"kind = a", "kind = b", "kind = None"} and kinds["kind = a"].tolist() == [True, False, True, False]
    assert set(groups.by_column("flag", np.asarray([0, 1, 1, 0]), 3)) == {"flag = 0", "flag = 1"}
    assert groups.by_column("empty", np.full(4, np.nan), 3)  # nothing but missing values: no error
    pairs = groups.cells({"a": np.arange(90.0), "b": np.tile(np.arange(10.0), 9)})
    assert any(" and " in name for name in pairs)


def test_pictures_are_grouped_by_how_they_look() -> None:
    x_NCHW = np.zeros((100, 1, 4, 4), np.uint8)
    x_NCHW[50:] = 200
    made = groups.looks(x_NCHW)
    bright = [inside for name, inside in made.items() if name.startswith("brightness")]
    assert any((inside == (np.arange(100) >= 50)).all() for inside in bright)


def test_clusters_part_what_is_apart() -> None:
    rng = np.random.default_rng(0)
    centers = 20 * np.eye(10, 12)
    label_N = rng.integers(0, 10, 1000)
    made = groups.clusters(centers[label_N] + 0.1 * rng.normal(size=(1000, 12)), 0)
    assert sum(inside.sum() for inside in made.values()) == 1000
    assert np.mean([np.bincount(label_N[inside]).max() / inside.sum() for inside in made.values()]) > 0.8


def test_numbers_and_losses_are_compared_by_their_means() -> None:
    rng = np.random.default_rng(0)
    error_N = np.abs(rng.normal(size=300))
    inside = np.arange(300) < 60
    error_N[inside] *= 3
    rows = ranked(error_N, {"bad": inside, "good": ~inside}, False, 0.95)
    assert rows[0]["group"] == "bad" and rows[0]["p_holm"] < 0.001 and rows[1]["p_holm"] > 0.9
    assert worse(np.ones(30), np.zeros(30), False) == 0.0 and worse(np.ones(30), np.ones(30), False) == 1.0


def test_the_cheapest_answer_is_found_by_trying_all() -> None:
    rng = np.random.default_rng(0)
    p_NK, cost_KK = rng.dirichlet(np.ones(4), 50), rng.random((4, 4))
    for n, said in enumerate(cheapest(p_NK, cost_KK)):
        costs = [sum(p_NK[n, i] * cost_KK[i, j] for i in range(4)) for j in range(4)]
        assert said == np.argmin(costs)


def test_the_threshold_of_two_classes_is_the_same_decision() -> None:
    cost_KK = matrix("1,9", ("no", "yes"))
    assert cost_KK.tolist() == [[0, 1], [9, 0]] and threshold(cost_KK) == pytest.approx(0.1)
    p_N = np.linspace(0.001, 0.999, 200)
    assert (cheapest(np.stack([1 - p_N, p_N], 1), cost_KK) == (p_N > 0.1)).all()


def test_costs_are_saved_where_probabilities_are_calibrated(tmp_path: Path) -> None:
    data = Data(coins(50, 1), coins(0, 2), coins(50, 3), coins(4000, 4), fingerprint="costs")
    held = hold(TinyRun(tmp_path / "run", data=data), None, Settings(), times(1), 256)
    verdict = costs_part(held, Settings(costs="1,10"))
    assert verdict.figures["cost_saved"]["low"] > 0 and verdict.figures["threshold"]["value"] == pytest.approx(1 / 11)
    assert "no costs" in costs_part(held, Settings()).skipped["costs"]


def test_a_matrix_from_a_file_is_brought_to_the_order_of_the_classes(tmp_path: Path) -> None:
    path = tmp_path / "costs.csv"
    path.write_text("true,b,a\nb,0,3\na,2,0\n")
    assert matrix(str(path), ("a", "b")).tolist() == [[0, 2], [3, 0]]
    for text, told in (("true,b\nb,0\n", "expected the classes"), ("true,b,a\nb,0,x\na,2,0\n", "expected a number"),
                       ("true,b,a\nb,0,-1\na,2,0\n", "0 or more"), ("", "expected the classes")):  # fmt: skip
        path.write_text(text)
        with pytest.raises(LaminaError, match=told):
            matrix(str(path), ("a", "b"))
    with pytest.raises(LaminaError, match="3 classes"):
        matrix("1,2", ("a", "b", "c"))


@pytest.mark.parametrize(
    ("fields", "flag"),
    [
        ({"examples": 0}, "--examples"), ({"coverage": 1.0}, "--coverage"), ({"accepted": 0.0}, "--accepted"), ({"costs": "1"}, "--costs"),
        ({"costs": "-1,2"}, "--costs"), ({"costs": "nowhere.csv"}, "--costs"), ({"resamples": -1}, "--resamples"),
        ({"confidence": 0.0}, "--confidence"), ({"seed": -1}, "--seed"),
    ],
)  # fmt: skip
def test_settings_are_refused_by_name(fields: dict, flag: str) -> None:
    with pytest.raises(LaminaError, match=flag):
        check(Settings(**fields))
