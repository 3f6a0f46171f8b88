"""What a model said, substitutes for unknown inputs, and the parts over real runs of pictures, classes of rows, and numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import lamina
from lamina.data.columns import length
from lamina.data.source import Data
from lamina.errors import LaminaError
from lamina.evaluate import evaluate
from lamina.predict import predict
from lamina.run import Run
from lamina.stress import substitutes as made_up
from lamina.stress.calibration_part import calibration_part
from lamina.stress.held import hold, sampled
from lamina.stress.promises_part import promises_part
from lamina.stress.said import ask
from lamina.stress.settings import Settings
from lamina.stress.slices_part import slices_part
from lamina.stress.unknown_part import unknown_part
from lamina.task import Columns
from test_stress_calibration import coins, times
from tiny_task import Tiny, TinyRun, rows

FAST = Settings(resamples=20, examples=300, quick=True)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("runs") / "pictures"
    fields = {"model_name": "mlp", "steps": 150, "evaluations": 1, "device": "cpu", "quiet": True, "tensorboard": False}
    return lamina.train("image-classification", out=str(out), views="mirror", mirror="on", **fields)


def regression_table(folder: Path, count: int = 1200) -> str:
    """y = a + noise that grows with b."""
    rng = np.random.default_rng(0)
    a_N, b_N = rng.normal(size=count), rng.uniform(0.1, 2, count)
    y_N = a_N + b_N * rng.normal(size=count)
    lines = [f"{a:.5f},{b:.5f},{y:.5f}" for a, b, y in zip(a_N, b_N, y_N, strict=True)]
    path = folder / "table.csv"
    path.write_text("\n".join(["a,b,y", *lines]))
    return str(path)


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("numbers")
    fields = {
        "steps": 300,
        "evaluations": 1,
        "device": "cpu",
        "quiet": True,
        "tensorboard": False,
        "calibration": 0.2,
        "test": 0.3,
    }
    return lamina.train("tabular", data=regression_table(folder), label="y", out=str(folder / "run"), **fields)


def test_answers_from_several_views_are_what_is_calibrated(pictures: Run) -> None:
    forward = pictures.forward("cpu", "float32", calibrated=False)
    test = sampled(pictures.data().test, 40, 0)
    said = ask(pictures.task, forward, test)
    assert said.kind == "class" and said.logits_NK is not None and said.last_NK is not None
    _, told = pictures.task.evaluate(forward, test)
    np.testing.assert_allclose(said.p_NK, told["probabilities"], atol=1e-6)
    assert not np.allclose(
        said.logits_NK - said.logits_NK.mean(1, keepdims=True), said.last_NK - said.last_NK.mean(1, keepdims=True)
    )
    assert said.names == pictures.task.decoder.names  # type: ignore[attr-defined]
    assert said.error_N is not None and 1 - said.error_N.mean() == pytest.approx(evaluate(pictures, Data({}, {}, {}, test), "test", 0,
        forward=forward).metrics["accuracy"]["value"])  # fmt: skip


def test_a_stored_temperature_changes_probabilities_and_no_label(pictures: Run) -> None:
    test = sampled(pictures.data().test, 60, 0)
    plain = list(predict(pictures, {"image": test["image"]}, device="cpu", precision="float32"))
    raw = evaluate(pictures, device="cpu", precision="float32", resamples=0).metrics
    pictures.keep_temperature(2.5)
    try:
        warm = list(predict(pictures, {"image": test["image"]}, device="cpu", precision="float32"))
        again = evaluate(Run.load(pictures.folder), device="cpu", precision="float32", resamples=0).metrics
    finally:
        pictures.forget()
    assert [a["label"] for a in warm] == [a["label"] for a in plain]
    for one, other in zip(plain, warm, strict=True):
        expected = torch.tensor(list(one["probabilities"].values()), dtype=torch.float64).log().div(2.5).softmax(0)
        np.testing.assert_allclose(list(other["probabilities"].values()), expected, atol=1e-5)
    assert again["accuracy"] == raw["accuracy"] and again["log_loss"] != raw["log_loss"]


def test_every_part_over_pictures(pictures: Run) -> None:
    held = hold(pictures, None, FAST, pictures.forward("cpu", "float32", calibrated=False), 100)
    calibrated = calibration_part(held, FAST)
    held = held.at(calibrated.details["temperature"])
    unknown = unknown_part(held, FAST)
    assert {row["unknown"] for row in unknown.tables["unknown_inputs"]} == {"noise", "shuffled patches", "photographs"}
    assert {row["method"] for row in unknown.tables["unknown_inputs"]} == {"msp", "energy", "knn", "vim"}
    assert unknown.figures["unknown_auroc"]["value"] > 0.6 and unknown.figures["known_accepted"]["value"] > 0.85
    promised, slices = promises_part(held, FAST), slices_part(held, FAST)
    assert promised.figures["coverage_lac"]["value"] > 0.8 and slices.figures["slices_looked_at"]["value"] > 10
    assert any(row["group"].startswith("brightness") for row in slices.tables["slices"])
    test = held.test.columns
    answers = list(predict(Run.load(pictures.folder), {"image": test["image"]}, device="cpu", precision="float32", sets=True))
    passed = np.mean([not answer["unknown"] for answer in answers])
    assert passed == pytest.approx(unknown.figures["known_accepted"]["value"], abs=0.02)  # what was said is what is done
    covered = np.mean([label in answer["set"] for answer, label in zip(answers, test["label"], strict=True)])
    assert covered == pytest.approx(promised.figures["coverage_lac"]["value"], abs=0.01)
    noise = np.random.default_rng(0).integers(0, 256, (40, 8, 8)).astype(np.uint8)
    told = np.mean([answer["unknown"] for answer in predict(pictures, list(noise), device="cpu")])
    expected = next(row["told_unknown"] for row in unknown.tables["unknown_inputs"]
                    if row["unknown"] == "noise" and row["method"] == unknown.details["unknown_method"])  # fmt: skip
    assert told == pytest.approx(expected, abs=0.3)
    pictures.forget()


def test_intervals_of_numbers(numbers: Run) -> None:
    forward = numbers.forward("cpu", "float32", calibrated=False)
    held = hold(numbers, None, Settings(), forward, 256)
    assert held.test.kind == "number" and held.test.truth_N is not None and held.test.error_N is not None
    evaluated = evaluate(numbers, device="cpu", precision="float32", resamples=0).metrics["mae"]["value"]
    assert held.test.error_N.mean() == pytest.approx(evaluated, rel=1e-4)
    verdict = promises_part(held, Settings())
    assert verdict.figures["coverage_plain"]["value"] == pytest.approx(0.9, abs=0.06)
    assert verdict.figures["coverage_by_difficulty"]["value"] == pytest.approx(0.9, abs=0.06)
    assert "probabilities" in calibration_part(held, Settings()).skipped["calibration"]
    slices = slices_part(held, Settings())
    assert str(slices.details["worst_slice"]).startswith(("b ", "a ")) or "answer" in str(slices.details["worst_slice"])
    test = held.test.columns
    answers = list(predict(numbers, {n: test[n] for n in ("a", "b")}, device="cpu", precision="float32", sets=True))
    hit = [a["low"] <= y <= a["high"] for a, y in zip(answers, np.asarray(test["y"], float), strict=True)]
    assert np.mean(hit) == pytest.approx(verdict.figures["coverage_plain"]["value"], abs=0.005)
    unknown = unknown_part(held, FAST)
    assert {row["method"] for row in unknown.tables["unknown_inputs"]} == {"knn"}  # no logits


def test_unknown_data_by_name_is_read_whatever_its_labels(numbers: Run, pictures: Run, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("a,b\n100,1\n-100,2\n")  # no label at all
    assert made_up.named_data(numbers.task, str(tmp_path / "rows.csv"), 10, 0)["table"].shape == (2, 2)
    from PIL import Image

    for name in ("cat", "dog"):  # labels that the model does not know
        (tmp_path / "animals" / name).mkdir(parents=True)
        for i in range(12):
            Image.new("RGB", (20, 30), (i, 200, 10)).save(tmp_path / "animals" / name / f"{name}{i}.png")
    assert made_up.named_data(pictures.task, str(tmp_path / "animals"), 20, 0)["image"].shape == (20, 1, 8, 8)
    with pytest.raises(LaminaError, match="--unknown"):
        made_up.named_data(pictures.task, str(tmp_path / "nowhere"), 10, 0)


def test_image_substitutes_keep_shape_and_type() -> None:
    x_BCHW = np.random.default_rng(0).integers(0, 256, (7, 3, 17, 13)).astype(np.uint8)
    made = dict(made_up.image_substitutes(x_BCHW, bundled=False, seed=0))
    assert set(made) == {"noise", "shuffled patches", "digits", "photographs"}
    assert all(x.shape == x_BCHW.shape and x.dtype == np.uint8 for x in made.values())
    shuffled = made["shuffled patches"]
    assert (np.sort(shuffled, axis=None) == np.sort(x_BCHW, axis=None)).all() and (shuffled != x_BCHW).any()
    again = dict(made_up.image_substitutes(x_BCHW, bundled=True, seed=0))
    assert "digits" not in again and (again["noise"] == made["noise"]).all()


def test_table_substitutes_permute_columns_and_leave_the_range() -> None:
    columns: Columns = {"a": np.arange(50.0), "b": np.arange(50.0), "kind": ["x", "y"] * 25}  # type: ignore[dict-item]
    made = dict(made_up.table_substitutes(columns, 0))
    permuted, beyond = made["columns permuted"], made["values out of range"]
    assert sorted(permuted["a"]) == list(range(50)) and abs(np.corrcoef(permuted["a"], permuted["b"])[0, 1]) < 0.5
    assert all(v < 0 or v > 49 for v in beyond["a"]) and beyond["kind"] == columns["kind"]


def test_a_score_that_says_the_same_of_everything_is_left_out(tmp_path: Path) -> None:
    def log_probabilities(x_B: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"logits": torch.stack([-x_B, x_B], 1).log_softmax(1)}

    data = Data(coins(500, 1), coins(0, 2), coins(200, 3), coins(300, 4), fingerprint="log")
    run = TinyRun(tmp_path / "run", data=data, forward=log_probabilities)
    verdict = unknown_part(hold(run, None, FAST, run.forward(), 64), FAST)
    assert "log probabilities" in verdict.skipped["unknown_energy"] and "unknown_auroc_energy" not in verdict.figures


def test_a_model_without_reserved_keys_is_skipped_in_words(tmp_path: Path) -> None:
    class Silent(Tiny):
        def predict(self, forward, batch):
            return [{"label": "low"} for _ in batch["x"]]

        def loss(self, output, batch):
            return torch.ones(len(batch["x"])), torch.ones(len(batch["x"]))

    data = Data(rows(100, 1), rows(0, 2), rows(100, 3), rows(200, 4), fingerprint="silent")
    run = TinyRun(tmp_path / "run", task=Silent(), data=data, forward=lambda x_B: {"said": x_B})
    held = hold(run, None, FAST, run.forward(), 32)
    assert held.test.kind == "other" and held.test.error_N is not None
    assert (
        "neither" in unknown_part(held, FAST).skipped["unknown_inputs"]
        and "neither" in promises_part(held, FAST).skipped["promises"]
    )
    assert "calibration" in calibration_part(held, FAST).skipped and not slices_part(held, FAST).skipped  # by the loss


def test_other_data_is_judged_and_nothing_is_fitted_to_it(tmp_path: Path) -> None:
    own = Data(coins(100, 1), coins(0, 2), coins(300, 3), coins(50, 4), fingerprint="own")
    other = Data(coins(0, 5), coins(0, 6), coins(0, 7), coins(77, 8), fingerprint="other")
    run = TinyRun(tmp_path / "run", data=own)
    held = hold(run, other, Settings(), times(1), 64)
    assert len(held.test) == 77 and held.fitting is not None and len(held.fitting) == 300 and held.train is own.train
    run.data = lambda: (_ for _ in ()).throw(LaminaError("gone"))  # type: ignore[method-assign]
    assert "gone" in hold(run, other, Settings(), times(1), 64).warnings[0]


def test_judging_on_what_was_fitted_is_warned_of(tmp_path: Path) -> None:
    data = Data(coins(100, 1), coins(0, 2), coins(300, 3), coins(50, 4), fingerprint="own")
    held = hold(TinyRun(tmp_path / "run", data=data), None, Settings(part="calibration"), times(1), 64)
    assert "better than it is" in held.warnings[0]


def test_samples_keep_their_order_and_are_the_same_again() -> None:
    columns: Columns = {"x": np.arange(100)}  # type: ignore[dict-item]
    some = sampled(columns, 10, 0)
    assert length(some) == 10 and (np.diff(some["x"]) > 0).all() and (some["x"] == sampled(columns, 10, 0)["x"]).all()
    assert sampled(columns, 100, 0) is columns
