"""Operations on batches of pictures with a strength for each example: what `augment.py` draws from.

uint8 in, uint8 out, rounded as Pillow rounds; float in (0..255), float out, not rounded. Histograms (`equalize`) round
first. Nothing here is random, and nothing loops over examples.

Shapes: B examples, C channels, H and W pixels; strengths are (B,).
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

LUMA = (19595 / 65536, 38470 / 65536, 7471 / 65536)
"""Weights of red, green and blue in gray (ITU-R 601-2), in Pillow's fixed-point form."""


def gray(x_BCHW: Tensor) -> Tensor:
    """Brightness as float (B, 1, H, W): the luma of RGB, else the mean of the channels. Whole numbers for uint8."""
    x = x_BCHW.float() if x_BCHW.dtype == torch.uint8 else x_BCHW
    if x.shape[1] == 3:
        y = x[:, :1] * LUMA[0] + x[:, 1:2] * LUMA[1] + x[:, 2:] * LUMA[2]
    else:
        y = x.mean(1, keepdim=True)
    return (y + 0.5).floor() if x_BCHW.dtype == torch.uint8 else y


def blend(degenerate: Tensor, x_BCHW: Tensor, factor_B: Tensor) -> Tensor:
    """degenerate + factor * (x - degenerate), kept in 0..255: factor 0 gives the degenerate, 1 the picture."""
    x = x_BCHW.float() if x_BCHW.dtype == torch.uint8 else x_BCHW
    factor = factor_B.to(x.dtype)[:, None, None, None]
    return (degenerate + factor * (x - degenerate)).clamp(0, 255).to(x_BCHW.dtype)


def brightness(x_BCHW: Tensor, factor_B: Tensor) -> Tensor:
    """Towards black (factor below 1) or away from it."""
    return blend(torch.zeros((), device=x_BCHW.device), x_BCHW, factor_B)


def contrast(x_BCHW: Tensor, factor_B: Tensor) -> Tensor:
    """Towards the mean gray of each picture, or away from it."""
    mean = gray(x_BCHW).mean((1, 2, 3), keepdim=True)
    return blend((mean + 0.5).floor() if x_BCHW.dtype == torch.uint8 else mean, x_BCHW, factor_B)


def saturation(x_BCHW: Tensor, factor_B: Tensor) -> Tensor:
    """Towards the gray of each pixel, or away from it. Only RGB has a saturation: others are returned as they are."""
    return blend(gray(x_BCHW), x_BCHW, factor_B) if x_BCHW.shape[1] == 3 else x_BCHW


def sharpness(x_BCHW: Tensor, factor_B: Tensor) -> Tensor:
    """Towards a smoothed picture (3x3, the middle weighs 5 of 13), or away from it. The border stays, as in Pillow."""
    if min(x_BCHW.shape[2:]) < 3:
        return x_BCHW
    x = x_BCHW.float() if x_BCHW.dtype == torch.uint8 else x_BCHW
    smooth = (9 * F.avg_pool2d(x, 3, stride=1) + 4 * x[:, :, 1:-1, 1:-1]) / 13
    degenerate = x.clone()
    degenerate[:, :, 1:-1, 1:-1] = (smooth + 0.5).floor() if x_BCHW.dtype == torch.uint8 else smooth
    return blend(degenerate, x_BCHW, factor_B)


def hue(x_BCHW: Tensor, shift_B: Tensor) -> Tensor:
    """Turn the hue by a share of the circle (-0.5..0.5), keeping HSV saturation and value. Only RGB has a hue."""
    if x_BCHW.shape[1] != 3:
        return x_BCHW
    x = x_BCHW.float() if x_BCHW.dtype == torch.uint8 else x_BCHW
    red, green, blue = x.unbind(1)
    value, low = x.amax(1), x.amin(1)
    chroma = value - low
    safe = torch.where(chroma > 0, chroma, 1)
    sixth = torch.where(
        value == red, (green - blue) / safe, torch.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe)
    )
    sixth = sixth + 6 * shift_B.to(x.dtype)[:, None, None]
    # Back from HSV without cases: channel n of (5, 3, 1) loses chroma by how far its sector lies from the hue's.
    sector = (5 - 2 * torch.arange(3, device=x.device)[:, None, None] + sixth[:, None]) % 6
    y = value[:, None] - chroma[:, None] * torch.minimum(sector, 4 - sector).clamp(0, 1)
    return (y + 0.5).floor().to(torch.uint8) if x_BCHW.dtype == torch.uint8 else y


def posterize(x_BCHW: Tensor, bits_B: Tensor) -> Tensor:
    """Keep the highest `bits` (1..8) of each value's eight."""
    step = 2 ** (8 - bits_B.to(torch.int64).clamp(1, 8))[:, None, None, None]
    if x_BCHW.dtype == torch.uint8:
        return x_BCHW & (256 - step).to(torch.uint8)
    return torch.where(step == 1, x_BCHW, (x_BCHW / step).floor() * step)


def solarize(x_BCHW: Tensor, threshold_B: Tensor) -> Tensor:
    """Invert the values that reach the threshold (0 inverts all, 256 none)."""
    return torch.where(x_BCHW < threshold_B[:, None, None, None], x_BCHW, 255 - x_BCHW)


