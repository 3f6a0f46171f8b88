"""The parts joined: one verdict, kept in the run, whose answers use what was fitted."""

from __future__ import annotations

from pathlib import Path

import pytest

from lamina.ask import Asked
from lamina.data.source import Data
from lamina.errors import LaminaError
from lamina.stress.api import stress
from lamina.stress.settings import Settings
from test_stress_calibration import coins, times
from tiny_task import Line, TinyRun

QUIET = {"corruptions": False, "attacks": False, "resamples": 20}


def run_of(folder: Path, factor: float = 4.0) -> TinyRun:
    data = Data(coins(300, 1), coins(0, 2), coins(1000, 3), coins(1000, 4), fingerprint="coins")
    run = TinyRun(folder, data=data, forward=times(factor))
    run.model = Line  # type: ignore[method-assign]
    return run


def test_one_verdict_from_every_part(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run")
    verdict = stress(Asked(run, Settings(**QUIET, costs="1,5")))
    assert verdict.verb == "stress" and len(verdict.sentences) == 5
    for name in ("ece", "temperature", "unknown_auroc", "known_accepted", "coverage_lac", "cost_saved", "slices_looked_at"):
        bounds = verdict.figures[name]
        assert bounds["low"] <= bounds["value"] <= bounds["high"], name  # type: ignore[operator]
    assert set(verdict.skipped) == {"corruptions", "attacks"}
    assert set(verdict.tables) == {"reliability", "unknown_inputs", "conformal_sets", "coverage_by_class", "slices"}
    assert all(path.is_file() for path in verdict.pictures.values())
    assert run.temperature() == pytest.approx(4, rel=0.2) and run.known() is not None and run.promise()["kind"] == "set"


def test_the_same_again_gives_the_same(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run")
    asked = Asked(run, Settings(**QUIET))
    one, other = stress(asked), stress(asked)  # the second finds a stored temperature
    assert one.figures == other.figures and one.sentences == other.sentences


def test_nothing_is_kept_without_store(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run")
    stress(Asked(run, Settings(**QUIET, store=False)))
    assert run.temperature() == 1.0 and run.known() is None and not (run.folder / "processor").exists()


def test_every_part_can_be_turned_off(tmp_path: Path) -> None:
    off = Settings(**QUIET, calibrate=False, unfamiliar=False, promises=False, slices=False)
    verdict = stress(Asked(run_of(tmp_path / "run"), off))
    assert not verdict.sentences and not verdict.figures
    assert set(verdict.skipped) == {"corruptions", "attacks", "calibration", "unknown_inputs", "promises", "costs", "slices"}


def test_a_stored_temperature_holds_where_none_is_fitted(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run")
    stress(Asked(run, Settings(**QUIET)))
    cut = run.promise()["cut"]
    stress(Asked(run, Settings(**QUIET, calibrate=False)))
    assert run.promise()["cut"] == pytest.approx(cut) and run.temperature() != 1.0


def test_inputs_and_senseless_settings_are_refused(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run")
    with pytest.raises(LaminaError, match="a run alone"):
        stress(Asked(run, Settings(**QUIET), inputs=["rose.jpg"]))
    with pytest.raises(LaminaError, match="--coverage"):
        run.ask("stress", **QUIET, coverage=2.0)
