"""What a person sees: results on standard output, everything else (progress, notes, errors) on standard error.

With `--json` standard output carries JSON alone, and its last line is the result.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from rich.console import Console

WIDTH = 80
"""Columns of a table that is not shown on a terminal."""
SHADES_FOR = ("#fbe3c8", "#f7c48d", "#f0a04f", "#c86a12", "#9c4a00")
SHADES_AGAINST = ("#d6e6f5", "#a9cbea", "#72a8da", "#2f6db5", "#174a86")
STRONGEST = 5
"""Words of a shaded text that are told with their weights."""
PATIENCE = 2.0
"""Seconds that a person waits before a progress bar is worth showing."""


def console(error: bool = False) -> Console:
    """A console of rich that takes text as it is: file names may hold square brackets and colons."""
    from rich.console import Console

    stream = sys.stderr if error else sys.stdout
    width = None if stream.isatty() else int(os.environ.get("COLUMNS") or WIDTH)
    return Console(file=stream, width=width, markup=False, emoji=False, highlight=False)


def say(line: str) -> None:
    """A note to the person, on standard error."""
    print(line, file=sys.stderr, flush=True)


def say_error(message: str) -> None:
    """A mistake or a fault, in one line on standard error: names of files may hold line ends and escape codes."""
    line = " ".join(message.splitlines()).replace("\x1b", "\\x1b")
    red = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    say(f"\x1b[1;31merror:\x1b[0m {line}" if red else f"error: {line}")


def print_json(value: Any) -> None:
    """One JSON value on one line of standard output."""
    print(json.dumps(jsonable(value), ensure_ascii=False, allow_nan=False), flush=True)


def jsonable(value: Any) -> Any:
    """`value` in the types of JSON. Numbers that JSON lacks (not-a-number, infinities) become null."""
    import numbers

    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: jsonable(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): jsonable(inner) for key, inner in value.items()}
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Path):
        return str(value)
    if type(value).__module__ in ("numpy", "torch"):  # arrays, tensors and numpy's own bool know how to become plain
        return jsonable(cast(Any, value).tolist())
    if isinstance(value, (Sequence, set, frozenset)):
        return [jsonable(inner) for inner in value]
    return str(value)


def figure(value: Any) -> str:
    """A number for people: four decimals below 100, fewer above; `-` where there is none."""
    if value is None or isinstance(value, bool):
        return "-" if value is None else str(value)
    if not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return "-"
    if isinstance(value, int) or (abs(value) >= 1000 and value == round(value)):
        return f"{int(value):,}"
    if value != 0 and not 1e-3 <= abs(value) < 1e5:
        return f"{value:.3g}"
    return f"{value:.4f}" if abs(value) < 100 else f"{value:,.1f}"


def size_text(count: float) -> str:
    """Bytes for people, in powers of 1024."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def print_table(headers: Sequence[str], rows: Sequence[Sequence[Any]], title: str | None = None) -> None:
    """A table on standard output. Columns whose every cell is a number are aligned to the right."""
    from rich import box
    from rich.table import Table

    made = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for place, header in enumerate(headers):
        numeric = bool(rows) and all(isinstance(row[place], (int, float, type(None))) for row in rows)
        made.add_column(header, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        made.add_row(*[figure(cell) for cell in row])
    if title:  # not the table's own, which would wrap to its width
        console().print(title, style="bold")
    console().print(made)


def print_shaded(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Texts whose words are shaded (see `Verdict.texts`): orange and bold speaks for what was said, blue and slanted against it.

    Under each the strongest words with their weights, which say the same where there are no colours.
    """
    from rich.text import Text

    from lamina.modalities.words import readable

    screen = console()
    screen.print(title, style="bold")
    for row in rows:
        line = Text()
        for text, weight in row["pieces"]:
            line.append(readable(str(text)), style=shade(weight))
        screen.print(Text(readable(str(row["about"]))), style="dim")
        screen.print(line)
        words = [(readable(str(text)), weight) for text, weight in row["pieces"] if weight]
        strong = sorted(words, key=lambda one: -abs(one[1]))[:STRONGEST]
        if strong:
            screen.print("  " + ", ".join(f"{text} {weight:+.2f}" for text, weight in strong), style="dim")
    print()


def shade(weight: float | None) -> str:
    """A style of rich for a word of this weight: five strengths of orange or blue, told apart by most who see few colours."""
    if weight is None or abs(weight) < 0.1:
        return ""
    strength = min(4, int(abs(weight) * 5))
    ground = (SHADES_FOR if weight > 0 else SHADES_AGAINST)[strength]
    ink = "black" if strength < 3 else "white"
    return f"{'bold' if weight > 0 else 'italic'} {ink} on {ground}"


def print_facts(title: str, facts: Mapping[str, str]) -> None:
    """A title, and under it a name and a text a line, wrapped and indented."""
    import textwrap

    print(title)
    for name, text in facts.items():
        indent = " " * 14
        print(textwrap.fill(text or "-", WIDTH, initial_indent=f"  {name:<12}", subsequent_indent=indent, break_on_hyphens=False))
    print()


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yields `advance(n)`: a bar on standard error once the work has taken two seconds, and only on a terminal."""
    if not sys.stderr.isatty():
        yield lambda n: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console(error=True), transient=True
    )
    row = bar.add_task(what, total=total)
    began = time.monotonic()

    def advance(n: int) -> None:
        bar.advance(row, n)
        if not bar.live.is_started and time.monotonic() - began > PATIENCE:
            bar.start()

    try:
        yield advance
    finally:
        if bar.live.is_started:
            bar.stop()
