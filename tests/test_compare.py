"""Exact tests against scipy, error rates by simulation, and the words of the verdict."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import lamina
from lamina.compare import (
    Pair,
    compare,
    holm,
    mcnemar,
    paired,
    print_comparison,
    rightness,
    sign_test,
    two_sided,
    verdict,
)
from lamina.errors import LaminaError
from lamina.evaluate import Evaluation, evaluate, resample
from lamina.terminal import jsonable
from tiny_task import Line, Tiny, TinyRun, data_of, noisy, rows


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1500), st.integers(0, 1500))
def test_sign_test_is_the_exact_binomial_test(a: int, b: int) -> None:
    wanted = stats.binomtest(a, a + b, 0.5).pvalue if a + b else 1.0
    assert sign_test(a, b) == pytest.approx(wanted, rel=1e-9, abs=1e-300)


def test_mcnemar_counts_the_four_kinds_of_examples() -> None:
    right_a = np.array([1, 1, 1, 1, 0, 0, 1], dtype=bool)
    right_b = np.array([1, 1, 0, 0, 1, 0, 0], dtype=bool)
    table = mcnemar(right_a, right_b)
    assert (table.both, table.only_a, table.only_b, table.neither) == (2, 3, 1, 1)
    assert table.p_value == pytest.approx(stats.binomtest(1, 4).pvalue)


def test_holm_is_the_published_procedure() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5]) == [0.5] and holm([]) == [] and holm([0.9, 0.8]) == [1.0, 1.0]


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_rejects_what_stepping_down_rejects(p_values: list[float]) -> None:
    rejected: set[int] = set()
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    for rank, place in enumerate(order):  # stops at the first that is kept
        if (len(order) - rank) * p_values[place] >= 0.05:
            break
        rejected.add(place)
    assert {i for i, p in enumerate(holm(p_values)) if p < 0.05} == rejected


def test_p_value_agrees_with_the_interval_and_is_never_zero() -> None:
    drawn = np.random.default_rng(0).normal(1.0, 0.5, 1999)
    assert two_sided(drawn) == pytest.approx(2 * stats.norm.cdf(-2), abs=0.02)
    assert two_sided(np.full(999, 2.0)) == 0.002
    assert two_sided(np.zeros(99)) == 1.0


def test_without_a_difference_five_in_a_hundred_are_called_significant() -> None:
    task, called = Tiny(), 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        test = {"x": np.zeros(150), "label": np.full(150, "high")}
        made = []
        for _ in range(2):
            said = {"label": np.where(rng.random(150) < 0.7, "high", "low")}
            value = task.metrics(test, said)["accuracy"]
            bounds = {"accuracy": {"value": value, "low": value, "high": value}}
            draws = resample(task, test, said, 120, seed)
            made.append(Evaluation(bounds, {}, 150, "test", 120, 0.95, "", None, test, said, draws))
        called += paired("a", "b", made[0], made[1], "accuracy", "max", 0.95).p_value < 0.05
    assert 0 < called <= 12  # 5 expected; 13 or more has a probability below 0.002


def runs_of(*shares: float) -> list[TinyRun]:
    """Runs of one test set, each wrong on a share more."""
    data = data_of(500)
    named = enumerate(zip("abcdef", shares, strict=False))
    return [TinyRun(f"runs/{name}", data=data, forward=noisy(i, share)) for i, (name, share) in named]


def test_better_is_told_with_its_interval() -> None:
    made = compare(runs_of(0.0, 0.2), resamples=500)
    (pair,) = made.pairs
    accuracy = [e.metrics["accuracy"]["value"] for e in made.evaluations.values()]
    assert pair.difference == pytest.approx(accuracy[0] - accuracy[1]) and pair.low < pair.difference < pair.high  # type: ignore[operator]
    assert pair.p_adjusted == pair.p_value < 0.01
    assert pair.verdict == (
        f"a is better than b by {100 * pair.difference:.1f} points of accuracy "
        f"(95% interval {100 * pair.low:.1f} to {100 * pair.high:.1f}): more than chance"
    )
    swapped = compare(runs_of(0.0, 0.2)[::-1], resamples=500).pairs[0]
    assert swapped.verdict == pair.verdict and swapped.difference == -pair.difference


def test_pairing_makes_the_interval_narrow() -> None:
    """Runs that agree on nearly all examples differ by little, however uncertain each figure is by itself."""
    made = compare(runs_of(0.0, 0.02), resamples=500)
    alone = made.evaluations["a"].metrics["accuracy"]
    assert made.pairs[0].high - made.pairs[0].low < 0.6 * (alone["high"] - alone["low"])  # type: ignore[operator]


def test_the_same_answers_are_no_difference() -> None:
    data = data_of(100)
    made = compare([TinyRun("runs/a", data=data), TinyRun("runs/b", data=data)], resamples=100)
    assert made.pairs[0].p_value == 1.0 and made.pairs[0].verdict == "no difference between a and b in accuracy"
    table = made.pairs[0].mcnemar
    assert table and (table.only_a, table.only_b, table.p_value) == (0, 0, 1.0) and table.both + table.neither == 100


def test_several_runs_are_corrected() -> None:
    made = compare(runs_of(0.0, 0.25, 0.27), resamples=300)
    assert [(p.a, p.b) for p in made.pairs] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert [p.p_adjusted for p in made.pairs] == holm([p.p_value for p in made.pairs])
    assert "more than chance" in made.pairs[0].verdict
    assert made.pairs[2].verdict.startswith("no significant difference between b and c")


def test_words_for_errors_and_for_a_significance_that_correction_takes_away() -> None:
    pair = Pair("a", "b", "rmse", -0.5, -0.8, -0.2, 0.01, 0.01, "")
    assert verdict(pair, "min", False, 0.95, 1) == "a is better than b by 0.5 in rmse (95% interval 0.2 to 0.8): more than chance"
    taken = Pair("a", "b", "rmse", 0.5, 0.1, 0.9, 0.03, 0.09, "")
    assert verdict(taken, "min", False, 0.9, 3) == (
        "no significant difference between a and b after correcting for several comparisons: "
        "0.5 in rmse in favour of b (90% interval 0.1 to 0.9)"
    )


def test_the_truth_may_stand_under_another_name() -> None:
    def with_truth(name: str, answers: list[str], **more: list[Any]) -> Evaluation:
        examples = {name: ["yes", "no", "yes"], **more}
        metrics = {"accuracy": {"value": 2 / 3, "low": 0.0, "high": 1.0}}
        return Evaluation(metrics, {}, 3, "test", 0, 0.95, "", None, examples, {"label": answers}, {})  # type: ignore[arg-type]

    said = ["yes", "no", "no"]
    for evaluation in (with_truth("label", said), with_truth("income", said, age=[1, 2, 3])):
        assert rightness(evaluation).tolist() == [True, True, False]  # type: ignore[union-attr]
    assert rightness(with_truth("income", ["yes", "yes", "no"])) is None  # not what the task counted
    assert rightness(with_truth("income", said, copy=["yes", "no", "yes"])) is None  # which of two?


def test_one_example_says_nothing() -> None:
    data = data_of(100)
    single = type(data)(data.train, data.valid, data.calibration, rows(1, 0), "one")
    made = compare([TinyRun("a", data=single), TinyRun("b", data=single, forward=lambda x: Line()(-x))])
    assert made.pairs[0].p_value == 1.0 and "no significant difference" in made.pairs[0].verdict


class Other(Tiny):
    headline = ("rmse", "min")


def test_what_cannot_be_compared_is_told() -> None:
    with pytest.raises(LaminaError, match="expected two runs or more; got 1"):
        compare([TinyRun()])
    with pytest.raises(LaminaError, match="expected different runs; got runs/tiny twice"):
        compare([TinyRun(), TinyRun()])
    with pytest.raises(LaminaError, match="judged by the same metric; a by accuracy, b by rmse"):
        compare([TinyRun("a"), TinyRun("b", task=Other())])
    with pytest.raises(LaminaError, match="same examples and split; b has others than a: name a common test set with --data"):
        compare([TinyRun("a"), TinyRun("b", data=data_of(100, 8))], resamples=10)
    common = lamina.compare([TinyRun("a"), TinyRun("b", data=data_of(100, 8))], "50-9", resamples=10)
    assert common.count == 120


def test_tables_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    made = compare(runs_of(0.0, 0.2), resamples=50)
    print_comparison(made)
    shown = capsys.readouterr().out
    assert "McNemar" in shown and made.pairs[0].verdict in shown
    assert max(len(line) for line in shown.replace(made.pairs[0].verdict, "").splitlines()) <= 80
    read = json.loads(json.dumps(jsonable(made.as_json())))
    assert read["pairs"][0]["mcnemar"]["both"] > 0 and set(read["runs"]) == {"a", "b"}
    assert evaluate(runs_of(0.0)[0], resamples=50).metrics["accuracy"]["value"] == read["runs"]["a"]["accuracy"]["value"]
