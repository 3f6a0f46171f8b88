"""Planted defects, met as a person meets them: through the command line. Each is named by its file, row or flag, in one
line, with exit status 2, before anything is written; and odd files with nothing wrong in them are read exactly.
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lamina.cli import main
from lamina.data.images import read_images
from lamina.data.source import Data, Source
from lamina.data.tables import read_table
from lamina.modalities.image import convert
from odd_files import ODD_PICTURES, ODD_TABLES
from picture_making import folder_per_class
from planted_pictures import BAD_PICTURES, BAD_SETS, SPOILED, cut, saved, written
from planted_tables import BAD_TABLES, PARTS, SPOILED_TABLES, csv_of, rows, with_column

QUICK = ("--steps", "2", "--no-tensorboard", "--threads", "1", "--quiet", "--device", "cpu")
IMAGES = ("train", "image-classification", "--model", "mlp", *QUICK)
TABLE = ("train", "tabular", *QUICK)


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAMINA_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("LAMINA_DEBUG", raising=False)
        yield


@dataclasses.dataclass(frozen=True)
class Runs:
    """Two runs that were trained for two steps, and what they were trained on."""

    image: Path
    table: Path
    pictures: Path
    rows: Path


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, cache: None) -> Runs:
    root = tmp_path_factory.mktemp("runs")
    made = Runs(root / "image", root / "table", folder_per_class(root / "set", {"cat": 12, "dog": 12}, side=8), root / "t.csv")
    made.rows.write_text(csv_of(rows()))
    assert main([*IMAGES, "--data", str(made.pictures), "--out", str(made.image)]) == 0
    assert main([*TABLE, "--data", str(made.rows), "--out", str(made.table)]) == 0
    return made


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def tree(folder: Path) -> list[str]:
    return sorted(os.path.join(at, name) for at, folders, files in os.walk(folder) for name in (*folders, *files))  # noqa: PTH118


class Person:
    """Types `lamina ...` and reads the answer."""

    def __init__(self, capsys: pytest.CaptureFixture[str], folder: Path) -> None:
        self.capsys, self.folder = capsys, folder

    def refused(self, *words: Any) -> str:
        """The message, after checking that it is one line of an error, and that nothing was begun."""
        before = tree(self.folder)
        self.capsys.readouterr()
        status = main([str(word) for word in words])
        shown = self.capsys.readouterr()
        assert status == 2, shown
        assert shown.err.startswith("error: ") and shown.err.endswith("\n") and len(shown.err.splitlines()) == 1, shown.err
        assert "Traceback" not in shown.err + shown.out and "defect in Lamina" not in shown.err
        assert tree(self.folder) == before
        return shown.err[len("error: ") : -1]

    def findings(self, *words: Any, status: int | None = None) -> list[dict[str, Any]]:
        """What `lamina scan --json` lists; the exit status says whether there are errors."""
        self.capsys.readouterr()
        got = main(["scan", *[str(word) for word in words], "--json"])
        shown = self.capsys.readouterr()
        assert shown.err == ""
        told = json.loads(shown.out)
        assert got == (1 if told["errors"] else 0) and (status is None or got == status)
        return told["findings"]


@pytest.fixture
def person(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Person:
    return Person(capsys, tmp_path)


# Pictures.
@pytest.mark.parametrize("name", BAD_PICTURES)
def test_a_bad_picture(name: str, person: Person, runs: Runs, tmp_path: Path) -> None:
    """It stops training, is listed by the scan, and costs its own answer: always by its path."""
    file, content, code = BAD_PICTURES[name]
    folder_per_class(tmp_path / "set", {"cat": 4, "dog": 4}, side=8)
    bad = tmp_path / "set" / "cat" / file
    bad.write_bytes(content)
    assert person.refused(*IMAGES, "--data", "set").startswith(f"{code}: set/cat/{file}: ")
    listed = [f for f in person.findings(tmp_path / "set", status=1) if f["severity"] == "error"]
    assert [(f["code"], f["file"]) for f in listed] == [(code, str(bad))]
    assert str(bad) in person.refused("predict", runs.image, bad)


@pytest.mark.parametrize("target", ["nowhere.png", "x.png"])
def test_a_link_to_nothing_or_to_itself(target: str, person: Person, tmp_path: Path) -> None:
    folder_per_class(tmp_path / "set", {"cat": 4, "dog": 4}, side=8)
    (tmp_path / "set/cat/x.png").symlink_to(tmp_path / "set/cat" / target)
    assert person.refused(*IMAGES, "--data", "set").startswith("unreadable-file: set/cat/x.png: ")


def test_names_that_are_no_text(person: Person, runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Line ends, escape codes and bytes that are no UTF-8: the message stays one line, and good pictures are read."""
    folder_per_class(tmp_path / "set", {"cat": 8, "dog": 8}, side=8)
    (tmp_path / "set/cat").rename(tmp_path / "set" / os.fsdecode(b"caf\xe9"))
    bad = tmp_path / "set" / "dog" / os.fsdecode(b"a\nb\r\x1b[31m\xe9.png")
    bad.write_bytes(b"")
    assert "dog/a b \\x1b[31m" in person.refused(*IMAGES, "--data", "set")
    assert [f["file"] for f in person.findings("set", status=1)] == ["set/dog/" + bad.name]
    assert main([*IMAGES, "--data", "set", "--bad-data", "quarantine", "--out", "run"]) == 0
    assert json.loads((tmp_path / "run/run.json").read_text())["findings"][0]["file"] == "set/dog/" + bad.name
    assert main(["predict", "run", "set", "--out", "answers.csv"]) == 2 and len(tree(tmp_path / "set")) == 19
    assert len((tmp_path / "answers.csv").read_text().splitlines()) == 17


