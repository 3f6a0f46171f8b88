"""A bag of words: the mean of the embeddings of a text's tokens, and of its pairs of neighbours, then a linear layer.

After Joulin, Grave, Bojanowski, Mikolov 2017 (fastText), where pairs have a hashed table of their own: here a small layer makes
them of two embeddings, and the greatest value of each of its features stands beside the mean (Kim 2014; Shen et al. 2018).

Shapes: B texts, T tokens, D features, K classes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lamina.nn.dropout import Dropout


class Bag(nn.Module):
    """Tokens (B, T), 0 is padding -> {"logits" (B, K), "features" (B, 2 D)}. Everything follows from the output of `embed`.

    vocabulary: tokens there are. width: D. dropout: share of the embeddings' features, and of the last features, left out.
    """

    def __init__(self, vocabulary: int, classes: int, width: int = 256, dropout: float = 0.5) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width, padding_idx=0)
        self.pair = nn.Conv1d(width, width, 2)
        self.dropout = Dropout(dropout)
        self.head = nn.Linear(2 * width, classes)
        nn.init.normal_(self.embed.weight, std=0.1)
        with torch.no_grad():
            self.embed.weight[0].zero_()

    def forward(self, x_BT: Tensor) -> dict[str, Tensor]:
        inside_BT1 = (x_BT != 0).unsqueeze(2)
        e_BTD = self.dropout(self.embed(x_BT)) * inside_BT1
        pair_BTD = torch.relu(self.pair(F.pad(e_BTD.transpose(1, 2), (0, 1))).transpose(1, 2)) * inside_BT1
        mean_BD = e_BTD.sum(1) / inside_BT1.sum(1).clamp(min=1)
        features_BD = torch.cat([mean_BD, pair_BTD.amax(1)], 1)
        return {"logits": self.head(self.dropout(features_BD)), "features": features_BD}
