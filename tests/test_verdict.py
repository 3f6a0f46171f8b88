"""Verdicts: figures, joining, being kept beside the weights that they speak of, and being asked for."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

import lamina
from lamina.ask import Asked, ask
from lamina.cli import main
from lamina.errors import LaminaError
from lamina.flags import Word
from lamina.run import Run
from lamina.verbs import QUESTIONS, Question
from lamina.verdict import Verdict, figure, joined, show


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("runs") / "run"
    return lamina.train("tabular", steps=2, out=str(folder), quiet=True, tensorboard=False, evaluations=1)


@dataclass(frozen=True)
class Settings:
    times: int = 3


def check(settings: Settings) -> None:
    if settings.times < 1:
        raise LaminaError(f"--times: expected 1 or more; got {settings.times}")


@pytest.fixture
def count(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Asked[Settings]]]:
    """A question of the name `count`, and what it was asked."""
    seen: list[Asked[Settings]] = []

    def counted(asked: Asked[Settings]) -> Verdict:
        seen.append(asked)
        times, picture = asked.settings.times, asked.run.pictures("count") / "it.svg"
        picture.write_text("<svg/>")
        return Verdict("count", (f"It was counted {times} times.",), {"times": figure(times)}, pictures={"it": picture})

    for name, content in {"settings": {"Settings": Settings, "check": check}, "api": {"count": counted}}.items():
        module = ModuleType(f"lamina.count.{name}")
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(sys.modules, "lamina.count", ModuleType("lamina.count"))
    monkeypatch.setitem(QUESTIONS, "count", Question("Counts.", ("lamina count RUN",), Word("INPUT", "files")))
    from lamina import cli

    monkeypatch.setitem(cli.HANDLERS, "count", cli.question)
    yield seen


def test_a_figure_without_an_interval_is_its_own_bound_and_an_open_one_has_none():
    assert figure(0.5) == {"value": 0.5, "low": 0.5, "high": 0.5}
    assert figure(0.5, 0.4, math.inf) == {"value": 0.5, "low": 0.4, "high": None}
    assert figure(math.inf) == figure(None) == {"value": None, "low": None, "high": None}


def test_parts_are_joined_in_order_and_never_overwrite_each_other():
    one = Verdict("stress", ("A.",), {"a": figure(1)}, warnings=("w",), seconds=1.0)
    two = Verdict("stress", ("B.",), {"b": figure(2)}, skipped={"c": "no"}, seconds=2.0)
    both = joined("stress", [one, two])
    assert both.sentences == ("A.", "B.") and list(both.figures) == ["a", "b"] and both.skipped == {"c": "no"}
    assert both.warnings == ("w",) and both.seconds == 3.0
    with pytest.raises(ValueError, match="'a'"):
        joined("stress", [one, one])


def test_a_verdict_is_kept_and_found_again(run: Run, count: list[Asked[Settings]]):
    made = ask("count", run, times=2)
    kept = run.kept("count")
    assert kept is not None and kept == made and made.seconds > 0 and next(iter(kept.pictures.values())).is_file()
    assert run.kept("count", Settings(2)) is not None and run.kept("count", Settings(3)) is None
    assert str(run.folder) not in (run.folder / "report" / "count.json").read_text()  # a run may be moved


def test_a_verdict_of_other_weights_or_damaged_is_none(run: Run, count: list[Asked[Settings]]):
    ask("count", run)
    changed = Run(run.folder, {**run.info, "weights": {"head": "0"}}, run.task)
    assert changed.kept("count") is None and run.kept("never") is None
    path = run.folder / "report" / "count.json"
    path.write_text(path.read_text()[:-20])
    assert run.kept("count") is None


def test_what_was_asked_of_other_data_is_not_kept(run: Run, count: list[Asked[Settings]]):
    ask("count", run, times=4)
    ask("count", run, "other.csv", times=5)
    ask("count", run, inputs=["a.png"], times=6)
    assert run.kept("count").figures["times"]["value"] == 4  # type: ignore[union-attr]
    assert count[1].source.data == "other.csv" and list(count[2].inputs) == ["a.png"]
    read = run.data()
    ask("count", run, read)
    assert count[3].source is read  # data that is read already is not read again


def test_settings_are_checked_by_name(run: Run, count: list[Asked[Settings]]):
    with pytest.raises(LaminaError, match="there is no setting 'tmes'"):
        ask("count", run, tmes=2)
    with pytest.raises(LaminaError, match="--times: expected 1 or more"):
        ask("count", run, times=0)
    assert not count


def test_the_command_line_asks_shows_and_prints_json(run: Run, count: list[Asked[Settings]], capsys: pytest.CaptureFixture[str]):
    assert main(["count", str(run.folder), "a.png", "--times", "7", "--device", "cpu"]) == 0
    asked = count[-1]
    assert (asked.settings, list(asked.inputs), asked.device) == (Settings(7), ["a.png"], "cpu")
    assert "It was counted 7 times." in capsys.readouterr().out
    assert main(["count", str(run.folder), "--json"]) == 0
    assert '"times": {"value": 3.0' in capsys.readouterr().out
    assert main(["count", str(run.folder), "--times", "0"]) == 2
    assert main(["count", "nowhere"]) == 2 and main(["count"]) == 2
    assert main(["count", "--help"]) == 0 and "--times" in capsys.readouterr().out


def test_a_verdict_fits_a_terminal(capsys: pytest.CaptureFixture[str]):
    wide = {f"column {i}": i for i in range(30)}
    show(
        Verdict(
            "x", ("A long sentence. " * 20,), {"a": figure(0.5, 0.4, 0.6)}, {"wide": [wide] * 5, "few": [wide], "long": [{"n": i} for i in range(99)]},
            {"curve": Path("a.svg")}, ("careful",), {"attacks": "no picture"},
        ),
        "run",
    )  # fmt: skip
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    for told in (
        "warning: careful",
        "left out: attacks: no picture",
        "and the columns column",
        "column 29",
        "87 more rows",
        "curve: a.svg",
    ):
        assert told in shown