@pytest.mark.parametrize("name", BAD_SETS)
def test_a_bad_set_of_pictures(name: str, person: Person, tmp_path: Path) -> None:
    make, told = BAD_SETS[name]
    data = make(tmp_path)
    assert person.refused(*IMAGES, "--data", data).startswith(told)


@pytest.mark.parametrize("name", SPOILED)
def test_what_spoils_a_set_of_pictures_is_listed(name: str, person: Person, tmp_path: Path) -> None:
    classes, plant, code, file = SPOILED[name]
    folder_per_class(tmp_path, classes, side=60 if code == "near-duplicate" else 8)
    plant(tmp_path)
    found = [f for f in person.findings(tmp_path) if f["code"] == code]
    assert len(found) == 1, found
    assert file is None or found[0]["file"] == str(tmp_path / file)


# Tables.


@pytest.mark.parametrize("name", BAD_TABLES)
def test_a_bad_table(name: str, person: Person, tmp_path: Path) -> None:
    file, content, flags, told = BAD_TABLES[name]
    written(tmp_path, file, content)
    assert person.refused(*TABLE, "--data", file, *flags).startswith(told)


@pytest.mark.parametrize("name", PARTS)
def test_parts_that_do_not_agree(name: str, person: Person, tmp_path: Path) -> None:
    train, test, told = PARTS[name]
    written(tmp_path, "parts/train.csv", train)
    written(tmp_path, "parts/test.csv", test)
    assert person.refused(*TABLE, "--data", "parts").startswith(told)


@pytest.mark.parametrize("state", ["{}", "{", "[]"])
def test_a_damaged_saved_dataset(state: str, person: Person, tmp_path: Path) -> None:
    assert person.refused(*TABLE, "--data", saved(tmp_path, state)).startswith("--data set: expected a saved dataset; ")


def test_parts_without_a_training_part(person: Person, tmp_path: Path) -> None:
    written(tmp_path, "parts/a.csv", csv_of(rows()))
    written(tmp_path, "parts/b.csv", csv_of(rows()))
    told = "--data parts: expected a file such as train.csv (and valid.csv, test.csv); found a.csv, b.csv"
    assert person.refused(*TABLE, "--data", "parts") == told


@pytest.mark.parametrize("name", SPOILED_TABLES)
def test_what_spoils_a_table_is_listed(name: str, person: Person, tmp_path: Path) -> None:
    content, code, told = SPOILED_TABLES[name]
    written(tmp_path, "t.csv", content)
    found = [f for f in person.findings("t.csv", status=0) if f["code"] == code]
    assert len(found) == 1 and found[0]["file"] == "t.csv", found
    assert found[0]["row"] == told if isinstance(told, int) else told in found[0]["reason"]


# Flags.

