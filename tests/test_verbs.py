"""Every verb over every task that comes with Lamina, on its demo data, with a training of a few steps."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lamina
from lamina.cli import main
from lamina.data.columns import length
from lamina.find import task_names
from lamina.run import Run
from lamina.task import Columns
from lamina.verbs import QUESTIONS

TASKS = task_names()
SMALL = {"text-generation": ["--context", "64", "--width", "32", "--depth", "1", "--heads", "2"]}
"""Flags of networks that would take minutes to ask, where smaller ones are asked the same."""


def said(capsys: pytest.CaptureFixture[str], words: list[str], status: int = 0) -> list[Any]:
    """The JSON lines on standard output of one command with `--json`."""
    capsys.readouterr()
    assert main([*words, "--json"]) == status
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.fixture(scope="module", params=TASKS)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of the task, trained for three steps on a processor."""
    folder = tmp_path_factory.mktemp("runs") / request.param
    words = [
        "train",
        request.param,
        *SMALL.get(request.param, ()),
        "--steps",
        "3",
        "--batch-size",
        "32",
        "--device",
        "cpu",
        "--precision",
        "float32",
    ]
    assert main([*words, "--evaluations", "1", "--no-tensorboard", "--quiet", "--out", str(folder)]) == 0
    return lamina.load(folder)


def inputs_of(run: Run, folder: Path, count: int = 3) -> list[str]:
    """Files that `lamina predict` takes, made of the first test examples, by the modality of the task."""
    test, modality = run.data().test, run.task.inputs[0].modality
    if modality == "image":
        return [_picture(np.asarray(test["image"][i]), folder / f"{i}.png") for i in range(count)]
    if modality == "table":
        return [_table({name: test[name] for name in run.task.asks}, folder / "rows.csv", count)]
    if modality == "text":
        return [_text(str(test[run.task.asks[0]][i]), folder / f"{i}.md") for i in range(count)]
    if modality == "observation":
        return [_observation(np.asarray(test[run.task.asks[0]][i]), folder / f"{i}.json") for i in range(count)]
    raise AssertionError(f"no files are made of {modality} yet: a new modality adds its line here")


def _picture(pixels_CHW: np.ndarray, path: Path) -> str:
    from PIL import Image

    channels_last = np.moveaxis(pixels_CHW, 0, -1)
    Image.fromarray(channels_last[..., 0] if channels_last.shape[-1] == 1 else channels_last).save(path)
    return str(path)


def _observation(numbers: np.ndarray, path: Path) -> str:
    path.write_text(json.dumps({"observation": numbers.tolist()}))
    return str(path)


def _text(text: str, path: Path) -> str:
    path.write_text(text)
    return str(path)


def _table(columns: Columns, path: Path, count: int) -> str:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows([[column[i] for column in columns.values()] for i in range(count)])
    return str(path)


def test_train_leaves_a_finished_run_with_intervals(run: Run) -> None:
    assert run.info["status"] == "finished" and (run.folder / "model.safetensors").is_file()
    assert run.task.headline[0] in run.info["metrics"]
    for bounds in run.info["metrics"].values():
        assert bounds["low"] <= bounds["value"] <= bounds["high"]


def test_train_prints_one_object(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "train",
        run.task.name,
        "--steps",
        "1",
        "--batch-size",
        "16",
        "--device",
        "cpu",
        "--no-tensorboard",
        "--evaluations",
        "1",
    ]
    (made,) = said(capsys, [*words, "--out", str(tmp_path / "run")])
    assert made["run"] == str(tmp_path / "run") and set(made["metrics"]) == set(run.info["metrics"])
    (again,) = said(capsys, ["train", "--resume", str(tmp_path / "run")])
    assert again["run"] == made["run"] and again["metrics"] == made["metrics"]


