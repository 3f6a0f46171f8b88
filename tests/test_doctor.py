"""The doctor on machines that are not this one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import lamina
from lamina.doctor import cache_folder, cpu_info, doctor, extras, features_of, folder, print_diagnosis, requirements, writable
from lamina.terminal import jsonable

CPUINFO = """processor\t: 0
model name\t: Some CPU @ 2.00GHz
flags\t\t: fpu avx2 fma avx512f avx512_bf16 amx_bf16 amx_tile

processor\t: 1
model name\t: Some CPU @ 2.00GHz
flags\t\t: fpu
"""


def test_processor_features_that_matter(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(CPUINFO)
    cpu = cpu_info(tmp_path / "cpuinfo")
    assert cpu["model name"] == "Some CPU @ 2.00GHz"
    assert features_of(cpu["flags"]) == ("AMX", "AMX tiles", "AVX512-BF16", "AVX512", "AVX2", "FMA")
    assert cpu_info(tmp_path / "nothing") == {} and features_of("") == ()


def test_facts_of_this_machine_are_json() -> None:
    found = lamina.doctor()
    read = json.loads(json.dumps(jsonable(found), allow_nan=False))
    assert read["torch"] == torch.__version__ and read["devices"][0]["name"] == "cpu"
    assert read["cores"] >= read["physical_cores"] >= 1 and read["memory"] >= read["memory_free"] > 0
    assert read["packages"]["numpy"] and read["precision"].split()[0] in ("float32", "bfloat16")


def test_missing_extras_come_with_the_line_that_brings_them(monkeypatch: pytest.MonkeyPatch) -> None:
    declared = [
        "numpy>=1",
        'absent-package>=2; extra == "hub"',
        "numpy; extra == 'dev'",
        'x; sys_platform != "" and extra == "hub"',
    ]
    monkeypatch.setattr("importlib.metadata.requires", lambda name: declared)
    assert requirements() == [("numpy", None), ("absent-package", "hub"), ("numpy", "dev"), ("x", "hub")]
    hub, dev = extras()
    assert hub.missing == ("absent-package", "x") and hub.cure == "pip install 'lamina[hub]'"
    assert dev.missing == () and dev.cure is None


def test_a_missing_requirement_is_a_problem_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.requires", lambda name: ["absent-package>=2"])
    assert "absent-package is missing: pip install absent-package" in doctor().problems


def test_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "a").write_bytes(b"12345")
    monkeypatch.setenv("LAMINA_CACHE", str(tmp_path / "cache"))
    facts = folder("cache", cache_folder())
    assert facts.size == 5 and facts.writable and facts.free
    assert list((tmp_path / "cache").iterdir()) == [tmp_path / "cache" / "a"]  # the probe is gone
    assert folder("runs", tmp_path / "not" / "yet").writable
    assert not writable(tmp_path / "cache" / "a")
    monkeypatch.setenv("LAMINA_CACHE", str(tmp_path / "cache" / "a" / "below"))
    assert any("cannot be written" in problem for problem in doctor().problems)


def test_tables(capsys: pytest.CaptureFixture[str]) -> None:
    print_diagnosis(doctor())
    shown = capsys.readouterr().out
    assert torch.__version__ in shown and "precision auto" in shown
    assert max(len(line) for line in shown.splitlines() if not line.startswith("problem")) <= 80
