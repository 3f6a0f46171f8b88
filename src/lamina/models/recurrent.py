"""Recurrent networks that sort texts into classes, or continue them. The layers and their equations are in `nn/recurrent.py`.

Shapes: B rows, T tokens, W width of an embedding, H hidden units, L layers, P parts of a state, D features, V tokens known, K
classes; N documents of at most M tokens.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from lamina.errors import LaminaError
from lamina.nn import tokens as layout
from lamina.nn.dropout import Dropout
from lamina.nn.recurrent import Bidirectional, Kind, Recurrent

State = dict[str, Tensor]
Pool = Literal["last", "mean", "max", "attention"]


class RecurrentClassifier(nn.Module):
    """tokens_BT, int64, padded with 0 on either side -> {"logits": (B, K), "features": (B, D)}; D is 2H where bidirectional,
    else H.

    pool: what the layers say at the last token (of each direction), the mean or the greatest over tokens, or a mean
    weighted by learned attention (Yang et al. 2016, "Hierarchical Attention Networks", equations 5 to 7).
    Raises LaminaError for another pool or kind.
    """

    def __init__(
        self,
        vocabulary: int,
        classes: int,
        kind: Kind = "lstm",
        width: int = 128,
        hidden: int = 128,
        depth: int = 1,
        bidirectional: bool = True,
        pool: Pool = "max",
        dropout: float = 0.5,
    ):
        super().__init__()
        if pool not in ("last", "mean", "max", "attention"):
            raise LaminaError(f"pool: expected last, mean, max or attention, got {pool!r}")
        features = hidden * (2 if bidirectional else 1)
        layer = Bidirectional if bidirectional else Recurrent
        self.embed = nn.Embedding(vocabulary, width)
        self.layers = nn.ModuleList(layer(kind, features if i else width, hidden) for i in range(depth))
        self.dropout = Dropout(dropout)
        self.attention = nn.Sequential(nn.Linear(features, features), nn.Tanh(), nn.Linear(features, 1, bias=False))
        if pool != "attention":
            self.attention = None
        self.head = nn.Linear(features, classes)
        self.pool: Pool = pool
        nn.init.normal_(self.embed.weight, std=0.1)

    def forward(self, tokens_BT: Tensor) -> dict[str, Tensor]:
        tokens_BT = tokens_BT.gather(1, layout.to_left(tokens_BT)[0])
        inside_BT = layout.inside(tokens_BT)
        length_B = inside_BT.sum(1)
        x_BTD = self.dropout(self.embed(tokens_BT))
        for number, layer in enumerate(self.layers):
            x_BTD = self.dropout(x_BTD) if number else x_BTD
            x_BTD = layer(x_BTD, length_B) if isinstance(layer, Bidirectional) else layer(x_BTD)
        features_BD = self.pooled(x_BTD, inside_BT, length_B)
        return {"logits": self.head(self.dropout(features_BD)).float(), "features": features_BD.float()}

    def pooled(self, x_BTD: Tensor, inside_BT: Tensor, length_B: Tensor) -> Tensor:
        if self.pool == "mean":
            return layout.mean(x_BTD, inside_BT)
        if self.pool == "last":
            last_BD = at(x_BTD, (length_B - 1).clamp(min=0))
            if not isinstance(self.layers[-1], Bidirectional):
                return last_BD
            half = x_BTD.shape[2] // 2  # the backward layer has read all of a row at its first token
            return torch.cat([last_BD[:, :half], x_BTD[:, 0, half:]], 1)
        kept_BT1 = (inside_BT | ~inside_BT.any(1, keepdim=True)).unsqueeze(2)  # an empty row keeps its padding
        if self.pool == "max":
            return x_BTD.masked_fill(~kept_BT1, -2.0).amax(1)  # hidden units lie within -1 .. 1
        assert self.attention is not None
        score_BT1 = self.attention(x_BTD).float().masked_fill(~kept_BT1, torch.finfo(torch.float32).min)
        return (score_BT1.softmax(1) * x_BTD).sum(1)


class RecurrentDecoder(nn.Module):
    """tokens_BT, int64 -> {"token_logits": (B, T, V)}: at each place, what comes next. At padding they mean nothing.

    tied: the last layer is the table of embeddings (Press & Wolf 2017); where `hidden` is another width, a layer leads there.
    restarts: a `<bos>` inside a row begins a new document, and the state starts at zero. Each document becomes a row of its
    own then, which costs one wait for the device, and saves time where documents are short.
    """

    def __init__(
        self,
        vocabulary: int,
        kind: Kind = "lstm",
        width: int = 256,
        hidden: int = 512,
        depth: int = 2,
        dropout: float = 0.2,
        tied: bool = True,
        restarts: bool = True,
    ):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.layers = nn.ModuleList(Recurrent(kind, hidden if i else width, hidden) for i in range(depth))
        self.dropout = Dropout(dropout)
        self.project = nn.Linear(hidden, width) if tied and hidden != width else nn.Identity()
        self.head = nn.Linear(width if tied else hidden, vocabulary)
        self.restarts = restarts
        nn.init.normal_(self.embed.weight, std=0.1)
        nn.init.zeros_(self.head.bias)
        if tied:
            self.head.weight = self.embed.weight

    def forward(self, tokens_BT: Tensor) -> dict[str, Tensor]:
        x_BTW = self.embed(tokens_BT)
        if not self.restarts or tokens_BT.is_meta:
            there_BT, back_BT = layout.to_left(tokens_BT)
            x_BTH = self.run(x_BTW.gather(1, there_BT.unsqueeze(2).expand_as(x_BTW)))
            x_BTH = x_BTH.gather(1, back_BT.unsqueeze(2).expand_as(x_BTH))
        elif torch.compiler.is_exporting():
            x_BTH = x_BTW
            for layer in self.layers:
                x_BTH, _ = layer.unrolled(x_BTH, layout.inside(tokens_BT), tokens_BT == layout.BOS)  # type: ignore[operator]
        else:
            x_BTH = self.run_documents(tokens_BT, x_BTW)
        return {"token_logits": self.say(x_BTH)}

    def run(self, x_BTH: Tensor) -> Tensor:
        for layer in self.layers:
            x_BTH = layer(self.dropout(x_BTH))
        return x_BTH

    def run_documents(self, tokens_BT: Tensor, x_BTW: Tensor) -> Tensor:
        """`run` on rows of one document each, put back where they stood (B, T, H); zeros at padding."""
        row, place = layout.inside(tokens_BT).nonzero(as_tuple=True)
        if not len(row):
            return x_BTW.new_zeros(*tokens_BT.shape, self.layers[-1].hidden)  # type: ignore[arg-type]
        first = torch.cat([torch.ones_like(row[:1], dtype=torch.bool), row[1:] != row[:-1]])
        first = first | (tokens_BT[row, place] == layout.BOS)
        document = first.long().cumsum(0) - 1
        start = first.nonzero().squeeze(1)
        position = torch.arange(len(row), device=row.device) - start[document]
        x_NMW = x_BTW.new_zeros(len(start), int(position.max()) + 1, x_BTW.shape[2])
        x_NMW = x_NMW.index_put((document, position), x_BTW[row, place])
        said = self.run(x_NMW)[document, position]
        return said.new_zeros(*tokens_BT.shape, said.shape[1]).index_put((row, place), said)

    def say(self, x: Tensor) -> Tensor:
        """(..., H) -> the logits (..., V)."""
        return self.head(self.dropout(self.project(x))).float()

    def begin(self, tokens_BT: Tensor) -> tuple[Tensor, State]:
        """What comes after each row (B, V), and the state to go on from: `state` (B, L, P, H)."""
        if self.restarts:  # the state forgets all before a row's last document
            tokens_BT = layout.last_document(tokens_BT)
        tokens_BT = tokens_BT.gather(1, layout.to_left(tokens_BT)[0])
        length_B, x_BTH, states = layout.inside(tokens_BT).sum(1), self.embed(tokens_BT), []
        for layer in self.layers:
            x_BTH, state_BPH = layer.finish(self.dropout(x_BTH), length_B)  # type: ignore[operator]
            states.append(state_BPH)
        return self.say(states[-1][:, 0]), {"state": torch.stack(states, 1)}

    def step(self, token_B: Tensor, state: State) -> tuple[Tensor, State]:
        """What comes after one more token a row (B, V), and the state after it."""
        before_BLPH = state["state"]
        if self.restarts:
            before_BLPH = before_BLPH.masked_fill((token_B == layout.BOS).view(-1, 1, 1, 1), 0.0)
        x_BH, after = self.embed(token_B), []
        for layer, state_BPH in zip(self.layers, before_BLPH.unbind(1), strict=True):
            after.append(layer.step(self.dropout(x_BH), state_BPH))  # type: ignore[operator]
            x_BH = after[-1][:, 0]
        return self.say(x_BH), {"state": torch.stack(after, 1)}

    begin_graph, step_graph = begin, step

    @property
    def state_dims(self) -> dict[str, tuple[str | int, ...]]:
        """The state of the graphs: a string is a size that varies."""
        layer = self.layers[0]
        assert isinstance(layer, Recurrent)
        return {"state": ("B", len(self.layers), layer.parts, layer.hidden)}


def at(x_BTD: Tensor, place_B: Tensor) -> Tensor:
    """What stands at each row's place (B, D)."""
    return x_BTD.gather(1, place_B.view(-1, 1, 1).expand(-1, 1, x_BTD.shape[2])).squeeze(1)
