"""Training as a user calls it: what the flags do, seen in the run."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
import torch

import lamina
from lamina.data.source import Source
from lamina.errors import LaminaError
from lamina.train.loop import Learner
from lamina.train.optimizers import build
from lamina.train.recipe import Recipe
from lamina.train.schedules import Plan, factor
from lamina.train.stream import ShuffledStream

QUIET = {"quiet": True, "tensorboard": False}
TINY = {"model_name": "mlp", "width": 0.1, **QUIET}


def rows(run, part):
    lines = (run.folder / "metrics.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if row["part"] == part]


def test_a_time_budget_is_kept_and_its_plan_recorded(tmp_path):
    began = time.monotonic()
    run = lamina.train("image-classification", out=str(tmp_path / "run"), minutes=0.2, **TINY)
    assert run.info["seconds"] <= time.monotonic() - began + 0.1  # it is rounded to a tenth
    plan = run.info["plan"]
    assert plan["steps"] >= 1 and rows(run, "train")[-1]["step"] == plan["steps"]
    assert run.info["recipe"]["minutes"] == 0.2 and run.info["recipe"]["epochs"] is None
    assert run.info["status"] == "finished" and rows(run, "train")[-1]["rate"] == factor(
        Recipe(**run.info["recipe"]), Plan.from_json(plan).progress(plan["steps"] - 1)
    ), "the rates are those of the plan that run.json holds"


def test_the_learning_rate_is_found(tmp_path):
    run = lamina.train("image-classification", out=str(tmp_path / "run"), lr="auto", optimizer="adamw", epochs=5, **TINY)
    assert 1e-5 < run.info["recipe"]["lr"] < 1.0
    assert run.info["metrics"]["accuracy"]["value"] > 0.7  # the default rate of 0.001 gives this small network 0.46 in as long


def test_the_batch_size_is_found(tmp_path):
    run = lamina.train("image-classification", out=str(tmp_path / "run"), batch_size="auto", steps=5, **TINY)
    size = run.info["recipe"]["batch_size"]
    assert 16 <= size <= run.info["data"]["counts"]["train"] // 8 and size & (size - 1) == 0


def test_patience_stops_and_the_best_weights_are_kept(tmp_path):
    settings = {**TINY, "lr": 1e-12, "patience": 2, "evaluations": 50, "steps": 100, "batch_size": 32}
    run = lamina.train("image-classification", out=str(tmp_path / "run"), **settings)
    assert rows(run, "valid")[-1]["step"] < 100


def test_last_weights_are_kept_where_asked(tmp_path):
    run = lamina.train("image-classification", out=str(tmp_path / "run"), keep="last", steps=12, evaluations=3, **TINY)
    assert [row["step"] for row in rows(run, "valid")] == [4, 8, 12]


def test_overfitting_is_said(tmp_path, capsys):
    """Random labels: training loss falls to nothing while validation loss can only rise."""
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (300, 8, 8), dtype=np.uint8), rng.integers(0, 4, 300).astype(str)
    settings = {
        "model_name": "mlp",
        "tensorboard": False,
        "augment_with": "none",
        "label_smoothing": 0.0,
        "lr": 3e-3,
        "epochs": 60,
    }
    lamina.train(
        "image-classification", data=(x, y), out=str(tmp_path / "run"), valid=0.2, batch_size=16, evaluations=30, **settings
    )
    said = capsys.readouterr().err
    assert said.count("overfitting since step") == 1 and "are kept" in said


def test_tensorboard_files_hold_what_the_log_holds(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = lamina.train(
        "image-classification", out=str(tmp_path / "run"), steps=10, log_steps=5, quiet=True, model_name="mlp", width=0.1
    )
    events = EventAccumulator(str(run.folder / "tensorboard"))
    events.Reload()
    assert [e.value for e in events.Scalars("train/loss")] == pytest.approx([r["loss"] for r in rows(run, "train")], rel=1e-5)


def test_bfloat16_and_float32_learn_alike(tmp_path):
    settings = {"model_name": "convnet", "width": 0.5, "epochs": 5, **QUIET}
    runs = [lamina.train("image-classification", out=str(tmp_path / p), precision=p, **settings) for p in ("float32", "bfloat16")]
    values = [run.info["metrics"]["accuracy"]["value"] for run in runs]
    assert min(values) > 0.95 and abs(values[0] - values[1]) < 0.03


def test_a_compiled_model_learns_the_same(tmp_path):
    runs = [
        lamina.train("image-classification", out=str(tmp_path / c), compile=c, steps=8, precision="float32", **TINY)
        for c in ("off", "on")
    ]
    losses = [[row["loss"] for row in rows(run, "train")] for run in runs]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def learner(accumulate: int, size: int) -> Learner:
    """A linear model on fixed rows, without shuffling that matters: one epoch is one step."""
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    recipe = Recipe(
        optimizer="sgd", lr=0.1, momentum=0.0, schedule="constant", warmup=0.0, batch_size=size, accumulate=accumulate
    )
    rng = np.random.default_rng(0)
    columns = {
        "x": rng.normal(size=(12, 3)).astype(np.float32),
        "y": rng.integers(0, 2, 12),
        "weight": rng.random(12).astype(np.float32),
    }
    toy = Weighted()
    optimizers = build([{"params": list(model.parameters()), "weight_decay": 0.0}], recipe, 0.1)
    stream = ShuffledStream(toy, columns, size, seed=0)  # type: ignore[arg-type]
    return Learner(toy, model, model, optimizers, stream, recipe, 0, torch.device("cpu"), "float32")  # type: ignore[arg-type]


class Weighted:
    """Two terms with different denominators: what a mean of means gets wrong."""

    steady = False

    def encode(self, columns, mode):
        return {name: torch.from_numpy(np.asarray(value)) for name, value in columns.items()}

    def augment(self, batch, generator):
        return batch

    def outputs(self, forward, batch):
        return forward(batch["x"])

    def loss(self, output, batch):
        entropy = torch.nn.functional.cross_entropy(output, batch["y"], reduction="none")
        return {
            "weighted": (entropy * batch["weight"], batch["weight"]),
            "size": (output.square().sum(1), torch.full((len(output),), 2.0)),
        }


@pytest.mark.parametrize("accumulate", [2, 3, 4])
def test_accumulated_batches_give_the_gradient_of_one_large_batch(accumulate):
    whole, parts = learner(1, 12), learner(accumulate, 12 // accumulate)
    losses = [each.step(0, 0.0)[0] for each in (whole, parts)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert torch.allclose(whole.model.weight, parts.model.weight, atol=1e-6)


def test_clipping_bounds_the_step():
    free, bound = learner(1, 12), learner(1, 12)
    start = free.model.weight.detach().clone()
    object.__setattr__(bound.recipe, "clip", 1e-3)
    free.step(0, 0.0)
    _, norm = bound.step(0, 0.0)
    moved = torch.cat([(bound.model.weight - start).flatten()]).norm()
    assert norm > 1e-3 and moved <= 1e-4 * 1.01 < (free.model.weight - start).norm()


def test_a_stream_sees_every_example_once_an_epoch_and_resumes():
    toy = Weighted()
    columns = {"x": np.arange(10, dtype=np.float32)}
    stream = ShuffledStream(toy, columns, 5, seed=3)  # type: ignore[arg-type]
    seen = [next(stream)["x"].tolist() for _ in range(4)]
    assert sorted(seen[0] + seen[1]) == sorted(seen[2] + seen[3]) == list(range(10)) and seen[:2] != seen[2:]
    other = ShuffledStream(toy, columns, 5, seed=3)  # type: ignore[arg-type]
    next(other)
    third = ShuffledStream(toy, columns, 5, seed=3)  # type: ignore[arg-type]
    third.load_state_dict(json.loads(json.dumps(other.state_dict())))
    assert [next(third)["x"].tolist() for _ in range(3)] == seen[1:]
    assert "epoch 2, examples row" in third.where()


def test_degenerate_sets(tmp_path):
    with pytest.raises(LaminaError, match="at least one training example"):
        ShuffledStream(Weighted(), {"x": np.empty(0)}, 4, 0)  # type: ignore[arg-type]
    x = np.zeros((6, 8, 8), dtype=np.uint8)
    x[::2] += 100
    with pytest.raises(LaminaError, match="at least two classes"):
        lamina.train("image-classification", data=(x, ["a"] * 6), out=str(tmp_path / "one"), **TINY)
    constant = lamina.train("image-classification", data=(x, ["a", "b"] * 3), out=str(tmp_path / "two"), steps=2, **TINY)
    assert constant.info["status"] == "finished"


def test_settings_are_found_by_name_and_misspelled_ones_named(tmp_path):
    with pytest.raises(
        LaminaError, match="epoch: expected a setting of image-classification; got an unknown one; did you mean 'epochs'"
    ):
        lamina.train("image-classification", epoch=3)
    with pytest.raises(LaminaError, match="--device: expected auto or a device of this machine"):
        lamina.train("image-classification", device="moon", out=str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_source_carries_its_settings(tmp_path):
    run = lamina.train("image-classification", data=Source(split_seed=4), test=0.5, out=str(tmp_path / "run"), steps=2, **TINY)
    assert run.info["source"]["split_seed"] == 4 and run.info["source"]["test"] == 0.5
