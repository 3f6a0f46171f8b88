"""Networks for pictures by their names, fitted to the pictures that they get."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from lamina.errors import LaminaError


def architecture(name: str, shape: tuple[int, ...], *, small: bool, width: float) -> dict[str, Any]:
    """What the network `name` takes for pictures of `shape` (C, H, W), as JSON.

    A run keeps it, so that it still loads after these choices have changed.
    small: the stem keeps the size of the pictures. width: multiplies the widths of convnet, resnet and mlp.
    Raises LaminaError where the pictures are too small for it.
    """
    family, _, _ = name.partition("-")
    channels, height, breadth = shape
    if family == "mlp":
        return {"widths": [round(256 * width)] * 2}
    if family == "convnet":
        blocks = next((n for n in (3, 2, 1) if min(height, breadth) >= 1 + 2**n), 0)
        if not blocks:
            raise LaminaError(f"--model convnet: expected pictures of at least 3x3 pixels; got {height}x{breadth}: use mlp")
        second = 256 if channels >= 3 else 128  # colour says more than gray, and takes more filters
        return {"widths": [max(8, round(w * width)) for w in (64, second, 256)[:blocks]]}
    if family == "vit":
        least = 7 if min(height, breadth) >= 14 else 4  # patches a side: fewer say too little, and more cost their square
        fitting = (p for p in (16, 14, 8, 7, 4, 2) if min(height, breadth) // p >= least and height % p == breadth % p == 0)
        return {"patch": next(fitting, 1)}
    if family == "convnext":
        return {"patch": 1 if small else 4}
    return {"width": width, "small": small}


def network(
    name: str, shape: tuple[int, ...], architecture: Mapping[str, Any], *, activation: str, drop_path: float, **common: Any
) -> nn.Module:
    """The network `name` for pictures of `shape` (C, H, W), built as `architecture` says.

    activation: of mlp. common: what every network takes: classes, mean, std, dropout.
    """
    family, _, kind = name.partition("-")
    if family == "mlp":
        from lamina.models.mlp import MLP

        return MLP(shape=shape, activation=activation, **architecture, **common)  # type: ignore[arg-type]
    if family == "convnet":
        from lamina.models.convnet import ConvNet

        return ConvNet(channels=shape[0], **architecture, **common)
    if family == "vit":
        from lamina.models.vit import vit

        return vit(kind, shape, drop_path=drop_path, **architecture, **common)  # type: ignore[arg-type]
    if family == "convnext":
        from lamina.models.convnext import convnext

        return convnext(kind, channels=shape[0], drop_path=drop_path, **architecture, **common)  # type: ignore[arg-type]
    from lamina.models.resnet import resnet

    depth = int(family.removeprefix("resnet"))
    return resnet(depth, channels=shape[0], drop_path=drop_path, **architecture, **common)
