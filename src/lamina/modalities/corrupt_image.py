"""Corruptions of pictures: fifteen kinds at five severities, as in ImageNet-C.

Source: Hendrycks and Dietterich 2019 (arXiv:1903.12261) and the authors' code, whose constants stand in
`corrupt_strengths.py`. What changed: whole batches at once, gray pictures too, any size; frost is drawn, since theirs
is pasted from photographs; glass swaps pixels in rounds that do not touch each other, instead of one after another;
values are rounded, not cut off, to whole ones. The draws of a picture depend on its content alone, and are shared by
the severities.

Shapes: N pictures, C channels, H rows, W columns. Inside, values are in [0, 1].
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from PIL import Image

from lamina.errors import LaminaError
from lamina.modalities.corrupt_draws import Draws, disk, enlarged, filtered, gaussian, moved, plasma, sampled
from lamina.modalities.corrupt_strengths import strength

Corruption: TypeAlias = "Callable[[np.ndarray, Any, float, Draws], np.ndarray]"
"""(pictures (N, C, H, W) in [0, 1], entry of the table, what lengths are multiplied by, draws) -> pictures."""

ICE = (0.87, 0.95, 1.0)
"""Red, green and blue of white frost."""


def corrupt(pixels_NCHW: np.ndarray, kind: str, severity: int, seed: int = 0) -> np.ndarray:
    """uint8 pictures (N, C, H, W), C of 1 or 3, as uint8 of the same shape. Raises LaminaError for an unknown kind or severity."""
    if kind not in KINDS:
        raise LaminaError(f"kind: expected one of {', '.join(KINDS)}; got {kind!r}")
    if severity not in range(1, 6):
        raise LaminaError(f"severity: expected a whole number from 1 to 5; got {severity}")
    if not len(pixels_NCHW):
        return pixels_NCHW.copy()
    entry, scale = strength(kind, severity, *pixels_NCHW.shape[2:])
    x_NCHW = pixels_NCHW.astype(np.float32) / 255
    made = KINDS[kind](x_NCHW, entry, scale, Draws(pixels_NCHW, seed, kind))
    return np.rint(np.clip(made, 0, 1) * 255).astype(np.uint8)


def gaussian_noise(x: np.ndarray, sigma: float, scale: float, draws: Draws) -> np.ndarray:
    """Electronic noise in low light."""
    return x + sigma * draws.normal(*x.shape[1:])


def shot_noise(x: np.ndarray, photons: float, scale: float, draws: Draws) -> np.ndarray:
    """Light comes in whole photons."""
    return draws.poisson(x * photons) / photons


def impulse_noise(x: np.ndarray, share: float, scale: float, draws: Draws) -> np.ndarray:
    """Salt and pepper: values lost to black or white."""
    hit = draws.uniform(*x.shape[1:]) < share
    salt = draws.uniform(*x.shape[1:]) < 0.5
    return np.where(hit, salt.astype(np.float32), x)


def defocus_blur(x: np.ndarray, entry: tuple[float, float], scale: float, draws: Draws) -> np.ndarray:
    """A lens out of focus."""
    radius, edge = entry
    return filtered(x, disk(radius * scale, edge * scale))


def glass_blur(x: np.ndarray, entry: tuple[float, int, int], scale: float, draws: Draws) -> np.ndarray:
    """Seen through frosted glass: neighbouring pixels change places."""
    sigma, reach, passes = entry[0] * scale, max(1, round(entry[1] * scale)), entry[2]
    count, channels, height, width = x.shape
    order = np.tile(np.arange(height * width), (count, 1))
    rows_of, example = np.arange(reach + 1, height - reach + 1), np.arange(count)[:, None]
    columns_of = np.arange(reach + 1, width - reach + 1)
    for _ in range(passes):
        step_NHW2 = draws.integers(-reach, reach, height, width, 2)
        for first in range(2 * reach):  # pixels so far apart that their swaps do not touch
            for second in range(2 * reach):
                row, column = rows_of[first :: 2 * reach, None], columns_of[second :: 2 * reach]
                here = np.broadcast_to(row * width + column, (count, row.size, column.size)).reshape(count, -1)
                step = step_NHW2[:, row, column]
                there = ((row + step[..., 0]) * width + column + step[..., 1]).reshape(count, -1)
                order[example, here], order[example, there] = order[example, there], order[example, here]
    shuffled = np.take_along_axis(gaussian(x, sigma).reshape(count, channels, -1), order[:, None], axis=2)
    return gaussian(shuffled.reshape(x.shape), sigma)


def motion_blur(x: np.ndarray, entry: tuple[float, float], scale: float, draws: Draws) -> np.ndarray:
    """The camera moved."""
    radius, sigma = entry
    return moved(x, np.radians(draws.uniform(low=-45, high=45)), radius * scale, sigma * scale)


def zoom_blur(x: np.ndarray, entry: tuple[float, float], scale: float, draws: Draws) -> np.ndarray:
    """The camera moved towards the scene."""
    end, step = entry
    factors = np.arange(1, end, step)
    return (x + np.sum([enlarged(x, float(factor)) for factor in factors], axis=0)) / (len(factors) + 1)


def snow(x: np.ndarray, entry: tuple[float, ...], scale: float, draws: Draws) -> np.ndarray:
    """Falling snow, and a whiter scene."""
    mean, deviation, zoom, threshold, radius, sigma, kept = entry
    flakes = enlarged(mean + deviation * draws.normal(1, *x.shape[2:]), zoom)
    flakes = np.clip(np.where(flakes < threshold, 0, flakes), 0, 1).astype(np.float32)
    flakes = moved(flakes, np.radians(draws.uniform(low=-135, high=-45)), radius * scale, sigma * scale)
    whiter = kept * x + (1 - kept) * np.maximum(x, gray(x) * 1.5 + 0.5)
    return whiter + flakes + flakes[..., ::-1, ::-1]


def frost(x: np.ndarray, entry: tuple[float, float], scale: float, draws: Draws) -> np.ndarray:
    """Ice on the lens: ridges of two fractals, over a thin film."""
    kept, ice = entry
    height, width = x.shape[2:]
    ridges = [1 - np.abs(2 * plasma(draws, height, width, decay) - 1) for decay in (1.8, 2.4)]
    crystals = 0.25 + 0.75 * np.maximum(*ridges) ** 3
    tint = np.asarray(ICE if x.shape[1] == 3 else (np.mean(ICE),), np.float32)[:, None, None]
    return kept * x + ice * tint * crystals[:, None]


def fog(x: np.ndarray, entry: tuple[float, float], scale: float, draws: Draws) -> np.ndarray:
    """Drifting fog, of which the brightest places stay as bright as they were."""
    thickness, decay = entry
    brightest = x.max((1, 2, 3), keepdims=True)
    clouds = plasma(draws, *x.shape[2:], decay)[:, None]
    return (x + thickness * clouds) * brightest / (brightest + thickness)


def brightness(x: np.ndarray, added: float, scale: float, draws: Draws) -> np.ndarray:
    """The value of HSV raised; hue and saturation stay."""
    value = x.max(1, keepdims=True)
    raised = np.minimum(value + added, 1)
    return np.where(value > 0, x * raised / np.where(value > 0, value, 1), raised)


def contrast(x: np.ndarray, kept: float, scale: float, draws: Draws) -> np.ndarray:
    """Towards the mean of each channel."""
    mean = x.mean((2, 3), keepdims=True)
    return (x - mean) * kept + mean


def elastic_transform(x: np.ndarray, entry: tuple[float, float, float], scale: float, draws: Draws) -> np.ndarray:
    """Stretched at large by a random affine map, and bent in small regions. The entry is in shares of the side."""
    bend, smooth, stretch = (part * min(x.shape[2:]) for part in entry)
    count, _, height, width = x.shape
    middle, reach = np.array([height // 2, width // 2]), max(min(height, width) // 3, 1)
    corners = middle + reach * np.array([[1, 1], [1, -1], [-1, -1]])
    moved_to = corners + draws.uniform(3, 2, low=-stretch, high=stretch)
    back_N32 = np.linalg.solve(np.concatenate([moved_to, np.ones((count, 3, 1))], 2), np.broadcast_to(corners, (count, 3, 2)))
    place_NHW2 = np.broadcast_to(np.stack(np.mgrid[:height, :width], -1), (count, height, width, 2)).astype(np.float64)
    if bend:
        shifts = draws.uniform(2, height, width, low=-1, high=1)
        place_NHW2 = place_NHW2 + np.moveaxis(bend * gaussian(shifts, smooth, "reflect", truncate=3), 1, -1)
    source = place_NHW2 @ back_N32[:, None, :2] + back_N32[:, None, None, 2]
    return sampled(x, source[..., 0], source[..., 1])


def pixelate(x: np.ndarray, share: float, scale: float, draws: Draws) -> np.ndarray:
    """Shrunk and enlarged again without smoothing."""

    def coarse(picture: Image.Image) -> Image.Image:
        size = picture.size
        small = tuple(max(1, int(side * share)) for side in size)
        return picture.resize(small, Image.Resampling.BOX).resize(size, Image.Resampling.BOX)  # type: ignore[arg-type]

    return _each(x, coarse)


def jpeg_compression(x: np.ndarray, quality: int, scale: float, draws: Draws) -> np.ndarray:
    """Saved as a JPEG."""

    def saved(picture: Image.Image) -> Image.Image:
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=quality)
        return Image.open(file, formats=["JPEG"])

    return _each(x, saved)


def gray(x: np.ndarray) -> np.ndarray:
    """Brightness (N, 1, H, W): the luma of red, green and blue (ITU-R BT.601)."""
    return x if x.shape[1] == 1 else np.tensordot(np.float32([0.299, 0.587, 0.114]), x, (0, 1))[:, None]


def _each(x: np.ndarray, change: Callable[[Image.Image], Image.Image]) -> np.ndarray:
    """Every picture through Pillow."""
    out = np.empty_like(x)
    for place, pixels in enumerate(np.rint(x * 255).astype(np.uint8)):
        picture = Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))
        made = np.asarray(change(picture), np.float32) / 255
        out[place] = made if made.ndim == 2 else made.transpose(2, 0, 1)
    return out


KINDS: dict[str, Corruption] = {
    "gaussian_noise": gaussian_noise, "shot_noise": shot_noise, "impulse_noise": impulse_noise,
    "defocus_blur": defocus_blur, "glass_blur": glass_blur, "motion_blur": motion_blur, "zoom_blur": zoom_blur,
    "snow": snow, "frost": frost, "fog": fog, "brightness": brightness,
    "contrast": contrast, "elastic_transform": elastic_transform, "pixelate": pixelate, "jpeg_compression": jpeg_compression,
}  # fmt: skip
"""In the order of the paper: noise, blur, weather, digital."""
