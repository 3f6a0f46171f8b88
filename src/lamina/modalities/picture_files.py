"""Picture files into pixels: headers checked before decoding, every mode made 8-bit, nothing half read.

Shapes: H rows, W columns, C channels (1 gray, 3 red-green-blue), N pictures.
"""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lamina.errors import LaminaError
from lamina.modalities.jpeg import finish_jpeg, looks_cut_off

MAX_PIXELS = 100_000_000
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "DIB", "GIF", "TIFF", "PPM", "MPO", "AVIF")
MAGIC = (b"\xff\xd8", b"\x89PNG", b"RIFF", b"BM", b"GIF8", b"II*\0", b"MM\0*", b"P1", b"P2", b"P3", b"P4", b"P5", b"P6")
"""How files of these formats begin."""
_GRAY_MODES = frozenset({"1", "L", "LA", "La", "I", "F", "I;16", "I;16L", "I;16B", "I;16N"})


class BadPicture(LaminaError):
    """A picture that cannot be used. `code` is a stable name such as `truncated-image`; `file` names the picture."""

    def __init__(self, code: str, file: str, reason: str) -> None:
        super().__init__(f"{file}: {reason}")
        self.code, self.file, self.reason = code, file, reason


def name_of(source: Any) -> str:
    """What to call a picture in a message: its path, or what kind of thing it is."""
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source)  # type: ignore[return-value]
    if isinstance(source, Image.Image):
        return getattr(source, "filename", "") or "picture"
    return "picture"


def read_file(source: Any, notes: list[str] | None) -> np.ndarray:
    """uint8 (C, H, W) of a path or of a file's bytes. Raises BadPicture."""
    name = name_of(source)
    if isinstance(source, (bytes, bytearray, memoryview)):
        data = bytes(source)
    elif isinstance(source, (str, os.PathLike)):
        try:
            data = Path(source).read_bytes()
        except OSError as error:
            raise BadPicture("unreadable-file", name, f"cannot be read: {error.strerror or error}") from None
    else:
        raise BadPicture(
            "unsupported-image", name, f"expected a path, bytes, an array or a PIL image, got {type(source).__name__}"
        )
    if not data:
        raise BadPicture("empty-file", name, "the file is empty")
    with open_picture(io.BytesIO(data), name) as image:
        if notes is not None and image.format in ("GIF", "PNG", "WEBP", "TIFF", "AVIF"):
            frames = int(getattr(image, "n_frames", 1))
            if frames > 1:
                notes.append(f"holds {frames} frames; the first is read")
                image.seek(0)
        return decode(image, data, name)


def open_picture(file: io.BytesIO | str, name: str) -> Image.Image:
    """The header, checked. Raises BadPicture."""
    try:
        image = Image.open(file, formats=_formats())
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise BadPicture("oversized-image", name, f"more than {MAX_PIXELS // 10**6} megapixels; scale it down") from None
    except Exception as error:
        raise _refusal(file, name, error) from None
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise BadPicture(
            "oversized-image", name, f"{width} x {height} is more than {MAX_PIXELS // 10**6} megapixels; scale it down"
        )
    if width < 1 or height < 1:
        raise BadPicture("zero-sized-image", name, f"its size is {width} x {height}")
    return image


def _formats() -> list[str]:
    Image.init()
    return [f for f in FORMATS if f in Image.OPEN]


def _refusal(file: io.BytesIO | str, name: str, error: Exception) -> BadPicture:
    """Why a header could not be read."""
    try:
        data = file.getvalue() if isinstance(file, io.BytesIO) else Path(file).read_bytes()
    except OSError as fault:
        return BadPicture("unreadable-file", name, f"cannot be read: {fault.strerror or fault}")
    if not data:
        return BadPicture("empty-file", name, "the file is empty")
    sizes = {b"\x89PNG": data[16:20].ljust(4, b"?") + data[20:24].ljust(4, b"?"), b"GIF8": data[6:10].ljust(4, b"?")}
    for magic, size in sizes.items():
        half = len(size) // 2
        if data.startswith(magic) and (not any(size[:half]) or not any(size[half:])):
            return BadPicture("zero-sized-image", name, "its width or height is 0")
    if data.startswith(MAGIC) or data[4:12] == b"ftypavif":
        return BadPicture("truncated-image", name, "cut short or damaged in its header")
    kind = "SVG" if b"<svg" in data[:1000] else None
    if data[4:8] == b"ftyp":
        kind = "HEIC" if data[8:11] in (b"hei", b"hev", b"mif", b"msf") else "MP4"
    try:
        kind = kind or Image.open(io.BytesIO(data)).format
    except Exception:
        kind = None
    if kind:
        return BadPicture("unsupported-image", name, f"{kind} is not supported; save it as PNG or JPEG")
    return BadPicture("not-an-image", name, f"not a picture ({type(error).__name__ if data[:1] else 'empty'})")


