"""Intervals against the exact distribution of the bootstrap, their coverage by simulation, and degenerate sets."""

from __future__ import annotations

import json
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats

import lamina
from lamina.data.columns import length, take
from lamina.data.source import Data, Source
from lamina.errors import LaminaError
from lamina.evaluate import Chain, evaluate, fewer_resamples, interval, joined, print_evaluation, resample, used
from lamina.task import Columns
from lamina.terminal import jsonable
from tiny_task import Line, Tiny, TinyRun, data_of, rows


def data_with(test: Columns) -> Data:
    return Data(rows(10, 1), rows(10, 2), rows(0, 3), test, fingerprint="made")


def test_interval_is_that_of_the_exact_bootstrap() -> None:
    """Resampling correct and wrong answers is drawing from a binomial: its quantiles are known."""
    made = evaluate(TinyRun(data=data_of(400)), resamples=4000)
    value = made.metrics["accuracy"]["value"]
    exact = stats.binom.ppf([0.025, 0.975], 400, value) / 400
    assert made.metrics["accuracy"]["low"] == pytest.approx(exact[0], abs=0.006)
    assert made.metrics["accuracy"]["high"] == pytest.approx(exact[1], abs=0.006)
    assert (made.count, made.part, made.resamples, made.confidence) == (400, "test", 4000, 0.95)


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    task, held = Tiny(), 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        truth, said = {"label": np.full(120, "high")}, {"label": np.where(rng.random(120) < 0.8, "high", "low")}
        bounds = interval(task.metrics(truth, said)["accuracy"], resample(task, truth, said, 150, seed)["accuracy"], 0.95)
        held += bounds["low"] <= 0.8 <= bounds["high"]  # type: ignore[operator]
    assert 0.87 <= held / 100 <= 0.99


def test_groups_are_drawn_whole() -> None:
    """Ten rows that are right or wrong together say no more than one: the binomial is that of the groups."""
    patients = np.repeat(np.arange(60), 10)
    right = np.random.default_rng(0).random(60) < 0.7
    truth, said = {"label": np.full(600, "high")}, {"label": np.where(right[patients], "high", "low")}
    shuffled = np.random.default_rng(1).permutation(600)
    truth, said, groups = take(truth, shuffled), take(said, shuffled), patients[shuffled].tolist()
    drawn = resample(Tiny(), truth, said, 2000, groups=groups)["accuracy"]
    exact = stats.binom.ppf([0.025, 0.975], 60, right.mean()) / 60
    assert np.quantile(drawn, [0.025, 0.975]) == pytest.approx(exact, abs=0.02)
    assert resample(Tiny(), truth, said, 2000)["accuracy"].std() < 0.4 * drawn.std()


