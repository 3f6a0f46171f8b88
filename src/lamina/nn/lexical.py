"""What the words of a source say of the next word by themselves, past all layers: a dictionary, and where to look.

Arthur, Neubig and Nakamura 2016, "Incorporating Discrete Translation Lexicons into Neural Machine Translation", section 3.2: the
translations of each word of the source, as probable as a dictionary says, weighted by attention, are a bias of the last softmax.
With few sentences, or little time, words are said right long before the layers know them, and what is rare stays right.
What changed: what no entry names keeps a share that is learned; attention leans to the diagonal at the start, as alignments do
(Dyer et al. 2013, "A Simple, Fast, and Effective Reparameterization of IBM Model 2").

Shapes: B rows, S tokens of the source, T tokens of the target, D features, M features of the source, V tokens known, K
translations of a token.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

STEEP = 4.0
"""How fast attention falls off beside the diagonal at the start: Dyer et al. 2013 begin with it too."""


class Diagonal(nn.Module):
    """What is added to scores of attention: less, the further a token stands from the diagonal, in lengths of the source.

    place_BT, each target token's position from 0, and what of the source is no padding (B, S) -> (B, T, S). Learned: how steeply
    it falls, and how many tokens of the source one of the target takes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.steep, self.pace = nn.Parameter(torch.tensor(STEEP)), nn.Parameter(torch.tensor(1.0))

    def forward(self, place_BT: Tensor, inside_BS: Tensor) -> Tensor:
        place_BS, length_B1 = inside_BS.long().cumsum(1) - 1, inside_BS.sum(1, keepdim=True)
        away_BTS = (place_BS.unsqueeze(1) - self.pace * place_BT.unsqueeze(2)).abs()
        return -self.steep * away_BTS / length_B1.unsqueeze(2)


class Dictionary(nn.Module):
    """weights (B, T, S), tokens of the source (B, S), how much of each is there (B, S) -> log probabilities (B, T, V), to be
    added to logits.

    `word` (V of the source, K) and `share` are the translations of every token and their probabilities: none until `start`.
    """

    word: Tensor
    share: Tensor

    def __init__(self, source_vocabulary: int, vocabulary: int, translations: int):
        super().__init__()
        self.vocabulary = vocabulary
        self.register_buffer("word", torch.zeros(source_vocabulary, translations, dtype=torch.int64))
        self.register_buffer("share", torch.zeros(source_vocabulary, translations))
        self.floor = nn.Parameter(torch.tensor(-math.log(vocabulary)))  # log of what any token has, whatever is said of it

    def start(self, word_VK: Tensor, share_VK: Tensor) -> None:
        self.word.copy_(word_VK)
        self.share.copy_(share_VK)

    def forward(self, weight_BTS: Tensor, token_BS: Tensor, there_BS: Tensor) -> Tensor:
        share_BSK = self.share[token_BS] * there_BS.unsqueeze(2)
        mass_BTN = (weight_BTS.unsqueeze(3) * share_BSK.unsqueeze(1)).flatten(2)
        word_BTN = self.word[token_BS].flatten(1).unsqueeze(1).expand_as(mass_BTN)
        said_BTV = mass_BTN.new_zeros(*mass_BTN.shape[:2], self.vocabulary).scatter_add(2, word_BTN, mass_BTN)
        return (said_BTV + self.floor.exp()).log()


def there(embedding_BSD: Tensor, token_BS: Tensor, table_VD: Tensor) -> Tensor:
    """How much of each token its embedding holds (B, S), in float32: 1, but where the embedding was changed on the way, as
    those do who ask what the answer owes to it. 0 for none of it, or its contrary: no word has a negative share."""
    own_BSD = nn.functional.embedding(token_BS, table_VD).float()
    return ((embedding_BSD.float() * own_BSD).sum(2) / own_BSD.square().sum(2).clamp(min=1e-12)).clamp(min=0)
