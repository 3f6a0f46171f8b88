"""The flags of `lamina report`. Light: help imports this and no more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from typing_extensions import Doc

from lamina.errors import LaminaError


@dataclass(frozen=True)
class Settings:
    """What the page holds, and what a run must reach."""

    require: Annotated[tuple[str, ...], Doc('what must hold: "accuracy>=0.9" "ece<=0.05"; exit status 3 where one does not')] = ()
    require_confident: Annotated[bool, Doc("judge the bound of the interval that counts against the run, not the value")] = False
    out: Annotated[str | None, Doc("the page, an .html file (default: report/report.html in the run's folder)")] = None
    quick: Annotated[bool, Doc("every verb with its quick settings, and none begun after 40 seconds")] = False


def check(settings: Settings) -> None:
    """Raises LaminaError for a page that is no .html file, or a requirement that is none."""
    from lamina.report.requirements import parsed

    if settings.out is not None and not settings.out.endswith((".html", ".htm")):
        raise LaminaError(f"--out: expected a file that ends in .html; got {settings.out!r}")
    for text in settings.require:
        parsed(text)
