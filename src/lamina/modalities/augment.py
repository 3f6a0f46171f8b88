"""Augmentation of pictures: whole batches as tensors, each example with draws of its own, no loop over examples.

Every function takes x_BCHW, uint8 or float in 0..255, and a generator, and returns the same shape and range. What
moves whole pixels keeps uint8; what mixes or interpolates returns float32 from uint8. All draws come from the
generator and none from the global state, and are made on the generator's device: with a CPU generator the same seed
draws the same on every device, and nothing waits for a GPU.

Shapes: B examples, C channels, H and W pixels, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from lamina.errors import LaminaError
from lamina.modalities import pixels

# Draws.


def _send(drawn: Tensor, device: torch.device) -> Tensor:
    # Only copies from the CPU may run on: what is read on the CPU must have arrived.
    return drawn.to(device, non_blocking=device.type != "cpu")


def _uniform(like: Tensor, generator: torch.Generator, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
    drawn = torch.rand(shape, generator=generator, device=generator.device)
    return _send(low + (high - low) * drawn, like.device)


def _integers(like: Tensor, generator: torch.Generator, count: int, *shape: int) -> Tensor:
    """Whole numbers from 0 to below `count`."""
    return _send(torch.randint(count, shape, generator=generator, device=generator.device), like.device)


def _dirichlet(like: Tensor, generator: torch.Generator, alpha: float, *shape: int) -> Tensor:
    """Shares that sum to one over the last dimension; over two of them, the first is Beta(alpha, alpha).

    torch.distributions takes no generator, so gammas are drawn and normalized. In double, because a small alpha
    makes numbers far below the least float32.
    """
    gamma = torch._standard_gamma(torch.full(shape, alpha, dtype=torch.float64, device=generator.device), generator=generator)
    gamma = gamma + torch.finfo(torch.float64).tiny
    return _send((gamma / gamma.sum(-1, keepdim=True)).float(), like.device)


def _float(x: Tensor) -> Tensor:
    return x if x.is_floating_point() else x.float()


def _within(name: str, low: float, value: float | tuple[float, ...], high: float) -> None:
    """Raise LaminaError unless low <= value <= high; for a range, unless it also rises and starts above `low`."""
    values = value if isinstance(value, tuple) else (value,)
    rises = all(a <= b for a, b in pairwise(values))
    if not rises or not all(low <= v <= high for v in values) or (len(values) > 1 and values[0] == low):
        kind = f"a rising range above {low:g}" if len(values) > 1 else f"at least {low:g}"
        raise LaminaError(f"{name}: expected {kind}{f' and at most {high:g}' if high < math.inf else ''}, got {value}")


# Moving.


def flip(x_BCHW: Tensor, generator: torch.Generator, probability: float = 0.5) -> Tensor:
    """Mirror left and right, with that probability. Keeps the type."""
    flipped = _uniform(x_BCHW, generator, len(x_BCHW), 1, 1, 1) < probability
    return torch.where(flipped, x_BCHW.flip(3), x_BCHW)


def crop(
    x_BCHW: Tensor, padding: int, generator: torch.Generator, fill: Literal["reflect", "zero", "edge"] = "reflect"
) -> Tensor:
    """Pad every side by `padding` pixels and crop back at a random place. Keeps the type.

    fill is what the padding holds: the picture mirrored at its edge, zeros, or the edge repeated.
    """
    _within("crop padding", 0, padding, math.inf)
    if fill not in ("reflect", "zero", "edge"):
        raise LaminaError(f"crop fill: expected reflect, zero or edge, got {fill!r}")
    batch, _, height, width = x_BCHW.shape
    if fill == "zero":
        padded = F.pad(x_BCHW, (padding,) * 4)
    else:
        rows, columns = (_source(size, padding, fill, x_BCHW.device) for size in (height, width))
        padded = x_BCHW.index_select(2, rows).index_select(3, columns)
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # a view: every crop of every picture
    top, left = (_integers(x_BCHW, generator, 2 * padding + 1, batch) for _ in range(2))
    return windows[torch.arange(batch, device=x_BCHW.device), :, top, left]


def _source(size: int, padding: int, fill: str, device: torch.device) -> Tensor:
    """The pixel of 0..size-1 that each of size + 2 * padding places shows."""
    place = torch.arange(-padding, size + padding, device=device)
    if fill == "edge" or size == 1:
        return place.clamp(0, size - 1)
    place = place % (2 * size - 2)  # mirrors at both edges repeat after a way there and back
    return torch.minimum(place, 2 * size - 2 - place)


def resized_crop(
    x_BCHW: Tensor,
    generator: torch.Generator,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Tensor:
    """Crop a random box and stretch it to the whole (Szegedy et al. 2015, section 6). Returns float.

    scale is the range of the box's share of the area, ratio that of its width over its height relative to the
    picture's own (drawn evenly in the logarithm). Of ten draws the first that fits is taken; if none does, the whole.
    """
    _within("resized_crop scale", 0, scale, 1)
    _within("resized_crop ratio", 0, ratio, math.inf)
    batch, _, height, width = x_BCHW.shape
    share = _uniform(x_BCHW, generator, batch, 10, low=scale[0], high=scale[1])
    aspect = _uniform(x_BCHW, generator, batch, 10, low=math.log(ratio[0]), high=math.log(ratio[1])).exp()
    tall = (height * (share / aspect).sqrt()).round()
    wide = (width * (share * aspect).sqrt()).round()
    fits = (tall >= 1) & (tall <= height) & (wide >= 1) & (wide <= width)
    first = fits.int().argmax(1, keepdim=True)  # the first of the greatest
    any_B1 = fits.any(1, keepdim=True)
    tall = torch.where(any_B1, tall.gather(1, first), height)
    wide = torch.where(any_B1, wide.gather(1, first), width)
    top = (_uniform(x_BCHW, generator, batch, 1) * (height - tall + 1)).floor().clamp(max=height - 1)
    left = (_uniform(x_BCHW, generator, batch, 1) * (width - wide + 1)).floor().clamp(max=width - 1)
    y_BH = _stretch(height, top, tall)
    x_BW = _stretch(width, left, wide)
    grid = torch.stack(
        [
            (2 * x_BW / width - 1)[:, None, :].expand(-1, height, -1),
            (2 * y_BH / height - 1)[:, :, None].expand(-1, -1, width),
        ],
        -1,
    )
    x = _float(x_BCHW)
    return F.grid_sample(x, grid.to(x.dtype), padding_mode="border", align_corners=False).clamp(0, 255)


def _stretch(size: int, start_B1: Tensor, length_B1: Tensor) -> Tensor:
    """Where `size` pixels read when they show `length` pixels from `start`: never beyond the middles of the box's ends."""
    place = start_B1 + (torch.arange(size, device=start_B1.device) + 0.5) * (length_B1 / size)
    return torch.minimum(torch.maximum(place, start_B1 + 0.5), start_B1 + length_B1 - 0.5)


