"""The corruption part of `stress`: its figures are what evaluating corrupted examples gives, for pictures and for rows."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lamina.data.columns import length, take
from lamina.modalities import corrupt_image, corrupt_table
from lamina.modalities.image import Pictures as Column
from lamina.stress.corruptions import Corrupted, corruption_part, drop, subset
from lamina.stress.settings import Settings
from lamina.task import Input
from linear_task import Held, Pictures, grays, linear, said_by
from test_stress_attacks import RowsModel, rows_task


def settings(**changes: Any) -> Settings:
    return dataclasses.replace(Settings(severities=(1, 5), corruption_examples=40, resamples=20), **changes)


def examples(model: Any, count: int = 40) -> dict[str, Any]:
    x = grays(count)
    return {"image": Column(x), "label": said_by(model, x)}


def verdict(task: Any, columns: Any, forward: Any, folder: Path, **changes: Any) -> Any:
    run: Any = Held(task, folder)
    return corruption_part(run, columns, settings(**changes), forward)


def test_pictures(tmp_path: Path) -> None:
    model = linear()
    columns = examples(model)
    made = verdict(Pictures(), columns, model, tmp_path)
    assert set(made.figures) == {"corruption", "corruption_worst", "corruption_clean", "corruption_drop"} | {
        f"corruption_{kind}" for kind in corrupt_image.KINDS
    }
    assert made.figures["corruption_clean"]["value"] == 1.0
    rows = {row["kind"]: row for row in made.tables["corruptions"]}
    for kind in ("gaussian_noise", "jpeg_compression", "fog"):
        for severity in (1, 5):
            corrupted = corrupt_image.corrupt(columns["image"].array(), kind, severity, 0)
            assert rows[kind][str(severity)] == pytest.approx(np.mean(said_by(model, corrupted) == columns["label"]))
        assert made.figures[f"corruption_{kind}"]["value"] == pytest.approx((rows[kind]["1"] + rows[kind]["5"]) / 2)
    means = [row["mean"] for row in made.tables["corruptions"]]
    assert made.figures["corruption"]["value"] == pytest.approx(np.mean(means))
    assert made.figures["corruption_worst"]["value"] == min(means) == means[0], "the worst comes first"
    assert made.figures["corruption_drop"]["value"] == pytest.approx(1 - np.mean(means))
    for bounds in made.figures.values():
        assert bounds["low"] <= bounds["value"] <= bounds["high"]
    assert made.figures["corruption"]["low"] < made.figures["corruption"]["high"]
    assert all(path.is_file() for path in made.pictures.values()) and len(made.pictures) == 2
    assert "15 kinds" in made.sentences[0] and rows and not made.skipped
    again = verdict(Pictures(), columns, model, tmp_path)
    assert again.figures == made.figures and again.tables == made.tables


def test_a_model_that_breaks_under_one_kind_is_warned_of(tmp_path: Path) -> None:
    """Planted: a model that answers by whether any value is black or white, which impulse noise makes."""

    def forward(x: Tensor) -> dict[str, Tensor]:
        extreme = ((x == 0) | (x == 255)).flatten(1).any(1).float()
        return {"logits": torch.stack([1 - extreme, extreme, extreme * 0], 1)}

    columns = {"image": Column(grays(40, low=110, high=140)), "label": np.zeros(40, int)}
    made = verdict(Pictures(), columns, forward, tmp_path, severities=(5,))
    assert made.figures["corruption_clean"]["value"] == 1.0
    assert made.figures["corruption_impulse_noise"]["value"] < 0.2 and made.figures["corruption_contrast"]["value"] == 1.0
    assert any(line.startswith("impulse noise alone costs") for line in made.warnings)
    assert not any(line.startswith("contrast") for line in made.warnings)


@pytest.mark.parametrize("regression", [False, True])
def test_rows(tmp_path: Path, regression: bool) -> None:
    task, columns = rows_task(regression)
    if regression:
        task = dataclasses.replace(task)

        class Squared(type(task)):
            headline = ("mse", "min")

            def metrics(self, examples: Any, predictions: Any) -> dict[str, float]:
                return {"mse": float(np.mean((np.asarray(examples["label"]) - np.asarray(predictions["label"])) ** 2))}

        task = Squared(classes=2, encoder=task.encoder, regression=True)
    made = verdict(task, columns, RowsModel(regression), tmp_path, corruption_examples=60)
    kinds = {row["kind"] for row in made.tables["corruptions"]}
    assert kinds == set(corrupt_table.KINDS)
    rows = {row["kind"]: row for row in made.tables["corruptions"]}
    if regression:
        assert rows["gaussian_noise"]["5"] > rows["gaussian_noise"]["1"] > made.figures["corruption_clean"]["value"]
        assert made.figures["corruption_worst"]["value"] == max(row["mean"] for row in rows.values())
    else:
        assert rows["gaussian_noise"]["5"] < rows["gaussian_noise"]["1"] <= made.figures["corruption_clean"]["value"]
    assert rows["swapped_categories"]["drop"] == 0, "the model does not look at the category"
    assert list(made.pictures) == ["corruptions"]


def test_a_metric_that_is_no_number_is_told_and_left_out(tmp_path: Path) -> None:
    """A model that answers missing cells with what is no number."""
    task, columns = rows_task(regression=True)

    class Judged(type(task)):
        headline = ("mse", "min")

        def metrics(self, examples: Any, predictions: Any) -> dict[str, float]:
            return {"mse": float(np.mean((np.asarray(examples["label"]) - np.asarray(predictions["label"])) ** 2))}

    judged = Judged(classes=2, encoder=task.encoder, regression=True)
    made = verdict(judged, columns, lambda x: {"value": 100 * x[:, :1]}, tmp_path)
    assert made.warnings[0] == "under missing values its mse is not a number" and "corruption_missing_values" not in made.figures
    assert np.isfinite(made.figures["corruption"]["value"])


def test_what_a_table_lacks_is_said(tmp_path: Path) -> None:
    task, columns = rows_task()
    from lamina.modalities.table import TableEncoder

    alone = dataclasses.replace(task, encoder=TableEncoder.fit(columns, ["small"]))
    made = verdict(alone, columns, lambda x: {"logits": torch.cat([-x, x], 1).nan_to_num()}, tmp_path)
    assert "corruption swapped_categories" in made.skipped and "corruption_swapped_categories" not in made.figures


def test_what_does_not_apply_is_said(tmp_path: Path) -> None:
    class Heard(Pictures):
        @property
        def inputs(self) -> tuple[Input, ...]:
            return (Input("sound", ("B", "T"), "float32", "audio"),)

    model = linear()
    assert "audio" in verdict(Heard(), examples(model), model, tmp_path).skipped["corruptions"]
    assert verdict(Pictures(), examples(model), model, tmp_path, corruptions=False).skipped == {"corruptions": "turned off"}


def test_fewer_examples_and_quick_are_said(tmp_path: Path) -> None:
    model = linear()
    made = verdict(
        Pictures(), examples(model, 150), model, tmp_path, quick=True, corruption_examples=500, severities=(1, 2, 3, 4, 5)
    )
    assert made.skipped["corruptions of all examples"] == "100 of 150 were corrupted"
    assert {"1", "3", "5"} <= set(made.tables["corruptions"][0]) and "2" not in made.tables["corruptions"][0]


def test_one_example_has_no_interval(tmp_path: Path) -> None:
    model = linear()
    made = verdict(Pictures(), examples(model, 1), model, tmp_path, severities=(3,))
    assert all(bounds["low"] == bounds["value"] == bounds["high"] for bounds in made.figures.values())


def test_corrupted_pictures_are_lazy_and_the_same_however_taken() -> None:
    column: Any = Corrupted(Column(grays(10)), (1, 6, 6), "snow", 2, 0)
    assert len(column) == 10 and np.array_equal(column.take(np.array([7, 2]))[1], column[2])
    taken = take({"image": column}, [3])["image"]
    assert np.array_equal(taken[0], column[3])


def test_the_share_lost() -> None:
    assert drop(0.8, 0.6, "max") == pytest.approx(0.25) and drop(2.0, 3.0, "min") == pytest.approx(0.5)
    assert drop(0.0, 0.5, "max") is None


def test_a_subset_is_seeded_and_in_order() -> None:
    columns: Any = {"x": np.arange(100)}
    some = subset(columns, 10, 1)["x"]
    assert length({"x": some}) == 10 and list(some) == sorted(some) and list(some) == list(subset(columns, 10, 1)["x"])
    assert subset(columns, 100, 1) is columns and list(some) != list(subset(columns, 10, 2)["x"])
