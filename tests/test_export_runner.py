"""The exported folder answers alone: the lines of `lamina predict --json` from a Python that has no torch, pyarrow or Lamina."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import random
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lamina.ask import Asked
from lamina.data.table_files import _cells, _cells_one_by_one
from lamina.decode.known import fitted
from lamina.errors import LaminaError
from lamina.export.api import export
from lamina.export.carried import PACKAGE, closure, part_of
from lamina.export.settings import Settings
from lamina.modalities.image import PictureReader
from lamina.predict import predict
from lamina.run import Run
from lamina.terminal import jsonable
from untrained import untrained

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

ALONE = """
import runpy, sys
class Refuses:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "pyarrow", "typing_extensions", "safetensors", "sklearn", "rich", "scipy", "tyro", "yaml"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Refuses())
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    own = sys.modules.get("lamina")
    assert own is None or own.__file__.startswith(sys.argv[0][:-len("run.py")]), own.__file__
"""
"""Runs a script as `python script` does, where none but numpy, Pillow and onnxruntime can be imported."""


def runner(folder: Path, *words: str, stdin: bytes = b"") -> tuple[list[Any], list[str], int]:
    """The JSON lines on standard output, the lines on standard error, the exit status."""
    made = subprocess.run(
        [sys.executable, "-c", ALONE, str(folder / "run.py"), *words], input=stdin, capture_output=True, env={}, check=False
    )
    errors = made.stderr.decode().splitlines()
    assert not any("Traceback" in line for line in errors), made.stderr.decode()
    return [json.loads(line) for line in made.stdout.decode().splitlines()], errors, made.returncode


def said(run: Run, inputs: Sequence[str]) -> list[Any]:
    return jsonable([a for a in predict(run, list(inputs), strict=False, device="cpu", precision="float32") if "error" not in a])


def close(a: Any, b: Any) -> bool:
    """Equal, numbers to 1e-5, relative beyond one."""
    if isinstance(a, dict):
        return list(a) == list(b) and all(close(a[key], b[key]) for key in a)
    return math.isclose(a, b, rel_tol=1e-5, abs_tol=1e-5) if isinstance(a, float) else a == b


def exported(run: Run) -> Path:
    place = run.folder.parent / "exported"
    assert export(Asked(run, Settings(out=str(place)))).skipped == {}
    return place


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    run = untrained(tmp_path_factory.mktemp("d") / "run", "image-classification", width=0.25, views="mirror", mirror="on")
    run.keep_temperature(1.7)
    return run, exported(run)


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    run = untrained(tmp_path_factory.mktemp("t") / "run", "tabular", width=16, members=2)
    return run, exported(run)


def table(path: Path, columns: dict[str, Any]) -> str:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return str(path)


def test_every_test_picture_is_answered_as_predict_does(digits: tuple[Run, Path], tmp_path: Path) -> None:
    run, folder = digits
    for i, picture in enumerate(run.data().test["image"]):
        Image.fromarray(picture[0]).save(tmp_path / f"{i:03}.png")
    lines, _, status = runner(folder, str(tmp_path), "--json", "--batch-size", "100")
    wanted = said(run, [str(tmp_path)])
    assert status == 0 and len(lines) == len(wanted) > 200
    assert all(close(a, b) for a, b in zip(lines, wanted, strict=True))
    assert len({line["label"] for line in lines}) > 1


def test_every_test_row_is_answered_as_predict_does(cells: tuple[Run, Path], tmp_path: Path) -> None:
    run, folder = cells
    test = run.data().test
    file = table(tmp_path / "rows.csv", {name: test[name] for name in run.task.asks})
    lines, _, status = runner(folder, file, "--json")
    wanted = said(run, [file])
    assert status == 0 and len(lines) == len(wanted) > 50
    assert all(close(a, b) for a, b in zip(lines, wanted, strict=True))
    as_rows = [
        dict(zip(run.task.asks, map(float, row), strict=True)) for row in zip(*(test[n] for n in run.task.asks), strict=True)
    ]
    lines, _, _ = runner(folder, "-", "--json", stdin="\n".join(map(json.dumps, as_rows)).encode())
    assert lines[1]["source"] == "standard input:2" and close({**lines[1], "source": wanted[1]["source"]}, wanted[1])


def test_numbers_words_and_gaps_of_a_regression(tmp_path: Path) -> None:
    """In units of the target; categories, missing cells, an unknown category, quoted fields, semicolons."""
    rng = np.random.default_rng(0)
    size, town = rng.uniform(20, 200, 200).round(1), rng.choice(["Ulm", "Bad Aibling", "Köln"], 200)
    price = 1e5 + 2000 * size + rng.normal(size=200)
    data = table(tmp_path / "homes.csv", {"size": size, "town": town, "price": price})
    run = untrained(tmp_path / "run", "tabular", data=data, width=16, members=2, answer="regression")
    folder = exported(run)
    body = 'town;note;size\n"Köln";"a ""quoted""\nnote";51.5\nUlm;;\n"Atlantis";x;1e2\n;y;nan\n'
    (tmp_path / "ask.csv").write_text(body, encoding="utf-8")
    lines, _, status = runner(folder, str(tmp_path / "ask.csv"), "--json")
    assert status == 0 and len(lines) == 4 and lines[1]["source"].endswith("ask.csv:4")
    assert all(close(a, b) for a, b in zip(lines, said(run, [str(tmp_path / "ask.csv")]), strict=True))
    assert all(1e4 < line["value"] < 1e6 for line in lines)
    (tmp_path / "bad.csv").write_text("town,size\nUlm,12\nUlm,wide\nKöln,7\nUlm,1,2\n", encoding="utf-8")
    lines, errors, status = runner(folder, str(tmp_path / "bad.csv"), "--json")
    assert status == 2 and len(lines) == 3 and "2 of 4 inputs" in lines[-1]["error"]
    assert [line["source"][-1] for line in lines[:-1]] == ["2", "4"]
    assert any("column 'size': expected a number, got 'wide'" in line for line in errors)
    assert all(close(a, b) for a, b in zip(lines, said(run, [str(tmp_path / "bad.csv")]), strict=False))
    (tmp_path / "rows.parquet").write_bytes(b"PAR1")
    lines, errors, status = runner(folder, str(tmp_path / "rows.parquet"), "--json")
    assert status == 2 and "pip install pyarrow" in lines[-1]["error"] and len(errors) == 1


def test_pictures_of_all_kinds(digits: tuple[Run, Path], tmp_path: Path) -> None:
    """Colour, 16 bits, transparency, palettes, EXIF, other sizes; then what is none, which costs only its own answer."""
    run, folder = digits
    rng = np.random.default_rng(0)
    color = Image.fromarray(rng.integers(0, 256, (20, 31, 3), dtype=np.uint8))
    color.save(tmp_path / "a.jpg")
    color.save(tmp_path / "b.webp")
    color.convert("P").save(tmp_path / "c.gif")
    color.convert("RGBA").save(tmp_path / "d.png")
    Image.fromarray(rng.integers(0, 65536, (9, 9), dtype=np.uint16)).save(tmp_path / "e.tif")
    exif = Image.Exif()
    exif[0x0112] = 6
    color.save(tmp_path / "f.jpg", exif=exif)
    lines, _, status = runner(folder, str(tmp_path), "--json")
    wanted = said(run, [str(tmp_path)])
    assert status == 0 and len(lines) == 6 and all(close(a, b) for a, b in zip(lines, wanted, strict=True))
    (tmp_path / "b2.png").write_bytes((tmp_path / "d.png").read_bytes()[:200])
    inputs = [str(tmp_path), str(tmp_path / "nowhere.png")]
    lines, errors, status = runner(folder, *inputs, "--json")
    assert status == 2 and lines[-1] == {"error": "2 of 8 inputs could not be answered"}
    assert [Path(line["source"]).name for line in lines[:-1]] == ["a.jpg", "b.webp", "c.gif", "d.png", "e.tif", "f.jpg"]
    assert any("b2.png" in e for e in errors) and any("nowhere.png: no such file" in e for e in errors)
    assert all(close(a, b) for a, b in zip(lines, said(run, inputs), strict=False))
    lines, _, _ = runner(folder, "-", str(tmp_path / "a.jpg"), "--json", stdin=(tmp_path / "a.jpg").read_bytes())
    assert lines[0]["source"] == "standard input" and close(lines[0]["probabilities"], lines[1]["probabilities"])


@pytest.mark.parametrize("method", ["msp", "knn", "vim"])
def test_inputs_that_the_run_does_not_know_are_told(cells: tuple[Run, Path], tmp_path: Path, method: str) -> None:
    """With a cut in the middle, so that half of the rows are unknown; with and without arrays."""
    run = Run.load(shutil.copytree(cells[0].folder, tmp_path / "run"))
    data = run.data()
    said_of = run.forward("cpu", "float32")(run.task.encode(data.train, "evaluate")["table"])
    logits_NK, features_ND = (said_of[key].numpy() for key in ("logits", "features"))
    made = fitted(logits_NK, features_ND)[method]
    run.keep_known(dataclasses.replace(made, cut=float(np.median(made.unfamiliarity(logits_NK, features_ND)))))
    folder = exported(run)
    assert (folder / "lamina" / "decode" / "known.py").is_file()
    file = table(tmp_path / "rows.csv", {name: data.test[name] for name in run.task.asks})
    lines, _, status = runner(folder, file, "--json")
    assert status == 0 and all(close(a, b) for a, b in zip(lines, said(run, [file]), strict=True))
    assert {line["unknown"] for line in lines} == {True, False}


def test_without_json_a_table(digits: tuple[Run, Path], tmp_path: Path) -> None:
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "a.png")
    command = [sys.executable, str(digits[1] / "run.py"), str(tmp_path / "a.png")]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert shown[0] == "source\tlabel\tprobability" and len(shown) == 2 and shown[1].startswith(str(tmp_path / "a.png"))


def damage(name: str, how: str) -> Any:
    def change(folder: Path) -> None:
        path = folder / name
        if how == "gone":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        elif how == "cut":
            path.write_bytes(path.read_bytes()[:50])
        else:
            whole = bytearray(path.read_bytes())
            whole[len(whole) // 2] ^= 1
            path.write_bytes(whole)

    return change


@pytest.mark.parametrize(
    ("name", "how", "told"),
    [
        ("model.onnx", "gone", "it is missing"),
        ("model.onnx", "cut", "it was changed or damaged"),
        ("model.onnx", "flipped", "it was changed or damaged"),
        ("processor/state.json", "flipped", "it was changed or damaged"),
        ("export.json", "gone", "expected the JSON that lamina export wrote"),
        ("export.json", "cut", "expected the JSON that lamina export wrote"),
        ("lamina", "gone", "expected the folder that was exported beside run.py"),
    ],
)
def test_what_is_damaged_or_missing_is_told_in_a_line(
    digits: tuple[Run, Path], tmp_path: Path, name: str, how: str, told: str
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(digits[1], folder)
    damage(name, how)(folder)
    made = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path += {sys.path[1:]!r}\n{ALONE}", str(folder / "run.py"), "x.png"]
        if name != "lamina"
        else [sys.executable, "-S", str(folder / "run.py"), "x.png"],  # else an installed Lamina would step in
        capture_output=True,
        text=True,
        env={},
        check=False,
    )
    assert made.returncode == 2 and told in made.stderr and len(made.stderr.splitlines()) == 1 and made.stdout == ""


def test_nothing_to_answer_is_told(digits: tuple[Run, Path]) -> None:
    lines, errors, status = runner(digits[1], "--json")
    assert (lines, status) == ([{"error": "expected at least one input; got none"}], 2) and len(errors) == 1


# What is carried.


def test_the_folder_carries_the_very_files(cells: tuple[Run, Path]) -> None:
    _, folder = cells
    carried = {p.relative_to(folder) for p in (folder / "lamina").rglob("*.py")} - {Path("lamina/__init__.py")}
    assert Path("lamina/modalities/table.py") in carried and Path("lamina/data/table_files.py") in carried
    assert not any("task" in p.name or "torch" in p.read_text().split("def ")[0] for p in (folder / "lamina").rglob("*.py"))
    for path in carried:
        assert (folder / path).read_bytes() == (PACKAGE.parent / path).read_bytes()
    assert (folder / "run.py").read_bytes() == (PACKAGE / "export" / "runner.py").read_bytes()


def test_imports_are_followed_in_functions_but_not_for_types(tmp_path: Path) -> None:
    package = tmp_path / "lamina"
    package.mkdir()
    (package / "a.py").write_text(
        "from typing import TYPE_CHECKING\nimport numpy\nif TYPE_CHECKING:\n    import torch\n    from lamina.c import C\n"
        "def f():\n    import pyarrow\n    from lamina.b import B\n"
    )
    (package / "b.py").write_text("B = 1\n")
    (package / "c.py").write_text("import torch\nC = 1\n")
    assert list(closure(["lamina.a"], package)) == ["lamina/a.py", "lamina/b.py"]
    with pytest.raises(LaminaError, match=r"lamina\.c: expected a module that needs numpy and Pillow only.*imports torch"):
        closure(["lamina.c"], package)
    with pytest.raises(LaminaError, match=r"my_app: expected a module of Lamina"):
        closure(["my_app"], package)


def test_a_part_is_its_class_and_its_fields() -> None:
    part = part_of(PictureReader((1, 8, 8)))
    assert part == {
        "module": "lamina.modalities.image",
        "class": "PictureReader",
        "fields": {"shape": [1, 8, 8], "name": "image"},
    }


PIECES = ("a", "1", ".5", " ", "é", "b", ",", ",", "\n", "\n", "\r\n", "\r", '""', '"', '"a,b"', '"x\ny"')


@pytest.mark.parametrize("quotes", [False, True])
def test_tables_are_read_alike_with_pyarrow_and_without(quotes: bool) -> None:
    """Bodies at random: blank lines, lone carriage returns, rows too short and too long, quotes that open and never close."""
    pieces = PIECES if quotes else [p for p in PIECES if '"' not in p]
    wrong = 0
    for seed in range(4000):
        draw = random.Random(seed)
        names = [f"c{i}" for i in range(draw.choice((1, 2, 3)))]
        body = "".join(draw.choice(pieces) for _ in range(draw.randint(1, 16)))
        if body.strip():
            one = _cells(body, ",", names, "f")
            assert one == _cells_one_by_one(body, ",", names, "f"), repr(body)
            wrong += one[1]
    assert 500 < wrong < 3900