def affine(
    x_BCHW: Tensor,
    generator: torch.Generator,
    degrees: float = 0.0,
    translate: float = 0.0,
    scale: tuple[float, float] = (1.0, 1.0),
    shear: float = 0.0,
    fill: float = 0.0,
) -> Tensor:
    """Shear, scale, turn around the middle, and move. Returns float, interpolated, `fill` where nothing was.

    degrees and shear (in degrees, of each axis) are drawn from -x..x, translate from -x..x of each side, scale from its range.
    """
    _within("affine scale", 0, scale, math.inf)
    _within("affine shear", 0, shear, 80)  # at 90 degrees a picture has no area
    batch, _, height, width = x_BCHW.shape
    angle = _uniform(x_BCHW, generator, batch, low=-math.radians(degrees), high=math.radians(degrees))
    slant_x, slant_y = _uniform(x_BCHW, generator, 2, batch, low=-math.radians(shear), high=math.radians(shear)).tan()
    move_x, move_y = _uniform(x_BCHW, generator, 2, batch, low=-translate, high=translate)
    zoom = _uniform(x_BCHW, generator, batch, low=math.log(scale[0]), high=math.log(scale[1])).exp()
    cos, sin = zoom * angle.cos(), zoom * angle.sin()
    # Forward: turn @ shear = ((p, q), (r, s)). `warp` asks for the way back: the inverse.
    p, q = cos - sin * slant_y, cos * slant_x - sin
    r, s = sin + cos * slant_y, sin * slant_x + cos
    determinant = p * s - q * r
    a, b, d, e = s / determinant, -q / determinant, -r / determinant, p / determinant
    x, y = width / 2, height / 2
    to_x, to_y = x + move_x * width, y + move_y * height
    matrix = pixels.matrices(a, b, x - a * to_x - b * to_y, d, e, y - d * to_x - e * to_y, like_B=angle)
    return pixels.warp(_float(x_BCHW), matrix, "bilinear", fill)


