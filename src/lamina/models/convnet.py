"""A small, fast convolutional network for small pictures.

After Keller Jordan 2024, "94% on CIFAR-10 in 3.29 seconds on a single GPU" (arXiv:2404.00498, airbench): a first 2x2
convolution that whitens patches and stays fixed, then three blocks that pool early, so that most of the arithmetic
happens at low resolution. Changed: a residual connection over the second convolution of a block, widths to choose,
and raw units in (normalization inside).

Legend: B examples, C channels, H height, W width, D features, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lamina.nn.dropout import dropout
from lamina.nn.normalize import Normalize

LOGIT_SCALE = 1 / 9
"""Scales the logits down as in the paper: the last layer then learns at the rate that suits the others."""


class Block(nn.Module):
    """Convolution, 2x2 max pooling, norm, GELU; then a second convolution, norm, GELU, with a residual connection."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x_BCHW = F.gelu(self.norm1(F.max_pool2d(self.conv1(x_BCHW), 2)))
        return x_BCHW + F.gelu(self.norm2(self.conv2(x_BCHW)))


class ConvNet(nn.Module):
    """forward(x_BCHW in 0..255) -> {"logits": (B, K), "features": (B, D)}, D the last width.

    A picture needs 1 + 2**len(widths) pixels a side: every block halves what the first layer leaves.
    """

    def __init__(
        self,
        classes: int,
        channels: int,
        mean: Sequence[float],
        std: Sequence[float],
        widths: Sequence[int] = (64, 128, 256),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.normalize = Normalize(mean, std)
        stem = 2 * channels * 4  # each of the 4C directions of a 2x2 patch, and its negative
        self.whiten = nn.Conv2d(channels, stem, 2)
        self.whiten.weight.requires_grad_(False)
        self.blocks = nn.ModuleList(Block(i, o) for i, o in zip((stem, *widths[:-1]), widths, strict=True))
        self.dropout = dropout
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, x_BCHW: Tensor) -> dict[str, Tensor]:
        x_BCHW = F.gelu(self.whiten(self.normalize(x_BCHW)))
        for block in self.blocks:
            x_BCHW = block(x_BCHW)
        features_BD = x_BCHW.amax((2, 3))
        logits_BK = self.head(dropout(features_BD, self.dropout, self.training)) * LOGIT_SCALE
        return {"logits": logits_BK, "features": features_BD}

    @torch.no_grad()
    def set_whitening(self, x_BCHW: Tensor, epsilon: float = 5e-4) -> None:
        """Fix the first layer to the eigenvectors of the 2x2 patches of these pictures (0..255), scaled to unit variance."""
        x_BCHW = self.normalize(x_BCHW)
        channels = x_BCHW.shape[1]
        patches = F.unfold(x_BCHW, 2).transpose(1, 2).reshape(-1, channels * 4)
        values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
        whitening = (vectors / torch.sqrt(values + epsilon)).T.reshape(-1, channels, 2, 2).flip(0)
        self.whiten.weight.copy_(torch.cat([whitening, -whitening]))
