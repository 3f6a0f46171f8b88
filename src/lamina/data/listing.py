"""Pictures and their labels before any picture is decoded: what every layout becomes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lamina.data.source import Finding

PART_NAMES = {
    "train": "train", "training": "train", "valid": "valid", "val": "valid", "validation": "valid", "dev": "valid",
    "test": "test", "testing": "test", "calibration": "calibration", "calib": "calibration",
}  # fmt: skip
"""What folders, splits and rows call a part -> the part."""


def stamp(path: str | Path, status: os.stat_result) -> str:
    """What changes when the content of a file may have, and differs between files wherever a program stands."""
    return f"{os.path.abspath(path)}|{status.st_size}|{status.st_mtime_ns}"  # noqa: PTH100 (resolving links is slow)


@dataclass
class Listing:
    """Examples before any picture is decoded. Lists have one entry an example, in order."""

    layout: str
    items: Sequence[Any] | np.ndarray
    """What read_picture takes; or all pictures at once, uint8 (N, C, H, W)."""
    names: list[str]
    labels: list[str]
    parts: list[str]
    """The part that the data itself names, `train` where it names none."""
    stamps: list[str] | None = None
    """A string for each that changes when the content may have; None for what lives in memory."""
    groups: list[Any] | None = None
    times: list[Any] | None = None
    findings: list[Finding] = field(default_factory=list)
    rows: list[int] | None = None
    """The line of the table that each example came from."""
