"""Planted verdicts: what is required is judged, what is hostile is escaped, what fails leaves its section."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from lamina.ask import Asked, settings_from
from lamina.errors import LaminaError
from lamina.report import gather
from lamina.report.api import report
from lamina.report.gather import Answer, gathered
from lamina.report.parts import interval, picture, table
from lamina.report.requirements import judged, parsed
from lamina.report.sections import answered, not_to_use, origin
from lamina.report.settings import Settings, check
from lamina.terminal import jsonable
from lamina.verdict import Verdict, figure
from tiny_task import TinyRun

HOSTILE = "<script>alert('x')</script>"


def planted(verb: str = "stress", **fields: Any) -> Answer:
    return Answer(verb, Verdict(verb, **fields))


@pytest.fixture
def only_evaluate(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other verbs take long, and are tested where they stand."""
    real = gather.asked

    def asked(run: Any, verb: str, *rest: Any) -> Answer:
        return real(run, verb, *rest) if verb == "evaluate" else planted(verb, sentences=(f"{verb} <&> è",))

    monkeypatch.setattr(gather, "asked", asked)


@pytest.mark.parametrize(
    ("text", "holds"),
    [("a>=0.9", True), ("a>0.9", False), ("a<=0.9", True), ("a<0.9", False), ("a == 0.9", True), ("a>=.91", False)],
)
def test_requirements(text: str, holds: bool) -> None:
    assert judged([parsed(text)], {"a": figure(0.9, 0.8, 0.95)})[0].holds is holds


@pytest.mark.parametrize(("text", "found"), [("a>=0.85", 0.8), ("a<=0.92", 0.95)])
def test_confident_requirements_are_judged_on_the_bound_that_counts_against(text: str, found: float) -> None:
    held = {"a": figure(0.9, 0.8, 0.95)}
    assert judged([parsed(text)], held)[0].holds
    one = judged([parsed(text)], held, confident=True)[0]
    assert (one.holds, one.found) == (False, found)


def test_a_figure_without_a_value_fails() -> None:
    assert not judged([parsed("a>=0")], {"a": figure(None)})[0].holds


@pytest.mark.parametrize("text", ["accuracy", "accuracy=>0.9", "a>=much", "a>=nan", "", "0.9<=a"])
def test_what_is_no_requirement(text: str) -> None:
    with pytest.raises(LaminaError, match="--require"):
        check(Settings(require=(text,)))


def test_a_wrong_name_is_told_with_close_ones() -> None:
    with pytest.raises(LaminaError, match="accuracy"):
        judged([parsed("acuracy>=0.9")], {"accuracy": figure(1.0), "ece": figure(0.0)})


def test_nothing_hostile_reaches_the_page_unescaped(tmp_path: Path) -> None:
    (tmp_path / "p.png").write_bytes(b"x")
    made = planted(
        sentences=(HOSTILE,), warnings=(HOSTILE,), skipped={HOSTILE: HOSTILE}, figures={HOSTILE: figure(1.0)},
        tables={HOSTILE: [{HOSTILE: HOSTILE}]}, pictures={HOSTILE: tmp_path / "p.png", "gone" + HOSTILE: tmp_path / "gone.png"},
    )  # fmt: skip
    failed = Answer("needs", failed=HOSTILE)
    told = origin({"task": HOSTILE, "source": {"data": HOSTILE}, "hyperparameters": {HOSTILE: HOSTILE}}, None)
    whole = answered(made) + answered(failed) + told + not_to_use({"stress": made, "needs": failed})
    assert "<script" not in whole
    assert "&lt;script&gt;" in whole
    assert "' onerror" not in picture("x' onerror='y", tmp_path / "p.png")


def test_the_page_of_a_run(tmp_path: Path, only_evaluate: None) -> None:
    run = TinyRun(tmp_path / "größe <b>")
    made = report(Asked(run, Settings(require=("accuracy>=0.5", "accuracy>=0.99"), out=str(tmp_path / "p.html"))))
    text = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert list(made.failed) == [line for line in made.details["requirements"] if "0.99" in line]
    assert "accuracy&gt;=0.99: fails" in text
    assert "größe &lt;b&gt;" in text
    assert not re.findall(r"(?:src|href)=['\"](?!data:)", text)
    assert "http://" not in text
    assert "https://" not in text
    assert "<script" not in text
    assert "default-src 'none'" in text
    assert all(f"<section id='{verb}'>" in text for verb in gather.VERBS)


def test_two_runs_side_by_side(tmp_path: Path, only_evaluate: None) -> None:
    runs = [TinyRun(tmp_path / "one"), TinyRun(tmp_path / "two")]
    report(Asked(runs[0], Settings(out=str(tmp_path / "p.html")), inputs=[runs[1]]))
    text = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert text.count("<div class=columns>") == 8
    assert "Which is better?" in text


def test_three_runs_are_too_many(tmp_path: Path) -> None:
    with pytest.raises(LaminaError, match="one run or two; got 3"):
        report(Asked(TinyRun(tmp_path / "a"), Settings(), inputs=["b", "c"]))


