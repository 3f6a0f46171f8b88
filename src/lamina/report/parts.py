"""The small things a page is made of. Every text passes through `html.escape`; pictures are inlined."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from lamina.modalities.words import readable
from lamina.verdict import Figure

LONGEST = 60
"""Rows of a table that a page shows."""
LEAST_SHADE = 0.05
"""A word that counts for less than this share of the strongest is not shaded."""
KINDS = {".png": "image/png", ".svg": "image/svg+xml", ".gif": "image/gif"}


def text(value: Any) -> str:
    """A cell: numbers in four digits, nothing for nothing."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}"
    return escape(f"{value:,}" if isinstance(value, int) else readable(str(value)))


def paragraphs(lines: Iterable[str]) -> str:
    """The first sentence large, the rest plain."""
    return "".join(f"<p{' class=lead' if i == 0 else ''}>{escape(line)}</p>" for i, line in enumerate(lines))


def warnings(lines: Iterable[str]) -> str:
    """What must be known."""
    return "".join(f"<p class=warning>{escape(line)}</p>" for line in lines)


def details(title: str, inside: str, opened: bool = False) -> str:
    """Folded away."""
    return f"<details{' open' if opened else ''}><summary>{escape(title)}</summary>{inside}</details>" if inside else ""


def figures(held: Mapping[str, Figure]) -> str:
    """A table of figures, an interval drawn beside each that has one."""
    rows = []
    for name, f in held.items():
        ranged = f["value"] is not None and (f["low"] != f["value"] or f["high"] != f["value"])
        bounds = f"{text(f['low'])} to {text(f['high'])}" if ranged else ""
        rows.append(
            f"<tr><th scope=row><code>{escape(name)}</code></th><td class=number>{text(f['value'])}</td>"
            f"<td class=number>{bounds}</td><td>{interval(f)}</td></tr>"
        )
    head = "<tr><th>figure</th><th class=number>value</th><th class=number>95% interval</th><th></th></tr>"
    return f"<div class=wide><table>{head}{''.join(rows)}</table></div>" if rows else ""


def interval(f: Figure) -> str:
    """A bar from low to high and a dot at the value: on 0 to 1 for shares, else on its own scale from nothing."""
    value, low, high = f["value"], f["low"], f["high"]
    if value is None or low is None or high is None or low == high:
        return ""
    start, end = (0.0, 1.0) if low >= 0 and high <= 1 else (min(0.0, low), max(0.0, high))
    x, a, b = (4 + 112 * (v - start) / (end - start) for v in (value, low, high))
    told = f"{value:.4g}, between {low:.4g} and {high:.4g}"
    return (
        f"<svg class=interval viewBox='0 0 120 12' role=img aria-label='{told}'><line class=axis x1=4 x2=116 y1=6 y2=6 />"
        f"<line class=range x1={a:.1f} x2={b:.1f} y1=6 y2=6 /><circle cx={x:.1f} cy=6 r=3 /></svg>"
    )


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as they are; a square one of counts as a heat map."""
    if not rows:
        return ""
    names = list(dict.fromkeys(name for row in rows for name in row))
    heat = heated(rows, names)
    body = []
    for row in rows[:LONGEST]:
        cells = []
        for name in names:
            value = row.get(name)
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            share = value / heat if heat and isinstance(value, int) and name != names[0] else None
            shade = f" style='--heat:{share:.2f}'" if share is not None else ""
            kind = " class='number heat'" if shade else " class=number" if number else ""
            kind += " dir=auto" if isinstance(value, str) else ""
            cells.append(f"<td{kind}{shade}>{text(value)}</td>")
        body.append(f"<tr>{''.join(cells)}</tr>")
    head = "".join(f"<th>{escape(str(name))}</th>" for name in names)
    more = f"<p class=quiet>and {len(rows) - LONGEST} more rows</p>" if len(rows) > LONGEST else ""
    return f"<div class=wide><table><tr>{head}</tr>{''.join(body)}</table></div>{more}"


def heated(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> float:
    """The greatest count of a square table of counts (a confusion); 0 for any other."""
    square = len(names) == len(rows) + 1 and len(rows) > 1
    values = [row.get(name) for row in rows for name in names[1:]]
    if not square or not all(isinstance(v, int) and v >= 0 for v in values):
        return 0.0
    return float(max(v for v in values if isinstance(v, int)))


def shaded(title: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Texts whose words are shaded (see `Verdict.texts`): for what was said underlined, against it dotted, as strongly as it
    counts. Each finds its own direction. Readable on paper and without colours."""
    made = []
    for row in rows:
        pieces = "".join(word(str(inside), weight) for inside, weight in row["pieces"])
        made.append(f"<p class=quiet>{escape(readable(str(row['about'])))}</p><p class=shaded dir=auto>{pieces}</p>")
    legend = "<span class=for>speaks for the answer</span> <span class=against>speaks against it</span>"
    return f"<h3>{escape(title)}</h3><p class='quiet legend'>{legend}</p>{''.join(made)}" if made else ""


def word(inside: str, weight: float | None) -> str:
    """A word with its shade, or what lies between words as it is."""
    told = escape(readable(inside))
    if weight is None or abs(weight) < LEAST_SHADE:
        return told
    kind = "for" if weight > 0 else "against"
    return f"<span class={kind} style='--w:{min(1.0, abs(weight)):.2f}' title='{weight:+.2f}'>{told}</span>"


def picture(title: str, path: Path) -> str:
    """The file inside the page: an <img> runs nothing that a file might hold. Says so where the file is gone."""
    kind = KINDS.get(path.suffix.lower())
    try:
        held = base64.b64encode(path.read_bytes()).decode()
    except OSError:
        return f"<p class=quiet>{escape(title)}: its picture is gone</p>"
    if kind is None:
        return ""
    return f"<figure><img alt='{escape(title)}' src='data:{kind};base64,{held}'><figcaption>{escape(title)}</figcaption></figure>"
