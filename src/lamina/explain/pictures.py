"""Explanations drawn: heat over pictures, bars for tables, sheets of labelled tiles. Pillow only.

Shapes: C channels, H and W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

FOR, AGAINST, INK, PAPER = (208, 49, 45), (38, 92, 172), (32, 32, 32), (255, 255, 255)
TILE = 160
"""Pixels a side that a small picture is enlarged to."""
LINE = 16
GAP = 8
Tile = tuple[Image.Image, str]
"""A picture and the words under it."""


def picture(pixels_CHW: np.ndarray) -> Image.Image:
    """Raw pixels in 0..255 as a picture in colour."""
    pixels = np.clip(np.round(pixels_CHW), 0, 255).astype(np.uint8)
    pixels = pixels[:1].repeat(3, 0) if len(pixels) != 3 else pixels
    return Image.fromarray(np.moveaxis(pixels, 0, -1))


def heat(pixels_CHW: np.ndarray, map_HW: np.ndarray) -> Image.Image:
    """A map over its faded picture: red speaks for what was said, blue against it. The strongest hundredth is full colour."""
    gray = np.asarray(picture(pixels_CHW).convert("L"), dtype=np.float64)[..., None] * 0.5 + 96
    top = float(np.quantile(np.abs(map_HW), 0.99)) or float(np.abs(map_HW).max()) or 1.0
    weight = np.clip(np.abs(map_HW) / top, 0, 1)[..., None] * 0.85
    color = np.where(map_HW[..., None] >= 0, np.array(FOR), np.array(AGAINST))
    return Image.fromarray(np.round(gray * (1 - weight) + color * weight).astype(np.uint8))


def difference(before_CHW: np.ndarray, after_CHW: np.ndarray) -> Image.Image:
    """What was changed, around middle gray, stretched so that the largest change is black or white."""
    change = after_CHW.astype(np.float64) - before_CHW
    return picture(127.5 + change * (127.5 / max(float(np.abs(change).max()), 1e-9)))


def enlarged(image: Image.Image, side: int = TILE) -> Image.Image:
    """A picture whose longer side is `side`: whole pixels repeated where it grows, averaged where it shrinks."""
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.LANCZOS)


def sheet(rows: Sequence[Sequence[Tile]], title: str = "") -> Image.Image:
    """Tiles in rows with their words beneath."""
    width = GAP + max(len(row) for row in rows) * (TILE + GAP)
    lines = [max(len(_lines(words)) for _, words in row) for row in rows]
    heights = [TILE + n * LINE + GAP for n in lines]
    page = Image.new("RGB", (max(width, 2 * TILE), sum(heights) + GAP + (LINE + GAP if title else 0)), PAPER)
    draw = ImageDraw.Draw(page)
    top = GAP
    if title:
        draw.text((GAP, top), title, INK, _font())
        top += LINE + GAP
    for row, height in zip(rows, heights, strict=True):
        for place, (image, words) in enumerate(row):
            left = GAP + place * (TILE + GAP)
            page.paste(enlarged(image), (left, top))
            for number, line in enumerate(_lines(words)):
                draw.text((left, top + TILE + 2 + number * LINE), line, INK, _font())
        top += height
    return page


def bars(names: Sequence[str], values: Sequence[float], title: str, most: int = 15) -> Image.Image:
    """Horizontal bars, the longest first: red for what speaks for the answer, blue for what speaks against it."""
    order = sorted(range(len(values)), key=lambda i: -abs(values[i]))[:most]
    words, room = 300, 320
    page = Image.new("RGB", (words + room + 110, 2 * GAP + (len(order) + 2) * (LINE + 4)), PAPER)
    draw = ImageDraw.Draw(page)
    for number, line in enumerate(_lines(title, words + room + 80)):
        draw.text((GAP, GAP + number * LINE), line, INK, _font())
    top = GAP + 2 * (LINE + 4)
    longest = max((abs(values[i]) for i in order), default=0.0) or 1.0
    for i in order:
        (label,) = _lines(names[i], words - 2 * GAP)[:1] or [""]
        draw.text((GAP, top), label, INK, _font())
        long = round(room * abs(values[i]) / longest)
        draw.rectangle((words, top + 2, words + max(1, long), top + LINE - 2), FOR if values[i] >= 0 else AGAINST)
        draw.text((words + long + 6, top), f"{values[i]:.3g}", INK, _font())
        top += LINE + 4
    return page


def stacked(images: Sequence[Image.Image]) -> Image.Image:
    """Pictures under one another."""
    page = Image.new("RGB", (max(i.width for i in images), sum(i.height for i in images)), PAPER)
    top = 0
    for image in images:
        page.paste(image, (0, top))
        top += image.height
    return page


def save(image: Image.Image, path: Path) -> Path:
    """Write a .png file, whole or not at all."""
    import io

    from lamina.files import write_bytes

    held = io.BytesIO()
    image.save(held, "png")
    write_bytes(path, held.getvalue())
    return path


def _font() -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(12)


def _lines(words: str, width: int = TILE) -> list[str]:
    """Words broken at spaces to fit; a longer word is cut."""
    lines, line = list[str](), ""
    for word in words.split():
        while _font().getlength(word) > width:
            word = word[:-2] + "…" if len(word) > 2 else ""
        wider = f"{line} {word}".strip()
        if line and _font().getlength(wider) > width:
            lines.append(line)
            line = word
        else:
            line = wider
    return [*lines, line] if line else lines
