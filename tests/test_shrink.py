"""The verb shrink: every method makes a run that loads again to the bit, remembers its parent, and costs what it says."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lamina
from lamina.errors import LaminaError
from lamina.run import Run, named_tensors
from lamina.shrink.api import CostsTooMuch
from lamina.shrink.settings import Settings, check
from lamina.task import Batch, Output
from lamina.train import teacher
from lamina.train.api import train
from lamina.train.loop import Learner

METHODS: dict[str, dict[str, Any]] = {
    "int8": {"examples": 64},
    "int8-weights": {},
    "int4-weights": {"group_size": 16},
    "prune": {"sparsity": 0.5, "epochs": 1},
    "prune-channels": {"flops": 0.6, "epochs": 1, "multiple": 1},
    "low-rank": {"energy": 0.5, "epochs": 1},
    "distill": {"student": "width=0.2", "epochs": 1, "hints": 1.0},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A small network for the demo pictures, trained for a moment."""
    folder = tmp_path_factory.mktemp("runs") / "digits"
    return lamina.train(
        "image-classification",
        width=0.25,
        epochs=3,
        evaluations=1,
        device="cpu",
        precision="float32",
        quiet=True,
        tensorboard=False,
        out=str(folder),
    )


@pytest.fixture(scope="module", params=list(METHODS))
def made(request: pytest.FixtureRequest, run: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Run, Any]:
    method = request.param
    if method == "int8":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
    folder = tmp_path_factory.mktemp("shrunk") / method
    verdict = run.ask("shrink", method=method, out=str(folder), resamples=100, **METHODS[method])
    return method, Run.load(folder), verdict


def answers(run: Run) -> np.ndarray:
    batch = run.task.encode({"image": run.data().test["image"]}, "predict")
    return run.forward("cpu")(batch["image"])["logits"].numpy()  # type: ignore[call-overload]


def test_a_shrunk_run_loads_again_to_the_bit_and_remembers_its_parent(made: tuple[str, Run, Any], run: Run) -> None:
    method, child, _ = made
    np.testing.assert_array_equal(answers(child), answers(Run.load(child.folder)))
    assert child.info["parent"] == {"run": str(run.folder.resolve()), "weights": run.fingerprint()}
    assert child.info["shrink"]["method"] == method and child.info["status"] == "finished"
    assert child.fingerprint() != run.fingerprint()
    assert [s["surgery"] for s in child.info.get("surgeries", [])] == [
        s["surgery"] for s in json.loads((child.folder / "run.json").read_text()).get("surgeries", [])
    ]
    assert not list(child.folder.glob("start*"))
    assert child.predict(run.data().test["image"][0])[0]["label"] in child.task.classes  # type: ignore[attr-defined]


def test_what_it_cost_is_what_evaluate_finds(made: tuple[str, Run, Any], run: Run) -> None:
    _, child, verdict = made
    own, parents = (lamina.evaluate(r).metrics["accuracy"]["value"] for r in (child, run))
    cost = verdict.figures["accuracy_drop"]
    assert cost["value"] == pytest.approx(100 * (parents - own))
    assert cost["low"] <= cost["value"] <= cost["high"]
    assert child.info["metrics"]["accuracy"]["value"] == own
    for name in ("size_ratio", "parameters_ratio", "flops_ratio", "latency_ratio"):
        assert verdict.figures[name]["value"] > 0
    assert any(str(child.folder) in sentence for sentence in verdict.sentences)
    json.dumps(verdict.as_json(), allow_nan=False)


