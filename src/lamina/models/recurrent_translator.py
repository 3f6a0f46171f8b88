"""A recurrent network that reads one sequence and writes another, attending to what it read.

Sources: Bahdanau et al. 2015, "Neural Machine Translation by Jointly Learning to Align and Translate" (a bidirectional
encoder, attention, the additive score); Luong et al. 2015, "Effective Approaches to Attention-based NMT" (attention from the
present state, the general score, the layer before the last).
What changed: Luong's input feeding, and Bahdanau's attention from the state before, tie each token's computation to the
attention of the token before it, so that training walks token by token in Python. Here the first layer of the decoder asks,
and the layers above it read what was found (as Wu et al. 2016, GNMT, feed it to all layers), which goes through
torch's kernels in one call a layer. Depth 1 has no layer above, and is Luong's network without input feeding. The source's own
words may speak past the layers (`lamina.nn.lexical`), and attention then begins near the diagonal.

Shapes: B rows, S tokens of the source, T tokens of the target, W width of an embedding, H hidden units, M = 2H features of the
source, A features that are compared, L layers, P parts of a state, V tokens known.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from lamina.errors import LaminaError
from lamina.models.recurrent import at
from lamina.nn import tokens as layout
from lamina.nn.dropout import Dropout
from lamina.nn.lexical import Diagonal, Dictionary, there
from lamina.nn.recurrent import Bidirectional, Kind, Recurrent

State = dict[str, Tensor]
SPREAD = 0.1
"""Standard deviation of the embeddings at the start."""


class GeneralScore(nn.Module):
    """h W m (Luong et al. 2015, equation 8): query_BTH and the keys (B, S, A) of the source -> (B, T, S)."""

    def __init__(self, hidden: int, source: int):
        super().__init__()
        self.key = nn.Linear(source, hidden, bias=False)

    def forward(self, query_BTH: Tensor, key_BSH: Tensor) -> Tensor:
        return query_BTH @ key_BSH.transpose(1, 2)


class AdditiveScore(nn.Module):
    """v tanh(W h + U m) (Bahdanau et al. 2015, appendix A.1.2). Holds B * T * S * A numbers at once."""

    def __init__(self, hidden: int, source: int):
        super().__init__()
        self.query = nn.Linear(hidden, hidden)
        self.key = nn.Linear(source, hidden, bias=False)
        self.score = nn.Linear(hidden, 1, bias=False)

    def forward(self, query_BTH: Tensor, key_BSA: Tensor) -> Tensor:
        return self.score((self.query(query_BTH).unsqueeze(2) + key_BSA.unsqueeze(1)).tanh()).squeeze(3)


SCORES: dict[str, type[GeneralScore] | type[AdditiveScore]] = {"general": GeneralScore, "additive": AdditiveScore}


class RecurrentTranslator(nn.Module):
    """source_BS and target_BT, int64 -> {"token_logits": (B, T, V), "attention": (B, T, S)}.

    The target begins with `<bos>`; at each place, the logits say what comes next. attention sums to one over the source.
    translations: entries of a dictionary for each token of the source, asked where attention looks; 0: no dictionary.
    source_vocabulary: None where both sides share one table of embeddings, which is then the last layer too.
    Raises LaminaError for another kind or score.
    """

    def __init__(
        self,
        vocabulary: int,
        kind: Kind = "lstm",
        width: int = 256,
        hidden: int = 256,
        depth: int = 2,
        score: Literal["general", "additive"] = "general",
        dropout: float = 0.2,
        source_vocabulary: int | None = None,
        translations: int = 0,
    ):
        super().__init__()
        if score not in SCORES:
            raise LaminaError(f"score: expected one of {list(SCORES)}, got {score!r}")
        source = 2 * hidden
        self.embed = nn.Embedding(source_vocabulary or vocabulary, width)
        self.embed_target = nn.Embedding(vocabulary, width)
        self.encoder = nn.ModuleList(Bidirectional(kind, source if i else width, hidden) for i in range(depth))
        self.first = Recurrent(kind, width, hidden)
        self.score = SCORES[score](hidden, source)
        self.above = nn.ModuleList(Recurrent(kind, hidden + source, hidden) for _ in range(depth - 1))
        self.bridge = nn.Linear(source, depth * self.first.parts * hidden)
        self.readout = nn.Sequential(nn.Linear(hidden + source, width), nn.Tanh())
        known = source_vocabulary or vocabulary, vocabulary
        self.dictionary = Dictionary(*known, translations) if translations else None
        self.diagonal = Diagonal() if translations else None
        self.dropout = Dropout(dropout)
        self.head = nn.Linear(width, vocabulary)
        for table in (self.embed, self.embed_target):
            nn.init.normal_(table.weight, std=SPREAD)
        nn.init.zeros_(self.head.bias)
        self.head.weight = self.embed_target.weight
        if source_vocabulary is None:
            self.embed.weight = self.embed_target.weight

    def forward(self, source_BS: Tensor, target_BT: Tensor) -> dict[str, Tensor]:
        memory = self.read(source_BS)
        there_BT, back_BT = layout.to_left(target_BT)
        x_BTW = self.embed_target(target_BT.gather(1, there_BT))
        first, *above = memory["state"].unbind(1)
        x_BTH = self.first(self.dropout(x_BTW), first)
        found_BTM, attention_BTS = self.attend(x_BTH, layout.places(target_BT), memory)
        for layer, state_BPH in zip(self.above, above, strict=True):
            x_BTH = layer(self.dropout(torch.cat([x_BTH, found_BTM], 2)), state_BPH)
        back_BT1 = back_BT.unsqueeze(2)
        x_BTH, found_BTM, attention_BTS = (
            value.gather(1, back_BT1.expand_as(value)) for value in (x_BTH, found_BTM, attention_BTS)
        )
        return {"token_logits": self.say(x_BTH, found_BTM, attention_BTS, memory), "attention": attention_BTS}

    def read(self, source_BS: Tensor) -> State:
        """The source, its padding on the right or left as it came: `memory` (B, S, M), `memory_keys` (B, S, A),
        `memory_inside` (B, S), and the decoder's first state (B, L, P, H), from what both directions say at their last token."""
        there_BS, back_BS = layout.to_left(source_BS)
        tokens_BS = source_BS.gather(1, there_BS)
        length_B, word_BSW = layout.inside(tokens_BS).sum(1), self.embed(tokens_BS)
        x_BSM = word_BSW
        for layer in self.encoder:
            x_BSM = layer(self.dropout(x_BSM), length_B)
        half = x_BSM.shape[2] // 2
        ends_BM = torch.cat([at(x_BSM, (length_B - 1).clamp(min=0))[:, :half], x_BSM[:, 0, half:]], 1)
        state_BLPH = self.bridge(ends_BM).tanh().unflatten(1, (len(self.above) + 1, self.first.parts, self.first.hidden))
        x_BSM = x_BSM.gather(1, back_BS.unsqueeze(2).expand_as(x_BSM))
        inside_BS = layout.inside(source_BS)
        inside_BS = inside_BS | ~inside_BS.any(1, keepdim=True)  # an empty source is attended to all the same
        found = {"state": state_BLPH, "memory": x_BSM, "memory_keys": self.score.key(x_BSM), "memory_inside": inside_BS}
        if self.dictionary is None:
            return found
        there_BS = there(word_BSW, tokens_BS, self.embed.weight).gather(1, back_BS)
        return {**found, "memory_tokens": source_BS, "memory_there": there_BS}

    def attend(self, query_BTH: Tensor, place_BT: Tensor, memory: State) -> tuple[Tensor, Tensor]:
        """The mean of the source under attention (B, T, M), and its weights (B, T, S)."""
        score_BTS = self.score(query_BTH, memory["memory_keys"]).float()
        if self.diagonal is not None:
            score_BTS = score_BTS + self.diagonal(place_BT, memory["memory_inside"])
        score_BTS = score_BTS.masked_fill(~memory["memory_inside"].unsqueeze(1), torch.finfo(torch.float32).min)
        weight_BTS = score_BTS.softmax(2)
        return weight_BTS.to(memory["memory"].dtype) @ memory["memory"], weight_BTS

    def say(self, x_BTH: Tensor, found_BTM: Tensor, attention_BTS: Tensor, memory: State) -> Tensor:
        """The logits (B, T, V), through Luong's layer before the last (equation 5), and by the dictionary."""
        logits_BTV = self.head(self.dropout(self.readout(torch.cat([x_BTH, found_BTM], 2)))).float()
        if self.dictionary is None:
            return logits_BTV
        return logits_BTV + self.dictionary(attention_BTS, memory["memory_tokens"], memory["memory_there"])

    def begin(self, source_BS: Tensor, target_BT: Tensor) -> tuple[Tensor, State]:
        """What comes after each target (B, V), and the state to go on from: that of `read`, after the target's tokens."""
        memory = self.read(source_BS)
        target_BT = target_BT.gather(1, layout.to_left(target_BT)[0])
        length_B = layout.inside(target_BT).sum(1)
        first, *above = memory["state"].unbind(1)
        x_BTH, state_BPH = self.first.finish(self.dropout(self.embed_target(target_BT)), length_B, first)
        after = [state_BPH]
        found_BTM, attention_BTS = self.attend(x_BTH, layout.places(target_BT), memory)
        for layer, before_BPH in zip(self.above, above, strict=True):
            x_BTH = torch.cat([x_BTH, found_BTM], 2)
            x_BTH, state_BPH = layer.finish(self.dropout(x_BTH), length_B, before_BPH)  # type: ignore[operator]
            after.append(state_BPH)
        last_B = (length_B - 1).clamp(min=0)
        x_B1H, found_B1M, attention_B1S = (at(value, last_B).unsqueeze(1) for value in (x_BTH, found_BTM, attention_BTS))
        logits_B1V = self.say(x_B1H, found_B1M, attention_B1S, memory)
        return logits_B1V[:, 0], {**memory, "places": length_B, "state": torch.stack(after, 1)}

    def step(self, token_B: Tensor, state: State) -> tuple[Tensor, State]:
        """What comes after one more token a row (B, V), and the state after it."""
        first, *above = state["state"].unbind(1)
        after = [self.first.step(self.dropout(self.embed_target(token_B)), first)]
        found_B1M, attention_B1S = self.attend(after[0][:, :1], state["places"].unsqueeze(1), state)
        for layer, before_BPH in zip(self.above, above, strict=True):
            x_BH = torch.cat([after[-1][:, 0], found_B1M[:, 0]], 1)
            after.append(layer.step(self.dropout(x_BH), before_BPH))  # type: ignore[operator]
        logits_B1V = self.say(after[-1][:, :1], found_B1M, attention_B1S, state)
        return logits_B1V[:, 0], {**state, "places": state["places"] + 1, "state": torch.stack(after, 1)}

    begin_graph, step_graph = begin, step

    @property
    def state_dims(self) -> dict[str, tuple[str | int, ...]]:
        """The state of the graphs: a string is a size that varies."""
        hidden = self.first.hidden
        return {
            "state": ("B", len(self.above) + 1, self.first.parts, hidden),
            "memory": ("B", "S", 2 * hidden),
            "memory_keys": ("B", "S", hidden),
            "memory_inside": ("B", "S"),
            "places": ("B",),
            **({"memory_tokens": ("B", "S"), "memory_there": ("B", "S")} if self.dictionary else {}),
        }
