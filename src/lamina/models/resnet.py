"""Residual networks (He et al. 2016, "Deep Residual Learning for Image Recognition").

Depths 18, 34, 50, 101, 152 are the paper's ImageNet networks (table 1), with what the field has since agreed on:
- "v1.5": a bottleneck's stride sits in its 3x3 convolution, not in the first 1x1, which would skip three pixels of four;
- the last norm of each branch starts at zero (Goyal et al. 2017, section 5.1), so a block starts as its shortcut;
  `zero_init=False` turns it off;
- stochastic depth (Huang et al. 2016), off by default.
Depths 20, 32, 44, 56 are the paper's CIFAR networks (section 4.2): widths 16, 32, 64. Where the shape changes, both
kinds use projections (the paper's option B). The paper uses option A, free of parameters, on CIFAR; a projection is a plain
convolution, which pruning, quantization and export all understand, for 1% more weights.

Shapes: B examples, C channels, H and W pixels, D features, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from lamina.errors import LaminaError
from lamina.nn.drop_path import DropPath, linear_rates
from lamina.nn.dropout import Dropout
from lamina.nn.normalize import Normalize

IMAGENET = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
"""Blocks in each of the four stages, of 64, 128, 256, 512 channels. From depth 50 on, blocks are bottlenecks."""

CIFAR = {depth: ((depth - 2) // 6,) * 3 for depth in (20, 32, 44, 56)}
"""Blocks in each of the three stages: depth = 6n + 2, two layers a block, the stem and the head."""

LEAST_WIDTH = 8
"""Channels that a layer keeps at any multiplier: with fewer, the backward of a strided 1x1 convolution, channels last, writes
past its buffer on processors with AVX2 alone (oneDNN in torch 2.13)."""


class Basic(nn.Module):
    """Two 3x3 convolutions and a shortcut: x_BCHW -> (B, width, H/stride, W/stride)."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int, drop_path: float):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.drop_path = DropPath(drop_path)
        self.shortcut = projection(inputs, width, stride)
        self.relu2 = nn.ReLU()  # one module a use: tools that attribute by module cannot tell two uses apart

    @property
    def last_norm(self) -> nn.BatchNorm2d:
        return self.norm2

    def forward(self, x_BCHW: Tensor) -> Tensor:
        y_BCHW = self.relu1(self.norm1(self.conv1(x_BCHW)))
        y_BCHW = self.norm2(self.conv2(y_BCHW))
        return self.relu2(self.shortcut(x_BCHW) + self.drop_path(y_BCHW))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut: x_BCHW -> (B, 4 * width, H/stride, W/stride)."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int, drop_path: float):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU()
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.norm3 = nn.BatchNorm2d(4 * width)
        self.drop_path = DropPath(drop_path)
        self.shortcut = projection(inputs, 4 * width, stride)
        self.relu3 = nn.ReLU()

    @property
    def last_norm(self) -> nn.BatchNorm2d:
        return self.norm3

    def forward(self, x_BCHW: Tensor) -> Tensor:
        y_BCHW = self.relu1(self.norm1(self.conv1(x_BCHW)))
        y_BCHW = self.relu2(self.norm2(self.conv2(y_BCHW)))
        y_BCHW = self.norm3(self.conv3(y_BCHW))
        return self.relu3(self.shortcut(x_BCHW) + self.drop_path(y_BCHW))


def projection(inputs: int, outputs: int, stride: int) -> nn.Module:
    """The shortcut: nothing where the shape stays, else a strided 1x1 convolution and its norm (option B)."""
    if inputs == outputs and stride == 1:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


def stem(channels: int, width: int, small: bool) -> nn.Sequential:
    """The first layers: 7x7 of stride 2 and a pool (a quarter of the resolution), or 3x3 that keeps the resolution."""
    if small:
        return nn.Sequential(nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
    return nn.Sequential(
        nn.Conv2d(channels, width, 7, stride=2, padding=3, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2, padding=1),
    )


class ResNet(nn.Module):
    """x_BCHW, uint8 or float in 0..255 -> {"logits": (B, K), "features": (B, D)}; any H and W.

    blocks and widths are one number a stage; each stage after the first halves the resolution.
    """

    def __init__(
        self,
        blocks: Sequence[int],
        widths: Sequence[int],
        bottleneck: bool,
        classes: int,
        channels: int,
        mean: Sequence[float],
        std: Sequence[float],
        small: bool = False,
        drop_path: float = 0.0,
        dropout: float = 0.0,
        zero_init: bool = True,
    ):
        super().__init__()
        kind = Bottleneck if bottleneck else Basic
        rates = iter(linear_rates(drop_path, sum(blocks)))
        self.normalize = Normalize(mean, std)
        self.stem = stem(channels, widths[0], small)
        self.stages = nn.Sequential()
        inputs = widths[0]
        for index, (count, width) in enumerate(zip(blocks, widths, strict=True)):
            stage = nn.Sequential()
            for position in range(count):
                stride = 2 if index > 0 and position == 0 else 1
                stage.append(kind(inputs, width, stride, next(rates)))
                inputs = width * kind.expansion
            self.stages.append(stage)
        self.dropout = Dropout(dropout)
        self.head = nn.Linear(inputs, classes)
        self.reset_parameters(zero_init)

    def reset_parameters(self, zero_init: bool) -> None:
        """He et al. 2015, equation 14: convolutions that keep the variance of the gradient."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif zero_init and isinstance(module, Basic | Bottleneck):
                nn.init.zeros_(module.last_norm.weight)

    def forward(self, x_BCHW: Tensor) -> dict[str, Tensor]:
        x_BCHW = self.stem(self.normalize(x_BCHW))
        features_BD = self.stages(x_BCHW).mean((2, 3))
        return {"logits": self.head(self.dropout(features_BD)), "features": features_BD}


def resnet(
    depth: int,
    classes: int,
    channels: int,
    mean: Sequence[float],
    std: Sequence[float],
    width: float = 1.0,
    small: bool = False,
    drop_path: float = 0.0,
    dropout: float = 0.0,
    zero_init: bool = True,
) -> ResNet:
    """The paper's network of that depth: 18, 34, 50, 101, 152 (ImageNet) or 20, 32, 44, 56 (CIFAR).

    mean and std normalize each channel, in raw units 0..255. width multiplies the width of every layer.
    small is the stem for pictures below about 64 pixels: 3x3, stride 1, no pool; the CIFAR depths always have it.
    drop_path is the rate of stochastic depth at the last block, dropout that before the head.
    No layer is narrower than LEAST_WIDTH. Raises LaminaError for another depth, or a width that is not above 0.
    """
    if depth not in IMAGENET and depth not in CIFAR:
        raise LaminaError(f"resnet depth: expected one of {sorted([*IMAGENET, *CIFAR])}, got {depth}")
    cifar = depth in CIFAR
    blocks = CIFAR[depth] if cifar else IMAGENET[depth]
    if width <= 0:
        raise LaminaError(f"resnet width: expected a multiplier above 0, got {width}")
    widths = [max(LEAST_WIDTH, round(width * w)) for w in ((16, 32, 64) if cifar else (64, 128, 256, 512))]
    return ResNet(
        blocks=blocks,
        widths=widths,
        bottleneck=depth in (50, 101, 152),
        classes=classes,
        channels=channels,
        mean=mean,
        std=std,
        small=small or cifar,
        drop_path=drop_path,
        dropout=dropout,
        zero_init=zero_init,
    )