# Hiding and colouring.


def _box(x_BCHW: Tensor, generator: torch.Generator, tall_B: Tensor, wide_B: Tensor) -> Tensor:
    """True (B, 1, H, W) inside a box of that size whose middle lies anywhere in the picture; what overhangs is cut off."""
    batch, _, height, width = x_BCHW.shape
    top = _integers(x_BCHW, generator, height, batch) - tall_B // 2
    left = _integers(x_BCHW, generator, width, batch) - wide_B // 2
    row, column = torch.arange(height, device=x_BCHW.device), torch.arange(width, device=x_BCHW.device)
    in_rows = (row >= top[:, None]) & (row < (top + tall_B)[:, None])
    in_columns = (column >= left[:, None]) & (column < (left + wide_B)[:, None])
    return (in_rows[:, :, None] & in_columns[:, None, :])[:, None]


def cutout(x_BCHW: Tensor, size: int, generator: torch.Generator, fill: float | Sequence[float] = 0.0) -> Tensor:
    """Hide a square of side `size` (DeVries & Taylor 2017), its middle anywhere in the picture. Keeps the type.

    fill is one number, or one for each channel, such as the mean of the training data.
    """
    _within("cutout size", 0, size, math.inf)
    side_B = torch.full((len(x_BCHW),), size, device=x_BCHW.device)
    colour = _send(torch.tensor(fill), x_BCHW.device).reshape(1, -1, 1, 1)
    colour = colour.to(x_BCHW.dtype) if x_BCHW.is_floating_point() else colour.float().round().clamp(0, 255).to(x_BCHW.dtype)
    return torch.where(_box(x_BCHW, generator, side_B, side_B), colour, x_BCHW)


def color(
    x_BCHW: Tensor,
    generator: torch.Generator,
    brightness: float = 0.0,
    contrast: float = 0.0,
    saturation: float = 0.0,
    hue: float = 0.0,
) -> Tensor:
    """Change brightness, contrast, saturation and hue, in that order. Returns float.

    The first three multiply by a factor from max(0, 1 - x) to 1 + x; hue turns by -x..x of the circle (x at most 0.5).
    Saturation and hue leave pictures that are not RGB as they are.
    """
    for name, strength in (("brightness", brightness), ("contrast", contrast), ("saturation", saturation)):
        _within(f"color {name}", 0, strength, math.inf)
    _within("color hue", 0, hue, 0.5)
    batch = len(x_BCHW)
    y = _float(x_BCHW)
    for change, strength in ((pixels.brightness, brightness), (pixels.contrast, contrast), (pixels.saturation, saturation)):
        if strength:
            y = change(y, _uniform(y, generator, batch, low=max(0.0, 1 - strength), high=1 + strength))
    if hue:
        y = pixels.hue(y, _uniform(y, generator, batch, low=-hue, high=hue))
    return y


# Policies: an operation drawn for each example. The batch is sorted by operation, and each is applied to its part.


def _operate(name: str, x: Tensor, value_B: Tensor, mode: Literal["nearest", "bilinear"]) -> Tensor:
    """The operation of that name; value_B is in its own unit, and unused where there is none."""
    match name:
        case "identity":
            return x
        case "autocontrast":
            return pixels.autocontrast(x)
        case "equalize":
            return pixels.equalize(x)
        case "posterize":  # bits
            return pixels.posterize(x, value_B)
        case "solarize":  # threshold
            return pixels.solarize(x, value_B)
        case "brightness":  # difference from 1 of the factor, here and in the next three
            return pixels.brightness(x, 1 + value_B)
        case "contrast":
            return pixels.contrast(x, 1 + value_B)
        case "color":
            return pixels.saturation(x, 1 + value_B)
        case "sharpness":
            return pixels.sharpness(x, 1 + value_B)
        case "rotate":  # degrees
            matrix = pixels.rotation(value_B, *x.shape[2:])
        case "shear-x":  # slope, from the upper left corner
            matrix = pixels.matrices(1, value_B, 0, 0, 1, 0, like_B=value_B)
        case "shear-y":
            matrix = pixels.matrices(1, 0, 0, value_B, 1, 0, like_B=value_B)
        case "translate-x":  # pixels
            matrix = pixels.matrices(1, 0, value_B, 0, 1, 0, like_B=value_B)
        case "translate-y":
            matrix = pixels.matrices(1, 0, 0, 0, 1, value_B, like_B=value_B)
        case _:
            raise ValueError(f"no operation {name!r}")
    return pixels.warp(x, matrix, mode)


