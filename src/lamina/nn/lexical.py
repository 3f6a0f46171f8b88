"""What the words of a source say of the next word by themselves, past all layers.

Nguyen and Chiang 2018, "Improving Lexical Choice in Neural Machine Translation", section 4: the embeddings of the source, under
attention, join what the last layer reads. With few sentences, or little time, rare words and names are learned so long before the
layers know them. What changed: a linear map in place of a layer with tanh. It begins as the identity: where both sides share one
table of embeddings, which is the last layer too, a word that attention points at is then said as it is.

Shapes: B rows, S tokens of the source, T tokens of the target, D features, M features of the source.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Pointer(nn.Module):
    """Attention of one head that tells where it looks: x_BTD and keys of the source -> weights (B, T, S) in float32."""

    def __init__(self, width: int, source: int):
        super().__init__()
        self.query, self.key = nn.Linear(width, width), nn.Linear(source, width)

    def keys(self, x_BSM: Tensor) -> Tensor:
        return self.key(x_BSM)

    def forward(self, x_BTD: Tensor, key_BSD: Tensor, inside_BS: Tensor) -> Tensor:
        score_BTS = (self.query(x_BTD) @ key_BSD.transpose(1, 2)).float() * key_BSD.shape[2] ** -0.5
        return score_BTS.masked_fill(~inside_BS.unsqueeze(1), torch.finfo(torch.float32).min).softmax(2)


class Lexical(nn.Module):
    """weights (B, T, S) and embeddings of the source (B, S, D) -> (B, T, D), to be added to what the last layer reads.

    scale: what brings the embeddings to the size of that.
    """

    def __init__(self, width: int, scale: float):
        super().__init__()
        self.say, self.scale = nn.Linear(width, width, bias=False), scale
        nn.init.eye_(self.say.weight)

    def forward(self, weight_BTS: Tensor, word_BSD: Tensor) -> Tensor:
        return self.say(weight_BTS.to(word_BSD.dtype) @ word_BSD * self.scale)