def test_each_method_does_what_it_is_for(made: tuple[str, Run, Any], run: Run) -> None:
    method, child, verdict = made
    figures = {name: value["value"] for name, value in verdict.figures.items()}
    if method == "int8":
        assert figures["size_ratio"] < 1 and abs(figures["accuracy_drop"]) < 2
        assert child.info["forward"] == {"kind": "onnx", "file": "model.int8.onnx"}
        assert not (child.folder / "model.safetensors").exists()
        with pytest.raises(LaminaError, match=r"answers by model\.int8\.onnx"):
            child.model()
        with pytest.raises(LaminaError, match=r"answers by model\.int8\.onnx"):
            child.ask("shrink", method="prune")
    elif method in ("int8-weights", "int4-weights"):
        assert (
            child.model().head.weight.dtype == torch.int8
            if method == "int8-weights"
            else child.model().head.packed.dtype == torch.uint8
        )  # type: ignore[union-attr]
        assert figures["parameters_ratio"] == 1 and figures["size_ratio"] < 1
    elif method == "prune":
        weights = [
            t
            for n, t in named_tensors(child.model()).items()
            if n.endswith("weight") and t.ndim > 1 and not n.startswith("whiten")
        ]
        assert sum(int((w == 0).sum()) for w in weights) / sum(w.numel() for w in weights) == pytest.approx(0.5, abs=1e-3)
        assert "surgeries" not in child.info and figures["compressed_size_ratio"] < 0.8 and figures["size_ratio"] > 0.95
    elif method == "prune-channels":
        assert 0.3 < figures["flops_ratio"] <= 0.6 and figures["parameters_ratio"] < 1 and figures["size_ratio"] < 1
    elif method == "low-rank":
        assert figures["parameters_ratio"] < 1 and {s["surgery"] for s in child.info["surgeries"]} == {"low-rank"}
    else:
        assert figures["parameters_ratio"] < 1 and child.task.width == 0.2  # type: ignore[attr-defined]
        assert not [n for n in named_tensors(child.model()) if "projector" in n] and "teacher" not in child.info


def test_a_run_that_answers_by_a_graph_answers_for_itself(made: tuple[str, Run, Any], tmp_path: Path) -> None:
    method, child, _ = made
    copied = Run.load(shutil.copytree(child.folder, tmp_path / "copy"))
    verdict = copied.ask("stress", quick=True, corruption_examples=10, attack_examples=4, attack_queries=10, resamples=20)
    assert ("attacks" in verdict.skipped) == (method == "int8") == ("robust_accuracy" not in verdict.figures)
    assert "corruption" in verdict.figures and "ece" in verdict.figures
    assert Run.load(copied.folder).temperature() == verdict.figures["temperature"]["value"]


def test_bench_weighs_the_file_that_answers(made: tuple[str, Run, Any]) -> None:
    from lamina.bench.cost import folder_bytes
    from lamina.bench.variants import of_run
    from lamina.shrink.measure import size_of

    _, child, _ = made
    assert folder_bytes(of_run(child, "child", "cpu", None).files) > size_of(child)


def test_a_ruined_model_is_refused_and_nothing_is_left(run: Run, tmp_path: Path) -> None:
    before = {p: p.read_bytes() for p in run.folder.rglob("*") if p.is_file()}
    ruin: dict[str, Any] = {"method": "prune", "sparsity": 0.999, "epochs": 0, "max_drop": 0.5, "resamples": 50}
    with pytest.raises(CostsTooMuch, match=r"to fall by 0\.5 points of accuracy at most; prune costs") as caught:
        run.ask("shrink", out=str(tmp_path / "ruined"), **ruin)
    assert caught.value.exit_status == 3
    assert not list(tmp_path.iterdir())
    assert {p: p.read_bytes() for p in run.folder.rglob("*") if p.is_file()} == before
    kept = run.ask("shrink", method="int8-weights", max_drop=0.5, out=str(tmp_path / "kept"), resamples=50)
    assert kept.figures["accuracy_drop"]["value"] <= 0.5 and (tmp_path / "kept" / "run.json").exists()


