"""Networks for pictures by their names, fitted to the pictures that they get."""

from __future__ import annotations

from typing import Any

from torch import nn

from lamina.errors import LaminaError


def network(
    name: str, shape: tuple[int, ...], *, small: bool, width: float, activation: str, drop_path: float, **common: Any
) -> nn.Module:
    """The network `name` for pictures of `shape` (C, H, W).

    small: the stem keeps the size of the pictures. width: multiplies the widths of convnet, resnet and mlp. activation: of mlp.
    common: what every network takes: classes, mean, std, dropout.
    Raises LaminaError where the pictures are too small for it.
    """
    family, _, kind = name.partition("-")
    channels, height, breadth = shape
    if family == "mlp":
        from lamina.models.mlp import MLP

        hidden = round(256 * width)
        return MLP(shape=shape, widths=(hidden, hidden), activation=activation, **common)  # type: ignore[arg-type]
    if family == "convnet":
        from lamina.models.convnet import ConvNet

        blocks = next((n for n in (3, 2, 1) if min(height, breadth) >= 1 + 2**n), 0)
        if not blocks:
            raise LaminaError(f"--model convnet: expected pictures of at least 3x3 pixels; got {height}x{breadth}: use mlp")
        second = 256 if channels >= 3 else 128  # colour says more than gray, and takes more filters
        return ConvNet(channels=channels, widths=[max(8, round(w * width)) for w in (64, second, 256)[:blocks]], **common)
    if family == "vit":
        from lamina.models.vit import vit

        least = 7 if min(height, breadth) >= 14 else 4  # patches a side: fewer say too little, and more cost their square
        fitting = (p for p in (16, 14, 8, 7, 4, 2) if min(height, breadth) // p >= least and height % p == breadth % p == 0)
        return vit(kind, shape, patch=next(fitting, 1), drop_path=drop_path, **common)  # type: ignore[arg-type]
    if family == "convnext":
        from lamina.models.convnext import convnext

        return convnext(kind, channels=channels, patch=1 if small else 4, drop_path=drop_path, **common)  # type: ignore[arg-type]
    from lamina.models.resnet import resnet

    depth = int(family.removeprefix("resnet"))
    return resnet(depth, channels=channels, width=width, small=small, drop_path=drop_path, **common)
