"""Pictures and folders for the tests of image data: random, small, written where asked."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def noise(seed: int, height: int = 12, width: int = 10, channels: int = 3) -> np.ndarray:
    """uint8 (H, W, C), or (H, W) for one channel."""
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def scene(seed: int, side: int = 96) -> np.ndarray:
    """A smooth random picture, uint8 (side, side, 3): what photographs look like to a difference hash."""
    small = noise(seed, 12, 12)
    return np.asarray(Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC))


def encoded(pixels: np.ndarray | Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def deep_png(values: np.ndarray, clear: tuple[int, ...] = ()) -> bytes:
    """A 16-bit PNG written from its specification: uint16 (H, W, C), C of 1, 2, 3 or 4; `clear` is its tRNS colour."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    height, width, channels = values.shape
    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    transparent = chunk(b"tRNS", struct.pack(f">{len(clear)}H", *clear)) if clear else b""
    body = chunk(b"IHDR", header) + transparent + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def folder_per_class(root: Path, classes: dict[str, int], side: int = 12, channels: int = 3, seed: int = 0) -> Path:
    """PNG files `root/CLASS/000.png`; every picture differs."""
    number = seed * 100_000
    for name, count in classes.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            number += 1
            Image.fromarray(noise(number, side, side, channels)).save(root / name / f"{i:03d}.png")
    return root


def idx(array: np.ndarray) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