def test_a_failure_leaves_nothing_and_an_old_folder_is_not_touched(run: Run, tmp_path: Path) -> None:
    with pytest.raises(LaminaError, match="expected a share of"):
        run.ask("shrink", method="prune-channels", flops=0.001, out=str(tmp_path / "new"))
    assert not (tmp_path / "new").exists()
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "letter").write_text("dear")
    with pytest.raises(LaminaError, match="is there already"):
        run.ask("shrink", method="int8-weights", out=str(tmp_path / "old"))
    assert (tmp_path / "old" / "letter").read_text() == "dear"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"method": "distill"}, "--student: expected what makes"),
        ({"method": "distill", "student": "width"}, "name=value"),
        ({"method": "distill", "student": "depht=3"}, "--student: .*depht"),
        ({"method": "distill", "student": "width=wide"}, "--student: --width"),
        ({"method": "distill", "student": "size=6"}, "takes the teacher's inputs"),
        ({"method": "prune", "student": "width=0.5"}, "--student: expected --method distill"),
        ({"method": "int8", "epochs": 3}, "trains nothing"),
        ({"method": "prune", "epochs": 3, "minutes": 1}, "got --epochs as well"),
        ({"flops": 1.0}, "--flops"), ({"sparsity": 0.0}, "--sparsity"), ({"energy": float("nan")}, "--energy"),
        ({"group_size": 3}, "--group-size"), ({"max_drop": -1.0}, "--max-drop"), ({"examples": 0}, "--examples"),
        ({"method": "distill", "student": "width=0.5", "epochs": 0}, "knows nothing"),
    ],
)  # fmt: skip
def test_mistakes_are_told_in_words(run: Run, tmp_path: Path, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(LaminaError, match=words):
        run.ask("shrink", out=str(tmp_path / "new"), **fields)
    assert not (tmp_path / "new").exists()


def test_without_its_libraries_int8_says_how_to_install_them(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("onnxruntime", "onnxruntime.quantization"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(LaminaError, match=r"pip install 'lamina\[export\]'"):
        run.ask("shrink", method="int8", out=str(tmp_path / "new"))
    assert not (tmp_path / "new").exists()


def damaged(change: Callable[[dict[str, Any]], None], folder: Path) -> Run:
    info = json.loads((folder / "run.json").read_text())
    change(info)
    (folder / "run.json").write_text(json.dumps(info))
    return Run.load(folder)


def test_damage_is_told(run: Run, tmp_path: Path) -> None:
    run.ask("shrink", method="prune-channels", epochs=0, flops=0.7, multiple=1, out=str(tmp_path / "pruned"), resamples=20)
    shutil.copytree(tmp_path / "pruned", tmp_path / "copy")
    with pytest.raises(LaminaError, match="surgery 1 of"):
        damaged(lambda i: i["surgeries"][0].update(keep=[5, 5]), tmp_path / "copy").model()
    with pytest.raises(LaminaError, match="missing, extra or of another shape"):
        damaged(lambda i: i.update(surgeries=[]), tmp_path / "copy").model()
    with pytest.raises(LaminaError, match="expected forward to be"):
        damaged(lambda i: i.update(forward={"kind": "onnx", "file": "../../etc/passwd"}), tmp_path / "copy").forward()
    (tmp_path / "copy" / "m.onnx").write_bytes(b"no graph")
    with pytest.raises(LaminaError, match="changed or damaged"):
        damaged(lambda i: i.update(forward={"kind": "onnx", "file": "m.onnx"}), tmp_path / "copy").forward()


def test_training_goes_on_from_a_shrunk_run(run: Run, tmp_path: Path) -> None:
    run.ask("shrink", method="prune-channels", epochs=0, flops=0.7, multiple=1, out=str(tmp_path / "pruned"), resamples=20)
    pruned = Run.load(tmp_path / "pruned")
    common = {"width": 0.25, "steps": 2, "evaluations": 1, "device": "cpu", "quiet": True, "tensorboard": False}
    further = train("image-classification", init=str(pruned.folder), out=str(tmp_path / "further"), **common)
    assert further.info["surgeries"] == pruned.info["surgeries"]
    shapes = [{n: t.shape for n, t in named_tensors(r.model()).items()} for r in (pruned, further)]
    assert shapes[0] == shapes[1]
    with pytest.raises(LaminaError, match=r"fit the network|of size"):
        train("image-classification", init=str(pruned.folder), out=str(tmp_path / "other"), **{**common, "width": 0.5})
    again = pruned.ask("shrink", method="int8-weights", out=str(tmp_path / "both"), resamples=20)
    both = Run.load(tmp_path / "both")
    assert {s["surgery"] for s in both.info["surgeries"]} == {"narrow", "int8-weights"} and again.figures["size_ratio"][
        "value"
    ] < 1


@pytest.mark.parametrize(
    ("method", "how"),
    [
        ("prune-channels", {"multiple": 1}),
        ("prune", {}),
        ("distill", {"student": "width=0.2"}),
        ("distill", {"student": "width=0.2", "hints": 1.0}),
    ],
    ids=["prune-channels", "prune", "distill", "distill with hints"],
)
def test_an_interrupted_training_goes_on_to_the_same_bits(
    run: Run, tmp_path: Path, method: str, how: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And to the same run: what served the training alone is gone from both."""
    how = {"epochs": 0.5, **how}
    run.ask("shrink", method=method, out=str(tmp_path / "whole"), resamples=20, **how)
    step = Learner.step

    def stopping(self: Learner, number: int, progress: float) -> tuple[float, float]:
        if number == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, number, progress)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Learner, "step", stopping)
        run.ask("shrink", method=method, out=str(tmp_path / "stopped"), resamples=20, **how)
    resumed = train("", resume=tmp_path / "stopped")
    one, other = (named_tensors(r.model()) for r in (Run.load(tmp_path / "whole"), resumed))
    assert one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)
    assert resumed.info.get("surgeries") == Run.load(tmp_path / "whole").info.get("surgeries")
    assert not {"passing", "teacher"} & resumed.info.keys() and not list(resumed.folder.glob("start*"))


def test_a_teacher_is_listened_to_by_temperature_and_share() -> None:
    """Against the formula, written out in numpy."""
    student, taught = np.random.default_rng(0).normal(size=(2, 5, 4))
    softened = [np.exp(x / 3) / np.exp(x / 3).sum(1, keepdims=True) for x in (student, taught)]
    expected = 9 * (softened[1] * np.log(softened[1] / softened[0])).sum(1)
    found = teacher.softened_divergence(torch.from_numpy(student), torch.from_numpy(taught), 3.0)
    np.testing.assert_allclose(found.numpy(), expected)

    class Inputs:
        def outputs(self, forward: Any, batch: Batch) -> Output:
            return forward(batch["x"])

    own = torch.arange(5.0)
    listening = teacher.Teacher(Inputs(), lambda x: {"logits": torch.from_numpy(taught)}, 3.0, 0.25, 0.0)  # type: ignore[arg-type]
    terms = listening({"loss": (own, torch.ones(5))}, {"logits": torch.from_numpy(student)}, {"x": torch.zeros(5)})
    total = sum(t for t, _ in terms.values())
    np.testing.assert_allclose(total.numpy(), 0.75 * own.numpy() + 0.25 * expected)  # type: ignore[union-attr]


def test_outputs_without_logits_are_compared_as_they_are() -> None:
    value, other = torch.tensor([[1.0], [3.0]]), torch.tensor([[2.0], [3.0]])
    found = teacher.answer_distance({"value": other, "features": other}, {"value": value, "features": value}, 4.0)
    assert found.tolist() == [1.0, 0.0]  # the teacher's values have variance 1
    assert teacher.answer_distance(other, value, 4.0).tolist() == [1.0, 0.0]
    with pytest.raises(LaminaError, match="outputs in common"):
        teacher.answer_distance({"boxes": value}, {"value": value}, 4.0)
    with pytest.raises(LaminaError, match="logits of the teacher's shape"):
        teacher.answer_distance({"logits": torch.zeros(2, 3)}, {"logits": torch.zeros(2, 4)}, 4.0)


def test_checking_settings_is_light() -> None:
    import subprocess

    code = "import lamina.shrink.settings, sys; print([m for m in ('torch', 'numpy') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    check(Settings())


def test_tables_too(tmp_path: Path) -> None:
    table = lamina.train(
        "tabular", steps=20, evaluations=1, device="cpu", quiet=True, tensorboard=False, out=str(tmp_path / "table")
    )
    for method in ("int8-weights", "prune-channels", "distill"):
        more: dict[str, Any] = {"student": "width=32"} if method == "distill" else {}
        more |= {} if method == "int8-weights" else {"epochs": 1}
        verdict = table.ask("shrink", method=method, out=str(tmp_path / method), resamples=20, **more)  # type: ignore[arg-type]
        assert verdict.figures["size_ratio"]["value"] < 1 and Run.load(tmp_path / method).forward()
