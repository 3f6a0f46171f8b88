"""The command line: help without torch, one line for every mistake, exit statuses, configuration files."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from typing_extensions import Doc

from lamina import cli, flags
from lamina.cli import main
from lamina.data.source import Finding
from lamina.errors import LaminaError, MachineFault
from lamina.flags import Given, Verb, Word, flags_of, named, parse, require_words, task_among
from lamina.task import learned
from lamina.verbs import QUESTIONS, VERBS, Common, train_verb, verb_of
from tiny_task import Tiny

HEAVY = ("torch", "sklearn", "pyarrow", "numpy", "scipy", "PIL", "tensorboard")


def shell(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    code = (
        "import sys; from lamina.cli import main; status = main(sys.argv[1:]);"
        f"print([m for m in {HEAVY} if m in sys.modules], file=sys.stderr); sys.exit(status)"
    )
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, **options)


@pytest.mark.parametrize(
    "words", [[], ["--help"], ["train", "--help"], ["train", "image-classification", "--help"], ["--version"]]
)
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    done = shell(*words)
    assert (done.returncode, done.stderr.strip()) == (0, "[]")
    assert "lamina" in done.stdout and max(len(line) for line in done.stdout.splitlines()) <= 80


@pytest.mark.parametrize(
    "words",
    [
        ["train", "image-classification", "--epochs", "-3"],
        ["train", "tabular", "--print-config"],
        ["trian"],
        ["evaluate"],
        ["tasks"],
    ],
)
def test_mistakes_and_lists_need_nothing_heavy(words: list[str]) -> None:
    assert shell(*words).stderr.splitlines()[-1] == "[]"


def test_help_of_a_task_lists_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "image-classification", "--help"]) == 0
    shown = capsys.readouterr().out
    for flag in train_verb("image-classification").flags:
        assert flag.dashed in shown, flag.name
    for group in ("data options", "task options", "recipe options", "training options", "common options"):
        assert group in shown
    assert "--classes" not in shown  # learned
    assert "lamina train image-classification --data DATA" in shown and "as the task recommends" in shown


@pytest.mark.parametrize("verb", sorted([*VERBS, *QUESTIONS]))
def test_every_verb_has_help_with_examples(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "-h"]) == 0
    shown = capsys.readouterr().out
    assert f"usage: lamina {verb}" in shown and verb_of(verb).examples[0] in shown and "--json" in shown


TRAIN = ["train", "image-classification"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["trian"], "there is no verb 'trian'; did you mean train?"),
        (["train", "image-clasification"], "there is no task 'image-clasification'; did you mean image-classification?"),
        (["train"], "lamina train: expected TASK"),
        ([*TRAIN, "--epocs", "3"], "there is no flag --epocs; did you mean --epochs?"),
        ([*TRAIN, "--labels=x"], "there is no flag --labels; did you mean --label?"),
        ([*TRAIN, "-e", "3"], "there is no flag -e"),
        ([*TRAIN, "tabular"], "got one word too many: 'tabular'"),
        ([*TRAIN, "--epochs", "-3"], "--epochs: expected a number above 0; got -3.0"),
        ([*TRAIN, "--epochs", "ten"], "--epochs: expected a number or none; got 'ten'"),
        ([*TRAIN, "--epochs"], "--epochs: expected a number or none; got nothing"),
        ([*TRAIN, "--batch-size", "0"], "--batch-size: expected 1 or more, or auto; got 0"),
        ([*TRAIN, "--batch_size", "3.5"], "--batch-size: expected a whole number or auto; got '3.5'"),
        ([*TRAIN, "--lr", "nan"], "--lr: expected a number above 0, or auto; got nan"),
        ([*TRAIN, "--seed", "x"], "--seed: expected a whole number; got 'x'"),
        ([*TRAIN, "--minutes", "0"], "--minutes: expected a number above 0; got 0.0"),
        ([*TRAIN, "--model", "resnet19"], "got 'resnet19'; did you mean resnet18?"),
        ([*TRAIN, "--tensorboard=perhaps"], "--tensorboard: expected true or false; got 'perhaps'"),
        ([*TRAIN, "--data", "nowhere/"], "--data"),
        (["train", "tabular", "--data", "nowhere.csv"], "--data"),
        (["train", "missing.py"], "missing.py: expected a Python file"),
        (["train", "--resume", "runs/none", "--epochs", "3"], "and takes no other flag; got --epochs"),
        (["train", "--resume", "runs/none"], "--resume"),
        (["evaluate"], "lamina evaluate: expected RUN"),
        (["evaluate", "nowhere"], "nowhere: expected a run's folder"),
        (["predict", "nowhere"], "lamina predict: expected INPUT"),
        (["compare", "a", "--json", "--json=1"], "--json: expected true or false"),
        (["scan", "a", "--data", "b"], "expected the data once"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("error: ") and shown.err.count("\n") == 1 and told in shown.err
    assert "Traceback" not in shown.err
    assert not list(tmp_path.iterdir())  # nothing was started


def test_device_is_checked(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main([*TRAIN, "--device", "moon", "--out", str(tmp_path / "run"), "--quiet"]) == 2
    assert "--device: expected auto or a device of this machine" in capsys.readouterr().err


def test_json_tells_errors_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TRAIN, "--epochs", "ten", "--json"]) == 2
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {"error": "--epochs: expected a number or none; got 'ten'"}


@pytest.mark.parametrize(
    ("raised", "status", "told"),
    [
        (LaminaError("row 3: expected\na number"), 2, "error: row 3: expected a number\n"),
        (MachineFault("disk full; checkpoint kept"), 1, "error: disk full; checkpoint kept\n"),
        (KeyboardInterrupt("go on with: x"), 130, "error: interrupted; go on with: x\n"),
        (ZeroDivisionError("oh"), 1, f"error: {cli.BUG}: ZeroDivisionError: oh (LAMINA_DEBUG=1 shows the traceback)\n"),
    ],
)  # fmt: skip
def test_exit_statuses(
    raised: BaseException, status: int, told: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(given: Given) -> int:
        raise raised

    monkeypatch.setitem(cli.HANDLERS, "tasks", fail)
    monkeypatch.delenv("LAMINA_DEBUG", raising=False)
    assert main(["tasks"]) == status and capsys.readouterr().err == told
    monkeypatch.setenv("LAMINA_DEBUG", "1")
    assert main(["tasks", "--json"]) == status
    shown = capsys.readouterr()
    assert "Traceback" in shown.err and list(json.loads(shown.out)) == ["error"]


def test_interrupted_training_tells_how_to_resume(tmp_path: Path) -> None:
    def stop() -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="nothing was started"):
        cli.interruptible(tmp_path, "tabular", stop)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(KeyboardInterrupt, match=f"go on with: lamina train --resume {tmp_path}$"):
        cli.interruptible(tmp_path, "tabular", stop)
    with pytest.raises(KeyboardInterrupt, match=f"--resume {tmp_path} --task my_task.py$"):
        cli.interruptible(tmp_path, "my_task.py", stop)


def test_a_reader_that_leaves_is_no_error() -> None:
    code = "import sys; from lamina.cli import main; sys.exit(main(['train', 'image-classification', '--help']))"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        assert process.stderr.read() == b""


@dataclass(frozen=True)
class Fields:
    rate: Annotated[float | Literal["auto"], Doc("how fast")] = 0.5
    widths: Annotated[tuple[int, ...], Doc("how wide")] = (1, 2)
    deep: bool = False
    shown: bool = True
    text: str | None = None
    listed: list[str] = field(default_factory=list)
    hidden: int = learned(3)


VERB = Verb(
    "do",
    "Does.",
    (Word("RUN", "a run"), Word("INPUT", "files", many=True)),
    (*flags_of(Fields, "all"), *flags_of(Common, "common")),
)


def test_values_are_those_of_the_types() -> None:
    given = parse(VERB, ["r", "--rate", "auto", "--widths", "3", "4", "--no-shown", "--deep", "--text=-x=1", "-"])
    assert given.values == {"rate": "auto", "widths": (3, 4), "shown": False, "deep": True, "text": "-x=1"}
    assert given.words == ("r", "-")
    assert parse(VERB, ["--rate", "-1e-3", "--text", "None", "--deep", "false", "--widths=5,6"]).values == {
        "rate": -1e-3, "text": None, "deep": False, "widths": (5, 6)}  # fmt: skip
    assert parse(VERB, ["--", "--rate"]).words == ("--rate",)
    assert parse(VERB, ["--rate", "1", "--rate=2"]).values == {"rate": 2.0}
    assert parse(VERB, []).get("rate") == 0.5 and parse(VERB, []).values == {}
    with pytest.raises(LaminaError, match="there is no flag --hidden"):
        parse(VERB, ["--hidden", "1"])
    with pytest.raises(LaminaError, match="--widths: expected a list, each a whole number; got '3 x'"):
        parse(VERB, ["--widths", "3", "x"])


def test_words_are_required() -> None:
    with pytest.raises(LaminaError, match="lamina do: expected INPUT: files"):
        require_words(parse(VERB, ["r"]))
    require_words(parse(VERB, ["r", "a", "b", "c"]))


def test_a_configuration_file_stands_behind_the_flags(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("run: r\ninput: [a, b]\nrate: 3\nwidths: [7]\ndeep: true\ntext: null\n")
    given = parse(VERB, ["--config", str(tmp_path / "c.yaml"), "--rate", "4"])
    assert given.words == ("r", "a", "b")
    assert {**given.values, "config": 0} == {"rate": 4.0, "widths": (7,), "deep": True, "text": None, "config": 0}
    (tmp_path / "c.json").write_text('{"rate": "auto"}')
    assert parse(VERB, ["--config", str(tmp_path / "c.json")]).get("rate") == "auto"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("rat: 3", "there is no key 'rat'; did you mean rate?"),
        ("rate: fast", "--rate: expected a number or auto; got 'fast'"),
        ("rate: [1]", "rate: expected a number or auto; got"),
        ("- 1", "expected keys and values; got a list"),
        ("a: [", "expected YAML or JSON"),
    ],
)
def test_mistakes_in_a_configuration_file(text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(LaminaError, match=told) as caught:
        parse(VERB, ["--config", str(tmp_path / "c.yaml")])
    assert "\n" not in str(caught.value)
    with pytest.raises(LaminaError, match=r"--config .*none\.yaml: expected a YAML or JSON file"):
        parse(VERB, ["--config", str(tmp_path / "none.yaml")])


def test_printed_configuration_does_the_same_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        *TRAIN,
        "--model",
        "mlp",
        "--epochs",
        "2",
        "--clip",
        "none",
        "--no-tensorboard",
        "--data",
        "some: where",
        "--seed",
        "7",
    ]
    assert main([*words, "--print-config"]) == 0
    printed = capsys.readouterr().out
    assert yaml.safe_load(printed)["task"] == "image-classification"
    (tmp_path / "c.yaml").write_text(printed)
    verb = train_verb("image-classification")
    again = parse(verb, ["--config", str(tmp_path / "c.yaml")])
    first = parse(verb, words[1:])
    assert again.words == first.words
    assert all(again.get(f.name) == first.get(f.name) for f in verb.flags if f.name != "config")
    recipe = {f.name for f in flags_of(cli.Recipe, "")}
    assert set(again.values) & recipe == {"epochs", "clip"}  # the rest is for the task to recommend
    assert main(["train", "--config", str(tmp_path / "c.yaml"), "--print-config"]) == 0  # it names the task as well
    assert capsys.readouterr().out == printed


def test_the_task_is_found_among_flags() -> None:
    verb = train_verb(None)
    assert task_among(["--epochs", "5", "--json", "tabular"], verb) == "tabular"
    assert task_among(["--mixup", "0.2", "--no-tensorboard", "image-classification"], verb) == "image-classification"
    assert task_among(["--help"], verb) is None and task_among([], verb) is None
    assert task_among(["--epochs=5", "mine.py"], verb) == "mine.py"


def test_a_field_that_hides_a_common_flag_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True)
    class Clash(Tiny):
        seed: int = 0

    monkeypatch.setattr("lamina.verbs.find_task", lambda name: Clash)
    with pytest.raises(LaminaError, match="the field 'seed' has the name of a flag that every task has"):
        train_verb("clash.py")


def test_messages_name_the_flag() -> None:
    assert named("batch_size: expected 1; got 0", ["--batch-size", "0"]) == "--batch-size: expected 1; got 0"
    assert named("batch_size: expected 1; got 0", []) == "batch_size: expected 1; got 0"
    assert named("nowhere: no such folder", ["--data", "nowhere/"]) == "--data nowhere: no such folder"
    assert named("nowhere: no such folder", ["--data=nowhere"]) == "--data nowhere: no such folder"
    assert named("row 3: expected a number", ["--data", "x"]) == "row 3: expected a number"


def test_findings_are_grouped(capsys: pytest.CaptureFixture[str]) -> None:
    found = [Finding("duplicate", "the same as a.png", f"{i}.png", severity="warning", fix="remove it") for i in range(8)]
    cli.print_findings([*found, Finding("truncated-image", "ends early", "t.csv", 3)])
    lines = capsys.readouterr().out.splitlines()
    assert "truncated-image: t.csv:3: ends early" in lines and "duplicate: and 3 more (--json lists all)" in lines
    assert next(i for i, x in enumerate(lines) if "error" in x) < next(i for i, x in enumerate(lines) if "warning" in x)


def test_functions_keep_the_names_of_their_modules() -> None:
    code = (
        "import lamina, lamina.train.recipe, lamina.check, lamina.tasks, lamina.compare, lamina.doctor, lamina.predict\n"
        "import lamina.evaluate, lamina.train.api, lamina.data.scan\n"
        "assert all(type(getattr(lamina, name)).__name__ == 'function' for name in lamina.__all__), lamina.__all__"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_flag_has_help() -> None:
    for verb in (*map(verb_of, [*VERBS, *QUESTIONS]), train_verb("image-classification"), train_verb("tabular")):
        assert [f.name for f in verb.flags if not f.about] == []
    assert flags.expected(Literal["a", "b"] | None) == "one of a, b or none"