def _operate_each(
    names: Sequence[str], x: Tensor, choice_B: Tensor, values_BN: Tensor, mode: Literal["nearest", "bilinear"]
) -> Tensor:
    """Operation names[choice] on each example, with the value of that column. choice_B is on the generator's device."""
    y = x.clone()
    # Sorted and counted where the draws were made, so that with a CPU generator no GPU is waited for.
    counts = (choice_B[:, None] == torch.arange(len(names), device=choice_B.device)).sum(0).tolist()
    order = _send(choice_B.argsort(stable=True), x.device)
    for column, rows in enumerate(order.split(counts)):
        if len(rows) and names[column] != "identity":
            y[rows] = _operate(names[column], x[rows], values_BN[rows, column], mode)
    return y


def _signs(like: Tensor, generator: torch.Generator, *shape: int) -> Tensor:
    return 2.0 * _integers(like, generator, 2, *shape) - 1


TRIVIAL = {
    "identity": (0, 0, 0),
    "autocontrast": (0, 0, 0),
    "equalize": (0, 0, 0),
    "rotate": (0, 30, 135),
    "solarize": (256, 0, 0),
    "color": (0, 0.9, 0.99),
    "posterize": (8, 4, 2),
    "contrast": (0, 0.9, 0.99),
    "brightness": (0, 0.9, 0.99),
    "sharpness": (0, 0.9, 0.99),
    "shear-x": (0, 0.3, 0.99),
    "shear-y": (0, 0.3, 0.99),
    "translate-x": (0, 10, 32),
    "translate-y": (0, 10, 32),
}
"""Value at strength 0, and at strength 30 in RandAugment's space and in the wide one (Müller & Hutter 2021, table 6)."""

UNSIGNED = ("identity", "autocontrast", "equalize", "solarize", "posterize")


def trivial_augment(x_BCHW: Tensor, generator: torch.Generator, wide: bool = True) -> Tensor:
    """TrivialAugment (Müller & Hutter 2021): one operation an example, of a strength drawn from 0..30. Keeps the type.

    wide takes the paper's larger strengths. Translation is in pixels (32 at most in the wide space), as in the paper.
    Operations with two directions take either with equal chance.
    """
    batch, names = len(x_BCHW), list(TRIVIAL)
    choice = torch.randint(len(names), (batch,), generator=generator, device=generator.device)
    strength = _integers(x_BCHW, generator, 31, batch)[:, None] / 30
    sign = _signs(x_BCHW, generator, batch)[:, None]
    bounds = torch.tensor([(TRIVIAL[name][0], TRIVIAL[name][2 if wide else 1]) for name in names], dtype=torch.float32)
    least, greatest = _send(bounds, x_BCHW.device).unbind(1)
    signed = _send(torch.tensor([name not in UNSIGNED for name in names]), x_BCHW.device)
    values = (least + strength * (greatest - least)) * torch.where(signed, sign, 1)
    whole = _send(torch.tensor([name in ("posterize", "translate-x", "translate-y") for name in names]), x_BCHW.device)
    return _operate_each(names, x_BCHW, choice, torch.where(whole, values.round(), values), "nearest")


MIX = (
    "autocontrast", "equalize", "posterize", "rotate", "solarize", "shear-x", "shear-y", "translate-x", "translate-y"
)  # fmt: skip
"""AugMix's operations: none of them is one of the corruptions that robustness is measured with."""


