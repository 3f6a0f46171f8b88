"""What every question to a run is answered with: sentences for people, figures for requirements, tables, pictures.

`lamina explain`, `inspect`, `stress`, `needs`, `shrink`, `export` and `bench` each return one `Verdict`; `lamina report` is
made of them and of nothing else. A run keeps the last verdict of each verb beside its weights (`Run.keep`), and knows
when it no longer speaks of them.
"""

from __future__ import annotations

import dataclasses
import math
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

Figure: TypeAlias = "dict[str, float | None]"
"""{"value", "low", "high"}: the bounds are the value itself where there is no interval; None where undefined or open."""


@dataclass(frozen=True)
class Verdict:
    """The answer of one verb about one run."""

    verb: str
    sentences: tuple[str, ...] = ()
    """Plain words for somebody who is no engineer, the most important first, each with its number in it."""
    figures: Mapping[str, Figure] = field(default_factory=dict)
    """Flat names with their unit in them (`latency_p99_ms`): those that `lamina report --require` understands."""
    tables: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)
    """{title: rows}, for people."""
    pictures: Mapping[str, Path] = field(default_factory=dict)
    """{title: file}: .png for pictures of data, .svg for curves."""
    warnings: tuple[str, ...] = ()
    """What must be known before the rest is trusted."""
    skipped: Mapping[str, str] = field(default_factory=dict)
    """{what: why}: what does not apply, or was left out, with the time that it would take where time is the reason."""
    seconds: float = 0.0
    details: Mapping[str, Any] = field(default_factory=dict)
    """Whatever else a program may want, JSON-able."""
    failed: tuple[str, ...] = ()
    """Requirements that do not hold, one line each."""
    texts: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)
    """{title: rows}: shaded texts, {"about", "pieces": [[text, weight], ...]}, the weight from -1 (against) to 1 (for) or None.
    What a person reads in place of the picture of the same title."""

    @property
    def exit_status(self) -> int:
        """What the command line ends with: 3 where a requirement does not hold, so that a pipeline can hold a model back."""
        return 3 if self.failed else 0

    def as_json(self, beside: Path | None = None) -> dict[str, Any]:
        """All of it in the types of JSON; the pictures as paths, relative to `beside` where one is given."""
        from lamina.terminal import jsonable

        shown = {title: _relative(path, beside) for title, path in self.pictures.items()}
        return jsonable({f.name: getattr(self, f.name) for f in dataclasses.fields(self)} | {"pictures": shown})

    @staticmethod
    def of_json(written: Mapping[str, Any], beside: Path) -> Verdict:
        """The inverse of `as_json`: pictures are found beside the file that it was read from."""
        known = {f.name for f in dataclasses.fields(Verdict)}
        fields = {name: value for name, value in written.items() if name in known}
        pictures = {title: beside / name for title, name in fields.get("pictures", {}).items()}
        lists = {name: tuple(fields.get(name, ())) for name in ("sentences", "warnings", "failed")}
        return Verdict(**{**fields, **lists, "pictures": pictures})


def figure(value: float | None, low: float | None = None, high: float | None = None) -> Figure:
    """A figure with its interval: no bound given is the value itself, a bound that is not finite is None (it is open)."""
    if value is None or not math.isfinite(value):
        return {"value": None, "low": None, "high": None}
    low, high = (float(value if bound is None else bound) for bound in (low, high))
    return {"value": float(value), "low": low if math.isfinite(low) else None, "high": high if math.isfinite(high) else None}


def joined(verb: str, parts: Iterable[Verdict]) -> Verdict:
    """The verdicts of several parts of a verb as one, in their order."""
    parts = list(parts)
    return Verdict(
        verb,
        sentences=tuple(line for part in parts for line in part.sentences),
        warnings=tuple(line for part in parts for line in part.warnings),
        failed=tuple(line for part in parts for line in part.failed),
        seconds=sum(part.seconds for part in parts),
        **{name: _merged(getattr(part, name) for part in parts) for name in NAMED},
    )


def show(verdict: Verdict, title: str) -> None:
    """For a terminal: sentences, warnings, tables that fit, and where the pictures are."""
    from lamina.terminal import WIDTH, print_shaded, print_table

    for line in verdict.sentences:
        print(textwrap.fill(line, WIDTH, subsequent_indent="  "))
    for line in verdict.failed:
        print(textwrap.fill(f"FAILS: {line}", WIDTH, subsequent_indent="  "))
    for line in verdict.warnings:
        print(textwrap.fill(f"warning: {line}", WIDTH, subsequent_indent="  "))
    for heading, rows in verdict.texts.items():
        print_shaded(heading, rows)
    if verdict.figures:
        ranges = any(f["low"] != f["value"] or f["high"] != f["value"] for f in verdict.figures.values())
        bounds = [*(["from", "to"] if ranges else [])]
        keys = ("value", "low", "high") if ranges else ("value",)
        shown = list(verdict.figures.items())[:MOST_FIGURES]
        print_table(["figure", "value", *bounds], [[name, *(f[k] for k in keys)] for name, f in shown], title)
        if len(verdict.figures) > MOST_FIGURES:
            print(f"... and {len(verdict.figures) - MOST_FIGURES} more figures (--json holds all)")
    for heading, rows in verdict.tables.items():
        _show_table(heading, rows)
    for what, why in verdict.skipped.items():
        print(textwrap.fill(f"left out: {what}: {why}", WIDTH, subsequent_indent="  "))
    for what, path in verdict.pictures.items():
        print(f"{what}: {path}")


NAMED = ("figures", "tables", "pictures", "texts", "skipped", "details")
"""Fields of a verdict that hold things by name."""
MOST_FIGURES = 25
"""Figures that a terminal shows."""
LONGEST = 12
"""Rows of a table that a terminal shows."""


def _show_table(heading: str, rows: list[dict[str, Any]]) -> None:
    """A table as far as it fits: few wide rows are shown as columns, and columns that are too many are left out."""
    from lamina.terminal import WIDTH, figure, print_table

    if not rows:
        return
    shown = rows[:LONGEST]
    headers = list(rows[0])
    widths = [3 + max(len(str(h)), *(len(figure(row.get(h))) for row in shown)) for h in headers]
    more = len(rows) - LONGEST
    left_out = [f"{more} more row{'' if more == 1 else 's'}"] if more > 0 else []
    if sum(widths) > WIDTH and len(rows) < min(4, len(headers)):
        print_table(
            [headers[0], *(str(row.get(headers[0])) for row in rows)],
            [[h, *(row.get(h) for row in rows)] for h in headers[1:]],
            heading,
        )
    else:
        fitting = next((n for n in range(len(headers), 1, -1) if sum(widths[:n]) <= WIDTH), 2)
        if fitting < len(headers):
            left_out.append(
                f"the columns {', '.join(map(str, headers[fitting:][:6]))}{', ...' if len(headers) - fitting > 6 else ''}"
            )
        print_table(headers[:fitting], [[row.get(h) for h in headers[:fitting]] for row in shown], heading)
    if left_out:
        print(textwrap.fill(f"... and {' and '.join(left_out)} (--json holds all)", WIDTH, subsequent_indent="  "))


def _merged(several: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for one in several:
        twice = merged.keys() & one.keys()
        if twice:
            raise ValueError(f"two parts of a verdict both hold {sorted(twice)[0]!r}")
        merged.update(one)
    return merged


def _relative(path: Path, beside: Path | None) -> str:
    return path.relative_to(beside).as_posix() if beside is not None and path.is_relative_to(beside) else str(path)
