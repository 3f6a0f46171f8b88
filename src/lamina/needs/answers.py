"""What the parts of `needs` add to its verdict, and the words that several of them share."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lamina.task import Task


@dataclass
class Answers:
    """A verdict in the making: see `lamina.verdict.Verdict` for the fields."""

    sentences: list[str] = field(default_factory=list)
    figures: dict[str, dict[str, Any]] = field(default_factory=dict)
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    pictures: dict[str, Path] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)

    def figure(self, name: str, value: float | None, low: float | None = None, high: float | None = None) -> None:
        """A figure; bounds that are left out are the value, a bound that is no finite number is None."""
        low, high = (value if bound is None else bound for bound in (low, high))
        self.figures[name] = {"value": finite(value), "low": finite(low), "high": finite(high)}


def finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value


def is_share(task: Task) -> bool:
    """Whether the headline metric is a share that should be great, so that 1 - metric is an error."""
    return task.headline[1] == "max"


def metric_told(task: Task, error: float) -> str:
    """An error as a person says the headline metric: 93.1%, or the value itself where less is better."""
    return percent(1 - error) if is_share(task) else f"{error:.4g}"


def metrics_told(task: Task, low: float, high: float) -> str:
    """An interval of errors as an interval of the headline metric, the lower first."""
    ends = (high, low) if is_share(task) else (low, high)
    return " to ".join(metric_told(task, end) for end in ends)


def percent(share: float) -> str:
    """At most one decimal, two where the share is near one or zero."""
    near = min(abs(share), abs(1 - share))
    told = f"{100 * share:.{1 if near >= 0.005 or near == 0 else 2}f}"
    return (told.removesuffix(".0") if "." in told else told) + "%"


def rounded(count: float) -> str:
    """A number of examples with two figures: more would promise what no curve can."""
    if count < 1:
        return "0"
    scale = 10 ** max(0, math.floor(math.log10(count)) - 1)
    return f"{round(count / scale) * scale:,}"
