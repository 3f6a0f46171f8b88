"""The Transformer's stack of blocks (Vaswani et al. 2017, "Attention Is All You Need"), and what its descendants changed.

The networks themselves are in `transformer_encoder.py`, `transformer_decoder.py` and `transformer_translator.py`.

- `placement`: the paper puts a norm after each residual sum ("post"); from GPT-2 on it stands before each layer ("pre": Xiong et
  al. 2020), with a last one at the end, which trains without a long warm-up.
- `norm`: LayerNorm, or RMSNorm (Zhang & Sennrich 2019), which leaves out the mean.
- `feed_forward`: two layers around a bend, or SwiGLU (Shazeer 2020).
- `positions`: learned or sinusoidal vectors added to the embeddings, or turned queries and keys (rotary: Su et al. 2021).
- `groups`: heads that share keys and values (Ainslie et al. 2023).
- `normed_heads`: a norm of each head's queries and keys (Henry et al. 2020).

Shapes: B rows, T tokens, S tokens of a source, D features, H heads, G key-value heads, E features of a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lamina.errors import LaminaError
from lamina.nn.attention import CrossAttention, SelfAttention
from lamina.nn.cache import Appended, InPlace
from lamina.nn.dropout import Dropout
from lamina.nn.feed_forward import Activation, FeedForward, SwiGLU
from lamina.nn.positions import Rotary, Sinusoidal

Memory = Sequence[tuple[Tensor, Tensor]]
"""For each layer, the keys and values (B, H, S, E) of the source."""


@dataclass(frozen=True)
class Shape:
    """What a stack is made of. `length` is the greatest number of tokens in a row; it sizes the table of learned positions."""

    width: int
    depth: int
    heads: int
    hidden: int
    length: int
    groups: int | None = None
    norm: Literal["layer", "rms"] = "layer"
    placement: Literal["pre", "post"] = "pre"
    feed_forward: Literal["relu", "gelu", "gelu-tanh", "silu", "swiglu"] = "gelu"
    positions: Literal["learned", "sinusoidal", "rotary"] = "learned"
    theta: float = 10_000.0
    normed_heads: bool = False
    bias: bool = True
    eps: float = 1e-5
    dropout: float = 0.0
    attention_dropout: float = 0.0


def norm_of(shape: Shape) -> nn.Module:
    if shape.norm == "rms":
        return nn.RMSNorm(shape.width, shape.eps)
    return nn.LayerNorm(shape.width, shape.eps, bias=shape.bias)


def feed_forward_of(shape: Shape) -> nn.Module:
    if shape.feed_forward == "swiglu":
        return SwiGLU(shape.width, shape.hidden, shape.bias, shape.dropout)
    activation: Activation = shape.feed_forward
    return FeedForward(shape.width, shape.hidden, activation, shape.bias, shape.dropout)


class PreNorm(nn.Module):
    """x + layer(norm(x)): the shortcut is free from end to end."""

    def __init__(self, layer: nn.Module, shape: Shape):
        super().__init__()
        self.norm, self.layer, self.dropout = norm_of(shape), layer, Dropout(shape.dropout)

    def forward(self, x_BTD: Tensor, *more: Any, **named: Any) -> Tensor:
        return x_BTD + self.dropout(self.layer(self.norm(x_BTD), *more, **named))


class PostNorm(nn.Module):
    """norm(x + layer(x)): the paper's."""

    def __init__(self, layer: nn.Module, shape: Shape):
        super().__init__()
        self.norm, self.layer, self.dropout = norm_of(shape), layer, Dropout(shape.dropout)

    def forward(self, x_BTD: Tensor, *more: Any, **named: Any) -> Tensor:
        return self.norm(x_BTD + self.dropout(self.layer(x_BTD, *more, **named)))


def residual(layer: nn.Module, shape: Shape) -> PreNorm | PostNorm:
    return PreNorm(layer, shape) if shape.placement == "pre" else PostNorm(layer, shape)


class Block(nn.Module):
    """Self-attention, attention to a source where there is one (`cross`), and the feed-forward layer: x_BTD -> (B, T, D)."""

    def __init__(self, shape: Shape, cross: bool):
        super().__init__()
        more = shape.bias, shape.attention_dropout, shape.normed_heads
        self.attention = residual(SelfAttention(shape.width, shape.heads, shape.groups, *more), shape)
        self.cross = residual(CrossAttention(shape.width, shape.heads, *more), shape) if cross else None
        self.feed_forward = residual(feed_forward_of(shape), shape)


