"""The application for tables: the contract, both kinds of answer, and that its networks learn what a line cannot."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lamina.check import check_task
from lamina.data.columns import length, rows_of, take
from lamina.data.demo import breast_cancer
from lamina.data.source import Data, Source
from lamina.errors import LaminaError
from lamina.tasks.tabular import Tabular


def mixed(count: int = 300, seed: int = 0, numeric: bool = False) -> dict[str, Any]:
    """Numbers, categories and truth values, some missing; the answer is a product of two signs, or a sum of squares."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, count))
    town = rng.choice(["Ulm", "Bern", "Oslo"], count)
    answer: Any = a**2 + b**2 + 3 * (town == "Ulm") if numeric else np.where(a * b > 0, "same", "differ").tolist()
    gap = np.where(rng.random(count) < 0.2, np.nan, rng.normal(size=count))
    return {
        "a": a * 30 + 500,
        "b": b,
        "town": town.tolist(),
        "new": (rng.random(count) < 0.5).tolist(),
        "gap": gap,
        "answer": answer,
    }


def easy() -> dict[str, Any]:
    """As `mixed`, with an answer that a few steps learn."""
    table = mixed()
    return {**table, "answer": np.where(table["b"] > 0, "up", "down").tolist()}


def prepared(source: Any, **fields: Any) -> tuple[Tabular, Data]:
    task = Tabular(**fields)
    data = task.read(Source(data=source))
    return task.prepare(data), data


def trained(task: Tabular, data: Data, steps: int = 250, size: int = 128) -> torch.nn.Module:
    """A tiny loop, so that this test depends on no other part."""
    torch.manual_seed(0)
    model = task.model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    rng = np.random.default_rng(0)
    for _ in range(steps):
        batch = task.encode(take(data.train, rng.integers(0, length(data.train), size)), "train")
        total, count = task.loss(task.outputs(model, batch), batch)
        optimizer.zero_grad()
        (total.sum() / count.sum()).backward()
        optimizer.step()
    return model.eval()


def judged(task: Tabular, model: torch.nn.Module, part: Any) -> dict[str, float]:
    with torch.no_grad():
        return task.metrics(part, rows_of(task.predict(model, task.encode(part, "evaluate"))))


@pytest.mark.parametrize("model", ["mlp", "ft-transformer"])
def test_keeps_the_contract_on_the_demo(model: Any) -> None:
    assert [str(p) for p in check_task(Tabular(model_name=model, width=16, heads=4, members=2))] == []


def test_keeps_the_contract_on_mixed_columns() -> None:
    for numeric in (False, True):
        source = mixed(numeric=True) if numeric else easy()
        assert [str(p) for p in check_task(Tabular(width=16, class_weights="balanced"), Source(data=source))] == []


@pytest.mark.parametrize("model, width, steps", [("mlp", 32, 150), ("ft-transformer", 16, 250)])
def test_learns_what_a_line_cannot(model: Any, width: int, steps: int) -> None:
    from sklearn.linear_model import LogisticRegression

    task, data = prepared(mixed(1500), model_name=model, width=width, heads=2, depth=2, dropout=0.0, attention_dropout=0.0)
    figures = judged(task, trained(task, data, steps), data.test)

    def plain(part: Any) -> np.ndarray:
        return np.stack([np.asarray(part["a"]), np.asarray(part["b"])], axis=1)

    line = LogisticRegression().fit(plain(data.train), data.train["answer"]).score(plain(data.test), data.test["answer"])
    assert figures["accuracy"] > 0.85 > 0.7 > line


def test_learns_numbers() -> None:
    task, data = prepared(mixed(1500, numeric=True), width=32, dropout=0.0)
    assert task.kind == "regression" and task.headline == ("rmse", "min")
    figures = judged(task, trained(task, data, 200), data.test)
    assert list(figures) == ["rmse", "mae", "r2"] and figures["r2"] > 0.8


def test_metrics_agree_with_scikit_learn() -> None:
    from sklearn import metrics

    task, data = prepared(mixed(numeric=True), width=8)
    torch.manual_seed(0)
    model = task.model().eval()
    with torch.no_grad():
        said = rows_of(task.predict(model, task.encode(data.test, "evaluate")))
    truth, value = data.test["answer"], said["value"]
    figures = task.metrics(data.test, said)
    assert math.isclose(figures["rmse"], metrics.root_mean_squared_error(truth, value))
    assert math.isclose(figures["mae"], metrics.mean_absolute_error(truth, value))
    assert math.isclose(figures["r2"], metrics.r2_score(truth, value))
    rows = task.details(data.test, said)["error_by_value"]
    assert sum(r["rows"] for r in rows) == length(data.test) and json.dumps(rows)


