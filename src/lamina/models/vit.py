"""Vision transformer (Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words").

Pre-norm blocks, learned positions, and a class token or the mean of the tokens as features. Sizes small and base are
those of the field: base is the paper's (table 1), small and tiny are those of Touvron et al. 2021 (DeiT, table 1).

Shapes: B examples, C channels, H and W pixels, L tokens, D features, N heads, E = D / N, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from lamina.errors import LaminaError
from lamina.nn.attention import attend
from lamina.nn.drop_path import DropPath, linear_rates
from lamina.nn.dropout import Dropout
from lamina.nn.normalize import Normalize

SIZES = {"tiny": (192, 12, 3), "small": (384, 12, 6), "base": (768, 12, 12)}
"""Width, depth and heads."""


class Attention(nn.Module):
    """Self-attention of all tokens to all: x_BLD -> (B, L, D) (Vaswani et al. 2017, section 3.2)."""

    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__()
        self.heads = heads
        # Queries, keys and values in one product. A bias on keys alone never learns (softmax does not see it),
        # but as a part of this one it costs nothing and keeps published weights loadable.
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.dropout = Dropout(dropout)

    def forward(self, x_BLD: Tensor) -> Tensor:
        q_BNLE, k_BNLE, v_BNLE = self.qkv(x_BLD).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        y_BNLE = attend(q_BNLE, k_BNLE, v_BNLE, training=self.training)
        return self.dropout(self.project(y_BNLE.transpose(1, 2).flatten(2)))


class Block(nn.Module):
    """Attention, then a two-layer perceptron, each behind a norm and beside a shortcut: x_BLD -> (B, L, D)."""

    def __init__(self, width: int, heads: int, ratio: float, dropout: float, drop_path: float):
        super().__init__()
        hidden = round(width * ratio)
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attention = Attention(width, heads, dropout)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden), nn.GELU(), Dropout(dropout), nn.Linear(hidden, width), Dropout(dropout)
        )
        self.drop_path1 = DropPath(drop_path)
        self.drop_path2 = DropPath(drop_path)

    def forward(self, x_BLD: Tensor) -> Tensor:
        x_BLD = x_BLD + self.drop_path1(self.attention(self.norm1(x_BLD)))
        return x_BLD + self.drop_path2(self.mlp(self.norm2(x_BLD)))


class ViT(nn.Module):
    """x_BCHW, uint8 or float in 0..255, of the given shape (C, H, W) -> {"logits": (B, K), "features": (B, D)}.

    patch is the side of a square patch and must divide H and W. pool says what the features are, after the last norm:
    the class token, or the mean of the patches (no class token then). mean and std normalize each channel, in raw
    units. dropout acts where the paper's does: after the positions and after each linear layer of a block.
    drop_path is the rate of stochastic depth at the last block.
    Raises LaminaError where patches do not tile the picture, or heads do not divide the width.
    """

    def __init__(
        self,
        shape: Sequence[int],
        classes: int,
        mean: Sequence[float],
        std: Sequence[float],
        patch: int,
        width: int,
        depth: int,
        heads: int,
        ratio: float = 4.0,
        pool: Literal["class", "mean"] = "class",
        dropout: float = 0.0,
        drop_path: float = 0.0,
    ):
        super().__init__()
        channels, height, breadth = shape
        if height % patch or breadth % patch:
            raise LaminaError(f"vit patch: expected a divisor of {height} and {breadth}, got {patch}")
        if width % heads:
            raise LaminaError(f"vit heads: expected a divisor of the width {width}, got {heads}")
        if pool not in ("class", "mean"):
            raise LaminaError(f"vit pool: expected 'class' or 'mean', got {pool!r}")
        length = (height // patch) * (breadth // patch)
        self.normalize = Normalize(mean, std)
        self.embed = nn.Conv2d(channels, width, patch, patch)
        self.token = nn.Parameter(torch.zeros(1, 1, width)) if pool == "class" else None
        self.positions = nn.Parameter(torch.empty(1, length + (pool == "class"), width))
        self.dropout = Dropout(dropout)
        self.blocks = nn.Sequential(*[Block(width, heads, ratio, dropout, rate) for rate in linear_rates(drop_path, depth)])
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, classes)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """As the authors' code: Glorot for blocks, a fan-in normal for patches, deviation 0.02 for positions.

        The head differs: theirs starts at zero, which keeps every other layer still for the first step.
        """
        for module in self.blocks.modules():
            if isinstance(module, Block):
                # Queries, keys and values are three square matrices, so the fans are those of one.
                for weight_DD in module.attention.qkv.weight.chunk(3):
                    nn.init.xavier_uniform_(weight_DD)
                nn.init.xavier_uniform_(module.attention.project.weight)
                nn.init.zeros_(module.attention.qkv.bias)
                nn.init.zeros_(module.attention.project.bias)
                for layer in module.mlp:
                    if isinstance(layer, nn.Linear):
                        nn.init.xavier_uniform_(layer.weight)
                        nn.init.normal_(layer.bias, std=1e-6)
        # A normal cut at two deviations has 0.8796 of its nominal deviation.
        std = math.sqrt(1 / self.embed.weight[0].numel()) / 0.8796
        nn.init.trunc_normal_(self.embed.weight, std=std, a=-2 * std, b=2 * std)
        if self.embed.bias is not None:
            nn.init.zeros_(self.embed.bias)
        nn.init.normal_(self.positions, std=0.02)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def forward(self, x_BCHW: Tensor) -> dict[str, Tensor]:
        x_BLD = self.embed(self.normalize(x_BCHW)).flatten(2).transpose(1, 2)
        if self.token is not None:
            x_BLD = torch.cat([self.token.expand(x_BLD.shape[0], -1, -1), x_BLD], 1)
        x_BLD = self.norm(self.blocks(self.dropout(x_BLD + self.positions)))
        features_BD = x_BLD[:, 0] if self.token is not None else x_BLD.mean(1)
        return {"logits": self.head(features_BD), "features": features_BD}


def vit(
    size: Literal["tiny", "small", "base"],
    shape: Sequence[int],
    classes: int,
    mean: Sequence[float],
    std: Sequence[float],
    patch: int = 16,
    pool: Literal["class", "mean"] = "class",
    dropout: float = 0.0,
    drop_path: float = 0.0,
) -> ViT:
    """The network of that size for pictures of shape (C, H, W); the rest as in `ViT`. Raises LaminaError for another size."""
    if size not in SIZES:
        raise LaminaError(f"vit size: expected one of {list(SIZES)}, got {size!r}")
    width, depth, heads = SIZES[size]
    return ViT(shape, classes, mean, std, patch, width, depth, heads, pool=pool, dropout=dropout, drop_path=drop_path)