@pytest.mark.parametrize("task", ["image-classification", "tabular"])
def test_a_run_trained_by_group_is_judged_by_group(task: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table = ["path,x,patient,label"] if task == "tabular" else ["path,patient,label"]
    for row in range(120):
        name, label = f"{row}.png", "ab"[row % 2]
        if task == "tabular":
            table.append(f"{name},{row % 2 + rng.normal():.3f},p{row // 6},{label}")
        else:
            pixels = rng.integers(0, 128, (8, 8), dtype=np.uint8) + np.uint8(100 * (row % 2))
            Image.fromarray(pixels).save(tmp_path / name)
            table.append(f"{name},p{row // 6},{label}")
    (tmp_path / "table.csv").write_text("\n".join(table))
    run = lamina.train(
        task, data=str(tmp_path / "table.csv"), label="label", group="patient", steps=5, out=str(tmp_path / "run"), quiet=True
    )
    made = evaluate(run)
    assert made.group and set(made.examples[made.group]).isdisjoint(run.data().train[made.group])
    assert made.as_json()["group"] == made.group


def test_loss_is_summed_loss_over_count_whatever_the_batches() -> None:
    run = TinyRun()
    together, apart = evaluate(run, batch_size=100, resamples=50), evaluate(run, batch_size=7, resamples=50)
    test = run.data().test
    logits = Line()(torch.tensor(np.asarray(test["x"], dtype=np.float32)))["logits"]
    wanted = torch.nn.functional.cross_entropy(logits, torch.tensor([["low", "high"].index(v) for v in test["label"]]))
    assert together.metrics["loss"]["value"] == pytest.approx(float(wanted), rel=1e-6)
    for name, bounds in together.metrics.items():
        assert apart.metrics[name] == pytest.approx(bounds, rel=1e-6)
    assert together.metrics["loss"]["low"] < together.metrics["loss"]["value"] < together.metrics["loss"]["high"]  # type: ignore[operator]


def test_same_seed_same_interval_and_any_forward_serves() -> None:
    run = TinyRun()
    asked: list[int] = []

    def forward(x_B: torch.Tensor) -> dict[str, torch.Tensor]:
        asked.append(len(x_B))
        return Line()(x_B)

    one = evaluate(run, forward=forward, resamples=100, seed=3, batch_size=30)
    assert asked == [30, 30, 30, 10]  # once a batch, for loss and answers together
    assert one.metrics == evaluate(run, resamples=100, seed=3).metrics
    assert one.metrics != evaluate(run, resamples=100, seed=4).metrics


def test_one_example_and_constant_metrics_have_no_width_and_warn_nobody() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        single = evaluate(TinyRun(data=data_with(rows(1, 5, wrong=0))))
        perfect = evaluate(TinyRun(data=data_with(rows(30, 5, wrong=0))), resamples=50)
    assert single.metrics["accuracy"] == {"value": 1.0, "low": 1.0, "high": 1.0} and single.resamples == 0
    assert single.metrics["loss"]["low"] == single.metrics["loss"]["high"] == single.metrics["loss"]["value"]
    assert perfect.metrics["accuracy"] == {"value": 1.0, "low": 1.0, "high": 1.0}


class Undefined(Tiny):
    """One metric never a number, one that needs both classes."""

    def metrics(self, examples: Columns, predictions: Columns) -> dict[str, float]:
        both = len(set(np.asarray(examples["label"]).tolist())) == 2
        return {"accuracy": 1.0, "never": float("nan"), "sometimes": 0.5 if both else float("nan")}


def test_metrics_that_are_no_numbers_are_none_and_make_valid_json() -> None:
    test = {"x": np.array([1.0, -1.0, 2.0]), "label": ["high", "low", "high"]}
    made = evaluate(TinyRun(task=Undefined(), data=data_with(test)), resamples=100)
    assert made.metrics["never"] == {"value": None, "low": None, "high": None}
    assert made.metrics["sometimes"] == {"value": 0.5, "low": 0.5, "high": 0.5}
    assert "NaN" not in json.dumps(jsonable(made.as_json()))


def test_parts() -> None:
    run = TinyRun()
    assert evaluate(run, part="valid", resamples=0).count == 20
    everything = evaluate(run, part="all", resamples=0)
    assert everything.count == 220 and length(everything.examples) == 220
    with pytest.raises(LaminaError, match=r"part: .*train 100, valid 20, calibration 0, test 100.*'calibration', which is empty"):
        evaluate(run, part="calibration")
    with pytest.raises(LaminaError, match="part: expected one of train"):
        evaluate(run, part="tset")


def test_other_data_is_judged_whole_but_ones_own_on_its_test_part() -> None:
    run = TinyRun()
    assert evaluate(run, "50-9", resamples=0).part == "all"
    assert evaluate(run, Source(data="50-9"), resamples=0).count == 50 + 20 + 50
    assert evaluate(run, "100-0", resamples=0).part == "test"  # known by its fingerprint
    assert evaluate(run, data_of(30, 7), part="test", resamples=0).count == 30
    assert lamina.evaluate(run, "50-9", resamples=0).count == 120


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"confidence": 1.0}, "confidence: expected a number between 0 and 1; got 1.0"),
        ({"confidence": float("nan")}, "confidence"),
        ({"resamples": -1}, "resamples: expected 0 or more; got -1"),
        ({"batch_size": 0}, "batch_size: expected 1 or more, or auto; got 0"),
    ],
)
def test_arguments_out_of_range_are_named(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(LaminaError, match=told):
        evaluate(TinyRun(), **arguments)


def test_only_the_columns_that_metrics_look_at_are_resampled() -> None:
    class Heavy:
        def __len__(self) -> int:
            return 10

        def take(self, indices: np.ndarray, /) -> Any:
            raise AssertionError("pictures must not be copied to judge labels")

        def __getitem__(self, index: int) -> Any:
            raise AssertionError

    examples: Columns = {"picture": Heavy(), "label": ["high"] * 5 + ["low"] * 5}  # type: ignore[dict-item]
    predictions: Columns = {"label": ["high"] * 10, "why": [{}] * 10}
    seen = used(Tiny(), examples, predictions)
    assert (list(seen[0]), list(seen[1])) == (["label"], ["label"])
    assert len(resample(Tiny(), examples, predictions, 30)["accuracy"]) == 30


class Slow(Tiny):
    def metrics(self, examples: Columns, predictions: Columns) -> dict[str, float]:
        began = time.process_time()
        while time.process_time() - began < 0.001:
            pass
        return {"accuracy": 0.5}


def test_slow_metrics_are_resampled_fewer_times_and_this_is_said() -> None:
    assert len(resample(Slow(), rows(10, 0), rows(10, 1), 1000, seconds=0.05)["accuracy"]) == 100
    made = evaluate(TinyRun(), resamples=60)
    assert fewer_resamples(made, 60) is None
    assert fewer_resamples(made, 1000) == "intervals from 60 resamples, not 1000: the metrics are slow on 100 examples"


def test_batch_is_halved_while_memory_lacks_but_only_where_it_is_auto() -> None:
    def forward(x_B: torch.Tensor) -> dict[str, torch.Tensor]:
        if len(x_B) > 16:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return Line()(x_B)

    run = TinyRun(forward=forward)
    assert evaluate(run, resamples=0).metrics == evaluate(TinyRun(), resamples=0).metrics
    with pytest.raises(torch.OutOfMemoryError):
        evaluate(run, batch_size=32)


def test_joined_columns_are_rows_one_after_another() -> None:
    parts: list[Columns] = [{"a": np.arange(3), "b": ["x", "y", "z"]}, {"a": np.arange(3, 5), "b": ["u", "v"]}]
    together = joined(parts)
    assert np.asarray(together["a"]).tolist() == [0, 1, 2, 3, 4] and list(together["b"]) == ["x", "y", "z", "u", "v"]
    assert take(together, [4, 0])["b"] == ["v", "x"]
    chain = Chain([["x"], [], ["y"]])
    assert (chain[1], chain[-2], len(chain)) == ("y", "x", 2)
    with pytest.raises(IndexError):
        chain[2]


def test_tables_fit_eighty_columns(capsys: pytest.CaptureFixture[str]) -> None:
    print_evaluation(evaluate(TinyRun(), resamples=50), "runs/[bold]tiny")
    shown = capsys.readouterr().out
    assert "runs/[bold]tiny: 100 examples of test" in shown and "accuracy" in shown and "95% from" in shown and "class" in shown
    assert max(len(line) for line in shown.splitlines()) <= 80


class Wide(Tiny):
    def details(self, examples: Columns, predictions: Columns) -> dict[str, Any]:
        return {"confusion": [{f"class {i}": 0 for i in range(40)}], "empty": []}


def test_a_table_too_wide_is_left_to_json(capsys: pytest.CaptureFixture[str]) -> None:
    print_evaluation(evaluate(TinyRun(task=Wide()), resamples=0), "runs/tiny")
    assert "confusion: a table of 40 columns, too wide for here" in capsys.readouterr().out