def aug_mix(
    x_BCHW: Tensor, generator: torch.Generator, severity: float = 3.0, width: int = 3, depth: int = 3, alpha: float = 1.0
) -> Tensor:
    """AugMix (Hendrycks et al. 2020, algorithm 1): a mixture of `width` chains of 1..depth operations. Returns float.

    severity 0..10 bounds the strength of each operation; 0 changes nothing.
    The chains are mixed by Dirichlet(alpha), and the mixture with x by Beta(alpha, alpha).
    """
    batch, _, height, breadth = x_BCHW.shape
    _within("aug_mix severity", 0, severity, 10)
    if severity == 0:  # even then, posterize would keep but four bits, and equalize has no strength
        return _float(x_BCHW)
    share_BW = _dirichlet(x_BCHW, generator, alpha, batch, width)
    mixed = _dirichlet(x_BCHW, generator, alpha, batch, 2)[:, 0, None, None, None]
    total = torch.zeros_like(x_BCHW, dtype=_float(x_BCHW).dtype)
    for chain in range(width):
        y = x_BCHW
        length = torch.randint(1, depth + 1, (batch,), generator=generator, device=generator.device)
        for link in range(depth):
            choice = torch.randint(len(MIX), (batch,), generator=generator, device=generator.device)
            level = _uniform(x_BCHW, generator, batch, low=min(0.1, severity), high=severity)[:, None] / 10
            sign = _signs(x_BCHW, generator, batch)[:, None]
            ranges = {
                "posterize": 4 - (4 * level).floor(),
                "rotate": (30 * level).floor() * sign,
                "solarize": 256 - (256 * level).floor(),
                "shear-x": 0.3 * level * sign,
                "shear-y": 0.3 * level * sign,
                "translate-x": (breadth / 3 * level).floor() * sign,
                "translate-y": (height / 3 * level).floor() * sign,
            }
            values = torch.cat([ranges.get(name, level) for name in MIX], 1)
            # A chain that has ended takes the operation after the last, which is none.
            choice = torch.where(length > link, choice, len(MIX))
            values = F.pad(values, (0, 1))
            y = _operate_each([*MIX, "identity"], y, choice, values, "bilinear")
        total += share_BW[:, chain, None, None, None].to(total.dtype) * y
    return ((1 - mixed) * x_BCHW + mixed * total).clamp(0, 255)


# Mixing examples and their labels.


def one_hot(label_B: Tensor, classes: int, smoothing: float = 0.0) -> Tensor:
    """Soft labels (B, K): 1 - smoothing on the class and smoothing spread over all K (Szegedy et al. 2016, section 7)."""
    hard = torch.zeros(len(label_B), classes, device=label_B.device).scatter_(1, label_B.long()[:, None], 1.0)
    return hard * (1 - smoothing) + smoothing / classes


def _partners(like: Tensor, generator: torch.Generator) -> Tensor:
    return _send(torch.randperm(len(like), generator=generator, device=generator.device), like.device)


def mixup(x_BCHW: Tensor, label_BK: Tensor, alpha: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """(x, label), each averaged with another example's by a share from Beta(alpha, alpha) (Zhang et al. 2018). x is float.

    Each example draws its own share. alpha 0 mixes nothing.
    """
    _within("mixup alpha", 0, alpha, math.inf)
    x = _float(x_BCHW)
    if alpha == 0:
        return x, label_BK
    share_B1 = _dirichlet(x_BCHW, generator, alpha, len(x), 2)[:, :1]
    other = _partners(x, generator)
    share = share_B1[:, :, None, None].to(x.dtype)
    return share * x + (1 - share) * x[other], share_B1 * label_BK + (1 - share_B1) * label_BK[other]


def cutmix(x_BCHW: Tensor, label_BK: Tensor, alpha: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """(x, label) with a box taken from another example, and labels in the pixels' shares (Yun et al. 2019). Keeps x's type.

    The box has a share from Beta(alpha, alpha) of the area before its overhang is cut off. alpha 0 mixes nothing.
    """
    _within("cutmix alpha", 0, alpha, math.inf)
    if alpha == 0:
        return x_BCHW, label_BK
    batch, _, height, width = x_BCHW.shape
    side_B = _dirichlet(x_BCHW, generator, alpha, batch, 2)[:, 0].sqrt()
    inside = _box(x_BCHW, generator, (height * side_B).long(), (width * side_B).long())
    other = _partners(x_BCHW, generator)
    taken_B1 = inside.flatten(1).float().mean(1, keepdim=True)
    return torch.where(inside, x_BCHW[other], x_BCHW), (1 - taken_B1) * label_BK + taken_B1 * label_BK[other]