def test_headline_follows_the_answer() -> None:
    assert Tabular().headline == prepared(mixed())[0].headline == ("accuracy", "max")
    assert Tabular(answer="regression").headline == prepared(mixed(numeric=True))[0].headline == ("rmse", "min")


def test_the_loss_is_each_members_own() -> None:
    task, data = prepared(mixed(), width=8)
    model = task.model().eval()
    batch = task.encode(take(data.train, range(5)), "train")
    output = task.outputs(model, batch)
    assert isinstance(output, dict)
    total, count = task.loss(output, batch)
    each = [torch.nn.functional.cross_entropy(output["member_logits"][i], batch["label"][i].repeat(8)) for i in range(5)]
    torch.testing.assert_close(total, torch.stack(each))
    assert count.tolist() == [1] * 5
    alone, _ = task.loss({"logits": output["logits"]}, batch)  # an exported or tempered model may keep the logits only
    assert bool((alone <= total + 1e-6).all())  # Jensen: the ensemble is no worse than its members on average


def test_class_weights_count_rare_classes_more() -> None:
    source = {"a": np.arange(40) * 0.3, "y": ["rare"] * 10 + ["usual"] * 30}
    task, data = prepared(source, class_weights="balanced", width=8)
    batch = task.augment(task.encode(data.train, "train"), torch.Generator())
    sums = [float(batch["weight"][batch["label"] == k].sum()) for k in (0, 1)]
    assert math.isclose(sums[0], sums[1], rel_tol=1e-5)
    assert math.isclose(float(task.loss(task.outputs(task.model(), batch), batch)[1].sum()), length(data.train), rel_tol=1e-5)


def test_the_stream_gives_what_encode_gives() -> None:
    task, data = prepared(mixed())
    stream: Any = task.stream(task.model(), data.train, 16, 0, lambda: 0.0)
    batch = next(stream)
    expected = task.encode(take(data.train, stream.rows), "train")
    for name, value in expected.items():
        torch.testing.assert_close(batch[name], value, rtol=0, atol=0, equal_nan=True)


def test_a_prepared_task_reads_other_files_as_its_own(tmp_path: Path) -> None:
    task, _ = prepared({"zip": ["A1", "22", "33"] * 20, "a": list(np.arange(60) * 0.1), "class": [0, 1] * 30})
    (tmp_path / "t.csv").write_text("class,a,zip,more\n" + "".join(f"1,{i},22,x{i}\n" for i in range(30)))
    data = task.read(Source(data=tmp_path / "t.csv"))  # one class, constant zips that look like numbers: still usable
    encoded = task.encode(data.train, "evaluate")
    assert task.asks == ("zip", "a") and set(encoded["table"][:, 0].tolist()) == {1.0} and set(encoded["label"].tolist()) == {1}
    (tmp_path / "t.csv").write_text("class,a\n1,2\n0,3\n")
    with pytest.raises(LaminaError, match="missing: zip"):
        task.read(Source(data=tmp_path / "t.csv"))


def test_mistakes_are_told_in_one_line() -> None:
    with pytest.raises(LaminaError, match="--width: expected a multiple of the 8 heads; got 20"):
        prepared(mixed(), model_name="ft-transformer", width=20)
    task, data = prepared(mixed())
    with pytest.raises(LaminaError, match=r"column 'answer'.*expected one of the 2 classes"):
        task.encode({**take(data.train, [0]), "answer": ["other"]}, "evaluate")
    with pytest.raises(LaminaError, match="got text"):
        prepared(mixed(), answer="regression")


def test_whole_numbers_can_be_classes_or_quantities() -> None:
    source = {"a": np.arange(60) * 0.1, "y": np.arange(60) % 5}
    assert prepared(source)[0].classes == ("0", "1", "2", "3", "4")
    assert prepared(source, answer="regression")[0].kind == "regression"


def test_the_demo_is_whole_and_imports_are_light() -> None:
    demo = breast_cancer()
    assert len(demo) == 31 and set(demo["label"]) == {"benign", "malignant"}
    heavy = "{'torch', 'numpy', 'sklearn', 'pyarrow'}"
    code = f"import sys, lamina.tasks.tabular; sys.exit(str({heavy} & set(sys.modules)) if {heavy} & set(sys.modules) else 0)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).returncode == 0