T = "train"
I = "image-classification"  # noqa: E741
BAD_FLAGS: dict[str, tuple[tuple[str, ...], str]] = {
    "a misspelled verb": (("trian", I), "lamina: there is no verb 'trian'; did you mean train?"),
    "a misspelled task": ((T, "tabluar"), "lamina train: there is no task 'tabluar'; did you mean tabular?"),
    "a misspelled flag": ((T, I, "--epoch", "3"), "lamina train image-classification: there is no flag --epoch; did you mean --epochs?"),
    "a flag of another task": ((T, "tabular", "--mixup", "0.2"), "lamina train tabular: there is no flag --mixup"),
    "no task": ((T,), "lamina train: expected TASK"),
    "two tasks": ((T, I, "tabular"), "lamina train image-classification: got one word too many: 'tabular'"),
    "a flag without its value": ((T, I, "--data"), "--data: expected a text or none; got nothing"),
    "epochs below zero": ((T, I, "--epochs", "-3"), "--epochs: expected a number above 0; got -3.0"),
    "half a step": ((T, I, "--steps", "1.5"), "--steps: expected a whole number or none; got '1.5'"),
    "minutes without end": ((T, I, "--minutes", "inf"), "--minutes: expected a number above 0; got inf"),
    "epochs and minutes": ((T, I, "--epochs", "2", "--minutes", "1"), "--minutes: expected one of --epochs, --steps, --minutes; got --epochs as well"),
    "a rate that is not a number": ((T, I, "--lr", "nan"), "--lr: expected a number above 0, or auto; got nan"),
    "a rate in words": ((T, I, "--lr", "fast"), "--lr: expected a number or auto; got 'fast'"),
    "a batch of nothing": ((T, I, "--batch-size", "0"), "--batch-size: expected 1 or more, or auto; got 0"),
    "an unknown optimizer": ((T, I, "--optimizer", "adam"), "--optimizer: expected one of sgd, adamw, muon; got 'adam'"),
    "an average that forgets nothing": ((T, I, "--ema", "1"), "--ema: expected a decay from 0 to below 1; got 1.0"),
    "a seed below zero": ((T, I, "--seed", "-1"), "--seed: expected a whole number from 0; got -1"),
    "no thread": ((T, I, "--threads", "0"), "--threads: expected 1 or more; got 0"),
    "an unknown network": ((T, I, "--model", "resnet19"), "--model: expected one of auto, mlp, "),
    "an unknown precision": ((T, I, "--precision", "float8"), "--precision: expected one of auto, float32, bfloat16; got 'float8'"),
    "a device of elsewhere": ((T, I, "--device", "moon"), "--device: expected auto or a device of this machine"),
    "pictures of no size": ((T, I, "--size", "0"), "--size: expected 1 to 4096 pixels; got 0"),
    "pictures beyond all memory": ((T, I, "--size", "10000000"), "--size: expected 1 to 4096 pixels; got 10000000"),
    "a network of no width": ((T, I, "--width", "0"), "--width: expected a number above 0, up to 64; got 0.0"),
    "more dropped than there is": ((T, I, "--dropout", "1.5"), "--dropout: expected a share from 0 to below 1; got 1.5"),
    "more smoothed than there is": ((T, I, "--label-smoothing", "1"), "--label-smoothing: expected a share from 0 to below 1; got 1.0"),
    "a mixup below zero": ((T, I, "--mixup", "-1"), "--mixup: expected 0 or more; got -1.0"),
    "a table network of negative width": ((T, "tabular", "--width", "-8"), "--width: expected 1 to 65536; got -8"),
    "a table network without layers": ((T, "tabular", "--depth", "0"), "--depth: expected 1 to 1000; got 0"),
    "an ensemble of nobody": ((T, "tabular", "--members", "0"), "--members: expected 1 to 65536; got 0"),
    "cells of no width": ((T, "tabular", "--embedding", "0"), "--embedding: expected 1 to 65536; got 0"),
    "no attention head": ((T, "tabular", "--model", "ft-transformer", "--heads", "0"), "--heads: expected 1 to 65536; got 0"),
    "heads that do not divide the width": ((T, "tabular", "--model", "ft-transformer", "--heads", "7"), "--width: expected a multiple of the 7 heads; got 64"),
    "more attention dropped than there is": ((T, "tabular", "--attention-dropout", "3"), "--attention-dropout: expected a share from 0 to below 1; got 3.0"),
    "a test larger than the data": ((T, I, "--test", "1.5"), "--test must be a share of at least 0 and below 1, not 1.5"),
    "shares that leave nothing": ((T, I, "--test", "0.6", "--valid", "0.6"), "the shares of test (0.6), valid (0.6), "),
    "a group in a folder": ((T, I, "--data", "SET", "--group", "who"), "--group who: SET is a folder per class, which has no columns"),
    "a time in a folder": ((T, I, "--data", "SET", "--time", "day"), "--time day: SET is a folder per class, which has no columns"),
    "what to do with bad data": ((T, I, "--bad-data", "ignore"), "--bad-data: expected one of strict, quarantine; got 'ignore'"),
    "a run that is none to start from": ((T, I, *QUICK, "--init", "nowhere"), "--init nowhere: expected a run's folder"),
    "a run that does not fit to start from": ((*IMAGES, "--data", "SET", "--init", "TABLE_RUN"), "--init: expected a run with weights that fit this model; none of TABLE_RUN do"),
    "a folder that holds a run already": ((*IMAGES, "--out", "IMAGE_RUN"), "--out: IMAGE_RUN holds a run already; choose another folder"),
    "a file in place of the run's folder": ((*IMAGES, "--out", "PICTURE"), "--out: expected a folder; PICTURE is a file"),
    "a file above the run's folder": ((*IMAGES, "--out", "PICTURE/run"), "--out: expected a folder to write to; PICTURE is a file"),
    "no run to resume": ((T, "--resume", "nowhere"), "--resume: expected a run's folder; nowhere holds no run.json"),
    "a resumed run with other flags": ((T, "--resume", "IMAGE_RUN", "--epochs", "3"), "--resume: goes on with the run as it was, and takes no other flag; got --epochs"),
    "no configuration file": ((T, I, "--config", "none.yaml"), "--config none.yaml: expected a YAML or JSON file"),
    "no application file": ((T, "mine.py"), "mine.py: expected a Python file that holds a Task"),
    "a run that is none": (("predict", "nowhere", "PICTURE"), "nowhere: expected a run's folder, holding run.json; there is no such folder"),
    "nothing to answer": (("predict", "IMAGE_RUN"), "lamina predict: expected INPUT"),
    "a picture that is not there": (("predict", "IMAGE_RUN", "none.png"), "none.png: no such file"),
    "a picture asked of a table": (("predict", "TABLE_RUN", "PICTURE"), "PICTURE:3: expected text; found a NUL byte"),
    "a table asked of pictures": (("predict", "IMAGE_RUN", "ROWS"), "ROWS: not a picture"),
    "answers in an unknown format": (("predict", "IMAGE_RUN", "PICTURE", "--out", "a.txt"), "--out: expected a file that ends in .jsonl, .csv or .tsv; got 'a.txt'"),
    "answers below a file": (("predict", "IMAGE_RUN", "PICTURE", "--out", "PICTURE/a.csv"), "--out: expected a folder to write to; PICTURE is a file"),
    "a part that is none": (("evaluate", "IMAGE_RUN", "--part", "tset"), "--part: expected one of train, valid, calibration, test, all"),
    "draws below zero": (("evaluate", "IMAGE_RUN", "--resamples", "-1"), "--resamples: expected 0 or more; got -1"),
    "more than certain": (("evaluate", "IMAGE_RUN", "--confidence", "1.5"), "--confidence: expected a number between 0 and 1; got 1.5"),
    "an evaluation's seed below zero": (("evaluate", "IMAGE_RUN", "--seed", "-1"), "--seed: expected a whole number from 0; got -1"),
    "figures written over a picture": (("evaluate", "IMAGE_RUN", "--out", "PICTURE"), "--out: expected a file that ends in .json; got 'PICTURE'"),
    "figures below a file": (("evaluate", "IMAGE_RUN", "--out", "PICTURE/a.json"), "--out: expected a folder to write to; PICTURE is a file"),
    "one run to compare": (("compare", "IMAGE_RUN"), "compare: expected two runs or more; got 1"),
    "a run compared with itself": (("compare", "IMAGE_RUN", "IMAGE_RUN"), "compare: expected different runs; got IMAGE_RUN twice"),
    "runs of different data": (("compare", "IMAGE_RUN", "TABLE_RUN"), "compare: expected runs with the same examples and split; table has others than image"),
    "nothing to scan": (("scan",), "nothing to scan: name a folder or a table with --data"),
    "no such data to scan": (("scan", "nowhere"), "nowhere: no such file or folder"),
    "no task to check": (("check", "none.py"), "none.py: expected a Python file that holds a Task"),
    "a word too many": (("tasks", "x"), "lamina tasks: got one word too many: 'x'"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_FLAGS)
def test_a_bad_flag(name: str, person: Person, runs: Runs) -> None:
    words, told = BAD_FLAGS[name]
    picture = runs.pictures / "cat/000.png"
    before = picture.read_bytes()
    stands = {"IMAGE_RUN": runs.image, "TABLE_RUN": runs.table, "PICTURE": picture, "ROWS": runs.rows, "SET": runs.pictures}

    def filled(text: str) -> str:
        for word, path in stands.items():
            text = text.replace(word, str(path))
        return text

    assert person.refused(*[filled(word) for word in words]).startswith(filled(told))
    assert picture.read_bytes() == before


CONFIGS: dict[str, tuple[str | bytes, str]] = {
    "an unknown key": ("epochz: 3\n", "--config c.yaml: there is no key 'epochz'; did you mean epochs?"),
    "a list": ("- 1\n", "--config c.yaml: expected keys and values; got a list"),
    "broken YAML": ("a: [\n", "--config c.yaml: expected YAML or JSON"),
    "a tab": ("\tepochs: 3", "--config c.yaml: expected YAML or JSON"),
    "bytes": (b"\xff\xfe\0", "--config c.yaml: expected YAML or JSON"),
    "a word for a number": ("epochs: many\n", "--epochs: expected a number or none; got 'many'"),
    "keys within a key": ("epochs: {a: 1}\n", "--config c.yaml: epochs: expected a number or none; got {'a': 1}"),
    "two lengths": ("epochs: 1\nsteps: 2\n", "--steps: expected one of --epochs, --steps, --minutes; got --epochs as well"),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_bad_configuration(name: str, person: Person, tmp_path: Path) -> None:
    content, told = CONFIGS[name]
    written(tmp_path, "c.yaml", content)
    assert person.refused(T, I, "--config", "c.yaml").startswith(told)


APPLICATIONS = {
    "x = (\n": "mine.py: expected a file that imports; got SyntaxError",
    "import nowhere_at_all\n": "mine.py: expected a file that imports; got ModuleNotFoundError",
    "raise SystemExit(3)\n": "mine.py: expected a file that imports; got SystemExit",
    "x = 1\n": "expected exactly one class that derives from Task; found none",
}


@pytest.mark.parametrize("content", APPLICATIONS)
@pytest.mark.parametrize("verb", ["train", "check"])
def test_a_file_that_holds_no_application(
    verb: str, content: str, person: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    written(tmp_path, "mine.py", content)
    assert APPLICATIONS[content] in person.refused(verb, "mine.py")


# What a run is asked.

ASKED: dict[str, tuple[str, bytes, str]] = {
    "nothing on standard input, for pictures": ("image", b"", "-: standard input is empty: expected a picture's bytes, or a path a line"),
    "half a picture on standard input": ("image", cut("JPEG"), "standard input: picture: the file is cut short"),
    "junk on standard input": ("image", b"\xfe\xfa\xf0", "-: standard input holds neither a picture nor lines of paths"),
    "a missing path on standard input": ("image", b"none.png\n", "-: none.png: no such file"),
    "nothing on standard input, for rows": ("table", b" \n", "-: standard input is empty: expected CSV with a header, or JSON lines"),
    "broken JSON on standard input": ("table", b'{"size": \n', "standard input: expected JSON objects, each a row; bad-json: standard input:1"),
    "a column that is missing": ("table", b"size\n1\n", "-: standard input: expected the columns size, colour; missing: colour (found size)"),
    "a word among numbers": ("table", b"size,colour\ntall,red\n", "standard input:2: column 'size': expected a number, got 'tall'"),
    "an infinite number": ("table", b"size,colour\n-1e99,red\n", "standard input:2: column 'size': expected a finite number"),
    "a field too few": ("table", b"size,colour\n2\n", "wrong-field-count: standard input:2: expected 2 fields"),
}  # fmt: skip


@pytest.mark.parametrize("name", ASKED)
def test_a_bad_question(name: str, person: Person, runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, content, told = ASKED[name]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert told in person.refused("predict", getattr(runs, kind), "-")


def test_bad_inputs_among_good_ones(runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line each, and the good ones are answered."""
    written(tmp_path, "cut.png", cut("PNG"))
    good = str(runs.pictures / "cat/000.png")
    capsys.readouterr()
    assert main(["predict", str(runs.image), "cut.png", good, "none.png", good, "--json"]) == 2
    shown = capsys.readouterr()
    assert [json.loads(line).get("source") for line in shown.out.splitlines()[:-1]] == [good, good]
    told = shown.err.splitlines()
    assert told[0].startswith("error: cut.png: ") and told[1].startswith("error: none.png: ")
    assert told[2:] == ["error: 2 of 4 inputs could not be answered"]
    written(tmp_path, "t.csv", "size,colour\n1,red\ntall,red\n2,blue\n")
    assert main(["predict", str(runs.table), "t.csv"]) == 2
    shown = capsys.readouterr()
    assert [line.split("\t")[0] for line in shown.out.splitlines()[1:]] == ["t.csv:2", "t.csv:4"]
    assert shown.err.splitlines()[0] == "error: t.csv:3: column 'size': expected a number, got 'tall'"


def test_data_that_do_not_fit_a_run(person: Person, runs: Runs, tmp_path: Path) -> None:
    folder_per_class(tmp_path / "set", {"cat": 3, "fox": 3}, side=8, seed=9)
    told = "unknown-class: set/fox/000.png: class 'fox' is none of the classes that were trained on"
    assert person.refused("evaluate", runs.image, "--data", "set").startswith(told)
    written(tmp_path, "set/cat/x.png", b"")
    assert person.refused("evaluate", runs.image, "--data", "set").startswith("empty-file: set/cat/x.png: ")
    for content, told in (
        ("size,label\n1,no\n2,yes\n", "--data t.csv: expected the columns size, colour; missing: colour"),
        ("size,colour\n1,red\n", "--data t.csv: --label: expected one of the columns size, colour; got 'label'"),
        ("size,colour,label\n1,red,no\n2,red,maybe\n", "unknown-class: t.csv:3: column 'label': 'maybe'"),
        (
            "size,colour,label\ntall,red,no\nsmall,red,yes\n",
            "not-a-number: t.csv:2: column 'size': expected a number, got 'tall'",
        ),
    ):
        written(tmp_path, "t.csv", content)
        assert person.refused("evaluate", runs.table, "--data", "t.csv").startswith(told)


def edited(**values: Any) -> Callable[[Path], None]:
    """run.json with other values; None takes a key away."""

    def edit(run: Path) -> None:
        info = {**json.loads((run / "run.json").read_text()), **values}
        (run / "run.json").write_text(json.dumps({key: value for key, value in info.items() if value is not None}))

    return edit


def rewritten(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda run: (run / name).write_bytes(change((run / name).read_bytes())) and None


DAMAGED_RUNS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "half of run.json": (rewritten("run.json", lambda b: b[: len(b) // 2]), "run/run.json: expected the JSON that Lamina writes"),
    "a list for run.json": (rewritten("run.json", lambda b: b"[]"), "run/run.json: expected the JSON that Lamina writes"),
    "a newer format": (edited(format=99), "run: expected a run of format 1 or older; got 99"),
    "no hyperparameters": (edited(hyperparameters=None), "run: expected the files that training wrote"),
    "no hashes": (edited(weights=None), "run/model.safetensors: the weight 'weights' is not the one"),
    "a changed weight": (rewritten("model.safetensors", lambda b: b[:-1] + bytes([b[-1] ^ 1])), "run/model.safetensors: the weight "),
    "half of the weights": (rewritten("model.safetensors", lambda b: b[: len(b) // 2]), "run/model.safetensors: expected a whole safetensors file"),
    "no weights": (lambda run: (run / "model.safetensors").unlink(), "run/model.safetensors: expected the weights of the run"),
    "no processor": (lambda run: shutil.rmtree(run / "processor"), "run: expected the files that training wrote in processor/"),
    "half of the processor": (rewritten("processor/state.json", lambda b: b[: len(b) // 2]), "run: expected the files that training wrote in processor/"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED_RUNS)
def test_a_damaged_run(name: str, person: Person, runs: Runs, tmp_path: Path) -> None:
    damage, told = DAMAGED_RUNS[name]
    shutil.copytree(runs.image, tmp_path / "run")
    damage(tmp_path / "run")
    assert person.refused("predict", "run", runs.pictures / "cat/000.png").startswith(told)


def test_a_run_whose_data_went_or_changed_is_not_resumed(person: Person, runs: Runs, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(runs.table, folder)
    (tmp_path / "t.csv").write_text(csv_of(rows(50)))
    source = json.loads((folder / "run.json").read_text())["source"]
    edited(status="interrupted", source={**source, "data": str(tmp_path / "t.csv")})(folder)
    assert (
        person.refused("train", "--resume", folder)
        == f"--resume: the data of {folder} has changed since it was started; train anew"
    )
    (tmp_path / "t.csv").unlink()
    assert person.refused("train", "--resume", folder).startswith(f"{tmp_path / 't.csv'}: expected a table")


# Setting bad examples aside.


def test_quarantine_trains_on_the_good_pictures_and_lists_the_bad(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder_per_class(tmp_path / "set/train", {"cat": 12, "dog": 12}, side=8)
    folder_per_class(tmp_path / "set/test", {"cat": 4, "dog": 4, "fox": 1}, side=8, seed=1)
    bad = {
        "train/cat/a.jpg": "truncated-image",
        "train/dog/b.png": "empty-file",
        "test/cat/c.jpg": "not-an-image",
        "test/dog/d.heic": "unsupported-image",
    }
    for (file, code), content in zip(bad.items(), (cut("JPEG"), b"", b"<html>", b"\0\0\0\x18ftypheic"), strict=True):
        assert code
        written(tmp_path, f"set/{file}", content)
    bad["test/fox/000.png"] = "unknown-class"
    words = [*IMAGES, "--data", "set", "--bad-data", "quarantine", "--out", "run"]
    words.remove("--quiet")
    assert main(words) == 0
    info = json.loads((tmp_path / "run/run.json").read_text())
    listed = {f["file"]: f["code"] for f in info["findings"] if f["severity"] == "error"}
    assert listed == {f"set/{file}": code for file, code in bad.items()}
    assert sum(info["data"]["counts"].values()) == 24 + 8 and info["data"]["quarantined"] == 5
    assert info["data"]["counts"]["test"] == 8 and info["status"] == "finished"
    assert "set aside: 5 bad examples, listed in run.json; the first: " in capsys.readouterr().err
    assert main(["evaluate", "run", "--json"]) == 0, "the same data are read again, the bad set aside again"
    assert json.loads(capsys.readouterr().out)["count"] == 8


def test_quarantine_trains_on_the_good_rows_and_lists_the_bad(tmp_path: Path) -> None:
    table = rows()
    table[4][0], table[9][2], table[20][0] = "tall", "", "inf"
    table[30].append("more")
    written(tmp_path, "t.csv", csv_of(table))
    assert main([*TABLE, "--data", "t.csv", "--bad-data", "quarantine", "--out", "run"]) == 0
    info = json.loads((tmp_path / "run/run.json").read_text())
    listed = {f["row"]: f["code"] for f in info["findings"] if f["severity"] == "error"}
    assert listed == {6: "not-a-number", 11: "missing-label", 22: "infinite-value", 32: "wrong-field-count"}
    assert sum(info["data"]["rows"].values()) == 56 and {f["file"] for f in info["findings"]} == {"t.csv"}


def test_warnings_are_told_when_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written(tmp_path, "t.csv", with_column("copy", lambda i, r: r[2].upper()))
    words = [*TABLE, "--data", "t.csv"]
    words.remove("--quiet")
    assert main(words) == 0
    assert "warnings about the data: 1, all shown by lamina scan; the first: leaking-column: t.csv: " in capsys.readouterr().err


# Odd files with nothing wrong.


@pytest.fixture(scope="module")
def odd_folder(tmp_path_factory: pytest.TempPathFactory, cache: None) -> Path:
    """All odd pictures as one class, one of them and a whole class by a link, beside files that are no pictures."""
    root = tmp_path_factory.mktemp("odd pictures — ü")
    for file, content, _ in ODD_PICTURES.values():
        written(root, f"set/odd ones/{file}", content)
    folder_per_class(root / "elsewhere", {"plain": 6}, side=12, seed=3)
    (root / "set/plain").symlink_to(root / "elsewhere/plain")
    (root / "set/odd ones/link.png").symlink_to(root / "elsewhere/plain/000.png")
    for name in ("Thumbs.db", "README.md", ".hidden.png", "odd ones/.DS_Store", "odd ones/notes.txt"):
        written(root / "set", name, "x")
    return root / "set"


@pytest.fixture(scope="module")
def odd_pictures(odd_folder: Path) -> dict[str, np.ndarray]:
    """Name -> (3, 12, 12), as training sees them."""
    data = read_images(Source(str(odd_folder)))
    columns = [columns for columns in data.parts().values() if len(columns["path"])]
    return {Path(p).name: x for part in columns for p, x in zip(part["path"], part["image"], strict=True)}


@pytest.mark.parametrize("name", ODD_PICTURES)
def test_an_odd_picture_is_read_exactly(name: str, odd_pictures: dict[str, np.ndarray]) -> None:
    file, _, pixels = ODD_PICTURES[name]
    expected = np.ascontiguousarray(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1))
    np.testing.assert_array_equal(odd_pictures[file], convert(expected, 3))


def test_odd_pictures_are_not_accused(odd_folder: Path, person: Person, tmp_path: Path) -> None:
    found = person.findings(odd_folder, status=0)
    assert {f["code"] for f in found if f["severity"] == "warning"} <= {"duplicate", "conflicting-label"}  # planted twins
    assert main([*IMAGES, "--data", str(odd_folder), "--out", "run"]) == 0
    info = json.loads((tmp_path / "run/run.json").read_text())
    assert sum(info["data"]["counts"].values()) == len(ODD_PICTURES) + 7 and info["data"]["quarantined"] == 0
    assert main(["predict", "run", str(odd_folder)]) == 0


def rows_of(data: Data) -> list[tuple[Any, ...]]:
    """Every (x, word, label), missing cells as None, in an order of their own: parts do not keep that of the file."""
    found = []
    for columns in data.parts().values():
        for x, word, label in zip(*(columns.get(name, ()) for name in ("x", "word", "label")), strict=True):
            found.append((None if np.isnan(x) else float(x), word, label))
    return sorted(found, key=repr)


@pytest.mark.parametrize("name", ODD_TABLES)
def test_an_odd_table_is_read_exactly_and_not_accused(name: str, person: Person, tmp_path: Path) -> None:
    file, content, numbers, words = ODD_TABLES[name]
    path = tmp_path / file
    written(tmp_path, file, content)
    (tmp_path / f"link{path.suffix}").symlink_to(path)
    assert not [f for f in person.findings(path, "--label", "label", status=0) if f["severity"] == "error"]
    data = read_table(Source(str(tmp_path / f"link{path.suffix}"), label="label"), needs=("x", "word"))
    expected = [
        (None if n is None else float(n), word, str(i % 2)) for i, (n, word) in enumerate(zip(numbers, words, strict=True))
    ]
    assert rows_of(data) == sorted(expected, key=repr)


def test_an_odd_table_trains_and_is_asked(tmp_path: Path) -> None:
    """A byte-order mark, semicolons, quoted newlines, missing cells and Unicode names, all the way through."""
    lines = ["größe;wort;étiquette"]
    lines += [
        f'{"" if i % 7 == 0 else i * 0.37 % 1:.4};"a\nb {i % 3}";{"ja" if i % 2 else "nein"}'
        if i % 7
        else f';"c";{"ja" if i % 2 else "nein"}'
        for i in range(60)
    ]
    written(tmp_path, "große daten.CSV", b"\xef\xbb\xbf" + "\n".join(lines).encode())
    assert main([*TABLE, "--data", "große daten.CSV", "--label", "étiquette", "--out", "run"]) == 0
    info = json.loads((tmp_path / "run/run.json").read_text())
    assert sum(info["data"]["rows"].values()) == 60 and not [f for f in info["findings"] if f["severity"] == "error"]
    assert main(["predict", "run", "große daten.CSV", "--out", "answers.jsonl"]) == 0
    assert len((tmp_path / "answers.jsonl").read_text().splitlines()) == 60


def test_how_many_defects_are_planted() -> None:
    pictures = len(BAD_PICTURES) + len(BAD_SETS) + len(SPOILED) + 3
    tables = len(BAD_TABLES) + len(PARTS) + len(SPOILED_TABLES)
    flags = len(BAD_FLAGS) + len(CONFIGS) + len(APPLICATIONS) + len(ASKED) + len(DAMAGED_RUNS)
    assert min(pictures, tables, flags) >= 22 and pictures + tables + flags >= 60
