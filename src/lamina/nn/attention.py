"""Multi-head attention (Vaswani et al. 2017, "Attention Is All You Need", section 3.2), with torch's fused kernel, or in plain
products where a processor trains faster by them.

Shapes: B rows, T asking tokens, S tokens asked, D features, H heads, G key-value heads, E = D / H features of a head.
A mask is boolean and True where attention may fall.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lamina.errors import LaminaError
from lamina.nn.cache import Keep
from lamina.nn.dropout import dropout as dropped
from lamina.nn.positions import rotate

FUSED_FROM = {torch.float32: 128**2, torch.bfloat16: 1024**2}
"""Scores of a row and head, T times S, from which the fused kernel trains about as fast as products on a processor, by the type
of their numbers: measured with AVX512-BF16. Below, products are faster, short rows in bfloat16 many times."""


def attend(
    q_BHTE: Tensor,
    k_BHSE: Tensor,
    v_BHSE: Tensor,
    mask: Tensor | None = None,
    dropout: float = 0.0,
    causal: bool = False,
    training: bool = False,
) -> Tensor:
    """Each query's mean of the values (B, H, T, E), weighted by the softmax of q k / sqrt(E): equation 1.

    mask: broadcasts to (B, H, T, S); causal: each query sees as many keys as its place, and mask is None. dropout: share of the
    weights, in training alone.
    """
    scores = q_BHTE.shape[2] * k_BHSE.shape[2]
    if not training or q_BHTE.device.type != "cpu" or scores >= FUSED_FROM.get(q_BHTE.dtype, 0):
        return F.scaled_dot_product_attention(q_BHTE, k_BHSE, v_BHSE, mask, dropout if training else 0.0, causal)
    if causal:
        mask = torch.ones(q_BHTE.shape[2], k_BHSE.shape[2], dtype=torch.bool).tril()
    q_NTE, k_NSE, v_NSE = ((q_BHTE * q_BHTE.shape[3] ** -0.5).flatten(0, 1), k_BHSE.flatten(0, 1), v_BHSE.flatten(0, 1))
    bias = q_NTE.new_zeros(())
    if mask is not None:
        bias = q_NTE.new_zeros(mask.shape).masked_fill_(~mask, torch.finfo(q_NTE.dtype).min)
        if mask.ndim == 4:  # else one for all rows and heads
            bias = bias.expand(*q_BHTE.shape[:2], *mask.shape[2:]).flatten(0, 1)
    weight_NTS = torch.baddbmm(bias, q_NTE, k_NSE.transpose(1, 2)).softmax(2)
    return (dropped(weight_NTS, dropout) @ v_NSE).unflatten(0, q_BHTE.shape[:2])


class HeadNorm(nn.RMSNorm):
    """RMSNorm of each head's queries or keys (..., E), in the type they come in.

    Their products are then cosines times a gain that is learned, so that attention is as sharp as it should be whatever the
    weights grow to (Henry et al. 2020, "Query-Key Normalization for Transformers", which has one gain where here is one a
    feature, as in later networks).
    """

    def forward(self, x: Tensor) -> Tensor:
        assert self.weight is not None
        return F.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)


def head_norm(width: int, normed: bool) -> nn.Module:
    return HeadNorm(width, eps=1e-6) if normed else nn.Identity()


class SelfAttention(nn.Module):
    """Attention of a row's tokens to one another: x_BTD -> (B, T, D).

    groups: key-value heads, each shared by H / G query heads (Ainslie et al. 2023, "GQA"); None gives each its own.
    normed: whether queries and keys pass a `HeadNorm`.
    Raises LaminaError where heads do not divide the width, or groups the heads.
    """

    def __init__(
        self, width: int, heads: int, groups: int | None = None, bias: bool = True, dropout: float = 0.0, normed: bool = False
    ):
        super().__init__()
        groups = groups or heads
        if width % heads:
            raise LaminaError(f"heads: expected a divisor of the width {width}, got {heads}")
        if heads % groups:
            raise LaminaError(f"groups: expected a divisor of the {heads} heads, got {groups}")
        self.heads, self.groups, self.dropout = heads, groups, dropout
        # Queries, keys and values in one product: H + G + G heads.
        self.qkv = nn.Linear(width, width // heads * (heads + 2 * groups), bias)
        self.project = nn.Linear(width, width, bias)
        self.query_norm, self.key_norm = head_norm(width // heads, normed), head_norm(width // heads, normed)

    def forward(
        self,
        x_BTD: Tensor,
        mask: Tensor | None = None,
        causal: bool = False,
        turn: tuple[Tensor, Tensor] | None = None,
        keep: Keep | None = None,
    ) -> Tensor:
        """mask: broadcasts to (B, 1, T, S); causal: each token sees itself and those before, and mask is None.

        turn: of `Rotary`. keep: of a cache; S counts its tokens too.
        """
        heads_BNTE = self.qkv(x_BTD).unflatten(-1, (self.heads + 2 * self.groups, -1)).transpose(1, 2)
        q_BHTE, k_BGSE, v_BGSE = heads_BNTE.split((self.heads, self.groups, self.groups), dim=1)
        q_BHTE, k_BGSE = self.query_norm(q_BHTE), self.key_norm(k_BGSE)
        if turn is not None:
            q_BHTE, k_BGSE = rotate(q_BHTE, turn), rotate(k_BGSE, turn)
        if keep is not None:
            k_BGSE, v_BGSE = keep(k_BGSE, v_BGSE)
        if self.groups < self.heads and one_token(q_BHTE) and not causal:
            # The heads of a group ask its keys as so many tokens would: nothing of the cache is copied.
            q_BGRE = q_BHTE.reshape(-1, self.groups, self.heads // self.groups, q_BHTE.shape[3])
            y_BGRE = attend(q_BGRE, k_BGSE, v_BGSE, mask, self.dropout, False, self.training)
            y_BHTE = y_BGRE.reshape(q_BHTE.shape)
        else:
            if self.groups < self.heads:
                k_BGSE, v_BGSE = (x.repeat_interleave(self.heads // self.groups, 1) for x in (k_BGSE, v_BGSE))
            y_BHTE = attend(q_BHTE, k_BGSE, v_BGSE, mask, self.dropout, causal, self.training)
        return self.project(y_BHTE.transpose(1, 2).flatten(2))


def one_token(x_BHTE: Tensor) -> bool:
    """Whether T is 1. Where a graph is exported whose T varies, T is a symbol: asking it would bind the graph to the answer."""
    return isinstance(x_BHTE.shape[2], int) and x_BHTE.shape[2] == 1


class CrossAttention(nn.Module):
    """Attention of T tokens to S others, whose keys and values are computed once, by `memory`. normed: as `SelfAttention`."""

    def __init__(self, width: int, heads: int, bias: bool = True, dropout: float = 0.0, normed: bool = False):
        super().__init__()
        if width % heads:
            raise LaminaError(f"heads: expected a divisor of the width {width}, got {heads}")
        self.heads, self.dropout = heads, dropout
        self.query = nn.Linear(width, width, bias)
        self.key_value = nn.Linear(width, 2 * width, bias)
        self.project = nn.Linear(width, width, bias)
        self.query_norm, self.key_norm = head_norm(width // heads, normed), head_norm(width // heads, normed)

    def memory(self, x_BSD: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (B, H, S, E) of what is attended to."""
        k, v = self.key_value(x_BSD).unflatten(-1, (2 * self.heads, -1)).transpose(1, 2).chunk(2, 1)
        return self.key_norm(k), v

    def forward(
        self,
        x_BTD: Tensor,
        memory: tuple[Tensor, Tensor],
        mask: Tensor,
        seen: list[Tensor] | None = None,
        lean_BTS: Tensor | None = None,
    ) -> Tensor:
        """(B, T, D). mask broadcasts to (B, H, T, S). A list `seen` receives the weights (B, T, S), their mean over heads;
        lean_BTS is added to the scores of all heads then."""
        q_BHTE = self.query_norm(self.query(x_BTD).unflatten(-1, (self.heads, -1)).transpose(1, 2))
        k_BHSE, v_BHSE = memory
        if seen is None:
            y_BHTE = attend(q_BHTE, k_BHSE, v_BHSE, mask, self.dropout, False, self.training)
        else:  # the fused kernel keeps its weights to itself
            score_BHTS = (q_BHTE @ k_BHSE.transpose(2, 3)).float() * q_BHTE.shape[-1] ** -0.5
            if lean_BTS is not None:
                score_BHTS = score_BHTS + lean_BTS.unsqueeze(1)
            weight_BHTS = score_BHTS.masked_fill(~mask, torch.finfo(torch.float32).min).softmax(-1)
            seen.append(weight_BHTS.mean(1))
            y_BHTE = dropped(weight_BHTS, self.dropout, self.training).to(v_BHSE.dtype) @ v_BHSE
        return self.project(y_BHTE.transpose(1, 2).flatten(2))


def padding_mask(inside_BS: Tensor) -> Tensor:
    """Which tokens may be attended to (B, 1, 1, S). A row of padding alone sees all: a softmax over nothing is no number."""
    return (inside_BS | ~inside_BS.any(1, keepdim=True))[:, None, None]