class Stack(nn.Module):
    """Blocks, their positions and their last norm: embeddings (B, T, D) -> (B, T, D).

    Raises LaminaError where the shape does not fit together.
    """

    def __init__(self, shape: Shape, cross: bool = False):
        super().__init__()
        if shape.width % shape.heads:
            raise LaminaError(f"heads: expected a divisor of the width {shape.width}, got {shape.heads}")
        if shape.positions == "rotary" and shape.width // shape.heads % 2:
            raise LaminaError(f"heads: rotary positions expect an even width of a head, got {shape.width // shape.heads}")
        self.shape = shape
        self.added: nn.Module | None = None
        self.rotary: Rotary | None = None
        if shape.positions == "learned":
            self.added = nn.Embedding(shape.length, shape.width)
        elif shape.positions == "sinusoidal":
            self.added = Sinusoidal(shape.width)
        else:
            self.rotary = Rotary(shape.width // shape.heads, shape.theta)
        # Post-norm blocks end in a norm each; what enters the first has met none, so BERT puts one there.
        self.norm = norm_of(shape) if shape.placement == "pre" else nn.Identity()
        self.dropout = Dropout(shape.dropout)
        self.blocks = nn.ModuleList(Block(shape, cross) for _ in range(shape.depth))

    def forward(
        self,
        x_BTD: Tensor,
        positions_BT: Tensor,
        mask: Tensor | None = None,
        causal: bool = False,
        cache: InPlace | Appended | None = None,
        memory: Memory | None = None,
        memory_mask: Tensor | None = None,
        seen: list[Tensor] | None = None,
        lean_BTS: Tensor | None = None,
        first_norm: nn.Module | None = None,
    ) -> Tensor:
        """positions_BT may be (1, T). memory: of `remember`. The weights of the block that aligns best are put into `seen`, and
        lean_BTS is added to its scores.

        first_norm: applied after positions are added, before the first dropout.
        """
        if self.added is not None:
            x_BTD = x_BTD + self.added(positions_BT)
        if first_norm is not None:
            x_BTD = first_norm(x_BTD)
        x_BTD = self.dropout(x_BTD)
        turn = self.rotary(positions_BT) if self.rotary is not None else None
        for number, block in enumerate(self.blocks):
            assert isinstance(block, Block)
            keep = cache.layer(number) if cache is not None else None
            x_BTD = block.attention(x_BTD, mask, causal, turn, keep)
            if block.cross is not None and memory is not None:
                watched = (seen, lean_BTS) if number == self.aligned else ()
                x_BTD = block.cross(x_BTD, memory[number], memory_mask, *watched)
            x_BTD = block.feed_forward(x_BTD)
        return self.norm(x_BTD)

    @property
    def aligned(self) -> int:
        """The block whose attention to the source aligns words best: the last but one (Garg et al. 2019, section 4.1)."""
        return max(self.shape.depth - 2, 0)

    def remember(self, x_BSD: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Keys and values of the source for each block's cross-attention."""
        return [block.cross.layer.memory(x_BSD) for block in self.blocks]  # type: ignore[union-attr]

    def check_length(self, length: int) -> None:
        """Raises LaminaError where learned positions do not reach that far."""
        if self.shape.positions == "learned" and length > self.shape.length:
            raise LaminaError(f"tokens: expected at most {self.shape.length} in a row, the length of the model; got {length}")


def normal_weights(module: nn.Module, std: float = 0.02) -> None:
    """Every matrix and embedding from a normal of that deviation, biases zero (Radford et al. 2018, section 4.1; and BERT)."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Embedding):
            nn.init.normal_(part.weight, std=std)
        if isinstance(part, nn.Linear) and part.bias is not None:
            nn.init.zeros_(part.bias)


def scale_residuals(stack: Stack, std: float = 0.02) -> None:
    """The layers that write to the shortcut start smaller, by 1/sqrt(their number) (Radford et al. 2019, GPT-2, section 2.3)."""
    writers = [
        part.project for part in stack.modules() if isinstance(part, SelfAttention | CrossAttention | FeedForward | SwiGLU)
    ]
    for layer in writers:
        nn.init.normal_(layer.weight, std=std / len(writers) ** 0.5)


def xavier_weights(module: nn.Module) -> None:
    """Matrices as Glorot & Bengio 2010, biases zero: how the paper's own code starts.

    Queries, keys and values lie in one matrix, but are as many products: the fans are those of each.
    """
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.xavier_uniform_(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
    for part in module.modules():
        if isinstance(part, SelfAttention):
            width = part.project.in_features // part.heads
            sizes = [width * part.heads, width * part.groups, width * part.groups]
            for weight in part.qkv.weight.split(sizes):
                nn.init.xavier_uniform_(weight)
        elif isinstance(part, CrossAttention):
            for weight in part.key_value.weight.chunk(2):
                nn.init.xavier_uniform_(weight)
        elif isinstance(part, SwiGLU):
            for weight in part.gate_up.weight.chunk(2):
                nn.init.xavier_uniform_(weight)


def stacked(memory: Memory) -> tuple[Tensor, Tensor]:
    """Keys and values of all layers (B, L, H, S, E): a state's tensors lead with B."""
    return torch.stack([k for k, _ in memory], 1), torch.stack([v for _, v in memory], 1)


def unstacked(keys_BLHSE: Tensor, values_BLHSE: Tensor) -> Memory:
    """The inverse of `stacked`."""
    return list(zip(keys_BLHSE.unbind(1), values_BLHSE.unbind(1), strict=True))
