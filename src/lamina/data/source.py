"""What a person points at (`Source`), what reading it gives (`Data`), and what was found wrong with it (`Finding`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from typing_extensions import Doc

from lamina.data.finding import Finding as Finding
from lamina.errors import LaminaError
from lamina.task import Columns

PARTS = ("train", "valid", "calibration", "test")


class Stored(str):
    """Data as a run tells of it, and no person: never a reason to run a file that it names."""


@dataclass(frozen=True)
class Source:
    """Where the examples are and how to read and split them: the data flags of every verb."""

    data: Annotated[Any, Doc("a folder, a table, idx files or a dataset; without it, the task's bundled demo data")] = None
    label: Annotated[str | None, Doc("the column that holds the answer, where the data is a table")] = None
    image: Annotated[str | None, Doc("the column that holds the path of a picture, where the data is a table")] = None
    text: Annotated[str | None, Doc("the column that holds the text, where the data is a table")] = None
    group: Annotated[str | None, Doc("a column whose equal values must stay in one part, such as a patient")] = None
    time: Annotated[str | None, Doc("a column to split by: the oldest rows train, the newest test")] = None
    valid: Annotated[float | None, Doc("share of examples kept for validation, unless the data says")] = None
    test: Annotated[float | None, Doc("share of examples kept for the test, unless the data says")] = None
    calibration: Annotated[float | None, Doc("share kept for calibration, apart from validation")] = None
    bad_data: Annotated[
        Literal["strict", "quarantine"], Doc("stop at the first bad example, or set bad ones aside and list them")
    ] = "strict"
    split_seed: Annotated[int, Doc("seed of the split into parts")] = 0


@dataclass(frozen=True)
class Data:
    """Examples in four parts. Calibration is kept apart from validation: models are chosen on one, calibrated on the other."""

    train: Columns
    valid: Columns
    calibration: Columns
    test: Columns
    fingerprint: str = ""
    """A hash of every example and of the split: the same data read again gives the same."""
    findings: list[Finding] = field(default_factory=list)
    """What reading set aside or wants known."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """What was detected: layout, counts; `group`, the column whose equal values stand together, where one was named."""

    def parts(self) -> dict[str, Columns]:
        return {"train": self.train, "valid": self.valid, "calibration": self.calibration, "test": self.test}


def refused(findings: list[Finding], source: Source) -> list[Finding]:
    """The errors among `findings`. Raises LaminaError with the first, unless bad data are to be set aside."""
    errors = [f for f in findings if f.severity == "error"]
    if errors and source.bad_data == "strict":
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        raise LaminaError(f"{errors[0]}{more}; `lamina scan` lists them, `--bad-data quarantine` sets them aside")
    return errors
