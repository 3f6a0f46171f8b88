"""FT-Transformer: attention over the cells of a row.

Source: Gorishniy, Rubachev, Khrulkov, Babenko 2021, "Revisiting Deep Learning Models for Tabular Data", section 3.3.
Every cell becomes a token (their feature tokenizer), a CLS token is put before them, blocks of attention and ReGLU
feed-forward layers follow (PreNorm, without the first norm, as they advise), and the CLS token answers.
What changed: keys have no bias (softmax cancels it, so it would never learn), in the last block only the CLS token
asks (nothing else of that block is read), and the tokenizer marks missing cells.

B rows, C columns, S = C + 1 tokens, H heads, D width, F width of the feed-forward layer, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lamina.nn.attention import attend
from lamina.nn.dropout import Dropout
from lamina.nn.precision import full_precision
from lamina.nn.table_embedding import TableEmbedding


class Attention(nn.Module):
    """Multi-head attention of Q asking tokens over S tokens: (B, Q, D), (B, S, D) -> (B, Q, D)."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        self.heads, self.dropout = heads, dropout

    def forward(self, asking_BQD: Tensor, x_BSD: Tensor) -> Tensor:
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.query(asking_BQD), self.key(x_BSD), self.value(x_BSD))
        )
        said_BHQD = attend(q, k, v, dropout=self.dropout, training=self.training)
        return self.out(said_BHQD.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """One PreNorm block: attention, then ReGLU (Shazeer 2020): relu(a) * b of one projection to 2F."""

    def __init__(
        self, width: int, heads: int, hidden: int, attention_dropout: float, dropout: float, first: bool, last: bool
    ) -> None:
        super().__init__()
        self.norm_attention = nn.Identity() if first else nn.LayerNorm(width)
        self.attention = Attention(width, heads, attention_dropout)
        self.norm_hidden = nn.LayerNorm(width)
        self.hidden_in = nn.Linear(width, 2 * hidden)
        self.hidden_out = nn.Linear(hidden, width)
        self.drop = Dropout(dropout)
        self.last = last

    def forward(self, x_BSD: Tensor) -> Tensor:
        """(B, S, D) -> (B, S, D), or (B, 1, D) in the last block."""
        normed_BSD = self.norm_attention(x_BSD)
        asking_BQD = normed_BSD[:, :1] if self.last else normed_BSD
        x_BQD = (x_BSD[:, :1] if self.last else x_BSD) + self.attention(asking_BQD, normed_BSD)
        a, b = self.hidden_in(self.norm_hidden(x_BQD)).chunk(2, dim=-1)
        return x_BQD + self.hidden_out(self.drop(torch.relu(a) * b))


class FTTransformer(nn.Module):
    """Rows of a table -> classes, or one number.

    `columns` is what `TableEmbedding` takes. With `classes` K the output is `{"logits": (B, K), "features": (B, D)}`;
    with `classes=None` it is `{"value": (B, 1), "features": (B, D)}` in the target's units, whose mean and standard
    deviation over the training rows are `target_mean` and `target_std`.
    """

    def __init__(
        self,
        columns: Sequence[Mapping[str, Any]],
        classes: int | None,
        width: int = 64,
        depth: int = 3,
        heads: int = 8,
        dropout: float = 0.1,
        attention_dropout: float = 0.2,
        bins: bool = True,
        target_mean: float = 0.0,
        target_std: float = 1.0,
    ) -> None:
        super().__init__()
        self.embed = TableEmbedding(columns, width, bins)
        self.cls = nn.Parameter(torch.empty(width))
        nn.init.uniform_(self.cls, -(width**-0.5), width**-0.5)
        hidden = width * 4 // 3
        self.blocks = nn.ModuleList(
            Block(width, heads, hidden, attention_dropout, dropout, first=i == 0, last=i == depth - 1) for i in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes or 1)
        self.classes = classes
        self.register_buffer("target_mean", torch.tensor(target_mean, dtype=torch.float32))
        self.register_buffer("target_std", torch.tensor(target_std, dtype=torch.float32))

    def forward(self, x_BC: Tensor) -> dict[str, Tensor]:
        cells_BCD = self.embed(x_BC)
        x_BSD = torch.cat([self.cls.expand(cells_BCD.shape[0], 1, -1), cells_BCD], dim=1)
        for block in self.blocks:
            x_BSD = block(x_BSD)
        features_BD = torch.relu(self.norm(x_BSD[:, 0]))
        with full_precision(x_BC.device):  # bfloat16 would leave a regression only some hundred answers
            out_BK = self.head(features_BD.float())
        if self.classes is not None:
            return {"logits": out_BK, "features": features_BD.float()}
        return {"value": out_BK * self.target_std + self.target_mean, "features": features_BD.float()}  # type: ignore[operator]
