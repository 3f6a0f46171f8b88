"""Shaded texts as a picture, for those who want a file. The page and the terminal show the text itself.

Shapes: none; sizes are pixels.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from lamina.explain.pictures import GAP, INK, PAPER
from lamina.modalities.words import readable

WIDTH, SIZE, LEADING = 760, 15, 24
MOST_LINES = 14
"""Lines of one text; more are left out."""
FOR, AGAINST = (216, 112, 16), (47, 109, 181)
"""The orange and blue of the terminal and the page, told apart by most who see few colours."""
TITLE = (96, 96, 96)
CUT = " …"


def shaded_page(rows: Sequence[dict[str, Any]], legend: str) -> Image.Image:
    """Rows of `Verdict.texts` one under another: orange, underlined, speaks for the answer; blue, dotted, against it."""
    font = _font()
    texts = [_lines(row["pieces"], font) for row in rows]
    height = sum((len(lines) + 1) * LEADING + GAP for lines in texts) + LEADING + 2 * GAP
    page = Image.new("RGB", (WIDTH, height), PAPER)
    draw = ImageDraw.Draw(page)
    draw.text((GAP, GAP), legend, TITLE, font)
    top = 2 * GAP + LEADING
    for row, lines in zip(rows, texts, strict=True):
        draw.text((GAP, top), _fitting(readable(row["about"]), font), TITLE, font)
        top += LEADING
        backwards = right_to_left("".join(text for text, _ in row["pieces"]))
        for line in lines:
            _draw_line(draw, line, top, backwards, font)
            top += LEADING
        top += GAP
    return page


def right_to_left(text: str) -> bool:
    """Whether the first letter that has a direction runs from right to left."""
    kinds = (unicodedata.bidirectional(c) for c in text)
    return next((kind in ("R", "AL") for kind in kinds if kind in ("L", "R", "AL")), False)


def _draw_line(draw: ImageDraw.ImageDraw, line: list[tuple[str, float | None]], top: int, backwards: bool, font: Any) -> None:
    place = WIDTH - GAP if backwards else GAP
    for text, weight in line:
        wide = round(font.getlength(text))
        left = place - wide if backwards else place
        if weight:
            color = FOR if weight > 0 else AGAINST
            share = 0.55 * min(1.0, abs(weight))
            shade = tuple(round(p * (1 - share) + c * share) for p, c in zip(PAPER, color, strict=True))
            draw.rectangle((left, top, left + wide, top + LEADING - 5), shade)
            step = 1 if weight > 0 else 4  # a line for, dots against: told apart without colour too
            if abs(weight) >= 0.15:
                for x in range(left, left + wide, step):
                    draw.line((x, top + LEADING - 4, x, top + LEADING - 3), color)
        draw.text((left, top), text, INK, font)
        place = left if backwards else place + wide


def _lines(pieces: Sequence[Sequence[Any]], font: Any) -> list[list[tuple[str, float | None]]]:
    """Pieces broken into lines between words; a piece that is wider than a line is cut."""
    lines: list[list[tuple[str, float | None]]] = [[]]
    used = 0.0
    for text, weight in pieces:
        shown = _fitting(readable(str(text)).replace("\n", " ").replace("\t", " "), font)
        wide = font.getlength(shown)
        if used + wide > WIDTH - 2 * GAP and lines[-1]:
            lines.append([])
            used = 0.0
            shown = shown.lstrip()
            wide = font.getlength(shown)
        if shown:
            lines[-1].append((shown, weight))
            used += wide
    if len(lines) > MOST_LINES:
        lines = [*lines[:MOST_LINES], [(CUT, None)]]
    return lines


def _fitting(text: str, font: Any) -> str:
    most = WIDTH - 2 * GAP
    while text and font.getlength(text) > most:
        text = text[: max(1, int(len(text) * most / font.getlength(text)) - 1)] + "…" if len(text) > 2 else ""
    return text


def _font() -> Any:
    """DejaVu Sans, which comes with matplotlib and holds most alphabets; Pillow's own where it is not there."""
    import matplotlib

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(str(path), SIZE) if path.exists() else ImageFont.load_default(SIZE)
