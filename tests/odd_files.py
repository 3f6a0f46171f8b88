"""Odd files with nothing wrong in them, and what they hold."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from picture_making import deep_png, encoded, noise
from planted_pictures import tiff
from planted_tables import parquet_of

GRAY, COLOR = noise(11, 12, 12, 1), noise(12, 12, 12)
ALPHA = np.dstack([noise(13, 12, 12), noise(14, 12, 12, 1)])


def over_white(array: np.ndarray) -> np.ndarray:
    """(H, W, C + 1) with alpha -> (H, W, C), by the definition, rounded to the nearest."""
    alpha = array[..., -1:].astype(float) / 255
    return np.floor(array[..., :-1] * alpha + 255 * (1 - alpha) + 0.5).astype(np.uint8)


def palette(pixels: np.ndarray) -> tuple[Image.Image, np.ndarray]:
    """A picture of 16 colours with a palette, and what it looks like (H, W, 3)."""
    colors = np.random.default_rng(1).integers(0, 256, (16, 3), dtype=np.uint8)
    image = Image.fromarray(pixels % 16, mode="P")
    image.putpalette(colors.tobytes())
    return image, colors[pixels % 16]


def rotated(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(COLOR, "PNG", exif=exif)


def decoded(content: bytes) -> np.ndarray:
    """What Pillow alone makes of a file, (H, W, 3)."""
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def moving(kind: str, **options: Any) -> bytes:
    return encoded(Image.fromarray(COLOR), kind, save_all=True, append_images=[Image.fromarray(noise(99, 12, 12))], **options)


JPEG, CMYK = encoded(COLOR, "JPEG"), encoded(Image.fromarray(ALPHA, mode="CMYK"), "JPEG")
PALETTE, PALETTE_COLORS = palette(GRAY)
BILEVEL = (GRAY > 127).astype(np.uint8) * 255
OTHER_FRAME, _ = palette(noise(98, 12, 12, 1))
ODD_PICTURES: dict[str, tuple[str, bytes, np.ndarray]] = {
    "16-bit gray PNG": ("deep.png", deep_png(GRAY[..., None].astype(np.uint16) * 257), GRAY),
    "16-bit colour PNG": ("deep-colour.png", deep_png(COLOR.astype(np.uint16) * 257), COLOR),
    "16-bit colour PNG with alpha": ("deep-alpha.png", deep_png(ALPHA.astype(np.uint16) * 257), over_white(ALPHA)),
    "16-bit gray TIFF": ("deep.tif", tiff(GRAY.astype(np.uint16) * 257), GRAY),
    "floating-point TIFF in 0..1": ("float.tif", tiff((GRAY / 255).astype(np.float32)), GRAY),
    "1-bit PNG": ("bits.png", encoded(Image.fromarray(BILEVEL).convert("1")), BILEVEL),
    "1-bit TIFF of a fax": ("fax.tif", encoded(Image.fromarray(BILEVEL).convert("1"), "TIFF", compression="group4"), BILEVEL),
    "palette PNG": ("palette.png", encoded(PALETTE), PALETTE_COLORS),
    "gray with alpha": ("gray-alpha.png", encoded(Image.fromarray(ALPHA[..., 2:], mode="LA")), over_white(ALPHA[..., 2:])[..., 0]),
    "colour with alpha": ("alpha.png", encoded(ALPHA), over_white(ALPHA)),
    "CMYK JPEG": ("cmyk.jpg", CMYK, decoded(CMYK)),
    "CMYK TIFF": ("cmyk.tif", encoded(Image.fromarray(np.dstack([255 - COLOR, 0 * GRAY]), mode="CMYK"), "TIFF"), COLOR),
    "on its side (EXIF 6)": ("side.png", rotated(6), np.rot90(COLOR, -1)),
    "upside down (EXIF 3)": ("down.png", rotated(3), np.rot90(COLOR, 2)),
    "mirrored (EXIF 2)": ("mirror.png", rotated(2), COLOR[:, ::-1]),
    "progressive JPEG": ("progressive.jpg", encoded(COLOR, "JPEG", progressive=True), decoded(encoded(COLOR, "JPEG", progressive=True))),
    "JPEG without its end marker": ("endless.jpg", JPEG[:-2], decoded(JPEG)),
    "JPEG with bytes behind its end": ("long.jpg", JPEG + b"trailer" * 9, decoded(JPEG)),
    "JPEG named as PNG": ("misnamed.png", JPEG, decoded(JPEG)),
    "animated GIF": ("moving.gif", encoded(PALETTE, "GIF", save_all=True, append_images=[OTHER_FRAME]), PALETTE_COLORS),
    "animated PNG": ("moving.png", moving("PNG"), COLOR),
    "animated WebP": ("moving.webp", moving("WEBP", lossless=True), COLOR),
    "lossless WebP": ("still.webp", encoded(COLOR, "WEBP", lossless=True), COLOR),
    "deflated TIFF": ("deflated.tiff", encoded(COLOR, "TIFF", compression="tiff_deflate"), COLOR),
    "BMP": ("plain.bmp", encoded(COLOR, "BMP"), COLOR),
    "PGM in text": ("plain.pgm", b"P2\n12 12\n255\n" + "\n".join(" ".join(map(str, r)) for r in GRAY.tolist()).encode(), GRAY),
    "a name in capitals": ("LOUD.PNG", encoded(COLOR), COLOR),
    "a name in Unicode": ("花 — ñandú.png", encoded(COLOR), COLOR),
    "a name with spaces and dots": ("a b..c (1) [x].v2.jpg", JPEG, decoded(JPEG)),
    "a name that looks like a flag": ("--data.png", encoded(COLOR), COLOR),
}  # fmt: skip
"""Name -> (file, content, pixels (H, W) or (H, W, 3))."""

ODD_TABLES: dict[str, tuple[str, str | bytes, Sequence[Any], Sequence[Any]]] = {
    "a byte-order mark": ("t.csv", b"\xef\xbb\xbfx,word,label\n0.5,a,0\n1.25,b,1\n", [0.5, 1.25], ["a", "b"]),
    "newlines in quotes": ("t.csv", 'x,word,label\n1,"a\nb",0\n2,"c\r\nd",1\n', [1, 2], ["a\nb", "c\r\nd"]),
    "delimiters in quotes": ("t.csv", 'x,word,label\n1,"a,b",0\n2,"say ""hi""",1\n', [1, 2], ["a,b", 'say "hi"']),
    "a quote within a word": ("t.csv", 'x,word,label\n1,5"4,0\n2,b,1\n', [1, 2], ['5"4', "b"]),
    "semicolons": ("t.csv", "x;word;label\n0.5;a,b;0\n1.25;b;1\n", [0.5, 1.25], ["a,b", "b"]),
    "bars": ("t.txt", "x|word|label\n0.5|a|0\n1.25|b|1\n", [0.5, 1.25], ["a", "b"]),
    "tabs": ("t.tsv", "x\tword\tlabel\n0.5\ta\t0\n1.25\tb\t1\n", [0.5, 1.25], ["a", "b"]),
    "line ends of Windows": ("t.csv", "x,word,label\r\n0.5,a,0\r\n1.25,b,1\r\n", [0.5, 1.25], ["a", "b"]),
    "no last newline": ("t.csv", "x,word,label\n0.5,a,0\n1.25,b,1", [0.5, 1.25], ["a", "b"]),
    "blank lines": ("t.csv", "\n\nx,word,label\n0.5,a,0\n\n1.25,b,1\n\n", [0.5, 1.25], ["a", "b"]),
    "blanks around cells": ("t.csv", "x , word,label\n 0.5,a ,0\n1.25 , b,1\n", [0.5, 1.25], ["a", "b"]),
    "cells that are missing": ("t.csv", "x,word,label\n,a,0\nNA,,1\n?,N/A,0\nnull,b,1\n7,nan,0\n", [None, None, None, None, 7], ["a", None, None, "b", None]),
    "a row of nothing but its answer": ("t.csv", "x,word,label\n1,a,0\n,,1\n2,b,0\n", [1, None, 2], ["a", None, "b"]),
    "numbers in every dress": ("t.csv", "x,word,label\n+1,a,0\n-.5,b,1\n1e3,c,0\n2.50E-1,d,1\n007,e,0\n", [1, -0.5, 1000, 0.25, 7], list("abcde")),
    "codes with leading letters": ("t.csv", "x,word,label\n1,01A,0\n2,0x1F,1\n", [1, 2], ["01A", "0x1F"]),
    "truth values": ("t.csv", "x,word,label\n1,TRUE,0\n2,False,1\n", [1, 2], ["true", "false"]),
    "a file in capitals": ("T.CSV", "x,word,label\n0.5,a,0\n1.25,b,1\n", [0.5, 1.25], ["a", "b"]),
    "a file in Unicode with spaces": ("daten für — 表 (1).csv", "x,word,label\n0.5,ñ,0\n1.25,表,1\n", [0.5, 1.25], ["ñ", "表"]),
    "JSON lines with absent keys": ("t.jsonl", '{"x": 0.5, "word": "a", "label": 0}\n{"word": "b", "label": 1}\n', [0.5, None], ["a", "b"]),
    "JSON with NaN": ("t.jsonl", '{"x": NaN, "word": "a", "label": 0}\n{"x": 2, "word": null, "label": 1}\n', [None, 2], ["a", None]),
    "a JSON list": ("t.json", '[{"x": 0.5, "word": "a", "label": 0},\n {"x": 1, "word": "\\u00e9", "label": 1}]', [0.5, 1], ["a", "é"]),
    "half a character in JSON": ("t.jsonl", '{"x": 1, "word": "\\ud800", "label": 0}\n{"x": 2, "word": "b", "label": 1}\n', [1, 2], ["\ud800", "b"]),
    "Parquet with nulls": ("t.parquet", parquet_of(x=pa.array([0.5, None]), word=pa.array(["a", None]), label=[0, 1]), [0.5, None], ["a", None]),
    "Parquet with codes for words": ("t.parquet", parquet_of(x=pa.array([1, 2], pa.int8()), word=pa.array(["a", "b"]).dictionary_encode(), label=[0, 1]), [1, 2], ["a", "b"]),
    "ARFF": ("t.arff", "% about\n@RELATION r\n@ATTRIBUTE x NUMERIC\n@ATTRIBUTE 'word' {a,b}\n@ATTRIBUTE label {0,1}\n@DATA\n0.5,a,0\n?,b,1\n", [0.5, None], ["a", "b"]),
}  # fmt: skip
"""Name -> (file, content, numbers of the column `x`, words of the column `word`), None where missing; labels 0, 1, 0, 1."""
