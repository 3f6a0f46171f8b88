"""A Transformer encoder that sorts texts into classes (Devlin et al. 2019, "BERT"), pre-norm or post-norm.

What changed against BERT: no segment embeddings (for one text they are a constant, which `checkpoints.py` adds to the
positions), and features may also be the mean of all tokens, which learns faster from scratch and is what sentence models are
trained for.

Shapes: B rows, T tokens, D features, V tokens known, K classes.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from lamina.models.transformer import Shape, Stack, norm_of, normal_weights
from lamina.nn import tokens as layout
from lamina.nn.attention import padding_mask
from lamina.nn.dropout import Dropout

Pool = Literal["mean", "first"]


class Encoder(nn.Module):
    """tokens_BT -> (B, T, D): each token in the light of all others, padding left out."""

    def __init__(self, vocabulary: int, shape: Shape):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, shape.width)
        # The paper's post-norm blocks expect normed input, which BERT gives them; a pre-norm block norms its own.
        self.norm = norm_of(shape) if shape.placement == "post" else nn.Identity()
        self.stack = Stack(shape)
        normal_weights(self)

    def forward(self, tokens_BT: Tensor) -> Tensor:
        self.stack.check_length(tokens_BT.shape[1])
        mask = padding_mask(layout.inside(tokens_BT))
        return self.stack(self.embed(tokens_BT), layout.row_positions(tokens_BT), mask, first_norm=self.norm)


class EncoderClassifier(nn.Module):
    """tokens_BT, int64, padded with 0 on either side -> {"logits": (B, K), "features": (B, D)}.

    pool: the mean of the tokens, or the first token (`<bos>`, BERT's [CLS]) through a layer and tanh, as BERT has it.
    Raises LaminaError where the shape does not fit together, or a row is longer than learned positions reach.
    """

    def __init__(self, vocabulary: int, classes: int, shape: Shape, pool: Pool = "mean", dropout: float = 0.1):
        super().__init__()
        self.encoder = Encoder(vocabulary, shape)
        self.pooler = nn.Sequential(nn.Linear(shape.width, shape.width), nn.Tanh()) if pool == "first" else None
        self.dropout = Dropout(dropout)
        self.head = nn.Linear(shape.width, classes)
        normal_weights(self)

    def forward(self, tokens_BT: Tensor) -> dict[str, Tensor]:
        x_BTD, inside_BT = self.encoder(tokens_BT), layout.inside(tokens_BT)
        if self.pooler is None:
            features_BD = layout.mean(x_BTD, inside_BT)
        else:
            first_B1 = inside_BT.long().argmax(1, keepdim=True)
            features_BD = self.pooler(x_BTD.gather(1, first_B1.unsqueeze(2).expand(-1, -1, x_BTD.shape[2])).squeeze(1))
        return {"logits": self.head(self.dropout(features_BD)).float(), "features": features_BD.float()}


def bert(width: int = 768, depth: int = 12, heads: int = 12, length: int = 512, dropout: float = 0.1) -> Shape:
    """The shape of BERT (base, by default): post-norm, learned positions, GELU, hidden layers of 4 D."""
    return Shape(width, depth, heads, 4 * width, length, placement="post", eps=1e-12, dropout=dropout, attention_dropout=dropout)
