"""The run: what a folder holds, that it opens safely and everywhere, and that runs of released formats stay loadable."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import lamina
from lamina.errors import LaminaError
from lamina.run import FORMAT, Run, claimed, load_tensors, named_tensors

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "digits"
    return lamina.train(
        "image-classification", model_name="mlp", width=0.1, steps=30, out=str(folder), quiet=True, tensorboard=False
    )


@pytest.fixture
def copy(made, tmp_path):
    return Path(shutil.copytree(made.folder, tmp_path / "copy"))


@pytest.mark.parametrize("folder", sorted(p for p in GOLDEN.iterdir() if p.is_dir()), ids=lambda p: p.name)
def test_runs_of_every_format_load_and_answer_as_they_did(folder):
    """Made once by the version that introduced the format, and never made again."""
    run = lamina.load(folder)
    expected = json.loads((folder / "expected.json").read_text())
    answers = run.predict([np.asarray(picture, dtype=np.uint8) for picture in expected["pictures"]], precision="float32")
    for answer, before in zip(answers, expected["answers"], strict=True):
        assert answer["label"] == before["label"]
        assert answer["probability"] == pytest.approx(before["probability"], abs=1e-4)


def test_there_is_a_golden_run_of_the_current_format():
    assert FORMAT in {json.loads((p / "run.json").read_text())["format"] for p in GOLDEN.iterdir() if p.is_dir()}


def test_the_folder_holds_what_the_design_says(made):
    names = {p.name for p in made.folder.iterdir()}
    assert {"run.json", "model.safetensors", "processor", "metrics.jsonl"} <= names
    info = json.loads((made.folder / "run.json").read_text())
    assert info["status"] == "finished" and info["seed"] == 0 and info["data"]["fingerprint"]
    assert {"task", "hyperparameters", "recipe", "plan", "source", "versions", "metrics", "weights"} <= info.keys()
    assert not [p for p in made.folder.rglob("*") if p.suffix in (".pkl", ".pt", ".pth", ".bin")], "no pickle anywhere"
    assert not [p for p in made.folder.rglob("*") if "tmp" in p.name], "nothing half written"


def test_a_run_moves_and_answers_without_its_data(made, copy):
    digit = made.data().test["image"][0]
    assert lamina.load(copy).predict([digit]) == made.predict([digit])


def test_python_and_files_agree(made, tmp_path):
    from PIL import Image

    digit = made.data().test["image"][3]
    Image.fromarray(digit[0]).save(tmp_path / "digit.png")
    by_file, by_array = made.predict(tmp_path / "digit.png")[0], made.predict([digit])[0]
    assert by_file["source"].endswith("digit.png")
    assert {k: v for k, v in by_file.items() if k != "source"} == {k: v for k, v in by_array.items() if k != "source"}


def test_a_changed_weight_is_named(copy):
    tensors = load_file(copy / "model.safetensors")
    name = next(n for n in tensors if n.endswith("weight"))
    tensors[name].view(-1)[0] += 1
    save_file(tensors, copy / "model.safetensors")
    with pytest.raises(LaminaError, match=f"the weight '{name}' is not the one"):
        lamina.load(copy).model()


def test_a_cut_off_file_is_named(copy):
    content = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(LaminaError, match="expected a whole safetensors file"):
        lamina.load(copy).model()


def test_a_newer_format_is_refused(copy):
    info = json.loads((copy / "run.json").read_text())
    (copy / "run.json").write_text(json.dumps({**info, "format": FORMAT + 1}))
    with pytest.raises(LaminaError, match="it needs a newer Lamina"):
        lamina.load(copy)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"format": "x", "task": 3}'])
def test_a_broken_run_json_is_one_line(copy, content):
    (copy / "run.json").write_text(content)
    with pytest.raises(LaminaError) as error:
        lamina.load(copy)
    assert "\n" not in str(error.value) and "copy" in str(error.value)


def test_what_is_no_run_is_named(tmp_path):
    with pytest.raises(LaminaError, match="there is no such folder"):
        lamina.load(tmp_path / "nowhere")
    with pytest.raises(LaminaError, match="it holds none"):
        lamina.load(tmp_path)


def test_an_unfinished_run_says_how_to_go_on(copy):
    (copy / "model.safetensors").unlink()
    with pytest.raises(LaminaError, match=r"model\.safetensors: expected the weights of the run"):
        lamina.load(copy).model()
    info = json.loads((copy / "run.json").read_text())
    (copy / "run.json").write_text(json.dumps({**info, "status": "interrupted"}))
    with pytest.raises(LaminaError, match="--resume"):
        lamina.load(copy).model()


def test_opening_a_run_imports_no_file_of_its_own(copy, tmp_path):
    info = json.loads((copy / "run.json").read_text())
    evil = tmp_path / "evil.py"
    evil.write_text("raise SystemExit('ran')")
    (copy / "run.json").write_text(json.dumps({**info, "task_file": str(evil)}))
    with pytest.raises(LaminaError, match="which opening a run never imports; name it"):
        lamina.load(copy)


def test_data_that_changed_since_are_told(tmp_path):
    table = tmp_path / "t.csv"
    rows = "".join(f"{i % 17}.5,{'ab'[i % 2]}\n" for i in range(60))
    table.write_text("x,label\n" + rows)
    settings = {"steps": 1, "quiet": True, "tensorboard": False, "bad_data": "quarantine"}
    run = lamina.train("tabular", data=str(table), out=str(tmp_path / "run"), **settings)
    assert run.evaluate(resamples=0).part == "test"
    table.write_text("x,label\n" + rows + "99.5,a\n")
    with pytest.raises(LaminaError, match="the data it was trained on have changed; name some to judge it on"):
        run.evaluate()


def test_a_run_cannot_name_code_to_import(copy, tmp_path):
    evil = tmp_path / "evil.py"
    evil.write_text("raise SystemExit('ran')")
    info = json.loads((copy / "run.json").read_text())
    (copy / "run.json").write_text(json.dumps({**info, "task": str(evil)}))
    with pytest.raises(LaminaError, match="does not come with Lamina; name its file with --task"):
        lamina.load(copy)


def test_tied_weights_are_saved_once_and_come_back_tied():
    class Tied(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a = torch.nn.Linear(3, 3, bias=False)
            self.b = torch.nn.Linear(3, 3, bias=False)
            self.b.weight = self.a.weight

    one, other = Tied(), Tied()
    assert list(named_tensors(one)) == ["a.weight"]
    load_tensors(other, named_tensors(one))
    assert torch.equal(other.b.weight, one.a.weight) and other.b.weight is other.a.weight


def test_weights_of_another_model_are_named():
    with pytest.raises(LaminaError, match="'bias' is missing, extra or of another shape"):
        load_tensors(torch.nn.Linear(2, 2), {"weight": torch.zeros(2, 2)})


def test_starting_from_another_runs_weights(made, tmp_path):
    settings = {"model_name": "mlp", "width": 0.1, "steps": 1, "lr": 1e-6, "quiet": True, "tensorboard": False, "warmup": 0.0}
    run = lamina.train("image-classification", out=str(tmp_path / "next"), init=str(made.folder), **settings)
    assert run.info["metrics"]["accuracy"]["value"] == pytest.approx(made.info["metrics"]["accuracy"]["value"], abs=0.03)
    with pytest.raises(LaminaError, match="--init: expected a run with weights that fit"):
        lamina.train("tabular", out=str(tmp_path / "other"), init=str(made.folder), steps=1, quiet=True, tensorboard=False)


def test_run_folders_count_up(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("runs/x-03").mkdir(parents=True)
    with claimed("x") as first, claimed("x") as second, claimed("x") as third:
        assert [first, second, third] == [Path(f"runs/x-{n}") for n in ("01", "02", "04")]
        (second / "run.json").write_text("{}")
    assert [path.name for path in sorted(Path("runs").iterdir())] == ["x-02", "x-03"]  # what stayed empty is gone


def test_repr_says_what_it_is(made):
    assert "image-classification" in repr(made) and isinstance(made, Run)
