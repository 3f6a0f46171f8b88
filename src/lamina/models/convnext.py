"""ConvNeXt (Liu et al. 2022, "A ConvNet for the 2020s"): a residual network with a transformer's proportions.

Sizes tiny, small and base are the paper's (section 3.1); atto, femto, pico and nano are the smaller ones of
ConvNeXt V2 (Woo et al. 2023, table 9), built here from the first version's blocks. The patch size of the stem is
adjustable: 4 in the paper, 1 or 2 for small pictures.

The network works best in channels-last memory: the norms and the pointwise layers then read their channels side by side,
and no permutation below moves any data.

Shapes: B examples, C channels, H and W pixels, D features, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from lamina.errors import LaminaError
from lamina.nn.drop_path import DropPath, linear_rates
from lamina.nn.dropout import Dropout
from lamina.nn.norm import LayerNorm2d
from lamina.nn.normalize import Normalize

Size = Literal["atto", "femto", "pico", "nano", "tiny", "small", "base"]

SIZES: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "atto": ((2, 2, 6, 2), (40, 80, 160, 320)),
    "femto": ((2, 2, 6, 2), (48, 96, 192, 384)),
    "pico": ((2, 2, 6, 2), (64, 128, 256, 512)),
    "nano": ((2, 2, 8, 2), (80, 160, 320, 640)),
    "tiny": ((3, 3, 9, 3), (96, 192, 384, 768)),
    "small": ((3, 3, 27, 3), (96, 192, 384, 768)),
    "base": ((3, 3, 27, 3), (128, 256, 512, 1024)),
}
"""Blocks and channels of each stage."""


class Block(nn.Module):
    """x_BCHW + scale_C * pointwise(GELU(pointwise(norm(depthwise 7x7)))), of the same shape (figure 4 of the paper)."""

    def __init__(self, width: int, drop_path: float, layer_scale: float):
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.expand = nn.Linear(width, 4 * width)  # a 1x1 convolution, quicker as a matrix product on channels-last
        self.gelu = nn.GELU()
        self.project = nn.Linear(4 * width, width)
        self.scale = nn.Parameter(torch.full((width,), layer_scale)) if layer_scale > 0 else None
        self.drop_path = DropPath(drop_path)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        y_BHWC = self.depthwise(x_BCHW).permute(0, 2, 3, 1)
        y_BHWC = self.project(self.gelu(self.expand(self.norm(y_BHWC))))
        if self.scale is not None:
            y_BHWC = y_BHWC * self.scale
        return x_BCHW + self.drop_path(y_BHWC).permute(0, 3, 1, 2)


class ConvNeXt(nn.Module):
    """x_BCHW, uint8 or float in 0..255 -> {"logits": (B, K), "features": (B, D)}; H and W of at least 8 patches.

    blocks and widths are one number a stage; each stage after the first halves the resolution. Rows and columns
    beyond a whole number of patches are not seen, as in the paper. layer_scale is the initial value of each branch's
    scale (Touvron et al. 2021); 0 leaves the scale out.
    """

    def __init__(
        self,
        blocks: Sequence[int],
        widths: Sequence[int],
        classes: int,
        channels: int,
        mean: Sequence[float],
        std: Sequence[float],
        patch: int = 4,
        drop_path: float = 0.0,
        dropout: float = 0.0,
        layer_scale: float = 1e-6,
    ):
        super().__init__()
        rates = iter(linear_rates(drop_path, sum(blocks)))
        self.normalize = Normalize(mean, std)
        self.stem = nn.Sequential(nn.Conv2d(channels, widths[0], patch, patch), LayerNorm2d(widths[0]))
        self.stages = nn.Sequential()
        inputs = widths[0]
        for index, (count, width) in enumerate(zip(blocks, widths, strict=True)):
            stage = nn.Sequential()
            if index > 0:
                stage.extend([LayerNorm2d(inputs), nn.Conv2d(inputs, width, 2, stride=2)])
            stage.extend(Block(width, next(rates), layer_scale) for _ in range(count))
            self.stages.append(stage)
            inputs = width
        self.norm = nn.LayerNorm(inputs, eps=1e-6)
        self.dropout = Dropout(dropout)
        self.head = nn.Linear(inputs, classes)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Normal of deviation 0.02, cut at two deviations, and zero biases (appendix A.1 and the authors' code)."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02, a=-0.04, b=0.04)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x_BCHW: Tensor) -> dict[str, Tensor]:
        x_BCHW = self.stem(self.normalize(x_BCHW))
        features_BD = self.norm(self.stages(x_BCHW).mean((2, 3)))
        return {"logits": self.head(self.dropout(features_BD)), "features": features_BD}


def convnext(
    size: Size,
    classes: int,
    channels: int,
    mean: Sequence[float],
    std: Sequence[float],
    patch: int = 4,
    drop_path: float = 0.0,
    dropout: float = 0.0,
    layer_scale: float = 1e-6,
) -> ConvNeXt:
    """The network of that size: atto, femto, pico, nano, tiny, small, base.

    mean and std normalize each channel, in raw units 0..255. patch is the stem's (1 or 2 for pictures below about 64
    pixels). drop_path is the rate of stochastic depth at the last block (0.1 for tiny, 0.5 for base in the paper),
    dropout that before the head. Raises LaminaError for another size.
    """
    if size not in SIZES:
        raise LaminaError(f"convnext size: expected one of {list(SIZES)}, got {size!r}")
    blocks, widths = SIZES[size]
    return ConvNeXt(blocks, widths, classes, channels, mean, std, patch, drop_path, dropout, layer_scale)