def lookup(x_BCHW: Tensor, table_BCV: Tensor) -> Tensor:
    """Replace every value v (rounded to 0..255) by entry v of its channel's table of 256."""
    index = (x_BCHW if x_BCHW.dtype == torch.uint8 else x_BCHW.round().clamp(0, 255)).flatten(2).long()
    return table_BCV.gather(2, index).view(x_BCHW.shape).to(x_BCHW.dtype)


def autocontrast(x_BCHW: Tensor) -> Tensor:
    """Stretch each channel to 0..255. A channel of one value stays."""
    x = x_BCHW.flatten(2)
    low, high = x.amin(2, keepdim=True), x.amax(2, keepdim=True)
    if x_BCHW.dtype == torch.uint8:
        low, high = low.long(), high.long()
        values = torch.arange(256, device=x.device).expand(*x.shape[:2], 256)
        stretched = ((values - low) * 255 // (high - low).clamp(min=1)).clamp(0, 255)
        return lookup(x_BCHW, torch.where(high > low, stretched, values))
    span = torch.where(high > low, high - low, 1)
    return torch.where(high > low, (x - low) * (255 / span), x).clamp(0, 255).view(x_BCHW.shape)


def equalize(x_BCHW: Tensor) -> Tensor:
    """Spread each channel's histogram evenly, as Pillow's `ImageOps.equalize`. Values are rounded to whole ones first."""
    index = (x_BCHW if x_BCHW.dtype == torch.uint8 else x_BCHW.round().clamp(0, 255)).flatten(2).long()
    batch, channels, pixels = index.shape
    count = torch.zeros(batch, channels, 256, dtype=torch.int64, device=index.device)
    count.scatter_add_(2, index, torch.ones_like(index))
    top = index.amax(2, keepdim=True)
    step = (pixels - count.gather(2, top)) // 255
    before = count.cumsum(2) - count
    values = torch.arange(256, device=index.device).expand_as(count)
    spread = ((step // 2 + before) // step.clamp(min=1)).clamp(max=255)
    return lookup(x_BCHW, torch.where(step > 0, spread, values))  # step 0: one value, or fewer than 255 pixels to spread


def warp(x_BCHW: Tensor, matrix_B23: Tensor, mode: Literal["nearest", "bilinear"] = "bilinear", fill: float = 0.0) -> Tensor:
    """Move pixels: the output at (x, y) is the input at matrix @ (x, y, 1), as Pillow's `transform` with AFFINE.

    Coordinates are in pixels, the middle of the first pixel at (0.5, 0.5). What comes from outside is `fill`.
    """
    _, channels, height, width = x_BCHW.shape
    matrix = matrix_B23.float()
    x_W = torch.arange(width, device=x_BCHW.device) + 0.5
    y_H1 = torch.arange(height, device=x_BCHW.device)[:, None] + 0.5
    a, b, c, d, e, f = (matrix[:, i, j, None, None] for i in (0, 1) for j in (0, 1, 2))
    x_BHW = a * x_W + b * y_H1 + c
    y_BHW = d * x_W + e * y_H1 + f
    inside = ((x_BHW >= 0) & (x_BHW < width) & (y_BHW >= 0) & (y_BHW < height))[:, None]
    if mode == "nearest":
        column, row = x_BHW.floor().clamp(0, width - 1), y_BHW.floor().clamp(0, height - 1)
        index = (row.long() * width + column.long()).flatten(1)[:, None].expand(-1, channels, -1)
        y = x_BCHW.flatten(2).gather(2, index).view(x_BCHW.shape)
    else:
        grid = torch.stack([2 * x_BHW / width - 1, 2 * y_BHW / height - 1], -1)
        x = x_BCHW if x_BCHW.is_floating_point() else x_BCHW.float()
        y = F.grid_sample(x, grid.to(x.dtype), mode="bilinear", padding_mode="border", align_corners=False).clamp(0, 255)
        y = y if x_BCHW.is_floating_point() else (y + 0.5).floor().to(x_BCHW.dtype)
    return torch.where(inside, y, y.new_full((), fill))


def matrices(a: Tensor | float, b: Tensor | float, c: Tensor | float, d: Tensor | float, e: Tensor | float, f: Tensor | float,
             like_B: Tensor) -> Tensor:  # fmt: skip
    """((a, b, c), (d, e, f)) as (B, 2, 3), each number shared by the batch or one for each example of `like_B`."""
    entries = [torch.zeros_like(like_B, dtype=torch.float32) + entry for entry in (a, b, c, d, e, f)]
    return torch.stack(entries, -1).unflatten(-1, (2, 3))


def rotation(degrees_B: Tensor, height: int, width: int) -> Tensor:
    """The (B, 2, 3) matrix for `warp` that turns a picture counter-clockwise around its middle."""
    angle = torch.deg2rad(degrees_B.float())
    cos, sin = angle.cos(), angle.sin()
    x, y = width / 2, height / 2
    return matrices(cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y, like_B=angle)
