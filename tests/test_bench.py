"""Quantiles against the binomial they are made of, fake clocks, planted counters, declared inputs, and a run from end to end."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lamina.answer import counted_flops
from lamina.ask import Asked
from lamina.bench.api import bench, unlike
from lamina.bench.cost import counters, energy, folder_bytes
from lamina.bench.inputs import encoded, one_made, real_columns
from lamina.bench.pictures import best
from lamina.bench.settings import Settings, check
from lamina.bench.timing import in_turns, quantile, ratio
from lamina.errors import LaminaError
from lamina.inspect.layers import flops_of
from lamina.task import Input
from tiny_task import Tiny, TinyRun, data_of


def test_variants_take_turns_and_each_is_first_in_turn() -> None:
    order: list[str] = []
    now = iter(range(10**6))
    calls = {name: (lambda n=name: order.append(n)) for name in "ab"}
    taken = in_turns(calls, count=4, rounds=2, clock=lambda: float(next(now)))
    assert "".join(order) == "aaaaabbbbb" + "bbbbbaaaaa"  # three that warm up and two that count
    assert {name: [len(turn) for turn in turns] for name, turns in taken.items()} == {"a": [2, 2], "b": [2, 2]}
    assert all(s == 1.0 for turns in taken.values() for turn in turns for s in turn)


def test_intervals_of_quantiles_hold_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    for q in (0.5, 0.9):
        truth = -np.log(1 - q)
        bounds = [quantile(rng.exponential(size=300).tolist(), q) for _ in range(400)]
        assert 0.92 <= np.mean([b["low"] <= truth <= b["high"] for b in bounds]) <= 0.99  # type: ignore[operator]


def test_quantiles_of_one_value_and_of_none() -> None:
    assert quantile([3.0], 0.99) == {"value": 3.0, "low": 3.0, "high": 3.0}
    assert quantile([], 0.5)["value"] is None


def test_ratio_is_round_by_round() -> None:
    """A machine twice as slow in the second half changes no ratio."""
    first = [[1.0]] * 5 + [[2.0]] * 5
    mine = [[0.5]] * 5 + [[1.0]] * 5
    assert ratio(mine, first) == {"value": 0.5, "low": 0.5, "high": 0.5}


def test_flops_of_a_layer_are_those_of_its_matrix_product() -> None:
    line = nn.Linear(30, 7)
    assert counted_flops(lambda: line(torch.zeros(2, 30))) == 2 * 2 * 30 * 7
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    T = 5
    by_hand = 2 * T * (8 * 24 + 8 * 8 + 2 * 8 * 16) + 2 * 2 * T * T * 8
    assert counted_flops(lambda: layer(torch.zeros(1, T, 8))) == by_hand


@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
@pytest.mark.parametrize("both", [False, True])
def test_flops_of_recurrent_layers_are_those_of_their_gates(kind: type[nn.RNNBase], gates: int, both: bool) -> None:
    kernel = kind(6, 5, batch_first=True, bidirectional=both)  # type: ignore[call-arg]
    by_hand = 2 * (3 * 4) * gates * 5 * (6 + 5) * (2 if both else 1)
    assert counted_flops(lambda: kernel(torch.zeros(3, 4, 6))) == by_hand
    assert flops_of(kernel, kernel(torch.zeros(3, 4, 6))[0], 3) == by_hand // 3


def test_energy_is_read_from_packages_and_no_part_is_counted_twice(tmp_path: Path) -> None:
    for name in ("intel-rapl:0", "intel-rapl:0:0"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "energy_uj").write_text("900")
        (tmp_path / name / "max_energy_range_uj").write_text("1000")
    package = tmp_path / "intel-rapl:0" / "energy_uj"
    assert counters(tmp_path) == [package]
    used = energy(lambda: package.write_text("100"), 1, 10.0, tmp_path)  # it began anew at its range
    assert used.millijoules == pytest.approx(0.2)
    assert not used.estimated


def test_energy_without_counters_says_that_it_is_an_estimate(tmp_path: Path) -> None:
    used = energy(lambda: sum(range(1000)), 5, 7.5, tmp_path / "none")
    assert used.estimated
    assert "estimate" in used.how
    assert "7.5 watts" in used.how


def test_made_inputs_keep_what_is_declared() -> None:
    spec = Input("x", ("B", 2), "float32", "table", low=(0.0, -3.0), high=(1.0, -2.0))
    x = one_made(spec, Tiny(), 50, torch.Generator().manual_seed(0))
    assert x.shape == (50, 2)
    assert x[:, 0].ge(0).all()
    assert x[:, 1].le(-2).all()
    picture = one_made(Input("p", ("B", 3, 4, 4), "uint8", "image", 0, 255), Tiny(), 2, torch.Generator())
    assert picture.dtype == torch.uint8
    assert picture.shape == (2, 3, 4, 4)


def test_inputs_begin_anew_where_a_batch_is_larger_than_the_data() -> None:
    run = TinyRun(data=data_of(5))
    columns = real_columns(run, None, None, 100, 0)
    assert not isinstance(columns, str)
    assert encoded(run.task, columns, 12)[0].shape == (12,)


def test_pareto_front() -> None:
    points = [(1.0, 0.8), (2.0, 0.9), (3.0, 0.85), (1.0, 0.7)]
    assert best(points, "max") == [0, 1]
    assert best(points, "min") == [3]


def test_names_that_are_alike_are_numbered() -> None:
    assert unlike(["a", "a", "b"]) == ["a (1)", "a (2)", "b"]


def test_size_is_of_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "a").write_bytes(b"12")
    (tmp_path / "b").write_bytes(b"345")
    assert folder_bytes([tmp_path / "f", tmp_path / "b"]) == 5


@pytest.mark.parametrize("wrong", [{"answers": 1}, {"rounds": 1}, {"threads": 0}, {"watts_per_core": 0.0}, {"confidence": 1.0}])
def test_settings_that_make_no_sense(wrong: dict) -> None:
    with pytest.raises(LaminaError, match="--" + next(iter(wrong)).replace("_", "-")):
        check(Settings(**wrong))


def test_a_run_from_end_to_end_and_a_slower_one_beside_it(tmp_path: Path) -> None:
    made = bench(Asked(TinyRun(tmp_path / "tiny"), Settings(quick=True, cold_starts=0)))
    assert made.figures["latency_p50_ms"]["value"] > 0  # type: ignore[operator]
    assert made.figures["latency_p99_ms"]["value"] >= made.figures["latency_p50_ms"]["value"]  # type: ignore[operator]
    assert "cold start and memory" in made.skipped
    assert made.tables["What each costs"][0]["accuracy"] == pytest.approx(0.8, abs=0.15)
    assert next(iter(made.pictures.values())).read_text().startswith("<?xml")


def test_a_folder_that_is_no_variant(tmp_path: Path) -> None:
    with pytest.raises(LaminaError, match=r"model\.onnx"):
        bench(Asked(TinyRun(tmp_path / "tiny"), Settings(quick=True, cold_starts=0), inputs=[tmp_path]))


def test_importing_the_settings_is_light() -> None:
    import subprocess

    code = "import sys, lamina.bench.settings, lamina.report.settings; print('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"
