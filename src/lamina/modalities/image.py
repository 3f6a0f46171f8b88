"""Pictures: reading files of any common kind into uint8 arrays, resizing them, and holding many of them lazily.

Everything is raw pixels in 0..255, first axis channels. Nothing is half read, and nothing is silently distorted:
16-bit values are rounded (v / 257), transparency is composited over white, CMYK is converted, the camera's EXIF
orientation is applied.

Shapes: N pictures, C channels (1 gray, 3 red-green-blue), H rows, W columns.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image

from lamina.errors import LaminaError
from lamina.modalities.picture_files import (
    MAGIC,
    BadPicture,
    decode,
    is_gray,
    name_of,
    open_picture,
    orientation_of,
    read_file,
    without_alpha,
)

if TYPE_CHECKING:
    from lamina.task import Arrays, Columns

READER_VERSION = 2
"""Raised whenever the same file would give other pixels, so that packs made by older readers are made again."""

SUFFIXES = frozenset((
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".bmp", ".dib", ".gif", ".tif", ".tiff", ".avif",
    ".ppm", ".pgm", ".pbm", ".pnm",
))  # fmt: skip
"""Names that end so are taken for pictures."""
_THREADS = min(8, os.cpu_count() or 1)

Channels = Literal[1, 3]
Shape = tuple[int, int, int]
"""(C, H, W)"""


def read_picture(source: Any, channels: Channels | None = None, notes: list[str] | None = None) -> np.ndarray:
    """One picture as uint8 (C, H, W).

    source: a path, the bytes of a file, a PIL image, or an array: (H, W), (H, W, C) or (C, H, W).
    channels: 1 or 3 to convert to; None keeps gray pictures gray (C = 1) and gives C = 3 for all others.
    notes: a list that receives what is worth knowing (a file of several frames, of which the first is read).
    Raises BadPicture for what cannot be read whole and faithfully. Floating-point TIFF is read where all its values
    lie in 0..1, and refused otherwise, because no range can be assumed. A file that lacks only its end marker, with
    every pixel there, is read.
    """
    if isinstance(source, np.ndarray):
        pixels = _from_array(source)
    elif isinstance(source, Image.Image):
        pixels = decode(source, None, name_of(source))
    else:
        pixels = read_file(source, notes)
    return pixels if channels is None else convert(pixels, channels)


def measure(source: Any) -> Shape:
    """The (C, H, W) that `read_picture` will give, from the header alone. Raises BadPicture."""
    if isinstance(source, (np.ndarray, Image.Image)):
        return read_picture(source).shape  # type: ignore[return-value]
    name = name_of(source)
    with open_picture(io.BytesIO(source) if isinstance(source, bytes) else name, name) as image:
        width, height = image.size
        if image.format == "TIFF":  # whose size PIL may have turned already, by its version
            width, height = image.tag_v2[256], image.tag_v2[257]  # type: ignore[attr-defined]
        if orientation_of(image) >= 5:
            width, height = height, width
        return (1 if is_gray(image) else 3), height, width


def convert(pixels: np.ndarray, channels: int) -> np.ndarray:
    """Gray to red-green-blue or back, for (..., C, H, W). Luma as in ITU-R BT.601, rounded as PIL rounds it."""
    if pixels.shape[-3] == channels:
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=-3)
    red, green, blue = (pixels[..., c, :, :].astype(np.uint32) for c in range(3))
    gray = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16
    return gray.astype(np.uint8)[..., None, :, :]


def resize(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """The shorter side made to fit, the centre kept, as uint8 (C, height, width). Antialiased bilinear (PIL's)."""
    rows, columns = picture.shape[1:]
    if (rows, columns) == (height, width):
        return picture
    scale = max(height / rows, width / columns)
    kept_h, kept_w = min(rows, height / scale), min(columns, width / scale)
    top, left = (rows - kept_h) / 2, (columns - kept_w) / 2
    hwc = picture[0] if len(picture) == 1 else np.ascontiguousarray(picture.transpose(1, 2, 0))
    small = Image.fromarray(hwc).resize((width, height), Image.Resampling.BILINEAR, (left, top, left + kept_w, top + kept_h))
    return _chw(np.asarray(small))


def fit(picture: np.ndarray, shape: Shape) -> np.ndarray:
    """A picture (C, H, W) at `shape`: converted and resized where it differs."""
    return resize(convert(picture, shape[0]), shape[1], shape[2])


class Pictures:
    """A lazy column of pictures at one shape: rows of a packed array or memory map, or files decoded when asked for."""

    def __init__(self, pixels: np.ndarray | None = None, files: Sequence[Any] = (), shape: Shape | None = None,
                 rows: np.ndarray | None = None) -> None:  # fmt: skip
        """Either `pixels`, uint8 (M, C, H, W), or `files` (what read_picture takes) with the `shape` to give them.

        rows: which of them, in order; None for all.
        """
        if pixels is not None and (pixels.dtype != np.uint8 or pixels.ndim != 4):
            raise ValueError(f"pixels must be uint8 (N, C, H, W), not {pixels.dtype} {pixels.shape}")
        if pixels is None and shape is None:
            raise ValueError("files need a shape")
        self._pixels = None
        if pixels is not None:  # a plain view, as memmap's own indexing is slow; read-only, as batches may be views of it
            self._pixels = np.asarray(pixels).view()
            self._pixels.flags.writeable = False
        self._files = files
        self._rows = rows
        self._shape: Shape = shape if pixels is None else pixels.shape[1:]  # type: ignore[assignment]

    @property
    def shape(self) -> Shape:
        """(C, H, W) of every picture."""
        return self._shape

    @property
    def packed(self) -> bool:
        """Whether rows come from memory or a memory map; otherwise each is decoded from its file."""
        return self._pixels is not None

    def __len__(self) -> int:
        if self._rows is not None:
            return len(self._rows)
        return len(self._files if self._pixels is None else self._pixels)

    def __getitem__(self, index: int) -> np.ndarray:
        """uint8 (C, H, W)."""
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return self.gather([index])[0]

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[i] for i in range(len(self)))

    def take(self, indices: Sequence[int] | np.ndarray) -> Pictures:
        """The pictures at `indices`, still unread."""
        return Pictures(self._pixels, self._files, self._shape, self._where(indices))

    def gather(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """uint8 (N, C, H, W) of the pictures at `indices`. Files are decoded by several threads."""
        where = self._where(indices)
        if self._pixels is not None:
            return self._pixels.take(where, axis=0)
        pixels = np.empty((len(where), *self._shape), np.uint8)

        def read(place: int) -> None:
            source = self._files[int(where[place])]
            pixels[place] = fit(read_picture(source), self._shape)

        if len(where) < 4:
            for place in range(len(where)):
                read(place)
        else:
            with ThreadPoolExecutor(_THREADS) as pool:
                list(pool.map(read, range(len(where))))
        return pixels

    def array(self) -> np.ndarray:
        """uint8 (N, C, H, W) of them all; a read-only view where the rows are one stretch of a packed array."""
        if self._pixels is None:
            return self.gather(np.arange(len(self)))
        rows = self._rows
        if rows is None:
            return self._pixels
        if len(rows) and rows[0] >= 0 and rows[-1] - rows[0] == len(rows) - 1 and bool((np.diff(rows) == 1).all()):
            return self._pixels[rows[0] : rows[-1] + 1]
        return self._pixels.take(rows, axis=0)

    def _where(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        chosen = np.asarray(indices, dtype=np.int64)
        if self._rows is not None:
            return self._rows[chosen]
        return np.where(chosen < 0, chosen + len(self), chosen)


def pictures(column: Any, shape: Shape) -> np.ndarray:
    """A column of raw pictures as uint8 (N, C, H, W) at `shape`: the path from raw to tensors.

    column: Pictures; an array (N, H, W), (N, H, W, C) or (N, C, H, W); or a list of whatever read_picture takes.
    Pictures of another size or colour are converted and resized. Raises LaminaError for floats that are not 0..255.
    """
    if isinstance(column, Pictures):
        whole = column.array()
    elif isinstance(column, np.ndarray):
        whole = stack_of(column, shape)
    else:
        whole = np.empty((len(column), *shape), np.uint8)
        for place, source in enumerate(column):
            if isinstance(source, np.ndarray) and source.shape == shape:
                whole[place] = _as_uint8(source, "picture")
            else:
                whole[place] = fit(read_picture(source), shape)
        return whole
    whole = convert(whole, shape[0])
    if whole.shape[2:] == shape[1:]:
        return whole if whole.flags.writeable else whole.copy()  # tensors are made from it, and may be written to
    resized = np.empty((len(whole), *shape), np.uint8)
    for place, picture in enumerate(whole):
        resized[place] = resize(picture, shape[1], shape[2])
    return resized


def stack_of(array: np.ndarray, shape: Shape | None = None) -> np.ndarray:
    """Many pictures in one array, as uint8 (N, C, H, W). `shape` (C, H, W) settles arrays that read two ways."""
    if array.ndim not in (3, 4):
        raise LaminaError(f"pictures must be an array (N, H, W), (N, H, W, C) or (N, C, H, W), not {array.shape}")
    array = _as_uint8(array, "pictures")
    if array.ndim == 3:
        return array[:, None]
    if shape is not None and array.shape[1:] == shape:
        return array
    if _channels_last(array.shape[1:]):
        array = np.ascontiguousarray(array.transpose(0, 3, 1, 2))
    return without_alpha(array)


def gather_inputs(sources: Sequence[Any], asks: tuple[str, ...] = ("image",)) -> Columns:
    """What `lamina predict` points at, as columns `image` (what read_picture takes) and `source` (a name for each).

    sources: files, folders (searched whole, in order of name), `-` for standard input (the bytes of one picture, or a
    path a line), arrays and PIL images. Raises LaminaError where a path does not exist or a folder holds no picture.
    """
    if asks != ("image",):
        raise LaminaError(f"pictures alone cannot be answered: this model asks for {', '.join(asks)}")
    images: list[Any] = []
    names: list[str] = []
    for source in _paths_from_standard_input(sources):
        if isinstance(source, (str, os.PathLike)):
            found = _files_of(Path(source))
            images += found
            names += found
        else:
            images.append(source)
            names.append("standard input" if isinstance(source, bytes) else f"picture {len(names) + 1}")
    return {"image": images, "source": names}


@dataclass(frozen=True)
class PictureReader:
    """What an image model is asked, with numpy and Pillow alone: any picture -> uint8 (N, C, H, W) at `shape`."""

    shape: tuple[int, ...]
    name: str = "image"
    """Of the raw column and of the model's input."""

    @property
    def asks(self) -> tuple[str, ...]:
        return (self.name,)

    def gather(self, sources: Sequence[Any]) -> Columns:
        return gather_inputs(sources, self.asks)

    def encode(self, columns: Columns) -> Arrays:
        return {self.name: pictures(columns[self.name], self.shape)}  # type: ignore[arg-type]


def _paths_from_standard_input(sources: Sequence[Any]) -> Iterator[Any]:
    for source in sources:
        if not (isinstance(source, str) and source == "-"):
            yield source
            continue
        data = sys.stdin.buffer.read()
        if not data.strip():
            raise LaminaError("standard input is empty: expected a picture's bytes, or a path a line")
        if (data.startswith(MAGIC) and b"\0" in data) or data[4:12] == b"ftypavif":
            yield data
            continue
        try:
            yield from (line for line in data.decode().splitlines() if line.strip())
        except UnicodeDecodeError:
            raise LaminaError("standard input holds neither a picture nor lines of paths") from None


def _files_of(path: Path) -> list[str]:
    if path.is_dir():
        found = picture_files(path)
        if not found:
            raise LaminaError(f"{path}: no picture in this folder (looked for {', '.join(sorted(SUFFIXES))})")
        return found
    if not path.exists():
        raise LaminaError(f"{path}: no such file")
    return [str(path)]


def picture_files(folder: Path) -> list[str]:
    """Every picture under `folder`, however deep, sorted; hidden files and folders and `__MACOSX` are passed over."""
    found: list[str] = []
    for here, folders, files in os.walk(folder):
        folders[:] = sorted(f for f in folders if not f.startswith(".") and f != "__MACOSX")
        found += [os.path.join(here, f) for f in files if not f.startswith(".") and is_picture_name(f)]  # noqa: PTH118
    return sorted(found)


def is_picture_name(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in SUFFIXES  # noqa: PTH122 (called for every file of large sets)


# Arrays.


def _as_uint8(array: np.ndarray, what: str) -> np.ndarray:
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * 255
    if array.dtype.kind not in "iuf":
        raise LaminaError(f"{what}: expected numbers in 0..255, got an array of {array.dtype}")
    low, high = (array.min(), array.max()) if array.size else (0, 255)
    if low >= 0 and high <= 255 and (array.dtype.kind != "f" or (high > 1 and bool((array == np.rint(array)).all()))):
        return array.astype(np.uint8)
    hint = "values in 0..1 become (255 * x).round().astype('uint8')" if low >= 0 and high <= 1 else (
        "16-bit values become (x / 257).round().astype('uint8')" if low >= 0 and array.dtype.kind != "f"
        else "undo the normalization, so that black is 0 and white is 255")  # fmt: skip
    raise LaminaError(f"{what}: expected uint8 in 0..255, got {array.dtype} in {low:g}..{high:g}; {hint}")


def _channels_last(shape: tuple[int, ...]) -> bool:
    """Whether a picture of this shape is (H, W, C) rather than (C, H, W)."""
    last, first = shape[2] in (1, 2, 3, 4), shape[0] in (1, 2, 3, 4)
    if last and first:
        raise LaminaError(f"a picture of shape {shape} reads as (C, H, W) and as (H, W, C): name its size, or pass a file")
    if not last and not first:
        raise LaminaError(f"a picture of shape {shape}: expected 1, 3 or 4 channels first or last")
    return last


def _from_array(array: np.ndarray) -> np.ndarray:
    if array.ndim not in (2, 3) or 0 in array.shape:
        raise BadPicture("unsupported-image", "array", f"expected (H, W), (H, W, C) or (C, H, W), got {array.shape}")
    array = _as_uint8(array, "picture")
    if array.ndim == 2:
        return array[None]
    if _channels_last(array.shape):
        array = array.transpose(2, 0, 1)
    return np.ascontiguousarray(without_alpha(array[None])[0])


def _chw(array: np.ndarray) -> np.ndarray:
    return array[None].copy() if array.ndim == 2 else np.ascontiguousarray(array.transpose(2, 0, 1))