def decode(image: Image.Image, data: bytes | None, name: str) -> np.ndarray:
    """uint8 (C, H, W) of an opened picture; `data` is the whole file, where there is one."""
    tiles: list[Any] = getattr(image, "tile", []) if data and image.format in ("PNG", "TIFF") else []
    deep = bool(tiles) and ";16" in _rawmode(tiles[0])  # asked now, as loading takes the tiles away
    try:
        image.load()
        if image.format in ("JPEG", "MPO") and data is not None and looks_cut_off(image):
            image = finish_jpeg(data)
    except Exception as error:
        if data is None or not data.startswith(b"\xff\xd8"):
            raise _damaged(name, error) from None
        try:
            image = finish_jpeg(data)
        except Exception:
            raise _damaged(name, error) from None
    if data and deep and image.mode in ("RGB", "RGBA"):
        hwc = _sixteen_bits(data, image)
    else:
        hwc = _eight_bits(image, name)
    return np.ascontiguousarray(_upright(hwc, orientation_of(image)).transpose(2, 0, 1))


def _damaged(name: str, error: Exception) -> BadPicture:
    text = str(error).lower()
    if any(word in text for word in ("truncat", "eof", "not enough", "could not create decoder", "expected to read")):
        return BadPicture("truncated-image", name, "the file is cut short: not every pixel is there")
    return BadPicture("corrupt-image", name, f"cannot be decoded: {' '.join(str(error).split()) or type(error).__name__}")


