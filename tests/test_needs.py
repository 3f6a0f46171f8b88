"""`needs` from end to end: planted faults in real trainings, a stopped curve that goes on, words where something does not apply."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import datasets

import lamina
from lamina.ask import Asked
from lamina.data.columns import length, take
from lamina.data.source import Data, Source
from lamina.errors import LaminaError
from lamina.needs import curve as curves
from lamina.needs import training
from lamina.needs.api import needs
from lamina.needs.asking import contents
from lamina.needs.settings import Settings, check
from lamina.run import Run
from lamina.verdict import Verdict

FEW: dict[str, Any] = {"device": "cpu", "precision": "float32", "quiet": True, "tensorboard": False}
SMALL = Settings(sizes=3, repeats=2)


def digits_with_faults() -> tuple[dict[str, Any], set[bytes]]:
    """900 digits to train on, 5% of them under a wrong label, and a test of 200 of which 20 were trained on; and which are wrong."""
    bunch: Any = datasets.load_digits()
    pixels = (bunch.images * 15.9).astype(np.uint8)
    rng = np.random.default_rng(0)
    order = rng.permutation(len(pixels))
    train, test = order[:900], order[900:1100].copy()
    test[:20] = train[:20]
    label = bunch.target.copy()
    wrong = rng.permutation(train[20:])[:45]
    label[wrong] = (label[wrong] + rng.integers(1, 10, len(wrong))) % 10
    names = np.array([f"digit {k}" for k in label])
    data = {"train": (pixels[train], names[train]), "test": (pixels[test], names[test])}
    return data, {pixels[row].tobytes() for row in wrong}


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Source, set[bytes]]:
    data, wrong = digits_with_faults()
    folder = str(tmp_path_factory.mktemp("needs") / "digits")
    run = lamina.train("image-classification", data=data, model_name="mlp", epochs=6, evaluations=6, out=folder, **FEW)
    return run, dataclasses.replace(run.source(), data=data), wrong


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return lamina.train("tabular", epochs=3, evaluations=6, out=str(tmp_path_factory.mktemp("needs") / "table"), **FEW)


def found_wrong(verdict: Verdict, run: Run, source: Source, wrong: set[bytes]) -> float:
    """The share of the planted wrong labels in the first tenth of the ranking."""
    parts = run.task.read(source).parts()
    total = sum(length(columns) for columns in parts.values())
    first = verdict.details["label_ranking"][: total // 10]
    found = {np.asarray(parts[part]["image"][row]).tobytes() for part, row, _ in first}
    planted = {np.asarray(p).tobytes() for columns in parts.values() for p in columns["image"]} & wrong
    return len(found & planted) / len(planted)


def test_wrong_labels_and_leaks_are_found_without_training(faulty: tuple[Run, Source, set[bytes]]) -> None:
    run, source, wrong = faulty
    verdict = needs(Asked(run, Settings(curve=False), source, device="cpu"))
    assert found_wrong(verdict, run, source, wrong) >= 0.8
    data = run.task.read(source)
    trained_on = {np.asarray(p).tobytes() for p in data.train["image"]}
    copies = sum(np.asarray(p).tobytes() in trained_on for p in data.test["image"])  # some were split off for validation
    assert 14 <= copies <= 20 and verdict.details["leaked"]["exact"] == copies
    assert verdict.figures["leaked_share"]["value"] == pytest.approx(copies / 200)
    assert f"{copies / 2:g}% of the 200 examples of test were trained on" in " ".join(verdict.sentences)
    assert any("promise too much" in w for w in verdict.warnings)
    without = verdict.figures["accuracy_without_leaks"]
    assert without["low"] <= without["value"] <= without["high"]
    assert "--no-curve" in verdict.skipped["learning_curve"] and "about" in verdict.skipped["learning_curve"]
    assert "memorized" in verdict.skipped and "error_at_2x" not in verdict.figures
    suspect = verdict.tables["label suspects"][0]
    assert suspect["label"].startswith("digit ") and suspect["looks like"].startswith("digit ")
    assert verdict.pictures["label suspects"].stat().st_size > 1000 and verdict.pictures["training"].suffix == ".svg"


def test_models_that_never_saw_a_wrong_label_find_it(faulty: tuple[Run, Source, set[bytes]]) -> None:
    run, source, wrong = faulty
    verdict = needs(Asked(run, dataclasses.replace(SMALL, sizes=3), source, device="cpu"))
    assert "left an example out" in " ".join(verdict.sentences)
    assert found_wrong(verdict, run, source, wrong) >= 0.8
    folded = needs(Asked(run, Settings(curve=False, folds=2), source, device="cpu"))
    assert "2 trainings, each without one fold" in " ".join(folded.sentences)
    assert found_wrong(folded, run, source, wrong) >= 0.8


def test_a_curve_answers_with_intervals_and_pictures(table: Run) -> None:
    verdict = needs(Asked(table, SMALL, device="cpu"))
    for name in ("error_now", "error_at_2x", "error_at_4x", "error_at_10x", "gap", "memorized", "label_errors", "leaked_share"):
        bounds = verdict.figures[name]
        assert bounds["low"] <= bounds["value"] <= bounds["high"], name  # type: ignore[operator]
    assert {"needed_for_target", "gain_at_4x", "gap_start_step"} <= verdict.figures.keys()
    told = " ".join(verdict.sentences)
    assert any("steps: with so few" in w for w in verdict.warnings)  # three passes are hardly a training
    assert "ore data" in told and "With twice the data (740 examples)" in told
    svg = verdict.pictures["learning curve"].read_text()
    assert svg.lstrip().startswith("<?xml") and "training examples" in svg
    assert [row["size"] for row in verdict.tables["learning curve"]] == [92, 92, 185, 185, 370]
    assert all(row["cells"].startswith("mean radius ") for row in verdict.tables["label suspects"])
    json.dumps(verdict.as_json(), allow_nan=False)


def test_the_largest_size_is_the_run_itself(table: Run) -> None:
    verdict = needs(Asked(table, SMALL, device="cpu"))
    whole = verdict.tables["learning curve"][-1]
    assert whole["error"] == pytest.approx(1 - table.info["metrics"]["accuracy"]["value"])


def test_a_stopped_curve_goes_on_and_gives_the_same(table: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = dataclasses.replace(SMALL, seed=7)
    log = table.folder / "report" / "needs" / "curve.jsonl"
    before = log.read_text() if log.is_file() else ""
    called: list[int] = []

    def stopped(run: Run, data: Data, *others: Any) -> Any:
        called.append(length(data.train))
        if len(called) == 3:
            raise KeyboardInterrupt
        return training.trained(run, data, *others)

    monkeypatch.setattr(curves, "trained", stopped)
    with pytest.raises(KeyboardInterrupt):
        needs(Asked(table, settings, device="cpu"))
    with log.open("a") as file:
        file.write('{"size": 185, "repeat": 0, "st')  # cut off by a stop
    resumed = needs(Asked(table, settings, device="cpu"))
    assert called == [92, 92, 185, 185, 185]  # the two that were known were not trained again
    again = needs(Asked(table, settings, device="cpu"))
    assert len(called) == 5
    log.write_text(before)
    fresh = needs(Asked(table, settings, device="cpu"))
    assert len(called) == 9
    for other in (again, fresh):
        assert {k: v for k, v in resumed.figures.items() if k != "seconds"} == other.figures


def test_other_settings_take_no_trainings_of_these(table: Run) -> None:
    data = table.data()
    keys = {
        curves.key_of(table, data, settings, shorter)
        for settings, shorter in ((SMALL, 1.0), (dataclasses.replace(SMALL, seed=1), 1.0), (SMALL, 0.5))
    }
    other = dataclasses.replace(data, fingerprint="other")
    assert len(keys | {curves.key_of(table, other, SMALL, 1.0)}) == 4


def test_subsets_are_trained_as_train_would_train_them(table: Run) -> None:
    data = table.data()
    half = dataclasses.replace(data, train=take(data.train, range(100)))
    recipe, steps = training.recipe_for(table, half)
    assert recipe.epochs == 3 and recipe.batch_size == table.task.recipe(half).batch_size
    assert steps == round(3 * (100 // min(int(recipe.batch_size), 100)))
    forwards = [training.trained(table, half, 5, "cpu", "float32")[0] for _ in range(2)]
    judged = [table.task.evaluate(forward, data.valid)[0] for forward in forwards]
    assert judged[0] == judged[1]
    assert training.trained(table, half, 5, "cpu", "float32", shorter=0.5)[1] == max(1, round(0.5 * steps))


def test_what_was_settled_by_trying_stays_settled(table: Run) -> None:
    data = table.data()
    info = {**table.info, "arguments": {"recipe": {"minutes": 5.0, "lr": "auto", "batch_size": "auto"}}}
    info["recipe"] = {**info["recipe"], "lr": 0.0123, "batch_size": 48}
    info["plan"] = {**info["plan"], "steps": 77}
    recipe, steps = training.recipe_for(Run(table.folder, info, table.task), data)
    assert (recipe.lr, recipe.batch_size, steps) == (0.0123, 48, 77)


def test_a_model_overfitted_on_purpose_is_found_and_a_healthy_one_is_not_accused(tmp_path: Path, table: Run) -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((160, 20))
    y = np.where((X[:, 0] > 0) ^ (rng.random(160) < 0.35), "yes", "no")
    settings = {"epochs": 60, "lr": 5e-3, "weight_decay": 0.0, "dropout": 0.0, "keep": "last", "evaluations": 20}
    run = lamina.train("tabular", data=(X, y), valid=0.3, out=str(tmp_path / "over"), **settings, **FEW)
    verdict = needs(Asked(run, Settings(curve=False), dataclasses.replace(run.source(), data=(X, y)), device="cpu"))
    told = " ".join(verdict.sentences)
    assert verdict.details["overfits"] and "It overfits since step" in told
    start = verdict.figures["gap_start_step"]["value"]
    assert start is not None and 0 < start < run.info["plan"]["steps"] / 2
    assert verdict.figures["gap"]["low"] > 0.05  # type: ignore[operator]
    assert "overfits since step" in verdict.pictures["training"].read_text()
    healthy = needs(Asked(table, Settings(curve=False), device="cpu"))
    assert not healthy.details["overfits"] and healthy.figures["gap_start_step"]["value"] is None


def test_numbers_as_answers(tmp_path: Path) -> None:
    """Less is better, and there are no classes: the curve is drawn, the rest is left out in words."""
    X, y = datasets.load_diabetes(return_X_y=True)
    run = lamina.train("tabular", data=(X, y), epochs=2, evaluations=2, out=str(tmp_path / "run"), **FEW)
    source = dataclasses.replace(run.source(), data=(X, y))
    verdict = needs(Asked(run, dataclasses.replace(SMALL, target=10.0), source, device="cpu"))
    assert verdict.figures["error_at_2x"]["value"] > 1  # type: ignore[operator]
    assert "one of K classes" in verdict.skipped["label_errors"] and "one of K classes" in verdict.skipped["memorized"]
    assert "rmse 10" in " ".join(verdict.sentences)
    assert "judged 2 times" in verdict.skipped["gap_start"]


def test_too_few_examples_for_three_sizes_are_refused_in_words(table: Run) -> None:
    data = table.data()
    few = dataclasses.replace(data, train=take(data.train, range(40)), fingerprint="few")
    verdict = needs(Asked(table, SMALL, few, device="cpu"))
    assert "a curve needs 3 sizes" in verdict.skipped["learning_curve"] and "error_at_2x" not in verdict.figures


def test_without_a_test_part_validation_stands_in_and_that_is_said(table: Run) -> None:
    data = table.data()
    none = take(data.test, [])
    verdict = needs(Asked(table, Settings(curve=False), dataclasses.replace(data, test=none), device="cpu"))
    assert verdict.details["part"] == "valid" and "valid stands in" in verdict.warnings[0]
    with pytest.raises(LaminaError, match="examples to judge on"):
        needs(
            Asked(table, Settings(curve=False), dataclasses.replace(data, test=none, valid=none, calibration=none), device="cpu")
        )
    with pytest.raises(LaminaError, match="examples to train on"):
        needs(Asked(table, Settings(curve=False), dataclasses.replace(data, train=none), device="cpu"))


def test_quick_is_cut_short_and_says_so(table: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curves, "QUICK_SECONDS", 1e-6)
    verdict = needs(Asked(table, Settings(quick=True, sizes=3), device="cpu"))
    assert verdict.details["law"]["shorter"] == 0.02 and any("--quick" in w for w in verdict.warnings)
    assert max(row["steps"] for row in verdict.tables["learning curve"]) < table.info["plan"]["steps"]


def test_contents_depend_on_inputs_alone(table: Run) -> None:
    rows = take(table.data().train, range(5))
    changed = {**rows, table.task.labels[0]: ["benign"] * 5}
    assert contents(table.task, rows) == contents(table.task, changed) and len(set(contents(table.task, rows))) == 5


@pytest.mark.parametrize(
    "fields",
    [
        {"sizes": 2},
        {"repeats": 0},
        {"folds": 1},
        {"target": -1.0},
        {"confidence": 1.0},
        {"examples": 1},
        {"suspects": 0},
        {"seed": -1},
    ],
)
def test_settings_that_make_no_sense_are_named(fields: dict[str, Any]) -> None:
    with pytest.raises(LaminaError, match=f"--{next(iter(fields))}: expected"):
        check(Settings(**fields))


def test_no_single_inputs(table: Run) -> None:
    with pytest.raises(LaminaError, match="no single inputs"):
        table.ask("needs", ["rose.jpg"])
