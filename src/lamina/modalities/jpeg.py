"""Is a JPEG whole? Files that lack only their end marker are read; files whose pixels are missing are refused.

libjpeg fills what is missing with mid gray and carries on, and PIL refuses every file without an end marker, even one
whose pixels are all there. Both are settled by one experiment: decode the file with different bytes put after its
last byte. Where all pixels were already there, nothing changes.
"""

from __future__ import annotations

import io
import re

import numpy as np
from PIL import Image

_END = b"\xff\xd9"
_TAILS = (b"\x55" * 64, b"\xaa" * 64, bytes(64), bytes(range(1, 65)), bytes(7 * i % 251 for i in range(64)))
_MARKER = re.compile(rb"\xff+([\x01-\xcf\xd8-\xfe])")  # 00 is a stuffed byte, D0 to D7 restart the same scan


def looks_cut_off(image: Image.Image) -> bool:
    """Whether the last pixel is the mid gray that libjpeg puts in place of missing data: cheap, and not yet a proof."""
    last = image.getpixel((image.width - 1, image.height - 1))
    return last in (128, (128, 128, 128))


def finish_jpeg(data: bytes) -> Image.Image:
    """The loaded picture of a JPEG whose end is missing or in doubt. Raises OSError where pixels are missing."""
    body, complete = _body(data)
    image = _load(body + _END)
    pixels = np.asarray(image)
    if not complete or not all(np.array_equal(pixels, np.asarray(_load(body + tail + _END))) for tail in _TAILS):
        raise OSError("image file is truncated")
    return image


def _load(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data), formats=["JPEG", "MPO"])
    image.load()
    return image


def _body(data: bytes) -> tuple[bytes, bool]:
    """The file up to its end marker, and whether its scans together hold every coefficient to the last bit."""
    place = 2
    missing: set[tuple[int, int]] = set()  # (component, coefficient) whose last bit no scan has brought yet
    progressive = False
    while True:
        found = _MARKER.search(data, place)
        if found is None:
            return data.rstrip(b"\xff"), not missing
        marker = found[1][0]
        if marker == 0xD9:
            return data[: found.start()], not missing
        place = found.end()
        if marker in (0x01, 0xD8):
            continue
        length = int.from_bytes(data[place : place + 2], "big")
        segment = data[place + 2 : place + length]
        if marker in (0xC0, 0xC1, 0xC2) and len(segment) >= 6:
            progressive = marker == 0xC2
            missing = {(c, k) for c in segment[6::3] for k in range(64)}
        elif marker == 0xDA and segment:
            components = segment[1 : 1 + 2 * segment[0] : 2]
            first, last, bits = segment[-3:] if progressive else (0, 63, 0)
            if bits & 15 == 0:
                missing -= {(c, k) for c in components for k in range(first, last + 1)}
        place += max(length, 2)
