"""Applications of one's own, each a file anywhere: trained, asked, judged and resumed from the command line."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import lamina
from lamina.check import check_task
from lamina.cli import main
from lamina.find import find_task
from lamina.verbs import QUESTIONS

ROOT = Path(__file__).parent.parent
SEGMENTS = ROOT / "examples" / "segments.py"


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    yield
    for name in [n for n in sys.modules if n.startswith("lamina_application_")]:
        del sys.modules[name]


@pytest.fixture
def characters(tmp_path: Path) -> Path:
    """The example in CONTRIBUTING, saved as it says."""
    code = re.search(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.S)
    assert code
    path = tmp_path / "my_task.py"
    path.write_text(code.group(1), encoding="utf-8")
    return path


def result(capsys: pytest.CaptureFixture[str]) -> list[dict]:
    """What was printed with `--json`, a line an object."""
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_tagger_keeps_the_contract() -> None:
    assert check_task(find_task(SEGMENTS)) == []


def test_a_tagger_learns_and_answers_rows_that_hold_lists(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(tmp_path / "run")
    assert main(["train", str(SEGMENTS), "--steps", "60", "--out", run, "--quiet", "--json"]) == 0
    assert result(capsys)[-1]["metrics"]["step_accuracy"]["value"] > 0.8  # three tags: chance is about 1/3
    rows = tmp_path / "series.jsonl"
    rows.write_text("".join(json.dumps({"signal": [20.0] * n}) + "\n" for n in (9, 12)))
    assert main(["predict", run, str(rows), "--task", str(SEGMENTS), "--json"]) == 0
    answers = result(capsys)
    assert [(a["source"], len(a["tags"])) for a in answers] == [(f"{rows}:1", 9), (f"{rows}:2", 12)]
    assert set(answers[0]["tags"]) == {"rest"}
    assert lamina.load(run, task_file=SEGMENTS).predict([{"signal": [20.0] * 9}])[0]["tags"] == answers[0]["tags"]


QUICK = {"needs": ["--no-curve"], "shrink": ["--method", "int8-weights", "--resamples", "20"], "export": []}
"""Flags that keep a question short, where they are not --quick."""


@pytest.fixture(scope="module")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "tagger"
    words = ["train", str(SEGMENTS), "--steps", "4", "--out", str(folder), "--quiet", "--no-tensorboard", "--evaluations", "1"]
    assert main(words) == 0
    return folder


@pytest.mark.parametrize("verb", QUESTIONS)
def test_a_tagger_answers_every_question_or_says_why_not(
    verb: str, tagger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path / "made")] if verb in ("shrink", "export") else []
    words = [verb, str(tagger), "--task", str(SEGMENTS), "--device", "cpu", "--json", *QUICK.get(verb, ["--quick"]), *out]
    capsys.readouterr()
    assert main(words) == 0
    made = result(capsys)[-1]
    assert made["sentences"] and made["figures"]
    if verb == "stress":  # a tag a step is neither one class an example nor one number
        assert {"calibration", "promises", "robust accuracy"} <= set(made["skipped"])


def test_other_data_are_judged_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(tmp_path / "run")
    assert main(["train", str(SEGMENTS), "--steps", "2", "--out", run, "--quiet", "--json"]) == 0
    other = tmp_path / "other.jsonl"
    other.write_text("".join(json.dumps({"signal": [20.0 + i] * 9, "tags": ["rest"] * 9}) + "\n" for i in range(12)))
    capsys.readouterr()
    assert main(["evaluate", run, "--task", str(SEGMENTS), "--data", str(other), "--json"]) == 0
    judged = result(capsys)[-1]
    assert (judged["part"], judged["count"]) == ("all", 12)


def test_the_example_in_contributing_learns_and_is_opened_again(characters: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, own = str(characters.parent / "run"), str(characters)
    assert main(["train", own, "--out", run, "--quiet"]) == 0
    assert f"next: lamina predict {run} INPUT --task {own}" in capsys.readouterr().out
    rows = characters.parent / "new.csv"
    rows.write_text("text\n7fe9\n1234567\n")
    assert main(["predict", run, str(rows), "--task", own, "--json"]) == 0
    assert [a["label"] for a in result(capsys)] == ["hexadecimal", "octal"]
    assert main(["train", "--resume", run, "--task", own, "--json"]) == 0  # finished: nothing to do, and it says so
    assert result(capsys)[-1]["metrics"]["accuracy"]["value"] > 0.9
    assert main(["predict", run, str(rows)]) == 2
    assert f"name it with --task {own}" in capsys.readouterr().err
    assert main(["train", f"--task={own}", "--steps", "1", "--out", f"{run}-2", "--quiet"]) == 0


def test_a_fault_of_an_application_names_its_line(characters: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = characters.read_text()
    line = next(n for n, text in enumerate(code.splitlines(), start=1) if "torch.ones" in text)
    characters.write_text(code.replace("torch.ones(", "torch.missing("))
    assert main(["train", str(characters), "--steps", "1", "--out", str(characters.parent / "run"), "--quiet"]) == 1
    told = capsys.readouterr().err
    assert f"{characters}:{line}: AttributeError" in told and "defect in Lamina" not in told


def test_a_row_that_lacks_a_column_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(tmp_path / "run")
    assert main(["train", str(SEGMENTS), "--steps", "1", "--out", run, "--quiet"]) == 0
    rows = tmp_path / "series.jsonl"
    rows.write_text('{"signal": [1, 2]}\n{"signals": [1, 2]}\n')
    assert main(["predict", run, str(rows), "--task", str(SEGMENTS)]) == 2
    assert f"{rows}:2: expected the columns signal; missing: signal (found signals)" in capsys.readouterr().err