def test_evaluate(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", str(run.folder), "--device", "cpu", "--precision", "float32"]
    (made,) = said(capsys, [*words, "--resamples", "50", "--out", str(tmp_path / "e.json")])
    assert json.loads((tmp_path / "e.json").read_text()) == made
    for name, bounds in run.info["metrics"].items():
        assert made["metrics"][name]["value"] == pytest.approx(bounds["value"], abs=1e-6)
    assert made["count"] == length(run.data().test) and made["part"] == "test"
    (valid,) = said(capsys, [*words, "--part", "valid", "--resamples", "0", "--batch-size", "7"])
    assert valid["count"] == length(run.data().valid)
    assert main([*words, "--split-seed", "1"]) == 2  # or what was trained on would be tested on
    assert "--split-seed: goes with --data" in capsys.readouterr().err
    assert main([*words[:2], "--resamples", "20"]) == 0
    shown = capsys.readouterr().out
    assert run.task.headline[0] in shown and max(len(line) for line in shown.splitlines()) <= 80


def test_predict(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = inputs_of(run, tmp_path)
    answers = said(capsys, ["predict", str(run.folder), *files])
    assert len(answers) == 3 and all(answer["source"] for answer in answers)
    forward, test = run.forward("cpu", "float32"), run.data().test
    if run.task.acts:  # what is evaluated are episodes: the answers to the same observations stand for them
        said_of = run.task.predict(forward, run.task.encode(test, "evaluate"))
        predictions, names = {"action": [answer["action"] for answer in said_of]}, ("action",)
    else:
        predictions, names = run.task.evaluate(forward, test)[1], ("label", "value", "text")
    (name,) = [name for name in names if name in answers[0]]
    for answer, known in zip(answers, predictions.get(name, ()), strict=False):  # the same as from labelled data: no serving skew
        assert answer[name] == (pytest.approx(float(known), rel=1e-2) if name == "value" else known)
    assert name != "label" or 0 <= answers[0]["probability"] <= 1
    assert main(["predict", str(run.folder), *files]) == 0
    assert len(list(csv.reader(io.StringIO(capsys.readouterr().out), delimiter="\t"))) == 4  # a header and three rows
    (told,) = said(capsys, ["predict", str(run.folder), *files, "--out", str(tmp_path / "answers.csv")])
    assert told == {"out": str(tmp_path / "answers.csv"), "answers": 3, "bad": 0}


def test_predict_goes_on_after_a_bad_input(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = inputs_of(run, tmp_path)
    answers = said(capsys, ["predict", str(run.folder), *files, str(tmp_path / "nowhere")], status=2)
    assert len(answers) == 4 and answers[-1] == {"error": "1 of 4 inputs could not be answered"}


def test_compare(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other"
    words = [
        "train",
        run.task.name,
        *SMALL.get(run.task.name, ()),
        "--steps",
        "2",
        "--batch-size",
        "32",
        "--device",
        "cpu",
        "--no-tensorboard",
        "--evaluations",
        "1",
    ]
    assert main([*words, "--seed", "1", "--quiet", "--out", str(other)]) == 0
    (made,) = said(capsys, ["compare", str(run.folder), str(other), "--resamples", "50"])
    (pair,) = made["pairs"]
    assert (pair["a"], pair["b"]) == (run.folder.name, "other") and pair["verdict"] and 0 < pair["p_value"] <= 1
    assert pair["metric"] == run.task.headline[0]
    if "label" in run.task.predict(run.forward("cpu"), run.task.encode(run.data().test, "evaluate"))[0]:
        assert sum(pair["mcnemar"][kind] for kind in ("both", "only_a", "only_b", "neither")) == made["count"]
    assert main(["compare", str(run.folder), str(other), "--resamples", "50"]) == 0
    assert pair["verdict"] in capsys.readouterr().out


def test_scan(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the inputs alone, without labels: what is wrong is told, and nothing fails."""
    files = inputs_of(run, tmp_path, count=20)
    capsys.readouterr()
    status = main(["scan", str(tmp_path) if len(files) > 1 else files[0], "--json"])
    made = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert status == (2 if "error" in made else 1 if made["errors"] else 0)
    assert "defect in Lamina" not in made.get("error", "")


def test_check(capsys: pytest.CaptureFixture[str]) -> None:
    """On one of them: test_tasks walks through all, which takes a while."""
    (made,) = said(capsys, ["check", "tabular"])
    assert made == {"task": "tabular", "problems": []}


def test_tasks(capsys: pytest.CaptureFixture[str]) -> None:
    (made,) = said(capsys, ["tasks"])
    assert [row["task"] for row in made["tasks"]] == TASKS == [kind.name for kind in lamina.tasks()]
    for row in made["tasks"]:
        assert row["about"] and row["formats"] and row["models"] and row["metric"] and row["better"] in ("max", "min")
    assert main(["tasks"]) == 0
    shown = capsys.readouterr().out
    assert all(f"{name}: " in shown for name in TASKS) and max(len(line) for line in shown.splitlines()) <= 80


def test_doctor(capsys: pytest.CaptureFixture[str]) -> None:
    (made,) = said(capsys, ["doctor"])
    assert made["devices"] and made["torch"]


QUICK = {
    "explain": ["--quick", "--examples", "8", "--resamples", "100"],
    "inspect": ["--quick"],
    "stress": ["--quick", "--attack-examples", "8", "--attack-queries", "20", "--corruption-examples", "20", "--resamples", "50"],
    "needs": ["--no-curve"],
    "shrink": ["--method", "int8-weights", "--resamples", "50"],
    "export": [],
    "bench": ["--quick"],
    "report": ["--quick"],
}
"""Flags that keep each question short."""


@pytest.fixture(scope="module")
def asked(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A copy of the run that questions may write into: `stress` stores a temperature, which changes what is answered."""
    return lamina.load(shutil.copytree(run.folder, tmp_path_factory.mktemp("asked") / run.folder.name))


@pytest.mark.parametrize("verb", QUESTIONS)
def test_every_question_to_every_task(verb: str, asked: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--out", str(tmp_path / "made")] if verb in ("shrink", "export") else []
    (made,) = said(capsys, [verb, str(asked.folder), *QUICK[verb], *out, "--device", "cpu"])
    assert made["verb"] == verb and made["sentences"] and made["figures"] and not made["failed"]
    for name, figure in made["figures"].items():
        value, low, high = figure["value"], figure["low"], figure["high"]
        assert None in (value, low, high) or low <= value <= high, name
    assert all(Path(path).stat().st_size > 100 for path in made["pictures"].values())
    kept = asked.kept(verb)
    assert kept is not None and list(kept.sentences) == made["sentences"]


def test_what_is_named_is_explained(asked: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = inputs_of(asked, tmp_path)
    (made,) = said(capsys, ["explain", str(asked.folder), *files, *QUICK["explain"], "--device", "cpu"])
    assert made["sentences"] and made["pictures"] and "asked" in next(iter(made["pictures"].values()))


def test_a_requirement_holds_a_run_back(asked: Run, capsys: pytest.CaptureFixture[str]) -> None:
    name, direction = asked.task.headline
    beyond = f"{name}>=1000" if direction == "max" else f"{name}<=-1"
    (made,) = said(capsys, ["report", str(asked.folder), "--quick", "--require", beyond], 3)
    assert made["failed"] and name in made["failed"][0]