def test_a_verb_that_fails_leaves_a_section_that_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Verdict:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(gather, "evaluated", broken)
    answer = gathered(TinyRun(tmp_path / "a"), verbs=("evaluate",))["evaluate"]
    assert answer.failed == "ZeroDivisionError: planted"
    assert "planted" in answered(answer)


def test_a_quick_report_begins_nothing_after_its_time(tmp_path: Path, only_evaluate: None) -> None:
    clock = iter([0.0, 1.0, 2.0, 0.0, 100.0])
    (tmp_path / "a" / "report").mkdir(parents=True)
    (tmp_path / "a" / "report" / "report.json").write_text("{}")
    answers = gathered(TinyRun(tmp_path / "a"), quick=True, verbs=("evaluate", "bench"), clock=lambda: next(clock))
    assert answers["evaluate"].verdict is not None
    assert answers["bench"].verdict is not None  # begun in time
    late = gathered(TinyRun(tmp_path / "a"), quick=True, verbs=("bench",), clock=lambda: next(clock))["bench"]
    assert late.verdict is None
    assert "minutes" in (late.left_out or "")


def test_a_kept_verdict_is_used_and_one_of_other_weights_is_not(tmp_path: Path, only_evaluate: None) -> None:
    run = TinyRun(tmp_path / "a")
    run.folder.mkdir()
    run.keep(Verdict("bench", sentences=("kept",)), None)
    assert gathered(run, verbs=("bench",))["bench"].kept
    run.info["weights"] = {"w": "other"}
    assert not gathered(run, verbs=("bench",))["bench"].kept


@pytest.mark.parametrize(
    ("verb", "fields", "flags"),
    [
        ("needs", {}, ""),
        ("inspect", {"out": "made.json"}, ""),
        ("needs", {"quick": True, "curve": False, "examples": 60}, "--no-curve --quick --examples 60"),
    ],
)
def test_settings_that_are_not_the_default_ones_are_told_as_flags(verb: str, fields: dict[str, Any], flags: str) -> None:
    assert gather.flags_of(verb, jsonable(settings_from(verb, fields))) == flags


def test_the_page_says_with_which_settings_and_when_a_kept_verdict_was_asked(tmp_path: Path, only_evaluate: None) -> None:
    run = TinyRun(tmp_path / "a")
    run.folder.mkdir()
    run.keep(Verdict("needs", sentences=("kept",)), settings_from("needs", {"curve": False}))
    answer = gathered(run, verbs=("needs",))["needs"]
    assert answer.kept and answer.flags == "--no-curve"
    assert re.search(r"Asked with --no-curve on \d{4}-\d\d-\d\d \d\d:\d\d UTC\.", answered(answer))
    run.keep(Verdict("needs", sentences=("kept",)), settings_from("needs", {}))
    assert "Asked with" not in answered(gathered(run, verbs=("needs",))["needs"])


def test_a_kept_quick_verdict_serves_a_quick_report_alone(
    tmp_path: Path, only_evaluate: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = TinyRun(tmp_path / "a")
    run.folder.mkdir()
    run.keep(Verdict("stress", sentences=("kept",)), settings_from("stress", {"quick": True}))
    quick = gathered(run, quick=True, verbs=("stress",))["stress"]
    assert quick.kept and "Asked with --quick on " in answered(quick)
    assert not gathered(run, verbs=("stress",))["stress"].kept
    monkeypatch.setattr(gather, "asked", lambda run, verb, *_: Answer(verb, failed="the data are gone"))
    shown = answered(gathered(run, verbs=("stress",))["stress"])
    assert "kept" in shown and "Asked with --quick on " in shown and "could not be answered: the data are gone" in shown


def test_confusions_are_heat_maps_and_other_tables_are_not() -> None:
    confusion = [{"truth": "a", "a": 8, "b": 2}, {"truth": "b", "a": 1, "b": 9}]
    assert "--heat:1.00" in table(confusion)
    assert "--heat" not in table([{"class": "a", "f1": 0.5, "n": 3}, {"class": "b", "f1": 0.5, "n": 3}])


def test_intervals_are_drawn_within_their_picture() -> None:
    for f in (figure(0.5, 0.4, 0.6), figure(-3.0, -5.0, 2.0), figure(900.0, 100.0, 2000.0)):
        places = [float(x) for x in re.findall(r"(?:x1|x2|cx)=([\d.]+)", interval(f))]
        assert places
        assert all(4 <= x <= 116 for x in places)
    assert interval(figure(1.0)) == ""


def test_a_run_of_a_stranger_about_which_little_is_known() -> None:
    assert "demo data" in origin({}, None)


def test_data_that_are_gone_leave_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = TinyRun(tmp_path / "a")

    def gone() -> Any:
        raise LaminaError("the data are gone")

    monkeypatch.setattr(run, "data", gone)
    answer = gathered(run, verbs=("evaluate",))["evaluate"]
    assert answer.failed == "the data are gone"