def is_gray(image: Image.Image) -> bool:
    """Whether all colours that the mode or the palette can hold are grays; known from the header."""
    if image.mode not in ("P", "PA") or image.palette is None:
        tiles: list[Any] = getattr(image, "tile", [])
        return image.mode in _GRAY_MODES or (bool(tiles) and _rawmode(tiles[0]) == "LA;16B")  # which PIL calls RGBA
    layout = image.palette.rawmode or image.palette.mode
    data = np.frombuffer(bytes(image.palette.palette), np.uint8)
    if layout == "RGB;L":  # TIFF: all reds, then all greens, then all blues
        colors = data[: len(data) // 3 * 3].reshape(3, -1).T
    else:
        colors = data[: len(data) // len(layout) * len(layout)].reshape(-1, len(layout))[:, :3]
    return bool((colors == colors[:, :1]).all())


def _eight_bits(image: Image.Image, name: str) -> np.ndarray:
    """uint8 (H, W, C) of any mode; C is 1 where the picture is gray by its mode or its palette."""
    mode = image.mode
    if mode == "RGB" and "transparency" not in image.info:
        return np.asarray(image)
    if mode == "L" and "transparency" not in image.info:
        return np.asarray(image)[..., None]
    if mode == "F":
        return _float_pixels(np.asarray(image), name)
    if mode.startswith("I"):
        return _integer_pixels(image, name)
    gray = is_gray(image)
    if image.has_transparency_data or mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        straight = image.convert({"La": "LA", "RGBa": "RGBA"}.get(mode, mode))
        rgba = np.asarray(straight.convert("RGBA")).transpose(2, 0, 1)
        hwc = without_alpha(rgba[None])[0].transpose(1, 2, 0)
        return hwc[..., :1] if gray else hwc
    if mode == "LAB":
        raise BadPicture("unsupported-image", name, "colours in LAB are not supported; save it as RGB")
    plain = np.asarray(image.convert("L" if gray else "RGB"))
    return plain[..., None] if gray else plain


PHOTOMETRIC, WHITE_IS_ZERO = 262, 0
"""The tag of a TIFF that says what its values mean, and one thing that it may say."""


def _float_pixels(values: np.ndarray, name: str) -> np.ndarray:
    if not bool(((values >= 0) & (values <= 1)).all()):  # also false for not-a-number
        raise BadPicture("unsupported-image", name, "floating-point values beyond 0..1; scale them to 8 or 16 bits")
    return np.rint(values * 255).astype(np.uint8)[..., None]


def _integer_pixels(image: Image.Image, name: str) -> np.ndarray:
    values = np.asarray(image).astype(np.int64)
    if image.mode == "I" and image.format not in ("PNG", "PPM"):  # PIL widens their 16 bits; others may hold any range
        raise BadPicture("unsupported-image", name, "32-bit integer values; scale them to 8 or 16 bits")
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        values = np.where(values == clear, 65535, values)
    if getattr(image, "tag_v2", {}).get(PHOTOMETRIC) == WHITE_IS_ZERO:  # PIL turns 8 bits round, and not 16
        values = 65535 - values
    return ((values + 128) // 257).astype(np.uint8)[..., None]


def _rawmode(tile: Any) -> str:
    return tile[3] if isinstance(tile[3], str) else str(tile[3][0]) if tile[3] else ""


def _sixteen_bits(data: bytes, image: Image.Image) -> np.ndarray:
    """uint8 (H, W, C), rounded, of a 16-bit colour picture, of which PIL keeps the high bytes only.

    The low bytes are had by decoding once more with the byte order turned round.
    """
    with Image.open(io.BytesIO(data), formats=_formats()) as other:
        turned = {"RGB;16B": "RGB;16L", "RGB;16L": "RGB;16B", "RGBA;16B": "RGBA;16L", "RGBA;16L": "RGBA;16B",
                  "LA;16B": "RGBA", "RGB;16N": "RGB;16B", "RGBA;16N": "RGBA;16B"}  # fmt: skip
        raw = _rawmode(other.tile[0])
        high = np.asarray(image)
        if raw not in turned or (raw.endswith("N") and sys.byteorder == "big"):
            return _eight_bits(image, "")
        tiles: list[Any] = list(other.tile)
        other.tile = [(*t[:3], turned[raw] if isinstance(t[3], str) else (turned[raw], *t[3][1:])) for t in tiles]  # type: ignore[assignment]
        low = np.asarray(other)
    if raw == "LA;16B":  # two 16-bit channels, read as four bytes
        values = low[..., [0, 2]].astype(np.int64) * 256 + low[..., [1, 3]]
    else:
        values = high.astype(np.int64) * 256 + low
    clear = image.info.get("transparency")
    if isinstance(clear, tuple) and values.shape[-1] == 3:
        values = np.where((values == np.asarray(clear)).all(-1, keepdims=True), 65535, values)
    if values.shape[-1] in (2, 4):
        color, alpha = values[..., :-1], values[..., -1:]
        values = (color * alpha + 65535 * (65535 - alpha) + 32767) // 65535
    return ((values + 128) // 257).astype(np.uint8)


def orientation_of(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8 (1 is upright). Broken EXIF does not make a picture bad."""
    if not ("exif" in image.info or "XML:com.adobe.xmp" in image.info or "xmp" in image.info or image.format in ("TIFF", "MPO")):
        return 1
    try:
        value = image.getexif().get(0x0112, 1)
    except Exception:
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _upright(hwc: np.ndarray, orientation: int) -> np.ndarray:
    """Undo an EXIF orientation: 2 to 4 flip, 5 to 8 also swap rows and columns."""
    if orientation >= 5:
        hwc = hwc.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        hwc = hwc[:, ::-1]
    if orientation in (3, 4, 7, 8):
        hwc = hwc[::-1]
    return hwc


def without_alpha(array: np.ndarray) -> np.ndarray:
    """(N, C, H, W) with a second or fourth channel composited over white."""
    if array.shape[1] in (1, 3):
        return array
    color, alpha = array[:, :-1].astype(np.uint16), array[:, -1:].astype(np.uint16)
    return ((color * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
