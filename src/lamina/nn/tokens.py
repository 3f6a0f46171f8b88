"""What token ids say about their own layout: where padding stands, where documents begin.

Id 0 is `<pad>`, 1 `<unk>`, 2 `<bos>`, 3 `<eos>`. Padding stands left or right of a row's tokens, never among them, so that
no length travels beside the tokens. A `<bos>` inside a row begins a new document.

Shapes: B rows, T tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

PAD, UNK, BOS, EOS = 0, 1, 2, 3


def inside(tokens_BT: Tensor) -> Tensor:
    """True where a token stands, False where padding does (B, T)."""
    return tokens_BT != PAD


def places(tokens_BT: Tensor) -> Tensor:
    """0 .. T-1, as (1, T)."""
    return torch.arange(tokens_BT.shape[1], device=tokens_BT.device).unsqueeze(0)


def to_left(tokens_BT: Tensor) -> tuple[Tensor, Tensor]:
    """The places (B, T) to gather from so that each row begins with its first token, and those that undo it."""
    first_B1 = inside(tokens_BT).long().argmax(1, keepdim=True)
    place_1T, length = places(tokens_BT), tokens_BT.shape[1]
    return around(place_1T + first_B1, length), around(place_1T - first_B1, length)


def to_right(tokens_BT: Tensor) -> Tensor:
    """The tokens (B, T) with all padding on the left."""
    inside_BT, length = inside(tokens_BT).long(), tokens_BT.shape[1]
    end_B1 = inside_BT.argmax(1, keepdim=True) + inside_BT.sum(1, keepdim=True)
    return tokens_BT.gather(1, around(places(tokens_BT) + end_B1, length))


def around(place_BT: Tensor, length: int) -> Tensor:
    """Places from -length to below 2 * length, brought into a row. ONNX has no remainder by a size that varies."""
    place_BT = torch.where(place_BT < 0, place_BT + length, place_BT)
    return torch.where(place_BT >= length, place_BT - length, place_BT)


def last_document(tokens_BT: Tensor) -> Tensor:
    """The tokens (B, T) with all that stands before a row's last `<bos>` turned into padding."""
    document_BT = (tokens_BT == BOS).long().cumsum(1)
    return torch.where(document_BT == document_BT[:, -1:], tokens_BT, PAD)


def causal_mask(tokens_BT: Tensor, restarts: bool) -> Tensor:
    """True where the token of row t may see that of column s (B, T, T): itself and earlier ones, of its own document only.

    restarts: a `<bos>` begins a new document. Padding sees itself alone: a softmax over nothing would be no number.
    """
    place_1T = places(tokens_BT)
    seen_BTT = (place_1T.unsqueeze(2) >= place_1T.unsqueeze(1)) & inside(tokens_BT).unsqueeze(1)
    if restarts:
        document_BT = (tokens_BT == BOS).long().cumsum(1)
        seen_BTT = seen_BTT & (document_BT.unsqueeze(2) == document_BT.unsqueeze(1))
    return seen_BTT | (place_1T.unsqueeze(2) == place_1T.unsqueeze(1))


def positions(mask_BTT: Tensor) -> Tensor:
    """Each token's position in its document, from 0 (B, T): how many it sees under `causal_mask`, itself left out."""
    return mask_BTT.sum(-1) - 1


def row_positions(tokens_BT: Tensor) -> Tensor:
    """Each token's position in its row, from 0 at the first that is no padding (B, T); 0 for padding."""
    inside_BT = inside(tokens_BT)
    return (inside_BT.long().cumsum(1) - 1) * inside_BT


def mean(x_BTD: Tensor, inside_BT: Tensor) -> Tensor:
    """The mean over a row's tokens (B, D); zeros for a row of padding alone."""
    inside_BT1 = inside_BT.unsqueeze(-1)
    return (x_BTD * inside_BT1).sum(1) / inside_BT1.sum(1).clamp(min=1)
