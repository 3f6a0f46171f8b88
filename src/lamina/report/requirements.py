"""What a run must reach: `accuracy>=0.9`, judged on the figures of all verdicts."""

from __future__ import annotations

import difflib
import math
import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lamina.errors import LaminaError
from lamina.verdict import Figure

SIGNS = {">=": operator.ge, "<=": operator.le, "==": operator.eq, ">": operator.gt, "<": operator.lt}


@dataclass(frozen=True)
class Requirement:
    """`name` `sign` `bound`, as it was written."""

    text: str
    name: str
    sign: str
    bound: float


@dataclass(frozen=True)
class Judged:
    """A requirement, what was found, and whether it holds. What has no value fails."""

    text: str
    found: float | None
    holds: bool

    @property
    def line(self) -> str:
        """For people: `accuracy>=0.9: holds (0.934)`."""
        value = "it has no value" if self.found is None else f"{self.found:.6g}"
        return f"{self.text}: {'holds' if self.holds else 'fails'} ({value})"


def parsed(text: str) -> Requirement:
    """Raises LaminaError for what is no requirement."""
    found = re.fullmatch(r"\s*([A-Za-z_]\w*)\s*(>=|<=|==|>|<)\s*(\S+)\s*", text)
    try:
        if found and math.isfinite(bound := float(found[3])):
            return Requirement(text.strip(), found[1], found[2], bound)
    except ValueError:
        pass
    raise LaminaError(f'--require: expected a figure, one of >= <= > < ==, and a number, as in "accuracy>=0.9"; got {text!r}')


def judged(required: Sequence[Requirement], figures: Mapping[str, Figure], confident: bool = False) -> list[Judged]:
    """Each requirement on the value, or where `confident` on the bound of its interval that counts against it.

    Raises LaminaError for the name of no figure.
    """
    return [one(requirement, figures, confident) for requirement in required]


def one(requirement: Requirement, figures: Mapping[str, Figure], confident: bool) -> Judged:
    """Raises LaminaError for the name of no figure."""
    if requirement.name not in figures:
        close = difflib.get_close_matches(requirement.name, figures, 5, 0.4) or sorted(figures)[:8]
        raise LaminaError(f"--require: there is no figure {requirement.name!r} in this report; close: {', '.join(close)}")
    held = figures[requirement.name]
    if held["value"] is None:
        return Judged(requirement.text, None, False)
    holds = SIGNS[requirement.sign]
    against = {">": ("low",), "<": ("high",), "=": ("low", "high")}[requirement.sign[0]] if confident else ("value",)
    seen = [held["value"] if held[key] is None else held[key] for key in against]
    failing = [value for value in seen if not holds(value, requirement.bound)]
    return Judged(requirement.text, (failing or seen)[0], not failing)
