"""What one answer costs beyond time: size on disk, energy."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")


@dataclass(frozen=True)
class Energy:
    """Millijoules of one answer, and how they were come by."""

    millijoules: float
    how: str
    estimated: bool


def folder_bytes(files: list[Path]) -> int:
    """Bytes of `files`; folders count whole."""
    every = [inner for path in files for inner in (path.rglob("*") if path.is_dir() else [path])]
    return sum(path.stat().st_size for path in every if path.is_file())


def counters(root: Path = POWERCAP) -> list[Path]:
    """The energy counters of whole processor packages that may be read here (RAPL), in no sub-domain counted twice."""
    found = []
    for path in sorted(root.glob("*rapl*:*/energy_uj")):
        if path.parent.name.count(":") == 1:  # intel-rapl:0 is a package; intel-rapl:0:0 is a part of it
            try:
                int(path.read_text())
                found.append(path)
            except (OSError, ValueError):
                continue
    return found


def energy(call: Callable[[], object], count: int, watts_per_core: float, root: Path = POWERCAP) -> Energy:
    """Energy of one of `count` calls: by the package's counters, else processor time times `watts_per_core`."""
    read = counters(root)
    before = [int(path.read_text()) for path in read]
    began = time.process_time()
    for _ in range(count):
        call()
    seconds = time.process_time() - began
    if read:
        used = sum(risen(path, start) for path, start in zip(read, before, strict=True))
        return Energy(used / 1000 / count, f"{len(read)} RAPL counters of the whole processor, idle power included", False)
    said = f"an estimate: processor time times {watts_per_core:g} watts a core; no energy counter can be read here"
    return Energy(1000 * seconds * watts_per_core / count, said, True)


def risen(path: Path, start: int) -> int:
    """Microjoules since `start`; a counter begins anew at its range."""
    now = int(path.read_text())
    try:
        reach = int((path.parent / "max_energy_range_uj").read_text())
    except (OSError, ValueError):
        reach = 0
    return now - start if now >= start else now - start + reach
