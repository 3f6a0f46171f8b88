"""What was found wrong with data. It stands alone, so that exported folders can carry what reads their inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """Something wrong with the data, named so that a person can mend it."""

    code: str
    """A stable name in kebab-case, such as `truncated-image`."""
    reason: str
    file: str | None = None
    row: int | None = None
    """The line of the file as an editor counts it (1 is the first line), for tables."""
    fix: str | None = None
    severity: Literal["error", "warning", "note"] = "error"
    """error: this example cannot be used. warning: the set has a defect that spoils results. note: worth knowing."""

    def __str__(self) -> str:
        where = self.file or ""
        if self.row is not None:
            where += f":{self.row}"
        return f"{self.code}: {where + ': ' if where else ''}{self.reason}{f' ({self.fix})' if self.fix else ''}"
